/* Exact search: compare the query with every vector, keep the k best. The index of small
 * catalogues, and the oracle of every other. Vectors lie in slabs of fixed size that never move;
 * slots are dense and re-used, and each knows its row (the number by which everybody else knows the
 * item). Reads in parallel; flat_set and flat_remove need the owner's exclusive lock. */
#ifndef U2I_FLAT_FLAT_H
#define U2I_FLAT_FLAT_H

#include "base/clock.h"
#include "base/topk.h"
#include "u2i.h"
#include <roaring/roaring.h>

struct flat;

struct flat_query {
    const float *vector; /* dim floats */
    uint32_t k;
    const roaring_bitmap_t *allow; /* only these rows; NULL = all */
    const roaring_bitmap_t *deny;  /* not these rows; NULL = none */
    topk_tie_fn tie;               /* order of equal scores; NULL = by row */
    const void *tie_ctx;
    const struct deadline *deadline; /* may be NULL */
};

int flat_new(uint32_t dim, struct flat **out, u2i_error_t *err);
void flat_free(struct flat *f);
/* Inserts or replaces the vector of `row` (copied as it is). U2I_ENOMEM. */
int flat_set(struct flat *f, uint32_t row, const float *vector, u2i_error_t *err);
void flat_remove(struct flat *f, uint32_t row);               /* absent rows are ignored */
const float *flat_vector(const struct flat *f, uint32_t row); /* NULL if absent */
uint32_t flat_count(const struct flat *f);
size_t flat_bytes(const struct flat *f); /* memory touched */
/* Inner products, best first, into out[k]; *n gets how many. Chooses between a scan of all slots
 * and a walk over the allowed rows by their count. U2I_ETIMEOUT, U2I_ENOMEM. */
int flat_search(const struct flat *f, const struct flat_query *q, struct hit *out, uint32_t *n,
                u2i_error_t *err);

#endif
