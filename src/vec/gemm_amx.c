/* AMX: an instruction multiplies 16 rows by 16 outputs over 32 inputs of bf16, or 64 bytes, in 16 cycles.
 * Everything but products of many rows is AVX-512's (gemm_avx512.c), packed weights and their order too.
 *
 * Bytes: the same exact sums, eight times as many a cycle.
 *
 * Floats: a float is the sum of three bf16, its pieces: the first is the nearest one, the second and the third
 * are cut off, and take up what is left of the 24 bits. Of the nine products of pieces six are computed,
 *
 *     x w ~ x1 w1 + x1 w2 + x2 w1 + x2 w2 + x1 w3 + x3 w1
 *
 * and what is left out is below 2^-21 |x w|, about a float's own rounding: the way of Henry, Tang and Heinecke,
 * "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations" (2019). So sums
 * are as good as those of AVX-512 at 1.4 times its speed; the limit is 540 GFLOPS, a sixth of what tiles can do.
 * The rows of a block are taken apart once, the weights once for a block: in memory they stay floats. Numbers
 * below 2^-126 count as 0, as the processor has it.
 *
 * The tiles' shape is 16 rows of 64 bytes throughout; rows past the last are computed and dropped. Linux lets
 * a process use tiles once it has asked.
 *
 * `bench_gemm`, 128 rows, one core of an Intel Xeon with AMX, gcc 12 -O3, GFLOPS of floats and of bytes, making
 * these included: 240 and 1490 here, 171 and 610 with AVX-512. Tiles of random bf16 from L2, nothing else, reach
 * 2400 - 2700, of zeros 3250. */
#include "vec/gemm_internal.h"
#include "vec/vec_internal.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GEMM_AMX_ROWS   16u              /* of a tile */
#define GEMM_AMX_COLS   GEMM_AVX512_COLS /* of a panel: two tiles */
#define GEMM_AMX_INPUTS 32u              /* bf16 in a row of a tile; a step */
#define GEMM_AMX_FOURS  16u              /* of bytes in a row of a tile */
#define GEMM_AMX_TILE   1024u
#define GEMM_AMX_PIECES 3u
/* Fewer rows are AVX-512's. 384 x 384 weights, 35 MB of them one after the other, for 12, 32, 48, 64, 96 rows:
 * floats 163, 144, 144, 151, 140 GFLOPS with AVX-512, 61, 137, 142, 189, 197 here; bytes 581, 519, 523, 551, 508
 * and 552, 983, 1084, 1161, 1127. */
#define GEMM_AMX_ROWS_F32 56u
#define GEMM_AMX_ROWS_I8  13u
#define GEMM_AMX_AHEAD    4096u /* how far before its use a weight is asked for, bytes */

/* gcc 12 takes a load of a tile for something that reads no memory, and may move stores past it. */
#define GEMM_AMX_LOAD(tile, from, stride)                                                          \
    do {                                                                                           \
        __asm__ volatile("" ::: "memory");                                                         \
        _tile_loadd(tile, from, stride);                                                           \
    } while (0)

static void gemm_amx_begin(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (size_t i = 0; i < 8; i++) {
        shape.row_bytes[i] = 64;
        shape.rows[i] = GEMM_AMX_ROWS;
    }
    _tile_loadconfig(&shape);
}

/* Sums of up to 32 rows and a panel, as the tiles 0 and 1 (rows 0..15), 2 and 3 leave them. */
struct gemm_amx_sums {
    _Alignas(64) int32_t of[2 * GEMM_AMX_ROWS][GEMM_AMX_COLS];
};

static void gemm_amx_zero(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static void gemm_amx_keep(struct gemm_amx_sums *sums) {
    _tile_stored(0, &sums->of[0][0], sizeof sums->of[0]);
    _tile_stored(1, &sums->of[0][16], sizeof sums->of[0]);
    _tile_stored(2, &sums->of[16][0], sizeof sums->of[0]);
    _tile_stored(3, &sums->of[16][16], sizeof sums->of[0]);
}

/* ---- Floats ----------------------------------------------------------------------------------- */

/* The upper 16 bits are a bf16: the nearest one to x, halves away from 0, or x cut off. */
static __m512i gemm_amx_nearest(__m512 x) {
    const __m512i rounded = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    return _mm512_and_si512(rounded, _mm512_set1_epi32(INT32_C(-0x10000)));
}

static __m512i gemm_amx_cut(__m512 x) {
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(INT32_C(-0x10000)));
}

/* Takes the next piece off x. */
static __m512i gemm_amx_piece(__m512 *x, uint32_t piece) {
    const __m512i top = piece == 0 ? gemm_amx_nearest(*x) : gemm_amx_cut(*x);
    *x = _mm512_sub_ps(*x, _mm512_castsi512_ps(top));
    return top;
}

/* Rows as tiles of 16 rows and 32 inputs: for each 16 rows, for each step, the three pieces. What there is
 * not is 0. */
static void gemm_amx_split_rows(const struct gemm_tile *t, uint32_t m, char *out) {
    const size_t steps = gemm_parts(t->k, GEMM_AMX_INPUTS);
    const size_t groups = gemm_parts(m, GEMM_AMX_ROWS);
    const __m512i odd = _mm512_add_epi16(
        _mm512_set1_epi16(1),
        _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26,
                         24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0));
    for (size_t r = 0; r < groups * GEMM_AMX_ROWS; r++) {
        const float *const x = t->x + (r < m ? r : 0) * t->x_stride;
        char *to = out + r / GEMM_AMX_ROWS * steps * GEMM_AMX_PIECES * GEMM_AMX_TILE +
                   r % GEMM_AMX_ROWS * 64;
        for (size_t i = 0; i < steps * GEMM_AMX_INPUTS; i += GEMM_AMX_INPUTS) {
            const size_t left = r < m ? t->k - i : 0;
            __m512 a = _mm512_maskz_loadu_ps(gemm_mask_16(left), x + i);
            __m512 b = _mm512_maskz_loadu_ps(gemm_mask_16(left < 16 ? 0 : left - 16), x + i + 16);
            for (uint32_t piece = 0; piece < GEMM_AMX_PIECES; piece++, to += GEMM_AMX_TILE) {
                const __m512i top = gemm_amx_piece(&a, piece);
                _mm512_store_si512(to,
                                   _mm512_permutex2var_epi16(top, odd, gemm_amx_piece(&b, piece)));
            }
        }
    }
}

/* Two inputs of 16 outputs as a row of each piece: pairs of inputs stand together. */
static inline void gemm_amx_split_pair(__m512 a, __m512 b, char *out) {
    for (uint32_t piece = 0; piece < GEMM_AMX_PIECES; piece++, out += 2 * GEMM_AMX_TILE) {
        const __m512i low = _mm512_srli_epi32(gemm_amx_piece(&a, piece), 16);
        _mm512_store_si512(out, _mm512_or_si512(low, gemm_amx_piece(&b, piece)));
    }
}

/* A panel's inputs as tiles of 16 pairs of inputs and 16 outputs: for each step, for each piece, two tiles. */
static void gemm_amx_split_panel(const float *w, size_t k, char *out) {
    const size_t pairs = gemm_parts(k, GEMM_AMX_INPUTS) * GEMM_AMX_ROWS;
    for (size_t i = 0; i < pairs; i++, w += 2 * GEMM_AMX_COLS) {
        char *const to =
            out + i / GEMM_AMX_ROWS * 2 * GEMM_AMX_PIECES * GEMM_AMX_TILE + i % GEMM_AMX_ROWS * 64;
        for (size_t line = 0; line < 2 * GEMM_AMX_COLS * sizeof *w; line += 64) {
            _mm_prefetch((const char *)w + GEMM_AMX_AHEAD + line, _MM_HINT_T0);
        }
        const __mmask16 first = 2 * i < k ? 0xFFFF : 0;
        const __mmask16 second = 2 * i + 1 < k ? 0xFFFF : 0;
        for (size_t half = 0; half < 2; half++) {
            gemm_amx_split_pair(_mm512_maskz_loadu_ps(first, w + half * 16),
                                _mm512_maskz_loadu_ps(second, w + GEMM_AMX_COLS + half * 16),
                                to + half * GEMM_AMX_TILE);
        }
    }
}

/* All four sums of two groups of rows: tiles 4 and 5 hold rows, 6 and 7 weights. */
static inline void gemm_amx_f32_four(void) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

static inline void gemm_amx_load_rows(const char *x, size_t group, size_t piece) {
    GEMM_AMX_LOAD(4, x + piece * GEMM_AMX_TILE, 64);
    GEMM_AMX_LOAD(5, x + group + piece * GEMM_AMX_TILE, 64);
}

static inline void gemm_amx_load_panel(const char *w, size_t piece) {
    GEMM_AMX_LOAD(6, w + 2 * piece * GEMM_AMX_TILE, 64);
    GEMM_AMX_LOAD(7, w + (2 * piece + 1) * GEMM_AMX_TILE, 64);
}

/* Two groups of rows, which begin `group` bytes apart (0: there is one, and its sums come twice), and a panel. */
static void gemm_amx_f32_sums(const char *x, size_t group, const char *w, size_t steps) {
    gemm_amx_zero();
    for (size_t i = 0; i < steps; i++) {
        gemm_amx_load_rows(x, group, 1);
        gemm_amx_load_panel(w, 1);
        gemm_amx_f32_four();
        gemm_amx_load_panel(w, 0);
        gemm_amx_f32_four();
        gemm_amx_load_rows(x, group, 2);
        gemm_amx_f32_four();
        gemm_amx_load_rows(x, group, 0);
        gemm_amx_f32_four();
        gemm_amx_load_panel(w, 1);
        gemm_amx_f32_four();
        gemm_amx_load_panel(w, 2);
        gemm_amx_f32_four();
        x += GEMM_AMX_PIECES * GEMM_AMX_TILE;
        w += 2 * GEMM_AMX_PIECES * GEMM_AMX_TILE;
    }
}

/* y = sums + base for some rows of a panel. */
static void gemm_amx_f32_end(const struct gemm_tile *t, const struct gemm_amx_sums *sums,
                             size_t rows) {
    const __mmask16 m0 = gemm_mask_16(t->cols);
    const __mmask16 m1 = gemm_mask_16(t->cols < 16 ? 0 : t->cols - 16);
    for (size_t r = 0; r < rows; r++) {
        const float *const base = t->base + r * t->base_stride;
        float *const y = t->y + r * t->y_stride;
        const __m512 low = _mm512_load_ps(&sums->of[r][0]);
        const __m512 high = _mm512_load_ps(&sums->of[r][16]);
        _mm512_mask_storeu_ps(y, m0, _mm512_add_ps(low, _mm512_maskz_loadu_ps(m0, base)));
        _mm512_mask_storeu_ps(y + 16, m1,
                              _mm512_add_ps(high, _mm512_maskz_loadu_ps(m1, base + 16)));
    }
}

static void gemm_amx_f32_panel(const struct gemm_tile *all, uint32_t m, const char *rows,
                               const char *panel) {
    const size_t steps = gemm_parts(all->k, GEMM_AMX_INPUTS);
    const size_t group = steps * GEMM_AMX_PIECES * GEMM_AMX_TILE;
    struct gemm_amx_sums sums;
    for (size_t r = 0; r < m; r += 2 * GEMM_AMX_ROWS) {
        const size_t here = m - r < 2 * GEMM_AMX_ROWS ? m - r : 2 * GEMM_AMX_ROWS;
        struct gemm_tile t = *all;
        t.y += r * t.y_stride;
        t.base += r * t.base_stride;
        gemm_amx_f32_sums(rows + r / GEMM_AMX_ROWS * group, here > GEMM_AMX_ROWS ? group : 0, panel,
                          steps);
        gemm_amx_keep(&sums);
        gemm_amx_f32_end(&t, &sums, here);
    }
}

static size_t gemm_amx_scratch(uint32_t m, size_t k) {
    const size_t steps = gemm_parts(k, GEMM_AMX_INPUTS);
    const size_t tiles = gemm_parts(m, GEMM_AMX_ROWS) + GEMM_AMX_COLS / GEMM_AMX_ROWS;
    return tiles * steps * GEMM_AMX_PIECES * GEMM_AMX_TILE;
}

static void gemm_amx_f32_block(const struct gemm_weights *w, const struct gemm_tile *block,
                               uint32_t m, void *scratch) {
    char *const panel = scratch;
    char *const rows = panel + gemm_amx_scratch(0, block->k);
    struct gemm_tile t = *block;
    gemm_amx_begin();
    gemm_amx_split_rows(&t, m, rows);
    for (uint32_t n0 = 0; n0 < w->n; n0 += GEMM_AMX_COLS) {
        gemm_f32_to_panel(w, block, n0, &t);
        gemm_amx_split_panel(t.w, t.k, panel);
        gemm_amx_f32_panel(&t, m, rows, panel);
    }
    _tile_release();
}

/* ---- Bytes ------------------------------------------------------------------------------------ */

static inline void gemm_amx_i8_four(const uint8_t *x, size_t stride, size_t group,
                                    const int8_t *w) {
    GEMM_AMX_LOAD(4, x, stride);
    GEMM_AMX_LOAD(6, w, 4 * GEMM_AMX_COLS);
    GEMM_AMX_LOAD(7, w + 64, 4 * GEMM_AMX_COLS);
    GEMM_AMX_LOAD(5, x + group, stride);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
}

/* As gemm_amx_f32_sums(). `last` are the panel's inputs after the last 64, with zeros to 64 of them. */
static void gemm_amx_i8_sums(const struct gemm_i8_tile *t, size_t group, const int8_t *last) {
    const uint8_t *x = t->x;
    const int8_t *w = t->w;
    gemm_amx_zero();
    for (size_t i = t->fours; i >= GEMM_AMX_FOURS; i -= GEMM_AMX_FOURS) {
        gemm_amx_i8_four(x, t->x_stride, group, w);
        x += 4 * GEMM_AMX_FOURS;
        w += 4 * GEMM_AMX_FOURS * GEMM_AMX_COLS;
    }
    if (t->fours % GEMM_AMX_FOURS != 0) {
        gemm_amx_i8_four(x, t->x_stride, group, last);
    }
}

static void gemm_amx_i8_end(const struct gemm_i8_tile *t, const struct gemm_amx_sums *sums,
                            size_t rows) {
    for (size_t c = 0; c < t->cols; c += 16) {
        const __mmask16 mask = gemm_mask_16(t->cols - c);
        const __m512 scale = _mm512_loadu_ps(t->w_scale + c);
        const __m512 bias = _mm512_maskz_loadu_ps(mask, t->bias + c);
        const __m512i offset = _mm512_loadu_si512(t->w_sum + c);
        for (size_t r = 0; r < rows; r++) {
            const __m512i sum = _mm512_sub_epi32(_mm512_load_si512(&sums->of[r][c]), offset);
            const __m512 factor = _mm512_mul_ps(_mm512_set1_ps(t->x_scale[r]), scale);
            const __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor);
            _mm512_mask_storeu_ps(t->y + r * t->y_stride + c, mask, _mm512_add_ps(y, bias));
        }
    }
}

static void gemm_amx_i8_panel(const struct gemm_i8_tile *all, uint32_t m) {
    const size_t group = GEMM_AMX_ROWS * all->x_stride;
    const size_t rest = all->fours % GEMM_AMX_FOURS;
    struct gemm_amx_sums sums;
    _Alignas(64) int8_t last[GEMM_AMX_FOURS * 4 * GEMM_AMX_COLS] = {0};
    memcpy(last, all->w + (all->fours - rest) * 4 * GEMM_AMX_COLS, rest * 4 * GEMM_AMX_COLS);
    for (size_t r = 0; r < m; r += 2 * GEMM_AMX_ROWS) {
        const size_t here = m - r < 2 * GEMM_AMX_ROWS ? m - r : 2 * GEMM_AMX_ROWS;
        struct gemm_i8_tile t = *all;
        t.x += r * t.x_stride;
        t.x_scale += r;
        t.y += r * t.y_stride;
        gemm_amx_i8_sums(&t, here > GEMM_AMX_ROWS ? group : 0, last);
        gemm_amx_keep(&sums);
        gemm_amx_i8_end(&t, &sums, here);
    }
}

static void gemm_amx_i8_block(const struct gemm_weights *w, const struct gemm_i8_tile *block,
                              uint32_t m) {
    struct gemm_i8_tile t = *block;
    gemm_amx_begin();
    for (uint32_t n0 = 0; n0 < w->n; n0 += GEMM_AMX_COLS) {
        gemm_i8_to_panel(w, block, n0, &t);
        gemm_amx_i8_panel(&t, m);
    }
    _tile_release();
}

/* ---- The table -------------------------------------------------------------------------------- */

/* Asks processor and system; the system once for the whole process. */
static bool gemm_amx_runs(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* arch_prctl(ARCH_REQ_XCOMP_PERM, ...) */
    const uint32_t needs = 1u << 22 | 1u << 24 | 1u << 25; /* bf16, tiles, bytes */
    uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & needs) == needs &&
           syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

const struct gemm_ops *gemm_amx_ops(void) {
    static const struct gemm_ops ops = {
        .name = "amx",
        .softmax = gemm_avx512_softmax,
        .norm = gemm_avx512_norm,
        .gelu = gemm_avx512_gelu,
        .add = gemm_avx512_add,
        .f32_block = gemm_amx_f32_block,
        .f32_scratch = gemm_amx_scratch,
        .f32_block_rows = GEMM_AMX_ROWS_F32,
        .i8_block = gemm_amx_i8_block,
        .i8_block_rows = GEMM_AMX_ROWS_I8,
        .i8_tile = gemm_avx512_i8,
        .i8_row = gemm_avx512_i8_row,
        .i8_rows = GEMM_AVX512_ROWS,
        .i8_cols = GEMM_AMX_COLS,
        .levels = 127,
        .i8_pays = true,
        .f32_tile = gemm_avx512_f32,
        .f32_rows = GEMM_AVX512_ROWS,
        .f32_cols = GEMM_AMX_COLS,
    };
    return gemm_amx_runs() ? &ops : NULL;
}

#else

const struct gemm_ops *gemm_amx_ops(void) {
    return NULL;
}

#endif
