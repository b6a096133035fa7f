/* Which kernels to run, and the few functions that need no kernel.
 *
 * The choice is made at the first call: the widest set that processor and operating system both
 * support, every subset asked for singly (a processor may have AVX-512 F without VNNI). Two threads
 * that come first at once make the same choice, so a relaxed atomic pointer is enough. */
#include "vec/vec_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)

static bool vec_avx2_runs(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

static bool vec_avx512_runs(void) {
    return vec_avx2_runs() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}

#else

static bool vec_avx2_runs(void) {
    return false;
}

static bool vec_avx512_runs(void) {
    return false;
}

#endif

static bool vec_always_runs(void) {
    return true; /* scalar; and NEON is part of every AArch64 */
}

struct vec_choice {
    const char *name;
    bool (*runs)(void);
    const struct vec_ops *(*ops)(void);
};

/* Best first. AMX has products of matrices only (gemm.h). */
static const struct vec_choice vec_choices[] = {
    {"amx", vec_avx512_runs, vec_avx512_ops},    {"avx512", vec_avx512_runs, vec_avx512_ops},
    {"avx2", vec_avx2_runs, vec_avx2_ops},       {"neon", vec_always_runs, vec_neon_ops},
    {"scalar", vec_always_runs, vec_scalar_ops},
};
#define VEC_CHOICES (sizeof vec_choices / sizeof *vec_choices)

static const struct vec_ops *vec_choice_ops(const struct vec_choice *c) {
    return c->runs() ? c->ops() : NULL;
}

const struct vec_ops *vec_named(const char *name) {
    for (size_t i = 0; i < VEC_CHOICES; i++) {
        if (strcmp(name, vec_choices[i].name) == 0) {
            return vec_choice_ops(&vec_choices[i]);
        }
    }
    return NULL;
}

const char *vec_wanted(void) {
    const char *const wanted = getenv("U2I_SIMD");
    return wanted == NULL || *wanted == '\0' ? NULL : wanted;
}

static const struct vec_ops *vec_choose(void) {
    const char *const wanted = vec_wanted();
    if (wanted != NULL) {
        const struct vec_ops *const named = vec_named(wanted);
        return named != NULL ? named : vec_scalar_ops();
    }
    for (size_t i = 0; i < VEC_CHOICES; i++) {
        const struct vec_ops *const ops = vec_choice_ops(&vec_choices[i]);
        if (ops != NULL) {
            return ops;
        }
    }
    return vec_scalar_ops();
}

const struct vec_ops *vec_get(void) {
    static _Atomic(const struct vec_ops *) chosen;
    const struct vec_ops *ops = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (ops == NULL) {
        ops = vec_choose();
        atomic_store_explicit(&chosen, ops, memory_order_relaxed);
    }
    return ops;
}

/* In double, where no square of a float overflows or vanishes: so every finite vector that is not
 * all zero has a length. */
bool vec_normalise(float *x, size_t n) {
    double squares[4] = {0};
    for (size_t i = 0; i < n; i++) {
        squares[i % 4] += (double)x[i] * x[i];
    }
    const double length = sqrt(squares[0] + squares[1] + squares[2] + squares[3]);
    if (!(length > 0) || !isfinite(length)) {
        return false;
    }
    const double factor = 1 / length;
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(x[i] * factor);
    }
    return true;
}

/* NaN and infinity are the floats whose exponent bits are all ones. No early exit: the loop is
 * straight-line integer work that compilers turn into vector instructions. */
bool vec_finite(const float *x, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return bad == 0;
}
