/* Tensors of a file of torch.save() (torch_file.h) among those of a model. What holds for them is less than for those of
 * safetensors' own format: they may share bytes, and a file may have more than its tensors. */
#include "embed/safetensors_internal.h"

#include "embed/torch_file.h"
#include <string.h>

static int safetensors_enter_torch(void *ctx, const struct torch_tensor *t,
                                   const unsigned char *bytes, uint64_t bytes_n, u2i_error_t *err) {
    const struct safetensors_opening *const o = ctx;
    struct safetensors_tensor own = {.path = o->path,
                                     .type = safetensors_type_of(t->dtype, t->dims_n),
                                     .bytes = bytes,
                                     .bytes_n = bytes_n};
    (void)err; /* is the opening's */
    memcpy(own.dtype, t->dtype, strlen(t->dtype) + 1);
    if (t->dims_n <= SAFETENSORS_DIMS_MAX) {
        own.dims_n = (uint32_t)t->dims_n;
        memcpy(own.dims, t->dims, t->dims_n * sizeof *own.dims);
    }
    return safetensors_enter(o, t->name, strlen(t->name), &own);
}

static int safetensors_take_torch(struct safetensors_opening *o) {
    const struct torch_file f = {.path = o->path, .map = o->map, .bytes = o->file_bytes};
    return torch_file_read(&f, safetensors_enter_torch, o, o->err);
}

const struct safetensors_format SAFETENSORS_TORCH = {.what = "a file of torch.save()",
                                                     .whole = "pytorch_model.bin",
                                                     .index = "pytorch_model.bin.index.json",
                                                     .take = safetensors_take_torch};
