/* Two forms, because attributes come in two kinds. What nearly every item has (a price) is dense: 9
 * bytes a row, found by its position, scanned without a branch. What few items have (the key of a
 * dictionary that somebody keeps in the attributes) is sparse: 11 bytes a value, and a column costs
 * next to nothing where it has none. The forms cost the same at 3,351 values of 4,096; a sparse
 * chunk turns dense when it would outgrow half the rows, and back below a quarter, so that a value
 * that comes and goes does not turn it each time. */
#include "filter/chunk.h"

#include "base/alloc.h"
#include "filter/value.h"
#include "u2i.h"
#include <assert.h>

#define CHUNK_SPARSE_MIN 4u
#define CHUNK_SPARSE_MAX (CHUNK_ROWS / 2)

static size_t chunk_size(uint32_t slots, bool dense) {
    const size_t slot = sizeof(uint64_t) + sizeof(uint8_t) + (dense ? 0 : sizeof(uint16_t));
    return sizeof(struct chunk) + slots * slot;
}

/* One block: the struct, values, rows unless dense, tags. */
static struct chunk *chunk_new_form(uint32_t number, uint32_t slots, bool dense) {
    struct chunk *const c = mem_alloc(chunk_size(slots, dense));
    if (c == NULL) {
        return NULL;
    }
    *c = (struct chunk){.number = number, .cap = (uint16_t)slots};
    c->values = (uint64_t *)(void *)(c + 1);
    uint16_t *const rows = (uint16_t *)(void *)(c->values + slots);
    c->rows = dense ? NULL : rows;
    c->tags = (uint8_t *)(rows + (dense ? 0 : slots));
    if (dense) {
        memset(c->tags, VALUE_MISSING, slots);
        memset(c->values, 0, slots * sizeof *c->values);
    }
    return c;
}

struct chunk *chunk_new(uint32_t number) {
    return chunk_new_form(number, CHUNK_SPARSE_MIN, false);
}

void chunk_free(struct chunk *c) {
    mem_free(c);
}

/* The first sparse slot whose row is not below `row`. Rows mostly arrive in order. */
static uint32_t chunk_find(const struct chunk *c, uint16_t row) {
    if (c->n == 0 || c->rows[c->n - 1] < row) {
        return c->n;
    }
    uint32_t low = 0, high = c->n;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (c->rows[middle] < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Moves everything to a chunk of another form or size. */
static int chunk_convert(struct chunk **c, uint32_t slots, bool dense) {
    const struct chunk *const old = *c;
    struct chunk *const fresh = chunk_new_form(old->number, slots, dense);
    if (fresh == NULL) {
        return U2I_ENOMEM;
    }
    const uint32_t old_slots = old->rows != NULL ? old->n : CHUNK_ROWS;
    for (uint32_t i = 0; i < old_slots; i++) {
        if (old->tags[i] != VALUE_MISSING) {
            const uint16_t row = old->rows != NULL ? old->rows[i] : (uint16_t)i;
            chunk_set(fresh, row, old->tags[i], old->values[i]);
        }
    }
    assert(fresh->n == old->n);
    mem_free(*c);
    *c = fresh;
    return U2I_OK;
}

int chunk_reserve(struct chunk **c, uint16_t row) {
    const struct chunk *const old = *c;
    if (old->rows == NULL || old->n < old->cap) {
        return U2I_OK;
    }
    const uint32_t slot = chunk_find(old, row);
    if (slot < old->n && old->rows[slot] == row) {
        return U2I_OK; /* it will be unset first */
    }
    const uint32_t slots = old->cap * 2u;
    return slots > CHUNK_SPARSE_MAX ? chunk_convert(c, CHUNK_ROWS, true)
                                    : chunk_convert(c, slots, false);
}

void chunk_set(struct chunk *c, uint16_t row, uint8_t tag, uint64_t value) {
    uint32_t slot = row;
    assert(row < CHUNK_ROWS && tag != VALUE_MISSING);
    if (c->rows != NULL) {
        slot = chunk_find(c, row);
        const size_t after = c->n - slot;
        assert(c->n < c->cap && (after == 0 || c->rows[slot] != row));
        memmove(c->values + slot + 1, c->values + slot, after * sizeof *c->values);
        memmove(c->rows + slot + 1, c->rows + slot, after * sizeof *c->rows);
        memmove(c->tags + slot + 1, c->tags + slot, after);
        c->rows[slot] = row;
    }
    c->values[slot] = value;
    c->tags[slot] = tag;
    c->n++;
}

bool chunk_get(const struct chunk *c, uint16_t row, uint8_t *tag, uint64_t *value) {
    const bool sparse = c->rows != NULL;
    const uint32_t slot = sparse ? chunk_find(c, row) : row;
    if (sparse ? slot == c->n || c->rows[slot] != row : c->tags[slot] == VALUE_MISSING) {
        return false;
    }
    *tag = c->tags[slot];
    *value = c->values[slot];
    return true;
}

bool chunk_unset(struct chunk *c, uint16_t row, uint8_t *tag, uint64_t *value) {
    if (!chunk_get(c, row, tag, value)) {
        return false;
    }
    const bool sparse = c->rows != NULL;
    const uint32_t slot = sparse ? chunk_find(c, row) : row;
    c->n--;
    if (sparse) {
        const size_t after = c->n - slot;
        memmove(c->values + slot, c->values + slot + 1, after * sizeof *c->values);
        memmove(c->rows + slot, c->rows + slot + 1, after * sizeof *c->rows);
        memmove(c->tags + slot, c->tags + slot + 1, after);
    } else {
        c->tags[slot] = VALUE_MISSING;
    }
    return true;
}

void chunk_tidy(struct chunk **c) {
    const uint32_t n = (*c)->n, cap = (*c)->cap;
    if ((*c)->rows == NULL) {
        if (n < CHUNK_SPARSE_MAX / 2) {
            (void)chunk_convert(c, CHUNK_SPARSE_MAX, false); /* else it stays large */
        }
    } else if (n < cap / 4 && cap > CHUNK_SPARSE_MIN) {
        (void)chunk_convert(c, cap / 2, false);
    }
}

size_t chunk_bytes(const struct chunk *c) {
    return chunk_size(c->cap, c->rows == NULL);
}
