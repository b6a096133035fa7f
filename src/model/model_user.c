/* A question to the model: the user's events become weights of items, these a vector to search with and tables
 * of what the sparse parts put forward. Everything lives in the question's arena.
 *
 * The weight of an event is that of training times its recency, the largest of an item's events counts
 * (profile_largest); the sequence forgets faster than taste. What follows is linear in the entries:
 *
 *   ease        q = sum w_k in_k
 *   ials        q = A^-1 sum w_k v_k, A = G + sum w_k v_k v_k' + lambda (...) I: the fold-in of train.h
 *   sequence,   sum w_k M[k][.]
 *   neighbours
 *   content     sum w_k (c_k - mean) . (c_j - mean), for items j that the model doesn't know
 *
 * so that each entry's part of a score (its pull) is one summand, for ials v_k . (A^-1 v_j). The check of a
 * training asks through this file too: what is measured is what is served. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/topk.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <assert.h>
#include <math.h>

/* ---- Entries ---------------------------------------------------------------------------------- */

static int model_rows_compare(const void *ctx, const struct profile_event *a,
                              const struct profile_event *b) {
    (void)ctx;
    return (a->item > b->item) - (a->item < b->item);
}

/* The events as profile/ wants them, newest first; `flags` is where each came from. */
static struct profile_event *model_user_events(const struct model *m,
                                               const struct model_question *q, size_t n,
                                               struct arena *a) {
    struct profile_event *const events = arena_array(a, n, sizeof *events);
    for (size_t i = 0; events != NULL && i < n; i++) {
        const float value = (float)((double)q->events[i].weight / m->weight_max);
        events[i] = (struct profile_event){.time_ms = q->events[i].time_ms,
                                           .item = q->events[i].item,
                                           .flags = (uint16_t)i,
                                           .value = value < 1 ? value : 1};
    }
    if (events != NULL) {
        profile_sort(events, n, model_rows_compare, NULL);
    }
    return events;
}

struct model_weighing {
    const struct profile_event *events;
    size_t n;
    float *recency;
    struct profile_entry *entries;
    size_t entries_n;
};

/* Weights of the items by `how`; entries come in the order of the items' newest events. */
static int model_user_weigh(struct model_weighing *w, const struct model_recency *how,
                            float *weights) {
    static const float one = 1;
    const struct profile_recency recency = {PROFILE_RANK, how->rank_power, 1, how->half_life_s,
                                            how->floor};
    profile_recency(&recency, w->events, w->n, w->recency);
    U2I_TRY(profile_largest(w->events, w->n, w->recency, &one, w->entries, &w->entries_n));
    for (size_t i = 0; i < w->entries_n; i++) {
        weights[i] = w->entries[i].weight;
    }
    return U2I_OK;
}

static int model_user_entry_list(struct model_user *u, struct arena *a) {
    static const struct model_recency flat = {0, 1e12, 1e-6};
    const size_t n = u->q.n < MODEL_WINDOW_MAX ? u->q.n : MODEL_WINDOW_MAX;
    struct model_weighing w = {.n = n};
    struct profile_event *const events = model_user_events(u->m, &u->q, n, a);
    w.events = events;
    w.recency = arena_array(a, n, sizeof *w.recency);
    w.entries = arena_array(a, n, sizeof *w.entries);
    u->entries = arena_array(a, n, sizeof *u->entries);
    u->order_weights = arena_array(a, n, sizeof *u->order_weights);
    u->weights = arena_array(a, n, sizeof *u->weights);
    u->flat_weights = arena_array(a, n, sizeof *u->flat_weights);
    u->ks = arena_array(a, n, sizeof *u->ks);
    if (events == NULL || w.recency == NULL || w.entries == NULL || u->entries == NULL ||
        u->order_weights == NULL || u->weights == NULL || u->flat_weights == NULL ||
        u->ks == NULL) {
        return U2I_ENOMEM;
    }
    U2I_TRY(model_user_weigh(&w, &flat, u->flat_weights));
    U2I_TRY(model_user_weigh(&w, &u->m->order, u->order_weights));
    U2I_TRY(model_user_weigh(&w, &u->m->taste, u->weights));
    u->n = w.entries_n; /* the same each time: weights are above 0 */
    for (size_t i = 0; i < u->n; i++) {
        u->entries[i] = (struct model_entry){w.entries[i].item, w.entries[i].weight,
                                             events[w.entries[i].latest].flags};
        u->ks[i] = model_k(u->m, w.entries[i].item);
        u->is_known |= u->ks[i] != MODEL_NONE;
    }
    return U2I_OK;
}

/* ---- The dense parts -------------------------------------------------------------------------- */

/* weight / spread; 0 where the part says nothing, or the bytes of the model were nonsense. */
float model_user_scale(const struct model *m, int part, double spread) {
    return spread > MODEL_SPREAD_MIN && spread < 1e30 ? (float)((double)m->weight[part] / spread)
                                                      : 0.0f;
}

/* weight / spread of the block, and the query's part with it. */
static void model_user_block(struct model_user *u, enum model_part part) {
    const struct model_block b = u->m->block[part];
    float *const q = u->query + b.at;
    const double spread = u->m->spread[part] == NULL ? 1 : sqrt(model_variance(u->m, part, q));
    u->scale[part] = model_user_scale(u->m, part, spread);
    if (u->scale[part] > 0) {
        vec_get()->scale(q, u->scale[part], b.dim);
    } else {
        memset(q, 0, b.dim * sizeof *q);
    }
}

static int model_user_ials(struct model_user *u, struct arena *a) {
    const struct model *const m = u->m;
    const struct model_block b = m->block[MODEL_IALS];
    const struct train_fold how = {m->gram, b.dim, m->a0, m->lambda, m->ials_items};
    u->ials_factor = arena_array(a, (size_t)b.dim * b.dim, sizeof *u->ials_factor);
    u->ials_solved = arena_array(a, b.dim, sizeof *u->ials_solved);
    if (u->ials_factor == NULL || u->ials_solved == NULL) {
        return U2I_ENOMEM;
    }
    if (train_ials_fold_in(&how, u->factors, u->weights, u->n, u->query + b.at, u->ials_factor)) {
        model_user_block(u, MODEL_IALS);
    }
    return U2I_OK;
}

static int model_user_dense(struct model_user *u, struct arena *a) {
    const struct model *const m = u->m;
    u->query = arena_array(a, m->dim, sizeof *u->query);
    u->dots = arena_array(a, u->n, sizeof *u->dots);
    if (u->query == NULL || u->dots == NULL) {
        return U2I_ENOMEM;
    }
    memset(u->query, 0, m->dim * sizeof *u->query);
    const struct model_block ease = m->block[MODEL_EASE];
    if (ease.dim > 0) {
        vec_get()->axpy_rows(u->weights, u->ins, u->n, u->query + ease.at, ease.dim);
        model_user_block(u, MODEL_EASE);
    }
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        if (model_is_column(p) && m->block[p].dim > 0) {
            u->query[m->block[p].at] = 1;
            model_user_block(u, (enum model_part)p);
        }
    }
    return m->block[MODEL_IALS].dim > 0 ? model_user_ials(u, a) : U2I_OK;
}

/* The vectors of the entries; what is neither learnt nor told by content is zeros. */
static int model_user_vectors(struct model_user *u, struct arena *a) {
    const struct model *const m = u->m;
    const uint32_t ease = m->block[MODEL_EASE].dim;
    const uint32_t ials = m->block[MODEL_IALS].dim;
    const uint32_t most = ease > ials ? ease : ials;
    float *const zeros = arena_array(a, most, sizeof *zeros);
    u->ins = arena_array(a, u->n, sizeof *u->ins);
    u->factors = arena_array(a, u->n, sizeof *u->factors);
    if (zeros == NULL || u->ins == NULL || u->factors == NULL) {
        return U2I_ENOMEM;
    }
    memset(zeros, 0, most * sizeof *zeros);
    for (size_t i = 0; i < u->n; i++) {
        const uint32_t k = u->ks[i];
        u->ins[i] = k == MODEL_NONE ? zeros : m->in + (size_t)k * ease;
        u->factors[i] = k == MODEL_NONE ? zeros : model_vector(m, k) + m->block[MODEL_IALS].at;
    }
    return U2I_OK;
}

/* ---- The sparse parts ------------------------------------------------------------------------- */

static const float *model_user_sparse_weights(const struct model_user *u, int part) {
    return part == MODEL_SEQUENCE ? u->order_weights : u->weights;
}

static int model_user_sparse(struct model_user *u, struct arena *a) {
    const struct model *const m = u->m;
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        if (m->sparse[p] == NULL || m->weight[p] == 0) {
            continue;
        }
        const struct model_sums_input in = {u->ks, model_user_sparse_weights(u, p), u->n};
        U2I_TRY(model_sums_new(&u->sums[p], m->sparse[p], &in, a));
        const double spread = model_sums_spread(&u->sums[p], m->count);
        u->scale[p] = model_user_scale(m, p, spread);
        if (!(u->scale[p] > 0)) {
            u->sums[p].values = NULL;
        }
    }
    return U2I_OK;
}

/* The sparse parts' weighted sums side by side: sequence's, each with neighbours' added, then those that only
 * neighbours has. */
struct model_next {
    uint32_t *ks;
    float *sums;
    uint32_t n;
};

static void model_user_next_add(struct model_next *next, const struct model_sums *s, float scale,
                                const struct model_sums *before) {
    for (uint32_t i = 0; i < s->n; i++) {
        const uint32_t k = model_sums_key(s, i);
        const uint32_t place = before == NULL ? MODEL_NONE : model_sums_place(before, k);
        if (place != MODEL_NONE) {
            next->sums[place] += scale * s->values[i];
        } else {
            next->ks[next->n] = k;
            next->sums[next->n++] = scale * s->values[i];
        }
    }
}

uint32_t model_user_next(const struct model_user *u, uint32_t *rows, uint32_t max) {
    const struct model_sums *const first = &u->sums[MODEL_SEQUENCE];
    const struct model_sums *const second = &u->sums[MODEL_NEIGHBOURS];
    const size_t most = (size_t)first->n + second->n;
    struct topk best;
    struct hit *const hits = arena_array(u->arena, max, sizeof *hits);
    struct model_next next = {arena_array(u->arena, most, sizeof *next.ks),
                              arena_array(u->arena, most, sizeof *next.sums), 0};
    if (hits == NULL || next.ks == NULL || next.sums == NULL) {
        return 0; /* fewer candidates, not a failure */
    }
    if (first->values != NULL) {
        model_user_next_add(&next, first, u->scale[MODEL_SEQUENCE], NULL);
    }
    if (second->values != NULL) {
        model_user_next_add(&next, second, u->scale[MODEL_NEIGHBOURS],
                            first->values == NULL ? NULL : first);
    }
    topk_init(&best, hits, max, NULL, NULL);
    for (uint32_t i = 0; i < next.n; i++) {
        if (next.sums[i] > 0) {
            topk_push(&best, next.sums[i], next.ks[i]);
        }
    }
    const uint32_t n = topk_sort(&best);
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = u->m->rows[hits[i].row];
    }
    return n;
}

/* ---- Making it -------------------------------------------------------------------------------- */

int model_user_new(const struct model *m, const struct model_question *q, struct arena *a,
                   struct model_user **out, u2i_error_t *err) {
    *out = NULL;
    if (q->n == 0) {
        return U2I_OK;
    }
    struct model_user *const u = arena_alloc(a, sizeof *u);
    if (u == NULL) {
        return error_oom(err);
    }
    *u = (struct model_user){.m = m, .q = *q, .arena = a};
    if (model_user_entry_list(u, a) != U2I_OK || model_user_vectors(u, a) != U2I_OK ||
        model_user_predict(u) != U2I_OK) {
        return error_oom(err);
    }
    if (!u->is_known) {
        return U2I_OK;
    }
    if (model_user_dense(u, a) != U2I_OK || model_user_sparse(u, a) != U2I_OK) {
        return error_oom(err);
    }
    *out = u;
    return U2I_OK;
}

const float *model_user_query(const struct model_user *u) {
    return u->query;
}

size_t model_user_entries(const struct model_user *u, const struct model_entry **out) {
    *out = u->entries;
    return u->n;
}

/* ---- Scores and pulls ------------------------------------------------------------------------- */

/* An item's vector; that of an item that isn't learnt ends where the search does. */
static const float *model_user_out(const struct model_user *u, uint32_t k, const float *predicted,
                                   uint32_t *dim) {
    *dim = k == MODEL_NONE ? u->m->search_dim : u->m->dim;
    return k == MODEL_NONE ? predicted : model_vector(u->m, k);
}

void model_user_ask(const struct model_user *u, uint32_t row) {
    const uint32_t k = model_k(u->m, row);
    if (k != MODEL_NONE) {
        const char *const out = (const char *)model_vector(u->m, k);
        for (size_t at = 0; at < u->m->dim * sizeof(float); at += 64) {
            __builtin_prefetch(out + at);
        }
    }
}

void model_user_score(const struct model_user *u, uint32_t row, const float *predicted,
                      float *parts) {
    const struct model *const m = u->m;
    const uint32_t k = model_k(m, row);
    uint32_t end;
    const float *const out = model_user_out(u, k, predicted, &end);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        const struct model_block b = m->block[p];
        parts[p] = 0;
        if (b.dim > 0 && out != NULL) {
            const uint32_t n = b.at + b.dim < end ? b.dim : end - b.at;
            parts[p] = vec_dot(u->query + b.at, out + b.at, n);
        } else if (u->sums[p].values != NULL && k != MODEL_NONE) {
            parts[p] = u->scale[p] * model_sums_get(&u->sums[p], k);
        }
    }
    if (k == MODEL_NONE) {
        parts[MODEL_CONTENT] = model_user_content_score(u, row);
    }
}

/* Entry k of row a of the matrix: 0 if it isn't there. Halves without a branch that could be guessed wrong. */
static float model_sparse_get(const struct train_matrix *x, uint32_t a, uint32_t k) {
    uint64_t at = x->starts[a];
    const uint64_t end = x->starts[a + 1];
    for (uint64_t n = end - at; n > 1;) { /* the first that is not below k is within at .. at + n */
        const uint64_t half = n / 2;
        at += x->ids[at + half - 1] < k ? half : 0;
        n -= half;
    }
    return at < end && x->ids[at] == k ? x->values[at] : 0.0f;
}

/* pulls += scale x weight x dot */
static void model_pulls_add(const struct model_user *u, float scale, const float *dots,
                            float *pulls) {
    for (size_t i = 0; i < u->n; i++) {
        pulls[i] += scale * u->weights[i] * dots[i];
    }
}

static void model_pulls_dense(const struct model_user *u, const float *out, uint32_t end,
                              float *pulls) {
    const struct model_block ease = u->m->block[MODEL_EASE];
    const struct model_block ials = u->m->block[MODEL_IALS];
    if (ease.dim > 0 && u->scale[MODEL_EASE] > 0) {
        vec_get()->dot_many(out + ease.at, u->ins, u->n, end - ease.at, u->dots);
        model_pulls_add(u, u->scale[MODEL_EASE], u->dots, pulls);
    }
    if (ials.dim > 0 && u->scale[MODEL_IALS] > 0) {
        memcpy(u->ials_solved, out + ials.at, ials.dim * sizeof *u->ials_solved);
        train_ials_solve(u->ials_factor, ials.dim, u->ials_solved);
        vec_get()->dot_many(u->ials_solved, u->factors, u->n, ials.dim, u->dots);
        model_pulls_add(u, u->scale[MODEL_IALS], u->dots, pulls);
    }
}

static void model_pulls_sparse(const struct model_user *u, int part, uint32_t k, float *pulls) {
    const float *const weights = model_user_sparse_weights(u, part);
    for (size_t i = 0; i < u->n; i++) {
        if (u->ks[i] != MODEL_NONE) {
            pulls[i] +=
                u->scale[part] * weights[i] * model_sparse_get(u->m->sparse[part], u->ks[i], k);
        }
    }
}

void model_user_pulls(const struct model_user *u, uint32_t row, const float *predicted,
                      float *pulls) {
    const struct model *const m = u->m;
    const uint32_t k = model_k(m, row);
    uint32_t end;
    const float *const out = model_user_out(u, k, predicted, &end);
    memset(pulls, 0, u->n * sizeof *pulls);
    if (out != NULL) {
        model_pulls_dense(u, out, end, pulls);
    }
    for (int p = 0; p < MODEL_PARTS_N && k != MODEL_NONE; p++) {
        if (u->sums[p].values != NULL && model_sums_get(&u->sums[p], k) > 0) {
            model_pulls_sparse(u, p, k, pulls);
        }
    }
    if (k == MODEL_NONE) {
        model_user_content_pulls(u, row, pulls);
    }
}
