/* What the files of hnsw/ share: where a node's parts lie, and the calls between the files.
 *
 *   hnsw.c           the handle, its slots and chunks, rows and nodes
 *   hnsw_code.c      vector -> code              hnsw_turn.c    the directions that codes keep
 *   hnsw_pool.h      the best nodes of a walk, in order
 *   hnsw_walk.c      the walk from node to node: everything else stands on it
 *   hnsw_search.c    a question: strategy, walk, exact scores       hnsw_filter.c  who may pass
 *   hnsw_select.c    which of the candidates become links
 *   hnsw_insert.c    plans of insertions, commit                    hnsw_repair.c  removed nodes
 *   hnsw_calibrate.c how large ef has to be
 *   hnsw_order.c     a numbering that keeps neighbours together
 *   hnsw_save.c, hnsw_open.c, hnsw_file.h   the file                hnsw_validate.c  is it sound?
 *
 * A node is a number (its slot). Its parts lie in a chunk of HNSW_CHUNK_NODES nodes, part by part, so
 * that the walk reads whole cache lines of what it needs: codes; links of layer 0 (a fixed number,
 * the rest filled with HNSW_NONE); rows; where its upper layers are. A chunk never moves
 * while somebody may read it, so growing stops nobody. Chunks are memory with huge pages, or parts of
 * a file, mapped privately: a change copies the page and never reaches the file.
 *
 * A slot is unused, planned (filled, not linked, invisible), live, or removed (linked, walked across,
 * never an answer) until a repair has taken all links to it away. A slot keeps the layers it was
 * given at first, so re-using slots leaves the shape of the layers alone. */
#ifndef U2I_HNSW_INTERNAL_H
#define U2I_HNSW_INTERNAL_H

#include "hnsw.h"

#include "base/alloc.h"
#include "vec/vec.h"
#include <assert.h>
#include <pthread.h>

#define HNSW_NONE        UINT32_MAX
#define HNSW_CHUNK_SHIFT 14u
#define HNSW_CHUNK_NODES (1u << HNSW_CHUNK_SHIFT)
#define HNSW_NODES_MAX   (1u << 31) /* the pool keeps a mark in a number's highest bit */
#define HNSW_CHUNKS_MAX  (HNSW_NODES_MAX >> HNSW_CHUNK_SHIFT)
#define HNSW_LAYERS_MAX  16u
#define HNSW_CODE_ALIGN  64u

typedef _Atomic uint64_t hnsw_bits; /* 64 marks; relaxed: only ever a mark on its own counts */

/* Exactly a cache line, as the walk looks chunks up all the time. */
struct hnsw_chunk {
    int8_t *codes;      /* [node][code_bytes], 64-byte aligned; see hnsw_code.c */
    uint32_t *links;    /* [node][2 M], HNSW_NONE at the end */
    uint32_t *rows;     /* HNSW_NONE unless live */
    uint32_t *uppers;   /* where its block of upper layers is; HNSW_NONE = layer 0 only */
    float *vectors;     /* [node][dim], as given */
    hnsw_bits *live;    /* a mark for each node */
    hnsw_bits *checked; /* vectors that matched their checksum; NULL: nothing to check */
};

/* What a chunk's parts are freed with. */
struct hnsw_hold {
    void *graph;          /* pages of all parts but vectors; NULL: in the mapped file */
    void *vectors;        /* pages of vectors; NULL: in the mapped file */
    hnsw_bits *checked;   /* on the heap */
    const uint32_t *crcs; /* of vectors, in the mapped file */
};

#define HNSW_UPPER_SHIFT 16u /* words of a segment of upper layers */
#define HNSW_UPPER_WORDS (1u << HNSW_UPPER_SHIFT)
#define HNSW_UPPERS_MAX  (1u << 16)
#define HNSW_ROWS_SHIFT  16u /* rows of a part of node_of */
#define HNSW_ROWS_PARTS  (HNSW_NODES_MAX >> HNSW_ROWS_SHIFT)

struct hnsw_ef { /* what a calibration found */
    double recall;
    uint32_t k[2], ef[2]; /* ef that reaches it for so many results; 0 = not calibrated */
    uint32_t count;       /* of the graph at that time */
};

struct hnsw_head { /* at the beginning of a row of codes; see hnsw_code.c */
    float scale;   /* byte * scale ~ coordinate of the vector, the longest being 1 long */
    float reach;   /* scale * length of what is left out / length of what is kept */
    float height;  /* inner product: the coordinate that makes the length 1; else 0 */
};

struct hnsw_turn { /* the directions of a code's coordinates; rows NULL: the vectors' own */
    int8_t *rows;  /* [code_dims][dim] */
    float *scales; /* of rows */
};

struct hnsw_map { /* the file behind mapped chunks */
    void *p;
    size_t bytes;
};
void hnsw_unmap(struct hnsw_map *m); /* hnsw_open.c */

struct hnsw {
    uint32_t dim;           /* of the vectors */
    const float *questions; /* to calibrate with; NULL: none */
    uint32_t questions_n;
    uint32_t code_dims;  /* coordinates that a code has: dim, or fewer if they are turned */
    uint32_t code_bytes; /* of a row: head, coordinates, up to a multiple of HNSW_CODE_ALIGN */
    struct hnsw_turn turn;
    uint32_t links_max; /* M */
    uint32_t ef_construction;
    enum hnsw_metric metric;
    uint64_t seed;
    double norm_max; /* inner product: the length that codes are scaled by; 0 = no vector yet */

    struct hnsw_chunk *chunks; /* [HNSW_CHUNKS_MAX], pages touched when used */
    struct hnsw_hold *holds;
    _Atomic uint32_t slots; /* ever used: 0 .. slots - 1; grows beside searches */
    uint32_t settled;       /* chunks that hnsw_settle() has been through */
    uint32_t *free_slots;   /* unused ones below `slots` */
    size_t free_n, free_cap;

    uint32_t **uppers; /* [HNSW_UPPERS_MAX] segments: blocks of (layers, layers * M links) */
    _Atomic uint64_t upper_end; /* words used */
    _Atomic(_Atomic uint32_t *)
        *node_of; /* [HNSW_ROWS_PARTS]: row -> node; parts made when needed */

    uint32_t entry;  /* a node of the highest layer; HNSW_NONE = empty */
    uint32_t layers; /* above layer 0 */
    atomic_uint count, removed_n;
    atomic_uint rows_end; /* no row of the graph reaches it */

    hnsw_bits *doomed;     /* a repair is under way: removed before it began; NULL = none */
    uint32_t doomed_slots; /* nodes that `doomed` has marks for */
    uint32_t repair_at;    /* where it is */

    _Atomic uint32_t ef_at[2]; /* = ef.ef, for searches that run while it is calibrated */
    struct hnsw_ef ef;
    atomic_bool damaged;
    struct hnsw_map map;

    pthread_mutex_t scratch_lock;
    struct hnsw_scratch *scratch; /* idle ones */
};

/* Idle scratch and the mark of damage are no part of a graph's value: reading may change them. */
static inline struct hnsw *hnsw_mutable(const struct hnsw *h) {
    return (struct hnsw *)(uintptr_t)h;
}

/* ---- Where things lie ----------------------------------------------------------------------- */

static inline struct hnsw_chunk *hnsw_chunk_of(const struct hnsw *h, uint32_t node) {
    return &h->chunks[node >> HNSW_CHUNK_SHIFT];
}
static inline uint32_t hnsw_within(uint32_t node) {
    return node & (HNSW_CHUNK_NODES - 1);
}
static inline const int8_t *hnsw_code(const struct hnsw *h, uint32_t node) {
    return hnsw_chunk_of(h, node)->codes + (size_t)hnsw_within(node) * h->code_bytes;
}
/* What two codes agree, from the inner product of their bytes. */
static inline float hnsw_agree(int32_t dot, const struct hnsw_head *a, const struct hnsw_head *b) {
    return (float)dot * (a->scale * b->scale + a->reach * b->reach) + a->height * b->height;
}
static inline struct hnsw_head hnsw_head_of(const int8_t *row) {
    struct hnsw_head head;
    memcpy(&head, row, sizeof head);
    return head;
}
static inline uint32_t hnsw_row(const struct hnsw *h, uint32_t node) {
    return hnsw_chunk_of(h, node)->rows[hnsw_within(node)];
}
static inline uint32_t hnsw_links_of_layer(const struct hnsw *h, uint32_t layer) {
    return layer == 0 ? 2 * h->links_max : h->links_max;
}
static inline uint32_t *hnsw_upper(const struct hnsw *h, uint32_t at) {
    return h->uppers[at >> HNSW_UPPER_SHIFT] + (at & (HNSW_UPPER_WORDS - 1));
}
/* Layers above 0 that the node is in. */
static inline uint32_t hnsw_node_layers(const struct hnsw *h, uint32_t node) {
    const uint32_t at = hnsw_chunk_of(h, node)->uppers[hnsw_within(node)];
    return at == HNSW_NONE ? 0 : *hnsw_upper(h, at);
}
/* The node's links in a layer it is in: hnsw_links_of_layer() of them, HNSW_NONE at the end. */
static inline uint32_t *hnsw_links(const struct hnsw *h, uint32_t node, uint32_t layer) {
    const struct hnsw_chunk *const c = hnsw_chunk_of(h, node);
    if (layer == 0) {
        return c->links + (size_t)hnsw_within(node) * 2 * h->links_max;
    }
    return hnsw_upper(h, c->uppers[hnsw_within(node)]) + 1 + (size_t)(layer - 1) * h->links_max;
}
static inline bool hnsw_bit(const hnsw_bits *bits, uint32_t i) {
    return (atomic_load_explicit(&bits[i / 64], memory_order_relaxed) >> (i % 64) & 1) != 0;
}
static inline bool hnsw_live(const struct hnsw *h, uint32_t node) {
    return hnsw_bit(hnsw_chunk_of(h, node)->live, hnsw_within(node));
}
/* Whether the repair under way gives the slot back. */
static inline bool hnsw_is_doomed(const struct hnsw *h, uint32_t node) {
    return node < h->doomed_slots && hnsw_bit(h->doomed, node);
}
uint32_t hnsw_node(const struct hnsw *h, uint32_t row); /* HNSW_NONE if absent */
/* The float vector; NULL (and h->damaged) if a mapped one does not match its checksum. */
const float *hnsw_node_vector(const struct hnsw *h, uint32_t node);

/* ---- Chunks and slots (hnsw.c); the writer's ------------------------------------------------ */

/* Byte offsets of a chunk's parts in its pages, and their size; the file has the same. */
struct hnsw_layout {
    size_t codes, links, rows, uppers, live, bytes;
};
void hnsw_layout(const struct hnsw *h, struct hnsw_layout *out);
/* Memory for the chunk's parts, zeroed, links and rows and uppers HNSW_NONE. U2I_ENOMEM. */
int hnsw_chunk_new(struct hnsw *h, uint32_t chunk);
void hnsw_chunk_point(const struct hnsw *h, struct hnsw_chunk *c, char *graph);
/* An unused slot with its upper block, or HNSW_NONE when out of memory. */
uint32_t hnsw_slot_take(struct hnsw *h);
/* Needs room in free_slots: whoever may give slots back reserves it first. */
void hnsw_slot_give(struct hnsw *h, uint32_t node);
int hnsw_slots_reserve(struct hnsw *h, size_t n); /* room for n more free slots */
int hnsw_node_of_reserve(struct hnsw *h, uint32_t row);
void hnsw_node_of_set(struct hnsw *h, uint32_t row, uint32_t node); /* reserved before */
void hnsw_bit_set(hnsw_bits *bits, uint32_t i, bool on);
/* A block for `layers` upper layers, links HNSW_NONE; HNSW_NONE when out of memory. */
uint32_t hnsw_upper_new(struct hnsw *h, uint32_t layers);

/* ---- Codes (hnsw_code.c) -------------------------------------------------------------------- */

struct hnsw_coder { /* scratch */
    float *in, *out;
    int8_t *bytes;
};
int hnsw_coder_init(const struct hnsw *h, struct hnsw_coder *s); /* U2I_ENOMEM */
void hnsw_coder_free(struct hnsw_coder *s);
void hnsw_code_size(struct hnsw *h, uint32_t dims); /* sets code_dims and code_bytes */
/* What is coded of a vector, into s->in; returns its height. */
float hnsw_code_input(const struct hnsw *h, const float *vector, struct hnsw_coder *s);
/* The row of a stored vector. */
void hnsw_encode(const struct hnsw *h, const float *vector, struct hnsw_coder *s, int8_t *row);
/* The row of a query, zeros where its head would be; the head is returned. */
struct hnsw_head hnsw_encode_query(const struct hnsw *h, const float *vector, struct hnsw_coder *s,
                                   int8_t *row);
/* norm_max, if nobody has said it. */
void hnsw_learn_norm(struct hnsw *h, const float *vectors, size_t n);

/* ---- Scratch and walk (hnsw_walk.c) --------------------------------------------------------- */

#include "hnsw_pool.h"

#define HNSW_GATHER 128u /* nodes whose distances are computed together, at most */

/* What one walk works with. Taken from the graph's idle ones, given back, never shared. */
struct hnsw_scratch {
    uint64_t *visited; /* a bit for each slot, zero between walks */
    size_t visited_words;
    struct hnsw_pool pool;
    const struct vec_ops *vec;
    int8_t *query; /* the row that rows are compared with, without its head */
    struct hnsw_head head;
    struct hnsw_coder coder;
    uint64_t distances;
    uint32_t ids[HNSW_GATHER];
    uint32_t ahead[HNSW_GATHER]; /* of the next step */
    const int8_t *codes[HNSW_GATHER];
    int32_t dots[HNSW_GATHER];
    float sims[HNSW_GATHER];
    struct hnsw_scratch *next;
    uint32_t slots;           /* that the buffers are sized for */
    uint64_t *pass, *blocked; /* of a filtered walk, see hnsw_filter.c */
    size_t pass_words, blocked_words, pass_used;
};
struct hnsw_scratch *hnsw_scratch_take(const struct hnsw *h, uint32_t ef); /* NULL = no memory */
void hnsw_scratch_give(const struct hnsw *h, struct hnsw_scratch *s);
void hnsw_scratch_free_all(struct hnsw *h);

/* What the walk looks for. */
void hnsw_look_for(const struct hnsw *h, struct hnsw_scratch *s, const float *vector);
void hnsw_look_for_node(const struct hnsw *h, struct hnsw_scratch *s, uint32_t node);
/* Similarities (about the cosine) of s->ids[0..n) to it into s->sims. */
void hnsw_sims(const struct hnsw *h, struct hnsw_scratch *s, uint32_t n);
/* From the entry down to the nearest node found in the layers above `layer`. */
uint32_t hnsw_descend(const struct hnsw *h, struct hnsw_scratch *s, uint32_t layer);
/* Leaves the ef nodes most similar to s->query in s->pool, best first, found from the nodes that are
 * in the pool already (their visited bits are set). Removed nodes are among them. */
void hnsw_walk(const struct hnsw *h, struct hnsw_scratch *s, uint32_t layer);
void hnsw_pool_start(struct hnsw_scratch *s, uint32_t ef);
/* The links of the best node of the pool that was not looked at yet into s->ahead; HNSW_NONE if there is
 * none. */
uint32_t hnsw_step(const struct hnsw *h, struct hnsw_scratch *s, uint32_t layer);
static inline void hnsw_ask_links(const struct hnsw *h, uint32_t node) {
    const char *const links = (const char *)hnsw_links(h, node, 0);
    __builtin_prefetch(links);
    __builtin_prefetch(links + 64);
}
/* s->ids[0..n) with s->sims into the pool. */
void hnsw_pool_add(const struct hnsw *h, struct hnsw_scratch *s, uint32_t n);
void hnsw_pool_enter(const struct hnsw *h, struct hnsw_scratch *s, const uint32_t *nodes,
                     uint32_t n); /* start nodes, unvisited ones only */

/* ---- Links (hnsw_select.c) ------------------------------------------------------------------ */

struct hnsw_near { /* a candidate for a link */
    float sim;     /* inner product of the two codes, scaled: about the cosine */
    uint32_t node;
};
float hnsw_sim(const struct hnsw *h, uint32_t a, uint32_t b);
/* Of n candidates, most similar to the node first, keeps at most `max` that are diverse: the heuristic
 * of the paper (algorithm 4). Writes them to links, HNSW_NONE after them; returns how many.
 * The first `fixed` candidates are taken without being asked. */
struct hnsw_select {
    const struct hnsw_near *near;
    uint32_t n, max, fixed;
};
uint32_t hnsw_select_links(const struct hnsw *h, const struct hnsw_select *in, uint32_t *links);
void hnsw_near_sort(struct hnsw_near *near, uint32_t n); /* most similar first, then by node */

/* ---- Batches (hnsw_insert.c) ---------------------------------------------------------------- */

/* A link list to publish. */
struct hnsw_relink {
    uint32_t node;
    uint32_t layer;
    uint32_t at; /* first of its links in batch->links */
};

struct hnsw_batch {
    struct hnsw *h;
    uint32_t n; /* inserted nodes */
    uint32_t *rows, *nodes;
    struct hnsw_relink
        *relinks; /* all lists; a new node's own ones come before those that name it */
    size_t relinks_n, relinks_cap;
    uint32_t *links;
    size_t links_n, links_cap;
    size_t relinks_done;   /* published */
    uint32_t published;    /* new nodes that can be found */
    bool repair_end;       /* a pass of the repair ends with this batch */
    uint32_t repair_to;    /* a repair's batch: nodes below this one have been through it; else 0 */
    uint32_t repair_entry; /* of a batch that ends a pass: the entry from then on */
    bool repair_free;      /* and: slots are given back in the commit */
};
struct hnsw_batch *hnsw_batch_new(struct hnsw *h, uint32_t n);
/* Room for one more list; NULL when out of memory. */
uint32_t *hnsw_batch_add(struct hnsw_batch *b, uint32_t node, uint32_t layer);
/* The end of a repair's batch (hnsw_repair.c), in hnsw_commit(). */
void hnsw_repair_commit(struct hnsw_batch *b);

/* Runs fn(ctx, i, scratch) for i < n on the calling thread and threads - 1 more, each with a scratch of
 * its own for walks of up to `ef`; in no particular order. fn's first failure ends it. */
typedef int (*hnsw_task_fn)(void *ctx, uint32_t i, struct hnsw_scratch *s);
struct hnsw_tasks {
    hnsw_task_fn fn;
    void *ctx;
    uint32_t n;
    uint32_t ef;
};
int hnsw_run(const struct hnsw *h, const struct hnsw_tasks *t, const struct hnsw_work *how,
             u2i_error_t *err);

/* ---- Calibration (hnsw_calibrate.c) ---------------------------------------------------------- */

uint32_t hnsw_ef_for(const struct hnsw *h, uint32_t k); /* ef that keeps the recall for k results */

#endif
