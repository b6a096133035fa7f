/* Property: what must hold for every item of an answer does hold, whatever else is asked for.
 *
 * A small random catalogue of people who are items too, random events (late ones, ones yet to come), random
 * ranking rules in the setting and in the question, random filters, exclusions, sessions, diversity, modes, and
 * trainings in between. Beside the store stands a plain model of it: arrays of items and events, and for each
 * rule what it must mean. Of every answer is checked:
 *
 *   - no item twice, none over the limit, none that is deleted, excluded, filtered out by the question or by a
 *     rule, seen or disliked (unless `again` lets it return), full, shown often enough, or behind a block;
 *   - it is as long as it can be: shorter than the limit only if a cap is set or nothing else may be shown;
 *   - caps hold in every window; a single pin has its place;
 *   - the parts add up to the score, the probability is one, and asking again gives the same answer.
 *
 * U2I_SEED and U2I_STEPS in the environment repeat or prolong a run. */
#include "base/rng.h"
#include "shop.h"

#include <inttypes.h>
#include <stdbool.h>

enum {
    DIM = 6,
    FEW = 70,
    ITEMS = 420, /* more than are looked at for a list */
    USERS = 12,
    FANS = 150,
    EVENTS_MAX = 4000,
    RULES_MAX = 6,
    ROUNDS = 4,
    NO_EVENT = -1
};
#define NOW_S 1700000000
#define DAY_S 86400

/* ---- The plain model ------------------------------------------------------------------------------ */

struct item {
    bool live;
    int price, brand, category; /* -1 = it has none */
    int64_t since_s;            /* 0 = none */
};
struct user {
    int max_price, brand; /* -1 = not stated */
    uint32_t brands;      /* a set; 0 = not stated */
};
struct event {
    uint32_t user, item, action;
    int64_t time_ms;
    int next; /* of its item, or NO_EVENT */
};

enum { PURCHASE, LIKE, VIEW, DISLIKE, PASS, BLOCK, IMPRESSION, ACTIONS_N };
static const char *const actions[] = {"purchase", "like",  "view",      "dislike",
                                      "pass",     "block", "impression"};
static bool action_excludes(uint32_t action) {
    return action == DISLIKE || action == PASS || action == BLOCK;
}

/* One rule: as text, and what it means as far as the checks need it. */
enum kind { FILTER, CAP, PIN, AGAIN, SHOWN_CAP, LIMIT, MUTUAL, TWO_SIDED, SOFT };
struct rule {
    enum kind kind;
    char text[96];
    int filter;      /* FILTER */
    uint32_t number; /* CAP, SHOWN_CAP, LIMIT: how many; PIN: place */
    uint32_t what;   /* CAP: attribute; PIN: item; AGAIN, LIMIT: action */
    int64_t time_s;  /* window of CAP; time of the others, 0 = ever */
};
struct rules {
    struct rule list[RULES_MAX];
    size_t n;
    char text[1024];
};

struct world {
    struct rng rng;
    uint64_t seed;
    size_t step;
    u2i_t *u;
    uint32_t items_n;
    struct item items[ITEMS];
    int newest[ITEMS]; /* the item's event that was recorded last */
    struct user users[USERS];
    struct event events[EVENTS_MAX];
    size_t events_n;
    struct rules set; /* the setting's */
    unsigned long answers, hits, trainings;
};

struct question {
    u2i_query_t q;
    bool popular;  /* another way to ask, without caps and pins */
    uint32_t user; /* USERS = nobody */
    int filter;    /* -1 = none */
    struct rules own;
    bool excluded[ITEMS];
    char excluded_ids[ITEMS][8], user_id[8];
    const char *exclude[ITEMS];
    struct event session[4];
    u2i_event_t session_events[4];
    char session_ids[4][8];
    int64_t now_ms;
};

static uint32_t below(struct world *w, uint32_t n) {
    return rng_below(&w->rng, n);
}
static bool chance(struct world *w, uint32_t percent) {
    return below(w, 100) < percent;
}

static void give_up(const struct world *w, const struct question *q, const char *what,
                    const char *id) {
    print_error("U2I_SEED=%" PRIu64 ", step %zu: %s: %s\n", w->seed, w->step, what, id);
    print_error("the setting's rules:\n%s\nthe question's:\n%s\n", w->set.text,
                q == NULL ? "" : q->own.text);
    fail();
}

static const char *item_id(uint32_t i, char id[8]) {
    (void)snprintf(id, 8, "i%02u", i);
    return id;
}
static uint32_t item_number(const char *id) {
    return (uint32_t)strtoul(id + 1, NULL, 10);
}

/* ---- Filters: the text, and the same in C ------------------------------------------------------------ */

static const char *const filters[] = {
    "price < 60",
    "price is null or price >= 10",
    "not (category == \"c1\")",
    "since is null or since <= {now}",
    "price <= {user.max}",
    "brand in {user.brands}",
    "brand == {user.brand} else brand == \"b1\"",
};
enum { FILTERS_N = 7, FILTERS_OF_QUESTIONS = 3, FILTER_STRICT = FILTERS_N };

/* Those that name an attribute of the user. */
static bool user_filter_holds(int filter, const struct item *it, const struct user *u) {
    static const struct user nobody = {.max_price = -1, .brand = -1};
    u = u == NULL ? &nobody : u;
    const bool affordable = it->price >= 0 && it->price <= u->max_price;
    switch (filter) {
    case 4:
        return u->max_price < 0 || affordable;
    case 5:
        return u->brands == 0 || (it->brand >= 0 && (u->brands >> it->brand & 1) != 0);
    case 6:
        return it->brand == (u->brand < 0 ? 1 : u->brand);
    default: /* FILTER_STRICT: require */
        return u->max_price >= 0 && affordable;
    }
}

static bool filter_holds(int filter, const struct item *it, const struct user *u, int64_t now_s) {
    switch (filter) {
    case 0:
        return it->price >= 0 && it->price < 60;
    case 1:
        return it->price < 0 || it->price >= 10;
    case 2:
        return it->category >= 0 && it->category != 1;
    case 3:
        return it->since_s == 0 || it->since_s <= now_s;
    default:
        return user_filter_holds(filter, it, u);
    }
}

/* ---- Random rules ------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int64_t seconds;
} times[] = {{"12h", DAY_S / 2}, {"3d", 3 * DAY_S}, {"2w", 14 * DAY_S}};

static void random_soft(struct world *w, struct rule *r) {
    static const char *const soft[] = {"boost price < 30 by 3",
                                       "boost category == \"c2\" by 0.01",
                                       "boost price > {history.price.high} by 0.5",
                                       "boost id like \"i0%\" by 1000",
                                       "promote brand == \"b0\" share 40%",
                                       "promote price < 5 share 1",
                                       "shown discount 0.5",
                                       "shown discount 0.8 within 3d",
                                       "fresh since half-life 2d",
                                       "match brand with {user.brands} by 4"};
    (void)snprintf(r->text, sizeof(r->text), "%s", soft[below(w, sizeof(soft) / sizeof(soft[0]))]);
}

static void random_hard(struct world *w, struct rule *r) {
    static const char *const capped[] = {"brand", "category"};
    const size_t t = below(w, 3);
    switch (r->kind) {
    case FILTER:
        r->filter = (int)below(w, FILTERS_N + 1);
        (void)snprintf(r->text, sizeof(r->text), "%s",
                       r->filter == FILTER_STRICT ? "require price <= {user.max}" : "filter ");
        if (r->filter != FILTER_STRICT) {
            strcat(r->text, filters[r->filter]);
        }
        break;
    case CAP:
        r->what = below(w, 2);
        r->number = 1 + below(w, 3);
        r->time_s = chance(w, 50) ? 0 : r->number + below(w, 8);
        (void)snprintf(r->text, sizeof(r->text), "cap %s %u", capped[r->what], r->number);
        if (r->time_s > 0) {
            (void)snprintf(r->text, sizeof(r->text), "cap %s %u in %d", capped[r->what], r->number,
                           (int)r->time_s);
        }
        break;
    case PIN:
        r->what = below(w, w->items_n);
        r->number = 1 + below(w, 12);
        (void)snprintf(r->text, sizeof(r->text), "pin \"i%02u\" at %u", r->what, r->number);
        break;
    case AGAIN:
        r->what = below(w, IMPRESSION);
        r->time_s = times[t].seconds;
        (void)snprintf(r->text, sizeof(r->text), "again %s after %s", actions[r->what],
                       times[t].name);
        break;
    default:
        r->number = 1 + below(w, 3);
        r->time_s = times[t].seconds;
        (void)snprintf(r->text, sizeof(r->text), "shown cap %u within %s", r->number,
                       times[t].name);
    }
}

/* Those that count everybody's events: for the setting only. */
static void random_counting(struct world *w, struct rule *r) {
    const size_t t = below(w, 3);
    switch (r->kind) {
    case LIMIT:
        r->what = below(w, ACTIONS_N);
        r->number = 2 + below(w, 30);
        r->time_s = chance(w, 50) ? 0 : times[t].seconds;
        (void)snprintf(r->text, sizeof(r->text), "limit %s %u%s%s", actions[r->what], r->number,
                       r->time_s > 0 ? " within " : "", r->time_s > 0 ? times[t].name : "");
        break;
    case MUTUAL:
        r->what = BLOCK;
        (void)snprintf(r->text, sizeof(r->text), "mutual block");
        break;
    case TWO_SIDED:
        (void)snprintf(r->text, sizeof(r->text), "two-sided %s",
                       chance(w, 50) ? "harmonic" : "product");
        break;
    default:
        (void)snprintf(r->text, sizeof(r->text), "explore %u%% below %u", 1 + below(w, 60),
                       1 + below(w, 30));
    }
}

static bool rules_have(const struct rules *rules, enum kind kind) {
    for (size_t i = 0; i < rules->n; i++) {
        if (rules->list[i].kind == kind) {
            return true;
        }
    }
    return false;
}

static void random_rules(struct world *w, struct rules *out, bool setting) {
    static const enum kind hard[] = {FILTER, CAP, PIN, AGAIN, SHOWN_CAP};
    static const enum kind counting[] = {LIMIT, MUTUAL, TWO_SIDED, SOFT};
    *out = (struct rules){.n = below(w, RULES_MAX + 1)};
    for (size_t i = 0; i < out->n; i++) {
        struct rule *r = &out->list[i];
        const uint32_t which = below(w, setting ? 10 : 7);
        if (which < 4) {
            r->kind = hard[below(w, 5)];
            random_hard(w, r);
        } else if (which < 7) {
            r->kind = SOFT;
            random_soft(w, r);
        } else {
            const enum kind kind = counting[below(w, 4)];
            r->kind = rules_have(out, TWO_SIDED) && kind == TWO_SIDED ? SOFT : kind;
            random_counting(w, r);
        }
        strcat(out->text, r->text);
        strcat(out->text, chance(w, 50) ? "\n" : "; ");
    }
}

/* ---- Writes -------------------------------------------------------------------------------------------- */

static void ok(const struct world *w, int rc, const u2i_error_t *err) {
    if (rc != U2I_OK) {
        give_up(w, NULL, u2i_rc_name(rc), err->msg);
    }
}

static void put_item(struct world *w, uint32_t i) {
    struct item *it = &w->items[i];
    char id[8], attrs[160] = "{", category[8];
    float v[DIM];
    u2i_error_t err;
    *it = (struct item){.live = true,
                        .price = chance(w, 80) ? (int)below(w, 80) : -1,
                        .brand = chance(w, 80) ? (int)below(w, 4) : -1,
                        .category = chance(w, 80) ? (int)below(w, 3) : -1,
                        .since_s =
                            chance(w, 60) ? NOW_S + (int64_t)below(w, 20 * DAY_S) - 15 * DAY_S : 0};
    for (int d = 0; d < DIM; d++) {
        v[d] = (float)below(w, 100) / 200 + (d == (int)i % DIM ? 1.0f : 0.01f);
    }
    size_t n = 1;
    if (it->price >= 0) {
        n += (size_t)snprintf(attrs + n, sizeof(attrs) - n, "\"price\": %d, ", it->price);
    }
    if (it->brand >= 0) {
        n += (size_t)snprintf(attrs + n, sizeof(attrs) - n, "\"brand\": \"b%d\", ", it->brand);
    }
    if (it->since_s > 0) {
        n +=
            (size_t)snprintf(attrs + n, sizeof(attrs) - n, "\"since\": %" PRId64 ", ", it->since_s);
    }
    (void)snprintf(attrs + n, sizeof(attrs) - n, "\"x\": 1}");
    (void)snprintf(category, sizeof(category), "c%d", it->category);
    const u2i_item_t item = {.id = item_id(i, id),
                             .title = id,
                             .category = it->category < 0 ? NULL : category,
                             .attrs_json = attrs,
                             .vector = v};
    ok(w, u2i_put_items(w->u, &item, 1, sizeof(item), &err), &err);
}

static void delete_item(struct world *w) {
    char id[8];
    u2i_error_t err;
    const uint32_t i = below(w, w->items_n);
    const char *const ids[] = {item_id(i, id)};
    ok(w, u2i_delete_items(w->u, ids, 1, NULL, &err), &err);
    w->items[i].live = false;
}

static void put_user(struct world *w, uint32_t i) {
    struct user *u = &w->users[i];
    char id[8], attrs[160];
    u2i_error_t err;
    *u = (struct user){.max_price = chance(w, 50) ? (int)below(w, 80) : -1,
                       .brand = chance(w, 50) ? (int)below(w, 4) : -1,
                       .brands = chance(w, 50) ? below(w, 16) : 0};
    size_t n = (size_t)snprintf(attrs, sizeof(attrs), "{\"brands\": [");
    for (uint32_t b = 0, first = 1; b < 4; b++) {
        if ((u->brands >> b & 1) != 0) {
            n += (size_t)snprintf(attrs + n, sizeof(attrs) - n, "%s\"b%u\"", first ? "" : ", ", b);
            first = 0;
        }
    }
    n += (size_t)snprintf(attrs + n, sizeof(attrs) - n, "]");
    if (u->max_price >= 0) {
        n += (size_t)snprintf(attrs + n, sizeof(attrs) - n, ", \"max\": %d", u->max_price);
    }
    if (u->brand >= 0) {
        n += (size_t)snprintf(attrs + n, sizeof(attrs) - n, ", \"brand\": \"b%d\"", u->brand);
    }
    (void)snprintf(attrs + n, sizeof(attrs) - n, "}");
    const u2i_user_t user = {.id = item_id(i, id),
                             .attrs_json = attrs}; /* users are the first items */
    ok(w, u2i_put_users(w->u, &user, 1, sizeof(user), &err), &err);
}

static struct event random_event(struct world *w, uint32_t user) {
    return (struct event){.user = user,
                          .item = below(w, w->items_n),
                          .action = below(w, ACTIONS_N),
                          .time_ms = ((int64_t)NOW_S - 20 * DAY_S) * 1000 +
                                     (int64_t)below(w, 21 * DAY_S) * 1000 + below(w, 1000)};
}

static void record(struct world *w, const struct event *ev, const char *user) {
    char item[8];
    u2i_error_t err;
    const u2i_event_t one = {.user = user,
                             .item = item_id(ev->item, item),
                             .action = actions[ev->action],
                             .time_ms = ev->time_ms};
    assert_true(w->events_n < EVENTS_MAX);
    w->events[w->events_n] = *ev;
    w->events[w->events_n].next = w->newest[ev->item];
    w->newest[ev->item] = (int)w->events_n++;
    ok(w, u2i_record(w->u, &one, 1, sizeof(one), NULL, &err), &err);
}

static void record_random(struct world *w) {
    char id[8];
    const struct event ev = random_event(w, below(w, USERS));
    if (w->items[ev.item].live && w->events_n < EVENTS_MAX - FANS * 6) {
        record(w, &ev, item_id(ev.user, id));
    }
}

static void set_rules(struct world *w) {
    u2i_error_t err;
    random_rules(w, &w->set, true);
    ok(w, u2i_set_setting(w->u, "rules", w->set.text, &err), &err);
}

/* Many who like items of one kind: then there is something to learn. */
static void record_fans(struct world *w) {
    for (uint32_t f = 0; f < FANS; f++) {
        char user[16];
        (void)snprintf(user, sizeof(user), "fan%u", f);
        for (uint32_t e = 0; e < 6; e++) {
            struct event ev = random_event(w, USERS + f);
            ev.action = LIKE;
            ev.item = ev.item - ev.item % DIM + f % DIM;
            if (ev.item < w->items_n && w->items[ev.item].live) {
                record(w, &ev, user);
            }
        }
    }
}

/* Whether any event says that somebody wants an item that is there. */
static bool anything_wanted(const struct world *w) {
    for (size_t i = 0; i < w->events_n; i++) {
        const struct event *ev = &w->events[i];
        if (ev->action <= VIEW && w->items[ev->item].live) {
            return true;
        }
    }
    return false;
}

/* Only where nothing is wanted may there be nothing to learn. */
static void train(struct world *w) {
    u2i_train_options_t options = U2I_TRAIN_OPTIONS_INIT;
    u2i_error_t err;
    options.now_ms = (int64_t)NOW_S * 1000;
    const int rc = u2i_train(w->u, &options, &err);
    if (rc != U2I_ENOTFOUND || anything_wanted(w)) {
        ok(w, rc, &err);
        w->trainings++;
    }
}

/* ---- What a user's log says of an item ------------------------------------------------------------------- */

struct told {
    bool acted, disliked;
    int64_t decides_ms; /* the newest yes or no */
    bool in_session;
};

static const struct rule *rule_of(const struct world *w, const struct question *q, enum kind kind,
                                  uint32_t action) {
    const struct rules *sets[] = {&w->set, &q->own};
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sets[s]->n; i++) {
            const struct rule *r = &sets[s]->list[i];
            if (r->kind == kind && (action == ACTIONS_N || r->what == action)) {
                return r;
            }
        }
    }
    return NULL;
}

/* Newest yes or no: those of the session before those that are recorded, of equal times the no. */
static void tell_one(struct told *t, const struct event *ev, bool session) {
    if (ev->action == IMPRESSION) {
        return;
    }
    const bool excludes = action_excludes(ev->action);
    if (!t->acted || (session && !t->in_session) || ev->time_ms > t->decides_ms ||
        (ev->time_ms == t->decides_ms && excludes)) {
        t->disliked = excludes;
        t->decides_ms = ev->time_ms;
    }
    t->acted = true;
    t->in_session = t->in_session || session;
}

static bool is_own(const struct question *q, const struct event *ev) {
    return ev->user == q->user && q->user < USERS;
}

/* Does the event hide its item? What is disliked is known. */
static bool hides(const struct world *w, const struct question *q, const struct event *ev,
                  bool disliked) {
    const bool keep_seen = (q->q.flags & U2I_KEEP_SEEN) != 0;
    const struct rule *again = rule_of(w, q, AGAIN, ev->action);
    if (ev->action == IMPRESSION ||
        (again != NULL && q->now_ms - ev->time_ms >= again->time_s * 1000)) {
        return false;
    }
    return action_excludes(ev->action) ? disliked : !keep_seen;
}

static bool is_hidden(const struct world *w, const struct question *q, uint32_t item) {
    struct told t = {.acted = false};
    bool hidden = false;
    for (int i = w->newest[item]; i != NO_EVENT; i = w->events[i].next) {
        if (is_own(q, &w->events[i])) {
            tell_one(&t, &w->events[i], false);
        }
    }
    for (size_t i = 0; i < q->q.session_n; i++) {
        if (q->session[i].item == item) {
            tell_one(&t, &q->session[i], true);
        }
    }
    if (rule_of(w, q, AGAIN, ACTIONS_N) == NULL) {
        return (q->q.flags & U2I_KEEP_SEEN) != 0 ? t.disliked : t.acted;
    }
    for (int i = w->newest[item]; i != NO_EVENT; i = w->events[i].next) {
        hidden = hidden || (is_own(q, &w->events[i]) && hides(w, q, &w->events[i], t.disliked));
    }
    for (size_t i = 0; i < q->q.session_n; i++) {
        hidden = hidden || (q->session[i].item == item && hides(w, q, &q->session[i], t.disliked));
    }
    return hidden;
}

/* How often an event of the action is in the log since then: of everybody, or of the asking user. */
static uint32_t count_events(const struct world *w, const struct question *q, uint32_t item,
                             uint32_t action, double since_ms, bool everybody) {
    uint32_t n = 0;
    for (int i = w->newest[item]; i != NO_EVENT; i = w->events[i].next) {
        const struct event *ev = &w->events[i];
        n +=
            ev->action == action && (double)ev->time_ms >= since_ms && (everybody || is_own(q, ev));
    }
    for (size_t i = 0; i < q->q.session_n && !everybody; i++) {
        n += q->session[i].item == item && q->session[i].action == action &&
             (double)q->session[i].time_ms >= since_ms;
    }
    return n;
}

static bool is_blocked(const struct world *w, const struct question *q, uint32_t item) {
    for (size_t i = 0; i < w->events_n && item < USERS; i++) {
        const struct event *ev = &w->events[i];
        if (ev->user == item && ev->item == q->user && ev->action == BLOCK) {
            return true;
        }
    }
    return false;
}

/* ---- Which items may be in the answer ----------------------------------------------------------------------- */

enum verdict {
    MUST_NOT,
    MAY,
    UNSURE
}; /* unsure: counts within a time are exact up to a sixteenth */

static enum verdict judge_rule(const struct world *w, const struct question *q,
                               const struct rule *r, uint32_t item) {
    const struct user *u = q->user < USERS ? &w->users[q->user] : NULL;
    const double since_ms = (double)q->now_ms - (double)r->time_s * 1000;
    bool bad = false;
    switch (r->kind) {
    case FILTER:
        bad = !filter_holds(r->filter, &w->items[item], u, q->now_ms / 1000);
        break;
    case SHOWN_CAP:
        bad = count_events(w, q, item, IMPRESSION, since_ms, false) >= r->number;
        break;
    case LIMIT:
        if (r->time_s > 0) {
            const double slack_ms = (double)r->time_s * 1000 / 8;
            bad = count_events(w, q, item, r->what, since_ms, true) >= r->number;
            return bad ? MUST_NOT
                   : count_events(w, q, item, r->what, since_ms - slack_ms, true) >= r->number
                       ? UNSURE
                       : MAY;
        }
        bad = count_events(w, q, item, r->what, -INFINITY, true) >= r->number;
        break;
    case MUTUAL:
        bad = q->user < USERS && is_blocked(w, q, item);
        break;
    case TWO_SIDED:
        bad = q->user < USERS && item == q->user;
        break;
    default:
        break;
    }
    return bad ? MUST_NOT : MAY;
}

static enum verdict judge(const struct world *w, const struct question *q, uint32_t item) {
    const struct rules *sets[] = {&w->set, &q->own};
    enum verdict all = MAY;
    if (!w->items[item].live || q->excluded[item] || is_hidden(w, q, item) ||
        (q->filter >= 0 && !filter_holds(q->filter, &w->items[item], NULL, 0))) {
        return MUST_NOT;
    }
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sets[s]->n; i++) {
            const enum verdict one = judge_rule(w, q, &sets[s]->list[i], item);
            if (one == MUST_NOT) {
                return MUST_NOT;
            }
            all = one == UNSURE ? UNSURE : all;
        }
    }
    return all;
}

/* ---- Checks ------------------------------------------------------------------------------------------------- */

static void check_hit(const struct world *w, const struct question *q, const u2i_hit_t *hit) {
    double sum = 0;
    for (size_t i = 0; i < hit->parts_n; i++) {
        sum += (double)hit->parts[i].value;
    }
    if (fabs(sum - (double)hit->score) > 1e-3 * (1 + fabs((double)hit->score))) {
        give_up(w, q, "the parts don't add up to the score", hit->id);
    }
    if (!(hit->probability >= 0 && hit->probability <= 1) || !isfinite(hit->score)) {
        give_up(w, q, "score or probability is none", hit->id);
    }
}

static int cap_value(const struct world *w, const struct rule *cap, const u2i_hit_t *hit) {
    const struct item *it = &w->items[item_number(hit->id)];
    return cap->what == 0 ? it->brand : it->category;
}

static void check_cap(const struct world *w, const struct question *q, const struct rule *cap,
                      const u2i_result_t *r) {
    const size_t n = u2i_result_count(r);
    for (size_t i = 0; i < n; i++) {
        const int value = cap_value(w, cap, u2i_result_hit(r, i));
        uint32_t same = 0;
        for (size_t k = i; k < n && (cap->time_s == 0 || k < i + (size_t)cap->time_s); k++) {
            same += value >= 0 && cap_value(w, cap, u2i_result_hit(r, k)) == value;
        }
        if (same > cap->number) {
            give_up(w, q, cap->text, u2i_result_hit(r, i)->id);
        }
    }
}

/* Of one pin, without caps, the place is certain. */
static void check_pin(const struct world *w, const struct question *q, const u2i_result_t *r) {
    const struct rule *pin = rule_of(w, q, PIN, ACTIONS_N);
    const size_t n = u2i_result_count(r);
    char id[8];
    size_t pins = 0;
    const struct rules *sets[] = {&w->set, &q->own};
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sets[s]->n; i++) {
            pins += sets[s]->list[i].kind == PIN;
        }
    }
    if (pins != 1 || q->popular || rule_of(w, q, CAP, ACTIONS_N) != NULL ||
        judge(w, q, pin->what) != MAY || pin->number > q->q.limit) {
        return;
    }
    const size_t place = pin->number <= n ? pin->number : n;
    if (shop_find(r, item_id(pin->what, id)) != (int)place - 1) {
        give_up(w, q, "the pinned item is elsewhere", id);
    }
}

static void check_length(const struct world *w, const struct question *q, const u2i_result_t *r) {
    size_t may = 0;
    char text[64];
    for (uint32_t i = 0; i < w->items_n; i++) {
        may += judge(w, q, i) == MAY;
    }
    const size_t due = may < q->q.limit ? may : q->q.limit;
    (void)snprintf(text, sizeof(text), "%zu of %zu hits", u2i_result_count(r), due);
    if (u2i_result_count(r) > q->q.limit ||
        (u2i_result_count(r) < due && (q->popular || rule_of(w, q, CAP, ACTIONS_N) == NULL))) {
        give_up(w, q, "the list has another length", text);
    }
}

static void check_answer(struct world *w, const struct question *q, const u2i_result_t *r) {
    const struct rules *sets[] = {&w->set, &q->own};
    bool named[ITEMS] = {false};
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        const u2i_hit_t *hit = u2i_result_hit(r, i);
        const uint32_t item = item_number(hit->id);
        if (named[item]) {
            give_up(w, q, "twice in one answer", hit->id);
        }
        named[item] = true;
        if (judge(w, q, item) == MUST_NOT) {
            give_up(w, q, "must not be in the answer", hit->id);
        }
        check_hit(w, q, hit);
    }
    for (size_t s = 0; s < 2 && !q->popular; s++) {
        for (size_t i = 0; i < sets[s]->n; i++) {
            if (sets[s]->list[i].kind == CAP) {
                check_cap(w, q, &sets[s]->list[i], r);
            }
        }
    }
    check_length(w, q, r);
    check_pin(w, q, r);
    w->answers++;
    w->hits += u2i_result_count(r);
}

static void check_equal(const struct world *w, const struct question *q, const u2i_result_t *a,
                        const u2i_result_t *b) {
    if (u2i_result_count(a) != u2i_result_count(b)) {
        give_up(w, q, "asked again", "another length");
    }
    for (size_t i = 0; i < u2i_result_count(a); i++) {
        const u2i_hit_t *x = u2i_result_hit(a, i), *y = u2i_result_hit(b, i);
        if (strcmp(x->id, y->id) != 0 || x->score != y->score || x->source != y->source) {
            give_up(w, q, "asked again, another answer", x->id);
        }
    }
}

/* ---- Questions ------------------------------------------------------------------------------------------------ */

static void random_session(struct world *w, struct question *q) {
    q->q.session_n = chance(w, 30) ? 1 + below(w, 4) : 0;
    q->q.session = q->session_events;
    for (size_t i = 0; i < q->q.session_n; i++) {
        struct event *ev = &q->session[i];
        *ev = random_event(w, q->user);
        q->session_events[i] = (u2i_event_t){.item = item_id(ev->item, q->session_ids[i]),
                                             .action = actions[ev->action],
                                             .time_ms = ev->time_ms};
        if (chance(w, 50)) {
            q->session_events[i].time_ms = 0;
            ev->time_ms = q->now_ms;
        }
    }
}

static void random_question(struct world *w, struct question *q) {
    static const double diversities[] = {0, 0, 0.1, 0.5, 1};
    *q = (struct question){.q = U2I_QUERY_INIT, .user = below(w, USERS + 1), .filter = -1};
    q->now_ms = ((int64_t)NOW_S + DAY_S + below(w, 20 * DAY_S)) * 1000; /* after all events */
    q->q.time_ms = q->now_ms;
    q->q.user = q->user < USERS ? item_id(q->user, q->user_id) : chance(w, 50) ? "stranger" : NULL;
    q->q.limit = chance(w, 30) ? U2I_LIMIT_MAX : 1 + below(w, 30);
    q->q.flags = chance(w, 30) ? U2I_KEEP_SEEN : 0;
    q->q.diversity = diversities[below(w, 5)];
    if (chance(w, 40)) {
        q->filter = (int)below(w, FILTERS_OF_QUESTIONS);
        q->q.filter = filters[q->filter];
    }
    if (chance(w, 60)) {
        random_rules(w, &q->own, false);
        q->q.rules = q->own.text;
    }
    for (uint32_t i = below(w, 40); chance(w, 80) && i < w->items_n; i += 1 + below(w, 4)) {
        q->exclude[q->q.exclude_n++] = item_id(i, q->excluded_ids[i]);
        q->excluded[i] = true;
    }
    q->q.exclude = q->exclude;
    random_session(w, q);
}

static u2i_result_t *answer(struct world *w, const struct question *q) {
    u2i_result_t *r;
    u2i_error_t err;
    ok(w, (q->popular ? u2i_popular : u2i_recommend)(w->u, &q->q, &r, &err), &err);
    return r;
}

static void ask(struct world *w) {
    struct question q;
    random_question(w, &q);
    q.popular = chance(w, 10);
    u2i_result_t *const first = answer(w, &q);
    check_answer(w, &q, first);
    u2i_result_t *const second = answer(w, &q);
    check_equal(w, &q, first, second);
    u2i_result_free(first);
    u2i_result_free(second);
}

/* ---- Running -------------------------------------------------------------------------------------------------- */

static void set(struct world *w, const char *name, const char *value) {
    u2i_error_t err;
    ok(w, u2i_set_setting(w->u, name, value, &err), &err);
}

static void open_world(struct world *w, size_t round) {
    w->u = shop_open(":memory:", "none", DIM);
    w->events_n = 0;
    w->set = (struct rules){.n = 0};
    set(w, "action.pass", "exclude");
    set(w, "action.block", "exclude");
    w->items_n = round < ROUNDS / 2 ? FEW : ITEMS;
    for (uint32_t i = 0; i < w->items_n; i++) {
        w->newest[i] = NO_EVENT;
        put_item(w, i);
    }
    for (uint32_t i = 0; i < USERS; i++) {
        put_user(w, i);
    }
    if (round % 2 == 1) {
        record_fans(w);
        train(w);
    }
}

static void run_step(struct world *w) {
    static const char *const modes[] = {"hybrid", "hybrid", "realtime", "offline"};
    static const char *const diversities[] = {"0", "0", "0.3", "0.9"};
    const uint32_t kind = below(w, 1000);
    if (kind < 300) {
        record_random(w);
    } else if (kind < 360) {
        put_item(w, below(w, w->items_n));
    } else if (kind < 380) {
        delete_item(w);
    } else if (kind < 420) {
        put_user(w, below(w, USERS));
    } else if (kind < 500) {
        set_rules(w);
    } else if (kind < 520) {
        set(w, "mode", modes[below(w, 4)]);
    } else if (kind < 540) {
        set(w, "diversity", diversities[below(w, 4)]);
    } else if (kind < 542) {
        train(w);
    } else {
        ask(w);
    }
}

static uint64_t number_from_env(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static void what_must_hold_holds_in_every_answer(void **state) {
    (void)state;
    static struct world w;
    w.seed = number_from_env("U2I_SEED", (uint64_t)shop_now_ms() + (uint64_t)getpid());
    const uint64_t steps = number_from_env("U2I_STEPS", 3000);
    print_message("U2I_SEED=%" PRIu64 " U2I_STEPS=%" PRIu64 "\n", w.seed, steps);
    rng_seed(&w.rng, w.seed);
    for (size_t round = 0; round < ROUNDS; round++) {
        open_world(&w, round);
        for (size_t i = 0; i < steps / ROUNDS; i++, w.step++) {
            run_step(&w);
        }
        u2i_close(w.u);
    }
    print_message("%lu answers with %lu hits, %lu trainings\n", w.answers, w.hits, w.trainings);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_must_hold_holds_in_every_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
