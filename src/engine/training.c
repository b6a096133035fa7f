/* A training: the log becomes a model, the model is stored, put in use and announced, in this order. The log
 * is read once, at the beginning; events that come in meanwhile count in profiles as always, and in the
 * next training. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#include <math.h>
#include <stdio.h>

/* What an event that says yes without reserve weighs: a like. More (a purchase) says no more of taste. */
#define TRAINING_FULL_WEIGHT 2.5f
/* Content vectors that a training looks at; of larger catalogues an even sample. */
#define TRAINING_CONTENT_MAX 50000u

float trained_weight(const struct action *a, float value) {
    if (a == NULL || a->exclude || a->weight <= 0) {
        return 0;
    }
    return fminf(a->weight * value / TRAINING_FULL_WEIGHT, 1);
}

/* ---- The log ---------------------------------------------------------------------------------- */

struct training_log {
    struct settings settings; /* actions and train_parts only */
    int64_t until_ms, newest_ms;
    struct train_event *events;
    size_t n, cap;
    uint64_t seen;         /* all events, also those that tell nothing */
    uint32_t users, items; /* one past the highest row */
    float weight_max;
    bool oom;
};

static int training_add(void *ctx, const struct store_event *ev,
                        const struct store_event_row *row) {
    struct training_log *log = ctx;
    const struct action *a = settings_action(&log->settings, ev->action);
    const float weight = trained_weight(a, row->value);
    log->seen++;
    if (row->time_ms > log->until_ms || a == NULL || (weight == 0 && !a->exclude)) {
        return 0; /* an impression tells nothing */
    }
    if (array_reserve(&log->events, &log->cap, log->n + 1, sizeof(*log->events)) != U2I_OK) {
        log->oom = true;
        return 1;
    }
    log->events[log->n++] = (struct train_event){row->user, row->item, weight, row->time_ms};
    log->users = log->users > row->user ? log->users : row->user + 1;
    log->items = log->items > row->item ? log->items : row->item + 1;
    log->weight_max = fmaxf(log->weight_max, weight);
    log->newest_ms = log->newest_ms > row->time_ms ? log->newest_ms : row->time_ms;
    return 0;
}

/* What the settings say now, since the scan is long and outside of a read section. */
static int training_copy_settings(struct engine *e, struct settings *out, u2i_error_t *err) {
    U2I_TRY(engine_read_begin(e, err));
    const size_t n = e->settings.actions_n;
    out->actions = alloc_array(n, sizeof(*out->actions));
    if (out->actions != NULL) {
        memcpy(out->actions, e->settings.actions, n * sizeof(*out->actions));
        out->actions_n = n;
        out->train_parts = e->settings.train_parts;
    }
    e->ops->read_end(e->store);
    return out->actions == NULL ? error_oom(err) : U2I_OK;
}

static int training_read_log(struct engine *e, struct training_log *log, u2i_error_t *err) {
    U2I_TRY(training_copy_settings(e, &log->settings, err));
    U2I_TRY(e->ops->scan_events(e->store, 0, training_add, log, err));
    if (log->oom) {
        return error_oom(err);
    }
    if (log->weight_max <= 0) {
        return error_set(
            err, U2I_ENOTFOUND,
            "there is nothing to learn from: no event says that somebody wants an item");
    }
    for (size_t i = 0; i < log->n; i++) {
        log->events[i].weight /= log->weight_max;
    }
    return U2I_OK;
}

/* ---- Content ---------------------------------------------------------------------------------- */

struct training_content {
    const float **rows; /* by item; NULL where there is none */
    float *vectors;
    uint32_t n, used;
};

static const float *training_content_of(void *ctx, uint32_t item) {
    const struct training_content *c = ctx;
    return item < c->n ? c->rows[item] : NULL;
}

/* Copies, since a training takes longer than a read section may. */
static int training_read_content(struct engine *e, struct training_content *c, u2i_error_t *err) {
    const uint32_t dim = e->store->dim;
    U2I_TRY(e->ops->read_begin(e->store, err));
    c->n = e->ops->item_end(e->store);
    const uint32_t step = c->n / TRAINING_CONTENT_MAX + 1;
    const uint32_t most = (c->n + step - 1) / step;
    c->rows = alloc_array(c->n, sizeof(*c->rows));
    c->vectors = alloc_array((size_t)most * dim, sizeof(*c->vectors));
    const int rc = c->rows == NULL || c->vectors == NULL ? error_oom(err) : U2I_OK;
    for (uint32_t row = 0; row < c->n && rc == U2I_OK; row++) {
        const float *v = row % step == 0 ? e->ops->vector(e->store, STORE_CONTENT, row) : NULL;
        c->rows[row] = NULL;
        if (v != NULL) {
            float *copy = c->vectors + (size_t)c->used++ * dim;
            c->rows[row] = memcpy(copy, v, dim * sizeof(*v));
        }
    }
    e->ops->read_end(e->store);
    return rc;
}

/* ---- From the log to a model in use ------------------------------------------------------------- */

static enum model_check training_check(const char *name) {
    return name == NULL ? MODEL_CHECK_AUTO : name[0] == 't' ? MODEL_CHECK_TIME : MODEL_CHECK_USERS;
}

static int training_learn(struct engine *e, const u2i_train_options_t *opt, struct trained *out,
                          u2i_error_t *err) {
    struct training_log log = {.until_ms = opt->now_ms == 0 ? INT64_MAX : opt->now_ms,
                               .newest_ms = INT64_MIN};
    struct training_content content = {0};
    int rc = training_read_log(e, &log, err);
    if (rc == U2I_OK) {
        rc = training_read_content(e, &content, err);
    }
    if (rc == U2I_OK) {
        const struct model_input in = {.events = log.events,
                                       .n = log.n,
                                       .users = log.users,
                                       .items = log.items,
                                       .now_ms = opt->now_ms != 0 ? opt->now_ms : log.newest_ms,
                                       .content = training_content_of,
                                       .content_ctx = &content,
                                       .content_dim = e->store->dim,
                                       .check = training_check(opt->check),
                                       .parts = log.settings.train_parts,
                                       .progress = opt->progress,
                                       .progress_ctx = opt->ctx};
        rc = model_train(&in, &out->model, err);
        out->now_ms = in.now_ms;
    }
    out->weight_max = log.weight_max;
    out->events = log.seen;
    mem_free(content.vectors);
    mem_free(content.rows);
    mem_free(log.events);
    mem_free(log.settings.actions);
    return rc;
}

/* Unlike any other, also of another process at the same time. */
static void training_name(const struct engine *e, struct trained *l) {
    const uint64_t seed[] = {(uint64_t)clock_ticks_ns(e->clock), (uint64_t)clock_now_ms(e->clock)};
    (void)snprintf(
        l->token, sizeof(l->token), "%016llx",
        (unsigned long long)hash_bytes(seed, sizeof(seed), (uintptr_t)e->ops + l->version));
}

/* Stores the model, puts it in use and tells everybody. What was in use before is kept to go back to, what
 * was before that is deleted. */
static int training_publish(struct engine *e, struct trained *fresh,
                            const struct trained_tokens *old_tokens, u2i_error_t *err) {
    const struct trained_tokens old = *old_tokens;
    struct trained_tokens tokens;
    training_name(e, fresh);
    U2I_TRY(trained_save(e, fresh, err));
    memcpy(tokens.newest, fresh->token, sizeof(tokens.newest));
    memcpy(tokens.before, old.newest, sizeof(tokens.before));
    atomic_store(&e->training_ends, true);
    int rc = trained_use(e, fresh, err);
    if (rc == U2I_OK) {
        rc = trained_announce(e, &tokens, err);
    }
    atomic_store(&e->training_ends, false);
    atomic_store(&e->settings_stale, true); /* what is in use is what the settings say in the end */
    if (rc == U2I_OK) {
        trained_forget(e, old.before);
        return engine_done(engine_refresh(e, err));
    }
    trained_forget(e, tokens.newest);
    (void)engine_refresh(e, NULL); /* the first error is the one to report */
    return rc;
}

static int training_begin(struct engine *e, u2i_error_t *err) {
    if (e->readonly) {
        return error_set(err, U2I_EREADONLY, "the store was opened for reading only");
    }
    if (pthread_mutex_trylock(&e->training) != 0) {
        return error_set(err, U2I_EBUSY, "a training is under way");
    }
    int rc = e->ops->lock(e->store, "training", &e->training_lock, err);
    if (rc == U2I_OK) {
        rc = engine_follow(e, err);
        if (rc == U2I_OK) {
            return U2I_OK;
        }
        e->ops->unlock(e->store, e->training_lock);
    }
    (void)pthread_mutex_unlock(&e->training);
    return rc;
}

static void training_end(struct engine *e) {
    e->ops->unlock(e->store, e->training_lock);
    (void)pthread_mutex_unlock(&e->training);
}

/* What is in use, and which tokens the settings name. */
static int training_now(struct engine *e, struct trained_tokens *tokens, uint32_t *version,
                        u2i_error_t *err) {
    U2I_TRY(engine_read_begin(e, err));
    *tokens = e->tokens;
    *version = e->trained.version;
    e->ops->read_end(e->store);
    return U2I_OK;
}

int engine_train(struct engine *e, const u2i_train_options_t *opt, u2i_error_t *err) {
    struct trained fresh = {0};
    struct trained_tokens old;
    U2I_TRY(training_begin(e, err));
    int rc = training_now(e, &old, &fresh.version, err);
    fresh.version++;
    if (rc == U2I_OK) {
        rc = training_learn(e, opt, &fresh, err);
    }
    if (rc == U2I_OK) {
        rc = training_publish(e, &fresh, &old, err);
    }
    model_free(fresh.model);
    training_end(e);
    return rc;
}

int engine_untrain(struct engine *e, bool all, u2i_error_t *err) {
    struct trained_tokens old, tokens = {0};
    uint32_t version;
    U2I_TRY(training_begin(e, err));
    int rc = training_now(e, &old, &version, err);
    if (rc != U2I_OK) {
        goto out;
    }
    if (old.newest[0] == '\0' || (!all && old.before[0] == '\0')) {
        rc = error_set(err, U2I_ENOTFOUND,
                       all ? "there is no training to take back"
                           : "there is no training before the one in use");
        goto out;
    }
    if (!all) {
        memcpy(tokens.newest, old.before, sizeof(tokens.newest));
    }
    rc = trained_announce(e, &tokens, err);
    if (rc == U2I_OK) {
        trained_forget(e, old.newest);
        if (all) {
            trained_forget(e, old.before);
        }
        rc = engine_done(engine_refresh(e, err));
    }
out:
    training_end(e);
    return rc;
}

/* ---- What it found ---------------------------------------------------------------------------- */

int engine_scan_training(struct engine *e, u2i_figure_fn fn, void *ctx, u2i_error_t *err) {
    U2I_TRY(engine_read_begin(e, err));
    const struct trained *l = &e->trained;
    if (l->model != NULL) {
        const u2i_figure_t own[] = {
            {"version", (double)l->version, "how many trainings there have been"},
            {"trained_ms", (double)l->now_ms, "the moment that it is for, Unix time"},
            {"events", (double)l->events, "events in the log at that time"},
        };
        int stop = 0;
        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && stop == 0; i++) {
            stop = fn(ctx, &own[i]);
        }
        if (stop == 0) {
            model_figures(l->model, fn, ctx);
        }
    }
    e->ops->read_end(e->store);
    return U2I_OK;
}
