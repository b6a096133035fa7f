/* Sparse matrices, rows compressed. Built by two stable counting sorts (by column, then by row), so
 * in time linear in entries, rows and columns, whatever the order they come in. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include <math.h>

void train_matrix_free(struct train_matrix *m) {
    if (m != NULL) {
        mem_free(m->starts);
        mem_free(m->ids);
        mem_free(m->values);
        mem_free(m);
    }
}

size_t train_matrix_bytes(const struct train_matrix *m) {
    return ((size_t)m->rows + 1) * sizeof *m->starts +
           (size_t)m->starts[m->rows] * (sizeof *m->ids + sizeof *m->values);
}

struct train_matrix *train_matrix_alloc(uint32_t rows, uint32_t cols, uint64_t n) {
    struct train_matrix *const m = mem_zalloc(sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    m->rows = rows;
    m->cols = cols;
    m->starts = mem_zalloc(((size_t)rows + 1) * sizeof *m->starts);
    m->ids = alloc_array(n, sizeof *m->ids);
    m->values = alloc_array(n, sizeof *m->values);
    if (m->starts == NULL || m->ids == NULL || m->values == NULL) {
        train_matrix_free(m);
        return NULL;
    }
    return m;
}

/* counts[i + 1] entries of i become starts[i]. */
static void matrix_sum(uint64_t *starts, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        starts[i + 1] += starts[i];
    }
}

/* After filling, starts[i] is where row i ends: back to where it begins. */
static void matrix_shift(uint64_t *starts, uint32_t n) {
    memmove(starts + 1, starts, n * sizeof *starts);
    starts[0] = 0;
}

static int matrix_check(const struct train_entry *entries, size_t n, uint32_t rows, uint32_t cols,
                        u2i_error_t *err) {
    for (size_t i = 0; i < n; i++) {
        const struct train_entry *const e = &entries[i];
        if (e->row >= rows || e->col >= cols) {
            return error_set(err, U2I_EINVAL, "entry (%u, %u) is outside of a matrix of %u x %u",
                             e->row, e->col, rows, cols);
        }
        if (!isfinite(e->value)) {
            return error_set(err, U2I_EINVAL, "the value of entry (%u, %u) is not a finite number",
                             e->row, e->col);
        }
    }
    return U2I_OK;
}

/* The positive entries, by column. */
static int matrix_by_column(const struct train_entry *entries, size_t n, uint32_t cols,
                            struct train_entry **out, size_t *out_n) {
    uint64_t *const starts = mem_zalloc(((size_t)cols + 1) * sizeof *starts);
    struct train_entry *const sorted = alloc_array(n, sizeof *sorted);
    if (starts == NULL || sorted == NULL) {
        mem_free(starts);
        mem_free(sorted);
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        starts[entries[i].col + 1] += entries[i].value > 0;
    }
    matrix_sum(starts, cols);
    *out_n = (size_t)starts[cols];
    for (size_t i = 0; i < n; i++) {
        if (entries[i].value > 0) {
            sorted[starts[entries[i].col]++] = entries[i];
        }
    }
    mem_free(starts);
    *out = sorted;
    return U2I_OK;
}

/* Entries of one place, side by side in a row, become the largest of them. */
static void matrix_merge(struct train_matrix *m) {
    uint64_t to = 0;
    uint64_t from = 0;
    for (uint32_t r = 0; r < m->rows; r++) {
        const uint64_t end = m->starts[r + 1];
        const uint64_t begin = to;
        for (; from < end; from++) {
            if (to > begin && m->ids[to - 1] == m->ids[from]) {
                m->values[to - 1] = fmaxf(m->values[to - 1], m->values[from]);
                continue;
            }
            m->ids[to] = m->ids[from];
            m->values[to++] = m->values[from];
        }
        m->starts[r] = begin;
    }
    m->starts[m->rows] = to;
}

int train_matrix_new(const struct train_entry *entries, size_t n, uint32_t rows, uint32_t cols,
                     struct train_matrix **out, u2i_error_t *err) {
    *out = NULL;
    U2I_TRY(matrix_check(entries, n, rows, cols, err));
    struct train_entry *sorted = NULL;
    size_t kept = 0;
    if (matrix_by_column(entries, n, cols, &sorted, &kept) != U2I_OK) {
        return error_oom(err);
    }
    struct train_matrix *const m = train_matrix_alloc(rows, cols, kept);
    if (m == NULL) {
        mem_free(sorted);
        return error_oom(err);
    }
    for (size_t i = 0; i < kept; i++) {
        m->starts[sorted[i].row + 1]++;
    }
    matrix_sum(m->starts, rows);
    for (size_t i = 0; i < kept; i++) {
        const uint64_t at = m->starts[sorted[i].row]++;
        m->ids[at] = sorted[i].col;
        m->values[at] = sorted[i].value;
    }
    matrix_shift(m->starts, rows);
    matrix_merge(m);
    mem_free(sorted);
    *out = m;
    return U2I_OK;
}

int train_matrix_transpose(const struct train_matrix *m, struct train_matrix **out,
                           u2i_error_t *err) {
    *out = NULL;
    const uint64_t n = m->starts[m->rows];
    struct train_matrix *const t = train_matrix_alloc(m->cols, m->rows, n);
    if (t == NULL) {
        return error_oom(err);
    }
    for (uint64_t i = 0; i < n; i++) {
        t->starts[m->ids[i] + 1]++;
    }
    matrix_sum(t->starts, t->rows);
    for (uint32_t r = 0; r < m->rows; r++) {
        for (uint64_t i = m->starts[r]; i < m->starts[r + 1]; i++) {
            const uint64_t at = t->starts[m->ids[i]]++;
            t->ids[at] = r;
            t->values[at] = m->values[i];
        }
    }
    matrix_shift(t->starts, t->rows);
    *out = t;
    return U2I_OK;
}
