/* Item attributes from anybody. Our parser must accept what jansson accepts under our limits,
 * nothing else, and read the same values; then the attributes go into columns and out again, over
 * what was there before. */
#include "base/alloc.h"
#include "base/number.h"
#include "filter/attrs.h"
#include "filter/filter.h"
#include "json/json.h"
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static void fuzz_compare(const struct attrs *a, const struct attrs_node *node, json_t *json);

static void fuzz_compare_members(const struct attrs *a, const struct attrs_node *node,
                                 json_t *json) {
    const char *key;
    size_t key_n;
    json_t *value;
    json_object_keylen_foreach(json, key, key_n, value) {
        const struct attrs_node *const member = attrs_member(a, node, key, key_n);
        fuzz_require(member != NULL, "a member is found");
        fuzz_compare(a, member, value);
    }
}

static void fuzz_compare_array(const struct attrs *a, const struct attrs_node *node, json_t *json) {
    fuzz_require(node->tag == VALUE_ARRAY && node->n == json_array_size(json), "same array");
    for (uint32_t i = 0; i < node->n; i++) {
        fuzz_compare(a, attrs_element(a, node, i), json_array_get(json, i));
    }
    fuzz_require(attrs_element(a, node, node->n) == NULL, "no element past the end");
}

static void fuzz_compare(const struct attrs *a, const struct attrs_node *node, json_t *json) {
    const struct value v = attrs_value(a, node);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        fuzz_require(v.tag == VALUE_OBJECT && node->n == json_object_size(json), "same object");
        fuzz_compare_members(a, node, json);
        break;
    case JSON_ARRAY:
        fuzz_compare_array(a, node, json);
        break;
    case JSON_STRING:
        fuzz_require(v.tag == VALUE_STRING && v.n == json_string_length(json) &&
                         memcmp(v.as.s, json_string_value(json), v.n) == 0,
                     "same string");
        break;
    case JSON_INTEGER:
        fuzz_require(v.tag == VALUE_INT && v.as.i == json_integer_value(json), "same integer");
        break;
    case JSON_REAL: {
        const double r = json_real_value(json);
        fuzz_require(v.tag == VALUE_REAL && memcmp(&v.as.r, &r, sizeof r) == 0, "same real");
        break;
    }
    case JSON_NULL:
        fuzz_require(v.tag == VALUE_NULL, "same null");
        break;
    default:
        fuzz_require(v.tag == VALUE_BOOL && (v.as.i != 0) == json_is_true(json), "same boolean");
        break;
    }
}

/* Row 0 keeps the attributes of the run before, so that this run replaces them. */
static void fuzz_put(const struct attrs *a) {
    static struct columns *columns;
    u2i_error_t err;
    if (columns == NULL) {
        fuzz_require(columns_new(&columns, &err) == U2I_OK, "columns");
    }
    fuzz_require(columns_put(columns, 0, a, &err) == U2I_OK, "put");
    fuzz_require(columns_put(columns, 4096, a, &err) == U2I_OK, "put");
    columns_remove(columns, 4096);
    fuzz_require(columns_bytes(columns) < (size_t)256 << 20, "what goes gives its memory back");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct attrs *a = NULL;
    json_t *json = NULL;
    u2i_error_t err, json_err;
    const char *const text = (const char *)data;
    const int rc = attrs_parse(n % 2 != 0 ? "book" : NULL, text != NULL ? text : "", n, &a, &err);
    const int json_rc =
        json_parse_object(text != NULL ? text : "", n, U2I_ATTRS_MAX_DEPTH, "x", &json, &json_err);
    const bool within = n <= U2I_ATTRS_MAX_BYTES && n <= NUMBER_MAX_BYTES;
    if (within && rc != json_rc) {
        (void)fprintf(stderr, "attributes: %d %s\njansson: %d %s\n", rc, err.msg, json_rc,
                      json_err.msg);
        abort();
    }
    fuzz_require(rc == U2I_OK || (a == NULL && err.msg[0] != '\0'), "an error has a message");
    if (rc == U2I_OK) {
        fuzz_require(a->root_n == json_object_size(json), "as many members");
        fuzz_compare_members(a, NULL, json);
        fuzz_put(a);
    }
    attrs_free(a);
    json_decref(json);
    return 0;
}
