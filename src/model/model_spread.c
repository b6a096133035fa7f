/* Covariance of item vectors. The standard deviation over the catalogue of q . out_j is sqrt(q' C q) with C the
 * covariance of the out-vectors: so a question knows how far a part's scores spread without looking at
 * a single item. Of ease, whose block is large, the vectors are turned such that C is diagonal (train.h).
 *
 * Vectors are taken in panels, turned so that each dimension is a row, and C's entries are dot products of those
 * rows: the kernels then run on a panel that stays in the second-level cache. Each task sums a fixed range of
 * panels in double, the ranges are added in order. */
#include "base/alloc.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <math.h>

#define SPREAD_PANEL 256u /* items; a panel of 256 dimensions is 256 KiB */
#define SPREAD_TASKS 8u

struct model_spread {
    const float *rows;
    size_t stride;
    uint32_t n, dim;
    const float *mean; /* [dim] */
    double *sums;      /* [SPREAD_TASKS][dim * dim], lower halves */
};

static void model_spread_panel(const struct model_spread *s, uint32_t first, uint32_t n,
                               float *panel) {
    for (uint32_t i = 0; i < n; i++) {
        const float *const row = s->rows + (size_t)(first + i) * s->stride;
        for (uint32_t d = 0; d < s->dim; d++) {
            panel[(size_t)d * SPREAD_PANEL + i] = row[d] - s->mean[d];
        }
    }
}

static int model_spread_task(void *ctx, uint32_t task) {
    struct model_spread *const s = ctx;
    const uint32_t panels = (s->n + SPREAD_PANEL - 1) / SPREAD_PANEL;
    float *const panel = alloc_array((size_t)s->dim * SPREAD_PANEL, sizeof *panel);
    float *const dots = alloc_array(s->dim, sizeof *dots);
    double *const sums = s->sums + (size_t)task * s->dim * s->dim;
    const int rc = panel == NULL || dots == NULL ? U2I_ENOMEM : U2I_OK;
    for (uint32_t p = task; p < panels && rc == U2I_OK; p += SPREAD_TASKS) {
        const uint32_t first = p * SPREAD_PANEL;
        const uint32_t n = s->n - first < SPREAD_PANEL ? s->n - first : SPREAD_PANEL;
        model_spread_panel(s, first, n, panel);
        for (uint32_t a = 0; a < s->dim; a++) {
            vec_get()->dot_rows(panel + (size_t)a * SPREAD_PANEL, panel, SPREAD_PANEL, a + 1, n,
                                dots);
            for (uint32_t b = 0; b <= a; b++) {
                sums[(size_t)a * s->dim + b] += (double)dots[b];
            }
        }
    }
    mem_free(dots);
    mem_free(panel);
    return rc;
}

static int model_spread_mean(const struct model_spread *s, float *mean) {
    double *const sum = alloc_array(s->dim, sizeof *sum);
    if (sum == NULL) {
        return U2I_ENOMEM;
    }
    memset(sum, 0, s->dim * sizeof *sum);
    for (uint32_t i = 0; i < s->n; i++) {
        for (uint32_t d = 0; d < s->dim; d++) {
            sum[d] += (double)s->rows[(size_t)i * s->stride + d];
        }
    }
    for (uint32_t d = 0; d < s->dim; d++) {
        mean[d] = (float)(sum[d] / s->n);
    }
    mem_free(sum);
    return U2I_OK;
}

int model_covariance(unsigned threads, const float *rows, size_t stride, uint32_t n, uint32_t dim,
                     float *out) {
    const size_t size = (size_t)dim * dim;
    float *const mean = alloc_array(dim, sizeof *mean);
    double *const sums = alloc_array(SPREAD_TASKS * size, sizeof *sums);
    struct model_spread s = {rows, stride, n, dim, mean, sums};
    int rc = mean == NULL || sums == NULL ? U2I_ENOMEM : model_spread_mean(&s, mean);
    if (rc == U2I_OK) {
        memset(sums, 0, SPREAD_TASKS * size * sizeof *sums);
        rc = model_crew(threads, SPREAD_TASKS, model_spread_task, &s);
    }
    for (uint32_t a = 0; a < dim && rc == U2I_OK; a++) {
        for (uint32_t b = 0; b <= a; b++) {
            double sum = 0;
            for (uint32_t t = 0; t < SPREAD_TASKS; t++) {
                sum += sums[t * size + (size_t)a * dim + b];
            }
            out[(size_t)a * dim + b] = out[(size_t)b * dim + a] = (float)(sum / n);
        }
    }
    mem_free(sums);
    mem_free(mean);
    return rc;
}

double model_covariance_of(const float *covariance, const float *q, uint32_t dim) {
    float dots[64];
    double sum = 0;
    for (uint32_t d = 0; d < dim; d += 64) {
        const uint32_t n = dim - d < 64 ? dim - d : 64;
        vec_get()->dot_rows(q, covariance + (size_t)d * dim, dim, n, dim, dots);
        sum += (double)vec_dot(dots, q + d, n);
    }
    return sum > 0 ? sum : 0;
}

double model_variance(const struct model *m, int part, const float *q) {
    const struct model_block b = m->block[part];
    if (part != MODEL_EASE) {
        return model_covariance_of(m->spread[part], q, b.dim);
    }
    double sum = 0;
    for (uint32_t d = 0; d < b.dim; d++) {
        sum += (double)(m->spread[part][d] * q[d] * q[d]);
    }
    return sum;
}
