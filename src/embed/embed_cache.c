/* A table of chains for finding, and a ring in order of use for forgetting: an entry is in both. The ring's
 * head is no entry; after it comes the newest. */
#include "embed/embed_cache.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include <assert.h>
#include <pthread.h>

#define EMBED_CACHE_CHAINS_MAX ((size_t)1 << 16)
#define EMBED_CACHE_CHAINS_MIN ((size_t)64)

struct embed_cache_ring {
    struct embed_cache_ring *older, *newer;
};
struct embed_cache_entry {
    struct embed_cache_ring ring;   /* first: a ring's member is its entry */
    struct embed_cache_entry *next; /* of the chain */
    uint64_t hash;
    size_t text_n;
    float vector[]; /* [dim], then the text */
};
struct embed_cache {
    pthread_mutex_t lock;
    struct embed_cache_ring ring;
    struct embed_cache_entry **chains;
    size_t chains_n; /* a power of two */
    size_t bytes, bytes_max;
    uint32_t dim;
};

static size_t embed_cache_size(const struct embed_cache *c, size_t text_n) {
    return sizeof(struct embed_cache_entry) + c->dim * sizeof(float) + text_n;
}

int embed_cache_new(uint32_t dim, size_t bytes_max, struct embed_cache **out, u2i_error_t *err) {
    struct embed_cache *const c = mem_zalloc(sizeof *c);
    *out = NULL;
    if (c == NULL) {
        return error_oom(err);
    }
    c->dim = dim;
    c->bytes_max = bytes_max;
    c->ring = (struct embed_cache_ring){&c->ring, &c->ring};
    c->chains_n = EMBED_CACHE_CHAINS_MIN;
    while (c->chains_n < EMBED_CACHE_CHAINS_MAX &&
           c->chains_n < bytes_max / embed_cache_size(c, 0)) {
        c->chains_n *= 2;
    }
    c->chains = mem_zalloc(c->chains_n * sizeof(struct embed_cache_entry *));
    if (c->chains == NULL) {
        mem_free(c);
        return error_oom(err);
    }
    (void)pthread_mutex_init(&c->lock, NULL); /* the default kind: nothing can fail */
    *out = c;
    return U2I_OK;
}

void embed_cache_free(struct embed_cache *c) {
    if (c != NULL) {
        for (struct embed_cache_ring *r = c->ring.older; r != &c->ring;) {
            struct embed_cache_ring *const older = r->older;
            mem_free(r);
            r = older;
        }
        mem_free(c->chains);
        (void)pthread_mutex_destroy(&c->lock);
        mem_free(c);
    }
}

/* ---- Under the lock --------------------------------------------------------------------------- */

static void embed_cache_unlink(struct embed_cache_ring *r) {
    r->newer->older = r->older;
    r->older->newer = r->newer;
}

static void embed_cache_newest(struct embed_cache *c, struct embed_cache_ring *r) {
    *r = (struct embed_cache_ring){.older = c->ring.older, .newer = &c->ring};
    c->ring.older->newer = r;
    c->ring.older = r;
}

/* Where the pointer to the entry is, or would be. */
static struct embed_cache_entry **embed_cache_find(struct embed_cache *c, uint64_t hash,
                                                   const char *text, size_t n) {
    struct embed_cache_entry **at = &c->chains[hash & (c->chains_n - 1)];
    while (*at != NULL && ((*at)->hash != hash || (*at)->text_n != n ||
                           memcmp((*at)->vector + c->dim, text, n) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

static void embed_cache_drop_oldest(struct embed_cache *c) {
    struct embed_cache_entry *const e = (struct embed_cache_entry *)c->ring.newer;
    assert(&e->ring != &c->ring && c->bytes >= embed_cache_size(c, e->text_n));
    struct embed_cache_entry **at = &c->chains[e->hash & (c->chains_n - 1)];
    while (*at != e) {
        at = &(*at)->next;
    }
    *at = e->next;
    embed_cache_unlink(&e->ring);
    c->bytes -= embed_cache_size(c, e->text_n);
    mem_free(e);
}

/* ---- Calls ------------------------------------------------------------------------------------ */

bool embed_cache_get(struct embed_cache *c, const char *text, size_t n, float *out) {
    const uint64_t hash = hash_bytes(text, n, 0);
    (void)pthread_mutex_lock(&c->lock);
    struct embed_cache_entry *const e = *embed_cache_find(c, hash, text, n);
    if (e != NULL) {
        memcpy(out, e->vector, c->dim * sizeof *out);
        embed_cache_unlink(&e->ring);
        embed_cache_newest(c, &e->ring);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return e != NULL;
}

void embed_cache_put(struct embed_cache *c, const char *text, size_t n, const float *vector) {
    const uint64_t hash = hash_bytes(text, n, 0);
    const size_t bytes = embed_cache_size(c, n);
    struct embed_cache_entry *const e = bytes <= c->bytes_max ? mem_alloc(bytes) : NULL;
    if (e == NULL) {
        return;
    }
    e->hash = hash;
    e->text_n = n;
    memcpy(e->vector, vector, c->dim * sizeof *vector);
    memcpy(e->vector + c->dim, text, n);
    (void)pthread_mutex_lock(&c->lock);
    const bool there = *embed_cache_find(c, hash, text, n) != NULL; /* another thread was first */
    if (!there) {
        while (c->bytes_max - c->bytes < bytes) {
            embed_cache_drop_oldest(c);
        }
        struct embed_cache_entry **const chain = &c->chains[hash & (c->chains_n - 1)];
        e->next = *chain;
        *chain = e;
        embed_cache_newest(c, &e->ring);
        c->bytes += bytes;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (there) {
        mem_free(e);
    }
}

size_t embed_cache_bytes(struct embed_cache *c) {
    (void)pthread_mutex_lock(&c->lock);
    const size_t bytes = c->bytes;
    (void)pthread_mutex_unlock(&c->lock);
    return bytes;
}
