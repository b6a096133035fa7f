/* Text to words, for any language: private to embed/. Thread-safe: no state outlives a call. */
#ifndef U2I_EMBED_EMBED_WORDS_H
#define U2I_EMBED_EMBED_WORDS_H

#include <stddef.h>
#include <stdint.h>

#define EMBED_WORD_MAX 64 /* characters; a longer run of letters comes in pieces */

enum embed_word_kind {
    EMBED_WORD = 1,  /* letters, digits and their marks, folded to lower case without accents */
    EMBED_DENSE = 2, /* characters of a script that writes no spaces or carries much in a character:
                        Han, kana, bopomofo, Hangul */
};

/* `word` has n >= 1 characters, which are code points after folding; the two highest bits of a kana
 * mark voiced sounds (see embed_words.c). */
typedef void (*embed_word_fn)(void *ctx, enum embed_word_kind kind, const uint32_t *word, size_t n);

/* Calls fn for each word of s[0..n) in order. Returns the offset of the first byte that is not UTF-8,
 * or n; words before the fault have been given to fn by then. */
size_t embed_words(const char *s, size_t n, embed_word_fn fn, void *ctx);

#endif
