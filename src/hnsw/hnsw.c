/* The handle: memory of the graph, slots, and which row is in which node; see hnsw_internal.h for how
 * the parts lie. */
#include "hnsw_internal.h"

#include "base/error.h"
#include "base/rng.h"
#include <math.h>

enum { HNSW_LINKS_DEFAULT = 16, HNSW_EF_CONSTRUCTION_DEFAULT = 200 };

int hnsw_new(const struct hnsw_options *opt, struct hnsw **out, u2i_error_t *err) {
    assert(opt->dim > 0 && opt->dim <= U2I_DIM_MAX && opt->links <= HNSW_LINKS_MAX);
    *out = NULL;
    struct hnsw *const h = mem_zalloc(sizeof *h);
    if (h == NULL) {
        return error_oom(err);
    }
    h->dim = opt->dim;
    hnsw_code_size(h, h->dim);
    h->links_max = opt->links != 0 ? opt->links : HNSW_LINKS_DEFAULT;
    h->ef_construction =
        opt->ef_construction != 0 ? opt->ef_construction : HNSW_EF_CONSTRUCTION_DEFAULT;
    h->metric = opt->metric;
    h->seed = opt->seed;
    h->norm_max = opt->norm_max;
    h->questions = opt->questions;
    h->questions_n = opt->questions_n;
    h->entry = HNSW_NONE;
    (void)pthread_mutex_init(&h->scratch_lock, NULL); /* the default kind: nothing can fail */
    /* Large tables, zeroed by the system where they are touched: so they cost what is used of them. */
    h->chunks = mem_zalloc(HNSW_CHUNKS_MAX * sizeof *h->chunks);
    h->holds = mem_zalloc(HNSW_CHUNKS_MAX * sizeof *h->holds);
    h->uppers = mem_zalloc(HNSW_UPPERS_MAX * sizeof *h->uppers);
    h->node_of = mem_zalloc(HNSW_ROWS_PARTS * sizeof *h->node_of);
    if (h->chunks == NULL || h->holds == NULL || h->uppers == NULL || h->node_of == NULL) {
        hnsw_free(h);
        return error_oom(err);
    }
    *out = h;
    return U2I_OK;
}

/* ---- Chunks --------------------------------------------------------------------------------- */

static size_t hnsw_lay(size_t *end, size_t bytes) {
    const size_t at = (*end + HNSW_CODE_ALIGN - 1) / HNSW_CODE_ALIGN * HNSW_CODE_ALIGN;
    *end = at + bytes;
    return at;
}

void hnsw_layout(const struct hnsw *h, struct hnsw_layout *out) {
    const size_t n = HNSW_CHUNK_NODES;
    size_t end = 0;
    out->codes = hnsw_lay(&end, n * h->code_bytes);
    out->links = hnsw_lay(&end, n * 2 * h->links_max * sizeof(uint32_t));
    out->rows = hnsw_lay(&end, n * sizeof(uint32_t));
    out->uppers = hnsw_lay(&end, n * sizeof(uint32_t));
    out->live = hnsw_lay(&end, n / 8);
    out->bytes = end;
}

static size_t hnsw_vectors_bytes(const struct hnsw *h) {
    return (size_t)HNSW_CHUNK_NODES * h->dim * sizeof(float);
}

void hnsw_chunk_point(const struct hnsw *h, struct hnsw_chunk *c, char *graph) {
    struct hnsw_layout at;
    hnsw_layout(h, &at);
    c->codes = (int8_t *)(graph + at.codes);
    c->links = (uint32_t *)(void *)(graph + at.links);
    c->rows = (uint32_t *)(void *)(graph + at.rows);
    c->uppers = (uint32_t *)(void *)(graph + at.uppers);
    c->live = (hnsw_bits *)(void *)(graph + at.live);
}

int hnsw_chunk_new(struct hnsw *h, uint32_t chunk) {
    struct hnsw_layout at;
    hnsw_layout(h, &at);
    struct hnsw_hold hold = {.graph = pages_alloc(at.bytes),
                             .vectors = pages_alloc(hnsw_vectors_bytes(h))};
    if (hold.graph == NULL || hold.vectors == NULL) {
        pages_free(hold.graph, at.bytes);
        pages_free(hold.vectors, hnsw_vectors_bytes(h));
        return U2I_ENOMEM;
    }
    struct hnsw_chunk c = {.vectors = hold.vectors};
    hnsw_chunk_point(h, &c, hold.graph);
    h->chunks[chunk] = c;
    h->holds[chunk] = hold;
    return U2I_OK;
}

static void hnsw_chunk_free(struct hnsw *h, uint32_t chunk) {
    struct hnsw_layout at;
    hnsw_layout(h, &at);
    pages_free(h->holds[chunk].graph, at.bytes);
    pages_free(h->holds[chunk].vectors, hnsw_vectors_bytes(h));
    mem_free(h->holds[chunk].checked);
}

static uint32_t hnsw_chunks(const struct hnsw *h) {
    return (h->slots + HNSW_CHUNK_NODES - 1) / HNSW_CHUNK_NODES;
}

static void hnsw_free_tables(struct hnsw *h) {
    for (uint32_t i = 0; h->node_of != NULL && i < HNSW_ROWS_PARTS; i++) {
        mem_free(h->node_of[i]);
    }
    for (uint32_t i = 0; h->uppers != NULL && (uint64_t)i << HNSW_UPPER_SHIFT < h->upper_end; i++) {
        mem_free(h->uppers[i]);
    }
    mem_free(h->chunks);
    mem_free(h->holds);
    mem_free(h->uppers);
    mem_free(h->node_of);
}

void hnsw_free(struct hnsw *h) {
    if (h == NULL) {
        return;
    }
    /* One more: made for a node that there was no memory for then. */
    for (uint32_t i = 0; h->holds != NULL && i <= hnsw_chunks(h) && i < HNSW_CHUNKS_MAX; i++) {
        hnsw_chunk_free(h, i);
    }
    hnsw_free_tables(h);
    hnsw_scratch_free_all(h);
    (void)pthread_mutex_destroy(&h->scratch_lock);
    mem_free(h->turn.rows);
    mem_free(h->turn.scales);
    mem_free(h->free_slots);
    mem_free(h->doomed);
    hnsw_unmap(&h->map);
    mem_free(h);
}

/* ---- Slots ---------------------------------------------------------------------------------- */

/* Layers above 0, geometric with mean 1 / (M - 1) as in the paper, from the seed and the slot alone: so
 * the order of calls and threads doesn't matter. */
static uint32_t hnsw_slot_layers(const struct hnsw *h, uint32_t slot) {
    struct rng r;
    rng_seed(&r, h->seed ^ ((uint64_t)slot + 1) * 0x9E3779B97F4A7C15u);
    const double u = 1.0 - rng_unit(&r);
    const double base = h->links_max > 1 ? (double)h->links_max : 2;
    const double layers = -log(u) / log(base);
    return layers < HNSW_LAYERS_MAX ? (uint32_t)layers : HNSW_LAYERS_MAX;
}

uint32_t hnsw_upper_new(struct hnsw *h, uint32_t layers) {
    const uint32_t words = 1 + layers * h->links_max;
    uint64_t at = h->upper_end;
    if ((at & (HNSW_UPPER_WORDS - 1)) + words > HNSW_UPPER_WORDS) {
        at = (at | (HNSW_UPPER_WORDS - 1)) + 1; /* a block lies in one segment */
    }
    const uint64_t segment = at >> HNSW_UPPER_SHIFT;
    if (segment >= HNSW_UPPERS_MAX) {
        return HNSW_NONE;
    }
    if (h->uppers[segment] == NULL) {
        h->uppers[segment] = alloc_array(HNSW_UPPER_WORDS, sizeof(uint32_t));
        if (h->uppers[segment] == NULL) {
            return HNSW_NONE;
        }
        memset(h->uppers[segment], 0xFF, HNSW_UPPER_WORDS * sizeof(uint32_t));
    }
    h->upper_end = at + words;
    uint32_t *const block = hnsw_upper(h, (uint32_t)at);
    memset(block, 0xFF, words * sizeof *block);
    block[0] = layers;
    return (uint32_t)at;
}

/* A slot that was never used: its chunk, its layers, no links, no row. */
static uint32_t hnsw_slot_new(struct hnsw *h) {
    const uint32_t node = h->slots;
    if (node >= HNSW_NODES_MAX) {
        return HNSW_NONE;
    }
    if (hnsw_chunk_of(h, node)->codes == NULL &&
        hnsw_chunk_new(h, node >> HNSW_CHUNK_SHIFT) != U2I_OK) {
        return HNSW_NONE;
    }
    struct hnsw_chunk *const c = hnsw_chunk_of(h, node);
    const uint32_t layers = hnsw_slot_layers(h, node);
    c->uppers[hnsw_within(node)] = layers > 0 ? hnsw_upper_new(h, layers) : HNSW_NONE;
    if (layers > 0 && c->uppers[hnsw_within(node)] == HNSW_NONE) {
        return HNSW_NONE;
    }
    memset(hnsw_links(h, node, 0), 0xFF, hnsw_links_of_layer(h, 0) * sizeof(uint32_t));
    c->rows[hnsw_within(node)] = HNSW_NONE;
    h->slots++;
    return node;
}

uint32_t hnsw_slot_take(struct hnsw *h) {
    return h->free_n > 0 ? h->free_slots[--h->free_n] : hnsw_slot_new(h);
}

int hnsw_slots_reserve(struct hnsw *h, size_t n) {
    return array_reserve(&h->free_slots, &h->free_cap, h->free_n + n, sizeof *h->free_slots);
}

void hnsw_slot_give(struct hnsw *h, uint32_t node) {
    assert(!hnsw_live(h, node) && h->free_n < h->free_cap);
    for (uint32_t layer = 0; layer <= hnsw_node_layers(h, node); layer++) {
        memset(hnsw_links(h, node, layer), 0xFF, hnsw_links_of_layer(h, layer) * sizeof(uint32_t));
    }
    h->free_slots[h->free_n++] = node;
}

void hnsw_bit_set(hnsw_bits *bits, uint32_t i, bool on) {
    const uint64_t mark = (uint64_t)1 << (i % 64);
    if (on) {
        atomic_fetch_or_explicit(&bits[i / 64], mark, memory_order_relaxed);
    } else {
        atomic_fetch_and_explicit(&bits[i / 64], ~mark, memory_order_relaxed);
    }
}

/* ---- Rows ----------------------------------------------------------------------------------- */

static _Atomic uint32_t *hnsw_rows_part(const struct hnsw *h, uint32_t row) {
    return atomic_load_explicit(&h->node_of[row >> HNSW_ROWS_SHIFT], memory_order_acquire);
}

uint32_t hnsw_node(const struct hnsw *h, uint32_t row) {
    const _Atomic uint32_t *const part = row < HNSW_NODES_MAX ? hnsw_rows_part(h, row) : NULL;
    return part == NULL ? HNSW_NONE
                        : atomic_load_explicit(&part[row & ((1u << HNSW_ROWS_SHIFT) - 1)],
                                               memory_order_relaxed);
}

int hnsw_node_of_reserve(struct hnsw *h, uint32_t row) {
    if (row >= HNSW_NODES_MAX) {
        return U2I_EINVAL;
    }
    if (row >= atomic_load(&h->rows_end)) {
        atomic_store(&h->rows_end, row + 1);
    }
    if (hnsw_rows_part(h, row) != NULL) {
        return U2I_OK;
    }
    const size_t n = (size_t)1 << HNSW_ROWS_SHIFT;
    _Atomic uint32_t *const part = alloc_array(n, sizeof *part);
    if (part == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        atomic_init(&part[i], HNSW_NONE);
    }
    atomic_store_explicit(&h->node_of[row >> HNSW_ROWS_SHIFT], part, memory_order_release);
    return U2I_OK;
}

void hnsw_node_of_set(struct hnsw *h, uint32_t row, uint32_t node) {
    atomic_store_explicit(&hnsw_rows_part(h, row)[row & ((1u << HNSW_ROWS_SHIFT) - 1)], node,
                          memory_order_relaxed);
}

void hnsw_remove(struct hnsw *h, uint32_t row) {
    const uint32_t node = hnsw_node(h, row);
    if (node == HNSW_NONE) {
        return;
    }
    hnsw_node_of_set(h, row, HNSW_NONE);
    hnsw_chunk_of(h, node)->rows[hnsw_within(node)] = HNSW_NONE;
    hnsw_bit_set(hnsw_chunk_of(h, node)->live, hnsw_within(node), false);
    atomic_fetch_sub(&h->count, 1);
    atomic_fetch_add(&h->removed_n, 1);
}

bool hnsw_contains(const struct hnsw *h, uint32_t row) {
    return hnsw_node(h, row) != HNSW_NONE;
}

void hnsw_each_row(const struct hnsw *h, hnsw_row_fn fn, void *ctx) {
    for (uint32_t part = 0; part < HNSW_ROWS_PARTS; part++) {
        const uint32_t first = part << HNSW_ROWS_SHIFT;
        for (uint32_t i = 0; hnsw_rows_part(h, first) != NULL && i < 1u << HNSW_ROWS_SHIFT; i++) {
            if (hnsw_node(h, first + i) != HNSW_NONE) {
                fn(ctx, first + i);
            }
        }
    }
}

const float *hnsw_node_vector(const struct hnsw *h, uint32_t node) {
    const struct hnsw_chunk *const c = hnsw_chunk_of(h, node);
    const uint32_t i = hnsw_within(node);
    const float *const v = c->vectors + (size_t)i * h->dim;
    if (c->checked == NULL || hnsw_bit(c->checked, i)) {
        return v;
    }
    const uint32_t crc = h->holds[node >> HNSW_CHUNK_SHIFT].crcs[i];
    if (vec_get()->crc32c(0, v, h->dim * sizeof *v) != crc) {
        atomic_store(&hnsw_mutable(h)->damaged, true);
        return NULL;
    }
    hnsw_bit_set(c->checked, i, true);
    return v;
}

const float *hnsw_vector(const struct hnsw *h, uint32_t row) {
    const uint32_t node = hnsw_node(h, row);
    return node == HNSW_NONE ? NULL : hnsw_node_vector(h, node);
}

/* ---- Figures -------------------------------------------------------------------------------- */

void hnsw_stats(const struct hnsw *h, struct hnsw_stats *out) {
    struct hnsw_layout at;
    hnsw_layout(h, &at);
    const size_t per_node = at.bytes / HNSW_CHUNK_NODES;
    *out = (struct hnsw_stats){.count = atomic_load(&h->count),
                               .removed = atomic_load(&h->removed_n),
                               .ef_10 = atomic_load(&h->ef_at[0]),
                               .recall = h->ef.recall,
                               .layers = h->layers,
                               .mapped_bytes = h->map.bytes,
                               .damaged = atomic_load(&h->damaged)};
    size_t code_bytes = h->upper_end * sizeof(uint32_t) + h->free_cap * sizeof *h->free_slots;
    for (uint32_t i = 0; i < hnsw_chunks(h); i++) {
        const uint32_t first = i << HNSW_CHUNK_SHIFT;
        const size_t used =
            h->slots - first < HNSW_CHUNK_NODES ? h->slots - first : HNSW_CHUNK_NODES;
        code_bytes += h->holds[i].graph != NULL ? used * per_node : 0;
        out->vector_bytes += h->holds[i].vectors != NULL ? used * h->dim * sizeof(float) : 0;
    }
    for (uint32_t i = 0; i < HNSW_ROWS_PARTS; i++) {
        const bool made = atomic_load_explicit(&h->node_of[i], memory_order_relaxed) != NULL;
        code_bytes += made ? sizeof(uint32_t) << HNSW_ROWS_SHIFT : 0;
    }
    out->code_bytes = code_bytes;
}
