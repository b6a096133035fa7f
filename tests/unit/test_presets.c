/* Presets: every setting is accepted, and each rule does what it is there for. The rules are bound as for a
 * question and asked about single items; the engine's tests have whole answers. */
#include "base/alloc.h"
#include "base/error.h"
#include "engine/presets.h"
#include "engine/rules.h"
#include "engine/settings.h"
#include "rule_for.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW_S 1700000000

static const char *setting_of(const char *preset, const char *name) {
    const struct preset *const p = preset_find(preset);
    assert_non_null(p);
    for (size_t i = 0; i < p->settings_n; i++) {
        if (strcmp(p->settings[i].name, name) == 0) {
            return p->settings[i].value;
        }
    }
    fail_msg("%s sets no %s", preset, name);
    return NULL;
}

/* A user's question under a preset's rules. */
struct question {
    struct rules *rules;
    struct attrs *user;
    struct arena arena;
    struct rules_bound bound;
};

static int history_price(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                         struct attr_value *out, u2i_error_t *err) {
    (void)ctx;
    (void)path;
    (void)err;
    for (uint32_t i = 0; i < n; i++) { /* row = price */
        out[i] = (struct attr_value){.type = ATTR_INT, .i = rows[i], .number = rows[i], .key = 1};
    }
    return U2I_OK;
}

static void ask(struct question *q, const char *preset, const char *user) {
    static const struct rules_liked history[] = {{20, 1}, {30, 1}};
    u2i_error_t err = {0};
    *q = (struct question){.rules = NULL};
    assert_int_equal(rules_parse(setting_of(preset, "rules"), &q->rules, &err), U2I_OK);
    assert_int_equal(attrs_parse(NULL, user, strlen(user), &q->user, &err), U2I_OK);
    const struct rules_asker asker = {.now_ms = (int64_t)NOW_S * 1000,
                                      .user = q->user,
                                      .history = history,
                                      .history_n = 2,
                                      .attr = history_price};
    const struct rules *const sets[] = {q->rules};
    assert_int_equal(rules_bind(sets, 1, &asker, &q->arena, &q->bound, &err), U2I_OK);
}

static void done(struct question *q) {
    rules_unbind(&q->bound);
    rules_free(q->rules);
    attrs_free(q->user);
    arena_free(&q->arena);
}

/* Does an item with these attributes match all filters (or boosts: any) of the user's question? */
static bool matches(const char *preset, enum rule_kind kind, const char *user, const char *item) {
    struct question q;
    struct attrs *a;
    u2i_error_t err;
    uint32_t from, passed = 0;
    ask(&q, preset, user);
    assert_int_equal(attrs_parse("c", item, strlen(item), &a, &err), U2I_OK);
    const uint32_t n = rules_of(&q.bound, kind, &from);
    for (uint32_t i = from; i < from + n; i++) {
        passed += filter_item(q.bound.list[i].filter, "it", a);
    }
    attrs_free(a);
    done(&q);
    return kind == RULE_FILTER ? passed == n : passed > 0;
}

static void shows(const char *preset, const char *user, const char *item) {
    if (!matches(preset, RULE_FILTER, user, item)) {
        fail_msg("%s: %s doesn't see %s", preset, user, item);
    }
}

static void hides(const char *preset, const char *user, const char *item) {
    if (matches(preset, RULE_FILTER, user, item)) {
        fail_msg("%s: %s sees %s", preset, user, item);
    }
}

static const struct rule *rule_of(struct question *q, enum rule_kind kind, uint32_t i) {
    uint32_t from;
    assert_true(rules_of(&q->bound, kind, &from) > i);
    return q->bound.list[from + i].rule;
}

/* The cap of an attribute: how many, in how many. */
static void assert_cap(const char *preset, const char *attr, uint32_t most, uint32_t window) {
    struct question q;
    uint32_t from;
    ask(&q, preset, "{}");
    const uint32_t n = rules_of(&q.bound, RULE_CAP, &from);
    for (uint32_t i = 0; i < n; i++) {
        const struct rule *const r = rule_of(&q, RULE_CAP, i);
        if (strcmp(r->name, attr) == 0) {
            assert_int_equal(r->count, most);
            assert_int_equal(r->window, window);
            done(&q);
            return;
        }
    }
    fail_msg("%s has no cap of %s", preset, attr);
}

/* ---- All of them ------------------------------------------------------------------------------ */

static void every_value_is_accepted(void **state) {
    (void)state;
    for (size_t i = 0; preset_at(i) != NULL; i++) {
        const struct preset *const p = preset_at(i);
        struct settings s;
        u2i_error_t err;
        assert_int_equal(settings_init(&s, &err), U2I_OK);
        for (size_t j = 0; j < p->settings_n; j++) {
            if (settings_put(&s, p->settings[j].name, p->settings[j].value, &err) != U2I_OK) {
                fail_msg("%s: %s", p->name, err.msg);
            }
        }
        assert_true(s.rules.parsed->n > 5);
        settings_free(&s);
        assert_ptr_equal(preset_find(p->name), p);
    }
}

static void actions_of_rules_are_actions_of_the_preset(void **state) {
    (void)state;
    for (size_t i = 0; preset_at(i) != NULL; i++) {
        const struct preset *const p = preset_at(i);
        struct settings s;
        u2i_error_t err;
        assert_int_equal(settings_init(&s, &err), U2I_OK);
        for (size_t j = 0; j < p->settings_n; j++) {
            assert_int_equal(settings_put(&s, p->settings[j].name, p->settings[j].value, &err), 0);
        }
        for (uint32_t j = 0; j < s.rules.parsed->n; j++) {
            const struct rule *const r = &s.rules.parsed->list[j];
            if (r->kind == RULE_AGAIN || r->kind == RULE_LIMIT || r->kind == RULE_MUTUAL) {
                assert_non_null(settings_action(&s, r->name));
            }
        }
        settings_free(&s);
    }
}

static void unknown_preset_is_told_with_the_known_ones(void **state) {
    (void)state;
    u2i_error_t err;
    assert_int_equal(preset_use(NULL, "shop", &err), U2I_ENOTFOUND);
    assert_string_equal(err.msg, "there is no preset \"shop\"; there are ecommerce, content, "
                                 "recruitment and dating");
}

/* ---- A shop ----------------------------------------------------------------------------------- */

static void ecommerce_shows_only_what_is_in_stock(void **state) {
    (void)state;
    shows("ecommerce", "{}", "{}");
    shows("ecommerce", "{}", "{\"in_stock\": true, \"stock\": 3}");
    hides("ecommerce", "{}", "{\"in_stock\": false}");
    hides("ecommerce", "{}", "{\"stock\": 0}");
    hides("ecommerce", "{}", "{\"in_stock\": true, \"stock\": 0}");
}

static void ecommerce_lowers_prices_out_of_the_band_of_the_history(void **state) {
    (void)state; /* bought for 20 and 30 */
    assert_true(matches("ecommerce", RULE_BOOST, "{}", "{\"price\": 46}"));
    assert_true(matches("ecommerce", RULE_BOOST, "{}", "{\"price\": 9}"));
    assert_false(matches("ecommerce", RULE_BOOST, "{}", "{\"price\": 44}"));
    assert_false(matches("ecommerce", RULE_BOOST, "{}", "{\"price\": 11}"));
    assert_false(matches("ecommerce", RULE_BOOST, "{}", "{}"));
    struct question q;
    ask(&q, "ecommerce", "{}");
    assert_true(rule_of(&q, RULE_BOOST, 0)->factor < 1);
    done(&q);
}

static void ecommerce_shows_one_variant_of_a_group_and_mixes_brands(void **state) {
    (void)state;
    assert_cap("ecommerce", "group", 1, 0);
    assert_cap("ecommerce", "brand", 3, 10);
}

static int match_consumable(void *ctx, const struct filter *f, const uint32_t *rows, uint32_t n,
                            bool *passes, u2i_error_t *err) {
    (void)ctx;
    for (uint32_t i = 0; i < n; i++) { /* row 1 is a consumable */
        struct attrs *a;
        const char *const json = rows[i] == 1 ? "{\"consumable\": true}" : "{}";
        U2I_TRY(attrs_parse(NULL, json, strlen(json), &a, err));
        passes[i] = filter_item(f, "it", a);
        attrs_free(a);
    }
    return U2I_OK;
}

static void ecommerce_offers_bought_consumables_again(void **state) {
    (void)state;
    static const struct rules_event events[] = {
        {1, "purchase"}, {2, "purchase"}, {1, "buy"}, {2, "view"}, {2, "dislike"}};
    const struct rules_view view = {.match = match_consumable};
    struct question q;
    double s[5];
    ask(&q, "ecommerce", "{}");
    assert_int_equal(rules_again(&q.bound, &view, events, 5, s, NULL), U2I_OK);
    assert_true(s[0] == 30 * 86400.0 && s[2] == 30 * 86400.0);
    assert_true(isinf(s[1]));
    assert_true(s[3] == 2 * 86400.0);
    assert_true(isinf(s[4]));
    done(&q);
}

/* ---- Content ---------------------------------------------------------------------------------- */

static void content_keeps_to_publishing_windows(void **state) {
    (void)state;
    shows("content", "{}", "{\"publish_at\": 1700000000, \"expire_at\": 1700000001}");
    hides("content", "{}", "{\"publish_at\": 1700000001}");
    hides("content", "{}", "{\"expire_at\": 1700000000}");
    shows("content", "{}", "{}");
}

static void content_leaves_out_muted_authors_and_topics(void **state) {
    (void)state;
    static const char user[] = "{\"muted_authors\": [\"bob\"], \"muted_topics\": [\"golf\"]}";
    hides("content", user, "{\"author\": \"bob\"}");
    hides("content", user, "{\"author\": \"eve\", \"topic\": \"golf\"}");
    shows("content", user, "{\"author\": \"eve\", \"topic\": \"chess\"}");
    shows("content", user, "{}");
    shows("content", "{}", "{\"author\": \"bob\"}");
    assert_string_equal(setting_of("content", "action.mute"), "exclude");
}

static void content_discounts_what_was_shown_and_does_not_repeat_while_scrolling(void **state) {
    (void)state;
    struct question q;
    ask(&q, "content", "{}");
    assert_true(rule_of(&q, RULE_DISCOUNT, 0)->factor == 0.7);
    assert_int_equal(rule_of(&q, RULE_SHOWN_CAP, 0)->count, 1);
    assert_true(rule_of(&q, RULE_SHOWN_CAP, 0)->seconds == 1800);
    done(&q);
}

static void content_gets_old_and_is_mixed(void **state) {
    (void)state;
    struct question q;
    ask(&q, "content", "{}");
    assert_true(rule_of(&q, RULE_FRESH, 0)->seconds == 86400);
    assert_string_equal(rule_of(&q, RULE_FRESH, 0)->name, "publish_at");
    done(&q);
    assert_cap("content", "author", 2, 10);
    assert_cap("content", "topic", 4, 10);
}

/* ---- Jobs ------------------------------------------------------------------------------------- */

static void recruitment_keeps_the_candidates_constraints(void **state) {
    (void)state;
    static const char places[] = "{\"places\": [\"Bonn\", \"Ulm\"]}";
    shows("recruitment", places, "{\"place\": \"Ulm\"}");
    shows("recruitment", places, "{\"place\": \"Rome\", \"remote\": true}");
    hides("recruitment", places, "{\"place\": \"Rome\"}");
    hides("recruitment", places, "{}");
    hides("recruitment", "{\"salary_min\": 50}", "{\"salary_max\": 49}");
    shows("recruitment", "{\"salary_min\": 50}", "{\"salary_max\": 50}");
    hides("recruitment", "{\"languages\": [\"de\"]}", "{\"language\": \"fr\"}");
    shows("recruitment", "{\"languages\": [\"de\"]}", "{\"language\": \"de\"}");
    hides("recruitment", "{\"work_permits\": [\"DE\"]}", "{\"country\": \"US\"}");
    shows("recruitment", "{\"work_permits\": [\"DE\"]}",
          "{\"country\": \"US\", \"visa_sponsored\": true}");
    shows("recruitment", "{}", "{\"place\": \"Rome\", \"country\": \"US\"}");
}

static void recruitment_leaves_out_expired_and_filled_jobs(void **state) {
    (void)state;
    hides("recruitment", "{}", "{\"expires\": 1700000000}");
    shows("recruitment", "{}", "{\"expires\": 1700000001, \"filled\": false}");
    hides("recruitment", "{}", "{\"filled\": true}");
}

static void recruitment_asks_both_sides_and_limits_applications(void **state) {
    (void)state;
    struct question q;
    ask(&q, "recruitment", "{}");
    assert_string_equal(rule_of(&q, RULE_TWO_SIDED, 0)->name, "employer");
    assert_false(rule_of(&q, RULE_TWO_SIDED, 0)->product);
    assert_int_equal(rule_for(&q.bound, RULE_LIMIT, "apply")->count, 200);
    done(&q);
    assert_cap("recruitment", "employer", 2, 10);
}

static void recruitment_protects_attributes(void **state) {
    (void)state;
    struct settings s;
    u2i_error_t err;
    assert_int_equal(settings_init(&s, &err), U2I_OK);
    assert_false(settings_protects(&s, "gender"));
    assert_int_equal(settings_put(&s, "protected", setting_of("recruitment", "protected"), &err),
                     U2I_OK);
    assert_true(settings_protects(&s, "gender"));
    assert_true(settings_protects(&s, "age"));
    assert_true(settings_protects(&s, "photo"));
    assert_false(settings_protects(&s, "skills"));
    assert_false(settings_protects(&s, "gend"));
    assert_false(settings_protects(&s, ""));
    settings_free(&s);
}

/* ---- People ----------------------------------------------------------------------------------- */

static void dating_checks_filters_both_ways(void **state) {
    (void)state;
    static const char user[] =
        "{\"gender\": \"f\", \"seeks\": [\"m\"], \"age\": 30, \"age_min\": 28, "
        "\"age_max\": 40, \"places\": [\"Bonn\"]}";
    shows("dating", user,
          "{\"gender\": \"m\", \"seeks\": [\"f\"], \"age\": 35, \"age_min\": 30, \"age_max\": 30}");
    hides("dating", user, "{\"gender\": \"f\", \"seeks\": [\"f\"], \"age\": 35}");
    hides("dating", user, "{\"gender\": \"m\", \"seeks\": [\"m\"], \"age\": 35}");
    hides("dating", user, "{\"gender\": \"m\", \"seeks\": [\"f\"], \"age\": 27}");
    hides("dating", user, "{\"gender\": \"m\", \"seeks\": [\"f\"], \"age\": 41}");
    hides("dating", user, "{\"gender\": \"m\", \"seeks\": [\"f\"], \"age\": 35, \"age_min\": 31}");
    hides("dating", user, "{\"gender\": \"m\", \"seeks\": [\"f\"], \"age\": 35, \"age_max\": 29}");
    hides("dating", user,
          "{\"gender\": \"m\", \"seeks\": [\"f\"], \"age\": 35, \"place\": \"Rome\"}");
    hides("dating", user,
          "{\"gender\": \"m\", \"seeks\": [\"f\"], \"age\": 35, \"active\": false}");
}

static void dating_is_two_sided_and_blocks_both(void **state) {
    (void)state;
    struct question q;
    ask(&q, "dating", "{}");
    assert_null(rule_of(&q, RULE_TWO_SIDED, 0)->name);
    assert_non_null(rule_for(&q.bound, RULE_MUTUAL, "block"));
    assert_string_equal(setting_of("dating", "action.block"), "exclude");
    done(&q);
}

static void dating_limits_exposure_and_lets_passes_expire(void **state) {
    (void)state;
    struct question q;
    ask(&q, "dating", "{}");
    assert_true(rule_for(&q.bound, RULE_LIMIT, "impression")->seconds == 86400);
    assert_true(rule_for(&q.bound, RULE_AGAIN, "pass")->seconds == 30 * 86400.0);
    done(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_accepted),
        cmocka_unit_test(actions_of_rules_are_actions_of_the_preset),
        cmocka_unit_test(unknown_preset_is_told_with_the_known_ones),
        cmocka_unit_test(ecommerce_shows_only_what_is_in_stock),
        cmocka_unit_test(ecommerce_lowers_prices_out_of_the_band_of_the_history),
        cmocka_unit_test(ecommerce_shows_one_variant_of_a_group_and_mixes_brands),
        cmocka_unit_test(ecommerce_offers_bought_consumables_again),
        cmocka_unit_test(content_keeps_to_publishing_windows),
        cmocka_unit_test(content_leaves_out_muted_authors_and_topics),
        cmocka_unit_test(content_discounts_what_was_shown_and_does_not_repeat_while_scrolling),
        cmocka_unit_test(content_gets_old_and_is_mixed),
        cmocka_unit_test(recruitment_keeps_the_candidates_constraints),
        cmocka_unit_test(recruitment_leaves_out_expired_and_filled_jobs),
        cmocka_unit_test(recruitment_asks_both_sides_and_limits_applications),
        cmocka_unit_test(recruitment_protects_attributes),
        cmocka_unit_test(dating_checks_filters_both_ways),
        cmocka_unit_test(dating_is_two_sided_and_blocks_both),
        cmocka_unit_test(dating_limits_exposure_and_lets_passes_expire),
    };
    return cmocka_run_group_tests_name("presets", tests, NULL, NULL);
}
