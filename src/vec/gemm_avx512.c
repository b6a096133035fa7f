/* AVX-512 F, BW, VL, DQ and VNNI. Compiled with those instructions switched on; called only after vec.c
 * has asked the processor for each of them. The tiles are 12 x 32: 24 sums, two registers of weights,
 * one of x. The ends of rows are masked loads and stores: lanes that are off are not touched.
 *
 * `bench_gemm`, one core of an AMD Zen 5 server (EPYC, family 26), gcc 12 -O3, the best of 300 calls
 * while others used the machine; 10^9 operations a second over four shapes of weights (384 x 384, 1536
 * x 384, 384 x 1536, 1024 x 1024), 128 rows and 12 alike within 3 %:
 *
 *              only FMA   floats   bytes        ns a value: softmax 128   norm 384   gelu
 *     AVX-512     270       255      890                       0.47          0.26     0.17
 *     AVX2        135       127      242                       0.55          0.34     0.29
 *     scalar       -         44       11                       4.0           1.5      1.4
 *
 * clang 14 is within 3 % of that. In the loops of all tiles neither compiler leaves a sum in memory;
 * see GEMM_UNROLL and gemm_avx512_i32 for what that took. */
#include "vec/gemm_internal.h"
#include "vec/vec_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

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
        gemm_ahead(w);
        gemm_ahead((const char *)w + 64);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            const __m512 one = _mm512_set1_ps(x[r * stride + i]);
            low[r] = _mm512_fmadd_ps(one, w0, low[r]);
            high[r] = _mm512_fmadd_ps(one, w1, high[r]);
        }
    }
    const __mmask16 m0 = gemm_mask_16(t->cols);
    const __mmask16 m1 = gemm_mask_16(t->cols < 16 ? 0 : t->cols - 16);
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

void gemm_avx512_f32(const struct gemm_tile *t, uint32_t rows) {
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

/* Sixteen outputs of one row. */
static inline void gemm_avx512_i8_end(const struct gemm_i8_tile *t, uint32_t r, size_t c,
                                      __m512i sum) {
    const __mmask16 mask = gemm_mask_16(t->cols > c ? t->cols - c : 0);
    const __m512 scale =
        _mm512_mul_ps(_mm512_set1_ps(t->x_scale[r]), _mm512_loadu_ps(t->w_scale + c));
    sum = _mm512_sub_epi32(sum, _mm512_loadu_si512(t->w_sum + c));
    const __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
    _mm512_mask_storeu_ps(t->y + r * t->y_stride + c, mask,
                          _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, t->bias + c)));
}

/* What gcc's own product of bytes adds to. With __m512i, which counts in 64 bits, for the sums it
 * copies each of them twice a step (gcc 12). */
typedef int32_t gemm_avx512_i32 __attribute__((vector_size(64)));

/* As gemm_avx512_f32_n(), four inputs a step. */
__attribute__((always_inline)) static inline void gemm_avx512_i8_n(const struct gemm_i8_tile *t,
                                                                   const uint32_t rows) {
    gemm_avx512_i32 low[GEMM_AVX512_ROWS];
    gemm_avx512_i32 high[GEMM_AVX512_ROWS];
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        low[r] = (gemm_avx512_i32){0};
        high[r] = (gemm_avx512_i32){0};
    }
    const uint8_t *x = t->x;
    const int8_t *w = t->w;
    const size_t stride = t->x_stride;
    for (size_t i = 0; i < t->fours; i++, x += 4, w += 4 * GEMM_AVX512_COLS) {
        const __m512i w0 = _mm512_load_si512(w);
        const __m512i w1 = _mm512_load_si512(w + 64);
        gemm_ahead(w);
        gemm_ahead((const char *)w + 64);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            int32_t four = 0;
            memcpy(&four, x + r * stride, sizeof four);
            const __m512i x4 = _mm512_set1_epi32(four);
            low[r] = (gemm_avx512_i32)_mm512_dpbusd_epi32((__m512i)low[r], x4, w0);
            high[r] = (gemm_avx512_i32)_mm512_dpbusd_epi32((__m512i)high[r], x4, w1);
        }
    }
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        gemm_avx512_i8_end(t, r, 0, (__m512i)low[r]);
        gemm_avx512_i8_end(t, r, 16, (__m512i)high[r]);
    }
}

void gemm_avx512_i8(const struct gemm_i8_tile *t, uint32_t rows) {
    switch (rows) {
    case 1:
        gemm_avx512_i8_n(t, 1);
        break;
    case 2:
        gemm_avx512_i8_n(t, 2);
        break;
    case 3:
        gemm_avx512_i8_n(t, 3);
        break;
    case 4:
        gemm_avx512_i8_n(t, 4);
        break;
    case 5:
        gemm_avx512_i8_n(t, 5);
        break;
    case 6:
        gemm_avx512_i8_n(t, 6);
        break;
    case 7:
        gemm_avx512_i8_n(t, 7);
        break;
    case 8:
        gemm_avx512_i8_n(t, 8);
        break;
    case 9:
        gemm_avx512_i8_n(t, 9);
        break;
    case 10:
        gemm_avx512_i8_n(t, 10);
        break;
    case 11:
        gemm_avx512_i8_n(t, 11);
        break;
    default:
        gemm_avx512_i8_n(t, 12);
    }
}

float gemm_avx512_i8_row(const float *x, size_t n, uint8_t *out) {
    const float scale = vec_avx512_ops()->quantise_i8(x, n, (int8_t *)out);
    gemm_add_128(out, n);
    return scale;
}

void gemm_avx512_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = gemm_mask_16(n - i);
        const __m512 a = _mm512_maskz_loadu_ps(mask, y + i);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(a, _mm512_maskz_loadu_ps(mask, x + i)));
    }
}

static __m512 gemm_avx512_gelu_16(__m512 x) {
    const __m512 u = _mm512_min_ps(_mm512_set1_ps(GEMM_GELU_END), _mm512_abs_ps(x));
    const __m512 s = _mm512_fmadd_ps(u, _mm512_set1_ps(2 / GEMM_GELU_END), _mm512_set1_ps(-1));
    __m512 p = _mm512_set1_ps(gemm_gelu_poly[GEMM_GELU_DEGREE]);
    GEMM_UNROLL
    for (int i = GEMM_GELU_DEGREE - 1; i >= 0; i--) {
        p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(gemm_gelu_poly[i]));
    }
    return _mm512_fnmadd_ps(u, p, _mm512_max_ps(_mm512_setzero_ps(), x)); /* a NaN is kept */
}

void gemm_avx512_gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = gemm_mask_16(n - i);
        _mm512_mask_storeu_ps(x + i, mask, gemm_avx512_gelu_16(_mm512_maskz_loadu_ps(mask, x + i)));
    }
}

static __m512 gemm_avx512_exp(__m512 x) {
    const __mmask16 there = _mm512_cmp_ps_mask(x, _mm512_set1_ps(GEMM_EXP_MIN), _CMP_NLT_UQ);
    const __m512 j = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(GEMM_LOG2_E)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(j, _mm512_set1_ps(GEMM_LN2_HIGH), x);
    r = _mm512_fnmadd_ps(j, _mm512_set1_ps(GEMM_LN2_LOW), r);
    __m512 p = _mm512_set1_ps(gemm_exp_poly[GEMM_EXP_DEGREE]);
    GEMM_UNROLL
    for (int i = GEMM_EXP_DEGREE - 1; i >= 0; i--) {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(gemm_exp_poly[i]));
    }
    return _mm512_maskz_scalef_ps(there, p, j);
}

void gemm_avx512_softmax(float *x, size_t n) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 most = lowest;
    for (size_t i = 0; i < n; i += 16) {
        most = _mm512_max_ps(most, _mm512_mask_loadu_ps(lowest, gemm_mask_16(n - i), x + i));
    }
    const __m512 max = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = gemm_mask_16(n - i);
        const __m512 power =
            gemm_avx512_exp(_mm512_sub_ps(_mm512_mask_loadu_ps(lowest, mask, x + i), max));
        sum = _mm512_add_ps(sum, power);
        _mm512_mask_storeu_ps(x + i, mask, power);
    }
    const __m512 factor = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = gemm_mask_16(n - i);
        _mm512_mask_storeu_ps(x + i, mask,
                              _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor));
    }
}

void gemm_avx512_norm(float *x, const float *gamma, const float *beta, size_t n, float eps) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(gemm_mask_16(n - i), x + i));
    }
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / (float)n);
    __m512 squares = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        const __m512 d =
            _mm512_sub_ps(_mm512_mask_loadu_ps(mean, gemm_mask_16(n - i), x + i), mean);
        squares = _mm512_fmadd_ps(d, d, squares);
    }
    const float variance = _mm512_reduce_add_ps(squares) / (float)n;
    const __m512 factor = _mm512_set1_ps(1 / sqrtf(variance + eps));
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = gemm_mask_16(n - i);
        const __m512 d = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), mean);
        const __m512 g = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, gamma + i), factor);
        _mm512_mask_storeu_ps(x + i, mask,
                              _mm512_fmadd_ps(d, g, _mm512_maskz_loadu_ps(mask, beta + i)));
    }
}

const struct gemm_ops *gemm_avx512_ops(void) {
    static const struct gemm_ops ops = {
        .name = "avx512",
        .softmax = gemm_avx512_softmax,
        .norm = gemm_avx512_norm,
        .gelu = gemm_avx512_gelu,
        .add = gemm_avx512_add,
        .i8_tile = gemm_avx512_i8,
        .i8_row = gemm_avx512_i8_row,
        .i8_rows = GEMM_AVX512_ROWS,
        .i8_cols = GEMM_AVX512_COLS,
        .levels = 127,
        .i8_pays = true,
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
