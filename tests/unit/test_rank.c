/* Ranking: scores that add up, the order, caps, pins, shares and diversity, each by a case small enough to
 * be worked out by hand. prop_rank.c has random ones. */
#include "base/alloc.h"
#include "base/hash.h"
#include "rank/rank.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MOST 64u

static const struct rank_scale LOGIT = {RANK_LOGIT, -2, 0.5};
static const struct rank_scale COSINE = {RANK_COSINE, 0, 0};
static const struct rank_scale SHARE = {RANK_SHARE, 0, 0};

static void assert_near(double got, double expected) {
    if (!(fabs(got - expected) <= 1e-5 * fmax(1, fabs(expected)))) {
        fail_msg("got %.9g, expected %.9g", got, expected);
    }
}

/* Candidates with these scores, in rows 0, 1, 2... */
struct list {
    struct rank_candidate c[MOST];
    struct rank_query q;
    uint32_t order[MOST], n;
};

static void list_make(struct list *l, const float *scores, uint32_t n, uint32_t k) {
    *l = (struct list){.q = {.n = n, .k = k}};
    l->q.candidates = l->c;
    for (uint32_t i = 0; i < n; i++) {
        l->c[i].row = i;
        l->c[i].part[0] = scores[i];
        rank_sum(&l->c[i]);
    }
}

static void list_order(struct list *l) {
    struct arena scratch = {0};
    assert_int_equal(rank_order(&l->q, &scratch, l->order, &l->n, NULL), U2I_OK);
    arena_free(&scratch);
}

/* As "2 0 1". */
static void assert_order(struct list *l, const char *expected) {
    char got[8 * MOST] = "";
    size_t at = 0;
    list_order(l);
    for (uint32_t i = 0; i < l->n; i++) {
        at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%u", i == 0 ? "" : " ",
                               l->c[l->order[i]].row);
    }
    assert_string_equal(got, expected);
}

/* ---- Scores ----------------------------------------------------------------------------------- */

static void probability_is_the_logistic_of_the_calibrated_score(void **state) {
    (void)state;
    assert_near((double)rank_probability(&LOGIT, 4), 0.5);
    assert_near((double)rank_probability(&LOGIT, 6), 1 / (1 + exp(-1.0)));
    assert_near((double)rank_probability(&LOGIT, -1000), 0);
    assert_near((double)rank_probability(&COSINE, -1), 0);
    assert_near((double)rank_probability(&COSINE, 0.5f), 0.75);
    assert_near((double)rank_probability(&SHARE, 0.25f), 0.25);
    assert_near((double)rank_probability(&SHARE, 3), 1);
}

static void boost_multiplies_the_odds(void **state) {
    (void)state;
    const float score = 3;
    const double before = (double)rank_probability(&LOGIT, score);
    const float boosted = score + rank_boost_term(&LOGIT, score, 1.2);
    const double after = (double)rank_probability(&LOGIT, boosted);
    assert_near(after / (1 - after), 1.2 * before / (1 - before));
}

static void boost_without_calibration_lifts_scores_of_either_sign(void **state) {
    (void)state;
    assert_near((double)rank_boost_term(&COSINE, 0.5f, 1.2), 0.1);
    assert_near((double)rank_boost_term(&COSINE, 0.5f, 0.5), -0.25);
    assert_near((double)rank_boost_term(&COSINE, -0.5f, 2), 0.25);
    assert_near((double)rank_boost_term(&COSINE, -0.5f, 0.5), -0.5);
    assert_near((double)rank_boost_term(&SHARE, 0, 5), 0);
}

static void boosts_multiply_one_after_another(void **state) {
    (void)state;
    struct arena a = {0};
    struct rank_candidate c = {.part = {0.5f, 0.25f}};
    rank_sum(&c);
    assert_int_equal(rank_boost(&c, &SHARE, 7, 2, &a), U2I_OK);
    assert_int_equal(rank_boost(&c, &SHARE, 8, 0.5, &a), U2I_OK);
    assert_near((double)c.score, 0.75);
    assert_int_equal(c.first->rule, 7);
    assert_near((double)c.first->value, 0.75);
    assert_int_equal(c.last->rule, 8);
    assert_near((double)c.last->value, -0.75);
    arena_free(&a);
}

static void boost_by_one_adds_no_term(void **state) {
    (void)state;
    struct arena a = {0};
    struct rank_candidate c = {.part = {0.5f}};
    rank_sum(&c);
    assert_int_equal(rank_boost(&c, &LOGIT, 1, 1, &a), U2I_OK);
    assert_null(c.first);
    arena_free(&a);
}

static void extreme_factors_leave_the_score_finite(void **state) {
    (void)state;
    assert_true(isfinite(rank_boost_term(&LOGIT, 1, 1e300)));
    assert_true(isfinite(rank_boost_term(&LOGIT, 1, 1e-300)));
    assert_true(isfinite(rank_boost_term(&COSINE, -1, 1e-300)));
}

/* ---- Order ------------------------------------------------------------------------------------ */

static int by_row_downwards(const void *ctx, uint32_t a, uint32_t b) {
    (void)ctx;
    return a < b ? 1 : -1;
}

static void order_is_by_score_then_tie(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){1, 3, 2, 3, -0.0f, 0, -1}, 7, 7);
    assert_order(&l, "1 3 2 0 4 5 6");
    l.q.tie = by_row_downwards;
    assert_order(&l, "3 1 2 0 5 4 6");
    l.q.k = 2;
    assert_order(&l, "3 1");
}

static void order_of_many_is_sorted(void **state) {
    (void)state;
    float scores[MOST];
    for (uint32_t n = 0; n <= MOST; n++) {
        struct list l;
        for (uint32_t i = 0; i < n; i++) {
            scores[i] = (float)(hash_mix(i) % 16);
        }
        list_make(&l, scores, n, n);
        list_order(&l);
        assert_int_equal(l.n, n);
        for (uint32_t i = 1; i < n; i++) {
            const struct rank_candidate *const a = &l.c[l.order[i - 1]], *const b =
                                                                             &l.c[l.order[i]];
            assert_true(a->score > b->score || (a->score == b->score && a->row < b->row));
        }
    }
}

static void score_that_is_no_number_comes_last(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){NAN, -5, 2, -NAN}, 4, 4);
    assert_order(&l, "2 1 0 3");
}

static void earlier_tier_comes_first_whatever_the_scores(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){9, 0.1f, 8, 0.2f}, 4, 4);
    l.c[0].tier = l.c[2].tier = 1;
    assert_order(&l, "3 1 0 2");
    l.q.diversity = 0.5;
    assert_order(&l, "3 1 0 2");
}

static void empty_questions_have_empty_lists(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){1}, 1, 0);
    assert_order(&l, "");
    list_make(&l, (const float[]){1}, 0, 5);
    assert_order(&l, "");
}

/* ---- Caps ------------------------------------------------------------------------------------- */

static void cap_holds_over_the_list(void **state) {
    (void)state;
    static const struct rank_cap cap = {2, 0};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6, 5, 4}, 6, 6);
    l.q.caps = &cap;
    l.q.caps_n = 1;
    l.c[0].key[0] = l.c[1].key[0] = l.c[2].key[0] = l.c[4].key[0] = 77;
    assert_order(&l, "0 1 3 5");
}

static void cap_holds_in_every_stretch_of_its_window(void **state) {
    (void)state;
    static const struct rank_cap cap = {1, 3};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6, 5, 4, 3}, 7, 7);
    l.q.caps = &cap;
    l.q.caps_n = 1;
    l.c[0].key[0] = l.c[1].key[0] = l.c[2].key[0] = 77;
    assert_order(&l, "0 3 4 1 5 6 2");
}

static void items_without_the_attribute_are_not_capped(void **state) {
    (void)state;
    static const struct rank_cap cap = {1, 0};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7}, 3, 3);
    l.q.caps = &cap;
    l.q.caps_n = 1;
    assert_order(&l, "0 1 2");
}

/* ---- Pins ------------------------------------------------------------------------------------- */

static void pinned_item_stands_at_its_place(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6, 5}, 5, 4);
    l.c[4].pin = 2;
    assert_order(&l, "0 4 1 2");
    l.c[0].pin = 4;
    assert_order(&l, "1 4 2 0");
}

static void pin_past_the_end_of_the_list_is_none(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){9, 8, 7}, 3, 2);
    l.c[2].pin = 3;
    assert_order(&l, "0 1");
}

static void pin_moves_up_where_the_list_ends_before_it(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){9, 8, 7}, 3, 10);
    l.c[0].pin = 8;
    assert_order(&l, "1 2 0");
}

static void of_two_pins_for_one_place_the_better_has_it(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6}, 4, 4);
    l.c[3].pin = l.c[2].pin = 1;
    assert_order(&l, "2 0 1 3");
}

static void cap_holds_around_a_pinned_item(void **state) {
    (void)state;
    static const struct rank_cap cap = {1, 2};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6}, 4, 4);
    l.q.caps = &cap;
    l.q.caps_n = 1;
    l.c[0].key[0] = l.c[3].key[0] = 5;
    l.c[3].pin = 2; /* so 0 may stand at 4 only */
    assert_order(&l, "1 3 2 0");
}

static void pins_that_break_a_cap_together_are_not_both_pinned(void **state) {
    (void)state;
    static const struct rank_cap cap = {1, 0};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6}, 4, 4);
    l.q.caps = &cap;
    l.q.caps_n = 1;
    l.c[2].key[0] = l.c[3].key[0] = 5;
    l.c[2].pin = 2;
    l.c[3].pin = 3;
    assert_order(&l, "0 2 1");
}

/* ---- Shares ----------------------------------------------------------------------------------- */

static void promoted_items_get_their_share_spread_evenly(void **state) {
    (void)state;
    static const struct rank_lane lane = {0.25, RANK_BY_SCORE};
    float scores[40];
    for (uint32_t i = 0; i < 40; i++) {
        scores[i] = (float)(40 - i);
    }
    struct list l;
    list_make(&l, scores, 40, 16);
    l.q.lanes = &lane;
    l.q.lanes_n = 1;
    for (uint32_t i = 30; i < 40; i++) {
        l.c[i].lanes = 1;
    }
    for (l.q.seed = 0; l.q.seed < 20; l.q.seed++) {
        list_order(&l);
        uint32_t last = UINT32_MAX, count = 0, next = 30;
        for (uint32_t i = 0; i < l.n; i++) {
            if (l.order[i] >= 30) {
                assert_int_equal(l.order[i], next++); /* the best of them first */
                assert_true(last == UINT32_MAX || i - last == 4);
                last = i;
                count++;
            }
        }
        assert_int_equal(count, 4);
    }
}

static void small_share_shows_up_in_some_of_the_lists(void **state) {
    (void)state;
    static const struct rank_lane lane = {0.05, RANK_BY_SCORE};
    float scores[40];
    for (uint32_t i = 0; i < 40; i++) {
        scores[i] = (float)(40 - i);
    }
    struct list l;
    uint32_t count = 0;
    list_make(&l, scores, 40, 10);
    l.q.lanes = &lane;
    l.q.lanes_n = 1;
    l.c[39].lanes = 1;
    for (l.q.seed = 0; l.q.seed < 1000; l.q.seed++) {
        list_order(&l);
        for (uint32_t i = 0; i < l.n; i++) {
            count += l.order[i] == 39;
        }
    }
    assert_in_range(count, 450, 550);
}

static void what_got_its_place_by_itself_counts_for_the_share(void **state) {
    (void)state;
    static const struct rank_lane lane = {0.5, RANK_BY_SCORE};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6, 5, 4, 3, 2}, 8, 4);
    l.q.lanes = &lane;
    l.q.lanes_n = 1;
    l.c[0].lanes = l.c[1].lanes = l.c[7].lanes = 1;
    assert_order(&l, "0 1 2 3");
}

static void explored_items_go_by_their_draws(void **state) {
    (void)state;
    static const struct rank_lane lane = {1, RANK_BY_DRAW};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6}, 4, 4);
    l.q.lanes = &lane;
    l.q.lanes_n = 1;
    l.c[1].lanes = l.c[2].lanes = l.c[3].lanes = 1;
    l.c[1].draw = 0.2f;
    l.c[2].draw = 0.9f;
    l.c[3].draw = 0.5f;
    assert_order(&l, "2 3 1 0");
}

static void promoted_items_keep_the_caps(void **state) {
    (void)state;
    static const struct rank_lane lane = {1, RANK_BY_SCORE};
    static const struct rank_cap cap = {1, 0};
    struct list l;
    list_make(&l, (const float[]){9, 8, 7, 6}, 4, 4);
    l.q.lanes = &lane;
    l.q.lanes_n = l.q.caps_n = 1;
    l.q.caps = &cap;
    l.c[2].lanes = l.c[3].lanes = 1;
    l.c[2].key[0] = l.c[3].key[0] = 5;
    assert_order(&l, "2 0 1");
}

static void draws_follow_what_is_known_of_an_item(void **state) {
    (void)state;
    double unknown = 0, square = 0, liked = 0, vain = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        const double u = (double)rank_draw(i, 42, 0, 0);
        unknown += u / 4000;
        square += u * u / 4000;
        liked += (double)rank_draw(i, 42, 30, 100) / 4000;
        vain += (double)rank_draw(i, 42, 0, 98) / 4000;
    }
    assert_true(fabs(unknown - 0.5) < 0.02);
    assert_true(fabs(square - unknown * unknown - 1.0 / 12) < 0.01); /* uniform */
    assert_true(fabs(liked - 31.0 / 102) < 0.01);
    assert_true(fabs(vain - 1.0 / 100) < 0.002);
    assert_true(rank_draw(7, 42, 3, 5) == rank_draw(7, 42, 3, 5));
    assert_true(rank_draw(7, 42, 3, 5) != rank_draw(7, 43, 3, 5));
}

/* ---- Diversity -------------------------------------------------------------------------------- */

static const float X[2] = {1, 0}, X2[2] = {5, 0}, Y[2] = {0, 3}, BACK[2] = {-1, 0};

static void diversity_puts_something_else_second(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){10, 9, 5, 0}, 4, 4);
    l.q.dim = 2;
    l.c[0].vector = X;
    l.c[1].vector = X2; /* the same direction: likeness 1 */
    l.c[2].vector = Y;
    l.c[3].vector = BACK; /* opposite: no more than nothing in common */
    assert_order(&l, "0 1 2 3");
    l.q.diversity = 0.4; /* 1: .6 x .9 - .4 = .14; 2: .6 x .5 = .3 */
    assert_order(&l, "0 2 1 3");
    l.q.diversity = 0.7; /* 1: .3 x .9 - .7 = -.43; 3: 0 */
    assert_order(&l, "0 2 3 1");
}

static void full_diversity_goes_by_likeness_alone(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){10, 9, 8, 1}, 4, 2);
    l.q.dim = 2;
    l.q.diversity = 1;
    l.c[0].vector = l.c[1].vector = l.c[2].vector = X;
    l.c[3].vector = Y;
    assert_order(&l, "0 3");
}

static void items_without_a_vector_are_like_nothing(void **state) {
    (void)state;
    static const float zero[2] = {0, 0};
    struct list l;
    list_make(&l, (const float[]){10, 9, 8, 7}, 4, 4);
    l.q.dim = 2;
    l.q.diversity = 0.5;
    l.c[0].vector = l.c[1].vector = X;
    l.c[2].vector = zero;
    assert_order(&l, "0 2 3 1");
}

static void diversity_looks_at_pinned_items_too(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){10, 9, 0}, 3, 3);
    l.q.dim = 2;
    l.q.diversity = 0.5;
    l.c[0].vector = l.c[2].vector = X;
    l.c[1].vector = Y;
    l.c[2].pin = 3;
    assert_order(&l, "1 0 2");
}

static void diversity_leaves_scores_alone(void **state) {
    (void)state;
    struct list l;
    list_make(&l, (const float[]){10, 9, 5}, 3, 3);
    l.q.dim = 2;
    l.q.diversity = 0.9;
    l.c[0].vector = l.c[1].vector = X;
    list_order(&l);
    assert_true(l.c[1].score == 9);
}

static void too_many_candidates_are_refused(void **state) {
    (void)state;
    struct arena scratch = {0};
    u2i_error_t err;
    uint32_t n;
    const struct rank_query q = {.n = RANK_CANDIDATES_MAX + 1, .k = 1};
    assert_int_equal(rank_order(&q, &scratch, &n, &n, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "65537 candidates are over 65536");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probability_is_the_logistic_of_the_calibrated_score),
        cmocka_unit_test(boost_multiplies_the_odds),
        cmocka_unit_test(boost_without_calibration_lifts_scores_of_either_sign),
        cmocka_unit_test(boosts_multiply_one_after_another),
        cmocka_unit_test(boost_by_one_adds_no_term),
        cmocka_unit_test(extreme_factors_leave_the_score_finite),
        cmocka_unit_test(order_is_by_score_then_tie),
        cmocka_unit_test(order_of_many_is_sorted),
        cmocka_unit_test(score_that_is_no_number_comes_last),
        cmocka_unit_test(earlier_tier_comes_first_whatever_the_scores),
        cmocka_unit_test(empty_questions_have_empty_lists),
        cmocka_unit_test(cap_holds_over_the_list),
        cmocka_unit_test(cap_holds_in_every_stretch_of_its_window),
        cmocka_unit_test(items_without_the_attribute_are_not_capped),
        cmocka_unit_test(pinned_item_stands_at_its_place),
        cmocka_unit_test(pin_past_the_end_of_the_list_is_none),
        cmocka_unit_test(pin_moves_up_where_the_list_ends_before_it),
        cmocka_unit_test(of_two_pins_for_one_place_the_better_has_it),
        cmocka_unit_test(cap_holds_around_a_pinned_item),
        cmocka_unit_test(pins_that_break_a_cap_together_are_not_both_pinned),
        cmocka_unit_test(promoted_items_get_their_share_spread_evenly),
        cmocka_unit_test(small_share_shows_up_in_some_of_the_lists),
        cmocka_unit_test(what_got_its_place_by_itself_counts_for_the_share),
        cmocka_unit_test(explored_items_go_by_their_draws),
        cmocka_unit_test(promoted_items_keep_the_caps),
        cmocka_unit_test(draws_follow_what_is_known_of_an_item),
        cmocka_unit_test(diversity_puts_something_else_second),
        cmocka_unit_test(full_diversity_goes_by_likeness_alone),
        cmocka_unit_test(items_without_a_vector_are_like_nothing),
        cmocka_unit_test(diversity_looks_at_pinned_items_too),
        cmocka_unit_test(diversity_leaves_scores_alone),
        cmocka_unit_test(too_many_candidates_are_refused),
    };
    return cmocka_run_group_tests_name("rank", tests, NULL, NULL);
}
