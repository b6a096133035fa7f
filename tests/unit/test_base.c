/* What all modules lean on: messages, memory, buffers, hashes, random numbers, UTF-8, logging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/utf8.h"
#include <math.h>
#include <stdio.h>

/* ---- errors ---- */

static void error_carries_code_offset_and_message(void **state) {
    (void)state;
    u2i_error_t err;

    assert_int_equal(error_set(&err, U2I_EINVAL, "limit %d is over %d", 5000, 1000), U2I_EINVAL);
    assert_int_equal(err.code, U2I_EINVAL);
    assert_int_equal(err.offset, -1);
    assert_string_equal(err.msg, "limit 5000 is over 1000");

    assert_int_equal(error_at(&err, U2I_EFILTER, 7, "expected )"), U2I_EFILTER);
    assert_int_equal(err.offset, 7);
    assert_int_equal(error_oom(&err), U2I_ENOMEM);
    assert_string_equal(err.msg, "out of memory");
    error_clear(&err);
    assert_int_equal(err.code, U2I_OK);
    assert_string_equal(err.msg, "");
    assert_int_equal(error_set(NULL, U2I_EIO, "nobody listens"), U2I_EIO);
    error_clear(NULL);
}

/* Every character width at every position of the cut: what is left is valid and as long as can be. */
static void long_message_is_cut_between_characters(void **state) {
    (void)state;
    const char *const characters[] = {"a", "\xC3\xA9", "\xE4\xBD\xA0", "\xF0\x9F\x98\x80"};
    for (size_t c = 0; c < 4; c++) {
        for (int pad = 0; pad < 8; pad++) {
            struct buf text = {0};
            for (int i = 0; i < pad; i++) {
                buf_putc(&text, 'x');
            }
            while (text.len < 400) {
                buf_puts(&text, characters[c]);
            }
            u2i_error_t err;
            error_set(&err, U2I_EINVAL, "%s", text.data);
            const size_t len = strlen(err.msg);
            assert_true(utf8_valid(err.msg, len));
            assert_true(len + strlen(characters[c]) >= sizeof err.msg);
            buf_free(&text);
        }
    }
}

static void message_that_just_fits_is_not_cut(void **state) {
    (void)state;
    u2i_error_t err;
    char text[sizeof err.msg];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    text[sizeof text - 3] = (char)0xC3;
    text[sizeof text - 2] = (char)0xA9;
    error_set(&err, U2I_EINVAL, "%s", text);
    assert_string_equal(err.msg, text);
}

static void message_stays_one_line(void **state) {
    (void)state;
    u2i_error_t err;
    error_set(&err, U2I_EINVAL, "id \"%s\" is bad", "a\nb\tc\x7F");
    assert_string_equal(err.msg, "id \"a?b?c?\" is bad");
}

/* ---- memory ---- */

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    struct arena arena = {0};
    char *p = NULL;
    size_t cap = 0;
    assert_null(alloc_array(SIZE_MAX / 2, 3));
    assert_null(realloc_array(NULL, SIZE_MAX / 2, 3));
    assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 20));
    assert_null(arena_dup(&arena, "x", SIZE_MAX));
    assert_null(str_dup("x", SIZE_MAX));
    assert_null(pages_alloc(SIZE_MAX));
    assert_null(pages_alloc(SIZE_MAX - 100000));
    assert_int_equal(array_reserve(&p, &cap, SIZE_MAX / 2, 4), U2I_ENOMEM);
    assert_null(p);
    assert_int_equal(cap, 0);
    arena_free(&arena);
}

static void empty_pieces_can_be_freed(void **state) {
    (void)state;
    void *p = mem_alloc(0);
    assert_non_null(p);
    mem_free(p);
    p = mem_dup(NULL, 0);
    assert_non_null(p);
    mem_free(p);
    mem_free(NULL);
    char *const s = str_dup(NULL, 0);
    assert_string_equal(s, "");
    mem_free(s);
    pages_free(NULL, 10);
}

static void array_grows_and_keeps_its_elements(void **state) {
    (void)state;
    uint32_t *a = NULL;
    size_t cap = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        assert_int_equal(array_reserve(&a, &cap, i + 1, sizeof *a), U2I_OK);
        a[i] = i * 7;
    }
    for (uint32_t i = 0; i < 10000; i++) {
        assert_int_equal(a[i], i * 7);
    }
    assert_true(cap < 20000);
    mem_free(a);
}

static void pages_are_zero_aligned_and_writable(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 4096, 5000, (2u << 20) - 1, 2u << 20, (2u << 20) + 1, 9u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *const p = pages_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (sizes[i] >= 2u << 20 ? 2u << 20 : 4096), 0);
        for (size_t at = 0; at < sizes[i]; at += 4096) {
            assert_int_equal(p[at], 0);
            p[at] = 1;
        }
        pages_free(p, sizes[i]);
    }
}

static void arena_pieces_are_aligned_and_do_not_overlap(void **state) {
    (void)state;
    struct arena arena = {0};
    struct rng rng;
    rng_seed(&rng, 1);
    enum { PIECES = 3000 };
    static unsigned char *piece[PIECES];
    static size_t bytes[PIECES];
    for (int i = 0; i < PIECES; i++) {
        bytes[i] = rng_below(&rng, 50) == 0 ? rng_below(&rng, 3000000) / 10 : rng_below(&rng, 300);
        piece[i] = arena_alloc(&arena, bytes[i]);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 16, 0);
        memset(piece[i], i & 0xFF, bytes[i]);
    }
    for (int i = 0; i < PIECES; i++) {
        for (size_t at = 0; at < bytes[i]; at++) {
            assert_int_equal(piece[i][at], i & 0xFF);
        }
    }
    assert_string_equal(arena_dup(&arena, "abcdef", 3), "abc");
    arena_free(&arena);
    assert_null(arena.top);
    arena_free(&arena);
}

static void buffer_collects_bytes_and_formats(void **state) {
    (void)state;
    struct buf b = {0};
    buf_put(&b, "", 0);
    assert_string_equal(b.data, "");
    buf_puts(&b, "a");
    buf_putc(&b, 'b');
    buf_printf(&b, "%05d|%s", 42, "c");
    assert_string_equal(b.data, "ab00042|c");
    buf_printf(&b, "%*s", 5000, "end");
    assert_int_equal(b.len, 9 + 5000);
    assert_string_equal(b.data + b.len - 4, " end");
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    assert_true(b.cap > 5000);
    buf_free(&b);
    assert_null(b.data);
}

static void buffer_error_sticks_until_reset(void **state) {
    (void)state;
    struct buf b = {0};
    buf_puts(&b, "kept");
    buf_put(&b, "x", SIZE_MAX - 2);
    assert_true(b.failed);
    buf_puts(&b, "ignored");
    assert_string_equal(b.data, "kept");
    buf_reset(&b);
    buf_puts(&b, "again");
    assert_false(b.failed);
    assert_string_equal(b.data, "again");
    buf_free(&b);
}

/* ---- hash and random numbers ---- */

/* Stored vectors depend on these values: this test may never be changed, only the code repaired. */
static void hash_of_given_bytes_never_changes(void **state) {
    (void)state;
    assert_int_equal(hash_mix(1), UINT64_C(0x5692161D100B05E5));
    assert_int_equal(hash_bytes("", 0, 0), UINT64_C(0x48218226FF3CD4BF));
    assert_int_equal(hash_bytes("a", 1, 0), UINT64_C(0x980A8E4AED6E971A));
    assert_int_equal(hash_bytes("recommend", 9, 0), UINT64_C(0x9D415499D748D61C));
    assert_int_equal(hash_bytes("recommend", 9, 7), UINT64_C(0xB09912568BE2ECDB));
}

static void hash_flips_half_the_bits(void **state) {
    (void)state;
    char text[24];
    for (size_t n = 1; n <= sizeof text; n++) {
        unsigned flipped = 0;
        memset(text, 'q', sizeof text);
        const uint64_t before = hash_bytes(text, n, 3);
        for (size_t bit = 0; bit < n * 8; bit++) {
            text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
            flipped += (unsigned)__builtin_popcountll(before ^ hash_bytes(text, n, 3));
            text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
        }
        const double share = flipped / (double)(n * 8 * 64);
        assert_true(share > 0.42 && share < 0.58);
    }
}

static void hash_tells_lengths_apart(void **state) {
    (void)state;
    const char zeros[32] = {0};
    for (size_t a = 0; a < sizeof zeros; a++) {
        for (size_t b = 0; b < a; b++) {
            assert_true(hash_bytes(zeros, a, 0) != hash_bytes(zeros, b, 0));
        }
    }
}

static void random_numbers_repeat_and_are_even(void **state) {
    (void)state;
    struct rng a;
    struct rng b;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    uint32_t seen[10] = {0};
    double sum = 0;
    double square = 0;
    for (int i = 0; i < 100000; i++) {
        const uint32_t x = rng_below(&a, 10);
        assert_int_equal(x, rng_below(&b, 10));
        seen[x]++;
        const double unit = rng_unit(&a);
        assert_true(unit >= 0 && unit < 1);
        const double normal = rng_normal(&a);
        sum += normal;
        square += normal * normal;
        (void)rng_unit(&b);
        (void)rng_normal(&b);
    }
    for (int i = 0; i < 10; i++) {
        assert_in_range(seen[i], 9500, 10500);
    }
    assert_true(fabs(sum / 100000) < 0.02 && fabs(square / 100000 - 1) < 0.03);
    assert_int_equal(rng_below(&a, 1), 0);
}

/* ---- UTF-8 ---- */

static size_t naive_lead_length(unsigned char lead) {
    return lead < 0x80   ? 1
           : lead < 0xC2 ? 0
           : lead < 0xE0 ? 2
           : lead < 0xF0 ? 3
           : lead < 0xF5 ? 4
                         : 0;
}

/* The standard's table 3-7 (well-formed byte sequences), written out. */
static size_t naive_length(const unsigned char *s, size_t n) {
    const unsigned char c = s[0];
    const unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    const size_t len = naive_lead_length(c);
    if (len > n || (len > 1 && (s[1] < low || s[1] > high))) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if (s[i] < 0x80 || s[i] > 0xBF) {
            return 0;
        }
    }
    return len;
}

static void utf8_follows_the_standard(void **state) {
    (void)state;
    const unsigned char third[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0};
    for (unsigned lead = 0; lead < 256; lead++) {
        for (unsigned second = 0; second < 256; second++) {
            for (size_t i = 0; i < 25; i++) {
                const unsigned char s[4] = {(unsigned char)lead, (unsigned char)second,
                                            third[i / 5], third[i % 5]};
                for (size_t n = 1; n <= 4; n++) {
                    int32_t codepoint = -1;
                    assert_int_equal(utf8_next((const char *)s, n, &codepoint), naive_length(s, n));
                }
            }
        }
    }
}

static void utf8_text_is_checked_to_its_end(void **state) {
    (void)state;
    int32_t codepoint = 0;
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid("plain ascii, long enough", 24));
    assert_true(utf8_valid("na\xC3\xAFve \xE4\xBD\xA0\xE5\xA5\xBD", 13));
    assert_false(utf8_valid("plain ascii, long enoug\xC3", 24));
    assert_false(utf8_valid("12345678\xED\xA0\x80", 11));
    assert_int_equal(utf8_next("\xE4\xBD\xA0", 3, &codepoint), 3);
    assert_int_equal(codepoint, 0x4F60);
    assert_int_equal(utf8_next("\0x", 2, &codepoint), 1);
    assert_int_equal(codepoint, 0);
}

static void utf8_prefix_keeps_whole_characters(void **state) {
    (void)state;
    const char *const s = "a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80";
    const size_t want[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    for (size_t max = 0; max < 12; max++) {
        assert_int_equal(utf8_prefix(s, 10, max), want[max]);
    }
}

/* ---- log and clock ---- */

static void log_keep(void *ctx, int level, const char *line) {
    snprintf(ctx, 64, "%d %s", level, line);
}

static void log_line_reaches_its_function(void **state) {
    (void)state;
    char seen[64] = "";
    const struct log to_test = {log_keep, seen};
    const struct log silent = {0};
    log_line(&silent, U2I_LOG_WARN, "nothing %d", 1);
    log_line(NULL, U2I_LOG_WARN, "nothing %d", 1);
    assert_string_equal(seen, "");
    log_line(&to_test, U2I_LOG_INFO, "two\nlines %d", 7);
    assert_string_equal(seen, "2 two lines 7");
}

static int64_t clock_fixed_ticks_ns(void *ctx) {
    return *(int64_t *)ctx;
}

static void deadline_passes_when_its_clock_says_so(void **state) {
    (void)state;
    int64_t now_ns = 10;
    const struct clock clock = {NULL, clock_fixed_ticks_ns, &now_ns};
    const struct deadline never = {&clock, 0};
    const struct deadline at_20 = {&clock, 20};
    assert_false(deadline_passed(NULL));
    assert_false(deadline_passed(&never));
    assert_false(deadline_passed(&at_20));
    now_ns = 21;
    assert_true(deadline_passed(&at_20));
    const int64_t before = clock_ticks_ns(clock_system());
    assert_true(clock_ticks_ns(clock_system()) >= before);
    assert_true(clock_now_ms(clock_system()) > INT64_C(1600000000000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_carries_code_offset_and_message),
        cmocka_unit_test(long_message_is_cut_between_characters),
        cmocka_unit_test(message_that_just_fits_is_not_cut),
        cmocka_unit_test(message_stays_one_line),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(empty_pieces_can_be_freed),
        cmocka_unit_test(array_grows_and_keeps_its_elements),
        cmocka_unit_test(pages_are_zero_aligned_and_writable),
        cmocka_unit_test(arena_pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(buffer_collects_bytes_and_formats),
        cmocka_unit_test(buffer_error_sticks_until_reset),
        cmocka_unit_test(hash_of_given_bytes_never_changes),
        cmocka_unit_test(hash_flips_half_the_bits),
        cmocka_unit_test(hash_tells_lengths_apart),
        cmocka_unit_test(random_numbers_repeat_and_are_even),
        cmocka_unit_test(utf8_follows_the_standard),
        cmocka_unit_test(utf8_text_is_checked_to_its_end),
        cmocka_unit_test(utf8_prefix_keeps_whole_characters),
        cmocka_unit_test(log_line_reaches_its_function),
        cmocka_unit_test(deadline_passes_when_its_clock_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
