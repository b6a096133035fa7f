/* A filter is a hard constraint on items: `category == "book" and price < {max}`. The text is
 * parsed to a checked tree once, then evaluated over typed columns to a bitmap of rows. The
 * language is that of Milvus for scalar fields (docs/filter.md), with three-valued logic: a
 * comparison with a missing value or one of another type is neither true nor false, and only true
 * rows pass.
 *
 * A filter is immutable after filter_parse() and may be used by many threads. Columns: reads in
 * parallel, changes under the owner's exclusive lock. */
#ifndef U2I_FILTER_FILTER_H
#define U2I_FILTER_FILTER_H

#include "base/clock.h"
#include "base/intern.h"
#include "u2i.h"
#include <roaring/roaring.h>
#include <stdbool.h>

/* ---- Columns: the attributes of all items, one typed column for each path -------------------- */

struct columns;
struct attrs; /* one item's attributes, parsed and checked, not yet in a column */

int columns_new(struct columns **out, u2i_error_t *err);
void columns_free(struct columns *c);
/* Parses and checks what a row will hold, outside of any lock: category and JSON may be NULL. The
 * message says what is wrong (too deep, not an object, ...). U2I_EINVAL, U2I_ENOMEM. */
int attrs_parse(const char *category, const char *json, size_t json_n, struct attrs **out,
                u2i_error_t *err);
void attrs_free(struct attrs *a);
/* Replaces what `row` holds. U2I_ENOMEM, and then the row holds what it held before. */
int columns_put(struct columns *c, uint32_t row, const struct attrs *a, u2i_error_t *err);
void columns_remove(struct columns *c, uint32_t row);
size_t columns_bytes(const struct columns *c);

/* ---- Filters ------------------------------------------------------------------------------- */

struct filter;

/* Parses text[0..n) with its {names} bound to params (copied); the text must live as long as the filter,
 * which keeps names in it. U2I_EFILTER: err->offset is the byte
 * where, the message says what was expected. U2I_ENOMEM. */
int filter_parse(const char *text, size_t n, const u2i_param_t *params, size_t params_n,
                 struct filter **out, u2i_error_t *err);
void filter_free(struct filter *f);
/* The parameters that the text names, each time it does; non-zero from fn stops and is returned. Names lie
 * in the text. U2I_EFILTER, U2I_ENOMEM. */
typedef int (*filter_name_fn)(void *ctx, const char *name, size_t n);
int filter_param_names(const char *text, size_t n, filter_name_fn fn, void *ctx, u2i_error_t *err);

/* What a filter is evaluated over. */
struct filter_rows {
    const struct columns *columns;
    const struct intern *ids;     /* row -> item id, for the field `id` */
    const roaring_bitmap_t *live; /* the rows that exist */
};
/* The bitmap of live rows that pass, owned by the caller. U2I_ENOMEM, U2I_ETIMEOUT. */
int filter_eval(const struct filter *f, const struct filter_rows *rows,
                const struct deadline *deadline, roaring_bitmap_t **out, u2i_error_t *err);
/* The same for n rows by themselves, live or not: passes[i] says whether which[i] does. Costs the n rows and
 * not the catalogue: for boosting candidates, where filter_eval() is for constraints. U2I_ENOMEM. */
int filter_match(const struct filter *f, const struct filter_rows *rows, const uint32_t *which,
                 uint32_t n, bool *passes, u2i_error_t *err);
/* The same question for one item, answered straight from its attributes by a separate, simpler walk
 * over the tree: the oracle of filter_eval(), and what the memory store uses. */
bool filter_item(const struct filter *f, const char *id, const struct attrs *a);

#endif
