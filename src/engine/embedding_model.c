/* Which embedder? What people call a model ("hash", "none", a path, a name in the models' home, a URL) becomes a
 * name that is kept with the store, a length of vectors, and a place to open it from. */
#include "engine_internal.h"
#include "models.h"

#include "base/alloc.h"
#include "base/error.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- What people say -------------------------------------------------------------------------- */

static bool embedding_is_url(const char *model) {
    return strstr(model, "://") != NULL;
}

static int embedding_describe(struct embedder *e, struct embedding_source *out) {
    out->dim = e->dim;
    (void)snprintf(out->name, sizeof(out->name), "%s", e->name); /* fits: both are as long */
    e->ops->close(e);
    return U2I_OK;
}

/* By its whole path, so that a link or a dot is not what the model is called after, and every process finds it. */
static int embedding_find_folder(const char *model, struct embedding_source *out,
                                 u2i_error_t *err) {
    char whole[PATH_MAX];
    char *path = NULL;
    int rc = models_find(model, &path, err);
    if ((rc == U2I_ENOTFOUND || rc == U2I_EINVAL) && strchr(model, '/') == NULL) {
        rc = error_set(
            err, U2I_ENOTFOUND,
            "there is no model \"%.48s\": say \"hash\", \"none\", a folder's path (./%.48s), "
            "a URL (https://HOST/v1#NAME), or a name of those that u2i model list shows",
            model, model);
    }
    if (rc == U2I_OK && realpath(path, whole) == NULL) {
        rc = error_set(err, U2I_ENOTFOUND, "%s does not exist", path);
    }
    if (rc == U2I_OK && strlen(whole) > SETTINGS_PATH_MAX_BYTES) {
        rc = error_set(err, U2I_EINVAL, "the path of %s has more than %d bytes", model,
                       SETTINGS_PATH_MAX_BYTES);
    }
    if (rc == U2I_OK) {
        memcpy(out->place, whole, strlen(whole) + 1);
    }
    mem_free(path);
    return rc;
}

static int embedding_resolve_folder(const char *model, uint32_t dim, struct embedding_source *out,
                                    u2i_error_t *err) {
    const struct embed_bert_options plain = {.precision = EMBED_AUTO};
    struct embedder *e;
    out->kind = EMBEDDING_FOLDER;
    U2I_TRY(embedding_find_folder(model, out, err));
    U2I_TRY(embed_bert_open(out->place, &plain, &e, err));
    U2I_TRY(embedding_describe(e, out));
    return dim == 0 || dim == out->dim
               ? U2I_OK
               : error_set(err, U2I_EEMBED, "%s makes vectors of %u dimensions, not of %u", model,
                           out->dim, dim);
}

static int embedding_describe_remote(struct embed_remote_options *o, struct embedding_source *out,
                                     u2i_error_t *err) {
    struct embedder *e;
    if (o->dim == 0) {
        U2I_TRY(embed_remote_dim(o, &o->dim, err));
    }
    U2I_TRY(embed_remote_open(o, &e, err));
    return embedding_describe(e, out);
}

/* With a dim nothing is asked yet. */
static int embedding_resolve_remote(const char *url, uint32_t dim, struct embedding_source *out,
                                    u2i_error_t *err) {
    struct embed_remote_options o = {.url = url, .dim = dim};
    char *key = NULL;
    if (strlen(url) > SETTINGS_PATH_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "a model's URL has more than %d bytes",
                         SETTINGS_PATH_MAX_BYTES);
    }
    out->kind = EMBEDDING_REMOTE;
    out->asks_dim = dim != 0;
    memcpy(out->place, url, strlen(url) + 1);
    U2I_TRY(embed_remote_key(&key, err));
    o.key = key;
    const int rc = embedding_describe_remote(&o, out, err);
    embed_remote_key_free(key);
    return rc;
}

static int embedding_resolve_none(uint32_t dim, struct embedding_source *out, u2i_error_t *err) {
    out->kind = EMBEDDING_NONE;
    out->dim = dim;
    (void)snprintf(out->name, sizeof(out->name), "none");
    return dim != 0 ? U2I_OK
                    : error_set(err, U2I_EINVAL, "model \"none\" needs a dim, the vectors' length");
}

static int embedding_resolve_hash(uint32_t dim, struct embedding_source *out, u2i_error_t *err) {
    struct embedder *e;
    out->kind = EMBEDDING_HASH;
    U2I_TRY(embed_hash_open(dim == 0 ? EMBED_HASH_DIM : dim, &e, err));
    return embedding_describe(e, out);
}

int embedding_resolve(const char *model, uint32_t dim, struct embedding_source *out,
                      u2i_error_t *err) {
    *out = (struct embedding_source){.kind = EMBEDDING_NONE};
    if (model == NULL ? dim != 0 : strcmp(model, "none") == 0) {
        return embedding_resolve_none(dim, out, err);
    }
    if (model == NULL || strcmp(model, "hash") == 0) {
        return embedding_resolve_hash(dim, out, err);
    }
    return embedding_is_url(model) ? embedding_resolve_remote(model, dim, out, err)
                                   : embedding_resolve_folder(model, dim, out, err);
}

/* ---- What a store has ------------------------------------------------------------------------- */

/* "hash" is asked for, "hash-512" is what a store has. */
static bool embedding_is_model(const char *name, const char *wish) {
    const size_t n = strlen(wish);
    return n > 0 && strncmp(name, wish, n) == 0 && (name[n] == '\0' || name[n] == '-');
}

static bool embedding_is_hash(const char *model) {
    unsigned dim;
    char more;
    return sscanf(model, "hash-%u%c", &dim, &more) == 1;
}

#define EMBEDDING_SUM_BYTES 8 /* hexadecimal digits at the end of a folder's model */

/* A folder may be called differently by now: the checksum at the end says whether it is the same model. A remote one,
 * MODEL@HOST-DIM, may have moved to another host. */
bool embedding_is_same(const char *a, const char *b) {
    const char *const end_a = strrchr(a, '-'), *const end_b = strrchr(b, '-');
    const char *const at_a = strrchr(a, '@'), *const at_b = strrchr(b, '@');
    if (embedding_is_hash(a) || embedding_is_hash(b) || end_a == NULL || end_b == NULL ||
        strcmp(end_a, end_b) != 0) {
        return strcmp(a, b) == 0;
    }
    if (strlen(end_a) == EMBEDDING_SUM_BYTES + 1) {
        return true;
    }
    return at_a != NULL && at_b != NULL && at_a - a == at_b - b &&
           memcmp(a, b, (size_t)(at_a - a)) == 0;
}

bool embedding_learns(const struct engine *e) {
    return embedding_is_hash(e->store->model);
}

void embedding_source_of(struct engine *e, struct embedding_source *out) {
    *out = (struct embedding_source){.dim = e->store->dim};
    (void)snprintf(out->name, sizeof(out->name), "%s", e->store->model); /* as long */
    if (strcmp(out->name, "none") == 0) {
        out->kind = EMBEDDING_NONE;
        return;
    }
    if (embedding_is_hash(out->name)) {
        out->kind = EMBEDDING_HASH;
        return;
    }
    (void)pthread_mutex_lock(&e->settings_lock);
    const bool named = e->model_place != NULL;
    const char *const folder = e->settings.model_folder, *const url = e->settings.model_url;
    const char *const place = named ? e->model_place : url[0] != '\0' ? url : folder;
    out->kind = embedding_is_url(place) ? EMBEDDING_REMOTE : EMBEDDING_FOLDER;
    out->asks_dim = e->asks_dim;
    (void)snprintf(out->place, sizeof(out->place), "%s", place);
    (void)pthread_mutex_unlock(&e->settings_lock);
}

/* The place is of the store's model, and from now on the setting says so. */
static int embedding_keep_place(struct engine *e, const struct embedding_source *from,
                                u2i_error_t *err) {
    const bool url = from->kind == EMBEDDING_REMOTE;
    const char *const now = url ? e->settings.model_url : e->settings.model_folder;
    if (from->place[0] == '\0') {
        return U2I_OK;
    }
    e->model_place = str_dup(from->place, strlen(from->place));
    if (e->model_place == NULL) {
        return error_oom(err);
    }
    return e->readonly || strcmp(now, from->place) == 0
               ? U2I_OK
               : e->ops->put_setting(e->store, url ? "model_url" : "model_folder", from->place,
                                     err);
}

int embedding_keep_new(struct engine *e, const struct embedding_source *from, u2i_error_t *err) {
    U2I_TRY(embedding_keep_place(e, from, err));
    e->asks_dim = from->asks_dim; /* nobody else has the store yet; later the setting says so */
    return from->asks_dim ? e->ops->put_setting(e->store, EMBEDDING_DIM_SETTING, "asked", err)
                          : U2I_OK;
}

int embedding_check(struct engine *e, const char *model, u2i_error_t *err) {
    struct embedding_source wish;
    if (model == NULL || embedding_is_model(e->store->model, model)) {
        return U2I_OK;
    }
    if (strcmp(model, "none") == 0 || strcmp(model, "hash") == 0) {
        return error_set(err, U2I_EEMBED, "the store has model \"%s\", not \"%s\"", e->store->model,
                         model);
    }
    U2I_TRY(embedding_resolve(model, embedding_is_url(model) ? e->store->dim : 0, &wish, err));
    if (!embedding_is_same(wish.name, e->store->model)) {
        return error_set(err, U2I_EEMBED, "the store's vectors are of model %s, %s is model %s",
                         e->store->model, wish.place, wish.name);
    }
    return embedding_keep_place(e, &wish, err);
}

/* ---- Opening it ------------------------------------------------------------------------------- */

void embedding_manner_of(struct engine *e, struct embedding_manner *out) {
    const struct settings *const s = &e->settings;
    (void)pthread_mutex_lock(&e->settings_lock);
    *out = (struct embedding_manner){.precision = (enum embed_precision)s->model_precision,
                                     .windows = s->long_texts == SETTINGS_AVERAGE};
    memcpy(out->query_prefix, s->query_prefix, sizeof(out->query_prefix));
    memcpy(out->passage_prefix, s->passage_prefix, sizeof(out->passage_prefix));
    (void)pthread_mutex_unlock(&e->settings_lock);
}

bool embedding_same_manner(const struct embedding_manner *a, const struct embedding_manner *b) {
    return a->windows == b->windows && strcmp(a->query_prefix, b->query_prefix) == 0 &&
           strcmp(a->passage_prefix, b->passage_prefix) == 0;
}

#define EMBEDDING_REMOTE_LANES 4u /* requests under way at once; more go together */

/* A BERT model keeps one core busy with a few texts: while a core is free another call finds a better use for it than
 * to wait. The hashed embedder is done before anybody could wait. */
unsigned embedding_lanes(enum embedding_kind kind) {
    switch (kind) {
    case EMBEDDING_FOLDER:
        return thread_cores();
    case EMBEDDING_REMOTE:
        return EMBEDDING_REMOTE_LANES;
    case EMBEDDING_NONE:
    case EMBEDDING_HASH:
        return 0;
    }
    return 0;
}

static int embedding_create_remote(const struct embedding_source *from,
                                   const struct embedding_manner *manner, struct embedder **out,
                                   u2i_error_t *err) {
    char *key = NULL;
    U2I_TRY(embed_remote_key(&key, err));
    const struct embed_remote_options opt = {.url = from->place,
                                             .key = key,
                                             .dim = from->dim,
                                             .send_dimensions = from->asks_dim,
                                             .query_prefix = manner->query_prefix,
                                             .passage_prefix = manner->passage_prefix};
    const int rc = embed_remote_open(&opt, out, err);
    embed_remote_key_free(key);
    return rc;
}

int embedding_create(const struct engine *e, const struct embedding_source *from,
                     const struct embedding_manner *manner, struct embedder **out,
                     u2i_error_t *err) {
    *out = NULL;
    if (from->kind == EMBEDDING_HASH) {
        return embed_hash_open(from->dim, out, err);
    }
    if (from->place[0] == '\0') {
        return error_set(err, U2I_EEMBED,
                         "the store's vectors are of model %s: neither setting model_folder nor "
                         "model_url says where it is",
                         from->name);
    }
    if (from->kind == EMBEDDING_REMOTE) {
        return embedding_create_remote(from, manner, out, err);
    }
    const struct embed_bert_options opt = {.precision = manner->precision,
                                           .query_prefix = manner->query_prefix,
                                           .passage_prefix = manner->passage_prefix,
                                           .windows = manner->windows,
                                           .cache = e->cache};
    return embed_bert_open(from->place, &opt, out, err);
}
