/* What a folder with a BERT model is, and whether it works: for people, before it is put to use. Thread-safe: no
 * state. */
#ifndef U2I_EMBED_EMBED_DESCRIBE_H
#define U2I_EMBED_EMBED_DESCRIBE_H

#include "u2i.h"
#include <stdint.h>

struct embed_description {
    char name[64]; /* struct embedder's */
    uint32_t dim, layers, tokens_max, vocab;
    const char *pooling; /* "mean", "cls" */
    char weights[16];    /* the type of the file's values: "F32", "F16", "BF16" */
    char precision
        [8]; /* and parity: as struct embed_about has them, precision left to the machine */
    double parity;
};

/* Reads every weight that is used, and embeds some texts. Errors as embed_bert_open(); U2I_EEMBED
 * too if a weight is not finite, or a text gets no vector. */
int embed_describe(const char *folder, struct embed_description *out, u2i_error_t *err);

#endif
