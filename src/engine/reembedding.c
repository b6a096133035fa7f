/* Another model for the store. Every item is embedded with it into vectors that lie beside those in use
 * (store_ops.next_*), in steps of about half a second, each of which is durable. When no item is left the store puts
 * them in use in one transaction, unless an item has changed meanwhile: then those that have are embedded once more,
 * and at last without letting this process write items. This engine stands for the old vectors until the end, and
 * for nothing after it. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>

enum {
    REEMBEDDING_STEP_MIN = 16, /* items in a step */
    REEMBEDDING_STEP_MAX = 4096,
    REEMBEDDING_ROUNDS = 3 /* with writes of items beside them; the next ones go without */
};
#define REEMBEDDING_STEP_NS    500000000
#define REEMBEDDING_STEP_BYTES ((size_t)16 << 20) /* of texts */

struct reembedding {
    struct engine *e;
    const u2i_reembed_options_t *opt;
    struct embedding_source from;
    struct embedding_manner manner;
    struct embedder *embedder;
    struct buf target, state;
    struct store_next next;
    struct store_next_counts counts;
    uint64_t done; /* items whose vector is made; more than there are where some change often */
    uint32_t step; /* items in the next step */
};

/* ---- The target ------------------------------------------------------------------------------- */

static int reembedding_set_prefix(char *prefix, const char *wish, const char *name,
                                  u2i_error_t *err) {
    struct settings trial;
    U2I_TRY(settings_init(&trial, err));
    const int rc = settings_put(&trial, name, wish, err);
    settings_free(&trial);
    if (rc == U2I_OK) {
        (void)snprintf(prefix, SETTINGS_PREFIX_MAX_BYTES + 1, "%s", wish == NULL ? "" : wish);
    }
    return rc;
}

/* What is not said is as in a new store, or, for the store's own model, as it is. */
static int reembedding_set_manner(struct reembedding *r, u2i_error_t *err) {
    const u2i_reembed_options_t *const o = r->opt;
    const bool keeps = o->model == NULL;
    struct embedding_manner *const m = &r->manner;
    embedding_manner_of(r->e, m);
    if (!keeps || o->query_prefix != NULL) {
        U2I_TRY(reembedding_set_prefix(m->query_prefix, o->query_prefix, "query_prefix", err));
    }
    if (!keeps || o->passage_prefix != NULL) {
        U2I_TRY(
            reembedding_set_prefix(m->passage_prefix, o->passage_prefix, "passage_prefix", err));
    }
    if (!keeps || o->long_texts != NULL) {
        const char *const how = o->long_texts == NULL ? "cut" : o->long_texts;
        m->windows = strcmp(how, "average") == 0;
        if (!m->windows && strcmp(how, "cut") != 0) {
            return error_set(err, U2I_EINVAL,
                             "long_texts is \"%.32s\", but must be \"cut\" or \"average\"", how);
        }
    }
    return U2I_OK;
}

static int reembedding_set_target(struct reembedding *r, u2i_error_t *err) {
    const uint32_t dim = r->opt->dim;
    embedding_source_of(r->e, &r->from);
    if (r->opt->model != NULL) {
        U2I_TRY(embedding_resolve(r->opt->model, dim, &r->from, err));
    } else if (dim != 0 && dim != r->from.dim &&
               (r->from.kind == EMBEDDING_HASH || r->from.kind == EMBEDDING_REMOTE)) {
        char place[sizeof(r->from.place)];
        (void)snprintf(place, sizeof(place), "%s",
                       r->from.kind == EMBEDDING_HASH ? "hash" : r->from.place); /* as long */
        U2I_TRY(embedding_resolve(place, dim, &r->from, err));
    } else if (dim != 0 && dim != r->from.dim) {
        return error_set(err, U2I_EINVAL, "model %s makes vectors of %u dimensions, not of %u",
                         r->from.name, r->from.dim, dim);
    }
    if (r->from.kind == EMBEDDING_NONE) {
        return error_set(err, U2I_EINVAL,
                         "model \"none\" makes no vectors of the items: name another one");
    }
    U2I_TRY(reembedding_set_manner(r, err));
    buf_printf(&r->target, "%s %u %s\n%s", r->from.name, r->from.dim,
               r->manner.windows ? "average" : "cut", r->manner.passage_prefix);
    if (r->target.failed) {
        return error_oom(err);
    }
    r->next = (struct store_next){r->target.data, r->from.dim, 0};
    return U2I_OK;
}

/* Nothing to change but what questions are asked with. */
static bool reembedding_is_idle(const struct reembedding *r, const struct embedding_manner *now) {
    return strcmp(r->from.name, r->e->store->model) == 0 && r->from.dim == r->e->store->dim &&
           r->manner.windows == now->windows &&
           strcmp(r->manner.passage_prefix, now->passage_prefix) == 0;
}

/* What is there of another target is of no use any more. */
static int reembedding_stay(struct reembedding *r, u2i_error_t *err) {
    struct engine *const e = r->e;
    U2I_TRY(e->ops->next_drop(e->store, err));
    U2I_TRY(e->ops->put_setting(e->store, "query_prefix", r->manner.query_prefix, err));
    U2I_TRY(engine_refresh(e, err));
    return engine_reembed(e, r->opt->progress, r->opt->ctx, err);
}

/* ---- Learning --------------------------------------------------------------------------------- */

/* Word weights of the catalogue, for an embedder that learns: once for a target, or vectors would not fit together. */
static int reembedding_learn(struct reembedding *r, u2i_error_t *err) {
    struct engine *const e = r->e;
    struct embedding_header h;
    uint32_t items;
    if (r->embedder->ops->learn_begin == NULL) {
        return U2I_OK;
    }
    r->next.embedding = 1;
    int rc = e->ops->get_blob(e->store, STORE_NEXT_STATE_BLOB, &r->state, err);
    if (rc == U2I_OK) {
        rc = embedding_unpack(r->embedder, &r->state, &h, err);
    }
    if (rc == U2I_ECORRUPT) { /* without it the vectors that are there are of no use */
        U2I_TRY(e->ops->next_drop(e->store, err));
        rc = e->ops->next_begin(e->store, &r->next, &r->counts, err);
        rc = rc == U2I_OK ? U2I_ENOTFOUND : rc;
    }
    if (rc != U2I_ENOTFOUND) {
        return rc;
    }
    error_clear(err);
    buf_reset(&r->state);
    U2I_TRY(embedding_teach(e, r->embedder, &items, err));
    U2I_TRY(embedding_pack(r->embedder, r->next.embedding, items, &r->state, err));
    return e->ops->next_state(e->store, &r->next, r->state.data, r->state.len, err);
}

/* ---- A step ----------------------------------------------------------------------------------- */

struct reembedding_step {
    struct arena arena;
    struct store_next_item *items;
    struct embed_text *texts; /* of the fresh ones */
    uint32_t *fresh;          /* which ones of `items` */
    float *vectors;           /* of the fresh ones */
    size_t n, fresh_n, bytes;
};

static const char *reembedding_copy(struct reembedding_step *s, const char *text, bool *ok) {
    const size_t n = text == NULL ? 0 : strlen(text);
    const char *const copy = text == NULL ? NULL : arena_dup(&s->arena, text, n);
    *ok = *ok && (text == NULL || copy != NULL);
    s->bytes += n;
    return copy;
}

static int reembedding_note(void *ctx, const struct store_item *item,
                            const struct store_next_item *next) {
    struct reembedding_step *s = ctx;
    bool ok = true;
    if (!next->same) {
        s->fresh[s->fresh_n] = (uint32_t)s->n;
        s->texts[s->fresh_n++] =
            (struct embed_text){.title = reembedding_copy(s, item->title, &ok),
                                .category = reembedding_copy(s, item->category, &ok),
                                .text = reembedding_copy(s, item->text, &ok)};
    }
    s->items[s->n++] = *next;
    return !ok ? U2I_ENOMEM : s->bytes >= REEMBEDDING_STEP_BYTES;
}

static int reembedding_embed(struct reembedding *r, struct reembedding_step *s, u2i_error_t *err) {
    const uint32_t dim = r->next.dim;
    if (s->fresh_n > 0) {
        U2I_TRY(r->embedder->ops->embed(r->embedder, s->texts, s->fresh_n, s->vectors, err));
    }
    for (size_t i = 0; i < s->fresh_n; i++) {
        const float *const v = s->vectors + i * dim;
        s->items[s->fresh[i]].vector = embedding_is_zero(v, dim) ? NULL : v;
    }
    return U2I_OK;
}

/* The next items from row *from on; *from goes past them. *n = 0: there are none. */
static int reembedding_step(struct reembedding *r, uint32_t *from, size_t *n, u2i_error_t *err) {
    struct engine *const e = r->e;
    const uint32_t range[2] = {*from, r->step};
    struct reembedding_step s = {.arena = {0}};
    s.items = arena_array(&s.arena, r->step, sizeof(*s.items));
    s.texts = arena_array(&s.arena, r->step, sizeof(*s.texts));
    s.fresh = arena_array(&s.arena, r->step, sizeof(*s.fresh));
    s.vectors = arena_array(&s.arena, (size_t)r->step * r->next.dim, sizeof(*s.vectors));
    int rc = U2I_ENOMEM;
    if (s.items != NULL && s.texts != NULL && s.fresh != NULL && s.vectors != NULL) {
        rc = e->ops->next_items(e->store, &r->next, range, reembedding_note, &s, err);
    }
    rc = rc == U2I_ENOMEM ? error_oom(err) : rc;
    if (rc == U2I_OK) {
        rc = reembedding_embed(r, &s, err);
    }
    if (rc == U2I_OK && s.n > 0) {
        rc = e->ops->next_put(e->store, &r->next, s.items, s.n, err);
        *from = s.items[s.n - 1].row + 1;
    }
    *n = s.n;
    arena_free(&s.arena);
    return rc;
}

/* ---- All of them ------------------------------------------------------------------------------ */

static int reembedding_tell(const struct reembedding *r, u2i_error_t *err) {
    const u2i_reembed_options_t *const o = r->opt;
    const uint64_t total = r->counts.items;
    if (o->progress == NULL || o->progress(o->ctx, r->done < total ? r->done : total, total) == 0) {
        return U2I_OK;
    }
    return error_set(err, U2I_ETIMEOUT,
                     "stopped; %llu items are embedded with %s, and the same call goes on",
                     (unsigned long long)(r->done < total ? r->done : total), r->from.name);
}

/* Slow models take small steps, so that little is lost and a wish to stop is heard; quick ones large ones, so
 * that the disk isn't waited for all the time. */
static void reembedding_pace(struct reembedding *r, int64_t took_ns) {
    if (took_ns > REEMBEDDING_STEP_NS && r->step > REEMBEDDING_STEP_MIN) {
        r->step /= 2;
    } else if (took_ns < REEMBEDDING_STEP_NS / 4 && r->step < REEMBEDDING_STEP_MAX) {
        r->step *= 2;
    }
}

/* Every item that waits, once. */
static int reembedding_round(struct reembedding *r, u2i_error_t *err) {
    uint32_t from = 0;
    for (size_t n = 1; n > 0;) {
        const int64_t begin_ns = clock_ticks_ns(r->e->clock);
        U2I_TRY(reembedding_step(r, &from, &n, err));
        r->done += n;
        reembedding_pace(r, clock_ticks_ns(r->e->clock) - begin_ns);
        U2I_TRY(reembedding_tell(r, err));
    }
    return U2I_OK;
}

static int reembedding_use(struct reembedding *r, u2i_error_t *err) {
    struct engine *const e = r->e;
    char number[16];
    (void)snprintf(number, sizeof(number), "%u", r->next.embedding);
    const struct store_setting settings[] = {
        {"model_folder", r->from.kind == EMBEDDING_FOLDER ? r->from.place : NULL},
        {"model_url", r->from.kind == EMBEDDING_REMOTE ? r->from.place : NULL},
        {EMBEDDING_DIM_SETTING, r->from.asks_dim ? "asked" : NULL},
        {"long_texts", r->manner.windows ? "average" : NULL},
        {"query_prefix", r->manner.query_prefix[0] == '\0' ? NULL : r->manner.query_prefix},
        {"passage_prefix", r->manner.passage_prefix[0] == '\0' ? NULL : r->manner.passage_prefix},
        {EMBEDDING_SETTING, r->next.embedding == 0 ? NULL : number},
    };
    const struct store_move move = {.model = r->from.name,
                                    .settings = settings,
                                    .settings_n = sizeof(settings) / sizeof(settings[0]),
                                    .state = r->state.data,
                                    .state_n = r->state.len};
    return e->ops->next_use(e->store, &r->next, &move, err);
}

static int reembedding_all(struct reembedding *r, u2i_error_t *err) {
    struct engine *const e = r->e;
    int rc = STORE_STALE;
    U2I_TRY(embedding_create(e, &r->from, &r->manner, &r->embedder, err));
    U2I_TRY(e->ops->next_begin(e->store, &r->next, &r->counts, err));
    U2I_TRY(reembedding_learn(r, err));
    r->done = r->counts.items - r->counts.waiting;
    r->step = REEMBEDDING_STEP_MIN;
    U2I_TRY(reembedding_tell(r, err));
    for (int round = 0; rc == STORE_STALE; round++) {
        const bool alone = round >= REEMBEDDING_ROUNDS;
        if (alone) {
            (void)pthread_rwlock_wrlock(&e->puts);
        }
        rc = reembedding_round(r, err);
        if (rc == U2I_OK) {
            rc = reembedding_use(r, err);
        }
        if (alone) {
            (void)pthread_rwlock_unlock(&e->puts);
        }
    }
    return rc;
}

static int reembedding_run(struct reembedding *r, u2i_error_t *err) {
    struct embedding_manner now;
    U2I_TRY(engine_follow(r->e, err));
    U2I_TRY(reembedding_set_target(r, err));
    embedding_manner_of(r->e, &now);
    return reembedding_is_idle(r, &now) ? reembedding_stay(r, err) : reembedding_all(r, err);
}

int engine_reembed_to(struct engine *e, const u2i_reembed_options_t *opt, u2i_error_t *err) {
    struct reembedding r = {.e = e, .opt = opt};
    int lock;
    if (e->readonly) {
        return error_set(err, U2I_EREADONLY, "the store was opened for reading only");
    }
    if (e->ops->next_begin == NULL) {
        return error_set(err, U2I_EINVAL,
                         "a store in memory keeps the model that it was made with");
    }
    U2I_TRY(e->ops->lock(e->store, "reembedding", &lock, err));
    const int rc = reembedding_run(&r, err);
    e->ops->unlock(e->store, lock);
    if (r.embedder != NULL) {
        r.embedder->ops->close(r.embedder);
    }
    buf_free(&r.state);
    buf_free(&r.target);
    return rc;
}
