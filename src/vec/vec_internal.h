/* What the instruction-set files and the dispatcher share. Each vec_<isa>.c gives its table, or NULL
 * where the target is another architecture; whether this machine may run it is vec.c's to check,
 * because that file is compiled without any of the instructions in question.
 *
 * The tables and where each kernel's speed stands are in the files. Private to src/vec. */
#ifndef U2I_VEC_VEC_INTERNAL_H
#define U2I_VEC_VEC_INTERNAL_H

#include "vec/vec.h"

#include <math.h>

/* Rows that dot_rows() takes at once: enough to hide the latency of additions, and the distance, in
 * rows, by which it reads ahead. */
#define VEC_ROWS_AT_ONCE 4

/* How many rows ahead dot_many() and dot_i8_rows() ask for memory; the measurements are in
 * vec_avx512.c. */
#define VEC_MANY_AHEAD 4
#define VEC_I8_AHEAD   6

/* What quantise_i8() takes for zero: 127 / max and max / 127 stay far from infinity and from the
 * floats that have lost digits. */
#define VEC_QUANTISE_MIN 1e-30f

const struct vec_ops *vec_scalar_ops(void);
const struct vec_ops *vec_avx2_ops(void);
const struct vec_ops *vec_avx512_ops(void);
const struct vec_ops *vec_neon_ops(void);

static inline void vec_prefetch_bytes(const void *p, size_t n) {
    for (size_t i = 0; i < n; i += 64) {
        __builtin_prefetch((const char *)p + i);
    }
}

/* Where to ask for memory while rows i..i+3 are in work. Past the last row it is the query, which is
 * in cache: so the kernels need no branch for each line. */
static inline void vec_i8_ahead(const int8_t *q, const int8_t *const *rows, size_t n_rows, size_t i,
                                const int8_t *ahead[VEC_ROWS_AT_ONCE]) {
    for (size_t k = 0; k < VEC_ROWS_AT_ONCE; k++) {
        const size_t row = i + VEC_I8_AHEAD + k;
        ahead[k] = row < n_rows ? rows[row] : q;
    }
}

static inline void vec_many_ahead(const float *q, const float *const *rows, size_t n_rows, size_t i,
                                  uintptr_t ahead[VEC_ROWS_AT_ONCE]) {
    for (size_t k = 0; k < VEC_ROWS_AT_ONCE; k++) {
        const size_t row = i + VEC_MANY_AHEAD + k;
        ahead[k] = (uintptr_t)(const void *)(row < n_rows ? rows[row] : q);
    }
}

static inline float vec_quantise_zeros(int8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = 0;
    }
    return 0;
}

/* One value of quantise_i8(). The clamp is for what is not finite: the kernels rely on -127..127. */
static inline int8_t vec_quantise_one(float x, float factor) {
    const long rounded = lrintf(x * factor);
    return (int8_t)(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
}

/* Without special instructions; also the end of every other one's story. */
uint32_t vec_scalar_crc32c(uint32_t crc, const void *p, size_t n);

/* SSE4.2 and PCLMUL; in vec_avx2.c, used by the AVX-512 table too. */
uint32_t vec_avx2_crc32c(uint32_t crc, const void *p, size_t n);

#endif
