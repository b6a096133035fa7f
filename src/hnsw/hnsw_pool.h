/* The best nodes a walk has seen, in order, with a mark for those whose links were followed: a bounded
 * sorted array. With some tens to hundreds of entries, moving half of them on an insertion is one short
 * memmove, and what comes next is the first one without a mark; two heaps would be slower at both.
 *
 * An entry is one integer: the similarity, mapped so that smaller integers are more similar, then the
 * mark, then the node. So entries compare as integers, ties by node. */
#ifndef U2I_HNSW_POOL_H
#define U2I_HNSW_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HNSW_POOL_DONE ((uint64_t)1 << 31) /* the mark */

struct hnsw_pool {
    uint64_t *entries;
    uint32_t n, max; /* max = ef */
    uint32_t next;   /* all before it are marked */
    uint32_t cap;    /* memory of entries */
};

/* The bits of a float, ordered as the floats are, turned around. */
static inline uint32_t hnsw_pool_order(float sim) {
    uint32_t bits;
    memcpy(&bits, &sim, sizeof bits);
    const uint32_t mask = (uint32_t)((int32_t)bits >> 31) | 0x80000000u;
    return ~(bits ^ mask);
}

static inline float hnsw_pool_sim_of(uint64_t entry) {
    const uint32_t ordered = ~(uint32_t)(entry >> 32);
    const uint32_t mask = ((ordered >> 31) - 1) | 0x80000000u;
    const uint32_t bits = ordered ^ mask;
    float sim;
    memcpy(&sim, &bits, sizeof sim);
    return sim;
}

static inline uint64_t hnsw_pool_entry(float sim, uint32_t node) {
    return (uint64_t)hnsw_pool_order(sim) << 32 | node;
}

static inline uint32_t hnsw_pool_node(uint64_t entry) {
    return (uint32_t)(entry & (HNSW_POOL_DONE - 1));
}

/* Only what is better than the worst of a full pool gets in. As good is not enough: among thousands of
 * equal vectors a walk would go on from one to the other as long as their numbers get smaller. */
static inline bool hnsw_pool_takes(const struct hnsw_pool *p, uint64_t entry) {
    return p->n < p->max || entry >> 32 < p->entries[p->n - 1] >> 32;
}

/* Returns the place; the caller has asked hnsw_pool_takes(). */
static inline uint32_t hnsw_pool_put(struct hnsw_pool *p, uint64_t entry) {
    uint32_t lo = 0, len = p->n;
    while (len > 0) { /* branch-free: the compiler makes conditional moves of it */
        const uint32_t half = len / 2;
        const bool right = p->entries[lo + half] < entry;
        lo = right ? lo + half + 1 : lo;
        len = right ? len - half - 1 : half;
    }
    const uint32_t moved = (p->n < p->max ? p->n++ : p->n - 1) - lo;
    memmove(p->entries + lo + 1, p->entries + lo, moved * sizeof *p->entries);
    p->entries[lo] = entry;
    p->next = lo < p->next ? lo : p->next;
    return lo;
}

#endif
