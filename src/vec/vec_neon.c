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

static void vec_neon_dot_4(const float *q, const float *rows, size_t stride, size_t dim,
                           float *out) {
    /* An address, not a pointer: it may lie past the end, where asking does no harm. */
    const uintptr_t next = (uintptr_t)(const void *)rows + VEC_ROWS_AT_ONCE * stride * sizeof *rows;
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
        const char *const line = (const char *)(next + VEC_ROWS_AT_ONCE * i * sizeof *rows);
        __builtin_prefetch(line);
        __builtin_prefetch(line + 64);
        for (size_t r = 0; r < 4; r++) {
            const float *const row = rows + r * stride + i;
            low[r] = vfmaq_f32(low[r], q0, vld1q_f32(row));
            high[r] = vfmaq_f32(high[r], q1, vld1q_f32(row + 4));
        }
    }
    for (size_t r = 0; r < 4; r++) {
        out[r] = vaddvq_f32(vaddq_f32(low[r], high[r]));
        for (size_t j = i; j < dim; j++) {
            out[r] += q[j] * rows[r * stride + j];
        }
    }
}

static void vec_neon_dot_rows(const float *q, const float *rows, size_t stride, size_t n_rows,
                              size_t dim, float *out) {
    size_t i = 0;
    for (; i + VEC_ROWS_AT_ONCE <= n_rows; i += VEC_ROWS_AT_ONCE) {
        vec_neon_dot_4(q, rows + i * stride, stride, dim, out + i);
    }
    for (; i < n_rows; i++) {
        out[i] = vec_neon_dot(q, rows + i * stride, dim);
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

static int32_t vec_neon_dot_i8(const int8_t *a, const int8_t *b, size_t n) {
    int32x4_t s0 = vdupq_n_s32(0);
    int32x4_t s1 = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const int8x16_t x = vld1q_s8(a + i);
        const int8x16_t y = vld1q_s8(b + i);
        s0 = vpadalq_s16(s0, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
        s1 = vpadalq_s16(s1, vmull_high_s8(x, y));
    }
    int32_t sum = vaddvq_s32(vaddq_s32(s0, s1));
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
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
        .dot_i8 = vec_neon_dot_i8,
        .crc32c = vec_neon_crc32c,
    };
    static const struct vec_ops without_crc = {
        .name = "neon",
        .dot = vec_neon_dot,
        .dot_rows = vec_neon_dot_rows,
        .axpy = vec_neon_axpy,
        .axpy_rows = vec_neon_axpy_rows,
        .scale = vec_neon_scale,
        .dot_i8 = vec_neon_dot_i8,
        .crc32c = vec_scalar_crc32c,
    };
    return vec_neon_has_crc() ? &with_crc : &without_crc;
}

#else

const struct vec_ops *vec_neon_ops(void) {
    return NULL;
}

#endif
