/* From scores to probabilities: logistic regression of "the user wanted it" on the score (Platt 1999, "Probabilistic Outputs
 * for Support Vector Machines"), over the hundred best of every question of the check. Newton's method on two
 * parameters; a little ridge keeps it finite where hits and misses can be told apart. */
#include "base/alloc.h"
#include "base/topk.h"
#include "model/model_internal.h"
#include <math.h>

#define CALIBRATE_STEPS 25
#define CALIBRATE_RIDGE 1e-3
#define CALIBRATE_SLOPE 1e-3 /* the least: a better score is never less likely */

struct calibrate_point {
    float score;
    float is_hit;
};

/* The points of one question: its MODEL_LISTED best. */
static size_t calibrate_question(const struct model_scored *s, const float *weights, float *sums,
                                 struct calibrate_point *out) {
    struct hit hits[MODEL_LISTED];
    struct topk best;
    topk_init(&best, hits, MODEL_LISTED, NULL, NULL);
    model_scored_sum(s, weights, sums);
    for (uint32_t c = 0; c < s->n; c++) {
        topk_push(&best, sums[c], c);
    }
    const uint32_t n = topk_sort(&best);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (struct calibrate_point){hits[i].score, 0};
        for (uint32_t h = 0; h < s->hits_n; h++) {
            out[i].is_hit += s->hits[h] == hits[i].row ? 1.0f : 0.0f;
        }
    }
    return n;
}

/* One Newton step of the penalised likelihood; returns how far it went. */
static double calibrate_step(const struct calibrate_point *points, size_t n, double *a, double *b) {
    double g0 = 0, g1 = -CALIBRATE_RIDGE * *b;
    double h00 = CALIBRATE_RIDGE, h01 = 0, h11 = CALIBRATE_RIDGE;
    for (size_t i = 0; i < n; i++) {
        const double x = (double)points[i].score;
        const double p = 1 / (1 + exp(-(*a + *b * x)));
        const double w = p * (1 - p);
        g0 += (double)points[i].is_hit - p;
        g1 += ((double)points[i].is_hit - p) * x;
        h00 += w;
        h01 += w * x;
        h11 += w * x * x;
    }
    const double det = h00 * h11 - h01 * h01;
    if (!(det > 0)) {
        return 0;
    }
    const double da = (h11 * g0 - h01 * g1) / det;
    const double db = (h00 * g1 - h01 * g0) / det;
    const double most = fmax(fabs(da), fabs(db));
    const double damp = most > 2 ? 2 / most : 1; /* far from the optimum Newton overshoots */
    *a += damp * da;
    *b += damp * db;
    return most;
}

static struct model_scale calibrate_points(const struct calibrate_point *points, size_t n) {
    double hits = 0;
    for (size_t i = 0; i < n; i++) {
        hits += (double)points[i].is_hit;
    }
    const double rate = (hits + 0.5) / ((double)n + 1);
    double a = log(rate / (1 - rate));
    double b = 0;
    for (int i = 0; i < CALIBRATE_STEPS && calibrate_step(points, n, &a, &b) > 1e-6; i++) {
    }
    if (!(b >= CALIBRATE_SLOPE) || !isfinite(a)) {
        a = log(rate / (1 - rate));
        b = CALIBRATE_SLOPE;
    }
    return (struct model_scale){a, b};
}

int model_calibrate(const struct model_exam *exam, const float *weights, struct model_scale *out) {
    size_t n = 0;
    uint32_t most = 1;
    for (uint32_t i = 0; i < exam->n; i++) {
        most = exam->list[i].n > most ? exam->list[i].n : most;
    }
    float *const sums = alloc_array(most, sizeof *sums);
    struct calibrate_point *const points =
        alloc_array((size_t)exam->n * MODEL_LISTED, sizeof *points);
    const bool ok = sums != NULL && points != NULL;
    for (uint32_t i = 0; i < exam->n && ok; i++) {
        n += calibrate_question(&exam->list[i], weights, sums, points + n);
    }
    if (ok && n > 0) {
        *out = calibrate_points(points, n);
    }
    mem_free(points);
    mem_free(sums);
    return ok ? U2I_OK : U2I_ENOMEM;
}
