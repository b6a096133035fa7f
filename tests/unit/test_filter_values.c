/* The small pure parts below the language: numbers from text, operators on values, patterns,
 * escapes, the dictionary and the bitmap builder, each against something simpler. */
#include "base/alloc.h"
#include "base/number.h"
#include "base/rng.h"
#include "filter/dict.h"
#include "filter/escape.h"
#include "filter/like.h"
#include "filter/rowset.h"
#include "filter/value.h"
#include "u2i.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static uint64_t choose_seed(void) {
    const char *const given = getenv("U2I_SEED");
    return given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
}

/* ---- Numbers -------------------------------------------------------------------------------- */

static void check_real(const char *text) {
    double r = 0;
    assert_true(number_real(text, strlen(text), &r));
    const double expected = strtod(text, NULL);
    if (memcmp(&r, &expected, sizeof r) != 0) {
        fail_msg("%s: got %.17g, expected %.17g", text, r, expected);
    }
}

static void reals_are_read_as_the_c_library_reads_them(void **state) {
    (void)state;
    static const char *const texts[] = {"0",
                                        "0.0",
                                        "1.5",
                                        "0.1",
                                        "9007199254740993",
                                        "9007199254740993.0",
                                        "1e22",
                                        "1e23",
                                        "123e20",
                                        "1e-22",
                                        "1e-23",
                                        "0.000001",
                                        "5e-324",
                                        "2e-324",
                                        "1e308",
                                        "1e-400",
                                        "179769313486231570000000000000000e276",
                                        "1.",
                                        ".5",
                                        "1E+2",
                                        "00.5",
                                        "123456789012345678",
                                        "0.30000000000000004",
                                        "12345678901234567890.5e-3"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        check_real(texts[i]);
    }
    double r;
    assert_false(number_real("1e309", 5, &r));
    struct rng rng;
    char text[64];
    rng_seed(&rng, choose_seed());
    for (int i = 0; i < 20000; i++) {
        const int digits = 1 + (int)rng_below(&rng, 19);
        const unsigned long long mantissa = rng_u64(&rng) >> (rng_below(&rng, 60));
        (void)snprintf(text, sizeof text, "%.*llu.%ue%d", digits, mantissa, rng_below(&rng, 1000),
                       (int)rng_below(&rng, 60) - 30);
        check_real(text);
    }
}

static void integers_stop_at_their_limits(void **state) {
    (void)state;
    uint64_t v;
    assert_true(number_digits("18446744073709551615", 20, &v));
    assert_true(v == UINT64_MAX);
    assert_false(number_digits("18446744073709551616", 20, &v));
    assert_true(number_digits("00012", 5, &v));
    assert_int_equal(v, 12);
}

/* ---- Values --------------------------------------------------------------------------------- */

static void integers_compare_exactly_with_reals(void **state) {
    (void)state;
    const int64_t big = INT64_C(1) << 53;
    assert_int_equal(value_compare_int_real(3, 3.0), 0);
    assert_true(value_compare_int_real(3, 3.5) < 0);
    assert_true(value_compare_int_real(-3, -3.5) > 0);
    assert_true(value_compare_int_real(big + 1, (double)big) > 0);
    assert_true(value_compare_int_real(big - 1, (double)big) < 0);
    assert_true(value_compare_int_real(INT64_MAX, 9223372036854775808.0) < 0);
    assert_int_equal(value_compare_int_real(INT64_MIN, -9223372036854775808.0), 0);
    assert_true(value_compare_int_real(INT64_MIN, -1e300) > 0);
    assert_int_equal(value_compare_int_real(0, -0.0), 0);
}

static void flipped_and_negated_operators_agree_with_the_order(void **state) {
    (void)state;
    for (int op = OP_EQ; op <= OP_GE; op++) {
        for (int order = -1; order <= 1; order++) {
            const bool holds = value_op_holds((enum filter_op)op, order);
            assert_int_equal(holds, value_op_holds(value_op_flip((enum filter_op)op), -order));
            assert_int_equal(holds, !value_op_holds(value_op_negate((enum filter_op)op), order));
        }
    }
}

/* ---- Patterns ------------------------------------------------------------------------------- */

static size_t char_bytes(const char *s) {
    size_t n = 1;
    while (((unsigned char)s[n] & 0xC0) == 0x80) {
        n++;
    }
    return n;
}

/* By the definition, trying everything. */
static bool matches(const char *pattern, const char *s) {
    if (*pattern == '\0') {
        return *s == '\0';
    }
    if (*pattern == '%') {
        for (;; s += char_bytes(s)) {
            if (matches(pattern + 1, s)) {
                return true;
            }
            if (*s == '\0') {
                return false;
            }
        }
    }
    if (*pattern == '_') {
        return *s != '\0' && matches(pattern + 1, s + char_bytes(s));
    }
    pattern += *pattern == '\\';
    return *pattern == *s && matches(pattern + 1, s + 1);
}

static void patterns_match_what_the_definition_says(void **state) {
    (void)state;
    static const char *const pieces[] = {"a", "b", "ab", "%", "%", "_", "é", "价", "\\%", "\\_"};
    static const char *const letters[] = {"a", "b", "ab", "é", "价", "%", "_"};
    const uint64_t seed = choose_seed();
    struct rng rng;
    rng_seed(&rng, seed);
    for (int i = 0; i < 30000; i++) {
        struct arena arena = {NULL};
        const struct like *like = NULL;
        char pattern[64] = "", s[64] = "";
        for (uint32_t n = rng_below(&rng, 7); n > 0; n--) {
            strcat(pattern, pieces[rng_below(&rng, 10)]);
        }
        for (uint32_t n = rng_below(&rng, 8); n > 0; n--) {
            strcat(s, letters[rng_below(&rng, 7)]);
        }
        assert_int_equal(like_compile(&arena, pattern, strlen(pattern), &like), U2I_OK);
        const bool expected = matches(pattern, s);
        if (like_match(like, s, strlen(s)) != expected) {
            fail_msg("seed %llu: \"%s\" like \"%s\" is %d", (unsigned long long)seed, s, pattern,
                     expected);
        }
        arena_free(&arena);
    }
}

static void a_pattern_of_many_parts_is_linear(void **state) {
    (void)state;
    struct arena arena = {NULL};
    const struct like *like = NULL;
    char pattern[2001], s[20001];
    for (size_t i = 0; i < 2000; i += 2) {
        memcpy(pattern + i, "%a", 2);
    }
    memcpy(pattern + 1998, "%b", 2);
    memset(s, 'a', sizeof s);
    assert_int_equal(like_compile(&arena, pattern, 2000, &like), U2I_OK);
    for (int i = 0; i < 200; i++) { /* one backtracking match would outlast the test's limit */
        assert_false(like_match(like, s, 20000));
    }
    arena_free(&arena);
}

/* ---- Escapes -------------------------------------------------------------------------------- */

static void escapes_stand_for_characters(void **state) {
    (void)state;
    static const struct {
        const char *escape, *text;
        size_t used;
    } known[] = {{"n", "\n", 1},
                 {"\"", "\"", 1},
                 {"/", "/", 1},
                 {"u0041", "A", 5},
                 {"u00e9", "é", 5},
                 {"u4EF7", "价", 5},
                 {"ud83d\\uDE00", "😀", 11},
                 {"uFFFF", "\xEF\xBF\xBF", 5}};
    char out[ESCAPE_MAX_BYTES];
    size_t n = 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const char *const e = known[i].escape;
        assert_int_equal(escape_decode(e, e + strlen(e), out, &n), known[i].used);
        assert_int_equal(n, strlen(known[i].text));
        assert_memory_equal(out, known[i].text, n);
    }
    static const char *const wrong[] = {"",      "q",     "u",           "u12",          "u12g4",
                                        "u0000", "ud83d", "ud83dxxxxxx", "ud83d\\u0041", "ude00",
                                        "U0041", "u-041", "ud83d\\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(escape_decode(wrong[i], wrong[i] + strlen(wrong[i]), out, &n), 0);
    }
}

/* ---- The dictionary ------------------------------------------------------------------------- */

static void a_code_lives_as_long_as_its_string_is_used(void **state) {
    (void)state;
    struct dict d;
    uint32_t a, again, b;
    assert_int_equal(dict_init(&d), U2I_OK);
    assert_int_equal(dict_take(&d, "a", 1, &a), U2I_OK);
    assert_int_equal(dict_take(&d, "a", 1, &again), U2I_OK);
    assert_int_equal(a, again);
    assert_false(dict_release(&d, a));
    assert_string_equal(intern_name(d.names, a, NULL), "a");
    assert_true(dict_release(&d, a));
    assert_null(intern_name(d.names, a, NULL));
    assert_int_equal(dict_take(&d, "b", 1, &b), U2I_OK);
    assert_int_equal(b, a); /* codes stay dense */
    dict_clear(&d);
}

/* ---- The bitmap builder --------------------------------------------------------------------- */

static void masks_become_the_bitmap_of_their_rows(void **state) {
    (void)state;
    const uint64_t seed = choose_seed();
    struct rng rng;
    rng_seed(&rng, seed);
    for (int round = 0; round < 40; round++) {
        struct rowset *const s = mem_zalloc(sizeof *s);
        roaring_bitmap_t *const expected = roaring_bitmap_create();
        const uint32_t shift = rng_below(&rng, 40); /* from full to nearly empty */
        for (uint32_t chunk = rng_below(&rng, 40); chunk < 100; chunk += 1 + rng_below(&rng, 9)) {
            uint64_t mask[ROWSET_WORDS];
            for (uint32_t i = 0; i < ROWSET_WORDS; i++) {
                mask[i] = shift < 2 ? UINT64_MAX : rng_u64(&rng);
                for (uint32_t j = 2; j < shift / 4; j++) {
                    mask[i] &= rng_u64(&rng);
                }
                for (uint32_t bit = 0; bit < 64; bit++) {
                    if ((mask[i] >> bit & 1) != 0) {
                        roaring_bitmap_add(expected, chunk * CHUNK_ROWS + i * 64 + bit);
                    }
                }
            }
            rowset_add(s, chunk, mask);
        }
        roaring_bitmap_t *const got = rowset_finish(s);
        assert_non_null(got);
        if (!roaring_bitmap_equals(got, expected)) {
            fail_msg("seed %llu, round %d", (unsigned long long)seed, round);
        }
        roaring_bitmap_free(got);
        roaring_bitmap_free(expected);
        rowset_free(s);
        mem_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reals_are_read_as_the_c_library_reads_them),
        cmocka_unit_test(integers_stop_at_their_limits),
        cmocka_unit_test(integers_compare_exactly_with_reals),
        cmocka_unit_test(flipped_and_negated_operators_agree_with_the_order),
        cmocka_unit_test(patterns_match_what_the_definition_says),
        cmocka_unit_test(a_pattern_of_many_parts_is_linear),
        cmocka_unit_test(escapes_stand_for_characters),
        cmocka_unit_test(a_code_lives_as_long_as_its_string_is_used),
        cmocka_unit_test(masks_become_the_bitmap_of_their_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
