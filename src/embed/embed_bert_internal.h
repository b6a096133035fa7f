/* What the files of the BERT embedder share: embed_bert_open.c makes one, embed_bert_weights.c gives it its weights,
 * embed_bert.c embeds with them. */
#ifndef U2I_EMBED_EMBED_BERT_INTERNAL_H
#define U2I_EMBED_EMBED_BERT_INTERNAL_H

#include "embed/bert.h"
#include "embed/embed.h"
#include "embed/wordpiece.h"
#include <pthread.h>
#include <stdatomic.h>

struct bert_embedder {
    struct embedder base;
    struct bert_config config;
    enum embed_precision wish;
    bool windows;
    char *query_prefix, *passage_prefix; /* NULL: none */
    char *cache;                         /* folder; NULL: none */
    uint32_t sign;                       /* checksum of the model, also in its name */
    struct safetensors *file;
    struct wordpiece *words;
    pthread_mutex_t packing;
    _Atomic(struct bert *) bert; /* NULL until the first text */
    atomic_bool spoilt;          /* the weights can't be packed: why */
    u2i_error_t why;
};

/* The model, ready to run: the first call makes it so. */
int embed_bert_weights(struct bert_embedder *e, const struct bert **out, u2i_error_t *err);

/* The functions of struct embedder_ops. */
int embed_bert_embed(const struct embedder *base, const struct embed_text *texts, size_t n,
                     float *out, u2i_error_t *err);
void embed_bert_about(const struct embedder *base, struct embed_about *out);

#endif
