/* Bump allocation. Blocks double from 4 KiB to 1 MiB, so a query of any size needs few of them; a
 * piece that would fill most of a block gets its own, put below the top one so that the rest of the
 * top stays in use. Nothing is freed singly. */
#include "base/arena.h"

#include "base/alloc.h"
#include <stdint.h>

#define ARENA_BLOCK_MIN ((size_t)4096)
#define ARENA_BLOCK_MAX ((size_t)1 << 20)
#define ARENA_ALIGN     ((size_t)16)

struct arena_block {
    struct arena_block *below;
    size_t used, size; /* of the bytes behind the header */
    size_t pad;        /* keeps the header a multiple of the alignment */
};

static struct arena_block *arena_block_new(size_t size) {
    if (size > SIZE_MAX - sizeof(struct arena_block)) {
        return NULL;
    }
    struct arena_block *const b = mem_alloc(sizeof *b + size);
    if (b != NULL) {
        *b = (struct arena_block){.size = size};
    }
    return b;
}

static void *arena_block_take(struct arena_block *b, size_t bytes) {
    char *const p = (char *)(b + 1) + b->used;
    b->used += bytes;
    return p;
}

static void *arena_alloc_alone(struct arena *a, size_t bytes) {
    struct arena_block *const b = arena_block_new(bytes);
    if (b == NULL) {
        return NULL;
    }
    if (a->top == NULL) {
        a->top = b;
    } else {
        b->below = a->top->below;
        a->top->below = b;
    }
    return arena_block_take(b, bytes);
}

void *arena_alloc(struct arena *a, size_t bytes) {
    if (bytes > SIZE_MAX - ARENA_ALIGN) {
        return NULL;
    }
    bytes = bytes == 0 ? ARENA_ALIGN : (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    struct arena_block *const top = a->top;
    if (top != NULL && top->size - top->used >= bytes) {
        return arena_block_take(top, bytes);
    }
    size_t size = top == NULL ? ARENA_BLOCK_MIN : top->size * 2;
    size = size > ARENA_BLOCK_MAX ? ARENA_BLOCK_MAX : size;
    if (bytes > size / 2) {
        return arena_alloc_alone(a, bytes);
    }
    struct arena_block *const b = arena_block_new(size);
    if (b == NULL) {
        return NULL;
    }
    b->below = top;
    a->top = b;
    return arena_block_take(b, bytes);
}

void *arena_array(struct arena *a, size_t n, size_t size) {
    size_t bytes = 0;
    return __builtin_mul_overflow(n, size, &bytes) ? NULL : arena_alloc(a, bytes);
}

char *arena_dup(struct arena *a, const char *s, size_t n) {
    char *const copy = n == SIZE_MAX ? NULL : arena_alloc(a, n + 1);
    if (copy != NULL) {
        if (n > 0) {
            memcpy(copy, s, n);
        }
        copy[n] = '\0';
    }
    return copy;
}

void arena_free(struct arena *a) {
    struct arena_block *b = a->top;
    while (b != NULL) {
        struct arena_block *const below = b->below;
        mem_free(b);
        b = below;
    }
    a->top = NULL;
}
