/* What the files of the BERT model share: its weights in place, for bert_weights.c to put there and for bert.c to
 * multiply with. */
#ifndef U2I_EMBED_BERT_INTERNAL_H
#define U2I_EMBED_BERT_INTERNAL_H

#include "embed/bert.h"
#include "vec/gemm.h"

#define BERT_ALIGN 64u

struct bert_norm {
    const float *gamma, *beta;
};

struct bert_layer {
    struct gemm_weights qkv, mix, up, down; /* mix: the heads' results with each other */
    struct bert_norm after_attention, after_all;
};

struct bert {
    struct bert_config config;
    enum bert_precision precision;
    const struct gemm_ops *ops;
    struct safetensors_tensor words; /* [vocab][hidden], in the model's file */
    const float *positions;          /* [positions][hidden], the first type's vector added */
    struct bert_norm first;
    struct bert_layer *layers;

    char *image; /* bert_weights.c; all but the words points into it */
    size_t image_bytes;
    double parity; /* what the image's header has, or will have once it is saved */
    void *own; /* pages that are the image; NULL: it is a mapped file, and can't be written to */
};

static inline size_t bert_round(size_t bytes) {
    return (bytes + BERT_ALIGN - 1) / BERT_ALIGN * BERT_ALIGN;
}

#endif
