/* Searching among some of the rows: who passes, as plain bits; the walk over them; the scan of them.
 *
 * The walk computes distances to passing nodes only. Where a node passes, it is a candidate; where it
 * does not, the walk looks across it at the nodes that it links to (two hops: Patel et al., "ACORN:
 * Performant and predicate-agnostic search over vector embeddings and structured data", SIGMOD 2024), so
 * the passing nodes stay connected where every second one is missing, and also where all the nearest
 * ones are. A node is looked across once. Removed nodes are looked across too.
 *
 * Where passing rows lie apart from the query (a filter that goes with the vectors), the way from the
 * entry leads to the wrong place: so some passing rows picked at random are starting points as well. */
#include "hnsw_filter.h"

#include "base/error.h"
#include <roaring/containers/containers.h>

enum {
    HNSW_AROUND_DENSE = 2, /* a dense one keeps one more for so many that don't pass */
    HNSW_AROUND_SHARE = 3, /* a walk around looks at the links of one in so many that don't pass */
    HNSW_AROUND_RARE = 32, /* one node in so many passing is too few for it */
    HNSW_SEEDS = 24,       /* passing rows that a walk starts from besides the nearest node found */
    HNSW_SEED_TRIES = 96,  /* words of bits looked at for them */
    HNSW_SCAN_TICK = 4096  /* rows between two looks at the clock */
};

/* ---- Bits ----------------------------------------------------------------------------------- */

/* Sets or clears bits first .. first + n - 1. */
static void hnsw_bits_range(uint64_t *bits, size_t first, size_t n, bool on) {
    for (size_t i = first; i < first + n;) {
        const size_t in_word = i % 64;
        const size_t take = first + n - i < 64 - in_word ? first + n - i : 64 - in_word;
        const uint64_t mask = (take == 64 ? UINT64_MAX : ((uint64_t)1 << take) - 1) << in_word;
        bits[i / 64] = on ? bits[i / 64] | mask : bits[i / 64] & ~mask;
        i += take;
    }
}

static void hnsw_bits_one(uint64_t *bits, size_t i, bool on) {
    const uint64_t mask = (uint64_t)1 << (i % 64);
    bits[i / 64] = on ? bits[i / 64] | mask : bits[i / 64] & ~mask;
}

/* One container of a bitmap (65,536 rows from `first` on). Dense ones are plain bits already, and taken
 * over as words: row by row would cost more than the walk. `n` rows at most are wanted. */
static void hnsw_bits_container(uint64_t *bits, size_t n, const void *container, uint8_t type,
                                bool on) {
    container = container_unwrap_shared(container, &type);
    if (type == BITSET_CONTAINER_TYPE_CODE) {
        const bitset_container_t *const c = container;
        for (size_t w = 0; w < (n + 63) / 64; w++) {
            bits[w] = on ? bits[w] | c->array[w] : bits[w] & ~c->array[w];
        }
    } else if (type == ARRAY_CONTAINER_TYPE_CODE) {
        const array_container_t *const c = container;
        for (int32_t i = 0; i < c->cardinality && c->array[i] < n; i++) {
            hnsw_bits_one(bits, c->array[i], on);
        }
    } else {
        const run_container_t *const c = container;
        for (int32_t i = 0; i < c->n_runs && c->runs[i].value < n; i++) {
            const size_t length = (size_t)c->runs[i].length + 1;
            const size_t room = n - c->runs[i].value;
            hnsw_bits_range(bits, c->runs[i].value, length < room ? length : room, on);
        }
    }
}

static void hnsw_bits_write(uint64_t *bits, size_t n, const roaring_bitmap_t *rows, bool on) {
    const roaring_array_t *const a = &rows->high_low_container;
    for (int32_t i = 0; i < a->size; i++) {
        const size_t first = (size_t)a->keys[i] << 16;
        if (first >= n) {
            break;
        }
        const size_t left = n - first;
        hnsw_bits_container(bits + first / 64, left < 65536 ? left : 65536, a->containers[i],
                            a->typecodes[i], on);
    }
}

static bool hnsw_bits_fit(uint64_t **bits, size_t *have, size_t words) {
    if (words <= *have) {
        return true;
    }
    uint64_t *const more = realloc_array(*bits, words + words / 8, sizeof **bits);
    if (more == NULL) {
        return false;
    }
    *bits = more;
    *have = words + words / 8;
    return true;
}

bool hnsw_filter_bits(const struct hnsw *h, struct hnsw_scratch *s, const struct hnsw_query *q) {
    const size_t rows = atomic_load(&h->rows_end);
    const size_t words = rows / 65536 * 1024 + 1024; /* whole containers */
    const size_t slot_words = ((size_t)s->slots + 63) / 64;
    if (!hnsw_bits_fit(&s->pass, &s->pass_words, words) ||
        !hnsw_bits_fit(&s->blocked, &s->blocked_words, slot_words)) {
        return false;
    }
    s->pass_used = words;
    memset(s->pass, q->allow == NULL ? 0xFF : 0, words * sizeof *s->pass);
    memset(s->blocked, 0, slot_words * sizeof *s->blocked);
    if (q->allow != NULL) {
        hnsw_bits_write(s->pass, words * 64, q->allow, true);
    }
    if (q->deny != NULL) {
        hnsw_bits_write(s->pass, words * 64, q->deny, false);
    }
    return true;
}

/* ---- The walk ------------------------------------------------------------------------------- */

/* What one step of the walk collects: s->ids[0..n) to compare, and nodes to look across. */
struct hnsw_step {
    uint32_t n;
    uint32_t across_n;
    uint32_t across[HNSW_GATHER];
};

/* Sorts the links of one node: unvisited ones that pass are candidates; those that don't are marked
 * `blocked`, and looked across if `across` asks for it. */
static void hnsw_step_links(const struct hnsw *h, struct hnsw_scratch *s, uint32_t node,
                            struct hnsw_step *step, bool across) {
    const uint32_t *const links = hnsw_links(h, node, 0);
    const uint32_t max = 2 * h->links_max;
    for (uint32_t i = 0; i < max && links[i] != HNSW_NONE && step->n < HNSW_GATHER; i++) {
        const uint32_t to = links[i];
        const uint64_t mark = (uint64_t)1 << (to % 64);
        if ((s->visited[to / 64] & mark) == 0) {
            s->visited[to / 64] |= mark;
            if (hnsw_passes(h, s, to)) {
                s->ids[step->n++] = to;
                continue;
            }
            s->blocked[to / 64] |= mark;
        }
        if (across && (s->blocked[to / 64] & mark) != 0) {
            s->blocked[to / 64] &= ~mark; /* once */
            step->across[step->across_n++] = to;
            hnsw_ask_links(h, to);
        }
    }
}

/* One step: the node's links, and across those that don't pass until there are enough candidates. */
static uint32_t hnsw_step_from(const struct hnsw *h, struct hnsw_scratch *s, uint32_t node) {
    struct hnsw_step step = {.n = 0};
    const uint32_t enough = h->links_max;
    hnsw_step_links(h, s, node, &step, true);
    const uint32_t across_n = step.across_n;
    for (uint32_t i = 0; i < across_n; i++) {
        if (step.n < enough) {
            hnsw_step_links(h, s, step.across[i], &step, false);
        } else { /* not needed from here: some other node may look across it */
            s->blocked[step.across[i] / 64] |= (uint64_t)1 << (step.across[i] % 64);
        }
    }
    return step.n;
}

/* Passing nodes picked at random. */
static uint32_t hnsw_filter_seeds(const struct hnsw *h, struct hnsw_scratch *s, uint32_t *seeds) {
    uint64_t state = 0x9E3779B97F4A7C15u ^ s->pass_used;
    uint32_t n = 0;
    for (uint32_t i = 0; i < HNSW_SEED_TRIES && n < HNSW_SEEDS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const size_t word = (size_t)((state >> 32) * s->pass_used >> 32);
        if (s->pass[word] != 0) {
            const uint32_t row = (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(s->pass[word]);
            const uint32_t node = hnsw_node(h, row);
            seeds[n] = node;
            n += node != HNSW_NONE;
        }
    }
    return n;
}

void hnsw_filter_walk(const struct hnsw *h, struct hnsw_scratch *s, uint32_t ef, bool seeded) {
    struct hnsw_pool *const p = &s->pool;
    uint32_t start[HNSW_SEEDS + 1];
    const uint32_t entry = hnsw_descend(h, s, 0);
    hnsw_pool_start(s, ef);
    uint32_t n = seeded ? hnsw_filter_seeds(h, s, start) : 0;
    if (hnsw_passes(h, s, entry)) {
        start[n++] = entry;
    }
    hnsw_pool_enter(h, s, start, n);
    if (!hnsw_passes(h, s, entry)) {
        s->visited[entry / 64] |= (uint64_t)1 << (entry % 64);
        n = hnsw_step_from(h, s, entry);
        hnsw_sims(h, s, n);
        hnsw_pool_add(h, s, n);
    }
    while (p->next < p->n) {
        uint64_t *const at = &p->entries[p->next++];
        if ((*at & HNSW_POOL_DONE) != 0) {
            continue;
        }
        const uint32_t node = hnsw_pool_node(*at);
        *at |= HNSW_POOL_DONE;
        n = hnsw_step_from(h, s, node);
        hnsw_sims(h, s, n);
        hnsw_pool_add(h, s, n);
    }
}

/* ---- The walk around ------------------------------------------------------------------------ */

/* A walk whose pool ends with its `wanted`-th passing node: those that don't pass lead on and take nobody's
 * place. */
struct hnsw_around {
    uint32_t passing, others; /* in the pool */
    uint32_t ef;
    bool dense; /* the nearest ones were taken out: what is left lies close together */
};

/* Where many of the nearest don't pass, the next ones are as far as each other but for less than codes can
 * tell: more of them have to be scored again. */
static uint32_t hnsw_around_wanted(const struct hnsw_around *a) {
    return a->ef + (a->dense ? a->others / HNSW_AROUND_DENSE : 0);
}

static void hnsw_around_drop_last(const struct hnsw *h, struct hnsw_scratch *s,
                                  struct hnsw_around *a) {
    const uint32_t node = hnsw_pool_node(s->pool.entries[--s->pool.n]);
    s->pool.next = s->pool.next < s->pool.n ? s->pool.next : s->pool.n;
    if (hnsw_passes(h, s, node)) {
        a->passing--;
    } else {
        a->others--;
    }
}

static void hnsw_around_add(const struct hnsw *h, struct hnsw_scratch *s, struct hnsw_around *a,
                            uint32_t n) {
    struct hnsw_pool *const p = &s->pool;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t entry = hnsw_pool_entry(s->sims[i], s->ids[i]);
        const bool full = a->passing >= hnsw_around_wanted(a) || p->n == p->max;
        if (full && entry >> 32 >= p->entries[p->n - 1] >> 32) { /* as good is not enough */
            continue;
        }
        if (p->n == p->max) {
            hnsw_around_drop_last(h, s, a);
        }
        (void)hnsw_pool_put(p, entry);
        const bool passes = hnsw_passes(h, s, s->ids[i]);
        a->passing += passes;
        a->others += !passes;
        while (a->passing > hnsw_around_wanted(a)) {
            hnsw_around_drop_last(h, s, a);
        }
        hnsw_ask_links(h, s->ids[i]);
    }
}

bool hnsw_filter_walk_around(const struct hnsw *h, struct hnsw_scratch *s, uint32_t ef,
                             bool dense) {
    struct hnsw_around a = {.ef = ef, .dense = dense};
    s->ids[0] = hnsw_descend(h, s, 0);
    hnsw_pool_start(s, s->pool.cap - 1);
    s->visited[s->ids[0] / 64] |= (uint64_t)1 << (s->ids[0] % 64);
    hnsw_sims(h, s, 1);
    hnsw_around_add(h, s, &a, 1);
    uint32_t steps = 0;
    for (uint32_t n = hnsw_step(h, s, 0); n != HNSW_NONE;) {
        memcpy(s->ids, s->ahead, n * sizeof *s->ids);
        /* Not all that don't pass have to be looked at: the others are linked to by several of them. */
        const bool on = a.dense || steps++ < ef + a.others / HNSW_AROUND_SHARE;
        const uint32_t next = on ? hnsw_step(h, s, 0) : HNSW_NONE;
        hnsw_sims(h, s, n);
        hnsw_around_add(h, s, &a, n);
        n = next != HNSW_NONE || !on ? next : hnsw_step(h, s, 0);
    }
    return a.passing >= ef;
}

/* Whether enough of the nodes where the query is pass for a walk around the others. */
bool hnsw_filter_near(const struct hnsw *h, struct hnsw_scratch *s) {
    const uint32_t *const links = hnsw_links(h, hnsw_descend(h, s, 0), 0);
    uint32_t n = 0, passing = 0;
    for (; n < 2 * h->links_max && links[n] != HNSW_NONE; n++) {
        passing += hnsw_passes(h, s, links[n]);
    }
    return passing * HNSW_AROUND_RARE > n;
}

/* ---- The scan ------------------------------------------------------------------------------- */

/* Compares the nodes collected in s->ids. */
static void hnsw_scan_flush(const struct hnsw *h, struct hnsw_scratch *s, uint32_t *n) {
    hnsw_sims(h, s, *n);
    for (uint32_t i = 0; i < *n; i++) {
        const uint64_t entry = hnsw_pool_entry(s->sims[i], s->ids[i]);
        if (hnsw_pool_takes(&s->pool, entry)) {
            (void)hnsw_pool_put(&s->pool, entry);
        }
    }
    *n = 0;
}

int hnsw_filter_scan(const struct hnsw *h, struct hnsw_scratch *s, const struct hnsw_query *q,
                     uint32_t keep, u2i_error_t *err) {
    roaring_uint32_iterator_t it;
    uint32_t rows[HNSW_GATHER];
    uint32_t n = 0, since = 0;
    hnsw_pool_start(s, keep);
    roaring_init_iterator(q->allow, &it);
    for (uint32_t got; (got = roaring_read_uint32_iterator(&it, rows, HNSW_GATHER)) > 0;) {
        for (uint32_t i = 0; i < got; i++) {
            const uint32_t node = hnsw_node(h, rows[i]);
            s->ids[n] = node;
            n += node != HNSW_NONE &&
                 (q->deny == NULL || !roaring_bitmap_contains(q->deny, rows[i]));
            if (n == HNSW_GATHER) {
                hnsw_scan_flush(h, s, &n);
            }
        }
        since += got;
        if (since >= HNSW_SCAN_TICK) {
            since = 0;
            if (deadline_passed(q->deadline)) {
                return error_set(err, U2I_ETIMEOUT, "the time allowed ran out");
            }
        }
    }
    hnsw_scan_flush(h, s, &n);
    return U2I_OK;
}

int hnsw_filter_scan_all(const struct hnsw *h, struct hnsw_scratch *s, const struct hnsw_query *q,
                         uint32_t keep, u2i_error_t *err) {
    uint32_t n = 0;
    hnsw_pool_start(s, keep);
    for (uint32_t node = 0; node < h->slots; node++) {
        const uint32_t row = hnsw_live(h, node) ? hnsw_row(h, node) : HNSW_NONE;
        s->ids[n] = node;
        n += row != HNSW_NONE && (q->deny == NULL || !roaring_bitmap_contains(q->deny, row));
        if (n == HNSW_GATHER) {
            hnsw_scan_flush(h, s, &n);
        }
        if (node % HNSW_SCAN_TICK == HNSW_SCAN_TICK - 1 && deadline_passed(q->deadline)) {
            return error_set(err, U2I_ETIMEOUT, "the time allowed ran out");
        }
    }
    hnsw_scan_flush(h, s, &n);
    return U2I_OK;
}
