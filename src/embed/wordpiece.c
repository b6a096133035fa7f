/* WordPiece: the vocabulary, and the pieces of a word.
 *
 * A word is cut greedily: the longest token that it starts with, then the longest of what is left among
 * those that continue a word ("##ing"), and so on; if nothing fits, the whole word is [UNK].
 *
 *  1. The vocabulary is one hash table over bytes (open addressing, half full at most). A token "##ing"
 *     is in it as "ing" with another start of the hash, so that a word is looked up where it lies.
 *  2. The hash goes byte by byte (Fowler, Noll and Vo's step, then hash_mix()): one pass over a word
 *     has the hashes of all its beginnings. hash_bytes() would start anew for each length.
 *  3. The work is bounded whatever the text. A word has at most 100 characters, a piece at most the
 *     bytes of the longest token L: at most 100 passes over L bytes with a look-up for each character.
 *     With BERT's vocabularies, where L is 18, that is 18 look-ups a character at worst; with the
 *     longest tokens that we take, 100. Look-ups compare a 32-bit tag before bytes.
 *     Measured with bench_tokenizer on one core of an EPYC: 3.8 million English titles of 30 bytes a
 *     second, 113 MB/s; the slowest text found, words of 99 letters like "qzxqzx", 8 MB/s.
 *  4. A vocabulary comes with a model that the owner chose: it is checked, but keys made to collide
 *     would only make it slow.
 *
 * What is not here: text to words (wordpiece_text.c), tokenizer.json (wordpiece_json.c). */
#include "embed/wordpiece_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/utf8.h"
#include <assert.h>
#include <string.h>

#define WORDPIECE_FNV_START UINT64_C(0xcbf29ce484222325)
#define WORDPIECE_FNV_PRIME UINT64_C(0x100000001b3)
#define WORDPIECE_NONE      UINT32_MAX

enum { WORDPIECE_PAD, WORDPIECE_UNK, WORDPIECE_CLS, WORDPIECE_SEP, WORDPIECE_MASK };
#define WORDPIECE_SPECIALS 5

static const char *const wordpiece_names[WORDPIECE_SPECIALS] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]",
                                                                "[MASK]"};

struct wordpiece_slot {
    uint32_t tag;  /* the upper half of the hash */
    uint32_t next; /* id + 1; 0 = free */
};

/* What is looked up: bytes, and whether they continue a word. */
struct wordpiece_key {
    const char *s;
    size_t n;
    bool inside;
};

struct wordpiece {
    char *bytes;
    uint32_t *starts; /* n + 1 offsets into bytes */
    struct wordpiece_slot *slots;
    uint32_t n, mask; /* mask + 1 slots */
    size_t longest;   /* bytes of the longest key */
    uint32_t special[WORDPIECE_SPECIALS];
    uint32_t in_text; /* a bit for each that a text may have */
    bool lower_case;
    bool special_in_text;
};

/* ---- Look-up -------------------------------------------------------------------------------- */

static uint64_t wordpiece_hash_start(bool inside) {
    return inside ? ~WORDPIECE_FNV_START : WORDPIECE_FNV_START;
}

static uint64_t wordpiece_hash_step(uint64_t h, char c) {
    return (h ^ (unsigned char)c) * WORDPIECE_FNV_PRIME;
}

static uint64_t wordpiece_hash(const struct wordpiece_key *key) {
    uint64_t h = wordpiece_hash_start(key->inside);
    for (size_t i = 0; i < key->n; i++) {
        h = wordpiece_hash_step(h, key->s[i]);
    }
    return h;
}

/* "##ing" is the key "ing" inside a word; "##" alone is no key of that kind, nothing is empty. */
static struct wordpiece_key wordpiece_key_of(const char *s, size_t n) {
    const bool inside = n > 2 && s[0] == '#' && s[1] == '#';
    return (struct wordpiece_key){inside ? s + 2 : s, inside ? n - 2 : n, inside};
}

static bool wordpiece_is(const struct wordpiece *w, uint32_t id, const struct wordpiece_key *key) {
    const char *const s = w->bytes + w->starts[id];
    const struct wordpiece_key own = wordpiece_key_of(s, w->starts[id + 1] - w->starts[id]);
    return own.inside == key->inside && own.n == key->n && memcmp(own.s, key->s, key->n) == 0;
}

/* The slot of a key whose bytes have hash h, or the free one where it belongs. */
static uint32_t wordpiece_find_slot(const struct wordpiece *w, const struct wordpiece_key *key,
                                    uint64_t h) {
    const uint64_t mixed = hash_mix(h);
    const uint32_t tag = (uint32_t)(mixed >> 32);
    uint32_t at = (uint32_t)mixed & w->mask;
    for (; w->slots[at].next != 0; at = (at + 1) & w->mask) {
        if (w->slots[at].tag == tag && wordpiece_is(w, w->slots[at].next - 1, key)) {
            break;
        }
    }
    return at;
}

static uint32_t wordpiece_find_id(const struct wordpiece *w, const struct wordpiece_key *key,
                                  uint64_t h) {
    return w->slots[wordpiece_find_slot(w, key, h)].next - 1; /* WORDPIECE_NONE if it is free */
}

uint32_t wordpiece_special_bit(const char *name) {
    for (uint32_t i = 0; i < WORDPIECE_SPECIALS; i++) {
        if (strcmp(name, wordpiece_names[i]) == 0) {
            return 1u << i;
        }
    }
    return 0;
}

uint32_t wordpiece_special(const struct wordpiece *w, const char *name) {
    for (uint32_t i = 0; i < WORDPIECE_SPECIALS; i++) {
        if (strcmp(name, wordpiece_names[i]) == 0) {
            return w->special[i];
        }
    }
    return WORDPIECE_NONE;
}

void wordpiece_keep_special(struct wordpiece *w, uint32_t bits) {
    w->in_text &= bits;
}

void wordpiece_special_in_text(struct wordpiece *w, bool special) {
    w->special_in_text = special;
}

/* ---- Making --------------------------------------------------------------------------------- */

static int wordpiece_refuse(const struct wordpiece_list *list, uint32_t i, const char *what,
                            u2i_error_t *err) {
    return error_set(err, U2I_EEMBED, "vocabulary: %s %u: %s", list->place, i + list->base, what);
}

static int wordpiece_check_tokens(const struct wordpiece_list *list, size_t *bytes,
                                  u2i_error_t *err) {
    *bytes = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        const struct wordpiece_token *const token = &list->tokens[i];
        if (token->n > WORDPIECE_TOKEN_MAX_BYTES) {
            return error_set(err, U2I_EEMBED,
                             "vocabulary: %s %u: a token of %zu bytes, %d are allowed", list->place,
                             i + list->base, token->n, WORDPIECE_TOKEN_MAX_BYTES);
        }
        if (!utf8_valid(token->s, token->n)) {
            return wordpiece_refuse(list, i, "not UTF-8", err);
        }
        *bytes += token->n;
    }
    return U2I_OK;
}

static int wordpiece_reserve(struct wordpiece *w, uint32_t n, size_t bytes, u2i_error_t *err) {
    uint32_t slots = 16;
    while (slots < 2 * n) {
        slots *= 2;
    }
    w->mask = slots - 1;
    w->bytes = mem_alloc(bytes);
    w->starts = alloc_array((size_t)n + 1, sizeof *w->starts);
    w->slots = mem_zalloc(slots * sizeof *w->slots);
    const bool ok = w->bytes != NULL && w->starts != NULL && w->slots != NULL;
    return ok ? U2I_OK : error_oom(err);
}

static int wordpiece_add(struct wordpiece *w, const struct wordpiece_list *list, uint32_t i,
                         u2i_error_t *err) {
    const struct wordpiece_token *const token = &list->tokens[i];
    const uint32_t start = w->starts[i];
    memcpy(w->bytes + start, token->s, token->n);
    w->starts[i + 1] = start + (uint32_t)token->n;
    const struct wordpiece_key key = wordpiece_key_of(w->bytes + start, token->n);
    const uint64_t h = wordpiece_hash(&key);
    struct wordpiece_slot *const slot = &w->slots[wordpiece_find_slot(w, &key, h)];
    if (slot->next != 0) {
        return error_set(err, U2I_EEMBED, "vocabulary: %s %u: the token of %s %u again, %.*s",
                         list->place, i + list->base, list->place, slot->next - 1 + list->base,
                         (int)token->n, token->s);
    }
    *slot = (struct wordpiece_slot){(uint32_t)(hash_mix(h) >> 32), i + 1};
    w->n = i + 1;
    w->longest = key.n > w->longest ? key.n : w->longest;
    return U2I_OK;
}

/* Three of the five have to be there. */
static int wordpiece_find_special(struct wordpiece *w, u2i_error_t *err) {
    for (uint32_t i = 0; i < WORDPIECE_SPECIALS; i++) {
        const struct wordpiece_key key =
            wordpiece_key_of(wordpiece_names[i], strlen(wordpiece_names[i]));
        w->special[i] = wordpiece_find_id(w, &key, wordpiece_hash(&key));
        if (w->special[i] != WORDPIECE_NONE) {
            w->in_text |= 1u << i;
        } else if (i != WORDPIECE_PAD && i != WORDPIECE_MASK) {
            return error_set(err, U2I_EEMBED, "vocabulary: none of its %u tokens is %s", w->n,
                             wordpiece_names[i]);
        }
    }
    return U2I_OK;
}

static int wordpiece_fill(struct wordpiece *w, const struct wordpiece_list *list,
                          u2i_error_t *err) {
    size_t bytes;
    U2I_TRY(wordpiece_check_tokens(list, &bytes, err));
    U2I_TRY(wordpiece_reserve(w, list->n, bytes, err));
    w->starts[0] = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        U2I_TRY(wordpiece_add(w, list, i, err));
    }
    return wordpiece_find_special(w, err);
}

int wordpiece_build(const struct wordpiece_list *list, const struct wordpiece_options *opt,
                    struct wordpiece **out, u2i_error_t *err) {
    *out = NULL;
    assert(list->n <= WORDPIECE_TOKENS_MAX);
    struct wordpiece *const w = mem_zalloc(sizeof *w);
    if (w == NULL) {
        return error_oom(err);
    }
    w->lower_case = opt->lower_case;
    w->special_in_text = opt->special_in_text;
    const int rc = wordpiece_fill(w, list, err);
    if (rc != U2I_OK) {
        wordpiece_free(w);
        return rc;
    }
    *out = w;
    return U2I_OK;
}

/* A line without what its end is made of: the reference, too, takes off white space. */
static struct wordpiece_token wordpiece_line(const char *s, size_t n) {
    while (n > 0 && memchr(" \t\r\v\f", s[n - 1], 5) != NULL) {
        n--;
    }
    return (struct wordpiece_token){s, n};
}

/* The lines of a text; the last one may lack its newline. */
static int wordpiece_split(const char *s, size_t n, struct wordpiece_token **tokens,
                           uint32_t *count, u2i_error_t *err) {
    size_t cap = 0;
    *count = 0;
    for (size_t at = 0; at < n;) {
        const char *const end = memchr(s + at, '\n', n - at);
        const size_t length = end != NULL ? (size_t)(end - s) - at : n - at;
        if (*count == WORDPIECE_TOKENS_MAX) {
            return error_set(err, U2I_EEMBED, "vocabulary: line %u: more than %u tokens",
                             *count + 1, WORDPIECE_TOKENS_MAX);
        }
        if (array_reserve(tokens, &cap, *count + 1u, sizeof **tokens) != U2I_OK) {
            return error_oom(err);
        }
        (*tokens)[(*count)++] = wordpiece_line(s + at, length);
        at += length + 1;
    }
    return U2I_OK;
}

int wordpiece_new(const void *vocab, size_t n, const struct wordpiece_options *opt,
                  struct wordpiece **out, u2i_error_t *err) {
    struct wordpiece_token *tokens = NULL;
    uint32_t count;
    *out = NULL;
    int rc = wordpiece_split(vocab, n, &tokens, &count, err);
    if (rc == U2I_OK) {
        const struct wordpiece_list list = {
            .tokens = tokens, .n = count, .base = 1, .place = "line"};
        rc = wordpiece_build(&list, opt, out, err);
    }
    mem_free(tokens);
    return rc;
}

void wordpiece_free(struct wordpiece *w) {
    if (w != NULL) {
        mem_free(w->bytes);
        mem_free(w->starts);
        mem_free(w->slots);
        mem_free(w);
    }
}

uint32_t wordpiece_size(const struct wordpiece *w) {
    return w->n;
}

/* ---- Words to ids --------------------------------------------------------------------------- */

struct wordpiece_run {
    const struct wordpiece *w;
    struct wordpiece_ids *ids;
    size_t end; /* ids->n may grow to that */
};

static int wordpiece_append(struct wordpiece_run *r, const uint32_t *list, size_t n) {
    struct wordpiece_ids *const ids = r->ids;
    const size_t room = r->end - ids->n;
    const size_t taken = n < room ? n : room;
    if (ids->n + taken > ids->cap) {
        U2I_TRY(array_reserve(&ids->list, &ids->cap, ids->n + taken, sizeof *ids->list));
    }
    for (size_t i = 0; i < taken; i++) { /* mostly one */
        ids->list[ids->n++] = list[i];
    }
    return taken < n ? WORDPIECE_FULL : U2I_OK;
}

/* The longest token that s[0..n) starts with; *length gets its bytes. */
static uint32_t wordpiece_match(const struct wordpiece *w, const struct wordpiece_key *all,
                                size_t *length) {
    uint64_t hashes[WORDPIECE_TOKEN_MAX_BYTES + 1];
    const size_t n = all->n < w->longest ? all->n : w->longest;
    struct wordpiece_key key = *all;
    hashes[0] = wordpiece_hash_start(all->inside);
    for (size_t i = 0; i < n; i++) {
        hashes[i + 1] = wordpiece_hash_step(hashes[i], all->s[i]);
    }
    for (key.n = n; key.n > 0; key.n--) {
        if (key.n < all->n && ((unsigned char)all->s[key.n] & 0xC0) == 0x80) {
            continue; /* it would cut a character */
        }
        const uint32_t id = wordpiece_find_id(w, &key, hashes[key.n]);
        if (id != WORDPIECE_NONE) {
            *length = key.n;
            return id;
        }
    }
    return WORDPIECE_NONE;
}

static int wordpiece_on_word(void *ctx, const char *word, size_t n) {
    struct wordpiece_run *const r = ctx;
    uint32_t pieces[WORDPIECE_CHARS_MAX];
    size_t count = 0;
    for (size_t at = 0; at < n;) {
        const struct wordpiece_key left = {word + at, n - at, at > 0};
        size_t length = 0;
        const uint32_t id = wordpiece_match(r->w, &left, &length);
        if (id == WORDPIECE_NONE) {
            count = 0;
            break;
        }
        assert(count < WORDPIECE_CHARS_MAX);
        pieces[count++] = id;
        at += length;
    }
    if (count == 0) { /* also a word that was too long */
        pieces[count++] = r->w->special[WORDPIECE_UNK];
    }
    return wordpiece_append(r, pieces, count);
}

/* ---- Texts to ids --------------------------------------------------------------------------- */

/* The special token that s starts with, or WORDPIECE_SPECIALS. None is the start of another. */
static uint32_t wordpiece_special_at(const struct wordpiece *w, const char *s, size_t n) {
    uint32_t i = 0;
    for (; i < WORDPIECE_SPECIALS; i++) {
        const size_t length = strlen(wordpiece_names[i]);
        if ((w->in_text >> i & 1) != 0 && length <= n &&
            memcmp(s, wordpiece_names[i], length) == 0) {
            break;
        }
    }
    return i;
}

/* Where the first special token of s[at..n) is, n if there is none. */
static size_t wordpiece_next_special(const struct wordpiece *w, const char *s, size_t n,
                                     size_t at) {
    while (w->special_in_text && at < n) {
        const char *const bracket = memchr(s + at, '[', n - at);
        if (bracket == NULL) {
            break;
        }
        at = (size_t)(bracket - s);
        if (wordpiece_special_at(w, bracket, n - at) < WORDPIECE_SPECIALS) {
            return at;
        }
        at++;
    }
    return n;
}

/* The parts between special tokens are texts of their own: words and marks end there. */
static int wordpiece_run_text(struct wordpiece_run *r, const char *s, size_t n) {
    const struct wordpiece_sink sink = {wordpiece_on_word, r};
    for (size_t at = 0; at < n;) {
        const size_t end = wordpiece_next_special(r->w, s, n, at);
        U2I_TRY(wordpiece_words(s + at, end - at, r->w->lower_case, &sink));
        at = end;
        if (at < n) {
            const uint32_t i = wordpiece_special_at(r->w, s + at, n - at);
            U2I_TRY(wordpiece_append(r, &r->w->special[i], 1));
            at += strlen(wordpiece_names[i]);
        }
    }
    return U2I_OK;
}

static int wordpiece_check_text(const char *s, size_t n, u2i_error_t *err) {
    if (utf8_valid(s, n)) {
        return U2I_OK;
    }
    size_t at = 0;
    int32_t c;
    for (size_t length = 1; at < n && length > 0; at += length) {
        length = utf8_next(s + at, n - at, &c);
    }
    return error_at(err, U2I_EEMBED, at < INT32_MAX ? (int32_t)at : INT32_MAX,
                    "the text is not UTF-8 at byte %zu", at);
}

int wordpiece_encode(const struct wordpiece *w, const char *text, size_t n, size_t max,
                     struct wordpiece_ids *ids, u2i_error_t *err) {
    const size_t before = ids->n;
    assert(max >= 2);
    U2I_TRY(wordpiece_check_text(text, n, err));
    struct wordpiece_run r = {w, ids, max > SIZE_MAX - before ? SIZE_MAX - 1 : before + max - 1};
    int rc = wordpiece_append(&r, &w->special[WORDPIECE_CLS], 1);
    if (rc == U2I_OK) {
        rc = wordpiece_run_text(&r, text, n);
    }
    if (rc == U2I_OK || rc == WORDPIECE_FULL) {
        r.end++;
        rc = wordpiece_append(&r, &w->special[WORDPIECE_SEP], 1);
    }
    if (rc != U2I_OK) {
        ids->n = before;
        return error_oom(err);
    }
    return U2I_OK;
}
