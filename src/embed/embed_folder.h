/* The files of a model's folder, as Hugging Face lays them out: private to embed/. Thread-safe: no
 * state. Missing files are U2I_ENOTFOUND, those that cannot be read U2I_EIO, those that are not what
 * they should be U2I_EEMBED; messages name the path. */
#ifndef U2I_EMBED_EMBED_FOLDER_H
#define U2I_EMBED_EMBED_FOLDER_H

#include "u2i.h"
#include "json/json.h"
#include <stdint.h>

#define EMBED_FOLDER_READ_MAX ((uint64_t)64 << 20) /* bytes of a file that is read as a whole */

int embed_folder_check(const char *folder, u2i_error_t *err); /* is it there, and a folder? */
/* folder/name, for mem_free(); NULL without memory. */
char *embed_folder_path(const char *folder, const char *name);
/* A regular file, for close(). */
int embed_folder_open(const char *path, int *fd, uint64_t *bytes, u2i_error_t *err);
/* All of folder/name, for mem_free(), also after a failure. */
int embed_folder_read(const char *folder, const char *name, char **text, size_t *n,
                      u2i_error_t *err);
/* The JSON of folder/name, for json_decref(); NULL on failure. */
int embed_folder_object(const char *folder, const char *name, json_t **out, u2i_error_t *err);
/* The same, with all numbers as reals: whole ones may then be of any size. */
int embed_folder_object_reals(const char *folder, const char *name, json_t **out, u2i_error_t *err);
int embed_folder_array(const char *folder, const char *name, json_t **out, u2i_error_t *err);

#endif
