/* The inverse of a large symmetric positive definite matrix, in place: the sweep operator by
 * blocks (Goodnight, "A tutorial on the SWEEP operator", 1979; Gauss-Jordan that keeps to one
 * half).
 *
 *     for each block K of rows:  D = A_KK^-1,  E = A_.K D
 *         A_ij -= E_i A_Kj  for i, j outside of K;   A_iK = E_i;   A_KK = -D
 *
 * After all blocks A is -A^-1. These are n^3 operations, as many as Cholesky and LAPACK's
 * inverse from it (spotrf, spotri) take, but all in one product of the same shape, even over
 * threads from first to last, which also can be stopped at any block. What it holds on the way
 * are Schur complements and inverses of leading blocks, none larger than A and A^-1 themselves,
 * so it loses no more figures than Cholesky does. Each strip of rows is one BLAS call on one
 * thread. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "train/train_blas.h"

#define SWEEP_BLOCK 256u /* rows swept at once */
#define SWEEP_STRIP 256u /* rows of one task */
#define SWEEP_STEP  64u  /* rows of one product on the diagonal */

struct sweep {
    float *a;
    uint32_t n, k, size; /* the block begins at row k */
    float *column;       /* A_.K [n][size], as it was */
    float *turned;       /* E */
    float *pivot;        /* D, both halves */
};

static uint32_t sweep_strips(uint32_t n) {
    return (n + SWEEP_STRIP - 1) / SWEEP_STRIP;
}

uint64_t train_inverse_tasks(uint32_t n) {
    return ((uint64_t)n + SWEEP_BLOCK - 1) / SWEEP_BLOCK * 2 * sweep_strips(n) + sweep_strips(n);
}

/* D from the block on the diagonal. */
static int sweep_pivot(struct sweep *s) {
    const int size = (int)s->size;
    int info = 0;
    for (uint32_t r = 0; r < s->size; r++) {
        memcpy(s->pivot + (size_t)r * s->size, s->a + (size_t)(s->k + r) * s->n + s->k,
               s->size * sizeof(float));
    }
    spotrf_("U", &size, s->pivot, &size, &info, 1);
    if (info == 0) {
        spotri_("U", &size, s->pivot, &size, &info, 1);
    }
    for (uint32_t r = 0; r < s->size; r++) {
        for (uint32_t c = 0; c < r; c++) {
            s->pivot[(size_t)c * s->size + r] = s->pivot[(size_t)r * s->size + c];
        }
    }
    return info == 0 ? U2I_OK : U2I_EINTERNAL;
}

/* Rows of A_.K: to the right of the block they lie in the other half. */
static int sweep_column_strip(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct sweep *const s = ctx;
    const uint32_t begin = (uint32_t)task * SWEEP_STRIP;
    const uint32_t end = s->n - begin < SWEEP_STRIP ? s->n : begin + SWEEP_STRIP;
    for (uint32_t i = begin; i < end; i++) {
        float *const row = s->column + (size_t)i * s->size;
        if (i >= s->k) {
            memcpy(row, s->a + (size_t)i * s->n + s->k, s->size * sizeof *row);
        }
    }
    for (uint32_t c = 0; c < s->size && begin < s->k; c++) {
        const float *const from = s->a + (size_t)(s->k + c) * s->n;
        const uint32_t stop = end < s->k ? end : s->k;
        for (uint32_t i = begin; i < stop; i++) {
            s->column[(size_t)i * s->size + c] = from[i];
        }
    }
    const int size = (int)s->size;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(end - begin), size, size, 1,
                s->column + (size_t)begin * s->size, size, s->pivot, size, 0,
                s->turned + (size_t)begin * s->size, size);
    return U2I_OK;
}

/* A_ij -= E_i A_Kj for rows begin .. end and columns from .. to */
static void sweep_subtract(const struct sweep *s, uint32_t begin, uint32_t end, uint32_t from,
                           uint32_t to) {
    const int size = (int)s->size;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(end - begin), (int)(to - from), size,
                -1, s->turned + (size_t)begin * s->size, size, s->column + (size_t)from * s->size,
                size, 1, s->a + (size_t)begin * s->n + from, (int)s->n);
}

/* The strip's rows of A, up to the diagonal. The longest strips come first. Rows and columns of the
 * block are changed along with the others and then written over. */
static int sweep_update_strip(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct sweep *const s = ctx;
    const uint32_t strip = sweep_strips(s->n) - 1 - (uint32_t)task;
    const uint32_t begin = strip * SWEEP_STRIP;
    const uint32_t end = s->n - begin < SWEEP_STRIP ? s->n : begin + SWEEP_STRIP;
    if (begin != s->k) { /* strips and blocks are the same rows */
        sweep_subtract(s, begin, end, 0, begin);
        for (uint32_t i = begin; i < end; i += SWEEP_STEP) {
            sweep_subtract(s, i, i + SWEEP_STEP < end ? i + SWEEP_STEP : end, begin,
                           i + SWEEP_STEP < end ? i + SWEEP_STEP : end);
        }
    }
    for (uint32_t i = begin; i < end; i++) {
        float *const row = s->a + (size_t)i * s->n;
        if (begin > s->k) {
            memcpy(row + s->k, s->turned + (size_t)i * s->size, s->size * sizeof *row);
        } else if (begin == s->k) {
            for (uint32_t c = 0; c < s->k; c++) {
                row[c] = s->turned[(size_t)c * s->size + (i - s->k)];
            }
            for (uint32_t c = 0; c < s->size; c++) {
                row[s->k + c] = -s->pivot[(size_t)(i - s->k) * s->size + c];
            }
        }
    }
    return U2I_OK;
}

/* The sign, and the other half; strip by strip, in blocks that the cache holds. */
static int sweep_mirror_strip(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    const struct sweep *const s = ctx;
    const uint32_t begin = (uint32_t)task * SWEEP_STRIP;
    const uint32_t end = s->n - begin < SWEEP_STRIP ? s->n : begin + SWEEP_STRIP;
    for (uint32_t c0 = 0; c0 < end; c0 += 16) {
        for (uint32_t i = begin; i < end; i++) {
            float *const row = s->a + (size_t)i * s->n;
            const uint32_t stop = i + 1 < c0 + 16 ? i + 1 : c0 + 16;
            for (uint32_t c = c0; c < stop; c++) {
                row[c] = -row[c];
                s->a[(size_t)c * s->n + i] = row[c];
            }
        }
    }
    return U2I_OK;
}

static int sweep_all(struct train_crew *crew, struct sweep *s) {
    const uint64_t strips = sweep_strips(s->n);
    for (s->k = 0; s->k < s->n; s->k += SWEEP_BLOCK) {
        s->size = s->n - s->k < SWEEP_BLOCK ? s->n - s->k : SWEEP_BLOCK;
        int rc = sweep_pivot(s);
        if (rc == U2I_OK) {
            rc = train_crew_run(crew, strips, sweep_column_strip, s);
        }
        if (rc == U2I_OK) {
            rc = train_crew_run(crew, strips, sweep_update_strip, s);
        }
        if (rc != U2I_OK) {
            return rc;
        }
    }
    return train_crew_run(crew, strips, sweep_mirror_strip, s);
}

int train_inverse(struct train_crew *crew, float *a, uint32_t n) {
    _Static_assert(SWEEP_BLOCK == SWEEP_STRIP, "a strip lies wholly in a block or outside of it");
    struct sweep s = {.a = a, .n = n};
    s.column = alloc_array((size_t)n * SWEEP_BLOCK, sizeof *s.column);
    s.turned = alloc_array((size_t)n * SWEEP_BLOCK, sizeof *s.turned);
    s.pivot = alloc_array((size_t)SWEEP_BLOCK * SWEEP_BLOCK, sizeof *s.pivot);
    int rc = U2I_ENOMEM;
    if (s.column != NULL && s.turned != NULL && s.pivot != NULL) {
        rc = sweep_all(crew, &s);
    }
    mem_free(s.pivot);
    mem_free(s.turned);
    mem_free(s.column);
    return rc;
}
