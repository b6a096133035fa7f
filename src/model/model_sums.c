/* Sparse scores of one user: what each of the user's items says about others, added up. The sums lie side by side in
 * the order in which their items came, with a hash table (open addressing) that knows where; all in the question's
 * arena, as large as the entries need. Where they are a good part of the catalogue there is a sum for every item,
 * which costs the same and needs no search. */
#include "model/model_internal.h"
#include <math.h>
#include <string.h>

#define SUMS_ARRAY_MAX 16384u /* a catalogue up to this gets the array always: 64 KiB */

/* The slot of k, or the free one where it would be. */
static uint32_t model_sums_slot(const struct model_sums *s, uint32_t k) {
    uint32_t at = model_hash(k) & s->mask;
    while (s->places[at] != MODEL_NONE && s->keys[s->places[at]] != k) {
        at = (at + 1) & s->mask;
    }
    return at;
}

uint32_t model_sums_place(const struct model_sums *s, uint32_t k) {
    return s->keys == NULL ? k : s->places[model_sums_slot(s, k)];
}

float model_sums_get(const struct model_sums *s, uint32_t k) {
    const uint32_t place = s->values == NULL ? MODEL_NONE : model_sums_place(s, k);
    return place == MODEL_NONE ? 0 : s->values[place];
}

/* Room for the entries of the rows ks[0..n). */
static bool model_sums_reserve(struct model_sums *s, const struct train_matrix *x,
                               const uint32_t *ks, size_t n, struct arena *a) {
    uint64_t entries = 0;
    for (size_t i = 0; i < n; i++) {
        entries += ks[i] == MODEL_NONE ? 0 : x->starts[ks[i] + 1] - x->starts[ks[i]];
    }
    if (x->cols <= SUMS_ARRAY_MAX || entries * 4 >= x->cols) {
        s->n = x->cols;
        s->values = arena_array(a, s->n, sizeof *s->values);
        if (s->values != NULL) {
            memset(s->values, 0, s->n * sizeof *s->values);
        }
        return s->values != NULL;
    }
    uint32_t slots = 64;
    while (slots < 2 * entries) {
        slots *= 2;
    }
    s->mask = slots - 1;
    s->values = arena_array(a, entries + 1, sizeof *s->values);
    s->keys = arena_array(a, entries + 1, sizeof *s->keys);
    s->places = arena_array(a, slots, sizeof *s->places);
    if (s->values == NULL || s->keys == NULL || s->places == NULL) {
        return false;
    }
    memset(s->places, 0xff, slots * sizeof *s->places); /* MODEL_NONE */
    return true;
}

static void model_sums_add_row(struct model_sums *s, const struct train_matrix *x, uint32_t k,
                               float weight) {
    const uint64_t end = x->starts[k + 1];
    if (s->keys == NULL) {
        for (uint64_t e = x->starts[k]; e < end; e++) {
            s->values[x->ids[e]] += weight * x->values[e];
        }
        return;
    }
    for (uint64_t e = x->starts[k]; e < end; e++) {
        uint32_t *const place = &s->places[model_sums_slot(s, x->ids[e])];
        if (*place == MODEL_NONE) {
            *place = s->n++;
            s->keys[*place] = x->ids[e];
            s->values[*place] = 0;
        }
        s->values[*place] += weight * x->values[e];
    }
}

double model_sums_spread(const struct model_sums *s, uint32_t count) {
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const double x = (double)s->values[i];
        sum += x;
        squares += x * x;
    }
    const double mean = sum / count;
    const double variance = squares / count - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}

int model_sums_new(struct model_sums *s, const struct train_matrix *x,
                   const struct model_sums_input *in, struct arena *a) {
    *s = (struct model_sums){0};
    if (!model_sums_reserve(s, x, in->ks, in->n, a)) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < in->n; i++) {
        if (in->ks[i] != MODEL_NONE && in->weights[i] > 0) {
            model_sums_add_row(s, x, in->ks[i], in->weights[i]);
        }
    }
    return U2I_OK;
}
