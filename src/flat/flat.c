/* Exact search by comparing with everything.
 *
 * 1. Slots are always dense: removing moves the last slot's vector into the gap, so a scan reads
 *    nothing but live vectors, at the speed of memory, without asking whether a slot is taken.
 * 2. Slabs have a power of two of slots and some 4 MiB, from pages_alloc(): growing copies nothing,
 *    huge pages keep the TLB out of it, and the last slabs go back to the system when they empty.
 *    Beside its vector a row costs 4 bytes in its slab (slot -> row) and 4 1/2 in slot_of.
 * 3. A scan computes all scores of a block first and looks at them afterwards; whether a row is
 *    allowed is asked only if its score would enter the heap. That is k * ln(n / k) rows in random
 *    order. Where it turns out to be many (the best rows are the forbidden ones), the bitmaps are
 *    turned into plain bits once.
 * 4. Where few rows are allowed, they are walked instead, each one's cache lines asked for a few
 *    rows ahead. */
#include "flat/flat.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"
#include <assert.h>

#define FLAT_NONE        UINT32_MAX
#define FLAT_SLAB_BYTES  ((size_t)4 << 20)
#define FLAT_SLAB_ROWS   16384u /* at most, for short vectors */
#define FLAT_BLOCK       512u   /* rows scored before their scores are looked at */
#define FLAT_TICK_BLOCKS 8u     /* blocks between two looks at the clock */
#define FLAT_BATCH       64u    /* rows taken from the bitmap at once */
#define FLAT_AHEAD       4u     /* rows by which the walk asks ahead */
#define FLAT_LINE_FLOATS 16u    /* of a cache line */
/* Walking a row costs about as much as scanning this many. */
#define FLAT_WALK_COST 3u
/* Bitmaps become plain bits when one row in this many had to be looked up in them. */
#define FLAT_BITS_SHARE 64u

struct flat_slab {
    float *vectors; /* slab_rows * dim */
    uint32_t *rows; /* slot in the slab -> row */
};

struct flat {
    uint32_t dim;
    uint32_t slab_shift; /* log2 of the slots of a slab */
    struct flat_slab *slabs;
    size_t slabs_n, slabs_cap;
    uint32_t *slot_of; /* row -> slot, FLAT_NONE if absent */
    uint32_t rows_cap;
    uint32_t count;   /* slots in use: 0..count-1 */
    uint32_t touched; /* slots whose memory was written since their slab was made */
};

/* ---- Slots -------------------------------------------------------------------------------- */

static uint32_t flat_slab_rows(const struct flat *f) {
    return 1u << f->slab_shift;
}

static size_t flat_slab_bytes(const struct flat *f) {
    return (size_t)flat_slab_rows(f) * f->dim * sizeof(float);
}

static float *flat_slot_vector(const struct flat *f, uint32_t slot) {
    const uint32_t within = slot & (flat_slab_rows(f) - 1);
    return f->slabs[slot >> f->slab_shift].vectors + (size_t)within * f->dim;
}

static uint32_t *flat_slot_row(const struct flat *f, uint32_t slot) {
    return &f->slabs[slot >> f->slab_shift].rows[slot & (flat_slab_rows(f) - 1)];
}

static uint32_t flat_slot(const struct flat *f, uint32_t row) {
    return row < f->rows_cap ? f->slot_of[row] : FLAT_NONE;
}

int flat_new(uint32_t dim, struct flat **out, u2i_error_t *err) {
    assert(dim > 0);
    *out = NULL;
    struct flat *const f = mem_zalloc(sizeof *f);
    if (f == NULL) {
        return error_oom(err);
    }
    f->dim = dim;
    while (flat_slab_rows(f) < FLAT_SLAB_ROWS && flat_slab_bytes(f) < FLAT_SLAB_BYTES) {
        f->slab_shift++;
    }
    *out = f;
    return U2I_OK;
}

/* Gives the last slab back. */
static void flat_drop_slab(struct flat *f) {
    const struct flat_slab *const last = &f->slabs[--f->slabs_n];
    pages_free(last->vectors, flat_slab_bytes(f));
    mem_free(last->rows);
}

void flat_free(struct flat *f) {
    if (f == NULL) {
        return;
    }
    while (f->slabs_n > 0) {
        flat_drop_slab(f);
    }
    mem_free(f->slabs);
    mem_free(f->slot_of);
    mem_free(f);
}

static int flat_add_slab(struct flat *f) {
    U2I_TRY(array_reserve(&f->slabs, &f->slabs_cap, f->slabs_n + 1, sizeof *f->slabs));
    struct flat_slab slab = {.vectors = pages_alloc(flat_slab_bytes(f)),
                             .rows = alloc_array(flat_slab_rows(f), sizeof *slab.rows)};
    if (slab.vectors == NULL || slab.rows == NULL) {
        pages_free(slab.vectors, flat_slab_bytes(f));
        mem_free(slab.rows);
        return U2I_ENOMEM;
    }
    f->slabs[f->slabs_n++] = slab;
    return U2I_OK;
}

/* Grown by an eighth only: it is memory that every vector pays for. */
static int flat_reserve_row(struct flat *f, uint32_t row) {
    if (row < f->rows_cap) {
        return U2I_OK;
    }
    if (row == FLAT_NONE) {
        return U2I_ENOMEM;
    }
    const uint64_t wanted = (uint64_t)row + 1 + row / 8 + 64;
    const uint32_t cap = wanted > FLAT_NONE ? FLAT_NONE : (uint32_t)wanted;
    uint32_t *const slot_of = realloc_array(f->slot_of, cap, sizeof *slot_of);
    if (slot_of == NULL) {
        return U2I_ENOMEM;
    }
    memset(slot_of + f->rows_cap, 0xFF, (size_t)(cap - f->rows_cap) * sizeof *slot_of);
    f->slot_of = slot_of;
    f->rows_cap = cap;
    return U2I_OK;
}

int flat_set(struct flat *f, uint32_t row, const float *vector, u2i_error_t *err) {
    const size_t bytes = f->dim * sizeof *vector;
    uint32_t slot = flat_slot(f, row);
    if (slot != FLAT_NONE) {
        memcpy(flat_slot_vector(f, slot), vector, bytes);
        return U2I_OK;
    }
    slot = f->count;
    if (flat_reserve_row(f, row) != U2I_OK ||
        (slot >> f->slab_shift == f->slabs_n && flat_add_slab(f) != U2I_OK)) {
        return error_oom(err);
    }
    memcpy(flat_slot_vector(f, slot), vector, bytes);
    *flat_slot_row(f, slot) = row;
    f->slot_of[row] = slot;
    f->count++;
    f->touched = f->touched < f->count ? f->count : f->touched;
    return U2I_OK;
}

/* Keeps one empty slab, so that adding and removing at a border does not map memory each time. */
static void flat_shrink(struct flat *f) {
    while (f->slabs_n >= 2 && (f->slabs_n - 2) << f->slab_shift >= f->count) {
        flat_drop_slab(f);
    }
    const uint64_t slots = (uint64_t)f->slabs_n << f->slab_shift;
    f->touched = f->touched > slots ? (uint32_t)slots : f->touched;
}

void flat_remove(struct flat *f, uint32_t row) {
    const uint32_t slot = flat_slot(f, row);
    if (slot == FLAT_NONE) {
        return;
    }
    const uint32_t last = --f->count;
    if (slot != last) {
        const uint32_t moved = *flat_slot_row(f, last);
        memcpy(flat_slot_vector(f, slot), flat_slot_vector(f, last), f->dim * sizeof(float));
        *flat_slot_row(f, slot) = moved;
        f->slot_of[moved] = slot;
    }
    f->slot_of[row] = FLAT_NONE;
    flat_shrink(f);
}

const float *flat_vector(const struct flat *f, uint32_t row) {
    const uint32_t slot = flat_slot(f, row);
    return slot == FLAT_NONE ? NULL : flat_slot_vector(f, slot);
}

uint32_t flat_count(const struct flat *f) {
    return f->count;
}

size_t flat_bytes(const struct flat *f) {
    return sizeof *f + f->slabs_cap * sizeof *f->slabs +
           (size_t)f->touched * (f->dim * sizeof(float) + sizeof(uint32_t)) +
           (size_t)f->rows_cap * sizeof *f->slot_of;
}

/* ---- Which rows may be answered ----------------------------------------------------------- */

/* The query's bitmaps, as they are (bits NULL) or as plain bits. */
struct flat_pass {
    const roaring_bitmap_t *allow, *deny; /* NULL = all, none */
    uint64_t *bits;                       /* bit set = allowed */
    uint32_t bits_n;                      /* rows the bits cover: all that there are */
    uint32_t lookups, lookups_max;        /* in the bitmaps, so far and before bits are made */
};

static void flat_bits_write(struct flat_pass *p, const roaring_bitmap_t *rows, bool value) {
    uint32_t batch[FLAT_BATCH];
    uint32_t n = 0;
    roaring_uint32_iterator_t it;
    roaring_init_iterator(rows, &it);
    while ((n = roaring_read_uint32_iterator(&it, batch, FLAT_BATCH)) > 0) {
        for (uint32_t i = 0; i < n && batch[i] < p->bits_n; i++) {
            const uint64_t bit = UINT64_C(1) << (batch[i] & 63);
            uint64_t *const word = &p->bits[batch[i] >> 6];
            *word = value ? *word | bit : *word & ~bit;
        }
    }
}

/* Without memory for the bits the bitmaps go on being asked. */
static void flat_pass_make_bits(struct flat_pass *p) {
    const size_t words = (size_t)p->bits_n / 64 + 1;
    p->lookups_max = UINT32_MAX;
    p->bits = alloc_array(words, sizeof *p->bits);
    if (p->bits == NULL) {
        return;
    }
    memset(p->bits, p->allow == NULL ? 0xFF : 0, words * sizeof *p->bits);
    if (p->allow != NULL) {
        flat_bits_write(p, p->allow, true);
    }
    if (p->deny != NULL) {
        flat_bits_write(p, p->deny, false);
    }
}

static bool flat_pass_row(struct flat_pass *p, uint32_t row) {
    if (p->bits != NULL) {
        assert(row < p->bits_n);
        return p->bits[row >> 6] >> (row & 63) & 1;
    }
    if (p->allow == NULL && p->deny == NULL) {
        return true;
    }
    if (++p->lookups > p->lookups_max) {
        flat_pass_make_bits(p);
    }
    return (p->allow == NULL || roaring_bitmap_contains(p->allow, row)) &&
           (p->deny == NULL || !roaring_bitmap_contains(p->deny, row));
}

/* ---- Search ------------------------------------------------------------------------------- */

static bool flat_would_enter(const struct topk *best, float score) {
    return best->n < best->k || score >= best->hits[0].score;
}

/* n slots of one slab, from `slot` on. */
static void flat_scan_block(const struct flat *f, const float *vector, uint32_t slot, uint32_t n,
                            struct flat_pass *pass, struct topk *best) {
    float scores[FLAT_BLOCK];
    const uint32_t *const rows = flat_slot_row(f, slot);
    assert(n <= FLAT_BLOCK);
    vec_get()->dot_rows(vector, flat_slot_vector(f, slot), f->dim, n, f->dim, scores);
    for (uint32_t i = 0; i < n; i++) {
        if (flat_would_enter(best, scores[i]) && flat_pass_row(pass, rows[i])) {
            topk_push(best, scores[i], rows[i]);
        }
    }
}

static int flat_scan(const struct flat *f, const struct flat_query *q, struct topk *best) {
    struct flat_pass pass = {.allow = q->allow,
                             .deny = q->deny,
                             .bits_n = f->rows_cap,
                             .lookups_max = f->count / FLAT_BITS_SHARE + 16};
    int rc = U2I_OK;
    uint32_t blocks = 0;
    for (uint32_t slot = 0; slot < f->count;) {
        const uint32_t slab_left = flat_slab_rows(f) - (slot & (flat_slab_rows(f) - 1));
        uint32_t n = f->count - slot < slab_left ? f->count - slot : slab_left;
        n = n < FLAT_BLOCK ? n : FLAT_BLOCK;
        if (blocks++ % FLAT_TICK_BLOCKS == 0 && deadline_passed(q->deadline)) {
            rc = U2I_ETIMEOUT;
            break;
        }
        flat_scan_block(f, q->vector, slot, n, &pass, best);
        slot += n;
    }
    mem_free(pass.bits);
    return rc;
}

static void flat_prefetch(const float *vector, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i += FLAT_LINE_FLOATS) {
        __builtin_prefetch(vector + i);
    }
}

/* Scores the rows of a batch that are present. */
static void flat_walk_batch(const struct flat *f, const struct flat_query *q, const uint32_t *rows,
                            uint32_t n, struct topk *best) {
    const float *vectors[FLAT_BATCH];
    uint32_t present[FLAT_BATCH];
    uint32_t present_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        const float *const vector = flat_vector(f, rows[i]);
        if (vector != NULL) {
            vectors[present_n] = vector;
            present[present_n++] = rows[i];
        }
    }
    for (uint32_t i = 0; i < present_n && i < FLAT_AHEAD; i++) {
        flat_prefetch(vectors[i], f->dim);
    }
    const struct vec_ops *const ops = vec_get();
    for (uint32_t i = 0; i < present_n; i++) {
        if (i + FLAT_AHEAD < present_n) {
            flat_prefetch(vectors[i + FLAT_AHEAD], f->dim);
        }
        const float score = ops->dot(q->vector, vectors[i], f->dim);
        if (flat_would_enter(best, score) &&
            (q->deny == NULL || !roaring_bitmap_contains(q->deny, present[i]))) {
            topk_push(best, score, present[i]);
        }
    }
}

static int flat_walk(const struct flat *f, const struct flat_query *q, struct topk *best) {
    uint32_t rows[FLAT_BATCH];
    uint32_t n = 0;
    uint32_t batches = 0;
    roaring_uint32_iterator_t it;
    roaring_init_iterator(q->allow, &it);
    while ((n = roaring_read_uint32_iterator(&it, rows, FLAT_BATCH)) > 0) {
        if (batches++ % (FLAT_TICK_BLOCKS * FLAT_BLOCK / FLAT_BATCH) == 0 &&
            deadline_passed(q->deadline)) {
            return U2I_ETIMEOUT;
        }
        flat_walk_batch(f, q, rows, n, best);
    }
    return U2I_OK;
}

int flat_search(const struct flat *f, const struct flat_query *q, struct hit *out, uint32_t *n,
                u2i_error_t *err) {
    struct topk best;
    topk_init(&best, out, q->k, q->tie, q->tie_ctx);
    *n = 0;
    if (q->k == 0) {
        return U2I_OK;
    }
    const bool walk =
        q->allow != NULL && roaring_bitmap_get_cardinality(q->allow) <= f->count / FLAT_WALK_COST;
    const int rc = walk ? flat_walk(f, q, &best) : flat_scan(f, q, &best);
    if (rc != U2I_OK) {
        return error_set(err, rc, "the search over %u vectors ran out of time", f->count);
    }
    *n = topk_sort(&best);
    return U2I_OK;
}
