/* What the files of hub/ share: names, paths, which files make a model, and the place where a folder is
 * put together before it appears in the home. */
#ifndef U2I_HUB_INTERNAL_H
#define U2I_HUB_INTERNAL_H

#include "hub/hub.h"
#include <stdbool.h>
#include <stddef.h>

#define HUB_PATH_MAX 256 /* bytes of a file's path within a model */

/* ---- hub.c: names and paths ------------------------------------------------------------------- */

/* folder/name, for mem_free(); NULL without memory. */
char *hub_join(const char *folder, const char *name);
/* The last part of NAME or ORG/NAME. U2I_EINVAL if either is no name: letters, digits, '.', '_' and '-',
 * but neither '.' nor '-' in front; `what` names it in the message. */
int hub_name_check(const char *name, const char *what, const char **last, u2i_error_t *err);
bool hub_is_folder(const char *path);
/* "DOING PATH: REASON" of errno, U2I_EIO; says in plain words when the disk is full. */
int hub_fail(const char *doing, const char *path, u2i_error_t *err);
int hub_write_all(int fd, const char *p, size_t n, const char *path, u2i_error_t *err);

/* Names of a folder's entries, sorted; none of a folder that is not there, and none with a dot in front.
 * To be freed after a failure, too. */
struct hub_entries {
    char **names;
    size_t n, cap;
};
int hub_read_entries(const char *path, struct hub_entries *out, u2i_error_t *err);
void hub_free_entries(struct hub_entries *e);

/* ---- hub_files.c: which files a model has ----------------------------------------------------- */

#define HUB_CONFIG  "config.json"
#define HUB_WEIGHTS "model.safetensors"

/* A form in which a model's weights come: one file, or several with an index. */
struct hub_form {
    const char *whole, *index;
    const char *shard_begin, *shard_end; /* of the names of the several */
};
const struct hub_form *hub_form(size_t i); /* in order of preference; NULL past the end */
#define HUB_FORMS 2u

/* The i-th file beside the weights that the embedder reads, or that tells people of the model; NULL past the end. */
const char *hub_small_file(size_t i);
bool hub_is_small_file(const char *path);
bool hub_is_prose(const char *path); /* for people: two models may be the same without it */
/* One of several files of weights: "model-00001-of-00002.safetensors". */
bool hub_is_shard(const struct hub_form *form, const char *path);
/* A path that stays in its folder, in characters that can be shown. */
bool hub_is_safe(const char *path);

/* ---- hub_stage.c: a folder on its way --------------------------------------------------------- */

/* HOME/.KIND-NAME, held by a lock; the model's folder is made in it, and beside that there is room for other
 * files. */
struct hub_stage {
    char *home, *place, *folder, *target; /* target: HOME/NAME */
    char *lock_path;
    int lock;
    bool finished;
};
/* Makes the home too. U2I_EBUSY if somebody else is at it. To be closed after a failure, too. */
int hub_stage_open(struct hub_stage *s, const char *kind, const char *name, u2i_error_t *err);
/* Empties the folder, and the room beside it. */
int hub_stage_clear(const struct hub_stage *s, u2i_error_t *err);
/* Makes the folders that `path` needs within the model's. */
int hub_stage_parents(const struct hub_stage *s, const char *path, u2i_error_t *err);
/* The folder becomes HOME/NAME, all of it on the disk; what was beside it is deleted. U2I_EINVAL if there is one by now. */
int hub_stage_finish(struct hub_stage *s, u2i_error_t *err);
/* Deletes what is there, unless it is to be gone on with. */
void hub_stage_close(struct hub_stage *s, bool keep);
int hub_remove(const char *path, u2i_error_t *err); /* all below it, and itself; none is fine */
int hub_refuse_taken(const char *target,
                     u2i_error_t *err); /* says that HOME/NAME is another model */

#endif
