/* What filters mean. Each example is a filter, an item's attributes, and whether the filter is
 * true, false or unknown of it, which is told apart by asking for its `not` too. Every question
 * goes both to the columns and to the walk over one item. */
#include "base/alloc.h"
#include "filter/filter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct example {
    const char *filter;
    const char *attrs;
    char truth; /* 'T', 'F', 'U' */
};

static struct attrs *parse_attrs(const char *category, const char *json) {
    struct attrs *a = NULL;
    u2i_error_t err;
    if (attrs_parse(category, json, json != NULL ? strlen(json) : 0, &a, &err) != U2I_OK) {
        fail_msg("%s: %s", json, err.msg);
    }
    return a;
}

static bool passes(const char *text, const u2i_param_t *params, size_t params_n, const char *id,
                   const struct attrs *a) {
    struct filter *f = NULL;
    u2i_error_t err;
    if (filter_parse(text, strlen(text), params, params_n, &f, &err) != U2I_OK) {
        fail_msg("%s: at %d: %s", text, err.offset, err.msg);
    }
    struct columns *columns = NULL;
    struct intern *ids = intern_new();
    roaring_bitmap_t *live = roaring_bitmap_create(), *found = NULL;
    assert_int_equal(columns_new(&columns, &err), U2I_OK);
    assert_int_equal(columns_put(columns, 5, a, &err), U2I_OK);
    assert_int_equal(intern_put(ids, 5, id, strlen(id)), U2I_OK);
    roaring_bitmap_add(live, 5);
    const struct filter_rows rows = {columns, ids, live};
    assert_int_equal(filter_eval(f, &rows, NULL, &found, &err), U2I_OK);
    const bool by_columns = roaring_bitmap_contains(found, 5);
    const bool by_item = filter_item(f, id, a);
    if (by_columns != by_item) {
        fail_msg("%s: columns say %d, item says %d", text, by_columns, by_item);
    }
    roaring_bitmap_free(found);
    roaring_bitmap_free(live);
    intern_free(ids);
    columns_free(columns);
    filter_free(f);
    return by_item;
}

static void check_with(const struct example *e, const char *id, const char *category) {
    char negated[512];
    (void)snprintf(negated, sizeof negated, "not (%s)", e->filter);
    struct attrs *const a = parse_attrs(category, e->attrs);
    const bool yes = passes(e->filter, NULL, 0, id, a);
    const bool no = passes(negated, NULL, 0, id, a);
    const char truth = yes && !no ? 'T' : !yes && no ? 'F' : !yes && !no ? 'U' : '?';
    if (truth != e->truth) {
        fail_msg("%s of %s: expected %c, got %c", e->filter, e->attrs, e->truth, truth);
    }
    attrs_free(a);
}

static void check(const struct example *examples, size_t n) {
    for (size_t i = 0; i < n; i++) {
        check_with(&examples[i], "i1", "book");
    }
}

#define CHECK(examples) check(examples, sizeof(examples) / sizeof((examples)[0]))

static void comparisons_follow_the_value(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"price == 10", "{\"price\":10}", 'T'},
        {"price == 10", "{\"price\":11}", 'F'},
        {"price != 10", "{\"price\":11}", 'T'},
        {"price < 10", "{\"price\":9}", 'T'},
        {"price < 10", "{\"price\":10}", 'F'},
        {"price <= 10", "{\"price\":10}", 'T'},
        {"price > 10", "{\"price\":10}", 'F'},
        {"price >= 10", "{\"price\":10}", 'T'},
        {"10 > price", "{\"price\":9}", 'T'},
        {"10 <= price", "{\"price\":9}", 'F'},
        {"price == 10", "{\"price\":10.0}", 'T'},
        {"price == 10.5", "{\"price\":10.5}", 'T'},
        {"price < 10.5", "{\"price\":10}", 'T'},
        {"price > -1", "{\"price\":0}", 'T'},
        {"price > -1e-3", "{\"price\":-0.0}", 'T'},
        {"price == 0x1F", "{\"price\":31}", 'T'},
        {"price == .5", "{\"price\":0.5}", 'T'},
        {"price == 5.", "{\"price\":5}", 'T'},
        {"price == 1.5E+2", "{\"price\":150}", 'T'},
        {"color == \"red\"", "{\"color\":\"red\"}", 'T'},
        {"color == 'red'", "{\"color\":\"blue\"}", 'F'},
        {"color < \"red\"", "{\"color\":\"blue\"}", 'T'},
        {"color < \"red\"", "{\"color\":\"re\"}", 'T'},
        {"color >= \"red\"", "{\"color\":\"red \"}", 'T'},
        {"color != \"\"", "{\"color\":\"\"}", 'F'},
        {"new == true", "{\"new\":true}", 'T'},
        {"new == TRUE", "{\"new\":false}", 'F'},
        {"new != false", "{\"new\":true}", 'T'},
        {"a == b", "{\"a\":1,\"b\":1.0}", 'T'},
        {"a == b", "{\"a\":\"x\",\"b\":\"x\"}", 'T'},
        {"a < b", "{\"a\":\"x\",\"b\":\"y\"}", 'T'},
        {"a > b", "{\"a\":1,\"b\":2.5}", 'F'},
        {"a == b", "{\"a\":true,\"b\":true}", 'T'},
        {"true", "{}", 'T'},
        {"1 == 2", "{}", 'F'},
        {"\"a\" < \"b\"", "{}", 'T'},
        {"3 in [1, 2, 3.0]", "{}", 'T'},
        {"\"abc\" like \"a%\"", "{}", 'T'},
    };
    CHECK(examples);
}

static void comparing_with_what_is_not_there_is_unknown(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"price == 10", "{}", 'U'},
        {"price != 10", "{}", 'U'},
        {"price == 10", "{\"price\":null}", 'U'},
        {"price < 10", "{\"price\":\"9\"}", 'U'},
        {"price != 10", "{\"price\":\"9\"}", 'U'},
        {"price == 1", "{\"price\":true}", 'U'},
        {"color == \"1\"", "{\"color\":1}", 'U'},
        {"new == true", "{\"new\":1}", 'U'},
        {"new == true", "{\"new\":\"true\"}", 'U'},
        {"tags == \"a\"", "{\"tags\":[\"a\"]}", 'U'},
        {"a == 1", "{\"a\":{\"b\":1}}", 'U'},
        {"a == b", "{\"a\":1}", 'U'},
        {"a == b", "{\"a\":1,\"b\":\"1\"}", 'U'},
        {"a == b", "{\"a\":[1],\"b\":[1]}", 'U'},
        {"a < b", "{\"a\":false,\"b\":true}", 'U'},
        {"color in [\"red\"]", "{}", 'U'},
        {"color in [\"red\"]", "{\"color\":3}", 'U'},
        {"color not in [\"red\"]", "{\"color\":3}", 'U'},
        {"color like \"%\"", "{\"color\":3}", 'U'},
        {"array_contains(tags, 1)", "{}", 'U'},
        {"array_contains(tags, 1)", "{\"tags\":1}", 'U'},
        {"array_length(tags) == 0", "{\"tags\":\"\"}", 'U'},
        {"price + 1 > 0", "{\"price\":\"1\"}", 'U'},
    };
    CHECK(examples);
}

static void logic_is_that_of_kleene(void **state) {
    (void)state;
    /* t is true, f false, u missing. */
    static const struct example examples[] = {
        {"t and t", "{\"t\":true}", 'T'},
        {"t and f", "{\"t\":true,\"f\":false}", 'F'},
        {"t and u", "{\"t\":true}", 'U'},
        {"f and u", "{\"f\":false}", 'F'},
        {"u and u", "{}", 'U'},
        {"t or u", "{\"t\":true}", 'T'},
        {"f or u", "{\"f\":false}", 'U'},
        {"f or f", "{\"f\":false}", 'F'},
        {"u or u", "{}", 'U'},
        {"not u", "{}", 'U'},
        {"not f", "{\"f\":false}", 'T'},
        {"not not t", "{\"t\":true}", 'T'},
        {"not (f and u)", "{\"f\":false}", 'T'},
        {"not (t or u)", "{\"t\":true}", 'F'},
        {"not (t and u)", "{\"t\":true}", 'U'},
        {"u == 1 or u is null", "{}", 'T'},
        {"not (u == 1) or t", "{\"t\":true}", 'T'},
        {"true and u", "{}", 'U'},
        {"false and u", "{}", 'F'},
        {"true or u", "{}", 'T'},
        {"(false or u) and f", "{\"f\":false}", 'F'},
    };
    CHECK(examples);
}

static void precedence_is_that_of_python(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"t or f and f", "{\"t\":true,\"f\":false}", 'T'},
        {"(t or f) and f", "{\"t\":true,\"f\":false}", 'F'},
        {"not f and f", "{\"f\":false}", 'F'},
        {"not a == 1", "{\"a\":2}", 'T'},
        {"!a == 1", "{\"a\":2}", 'T'},
        {"not a in [1]", "{\"a\":2}", 'T'},
        {"t && !f || f", "{\"t\":true,\"f\":false}", 'T'},
        {"T or false", "{\"T\":true}", 'T'},
        {"t AND NOT f", "{\"t\":true,\"f\":false}", 'T'},
        {"1 + 2 * 3 == a", "{\"a\":7}", 'T'},
        {"(1 + 2) * 3 == a", "{\"a\":9}", 'T'},
        {"10 - 3 - 2 == a", "{\"a\":5}", 'T'},
        {"a - 3 - 2 == 5", "{\"a\":10}", 'T'},
        {"2 ** 3 ** 2 == a", "{\"a\":512}", 'T'},
        {"-2 ** 2 == a", "{\"a\":-4}", 'T'},
        {"(-2) ** 2 == a", "{\"a\":4}", 'T'},
        {"2 ** -1 == a", "{\"a\":0.5}", 'T'},
        {"-a == 3", "{\"a\":-3}", 'T'},
        {"--a == 3", "{\"a\":3}", 'T'},
        {"a - -3 == 5", "{\"a\":2}", 'T'},
        {"a < 1 + 2", "{\"a\":2}", 'T'},
        {"(a) > (3)", "{\"a\":4}", 'T'},
        {"((a > 3))", "{\"a\":4}", 'T'},
    };
    CHECK(examples);
}

static void ranges_can_be_chained(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"10 <= price < 20", "{\"price\":10}", 'T'},
        {"10 <= price < 20", "{\"price\":20}", 'F'},
        {"10 < price <= 20", "{\"price\":10}", 'F'},
        {"20 > price >= 10", "{\"price\":10}", 'T'},
        {"20 > price > 10", "{\"price\":10}", 'F'},
        {"10 <= price < 20", "{}", 'U'},
        {"a < b < c", "{\"a\":1,\"b\":2,\"c\":3}", 'T'},
        {"a < b < c", "{\"a\":1,\"b\":3,\"c\":3}", 'F'},
        {"0 < a < b < 10", "{\"a\":1,\"b\":9}", 'T'},
        {"1 < 2 < a", "{\"a\":3}", 'T'},
        {"2 < 1 < a", "{\"a\":3}", 'F'},
    };
    CHECK(examples);
}

static void membership_in_lists(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"color in [\"red\", \"blue\"]", "{\"color\":\"red\"}", 'T'},
        {"color in [\"red\", \"blue\",]", "{\"color\":\"green\"}", 'F'},
        {"color not in [\"red\", 'blue']", "{\"color\":\"green\"}", 'T'},
        {"color NOT IN [\"red\"]", "{\"color\":\"red\"}", 'F'},
        {"n in [1, 2.5, -3]", "{\"n\":1.0}", 'T'},
        {"n in [1, 2.5, -3]", "{\"n\":2.5}", 'T'},
        {"n in [1, 2.5, -3]", "{\"n\":-3}", 'T'},
        {"n in [1, 2.5, 1 + 1]", "{\"n\":2}", 'T'},
        {"n in [9007199254740993]", "{\"n\":9007199254740992.0}", 'F'},
        {"n in [1e300]", "{\"n\":1e300}", 'T'},
        {"new in [true]", "{\"new\":true}", 'T'},
        {"new in [true, true]", "{\"new\":false}", 'F'},
        {"n + 1 in [3]", "{\"n\":2}", 'T'},
        {"n in []", "{\"n\":2}", 'F'},
        {"n not in []", "{\"n\":\"x\"}", 'T'},
        {"n in []", "{}", 'U'},
        {"tags[0] in [\"a\"]", "{\"tags\":[\"a\"]}", 'T'},
    };
    CHECK(examples);
}

static void patterns_of_like(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"s like \"ab%\"", "{\"s\":\"abc\"}", 'T'},
        {"s like \"ab%\"", "{\"s\":\"xab\"}", 'F'},
        {"s like \"%ab\"", "{\"s\":\"xab\"}", 'T'},
        {"s like \"%b%\"", "{\"s\":\"abc\"}", 'T'},
        {"s like \"a_c\"", "{\"s\":\"abc\"}", 'T'},
        {"s like \"a_c\"", "{\"s\":\"a\\u4ef7c\"}", 'T'},
        {"s like \"a_c\"", "{\"s\":\"ac\"}", 'F'},
        {"s like \"_%_\"", "{\"s\":\"a\"}", 'F'},
        {"s like \"_%_\"", "{\"s\":\"ab\"}", 'T'},
        {"s like \"abc\"", "{\"s\":\"abc\"}", 'T'},
        {"s like \"abc\"", "{\"s\":\"abcd\"}", 'F'},
        {"s like \"\"", "{\"s\":\"\"}", 'T'},
        {"s like \"100\\%\"", "{\"s\":\"100%\"}", 'T'},
        {"s like \"100\\%\"", "{\"s\":\"1000\"}", 'F'},
        {"s like \"100\\\\%\"", "{\"s\":\"100%\"}", 'T'},
        {"s like \"a\\_%\"", "{\"s\":\"a_b\"}", 'T'},
        {"s like \"a\\_%\"", "{\"s\":\"abb\"}", 'F'},
        {"s like \"%\\\\\\\\%\"", "{\"s\":\"a\\\\b\"}", 'T'},
        {"s not like \"a%\"", "{\"s\":\"b\"}", 'T'},
        {"s like \"A%\"", "{\"s\":\"abc\"}", 'F'},
        {"s LIKE '%价%'", "{\"s\":\"低价书\"}", 'T'},
        {"s like \"%ab%ab%\"", "{\"s\":\"abab\"}", 'T'},
        {"s like \"%ab%ab%\"", "{\"s\":\"aba\"}", 'F'},
        {"s like \"ab%ab\"", "{\"s\":\"ab\"}", 'F'},
    };
    CHECK(examples);
}

static void existence_is_never_unknown(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"exists a", "{\"a\":0}", 'T'},
        {"exists(a)", "{\"a\":\"\"}", 'T'},
        {"exists ((a))", "{\"a\":[]}", 'T'},
        {"EXISTS a", "{\"a\":{}}", 'T'},
        {"exists a", "{\"a\":null}", 'F'},
        {"exists a", "{}", 'F'},
        {"a is null", "{}", 'T'},
        {"a is null", "{\"a\":null}", 'T'},
        {"a is null", "{\"a\":false}", 'F'},
        {"a IS NOT NULL", "{\"a\":false}", 'T'},
        {"(a) is not null", "{}", 'F'},
        {"exists a and a > 1", "{\"a\":2}", 'T'},
        {"exists attrs[\"a\"][\"b\"]", "{\"a\":{\"b\":1}}", 'T'},
        {"exists attrs[\"a\"][\"b\"]", "{\"a\":{\"c\":1}}", 'F'},
        {"exists a[1]", "{\"a\":[1]}", 'F'},
        {"exists a[0]", "{\"a\":[null]}", 'F'},
        {"exists a[0]", "{\"a\":[{\"b\":null}]}", 'T'},
        {"exists a[0][\"b\"]", "{\"a\":[{\"b\":null}]}", 'F'},
        {"exists id", "{}", 'T'},
        {"id is null", "{}", 'F'},
        {"exists category", "{}", 'T'},
    };
    CHECK(examples);
    check_with(&(struct example){"exists category", "{}", 'F'}, "i1", NULL);
    check_with(&(struct example){"category is null", NULL, 'T'}, "i1", NULL);
    check_with(&(struct example){"category == \"\"", NULL, 'T'}, "i1", "");
}

static void paths_reach_into_objects_and_arrays(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"attrs[\"price\"] == 3", "{\"price\":3}", 'T'},
        {"attrs['a'][\"b\"] == 3", "{\"a\":{\"b\":3}}", 'T'},
        {"a[\"b\"][\"c\"] == 3", "{\"a\":{\"b\":{\"c\":3}}}", 'T'},
        {"a[\"b\"] == 3", "{\"a.b\":3}", 'U'},
        {"attrs[\"a.b\"] == 3", "{\"a.b\":3}", 'T'},
        {"a[0] == 1", "{\"a\":[1,2]}", 'T'},
        {"a[1] == 1", "{\"a\":[1,2]}", 'F'},
        {"a[2] == 1", "{\"a\":[1,2]}", 'U'},
        {"a[4294967295] == 1", "{\"a\":[1,2]}", 'U'},
        {"a[0] == \"x\"", "{\"a\":[\"x\",2]}", 'T'},
        {"a[0][1] == 2", "{\"a\":[[1,2],[3]]}", 'T'},
        {"a[1][0] + 1 == 4", "{\"a\":[[1,2],[3]]}", 'T'},
        {"a[0][\"b\"] == 2", "{\"a\":[{\"b\":2}]}", 'T'},
        {"a[1][\"b\"][0] == 7", "{\"a\":[5,{\"b\":[7]}]}", 'T'},
        {"a[0][0][\"b\"] == 7", "{\"a\":[[{\"b\":7}]]}", 'T'},
        {"a[\"0\"] == 1", "{\"a\":[1]}", 'U'},
        {"a[0] == 1", "{\"a\":{\"0\":1}}", 'U'},
        {"attrs[\"\"] == 1", "{\"\":1}", 'T'},
        {"attrs[\"id\"] == 1", "{\"id\":1}", 'T'},
        {"attrs[\"title\"] == 1", "{\"title\":1}", 'T'},
        {"attrs[\"attrs\"] == 1", "{\"attrs\":1}", 'T'},
        {"attrs[\"like\"] == 1", "{\"like\":1}", 'T'},
        {"attrs[\"a\\\"b\"] == 1", "{\"a\\\"b\":1}", 'T'},
        {"a[\"b\"] == 1 and a[\"c\"] == 2", "{\"a\":{\"b\":1,\"c\":2}}", 'T'},
    };
    CHECK(examples);
}

static void names_and_strings_are_of_any_script(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"价格 < 10", "{\"价格\":9}", 'T'},
        {"größe == 3", "{\"größe\":3}", 'T'},
        {"цена_2 == 3", "{\"цена_2\":3}", 'T'},
        {"颜色 == \"红\"", "{\"颜色\":\"红\"}", 'T'},
        {"颜色 == \"\\u7ea2\"", "{\"颜色\":\"红\"}", 'T'},
        {"s == \"\\ud83d\\ude00\"", "{\"s\":\"😀\"}", 'T'},
        {"s == \"😀\"", "{\"s\":\"\\uD83D\\uDE00\"}", 'T'},
        {"s == \"a\\n\\t\\\"\\\\\\'\"", "{\"s\":\"a\\n\\t\\\"\\\\'\"}", 'T'},
        {"s == 'it\\'s'", "{\"s\":\"it's\"}", 'T'},
        {"s == \"it's\"", "{\"s\":\"it's\"}", 'T'},
        {"s == 'say \"x\"'", "{\"s\":\"say \\\"x\\\"\"}", 'T'},
    };
    CHECK(examples);
    check_with(&(struct example){"category == \"小说\"", "{}", 'T'}, "i1", "小说");
    check_with(&(struct example){"category like \"小_\"", "{}", 'T'}, "i1", "小说");
    check_with(&(struct example){"id == \"书1\"", "{}", 'T'}, "书1", NULL);
}

static void arithmetic_knows_when_it_has_no_answer(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"a + b == 5", "{\"a\":2,\"b\":3}", 'T'},
        {"a * 2 == 5", "{\"a\":2.5}", 'T'},
        {"a / 2 == 3", "{\"a\":7}", 'T'},
        {"a / 2 == -3", "{\"a\":-7}", 'T'},
        {"a / 2.0 == 3.5", "{\"a\":7}", 'T'},
        {"a % 3 == 1", "{\"a\":7}", 'T'},
        {"a % 3 == -1", "{\"a\":-7}", 'T'},
        {"a % 3 == 1", "{\"a\":7.0}", 'U'},
        {"1 / a == 1", "{\"a\":0}", 'U'},
        {"1.0 / a == 1", "{\"a\":0}", 'U'},
        {"1 % a == 1", "{\"a\":0}", 'U'},
        {"a + 1 > 0", "{\"a\":9223372036854775807}", 'U'},
        {"a - 1 < 0", "{\"a\":-9223372036854775808}", 'U'},
        {"a * a > 0", "{\"a\":4611686018427387904}", 'U'},
        {"-a > 0", "{\"a\":-9223372036854775808}", 'U'},
        {"a / -1 > 0", "{\"a\":-9223372036854775808}", 'U'},
        {"a % -1 == 0", "{\"a\":-9223372036854775808}", 'T'},
        {"a ** 2 == 49", "{\"a\":7}", 'T'},
        {"a ** 63 > 0", "{\"a\":2}", 'U'},
        {"a ** 62 == 4611686018427387904", "{\"a\":2}", 'T'},
        {"a ** 0.5 == 3", "{\"a\":9}", 'T'},
        {"a ** 0.5 == 3", "{\"a\":-9}", 'U'},
        {"0 ** a == 1", "{\"a\":-1}", 'U'},
        {"a * 10 > 0", "{\"a\":1e308}", 'U'},
        {"a == -9223372036854775808", "{\"a\":-9223372036854775808}", 'T'},
        {"array_length(a) * 2 == 4", "{\"a\":[1,2]}", 'T'},
        {"a + true_ > 1", "{\"a\":1,\"true_\":true}", 'U'},
    };
    CHECK(examples);
}

static void integers_and_reals_compare_exactly(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"a == 9007199254740993", "{\"a\":9007199254740992.0}", 'F'},
        {"a < 9007199254740993", "{\"a\":9007199254740992.0}", 'T'},
        {"a >= 9007199254740993", "{\"a\":9007199254740992.0}", 'F'},
        {"a > 9007199254740991", "{\"a\":9007199254740992.0}", 'T'},
        {"a == 9007199254740992.0", "{\"a\":9007199254740993}", 'F'},
        {"a > 9007199254740992.0", "{\"a\":9007199254740993}", 'T'},
        {"a <= 9007199254740992.0", "{\"a\":9007199254740993}", 'F'},
        {"a < 9223372036854775807", "{\"a\":9223372036854775808.0}", 'F'},
        {"a > 9223372036854775807", "{\"a\":9223372036854775808.0}", 'T'},
        {"a == 9223372036854775807", "{\"a\":9223372036854775808.0}", 'F'},
        {"a < 9223372036854775808.0", "{\"a\":9223372036854775807}", 'T'},
        {"a >= -9223372036854775808.0", "{\"a\":-9223372036854775808}", 'T'},
        {"a > -1e19", "{\"a\":-9223372036854775808}", 'T'},
        {"a < 0.5", "{\"a\":0}", 'T'},
        {"a > 0.5", "{\"a\":0}", 'F'},
        {"a >= 0.5", "{\"a\":1}", 'T'},
        {"a <= -0.5", "{\"a\":0}", 'F'},
        {"a < -0.5", "{\"a\":-1}", 'T'},
        {"a != 0.5", "{\"a\":0}", 'T'},
        {"a == 0", "{\"a\":-0.0}", 'T'},
        {"a < 0", "{\"a\":-5e-324}", 'T'},
        {"a == b", "{\"a\":9007199254740993,\"b\":9007199254740992.0}", 'F'},
        {"a > b", "{\"a\":9007199254740993,\"b\":9007199254740992.0}", 'T'},
    };
    CHECK(examples);
}

static void arrays_are_looked_into(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"array_contains(tags, \"a\")", "{\"tags\":[\"b\",\"a\"]}", 'T'},
        {"array_contains(tags, \"a\")", "{\"tags\":[\"b\"]}", 'F'},
        {"array_contains(tags, \"a\")", "{\"tags\":[]}", 'F'},
        {"array_contains(tags, \"1\")", "{\"tags\":[1,null]}", 'F'},
        {"JSON_CONTAINS(tags, 1)", "{\"tags\":[1.0]}", 'T'},
        {"array_contains(tags, true)", "{\"tags\":[1,true]}", 'T'},
        {"array_contains_any(tags, [\"x\", \"a\"])", "{\"tags\":[\"b\",\"a\"]}", 'T'},
        {"array_contains_any(tags, [\"x\", 1])", "{\"tags\":[1]}", 'T'},
        {"array_contains_any(tags, [\"x\"])", "{\"tags\":[\"b\"]}", 'F'},
        {"array_contains_any(tags, [])", "{\"tags\":[\"b\"]}", 'F'},
        {"json_contains_all(tags, [\"a\", \"b\"])", "{\"tags\":[\"b\",\"c\",\"a\"]}", 'T'},
        {"array_contains_all(tags, [\"a\", \"a\"])", "{\"tags\":[\"a\"]}", 'T'},
        {"array_contains_all(tags, [\"a\", \"x\"])", "{\"tags\":[\"a\",\"a\"]}", 'F'},
        {"array_contains_all(tags, [])", "{\"tags\":[]}", 'T'},
        {"array_contains_all(tags, [1, 2])", "{\"tags\":[2,1,1]}", 'T'},
        {"array_contains(a[\"b\"], 1)", "{\"a\":{\"b\":[1]}}", 'T'},
        {"array_contains(a[1], 3)", "{\"a\":[[1],[3]]}", 'T'},
        {"array_length(tags) == 2", "{\"tags\":[1,[2]]}", 'T'},
        {"array_length(tags) > 2", "{\"tags\":[]}", 'F'},
        {"array_length(a[0]) == 1", "{\"a\":[[9]]}", 'T'},
    };
    CHECK(examples);
}

static void ids_and_categories_are_strings(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"id == \"i1\"", "{}", 'T'},
        {"id != \"i1\"", "{}", 'F'},
        {"id == \"nobody\"", "{}", 'F'},
        {"id != \"nobody\"", "{}", 'T'},
        {"id in [\"a\", \"i1\"]", "{}", 'T'},
        {"id not in [\"a\", \"i1\"]", "{}", 'F'},
        {"id like \"i%\"", "{}", 'T'},
        {"id < \"i2\"", "{}", 'T'},
        {"id == owner", "{\"owner\":\"i1\"}", 'T'},
        {"id == category", "{}", 'F'},
        {"category == \"book\"", "{}", 'T'},
        {"category in [\"film\"]", "{}", 'F'},
        {"category > \"bo\"", "{}", 'T'},
        {"category == kind", "{\"kind\":\"book\"}", 'T'},
    };
    CHECK(examples);
}

/* ---- Parameters ----------------------------------------------------------------------------- */

static void parameters_stand_for_values(void **state) {
    (void)state;
    static const int64_t numbers[] = {3, 9};
    static const double reals[] = {1.5, 9.0};
    static const char *const words[] = {"red", "blue"};
    const u2i_param_t c = {"c", U2I_STRING, 0, {.s = "book"}};
    const u2i_param_t max = {"max", U2I_INT, 0, {.i = 10}};
    const u2i_param_t half = {"half", U2I_REAL, 0, {.r = 0.5}};
    const u2i_param_t yes = {"yes", U2I_BOOL, 0, {.i = 1}};
    const u2i_param_t ns = {"ns", U2I_INT, 2, {.list = numbers}};
    const u2i_param_t rs = {"rs", U2I_REAL, 2, {.list = reals}};
    const u2i_param_t ws = {"ws", U2I_STRING, 2, {.list = words}};
    struct attrs *const a =
        parse_attrs("book", "{\"price\":9,\"color\":\"red\",\"tags\":[\"blue\",\"red\"]}");
    const u2i_param_t two[] = {c, max};

    assert_true(passes("category == {c} and price < {max}", two, 2, "i1", a));
    assert_true(passes("price < {max} or {max} == 3", &max, 1, "i1", a));
    assert_true(passes("price * {half} == 4.5", &half, 1, "i1", a));
    assert_true(passes("{yes} and price > 0", &yes, 1, "i1", a));
    assert_true(passes("price in {ns}", &ns, 1, "i1", a));
    assert_true(passes("price in {rs}", &rs, 1, "i1", a));
    assert_true(passes("price in [{max}, 9]", &max, 1, "i1", a));
    assert_true(passes("color in {ws}", &ws, 1, "i1", a));
    assert_true(passes("array_contains_all(tags, {ws})", &ws, 1, "i1", a));
    assert_true(passes("category like {c}", &c, 1, "i1", a));
    assert_false(passes("price not in {ns}", &ns, 1, "i1", a));
    attrs_free(a);
}

static void no_value_can_change_what_a_filter_means(void **state) {
    (void)state;
    static const char *const hostile[] = {"x\" or true or \"",
                                          "\" or 1 == 1 or category == \"",
                                          "x' or true or '",
                                          "\\",
                                          "\\\"",
                                          "{c}",
                                          "%",
                                          "_ook",
                                          "*/ or true /*",
                                          "x\nor true",
                                          "\xEF\xBC\x82 or true"};
    struct attrs *const book = parse_attrs("book", "{}");
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        const u2i_param_t c = {"c", U2I_STRING, 0, {.s = hostile[i]}};
        struct attrs *const same = parse_attrs(hostile[i], "{}");

        assert_false(passes("category == {c}", &c, 1, "i1", book));
        assert_false(passes("category in [{c}]", &c, 1, "i1", book));
        assert_true(passes("category == {c}", &c, 1, "i1", same));
        attrs_free(same);
    }
    attrs_free(book);
}

/* ---- Evaluation ----------------------------------------------------------------------------- */

static int64_t late_ns(void *ctx) {
    (void)ctx;
    return 2;
}

static void a_passed_deadline_stops_the_evaluation(void **state) {
    (void)state;
    const struct clock clock = {NULL, late_ns, NULL};
    const struct deadline deadline = {&clock, 1};
    struct filter *f = NULL;
    struct columns *columns = NULL;
    u2i_error_t err;
    struct intern *const ids = intern_new();
    roaring_bitmap_t *const live = roaring_bitmap_from_range(0, 10, 1);
    roaring_bitmap_t *found = NULL;
    assert_int_equal(filter_parse("a == 1", 6, NULL, 0, &f, &err), U2I_OK);
    assert_int_equal(columns_new(&columns, &err), U2I_OK);
    const struct filter_rows rows = {columns, ids, live};

    assert_int_equal(filter_eval(f, &rows, &deadline, &found, &err), U2I_ETIMEOUT);

    assert_null(found);
    assert_int_equal(err.code, U2I_ETIMEOUT);
    filter_free(f);
    columns_free(columns);
    intern_free(ids);
    roaring_bitmap_free(live);
}

static void only_living_rows_pass(void **state) {
    (void)state;
    struct filter *f = NULL;
    struct columns *columns = NULL;
    u2i_error_t err;
    struct intern *const ids = intern_new();
    roaring_bitmap_t *const live = roaring_bitmap_from_range(0, 300000, 3);
    roaring_bitmap_t *found = NULL;
    assert_int_equal(filter_parse("a is null", 9, NULL, 0, &f, &err), U2I_OK);
    assert_int_equal(columns_new(&columns, &err), U2I_OK);
    const struct filter_rows rows = {columns, ids, live};

    assert_int_equal(filter_eval(f, &rows, NULL, &found, &err), U2I_OK);

    assert_true(roaring_bitmap_equals(found, live));
    roaring_bitmap_free(found);
    roaring_bitmap_clear(live);
    assert_int_equal(filter_eval(f, &rows, NULL, &found, &err), U2I_OK);
    assert_true(roaring_bitmap_is_empty(found));
    roaring_bitmap_free(found);
    filter_free(f);
    columns_free(columns);
    intern_free(ids);
    roaring_bitmap_free(live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparisons_follow_the_value),
        cmocka_unit_test(comparing_with_what_is_not_there_is_unknown),
        cmocka_unit_test(logic_is_that_of_kleene),
        cmocka_unit_test(precedence_is_that_of_python),
        cmocka_unit_test(ranges_can_be_chained),
        cmocka_unit_test(membership_in_lists),
        cmocka_unit_test(patterns_of_like),
        cmocka_unit_test(existence_is_never_unknown),
        cmocka_unit_test(paths_reach_into_objects_and_arrays),
        cmocka_unit_test(names_and_strings_are_of_any_script),
        cmocka_unit_test(arithmetic_knows_when_it_has_no_answer),
        cmocka_unit_test(integers_and_reals_compare_exactly),
        cmocka_unit_test(arrays_are_looked_into),
        cmocka_unit_test(ids_and_categories_are_strings),
        cmocka_unit_test(parameters_stand_for_values),
        cmocka_unit_test(no_value_can_change_what_a_filter_means),
        cmocka_unit_test(a_passed_deadline_stops_the_evaluation),
        cmocka_unit_test(only_living_rows_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
