/* Nearest neighbours of items by the cosine of their columns, its norm shrunk: dot(a, b) / (|a|
 * |b| + shrink). For each target the dot products with all items are summed along the rows of
 * its users, in one row of sums per thread; the k best are kept. Memory is that of the result
 * and of a copy of X, whatever the catalogue's size.
 *
 * A row of n entries costs n^2: one user of 10^5 events would cost more than all others
 * together, and says little (everything goes with everything). So a row counts with its
 * NEIGHBOURS_ROW_MAX largest values at most, of equal ones a sample that depends on row and
 * column only. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include <math.h>

#define NEIGHBOURS_K       100u
#define NEIGHBOURS_SHRINK  20.0
#define NEIGHBOURS_ROW_MAX 2000u

struct neighbours {
    struct train_matrix *x, *xt; /* rows cut; transposed */
    double *norms;
    double shrink;
    uint32_t k;
    struct train_rows rows; /* targets x their sources */
};

/* ---- Cutting long rows ----------------------------------------------------------------------- */

struct neighbours_entry {
    float value;
    uint32_t id;
    uint64_t order;
};

static int neighbours_larger_first(const void *a, const void *b) {
    const struct neighbours_entry *const x = a;
    const struct neighbours_entry *const y = b;
    if (x->value != y->value) {
        return x->value > y->value ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

static int neighbours_lower_id_first(const void *a, const void *b) {
    const struct neighbours_entry *const x = a;
    const struct neighbours_entry *const y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The entries of a long row that count, to `ids` and `values`. */
static void neighbours_cut_row(const struct train_matrix *x, uint32_t row,
                               struct neighbours_entry *scratch, uint32_t *ids, float *values) {
    const uint64_t start = x->starts[row];
    const size_t n = (size_t)(x->starts[row + 1] - start);
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = x->ids[start + i];
        scratch[i] =
            (struct neighbours_entry){x->values[start + i], id, hash_mix((uint64_t)row << 32 | id)};
    }
    qsort(scratch, n, sizeof *scratch, neighbours_larger_first);
    qsort(scratch, NEIGHBOURS_ROW_MAX, sizeof *scratch, neighbours_lower_id_first);
    for (size_t i = 0; i < NEIGHBOURS_ROW_MAX; i++) {
        ids[i] = scratch[i].id;
        values[i] = scratch[i].value;
    }
}

/* A copy of x with long rows cut. NULL: no memory. */
static struct train_matrix *neighbours_cut(const struct train_matrix *x) {
    uint64_t kept = 0;
    uint64_t longest = 0;
    for (uint32_t r = 0; r < x->rows; r++) {
        const uint64_t n = x->starts[r + 1] - x->starts[r];
        kept += n < NEIGHBOURS_ROW_MAX ? n : NEIGHBOURS_ROW_MAX;
        longest = n > longest ? n : longest;
    }
    struct train_matrix *const m = train_matrix_alloc(x->rows, x->cols, kept);
    struct neighbours_entry *const scratch = alloc_array(longest, sizeof *scratch);
    if (m == NULL || scratch == NULL) {
        train_matrix_free(m);
        mem_free(scratch);
        return NULL;
    }
    for (uint32_t r = 0; r < x->rows; r++) {
        const size_t n = (size_t)(x->starts[r + 1] - x->starts[r]);
        const uint64_t to = m->starts[r];
        if (n > NEIGHBOURS_ROW_MAX) {
            neighbours_cut_row(x, r, scratch, m->ids + to, m->values + to);
        } else if (n > 0) {
            memcpy(m->ids + to, x->ids + x->starts[r], n * sizeof *m->ids);
            memcpy(m->values + to, x->values + x->starts[r], n * sizeof *m->values);
        }
        m->starts[r + 1] = to + (n < NEIGHBOURS_ROW_MAX ? n : NEIGHBOURS_ROW_MAX);
    }
    mem_free(scratch);
    return m;
}

/* ---- Neighbours ------------------------------------------------------------------------------ */

static int neighbours_of_target(const struct neighbours *b, uint32_t target,
                                struct train_sums *sums, struct train_part *part) {
    for (uint64_t i = b->xt->starts[target]; i < b->xt->starts[target + 1]; i++) {
        const double weight = (double)b->xt->values[i];
        const uint32_t user = b->xt->ids[i];
        for (uint64_t k = b->x->starts[user]; k < b->x->starts[user + 1]; k++) {
            train_sums_add(sums, b->x->ids[k], weight * (double)b->x->values[k]);
        }
    }
    struct train_pair *const row = train_part_room(part, sums->n);
    if (row == NULL) {
        return U2I_ENOMEM;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < sums->n; i++) {
        const uint32_t id = sums->touched[i];
        const double cosine = sums->of[id] / (b->norms[target] * b->norms[id] + b->shrink);
        sums->of[id] = 0;
        if (id != target && (float)cosine > 0) {
            row[n++] = (struct train_pair){id, (float)cosine};
        }
    }
    sums->n = 0;
    train_part_add(part, target % TRAIN_PART_ROWS, n, b->k);
    return U2I_OK;
}

static int neighbours_of_targets(void *ctx, uint64_t task, unsigned worker) {
    struct neighbours *const b = ctx;
    struct train_sums *const sums = train_rows_sums(&b->rows, worker);
    if (sums == NULL) {
        return U2I_ENOMEM;
    }
    const uint64_t end = (task + 1) * TRAIN_PART_ROWS;
    for (uint32_t j = (uint32_t)task * TRAIN_PART_ROWS; j < end && j < b->xt->rows; j++) {
        const int rc = neighbours_of_target(b, j, sums, &b->rows.parts[task]);
        if (rc != U2I_OK) {
            return rc;
        }
    }
    return U2I_OK;
}

static int neighbours_prepare(const struct train_matrix *x, struct neighbours *b,
                              u2i_error_t *err) {
    b->x = neighbours_cut(x);
    b->norms = mem_zalloc((size_t)x->cols * sizeof *b->norms);
    if (b->x == NULL || b->norms == NULL) {
        return error_oom(err);
    }
    for (uint64_t i = 0; i < b->x->starts[b->x->rows]; i++) {
        b->norms[b->x->ids[i]] += (double)b->x->values[i] * (double)b->x->values[i];
    }
    for (uint32_t j = 0; j < x->cols; j++) {
        b->norms[j] = sqrt(b->norms[j]);
    }
    return train_matrix_transpose(b->x, &b->xt, err);
}

static int neighbours_work(struct train_crew *crew, struct neighbours *b, struct train_matrix **out,
                           u2i_error_t *err) {
    struct train_matrix *targets = NULL;
    int rc = train_rows_begin(&b->rows, b->x->cols, b->x->cols, crew->threads);
    if (rc == U2I_OK) {
        rc = train_crew_step(crew, b->rows.tasks);
    }
    if (rc == U2I_OK) {
        rc = train_crew_run(crew, b->rows.tasks, neighbours_of_targets, b);
    }
    if (rc == U2I_OK) {
        rc = train_rows_join(&b->rows, &targets);
    }
    train_rows_end(&b->rows);
    if (rc != U2I_OK) {
        return train_fail(err, rc);
    }
    rc = train_matrix_transpose(targets, out, err);
    train_matrix_free(targets);
    return rc;
}

int train_neighbours(const struct train_matrix *x, const struct train_neighbours_options *opt,
                     const struct train_work *work, struct train_matrix **out, u2i_error_t *err) {
    *out = NULL;
    struct neighbours b = {.k = opt->k == 0 ? NEIGHBOURS_K : opt->k,
                           .shrink = opt->shrink < 0 ? NEIGHBOURS_SHRINK : opt->shrink};
    struct train_crew crew;
    train_crew_begin(&crew, work);
    int rc = neighbours_prepare(x, &b, err);
    if (rc == U2I_OK) {
        rc = neighbours_work(&crew, &b, out, err);
    }
    train_crew_end(&crew);
    mem_free(b.norms);
    train_matrix_free(b.xt);
    train_matrix_free(b.x);
    return rc;
}
