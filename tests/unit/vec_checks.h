/* The promises of the vector kernels as plain functions, so that they run under cmocka (test_vec.c)
 * and, without any library, on a foreign processor (tools/qemu-neon.sh). A check gets one table,
 * compares it with scalar code in double and with the scalar table, and returns true if it holds;
 * otherwise it prints where it broke. Buffers end where the data ends, so a sanitizer sees a kernel
 * that reads past its input. */
#ifndef U2I_TESTS_VEC_CHECKS_H
#define U2I_TESTS_VEC_CHECKS_H

#include "base/alloc.h"
#include "base/rng.h"
#include "vec/vec.h"
#include <math.h>
#include <stdio.h>

enum { VEC_LENGTH_MAX = 257, VEC_SHIFT_MAX = 5, VEC_GATHER_MAX = 21 };

struct vec_check {
    const char *promise;
    bool (*holds)(const struct vec_ops *ops);
};

static bool vec_check_fail(const struct vec_ops *ops, const char *what, size_t n, size_t at) {
    printf("%s: %s is wrong at length %zu, place %zu\n", ops->name, what, n, at);
    return false;
}

/* n floats in [-1, 1) that begin `shift` floats into their memory and end with it. */
static float *vec_random(struct rng *rng, size_t n, size_t shift, void **memory) {
    float *const base = alloc_array(n + shift, sizeof *base);
    *memory = base;
    for (size_t i = 0; base != NULL && i < n + shift; i++) {
        base[i] = (float)(rng_unit(rng) * 2 - 1);
    }
    return base == NULL ? NULL : base + shift;
}

static bool vec_close(float got, const float *a, const float *b, size_t n) {
    double sum = 0;
    double size = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * b[i];
        size += fabs((double)a[i] * b[i]);
    }
    return fabs(got - sum) <= 1e-5 * size;
}

static bool vec_dot_is_the_inner_product(const struct vec_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 1);
    bool good = true;
    for (size_t n = 0; n <= VEC_LENGTH_MAX; n++) {
        for (size_t shift = 0; shift < VEC_SHIFT_MAX; shift++) {
            void *a_memory = NULL;
            void *b_memory = NULL;
            const float *const a = vec_random(&rng, n, shift, &a_memory);
            const float *const b = vec_random(&rng, n, shift * 3 % 4, &b_memory);
            const float scalar = vec_named("scalar")->dot(a, b, n);
            if (!vec_close(ops->dot(a, b, n), a, b, n) || !vec_close(scalar, a, b, n)) {
                good = vec_check_fail(ops, "dot", n, shift);
            }
            mem_free(a_memory);
            mem_free(b_memory);
        }
    }
    return good;
}

static bool vec_dot_rows_once(const struct vec_ops *ops, struct rng *rng, size_t dim, size_t n) {
    const size_t stride = dim + rng_below(rng, 3);
    void *q_memory = NULL;
    void *memory = NULL;
    const float *const q = vec_random(rng, dim, rng_below(rng, 4), &q_memory);
    const size_t floats = n == 0 ? 0 : (n - 1) * stride + dim;
    const float *const rows = vec_random(rng, floats, rng_below(rng, 4), &memory);
    float *const out = alloc_array(n, sizeof *out);
    bool good = true;
    ops->dot_rows(q, rows, stride, n, dim, out);
    for (size_t i = 0; i < n; i++) {
        if (!vec_close(out[i], q, rows + i * stride, dim)) {
            good = vec_check_fail(ops, "dot_rows", dim, i);
        }
    }
    mem_free(out);
    mem_free(memory);
    mem_free(q_memory);
    return good;
}

static bool vec_dot_rows_is_dot_for_each_row(const struct vec_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 2);
    bool good = true;
    for (size_t dim = 0; dim <= VEC_LENGTH_MAX; dim++) {
        good = vec_dot_rows_once(ops, &rng, dim, dim % 14) && good;
        good = vec_dot_rows_once(ops, &rng, dim, 8 + rng_below(&rng, 9)) && good;
    }
    return good;
}

static bool vec_axpy_and_scale_change_exactly_n(const struct vec_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 3);
    bool good = true;
    for (size_t n = 0; n <= VEC_LENGTH_MAX; n++) {
        const size_t shift = n % VEC_SHIFT_MAX;
        void *memory[3] = {NULL};
        const float *const x = vec_random(&rng, n, shift, &memory[0]);
        float *const y = vec_random(&rng, n, shift * 2 % 5, &memory[1]);
        float *const before = mem_dup(y, n * sizeof *y);
        const float alpha = (float)(rng_unit(&rng) * 4 - 2);
        ops->axpy(alpha, x, y, n);
        for (size_t i = 0; i < n; i++) {
            const double want = before[i] + (double)alpha * x[i];
            if (fabs(y[i] - want) > 1e-6 * (fabs(before[i]) + fabs((double)alpha * x[i]))) {
                good = vec_check_fail(ops, "axpy", n, i);
            }
            before[i] = y[i];
        }
        ops->scale(y, alpha, n);
        for (size_t i = 0; i < n; i++) {
            if (y[i] != before[i] * alpha) {
                good = vec_check_fail(ops, "scale", n, i);
            }
        }
        mem_free(before);
        mem_free(memory[0]);
        mem_free(memory[1]);
    }
    return good;
}

/* Up to nine rows: twice four and one left over. */
static bool vec_axpy_rows_adds_every_row(const struct vec_ops *ops) {
    enum { ROWS = 9 };
    struct rng rng;
    rng_seed(&rng, 5);
    bool good = true;
    for (size_t n = 0; n <= VEC_LENGTH_MAX; n++) {
        const size_t n_rows = n % (ROWS + 1);
        void *memory[ROWS + 1] = {NULL};
        const float *rows[ROWS];
        float weights[ROWS];
        for (size_t k = 0; k < ROWS; k++) {
            rows[k] = vec_random(&rng, n, (n + k) % VEC_SHIFT_MAX, &memory[k]);
            weights[k] = (float)(rng_unit(&rng) * 4 - 2);
        }
        float *const y = vec_random(&rng, n, n % 3, &memory[ROWS]);
        float *const before = mem_dup(y, n * sizeof *y);
        ops->axpy_rows(weights, rows, n_rows, y, n);
        for (size_t i = 0; i < n; i++) {
            double want = before[i], size = fabs(before[i]);
            for (size_t k = 0; k < n_rows; k++) {
                want += (double)weights[k] * rows[k][i];
                size += fabs((double)weights[k] * rows[k][i]);
            }
            if (fabs(y[i] - want) > 1e-6 * size) {
                good = vec_check_fail(ops, "axpy_rows", n, i);
            }
        }
        mem_free(before);
        for (size_t k = 0; k <= ROWS; k++) {
            mem_free(memory[k]);
        }
    }
    return good;
}

static bool vec_dot_many_once(const struct vec_ops *ops, struct rng *rng, size_t n, size_t n_rows) {
    void *memory[VEC_GATHER_MAX];
    const float *rows[VEC_GATHER_MAX];
    void *q_memory = NULL;
    const float *const q = vec_random(rng, n, rng_below(rng, 4), &q_memory);
    for (size_t i = 0; i < n_rows; i++) {
        rows[i] = vec_random(rng, n, rng_below(rng, 4), &memory[i]);
    }
    float out[VEC_GATHER_MAX + 1];
    out[n_rows] = 77;
    ops->dot_many(q, rows, n_rows, n, out);
    bool good = out[n_rows] == 77 || vec_check_fail(ops, "dot_many's end", n, n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        if (!vec_close(out[i], q, rows[i], n)) {
            good = vec_check_fail(ops, "dot_many", n, i);
        }
        mem_free(memory[i]);
    }
    mem_free(q_memory);
    return good;
}

static bool vec_dot_many_is_dot_for_each_row(const struct vec_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 7);
    bool good = true;
    for (size_t n = 0; n <= VEC_LENGTH_MAX; n++) {
        good = vec_dot_many_once(ops, &rng, n, n % 14) && good;
        good = vec_dot_many_once(ops, &rng, n, 8 + rng_below(&rng, 9)) && good;
    }
    for (size_t n_rows = 0; n_rows <= VEC_GATHER_MAX; n_rows++) {
        good = vec_dot_many_once(ops, &rng, 384, n_rows) && good;
    }
    return vec_dot_many_once(ops, &rng, 1024, VEC_GATHER_MAX) && good;
}

/* How the bytes of a test are made: anything allowed, or one of the ends everywhere. */
enum vec_bytes {
    VEC_BYTES_RANDOM,
    VEC_BYTES_HIGH,
    VEC_BYTES_LOW,
    VEC_BYTES_MIXED,
    VEC_BYTES_KINDS
};

static int8_t vec_byte(struct rng *rng, enum vec_bytes kind) {
    switch (kind) {
    case VEC_BYTES_HIGH:
        return 127;
    case VEC_BYTES_LOW:
        return -127;
    case VEC_BYTES_MIXED:
        return rng_below(rng, 2) == 0 ? 127 : -127;
    default:
        return (int8_t)((int)rng_below(rng, 255) - 127);
    }
}

/* n bytes that begin `shift` bytes into their memory and end with it. */
static int8_t *vec_random_i8(struct rng *rng, size_t n, size_t shift, enum vec_bytes kind,
                             void **memory) {
    int8_t *const base = mem_alloc(n + shift);
    *memory = base;
    for (size_t i = 0; base != NULL && i < n + shift; i++) {
        base[i] = vec_byte(rng, kind);
    }
    return base == NULL ? NULL : base + shift;
}

static int32_t vec_exact_dot_i8(const int8_t *a, const int8_t *b, size_t n) {
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (int64_t)a[i] * b[i];
    }
    return (int32_t)sum;
}

static bool vec_dot_i8_once(const struct vec_ops *ops, struct rng *rng, size_t n, int kinds) {
    void *memory[2] = {NULL};
    const int8_t *const a =
        vec_random_i8(rng, n, 3, (enum vec_bytes)(kinds / VEC_BYTES_KINDS), &memory[0]);
    const int8_t *const b =
        vec_random_i8(rng, n, 1, (enum vec_bytes)(kinds % VEC_BYTES_KINDS), &memory[1]);
    const bool good = ops->dot_i8(a, b, n) == vec_exact_dot_i8(a, b, n);
    mem_free(memory[0]);
    mem_free(memory[1]);
    return good || vec_check_fail(ops, "dot_i8", n, (size_t)kinds);
}

static bool vec_dot_i8_is_exact(const struct vec_ops *ops) {
    static const size_t more[] = {384, 512, 768, 1000, 1024, 65535, 65536};
    struct rng rng;
    rng_seed(&rng, 4);
    bool good = true;
    for (int kinds = 0; kinds < VEC_BYTES_KINDS * VEC_BYTES_KINDS; kinds++) {
        for (size_t n = 0; n <= VEC_LENGTH_MAX; n++) {
            good = vec_dot_i8_once(ops, &rng, n, kinds) && good;
        }
        for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
            good = vec_dot_i8_once(ops, &rng, more[i], kinds) && good;
        }
    }
    return good;
}

/* Rows of every kind of bytes in turn, against a query of one kind. */
static bool vec_dot_i8_rows_once(const struct vec_ops *ops, struct rng *rng, size_t n,
                                 size_t n_rows) {
    void *memory[VEC_GATHER_MAX + 1];
    const int8_t *rows[VEC_GATHER_MAX];
    int32_t out[VEC_GATHER_MAX + 1];
    const enum vec_bytes kind = (enum vec_bytes)rng_below(rng, VEC_BYTES_KINDS);
    const int8_t *const q =
        vec_random_i8(rng, n, rng_below(rng, 66), kind, &memory[VEC_GATHER_MAX]);
    for (size_t i = 0; i < n_rows; i++) {
        const enum vec_bytes row_kind = (enum vec_bytes)((n + i) % VEC_BYTES_KINDS);
        rows[i] = vec_random_i8(rng, n, rng_below(rng, 66), row_kind, &memory[i]);
    }
    out[n_rows] = 77;
    ops->dot_i8_rows(q, rows, n_rows, n, out);
    bool good = out[n_rows] == 77 || vec_check_fail(ops, "dot_i8_rows' end", n, n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        if (out[i] != vec_exact_dot_i8(q, rows[i], n)) {
            good = vec_check_fail(ops, "dot_i8_rows", n, i);
        }
        mem_free(memory[i]);
    }
    mem_free(memory[VEC_GATHER_MAX]);
    return good;
}

static bool vec_dot_i8_rows_is_exact_for_each_row(const struct vec_ops *ops) {
    static const size_t more[] = {384, 512, 768, 1000, 1024, 65535, 65536};
    struct rng rng;
    rng_seed(&rng, 8);
    bool good = true;
    for (size_t n = 0; n <= VEC_LENGTH_MAX; n++) {
        good = vec_dot_i8_rows_once(ops, &rng, n, n % 14) && good;
        good = vec_dot_i8_rows_once(ops, &rng, n, 8 + rng_below(&rng, 9)) && good;
    }
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        for (size_t n_rows = 0; n_rows <= VEC_GATHER_MAX; n_rows += more[i] > 1024 ? 7 : 1) {
            good = vec_dot_i8_rows_once(ops, &rng, more[i], n_rows) && good;
        }
    }
    return good;
}

/* The definition in double, where a product of floats is exact: the byte is the nearest one, but for
 * what rounding the factor and the product can move it; and the bytes of scalar, exactly. */
static bool vec_quantise_i8_once(const struct vec_ops *ops, const float *x, size_t n) {
    double max = 0;
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, fabs((double)x[i]));
    }
    int8_t *const out = mem_alloc(n);
    int8_t *const scalar = mem_alloc(n);
    const float scale = ops->quantise_i8(x, n, out);
    const float same = vec_named("scalar")->quantise_i8(x, n, scalar);
    const bool zero = max < 1e-30f;
    bool good = scale == same && scale == (zero ? 0 : (float)max / 127);
    for (size_t i = 0; i < n && good; i++) {
        const double want = zero ? 0 : 127 / max * x[i];
        good = out[i] == scalar[i] && out[i] >= -127 && fabs(out[i] - want) <= 0.5 + 2e-5 &&
               (zero || fabs((double)x[i]) < max || out[i] == (x[i] > 0 ? 127 : -127));
        good = good || vec_check_fail(ops, "quantise_i8's byte", n, i);
    }
    mem_free(out);
    mem_free(scalar);
    return good || vec_check_fail(ops, "quantise_i8", n, 0);
}

static bool vec_quantise_i8_keeps_the_nearest_bytes(const struct vec_ops *ops) {
    static const float sizes[] = {1, 1e-29f, 3e38f, 1e-31f, 1e-45f, 0, 0.05f};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    struct rng rng;
    rng_seed(&rng, 9);
    bool good = true;
    for (size_t n = 0; n <= VEC_LENGTH_MAX + 2; n++) {
        const size_t length = n <= VEC_LENGTH_MAX ? n : n == VEC_LENGTH_MAX + 1 ? 384 : 1024;
        for (size_t k = 0; k < SIZES; k++) {
            void *memory = NULL;
            float *const x = vec_random(&rng, length, n % VEC_SHIFT_MAX, &memory);
            for (size_t i = 0; i < length; i++) {
                x[i] *= sizes[k];
            }
            good = vec_quantise_i8_once(ops, x, length) && good;
            mem_free(memory);
        }
    }
    return good;
}

/* The factor is 1, so the halves are exact; each at every place of a register, and in the tail. */
static bool vec_quantise_i8_rounds_halves_to_even(const struct vec_ops *ops) {
    static const float halves[] = {0.5f, -0.5f, 1.5f, -1.5f, 2.5f, -2.5f, 126.5f, -126.5f, 0.25f};
    static const int8_t even[] = {0, 0, 2, -2, 2, -2, 126, -126, 0};
    bool good = true;
    for (size_t shift = 0; shift < 9; shift++) {
        float x[100];
        int8_t out[100];
        for (size_t i = 0; i < 99; i++) {
            x[i] = halves[(i + shift) % 9];
        }
        x[99] = shift % 2 == 0 ? 127 : -127;
        good = (ops->quantise_i8(x, 100, out) == 1 || vec_check_fail(ops, "scale", 100, 0)) && good;
        for (size_t i = 0; i < 99; i++) {
            if (out[i] != even[(i + shift) % 9]) {
                good = vec_check_fail(ops, "rounding", 100, i);
            }
        }
        good = out[99] == x[99] && good;
    }
    return good;
}

/* By the definition: one bit at a time, the polynomial reflected. */
static uint32_t vec_crc_by_bits(uint32_t crc, const unsigned char *p, size_t n) {
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

static bool vec_crc32c_gives_the_published_values(const struct vec_ops *ops) {
    unsigned char bytes[32];
    memset(bytes, 0, sizeof bytes);
    bool good = ops->crc32c(0, bytes, 32) == 0x8A9136AA; /* RFC 3720, B.4 */
    memset(bytes, 0xFF, sizeof bytes);
    good = ops->crc32c(0, bytes, 32) == 0x62A8AB43 && good;
    for (unsigned char i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    good = ops->crc32c(0, bytes, 32) == 0x46DD794E && good;
    for (unsigned char i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)(31 - i);
    }
    good = ops->crc32c(0, bytes, 32) == 0x113FDB5C && good;
    good = ops->crc32c(0, "123456789", 9) == 0xE3069283 && good;
    good = ops->crc32c(0, NULL, 0) == 0 && good;
    return good || vec_check_fail(ops, "crc32c", 32, 0);
}

static bool vec_crc32c_divides_any_length_and_continues(const struct vec_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 5);
    bool good = true;
    for (size_t n = 0; n <= 4000; n += n < 800 ? 1 : 1 + rng_below(&rng, 60)) {
        const size_t shift = n % 8;
        unsigned char *const memory = mem_alloc(n + shift);
        unsigned char *const p = memory + shift;
        for (size_t i = 0; i < n; i++) {
            p[i] = (unsigned char)rng_below(&rng, 256);
        }
        const uint32_t start = n % 3 == 0 ? 0 : (uint32_t)rng_u64(&rng);
        const size_t cut = rng_below(&rng, (uint32_t)n + 1);
        const uint32_t want = vec_crc_by_bits(start, p, n);
        if (ops->crc32c(start, p, n) != want ||
            ops->crc32c(ops->crc32c(start, p, cut), p + cut, n - cut) != want) {
            good = vec_check_fail(ops, "crc32c", n, cut);
        }
        mem_free(memory);
    }
    return good;
}

static const struct vec_check vec_checks[] = {
    {"dot_is_the_inner_product", vec_dot_is_the_inner_product},
    {"dot_rows_is_dot_for_each_row", vec_dot_rows_is_dot_for_each_row},
    {"axpy_and_scale_change_exactly_n", vec_axpy_and_scale_change_exactly_n},
    {"axpy_rows_adds_every_row", vec_axpy_rows_adds_every_row},
    {"dot_many_is_dot_for_each_row", vec_dot_many_is_dot_for_each_row},
    {"dot_i8_is_exact", vec_dot_i8_is_exact},
    {"dot_i8_rows_is_exact_for_each_row", vec_dot_i8_rows_is_exact_for_each_row},
    {"quantise_i8_keeps_the_nearest_bytes", vec_quantise_i8_keeps_the_nearest_bytes},
    {"quantise_i8_rounds_halves_to_even", vec_quantise_i8_rounds_halves_to_even},
    {"crc32c_gives_the_published_values", vec_crc32c_gives_the_published_values},
    {"crc32c_divides_any_length_and_continues", vec_crc32c_divides_any_length_and_continues},
};

/* Runs one check on every table that this machine can run; returns how many tables failed. */
static int vec_check_tables(const struct vec_check *check) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    int failed = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct vec_ops *const ops = vec_named(names[i]);
        if (ops != NULL) {
            const bool good = check->holds(ops);
            printf("%-7s %s: %s\n", ops->name, check->promise, good ? "ok" : "FAILED");
            failed += !good;
        }
    }
    return failed;
}

#endif
