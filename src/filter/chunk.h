/* The values that one column has in CHUNK_ROWS neighbouring rows. Reads in parallel, changes under
 * the owner's exclusive lock. */
#ifndef U2I_FILTER_CHUNK_H
#define U2I_FILTER_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_ROWS 4096u /* tags and values of one dense chunk fit the second-level cache */

/* Dense: `rows` is NULL and slot i is row i, VALUE_MISSING where there is none. Sparse: the first n
 * slots are taken, in order of their rows. */
struct chunk {
    uint32_t number; /* holds the rows from number * CHUNK_ROWS on */
    uint16_t n, cap; /* rows that have a value; sparse: slots */
    uint64_t *values;
    uint8_t *tags;
    uint16_t *rows;
};

struct chunk *chunk_new(uint32_t number); /* sparse and empty; NULL = no memory */
void chunk_free(struct chunk *c);
/* Makes sure that chunk_set(row) has room; may replace the chunk. U2I_OK or U2I_ENOMEM. */
int chunk_reserve(struct chunk **c, uint16_t row);
void chunk_set(struct chunk *c, uint16_t row, uint8_t tag, uint64_t value); /* row holds nothing */
/* What the row holds; false when it holds nothing. */
bool chunk_get(const struct chunk *c, uint16_t row, uint8_t *tag, uint64_t *value);
/* Asks for what chunk_get() will read: rows asked for one by one are far apart, and waiting for memory is
 * most of the time. */
static inline void chunk_prefetch(const struct chunk *c, uint16_t row) {
    if (c->rows == NULL) {
        __builtin_prefetch(&c->tags[row]);
        __builtin_prefetch(&c->values[row]);
    }
}
/* Empties the row and reports what it held; false when it held nothing. Frees no memory, so that
 * what was reserved stays reserved. */
bool chunk_unset(struct chunk *c, uint16_t row, uint8_t *tag, uint64_t *value);
/* Gives back memory if the chunk has much more of it than it needs; does nothing when it cannot. */
void chunk_tidy(struct chunk **c);
size_t chunk_bytes(const struct chunk *c);

#endif
