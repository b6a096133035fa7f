/* Which kernels to run, how weights are packed, and how a product is cut into tiles.
 *
 * Three cuts, each for one level of memory:
 *  1. A tile of rows x columns whose sums stay in registers. Rows are shared out evenly: 13 rows on a
 *     kernel for 12 are 7 and 6, not 12 and 1, since few rows cannot hide the latency of the sums.
 *  2. GEMM_K_BLOCK inputs: the rows of x that a tile reads stay in L1 and its slice of a panel in L2.
 *     Later slices add to what earlier ones left in y, which bounds the rounding errors of a sum too.
 *     AVX2, 128 rows, 384 outputs of 1536 inputs, GFLOPS for slices of 192, 384, 768 and all: 123, 125,
 *     129, 130; AVX-512: 254, 258, 258, 262 (the machine of gemm_avx512.c).
 *  3. GEMM_M_BLOCK rows: their slice of x stays in L2 while all panels pass by.
 * The panels' loop is outside the rows' loop, so each slice of a panel is read from memory once and
 * from cache for the other tiles. x is read where it lies. AMX does the blocks of cuts 2 and 3 by itself
 * (gemm_amx.c). Products of bytes have no second cut: a
 * byte is a quarter of a float, and sums that are exact must not be parted. */
#include "vec/gemm_internal.h"

#include "vec/vec_internal.h"
#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define GEMM_K_BLOCK 384u
#define GEMM_M_BLOCK 384u
#define GEMM_M_STEP  32u

struct gemm_choice {
    const char *name, *runs_where; /* a table of vec.h that has the same needs */
    const struct gemm_ops *(*ops)(void);
};

const struct gemm_ops *gemm_named(const char *name) {
    static const struct gemm_choice choices[] = {
        {"amx", "avx512", gemm_amx_ops},       {"avx512", "avx512", gemm_avx512_ops},
        {"avx2", "avx2", gemm_avx2_ops},       {"neon", "neon", gemm_neon_ops},
        {"scalar", "scalar", gemm_scalar_ops}, {"scalar7", "scalar", gemm_scalar7_ops},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (strcmp(name, choices[i].name) == 0 && vec_named(choices[i].runs_where) != NULL) {
            return choices[i].ops();
        }
    }
    return NULL;
}

/* Once: tiles have to be asked for. As in vec.c, who comes at once makes the same choice. */
const struct gemm_ops *gemm_get(void) {
    static _Atomic(const struct gemm_ops *) chosen;
    const struct gemm_ops *ops = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (ops == NULL) {
        const char *const wanted = vec_wanted();
        ops = gemm_named(wanted == NULL ? "amx" : wanted);
        ops = ops != NULL ? ops : gemm_named(vec_get()->name);
        ops = ops != NULL ? ops : gemm_scalar_ops();
        atomic_store_explicit(&chosen, ops, memory_order_relaxed);
    }
    return ops;
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

/* Of a panel's outputs, one after the other: what is read lies side by side, what is written nearby. */
static void gemm_f32_fill_rows(const struct gemm_source *s, size_t first, uint32_t cols,
                               float *out) {
    const size_t here = s->n - first < cols ? s->n - first : cols;
    for (size_t i = 0; i < here; i++) {
        const float *const from = s->w + (first + i) * s->n_step;
        for (size_t j = 0; j < s->k; j++) {
            out[j * cols + i] = from[j];
        }
    }
}

/* The same where outputs lie side by side. */
static void gemm_f32_fill_columns(const struct gemm_source *s, size_t first, uint32_t cols,
                                  float *out) {
    const size_t here = s->n - first < cols ? s->n - first : cols;
    for (size_t j = 0; j < s->k; j++) {
        memcpy(out + j * cols, s->w + first + j * s->k_step, here * sizeof *out);
    }
}

static void gemm_f32_fill(const struct gemm_source *s, uint32_t cols, float *out) {
    const size_t panel = (size_t)cols * s->k;
    for (size_t first = 0; first < s->n; first += cols, out += panel) {
        if (s->n - first < cols) {
            memset(out, 0, panel * sizeof *out);
        }
        (s->k_step == 1 ? gemm_f32_fill_rows : gemm_f32_fill_columns)(s, first, cols, out);
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

static uint32_t gemm_least(size_t a, size_t b) {
    return (uint32_t)(a < b ? a : b);
}

static const float gemm_zeros[GEMM_COLS_MAX];

void gemm_f32_to_panel(const struct gemm_weights *w, const struct gemm_tile *block, uint32_t n0,
                       struct gemm_tile *t) {
    const uint32_t cols = w->ops->f32_cols;
    *t = *block;
    t->w += (size_t)n0 * w->k;
    t->y += n0;
    t->base = block->base != NULL ? block->base + n0 : gemm_zeros;
    t->cols = gemm_least(w->n - n0, cols);
}

static void gemm_f32_block(const struct gemm_weights *w, const struct gemm_tile *block, uint32_t m,
                           void *scratch) {
    const struct gemm_ops *const ops = w->ops;
    if (scratch != NULL && ops->f32_block != NULL && m >= ops->f32_block_rows) {
        ops->f32_block(w, block, m, scratch);
        return;
    }
    for (uint32_t n0 = 0; n0 < w->n; n0 += ops->f32_cols) {
        struct gemm_tile t;
        gemm_f32_to_panel(w, block, n0, &t);
        gemm_f32_rows(ops, &t, m);
    }
}

size_t gemm_f32_scratch_bytes(const struct gemm_ops *ops) {
    return ops->f32_block == NULL ? 0 : ops->f32_scratch(GEMM_M_BLOCK, GEMM_K_BLOCK);
}

/* Rows of a block, the last one may have fewer: whole tiles, as far as possible. */
static size_t gemm_block_rows(size_t m) {
    const size_t blocks = m == 0 ? 1 : gemm_parts(m, GEMM_M_BLOCK);
    return gemm_parts(gemm_parts(m, blocks), GEMM_M_STEP) * GEMM_M_STEP;
}

void gemm_f32_run(const struct gemm_weights *w, const struct gemm_rows *rows, void *scratch,
                  float *y, size_t y_stride) {
    assert(w->k > 0 && w->k <= GEMM_K_MAX && (uintptr_t)w->packed % GEMM_ALIGN == 0);
    const size_t slices = gemm_parts(w->k, GEMM_K_BLOCK);
    const size_t step = gemm_block_rows(rows->m);
    for (size_t first = 0; first < rows->m; first += step) {
        for (size_t j = 0; j < slices; j++) {
            const size_t k0 = w->k * j / slices;
            float *const out = y + first * y_stride;
            const struct gemm_tile block = {.x = rows->x + first * rows->stride + k0,
                                            .x_stride = rows->stride,
                                            .w = (const float *)w->packed + k0 * w->ops->f32_cols,
                                            .k = w->k * (j + 1) / slices - k0,
                                            .base = k0 > 0 ? out : w->bias,
                                            .base_stride = k0 > 0 ? y_stride : 0,
                                            .y = out,
                                            .y_stride = y_stride};
            gemm_f32_block(w, &block, gemm_least(rows->m - first, step), scratch);
        }
    }
}

size_t gemm_i8_bytes(const struct gemm_ops *ops, uint32_t n, uint32_t k) {
    const size_t outputs = gemm_parts(n, ops->i8_cols) * ops->i8_cols;
    return outputs * gemm_parts(k, 4) * 4 + outputs * (sizeof(float) + sizeof(int32_t));
}

/* One output: its bytes to out[0..3], out[step..step + 3] and so on. Returns their scale. */
static float gemm_i8_fill(const float *w, uint32_t k, int8_t *out, size_t step, int32_t *sum) {
    float max = 0;
    for (uint32_t i = 0; i < k; i++) {
        max = fabsf(w[i]) > max ? fabsf(w[i]) : max;
    }
    const bool zero = max < VEC_QUANTISE_MIN;
    const float factor = zero ? 0 : 127 / max;
    for (uint32_t i = 0; i < k; i++) {
        const int8_t byte = vec_quantise_one(w[i], factor);
        out[i / 4 * step + i % 4] = byte;
        *sum += byte;
    }
    return zero ? 0 : max / 127;
}

void gemm_i8_pack(const struct gemm_ops *ops, const float *w, size_t w_stride, uint32_t n,
                  uint32_t k, void *packed) {
    const size_t cols = ops->i8_cols, panel = cols * gemm_parts(k, 4) * 4;
    const size_t outputs = gemm_parts(n, cols) * cols;
    int8_t *const bytes = packed;
    float *const scales = (float *)(void *)(bytes + outputs / cols * panel);
    int32_t *const sums = (int32_t *)(void *)(scales + outputs);
    memset(packed, 0, gemm_i8_bytes(ops, n, k));
    for (size_t i = 0; i < n; i++) {
        int8_t *const out = bytes + i / cols * panel + i % cols * 4;
        scales[i] = gemm_i8_fill(w + i * w_stride, k, out, cols * 4, &sums[i]);
        sums[i] *= ops->levels + 1;
    }
}

static size_t gemm_i8_row_bytes(uint32_t k) {
    return gemm_parts(k, GEMM_ALIGN) * GEMM_ALIGN;
}

/* Rows in memory: whole tiles of AMX, which reads past the last one. */
static size_t gemm_i8_rows_room(uint32_t m) {
    return gemm_parts(m, 16) * 16;
}

size_t gemm_i8_rows_bytes(uint32_t m, uint32_t k) {
    return gemm_i8_rows_room(m) * gemm_i8_row_bytes(k) + m * sizeof(float);
}

void gemm_i8_rows(const struct gemm_ops *ops, const float *x, size_t x_stride, uint32_t m,
                  uint32_t k, void *rows) {
    const size_t row = gemm_i8_row_bytes(k), room = gemm_i8_rows_room(m);
    float *const scales = (float *)(void *)((char *)rows + room * row);
    for (size_t i = 0; i < m; i++) {
        uint8_t *const out = (uint8_t *)rows + i * row;
        scales[i] = ops->i8_row(x + i * x_stride, k, out);
        memset(out + k, 0, row - k); /* AMX multiplies them by whatever is there */
    }
    memset((char *)rows + m * row, 0, (room - m) * row); /* for checkers of memory */
}

/* As gemm_f32_rows(). */
static void gemm_i8_panel(const struct gemm_ops *ops, const struct gemm_i8_tile *all, uint32_t m) {
    const size_t tiles = gemm_parts(m, ops->i8_rows);
    for (size_t i = 0; i < tiles; i++) {
        const size_t first = m * i / tiles;
        const size_t end = m * (i + 1) / tiles;
        struct gemm_i8_tile t = *all;
        t.x += first * t.x_stride;
        t.x_scale += first;
        t.y += first * t.y_stride;
        ops->i8_tile(&t, (uint32_t)(end - first));
    }
}

void gemm_i8_to_panel(const struct gemm_weights *w, const struct gemm_i8_tile *block, uint32_t n0,
                      struct gemm_i8_tile *t) {
    const uint32_t cols = w->ops->i8_cols;
    *t = *block;
    t->w += n0 * block->fours * 4;
    t->w_scale += n0;
    t->w_sum += n0;
    t->bias = block->bias != NULL ? block->bias + n0 : gemm_zeros;
    t->y += n0;
    t->cols = gemm_least(w->n - n0, cols);
}

static void gemm_i8_block(const struct gemm_weights *w, const struct gemm_i8_tile *block,
                          uint32_t m) {
    if (w->ops->i8_block != NULL && m >= w->ops->i8_block_rows) {
        w->ops->i8_block(w, block, m);
        return;
    }
    for (uint32_t n0 = 0; n0 < w->n; n0 += w->ops->i8_cols) {
        struct gemm_i8_tile t;
        gemm_i8_to_panel(w, block, n0, &t);
        gemm_i8_panel(w->ops, &t, m);
    }
}

void gemm_i8_run(const struct gemm_weights *w, const void *rows, uint32_t m, float *y,
                 size_t y_stride) {
    assert(w->k > 0 && w->k <= GEMM_K_MAX && (uintptr_t)w->packed % GEMM_ALIGN == 0);
    const size_t row = gemm_i8_row_bytes(w->k);
    const size_t fours = gemm_parts(w->k, 4);
    const size_t outputs = gemm_parts(w->n, w->ops->i8_cols) * w->ops->i8_cols;
    const uint8_t *const x = rows;
    const int8_t *const bytes = w->packed;
    const float *const x_scales = (const float *)(const void *)(x + gemm_i8_rows_room(m) * row);
    const float *const scales = (const float *)(const void *)(bytes + outputs * fours * 4);
    const size_t step = gemm_block_rows(m);
    for (size_t first = 0; first < m; first += step) {
        const struct gemm_i8_tile block = {.x = x + first * row,
                                           .x_stride = row,
                                           .x_scale = x_scales + first,
                                           .w = bytes,
                                           .fours = fours,
                                           .w_scale = scales,
                                           .w_sum =
                                               (const int32_t *)(const void *)(scales + outputs),
                                           .bias = w->bias,
                                           .y = y + first * y_stride,
                                           .y_stride = y_stride};
        gemm_i8_block(w, &block, gemm_least(m - first, step));
    }
}
