/* Text to words: what two spellings of one word have in common.
 *
 * Each character is decomposed (NFKD) and case-folded on its own by utf8proc, without allocation, and
 * accents are dropped: "Amélie", "AMELIE" and its full-width form are one word. Runs of letters,
 * digits and marks are words; everything else separates. Four decisions:
 *  1. Han, kana, bopomofo and Hangul make runs of their own ("iPhone手机" is two words), since there
 *     the caller wants characters and pairs of them, not words.
 *  2. Accents go only where they are an optional refinement (Latin, Greek, Cyrillic, Hebrew and
 *     Arabic points). Marks of later blocks, such as the vowel signs of Devanagari or Thai, are as
 *     good as letters and stay.
 *  3. Hangul stays composed: a syllable is the unit, and conjoining jamo are put together as in the
 *     Unicode Standard, section 3.12.
 *  4. The voicing marks of kana (U+3099, U+309A) are not accents: か and が are different letters.
 *     They are kept as the bits 30 and 31 of the kana before them, which needs no table.
 *
 * Canonical order of marks is not restored: kept marks of one letter come in the order of the text. */
#include "embed/embed_words.h"
#include "base/utf8.h"
#include <stdbool.h>
#include <utf8proc.h>

#define WORDS_VOICED      (1u << 30)
#define WORDS_HALF_VOICED (1u << 31)

struct words_run {
    uint32_t chars[EMBED_WORD_MAX];
    size_t n;
    enum embed_word_kind kind;
    embed_word_fn fn;
    void *ctx;
};

static void words_flush(struct words_run *r) {
    if (r->n > 0) {
        r->fn(r->ctx, r->kind, r->chars, r->n);
        r->n = 0;
    }
}

static void words_push(struct words_run *r, enum embed_word_kind kind, uint32_t c) {
    if (r->n == EMBED_WORD_MAX || (r->n > 0 && r->kind != kind)) {
        words_flush(r);
    }
    r->kind = kind;
    r->chars[r->n++] = c;
}

static bool words_in(uint32_t c, uint32_t first, uint32_t last) {
    return c - first <= last - first;
}

/* Han, kana, bopomofo and Hangul, after decomposition and among letters and numbers only. */
static bool words_dense(uint32_t c) {
    return words_in(c, 0x3400, 0x9fff) || words_in(c, 0xac00, 0xd7ff) ||
           words_in(c, 0x3005, 0x312f) || words_in(c, 0x2e80, 0x2fdf) ||
           words_in(c, 0x31a0, 0x31ff) || words_in(c, 0x1100, 0x11ff) ||
           words_in(c, 0xa960, 0xa97f) || words_in(c, 0xf900, 0xfaff) ||
           words_in(c, 0x20000, 0x3fffd);
}

/* Marks whose absence is a common spelling of the same word. */
static bool words_accent(uint32_t c) {
    return c < 0x0900 || words_in(c, 0x1ab0, 0x1aff) || words_in(c, 0x1dc0, 0x1dff) ||
           words_in(c, 0x20d0, 0x20ff) || words_in(c, 0xfe20, 0xfe2f) ||
           words_in(c, 0xfe00, 0xfe0f);
}

/* Puts a conjoining jamo onto the syllable that it completes; false if it completes none. */
static bool words_join_jamo(struct words_run *r, uint32_t c) {
    if (r->n == 0 || r->kind != EMBED_DENSE) {
        return false;
    }
    uint32_t *last = &r->chars[r->n - 1];
    if (words_in(c, 0x1161, 0x1175) && words_in(*last, 0x1100, 0x1112)) {
        *last = 0xac00 + ((*last - 0x1100) * 21 + (c - 0x1161)) * 28;
        return true;
    }
    if (words_in(c, 0x11a8, 0x11c2) && words_in(*last, 0xac00, 0xd7a3) &&
        (*last - 0xac00) % 28 == 0) {
        *last += c - 0x11a7;
        return true;
    }
    return false;
}

static void words_mark(struct words_run *r, uint32_t c) {
    if (r->n == 0 || words_accent(c)) {
        return;
    }
    if (c == 0x3099 || c == 0x309a) {
        r->chars[r->n - 1] |= c == 0x3099 ? WORDS_VOICED : WORDS_HALF_VOICED;
        return;
    }
    words_push(r, r->kind, c);
}

/* One character that has been decomposed and folded. */
static void words_take(struct words_run *r, uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        if (!words_dense(c)) {
            words_push(r, EMBED_WORD, c);
        } else if (!words_join_jamo(r, c)) {
            words_push(r, EMBED_DENSE, c);
        }
        break;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        words_mark(r, c);
        break;
    default:
        words_flush(r);
    }
}

static void words_ascii(struct words_run *r, uint32_t c) {
    const uint32_t lower = c | 0x20;
    if (words_in(lower, 'a', 'z')) {
        words_push(r, EMBED_WORD, lower);
    } else if (words_in(c, '0', '9')) {
        words_push(r, EMBED_WORD, c);
    } else {
        words_flush(r);
    }
}

static void words_decompose(struct words_run *r, int32_t c) {
    utf8proc_int32_t parts[32]; /* the longest decomposition of Unicode has 18 */
    const utf8proc_option_t how = (utf8proc_option_t)(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT |
                                                      UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
    const utf8proc_ssize_t n = utf8proc_decompose_char(c, parts, 32, how, NULL);
    for (utf8proc_ssize_t i = 0; i < n && i < 32; i++) {
        words_take(r, (uint32_t)parts[i]);
    }
}

size_t embed_words(const char *s, size_t n, embed_word_fn fn, void *ctx) {
    struct words_run r = {.n = 0, .fn = fn, .ctx = ctx};
    size_t at = 0;
    while (at < n) {
        int32_t c = (unsigned char)s[at];
        size_t length = 1;
        if (c < 0x80) {
            words_ascii(&r, (uint32_t)c);
        } else {
            length = utf8_next(s + at, n - at, &c);
            if (length == 0) {
                break;
            }
            if (words_in((uint32_t)c, 0x4e00, 0x9fff) || words_in((uint32_t)c, 0xac00, 0xd7a3)) {
                words_push(&r, EMBED_DENSE,
                           (uint32_t)c); /* what decomposition would take apart, or leave */
            } else {
                words_decompose(&r, c);
            }
        }
        at += length;
    }
    words_flush(&r);
    return at;
}
