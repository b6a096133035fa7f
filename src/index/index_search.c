/* A question to both parts.
 *
 * A graph whose file has a damaged vector answers U2I_ECORRUPT when it meets it. Then, until the thread
 * has put the graph's vectors back into the flat part, each such question is answered by comparing with
 * all vectors that are sound: slow, but right but for the rows that are lost. */
#include "index_internal.h"

#include "vec/vec.h"

#define INDEX_HITS        256u  /* on the stack; more are on the heap */
#define INDEX_SWEEP_EVERY 1024u /* rows between two looks at the clock */

/* ---- Past damage ---------------------------------------------------------------------------- */

struct index_sweep {
    const struct index *ix;
    const struct index_query *q;
    struct topk best;
    uint32_t compared;
    bool late;
};

static void index_sweep_row(void *ctx, uint32_t row) {
    struct index_sweep *const s = ctx;
    const struct index_query *const q = s->q;
    if (s->late || (q->allow != NULL && !roaring_bitmap_contains(q->allow, row)) ||
        (q->deny != NULL && roaring_bitmap_contains(q->deny, row))) {
        return;
    }
    s->late = s->compared++ % INDEX_SWEEP_EVERY == 0 && deadline_passed(q->deadline);
    const float *const vector = s->late ? NULL : hnsw_vector(s->ix->graph, row);
    if (vector != NULL) {
        topk_push(&s->best, vec_dot(q->vector, vector, s->ix->opt.dim), row);
    }
}

static int index_sweep(const struct index *ix, const struct index_query *q, struct hit *out,
                       uint32_t *n, u2i_error_t *err) {
    struct index_sweep s = {.ix = ix, .q = q};
    topk_init(&s.best, out, q->k, q->tie, q->tie_ctx);
    hnsw_each_row(ix->graph, index_sweep_row, &s);
    if (s.late) {
        return error_set(err, U2I_ETIMEOUT, "the search over %u vectors ran out of time",
                         ix->graph_n);
    }
    *n = topk_sort(&s.best);
    return U2I_OK;
}

/* ---- Both parts ----------------------------------------------------------------------------- */

static int index_search_graph(const struct index *ix, const struct index_query *q, struct hit *out,
                              uint32_t *n, struct index_explain *why, u2i_error_t *err) {
    const struct hnsw_query query = {.vector = q->vector,
                                     .k = q->k,
                                     .ef = ix->opt.config.ef_search,
                                     .allow = q->allow,
                                     .deny = q->deny,
                                     .tie = q->tie,
                                     .tie_ctx = q->tie_ctx,
                                     .deadline = q->deadline};
    why->graph = true;
    const int rc = hnsw_search(ix->graph, &query, out, n, &why->walk, err);
    if (rc != U2I_ECORRUPT) {
        return rc;
    }
    if (!atomic_exchange(&ix->bell->damaged, true)) {
        index_ring(ix);
    }
    why->walk.strategy = HNSW_SCAN;
    error_clear(err);
    *n = 0;
    return index_sweep(ix, q, out, n, err);
}

static int index_search_flat(const struct index *ix, const struct index_query *q, struct hit *out,
                             uint32_t *n, u2i_error_t *err) {
    const struct flat_query query = {.vector = q->vector,
                                     .k = q->k,
                                     .allow = q->allow,
                                     .deny = q->deny,
                                     .tie = q->tie,
                                     .tie_ctx = q->tie_ctx,
                                     .deadline = q->deadline};
    return flat_search(ix->flat, &query, out, n, err);
}

/* Both sorted; no row is in both. */
struct index_answer {
    const struct hit *hits;
    uint32_t n;
};

static bool index_before(const struct index_query *q, const struct hit *a, const struct hit *b) {
    if (a->score != b->score) {
        return a->score > b->score;
    }
    const int order = q->tie == NULL ? 0 : q->tie(q->tie_ctx, a->row, b->row);
    return order != 0 ? order < 0 : a->row < b->row;
}

static uint32_t index_merge(const struct index_query *q, struct index_answer a,
                            struct index_answer b, struct hit *out) {
    uint32_t n = 0;
    while (n < q->k && (a.n > 0 || b.n > 0)) {
        const bool first = b.n == 0 || (a.n > 0 && index_before(q, a.hits, b.hits));
        struct index_answer *const from = first ? &a : &b;
        out[n++] = *from->hits++;
        from->n--;
    }
    return n;
}

static int index_search_both(const struct index *ix, const struct index_query *q, struct hit *out,
                             uint32_t *n, struct index_explain *why, u2i_error_t *err) {
    struct hit few[2 * INDEX_HITS];
    struct hit *const many = q->k <= INDEX_HITS ? NULL : alloc_array(q->k, 2 * sizeof *many);
    struct hit *const hits = q->k <= INDEX_HITS ? few : many;
    if (hits == NULL) {
        return error_oom(err);
    }
    struct index_answer a = {.hits = hits};
    struct index_answer b = {.hits = hits + q->k};
    int rc = index_search_graph(ix, q, hits, &a.n, why, err);
    if (rc == U2I_OK) {
        rc = index_search_flat(ix, q, hits + q->k, &b.n, err);
    }
    if (rc == U2I_OK) {
        *n = index_merge(q, a, b, out);
    }
    mem_free(many);
    return rc;
}

int index_search(const struct index *ix, const struct index_query *q, struct hit *out, uint32_t *n,
                 struct index_explain *why, u2i_error_t *err) {
    struct index_explain ignored;
    why = why == NULL ? &ignored : why;
    *why = (struct index_explain){.compared = index_flat_n(ix)};
    *n = 0;
    if (q->k == 0) {
        return U2I_OK;
    }
    if (ix->graph_n == 0) {
        return index_search_flat(ix, q, out, n, err);
    }
    if (index_flat_n(ix) == 0) {
        return index_search_graph(ix, q, out, n, why, err);
    }
    return index_search_both(ix, q, out, n, why, err);
}
