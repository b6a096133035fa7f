/* What others did lately after what this user did: the part of a score that stands in until the next training
 * knows it. Weighs most where nothing else is known of an item. */
#include "ask.h"

#include "base/error.h"

#include <stdlib.h>

#define LATELY_ITEMS 20u /* newest of the user's items that are looked at */
#define LATELY_EACH  32u /* pairs of one of them */
/* A share of 1 (all who did the one did the other) is worth as much as this many spreads of a learnt score:
 * about what separates the first item of a list from the hundredth. */
#define LATELY_GAIN 10.0f

static int lately_by_row(const void *pa, const void *pb) {
    const struct lately_pull *a = pa, *b = pb;
    return a->row != b->row ? (a->row > b->row ? 1 : -1)
                            : (a->event > b->event) - (a->event < b->event);
}

/* One item once, at its newest event; the weight falls with the rank of that event. */
static bool lately_first(const struct history *h, size_t i) {
    for (size_t k = 0; k < i; k++) {
        if (h->events[k].item == h->events[i].item) {
            return false;
        }
    }
    return true;
}

int lately_build(struct ask *a, u2i_error_t *err) {
    const struct covisits *c = a->e->covisits;
    struct covisit found[LATELY_EACH];
    a->lately = arena_array(&a->arena, LATELY_ITEMS * LATELY_EACH, sizeof(*a->lately));
    if (a->lately == NULL) {
        return error_oom(err);
    }
    uint32_t items = 0;
    for (size_t i = 0; i < a->history->n && items < LATELY_ITEMS; i++) {
        if (!lately_first(a->history, i)) {
            continue;
        }
        const size_t n = covisits_of(c, a->history->events[i].item, found, LATELY_EACH);
        items++;
        for (size_t k = 0; k < n; k++) {
            a->lately[a->lately_n++] = (struct lately_pull){
                found[k].item, (uint32_t)i, LATELY_GAIN * found[k].share / (float)items};
        }
    }
    qsort(a->lately, a->lately_n, sizeof(*a->lately), lately_by_row);
    return U2I_OK;
}

const struct lately_pull *lately_of(const struct ask *a, uint32_t row, uint32_t *n) {
    uint32_t low = 0, high = a->lately_n;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (a->lately[middle].row < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *n = 0;
    while (low + *n < a->lately_n && a->lately[low + *n].row == row) {
        ++*n;
    }
    return a->lately + low;
}

float lately_score(const struct ask *a, uint32_t row) {
    uint32_t n;
    double sum = 0;
    const struct lately_pull *p = lately_of(a, row, &n);
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)p[i].value;
    }
    return (float)sum;
}
