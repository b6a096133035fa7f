/* The zip archive that torch.save() writes: where its entries lie. Private to embed/. Reads in parallel; making and
 * freeing one need exclusive use. */
#ifndef U2I_EMBED_TORCH_ZIP_H
#define U2I_EMBED_TORCH_ZIP_H

#include "u2i.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TORCH_ZIP_ENTRIES_MAX 65536
#define TORCH_ZIP_NAME_MAX    512 /* bytes of an entry's name */

struct torch_zip;

/* Reads the directory of an archive in memory, which must outlive it; `path` is for messages, and is
 * kept, too. U2I_EEMBED (not such an archive: the message says what and where), U2I_ENOMEM. */
int torch_zip_new(const char *path, const unsigned char *map, uint64_t bytes,
                  struct torch_zip **out, u2i_error_t *err);
void torch_zip_free(struct torch_zip *z); /* accepts NULL */
/* The bytes of an entry; its name is without the folder that all are in ("data/0"). False if there is none. */
bool torch_zip_find(const struct torch_zip *z, const char *name, size_t name_n,
                    const unsigned char **bytes, uint64_t *bytes_n);

#endif
