/* Item to item from pairs of events: neighbours and sequence, against sums over all pairs. */
#include "train_world.h"

static const struct train_work TWO = {.threads = 2};

/* ---- Neighbours ------------------------------------------------------------------------------ */

static struct train_matrix *neighbours(const struct train_matrix *x, uint32_t k, double shrink) {
    const struct train_neighbours_options opt = {k, shrink};
    struct train_matrix *m = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_neighbours(x, &opt, &TWO, &m, &err), U2I_OK);
    world_assert_sound(m);
    return m;
}

static double column_dot(const struct train_matrix *x, uint32_t a, uint32_t b) {
    double sum = 0;
    for (uint32_t u = 0; u < x->rows; u++) {
        sum += (double)world_at(x, u, a) * (double)world_at(x, u, b);
    }
    return sum;
}

static double cosine(const struct train_matrix *x, uint32_t a, uint32_t b, double shrink) {
    return column_dot(x, a, b) / (sqrt(column_dot(x, a, a) * column_dot(x, b, b)) + shrink);
}

static void neighbours_are_the_best_of_all_pairs(void **state) {
    (void)state;
    enum { ITEMS = 50, K = 7 };
    struct train_matrix *const x = world_random(80, ITEMS, 1200, 1);
    struct train_matrix *const m = neighbours(x, K, 5);
    for (uint32_t target = 0; target < ITEMS; target++) {
        double least = INFINITY;
        double missed = 0;
        uint32_t n = 0;
        for (uint32_t source = 0; source < ITEMS; source++) {
            const double have = (double)world_at(m, source, target);
            const double want = source == target ? 0 : cosine(x, source, target, 5);
            if (have > 0) {
                assert_true(fabs(have - want) < 1e-6);
                least = fmin(least, have);
                n++;
            } else {
                missed = fmax(missed, want);
            }
        }
        assert_true(n == K || missed == 0);
        assert_true(missed <= least + 1e-6);
    }
    train_matrix_free(m);
    train_matrix_free(x);
}

static void neighbours_have_defaults(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(80, 150, 9000, 2);
    struct train_matrix *const own = neighbours(x, 0, -1);
    struct train_matrix *const said = neighbours(x, 100, 20);
    world_assert_equal(own, said);
    assert_true(own->starts[150] <= 150 * 100);
    train_matrix_free(said);
    train_matrix_free(own);
    train_matrix_free(x);
}

/* One user of 100,000 items among others: quadratic work would be 10^10 sums. */
static void a_user_of_very_many_items_counts_in_part(void **state) {
    (void)state;
    enum { MANY = 100000 };
    struct train_entry *const e = alloc_array(MANY + 200, sizeof *e);
    for (uint32_t i = 0; i < MANY; i++) {
        e[i] = (struct train_entry){0, i, i < 50 ? 1.0f : .5f};
    }
    for (uint32_t i = 0; i < 200; i++) {
        e[MANY + i] = (struct train_entry){1 + i / 10, i % 10, 1};
    }
    struct train_matrix *const x = world_matrix(e, MANY + 200, 21, MANY);
    struct train_matrix *const m = neighbours(x, 20, 20);
    assert_true(fabs((double)world_at(m, 3, 7) - 21.0 / (21 + 20)) < 1e-6);
    assert_true(world_at(m, 12, 40) > 0); /* the larger values stay */
    assert_true(m->starts[MANY] <= 2000 * 20);
    train_matrix_free(m);
    train_matrix_free(x);
    mem_free(e);
}

/* ---- Sequence -------------------------------------------------------------------------------- */

static struct train_matrix *sequence(const struct train_event *e, size_t n, uint32_t items,
                                     const struct train_sequence_options *opt) {
    struct train_matrix *m = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_sequence(e, n, items, opt, &TWO, &m, &err), U2I_OK);
    world_assert_sound(m);
    return m;
}

static void sequence_counts_what_follows(void **state) {
    (void)state;
    /* user 7: a b c, user 9: b b a at once with nothing; b's weight 0 is no event */
    const struct train_event e[] = {{7, 2, 1, 30}, {7, 0, 1, 10}, {7, 1, 2, 20},
                                    {9, 1, 1, 5},  {9, 1, 0, 6},  {9, 3, 1, 5}};
    const struct train_sequence_options opt = {.window = 2, .backward = .5, .beta = 0};
    struct train_matrix *const m = sequence(e, 6, 4, &opt);
    assert_true(world_at(m, 0, 1) == 1);    /* a b: 1 / 1 event of a */
    assert_true(world_at(m, 0, 2) == .5f);  /* a . c: gap 2 */
    assert_true(world_at(m, 1, 2) == .5f);  /* b c: 1 / 2 events of b */
    assert_true(world_at(m, 1, 0) == .25f); /* backward: .5 / 2 */
    assert_true(world_at(m, 2, 0) == .25f);
    assert_int_equal(m->starts[4], 6); /* equal times of user 9 mean nothing */
    train_matrix_free(m);
}

static int event_order(const void *a, const void *b) {
    const struct train_event *const x = a;
    const struct train_event *const y = b;
    if (x->user != y->user) {
        return x->user < y->user ? -1 : 1;
    }
    return x->time_ms < y->time_ms ? -1 : x->time_ms > y->time_ms;
}

enum { EVENTS = 3000, ITEMS = 120 };

/* Times are all different, in no order. */
static void make_events(struct train_event *e, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (uint32_t i = 0; i < EVENTS; i++) {
        e[i] = (struct train_event){rng_below(&rng, 40) * 100000007u, rng_below(&rng, ITEMS),
                                    rng_below(&rng, 10) == 0 ? -1.0f : 1.0f,
                                    (int64_t)i * 7919 % 100003 - 50000};
    }
}

static void sequence_equals_the_sum_over_pairs(void **state) {
    (void)state;
    static struct train_event e[EVENTS];
    static double want[ITEMS][ITEMS];
    double count[ITEMS] = {0};
    make_events(e, 3);
    const struct train_sequence_options opt = {.window = 4, .backward = -1, .beta = -1};
    struct train_matrix *const m = sequence(e, EVENTS, ITEMS, &opt);
    size_t n = 0;
    for (size_t i = 0; i < EVENTS; i++) {
        if (e[i].weight > 0) {
            e[n++] = e[i];
        }
    }
    qsort(e, n, sizeof *e, event_order);
    for (size_t i = 0; i < n; i++) {
        count[e[i].item]++;
        for (size_t j = i + 1; j < n && j <= i + 4; j++) {
            if (e[j].user == e[i].user && e[j].item != e[i].item) {
                want[e[i].item][e[j].item] += 1.0 / (double)(j - i);
                want[e[j].item][e[i].item] += .5 / (double)(j - i);
            }
        }
    }
    for (uint32_t a = 0; a < ITEMS; a++) {
        for (uint32_t b = 0; b < ITEMS; b++) {
            const double value = want[a][b] / fmax(count[a], 1) * pow(fmax(count[b], 1), -.4);
            assert_true(fabs(value - (double)world_at(m, a, b)) < 1e-6 * (1 + value));
        }
    }
    train_matrix_free(m);
}

static void sequence_keeps_the_largest(void **state) {
    (void)state;
    static struct train_event e[EVENTS];
    make_events(e, 4);
    const struct train_sequence_options all = {.backward = -1, .beta = -1};
    const struct train_sequence_options five = {.backward = -1, .beta = -1, .keep = 5};
    struct train_matrix *const a = sequence(e, EVENTS, ITEMS, &all);
    struct train_matrix *const b = sequence(e, EVENTS, ITEMS, &five);
    for (uint32_t r = 0; r < ITEMS; r++) {
        float least = INFINITY;
        assert_in_range(b->starts[r + 1] - b->starts[r], 0, 5);
        for (uint64_t i = b->starts[r]; i < b->starts[r + 1]; i++) {
            assert_true(world_at(a, r, b->ids[i]) == b->values[i]);
            least = fminf(least, b->values[i]);
        }
        for (uint64_t i = a->starts[r]; i < a->starts[r + 1]; i++) {
            assert_true(world_at(b, r, a->ids[i]) > 0 || a->values[i] <= least);
        }
    }
    train_matrix_free(b);
    train_matrix_free(a);
}

static void order_of_the_events_does_not_matter_but_the_seed_does(void **state) {
    (void)state;
    static struct train_event e[EVENTS];
    static struct train_event back[EVENTS];
    make_events(e, 5);
    for (size_t i = 0; i < EVENTS; i++) {
        e[i].time_ms /= 20000; /* many equal times */
        back[EVENTS - 1 - i] = e[i];
    }
    const struct train_sequence_options one = {.backward = -1, .beta = -1, .seed = 1};
    const struct train_sequence_options two = {.backward = -1, .beta = -1, .seed = 2};
    struct train_matrix *const a = sequence(e, EVENTS, ITEMS, &one);
    struct train_matrix *const b = sequence(back, EVENTS, ITEMS, &one);
    struct train_matrix *const c = sequence(e, EVENTS, ITEMS, &two);
    assert_int_equal(a->starts[ITEMS], b->starts[ITEMS]);
    assert_memory_equal(a->ids, b->ids, a->starts[ITEMS] * sizeof *a->ids);
    assert_true(world_distance(a->values, b->values, a->starts[ITEMS]) < 1e-6);
    assert_true(c->starts[ITEMS] != a->starts[ITEMS] ||
                memcmp(a->values, c->values, a->starts[ITEMS] * sizeof *a->values) != 0);
    train_matrix_free(c);
    train_matrix_free(b);
    train_matrix_free(a);
}

static void sequence_refuses_unknown_items(void **state) {
    (void)state;
    const struct train_event e = {0, 4, 1, 0};
    const struct train_sequence_options opt = {0};
    struct train_matrix *m = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_sequence(&e, 1, 4, &opt, &TWO, &m, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "item 4 is not below 4");
    assert_null(m);
}

/* ---- Both ------------------------------------------------------------------------------------ */

static void odd_matrices_give_numbers(void **state) {
    (void)state;
    for (int i = 0; i < WORLD_ODD; i++) {
        struct train_matrix *const x = world_odd(i);
        struct train_matrix *const m = neighbours(x, 0, 0);
        assert_int_equal(m->rows, x->cols);
        train_matrix_free(m);
        train_matrix_free(x);
    }
    const struct train_sequence_options opt = {.backward = 0, .beta = 1};
    const struct train_event e = {UINT32_MAX, 0, 1, INT64_MIN};
    for (uint32_t n = 0; n <= 1; n++) {
        struct train_matrix *const m = sequence(&e, n, n, &opt);
        assert_int_equal(m->starts[n], 0);
        train_matrix_free(m);
    }
}

static void number_of_threads_does_not_change_a_bit(void **state) {
    (void)state;
    static struct train_event e[EVENTS];
    make_events(e, 6);
    const struct train_work work = {.threads = 5};
    struct train_matrix *const x = world_random(300, 900, 9000, 7);
    const struct train_neighbours_options near = {9, -1};
    const struct train_sequence_options opt = {.backward = -1, .beta = -1, .keep = 9};
    struct train_matrix *a = neighbours(x, 9, -1);
    struct train_matrix *b = NULL;
    assert_int_equal(train_neighbours(x, &near, &work, &b, NULL), U2I_OK);
    world_assert_equal(a, b);
    train_matrix_free(b);
    train_matrix_free(a);
    a = sequence(e, EVENTS, ITEMS, &opt);
    assert_int_equal(train_sequence(e, EVENTS, ITEMS, &opt, &work, &b, NULL), U2I_OK);
    world_assert_equal(a, b);
    train_matrix_free(b);
    train_matrix_free(a);
    train_matrix_free(x);
}

static void cancelled_at_any_point_they_return_nothing(void **state) {
    (void)state;
    static struct train_event e[EVENTS];
    make_events(e, 8);
    struct train_matrix *const x = world_random(100, 500, 3000, 8);
    const struct train_neighbours_options near = {9, -1};
    const struct train_sequence_options opt = {.backward = -1, .beta = -1};
    for (long at = 0; at < 3; at++) {
        struct world_cancel cancel = {.left = at};
        const struct train_work work = {1, world_progress, &cancel};
        struct train_matrix *m = NULL;
        assert_int_equal(train_neighbours(x, &near, &work, &m, NULL), U2I_ETIMEOUT);
        assert_null(m);
        cancel.left = at;
        assert_int_equal(train_sequence(e, EVENTS, ITEMS, &opt, &work, &m, NULL), U2I_ETIMEOUT);
        assert_null(m);
        assert_false(cancel.wrong);
    }
    train_matrix_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_the_best_of_all_pairs),
        cmocka_unit_test(neighbours_have_defaults),
        cmocka_unit_test(a_user_of_very_many_items_counts_in_part),
        cmocka_unit_test(sequence_counts_what_follows),
        cmocka_unit_test(sequence_equals_the_sum_over_pairs),
        cmocka_unit_test(sequence_keeps_the_largest),
        cmocka_unit_test(order_of_the_events_does_not_matter_but_the_seed_does),
        cmocka_unit_test(sequence_refuses_unknown_items),
        cmocka_unit_test(odd_matrices_give_numbers),
        cmocka_unit_test(number_of_threads_does_not_change_a_bit),
        cmocka_unit_test(cancelled_at_any_point_they_return_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
