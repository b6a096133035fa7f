/* JSON from outside: what is refused, and where the message says that it is. */
#include "json/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int parse(const char *text, size_t n, json_t **out, u2i_error_t *err) {
    return json_parse_object(text, n, 4, "attributes", out, err);
}

static void objects_are_parsed(void **state) {
    (void)state;
    static const char text[] = " {\"a\": [1, 2.5, \"x\", null, true], \"b\": {\"c\": \"价\"}} ";
    json_t *root = NULL;
    u2i_error_t err;

    assert_int_equal(parse(text, strlen(text), &root, &err), U2I_OK);

    assert_int_equal(json_object_size(root), 2);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(root, "a"), 0)), 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "b"), "c")), "价");
    json_decref(root);
}

static void arrays_are_parsed_where_arrays_are_asked_for(void **state) {
    (void)state;
    json_t *root = NULL;
    u2i_error_t err;

    assert_int_equal(json_parse_array("[1, {}]", 7, 4, "list", &root, &err), U2I_OK);
    assert_int_equal(json_array_size(root), 2);
    json_decref(root);

    assert_int_equal(json_parse_array("{}", 2, 4, "list", &root, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "list: expected an array, [...], found an object");
    assert_null(root);
    assert_int_equal(json_parse_array("[[[[[", 5, 4, "list", &root, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "list: line 1 column 5: nested deeper than 4");
    assert_null(root);
}

static void whole_numbers_of_any_size_are_reals_where_reals_are_asked_for(void **state) {
    (void)state;
    static const char text[] = "{\"n\": 1000000000000000019884624838656, \"m\": 7}";
    json_t *root = NULL;
    u2i_error_t err;

    assert_int_equal(parse(text, strlen(text), &root, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "attributes: line 1 column 37: too big integer");

    assert_int_equal(json_parse_object_reals(text, strlen(text), 4, "file", &root, &err), U2I_OK);
    assert_true(json_real_value(json_object_get(root, "n")) > 1e29);
    assert_true(json_real_value(json_object_get(root, "m")) == 7);
    json_decref(root);
    assert_int_equal(json_parse_object_reals("[]", 2, 4, "file", &root, &err), U2I_EINVAL);
}

static void everything_else_is_refused_with_the_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } faults[] = {
        {"", "attributes: line 1 column 0: "},
        {"[1]", "attributes: expected an object, {...}, found an array"},
        {"1", "attributes: line 1 column 1: "},
        {"{\"a\":1", "attributes: line 1 column 6: "},
        {"{\"a\":1}}", "attributes: line 1 column 8: end of file expected"},
        {"{\"a\":1,\"a\":2}", "duplicate object key"},
        {"{\n\"a\":\n tru}", "attributes: line 3 column 4: "},
        {"{\"a\":\"\xFF\"}", "attributes: line 1 column "},
        {"{\"a\":\"\\u0000\"}", "attributes: line 1 column "},
        {"{\"a\":9223372036854775808}", "too big integer"},
        {"{\"a\":1e999}", "real number overflow"},
        {"{\"a\":[[[1]]]}", ""},
        {"{\"a\":\n [[[[1]]]]}", "attributes: line 2 column 5: nested deeper than 4"},
        {"{\"价\":[[[[1]]]]}", "attributes: line 1 column 9: nested deeper than 4"},
        {"{\"[[[[[\\\"[[[[[[\":1}", ""},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        json_t *root = NULL;
        u2i_error_t err;
        const int expected = faults[i].message[0] != '\0' ? U2I_EINVAL : U2I_OK;
        const int rc = parse(faults[i].text, strlen(faults[i].text), &root, &err);
        if (rc != expected || (rc != U2I_OK && strstr(err.msg, faults[i].message) == NULL)) {
            fail_msg("%s: %d %s", faults[i].text, rc, err.msg);
        }
        assert_true((root != NULL) == (rc == U2I_OK));
        json_decref(root);
    }
}

static void a_nul_byte_ends_no_text_early(void **state) {
    (void)state;
    json_t *root = NULL;
    u2i_error_t err;
    assert_int_equal(parse("{\"a\":1}\0", 8, &root, &err), U2I_EINVAL);
    assert_int_equal(parse("{\"a\0b\":1}", 9, &root, &err), U2I_EINVAL);
    assert_int_equal(parse("{\"a\":1\0}", 8, &root, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "attributes: line 1 column 7: a NUL byte");
    assert_null(root);
}

static void brackets_without_end_do_not_exhaust_the_stack(void **state) {
    (void)state;
    char text[60000];
    json_t *root = NULL;
    u2i_error_t err;
    memset(text, '[', sizeof text);
    assert_int_equal(parse(text, sizeof text, &root, &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "line 1 column 5: nested deeper than 4"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_parsed),
        cmocka_unit_test(arrays_are_parsed_where_arrays_are_asked_for),
        cmocka_unit_test(whole_numbers_of_any_size_are_reals_where_reals_are_asked_for),
        cmocka_unit_test(everything_else_is_refused_with_the_place),
        cmocka_unit_test(a_nul_byte_ends_no_text_early),
        cmocka_unit_test(brackets_without_end_do_not_exhaust_the_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
