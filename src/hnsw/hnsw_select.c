/* Which candidates become links: not simply the nearest ones, but those that are nearer to the node
 * than to any link chosen before them (the paper's algorithm 4, "heuristic"). So links point in different
 * directions, and every candidate left out is reached across one that was taken. */
#include "hnsw_internal.h"

enum { HNSW_SELECT_STEP = 8 }; /* chosen links compared at once */
/* A link covers what is nearer to it by this factor: a little over 1 keeps more and longer links, and a
 * walk needs fewer steps (Subramanya et al., "DiskANN", NeurIPS 2019, section 2.3; measured here:
 * 1.1 saves 17 % of the distances at recall .99 on text, 1.2 no more). */
#define HNSW_SELECT_ALPHA 1.1f

float hnsw_sim(const struct hnsw *h, uint32_t a, uint32_t b) {
    const struct hnsw_head x = hnsw_head_of(hnsw_code(h, a));
    const struct hnsw_head y = hnsw_head_of(hnsw_code(h, b));
    const size_t head = sizeof x;
    const int32_t dot =
        vec_get()->dot_i8(hnsw_code(h, a) + head, hnsw_code(h, b) + head, h->code_bytes - head);
    return hnsw_agree(dot, &x, &y);
}

/* Insertion by halves would do for the 33 of a full list, but a new node has hundreds. */
static int hnsw_near_compare(const void *a, const void *b) {
    const struct hnsw_near *const x = a;
    const struct hnsw_near *const y = b;
    if (x->sim != y->sim) {
        return x->sim > y->sim ? -1 : 1;
    }
    return x->node < y->node ? -1 : x->node > y->node;
}

void hnsw_near_sort(struct hnsw_near *near, uint32_t n) {
    qsort(near, n, sizeof *near, hnsw_near_compare);
}

/* The links chosen so far, with what comparing with them needs. */
struct hnsw_chosen {
    const int8_t *codes[2 * HNSW_LINKS_MAX];
    struct hnsw_head heads[2 * HNSW_LINKS_MAX];
    int8_t *row; /* of the candidate, without its head */
    uint32_t n;
};

/* Whether the candidate is nearer to a chosen link than to the node, by the factor. */
static bool hnsw_covered(const struct hnsw *h, const struct hnsw_chosen *c,
                         const struct hnsw_near *near) {
    const struct vec_ops *const vec = vec_get();
    const float enough = 1 - (1 - near->sim) / HNSW_SELECT_ALPHA;
    memcpy(c->row, hnsw_code(h, near->node), h->code_bytes);
    const struct hnsw_head head = hnsw_head_of(c->row);
    memset(c->row, 0, sizeof head);
    for (uint32_t first = 0; first < c->n; first += HNSW_SELECT_STEP) {
        const uint32_t left = c->n - first;
        const uint32_t n = left < HNSW_SELECT_STEP ? left : HNSW_SELECT_STEP;
        int32_t dots[HNSW_SELECT_STEP];
        vec->dot_i8_rows(c->row, c->codes + first, n, h->code_bytes, dots);
        for (uint32_t i = 0; i < n; i++) {
            if (hnsw_agree(dots[i], &head, &c->heads[first + i]) > enough) {
                return true;
            }
        }
    }
    return false;
}

uint32_t hnsw_select_links(const struct hnsw *h, const struct hnsw_select *in, uint32_t *links) {
    int8_t row[U2I_DIM_MAX + 2 * HNSW_CODE_ALIGN];
    struct hnsw_chosen chosen = {.n = 0, .row = row};
    assert(h->code_bytes <= sizeof row);
    assert(in->max <= 2 * HNSW_LINKS_MAX && in->fixed <= in->max);
    for (uint32_t i = 0; i < in->n && chosen.n < in->max; i++) {
        const struct hnsw_near *const near = &in->near[i];
        if (i >= in->fixed && hnsw_covered(h, &chosen, near)) {
            continue;
        }
        chosen.codes[chosen.n] = hnsw_code(h, near->node);
        chosen.heads[chosen.n] = hnsw_head_of(hnsw_code(h, near->node));
        links[chosen.n++] = near->node;
    }
    for (uint32_t i = chosen.n; i < in->max; i++) {
        links[i] = HNSW_NONE;
    }
    return chosen.n;
}
