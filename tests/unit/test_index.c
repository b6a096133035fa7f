/* The index: its two parts and the thread that moves vectors between them, against the model in
 * index_owner.h. (Its thread_start() is in the library; this program runs under TSan, too.) */
#include "index_owner.h"

/* ---- Tests: the two parts ------------------------------------------------------------------- */

static void a_small_set_is_compared_exactly(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct owner *const o = owner_new(1000);
    owner_fill(o, 1000);
    index_start(o->ix, true);
    owner_build(o);
    const struct index_stats stats = owner_wait(o);
    assert_int_equal(stats.graph, 0);
    assert_int_equal(stats.flat, 1000);
    assert_int_equal(stats.saved_sequence, 0);
    assert_true(recall_of(o, &rng, NULL, NULL) == 1.0);
    check_content(o);
    assert_int_equal(access(o->path, F_OK), -1);
    owner_free(o);
}

static void nothing_moves_before_the_start(void **state) {
    (void)state;
    u2i_error_t err;
    struct owner *const o = owner_new(100);
    owner_fill(o, 300);
    assert_int_equal(index_build(o->ix, NULL, NULL, &err), U2I_EINVAL);
    (void)usleep(20000);
    const struct index_stats stats = owner_stats(o);
    assert_int_equal(stats.flat, 300);
    assert_false(stats.busy);
    owner_free(o);
}

static void a_graph_comes_with_size_and_goes_with_it(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct owner *const o = owner_new(1000);
    owner_fill(o, 1500);
    index_start(o->ix, true);
    struct index_stats stats = owner_wait(o);
    assert_int_equal(stats.graph, 1500);
    assert_int_equal(stats.flat, 0);
    assert_true(stats.ef_10 > 0);
    assert_true(stats.saved_sequence > 0);
    assert_true(recall_of(o, &rng, NULL, NULL) >= 0.95);
    for (uint32_t row = 0; row < 1000; row++) { /* half of exact_max is enough to stay */
        owner_change(o, row, false);
    }
    stats = owner_wait(o);
    assert_int_equal(stats.graph, 500);
    assert_true(stats.removed <= INDEX_COMMIT_LISTS); /* repaired */
    assert_true(recall_of(o, &rng, NULL, NULL) >= 0.95);
    check_graph(o);
    owner_change(o, 1000, false);
    stats = owner_wait(o);
    assert_int_equal(stats.graph, 0);
    assert_int_equal(stats.flat, 499);
    assert_int_equal(stats.code_bytes, 0);
    assert_true(recall_of(o, &rng, NULL, NULL) == 1.0);
    assert_int_equal(access(o->path, F_OK), -1);
    check_content(o);
    owner_free(o);
}

static void filters_hold_in_both_parts(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    const double shares[] = {0, 0.002, 0.05, 0.5, 1};
    struct owner *const o = owner_new(500);
    owner_fill(o, 1200);
    index_start(o->ix, false);
    owner_build(o);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        roaring_bitmap_t *const allow = some_rows(&rng, shares[i]);
        roaring_bitmap_t *const deny = some_rows(&rng, 0.3);
        assert_true(recall_of(o, &rng, allow, NULL) >= 0.95);
        assert_true(recall_of(o, &rng, allow, deny) >= 0.95);
        assert_true(recall_of(o, &rng, NULL, deny) >= 0.95);
        roaring_bitmap_free(allow);
        roaring_bitmap_free(deny);
    }
    owner_free(o);
}

/* Highest row first: nothing like the order of rows. */
static int tie_by_height(const void *ctx, uint32_t a, uint32_t b) {
    (void)ctx;
    return a > b ? -1 : a < b;
}

static void equal_scores_of_both_parts_are_ordered_by_the_tie(void **state) {
    (void)state;
    float vector[DIM];
    struct hit hits[8];
    uint32_t n = 0;
    struct owner *const o = owner_new(100);
    owner_fill(o, 600);
    memset(vector, 0, sizeof vector);
    vector[3] = 1; /* exact in any order of summation */
    for (uint32_t row = 0; row < 600; row += 100) {
        assert_int_equal(index_set(o->ix, row, vector, NULL), U2I_OK);
    }
    index_start(o->ix, false);
    owner_build(o);
    const struct index_query q = {.vector = vector, .k = 7, .tie = tie_by_height};
    struct index_explain why;
    (void)pthread_rwlock_wrlock(&o->lock);
    for (uint32_t row = 50; row < 550; row += 100) {
        assert_int_equal(index_set(o->ix, row, vector, NULL), U2I_OK);
    }
    assert_int_equal(index_search(o->ix, &q, hits, &n, &why, NULL), U2I_OK);
    (void)pthread_rwlock_unlock(&o->lock);
    assert_true(why.graph);
    assert_true(why.compared >= 5);
    assert_int_equal(n, 7);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(hits[i].score == hits[0].score);
        assert_int_equal(hits[i].row, 500 - 50 * i);
    }
    owner_free(o);
}

/* ---- Tests: changes ------------------------------------------------------------------------- */

static void changes_count_at_once_while_the_thread_works(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct owner *const o = owner_new(200);
    index_start(o->ix, false);
    owner_fill(o, 300);
    for (uint32_t i = 0; i < 1500; i++) {
        const uint32_t row = rng_below(&rng, ROWS);
        float vector[DIM];
        float score = 0;
        (void)pthread_rwlock_wrlock(&o->lock); /* so that it is where it was put */
        owner_change_locked(o, row, true);
        vector_of(row, o->version[row], vector);
        assert_true(finds(o, vector, row, &score));
        assert_true(same_score(score, 1));
        if (rng_below(&rng, 3) == 0) {
            owner_change_locked(o, row, false);
            assert_false(finds(o, vector, row, &score));
            assert_false(index_contains(o->ix, row));
        }
        (void)pthread_rwlock_unlock(&o->lock);
    }
    owner_build(o);
    check_content(o);
    check_graph(o);
    assert_true(recall_of(o, &rng, NULL, NULL) >= 0.95);
    owner_free(o);
}

static void an_equal_vector_stays_in_the_graph(void **state) {
    (void)state;
    struct owner *const o = owner_new(100);
    owner_fill(o, 300);
    index_start(o->ix, false);
    owner_build(o);
    (void)pthread_rwlock_wrlock(&o->lock);
    for (uint32_t row = 0; row < 300; row++) {
        owner_apply(o, (struct op){row, o->version[row]});
    }
    (void)pthread_rwlock_unlock(&o->lock);
    const struct index_stats stats = owner_stats(o);
    assert_int_equal(stats.graph, 300);
    assert_int_equal(stats.removed, 0);
    owner_free(o);
}

static void configuration_changes_while_it_runs(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct owner *const o = owner_new(UINT32_MAX);
    owner_fill(o, 1200);
    index_start(o->ix, false);
    assert_int_equal(owner_wait(o).graph, 0);
    struct index_config config = INDEX_CONFIG_INIT;
    config.exact_max = 600;
    (void)pthread_rwlock_wrlock(&o->lock);
    index_configure(o->ix, &config);
    (void)pthread_rwlock_unlock(&o->lock);
    const uint32_t ef = owner_wait(o).ef_10;
    assert_int_equal(owner_stats(o).graph, 1200);
    assert_true(ef > 0);
    config.recall = 0.999;
    (void)pthread_rwlock_wrlock(&o->lock);
    index_configure(o->ix, &config);
    (void)pthread_rwlock_unlock(&o->lock);
    assert_true(owner_wait(o).ef_10 > ef);
    assert_true(recall_of(o, &rng, NULL, NULL) >= 0.99);
    config.exact_max = UINT32_MAX;
    (void)pthread_rwlock_wrlock(&o->lock);
    index_configure(o->ix, &config);
    (void)pthread_rwlock_unlock(&o->lock);
    assert_int_equal(owner_wait(o).graph, 0);
    check_content(o);
    owner_free(o);
}

/* ---- Tests: waiting and ending -------------------------------------------------------------- */

struct progress {
    uint64_t done, total;
    uint32_t calls, stop_at;
};

static int note_progress(void *ctx, uint64_t done, uint64_t total) {
    struct progress *const p = ctx;
    assert_true(done <= total && done >= p->done);
    p->done = done;
    p->total = total;
    return ++p->calls == p->stop_at;
}

static void building_tells_how_far_it_is_and_can_be_left(void **state) {
    (void)state;
    u2i_error_t err;
    struct owner *const o = owner_new(100);
    owner_fill(o, 1000);
    index_start(o->ix, true);
    struct progress p = {.stop_at = 1};
    assert_int_equal(index_build(o->ix, note_progress, &p, &err), U2I_ETIMEOUT);
    assert_int_equal(p.total, 1000);
    p = (struct progress){0};
    assert_int_equal(index_build(o->ix, note_progress, &p, &err), U2I_OK);
    assert_int_equal(p.done, p.total);
    assert_int_equal(owner_stats(o).graph, 1000);
    assert_int_equal(owner_stats(o).saved_sequence, 1000);
    const unsigned saves = atomic_load(&o->saves);
    owner_build(o); /* nothing to do */
    assert_int_equal(atomic_load(&o->saves), saves);
    owner_change(o, 7, false);
    owner_build(o);
    assert_int_equal(atomic_load(&o->saves), saves + 1);
    assert_int_equal(owner_stats(o).removed, 0);
    owner_free(o);
}

static void freeing_ends_a_build_at_once(void **state) {
    (void)state;
    const struct clock *const clock = clock_system();
    for (uint32_t ms = 0; ms <= 300; ms += 100) {
        struct owner *const o = owner_new(100);
        struct index_config config = INDEX_CONFIG_INIT;
        config.exact_max = 100;
        config.ef_construction = 2000;
        index_configure(o->ix, &config);
        owner_fill(o, ROWS);
        index_start(o->ix, true);
        (void)usleep(ms * 1000);
        const int64_t before = clock_ticks_ns(clock);
        index_free(o->ix);
        assert_true(clock_ticks_ns(clock) - before < INT64_C(400000000));
        o->ix = NULL;
        owner_free(o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_set_is_compared_exactly),
        cmocka_unit_test(nothing_moves_before_the_start),
        cmocka_unit_test(a_graph_comes_with_size_and_goes_with_it),
        cmocka_unit_test(filters_hold_in_both_parts),
        cmocka_unit_test(equal_scores_of_both_parts_are_ordered_by_the_tie),
        cmocka_unit_test(changes_count_at_once_while_the_thread_works),
        cmocka_unit_test(an_equal_vector_stays_in_the_graph),
        cmocka_unit_test(configuration_changes_while_it_runs),
        cmocka_unit_test(building_tells_how_far_it_is_and_can_be_left),
        cmocka_unit_test(freeing_ends_a_build_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
