/* The reference: plain C that every other table is tested against, and what runs where nothing else
 * does. A tile of 4 x 8 sums, which the compiler keeps in the baseline's vector registers. */
#include "vec/gemm_internal.h"

#include <math.h>

#define GEMM_SCALAR_ROWS 4
#define GEMM_SCALAR_COLS 8

static void gemm_scalar_f32(const struct gemm_tile *t, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r++) {
        const float *const x = t->x + r * t->x_stride;
        const float *w = t->w;
        float sum[GEMM_SCALAR_COLS] = {0};
        for (size_t i = 0; i < t->k; i++, w += GEMM_SCALAR_COLS) {
            for (size_t c = 0; c < GEMM_SCALAR_COLS; c++) {
                sum[c] += x[i] * w[c];
            }
        }
        for (size_t c = 0; c < t->cols; c++) {
            t->y[r * t->y_stride + c] = sum[c] + t->base[r * t->base_stride + c];
        }
    }
}

const struct gemm_ops *gemm_scalar_ops(void) {
    static const struct gemm_ops ops = {
        .name = "scalar",
        .f32_tile = gemm_scalar_f32,
        .f32_rows = GEMM_SCALAR_ROWS,
        .f32_cols = GEMM_SCALAR_COLS,
    };
    return &ops;
}
