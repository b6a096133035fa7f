/* The graph as a file.
 *
 *     header      one page: what the graph is, where the sections are, its own checksum at the end
 *     graph       whole chunks exactly as in memory (hnsw_layout), each at the start of a page, so that
 *                 the walk can run on the mapped file; then the last chunk, which is rarely full, with
 *                 the same parts cut to its nodes
 *     uppers      words of the upper layers, block by block in order of node
 *     turn        the directions of the codes, code_dims * dim bytes and their scales, if they are not
 *                 the vectors' own
 *     checksums   CRC-32C of each float vector
 *     blocks      CRC-32C of each MiB from the graph to here
 *     vectors     floats, [node][dim], up to the end of the file
 *
 * Every byte is under a checksum: of the header, of a block, of the table of blocks (in the header), of
 * a vector. Vectors come last and are checked one by one when they are looked at, so that opening
 * does not read them: they are most of the file. Checksums protect against rot, not against malice: so
 * all numbers are checked besides before anything follows them.
 *
 * Numbers are little-endian; on another kind of machine the magic reads as something else, and the
 * graph is built anew, as after any damage: the file holds nothing that is not in the store.
 *
 * Nodes are numbered anew when the graph is written (hnsw_order.c), without the unused slots. Removed
 * nodes that are still linked stay, since paths lead across them; their repair starts again after
 * opening. The file belongs to us, and is replaced as a whole, never written to. */
#ifndef U2I_HNSW_FILE_H
#define U2I_HNSW_FILE_H

#include "hnsw_internal.h"

#define HNSW_FILE_MAGIC   0x77736e682d693275u /* "u2i-hnsw" */
#define HNSW_FILE_VERSION 2u
#define HNSW_FILE_PAGE    4096u
#define HNSW_FILE_BLOCK   (1u << 20)
#define HNSW_FILE_CRC_AT  (HNSW_FILE_PAGE - 4) /* the header's checksum, over all before it */
#define HNSW_FILE_EF_MAX  (1u << 20)           /* more than any calibration finds */
#define HNSW_FILE_ALIGN   64u                  /* alignment of the parts of the last chunk */

/* Where the sections begin: graph and vectors at the start of a page, the others of a cache line. */
struct hnsw_sections {
    uint64_t graph, uppers, turn, crcs, blocks, vectors, end;
    uint64_t block_n; /* checksums in `blocks` */
};

struct hnsw_file_header { /* at the start of the first page; the rest of it is zero */
    uint64_t magic;
    uint32_t version;
    uint32_t dim, code_dims, metric, links_max, ef_construction, chunk_nodes;
    uint32_t nodes, count; /* all; live ones */
    uint32_t entry, layers;
    uint32_t blocks_crc; /* of the table of blocks and what fills its last page */
    uint64_t seed, upper_words;
    double norm_max;
    double ef_recall;
    uint32_t ef_k[2], ef[2], ef_count;
    uint32_t zero;
    uint64_t sequence; /* the owner's stamp */
    uint8_t token[16];
    struct hnsw_sections at;
};
_Static_assert(sizeof(struct hnsw_file_header) == 200, "no holes: the header is written as it is");

static inline uint64_t hnsw_file_align(uint64_t at, uint64_t to) {
    return (at + to - 1) / to * to;
}

/* Bytes that a whole chunk takes in the file. */
static inline uint64_t hnsw_file_chunk_bytes(const struct hnsw *h) {
    struct hnsw_layout at;
    hnsw_layout(h, &at);
    return hnsw_file_align(at.bytes, HNSW_FILE_PAGE);
}

/* Parts of a last chunk of n nodes. */
static inline void hnsw_file_last_layout(const struct hnsw *h, uint32_t n,
                                         struct hnsw_layout *out) {
    const size_t align = HNSW_FILE_ALIGN;
    out->codes = 0;
    out->links = hnsw_file_align((size_t)n * h->code_bytes, align);
    out->rows =
        hnsw_file_align(out->links + (size_t)n * 2 * h->links_max * sizeof(uint32_t), align);
    out->uppers = hnsw_file_align(out->rows + n * sizeof(uint32_t), align);
    out->live = hnsw_file_align(out->uppers + n * sizeof(uint32_t), align);
    out->bytes = out->live + ((size_t)n + 63) / 64 * sizeof(uint64_t);
}

/* Where the scales of the directions are, from the beginning of their section. */
static inline uint64_t hnsw_file_turn_scales(const struct hnsw *h) {
    return hnsw_file_align((uint64_t)h->code_dims * h->dim, HNSW_FILE_ALIGN);
}
static inline uint64_t hnsw_file_turn_bytes(const struct hnsw *h) {
    return h->code_dims == h->dim ? 0 : hnsw_file_turn_scales(h) + h->code_dims * sizeof(float);
}

/* All of it follows from these numbers, which are below 2^31 and 2^32: nothing overflows. */
static inline void hnsw_file_sections(const struct hnsw *h, uint32_t nodes, uint64_t upper_words,
                                      struct hnsw_sections *out) {
    struct hnsw_layout last;
    hnsw_file_last_layout(h, hnsw_within(nodes), &last);
    out->graph = HNSW_FILE_PAGE;
    uint64_t end = out->graph + (nodes >> HNSW_CHUNK_SHIFT) * hnsw_file_chunk_bytes(h) + last.bytes;
    out->uppers = hnsw_file_align(end, HNSW_FILE_ALIGN);
    out->turn = hnsw_file_align(out->uppers + upper_words * sizeof(uint32_t), HNSW_FILE_ALIGN);
    out->crcs = hnsw_file_align(out->turn + hnsw_file_turn_bytes(h), HNSW_FILE_ALIGN);
    out->blocks = hnsw_file_align(out->crcs + (uint64_t)nodes * sizeof(uint32_t), HNSW_FILE_ALIGN);
    out->block_n = (out->blocks - out->graph + HNSW_FILE_BLOCK - 1) / HNSW_FILE_BLOCK;
    end = out->blocks + out->block_n * sizeof(uint32_t);
    out->vectors = hnsw_file_align(end, HNSW_FILE_PAGE);
    out->end = out->vectors + (uint64_t)nodes * h->dim * sizeof(float);
}

/* Where a block of the upper layers goes, as hnsw_upper_new() has it: it lies in one segment. */
static inline uint64_t hnsw_file_upper_at(uint64_t end, uint32_t words) {
    const bool fits = (end & (HNSW_UPPER_WORDS - 1)) + words <= HNSW_UPPER_WORDS;
    return fits ? end : (end | (HNSW_UPPER_WORDS - 1)) + 1;
}

/* ---- Numbering (hnsw_order.c) --------------------------------------------------------------- */

/* order[new number] = slot, place[slot] = new number, HNSW_NONE for unused slots; both have room for
 * all slots. *n = nodes. U2I_ENOMEM, U2I_ETIMEOUT (cancelled). */
struct hnsw_numbering {
    uint32_t *order, *place;
    uint32_t n;
};
int hnsw_order(const struct hnsw *h, const struct hnsw_work *how, struct hnsw_numbering *out,
               u2i_error_t *err);

/* ---- Soundness (hnsw_validate.c) ------------------------------------------------------------ */

/* `unused` has a bit for each slot that is not in use; NULL: all are. All need sound upper blocks. */
struct hnsw_range {
    const uint64_t *unused;
    uint32_t from, to;
};
/* Nodes [from, to): scale, and links of all layers. */
int hnsw_validate_nodes(const struct hnsw *h, const struct hnsw_range *range, u2i_error_t *err);
int hnsw_validate_entry(const struct hnsw *h, const uint64_t *unused, u2i_error_t *err);

#endif
