/* Which kernels to run, how weights are packed, and how a product is cut into tiles.
 *
 * Three cuts, each for one level of memory:
 *  1. A tile of rows x columns whose sums stay in registers. Rows are shared out evenly: 13 rows on a
 *     kernel for 12 are 7 and 6, not 12 and 1, since few rows cannot hide the latency of the sums.
 *  2. GEMM_K_BLOCK inputs: the rows of x and the slice of a panel that a tile reads stay in L1 and
 *     L2. Later slices add to what earlier ones left in y.
 *  3. GEMM_M_BLOCK rows: their slice of x stays in L2 while all panels pass by.
 * The panels' loop is outside the rows' loop, so each slice of a panel is read from memory once and
 * from cache for the other tiles. x is read where it lies. */
#include "vec/gemm_internal.h"

#include "vec/vec.h"
#include <assert.h>
#include <string.h>

#define GEMM_K_BLOCK 384u
#define GEMM_M_BLOCK 192u

struct gemm_choice {
    const char *name;
    const struct gemm_ops *(*ops)(void);
};

const struct gemm_ops *gemm_named(const char *name) {
    static const struct gemm_choice choices[] = {
        {"avx512", gemm_avx512_ops},
        {"avx2", gemm_avx2_ops},
        {"neon", gemm_neon_ops},
        {"scalar", gemm_scalar_ops},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (strcmp(name, choices[i].name) == 0 && vec_named(name) != NULL) {
            return choices[i].ops();
        }
    }
    return NULL;
}

const struct gemm_ops *gemm_get(void) {
    const struct gemm_ops *const ops = gemm_named(vec_get()->name);
    return ops != NULL ? ops : gemm_scalar_ops();
}

static size_t gemm_parts(size_t n, size_t most) {
    return (n + most - 1) / most;
}

size_t gemm_f32_bytes(const struct gemm_ops *ops, uint32_t n, uint32_t k) {
    return gemm_parts(n, ops->f32_cols) * ops->f32_cols * k * sizeof(float);
}

/* w[i * n_step + j * k_step] is the weight of output i and input j. */
struct gemm_source {
    const float *w;
    size_t n_step, k_step;
    uint32_t n, k;
};

static void gemm_f32_fill(const struct gemm_source *s, uint32_t cols, float *out) {
    for (size_t first = 0; first < s->n; first += cols) {
        const size_t here = s->n - first < cols ? s->n - first : cols;
        for (size_t j = 0; j < s->k; j++, out += cols) {
            const float *const from = s->w + first * s->n_step + j * s->k_step;
            for (size_t i = 0; i < here; i++) {
                out[i] = from[i * s->n_step];
            }
            for (size_t i = here; i < cols; i++) {
                out[i] = 0;
            }
        }
    }
}

void gemm_f32_pack(const struct gemm_ops *ops, const float *w, size_t w_stride, uint32_t n,
                   uint32_t k, void *packed) {
    const struct gemm_source s = {w, w_stride, 1, n, k};
    gemm_f32_fill(&s, ops->f32_cols, packed);
}

void gemm_f32_pack_transposed(const struct gemm_ops *ops, const float *w, size_t w_stride,
                              uint32_t n, uint32_t k, void *packed) {
    const struct gemm_source s = {w, 1, w_stride, n, k};
    gemm_f32_fill(&s, ops->f32_cols, packed);
}

/* `all` is the tile of all rows: what every one of them has in common. */
static void gemm_f32_rows(const struct gemm_ops *ops, const struct gemm_tile *all, uint32_t m) {
    const size_t tiles = gemm_parts(m, ops->f32_rows);
    for (size_t i = 0; i < tiles; i++) {
        const size_t first = m * i / tiles;
        const size_t end = m * (i + 1) / tiles;
        struct gemm_tile t = *all;
        t.x += first * t.x_stride;
        t.y += first * t.y_stride;
        t.base += first * t.base_stride;
        ops->f32_tile(&t, (uint32_t)(end - first));
    }
}

/* The inputs k0..k0+k-1 of all panels. */
static void gemm_f32_slice(const struct gemm_weights *w, struct gemm_tile *t, uint32_t m,
                           size_t k0) {
    static const float zeros[GEMM_COLS_MAX];
    const uint32_t cols = w->ops->f32_cols;
    float *const y = t->y;
    for (uint32_t n0 = 0; n0 < w->n; n0 += cols) {
        t->w = (const float *)w->packed + ((size_t)n0 * w->k + k0 * cols);
        t->y = y + n0;
        t->cols = w->n - n0 < cols ? w->n - n0 : cols;
        t->base = k0 > 0 ? t->y : w->bias != NULL ? w->bias + n0 : zeros;
        t->base_stride = k0 > 0 ? t->y_stride : 0;
        gemm_f32_rows(w->ops, t, m);
    }
    t->y = y;
}

void gemm_f32_run(const struct gemm_weights *w, const float *x, size_t x_stride, uint32_t m,
                  float *y, size_t y_stride) {
    assert(w->k > 0 && w->k <= GEMM_K_MAX && (uintptr_t)w->packed % GEMM_ALIGN == 0);
    const size_t blocks = gemm_parts(m, GEMM_M_BLOCK);
    const size_t slices = gemm_parts(w->k, GEMM_K_BLOCK);
    for (size_t i = 0; i < blocks; i++) {
        const size_t first = m * i / blocks;
        const size_t end = m * (i + 1) / blocks;
        for (size_t j = 0; j < slices; j++) {
            const size_t k0 = w->k * j / slices;
            struct gemm_tile t = {.x = x + first * x_stride + k0,
                                  .x_stride = x_stride,
                                  .k = w->k * (j + 1) / slices - k0,
                                  .y = y + first * y_stride,
                                  .y_stride = y_stride};
            gemm_f32_slice(w, &t, (uint32_t)(end - first), k0);
        }
    }
}
