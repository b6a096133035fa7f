/* Rules at work: bound to a user's attributes and history, and asked about events and candidates. The items are
 * rows of real columns. */
#include "base/alloc.h"
#include "engine/rules.h"
#include "rule_for.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ITEMS 8u

static const char *const items[ITEMS] = {
    "{\"price\": 10, \"brand\": \"a\", \"lang\": \"de\", \"consumable\": true, \"since\": 1000000}",
    "{\"price\": 20, \"brand\": \"a\", \"lang\": \"en\", \"since\": 913600}",
    "{\"price\": 30.5, \"brand\": \"b\", \"lang\": \"de\", \"since\": 2000000}",
    "{\"price\": 40, \"brand\": 7, \"lang\": \"fr\", \"tags\": [\"x\", \"y\"]}",
    "{\"price\": 50, \"brand\": 7.0}",
    "{\"price\": \"free\"}",
    "{\"since\": \"yesterday\"}",
    "{}",
};

struct world {
    struct columns *columns;
    struct intern *ids;
    roaring_bitmap_t *live;
    struct attrs *user;
    uint32_t shown[ITEMS];
    uint64_t events[ITEMS];
    struct rules_liked history[ITEMS];
    uint32_t history_n;
    struct rules *rules, *more;
    struct arena arena;
    struct rules_bound bound;
    struct rules_view view;
};

static int world_match(void *ctx, const struct filter *f, const uint32_t *rows, uint32_t n,
                       bool *passes, u2i_error_t *err) {
    const struct world *const w = ctx;
    const struct filter_rows of = {w->columns, w->ids, w->live};
    return filter_match(f, &of, rows, n, passes, err);
}

static int world_attr(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                      struct attr_value *out, u2i_error_t *err) {
    const struct world *const w = ctx;
    struct attr_column column;
    const int rc = attr_column_find(w->columns, path, &column, err);
    if (rc == U2I_OK) {
        columns_get_many(&column, rows, n, out);
    }
    return rc;
}

static uint32_t world_shown(void *ctx, uint32_t row, double within_s) {
    const struct world *const w = ctx;
    return isinf(within_s) ? w->shown[row] : w->shown[row] / 2;
}

static uint64_t world_events(void *ctx, uint32_t row) {
    return ((const struct world *)ctx)->events[row];
}

static const char *world_id(void *ctx, uint32_t row) {
    return intern_name(((const struct world *)ctx)->ids, row, NULL);
}

static void world_open(struct world *w) {
    u2i_error_t err;
    *w = (struct world){.ids = intern_new(), .live = roaring_bitmap_create()};
    assert_int_equal(columns_new(&w->columns, &err), U2I_OK);
    for (uint32_t row = 0; row < ITEMS; row++) {
        struct attrs *a;
        char id[8];
        const int n = snprintf(id, sizeof(id), "i%u", row);
        assert_int_equal(
            attrs_parse(row == 3 ? "tools" : NULL, items[row], strlen(items[row]), &a, &err),
            U2I_OK);
        assert_int_equal(columns_put(w->columns, row, a, &err), U2I_OK);
        assert_int_equal(intern_put(w->ids, row, id, (size_t)n), U2I_OK);
        roaring_bitmap_add(w->live, row);
        attrs_free(a);
    }
    w->view = (struct rules_view){.ctx = w,
                                  .now_ms = 1000000000, /* second 1000000 */
                                  .match = world_match,
                                  .attr = world_attr,
                                  .shown = world_shown,
                                  .events = world_events,
                                  .id = world_id};
}

static void world_unbind(struct world *w) {
    rules_unbind(&w->bound);
    rules_free(w->rules);
    rules_free(w->more);
    w->rules = w->more = NULL;
}

static void world_close(struct world *w) {
    world_unbind(w);
    arena_free(&w->arena);
    attrs_free(w->user);
    columns_free(w->columns);
    intern_free(w->ids);
    roaring_bitmap_free(w->live);
}

static void world_user(struct world *w, const char *json) {
    u2i_error_t err;
    attrs_free(w->user);
    w->user = NULL;
    if (json != NULL) {
        assert_int_equal(attrs_parse(NULL, json, strlen(json), &w->user, &err), U2I_OK);
    }
}

static void world_bind(struct world *w, const char *text, const char *more) {
    u2i_error_t err = {0};
    world_unbind(w);
    if (rules_parse(text, &w->rules, &err) != U2I_OK ||
        (more != NULL && rules_parse(more, &w->more, &err) != U2I_OK)) {
        fail_msg("%s: %s", text, err.msg);
    }
    const struct rules *const sets[] = {w->rules, w->more};
    const struct rules_asker asker = {.now_ms = w->view.now_ms,
                                      .user = w->user,
                                      .history = w->history,
                                      .history_n = w->history_n,
                                      .attr = world_attr,
                                      .ctx = w};
    assert_int_equal(rules_bind(sets, 2, &asker, &w->arena, &w->bound, &err), U2I_OK);
}

/* Which items pass all filters, as "0 2 5". */
static void assert_passing(struct world *w, const char *text, const char *expected) {
    char got[64] = "";
    world_bind(w, text, NULL);
    for (uint32_t row = 0; row < ITEMS; row++) {
        bool all = true;
        uint32_t from;
        const uint32_t n = rules_of(&w->bound, RULE_FILTER, &from);
        for (uint32_t i = from; i < from + n; i++) {
            bool one;
            assert_int_equal(world_match(w, w->bound.list[i].filter, &row, 1, &one, NULL), U2I_OK);
            all = all && one;
        }
        if (all) {
            (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%u",
                           got[0] == '\0' ? "" : " ", row);
        }
    }
    assert_string_equal(got, expected);
}

/* ---- Binding ---------------------------------------------------------------------------------- */

static void attribute_of_the_user_stands_in_a_filter(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_user(&w, "{\"max\": 30, \"lang\": \"de\", \"wants\": {\"max\": 20.5}, \"yes\": true}");
    assert_passing(&w, "filter price <= {user.max}", "0 1");
    assert_passing(&w, "filter lang == {user.lang}; filter price <= {user.wants.max}", "0");
    assert_passing(&w, "filter consumable == {user.yes}", "0");
    world_close(&w);
}

static void list_of_the_user_stands_where_a_list_stands(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_user(&w, "{\"langs\": [\"en\", \"fr\"], \"prices\": [10, 30.5], \"tag\": [\"y\"]}");
    assert_passing(&w, "filter lang in {user.langs}", "1 3");
    assert_passing(&w, "filter price in {user.prices}", "0 2"); /* an integer among reals */
    assert_passing(&w, "filter array_contains_any(tags, {user.tag})", "3");
    world_user(&w, "{\"langs\": \"en\"}");
    assert_passing(&w, "filter lang in {user.langs}", "1"); /* one is a list of one */
    world_close(&w);
}

static void rule_about_what_the_user_does_not_have_is_skipped(void **state) {
    (void)state;
    static const char *const users[] = {NULL, "{}", "{\"langs\": null}", "{\"langs\": []}",
                                        "{\"langs\": {\"a\": 1}}"};
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
        world_user(&w, users[i]);
        assert_passing(&w, "filter lang in {user.langs}; filter price < 30", "0 1");
        assert_false(w.bound.nothing);
    }
    world_close(&w);
}

static void assert_nothing_passes(struct world *w, const char *rule) {
    world_bind(w, rule, NULL);
    assert_true(w->bound.nothing);
}

static void a_filter_about_what_does_not_fit_lets_nothing_through(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_user(&w,
               "{\"max\": \"a lot\", \"lang\": [\"de\"], \"mixed\": [\"de\", 5], \"none\": []}");
    assert_nothing_passes(&w, "filter price * 2 < {user.max}; filter price < 30");
    assert_nothing_passes(&w, "filter lang == {user.lang}");
    assert_nothing_passes(&w, "filter lang in {user.mixed}");
    assert_nothing_passes(&w, "filter lang == {user.lang} else price < 30");
    world_user(&w, "{\"deep\": [[\"de\"]], \"nulls\": [null], \"none\": []}");
    assert_nothing_passes(&w, "filter lang in {user.deep}");
    assert_nothing_passes(&w, "filter lang in {user.nulls}");
    assert_passing(&w, "filter lang in {user.none}; filter price < 30", "0 1");
    world_close(&w);
}

static void other_rules_about_what_does_not_fit_are_skipped(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_user(&w, "{\"max\": \"a lot\", \"mixed\": [\"de\", 5]}");
    world_bind(&w, "boost price * 2 < {user.max} by 2; match lang with {user.mixed} by 2", NULL);
    assert_false(w.bound.nothing);
    assert_int_equal(w.bound.n, 0);
    world_close(&w);
}

static void require_lets_nothing_through_without_the_attribute(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_bind(&w, "require lang == {user.lang}", NULL);
    assert_true(w.bound.nothing);
    world_user(&w, "{\"lang\": \"en\"}");
    assert_passing(&w, "require lang == {user.lang}", "1");
    assert_false(w.bound.nothing);
    world_close(&w);
}

static void what_stands_after_else_holds_for_users_without_the_attribute(void **state) {
    (void)state;
    struct world w;
    static const char rule[] = "filter lang == {user.lang} else brand == \"b\"";
    world_open(&w);
    assert_passing(&w, rule, "2");
    world_user(&w, "{\"lang\": \"de\"}");
    assert_passing(&w, rule, "0 2");
    world_user(&w, "{\"lang\": null}");
    assert_passing(&w, rule, "2");
    world_close(&w);
}

static void assert_match(struct world *w, uint32_t row, const char *attr, const char *expected) {
    struct attr_path *path;
    struct attr_value v;
    u2i_error_t err;
    const char *text;
    assert_int_equal(attr_path_parse(attr, strlen(attr), &path, &err), U2I_OK);
    assert_int_equal(world_attr(w, path, &row, 1, &v, &err), U2I_OK);
    assert_int_equal(rules_match_text(&w->bound.list[0], &v, &w->arena, &text, &err), U2I_OK);
    attr_path_free(path);
    if (expected == NULL) {
        assert_null(text);
    } else {
        assert_string_equal(text, expected);
    }
}

static void match_tells_what_is_had_and_what_is_lacked(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_user(&w, "{\"l\": [\"y\", \"z\"], \"brands\": [7, 8.5], \"none\": []}");
    world_bind(&w, "match tags with {user.l} by 4", NULL);
    assert_match(&w, 3, "tags", "match tags with {user.l} by 4: has y; lacks x");
    assert_match(&w, 0, "tags", NULL);
    assert_match(&w, 0, "brand", "match tags with {user.l} by 4: lacks a");
    world_bind(&w, "match brand with {user.brands} by 2", NULL);
    assert_match(&w, 3, "brand", "match brand with {user.brands} by 2: has 7");
    world_bind(&w, "match tags with {user.none} by 4; match tags with {user.nothing} by 4", NULL);
    assert_int_equal(w.bound.n, 0);
    world_close(&w);
}

static void now_is_the_moment_of_the_question(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    assert_passing(&w, "filter since <= {now}", "0 1");
    assert_passing(&w, "filter since > {now} - 86400 - 1 and since < {now}", "1");
    world_close(&w);
}

static void history_gives_weighted_quantiles(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    w.history[0] = (struct rules_liked){0, 0.5f}; /* 10: 5 % of the weight */
    w.history[1] = (struct rules_liked){1, 5};    /* 20 */
    w.history[2] = (struct rules_liked){2, 4};    /* 30.5 */
    w.history[3] = (struct rules_liked){4, 0.5f}; /* 50 */
    w.history[4] = (struct rules_liked){5, 9};    /* no number */
    w.history[5] = (struct rules_liked){7, 9};    /* nothing */
    w.history_n = 6;
    assert_passing(&w, "filter {history.price.low} <= price; filter price <= {history.price.high}",
                   "1 2");
    w.history_n = 1;
    assert_passing(&w, "filter price == {history.price.high}", "0");
    w.history_n = 0;
    assert_passing(&w, "filter price > {history.price.high}; filter price < 30", "0 1");
    world_close(&w);
}

static void rules_without_parameters_keep_their_filter(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_user(&w, "{\"max\": 30}");
    world_bind(&w, "boost price < 20 by 2; filter price < {user.max}", NULL);
    assert_int_equal(w.bound.n, 2);
    assert_ptr_equal(w.bound.list[1].filter, w.rules->list[0].filter);
    assert_null(w.bound.list[1].owned);
    assert_non_null(w.bound.list[0].owned);
    world_close(&w);
}

static void rules_are_in_order_of_kind_then_as_written(void **state) {
    (void)state;
    struct world w;
    uint32_t from;
    world_open(&w);
    world_bind(&w, "cap brand 1; boost price < 20 by 2; filter price > 1", "boost price > 1 by 3");
    assert_int_equal(rules_of(&w.bound, RULE_BOOST, &from), 2);
    assert_int_equal(from, 1);
    assert_string_equal(w.bound.list[1].rule->text, "boost price < 20 by 2");
    assert_string_equal(w.bound.list[2].rule->text, "boost price > 1 by 3");
    assert_int_equal(rules_of(&w.bound, RULE_CAP, &from), 1);
    assert_int_equal(rules_of(&w.bound, RULE_PIN, &from), 0);
    world_close(&w);
}

/* ---- Events ----------------------------------------------------------------------------------- */

static void again_tells_how_long_an_event_hides(void **state) {
    (void)state;
    static const struct rules_event events[] = {
        {0, "purchase"}, {1, "purchase"}, {1, "pass"}, {1, "like"}, {0, "pass"}};
    struct world w;
    double s[5];
    world_open(&w);
    world_bind(&w,
               "again purchase after 30d where consumable == true\nagain pass after 1d\n"
               "again pass after 9d",
               NULL);
    assert_int_equal(rules_again(&w.bound, &w.view, events, 5, s, NULL), U2I_OK);
    assert_true(s[0] == 30 * 86400.0);
    assert_true(isinf(s[1]));
    assert_true(s[2] == 86400 && s[4] == 86400); /* the first rule */
    assert_true(isinf(s[3]));
    assert_non_null(rule_for(&w.bound, RULE_AGAIN, "pass"));
    assert_null(rule_for(&w.bound, RULE_AGAIN, "like"));
    world_close(&w);
}

static void shown_cap_counts_within_its_time(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    w.shown[1] = 6; /* of these 3 lately */
    w.shown[2] = 4;
    world_bind(&w, "shown cap 3 within 1d", NULL);
    assert_false(rules_shown_enough(&w.bound, &w.view, 0));
    assert_true(rules_shown_enough(&w.bound, &w.view, 1));
    assert_false(rules_shown_enough(&w.bound, &w.view, 2));
    world_close(&w);
}

/* ---- Candidates ------------------------------------------------------------------------------- */

static const struct rank_scale SHARE = {RANK_SHARE, 0, 0};
static const struct rank_scale LOGIT = {RANK_LOGIT, 0, 2};

/* All items as candidates, with the score 0.5. */
static struct rules_ranking rank_all(struct world *w, const struct rank_scale *scale) {
    struct rules_ranking r = {.n = ITEMS, .scales = scale, .arena = &w->arena};
    r.candidates = arena_array(&w->arena, ITEMS, sizeof(*r.candidates));
    for (uint32_t i = 0; i < ITEMS; i++) {
        r.candidates[i] = (struct rank_candidate){.row = i, .part = {0.5f}};
        rank_sum(&r.candidates[i]);
    }
    assert_int_equal(rules_rank(&w->bound, &w->view, &r, NULL), U2I_OK);
    return r;
}

static void assert_score(const struct rules_ranking *r, uint32_t row, double expected) {
    const double got = (double)r->candidates[row].score;
    if (fabs(got - expected) > 1e-6) {
        fail_msg("row %u has %.9g, expected %.9g", row, got, expected);
    }
}

static void boost_adds_a_term_to_what_matches(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_bind(&w, "boost price < 30 by 2; boost lang == \"de\" by 3", NULL);
    struct rules_ranking r = rank_all(&w, &SHARE);
    assert_score(&r, 0, 3);
    assert_score(&r, 1, 1);
    assert_score(&r, 2, 1.5);
    assert_score(&r, 7, 0.5);
    assert_int_equal(r.candidates[0].first->rule, 0);
    assert_int_equal(r.candidates[0].last->rule, 1);
    r = rank_all(&w, &LOGIT);
    assert_score(&r, 0, 0.5 + log(6) / 2);
    world_close(&w);
}

static void each_impression_multiplies_the_odds(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    w.shown[1] = 4;
    world_bind(&w, "shown discount 0.5 within 1d", NULL); /* 2 of the 4 */
    const struct rules_ranking r = rank_all(&w, &SHARE);
    assert_score(&r, 0, 0.5);
    assert_score(&r, 1, 0.125);
    world_close(&w);
}

static void odds_halve_with_every_half_life(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_bind(&w, "fresh since half-life 12h", NULL); /* item 1 is a day old */
    const struct rules_ranking r = rank_all(&w, &SHARE);
    assert_score(&r, 0, 0.5);
    assert_score(&r, 1, 0.125);
    assert_score(&r, 2, 0.5); /* of the future: as new */
    assert_score(&r, 3, 0.5); /* without a time */
    assert_score(&r, 6, 0.5); /* no time */
    world_close(&w);
}

static void caps_get_keys_of_the_attribute(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_bind(&w, "cap brand 2 in 5; cap category 1", NULL);
    const struct rules_ranking r = rank_all(&w, &SHARE);
    assert_int_equal(r.caps_n, 2);
    assert_true(r.caps[0].most == 2 && r.caps[0].window == 5 && r.caps[1].window == 0);
    assert_true(r.candidates[0].key[0] == r.candidates[1].key[0]);
    assert_true(r.candidates[0].key[0] != r.candidates[2].key[0]);
    assert_true(r.candidates[3].key[0] == r.candidates[4].key[0]); /* 7 and 7.0 */
    assert_true(r.candidates[7].key[0] == 0);
    assert_true(r.candidates[3].key[1] != 0 && r.candidates[4].key[1] == 0);
    world_close(&w);
}

static void promoted_and_explored_items_are_in_lanes(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    w.events[0] = 100;
    w.events[1] = 9;
    world_bind(&w, "explore 10% below 10; promote lang == \"de\" share 0.3", NULL);
    const struct rules_ranking r = rank_all(&w, &SHARE);
    assert_int_equal(r.lanes_n, 2);
    assert_true(r.lanes[0].share == 0.3 && r.lanes[0].by == RANK_BY_SCORE);
    assert_true(r.lanes[1].share == 0.1 && r.lanes[1].by == RANK_BY_DRAW);
    assert_int_equal(r.candidates[0].lanes, 1);
    assert_int_equal(r.candidates[1].lanes, 2);
    assert_int_equal(r.candidates[2].lanes, 3);
    assert_true(r.candidates[1].draw > 0 && r.candidates[1].draw < 1);
    world_close(&w);
}

static void pins_find_their_item(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_bind(&w, "pin i3 at 1; pin gone at 2; pin i3 at 5", NULL);
    const struct rules_ranking r = rank_all(&w, &SHARE);
    assert_int_equal(r.candidates[3].pin, 1);
    assert_int_equal(r.candidates[2].pin, 0);
    world_close(&w);
}

static void rules_do_nothing_where_nothing_is_known(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    world_bind(&w,
               "boost price < 30 by 2; fresh since half-life 1d; shown discount 0.5; cap brand 1;"
               "promote lang == \"de\" share 1; explore 10% below 10; pin i1 at 1",
               NULL);
    w.view = (struct rules_view){.ctx = &w};
    const struct rules_ranking r = rank_all(&w, &SHARE);
    assert_true(r.caps_n == 0 && r.lanes_n == 0);
    assert_score(&r, 1, 0.5);
    world_close(&w);
}

static void two_sides_become_one_score(void **state) {
    (void)state;
    static const struct rule harmonic = {.kind = RULE_TWO_SIDED};
    static const struct rule product = {.kind = RULE_TWO_SIDED, .product = true};
    const float score = 0.4f; /* SHARE: the probability itself */
    assert_true(fabs((double)rules_two_sided(&harmonic, &SHARE, score, 0.2) -
                     (2 * 0.4 * 0.2 / 0.6 - 0.4)) < 1e-6);
    assert_true(fabs((double)rules_two_sided(&product, &SHARE, score, 0.2) - (0.08 - 0.4)) < 1e-6);
    const float term = rules_two_sided(&harmonic, &LOGIT, 1, 0.3);
    const double p = (double)rank_probability(&LOGIT, 1);
    assert_true(fabs((double)rank_probability(&LOGIT, 1 + term) - 2 * p * 0.3 / (p + 0.3)) < 1e-5);
    assert_true(isfinite(rules_two_sided(&harmonic, &LOGIT, 1, 0)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attribute_of_the_user_stands_in_a_filter),
        cmocka_unit_test(list_of_the_user_stands_where_a_list_stands),
        cmocka_unit_test(rule_about_what_the_user_does_not_have_is_skipped),
        cmocka_unit_test(a_filter_about_what_does_not_fit_lets_nothing_through),
        cmocka_unit_test(other_rules_about_what_does_not_fit_are_skipped),
        cmocka_unit_test(require_lets_nothing_through_without_the_attribute),
        cmocka_unit_test(what_stands_after_else_holds_for_users_without_the_attribute),
        cmocka_unit_test(match_tells_what_is_had_and_what_is_lacked),
        cmocka_unit_test(now_is_the_moment_of_the_question),
        cmocka_unit_test(history_gives_weighted_quantiles),
        cmocka_unit_test(rules_without_parameters_keep_their_filter),
        cmocka_unit_test(rules_are_in_order_of_kind_then_as_written),
        cmocka_unit_test(again_tells_how_long_an_event_hides),
        cmocka_unit_test(shown_cap_counts_within_its_time),
        cmocka_unit_test(boost_adds_a_term_to_what_matches),
        cmocka_unit_test(each_impression_multiplies_the_odds),
        cmocka_unit_test(odds_halve_with_every_half_life),
        cmocka_unit_test(caps_get_keys_of_the_attribute),
        cmocka_unit_test(promoted_and_explored_items_are_in_lanes),
        cmocka_unit_test(pins_find_their_item),
        cmocka_unit_test(rules_do_nothing_where_nothing_is_known),
        cmocka_unit_test(two_sides_become_one_score),
    };
    return cmocka_run_group_tests_name("rules at work", tests, NULL, NULL);
}
