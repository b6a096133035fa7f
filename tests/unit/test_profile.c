/* Profiles as pure numbers: hand-computed cases for each rule, and a naive oracle in double for random
 * histories. One day is a convenient half-life: its weights are halves. */
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

#define DAY_MS ((int64_t)86400000)

enum { VIEW, LIKE, BUY, DISLIKE, IGNORE, ACTIONS };
static const float WEIGHTS[ACTIONS] = {1, 2.5f, 5, -2, 0};

/* Rank alone: 2^(-age / half-life) is 1 to within a millionth over the days of these tests. */
static const struct profile_recency BY_RANK = {PROFILE_RANK, 0.5, 0.9, 1e12, 0};

static uint64_t test_seed(void) {
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 20240607;
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static struct profile_event event(int64_t day, uint32_t item, uint16_t action) {
    return (struct profile_event){
        .time_ms = 1600000000000 + day * DAY_MS, .item = item, .action = action, .value = 1};
}

static int compare_numbers(const void *ctx, const struct profile_event *a,
                           const struct profile_event *b) {
    (void)ctx;
    const int by_item = (a->item > b->item) - (a->item < b->item);
    return by_item != 0 ? by_item : (a->action > b->action) - (a->action < b->action);
}

static void sort(struct profile_event *events, size_t n) {
    profile_sort(events, n, compare_numbers, NULL);
}

static void assert_near(double got, double expected) {
    if (!(fabs(got - expected) <= 1e-6 * fmax(1, fabs(expected)))) {
        fail_msg("got %.9g, expected %.9g", got, expected);
    }
}

/* Sorts, weighs and folds. */
static size_t fold(const struct profile_recency *how, struct profile_event *events, size_t n,
                   struct profile_entry *entries) {
    float *recency = alloc_array(n, sizeof *recency);
    size_t entries_n = 0;
    sort(events, n);
    profile_recency(how, events, n, recency);
    assert_int_equal(profile_entries(events, n, recency, WEIGHTS, entries, &entries_n), U2I_OK);
    mem_free(recency);
    return entries_n;
}

/* ---- Sorting ---------------------------------------------------------------------------------- */

static void newest_event_comes_first(void **state) {
    (void)state;
    struct profile_event ev[] = {event(1, 10, VIEW), event(3, 11, VIEW), event(2, 12, VIEW)};
    sort(ev, 3);
    assert_int_equal(ev[0].item, 11);
    assert_int_equal(ev[1].item, 12);
    assert_int_equal(ev[2].item, 10);
    sort(ev, 0);
    sort(ev, 1);
}

struct names {
    const char *items[3], *actions[ACTIONS];
};

static int compare_names(const void *ctx, const struct profile_event *a,
                         const struct profile_event *b) {
    const struct names *of = ctx;
    const int by_item = strcmp(of->items[a->item], of->items[b->item]);
    return by_item != 0 ? by_item : strcmp(of->actions[a->action], of->actions[b->action]);
}

static void equal_times_are_ordered_by_names_not_numbers(void **state) {
    (void)state;
    const struct names names = {{"zebra", "ant", "mole"},
                                {[VIEW] = "view", [LIKE] = "like", [BUY] = "buy"}};
    struct profile_event ev[] = {event(1, 0, VIEW), event(1, 1, BUY), event(1, 2, VIEW),
                                 event(1, 1, VIEW)};
    profile_sort(ev, 4, compare_names, &names);
    const uint32_t items[] = {1, 1, 2, 0};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ev[i].item, items[i]);
    }
    assert_int_equal(ev[0].action, BUY);
    assert_int_equal(ev[1].action, VIEW);
}

/* ---- Recency ---------------------------------------------------------------------------------- */

static void default_is_rank_and_half_life(void **state) {
    (void)state;
    const struct profile_recency how = {PROFILE_RANK, 0.5, 0.9, 86400, 0};
    const struct profile_event ev[] = {event(3, 1, VIEW), event(2, 2, VIEW), event(0, 3, VIEW)};
    float r[3];
    profile_recency(&how, ev, 3, r);
    assert_near((double)r[0], 1);
    assert_near((double)r[1], 0.5 / sqrt(2));
    assert_near((double)r[2], 0.125 / sqrt(3));
}

static void ties_share_a_rank(void **state) {
    (void)state;
    const struct profile_event ev[] = {event(9, 1, BUY), event(9, 2, BUY), event(9, 3, BUY),
                                       event(8, 4, BUY), event(8, 5, BUY), event(7, 6, BUY)};
    const double expected[] = {1, 1, 1, 1 / sqrt(2), 1 / sqrt(2), 1 / sqrt(3)};
    float r[6];
    profile_recency(&BY_RANK, ev, 6, r);
    for (size_t i = 0; i < 6; i++) {
        assert_near((double)r[i], expected[i]);
    }
}

static void rank_power_can_be_anything(void **state) {
    (void)state;
    const struct profile_event ev[] = {event(3, 1, VIEW), event(2, 2, VIEW), event(1, 3, VIEW)};
    const double powers[] = {0, 0.5, 0.7, 1, 2};
    for (size_t k = 0; k < 5; k++) {
        const struct profile_recency how = {PROFILE_RANK, powers[k], 0.9, 1e12, 0};
        float r[3];
        profile_recency(&how, ev, 3, r);
        assert_near((double)r[2], pow(3, -powers[k]));
    }
}

static void decay_counts_from_the_newest(void **state) {
    (void)state;
    const struct profile_recency how = {PROFILE_DECAY, 0.5, 0.9, 1, 0.02};
    struct profile_event ev[60];
    float r[60];
    for (int i = 0; i < 60; i++) {
        ev[i] = event(i, (uint32_t)i, VIEW); /* oldest first */
    }
    sort(ev, 60);
    profile_recency(&how, ev, 60, r);
    for (int i = 0; i < 60; i++) { /* exactly decay^i: no floor, no half-life */
        assert_int_equal(ev[i].item, 59 - i);
        assert_near((double)r[i] / pow(0.9, i), 1);
    }
}

static void bare_half_life_ignores_rank(void **state) {
    (void)state;
    const struct profile_recency how = {PROFILE_HALF_LIFE, 0.5, 0.9, 7 * 86400, 0};
    const struct profile_event ev[] = {event(14, 1, VIEW), event(13, 2, VIEW), event(7, 3, VIEW),
                                       event(0, 4, VIEW)};
    float r[4];
    profile_recency(&how, ev, 4, r);
    assert_near((double)r[1], exp2(-1.0 / 7));
    assert_near((double)r[2], 0.5);
    assert_near((double)r[3], 0.25);
}

static void floor_keeps_old_events_alive(void **state) {
    (void)state;
    struct profile_recency how = {PROFILE_RANK, 0.5, 0.9, 86400, 0.02};
    const struct profile_event ev[] = {event(5000, 1, VIEW), event(0, 2, VIEW)};
    float r[2];
    profile_recency(&how, ev, 2, r);
    assert_near((double)r[1], 0.02);
    how.mode = PROFILE_HALF_LIFE;
    profile_recency(&how, ev, 2, r);
    assert_near((double)r[1], 0.02);
}

static void age_counts_from_the_users_newest_event(void **state) {
    (void)state;
    const struct profile_recency how = {PROFILE_RANK, 0.5, 0.9, 86400, 0};
    const struct profile_event then[] = {event(1, 1, VIEW), event(0, 2, VIEW)};
    const struct profile_event now[] = {event(9001, 1, VIEW), event(9000, 2, VIEW)};
    float a[2], b[2];
    profile_recency(&how, then, 2, a);
    profile_recency(&how, now, 2, b);
    assert_memory_equal(a, b, sizeof a);
}

static void no_events_are_no_profile(void **state) {
    (void)state;
    struct profile_entry none;
    profile_recency(&BY_RANK, NULL, 0, NULL);
    assert_int_equal(fold(&BY_RANK, NULL, 0, &none), 0);
    assert_true(profile_sum(&none, 0).absolute == 0);
    profile_normalise(&none, 0);
}

/* ---- Entries ---------------------------------------------------------------------------------- */

static void an_items_events_add_up(void **state) {
    (void)state;
    struct profile_event ev[] = {event(1, 7, VIEW), event(3, 7, BUY), event(2, 8, LIKE)};
    struct profile_entry entries[3];
    assert_int_equal(fold(&BY_RANK, ev, 3, entries), 2);
    assert_int_equal(entries[0].item, 7); /* its newest event is the newest of all */
    assert_int_equal(entries[0].latest, 0);
    assert_near((double)entries[0].weight, 5 + 1 / sqrt(3));
    assert_int_equal(entries[1].item, 8);
    assert_int_equal(entries[1].latest, 1);
    assert_near((double)entries[1].weight, 2.5 / sqrt(2));
}

static void largest_takes_an_items_heaviest_event(void **state) {
    (void)state;
    struct profile_event ev[] = {event(1, 7, BUY),     event(3, 7, VIEW),    event(2, 8, LIKE),
                                 event(0, 8, DISLIKE), event(0, 9, DISLIKE), event(4, 10, IGNORE)};
    struct profile_entry entries[6];
    float recency[6];
    size_t n = 0;
    sort(ev, 6);
    profile_recency(&BY_RANK, ev, 6, recency);
    assert_int_equal(profile_largest(ev, 6, recency, WEIGHTS, entries, &n), U2I_OK);
    assert_int_equal(n, 3); /* the one without weight is dropped, as in sums */
    assert_int_equal(entries[0].item, 7);
    assert_int_equal(entries[0].latest, 1); /* the newest, though another one weighs */
    assert_near((double)entries[0].weight, 5 / sqrt(4));
    assert_near((double)entries[1].weight, 2.5 / sqrt(3));
    assert_near((double)entries[2].weight, -2 / sqrt(5));
}

static void value_multiplies_the_weight(void **state) {
    (void)state;
    struct profile_event ev[] = {event(1, 7, BUY)};
    struct profile_entry entry;
    ev[0].value = 3;
    assert_int_equal(fold(&BY_RANK, ev, 1, &entry), 1);
    assert_near((double)entry.weight, 15);
}

static void late_event_lands_in_its_place(void **state) {
    (void)state;
    struct profile_event in_order[] = {event(3, 1, BUY), event(2, 2, LIKE), event(1, 3, VIEW)};
    struct profile_event late[] = {event(3, 1, BUY), event(1, 3, VIEW), event(2, 2, LIKE)};
    struct profile_entry a[3], b[3];
    assert_int_equal(fold(&BY_RANK, in_order, 3, a), 3);
    assert_int_equal(fold(&BY_RANK, late, 3, b), 3);
    assert_memory_equal(a, b, sizeof a);
}

static void weightless_items_are_dropped(void **state) {
    (void)state;
    struct profile_event ev[] = {event(3, 1, IGNORE), event(2, 2, LIKE), event(1, 3, IGNORE)};
    struct profile_entry entries[3];
    assert_int_equal(fold(&BY_RANK, ev, 3, entries), 1);
    assert_int_equal(entries[0].item, 2);
    assert_int_equal(entries[0].latest, 1);
}

static void the_heavier_of_two_actions_at_once_is_the_latest(void **state) {
    (void)state;
    struct profile_event ev[] = {event(1, 1, VIEW), event(1, 1, BUY), event(1, 1, LIKE),
                                 event(0, 1, BUY)};
    struct profile_entry entry;
    assert_int_equal(fold(&BY_RANK, ev, 4, &entry), 1);
    assert_int_equal(ev[entry.latest].action, BUY);
    assert_int_equal(ev[entry.latest].time_ms, event(1, 1, BUY).time_ms);
}

static void dislike_only_profile_has_no_direction(void **state) {
    (void)state;
    struct profile_event ev[] = {event(2, 1, DISLIKE), event(1, 2, DISLIKE)};
    struct profile_entry entries[2];
    assert_int_equal(fold(&BY_RANK, ev, 2, entries), 2);
    assert_true(profile_sum(entries, 2).positive == 0);
    assert_near(profile_sum(entries, 2).absolute, 2 + 2 / sqrt(2));
}

static void dislikes_never_flip_the_sign_of_likes(void **state) {
    (void)state;
    /* Σ w = 2.5 - 2 - 2 < 0; dividing by it would turn the like into a dislike. */
    struct profile_event ev[] = {event(1, 1, LIKE), event(1, 2, DISLIKE), event(1, 3, DISLIKE)};
    struct profile_entry entries[3];
    assert_int_equal(fold(&BY_RANK, ev, 3, entries), 3);
    profile_normalise(entries, 3);
    assert_near((double)entries[0].weight, 2.5 / 6.5);
    assert_near((double)entries[1].weight, -2 / 6.5);
    assert_near(profile_sum(entries, 3).absolute, 1);
}

/* ---- Against the oracle ----------------------------------------------------------------------- */

/* Recency straight from the definition: the rank of an event is the number of distinct times that are
 * not older, counted for each event anew. */
static double naive_recency(const struct profile_recency *how, const struct profile_event *events,
                            size_t n, size_t i) {
    int64_t newest = INT64_MIN;
    double rank = 0;
    for (size_t k = 0; k < n; k++) {
        newest = events[k].time_ms > newest ? events[k].time_ms : newest;
        size_t first = 0;
        while (events[first].time_ms != events[k].time_ms) {
            first++;
        }
        rank += first == k && events[k].time_ms >= events[i].time_ms;
    }
    const double age_s = (double)(newest - events[i].time_ms) / 1000;
    const double age = pow(2, -age_s / how->half_life_s);
    switch (how->mode) {
    case PROFILE_DECAY:
        return pow(how->decay, rank - 1);
    case PROFILE_HALF_LIFE:
        return fmax(age, how->floor);
    default:
        return fmax(pow(rank, -how->rank_power) * age, how->floor);
    }
}

static double naive_weight(const struct profile_recency *how, const struct profile_event *events,
                           size_t n, uint32_t item) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (events[i].item == item) {
            sum += (double)WEIGHTS[events[i].action] * (double)events[i].value *
                   naive_recency(how, events, n, i);
        }
    }
    return sum;
}

static void random_events(struct rng *rng, struct profile_event *events, size_t n) {
    for (size_t i = 0; i < n; i++) {
        events[i] =
            event(rng_below(rng, 40), rng_below(rng, 30), (uint16_t)rng_below(rng, ACTIONS));
        events[i].value = (float)(1 + rng_below(rng, 8)) / 2;
    }
}

static void random_how(struct rng *rng, struct profile_recency *how) {
    static const double powers[] = {0, 0.5, 0.8, 1};
    *how = (struct profile_recency){(enum profile_mode)rng_below(rng, 3), powers[rng_below(rng, 4)],
                                    0.5 + 0.49 * rng_unit(rng), 86400 * (1 + rng_below(rng, 90)),
                                    rng_below(rng, 2) * 0.02};
}

static void any_history_equals_the_definition(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    for (int round = 0; round < 200; round++) {
        struct profile_event events[120];
        struct profile_entry entries[120];
        struct profile_recency how;
        const size_t n = 1 + rng_below(&rng, 120);
        random_events(&rng, events, n);
        random_how(&rng, &how);
        const size_t entries_n = fold(&how, events, n, entries);
        size_t at = 0;
        for (size_t i = 0; i < n;
             i++) { /* items in order of their first event, weightless ones out */
            size_t first = 0;
            while (events[first].item != events[i].item) {
                first++;
            }
            const double expected = naive_weight(&how, events, n, events[i].item);
            if (first == i && fabs(expected) > 1e-14) {
                assert_true(at < entries_n);
                assert_int_equal(entries[at].item, events[i].item);
                assert_near((double)entries[at++].weight, expected);
            }
        }
        assert_int_equal(at, entries_n);
    }
}

static void shuffle(struct rng *rng, struct profile_event *events, size_t n) {
    for (size_t i = n; i > 1; i--) {
        const size_t k = rng_below(rng, (uint32_t)i);
        const struct profile_event ev = events[i - 1];
        events[i - 1] = events[k];
        events[k] = ev;
    }
}

static void order_of_arrival_does_not_matter(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    for (int round = 0; round < 100; round++) {
        struct profile_event events[200];
        struct profile_entry a[200], b[200];
        struct profile_recency how;
        random_events(&rng, events, 200);
        random_how(&rng, &how);
        const size_t n = fold(&how, events, 200, a);
        shuffle(&rng, events, 200);
        assert_int_equal(fold(&how, events, 200, b), n);
        assert_memory_equal(a, b, n * sizeof *a);
    }
}

/* More events than the fold keeps on its stack. */
static void a_hundred_thousand_events_are_fine(void **state) {
    (void)state;
    enum { N = 100000, ITEMS = 700 };
    struct profile_event *events = alloc_array(N, sizeof *events);
    struct profile_entry *entries = alloc_array(N, sizeof *entries);
    for (uint32_t i = 0; i < N; i++) {
        events[i] = event(0, i % ITEMS, VIEW);
        events[i].time_ms -= i;
    }
    const struct profile_recency flat = {PROFILE_RANK, 0, 0.9, 1e12, 0};
    assert_int_equal(fold(&flat, events, N, entries), ITEMS);
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_int_equal(entries[i].item, i);
        assert_near((double)entries[i].weight, N / ITEMS + (i < N % ITEMS));
    }
    mem_free(entries);
    mem_free(events);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_event_comes_first),
        cmocka_unit_test(equal_times_are_ordered_by_names_not_numbers),
        cmocka_unit_test(default_is_rank_and_half_life),
        cmocka_unit_test(ties_share_a_rank),
        cmocka_unit_test(rank_power_can_be_anything),
        cmocka_unit_test(decay_counts_from_the_newest),
        cmocka_unit_test(bare_half_life_ignores_rank),
        cmocka_unit_test(floor_keeps_old_events_alive),
        cmocka_unit_test(age_counts_from_the_users_newest_event),
        cmocka_unit_test(no_events_are_no_profile),
        cmocka_unit_test(an_items_events_add_up),
        cmocka_unit_test(largest_takes_an_items_heaviest_event),
        cmocka_unit_test(value_multiplies_the_weight),
        cmocka_unit_test(late_event_lands_in_its_place),
        cmocka_unit_test(weightless_items_are_dropped),
        cmocka_unit_test(the_heavier_of_two_actions_at_once_is_the_latest),
        cmocka_unit_test(dislike_only_profile_has_no_direction),
        cmocka_unit_test(dislikes_never_flip_the_sign_of_likes),
        cmocka_unit_test(any_history_equals_the_definition),
        cmocka_unit_test(order_of_arrival_does_not_matter),
        cmocka_unit_test(a_hundred_thousand_events_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
