/* Items without events: what is known of them is their content, so taste is predicted from it. A ridge regression
 * from content vectors to out-vectors is learnt on the items that have both; what it predicts stands in the
 * index beside the learnt vectors. Beside that part of the score, which knows what people who like such content
 * like, stands how alike the item is to the user's own items: cosine of content, the catalogue's mean taken
 * away from both sides, over its spread like every other part.
 *
 * A user's item that isn't learnt speaks through a predicted in-vector in the same way. */
#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <math.h>

#define COLD_ITEMS_MIN 50u /* fewer learnt items with content teach nothing */
#define COLD_USERS_MIN 5u /* an item's vector is learnt from this many users, or it teaches noise */

/* ---- Learning --------------------------------------------------------------------------------- */

struct model_lesson { /* learnt items with content */
    const float **content, **out, **in;
    uint32_t n;
};

static void model_lesson_free(struct model_lesson *l) {
    mem_free(l->in);
    mem_free(l->out);
    mem_free(l->content);
}

static int model_lesson_new(const struct model_input *in, const struct model *m,
                            struct model_lesson *l) {
    *l = (struct model_lesson){.content = alloc_array(m->count, sizeof *l->content),
                               .out = alloc_array(m->count, sizeof *l->out),
                               .in = alloc_array(m->count, sizeof *l->in)};
    if (l->content == NULL || l->out == NULL || l->in == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t k = 0; k < m->count; k++) {
        const float *const content = in->content(in->content_ctx, m->rows[k]);
        if (content != NULL && m->item_users[k] >= COLD_USERS_MIN &&
            vec_finite(content, in->content_dim)) {
            l->content[l->n] = content;
            l->out[l->n] = model_vector(m, k);
            l->in[l->n++] = m->in + (size_t)k * m->block[MODEL_EASE].dim;
        }
    }
    return U2I_OK;
}

static int model_cold_spread(const struct model_run *r, const struct model_lesson *l,
                             struct model *m) {
    const uint32_t dim = r->in->content_dim;
    float *const rows = alloc_array((size_t)l->n * dim, sizeof *rows);
    m->content_mean = mem_zalloc(dim * sizeof *m->content_mean);
    m->content_spread = alloc_array((size_t)dim * dim, sizeof *m->content_spread);
    int rc = U2I_ENOMEM;
    if (rows == NULL || m->content_mean == NULL || m->content_spread == NULL) {
        goto out;
    }
    for (uint32_t i = 0; i < l->n; i++) {
        memcpy(rows + (size_t)i * dim, l->content[i], dim * sizeof *rows);
        vec_get()->axpy(1.0f / (float)l->n, l->content[i], m->content_mean, dim);
    }
    rc = model_covariance(r->work.threads, rows, dim, l->n, dim, m->content_spread);
out:
    mem_free(rows);
    return rc;
}

int model_cold_fit(struct model_run *r, struct model *m, u2i_error_t *err) {
    const struct model_input *const in = r->in;
    const uint32_t to = m->block[MODEL_EASE].dim + m->block[MODEL_IALS].dim;
    if (in->content == NULL || in->content_dim == 0 || to == 0) {
        return U2I_OK;
    }
    U2I_TRY(model_step(r, "content", err));
    struct model_lesson l;
    int rc = model_lesson_new(in, m, &l);
    if (rc != U2I_OK) {
        rc = error_oom(err);
        goto out;
    }
    if (l.n < COLD_ITEMS_MIN) {
        goto out;
    }
    rc = train_map_new(l.content, in->content_dim, l.out, to, l.n, 0, &r->work, &m->map, err);
    if (rc == U2I_OK && m->block[MODEL_EASE].dim > 0) {
        rc = train_map_new(l.content, in->content_dim, l.in, m->block[MODEL_EASE].dim, l.n, 0,
                           &r->work, &m->map_in, err);
    }
    if (rc == U2I_OK && model_cold_spread(r, &l, m) != U2I_OK) {
        rc = error_oom(err);
    }
    m->content_dim = rc == U2I_OK ? in->content_dim : 0;
    model_tell(m, l.n, "content.items");
    model_tell(m, m->map == NULL ? 0 : m->map->ridge, "content.ridge");
out:
    model_lesson_free(&l);
    return rc;
}

/* ---- Predicting ------------------------------------------------------------------------------- */

bool model_predict(const struct model *m, const float *content, float *out) {
    if (m->map == NULL) {
        return false;
    }
    memset(out, 0, m->dim * sizeof *out);
    train_map_apply(m->map, content, out);
    const double norm = sqrt((double)vec_dot(out, out, m->dim));
    if (norm > m->norm_max) {
        vec_get()->scale(out, (float)(m->norm_max / norm * (1 - 1e-6)), m->dim);
    }
    return true;
}

/* ---- In a question ---------------------------------------------------------------------------- */

static const float *model_user_content_of(const struct model_user *u, uint32_t row) {
    return u->m->map == NULL || u->q.content == NULL ? NULL : u->q.content(u->q.content_ctx, row);
}

/* Vectors of the entries that aren't learnt. */
static int model_user_predict(struct model_user *u, struct arena *a) {
    const struct model *const m = u->m;
    for (size_t i = 0; i < u->n; i++) {
        if (u->ks[i] != MODEL_NONE || u->contents[i] == NULL) {
            continue;
        }
        float *const out = arena_array(a, m->dim, sizeof *out);
        float *const in = arena_array(a, m->block[MODEL_EASE].dim, sizeof *in);
        if (out == NULL || in == NULL) {
            return U2I_ENOMEM;
        }
        if (m->map_in != NULL) {
            train_map_apply(m->map_in, u->contents[i], in);
            u->ins[i] = in;
        }
        if (model_predict(m, u->contents[i], out)) {
            u->factors[i] = out + m->block[MODEL_IALS].at;
        }
    }
    return U2I_OK;
}

int model_user_content(struct model_user *u, struct arena *a) {
    const struct model *const m = u->m;
    if (m->content_dim == 0 || u->q.content == NULL) {
        return U2I_OK;
    }
    u->content = arena_array(a, m->content_dim, sizeof *u->content);
    u->contents = arena_array(a, u->n, sizeof *u->contents);
    if (u->content == NULL || u->contents == NULL) {
        return U2I_ENOMEM;
    }
    memset(u->content, 0, m->content_dim * sizeof *u->content);
    for (size_t i = 0; i < u->n; i++) {
        u->contents[i] = model_user_content_of(u, u->entries[i].item);
        if (u->contents[i] != NULL) {
            vec_get()->axpy(u->weights[i], u->contents[i], u->content, m->content_dim);
            vec_get()->axpy(-u->weights[i], m->content_mean, u->content, m->content_dim);
        }
    }
    const double spread = sqrt(model_variance(m->content_spread, u->content, m->content_dim));
    u->scale[MODEL_CONTENT] = model_user_scale(m, MODEL_CONTENT, spread);
    return model_user_predict(u, a);
}

float model_user_content_score(const struct model_user *u, uint32_t row) {
    const struct model *const m = u->m;
    const float *const content = u->content == NULL ? NULL : model_user_content_of(u, row);
    if (content == NULL) {
        return 0;
    }
    return u->scale[MODEL_CONTENT] * (vec_dot(u->content, content, m->content_dim) -
                                      vec_dot(u->content, m->content_mean, m->content_dim));
}

void model_user_content_pulls(const struct model_user *u, uint32_t row, float *pulls) {
    const struct model *const m = u->m;
    const float *const content = u->content == NULL ? NULL : model_user_content_of(u, row);
    if (content == NULL) {
        return;
    }
    const float own = vec_dot(m->content_mean, content, m->content_dim) -
                      vec_dot(m->content_mean, m->content_mean, m->content_dim);
    for (size_t i = 0; i < u->n; i++) {
        if (u->contents[i] != NULL) {
            const float dot = vec_dot(u->contents[i], content, m->content_dim) -
                              vec_dot(u->contents[i], m->content_mean, m->content_dim);
            pulls[i] += u->scale[MODEL_CONTENT] * u->weights[i] * (dot - own);
        }
    }
}
