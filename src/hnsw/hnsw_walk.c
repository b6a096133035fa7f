/* The walk: from the best node known that was not looked at yet, to the nodes it links to, until the
 * best `ef` have all been looked at (the paper's algorithm 2).
 *
 * 1. Links are filtered through one bit a node, without a branch: half of them were visited before,
 *    which no branch predictor can learn. The bits of 100,000 nodes fit the first-level cache.
 * 2. What is left is computed together, and one step late: while the codes of a node's links come from
 *    memory, those of the node before it are compared. That a node is chosen without knowing what the
 *    last one's links bring costs 1 to 3 % more comparisons and hides a good part of the waiting.
 * 3. A node that enters the pool has its links asked for at once: it is likely to be next. */
#include "hnsw_internal.h"

#include "base/error.h"
#include "base/thread.h"

/* ---- Scratch -------------------------------------------------------------------------------- */

static void hnsw_scratch_free(struct hnsw_scratch *s) {
    if (s != NULL) {
        mem_free(s->visited);
        mem_free(s->pass);
        mem_free(s->blocked);
        mem_free(s->pool.entries);
        mem_free(s->query);
        hnsw_coder_free(&s->coder);
        mem_free(s);
    }
}

void hnsw_scratch_free_all(struct hnsw *h) {
    while (h->scratch != NULL) {
        struct hnsw_scratch *const next = h->scratch->next;
        hnsw_scratch_free(h->scratch);
        h->scratch = next;
    }
}

static struct hnsw_scratch *hnsw_scratch_new(const struct hnsw *h) {
    struct hnsw_scratch *const s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->vec = vec_get();
    s->query = alloc_array(h->code_bytes, sizeof *s->query);
    if (s->query == NULL || hnsw_coder_init(h, &s->coder) != U2I_OK) {
        hnsw_scratch_free(s);
        return NULL;
    }
    return s;
}

/* Buffers for all slots and a pool of ef entries and one that is pushed out. */
static bool hnsw_scratch_fit(const struct hnsw *h, struct hnsw_scratch *s, uint32_t ef) {
    const uint32_t slots = h->slots; /* may grow meanwhile, by nodes that nobody links to yet */
    const size_t words = ((size_t)slots + 63) / 64;
    size_t cap = s->pool.cap;
    if (words > s->visited_words) {
        const size_t more = words + words / 8;
        uint64_t *const visited = realloc_array(s->visited, more, sizeof *visited);
        if (visited == NULL) {
            return false;
        }
        s->visited = visited;
        s->visited_words = more;
    }
    if (array_reserve(&s->pool.entries, &cap, (size_t)ef + 1, sizeof *s->pool.entries) != U2I_OK) {
        return false;
    }
    s->pool.cap = (uint32_t)cap;
    s->slots = slots;
    return true;
}

struct hnsw_scratch *hnsw_scratch_take(const struct hnsw *h, uint32_t ef) {
    struct hnsw *const owner = hnsw_mutable(h);
    (void)pthread_mutex_lock(&owner->scratch_lock);
    struct hnsw_scratch *s = owner->scratch;
    if (s != NULL) {
        owner->scratch = s->next;
    }
    (void)pthread_mutex_unlock(&owner->scratch_lock);
    if (s == NULL) {
        s = hnsw_scratch_new(h);
    }
    if (s != NULL && !hnsw_scratch_fit(h, s, ef)) {
        hnsw_scratch_free(s);
        s = NULL;
    }
    if (s != NULL) {
        s->distances = 0;
    }
    return s;
}

void hnsw_scratch_give(const struct hnsw *h, struct hnsw_scratch *s) {
    if (s == NULL) {
        return;
    }
    struct hnsw *const owner = hnsw_mutable(h);
    (void)pthread_mutex_lock(&owner->scratch_lock);
    s->next = owner->scratch;
    owner->scratch = s;
    (void)pthread_mutex_unlock(&owner->scratch_lock);
}

/* ---- Walking -------------------------------------------------------------------------------- */

void hnsw_look_for(const struct hnsw *h, struct hnsw_scratch *s, const float *vector) {
    s->head = hnsw_encode_query(h, vector, &s->coder, s->query);
}

void hnsw_look_for_node(const struct hnsw *h, struct hnsw_scratch *s, uint32_t node) {
    memcpy(s->query, hnsw_code(h, node), h->code_bytes);
    s->head = hnsw_head_of(s->query);
    memset(s->query, 0, sizeof s->head);
}

void hnsw_sims(const struct hnsw *h, struct hnsw_scratch *s, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        s->codes[i] = hnsw_code(h, s->ids[i]);
    }
    s->vec->dot_i8_rows(s->query, s->codes, n, h->code_bytes, s->dots);
    for (uint32_t i = 0; i < n; i++) {
        const struct hnsw_head head = hnsw_head_of(s->codes[i]);
        s->sims[i] = hnsw_agree(s->dots[i], &head, &s->head);
    }
    s->distances += n;
}

/* The unvisited nodes among `links` into `ids`, marked as visited; asks for their codes. */
static uint32_t hnsw_gather(const struct hnsw *h, struct hnsw_scratch *s, const uint32_t *links,
                            uint32_t max, uint32_t *ids) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < max && links[i] != HNSW_NONE; i++) {
        uint64_t *const word = &s->visited[links[i] / 64];
        const uint64_t mark = (uint64_t)1 << (links[i] % 64);
        ids[n] = links[i];
        n += (*word & mark) == 0;
        *word |= mark;
    }
    for (uint32_t i = 0; i < n; i++) {
        const char *const code = (const char *)hnsw_code(h, ids[i]);
        for (uint32_t line = 0; line < h->code_bytes; line += HNSW_CODE_ALIGN) {
            __builtin_prefetch(code + line);
        }
    }
    return n;
}

uint32_t hnsw_descend(const struct hnsw *h, struct hnsw_scratch *s, uint32_t layer) {
    uint32_t best = h->entry;
    s->ids[0] = best;
    hnsw_sims(h, s, 1);
    float best_sim = s->sims[0];
    for (uint32_t at = h->layers; at > layer; at--) {
        for (bool moved = true; moved;) {
            const uint32_t *const links = hnsw_links(h, best, at);
            uint32_t n = 0;
            while (n < h->links_max && links[n] != HNSW_NONE) {
                s->ids[n] = links[n];
                n++;
            }
            hnsw_sims(h, s, n);
            moved = false;
            for (uint32_t i = 0; i < n; i++) {
                if (s->sims[i] > best_sim) {
                    best_sim = s->sims[i];
                    best = s->ids[i];
                    moved = true;
                }
            }
        }
    }
    return best;
}

void hnsw_pool_start(struct hnsw_scratch *s, uint32_t ef) {
    assert(ef < s->pool.cap);
    memset(s->visited, 0, ((size_t)s->slots + 63) / 64 * sizeof *s->visited);
    s->pool.n = 0;
    s->pool.next = 0;
    s->pool.max = ef;
}

void hnsw_pool_add(const struct hnsw *h, struct hnsw_scratch *s, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t entry = hnsw_pool_entry(s->sims[i], s->ids[i]);
        if (hnsw_pool_takes(&s->pool, entry)) {
            (void)hnsw_pool_put(&s->pool, entry);
            hnsw_ask_links(h, s->ids[i]);
        }
    }
}

void hnsw_pool_enter(const struct hnsw *h, struct hnsw_scratch *s, const uint32_t *nodes,
                     uint32_t n) {
    for (uint32_t i = 0; i < n;) {
        const uint32_t take = n - i < HNSW_GATHER ? n - i : HNSW_GATHER;
        const uint32_t fresh = hnsw_gather(h, s, nodes + i, take, s->ids);
        hnsw_sims(h, s, fresh);
        hnsw_pool_add(h, s, fresh);
        i += take;
    }
}

uint32_t hnsw_step(const struct hnsw *h, struct hnsw_scratch *s, uint32_t layer) {
    struct hnsw_pool *const p = &s->pool;
    while (p->next < p->n && (p->entries[p->next] & HNSW_POOL_DONE) != 0) {
        p->next++;
    }
    if (p->next == p->n) {
        return HNSW_NONE;
    }
    uint64_t *const entry = &p->entries[p->next++];
    const uint32_t *const links = hnsw_links(h, hnsw_pool_node(*entry), layer);
    *entry |= HNSW_POOL_DONE;
    return hnsw_gather(h, s, links, hnsw_links_of_layer(h, layer), s->ahead);
}

void hnsw_walk(const struct hnsw *h, struct hnsw_scratch *s, uint32_t layer) {
    uint32_t n = hnsw_step(h, s, layer);
    while (n != HNSW_NONE) {
        memcpy(s->ids, s->ahead, n * sizeof *s->ids);
        const uint32_t next = hnsw_step(h, s, layer);
        hnsw_sims(h, s, n);
        hnsw_pool_add(h, s, n);
        n = next != HNSW_NONE ? next : hnsw_step(h, s, layer);
    }
}

/* ---- Many at once --------------------------------------------------------------------------- */

enum { HNSW_TASKS_STEP = 4 }; /* tasks taken at once */

struct hnsw_runner {
    const struct hnsw *h;
    const struct hnsw_tasks *tasks;
    const atomic_bool *cancel;
    atomic_uint next;
    atomic_int rc;
};

static void *hnsw_run_thread(void *arg) {
    struct hnsw_runner *const r = arg;
    struct hnsw_scratch *const s = hnsw_scratch_take(r->h, r->tasks->ef);
    int rc = s == NULL ? U2I_ENOMEM : U2I_OK;
    while (rc == U2I_OK && atomic_load(&r->rc) == U2I_OK) {
        const uint32_t first = atomic_fetch_add(&r->next, HNSW_TASKS_STEP);
        if (first >= r->tasks->n) {
            break;
        }
        const uint32_t left = r->tasks->n - first;
        const uint32_t end = first + (left < HNSW_TASKS_STEP ? left : HNSW_TASKS_STEP);
        for (uint32_t i = first; rc == U2I_OK && i < end; i++) {
            const bool cancelled = r->cancel != NULL && atomic_load(r->cancel);
            rc = cancelled ? U2I_ETIMEOUT : r->tasks->fn(r->tasks->ctx, i, s);
        }
    }
    hnsw_scratch_give(r->h, s);
    int expected = U2I_OK;
    if (rc != U2I_OK) {
        (void)atomic_compare_exchange_strong(&r->rc, &expected, rc); /* the first failure counts */
    }
    return NULL;
}

#define HNSW_THREADS_MAX 64u

int hnsw_run(const struct hnsw *h, const struct hnsw_tasks *t, const struct hnsw_work *how,
             u2i_error_t *err) {
    struct hnsw_runner r = {.h = h, .tasks = t, .cancel = how == NULL ? NULL : how->cancel};
    pthread_t threads[HNSW_THREADS_MAX];
    uint32_t wanted = how == NULL || how->threads == 0 ? 1 : how->threads;
    wanted = wanted < HNSW_THREADS_MAX ? wanted : HNSW_THREADS_MAX;
    wanted = t->n / (2 * HNSW_TASKS_STEP) < wanted ? t->n / (2 * HNSW_TASKS_STEP) : wanted;
    uint32_t started = 0;
    while (started + 1 < wanted &&
           thread_start(&threads[started], "u2i-index", hnsw_run_thread, &r) == U2I_OK) {
        started++;
    }
    (void)hnsw_run_thread(&r);
    for (uint32_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    switch (atomic_load(&r.rc)) {
    case U2I_OK:
        return U2I_OK;
    case U2I_ETIMEOUT:
        return error_set(err, U2I_ETIMEOUT, "the work on the index was stopped");
    default:
        return error_oom(err);
    }
}
