/* What goes together, lately: counts of pairs of items that one user acted on shortly one after the other.
 * A training knows this better, but only from then on when it has been made; until the next one these counts
 * stand in, for new items above all.
 *
 * Counts fade with a half-life of hours, kept as forward-decayed sums (Cormode et al. 2009): what is added
 * later is added larger, so nothing has to be walked over for time to pass. Memory is bounded: a fixed
 * number of users' last items and of pairs; when the pairs are full, all begins anew, as it would have
 * within hours anyhow. Order of arrival is the order that counts: this is about now. */
#include "profile/profile.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#include <math.h>

#define COVISITS_USERS   16384u  /* whose last items are known; a power of two */
#define COVISITS_RING    8u      /* last items of a user */
#define COVISITS_PAIRS   131072u /* kept */
#define COVISITS_SLOTS   262144u /* of the table of pairs; a power of two, twice as many */
#define COVISITS_HALF_MS (6.0 * 3600 * 1000)
#define COVISITS_NEAR_MS                                                                           \
    (24 * 3600 * (int64_t)1000) /* further apart is not "one after the other" */
#define COVISITS_BACKWARD  0.5
#define COVISITS_SHRINK    3.0  /* as if an item had been acted on so often more without any pair */
#define COVISITS_EXP_LIMIT 60.0 /* half-lives from the landmark before it moves */

struct covisits_user {
    int64_t times[COVISITS_RING];
    uint32_t items[COVISITS_RING];
    uint32_t user, n; /* n counts all that came; the newest is at (n - 1) % COVISITS_RING */
};

struct covisits_pair {
    double value;
    uint32_t from, to;
    uint32_t next; /* of the same `from`; index + 1, 0 = the last */
};

struct covisits_item {
    double count;
    uint32_t first; /* pair; index + 1 */
};

struct covisits {
    struct covisits_user *users; /* by hash: a newcomer takes the place of whoever has it */
    struct covisits_pair *pairs;
    uint32_t *slots; /* pair + 1 */
    struct covisits_item *items;
    size_t items_n, items_cap;
    uint32_t pairs_n;
    int64_t landmark_ms, newest_ms;
    bool started;
};

int covisits_new(struct covisits **out, u2i_error_t *err) {
    struct covisits *c = mem_zalloc(sizeof(*c));
    *out = c;
    if (c == NULL) {
        return error_oom(err);
    }
    c->users = pages_alloc(COVISITS_USERS * sizeof(*c->users)); /* touched as they are used */
    c->pairs = pages_alloc(COVISITS_PAIRS * sizeof(*c->pairs));
    c->slots = pages_alloc(COVISITS_SLOTS * sizeof(*c->slots));
    if (c->users == NULL || c->pairs == NULL || c->slots == NULL) {
        covisits_free(c);
        *out = NULL;
        return error_oom(err);
    }
    return U2I_OK;
}

static void covisits_free_pages(void *p, size_t bytes) {
    if (p != NULL) {
        pages_free(p, bytes);
    }
}

void covisits_free(struct covisits *c) {
    if (c != NULL) {
        covisits_free_pages(c->users, COVISITS_USERS * sizeof(*c->users));
        covisits_free_pages(c->pairs, COVISITS_PAIRS * sizeof(*c->pairs));
        covisits_free_pages(c->slots, COVISITS_SLOTS * sizeof(*c->slots));
        mem_free(c->items);
        mem_free(c);
    }
}

void covisits_clear(struct covisits *c) {
    if (c->started) {
        memset(c->users, 0, COVISITS_USERS * sizeof(*c->users));
        memset(c->slots, 0, COVISITS_SLOTS * sizeof(*c->slots));
        c->items_n = 0;
        c->pairs_n = 0;
        c->started = false;
    }
}

/* ---- Counting --------------------------------------------------------------------------------- */

static void covisits_move_landmark(struct covisits *c, int64_t time_ms) {
    const double factor = exp2((double)(c->landmark_ms - time_ms) / COVISITS_HALF_MS);
    for (uint32_t i = 0; i < c->pairs_n; i++) {
        c->pairs[i].value *= factor;
    }
    for (size_t i = 0; i < c->items_n; i++) {
        c->items[i].count *= factor;
    }
    c->landmark_ms = time_ms;
}

/* What 1 at this time weighs against 1 at the landmark. */
static double covisits_growth(struct covisits *c, int64_t time_ms) {
    if (!c->started) {
        c->started = true;
        c->landmark_ms = c->newest_ms = time_ms;
    }
    c->newest_ms = c->newest_ms > time_ms ? c->newest_ms : time_ms;
    if ((double)(time_ms - c->landmark_ms) > COVISITS_EXP_LIMIT * COVISITS_HALF_MS) {
        covisits_move_landmark(c, time_ms);
    }
    return exp2((double)(time_ms - c->landmark_ms) / COVISITS_HALF_MS);
}

static bool covisits_know(struct covisits *c, uint32_t item) {
    if (array_reserve(&c->items, &c->items_cap, (size_t)item + 1, sizeof(*c->items)) != U2I_OK) {
        return false;
    }
    for (; c->items_n <= item; c->items_n++) {
        c->items[c->items_n] = (struct covisits_item){0};
    }
    return true;
}

/* NULL when there is no room for another pair. */
static struct covisits_pair *covisits_pair(struct covisits *c, uint32_t from, uint32_t to) {
    size_t at = hash_mix((uint64_t)from << 32 | to) & (COVISITS_SLOTS - 1);
    for (; c->slots[at] != 0; at = (at + 1) & (COVISITS_SLOTS - 1)) {
        struct covisits_pair *p = &c->pairs[c->slots[at] - 1];
        if (p->from == from && p->to == to) {
            return p;
        }
    }
    if (c->pairs_n == COVISITS_PAIRS) {
        return NULL;
    }
    struct covisits_pair *p = &c->pairs[c->pairs_n++];
    *p = (struct covisits_pair){.from = from, .to = to, .next = c->items[from].first};
    c->items[from].first = c->pairs_n;
    c->slots[at] = c->pairs_n;
    return p;
}

/* The user's last items against this one, the nearest first; false when the pairs are full. */
static bool covisits_pair_up(struct covisits *c, const struct covisits_user *u,
                             const struct covisits_event *ev, double growth) {
    double gap = 1;
    for (uint32_t k = 1; k <= COVISITS_RING && k <= u->n; k++) {
        const uint32_t at = (u->n - k) % COVISITS_RING;
        const int64_t apart = ev->time_ms - u->times[at];
        if (apart <= 0 || apart > COVISITS_NEAR_MS || u->items[at] == ev->item) {
            continue;
        }
        struct covisits_pair *there = covisits_pair(c, u->items[at], ev->item);
        struct covisits_pair *back = covisits_pair(c, ev->item, u->items[at]);
        if (there == NULL || back == NULL) {
            return false;
        }
        there->value += growth / gap;
        back->value += COVISITS_BACKWARD * growth / gap;
        gap++;
    }
    return true;
}

void covisits_add(struct covisits *c, const struct covisits_event *ev) {
    struct covisits_user *u = &c->users[hash_mix(ev->user) & (COVISITS_USERS - 1)];
    if (!covisits_know(c, ev->item)) {
        return; /* no memory: this one is not counted */
    }
    const double growth = covisits_growth(c, ev->time_ms);
    if (u->n == 0 || u->user != ev->user) {
        *u = (struct covisits_user){.user = ev->user};
    }
    if (!covisits_pair_up(c, u, ev, growth)) {
        covisits_clear(c);
        return;
    }
    c->items[ev->item].count += growth;
    u->items[u->n % COVISITS_RING] = ev->item;
    u->times[u->n % COVISITS_RING] = ev->time_ms;
    u->n++;
}

/* ---- Asking ----------------------------------------------------------------------------------- */

size_t covisits_of(const struct covisits *c, uint32_t item, struct covisit *out, size_t max) {
    size_t n = 0;
    if (item >= c->items_n) {
        return 0;
    }
    const double growth = exp2((double)(c->newest_ms - c->landmark_ms) / COVISITS_HALF_MS);
    const double all = c->items[item].count + COVISITS_SHRINK * growth;
    for (uint32_t i = c->items[item].first; i != 0 && n < max; i = c->pairs[i - 1].next) {
        const struct covisits_pair *p = &c->pairs[i - 1];
        out[n++] = (struct covisit){p->to, (float)(p->value / all)};
    }
    return n;
}
