/* Popularity: for each item two decayed counts of events, a long-term and a recent one.
 *
 * Forward decay (Cormode, Shkapenyuk, Srivastava & Xu 2009, "Forward Decay: A Practical Time Decay
 * Model for Streaming Systems"): instead of letting all counts fade as time passes, a later event
 * counts for more, 2^((t - L) / half-life) with a fixed landmark L. All counts of an instant share
 * one factor, which a comparison doesn't see, so nothing ever needs to be aged, and a late event is
 * an event like any other. Three decisions:
 *  1. Times are measured in half-lives since 1970, split into a whole and a fractional part. The
 *     fraction gives the mantissa and the whole part, less the landmark, the exponent; moving the
 *     landmark then changes exponents only, and no count by a single bit.
 *  2. The landmark moves when exponents near the end of double (REBASE_BITS). What falls off the
 *     lower end then weighs 2^-1000 of a new event.
 *  3. Beside its sums an item has its number of events: when the last one is taken back, the sums are
 *     0 exactly, whatever rounding has left in them.
 *
 * The largest sums are needed by every query and rarely change; they are kept up to date by additions,
 * and found anew by the first reader after a subtraction (atomics: readers run in parallel).
 *
 * Saved bytes: see popularity_save(). All numbers little-endian. */
#include "base/alloc.h"
#include "base/error.h"
#include "profile/profile.h"
#include "vec/vec.h"
#include <assert.h>
#include <math.h>
#include <stdatomic.h>

enum { POPULARITY_LONG = 0, POPULARITY_RECENT = 1, POPULARITY_KINDS = 2 };
#define REBASE_BITS         900
#define LANDMARK_END        ((int64_t)1 << 54) /* any time in ms, in half-lives of 1 s */
#define POPULARITY_MAGIC    "u2ipop01"
#define POPULARITY_HEAD     (8 + POPULARITY_KINDS * 16 + 8)
#define POPULARITY_BYTES    (4 + 4 + POPULARITY_KINDS * 8) /* one item */
#define POPULARITY_ITEM_END UINT32_C(0x40000000)           /* one past the highest row taken */

struct popularity_item {
    double sum[POPULARITY_KINDS];
    uint32_t events;
};

/* Apart from the rest, because readers refresh it. */
struct popularity_most {
    _Atomic double sum[POPULARITY_KINDS];
    atomic_bool stale;
};

struct popularity {
    double half_life_s[POPULARITY_KINDS];
    int64_t landmark[POPULARITY_KINDS]; /* whole half-lives since 1970 */
    bool started;                       /* the landmarks are set */
    struct popularity_item *items;      /* by row */
    size_t n, cap;
    struct popularity_most *most;
};

int popularity_new(double long_half_life_s, double recent_half_life_s, struct popularity **out,
                   u2i_error_t *err) {
    *out = NULL;
    const double half_life_s[POPULARITY_KINDS] = {long_half_life_s, recent_half_life_s};
    for (int k = 0; k < POPULARITY_KINDS; k++) {
        if (!(half_life_s[k] >= 1 && half_life_s[k] <= 1e12)) {
            return error_set(err, U2I_EINVAL, "half-life %g s is not within 1..1e12",
                             half_life_s[k]);
        }
    }
    struct popularity *p = mem_zalloc(sizeof *p);
    struct popularity_most *most = mem_zalloc(sizeof *most);
    if (p == NULL || most == NULL) {
        mem_free(most);
        mem_free(p);
        return error_oom(err);
    }
    memcpy(p->half_life_s, half_life_s, sizeof half_life_s);
    p->most = most;
    *out = p;
    return U2I_OK;
}

void popularity_free(struct popularity *p) {
    if (p != NULL) {
        mem_free(p->most);
        mem_free(p->items);
        mem_free(p);
    }
}

size_t popularity_bytes(const struct popularity *p) {
    return sizeof *p + sizeof *p->most + p->cap * sizeof *p->items;
}

/* ---- Counting --------------------------------------------------------------------------------- */

static double popularity_most_get(const struct popularity *p, int kind) {
    return atomic_load_explicit(&p->most->sum[kind], memory_order_relaxed);
}

static void popularity_most_set(const struct popularity *p, int kind, double sum) {
    atomic_store_explicit(&p->most->sum[kind], sum, memory_order_relaxed);
}

static void popularity_rebase(struct popularity *p, int kind, int64_t landmark) {
    const int64_t by = p->landmark[kind] - landmark;
    const int bits = by < -4000 ? -4000 : (int)by; /* -2200 would already take all to 0 */
    for (size_t i = 0; i < p->n; i++) {
        p->items[i].sum[kind] = ldexp(p->items[i].sum[kind], bits);
    }
    popularity_most_set(p, kind, ldexp(popularity_most_get(p, kind), bits));
    p->landmark[kind] = landmark;
}

/* What an event of weight 1 at that time adds. */
static double popularity_unit(struct popularity *p, int kind, int64_t time_ms) {
    const double half_lives = (double)time_ms / 1000 / p->half_life_s[kind];
    const double whole = floor(half_lives);
    const int64_t at = (int64_t)whole;
    if (!p->started) {
        p->landmark[kind] = at;
    } else if (at - p->landmark[kind] > REBASE_BITS) {
        popularity_rebase(p, kind, at);
    }
    const int64_t bits = at - p->landmark[kind];
    return ldexp(exp2(half_lives - whole), bits < -4000 ? -4000 : (int)bits);
}

static int popularity_reach(struct popularity *p, uint32_t item, u2i_error_t *err) {
    if (item >= POPULARITY_ITEM_END) {
        return error_set(err, U2I_EINVAL, "item row %u is out of range", item);
    }
    if (item >= p->n) {
        if (array_reserve(&p->items, &p->cap, (size_t)item + 1, sizeof *p->items) != U2I_OK) {
            return error_oom(err);
        }
        memset(p->items + p->n, 0, (item + 1 - p->n) * sizeof *p->items);
        p->n = (size_t)item + 1;
    }
    return U2I_OK;
}

int popularity_add(struct popularity *p, uint32_t item, int64_t time_ms, float weight,
                   u2i_error_t *err) {
    if (weight == 0) {
        return U2I_OK;
    }
    if (weight < 0 && (item >= p->n || p->items[item].events == 0)) {
        return U2I_OK; /* nothing of it was counted */
    }
    U2I_TRY(popularity_reach(p, item, err));
    struct popularity_item *it = &p->items[item];
    it->events = weight > 0 ? it->events + 1 : it->events - 1;
    for (int k = 0; k < POPULARITY_KINDS; k++) {
        const double unit = popularity_unit(p, k, time_ms); /* may move the landmark: first */
        const double after = it->sum[k] + (double)weight * unit;
        it->sum[k] = it->events == 0 || after < 0 ? 0 : after;
        if (weight < 0) {
            atomic_store_explicit(&p->most->stale, true, memory_order_relaxed);
        } else if (it->sum[k] > popularity_most_get(p, k)) {
            popularity_most_set(p, k, it->sum[k]);
        }
    }
    p->started = true;
    return U2I_OK;
}

/* ---- Asking ----------------------------------------------------------------------------------- */

/* Any number of readers may find the same at once; the store of `stale` comes last. */
static void popularity_refresh(const struct popularity *p) {
    double most[POPULARITY_KINDS] = {0, 0};
    for (size_t i = 0; i < p->n; i++) {
        for (int k = 0; k < POPULARITY_KINDS; k++) {
            most[k] = p->items[i].sum[k] > most[k] ? p->items[i].sum[k] : most[k];
        }
    }
    for (int k = 0; k < POPULARITY_KINDS; k++) {
        popularity_most_set(p, k, most[k]);
    }
    atomic_store_explicit(&p->most->stale, false, memory_order_release);
}

struct popularity_scale popularity_scale(const struct popularity *p) {
    if (atomic_load_explicit(&p->most->stale, memory_order_acquire)) {
        popularity_refresh(p);
    }
    return (struct popularity_scale){
        .long_max = popularity_most_get(p, POPULARITY_LONG),
        .recent_max = popularity_most_get(p, POPULARITY_RECENT),
    };
}

float popularity_score(const struct popularity *p, const struct popularity_scale *s, double blend,
                       uint32_t item) {
    if (item >= p->n) {
        return 0;
    }
    const double *sum = p->items[item].sum;
    const double in_long = s->long_max > 0 ? sum[POPULARITY_LONG] / s->long_max : 0;
    const double in_recent = s->recent_max > 0 ? sum[POPULARITY_RECENT] / s->recent_max : 0;
    return (float)((1 - blend) * in_long + blend * in_recent);
}

/* ---- Saving ----------------------------------------------------------------------------------- */

static void popularity_put(struct buf *out, uint64_t x, size_t bytes) {
    unsigned char le[8];
    for (size_t i = 0; i < bytes; i++) {
        le[i] = (unsigned char)(x >> (8 * i));
    }
    buf_put(out, le, bytes);
}

static uint64_t popularity_get(const unsigned char *p, size_t bytes) {
    uint64_t x = 0;
    for (size_t i = bytes; i > 0; i--) {
        x = x << 8 | p[i - 1];
    }
    return x;
}

static uint64_t popularity_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double popularity_real(const unsigned char *p) {
    const uint64_t bits = popularity_get(p, 8);
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Magic; per kind half-life (f64) and landmark (i64); number of items with events (u64); these, by row:
 * row (u32), events (u32), per kind sum (f64); CRC-32C of all that (u32). */
int popularity_save(const struct popularity *p, struct buf *out, u2i_error_t *err) {
    const size_t start = out->len;
    uint64_t counted = 0;
    for (size_t i = 0; i < p->n; i++) {
        counted += p->items[i].events > 0;
    }
    buf_put(out, POPULARITY_MAGIC, 8);
    for (int k = 0; k < POPULARITY_KINDS; k++) {
        popularity_put(out, popularity_bits(p->half_life_s[k]), 8);
        popularity_put(out, (uint64_t)p->landmark[k], 8);
    }
    popularity_put(out, counted, 8);
    for (size_t i = 0; i < p->n; i++) {
        const struct popularity_item *it = &p->items[i];
        if (it->events > 0) {
            popularity_put(out, i, 4);
            popularity_put(out, it->events, 4);
            popularity_put(out, popularity_bits(it->sum[POPULARITY_LONG]), 8);
            popularity_put(out, popularity_bits(it->sum[POPULARITY_RECENT]), 8);
        }
    }
    if (!out->failed) {
        popularity_put(out, vec_get()->crc32c(0, out->data + start, out->len - start), 4);
    }
    return out->failed ? error_oom(err) : U2I_OK;
}

/* The number of saved items if all but the items' own bytes is right, else -1. */
static int64_t popularity_check(const struct popularity *p, const unsigned char *bytes, size_t n) {
    if (n < POPULARITY_HEAD + 4 || memcmp(bytes, POPULARITY_MAGIC, 8) != 0 ||
        vec_get()->crc32c(0, bytes, n - 4) != popularity_get(bytes + n - 4, 4)) {
        return -1;
    }
    for (int k = 0; k < POPULARITY_KINDS; k++) {
        const int64_t landmark = (int64_t)popularity_get(bytes + 16 + 16 * k, 8);
        if (popularity_real(bytes + 8 + 16 * k) != p->half_life_s[k] || landmark > LANDMARK_END ||
            landmark < -LANDMARK_END) {
            return -1;
        }
    }
    const size_t items = (n - POPULARITY_HEAD - 4) / POPULARITY_BYTES;
    const bool whole = items * POPULARITY_BYTES == n - POPULARITY_HEAD - 4;
    return whole && popularity_get(bytes + POPULARITY_HEAD - 8, 8) == items ? (int64_t)items : -1;
}

/* Reads one item at or after row `least`; false if it cannot be one. */
static bool popularity_read(const unsigned char *bytes, uint32_t least, uint32_t *row,
                            struct popularity_item *it) {
    *row = (uint32_t)popularity_get(bytes, 4);
    it->events = (uint32_t)popularity_get(bytes + 4, 4);
    bool sound = *row >= least && *row < POPULARITY_ITEM_END && it->events > 0;
    for (int k = 0; k < POPULARITY_KINDS; k++) {
        it->sum[k] = popularity_real(bytes + 8 + 8 * k);
        sound = sound && isfinite(it->sum[k]) && it->sum[k] >= 0;
    }
    return sound;
}

int popularity_load(struct popularity *p, const void *bytes, size_t n, u2i_error_t *err) {
    const unsigned char *from = bytes;
    const int64_t items = popularity_check(p, from, n);
    struct popularity fresh = *p; /* shares `most` */
    fresh.items = NULL;
    fresh.n = fresh.cap = 0;
    fresh.started = items > 0;
    int rc = items < 0 ? U2I_ECORRUPT : U2I_OK;
    for (int64_t i = 0; rc == U2I_OK && i < items; i++) {
        uint32_t row;
        struct popularity_item it = {{0, 0}, 0};
        if (!popularity_read(from + POPULARITY_HEAD + i * POPULARITY_BYTES, (uint32_t)fresh.n, &row,
                             &it)) {
            rc = U2I_ECORRUPT;
        } else {
            rc = popularity_reach(&fresh, row, err);
        }
        if (rc == U2I_OK) {
            fresh.items[row] = it;
        }
    }
    if (rc != U2I_OK) {
        mem_free(fresh.items);
        return rc == U2I_ECORRUPT ? error_set(err, rc, "saved popularity is damaged or foreign")
                                  : rc;
    }
    for (int k = 0; k < POPULARITY_KINDS; k++) {
        fresh.landmark[k] = (int64_t)popularity_get(from + 8 + 16 * k + 8, 8);
    }
    mem_free(p->items);
    *p = fresh;
    popularity_refresh(p);
    return U2I_OK;
}
