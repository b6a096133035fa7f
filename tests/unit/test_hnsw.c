/* The graph against exact search: floors for the recall in every situation it promises one for, and what
 * has to hold without any tolerance. The data are drawn from a fixed seed, so the figures are the same in
 * every run with one instruction set; cmake/tests.cmake runs the program once for each (U2I_SIMD). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/thread.h"
#include "flat/flat.h"
#include "hnsw/hnsw_internal.h"
#include <math.h>
#include <stdio.h>

enum { LATENT = 16, CENTRES = 60, K_MAX = 128 };

/* ---- Data: a mixture of clusters in a space of few dimensions, seen in one of many ------------------ */

struct source {
    struct rng rng;
    uint32_t dim;
    float centres[CENTRES][LATENT];
    float *map; /* [dim][LATENT] */
};

static void source_open(struct source *s, uint32_t dim, uint64_t seed) {
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

static void source_draw(struct source *s, float *out) {
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
static float *source_draw_all(struct source *s, uint32_t n) {
    float *const all = alloc_array((size_t)n * s->dim, sizeof *all);
    assert_non_null(all);
    for (uint32_t i = 0; i < n; i++) {
        source_draw(s, all + (size_t)i * s->dim);
    }
    return all;
}

/* ---- A graph, and exact search beside it ------------------------------------------------------------ */

struct world {
    struct hnsw *h;
    struct flat *f;
    uint32_t dim;
};

static const struct hnsw_work two_threads = {.threads = 2};

static struct hnsw *graph_new(uint32_t dim, enum hnsw_metric metric) {
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

static void world_open(struct world *w, uint32_t dim, enum hnsw_metric metric) {
    w->dim = dim;
    w->h = graph_new(dim, metric);
    assert_int_equal(flat_new(dim, &w->f, NULL), U2I_OK);
}

static void world_close(struct world *w) {
    hnsw_free(w->h);
    flat_free(w->f);
}

static void graph_insert(struct hnsw *h, uint32_t first_row, const float *vectors, uint32_t n,
                         const struct hnsw_work *how) {
    uint32_t *const rows = alloc_array(n, sizeof *rows);
    assert_non_null(rows);
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = first_row + i;
    }
    assert_int_equal(hnsw_insert(h, rows, vectors, n, how, NULL), U2I_OK);
    mem_free(rows);
}

static void world_insert(struct world *w, uint32_t first_row, const float *vectors, uint32_t n) {
    graph_insert(w->h, first_row, vectors, n, &two_threads);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(flat_set(w->f, first_row + i, vectors + (size_t)i * w->dim, NULL), U2I_OK);
    }
}

static void world_remove(struct world *w, uint32_t row) {
    hnsw_remove(w->h, row);
    flat_remove(w->f, row);
}

static void assert_valid(const struct hnsw *h) {
    u2i_error_t err;
    if (hnsw_validate(h, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

/* No list of a node that stays names an unused slot or one that is not live. */
static void assert_no_link_to_removed(const struct hnsw *h) {
    for (uint32_t node = 0; node < h->slots; node++) {
        for (uint32_t layer = 0; hnsw_live(h, node) && layer <= hnsw_node_layers(h, node);
             layer++) {
            const uint32_t *const links = hnsw_links(h, node, layer);
            for (uint32_t i = 0; i < hnsw_links_of_layer(h, layer); i++) {
                assert_true(links[i] == HNSW_NONE || hnsw_live(h, links[i]));
            }
        }
    }
}

/* The same question to both. Checks what has to hold for any answer, returns the share of the exact answer
 * that was found. */
static double world_ask(const struct world *w, const struct hnsw_query *q) {
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

static double world_recall(const struct world *w, const float *queries, uint32_t n,
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

/* ---- One graph for the tests that only read --------------------------------------------------------- */

enum { ROWS = 6000, DIM = 48, QUERIES = 60 };

struct fixture {
    struct world w;
    struct source source;
    float *vectors, *queries;
    float direction[DIM]; /* filters that go with the vectors are cut across it */
};

static int fixture_open(void **state) {
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

static int fixture_close(void **state) {
    struct fixture *const x = *state;
    world_close(&x->w);
    mem_free(x->source.map);
    mem_free(x->vectors);
    mem_free(x->queries);
    mem_free(x);
    return 0;
}

static void graph_is_sound_and_all_of_it_is_reached(void **state) {
    const struct fixture *const x = *state;
    assert_valid(x->w.h);
    assert_int_equal(hnsw_unreachable(x->w.h), 0);
}

static void calibrated_searches_keep_the_recall_on_queries_not_seen_before(void **state) {
    const struct fixture *const x = *state;
    static const uint32_t ks[] = {1, 5, 10, 30, 100, K_MAX};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        const struct hnsw_query q = {.k = ks[i]};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, q), 0.94);
    }
    const struct hnsw_query ten = {.k = 10};
    assert_recall(world_recall(&x->w, x->queries, QUERIES, ten), 0.95);
}

static void large_ef_finds_nearly_all(void **state) {
    const struct fixture *const x = *state;
    const struct hnsw_query q = {.k = 10, .ef = 200};
    assert_recall(world_recall(&x->w, x->queries, QUERIES, q), 0.995);
}

static void means_of_near_vectors_are_found(void **state) {
    const struct fixture *const x = *state;
    float *const means = alloc_array((size_t)QUERIES * DIM, sizeof *means);
    assert_non_null(means);
    memset(means, 0, (size_t)QUERIES * DIM * sizeof *means);
    for (uint32_t i = 0; i < QUERIES; i++) {
        struct hit near[40];
        uint32_t n = 0;
        const struct flat_query q = {.vector = x->queries + (size_t)i * DIM, .k = 40};
        assert_int_equal(flat_search(x->w.f, &q, near, &n, NULL), U2I_OK);
        for (uint32_t j = i % 3; j < n; j += 3) {
            vec_get()->axpy(1.0f / (float)(j + 1), flat_vector(x->w.f, near[j].row),
                            means + (size_t)i * DIM, DIM);
        }
        assert_true(vec_normalise(means + (size_t)i * DIM, DIM));
    }
    const struct hnsw_query q = {.k = 10};
    assert_recall(world_recall(&x->w, means, QUERIES, q), 0.95);
    mem_free(means);
}

static void ef_grows_with_what_is_asked_for(void **state) {
    const struct fixture *const x = *state;
    struct hnsw *const fresh = graph_new(4, HNSW_COSINE);
    const struct hnsw *const graphs[] = {x->w.h, fresh};
    for (int i = 0; i < 2; i++) {
        for (uint32_t k = 1; k < 5000; k++) {
            assert_true(hnsw_ef_for(graphs[i], k) >= k);
            assert_true(hnsw_ef_for(graphs[i], k + 1) >= hnsw_ef_for(graphs[i], k));
        }
    }
    assert_true(hnsw_ef_for(fresh, 10) == 64);
    hnsw_free(fresh);
}

/* ---- Filters ---------------------------------------------------------------------------------------- */

static roaring_bitmap_t *random_share(uint64_t seed, double share) {
    struct rng rng;
    roaring_bitmap_t *const rows = roaring_bitmap_create();
    rng_seed(&rng, seed);
    for (uint32_t row = 0; row < ROWS; row++) {
        if (rng_unit(&rng) < share) {
            roaring_bitmap_add(rows, row);
        }
    }
    return rows;
}

/* The rows most in the fixture's direction. */
static roaring_bitmap_t *correlated_share(const struct fixture *x, double share) {
    const uint32_t n = (uint32_t)(share * ROWS);
    struct hit *const hits = alloc_array(n, sizeof *hits);
    uint32_t found = 0;
    assert_non_null(hits);
    const struct flat_query q = {.vector = x->direction, .k = n};
    assert_int_equal(flat_search(x->w.f, &q, hits, &found, NULL), U2I_OK);
    roaring_bitmap_t *const rows = roaring_bitmap_create();
    for (uint32_t i = 0; i < found; i++) {
        roaring_bitmap_add(rows, hits[i].row);
    }
    mem_free(hits);
    return rows;
}

static const double shares[] = {0.9, 0.5, 0.2, 0.1, 0.01, 0.001};

static void filters_at_random_keep_the_recall(void **state) {
    const struct fixture *const x = *state;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        roaring_bitmap_t *const allow = random_share(i, shares[i]);
        const struct hnsw_query q = {.k = 10, .allow = allow};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, q), 0.95);
        roaring_bitmap_free(allow);
    }
}

static void filters_that_go_with_the_vectors_keep_the_recall(void **state) {
    const struct fixture *const x = *state;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        roaring_bitmap_t *const rows = correlated_share(x, shares[i]);
        const struct hnsw_query inside = {.k = 10, .allow = rows};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, inside), 0.95);
        const struct hnsw_query outside = {.k = 10, .deny = rows};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, outside), 0.95);
        roaring_bitmap_free(rows);
    }
}

static void denying_the_nearest_thousand_keeps_the_recall(void **state) {
    const struct fixture *const x = *state;
    struct hit *const near = alloc_array(1000, sizeof *near);
    double sum = 0;
    assert_non_null(near);
    for (uint32_t i = 0; i < QUERIES; i++) {
        const float *const vector = x->queries + (size_t)i * DIM;
        const struct flat_query exact = {.vector = vector, .k = 1000};
        uint32_t n = 0;
        assert_int_equal(flat_search(x->w.f, &exact, near, &n, NULL), U2I_OK);
        roaring_bitmap_t *const deny = roaring_bitmap_create();
        for (uint32_t j = 0; j < n; j++) {
            roaring_bitmap_add(deny, near[j].row);
        }
        const struct hnsw_query q = {.vector = vector, .k = 10, .deny = deny};
        sum += world_ask(&x->w, &q);
        roaring_bitmap_free(deny);
    }
    assert_recall(sum / QUERIES, 0.95);
    mem_free(near);
}

/* The counts are checked by world_ask(); here with what makes it hard to find enough. */
static void never_fewer_results_than_match(void **state) {
    const struct fixture *const x = *state;
    struct rng rng;
    rng_seed(&rng, 9);
    for (uint32_t i = 0; i < 200; i++) {
        roaring_bitmap_t *const allow = rng_below(&rng, 2) == 0
                                            ? random_share(i, pow(rng_unit(&rng), 4))
                                            : correlated_share(x, pow(rng_unit(&rng), 4));
        roaring_bitmap_t *const deny = random_share(i + 1, rng_unit(&rng));
        roaring_bitmap_add(allow, ROWS + 7); /* a row that is not there */
        const struct hnsw_query q = {.vector = x->queries + (size_t)(i % QUERIES) * DIM,
                                     .k = 1 + rng_below(&rng, K_MAX),
                                     .ef = rng_below(&rng, 2) * 10,
                                     .allow = rng_below(&rng, 4) == 0 ? NULL : allow,
                                     .deny = rng_below(&rng, 2) == 0 ? NULL : deny};
        (void)world_ask(&x->w, &q);
        roaring_bitmap_free(allow);
        roaring_bitmap_free(deny);
    }
}

static int64_t ticks_ns(void *ctx) {
    return *(int64_t *)ctx;
}

static void search_stops_when_its_time_is_up(void **state) {
    const struct fixture *const x = *state;
    int64_t now_ns = 201;
    const struct clock clock = {NULL, ticks_ns, &now_ns};
    const struct deadline deadline = {&clock, 200};
    roaring_bitmap_t *const allow = random_share(1, 0.5);
    struct hnsw_query q = {.vector = x->queries, .k = 5, .deadline = &deadline};
    struct hit hits[5];
    uint32_t n = 3;
    u2i_error_t err;
    for (int filtered = 0; filtered < 2; filtered++) {
        q.allow = filtered ? allow : NULL;
        now_ns = 201;
        assert_int_equal(hnsw_search(x->w.h, &q, hits, &n, NULL, &err), U2I_ETIMEOUT);
        assert_int_equal(n, 0);
        now_ns = 199;
        assert_int_equal(hnsw_search(x->w.h, &q, hits, &n, NULL, &err), U2I_OK);
        assert_int_equal(n, 5);
    }
    roaring_bitmap_free(allow);
}

/* ---- Churn ------------------------------------------------------------------------------------------ */

static void shuffle(struct rng *rng, uint32_t *all, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        all[i] = i;
    }
    for (uint32_t i = n; i-- > 1;) {
        const uint32_t j = rng_below(rng, i + 1);
        const uint32_t other = all[j];
        all[j] = all[i];
        all[i] = other;
    }
}

/* Replaces half of n rows in random order, a `step` at a time with a repair after each; new rows from n on. */
static void world_churn(struct world *w, struct source *source, uint32_t n, uint32_t step) {
    uint32_t *const order = alloc_array(n, sizeof *order);
    assert_non_null(order);
    shuffle(&source->rng, order, n);
    for (uint32_t i = 0; i < n / 2; i += step) {
        const uint32_t now = n / 2 - i < step ? n / 2 - i : step;
        for (uint32_t j = 0; j < now; j++) {
            world_remove(w, order[i + j]);
        }
        float *const fresh = source_draw_all(source, now);
        world_insert(w, n + i, fresh, now);
        mem_free(fresh);
        assert_int_equal(hnsw_repair(w->h, &two_threads, NULL), U2I_OK);
    }
    mem_free(order);
}

static void half_replaced_in_random_order_loses_no_recall(void **state) {
    struct fixture *const x = *state;
    enum { N = 4000 };
    const struct hnsw_query q = {.k = 10, .ef = 40};
    struct world w;
    struct hnsw_stats before, after;
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    const double recall = world_recall(&w, x->queries, QUERIES, q);
    hnsw_stats(w.h, &before);

    world_churn(&w, &x->source, N, N / 20);
    assert_valid(w.h);
    assert_no_link_to_removed(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    hnsw_stats(w.h, &after);
    assert_int_equal(after.count, N);
    assert_int_equal(after.removed, 0);
    assert_true((double)(after.code_bytes + after.vector_bytes) <=
                1.06 * (double)(before.code_bytes + before.vector_bytes));
    assert_recall(world_recall(&w, x->queries, QUERIES, q), recall - 0.01);
    world_close(&w);
}

static void all_but_a_few_removed_leaves_the_few_connected(void **state) {
    const struct fixture *const x = *state;
    enum { N = 2000, LEFT = 25 };
    const struct hnsw_query q = {.k = 10, .ef = 30};
    struct world w;
    struct rng rng;
    uint32_t order[N];
    rng_seed(&rng, 4);
    shuffle(&rng, order, N);
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t i = LEFT; i < N; i++) {
        world_remove(&w, order[i]);
    }
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    assert_no_link_to_removed(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 1);
    world_close(&w);
}

static void whole_clusters_removed_leave_the_others_connected(void **state) {
    const struct fixture *const x = *state;
    enum { N = 3000 };
    const struct hnsw_query q = {.k = 10, .ef = 60};
    struct world w;
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t row = 0; row < N; row++) { /* all near the middle, which the others meet across */
        const float towards = vec_dot(x->direction, x->vectors + (size_t)row * DIM, DIM);
        if (fabsf(towards) < 0.15f) {
            world_remove(&w, row);
        }
    }
    assert_true(flat_count(w.f) < N * 3 / 4);
    assert_int_equal(hnsw_repair(w.h, &two_threads, NULL), U2I_OK);
    assert_valid(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.95);
    world_close(&w);
}

static void removed_rows_are_never_answered(void **state) {
    const struct fixture *const x = *state;
    enum { N = 1000 };
    struct world w;
    struct rng rng;
    uint32_t order[N];
    rng_seed(&rng, 8);
    shuffle(&rng, order, N);
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t i = 0; i < N; i++) { /* before any repair: the oracle knows who is left */
        world_remove(&w, order[i]);
        assert_false(hnsw_contains(w.h, order[i]));
        assert_null(hnsw_vector(w.h, order[i]));
        const struct hnsw_query q = {.vector = x->vectors + (size_t)order[i] * DIM, .k = 20};
        (void)world_ask(&w, &q);
    }
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_int_equal(w.h->entry, HNSW_NONE);
    assert_valid(w.h);
    world_insert(&w, 0, x->vectors, N);
    assert_int_equal(w.h->slots, N); /* the same slots again */
    const struct hnsw_query q = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.99);
    world_close(&w);
}

static void vectors_inserted_where_all_was_removed_are_found(void **state) {
    const struct fixture *const x = *state;
    enum { N = 300 };
    struct world w;
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t row = 0; row < N; row++) {
        world_remove(&w, row);
    }
    world_insert(&w, N, x->vectors, N);
    assert_valid(w.h);
    const struct hnsw_query q = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.99);
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.99);
    world_close(&w);
}

/* ---- In steps --------------------------------------------------------------------------------------- */

/* Commits one list at a time, with a question after each. */
static void commit_in_steps(const struct world *w, struct hnsw_batch *b, const float *query) {
    const struct hnsw_query q = {.vector = query, .k = 10, .ef = 40};
    while (!hnsw_commit(b, 1, NULL, NULL)) {
        struct hit hits[10];
        uint32_t n = 0;
        assert_int_equal(hnsw_search(w->h, &q, hits, &n, NULL, NULL), U2I_OK);
        assert_int_equal(n, 10);
    }
    hnsw_batch_free(b);
}

static void searches_between_the_steps_of_a_commit_find_enough(void **state) {
    struct fixture *const x = *state;
    enum { N = 400 };
    struct world w;
    struct rng rng;
    rng_seed(&rng, 21);
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t round = 0; round < 40; round++) {
        const uint32_t fresh[] = {N + round, 2 * N + round};
        for (uint32_t i = 0; i < 5; i++) {
            world_remove(&w, rng_below(&rng, N));
        }
        struct hnsw_batch *b = NULL;
        assert_int_equal(hnsw_plan_repair(w.h, 60, NULL, &b, NULL), U2I_OK);
        if (b != NULL) {
            world_remove(&w, rng_below(&rng, N)); /* between the plan and its commit */
            commit_in_steps(&w, b, x->queries);
        }
        const float *const vectors = x->vectors + (size_t)(N + 2 * round) * DIM;
        assert_int_equal(hnsw_plan(w.h, &(struct hnsw_vectors){fresh, vectors, 2}, NULL, &b, NULL), U2I_OK);
        world_remove(&w, rng_below(&rng, N));
        commit_in_steps(&w, b, x->queries + DIM);
        assert_int_equal(flat_set(w.f, fresh[0], vectors, NULL), U2I_OK);
        assert_int_equal(flat_set(w.f, fresh[1], vectors + DIM, NULL), U2I_OK);
        assert_valid(w.h);
    }
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    assert_no_link_to_removed(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    const struct hnsw_query q = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.99);
    world_close(&w);
}

static bool publish_odd(void *ctx, uint32_t row) {
    (void)ctx;
    return row % 2 == 1;
}

static void rows_that_became_stale_are_not_published(void **state) {
    const struct fixture *const x = *state;
    enum { N = 200 };
    struct world w;
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t row = N; row < 2 * N; row += 2) {
        const uint32_t rows[] = {row, row + 1};
        struct hnsw_batch *b = NULL;
        const float *const vectors = x->vectors + (size_t)row * DIM;
        assert_int_equal(hnsw_plan(w.h, &(struct hnsw_vectors){rows, vectors, 2}, NULL, &b, NULL), U2I_OK);
        assert_true(hnsw_commit(b, UINT32_MAX, publish_odd, NULL));
        hnsw_batch_free(b);
        assert_int_equal(flat_set(w.f, row + 1, vectors + DIM, NULL), U2I_OK);
        assert_false(hnsw_contains(w.h, row));
        assert_true(hnsw_contains(w.h, row + 1));
    }
    const struct hnsw_query q = {.k = 10, .ef = 100};
    for (int repaired = 0; repaired < 2; repaired++) {
        assert_valid(w.h);
        assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.99);
        assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    }
    world_close(&w);
}

/* Given up before the first step, and after each number of steps. */
static void batches_given_up_leave_a_sound_graph(void **state) {
    const struct fixture *const x = *state;
    enum { N = 300 };
    struct world w;
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t steps = 0; steps < 40; steps++) {
        const uint32_t rows[] = {N, N + 1};
        struct hnsw_batch *b = NULL;
        assert_int_equal(hnsw_plan(w.h, &(struct hnsw_vectors){rows, x->queries, 2}, NULL, &b, NULL), U2I_OK);
        const bool done = hnsw_commit(b, steps, NULL, NULL);
        hnsw_batch_free(b);
        assert_true(done || !hnsw_contains(w.h, N + 1));
        hnsw_remove(w.h, N);
        hnsw_remove(w.h, N + 1);
        assert_valid(w.h);
        world_remove(&w, steps);
        assert_int_equal(hnsw_plan_repair(w.h, 100, NULL, &b, NULL), U2I_OK);
        assert_non_null(b);
        (void)hnsw_commit(b, steps, NULL, NULL);
        hnsw_batch_free(b);
        assert_valid(w.h);
    }
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    assert_no_link_to_removed(w.h);
    const struct hnsw_query q = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.99);
    world_close(&w);
}

static void cancelled_work_changes_nothing(void **state) {
    const struct fixture *const x = *state;
    enum { N = 300 };
    const atomic_bool yes = true;
    const struct hnsw_work stopped = {.threads = 2, .cancel = &yes};
    const uint32_t row = N;
    struct hnsw_batch *b = NULL;
    struct world w;
    u2i_error_t err;
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, N);
    for (uint32_t i = 0; i < N / 3; i++) {
        world_remove(&w, i);
    }
    assert_int_equal(hnsw_plan(w.h, &(struct hnsw_vectors){&row, x->queries, 1}, &stopped, &b, &err), U2I_ETIMEOUT);
    assert_null(b);
    assert_int_equal(hnsw_insert(w.h, &row, x->queries, 1, &stopped, &err), U2I_ETIMEOUT);
    assert_int_equal(hnsw_repair(w.h, &stopped, &err), U2I_ETIMEOUT);
    assert_int_equal(hnsw_calibrate(w.h, 0.9, &stopped, &err), U2I_ETIMEOUT);
    assert_int_equal(hnsw_ef_for(w.h, 10), 64);
    assert_valid(w.h);
    assert_int_equal(hnsw_repair(w.h, NULL, &err), U2I_OK);
    assert_int_equal(w.h->slots - w.h->free_n, N - N / 3);
    const struct hnsw_query q = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.99);
    world_close(&w);
}

/* ---- Determinism ------------------------------------------------------------------------------------ */

static void assert_same_graph(const struct hnsw *a, const struct hnsw *b) {
    assert_int_equal(a->slots, b->slots);
    assert_int_equal(a->entry, b->entry);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->free_n, b->free_n);
    for (uint32_t node = 0; node < a->slots; node++) {
        assert_int_equal(hnsw_row(a, node), hnsw_row(b, node));
        assert_int_equal(hnsw_node_layers(a, node), hnsw_node_layers(b, node));
        for (uint32_t layer = 0; layer <= hnsw_node_layers(a, node); layer++) {
            assert_memory_equal(hnsw_links(a, node, layer), hnsw_links(b, node, layer),
                                hnsw_links_of_layer(a, layer) * sizeof(uint32_t));
        }
    }
}

static struct hnsw *build_and_churn(const struct fixture *x, unsigned threads) {
    enum { N = 2000 };
    const struct hnsw_work how = {.threads = threads};
    struct hnsw *const h = graph_new(DIM, HNSW_COSINE);
    graph_insert(h, 0, x->vectors, N, &how);
    for (uint32_t i = 0; i < N; i += 4) {
        hnsw_remove(h, i);
    }
    assert_int_equal(hnsw_repair(h, &how, NULL), U2I_OK);
    graph_insert(h, N, x->vectors + (size_t)N * DIM, N / 10, &how);
    assert_int_equal(hnsw_calibrate(h, 0.9, &how, NULL), U2I_OK);
    return h;
}

static void same_seed_gives_the_same_graph_with_any_number_of_threads(void **state) {
    const struct fixture *const x = *state;
    struct hnsw *const one = build_and_churn(x, 1);
    for (unsigned threads = 1; threads <= 5; threads += 2) {
        struct hnsw *const other = build_and_churn(x, threads);
        assert_same_graph(one, other);
        assert_int_equal(hnsw_ef_for(one, 10), hnsw_ef_for(other, 10));
        assert_int_equal(hnsw_ef_for(one, 100), hnsw_ef_for(other, 100));
        hnsw_free(other);
    }
    hnsw_free(one);
}

/* ---- Metrics, dimensions, odd vectors ----------------------------------------------------------------- */

static void inner_product_with_unlike_lengths_keeps_the_recall(void **state) {
    (void)state;
    enum { N = 4000, D = 40 };
    struct source source;
    struct world w;
    source_open(&source, D, 17);
    float *const vectors = source_draw_all(&source, N);
    float *const queries = source_draw_all(&source, QUERIES);
    for (uint32_t i = 0; i < N; i++) {
        vec_get()->scale(vectors + (size_t)i * D, (float)exp(0.2 * rng_normal(&source.rng)), D);
    }
    for (uint32_t i = 0; i < QUERIES; i++) { /* the length of a query changes no order */
        vec_get()->scale(queries + (size_t)i * D, 0.01f * (float)(i + 1), D);
    }
    world_open(&w, D, HNSW_INNER_PRODUCT);
    world_insert(&w, 0, vectors, N);
    assert_valid(w.h);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, &two_threads, NULL), U2I_OK);
    const struct hnsw_query q = {.k = 10};
    assert_recall(world_recall(&w, queries, QUERIES, q), 0.95);
    const struct hnsw_query more = {.k = 10, .ef = 300};
    assert_recall(world_recall(&w, queries, QUERIES, more), 0.98);
    world_close(&w);
    mem_free(vectors);
    mem_free(queries);
    mem_free(source.map);
}

static void every_dimension_works(void **state) {
    (void)state;
    static const uint32_t dims[] = {1, 2, 3, 63, 64, 65, 100, 384};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        enum { N = 700 };
        struct source source;
        struct world w;
        source_open(&source, dims[i], 40 + i);
        float *const vectors = source_draw_all(&source, N);
        float *const queries = source_draw_all(&source, QUERIES);
        for (int metric = HNSW_COSINE; metric <= HNSW_INNER_PRODUCT; metric++) {
            world_open(&w, dims[i], (enum hnsw_metric)metric);
            world_insert(&w, 0, vectors, N);
            assert_valid(w.h);
            const struct hnsw_query q = {.k = 10, .ef = 150};
            const double floor = dims[i] < 3 ? 0.8 : 0.99; /* a code of few bytes is coarse */
            assert_recall(world_recall(&w, queries, QUERIES, q), floor);
            world_close(&w);
        }
        mem_free(vectors);
        mem_free(queries);
        mem_free(source.map);
    }
}

static void empty_graph_answers_nothing(void **state) {
    (void)state;
    struct world w;
    const float v[2] = {1, 0};
    const struct hnsw_query q = {.vector = v, .k = 10};
    world_open(&w, 2, HNSW_COSINE);
    assert_true(world_ask(&w, &q) == 1);
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    hnsw_remove(w.h, 7);
    world_insert(&w, 7, v, 1);
    assert_true(world_ask(&w, &q) == 1);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    const struct hnsw_query none = {.vector = v, .k = 0};
    assert_true(world_ask(&w, &none) == 1);
    world_remove(&w, 7);
    assert_true(world_ask(&w, &q) == 1);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    world_insert(&w, 9, v, 1);
    assert_true(world_ask(&w, &q) == 1);
    world_close(&w);
    hnsw_free(NULL);
}

static void asking_for_more_than_there_is_gives_all(void **state) {
    const struct fixture *const x = *state;
    for (uint32_t n = 1; n <= K_MAX; n += 9) {
        struct world w;
        world_open(&w, DIM, HNSW_COSINE);
        world_insert(&w, 100, x->vectors, n);
        const struct hnsw_query q = {.vector = x->queries, .k = K_MAX};
        assert_true(world_ask(&w, &q) == 1);
        world_close(&w);
    }
}

/* Most rows have one and the same vector; all of them are as good, and the others are found beside them. */
static void ten_thousand_equal_vectors_hide_nobody(void **state) {
    const struct fixture *const x = *state;
    enum { SAME = 10000, OTHERS = 300 };
    struct world w;
    float *const same = alloc_array((size_t)SAME * DIM, sizeof *same);
    assert_non_null(same);
    for (uint32_t i = 0; i < SAME; i++) {
        memcpy(same + (size_t)i * DIM, x->direction, DIM * sizeof *same);
    }
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, OTHERS / 2);
    world_insert(&w, OTHERS, same, SAME);
    world_insert(&w, OTHERS / 2, x->vectors + (size_t)OTHERS / 2 * DIM, OTHERS / 2);
    assert_valid(w.h);
    const struct hnsw_query q = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.95);
    assert_recall(world_recall(&w, same, 1, q), 1);
    for (uint32_t i = 0; i < SAME; i += 2) {
        world_remove(&w, OTHERS + i);
    }
    assert_int_equal(hnsw_repair(w.h, &two_threads, NULL), U2I_OK);
    assert_valid(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.95);
    assert_recall(world_recall(&w, same, 1, q), 1);
    world_close(&w);
    mem_free(same);
}

static void vectors_without_a_direction_are_kept_and_found(void **state) {
    const struct fixture *const x = *state;
    enum { N = 200, ODD = 12 };
    struct world w;
    float odd[ODD][DIM] = {{0}};
    for (uint32_t i = 4; i < ODD; i++) {
        odd[i][i] = i % 2 == 0 ? 1e-30f : 1e-12f;
    }
    world_open(&w, DIM, HNSW_INNER_PRODUCT);
    world_insert(&w, N, odd[0], ODD / 2);
    world_insert(&w, 0, x->vectors, N);
    world_insert(&w, N + ODD / 2, odd[ODD / 2], ODD / 2);
    assert_valid(w.h);
    const struct hnsw_query all = {.k = K_MAX};
    (void)world_recall(&w, x->queries, QUERIES, all);
    const struct hnsw_query ten = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, ten), 0.95);
    const struct hnsw_query nothing = {.vector = odd[0], .k = 10};
    (void)world_ask(&w, &nothing);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    for (uint32_t row = 0; row < N; row++) {
        world_remove(&w, row);
    }
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    (void)world_recall(&w, x->queries, 5, all);
    world_close(&w);
}

/* The last digit first, then the higher row: nothing like the order of rows. */
static int tie_by_digit(const void *ctx, uint32_t a, uint32_t b) {
    (void)ctx;
    const int digits = (int)(a % 10) - (int)(b % 10);
    return digits != 0 ? digits : (a > b ? -1 : a < b);
}

static void equal_scores_come_in_the_order_of_the_tie_function(void **state) {
    (void)state;
    enum { N = 60 };
    struct world w;
    struct hit hits[N];
    uint32_t n = 0;
    const float v[3] = {0, 1, 0};
    world_open(&w, 3, HNSW_COSINE);
    for (uint32_t row = 0; row < N; row++) {
        world_insert(&w, row, v, 1);
    }
    struct hnsw_query q = {.vector = v, .k = N};
    assert_int_equal(hnsw_search(w.h, &q, hits, &n, NULL, NULL), U2I_OK);
    assert_int_equal(n, N);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(hits[i].row, i);
    }
    q.tie = tie_by_digit;
    assert_int_equal(hnsw_search(w.h, &q, hits, &n, NULL, NULL), U2I_OK);
    assert_int_equal(n, N);
    for (uint32_t i = 0; i + 1 < N; i++) {
        assert_true(tie_by_digit(NULL, hits[i].row, hits[i + 1].row) < 0);
    }
    world_close(&w);
}

static void count_row(void *ctx, uint32_t row) {
    uint32_t *const next = ctx;
    assert_int_equal(row, *next);
    *next += 3;
}

static void rows_are_listed_in_order_with_their_vectors(void **state) {
    const struct fixture *const x = *state;
    enum { N = 500 };
    struct hnsw *const h = graph_new(DIM, HNSW_COSINE);
    uint32_t next = 0;
    for (uint32_t i = N; i-- > 0;) {
        graph_insert(h, 3 * i, x->vectors + (size_t)i * DIM, 1, NULL);
    }
    hnsw_each_row(h, count_row, &next);
    assert_int_equal(next, 3 * N);
    for (uint32_t i = 0; i < N; i++) {
        assert_memory_equal(hnsw_vector(h, 3 * i), x->vectors + (size_t)i * DIM,
                            DIM * sizeof(float));
        assert_null(hnsw_vector(h, 3 * i + 1));
    }
    assert_null(hnsw_vector(h, 4000000000u));
    hnsw_free(h);
}

/* ---- Readers beside the writer ------------------------------------------------------------------------ */

struct traffic {
    struct world w;
    const struct fixture *x;
    pthread_rwlock_t lock;
    atomic_bool stop;
};

/* Asks under the shared lock; what it gets must be in the graph at that time. */
static void *traffic_read(void *arg) {
    struct traffic *const t = arg;
    for (uint32_t i = 0; !atomic_load(&t->stop); i++) {
        const struct hnsw_query q = {
            .vector = t->x->queries + (size_t)(i % QUERIES) * DIM, .k = 10, .ef = 30};
        struct hit hits[10];
        uint32_t n = 0;
        pthread_rwlock_rdlock(&t->lock);
        assert_int_equal(hnsw_search(t->w.h, &q, hits, &n, NULL, NULL), U2I_OK);
        assert_int_equal(n, 10);
        for (uint32_t j = 0; j < n; j++) {
            assert_true(hnsw_contains(t->w.h, hits[j].row));
        }
        pthread_rwlock_unlock(&t->lock);
    }
    return NULL;
}

static void traffic_commit(struct traffic *t, struct hnsw_batch *b) {
    for (bool done = b == NULL; !done;) {
        pthread_rwlock_wrlock(&t->lock);
        done = hnsw_commit(b, 50, NULL, NULL);
        pthread_rwlock_unlock(&t->lock);
    }
    hnsw_batch_free(b);
}

static void readers_go_on_while_the_graph_changes(void **state) {
    enum { N = 800, READERS = 2, ROUNDS = 25, NEW = 8 };
    struct traffic t = {.x = *state};
    pthread_t readers[READERS];
    world_open(&t.w, DIM, HNSW_COSINE);
    world_insert(&t.w, 0, t.x->vectors, N);
    assert_int_equal(rwlock_init(&t.lock), U2I_OK);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(thread_start(&readers[i], "reader", traffic_read, &t), U2I_OK);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t rows[NEW];
        struct hnsw_batch *b = NULL;
        pthread_rwlock_wrlock(&t.lock);
        for (uint32_t i = 0; i < NEW; i++) {
            hnsw_remove(t.w.h, round * NEW + i);
            rows[i] = N + round * NEW + i;
        }
        pthread_rwlock_unlock(&t.lock);
        const float *const fresh = t.x->vectors + (size_t)rows[0] * DIM;
        assert_int_equal(hnsw_plan(t.w.h, &(struct hnsw_vectors){rows, fresh, NEW}, NULL, &b, NULL), U2I_OK);
        traffic_commit(&t, b);
        assert_int_equal(hnsw_plan_repair(t.w.h, N / 4, NULL, &b, NULL), U2I_OK);
        traffic_commit(&t, b);
    }
    assert_int_equal(hnsw_calibrate(t.w.h, 0.9, NULL, NULL), U2I_OK);
    atomic_store(&t.stop, true);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    }
    assert_valid(t.w.h);
    world_close(&t.w);
    (void)pthread_rwlock_destroy(&t.lock); /* nobody holds it */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph_is_sound_and_all_of_it_is_reached),
        cmocka_unit_test(calibrated_searches_keep_the_recall_on_queries_not_seen_before),
        cmocka_unit_test(large_ef_finds_nearly_all),
        cmocka_unit_test(means_of_near_vectors_are_found),
        cmocka_unit_test(ef_grows_with_what_is_asked_for),
        cmocka_unit_test(filters_at_random_keep_the_recall),
        cmocka_unit_test(filters_that_go_with_the_vectors_keep_the_recall),
        cmocka_unit_test(denying_the_nearest_thousand_keeps_the_recall),
        cmocka_unit_test(never_fewer_results_than_match),
        cmocka_unit_test(search_stops_when_its_time_is_up),
        cmocka_unit_test(half_replaced_in_random_order_loses_no_recall),
        cmocka_unit_test(all_but_a_few_removed_leaves_the_few_connected),
        cmocka_unit_test(whole_clusters_removed_leave_the_others_connected),
        cmocka_unit_test(removed_rows_are_never_answered),
        cmocka_unit_test(vectors_inserted_where_all_was_removed_are_found),
        cmocka_unit_test(searches_between_the_steps_of_a_commit_find_enough),
        cmocka_unit_test(rows_that_became_stale_are_not_published),
        cmocka_unit_test(batches_given_up_leave_a_sound_graph),
        cmocka_unit_test(cancelled_work_changes_nothing),
        cmocka_unit_test(same_seed_gives_the_same_graph_with_any_number_of_threads),
        cmocka_unit_test(inner_product_with_unlike_lengths_keeps_the_recall),
        cmocka_unit_test(every_dimension_works),
        cmocka_unit_test(empty_graph_answers_nothing),
        cmocka_unit_test(asking_for_more_than_there_is_gives_all),
        cmocka_unit_test(ten_thousand_equal_vectors_hide_nobody),
        cmocka_unit_test(vectors_without_a_direction_are_kept_and_found),
        cmocka_unit_test(equal_scores_come_in_the_order_of_the_tie_function),
        cmocka_unit_test(rows_are_listed_in_order_with_their_vectors),
        cmocka_unit_test(readers_go_on_while_the_graph_changes),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
