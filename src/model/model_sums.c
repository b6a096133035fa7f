/* Sparse scores of one user: what each of the user's items says about others, added up. A table by open addressing
 * in the question's arena, as large as the entries need; where they are a good part of the catalogue,
 * an array by item, which costs the same and needs no search. */
#include "model/model_internal.h"
#include <math.h>
#include <string.h>

#define SUMS_ARRAY_MAX 16384u /* a catalogue up to this gets the array always: 64 KiB */

static uint32_t model_sums_slot(const struct model_sums *s, uint32_t k) {
    if (s->keys == NULL) {
        return k;
    }
    uint32_t at = model_hash(k) & (s->slots - 1);
    while (s->keys[at] != k && s->keys[at] != MODEL_SUMS_FREE) {
        at = (at + 1) & (s->slots - 1);
    }
    return at;
}

float model_sums_get(const struct model_sums *s, uint32_t k) {
    return s->values == NULL ? 0 : s->values[model_sums_slot(s, k)]; /* a free slot holds 0 */
}

struct model_sum model_sums_at(const struct model_sums *s, uint32_t i) {
    if (s->keys == NULL) {
        return (struct model_sum){i, s->values[i]};
    }
    return (struct model_sum){s->keys[s->used[i]], s->values[s->used[i]]};
}

/* Room for the entries of the rows ks[0..n). */
static bool model_sums_reserve(struct model_sums *s, const struct train_matrix *x,
                               const uint32_t *ks, size_t n, struct arena *a) {
    uint64_t entries = 0;
    for (size_t i = 0; i < n; i++) {
        entries += ks[i] == MODEL_NONE ? 0 : x->starts[ks[i] + 1] - x->starts[ks[i]];
    }
    s->slots = x->cols;
    if (x->cols > SUMS_ARRAY_MAX && entries * 4 < x->cols) {
        s->slots = 64;
        while (s->slots < 2 * entries) {
            s->slots *= 2;
        }
        s->keys = arena_array(a, s->slots, sizeof *s->keys);
        s->used = arena_array(a, entries, sizeof *s->used);
        if (s->keys == NULL || s->used == NULL) {
            return false;
        }
        memset(s->keys, 0xff, s->slots * sizeof *s->keys); /* MODEL_SUMS_FREE */
    }
    s->values = arena_array(a, s->slots, sizeof *s->values);
    if (s->values == NULL) {
        return false;
    }
    memset(s->values, 0, s->slots * sizeof *s->values);
    s->used_n = s->keys == NULL ? s->slots : 0;
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
        const uint32_t slot = model_sums_slot(s, x->ids[e]);
        s->used[s->used_n] = slot; /* counts if it is new */
        s->used_n += s->keys[slot] == MODEL_SUMS_FREE;
        s->keys[slot] = x->ids[e];
        s->values[slot] += weight * x->values[e];
    }
}

double model_sums_spread(const struct model_sums *s, uint32_t count) {
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < s->slots; i++) {
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
    for (uint32_t i = 0; i < s->slots; i++) {
        s->most = s->values[i] > s->most ? s->values[i] : s->most;
    }
    return U2I_OK;
}
