/* AVX-512 F, BW, VL, DQ and VNNI. Compiled with those instructions switched on; called only after
 * vec.c has asked the processor for each of them. The ends of vectors are masked loads: lanes that
 * are off are not read, so no kernel looks past its input.
 *
 * dot_rows is as in vec_avx2.c: four rows at once, asking for the next four in memory order.
 *
 * Cycles per element, n = 384 in cache, one core of an AMD Zen 4 server (which runs these as two
 * halves), gcc 12 -O3: dot 0.13, dot_rows 0.12, axpy 0.15, scale 0.12; dot_rows from memory 28 GB/s
 * where a plain read gives 30. Bytes, million products a second, n = 384, the same core (AVX2 in
 * brackets), 24 rows a call at random places: dot_i8_rows 230 (150) in L2, 27 (21) in 46 MB, 20 (17)
 * in 500 MB of huge pages; dot_i8 156 (114) in L2. dot_many: 70 in L2, 8.5 in 150 MB, 20 rows a
 * call. quantise_i8: 49 ns (45; scalar 460).
 *
 * How far ahead to ask (VEC_I8_AHEAD), in rows, for the same three places, the best of five passes,
 * AVX-512 and AVX2; other work shared the machine, and from memory a difference of two is noise, so
 * 4, 6 and 8 are equals there:
 *
 *     rows ahead    2        4        6        8        12       16
 *     L2            236 152  238 152  232 149  224 144  216 136  206 133
 *     46 MB          25  17   26  21   29  22   24  22   27  21   26  16
 *     500 MB         19  13   20  18   20  17   21  18   20  15   20  14
 *
 * For dot_many 4, 6, 8 and 12 are alike in memory, and 4 is best in cache. Tried for dot_i8_rows and
 * no faster: the query of 384 bytes kept in registers; two or three rows at the end as four; leaving
 * the first four rows to the loads themselves. */
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

/* Four rows; `ahead` are four places to ask for memory at, which move on by `step` bytes whenever the
 * rows do by a cache line. Addresses, not pointers: they may lie past the end, where asking does no
 * harm. */
static void vec_avx512_dot_4(const float *q, const float *const *rows, const uintptr_t *ahead,
                             size_t step, size_t dim, float *out) {
    const float *const r0 = rows[0];
    const float *const r1 = rows[1];
    const float *const r2 = rows[2];
    const float *const r3 = rows[3];
    __m512 s0 = _mm512_setzero_ps();
    __m512 s1 = s0;
    __m512 s2 = s0;
    __m512 s3 = s0;
    size_t i = 0;
    for (size_t far = 0; i + 16 <= dim; i += 16, far += step) {
        _mm_prefetch((const char *)(ahead[0] + far), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[1] + far), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[2] + far), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[3] + far), _MM_HINT_T0);
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

/* dot_rows' lines ahead lie in the order of memory, whichever row they belong to. */
static void vec_avx512_dot_rows(const float *q, const float *rows, size_t stride, size_t n_rows,
                                size_t dim, float *out) {
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        const float *four[VEC_ROWS_AT_ONCE];
        uintptr_t ahead[VEC_ROWS_AT_ONCE];
        for (size_t k = 0; k < VEC_ROWS_AT_ONCE; k++) {
            four[k] = rows + (i + k) * stride;
            ahead[k] = (uintptr_t)(const void *)(rows + i * stride) +
                       VEC_ROWS_AT_ONCE * stride * sizeof *rows + k * 64;
        }
        vec_avx512_dot_4(q, four, ahead, VEC_ROWS_AT_ONCE * 64, dim, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_avx512_dot(q, rows + i * stride, dim);
    }
}

static void vec_avx512_dot_many(const float *q, const float *const *rows, size_t n_rows, size_t n,
                                float *out) {
    for (size_t i = 0; i < n_rows && i < VEC_MANY_AHEAD; i++) {
        vec_prefetch_bytes(rows[i], n * sizeof(float));
    }
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        uintptr_t ahead[VEC_ROWS_AT_ONCE];
        vec_many_ahead(q, rows, n_rows, i, ahead);
        vec_avx512_dot_4(q, rows + i, ahead, 64, n, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_avx512_dot(q, rows[i], n);
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

/* ---- bytes -------------------------------------------------------------------------------- */

/* The low n lanes, all if n >= 64. */
static __mmask64 vec_avx512_mask_i8(size_t n) {
    return n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX;
}

/* sum += the products of 64 bytes. VNNI multiplies unsigned by signed, so the row is moved into
 * 0..255, and the caller takes 128 * sum(q) off the end. All of it is arithmetic modulo 2^32, so an
 * intermediate overflow does no harm: the result itself fits. Where q has zeros, the row counts for
 * nothing. */
static __m512i vec_avx512_add_i8(__m512i sum, __m512i q, __m512i row) {
    return _mm512_dpbusd_epi32(sum, _mm512_xor_si512(row, _mm512_set1_epi8((char)0x80)), q);
}

static int32_t vec_avx512_shift_i8(const int8_t *q, size_t n) {
    const __m512i by_128 = _mm512_set1_epi8((char)0x80);
    __m512i sum = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        sum = _mm512_dpbusd_epi32(sum, by_128, _mm512_loadu_si512(q + i));
    }
    if (i < n) {
        const __m512i part = _mm512_maskz_loadu_epi8(vec_avx512_mask_i8(n - i), q + i);
        sum = _mm512_dpbusd_epi32(sum, by_128, part);
    }
    return _mm512_reduce_add_epi32(sum);
}

/* One row, without the shift taken off. */
static int32_t vec_avx512_dot_i8_1(const int8_t *q, const int8_t *row, size_t n) {
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    size_t i = 0;
    for (; i + 128 <= n; i += 128) {
        s0 = vec_avx512_add_i8(s0, _mm512_loadu_si512(q + i), _mm512_loadu_si512(row + i));
        s1 =
            vec_avx512_add_i8(s1, _mm512_loadu_si512(q + i + 64), _mm512_loadu_si512(row + i + 64));
    }
    for (; i < n; i += 64) {
        const __mmask64 mask = vec_avx512_mask_i8(n - i);
        s0 = vec_avx512_add_i8(s0, _mm512_maskz_loadu_epi8(mask, q + i),
                               _mm512_maskz_loadu_epi8(mask, row + i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1));
}

static int32_t vec_avx512_dot_i8(const int8_t *a, const int8_t *b, size_t n) {
    const __m512i by_128 = _mm512_set1_epi8((char)0x80);
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i shift = s0;
    size_t i = 0;
    for (; i + 128 <= n; i += 128) {
        const __m512i a0 = _mm512_loadu_si512(a + i);
        const __m512i a1 = _mm512_loadu_si512(a + i + 64);
        s0 = vec_avx512_add_i8(s0, a0, _mm512_loadu_si512(b + i));
        s1 = vec_avx512_add_i8(s1, a1, _mm512_loadu_si512(b + i + 64));
        shift = _mm512_dpbusd_epi32(shift, by_128, a0);
        shift = _mm512_dpbusd_epi32(shift, by_128, a1);
    }
    for (; i < n; i += 64) {
        const __mmask64 mask = vec_avx512_mask_i8(n - i);
        const __m512i a0 = _mm512_maskz_loadu_epi8(mask, a + i);
        s0 = vec_avx512_add_i8(s0, a0, _mm512_maskz_loadu_epi8(mask, b + i));
        shift = _mm512_dpbusd_epi32(shift, by_128, a0);
    }
    return _mm512_reduce_add_epi32(_mm512_sub_epi32(_mm512_add_epi32(s0, s1), shift));
}

/* The sums of four registers' lanes: two transposing additions leave one sum of each in every
 * quarter. */
static __m128i vec_avx512_sum_4(__m512i s0, __m512i s1, __m512i s2, __m512i s3) {
    const __m512i s01 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(s0, s1), _mm512_unpackhi_epi32(s0, s1));
    const __m512i s23 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(s2, s3), _mm512_unpackhi_epi32(s2, s3));
    const __m512i all =
        _mm512_add_epi32(_mm512_unpacklo_epi64(s01, s23), _mm512_unpackhi_epi64(s01, s23));
    const __m256i half =
        _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* Four rows, asking for one line of each of the four `ahead` for each line of them. */
static void vec_avx512_dot_i8_4(const int8_t *q, const int8_t *const *rows,
                                const int8_t *const *ahead, size_t n, int32_t shift, int32_t *out) {
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i s2 = s0;
    __m512i s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        _mm_prefetch((const char *)(ahead[0] + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[1] + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[2] + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[3] + i), _MM_HINT_T0);
        const __m512i part = _mm512_loadu_si512(q + i);
        s0 = vec_avx512_add_i8(s0, part, _mm512_loadu_si512(rows[0] + i));
        s1 = vec_avx512_add_i8(s1, part, _mm512_loadu_si512(rows[1] + i));
        s2 = vec_avx512_add_i8(s2, part, _mm512_loadu_si512(rows[2] + i));
        s3 = vec_avx512_add_i8(s3, part, _mm512_loadu_si512(rows[3] + i));
    }
    if (i < n) {
        const __mmask64 mask = vec_avx512_mask_i8(n - i);
        const __m512i part = _mm512_maskz_loadu_epi8(mask, q + i);
        s0 = vec_avx512_add_i8(s0, part, _mm512_maskz_loadu_epi8(mask, rows[0] + i));
        s1 = vec_avx512_add_i8(s1, part, _mm512_maskz_loadu_epi8(mask, rows[1] + i));
        s2 = vec_avx512_add_i8(s2, part, _mm512_maskz_loadu_epi8(mask, rows[2] + i));
        s3 = vec_avx512_add_i8(s3, part, _mm512_maskz_loadu_epi8(mask, rows[3] + i));
    }
    const __m128i sums = vec_avx512_sum_4(s0, s1, s2, s3);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_sub_epi32(sums, _mm_set1_epi32(shift)));
}

static void vec_avx512_dot_i8_rows(const int8_t *q, const int8_t *const *rows, size_t n_rows,
                                   size_t n, int32_t *out) {
    if (n_rows == 1) {
        out[0] = vec_avx512_dot_i8(q, rows[0], n); /* no shift to share */
        return;
    }
    for (size_t i = 0; i < n_rows && i < VEC_I8_AHEAD; i++) {
        vec_prefetch_bytes(rows[i], n);
    }
    const int32_t shift = vec_avx512_shift_i8(q, n);
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        const int8_t *ahead[VEC_ROWS_AT_ONCE];
        vec_i8_ahead(q, rows, n_rows, i, ahead);
        vec_avx512_dot_i8_4(q, rows + i, ahead, n, shift, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = (int32_t)((uint32_t)vec_avx512_dot_i8_1(q, rows[i], n) - (uint32_t)shift);
    }
}

static float vec_avx512_max_size(const float *x, size_t n) {
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = vec_avx512_mask(n - i < 16 ? n - i : 16);
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_maskz_loadu_ps(mask, x + i)));
    }
    return _mm512_reduce_max_ps(most);
}

static float vec_avx512_quantise_i8(const float *x, size_t n, int8_t *out) {
    const float max = vec_avx512_max_size(x, n);
    if (max < VEC_QUANTISE_MIN) {
        return vec_quantise_zeros(out, n);
    }
    const __m512 factor = _mm512_set1_ps(127 / max);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = vec_avx512_mask(n - i < 16 ? n - i : 16);
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);
        const __m512i rounded =
            _mm512_max_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(-127));
        _mm512_mask_cvtsepi32_storeu_epi8(out + i, mask, rounded);
    }
    return max / 127;
}

const struct vec_ops *vec_avx512_ops(void) {
    static const struct vec_ops ops = {
        .name = "avx512",
        .dot = vec_avx512_dot,
        .dot_rows = vec_avx512_dot_rows,
        .axpy = vec_avx512_axpy,
        .axpy_rows = vec_avx512_axpy_rows,
        .scale = vec_avx512_scale,
        .dot_many = vec_avx512_dot_many,
        .dot_i8 = vec_avx512_dot_i8,
        .dot_i8_rows = vec_avx512_dot_i8_rows,
        .quantise_i8 = vec_avx512_quantise_i8,
        .crc32c = vec_avx2_crc32c,
    };
    return &ops;
}

#else

const struct vec_ops *vec_avx512_ops(void) {
    return NULL;
}

#endif
