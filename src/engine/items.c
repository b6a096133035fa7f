/* Items and users going in and coming out: texts get their vectors on the way in, copies are packed
 * into one allocation on the way out. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"

/* ---- Putting items -------------------------------------------------------------------------- */

/* The caller's vectors, scaled to unit length. */
static int items_copy_vectors(const struct engine *e, const u2i_item_t *items, size_t n,
                              struct store_item *rows, float *vectors, u2i_error_t *err) {
    const uint32_t dim = e->store->dim;
    U2I_TRY(engine_check_dim(e, err));
    for (size_t i = 0; i < n; i++) {
        float *v = vectors + i * dim;
        if (items[i].vector == NULL) {
            return error_at(
                err, U2I_EEMBED, (int32_t)i,
                "item \"%s\" has no vector, and the store (model \"none\") cannot make one",
                items[i].id);
        }
        memcpy(v, items[i].vector, dim * sizeof(*v));
        if (!vec_normalise(v, dim)) {
            return error_at(err, U2I_EINVAL, (int32_t)i,
                            "the vector of item \"%s\" has length 0 or is not finite", items[i].id);
        }
        rows[i].vector = v;
    }
    return U2I_OK;
}

static bool items_same_text(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The vector of an item that is put again with the texts that it has; false: it has none. In a read section. */
static bool items_reuse(struct engine *e, struct arena *a, const u2i_item_t *item, float *vector) {
    const uint32_t row = e->ops->item_row(e->store, item->id);
    struct store_item old;
    if (row == STORE_NONE || !e->ops->item_live(e->store, row) ||
        e->ops->get_item(e->store, row, a, &old, NULL) != U2I_OK ||
        !items_same_text(old.title, item->title) ||
        !items_same_text(old.category, item->category) || !items_same_text(old.text, item->text)) {
        return false;
    }
    const float *const v = e->ops->vector(e->store, STORE_CONTENT, row);
    if (v != NULL) {
        memcpy(vector, v, e->store->dim * sizeof(*v));
    }
    return v != NULL;
}

struct items_fresh { /* items whose texts have to be embedded */
    float *all;      /* the vectors of all items */
    size_t *at;      /* which ones, n of them */
    struct embed_text *texts;
    float *vectors; /* of the fresh ones; the same as `all` where all are fresh */
    size_t n;
};

/* A catalogue is imported again each night, and hardly a text of it is new: where a vector depends on the text alone,
 * known ones are kept. */
static int items_find_fresh(struct engine *e, struct arena *a, const u2i_item_t *items, size_t n,
                            struct items_fresh *out, u2i_error_t *err) {
    const bool reuses = !embedding_learns(e);
    out->n = 0;
    if (reuses) {
        U2I_TRY(e->ops->read_begin(e->store, err));
    }
    for (size_t i = 0; i < n; i++) {
        if (!reuses || !items_reuse(e, a, &items[i], out->all + i * e->store->dim)) {
            out->texts[out->n] = (struct embed_text){
                .title = items[i].title, .category = items[i].category, .text = items[i].text};
            out->at[out->n++] = i;
        }
    }
    if (reuses) {
        e->ops->read_end(e->store);
    }
    return U2I_OK;
}

/* Embeds what is fresh, and puts each vector where it belongs. */
static int items_embed_fresh(struct engine *e, const struct items_fresh *f, uint32_t *number,
                             u2i_error_t *err) {
    const uint32_t dim = e->store->dim;
    const int rc = f->n == 0 ? U2I_OK : embedding_run(e, f->texts, f->n, f->vectors, number, err);
    if (rc == U2I_EEMBED && err != NULL && err->offset >= 0 && (size_t)err->offset < f->n) {
        err->offset = (int32_t)f->at[err->offset];
    }
    for (size_t i = 0; i < f->n && rc == U2I_OK && f->vectors != f->all; i++) {
        memcpy(f->all + f->at[i] * dim, f->vectors + i * dim, dim * sizeof(*f->all));
    }
    return rc;
}

static int items_embed(struct engine *e, struct arena *a, const u2i_item_t *items, size_t n,
                       struct store_item *rows, u2i_error_t *err) {
    const uint32_t dim = e->store->dim;
    float *vectors = arena_array(a, n * dim, sizeof(*vectors));
    uint32_t number = 0;
    if (vectors == NULL) {
        return error_oom(err);
    }
    if (!e->embeds) {
        return items_copy_vectors(e, items, n, rows, vectors, err);
    }
    struct items_fresh fresh = {
        vectors, arena_array(a, n, sizeof(*fresh.at)), arena_array(a, n, sizeof(*fresh.texts)),
        embedding_learns(e) ? vectors : arena_array(a, n * dim, sizeof(*fresh.vectors)), 0};
    if (fresh.at == NULL || fresh.texts == NULL || fresh.vectors == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < n; i++) {
        if (items[i].vector != NULL) {
            return error_at(
                err, U2I_EEMBED, (int32_t)i,
                "item \"%s\" brings a vector, but the store makes its own (model \"%s\"); "
                "create the store with model \"none\" to bring yours",
                items[i].id, e->store->model);
        }
    }
    U2I_TRY(items_find_fresh(e, a, items, n, &fresh, err));
    U2I_TRY(items_embed_fresh(e, &fresh, &number, err));
    for (size_t i = 0; i < n; i++) {
        rows[i].embedding = number;
        rows[i].vector = embedding_is_zero(vectors + i * dim, dim) ? NULL : vectors + i * dim;
    }
    return U2I_OK;
}

/* The items are stored and found; better word weights can wait for the next attempt. */
static void items_settle(struct engine *e, uint32_t number, size_t n, u2i_error_t *err) {
    int rc = embedding_settle(e, number, err);
    if (rc == U2I_OK) {
        rc = embedding_grow(e, n, err);
    }
    if (rc != U2I_OK && rc != STORE_MOVED) {
        log_line(&e->log, U2I_LOG_WARN, "word weights are not renewed: %s",
                 err == NULL ? "" : err->msg);
    }
    error_clear(err);
}

int engine_put_items(struct engine *e, const u2i_item_t *items, size_t n, u2i_error_t *err) {
    struct arena scratch = {0};
    struct store_item *rows = arena_array(&scratch, n, sizeof(*rows));
    int rc = rows == NULL ? error_oom(err) : engine_follow(e, err);
    for (size_t i = 0; i < n && rc == U2I_OK; i++) {
        rows[i] = (struct store_item){.id = items[i].id,
                                      .title = items[i].title,
                                      .text = items[i].text,
                                      .category = items[i].category,
                                      .attrs_json = items[i].attrs_json};
    }
    if (rc == U2I_OK) {
        (void)pthread_rwlock_rdlock(&e->puts);
        rc = items_embed(e, &scratch, items, n, rows, err);
        if (rc == U2I_OK) {
            rc = e->ops->put_items(e->store, rows, n, err);
        }
        (void)pthread_rwlock_unlock(&e->puts);
    }
    const uint32_t number = rc == U2I_OK && n > 0 ? rows[0].embedding : 0;
    arena_free(&scratch);
    if (rc == U2I_OK) {
        items_settle(e, number, n, err);
    }
    return rc;
}

int engine_delete_items(struct engine *e, const char *const *ids, size_t n, size_t *deleted,
                        u2i_error_t *err) {
    return e->ops->delete_items(e->store, ids, n, deleted, err);
}

/* ---- Copies --------------------------------------------------------------------------------- */

static size_t copy_bytes(const char *s) {
    return s == NULL ? 0 : strlen(s) + 1;
}

static const char *copy_string(char **at, const char *s) {
    if (s == NULL) {
        return NULL;
    }
    const size_t n = strlen(s) + 1;
    char *copy = memcpy(*at, s, n);
    *at += n;
    return copy;
}

/* One block: the struct, the vector, the strings. */
static int items_copy(const struct store_item *from, uint32_t dim, u2i_item_t **out,
                      u2i_error_t *err) {
    const size_t vector_bytes = from->vector == NULL ? 0 : dim * sizeof(float);
    const size_t bytes = sizeof(u2i_item_t) + vector_bytes + copy_bytes(from->id) +
                         copy_bytes(from->title) + copy_bytes(from->text) +
                         copy_bytes(from->category) + copy_bytes(from->attrs_json);
    char *block = mem_alloc(bytes);
    if (block == NULL) {
        return error_oom(err);
    }
    u2i_item_t *item = (u2i_item_t *)(void *)block;
    char *at = block + sizeof(*item);
    *item = (u2i_item_t){0};
    if (vector_bytes > 0) {
        item->vector = memcpy(at, from->vector, vector_bytes);
        at += vector_bytes;
    }
    item->id = copy_string(&at, from->id);
    item->title = copy_string(&at, from->title);
    item->text = copy_string(&at, from->text);
    item->category = copy_string(&at, from->category);
    item->attrs_json = copy_string(&at, from->attrs_json);
    *out = item;
    return U2I_OK;
}

/* Vectors of a length that the caller doesn't know are not shown. */
static const float *items_vector(const struct engine *e, const float *vector) {
    return e->caller_dim == e->store->dim ? vector : NULL;
}

int engine_get_item(struct engine *e, const char *id, u2i_item_t **out, u2i_error_t *err) {
    struct arena scratch = {0};
    struct store_item item;
    U2I_TRY(e->ops->read_begin(e->store, err));
    const uint32_t row = e->ops->item_row(e->store, id);
    int rc = U2I_OK;
    if (row == STORE_NONE || !e->ops->item_live(e->store, row)) {
        rc = error_set(err, U2I_ENOTFOUND, "there is no item \"%s\"", id);
    } else {
        rc = e->ops->get_item(e->store, row, &scratch, &item, err);
    }
    if (rc == U2I_OK) {
        item.vector = items_vector(e, item.vector);
        rc = items_copy(&item, e->store->dim, out, err);
    }
    e->ops->read_end(e->store);
    arena_free(&scratch);
    return rc;
}

struct item_scan {
    const struct engine *e;
    u2i_item_fn fn;
    void *ctx;
};

static int items_scan_one(void *ctx, const struct store_item *from) {
    const struct item_scan *scan = ctx;
    const u2i_item_t item = {from->id,       from->title,      from->text,
                             from->category, from->attrs_json, items_vector(scan->e, from->vector)};
    return scan->fn(scan->ctx, &item);
}

int engine_scan_items(struct engine *e, u2i_item_fn fn, void *ctx, u2i_error_t *err) {
    struct item_scan scan = {e, fn, ctx};
    return e->ops->scan_items(e->store, items_scan_one, &scan, err);
}

/* ---- Users ---------------------------------------------------------------------------------- */

int engine_put_users(struct engine *e, const u2i_user_t *users, size_t n, u2i_error_t *err) {
    struct store_user *rows = alloc_array(n, sizeof(*rows));
    if (rows == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < n; i++) {
        rows[i] = (struct store_user){.id = users[i].id,
                                      .interests = users[i].interests,
                                      .attrs_json = users[i].attrs_json,
                                      .decay = users[i].decay};
    }
    const int rc = e->ops->put_users(e->store, rows, n, err);
    mem_free(rows);
    return rc;
}

static int users_copy(const struct store_user *from, u2i_user_t **out, u2i_error_t *err) {
    char *block = mem_alloc(sizeof(u2i_user_t) + copy_bytes(from->id) +
                            copy_bytes(from->interests) + copy_bytes(from->attrs_json));
    if (block == NULL) {
        return error_oom(err);
    }
    u2i_user_t *user = (u2i_user_t *)(void *)block;
    char *at = block + sizeof(*user);
    user->decay = from->decay;
    user->id = copy_string(&at, from->id);
    user->interests = copy_string(&at, from->interests);
    user->attrs_json = copy_string(&at, from->attrs_json);
    *out = user;
    return U2I_OK;
}

int engine_get_user(struct engine *e, const char *id, u2i_user_t **out, u2i_error_t *err) {
    struct arena scratch = {0};
    struct store_user user;
    U2I_TRY(e->ops->read_begin(e->store, err));
    const uint32_t row = e->ops->user_row(e->store, id);
    int rc = row == STORE_NONE ? error_set(err, U2I_ENOTFOUND, "there is no user \"%s\"", id)
                               : e->ops->get_user(e->store, row, &scratch, &user, err);
    if (rc == U2I_OK) {
        rc = users_copy(&user, out, err);
    }
    e->ops->read_end(e->store);
    arena_free(&scratch);
    return rc;
}

int engine_delete_user(struct engine *e, const char *id, u2i_error_t *err) {
    return e->ops->delete_user(e->store, id, err);
}

struct user_scan {
    u2i_user_fn fn;
    void *ctx;
};

static int users_scan_one(void *ctx, const struct store_user *from) {
    const struct user_scan *scan = ctx;
    const u2i_user_t user = {from->id, from->interests, from->attrs_json, from->decay};
    return scan->fn(scan->ctx, &user);
}

int engine_scan_users(struct engine *e, u2i_user_fn fn, void *ctx, u2i_error_t *err) {
    struct user_scan scan = {fn, ctx};
    return e->ops->scan_users(e->store, users_scan_one, &scan, err);
}
