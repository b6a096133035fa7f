/* Dense panels (tall, narrow, row-major) and symmetric matrices: the few operations that the
 * factorings stand on, cut into strips of fixed height that are one BLAS call each.
 *
 * Orthonormal bases come from the Cholesky factor of the panel's Gram matrix (CholeskyQR), as
 * that is all matrix products: Fukaya et al., "Shifted Cholesky QR for computing the QR
 * factorization of ill-conditioned matrices" (2020). The shift, 1e-6 of the largest diagonal
 * value, keeps a dependent column from failing it; each further pass makes what is independent
 * orthonormal. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "train/train_blas.h"
#include <math.h>

#define STRIP_ROWS  128u /* of one BLAS call */
#define DENSE_ROWS  512u /* of one with a large matrix: the panel is packed anew in each */
#define DENSE_LARGE 2048u
#define GRAM_PIECES 16u  /* partial sums of a Gram matrix, at most */
#define GRAM_ROWS   512u /* summed in single precision at most */

struct panel_job {
    const float *a, *x;
    float *out;
    double *partial;
    uint32_t n, dim, pieces;
};

static uint32_t strip_rows(uint32_t n, uint64_t task) {
    const uint32_t left = n - (uint32_t)task * STRIP_ROWS;
    return left < STRIP_ROWS ? left : STRIP_ROWS;
}

static uint64_t strip_count(uint32_t n) {
    return ((uint64_t)n + STRIP_ROWS - 1) / STRIP_ROWS;
}

static uint32_t dense_rows(uint32_t n) {
    return n < DENSE_LARGE ? STRIP_ROWS : DENSE_ROWS;
}

static int dense_times_strip(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct panel_job *const j = ctx;
    const uint32_t rows = dense_rows(j->n);
    const size_t at = (size_t)task * rows;
    const size_t left = j->n - at;
    const int n = (int)j->n;
    const int dim = (int)j->dim;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(left < rows ? left : rows), dim, n,
                1, j->a + at * j->n, n, j->x, dim, 0, j->out + at * j->dim, dim);
    return U2I_OK;
}

int train_dense_times(struct train_crew *crew, const float *a, uint32_t n, const float *x,
                      uint32_t dim, float *out) {
    struct panel_job job = {.a = a, .x = x, .out = out, .n = n, .dim = dim};
    const uint32_t rows = dense_rows(n);
    return train_crew_run(crew, ((uint64_t)n + rows - 1) / rows, dense_times_strip, &job);
}

/* ---- Gram matrices --------------------------------------------------------------------------- */

/* One piece: its rows by the hundred into a block of floats, the blocks into doubles. */
static int panel_gram_piece(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct panel_job *const j = ctx;
    const size_t square = (size_t)j->dim * j->dim;
    const size_t begin = (size_t)(task * j->n / j->pieces);
    const size_t end = (size_t)((task + 1) * j->n / j->pieces);
    double *const sum = j->partial + task * square;
    float *const block = alloc_array(square, sizeof *block);
    if (block == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t at = begin; at < end; at += GRAM_ROWS) {
        const size_t rows = end - at < GRAM_ROWS ? end - at : GRAM_ROWS;
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)j->dim, (int)rows, 1,
                    j->x + at * j->dim, (int)j->dim, 0, block, (int)j->dim);
        for (uint32_t r = 0; r < j->dim; r++) {
            for (uint32_t c = 0; c <= r; c++) {
                sum[(size_t)r * j->dim + c] += (double)block[(size_t)r * j->dim + c];
            }
        }
    }
    mem_free(block);
    return U2I_OK;
}

int train_panel_gram(struct train_crew *crew, const float *x, uint32_t n, uint32_t dim,
                     double *gram) {
    const size_t square = (size_t)dim * dim;
    const uint32_t wanted = n / GRAM_ROWS + 1; /* depends on n only, not on threads */
    struct panel_job job = {.x = x, .n = n, .dim = dim};
    job.pieces = wanted < GRAM_PIECES ? wanted : GRAM_PIECES;
    job.partial = mem_zalloc(job.pieces * square * sizeof *job.partial);
    if (job.partial == NULL) {
        return U2I_ENOMEM;
    }
    const int rc = train_crew_run(crew, job.pieces, panel_gram_piece, &job);
    for (uint32_t r = 0; r < dim; r++) {
        for (uint32_t c = 0; c <= r; c++) {
            double sum = 0;
            for (size_t p = 0; p < job.pieces; p++) {
                sum += job.partial[p * square + (size_t)r * dim + c];
            }
            gram[(size_t)r * dim + c] = sum;
            gram[(size_t)c * dim + r] = sum;
        }
    }
    mem_free(job.partial);
    return rc;
}

/* ---- Changing a panel's columns -------------------------------------------------------------- */

static int panel_turn_strip(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct panel_job *const j = ctx;
    const int dim = (int)j->dim;
    const uint32_t rows = strip_rows(j->n, task);
    float *const x = j->out + (size_t)task * STRIP_ROWS * j->dim;
    float *const old = mem_dup(x, (size_t)rows * j->dim * sizeof *x);
    if (old == NULL) {
        return U2I_ENOMEM;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, dim, dim, 1, old, dim, j->a,
                dim, 0, x, dim);
    mem_free(old);
    return U2I_OK;
}

int train_panel_turn(struct train_crew *crew, float *x, uint32_t n, uint32_t dim,
                     const float *turn) {
    struct panel_job job = {.a = turn, .out = x, .n = n, .dim = dim};
    return train_crew_run(crew, strip_count(n), panel_turn_strip, &job);
}

/* x = x L^-T for the factor's inverse in a: upper triangle, row-major. */
static int panel_solve_strip(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct panel_job *const j = ctx;
    cblas_strmm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit,
                (int)strip_rows(j->n, task), (int)j->dim, 1, j->a, (int)j->dim,
                j->out + (size_t)task * STRIP_ROWS * j->dim, (int)j->dim);
    return U2I_OK;
}

/* The upper triangle R^-1 of gram + shift I = R'R, as floats; `work` is as large as gram.
 * Rounding may have left a dependent column's pivot negative by more than the shift: then a
 * larger one is tried. */
static int panel_factor(const double *gram, uint32_t dim, double *work, float *inverse) {
    const size_t square = (size_t)dim * dim;
    const int n = (int)dim;
    int info = 1;
    double largest = 0;
    for (uint32_t i = 0; i < dim; i++) {
        const double own = gram[(size_t)i * dim + i];
        largest = own > largest || isnan(own) ? own : largest;
    }
    if (!(largest > 1e-30)) { /* a panel of zeros stays one */
        memset(inverse, 0, square * sizeof *inverse);
        return isnan(largest) ? U2I_EINTERNAL : U2I_OK;
    }
    for (double shift = 1e-6; info != 0 && shift < 1; shift *= 10) {
        memcpy(work, gram, square * sizeof *work);
        for (uint32_t i = 0; i < dim; i++) {
            work[(size_t)i * dim + i] += shift * largest;
        }
        dpotrf_("L", &n, work, &n, &info, 1); /* column-major L is row-major R */
    }
    if (info == 0) {
        dtrtri_("L", "N", &n, work, &n, &info, 1, 1);
    }
    for (size_t i = 0; i < square; i++) {
        inverse[i] = (float)work[i];
    }
    return info == 0 ? U2I_OK : U2I_EINTERNAL;
}

int train_panel_orthonormal(struct train_crew *crew, float *x, uint32_t n, uint32_t dim,
                            int passes) {
    const size_t square = (size_t)dim * dim;
    double *const gram = alloc_array(2 * square, sizeof *gram);
    float *const inverse = alloc_array(square, sizeof *inverse);
    int rc = gram == NULL || inverse == NULL ? U2I_ENOMEM : U2I_OK;
    for (int pass = 0; rc == U2I_OK && pass < passes; pass++) {
        struct panel_job job = {.a = inverse, .out = x, .n = n, .dim = dim};
        rc = train_panel_gram(crew, x, n, dim, gram);
        if (rc == U2I_OK) {
            rc = panel_factor(gram, dim, gram + square, inverse);
        }
        if (rc == U2I_OK) {
            rc = train_crew_run(crew, strip_count(n), panel_solve_strip, &job);
        }
    }
    mem_free(inverse);
    mem_free(gram);
    return rc;
}

/* Uniform in -1 .. 1, two of each number: any distribution without a preferred direction does. */
void train_panel_random(float *x, size_t n, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i += 2) {
        const uint64_t bits = rng_u64(&rng);
        x[i] = (float)(int32_t)(uint32_t)bits * 0x1p-31f;
        if (i + 1 < n) {
            x[i + 1] = (float)(int32_t)(uint32_t)(bits >> 32) * 0x1p-31f;
        }
    }
}

void train_panel_cross(const float *x, const float *y, uint32_t n, uint32_t dim, double *cross) {
    memset(cross, 0, (size_t)dim * dim * sizeof *cross);
    for (size_t i = 0; i < n; i++) {
        const float *const a = x + i * dim;
        const float *const b = y + i * dim;
        for (size_t r = 0; r < dim; r++) {
            const double scale = (double)a[r];
            for (size_t c = 0; c < dim; c++) {
                cross[r * dim + c] += scale * (double)b[c];
            }
        }
    }
    for (size_t r = 0; r < dim; r++) {
        for (size_t c = 0; c < r; c++) {
            const double mean = (cross[r * dim + c] + cross[c * dim + r]) / 2;
            cross[r * dim + c] = mean;
            cross[c * dim + r] = mean;
        }
    }
}

int train_eigen(double *a, uint32_t n, double *values) {
    const int order = (int)n;
    int info = 0;
    const int n_work = 1 + 6 * order + 2 * order * order;
    const int n_iwork = 3 + 5 * order;
    double *const work = alloc_array((size_t)n_work, sizeof *work);
    int *const iwork = alloc_array((size_t)n_iwork, sizeof *iwork);
    int rc = U2I_ENOMEM;
    if (work != NULL && iwork != NULL) {
        dsyevd_("V", "U", &order, a, &order, values, work, &n_work, iwork, &n_iwork, &info, 1, 1);
        rc = info == 0 ? U2I_OK : U2I_EINTERNAL;
    }
    mem_free(iwork);
    mem_free(work);
    return rc;
}
