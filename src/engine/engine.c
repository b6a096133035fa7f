/* Opening and closing: the store, then what is derived from it. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"

#include <limits.h>
#include <stdio.h>

#define ENGINE_OPEN_TRIES    8
#define ENGINE_HISTORY_BYTES ((size_t)64 << 20) /* newest events of the users active now */

/* ---- The store ------------------------------------------------------------------------------ */

static bool engine_is_memory(const char *location) {
    return strcmp(location, ":memory:") == 0;
}

static int engine_create_store(struct engine *e, const struct engine_options *opt,
                               struct store_options *so, u2i_error_t *err) {
    struct embedding_source *const from = &e->created;
    U2I_TRY(embedding_resolve(opt->model, opt->dim, from, err));
    e->is_new = true;
    so->model = from->name;
    so->dim = from->dim;
    return engine_is_memory(opt->location) ? store_memory_open(so, &e->store, err)
                                           : store_sqlite_open(opt->location, so, &e->store, err);
}

/* An existing store says itself what model and dim it has; only a new one is told. */
static int engine_open_store(struct engine *e, const struct engine_options *opt, u2i_error_t *err) {
    struct store_options so = {
        .flags = opt->flags, .clock = opt->clock, .log = opt->log, .listener = engine_listener(e)};
    if (engine_is_memory(opt->location) || (opt->flags & U2I_OPEN_NEW) != 0) {
        return engine_create_store(e, opt, &so, err);
    }
    so.flags |= U2I_OPEN_EXISTING;
    const int rc = store_sqlite_open(opt->location, &so, &e->store, err);
    if (rc != U2I_ENOTFOUND || (opt->flags & (U2I_OPEN_EXISTING | U2I_OPEN_READONLY)) != 0) {
        return rc;
    }
    so.flags = opt->flags;
    return engine_create_store(e, opt, &so, err);
}

/* The caller's wishes against what the store has. */
static int engine_check_model(struct engine *e, const struct engine_options *opt,
                              u2i_error_t *err) {
    if (e->is_new) {
        return embedding_keep_new(e, &e->created, err);
    }
    U2I_TRY(embedding_check(e, opt->model, err));
    if (opt->dim != 0 && opt->dim != e->store->dim) {
        return error_set(err, U2I_EEMBED,
                         "%s has vectors of %u dimensions (model \"%s\"), not of %u", opt->location,
                         e->store->dim, e->store->model, opt->dim);
    }
    return U2I_OK;
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int engine_init_locks(struct engine *e) {
    (void)pthread_mutex_init(&e->refreshing, NULL); /* cannot fail on Linux */
    (void)pthread_mutex_init(&e->settings_lock, NULL);
    (void)pthread_mutex_init(&e->reembedding, NULL);
    (void)pthread_mutex_init(&e->training, NULL);
    (void)pthread_mutex_init(&e->exchanging, NULL);
    (void)pthread_mutex_init(&e->neighbours_lock, NULL);
    U2I_TRY(rwlock_init(&e->puts));
    U2I_TRY(rwlock_init(&e->neighbours_use));
    return rwlock_init(&e->embedding);
}

static int engine_init_derived(struct engine *e, u2i_error_t *err) {
    e->acted_items = roaring_bitmap_create();
    e->stale_users = roaring_bitmap_create();
    e->stale_taste = roaring_bitmap_create();
    if (e->acted_items == NULL || e->stale_users == NULL || e->stale_taste == NULL) {
        return error_oom(err);
    }
    U2I_TRY(settings_init(&e->settings, err));
    U2I_TRY(histories_new(ENGINE_HISTORY_BYTES, &e->histories, err));
    U2I_TRY(covisits_new(&e->covisits, err));
    return popularity_new(e->settings.popular_half_life_s, e->settings.recent_half_life_s,
                          &e->popularity, err);
}

static void engine_free(struct engine *e) {
    embedding_close(e);
    mem_free(e->cache);
    mem_free(e->location);
    trained_close(e);
    index_free(e->neighbours);
    histories_free(e->histories);
    tallies_free(e->tallies);
    covisits_free(e->covisits);
    popularity_free(e->popularity);
    settings_free(&e->settings);
    mem_free(e->actions);
    if (e->acted_items != NULL) {
        roaring_bitmap_free(e->acted_items);
    }
    if (e->stale_users != NULL) {
        roaring_bitmap_free(e->stale_users);
    }
    if (e->stale_taste != NULL) {
        roaring_bitmap_free(e->stale_taste);
    }
    (void)pthread_rwlock_destroy(&e->puts);
    (void)pthread_rwlock_destroy(&e->neighbours_use);
    (void)pthread_rwlock_destroy(&e->embedding);
    (void)pthread_mutex_destroy(&e->neighbours_lock);
    (void)pthread_mutex_destroy(&e->training);
    (void)pthread_mutex_destroy(&e->exchanging);
    (void)pthread_mutex_destroy(&e->reembedding);
    (void)pthread_mutex_destroy(&e->settings_lock);
    (void)pthread_mutex_destroy(&e->refreshing);
    mem_free(e);
}

/* Where it lies, wherever the program goes; and beside it a folder for what can be made again. */
static int engine_name_places(struct engine *e, const char *location, u2i_error_t *err) {
    char path[PATH_MAX];
    struct buf name = {0};
    if (engine_is_memory(location)) {
        return U2I_OK;
    }
    if (realpath(location, path) == NULL) {
        return error_set(err, U2I_EIO, "%s went while it was opened", location);
    }
    buf_printf(&name, "%s-index", path);
    e->location = str_dup(path, strlen(path));
    e->cache = name.failed ? NULL : str_dup(name.data, name.len);
    buf_free(&name);
    return e->location == NULL || e->cache == NULL ? error_oom(err) : U2I_OK;
}

static int engine_start(struct engine *e, const struct engine_options *opt, u2i_error_t *err) {
    U2I_TRY(engine_init_locks(e));
    U2I_TRY(engine_init_derived(e, err));
    U2I_TRY(engine_open_store(e, opt, err));
    e->ops = e->store->ops;
    e->caller_dim = opt->caller_dim == 0 ? e->store->dim : opt->caller_dim;
    U2I_TRY(engine_name_places(e, opt->location, err));
    U2I_TRY(engine_refresh(e, err));
    U2I_TRY(engine_check_model(e, opt, err));
    U2I_TRY(embedding_open(e, err));
    return (opt->flags & U2I_OPEN_TRAINS) != 0 && !e->readonly ? learner_start(e, err) : U2I_OK;
}

static int engine_open_once(const struct engine_options *opt, struct engine **out,
                            u2i_error_t *err) {
    struct engine *e = mem_zalloc(sizeof(*e));
    if (e == NULL) {
        return error_oom(err);
    }
    e->clock = opt->clock;
    e->log = opt->log;
    e->readonly = (opt->flags & U2I_OPEN_READONLY) != 0;
    e->all_users_stale = true;
    atomic_store(&e->settings_stale, true);
    atomic_store(&e->popularity_stale, true);
    const int rc = engine_start(e, opt, err);
    if (rc != U2I_OK) {
        if (e->store != NULL) {
            (void)e->store->ops->close(e->store); /* the first error is the one to report */
        }
        engine_free(e);
        return rc;
    }
    *out = e;
    return U2I_OK;
}

int engine_open(const struct engine_options *opt, struct engine **out, u2i_error_t *err) {
    int rc = STORE_MOVED;
    *out = NULL;
    for (int i = 0; i < ENGINE_OPEN_TRIES && rc == STORE_MOVED; i++) { /* it may move meanwhile */
        rc = engine_open_once(opt, out, err);
    }
    return rc == STORE_MOVED
               ? error_set(err, U2I_EBUSY, "%s gets one other model after the other", opt->location)
               : rc;
}

int engine_close(struct engine *e) {
    if (e == NULL) {
        return U2I_OK;
    }
    u2i_error_t err;
    learner_stop(e);
    if (!e->readonly && atomic_load(&e->unsaved_events) > 0 && popular_save(e, &err) != U2I_OK) {
        log_line(&e->log, U2I_LOG_INFO, "popularity is not saved (%s); it will be counted anew",
                 err.msg);
    }
    const int rc = e->ops->close(e->store);
    engine_free(e);
    return rc;
}

int engine_check_dim(const struct engine *e, u2i_error_t *err) {
    return e->caller_dim == e->store->dim
               ? U2I_OK
               : error_set(err, U2I_EEMBED,
                           "the store's vectors have %u dimensions by now (model %s), not %u: open "
                           "it again",
                           e->store->dim, e->store->model, e->caller_dim);
}

int engine_done(int rc) {
    return rc == STORE_MOVED ? U2I_OK : rc;
}

const char *engine_location(const struct engine *e) {
    return e->location;
}

uint32_t engine_dim(const struct engine *e) {
    return e->caller_dim;
}

/* ---- Settings ------------------------------------------------------------------------------- */

int engine_scan_settings(struct engine *e, u2i_setting_fn fn, void *ctx, u2i_error_t *err) {
    U2I_TRY(engine_read_begin(e, err));
    settings_each(&e->settings, fn, ctx);
    e->ops->read_end(e->store);
    return U2I_OK;
}

int engine_get_setting(struct engine *e, const char *name, char *value, size_t value_bytes,
                       u2i_error_t *err) {
    U2I_TRY(engine_read_begin(e, err));
    const int rc = settings_print(&e->settings, name, value, value_bytes, err);
    e->ops->read_end(e->store);
    return rc;
}

/* What items' vectors depend on can't be changed beside them. `trial` has the new value. */
static int engine_check_vectors(struct engine *e, const struct settings *trial, const char *name,
                                u2i_error_t *err) {
    const bool prefix = strcmp(name, "passage_prefix") == 0;
    struct store_stats stats;
    if ((!prefix && strcmp(name, "long_texts") != 0) || !e->embeds || embedding_learns(e)) {
        return U2I_OK;
    }
    U2I_TRY(engine_read_begin(e, err));
    const bool same = prefix ? strcmp(trial->passage_prefix, e->settings.passage_prefix) == 0
                             : trial->long_texts == e->settings.long_texts;
    e->ops->read_end(e->store);
    U2I_TRY(same ? U2I_OK : e->ops->stats(e->store, &stats, err));
    return same || stats.items == 0
               ? U2I_OK
               : error_set(err, U2I_EINVAL,
                           "%s changes every vector, and there are items: u2i reembed --%s (or "
                           "u2i_reembed_to()) sets it and makes them anew",
                           name, prefix ? "passage-prefix" : "long-texts");
}

/* Tried on the settings as they are, then written; every process takes it in from the store. */
int engine_set_setting(struct engine *e, const char *name, const char *value, u2i_error_t *err) {
    struct settings trial;
    U2I_TRY(settings_init(&trial, err));
    int rc = U2I_OK;
    const bool names_action = value != NULL && strcmp(name, "unknown_action") == 0;
    if (names_action && strcmp(value, "refuse") != 0) {
        char weight[32];
        char full[U2I_ACTION_MAX_BYTES + sizeof("action.")];
        (void)snprintf(full, sizeof(full), "action.%s", value); /* cut: then it is not found */
        rc = engine_get_setting(e, full, weight, sizeof(weight), NULL);
        rc = rc == U2I_OK ? settings_put(&trial, full, weight, err)
                          : error_set(err, U2I_EINVAL, "there is no action \"%s\"", value);
    }
    if (rc == U2I_OK) {
        rc = settings_put(&trial, name, value, err);
    }
    if (rc == U2I_OK) {
        rc = engine_check_vectors(e, &trial, name, err);
    }
    settings_free(&trial);
    if (rc == U2I_OK) {
        rc = e->ops->put_setting(e->store, name, value, err);
    }
    return rc == U2I_OK ? engine_refresh(e, err) : rc;
}

/* ---- Care ----------------------------------------------------------------------------------- */

/* The ef that a search for 10 uses. */
static uint32_t engine_index_ef(const struct engine *e, const struct store_stats *s) {
    const uint32_t fixed = e->settings.index.ef_search;
    return s->index_items == 0 ? 0 : fixed != 0 ? fixed : s->index_ef;
}

int engine_stats(struct engine *e, u2i_stats_t *out, u2i_error_t *err) {
    struct store_stats s;
    struct embed_about about;
    U2I_TRY(e->ops->stats(e->store, &s, err));
    embedding_about(e, &about);
    memcpy(out->model_precision, about.precision, sizeof(out->model_precision));
    out->model_parity = about.parity;
    out->items = s.items;
    out->items_unknown = s.items_unknown;
    out->items_no_vector = s.items_no_vector;
    out->users = s.users;
    out->events = s.events;
    out->sequence = s.sequence;
    out->file_bytes = s.file_bytes;
    out->index_items = s.index_items;
    out->index_pending = s.index_pending;
    out->index_bytes = s.index_bytes;
    out->index_mapped_bytes = s.index_mapped_bytes;
    out->dim = e->store->dim;
    (void)snprintf(out->model, sizeof(out->model), "%s", e->store->model);
    (void)snprintf(out->simd, sizeof(out->simd), "%s", vec_get()->name);
    U2I_TRY(e->ops->read_begin(e->store, err));
    out->index_ef = engine_index_ef(e, &s);
    out->memory_bytes = s.memory_bytes + histories_bytes(e->histories) +
                        popularity_bytes(e->popularity) + tallies_bytes(e->tallies) +
                        (e->trained.model == NULL ? 0 : model_bytes(e->trained.model)) +
                        roaring_bitmap_size_in_bytes(e->acted_items) + neighbours_bytes(e);
    e->ops->read_end(e->store);
    return U2I_OK;
}

int engine_build_index(struct engine *e, u2i_progress_fn progress, void *ctx, u2i_error_t *err) {
    U2I_TRY(engine_follow(e, err));
    U2I_TRY(e->ops->build_index(e->store, progress, ctx, err));
    return neighbours_build(e, err);
}

int engine_verify(struct engine *e, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err) {
    return e->ops->verify(e->store, fn, ctx, faults, err);
}
