/* AVX2 + FMA, and the CRC-32C of SSE4.2. Compiled with those instructions switched on; called only
 * after vec.c has asked the processor.
 *
 * dot_rows takes four rows at once: the query is loaded once for four multiplications, and eight
 * chains of additions hide the latency of FMA. The hardware follows four interleaved streams badly
 * (measured: 12 GB/s of 31), so each step asks for four cache lines of the next four rows in the
 * order in which they lie in memory: that is one stream again, and runs at the speed of memory.
 *
 * Cycles per element, n = 384 in cache, one core of an AMD Zen 4 server, gcc 12 -O3: dot 0.13,
 * dot_rows 0.12, axpy 0.25, scale 0.26; dot_rows from memory 28 GB/s where a plain read gives 30;
 * crc32c of 1536 bytes 24 GB/s in cache, 23 GB/s from memory. For bytes, and for rows that lie
 * anywhere, see vec_avx512.c. */
#include "vec/vec_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

static float vec_avx2_sum(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

static int32_t vec_avx2_sum_i32(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return _mm_cvtsi128_si32(s);
}

/* The lanes below n (< 8) of a masked load or store. */
static __m256i vec_avx2_mask(size_t n) {
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + 8 - n));
}

static float vec_avx2_dot(const float *a, const float *b, size_t n) {
    __m256 s0 = _mm256_setzero_ps();
    __m256 s1 = _mm256_setzero_ps();
    __m256 s2 = _mm256_setzero_ps();
    __m256 s3 = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
    }
    for (; i + 8 <= n; i += 8) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
    }
    if (i < n) {
        const __m256i mask = vec_avx2_mask(n - i);
        s1 = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, mask), _mm256_maskload_ps(b + i, mask), s1);
    }
    return vec_avx2_sum(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

/* Four rows; `ahead` are four places to ask for memory at, which move on by `step` bytes whenever the
 * rows do by a cache line. Addresses, not pointers: they may lie past the end, where asking does no
 * harm. */
static void vec_avx2_dot_4(const float *q, const float *const *rows, const uintptr_t *ahead,
                           size_t step, size_t dim, float *out) {
    const float *const r0 = rows[0];
    const float *const r1 = rows[1];
    const float *const r2 = rows[2];
    const float *const r3 = rows[3];
    __m256 a0 = _mm256_setzero_ps();
    __m256 a1 = a0;
    __m256 a2 = a0;
    __m256 a3 = a0;
    __m256 b0 = a0;
    __m256 b1 = a0;
    __m256 b2 = a0;
    __m256 b3 = a0;
    size_t i = 0;
    for (size_t far = 0; i + 16 <= dim; i += 16, far += step) {
        _mm_prefetch((const char *)(ahead[0] + far), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[1] + far), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[2] + far), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead[3] + far), _MM_HINT_T0);
        const __m256 q0 = _mm256_loadu_ps(q + i);
        const __m256 q1 = _mm256_loadu_ps(q + i + 8);
        a0 = _mm256_fmadd_ps(q0, _mm256_loadu_ps(r0 + i), a0);
        a1 = _mm256_fmadd_ps(q0, _mm256_loadu_ps(r1 + i), a1);
        a2 = _mm256_fmadd_ps(q0, _mm256_loadu_ps(r2 + i), a2);
        a3 = _mm256_fmadd_ps(q0, _mm256_loadu_ps(r3 + i), a3);
        b0 = _mm256_fmadd_ps(q1, _mm256_loadu_ps(r0 + i + 8), b0);
        b1 = _mm256_fmadd_ps(q1, _mm256_loadu_ps(r1 + i + 8), b1);
        b2 = _mm256_fmadd_ps(q1, _mm256_loadu_ps(r2 + i + 8), b2);
        b3 = _mm256_fmadd_ps(q1, _mm256_loadu_ps(r3 + i + 8), b3);
    }
    for (; i < dim; i += 8) {
        const __m256i mask = vec_avx2_mask(dim - i < 8 ? dim - i : 8);
        const __m256 q0 = _mm256_maskload_ps(q + i, mask);
        a0 = _mm256_fmadd_ps(q0, _mm256_maskload_ps(r0 + i, mask), a0);
        a1 = _mm256_fmadd_ps(q0, _mm256_maskload_ps(r1 + i, mask), a1);
        a2 = _mm256_fmadd_ps(q0, _mm256_maskload_ps(r2 + i, mask), a2);
        a3 = _mm256_fmadd_ps(q0, _mm256_maskload_ps(r3 + i, mask), a3);
    }
    out[0] = vec_avx2_sum(_mm256_add_ps(a0, b0));
    out[1] = vec_avx2_sum(_mm256_add_ps(a1, b1));
    out[2] = vec_avx2_sum(_mm256_add_ps(a2, b2));
    out[3] = vec_avx2_sum(_mm256_add_ps(a3, b3));
}

/* dot_rows' lines ahead lie in the order of memory, whichever row they belong to. */
static void vec_avx2_dot_rows(const float *q, const float *rows, size_t stride, size_t n_rows,
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
        vec_avx2_dot_4(q, four, ahead, VEC_ROWS_AT_ONCE * 64, dim, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_avx2_dot(q, rows + i * stride, dim);
    }
}

static void vec_avx2_dot_many(const float *q, const float *const *rows, size_t n_rows, size_t n,
                              float *out) {
    for (size_t i = 0; i < n_rows && i < VEC_MANY_AHEAD; i++) {
        vec_prefetch_bytes(rows[i], n * sizeof(float));
    }
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        uintptr_t ahead[VEC_ROWS_AT_ONCE];
        vec_many_ahead(q, rows, n_rows, i, ahead);
        vec_avx2_dot_4(q, rows + i, ahead, 64, n, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_avx2_dot(q, rows[i], n);
    }
}

static void vec_avx2_axpy(float alpha, const float *x, float *y, size_t n) {
    const __m256 factor = _mm256_set1_ps(alpha);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 sum = _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i));
        _mm256_storeu_ps(y + i, sum);
    }
    if (i < n) {
        const __m256i mask = vec_avx2_mask(n - i);
        const __m256 sum = _mm256_fmadd_ps(factor, _mm256_maskload_ps(x + i, mask),
                                           _mm256_maskload_ps(y + i, mask));
        _mm256_maskstore_ps(y + i, mask, sum);
    }
}

static void vec_avx2_axpy4(const float *w, const float *const *x, float *y, size_t n) {
    const __m256 w0 = _mm256_set1_ps(w[0]), w1 = _mm256_set1_ps(w[1]), w2 = _mm256_set1_ps(w[2]),
                 w3 = _mm256_set1_ps(w[3]);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 a = _mm256_fmadd_ps(w0, _mm256_loadu_ps(x[0] + i), _mm256_loadu_ps(y + i));
        __m256 b = _mm256_mul_ps(w1, _mm256_loadu_ps(x[1] + i));
        a = _mm256_fmadd_ps(w2, _mm256_loadu_ps(x[2] + i), a);
        b = _mm256_fmadd_ps(w3, _mm256_loadu_ps(x[3] + i), b);
        _mm256_storeu_ps(y + i, _mm256_add_ps(a, b));
    }
    for (int k = 0; i < n && k < VEC_ROWS_AT_ONCE; k++) {
        vec_avx2_axpy(w[k], x[k] + i, y + i, n - i);
    }
}

static void vec_avx2_axpy_rows(const float *weights, const float *const *rows, size_t n_rows,
                               float *y, size_t dim) {
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        vec_avx2_axpy4(weights + i, rows + i, y, dim);
    }
    for (; i < n_rows; i++) {
        vec_avx2_axpy(weights[i], rows[i], y, dim);
    }
}

static void vec_avx2_scale(float *x, float alpha, size_t n) {
    const __m256 factor = _mm256_set1_ps(alpha);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(x + i, _mm256_mul_ps(factor, _mm256_loadu_ps(x + i)));
    }
    if (i < n) {
        const __m256i mask = vec_avx2_mask(n - i);
        _mm256_maskstore_ps(x + i, mask, _mm256_mul_ps(factor, _mm256_maskload_ps(x + i, mask)));
    }
}

/* ---- bytes -------------------------------------------------------------------------------- */

static __m256i vec_avx2_load_i8(const int8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* sum += the products of 32 bytes. maddubs wants unsigned by signed, so the query gives its size, and
 * the row takes its sign. Two products of values in -127..127 add up to 32258 at most, so nothing
 * saturates; and that is why -128 is not allowed, whose sign cannot be changed either. */
static __m256i vec_avx2_add_i8(__m256i sum, __m256i q, const int8_t *row) {
    const __m256i signed_row = _mm256_sign_epi8(vec_avx2_load_i8(row), q);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), signed_row);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static int32_t vec_avx2_dot_i8(const int8_t *a, const int8_t *b, size_t n) {
    __m256i s0 = _mm256_setzero_si256();
    __m256i s1 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = vec_avx2_add_i8(s0, vec_avx2_load_i8(a + i), b + i);
        s1 = vec_avx2_add_i8(s1, vec_avx2_load_i8(a + i + 32), b + i + 32);
    }
    if (i + 32 <= n) {
        s0 = vec_avx2_add_i8(s0, vec_avx2_load_i8(a + i), b + i);
        i += 32;
    }
    int32_t sum = vec_avx2_sum_i32(_mm256_add_epi32(s0, s1));
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* Four rows, asking for one line of each of the four `ahead` for each line of them. */
static void vec_avx2_dot_i8_4(const int8_t *q, const int8_t *const *rows,
                              const int8_t *const *ahead, size_t n, int32_t *out) {
    __m256i s0 = _mm256_setzero_si256();
    __m256i s1 = s0;
    __m256i s2 = s0;
    __m256i s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        if (i % 64 == 0) {
            _mm_prefetch((const char *)(ahead[0] + i), _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead[1] + i), _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead[2] + i), _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead[3] + i), _MM_HINT_T0);
        }
        const __m256i part = vec_avx2_load_i8(q + i);
        s0 = vec_avx2_add_i8(s0, part, rows[0] + i);
        s1 = vec_avx2_add_i8(s1, part, rows[1] + i);
        s2 = vec_avx2_add_i8(s2, part, rows[2] + i);
        s3 = vec_avx2_add_i8(s3, part, rows[3] + i);
    }
    const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(s0, s1), _mm256_hadd_epi32(s2, s3));
    _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi32(_mm256_castsi256_si128(sums),
                                                           _mm256_extracti128_si256(sums, 1)));
    for (; i < n; i++) {
        for (size_t k = 0; k < VEC_ROWS_AT_ONCE; k++) {
            out[k] += q[i] * rows[k][i];
        }
    }
}

static void vec_avx2_dot_i8_rows(const int8_t *q, const int8_t *const *rows, size_t n_rows,
                                 size_t n, int32_t *out) {
    for (size_t i = 0; i < n_rows && i < VEC_I8_AHEAD; i++) {
        vec_prefetch_bytes(rows[i], n);
    }
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        const int8_t *ahead[VEC_ROWS_AT_ONCE];
        vec_i8_ahead(q, rows, n_rows, i, ahead);
        vec_avx2_dot_i8_4(q, rows + i, ahead, n, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_avx2_dot_i8(q, rows[i], n);
    }
}

static float vec_avx2_max_size(const float *x, size_t n) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 most = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)));
    }
    if (i < n) {
        const __m256 end = _mm256_maskload_ps(x + i, vec_avx2_mask(n - i));
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, end));
    }
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
}

static __m256i vec_avx2_round(const float *x, __m256 factor) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), factor));
}

static float vec_avx2_quantise_i8(const float *x, size_t n, int8_t *out) {
    const float max = vec_avx2_max_size(x, n);
    if (max < VEC_QUANTISE_MIN) {
        return vec_quantise_zeros(out, n);
    }
    const float scalar_factor = 127 / max;
    const __m256 factor = _mm256_set1_ps(scalar_factor);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        /* The packing goes by halves of registers: `order` puts the groups of four back. */
        const __m256i low =
            _mm256_packs_epi32(vec_avx2_round(x + i, factor), vec_avx2_round(x + i + 8, factor));
        const __m256i high = _mm256_packs_epi32(vec_avx2_round(x + i + 16, factor),
                                                vec_avx2_round(x + i + 24, factor));
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)(void *)(out + i),
                            _mm256_max_epi8(bytes, _mm256_set1_epi8(-127)));
    }
    for (; i < n; i++) {
        out[i] = vec_quantise_one(x[i], scalar_factor);
    }
    return max / 127;
}

/* ---- CRC-32C ------------------------------------------------------------------------------ */

/* The crc32 instruction takes 3 cycles but can start one each cycle, so three streams run at once.
 * Their states are joined by moving the earlier ones over the bytes of the later ones: a state moved
 * over N zero bytes is state * x^(8N) mod P. A carry-less product of two reflected 32-bit numbers
 * is one bit short of 64, and the crc32 instruction multiplies by x^32 while reducing, so the
 * factor is x^(8N - 33) mod P (the idea of Gopal et al., "Fast CRC computation for iSCSI polynomial
 * using CRC32 instruction", Intel 2011). Streams of 128 bytes: with 512 the joins cost less (28 GB/s
 * in cache), but three places 512 bytes apart defeat the prefetcher (6.5 GB/s from memory). */
struct vec_crc_round {
    size_t stream_bytes;
    uint32_t over_two, over_one; /* x^(8N - 33) mod P, reflected, N = two streams and one */
};

static uint64_t vec_crc_load(const unsigned char *p) {
    uint64_t word = 0;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint64_t vec_crc_move(uint64_t state, uint32_t factor) {
    const __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)state), _mm_cvtsi32_si128((int)factor), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

static uint64_t vec_crc_three(uint64_t crc, const unsigned char *p,
                              const struct vec_crc_round *round) {
    const size_t stream = round->stream_bytes;
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < stream; i += 8) {
        crc = _mm_crc32_u64(crc, vec_crc_load(p + i));
        second = _mm_crc32_u64(second, vec_crc_load(p + stream + i));
        third = _mm_crc32_u64(third, vec_crc_load(p + 2 * stream + i));
    }
    const uint64_t earlier =
        vec_crc_move(crc, round->over_two) ^ vec_crc_move(second, round->over_one);
    return _mm_crc32_u64(0, earlier) ^ third;
}

uint32_t vec_avx2_crc32c(uint32_t crc, const void *p, size_t n) {
    static const struct vec_crc_round rounds[] = {
        {128, 0xB9E02B86, 0x0D3B6092},
        {64, 0x0D3B6092, 0x9E4ADDF8},
    };
    const unsigned char *s = p;
    uint64_t state = ~crc;
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        const size_t bytes = 3 * rounds[i].stream_bytes;
        for (; n >= bytes; n -= bytes, s += bytes) {
            state = vec_crc_three(state, s, &rounds[i]);
        }
    }
    for (; n >= 8; n -= 8, s += 8) {
        state = _mm_crc32_u64(state, vec_crc_load(s));
    }
    for (; n > 0; n--, s++) {
        state = _mm_crc32_u8((uint32_t)state, *s);
    }
    return ~(uint32_t)state;
}

const struct vec_ops *vec_avx2_ops(void) {
    static const struct vec_ops ops = {
        .name = "avx2",
        .dot = vec_avx2_dot,
        .dot_rows = vec_avx2_dot_rows,
        .axpy = vec_avx2_axpy,
        .axpy_rows = vec_avx2_axpy_rows,
        .scale = vec_avx2_scale,
        .dot_many = vec_avx2_dot_many,
        .dot_i8 = vec_avx2_dot_i8,
        .dot_i8_rows = vec_avx2_dot_i8_rows,
        .quantise_i8 = vec_avx2_quantise_i8,
        .crc32c = vec_avx2_crc32c,
    };
    return &ops;
}

#else

const struct vec_ops *vec_avx2_ops(void) {
    return NULL;
}

#endif
