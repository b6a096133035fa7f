/* NEON, which every AArch64 has, and its CRC-32C instructions, which nearly every one has and which
 * are asked for at run time (they are optional in ARMv8.0). The same four-rows-at-once shape as
 * vec_avx2.c.
 *
 * Speed was not measured: it is run under an emulator only (tools/qemu-neon.sh). */
#include "vec/vec_internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static float vec_neon_dot(const float *a, const float *b, size_t n) {
    float32x4_t s0 = vdupq_n_f32(0);
    float32x4_t s1 = s0;
    float32x4_t s2 = s0;
    float32x4_t s3 = s0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        s0 = vfmaq_f32(s0, vld1q_f32(a + i), vld1q_f32(b + i));
        s1 = vfmaq_f32(s1, vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
        s2 = vfmaq_f32(s2, vld1q_f32(a + i + 8), vld1q_f32(b + i + 8));
        s3 = vfmaq_f32(s3, vld1q_f32(a + i + 12), vld1q_f32(b + i + 12));
    }
    for (; i + 4 <= n; i += 4) {
        s0 = vfmaq_f32(s0, vld1q_f32(a + i), vld1q_f32(b + i));
    }
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(s0, s1), vaddq_f32(s2, s3)));
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* Four rows; `ahead` are four places to ask for memory at, which move on by `step` bytes whenever the
 * rows do by a cache line. Addresses, not pointers: they may lie past the end, where asking does no
 * harm. */
static void vec_neon_dot_4(const float *q, const float *const *rows, const uintptr_t *ahead,
                           size_t step, size_t dim, float *out) {
    float32x4_t low[4];
    float32x4_t high[4];
    for (size_t r = 0; r < 4; r++) {
        low[r] = vdupq_n_f32(0);
        high[r] = vdupq_n_f32(0);
    }
    size_t i = 0;
    for (; i + 8 <= dim; i += 8) {
        const float32x4_t q0 = vld1q_f32(q + i);
        const float32x4_t q1 = vld1q_f32(q + i + 4);
        for (size_t r = 0; i % 16 == 0 && r < 4; r++) {
            __builtin_prefetch((const char *)(ahead[r] + i / 16 * step));
        }
        for (size_t r = 0; r < 4; r++) {
            const float *const row = rows[r] + i;
            low[r] = vfmaq_f32(low[r], q0, vld1q_f32(row));
            high[r] = vfmaq_f32(high[r], q1, vld1q_f32(row + 4));
        }
    }
    for (size_t r = 0; r < 4; r++) {
        out[r] = vaddvq_f32(vaddq_f32(low[r], high[r]));
        for (size_t j = i; j < dim; j++) {
            out[r] += q[j] * rows[r][j];
        }
    }
}

/* dot_rows' lines ahead lie in the order of memory, whichever row they belong to. */
static void vec_neon_dot_rows(const float *q, const float *rows, size_t stride, size_t n_rows,
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
        vec_neon_dot_4(q, four, ahead, VEC_ROWS_AT_ONCE * 64, dim, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_neon_dot(q, rows + i * stride, dim);
    }
}

static void vec_neon_dot_many(const float *q, const float *const *rows, size_t n_rows, size_t n,
                              float *out) {
    for (size_t i = 0; i < n_rows && i < VEC_MANY_AHEAD; i++) {
        vec_prefetch_bytes(rows[i], n * sizeof(float));
    }
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        uintptr_t ahead[VEC_ROWS_AT_ONCE];
        vec_many_ahead(q, rows, n_rows, i, ahead);
        vec_neon_dot_4(q, rows + i, ahead, 64, n, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_neon_dot(q, rows[i], n);
    }
}

static void vec_neon_axpy(float alpha, const float *x, float *y, size_t n) {
    const float32x4_t factor = vdupq_n_f32(alpha);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1q_f32(y + i, vfmaq_f32(vld1q_f32(y + i), factor, vld1q_f32(x + i)));
    }
    for (; i < n; i++) {
        y[i] += alpha * x[i];
    }
}

static void vec_neon_axpy4(const float *w, const float *const *x, float *y, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t a = vfmaq_n_f32(vld1q_f32(y + i), vld1q_f32(x[0] + i), w[0]);
        float32x4_t b = vmulq_n_f32(vld1q_f32(x[1] + i), w[1]);
        a = vfmaq_n_f32(a, vld1q_f32(x[2] + i), w[2]);
        b = vfmaq_n_f32(b, vld1q_f32(x[3] + i), w[3]);
        vst1q_f32(y + i, vaddq_f32(a, b));
    }
    for (int k = 0; i < n && k < VEC_ROWS_AT_ONCE; k++) {
        vec_neon_axpy(w[k], x[k] + i, y + i, n - i);
    }
}

static void vec_neon_axpy_rows(const float *weights, const float *const *rows, size_t n_rows,
                               float *y, size_t dim) {
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        vec_neon_axpy4(weights + i, rows + i, y, dim);
    }
    for (; i < n_rows; i++) {
        vec_neon_axpy(weights[i], rows[i], y, dim);
    }
}

static void vec_neon_scale(float *x, float alpha, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1q_f32(x + i, vmulq_n_f32(vld1q_f32(x + i), alpha));
    }
    for (; i < n; i++) {
        x[i] *= alpha;
    }
}

/* sum += the products of 16 bytes. Two products of values in -127..127 fit 16 bits. */
static int32x4_t vec_neon_add_i8(int32x4_t sum, int8x16_t q, const int8_t *p) {
    const int8x16_t row = vld1q_s8(p);
    const int16x8_t low = vmull_s8(vget_low_s8(q), vget_low_s8(row));
    return vpadalq_s16(sum, vmlal_high_s8(low, q, row));
}

static int32_t vec_neon_dot_i8(const int8_t *a, const int8_t *b, size_t n) {
    int32x4_t s0 = vdupq_n_s32(0);
    int32x4_t s1 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = vec_neon_add_i8(s0, vld1q_s8(a + i), b + i);
        s1 = vec_neon_add_i8(s1, vld1q_s8(a + i + 16), b + i + 16);
    }
    int32_t sum = vaddvq_s32(vaddq_s32(s0, s1));
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static void vec_neon_dot_i8_4(const int8_t *q, const int8_t *const *rows,
                              const int8_t *const *ahead, size_t n, int32_t *out) {
    int32x4_t s[VEC_ROWS_AT_ONCE];
    for (size_t r = 0; r < VEC_ROWS_AT_ONCE; r++) {
        s[r] = vdupq_n_s32(0);
    }
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const int8x16_t part = vld1q_s8(q + i);
        for (size_t r = 0; i % 64 == 0 && r < VEC_ROWS_AT_ONCE; r++) {
            __builtin_prefetch(ahead[r] + i);
        }
        for (size_t r = 0; r < VEC_ROWS_AT_ONCE; r++) {
            s[r] = vec_neon_add_i8(s[r], part, rows[r] + i);
        }
    }
    for (size_t r = 0; r < VEC_ROWS_AT_ONCE; r++) {
        out[r] = vaddvq_s32(s[r]);
        for (size_t j = i; j < n; j++) {
            out[r] += q[j] * rows[r][j];
        }
    }
}

static void vec_neon_dot_i8_rows(const int8_t *q, const int8_t *const *rows, size_t n_rows,
                                 size_t n, int32_t *out) {
    for (size_t i = 0; i < n_rows && i < VEC_I8_AHEAD; i++) {
        vec_prefetch_bytes(rows[i], n);
    }
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        const int8_t *ahead[VEC_ROWS_AT_ONCE];
        vec_i8_ahead(q, rows, n_rows, i, ahead);
        vec_neon_dot_i8_4(q, rows + i, ahead, n, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_neon_dot_i8(q, rows[i], n);
    }
}

static float vec_neon_max_size(const float *x, size_t n) {
    float32x4_t most = vdupq_n_f32(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        most = vmaxq_f32(most, vabsq_f32(vld1q_f32(x + i)));
    }
    float max = vmaxvq_f32(most);
    for (; i < n; i++) {
        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    }
    return max;
}

static int16x4_t vec_neon_round(const float *x, float factor) {
    return vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), factor)));
}

static float vec_neon_quantise_i8(const float *x, size_t n, int8_t *out) {
    const float max = vec_neon_max_size(x, n);
    if (max < VEC_QUANTISE_MIN) {
        return vec_quantise_zeros(out, n);
    }
    const float factor = 127 / max;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const int16x8_t rounded =
            vcombine_s16(vec_neon_round(x + i, factor), vec_neon_round(x + i + 4, factor));
        vst1_s8(out + i, vmax_s8(vqmovn_s16(rounded), vdup_n_s8(-127)));
    }
    for (; i < n; i++) {
        out[i] = vec_quantise_one(x[i], factor);
    }
    return max / 127;
}

#if defined(__linux__) && defined(__AARCH64EL__)

/* Written in assembly because gcc and clang disagree on how to allow these instructions to one
 * function of a file that is compiled without them. */
static uint32_t vec_neon_crc8(uint32_t crc, uint64_t word) {
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    return crc;
}

static uint32_t vec_neon_crc1(uint32_t crc, uint32_t byte) {
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(byte));
    return crc;
}

static uint32_t vec_neon_crc32c(uint32_t crc, const void *p, size_t n) {
    const unsigned char *s = p;
    crc = ~crc;
    for (; n >= 8; n -= 8, s += 8) {
        uint64_t word = 0;
        memcpy(&word, s, sizeof word);
        crc = vec_neon_crc8(crc, word);
    }
    for (; n > 0; n--, s++) {
        crc = vec_neon_crc1(crc, *s);
    }
    return ~crc;
}

static bool vec_neon_has_crc(void) {
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

#else

static uint32_t vec_neon_crc32c(uint32_t crc, const void *p, size_t n) {
    return vec_scalar_crc32c(crc, p, n);
}

static bool vec_neon_has_crc(void) {
    return false;
}

#endif

const struct vec_ops *vec_neon_ops(void) {
    static const struct vec_ops with_crc = {
        .name = "neon",
        .dot = vec_neon_dot,
        .dot_rows = vec_neon_dot_rows,
        .axpy = vec_neon_axpy,
        .axpy_rows = vec_neon_axpy_rows,
        .scale = vec_neon_scale,
        .dot_many = vec_neon_dot_many,
        .dot_i8 = vec_neon_dot_i8,
        .dot_i8_rows = vec_neon_dot_i8_rows,
        .quantise_i8 = vec_neon_quantise_i8,
        .crc32c = vec_neon_crc32c,
    };
    static const struct vec_ops without_crc = {
        .name = "neon",
        .dot = vec_neon_dot,
        .dot_rows = vec_neon_dot_rows,
        .axpy = vec_neon_axpy,
        .axpy_rows = vec_neon_axpy_rows,
        .scale = vec_neon_scale,
        .dot_many = vec_neon_dot_many,
        .dot_i8 = vec_neon_dot_i8,
        .dot_i8_rows = vec_neon_dot_i8_rows,
        .quantise_i8 = vec_neon_quantise_i8,
        .crc32c = vec_scalar_crc32c,
    };
    return vec_neon_has_crc() ? &with_crc : &without_crc;
}

#else

const struct vec_ops *vec_neon_ops(void) {
    return NULL;
}

#endif
