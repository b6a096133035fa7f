/* What the files of this reader share: safetensors_folder.c finds and maps a model's files, safetensors.c reads the header
 * of one in safetensors' own format, safetensors_torch.c that of one of torch.save(). */
#ifndef U2I_EMBED_SAFETENSORS_INTERNAL_H
#define U2I_EMBED_SAFETENSORS_INTERNAL_H

#include "base/intern.h"
#include "embed/safetensors.h"

#define SAFETENSORS_PREFIX 8 /* bytes before a header, and the least that a file has */

struct safetensors_file {
    char *path;
    void *map;
    size_t bytes;
};

struct safetensors {
    char *path; /* as it was opened */
    const struct safetensors_format *format;
    struct safetensors_file *files;
    size_t files_n, files_cap;
    struct intern *names; /* -> index into tensors */
    struct safetensors_tensor *tensors;
    size_t tensors_n, tensors_cap;
};

/* One file on its way in. */
struct safetensors_opening {
    struct safetensors *s;
    const char *path;
    const unsigned char *map;
    uint64_t file_bytes; /* SAFETENSORS_PREFIX at least */
    uint64_t header_bytes;
    size_t first; /* of its tensors */
    u2i_error_t *err;
};

/* How tensors are kept in files. All files of a model are of one format. */
struct safetensors_format {
    const char *what; /* such a file is */
    const char *whole,
        *index; /* names in a folder: of a model in one file, and of the list of several */
    int (*take)(struct safetensors_opening *o); /* enters the tensors of a file */
};

extern const struct safetensors_format SAFETENSORS_OWN, SAFETENSORS_TORCH;

/* The type of that name, if tensors of it with so many dimensions can be read; SAFETENSORS_OTHER. */
enum safetensors_type safetensors_type_of(const char *dtype, size_t dims_n);
/* Enters a tensor under its name. U2I_EEMBED if another one has it, U2I_ENOMEM. */
int safetensors_enter(const struct safetensors_opening *o, const char *name, size_t name_n,
                      const struct safetensors_tensor *t);

#endif
