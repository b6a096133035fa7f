/* Opens a graph's file by mapping it; hnsw_file.h has the format.
 *
 * Nothing in the file is trusted. In this order: the header is what it should be and all sections are
 * where they follow from its numbers, to the last byte of the file; blocks match their checksums;
 * upper layers, rows, links and entry are sound, so that nothing that is followed later leads out.
 * Float vectors are looked at when they are needed, see hnsw_node_vector().
 *
 * Whole chunks are used where they are mapped. The last one, with room for new nodes, and the upper
 * layers, whose segments have another shape, are copied. New vectors of the last chunk fall behind the
 * end of the file, where the mapping goes on with ordinary memory.
 *
 * A file that is cut short while it is mapped kills the process (SIGBUS). It lies in a folder of our
 * own, where files are only ever replaced. */
#include "hnsw_file.h"

#include "base/error.h"
#include "base/filemap.h"
#include "base/thread.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HNSW_OPEN_THREADS = 4,     /* at most; memory is the limit beyond */
    HNSW_OPEN_ALONE = 4 << 20, /* bytes up to which a thread costs more than it brings */
    HNSW_OPEN_NODES = 2048     /* nodes that one task looks at */
};

struct hnsw_opening {
    const char *path;
    int fd;
    uint64_t file_bytes;
    struct hnsw_file_header head;
    struct hnsw *h;
    const char *map;
    u2i_error_t *err;
};

/* The first of what several threads found wrong. */
struct hnsw_faults {
    struct hnsw_opening *o;
    pthread_mutex_t lock;
    int rc;
    u2i_error_t error;
};

static int hnsw_open_corrupt(const struct hnsw_opening *o, const char *what) {
    return error_set(o->err, U2I_ECORRUPT, "%s is damaged: %s", o->path, what);
}

/* ---- Header --------------------------------------------------------------------------------- */

static int hnsw_open_file(struct hnsw_opening *o) {
    struct stat st;
    o->fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (o->fd < 0) {
        return errno == ENOENT || errno == ENOTDIR
                   ? error_set(o->err, U2I_ENOTFOUND, "%s does not exist", o->path)
                   : error_set(o->err, U2I_EIO, "cannot open %s: %s", o->path, strerror(errno));
    }
    if (fstat(o->fd, &st) != 0) {
        return error_set(o->err, U2I_EIO, "cannot read %s: %s", o->path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(o->err, U2I_EIO, "%s is not a file", o->path);
    }
    o->file_bytes = (uint64_t)st.st_size;
    return U2I_OK;
}

static int hnsw_open_read(struct hnsw_opening *o, char *page) {
    size_t n = 0;
    while (n < HNSW_FILE_PAGE) {
        const ssize_t got = pread(o->fd, page + n, HNSW_FILE_PAGE - n, (off_t)n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return error_set(o->err, U2I_EIO, "cannot read %s: %s", o->path, strerror(errno));
        }
        if (got == 0) {
            return hnsw_open_corrupt(o, "it is too short for a graph");
        }
        n += (size_t)got;
    }
    return U2I_OK;
}

static int hnsw_open_header(struct hnsw_opening *o) {
    char page[HNSW_FILE_PAGE];
    uint32_t crc;
    U2I_TRY(hnsw_open_read(o, page));
    memcpy(&o->head, page, sizeof o->head);
    memcpy(&crc, page + HNSW_FILE_CRC_AT, sizeof crc);
    if (o->head.magic != HNSW_FILE_MAGIC) {
        return error_set(o->err, U2I_ECORRUPT, "%s is not a graph of u2i", o->path);
    }
    if (o->head.version != HNSW_FILE_VERSION &&
        o->head.version != 0) { /* made anew, from vectors */
        return error_set(o->err, U2I_EVERSION,
                         "%s was written by %s u2i: it has format %u, this one reads format %u",
                         o->path, o->head.version > HNSW_FILE_VERSION ? "a newer" : "an older",
                         o->head.version, HNSW_FILE_VERSION);
    }
    if (o->head.version == 0 || vec_get()->crc32c(0, page, HNSW_FILE_CRC_AT) != crc) {
        return hnsw_open_corrupt(o, "the header does not match its checksum");
    }
    return U2I_OK;
}

/* Is it the graph that the owner wants? */
static int hnsw_open_options(const struct hnsw_opening *o, const struct hnsw_options *opt) {
    const struct hnsw_file_header *const head = &o->head;
    const struct hnsw *const h = o->h;
    if (head->dim != opt->dim) {
        return error_set(o->err, U2I_EINVAL, "%s has vectors of %u dimensions, not %u", o->path,
                         head->dim, opt->dim);
    }
    if (head->metric != (uint32_t)opt->metric) {
        return error_set(o->err, U2I_EINVAL, "%s has metric %u, not %u", o->path, head->metric,
                         (uint32_t)opt->metric);
    }
    if (head->links_max != h->links_max) {
        return error_set(o->err, U2I_EINVAL, "%s has %u links a node, not %u", o->path,
                         head->links_max, h->links_max);
    }
    return U2I_OK;
}

/* Codes have all dimensions, or fewer that fill whole cache lines. */
static bool hnsw_open_sane_code(const struct hnsw_file_header *head, const struct hnsw *h) {
    const uint32_t bytes = head->code_dims + (uint32_t)sizeof(struct hnsw_head);
    return head->code_dims == h->dim ||
           (head->code_dims > 0 && head->code_dims < h->dim && bytes % HNSW_CODE_ALIGN == 0);
}

static bool hnsw_open_sane_numbers(const struct hnsw_file_header *head, const struct hnsw *h) {
    const double words_max = (double)((uint64_t)HNSW_UPPERS_MAX << HNSW_UPPER_SHIFT);
    return hnsw_open_sane_code(head, h) && head->chunk_nodes == HNSW_CHUNK_NODES &&
           head->nodes < HNSW_NODES_MAX && head->count <= head->nodes &&
           head->layers <= HNSW_LAYERS_MAX && (double)head->upper_words <= words_max &&
           (head->nodes == 0 ? head->entry == HNSW_NONE : head->entry < head->nodes) &&
           isfinite(head->norm_max) && head->norm_max >= 0;
}

static bool hnsw_open_sane_ef(const struct hnsw_file_header *head) {
    return head->ef_recall >= 0 && head->ef_recall <= 1 && head->ef[0] <= HNSW_FILE_EF_MAX &&
           head->ef[1] <= HNSW_FILE_EF_MAX && head->ef_k[0] <= HNSW_FILE_EF_MAX &&
           head->ef_k[1] <= HNSW_FILE_EF_MAX;
}

/* The sections are where the numbers say, and end where the file ends. */
static int hnsw_open_sections(const struct hnsw_opening *o) {
    struct hnsw_sections at;
    if (!hnsw_open_sane_numbers(&o->head, o->h) || !hnsw_open_sane_ef(&o->head)) {
        return hnsw_open_corrupt(o, "the header has impossible numbers");
    }
    hnsw_code_size(o->h, o->head.code_dims);
    hnsw_file_sections(o->h, o->head.nodes, o->head.upper_words, &at);
    if (memcmp(&at, &o->head.at, sizeof at) != 0) {
        return hnsw_open_corrupt(o, "the header contradicts itself");
    }
    return at.end == o->file_bytes
               ? U2I_OK
               : error_set(o->err, U2I_ECORRUPT, "%s is damaged: it has %llu bytes instead of %llu",
                           o->path, (unsigned long long)o->file_bytes, (unsigned long long)at.end);
}

/* With room for the vectors of a full last chunk. */
static int hnsw_open_map(struct hnsw_opening *o) {
    const uint64_t chunks = ((uint64_t)o->head.nodes + HNSW_CHUNK_NODES - 1) >> HNSW_CHUNK_SHIFT;
    const uint64_t all = chunks * HNSW_CHUNK_NODES * o->h->dim * sizeof(float);
    struct hnsw_map *const m = &o->h->map;
    m->bytes = (size_t)(o->head.at.vectors + all);
    m->p = filemap_new(o->fd, (size_t)o->file_bytes, m->bytes);
    o->map = m->p;
    return m->p != NULL ? U2I_OK
                        : error_set(o->err, errno == ENOMEM ? U2I_ENOMEM : U2I_EIO,
                                    "cannot map %s: %s", o->path, strerror(errno));
}

void hnsw_unmap(struct hnsw_map *m) {
    filemap_free(m->p, m->bytes);
    *m = (struct hnsw_map){0};
}

/* ---- Work for several threads --------------------------------------------------------------- */

static unsigned hnsw_open_threads(const struct hnsw_opening *o) {
    const unsigned cores = thread_cores();
    return o->head.at.vectors < HNSW_OPEN_ALONE  ? 1
           : cores < (unsigned)HNSW_OPEN_THREADS ? cores
                                                 : HNSW_OPEN_THREADS;
}

/* Runs fn for 0 .. n - 1; what it found is in f. */
static int hnsw_open_run(struct hnsw_opening *o, hnsw_task_fn fn, uint64_t n) {
    struct hnsw_faults f = {.o = o};
    const struct hnsw_work how = {.threads = hnsw_open_threads(o)};
    const struct hnsw_tasks tasks = {.fn = fn, .ctx = &f, .n = (uint32_t)n, .ef = 1};
    (void)pthread_mutex_init(&f.lock, NULL); /* the default kind: nothing can fail */
    int rc = hnsw_run(o->h, &tasks, &how, o->err);
    if (f.rc != U2I_OK) {
        rc = hnsw_open_corrupt(o, f.error.msg);
    }
    (void)pthread_mutex_destroy(&f.lock);
    return rc;
}

static int hnsw_open_fault(struct hnsw_faults *f, const u2i_error_t *error) {
    (void)pthread_mutex_lock(&f->lock);
    if (f->rc == U2I_OK) {
        f->rc = U2I_ECORRUPT;
        f->error = *error;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return U2I_ECORRUPT;
}

/* ---- Checksums ------------------------------------------------------------------------------ */

static int hnsw_open_block(void *ctx, uint32_t i, struct hnsw_scratch *s) {
    struct hnsw_faults *const f = ctx;
    const struct hnsw_sections *const at = &f->o->head.at;
    const uint64_t from = at->graph + (uint64_t)i * HNSW_FILE_BLOCK;
    const uint64_t left = at->blocks - from;
    const size_t n = left < HNSW_FILE_BLOCK ? (size_t)left : HNSW_FILE_BLOCK;
    uint32_t crc;
    (void)s; /* nothing is walked */
    memcpy(&crc, f->o->map + at->blocks + (size_t)i * sizeof crc, sizeof crc);
    if (vec_get()->crc32c(0, f->o->map + from, n) == crc) {
        return U2I_OK;
    }
    u2i_error_t error;
    (void)error_set(&error, U2I_ECORRUPT, "block %u does not match its checksum", i);
    return hnsw_open_fault(f, &error);
}

static int hnsw_open_blocks(struct hnsw_opening *o) {
    const struct hnsw_sections *const at = &o->head.at;
    const size_t bytes = (size_t)(at->vectors - at->blocks);
    if (vec_get()->crc32c(0, o->map + at->blocks, bytes) != o->head.blocks_crc) {
        return hnsw_open_corrupt(o, "its checksums do not match theirs");
    }
    return hnsw_open_run(o, hnsw_open_block, at->block_n);
}

/* ---- Codes ---------------------------------------------------------------------------------- */

static int hnsw_open_turn(struct hnsw_opening *o) {
    struct hnsw *const h = o->h;
    struct hnsw_turn *const t = &h->turn;
    if (h->code_dims == h->dim) {
        return U2I_OK;
    }
    const char *const from = o->map + o->head.at.turn;
    t->rows = mem_dup(from, (size_t)h->code_dims * h->dim);
    t->scales = mem_dup(from + hnsw_file_turn_scales(h), h->code_dims * sizeof *t->scales);
    if (t->rows == NULL || t->scales == NULL) {
        return error_oom(o->err);
    }
    for (uint32_t i = 0; i < h->code_dims; i++) {
        if (!(t->scales[i] >= 0) || !isfinite(t->scales[i])) {
            return hnsw_open_corrupt(o, "a direction of the codes has no sound scale");
        }
    }
    return U2I_OK;
}

/* ---- Chunks --------------------------------------------------------------------------------- */

/* The parts of the last chunk, in memory of their own. */
static int hnsw_open_last(struct hnsw_opening *o, uint32_t chunk, uint32_t n) {
    struct hnsw *const h = o->h;
    struct hnsw_chunk *const c = &h->chunks[chunk];
    struct hnsw_layout whole, at;
    hnsw_layout(h, &whole);
    hnsw_file_last_layout(h, n, &at);
    char *const graph = pages_alloc(whole.bytes);
    if (graph == NULL) {
        return error_oom(o->err);
    }
    h->holds[chunk].graph = graph;
    hnsw_chunk_point(h, c, graph);
    const char *const from = o->map + o->head.at.graph + chunk * hnsw_file_chunk_bytes(h);
    memcpy(graph + whole.codes, from + at.codes, (size_t)n * h->code_bytes);
    memcpy(graph + whole.links, from + at.links, (size_t)n * 2 * h->links_max * sizeof(uint32_t));
    memcpy(graph + whole.rows, from + at.rows, n * sizeof(uint32_t));
    memcpy(graph + whole.uppers, from + at.uppers, n * sizeof(uint32_t));
    memcpy(graph + whole.live, from + at.live, at.bytes - at.live);
    return U2I_OK;
}

/* Points a chunk of n nodes into the file. */
static int hnsw_open_chunk(struct hnsw_opening *o, uint32_t chunk, uint32_t n) {
    struct hnsw *const h = o->h;
    struct hnsw_chunk *const c = &h->chunks[chunk];
    struct hnsw_hold *const hold = &h->holds[chunk];
    const struct hnsw_sections *const at = &o->head.at;
    const size_t first = (size_t)chunk << HNSW_CHUNK_SHIFT;
    char *const map = h->map.p;
    hold->checked = mem_zalloc(HNSW_CHUNK_NODES / 8);
    if (hold->checked == NULL) {
        return error_oom(o->err);
    }
    hold->crcs = (const uint32_t *)(const void *)(map + at->crcs) + first;
    c->checked = hold->checked;
    c->vectors = (float *)(void *)(map + at->vectors) + first * h->dim;
    for (uint32_t i = n; i < HNSW_CHUNK_NODES; i++) { /* not of the file: nothing to check */
        hnsw_bit_set(c->checked, i, true);
    }
    if (n < HNSW_CHUNK_NODES) {
        return hnsw_open_last(o, chunk, n);
    }
    hnsw_chunk_point(h, c, map + at->graph + chunk * hnsw_file_chunk_bytes(h));
    return U2I_OK;
}

static int hnsw_open_chunks(struct hnsw_opening *o) {
    for (uint32_t first = 0; first < o->head.nodes; first += HNSW_CHUNK_NODES) {
        const uint32_t left = o->head.nodes - first;
        const uint32_t n = left < HNSW_CHUNK_NODES ? left : HNSW_CHUNK_NODES;
        o->h->slots = first + n; /* what hnsw_free() looks at */
        U2I_TRY(hnsw_open_chunk(o, first >> HNSW_CHUNK_SHIFT, n));
    }
    return U2I_OK;
}

/* ---- Upper layers and rows ------------------------------------------------------------------ */

static int hnsw_open_upper(struct hnsw_opening *o, const uint32_t *words, uint32_t at) {
    struct hnsw *const h = o->h;
    if (at >= o->head.upper_words || words[at] == 0 || words[at] > HNSW_LAYERS_MAX) {
        return hnsw_open_corrupt(o, "a node's upper layers are not where it says");
    }
    const uint32_t layers = words[at];
    const uint32_t n = layers * h->links_max;
    if (at + (uint64_t)1 + n > o->head.upper_words) {
        return hnsw_open_corrupt(o, "a node's upper layers end behind all others");
    }
    const uint32_t to = hnsw_upper_new(h, layers);
    if (to == HNSW_NONE) {
        return error_oom(o->err);
    }
    if (to != at) {
        return hnsw_open_corrupt(o, "upper layers are not in order");
    }
    memcpy(hnsw_upper(h, to) + 1, words + at + 1, n * sizeof *words);
    return U2I_OK;
}

/* Blocks lie one after the other, in order of their nodes: so none is shared, and none left out. */
static int hnsw_open_uppers(struct hnsw_opening *o) {
    const struct hnsw *const h = o->h;
    const uint32_t *const words = (const uint32_t *)(const void *)(o->map + o->head.at.uppers);
    for (uint32_t node = 0; node < h->slots; node++) {
        const uint32_t at = hnsw_chunk_of(h, node)->uppers[hnsw_within(node)];
        if (at != HNSW_NONE) {
            U2I_TRY(hnsw_open_upper(o, words, at));
        }
    }
    return h->upper_end == o->head.upper_words
               ? U2I_OK
               : hnsw_open_corrupt(o, "there are upper layers of no node");
}

static int hnsw_open_row(struct hnsw_opening *o, uint32_t node, uint32_t row) {
    struct hnsw *const h = o->h;
    if (row >= HNSW_NODES_MAX) {
        return hnsw_open_corrupt(o, "a live node has no row");
    }
    if (atomic_load_explicit(&h->node_of[row >> HNSW_ROWS_SHIFT], memory_order_relaxed) == NULL &&
        hnsw_node_of_reserve(h, row) != U2I_OK) {
        return error_oom(o->err);
    }
    _Atomic uint32_t *const place =
        atomic_load_explicit(&h->node_of[row >> HNSW_ROWS_SHIFT], memory_order_relaxed) +
        (row & ((1u << HNSW_ROWS_SHIFT) - 1));
    const uint32_t other = atomic_load_explicit(place, memory_order_relaxed);
    if (other != HNSW_NONE) {
        return error_set(o->err, U2I_ECORRUPT, "%s is damaged: row %u is in two nodes, %u and %u",
                         o->path, row, other, node);
    }
    atomic_store_explicit(place, node, memory_order_relaxed);
    if (row >= atomic_load(&h->rows_end)) {
        atomic_store(&h->rows_end, row + 1);
    }
    return U2I_OK;
}

/* Rows of the live nodes of one chunk. */
static int hnsw_open_rows_of(struct hnsw_opening *o, uint32_t first, uint32_t n, uint32_t *count) {
    const struct hnsw_chunk *const c = hnsw_chunk_of(o->h, first);
    for (uint32_t i = 0; i < n; i++) {
        if (hnsw_bit(c->live, i)) {
            U2I_TRY(hnsw_open_row(o, first + i, c->rows[i]));
            ++*count;
        } else if (c->rows[i] != HNSW_NONE) {
            return hnsw_open_corrupt(o, "a removed node has a row");
        }
    }
    if (n % 64 != 0 && atomic_load(&c->live[n / 64]) >> (n % 64) != 0) {
        return hnsw_open_corrupt(o, "a node behind the last one is live");
    }
    return U2I_OK;
}

static int hnsw_open_rows(struct hnsw_opening *o) {
    struct hnsw *const h = o->h;
    uint32_t count = 0;
    for (uint32_t first = 0; first < h->slots; first += HNSW_CHUNK_NODES) {
        const uint32_t left = h->slots - first;
        const uint32_t n = left < HNSW_CHUNK_NODES ? left : HNSW_CHUNK_NODES;
        U2I_TRY(hnsw_open_rows_of(o, first, n, &count));
    }
    atomic_store(&h->count, count);
    atomic_store(&h->removed_n, h->slots - count);
    return count == o->head.count ? U2I_OK
                                  : hnsw_open_corrupt(o, "it has not as many rows as it says");
}

/* ---- Structure ------------------------------------------------------------------------------ */

static int hnsw_open_nodes(void *ctx, uint32_t i, struct hnsw_scratch *s) {
    struct hnsw_faults *const f = ctx;
    const struct hnsw *const h = f->o->h;
    const uint32_t left = h->slots - i * HNSW_OPEN_NODES;
    const struct hnsw_range range = {.from = i * HNSW_OPEN_NODES,
                                     .to = i * HNSW_OPEN_NODES +
                                           (left < HNSW_OPEN_NODES ? left : HNSW_OPEN_NODES)};
    u2i_error_t error;
    (void)s; /* nothing is walked */
    return hnsw_validate_nodes(h, &range, &error) == U2I_OK ? U2I_OK : hnsw_open_fault(f, &error);
}

static int hnsw_open_structure(struct hnsw_opening *o) {
    u2i_error_t error;
    if (hnsw_validate_entry(o->h, NULL, &error) != U2I_OK) {
        return hnsw_open_corrupt(o, error.msg);
    }
    const uint64_t tasks = ((uint64_t)o->h->slots + HNSW_OPEN_NODES - 1) / HNSW_OPEN_NODES;
    return hnsw_open_run(o, hnsw_open_nodes, tasks);
}

/* ---- All of it ------------------------------------------------------------------------------ */

static void hnsw_open_settings(struct hnsw_opening *o, struct hnsw_stamp *stamp) {
    const struct hnsw_file_header *const head = &o->head;
    struct hnsw *const h = o->h;
    h->norm_max = head->norm_max;
    h->entry = head->entry;
    h->layers = head->layers;
    h->ef.recall = head->ef_recall;
    h->ef.count = head->ef_count;
    for (size_t i = 0; i < 2; i++) {
        h->ef.k[i] = head->ef_k[i];
        h->ef.ef[i] = head->ef[i];
        atomic_store(&h->ef_at[i], head->ef[i]);
    }
    stamp->sequence = head->sequence;
    memcpy(stamp->token, head->token, sizeof stamp->token);
}

static int hnsw_open_all(struct hnsw_opening *o, const struct hnsw_options *opt,
                         struct hnsw_stamp *stamp) {
    U2I_TRY(hnsw_open_file(o));
    U2I_TRY(hnsw_open_header(o));
    U2I_TRY(hnsw_new(opt, &o->h, o->err));
    U2I_TRY(hnsw_open_options(o, opt));
    U2I_TRY(hnsw_open_sections(o));
    U2I_TRY(hnsw_open_map(o));
    U2I_TRY(hnsw_open_blocks(o));
    U2I_TRY(hnsw_open_turn(o));
    hnsw_open_settings(o, stamp);
    U2I_TRY(hnsw_open_chunks(o));
    U2I_TRY(hnsw_open_uppers(o));
    U2I_TRY(hnsw_open_rows(o));
    return hnsw_open_structure(o);
}

int hnsw_open(const char *path, const struct hnsw_options *opt, struct hnsw_stamp *stamp,
              struct hnsw **out, u2i_error_t *err) {
    struct hnsw_opening o = {.path = path, .fd = -1, .err = err};
    *out = NULL;
    const int rc = hnsw_open_all(&o, opt, stamp);
    if (o.fd >= 0) {
        (void)close(o.fd); /* only read from; the mapping stays */
    }
    if (rc != U2I_OK) {
        hnsw_free(o.h);
        return rc;
    }
    *out = o.h;
    return U2I_OK;
}

/* ---- Afterwards ----------------------------------------------------------------------------- */

bool hnsw_settle(struct hnsw *h) {
    const uint32_t chunks = (h->slots + HNSW_CHUNK_NODES - 1) >> HNSW_CHUNK_SHIFT;
    while (h->settled < chunks && h->holds[h->settled].graph != NULL) {
        h->settled++;
    }
    if (h->settled == chunks) {
        return false;
    }
    struct hnsw_chunk *const c = &h->chunks[h->settled];
    struct hnsw_layout at;
    hnsw_layout(h, &at);
    char *const graph = pages_alloc(at.bytes);
    if (graph == NULL) {
        return false; /* it runs on the file as well */
    }
    char *const from = (char *)c->codes; /* the first part */
    memcpy(graph, from, at.bytes);
    hnsw_chunk_point(h, c, graph);
    h->holds[h->settled].graph = graph;
    filemap_drop(from, at.bytes);
    h->settled++;
    return true;
}
