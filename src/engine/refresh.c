/* Keeps derived state in step with the store. The listener takes in every commit, this process's or
 * another's, at the cost of the events in it; what it cannot do (read the store) it marks as stale, and
 * the next call derives it anew before it works: engine_refresh(). */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"

/* ---- The listener: no read section is open ---------------------------------------------------- */

/* The table from the store's action numbers to settings, up to `end`. */
static void refresh_actions(struct engine *e, size_t end) {
    if (array_reserve(&e->actions, &e->actions_cap, end, sizeof(*e->actions)) != U2I_OK) {
        atomic_store(&e->settings_stale, true); /* tried again before the next answer */
        return;
    }
    for (; e->actions_n < end; e->actions_n++) {
        const char *name = e->ops->action_name(e->store, (uint16_t)e->actions_n);
        e->actions[e->actions_n] = name == NULL ? NULL : settings_action(&e->settings, name);
    }
}

static void refresh_all_actions(struct engine *e) {
    size_t end = 0, missing = 0;
    for (size_t i = 0; i <= UINT16_MAX && missing < 2; i++) { /* numbers may begin with 1 */
        const bool named = e->ops->action_name(e->store, (uint16_t)i) != NULL;
        missing = named ? 0 : missing + 1;
        end = named ? i + 1 : end;
    }
    e->actions_n = 0;
    refresh_actions(e, end);
}

struct history_source engine_history_source(const struct engine *e) {
    return (struct history_source){.store = e->store,
                                   .settings = &e->settings,
                                   .actions = e->actions,
                                   .actions_n = e->actions_n};
}

static void refresh_count(struct engine *e, const struct store_event_row *ev, float sign) {
    const struct history_source from = engine_history_source(e);
    const float weight = popular_weight(history_action(&from, ev->action));
    if (weight > 0 &&
        popularity_add(e->popularity, ev->item, ev->time_ms, sign * weight, NULL) != U2I_OK) {
        atomic_store(&e->popularity_stale, true);
    }
}

static void refresh_tally(struct engine *e, const struct store_event_row *ev) {
    const struct history_source from = engine_history_source(e);
    const struct action *a = history_action(&from, ev->action);
    e->told_seq = ev->seq;
    if (e->tallies != NULL && a != NULL) {
        const struct tally_event t = {a->name, a->weight > 0, ev->user, ev->item, ev->time_ms};
        if (tallies_add(e->tallies, &t, NULL) != U2I_OK) {
            atomic_store(&e->tallies_stale, true);
        }
    }
}

static void refresh_covisit(struct engine *e, const struct store_event_row *ev) {
    const struct history_source from = engine_history_source(e);
    const struct action *a = history_action(&from, ev->action);
    if (a != NULL && a->weight > 0 && !a->exclude) {
        const struct covisits_event visit = {ev->time_ms, ev->user, ev->item};
        covisits_add(e->covisits, &visit);
    }
}

static void on_events(void *ctx, const struct store_event_row *events, size_t n) {
    struct engine *e = ctx;
    for (size_t i = 0; i < n; i++) {
        const struct store_event_row *ev = &events[i];
        if (ev->action >= e->actions_n) {
            refresh_actions(e, (size_t)ev->action + 1);
        }
        const struct history_source from = engine_history_source(e);
        history_add(e->histories, &from, ev);
        refresh_covisit(e, ev);
        refresh_tally(e, ev);
        roaring_bitmap_add(e->stale_users, ev->user);
        if (!atomic_load(&e->popularity_stale) && ev->seq > e->counted_seq) {
            refresh_count(e, ev, 1);
            roaring_bitmap_add(e->acted_items, ev->item);
            e->counted_seq = ev->seq;
        }
    }
    atomic_fetch_add(&e->unsaved_events, n);
}

static void on_user_deleted(void *ctx, uint32_t user, const struct store_event_row *events,
                            size_t n) {
    struct engine *e = ctx;
    history_drop(e->histories, user);
    atomic_store(&e->tallies_stale, e->tallies != NULL);
    covisits_clear(e->covisits); /* nothing of them may be left, and it is a matter of hours */
    roaring_bitmap_add(e->stale_users, user);
    for (size_t i = 0; i < n; i++) {
        if (events[i].seq <= e->counted_seq) {
            refresh_count(e, &events[i], -1);
        }
    }
    if (atomic_load(&e->deriving)) { /* the other count may have seen these events already */
        atomic_store(&e->popularity_stale, true);
    }
    atomic_fetch_add(&e->unsaved_events, n);
}

static void on_user_changed(void *ctx, uint32_t user) {
    struct engine *e = ctx;
    history_drop(e->histories, user);
    roaring_bitmap_add(e->stale_users, user);
}

static void on_item_changed(void *ctx, uint32_t item) {
    struct engine *e = ctx;
    if (e->trained.model != NULL) {
        roaring_bitmap_add(e->stale_taste, item);
        atomic_store(&e->taste_stale, true);
    }
    if (roaring_bitmap_contains(e->acted_items, item)) {
        e->all_users_stale = true;
    }
}

static void on_settings_changed(void *ctx) {
    struct engine *e = ctx;
    atomic_store(&e->settings_stale, true);
}

static void on_reset(void *ctx) {
    struct engine *e = ctx;
    history_drop_all(e->histories);
    e->all_users_stale = true;
    e->all_taste_stale = e->trained.model != NULL;
    atomic_store(&e->taste_stale, e->all_taste_stale);
    atomic_store(&e->settings_stale, true);
    atomic_store(&e->popularity_stale, true);
    atomic_store(&e->tallies_stale, true);
}

struct store_listener engine_listener(struct engine *e) {
    return (struct store_listener){.ctx = e,
                                   .events = on_events,
                                   .user_deleted = on_user_deleted,
                                   .user_changed = on_user_changed,
                                   .item_changed = on_item_changed,
                                   .settings_changed = on_settings_changed,
                                   .reset = on_reset};
}

/* ---- Settings ------------------------------------------------------------------------------- */

struct settings_reading {
    struct engine *e;
    struct settings settings;
    uint32_t embedding;
    bool asks_dim;
    struct trained_tokens tokens;
    u2i_error_t err;
};

static int refresh_read_setting(void *ctx, const char *name, const char *value) {
    struct settings_reading *r = ctx;
    if (strcmp(name, EMBEDDING_SETTING) == 0) {
        r->embedding = (uint32_t)strtoul(value, NULL, 10);
    } else if (strcmp(name, EMBEDDING_DIM_SETTING) == 0) {
        r->asks_dim = true;
    } else if (strcmp(name, TRAINED_SETTING) == 0) {
        trained_parse(value, &r->tokens);
    } else if (settings_put(&r->settings, name, value, &r->err) != U2I_OK) {
        /* A newer version's setting, or one written past us: the default holds. */
        log_line(&r->e->log, U2I_LOG_WARN, "setting ignored: %s", r->err.msg);
    }
    return 0;
}

static bool settings_count_alike(const struct settings *a, const struct settings *b) {
    if (a->popular_half_life_s != b->popular_half_life_s ||
        a->recent_half_life_s != b->recent_half_life_s || a->actions_n != b->actions_n) {
        return false;
    }
    for (size_t i = 0; i < a->actions_n; i++) {
        if (strcmp(a->actions[i].name, b->actions[i].name) != 0 ||
            popular_weight(&a->actions[i]) != popular_weight(&b->actions[i])) {
            return false;
        }
    }
    return true;
}

static bool settings_rule_alike(const struct settings *a, const struct settings *b) {
    const char *x = a->rules.text == NULL ? "" : a->rules.text;
    const char *y = b->rules.text == NULL ? "" : b->rules.text;
    return strcmp(x, y) == 0;
}

static void refresh_use_settings(void *ctx) {
    struct settings_reading *r = ctx;
    struct engine *e = r->e;
    if (!settings_count_alike(&e->settings, &r->settings)) {
        atomic_store(&e->popularity_stale, true);
    }
    if (!settings_rule_alike(&e->settings, &r->settings)) {
        atomic_store(&e->tallies_stale, true);
    }
    const struct settings old = e->settings;
    (void)pthread_mutex_lock(&e->settings_lock);
    e->settings = r->settings;
    e->asks_dim = r->asks_dim;
    (void)pthread_mutex_unlock(&e->settings_lock);
    r->settings = old;
    refresh_all_actions(e);
    history_drop_all(e->histories);
    e->all_users_stale = true;
    atomic_store(&e->embedding_newest, r->embedding);
    e->tokens = r->tokens;
    neighbours_configure(e);
}

static int refresh_settings(struct engine *e, u2i_error_t *err) {
    struct settings_reading r = {.e = e};
    atomic_store(&e->settings_stale, false); /* first, so that a change from now on is seen */
    int rc = settings_init(&r.settings, err);
    if (rc == U2I_OK) {
        rc = e->ops->scan_settings(e->store, refresh_read_setting, &r, err);
    }
    if (rc == U2I_OK) {
        const struct index_config index = r.settings.index; /* alone() exchanges the settings */
        e->ops->alone(e->store, refresh_use_settings, &r);
        e->ops->configure_index(e->store, &index);
    } else {
        atomic_store(&e->settings_stale, true);
    }
    settings_free(&r.settings);
    return rc;
}

/* ---- Popularity ----------------------------------------------------------------------------- */

struct popularity_exchange {
    struct engine *e;
    struct counted counted;
    bool done;
};

static void refresh_use_popularity(void *ctx) {
    struct popularity_exchange *x = ctx;
    struct engine *e = x->e;
    if (x->counted.seq < e->counted_seq) {
        return; /* events came in since: count these too and try again */
    }
    const struct counted old = {e->popularity, e->acted_items, e->counted_seq};
    e->popularity = x->counted.popularity;
    e->acted_items = x->counted.items;
    e->counted_seq = x->counted.seq;
    x->counted = old;
    x->done = true;
}

static int refresh_popularity(struct engine *e, u2i_error_t *err) {
    struct popularity_exchange x = {.e = e};
    atomic_store(&e->popularity_stale, false);
    atomic_store(&e->deriving, true);
    int rc = popular_derive(e, &e->settings, &x.counted, err);
    while (rc == U2I_OK) {
        e->ops->alone(e->store, refresh_use_popularity, &x);
        if (x.done) {
            break;
        }
        rc = popular_catch_up(e, &e->settings, &x.counted, err);
    }
    popular_discard(&x.counted);
    atomic_store(&e->deriving, false);
    if (rc != U2I_OK) {
        atomic_store(&e->popularity_stale, true);
    }
    return rc;
}

/* ---- What rules count ------------------------------------------------------------------------- */

struct tallying {
    struct engine *e;
    struct tallies *fresh;
    uint64_t seq;
    bool done;
    int rc;
    u2i_error_t *err;
};

static int refresh_tally_event(void *ctx, const struct store_event *ev,
                               const struct store_event_row *row) {
    struct tallying *t = ctx;
    const struct action *a = settings_action(&t->e->settings, ev->action);
    const struct tally_event one = {ev->action, a != NULL && a->weight > 0, row->user, row->item,
                                    row->time_ms};
    t->rc = a == NULL ? U2I_OK : tallies_add(t->fresh, &one, t->err);
    t->seq = row->seq;
    return t->rc;
}

static void refresh_use_tallies(void *ctx) {
    struct tallying *t = ctx;
    if (t->fresh == NULL || t->seq >= t->e->told_seq) {
        struct tallies *old = t->e->tallies;
        t->e->tallies = t->fresh;
        t->fresh = old;
        t->done = true;
    }
}

static int refresh_tally_log(struct tallying *t) {
    struct engine *e = t->e;
    U2I_TRY(e->ops->read_begin(e->store, t->err));
    const uint64_t told = e->told_seq; /* the log below has these, or they were removed since */
    e->ops->read_end(e->store);
    U2I_TRY(e->ops->scan_events(e->store, t->seq, refresh_tally_event, t, t->err));
    t->seq = t->seq < told ? told : t->seq;
    return t->rc;
}

/* Holds `refreshing`, so the settings stay. */
static int refresh_tallies(struct engine *e, u2i_error_t *err) {
    struct tallying t = {.e = e, .err = err};
    atomic_store(&e->tallies_stale, false);
    int rc = tallies_new(e->settings.rules.parsed, &t.fresh, err);
    while (rc == U2I_OK && !t.done) {
        rc = t.fresh == NULL ? U2I_OK : refresh_tally_log(&t);
        if (rc == U2I_OK) {
            e->ops->alone(e->store, refresh_use_tallies, &t);
        }
    }
    tallies_free(t.fresh);
    if (rc != U2I_OK) {
        atomic_store(&e->tallies_stale, true);
    }
    return rc;
}

static bool refresh_is_due(struct engine *e) {
    return atomic_load(&e->settings_stale) || atomic_load(&e->popularity_stale) ||
           atomic_load(&e->tallies_stale);
}

int engine_refresh(struct engine *e, u2i_error_t *err) {
    if (!refresh_is_due(e)) {
        return U2I_OK;
    }
    int rc = U2I_OK;
    (void)pthread_mutex_lock(&e->refreshing);
    if (atomic_load(&e->settings_stale)) {
        rc = refresh_settings(e, err);
        if (rc == U2I_OK) {
            rc = embedding_refresh(e, err);
        }
        if (rc == U2I_OK) {
            rc = trained_refresh(e, err);
        }
    }
    if (rc == U2I_OK && atomic_load(&e->popularity_stale)) {
        rc = refresh_popularity(e, err);
    }
    if (rc == U2I_OK && atomic_load(&e->tallies_stale)) {
        rc = refresh_tallies(e, err);
    }
    (void)pthread_mutex_unlock(&e->refreshing);
    return rc;
}

/* A process that changes settings all the time cannot keep us from answering. */
#define REFRESH_ATTEMPTS 20
/* What one answer does for items that came in since the training: with many, the next ones do the rest. */
#define REFRESH_TASTE_STEPS 4

int engine_read_begin(struct engine *e, u2i_error_t *err) {
    for (int i = 0;; i++) {
        U2I_TRY(engine_refresh(e, err));
        if (atomic_load(&e->taste_stale)) {
            U2I_TRY(trained_catch_up(e, REFRESH_TASTE_STEPS, err));
        }
        U2I_TRY(e->ops->read_begin(e->store, err));
        if (i == REFRESH_ATTEMPTS || !refresh_is_due(e)) {
            return U2I_OK;
        }
        e->ops->read_end(e->store);
    }
}

int engine_follow(struct engine *e, u2i_error_t *err) {
    U2I_TRY(engine_read_begin(e, err));
    e->ops->read_end(e->store);
    return U2I_OK;
}
