/* A tally is one question of one rule. Counts within a time are kept in slices: the time is cut into sixteen,
 * an item has a count for each, and those that are too old fall out; so a count is exact up to a sixteenth
 * of the time. Items that reach their limit are noted, so that a question looks at these only. */
#include "tally.h"

#include "base/alloc.h"
#include "base/error.h"

#include <math.h>

#define TALLY_SLICES 16

enum tally_what { TALLY_LIMIT, TALLY_USERS, TALLY_WANTED, TALLY_SHOWN };

struct tally_item {
    int64_t newest; /* slice of slices[newest % TALLY_SLICES] */
    uint32_t slices[TALLY_SLICES];
};

struct tally {
    enum tally_what what;
    char action[U2I_ACTION_MAX_BYTES + 1]; /* TALLY_WANTED: any with a weight */
    double slice_ms;                       /* INFINITY: all time is one slice */
    uint32_t limit;
    struct tally_item *items; /* TALLY_LIMIT within a time */
    uint32_t *counts;         /* of all time */
    roaring_bitmap_t **users; /* TALLY_USERS; NULL where nobody */
    size_t n, cap;            /* items */
    roaring_bitmap_t *full;   /* TALLY_LIMIT, TALLY_WANTED: reached it once */
};

struct tallies {
    struct tally list[RULES_MAX + 2];
    size_t n;
};

/* ---- What is asked ---------------------------------------------------------------------------- */

static double tally_slice_ms(const struct rule *rule) {
    return rule->seconds > 0 ? rule->seconds * 1000 / TALLY_SLICES : INFINITY;
}

static int tally_want(struct tallies *t, enum tally_what what, const char *action,
                      const struct rule *rule) {
    struct tally *one = &t->list[t->n];
    *one = (struct tally){.what = what, .slice_ms = INFINITY};
    (void)snprintf(one->action, sizeof(one->action), "%s", action); /* fits: actions do */
    if (what == TALLY_LIMIT || what == TALLY_WANTED) {
        one->slice_ms = what == TALLY_LIMIT ? tally_slice_ms(rule) : INFINITY;
        one->limit = rule->count;
        one->full = roaring_bitmap_create();
        if (one->full == NULL) {
            return U2I_ENOMEM;
        }
    }
    t->n++;
    return U2I_OK;
}

/* What the `explore` rules need; `rule` is the one with the largest N, NULL = there is none. */
static int tally_want_explore(struct tallies *t, const struct rule *rule) {
    if (rule == NULL) {
        return U2I_OK;
    }
    U2I_TRY(tally_want(t, TALLY_WANTED, "", rule));
    return tally_want(t, TALLY_SHOWN, "impression", NULL);
}

int tallies_new(const struct rules *rules, struct tallies **out, u2i_error_t *err) {
    struct tallies *t = mem_zalloc(sizeof(*t));
    const struct rule *explores = NULL;
    int rc = U2I_OK;
    *out = t;
    if (t == NULL) {
        return error_oom(err);
    }
    for (uint32_t i = 0; rules != NULL && i < rules->n && rc == U2I_OK; i++) {
        const struct rule *r = &rules->list[i];
        if (r->kind == RULE_EXPLORE && (explores == NULL || r->count > explores->count)) {
            explores = r;
        } else if (r->kind == RULE_LIMIT) {
            rc = tally_want(t, TALLY_LIMIT, r->name, r);
        } else if (r->kind == RULE_MUTUAL) {
            rc = tally_want(t, TALLY_USERS, r->name, r);
        }
    }
    rc = rc == U2I_OK ? tally_want_explore(t, explores) : rc;
    if (rc != U2I_OK || t->n == 0) {
        tallies_free(t);
        *out = NULL;
    }
    return rc == U2I_OK ? U2I_OK : error_oom(err);
}

static void tally_free(struct tally *one) {
    for (size_t i = 0; one->users != NULL && i < one->n; i++) {
        if (one->users[i] != NULL) {
            roaring_bitmap_free(one->users[i]);
        }
    }
    if (one->full != NULL) {
        roaring_bitmap_free(one->full);
    }
    mem_free(one->users);
    mem_free(one->counts);
    mem_free(one->items);
}

void tallies_free(struct tallies *t) {
    if (t != NULL) {
        for (size_t i = 0; i < t->n; i++) {
            tally_free(&t->list[i]);
        }
        mem_free(t);
    }
}

/* ---- Counting --------------------------------------------------------------------------------- */

/* The array that a tally uses, and the size of its elements. */
static void *tally_array(struct tally *one, size_t *size) {
    if (one->what == TALLY_USERS) {
        *size = sizeof(*one->users);
        return &one->users;
    }
    if (one->what == TALLY_LIMIT && isfinite(one->slice_ms)) {
        *size = sizeof(*one->items);
        return &one->items;
    }
    *size = sizeof(*one->counts);
    return &one->counts;
}

static int tally_reach(struct tally *one, uint32_t item) {
    size_t size;
    void *array = tally_array(one, &size);
    if (item < one->n) {
        return U2I_OK;
    }
    U2I_TRY(array_reserve(array, &one->cap, (size_t)item + 1, size));
    memset(*(char **)array + one->n * size, 0, ((size_t)item + 1 - one->n) * size);
    one->n = (size_t)item + 1;
    return U2I_OK;
}

static uint64_t tally_within(const struct tally_item *item, int64_t now) {
    uint64_t sum = 0;
    for (int64_t slice = now - TALLY_SLICES; slice <= item->newest; slice++) {
        if (slice > item->newest - TALLY_SLICES && slice >= 0) {
            sum += item->slices[slice % TALLY_SLICES];
        }
    }
    return sum;
}

static uint64_t tally_count_slice(struct tally_item *item, int64_t slice) {
    if (slice <= item->newest - TALLY_SLICES) {
        return 0; /* too late to count */
    }
    for (int64_t s = item->newest + 1; s <= slice && s <= item->newest + TALLY_SLICES; s++) {
        item->slices[s % TALLY_SLICES] = 0;
    }
    item->newest = item->newest > slice ? item->newest : slice;
    item->slices[slice % TALLY_SLICES]++;
    return tally_within(item, item->newest);
}

static int tally_count(struct tally *one, const struct tally_event *ev) {
    U2I_TRY(tally_reach(one, ev->item));
    if (one->what == TALLY_USERS) {
        roaring_bitmap_t **users = &one->users[ev->item];
        *users = *users == NULL ? roaring_bitmap_create() : *users;
        if (*users == NULL) {
            return U2I_ENOMEM;
        }
        roaring_bitmap_add(*users, ev->user);
        return U2I_OK;
    }
    const uint64_t count = one->items != NULL
                               ? tally_count_slice(&one->items[ev->item],
                                                   (int64_t)((double)ev->time_ms / one->slice_ms))
                               : ++one->counts[ev->item];
    if (one->full != NULL && count >= one->limit) {
        roaring_bitmap_add(one->full, ev->item);
    }
    return U2I_OK;
}

int tallies_add(struct tallies *t, const struct tally_event *ev, u2i_error_t *err) {
    for (size_t i = 0; i < t->n; i++) {
        struct tally *one = &t->list[i];
        const bool counts =
            one->what == TALLY_WANTED ? ev->wanted : strcmp(one->action, ev->action) == 0;
        if (counts && tally_count(one, ev) != U2I_OK) {
            return error_oom(err);
        }
    }
    return U2I_OK;
}

/* ---- Asking ----------------------------------------------------------------------------------- */

static const struct tally *tally_find(const struct tallies *t, enum tally_what what,
                                      const struct rule *rule) {
    for (size_t i = 0; t != NULL && i < t->n; i++) {
        const struct tally *one = &t->list[i];
        if (one->what == what && (rule == NULL || strcmp(one->action, rule->name) == 0) &&
            (what != TALLY_LIMIT ||
             (one->limit == rule->count && one->slice_ms == tally_slice_ms(rule)))) {
            return one;
        }
    }
    return NULL;
}

void tallies_full(const struct tallies *t, const struct rule *rule, int64_t now_ms,
                  roaring_bitmap_t *out) {
    const struct tally *one = tally_find(t, TALLY_LIMIT, rule);
    if (one == NULL) {
        return;
    }
    roaring_uint32_iterator_t it;
    roaring_init_iterator(one->full, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        const uint32_t item = it.current_value;
        const int64_t now = one->items == NULL ? 0 : (int64_t)((double)now_ms / one->slice_ms);
        if (one->items == NULL || tally_within(&one->items[item], now) >= one->limit) {
            roaring_bitmap_add(out, item);
        }
    }
}

const roaring_bitmap_t *tallies_users(const struct tallies *t, const struct rule *rule,
                                      uint32_t item) {
    const struct tally *one = tally_find(t, TALLY_USERS, rule);
    return one == NULL || item >= one->n ? NULL : one->users[item];
}

static uint64_t tally_all(const struct tally *one, uint32_t item) {
    return one == NULL || item >= one->n ? 0 : one->counts[item];
}

uint64_t tallies_events(const struct tallies *t, uint32_t item) {
    return tally_all(tally_find(t, TALLY_WANTED, NULL), item);
}

const roaring_bitmap_t *tallies_known(const struct tallies *t) {
    const struct tally *one = tally_find(t, TALLY_WANTED, NULL);
    return one == NULL ? NULL : one->full;
}

uint64_t tallies_impressions(const struct tallies *t, uint32_t item) {
    return tally_all(tally_find(t, TALLY_SHOWN, NULL), item);
}

size_t tallies_bytes(const struct tallies *t) {
    size_t bytes = t == NULL ? 0 : sizeof(*t);
    for (size_t i = 0; t != NULL && i < t->n; i++) {
        const struct tally *one = &t->list[i];
        bytes += one->cap * (one->items != NULL   ? sizeof(*one->items)
                             : one->users != NULL ? sizeof(*one->users)
                                                  : sizeof(*one->counts));
        bytes += one->full == NULL ? 0 : roaring_bitmap_size_in_bytes(one->full);
    }
    return bytes;
}
