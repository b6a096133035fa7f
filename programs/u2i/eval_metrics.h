/* What answers are worth, as numbers. Pure: no files, no store. Formulas are in docs/eval.md; the six
 * metrics are those of bench/quality/evaluate.py, to the last digits. */
#ifndef CLI_EVAL_METRICS_H
#define CLI_EVAL_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVAL_DEPTH    100 /* ranks looked at */
#define EVAL_COVERAGE 20  /* ranks that count as shown */
#define EVAL_TOP      10  /* ranks that novelty and diversity look at */

enum eval_metric {
    EVAL_NDCG10 = 0,
    EVAL_NDCG100,
    EVAL_RECALL20,
    EVAL_RECALL20_RAW,
    EVAL_HR10,
    EVAL_MRR,
    EVAL_METRICS
};
extern const char
    *const eval_metric_names[EVAL_METRICS]; /* "ndcg10", ... as evaluate.py has them */

struct eval_scores { /* of one user */
    double metric[EVAL_METRICS];
    double novelty, diversity; /* NaN where the list is too short to tell */
};

/* `items`: n <= EVAL_DEPTH different ones, best first. `truth`: ascending, truth_n > 0. */
void eval_score(const uint32_t *items, size_t n, const uint32_t *truth, size_t truth_n,
                double metric[EVAL_METRICS]);
/* Mean of -log2(share of the training's users who acted on the item) over the first EVAL_TOP; an item
 * that nobody acted on counts as one user's. acted has acted_n items. */
double eval_novelty(const uint32_t *items, size_t n, const uint32_t *acted, uint32_t acted_n,
                    uint32_t users);

struct eval_kinds {   /* of items: the words of the category (of the title where there are none) */
    uint32_t *starts; /* n + 1 */
    uint32_t *words;  /* ascending within an item */
    uint32_t n;
};
/* 1 - mean cosine of the items' sets of words, over all pairs of the first EVAL_TOP. */
double eval_diversity(const uint32_t *items, size_t n, const struct eval_kinds *kinds);

struct eval_faults { /* counted as evaluate.py does */
    size_t unanswered, unknown_users, duplicates, not_cold, too_long, from_history;
};

struct eval_summary {
    double mean[EVAL_METRICS], se[EVAL_METRICS]; /* se: standard error */
    size_t users;
    double coverage, novelty, diversity;                   /* NaN: not known */
    double latency_ms_p50, latency_ms_p95, latency_ms_p99; /* NaN: not measured */
};
void eval_summarise(const struct eval_scores *const *scores, size_t n, struct eval_summary *out);
/* Sorts values; q of 0..1 with linear interpolation, as numpy's percentile. NaN of none. */
double eval_quantile(double *values, size_t n, double q);

struct eval_interval {
    double difference, low, high; /* mean of a - b, and where 95 % of resampled means lie */
};
/* Paired bootstrap over users: draws n of the differences with replacement, `samples` times. False:
 * out of memory. */
bool eval_bootstrap(const double *differences, size_t n, size_t samples, uint64_t seed,
                    struct eval_interval *out);

/* SplitMix64: the same numbers on every machine. */
uint64_t eval_random(uint64_t *state);
uint64_t eval_random_below(uint64_t *state, uint64_t n);

#endif
