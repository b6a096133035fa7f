/* AVX-512 F, BW, VL, DQ and VNNI. Compiled with those instructions switched on; called only after
 * vec.c has asked the processor for each of them. The ends of vectors are masked loads: lanes that
 * are off are not read, so no kernel looks past its input.
 *
 * dot_rows is as in vec_avx2.c: four rows at once, asking for the next four in memory order.
 *
 * Cycles per element, n = 384 in cache, one core of an AMD Zen 4 server (which runs these as two
 * halves), gcc 12 -O3: dot 0.13, dot_rows 0.12, dot_i8 0.09, axpy 0.15, scale 0.12; dot_rows from
 * memory 28 GB/s where a plain read gives 30. */
#include "vec/vec_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* The low n (<= 16) lanes. */
static __mmask16 vec_avx512_mask(size_t n) {
    return (__mmask16)((1u << n) - 1);
}

static float vec_avx512_dot(const float *a, const float *b, size_t n) {
    __m512 s0 = _mm512_setzero_ps();
    __m512 s1 = _mm512_setzero_ps();
    __m512 s2 = _mm512_setzero_ps();
    __m512 s3 = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
        s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32), s2);
        s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48), s3);
    }
    for (; i + 16 <= n; i += 16) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
    }
    if (i < n) {
        const __mmask16 mask = vec_avx512_mask(n - i);
        s1 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i),
                             s1);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

static void vec_avx512_dot_4(const float *q, const float *rows, size_t stride, size_t dim,
                             float *out) {
    /* An address, not a pointer: it may lie past the end, where asking does no harm. */
    const uintptr_t next = (uintptr_t)(const void *)rows + VEC_ROWS_AT_ONCE * stride * sizeof *rows;
    const float *const r0 = rows;
    const float *const r1 = rows + stride;
    const float *const r2 = rows + 2 * stride;
    const float *const r3 = rows + 3 * stride;
    __m512 s0 = _mm512_setzero_ps();
    __m512 s1 = s0;
    __m512 s2 = s0;
    __m512 s3 = s0;
    size_t i = 0;
    for (; i + 16 <= dim; i += 16) {
        const char *const line = (const char *)(next + VEC_ROWS_AT_ONCE * i * sizeof *rows);
        _mm_prefetch(line, _MM_HINT_T0);
        _mm_prefetch(line + 64, _MM_HINT_T0);
        _mm_prefetch(line + 128, _MM_HINT_T0);
        _mm_prefetch(line + 192, _MM_HINT_T0);
        const __m512 part = _mm512_loadu_ps(q + i);
        s0 = _mm512_fmadd_ps(part, _mm512_loadu_ps(r0 + i), s0);
        s1 = _mm512_fmadd_ps(part, _mm512_loadu_ps(r1 + i), s1);
        s2 = _mm512_fmadd_ps(part, _mm512_loadu_ps(r2 + i), s2);
        s3 = _mm512_fmadd_ps(part, _mm512_loadu_ps(r3 + i), s3);
    }
    if (i < dim) {
        const __mmask16 mask = vec_avx512_mask(dim - i);
        const __m512 part = _mm512_maskz_loadu_ps(mask, q + i);
        s0 = _mm512_fmadd_ps(part, _mm512_maskz_loadu_ps(mask, r0 + i), s0);
        s1 = _mm512_fmadd_ps(part, _mm512_maskz_loadu_ps(mask, r1 + i), s1);
        s2 = _mm512_fmadd_ps(part, _mm512_maskz_loadu_ps(mask, r2 + i), s2);
        s3 = _mm512_fmadd_ps(part, _mm512_maskz_loadu_ps(mask, r3 + i), s3);
    }
    out[0] = _mm512_reduce_add_ps(s0);
    out[1] = _mm512_reduce_add_ps(s1);
    out[2] = _mm512_reduce_add_ps(s2);
    out[3] = _mm512_reduce_add_ps(s3);
}

static void vec_avx512_dot_rows(const float *q, const float *rows, size_t stride, size_t n_rows,
                                size_t dim, float *out) {
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        vec_avx512_dot_4(q, rows + i * stride, stride, dim, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_avx512_dot(q, rows + i * stride, dim);
    }
}

static void vec_avx512_axpy(float alpha, const float *x, float *y, size_t n) {
    const __m512 factor = _mm512_set1_ps(alpha);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 sum = _mm512_fmadd_ps(factor, _mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i));
        _mm512_storeu_ps(y + i, sum);
    }
    if (i < n) {
        const __mmask16 mask = vec_avx512_mask(n - i);
        const __m512 sum = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(mask, x + i),
                                           _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

static void vec_avx512_axpy4(const float *w, const float *const *x, float *y, size_t n) {
    const __m512 w0 = _mm512_set1_ps(w[0]), w1 = _mm512_set1_ps(w[1]), w2 = _mm512_set1_ps(w[2]),
                 w3 = _mm512_set1_ps(w[3]);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 a = _mm512_fmadd_ps(w0, _mm512_loadu_ps(x[0] + i), _mm512_loadu_ps(y + i));
        __m512 b = _mm512_mul_ps(w1, _mm512_loadu_ps(x[1] + i));
        a = _mm512_fmadd_ps(w2, _mm512_loadu_ps(x[2] + i), a);
        b = _mm512_fmadd_ps(w3, _mm512_loadu_ps(x[3] + i), b);
        _mm512_storeu_ps(y + i, _mm512_add_ps(a, b));
    }
    for (int k = 0; i < n && k < VEC_ROWS_AT_ONCE; k++) {
        vec_avx512_axpy(w[k], x[k] + i, y + i, n - i);
    }
}

static void vec_avx512_axpy_rows(const float *weights, const float *const *rows, size_t n_rows,
                                 float *y, size_t dim) {
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        vec_avx512_axpy4(weights + i, rows + i, y, dim);
    }
    for (; i < n_rows; i++) {
        vec_avx512_axpy(weights[i], rows[i], y, dim);
    }
}

static void vec_avx512_scale(float *x, float alpha, size_t n) {
    const __m512 factor = _mm512_set1_ps(alpha);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        _mm512_storeu_ps(x + i, _mm512_mul_ps(factor, _mm512_loadu_ps(x + i)));
    }
    if (i < n) {
        const __mmask16 mask = vec_avx512_mask(n - i);
        _mm512_mask_storeu_ps(x + i, mask,
                              _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(mask, x + i)));
    }
}

/* VNNI multiplies unsigned by signed bytes, so a is shifted into 0..255 and 128 * sum(b), which a
 * second accumulator collects, taken off at the end. All of it is arithmetic modulo 2^32, so an
 * intermediate overflow does no harm: the result itself fits. */
static int32_t vec_avx512_dot_i8(const int8_t *a, const int8_t *b, size_t n) {
    const __m512i shift = _mm512_set1_epi8((char)0x80);
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i products = _mm512_setzero_si512();
    __m512i sums = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 mask = n - i < 64 ? (UINT64_C(1) << (n - i)) - 1 : UINT64_MAX;
        const __m512i x = _mm512_maskz_loadu_epi8(mask, a + i);
        const __m512i y = _mm512_maskz_loadu_epi8(mask, b + i);
        products = _mm512_dpbusd_epi32(products, _mm512_xor_si512(x, shift), y);
        sums = _mm512_dpbusd_epi32(sums, ones, y);
    }
    products = _mm512_sub_epi32(products, _mm512_slli_epi32(sums, 7));
    return _mm512_reduce_add_epi32(products);
}

const struct vec_ops *vec_avx512_ops(void) {
    static const struct vec_ops ops = {
        .name = "avx512",
        .dot = vec_avx512_dot,
        .dot_rows = vec_avx512_dot_rows,
        .axpy = vec_avx512_axpy,
        .axpy_rows = vec_avx512_axpy_rows,
        .scale = vec_avx512_scale,
        .dot_i8 = vec_avx512_dot_i8,
        .crc32c = vec_avx2_crc32c,
    };
    return &ops;
}

#else

const struct vec_ops *vec_avx512_ops(void) {
    return NULL;
}

#endif
