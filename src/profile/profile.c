/* From a user's events to the weights of items: sort, recency, fold, explain.
 *
 * The invariant of the file: every result is a function of the set of events, not of the order in
 * which they came. Sorting is total up to events that are equal in all that counts, equal times share
 * a rank, sums run in sorted order and in double, and of two actions on one item at one time the
 * heavier one is the "latest". So real-time, batch and restart give the same profile by construction.
 *
 * Cost (one Zen 4 core, gcc 12 -O2): docs/profiles.md. The default recency needs a square root and a
 * power of two per distinct time; a general rank_power needs pow(), five times as dear. */
#include "profile/profile.h"
#include "base/alloc.h"
#include "base/error.h"
#include <assert.h>
#include <math.h>

/* ---- Sorting ---------------------------------------------------------------------------------- */

struct profile_order {
    profile_name_cmp by_names;
    const void *ctx;
};

static int profile_compare(const void *pa, const void *pb, void *order) {
    const struct profile_event *a = pa;
    const struct profile_event *b = pb;
    const struct profile_order *how = order;
    if (a->time_ms != b->time_ms) {
        return a->time_ms > b->time_ms ? -1 : 1;
    }
    const int named = how->by_names(how->ctx, a, b);
    return named != 0 ? named : (a->value > b->value) - (a->value < b->value);
}

void profile_sort(struct profile_event *events, size_t n, profile_name_cmp by_names,
                  const void *ctx) {
    struct profile_order order = {by_names, ctx};
    size_t sorted = 1; /* events mostly come in order already: from a cache or an index */
    while (sorted < n && profile_compare(&events[sorted - 1], &events[sorted], &order) <= 0) {
        sorted++;
    }
    if (sorted < n) {
        qsort_r(events, n, sizeof *events, profile_compare, &order);
    }
}

/* ---- Recency ---------------------------------------------------------------------------------- */

/* rank^-power. Square root and division round correctly everywhere; pow() may differ in the last bit
 * from one C library to another. */
static double profile_rank_weight(double rank, double power) {
    if (power == 0.5) {
        return 1 / sqrt(rank);
    }
    if (power == 1) {
        return 1 / rank;
    }
    return power == 0 ? 1 : pow(rank, -power);
}

struct profile_clock {
    int64_t newest_ms;
    double per_ms; /* half-lives in a millisecond */
};

static double profile_age_weight(const struct profile_clock *c, int64_t time_ms) {
    return exp2(((double)time_ms - (double)c->newest_ms) * c->per_ms);
}

void profile_recency(const struct profile_recency *how, const struct profile_event *events,
                     size_t n, float *recency) {
    if (n == 0) {
        return;
    }
    const struct profile_clock clock = {events[0].time_ms, 1e-3 / how->half_life_s};
    double rank = 0;
    double power = 1; /* decay^(rank - 1) */
    float now = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && events[i].time_ms == events[i - 1].time_ms) {
            recency[i] = now;
            continue;
        }
        assert(i == 0 || events[i].time_ms < events[i - 1].time_ms);
        rank++;
        if (how->mode == PROFILE_DECAY) {
            now = (float)power;
            power *= how->decay;
        } else {
            const double age = profile_age_weight(&clock, events[i].time_ms);
            const double w =
                how->mode == PROFILE_RANK ? age * profile_rank_weight(rank, how->rank_power) : age;
            now = (float)(w > how->floor ? w : how->floor);
        }
        recency[i] = now;
    }
}

/* ---- Entries ---------------------------------------------------------------------------------- */

#define ENTRIES_ON_STACK 1024 /* events; more than any default window */

/* The entries while they grow. `slots` is an open addressing table by item, index into `list` + 1. */
struct profile_fold {
    struct profile_entry *list;
    double *sums;
    float *heaviest; /* weight of the event that `latest` points at, without recency */
    uint32_t *slots;
    size_t n, mask;
    bool largest; /* an item's largest weight instead of the sum of its weights */
};

static size_t profile_fold_entry(struct profile_fold *f, uint32_t item, uint32_t event) {
    size_t at = (item * UINT32_C(2654435769)) & f->mask; /* Knuth's multiplicative hash */
    while (f->slots[at] != 0) {
        const size_t found = f->slots[at] - 1;
        if (f->list[found].item == item) {
            return found;
        }
        at = (at + 1) & f->mask;
    }
    f->list[f->n] = (struct profile_entry){.item = item, .latest = event};
    f->sums[f->n] = f->largest ? -INFINITY : 0;
    f->heaviest[f->n] = -INFINITY;
    f->slots[at] = (uint32_t)++f->n;
    return f->n - 1;
}

static void profile_fold_events(struct profile_fold *f, const struct profile_event *events,
                                size_t n, const float *recency, const float *action_weights) {
    for (size_t i = 0; i < n; i++) {
        const struct profile_event *ev = &events[i];
        const size_t k = profile_fold_entry(f, ev->item, (uint32_t)i);
        const double weight = (double)action_weights[ev->action] * (double)ev->value;
        const double counts = weight * (double)recency[i];
        f->sums[k] = f->largest ? fmax(f->sums[k], counts) : f->sums[k] + counts;
        if (ev->time_ms == events[f->list[k].latest].time_ms &&
            (float)fabs(weight) > f->heaviest[k]) {
            f->heaviest[k] = (float)fabs(weight);
            f->list[k].latest = (uint32_t)i;
        }
    }
}

/* Rounds the sums into the entries and closes the gaps of those that are 0. */
static size_t profile_fold_end(const struct profile_fold *f) {
    size_t kept = 0;
    for (size_t k = 0; k < f->n; k++) {
        const float weight = (float)f->sums[k];
        if (weight != 0) {
            f->list[kept] = f->list[k];
            f->list[kept++].weight = weight;
        }
    }
    return kept;
}

/* The least power of two that leaves half of the slots free. */
static size_t profile_fold_slots(size_t n) {
    size_t slots = 16;
    while (slots < 2 * n) {
        slots *= 2;
    }
    return slots;
}

/* Folds with f->largest as it is set; the rest of *f is scratch. */
static int profile_fold(struct profile_fold *f, const struct profile_event *events, size_t n,
                        const float *recency, const float *action_weights, size_t *entries_n) {
    double sums[ENTRIES_ON_STACK];
    float heaviest[ENTRIES_ON_STACK];
    uint32_t slots[2 * ENTRIES_ON_STACK];
    const size_t slots_n = profile_fold_slots(n);
    int rc = U2I_OK;
    *entries_n = 0;
    f->sums = sums;
    f->heaviest = heaviest;
    f->slots = slots;
    f->mask = slots_n - 1;
    if (n > ENTRIES_ON_STACK) {
        f->sums = alloc_array(n, sizeof *f->sums);
        f->heaviest = alloc_array(n, sizeof *f->heaviest);
        f->slots = alloc_array(slots_n, sizeof *f->slots);
        if (f->sums == NULL || f->heaviest == NULL || f->slots == NULL) {
            rc = U2I_ENOMEM;
            goto out;
        }
    }
    memset(f->slots, 0, slots_n * sizeof *f->slots);
    profile_fold_events(f, events, n, recency, action_weights);
    *entries_n = profile_fold_end(f);
out:
    if (n > ENTRIES_ON_STACK) {
        mem_free(f->slots);
        mem_free(f->heaviest);
        mem_free(f->sums);
    }
    return rc;
}

int profile_entries(const struct profile_event *events, size_t n, const float *recency,
                    const float *action_weights, struct profile_entry *entries, size_t *entries_n) {
    struct profile_fold f = {.list = entries};
    return profile_fold(&f, events, n, recency, action_weights, entries_n);
}

int profile_largest(const struct profile_event *events, size_t n, const float *recency,
                    const float *action_weights, struct profile_entry *entries, size_t *entries_n) {
    struct profile_fold f = {.list = entries, .largest = true};
    return profile_fold(&f, events, n, recency, action_weights, entries_n);
}

struct profile_sum profile_sum(const struct profile_entry *entries, size_t n) {
    struct profile_sum sum = {0, 0};
    for (size_t i = 0; i < n; i++) {
        const double w = (double)entries[i].weight;
        sum.absolute += fabs(w);
        sum.positive += w > 0 ? w : 0;
    }
    return sum;
}

void profile_normalise(struct profile_entry *entries, size_t n) {
    const double absolute = profile_sum(entries, n).absolute;
    for (size_t i = 0; i < n && absolute > 0; i++) {
        entries[i].weight = (float)((double)entries[i].weight / absolute);
    }
}
