/* A set of vectors by row, searched by nearness, that grows while it is searched. Small sets are compared
 * one by one (flat/). Beyond a size a graph (hnsw/) has most of them: vectors that are set go to the flat
 * part at once and are found at once; a thread of the index moves them into the graph, some at a time,
 * repairs the graph around removed ones, keeps ef calibrated, and writes snapshots of the graph.
 *
 * Threads: the owner's lock guards the index. Searches and looks at vectors need it shared, index_set,
 * index_remove and index_configure exclusive; the thread takes it by itself, exclusively for
 * microseconds at a time. index_build(), index_free() and index_open() are called without it. */
#ifndef U2I_INDEX_INDEX_H
#define U2I_INDEX_INDEX_H

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/topk.h"
#include "hnsw/hnsw.h"
#include "u2i.h"
#include <roaring/roaring.h>

struct index;

/* What can be changed while it is in use; see the settings index_* of the store. */
struct index_config {
    uint32_t exact_max;       /* vectors up to which all are compared; UINT32_MAX = always */
    uint32_t links;           /* M */
    uint32_t ef_construction; /* of links and ef_construction, changes hold for graphs made later */
    uint32_t ef_search;       /* 0 = calibrated to recall */
    double recall;            /* share of the exact answers that calibration keeps */
};
#define INDEX_CONFIG_INIT                                                                          \
    { 10000, 16, 200, 0, 0.95 }

struct index_options {
    uint32_t dim;
    enum hnsw_metric metric;
    double norm_max;        /* inner product: no vector is longer; 0 = not known */
    const float *questions; /* copied; what searches ask is like these; NULL: like the vectors */
    uint32_t questions_n;
    struct index_config config;
    pthread_rwlock_t *lock; /* the owner's */
    struct log log;
    const char *name; /* "content", "users": for messages */
    /* Snapshots; path NULL: none. The file belongs to a store: `stamp` says which state of it the index
     * has (called by the index's thread under the lock, shared), `saved` that a file with this stamp is
     * about to take the place of the last one (called without the lock; non-zero: don't). */
    const char *path;
    struct hnsw_stamp is; /* if `stamp` is NULL: all that it ever is */
    void *ctx;
    void (*stamp)(void *ctx, struct hnsw_stamp *out);
    int (*saved)(void *ctx, const struct hnsw_stamp *stamp);
    /* Vectors of the snapshot turned out to be damaged and these rows are lost to the index: set them
     * again, with index_set(), and return 0. Called by the index's thread without the lock. NULL or
     * non-zero: the index goes on without them and writes no more snapshots. */
    int (*lost)(void *ctx, const uint32_t *rows, uint32_t n);
};

/* An empty index. U2I_ENOMEM. */
int index_new(const struct index_options *opt, struct index **out, u2i_error_t *err);
void index_free(struct index *ix); /* stops the thread first; NULL is a no-op */

/* Takes the snapshot at opt->path as the graph of an empty index, before it is used; *stamp says of
 * which state. U2I_ENOTFOUND without a message where there is none or no path; other failures (damage, other options, a
 * newer version) mean that it can't be used: say why and go on without. */
int index_open(struct index *ix, struct hnsw_stamp *stamp, u2i_error_t *err);
/* From now on the thread may run and write snapshots (to be called when the owner is ready for its
 * callbacks); before, nothing moves. Before others use the index, or with the lock, exclusive. Again with
 * may_save false, after an index_build(): no more snapshots, others may write them. */
void index_start(struct index *ix, bool may_save);

/* Inserts or replaces (copied). U2I_ENOMEM. */
int index_set(struct index *ix, uint32_t row, const float *vector, u2i_error_t *err);
void index_remove(struct index *ix, uint32_t row); /* absent rows are ignored */
void index_configure(struct index *ix, const struct index_config *config);

bool index_contains(const struct index *ix, uint32_t row);
/* NULL if absent. Valid until the lock is let go. */
const float *index_vector(const struct index *ix, uint32_t row);
typedef void (*index_row_fn)(void *ctx, uint32_t row);
void index_each_row(const struct index *ix, index_row_fn fn, void *ctx);
uint32_t index_count(const struct index *ix);
size_t index_bytes(const struct index *ix); /* memory held, without mapped files */

struct index_query {
    const float *vector; /* dim floats */
    uint32_t k;
    const roaring_bitmap_t *allow, *deny; /* rows; NULL = all, none */
    topk_tie_fn tie;                      /* order of equal scores; NULL = by row */
    const void *tie_ctx;
    const struct deadline *deadline; /* may be NULL */
};

/* How an answer was found. */
struct index_explain {
    bool graph;               /* there is a graph */
    uint32_t compared;        /* vectors outside of it, all compared */
    struct hnsw_explain walk; /* if graph */
};

/* Inner products, best first, into out[k]; *n = min(k, rows that pass). `why` may be NULL.
 * U2I_ETIMEOUT, U2I_ENOMEM. */
int index_search(const struct index *ix, const struct index_query *q, struct hit *out, uint32_t *n,
                 struct index_explain *why, u2i_error_t *err);

/* Waits until the thread has moved all vectors that there are now into the graph (if there are enough for one), has
 * repaired and calibrated it, and has written a snapshot if anything changed since the last one.
 * progress(ctx, done, total) about ten times a second; non-zero stops waiting (U2I_ETIMEOUT), and the
 * thread goes on. Errors of the thread: U2I_ENOMEM, U2I_EIO. U2I_EINVAL before index_start(). Where
 * another process has the right to write snapshots, or the owner's saved() says no, none is written. */
int index_build(struct index *ix, u2i_progress_fn progress, void *ctx, u2i_error_t *err);

struct index_stats {
    uint32_t graph, flat, removed; /* vectors in each part; nodes that wait for a repair */
    uint32_t ef_10;                /* calibrated; 0 = not yet */
    size_t code_bytes, vector_bytes, mapped_bytes;
    uint64_t saved_sequence; /* of the snapshot on disk; 0 = none */
    bool busy;               /* the thread has work */
};
void index_stats(const struct index *ix, struct index_stats *out);

#endif
