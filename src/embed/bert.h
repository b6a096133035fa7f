/* A BERT model (Devlin et al., "BERT: Pre-training of deep bidirectional transformers", 2019): its weights, packed, and the
 * forward pass that makes of each text's tokens one vector. Private to embed/. Immutable once it is made (but for
 * bert_set_parity()): any number of threads may run it, each run in its caller's thread. */
#ifndef U2I_EMBED_BERT_H
#define U2I_EMBED_BERT_H

#include "embed/bert_config.h"
#include "embed/safetensors.h"
#include <stddef.h>

struct bert;

enum bert_precision {
    BERT_F32 = 1,
    BERT_INT8 =
        2 /* weights as bytes, a scale for each output; activations as bytes, one for each token */
};

struct bert_model { /* what weights are of */
    const struct bert_config *config;
    const struct safetensors *file; /* bert_config_check() has found its tensors good */
    uint32_t sign; /* a checksum of the model, so that packed weights of another are not taken */
};

/* Whether int8 is faster than f32 on this machine. */
bool bert_int8_pays(void);

/* Packs the weights of the file. The table of words stays in it, and it has to stay open. U2I_EEMBED (a weight is not finite),
 * U2I_ENOMEM. */
int bert_new(const struct bert_model *m, enum bert_precision precision, struct bert **out,
             u2i_error_t *err);
/* Maps what bert_save() wrote: nothing is copied. U2I_ENOTFOUND: there is no such file, or it is of another model, machine
 * or u2i, or damaged (all of it is checked): then it is to be made anew. U2I_ENOMEM. */
int bert_open(const char *path, const struct bert_model *m, enum bert_precision precision,
              struct bert **out, u2i_error_t *err);
/* Writes the packed weights to path, in one moment for whoever opens it; U2I_EBUSY where another process is just doing so.
 * U2I_EIO. Not durable: a file that a power cut damaged is noticed. */
int bert_save(const struct bert *b, const char *path, u2i_error_t *err);
void bert_free(struct bert *b); /* NULL is a no-op */

enum bert_precision bert_precision_of(const struct bert *b);
size_t bert_bytes(const struct bert *b); /* memory or mapped file, without the words */
/* The mean cosine of this model's vectors in bytes and in floats, once it was measured: kept with the weights. 0: not
 * measured. */
double bert_parity(const struct bert *b);
void bert_set_parity(struct bert *b, double parity); /* before others see b */

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
