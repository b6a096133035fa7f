/* Weights set into a model. Scores don't change if a block's out-vectors are multiplied by c: queries are divided by
 * the spread, which grows with it. The graph that searches them does care: it links items by the inner
 * product of their out-vectors, blocks together. A block is scaled such that the trace of its covariance is
 * the square of its weight; then the distance of two vectors is, up to one factor, the expected difference
 * of their scores over users whose queries point anywhere. */
#include "base/alloc.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <math.h>

static void model_weights_scale(struct model *m, int part, float c) {
    const struct model_block b = m->block[part];
    for (uint32_t k = 0; k < m->count; k++) {
        vec_get()->scale(m->out + (size_t)k * m->dim + b.at, c, b.dim);
    }
    vec_get()->scale(m->spread[part], c * c, model_spread_size(m, part));
    if (part == MODEL_IALS) { /* the system of the fold-in, with u = c u' */
        vec_get()->scale(m->gram, c * c, (size_t)b.dim * b.dim);
        m->lambda *= (double)c * (double)c;
    }
}

static double model_weights_trace(const struct model *m, int part) {
    const uint32_t dim = m->block[part].dim;
    double trace = 0;
    for (uint32_t d = 0; d < dim; d++) {
        trace += (double)m->spread[part][part == MODEL_EASE ? d : (size_t)d * dim + d];
    }
    return trace;
}

static void model_weights_drop(struct model *m, int part) {
    mem_free(m->spread[part]);
    m->spread[part] = NULL;
    train_matrix_free(m->sparse[part]);
    m->sparse[part] = NULL;
    m->block[part].dim = 0;
    if (part == MODEL_EASE) {
        mem_free(m->in);
        m->in = NULL;
    }
    if (part == MODEL_IALS) {
        mem_free(m->gram);
        m->gram = NULL;
    }
}

/* Moves the blocks that are left together. */
static int model_weights_pack(struct model *m) {
    struct model_block from[MODEL_PARTS_N];
    const uint32_t dim = m->dim;
    memcpy(from, m->block, sizeof from);
    model_place(m);
    if (dim == m->dim) {
        return U2I_OK;
    }
    float *const out = alloc_array((size_t)m->count * m->dim, sizeof *out);
    if (out == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t k = 0; k < m->count; k++) {
        for (int p = 0; p < MODEL_PARTS_N; p++) {
            const struct model_block to = m->block[p];
            memcpy(out + (size_t)k * m->dim + to.at, m->out + (size_t)k * dim + from[p].at,
                   to.dim * sizeof *out);
        }
    }
    mem_free(m->out);
    m->out = out;
    return U2I_OK;
}

int model_set_weights(struct model *m, const float *weights) {
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        const bool is_block = m->block[p].dim > 0;
        const double trace = is_block ? model_weights_trace(m, p) : 1;
        m->weight[p] = weights[p] > 0 && trace > 0 ? weights[p] : 0;
        if (m->weight[p] == 0) {
            model_weights_drop(m, p);
        } else if (is_block) {
            model_weights_scale(m, p, (float)((double)weights[p] / sqrt(trace)));
        }
    }
    const int rc = model_weights_pack(m);
    model_measure_norms(m);
    return rc;
}

bool model_swap_ease(struct model *a, struct model *b) {
    const struct model_block of_a = a->block[MODEL_EASE];
    const struct model_block of_b = b->block[MODEL_EASE];
    if (a->count != b->count || of_a.dim != of_b.dim ||
        memcmp(a->rows, b->rows, a->count * sizeof *a->rows) != 0) {
        return false;
    }
    float *const in = a->in;
    a->in = b->in;
    b->in = in;
    for (uint32_t k = 0; k < a->count; k++) {
        float *const x = a->out + (size_t)k * a->dim + of_a.at;
        float *const y = b->out + (size_t)k * b->dim + of_b.at;
        for (uint32_t d = 0; d < of_a.dim; d++) {
            const float swap = x[d];
            x[d] = y[d];
            y[d] = swap;
        }
    }
    return true;
}
