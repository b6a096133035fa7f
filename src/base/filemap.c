/* mmap of a file over a reservation of zero pages: so there may be more memory than file, and what lies
 * beyond the end of the file is ordinary memory instead of a trap. */
#include "base/filemap.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

void *filemap_new(int fd, size_t file_bytes, size_t bytes) {
    if (bytes < file_bytes) {
        bytes = file_bytes;
    }
    const int access = PROT_READ | PROT_WRITE;
    void *const p = mmap(NULL, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    if (file_bytes > 0 &&
        mmap(p, file_bytes, access, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
        (void)munmap(p, bytes);
        return NULL;
    }
    return p;
}

void *filemap_new_read_only(int fd, size_t bytes) {
    void *const p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

void filemap_drop(void *p, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t before = (page - (uintptr_t)p % page) % page;
    if (bytes > before && (bytes - before) / page > 0) {
        (void)madvise((char *)p + before, (bytes - before) / page * page, MADV_DONTNEED);
    }
}

void filemap_free(void *p, size_t bytes) {
    if (p != NULL) {
        (void)munmap(p, bytes); /* our own mapping: cannot fail in a way to handle */
    }
}
