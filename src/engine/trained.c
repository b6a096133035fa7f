/* The model in use. What a training has learnt lies in the store as bytes, cut into blobs, under a token of
 * its own; a setting names the token in use and the one before it. So a training that was cut short leaves
 * nothing behind but blobs that nobody names, two that end at once don't mix, and going back is one setting.
 *
 * Model and taste vectors are exchanged together, in one moment, while no read section is open. Items that
 * the model doesn't know get vectors from their content: those that change are marked by the listener and
 * looked at before the next answer. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <math.h>
#include <stdio.h>

#define TRAINED_MAGIC      0x3174726cu /* "lrt1" */
#define TRAINED_BLOB_BYTES ((size_t)16 << 20)
#define TRAINED_NAME_BYTES 64
#define TRAINED_STEP       1024u /* items given a vector between two looks at the lock */

/* ---- As bytes --------------------------------------------------------------------------------- */

static void trained_blob_name(char *name, const char *token, uint32_t part) {
    (void)snprintf(name, TRAINED_NAME_BYTES, "model.%s.%u", token,
                   part); /* fits: tokens are short */
}

static int trained_put_blobs(struct engine *e, const char *token, const struct buf *bytes,
                             u2i_error_t *err) {
    char name[TRAINED_NAME_BYTES];
    uint32_t part = 0;
    for (size_t at = 0; at < bytes->len; at += TRAINED_BLOB_BYTES, part++) {
        const size_t left = bytes->len - at;
        trained_blob_name(name, token, part);
        U2I_TRY(e->ops->put_blob(e->store, name, bytes->data + at,
                                 left < TRAINED_BLOB_BYTES ? left : TRAINED_BLOB_BYTES, err));
    }
    return U2I_OK;
}

static int trained_get_blobs(struct engine *e, const char *token, struct buf *out,
                             u2i_error_t *err) {
    struct buf part = {0};
    char name[TRAINED_NAME_BYTES];
    int rc = U2I_OK;
    for (uint32_t i = 0; rc == U2I_OK; i++) {
        trained_blob_name(name, token, i);
        buf_reset(&part);
        rc = e->ops->get_blob(e->store, name, &part, err);
        if (rc == U2I_OK) {
            buf_put(out, part.data, part.len);
        }
        if (rc == U2I_OK && part.len < TRAINED_BLOB_BYTES) {
            break;
        }
    }
    buf_free(&part);
    if (rc == U2I_ENOTFOUND && out->len > 0) { /* its length is a multiple of a blob's */
        error_clear(err);
        rc = U2I_OK;
    }
    return rc == U2I_OK && out->failed ? error_oom(err) : rc;
}

void trained_forget(struct engine *e, const char *token) {
    char name[TRAINED_NAME_BYTES];
    struct buf part = {0};
    int rc = token[0] == '\0' ? U2I_ENOTFOUND : U2I_OK;
    for (uint32_t i = 0; rc == U2I_OK; i++) {
        trained_blob_name(name, token, i);
        buf_reset(&part);
        rc = e->ops->get_blob(e->store, name, &part, NULL);
        if (rc == U2I_OK) {
            rc = e->ops->put_blob(e->store, name, NULL, 0, NULL);
        }
    }
    buf_free(&part);
}

int trained_save(struct engine *e, const struct trained *l, u2i_error_t *err) {
    const struct trained_header h = {TRAINED_MAGIC,    l->version, l->weight_max,
                                     e->store->models, l->now_ms,  l->events};
    struct buf bytes = {0};
    buf_put(&bytes, &h, sizeof(h));
    int rc = model_save(l->model, &bytes, err);
    if (rc == U2I_OK && bytes.failed) {
        rc = error_oom(err);
    }
    if (rc == U2I_OK) {
        rc = trained_put_blobs(e, l->token, &bytes, err);
    }
    buf_free(&bytes);
    return rc;
}

static int trained_load(struct engine *e, const char *token, struct trained *out,
                        u2i_error_t *err) {
    struct buf bytes = {0};
    struct trained_header h;
    *out = (struct trained){0};
    int rc = trained_get_blobs(e, token, &bytes, err);
    if (rc == U2I_OK && bytes.len < sizeof(h)) {
        rc = error_set(err, U2I_ECORRUPT, "what was learnt (%s) is cut short", token);
    }
    if (rc == U2I_OK) {
        memcpy(&h, bytes.data, sizeof(h));
        rc = h.magic != TRAINED_MAGIC || !(h.weight_max > 0)
                 ? error_set(err, U2I_ECORRUPT, "what was learnt (%s) is damaged", token)
                 : model_load(bytes.data + sizeof(h), bytes.len - sizeof(h), &out->model, err);
    }
    if (rc == U2I_OK && h.embedders != e->store->models && model_content_dim(out->model) != 0) {
        model_forget_content(out->model);
        out->content_gone = true;
        log_line(&e->log, U2I_LOG_INFO,
                 "what was learnt of content is of another embedder's vectors: the next training "
                 "learns it anew");
    }
    if (rc == U2I_OK && model_content_dim(out->model) != 0 &&
        model_content_dim(out->model) != e->store->dim) {
        rc = error_set(err, U2I_ECORRUPT, "what was learnt (%s) is of vectors of %u dimensions",
                       token, model_content_dim(out->model));
        model_free(out->model);
        out->model = NULL;
    }
    if (rc == U2I_OK) {
        out->version = h.version;
        out->weight_max = h.weight_max;
        out->now_ms = h.now_ms;
        out->events = h.events;
        (void)snprintf(out->token, sizeof(out->token), "%s", token);
    }
    buf_free(&bytes);
    return rc;
}

/* ---- The one in use --------------------------------------------------------------------------- */

struct trained_exchange {
    struct engine *e;
    struct trained model;
};

static void trained_swap(void *ctx) {
    struct trained_exchange *x = ctx;
    const struct trained old = x->e->trained;
    x->e->trained = x->model;
    x->model = old;
    x->e->all_taste_stale = x->e->trained.model != NULL;
    atomic_store(&x->e->taste_stale, x->e->all_taste_stale);
}

/* Under `exchanging`. */
static int trained_exchange(struct engine *e, struct trained *fresh, u2i_error_t *err) {
    struct trained_exchange x = {e, *fresh};
    uint32_t *rows = NULL;
    float *vectors = NULL;
    int rc = U2I_OK;
    if (fresh->model == NULL ||
        model_search_dim(fresh->model) == 0) { /* only sparse parts, or none */
        rc = e->ops->exchange_taste(e->store, NULL, trained_swap, &x, err);
        goto out;
    }
    const uint32_t n = model_count(fresh->model), dim = model_search_dim(fresh->model);
    rows = alloc_array(n, sizeof(*rows));
    vectors = alloc_array((size_t)n * dim, sizeof(*vectors));
    if (rows == NULL || vectors == NULL) {
        rc = error_oom(err);
        goto out;
    }
    for (uint32_t k = 0; k < n; k++) {
        rows[k] = model_row(fresh->model, k);
        x.model.popular_max = fmaxf(x.model.popular_max, model_popular(fresh->model, rows[k]));
        memcpy(vectors + (size_t)k * dim, model_out(fresh->model, rows[k]), dim * sizeof(*vectors));
    }
    struct store_vectors v = {.dim = dim,
                              .norm_max = model_norm_max(fresh->model),
                              .rows = rows,
                              .vectors = vectors,
                              .n = n};
    v.questions = model_questions(fresh->model, &v.questions_n);
    v.token = fresh->token;
    rc = e->ops->exchange_taste(e->store, &v, trained_swap, &x, err);
out:
    mem_free(vectors);
    mem_free(rows);
    if (rc == U2I_OK) {
        model_free(x.model.model); /* the one that was in use */
        *fresh = (struct trained){0};
    }
    return rc;
}

int trained_use(struct engine *e, struct trained *fresh, u2i_error_t *err) {
    (void)pthread_mutex_lock(&e->exchanging);
    const int rc = trained_exchange(e, fresh, err);
    (void)pthread_mutex_unlock(&e->exchanging);
    return rc;
}

/* "TOKEN PREVIOUS", either may be "-". */
void trained_parse(const char *value, struct trained_tokens *out) {
    *out = (struct trained_tokens){0};
    if (value != NULL && sscanf(value, "%23s %23s", out->newest, out->before) < 1) {
        return;
    }
    out->newest[0] = out->newest[0] == '-' ? '\0' : out->newest[0];
    out->before[0] = out->before[0] == '-' ? '\0' : out->before[0];
}

int trained_announce(struct engine *e, const struct trained_tokens *t, u2i_error_t *err) {
    char value[64];
    (void)snprintf(value, sizeof(value), "%s %s", t->newest[0] == '\0' ? "-" : t->newest,
                   t->before[0] == '\0' ? "-" : t->before);
    return e->ops->put_setting(e->store, TRAINED_SETTING, value, err);
}

int trained_refresh(struct engine *e, u2i_error_t *err) {
    if (atomic_load(&e->training_ends) || strcmp(e->tokens.newest, e->trained.token) == 0) {
        return U2I_OK;
    }
    struct trained fresh = {0};
    int rc = U2I_OK;
    if (e->tokens.newest[0] != '\0') {
        u2i_error_t why = {0};
        rc = trained_load(e, e->tokens.newest, &fresh, &why);
        if (rc == U2I_ENOMEM) {
            return error_oom(err);
        }
        if (rc != U2I_OK) { /* derived: a training makes it anew, and answers go on without it */
            log_line(&e->log, U2I_LOG_WARN, "answers go on without what was learnt: %s", why.msg);
            (void)snprintf(fresh.token, sizeof(fresh.token), "%s", e->tokens.newest);
        }
    }
    rc = trained_use(e, &fresh, err);
    model_free(fresh.model);
    return rc;
}

void trained_close(struct engine *e) {
    model_free(e->trained.model);
}

/* ---- Items that are new ----------------------------------------------------------------------- */

struct trained_rows {
    struct engine *e;
    uint32_t rows[TRAINED_STEP];
    bool none[TRAINED_STEP]; /* there is no vector for it */
    uint32_t n;
    float *vectors; /* [TRAINED_STEP][dim] */
    uint32_t dim;
};

/* Marks what the model doesn't know: the rest came with it, or is marked by itself when it changes. */
static void trained_mark_unknown(struct engine *e) {
    const struct model *m = e->trained.model;
    roaring_bitmap_add_range(e->stale_taste, 0, e->ops->item_end(e->store));
    for (uint32_t k = 0; m != NULL && k < model_count(m); k++) {
        roaring_bitmap_remove(e->stale_taste, model_row(m, k));
    }
    e->all_taste_stale = false;
}

/* Takes the next marked rows. While no read section is open. */
static void trained_take(void *ctx) {
    struct trained_rows *r = ctx;
    struct engine *e = r->e;
    if (e->all_taste_stale) {
        trained_mark_unknown(e);
    }
    roaring_uint32_iterator_t it;
    roaring_init_iterator(e->stale_taste, &it);
    r->n = e->trained.model == NULL || model_search_dim(e->trained.model) == 0
               ? 0
               : roaring_read_uint32_iterator(&it, r->rows, TRAINED_STEP);
    if (r->n < TRAINED_STEP) {
        roaring_bitmap_clear(e->stale_taste);
    } else {
        roaring_bitmap_remove_range(e->stale_taste, 0, (uint64_t)r->rows[r->n - 1] + 1);
    }
    atomic_store(&e->taste_stale, !roaring_bitmap_is_empty(e->stale_taste));
}

/* Inside a read section. */
static void trained_find(struct trained_rows *r) {
    struct engine *e = r->e;
    for (uint32_t i = 0; i < r->n; i++) {
        float *const v = r->vectors + (size_t)i * r->dim;
        const float *const known = model_out(e->trained.model, r->rows[i]);
        const float *const content = e->ops->vector(e->store, STORE_CONTENT, r->rows[i]);
        r->none[i] = !e->ops->item_live(e->store, r->rows[i]);
        if (!r->none[i] && known != NULL) {
            memcpy(v, known, r->dim * sizeof(*v));
        } else if (!r->none[i]) {
            r->none[i] = content == NULL || !model_predict(e->trained.model, content, v);
        }
    }
}

static int trained_put(const struct trained_rows *r, u2i_error_t *err) {
    struct engine *e = r->e;
    for (uint32_t i = 0, end; i < r->n; i = end) { /* neighbours of one kind go together */
        for (end = i + 1; end < r->n && r->none[end] == r->none[i];) {
            end++;
        }
        const float *const vectors = r->none[i] ? NULL : r->vectors + (size_t)i * r->dim;
        U2I_TRY(e->ops->put_taste(e->store, r->rows + i, vectors, end - i, r->dim, err));
    }
    return U2I_OK;
}

/* What is changed between looking and putting is marked again. Under `exchanging`, so the model stays. */
static int trained_step(struct trained_rows *r, u2i_error_t *err) {
    struct engine *e = r->e;
    e->ops->alone(e->store, trained_take, r);
    if (r->n == 0) {
        return U2I_OK;
    }
    r->dim = model_search_dim(e->trained.model);
    r->vectors = alloc_array((size_t)r->n * r->dim, sizeof(*r->vectors));
    int rc = r->vectors == NULL ? error_oom(err) : e->ops->read_begin(e->store, err);
    if (rc == U2I_OK) {
        trained_find(r);
        e->ops->read_end(e->store);
        rc = trained_put(r, err);
    }
    mem_free(r->vectors);
    return rc;
}

int trained_catch_up(struct engine *e, uint32_t steps, u2i_error_t *err) {
    struct trained_rows *r = mem_alloc(sizeof(*r));
    int rc = r == NULL ? error_oom(err) : U2I_OK;
    (void)pthread_mutex_lock(&e->exchanging);
    for (uint32_t i = 0; i < steps && rc == U2I_OK && atomic_load(&e->taste_stale); i++) {
        r->e = e;
        rc = trained_step(r, err);
    }
    (void)pthread_mutex_unlock(&e->exchanging);
    mem_free(r);
    return rc;
}
