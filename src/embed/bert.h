/* The forward pass of BERT (Devlin et al., "BERT: Pre-training of deep bidirectional transformers", 2019): tokens to one
 * vector for each text. Private to embed/. Immutable once it is made: any number of threads may run it,
 * each run in its caller's thread. */
#ifndef U2I_EMBED_BERT_H
#define U2I_EMBED_BERT_H

#include "embed/bert_config.h"
#include "embed/safetensors.h"
#include <stddef.h>

struct bert;

enum bert_precision {
    BERT_F32 = 0,
    BERT_INT8 =
        1 /* weights as bytes, a scale for each output; activations as bytes, one for each token */
};

/* Packs the weights of the file, whose tensors bert_config_check() has found good. The table of words stays in the
 * file, which has to stay open. U2I_EEMBED (a weight is not finite), U2I_ENOMEM. */
int bert_new(const struct bert_config *config, const struct safetensors *file,
             enum bert_precision precision, struct bert **out, u2i_error_t *err);
void bert_free(struct bert *b);          /* NULL is a no-op */
size_t bert_bytes(const struct bert *b); /* memory, without the file */

/* Texts as tokens, one after the other and without padding: those of text i are ids[starts[i]] up to ids[starts[i +
 * 1]], at least one and at most config.tokens_max, each below config.vocab. */
struct bert_batch {
    const uint32_t *ids;
    const size_t *starts; /* [n + 1] */
    size_t n;
};
/* out[n][hidden]: pooled as the config says, not normalised. Scratch grows with the tokens of the batch: some 20
 * floats of `hidden` for each. U2I_EEMBED, U2I_ENOMEM. */
int bert_run(const struct bert *b, const struct bert_batch *batch, float *out, u2i_error_t *err);

#endif
