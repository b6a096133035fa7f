/* Snapshots. A file is written from a graph that nobody plans changes of (the thread is here), while
 * vectors are set (they stay in the flat part) and removed. What is removed meanwhile is recorded, and
 * taken out of the new graph, which is the written file, opened again: its nodes lie in a better
 * order and its vectors need no memory. Only then it takes the place of the old one.
 *
 * Of several processes on one store, one writes: who holds a lock (flock) on the file beside it. The
 * lock is tried for when a snapshot is due, and held to the end. */
#include "index_internal.h"

#include "base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define INDEX_SAVE_MIN   1000u /* changes that are not worth a snapshot */
#define INDEX_SAVE_SHARE 20u   /* nor are fewer than one of so many vectors */

bool index_save_due(const struct index *ix, bool any) {
    const struct index_work *const w = &ix->work;
    if (!w->may_save || ix->opt.path == NULL || w->incomplete || ix->graph_n == 0 || w->repairing) {
        return false;
    }
    if (any) {
        return !w->saved || ix->changes != w->saved_at;
    }
    const uint64_t few = ix->graph_n / INDEX_SAVE_SHARE;
    return w->tried == 0 && !w->saved
               ? index_flat_n(ix) == 0 || index_flat_n(ix) <= few
               : ix->changes - w->tried > (few > INDEX_SAVE_MIN ? few : INDEX_SAVE_MIN);
}

/* ---- Who may write -------------------------------------------------------------------------- */

/* U2I_EBUSY: another process does. */
static int index_hold(struct index *ix, u2i_error_t *err) {
    struct buf name = {0};
    if (ix->work.lock_fd >= 0) {
        return U2I_OK;
    }
    buf_printf(&name, "%s.lock", ix->opt.path);
    if (name.failed) {
        buf_free(&name);
        return error_oom(err);
    }
    int rc = U2I_OK;
    const int fd = open(name.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = error_set(err, U2I_EIO, "%s cannot be opened: %s", name.data, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK
                 ? error_set(err, U2I_EBUSY, "another process writes %s", ix->opt.path)
                 : error_set(err, U2I_EIO, "%s cannot be locked: %s", name.data, strerror(errno));
        (void)close(fd); /* nothing was written */
    } else {
        ix->work.lock_fd = fd;
    }
    buf_free(&name);
    return rc;
}

void index_release(struct index *ix) {
    if (ix->work.lock_fd >= 0) {
        (void)close(ix->work.lock_fd); /* nothing was written */
        ix->work.lock_fd = -1;
    }
}

void index_discard_snapshot(struct index *ix) {
    if (!ix->work.may_save || ix->opt.path == NULL || index_hold(ix, NULL) != U2I_OK) {
        return;
    }
    if (unlink(ix->opt.path) != 0 && errno != ENOENT) {
        log_line(&ix->opt.log, U2I_LOG_WARN, "index %s: %s cannot be deleted: %s", ix->opt.name,
                 ix->opt.path, strerror(errno));
    }
    index_write_lock(ix);
    ix->saved_sequence = 0;
    ix->work.saved = false;
    ix->work.tried = 0;
    index_unlock(ix);
}

/* ---- The written file as the graph ---------------------------------------------------------- */

void index_settle(struct index *ix) {
    index_write_lock(ix);
    ix->work.settling = ix->graph != NULL && hnsw_settle(ix->graph);
    index_unlock(ix);
    if (!ix->work.settling) {
        index_note_figures(ix);
    }
}

static int index_swap(struct index *ix, struct hnsw *graph) {
    roaring_uint32_iterator_t it;
    index_write_lock(ix);
    struct hnsw *const old = ix->graph;
    roaring_init_iterator(ix->gone, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        hnsw_remove(graph, it.current_value);
    }
    struct hnsw_stats figures;
    hnsw_stats(graph, &figures);
    const bool same = figures.count == ix->graph_n;
    if (same) {
        ix->graph = graph;
        ix->figures = figures;
        ix->removed = ix->figures.removed;
        ix->work.settling = false;
        ix->work.calibrated = ix->figures.ef_10 != 0 ? ix->work.calibrated : 0;
    }
    index_unlock(ix);
    hnsw_free(same ? old : graph);
    return same ? U2I_OK : U2I_EINTERNAL;
}

/* Its blocks are brought into memory before anybody sees it, so no search waits for that. */
static int index_reopen(struct index *ix, u2i_error_t *err) {
    const struct hnsw_options opt = ix->work.made_with;
    struct hnsw_stamp stamp;
    struct hnsw *graph = NULL;
    U2I_TRY(hnsw_open(ix->opt.path, &opt, &stamp, &graph, err));
    while (!index_cancelled(ix) && hnsw_settle(graph)) {
    }
    if (index_cancelled(ix)) {
        hnsw_free(graph);
        return error_set(err, U2I_ETIMEOUT, "the index is being closed");
    }
    if (index_swap(ix, graph) != U2I_OK) {
        return error_set(err, U2I_EINTERNAL, "it has other rows than the graph it was made of");
    }
    return U2I_OK;
}

/* ---- Writing -------------------------------------------------------------------------------- */

static int index_record_begin(struct index *ix, u2i_error_t *err) {
    index_read_lock(ix); /* setters have it exclusive */
    ix->gone = roaring_bitmap_create();
    index_unlock(ix);
    return ix->gone == NULL ? error_oom(err) : U2I_OK;
}

static void index_record_end(struct index *ix) {
    index_read_lock(ix);
    roaring_bitmap_t *const gone = ix->gone;
    ix->gone = NULL;
    index_unlock(ix);
    roaring_bitmap_free(gone);
}

static int index_write(struct index *ix, const struct index_round *r, u2i_error_t *err) {
    const struct hnsw_work how = {.threads = 1, .cancel = &ix->bell->cancel};
    if (ix->opt.saved != NULL && ix->opt.saved(ix->opt.ctx, &r->stamp) != 0) {
        log_line(&ix->opt.log, U2I_LOG_INFO, "index %s: no snapshot now", ix->opt.name);
        return U2I_OK;
    }
    U2I_TRY(hnsw_save(ix->graph, ix->opt.path, &r->stamp, &how, err));
    index_write_lock(ix);
    ix->saved_sequence = r->stamp.sequence;
    ix->work.saved = true;
    ix->work.saved_at = r->changes;
    index_unlock(ix);
    u2i_error_t why;
    error_clear(&why);
    const int rc = index_reopen(ix, &why);
    if (rc != U2I_OK && rc != U2I_ETIMEOUT) { /* the old graph goes on */
        return error_set(err, U2I_EIO, "the snapshot written to %s cannot be used: %s",
                         ix->opt.path, why.msg);
    }
    return rc;
}

static void index_note_try(struct index *ix, uint64_t changes) {
    index_read_lock(ix); /* setters have it exclusive */
    ix->work.tried = changes;
    index_unlock(ix);
}

int index_save(struct index *ix, bool any, u2i_error_t *err) {
    struct index_round r;
    index_read_lock(ix);
    const bool due = index_save_due(ix, any);
    const uint64_t changes = ix->changes;
    index_unlock(ix);
    if (!due) {
        return U2I_OK;
    }
    int rc = index_hold(ix, err);
    if (rc != U2I_OK) {
        index_note_try(ix, changes);
        return rc == U2I_EBUSY ? U2I_OK : rc;
    }
    U2I_TRY(index_move(ix, &r, err)); /* for a stamp whose vectors are all in the graph */
    if (r.cut) {
        return U2I_OK;
    }
    U2I_TRY(index_record_begin(ix, err));
    rc = index_write(ix, &r, err);
    index_record_end(ix);
    index_note_try(ix, r.changes);
    return rc;
}
