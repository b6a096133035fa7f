/* What rules do to candidates and to what a user has done: terms, keys, lanes, draws, pins, and for how long an
 * event hides its item. Rules ask about all candidates at once, so that a path or a filter is looked up once
 * for each rule and not once for each candidate. */
#include "rules_internal.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"

#include <assert.h>
#include <math.h>

#define RULES_MATCH_SHOWN 20u /* elements named as had, and as lacked */

/* ---- Events that hide items -------------------------------------------------------------------- */

/* The events of the rule's action that no earlier rule has decided: their places, and their rows. */
static uint32_t rules_again_select(const struct rule *rule, const struct rules_event *events,
                                   uint32_t n, const double *hides_s, uint32_t *places) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (isinf(hides_s[i]) && strcmp(events[i].action, rule->name) == 0) {
            places[count++] = i;
        }
    }
    return count;
}

static int rules_again_where(const struct rule_bound *bound, const struct rules_view *v,
                             const struct rules_event *events, const uint32_t *places, uint32_t n,
                             double *hides_s) {
    struct arena scratch = {0};
    uint32_t *const rows = arena_array(&scratch, n, sizeof(*rows));
    bool *const passes = arena_array(&scratch, n, sizeof(*passes));
    int rc = rows == NULL || passes == NULL ? U2I_ENOMEM : U2I_OK;
    for (uint32_t i = 0; i < n && rc == U2I_OK; i++) {
        rows[i] = events[places[i]].row;
    }
    if (rc == U2I_OK) {
        rc = v->match(v->ctx, bound->filter, rows, n, passes, NULL);
    }
    for (uint32_t i = 0; i < n && rc == U2I_OK; i++) {
        if (passes[i]) {
            hides_s[places[i]] = bound->rule->seconds;
        }
    }
    arena_free(&scratch);
    return rc;
}

int rules_again(const struct rules_bound *b, const struct rules_view *v,
                const struct rules_event *events, uint32_t n, double *hides_s, u2i_error_t *err) {
    uint32_t from;
    const uint32_t rules_n = rules_of(b, RULE_AGAIN, &from);
    for (uint32_t i = 0; i < n; i++) {
        hides_s[i] = INFINITY;
    }
    if (rules_n == 0 || n == 0) {
        return U2I_OK;
    }
    uint32_t *const places = alloc_array(n, sizeof(*places));
    int rc = places != NULL ? U2I_OK : U2I_ENOMEM;
    for (uint32_t i = from; i < from + rules_n && rc == U2I_OK; i++) {
        const struct rule_bound *const bound = &b->list[i];
        const uint32_t count = rules_again_select(bound->rule, events, n, hides_s, places);
        for (uint32_t j = 0; j < count && bound->filter == NULL; j++) {
            hides_s[places[j]] = bound->rule->seconds;
        }
        if (bound->filter != NULL && count > 0 && v->match != NULL) {
            rc = rules_again_where(bound, v, events, places, count, hides_s);
        }
    }
    mem_free(places);
    return rc == U2I_ENOMEM ? error_oom(err) : rc;
}

bool rules_shown_enough(const struct rules_bound *b, const struct rules_view *v, uint32_t row) {
    uint32_t from;
    const uint32_t n = rules_of(b, RULE_SHOWN_CAP, &from);
    for (uint32_t i = from; i < from + n && v->shown != NULL; i++) {
        const struct rule *const rule = b->list[i].rule;
        if (v->shown(v->ctx, row, rule->seconds) >= rule->count) {
            return true;
        }
    }
    return false;
}

/* ---- Candidates ------------------------------------------------------------------------------- */

struct rules_work {
    const struct rules_bound *b;
    const struct rules_view *v;
    struct rules_ranking *r;
    uint32_t *rows;
    bool *passes;
    struct attr_value *values;
    u2i_error_t *err;
};

static int rules_multiply(struct rules_work *w, uint32_t candidate, uint32_t rule, double factor) {
    struct rank_candidate *const c = &w->r->candidates[candidate];
    return rank_boost(c, &w->r->scales[c->tier], rule, factor, w->r->arena) == U2I_OK
               ? U2I_OK
               : error_oom(w->err);
}

static int rules_rank_attr(struct rules_work *w, const struct rule *rule) {
    return w->v->attr(w->v->ctx, rule->path, w->rows, w->r->n, w->values, w->err);
}

static int rules_rank_boost(struct rules_work *w, uint32_t rule) {
    if (w->v->match == NULL) {
        return U2I_OK;
    }
    U2I_TRY(w->v->match(w->v->ctx, w->b->list[rule].filter, w->rows, w->r->n, w->passes, w->err));
    for (uint32_t i = 0; i < w->r->n; i++) {
        if (w->passes[i]) {
            U2I_TRY(rules_multiply(w, i, rule, w->b->list[rule].rule->factor));
        }
    }
    return U2I_OK;
}

static bool rules_match_equals(const u2i_param_t *list, uint32_t i, const struct attr_value *v) {
    if (list->type == U2I_STRING) {
        const char *const s = ((const char *const *)list->value.list)[i];
        return v->type == ATTR_STRING && strlen(s) == v->n && memcmp(s, v->s, v->n) == 0;
    }
    if (list->type == U2I_REAL) {
        return (v->type == ATTR_INT || v->type == ATTR_REAL) &&
               v->number == ((const double *)list->value.list)[i];
    }
    return v->type == (list->type == U2I_BOOL ? ATTR_BOOL : ATTR_INT) &&
           v->i == ((const int64_t *)list->value.list)[i];
}

static bool rules_match_has(const u2i_param_t *list, const struct attr_value *v) {
    uint32_t i = 0;
    while (i < list->n && !rules_match_equals(list, i, v)) {
        i++;
    }
    return i < list->n;
}

/* How many of a value's elements the user has, of how many. */
static uint32_t rules_match_count(const u2i_param_t *list, const struct attr_value *v,
                                  uint32_t *of) {
    uint32_t n = 0;
    *of = v->type == ATTR_MISSING ? 0 : v->type == ATTR_ARRAY ? v->n : 1;
    for (uint32_t i = 0; i < *of; i++) {
        struct attr_value e;
        rules_element(v, i, &e);
        n += rules_match_has(list, &e);
    }
    return n;
}

static int rules_rank_match(struct rules_work *w, uint32_t rule) {
    const struct rule_bound *const bound = &w->b->list[rule];
    if (w->v->attr == NULL) {
        return U2I_OK;
    }
    U2I_TRY(rules_rank_attr(w, bound->rule));
    for (uint32_t i = 0; i < w->r->n; i++) {
        uint32_t of;
        const uint32_t n = rules_match_count(bound->list, &w->values[i], &of);
        if (n > 0) {
            U2I_TRY(rules_multiply(w, i, rule, pow(bound->rule->factor, (double)n / of)));
        }
    }
    return U2I_OK;
}

/* "lacks a, b" after `begin`: the elements that the user has, or hasn't. How many there are. */
static uint32_t rules_match_list(const struct rule_bound *bound, const struct attr_value *v,
                                 bool has, const char *begin, struct buf *out) {
    const uint32_t of = v->type == ATTR_ARRAY ? v->n : 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < of; i++) {
        struct attr_value e;
        rules_element(v, i, &e);
        if (rules_match_has(bound->list, &e) != has) {
            continue;
        }
        buf_puts(out, n++ == 0 ? begin : ", ");
        if (n > RULES_MATCH_SHOWN) {
            buf_puts(out, "...");
            break;
        }
        if (e.type == ATTR_STRING) {
            buf_put(out, e.s, e.n);
        } else {
            buf_printf(out, "%g", e.type == ATTR_BOOL ? (double)e.i : e.number);
        }
    }
    return n;
}

int rules_match_text(const struct rule_bound *bound, const struct attr_value *v, struct arena *a,
                     const char **out, u2i_error_t *err) {
    struct buf text = {0};
    *out = NULL;
    if (v->type == ATTR_MISSING || (v->type == ATTR_ARRAY && v->n == 0)) {
        return U2I_OK;
    }
    buf_printf(&text, "%s: ", bound->rule->text);
    const uint32_t had = rules_match_list(bound, v, true, "has ", &text);
    (void)rules_match_list(bound, v, false, had > 0 ? "; lacks " : "lacks ",
                           &text); /* any number */
    *out = text.failed ? NULL : arena_dup(a, text.data, text.len);
    buf_free(&text);
    return *out == NULL ? error_oom(err) : U2I_OK;
}

static int rules_rank_pin(struct rules_work *w, uint32_t rule) {
    const struct rule *const pin = w->b->list[rule].rule;
    for (uint32_t i = 0; i < w->r->n && w->v->id != NULL; i++) {
        struct rank_candidate *const c = &w->r->candidates[i];
        const char *const id = c->pin == 0 ? w->v->id(w->v->ctx, c->row) : NULL;
        if (id != NULL && strcmp(id, pin->name) == 0) {
            c->pin = pin->count;
        }
    }
    return U2I_OK;
}

/* A new lane with the share of the rule. */
static uint32_t rules_add_lane(struct rules_work *w, uint32_t rule, enum rank_lane_order by) {
    assert(w->r->lanes_n < RANK_LANES_MAX);
    w->r->lanes[w->r->lanes_n] = (struct rank_lane){w->b->list[rule].rule->share, by};
    return w->r->lanes_n++;
}

static int rules_rank_promote(struct rules_work *w, uint32_t rule) {
    if (w->v->match == NULL) {
        return U2I_OK;
    }
    const uint32_t lane = rules_add_lane(w, rule, RANK_BY_SCORE);
    U2I_TRY(w->v->match(w->v->ctx, w->b->list[rule].filter, w->rows, w->r->n, w->passes, w->err));
    for (uint32_t i = 0; i < w->r->n; i++) {
        w->r->candidates[i].lanes |= (uint32_t)w->passes[i] << lane;
    }
    return U2I_OK;
}

static int rules_rank_cap(struct rules_work *w, uint32_t rule) {
    const struct rule *const cap = w->b->list[rule].rule;
    if (w->v->attr == NULL) {
        return U2I_OK;
    }
    assert(w->r->caps_n < RANK_CAPS_MAX);
    U2I_TRY(rules_rank_attr(w, cap));
    for (uint32_t i = 0; i < w->r->n; i++) {
        w->r->candidates[i].key[w->r->caps_n] = w->values[i].key;
    }
    w->r->caps[w->r->caps_n++] = (struct rank_cap){cap->count, cap->window};
    return U2I_OK;
}

static int rules_rank_discount(struct rules_work *w, uint32_t rule) {
    const struct rule *const d = w->b->list[rule].rule;
    const double within_s = d->seconds > 0 ? d->seconds : INFINITY;
    for (uint32_t i = 0; i < w->r->n && w->v->shown != NULL; i++) {
        const uint32_t shown = w->v->shown(w->v->ctx, w->rows[i], within_s);
        if (shown > 0) {
            U2I_TRY(rules_multiply(w, i, rule, pow(d->factor, shown)));
        }
    }
    return U2I_OK;
}

static int rules_rank_fresh(struct rules_work *w, uint32_t rule) {
    const struct rule *const fresh = w->b->list[rule].rule;
    if (w->v->attr == NULL) {
        return U2I_OK;
    }
    U2I_TRY(rules_rank_attr(w, fresh));
    for (uint32_t i = 0; i < w->r->n; i++) {
        const struct attr_value *const since = &w->values[i];
        if (since->type != ATTR_INT && since->type != ATTR_REAL) {
            continue;
        }
        const double age_s = (double)w->v->now_ms / 1000 - since->number;
        if (age_s > 0) {
            U2I_TRY(rules_multiply(w, i, rule, exp2(-age_s / fresh->seconds)));
        }
    }
    return U2I_OK;
}

static int rules_rank_explore(struct rules_work *w, uint32_t rule) {
    const struct rules_view *const v = w->v;
    if (v->events == NULL || v->id == NULL) {
        return U2I_OK;
    }
    const uint32_t lane = rules_add_lane(w, rule, RANK_BY_DRAW);
    for (uint32_t i = 0; i < w->r->n; i++) {
        struct rank_candidate *const c = &w->r->candidates[i];
        const uint64_t events = v->events(v->ctx, c->row);
        const char *const id = v->id(v->ctx, c->row);
        if (events < w->b->list[rule].rule->count && id != NULL) {
            const uint64_t shown = v->impressions != NULL ? v->impressions(v->ctx, c->row) : 0;
            c->lanes |= 1u << lane;
            c->draw = rank_draw(v->seed, hash_bytes(id, strlen(id), 0), events, shown);
        }
    }
    return U2I_OK;
}

static int rules_rank_one(struct rules_work *w, uint32_t rule) {
    switch (w->b->list[rule].rule->kind) {
    case RULE_BOOST:
        return rules_rank_boost(w, rule);
    case RULE_MATCH:
        return rules_rank_match(w, rule);
    case RULE_PIN:
        return rules_rank_pin(w, rule);
    case RULE_PROMOTE:
        return rules_rank_promote(w, rule);
    case RULE_CAP:
        return rules_rank_cap(w, rule);
    case RULE_DISCOUNT:
        return rules_rank_discount(w, rule);
    case RULE_FRESH:
        return rules_rank_fresh(w, rule);
    case RULE_EXPLORE:
        return rules_rank_explore(w, rule);
    default:
        return U2I_OK; /* not about candidates */
    }
}

int rules_rank(const struct rules_bound *b, const struct rules_view *v, struct rules_ranking *r,
               u2i_error_t *err) {
    struct rules_work w = {.b = b, .v = v, .r = r, .err = err};
    r->caps_n = 0;
    r->lanes_n = 0;
    if (b->n == 0 || r->n == 0) {
        return U2I_OK;
    }
    w.rows = arena_array(r->arena, r->n, sizeof(*w.rows));
    w.passes = arena_array(r->arena, r->n, sizeof(*w.passes));
    w.values = arena_array(r->arena, r->n, sizeof(*w.values));
    if (w.rows == NULL || w.passes == NULL || w.values == NULL) {
        return error_oom(err);
    }
    for (uint32_t i = 0; i < r->n; i++) {
        w.rows[i] = r->candidates[i].row;
    }
    for (uint32_t i = 0; i < b->n; i++) {
        U2I_TRY(rules_rank_one(&w, i));
    }
    return U2I_OK;
}

float rules_two_sided(const struct rule *rule, const struct rank_scale *scale, float score,
                      double other) {
    const double one = (double)rank_probability(scale, score);
    const double both = one + other > 0 ? 2 * one * other / (one + other) : 0;
    return rank_score_of(scale, rule->product ? one * other : both) - score;
}
