/* What the files of index/ share.
 *
 *   index.c         the handle: setting, removing, looking at vectors, figures
 *   index_search.c  both parts searched, answers merged; the scan past damaged vectors
 *   index_thread.c  the thread: when it wakes, what it does in which order, index_build()
 *   index_move.c    vectors from the flat part into the graph and back; repairs, calibration
 *   index_save.c    snapshots
 *
 * A row is in at most one of the parts. Both have exact scores, so answers are merged by score.
 *
 * Three kinds of state:
 *   - what searches see (parts, config, counts): changed under the owner's lock, exclusive;
 *   - what only the thread changes and setters only look at (`work`): changed under the lock too, but
 *     shared is enough, as a setter has it exclusive;
 *   - the bell: atomics, by which anybody asks for the thread's attention.
 *
 * The thread works in rounds. At the beginning of a round it notes the owner's stamp and which rows are in
 * the flat part; at its end each of them is in the graph, unless it was set again or removed since. So
 * after a round the graph has all that the stamp says, perhaps more, and may be saved with that stamp:
 * what came later is replayed when it is opened, and replaying a change twice does no harm. */
#ifndef U2I_INDEX_INTERNAL_H
#define U2I_INDEX_INTERNAL_H

#include "index.h"

#include "base/alloc.h"
#include "base/error.h"
#include "flat/flat.h"
#include <assert.h>

/* Lists published at once under the exclusive lock: some microseconds. */
#define INDEX_COMMIT_LISTS 64u

struct index_bell {
    struct gate work;            /* wakes the thread */
    struct gate done;            /* wakes those who wait in index_build() */
    atomic_bool started;         /* the thread may run */
    atomic_bool asleep;          /* it does not look at the index before the gate opens */
    atomic_bool cancel;          /* it shall end */
    atomic_bool damaged;         /* a vector of the graph's file did not match its checksum */
    atomic_uint asked, served;   /* calls of index_build() */
    atomic_uint_least64_t moved; /* vectors that went into the graph */
    pthread_mutex_t lock;        /* of the answer to the last index_build() */
    int rc;
    u2i_error_t err;
};

/* The thread's own state. */
struct index_work {
    pthread_t thread;
    bool running; /* there is a thread */
    bool may_save;
    bool incomplete;               /* the graph lacks rows that were damaged: never save it */
    bool saved;                    /* there is a snapshot, opened or written, of: */
    uint64_t saved_at;             /* `changes` that it has */
    bool repairing;                /* in the middle of a pass */
    bool settling;                 /* the graph is (partly) in a mapped file, see hnsw_settle() */
    uint64_t tried;                /* `changes` when a snapshot was tried last */
    uint64_t resume;               /* out of memory: `changes` at which to go on; 0 = go on */
    uint32_t calibrated;           /* size of the graph at that time; 0 = never */
    double recall;                 /* it was calibrated for */
    struct hnsw_options made_with; /* the graph */
    int lock_fd;                   /* holds the right to write snapshots; -1 = we don't */
};

struct index {
    struct index_options opt; /* its name and path are these: */
    char *name, *path;
    float *questions;
    struct flat *flat;
    roaring_bitmap_t *pending; /* rows of the flat part */
    struct hnsw *graph;        /* NULL: none */
    uint32_t graph_n;          /* rows in the graph */
    struct hnsw_stats figures; /* of the graph when the thread last looked */
    uint32_t removed;          /* nodes that wait for a repair: figures.removed and later ones */
    roaring_bitmap_t *moving;  /* rows of the batch under way, not touched since they were copied */
    roaring_bitmap_t *gone;    /* rows removed from the graph while it is saved; NULL: it is not */
    uint64_t changes;          /* calls of index_set() and index_remove() */
    uint64_t saved_sequence;
    struct index_work work;
    struct index_bell *bell; /* apart, so that const searches may ring it */
};

/* A round: what was in the flat part when it began. */
struct index_round {
    struct hnsw_stamp stamp;
    uint64_t changes;
    uint32_t *rows;
    uint32_t n;
    float *vectors; /* of one batch */
    uint32_t batch; /* rows at most */
    struct hnsw_work how;
    bool cut; /* ended early, as the graph is not to be any more: it says nothing about the rows */
};

static inline uint32_t index_flat_n(const struct index *ix) {
    return flat_count(ix->flat);
}
static inline bool index_cancelled(const struct index *ix) {
    return atomic_load(&ix->bell->cancel);
}
static inline void index_read_lock(const struct index *ix) {
    (void)pthread_rwlock_rdlock(ix->opt.lock); /* can only fail when misused */
}
static inline void index_write_lock(const struct index *ix) {
    (void)pthread_rwlock_wrlock(ix->opt.lock); /* can only fail when misused */
}
static inline void index_unlock(const struct index *ix) {
    (void)pthread_rwlock_unlock(ix->opt.lock); /* can only fail when misused */
}

/* ---- index.c; under the lock ---------------------------------------------------------------- */

/* Whether there should be a graph: made above exact_max vectors, kept down to half of it. */
bool index_wants_graph(const struct index *ix);
struct hnsw_options index_graph_options(const struct index *ix);
/* Takes a row out of the graph, if it is there. Exclusive. */
void index_take_out(struct index *ix, uint32_t row);
/* Notes the graph's figures; takes the exclusive lock by itself. The thread's, as hnsw_stats() reads
 * what plans change. */
void index_note_figures(struct index *ix);

/* ---- index_thread.c ------------------------------------------------------------------------- */

/* Wakes the thread, or starts it, if there is work. Under the lock, exclusive. */
void index_rouse(struct index *ix);
void index_ring(const struct index *ix); /* wakes it in any case; without any lock */
void index_stop(struct index *ix);       /* ends the thread */

/* ---- index_move.c; the thread's, without the lock ------------------------------------------- */

/* Makes a graph, or puts its vectors back into the flat part, as index_wants_graph() says, or because
 * it is damaged. */
int index_shape(struct index *ix, u2i_error_t *err);
/* A whole round. r->rows and r->vectors are freed already when it returns. */
int index_move(struct index *ix, struct index_round *r, u2i_error_t *err);
/* A slice of a repair if one is due; `whole`: a pass if anything at all waits for it. */
int index_repair(struct index *ix, bool whole, u2i_error_t *err);
int index_calibrate(struct index *ix, u2i_error_t *err);
bool index_repair_due(const struct index *ix);    /* under the lock */
bool index_calibrate_due(const struct index *ix); /* under the lock */

/* ---- index_save.c; the thread's ------------------------------------------------------------- */

bool index_save_due(const struct index *ix,
                    bool any); /* under the lock; any: if anything changed */
/* Writes a snapshot if one is due and takes the written file as the graph. U2I_EIO, U2I_ENOMEM,
 * U2I_ECORRUPT (the graph is damaged), U2I_ETIMEOUT (cancelled). */
int index_save(struct index *ix, bool any, u2i_error_t *err);
void index_discard_snapshot(struct index *ix); /* deletes the file, if it is ours */
void index_settle(struct index *ix);           /* one block into memory */
void index_release(struct index *ix);          /* others may write snapshots */

#endif
