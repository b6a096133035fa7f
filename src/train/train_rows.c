/* A sparse result whose rows are made by many threads: each task appends its rows to a part of
 * its own, and the parts are joined in order at the end. Sums are doubles, and each thread has
 * one row of them. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include <assert.h>

int train_rows_begin(struct train_rows *r, uint32_t rows, uint32_t cols, unsigned threads) {
    *r = (struct train_rows){.rows = rows, .cols = cols, .threads = threads};
    r->tasks = ((uint64_t)rows + TRAIN_PART_ROWS - 1) / TRAIN_PART_ROWS;
    r->parts = mem_zalloc((size_t)r->tasks * sizeof *r->parts);
    r->sums = mem_zalloc(threads * sizeof *r->sums);
    return r->parts == NULL || r->sums == NULL ? U2I_ENOMEM : U2I_OK;
}

void train_rows_end(struct train_rows *r) {
    for (unsigned i = 0; r->sums != NULL && i < r->threads; i++) {
        mem_free(r->sums[i].of);
        mem_free(r->sums[i].touched);
    }
    for (uint64_t p = 0; r->parts != NULL && p < r->tasks; p++) {
        mem_free(r->parts[p].pairs);
    }
    mem_free(r->sums);
    mem_free(r->parts);
    *r = (struct train_rows){0};
}

struct train_sums *train_rows_sums(struct train_rows *r, unsigned worker) {
    struct train_sums *const sums = &r->sums[worker];
    if (sums->of == NULL) {
        sums->of = mem_zalloc((size_t)r->cols * sizeof *sums->of);
    }
    if (sums->touched == NULL) {
        sums->touched = alloc_array(r->cols, sizeof *sums->touched);
    }
    return sums->of == NULL || sums->touched == NULL ? NULL : sums;
}

struct train_pair *train_part_room(struct train_part *part, size_t n) {
    const size_t need = part->n + n == 0 ? 1 : part->n + n;
    if (array_reserve(&part->pairs, &part->cap, need, sizeof *part->pairs) != U2I_OK) {
        return NULL;
    }
    return part->pairs + part->n;
}

/* Larger values first, of equal ones the lower id: no two pairs of a row are equal. */
static inline bool rows_before(const struct train_pair *x, const struct train_pair *y) {
    return x->value > y->value || (x->value == y->value && x->id < y->id);
}

/* The first k pairs come to the front, in no order; k < n (Hoare's "find", as Wirth writes it). */
static void rows_select(struct train_pair *pairs, int64_t n, int64_t k) {
    int64_t low = 0;
    int64_t high = n - 1;
    while (low < high) {
        const struct train_pair pivot = pairs[low + (high - low) / 2];
        int64_t i = low;
        int64_t j = high;
        while (i <= j) {
            while (rows_before(&pairs[i], &pivot)) {
                i++;
            }
            while (rows_before(&pivot, &pairs[j])) {
                j--;
            }
            if (i <= j) {
                const struct train_pair swapped = pairs[i];
                pairs[i++] = pairs[j];
                pairs[j--] = swapped;
            }
        }
        if (k > j && k < i) {
            return;
        }
        low = k >= i ? i : low;
        high = k <= j ? j : high;
    }
}

static int rows_lower_id_first(const void *a, const void *b) {
    const struct train_pair *const x = a;
    const struct train_pair *const y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

void train_part_add(struct train_part *part, uint32_t row, uint32_t n, uint32_t keep) {
    struct train_pair *const pairs = part->pairs + part->n;
    assert(part->n + n <= part->cap);
    if (keep > 0 && n > keep) {
        rows_select(pairs, n, keep);
        n = keep;
    }
    qsort(pairs, n, sizeof *pairs, rows_lower_id_first);
    part->n += n;
    part->sizes[row] = n;
}

int train_rows_join(const struct train_rows *r, struct train_matrix **out) {
    uint64_t n = 0;
    for (uint64_t p = 0; p < r->tasks; p++) {
        n += r->parts[p].n;
    }
    struct train_matrix *const m = train_matrix_alloc(r->rows, r->cols, n);
    if (m == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t row = 0; row < r->rows; row++) {
        m->starts[row + 1] =
            m->starts[row] + r->parts[row / TRAIN_PART_ROWS].sizes[row % TRAIN_PART_ROWS];
    }
    uint64_t to = 0;
    for (uint64_t p = 0; p < r->tasks; p++) {
        for (size_t i = 0; i < r->parts[p].n; i++) {
            m->ids[to] = r->parts[p].pairs[i].id;
            m->values[to++] = r->parts[p].pairs[i].value;
        }
    }
    assert(to == n && n == m->starts[r->rows]);
    *out = m;
    return U2I_OK;
}
