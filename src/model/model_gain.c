/* How good a list is: NDCG with binary relevance, as quality/PROTOCOL has it, and paired comparisons of two settings on
 * the same questions. DCG@k = sum over hits at rank r <= k of 1 / log2(r + 1); NDCG divides by what the best list
 * would have. The quality of a setting is (NDCG@10 + NDCG@100) / 2. */
#include "model/model_internal.h"
#include <math.h>

#define GAIN_SHORT  10u
#define GAIN_RECALL 20u

void model_gain_add(struct model_gain *g, uint32_t rank) {
    if (rank == 0 || rank > MODEL_LISTED) {
        return;
    }
    const double gain = 1 / log2((double)rank + 1);
    g->dcg100 += gain;
    g->dcg10 += rank <= GAIN_SHORT ? gain : 0;
    g->hits20 += rank <= GAIN_RECALL;
}

/* Sum of the first n discounts; n <= MODEL_LISTED. */
static double model_gain_ideal(uint32_t n) {
    double sum = 0;
    for (uint32_t r = 1; r <= n; r++) {
        sum += 1 / log2((double)r + 1);
    }
    return sum;
}

struct model_ideal model_ideal(uint32_t truths) {
    const uint32_t n10 = truths < GAIN_SHORT ? truths : GAIN_SHORT;
    const uint32_t n100 = truths < MODEL_LISTED ? truths : MODEL_LISTED;
    return (struct model_ideal){model_gain_ideal(n10), model_gain_ideal(n100),
                                truths < GAIN_RECALL ? truths : GAIN_RECALL};
}

double model_gain_quality(const struct model_gain *g, const struct model_ideal *ideal) {
    return (g->dcg10 / ideal->dcg10 + g->dcg100 / ideal->dcg100) / 2;
}

struct model_compared model_compare(const double *a, const double *b, size_t n) {
    double sum = 0;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] - b[i];
        squares += (a[i] - b[i]) * (a[i] - b[i]);
    }
    const double mean = n > 0 ? sum / (double)n : 0;
    const double variance = n > 0 ? fmax(squares / (double)n - mean * mean, 0) : 0;
    return (struct model_compared){mean, n > 0 ? sqrt(variance / (double)n) : 0};
}
