/* Insertion, in two steps: a plan finds each new node's links and what becomes of the lists of those it
 * links to, without touching anything that a search can see; commit copies the lists in.
 *
 * The nodes of a plan are looked up in the graph as it was before: so they may be looked up by many
 * threads, whose number changes nothing (Dobson et al., "ParlayANN: Scalable and deterministic parallel
 * graph-based approximate nearest neighbor search algorithms", 2024, section 4). That they don't see
 * each other costs nothing measurable while a plan is a small share of the graph.
 *
 * A list that gets too long is chosen anew. A new node could be left out of all lists, and then nobody
 * would ever find it: so its nearest one keeps it in any case. */
#include "hnsw_internal.h"

#include "base/arena.h"
#include "base/error.h"

enum {
    HNSW_PLAN_SHARE = 64,                    /* a plan is at most this part of the graph */
    HNSW_PLAN_MAX = 4096,                    /* and at most so many */
    HNSW_NEAR_MAX = 2 * HNSW_LINKS_MAX + 256 /* links of a list and the new nodes that want in */
};

/* One new node that wants to be linked to by another. */
struct hnsw_back {
    uint32_t target, layer;
    uint32_t i; /* of the new node in the batch */
    float sim;
};

/* The new nodes that want to be linked to by one node in one layer. */
struct hnsw_group {
    size_t first, n; /* of plan->backs */
    size_t relink;
};

struct hnsw_plan {
    struct hnsw_batch *batch;
    size_t *own; /* [n + 1]: first relink of each new node */
    float *sims; /* beside batch->links */
    struct hnsw_back *backs;
    size_t backs_n;
    struct hnsw_group *groups;
    size_t groups_n;
};

/* ---- Batches -------------------------------------------------------------------------------- */

struct hnsw_batch *hnsw_batch_new(struct hnsw *h, uint32_t n) {
    struct hnsw_batch *const b = mem_zalloc(sizeof *b);
    if (b == NULL) {
        return NULL;
    }
    b->h = h;
    b->rows = alloc_array(n, sizeof *b->rows);
    b->nodes = alloc_array(n, sizeof *b->nodes);
    if (b->rows == NULL || b->nodes == NULL) {
        hnsw_batch_free(b);
        return NULL;
    }
    return b;
}

void hnsw_batch_free(struct hnsw_batch *b) {
    if (b == NULL) {
        return;
    }
    for (uint32_t i = b->published; i < b->n; i++) {
        if (b->relinks_done == 0) {
            hnsw_slot_give(b->h, b->nodes[i]);
        } else { /* some lists name it by now */
            atomic_fetch_add(&b->h->removed_n, 1);
        }
    }
    mem_free(b->rows);
    mem_free(b->nodes);
    mem_free(b->relinks);
    mem_free(b->links);
    mem_free(b);
}

uint32_t *hnsw_batch_add(struct hnsw_batch *b, uint32_t node, uint32_t layer) {
    const uint32_t max = hnsw_links_of_layer(b->h, layer);
    if (array_reserve(&b->relinks, &b->relinks_cap, b->relinks_n + 1, sizeof *b->relinks) !=
            U2I_OK ||
        array_reserve(&b->links, &b->links_cap, b->links_n + max, sizeof *b->links) != U2I_OK) {
        return NULL;
    }
    uint32_t *const links = b->links + b->links_n;
    memset(links, 0xFF, max * sizeof *links);
    b->relinks[b->relinks_n++] =
        (struct hnsw_relink){.node = node, .layer = layer, .at = (uint32_t)b->links_n};
    b->links_n += max;
    return links;
}

/* ---- The new nodes and their own lists ------------------------------------------------------ */

/* Slots with vectors and codes, which nobody sees yet. */
static int hnsw_plan_slots(struct hnsw_plan *p, const struct hnsw_vectors *in) {
    struct hnsw_batch *const b = p->batch;
    struct hnsw *const h = b->h;
    struct hnsw_coder coder = {0};
    int rc = hnsw_coder_init(h, &coder);
    if (rc == U2I_OK) {
        rc = hnsw_slots_reserve(h, in->n);
    }
    for (uint32_t i = 0; rc == U2I_OK && i < in->n; i++) {
        rc = hnsw_node_of_reserve(h, in->rows[i]);
        const uint32_t node = rc == U2I_OK ? hnsw_slot_take(h) : HNSW_NONE;
        if (node == HNSW_NONE) {
            rc = U2I_ENOMEM;
            break;
        }
        struct hnsw_chunk *const c = hnsw_chunk_of(h, node);
        const uint32_t within = hnsw_within(node);
        const float *const vector = in->vectors + (size_t)i * h->dim;
        memcpy(c->vectors + (size_t)within * h->dim, vector, h->dim * sizeof *vector);
        if (c->checked != NULL) {
            hnsw_bit_set(c->checked, within, true);
        }
        hnsw_encode(h, vector, &coder, c->codes + (size_t)within * h->code_bytes);
        b->rows[i] = in->rows[i];
        b->nodes[i] = node;
        b->n++;
    }
    hnsw_coder_free(&coder);
    return rc;
}

static uint32_t hnsw_layers_common(const struct hnsw *h, uint32_t node) {
    const uint32_t layers = hnsw_node_layers(h, node);
    return layers < h->layers ? layers : h->layers;
}

/* Empty lists, to be filled by the tasks: from the highest layer down to 0. */
static int hnsw_plan_own_lists(struct hnsw_plan *p) {
    struct hnsw_batch *const b = p->batch;
    p->own = alloc_array((size_t)b->n + 1, sizeof *p->own);
    if (p->own == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < b->n; i++) {
        p->own[i] = b->relinks_n;
        for (uint32_t layer = hnsw_layers_common(b->h, b->nodes[i]) + 1; layer-- > 0;) {
            if (hnsw_batch_add(b, b->nodes[i], layer) == NULL) {
                return U2I_ENOMEM;
            }
        }
    }
    p->own[b->n] = b->relinks_n;
    p->sims = alloc_array(b->links_n, sizeof *p->sims);
    return p->sims == NULL ? U2I_ENOMEM : U2I_OK;
}

/* Where the walk met nothing but removed nodes: any live ones will do, to be reachable at all. */
static uint32_t hnsw_plan_strangers(const struct hnsw *h, uint32_t node, struct hnsw_near *near) {
    const uint32_t slots = h->slots;
    uint32_t n = 0;
    for (uint32_t i = 1; i < slots && n < h->links_max; i++) {
        const uint32_t other = (uint32_t)(((uint64_t)node + i) % slots);
        if (hnsw_live(h, other)) {
            near[n++] = (struct hnsw_near){hnsw_sim(h, node, other), other};
        }
    }
    hnsw_near_sort(near, n);
    return n;
}

/* The live nodes of the pool as candidates, most similar first as they are there. */
static uint32_t hnsw_plan_candidates(const struct hnsw *h, const struct hnsw_scratch *s,
                                     struct hnsw_near *near) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->pool.n; i++) {
        const uint32_t node = hnsw_pool_node(s->pool.entries[i]);
        if (hnsw_live(h, node)) {
            near[n++] = (struct hnsw_near){hnsw_pool_sim_of(s->pool.entries[i]), node};
        }
    }
    return n;
}

static void hnsw_plan_choose(struct hnsw_plan *p, size_t relink, const struct hnsw_near *near,
                             uint32_t n) {
    const struct hnsw_relink *const r = &p->batch->relinks[relink];
    const struct hnsw_select in = {
        .near = near, .n = n, .max = hnsw_links_of_layer(p->batch->h, r->layer)};
    const uint32_t kept = hnsw_select_links(p->batch->h, &in, p->batch->links + r->at);
    for (uint32_t i = 0, from = 0; i < kept; i++) { /* in the candidates' order */
        while (near[from].node != p->batch->links[r->at + i]) {
            from++;
        }
        p->sims[r->at + i] = near[from].sim;
    }
}

/* Finds the links of new node i in all its layers. */
static int hnsw_plan_node(void *ctx, uint32_t i, struct hnsw_scratch *s) {
    struct hnsw_plan *const p = ctx;
    const struct hnsw *const h = p->batch->h;
    const uint32_t node = p->batch->nodes[i];
    if (h->entry == HNSW_NONE) {
        return U2I_OK; /* the first node of all */
    }
    const uint32_t room = h->ef_construction > h->links_max ? h->ef_construction : h->links_max;
    struct hnsw_near *const near = alloc_array(room, sizeof *near);
    if (near == NULL) {
        return U2I_ENOMEM;
    }
    hnsw_look_for_node(h, s, node);
    uint32_t start = hnsw_descend(h, s, hnsw_layers_common(h, node));
    for (size_t r = p->own[i]; r < p->own[i + 1]; r++) {
        hnsw_pool_start(s, h->ef_construction);
        hnsw_pool_enter(h, s, &start, 1);
        hnsw_walk(h, s, p->batch->relinks[r].layer);
        start = hnsw_pool_node(s->pool.entries[0]);
        uint32_t n = hnsw_plan_candidates(h, s, near);
        if (n == 0 && p->batch->relinks[r].layer == 0) {
            n = hnsw_plan_strangers(h, node, near);
        }
        hnsw_plan_choose(p, r, near, n);
    }
    mem_free(near);
    return U2I_OK;
}

/* ---- The lists of the nodes they link to ---------------------------------------------------- */

static int hnsw_back_compare(const void *a, const void *b) {
    const struct hnsw_back *const x = a;
    const struct hnsw_back *const y = b;
    if (x->layer != y->layer) {
        return x->layer < y->layer ? -1 : 1;
    }
    if (x->target != y->target) {
        return x->target < y->target ? -1 : 1;
    }
    return x->i < y->i ? -1 : x->i > y->i;
}

/* The other direction of all new links, by target. */
static int hnsw_plan_backs(struct hnsw_plan *p) {
    const struct hnsw_batch *const b = p->batch;
    p->backs = alloc_array(b->links_n, sizeof *p->backs);
    if (p->backs == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < b->n; i++) {
        for (size_t r = p->own[i]; r < p->own[i + 1]; r++) {
            const struct hnsw_relink *const own = &b->relinks[r];
            const uint32_t max = hnsw_links_of_layer(b->h, own->layer);
            for (uint32_t k = 0; k < max && b->links[own->at + k] != HNSW_NONE; k++) {
                p->backs[p->backs_n++] = (struct hnsw_back){.target = b->links[own->at + k],
                                                            .layer = own->layer,
                                                            .i = i,
                                                            .sim = p->sims[own->at + k]};
            }
        }
    }
    qsort(p->backs, p->backs_n, sizeof *p->backs, hnsw_back_compare);
    return U2I_OK;
}

static int hnsw_plan_groups(struct hnsw_plan *p) {
    p->groups = alloc_array(p->backs_n, sizeof *p->groups);
    if (p->groups == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < p->backs_n; i++) {
        const struct hnsw_back *const back = &p->backs[i];
        if (i > 0 && back->target == back[-1].target && back->layer == back[-1].layer) {
            p->groups[p->groups_n - 1].n++;
            continue;
        }
        p->groups[p->groups_n++] =
            (struct hnsw_group){.first = i, .n = 1, .relink = p->batch->relinks_n};
        if (hnsw_batch_add(p->batch, back->target, back->layer) == NULL) {
            return U2I_ENOMEM;
        }
    }
    return U2I_OK;
}

/* The links that the node has, with their similarities. */
static uint32_t hnsw_plan_old_links(const struct hnsw *h, struct hnsw_scratch *s, uint32_t node,
                                    uint32_t layer, struct hnsw_near *near) {
    const uint32_t *const links = hnsw_links(h, node, layer);
    uint32_t n = 0;
    while (n < hnsw_links_of_layer(h, layer) && links[n] != HNSW_NONE) {
        s->ids[n] = links[n];
        n++;
    }
    hnsw_look_for_node(h, s, node);
    hnsw_sims(h, s, n);
    for (uint32_t i = 0; i < n; i++) {
        near[i] = (struct hnsw_near){s->sims[i], s->ids[i]};
    }
    return n;
}

/* The new list of one target: old links and new ones if there is room, else the best of both. */
static int hnsw_plan_target(void *ctx, uint32_t g, struct hnsw_scratch *s) {
    struct hnsw_plan *const p = ctx;
    const struct hnsw_group *const group = &p->groups[g];
    const struct hnsw *const h = p->batch->h;
    const struct hnsw_relink *const r = &p->batch->relinks[group->relink];
    const uint32_t max = hnsw_links_of_layer(h, r->layer);
    uint32_t *const links = p->batch->links + r->at;
    const uint32_t *const old = hnsw_links(h, r->node, r->layer);
    uint32_t old_n = 0;
    while (old_n < max && old[old_n] != HNSW_NONE) {
        old_n++;
    }
    if (old_n + group->n <= max) {
        memcpy(links, old, old_n * sizeof *links);
        for (size_t i = 0; i < group->n; i++) {
            links[old_n + i] = p->batch->nodes[p->backs[group->first + i].i];
        }
        return U2I_OK;
    }
    struct hnsw_near near[HNSW_NEAR_MAX];
    uint32_t n = hnsw_plan_old_links(h, s, r->node, r->layer, near);
    for (size_t i = 0; i < group->n && n < HNSW_NEAR_MAX; i++) {
        const struct hnsw_back *const back = &p->backs[group->first + i];
        near[n++] = (struct hnsw_near){back->sim, p->batch->nodes[back->i]};
    }
    hnsw_near_sort(near, n);
    const struct hnsw_select in = {.near = near, .n = n, .max = max};
    (void)hnsw_select_links(h, &in, links); /* how many is seen from the list */
    return U2I_OK;
}

static bool hnsw_list_has(const uint32_t *links, uint32_t max, uint32_t node) {
    for (uint32_t i = 0; i < max && links[i] != HNSW_NONE; i++) {
        if (links[i] == node) {
            return true;
        }
    }
    return false;
}

/* Adds `node` to the list, in the place of the last one if there is no room. */
static void hnsw_list_keep(uint32_t *links, uint32_t max, uint32_t node) {
    uint32_t at = 0;
    while (at < max - 1 && links[at] != HNSW_NONE && links[at] != node) {
        at++;
    }
    links[at] = node;
}

/* Node i of the batch into a list that does not have it; what it takes the place of stays reachable across
 * it. Its own list is published before. A doomed one is not kept: the repair under way may be past this
 * list, and gives the slot back when it ends. */
static void hnsw_plan_force(struct hnsw_plan *p, uint32_t i, size_t relink) {
    struct hnsw_batch *const b = p->batch;
    const uint32_t max = hnsw_links_of_layer(b->h, 0);
    uint32_t *const links = b->links + b->relinks[relink].at;
    const uint32_t last = links[max - 1];
    hnsw_list_keep(links, max, b->nodes[i]);
    if (last != HNSW_NONE && !hnsw_is_doomed(b->h, last)) {
        hnsw_list_keep(b->links + b->relinks[p->own[i + 1] - 1].at, max, last);
    }
}

/* Links that lead to new nodes only from layer 0 count: every search ends there. */
static int hnsw_plan_keep_reachable(struct hnsw_plan *p) {
    struct hnsw_batch *const b = p->batch;
    const uint32_t max = hnsw_links_of_layer(b->h, 0);
    bool *const found = mem_zalloc(b->n);
    size_t *const nearest = alloc_array(b->n, sizeof *nearest); /* relink of its nearest link */
    if (found == NULL || nearest == NULL) {
        mem_free(found);
        mem_free(nearest);
        return U2I_ENOMEM;
    }
    for (size_t g = 0; g < p->groups_n && b->relinks[p->groups[g].relink].layer == 0; g++) {
        const struct hnsw_relink *const r = &b->relinks[p->groups[g].relink];
        for (size_t k = 0; k < p->groups[g].n; k++) {
            const uint32_t i = p->backs[p->groups[g].first + k].i;
            found[i] = found[i] || hnsw_list_has(b->links + r->at, max, b->nodes[i]);
            if (b->links[b->relinks[p->own[i + 1] - 1].at] == r->node) {
                nearest[i] = p->groups[g].relink;
            }
        }
    }
    for (uint32_t i = 0; i < b->n; i++) {
        if (!found[i] && b->links[b->relinks[p->own[i + 1] - 1].at] != HNSW_NONE) {
            hnsw_plan_force(p, i, nearest[i]);
        }
    }
    mem_free(found);
    mem_free(nearest);
    return U2I_OK;
}

/* ---- Plan ----------------------------------------------------------------------------------- */

uint32_t hnsw_plan_max(const struct hnsw *h) {
    const uint32_t share = atomic_load(&h->count) / HNSW_PLAN_SHARE;
    return share < 1 ? 1 : share < HNSW_PLAN_MAX ? share : HNSW_PLAN_MAX;
}

static int hnsw_plan_links(struct hnsw_plan *p, const struct hnsw_work *how, u2i_error_t *err) {
    const struct hnsw *const h = p->batch->h;
    const struct hnsw_tasks nodes = {hnsw_plan_node, p, p->batch->n, h->ef_construction};
    U2I_TRY(hnsw_run(h, &nodes, how, err));
    if (hnsw_plan_backs(p) != U2I_OK || hnsw_plan_groups(p) != U2I_OK) {
        return error_oom(err);
    }
    const struct hnsw_tasks targets = {hnsw_plan_target, p, (uint32_t)p->groups_n, 1};
    U2I_TRY(hnsw_run(h, &targets, how, err));
    return hnsw_plan_keep_reachable(p) == U2I_OK ? U2I_OK : error_oom(err);
}

int hnsw_plan(struct hnsw *h, const struct hnsw_vectors *in, const struct hnsw_work *how,
              struct hnsw_batch **out, u2i_error_t *err) {
    *out = NULL;
    assert(in->n <= HNSW_PLAN_MAX); /* rows may have been removed since the caller asked */
    hnsw_learn_norm(h, in->vectors, in->n);
    struct hnsw_plan p = {.batch = hnsw_batch_new(h, in->n)};
    int rc = p.batch == NULL ? error_oom(err) : U2I_OK;
    if (rc == U2I_OK && (hnsw_plan_slots(&p, in) != U2I_OK || hnsw_plan_own_lists(&p) != U2I_OK)) {
        rc = error_oom(err);
    }
    if (rc == U2I_OK) {
        rc = hnsw_plan_links(&p, how, err);
    }
    mem_free(p.own);
    mem_free(p.sims);
    mem_free(p.backs);
    mem_free(p.groups);
    if (rc != U2I_OK) {
        hnsw_batch_free(p.batch);
        return rc;
    }
    *out = p.batch;
    return U2I_OK;
}

/* ---- Commit --------------------------------------------------------------------------------- */

static void hnsw_publish(struct hnsw_batch *b, uint32_t i, hnsw_publish_fn publish, void *ctx) {
    struct hnsw *const h = b->h;
    const uint32_t node = b->nodes[i];
    const uint32_t layers = hnsw_node_layers(h, node);
    if (h->entry == HNSW_NONE || layers > h->layers || atomic_load(&h->count) == 0) {
        h->entry = node;
        h->layers = layers;
    }
    if (publish != NULL && !publish(ctx, b->rows[i])) {
        atomic_fetch_add(&h->removed_n, 1);
        return;
    }
    assert(hnsw_node(h, b->rows[i]) == HNSW_NONE);
    hnsw_chunk_of(h, node)->rows[hnsw_within(node)] = b->rows[i];
    hnsw_bit_set(hnsw_chunk_of(h, node)->live, hnsw_within(node), true);
    hnsw_node_of_set(h, b->rows[i], node);
    atomic_fetch_add(&h->count, 1);
}

bool hnsw_commit(struct hnsw_batch *b, uint32_t steps, hnsw_publish_fn publish, void *ctx) {
    for (; steps > 0 && b->relinks_done < b->relinks_n; steps--) {
        const struct hnsw_relink *const r = &b->relinks[b->relinks_done++];
        memcpy(hnsw_links(b->h, r->node, r->layer), b->links + r->at,
               hnsw_links_of_layer(b->h, r->layer) * sizeof(uint32_t));
    }
    for (; steps > 0 && b->published < b->n; steps--) {
        hnsw_publish(b, b->published++, publish, ctx);
    }
    if (b->relinks_done < b->relinks_n || b->published < b->n) {
        return false;
    }
    if (b->repair_to != 0) {
        hnsw_repair_commit(b);
    }
    return true;
}

int hnsw_insert(struct hnsw *h, const uint32_t *rows, const float *vectors, size_t n,
                const struct hnsw_work *how, u2i_error_t *err) {
    U2I_TRY(hnsw_learn(h, vectors, n, err));
    for (size_t i = 0; i < n;) {
        const uint32_t max = hnsw_plan_max(h);
        const uint32_t take = n - i < max ? (uint32_t)(n - i) : max;
        struct hnsw_batch *b;
        const struct hnsw_vectors in = {rows + i, vectors + i * h->dim, take};
        U2I_TRY(hnsw_plan(h, &in, how, &b, err));
        (void)hnsw_commit(b, UINT32_MAX, NULL, NULL); /* all of it fits */
        hnsw_batch_free(b);
        i += take;
    }
    return U2I_OK;
}
