/* A file in memory, mapped privately: what is written to it stays in this process and never reaches the
 * file. Pages are read when they are touched (asking for all of them at once was measured: it is
 * slower). If somebody cuts the file short meanwhile, touching what is gone kills the process (SIGBUS),
 * so this is for files that are replaced, never changed. */
#ifndef U2I_BASE_FILEMAP_H
#define U2I_BASE_FILEMAP_H

#include <stddef.h>

/* `bytes` of memory, the first `file_bytes` of them from the file, the rest zero. NULL with errno. */
void *filemap_new(int fd, size_t file_bytes, size_t bytes);
/* `bytes` > 0 of the file, which can be read only: for what is never to be written. NULL with errno. */
void *filemap_new_read_only(int fd, size_t bytes);
/* Gives the memory of the whole pages within [p, p + bytes) back; what was written there is lost. */
void filemap_drop(void *p, size_t bytes);
void filemap_free(void *p, size_t bytes); /* p NULL is a no-op */

#endif
