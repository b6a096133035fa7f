/* Single attributes by path, from an item and from the columns (prop_filter.c compares the two on random
 * items), and the parameters that a filter names. */
#include "base/alloc.h"
#include "base/buf.h"
#include "filter/attr.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char json[] = "{\"brand\": \"acme\", \"price\": 9.5, \"stock\": 3, \"real\": 3.0, "
                           "\"sale\": true, \"none\": null, \"tags\": [\"a\", 1, null, [2]], "
                           "\"size\": {\"width\": -4, \"a b\": 7}, \"category\": \"mine\"}";

struct item {
    struct attrs *attrs;
    struct columns *columns;
};

static void item_make(struct item *it) {
    u2i_error_t err;
    assert_int_equal(attrs_parse("shoes", json, sizeof json - 1, &it->attrs, &err), U2I_OK);
    assert_int_equal(columns_new(&it->columns, &err), U2I_OK);
    assert_int_equal(columns_put(it->columns, 70000, it->attrs, &err), U2I_OK);
}

static void item_free(struct item *it) {
    columns_free(it->columns);
    attrs_free(it->attrs);
}

/* From the columns, after checking that the item says the same type and key. */
static struct attr_value get(const struct item *it, const char *text) {
    struct attr_path *path;
    struct attr_column column;
    struct attr_value a, b;
    u2i_error_t err;
    assert_int_equal(attr_path_parse(text, strlen(text), &path, &err), U2I_OK);
    attrs_get(it->attrs, path, &a);
    assert_int_equal(attr_column_find(it->columns, path, &column, &err), U2I_OK);
    columns_get(&column, 70000, &b);
    attr_path_free(path);
    assert_int_equal(a.type, b.type);
    assert_true(a.key == b.key);
    return b;
}

static void each_type_is_read(void **state) {
    (void)state;
    struct item it;
    item_make(&it);
    const struct attr_value brand = get(&it, "brand");
    assert_int_equal(brand.type, ATTR_STRING);
    assert_int_equal(brand.n, 4);
    assert_memory_equal(brand.s, "acme", 4);
    assert_int_equal(get(&it, "price").type, ATTR_REAL);
    assert_true(get(&it, "price").number == 9.5);
    assert_int_equal(get(&it, "stock").type, ATTR_INT);
    assert_int_equal(get(&it, "stock").i, 3);
    assert_true(get(&it, "stock").number == 3);
    assert_int_equal(get(&it, "sale").type, ATTR_BOOL);
    assert_int_equal(get(&it, "sale").i, 1);
    item_free(&it);
}

static void missing_null_and_objects_are_no_value(void **state) {
    (void)state;
    struct item it;
    item_make(&it);
    static const char *const paths[] = {"nothing", "none",    "size",    "size[\"depth\"]",
                                        "tags[2]", "tags[9]", "brand[0]"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(get(&it, paths[i]).type, ATTR_MISSING);
        assert_true(get(&it, paths[i]).key == 0);
    }
    item_free(&it);
}

static void paths_lead_inside(void **state) {
    (void)state;
    struct item it;
    item_make(&it);
    assert_int_equal(get(&it, "size[\"width\"]").i, -4);
    assert_int_equal(get(&it, "attrs[\"size\"][\"a b\"]").i, 7);
    assert_int_equal(get(&it, "tags[1]").i, 1);
    assert_int_equal(get(&it, "tags[3]").type, ATTR_ARRAY);
    assert_memory_equal(get(&it, "category").s, "shoes", 5);
    assert_memory_equal(get(&it, "attrs[\"category\"]").s, "mine", 4);
    item_free(&it);
}

static void equal_values_have_equal_keys(void **state) {
    (void)state;
    struct item it;
    item_make(&it);
    const struct attr_value tags = get(&it, "tags");
    struct attr_value one;
    attr_element(&tags, 1, &one);
    assert_true(get(&it, "stock").key == get(&it, "real").key);
    assert_true(one.key == get(&it, "tags[1]").key);
    assert_true(get(&it, "sale").key != one.key); /* true is not 1 */
    assert_true(get(&it, "brand").key != get(&it, "category").key);
    item_free(&it);
}

static void keys_never_change(void **state) {
    (void)state;
    struct item it;
    item_make(&it);
    assert_true(get(&it, "brand").key == UINT64_C(0x7e748d0023ab4851));
    assert_true(get(&it, "stock").key == UINT64_C(0xbf7cd612d8a8d090));
    item_free(&it);
}

static void wrong_path_is_refused_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *path;
        int32_t offset;
    } cases[] = {{"", 0},      {"3", 0},      {"a b", 2}, {"a[", 2},
                 {"a[-1]", 2}, {"a == 1", 2}, {"id", 0},  {"title", 0},
                 {"a.b", 1},   {"attrs", 5},  {"not", 0}, {"category[0]", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct attr_path *path;
        u2i_error_t err = {0};
        assert_int_equal(attr_path_parse(cases[i].path, strlen(cases[i].path), &path, &err),
                         U2I_EFILTER);
        assert_int_equal(err.offset, cases[i].offset);
        assert_null(path);
    }
}

static void dotted_path_is_a_chain_of_keys(void **state) {
    (void)state;
    struct item it;
    struct attr_path *path;
    struct attr_value v;
    u2i_error_t err;
    item_make(&it);
    assert_int_equal(attr_path_dotted("size.a b", 8, &path, &err), U2I_OK);
    attrs_get(it.attrs, path, &v);
    assert_int_equal(v.i, 7);
    attr_path_free(path);
    assert_int_equal(attr_path_dotted("category", 8, &path, &err), U2I_OK);
    attrs_get(it.attrs, path, &v);
    assert_memory_equal(v.s, "mine", 4); /* of users: they have no category of their own */
    attr_path_free(path);
    assert_int_equal(attr_path_dotted("", 0, &path, &err), U2I_EFILTER);
    assert_int_equal(attr_path_dotted("a..b", 4, &path, &err), U2I_EFILTER);
    assert_int_equal(attr_path_dotted("a.", 2, &path, &err), U2I_EFILTER);
    assert_int_equal(attr_path_dotted("a.b.c.d.e.f.g.h.i", 17, &path, &err), U2I_EFILTER);
    item_free(&it);
}

static int collect(void *ctx, const char *name, size_t n) {
    buf_printf(ctx, "%.*s;", (int)n, name);
    return U2I_OK;
}

static void parameters_of_a_filter_are_told(void **state) {
    (void)state;
    struct buf names = {0};
    u2i_error_t err;
    static const char text[] =
        "a < {user.max} and b like \"x\\%{no}\" or c in {now} and d == {now}";
    assert_int_equal(filter_param_names(text, sizeof text - 1, collect, &names, &err), U2I_OK);
    assert_string_equal(names.data, "user.max;now;now;");
    assert_int_equal(filter_param_names("a < {b", 6, collect, &names, &err), U2I_EFILTER);
    assert_int_equal(err.offset, 4);
    buf_free(&names);
}

static void parameter_names_may_have_dots_inside(void **state) {
    (void)state;
    const u2i_param_t p = {.name = "user.size.max", .type = U2I_INT, .value.i = 3};
    static const char *const wrong[] = {"a < {.b}", "a < {b.}", "a < {b..c}"};
    static const char right[] = "a < {user.size.max}";
    struct filter *f;
    u2i_error_t err;
    assert_int_equal(filter_parse(right, sizeof right - 1, &p, 1, &f, &err), U2I_OK);
    filter_free(f);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(filter_parse(wrong[i], strlen(wrong[i]), &p, 1, &f, &err), U2I_EFILTER);
        assert_int_equal(err.offset, 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_is_read),
        cmocka_unit_test(missing_null_and_objects_are_no_value),
        cmocka_unit_test(paths_lead_inside),
        cmocka_unit_test(equal_values_have_equal_keys),
        cmocka_unit_test(keys_never_change),
        cmocka_unit_test(wrong_path_is_refused_with_its_place),
        cmocka_unit_test(dotted_path_is_a_chain_of_keys),
        cmocka_unit_test(parameters_of_a_filter_are_told),
        cmocka_unit_test(parameter_names_may_have_dots_inside),
    };
    return cmocka_run_group_tests_name("filter: single attributes", tests, NULL, NULL);
}
