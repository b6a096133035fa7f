/* Is the graph sound? Whatever a walk follows is looked at: links, upper blocks, entry, and that rows and
 * nodes name each other. A file is asked the same when it is opened, so this has to be fast: one pass
 * over a list, nearly without branches, says whether anything may be wrong with it, and only then a
 * second one looks for what.
 *
 * That every node can be reached is another question, see hnsw_unreachable(): a graph where some nodes
 * cannot is worse, but nothing in it is wrong. */
#include "hnsw_file.h"

#include "base/error.h"
#include <math.h>

static bool hnsw_validate_used(const uint64_t *unused, uint32_t node) {
    return unused == NULL || (unused[node / 64] >> (node % 64) & 1) == 0;
}

/* ---- Links ---------------------------------------------------------------------------------- */

#define HNSW_CHECK_MARKS 8192u

/* What a pass over lists works with. */
struct hnsw_check {
    const struct hnsw *h;
    const uint64_t *unused;
    uint16_t list;                    /* number of the list; 0 = none */
    uint16_t marks[HNSW_CHECK_MARKS]; /* the last list with a link whose low bits are the index */
};

static void hnsw_check_start(struct hnsw_check *c, const struct hnsw *h, const uint64_t *unused) {
    c->h = h;
    c->unused = unused;
    c->list = 0;
    memset(c->marks, 0, sizeof c->marks);
}

/* Whether the list may have a fault. If the links that are not HNSW_NONE don't come first, one of as many
 * at the beginning is, which is beyond all slots. Twice the same link is told by a mark that is there
 * already, and the node itself has one from the beginning; now and then another link has the same
 * mark, and the list is looked at again for nothing. */
static bool hnsw_check_suspect(struct hnsw_check *c, uint32_t node, const uint32_t *links,
                               uint32_t max) {
    if (++c->list == 0) {
        hnsw_check_start(c, c->h, c->unused);
        c->list = 1;
    }
    const uint16_t list = c->list;
    uint32_t n = 0, highest = 0, marked = 0;
    for (uint32_t i = 0; i < max; i++) {
        n += links[i] != HNSW_NONE;
    }
    c->marks[node % HNSW_CHECK_MARKS] = list;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t link = links[i];
        uint16_t *const mark = &c->marks[link % HNSW_CHECK_MARKS];
        highest = link > highest ? link : highest;
        marked += *mark == list;
        *mark = list;
    }
    return marked > 0 || highest >= c->h->slots;
}

/* Most are asked about layer 1, where the block itself needs not be looked at. */
static bool hnsw_check_in_layer(const struct hnsw *h, uint32_t node, uint32_t layer) {
    if (layer == 0) {
        return true;
    }
    const uint32_t at = hnsw_chunk_of(h, node)->uppers[hnsw_within(node)];
    return at != HNSW_NONE && (layer == 1 || *hnsw_upper(h, at) >= layer);
}

/* What is wrong with link i of the list; NULL: nothing. */
static const char *hnsw_check_link(const struct hnsw_check *c, const uint32_t *links, uint32_t i,
                                   uint32_t layer) {
    if (i > 0 && links[i - 1] == HNSW_NONE) {
        return "after the end of the list";
    }
    if (links[i] >= c->h->slots) {
        return "to a node that does not exist";
    }
    if (!hnsw_validate_used(c->unused, links[i])) {
        return "to an unused slot";
    }
    if (!hnsw_check_in_layer(c->h, links[i], layer)) {
        return "to a node that is not in this layer";
    }
    return NULL;
}

/* A link that the list has twice; HNSW_NONE: there is none. Every pair is compared, as rows of equal
 * length, which compilers turn into vectors; ends of lists are made unlike each other. */
static uint32_t hnsw_check_twice(const uint32_t *links, uint32_t max) {
    uint32_t all[4 * HNSW_LINKS_MAX];
    for (uint32_t i = 0; i < max; i++) {
        all[i] = links[i] == HNSW_NONE ? HNSW_NODES_MAX + i : links[i];
        all[max + i] = all[i];
    }
    uint32_t twice = 0;
    for (uint32_t by = 1; by <= max / 2; by++) {
        for (uint32_t i = 0; i < max; i++) {
            twice |= all[i] == all[i + by];
        }
    }
    for (uint32_t i = 0; twice != 0 && i < max; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (all[i] == all[j]) {
                return all[i];
            }
        }
    }
    return HNSW_NONE;
}

static int hnsw_check_again(const struct hnsw_check *c, uint32_t node, uint32_t layer,
                            u2i_error_t *err) {
    const uint32_t *const links = hnsw_links(c->h, node, layer);
    const uint32_t max = hnsw_links_of_layer(c->h, layer);
    for (uint32_t i = 0; i < max; i++) {
        if (links[i] == HNSW_NONE) {
            continue;
        }
        const char *const why =
            links[i] == node ? "to itself" : hnsw_check_link(c, links, i, layer);
        if (why != NULL) {
            return error_set(err, U2I_ECORRUPT, "node %u is linked in layer %u to node %u, %s",
                             node, layer, links[i], why);
        }
    }
    const uint32_t twice = hnsw_check_twice(links, max);
    return twice == HNSW_NONE
               ? U2I_OK
               : error_set(err, U2I_ECORRUPT, "node %u is linked in layer %u to node %u twice",
                           node, layer, twice);
}

static int hnsw_check_list(struct hnsw_check *c, uint32_t node, uint32_t layer, u2i_error_t *err) {
    const uint32_t *const links = hnsw_links(c->h, node, layer);
    const uint32_t max = hnsw_links_of_layer(c->h, layer);
    const bool again = hnsw_check_suspect(c, node, links, max) || layer > 0 || c->unused != NULL;
    return again ? hnsw_check_again(c, node, layer, err) : U2I_OK;
}

/* ---- Nodes ---------------------------------------------------------------------------------- */

static int hnsw_validate_row(const struct hnsw *h, const uint64_t *unused, uint32_t node,
                             u2i_error_t *err) {
    const uint32_t row = hnsw_row(h, node);
    if (!hnsw_live(h, node)) {
        return row == HNSW_NONE
                   ? U2I_OK
                   : error_set(err, U2I_ECORRUPT, "node %u is not live, but has row %u", node, row);
    }
    if (!hnsw_validate_used(unused, node)) {
        return error_set(err, U2I_ECORRUPT, "node %u is live, but its slot is unused", node);
    }
    if (row >= HNSW_NODES_MAX) {
        return error_set(err, U2I_ECORRUPT, "node %u is live, but has no row", node);
    }
    const uint32_t other = hnsw_node(h, row);
    if (other == node) {
        return U2I_OK;
    }
    return other == HNSW_NONE
               ? error_set(err, U2I_ECORRUPT, "node %u has row %u, which is in no node", node, row)
               : error_set(err, U2I_ECORRUPT, "node %u has row %u, which is in node %u", node, row,
                           other);
}

static int hnsw_check_node(struct hnsw_check *c, uint32_t node, u2i_error_t *err) {
    const struct hnsw *const h = c->h;
    const struct hnsw_head head = hnsw_head_of(hnsw_code(h, node));
    if (!(head.scale >= 0) || !isfinite(head.scale)) {
        return error_set(err, U2I_ECORRUPT, "node %u has the scale %g", node, (double)head.scale);
    }
    if (!(head.reach >= 0) || !isfinite(head.reach)) {
        return error_set(err, U2I_ECORRUPT, "node %u has the reach %g", node, (double)head.reach);
    }
    if (!(head.height >= 0) || !(head.height <= 1)) {
        return error_set(err, U2I_ECORRUPT, "node %u has the height %g", node, (double)head.height);
    }
    const uint32_t layers = hnsw_node_layers(h, node);
    if (layers > h->layers && hnsw_live(h, node)) { /* one whose insertion was given up may */
        return error_set(err, U2I_ECORRUPT, "node %u is in layer %u, but the highest one is %u",
                         node, layers, h->layers);
    }
    for (uint32_t layer = 0; layer <= layers; layer++) {
        U2I_TRY(hnsw_check_list(c, node, layer, err));
    }
    return U2I_OK;
}

int hnsw_validate_nodes(const struct hnsw *h, const struct hnsw_range *range, u2i_error_t *err) {
    struct hnsw_check c;
    hnsw_check_start(&c, h, range->unused);
    for (uint32_t node = range->from; node < range->to; node++) {
        if (hnsw_validate_used(range->unused, node)) {
            U2I_TRY(hnsw_check_node(&c, node, err));
        }
    }
    return U2I_OK;
}

int hnsw_validate_entry(const struct hnsw *h, const uint64_t *unused, u2i_error_t *err) {
    if (h->layers > HNSW_LAYERS_MAX) {
        return error_set(err, U2I_ECORRUPT, "the graph has %u layers, more than %u", h->layers,
                         HNSW_LAYERS_MAX);
    }
    if (h->entry == HNSW_NONE) {
        return atomic_load(&h->count) == 0 && h->layers == 0
                   ? U2I_OK
                   : error_set(err, U2I_ECORRUPT, "the graph has nodes, but no entry");
    }
    if (h->entry >= h->slots || !hnsw_validate_used(unused, h->entry)) {
        return error_set(err, U2I_ECORRUPT, "the entry is node %u, which is not in use", h->entry);
    }
    const uint32_t layers = hnsw_node_layers(h, h->entry);
    return layers == h->layers
               ? U2I_OK
               : error_set(err, U2I_ECORRUPT, "the entry, node %u, is in %u layers of %u", h->entry,
                           layers, h->layers);
}

/* ---- The whole ------------------------------------------------------------------------------ */

/* A bit for each unused slot into `unused`, zeroed by the caller. */
static int hnsw_validate_free(const struct hnsw *h, uint64_t *unused, u2i_error_t *err) {
    for (size_t i = 0; i < h->free_n; i++) {
        const uint32_t slot = h->free_slots[i];
        if (slot >= h->slots) {
            return error_set(err, U2I_ECORRUPT, "slot %u is in the list of unused ones, of %u",
                             slot, h->slots);
        }
        if (!hnsw_validate_used(unused, slot)) {
            return error_set(err, U2I_ECORRUPT, "slot %u is in the list of unused ones twice",
                             slot);
        }
        unused[slot / 64] |= (uint64_t)1 << (slot % 64);
    }
    return U2I_OK;
}

/* Blocks come in order of their nodes, one after the other. */
static int hnsw_validate_uppers(const struct hnsw *h, u2i_error_t *err) {
    uint64_t end = 0;
    for (uint32_t node = 0; node < h->slots; node++) {
        const uint32_t at = hnsw_chunk_of(h, node)->uppers[hnsw_within(node)];
        if (at == HNSW_NONE) {
            continue;
        }
        if (at < end || at >= h->upper_end) {
            return error_set(err, U2I_ECORRUPT,
                             "node %u has its upper layers at %u, outside of %llu to %llu", node,
                             at, (unsigned long long)end, (unsigned long long)h->upper_end);
        }
        const uint32_t layers = *hnsw_upper(h, at);
        if (layers == 0 || layers > HNSW_LAYERS_MAX) {
            return error_set(err, U2I_ECORRUPT, "node %u has %u upper layers", node, layers);
        }
        const uint32_t words = 1 + layers * h->links_max;
        end = (uint64_t)at + words;
        if (end > h->upper_end || hnsw_file_upper_at(at, words) != at) {
            return error_set(err, U2I_ECORRUPT, "the upper layers of node %u go beyond their end",
                             node);
        }
    }
    return U2I_OK;
}

/* Every row that names a node is named by it; with as many rows as live nodes, the maps agree. */
static int hnsw_validate_part(const struct hnsw *h, uint32_t part, uint32_t *rows,
                              u2i_error_t *err) {
    const _Atomic uint32_t *const nodes =
        atomic_load_explicit(&h->node_of[part], memory_order_acquire);
    for (uint32_t i = 0; nodes != NULL && i < 1u << HNSW_ROWS_SHIFT; i++) {
        const uint32_t node = atomic_load_explicit(&nodes[i], memory_order_relaxed);
        if (node == HNSW_NONE) {
            continue;
        }
        const uint32_t row = (part << HNSW_ROWS_SHIFT) + i;
        if (node >= h->slots || hnsw_row(h, node) != row) {
            return error_set(err, U2I_ECORRUPT, "row %u is in node %u, which does not have it", row,
                             node);
        }
        ++*rows;
    }
    return U2I_OK;
}

static int hnsw_validate_counts(const struct hnsw *h, u2i_error_t *err) {
    uint32_t rows = 0;
    for (uint32_t part = 0; part < HNSW_ROWS_PARTS; part++) {
        U2I_TRY(hnsw_validate_part(h, part, &rows, err));
    }
    uint64_t live = 0;
    const uint32_t chunks = (h->slots + HNSW_CHUNK_NODES - 1) >> HNSW_CHUNK_SHIFT;
    for (uint32_t chunk = 0; chunk < chunks; chunk++) {
        for (uint32_t i = 0; i < HNSW_CHUNK_NODES; i++) {
            live += hnsw_bit(h->chunks[chunk].live, i);
        }
    }
    const uint32_t count = atomic_load(&h->count);
    const uint32_t removed = atomic_load(&h->removed_n);
    if (live != count || rows != count) {
        return error_set(err, U2I_ECORRUPT,
                         "%u rows are counted, but %llu nodes are live, of %u rows", count,
                         (unsigned long long)live, rows);
    }
    const size_t used = h->slots - h->free_n;
    return used == (size_t)count + removed
               ? U2I_OK
               : error_set(err, U2I_ECORRUPT, "of %zu nodes %u are live and %u removed", used,
                           count, removed);
}

/* Nothing that a repair is about to free is live, or free already. */
static int hnsw_validate_doomed(const struct hnsw *h, const uint64_t *unused, u2i_error_t *err) {
    for (uint32_t node = 0; h->doomed != NULL && node < h->doomed_slots; node++) {
        if (!hnsw_bit(h->doomed, node)) {
            continue;
        }
        if (node >= h->slots || hnsw_live(h, node) || !hnsw_validate_used(unused, node)) {
            return error_set(err, U2I_ECORRUPT, "node %u is to be freed, but is not a removed one",
                             node);
        }
    }
    return U2I_OK;
}

static int hnsw_validate_all(const struct hnsw *h, uint64_t *unused, u2i_error_t *err) {
    const struct hnsw_range all = {.unused = unused, .from = 0, .to = h->slots};
    U2I_TRY(hnsw_validate_free(h, unused, err));
    U2I_TRY(hnsw_validate_uppers(h, err));
    U2I_TRY(hnsw_validate_entry(h, unused, err));
    U2I_TRY(hnsw_validate_nodes(h, &all, err));
    for (uint32_t node = 0; node < h->slots; node++) {
        U2I_TRY(hnsw_validate_row(h, unused, node, err));
    }
    U2I_TRY(hnsw_validate_counts(h, err));
    return hnsw_validate_doomed(h, unused, err);
}

int hnsw_validate(const struct hnsw *h, u2i_error_t *err) {
    uint64_t *const unused = mem_zalloc(((size_t)h->slots + 63) / 64 * sizeof *unused);
    if (unused == NULL) {
        return error_oom(err);
    }
    const int rc = hnsw_validate_all(h, unused, err);
    mem_free(unused);
    return rc;
}

/* ---- Reachable nodes ------------------------------------------------------------------------ */

/* Marks in `seen` what layer 0 leads to from the entry; returns how many live nodes. */
static uint32_t hnsw_validate_reach(const struct hnsw *h, uint64_t *seen, uint32_t *queue) {
    uint32_t live = 0, n = 0;
    queue[n++] = h->entry;
    seen[h->entry / 64] |= (uint64_t)1 << (h->entry % 64);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t *const links = hnsw_links(h, queue[i], 0);
        live += hnsw_live(h, queue[i]);
        for (uint32_t j = 0; j < 2 * h->links_max && links[j] != HNSW_NONE; j++) {
            uint64_t *const word = &seen[links[j] / 64];
            const uint64_t mark = (uint64_t)1 << (links[j] % 64);
            if ((*word & mark) == 0) {
                *word |= mark;
                queue[n++] = links[j];
            }
        }
    }
    return live;
}

uint32_t hnsw_unreachable(const struct hnsw *h) {
    const uint32_t count = atomic_load(&h->count);
    if (h->entry == HNSW_NONE) {
        return count;
    }
    uint64_t *const seen = mem_zalloc(((size_t)h->slots + 63) / 64 * sizeof *seen);
    uint32_t *const queue = alloc_array(h->slots, sizeof *queue);
    const bool can = seen != NULL && queue != NULL;
    const uint32_t reached = can ? hnsw_validate_reach(h, seen, queue) : 0;
    mem_free(queue);
    mem_free(seen);
    return can ? count - reached : HNSW_NONE;
}
