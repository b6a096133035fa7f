/* The language of ranking rules: what is accepted and what is said of what is not. */
#include "base/alloc.h"
#include "engine/rules.h"
#include "engine/settings.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct rules *parse(const char *text) {
    struct rules *rules = NULL;
    u2i_error_t err = {0};
    if (rules_parse(text, &rules, &err) != U2I_OK) {
        fail_msg("\"%s\": %s", text, err.msg);
    }
    return rules;
}

static const struct rule *only(const struct rules *rules) {
    assert_int_equal(rules->n, 1);
    return &rules->list[0];
}

/* ---- Each rule -------------------------------------------------------------------------------- */

static void filter_takes_an_expression(void **state) {
    (void)state;
    struct rules *rules = parse("filter in_stock and price < 20");
    const struct rule *const r = only(rules);
    assert_int_equal(r->kind, RULE_FILTER);
    assert_non_null(r->filter);
    assert_false(r->strict);
    assert_string_equal(r->text, "filter in_stock and price < 20");
    rules_free(rules);
    rules = parse("require city == {user.city}");
    assert_int_equal(only(rules)->kind, RULE_FILTER);
    assert_true(only(rules)->strict);
    assert_null(only(rules)->filter); /* parsed when the user is known */
    rules_free(rules);
}

static void boost_takes_a_factor(void **state) {
    (void)state;
    struct rules *rules = parse("boost price < 20 by 1.2");
    assert_int_equal(only(rules)->kind, RULE_BOOST);
    assert_true(only(rules)->factor == 1.2);
    assert_int_equal(only(rules)->expr_n, strlen("price < 20"));
    rules_free(rules);
}

static void pin_takes_any_id(void **state) {
    (void)state;
    static const struct {
        const char *text, *id;
    } cases[] = {{"pin \"a b\" at 3", "a b"},
                 {"pin 'it\\'s' at 3", "it's"},
                 {"pin p7 at 3", "p7"},
                 {"pin \"x;#\\\"y\" at 3", "x;#\"y"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rules *rules = parse(cases[i].text);
        assert_int_equal(only(rules)->kind, RULE_PIN);
        assert_string_equal(only(rules)->name, cases[i].id);
        assert_int_equal(only(rules)->count, 3);
        rules_free(rules);
    }
}

static void promote_takes_a_share(void **state) {
    (void)state;
    struct rules *rules = parse("promote sponsored == true share 0.25\npromote own share 20%");
    assert_int_equal(rules->list[0].kind, RULE_PROMOTE);
    assert_true(rules->list[0].share == 0.25);
    assert_true(rules->list[1].share == 0.2);
    rules_free(rules);
}

static void cap_takes_an_attribute_and_a_window(void **state) {
    (void)state;
    struct rules *rules =
        parse("cap brand 2; cap category 3 in 10\ncap attrs[\"list in\"][\"at 3\"] 1 in 5");
    assert_int_equal(rules->n, 3);
    assert_string_equal(rules->list[0].name, "brand");
    assert_int_equal(rules->list[0].count, 2);
    assert_int_equal(rules->list[0].window, 0);
    assert_string_equal(rules->list[1].name, "category");
    assert_int_equal(rules->list[1].window, 10);
    assert_string_equal(rules->list[2].name, "attrs[\"list in\"][\"at 3\"]");
    assert_int_equal(rules->list[2].count, 1);
    rules_free(rules);
}

static void filter_says_what_holds_for_users_without_the_attribute(void **state) {
    (void)state;
    struct rules *rules = parse("filter kind == {user.seeks} else kind == \"x else\\\" y\"\n"
                                "filter name == \"or else not\"");
    assert_int_equal(rules->list[0].params_n, 1);
    assert_non_null(rules->list[0].otherwise);
    assert_null(rules->list[1].otherwise);
    rules_free(rules);
}

static void match_takes_two_lists_and_a_factor(void **state) {
    (void)state;
    struct rules *rules = parse("match requirements with {user.skills} by 4");
    assert_int_equal(rules->list[0].kind, RULE_MATCH);
    assert_string_equal(rules->list[0].name, "requirements");
    assert_int_equal(rules->list[0].params_n, 1);
    assert_true(rules->list[0].factor == 4);
    rules_free(rules);
}

static void again_takes_an_action_and_a_time(void **state) {
    (void)state;
    struct rules *rules = parse("again purchase after 30d where consumable == true\n"
                                "again pass after 2w");
    assert_string_equal(rules->list[0].name, "purchase");
    assert_true(rules->list[0].seconds == 30 * 86400.0);
    assert_non_null(rules->list[0].filter);
    assert_true(rules->list[1].seconds == 14 * 86400.0);
    assert_null(rules->list[1].expr);
    rules_free(rules);
}

static void shown_discounts_or_caps(void **state) {
    (void)state;
    struct rules *rules = parse("shown discount 0.8\nshown discount .5 within 12h\n"
                                "shown cap 3 within 90");
    assert_int_equal(rules->list[0].kind, RULE_DISCOUNT);
    assert_true(rules->list[0].factor == 0.8 && rules->list[0].seconds == 0);
    assert_true(rules->list[1].seconds == 12 * 3600.0);
    assert_int_equal(rules->list[2].kind, RULE_SHOWN_CAP);
    assert_int_equal(rules->list[2].count, 3);
    assert_true(rules->list[2].seconds == 90);
    rules_free(rules);
}

static void fresh_takes_an_attribute_and_a_half_life(void **state) {
    (void)state;
    struct rules *rules = parse("fresh published half-life 1.5h");
    assert_int_equal(only(rules)->kind, RULE_FRESH);
    assert_string_equal(only(rules)->name, "published");
    assert_true(only(rules)->seconds == 5400);
    rules_free(rules);
}

static void the_others_take_what_they_say(void **state) {
    (void)state;
    struct rules *rules = parse("explore 5% below 10\nlimit apply 100 within 7d\nlimit apply 100\n"
                                "mutual block\ntwo-sided product employer");
    assert_true(rules->list[0].kind == RULE_EXPLORE && rules->list[0].share == 0.05 &&
                rules->list[0].count == 10);
    assert_true(rules->list[1].kind == RULE_LIMIT && rules->list[1].seconds == 604800);
    assert_true(rules->list[2].seconds == 0 && rules->list[2].count == 100);
    assert_string_equal(rules->list[3].name, "block");
    assert_true(rules->list[4].product);
    assert_string_equal(rules->list[4].name, "employer");
    rules_free(rules);
    rules = parse("two-sided harmonic");
    assert_false(only(rules)->product);
    assert_null(only(rules)->path);
    rules_free(rules);
}

/* ---- Text ------------------------------------------------------------------------------------- */

static void comments_blank_lines_and_semicolons_separate(void **state) {
    (void)state;
    struct rules *rules = parse("# what we want\n\n  cap brand 2 # not more\r\n;;\n"
                                "filter name == \"a;b#c\"; filter x == 'it\\'s; # so'\n");
    assert_int_equal(rules->n, 3);
    assert_int_equal(rules->list[0].line, 3);
    assert_string_equal(rules->list[0].text, "cap brand 2");
    assert_int_equal(rules->list[1].line, 5);
    assert_string_equal(rules->list[1].text, "filter name == \"a;b#c\"");
    assert_string_equal(rules->list[2].text, "filter x == 'it\\'s; # so'");
    rules_free(rules);
    rules = parse(NULL);
    assert_int_equal(rules->n, 0);
    rules_free(rules);
    rules = parse(" \n#x");
    assert_int_equal(rules->n, 0);
    rules_free(rules);
}

static void wrong_rule_is_named_with_line_and_place(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t offset;
        const char *msg;
    } cases[] = {
        {"cap brand 2\nrank x", 12, "line 2: \"rank\" is no rule; rules are"},
        {"filter", 6, "line 1: expected a condition on items"},
        {"filter price <", 14, "line 1: expected a value after \"<\", found end of filter"},
        {"\n  filter price = 3", 16, "line 2: unexpected \"=\": equality is \"==\""},
        {"filter id == \"x", 13, "line 1: string is not closed"},
        {"boost price < 20", 12, "line 1: expected \"boost EXPR by FACTOR\""},
        {"boost price < 20 by 0", 20, "line 1: expected a factor from 0.001 to 1000, found \"0\""},
        {"boost price < 20 by x", 20, "line 1: expected a factor"},
        {"boost by 2", 6, "line 1: expected a condition on items"},
        {"filter a == 1 else b == 2", 19, "line 1: \"else\" is for users without what"},
        {"filter a == {user.a} else", 25, "line 1: "},
        {"filter a == {user.a} else b < {user.b}", 30, "line 1: parameter {user.b} has no value"},
        {"match a by 2", 6, "line 1: expected \"match ATTR with {user.ATTR} by FACTOR\""},
        {"match a with b by 2", 13, "line 1: expected a list of the user's, as {user.skills}"},
        {"match a with {now} by 2", 13, "line 1: expected a list of the user's"},
        {"match with {user.a} by 2", 6, "line 1: expected the name of an attribute"},
        {"pin at 3", 7, "line 1: expected \"at\", found \"3\""},
        {"pin \"a at 3", 4, "line 1: string is not closed: expected \""},
        {"pin a at 0", 9, "line 1: expected a whole number"},
        {"pin a at 1001", 9, "line 1: place 1001 is over 1000"},
        {"pin a at 1 2", 11, "line 1: expected the end of the rule, found \"2\""},
        {"promote a share 1.5", 16, "line 1: expected a share over 0"},
        {"cap 2", 4, "line 1: expected the name of an attribute"},
        {"cap brand", 4, "line 1: expected a whole number"},
        {"cap a.b 2", 5, "line 1: unexpected \".\": a nested attribute is"},
        {"cap brand 2 in 0", 15, "line 1: expected a whole number"},
        {"again buy 3d", 10, "line 1: expected \"after\", found \"3d\""},
        {"again buy after soon", 16, "line 1: expected a time as 90s, 30m"},
        {"again b/y after 3d", 6, "line 1: expected an action"},
        {"again buy after 3d if x", 19, "line 1: expected \"where\", found \"if\""},
        {"shown often", 6, "line 1: expected \"discount\" or \"cap\""},
        {"shown cap 3", 11, "line 1: expected \"shown cap N within TIME\""},
        {"fresh published 3d", 6, "line 1: expected \"fresh ATTR half-life TIME\""},
        {"explore 5%", 10, "line 1: expected \"below\", found the end of the rule"},
        {"limit apply", 11, "line 1: expected a whole number"},
        {"mutual", 6, "line 1: expected an action"},
        {"two-sided both", 10, "line 1: expected \"harmonic\" or \"product\""},
        {"two-sided product\ntwo-sided product", 18, "line 2: line 1 is two-sided already"},
        {"filter a == {x}", 12, "line 1: a rule's parameters are {now}"},
        {"filter a == {history.a}", 12, "line 1: a rule's parameters are"},
        {"filter a == {user.a..b}", 12, "line 1: \"{\" starts a parameter"},
        {"filter a < {user.b} and tags == {user.c", 32, "line 1: \"{\" starts a parameter"},
        {"filter {history.p.low} == \"x\"", 26, "line 1: cannot compare"},
        {"filter a in {user.l} and b == {user.l}", 30, "line 1: parameter {user.l} is"},
        {"filter {user.a} + {user.b} + {user.c} + {user.d} < {user.e}", 51,
         "line 1: more than 4 parameters"},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rules *rules;
        u2i_error_t err = {0};
        assert_int_equal(rules_parse(cases[i].text, &rules, &err), U2I_EINVAL);
        assert_null(rules);
        if (err.offset != cases[i].offset ||
            strncmp(err.msg, cases[i].msg, strlen(cases[i].msg)) != 0) {
            print_error("%s: at %d: %s\n", cases[i].text, err.offset, err.msg);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void too_much_is_refused(void **state) {
    (void)state;
    static char text[RULES_MAX_BYTES + 2];
    struct rules *rules;
    u2i_error_t err;
    memset(text, ' ', sizeof(text) - 1);
    assert_int_equal(rules_parse(text, &rules, &err), U2I_EINVAL);
    text[RULES_MAX_BYTES] = '\0';
    rules_free(parse(text));
    text[0] = '\0';
    for (int i = 0; i < RULES_MAX; i++) {
        strcat(text, "mutual x\n");
    }
    rules_free(parse(text));
    strcat(text, "mutual x");
    assert_int_equal(rules_parse(text, &rules, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "line 65: more than 64 rules");
    assert_int_equal(
        rules_parse("cap a 1;cap b 1;cap c 1;cap d 1;cap e 1;cap f 1;cap g 1", &rules, &err),
        U2I_EINVAL);
    assert_string_equal(err.msg, "line 1: more than 6 rules are caps");
    text[0] = '\0';
    for (int i = 0; i < 9; i++) {
        strcat(text, "explore 1% below 3;");
    }
    assert_int_equal(rules_parse(text, &rules, &err), U2I_EINVAL);
    assert_int_equal(rules_parse("cap \xff 1", &rules, &err), U2I_EINVAL);
}

static void parameters_are_checked_with_every_type_that_they_may_have(void **state) {
    (void)state;
    static const char *const right[] = {
        "filter city == {user.city} and price <= {history.price.high}",
        "filter language in {user.languages} and not (visa == true and {user.visa} == false)",
        "filter array_contains_any(tags, {user.likes}) or array_contains(tags, {user.like})",
        "filter published <= {now} and expires > {now} and age >= {user.want.age.min}",
        "filter name like {user.pattern}",
        "filter salary * {user.hours} > {user.wage}",
    };
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        rules_free(parse(right[i]));
    }
}

/* ---- The setting ------------------------------------------------------------------------------ */

static void rules_are_a_setting_of_any_length(void **state) {
    (void)state;
    struct settings s;
    u2i_error_t err;
    char value[400], text[300] = "cap brand 2\n#";
    memset(text + strlen(text), 'x', 250);
    assert_int_equal(settings_init(&s, &err), U2I_OK);
    assert_int_equal(s.rules.parsed->n, 0);
    assert_int_equal(settings_put(&s, "rules", text, &err), U2I_OK);
    assert_int_equal(s.rules.parsed->n, 1);
    assert_int_equal(settings_print(&s, "rules", value, sizeof(value), &err), U2I_OK);
    assert_string_equal(value, text);
    assert_int_equal(settings_print(&s, "rules", value, 100, &err), U2I_EINVAL);
    assert_int_equal(settings_put(&s, "rules", "cap", &err), U2I_EINVAL);
    assert_int_equal(s.rules.parsed->n, 1); /* unchanged */
    assert_int_equal(settings_put(&s, "rules", NULL, &err), U2I_OK);
    assert_int_equal(s.rules.parsed->n, 0);
    settings_free(&s);
}

static int check_order(void *ctx, const u2i_setting_t *setting) {
    char *const before = ctx;
    assert_true(strcmp(before, setting->name) < 0);
    (void)snprintf(before, 64, "%s", setting->name);
    return 0;
}

static void settings_are_shown_in_order_of_name(void **state) {
    (void)state;
    struct settings s;
    u2i_error_t err;
    char before[64] = "";
    assert_int_equal(settings_init(&s, &err), U2I_OK);
    settings_each(&s, check_order, before);
    assert_string_equal(before, "window");
    settings_free(&s);
}

static void training_and_mode_are_settings(void **state) {
    (void)state;
    struct settings s;
    u2i_error_t err;
    assert_int_equal(settings_init(&s, &err), U2I_OK);
    assert_true(s.mode == SETTINGS_HYBRID && s.train_auto == 1 && s.train_after_events == 0.1 &&
                s.diversity == 0);
    assert_int_equal(settings_put(&s, "mode", "offline", &err), U2I_OK);
    assert_int_equal(settings_put(&s, "train_auto", "off", &err), U2I_OK);
    assert_int_equal(settings_put(&s, "diversity", "0.4", &err), U2I_OK);
    assert_int_equal(settings_put(&s, "diversity", "1.4", &err), U2I_EINVAL);
    assert_true(s.mode == SETTINGS_OFFLINE && s.train_auto == 0 && s.diversity == 0.4);
    settings_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_takes_an_expression),
        cmocka_unit_test(boost_takes_a_factor),
        cmocka_unit_test(pin_takes_any_id),
        cmocka_unit_test(promote_takes_a_share),
        cmocka_unit_test(cap_takes_an_attribute_and_a_window),
        cmocka_unit_test(filter_says_what_holds_for_users_without_the_attribute),
        cmocka_unit_test(match_takes_two_lists_and_a_factor),
        cmocka_unit_test(again_takes_an_action_and_a_time),
        cmocka_unit_test(shown_discounts_or_caps),
        cmocka_unit_test(fresh_takes_an_attribute_and_a_half_life),
        cmocka_unit_test(the_others_take_what_they_say),
        cmocka_unit_test(comments_blank_lines_and_semicolons_separate),
        cmocka_unit_test(wrong_rule_is_named_with_line_and_place),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(parameters_are_checked_with_every_type_that_they_may_have),
        cmocka_unit_test(rules_are_a_setting_of_any_length),
        cmocka_unit_test(settings_are_shown_in_order_of_name),
        cmocka_unit_test(training_and_mode_are_settings),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
