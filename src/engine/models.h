/* Models on this machine, without a store: what they are, and how they get here. Functions mirror those of u2i.h,
 * which documents them; here structs are complete, and `out` is never NULL. Thread-safe: no state but the file
 * system's. */
#ifndef U2I_ENGINE_MODELS_H
#define U2I_ENGINE_MODELS_H

#include "u2i.h"

/* The folder of a path, or else of a name in the models' home, for mem_free(). */
int models_find(const char *model, char **path, u2i_error_t *err);
int models_check(const char *model, u2i_model_t *out, u2i_error_t *err);
int models_add(const char *folder, const char *as, u2i_model_t *out, u2i_error_t *err);
int models_get(const char *name, const u2i_model_get_options_t *opt, u2i_model_t *out,
               u2i_error_t *err);
int models_scan(u2i_model_fn fn, void *ctx, u2i_error_t *err);

#endif
