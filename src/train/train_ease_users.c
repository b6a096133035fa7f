/* EASE from the users' side, for catalogues with more items than users: by Woodbury's identity
 *
 *     P = (X'X + lambda I)^-1 = (I - X' K X) / lambda,   K = (X X' + lambda I)^-1,
 *
 * exact, and the only square matrix is K, users x users. P times a panel is two sparse products
 * around a dense one. The diagonal is (1 - x_j' K x_j) / lambda over the users of item j. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#define USERS_ITEMS 32u /* of one task */

/* x_j' K x_j, from the lower half: twice the pairs, and the diagonal. */
static double users_quadratic(const struct train_ease_problem *p, uint32_t j) {
    const uint64_t start = p->xt->starts[j];
    const uint64_t n = p->xt->starts[j + 1] - start;
    const uint32_t *const ids = p->xt->ids + start;
    const float *const values = p->xt->values + start;
    double sum = 0;
    for (uint64_t a = 0; a < n; a++) {
        const float *const row = p->inverse + (size_t)ids[a] * p->x->rows;
        double inner = 0;
        for (uint64_t b = 0; b < a; b++) {
            inner += (double)(row[ids[b]] * values[b]);
        }
        sum += (double)values[a] * (2 * inner + (double)row[ids[a]] * (double)values[a]);
    }
    return sum;
}

static int users_diag(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    struct train_ease_problem *const p = ctx;
    const uint32_t begin = (uint32_t)task * USERS_ITEMS;
    const uint32_t end = p->n - begin < USERS_ITEMS ? p->n : begin + USERS_ITEMS;
    for (uint32_t j = begin; j < end; j++) {
        p->diag[j] = (float)((1 - users_quadratic(p, j)) / p->lambda);
    }
    return U2I_OK;
}

/* P x = (x - X' (K (X x))) / lambda. */
static int users_times(struct train_ease_problem *p, const float *x, uint32_t dim, float *out) {
    const uint32_t users = p->x->rows;
    if (p->scratch == NULL || p->rank < dim) {
        mem_free(p->scratch);
        p->scratch = alloc_array(2 * (size_t)users * dim, sizeof *p->scratch);
        p->rank = dim;
        if (p->scratch == NULL) {
            return U2I_ENOMEM;
        }
    }
    float *const a = p->scratch;
    float *const b = p->scratch + (size_t)users * dim;
    int rc = train_sparse_times(p->crew, p->x, x, dim, a);
    if (rc == U2I_OK) {
        rc = train_dense_times(p->crew, p->inverse, users, a, dim, b);
    }
    if (rc == U2I_OK) {
        rc = train_sparse_times(p->crew, p->xt, b, dim, out);
    }
    const float scale = (float)(1 / p->lambda);
    for (size_t i = 0; rc == U2I_OK && i < (size_t)p->n * dim; i++) {
        out[i] = (x[i] - out[i]) * scale;
    }
    return rc;
}

int train_ease_users_solve(struct train_ease_problem *p, u2i_error_t *err) {
    const uint32_t users = p->x->rows;
    const uint64_t items_tasks = ((uint64_t)p->n + USERS_ITEMS - 1) / USERS_ITEMS;
    p->inverse_bytes = (size_t)users * users * sizeof *p->inverse;
    p->inverse = pages_alloc(p->inverse_bytes);
    if (p->inverse == NULL) {
        return error_oom(err);
    }
    int rc = train_crew_step(p->crew,
                             train_sparse_tasks(users) + train_inverse_tasks(users) + items_tasks);
    if (rc == U2I_OK) {
        rc = train_sparse_gram(p->crew, p->x, p->xt, p->lambda, p->inverse);
    }
    if (rc == U2I_OK) {
        rc = train_inverse(p->crew, p->inverse, users);
    }
    if (rc == U2I_OK) {
        rc = train_crew_run(p->crew, items_tasks, users_diag, p);
    }
    p->times = users_times;
    return train_fail(err, rc);
}
