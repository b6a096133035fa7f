/* The promises of gemm.h as plain functions, so that they run under cmocka (test_gemm.c) and, without
 * any library, on a foreign processor (tools/qemu-neon.sh). A check gets one table, compares it with
 * double, and returns true if it holds; otherwise it prints where it broke. Inputs end where their
 * memory ends, so a sanitizer sees a kernel that reads past them; between the rows of an output lie
 * values that nobody may change. */
#ifndef U2I_TESTS_GEMM_CHECKS_H
#define U2I_TESTS_GEMM_CHECKS_H

#include "base/alloc.h"
#include "base/rng.h"
#include "vec/gemm.h"
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

enum { GEMM_SIZE_MAX = 40, GEMM_GUARD = 77 };

struct gemm_check {
    const char *promise;
    bool (*holds)(const struct gemm_ops *ops);
};

/* One product: m rows of x, n outputs, k inputs; what lies between rows; with a bias or without. */
struct gemm_case {
    uint32_t m, n, k, gap;
    bool bias, transposed;
};

static bool gemm_check_fail(const struct gemm_ops *ops, const char *what, size_t n, size_t at) {
    printf("%s: %s is wrong at size %zu, place %zu\n", ops->name, what, n, at);
    return false;
}

/* n floats in [-1, 1) that begin `shift` floats into their memory and end with it. */
static float *gemm_random(struct rng *rng, size_t n, size_t shift, void **memory) {
    float *const base = alloc_array(n + shift, sizeof *base);
    *memory = base;
    for (size_t i = 0; base != NULL && i < n + shift; i++) {
        base[i] = (float)(rng_unit(rng) * 2 - 1);
    }
    return base == NULL ? NULL : base + shift;
}

static size_t gemm_floats(size_t rows, size_t stride, size_t row) {
    return rows == 0 ? 0 : (rows - 1) * stride + row;
}

/* Room for `bytes` at a multiple of 64. */
static void *gemm_aligned(size_t bytes, void **memory) {
    char *const p = mem_alloc(bytes + 63);
    *memory = p;
    return p == NULL ? NULL : p + (64 - (uintptr_t)p % 64) % 64;
}

static bool gemm_f32_is_right(const struct gemm_case *c, const float *x, const float *w,
                              const float *bias, const float *y) {
    const size_t stride = c->k + c->gap;
    const size_t n_step = c->transposed ? 1 : stride;
    const size_t k_step = c->transposed ? c->n + c->gap : 1;
    bool good = true;
    for (size_t i = 0; i < c->m; i++) {
        for (size_t j = 0; j < c->n; j++) {
            double sum = bias == NULL ? 0 : bias[j];
            double size = fabs(sum);
            for (size_t l = 0; l < c->k; l++) {
                const double product = (double)x[i * stride + l] * w[j * n_step + l * k_step];
                sum += product;
                size += fabs(product);
            }
            good = good && fabs(y[i * (c->n + c->gap) + j] - sum) <= 2e-6 * size;
        }
        for (size_t j = c->n; j < c->n + c->gap && i + 1 < c->m; j++) {
            good = good && y[i * (c->n + c->gap) + j] == GEMM_GUARD;
        }
    }
    return good;
}

static bool gemm_f32_once(const struct gemm_ops *ops, struct rng *rng, const struct gemm_case *c) {
    void *memory[5] = {NULL};
    const size_t in = c->k + c->gap, out = c->n + c->gap;
    const float *const x =
        gemm_random(rng, gemm_floats(c->m, in, c->k), rng_below(rng, 4), &memory[0]);
    const float *const w =
        gemm_random(rng, c->transposed ? gemm_floats(c->k, out, c->n) : gemm_floats(c->n, in, c->k),
                    rng_below(rng, 4), &memory[1]);
    const float *const bias = gemm_random(rng, c->n, rng_below(rng, 4), &memory[2]);
    const size_t y_floats = gemm_floats(c->m, out, c->n);
    float *const y = gemm_random(rng, y_floats, rng_below(rng, 4), &memory[3]);
    void *const packed = gemm_aligned(gemm_f32_bytes(ops, c->n, c->k), &memory[4]);
    for (size_t i = 0; i < y_floats; i++) {
        y[i] = GEMM_GUARD;
    }
    if (c->transposed) {
        gemm_f32_pack_transposed(ops, w, out, c->n, c->k, packed);
    } else {
        gemm_f32_pack(ops, w, in, c->n, c->k, packed);
    }
    const struct gemm_weights weights = {ops, c->n, c->k, packed, c->bias ? bias : NULL};
    gemm_f32_run(&weights, x, in, c->m, y, out);
    const bool good = gemm_f32_is_right(c, x, w, weights.bias, y);
    for (size_t i = 0; i < 5; i++) {
        mem_free(memory[i]);
    }
    return good || (printf("m %u, n %u, k %u: ", c->m, c->n, c->k),
                    gemm_check_fail(ops, "f32", c->n, c->k));
}

/* Shapes at the edges of blocks, slices and panels, and those of real models. */
static const struct gemm_case gemm_shapes[] = {
    {0, 5, 5, 0, true, false},      {1, 1, 1, 0, false, false},    {12, 384, 384, 0, true, false},
    {13, 97, 1539, 3, true, false}, {193, 33, 385, 1, true, true}, {12, 70, 4096, 0, false, false},
    {7, 40, 768, 5, true, false},   {400, 5, 70, 2, false, true},  {25, 100, 383, 0, true, true},
};
enum { GEMM_SHAPES = sizeof gemm_shapes / sizeof *gemm_shapes };

/* Each size 0..40 in each role, the others anything up to there. */
static struct gemm_case gemm_small_case(struct rng *rng, uint32_t size, uint32_t role) {
    struct gemm_case c = {.m = rng_below(rng, GEMM_SIZE_MAX + 1),
                          .n = 1 + rng_below(rng, GEMM_SIZE_MAX),
                          .k = 1 + rng_below(rng, GEMM_SIZE_MAX),
                          .gap = rng_below(rng, 4),
                          .bias = rng_below(rng, 2) == 0,
                          .transposed = rng_below(rng, 2) == 0};
    if (role == 0) {
        c.m = size;
    } else if (size > 0) {
        c.n = role == 1 ? size : c.n;
        c.k = role == 2 ? size : c.k;
    }
    return c;
}

static bool gemm_f32_is_the_product(const struct gemm_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 1);
    bool good = true;
    for (uint32_t size = 0; size <= GEMM_SIZE_MAX; size++) {
        for (uint32_t i = 0; i < 12; i++) {
            const struct gemm_case c = gemm_small_case(&rng, size, i % 3);
            good = gemm_f32_once(ops, &rng, &c) && good;
        }
    }
    for (size_t i = 0; i < GEMM_SHAPES; i++) {
        good = gemm_f32_once(ops, &rng, &gemm_shapes[i]) && good;
    }
    return good;
}

static const struct gemm_check gemm_checks[] = {
    {"f32 product is x times the weights and the bias", gemm_f32_is_the_product},
};

/* Runs one check for every table of this machine; how many failed. */
static int gemm_check_tables(const struct gemm_check *check) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    int failed = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct gemm_ops *const ops = gemm_named(names[i]);
        if (ops != NULL && !check->holds(ops)) {
            printf("%s: %s: broken\n", names[i], check->promise);
            failed++;
        }
    }
    return failed;
}

#endif
