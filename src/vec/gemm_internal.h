/* What gemm.c and the instruction-set files share: the layout of packed weights, the tile, and the
 * constants of the approximations, so that every table evaluates the same formulas.
 *
 * Packed floats: panels of f32_cols outputs, zeros past the last; within a panel, k steps of f32_cols
 * values. Packed bytes: panels of i8_cols outputs; within a panel, for each four inputs, i8_cols times
 * four bytes, zeros past the last input and output; after all panels the outputs' scales, then offset
 * times the sums of their bytes, both to the end of the last panel. Rows as bytes: rows of k bytes,
 * each padded to a multiple of 64, then their scales. Tables: whether this machine may run one is asked through vec.c. Private to src/vec. */
#ifndef U2I_VEC_GEMM_INTERNAL_H
#define U2I_VEC_GEMM_INTERNAL_H

#include "vec/gemm.h"

#define GEMM_ALIGN    64u
#define GEMM_COLS_MAX 32u

/* Before a loop over the rows of a tile, whose number is a constant there. gcc 12 unrolls such a loop
 * unasked, but after it has decided that the array of sums lives in memory; clang 14 not if it is
 * long. Asked, both do it in time. */
#if defined(__clang__)
#define GEMM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#endif

/* Asks for the weights that are due soon: from L2 into L1, and from beyond into L2, whose queue is the longer one. A
 * panel is read once for every dozen rows, and a processor's own look-ahead ends with each page. 12 tokens on an
 * Intel Xeon with AMX: a BERT-large of 1.2 GB 160 ms without the second, 123 with it (2 KB: 135, 8 KB: 130); a model of
 * 42 MB 2.5 ms without both, 1.8 with the first, the second makes no difference. */
static inline void gemm_ahead(const void *w) {
    __builtin_prefetch((const char *)w + 512, 0, 3);
    __builtin_prefetch((const char *)w + 4096, 0, 2);
}

/* y = x W' + base for some rows and one panel; or, as a block, for some rows and all panels: then w and base
 * are those of the first panel, and base may be NULL. */
struct gemm_tile {
    const float *x;
    size_t x_stride;
    const float *w; /* the panel from its first input on: k steps of f32_cols floats */
    size_t k;
    const float *base; /* the bias (base_stride 0), or y itself where this adds to earlier inputs */
    size_t base_stride;
    float *y;
    size_t y_stride;
    uint32_t cols; /* of y and base that there are: 1..f32_cols */
};

/* The same for bytes, all inputs at once. bias may be NULL in a block. */
struct gemm_i8_tile {
    const uint8_t *x;
    size_t x_stride;
    const float *x_scale; /* of each row */
    const int8_t *w;      /* the panel */
    size_t fours;         /* inputs, in fours */
    const float *w_scale; /* i8_cols, as the next */
    const int32_t *w_sum; /* what is to be taken off each sum, since x has an offset */
    const float *bias;    /* cols */
    float *y;
    size_t y_stride;
    uint32_t cols; /* of y and bias that there are: 1..i8_cols */
};

/* GELU as max(x, 0) - u P(u) with u = min(|x|, GEMM_GELU_END), P ~ Phi(-u), the normal distribution's
 * tail: the bump u Phi(-u) is at most 0.17 and dies away, so an absolute error is all that counts, and
 * no exponential or division is needed. P is a polynomial in u * 2 / GEMM_GELU_END - 1, fitted on
 * [0, GEMM_GELU_END] to the least largest error weighted by u (8.6e-7); what is cut off beyond is
 * 4e-7. */
#define GEMM_GELU_END    5.25f
#define GEMM_GELU_DEGREE 13
static const float gemm_gelu_poly[GEMM_GELU_DEGREE + 1] = {
    4.332765937e-03f,  -3.340002522e-02f, 1.150393263e-01f,  -2.259669006e-01f, 2.577915788e-01f,
    -1.209989563e-01f, -1.023273245e-01f, 1.981096268e-01f,  -8.079028130e-02f, -7.006780803e-02f,
    7.452854514e-02f,  -3.272738075e-03f, -1.857636124e-02f, 5.598477088e-03f};

/* exp(x) = 2^j exp(r), j = round(x / ln 2), |r| <= ln 2 / 2; the polynomial's relative error is 2e-9.
 * ln 2 comes in two parts, so that j times the first is exact. Below GEMM_EXP_MIN it is 0. */
#define GEMM_EXP_MIN    (-87.0f)
#define GEMM_LOG2_E     1.44269504f
#define GEMM_LN2_HIGH   0.693359375f
#define GEMM_LN2_LOW    (-2.12194440e-4f)
#define GEMM_EXP_DEGREE 6
static const float gemm_exp_poly[GEMM_EXP_DEGREE + 1] = {1.0f,
                                                         1.0f,
                                                         4.999999106e-01f,
                                                         1.666641980e-01f,
                                                         4.166822508e-02f,
                                                         8.374815807e-03f,
                                                         1.383683644e-03f};

const struct gemm_ops *gemm_scalar_ops(void);
const struct gemm_ops *gemm_scalar7_ops(void);
const struct gemm_ops *gemm_avx2_ops(void);
const struct gemm_ops *gemm_avx512_ops(void);
const struct gemm_ops *gemm_amx_ops(void); /* NULL where the processor or the system has no tiles */
const struct gemm_ops *gemm_neon_ops(void);

/* For tables that have nothing better. */
void gemm_scalar_softmax(float *x, size_t n);
void gemm_scalar_norm(float *x, const float *gamma, const float *beta, size_t n, float eps);
void gemm_scalar_gelu(float *x, size_t n);
void gemm_scalar_add(float *y, const float *x, size_t n);
void gemm_scalar_i8(const struct gemm_i8_tile *t, uint32_t rows);

/* What AMX takes from AVX-512; it has no more than products of its own. */
#define GEMM_AVX512_ROWS 12u
#define GEMM_AVX512_COLS 32u
/* A mask of the low n of 16 lanes; all from 16 on. */
static inline uint16_t gemm_mask_16(size_t n) {
    return (uint16_t)((1u << (n < 16 ? n : 16)) - 1);
}
void gemm_avx512_softmax(float *x, size_t n);
void gemm_avx512_norm(float *x, const float *gamma, const float *beta, size_t n, float eps);
void gemm_avx512_gelu(float *x, size_t n);
void gemm_avx512_add(float *y, const float *x, size_t n);
float gemm_avx512_i8_row(const float *x, size_t n, uint8_t *out);
void gemm_avx512_i8(const struct gemm_i8_tile *t, uint32_t rows);
void gemm_avx512_f32(const struct gemm_tile *t, uint32_t rows);

/* *t = the block's panel whose first output is n0. */
void gemm_f32_to_panel(const struct gemm_weights *w, const struct gemm_tile *block, uint32_t n0,
                       struct gemm_tile *t);
void gemm_i8_to_panel(const struct gemm_weights *w, const struct gemm_i8_tile *block, uint32_t n0,
                      struct gemm_i8_tile *t);

static inline size_t gemm_parts(size_t n, size_t most) {
    return (n + most - 1) / most;
}

/* Bytes in -127..127 to the same plus 128. */
static inline void gemm_add_128(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        p[i] ^= 0x80;
    }
}

#endif
