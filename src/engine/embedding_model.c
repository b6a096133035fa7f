/* Which embedder? What people call a model ("hash", "none", a path, a name in the models' home, a URL) becomes a
 * name that is kept with the store, a length of vectors, and a place to open it from. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- What people say -------------------------------------------------------------------------- */

static bool embedding_is_folder(const char *model) {
    return strchr(model, '/') != NULL;
}

static int embedding_describe(struct embedder *e, struct embedding_source *out) {
    out->dim = e->dim;
    (void)snprintf(out->name, sizeof(out->name), "%s", e->name); /* fits: both are as long */
    e->ops->close(e);
    return U2I_OK;
}

/* By its whole path, so that a link or a dot is not what the model is called after, and every process finds it. */
static int embedding_set_place(const char *folder, struct embedding_source *out, u2i_error_t *err) {
    char path[PATH_MAX];
    if (realpath(folder, path) == NULL) {
        return error_set(err, U2I_ENOTFOUND, "%s does not exist", folder);
    }
    if (strlen(path) > SETTINGS_PATH_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "the path of %s has more than %d bytes", folder,
                         SETTINGS_PATH_MAX_BYTES);
    }
    memcpy(out->place, path, strlen(path) + 1);
    return U2I_OK;
}

static int embedding_resolve_folder(const char *folder, uint32_t dim, struct embedding_source *out,
                                    u2i_error_t *err) {
    const struct embed_bert_options plain = {.precision = EMBED_AUTO};
    struct embedder *e;
    out->kind = EMBEDDING_FOLDER;
    U2I_TRY(embedding_set_place(folder, out, err));
    U2I_TRY(embed_bert_open(out->place, &plain, &e, err));
    U2I_TRY(embedding_describe(e, out));
    return dim == 0 || dim == out->dim
               ? U2I_OK
               : error_set(err, U2I_EEMBED, "%s makes vectors of %u dimensions, not of %u", folder,
                           out->dim, dim);
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
    if (embedding_is_folder(model)) {
        return embedding_resolve_folder(model, dim, out, err);
    }
    return error_set(err, U2I_EEMBED,
                     "there is no model \"%s\": use \"hash\", \"none\", or the path of a "
                     "model's folder, as ./%s",
                     model, model);
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

/* A folder may be called differently by now: the checksum at the end says whether it is the same model. */
bool embedding_is_same(const char *a, const char *b) {
    const char *const sum_a = strrchr(a, '-');
    const char *const sum_b = strrchr(b, '-');
    if (embedding_is_hash(a) || embedding_is_hash(b) || sum_a == NULL || sum_b == NULL) {
        return strcmp(a, b) == 0;
    }
    return strcmp(sum_a, sum_b) == 0;
}

bool embedding_learns(const struct engine *e) {
    return embedding_is_hash(e->store->model);
}

void embedding_source_of(struct engine *e, struct embedding_source *out) {
    *out = (struct embedding_source){.dim = e->store->dim};
    (void)snprintf(out->name, sizeof(out->name), "%s", e->store->model); /* as long */
    if (strcmp(out->name, "none") == 0) {
        out->kind = EMBEDDING_NONE;
    } else if (embedding_is_hash(out->name)) {
        out->kind = EMBEDDING_HASH;
    } else {
        out->kind = EMBEDDING_FOLDER;
        (void)pthread_mutex_lock(&e->settings_lock);
        (void)snprintf(out->place, sizeof(out->place), "%s",
                       e->model_place != NULL ? e->model_place : e->settings.model_folder);
        (void)pthread_mutex_unlock(&e->settings_lock);
    }
}

/* The place is of the store's model, and from now on the setting says so. */
static int embedding_check_place(struct engine *e, const struct embedding_source *wish,
                                 u2i_error_t *err) {
    if (!embedding_is_same(wish->name, e->store->model)) {
        return error_set(err, U2I_EEMBED, "the store's vectors are of model %s, %s is model %s",
                         e->store->model, wish->place, wish->name);
    }
    e->model_place = str_dup(wish->place, strlen(wish->place));
    if (e->model_place == NULL) {
        return error_oom(err);
    }
    return e->readonly || strcmp(e->settings.model_folder, wish->place) == 0
               ? U2I_OK
               : e->ops->put_setting(e->store, "model_folder", wish->place, err);
}

int embedding_check(struct engine *e, const char *model, u2i_error_t *err) {
    struct embedding_source wish;
    if (model == NULL || embedding_is_model(e->store->model, model)) {
        return U2I_OK;
    }
    if (embedding_is_folder(model)) {
        U2I_TRY(embedding_resolve(model, 0, &wish, err));
        return embedding_check_place(e, &wish, err);
    }
    return error_set(err, U2I_EEMBED, "the store was made with model \"%s\", not with \"%s\"",
                     e->store->model, model);
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

/* A BERT model keeps one core busy with a few texts: while a core is free another call finds a better use for it than
 * to wait. The hashed embedder is done before anybody could wait. */
unsigned embedding_lanes(enum embedding_kind kind) {
    switch (kind) {
    case EMBEDDING_FOLDER:
        return thread_cores();
    case EMBEDDING_NONE:
    case EMBEDDING_HASH:
        return 0;
    }
    return 0;
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
                         "the store's vectors are of model %s: the setting model_folder does not "
                         "say where it lies",
                         from->name);
    }
    const struct embed_bert_options opt = {.precision = manner->precision,
                                           .query_prefix = manner->query_prefix,
                                           .passage_prefix = manner->passage_prefix,
                                           .windows = manner->windows,
                                           .cache = e->cache};
    return embed_bert_open(from->place, &opt, out, err);
}
