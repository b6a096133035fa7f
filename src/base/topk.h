/* The k best (score, row) pairs seen so far: a bounded min-heap whose root is the worst kept one,
 * so that a candidate that does not make it costs one comparison. Equal scores are ordered by `tie`
 * (negative: a before b), or by row where tie is NULL, so that the answer never depends on the
 * order of the scan. One thread at a time. */
#ifndef U2I_BASE_TOPK_H
#define U2I_BASE_TOPK_H

#include <stdbool.h>
#include <stdint.h>

struct hit {
    float score;
    uint32_t row;
};

typedef int (*topk_tie_fn)(const void *ctx, uint32_t row_a, uint32_t row_b);

struct topk {
    struct hit *hits; /* caller's array of k */
    uint32_t k, n;
    topk_tie_fn tie;
    const void *tie_ctx;
};

void topk_init(struct topk *t, struct hit *hits, uint32_t k, topk_tie_fn tie, const void *tie_ctx);
void topk_push_slow(struct topk *t, float score, uint32_t row);
static inline void topk_push(struct topk *t, float score, uint32_t row) {
    if (t->n < t->k || (t->k > 0 && score >= t->hits[0].score)) {
        topk_push_slow(t, score, row);
    }
}
uint32_t topk_sort(struct topk *t); /* best first, in place; returns n; push no more after it */

#endif
