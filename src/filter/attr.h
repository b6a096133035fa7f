/* One value of one item by its path (`brand`, `size["width"]`, `category`): for what looks at attributes
 * beside filters, such as caps by brand or the age of an article. Read from an item's parsed attributes or
 * from the columns, and then the same. Paths are immutable; reads in parallel as with filters. */
#ifndef U2I_FILTER_ATTR_H
#define U2I_FILTER_ATTR_H

#include "filter/filter.h"

enum attr_type {
    ATTR_MISSING = 0, /* also null, and objects, which are no value */
    ATTR_BOOL = 1,
    ATTR_INT = 2,
    ATTR_REAL = 3,
    ATTR_STRING = 4,
    ATTR_ARRAY = 5
};

struct attr_value {
    enum attr_type type;
    uint32_t n;    /* ATTR_STRING: bytes; ATTR_ARRAY: elements */
    int64_t i;     /* ATTR_INT; ATTR_BOOL: 0 or 1 */
    double number; /* ATTR_INT and ATTR_REAL */
    const char *s; /* ATTR_STRING; not NUL-terminated, valid as long as what it was read from */
    uint64_t
        key; /* equal values (1 and 1.0 too) have equal keys, others another one but for a chance of
                      2^-64; 0 if and only if ATTR_MISSING. The same in every process and version */
    const void *in, *array; /* for attr_element() */
};

struct attr_path;
/* A field as filters write it, but for `id`. U2I_EFILTER with err->offset, U2I_ENOMEM. */
int attr_path_parse(const char *text, size_t n, struct attr_path **out, u2i_error_t *err);
/* Keys joined by dots, each of any characters but dots: `size.width`. Any word is a key, `category` too.
 * U2I_EFILTER for an empty key or more than U2I_ATTRS_MAX_DEPTH of them. */
int attr_path_dotted(const char *text, size_t n, struct attr_path **out, u2i_error_t *err);
void attr_path_free(struct attr_path *path); /* NULL is a no-op */

void attrs_get(const struct attrs *a, const struct attr_path *path, struct attr_value *out);

/* Many rows of the columns: the path is looked up once, then each row is a few steps. */
struct attr_column {
    const struct columns *columns;
    uint32_t column, indexes_n;
    uint32_t indexes[U2I_ATTRS_MAX_DEPTH];
};
int attr_column_find(const struct columns *c, const struct attr_path *path, struct attr_column *out,
                     u2i_error_t *err); /* U2I_ENOMEM; a path that nothing has is no error */
void columns_get(const struct attr_column *column, uint32_t row, struct attr_value *out);
/* out[i] of rows[i], faster than one by one. */
void columns_get_many(const struct attr_column *column, const uint32_t *rows, uint32_t n,
                      struct attr_value *out);

/* Element i < n of an array. */
void attr_element(const struct attr_value *array, uint32_t i, struct attr_value *out);

#endif
