/* Releasing must not fail, so the list of unused codes runs through the counters of those codes and
 * needs no memory. struct intern compacts the bytes of removed names by itself. */
#include "filter/dict.h"

#include "base/alloc.h"
#include "u2i.h"
#include <assert.h>

int dict_init(struct dict *d) {
    *d = (struct dict){.names = intern_new(), .unused = INTERN_NONE};
    return d->names != NULL ? U2I_OK : U2I_ENOMEM;
}

void dict_clear(struct dict *d) {
    intern_free(d->names);
    mem_free(d->refs);
    *d = (struct dict){0};
}

/* Enters a new string under an unused code, or else the next one. */
static int dict_enter(struct dict *d, const char *s, size_t n, uint32_t *code) {
    const bool again = d->unused != INTERN_NONE;
    const uint32_t next = again ? d->unused : intern_end(d->names);
    if (array_reserve(&d->refs, &d->refs_cap, (size_t)next + 1, sizeof *d->refs) != U2I_OK ||
        intern_put(d->names, next, s, n) != U2I_OK) {
        return U2I_ENOMEM;
    }
    d->unused = again ? d->refs[next] : INTERN_NONE;
    d->refs[next] = 0;
    *code = next;
    return U2I_OK;
}

int dict_take(struct dict *d, const char *s, size_t n, uint32_t *code) {
    *code = intern_find(d->names, s, n);
    if (*code == INTERN_NONE) {
        const int rc = dict_enter(d, s, n, code);
        if (rc != U2I_OK) {
            return rc;
        }
    }
    d->refs[*code]++;
    return U2I_OK;
}

void dict_hold(struct dict *d, uint32_t code) {
    assert(d->refs[code] > 0);
    d->refs[code]++;
}

bool dict_release(struct dict *d, uint32_t code) {
    assert(d->refs[code] > 0);
    if (--d->refs[code] > 0) {
        return false;
    }
    intern_remove(d->names, code);
    d->refs[code] = d->unused;
    d->unused = code;
    return true;
}

size_t dict_bytes(const struct dict *d) {
    return intern_bytes(d->names) + d->refs_cap * sizeof *d->refs;
}
