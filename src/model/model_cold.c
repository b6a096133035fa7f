/* Items without events: what is known of them is their content, so taste is predicted from it. The lessons are the
 * learnt items with content that enough users wanted. A ridge regression W leads from content to out-vectors;
 * what it misses of an item's nearest lessons is added, so that a sequel sounds like its series:
 *
 *   out(c) = W c + b + sum_i w_i (t_i - W c_i - b) = W (c - sum_i w_i c_i) + sum_i w_i t_i,
 *
 * i the 20 nearest lessons, w_i ~ max(0, cos)^3, adding up to 1; t_i the searched part of the out-vector over the
 * square root of the whole one's length (an average lesson's being 1), which takes half of the popularity out
 * of it. Both steps were measured to help (docs/training.md). Content is centred and of unit length here; the lessons keep theirs in bytes. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/topk.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <math.h>

#define COLD_LESSONS_MIN 50u /* fewer teach nothing */
#define COLD_USERS_MIN   5u /* an item's vector is learnt from this many users, or it teaches noise */
#define COLD_NEAREST     20u

/* ---- Lessons ---------------------------------------------------------------------------------- */

struct cold_class { /* while learning */
    struct model *m;
    float *contents, *targets;  /* [lessons][content_dim], [lessons][to] */
    const float **a, **b, **in; /* rows of these, and in-vectors of ease */
    uint32_t to;
};

static void cold_class_free(struct cold_class *c) {
    mem_free(c->in);
    mem_free(c->b);
    mem_free(c->a);
    mem_free(c->targets);
    mem_free(c->contents);
}

static const float *cold_content(const struct model_input *in, uint32_t row) {
    const float *const content = in->content(in->content_ctx, row);
    return content != NULL && vec_finite(content, in->content_dim) ? content : NULL;
}

/* Which items teach. */
static int cold_lessons(const struct model_input *in, struct model *m) {
    struct model_lessons *const l = &m->lessons;
    l->ks = alloc_array(m->count, sizeof *l->ks);
    if (l->ks == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t k = 0; k < m->count; k++) {
        if (m->item_users[k] >= COLD_USERS_MIN && cold_content(in, m->rows[k]) != NULL) {
            l->ks[l->n++] = k;
        }
    }
    return U2I_OK;
}

static int cold_class_new(const struct model_input *in, struct cold_class *c) {
    struct model_lessons *const l = &c->m->lessons;
    const uint32_t dim = in->content_dim;
    c->contents = alloc_array((size_t)l->n * dim, sizeof *c->contents);
    c->targets = alloc_array((size_t)l->n * c->to, sizeof *c->targets);
    c->a = alloc_array(l->n, sizeof *c->a);
    c->b = alloc_array(l->n, sizeof *c->b);
    c->in = alloc_array(l->n, sizeof *c->in);
    l->codes = alloc_array((size_t)l->n * dim, sizeof *l->codes);
    l->scales = alloc_array(l->n, sizeof *l->scales);
    l->gains = alloc_array(l->n, sizeof *l->gains);
    c->m->content_mean = mem_zalloc(dim * sizeof *c->m->content_mean);
    c->m->content_spread = alloc_array((size_t)dim * dim, sizeof *c->m->content_spread);
    return c->contents == NULL || c->targets == NULL || c->a == NULL || c->b == NULL ||
                   c->in == NULL || l->codes == NULL || l->scales == NULL || l->gains == NULL ||
                   c->m->content_mean == NULL || c->m->content_spread == NULL
               ? U2I_ENOMEM
               : U2I_OK;
}

void model_content_centre(const struct model *m, const float *content, float *out) {
    memcpy(out, content, m->content_dim * sizeof *out);
    vec_get()->axpy(-1, m->content_mean, out, m->content_dim);
    if (!vec_normalise(out, m->content_dim)) {
        memset(out, 0, m->content_dim * sizeof *out);
    }
}

static void cold_class_fill(const struct model_input *in, struct cold_class *c) {
    struct model *const m = c->m;
    struct model_lessons *const l = &m->lessons;
    const uint32_t dim = m->content_dim;
    double length = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        vec_get()->axpy(1.0f / (float)l->n, cold_content(in, m->rows[l->ks[i]]), m->content_mean,
                        dim);
        const float *const out = model_vector(m, l->ks[i]) + model_predicted_at(m);
        l->gains[i] = sqrtf(vec_dot(out, out, m->dim - model_predicted_at(m)));
        length += (double)l->gains[i] / l->n;
    }
    for (uint32_t i = 0; i < l->n; i++) {
        float *const content = c->contents + (size_t)i * dim;
        float *const target = c->targets + (size_t)i * c->to;
        model_content_centre(m, cold_content(in, m->rows[l->ks[i]]), content);
        l->scales[i] = vec_get()->quantise_i8(content, dim, l->codes + (size_t)i * dim);
        l->gains[i] = (float)(1 / sqrt((double)l->gains[i] / (length + 1e-9) + 1e-6));
        memcpy(target, model_vector(m, l->ks[i]) + model_predicted_at(m), c->to * sizeof *target);
        vec_get()->scale(target, l->gains[i], c->to);
        c->a[i] = content;
        c->b[i] = target;
        c->in[i] = m->in + (size_t)l->ks[i] * m->block[MODEL_EASE].dim; /* its beginning */
    }
}

static int cold_learn(struct model_run *r, struct cold_class *c, u2i_error_t *err) {
    struct model *const m = c->m;
    const uint32_t dim = r->in->content_dim;
    const uint32_t n = m->lessons.n;
    m->content_dim = dim;
    if (cold_class_new(r->in, c) != U2I_OK) {
        return error_oom(err);
    }
    cold_class_fill(r->in, c);
    if (model_covariance(r->work.threads, c->contents, dim, n, dim, m->content_spread) != U2I_OK) {
        return error_oom(err);
    }
    U2I_TRY(train_map_new(c->a, dim, c->b, c->to, n, 0, &r->work, &m->map, err));
    if (model_lead(m) > 0) {
        U2I_TRY(train_map_new(c->a, dim, c->in, model_lead(m), n, 0, &r->work, &m->map_in, err));
    }
    model_tell(m, n, "content.items");
    model_tell(m, m->map->ridge, "content.ridge");
    return U2I_OK;
}

int model_cold_fit(struct model_run *r, struct model *m, u2i_error_t *err) {
    struct cold_class c = {.m = m, .to = m->search_dim - model_predicted_at(m)};
    if (r->in->content == NULL || r->in->content_dim == 0 || c.to == 0) {
        return U2I_OK;
    }
    U2I_TRY(model_step(r, "content", err));
    if (cold_lessons(r->in, m) != U2I_OK) {
        return error_oom(err);
    }
    if (m->lessons.n < COLD_LESSONS_MIN) {
        m->lessons.n = 0;
        return U2I_OK;
    }
    const int rc = cold_learn(r, &c, err);
    cold_class_free(&c);
    return rc;
}

/* ---- Predicting ------------------------------------------------------------------------------- */

/* The nearest lessons with their weights, in `hits`. */
static uint32_t cold_nearest(const struct model *m, const int8_t *code, float scale,
                             struct hit *hits) {
    const struct model_lessons *const l = &m->lessons;
    struct topk best;
    topk_init(&best, hits, COLD_NEAREST, NULL, NULL);
    for (uint32_t i = 0; i < l->n; i++) {
        const int32_t dot =
            vec_get()->dot_i8(code, l->codes + (size_t)i * m->content_dim, m->content_dim);
        topk_push(&best, (float)dot * scale * l->scales[i], i);
    }
    const uint32_t n = topk_sort(&best);
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        const float cosine = hits[i].score > 0 ? hits[i].score : 0;
        hits[i].score = cosine * cosine * cosine + 1e-9f;
        sum += hits[i].score;
    }
    for (uint32_t i = 0; i < n; i++) {
        hits[i].score /= sum;
    }
    return n;
}

/* rest = content - sum w_i c_i; out += sum w_i t_i, from where the predicted part begins */
static void cold_residual(const struct model *m, const struct hit *hits, uint32_t n, float *rest,
                          float *out) {
    const struct model_lessons *const l = &m->lessons;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t lesson = hits[i].row;
        const int8_t *const code = l->codes + (size_t)lesson * m->content_dim;
        const float weight = hits[i].score * l->scales[lesson];
        for (uint32_t d = 0; d < m->content_dim; d++) {
            rest[d] -= weight * (float)code[d];
        }
        vec_get()->axpy(hits[i].score * l->gains[lesson],
                        model_vector(m, l->ks[lesson]) + model_predicted_at(m), out, m->map->to);
    }
}

/* Room for the content, what is left of it, and its code. */
static bool cold_predict(const struct model *m, const float *content, float *scratch, float *out) {
    struct hit hits[COLD_NEAREST];
    float *const rest = scratch;
    float *const mapped = scratch + m->content_dim;
    int8_t *const code = (int8_t *)(mapped + m->map->to);
    model_content_centre(m, content, rest);
    const float scale = vec_get()->quantise_i8(rest, m->content_dim, code);
    float *const predicted = out + model_predicted_at(m);
    memset(out, 0, m->search_dim * sizeof *out);
    cold_residual(m, hits, cold_nearest(m, code, scale, hits), rest, predicted);
    train_map_apply(m->map, rest, mapped); /* W rest + b */
    vec_get()->axpy(1, mapped, predicted, m->map->to);
    vec_get()->axpy(-1, m->map->b, predicted, m->map->to);
    const double norm = sqrt((double)vec_dot(out, out, m->search_dim));
    if (!(norm < 1e18)) {
        return false; /* the bytes of the model were nonsense */
    }
    if (norm > m->norm_max) {
        vec_get()->scale(out, (float)(m->norm_max / norm * (1 - 1e-6)), m->search_dim);
    }
    return true;
}

bool model_predict(const struct model *m, const float *content, float *out) {
    if (m->map == NULL || !vec_finite(content, m->content_dim)) {
        return false;
    }
    const size_t floats = (size_t)m->content_dim * 2 + m->map->to;
    float *const scratch = alloc_array(floats, sizeof *scratch);
    const bool ok = scratch != NULL && cold_predict(m, content, scratch, out);
    mem_free(scratch);
    return ok;
}
