/* Each allocation of a put, a parse and an evaluation fails in turn: the call says so, the row
 * holds what it held before, nothing leaks, and with memory again the same call works. malloc and
 * its kin are replaced at link time (cmake/tests_oom.cmake); without those linker options the tests
 * are skipped. CRoaring is a library apart and keeps its memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "filter/filter.h"
#include "oom.h"
#include <stdlib.h>
#include <string.h>

#define OLD "{\"a\":1,\"s\":\"old\",\"t\":[\"x\",{\"y\":2},[\"z\"]]}"
#define FRESH                                                                                      \
    "{\"a\":\"text\",\"k1\":{\"k2\":{\"k3\":[1,\"two\",[\"three\",{\"four\":[\"five\"]}]]}},"      \
    "\"t\":[\"new 1\",\"new 2\"],\"l\":[{},{}],\"m\":0,\"n\":0,\"o\":0,\"p\":0,\"q\":0,\"r\":0}"

static struct attrs *parse_attrs(const char *category, const char *json) {
    struct attrs *a = NULL;
    u2i_error_t err;
    assert_int_equal(attrs_parse(category, json, strlen(json), &a, &err), U2I_OK);
    return a;
}

static bool finds(const struct columns *columns, const char *text) {
    struct filter *f = NULL;
    u2i_error_t err;
    struct intern *const ids = intern_new();
    roaring_bitmap_t *const live = roaring_bitmap_from_range(5, 6, 1);
    roaring_bitmap_t *found = NULL;
    const struct filter_rows rows = {columns, ids, live};
    assert_int_equal(filter_parse(text, strlen(text), NULL, 0, &f, &err), U2I_OK);
    assert_int_equal(filter_eval(f, &rows, NULL, &found, &err), U2I_OK);
    const bool yes = roaring_bitmap_contains(found, 5);
    roaring_bitmap_free(found);
    roaring_bitmap_free(live);
    intern_free(ids);
    filter_free(f);
    return yes;
}

static void a_put_without_memory_leaves_the_row_as_it_was(void **state) {
    (void)state;
    if (!oom_is_wrapped()) {
        skip();
    }
    u2i_error_t err;
    struct attrs *const old = parse_attrs("book", OLD);
    struct attrs *const fresh = parse_attrs("a new category", FRESH);
    for (long fail_at = 0;; fail_at++) {
        struct columns *columns = NULL;
        assert_int_equal(columns_new(&columns, &err), U2I_OK);
        assert_int_equal(columns_put(columns, 5, old, &err), U2I_OK);

        oom_countdown = fail_at;
        const int rc = columns_put(columns, 5, fresh, &err);
        const bool spent = oom_countdown < 0;
        oom_countdown = -1;

        if (!spent) {
            assert_int_equal(rc, U2I_OK);
            assert_true(fail_at > 30);
            columns_free(columns);
            break;
        }
        if (rc == U2I_OK) { /* what failed was giving memory back */
            assert_true(finds(columns, "a == \"text\" and category == \"a new category\""));
        } else {
            assert_int_equal(rc, U2I_ENOMEM);
            assert_true(finds(columns, "a == 1 and s == \"old\" and t[1][\"y\"] == 2 and "
                                       "t[2][0] == \"z\" and category == \"book\""));
            assert_false(finds(columns, "exists k1 or exists l or exists m"));
            assert_int_equal(columns_put(columns, 5, fresh, &err), U2I_OK);
        }
        assert_true(finds(columns, "k1[\"k2\"][\"k3\"][2][1][\"four\"][0] == \"five\" and r == 0"));
        assert_false(finds(columns, "exists s or category == \"book\""));
        columns_free(columns);
    }
    attrs_free(old);
    attrs_free(fresh);
}

static void attributes_without_memory_are_an_error(void **state) {
    (void)state;
    if (!oom_is_wrapped()) {
        skip();
    }
    struct attrs *a = NULL;
    u2i_error_t err;
    oom_countdown = 0;
    assert_int_equal(attrs_parse("c", OLD, strlen(OLD), &a, &err), U2I_ENOMEM);
    assert_null(a);
    oom_countdown = -1;
}

static void a_filter_without_memory_is_an_error(void **state) {
    (void)state;
    if (!oom_is_wrapped()) {
        skip();
    }
    static const char text[] =
        "category in [\"a\", {p}] and not (s like \"a%b_c\" or price * 2 + stock < {q}) and "
        "array_contains_all(attrs[\"t\"][\"u\"][3], [1, 2, 3, 4, 5, 6, 7, 8, 9]) or id > \"x\" or "
        "exists \xE4\xBB\xB7 or a < b < c or s > \"m\"";
    const u2i_param_t params[] = {{"p", U2I_STRING, 0, {.s = "x"}}, {"q", U2I_INT, 0, {.i = 3}}};
    u2i_error_t err;
    struct columns *columns = NULL;
    struct intern *const ids = intern_new();
    roaring_bitmap_t *const live = roaring_bitmap_from_range(0, 10000, 1);
    struct attrs *const a = parse_attrs("a", "{\"s\":\"axbxc\",\"price\":1,\"stock\":2,\"a\":1,"
                                             "\"b\":2,\"c\":3,\"t\":{\"u\":[0,1,2,[1]]}}");
    assert_int_equal(columns_new(&columns, &err), U2I_OK);
    assert_int_equal(columns_put(columns, 5, a, &err), U2I_OK);
    const struct filter_rows rows = {columns, ids, live};
    bool parsed = false, evaluated = false;
    for (long fail_at = 0; !evaluated; fail_at++) {
        struct filter *f = NULL;
        roaring_bitmap_t *found = NULL;
        oom_countdown = fail_at;
        int rc = filter_parse(text, strlen(text), params, 2, &f, &err);
        parsed = parsed || rc == U2I_OK;
        if (rc == U2I_OK) {
            rc = filter_eval(f, &rows, NULL, &found, &err);
        }
        evaluated = oom_countdown >= 0;
        oom_countdown = -1;
        assert_int_equal(rc, evaluated ? U2I_OK : U2I_ENOMEM);
        assert_int_equal(err.code, evaluated ? err.code : U2I_ENOMEM);
        if (found != NULL) {
            roaring_bitmap_free(found);
        }
        filter_free(f);
    }
    assert_true(parsed);
    attrs_free(a);
    columns_free(columns);
    intern_free(ids);
    roaring_bitmap_free(live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_without_memory_leaves_the_row_as_it_was),
        cmocka_unit_test(attributes_without_memory_are_an_error),
        cmocka_unit_test(a_filter_without_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
