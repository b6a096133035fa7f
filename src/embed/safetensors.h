/* Tensors in the files of a model: in model.safetensors, or as torch.save() writes them in pytorch_model.bin. Private to
 * embed/. A struct safetensors may be read from any number of threads at once; open and close need exclusive use. */
#ifndef U2I_EMBED_SAFETENSORS_H
#define U2I_EMBED_SAFETENSORS_H

#include "u2i.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAFETENSORS_HEADER_MAX 100000000 /* bytes, the format's own limit */
#define SAFETENSORS_FILES_MAX  256       /* of one model */
#define SAFETENSORS_NAME_MAX   256       /* bytes of a tensor's name */
#define SAFETENSORS_DTYPE_MAX  15        /* bytes of a type's name */
#define SAFETENSORS_DIMS_MAX   4         /* of a tensor that can be read */

enum safetensors_type {
    SAFETENSORS_F32,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_OTHER /* cannot be read: another type of value, or too many dimensions */
};

struct safetensors;

/* Pointers hold until safetensors_close(). */
struct safetensors_tensor {
    const char *name, *path; /* path of its file */
    enum safetensors_type type;
    char dtype[SAFETENSORS_DTYPE_MAX + 1]; /* as the file has it; torch's by safetensors' names */
    const unsigned char *bytes;            /* not aligned */
    uint64_t bytes_n;
    uint32_t dims_n;
    uint64_t dims[SAFETENSORS_DIMS_MAX];
};

/* Maps one file and checks its header to the last byte. The file must not be cut short while it is open
 * (see base/filemap.h). U2I_ENOTFOUND, U2I_EIO, U2I_EEMBED (not what it should be: the message says
 * what and where), U2I_ENOMEM. */
int safetensors_open(const char *path, struct safetensors **out, u2i_error_t *err);
/* The same for a file that torch.save() has written. */
int safetensors_open_torch(const char *path, struct safetensors **out, u2i_error_t *err);
/* The same for model.safetensors in a folder, or where there is none for the files that
 * model.safetensors.index.json names; where neither is there, for pytorch_model.bin and its index. */
int safetensors_open_folder(const char *folder, struct safetensors **out, u2i_error_t *err);
void safetensors_close(struct safetensors *s);             /* accepts NULL */
const char *safetensors_path(const struct safetensors *s); /* what was opened, for messages */

/* False if there is no tensor of that name. *out may be one that cannot be read. */
bool safetensors_find(const struct safetensors *s, const char *name,
                      struct safetensors_tensor *out);
/* U2I_EEMBED, naming tensor and type, if it cannot be read. */
int safetensors_readable(const struct safetensors_tensor *t, u2i_error_t *err);
/* n values from `first` on as floats: all of F16 and BF16 are floats, so nothing is lost. U2I_EEMBED if
 * it cannot be read, or if one of them is not finite (the message says which), U2I_EINVAL if it has
 * not so many. */
int safetensors_floats(const struct safetensors_tensor *t, uint64_t first, size_t n, float *out,
                       u2i_error_t *err);
/* It will not be read soon: its pages need no memory until then. */
void safetensors_drop(const struct safetensors_tensor *t);

#endif
