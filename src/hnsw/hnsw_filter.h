/* Searching among some of the rows only; see hnsw_filter.c. */
#ifndef U2I_HNSW_FILTER_H
#define U2I_HNSW_FILTER_H

#include "hnsw_internal.h"

/* Whether the node is live and its row passes. */
static inline bool hnsw_passes(const struct hnsw *h, const struct hnsw_scratch *s, uint32_t node) {
    const uint32_t row = hnsw_row(h, node); /* HNSW_NONE if it is removed */
    return row != HNSW_NONE && (s->pass[row / 64] >> (row % 64) & 1) != 0;
}

/* s->pass: a bit for each row, set where allow and deny let it pass. False when out of memory. */
bool hnsw_filter_bits(const struct hnsw *h, struct hnsw_scratch *s, const struct hnsw_query *q);
/* As hnsw_descend() and hnsw_walk() of layer 0, among nodes whose rows pass; `seeded`: also from passing
 * rows picked at random. */
void hnsw_filter_walk(const struct hnsw *h, struct hnsw_scratch *s, uint32_t ef, bool seeded);
/* The plain walk, for ef passing nodes besides those in the pool that don't pass, as far as the scratch's
 * pool has room; false if it did not find so many. `dense`: the ones that don't pass are the nearest. */
bool hnsw_filter_walk_around(const struct hnsw *h, struct hnsw_scratch *s, uint32_t ef, bool dense);
bool hnsw_filter_near(const struct hnsw *h, struct hnsw_scratch *s);
/* Leaves the `keep` most similar of the rows of q->allow that q->deny does not hold in s->pool; or of all
 * rows. U2I_ETIMEOUT. */
int hnsw_filter_scan(const struct hnsw *h, struct hnsw_scratch *s, const struct hnsw_query *q,
                     uint32_t keep, u2i_error_t *err);
int hnsw_filter_scan_all(const struct hnsw *h, struct hnsw_scratch *s, const struct hnsw_query *q,
                         uint32_t keep, u2i_error_t *err);

#endif
