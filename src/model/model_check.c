/* The check: what would have been recommended if the training had been done on a part of the events, and how much of
 * the rest would it have guessed? Two ways of holding back:
 *
 *   time    training ends at the .85 quantile of the events' times; users are asked at that moment, and
 *           what they wanted later is the truth. One round. It is the situation of a running service.
 *   users   a fifth of the users is left out of the training; they are asked right before the last fifth of
 *           what they wanted, and, where users are few, before the two fifths before that as well. Up to three
 *           rounds, until five hundred questions are asked. For logs too short, or too few users, for the other.
 *
 * A check only cuts events into rounds here; model_exam.c asks the questions. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "model/model_internal.h"
#include <math.h>

#define CHECK_TIME_QUANTILE .85
#define CHECK_SPAN_MS       (60 * MODEL_DAY_MS) /* a shorter log isn't replayed */
#define CHECK_WANTED_MIN    3u                  /* items wanted, of a user that is asked */
#define CHECK_FEW           200u                /* fewer questions than this choose badly */
#define CHECK_USERS_MAX     1000u               /* users of a round */
#define CHECK_ENOUGH        500u                /* questions; no further round is made then */
#define CHECK_MANY          500u /* users of a round; fewer are asked three times each */
/* Every item is scored for every question. Where that would be more scores than CHECK_SCORES_MAX, the questions
 * are fewer, down to CHECK_ASKED_MIN. */
#define CHECK_SCORES_MAX 300000000u
#define CHECK_ASKED_MIN  300u

/* users: what is known, and what is to be guessed, as shares of the items that a user wanted. */
static const struct check_part { double from, to; } check_parts[] = {{.8, 1}, {.6, .8}, {.4, .6}};
#define CHECK_PARTS 3u

/* Marks of the items of one user at a time: is_new() is true once. */
struct model_marks {
    uint32_t *stamps; /* [items] */
    uint32_t stamp;
};

static bool model_marks_new(struct model_marks *m, uint32_t item) {
    const bool is_new = m->stamps[item] != m->stamp;
    m->stamps[item] = m->stamp;
    return is_new;
}

/* Whether [cut, end) has something to guess that [first, cut) doesn't know, and that has two events. */
static bool model_case_holds(const struct model_events *ev, const struct model_case *c,
                             float positive, struct model_marks *marks) {
    uint32_t known = 0;
    marks->stamp++;
    for (size_t e = c->first; e < c->cut; e++) {
        known += ev->list[e].weight > 0;
        marks->stamps[ev->list[e].item] = marks->stamp;
    }
    for (size_t e = c->cut; e < c->end && known >= 2; e++) {
        if (ev->list[e].weight >= positive && marks->stamps[ev->list[e].item] != marks->stamp) {
            return true;
        }
    }
    return false;
}

/* The first event at `time_ms` or later. */
static size_t model_case_at(const struct model_events *ev, const struct model_case *c,
                            int64_t time_ms) {
    size_t low = c->first;
    size_t high = c->end;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (ev->list[middle].time_ms < time_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The event that wants its user's n-th new item; c->end if there is none. */
static size_t model_case_wants(const struct model_events *ev, const struct model_case *c,
                               float positive, uint32_t n, struct model_marks *marks) {
    marks->stamp++;
    for (size_t e = c->first; e < c->end; e++) {
        if (ev->list[e].weight >= positive && model_marks_new(marks, ev->list[e].item) &&
            n-- == 0) {
            return e;
        }
    }
    return c->end;
}

/* Cuts before and after a part of what the user wanted, whole baskets; false if that is too little. */
static bool model_case_cut(const struct model_events *ev, struct model_case *c, float positive,
                           const struct check_part *part, struct model_marks *marks) {
    uint32_t wanted = 0;
    marks->stamp++;
    for (size_t e = c->first; e < c->end; e++) {
        wanted += ev->list[e].weight >= positive && model_marks_new(marks, ev->list[e].item);
    }
    if (wanted < CHECK_WANTED_MIN) {
        return false;
    }
    const size_t from =
        model_case_wants(ev, c, positive, (uint32_t)((double)wanted * part->from), marks);
    if (part->to < 1) {
        c->end = model_case_wants(ev, c, positive, (uint32_t)((double)wanted * part->to), marks);
    }
    c->cut = model_case_at(ev, c, ev->list[from].time_ms);
    c->cut = c->cut == c->first ? from : c->cut; /* all in one basket: cut through it */
    return true;
}

/* ---- Users ------------------------------------------------------------------------------------ */

/* [users + 1]: where each user's events begin. */
static size_t *model_check_users(const struct model_events *ev, uint32_t *users) {
    size_t *const starts = alloc_array(ev->n + 1, sizeof *starts);
    *users = 0;
    for (size_t e = 0; e < ev->n && starts != NULL; e++) {
        if (e == 0 || ev->list[e].user != ev->list[e - 1].user) {
            starts[(*users)++] = e;
        }
    }
    if (starts != NULL) {
        starts[*users] = ev->n;
    }
    return starts;
}

static void model_check_shuffle(struct rng *rng, uint32_t *list, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t j = rng_below(rng, i);
        const uint32_t x = list[i - 1];
        list[i - 1] = list[j];
        list[j] = x;
    }
}

/* ---- Holding back ----------------------------------------------------------------------------- */

struct model_holding {
    const struct model_input *in;
    const struct model_events *ev;
    struct model_check_plan *plan;
    float positive;
    uint32_t users;
    const size_t *starts; /* [users + 1] */
    uint32_t *order;      /* [users], random */
    uint8_t *is_out;      /* [users] */
    struct model_marks marks;
    bool is_long; /* the log, and the moment of a replay */
    int64_t moment_ms;
};

static int model_round_new(struct model_holding *h, uint32_t cases) {
    struct model_round *const r = &h->plan->rounds[h->plan->n];
    r->train = alloc_array(h->ev->n, sizeof *r->train);
    r->cases = alloc_array(cases, sizeof *r->cases);
    h->plan->n += 1; /* freed with the plan even if it is incomplete */
    return r->train == NULL || r->cases == NULL ? U2I_ENOMEM : U2I_OK;
}

static int model_compare_times(const void *pa, const void *pb) {
    const int64_t a = *(const int64_t *)pa;
    const int64_t b = *(const int64_t *)pb;
    return (a > b) - (a < b);
}

/* The moment before which CHECK_TIME_QUANTILE of the events were, and whether the log is long. */
static int model_check_moment(struct model_holding *h) {
    const size_t n = h->ev->n;
    int64_t *const times = alloc_array(n, sizeof *times);
    if (times == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t e = 0; e < n; e++) {
        times[e] = h->ev->list[e].time_ms;
    }
    qsort(times, n, sizeof *times, model_compare_times);
    if (n > 0) {
        h->moment_ms = times[(size_t)((double)(n - 1) * CHECK_TIME_QUANTILE)];
        h->is_long = times[n - 1] - times[0] >= CHECK_SPAN_MS;
    }
    mem_free(times);
    return U2I_OK;
}

/* Questions that are enough: fewer for large catalogues, all of whose items are scored for each. */
static uint32_t model_check_most(const struct model_holding *h) {
    const uint32_t most = CHECK_SCORES_MAX / (h->in->items + 1);
    return most < CHECK_ASKED_MIN   ? CHECK_ASKED_MIN
           : most < MODEL_ASKED_MAX ? most
                                    : MODEL_ASKED_MAX;
}

static int model_hold_time(struct model_holding *h) {
    const uint32_t most = model_check_most(h);
    const int64_t at = h->moment_ms;
    U2I_TRY(model_round_new(h, most));
    struct model_round *const r = &h->plan->rounds[0];
    r->now_ms = at;
    for (size_t e = 0; e < h->ev->n; e++) {
        if (h->ev->list[e].time_ms < at) {
            r->train[r->train_n++] = h->ev->list[e];
        }
    }
    for (uint32_t i = 0; i < h->users && r->cases_n < most; i++) {
        const uint32_t u = h->order[i];
        struct model_case c = {h->starts[u], 0, h->starts[u + 1]};
        c.cut = model_case_at(h->ev, &c, at);
        if (c.cut > c.first && model_case_holds(h->ev, &c, h->positive, &h->marks)) {
            r->cases[r->cases_n++] = c;
        }
    }
    h->plan->asked = r->cases_n;
    return U2I_OK;
}

/* Users order[from..to) are left out; the others' events stay in their order. */
static int model_hold_round(struct model_holding *h, uint32_t from, uint32_t to) {
    const uint32_t parts = to - from < CHECK_MANY ? CHECK_PARTS : 1;
    U2I_TRY(model_round_new(h, (to - from) * parts));
    struct model_round *const r = &h->plan->rounds[h->plan->n - 1];
    r->now_ms = h->in->now_ms;
    memset(h->is_out, 0, h->users);
    for (uint32_t i = from; i < to; i++) {
        const uint32_t u = h->order[i];
        h->is_out[u] = 1;
        for (uint32_t p = 0; p < parts; p++) {
            struct model_case c = {h->starts[u], 0, h->starts[u + 1]};
            if (model_case_cut(h->ev, &c, h->positive, &check_parts[p], &h->marks) &&
                model_case_holds(h->ev, &c, h->positive, &h->marks)) {
                r->cases[r->cases_n++] = c;
            }
        }
    }
    for (uint32_t u = 0; u < h->users; u++) {
        const size_t n = h->is_out[u] ? 0 : h->starts[u + 1] - h->starts[u];
        memcpy(r->train + r->train_n, h->ev->list + h->starts[u], n * sizeof *r->train);
        r->train_n += n;
    }
    h->plan->asked += r->cases_n;
    return U2I_OK;
}

static int model_hold_users(struct model_holding *h) {
    const uint32_t fifth = h->users / 5;
    const uint32_t most =
        model_check_most(h) < CHECK_USERS_MAX ? model_check_most(h) : CHECK_USERS_MAX;
    const uint32_t size = fifth < most ? fifth : most;
    while (size > 0 && h->plan->n < MODEL_ROUNDS_MAX && h->plan->asked < CHECK_ENOUGH) {
        const uint32_t from = h->plan->n * size;
        U2I_TRY(model_hold_round(h, from, from + size));
    }
    return U2I_OK;
}

/* ---- The plan --------------------------------------------------------------------------------- */

void model_check_free(struct model_check_plan *plan) {
    for (uint32_t i = 0; i < plan->n; i++) {
        mem_free(plan->rounds[i].train);
        mem_free(plan->rounds[i].cases);
    }
    *plan = (struct model_check_plan){0};
}

/* A plan by whatever kind is asked for, or fits. */
static int model_check_hold(struct model_holding *h, float positive,
                            struct model_check_plan *plan) {
    const enum model_check kind = h->in->check;
    h->plan = plan;
    h->positive = positive;
    *plan = (struct model_check_plan){.positive = positive, .is_long = h->is_long};
    if (kind == MODEL_CHECK_TIME || (kind == MODEL_CHECK_AUTO && h->is_long)) {
        plan->kind = MODEL_CHECK_TIME;
        U2I_TRY(model_hold_time(h));
        if (kind == MODEL_CHECK_TIME || plan->asked >= CHECK_FEW) {
            return U2I_OK;
        }
        model_check_free(plan);
        plan->positive = positive;
        plan->is_long = h->is_long;
    }
    plan->kind = MODEL_CHECK_USERS;
    return model_hold_users(h);
}

/* Where strong actions are rare the weak ones are to be guessed too. */
static int model_check_choose(struct model_holding *h, struct model_check_plan *plan) {
    struct model_check_plan weak = {0};
    U2I_TRY(model_check_hold(h, MODEL_POSITIVE, plan));
    if (plan->asked >= CHECK_FEW) {
        return U2I_OK;
    }
    const int rc = model_check_hold(h, MODEL_WEAKEST, &weak);
    if (rc == U2I_OK && weak.asked > 2 * plan->asked) {
        model_check_free(plan);
        *plan = weak;
    } else {
        model_check_free(&weak);
    }
    return rc;
}

int model_check_plan_new(const struct model_run *run, const struct model_events *ev,
                         struct model_check_plan *plan) {
    struct rng rng;
    struct model_holding h = {.in = run->in, .ev = ev};
    size_t *const starts = model_check_users(ev, &h.users);
    int rc = U2I_ENOMEM;
    *plan = (struct model_check_plan){0};
    h.starts = starts;
    h.order = alloc_array(h.users, sizeof *h.order);
    h.is_out = mem_zalloc(h.users);
    h.marks.stamps = mem_zalloc((size_t)run->in->items * sizeof *h.marks.stamps);
    if (starts == NULL || h.order == NULL || h.is_out == NULL || h.marks.stamps == NULL ||
        model_check_moment(&h) != U2I_OK) {
        goto out;
    }
    for (uint32_t u = 0; u < h.users; u++) {
        h.order[u] = u;
    }
    rng_seed(&rng, run->in->seed + 11);
    model_check_shuffle(&rng, h.order, h.users);
    rc = model_check_choose(&h, plan);
out:
    mem_free(h.marks.stamps);
    mem_free(h.is_out);
    mem_free(h.order);
    mem_free(starts);
    if (rc != U2I_OK) {
        model_check_free(plan);
    }
    return rc;
}
