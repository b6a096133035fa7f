/* Wrong filters: each is refused at the right byte with a message that says what was found and what
 * was expected. */
#include "base/alloc.h"
#include "filter/filter.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct fault {
    const char *filter;
    int32_t offset;
    const char *message; /* a part of it */
};

static void check_bytes(const char *text, size_t n, const u2i_param_t *params, size_t params_n,
                        const struct fault *expected) {
    struct filter *f = NULL;
    u2i_error_t err;
    const int rc = filter_parse(text, n, params, params_n, &f, &err);
    if (rc != U2I_EFILTER || err.code != U2I_EFILTER) {
        fail_msg("%s: expected U2I_EFILTER, got %d", expected->filter, rc);
    }
    assert_null(f);
    if (err.offset != expected->offset || strstr(err.msg, expected->message) == NULL) {
        fail_msg("%s: expected at %d: %s\ngot at %d: %s", expected->filter, expected->offset,
                 expected->message, err.offset, err.msg);
    }
    /* A caller may not care. */
    assert_int_equal(filter_parse(text, n, params, params_n, &f, NULL), U2I_EFILTER);
}

static void check(const struct fault *faults, size_t n) {
    for (size_t i = 0; i < n; i++) {
        check_bytes(faults[i].filter, strlen(faults[i].filter), NULL, 0, &faults[i]);
    }
}

#define CHECK(faults) check(faults, sizeof(faults) / sizeof((faults)[0]))

static void grammar_errors_say_what_was_expected(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {"", 0, "expected a condition, found end of filter"},
        {"  ", 2, "expected a condition, found end of filter"},
        {"category ==", 11, "expected a value after \"==\", found end of filter"},
        {"category == and", 12, "expected a value after \"==\", found \"and\""},
        {"a == 1 b == 2", 7, "expected \"and\", \"or\" or the end after number 1, found \"b\""},
        {"a == 1 and", 10, "expected a value after \"and\", found end of filter"},
        {"(a == 1", 7, "expected \")\" after number 1, found end of filter"},
        {"a == 1)", 6, "expected \"and\", \"or\" or the end after number 1, found \")\""},
        {"a in 3", 5, "expected a list, [...] after \"in\", found number 3"},
        {"a in [1", 7, "expected \",\" or \"]\" after number 1, found end of filter"},
        {"a in [1 2]", 8, "expected \",\" or \"]\" after number 1, found number 2"},
        {"a in [b]", 6, "a list holds constants and parameters only"},
        {"a in [,]", 6, "expected a value after \"[\", found \",\""},
        {"a not 3", 6, "expected \"in\" or \"like\" after \"not\", found number 3"},
        {"a is 3", 5, "expected \"null\" or \"not null\" after \"is\", found number 3"},
        {"a is not 3", 9, "expected \"null\" after \"not\", found number 3"},
        {"3 is null", 0, "expected a field before \"is\""},
        {"exists", 6, "expected a field after \"exists\", found end of filter"},
        {"exists 3", 7, "expected a field after \"exists\", found number 3"},
        {"exists(a", 8, "expected \")\" after \"a\", found end of filter"},
        {"a == null", 5, "null is no value"},
        {"a == [1]", 5, "a list stands only after \"in\""},
        {"array_contains tags", 15, "expected \"(\" after \"array_contains\", found \"tags\""},
        {"array_contains(tags)", 19, "expected \",\" after \"tags\", found \")\""},
        {"array_contains(tags, [1])", 21, "expected one value, found a list"},
        {"array_contains(tags, b)", 21, "expected a constant or a parameter"},
        {"array_contains_any(tags, 1)", 25, "expected a list, [...] after \",\", found number 1"},
        {"array_length(3) == 1", 13, "expected a field after \"(\", found number 3"},
        {"attrs == 3", 6, "expected [\"key\"] after \"attrs\", found \"==\""},
        {"attrs[0] == 3", 6, "expected a key in quotes after \"[\", found number 0"},
        {"a[b] == 3", 2, "expected a key in quotes or an index after \"[\", found \"b\""},
        {"a[-1] == 3", 2, "expected a key in quotes or an index after \"[\", found \"-\""},
        {"a[4294967296] == 3", 2, "expected a key in quotes or an index after \"[\""},
        {"a[0 == 3", 4, "expected \"]\" after number 0, found \"==\""},
        {"a[1][2][3][4][5][6][7][8] == 1", 23, "attributes are at most 8 deep"},
        {"id[0] == 1", 2, "\"id\" is a string, it has nothing inside"},
        {"title == \"x\"", 0, "\"title\" is not kept for filters"},
        {"a == 1 or text like \"x\"", 10, "\"text\" is not kept for filters"},
        {"a == b == c", 7, "only < with <= and > with >= form a range"},
        {"1 < a > 3", 6, "only < with <= and > with >= form a range"},
        {"1 < a == 3", 6, "only < with <= and > with >= form a range"},
        {"not", 3, "expected a value after \"not\", found end of filter"},
        {"a like", 6, "expected a value after \"like\", found end of filter"},
        {"+a == 3", 0, "expected a condition, found \"+\""},
    };
    CHECK(faults);
}

static void errors_of_spelling_name_the_place(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {"a = 1", 2, "unexpected \"=\": equality is \"==\""},
        {"a <> 1", 2, "unexpected \"<>\": inequality is \"!=\""},
        {"a == 1 & b", 7, "unexpected \"&\""},
        {"a == 1 | b", 7, "unexpected \"|\""},
        {"a.b == 1", 1, "a nested attribute is attrs[\"a\"][\"b\"]"},
        {"a == \xE2\x80\x9Cx\xE2\x80\x9D", 5, "strings stand in"},
        {"\xE4\xBB\xB7 \xEF\xBC\x9E 3", 4, "unexpected character \"\xEF\xBC\x9E\""},
        {"a == \"x", 5, "string is not closed: expected \""},
        {"a == 'x\"", 5, "string is not closed: expected '"},
        {"a == \"x\\", 7, "unknown or malformed escape"},
        {"a == \"x\\q\"", 7, "unknown or malformed escape at \"\\q"},
        {"a == \"\\%\"", 6, "unknown or malformed escape"},
        {"a == \"\\u12\"", 6, "unknown or malformed escape"},
        {"a == \"\\ud800\"", 6, "unknown or malformed escape"},
        {"a == \"\\udc00\"", 6, "unknown or malformed escape"},
        {"a == \"\\u0000\"", 6, "unknown or malformed escape"},
        {"a == \"x\ny\"", 7, "control character in a string"},
        {"a == 12abc", 7, "a letter follows a number"},
        {"a == 007", 5, "a number does not start with 0"},
        {"a == 0x", 5, "expected hexadecimal digits"},
        {"a == 0xZZ", 5, "expected hexadecimal digits"},
        {"a == 1e", 7, "expected digits of an exponent"},
        {"a == 9223372036854775808", 5, "integer does not fit 64 bits"},
        {"a == 99999999999999999999999", 5, "integer does not fit 64 bits"},
        {"a == 0xFFFFFFFFFFFFFFFF", 5, "integer does not fit 64 bits"},
        {"a == 0x10000000000000000", 5, "integer does not fit 64 bits"},
        {"a == -9223372036854775809", 6, "integer does not fit 64 bits"},
        {"a == 1e400", 5, "number is too large"},
        {"a == {b", 5, "\"{\" starts a parameter"},
        {"a == {}", 5, "\"{\" starts a parameter"},
        {"a == }", 5, "a parameter is {name}"},
    };
    CHECK(faults);
    const struct fault utf8 = {"bad UTF-8", 6, "not valid UTF-8"};
    check_bytes("a == \"\xFF\"", 8, NULL, 0, &utf8);
    const struct fault nul = {"NUL", 4, "not valid UTF-8 or has a NUL"};
    check_bytes("a ==\0 1", 7, NULL, 0, &nul);
}

static void types_that_cannot_fit_are_refused(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {"category > 5", 11, "cannot compare a string with a number"},
        {"category == true", 12, "cannot compare a string with a boolean"},
        {"1 == \"1\"", 5, "cannot compare a number with a string"},
        {"id in [1, 2]", 3, "cannot compare a string with a number"},
        {"a in [1, \"x\"]", 2, "the list mixes a number with a string"},
        {"a < true", 4, "booleans have no order"},
        {"a + \"x\" == 1", 4, "\"+\" needs a number, found a string"},
        {"category * 2 == 1", 0, "\"*\" needs a number, found a string"},
        {"-\"x\" == 1", 1, "\"-\" needs a number, found a string"},
        {"a % 2.5 == 1", 2, "\"%\" needs integers"},
        {"1 / 0 == a", 2, "this has no value"},
        {"a == 9223372036854775807 + 1", 25, "this has no value"},
        {"a like 3", 7, "\"like\" needs a pattern"},
        {"a like b", 7, "\"like\" needs a pattern"},
        {"3 like \"3\"", 0, "\"like\" needs a string, found a number"},
        {"a + 1 like \"3\"", 0, "\"like\" needs a string, found a number"},
        {"a like \"x\\\\\"", 7, "pattern ends in a backslash"},
        {"3", 0, "expected a condition, found a number"},
        {"\"x\"", 0, "expected a condition, found a string"},
        {"category", 0, "expected a condition, found a string"},
        {"a + 1", 0, "expected a condition, found a number"},
        {"a == 1 and 3", 11, "expected a condition, found a number"},
        {"not 3", 4, "expected a condition, found a number"},
        {"(a == 1) == true", 1, "expected a value, found a condition"},
        {"(a == 1) + 1 == 2", 1, "expected a value, found a condition"},
        {"(a or b) in [true]", 1, "expected a value, found a condition"},
        {"array_contains(category, \"x\")", 15, "expected an attribute that is an array"},
        {"array_length(id) == 1", 13, "expected an attribute that is an array"},
    };
    CHECK(faults);
}

static void nesting_and_length_are_bounded(void **state) {
    (void)state;
    char *const text = mem_alloc(U2I_FILTER_MAX_BYTES + 2);
    struct filter *f = NULL;
    u2i_error_t err;
    struct fault deep = {"deep", 64, "nested deeper than 64"};

    memset(text, '(', 5000);
    check_bytes(text, 5000, NULL, 0, &deep);
    memset(text, '!', 5000);
    check_bytes(text, 5000, NULL, 0, &deep);
    memset(text, '-', 5000);
    check_bytes(text, 5000, NULL, 0, &deep);
    /* A tree can grow high without recursion in the parser. */
    size_t n = 0;
    for (; n + 1 < 5000; n += 2) {
        memcpy(text + n, "a+", 2);
    }
    deep.offset = 0;
    check_bytes(text, n, NULL, 0, &deep);
    /* exists ((((...: not recursive, and bounded too. */
    memcpy(text, "exists ", 7);
    memset(text + 7, '(', 5000);
    deep.offset = 7 + 64;
    check_bytes(text, 5007, NULL, 0, &deep);
    /* A function in the place of a value, again and again. */
    for (n = 0; n + 18 < 50000; n += 18) {
        memcpy(text + n, "array_contains(a, ", 18);
    }
    deep.offset = 64 * 18 + 18;
    check_bytes(text, n, NULL, 0, &deep);
    /* Long lists are not deep. */
    n = 0;
    while (n + 5 < U2I_FILTER_MAX_BYTES) {
        memcpy(text + n, "a or ", 5);
        n += 5;
    }
    memcpy(text + n, "a", 1);
    assert_int_equal(filter_parse(text, n + 1, NULL, 0, &f, &err), U2I_OK);
    filter_free(f);
    const struct fault too_long = {"long", U2I_FILTER_MAX_BYTES, "is over 65536"};
    memset(text, ' ', U2I_FILTER_MAX_BYTES + 1);
    check_bytes(text, U2I_FILTER_MAX_BYTES + 1, NULL, 0, &too_long);
    mem_free(text);
}

static void sixty_four_levels_are_fine(void **state) {
    (void)state;
    char text[512];
    struct filter *f = NULL;
    u2i_error_t err;
    const size_t n = 62;
    memset(text, '(', n);
    memcpy(text + n, "a == 1", 6);
    memset(text + n + 6, ')', n);
    assert_int_equal(filter_parse(text, 2 * n + 6, NULL, 0, &f, &err), U2I_OK);
    filter_free(f);
}

static void parameters_must_fit(void **state) {
    (void)state;
    static const int64_t list[] = {1, 2};
    static const char *const holes[] = {"a", NULL};
    const u2i_param_t c = {"c", U2I_STRING, 0, {.s = "x"}};
    const u2i_param_t ns = {"ns", U2I_INT, 2, {.list = list}};
    const struct {
        const char *filter;
        u2i_param_t params[2];
        size_t n;
        int32_t offset;
        const char *message;
    } faults[] = {
        {"a == {c}", {c}, 0, 5, "parameter {c} has no value"},
        {"a == {C}", {c}, 1, 5, "parameter {C} has no value"},
        {"a == 1", {c}, 1, -1, "parameter {c} is not used by the filter"},
        {"a == {c}", {c, c}, 2, -1, "parameter {c} is given twice"},
        {"a == {ns}", {ns}, 1, 5, "parameter {ns} is a list, expected one value"},
        {"a in [{ns}]", {ns}, 1, 6, "parameter {ns} is a list, expected one value"},
        {"a in {c}", {c}, 1, 5, "parameter {c} is one value, expected a list"},
        {"a like {ns}", {ns}, 1, 7, "parameter {ns} is a list"},
        {"a + {c} == 1", {c}, 1, 4, "\"+\" needs a number, found a string"},
        {"category in {ns}", {ns}, 1, 9, "cannot compare a string with a number"},
        {"a == {c}", {{"c", 9, 0, {.i = 1}}}, 1, -1, "parameter {c} has an unknown type"},
        {"a == {c}", {{"c", U2I_STRING, 0, {.s = NULL}}}, 1, -1, "parameter {c} is a string that"},
        {"a == {c}", {{"c", U2I_STRING, 0, {.s = "\xC3"}}}, 1, -1, "parameter {c} is not valid"},
        {"a in {c}", {{"c", U2I_STRING, 2, {.list = holes}}}, 1, -1, "parameter {c} is a string"},
        {"a in {c}", {{"c", U2I_INT, 2, {.list = NULL}}}, 1, -1, "parameter {c} is a list that is"},
        {"a == {c}", {{"c", U2I_REAL, 0, {.r = NAN}}}, 1, -1, "parameter {c} is not a finite"},
        {"a == {c}", {{"c", U2I_BOOL, 0, {.i = 2}}}, 1, -1, "parameter {c} is a boolean other"},
        {"a == {c}", {{NULL, U2I_INT, 0, {.i = 2}}}, 1, -1, "parameter number 1 has no name"},
        {"a == {c}", {{"", U2I_INT, 0, {.i = 2}}}, 1, -1, "parameter number 1 has no name"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const struct fault expected = {faults[i].filter, faults[i].offset, faults[i].message};
        check_bytes(faults[i].filter, strlen(faults[i].filter), faults[i].params, faults[i].n,
                    &expected);
    }
}

static void long_names_are_cut_in_messages(void **state) {
    (void)state;
    char text[3000];
    struct filter *f = NULL;
    u2i_error_t err;
    memset(text, 'x', sizeof text);
    memcpy(text, "a == 1 ", 7);
    assert_int_equal(filter_parse(text, sizeof text, NULL, 0, &f, &err), U2I_EFILTER);
    assert_int_equal(err.offset, 7);
    assert_non_null(strstr(err.msg, "xxx...\""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar_errors_say_what_was_expected),
        cmocka_unit_test(errors_of_spelling_name_the_place),
        cmocka_unit_test(types_that_cannot_fit_are_refused),
        cmocka_unit_test(nesting_and_length_are_bounded),
        cmocka_unit_test(sixty_four_levels_are_fine),
        cmocka_unit_test(parameters_must_fit),
        cmocka_unit_test(long_names_are_cut_in_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
