/* Events going in: actions and times are checked against the settings, then the store has them. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"

/* Popularity is saved after so many events: what a crash has to count again. */
#define EVENTS_SAVE_EVERY 262144u

struct incoming {
    const u2i_event_t *events;
    size_t n;
    const char *user; /* NULL: each event names its own */
    bool list;        /* newest first: entries without a time are one millisecond apart */
    enum store_unknown_item unknown;
    double decay;
    int64_t now_ms;
};

/* What the action is recorded as: itself, or what unknown actions are taken for; NULL = refused. */
static const char *events_action(const struct settings *s, const char *action, struct arena *a) {
    if (settings_action(s, action) != NULL) {
        return action;
    }
    return s->unknown_action[0] == '\0'
               ? NULL
               : arena_dup(a, s->unknown_action, strlen(s->unknown_action));
}

/* One event against the settings; the caller holds settings_lock. */
static int events_check_one(const struct settings *s, const struct incoming *in, size_t i,
                            struct arena *a, struct store_event *out, u2i_error_t *err) {
    const u2i_event_t *ev = &in->events[i];
    const char *action = events_action(s, ev->action, a);
    if (action == NULL) {
        return error_at(err, U2I_EINVAL, (int32_t)i,
                        "there is no action \"%s\": set action.%s to a weight, or unknown_action",
                        ev->action, ev->action);
    }
    if (ev->time_ms > in->now_ms + (int64_t)s->max_future_s * 1000) {
        return error_at(err, U2I_EINVAL, (int32_t)i,
                        "the event's time %lld ms is over %u s (max_future_s) ahead of now",
                        (long long)ev->time_ms, s->max_future_s);
    }
    const int64_t now_ms = in->list ? in->now_ms - (int64_t)i : in->now_ms;
    *out = (struct store_event){.user = in->user == NULL ? ev->user : in->user,
                                .item = ev->item,
                                .action = action,
                                .id = ev->id,
                                .time_ms = ev->time_ms == 0 ? now_ms : ev->time_ms,
                                .value = ev->value == 0 ? 1 : ev->value};
    return U2I_OK;
}

static int events_check(struct engine *e, const struct incoming *in, struct arena *a,
                        struct store_events *out, u2i_error_t *err) {
    struct store_event *rows = arena_array(a, in->n, sizeof(*rows));
    if (rows == NULL) {
        return error_oom(err);
    }
    int rc = U2I_OK;
    (void)pthread_mutex_lock(&e->settings_lock);
    for (size_t i = 0; i < in->n && rc == U2I_OK; i++) {
        rc = events_check_one(&e->settings, in, i, a, &rows[i], err);
    }
    const bool keep = e->settings.unknown_item == STORE_UNKNOWN_KEEP;
    (void)pthread_mutex_unlock(&e->settings_lock);
    *out = (struct store_events){rows, in->n, keep ? STORE_UNKNOWN_KEEP : in->unknown, in->decay};
    return rc;
}

static int events_put(struct engine *e, const struct store_events *in, size_t *recorded,
                      u2i_error_t *err) {
    size_t n = 0;
    U2I_TRY(e->ops->put_events(e->store, in, &n, err));
    if (recorded != NULL) {
        *recorded = n;
    }
    if (atomic_load(&e->unsaved_events) >= EVENTS_SAVE_EVERY) {
        atomic_store(&e->unsaved_events, 0); /* the other threads need not save too */
        u2i_error_t ignored;
        if (popular_save(e, &ignored) != U2I_OK) {
            log_line(&e->log, U2I_LOG_WARN, "popularity is not saved: %s", ignored.msg);
        }
    }
    return U2I_OK;
}

/* What is refused is tried once more after a look at the store: another process may have put the item
 * or set the action that was missing here. */
static int events_take(struct engine *e, const struct incoming *in, size_t *recorded,
                       u2i_error_t *err) {
    struct arena scratch = {0};
    int rc = U2I_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        struct store_events rows;
        rc = engine_refresh(e, err);
        if (rc == U2I_OK) {
            rc = events_check(e, in, &scratch, &rows, err);
        }
        if (rc == U2I_OK) {
            rc = events_put(e, &rows, recorded, err);
        }
        arena_free(&scratch);
        if ((rc != U2I_EINVAL && rc != U2I_ENOTFOUND) || attempt == 1) {
            break;
        }
        const int looked = e->ops->read_begin(e->store, NULL);
        if (looked != U2I_OK) {
            rc = looked == STORE_MOVED ? looked : rc;
            break;
        }
        e->ops->read_end(e->store);
    }
    if (rc == U2I_OK) {
        error_clear(err);
    }
    return rc;
}

int engine_record(struct engine *e, const u2i_event_t *events, size_t n, size_t *recorded,
                  u2i_error_t *err) {
    const struct incoming in = {.events = events,
                                .n = n,
                                .unknown = STORE_UNKNOWN_REFUSE,
                                .now_ms = clock_now_ms(e->clock)};
    return events_take(e, &in, recorded, err);
}

int engine_update_user_profile(struct engine *e, const u2i_interactions_t *list, size_t *used,
                               u2i_error_t *err) {
    if (list->n == 0 && list->decay > 0) {
        return error_set(err, U2I_EINVAL, "a decay without interactions: u2i_put_users() sets it");
    }
    const struct incoming in = {.events = list->events,
                                .n = list->n,
                                .user = list->user,
                                .list = true,
                                .unknown = STORE_UNKNOWN_SKIP,
                                .decay = list->decay,
                                .now_ms = clock_now_ms(e->clock)};
    return events_take(e, &in, used, err);
}

/* ---- Reading them back ------------------------------------------------------------------------ */

struct event_scan {
    u2i_event_fn fn;
    void *ctx;
    size_t left; /* how many may still be shown */
};

static int events_scan_one(void *ctx, const struct store_event *from,
                           const struct store_event_row *row) {
    struct event_scan *scan = ctx;
    (void)row; /* the public event has no row numbers */
    if (scan->left-- == 0) {
        return 1;
    }
    const u2i_event_t ev = {from->user,    from->item,  from->action,
                            from->time_ms, from->value, from->id};
    return scan->fn(scan->ctx, &ev);
}

static int events_scan_user(struct engine *e, const char *user, const struct event_scan *scan,
                            u2i_error_t *err) {
    struct store_event_row *rows = NULL;
    size_t n = 0;
    U2I_TRY(e->ops->read_begin(e->store, err));
    const uint32_t row = e->ops->user_row(e->store, user);
    int rc = row == STORE_NONE ? error_set(err, U2I_ENOTFOUND, "there is no user \"%s\"", user)
                               : e->ops->user_events(e->store, row, scan->left, &rows, &n, err);
    n = n < scan->left ? n : scan->left; /* without those that only share the last one's time */
    for (size_t i = 0; i < n && rc == U2I_OK; i++) {
        const u2i_event_t ev = {user,
                                e->ops->item_id(e->store, rows[i].item),
                                e->ops->action_name(e->store, rows[i].action),
                                rows[i].time_ms,
                                rows[i].value,
                                NULL};
        if (scan->fn(scan->ctx, &ev) != 0) {
            break;
        }
    }
    e->ops->read_end(e->store);
    mem_free(rows);
    return rc;
}

int engine_scan_events(struct engine *e, const char *user, size_t limit, u2i_event_fn fn, void *ctx,
                       u2i_error_t *err) {
    struct event_scan scan = {fn, ctx, limit == 0 ? SIZE_MAX : limit};
    return user != NULL ? events_scan_user(e, user, &scan, err)
                        : e->ops->scan_events(e->store, 0, events_scan_one, &scan, err);
}
