/* AVX-512 F, BW, VL, DQ and VNNI. Compiled with those instructions switched on; called only after vec.c
 * has asked the processor for each of them. The float tile is 12 x 32: 24 sums, two registers of
 * weights, one of x. */
#include "vec/gemm_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define GEMM_AVX512_ROWS 12
#define GEMM_AVX512_COLS 32

/* The low n lanes; all from 16 on. */
static __mmask16 gemm_avx512_mask(size_t n) {
    return (__mmask16)((1u << (n < 16 ? n : 16)) - 1);
}

/* Always inlined with `rows` a constant, so that the loops over rows unroll and the sums are
 * registers. */
__attribute__((always_inline)) static inline void gemm_avx512_f32_n(const struct gemm_tile *t,
                                                                    const uint32_t rows) {
    __m512 low[GEMM_AVX512_ROWS];
    __m512 high[GEMM_AVX512_ROWS];
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        low[r] = _mm512_setzero_ps();
        high[r] = _mm512_setzero_ps();
    }
    const float *const x = t->x;
    const float *w = t->w;
    const size_t stride = t->x_stride;
    for (size_t i = 0; i < t->k; i++, w += GEMM_AVX512_COLS) {
        const __m512 w0 = _mm512_load_ps(w);
        const __m512 w1 = _mm512_load_ps(w + 16);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            const __m512 one = _mm512_set1_ps(x[r * stride + i]);
            low[r] = _mm512_fmadd_ps(one, w0, low[r]);
            high[r] = _mm512_fmadd_ps(one, w1, high[r]);
        }
    }
    const __mmask16 m0 = gemm_avx512_mask(t->cols);
    const __mmask16 m1 = gemm_avx512_mask(t->cols < 16 ? 0 : t->cols - 16);
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        const float *const base = t->base + r * t->base_stride;
        float *const y = t->y + r * t->y_stride;
        const __m512 b0 = _mm512_maskz_loadu_ps(m0, base);
        const __m512 b1 = _mm512_maskz_loadu_ps(m1, base + 16);
        _mm512_mask_storeu_ps(y, m0, _mm512_add_ps(low[r], b0));
        _mm512_mask_storeu_ps(y + 16, m1, _mm512_add_ps(high[r], b1));
    }
}

static void gemm_avx512_f32(const struct gemm_tile *t, uint32_t rows) {
    switch (rows) {
    case 1:
        gemm_avx512_f32_n(t, 1);
        break;
    case 2:
        gemm_avx512_f32_n(t, 2);
        break;
    case 3:
        gemm_avx512_f32_n(t, 3);
        break;
    case 4:
        gemm_avx512_f32_n(t, 4);
        break;
    case 5:
        gemm_avx512_f32_n(t, 5);
        break;
    case 6:
        gemm_avx512_f32_n(t, 6);
        break;
    case 7:
        gemm_avx512_f32_n(t, 7);
        break;
    case 8:
        gemm_avx512_f32_n(t, 8);
        break;
    case 9:
        gemm_avx512_f32_n(t, 9);
        break;
    case 10:
        gemm_avx512_f32_n(t, 10);
        break;
    case 11:
        gemm_avx512_f32_n(t, 11);
        break;
    default:
        gemm_avx512_f32_n(t, 12);
    }
}

const struct gemm_ops *gemm_avx512_ops(void) {
    static const struct gemm_ops ops = {
        .name = "avx512",
        .f32_tile = gemm_avx512_f32,
        .f32_rows = GEMM_AVX512_ROWS,
        .f32_cols = GEMM_AVX512_COLS,
    };
    return &ops;
}

#else

const struct gemm_ops *gemm_avx512_ops(void) {
    return NULL;
}

#endif
