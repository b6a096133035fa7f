/* Popularity: forward-decayed sums against the sum that they stand for, computed anew in the way the
 * definition says; taking back; moving the landmark; saving. */
#include "base/alloc.h"
#include "base/rng.h"
#include "profile/profile.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DAY_S     86400.0
#define DAY_MS    ((int64_t)86400000)
#define NOW_MS    INT64_C(1700000000000)
#define LONG_S    (365 * DAY_S)
#define RECENT_S  (7 * DAY_S)
#define BLEND     0.5
#define ITEMS     20
#define HISTORY_N 2000

static uint64_t test_seed(void) {
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 20240607;
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static struct popularity *open_counts(double long_s, double recent_s) {
    struct popularity *p = NULL;
    u2i_error_t err;
    assert_int_equal(popularity_new(long_s, recent_s, &p, &err), U2I_OK);
    return p;
}

static void add(struct popularity *p, uint32_t item, int64_t time_ms, float weight) {
    u2i_error_t err;
    assert_int_equal(popularity_add(p, item, time_ms, weight, &err), U2I_OK);
}

static double score(const struct popularity *p, double blend, uint32_t item) {
    const struct popularity_scale s = popularity_scale(p);
    return (double)popularity_score(p, &s, blend, item);
}

static void assert_near(double got, double expected) {
    if (!(fabs(got - expected) <= 1e-6)) {
        fail_msg("got %.9g, expected %.9g", got, expected);
    }
}

/* ---- Scores ----------------------------------------------------------------------------------- */

static void an_event_weighs_half_after_a_half_life(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    add(p, 1, NOW_MS, 1);
    add(p, 2, NOW_MS - 7 * DAY_MS, 1);
    add(p, 3, NOW_MS - 14 * DAY_MS, 1);
    assert_near(score(p, 1, 1), 1);
    assert_near(score(p, 1, 2), 0.5);
    assert_near(score(p, 1, 3), 0.25);
    assert_near(score(p, 0, 2), exp2(-7.0 / 365));
    assert_near(score(p, 0.5, 2), (exp2(-7.0 / 365) + 0.5) / 2);
    popularity_free(p);
}

static void recent_events_win_the_recent_count_only(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    for (int i = 0; i < 50; i++) { /* a classic: long ago, often */
        add(p, 1, NOW_MS - 200 * DAY_MS, 1);
    }
    for (int i = 0; i < 5; i++) { /* a novelty */
        add(p, 2, NOW_MS, 1);
    }
    assert_true(score(p, 0, 1) > score(p, 0, 2));
    assert_true(score(p, 1, 2) > score(p, 1, 1));
    popularity_free(p);
}

static void items_without_events_score_zero(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    assert_true(score(p, BLEND, 5) == 0);
    add(p, 3, NOW_MS, 1);
    assert_true(score(p, BLEND, 2) == 0);
    assert_true(score(p, BLEND, 3) == 1);
    assert_true(score(p, BLEND, 1000) == 0);
    add(p, 2, NOW_MS, 0);
    assert_true(score(p, BLEND, 2) == 0);
    popularity_free(p);
}

struct counted {
    uint32_t item;
    int64_t time_ms;
    float weight;
};

/* Σ weight x 2^(-age / half-life), age before NOW_MS. */
static double direct_sum(const struct counted *events, size_t n, uint32_t item,
                         double half_life_s) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (events[i].item == item) {
            sum += (double)events[i].weight *
                   pow(2, -(double)(NOW_MS - events[i].time_ms) / 1000 / half_life_s);
        }
    }
    return sum;
}

static void assert_direct(const struct popularity *p, const struct counted *events, size_t n) {
    double most[2] = {0, 0};
    for (uint32_t i = 0; i < ITEMS; i++) {
        most[0] = fmax(most[0], direct_sum(events, n, i, LONG_S));
        most[1] = fmax(most[1], direct_sum(events, n, i, RECENT_S));
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        const double in_long = direct_sum(events, n, i, LONG_S) / most[0];
        const double in_recent = direct_sum(events, n, i, RECENT_S) / most[1];
        assert_near(score(p, BLEND, i), (1 - BLEND) * in_long + BLEND * in_recent);
    }
}

static void random_history(struct rng *rng, struct counted *events) {
    static const float weights[] = {1, 1.5f, 2.5f, 3, 5};
    for (size_t i = 0; i < HISTORY_N; i++) {
        const double years =
            25 * rng_unit(rng) * rng_unit(rng); /* over 1,300 half-lives of a week */
        events[i] = (struct counted){rng_below(rng, ITEMS),
                                     NOW_MS - (int64_t)(years * 365 * (double)DAY_MS),
                                     weights[rng_below(rng, 5)]};
    }
}

/* Events come in random order, so most of them are late; the landmark moves many times. */
static void popularity_forward_decay_equals_direct_sum(void **state) {
    (void)state;
    static struct counted events[HISTORY_N];
    struct rng rng;
    rng_seed(&rng, test_seed());
    for (int round = 0; round < 5; round++) {
        struct popularity *p = open_counts(LONG_S, RECENT_S);
        random_history(&rng, events);
        for (size_t i = 0; i < HISTORY_N; i++) {
            add(p, events[i].item, events[i].time_ms, events[i].weight);
        }
        assert_direct(p, events, HISTORY_N);
        popularity_free(p);
    }
}

static void popularity_rebase_keeps_scores(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, 3600);
    const int64_t hour_ms = 3600 * 1000;
    add(p, 1, NOW_MS, 1); /* sets the landmark */
    int64_t newest = NOW_MS;
    for (int years = 0; years < 20; years++) { /* 8,760 half-lives at a time */
        newest += 8760 * hour_ms;
        add(p, 2, newest, 3);
        add(p, 3, newest - hour_ms, 3); /* late */
        assert_near(score(p, 1, 2), 1);
        assert_near(score(p, 1, 3), 0.5);
    }
    for (int k = 1; k <= 10; k++) { /* near steps, each moving the landmark by 899 half-lives */
        struct popularity *q = open_counts(LONG_S, 3600);
        add(q, 1, NOW_MS, 1);
        add(q, 2, NOW_MS + (890 + k) * hour_ms, 1); /* just below, at and over the limit */
        add(q, 3, NOW_MS + (888 + k) * hour_ms, 1);
        add(q, 4, NOW_MS + (891 + k) * hour_ms, 1);
        assert_near(score(q, 1, 4), 1);
        assert_near(score(q, 1, 2), 0.5);
        assert_near(score(q, 1, 3), 0.125);
        popularity_free(q);
    }
    popularity_free(p);
}

/* ---- Taking back ------------------------------------------------------------------------------ */

static void taking_back_equals_never_having_counted(void **state) {
    (void)state;
    static struct counted events[HISTORY_N];
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    random_history(&rng, events);
    for (size_t i = 0; i < HISTORY_N; i++) {
        add(p, events[i].item, events[i].time_ms, events[i].weight);
    }
    for (size_t i = HISTORY_N / 2; i < HISTORY_N; i++) {
        add(p, events[i].item, events[i].time_ms, -events[i].weight);
    }
    assert_direct(p, events, HISTORY_N / 2);
    popularity_free(p);
}

static void taking_back_everything_leaves_exactly_nothing(void **state) {
    (void)state;
    static struct counted events[HISTORY_N];
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    random_history(&rng, events);
    for (size_t i = 0; i < HISTORY_N; i++) {
        add(p, events[i].item, events[i].time_ms, events[i].weight);
    }
    for (size_t i = HISTORY_N; i > 0; i--) {
        add(p, events[i - 1].item, events[i - 1].time_ms, -events[i - 1].weight);
    }
    const struct popularity_scale s = popularity_scale(p);
    assert_true(s.long_max == 0 && s.recent_max == 0);
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_true(score(p, BLEND, i) == 0);
    }
    popularity_free(p);
}

static void taking_back_what_was_never_counted_does_nothing(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    add(p, 4, NOW_MS, -1);
    add(p, 1, NOW_MS, 2);
    add(p, 4, NOW_MS, -1);
    assert_true(score(p, BLEND, 4) == 0);
    assert_true(score(p, BLEND, 1) == 1);
    popularity_free(p);
}

static void the_largest_is_found_again_after_it_was_taken_back(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    add(p, 1, NOW_MS, 10);
    add(p, 2, NOW_MS, 4);
    add(p, 3, NOW_MS, 2);
    add(p, 1, NOW_MS, -10);
    assert_near(score(p, BLEND, 2), 1);
    assert_near(score(p, BLEND, 3), 0.5);
    popularity_free(p);
}

static void a_million_events_of_one_item_are_fine(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    for (int i = 0; i < 1000000; i++) {
        add(p, 1, NOW_MS, 1);
    }
    add(p, 2, NOW_MS, 250000);
    assert_near(score(p, BLEND, 2), 0.25);
    popularity_free(p);
}

/* ---- Saving and bad input --------------------------------------------------------------------- */

static void saved_and_loaded_gives_identical_scores(void **state) {
    (void)state;
    static struct counted events[HISTORY_N];
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct popularity *p = open_counts(LONG_S, RECENT_S), *q = open_counts(LONG_S, RECENT_S);
    struct buf saved = {0};
    u2i_error_t err;
    assert_int_equal(popularity_save(p, &saved, &err), U2I_OK); /* empty */
    assert_int_equal(popularity_load(q, saved.data, saved.len, &err), U2I_OK);
    buf_reset(&saved);
    random_history(&rng, events);
    for (size_t i = 0; i < HISTORY_N / 2; i++) {
        add(p, events[i].item, events[i].time_ms, events[i].weight);
    }
    add(q, 400, NOW_MS, 1); /* will be replaced */
    assert_int_equal(popularity_save(p, &saved, &err), U2I_OK);
    assert_int_equal(popularity_load(q, saved.data, saved.len, &err), U2I_OK);
    for (size_t i = HISTORY_N / 2; i < HISTORY_N; i++) { /* and counting goes on */
        add(p, events[i].item, events[i].time_ms, events[i].weight);
        add(q, events[i].item, events[i].time_ms, events[i].weight);
    }
    for (uint32_t i = 0; i <= 400; i++) {
        assert_true(score(p, BLEND, i) == score(q, BLEND, i));
    }
    buf_free(&saved);
    popularity_free(q);
    popularity_free(p);
}

static void damaged_or_foreign_bytes_are_refused(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S);
    struct buf saved = {0};
    u2i_error_t err;
    for (uint32_t i = 0; i < 9; i++) {
        add(p, i * i, NOW_MS - i, 1);
    }
    assert_int_equal(popularity_save(p, &saved, &err), U2I_OK);
    for (size_t n = 0; n < saved.len; n++) {
        assert_int_equal(popularity_load(p, saved.data, n, &err), U2I_ECORRUPT);
    }
    for (size_t bit = 0; bit < 8 * saved.len; bit++) {
        saved.data[bit / 8] = (char)(saved.data[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(popularity_load(p, saved.data, saved.len, &err), U2I_ECORRUPT);
        saved.data[bit / 8] = (char)(saved.data[bit / 8] ^ 1 << bit % 8);
    }
    assert_near(score(p, BLEND, 64), 1); /* nothing has changed */
    buf_free(&saved);
    popularity_free(p);
}

static void counts_of_other_half_lives_are_refused(void **state) {
    (void)state;
    struct popularity *p = open_counts(LONG_S, RECENT_S), *q = open_counts(LONG_S, DAY_S);
    struct buf saved = {0};
    u2i_error_t err;
    add(p, 1, NOW_MS, 1);
    assert_int_equal(popularity_save(p, &saved, &err), U2I_OK);
    assert_int_equal(popularity_load(q, saved.data, saved.len, &err), U2I_ECORRUPT);
    assert_true(score(q, BLEND, 1) == 0);
    buf_free(&saved);
    popularity_free(q);
    popularity_free(p);
}

static void impossible_half_lives_are_refused(void **state) {
    (void)state;
    const double bad[] = {0, -1, 0.5, 1e13, NAN, INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct popularity *p;
        u2i_error_t err;
        assert_int_equal(popularity_new(bad[i], RECENT_S, &p, &err), U2I_EINVAL);
        assert_null(p);
        assert_int_equal(popularity_new(LONG_S, bad[i], &p, &err), U2I_EINVAL);
    }
    popularity_free(NULL);
}

static void any_time_can_be_counted(void **state) {
    (void)state;
    struct popularity *p = open_counts(1, 1);
    add(p, 1, INT64_MIN, 1);
    add(p, 2, 0, 1);
    add(p, 3, INT64_MAX, 1);
    add(p, 1, -1, 1);
    assert_near(score(p, BLEND, 3), 1);
    assert_near(score(p, BLEND, 1), 0);
    popularity_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_weighs_half_after_a_half_life),
        cmocka_unit_test(recent_events_win_the_recent_count_only),
        cmocka_unit_test(items_without_events_score_zero),
        cmocka_unit_test(popularity_forward_decay_equals_direct_sum),
        cmocka_unit_test(popularity_rebase_keeps_scores),
        cmocka_unit_test(taking_back_equals_never_having_counted),
        cmocka_unit_test(taking_back_everything_leaves_exactly_nothing),
        cmocka_unit_test(taking_back_what_was_never_counted_does_nothing),
        cmocka_unit_test(the_largest_is_found_again_after_it_was_taken_back),
        cmocka_unit_test(a_million_events_of_one_item_are_fine),
        cmocka_unit_test(saved_and_loaded_gives_identical_scores),
        cmocka_unit_test(damaged_or_foreign_bytes_are_refused),
        cmocka_unit_test(counts_of_other_half_lives_are_refused),
        cmocka_unit_test(impossible_half_lives_are_refused),
        cmocka_unit_test(any_time_can_be_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
