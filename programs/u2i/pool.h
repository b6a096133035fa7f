/* Memory of one batch: many small allocations, freed together. The first chunk is kept and used
 * again, so a long import allocates nothing once it runs. Used by one thread. */
#ifndef CLI_POOL_H
#define CLI_POOL_H

#include <stddef.h>

struct pool_chunk;
struct pool {
    struct pool_chunk *chunks; /* newest first */
    size_t bytes;              /* handed out since the last reset */
};

void *pool_alloc(struct pool *p, size_t n); /* aligned for any type; NULL when out of memory */
char *pool_copy(struct pool *p, const char *s, size_t n); /* and a NUL */
void pool_reset(struct pool *p);
void pool_free(struct pool *p);

#endif
