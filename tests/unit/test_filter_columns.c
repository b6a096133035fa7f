/* The columns under change: what a row holds is what was put last, memory follows what is there,
 * and attributes that are not as they should be are refused with the place. */
#include "base/alloc.h"
#include "filter/filter.h"
#include "json/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct shelf {
    struct columns *columns;
    struct intern *ids;
    roaring_bitmap_t *live;
};

static void shelf_open(struct shelf *s) {
    u2i_error_t err;
    assert_int_equal(columns_new(&s->columns, &err), U2I_OK);
    s->ids = intern_new();
    s->live = roaring_bitmap_create();
}

static void shelf_close(struct shelf *s) {
    columns_free(s->columns);
    intern_free(s->ids);
    roaring_bitmap_free(s->live);
}

static void shelf_put(struct shelf *s, uint32_t row, const char *category, const char *json) {
    struct attrs *a = NULL;
    u2i_error_t err;
    if (attrs_parse(category, json, json != NULL ? strlen(json) : 0, &a, &err) != U2I_OK) {
        fail_msg("%s: %s", json, err.msg);
    }
    assert_int_equal(columns_put(s->columns, row, a, &err), U2I_OK);
    roaring_bitmap_add(s->live, row);
    attrs_free(a);
}

static void shelf_remove(struct shelf *s, uint32_t row) {
    columns_remove(s->columns, row);
    roaring_bitmap_remove(s->live, row);
}

static uint64_t shelf_count(struct shelf *s, const char *text) {
    struct filter *f = NULL;
    roaring_bitmap_t *found = NULL;
    u2i_error_t err;
    const struct filter_rows rows = {s->columns, s->ids, s->live};
    if (filter_parse(text, strlen(text), NULL, 0, &f, &err) != U2I_OK) {
        fail_msg("%s: %s", text, err.msg);
    }
    assert_int_equal(filter_eval(f, &rows, NULL, &found, &err), U2I_OK);
    const uint64_t n = roaring_bitmap_get_cardinality(found);
    roaring_bitmap_free(found);
    filter_free(f);
    return n;
}

/* ---- Change --------------------------------------------------------------------------------- */

static void a_row_holds_what_was_put_last(void **state) {
    (void)state;
    struct shelf s;
    shelf_open(&s);

    shelf_put(&s, 7, "book", "{\"a\":1,\"tags\":[\"x\"],\"o\":{\"p\":2}}");
    shelf_put(&s, 7, "film", "{\"a\":\"one\",\"b\":2}");

    assert_int_equal(shelf_count(&s, "category == \"film\" and a == \"one\" and b == 2"), 1);
    assert_int_equal(shelf_count(&s, "category == \"book\" or a == 1 or exists tags or exists o"),
                     0);
    shelf_put(&s, 7, NULL, NULL);
    assert_int_equal(shelf_count(&s, "exists category or exists a or exists b"), 0);
    shelf_put(&s, 7, NULL, "{\"a\":3}");
    shelf_remove(&s, 7);
    shelf_remove(&s, 7);
    shelf_remove(&s, 123456);
    roaring_bitmap_add(s.live, 7);
    assert_int_equal(shelf_count(&s, "exists a"), 0);
    shelf_close(&s);
}

static void an_item_can_be_put_over_itself(void **state) {
    (void)state;
    struct shelf s;
    shelf_open(&s);
    for (int i = 0; i < 100; i++) {
        shelf_put(&s, 0, "c", "{\"a\":\"x\",\"t\":[\"x\",[\"y\"],{\"z\":\"w\"}],\"o\":{\"p\":{}}}");
    }
    assert_int_equal(shelf_count(&s, "t[2][\"z\"] == \"w\" and a == t[0] and exists o[\"p\"]"), 1);
    shelf_close(&s);
}

/* Dense, then thinned out to sparse, then dense again, with rows in descending order. */
static void chunks_change_their_form_without_a_loss(void **state) {
    (void)state;
    struct shelf s;
    char json[64];
    shelf_open(&s);
    for (uint32_t row = 9000; row-- > 0;) {
        (void)snprintf(json, sizeof json, "{\"n\":%u}", row);
        shelf_put(&s, row, NULL, json);
    }
    assert_int_equal(shelf_count(&s, "n >= 0"), 9000);
    assert_int_equal(shelf_count(&s, "n % 10 == 3"), 900);
    for (uint32_t row = 0; row < 9000; row++) {
        if (row % 10 != 3) {
            shelf_remove(&s, row);
        }
    }
    assert_int_equal(shelf_count(&s, "n >= 0"), 900);
    assert_int_equal(shelf_count(&s, "n % 10 == 3 and n < 4096"), 410);
    for (uint32_t row = 0; row < 9000; row++) {
        (void)snprintf(json, sizeof json, "{\"n\":%u}", row + 1);
        shelf_put(&s, row, NULL, json);
    }
    assert_int_equal(shelf_count(&s, "n > 0"), 9000);
    assert_int_equal(shelf_count(&s, "n == 9000"), 1);
    shelf_close(&s);
}

static void replacing_for_ever_does_not_grow_memory(void **state) {
    (void)state;
    struct shelf s;
    char json[200];
    size_t bytes_first = 0;
    shelf_open(&s);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t row = 0; row < 1000; row++) {
            /* Strings, keys and shapes that never come back. */
            (void)snprintf(json, sizeof json,
                           "{\"s\":\"text %u of %u\",\"k%u_%u\":[\"t%u\",{\"x\":\"u%u\"}]}", row,
                           round, row, round, row + round * 1000, row * 7 + round);
            shelf_put(&s, row, NULL, json);
        }
        if (round == 1) {
            bytes_first = columns_bytes(s.columns);
        }
    }
    const size_t bytes = columns_bytes(s.columns);
    if (bytes > bytes_first * 3 / 2) {
        fail_msg("%zu bytes have become %zu", bytes_first, bytes);
    }
    shelf_close(&s);
}

static void memory_is_close_to_what_attributes_need(void **state) {
    (void)state;
    struct shelf s;
    char json[100];
    shelf_open(&s);
    const uint32_t n = 50000;
    for (uint32_t row = 0; row < n; row++) {
        (void)snprintf(json, sizeof json, "{\"price\":%u.5,\"stock\":%u}", row % 700, row % 9);
        shelf_put(&s, row, "book", json);
    }
    /* Three values of 9 bytes and the shape of 4, whose table may be half empty. */
    const size_t each = columns_bytes(s.columns) / n;
    if (each > 40) {
        fail_msg("%zu bytes an item", each);
    }
    shelf_close(&s);
}

/* Keys used as data: each row has its own. */
static void a_key_of_its_own_for_each_item_stays_small(void **state) {
    (void)state;
    struct shelf s;
    char json[100];
    shelf_open(&s);
    const uint32_t n = 5000;
    for (uint32_t row = 0; row < n; row++) {
        (void)snprintf(json, sizeof json, "{\"seen_by\":{\"u%u\":%u}}", row, row);
        shelf_put(&s, row * 100, NULL, json);
    }
    const size_t each = columns_bytes(s.columns) / n;
    if (each > 1200) {
        fail_msg("%zu bytes an item", each);
    }
    assert_int_equal(shelf_count(&s, "seen_by[\"u77\"] == 77"), 1);
    assert_int_equal(shelf_count(&s, "exists seen_by"), n);
    shelf_close(&s);
}

/* ---- Attributes ----------------------------------------------------------------------------- */

static void bad_attributes_are_refused_with_the_place(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } faults[] = {
        {"", "line 1 column 1: expected an object, \"{\", found the end"},
        {"[1]", "line 1 column 1: expected an object, \"{\", found \"[\""},
        {"null", "expected an object"},
        {"{", "line 1 column 2: expected a key in double quotes, found the end"},
        {"{a:1}", "line 1 column 2: expected a key in double quotes, found \"a\""},
        {"{\"a\" 1}", "line 1 column 6: expected \":\" after a key, found \"1\""},
        {"{\"a\":}", "line 1 column 6: expected a value, found \"}\""},
        {"{\"a\":1,}", "line 1 column 8: expected a key in double quotes, found \"}\""},
        {"{\"a\":1 \"b\":2}", "line 1 column 8: expected \",\" or \"}\", found \"\"\""},
        {"{\"a\":[1 2]}", "line 1 column 9: expected \",\" or \"]\", found \"2\""},
        {"{\"a\":[1,]}", "line 1 column 9: expected a value, found \"]\""},
        {"{\"a\":1}x", "line 1 column 8: expected the end, found \"x\""},
        {"{\"价\":\n 1,\n \"价\":x}", "line 3 column 6: expected a value, found \"x\""},
        {"{\"a\":1,\"a\":2}", "key \"a\" is there twice"},
        {"{\"b\":{\"a\":1,\"a\":2}}", "key \"a\" is there twice"},
        {"{\"a\":9223372036854775808}", "line 1 column 6: integer does not fit 64 bits"},
        {"{\"a\":-9223372036854775809}", "integer does not fit 64 bits"},
        {"{\"a\":1e400}", "number is too large"},
        {"{\"a\":01}", "a number does not start with 0"},
        {"{\"a\":1.}", "line 1 column 8: expected a digit, found \"}\""},
        {"{\"a\":-}", "expected a digit"},
        {"{\"a\":1e+}", "expected a digit"},
        {"{\"a\":.5}", "expected a value, found \".\""},
        {"{\"a\":NaN}", "expected a value, found \"N\""},
        {"{\"a\":tru}", "expected a value, found \"t\""},
        {"{\"a\":'x'}", "expected a value, found \"'\""},
        {"{\"a\":\"x}", "line 1 column 6: string is not closed"},
        {"{\"a\":\"x\ny\"}", "control character in a string"},
        {"{\"a\":\"\\x\"}", "line 1 column 7: malformed escape"},
        {"{\"a\":\"\\u0000\"}", "malformed escape"},
        {"{\"a\":\"\\ud800\"}", "malformed escape"},
        {"{\"a\":\"\xFF\"}", "attributes are not valid UTF-8"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}", ""},
        {"{\"a\":[[[[[[[[1]]]]]]]]}", "line 1 column 13: nested deeper than 8"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct attrs *a = NULL;
        u2i_error_t err;
        const size_t n = strlen(faults[i].json);
        const int expected = faults[i].message[0] != '\0' ? U2I_EINVAL : U2I_OK;
        const int rc = attrs_parse("c", faults[i].json, n, &a, &err);
        if (rc != expected || (rc != U2I_OK && strstr(err.msg, faults[i].message) == NULL)) {
            fail_msg("%s: %d %s", faults[i].json, rc, err.msg);
        }
        attrs_free(a);
    }
}

static void limits_of_attributes_hold(void **state) {
    (void)state;
    struct attrs *a = NULL;
    u2i_error_t err;
    char category[U2I_CATEGORY_MAX_BYTES + 2];
    char *const json = mem_alloc(U2I_ATTRS_MAX_BYTES + 2);
    memset(category, 'c', sizeof category - 1);
    category[sizeof category - 1] = '\0';
    assert_int_equal(attrs_parse(category, NULL, 0, &a, &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "category of 257 bytes is over 256"));
    assert_int_equal(attrs_parse("\xFF", NULL, 0, &a, &err), U2I_EINVAL);
    memset(json, ' ', U2I_ATTRS_MAX_BYTES + 1);
    memcpy(json, "{}", 2);
    assert_int_equal(attrs_parse(NULL, json, U2I_ATTRS_MAX_BYTES, &a, &err), U2I_OK);
    attrs_free(a);
    assert_int_equal(attrs_parse(NULL, json, U2I_ATTRS_MAX_BYTES + 1, &a, &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "attributes of 65537 bytes are over 65536"));
    assert_null(a);
    mem_free(json);
}

/* Many members, all different but for the last one. */
static void duplicate_keys_are_found_among_many(void **state) {
    (void)state;
    struct attrs *a = NULL;
    u2i_error_t err;
    struct buf json = {0};
    buf_putc(&json, '{');
    for (int i = 0; i < 3000; i++) {
        buf_printf(&json, "\"key%d\":%d,", i, i);
    }
    const size_t n = json.len;
    buf_puts(&json, "\"last\":0}");
    assert_int_equal(attrs_parse(NULL, json.data, json.len, &a, &err), U2I_OK);
    attrs_free(a);
    json.len = n;
    buf_puts(&json, "\"key1234\":0}");
    assert_int_equal(attrs_parse(NULL, json.data, json.len, &a, &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "key \"key1234\" is there twice"));
    buf_free(&json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_holds_what_was_put_last),
        cmocka_unit_test(an_item_can_be_put_over_itself),
        cmocka_unit_test(chunks_change_their_form_without_a_loss),
        cmocka_unit_test(replacing_for_ever_does_not_grow_memory),
        cmocka_unit_test(memory_is_close_to_what_attributes_need),
        cmocka_unit_test(a_key_of_its_own_for_each_item_stays_small),
        cmocka_unit_test(bad_attributes_are_refused_with_the_place),
        cmocka_unit_test(limits_of_attributes_hold),
        cmocka_unit_test(duplicate_keys_are_found_among_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
