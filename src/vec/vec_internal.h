/* What the instruction-set files and the dispatcher share. Each vec_<isa>.c gives its table, or NULL
 * where the target is another architecture; whether this machine may run it is vec.c's to check,
 * because that file is compiled without any of the instructions in question.
 *
 * The tables and where each kernel's speed stands are in the files. Private to src/vec. */
#ifndef U2I_VEC_VEC_INTERNAL_H
#define U2I_VEC_VEC_INTERNAL_H

#include "vec/vec.h"

/* Rows that dot_rows() takes at once: enough to hide the latency of additions, and the distance, in
 * rows, by which it reads ahead. */
#define VEC_ROWS_AT_ONCE 4

const struct vec_ops *vec_scalar_ops(void);
const struct vec_ops *vec_avx2_ops(void);
const struct vec_ops *vec_avx512_ops(void);
const struct vec_ops *vec_neon_ops(void);

/* Without special instructions; also the end of every other one's story. */
uint32_t vec_scalar_crc32c(uint32_t crc, const void *p, size_t n);

/* SSE4.2 and PCLMUL; in vec_avx2.c, used by the AVX-512 table too. */
uint32_t vec_avx2_crc32c(uint32_t crc, const void *p, size_t n);

#endif
