/* Text to the words that BERT's vocabulary is asked for.
 *
 * The reference goes over the text six times: controls are dropped and white space becomes a space,
 * CJK characters get spaces around them, NFD, nonspacing marks are dropped, lower case by character,
 * then it is split at spaces and around punctuation. Here each character goes all the way alone, into
 * the word being gathered. That gives the same words because:
 *  1. Only NFD looks at more than one character, to put a run of marks into canonical order. Almost
 *     all marks are dropped next, and dropping does not change the order of the rest. The few that are
 *     kept (wordpiece_order: most are newer than the reference's categories) wait in `marks`, sorted,
 *     until a character of class 0 comes: a starter, or a dropped mark of class 0, which ends a run.
 *  2. Neither spaces nor punctuation nor CJK characters are ever put into order, so a run of marks is
 *     within one word. After 100 of them the word is too long whatever their order: they are only
 *     counted. So the work is linear, and memory is the fixed struct below.
 *  3. Lower case comes after NFD: the one character that becomes two in lower case (U+0130) has been
 *     taken apart before.
 *
 * utf8proc decomposes; which characters are what, and what is lower case, is in our own tables, since
 * the reference's versions of Unicode are frozen and the system's utf8proc is not.
 *
 * Without lower case the reference neither decomposes nor drops marks: characters go in as they are. */
#include "embed/wordpiece_internal.h"

#include "base/error.h"
#include "base/utf8.h"
#include "embed/wordpiece_tables.h"
#include <assert.h>
#include <string.h>
#include <utf8proc.h>

#define WORDPIECE_COUNT(table) (sizeof(table) / sizeof(table)[0])

struct wordpiece_mark {
    uint32_t c;
    int32_t order; /* canonical combining class */
};

struct wordpiece_text {
    struct wordpiece_sink sink;
    bool lower_case;
    uint32_t chars;   /* of the word; over WORDPIECE_CHARS_MAX they are not in `word` */
    uint32_t marks_n; /* likewise */
    size_t n;
    char word[4 * WORDPIECE_CHARS_MAX];
    struct wordpiece_mark marks[WORDPIECE_CHARS_MAX];
};

/* ---- Tables --------------------------------------------------------------------------------- */

/* The value of the range that has c, or 0. */
static int32_t wordpiece_find(const struct wordpiece_range *table, size_t n, uint32_t c) {
    size_t low = 0;
    while (n > 1) { /* the last range whose first is not over c is in low .. low + n - 1, if any */
        const size_t half = n / 2;
        low = table[low + half].first <= c ? low + half : low;
        n -= half;
    }
    const struct wordpiece_range *const r = &table[low];
    const bool within = r->first <= c && c <= r->last;
    return within && (c - r->first) % (uint32_t)r->step == 0 ? r->value : 0;
}

/* Most of all text that is not Latin. */
static bool wordpiece_is_unified(uint32_t c) {
    return c - 0x4e00 <= 0x9fff - 0x4e00;
}

static enum wordpiece_kind wordpiece_kind_of(uint32_t c) {
    if (c < 0x80) {
        return wordpiece_ascii[c];
    }
    if (wordpiece_is_unified(c)) {
        return WORDPIECE_CJK; /* as the table says */
    }
    return (enum wordpiece_kind)wordpiece_find(wordpiece_kinds, WORDPIECE_COUNT(wordpiece_kinds),
                                               c);
}

static uint32_t wordpiece_lower_of(uint32_t c) {
    if (c < 0x80) {
        return c - 'A' <= 'Z' - 'A' ? c + 0x20 : c;
    }
    return c + (uint32_t)wordpiece_find(wordpiece_lower, WORDPIECE_COUNT(wordpiece_lower), c);
}

/* ---- The word being gathered ---------------------------------------------------------------- */

static void wordpiece_push(struct wordpiece_text *t, uint32_t c) {
    if (t->chars++ >= WORDPIECE_CHARS_MAX) {
        t->chars = WORDPIECE_CHARS_MAX + 1;
        return;
    }
    t->n += (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)t->word + t->n);
}

static void wordpiece_flush_marks(struct wordpiece_text *t) {
    const uint32_t n = t->marks_n < WORDPIECE_CHARS_MAX ? t->marks_n : WORDPIECE_CHARS_MAX;
    for (uint32_t i = 0; i < n; i++) {
        wordpiece_push(t, t->marks[i].c);
    }
    if (t->marks_n > n) {
        t->chars = WORDPIECE_CHARS_MAX + 1;
    }
    t->marks_n = 0;
}

/* Behind those of its own class, as canonical ordering is stable. */
static void wordpiece_push_mark(struct wordpiece_text *t, uint32_t c, int32_t order) {
    if (t->marks_n >= WORDPIECE_CHARS_MAX) {
        t->marks_n = WORDPIECE_CHARS_MAX + 1;
        return;
    }
    uint32_t i = t->marks_n++;
    for (; i > 0 && t->marks[i - 1].order > order; i--) {
        t->marks[i] = t->marks[i - 1];
    }
    t->marks[i] = (struct wordpiece_mark){c, order};
}

static int wordpiece_end_word(struct wordpiece_text *t) {
    if (t->marks_n > 0) {
        wordpiece_flush_marks(t);
    }
    const uint32_t chars = t->chars;
    const size_t n = chars > WORDPIECE_CHARS_MAX ? 0 : t->n;
    t->chars = 0;
    t->n = 0;
    return chars == 0 ? U2I_OK : t->sink.fn(t->sink.ctx, t->word, n);
}

/* A word of one character. */
static int wordpiece_lone(struct wordpiece_text *t, uint32_t c) {
    U2I_TRY(wordpiece_end_word(t));
    wordpiece_push(t, c);
    return wordpiece_end_word(t);
}

/* ---- Characters ----------------------------------------------------------------------------- */

/* One character of a decomposition. A mark that is dropped ends a run if its class is 0. */
static int wordpiece_take_part(struct wordpiece_text *t, uint32_t c) {
    if (wordpiece_kind_of(c) == WORDPIECE_MARK) {
        if (utf8proc_get_property((utf8proc_int32_t)c)->combining_class == 0) {
            wordpiece_flush_marks(t);
        }
        return U2I_OK;
    }
    const int32_t order = wordpiece_find(wordpiece_order, WORDPIECE_COUNT(wordpiece_order), c);
    if (order != 0) {
        wordpiece_push_mark(t, c, order);
        return U2I_OK;
    }
    const uint32_t lower = wordpiece_lower_of(c);
    if (wordpiece_kind_of(lower) == WORDPIECE_PUNCT) {
        return wordpiece_lone(t, lower);
    }
    wordpiece_flush_marks(t);
    wordpiece_push(t, lower);
    return U2I_OK;
}

static bool wordpiece_is_decomposed(uint32_t c) {
    return c <= 0xffff ||
           wordpiece_find(wordpiece_decomposed, WORDPIECE_COUNT(wordpiece_decomposed), c) != 0;
}

static int wordpiece_take_parts(struct wordpiece_text *t, uint32_t c) {
    utf8proc_int32_t parts[8] = {(utf8proc_int32_t)c}; /* the longest canonical one has 4 */
    utf8proc_ssize_t n = 1;
    if (wordpiece_is_decomposed(c)) {
        n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 8, UTF8PROC_DECOMPOSE, NULL);
    }
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++) {
        U2I_TRY(wordpiece_take_part(t, (uint32_t)parts[i]));
    }
    return U2I_OK;
}

/* Compatibility ideographs are decomposed, to one character each. */
static int wordpiece_take_cjk(struct wordpiece_text *t, uint32_t c) {
    if (!t->lower_case || wordpiece_is_unified(c)) {
        return wordpiece_lone(t, c);
    }
    U2I_TRY(wordpiece_end_word(t));
    U2I_TRY(wordpiece_take_parts(t, c));
    return wordpiece_end_word(t);
}

/* The six steps for one character of the text. */
static int wordpiece_take(struct wordpiece_text *t, uint32_t c) {
    const enum wordpiece_kind kind = wordpiece_kind_of(c);
    switch (kind) {
    case WORDPIECE_DROP:
        return U2I_OK; /* before NFD: it does not part marks, either */
    case WORDPIECE_SPACE:
        return wordpiece_end_word(t);
    case WORDPIECE_CJK:
        return wordpiece_take_cjk(t, c);
    default:
        if (t->lower_case) {
            return wordpiece_take_parts(t, c);
        }
        if (kind == WORDPIECE_PUNCT) {
            return wordpiece_lone(t, c);
        }
        wordpiece_push(t, c);
        return U2I_OK;
    }
}

/* The letters and digits that s starts with go into the word; returns how many. */
static size_t wordpiece_take_ascii(struct wordpiece_text *t, const char *s, size_t n) {
    size_t i = 0;
    for (; i < n && (unsigned char)s[i] < 0x80; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (wordpiece_ascii[c] != WORDPIECE_LETTER) {
            break;
        }
        if (t->chars >= WORDPIECE_CHARS_MAX) {
            t->chars = WORDPIECE_CHARS_MAX + 1;
            continue;
        }
        t->chars++;
        t->word[t->n++] = (char)(t->lower_case ? wordpiece_lower_of(c) : c);
    }
    return i;
}

int wordpiece_words(const char *s, size_t n, bool lower_case, const struct wordpiece_sink *sink) {
    struct wordpiece_text t;
    t.sink = *sink;
    t.lower_case = lower_case;
    t.chars = t.marks_n = 0;
    t.n = 0;
    for (size_t at = 0; at < n;) {
        if (t.marks_n == 0) {
            at += wordpiece_take_ascii(&t, s + at, n - at);
            if (at == n) {
                break;
            }
        }
        int32_t c = (unsigned char)s[at];
        const size_t length = c < 0x80 ? 1 : utf8_next(s + at, n - at, &c);
        assert(length > 0);
        at += length;
        U2I_TRY(wordpiece_take(&t, (uint32_t)c));
    }
    return wordpiece_end_word(&t);
}
