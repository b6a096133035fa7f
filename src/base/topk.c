/* A bounded heap of the best. The root is the worst kept hit, so most candidates of a scan are
 * turned away by the one comparison in topk_push(). The order is total (score, then tie, then row),
 * so the answer is the same whatever the order of the scan. A score that is not a number is
 * never kept: it would break the order. */
#include "base/topk.h"

#include <assert.h>
#include <stddef.h>

/* True if a stands after b in the answer. */
static bool topk_worse(const struct topk *t, const struct hit *a, const struct hit *b) {
    if (a->score != b->score) {
        return a->score < b->score;
    }
    const int order = t->tie == NULL ? 0 : t->tie(t->tie_ctx, a->row, b->row);
    return order != 0 ? order > 0 : a->row > b->row;
}

void topk_init(struct topk *t, struct hit *hits, uint32_t k, topk_tie_fn tie, const void *tie_ctx) {
    *t = (struct topk){.hits = hits, .k = k, .tie = tie, .tie_ctx = tie_ctx};
}

static void topk_sift_up(struct topk *t, struct hit h) {
    size_t i = t->n++;
    while (i > 0) {
        const size_t parent = (i - 1) / 2;
        if (!topk_worse(t, &h, &t->hits[parent])) {
            break;
        }
        t->hits[i] = t->hits[parent];
        i = parent;
    }
    t->hits[i] = h;
}

/* Puts h at the root of the heap hits[0..n) and lets it sink. */
static void topk_sift_down(struct topk *t, size_t n, struct hit h) {
    size_t i = 0;
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && topk_worse(t, &t->hits[child + 1], &t->hits[child])) {
            child++;
        }
        if (!topk_worse(t, &t->hits[child], &h)) {
            break;
        }
        t->hits[i] = t->hits[child];
        i = child;
    }
    t->hits[i] = h;
}

void topk_push_slow(struct topk *t, float score, uint32_t row) {
    const struct hit h = {.score = score, .row = row};
    if (score != score || t->k == 0) {
        return;
    }
    assert(t->n <= t->k);
    if (t->n < t->k) {
        topk_sift_up(t, h);
    } else if (topk_worse(t, &t->hits[0], &h)) {
        topk_sift_down(t, t->n, h);
    }
}

uint32_t topk_sort(struct topk *t) {
    for (uint32_t n = t->n; n > 1; n--) {
        const struct hit worst = t->hits[0];
        topk_sift_down(t, n - 1, t->hits[n - 1]);
        t->hits[n - 1] = worst;
    }
    return t->n;
}
