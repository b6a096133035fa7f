/* What a dict of tensors in the pickle of torch.save() says: name, type, shape and place of each tensor. Nothing of it is
 * run: see torch_pickle.c. Private to embed/. Thread-safe: no state. */
#ifndef U2I_EMBED_TORCH_PICKLE_H
#define U2I_EMBED_TORCH_PICKLE_H

#include "u2i.h"
#include <stddef.h>
#include <stdint.h>

#define TORCH_PICKLE_MAX ((size_t)4 << 20) /* bytes; a tensor takes about 150 */
#define TORCH_STACK_MAX  4096 /* values; Python puts at most 1,000 pairs on it at once */
#define TORCH_TEXT_MAX   256  /* bytes of a name */
#define TORCH_DIMS_MAX   4    /* of which the sizes are told */

/* Rows first, without gaps. Valid during the call that it is handed to. */
struct torch_tensor {
    const char *name;
    const char *key;   /* of its storage */
    const char *dtype; /* "F32", as safetensors calls it */
    uint32_t value_bytes;
    uint64_t storage_n; /* values of the storage */
    uint64_t first, n;  /* those of the tensor */
    size_t dims_n;      /* may be more than have room in dims */
    uint64_t dims[TORCH_DIMS_MAX];
};

/* What gets the tensors, in the order of the dict; a failure ends it. */
typedef int torch_take(void *ctx, const struct torch_tensor *t, u2i_error_t *err);

/* Hands each tensor to `take`; what else is in the dict is skipped. `path` is for messages. U2I_EEMBED (not such a pickle:
 * the message says what and where), U2I_ENOMEM, or what `take` returned. */
int torch_pickle_read(const char *path, const unsigned char *p, size_t n, torch_take *take,
                      void *ctx, u2i_error_t *err);

#endif
