/* The reference, without the instructions of any one machine: what every other table is tested against,
 * and what runs where nothing else does. The float tile is 4 x 8. Where speed hardly matters, sums are
 * double and functions the C library's. */
#include "vec/gemm_internal.h"
#include "vec/vec_internal.h"

#include <math.h>
#include <string.h>

#define GEMM_SCALAR_ROWS 4
#define GEMM_SCALAR_COLS 8

/* Four floats, which gcc and clang add and multiply as one value on every machine: left to itself, gcc
 * 12 turns the loops below over the inputs and is three times slower. */
typedef float gemm_four __attribute__((vector_size(16), may_alias));

/* Rows past the last one of the tile repeat it: one kernel for every number of rows. */
static void gemm_scalar_f32(const struct gemm_tile *t, uint32_t rows) {
    const float *x[GEMM_SCALAR_ROWS];
    gemm_four sum[GEMM_SCALAR_ROWS][2];
    GEMM_UNROLL
    for (uint32_t r = 0; r < GEMM_SCALAR_ROWS; r++) {
        x[r] = t->x + (r < rows ? r : rows - 1) * t->x_stride;
        sum[r][0] = (gemm_four){0};
        sum[r][1] = (gemm_four){0};
    }
    const gemm_four *w = (const gemm_four *)(const void *)t->w;
    for (size_t i = 0; i < t->k; i++, w += 2) {
        GEMM_UNROLL
        for (uint32_t r = 0; r < GEMM_SCALAR_ROWS; r++) {
            sum[r][0] += x[r][i] * w[0];
            sum[r][1] += x[r][i] * w[1];
        }
    }
    float out[GEMM_SCALAR_ROWS * GEMM_SCALAR_COLS];
    GEMM_UNROLL
    for (uint32_t r = 0; r < GEMM_SCALAR_ROWS; r++) {
        memcpy(out + r * GEMM_SCALAR_COLS, sum[r], sizeof sum[r]);
    }
    for (uint32_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < t->cols; c++) {
            t->y[r * t->y_stride + c] =
                out[r * GEMM_SCALAR_COLS + c] + t->base[r * t->base_stride + c];
        }
    }
}

void gemm_scalar_softmax(float *x, size_t n) {
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(x[i] / sum);
    }
}

void gemm_scalar_norm(float *x, const float *gamma, const float *beta, size_t n, float eps) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    const double mean = sum / (double)n;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        squares += (x[i] - mean) * (x[i] - mean);
    }
    const double factor = 1 / sqrt(squares / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((x[i] - mean) * factor * gamma[i] + beta[i]);
    }
}

/* A loop without calls, which compilers turn into vector instructions: twice as fast as erff(). */
void gemm_scalar_gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float size = fabsf(x[i]);
        const float u = size > GEMM_GELU_END ? GEMM_GELU_END : size;
        const float s = u * (2 / GEMM_GELU_END) - 1;
        float p = gemm_gelu_poly[GEMM_GELU_DEGREE];
        GEMM_UNROLL
        for (int j = GEMM_GELU_DEGREE - 1; j >= 0; j--) {
            p = p * s + gemm_gelu_poly[j];
        }
        x[i] = (x[i] < 0 ? 0 : x[i]) - u * p; /* a NaN is kept */
    }
}

void gemm_scalar_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] += x[i];
    }
}

void gemm_scalar_i8(const struct gemm_i8_tile *t, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *x = t->x + r * t->x_stride;
        const int8_t *w = t->w;
        int32_t sum[GEMM_SCALAR_COLS] = {0};
        for (size_t i = 0; i < t->fours; i++, x += 4) {
            for (size_t c = 0; c < GEMM_SCALAR_COLS; c++, w += 4) {
                sum[c] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
            }
        }
        for (size_t c = 0; c < t->cols; c++) {
            const float scale = t->x_scale[r] * t->w_scale[c];
            t->y[r * t->y_stride + c] = (float)(sum[c] - t->w_sum[c]) * scale + t->bias[c];
        }
    }
}

static float gemm_scalar_i8_row(const float *x, size_t n, uint8_t *out) {
    const float scale = vec_scalar_ops()->quantise_i8(x, n, (int8_t *)out);
    gemm_add_128(out, n);
    return scale;
}

/* With 7 bits, by the same rules as quantise_i8(). */
static float gemm_scalar7_i8_row(const float *x, size_t n, uint8_t *out) {
    float max = 0;
    for (size_t i = 0; i < n; i++) {
        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    }
    const bool zero = max < VEC_QUANTISE_MIN;
    const float factor = zero ? 0 : 63 / max;
    for (size_t i = 0; i < n; i++) {
        const long rounded = lrintf(x[i] * factor);
        out[i] = (uint8_t)(64 + (rounded > 63 ? 63 : rounded < -63 ? -63 : rounded));
    }
    return zero ? 0 : max / 63;
}

const struct gemm_ops *gemm_scalar_ops(void) {
    static const struct gemm_ops ops = {
        .name = "scalar",
        .softmax = gemm_scalar_softmax,
        .norm = gemm_scalar_norm,
        .gelu = gemm_scalar_gelu,
        .add = gemm_scalar_add,
        .i8_tile = gemm_scalar_i8,
        .i8_row = gemm_scalar_i8_row,
        .i8_rows = GEMM_SCALAR_ROWS,
        .i8_cols = GEMM_SCALAR_COLS,
        .levels = 127,
        .f32_tile = gemm_scalar_f32,
        .f32_rows = GEMM_SCALAR_ROWS,
        .f32_cols = GEMM_SCALAR_COLS,
    };
    return &ops;
}

const struct gemm_ops *gemm_scalar7_ops(void) {
    static const struct gemm_ops ops = {
        .name = "scalar7",
        .softmax = gemm_scalar_softmax,
        .norm = gemm_scalar_norm,
        .gelu = gemm_scalar_gelu,
        .add = gemm_scalar_add,
        .i8_tile = gemm_scalar_i8,
        .i8_row = gemm_scalar7_i8_row,
        .i8_rows = GEMM_SCALAR_ROWS,
        .i8_cols = GEMM_SCALAR_COLS,
        .levels = 63,
        .f32_tile = gemm_scalar_f32,
        .f32_rows = GEMM_SCALAR_ROWS,
        .f32_cols = GEMM_SCALAR_COLS,
    };
    return &ops;
}
