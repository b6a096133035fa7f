/* Filling the places of a list. The decisions:
 *
 *  1. Candidates are sorted once, by (tier, score, tie). What a candidate can be worth at most is then known
 *     without looking at it ((1 - L) x relevance, since likeness only takes away), so the search for the next
 *     one ends as soon as nothing further down can be better. Without diversity that is at the first
 *     candidate that may stand at the place.
 *  2. Likeness only grows as the list does, so what was worked out for an earlier place is a bound for this
 *     one: a candidate is compared with the newly placed items only if that bound is still the best (lazy
 *     greedy, Minoux 1978). The result is that of comparing everything, with a fraction of the dot products.
 *  3. Pins stand before anything else does, so that caps around them hold from both sides.
 *  4. A linear scan, not a heap: candidates are some hundreds, and a place that a cap or a lane narrows down
 *     would have to take a heap apart. */
#include "rank/rank.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "vec/vec.h"

#include <assert.h>
#include <math.h>

#define RANK_NONE UINT32_MAX

struct rank_slot { /* a candidate, in order */
    float relevance;
    float like;        /* the largest cosine so far, >= 0 */
    float inverse;     /* 1 / length of its vector; < 0: not worked out yet */
    uint32_t compared; /* with so many of the picked vectors */
    uint32_t index;    /* into q->candidates */
    uint32_t tier, lanes;
    uint32_t not_before; /* a cap keeps it out of earlier places */
    bool used;
    bool remembered; /* among the picked */
};

struct rank_picked { /* what is in the list already and has a vector */
    const float **vectors;
    float *inverses;
    uint32_t *slots;
    uint32_t n;
};

struct ranking {
    const struct rank_query *q;
    const struct vec_ops *vec;
    struct rank_slot *slots;         /* q->n, sorted */
    uint32_t k;                      /* places that can be filled at all */
    uint32_t head;                   /* slots before it are used */
    uint32_t *places;                /* slot, or RANK_NONE */
    uint64_t *keys;                  /* [cap][place]: the key that stands there, 0 = none */
    uint32_t pins_left;              /* pinned places further down */
    uint32_t placed[RANK_LANES_MAX]; /* of each lane, before the place in hand */
    double phases[RANK_LANES_MAX];
    struct rank_picked picked;
    float *dots;
};

/* ---- Order ------------------------------------------------------------------------------------ */

struct rank_sort {
    uint64_t key; /* ascending: tier, then score downwards */
    uint32_t index;
};

/* Floats as integers that grow as the float falls; what is no number comes last. */
static uint32_t rank_sort_bits(float score) {
    const float x = isnan(score) ? -INFINITY : score + 0.0f; /* -0 becomes 0 */
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

static bool rank_before(const struct rank_query *q, const struct rank_sort *a,
                        const struct rank_sort *b) {
    if (a->key != b->key) {
        return a->key < b->key;
    }
    const uint32_t row_a = q->candidates[a->index].row, row_b = q->candidates[b->index].row;
    return q->tie != NULL ? q->tie(q->tie_ctx, row_a, row_b) < 0 : row_a < row_b;
}

static void rank_sort_runs(const struct rank_query *q, struct rank_sort *a, uint32_t run) {
    for (uint32_t from = 0; from < q->n; from += run) {
        const uint32_t end = q->n - from < run ? q->n : from + run;
        for (uint32_t i = from + 1; i < end; i++) {
            const struct rank_sort x = a[i];
            uint32_t j = i;
            for (; j > from && rank_before(q, &x, &a[j - 1]); j--) {
                a[j] = a[j - 1];
            }
            a[j] = x;
        }
    }
}

/* a[at[0]..at[1]) and a[at[1]..at[2]), sorted each, become b[at[0]..at[2]). Which side is smaller is a
 * coin toss that no branch predictor learns, hence the arithmetic. */
static void rank_sort_merge(const struct rank_query *q, const struct rank_sort *a,
                            struct rank_sort *b, const uint32_t at[3]) {
    uint32_t i = at[0], j = at[1], out = at[0];
    while (i < at[1] && j < at[2]) {
        uint32_t right = a[j].key < a[i].key;
        if (a[j].key == a[i].key) {
            right = rank_before(q, &a[j], &a[i]);
        }
        b[out++] = a[right != 0 ? j : i];
        j += right;
        i += 1 - right;
    }
    memcpy(b + out, a + i, (at[1] - i) * sizeof(*a));
    memcpy(b + out + (at[1] - i), a + j, (at[2] - j) * sizeof(*a));
}

/* Merge sort, as qsort() has no context for ties; a and b are both scratch. Returns the sorted one. */
static struct rank_sort *rank_sort_all(const struct rank_query *q, struct rank_sort *a,
                                       struct rank_sort *b) {
    uint32_t run = 4;
    rank_sort_runs(q, a, run);
    for (; run < q->n; run *= 2) {
        for (uint32_t from = 0; from < q->n; from += 2 * run) {
            const uint32_t middle = q->n - from < run ? q->n : from + run;
            const uint32_t end = q->n - middle < run ? q->n : middle + run;
            rank_sort_merge(q, a, b, (const uint32_t[3]){from, middle, end});
        }
        struct rank_sort *const swap = a;
        a = b;
        b = swap;
    }
    return a;
}

/* slots[from..end) are one tier: their scores, scaled to 0..1. */
static void rank_scale_tier(struct ranking *r, uint32_t from, uint32_t end) {
    const struct rank_candidate *const c = r->q->candidates;
    const double best = (double)c[r->slots[from].index].score;
    const double range = best - (double)c[r->slots[end - 1].index].score;
    for (uint32_t i = from; i < end; i++) {
        const double below = best - (double)c[r->slots[i].index].score;
        r->slots[i].relevance = range > 0 ? (float)(1 - below / range) : 1;
    }
}

static int rank_prepare_slots(struct ranking *r, struct arena *scratch) {
    const struct rank_query *const q = r->q;
    struct rank_sort *const a = arena_array(scratch, 2 * (size_t)q->n, sizeof(*a));
    r->slots = arena_array(scratch, q->n, sizeof(*r->slots));
    if (a == NULL || r->slots == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        const struct rank_candidate *const c = &q->candidates[i];
        a[i] = (struct rank_sort){((uint64_t)c->tier << 32) | rank_sort_bits(c->score), i};
    }
    const struct rank_sort *const sorted = rank_sort_all(q, a, a + q->n);
    uint32_t tier = 0; /* where the tier in hand begins */
    for (uint32_t i = 0; i < q->n; i++) {
        const struct rank_candidate *const c = &q->candidates[sorted[i].index];
        r->slots[i] = (struct rank_slot){
            .inverse = -1, .index = sorted[i].index, .tier = c->tier, .lanes = c->lanes};
        if (c->tier != r->slots[tier].tier) {
            rank_scale_tier(r, tier, i);
            tier = i;
        }
    }
    rank_scale_tier(r, tier, q->n);
    return U2I_OK;
}

/* ---- Likeness --------------------------------------------------------------------------------- */

static const float *rank_vector(const struct ranking *r, struct rank_slot *s) {
    const float *const v = r->q->candidates[s->index].vector;
    if (v == NULL) {
        return NULL;
    }
    if (s->inverse < 0) {
        const float square = r->vec->dot(v, v, r->q->dim);
        s->inverse = square > 0 && isfinite(square) ? 1 / sqrtf(square) : 0;
    }
    return v;
}

/* Brings slot->like up to date with everything picked. */
static void rank_compare(struct ranking *r, uint32_t slot) {
    struct rank_slot *const s = &r->slots[slot];
    const struct rank_picked *const p = &r->picked;
    const float *const v = s->compared < p->n ? rank_vector(r, s) : NULL;
    if (v == NULL) {
        return;
    }
    const uint32_t from = s->compared, n = p->n - from;
    if (n == 1) { /* most often */
        r->dots[0] = r->vec->dot(v, p->vectors[from], r->q->dim);
    } else {
        r->vec->dot_many(v, p->vectors + from, n, r->q->dim, r->dots);
    }
    for (uint32_t i = 0; i < n; i++) {
        const float cosine = r->dots[i] * s->inverse * p->inverses[from + i];
        if (cosine > s->like && p->slots[from + i] != slot) { /* a pin that was taken back */
            s->like = cosine < 1 ? cosine : 1;
        }
    }
    s->compared = p->n;
}

/* ---- Caps ------------------------------------------------------------------------------------- */

/* Do the windows around `place` have room for one more of the key? `not_before` may be moved to where an
 * earlier place stops mattering. */
static bool rank_cap_allows(const struct ranking *r, uint32_t cap, uint64_t key, uint32_t place,
                            uint32_t *not_before) {
    const struct rank_cap *const c = &r->q->caps[cap];
    const uint64_t *const keys = r->keys + (size_t)cap * r->k;
    const uint32_t window = c->window == 0 || c->window > r->k ? r->k : c->window;
    const uint32_t first = place + 1 > window ? place + 1 - window : 0;
    uint32_t count = 0;
    for (uint32_t i = place; i-- > first;) {
        count += keys[i] == key;
        if (count == c->most) {
            *not_before = window == r->k ? RANK_NONE : i + window;
            return false;
        }
    }
    if (r->pins_left == 0) {
        return true;
    }
    /* Slide the window over the place, from the one that ends there to the one that begins there. */
    const uint32_t last = r->k - place < window ? r->k : place + window;
    for (uint32_t end = place + 1; end < last; end++) {
        count += keys[end] == key;
        count -= end >= window && keys[end - window] == key;
        if (count >= c->most) {
            return false;
        }
    }
    return true;
}

static bool rank_allows(struct ranking *r, uint32_t slot, uint32_t place) {
    struct rank_slot *const s = &r->slots[slot];
    for (uint32_t i = 0; i < r->q->caps_n; i++) {
        const uint64_t key = r->q->candidates[s->index].key[i];
        if (key != 0 && !rank_cap_allows(r, i, key, place, &s->not_before)) {
            return false;
        }
    }
    return true;
}

/* ---- Places ----------------------------------------------------------------------------------- */

static void rank_stand(struct ranking *r, uint32_t slot, uint32_t place) {
    const struct rank_candidate *const c = &r->q->candidates[r->slots[slot].index];
    r->places[place] = slot;
    r->slots[slot].used = true;
    for (uint32_t i = 0; i < r->q->caps_n; i++) {
        r->keys[(size_t)i * r->k + place] = c->key[i];
    }
}

static void rank_leave(struct ranking *r, uint32_t place) {
    r->places[place] = RANK_NONE;
    for (uint32_t i = 0; i < r->q->caps_n; i++) {
        r->keys[(size_t)i * r->k + place] = 0;
    }
}

/* From now on others are compared with it. */
static void rank_remember(struct ranking *r, uint32_t slot) {
    struct rank_picked *const p = &r->picked;
    struct rank_slot *const s = &r->slots[slot];
    const float *const v = r->q->diversity > 0 && !s->remembered ? rank_vector(r, s) : NULL;
    if (v != NULL) {
        p->vectors[p->n] = v;
        p->inverses[p->n] = s->inverse;
        p->slots[p->n++] = slot;
        s->remembered = true;
    }
}

/* The best candidate for the place, of the lanes in the mask (0: of all); RANK_NONE. */
static uint32_t rank_best(struct ranking *r, uint32_t place, uint32_t lanes) {
    const float diversity = (float)r->q->diversity;
    uint32_t best = RANK_NONE;
    float best_worth = 0;
    for (uint32_t i = r->head; i < r->q->n; i++) {
        const struct rank_slot *const s = &r->slots[i];
        const float most = (1 - diversity) * s->relevance;
        if (best != RANK_NONE && (most <= best_worth || s->tier != r->slots[best].tier)) {
            break;
        }
        if (s->used || s->not_before > place || (lanes != 0 && (s->lanes & lanes) == 0) ||
            (best != RANK_NONE && most - diversity * s->like <= best_worth) ||
            !rank_allows(r, i, place)) {
            continue;
        }
        rank_compare(r, i);
        const float worth = most - diversity * s->like;
        if (best == RANK_NONE || worth > best_worth) {
            best = i;
            best_worth = worth;
        }
    }
    return best;
}

static uint32_t rank_best_draw(struct ranking *r, uint32_t place, uint32_t lanes) {
    uint32_t best = RANK_NONE;
    float best_draw = 0;
    for (uint32_t i = r->head; i < r->q->n; i++) {
        const struct rank_slot *const s = &r->slots[i];
        const float draw = r->q->candidates[s->index].draw;
        if (!s->used && (s->lanes & lanes) != 0 && s->not_before <= place &&
            (best == RANK_NONE || draw > best_draw) && rank_allows(r, i, place)) {
            best = i;
            best_draw = draw;
        }
    }
    return best;
}

/* The candidate of the first lane that is owed the place and has one. */
static uint32_t rank_best_owed(struct ranking *r, uint32_t place) {
    for (uint32_t i = 0; i < r->q->lanes_n; i++) {
        const struct rank_lane *const lane = &r->q->lanes[i];
        const double owed = floor((place + 1) * lane->share + r->phases[i] + 1e-9);
        if (r->placed[i] >= owed) {
            continue;
        }
        const uint32_t slot = lane->by == RANK_BY_DRAW ? rank_best_draw(r, place, 1u << i)
                                                       : rank_best(r, place, 1u << i);
        if (slot != RANK_NONE) {
            return slot;
        }
    }
    return RANK_NONE;
}

/* ---- Pins ------------------------------------------------------------------------------------- */

/* In order of their places, the better of two first. A cap that an earlier pin fills unpins the later. */
static void rank_pin_all(struct ranking *r) {
    for (uint32_t i = 0; i < r->q->n; i++) {
        const uint32_t pin = r->q->candidates[r->slots[i].index].pin;
        const uint32_t place = (pin < r->k ? pin : r->k) - 1; /* no more places than candidates */
        if (pin >= 1 && pin <= r->q->k && r->places[place] == RANK_NONE) {
            r->places[place] = i;
        }
    }
    r->pins_left = 1; /* caps are looked at from both sides */
    uint32_t pins = 0;
    for (uint32_t place = 0; place < r->k; place++) {
        const uint32_t slot = r->places[place];
        if (slot != RANK_NONE && rank_allows(r, slot, place)) {
            rank_stand(r, slot, place);
            rank_remember(r, slot);
            pins++;
        } else if (slot != RANK_NONE) {
            r->places[place] = RANK_NONE;
            r->slots[slot].not_before = 0; /* what keeps it out may move up */
        }
    }
    r->pins_left = pins;
}

/* Nobody may stand at the place, but there are pins further down: the first that may moves up; where
 * none may, all of them become ordinary candidates. */
static uint32_t rank_unpin(struct ranking *r, uint32_t place) {
    for (uint32_t i = place + 1; i < r->k; i++) {
        const uint32_t slot = r->places[i];
        if (slot == RANK_NONE) {
            continue;
        }
        rank_leave(r, i);
        if (rank_allows(r, slot, place)) {
            r->pins_left--;
            return slot;
        }
        rank_stand(r, slot, i);
    }
    for (uint32_t i = place + 1; i < r->k; i++) {
        if (r->places[i] != RANK_NONE) {
            r->slots[r->places[i]].used = false;
            rank_leave(r, i);
        }
    }
    r->pins_left = 0;
    r->head = 0;
    return RANK_NONE;
}

/* ---- The whole -------------------------------------------------------------------------------- */

/* Who stands at the place; RANK_NONE: nobody, the list ends here. */
static uint32_t rank_choose(struct ranking *r, uint32_t place) {
    uint32_t slot = rank_best_owed(r, place);
    if (slot == RANK_NONE) {
        slot = rank_best(r, place, 0);
    }
    while (slot == RANK_NONE && r->pins_left > 0) {
        slot = rank_unpin(r, place);
        if (slot == RANK_NONE) {
            slot = rank_best(r, place, 0);
        }
    }
    if (slot != RANK_NONE) {
        rank_stand(r, slot, place);
        rank_remember(r, slot);
    }
    return slot;
}

static uint32_t rank_fill(struct ranking *r, uint32_t *order) {
    for (uint32_t place = 0; place < r->k; place++) {
        uint32_t slot = r->places[place];
        if (slot != RANK_NONE) {
            r->pins_left--;
        } else {
            slot = rank_choose(r, place);
        }
        if (slot == RANK_NONE) {
            return place;
        }
        for (uint32_t i = 0; i < r->q->lanes_n; i++) {
            r->placed[i] += r->slots[slot].lanes >> i & 1;
        }
        while (r->head < r->q->n && r->slots[r->head].used) {
            r->head++;
        }
        order[place] = r->slots[slot].index;
    }
    return r->k;
}

static int rank_prepare_places(struct ranking *r, struct arena *scratch) {
    const size_t k = r->k;
    r->places = arena_array(scratch, k, sizeof(*r->places));
    r->keys = arena_array(scratch, k * r->q->caps_n, sizeof(*r->keys));
    const size_t picked = 2 * k; /* all places, and pins that were taken back */
    r->picked.vectors = arena_array(scratch, picked, sizeof(*r->picked.vectors));
    r->picked.inverses = arena_array(scratch, picked, sizeof(*r->picked.inverses));
    r->picked.slots = arena_array(scratch, picked, sizeof(*r->picked.slots));
    r->dots = arena_array(scratch, picked, sizeof(*r->dots));
    if (r->places == NULL || r->keys == NULL || r->picked.vectors == NULL ||
        r->picked.inverses == NULL || r->picked.slots == NULL || r->dots == NULL) {
        return U2I_ENOMEM;
    }
    memset(r->places, 0xFF, k * sizeof(*r->places)); /* RANK_NONE */
    memset(r->keys, 0, k * r->q->caps_n * sizeof(*r->keys));
    for (uint32_t i = 0; i < r->q->lanes_n; i++) {
        r->phases[i] = (double)(hash_mix(r->q->seed + i) >> 11) * 0x1p-53;
    }
    return U2I_OK;
}

int rank_order(const struct rank_query *q, struct arena *scratch, uint32_t *order,
               uint32_t *order_n, u2i_error_t *err) {
    assert(q->caps_n <= RANK_CAPS_MAX && q->lanes_n <= RANK_LANES_MAX);
    assert(q->diversity >= 0 && q->diversity <= 1);
    *order_n = 0;
    if (q->n > RANK_CANDIDATES_MAX) {
        return error_set(err, U2I_EINVAL, "%u candidates are over %d", q->n, RANK_CANDIDATES_MAX);
    }
    struct ranking r = {.q = q, .vec = vec_get(), .k = q->k < q->n ? q->k : q->n};
    if (r.k == 0) {
        return U2I_OK;
    }
    if (rank_prepare_slots(&r, scratch) != U2I_OK || rank_prepare_places(&r, scratch) != U2I_OK) {
        return error_oom(err);
    }
    rank_pin_all(&r);
    *order_n = rank_fill(&r, order);
    return U2I_OK;
}
