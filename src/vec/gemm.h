/* Kernels for the forward pass of a transformer: products with a weight matrix that was packed once,
 * in floats or in bytes, and what stands between them (softmax, layer norm, GELU). One table for each
 * instruction set, chosen as in vec.h. Nothing is aligned but packed weights; no call allocates;
 * thread-safe, and one call uses one thread: threads work on different texts.
 *
 *     y[m][n] = x[m][k] W[n][k]' + bias[n]        (W as Hugging Face stores it: a row per output)
 *
 * What is promised for each table, and tested against double:
 *   f32      |error| <= 2e-6 * (|bias| + sum |x_i w_i|) for k <= 4096 on random values of one sign or
 *            both (5e-5 is the most that rounding could do to contrived ones); sums are
 *            re-associated, so tables differ by rounding, and with AMX few rows from many. AMX takes
 *            numbers below 2^-126 for 0, and gives NaN where another table gives infinity
 *   softmax  |error| <= 2e-6 * exact + 2e-7, and sums to 1 within 1e-5; 1 <= n <= 4096
 *   norm     |error| <= 1e-5 * |gamma| * (1 + |x_i| / sigma) + 1e-6 * |beta|, where
 *            sigma = sqrt(variance + eps) and |mean| <= 10 sigma: the mean is rounded to a float
 *   gelu     |error| <= 2e-6 on [-10, 10], and 1e-6 + |x| / 2^23 elsewhere; NaN stays NaN
 *   add      exact to one rounding
 *
 * Bytes: each output's weights are rounded to -127..127 times a scale, each row of x to -levels..levels
 * times a scale of its own (the largest size becomes levels; halves go to even). Sums of products are
 * exact, and y = (float)sum * (x_scale * w_scale) + bias, in this order, each step rounded: so tables
 * with the same levels give the same y, bit for bit. `levels` is 127 but for AVX2, whose only fast
 * product of bytes adds two of them in 16 bits: there x has 7 bits, levels 63, which cannot overflow.
 * "scalar7" is the reference for that; it is never chosen unasked. Bytes are faster than floats on
 * AMX (6 times), AVX-512 (3.5 times) and AVX2 (2 times), slower on scalar; on NEON they should be where
 * there is SDOT. */
#ifndef U2I_VEC_GEMM_H
#define U2I_VEC_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GEMM_K_MAX 65536u /* then no sum of products of bytes overflows */

struct gemm_tile;
struct gemm_i8_tile;
struct gemm_weights;

struct gemm_ops {
    const char *name;
    /* Rows, all of them in place. */
    void (*softmax)(float *x, size_t n); /* -INFINITY is as good as absent; one value is finite */
    /* x = (x - mean) / sqrt(variance + eps) * gamma + beta */
    void (*norm)(float *x, const float *gamma, const float *beta, size_t n, float eps);
    void (*gelu)(float *x, size_t n);                /* x/2 * (1 + erf(x / sqrt 2)) */
    void (*add)(float *y, const float *x, size_t n); /* y += x */
    /* For gemm.c: tiles of at most f32_rows rows and exactly f32_cols outputs, see gemm_internal.h. */
    void (*f32_tile)(const struct gemm_tile *t, uint32_t rows);
    void (*i8_tile)(const struct gemm_i8_tile *t, uint32_t rows);
    /* Bytes for x, all finite: out[i] = offset + x[i] / scale, offset = levels + 1; the scale. */
    float (*i8_row)(const float *x, size_t n, uint8_t *out);
    /* Instead of tiles, all panels of a block of at least *_block_rows rows; NULL where there is nothing better.
     * The scratch is gemm_f32_scratch_bytes(). */
    void (*f32_block)(const struct gemm_weights *w, const struct gemm_tile *block, uint32_t m,
                      void *scratch);
    void (*i8_block)(const struct gemm_weights *w, const struct gemm_i8_tile *block, uint32_t m);
    size_t (*f32_scratch)(uint32_t m, size_t k); /* bytes for a block */
    uint32_t f32_block_rows, i8_block_rows;
    uint32_t f32_rows, f32_cols;
    uint32_t i8_rows, i8_cols;
    int32_t levels; /* 127 or 63, see above */
    bool i8_pays;   /* products of bytes are faster than those of floats */
};

/* That of vec_get(), or "amx" where that is "avx512" and U2I_SIMD doesn't ask for it. */
const struct gemm_ops *gemm_get(void);
/* The table of that name ("scalar7" too) if this machine can run it, else NULL. */
const struct gemm_ops *gemm_named(const char *name);

/* A packed weight matrix; `packed` and `bias` belong to the caller. Packed bytes suit one table only
 * and are no file format. */
struct gemm_weights {
    const struct gemm_ops *ops;
    uint32_t n, k; /* outputs, inputs; n > 0, 0 < k <= GEMM_K_MAX */
    const void *packed;
    const float *bias; /* n, or NULL */
};

/* Floats. */

size_t gemm_f32_bytes(const struct gemm_ops *ops, uint32_t n, uint32_t k);
/* Packs w[n][k], whose rows are w_stride floats apart, into packed: gemm_f32_bytes() at a multiple of
 * 64. */
void gemm_f32_pack(const struct gemm_ops *ops, const float *w, size_t w_stride, uint32_t n,
                   uint32_t k, void *packed);
/* The same for the transposed matrix: w[k][n], as the values of attention lie. */
void gemm_f32_pack_transposed(const struct gemm_ops *ops, const float *w, size_t w_stride,
                              uint32_t n, uint32_t k, void *packed);
/* m rows (0 too) of as many floats as there are inputs; strides count floats. */
struct gemm_rows {
    const float *x;
    size_t stride;
    uint32_t m;
};
/* y = x W' + bias; y does not overlap x. `scratch` is gemm_f32_scratch_bytes() at a multiple of 64, or NULL: then many
 * rows are not as fast as they could be with AMX, and whether there are many makes no difference to the bits of y. */
size_t gemm_f32_scratch_bytes(const struct gemm_ops *ops);
void gemm_f32_run(const struct gemm_weights *w, const struct gemm_rows *rows, void *scratch,
                  float *y, size_t y_stride);

/* Bytes. The weights, all finite, as gemm_f32_pack() has them. */
size_t gemm_i8_bytes(const struct gemm_ops *ops, uint32_t n, uint32_t k);
void gemm_i8_pack(const struct gemm_ops *ops, const float *w, size_t w_stride, uint32_t n,
                  uint32_t k, void *packed);
/* The rows of x, all finite, as bytes: gemm_i8_rows_bytes() at a multiple of 64. They serve every weight
 * matrix of the same ops and k. */
size_t gemm_i8_rows_bytes(uint32_t m, uint32_t k);
void gemm_i8_rows(const struct gemm_ops *ops, const float *x, size_t x_stride, uint32_t m,
                  uint32_t k, void *rows);
/* y = x W' + bias for the m rows that gemm_i8_rows() was given. */
void gemm_i8_run(const struct gemm_weights *w, const void *rows, uint32_t m, float *y,
                 size_t y_stride);

#endif
