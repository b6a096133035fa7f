/* EASE from the users' side, for catalogues with more items than users: by Woodbury's identity
 *
 *     P = (X'X + lambda I)^-1 = (I - X' K X) / lambda,   K = (X X' + lambda I)^-1,
 *
 * exact, and the only square matrix is K, users x users. P times a panel is two sparse products
 * around a dense one. The diagonal is (1 - x_j' K x_j) / lambda over the users of item j.
 *
 * Two vectors: with K's eigenvectors U and eigenvalues e = 1 / (s^2 + lambda), s the singular
 * values of X,
 *
 *     B_ij = x_i' K x_j / (lambda P_jj)
 *          = (x_i' U e^1/2) . (x_j' U e^1/2) / (lambda P_jj)   for i other than j,
 *
 * exact with all users' eigenvectors, and the truncated decomposition of X with the `dim`
 * largest s. These are had by subspace iteration on I - lambda K, whose eigenvalues are s^2 /
 * (s^2 + lambda): panels of users, so it costs next to nothing where users are few. On
 * ml-latest-small (items of 5 users and more, lambda 200, rank 256) it loses .275 of the matrix
 * where three rounds of train_factor.c lose .269. All of EASE took .25 s of CPU time with it, and
 * .93 s with train_factor.c, on a busy EPYC 7003. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include <math.h>

#define USERS_ITEMS 32u /* of one task */
#define USERS_MORE  16u /* columns beyond the rank, dropped at the end */

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

/* ---- Two vectors ----------------------------------------------------------------------------- */

struct users_basis {
    struct train_ease_problem *p;
    uint32_t users, dim;
    float *panel, *next; /* [users][dim] */
};

/* next = K panel */
static int users_basis_times(struct users_basis *b) {
    return train_dense_times(b->p->crew, b->p->inverse, b->users, b->panel, b->dim, b->next);
}

/* next = (I - lambda K) panel */
static int users_basis_filter(struct users_basis *b) {
    const int rc = users_basis_times(b);
    const float lambda = (float)b->p->lambda;
    for (size_t i = 0; rc == U2I_OK && i < (size_t)b->users * b->dim; i++) {
        b->next[i] = b->panel[i] - lambda * b->next[i];
    }
    return rc;
}

static int users_iterate(struct users_basis *b, uint32_t rounds) {
    struct train_crew *const crew = b->p->crew;
    int rc = train_panel_orthonormal(crew, b->panel, b->users, b->dim, 2);
    for (uint32_t round = 0; rc == U2I_OK && round < rounds && b->dim < b->users; round++) {
        rc = users_basis_filter(b);
        if (rc == U2I_OK) {
            float *const panel = b->panel;
            b->panel = b->next;
            b->next = panel;
            rc = train_panel_orthonormal(crew, b->panel, b->users, b->dim, 2);
        }
    }
    return rc == U2I_OK ? users_basis_filter(b) : rc;
}

/* The panel's columns become eigenvectors, the largest s first. Sorted by the eigenvalues of I -
 * lambda K, so that what is left of dependent columns comes last whatever its length. */
static int users_turn(struct users_basis *b) {
    const size_t dim = b->dim;
    double *const cross = alloc_array(dim * dim, sizeof *cross);
    double *const values = alloc_array(dim, sizeof *values);
    float *const turn = alloc_array(dim * dim, sizeof *turn);
    int rc = cross == NULL || values == NULL || turn == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        train_panel_cross(b->panel, b->next, b->users, b->dim, cross);
        rc = train_eigen(cross, b->dim, values);
    }
    if (rc == U2I_OK) {
        for (size_t k = 0; k < dim; k++) {
            for (size_t i = 0; i < dim; i++) {
                turn[i * dim + k] = (float)cross[(dim - 1 - k) * dim + i];
            }
        }
        rc = train_panel_turn(b->p->crew, b->panel, b->users, b->dim, turn);
    }
    mem_free(turn);
    mem_free(values);
    mem_free(cross);
    return rc;
}

/* The first `rank` columns times e^1/2, e = u'Ku / u'u, as [users][rank], to `next`. */
static int users_weigh(struct users_basis *b, uint32_t rank) {
    double *const sums = mem_zalloc(2 * (size_t)b->dim * sizeof *sums);
    const int rc = sums == NULL ? U2I_ENOMEM : users_basis_times(b);
    double *const squares = sums + b->dim;
    for (size_t i = 0; rc == U2I_OK && i < (size_t)b->users * b->dim; i++) {
        const double own = (double)b->panel[i];
        sums[i % b->dim] += own * (double)b->next[i];
        squares[i % b->dim] += own * own;
    }
    for (size_t k = 0; rc == U2I_OK && k < b->dim; k++) {
        sums[k] = squares[k] > 0 ? sqrt(fmax(sums[k] / squares[k], 0)) : 0;
    }
    for (size_t u = 0; rc == U2I_OK && u < b->users; u++) {
        for (size_t k = 0; k < rank; k++) {
            b->next[u * rank + k] = k < b->dim ? (float)sums[k] * b->panel[u * b->dim + k] : 0;
        }
    }
    mem_free(sums);
    return rc;
}

int train_ease_users_factors(struct train_ease_problem *p, const struct train_ease_options *opt,
                             uint32_t dim, float *in, float *out) {
    struct users_basis b = {.p = p, .users = p->x->rows};
    const uint32_t rounds = 2 * opt->rounds + 2;
    b.dim = b.users < dim + USERS_MORE ? b.users : dim + USERS_MORE;
    const size_t columns = b.dim > dim ? b.dim : dim;
    b.panel = alloc_array(b.users * columns, sizeof *b.panel);
    b.next = alloc_array(b.users * columns, sizeof *b.next);
    int rc = b.panel == NULL || b.next == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        rc = train_crew_step(p->crew, (rounds + 1) * 5 * ((uint64_t)b.users / 128 + 1) +
                                          train_sparse_tasks(p->n));
    }
    if (rc == U2I_OK) {
        train_panel_random(b.panel, (size_t)b.users * b.dim, opt->seed);
        rc = users_iterate(&b, rounds);
    }
    if (rc == U2I_OK) {
        rc = users_turn(&b);
    }
    if (rc == U2I_OK) {
        rc = users_weigh(&b, dim);
    }
    if (rc == U2I_OK) {
        rc = train_sparse_times(p->crew, p->xt, b.next, dim, in);
    }
    for (size_t i = 0; rc == U2I_OK && i < p->n; i++) {
        const float scale = (float)(1 / (p->lambda * (double)p->diag[i]));
        for (size_t k = i * dim; k < (i + 1) * dim; k++) {
            out[k] = scale * in[k];
        }
    }
    mem_free(b.next);
    mem_free(b.panel);
    return rc;
}
