/* Ranking rules of one question: those of the store's setting and the question's own. What must hold becomes a
 * bitmap of what may be searched and what may not; what shall be better or worse becomes terms of the
 * candidates' scores. The events that hide an item for a while only, and impressions, are read from the log
 * when a rule asks for them. */
#include "ask.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#include <math.h>
#include <stdlib.h>

#define RULES_LIKED_MAX 500u /* items of the history whose attributes a band is made of */

struct asked_event { /* of the user's log */
    uint32_t row;
    int64_t time_ms;
    const struct action *action;
};

/* ---- How rules see the store ------------------------------------------------------------------ */

static int asked_match(void *ctx, const struct filter *f, const uint32_t *rows, uint32_t n,
                       bool *passes, u2i_error_t *err) {
    struct ask *a = ctx;
    return a->e->ops->match(a->e->store, f, rows, n, passes, err);
}

static int asked_attr(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                      struct attr_value *out, u2i_error_t *err) {
    struct ask *a = ctx;
    return a->e->ops->attr(a->e->store, path, rows, n, out, err);
}

/* The impressions stand at the end of the log, in order of row. */
static uint32_t asked_shown(void *ctx, uint32_t row, double within_s) {
    const struct ask *a = ctx;
    const double since_ms = (double)a->now_ms - within_s * 1000;
    size_t low = a->log_shown, high = a->log_n;
    uint32_t n = 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (a->log[middle].row < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < a->log_n && a->log[low].row == row; low++) {
        n += (double)a->log[low].time_ms >= since_ms;
    }
    return n;
}

static uint64_t asked_events(void *ctx, uint32_t row) {
    const struct ask *a = ctx;
    return tallies_events(a->e->tallies, row);
}

static uint64_t asked_impressions(void *ctx, uint32_t row) {
    const struct ask *a = ctx;
    return tallies_impressions(a->e->tallies, row);
}

static const char *asked_id(void *ctx, uint32_t row) {
    const struct ask *a = ctx;
    return a->e->ops->item_id(a->e->store, row);
}

static void asked_view(struct ask *a) {
    const char *user = a->q->user == NULL ? "" : a->q->user;
    const uint64_t hour = (uint64_t)(a->now_ms / 3600000); /* asked again at once: the same list */
    a->view = (struct rules_view){.ctx = a,
                                  .now_ms = a->now_ms,
                                  .seed = hash_bytes(user, strlen(user), hour),
                                  .match = asked_match,
                                  .attr = asked_attr,
                                  .shown = asked_shown,
                                  .events = asked_events,
                                  .impressions = asked_impressions,
                                  .id = asked_id};
}

/* ---- Binding ---------------------------------------------------------------------------------- */

/* What the history likes, each item once with what all its events weigh. */
static int asked_liked(struct ask *a, struct rules_asker *asker, u2i_error_t *err) {
    const struct history *h = a->history;
    if (h == NULL || h->n == 0) {
        return U2I_OK;
    }
    const struct history_source from = engine_history_source(a->e);
    struct rules_liked *liked = arena_array(&a->arena, RULES_LIKED_MAX, sizeof(*liked));
    uint32_t n = 0;
    if (liked == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < h->n && n < RULES_LIKED_MAX; i++) {
        const struct profile_event *ev = &h->events[i];
        const float w = trained_weight(history_action(&from, ev->action), ev->value);
        if (w > 0) {
            liked[n++] = (struct rules_liked){ev->item, w};
        }
    }
    asker->history = liked;
    asker->history_n = n;
    return U2I_OK;
}

static int asked_user_attrs(struct ask *a, u2i_error_t *err) {
    struct store_user user;
    if (a->user == STORE_NONE) {
        return U2I_OK;
    }
    U2I_TRY(ask_found(a, a->e->ops->get_user(a->e->store, a->user, &a->arena, &user, err)));
    const char *json = user.attrs_json;
    return json == NULL ? U2I_OK : attrs_parse(NULL, json, strlen(json), &a->user_attrs, err);
}

static int asked_bind(struct ask *a, u2i_error_t *err) {
    const struct rules *const sets[] = {a->e->settings.rules.parsed, a->own_rules};
    struct rules_asker asker = {.now_ms = a->now_ms, .attr = asked_attr, .ctx = a};
    U2I_TRY(asked_user_attrs(a, err));
    U2I_TRY(asked_liked(a, &asker, err));
    asker.user = a->user_attrs;
    return rules_bind(sets, 2, &asker, &a->arena, &a->rules, err);
}

/* ---- What must hold --------------------------------------------------------------------------- */

/* a->among becomes what passes every filter. */
static int asked_filters(struct ask *a, u2i_error_t *err) {
    uint32_t from;
    const uint32_t n = rules_of(&a->rules, RULE_FILTER, &from);
    for (uint32_t i = 0; i < n; i++) {
        roaring_bitmap_t *passing;
        U2I_TRY(a->e->ops->matches(a->e->store, a->rules.list[from + i].filter, a->among, &passing,
                                   err));
        if (a->among != NULL) {
            roaring_bitmap_free(a->among);
        }
        a->among = passing;
    }
    return U2I_OK;
}

/* People who did the rule's action to this user are hidden from them. */
static void asked_mutual(struct ask *a, const struct rule *rule) {
    struct engine *e = a->e;
    const uint32_t me = a->q->user == NULL ? STORE_NONE : e->ops->item_row(e->store, a->q->user);
    const roaring_bitmap_t *users = me == STORE_NONE ? NULL : tallies_users(e->tallies, rule, me);
    if (users == NULL) {
        return;
    }
    roaring_uint32_iterator_t it;
    roaring_init_iterator(users, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        const char *id = e->ops->user_id(e->store, it.current_value);
        const uint32_t row = id == NULL ? STORE_NONE : e->ops->item_row(e->store, id);
        if (row != STORE_NONE) {
            roaring_bitmap_add(a->exclude, row);
        }
    }
}

/* Where items are people, nobody is shown to themselves. */
static void asked_self(struct ask *a) {
    uint32_t from;
    const uint32_t n = rules_of(&a->rules, RULE_TWO_SIDED, &from);
    const uint32_t me = n == 0 || a->q->user == NULL || a->rules.list[from].rule->path != NULL
                            ? STORE_NONE
                            : a->e->ops->item_row(a->e->store, a->q->user);
    if (me != STORE_NONE) {
        roaring_bitmap_add(a->exclude, me);
    }
}

static void asked_exclude(struct ask *a) {
    uint32_t from;
    uint32_t n = rules_of(&a->rules, RULE_LIMIT, &from);
    asked_self(a);
    for (uint32_t i = 0; i < n; i++) {
        tallies_full(a->e->tallies, a->rules.list[from + i].rule, a->now_ms, a->exclude);
    }
    n = rules_of(&a->rules, RULE_MUTUAL, &from);
    for (uint32_t i = 0; i < n; i++) {
        asked_mutual(a, a->rules.list[from + i].rule);
    }
}

/* ---- The user's log --------------------------------------------------------------------------- */

static bool asked_wants_log(const struct ask *a) {
    uint32_t from;
    return rules_of(&a->rules, RULE_AGAIN, &from) + rules_of(&a->rules, RULE_SHOWN_CAP, &from) +
               rules_of(&a->rules, RULE_DISCOUNT, &from) >
           0;
}

static bool asked_is_shown(const struct asked_event *ev) {
    return strcmp(ev->action->name, "impression") == 0;
}

static int asked_log_order(const void *pa, const void *pb) {
    const struct asked_event *a = pa, *b = pb;
    const int shown = (int)asked_is_shown(a) - (int)asked_is_shown(b);
    return shown != 0 ? shown : (a->row > b->row) - (a->row < b->row);
}

static int asked_log_add(struct ask *a, const struct store_event_row *rows, size_t n,
                         u2i_error_t *err) {
    const struct history_source from = engine_history_source(a->e);
    const u2i_query_t *q = a->q;
    a->log = arena_array(&a->arena, n + q->session_n, sizeof(*a->log));
    if (a->log == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < n; i++) {
        const struct action *action = history_action(&from, rows[i].action);
        if (action != NULL) {
            a->log[a->log_n++] = (struct asked_event){rows[i].item, rows[i].time_ms, action};
        }
    }
    for (size_t i = 0; i < q->session_n; i++) {
        const u2i_event_t *ev = &q->session[i];
        const struct action *action = settings_action(&a->e->settings, ev->action);
        const uint32_t row = a->e->ops->item_row(a->e->store, ev->item);
        if (action != NULL && row != STORE_NONE) {
            a->log[a->log_n++] =
                (struct asked_event){row, ev->time_ms == 0 ? a->now_ms : ev->time_ms, action};
        }
    }
    qsort(a->log, a->log_n, sizeof(*a->log), asked_log_order);
    while (a->log_shown < a->log_n && !asked_is_shown(&a->log[a->log_shown])) {
        a->log_shown++;
    }
    return U2I_OK;
}

static int asked_read_log(struct ask *a, u2i_error_t *err) {
    struct store_event_row *rows = NULL;
    size_t n = 0;
    if (!asked_wants_log(a)) {
        return U2I_OK;
    }
    if (a->user != STORE_NONE) {
        U2I_TRY(a->e->ops->user_events(a->e->store, a->user, SIZE_MAX, &rows, &n, err));
    }
    const int rc = asked_log_add(a, rows, n, err);
    mem_free(rows);
    return rc;
}

/* Items that are hidden by what the user did, as far as rules let some of them return. */
static int asked_again(struct ask *a, u2i_error_t *err) {
    struct rules_event *events = arena_array(&a->arena, a->log_n, sizeof(*events));
    double *hides_s = arena_array(&a->arena, a->log_n, sizeof(*hides_s));
    const bool keep_seen = (a->q->flags & U2I_KEEP_SEEN) != 0;
    if (events == NULL || hides_s == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < a->log_n; i++) {
        events[i] = (struct rules_event){a->log[i].row, a->log[i].action->name};
    }
    U2I_TRY(rules_again(&a->rules, &a->view, events, (uint32_t)a->log_n, hides_s, err));
    for (size_t i = 0; i < a->log_n; i++) {
        const struct action *action = a->log[i].action;
        /* The newest yes or no decides: who disliked something and then bought it has changed their mind. */
        const bool hides = action->exclude
                               ? roaring_bitmap_contains(a->history->disliked, a->log[i].row)
                               : !keep_seen && action->weight > 0;
        const double age_s = (double)(a->now_ms - a->log[i].time_ms) / 1000;
        if (hides && age_s < hides_s[i]) {
            roaring_bitmap_add(a->exclude, a->log[i].row);
        }
    }
    return U2I_OK;
}

static void asked_shown_caps(struct ask *a) {
    for (size_t i = a->log_shown; i < a->log_n; i++) {
        const bool first = i == a->log_shown || a->log[i].row != a->log[i - 1].row;
        if (first && rules_shown_enough(&a->rules, &a->view, a->log[i].row)) {
            roaring_bitmap_add(a->exclude, a->log[i].row);
        }
    }
}

/* ---- For the others --------------------------------------------------------------------------- */

bool asked_any(const struct ask *a) {
    const struct rules *stored = a->e->settings.rules.parsed;
    return (stored != NULL && stored->n > 0) || (a->own_rules != NULL && a->own_rules->n > 0);
}

int asked_begin(struct ask *a, u2i_error_t *err) {
    if (!asked_any(a)) {
        return U2I_OK;
    }
    a->ruled = true;
    asked_view(a);
    U2I_TRY(asked_bind(a, err));
    U2I_TRY(asked_read_log(a, err));
    U2I_TRY(asked_filters(a, err));
    asked_exclude(a);
    asked_shown_caps(a);
    return U2I_OK;
}

bool asked_returns(const struct ask *a) {
    uint32_t from;
    return a->ruled && rules_of(&a->rules, RULE_AGAIN, &from) > 0;
}

int asked_hide(struct ask *a, u2i_error_t *err) {
    return asked_again(a, err);
}

int asked_rank(struct ask *a, struct rank_query *q, u2i_error_t *err) {
    if (!a->ruled) {
        return U2I_OK;
    }
    U2I_TRY(two_sided_apply(a, err));
    struct rules_ranking *r = arena_array(&a->arena, 1, sizeof(*r));
    if (r == NULL) {
        return error_oom(err);
    }
    *r = (struct rules_ranking){
        .candidates = a->candidates, .n = a->n, .scales = a->scales, .arena = &a->arena};
    U2I_TRY(rules_rank(&a->rules, &a->view, r, err));
    q->caps = r->caps;
    q->caps_n = r->caps_n;
    q->lanes = r->lanes;
    q->lanes_n = r->lanes_n;
    q->seed = a->view.seed;
    return U2I_OK;
}

void asked_end(struct ask *a) {
    if (a->ruled) {
        rules_unbind(&a->rules);
    }
    attrs_free(a->user_attrs);
    if (a->among != NULL) {
        roaring_bitmap_free(a->among);
    }
    a->user_attrs = NULL;
    a->among = NULL;
    a->ruled = false;
    a->log_n = a->log_shown = 0;
}
