/* See eval_ids.h. */
#include "eval_ids.h"
#include "rows.h"
#include <stdlib.h>
#include <string.h>

static uint32_t eval_ids_slot(const struct eval_ids *ids, const char *name) {
    const uint64_t hash = rows_hash(ROWS_HASH_START, name, strlen(name));
    uint32_t at = (uint32_t)(hash ^ hash >> 32) & (ids->slots_n - 1);
    while (ids->slots[at] != 0 && strcmp(ids->names[ids->slots[at] - 1], name) != 0) {
        at = (at + 1) & (ids->slots_n - 1);
    }
    return at;
}

/* Room for one more: slots are a power of two, at most half full. */
static bool eval_ids_grow(struct eval_ids *ids) {
    if (ids->n < ids->cap) {
        return true;
    }
    const uint32_t cap = ids->cap == 0 ? 1024 : ids->cap * 2;
    if (cap > UINT32_MAX / 4) {
        return false;
    }
    const char **const names = realloc(ids->names, cap * sizeof *names);
    if (names == NULL) {
        return false;
    }
    ids->names = names;
    uint32_t *const slots = calloc(cap * 2, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    free(ids->slots);
    ids->slots = slots;
    ids->slots_n = cap * 2;
    ids->cap = cap;
    for (uint32_t i = 0; i < ids->n; i++) {
        slots[eval_ids_slot(ids, names[i])] = i + 1;
    }
    return true;
}

uint32_t eval_ids_put(struct eval_ids *ids, const char *name) {
    if (!eval_ids_grow(ids)) {
        return EVAL_NO_ID;
    }
    const uint32_t at = eval_ids_slot(ids, name);
    if (ids->slots[at] == 0) {
        const char *const copy = pool_copy(&ids->pool, name, strlen(name));
        if (copy == NULL) {
            return EVAL_NO_ID;
        }
        ids->names[ids->n++] = copy;
        ids->slots[at] = ids->n;
    }
    return ids->slots[at] - 1;
}

uint32_t eval_ids_find(const struct eval_ids *ids, const char *name) {
    const uint32_t slot = ids->n == 0 ? 0 : ids->slots[eval_ids_slot(ids, name)];
    return slot == 0 ? EVAL_NO_ID : slot - 1;
}

void eval_ids_free(struct eval_ids *ids) {
    pool_free(&ids->pool);
    free(ids->names);
    free(ids->slots);
    *ids = (struct eval_ids){.n = 0};
}
