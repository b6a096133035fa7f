/* What the files of this module share: the crew (threads of one call), the few dense operations
 * on panels and symmetric matrices, and sparse times dense. Nothing here is seen outside of
 * train/.
 *
 * Threads: work is cut into tasks of fixed size that do not depend on the number of threads, and
 * each task writes its own part of the result (or its own partial sum, added up in order
 * afterwards). So results are the same bits for any number of threads. BLAS is only called
 * inside such tasks, and runs on the calling thread alone: see train_blas.h. */
#ifndef U2I_TRAIN_TRAIN_INTERNAL_H
#define U2I_TRAIN_TRAIN_INTERNAL_H

#include "train/train.h"

#define TRAIN_THREADS_MAX 256u

/* ---- The crew (train_crew.c) ----------------------------------------------------------------- */

struct train_crew {
    const struct train_work *work; /* may be NULL */
    unsigned threads;              /* >= 1 */
    uint64_t done, total;          /* of the step under way; the calling thread's */
};
/* `task` < the number of tasks, `worker` < crew->threads. An error stops the rest. */
typedef int (*train_task_fn)(void *ctx, uint64_t task, unsigned worker);

/* Also turns OpenBLAS to one thread, until train_crew_end(). */
void train_crew_begin(struct train_crew *crew, const struct train_work *work);
void train_crew_end(struct train_crew *crew);
/* A new step of about `total` tasks, for progress. Asks whether to go on. */
int train_crew_step(struct train_crew *crew, uint64_t total);
/* Runs all tasks; U2I_OK, U2I_ETIMEOUT if progress() cancelled, or the first error of a task. */
int train_crew_run(struct train_crew *crew, uint64_t tasks, train_task_fn fn, void *ctx);
/* rc with its message, for what a crew or a task returned. */
int train_fail(u2i_error_t *err, int rc);

/* ---- Dense (train_dense.c) ------------------------------------------------------------------- */

/* Row-major panels: [n][dim]. */
/* out = A x for the symmetric A [n][n] (both halves filled); dim columns. */
int train_dense_times(struct train_crew *crew, const float *a, uint32_t n, const float *x,
                      uint32_t dim, float *out);
/* gram [dim][dim] = x'x, both halves, summed in double over fixed pieces. U2I_ENOMEM. */
int train_panel_gram(struct train_crew *crew, const float *x, uint32_t n, uint32_t dim,
                     double *gram);
/* x becomes an orthonormal basis of its columns' span, `passes` times over: one makes it
 * well-conditioned, two make it orthonormal to rounding. Columns that are (nearly) combinations
 * of others come out as unspecified small or orthonormal ones, never as NaN. U2I_ENOMEM. */
int train_panel_orthonormal(struct train_crew *crew, float *x, uint32_t n, uint32_t dim,
                            int passes);
/* cross [dim][dim] = x'y, which is symmetric but for rounding; one thread, in double. */
void train_panel_cross(const float *x, const float *y, uint32_t n, uint32_t dim, double *cross);
/* x = x T for T [dim][dim] (row-major). */
int train_panel_turn(struct train_crew *crew, float *x, uint32_t n, uint32_t dim,
                     const float *turn);
void train_panel_random(float *x, size_t n, uint64_t seed);
/* Eigenvalues (ascending) and vectors of the symmetric a [n][n]; a's row k becomes vector k.
 * false: LAPACK says no. U2I_ENOMEM, U2I_EINTERNAL. */
int train_eigen(double *a, uint32_t n, double *values);

/* ---- Inverse of a positive definite matrix (train_inverse.c) --------------------------------- */

/* a [n][n] (lower half given) becomes its inverse, both halves. U2I_ENOMEM; U2I_EINTERNAL where
 * it is not positive definite. */
int train_inverse(struct train_crew *crew, float *a, uint32_t n);
uint64_t train_inverse_tasks(uint32_t n);

/* ---- Sparse (train_matrix.c, train_sparse.c) ------------------------------------------------- */

/* Room for n entries, all rows empty. NULL: no memory. */
struct train_matrix *train_matrix_alloc(uint32_t rows, uint32_t cols, uint64_t n);
/* out [rows][dim] = m x, x [cols][dim]. */
int train_sparse_times(struct train_crew *crew, const struct train_matrix *m, const float *x,
                       uint32_t dim, float *out);
/* gram [rows][rows], lower half, = m m' + lambda I; t is m transposed. U2I_ENOMEM. */
int train_sparse_gram(struct train_crew *crew, const struct train_matrix *m,
                      const struct train_matrix *t, double lambda, float *gram);
uint64_t train_sparse_tasks(uint32_t rows);

/* ---- Rows of a result, made task by task (train_rows.c) -------------------------------------- */

#define TRAIN_PART_ROWS 64u

struct train_pair {
    uint32_t id;
    float value;
};
/* The rows of one task, one after another. */
struct train_part {
    struct train_pair *pairs;
    size_t n, cap;
    uint32_t sizes[TRAIN_PART_ROWS];
};
/* Sums of one thread: of each column, and which columns have any. */
struct train_sums {
    double *of;
    uint32_t *touched;
    uint32_t n;
};
struct train_rows {
    uint32_t rows, cols;
    uint64_t tasks; /* of TRAIN_PART_ROWS rows each */
    unsigned threads;
    struct train_part *parts;
    struct train_sums *sums;
};
int train_rows_begin(struct train_rows *r, uint32_t rows, uint32_t cols, unsigned threads);
void train_rows_end(struct train_rows *r); /* a zero-filled struct is allowed */
/* The sums of this worker, all zero. NULL: no memory. */
struct train_sums *train_rows_sums(struct train_rows *r, unsigned worker);
static inline void train_sums_add(struct train_sums *sums, uint32_t column, double value) {
    if (sums->of[column] == 0) {
        sums->touched[sums->n++] = column;
    }
    sums->of[column] += value; /* values are positive: no sum comes back to 0 */
}
/* Room for n pairs more: the next row. NULL: no memory. */
struct train_pair *train_part_room(struct train_part *part, size_t n);
/* The n pairs in that room become row `row` of the part; if keep > 0 only the `keep` largest. */
void train_part_add(struct train_part *part, uint32_t row, uint32_t n, uint32_t keep);
int train_rows_join(const struct train_rows *r, struct train_matrix **out);

/* ---- EASE (train_ease.c and its forms) ------------------------------------------------------- */

/* P = (X'X + lambda I)^-1 of the items kept, as an operator. */
struct train_ease_problem {
    struct train_crew *crew;
    struct train_matrix *x, *xt; /* users x items kept, and transposed */
    double lambda;
    uint32_t n;     /* items kept */
    float *diag;    /* of P; > 0 */
    float *inverse; /* [n][n] P itself, or [users][users] (XX' + lambda I)^-1 */
    size_t inverse_bytes;
    float *scratch; /* [users][dim] twice, for the users form */
    float *v, *g;   /* low rank: [n][rank], [rank] */
    uint32_t rank;
    /* out = P x, panels of dim columns */
    int (*times)(struct train_ease_problem *p, const float *x, uint32_t dim, float *out);
};
int train_ease_items_solve(struct train_ease_problem *p, u2i_error_t *err);
int train_ease_users_solve(struct train_ease_problem *p, u2i_error_t *err);
/* in and out [n][dim] of the users form: exact if dim is the number of users. U2I_ENOMEM. */
int train_ease_users_factors(struct train_ease_problem *p, const struct train_ease_options *opt,
                             uint32_t dim, float *in, float *out);
int train_ease_low_rank_solve(struct train_ease_problem *p, const struct train_ease_options *opt,
                              u2i_error_t *err);
uint64_t train_ease_low_rank_memory(uint64_t items, uint64_t users, uint64_t rank);
/* in and out [n][rank] straight from the low rank form. */
void train_ease_low_rank_factors(const struct train_ease_problem *p, uint32_t dim, float *in,
                                 float *out);
/* Least value that P_jj can have: 1 / (|x_j|^2 + lambda). */
double train_ease_diag_floor(const struct train_ease_problem *p, uint32_t j);
/* Whether (X'X + lambda I) column ~ e_j. */
bool train_ease_column_holds(const struct train_ease_problem *p, uint32_t j, const float *column,
                             double *scratch);

/* Two vectors of each item (train_factor.c): in . out' ~ B = I - P / diag(P), its diagonal free. */
int train_factor(struct train_ease_problem *p, const struct train_ease_options *opt, uint32_t dim,
                 float *in, float *out);

#endif
