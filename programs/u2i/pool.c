/* See pool.h. */
#include "pool.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define POOL_CHUNK_BYTES (1u << 20)

struct pool_chunk {
    struct pool_chunk *next;
    size_t used, size;
    max_align_t memory[];
};

void *pool_alloc(struct pool *p, size_t n) {
    const size_t align = sizeof(max_align_t);
    if (n > SIZE_MAX / 2) {
        return NULL;
    }
    const size_t need = (n + align - 1) / align * align;
    struct pool_chunk *c = p->chunks;
    if (c == NULL || c->size - c->used < need) {
        const size_t size = need > POOL_CHUNK_BYTES ? need : POOL_CHUNK_BYTES;
        c = malloc(sizeof *c + size);
        if (c == NULL) {
            return NULL;
        }
        *c = (struct pool_chunk){.next = p->chunks, .used = 0, .size = size};
        p->chunks = c;
    }
    void *const at = (char *)c->memory + c->used;
    c->used += need;
    p->bytes += need;
    return at;
}

char *pool_copy(struct pool *p, const char *s, size_t n) {
    char *const copy = pool_alloc(p, n + 1);
    if (copy != NULL) {
        if (n > 0) {
            memcpy(copy, s, n);
        }
        copy[n] = '\0';
    }
    return copy;
}

void pool_reset(struct pool *p) {
    while (p->chunks != NULL && p->chunks->next != NULL) {
        struct pool_chunk *const c = p->chunks;
        p->chunks = c->next;
        free(c);
    }
    if (p->chunks != NULL) {
        p->chunks->used = 0;
    }
    p->bytes = 0;
}

void pool_free(struct pool *p) {
    pool_reset(p);
    free(p->chunks);
    p->chunks = NULL;
}
