/* Random candidates under any combination of caps, pins, shares, boosts and diversity. What must hold of
 * every list: caps, no candidate twice, scores that are the sum of what is shown, the same list again, and an
 * early end only where nobody left may stand. The list itself is checked against a slow oracle, which for
 * each place compares everything with everything.
 *
 * U2I_SEED=n repeats a run; it is printed when something differs. */
#include "base/alloc.h"
#include "base/rng.h"
#include "rank/rank.h"
#include "vec/vec.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#define MOST   120u
#define DIM    6u
#define ROUNDS 4000u

struct world {
    struct rng rng;
    struct arena arena;
    struct rank_candidate c[MOST];
    float vectors[MOST][DIM];
    struct rank_cap caps[RANK_CAPS_MAX];
    struct rank_lane lanes[RANK_LANES_MAX];
    struct rank_scale scale;
    struct rank_query q;
    uint32_t order[MOST], n;
};

static bool chance(struct world *w, uint32_t percent) {
    return rng_below(&w->rng, 100) < percent;
}

static void make_candidate(struct world *w, uint32_t i, uint32_t keys) {
    struct rank_candidate *const c = &w->c[i];
    *c = (struct rank_candidate){.row = MOST - i};
    for (uint32_t p = 0; p < RANK_PARTS_MAX; p++) {
        c->part[p] = chance(w, 40) ? (float)rng_normal(&w->rng) : 0;
    }
    if (chance(w, 20)) { /* equal scores */
        c->part[0] = (float)rng_below(&w->rng, 3);
        memset(c->part + 1, 0, sizeof(c->part) - sizeof(c->part[0]));
    }
    rank_sum(c);
    for (uint32_t b = rng_below(&w->rng, 4); b > 0; b--) {
        const double factor = 0.1 + 3 * rng_unit(&w->rng);
        assert_int_equal(rank_boost(c, &w->scale, b, factor, &w->arena), U2I_OK);
    }
    for (uint32_t d = 0; d < DIM; d++) {
        w->vectors[i][d] = (float)rng_normal(&w->rng);
    }
    c->vector = chance(w, 90) ? w->vectors[i] : NULL;
    for (uint32_t k = 0; k < w->q.caps_n; k++) {
        c->key[k] = rng_below(&w->rng, keys);
    }
    c->lanes = (uint32_t)rng_u64(&w->rng) & (uint32_t)rng_u64(&w->rng) & 0xF;
    c->draw = (float)rng_unit(&w->rng);
    c->tier = chance(w, 15);
    c->pin = chance(w, 5) ? 1 + rng_below(&w->rng, 20) : 0;
}

static void make_world(struct world *w) {
    w->arena = (struct arena){0};
    w->scale = (struct rank_scale){(enum rank_unit)rng_below(&w->rng, 3), 0.3, 0.8};
    w->q = (struct rank_query){.candidates = w->c,
                               .n = rng_below(&w->rng, MOST + 1),
                               .k = rng_below(&w->rng, 40),
                               .diversity = chance(w, 40)   ? 0
                                            : chance(w, 10) ? 1
                                                            : rng_unit(&w->rng),
                               .dim = DIM,
                               .caps = w->caps,
                               .caps_n = rng_below(&w->rng, 4),
                               .lanes = w->lanes,
                               .lanes_n = chance(w, 50) ? rng_below(&w->rng, 4) : 0,
                               .seed = rng_u64(&w->rng)};
    for (uint32_t i = 0; i < w->q.caps_n; i++) {
        w->caps[i] = (struct rank_cap){1 + rng_below(&w->rng, 3), rng_below(&w->rng, 12)};
    }
    for (uint32_t i = 0; i < w->q.lanes_n; i++) {
        w->lanes[i] =
            (struct rank_lane){rng_unit(&w->rng) / 2, chance(w, 50) ? RANK_BY_SCORE : RANK_BY_DRAW};
    }
    const uint32_t keys = 1 + rng_below(&w->rng, 30);
    for (uint32_t i = 0; i < w->q.n; i++) {
        make_candidate(w, i, keys);
    }
    if (chance(w, 50)) {
        for (uint32_t i = 0; i < w->q.n; i++) {
            w->c[i].pin = 0;
        }
    }
}

static void rank(const struct world *w, uint32_t *order, uint32_t *n) {
    struct arena scratch = {0};
    assert_int_equal(rank_order(&w->q, &scratch, order, n, NULL), U2I_OK);
    arena_free(&scratch);
}

/* ---- What must hold --------------------------------------------------------------------------- */

/* Do the caps hold among order[0..n)? */
static bool caps_hold(const struct world *w, const uint32_t *order, uint32_t n) {
    for (uint32_t cap = 0; cap < w->q.caps_n; cap++) {
        const uint32_t window = w->caps[cap].window == 0 ? n : w->caps[cap].window;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t count = 0;
            for (uint32_t j = i; j < n && j < i + window; j++) {
                const uint64_t key = w->c[order[j]].key[cap];
                count += key != 0 && key == w->c[order[i]].key[cap];
            }
            if (count > w->caps[cap].most) {
                return false;
            }
        }
    }
    return true;
}

static void check_rows(const struct world *w) {
    bool seen[MOST] = {false};
    for (uint32_t i = 0; i < w->n; i++) {
        assert_in_range(w->order[i], 0, w->q.n - 1);
        assert_false(seen[w->order[i]]);
        seen[w->order[i]] = true;
    }
}

static void check_scores(const struct world *w) {
    for (uint32_t i = 0; i < w->q.n; i++) {
        const struct rank_candidate *const c = &w->c[i];
        double sum = 0;
        for (uint32_t p = 0; p < RANK_PARTS_MAX; p++) {
            sum += (double)c->part[p];
        }
        for (const struct rank_term *t = c->first; t != NULL; t = t->next) {
            sum += (double)t->value;
        }
        assert_true((float)sum == c->score);
        const float probability = rank_probability(&w->scale, c->score);
        assert_true(probability >= 0 && probability <= 1);
    }
}

static bool in_list(const struct world *w, uint32_t index, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (w->order[i] == index) {
            return true;
        }
    }
    return false;
}

/* May the candidate follow the first n of the list? */
static bool may_follow(struct world *w, uint32_t index, uint32_t n) {
    uint32_t order[MOST + 1];
    memcpy(order, w->order, n * sizeof(*order));
    order[n] = index;
    return !in_list(w, index, n) && caps_hold(w, order, n + 1);
}

static void check_length(struct world *w) {
    assert_true(w->n <= w->q.k);
    if (w->n < w->q.k) {
        for (uint32_t i = 0; i < w->q.n; i++) {
            assert_false(may_follow(w, i, w->n));
        }
    }
}

static void check_again(const struct world *w) {
    uint32_t order[MOST], n;
    rank(w, order, &n);
    assert_int_equal(n, w->n);
    assert_memory_equal(order, w->order, n * sizeof(*order));
}

/* ---- The oracle: lists without pins and shares ------------------------------------------------- */

static double oracle_relevance(const struct world *w, uint32_t index) {
    double low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < w->q.n; i++) {
        if (w->c[i].tier == w->c[index].tier) {
            low = fmin(low, (double)w->c[i].score);
            high = fmax(high, (double)w->c[i].score);
        }
    }
    return high > low ? ((double)w->c[index].score - low) / (high - low) : 1;
}

static double oracle_worth(const struct world *w, uint32_t index, uint32_t n) {
    double like = 0;
    const float *const v = w->c[index].vector;
    for (uint32_t i = 0; i < n && v != NULL; i++) {
        const float *const u = w->c[w->order[i]].vector;
        if (u != NULL) {
            like = fmax(like, (double)vec_dot(u, v, DIM) /
                                  sqrt((double)vec_dot(u, u, DIM) * (double)vec_dot(v, v, DIM)));
        }
    }
    return (1 - w->q.diversity) * oracle_relevance(w, index) - w->q.diversity * like;
}

/* Each place has a candidate that nobody else beats by more than rounding. */
static void check_oracle(struct world *w) {
    for (uint32_t place = 0; place < w->n; place++) {
        const uint32_t got = w->order[place];
        const double worth = oracle_worth(w, got, place);
        for (uint32_t i = 0; i < w->q.n; i++) {
            if (i == got || !may_follow(w, i, place)) {
                continue;
            }
            assert_true(w->c[i].tier >= w->c[got].tier);
            if (w->c[i].tier == w->c[got].tier) {
                assert_true(oracle_worth(w, i, place) <= worth + 1e-5);
            }
        }
        if (w->q.diversity == 0 && place > 0) {
            const struct rank_candidate *const a = &w->c[w->order[place - 1]], *const b =
                                                                                   &w->c[got];
            assert_true(w->q.caps_n > 0 || a->tier < b->tier || a->score > b->score ||
                        (a->score == b->score && a->row < b->row));
        }
    }
}

/* Without caps and pins: every stretch from the start has the share it is owed, as far as there are any. */
static void check_shares(const struct world *w) {
    uint32_t members = 0, placed = 0;
    for (uint32_t i = 0; i < w->q.n; i++) {
        members += w->c[i].lanes & 1;
    }
    for (uint32_t i = 0; i < w->n; i++) {
        placed += w->c[w->order[i]].lanes & 1;
        const double owed = floor((i + 1) * w->lanes[0].share);
        assert_true(placed >= fmin(owed, members)); /* the first lane goes first */
    }
}

/* Pins for different places stand where they belong, if no cap speaks against it. */
static void check_pins(const struct world *w) {
    for (uint32_t place = 1; place <= w->n; place++) {
        uint32_t wanted = 0;
        for (uint32_t i = 0; i < w->q.n; i++) {
            wanted += w->c[i].pin == place;
        }
        if (wanted > 0 && w->q.n >= w->q.k) {
            assert_int_equal(w->c[w->order[place - 1]].pin, place);
        }
    }
}

static bool has_pins(const struct world *w) {
    for (uint32_t i = 0; i < w->q.n; i++) {
        if (w->c[i].pin != 0) {
            return true;
        }
    }
    return false;
}

static void caps_scores_and_order_hold_in_any_combination(void **state) {
    (void)state;
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    static struct world w;
    rng_seed(&w.rng, seed);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        make_world(&w);
        rank(&w, w.order, &w.n);
        check_rows(&w);
        assert_true(caps_hold(&w, w.order, w.n));
        check_scores(&w);
        check_length(&w);
        check_again(&w);
        if (!has_pins(&w) && w.q.lanes_n == 0) {
            check_oracle(&w);
        }
        if (!has_pins(&w) && w.q.lanes_n > 0 && w.q.caps_n == 0) {
            check_shares(&w);
        }
        if (w.q.caps_n == 0) {
            check_pins(&w);
        }
        arena_free(&w.arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caps_scores_and_order_hold_in_any_combination),
    };
    return cmocka_run_group_tests_name("rank, random", tests, NULL, NULL);
}
