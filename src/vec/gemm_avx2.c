/* AVX2 + FMA. Compiled with those instructions switched on; called only after vec.c has asked the
 * processor. The float tile is 6 x 16: twelve sums, two registers of weights, one of x. */
#include "vec/gemm_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define GEMM_AVX2_ROWS 6
#define GEMM_AVX2_COLS 16

/* The lanes below n of a masked load or store: all from 8 on. */
static __m256i gemm_avx2_mask(size_t n) {
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    const size_t lanes = n < 8 ? n : 8;
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + 8 - lanes));
}

/* Always inlined with `rows` a constant, so that the loops over rows unroll and the sums are
 * registers. */
__attribute__((always_inline)) static inline void gemm_avx2_f32_n(const struct gemm_tile *t,
                                                                  const uint32_t rows) {
    __m256 low[GEMM_AVX2_ROWS];
    __m256 high[GEMM_AVX2_ROWS];
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        low[r] = _mm256_setzero_ps();
        high[r] = _mm256_setzero_ps();
    }
    const float *const x = t->x;
    const float *w = t->w;
    const size_t stride = t->x_stride;
    for (size_t i = 0; i < t->k; i++, w += GEMM_AVX2_COLS) {
        const __m256 w0 = _mm256_load_ps(w);
        const __m256 w1 = _mm256_load_ps(w + 8);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            const __m256 one = _mm256_broadcast_ss(x + r * stride + i);
            low[r] = _mm256_fmadd_ps(one, w0, low[r]);
            high[r] = _mm256_fmadd_ps(one, w1, high[r]);
        }
    }
    const __m256i m0 = gemm_avx2_mask(t->cols);
    const __m256i m1 = gemm_avx2_mask(t->cols < 8 ? 0 : t->cols - 8);
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        const float *const base = t->base + r * t->base_stride;
        float *const y = t->y + r * t->y_stride;
        _mm256_maskstore_ps(y, m0, _mm256_add_ps(low[r], _mm256_maskload_ps(base, m0)));
        _mm256_maskstore_ps(y + 8, m1, _mm256_add_ps(high[r], _mm256_maskload_ps(base + 8, m1)));
    }
}

static void gemm_avx2_f32(const struct gemm_tile *t, uint32_t rows) {
    switch (rows) {
    case 1:
        gemm_avx2_f32_n(t, 1);
        break;
    case 2:
        gemm_avx2_f32_n(t, 2);
        break;
    case 3:
        gemm_avx2_f32_n(t, 3);
        break;
    case 4:
        gemm_avx2_f32_n(t, 4);
        break;
    case 5:
        gemm_avx2_f32_n(t, 5);
        break;
    default:
        gemm_avx2_f32_n(t, 6);
    }
}

const struct gemm_ops *gemm_avx2_ops(void) {
    static const struct gemm_ops ops = {
        .name = "avx2",
        .f32_tile = gemm_avx2_f32,
        .f32_rows = GEMM_AVX2_ROWS,
        .f32_cols = GEMM_AVX2_COLS,
    };
    return &ops;
}

#else

const struct gemm_ops *gemm_avx2_ops(void) {
    return NULL;
}

#endif
