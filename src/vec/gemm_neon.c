/* NEON, which every AArch64 has. The float tile is 8 x 8: sixteen sums, two registers of weights. All but the products
 * and the bytes of rows is the scalar code.
 *
 * Bytes, four inputs a step: with the instruction for it (Armv8.2's SDOT, asked of the system) a step is two
 * instructions a row, which are four in floats; products of 16 bits, the only other way, are six, and slower than
 * floats. Both take 128 off x again, and find the same sums.
 *
 * Speed was not measured: it is run under an emulator only (tools/qemu-neon.sh). */
#include "vec/gemm_internal.h"
#include "vec/vec_internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>
#include <sys/auxv.h>

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

/* Bytes of x as they were before 128 was added. */
static int8x16_t gemm_neon_four(const uint8_t *x) {
    uint32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
}

/* Sums of x as it was: w_sum is what 128 would have added. */
static void gemm_neon_i8_end(const struct gemm_i8_tile *t, uint32_t r, int32x4_t low,
                             int32x4_t high) {
    float y[GEMM_NEON_COLS];
    const float32x4_t x_scale = vdupq_n_f32(t->x_scale[r]);
    vst1q_f32(y, vmulq_f32(vcvtq_f32_s32(low), vmulq_f32(x_scale, vld1q_f32(t->w_scale))));
    vst1q_f32(y + 4, vmulq_f32(vcvtq_f32_s32(high), vmulq_f32(x_scale, vld1q_f32(t->w_scale + 4))));
    for (size_t c = 0; c < t->cols; c++) {
        t->y[r * t->y_stride + c] = y[c] + t->bias[c];
    }
}

__attribute__((target("arch=armv8.2-a+dotprod"))) static void
gemm_neon_i8_dot(const struct gemm_i8_tile *t, uint32_t rows) {
    const uint8_t *x[GEMM_NEON_ROWS];
    int32x4_t low[GEMM_NEON_ROWS];
    int32x4_t high[GEMM_NEON_ROWS];
    for (uint32_t r = 0; r < GEMM_NEON_ROWS; r++) {
        x[r] = t->x + (r < rows ? r : rows - 1) * t->x_stride;
        low[r] = vdupq_n_s32(0);
        high[r] = vdupq_n_s32(0);
    }
    const int8_t *w = t->w;
    for (size_t i = 0; i < t->fours; i++, w += 4 * (size_t)GEMM_NEON_COLS) {
        const int8x16_t w0 = vld1q_s8(w);
        const int8x16_t w1 = vld1q_s8(w + 16);
        for (uint32_t r = 0; r < GEMM_NEON_ROWS; r++) {
            const int8x16_t x4 = gemm_neon_four(x[r] + 4 * i);
            low[r] = vdotq_s32(low[r], w0, x4);
            high[r] = vdotq_s32(high[r], w1, x4);
        }
    }
    for (uint32_t r = 0; r < rows; r++) {
        gemm_neon_i8_end(t, r, low[r], high[r]);
    }
}

/* sum += the products of four outputs' four bytes, each pair of them added: two bytes of +-127 fit into 16 bits. */
static inline void gemm_neon_add(int32x4_t sum[2], int8x16_t w, int8x16_t x) {
    sum[0] = vpadalq_s16(sum[0], vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    sum[1] = vpadalq_s16(sum[1], vmull_high_s8(w, x));
}

static void gemm_neon_i8(const struct gemm_i8_tile *t, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *const x = t->x + r * t->x_stride;
        const int8_t *w = t->w;
        int32x4_t low[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        int32x4_t high[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        for (size_t i = 0; i < t->fours; i++, w += 4 * (size_t)GEMM_NEON_COLS) {
            const int8x16_t x4 = gemm_neon_four(x + 4 * i);
            gemm_neon_add(low, vld1q_s8(w), x4);
            gemm_neon_add(high, vld1q_s8(w + 16), x4);
        }
        gemm_neon_i8_end(t, r, vpaddq_s32(low[0], low[1]), vpaddq_s32(high[0], high[1]));
    }
}

static float gemm_neon_i8_row(const float *x, size_t n, uint8_t *out) {
    const float scale = vec_neon_ops()->quantise_i8(x, n, (int8_t *)out);
    gemm_add_128(out, n);
    return scale;
}

#define GEMM_NEON_TABLE(tile, pays)                                                                \
    {                                                                                              \
        .name = "neon", .softmax = gemm_scalar_softmax, .norm = gemm_scalar_norm,                  \
        .gelu = gemm_scalar_gelu, .add = gemm_scalar_add, .i8_tile = (tile),                       \
        .i8_row = gemm_neon_i8_row, .i8_rows = GEMM_NEON_ROWS, .i8_cols = GEMM_NEON_COLS,          \
        .levels = 127, .i8_pays = (pays), .f32_tile = gemm_neon_f32, .f32_rows = GEMM_NEON_ROWS,   \
        .f32_cols = GEMM_NEON_COLS,                                                                \
    }

const struct gemm_ops *gemm_neon_ops(void) {
    static const struct gemm_ops with_dot = GEMM_NEON_TABLE(gemm_neon_i8_dot, true);
    static const struct gemm_ops without = GEMM_NEON_TABLE(gemm_neon_i8, false);
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? &with_dot : &without;
}

#else

const struct gemm_ops *gemm_neon_ops(void) {
    return NULL;
}

#endif
