/* What the evaluation of filters sees of the columns. filter.h has the functions that change
 * them. */
#ifndef U2I_FILTER_COLUMNS_H
#define U2I_FILTER_COLUMNS_H

#include "base/arena.h"
#include "filter/chunk.h"
#include "filter/filter.h"
#include "filter/value.h"

#define COLUMNS_NONE UINT32_MAX /* no such column; as a parent: the attributes themselves */

/* An array as a value: this header, then n values, then n tags. */
struct column_array {
    uint64_t n;
};
static inline const uint64_t *column_array_values(const struct column_array *a) {
    return (const uint64_t *)(const void *)(a + 1);
}
static inline const uint8_t *column_array_tags(const struct column_array *a) {
    return (const uint8_t *)(column_array_values(a) + a->n);
}

/* What 64 bits mean, by tag: VALUE_BOOL 0 or 1, VALUE_INT two's complement, VALUE_REAL the bits of
 * a double, VALUE_STRING a code of columns_strings(), VALUE_ARRAY a pointer; VALUE_OBJECT
 * nothing. */
static inline double column_real(uint64_t value) {
    double r;
    __builtin_memcpy(&r, &value, sizeof r);
    return r;
}
static inline uint64_t column_bits(double r) {
    uint64_t bits;
    __builtin_memcpy(&bits, &r, sizeof bits);
    return bits;
}
static inline const struct column_array *column_array(uint64_t value) {
    return (const struct column_array *)(uintptr_t)value;
}

/* The code -> string table that all columns share. */
const struct intern *columns_strings(const struct columns *c);
uint32_t columns_category(const struct columns *c); /* COLUMNS_NONE while no item has one */
/* The column of a member of `parent`, or of its element `index` when key is NULL: *column gets it,
 * or COLUMNS_NONE. Scratch comes from the arena; U2I_OK or U2I_ENOMEM. */
struct column_step {
    const char *key;
    uint32_t key_n, index;
};
int columns_find(const struct columns *c, uint32_t parent, const struct column_step *step,
                 struct arena *scratch, uint32_t *column);
/* NULL where the column has no value in the chunk, and for COLUMNS_NONE. */
const struct chunk *columns_chunk(const struct columns *c, uint32_t column, uint32_t number);

#endif
