/* Kernels on float vectors, one file per instruction set, the best one chosen once at run time (the
 * environment variable U2I_SIMD=scalar|avx2|avx512|amx|neon overrides; an unknown or unsupported name
 * falls back to scalar). No alignment is asked for; any length, 0 included. Sums are re-associated,
 * so tables may differ by rounding: |difference| <= 1e-5 * sum |a_i b_i| (tested for every length 0..257).
 * Thread-safe. */
#ifndef U2I_VEC_VEC_H
#define U2I_VEC_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vec_ops {
    const char *name;
    float (*dot)(const float *a, const float *b, size_t n);
    /* out[i] = dot(q, rows + i * stride), i < n_rows; reads ahead, so that it runs at the speed of
     * memory. */
    void (*dot_rows)(const float *q, const float *rows, size_t stride, size_t n_rows, size_t dim,
                     float *out);
    void (*axpy)(float alpha, const float *x, float *y, size_t n); /* y += alpha * x */
    /* y += sum of weights[i] * rows[i], i < n_rows; four rows for each pass over y. */
    void (*axpy_rows)(const float *weights, const float *const *rows, size_t n_rows, float *y,
                      size_t dim);
    void (*scale)(float *x, float alpha, size_t n); /* x *= alpha */
    /* out[i] = dot(q, rows[i]), i < n_rows, wherever the rows lie; asks for each row before it is
     * used, so the caller need not. */
    void (*dot_many)(const float *q, const float *const *rows, size_t n_rows, size_t n, float *out);
    /* Bytes: every value in -127..127 (quantise_i8() makes no other; -128 gives wrong sums on some
     * tables), n <= 65536; then the result is exact, the same on every table. */
    int32_t (*dot_i8)(const int8_t *a, const int8_t *b, size_t n);
    /* out[i] = dot_i8(q, rows[i]), i < n_rows, wherever the rows lie; asks for each row before it is
     * used, so the caller need not. Best where a row begins at a multiple of 64 and n is one. */
    void (*dot_i8_rows)(const int8_t *q, const int8_t *const *rows, size_t n_rows, size_t n,
                        int32_t *out);
    /* Bytes for x, all finite, and the scale s that is returned: x[i] ~ s * out[i]. s is the largest
     * |x[i]| / 127, so that value becomes +-127; halves go to even; the same bytes on every table.
     * Where no |x[i]| reaches 1e-30: zeros, and 0. */
    float (*quantise_i8)(const float *x, size_t n, int8_t *out);
    /* The CRC-32C (Castagnoli, RFC 3720 appendix B.4) of p[0..n), continuing from crc (0 to start). */
    uint32_t (*crc32c)(uint32_t crc, const void *p, size_t n);
};

const struct vec_ops *vec_get(void); /* the chosen table */
/* The table of that name if this machine can run it, else NULL: for tests and benchmarks. */
const struct vec_ops *vec_named(const char *name);
const char *vec_wanted(void); /* what U2I_SIMD says; NULL = nothing */

static inline float vec_dot(const float *a, const float *b, size_t n) {
    return vec_get()->dot(a, b, n);
}
/* Scales x to length 1 and returns true; false, and x unchanged, if its length is 0 or not finite. */
bool vec_normalise(float *x, size_t n);
bool vec_finite(const float *x, size_t n); /* no NaN, no infinity */

#endif
