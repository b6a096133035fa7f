/* See eval_metrics.h. */
#include "eval_metrics.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const eval_metric_names[EVAL_METRICS] = {"ndcg10",      "ndcg100", "recall20",
                                                     "recall20raw", "hr10",    "mrr"};

/* ---- One user --------------------------------------------------------------------------------- */

static int eval_compare_u32(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static size_t eval_min(size_t a, size_t b) {
    return a < b ? a : b;
}

/* DCG of n hits at the top. */
static double eval_ideal(size_t n) {
    double sum = 0;
    for (size_t r = 1; r <= n; r++) {
        sum += 1 / log2((double)r + 1);
    }
    return sum;
}

void eval_score(const uint32_t *items, size_t n, const uint32_t *truth, size_t truth_n,
                double metric[EVAL_METRICS]) {
    double dcg10 = 0, dcg100 = 0;
    size_t hits20 = 0, first = 0;
    assert(n <= EVAL_DEPTH && truth_n > 0);
    for (size_t r = 1; r <= n; r++) {
        if (bsearch(&items[r - 1], truth, truth_n, sizeof *truth, eval_compare_u32) == NULL) {
            continue;
        }
        const double worth = 1 / log2((double)r + 1);
        dcg10 += r <= 10 ? worth : 0;
        dcg100 += worth;
        hits20 += r <= 20;
        first = first == 0 ? r : first;
    }
    metric[EVAL_NDCG10] = dcg10 / eval_ideal(eval_min(10, truth_n));
    metric[EVAL_NDCG100] = dcg100 / eval_ideal(eval_min(EVAL_DEPTH, truth_n));
    metric[EVAL_RECALL20] = (double)hits20 / (double)eval_min(20, truth_n);
    metric[EVAL_RECALL20_RAW] = (double)hits20 / (double)truth_n;
    metric[EVAL_HR10] = first > 0 && first <= 10;
    metric[EVAL_MRR] = first > 0 ? 1 / (double)first : 0;
}

double eval_novelty(const uint32_t *items, size_t n, const uint32_t *acted, uint32_t acted_n,
                    uint32_t users) {
    double sum = 0;
    n = eval_min(n, EVAL_TOP);
    if (n == 0 || users == 0) {
        return NAN;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t by = items[i] < acted_n ? acted[items[i]] : 0;
        sum -= log2((by > 0 ? (double)by : 1) / (double)users);
    }
    return sum / (double)n;
}

static double eval_cosine(const struct eval_kinds *k, uint32_t a, uint32_t b) {
    if (a >= k->n || b >= k->n) {
        return 0;
    }
    const uint32_t *x = k->words + k->starts[a], *const x_end = k->words + k->starts[a + 1];
    const uint32_t *y = k->words + k->starts[b], *const y_end = k->words + k->starts[b + 1];
    const double size = sqrt((double)(x_end - x) * (double)(y_end - y));
    size_t both = 0;
    while (x < x_end && y < y_end) {
        both += *x == *y;
        const bool step_x = *x <= *y, step_y = *y <= *x;
        x += step_x;
        y += step_y;
    }
    return size > 0 ? (double)both / size : 0;
}

double eval_diversity(const uint32_t *items, size_t n, const struct eval_kinds *kinds) {
    double sum = 0;
    size_t pairs = 0;
    n = eval_min(n, EVAL_TOP);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            sum += eval_cosine(kinds, items[i], items[j]);
            pairs++;
        }
    }
    return pairs == 0 || kinds->n == 0 ? NAN : 1 - sum / (double)pairs;
}

/* ---- Many users ------------------------------------------------------------------------------- */

/* The mean of those that are told; NaN of none. */
static double eval_mean_told(double sum, size_t n) {
    return n > 0 ? sum / (double)n : NAN;
}

void eval_summarise(const struct eval_scores *const *scores, size_t n, struct eval_summary *out) {
    double novelty = 0, diversity = 0;
    size_t novelty_n = 0, diversity_n = 0;
    *out = (struct eval_summary){.users = n,
                                 .coverage = NAN,
                                 .latency_ms_p50 = NAN,
                                 .latency_ms_p95 = NAN,
                                 .latency_ms_p99 = NAN};
    for (size_t m = 0; m < EVAL_METRICS; m++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++) {
            sum += scores[i]->metric[m];
        }
        const double mean = n > 0 ? sum / (double)n : 0;
        for (size_t i = 0; i < n; i++) {
            squares += (scores[i]->metric[m] - mean) * (scores[i]->metric[m] - mean);
        }
        out->mean[m] = mean;
        out->se[m] = n > 0 ? sqrt(squares / (double)n) / sqrt((double)n) : 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isnan(scores[i]->novelty)) {
            novelty += scores[i]->novelty;
            novelty_n++;
        }
        if (!isnan(scores[i]->diversity)) {
            diversity += scores[i]->diversity;
            diversity_n++;
        }
    }
    out->novelty = eval_mean_told(novelty, novelty_n);
    out->diversity = eval_mean_told(diversity, diversity_n);
}

static int eval_compare_double(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double eval_quantile(double *values, size_t n, double q) {
    if (n == 0) {
        return NAN;
    }
    qsort(values, n, sizeof *values, eval_compare_double);
    const double at = q * (double)(n - 1);
    const size_t below = (size_t)at, above = eval_min(below + 1, n - 1);
    return values[below] + (at - (double)below) * (values[above] - values[below]);
}

/* ---- Bootstrap -------------------------------------------------------------------------------- */

uint64_t eval_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* By rejection, so that no number is likelier than another. */
uint64_t eval_random_below(uint64_t *state, uint64_t n) {
    assert(n > 0);
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x;
    do {
        x = eval_random(state);
    } while (x >= limit);
    return x % n;
}

bool eval_bootstrap(const double *differences, size_t n, size_t samples, uint64_t seed,
                    struct eval_interval *out) {
    double sum = 0;
    *out = (struct eval_interval){0, 0, 0};
    if (n == 0 || samples == 0) {
        return true;
    }
    double *const means = calloc(samples, sizeof *means);
    if (means == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        sum += differences[i];
    }
    for (size_t s = 0; s < samples; s++) {
        double drawn = 0;
        for (size_t i = 0; i < n; i++) {
            drawn += differences[eval_random_below(&seed, n)];
        }
        means[s] = drawn / (double)n;
    }
    out->difference = sum / (double)n;
    out->low = eval_quantile(means, samples, 0.025);
    out->high = eval_quantile(means, samples, 0.975);
    free(means);
    return true;
}
