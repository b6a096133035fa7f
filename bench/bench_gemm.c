/* How fast one core multiplies rows by a packed weight matrix, for the shapes of small transformers,
 * beside the most that it can do: a loop of nothing but fused multiply-additions of the same width.
 * 128 rows are a long text, 12 a query. And what stands between products, nanoseconds a value. The best of several rounds, since others use the machine.
 *
 * usage: bench_gemm [--smoke]      prints `metric NAME VALUE` lines, 10^9 operations a second: a
 * multiplication and an addition are two. U2I_SIMD chooses the kernels. With AMX the most is that of AVX-512,
 * whose floats are those of AMX: products may be above it. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "vec/gemm.h"

#include <stdbool.h>
#include <stdio.h>

#define ROWS_MAX 128u

struct shape {
    uint32_t n, k;
};
static const struct shape shapes[] = {{384, 384}, {1536, 384}, {384, 1536}, {1024, 1024}};
#define SHAPES (sizeof shapes / sizeof *shapes)

static double seconds(void) {
    return (double)clock_ticks_ns(clock_system()) * 1e-9;
}

/* Twelve independent sums hide the latency. In assembly, because a compiler would be free to do
 * anything else; where the machine is not x86-64 there is no figure. */
static uint32_t peak_loop(const char *isa, uint64_t turns) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0 || strcmp(isa, "amx") == 0) {
        __asm__ volatile(
            "1:\n\t"
            "vfmadd231ps %%zmm0, %%zmm0, %%zmm4\n\tvfmadd231ps %%zmm0, %%zmm0, %%zmm5\n\t"
            "vfmadd231ps %%zmm0, %%zmm0, %%zmm6\n\tvfmadd231ps %%zmm0, %%zmm0, %%zmm7\n\t"
            "vfmadd231ps %%zmm0, %%zmm0, %%zmm8\n\tvfmadd231ps %%zmm0, %%zmm0, %%zmm9\n\t"
            "vfmadd231ps %%zmm0, %%zmm0, %%zmm10\n\tvfmadd231ps %%zmm0, %%zmm0, %%zmm11\n\t"
            "vfmadd231ps %%zmm0, %%zmm0, %%zmm12\n\tvfmadd231ps %%zmm0, %%zmm0, %%zmm13\n\t"
            "vfmadd231ps %%zmm0, %%zmm0, %%zmm14\n\tvfmadd231ps %%zmm0, %%zmm0, %%zmm15\n\t"
            "dec %0\n\tjnz 1b"
            : "+r"(turns)
            :
            : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
              "xmm14", "xmm15", "cc");
        return 16 * 12 * 2;
    }
    if (strcmp(isa, "avx2") == 0) {
        __asm__ volatile(
            "1:\n\t"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm4\n\tvfmadd231ps %%ymm0, %%ymm0, %%ymm5\n\t"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm6\n\tvfmadd231ps %%ymm0, %%ymm0, %%ymm7\n\t"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm8\n\tvfmadd231ps %%ymm0, %%ymm0, %%ymm9\n\t"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm10\n\tvfmadd231ps %%ymm0, %%ymm0, %%ymm11\n\t"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm12\n\tvfmadd231ps %%ymm0, %%ymm0, %%ymm13\n\t"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm14\n\tvfmadd231ps %%ymm0, %%ymm0, %%ymm15\n\t"
            "dec %0\n\tjnz 1b"
            : "+r"(turns)
            :
            : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
              "xmm14", "xmm15", "cc");
        return 8 * 12 * 2;
    }
#endif
    (void)isa;
    (void)turns;
    return 0;
}

/* 10^9 operations a second, 0 where it is not known. */
static double peak(const char *isa, uint32_t rounds) {
    const uint64_t turns = 100000;
    double best = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        const double start = seconds();
        const uint32_t operations = peak_loop(isa, turns);
        const double rate = (double)turns * operations / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* What one shape needs; x and y for ROWS_MAX rows. */
struct work {
    void *packed_memory;
    float *w, *x, *y;
    void *rows_memory, *rows; /* x as bytes, or scratch */
    struct gemm_weights weights;
};

static void *aligned(char *memory) {
    return memory + (64 - (uintptr_t)(void *)memory % 64) % 64;
}

static bool work_open(struct work *k, const struct shape *s, struct rng *rng) {
    const struct gemm_ops *const ops = gemm_get();
    const size_t w_floats = (size_t)s->n * s->k, x_floats = (size_t)ROWS_MAX * s->k;
    k->w = alloc_array(w_floats, sizeof(float));
    k->x = alloc_array(x_floats, sizeof(float));
    k->y = alloc_array((size_t)ROWS_MAX * s->n, sizeof(float));
    k->packed_memory = mem_alloc(gemm_f32_bytes(ops, s->n, s->k) + 63);
    const size_t bytes = gemm_i8_rows_bytes(ROWS_MAX, s->k);
    const size_t scratch = gemm_f32_scratch_bytes(ops);
    k->rows_memory = mem_alloc((bytes > scratch ? bytes : scratch) + 63);
    if (k->w == NULL || k->x == NULL || k->y == NULL || k->rows_memory == NULL ||
        k->packed_memory == NULL) {
        return false;
    }
    for (size_t i = 0; i < w_floats; i++) {
        k->w[i] = (float)rng_normal(rng) / 16;
    }
    for (size_t i = 0; i < x_floats; i++) {
        k->x[i] = (float)rng_normal(rng);
    }
    k->rows = aligned(k->rows_memory);
    k->weights = (struct gemm_weights){ops, s->n, s->k, aligned(k->packed_memory), NULL};
    return true;
}

static void work_close(struct work *k) {
    mem_free(k->w);
    mem_free(k->x);
    mem_free(k->y);
    mem_free(k->rows_memory);
    mem_free(k->packed_memory);
}

/* Seconds of the fastest call. */
static double time_f32(const struct work *k, uint32_t m, uint32_t rounds) {
    const struct gemm_rows rows = {k->x, k->weights.k, m};
    double best = 1e9;
    gemm_f32_pack(k->weights.ops, k->w, k->weights.k, k->weights.n, k->weights.k,
                  (void *)(uintptr_t)k->weights.packed);
    for (uint32_t i = 0; i <= rounds; i++) {
        const double start = seconds();
        gemm_f32_run(&k->weights, &rows, k->rows, k->y, k->weights.n);
        const double took = seconds() - start;
        best = took < best ? took : best;
    }
    return best;
}

/* The same for bytes; making the bytes of x is part of it. */
static double time_i8(const struct work *k, uint32_t m, uint32_t rounds) {
    double best = 1e9;
    const struct gemm_weights *const w = &k->weights;
    gemm_i8_pack(w->ops, k->w, w->k, w->n, w->k, (void *)(uintptr_t)w->packed);
    for (uint32_t i = 0; i <= rounds; i++) {
        const double start = seconds();
        gemm_i8_rows(w->ops, k->x, w->k, m, w->k, k->rows);
        gemm_i8_run(w, k->rows, m, k->y, w->n);
        const double took = seconds() - start;
        best = took < best ? took : best;
    }
    return best;
}

static bool bench_rows(uint32_t m, uint32_t rounds) {
    struct rng rng;
    rng_seed(&rng, 1);
    double all_f32 = 0, all_i8 = 0, operations = 0;
    bool ok = true;
    for (size_t i = 0; i < SHAPES && ok; i++) {
        struct work k = {0};
        ok = work_open(&k, &shapes[i], &rng);
        if (ok) {
            const double these = 2.0 * m * shapes[i].n * shapes[i].k;
            const double f32 = time_f32(&k, m, rounds);
            printf("metric gemm_f32_gflops_%u_%ux%u %.1f\n", m, shapes[i].n, shapes[i].k,
                   these / f32 * 1e-9);
            const double i8 = time_i8(&k, m, rounds);
            printf("metric gemm_i8_gops_%u_%ux%u %.1f\n", m, shapes[i].n, shapes[i].k,
                   these / i8 * 1e-9);
            operations += these;
            all_i8 += i8;
            all_f32 += f32;
        }
        work_close(&k);
    }
    printf("metric gemm_f32_gflops_%u %.1f\n", m, operations / all_f32 * 1e-9);
    printf("metric gemm_i8_gops_%u %.1f\n", m, operations / all_i8 * 1e-9);
    return ok;
}

static double time_rows(const struct gemm_ops *ops, int what, float *x, size_t n) {
    static const float zeros[384];
    const double start = seconds();
    switch (what) {
    case 0:
        ops->softmax(x, n);
        break;
    case 1:
        ops->norm(x, zeros, zeros, n, 1e-12f);
        break;
    default:
        ops->gelu(x, n);
    }
    return seconds() - start;
}

static void bench_between(uint32_t rounds) {
    static const struct {
        const char *name;
        size_t n;
    } parts[] = {{"softmax_128", 128}, {"norm_384", 384}, {"gelu_1536", 1536}};
    for (int what = 0; what < 3; what++) {
        double best = 1e9;
        for (uint32_t i = 0; i <= rounds; i++) {
            float x[1536];
            for (size_t j = 0; j < parts[what].n; j++) {
                x[j] = (float)((j * 37 + i) % 101) / 25 - 2;
            }
            const double took = time_rows(gemm_get(), what, x, parts[what].n);
            best = took < best ? took : best;
        }
        printf("metric gemm_%s_ns %.3f\n", parts[what].name, best * 1e9 / (double)parts[what].n);
    }
}

int main(int argc, char **argv) {
    const bool smoke = argc > 1 && strcmp(argv[1], "--smoke") == 0;
    const uint32_t rounds = smoke ? 1 : 300;
    const char *const isa = gemm_get()->name;
    printf("# %s, one thread, weights n x k, the best of %u calls\n", isa, rounds);
    printf("metric gemm_peak_f32_gflops %.1f\n", peak(isa, rounds));
    bench_between(rounds);
    return bench_rows(128, rounds) && bench_rows(12, rounds) ? 0 : 1;
}
