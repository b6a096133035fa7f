/* Tensors in a file of torch.save() (pytorch_model.bin). Private to embed/. Thread-safe: no state. */
#ifndef U2I_EMBED_TORCH_FILE_H
#define U2I_EMBED_TORCH_FILE_H

#include "embed/torch_pickle.h"

/* What gets the tensors; their bytes are in the file's. */
typedef int torch_file_take(void *ctx, const struct torch_tensor *t, const unsigned char *bytes,
                            uint64_t bytes_n, u2i_error_t *err);

/* A file in memory. */
struct torch_file {
    const char *path; /* for messages */
    const unsigned char *map;
    uint64_t bytes;
};

/* Hands each tensor of the file to `take`. U2I_EEMBED (not such a file: the message says what and
 * where), U2I_ENOMEM, or what `take` returned. */
int torch_file_read(const struct torch_file *f, torch_file_take *take, void *ctx, u2i_error_t *err);

#endif
