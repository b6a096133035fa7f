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
    bool positive; /* all of x and the weights, where rounding errors add up most */
    bool scratch;
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

static void gemm_make_positive(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] = fabsf(x[i]);
    }
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
    void *memory[6] = {NULL};
    const size_t in = c->k + c->gap, out = c->n + c->gap;
    const size_t x_floats = gemm_floats(c->m, in, c->k);
    const size_t w_floats =
        c->transposed ? gemm_floats(c->k, out, c->n) : gemm_floats(c->n, in, c->k);
    float *const x = gemm_random(rng, x_floats, rng_below(rng, 4), &memory[0]);
    float *const w = gemm_random(rng, w_floats, rng_below(rng, 4), &memory[1]);
    const float *const bias = gemm_random(rng, c->n, rng_below(rng, 4), &memory[2]);
    const size_t y_floats = gemm_floats(c->m, out, c->n);
    float *const y = gemm_random(rng, y_floats, rng_below(rng, 4), &memory[3]);
    void *const packed = gemm_aligned(gemm_f32_bytes(ops, c->n, c->k), &memory[4]);
    void *const scratch = gemm_aligned(gemm_f32_scratch_bytes(ops), &memory[5]);
    for (size_t i = 0; i < y_floats; i++) {
        y[i] = GEMM_GUARD;
    }
    if (c->positive) {
        gemm_make_positive(x, x_floats);
        gemm_make_positive(w, w_floats);
    }
    if (c->transposed) {
        gemm_f32_pack_transposed(ops, w, out, c->n, c->k, packed);
    } else {
        gemm_f32_pack(ops, w, in, c->n, c->k, packed);
    }
    const struct gemm_weights weights = {ops, c->n, c->k, packed, c->bias ? bias : NULL};
    const struct gemm_rows rows = {x, in, c->m};
    gemm_f32_run(&weights, &rows, c->scratch ? scratch : NULL, y, out);
    const bool good = gemm_f32_is_right(c, x, w, weights.bias, y);
    for (size_t i = 0; i < 6; i++) {
        mem_free(memory[i]);
    }
    return good || (printf("m %u, n %u, k %u: ", c->m, c->n, c->k),
                    gemm_check_fail(ops, "f32", c->n, c->k));
}

/* Shapes at the edges of blocks, slices and panels, and those of real models. */
static const struct gemm_case gemm_shapes[] = {
    {0, 5, 5, 0, true, false, false, false},       {1, 1, 1, 0, false, false, false, false},
    {12, 384, 384, 0, true, false, false, false},  {13, 40, 384, 0, true, true, true, false},
    {13, 97, 1539, 3, true, false, false, false},  {193, 33, 385, 1, true, true, false, false},
    {12, 70, 4096, 0, false, false, false, false}, {12, 70, 4096, 1, false, false, true, false},
    {7, 40, 768, 5, true, false, false, false},    {400, 5, 70, 2, false, true, false, false},
    {25, 100, 383, 0, true, true, false, false},
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
            struct gemm_case c = gemm_small_case(&rng, size, i % 3);
            c.scratch = i % 2 == 0;
            c.m += c.scratch ? ops->f32_block_rows : 0; /* 0 where there are no blocks */
            good = gemm_f32_once(ops, &rng, &c) && good;
        }
    }
    for (size_t i = 0; i < GEMM_SHAPES; i++) {
        struct gemm_case c = gemm_shapes[i];
        good = gemm_f32_once(ops, &rng, &c) && good;
        c.scratch = true;
        good = gemm_f32_once(ops, &rng, &c) && good;
    }
    return good;
}

/* Sizes of rows: each up to GEMM_SIZE_MAX, then those of models. */
static size_t gemm_row_size(size_t i) {
    static const size_t more[] = {64, 127, 255, 384, 512, 768, 1023, 1024, 4096};
    return i <= GEMM_SIZE_MAX ? i : more[i - GEMM_SIZE_MAX - 1];
}
enum { GEMM_ROW_SIZES = GEMM_SIZE_MAX + 1 + 9 };

static bool gemm_softmax_once(const struct gemm_ops *ops, float *x, size_t n) {
    double *const want = alloc_array(n, sizeof *want);
    double max = -INFINITY, sum = 0, total = 0;
    for (size_t i = 0; i < n; i++) {
        max = x[i] > max ? (double)x[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        want[i] = exp(x[i] - max);
        sum += want[i];
    }
    ops->softmax(x, n);
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        want[i] /= sum;
        total += x[i];
        good = fabs(x[i] - want[i]) <= 2e-6 * want[i] + 2e-7;
        good = good || gemm_check_fail(ops, "softmax", n, i);
    }
    mem_free(want);
    return good && (fabs(total - 1) <= 1e-5 || gemm_check_fail(ops, "softmax's sum", n, n));
}

static bool gemm_softmax_is_right_for_any_range(const struct gemm_ops *ops) {
    static const float sizes[] = {0, 1, 10, 100, 1e4f, 1e37f};
    struct rng rng;
    rng_seed(&rng, 2);
    bool good = true;
    ops->softmax(NULL, 0);
    for (size_t i = 1; i < GEMM_ROW_SIZES; i++) {
        const size_t n = gemm_row_size(i);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            void *memory = NULL;
            float *const x = gemm_random(&rng, n, (i + k) % 5, &memory);
            for (size_t j = 0; j < n; j++) {
                x[j] = j % 7 == 3 ? -INFINITY : x[j] * sizes[k] + (k == 1 ? 1000 : 0);
            }
            good = gemm_softmax_once(ops, x, n) && good;
            mem_free(memory);
        }
    }
    return good;
}

static bool gemm_norm_once(const struct gemm_ops *ops, struct rng *rng, size_t n, float mean) {
    static const float eps = 1e-5f;
    void *memory[3] = {NULL};
    float *const x = gemm_random(rng, n, rng_below(rng, 5), &memory[0]);
    const float *const gamma = gemm_random(rng, n, rng_below(rng, 5), &memory[1]);
    const float *const beta = gemm_random(rng, n, rng_below(rng, 5), &memory[2]);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] += mean;
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++) {
        squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    }
    const double sigma = sqrt(squares / (double)n + eps);
    float *const before = mem_dup(x, n * sizeof *x);
    ops->norm(x, gamma, beta, n, eps);
    bool good = true;
    for (size_t i = 0; i < n && good && fabs(sum) <= 10 * sigma * (double)n; i++) {
        const double want = (before[i] - sum / (double)n) / sigma * gamma[i] + beta[i];
        const double allowed =
            1e-5 * fabs(gamma[i]) * (1 + fabs(before[i]) / sigma) + 1e-6 * fabs(beta[i]);
        good = fabs(x[i] - want) <= allowed || gemm_check_fail(ops, "norm", n, i);
    }
    mem_free(before);
    for (size_t i = 0; i < 3; i++) {
        mem_free(memory[i]);
    }
    return good;
}

static bool gemm_norm_is_right_for_any_mean(const struct gemm_ops *ops) {
    static const float means[] = {0, 1, -5.5f};
    struct rng rng;
    rng_seed(&rng, 3);
    bool good = true;
    for (size_t i = 0; i < GEMM_ROW_SIZES; i++) {
        for (size_t k = 0; k < sizeof means / sizeof *means; k++) {
            good = gemm_norm_once(ops, &rng, gemm_row_size(i), means[k]) && good;
        }
    }
    return good;
}

static double gemm_gelu(double x) {
    return x / 2 * (1 + erf(x / sqrt(2)));
}

static bool gemm_gelu_is_right_everywhere(const struct gemm_ops *ops) {
    enum { STEPS = 200000 };
    bool good = true;
    double worst = 0;
    float *const x = alloc_array(STEPS + 1, sizeof *x);
    for (size_t i = 0; i <= STEPS; i++) {
        x[i] = (float)i / (STEPS / 20) - 10;
    }
    ops->gelu(x, STEPS + 1);
    for (size_t i = 0; i <= STEPS; i++) {
        const float at = (float)i / (STEPS / 20) - 10;
        worst = fmax(worst, fabs(x[i] - gemm_gelu(at)));
    }
    mem_free(x);
    good = worst <= 2e-6 || gemm_check_fail(ops, "gelu", STEPS, 0);
    float far[] = {1e30f, -1e30f, FLT_MAX, -FLT_MAX, 100, -100, 12345, 0, NAN};
    ops->gelu(far, 9);
    static const double want[] = {1e30f, 0, FLT_MAX, 0, 100, 0, 12345, 0};
    for (size_t i = 0; i < 8; i++) {
        const double error = fabs(far[i] - want[i]);
        good = (error <= 1e-6 + want[i] * 0x1p-23 || gemm_check_fail(ops, "gelu", 9, i)) && good;
    }
    return (isnan(far[8]) || gemm_check_fail(ops, "gelu of NaN", 9, 8)) && good;
}

static bool gemm_gelu_and_add_change_exactly_n(const struct gemm_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 4);
    bool good = true;
    for (size_t i = 0; i < GEMM_ROW_SIZES; i++) {
        const size_t n = gemm_row_size(i);
        void *memory[2] = {NULL};
        float *const y = gemm_random(&rng, n, i % 5, &memory[0]);
        const float *const x = gemm_random(&rng, n, i * 3 % 5, &memory[1]);
        float *const before = mem_dup(y, n * sizeof *y);
        ops->add(y, x, n);
        for (size_t j = 0; j < n; j++) {
            good = (y[j] == before[j] + x[j] || gemm_check_fail(ops, "add", n, j)) && good;
            before[j] = y[j];
        }
        ops->gelu(y, n);
        for (size_t j = 0; j < n; j++) {
            const double error = fabs(y[j] - gemm_gelu(before[j]));
            good = (error <= 2e-6 || gemm_check_fail(ops, "gelu", n, j)) && good;
        }
        mem_free(before);
        mem_free(memory[0]);
        mem_free(memory[1]);
    }
    return good;
}

/* A row by the rules of gemm.h: whole numbers in -levels..levels, and their scale. */
static float gemm_quantise(const float *x, size_t n, int32_t levels, int32_t *out) {
    float max = 0;
    for (size_t i = 0; i < n; i++) {
        max = fmaxf(max, fabsf(x[i]));
    }
    const bool zero = max < 1e-30f;
    const float factor = zero ? 0 : (float)levels / max;
    for (size_t i = 0; i < n; i++) {
        out[i] = (int32_t)lrintf(x[i] * factor);
    }
    return zero ? 0 : max / (float)levels;
}

/* What the bytes of one test are and what they stand for. */
struct gemm_bytes {
    const float *x, *w, *bias;
    int32_t *xs, *ws;
    float *x_scales, *w_scales;
};

/* y[i][j] bit for bit as the definition has it, and as near the product as rounding to bytes allows. */
static bool gemm_i8_value_is_right(const struct gemm_case *c, const struct gemm_bytes *b, size_t i,
                                   size_t j, float got) {
    const float *const x = b->x + i * (c->k + c->gap), *const w = b->w + j * (c->k + c->gap);
    const float bias = b->bias == NULL ? 0 : b->bias[j];
    const double half_x = b->x_scales[i] / 2.0, half_w = b->w_scales[j] / 2.0;
    int64_t sum = 0;
    double product = bias, allowed = 1e-6 * fabs(bias);
    for (size_t l = 0; l < c->k; l++) {
        sum += (int64_t)b->xs[i * c->k + l] * b->ws[j * c->k + l];
        product += (double)x[l] * w[l];
        allowed += half_x * fabs(w[l]) + half_w * fabs(x[l]) + half_x * half_w + 1e-45;
    }
    const float want = (float)(int32_t)sum * (b->x_scales[i] * b->w_scales[j]) + bias;
    return sum == (int32_t)sum && got == want && fabs(got - product) <= allowed * 1.0001;
}

static bool gemm_i8_is_right(const struct gemm_ops *ops, const struct gemm_case *c,
                             struct gemm_bytes *b, const float *y) {
    const size_t stride = c->k + c->gap, out = c->n + c->gap;
    bool good = true;
    b->xs = alloc_array((size_t)c->m * c->k, sizeof *b->xs);
    b->ws = alloc_array((size_t)c->n * c->k, sizeof *b->ws);
    b->x_scales = alloc_array(c->m, sizeof *b->x_scales);
    b->w_scales = alloc_array(c->n, sizeof *b->w_scales);
    for (size_t i = 0; i < c->m; i++) {
        b->x_scales[i] = gemm_quantise(b->x + i * stride, c->k, ops->levels, b->xs + i * c->k);
    }
    for (size_t j = 0; j < c->n; j++) {
        b->w_scales[j] = gemm_quantise(b->w + j * stride, c->k, 127, b->ws + j * c->k);
    }
    for (size_t i = 0; i < c->m; i++) {
        for (size_t j = 0; j < c->n; j++) {
            good = good && gemm_i8_value_is_right(c, b, i, j, y[i * out + j]);
        }
        for (size_t j = c->n; j < out && i + 1 < c->m; j++) {
            good = good && y[i * out + j] == GEMM_GUARD;
        }
    }
    mem_free(b->xs);
    mem_free(b->ws);
    mem_free(b->x_scales);
    mem_free(b->w_scales);
    return good;
}

/* How the floats of a test are made, so that their bytes are anything or the ends. */
enum gemm_fill { GEMM_ANY, GEMM_ENDS, GEMM_HIGH, GEMM_LOW, GEMM_ZERO, GEMM_FILLS };

static void gemm_fill(struct rng *rng, float *x, size_t n, enum gemm_fill fill) {
    for (size_t i = 0; i < n; i++) {
        const float end = rng_below(rng, 2) == 0 ? 0.7f : -0.7f;
        x[i] = fill == GEMM_ENDS   ? end
               : fill == GEMM_HIGH ? 0.7f
               : fill == GEMM_LOW  ? -0.7f
               : fill == GEMM_ZERO ? 0
                                   : x[i];
    }
}

static bool gemm_i8_once(const struct gemm_ops *ops, struct rng *rng, const struct gemm_case *c,
                         uint32_t fills) {
    void *memory[6] = {NULL};
    const size_t in = c->k + c->gap, out = c->n + c->gap;
    const size_t x_floats = gemm_floats(c->m, in, c->k), w_floats = gemm_floats(c->n, in, c->k);
    float *const x = gemm_random(rng, x_floats, rng_below(rng, 4), &memory[0]);
    float *const w = gemm_random(rng, w_floats, rng_below(rng, 4), &memory[1]);
    float *const bias = gemm_random(rng, c->n, rng_below(rng, 4), &memory[2]);
    const size_t y_floats = gemm_floats(c->m, out, c->n);
    float *const y = gemm_random(rng, y_floats, rng_below(rng, 4), &memory[3]);
    void *const packed = gemm_aligned(gemm_i8_bytes(ops, c->n, c->k), &memory[4]);
    void *const rows = gemm_aligned(gemm_i8_rows_bytes(c->m, c->k), &memory[5]);
    gemm_fill(rng, x, x_floats, (enum gemm_fill)(fills % GEMM_FILLS));
    gemm_fill(rng, w, w_floats, (enum gemm_fill)(fills / GEMM_FILLS % GEMM_FILLS));
    for (size_t i = 0; i < y_floats; i++) {
        y[i] = GEMM_GUARD;
    }
    gemm_i8_pack(ops, w, in, c->n, c->k, packed);
    gemm_i8_rows(ops, x, in, c->m, c->k, rows);
    const struct gemm_weights weights = {ops, c->n, c->k, packed, c->bias ? bias : NULL};
    gemm_i8_run(&weights, rows, c->m, y, out);
    struct gemm_bytes b = {.x = x, .w = w, .bias = weights.bias};
    const bool good = gemm_i8_is_right(ops, c, &b, y);
    for (size_t i = 0; i < 6; i++) {
        mem_free(memory[i]);
    }
    return good || (printf("m %u, n %u, k %u: ", c->m, c->n, c->k),
                    gemm_check_fail(ops, "i8", c->n, fills));
}

/* Whether the sums are exact shows in y, whose float holds any below 2^24. */
static bool gemm_i8_is_the_product_of_bytes(const struct gemm_ops *ops) {
    struct rng rng;
    rng_seed(&rng, 5);
    bool good = true;
    for (uint32_t size = 0; size <= GEMM_SIZE_MAX; size++) {
        for (uint32_t i = 0; i < 12; i++) {
            const struct gemm_case c = gemm_small_case(&rng, size, i % 3);
            good = gemm_i8_once(ops, &rng, &c, i < 6 ? 0 : rng_below(&rng, 25)) && good;
        }
    }
    for (size_t i = 0; i < GEMM_SHAPES; i++) {
        good = gemm_i8_once(ops, &rng, &gemm_shapes[i], 0) && good;
    }
    for (uint32_t fills = 0; fills < GEMM_FILLS * GEMM_FILLS; fills++) {
        const struct gemm_case ends = {5, 18, 1031, 1, true, false, false, false};
        good = gemm_i8_once(ops, &rng, &ends, fills) && good;
    }
    const struct gemm_case longest = {2, 3, GEMM_K_MAX, 0, false, false, false, false};
    for (uint32_t fills = 0; fills < GEMM_FILLS * GEMM_FILLS; fills += 6) {
        good = gemm_i8_once(ops, &rng, &longest, fills) && good;
    }
    return good;
}

static const struct gemm_check gemm_checks[] = {
    {"i8 product is exact but for the bytes", gemm_i8_is_the_product_of_bytes},
    {"softmax is right for any range", gemm_softmax_is_right_for_any_range},
    {"layer norm is right for any mean", gemm_norm_is_right_for_any_mean},
    {"gelu is right everywhere", gemm_gelu_is_right_everywhere},
    {"gelu and add change exactly n values", gemm_gelu_and_add_change_exactly_n},
    {"f32 product is x times the weights and the bias", gemm_f32_is_the_product},
};

/* Runs one check for every table of this machine; how many failed. */
static int gemm_check_tables(const struct gemm_check *check) {
    static const char *const names[] = {"scalar", "scalar7", "avx2", "avx512", "amx", "neon"};
    int failed = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct gemm_ops *const ops = gemm_named(names[i]);
        if (ops != NULL) {
            const bool good = check->holds(ops);
            printf("%-7s %s: %s\n", names[i], check->promise, good ? "ok" : "broken");
            failed += good ? 0 : 1;
        }
    }
    return failed;
}

#endif
