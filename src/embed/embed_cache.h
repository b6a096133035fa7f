/* Vectors of texts that were embedded lately, in bounded memory: private to embed/. The least recently used go first.
 * Texts are kept and compared as a whole, so no choice of texts can make one get the other's
 * vector. Calls from any number of threads at once. */
#ifndef U2I_EMBED_EMBED_CACHE_H
#define U2I_EMBED_EMBED_CACHE_H

#include "u2i.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct embed_cache;
/* At most `bytes_max` bytes, the texts counted, beside a table of some hundred KiB. U2I_ENOMEM. */
int embed_cache_new(uint32_t dim, size_t bytes_max, struct embed_cache **out, u2i_error_t *err);
void embed_cache_free(struct embed_cache *c); /* NULL is a no-op */
bool embed_cache_get(struct embed_cache *c, const char *text, size_t n, float *out);
/* Without memory, or where the text alone is too much, nothing is kept. */
void embed_cache_put(struct embed_cache *c, const char *text, size_t n, const float *vector);
size_t embed_cache_bytes(struct embed_cache *c);

#endif
