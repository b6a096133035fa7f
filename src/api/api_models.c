/* The C ABI of models, which need no store: checks arguments, then calls the engine, as api.c does. */
#include "base/error.h"
#include "check.h"
#include "engine/models.h"

#include <limits.h>
#include <string.h>

#define API_PATH ((struct check){"the model", PATH_MAX - 1, false})
#define API_WORD 256 /* bytes of a name, a revision */
#define API_URL  2048

/* The caller's struct, of the library's size; NULL: nobody wants to know. */
static int api_models_begin(u2i_model_t *out, u2i_model_t *full, u2i_error_t *err) {
    error_clear(err);
    *full = (u2i_model_t)U2I_MODEL_INIT;
    return out == NULL ? U2I_OK : check_struct(out, sizeof(*full), "model", full, err);
}

/* As much as the caller's struct has room for; nothing after a failure. */
static int api_models_end(int rc, u2i_model_t *out, const u2i_model_t *full, u2i_error_t *err) {
    if (rc == U2I_OK) {
        error_clear(err);
        if (out != NULL) {
            memcpy(out, full, full->struct_size);
        }
    }
    return rc;
}

int u2i_model_check(const char *model, u2i_model_t *out, u2i_error_t *err) {
    u2i_model_t full;
    U2I_TRY(api_models_begin(out, &full, err));
    U2I_TRY(check_string(model, API_PATH, -1, err));
    return api_models_end(models_check(model, &full, err), out, &full, err);
}

int u2i_model_add(const char *folder, const char *as, u2i_model_t *out, u2i_error_t *err) {
    u2i_model_t full;
    U2I_TRY(api_models_begin(out, &full, err));
    U2I_TRY(check_string(folder, API_PATH, -1, err));
    U2I_TRY(check_string(as, (struct check){"the name", API_WORD, true}, -1, err));
    return api_models_end(models_add(folder, as, &full, err), out, &full, err);
}

int u2i_model_get(const char *name, const u2i_model_get_options_t *opt, u2i_model_t *out,
                  u2i_error_t *err) {
    const u2i_model_get_options_t defaults = U2I_MODEL_GET_OPTIONS_INIT;
    u2i_model_get_options_t o;
    u2i_model_t full;
    U2I_TRY(api_models_begin(out, &full, err));
    U2I_TRY(check_string(name, (struct check){"the model", API_WORD, false}, -1, err));
    U2I_TRY(check_struct(opt == NULL ? &defaults : opt, sizeof(o), "options", &o, err));
    U2I_TRY(check_string(o.endpoint, (struct check){"the endpoint", API_URL, true}, -1, err));
    U2I_TRY(check_string(o.revision, (struct check){"the revision", API_WORD, true}, -1, err));
    U2I_TRY(check_string(o.as, (struct check){"the name", API_WORD, true}, -1, err));
    return api_models_end(models_get(name, &o, &full, err), out, &full, err);
}

int u2i_scan_models(u2i_model_fn fn, void *ctx, u2i_error_t *err) {
    error_clear(err);
    return fn == NULL ? error_set(err, U2I_EINVAL, "fn is NULL") : models_scan(fn, ctx, err);
}
