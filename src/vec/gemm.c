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
 * from cache for the other tiles. x is read where it lies. Products of bytes have no second cut: a
 * byte is a quarter of a float, and sums that are exact must not be parted. */
#include "vec/gemm_internal.h"

#include "vec/vec_internal.h"
#include <assert.h>
#include <string.h>

#define GEMM_K_BLOCK 768u
#define GEMM_M_BLOCK 192u

struct gemm_choice {
    const char *name, *runs_where; /* a table of vec.h that has the same needs */
    const struct gemm_ops *(*ops)(void);
};

const struct gemm_ops *gemm_named(const char *name) {
    static const struct gemm_choice choices[] = {
        {"avx512", "avx512", gemm_avx512_ops},   {"avx2", "avx2", gemm_avx2_ops},
        {"neon", "neon", gemm_neon_ops},         {"scalar", "scalar", gemm_scalar_ops},
        {"scalar7", "scalar", gemm_scalar7_ops},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (strcmp(name, choices[i].name) == 0 && vec_named(choices[i].runs_where) != NULL) {
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

size_t gemm_i8_rows_bytes(uint32_t m, uint32_t k) {
    return m * (gemm_i8_row_bytes(k) + sizeof(float));
}

void gemm_i8_rows(const struct gemm_ops *ops, const float *x, size_t x_stride, uint32_t m,
                  uint32_t k, void *rows) {
    const size_t row = gemm_i8_row_bytes(k);
    float *const scales = (float *)(void *)((char *)rows + m * row);
    for (size_t i = 0; i < m; i++) {
        uint8_t *const out = (uint8_t *)rows + i * row;
        scales[i] = ops->i8_row(x + i * x_stride, k, out);
        memset(out + k, 0,
               row - k); /* the weights there are zeros; this is for checkers of memory */
    }
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

/* All panels for m rows; `t` knows where those begin. */
static void gemm_i8_block(const struct gemm_weights *w, struct gemm_i8_tile *t, uint32_t m) {
    static const float zeros[GEMM_COLS_MAX];
    const uint32_t cols = w->ops->i8_cols;
    const size_t outputs = gemm_parts(w->n, cols) * cols;
    const int8_t *const bytes = w->packed;
    const float *const scales = (const float *)(const void *)(bytes + outputs * t->fours * 4);
    const int32_t *const sums = (const int32_t *)(const void *)(scales + outputs);
    float *const y = t->y;
    for (uint32_t n0 = 0; n0 < w->n; n0 += cols) {
        t->w = bytes + n0 * t->fours * 4;
        t->w_scale = scales + n0;
        t->w_sum = sums + n0;
        t->bias = w->bias != NULL ? w->bias + n0 : zeros;
        t->y = y + n0;
        t->cols = w->n - n0 < cols ? w->n - n0 : cols;
        gemm_i8_panel(w->ops, t, m);
    }
}

void gemm_i8_run(const struct gemm_weights *w, const void *rows, uint32_t m, float *y,
                 size_t y_stride) {
    assert(w->k > 0 && w->k <= GEMM_K_MAX && (uintptr_t)w->packed % GEMM_ALIGN == 0);
    const size_t row = gemm_i8_row_bytes(w->k);
    const uint8_t *const bytes = rows;
    const float *const scales = (const float *)(const void *)(bytes + m * row);
    const size_t blocks = gemm_parts(m, GEMM_M_BLOCK);
    for (size_t i = 0; i < blocks; i++) {
        const size_t first = m * i / blocks;
        const size_t end = m * (i + 1) / blocks;
        struct gemm_i8_tile t = {.x = bytes + first * row,
                                 .x_stride = row,
                                 .x_scale = scales + first,
                                 .fours = gemm_parts(w->k, 4),
                                 .y = y + first * y_stride,
                                 .y_stride = y_stride};
        gemm_i8_block(w, &t, (uint32_t)(end - first));
    }
}
