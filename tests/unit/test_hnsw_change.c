/* The graph while it changes: replaced by halves, cleared, changed in steps that are given up or
 * cancelled, by any number of threads, beside readers. What is left has to be sound, hold no trace
 * of what was removed, and be found as before. */
#include "base/thread.h"
#include "hnsw_world.h"

/* ---- Churn ---------------------------------------------------------------------------------- */

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

/* Replaces half of n rows in random order, a `step` at a time with a repair after each; new rows
 * from n on. */
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

/* ---- In steps ------------------------------------------------------------------------------- */

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
        assert_int_equal(hnsw_plan(w.h, &(struct hnsw_vectors){fresh, vectors, 2}, NULL, &b, NULL),
                         U2I_OK);
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

/* Many rows with the same vector: lists are full of new nodes at once, and who is left out of all of them is
 * forced into one, in the place of another. That other may be a removed node whose links a repair under
 * way has already taken away everywhere. */
static void equal_vectors_inserted_during_a_repair_link_to_no_removed_one(void **state) {
    const struct fixture *const x = *state;
    enum { N = 2000, STEP = 200, KINDS = 20 };
    struct world w;
    struct rng rng;
    rng_seed(&rng, 22);
    world_open(&w, DIM, HNSW_COSINE);
    float *const vectors = alloc_array((size_t)2 * N * DIM, sizeof *vectors);
    assert_non_null(vectors);
    for (uint32_t i = 0; i < 2 * N; i++) {
        float *const v = vectors + (size_t)i * DIM;
        memcpy(v, x->vectors + (size_t)rng_below(&rng, KINDS) * DIM, DIM * sizeof *v);
    }
    world_insert(&w, 0, vectors, N);
    for (uint32_t row = N; row < 2 * N; row += STEP) {
        const uint32_t n = 2 * N - row < STEP ? 2 * N - row : STEP;
        struct hnsw_batch *b = NULL;
        for (uint32_t i = 0; i < n; i++) {
            world_remove(&w, rng_below(&rng, row));
        }
        assert_int_equal(hnsw_plan_repair(w.h, N / 3, NULL, &b, NULL), U2I_OK);
        if (b != NULL) {
            (void)hnsw_commit(b, UINT32_MAX, NULL, NULL); /* all of it fits */
            hnsw_batch_free(b);
        }
        world_insert(&w, row, vectors + (size_t)row * DIM, n);
        assert_valid(w.h);
    }
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    assert_no_link_to_removed(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    mem_free(vectors);
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
        assert_int_equal(hnsw_plan(w.h, &(struct hnsw_vectors){rows, vectors, 2}, NULL, &b, NULL),
                         U2I_OK);
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
        assert_int_equal(
            hnsw_plan(w.h, &(struct hnsw_vectors){rows, x->queries, 2}, NULL, &b, NULL), U2I_OK);
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
    assert_int_equal(
        hnsw_plan(w.h, &(struct hnsw_vectors){&row, x->queries, 1}, &stopped, &b, &err),
        U2I_ETIMEOUT);
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

/* ---- Determinism ---------------------------------------------------------------------------- */

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

/* ---- Readers beside the writer -------------------------------------------------------------- */

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
        assert_int_equal(hnsw_plan(t.w.h, &(struct hnsw_vectors){rows, fresh, NEW}, NULL, &b, NULL),
                         U2I_OK);
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
        cmocka_unit_test(half_replaced_in_random_order_loses_no_recall),
        cmocka_unit_test(all_but_a_few_removed_leaves_the_few_connected),
        cmocka_unit_test(whole_clusters_removed_leave_the_others_connected),
        cmocka_unit_test(removed_rows_are_never_answered),
        cmocka_unit_test(vectors_inserted_where_all_was_removed_are_found),
        cmocka_unit_test(searches_between_the_steps_of_a_commit_find_enough),
        cmocka_unit_test(equal_vectors_inserted_during_a_repair_link_to_no_removed_one),
        cmocka_unit_test(rows_that_became_stale_are_not_published),
        cmocka_unit_test(batches_given_up_leave_a_sound_graph),
        cmocka_unit_test(cancelled_work_changes_nothing),
        cmocka_unit_test(same_seed_gives_the_same_graph_with_any_number_of_threads),
        cmocka_unit_test(readers_go_on_while_the_graph_changes),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
