/* Text to features: the sparse vector before it is hashed into dense dimensions.
 *
 * A word gives itself and its triples of letters, with the word's ends marked, so that an inflected or
 * misspelt form still shares most of them. A run of a dense script gives its characters and their
 * pairs, since its words have no marked ends. A feature is known by 64 bits of hash only; of these the
 * embedder takes dimensions, signs and frequency bucket. All weights are constants, chosen by
 * measurement (docs/embedding.md); a change of any needs a new embedder name.
 *
 * The triples of a word share one constant weight (GRAM_SHARE), whatever its length: otherwise long
 * words would rule a text. */
#include "embed/embed_features.h"
#include "base/alloc.h"
#include "base/hash.h"
#include "embed/embed_words.h"
#include "u2i.h"

enum { GRAM = 3 };
static const float GRAM_SHARE =
    4.0f; /* of all triples of a word together, squared; the word has 1 */
static const float CHAR_SHARE = 0.25f; /* of one character of a dense script, squared */
static const float PAIR_SHARE = 1.0f;  /* of one pair, squared */

/* Seeds that keep a word, a triple and a pair of the same characters apart. */
enum { HASH_WORD = 1, HASH_GRAM = 2, HASH_DENSE = 3 };
#define WORD_END 0x110000u /* no code point */

static uint64_t features_chain(uint64_t h, uint32_t c) {
    return hash_mix(h ^ c) + c;
}

/* ---- The set ---------------------------------------------------------------------------------- */

static void features_index(struct embed_features *f, uint32_t i) {
    const size_t mask = f->slots_n - 1;
    size_t at = f->list[i].hash & mask;
    while (f->slots[at] != 0) {
        at = (at + 1) & mask;
    }
    f->slots[at] = i + 1;
    f->list[i].slot = (uint32_t)at;
}

/* Doubles the table, which stays at most half full. */
static bool features_grow(struct embed_features *f) {
    const size_t n = f->slots_n == 0 ? 1024 : f->slots_n * 2;
    uint32_t *slots = mem_zalloc(n * sizeof *slots);
    if (slots == NULL || array_reserve(&f->list, &f->cap, n / 2, sizeof *f->list) != U2I_OK) {
        mem_free(slots);
        f->failed = true;
        return false;
    }
    mem_free(f->slots);
    f->slots = slots;
    f->slots_n = n;
    for (size_t i = 0; i < f->n; i++) {
        features_index(f, (uint32_t)i);
    }
    return true;
}

static void features_put(struct embed_features *f, uint64_t hash, float share) {
    if (f->n == f->slots_n / 2 && !features_grow(f)) {
        return;
    }
    const size_t mask = f->slots_n - 1;
    size_t at = hash & mask;
    for (; f->slots[at] != 0; at = (at + 1) & mask) {
        struct embed_feature *known = &f->list[f->slots[at] - 1];
        if (known->hash == hash) {
            known->sum += share;
            return;
        }
    }
    f->list[f->n] = (struct embed_feature){.hash = hash, .sum = share, .slot = (uint32_t)at};
    f->slots[at] = (uint32_t)++f->n;
}

void embed_features_clear(struct embed_features *f) {
    for (size_t i = 0; i < f->n; i++) {
        f->slots[f->list[i].slot] = 0;
    }
    f->n = 0;
    f->failed = false;
}

void embed_features_free(struct embed_features *f) {
    mem_free(f->list);
    mem_free(f->slots);
    *f = (struct embed_features){0};
}

/* ---- Words to features ------------------------------------------------------------------------ */

static void features_word(struct embed_features *f, const uint32_t *word, size_t n) {
    uint64_t whole = HASH_WORD;
    uint32_t ended[EMBED_WORD_MAX + 2];
    ended[0] = ended[n + 1] = WORD_END;
    for (size_t i = 0; i < n; i++) {
        whole = features_chain(whole, word[i]);
        ended[i + 1] = word[i];
    }
    features_put(f, whole, 1.0f);
    const float share = GRAM_SHARE / (float)n; /* n + 2 characters have n triples */
    for (size_t i = 0; i < n; i++) {
        uint64_t h = HASH_GRAM;
        for (size_t k = 0; k < GRAM; k++) {
            h = features_chain(h, ended[i + k]);
        }
        features_put(f, h, share);
    }
}

static void features_dense(struct embed_features *f, const uint32_t *run, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint64_t h = features_chain(HASH_DENSE, run[i]);
        features_put(f, h, CHAR_SHARE);
        if (i + 1 < n) {
            features_put(f, features_chain(h, run[i + 1]), PAIR_SHARE);
        }
    }
}

static void features_take(void *ctx, enum embed_word_kind kind, const uint32_t *word, size_t n) {
    if (kind == EMBED_WORD) {
        features_word(ctx, word, n);
    } else {
        features_dense(ctx, word, n);
    }
}

size_t embed_features_add(struct embed_features *f, const char *s, size_t n) {
    return embed_words(s, n, features_take, f);
}
