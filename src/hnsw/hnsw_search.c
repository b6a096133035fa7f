/* A question: how to go about it, the walk over codes, and exact scores of the best.
 *
 * Codes lead the way, float vectors decide: the best of the pool are scored again, some more than were
 * asked for, because a code is off by a per cent or so. */
#include "hnsw_filter.h"

#include "base/error.h"
#include <math.h>

enum {
    HNSW_SCAN_FACTOR = 16, /* a scan keeps so many times k, */
    HNSW_SCAN_MORE = 50,   /* and so many more, to be scored again */
    HNSW_RESCORE_STEP = 16,
    HNSW_AROUND_ROOM = 24, /* a walk around has room for so many nodes for each of its ef */
    HNSW_FAR_SCAN =
        512, /* passing rows for each of ef that are scanned sooner than walked across */
    HNSW_ACROSS_FACTOR = 8, /* a walk across needs so many times the ef of a plain one */
    HNSW_GROW = 4           /* ef of the next round, where too few were found */
};
#define HNSW_RESCORE_SURE 3.0 /* standard deviations */
/* What a scan and a filtered walk cost, in distances of a plain walk: one row of the scan; the way down and
 * each of ef; and how much more there is to look at where fewer pass. Measured (docs/performance.md). */
#define HNSW_SCAN_COST    0.7
#define HNSW_WALK_COST    100.0
#define HNSW_NODES_PER_EF 25.0
#define HNSW_RARE_POWER   0.75

const char *hnsw_strategy_name(enum hnsw_strategy s) {
    switch (s) {
    case HNSW_WALK:
        return "walk";
    case HNSW_WALK_FILTERED:
        return "filtered walk";
    case HNSW_SCAN:
        return "scan";
    }
    return "?";
}

static uint32_t hnsw_scan_keep(uint32_t k) {
    return k * HNSW_SCAN_FACTOR + HNSW_SCAN_MORE;
}

/* How far exact scores are from what codes say, as far as it is known. */
struct hnsw_error {
    double n, sum, squares;
};

static void hnsw_error_add(struct hnsw_error *e, double error) {
    e->n++;
    e->sum += error;
    e->squares += error * error;
}

/* What a score may have beyond its code's, in all but a few per cent of the cases. */
static double hnsw_error_margin(const struct hnsw_error *e) {
    const double mean = e->n > 0 ? e->sum / e->n : 0;
    const double variance = e->n > 0 ? e->squares / e->n - mean * mean : 0;
    return mean + HNSW_RESCORE_SURE * sqrt(variance > 0 ? variance : 0);
}

static int hnsw_damaged_row(uint32_t row, u2i_error_t *err) {
    return error_set(err, U2I_ECORRUPT,
                     "the vector of row %u in the index does not match its checksum", row);
}

/* The next passing nodes of the pool, from *at on: some to score, with what codes say of them. */
struct hnsw_rescoring {
    const float *vectors[HNSW_RESCORE_STEP];
    uint32_t rows[HNSW_RESCORE_STEP];
    float guesses[HNSW_RESCORE_STEP];
    float scores[HNSW_RESCORE_STEP];
    uint32_t n;
};

static int hnsw_rescore_next(const struct hnsw *h, const struct hnsw_scratch *s, bool filtered,
                             uint32_t *at, struct hnsw_rescoring *r, u2i_error_t *err) {
    for (r->n = 0; *at < s->pool.n && r->n < HNSW_RESCORE_STEP; ++*at) {
        const uint32_t node = hnsw_pool_node(s->pool.entries[*at]);
        if (filtered ? !hnsw_passes(h, s, node) : !hnsw_live(h, node)) {
            continue;
        }
        r->rows[r->n] = hnsw_row(h, node);
        r->guesses[r->n] = hnsw_pool_sim_of(s->pool.entries[*at]);
        r->vectors[r->n] = hnsw_node_vector(h, node);
        if (r->vectors[r->n] == NULL) {
            return hnsw_damaged_row(r->rows[r->n], err);
        }
        r->n++;
    }
    return U2I_OK;
}

static void hnsw_score_exactly(const struct hnsw *h, const struct hnsw_query *q,
                               struct hnsw_rescoring *r, struct topk *best) {
    vec_get()->dot_many(q->vector, r->vectors, r->n, h->dim, r->scores);
    for (uint32_t i = 0; i < r->n; i++) {
        topk_push(best, r->scores[i], r->rows[i]);
    }
}

/* Exact scores of the pool's best into the heap: until what is left would have to be further off its code
 * than scores turn out to be. */
static int hnsw_rescore(const struct hnsw *h, const struct hnsw_scratch *s,
                        const struct hnsw_query *q, bool filtered, struct topk *best,
                        u2i_error_t *err) {
    const double unit = h->metric == HNSW_INNER_PRODUCT ? h->norm_max : 1;
    struct hnsw_error error = {0};
    struct hnsw_rescoring r;
    for (uint32_t at = 0; at < s->pool.n;) {
        const double guess = (double)hnsw_pool_sim_of(s->pool.entries[at]) * unit;
        if (best->n == best->k && guess + hnsw_error_margin(&error) < (double)best->hits[0].score) {
            break;
        }
        U2I_TRY(hnsw_rescore_next(h, s, filtered, &at, &r, err));
        hnsw_score_exactly(h, q, &r, best);
        for (uint32_t i = 0; i < r.n; i++) {
            hnsw_error_add(&error, (double)r.scores[i] - (double)r.guesses[i] * unit);
        }
    }
    return U2I_OK;
}

/* Rows that can pass: at most, as rows that are not in the graph may be among them. */
static uint64_t hnsw_passing(const struct hnsw *h, const struct hnsw_query *q) {
    const uint64_t count = atomic_load(&h->count);
    uint64_t n = count;
    if (q->allow != NULL) {
        const uint64_t allowed = q->deny == NULL
                                     ? roaring_bitmap_get_cardinality(q->allow)
                                     : roaring_bitmap_andnot_cardinality(q->allow, q->deny);
        n = allowed < n ? allowed : n;
    }
    return n;
}

static bool hnsw_scan_is_cheaper(const struct hnsw *h, uint64_t passing, uint32_t ef) {
    const double share = (double)passing / (double)(atomic_load(&h->count) + 1);
    const double walk = HNSW_WALK_COST + HNSW_NODES_PER_EF * ef;
    return (double)passing * HNSW_SCAN_COST <= walk * pow(share, -HNSW_RARE_POWER);
}

static enum hnsw_strategy hnsw_choose(const struct hnsw *h, const struct hnsw_query *q,
                                      uint64_t passing, uint32_t ef) {
    if (q->allow != NULL && hnsw_scan_is_cheaper(h, passing, ef)) {
        return HNSW_SCAN;
    }
    const bool denies = q->deny != NULL && !roaring_bitmap_is_empty(q->deny);
    return q->allow != NULL || denies ? HNSW_WALK_FILTERED : HNSW_WALK;
}

static void hnsw_round_plain(const struct hnsw *h, struct hnsw_scratch *s, uint32_t ef) {
    const uint32_t start = hnsw_descend(h, s, 0);
    hnsw_pool_start(s, ef);
    hnsw_pool_enter(h, s, &start, 1);
    hnsw_walk(h, s, 0);
}

/* Around the nodes that don't pass, if enough do where the query is. Else the passing ones are somewhere
 * else: then the walk goes across, unless a scan of them costs no more. */
static int hnsw_round_filtered(const struct hnsw *h, struct hnsw_scratch *s,
                               const struct hnsw_query *q, struct hnsw_explain *how,
                               u2i_error_t *err) {
    if (!hnsw_filter_bits(h, s, q)) {
        return error_oom(err);
    }
    const bool dense = q->allow == NULL;
    if ((dense || hnsw_filter_near(h, s)) && hnsw_filter_walk_around(h, s, how->ef, dense)) {
        return U2I_OK;
    }
    const uint32_t keep = hnsw_scan_keep(q->k);
    if (!dense && how->passing <= (uint64_t)how->ef * HNSW_FAR_SCAN && keep < s->pool.cap) {
        how->strategy = HNSW_SCAN;
        how->ef = keep;
        return hnsw_filter_scan(h, s, q, keep, err);
    }
    hnsw_filter_walk(h, s, how->ef * HNSW_ACROSS_FACTOR, !dense);
    return U2I_OK;
}

/* One round: leaves candidates in the pool. */
static int hnsw_round(const struct hnsw *h, struct hnsw_scratch *s, const struct hnsw_query *q,
                      struct hnsw_explain *how, u2i_error_t *err) {
    switch (how->strategy) {
    case HNSW_WALK:
        hnsw_round_plain(h, s, how->ef);
        return U2I_OK;
    case HNSW_WALK_FILTERED:
        return hnsw_round_filtered(h, s, q, how, err);
    case HNSW_SCAN:
        break;
    }
    return q->allow != NULL ? hnsw_filter_scan(h, s, q, how->ef, err)
                            : hnsw_filter_scan_all(h, s, q, how->ef, err);
}

/* After a round that found too few: a larger ef, and in the end everything that passes. Returns whether
 * there is another round. */
static bool hnsw_again(const struct hnsw *h, const struct hnsw_query *q, struct hnsw_explain *how) {
    if (how->strategy == HNSW_SCAN) {
        return false;
    }
    how->rounds++;
    if ((double)how->ef * HNSW_GROW * HNSW_NODES_PER_EF < (double)h->slots) {
        how->ef *= HNSW_GROW;
    } else {
        how->strategy = HNSW_SCAN;
        how->ef = hnsw_scan_keep(q->k);
    }
    return true;
}

/* Entries that the walk's pool may need. */
static uint32_t hnsw_pool_room(const struct hnsw *h, const struct hnsw_query *q,
                               const struct hnsw_explain *how) {
    if (how->strategy != HNSW_WALK_FILTERED) {
        return how->ef;
    }
    uint64_t room = (uint64_t)how->ef * HNSW_AROUND_ROOM;
    if (q->allow == NULL) {
        room += 2 * roaring_bitmap_get_cardinality(q->deny);
    }
    const uint32_t slots = h->slots;
    const uint32_t across = how->ef * HNSW_ACROSS_FACTOR;
    room = room < slots ? room : slots;
    return room > across ? (uint32_t)room : across;
}

/* Few rows: as many as would be scored again. Codes are left out of it. */
static int hnsw_answer_exact(const struct hnsw *h, const struct hnsw_query *q, struct topk *best,
                             struct hnsw_explain *how, u2i_error_t *err) {
    struct hnsw_rescoring r = {.n = 0};
    roaring_uint32_iterator_t it;
    roaring_init_iterator(q->allow, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        const uint32_t node = hnsw_node(h, it.current_value);
        if (node == HNSW_NONE ||
            (q->deny != NULL && roaring_bitmap_contains(q->deny, it.current_value))) {
            continue;
        }
        r.rows[r.n] = it.current_value;
        r.vectors[r.n] = hnsw_node_vector(h, node);
        if (r.vectors[r.n] == NULL) {
            return hnsw_damaged_row(r.rows[r.n], err);
        }
        if (++r.n == HNSW_RESCORE_STEP) {
            hnsw_score_exactly(h, q, &r, best);
            how->distances += r.n;
            r.n = 0;
        }
    }
    hnsw_score_exactly(h, q, &r, best);
    how->distances += r.n;
    return U2I_OK;
}

static int hnsw_answer(const struct hnsw *h, const struct hnsw_query *q, struct topk *best,
                       struct hnsw_explain *how, u2i_error_t *err) {
    struct hnsw_scratch *s;
    uint64_t distances = 0;
    int rc;
    do {
        if (deadline_passed(q->deadline)) {
            return error_set(err, U2I_ETIMEOUT, "the time allowed ran out");
        }
        s = hnsw_scratch_take(h, hnsw_pool_room(h, q, how));
        if (s == NULL) {
            return error_oom(err);
        }
        hnsw_look_for(h, s, q->vector);
        best->n = 0;
        rc = hnsw_round(h, s, q, how, err);
        if (rc == U2I_OK) {
            rc = hnsw_rescore(h, s, q, how->strategy == HNSW_WALK_FILTERED, best, err);
        }
        distances += s->distances;
        hnsw_scratch_give(h, s);
    } while (rc == U2I_OK && best->n < q->k && best->n < how->passing && hnsw_again(h, q, how));
    how->distances = distances < UINT32_MAX ? (uint32_t)distances : UINT32_MAX;
    return rc;
}

int hnsw_search(const struct hnsw *h, const struct hnsw_query *q, struct hit *out, uint32_t *n,
                struct hnsw_explain *why, u2i_error_t *err) {
    *n = 0;
    const uint32_t ef = q->ef != 0 ? q->ef : hnsw_ef_for(h, q->k);
    struct hnsw_explain how = {.rounds = 1, .passing = hnsw_passing(h, q)};
    how.ef = ef > q->k ? ef : q->k;
    how.strategy = hnsw_choose(h, q, how.passing, how.ef);
    if (how.strategy == HNSW_SCAN) {
        how.ef = hnsw_scan_keep(q->k);
    }
    int rc = U2I_OK;
    if (how.passing > 0 && q->k > 0) {
        struct topk best;
        topk_init(&best, out, q->k, q->tie, q->tie_ctx);
        const bool few = how.strategy == HNSW_SCAN && how.passing <= how.ef;
        rc = few ? hnsw_answer_exact(h, q, &best, &how, err) : hnsw_answer(h, q, &best, &how, err);
        *n = rc == U2I_OK ? topk_sort(&best) : 0;
    }
    if (why != NULL) {
        *why = how;
    }
    return rc;
}
