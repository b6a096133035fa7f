/* EASE for catalogues of any size: with X ~ U diag(s) V', a truncated singular value
 * decomposition,
 *
 *     P = (I - V diag(g) V') / lambda,   g = s^2 / (s^2 + lambda),
 *     B_ij = -P_ij / P_jj = (V_i g) . V_j / (lambda P_jj)   for i other than j:
 *
 * two vectors of each item, without a further step. V is found by subspace iteration on X'X
 * (Halko, Martinsson & Tropp 2011), as two sparse products with a panel of a few more columns
 * than asked for; the users' panel is worked on in slices of columns, so that it stays small for
 * any number of users. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include <math.h>

#define LOW_RANK_MORE  16u /* columns beyond the rank, dropped at the end */
#define LOW_RANK_SLICE 64u /* columns of the users' panel */

struct low_rank {
    struct train_ease_problem *p;
    uint32_t dim;                 /* columns of the panel */
    float *panel, *next;          /* [n][dim] */
    float *slice, *items, *users; /* [n][slice] twice, [users][slice] */
};

uint64_t train_ease_low_rank_memory(uint64_t items, uint64_t users, uint64_t rank) {
    const uint64_t dim = rank + LOW_RANK_MORE;
    return (2 * items * dim + (2 * items + users) * LOW_RANK_SLICE) * sizeof(float) +
           24 * dim * dim * sizeof(double);
}

/* Columns from .. from + size of one panel into another, panel by panel. */
static void low_rank_copy(const float *from, size_t stride, size_t n, size_t size, float *to,
                          size_t to_stride) {
    for (size_t i = 0; i < n; i++) {
        memcpy(to + i * to_stride, from + i * stride, size * sizeof *to);
    }
}

/* next = X'X panel */
static int low_rank_times(struct low_rank *l) {
    struct train_crew *const crew = l->p->crew;
    const size_t n = l->p->n;
    int rc = U2I_OK;
    for (uint32_t at = 0; rc == U2I_OK && at < l->dim; at += LOW_RANK_SLICE) {
        const uint32_t size = l->dim - at < LOW_RANK_SLICE ? l->dim - at : LOW_RANK_SLICE;
        low_rank_copy(l->panel + at, l->dim, n, size, l->slice, size);
        rc = train_sparse_times(crew, l->p->x, l->slice, size, l->users);
        if (rc == U2I_OK) {
            rc = train_sparse_times(crew, l->p->xt, l->users, size, l->items);
        }
        low_rank_copy(l->items, size, n, size, l->next + at, l->dim);
    }
    return rc;
}

static void low_rank_swap(struct low_rank *l) {
    float *const panel = l->panel;
    l->panel = l->next;
    l->next = panel;
}

/* The panel, orthonormal, is turned to X's singular vectors, the largest first; g of them. */
static int low_rank_finish(struct low_rank *l) {
    const size_t dim = l->dim;
    double *const cross = alloc_array(dim * dim, sizeof *cross);
    double *const squares = alloc_array(dim, sizeof *squares);
    float *const turn = alloc_array(dim * dim, sizeof *turn);
    int rc = cross == NULL || squares == NULL || turn == NULL ? U2I_ENOMEM : low_rank_times(l);
    if (rc == U2I_OK) {
        train_panel_cross(l->panel, l->next, l->p->n, l->dim, cross);
        rc = train_eigen(cross, l->dim, squares);
    }
    if (rc == U2I_OK) {
        for (size_t k = 0; k < dim; k++) {
            const size_t from = dim - 1 - k;
            for (size_t i = 0; i < dim; i++) {
                turn[i * dim + k] = (float)cross[from * dim + i];
            }
            if (k < l->p->rank) {
                const double square = fmax(squares[from], 0);
                l->p->g[k] = (float)(square / (square + l->p->lambda));
            }
        }
        rc = train_panel_turn(l->p->crew, l->panel, l->p->n, l->dim, turn);
    }
    mem_free(turn);
    mem_free(squares);
    mem_free(cross);
    return rc;
}

static int low_rank_run(struct low_rank *l, const struct train_ease_options *opt) {
    const uint64_t sparse = train_sparse_tasks(l->p->n) + train_sparse_tasks(l->p->x->rows);
    const uint64_t slices = (l->dim + LOW_RANK_SLICE - 1) / LOW_RANK_SLICE;
    int rc = train_crew_step(l->p->crew, (opt->rounds + 2) * slices * sparse);
    if (rc == U2I_OK) {
        train_panel_random(l->panel, (size_t)l->p->n * l->dim, opt->seed);
        rc = train_panel_orthonormal(l->p->crew, l->panel, l->p->n, l->dim, 1);
    }
    for (uint32_t round = 0; rc == U2I_OK && round < opt->rounds; round++) {
        rc = low_rank_times(l);
        if (rc == U2I_OK) {
            low_rank_swap(l);
            rc = train_panel_orthonormal(l->p->crew, l->panel, l->p->n, l->dim, 2);
        }
    }
    return rc == U2I_OK ? low_rank_finish(l) : rc;
}

/* V, and P's diagonal. */
static void low_rank_keep(struct low_rank *l) {
    struct train_ease_problem *const p = l->p;
    low_rank_copy(l->panel, l->dim, p->n, p->rank, p->v, p->rank);
    for (uint32_t j = 0; j < p->n; j++) {
        double own = 0;
        for (size_t k = 0; k < p->rank; k++) {
            const double v = (double)p->v[(size_t)j * p->rank + k];
            own += (double)p->g[k] * v * v;
        }
        p->diag[j] = (float)fmax((1 - own) / p->lambda, train_ease_diag_floor(p, j));
    }
}

int train_ease_low_rank_solve(struct train_ease_problem *p, const struct train_ease_options *opt,
                              u2i_error_t *err) {
    p->rank = opt->rank < p->n ? opt->rank : p->n;
    const uint32_t dim = p->n - p->rank < LOW_RANK_MORE ? p->n : p->rank + LOW_RANK_MORE;
    struct low_rank l = {.p = p, .dim = dim};
    const size_t users = p->x->rows;
    p->v = alloc_array((size_t)p->n * p->rank, sizeof *p->v);
    p->g = alloc_array(p->rank, sizeof *p->g);
    l.panel = alloc_array((size_t)p->n * dim, sizeof *l.panel);
    l.next = alloc_array((size_t)p->n * dim, sizeof *l.next);
    l.slice = alloc_array((size_t)p->n * LOW_RANK_SLICE, sizeof *l.slice);
    l.items = alloc_array((size_t)p->n * LOW_RANK_SLICE, sizeof *l.items);
    l.users = alloc_array(users * LOW_RANK_SLICE, sizeof *l.users);
    int rc = U2I_ENOMEM;
    if (p->v != NULL && p->g != NULL && l.panel != NULL && l.next != NULL && l.slice != NULL &&
        l.items != NULL && l.users != NULL) {
        rc = low_rank_run(&l, opt);
    }
    if (rc == U2I_OK) {
        low_rank_keep(&l);
    }
    mem_free(l.users);
    mem_free(l.items);
    mem_free(l.slice);
    mem_free(l.next);
    mem_free(l.panel);
    return train_fail(err, rc);
}

void train_ease_low_rank_factors(const struct train_ease_problem *p, uint32_t dim, float *in,
                                 float *out) {
    for (size_t i = 0; i < p->n; i++) {
        const float scale = (float)(1 / (p->lambda * (double)p->diag[i]));
        for (size_t k = 0; k < dim; k++) {
            const float v = k < p->rank ? p->v[i * p->rank + k] * sqrtf(p->g[k]) : 0;
            in[i * dim + k] = v;
            out[i * dim + k] = v * scale;
        }
    }
}
