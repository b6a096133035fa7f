/* Content in a question. A user's item that isn't learnt speaks through an in-vector of ease predicted from it. And an
 * item that isn't learnt gets, beside the score of its predicted vector, a part for how much it is like the user's own items:
 *
 *   sum_k w_k c_k . c_j / spread,   c centred and of unit length, w_k without recency: old tastes count too.
 *
 * Most questions meet no such item, so that sum is made when the first one is asked about. */
#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <math.h>

/* Centred content of any item, in the arena; NULL: none. */
static const float *content_of(const struct model_user *u, uint32_t row) {
    const uint32_t dim = u->m->content_dim;
    const float *const content = u->q.content(u->q.content_ctx, row);
    if (content == NULL || !vec_finite(content, dim)) {
        return NULL;
    }
    float *const centred = arena_array(u->arena, dim, sizeof *centred);
    if (centred != NULL) {
        model_content_centre(u->m, content, centred);
    }
    return centred;
}

/* ---- Entries that aren't learnt --------------------------------------------------------------- */

#define CONTENT_ENTRIES_MAX 8u /* the newest ones speak: each costs a pass over the map */

/* Ease's in-vector of an entry, as far as content tells it; the rest is 0. */
static int content_predict(struct model_user *u, size_t entry, const float *content) {
    const struct model *const m = u->m;
    const uint32_t dim = m->block[MODEL_EASE].dim;
    float *const in = arena_array(u->arena, dim, sizeof *in);
    float *const centred = arena_array(u->arena, m->content_dim, sizeof *centred);
    if (in == NULL || centred == NULL) {
        return U2I_ENOMEM;
    }
    memset(in, 0, dim * sizeof *in);
    model_content_centre(m, content, centred);
    train_map_apply(m->map_in, centred, in);
    u->ins[entry] = in;
    return U2I_OK;
}

int model_user_predict(struct model_user *u) {
    const struct model *const m = u->m;
    if (m->content_dim == 0 || u->q.content == NULL) {
        return U2I_OK;
    }
    u->content = arena_alloc(u->arena, sizeof *u->content);
    if (u->content == NULL) {
        return U2I_ENOMEM;
    }
    *u->content = (struct model_user_content){0};
    uint32_t spoken = 0;
    for (size_t i = 0; i < u->n && spoken < CONTENT_ENTRIES_MAX && m->map_in != NULL; i++) {
        const float *const content =
            u->ks[i] == MODEL_NONE ? u->q.content(u->q.content_ctx, u->entries[i].item) : NULL;
        if (content != NULL && vec_finite(content, m->content_dim)) {
            u->is_known = true;
            spoken++;
            U2I_TRY(content_predict(u, i, content));
        }
    }
    return U2I_OK;
}

/* ---- Items that aren't learnt ----------------------------------------------------------------- */

/* The entries' content; NULL if there is none, or no memory: then the part says nothing. */
static const struct model_user_content *content_ready(const struct model_user *u) {
    struct model_user_content *const c = u->content;
    const uint32_t dim = u->m->content_dim;
    if (c == NULL || c->is_ready) {
        return c;
    }
    float *const sum = arena_array(u->arena, dim, sizeof *sum);
    c->entries = arena_array(u->arena, u->n, sizeof *c->entries);
    if (sum == NULL || c->entries == NULL) {
        return NULL;
    }
    memset(sum, 0, dim * sizeof *sum);
    for (size_t i = 0; i < u->n; i++) {
        c->entries[i] = content_of(u, u->entries[i].item);
        if (c->entries[i] != NULL) {
            vec_get()->axpy(u->flat_weights[i], c->entries[i], sum, dim);
        }
    }
    c->sum = sum;
    c->scale = model_user_scale(u->m, MODEL_CONTENT,
                                sqrt(model_covariance_of(u->m->content_spread, sum, dim)));
    c->is_ready = true;
    return c;
}

float model_user_content_score(const struct model_user *u, uint32_t row) {
    const struct model_user_content *const c = content_ready(u);
    const float *const content = c == NULL ? NULL : content_of(u, row);
    return content == NULL ? 0 : c->scale * vec_dot(c->sum, content, u->m->content_dim);
}

void model_user_content_pulls(const struct model_user *u, uint32_t row, float *pulls) {
    const struct model_user_content *const c = content_ready(u);
    const float *const content = c == NULL ? NULL : content_of(u, row);
    for (size_t i = 0; i < u->n && content != NULL; i++) {
        if (c->entries[i] != NULL) {
            pulls[i] +=
                c->scale * u->flat_weights[i] * vec_dot(c->entries[i], content, u->m->content_dim);
        }
    }
}
