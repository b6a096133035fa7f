/* A table of names: an array of strings whose index is the name's number, and chains through it
 * that find a name by its hash. Chains, not open addressing, so that removing one and cutting off
 * the newest is plain list surgery. Numbers are never used twice. */
#include "store/memory/memory_internal.h"

/* FNV-1a (Fowler, Noll, Vo), 32 bits: on purpose not the library's own hash. */
static uint32_t memory_names_hash(const char *text) {
    uint32_t h = 2166136261u;
    for (const char *p = text; *p != '\0'; p++) {
        h = (h ^ (unsigned char)*p) * 16777619u;
    }
    return h;
}

static uint32_t *memory_names_head(const struct memory_names *t, const char *text) {
    return &t->heads[memory_names_hash(text) & (t->heads_n - 1)];
}

uint32_t memory_names_find(const struct memory_names *t, const char *text) {
    if (t->heads_n == 0) {
        return STORE_NONE;
    }
    uint32_t number = *memory_names_head(t, text);
    while (number != STORE_NONE && strcmp(t->names[number].text, text) != 0) {
        number = t->names[number].next;
    }
    return number;
}

const char *memory_names_text(const struct memory_names *t, uint32_t number) {
    return number < t->n ? t->names[number].text : NULL;
}

static void memory_names_chain(struct memory_names *t, uint32_t number) {
    uint32_t *head = memory_names_head(t, t->names[number].text);
    t->names[number].next = *head;
    *head = number;
}

/* As many chains as names, so that a chain is about one name long. */
static int memory_names_rehash(struct memory_names *t, size_t heads_n) {
    uint32_t *heads = alloc_array(heads_n, sizeof *heads);
    if (heads == NULL) {
        return U2I_ENOMEM;
    }
    memset(heads, 0xff, heads_n * sizeof *heads); /* STORE_NONE */
    mem_free(t->heads);
    t->heads = heads;
    t->heads_n = heads_n;
    for (size_t i = 0; i < t->n; i++) {
        if (t->names[i].text != NULL) {
            memory_names_chain(t, (uint32_t)i);
        }
    }
    return U2I_OK;
}

int memory_names_add(struct memory_names *t, const char *text, uint32_t *number) {
    if (t->n >= STORE_NONE - 1) {
        return U2I_ENOMEM;
    }
    if (t->n >= t->heads_n) {
        U2I_TRY(memory_names_rehash(t, t->heads_n == 0 ? 64 : t->heads_n * 2));
    }
    U2I_TRY(array_reserve(&t->names, &t->cap, t->n + 1, sizeof *t->names));
    char *copy = str_dup(text, strlen(text));
    if (copy == NULL) {
        return U2I_ENOMEM;
    }
    *number = (uint32_t)t->n;
    t->names[t->n++].text = copy;
    memory_names_chain(t, *number);
    return U2I_OK;
}

void memory_names_remove(struct memory_names *t, uint32_t number) {
    if (number >= t->n || t->names[number].text == NULL) {
        return;
    }
    uint32_t *link = memory_names_head(t, t->names[number].text);
    while (*link != number) {
        link = &t->names[*link].next;
    }
    *link = t->names[number].next;
    mem_free(t->names[number].text);
    t->names[number].text = NULL;
}

void memory_names_cut(struct memory_names *t, size_t n) {
    while (t->n > n) {
        memory_names_remove(t, (uint32_t)(t->n - 1));
        t->n--;
    }
}

void memory_names_free(struct memory_names *t) {
    for (size_t i = 0; i < t->n; i++) {
        mem_free(t->names[i].text);
    }
    mem_free(t->names);
    mem_free(t->heads);
    *t = (struct memory_names){0};
}

size_t memory_names_bytes(const struct memory_names *t) {
    size_t bytes = t->cap * sizeof *t->names + t->heads_n * sizeof *t->heads;
    for (size_t i = 0; i < t->n; i++) {
        bytes += t->names[i].text != NULL ? strlen(t->names[i].text) + 1 : 0;
    }
    return bytes;
}
