/* What a folder with a BERT model says of itself: private to embed/. Thread-safe: no state. */
#ifndef U2I_EMBED_BERT_CONFIG_H
#define U2I_EMBED_BERT_CONFIG_H

#include "embed/safetensors.h"
#include "u2i.h"
#include <stdbool.h>
#include <stdint.h>

#define BERT_TENSOR_NAME_MAX 128                 /* bytes of a tensor's name, NUL included */
#define BERT_TENSOR_LAYER    "encoder.layer.%u." /* what the names of a layer's tensors begin with */

enum bert_pooling {
    BERT_POOL_MEAN, /* of all tokens */
    BERT_POOL_CLS   /* the first token's */
};

/* Limits are in bert_config.c; a config that was read is within them. */
struct bert_config {
    uint32_t hidden, layers, heads, intermediate, vocab, positions, types;
    float norm_eps;
    enum bert_pooling pooling;
    bool normalise;      /* to unit length, at the end */
    uint32_t tokens_max; /* of a text, [CLS] and [SEP] included; at most `positions` */
    bool lower_case;     /* and accents are dropped */
};

/* Reads config.json, and where they are there modules.json, 1_Pooling/config.json,
 * sentence_bert_config.json and tokenizer_config.json. U2I_EEMBED for a model that is not BERT, or one
 * with something that would change its vectors and is not known here (the message names file, field and
 * value); U2I_ENOTFOUND for a missing folder or config.json; U2I_EIO, U2I_ENOMEM. */
int bert_config_read(const char *folder, struct bert_config *out, u2i_error_t *err);

/* Whether s has all tensors of such a model, in types that can be read and with the right shapes.
 * U2I_EEMBED says which is missing, or has what shape instead of what. */
int bert_config_check(const struct bert_config *c, const struct safetensors *s, u2i_error_t *err);

/* The tensor that newer models call `name` (as "embeddings.LayerNorm.weight"), also under the names of
 * older ones: with "bert." before, with gamma and beta for LayerNorm's weight and bias. */
bool bert_config_tensor(const struct safetensors *s, const char *name,
                        struct safetensors_tensor *out);

#endif
