/* The store's embedder and its state. What an embedder learns from the catalogue (word weights) has a
 * number, kept with every vector; a new state is written first, then announced by a setting, so that
 * every process takes it in, and then all items are embedded anew, step by step. A crash in between
 * leaves a mark, and the next open goes on. Vectors of neighbouring states live in the same space, so
 * answers stay sensible on the way. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>

#define EMBEDDING_MAGIC 0x31626d65u /* "emb1" */
#define EMBEDDING_STEP  512u        /* items embedded between two looks at the progress function */
/* Word weights are learnt whenever the catalogue has doubled, from 16 items on; beyond 65,536 they no
 * longer move enough to pay for embedding everything again (u2i_reembed() still does it). */
#define EMBEDDING_LEARN_FROM 16u
#define EMBEDDING_LEARN_TO   65536u

/* ---- The state in use ----------------------------------------------------------------------- */

int embedding_unpack(struct embedder *e, const struct buf *blob, struct embedding_header *h,
                     u2i_error_t *err) {
    *h = (struct embedding_header){0};
    if (blob->len >= sizeof(*h)) {
        memcpy(h, blob->data, sizeof(*h));
    }
    return h->magic != EMBEDDING_MAGIC
               ? error_set(err, U2I_ECORRUPT, "the embedder's saved state is damaged")
               : e->ops->load(e, blob->data + sizeof(*h), blob->len - sizeof(*h), err);
}

/* A second embedder in the present state, ready to be exchanged for the one in use. */
static int embedding_load(struct engine *e, const struct embedding_manner *manner,
                          struct embedder **out, struct embedding_header *h, u2i_error_t *err) {
    struct embedding_source from;
    struct buf blob = {0};
    *h = (struct embedding_header){0};
    embedding_source_of(e, &from);
    int rc = embedding_create(e, &from, manner, out, err);
    if (rc == U2I_OK && (*out)->ops->load != NULL) {
        rc = e->ops->get_blob(e->store, STORE_STATE_BLOB, &blob, err);
        rc = rc == U2I_OK          ? embedding_unpack(*out, &blob, h, err)
             : rc == U2I_ENOTFOUND ? U2I_OK /* nothing learnt yet */
                                   : rc;
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

/* The settings that say how texts are embedded have changed. A model that can't be opened any more goes on as it is. */
static int embedding_renew_manner(struct engine *e, const struct embedding_manner *manner,
                                  u2i_error_t *err) {
    struct embedder *fresh;
    struct embedding_header h;
    const int rc = embedding_load(e, manner, &fresh, &h, err);
    if (rc == U2I_OK) {
        embedding_exchange(e, fresh, h.number, h.items);
    } else if (rc == U2I_ENOMEM || rc == STORE_MOVED) {
        return rc;
    } else {
        log_line(&e->log, U2I_LOG_WARN, "texts are embedded as before the settings changed: %s",
                 err == NULL ? "" : err->msg);
        error_clear(err);
    }
    e->manner = *manner;
    return U2I_OK;
}

int embedding_refresh(struct engine *e, u2i_error_t *err) {
    struct embedding_manner manner;
    if (!e->can_embed) {
        return U2I_OK;
    }
    embedding_manner_of(e, &manner);
    if (!embedding_same_manner(&manner, &e->manner)) {
        return embedding_renew_manner(e, &manner, err);
    }
    if (atomic_load(&e->embedding_newest) <= embedding_current(e)) {
        return U2I_OK;
    }
    struct embedder *fresh;
    struct embedding_header h;
    U2I_TRY(embedding_load(e, &manner, &fresh, &h, err));
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
    const int rc = embedding_batch_run(&e->batch, e->embedder, texts, n, out, err);
    if (number != NULL) {
        *number = e->embedding_number;
    }
    (void)pthread_rwlock_unlock(&e->embedding);
    return rc;
}

void embedding_about(struct engine *e, struct embed_about *out) {
    *out = (struct embed_about){.parity = 0};
    (void)pthread_rwlock_rdlock(&e->embedding);
    if (e->embedder != NULL && e->embedder->ops->about != NULL) {
        e->embedder->ops->about(e->embedder, out);
    }
    (void)pthread_rwlock_unlock(&e->embedding);
}

bool embedding_is_quick(const struct engine *e) {
    return e->batch.lanes == 0;
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

int embedding_teach(struct engine *e, struct embedder *embedder, uint32_t *items,
                    u2i_error_t *err) {
    struct learning l = {.embedder = embedder, .err = err};
    U2I_TRY(embedder->ops->learn_begin(embedder, err));
    U2I_TRY(e->ops->scan_items(e->store, embedding_learn_item, &l, err));
    U2I_TRY(l.rc);
    embedder->ops->learn_end(embedder);
    *items = l.items;
    return U2I_OK;
}

int embedding_pack(const struct embedder *e, uint32_t number, uint32_t items, struct buf *out,
                   u2i_error_t *err) {
    const struct embedding_header h = {EMBEDDING_MAGIC, number, items};
    buf_put(out, &h, sizeof(h));
    U2I_TRY(e->ops->save(e, out, err));
    return out->failed ? error_oom(err) : U2I_OK;
}

static int embedding_save(struct engine *e, const struct embedder *embedder, uint32_t number,
                          uint32_t items, u2i_error_t *err) {
    struct buf blob = {0};
    int rc = embedding_pack(embedder, number, items, &blob, err);
    if (rc == U2I_OK) { /* the mark first: a state without re-embedded items must be noticed */
        rc = e->ops->put_blob(e->store, STORE_STATE_PENDING_BLOB, "1", 1, err);
    }
    if (rc == U2I_OK) {
        rc = e->ops->put_blob(e->store, STORE_STATE_BLOB, blob.data, blob.len, err);
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
    struct embedding_source from;
    struct embedding_manner manner;
    struct embedder *fresh;
    uint32_t items;
    embedding_source_of(e, &from);
    embedding_manner_of(e, &manner);
    U2I_TRY(embedding_create(e, &from, &manner, &fresh, err));
    const uint32_t number = embedding_current(e) + 1;
    int rc = embedding_teach(e, fresh, &items, err);
    if (rc == U2I_OK) {
        rc = embedding_save(e, fresh, number, items, err);
    }
    if (rc != U2I_OK) {
        fresh->ops->close(fresh);
        return rc;
    }
    (void)pthread_rwlock_wrlock(&e->puts);
    embedding_exchange(e, fresh, number, items);
    (void)pthread_rwlock_unlock(&e->puts);
    return embedding_announce(e, number, err);
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
               ? e->ops->put_blob(e->store, STORE_STATE_PENDING_BLOB, NULL, 0, err)
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
    const int pending = e->ops->get_blob(e->store, STORE_STATE_PENDING_BLOB, &mark, NULL);
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
    if (rc == U2I_ENOMEM || rc == STORE_MOVED || embedding_learns(e)) {
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
    struct embedding_source from;
    u2i_error_t why = {0};
    if (strcmp(e->store->model, "none") == 0) {
        return U2I_OK;
    }
    embedding_source_of(e, &from);
    embedding_batch_init(&e->batch, embedding_lanes(from.kind));
    e->embeds = true;
    err = err == NULL ? &why : err;
    embedding_manner_of(e, &e->manner);
    int rc = embedding_load(e, &e->manner, &fresh, &h, err);
    if (rc == U2I_OK && !embedding_is_same(fresh->name, e->store->model)) {
        rc = error_set(err, U2I_EEMBED, "the store's vectors are of model %s, %s is %s",
                       e->store->model, embedding_learns(e) ? "this u2i's" : from.place,
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
    if (e->embeds) {
        embedding_batch_destroy(&e->batch);
    }
    mem_free(e->model_place);
}
