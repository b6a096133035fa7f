/* What the files of the WordPiece tokenizer share: words of a text (wordpiece_text.c), and the making
 * of a vocabulary from tokens wherever they come from (wordpiece.c). */
#ifndef U2I_EMBED_WORDPIECE_INTERNAL_H
#define U2I_EMBED_WORDPIECE_INTERNAL_H

#include "embed/wordpiece.h"

#define WORDPIECE_FULL 1 /* from a wordpiece_word_fn: enough, without a fault */

/* A word of 1 .. WORDPIECE_CHARS_MAX characters, or of more: n = 0. Other values than U2I_OK stop. */
typedef int (*wordpiece_word_fn)(void *ctx, const char *word, size_t n);

struct wordpiece_sink {
    wordpiece_word_fn fn;
    void *ctx;
};

/* Gives the normalised words of s, which is valid UTF-8, in order. Returns U2I_OK or what fn did. */
int wordpiece_words(const char *s, size_t n, bool lower_case, const struct wordpiece_sink *sink);

/* Bytes that need not end with NUL. */
struct wordpiece_token {
    const char *s;
    size_t n;
};

/* The tokens of ids 0 .. n - 1. `place` and `base` are how messages name one: "line", 1. */
struct wordpiece_list {
    const struct wordpiece_token *tokens;
    uint32_t n, base;
    const char *place;
};

/* Copies the tokens. U2I_EEMBED, U2I_ENOMEM. */
int wordpiece_build(const struct wordpiece_list *list, const struct wordpiece_options *opt,
                    struct wordpiece **out, u2i_error_t *err);

/* The id of one of the five special tokens ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") as it may
 * stand in a text, or UINT32_MAX: no such name, or it is not in the vocabulary. */
uint32_t wordpiece_special(const struct wordpiece *w, const char *name);
/* From now on only those in texts whose bit is set (in the order above) are special. */
void wordpiece_keep_special(struct wordpiece *w, uint32_t bits);
/* Its bit for the above, 0 if the name is not one of the five. */
uint32_t wordpiece_special_bit(const char *name);

#endif
