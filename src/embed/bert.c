/* The forward pass of BERT, texts side by side and without padding: the products with weights go over the tokens of all texts
 * at once, only attention looks at one text at a time. One thread; threads work on different texts.
 *
 *   x = norm(word + position + type)
 *   in each layer:
 *     q, k, v = x Wqkv' + b            one product; Wq and its bias are divided by sqrt(head) when packed
 *     a = softmax(q k') v              for each text and head
 *     x = norm(x + a Wo' + b)
 *     x = norm(x + gelu(x Wup' + b) Wdown' + b)
 *
 * Weights come packed (bert_weights.c); keys and values of a head are packed on the way, as they are the weights of
 * attention's two products.
 *
 * With bytes only the products with the model's weights change: attention, norms and GELU stay in floats. */
#include "embed/bert_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"
#include <math.h>
#include <string.h>

struct bert_pass {
    const struct bert *b;
    const struct bert_batch *batch;
    uint32_t tokens, longest;
    float *x;            /* [tokens][hidden] */
    float *qkv;          /* [tokens][3 hidden] */
    float *mixed;        /* [tokens][hidden] */
    float *wide;         /* [tokens][intermediate] */
    float *scores;       /* [longest][longest] */
    void *keys, *values; /* packed, of one head */
    void *rows;          /* activations as bytes, or scratch of a product of floats */
    char *memory;        /* all of it */
};

/* Takes the next bytes of the pass's memory, or only counts them while there is none. */
static void *bert_take(const struct bert_pass *p, size_t *at, size_t bytes) {
    char *const start = p->memory == NULL ? NULL : p->memory + *at;
    *at += bert_round(bytes);
    return start;
}

static size_t bert_layout(struct bert_pass *p) {
    const struct bert_config *const c = &p->b->config;
    const size_t row = p->tokens * sizeof(float);
    const uint32_t head = c->hidden / c->heads;
    size_t at = p->memory == NULL ? BERT_ALIGN
                                  : (BERT_ALIGN - (uintptr_t)p->memory % BERT_ALIGN) % BERT_ALIGN;
    p->x = bert_take(p, &at, row * c->hidden);
    p->qkv = bert_take(p, &at, row * c->hidden * 3);
    p->mixed = bert_take(p, &at, row * c->hidden);
    p->wide = bert_take(p, &at, row * c->intermediate);
    p->scores = bert_take(p, &at, (size_t)p->longest * p->longest * sizeof(float));
    p->keys = bert_take(p, &at, gemm_f32_bytes(p->b->ops, p->longest, head));
    p->values = bert_take(p, &at, gemm_f32_bytes(p->b->ops, head, p->longest));
    const uint32_t widest = c->intermediate > c->hidden ? c->intermediate : c->hidden;
    p->rows = bert_take(p, &at,
                        p->b->precision == BERT_INT8 ? gemm_i8_rows_bytes(p->tokens, widest)
                                                     : gemm_f32_scratch_bytes(p->b->ops));
    return at;
}

/* y[tokens][w->n] = x[tokens][w->k] W' + b */
static void bert_product(const struct bert_pass *p, const struct gemm_weights *w, const float *x,
                         float *y) {
    if (p->b->precision != BERT_INT8) {
        const struct gemm_rows rows = {x, w->k, p->tokens};
        gemm_f32_run(w, &rows, p->rows, y, w->n);
    } else if (vec_finite(x, (size_t)p->tokens * w->k)) {
        gemm_i8_rows(p->b->ops, x, w->k, p->tokens, w->k, p->rows);
        gemm_i8_run(w, p->rows, p->tokens, y, w->n);
    } else { /* weights so large that sums overflow: no bytes say that, and no vector comes of it */
        for (size_t i = 0; i < (size_t)p->tokens * w->n; i++) {
            y[i] = NAN;
        }
    }
}

static void bert_norm_rows(const struct bert_pass *p, const struct bert_norm *n) {
    const uint32_t hidden = p->b->config.hidden;
    for (uint32_t t = 0; t < p->tokens; t++) {
        p->b->ops->norm(p->x + (size_t)t * hidden, n->gamma, n->beta, hidden,
                        p->b->config.norm_eps);
    }
}

/* x = word + position, normalised */
static int bert_begin(const struct bert_pass *p, u2i_error_t *err) {
    const struct bert *const b = p->b;
    const size_t hidden = b->config.hidden;
    for (size_t i = 0; i < p->batch->n; i++) {
        const size_t first = p->batch->starts[i];
        for (size_t t = first; t < p->batch->starts[i + 1]; t++) {
            float *const x = p->x + t * hidden;
            U2I_TRY(safetensors_floats(&b->words, p->batch->ids[t] * hidden, hidden, x, err));
            b->ops->add(x, b->positions + (t - first) * hidden, hidden);
        }
    }
    bert_norm_rows(p, &b->first);
    return U2I_OK;
}

/* One text's tokens and one head: the results stand side by side in `mixed`. */
static void bert_attend(const struct bert_pass *p, size_t first, uint32_t n, uint32_t head) {
    const struct bert *const b = p->b;
    const uint32_t hidden = b->config.hidden;
    const uint32_t dim = hidden / b->config.heads;
    const float *const q = p->qkv + first * 3 * hidden + head * dim;
    const struct gemm_weights keys = {b->ops, n, dim, p->keys, NULL};
    const struct gemm_weights values = {b->ops, dim, n, p->values, NULL};
    const struct gemm_rows queries = {q, 3 * (size_t)hidden, n};
    const struct gemm_rows shares = {p->scores, n, n};
    gemm_f32_pack(b->ops, q + hidden, 3 * (size_t)hidden, n, dim, p->keys);
    gemm_f32_run(&keys, &queries, NULL, p->scores, n);
    for (uint32_t i = 0; i < n; i++) {
        b->ops->softmax(p->scores + (size_t)i * n, n);
    }
    gemm_f32_pack_transposed(b->ops, q + 2 * (size_t)hidden, 3 * (size_t)hidden, dim, n, p->values);
    gemm_f32_run(&values, &shares, NULL, p->mixed + first * hidden + head * dim, hidden);
}

static void bert_attention(const struct bert_pass *p, const struct bert_layer *layer) {
    const uint32_t hidden = p->b->config.hidden;
    bert_product(p, &layer->qkv, p->x, p->qkv);
    for (size_t i = 0; i < p->batch->n; i++) {
        const size_t first = p->batch->starts[i];
        const uint32_t n = (uint32_t)(p->batch->starts[i + 1] - first);
        for (uint32_t head = 0; head < p->b->config.heads; head++) {
            bert_attend(p, first, n, head);
        }
    }
    bert_product(p, &layer->mix, p->mixed, p->qkv); /* qkv is free now */
    p->b->ops->add(p->x, p->qkv, (size_t)p->tokens * hidden);
    bert_norm_rows(p, &layer->after_attention);
}

static void bert_feed_forward(const struct bert_pass *p, const struct bert_layer *layer) {
    const uint32_t hidden = p->b->config.hidden;
    const uint32_t wide = p->b->config.intermediate;
    bert_product(p, &layer->up, p->x, p->wide);
    p->b->ops->gelu(p->wide, (size_t)p->tokens * wide);
    bert_product(p, &layer->down, p->wide, p->mixed);
    p->b->ops->add(p->x, p->mixed, (size_t)p->tokens * hidden);
    bert_norm_rows(p, &layer->after_all);
}

static void bert_pool(const struct bert_pass *p, float *out) {
    const size_t hidden = p->b->config.hidden;
    for (size_t i = 0; i < p->batch->n; i++, out += hidden) {
        const size_t first = p->batch->starts[i];
        const size_t n = p->batch->starts[i + 1] - first;
        memcpy(out, p->x + first * hidden, hidden * sizeof *out);
        for (size_t t = 1; t < n && p->b->config.pooling == BERT_POOL_MEAN; t++) {
            p->b->ops->add(out, p->x + (first + t) * hidden, hidden);
        }
        if (p->b->config.pooling == BERT_POOL_MEAN) {
            vec_get()->scale(out, 1 / (float)n, hidden);
        }
    }
}

int bert_run(const struct bert *b, const struct bert_batch *batch, float *out, u2i_error_t *err) {
    struct bert_pass p = {.b = b, .batch = batch, .tokens = (uint32_t)batch->starts[batch->n]};
    for (size_t i = 0; i < batch->n; i++) {
        const uint32_t n = (uint32_t)(batch->starts[i + 1] - batch->starts[i]);
        p.longest = n > p.longest ? n : p.longest;
    }
    p.memory = mem_alloc(bert_layout(&p));
    if (p.memory == NULL) {
        return error_oom(err);
    }
    (void)bert_layout(&p); /* the same sizes, now with memory */
    const int rc = bert_begin(&p, err);
    for (uint32_t i = 0; i < b->config.layers && rc == U2I_OK; i++) {
        bert_attention(&p, &b->layers[i]);
        bert_feed_forward(&p, &b->layers[i]);
    }
    if (rc == U2I_OK) {
        bert_pool(&p, out);
    }
    mem_free(p.memory);
    return rc;
}
