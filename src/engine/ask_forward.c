/* Candidates that rules put forward, beside those that the user's taste has found: a pinned item stands at its
 * place, and promoted and new items get their share, also where nothing else speaks for them. What must hold
 * for every item holds for them too. Only what is missing is looked for: candidates that match already count. */
#include "ask.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"

#include <math.h>

#define FORWARD_DRAWN 32u /* new items drawn from all that there are */

/* Rows among these that may be in the answer and are no candidates yet; the caller's to free. */
static int forward_allowed(struct ask *a, const struct filter *f, const roaring_bitmap_t *among,
                           roaring_bitmap_t **out, u2i_error_t *err) {
    U2I_TRY(a->e->ops->matches(a->e->store, f, among, out, err));
    roaring_bitmap_andnot_inplace(*out, a->exclude);
    return U2I_OK;
}

/* ---- Pins ------------------------------------------------------------------------------------- */

static int forward_pins(struct ask *a, u2i_error_t *err) {
    uint32_t from;
    const uint32_t n = rules_of(&a->rules, RULE_PIN, &from);
    uint32_t *rows = arena_array(&a->arena, n, sizeof(*rows));
    roaring_bitmap_t *pinned = n == 0 ? NULL : roaring_bitmap_create(), *allowed = NULL;
    if (n == 0) {
        return U2I_OK;
    }
    if (rows == NULL || pinned == NULL) {
        if (pinned != NULL) {
            roaring_bitmap_free(pinned);
        }
        return error_oom(err);
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t row = a->e->ops->item_row(a->e->store, a->rules.list[from + i].rule->name);
        if (row != STORE_NONE && (a->among == NULL || roaring_bitmap_contains(a->among, row))) {
            roaring_bitmap_add(pinned, row);
        }
    }
    int rc = forward_allowed(a, a->filter, pinned, &allowed, err);
    if (rc == U2I_OK) {
        const uint32_t found = (uint32_t)roaring_bitmap_get_cardinality(allowed);
        roaring_bitmap_to_uint32_array(allowed, rows);
        rc = ask_take_popular(a, rows, found, U2I_FROM_RULE, err);
        roaring_bitmap_free(allowed);
    }
    roaring_bitmap_free(pinned);
    return rc;
}

/* ---- Shares ----------------------------------------------------------------------------------- */

/* How many of a lane's items a list may need. */
static uint32_t forward_need(const struct ask *a, const struct rule *rule) {
    const double need = ceil(rule->share * a->k) + 1;
    return need < a->k ? (uint32_t)need : a->k;
}

/* How many candidates the rule promotes. */
static int forward_promoted(struct ask *a, const struct rule_bound *bound, uint32_t *out,
                            u2i_error_t *err) {
    uint32_t *rows = arena_array(&a->arena, a->n, sizeof(*rows));
    bool *passes = arena_array(&a->arena, a->n, sizeof(*passes));
    *out = 0;
    if (rows == NULL || passes == NULL) {
        return error_oom(err);
    }
    for (uint32_t i = 0; i < a->n; i++) {
        rows[i] = a->candidates[i].row;
    }
    U2I_TRY(a->e->ops->match(a->e->store, bound->filter, rows, a->n, passes, err));
    for (uint32_t i = 0; i < a->n; i++) {
        *out += passes[i];
    }
    return U2I_OK;
}

/* Up to k candidates more, from a->among only: by taste where there is any, else by popularity. */
static int forward_search(struct ask *a, u2i_error_t *err) {
    const uint32_t tier = a->tier, first = a->n;
    a->tier = 0;
    if (a->learnt != NULL) {
        U2I_TRY(ask_learnt_search(a, err));
    } else if (a->taste.vector != NULL) {
        U2I_TRY(ask_nearest(a, a->taste.vector, U2I_FROM_PROFILE, ASK_ALL, err));
    }
    const uint32_t by_taste = a->n - first;
    a->tier = tier;
    U2I_TRY(ask_popular(a, true, err));
    for (uint32_t i = first + by_taste; i < a->n; i++) {
        a->candidates[i].source = U2I_FROM_RULE;
    }
    return U2I_OK;
}

static int forward_promote(struct ask *a, const struct rule_bound *bound, u2i_error_t *err) {
    roaring_bitmap_t *const among = a->among, *promoted = NULL;
    const uint32_t want = a->want;
    uint32_t n;
    U2I_TRY(forward_promoted(a, bound, &n, err));
    if (n >= forward_need(a, bound->rule)) {
        return U2I_OK;
    }
    U2I_TRY(a->e->ops->matches(a->e->store, bound->filter, among, &promoted, err));
    a->among = promoted;
    a->want = a->n + a->k; /* a->hits has room for more than k */
    const int rc = forward_search(a, err);
    a->want = want;
    a->among = among;
    roaring_bitmap_free(promoted);
    return rc;
}

/* Some of these rows, which ones the seed says. */
static uint32_t forward_draw(struct ask *a, roaring_bitmap_t *from, uint32_t rows[FORWARD_DRAWN]) {
    uint64_t left = roaring_bitmap_get_cardinality(from);
    struct rng rng;
    uint32_t n = 0;
    rng_seed(&rng, a->view.seed);
    for (; n < FORWARD_DRAWN && left > 0; n++, left--) {
        (void)roaring_bitmap_select(from, rng_below(&rng, (uint32_t)left),
                                    &rows[n]); /* there is one */
        roaring_bitmap_remove(from, rows[n]);
    }
    return n;
}

static int forward_explore(struct ask *a, const struct rule *rule, u2i_error_t *err) {
    const roaring_bitmap_t *known = tallies_known(a->e->tallies);
    roaring_bitmap_t *fresh = NULL;
    uint32_t rows[FORWARD_DRAWN], n = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        n += tallies_events(a->e->tallies, a->candidates[i].row) < rule->count;
    }
    if (n >= forward_need(a, rule)) {
        return U2I_OK;
    }
    U2I_TRY(forward_allowed(a, a->filter, a->among, &fresh, err));
    if (known != NULL) {
        roaring_bitmap_andnot_inplace(fresh, known);
    }
    n = forward_draw(a, fresh, rows);
    roaring_bitmap_free(fresh);
    return ask_take_popular(a, rows, n, U2I_FROM_RULE, err);
}

int forward_gather(struct ask *a, u2i_error_t *err) {
    uint32_t from;
    if (!a->ruled) {
        return U2I_OK;
    }
    U2I_TRY(forward_pins(a, err));
    uint32_t n = rules_of(&a->rules, RULE_PROMOTE, &from);
    for (uint32_t i = 0; i < n; i++) {
        U2I_TRY(forward_promote(a, &a->rules.list[from + i], err));
    }
    n = rules_of(&a->rules, RULE_EXPLORE, &from);
    for (uint32_t i = 0; i < n; i++) {
        U2I_TRY(forward_explore(a, a->rules.list[from + i].rule, err));
    }
    return U2I_OK;
}
