/* Scores: sums, what a rule's factor adds to them, how likely they make it that the user acts, and draws
 * for exploration. */
#include "rank/rank.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

#include <assert.h>
#include <math.h>

static double rank_clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

float rank_probability(const struct rank_scale *scale, float score) {
    switch (scale->unit) {
    case RANK_LOGIT:
        return (float)(1 / (1 + exp(-(scale->intercept + scale->slope * (double)score))));
    case RANK_COSINE:
        return (float)rank_clamp((1 + (double)score) / 2, 0, 1);
    case RANK_SHARE:
        return (float)rank_clamp((double)score, 0, 1);
    }
    return 0;
}

float rank_score_of(const struct rank_scale *scale, double probability) {
    const double p = rank_clamp(probability, 1e-9, 1 - 1e-9);
    switch (scale->unit) {
    case RANK_LOGIT:
        assert(scale->slope > 0);
        return (float)((log(p / (1 - p)) - scale->intercept) / scale->slope);
    case RANK_COSINE:
        return (float)(2 * p - 1);
    case RANK_SHARE:
        return (float)p;
    }
    return 0;
}

float rank_boost_term(const struct rank_scale *scale, float score, double factor) {
    const double f = rank_clamp(factor, 1 / RANK_FACTOR_MAX, RANK_FACTOR_MAX);
    if (scale->unit == RANK_LOGIT) {
        assert(scale->slope > 0);
        return (float)(log(f) / scale->slope);
    }
    return (float)((double)score * (score >= 0 ? f - 1 : 1 / f - 1));
}

void rank_sum(struct rank_candidate *c) {
    c->sum = 0;
    for (uint32_t i = 0; i < RANK_PARTS_MAX; i++) {
        c->sum += (double)c->part[i];
    }
    for (const struct rank_term *t = c->first; t != NULL; t = t->next) {
        c->sum += (double)t->value;
    }
    c->score = (float)c->sum;
}

int rank_add(struct rank_candidate *c, uint32_t rule, float value, struct arena *a) {
    if (value == 0) {
        return U2I_OK;
    }
    struct rank_term *const t = arena_alloc(a, sizeof(*t));
    if (t == NULL) {
        return U2I_ENOMEM;
    }
    *t = (struct rank_term){.rule = rule, .value = value};
    if (c->last == NULL) {
        c->first = t;
    } else {
        c->last->next = t;
    }
    c->last = t;
    c->sum += (double)value;
    c->score = (float)c->sum;
    return U2I_OK;
}

int rank_boost(struct rank_candidate *c, const struct rank_scale *scale, uint32_t rule,
               double factor, struct arena *a) {
    return rank_add(c, rule, rank_boost_term(scale, c->score, factor), a);
}

/* ---- Draws ------------------------------------------------------------------------------------ */

/* Gamma(shape, 1), shape >= 1 (Marsaglia & Tsang 2000): a squeezed normal, accepted 19 times of 20. */
static double rank_gamma(struct rng *r, double shape) {
    const double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = rng_normal(r);
        const double v = 1 + c * x;
        if (v <= 0) {
            continue;
        }
        const double cube = v * v * v;
        if (log(1 - rng_unit(r)) < x * x / 2 + d - d * cube + d * log(cube)) {
            return d * cube;
        }
    }
}

float rank_draw(uint64_t seed, uint64_t name, uint64_t liked, uint64_t shown) {
    struct rng r;
    rng_seed(&r, hash_mix(seed) ^ name);
    const double good = rank_gamma(&r, 1 + (double)liked);
    const double bad = rank_gamma(&r, 1 + (shown > liked ? (double)(shown - liked) : 0));
    return (float)rank_clamp(good / (good + bad), 1e-7, 1 - 1e-7);
}
