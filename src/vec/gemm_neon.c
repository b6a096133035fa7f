/* NEON, which every AArch64 has. The float tile is 8 x 8: sixteen sums, two registers of weights.
 * All but the product of floats and the bytes of rows is the scalar code.
 *
 * Speed was not measured: it is run under an emulator only (tools/qemu-neon.sh). */
#include "vec/gemm_internal.h"
#include "vec/vec_internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define GEMM_NEON_ROWS 8
#define GEMM_NEON_COLS 8

/* Rows past the last one of the tile repeat it: one kernel for every number of rows. */
static void gemm_neon_f32(const struct gemm_tile *t, uint32_t rows) {
    const float *x[GEMM_NEON_ROWS];
    float32x4_t low[GEMM_NEON_ROWS];
    float32x4_t high[GEMM_NEON_ROWS];
    for (uint32_t r = 0; r < GEMM_NEON_ROWS; r++) {
        x[r] = t->x + (r < rows ? r : rows - 1) * t->x_stride;
        low[r] = vdupq_n_f32(0);
        high[r] = vdupq_n_f32(0);
    }
    const float *w = t->w;
    for (size_t i = 0; i < t->k; i++, w += GEMM_NEON_COLS) {
        const float32x4_t w0 = vld1q_f32(w);
        const float32x4_t w1 = vld1q_f32(w + 4);
        for (uint32_t r = 0; r < GEMM_NEON_ROWS; r++) {
            low[r] = vfmaq_n_f32(low[r], w0, x[r][i]);
            high[r] = vfmaq_n_f32(high[r], w1, x[r][i]);
        }
    }
    for (uint32_t r = 0; r < rows; r++) {
        float sum[GEMM_NEON_COLS];
        vst1q_f32(sum, low[r]);
        vst1q_f32(sum + 4, high[r]);
        for (size_t c = 0; c < t->cols; c++) {
            t->y[r * t->y_stride + c] = sum[c] + t->base[r * t->base_stride + c];
        }
    }
}

static float gemm_neon_i8_row(const float *x, size_t n, uint8_t *out) {
    const float scale = vec_neon_ops()->quantise_i8(x, n, (int8_t *)out);
    gemm_add_128(out, n);
    return scale;
}

const struct gemm_ops *gemm_neon_ops(void) {
    static const struct gemm_ops ops = {
        .name = "neon",
        .softmax = gemm_scalar_softmax,
        .norm = gemm_scalar_norm,
        .gelu = gemm_scalar_gelu,
        .add = gemm_scalar_add,
        .i8_tile = gemm_scalar_i8,
        .i8_row = gemm_neon_i8_row,
        .i8_rows = GEMM_NEON_ROWS,
        .i8_cols = GEMM_NEON_COLS, /* as gemm_scalar_i8() has it */
        .levels = 127,
        .f32_tile = gemm_neon_f32,
        .f32_rows = GEMM_NEON_ROWS,
        .f32_cols = GEMM_NEON_COLS,
    };
    return &ops;
}

#else

const struct gemm_ops *gemm_neon_ops(void) {
    return NULL;
}

#endif
