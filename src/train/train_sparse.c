/* Sparse times dense, and the Gram matrix of a sparse matrix's rows. */
#include "train/train_internal.h"

#include "vec/vec.h"
#include <string.h>

#define SPARSE_ROWS   64u /* of one task */
#define SPARSE_GATHER 64u /* rows of x that are added at once */

struct sparse_job {
    const struct train_matrix *m, *t;
    const float *x;
    float *out;
    uint32_t dim;
    float lambda;
};

uint64_t train_sparse_tasks(uint32_t rows) {
    return ((uint64_t)rows + SPARSE_ROWS - 1) / SPARSE_ROWS;
}

static uint32_t sparse_end(const struct train_matrix *m, uint64_t task) {
    const uint64_t end = (task + 1) * SPARSE_ROWS;
    return end < m->rows ? (uint32_t)end : m->rows;
}

static int sparse_times_rows(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct sparse_job *const j = ctx;
    const struct vec_ops *const ops = vec_get();
    const float *rows[SPARSE_GATHER];
    for (uint32_t r = (uint32_t)task * SPARSE_ROWS; r < sparse_end(j->m, task); r++) {
        float *const out = j->out + (size_t)r * j->dim;
        memset(out, 0, j->dim * sizeof *out);
        const uint64_t end = j->m->starts[r + 1];
        for (uint64_t at = j->m->starts[r]; at < end; at += SPARSE_GATHER) {
            const size_t n = end - at < SPARSE_GATHER ? (size_t)(end - at) : SPARSE_GATHER;
            for (size_t i = 0; i < n; i++) {
                rows[i] = j->x + (size_t)j->m->ids[at + i] * j->dim;
            }
            ops->axpy_rows(j->m->values + at, rows, n, out, j->dim);
        }
    }
    return U2I_OK;
}

int train_sparse_times(struct train_crew *crew, const struct train_matrix *m, const float *x,
                       uint32_t dim, float *out) {
    struct sparse_job job = {.m = m, .x = x, .out = out, .dim = dim};
    return train_crew_run(crew, train_sparse_tasks(m->rows), sparse_times_rows, &job);
}

/* Row r of m m', up to the diagonal: for each column of r, all rows up to r that have it. A row
 * of t that r appears in contains r, which is where its loop ends. */
static int sparse_gram_rows(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct sparse_job *const j = ctx;
    for (uint32_t r = (uint32_t)task * SPARSE_ROWS; r < sparse_end(j->m, task); r++) {
        float *const out = j->out + (size_t)r * j->m->rows;
        memset(out, 0, ((size_t)r + 1) * sizeof *out);
        for (uint64_t i = j->m->starts[r]; i < j->m->starts[r + 1]; i++) {
            const float weight = j->m->values[i];
            const uint64_t start = j->t->starts[j->m->ids[i]];
            const uint32_t *const ids = j->t->ids + start;
            const float *const values = j->t->values + start;
            for (size_t k = 0;; k++) {
                out[ids[k]] += weight * values[k];
                if (ids[k] == r) {
                    break;
                }
            }
        }
        out[r] += j->lambda;
    }
    return U2I_OK;
}

int train_sparse_gram(struct train_crew *crew, const struct train_matrix *m,
                      const struct train_matrix *t, double lambda, float *gram) {
    struct sparse_job job = {.m = m, .t = t, .out = gram, .lambda = (float)lambda};
    return train_crew_run(crew, train_sparse_tasks(m->rows), sparse_gram_rows, &job);
}
