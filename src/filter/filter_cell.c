/* One row of one column: what asking about a few rows needs. A chunk is found among the column's by bisection,
 * a sparse chunk's row likewise. */
#include "filter/filter_eval.h"

uint8_t filter_cell(const struct columns *c, const struct eval_field *field, uint32_t row,
                    uint64_t *bits) {
    const struct chunk *const chunk = columns_chunk(c, field->column, row / CHUNK_ROWS);
    uint8_t tag = VALUE_MISSING;
    *bits = 0;
    if (chunk == NULL || !chunk_get(chunk, (uint16_t)(row % CHUNK_ROWS), &tag, bits)) {
        return VALUE_MISSING;
    }
    for (uint32_t i = 0; i < field->indexes_n; i++) {
        const struct column_array *const array = tag == VALUE_ARRAY ? column_array(*bits) : NULL;
        if (array == NULL || field->indexes[i] >= array->n) {
            return VALUE_MISSING;
        }
        tag = column_array_tags(array)[field->indexes[i]];
        *bits = column_array_values(array)[field->indexes[i]];
    }
    return tag;
}

void filter_cell_prefetch(const struct columns *c, uint32_t column, const uint32_t *rows,
                          uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const struct chunk *const chunk = columns_chunk(c, column, rows[i] / CHUNK_ROWS);
        if (chunk != NULL) {
            chunk_prefetch(chunk, (uint16_t)(rows[i] % CHUNK_ROWS));
        }
    }
}

struct value filter_cell_value(const struct intern *strings, uint8_t tag, uint64_t bits) {
    struct value v = {.tag = tag};
    size_t n = 0;
    switch (tag) {
    case VALUE_STRING:
        v.as.s = intern_name(strings, (uint32_t)bits, &n);
        v.n = (uint32_t)n;
        break;
    case VALUE_REAL:
        v.as.r = column_real(bits);
        break;
    default:
        v.as.i = (int64_t)bits;
        break;
    }
    return v;
}
