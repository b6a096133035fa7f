/* Approximate nearest neighbours in a graph (Malkov & Yashunin, "Efficient and robust approximate
 * nearest neighbor search using Hierarchical Navigable Small World graphs", 2018). Finds the vectors
 * with the largest inner product with a query, among rows: numbers below 2^31 by which everybody else
 * knows the vectors.
 *
 * Threads. Searches run in parallel under the owner's shared lock. One thread at a time, "the
 * writer", changes the graph, in two steps: hnsw_plan() and hnsw_plan_repair() compute, beside any
 * number of searches and without a lock; hnsw_commit() publishes what they computed and needs the
 * owner's exclusive lock for some microseconds a call. hnsw_remove() needs the exclusive lock too,
 * may be called by any thread, and may come between a plan and its commit. What only reads the graph
 * as a whole (hnsw_save, hnsw_validate, hnsw_calibrate) counts as the writer's work.
 *
 * Equal calls on one thread give equal graphs; so do plans with any number of threads. */
#ifndef U2I_HNSW_HNSW_H
#define U2I_HNSW_HNSW_H

#include "base/clock.h"
#include "base/topk.h"
#include "u2i.h"
#include <roaring/roaring.h>
#include <stdatomic.h>

#define HNSW_LINKS_MAX           64
#define HNSW_EF_CONSTRUCTION_MAX 4096

struct hnsw;

enum hnsw_metric {                  /* on disk: values are permanent */
                   HNSW_COSINE = 0, /* vectors and queries have unit length */
                   HNSW_INNER_PRODUCT =
                       1 /* any finite vectors; see hnsw_code.c for the reduction to cosine */
};

struct hnsw_options {
    uint32_t dim; /* 1 .. U2I_DIM_MAX */
    enum hnsw_metric metric;
    uint32_t links;           /* M: of a node in a layer, twice as many in layer 0; 0 = 16 */
    uint32_t ef_construction; /* candidates looked at for a new node's links; 0 = 200 */
    uint64_t seed;            /* of the layers that nodes reach up to */
    double
        norm_max; /* inner product: no vector should be longer; 0 = a little over the first one */
    /* What is asked is like these (of dim floats, the caller's, who outlives the graph), so a calibration asks
     * with them. NULL: with vectors of the graph and means of near ones. */
    const float *questions;
    uint32_t questions_n;
};

/* U2I_ENOMEM. */
int hnsw_new(const struct hnsw_options *opt, struct hnsw **out, u2i_error_t *err);
void hnsw_free(struct hnsw *h); /* NULL is a no-op */

/* ---- Changing ------------------------------------------------------------------------------- */

struct hnsw_batch; /* planned changes; belongs to the writer */

struct hnsw_work {
    unsigned threads;          /* computing at once; 0 = 1 */
    const atomic_bool *cancel; /* may be NULL; once true, the plan ends with U2I_ETIMEOUT */
};

/* Looks at a sample of the vectors to come (in no particular order) and chooses how to code them: codes may be much shorter than the
 * vectors. Only for an empty graph; does nothing with fewer than some hundreds. U2I_ENOMEM. */
int hnsw_learn(struct hnsw *h, const float *vectors, size_t n, u2i_error_t *err);
struct hnsw_vectors {
    const uint32_t *rows;
    const float *vectors; /* [n][dim] */
    uint32_t n;
};

/* How many vectors one plan takes at most: nodes of one plan don't see each other, so it is a small
 * share of the graph, and 1 at the beginning. */
uint32_t hnsw_plan_max(const struct hnsw *h);
/* Computes the insertion of at most hnsw_plan_max() vectors (copied). A row that is in the graph already
 * must be removed before the commit. U2I_ENOMEM, U2I_ETIMEOUT (cancelled). */
int hnsw_plan(struct hnsw *h, const struct hnsw_vectors *in, const struct hnsw_work *how,
              struct hnsw_batch **out, u2i_error_t *err);
/* Computes the next part of a repair: re-links around removed nodes, of the next `nodes` nodes. A whole
 * pass over the graph ends with the slots of the removed nodes being free for new ones. *out is NULL
 * when there is nothing to repair. */
int hnsw_plan_repair(struct hnsw *h, uint32_t nodes, const struct hnsw_work *how,
                     struct hnsw_batch **out, u2i_error_t *err);
/* Publishes at most `steps` link lists of the batch, and the rows whose node they complete; true when
 * all is published. `publish` (may be NULL) is asked for each row when it would become visible; false:
 * it has become stale meanwhile and enters as removed. */
typedef bool (*hnsw_publish_fn)(void *ctx, uint32_t row);
bool hnsw_commit(struct hnsw_batch *b, uint32_t steps, hnsw_publish_fn publish, void *ctx);
/* A batch that is not (wholly) committed is undone as far as it was not published. */
void hnsw_batch_free(struct hnsw_batch *b);
void hnsw_remove(struct hnsw *h, uint32_t row); /* absent rows are ignored */

/* Plan and commit in one, for an owner without readers: inserts all n, in as many plans as needed. */
int hnsw_insert(struct hnsw *h, const uint32_t *rows, const float *vectors, size_t n,
                const struct hnsw_work *how, u2i_error_t *err);
int hnsw_repair(struct hnsw *h, const struct hnsw_work *how, u2i_error_t *err); /* whole passes */

/* ---- Reading -------------------------------------------------------------------------------- */

enum hnsw_strategy {
    HNSW_WALK = 0,          /* the plain walk */
    HNSW_WALK_FILTERED = 1, /* over passing nodes, across two links where one does not pass */
    HNSW_SCAN = 2           /* all passing rows were compared */
};
const char *hnsw_strategy_name(enum hnsw_strategy s); /* "walk", "filtered walk", "scan" */

struct hnsw_query {
    const float *vector; /* dim floats; unit length if the metric is cosine */
    uint32_t k;
    uint32_t ef;                   /* candidates kept; 0 = as calibrated for k */
    const roaring_bitmap_t *allow; /* only these rows; NULL = all */
    const roaring_bitmap_t *deny;  /* not these rows; NULL = none */
    topk_tie_fn tie;               /* order of equal scores; NULL = by row */
    const void *tie_ctx;
    const struct deadline *deadline; /* may be NULL */
};

struct hnsw_explain {
    enum hnsw_strategy strategy;
    uint32_t ef;        /* of the last round */
    uint32_t distances; /* computed on codes */
    uint32_t rounds;    /* > 1: started again with a larger ef since too few passed */
    uint64_t passing;   /* rows that pass allow and deny, as estimated before the search */
};

/* Exact inner products of the found rows, best first, into out[k]; *n gets how many: min(k, rows that
 * pass), never fewer. `why` may be NULL. U2I_ETIMEOUT, U2I_ENOMEM, U2I_ECORRUPT (a mapped vector
 * does not match its checksum: throw the graph away and build it anew). */
int hnsw_search(const struct hnsw *h, const struct hnsw_query *q, struct hit *out, uint32_t *n,
                struct hnsw_explain *why, u2i_error_t *err);

/* The vector of a row as it was given; NULL if absent or damaged. Valid while the row is in the graph
 * and the owner's lock is held. */
const float *hnsw_vector(const struct hnsw *h, uint32_t row);
bool hnsw_contains(const struct hnsw *h, uint32_t row);
typedef void (*hnsw_row_fn)(void *ctx, uint32_t row);
void hnsw_each_row(const struct hnsw *h, hnsw_row_fn fn, void *ctx); /* in order of row */

struct hnsw_stats {
    uint32_t count;   /* rows that can be found */
    uint32_t removed; /* nodes that wait for a repair */
    uint32_t ef_10;   /* calibrated for 10 results; 0 = not yet */
    double recall;    /* that it was calibrated for */
    uint32_t layers;
    size_t code_bytes;   /* memory of codes, links and marks */
    size_t vector_bytes; /* memory of float vectors that are not in a mapped file */
    size_t mapped_bytes; /* of the file behind it */
    bool damaged;        /* a mapped vector did not match its checksum */
};
void hnsw_stats(const struct hnsw *h, struct hnsw_stats *out);

/* Chooses ef for a share `recall` of the exact answers, from a sample of queries: vectors of the graph,
 * and weighted means of near ones. Writer's work, but the result is used by searches at once.
 * U2I_ENOMEM, U2I_ETIMEOUT (cancelled). */
int hnsw_calibrate(struct hnsw *h, double recall, const struct hnsw_work *how, u2i_error_t *err);

/* U2I_ECORRUPT with the first thing that is not sound: a link to a free or missing node, to itself or
 * twice the same; a row in two nodes; counts that don't agree, ... */
int hnsw_validate(const struct hnsw *h, u2i_error_t *err);
/* Rows that no path of links leads to from the entry, in layer 0; UINT32_MAX when
 * out of memory. Such rows can still be found where a search goes down to layer 0 beside them. */
uint32_t hnsw_unreachable(const struct hnsw *h);

/* ---- File ----------------------------------------------------------------------------------- */

/* What the owner wants to know when it opens the file again. */
struct hnsw_stamp {
    uint64_t sequence;
    uint8_t token[16];
};

/* Writes the graph, nodes in an order that keeps neighbours together, to `path`: a temporary file,
 * synced, then renamed. Nobody may plan or commit meanwhile; searches go on, and rows removed by others
 * may be in the file or not. U2I_EIO, U2I_ENOMEM, U2I_ETIMEOUT (cancelled). */
int hnsw_save(const struct hnsw *h, const char *path, const struct hnsw_stamp *stamp,
              const struct hnsw_work *how, u2i_error_t *err);
/* Maps a file and checks it: every checksum but those of the float vectors, which are checked one by
 * one when they are first looked at; then the structure as hnsw_validate(). `opt` must be what the file
 * was made with (ef_construction and seed aside). U2I_ENOTFOUND, U2I_ECORRUPT, U2I_EVERSION, U2I_EINVAL
 * (other options), U2I_EIO, U2I_ENOMEM. */
int hnsw_open(const char *path, const struct hnsw_options *opt, struct hnsw_stamp *stamp,
              struct hnsw **out, u2i_error_t *err);
/* Copies the next mapped block of codes and links into memory with huge pages; false when all are. Writer's
 * work, and under the owner's exclusive lock once others search. */
bool hnsw_settle(struct hnsw *h);

#endif
