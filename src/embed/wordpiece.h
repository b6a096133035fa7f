/* The tokenizer of BERT (WordPiece), exactly as Hugging Face's tokenizers 0.22.2: text to the ids that a
 * sentence encoder was trained with. One other id and the vector means something else, so tests compare
 * 4,808 texts of its own answers. Private to embed/. A struct wordpiece is immutable once it is made:
 * any number of threads may read it. */
#ifndef U2I_EMBED_WORDPIECE_H
#define U2I_EMBED_WORDPIECE_H

#include "u2i.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORDPIECE_TOKENS_MAX (1u << 20)
#define WORDPIECE_CHARS_MAX  100 /* of a word after normalisation; a longer one is [UNK] */
/* Of a token: what no word can contain is a sign of another kind of file. */
#define WORDPIECE_TOKEN_MAX_BYTES (4 * WORDPIECE_CHARS_MAX + 2)
#define WORDPIECE_JSON_MAX_DEPTH  16

struct wordpiece;

struct wordpiece_options {
    bool lower_case; /* also strips accents (Mn) */
    bool
        special_in_text; /* a literal "[CLS]" etc. in a text is the special token; else it is text */
};

struct wordpiece_ids {
    uint32_t *list; /* from base/alloc.h: mem_free() */
    size_t n, cap;
};

/* `vocab` is a vocab.txt of n bytes: one token a line, the first has id 0. It is copied. U2I_EEMBED,
 * with the line: no [UNK], [CLS] or [SEP], a token twice, not UTF-8, too long, too many. U2I_ENOMEM. */
int wordpiece_new(const void *vocab, size_t n, const struct wordpiece_options *opt,
                  struct wordpiece **out, u2i_error_t *err);

/* From a tokenizer.json of n bytes. Its truncation and padding do not count; all else must be BERT's:
 * U2I_EEMBED names the field that is not, and its value, or the place where it is no JSON. Special
 * tokens in a text are special if it lists them under added_tokens. U2I_ENOMEM. */
int wordpiece_from_json(const void *json, size_t n, struct wordpiece **out, u2i_error_t *err);

/* Whether special tokens in a text are special: to be called before others see w. Texts of people
 * that are not trusted should have none, whatever the file says. */
void wordpiece_special_in_text(struct wordpiece *w, bool special);

void wordpiece_free(struct wordpiece *w); /* accepts NULL */
uint32_t wordpiece_size(const struct wordpiece *w);

/* Appends the ids of a text of n bytes, [CLS] ... [SEP], to `ids`: at most `max` (>= 2) of them, since
 * what is too long is cut before [SEP]. U2I_EEMBED: not UTF-8, err->offset is the byte. U2I_ENOMEM.
 * After an error ids->n is what it was. */
int wordpiece_encode(const struct wordpiece *w, const char *text, size_t n, size_t max,
                     struct wordpiece_ids *ids, u2i_error_t *err);

#endif
