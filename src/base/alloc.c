/* The only file that calls malloc. Two kinds of memory: pieces from the C library, and large zeroed regions
 * mapped from the kernel, aligned to huge pages so that a scan over vectors or a walk over a graph misses the
 * TLB 512 times less often. Large pieces ask for huge pages as well, as far as they contain whole ones. */
#define U2I_BASE_ALLOC_IMPL
#include "base/alloc.h"

#include "u2i.h"
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALLOC_HUGE_BYTES  ((size_t)2 << 20)
#define ALLOC_LARGE_BYTES (2 * ALLOC_HUGE_BYTES) /* there is a whole huge page in it */

static void alloc_ask_huge(void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* advice: small pages work as well */
#endif
    (void)p;
    (void)bytes;
}

/* p as malloc gave it, NULL too. */
static void *alloc_large(void *p, size_t bytes) {
    if (p != NULL && bytes >= ALLOC_LARGE_BYTES) {
        const size_t before =
            (ALLOC_HUGE_BYTES - (uintptr_t)p % ALLOC_HUGE_BYTES) % ALLOC_HUGE_BYTES;
        const size_t whole = (bytes - before) / ALLOC_HUGE_BYTES * ALLOC_HUGE_BYTES;
        alloc_ask_huge((char *)p + before, whole);
    }
    return p;
}

void *mem_alloc(size_t bytes) {
    return alloc_large(malloc(bytes == 0 ? 1 : bytes), bytes);
}

void *mem_zalloc(size_t bytes) {
    return alloc_large(calloc(bytes == 0 ? 1 : bytes, 1), bytes);
}

void *alloc_array(size_t n, size_t size) {
    size_t bytes = 0;
    return __builtin_mul_overflow(n, size, &bytes) ? NULL : mem_alloc(bytes);
}

void *realloc_array(void *p, size_t n, size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        return NULL;
    }
    return alloc_large(realloc(p, bytes == 0 ? 1 : bytes), bytes);
}

void *mem_dup(const void *p, size_t bytes) {
    void *const copy = mem_alloc(bytes);
    if (copy != NULL && bytes > 0) {
        memcpy(copy, p, bytes);
    }
    return copy;
}

char *str_dup(const char *s, size_t n) {
    char *const copy = n == SIZE_MAX ? NULL : mem_alloc(n + 1);
    if (copy != NULL) {
        if (n > 0) {
            memcpy(copy, s, n);
        }
        copy[n] = '\0';
    }
    return copy;
}

void mem_free(void *p) {
    free(p);
}

int array_reserve(void *p_to_pointer, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) {
        return U2I_OK;
    }
    size_t grown = *cap < 8 ? 8 : *cap > SIZE_MAX / 2 ? SIZE_MAX : *cap * 2;
    if (grown < need) {
        grown = need;
    }
    /* The pointer has any object type; memcpy reads and writes it without aliasing trouble. */
    void *p = NULL;
    memcpy(&p, p_to_pointer, sizeof p);
    p = realloc_array(p, grown, size);
    if (p == NULL) {
        return U2I_ENOMEM;
    }
    memcpy(p_to_pointer, &p, sizeof p);
    *cap = grown;
    return U2I_OK;
}

/* Rounded up to whole pages; 0 if that overflows. */
static size_t pages_round(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes > SIZE_MAX - page) {
        return 0;
    }
    return bytes == 0 ? page : (bytes + page - 1) / page * page;
}

static void *pages_map(size_t bytes) {
    void *const p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Maps one huge page too many and gives back what lies before and after the aligned part. */
static void *pages_map_aligned(size_t bytes) {
    if (bytes > SIZE_MAX - ALLOC_HUGE_BYTES) {
        return NULL;
    }
    char *const raw = pages_map(bytes + ALLOC_HUGE_BYTES);
    if (raw == NULL) {
        return NULL;
    }
    const size_t before = (ALLOC_HUGE_BYTES - (uintptr_t)raw % ALLOC_HUGE_BYTES) % ALLOC_HUGE_BYTES;
    if (before > 0) {
        (void)munmap(raw, before); /* can only fail for lack of kernel memory: address space lost */
    }
    (void)munmap(raw + before + bytes, ALLOC_HUGE_BYTES - before);
    alloc_ask_huge(raw + before, bytes);
    return raw + before;
}

void *pages_alloc(size_t bytes) {
    const size_t rounded = pages_round(bytes);
    if (rounded == 0) {
        return NULL;
    }
    return rounded < ALLOC_HUGE_BYTES ? pages_map(rounded) : pages_map_aligned(rounded);
}

void pages_free(void *p, size_t bytes) {
    if (p != NULL) {
        (void)munmap(p, pages_round(bytes)); /* our own mapping: cannot fail in a way to handle */
    }
}
