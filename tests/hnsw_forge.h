/* A changed file of a graph (hnsw/hnsw_file.h) with checksums that match again, as somebody would make it
 * who wants to be believed. */
#ifndef U2I_TESTS_HNSW_FORGE_H
#define U2I_TESTS_HNSW_FORGE_H

#include "hnsw/hnsw_file.h"

struct bytes {
    char *p;
    size_t n;
};

static inline struct hnsw_file_header header_of(const struct bytes *b) {
    struct hnsw_file_header head;
    memcpy(&head, b->p, sizeof head);
    return head;
}

static inline uint32_t crc_of(const void *p, size_t n) {
    return vec_get()->crc32c(0, p, n);
}

/* The sections of the header are in order and within the file. */
static inline bool forge_within(const struct hnsw_sections *at, size_t n) {
    return at->graph <= at->crcs && at->crcs <= at->blocks && at->blocks <= at->vectors &&
           at->vectors <= n && at->block_n <= (at->vectors - at->blocks) / 4 &&
           at->block_n == (at->blocks - at->graph + HNSW_FILE_BLOCK - 1) / HNSW_FILE_BLOCK;
}

/* Of each vector. */
static inline void forge_vectors(struct bytes *b) {
    const struct hnsw_file_header head = header_of(b);
    const uint64_t bytes = (uint64_t)head.dim * sizeof(float);
    if (!forge_within(&head.at, b->n) || head.dim > U2I_DIM_MAX ||
        head.nodes > (head.at.blocks - head.at.crcs) / 4 ||
        head.nodes * bytes > b->n - head.at.vectors) {
        return;
    }
    for (uint32_t i = 0; i < head.nodes; i++) {
        const uint32_t crc = crc_of(b->p + head.at.vectors + i * bytes, bytes);
        memcpy(b->p + head.at.crcs + i * sizeof crc, &crc, sizeof crc);
    }
}

/* Of everything else. */
static inline void forge_blocks(struct bytes *b) {
    struct hnsw_file_header head = header_of(b);
    const struct hnsw_sections *const at = &head.at;
    if (forge_within(at, b->n)) {
        for (uint64_t i = 0; i < at->block_n; i++) {
            const uint64_t from = at->graph + i * HNSW_FILE_BLOCK;
            const uint64_t left = at->blocks - from;
            const uint32_t crc =
                crc_of(b->p + from, left < HNSW_FILE_BLOCK ? left : HNSW_FILE_BLOCK);
            memcpy(b->p + at->blocks + i * sizeof crc, &crc, sizeof crc);
        }
        head.blocks_crc = crc_of(b->p + at->blocks, at->vectors - at->blocks);
        memcpy(b->p, &head, sizeof head);
    }
    const uint32_t crc = crc_of(b->p, HNSW_FILE_CRC_AT);
    memcpy(b->p + HNSW_FILE_CRC_AT, &crc, sizeof crc);
}

#endif
