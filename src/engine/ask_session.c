/* Whose question it is: the recorded history, from the cache, and with it what the question itself says was
 * done: by a visitor without a name, or by a user whose history somebody else keeps. */
#include "ask.h"

#include "base/error.h"

/* The number of an action for a history; false if no setting names it. */
static bool ask_action(const struct engine *e, const char *name, uint16_t *out) {
    const struct action *a = settings_action(&e->settings, name);
    if (a == NULL && e->settings.unknown_action[0] != '\0') {
        a = settings_action(&e->settings, e->settings.unknown_action);
    }
    if (a != NULL) {
        *out = (uint16_t)(HISTORY_SETTING_ACTION + (size_t)(a - e->settings.actions));
    }
    return a != NULL;
}

/* The question's events as rows; unknown items and actions are skipped. */
static int ask_session_events(struct ask *a, struct profile_event **out, size_t *out_n,
                              u2i_error_t *err) {
    const struct engine *e = a->e;
    const u2i_query_t *q = a->q;
    struct profile_event *events = arena_array(&a->arena, q->session_n, sizeof(*events));
    size_t n = 0;
    if (events == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < q->session_n; i++) {
        const u2i_event_t *ev = &q->session[i];
        const uint32_t item = e->ops->item_row(e->store, ev->item);
        uint16_t action;
        if (item != STORE_NONE && ask_action(e, ev->action, &action)) {
            events[n++] =
                (struct profile_event){.time_ms = ev->time_ms == 0 ? a->now_ms : ev->time_ms,
                                       .item = item,
                                       .action = action,
                                       .value = ev->value == 0 ? 1 : ev->value};
        }
    }
    *out = events;
    *out_n = n;
    return U2I_OK;
}

int ask_find_history(struct ask *a, u2i_error_t *err) {
    struct engine *e = a->e;
    const struct history_source from = engine_history_source(e);
    if (a->q->user != NULL) {
        a->user = e->ops->user_row(e->store, a->q->user);
    }
    if (a->user != STORE_NONE) {
        U2I_TRY(ask_found(a, history_get(e->histories, &from, a->user, &a->cached, err)));
        a->history = a->cached;
    }
    if (a->q->session_n == 0) {
        return U2I_OK;
    }
    struct profile_event *events = NULL;
    size_t n = 0;
    U2I_TRY(ask_session_events(a, &events, &n, err));
    U2I_TRY(history_extend(a->cached, &from, events, n, &a->own, err));
    a->history = a->own;
    return U2I_OK;
}

void ask_drop_history(struct ask *a) {
    history_put_back(a->e->histories, a->cached);
    history_free(a->own);
    a->cached = a->own = NULL;
    a->history = NULL;
}
