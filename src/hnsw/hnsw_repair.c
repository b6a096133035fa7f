/* What becomes of removed nodes: a pass over the graph takes all links to them away, and then their
 * slots are free for new nodes.
 *
 * 1. A pass deals with the nodes that were removed before it began: they are "doomed", a set that
 *    does not change while the pass is under way, so that links to them only get fewer. New nodes
 *    never link to removed ones. Who is removed meanwhile waits for the next pass.
 * 2. Part by part, every node with doomed links gets a new list: what is sound stays, and among the
 *    nodes that it reached across the doomed ones those are chosen that the list lacks directions
 *    to. The paper is silent about removal; freshening a list by a bridge over the removed node is
 *    the usual way (e.g. Singh et al., "FreshDiskANN", 2021, algorithm 4). Each new link is offered
 *    in the other direction too, to be taken where there is room: the doomed node had held up its
 *    neighbours from both sides.
 * 3. That makes it rare, but not impossible, that nobody links to a live node any more. So a pass
 *    ends with a walk over all links of layer 0, and who was not reached is linked to from the
 *    nearest node that was. This also mends what insertions with full lists may have cut off.
 * 4. Then no list names a doomed node, so no search can be at one: their slots are given back by
 *    the next call, without a lock. Only where some are in layers that the graph has no other nodes
 *    in, they go with the entry, in the last commit, so that no node is ever above the entry. */
#include "hnsw_internal.h"

#include "base/error.h"

enum {
    HNSW_BRIDGE_MAX = 256,   /* nodes found across doomed ones, at most, and doomed ones crossed */
    HNSW_BRIDGE_CHOICE = 12, /* of them, the most similar ones may become links */
    HNSW_SEEN_SLOTS = 2048,  /* of a hash set of twice that and a list: never more than half full */
    HNSW_CONNECT_EF = 64,    /* nodes asked to link to one that was cut off */
    HNSW_REPAIR_STEP = 4096, /* nodes of a part in hnsw_repair() */
    HNSW_REACH_TICK = 1024   /* nodes walked over between two looks at `cancel` */
};

static uint32_t hnsw_list_length(const uint32_t *links, uint32_t max) {
    uint32_t n = 0;
    while (n < max && links[n] != HNSW_NONE) {
        n++;
    }
    return n;
}

static bool hnsw_repair_cancelled(const struct hnsw_work *how) {
    return how != NULL && how->cancel != NULL && atomic_load(how->cancel);
}

/* ---- A pass begins and ends ----------------------------------------------------------------- */

static size_t hnsw_marks_words(uint32_t slots) {
    return ((size_t)slots + 63) / 64;
}

/* Doomed is every slot that is neither live nor free: there is no plan on its way that holds
 * others. */
static int hnsw_repair_begin(struct hnsw *h) {
    hnsw_bits *const doomed = mem_zalloc(hnsw_marks_words(h->slots) * sizeof *doomed);
    if (doomed == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t node = 0; node < h->slots; node++) {
        if (!hnsw_live(h, node)) {
            hnsw_bit_set(doomed, node, true);
        }
    }
    for (size_t i = 0; i < h->free_n; i++) {
        hnsw_bit_set(doomed, h->free_slots[i], false);
    }
    h->doomed = doomed;
    h->doomed_slots = h->slots;
    h->repair_at = 0;
    return U2I_OK;
}

/* No list names a doomed node any more. */
static bool hnsw_repair_unlinked(const struct hnsw *h) {
    return h->doomed != NULL && h->repair_at == HNSW_NONE;
}

static void hnsw_repair_give(struct hnsw *h, uint32_t node) {
    hnsw_bit_set(h->doomed, node, false);
    hnsw_slot_give(h, node);
    atomic_fetch_sub(&h->removed_n, 1);
}

/* There has to be room for them. */
static void hnsw_repair_finish(struct hnsw *h) {
    for (uint32_t node = 0; node < h->doomed_slots; node++) {
        if (hnsw_bit(h->doomed, node)) {
            hnsw_repair_give(h, node);
        }
    }
    mem_free(h->doomed);
    h->doomed = NULL;
    h->doomed_slots = 0;
    h->repair_at = 0;
}

/* ---- The entry ------------------------------------------------------------------------------ */

/* A node of the highest layer that stays after the pass, a live one if there is; HNSW_NONE if none
 * stays. */
static int hnsw_repair_find_entry(const struct hnsw *h, uint32_t *out) {
    hnsw_bits *const unused = mem_zalloc(hnsw_marks_words(h->slots) * sizeof *unused);
    if (unused == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < h->free_n; i++) {
        hnsw_bit_set(unused, h->free_slots[i], true);
    }
    uint32_t best = HNSW_NONE, best_rank = 0;
    for (uint32_t node = 0; node < h->slots; node++) {
        if (hnsw_bit(unused, node) || hnsw_is_doomed(h, node)) {
            continue;
        }
        const uint32_t rank = 2 * hnsw_node_layers(h, node) + hnsw_live(h, node);
        if (best == HNSW_NONE || rank > best_rank) {
            best = node;
            best_rank = rank;
        }
    }
    mem_free(unused);
    *out = best;
    return U2I_OK;
}

/* Whether a doomed node is above the layers that the graph will have. */
static bool hnsw_repair_is_higher(const struct hnsw *h, uint32_t entry) {
    const uint32_t layers = entry == HNSW_NONE ? 0 : hnsw_node_layers(h, entry);
    for (uint32_t node = 0; node < h->doomed_slots; node++) {
        if (hnsw_bit(h->doomed, node) && hnsw_node_layers(h, node) > layers) {
            return true;
        }
    }
    return false;
}

/* What the pass's last batch has to do besides links. */
static int hnsw_repair_plan_end(struct hnsw_batch *b) {
    struct hnsw *const h = b->h;
    b->repair_end = true;
    b->repair_entry = h->entry;
    if (h->entry == HNSW_NONE || !hnsw_is_doomed(h, h->entry)) {
        return U2I_OK;
    }
    U2I_TRY(hnsw_repair_find_entry(h, &b->repair_entry));
    b->repair_free = hnsw_repair_is_higher(h, b->repair_entry);
    return b->repair_free ? hnsw_slots_reserve(h, atomic_load(&h->removed_n)) : U2I_OK;
}

void hnsw_repair_commit(struct hnsw_batch *b) {
    struct hnsw *const h = b->h;
    assert(h->doomed != NULL);
    h->repair_at = b->repair_end ? HNSW_NONE : b->repair_to;
    if (b->repair_end) {
        h->entry = b->repair_entry;
        h->layers = h->entry == HNSW_NONE ? 0 : hnsw_node_layers(h, h->entry);
    }
    if (b->repair_free) {
        hnsw_repair_finish(h);
    }
}

/* ---- Bridges over doomed nodes -------------------------------------------------------------- */

/* What one list's repair has come across. */
struct hnsw_bridge {
    const struct hnsw *h;
    uint32_t layer;
    uint32_t found[HNSW_BRIDGE_MAX]; /* live ones */
    uint32_t doomed[HNSW_BRIDGE_MAX];
    uint32_t found_n, doomed_n;
    uint32_t seen[HNSW_SEEN_SLOTS]; /* all of them, and the list */
};

static void hnsw_bridge_start(struct hnsw_bridge *g, const struct hnsw *h, uint32_t layer) {
    g->h = h;
    g->layer = layer;
    g->found_n = 0;
    g->doomed_n = 0;
    memset(g->seen, 0xFF, sizeof g->seen);
}

/* False if it is there already. */
static bool hnsw_bridge_see(struct hnsw_bridge *g, uint32_t node) {
    uint32_t at = node * 2654435761u >> 21;
    static_assert(HNSW_SEEN_SLOTS == 1u << 11, "the hash has as many bits");
    while (g->seen[at] != HNSW_NONE) {
        if (g->seen[at] == node) {
            return false;
        }
        at = (at + 1) % HNSW_SEEN_SLOTS;
    }
    g->seen[at] = node;
    return true;
}

static void hnsw_bridge_visit(struct hnsw_bridge *g, uint32_t node) {
    if (hnsw_is_doomed(g->h, node)) {
        if (g->doomed_n < HNSW_BRIDGE_MAX && hnsw_bridge_see(g, node)) {
            g->doomed[g->doomed_n++] = node;
        }
    } else if (g->found_n < HNSW_BRIDGE_MAX && hnsw_live(g->h, node) && hnsw_bridge_see(g, node)) {
        g->found[g->found_n++] = node;
    }
}

/* Live nodes across the doomed links of the list; across two or more where there are few. */
static void hnsw_bridge_cross(struct hnsw_bridge *g, uint32_t node) {
    const uint32_t max = hnsw_links_of_layer(g->h, g->layer);
    const uint32_t *const links = hnsw_links(g->h, node, g->layer);
    (void)hnsw_bridge_see(g, node);
    for (uint32_t i = 0; i < max && links[i] != HNSW_NONE; i++) {
        if (hnsw_is_doomed(g->h, links[i])) {
            hnsw_bridge_visit(g, links[i]);
        } else {
            (void)hnsw_bridge_see(g, links[i]);
        }
    }
    const uint32_t direct = g->doomed_n;
    for (uint32_t i = 0; i < g->doomed_n && (i < direct || g->found_n < g->h->links_max); i++) {
        const uint32_t *const across = hnsw_links(g->h, g->doomed[i], g->layer);
        for (uint32_t k = 0; k < max && across[k] != HNSW_NONE; k++) {
            hnsw_bridge_visit(g, across[k]);
        }
    }
}

/* Puts a candidate where it belongs among the best `max`, of which there are n; returns how many
 * there are then. */
static uint32_t hnsw_bridge_keep(struct hnsw_near *best, uint32_t n, uint32_t max,
                                 struct hnsw_near near) {
    if (n == max && near.sim <= best[n - 1].sim) {
        return n;
    }
    uint32_t at = n < max ? n++ : n - 1;
    for (; at > 0 && best[at - 1].sim < near.sim; at--) {
        best[at] = best[at - 1];
    }
    best[at] = near;
    return n;
}

/* The most similar ones of the found nodes, best first. */
static uint32_t hnsw_bridge_rank(const struct hnsw_bridge *g, uint32_t node, struct hnsw_scratch *s,
                                 struct hnsw_near *best) {
    uint32_t kept = 0;
    hnsw_look_for_node(g->h, s, node);
    for (uint32_t i = 0; i < g->found_n; i += HNSW_GATHER) {
        const uint32_t left = g->found_n - i;
        const uint32_t n = left < HNSW_GATHER ? left : HNSW_GATHER;
        memcpy(s->ids, g->found + i, n * sizeof *s->ids);
        hnsw_sims(g->h, s, n);
        for (uint32_t k = 0; k < n; k++) {
            const struct hnsw_near near = {s->sims[k], s->ids[k]};
            kept = hnsw_bridge_keep(best, kept, HNSW_BRIDGE_CHOICE, near);
        }
    }
    return kept;
}

/* The new list of one node that has doomed links. */
static int hnsw_repair_list(void *ctx, uint32_t i, struct hnsw_scratch *s) {
    struct hnsw_batch *const b = ctx;
    const struct hnsw_relink *const r = &b->relinks[i];
    const uint32_t max = hnsw_links_of_layer(b->h, r->layer);
    const uint32_t *const old = hnsw_links(b->h, r->node, r->layer);
    struct hnsw_bridge g; /* large: what need not be set is not */
    struct hnsw_near near[2 * HNSW_LINKS_MAX + HNSW_BRIDGE_CHOICE];
    uint32_t fixed = 0;
    hnsw_bridge_start(&g, b->h, r->layer);
    hnsw_bridge_cross(&g, r->node);
    for (uint32_t k = 0; k < max && old[k] != HNSW_NONE; k++) {
        if (!hnsw_is_doomed(b->h, old[k])) {
            near[fixed++] = (struct hnsw_near){.node = old[k]};
        }
    }
    const uint32_t choice = hnsw_bridge_rank(&g, r->node, s, near + fixed);
    const struct hnsw_select in = {near, fixed + choice, max, fixed};
    (void)hnsw_select_links(b->h, &in, b->links + r->at); /* how many is seen from the list */
    return U2I_OK;
}

/* ---- Links back ----------------------------------------------------------------------------- */

/* A node that may be linked to by `node`, whom it has begun to link to. */
struct hnsw_offer {
    uint32_t node, layer;
    uint32_t from;
    float sim;
};

static int hnsw_offer_compare(const void *a, const void *b) {
    const struct hnsw_offer *const x = a;
    const struct hnsw_offer *const y = b;
    if (x->node != y->node) {
        return x->node < y->node ? -1 : 1;
    }
    if (x->layer != y->layer) {
        return x->layer < y->layer ? -1 : 1;
    }
    if (x->sim != y->sim) {
        return x->sim > y->sim ? -1 : 1;
    }
    return x->from < y->from ? -1 : x->from > y->from;
}

/* The other direction of the links that the batch's lists have new. */
static size_t hnsw_repair_offers(const struct hnsw_batch *b, struct hnsw_offer *offers) {
    size_t n = 0;
    for (size_t i = 0; i < b->relinks_n; i++) {
        const struct hnsw_relink *const r = &b->relinks[i];
        const uint32_t max = hnsw_links_of_layer(b->h, r->layer);
        const uint32_t *const old = hnsw_links(b->h, r->node, r->layer);
        uint32_t sound = 0;
        for (uint32_t k = 0; k < max && old[k] != HNSW_NONE; k++) {
            sound += !hnsw_is_doomed(b->h, old[k]);
        }
        const uint32_t *const links = b->links + r->at;
        for (uint32_t k = sound; k < max && links[k] != HNSW_NONE; k++) {
            offers[n++] = (struct hnsw_offer){.node = links[k],
                                              .layer = r->layer,
                                              .from = r->node,
                                              .sim = hnsw_sim(b->h, r->node, links[k])};
        }
    }
    qsort(offers, n, sizeof *offers, hnsw_offer_compare);
    return n;
}

static int hnsw_relink_compare(const void *a, const void *b) {
    const struct hnsw_relink *const x = a;
    const struct hnsw_relink *const y = b;
    if (x->node != y->node) {
        return x->node < y->node ? -1 : 1;
    }
    return x->layer < y->layer ? -1 : x->layer > y->layer;
}

/* The batch's list of that node, begun with what the graph has; NULL when out of memory. The first
 * `own` lists are in order. */
static uint32_t *hnsw_repair_edit(struct hnsw_batch *b, size_t own, uint32_t node, uint32_t layer) {
    const struct hnsw_relink key = {.node = node, .layer = layer};
    const struct hnsw_relink *const r =
        own == 0 ? NULL : bsearch(&key, b->relinks, own, sizeof key, hnsw_relink_compare);
    if (r != NULL) {
        return b->links + r->at;
    }
    uint32_t *const links = hnsw_batch_add(b, node, layer);
    if (links != NULL) {
        memcpy(links, hnsw_links(b->h, node, layer),
               hnsw_links_of_layer(b->h, layer) * sizeof *links);
    }
    return links;
}

/* Adds to the list what it has room for and not yet. */
static void hnsw_repair_take(const struct hnsw_offer *offers, size_t n, uint32_t max,
                             uint32_t *links) {
    uint32_t length = hnsw_list_length(links, max);
    for (size_t i = 0; i < n && length < max; i++) {
        uint32_t at = 0;
        while (at < length && links[at] != offers[i].from) {
            at++;
        }
        if (at == length) {
            links[length++] = offers[i].from;
        }
    }
}

static bool hnsw_repair_has_room(const struct hnsw_batch *b, const struct hnsw_offer *o) {
    return hnsw_links(b->h, o->node, o->layer)[hnsw_links_of_layer(b->h, o->layer) - 1] ==
           HNSW_NONE;
}

static int hnsw_repair_link_back(struct hnsw_batch *b) {
    const size_t own = b->relinks_n;
    struct hnsw_offer *const offers = alloc_array(b->links_n, sizeof *offers);
    if (offers == NULL) {
        return U2I_ENOMEM;
    }
    int rc = U2I_OK;
    const size_t n = hnsw_repair_offers(b, offers);
    for (size_t first = 0, end; first < n && rc == U2I_OK; first = end) {
        const struct hnsw_offer *const o = &offers[first];
        for (end = first + 1; end < n; end++) {
            if (offers[end].node != o->node || offers[end].layer != o->layer) {
                break;
            }
        }
        if (!hnsw_repair_has_room(b, o)) {
            continue;
        }
        uint32_t *const links = hnsw_repair_edit(b, own, o->node, o->layer);
        if (links == NULL) {
            rc = U2I_ENOMEM;
        } else {
            hnsw_repair_take(o, end - first, hnsw_links_of_layer(b->h, o->layer), links);
        }
    }
    mem_free(offers);
    return rc;
}

/* ---- A part of the pass --------------------------------------------------------------------- */

static bool hnsw_has_doomed(const struct hnsw *h, uint32_t node, uint32_t layer) {
    const uint32_t *const links = hnsw_links(h, node, layer);
    for (uint32_t i = 0; i < hnsw_links_of_layer(h, layer) && links[i] != HNSW_NONE; i++) {
        if (hnsw_is_doomed(h, links[i])) {
            return true;
        }
    }
    return false;
}

/* Empty lists for all that have doomed links, below repair_to. */
static int hnsw_repair_collect(struct hnsw_batch *b) {
    const struct hnsw *const h = b->h;
    for (uint32_t node = h->repair_at; node < b->repair_to; node++) {
        if (hnsw_bit(h->doomed, node)) {
            continue;
        }
        const uint32_t layers = hnsw_node_layers(h, node);
        for (uint32_t layer = 0; layer <= layers; layer++) {
            if (hnsw_has_doomed(h, node, layer) && hnsw_batch_add(b, node, layer) == NULL) {
                return U2I_ENOMEM;
            }
        }
    }
    return U2I_OK;
}

static int hnsw_repair_lists(struct hnsw_batch *b, uint32_t nodes, const struct hnsw_work *how,
                             u2i_error_t *err) {
    const struct hnsw *const h = b->h;
    const uint32_t left = h->doomed_slots - h->repair_at;
    b->repair_to = h->repair_at + (nodes < left ? nodes : left);
    if (hnsw_repair_collect(b) != U2I_OK) {
        return error_oom(err);
    }
    const struct hnsw_tasks tasks = {hnsw_repair_list, b, (uint32_t)b->relinks_n, 1};
    U2I_TRY(hnsw_run(h, &tasks, how, err));
    return hnsw_repair_link_back(b) == U2I_OK ? U2I_OK : error_oom(err);
}

/* ---- Nodes that were cut off ---------------------------------------------------------------- */

/* What can be reached from the entry across layer 0, as the graph will be with the batch. */
struct hnsw_reach {
    struct hnsw_batch *batch;
    hnsw_bits *seen;  /* a mark for each slot */
    uint32_t *edited; /* for each slot: its place in batch->relinks, and 1; 0 = not there */
    uint32_t *stack;  /* a place for each slot */
    uint32_t stack_n;
    struct hnsw_scratch *scratch;
};

static const uint32_t *hnsw_reach_list(const struct hnsw_reach *r, uint32_t node) {
    const struct hnsw_batch *const b = r->batch;
    return r->edited[node] != 0 ? b->links + b->relinks[r->edited[node] - 1].at
                                : hnsw_links(b->h, node, 0);
}

/* The same to be written to; NULL when out of memory. */
static uint32_t *hnsw_reach_edit(struct hnsw_reach *r, uint32_t node) {
    struct hnsw_batch *const b = r->batch;
    if (r->edited[node] == 0) {
        if (hnsw_repair_edit(b, 0, node, 0) == NULL) {
            return NULL;
        }
        r->edited[node] = (uint32_t)b->relinks_n;
    }
    return b->links + b->relinks[r->edited[node] - 1].at;
}

static void hnsw_reach_push(struct hnsw_reach *r, uint32_t node) {
    if (!hnsw_bit(r->seen, node)) {
        hnsw_bit_set(r->seen, node, true);
        r->stack[r->stack_n++] = node;
    }
}

/* All that can be reached from here on. False when cancelled. */
static bool hnsw_reach_from(struct hnsw_reach *r, uint32_t start, const struct hnsw_work *how) {
    const uint32_t max = hnsw_links_of_layer(r->batch->h, 0);
    hnsw_reach_push(r, start);
    for (uint32_t tick = 1; r->stack_n > 0; tick++) {
        const uint32_t *const links = hnsw_reach_list(r, r->stack[--r->stack_n]);
        for (uint32_t i = 0; i < max && links[i] != HNSW_NONE; i++) {
            hnsw_reach_push(r, links[i]);
        }
        if (tick % HNSW_REACH_TICK == 0 && hnsw_repair_cancelled(how)) {
            return false;
        }
    }
    return true;
}

/* Who shall link to a node that nobody links to: the most similar one that is reached, is live, and
 * has room; without room the most similar one; a removed one if there is no other. */
static uint32_t hnsw_reach_host(const struct hnsw_reach *r, uint32_t node) {
    const struct hnsw *const h = r->batch->h;
    struct hnsw_scratch *const s = r->scratch;
    hnsw_look_for_node(h, s, node);
    const uint32_t start = hnsw_descend(h, s, 0);
    hnsw_pool_start(s, HNSW_CONNECT_EF);
    hnsw_pool_enter(h, s, &start, 1);
    hnsw_walk(h, s, 0);
    uint32_t host = r->batch->repair_entry;
    bool host_live = false;
    for (uint32_t i = 0; i < s->pool.n; i++) {
        const uint32_t near = hnsw_pool_node(s->pool.entries[i]);
        if (!hnsw_bit(r->seen, near) || !hnsw_live(h, near)) {
            continue;
        }
        if (hnsw_reach_list(r, near)[hnsw_links_of_layer(h, 0) - 1] == HNSW_NONE) {
            return near;
        }
        host = host_live ? host : near;
        host_live = true;
    }
    return host;
}

/* Puts `node` last, in the place of another if there is no room; returns that one or HNSW_NONE. */
static uint32_t hnsw_list_put_last(uint32_t *links, uint32_t max, uint32_t node) {
    const uint32_t length = hnsw_list_length(links, max);
    const uint32_t at = length < max ? length : max - 1;
    const uint32_t before = links[at];
    links[at] = node;
    return before;
}

/* host -> node; and where that displaces host -> other, node -> other. A node that was not reached
 * can lose a link itself: nobody was reached by it. */
static int hnsw_reach_link(struct hnsw_reach *r, uint32_t host, uint32_t node) {
    const uint32_t max = hnsw_links_of_layer(r->batch->h, 0);
    uint32_t *links = hnsw_reach_edit(r, host);
    if (links == NULL) {
        return U2I_ENOMEM;
    }
    const uint32_t other = hnsw_list_put_last(links, max, node);
    if (other == HNSW_NONE) {
        return U2I_OK;
    }
    links = hnsw_reach_edit(r, node);
    if (links == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < max && links[i] != HNSW_NONE; i++) {
        if (links[i] == other) {
            return U2I_OK;
        }
    }
    (void)hnsw_list_put_last(links, max, other); /* whoever it was, see above */
    return U2I_OK;
}

static int hnsw_reach_connect(struct hnsw_reach *r, const struct hnsw_work *how) {
    const struct hnsw *const h = r->batch->h;
    const uint32_t entry = r->batch->repair_entry;
    if (entry == HNSW_NONE) {
        return U2I_OK;
    }
    if (!hnsw_reach_from(r, entry, how)) {
        return U2I_ETIMEOUT;
    }
    for (uint32_t node = 0; node < h->slots; node++) {
        if (hnsw_bit(r->seen, node) || !hnsw_live(h, node)) {
            continue;
        }
        if (hnsw_repair_cancelled(how)) {
            return U2I_ETIMEOUT;
        }
        U2I_TRY(hnsw_reach_link(r, hnsw_reach_host(r, node), node));
        if (!hnsw_reach_from(r, node, how)) {
            return U2I_ETIMEOUT;
        }
    }
    return U2I_OK;
}

/* The last part of a pass: no list names doomed nodes any more. */
static int hnsw_repair_reach(struct hnsw_batch *b, const struct hnsw_work *how, u2i_error_t *err) {
    const struct hnsw *const h = b->h;
    struct hnsw_reach r = {.batch = b,
                           .seen = mem_zalloc(hnsw_marks_words(h->slots) * sizeof *r.seen),
                           .edited = mem_zalloc((size_t)h->slots * sizeof *r.edited),
                           .stack = alloc_array(h->slots, sizeof *r.stack),
                           .scratch = hnsw_scratch_take(h, HNSW_CONNECT_EF)};
    const bool room = r.seen != NULL && r.edited != NULL && r.stack != NULL && r.scratch != NULL;
    int rc = room ? hnsw_repair_plan_end(b) : U2I_ENOMEM;
    b->repair_to = h->doomed_slots;
    rc = rc == U2I_OK ? hnsw_reach_connect(&r, how) : rc;
    hnsw_scratch_give(h, r.scratch);
    mem_free(r.stack);
    mem_free(r.edited);
    mem_free(r.seen);
    if (rc == U2I_ETIMEOUT) {
        return error_set(err, rc, "the repair of the index was stopped");
    }
    return rc == U2I_OK ? U2I_OK : error_oom(err);
}

/* ---- For the writer ------------------------------------------------------------------------- */

int hnsw_plan_repair(struct hnsw *h, uint32_t nodes, const struct hnsw_work *how,
                     struct hnsw_batch **out, u2i_error_t *err) {
    *out = NULL;
    assert(nodes > 0);
    if (hnsw_repair_unlinked(h)) {
        if (hnsw_slots_reserve(h, atomic_load(&h->removed_n)) != U2I_OK) {
            return error_oom(err);
        }
        hnsw_repair_finish(h);
    }
    if (h->doomed == NULL) {
        if (atomic_load(&h->removed_n) == 0) {
            return U2I_OK;
        }
        if (hnsw_repair_begin(h) != U2I_OK) {
            return error_oom(err);
        }
    }
    struct hnsw_batch *const b = hnsw_batch_new(h, 0);
    if (b == NULL) {
        return error_oom(err);
    }
    const int rc = h->repair_at < h->doomed_slots ? hnsw_repair_lists(b, nodes, how, err)
                                                  : hnsw_repair_reach(b, how, err);
    if (rc != U2I_OK) {
        hnsw_batch_free(b);
        return rc;
    }
    *out = b;
    return U2I_OK;
}

int hnsw_repair(struct hnsw *h, const struct hnsw_work *how, u2i_error_t *err) {
    for (;;) {
        struct hnsw_batch *b;
        U2I_TRY(hnsw_plan_repair(h, HNSW_REPAIR_STEP, how, &b, err));
        if (b == NULL) {
            return U2I_OK;
        }
        (void)hnsw_commit(b, UINT32_MAX, NULL, NULL); /* all of it fits */
        hnsw_batch_free(b);
    }
}
