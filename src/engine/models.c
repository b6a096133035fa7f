/* See models.h: hub/ knows folders, embed/ knows models; here they meet. */
#include "engine/models.h"

#include "base/alloc.h"
#include "base/error.h"
#include "embed/embed_describe.h"
#include "hub/hub.h"
#include <limits.h>
#include <stdio.h>

/* Where it is, and its size. U2I_EINVAL if the path has no room. */
static int models_place(const char *path, u2i_model_t *out, u2i_error_t *err) {
    char whole[PATH_MAX];
    if (realpath(path, whole) == NULL) {
        return error_set(err, U2I_ENOTFOUND, "%s does not exist", path);
    }
    if (strlen(whole) >= sizeof out->path) {
        return error_set(err, U2I_EINVAL, "the path of %s is too long", path);
    }
    const char *const slash = strrchr(whole, '/');
    memset(out->path, 0, sizeof out->path);
    memset(out->name, 0, sizeof out->name);
    (void)snprintf(out->path, sizeof out->path, "%s", whole);
    (void)snprintf(out->name, sizeof out->name, "%s", slash + 1); /* cut if it is a strange one */
    return hub_bytes(whole, &out->bytes, err);
}

static int models_describe(const char *path, u2i_model_t *out, u2i_error_t *err) {
    struct embed_description d;
    U2I_TRY(embed_describe(path, &d, err));
    (void)snprintf(out->model, sizeof out->model, "%s", d.name);
    (void)snprintf(out->pooling, sizeof out->pooling, "%s", d.pooling);
    (void)snprintf(out->weights, sizeof out->weights, "%s", d.weights);
    (void)snprintf(out->precision, sizeof out->precision, "%s", d.precision);
    out->dim = d.dim;
    out->layers = d.layers;
    out->tokens_max = d.tokens_max;
    out->vocabulary = d.vocab;
    out->parity = d.parity;
    return U2I_OK;
}

static int models_check_folder(const char *path, u2i_model_t *out, u2i_error_t *err) {
    U2I_TRY(models_place(path, out, err));
    return models_describe(out->path, out, err);
}

int models_find(const char *model, char **path, u2i_error_t *err) {
    char whole[PATH_MAX];
    if (strchr(model, '/') == NULL) {
        return hub_find(model, path, err);
    }
    if (realpath(model, whole) != NULL) {
        *path = str_dup(whole, strlen(whole));
        return *path == NULL ? error_oom(err) : U2I_OK;
    }
    const int rc = hub_find(model, path, NULL); /* ORG/NAME */
    return rc == U2I_OK || rc == U2I_ENOMEM
               ? rc
               : error_set(err, U2I_ENOTFOUND, "%s does not exist", model);
}

int models_check(const char *model, u2i_model_t *out, u2i_error_t *err) {
    char *path = NULL;
    U2I_TRY(models_find(model, &path, err));
    const int rc = models_check_folder(path, out, err);
    mem_free(path);
    return rc;
}

/* What a checked model is now that it lies in the home, maybe under another name: "NAME-CHECKSUM". */
static int models_arrive(const char *path, u2i_model_t *out, u2i_error_t *err) {
    char sum[sizeof out->model];
    const char *const dash = strrchr(out->model, '-');
    (void)snprintf(sum, sizeof sum, "%s", dash == NULL ? "" : dash); /* both are as long */
    U2I_TRY(models_place(path, out, err));
    const size_t sum_n = strlen(sum), name_n = strlen(out->name);
    const size_t room = sizeof out->model - 1 - sum_n;
    const size_t kept = name_n < room ? name_n : room;
    memset(out->model, 0, sizeof out->model);
    memcpy(out->model, out->name, kept);
    memcpy(out->model + kept, sum, sum_n);
    return U2I_OK;
}

/* The folder is checked before anything is copied: the copy has the same bytes. */
int models_add(const char *folder, const char *as, u2i_model_t *out, u2i_error_t *err) {
    char *path = NULL;
    U2I_TRY(models_check_folder(folder, out, err));
    U2I_TRY(hub_add(folder, as, &path, err));
    const int rc = models_arrive(path, out, err);
    mem_free(path);
    return rc;
}

static int models_check_fetched(void *ctx, const char *folder, u2i_error_t *err) {
    return models_describe(folder, ctx, err);
}

int models_get(const char *name, const u2i_model_get_options_t *opt, u2i_model_t *out,
               u2i_error_t *err) {
    const struct hub_get_options how = {.endpoint = opt->endpoint,
                                        .revision = opt->revision,
                                        .as = opt->as,
                                        .check = models_check_fetched,
                                        .check_ctx = out,
                                        .progress = opt->progress,
                                        .ctx = opt->ctx};
    char *path = NULL;
    U2I_TRY(hub_get(name, &how, &path, err));
    int rc = out->model[0] != '\0' ? U2I_OK : models_describe(path, out, err); /* it was there */
    rc = rc == U2I_OK ? models_arrive(path, out, err) : rc;
    mem_free(path);
    return rc;
}

struct models_scan {
    u2i_model_fn fn;
    void *ctx;
    int rc;
    u2i_error_t *err;
};

static int models_tell(void *ctx, const struct hub_model *model) {
    struct models_scan *const scan = ctx;
    u2i_model_t out = U2I_MODEL_INIT;
    scan->rc = models_place(model->path, &out, scan->err);
    (void)snprintf(out.name, sizeof out.name, "%s", model->name); /* fits: it is a name */
    return scan->rc != U2I_OK || scan->fn(scan->ctx, &out) != 0;
}

int models_scan(u2i_model_fn fn, void *ctx, u2i_error_t *err) {
    struct models_scan scan = {.fn = fn, .ctx = ctx, .rc = U2I_OK, .err = err};
    const int rc = hub_scan(models_tell, &scan, err);
    return rc == U2I_OK ? scan.rc : rc;
}
