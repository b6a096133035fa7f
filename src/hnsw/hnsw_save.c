/* Writes the graph to a file; hnsw_file.h has the format.
 *
 * The file appears all at once: a temporary one beside it is written, synced and renamed. It is locked
 * while somebody writes it, so a temporary file without a lock was left behind by a process that died,
 * and goes.
 *
 * Searches go on meanwhile, and rows may be removed: what is live is copied at the start, from
 * the map of rows to nodes, whose entries are atomic, and nothing else that a removal writes is read.
 *
 * Vectors go first, to their place at the end, so that their checksums are known when the rest is
 * written from front to back; the header goes last, so that a file that was cut off has none. */
#include "hnsw_file.h"

#include "base/error.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define HNSW_SAVE_SUFFIX ".tmp-"
enum { HNSW_SAVE_TRIES = 100 };

/* Bytes on their way to the file, a block at a time. */
struct hnsw_writer {
    char *buf; /* HNSW_FILE_BLOCK */
    size_t n;
    uint64_t at;    /* in the file, of the buffer */
    uint32_t *crcs; /* NULL: none are kept */
    size_t crcs_n;
    int rc; /* the first failure; nothing is written after it */
};

struct hnsw_saving {
    const struct hnsw *h;
    const struct hnsw_stamp *stamp;
    const struct hnsw_work *how;
    const char *path;
    char *temporary; /* its name */
    int fd;
    struct hnsw_numbering nodes;
    uint32_t *rows; /* of each slot, as it was at the start; HNSW_NONE: not live */
    uint32_t count; /* rows */
    uint32_t *vector_crcs, *block_crcs;
    struct hnsw_sections at;
    uint64_t upper_words;
    struct hnsw_writer w;
    u2i_error_t *err;
};

/* ---- Writing -------------------------------------------------------------------------------- */

static int hnsw_save_failed(const struct hnsw_saving *s, const char *what) {
    return error_set(s->err, U2I_EIO, "cannot %s %s: %s", what, s->temporary, strerror(errno));
}

static int hnsw_save_bytes(const struct hnsw_saving *s, const char *p, size_t n, uint64_t at) {
    while (n > 0) {
        const ssize_t done = pwrite(s->fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            errno = done == 0 ? ENOSPC : errno;
            return hnsw_save_failed(s, "write");
        }
        p += done;
        n -= (size_t)done;
        at += (size_t)done;
    }
    return U2I_OK;
}

static void hnsw_save_flush(struct hnsw_saving *s) {
    struct hnsw_writer *const w = &s->w;
    if (w->rc == U2I_OK && s->how != NULL && s->how->cancel != NULL &&
        atomic_load(s->how->cancel)) {
        w->rc = error_set(s->err, U2I_ETIMEOUT, "writing %s was stopped", s->path);
    }
    if (w->rc == U2I_OK && w->n > 0) {
        if (w->crcs != NULL) {
            w->crcs[w->crcs_n++] = vec_get()->crc32c(0, w->buf, w->n);
        }
        w->rc = hnsw_save_bytes(s, w->buf, w->n, w->at);
    }
    w->at += w->n;
    w->n = 0;
}

static void hnsw_save_put(struct hnsw_saving *s, const void *p, size_t n) {
    struct hnsw_writer *const w = &s->w;
    const char *from = p;
    while (n > 0) {
        const size_t room = HNSW_FILE_BLOCK - w->n;
        const size_t take = n < room ? n : room;
        memcpy(w->buf + w->n, from, take);
        w->n += take;
        from += take;
        n -= take;
        if (w->n == HNSW_FILE_BLOCK) {
            hnsw_save_flush(s);
        }
    }
}

/* Fills up to a place in the file. */
static void hnsw_save_fill(struct hnsw_saving *s, uint64_t at, char fill) {
    char bytes[256];
    memset(bytes, fill, sizeof bytes);
    while (s->w.at + s->w.n < at) {
        const uint64_t left = at - s->w.at - s->w.n;
        hnsw_save_put(s, bytes, left < sizeof bytes ? (size_t)left : sizeof bytes);
    }
}

/* ---- Sections ------------------------------------------------------------------------------- */

static int hnsw_save_vectors(struct hnsw_saving *s) {
    const struct hnsw *const h = s->h;
    const size_t bytes = h->dim * sizeof(float);
    s->w.at = s->at.vectors;
    for (uint32_t i = 0; s->w.rc == U2I_OK && i < s->nodes.n; i++) {
        const float *const v = hnsw_node_vector(h, s->nodes.order[i]);
        if (v == NULL) {
            return error_set(s->err, U2I_ECORRUPT,
                             "a vector in the file behind the graph is damaged: not written anew");
        }
        s->vector_crcs[i] = vec_get()->crc32c(0, v, bytes);
        hnsw_save_put(s, v, bytes);
    }
    hnsw_save_flush(s);
    return s->w.rc;
}

/* A list of links with the new numbers. */
static void hnsw_save_list(struct hnsw_saving *s, uint32_t slot, uint32_t layer) {
    const uint32_t max = hnsw_links_of_layer(s->h, layer);
    const uint32_t *const links = hnsw_links(s->h, slot, layer);
    uint32_t out[2 * HNSW_LINKS_MAX];
    for (uint32_t i = 0; i < max; i++) {
        out[i] = links[i] == HNSW_NONE ? HNSW_NONE : s->nodes.place[links[i]];
    }
    hnsw_save_put(s, out, max * sizeof *out);
}

static uint32_t hnsw_save_block_words(const struct hnsw *h, uint32_t slot) {
    const uint32_t layers = hnsw_node_layers(h, slot);
    return layers == 0 ? 0 : 1 + layers * h->links_max;
}

/* Where the upper layers of the nodes of a chunk are; *end goes on with the next chunk. */
static void hnsw_save_upper_places(struct hnsw_saving *s, uint32_t first, uint32_t n,
                                   uint64_t *end) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t words = hnsw_save_block_words(s->h, s->nodes.order[first + i]);
        uint32_t place = HNSW_NONE;
        if (words > 0) {
            const uint64_t at = hnsw_file_upper_at(*end, words);
            place = (uint32_t)at;
            *end = at + words;
        }
        hnsw_save_put(s, &place, sizeof place);
    }
}

static void hnsw_save_live(struct hnsw_saving *s, uint32_t first, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 64) {
        uint64_t word = 0;
        for (uint32_t j = 0; j < 64 && i + j < n; j++) {
            const bool live = s->rows[s->nodes.order[first + i + j]] != HNSW_NONE;
            word |= (uint64_t)live << j;
        }
        hnsw_save_put(s, &word, sizeof word);
    }
}

/* n nodes from `first` on; `base` is where their chunk begins in the file. */
static void hnsw_save_chunk(struct hnsw_saving *s, uint32_t first, uint32_t n,
                            uint64_t *upper_end) {
    const struct hnsw *const h = s->h;
    const uint32_t *const order = s->nodes.order + first;
    const uint64_t base = s->w.at + s->w.n;
    struct hnsw_layout at;
    if (n == HNSW_CHUNK_NODES) {
        hnsw_layout(h, &at);
    } else {
        hnsw_file_last_layout(h, n, &at);
    }
    for (uint32_t i = 0; i < n; i++) {
        hnsw_save_put(s, hnsw_code(h, order[i]), h->code_bytes);
    }
    hnsw_save_fill(s, base + at.links, 0);
    for (uint32_t i = 0; i < n; i++) {
        hnsw_save_list(s, order[i], 0);
    }
    hnsw_save_fill(s, base + at.rows, 0);
    for (uint32_t i = 0; i < n; i++) {
        hnsw_save_put(s, &s->rows[order[i]], sizeof *s->rows);
    }
    hnsw_save_fill(s, base + at.uppers, 0);
    hnsw_save_upper_places(s, first, n, upper_end);
    hnsw_save_fill(s, base + at.live, 0);
    hnsw_save_live(s, first, n);
}

static void hnsw_save_uppers(struct hnsw_saving *s) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < s->nodes.n && s->w.rc == U2I_OK; i++) {
        const uint32_t slot = s->nodes.order[i];
        const uint32_t layers = hnsw_node_layers(s->h, slot);
        if (layers == 0) {
            continue;
        }
        end = hnsw_file_upper_at(end, 1 + layers * s->h->links_max);
        hnsw_save_fill(s, s->at.uppers + end * sizeof(uint32_t), -1);
        hnsw_save_put(s, &layers, sizeof layers);
        for (uint32_t layer = 1; layer <= layers; layer++) {
            hnsw_save_list(s, slot, layer);
        }
        end += 1 + layers * s->h->links_max;
    }
}

static void hnsw_save_turn(struct hnsw_saving *s) {
    const struct hnsw_turn *const t = &s->h->turn;
    if (t->rows != NULL) {
        hnsw_save_put(s, t->rows, (size_t)s->h->code_dims * s->h->dim);
        hnsw_save_fill(s, s->at.turn + hnsw_file_turn_scales(s->h), 0);
        hnsw_save_put(s, t->scales, s->h->code_dims * sizeof *t->scales);
    }
}

static int hnsw_save_graph(struct hnsw_saving *s) {
    s->w.at = s->at.graph;
    s->w.crcs = s->block_crcs;
    uint64_t upper_end = 0;
    for (uint32_t first = 0; first < s->nodes.n && s->w.rc == U2I_OK; first += HNSW_CHUNK_NODES) {
        const uint32_t left = s->nodes.n - first;
        const uint32_t n = left < HNSW_CHUNK_NODES ? left : HNSW_CHUNK_NODES;
        hnsw_save_fill(s, hnsw_file_align(s->w.at + s->w.n, HNSW_FILE_PAGE), 0);
        hnsw_save_chunk(s, first, n, &upper_end);
    }
    hnsw_save_fill(s, s->at.uppers, 0);
    hnsw_save_uppers(s);
    hnsw_save_fill(s, s->at.turn, 0);
    hnsw_save_turn(s);
    hnsw_save_fill(s, s->at.crcs, 0);
    hnsw_save_put(s, s->vector_crcs, s->nodes.n * sizeof *s->vector_crcs);
    hnsw_save_fill(s, s->at.blocks, 0);
    hnsw_save_flush(s);
    assert(s->w.rc != U2I_OK || s->w.crcs_n == s->at.block_n);
    return s->w.rc;
}

/* The table of blocks, filled up to the vectors; its checksum goes into the header. */
static int hnsw_save_blocks(struct hnsw_saving *s, uint32_t *crc) {
    const size_t bytes = (size_t)(s->at.vectors - s->at.blocks);
    char *const table = mem_zalloc(bytes);
    if (table == NULL) {
        return error_oom(s->err);
    }
    memcpy(table, s->block_crcs, (size_t)s->at.block_n * sizeof *s->block_crcs);
    *crc = vec_get()->crc32c(0, table, bytes);
    const int rc = hnsw_save_bytes(s, table, bytes, s->at.blocks);
    mem_free(table);
    return rc;
}

static int hnsw_save_header(struct hnsw_saving *s, uint32_t blocks_crc) {
    const struct hnsw *const h = s->h;
    const uint32_t entry = h->entry == HNSW_NONE ? HNSW_NONE : s->nodes.place[h->entry];
    struct hnsw_file_header head = {
        .magic = HNSW_FILE_MAGIC,
        .version = HNSW_FILE_VERSION,
        .dim = h->dim,
        .code_dims = h->code_dims,
        .metric = (uint32_t)h->metric,
        .links_max = h->links_max,
        .ef_construction = h->ef_construction,
        .chunk_nodes = HNSW_CHUNK_NODES,
        .nodes = s->nodes.n,
        .count = s->count,
        .entry = entry,
        .layers = h->layers,
        .blocks_crc = blocks_crc,
        .seed = h->seed,
        .upper_words = s->upper_words,
        .norm_max = h->norm_max,
        .ef_recall = h->ef.recall,
        .ef_k = {h->ef.k[0], h->ef.k[1]},
        .ef = {h->ef.ef[0], h->ef.ef[1]},
        .ef_count = h->ef.count,
        .sequence = s->stamp->sequence,
        .at = s->at,
    };
    memcpy(head.token, s->stamp->token, sizeof head.token);
    char page[HNSW_FILE_PAGE] = {0};
    memcpy(page, &head, sizeof head);
    const uint32_t crc = vec_get()->crc32c(0, page, HNSW_FILE_CRC_AT);
    memcpy(page + HNSW_FILE_CRC_AT, &crc, sizeof crc);
    return hnsw_save_bytes(s, page, sizeof page, 0);
}

/* ---- What is written ------------------------------------------------------------------------ */

/* A copy of which row is in which node. */
static int hnsw_save_rows(struct hnsw_saving *s) {
    const struct hnsw *const h = s->h;
    s->rows = alloc_array(h->slots, sizeof *s->rows);
    if (s->rows == NULL) {
        return error_oom(s->err);
    }
    memset(s->rows, 0xFF, h->slots * sizeof *s->rows);
    for (uint32_t part = 0; part < HNSW_ROWS_PARTS; part++) {
        if (atomic_load_explicit(&h->node_of[part], memory_order_acquire) == NULL) {
            continue;
        }
        const uint32_t first = part << HNSW_ROWS_SHIFT;
        for (uint32_t row = first; row < first + (1u << HNSW_ROWS_SHIFT); row++) {
            const uint32_t node = hnsw_node(h, row);
            if (node != HNSW_NONE) {
                s->rows[node] = row;
                s->count++;
            }
        }
    }
    return U2I_OK;
}

static int hnsw_save_prepare(struct hnsw_saving *s) {
    const struct hnsw *const h = s->h;
    U2I_TRY(hnsw_save_rows(s));
    s->nodes.order = alloc_array(h->slots, sizeof *s->nodes.order);
    s->nodes.place = alloc_array(h->slots, sizeof *s->nodes.place);
    s->w.buf = mem_alloc(HNSW_FILE_BLOCK);
    if (s->nodes.order == NULL || s->nodes.place == NULL || s->w.buf == NULL) {
        return error_oom(s->err);
    }
    U2I_TRY(hnsw_order(h, s->how, &s->nodes, s->err));
    for (uint32_t i = 0; i < s->nodes.n; i++) {
        const uint32_t words = hnsw_save_block_words(h, s->nodes.order[i]);
        s->upper_words =
            words > 0 ? hnsw_file_upper_at(s->upper_words, words) + words : s->upper_words;
    }
    hnsw_file_sections(h, s->nodes.n, s->upper_words, &s->at);
    s->vector_crcs = alloc_array(s->nodes.n, sizeof *s->vector_crcs);
    s->block_crcs = alloc_array((size_t)s->at.block_n, sizeof *s->block_crcs);
    return s->vector_crcs == NULL || s->block_crcs == NULL ? error_oom(s->err) : U2I_OK;
}

static int hnsw_save_all(struct hnsw_saving *s) {
    uint32_t blocks_crc = 0;
    U2I_TRY(hnsw_save_vectors(s));
    U2I_TRY(hnsw_save_graph(s));
    U2I_TRY(hnsw_save_blocks(s, &blocks_crc));
    U2I_TRY(hnsw_save_header(s, blocks_crc));
    return fsync(s->fd) == 0 ? U2I_OK : hnsw_save_failed(s, "sync");
}

/* ---- The temporary file --------------------------------------------------------------------- */

/* The folder of a path, to be freed; NULL = no memory. */
static char *hnsw_save_folder(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash == NULL ? str_dup(".", 1)
                         : str_dup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Removes a temporary file that nobody holds a lock on. */
static void hnsw_save_sweep_one(int folder, const char *name) {
    const int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        (void)unlinkat(folder, name, 0); /* what stays is tried again by the next one */
    }
    (void)close(fd); /* nothing was written */
}

static void hnsw_save_sweep(const char *path) {
    char *const folder = hnsw_save_folder(path);
    DIR *const d = folder == NULL ? NULL : opendir(folder);
    const char *const slash = strrchr(path, '/');
    const char *const base = slash == NULL ? path : slash + 1;
    const size_t n = strlen(base);
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, base, n) == 0 &&
            strncmp(e->d_name + n, HNSW_SAVE_SUFFIX, strlen(HNSW_SAVE_SUFFIX)) == 0) {
            hnsw_save_sweep_one(dirfd(d), e->d_name);
        }
    }
    if (d != NULL) {
        (void)closedir(d); /* only read from */
    }
    mem_free(folder);
}

/* Makes and locks it; U2I_EBUSY when another one swept it away before it was locked. */
static int hnsw_save_create_once(struct hnsw_saving *s) {
    struct stat st;
    s->fd = open(s->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (s->fd < 0) {
        return errno == EEXIST ? U2I_EBUSY : hnsw_save_failed(s, "create");
    }
    if (flock(s->fd, LOCK_EX | LOCK_NB) == 0 && fstat(s->fd, &st) == 0 && st.st_nlink > 0) {
        return U2I_OK;
    }
    (void)close(s->fd); /* nothing was written */
    s->fd = -1;
    return U2I_EBUSY;
}

static int hnsw_save_create(struct hnsw_saving *s) {
    const size_t bytes = strlen(s->path) + 64;
    s->temporary = mem_alloc(bytes);
    if (s->temporary == NULL) {
        return error_oom(s->err);
    }
    int rc = U2I_EBUSY;
    for (int i = 0; rc == U2I_EBUSY && i < HNSW_SAVE_TRIES; i++) {
        (void)snprintf(s->temporary, bytes, "%s" HNSW_SAVE_SUFFIX "%ld-%d", s->path, (long)getpid(),
                       i); /* fits: two numbers */
        rc = hnsw_save_create_once(s);
    }
    return rc == U2I_EBUSY
               ? error_set(s->err, U2I_EIO, "cannot create %s: others make it too", s->temporary)
               : rc;
}

/* The renamed file is where it belongs once its folder is on disk. */
static int hnsw_save_publish(struct hnsw_saving *s) {
    if (rename(s->temporary, s->path) != 0) {
        return hnsw_save_failed(s, "rename");
    }
    mem_free(s->temporary);
    s->temporary = NULL;
    char *const folder = hnsw_save_folder(s->path);
    if (folder == NULL) {
        return error_oom(s->err);
    }
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = U2I_OK;
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL)) { /* some file systems cannot */
        rc = error_set(s->err, U2I_EIO, "cannot sync %s: %s", folder, strerror(errno));
    }
    if (fd >= 0) {
        (void)close(fd); /* only read from */
    }
    mem_free(folder);
    return rc;
}

int hnsw_save(const struct hnsw *h, const char *path, const struct hnsw_stamp *stamp,
              const struct hnsw_work *how, u2i_error_t *err) {
    struct hnsw_saving s = {.h = h, .stamp = stamp, .how = how, .path = path, .fd = -1, .err = err};
    hnsw_save_sweep(path);
    int rc = hnsw_save_prepare(&s);
    if (rc == U2I_OK) {
        rc = hnsw_save_create(&s);
    }
    const bool created = s.fd >= 0;
    if (rc == U2I_OK) {
        rc = hnsw_save_all(&s);
    }
    if (rc == U2I_OK) {
        rc = hnsw_save_publish(&s);
    }
    if (created && s.temporary != NULL) {
        (void)unlink(s.temporary); /* what stays is swept away by the next one */
    }
    if (created) {
        (void)close(s.fd); /* synced, or of no use */
    }
    mem_free(s.temporary);
    mem_free(s.block_crcs);
    mem_free(s.vector_crcs);
    mem_free(s.w.buf);
    mem_free(s.nodes.place);
    mem_free(s.nodes.order);
    mem_free(s.rows);
    return rc;
}
