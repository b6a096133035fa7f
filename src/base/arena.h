/* Bump allocation for one query's scratch: many small pieces, freed at once. One thread at a time.
 * A zero-filled struct is an empty arena. */
#ifndef U2I_BASE_ARENA_H
#define U2I_BASE_ARENA_H

#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *top;
};

void *arena_alloc(struct arena *a, size_t bytes);          /* 16-byte aligned; NULL = no memory */
void *arena_array(struct arena *a, size_t n, size_t size); /* checked product */
char *arena_dup(struct arena *a, const char *s, size_t n); /* n bytes plus NUL */
void arena_free(struct arena *a);                          /* frees all; the arena is empty again */

#endif
