/* Vectors on their way into the graph and back, and the care of the graph.
 *
 * Into it: copied in batches under the shared lock, planned without a lock, published in slices under
 * the exclusive lock. A row leaves the flat part in the moment it becomes visible in the graph. A row
 * that was set again or removed since it was copied has left `moving`: it is not published, and if it
 * still is in the flat part the next round takes it.
 *
 * The first vectors go in random order: in the order of a catalogue, where what is alike comes together,
 * the graph would be worse to walk.
 *
 * A damaged graph (a vector of the mapped file does not match its checksum) is given up: its sound
 * vectors go back to the flat part, the damaged ones are lost and reported, and then a new graph
 * is made. Codes and links have a checksum of their own and were sound when the file was opened, but
 * what stands in a file with a damaged block is not worth repairing. */
#include "index_internal.h"

#include "base/rng.h"

#define INDEX_BATCH        2048u             /* rows at most */
#define INDEX_BATCH_BYTES  ((size_t)4 << 20) /* of vectors, copied under the lock */
#define INDEX_BATCH_LEAST  32u               /* rows, however long the vectors are */
#define INDEX_SHUFFLE_FROM 1024u             /* rows of a round */
#define INDEX_LEARN        4096u             /* vectors shown to a new graph */
#define INDEX_BACK         64u               /* rows that go back at once, under the lock */
#define INDEX_REPAIR_NODES 2048u             /* of a slice */
#define INDEX_REPAIR_MIN   64u               /* removed nodes that are not worth a repair */
#define INDEX_REPAIR_SHARE 50u               /* nor are fewer than one of so many */

/* ---- Rounds --------------------------------------------------------------------------------- */

/* How many threads compute: all for much work at once, else one, since searches want to run too. */
static struct hnsw_work index_how(const struct index *ix, bool much) {
    return (struct hnsw_work){.threads = much ? thread_cores() : 1, .cancel = &ix->bell->cancel};
}

static bool index_is_much(const struct index *ix, uint32_t n) {
    return n >= INDEX_SHUFFLE_FROM && n > ix->graph_n / 4;
}

static void index_shuffle(uint32_t *rows, uint32_t n) {
    struct rng rng;
    rng_seed(&rng, n);
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t j = rng_below(&rng, i);
        const uint32_t row = rows[j];
        rows[j] = rows[i - 1];
        rows[i - 1] = row;
    }
}

static uint32_t index_batch_rows(const struct index *ix, uint32_t n) {
    const size_t fit = INDEX_BATCH_BYTES / (ix->opt.dim * sizeof(float));
    uint32_t most = fit < INDEX_BATCH ? (uint32_t)fit : INDEX_BATCH;
    most = most > INDEX_BATCH_LEAST ? most : INDEX_BATCH_LEAST;
    return n < most ? n : most;
}

static int index_round_begin(struct index *ix, struct index_round *r) {
    *r = (struct index_round){.stamp = ix->opt.is};
    index_read_lock(ix);
    r->changes = ix->changes;
    r->n = index_flat_n(ix);
    r->how = index_how(ix, index_is_much(ix, r->n));
    if (ix->opt.stamp != NULL) {
        ix->opt.stamp(ix->opt.ctx, &r->stamp);
    }
    if (r->n > 0) {
        r->rows = alloc_array(r->n, sizeof *r->rows);
    }
    if (r->rows != NULL) {
        assert(roaring_bitmap_get_cardinality(ix->pending) == r->n);
        roaring_bitmap_to_uint32_array(ix->pending, r->rows);
    }
    index_unlock(ix);
    if (r->n == 0) {
        return U2I_OK;
    }
    r->batch = index_batch_rows(ix, r->n);
    r->vectors = alloc_array((size_t)r->batch * ix->opt.dim, sizeof *r->vectors);
    if (r->rows == NULL || r->vectors == NULL) {
        return U2I_ENOMEM;
    }
    if (r->n >= INDEX_SHUFFLE_FROM) {
        index_shuffle(r->rows, r->n);
    }
    return U2I_OK;
}

/* Copies those of rows[0..n) that are still in the flat part, and moves them to the front. */
static uint32_t index_copy_batch(struct index *ix, uint32_t *rows, uint32_t n, float *vectors) {
    uint32_t copied = 0;
    index_read_lock(ix);
    for (uint32_t i = 0; i < n; i++) {
        const float *const vector = flat_vector(ix->flat, rows[i]);
        if (vector != NULL) {
            memcpy(vectors + (size_t)copied * ix->opt.dim, vector, ix->opt.dim * sizeof *vector);
            roaring_bitmap_add(ix->moving, rows[i]);
            rows[copied++] = rows[i];
        }
    }
    index_unlock(ix);
    return copied;
}

static bool index_publish(void *ctx, uint32_t row) {
    struct index *const ix = ctx;
    if (!roaring_bitmap_remove_checked(ix->moving, row)) {
        ix->removed++;
        return false;
    }
    flat_remove(ix->flat, row);
    roaring_bitmap_remove(ix->pending, row);
    ix->graph_n++;
    atomic_fetch_add(&ix->bell->moved, 1);
    return true;
}

/* A batch is always published to its end: it is a matter of milliseconds. */
static void index_commit(struct index *ix, struct hnsw_batch *b) {
    for (bool all = false; !all;) {
        index_write_lock(ix);
        all = hnsw_commit(b, INDEX_COMMIT_LISTS, index_publish, ix);
        index_unlock(ix);
    }
    hnsw_batch_free(b);
}

static int index_move_batch(struct index *ix, const struct index_round *r, uint32_t *rows,
                            uint32_t n, u2i_error_t *err) {
    struct hnsw_batch *b = NULL;
    int rc = U2I_OK;
    n = index_copy_batch(ix, rows, n, r->vectors);
    if (n > 0) {
        const struct hnsw_vectors in = {rows, r->vectors, n};
        rc = hnsw_plan(ix->graph, &in, &r->how, &b, err);
    }
    if (b != NULL) {
        index_commit(ix, b);
    }
    index_read_lock(ix); /* setters have it exclusive */
    roaring_bitmap_clear(ix->moving);
    index_unlock(ix);
    return rc;
}

static bool index_is_done_for(const struct index *ix) {
    index_read_lock(ix);
    const bool wanted = index_wants_graph(ix);
    index_unlock(ix);
    return !wanted || atomic_load(&ix->bell->damaged);
}

static int index_move_all(struct index *ix, struct index_round *r, u2i_error_t *err) {
    for (uint32_t at = 0, n = 0; at < r->n && !r->cut; at += n) {
        const uint32_t most = hnsw_plan_max(ix->graph);
        assert(most > 0);
        n = r->n - at < r->batch ? r->n - at : r->batch;
        n = n < most ? n : most;
        U2I_TRY(index_move_batch(ix, r, r->rows + at, n, err));
        if (index_cancelled(ix)) {
            return error_set(err, U2I_ETIMEOUT, "the index is being closed");
        }
        r->cut = index_is_done_for(ix);
    }
    return U2I_OK;
}

int index_move(struct index *ix, struct index_round *r, u2i_error_t *err) {
    int rc = index_round_begin(ix, r);
    if (rc == U2I_OK) {
        rc = index_move_all(ix, r, err);
    } else {
        (void)error_oom(err); /* there is no other reason */
    }
    mem_free(r->rows);
    mem_free(r->vectors);
    r->rows = NULL;
    r->vectors = NULL;
    if (r->n > 0) {
        index_note_figures(ix);
    }
    return rc;
}

/* ---- Back ----------------------------------------------------------------------------------- */

struct index_rows {
    uint32_t *rows;
    uint32_t n;
};

static void index_collect_row(void *ctx, uint32_t row) {
    struct index_rows *const r = ctx;
    r->rows[r->n++] = row;
}

static int index_collect(const struct index *ix, struct index_rows *r) {
    index_read_lock(ix);
    *r = (struct index_rows){.rows = alloc_array((size_t)ix->graph_n + 1, sizeof *r->rows)};
    if (r->rows != NULL) {
        hnsw_each_row(ix->graph, index_collect_row, r);
    }
    index_unlock(ix);
    return r->rows == NULL ? U2I_ENOMEM : U2I_OK;
}

/* One row, under the lock. Damaged ones are left out and added to *lost, which may share its memory
 * with the rows that are being read: it never has more. */
static int index_put_back(struct index *ix, uint32_t row, struct index_rows *lost,
                          u2i_error_t *err) {
    if (!hnsw_contains(ix->graph, row)) {
        return U2I_OK;
    }
    const float *const vector = hnsw_vector(ix->graph, row);
    if (vector == NULL) {
        lost->rows[lost->n++] = row;
    } else {
        U2I_TRY(flat_set(ix->flat, row, vector, err));
        roaring_bitmap_add(ix->pending, row);
    }
    index_take_out(ix, row);
    return U2I_OK;
}

/* All rows back; *lost gets the damaged ones. */
static int index_empty_graph(struct index *ix, const struct index_rows *from,
                             struct index_rows *lost, u2i_error_t *err) {
    int rc = U2I_OK;
    for (uint32_t at = 0; at < from->n && rc == U2I_OK && !index_cancelled(ix);) {
        index_write_lock(ix);
        for (uint32_t i = 0; i < INDEX_BACK && at < from->n && rc == U2I_OK; i++, at++) {
            rc = index_put_back(ix, from->rows[at], lost, err);
        }
        index_unlock(ix);
    }
    return index_cancelled(ix) ? error_set(err, U2I_ETIMEOUT, "the index is being closed") : rc;
}

static void index_drop_graph(struct index *ix) {
    index_write_lock(ix);
    struct hnsw *const old = ix->graph;
    assert(ix->graph_n == 0);
    ix->graph = NULL;
    ix->figures = (struct hnsw_stats){0};
    ix->removed = 0;
    ix->work.calibrated = 0;
    ix->work.repairing = false;
    ix->work.settling = false;
    ix->changes++; /* so that a snapshot of the next graph is due */
    index_unlock(ix);
    hnsw_free(old);
}

static void index_report_lost(struct index *ix, const struct index_rows *lost) {
    if (lost->n == 0 || index_cancelled(ix)) {
        return;
    }
    log_line(&ix->opt.log, U2I_LOG_ERROR,
             "index %s: %u vectors in %s are damaged and left out (the first one: row %u)",
             ix->opt.name, lost->n, ix->opt.path == NULL ? "memory" : ix->opt.path, lost->rows[0]);
    if (ix->opt.lost == NULL || ix->opt.lost(ix->opt.ctx, lost->rows, lost->n) != 0) {
        index_read_lock(ix); /* setters have it exclusive */
        ix->work.incomplete = true;
        index_unlock(ix);
        index_discard_snapshot(ix);
    }
}

/* Without the graph, with all its vectors. When it fails the graph keeps those that are left. */
static int index_dissolve(struct index *ix, bool damaged, u2i_error_t *err) {
    struct index_rows from;
    struct index_rows lost = {0};
    if (index_collect(ix, &from) != U2I_OK) {
        return error_oom(err);
    }
    lost.rows = from.rows;
    if (damaged) {
        log_line(&ix->opt.log, U2I_LOG_WARN, "index %s: the graph is damaged and made anew",
                 ix->opt.name);
    }
    const int rc = index_empty_graph(ix, &from, &lost, err);
    if (rc == U2I_OK) {
        index_drop_graph(ix);
        atomic_store(&ix->bell->damaged, false);
    }
    index_report_lost(ix, &lost);
    mem_free(from.rows);
    return rc;
}

/* Shows the graph a sample of the vectors it will get. */
static int index_learn(struct index *ix, struct hnsw *graph, u2i_error_t *err) {
    float *const sample = alloc_array((size_t)INDEX_LEARN * ix->opt.dim, sizeof *sample);
    if (sample == NULL) {
        return error_oom(err);
    }
    size_t n = 0;
    index_read_lock(ix);
    const uint64_t all = roaring_bitmap_get_cardinality(ix->pending);
    const uint64_t take = all < INDEX_LEARN ? all : INDEX_LEARN;
    for (uint64_t i = 0; i < take; i++) {
        uint32_t row;
        const float *const vector =
            roaring_bitmap_select(ix->pending, (uint32_t)(i * all / take), &row)
                ? flat_vector(ix->flat, row)
                : NULL;
        if (vector != NULL) {
            memcpy(sample + n++ * ix->opt.dim, vector, ix->opt.dim * sizeof *vector);
        }
    }
    index_unlock(ix);
    const int rc = hnsw_learn(graph, sample, n, err);
    mem_free(sample);
    return rc;
}

int index_shape(struct index *ix, u2i_error_t *err) {
    const bool damaged = atomic_load(&ix->bell->damaged);
    index_read_lock(ix);
    bool wanted = index_wants_graph(ix);
    const struct hnsw_options opt = index_graph_options(ix);
    index_unlock(ix);
    if (ix->graph != NULL && (damaged || !wanted)) {
        U2I_TRY(index_dissolve(ix, damaged, err));
        if (!wanted) {
            index_discard_snapshot(ix);
        }
    }
    if (ix->graph == NULL && wanted) {
        struct hnsw *graph = NULL;
        U2I_TRY(hnsw_new(&opt, &graph, err));
        const int rc = index_learn(ix, graph, err);
        if (rc != U2I_OK) {
            hnsw_free(graph);
            return rc;
        }
        index_write_lock(ix);
        ix->graph = graph;
        ix->work.made_with = opt;
        index_unlock(ix);
    }
    return U2I_OK;
}

/* ---- Care ----------------------------------------------------------------------------------- */

bool index_repair_due(const struct index *ix) {
    return ix->work.repairing ||
           (ix->removed > INDEX_REPAIR_MIN && ix->removed > ix->graph_n / INDEX_REPAIR_SHARE);
}

/* The pass is at its end when removed nodes become free. */
static int index_repair_slice(struct index *ix, bool *end, u2i_error_t *err) {
    const struct hnsw_work how = index_how(ix, false);
    struct hnsw_batch *b = NULL;
    *end = true;
    U2I_TRY(hnsw_plan_repair(ix->graph, INDEX_REPAIR_NODES, &how, &b, err));
    if (b == NULL) {
        return U2I_OK;
    }
    index_commit(ix, b);
    struct hnsw_stats after;
    index_read_lock(ix); /* nobody removes now */
    hnsw_stats(ix->graph, &after);
    *end = after.removed < ix->removed;
    index_unlock(ix);
    return U2I_OK;
}

int index_repair(struct index *ix, bool whole, u2i_error_t *err) {
    index_read_lock(ix);
    const bool due = index_repair_due(ix) || (whole && ix->removed > 0);
    index_unlock(ix);
    if (!due) {
        return U2I_OK;
    }
    int rc = U2I_OK;
    bool end = false;
    do {
        rc = index_repair_slice(ix, &end, err);
    } while (rc == U2I_OK && whole && !end && !index_cancelled(ix));
    index_note_figures(ix);
    index_read_lock(ix); /* setters have it exclusive */
    ix->work.repairing = rc == U2I_OK && !end;
    index_unlock(ix);
    return rc;
}

/* After the first vectors are in, and then each time that the graph has grown or shrunk by half. */
bool index_calibrate_due(const struct index *ix) {
    const struct index_work *const w = &ix->work;
    const uint64_t n = ix->graph_n;
    const uint64_t flat = index_flat_n(ix);
    if (ix->opt.config.ef_search != 0 || n == 0 || (flat > 1000 && flat > n / 10)) {
        return false;
    }
    return w->calibrated == 0 || w->recall != ix->opt.config.recall ||
           2 * n >= 3 * (uint64_t)w->calibrated || 2 * n <= w->calibrated;
}

int index_calibrate(struct index *ix, u2i_error_t *err) {
    index_read_lock(ix);
    const bool due = index_calibrate_due(ix);
    const double recall = ix->opt.config.recall;
    const struct hnsw_work how = index_how(ix, ix->work.calibrated == 0);
    const uint32_t n = ix->graph_n;
    index_unlock(ix);
    if (!due) {
        return U2I_OK;
    }
    U2I_TRY(hnsw_calibrate(ix->graph, recall, &how, err));
    index_note_figures(ix);
    index_read_lock(ix); /* setters have it exclusive */
    ix->work.calibrated = n;
    ix->work.recall = recall;
    index_unlock(ix);
    return U2I_OK;
}
