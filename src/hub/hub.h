/* Model folders on this machine: the models' home, where they have names, and how they get there, from
 * another folder or from a hub of models (https://huggingface.co, or a mirror of it). A model appears in the
 * home by one rename, when it is whole and on the disk; what is on its way lies beside it in a folder
 * whose name begins with a dot. What makes a folder a model is the caller's business.
 *
 * Thread-safe: no state but the file system's; two processes that fetch the same model take turns. */
#ifndef U2I_HUB_HUB_H
#define U2I_HUB_HUB_H

#include "u2i.h"
#include <stdint.h>

#define HUB_NAME_MAX 96 /* bytes of a model's name, and of an organisation's */

/* The models' home, for mem_free(): $U2I_MODELS, else $XDG_DATA_HOME/u2i/models, else
 * ~/.local/share/u2i/models. It need not be there. U2I_ENOTFOUND if no variable says where. */
int hub_home(char **path, u2i_error_t *err);

/* The folder of model NAME or ORG/NAME (its last part), for mem_free(). U2I_ENOTFOUND if the home has
 * none of that name, U2I_EINVAL if it is no name; the message names it. */
int hub_find(const char *name, char **path, u2i_error_t *err);

/* How many bytes all files below a folder have. */
int hub_bytes(const char *folder, uint64_t *bytes, u2i_error_t *err);

struct hub_model {
    const char *name, *path; /* valid during the call */
};
/* Return non-zero to stop. */
typedef int (*hub_model_fn)(void *ctx, const struct hub_model *model);
/* Every model in the home, in order of name. U2I_EIO, U2I_ENOMEM. */
int hub_scan(hub_model_fn fn, void *ctx, u2i_error_t *err);

/* Copies what matters of a folder into the home, under its own name or the name `as` (NULL: none);
 * *path, for mem_free(), is where it lies then. If the same files are there already nothing happens. U2I_EINVAL
 * (another model has the name, or it is no name), U2I_ENOTFOUND, U2I_EBUSY, U2I_EIO, U2I_ENOMEM. */
int hub_add(const char *folder, const char *as, char **path, u2i_error_t *err);

struct hub_get_options {
    const char *endpoint; /* NULL = $HF_ENDPOINT, else https://huggingface.co */
    const char *revision; /* NULL = "main" */
    const char *as;       /* NULL = the last part of its name */
    uint32_t pause_ms;    /* before something that failed is tried again; 0 = 1 s */
    /* Called when all is there, before it appears; U2I_EEMBED: it is of no use. NULL: anything is. */
    int (*check)(void *check_ctx, const char *folder, u2i_error_t *err);
    void *check_ctx;
    u2i_progress_fn progress; /* bytes; may be NULL */
    void *ctx;
};
/* Fetches the files that matter of the hub's model NAME or ORG/NAME; *path, for mem_free(), is where it lies then.
 * u2i_model_get() says what comes of it. */
int hub_get(const char *name, const struct hub_get_options *opt, char **path, u2i_error_t *err);

#endif
