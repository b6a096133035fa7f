/* The store's embedder and its state. What an embedder learns from the catalogue (word weights) has a
 * number, kept with every vector; a new state is written first, then announced by a setting, so that
 * every process takes it in, and then all items are embedded anew, step by step. A crash in between
 * leaves a mark, and the next open goes on. Vectors of neighbouring states live in the same space, so
 * answers stay sensible on the way. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define EMBEDDING_BLOB         "embedder"
#define EMBEDDING_PENDING_BLOB "embedder.pending"
#define EMBEDDING_MAGIC        0x31626d65u /* "emb1" */
#define EMBEDDING_STEP         512u /* items embedded between two looks at the progress function */
/* Word weights are learnt whenever the catalogue has doubled, from 16 items on; beyond 65,536 they no
 * longer move enough to pay for embedding everything again (u2i_reembed() still does it). */
#define EMBEDDING_LEARN_FROM 16u
#define EMBEDDING_LEARN_TO   65536u

struct embedding_header {
    uint32_t magic, number, items;
};

/* ---- Which embedder --------------------------------------------------------------------------- */

/* "./all-MiniLM-L6-v2": a path, so that no folder is taken for a name. */
static bool embedding_is_folder(const char *model) {
    return model != NULL && strchr(model, '/') != NULL;
}

static int embedding_describe(struct embedder *e, char *name, size_t name_bytes, uint32_t *dim) {
    *dim = e->dim;
    (void)snprintf(name, name_bytes, "%s", e->name); /* fits: both are as long */
    e->ops->close(e);
    return U2I_OK;
}

/* The whole path of a folder, PATH_MAX bytes. */
static int embedding_path(const char *folder, char *path, u2i_error_t *err) {
    if (realpath(folder, path) == NULL) {
        return error_set(err, U2I_ENOTFOUND, "%s does not exist", folder);
    }
    return strlen(path) <= SETTINGS_PATH_MAX_BYTES
               ? U2I_OK
               : error_set(err, U2I_EINVAL, "the path of %s has more than %d bytes", folder,
                           SETTINGS_PATH_MAX_BYTES);
}

/* By its whole path, so that a link or a dot is not what the model is called after. */
static int embedding_model_in(const char *folder, uint32_t dim, char *name, size_t name_bytes,
                              uint32_t *name_dim, u2i_error_t *err) {
    char path[PATH_MAX];
    struct embedder *e;
    U2I_TRY(embedding_path(folder, path, err));
    U2I_TRY(embed_bert_open(path, &(struct embed_bert_options){.precision = EMBED_F32}, &e, err));
    U2I_TRY(embedding_describe(e, name, name_bytes, name_dim));
    return dim == 0 || dim == *name_dim
               ? U2I_OK
               : error_set(err, U2I_EEMBED, "%s makes vectors of %u dimensions, not of %u", folder,
                           *name_dim, dim);
}

int embedding_model(const char *model, uint32_t dim, char *name, size_t name_bytes,
                    uint32_t *name_dim, u2i_error_t *err) {
    const bool none = model == NULL ? dim != 0 : strcmp(model, "none") == 0;
    struct embedder *e;
    if (embedding_is_folder(model)) {
        return embedding_model_in(model, dim, name, name_bytes, name_dim, err);
    }
    if (model != NULL && !none && strcmp(model, "hash") != 0) {
        return error_set(err, U2I_EEMBED,
                         "there is no model \"%s\": use \"hash\", \"none\", or the path of a "
                         "model's folder, as ./%s",
                         model, model);
    }
    if (none) {
        *name_dim = dim;
        (void)snprintf(name, name_bytes, "none");
        return dim != 0
                   ? U2I_OK
                   : error_set(err, U2I_EINVAL, "model \"none\" needs a dim, the vectors' length");
    }
    U2I_TRY(embed_hash_open(dim == 0 ? EMBED_HASH_DIM : dim, &e, err));
    return embedding_describe(e, name, name_bytes, name_dim);
}

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
static bool embedding_is_same(const char *a, const char *b) {
    const char *const sum_a = strrchr(a, '-');
    const char *const sum_b = strrchr(b, '-');
    if (embedding_is_hash(a) || embedding_is_hash(b) || sum_a == NULL || sum_b == NULL) {
        return strcmp(a, b) == 0;
    }
    return strcmp(sum_a, sum_b) == 0;
}

/* The folder is the store's model's, and from now on the setting says so. */
static int embedding_check_folder(struct engine *e, const char *folder, u2i_error_t *err) {
    char name[sizeof(e->store->model)];
    char path[PATH_MAX];
    uint32_t dim;
    U2I_TRY(embedding_model(folder, 0, name, sizeof(name), &dim, err));
    if (!embedding_is_same(name, e->store->model)) {
        return error_set(err, U2I_EEMBED, "the store's vectors are of model %s, %s is model %s",
                         e->store->model, folder, name);
    }
    U2I_TRY(embedding_path(folder, path, err));
    e->model_folder = str_dup(path, strlen(path));
    if (e->model_folder == NULL) {
        return error_oom(err);
    }
    return e->readonly || strcmp(e->settings.model_folder, path) == 0
               ? U2I_OK
               : e->ops->put_setting(e->store, "model_folder", path, err);
}

int embedding_check(struct engine *e, const char *model, u2i_error_t *err) {
    if (embedding_is_folder(model)) {
        return embedding_check_folder(e, model, err);
    }
    return model == NULL || embedding_is_model(e->store->model, model)
               ? U2I_OK
               : error_set(err, U2I_EEMBED, "the store was made with model \"%s\", not with \"%s\"",
                           e->store->model, model);
}

/* As the store's model says, without what it has learnt. */
static int embedding_new(const struct engine *e, struct embedder **out, u2i_error_t *err) {
    if (embedding_is_hash(e->store->model)) {
        return embed_hash_open(e->store->dim, out, err);
    }
    const char *const folder = e->model_folder != NULL ? e->model_folder : e->settings.model_folder;
    *out = NULL;
    if (folder[0] == '\0') {
        return error_set(err, U2I_EEMBED,
                         "the store's vectors are of model %s: the setting model_folder does not "
                         "say where it lies",
                         e->store->model);
    }
    const struct embed_bert_options opt = {
        .precision = e->settings.model_precision == 1 ? EMBED_INT8 : EMBED_F32};
    return embed_bert_open(folder, &opt, out, err);
}

bool embedding_learns(const struct engine *e) {
    return embedding_is_hash(e->store->model);
}

/* ---- The state in use ----------------------------------------------------------------------- */

/* A second embedder with the state of `blob`, ready to be exchanged for the one in use. */
static int embedding_load(struct engine *e, struct embedder **out, struct embedding_header *h,
                          u2i_error_t *err) {
    struct buf blob = {0};
    *out = NULL;
    *h = (struct embedding_header){0};
    int rc = embedding_new(e, out, err);
    if (rc == U2I_OK && (*out)->ops->load != NULL) {
        rc = e->ops->get_blob(e->store, EMBEDDING_BLOB, &blob, err);
        if (rc == U2I_ENOTFOUND) {
            rc = U2I_OK; /* nothing learnt yet */
        } else if (rc == U2I_OK) {
            if (blob.len >= sizeof(*h)) {
                memcpy(h, blob.data, sizeof(*h));
            }
            rc = h->magic != EMBEDDING_MAGIC
                     ? error_set(err, U2I_ECORRUPT, "the embedder's saved state is damaged")
                     : (*out)->ops->load(*out, blob.data + sizeof(*h), blob.len - sizeof(*h), err);
        }
    }
    if (rc != U2I_OK && *out != NULL) {
        (*out)->ops->close(*out);
        *out = NULL;
    }
    buf_free(&blob);
    return rc;
}

static void embedding_exchange(struct engine *e, struct embedder *fresh, uint32_t number,
                               uint32_t items) {
    (void)pthread_rwlock_wrlock(&e->embedding);
    struct embedder *old = e->embedder;
    e->embedder = fresh;
    e->embedding_number = number;
    (void)pthread_rwlock_unlock(&e->embedding);
    atomic_store(&e->learnt_items, items);
    atomic_store(&e->put_since_learnt, 0);
    if (old != NULL) {
        old->ops->close(old);
    }
}

static uint32_t embedding_current(struct engine *e) {
    (void)pthread_rwlock_rdlock(&e->embedding);
    const uint32_t number = e->embedding_number;
    (void)pthread_rwlock_unlock(&e->embedding);
    return number;
}

int embedding_refresh(struct engine *e, u2i_error_t *err) {
    if (!e->embeds || atomic_load(&e->embedding_newest) <= embedding_current(e)) {
        return U2I_OK;
    }
    struct embedder *fresh;
    struct embedding_header h;
    U2I_TRY(embedding_load(e, &fresh, &h, err));
    embedding_exchange(e, fresh, h.number, h.items);
    return U2I_OK;
}

bool embedding_is_zero(const float *v, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i++) {
        if (v[i] != 0) {
            return false;
        }
    }
    return true;
}

int embedding_run(struct engine *e, const struct embed_text *texts, size_t n, float *out,
                  uint32_t *number, u2i_error_t *err) {
    if (!e->embeds) {
        return error_set(err, U2I_EEMBED,
                         "the store has model \"none\": it takes vectors and cannot embed text");
    }
    if (!e->can_embed) {
        return error_set(err, U2I_EEMBED, "text cannot be embedded: %s", e->embedding_error.msg);
    }
    (void)pthread_rwlock_rdlock(&e->embedding);
    const int rc = e->embedder->ops->embed(e->embedder, texts, n, out, err);
    if (number != NULL) {
        *number = e->embedding_number;
    }
    (void)pthread_rwlock_unlock(&e->embedding);
    return rc;
}

bool embedding_ready(struct engine *e) {
    (void)pthread_rwlock_rdlock(&e->embedding);
    const struct embedder *const embedder = e->embedder;
    const bool ready =
        embedder == NULL || embedder->ops->ready == NULL || embedder->ops->ready(embedder);
    (void)pthread_rwlock_unlock(&e->embedding);
    return ready;
}

int embedding_prepare(struct engine *e, u2i_error_t *err) {
    float none;
    return embedding_run(e, NULL, 0, &none, NULL, err);
}

/* ---- Learning ------------------------------------------------------------------------------- */

struct learning {
    struct embedder *embedder;
    uint32_t items;
    int rc;
    u2i_error_t *err;
};

static int embedding_learn_item(void *ctx, const struct store_item *item) {
    struct learning *l = ctx;
    const struct embed_text text = {
        .title = item->title, .category = item->category, .text = item->text};
    l->rc = l->embedder->ops->learn_add(l->embedder, &text, l->err);
    l->items++;
    return l->rc;
}

static int embedding_save(struct engine *e, const struct learning *l, uint32_t number,
                          u2i_error_t *err) {
    const struct embedding_header h = {EMBEDDING_MAGIC, number, l->items};
    struct buf blob = {0};
    buf_put(&blob, &h, sizeof(h));
    int rc = l->embedder->ops->save(l->embedder, &blob, err);
    if (rc == U2I_OK && blob.failed) {
        rc = error_oom(err);
    }
    if (rc == U2I_OK) { /* the mark first: a state without re-embedded items must be noticed */
        rc = e->ops->put_blob(e->store, EMBEDDING_PENDING_BLOB, "1", 1, err);
    }
    if (rc == U2I_OK) {
        rc = e->ops->put_blob(e->store, EMBEDDING_BLOB, blob.data, blob.len, err);
    }
    buf_free(&blob);
    return rc;
}

/* Tells every process, this one included, which state is the newest. */
static int embedding_announce(struct engine *e, uint32_t number, u2i_error_t *err) {
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", number);
    return e->ops->put_setting(e->store, EMBEDDING_SETTING, text, err);
}

/* Learns from all items and puts the new state in use. No write of items is under way when it is
 * exchanged, so that every item written before is seen by the re-embedding that follows. */
static int embedding_learn(struct engine *e, u2i_error_t *err) {
    struct learning l = {.err = err};
    int rc = embedding_new(e, &l.embedder, err);
    if (rc == U2I_OK) {
        rc = l.embedder->ops->learn_begin(l.embedder, err);
    }
    if (rc == U2I_OK) {
        rc = e->ops->scan_items(e->store, embedding_learn_item, &l, err);
    }
    rc = rc == U2I_OK ? l.rc : rc;
    if (rc != U2I_OK) {
        goto out;
    }
    l.embedder->ops->learn_end(l.embedder);
    const uint32_t number = embedding_current(e) + 1;
    rc = embedding_save(e, &l, number, err);
    if (rc != U2I_OK) {
        goto out;
    }
    (void)pthread_rwlock_wrlock(&e->puts);
    embedding_exchange(e, l.embedder, number, l.items);
    (void)pthread_rwlock_unlock(&e->puts);
    l.embedder = NULL;
    rc = embedding_announce(e, number, err);
out:
    if (l.embedder != NULL) {
        l.embedder->ops->close(l.embedder);
    }
    return rc;
}

/* ---- Embedding everything anew ---------------------------------------------------------------- */

struct stale_rows {
    uint32_t *rows;
    size_t n, cap;
    uint32_t number; /* rows of another number are stale */
    bool oom;
};

static int embedding_collect(void *ctx, const struct store_item *item) {
    struct stale_rows *s = ctx;
    if (item->embedding == s->number && item->vector != NULL) {
        return 0;
    }
    if (array_reserve(&s->rows, &s->cap, s->n + 1, sizeof(*s->rows)) != U2I_OK) {
        s->oom = true;
        return 1;
    }
    s->rows[s->n++] = item->row;
    return 0;
}

/* The texts of rows[0..n) that are still live; *kept gets how many, rows[] is compacted. */
static int embedding_read(struct engine *e, struct arena *a, uint32_t *rows, size_t n,
                          struct embed_text *texts, size_t *kept) {
    *kept = 0;
    U2I_TRY(e->ops->read_begin(e->store, NULL));
    int rc = U2I_OK;
    for (size_t i = 0; i < n && rc == U2I_OK; i++) {
        struct store_item item;
        if (!e->ops->item_live(e->store, rows[i])) {
            continue;
        }
        rc = e->ops->get_item(e->store, rows[i], a, &item, NULL);
        if (rc == U2I_OK) {
            texts[*kept] = (struct embed_text){
                .title = item.title, .category = item.category, .text = item.text};
            rows[(*kept)++] = rows[i];
        }
        rc = rc == U2I_ENOTFOUND ? U2I_OK : rc; /* is being deleted */
    }
    e->ops->read_end(e->store);
    return rc;
}

/* A text without a word has no vector: takes those rows out and returns how many are left. */
static size_t embedding_drop_empty(const struct engine *e, uint32_t *rows, float *vectors,
                                   size_t n) {
    const uint32_t dim = e->store->dim;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (embedding_is_zero(vectors + i * dim, dim)) {
            continue;
        }
        rows[kept] = rows[i];
        memmove(vectors + kept * dim, vectors + i * dim, dim * sizeof(*vectors));
        kept++;
    }
    return kept;
}

/* One step; no item is written meanwhile, so that no newer text gets an older vector. */
static int embedding_step(struct engine *e, uint32_t *rows, size_t n, u2i_error_t *err) {
    struct arena scratch = {0};
    struct embed_text *texts = arena_array(&scratch, n, sizeof(*texts));
    float *vectors = arena_array(&scratch, n * e->store->dim, sizeof(*vectors));
    size_t kept;
    uint32_t number = 0;
    if (texts == NULL || vectors == NULL) {
        arena_free(&scratch);
        return error_oom(err);
    }
    (void)pthread_rwlock_wrlock(&e->puts);
    int rc = embedding_read(e, &scratch, rows, n, texts, &kept);
    if (rc != U2I_OK) {
        (void)error_set(err, rc, "an item's text cannot be read to embed it anew");
    } else if (kept > 0) {
        rc = embedding_run(e, texts, kept, vectors, &number, err);
        kept = rc == U2I_OK ? embedding_drop_empty(e, rows, vectors, kept) : 0;
        if (kept > 0) {
            rc = e->ops->put_vectors(e->store, rows, vectors, kept, number, err);
        }
    }
    (void)pthread_rwlock_unlock(&e->puts);
    arena_free(&scratch);
    return rc;
}

/* Embeds every item whose vector is of another state. Stopped by `progress`, the mark stays. */
static int embedding_catch_up(struct engine *e, u2i_progress_fn progress, void *ctx,
                              u2i_error_t *err) {
    struct stale_rows stale = {.number = embedding_current(e)};
    int rc = e->ops->scan_items(e->store, embedding_collect, &stale, err);
    if (rc == U2I_OK && stale.oom) {
        rc = error_oom(err);
    }
    bool stopped = false;
    for (size_t at = 0; at < stale.n && rc == U2I_OK && !stopped; at += EMBEDDING_STEP) {
        const size_t n = stale.n - at < EMBEDDING_STEP ? stale.n - at : EMBEDDING_STEP;
        rc = embedding_step(e, stale.rows + at, n, err);
        stopped = progress != NULL && progress(ctx, at + n, stale.n) != 0;
    }
    mem_free(stale.rows);
    return rc == U2I_OK && !stopped
               ? e->ops->put_blob(e->store, EMBEDDING_PENDING_BLOB, NULL, 0, err)
               : rc;
}

/* The caller holds `reembedding`. */
static int embedding_renew(struct engine *e, u2i_progress_fn progress, void *ctx,
                           u2i_error_t *err) {
    U2I_TRY(engine_follow(e, err));
    if (embedding_learns(e)) {
        U2I_TRY(embedding_learn(e, err));
    }
    return embedding_catch_up(e, progress, ctx, err);
}

int engine_reembed(struct engine *e, u2i_progress_fn progress, void *ctx, u2i_error_t *err) {
    if (!e->embeds) {
        return error_set(err, U2I_EEMBED,
                         "the store has model \"none\": its vectors are the caller's");
    }
    (void)pthread_mutex_lock(&e->reembedding);
    const int rc = embedding_renew(e, progress, ctx, err);
    (void)pthread_mutex_unlock(&e->reembedding);
    return rc;
}

int embedding_settle(struct engine *e, uint32_t number, u2i_error_t *err) {
    U2I_TRY(engine_refresh(e, err));
    if (!e->embeds || number >= embedding_current(e)) {
        return U2I_OK;
    }
    (void)pthread_mutex_lock(&e->reembedding);
    const int rc = embedding_catch_up(e, NULL, NULL, err);
    (void)pthread_mutex_unlock(&e->reembedding);
    return rc;
}

int embedding_grow(struct engine *e, size_t put, u2i_error_t *err) {
    const uint32_t learnt = atomic_load(&e->learnt_items);
    const size_t since = atomic_fetch_add(&e->put_since_learnt, put) + put;
    if (!e->embeds || !embedding_learns(e) || learnt >= EMBEDDING_LEARN_TO ||
        since < (learnt < EMBEDDING_LEARN_FROM ? EMBEDDING_LEARN_FROM : learnt)) {
        return U2I_OK;
    }
    struct store_stats stats;
    U2I_TRY(e->ops->stats(e->store, &stats, err));
    if (stats.items < 2 * (uint64_t)learnt) { /* mostly replaced, not grown */
        atomic_store(&e->put_since_learnt, 0);
        return U2I_OK;
    }
    int rc = U2I_OK;
    (void)pthread_mutex_lock(&e->reembedding);
    if (atomic_load(&e->learnt_items) == learnt) { /* else another thread has just done it */
        rc = embedding_renew(e, NULL, NULL, err);
    }
    (void)pthread_mutex_unlock(&e->reembedding);
    return rc;
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int embedding_go_on(struct engine *e, u2i_error_t *err) {
    struct buf mark = {0};
    const int pending = e->ops->get_blob(e->store, EMBEDDING_PENDING_BLOB, &mark, NULL);
    buf_free(&mark);
    if (pending != U2I_OK) {
        return U2I_OK;
    }
    log_line(&e->log, U2I_LOG_INFO, "going on with a re-embedding that was interrupted");
    (void)pthread_mutex_lock(&e->reembedding);
    int rc = embedding_announce(e, embedding_current(e), err);
    if (rc == U2I_OK) {
        rc = embedding_catch_up(e, NULL, NULL, err);
    }
    (void)pthread_mutex_unlock(&e->reembedding);
    return rc;
}

/* A model that can't be opened is no reason to close a store: its vectors are there, only text can't become new
 * ones. */
static int embedding_without(struct engine *e, int rc, u2i_error_t *err) {
    if (rc == U2I_ENOMEM || embedding_is_hash(e->store->model)) {
        return rc;
    }
    e->embedding_error = *err;
    log_line(&e->log, U2I_LOG_WARN, "no text can be embedded: %s", err->msg);
    error_clear(err);
    return U2I_OK;
}

int embedding_open(struct engine *e, u2i_error_t *err) {
    struct embedder *fresh;
    struct embedding_header h;
    u2i_error_t why = {0};
    if (strcmp(e->store->model, "none") == 0) {
        return U2I_OK;
    }
    e->embeds = true;
    err = err == NULL ? &why : err;
    int rc = embedding_load(e, &fresh, &h, err);
    if (rc == U2I_OK && !embedding_is_same(fresh->name, e->store->model)) {
        rc = error_set(err, U2I_EEMBED, "the store's vectors are of model %s, %s is %s",
                       e->store->model,
                       embedding_learns(e)       ? "this u2i's"
                       : e->model_folder != NULL ? e->model_folder
                                                 : e->settings.model_folder,
                       fresh->name);
        fresh->ops->close(fresh);
    }
    if (rc != U2I_OK) {
        return embedding_without(e, rc, err);
    }
    embedding_exchange(e, fresh, h.number, h.items);
    e->can_embed = true;
    if (!e->readonly && embedding_go_on(e, err) != U2I_OK) {
        /* The mark stays for the next open; the vectors that are there can be used meanwhile. */
        log_line(&e->log, U2I_LOG_WARN, "a re-embedding is not finished: %s", err->msg);
        error_clear(err);
    }
    return U2I_OK;
}

void embedding_close(struct engine *e) {
    if (e->embedder != NULL) {
        e->embedder->ops->close(e->embedder);
    }
    mem_free(e->model_folder);
}
