/* What the tests of the graph share: vectors from a mixture of clusters, a graph with exact search
 * beside it, and one such pair that all tests of a program may read. */
#ifndef U2I_TESTS_HNSW_WORLD_H
#define U2I_TESTS_HNSW_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "flat/flat.h"
#include "hnsw/hnsw_internal.h"
#include <math.h>

enum { LATENT = 16, CENTRES = 60, K_MAX = 128 };

/* ---- Data: a mixture of clusters in a space of few dimensions, seen in one of ---------- */

struct source {
    struct rng rng;
    uint32_t dim;
    float centres[CENTRES][LATENT];
    float *map; /* [dim][LATENT] */
};

static inline void source_open(struct source *s, uint32_t dim, uint64_t seed) {
    rng_seed(&s->rng, seed);
    s->dim = dim;
    s->map = alloc_array((size_t)dim * LATENT, sizeof *s->map);
    assert_non_null(s->map);
    for (uint32_t i = 0; i < CENTRES * LATENT; i++) {
        s->centres[i / LATENT][i % LATENT] = (float)rng_normal(&s->rng);
    }
    for (uint32_t i = 0; i < dim * LATENT; i++) {
        s->map[i] = (float)rng_normal(&s->rng);
    }
}

static inline void source_draw(struct source *s, float *out) {
    const float *const centre = s->centres[rng_below(&s->rng, CENTRES)];
    float latent[LATENT];
    for (uint32_t i = 0; i < LATENT; i++) {
        latent[i] = centre[i] + 0.8f * (float)rng_normal(&s->rng);
    }
    for (uint32_t d = 0; d < s->dim; d++) {
        out[d] = vec_dot(s->map + (size_t)d * LATENT, latent, LATENT) +
                 0.5f * (float)rng_normal(&s->rng);
    }
    (void)vec_normalise(out, s->dim); /* never zero */
}

/* n vectors; freed by the caller. */
static inline float *source_draw_all(struct source *s, uint32_t n) {
    float *const all = alloc_array((size_t)n * s->dim, sizeof *all);
    assert_non_null(all);
    for (uint32_t i = 0; i < n; i++) {
        source_draw(s, all + (size_t)i * s->dim);
    }
    return all;
}

/* ---- A graph, and exact search beside it ---------------------------------------------------- */

struct world {
    struct hnsw *h;
    struct flat *f;
    uint32_t dim;
};

static const struct hnsw_work two_threads = {.threads = 2};

static inline struct hnsw *graph_new(uint32_t dim, enum hnsw_metric metric) {
    const struct hnsw_options opt = {.dim = dim,
                                     .metric = metric,
                                     .links = 12,
                                     .ef_construction = 100,
                                     .seed = 5,
                                     .norm_max = 2.5};
    struct hnsw *h = NULL;
    assert_int_equal(hnsw_new(&opt, &h, NULL), U2I_OK);
    return h;
}

static inline void world_open(struct world *w, uint32_t dim, enum hnsw_metric metric) {
    w->dim = dim;
    w->h = graph_new(dim, metric);
    assert_int_equal(flat_new(dim, &w->f, NULL), U2I_OK);
}

static inline void world_close(struct world *w) {
    hnsw_free(w->h);
    flat_free(w->f);
}

static inline void graph_insert(struct hnsw *h, uint32_t first_row, const float *vectors,
                                uint32_t n, const struct hnsw_work *how) {
    uint32_t *const rows = alloc_array(n, sizeof *rows);
    assert_non_null(rows);
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = first_row + i;
    }
    assert_int_equal(hnsw_insert(h, rows, vectors, n, how, NULL), U2I_OK);
    mem_free(rows);
}

static inline void world_insert(struct world *w, uint32_t first_row, const float *vectors,
                                uint32_t n) {
    graph_insert(w->h, first_row, vectors, n, &two_threads);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(flat_set(w->f, first_row + i, vectors + (size_t)i * w->dim, NULL), U2I_OK);
    }
}

static inline void world_remove(struct world *w, uint32_t row) {
    hnsw_remove(w->h, row);
    flat_remove(w->f, row);
}

static inline void assert_valid(const struct hnsw *h) {
    u2i_error_t err;
    if (hnsw_validate(h, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

/* The same question to both. Checks what has to hold for any answer, returns the share of the exact
 * answer that was found. */
static inline double world_ask(const struct world *w, const struct hnsw_query *q) {
    struct hit got[K_MAX], want[K_MAX];
    uint32_t got_n = 0, want_n = 0, common = 0;
    u2i_error_t err;
    const struct flat_query exact = {
        .vector = q->vector, .k = q->k, .allow = q->allow, .deny = q->deny};
    assert_true(q->k <= K_MAX);
    assert_int_equal(hnsw_search(w->h, q, got, &got_n, NULL, &err), U2I_OK);
    assert_int_equal(flat_search(w->f, &exact, want, &want_n, NULL), U2I_OK);
    assert_int_equal(got_n, want_n); /* never fewer than match */
    for (uint32_t i = 0; i < got_n; i++) {
        const float *const v = flat_vector(w->f, got[i].row);
        assert_non_null(v);
        const float score = vec_dot(q->vector, v, w->dim);
        assert_true(fabsf(score - got[i].score) <= 1e-5f * (1 + fabsf(score)));
        assert_true(q->allow == NULL || roaring_bitmap_contains(q->allow, got[i].row));
        assert_true(q->deny == NULL || !roaring_bitmap_contains(q->deny, got[i].row));
        assert_true(i == 0 || got[i - 1].score > got[i].score ||
                    (got[i - 1].score == got[i].score && got[i - 1].row < got[i].row));
        common += got[i].score >= want[want_n - 1].score - 1e-6f;
    }
    return want_n == 0 ? 1 : (double)common / want_n;
}

static inline double world_recall(const struct world *w, const float *queries, uint32_t n,
                                  struct hnsw_query q) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        q.vector = queries + (size_t)i * w->dim;
        sum += world_ask(w, &q);
    }
    return sum / n;
}

#define assert_recall(got, floor)                                                                  \
    do {                                                                                           \
        const double recall_got = (got);                                                           \
        if (recall_got < (floor)) {                                                                \
            fail_msg("recall %.4f is below %.4f", recall_got, (double)(floor));                    \
        }                                                                                          \
    } while (0)

/* ---- One graph for the tests that only read ------------------------------------------------- */

enum { ROWS = 6000, DIM = 48, QUERIES = 60 };

struct fixture {
    struct world w;
    struct source source;
    float *vectors, *queries;
    float direction[DIM]; /* filters that go with the vectors are cut across it */
};

static inline int fixture_open(void **state) {
    struct fixture *const x = mem_zalloc(sizeof *x);
    assert_non_null(x);
    source_open(&x->source, DIM, 3);
    x->vectors = source_draw_all(&x->source, ROWS);
    x->queries = source_draw_all(&x->source, QUERIES);
    source_draw(&x->source, x->direction);
    world_open(&x->w, DIM, HNSW_COSINE);
    world_insert(&x->w, 0, x->vectors, ROWS);
    assert_int_equal(hnsw_calibrate(x->w.h, 0.95, &two_threads, NULL), U2I_OK);
    print_message("kernels: %s, ef for 10: %u, for 100: %u\n", vec_get()->name,
                  hnsw_ef_for(x->w.h, 10), hnsw_ef_for(x->w.h, 100));
    *state = x;
    return 0;
}

static inline int fixture_close(void **state) {
    struct fixture *const x = *state;
    world_close(&x->w);
    mem_free(x->source.map);
    mem_free(x->vectors);
    mem_free(x->queries);
    mem_free(x);
    return 0;
}

#endif
