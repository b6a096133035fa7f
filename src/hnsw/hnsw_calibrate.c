/* How large ef has to be, found by asking: a sample of queries whose exact answers are known is put
 * to the graph with one ef after another.
 *
 * The queries are what the owner says is asked. Where it doesn't know, half of them are vectors of the
 * graph (what is similar to this item?), half weighted means of near ones (what fits this user?): the
 * two need a different ef, so each kind has to reach the recall by itself. The sample's mean is uncertain by its standard error, and by so much it has to
 * be better than what is asked for: then most other samples reach it too.
 *
 * Exact answers cost a scan of all vectors. It goes block by block, a block being compared with
 * many queries while it is in the cache, and a large graph gets a smaller sample. Of an answer only
 * its last score is kept: whatever scores as well is as good. */
#include "hnsw_internal.h"

#include "base/error.h"
#include "base/rng.h"
#include <math.h>

enum {
    HNSW_SAMPLE_MAX = 400, /* queries */
    HNSW_SAMPLE_MIN = 64,
    HNSW_SAMPLE_K = 100,    /* exact answers to each */
    HNSW_SAMPLE_GROUP = 4,  /* queries that share a scan: few, to have work for all threads */
    HNSW_SAMPLE_BLOCK = 64, /* vectors compared with a group while they are in the cache */
    HNSW_SAMPLE_TRIES = 64, /* slots passed over for one in layer 0 only */
    HNSW_SAMPLE_NEAR = 60,  /* a mean is of some of so many that are near each other */
    HNSW_MEAN_MIN = 5,      /* vectors in a mean */
    HNSW_MEAN_MAX = 20,
    HNSW_EF_MAX = 2048,
    HNSW_EF_MORE = 6 /* ef is at least so much more than k */
};
#define HNSW_SAMPLE_WORK 4e10  /* multiplications of the scan: some seconds of one core */
#define HNSW_EF_STEP     1.08  /* from one ef to the next that is tried */
#define HNSW_EF_PLATEAU  0.002 /* recall that is not worth a larger ef, once out of reach */
#define HNSW_SCORE_SLACK 1e-5  /* of sums in another order */

static const uint32_t hnsw_ef_k[2] = {10, HNSW_SAMPLE_K};
static const uint32_t hnsw_ef_unknown[2] = {64, 224}; /* before the first calibration */

/* ---- ef for a number of results ------------------------------------------------------------- */

/* A power of k between and beyond the two, as ef over k is nearly a line on paper with two
 * logarithmic scales; but no smaller for fewer than 10, where a miss weighs more. */
uint32_t hnsw_ef_for(const struct hnsw *h, uint32_t k) {
    uint32_t ef[2];
    for (int i = 0; i < 2; i++) {
        const uint32_t found = atomic_load_explicit(&h->ef_at[i], memory_order_relaxed);
        ef[i] = found != 0 ? found : hnsw_ef_unknown[i];
    }
    const uint32_t least = k < UINT32_MAX - HNSW_EF_MORE ? k + HNSW_EF_MORE : k;
    uint32_t wanted = ef[0];
    if (k > hnsw_ef_k[0]) {
        const double slope = log((double)ef[1] / ef[0]) / log((double)hnsw_ef_k[1] / hnsw_ef_k[0]);
        const double power = slope < 0 ? 0 : slope > 1 ? 1 : slope;
        wanted = (uint32_t)ceil(ef[0] * pow((double)k / hnsw_ef_k[0], power));
    }
    return wanted > least ? wanted : least;
}

/* ---- The sample ----------------------------------------------------------------------------- */

struct hnsw_sample {
    const struct hnsw *h;
    uint32_t n;     /* queries: the first half vectors of the graph, the others means */
    float *queries; /* [n][dim] */
    uint32_t *own;  /* [n]: the node a query is from, which is no answer; HNSW_NONE: none */
    uint32_t *k[2]; /* [n]: hnsw_ef_k, or fewer where there are no more answers */
    float *last[2]; /* [n]: the score of the k-th exact answer */
    uint32_t ef;    /* being tried */
    int which;      /* of k */
    float *recalls; /* [n] */
};

/* Too few questions say too little. */
static bool hnsw_sample_is_asked(const struct hnsw *h) {
    return h->questions != NULL && h->questions_n >= HNSW_SAMPLE_MIN;
}

static uint32_t hnsw_sample_size(const struct hnsw *h) {
    const double all = (double)atomic_load(&h->count) * h->dim;
    const double n = HNSW_SAMPLE_WORK / all;
    const uint32_t size = n >= HNSW_SAMPLE_MAX   ? HNSW_SAMPLE_MAX
                          : n <= HNSW_SAMPLE_MIN ? HNSW_SAMPLE_MIN
                                                 : (uint32_t)n / 2 * 2;
    return hnsw_sample_is_asked(h) && h->questions_n < size ? h->questions_n : size;
}

static void hnsw_sample_free(struct hnsw_sample *s) {
    mem_free(s->queries);
    mem_free(s->own);
    mem_free(s->recalls);
    for (int which = 0; which < 2; which++) {
        mem_free(s->k[which]);
        mem_free(s->last[which]);
    }
}

static int hnsw_sample_alloc(struct hnsw_sample *s) {
    s->queries = alloc_array((size_t)s->n * s->h->dim, sizeof *s->queries);
    s->own = alloc_array(s->n, sizeof *s->own);
    s->recalls = alloc_array(s->n, sizeof *s->recalls);
    bool all = s->queries != NULL && s->own != NULL && s->recalls != NULL;
    for (int which = 0; which < 2; which++) {
        s->k[which] = alloc_array(s->n, sizeof *s->k[which]);
        s->last[which] = alloc_array(s->n, sizeof *s->last[which]);
        all = all && s->k[which] != NULL && s->last[which] != NULL;
    }
    return all ? U2I_OK : U2I_ENOMEM;
}

/* A live node with a sound vector, or HNSW_NONE: the first from a random slot on; rather one that
 * no walk comes by in the layers above 0. */
static uint32_t hnsw_sample_node(const struct hnsw *h, struct rng *r) {
    uint32_t node = rng_below(r, h->slots);
    for (uint32_t i = 0; i < h->slots; i++) {
        const bool low = hnsw_node_layers(h, node) == 0 || i >= HNSW_SAMPLE_TRIES;
        if (low && hnsw_live(h, node) && hnsw_node_vector(h, node) != NULL) {
            return node;
        }
        node = node + 1 < h->slots ? node + 1 : 0;
    }
    return HNSW_NONE;
}

/* The weighted mean of some of the nodes most similar to this one; what has no direction is not
 * taken. */
static int hnsw_sample_mean(struct hnsw_sample *s, struct rng *r, uint32_t node, float *out) {
    const struct hnsw *const h = s->h;
    struct hnsw_scratch *const scratch = hnsw_scratch_take(h, HNSW_SAMPLE_NEAR);
    if (scratch == NULL) {
        return U2I_ENOMEM;
    }
    hnsw_look_for_node(h, scratch, node);
    const uint32_t start = hnsw_descend(h, scratch, 0);
    hnsw_pool_start(scratch, HNSW_SAMPLE_NEAR);
    hnsw_pool_enter(h, scratch, &start, 1);
    hnsw_walk(h, scratch, 0);
    const uint32_t n = HNSW_MEAN_MIN + rng_below(r, HNSW_MEAN_MAX - HNSW_MEAN_MIN + 1);
    memset(out, 0, h->dim * sizeof *out);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t near = hnsw_pool_node(scratch->pool.entries[rng_below(r, scratch->pool.n)]);
        const float weight = (float)(0.2 + 0.8 * rng_unit(r));
        const float *const v = hnsw_live(h, near) ? hnsw_node_vector(h, near) : NULL;
        if (v != NULL) {
            vec_get()->axpy(weight, v, out, h->dim);
        }
    }
    hnsw_scratch_give(h, scratch);
    if (!vec_normalise(out, h->dim)) {
        memcpy(out, hnsw_node_vector(h, node), h->dim * sizeof *out);
    }
    return U2I_OK;
}

/* *n 0: there is nothing to draw from. */
static int hnsw_sample_draw(struct hnsw_sample *s) {
    const struct hnsw *const h = s->h;
    struct rng r;
    if (hnsw_sample_is_asked(h)) {
        memcpy(s->queries, h->questions, (size_t)s->n * h->dim * sizeof *s->queries);
        memset(s->own, 0xFF, s->n * sizeof *s->own); /* HNSW_NONE */
        return U2I_OK;
    }
    rng_seed(&r, h->seed ^ 0xCA11B8A7Eu);
    for (uint32_t i = 0; i < s->n; i++) {
        const uint32_t node = hnsw_sample_node(h, &r);
        float *const query = s->queries + (size_t)i * h->dim;
        if (node == HNSW_NONE) {
            s->n = 0;
            return U2I_OK;
        }
        if (i < s->n / 2) {
            memcpy(query, hnsw_node_vector(h, node), h->dim * sizeof *query);
            s->own[i] = node;
        } else {
            U2I_TRY(hnsw_sample_mean(s, &r, node, query));
            s->own[i] = HNSW_NONE;
        }
    }
    return U2I_OK;
}

/* ---- Exact answers -------------------------------------------------------------------------- */

/* Queries that share a scan. */
struct hnsw_sample_group {
    uint32_t from, n;
    struct topk best[HNSW_SAMPLE_GROUP]; /* of nodes */
    struct hit hits[HNSW_SAMPLE_GROUP][HNSW_SAMPLE_K];
};

/* Which of up to 64 nodes from `first` on are to be compared. */
static uint64_t hnsw_sample_usable(const struct hnsw *h, uint32_t first, uint32_t n) {
    uint64_t usable = 0;
    for (uint32_t i = 0; i < n; i++) {
        const bool use = hnsw_live(h, first + i) && hnsw_node_vector(h, first + i) != NULL;
        usable |= (uint64_t)use << i;
    }
    return usable;
}

static void hnsw_sample_block(const struct hnsw_sample *s, uint32_t first, uint32_t n,
                              struct hnsw_sample_group *g) {
    const struct hnsw *const h = s->h;
    float scores[HNSW_SAMPLE_BLOCK];
    const float *const vectors =
        hnsw_chunk_of(h, first)->vectors + (size_t)hnsw_within(first) * h->dim;
    const uint64_t usable = hnsw_sample_usable(h, first, n);
    for (uint32_t q = 0; q < g->n; q++) {
        const float *const query = s->queries + (size_t)(g->from + q) * h->dim;
        const uint32_t own = s->own[g->from + q];
        vec_get()->dot_rows(query, vectors, h->dim, n, h->dim, scores);
        for (uint32_t i = 0; i < n; i++) {
            if ((usable >> i & 1) != 0 && first + i != own) {
                topk_push(&g->best[q], scores[i], first + i);
            }
        }
    }
}

static int hnsw_sample_scan(void *ctx, uint32_t i, struct hnsw_scratch *scratch) {
    (void)scratch;
    struct hnsw_sample *const s = ctx;
    const struct hnsw *const h = s->h;
    const uint32_t left = s->n - i * HNSW_SAMPLE_GROUP;
    struct hnsw_sample_group g = {.from = i * HNSW_SAMPLE_GROUP,
                                  .n = left < HNSW_SAMPLE_GROUP ? left : HNSW_SAMPLE_GROUP};
    for (uint32_t q = 0; q < g.n; q++) {
        topk_init(&g.best[q], g.hits[q], HNSW_SAMPLE_K, NULL, NULL);
    }
    static_assert(HNSW_CHUNK_NODES % HNSW_SAMPLE_BLOCK == 0, "a block lies in one chunk");
    for (uint32_t first = 0; first < h->slots; first += HNSW_SAMPLE_BLOCK) {
        const uint32_t more = h->slots - first;
        hnsw_sample_block(s, first, more < HNSW_SAMPLE_BLOCK ? more : HNSW_SAMPLE_BLOCK, &g);
    }
    for (uint32_t q = 0; q < g.n; q++) {
        const uint32_t found = topk_sort(&g.best[q]);
        for (int which = 0; which < 2; which++) {
            const uint32_t k = hnsw_ef_k[which] < found ? hnsw_ef_k[which] : found;
            s->last[which][g.from + q] = k > 0 ? g.hits[q][k - 1].score : INFINITY;
            s->k[which][g.from + q] = k;
        }
    }
    return U2I_OK;
}

/* ---- One ef --------------------------------------------------------------------------------- */

/* As hnsw_search() walks; but for three of four queries never across the node that it is from.
 * Across it, the walk is as good as led to the answers, which a new item's query is not; without it
 * there is a hole in the graph just there, which a new item's query does not meet either. Items that
 * were held out missed 0.52 to 0.73 times as many answers as items that were passed over so (20,000
 * vectors of 64 and 384 dimensions, with clusters and without). */
static void hnsw_sample_walk(const struct hnsw_sample *s, uint32_t i,
                             struct hnsw_scratch *scratch) {
    const struct hnsw *const h = s->h;
    const uint32_t own = s->own[i];
    hnsw_look_for(h, scratch, s->queries + (size_t)i * h->dim);
    const uint32_t start = hnsw_descend(h, scratch, 0);
    hnsw_pool_start(scratch, s->ef);
    if (i % 4 != 0 && own != HNSW_NONE && own != start) {
        scratch->visited[own / 64] |= (uint64_t)1 << (own % 64);
    }
    hnsw_pool_enter(h, scratch, &start, 1);
    hnsw_walk(h, scratch, 0);
}

/* The share of a query's exact answers that are in the pool in the end. A search scores the pool
 * only as far as it expects any of them there: so nearly all of these are answered. */
static int hnsw_sample_ask(void *ctx, uint32_t i, struct hnsw_scratch *scratch) {
    struct hnsw_sample *const s = ctx;
    const float *const query = s->queries + (size_t)i * s->h->dim;
    const uint32_t k = s->k[s->which][i];
    const float last = s->last[s->which][i];
    const float least = last - (float)HNSW_SCORE_SLACK * fabsf(last);
    hnsw_sample_walk(s, i, scratch);
    uint32_t good = 0;
    for (uint32_t j = 0; j < scratch->pool.n && good < k; j++) {
        const uint32_t node = hnsw_pool_node(scratch->pool.entries[j]);
        const bool counts = hnsw_live(s->h, node) && node != s->own[i];
        const float *const v = counts ? hnsw_node_vector(s->h, node) : NULL;
        good += v != NULL && vec_dot(query, v, s->h->dim) >= least;
    }
    s->recalls[i] = k == 0 ? 1 : (float)good / (float)k;
    return U2I_OK;
}

/* Mean of the recalls, less its standard error. */
static double hnsw_sample_sure(const float *recalls, uint32_t n) {
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)recalls[i];
        squares += (double)recalls[i] * (double)recalls[i];
    }
    const double mean = sum / n;
    const double variance = squares / n - mean * mean;
    return mean - sqrt((variance > 0 ? variance : 0) / n);
}

/* The recall at this ef, of the kind of queries that have less. */
static int hnsw_sample_try(struct hnsw_sample *s, uint32_t ef, const struct hnsw_work *how,
                           double *recall, u2i_error_t *err) {
    const struct hnsw_tasks tasks = {hnsw_sample_ask, s, s->n, ef};
    s->ef = ef;
    U2I_TRY(hnsw_run(s->h, &tasks, how, err));
    const uint32_t half = hnsw_sample_is_asked(s->h) ? s->n : s->n / 2;
    const double nodes = hnsw_sample_sure(s->recalls, half);
    const double means = half < s->n ? hnsw_sample_sure(s->recalls + half, s->n - half) : nodes;
    *recall = nodes < means ? nodes : means;
    return U2I_OK;
}

/* ---- The smallest ef ------------------------------------------------------------------------ */

/* From `low`, which is too small, to `high`, which is not, by halves on a logarithmic scale. */
static int hnsw_sample_between(struct hnsw_sample *s, double recall, const struct hnsw_work *how,
                               uint32_t range[2], u2i_error_t *err) {
    while (range[1] > range[0] + 1 && range[1] > range[0] * HNSW_EF_STEP) {
        const uint32_t middle = (uint32_t)sqrt((double)range[0] * range[1]);
        const uint32_t ef = middle > range[0] ? middle : range[0] + 1;
        double got;
        U2I_TRY(hnsw_sample_try(s, ef, how, &got, err));
        range[got >= recall] = ef;
    }
    return U2I_OK;
}

/* Doubles ef until the recall is reached. Where codes are too coarse for it, or the graph has parts
 * apart, no ef reaches it: then the smallest one that does nearly as well as the largest. */
static int hnsw_sample_search(struct hnsw_sample *s, double recall, const struct hnsw_work *how,
                              uint32_t *ef, u2i_error_t *err) {
    const uint32_t least = hnsw_ef_k[s->which] + HNSW_EF_MORE;
    uint32_t range[2] = {least, least};
    double got;
    U2I_TRY(hnsw_sample_try(s, least, how, &got, err));
    while (got < recall && range[1] < HNSW_EF_MAX) {
        range[0] = range[1];
        range[1] = 2 * range[0] < HNSW_EF_MAX ? 2 * range[0] : HNSW_EF_MAX;
        U2I_TRY(hnsw_sample_try(s, range[1], how, &got, err));
    }
    if (got < recall) {
        range[0] = least;
        recall = got - HNSW_EF_PLATEAU;
    }
    U2I_TRY(hnsw_sample_between(s, recall, how, range, err));
    *ef = range[1];
    return U2I_OK;
}

static int hnsw_sample_find(struct hnsw_sample *s, double recall, const struct hnsw_work *how,
                            uint32_t ef[2], u2i_error_t *err) {
    const struct hnsw_tasks scans = {hnsw_sample_scan, s,
                                     (s->n + HNSW_SAMPLE_GROUP - 1) / HNSW_SAMPLE_GROUP, 1};
    U2I_TRY(hnsw_run(s->h, &scans, how, err));
    for (s->which = 0; s->which < 2; s->which++) {
        U2I_TRY(hnsw_sample_search(s, recall, how, &ef[s->which], err));
    }
    return U2I_OK;
}

int hnsw_calibrate(struct hnsw *h, double recall, const struct hnsw_work *how, u2i_error_t *err) {
    const uint32_t count = atomic_load(&h->count);
    struct hnsw_sample s = {.h = h, .n = hnsw_sample_size(h)};
    uint32_t ef[2] = {hnsw_ef_unknown[0], hnsw_ef_unknown[1]};
    int rc = hnsw_sample_alloc(&s);
    rc = rc == U2I_OK && count > 0 ? hnsw_sample_draw(&s) : rc;
    if (rc != U2I_OK) {
        rc = error_oom(err);
    } else if (count > 0 && s.n > 0) {
        rc = hnsw_sample_find(&s, recall, how, ef, err);
    }
    const bool drawn = s.n > 0;
    hnsw_sample_free(&s);
    if (rc != U2I_OK || count == 0 || !drawn) {
        return rc;
    }
    h->ef.recall = recall;
    h->ef.count = count;
    for (int i = 0; i < 2; i++) {
        h->ef.k[i] = hnsw_ef_k[i];
        h->ef.ef[i] = ef[i];
        atomic_store_explicit(&h->ef_at[i], ef[i], memory_order_relaxed);
    }
    return U2I_OK;
}
