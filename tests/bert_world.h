/* A BERT model with weights from a formula, and numpy's vectors of a few texts (tests/golden/bert_golden.py, which has
 * the same formula): for the tests of the embedder. */
#ifndef U2I_TESTS_BERT_WORLD_H
#define U2I_TESTS_BERT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "embed/embed.h"
#include "golden/bert_golden.h"
#include "model_folder.h"
#include <math.h>

enum { HIDDEN = 24, LAYERS = 3, WIDE = 40, VOCAB = 40, POSITIONS = 16, TYPES = 2 };

/* ---- The model -------------------------------------------------------------------------------- */

static uint32_t formula_state;

static inline float formula(void) {
    formula_state = formula_state * 1664525u + 1013904223u;
    return (float)(formula_state >> 8) / 16777216.0f - 0.5f;
}

/* A tensor with values base + scale * formula. */
static inline void add(struct forge *f, const char *name, uint64_t rows, uint64_t columns,
                       float scale, float base) {
    const uint64_t dims[2] = {rows, columns};
    forge_add(f, name, "F32", dims, columns == 0 ? 1 : 2);
    const size_t n = (size_t)(rows * (columns == 0 ? 1 : columns));
    float *const values = alloc_array(n, sizeof *values);
    folder_require(values != NULL, "memory");
    for (size_t i = 0; i < n; i++) {
        values[i] = base + scale * formula();
    }
    memcpy(f->data.data + f->data.len - n * sizeof *values, values, n * sizeof *values);
    mem_free(values);
}

static inline void add_both(struct forge *f, unsigned layer, const char *name, uint64_t out,
                            uint64_t in) {
    char full[128];
    const bool norm = in == 0;
    (void)snprintf(full, sizeof full, "encoder.layer.%u.%s.weight", layer, name);
    add(f, full, out, in, norm ? 0.2f : 0.5f, norm ? 1.0f : 0.0f);
    (void)snprintf(full, sizeof full, "encoder.layer.%u.%s.bias", layer, name);
    add(f, full, out, 0, 0.1f, 0);
}

/* In the script's order. */
static inline void save_weights(const struct folder *folder) {
    struct forge f = {0};
    formula_state = 12345;
    add(&f, "embeddings.word_embeddings.weight", VOCAB, HIDDEN, 1, 0);
    add(&f, "embeddings.position_embeddings.weight", POSITIONS, HIDDEN, 1, 0);
    add(&f, "embeddings.token_type_embeddings.weight", TYPES, HIDDEN, 1, 0);
    add(&f, "embeddings.LayerNorm.weight", HIDDEN, 0, 0.2f, 1);
    add(&f, "embeddings.LayerNorm.bias", HIDDEN, 0, 0.1f, 0);
    for (unsigned i = 0; i < LAYERS; i++) {
        add_both(&f, i, "attention.self.query", HIDDEN, HIDDEN);
        add_both(&f, i, "attention.self.key", HIDDEN, HIDDEN);
        add_both(&f, i, "attention.self.value", HIDDEN, HIDDEN);
        add_both(&f, i, "attention.output.dense", HIDDEN, HIDDEN);
        add_both(&f, i, "attention.output.LayerNorm", HIDDEN, 0);
        add_both(&f, i, "intermediate.dense", WIDE, HIDDEN);
        add_both(&f, i, "output.dense", HIDDEN, WIDE);
        add_both(&f, i, "output.LayerNorm", HIDDEN, 0);
    }
    forge_save(&f, folder, "model.safetensors");
}

/* Tokens 5..39 are the words w5, w6, ... */
static inline struct folder make_model(bool cls) {
    const struct folder f = folder_make();
    struct buf vocab = {0};
    buf_puts(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 5; i < VOCAB; i++) {
        buf_printf(&vocab, "w%d\n", i);
    }
    folder_write(&f, "vocab.txt", vocab.data, vocab.len);
    buf_free(&vocab);
    folder_put(&f, "config.json",
               "{\"model_type\": \"bert\", \"hidden_act\": \"gelu\", \"hidden_size\": 24, "
               "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"intermediate_size\": 40, "
               "\"vocab_size\": 40, \"max_position_embeddings\": 16, \"type_vocab_size\": 2, "
               "\"layer_norm_eps\": 1e-12}");
    if (cls) {
        folder_require(mkdir(folder_path(&f, "1_Pooling"), 0700) == 0, "mkdir");
        folder_put(&f, "1_Pooling/config.json",
                   "{\"word_embedding_dimension\": 24, \"pooling_mode_cls_token\": true, "
                   "\"pooling_mode_mean_tokens\": false}");
    }
    save_weights(&f);
    return f;
}

static const struct embed_bert_options in_floats = {.precision = EMBED_F32},
                                       in_bytes = {.precision = EMBED_INT8};

static inline struct embedder *open_as(const struct folder *f,
                                       const struct embed_bert_options *opt) {
    struct embedder *e = NULL;
    u2i_error_t err = {0};
    if (embed_bert_open(f->path, opt, &e, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(e->dim, HIDDEN);
    return e;
}

static inline struct embedder *open_model(const struct folder *f) {
    return open_as(f, &in_floats);
}

/* Token 1 is what no word is. */
static const struct embed_text texts[] = {
    {.title = "w10"},
    {.title = "w5 w6", .category = "w7", .text = "w8"},
    {.text = "w39 unknown w39 w20 w21 w22 w23 w24 w25 w26 w27 w28 w29 w30"},
};

static inline void embed(const struct embedder *e, const struct embed_text *list, size_t n,
                         float *out) {
    u2i_error_t err = {0};
    if (e->ops->embed(e, list, n, out, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

static inline void assert_near(const float *got, const float *want) {
    for (int d = 0; d < HIDDEN; d++) {
        if (!(fabsf(got[d] - want[d]) < 2e-6f)) {
            fail_msg("%g instead of %g in dimension %d", (double)got[d], (double)want[d], d);
        }
    }
}

#endif
