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
 * Weights are packed once (vec/gemm.h) into one piece of memory, biases and norms into another; keys and values of
 * a head are packed likewise, as they are the weights of attention's two products.
 *
 * With bytes only the products with the model's weights change: attention, norms and GELU stay in floats. */
#include "embed/bert.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/gemm.h"
#include "vec/vec.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define BERT_ALIGN 64u

struct bert_norm {
    const float *gamma, *beta;
};

struct bert_layer {
    struct gemm_weights qkv, mix, up, down; /* mix: the heads' results with each other */
    struct bert_norm after_attention, after_all;
};

struct bert {
    struct bert_config config;
    enum bert_precision precision;
    const struct gemm_ops *ops;
    struct safetensors_tensor words; /* [vocab][hidden], in the file */
    const float *positions;          /* [positions][hidden], the first type's vector added */
    struct bert_norm first;
    struct bert_layer *layers;

    char *packed; /* all weights; aligned at packed_at */
    size_t packed_at, packed_bytes;
    float *values; /* all else */
    size_t values_n;
};

static size_t bert_round(size_t bytes) {
    return (bytes + BERT_ALIGN - 1) / BERT_ALIGN * BERT_ALIGN;
}

/* ---- Reading weights -------------------------------------------------------------------------- */

struct bert_loading {
    struct bert *b;
    const struct safetensors *file;
    float *matrix; /* room for the largest one */
    u2i_error_t *err;
};

/* All of a tensor; the name is one of a layer if it is not below 0. */
static int bert_read(const struct bert_loading *l, int layer, const char *name, size_t n,
                     float *out) {
    char whole[BERT_TENSOR_NAME_MAX];
    struct safetensors_tensor t;
    const int prefix =
        layer < 0 ? 0 : snprintf(whole, sizeof whole, BERT_TENSOR_LAYER, (unsigned)layer);
    (void)snprintf(whole + prefix, sizeof whole - (size_t)prefix, "%s", name); /* fits */
    if (!bert_config_tensor(l->file, whole, &t)) {
        return error_set(l->err, U2I_EEMBED, "%s has no tensor %s", safetensors_path(l->file),
                         whole);
    }
    return safetensors_floats(&t, 0, n, out, l->err);
}

/* The next n floats that the model keeps. */
static float *bert_keep(struct bert *b, size_t n) {
    float *const at = b->values + b->values_n;
    b->values_n += n;
    return at;
}

static int bert_read_kept(const struct bert_loading *l, int layer, const char *name, size_t n,
                          const float **out) {
    float *const at = bert_keep(l->b, n);
    *out = at;
    return bert_read(l, layer, name, n, at);
}

static int bert_read_norm(const struct bert_loading *l, int layer, const char *name,
                          struct bert_norm *out) {
    char part[BERT_TENSOR_NAME_MAX];
    (void)snprintf(part, sizeof part, "%s.weight", name); /* fits */
    U2I_TRY(bert_read_kept(l, layer, part, l->b->config.hidden, &out->gamma));
    (void)snprintf(part, sizeof part, "%s.bias", name); /* fits */
    return bert_read_kept(l, layer, part, l->b->config.hidden, &out->beta);
}

static size_t bert_weight_bytes(const struct bert *b, uint32_t n, uint32_t k) {
    return bert_round(b->precision == BERT_INT8 ? gemm_i8_bytes(b->ops, n, k)
                                                : gemm_f32_bytes(b->ops, n, k));
}

/* l->matrix [n][k] and its bias become the next packed weights. */
static void bert_pack(const struct bert_loading *l, uint32_t n, uint32_t k, const float *bias,
                      struct gemm_weights *out) {
    struct bert *const b = l->b;
    char *const at = b->packed + b->packed_at;
    if (b->precision == BERT_INT8) {
        gemm_i8_pack(b->ops, l->matrix, k, n, k, at);
    } else {
        gemm_f32_pack(b->ops, l->matrix, k, n, k, at);
    }
    b->packed_at += bert_weight_bytes(b, n, k);
    *out = (struct gemm_weights){b->ops, n, k, at, bias};
}

static int bert_read_linear(const struct bert_loading *l, int layer, const char *name, uint32_t n,
                            uint32_t k, struct gemm_weights *out) {
    char part[BERT_TENSOR_NAME_MAX];
    const float *bias;
    (void)snprintf(part, sizeof part, "%s.weight", name); /* fits */
    U2I_TRY(bert_read(l, layer, part, (size_t)n * k, l->matrix));
    (void)snprintf(part, sizeof part, "%s.bias", name); /* fits */
    U2I_TRY(bert_read_kept(l, layer, part, n, &bias));
    bert_pack(l, n, k, bias, out);
    return U2I_OK;
}

static int bert_read_qkv(const struct bert_loading *l, int layer, struct gemm_weights *out) {
    static const char *const parts[] = {"query", "key", "value"};
    const uint32_t hidden = l->b->config.hidden;
    const float scale = 1 / sqrtf((float)(hidden / l->b->config.heads));
    float *const bias = bert_keep(l->b, 3 * (size_t)hidden);
    for (size_t i = 0; i < 3; i++) {
        char name[BERT_TENSOR_NAME_MAX];
        float *const rows = l->matrix + i * hidden * hidden;
        (void)snprintf(name, sizeof name, "attention.self.%s.weight", parts[i]); /* fits */
        U2I_TRY(bert_read(l, layer, name, (size_t)hidden * hidden, rows));
        (void)snprintf(name, sizeof name, "attention.self.%s.bias", parts[i]); /* fits */
        U2I_TRY(bert_read(l, layer, name, hidden, bias + i * hidden));
    }
    vec_get()->scale(l->matrix, scale, (size_t)hidden * hidden);
    vec_get()->scale(bias, scale, hidden);
    bert_pack(l, 3 * hidden, hidden, bias, out);
    return U2I_OK;
}

static int bert_read_layer(const struct bert_loading *l, int at) {
    const struct bert_config *const c = &l->b->config;
    struct bert_layer *const layer = &l->b->layers[at];
    U2I_TRY(bert_read_qkv(l, at, &layer->qkv));
    U2I_TRY(bert_read_linear(l, at, "attention.output.dense", c->hidden, c->hidden, &layer->mix));
    U2I_TRY(bert_read_norm(l, at, "attention.output.LayerNorm", &layer->after_attention));
    U2I_TRY(bert_read_linear(l, at, "intermediate.dense", c->intermediate, c->hidden, &layer->up));
    U2I_TRY(bert_read_linear(l, at, "output.dense", c->hidden, c->intermediate, &layer->down));
    return bert_read_norm(l, at, "output.LayerNorm", &layer->after_all);
}

static int bert_read_embeddings(const struct bert_loading *l) {
    struct bert *const b = l->b;
    const size_t hidden = b->config.hidden;
    const size_t n = b->config.positions * hidden;
    float *const positions = bert_keep(b, n);
    float *const type = l->matrix;
    if (!bert_config_tensor(l->file, "embeddings.word_embeddings.weight", &b->words)) {
        return error_set(l->err, U2I_EEMBED, "%s has no table of words", safetensors_path(l->file));
    }
    U2I_TRY(bert_read(l, -1, "embeddings.position_embeddings.weight", n, positions));
    U2I_TRY(bert_read(l, -1, "embeddings.token_type_embeddings.weight", b->config.types * hidden,
                      type));
    for (size_t p = 0; p < b->config.positions; p++) { /* a text alone is all of the first type */
        vec_get()->axpy(1, type, positions + p * hidden, hidden);
    }
    b->positions = positions;
    return bert_read_norm(l, -1, "embeddings.LayerNorm", &b->first);
}

/* ---- Memory ----------------------------------------------------------------------------------- */

static size_t bert_packed_bytes(const struct bert *b) {
    const uint32_t h = b->config.hidden;
    const uint32_t m = b->config.intermediate;
    return b->config.layers * (bert_weight_bytes(b, 3 * h, h) + bert_weight_bytes(b, h, h) +
                               bert_weight_bytes(b, m, h) + bert_weight_bytes(b, h, m));
}

static size_t bert_values(const struct bert_config *c) {
    const size_t h = c->hidden;
    return (c->positions + 2) * h + c->layers * (9 * h + c->intermediate);
}

static int bert_reserve(struct bert_loading *l) {
    struct bert *const b = l->b;
    const struct bert_config *const c = &b->config;
    const size_t h = c->hidden;
    const size_t square = 3 * h * h;
    const size_t wide = h * c->intermediate;
    size_t largest = square > wide ? square : wide;
    largest = largest > c->types * h ? largest : c->types * h;
    b->packed_bytes = bert_packed_bytes(b) + BERT_ALIGN;
    b->packed = mem_alloc(b->packed_bytes);
    b->values = alloc_array(bert_values(c), sizeof *b->values);
    b->layers = alloc_array(c->layers, sizeof *b->layers);
    l->matrix = alloc_array(largest, sizeof *l->matrix);
    if (b->packed == NULL || b->values == NULL || b->layers == NULL || l->matrix == NULL) {
        return error_oom(l->err);
    }
    b->packed_at = (BERT_ALIGN - (uintptr_t)b->packed % BERT_ALIGN) % BERT_ALIGN;
    return U2I_OK;
}

void bert_free(struct bert *b) {
    if (b != NULL) {
        mem_free(b->layers);
        mem_free(b->values);
        mem_free(b->packed);
        mem_free(b);
    }
}

size_t bert_bytes(const struct bert *b) {
    return sizeof *b + b->packed_bytes + bert_values(&b->config) * sizeof(float) +
           b->config.layers * sizeof *b->layers;
}

int bert_new(const struct bert_config *config, const struct safetensors *file,
             enum bert_precision precision, struct bert **out, u2i_error_t *err) {
    struct bert_loading l = {.b = mem_zalloc(sizeof *l.b), .file = file, .err = err};
    *out = NULL;
    if (l.b == NULL) {
        return error_oom(err);
    }
    l.b->config = *config;
    l.b->precision = precision;
    l.b->ops = gemm_get();
    int rc = bert_reserve(&l);
    if (rc == U2I_OK) {
        rc = bert_read_embeddings(&l);
    }
    for (uint32_t i = 0; i < config->layers && rc == U2I_OK; i++) {
        rc = bert_read_layer(&l, (int)i);
    }
    mem_free(l.matrix);
    if (rc != U2I_OK) {
        bert_free(l.b);
        return rc;
    }
    *out = l.b;
    return U2I_OK;
}

/* ---- The pass --------------------------------------------------------------------------------- */

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
    void *rows;          /* activations as bytes */
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
    if (p->b->precision == BERT_INT8) {
        const uint32_t widest = c->intermediate > c->hidden ? c->intermediate : c->hidden;
        p->rows = bert_take(p, &at, gemm_i8_rows_bytes(p->tokens, widest));
    }
    return at;
}

/* y[tokens][w->n] = x[tokens][w->k] W' + b */
static void bert_product(const struct bert_pass *p, const struct gemm_weights *w, const float *x,
                         float *y) {
    if (p->b->precision != BERT_INT8) {
        gemm_f32_run(w, x, w->k, p->tokens, y, w->n);
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
    gemm_f32_pack(b->ops, q + hidden, 3 * (size_t)hidden, n, dim, p->keys);
    gemm_f32_run(&keys, q, 3 * (size_t)hidden, n, p->scores, n);
    for (uint32_t i = 0; i < n; i++) {
        b->ops->softmax(p->scores + (size_t)i * n, n);
    }
    gemm_f32_pack_transposed(b->ops, q + 2 * (size_t)hidden, 3 * (size_t)hidden, dim, n, p->values);
    gemm_f32_run(&values, p->scores, n, n, p->mixed + first * hidden + head * dim, hidden);
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
