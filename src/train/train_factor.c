/* Two vectors of each item: B ~ In Out' by subspace iteration (Halko, Martinsson & Tropp,
 * "Finding structure with randomness", 2011, algorithm 4.4), where B = I - P D^-1, D = diag(P),
 * is never formed: all it takes is P times a panel, so dense and implicit forms share it.
 *
 * An item's score for itself is never used, so the diagonal is free. B's own is zero; the
 * iteration works on B + diag(t) with t the approximation's own diagonal, set anew in each round
 * (a "hard impute" of the diagonal), which loses less of what matters. It begins from t_j = 1 /
 * (lambda P_jj) - 1: with that, B is V g V' D^-1 / lambda, a matrix whose spectrum falls as fast
 * as that of X, and the first rounds do not spend themselves on the hole along the diagonal. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "vec/vec.h"

#define FACTOR_ROWS 256u /* of one task */

struct factor {
    struct train_ease_problem *p;
    uint32_t n, dim;
    float *fill;    /* t */
    float *scratch; /* [n][dim] */
    const float *x; /* of the step under way */
    float *out;
};

static size_t factor_end(const struct factor *f, uint64_t task) {
    const uint64_t end = (task + 1) * FACTOR_ROWS;
    return end < f->n ? (size_t)end : f->n;
}

static int factor_run(struct factor *f, train_task_fn fn, const float *x, float *out) {
    f->x = x;
    f->out = out;
    return train_crew_run(f->p->crew, ((uint64_t)f->n + FACTOR_ROWS - 1) / FACTOR_ROWS, fn, f);
}

/* scratch = D^-1 x */
static int factor_scale(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct factor *const f = ctx;
    for (size_t i = (size_t)task * FACTOR_ROWS; i < factor_end(f, task); i++) {
        const float scale = 1 / f->p->diag[i];
        for (size_t k = i * f->dim; k < (i + 1) * f->dim; k++) {
            f->scratch[k] = scale * f->x[k];
        }
    }
    return U2I_OK;
}

/* out = (1 + t) x - out */
static int factor_combine(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct factor *const f = ctx;
    for (size_t i = (size_t)task * FACTOR_ROWS; i < factor_end(f, task); i++) {
        const float own = 1 + f->fill[i];
        for (size_t k = i * f->dim; k < (i + 1) * f->dim; k++) {
            f->out[k] = own * f->x[k] - f->out[k];
        }
    }
    return U2I_OK;
}

/* out = (1 + t) x - D^-1 out */
static int factor_combine_transposed(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct factor *const f = ctx;
    for (size_t i = (size_t)task * FACTOR_ROWS; i < factor_end(f, task); i++) {
        const float own = 1 + f->fill[i];
        const float scale = 1 / f->p->diag[i];
        for (size_t k = i * f->dim; k < (i + 1) * f->dim; k++) {
            f->out[k] = own * f->x[k] - scale * f->out[k];
        }
    }
    return U2I_OK;
}

/* t = the diagonal of x out' */
static int factor_refill(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct factor *const f = ctx;
    const struct vec_ops *const ops = vec_get();
    for (size_t i = (size_t)task * FACTOR_ROWS; i < factor_end(f, task); i++) {
        f->fill[i] = ops->dot(f->x + i * f->dim, f->out + i * f->dim, f->dim);
    }
    return U2I_OK;
}

/* out = (B + diag(t)) x = x + t x - P (D^-1 x) */
static int factor_times(struct factor *f, const float *x, float *out) {
    int rc = factor_run(f, factor_scale, x, out);
    if (rc == U2I_OK) {
        rc = f->p->times(f->p, f->scratch, f->dim, out);
    }
    return rc == U2I_OK ? factor_run(f, factor_combine, x, out) : rc;
}

/* out = (B + diag(t))' x = x + t x - D^-1 (P x) */
static int factor_times_transposed(struct factor *f, const float *x, float *out) {
    const int rc = f->p->times(f->p, x, f->dim, out);
    return rc == U2I_OK ? factor_run(f, factor_combine_transposed, x, out) : rc;
}

/* in = a basis of B's range, out = B' in, `rounds` times over. Within the rounds it is enough
 * that bases are well-conditioned; the last one is made orthonormal to rounding. */
static int factor_iterate(struct factor *f, uint32_t rounds, float *in, float *out) {
    struct train_crew *const crew = f->p->crew;
    int rc = factor_times(f, out, in);
    for (uint32_t round = 0; rc == U2I_OK && round < rounds; round++) {
        rc = train_panel_orthonormal(crew, in, f->n, f->dim, 1);
        if (rc == U2I_OK) {
            rc = factor_times_transposed(f, in, out);
        }
        if (rc == U2I_OK) {
            rc = factor_run(f, factor_refill, in, out);
        }
        if (rc == U2I_OK) {
            rc = train_panel_orthonormal(crew, out, f->n, f->dim, 1);
        }
        if (rc == U2I_OK) {
            rc = factor_times(f, out, in);
        }
    }
    if (rc == U2I_OK) {
        rc = train_panel_orthonormal(crew, in, f->n, f->dim, 3);
    }
    return rc == U2I_OK ? factor_times_transposed(f, in, out) : rc;
}

int train_factor(struct train_ease_problem *p, const struct train_ease_options *opt, uint32_t dim,
                 float *in, float *out) {
    struct factor f = {.p = p, .n = p->n, .dim = dim};
    f.fill = alloc_array(f.n, sizeof *f.fill);
    f.scratch = alloc_array((size_t)f.n * dim, sizeof *f.scratch);
    int rc = f.fill == NULL || f.scratch == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        const uint64_t strips = ((uint64_t)f.n + 127) / 128;
        rc = train_crew_step(p->crew, (uint64_t)(opt->rounds + 1) * 6 * strips);
    }
    if (rc == U2I_OK) {
        for (uint32_t i = 0; i < f.n; i++) {
            f.fill[i] = (float)(1 / (p->lambda * (double)p->diag[i]) - 1);
        }
        train_panel_random(out, (size_t)f.n * dim, opt->seed);
        rc = factor_iterate(&f, opt->rounds, in, out);
    }
    mem_free(f.scratch);
    mem_free(f.fill);
    return rc;
}
