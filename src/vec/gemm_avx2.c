/* AVX2 + FMA. Compiled with those instructions switched on; called only after vec.c has asked the
 * processor. The float tile is 6 x 16: twelve sums, two registers of weights, one of x. The tile of
 * bytes is 4 x 16, since products of bytes need two registers more. For speed see gemm_avx512.c. */
#include "vec/gemm_internal.h"
#include "vec/vec_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define GEMM_AVX2_ROWS    6
#define GEMM_AVX2_COLS    16
#define GEMM_AVX2_I8_ROWS 4

/* The lanes below n of a masked load or store: all from 8 on. */
static __m256i gemm_avx2_mask(size_t n) {
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    const size_t lanes = n < 8 ? n : 8;
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + 8 - lanes));
}

/* n >= 1 values of which this takes at most 8; lanes past the last are `fill`. The masked forms only
 * at the ends: several processors take them apart into many steps. */
static inline __m256 gemm_avx2_load(const float *p, size_t n, __m256 fill) {
    if (n >= 8) {
        return _mm256_loadu_ps(p);
    }
    const __m256i mask = gemm_avx2_mask(n);
    return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}

static inline void gemm_avx2_store(float *p, size_t n, __m256 v) {
    if (n >= 8) {
        _mm256_storeu_ps(p, v);
    } else {
        _mm256_maskstore_ps(p, gemm_avx2_mask(n), v);
    }
}

static float gemm_avx2_sum(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static float gemm_avx2_max(__m256 v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
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
        gemm_ahead(w);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            const __m256 one = _mm256_broadcast_ss(x + r * stride + i);
            low[r] = _mm256_fmadd_ps(one, w0, low[r]);
            high[r] = _mm256_fmadd_ps(one, w1, high[r]);
        }
    }
    const __m256 zero = _mm256_setzero_ps();
    const size_t more = t->cols > 8 ? t->cols - 8 : 0;
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        const float *const base = t->base + r * t->base_stride;
        float *const y = t->y + r * t->y_stride;
        gemm_avx2_store(y, t->cols, _mm256_add_ps(low[r], gemm_avx2_load(base, t->cols, zero)));
        gemm_avx2_store(y + 8, more, _mm256_add_ps(high[r], gemm_avx2_load(base + 8, more, zero)));
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

/* For sums: with __m256i, which counts in 64 bits, gcc 12 copies each of them twice a step. */
typedef int32_t gemm_avx2_i32 __attribute__((vector_size(32)));

/* The products of four inputs for eight outputs. Two products of |x + 64| <= 127 and |w| <= 127 fit 16
 * bits. */
static inline gemm_avx2_i32 gemm_avx2_four(__m256i x, __m256i w) {
    const __m256i twos = _mm256_maddubs_epi16(x, w);
    return (gemm_avx2_i32)_mm256_madd_epi16(twos, _mm256_set1_epi16(1));
}

/* Eight outputs of one row. */
static inline void gemm_avx2_i8_end(const struct gemm_i8_tile *t, uint32_t r, size_t c,
                                    __m256i sum) {
    const size_t n = t->cols > c ? t->cols - c : 0;
    const __m256 scale =
        _mm256_mul_ps(_mm256_set1_ps(t->x_scale[r]), _mm256_loadu_ps(t->w_scale + c));
    const __m256i off = _mm256_loadu_si256((const __m256i *)(const void *)(t->w_sum + c));
    const __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(sum, off)), scale);
    const __m256 bias = gemm_avx2_load(t->bias + c, n, _mm256_setzero_ps());
    gemm_avx2_store(t->y + r * t->y_stride + c, n, _mm256_add_ps(y, bias));
}

/* As gemm_avx2_f32_n(), four inputs a step. */
__attribute__((always_inline)) static inline void gemm_avx2_i8_n(const struct gemm_i8_tile *t,
                                                                 const uint32_t rows) {
    gemm_avx2_i32 low[GEMM_AVX2_I8_ROWS];
    gemm_avx2_i32 high[GEMM_AVX2_I8_ROWS];
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        low[r] = (gemm_avx2_i32){0};
        high[r] = (gemm_avx2_i32){0};
    }
    const uint8_t *x = t->x;
    const __m256i *w = (const __m256i *)(const void *)t->w;
    const size_t stride = t->x_stride;
    for (size_t i = 0; i < t->fours; i++, x += 4, w += 2) {
        const __m256i w0 = _mm256_load_si256(w);
        const __m256i w1 = _mm256_load_si256(w + 1);
        gemm_ahead(w);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            int32_t four = 0;
            memcpy(&four, x + r * stride, sizeof four);
            const __m256i x4 = _mm256_set1_epi32(four);
            low[r] += gemm_avx2_four(x4, w0);
            high[r] += gemm_avx2_four(x4, w1);
        }
    }
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        gemm_avx2_i8_end(t, r, 0, (__m256i)low[r]);
        gemm_avx2_i8_end(t, r, 8, (__m256i)high[r]);
    }
}

static void gemm_avx2_i8(const struct gemm_i8_tile *t, uint32_t rows) {
    switch (rows) {
    case 1:
        gemm_avx2_i8_n(t, 1);
        break;
    case 2:
        gemm_avx2_i8_n(t, 2);
        break;
    case 3:
        gemm_avx2_i8_n(t, 3);
        break;
    default:
        gemm_avx2_i8_n(t, 4);
    }
}

static float gemm_avx2_max_size(const float *x, size_t n) {
    const __m256 zero = _mm256_setzero_ps();
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 most = zero;
    for (size_t i = 0; i < n; i += 8) {
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, gemm_avx2_load(x + i, n - i, zero)));
    }
    return gemm_avx2_max(most);
}

static float gemm_avx2_i8_row(const float *x, size_t n, uint8_t *out) {
    const float max = gemm_avx2_max_size(x, n);
    const bool zero = max < VEC_QUANTISE_MIN;
    const __m256 factor = _mm256_set1_ps(zero ? 0 : 63 / max);
    const __m128i most = _mm_set1_epi16(63);
    const __m128i least = _mm_set1_epi16(-63);
    for (size_t i = 0; i < n; i += 8) {
        const __m256 from = gemm_avx2_load(x + i, n - i, _mm256_setzero_ps());
        const __m256i rounded = _mm256_cvtps_epi32(_mm256_mul_ps(from, factor));
        __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
        words = _mm_max_epi16(_mm_min_epi16(words, most), least);
        const __m128i bytes =
            _mm_packus_epi16(_mm_add_epi16(words, _mm_set1_epi16(64)), _mm_setzero_si128());
        memcpy(out + i, &bytes, n - i < 8 ? n - i : 8);
    }
    return zero ? 0 : max / 63;
}

static void gemm_avx2_add(float *y, const float *x, size_t n) {
    const __m256 zero = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        const __m256 a = gemm_avx2_load(y + i, n - i, zero);
        gemm_avx2_store(y + i, n - i, _mm256_add_ps(a, gemm_avx2_load(x + i, n - i, zero)));
    }
}

static __m256 gemm_avx2_gelu_8(__m256 x) {
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    const __m256 u = _mm256_min_ps(_mm256_set1_ps(GEMM_GELU_END), size);
    const __m256 s = _mm256_fmadd_ps(u, _mm256_set1_ps(2 / GEMM_GELU_END), _mm256_set1_ps(-1));
    __m256 p = _mm256_set1_ps(gemm_gelu_poly[GEMM_GELU_DEGREE]);
    GEMM_UNROLL
    for (int i = GEMM_GELU_DEGREE - 1; i >= 0; i--) {
        p = _mm256_fmadd_ps(p, s, _mm256_set1_ps(gemm_gelu_poly[i]));
    }
    return _mm256_fnmadd_ps(u, p, _mm256_max_ps(_mm256_setzero_ps(), x)); /* a NaN is kept */
}

static void gemm_avx2_gelu(float *x, size_t n) {
    const __m256 zero = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        gemm_avx2_store(x + i, n - i, gemm_avx2_gelu_8(gemm_avx2_load(x + i, n - i, zero)));
    }
}

static __m256 gemm_avx2_exp(__m256 x) {
    const __m256 least = _mm256_set1_ps(GEMM_EXP_MIN);
    const __m256 there = _mm256_cmp_ps(x, least, _CMP_NLT_UQ);
    x = _mm256_max_ps(least, x);
    const __m256 j = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(GEMM_LOG2_E)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(j, _mm256_set1_ps(GEMM_LN2_HIGH), x);
    r = _mm256_fnmadd_ps(j, _mm256_set1_ps(GEMM_LN2_LOW), r);
    __m256 p = _mm256_set1_ps(gemm_exp_poly[GEMM_EXP_DEGREE]);
    GEMM_UNROLL
    for (int i = GEMM_EXP_DEGREE - 1; i >= 0; i--) {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(gemm_exp_poly[i]));
    }
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(j), _mm256_set1_epi32(127));
    const __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    return _mm256_and_ps(there, _mm256_mul_ps(p, power));
}

static void gemm_avx2_softmax(float *x, size_t n) {
    const __m256 lowest = _mm256_set1_ps(-INFINITY);
    __m256 most = lowest;
    for (size_t i = 0; i < n; i += 8) {
        most = _mm256_max_ps(most, gemm_avx2_load(x + i, n - i, lowest));
    }
    const __m256 max = _mm256_set1_ps(gemm_avx2_max(most));
    __m256 sum = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        const __m256 power =
            gemm_avx2_exp(_mm256_sub_ps(gemm_avx2_load(x + i, n - i, lowest), max));
        sum = _mm256_add_ps(sum, power);
        gemm_avx2_store(x + i, n - i, power);
    }
    const __m256 factor = _mm256_set1_ps(1 / gemm_avx2_sum(sum));
    for (size_t i = 0; i < n; i += 8) {
        const __m256 power = gemm_avx2_load(x + i, n - i, lowest);
        gemm_avx2_store(x + i, n - i, _mm256_mul_ps(power, factor));
    }
}

static void gemm_avx2_norm(float *x, const float *gamma, const float *beta, size_t n, float eps) {
    const __m256 zero = _mm256_setzero_ps();
    __m256 sum = zero;
    for (size_t i = 0; i < n; i += 8) {
        sum = _mm256_add_ps(sum, gemm_avx2_load(x + i, n - i, zero));
    }
    const __m256 mean = _mm256_set1_ps(gemm_avx2_sum(sum) / (float)n);
    __m256 squares = zero;
    for (size_t i = 0; i < n; i += 8) {
        const __m256 d = _mm256_sub_ps(gemm_avx2_load(x + i, n - i, mean), mean);
        squares = _mm256_fmadd_ps(d, d, squares);
    }
    const float variance = gemm_avx2_sum(squares) / (float)n;
    const __m256 factor = _mm256_set1_ps(1 / sqrtf(variance + eps));
    for (size_t i = 0; i < n; i += 8) {
        const __m256 d = _mm256_sub_ps(gemm_avx2_load(x + i, n - i, mean), mean);
        const __m256 g = _mm256_mul_ps(gemm_avx2_load(gamma + i, n - i, zero), factor);
        const __m256 b = gemm_avx2_load(beta + i, n - i, zero);
        gemm_avx2_store(x + i, n - i, _mm256_fmadd_ps(d, g, b));
    }
}

const struct gemm_ops *gemm_avx2_ops(void) {
    static const struct gemm_ops ops = {
        .name = "avx2",
        .softmax = gemm_avx2_softmax,
        .norm = gemm_avx2_norm,
        .gelu = gemm_avx2_gelu,
        .add = gemm_avx2_add,
        .i8_tile = gemm_avx2_i8,
        .i8_row = gemm_avx2_i8_row,
        .i8_rows = GEMM_AVX2_I8_ROWS,
        .i8_cols = GEMM_AVX2_COLS,
        .levels = 63,
        .i8_pays = true,
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
