/* Learners: from who did something with what (a sparse matrix) to vectors and neighbours of
 * items. Pure numbers: no ids, no store, no clock, no randomness but the seeds given. Same
 * input, same output, whatever the number of threads. Linear algebra is OpenBLAS/LAPACK's, one
 * thread per call; the threads are train_work's, and none is left when a call returns.
 * Everything here is called by one thread at a time per object; different objects may be used at
 * once. */
#ifndef U2I_TRAIN_TRAIN_H
#define U2I_TRAIN_TRAIN_H

#include "u2i.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- How to work ----------------------------------------------------------------------------- */

struct train_work {
    unsigned threads; /* 0 = all cores */
    /* Asked now and then, from one thread; non-zero cancels (U2I_ETIMEOUT, nothing is returned).
     * May be NULL. done/total are of the step under way. */
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

/* ---- Sparse matrices ------------------------------------------------------------------------- */

struct train_matrix { /* rows compressed; ids ascending within a row, values > 0 */
    uint32_t rows, cols;
    uint64_t *starts; /* rows + 1 */
    uint32_t *ids;
    float *values;
};
struct train_entry {
    uint32_t row, col;
    float value;
};
/* Of entries in any order: several of one place become one with their largest value; values <= 0
 * are left out. U2I_ENOMEM, U2I_EINVAL (a row or column out of range). */
int train_matrix_new(const struct train_entry *entries, size_t n, uint32_t rows, uint32_t cols,
                     struct train_matrix **out, u2i_error_t *err);
int train_matrix_transpose(const struct train_matrix *m, struct train_matrix **out,
                           u2i_error_t *err);
void train_matrix_free(struct train_matrix *m); /* NULL is a no-op */
size_t train_matrix_bytes(const struct train_matrix *m);

/* ---- EASE: item to item in closed form ------------------------------------------------------- */

struct train_factors { /* two vectors of each column (item) of X: score(i -> j) ~ in_i . out_j */
    uint32_t n, dim;
    float *in,
        *out; /* [n][dim]; zeros for columns that were left out (fewer than min_users rows) */
};
void train_factors_free(struct train_factors *f);
/* Turns both vectors by one rotation, after which out's dimensions don't covary: the scores stay, and the
 * variance over the items of q . out_j is sum_d variances[d] q_d^2. On failure what *f holds is half
 * turned and useless. U2I_ENOMEM, U2I_ETIMEOUT, U2I_EINTERNAL. */
int train_factors_turn(struct train_factors *f, float *variances, const struct train_work *work,
                       u2i_error_t *err);

enum train_ease_form { /* how (X'X + lambda I)^-1 is had */
                       TRAIN_EASE_AUTO = 0,
                       TRAIN_EASE_ITEMS =
                           1, /* items x items, Cholesky: items <= TRAIN_EASE_ITEMS_MAX */
                       TRAIN_EASE_USERS =
                           2, /* users x users (Woodbury): exact too, cheap when users are few */
                       TRAIN_EASE_LOW_RANK =
                           3 /* truncated singular value decomposition of X: any size */
};
#define TRAIN_EASE_ITEMS_MAX 20000u
struct train_ease_options {
    enum train_ease_form form;
    double lambda;      /* <= 0: clamp(10 * sum of squares of X / items kept, 200, 2000) */
    uint32_t rank;      /* of the two vectors; 0 = 256 */
    uint32_t rounds;    /* of subspace iteration, each re-filling the diagonal; 0 = 3 */
    uint32_t min_users; /* 0 = 2 */
    uint64_t seed;
};
/* X: users x items. */
int train_ease(const struct train_matrix *x, const struct train_ease_options *opt,
               const struct train_work *work, struct train_factors **out, u2i_error_t *err);
/* The whole matrix B[i * cols + j] (diagonal 0), for tests, benchmarks and small catalogues;
 * mem_free(). */
int train_ease_full(const struct train_matrix *x, const struct train_ease_options *opt,
                    const struct train_work *work, float **out, u2i_error_t *err);
/* Peak memory that train_ease() will need, so that the caller can refuse before it starts. */
uint64_t train_ease_memory(const struct train_matrix *x, const struct train_ease_options *opt);

/* ---- iALS: implicit matrix factorisation (Rendle et al. 2021) -------------------------------- */

struct train_ials_options {
    uint32_t dim;    /* 0 = 64 */
    double a0;       /* weight of what was not seen; <= 0: min(12 * density of X, 1) */
    double lambda;   /* <= 0: .01 */
    uint32_t rounds; /* 0 = 10 */
    uint64_t seed;
};
/* Item factors, and what a user's vector is solved from. */
struct train_ials {
    uint32_t n, dim;
    double a0, lambda;
    float *items; /* [n][dim]; zeros for items without events */
    float *gram;  /* [dim][dim]: items' items */
};
int train_ials(const struct train_matrix *x, const struct train_ials_options *opt,
               const struct train_work *work, struct train_ials **out, u2i_error_t *err);
void train_ials_free(struct train_ials *f);
/* The vector of a user with n weighted item factors (rows[k] points at dim floats): the minimum
 * over u of
 *   sum_k w_k (1 - u.v_k)^2 + a0 sum_all (u.v)^2 + lambda (sum w + a0 items) |u|^2.
 * `factor` (dim x dim, may be NULL) gets the Cholesky factor of the system, so that each summand
 * of a score can be told: u.v_j = sum_k w_k v_k . (A^-1 v_j); see train_ials_solve(). One
 * thread; allocates dim * dim floats where `factor` is NULL. False if the system is singular
 * (then u is 0). */
struct train_fold {
    const float *gram;
    uint32_t dim;
    double a0, lambda;
    uint64_t items; /* n of the formula */
};
bool train_ials_fold_in(const struct train_fold *how, const float *const *rows,
                        const float *weights, size_t n, float *user, float *factor);
void train_ials_solve(const float *factor, uint32_t dim, float *x); /* x = A^-1 x, in place */

/* ---- Neighbours ------------------------------------------------------------------------------ */

/* Rows of over 2,000 entries count with their 2,000 largest. Cosine with a shrunk norm: dot(a,
 * b) / (|a| |b| + shrink); for each target (column of the result) its k best sources. Row i of
 * the result: the targets that source i speaks for. No diagonal. */
struct train_neighbours_options {
    uint32_t k;    /* 0 = 100 */
    double shrink; /* < 0: 20 */
};
int train_neighbours(const struct train_matrix *x, const struct train_neighbours_options *opt,
                     const struct train_work *work, struct train_matrix **out, u2i_error_t *err);

/* What follows what. Events of one user one after another, in order of time; equal times mean
 * nothing and are ordered at random (seed), and pairs of equal times don't count. M[a][b] = (sum
 * over b following a within `window` of 1/gap, plus `backward` times the same the other way
 * round) / events of a / (events of b)^beta. keep: the largest entries of a row that are kept, 0
 * = all. */
struct train_event {
    uint32_t user, item;
    float weight; /* <= 0: left out */
    int64_t time_ms;
};
struct train_sequence_options {
    uint32_t window; /* 0 = 10 */
    double backward; /* < 0: .5 */
    double beta;     /* < 0: .4 */
    uint32_t keep;
    uint64_t seed;
};
int train_sequence(const struct train_event *events, size_t n, uint32_t items,
                   const struct train_sequence_options *opt, const struct train_work *work,
                   struct train_matrix **out, u2i_error_t *err);

/* ---- From content to taste ------------------------------------------------------------------- */

/* Ridge regression with an intercept: W, b of B ~ A W + b, minimising |A W + 1 b' - B|^2 + ridge
 * |W|^2 over n rows; ridge <= 0: chosen by generalised cross-validation. W is [from][to], for y
 * = x W + b. */
struct train_map {
    uint32_t from, to;
    double ridge;
    float *w, *b;
};
int train_map_new(const float *const *a, uint32_t from, const float *const *b, uint32_t to,
                  size_t n, double ridge, const struct train_work *work, struct train_map **out,
                  u2i_error_t *err);
void train_map_apply(const struct train_map *m, const float *x, float *y);
void train_map_free(struct train_map *m);

#endif
