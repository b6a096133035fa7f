/* Each allocation of parsing, binding and ranking fails in turn: the call says so, nothing leaks, and with
 * memory again the same call works. malloc and its kin are replaced at link time (cmake/tests_oom.cmake);
 * without those linker options the tests are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/rules.h"
#include "oom.h"
#include <stdlib.h>
#include <string.h>

static const char text[] =
    "filter a in {user.list} and b == {user.word}\nfilter c < {history.c.high} and d < {now}\n"
    "boost e > 1 by 2\ncap attrs[\"f\"] 2 in 5\nfresh g half-life 1d\nagain buy after 3d where h\n"
    "filter z == {user.nothing} else a != \"b c\"\nmatch tags with {user.list} by 3\n"
    "pin \"x\" at 2\npromote i share 10%\nexplore 10% below 5\nshown discount 0.5\n";

static void parsing_without_memory_says_so(void **state) {
    (void)state;
    if (!oom_is_wrapped()) {
        skip();
    }
    for (long fail_at = 0;; fail_at++) {
        struct rules *rules = NULL;
        u2i_error_t err;
        oom_countdown = fail_at;
        const int rc = rules_parse(text, &rules, &err);
        const bool spent = oom_countdown < 0;
        oom_countdown = -1;
        if (!spent) {
            assert_int_equal(rc, U2I_OK);
            assert_true(fail_at > 30);
            rules_free(rules);
            break;
        }
        assert_int_equal(rc, U2I_ENOMEM);
        assert_string_equal(err.msg, "out of memory");
        assert_null(rules);
    }
}

static int attr(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                struct attr_value *out, u2i_error_t *err) {
    (void)ctx;
    (void)path;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (struct attr_value){.type = ATTR_INT, .number = rows[i], .key = 1 + rows[i]};
    }
    return U2I_OK;
}

static int match(void *ctx, const struct filter *f, const uint32_t *rows, uint32_t n, bool *passes,
                 u2i_error_t *err) {
    (void)ctx;
    (void)f;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        passes[i] = rows[i] % 2 == 0;
    }
    return U2I_OK;
}

static uint32_t shown(void *ctx, uint32_t row, double within_s) {
    (void)ctx;
    (void)within_s;
    return row;
}

static uint64_t events(void *ctx, uint32_t row) {
    (void)ctx;
    return row;
}

static const char *id(void *ctx, uint32_t row) {
    (void)ctx;
    return row == 3 ? "x" : "y";
}

#define ROWS 40u

/* A whole question; U2I_OK or what failed. */
static int answer(const struct rules *rules, const struct attrs *user) {
    static const struct rules_event done[] = {{2, "buy"}, {3, "buy"}};
    static const struct rank_scale scale = {RANK_LOGIT, 0, 1};
    static const struct rules_liked history[] = {{1, 1}, {2, 1}};
    const struct rules_view view = {.now_ms = 1000000000,
                                    .match = match,
                                    .attr = attr,
                                    .shown = shown,
                                    .events = events,
                                    .id = id};
    const struct rules_asker asker = {
        .now_ms = 1, .user = user, .history = history, .history_n = 2, .attr = attr};
    struct rank_candidate candidates[ROWS];
    struct arena a = {0};
    struct rules_bound bound;
    struct rules_ranking r = {.candidates = candidates, .n = ROWS, .scales = &scale, .arena = &a};
    double hides_s[2];
    uint32_t order[10], n = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        candidates[i] = (struct rank_candidate){.row = i};
        rank_sum(&candidates[i]);
    }
    int rc = rules_bind(&rules, 1, &asker, &a, &bound, NULL);
    if (rc == U2I_OK) {
        rc = rules_again(&bound, &view, done, 2, hides_s, NULL);
    }
    if (rc == U2I_OK) {
        rc = rules_rank(&bound, &view, &r, NULL);
    }
    if (rc == U2I_OK) {
        const struct rank_query q = {.candidates = candidates,
                                     .n = ROWS,
                                     .k = 10,
                                     .caps = r.caps,
                                     .caps_n = r.caps_n,
                                     .lanes = r.lanes,
                                     .lanes_n = r.lanes_n};
        rc = rank_order(&q, &a, order, &n, NULL);
    }
    assert_true(rc != U2I_OK || n == 10);
    rules_unbind(&bound);
    arena_free(&a);
    return rc;
}

static void answering_without_memory_says_so(void **state) {
    (void)state;
    static const char json[] = "{\"list\": [\"x\", \"y\"], \"word\": \"z\"}";
    if (!oom_is_wrapped()) {
        skip();
    }
    struct rules *rules;
    struct attrs *user;
    u2i_error_t err;
    assert_int_equal(rules_parse(text, &rules, &err), U2I_OK);
    assert_int_equal(attrs_parse(NULL, json, sizeof(json) - 1, &user, &err), U2I_OK);
    for (long fail_at = 0;; fail_at++) {
        oom_countdown = fail_at;
        const int rc = answer(rules, user);
        const bool spent = oom_countdown < 0;
        oom_countdown = -1;
        if (!spent) {
            assert_int_equal(rc, U2I_OK);
            assert_true(fail_at > 5); /* most of it comes from few blocks of an arena */
            break;
        }
        assert_int_equal(rc, U2I_ENOMEM);
        assert_int_equal(answer(rules, user), U2I_OK);
    }
    attrs_free(user);
    rules_free(rules);
}

static void paths_without_memory_say_so(void **state) {
    (void)state;
    static const char name[] = "attrs[\"a\"][\"b\\u0020\"]";
    if (!oom_is_wrapped()) {
        skip();
    }
    for (long fail_at = 0;; fail_at++) {
        struct attr_path *path = NULL, *dotted = NULL;
        u2i_error_t err;
        oom_countdown = fail_at;
        int rc = attr_path_parse(name, sizeof(name) - 1, &path, &err);
        if (rc == U2I_OK) {
            rc = attr_path_dotted("a.b", 3, &dotted, &err);
        }
        const bool spent = oom_countdown < 0;
        oom_countdown = -1;
        attr_path_free(path);
        attr_path_free(dotted);
        if (!spent) {
            assert_int_equal(rc, U2I_OK);
            assert_true(fail_at >= 4);
            break;
        }
        assert_int_equal(rc, U2I_ENOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing_without_memory_says_so),
        cmocka_unit_test(answering_without_memory_says_so),
        cmocka_unit_test(paths_without_memory_say_so),
    };
    return cmocka_run_group_tests_name("rules without memory", tests, NULL, NULL);
}
