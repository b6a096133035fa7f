/* EASE^R (Steck, "Embarrassingly shallow autoencoders for sparse data", 2019): the item-to-item
 * matrix B that minimises |X - X B|^2 + lambda |B|^2 with a diagonal of zeros is, in closed
 * form,
 *
 *     P = (X'X + lambda I)^-1,   B_ij = -P_ij / P_jj.
 *
 * Only P's diagonal and products of P with panels are needed to factor B (train_factor.c), so
 * the forms differ in how they have these: P itself (here), or from the users' side
 * (train_ease_users.c), or from a truncated decomposition (train_ease_low_rank.c).
 *
 * Items with fewer than min_users rows are left out first: their columns of B would be noise. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include <math.h>

#define EASE_RANK       256u
#define EASE_ROUNDS     6u
#define EASE_MIN_USERS  2u
#define EASE_CHECKS     3 /* columns of P that are tried */
#define EASE_LAMBDA_MIN 200.0
#define EASE_LAMBDA_MAX 2000.0

void train_factors_free(struct train_factors *f) {
    if (f != NULL) {
        mem_free(f->in);
        mem_free(f->out);
        mem_free(f);
    }
}

/* ---- What is to be solved -------------------------------------------------------------------- */

struct ease_plan {
    struct train_ease_options opt; /* defaults filled in, but lambda and form */
    uint32_t *kept;                /* the items kept, ascending */
    uint32_t n;
    uint64_t entries; /* of X that are kept */
    double squares;   /* sum of their squares */
};

/* seen[i] = rows that item i has entries in. */
static int ease_plan_make(const struct train_matrix *x, const struct train_ease_options *opt,
                          struct ease_plan *plan) {
    *plan = (struct ease_plan){.opt = *opt};
    plan->opt.rank = opt->rank == 0 ? EASE_RANK : opt->rank;
    plan->opt.rounds = opt->rounds == 0 ? EASE_ROUNDS : opt->rounds;
    plan->opt.min_users = opt->min_users == 0 ? EASE_MIN_USERS : opt->min_users;
    uint32_t *const seen = mem_zalloc((size_t)x->cols * sizeof *seen);
    plan->kept = alloc_array(x->cols, sizeof *plan->kept);
    if (seen == NULL || plan->kept == NULL) {
        mem_free(seen);
        mem_free(plan->kept);
        plan->kept = NULL;
        return U2I_ENOMEM;
    }
    const uint64_t n = x->starts[x->rows];
    for (uint64_t i = 0; i < n; i++) {
        seen[x->ids[i]]++;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (seen[x->ids[i]] >= plan->opt.min_users) {
            plan->entries++;
            plan->squares += (double)x->values[i] * (double)x->values[i];
        }
    }
    for (uint32_t i = 0; i < x->cols; i++) {
        if (seen[i] >= plan->opt.min_users) {
            plan->kept[plan->n++] = i;
        }
    }
    mem_free(seen);
    return U2I_OK;
}

static double ease_lambda(const struct ease_plan *plan) {
    if (plan->opt.lambda > 0) {
        return plan->opt.lambda;
    }
    const double mean = plan->n == 0 ? 0 : plan->squares / plan->n;
    return fmin(fmax(10 * mean, EASE_LAMBDA_MIN), EASE_LAMBDA_MAX);
}

/* Operations of the exact forms: an inverse, and products of a square matrix with panels; a step
 * of a sparse product costs some 8 of a dense one's. */
static double ease_cost_items(const struct ease_plan *plan) {
    const double n = plan->n;
    return n * n * n + 2 * n * n * plan->opt.rank * (2.0 * plan->opt.rounds + 3);
}

static double ease_cost_users(const struct ease_plan *plan, double users) {
    const double panels = 2 * users * users * plan->opt.rank * (2.0 * plan->opt.rounds + 4);
    return users * users * users + panels + 16 * plan->opt.rank * (double)plan->entries;
}

static enum train_ease_form ease_form(const struct ease_plan *plan, uint32_t users) {
    if (plan->opt.form != TRAIN_EASE_AUTO) {
        return plan->opt.form;
    }
    const bool by_items = plan->n <= TRAIN_EASE_ITEMS_MAX;
    const bool by_users = users <= TRAIN_EASE_ITEMS_MAX;
    if (by_items && by_users) {
        return ease_cost_items(plan) <= ease_cost_users(plan, users) ? TRAIN_EASE_ITEMS
                                                                     : TRAIN_EASE_USERS;
    }
    return by_items ? TRAIN_EASE_ITEMS : by_users ? TRAIN_EASE_USERS : TRAIN_EASE_LOW_RANK;
}

/* X without the columns that are left out, numbered anew. */
static struct train_matrix *ease_keep(const struct train_matrix *x, const struct ease_plan *plan) {
    struct train_matrix *const m = train_matrix_alloc(x->rows, plan->n, plan->entries);
    uint32_t *const number = alloc_array(x->cols, sizeof *number);
    if (m == NULL || number == NULL) {
        train_matrix_free(m);
        mem_free(number);
        return NULL;
    }
    memset(number, 0xFF, (size_t)x->cols * sizeof *number);
    for (uint32_t i = 0; i < plan->n; i++) {
        number[plan->kept[i]] = i;
    }
    uint64_t to = 0;
    for (uint32_t r = 0; r < x->rows; r++) {
        for (uint64_t i = x->starts[r]; i < x->starts[r + 1]; i++) {
            if (number[x->ids[i]] != UINT32_MAX) {
                m->ids[to] = number[x->ids[i]];
                m->values[to++] = x->values[i];
            }
        }
        m->starts[r + 1] = to;
    }
    mem_free(number);
    return m;
}

/* ---- Solving --------------------------------------------------------------------------------- */

double train_ease_diag_floor(const struct train_ease_problem *p, uint32_t j) {
    double square = p->lambda;
    for (uint64_t i = p->xt->starts[j]; i < p->xt->starts[j + 1]; i++) {
        square += (double)p->xt->values[i] * (double)p->xt->values[i];
    }
    return 1 / square;
}

/* |X'X c + lambda c - e_j| against what single precision can be asked for: the same product of
 * absolute values, of which each summand is rounded, and of 1 / lambda, from which the users'
 * form subtracts. X has no negative entries. */
bool train_ease_column_holds(const struct train_ease_problem *p, uint32_t j, const float *column,
                             double *scratch) {
    double *const sum = scratch;
    double *const size = scratch + p->n;
    for (uint32_t i = 0; i < p->n; i++) {
        sum[i] = p->lambda * (double)column[i] - (i == j);
        size[i] = p->lambda * fabs((double)column[i]) + (i == j);
    }
    for (uint32_t u = 0; u < p->x->rows; u++) {
        double dot = 0;
        double most = 0;
        for (uint64_t i = p->x->starts[u]; i < p->x->starts[u + 1]; i++) {
            dot += (double)p->x->values[i] * (double)column[p->x->ids[i]];
            most += (double)p->x->values[i] *
                    (fabs((double)column[p->x->ids[i]]) + (p->x->ids[i] == j ? 1 / p->lambda : 0));
        }
        for (uint64_t i = p->x->starts[u]; i < p->x->starts[u + 1]; i++) {
            sum[p->x->ids[i]] += (double)p->x->values[i] * dot;
            size[p->x->ids[i]] += (double)p->x->values[i] * most;
        }
    }
    double off = 0;
    double scale = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        off += sum[i] * sum[i];
        scale += size[i] * size[i];
    }
    return sqrt(off) <= 1e-3 + 1e-5 * sqrt(scale);
}

static int ease_check(struct train_ease_problem *p, uint64_t seed, u2i_error_t *err) {
    float *const unit = mem_zalloc(p->n * sizeof *unit);
    float *const column = alloc_array(p->n, sizeof *column);
    double *const scratch = alloc_array(2 * (size_t)p->n, sizeof *scratch);
    int rc = unit == NULL || column == NULL || scratch == NULL ? error_oom(err) : U2I_OK;
    struct rng rng;
    rng_seed(&rng, seed);
    for (int i = 0; rc == U2I_OK && i < EASE_CHECKS; i++) {
        const uint32_t j = rng_below(&rng, p->n);
        unit[j] = 1;
        rc = train_fail(err, p->times(p, unit, 1, column));
        unit[j] = 0;
        if (rc == U2I_OK && !train_ease_column_holds(p, j, column, scratch)) {
            rc = error_set(
                err, U2I_EINTERNAL,
                "column %u of a matrix's inverse is wrong: this OpenBLAS does not work on "
                "this CPU; OPENBLAS_CORETYPE=Haswell may help, or a newer OpenBLAS",
                j);
        }
    }
    mem_free(scratch);
    mem_free(column);
    mem_free(unit);
    return rc;
}

static int ease_items_times(struct train_ease_problem *p, const float *x, uint32_t dim,
                            float *out) {
    return train_dense_times(p->crew, p->inverse, p->n, x, dim, out);
}

int train_ease_items_solve(struct train_ease_problem *p, u2i_error_t *err) {
    p->inverse_bytes = (size_t)p->n * p->n * sizeof *p->inverse;
    p->inverse = pages_alloc(p->inverse_bytes); /* large pages: it is read along columns too */
    if (p->inverse == NULL) {
        return error_oom(err);
    }
    int rc = train_crew_step(p->crew, train_sparse_tasks(p->n) + train_inverse_tasks(p->n));
    if (rc == U2I_OK) {
        rc = train_sparse_gram(p->crew, p->xt, p->x, p->lambda, p->inverse);
    }
    if (rc == U2I_OK) {
        rc = train_inverse(p->crew, p->inverse, p->n);
    }
    for (uint32_t j = 0; rc == U2I_OK && j < p->n; j++) {
        const size_t at = (size_t)j * p->n + j;
        p->diag[j] = p->inverse[at];
    }
    p->times = ease_items_times;
    return train_fail(err, rc);
}

static void ease_close(struct train_ease_problem *p) {
    train_matrix_free(p->x);
    train_matrix_free(p->xt);
    mem_free(p->diag);
    pages_free(p->inverse, p->inverse_bytes);
    mem_free(p->scratch);
    mem_free(p->v);
    mem_free(p->g);
    if (p->crew != NULL) {
        train_crew_end(p->crew);
    }
}

static int ease_open(const struct train_matrix *x, const struct ease_plan *plan,
                     struct train_ease_problem *p, u2i_error_t *err) {
    p->lambda = ease_lambda(plan);
    p->n = plan->n;
    p->x = ease_keep(x, plan);
    if (p->x == NULL) {
        return error_oom(err);
    }
    U2I_TRY(train_matrix_transpose(p->x, &p->xt, err));
    p->diag = alloc_array(p->n, sizeof *p->diag);
    return p->diag == NULL ? error_oom(err) : U2I_OK;
}

/* P of the items kept, checked. */
static int ease_solve(struct train_ease_problem *p, enum train_ease_form form,
                      const struct train_ease_options *opt, u2i_error_t *err) {
    if (form == TRAIN_EASE_LOW_RANK) {
        return train_ease_low_rank_solve(p, opt, err);
    }
    const uint32_t side = form == TRAIN_EASE_ITEMS ? p->n : p->x->rows;
    if (side > TRAIN_EASE_ITEMS_MAX) {
        return error_set(err, U2I_EINVAL, "%u %s are over %u: too many for this form of EASE", side,
                         form == TRAIN_EASE_ITEMS ? "items" : "users", TRAIN_EASE_ITEMS_MAX);
    }
    U2I_TRY(form == TRAIN_EASE_ITEMS ? train_ease_items_solve(p, err)
                                     : train_ease_users_solve(p, err));
    for (uint32_t j = 0; j < p->n; j++) { /* rounding must not make a division by 0 */
        p->diag[j] = fmaxf(p->diag[j], (float)train_ease_diag_floor(p, j));
    }
    return ease_check(p, opt->seed, err);
}

/* ---- Results --------------------------------------------------------------------------------- */

static struct train_factors *ease_factors_alloc(uint32_t n, uint32_t dim) {
    struct train_factors *const f = mem_zalloc(sizeof *f);
    if (f != NULL) {
        *f = (struct train_factors){.n = n, .dim = dim};
        f->in = alloc_array((size_t)n * dim, sizeof *f->in);
        f->out = alloc_array((size_t)n * dim, sizeof *f->out);
        if (f->in == NULL || f->out == NULL) {
            train_factors_free(f);
            return NULL;
        }
    }
    return f;
}

/* The first rows are those of the items kept: to where these belong, from the last one on. */
static void ease_spread(float *rows, uint32_t n, uint32_t dim, const struct ease_plan *plan) {
    uint32_t next = plan->n;
    for (uint32_t i = n; i-- > 0;) {
        if (next > 0 && plan->kept[next - 1] == i) {
            next--;
            memmove(rows + (size_t)i * dim, rows + (size_t)next * dim, dim * sizeof *rows);
        } else {
            memset(rows + (size_t)i * dim, 0, dim * sizeof *rows);
        }
    }
}

static int ease_factor(struct train_ease_problem *p, const struct ease_plan *plan,
                       struct train_factors *f, u2i_error_t *err) {
    if (p->n > 0) {
        const enum train_ease_form form = ease_form(plan, p->x->rows);
        struct train_ease_options opt = plan->opt;
        opt.rank = f->dim;
        U2I_TRY(ease_solve(p, form, &opt, err));
        if (form == TRAIN_EASE_LOW_RANK) {
            train_ease_low_rank_factors(p, f->dim, f->in, f->out);
        } else if (form == TRAIN_EASE_USERS) {
            U2I_TRY(train_fail(err, train_ease_users_factors(p, &opt, f->dim, f->in, f->out)));
        } else {
            U2I_TRY(train_fail(err, train_factor(p, &opt, f->dim, f->in, f->out)));
        }
    }
    ease_spread(f->in, f->n, f->dim, plan);
    ease_spread(f->out, f->n, f->dim, plan);
    return U2I_OK;
}

int train_ease(const struct train_matrix *x, const struct train_ease_options *opt,
               const struct train_work *work, struct train_factors **out, u2i_error_t *err) {
    *out = NULL;
    struct ease_plan plan;
    if (ease_plan_make(x, opt, &plan) != U2I_OK) {
        return error_oom(err);
    }
    struct train_crew crew;
    train_crew_begin(&crew, work);
    struct train_ease_problem p = {.crew = &crew};
    const uint32_t rank = plan.n < plan.opt.rank ? plan.n : plan.opt.rank;
    struct train_factors *f = NULL;
    int rc = ease_open(x, &plan, &p, err);
    if (rc == U2I_OK) {
        f = ease_factors_alloc(x->cols, rank == 0 ? 1 : rank);
        rc = f == NULL ? error_oom(err) : ease_factor(&p, &plan, f, err);
    }
    if (rc == U2I_OK) {
        *out = f;
    } else {
        train_factors_free(f);
    }
    ease_close(&p);
    mem_free(plan.kept);
    return rc;
}

/* B's rows and columns of some 64 items j, from those of P. */
static int ease_full_columns(struct train_ease_problem *p, const struct ease_plan *plan,
                             uint32_t cols, float *b) {
    enum { BATCH = 64 };
    float *const unit = alloc_array((size_t)p->n * BATCH, sizeof *unit);
    float *const column = alloc_array((size_t)p->n * BATCH, sizeof *column);
    int rc = unit == NULL || column == NULL ? U2I_ENOMEM : U2I_OK;
    for (uint32_t at = 0; rc == U2I_OK && at < p->n; at += BATCH) {
        const uint32_t size = p->n - at < BATCH ? p->n - at : BATCH;
        memset(unit, 0, (size_t)p->n * size * sizeof *unit);
        for (uint32_t c = 0; c < size; c++) {
            unit[(size_t)(at + c) * size + c] = 1;
        }
        rc = p->times(p, unit, size, column);
        for (uint32_t i = 0; rc == U2I_OK && i < p->n; i++) {
            float *const row = b + (size_t)plan->kept[i] * cols;
            for (uint32_t c = 0; c < size; c++) {
                row[plan->kept[at + c]] = -column[(size_t)i * size + c] / p->diag[at + c];
            }
        }
    }
    mem_free(column);
    mem_free(unit);
    return rc;
}

/* P itself is there: no products needed. */
static void ease_full_rows(const struct train_ease_problem *p, const struct ease_plan *plan,
                           uint32_t cols, float *b) {
    for (uint32_t i = 0; i < p->n; i++) {
        const float *const from = p->inverse + (size_t)i * p->n;
        float *const row = b + (size_t)plan->kept[i] * cols;
        for (uint32_t j = 0; j < p->n; j++) {
            row[plan->kept[j]] = -from[j] / p->diag[j];
        }
    }
}

static int ease_full_low_rank(const struct train_ease_problem *p, const struct ease_plan *plan,
                              uint32_t cols, float *b) {
    const size_t n = p->n;
    float *const in = alloc_array(n * p->rank, sizeof *in);
    float *const out = alloc_array(n * p->rank, sizeof *out);
    if (in != NULL && out != NULL) {
        train_ease_low_rank_factors(p, p->rank, in, out);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                double sum = 0;
                for (size_t k = 0; k < p->rank; k++) {
                    sum += (double)in[i * p->rank + k] * (double)out[j * p->rank + k];
                }
                b[(size_t)plan->kept[i] * cols + plan->kept[j]] = (float)sum;
            }
        }
    }
    const int rc = in == NULL || out == NULL ? U2I_ENOMEM : U2I_OK;
    mem_free(out);
    mem_free(in);
    return rc;
}

static int ease_full(struct train_ease_problem *p, const struct ease_plan *plan, uint32_t cols,
                     float *b, u2i_error_t *err) {
    if (p->n == 0) {
        return U2I_OK;
    }
    const enum train_ease_form form = ease_form(plan, p->x->rows);
    U2I_TRY(ease_solve(p, form, &plan->opt, err));
    int rc = U2I_OK;
    if (form == TRAIN_EASE_ITEMS) {
        ease_full_rows(p, plan, cols, b);
    } else if (form == TRAIN_EASE_USERS) {
        rc = ease_full_columns(p, plan, cols, b);
    } else {
        rc = ease_full_low_rank(p, plan, cols, b);
    }
    for (uint32_t j = 0; j < p->n; j++) {
        b[(size_t)plan->kept[j] * cols + plan->kept[j]] = 0;
    }
    return train_fail(err, rc);
}

int train_ease_full(const struct train_matrix *x, const struct train_ease_options *opt,
                    const struct train_work *work, float **out, u2i_error_t *err) {
    *out = NULL;
    struct ease_plan plan;
    if (ease_plan_make(x, opt, &plan) != U2I_OK) {
        return error_oom(err);
    }
    struct train_crew crew;
    train_crew_begin(&crew, work);
    struct train_ease_problem p = {.crew = &crew};
    float *b = NULL;
    int rc = ease_open(x, &plan, &p, err);
    if (rc == U2I_OK) {
        b = mem_zalloc((size_t)x->cols * x->cols * sizeof *b);
        rc = b == NULL ? error_oom(err) : ease_full(&p, &plan, x->cols, b, err);
    }
    if (rc == U2I_OK) {
        *out = b;
    } else {
        mem_free(b);
    }
    ease_close(&p);
    mem_free(plan.kept);
    return rc;
}

uint64_t train_ease_memory(const struct train_matrix *x, const struct train_ease_options *opt) {
    struct ease_plan plan;
    if (ease_plan_make(x, opt, &plan) != U2I_OK) {
        return UINT64_MAX; /* not even room for a number per item */
    }
    const enum train_ease_form form = ease_form(&plan, x->rows);
    const uint64_t n = plan.n;
    const uint64_t users = x->rows;
    const uint64_t rank = plan.opt.rank < n ? plan.opt.rank : n;
    const uint64_t floats = sizeof(float);
    uint64_t bytes = 2 * (plan.entries * 8 + (n + users + 2) * 8) + (uint64_t)x->cols * 8;
    bytes += 2 * (uint64_t)x->cols * rank * floats; /* the result */
    bytes += 24 * rank * rank * sizeof(double);     /* Gram matrices in pieces */
    if (form == TRAIN_EASE_ITEMS) {
        bytes += n * n * floats + 512 * n * floats + n * rank * floats;
    } else if (form == TRAIN_EASE_USERS) {
        bytes += users * users * floats + (512 + 2 * (rank + 16)) * users * floats;
    } else {
        bytes += train_ease_low_rank_memory(n, users, rank);
    }
    mem_free(plan.kept);
    return bytes;
}
