/* A BERT model in a folder, against numpy's answers (tests/golden/bert_golden.py) and against itself: alone, in company,
 * cut, from two threads, without memory. The weights come from the same formula as there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../golden/bert_golden.h"
#include "base/alloc.h"
#include "embed/embed.h"
#include "model_folder.h"
#include "oom.h"
#include <math.h>
#include <pthread.h>

enum { HIDDEN = 24, LAYERS = 3, WIDE = 40, VOCAB = 40, POSITIONS = 16, TYPES = 2 };

/* ---- The model -------------------------------------------------------------------------------- */

static uint32_t formula_state;

static float formula(void) {
    formula_state = formula_state * 1664525u + 1013904223u;
    return (float)(formula_state >> 8) / 16777216.0f - 0.5f;
}

/* A tensor with values base + scale * formula. */
static void add(struct forge *f, const char *name, uint64_t rows, uint64_t columns, float scale,
                float base) {
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

static void add_both(struct forge *f, unsigned layer, const char *name, uint64_t out, uint64_t in) {
    char full[128];
    const bool norm = in == 0;
    (void)snprintf(full, sizeof full, "encoder.layer.%u.%s.weight", layer, name);
    add(f, full, out, in, norm ? 0.2f : 0.5f, norm ? 1.0f : 0.0f);
    (void)snprintf(full, sizeof full, "encoder.layer.%u.%s.bias", layer, name);
    add(f, full, out, 0, 0.1f, 0);
}

/* In the script's order. */
static void save_weights(const struct folder *folder) {
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
static struct folder make_model(bool cls) {
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

static const struct embed_bert_options floats = {.precision = EMBED_F32},
                                       bytes = {.precision = EMBED_INT8};

static struct embedder *open_as(const struct folder *f, const struct embed_bert_options *opt) {
    struct embedder *e = NULL;
    u2i_error_t err = {0};
    if (embed_bert_open(f->path, opt, &e, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(e->dim, HIDDEN);
    return e;
}

static struct embedder *open_model(const struct folder *f) {
    return open_as(f, &floats);
}

/* Token 1 is what no word is. */
static const struct embed_text texts[] = {
    {.title = "w10"},
    {.title = "w5 w6", .category = "w7", .text = "w8"},
    {.text = "w39 unknown w39 w20 w21 w22 w23 w24 w25 w26 w27 w28 w29 w30"},
};

static void embed(const struct embedder *e, const struct embed_text *list, size_t n, float *out) {
    u2i_error_t err = {0};
    if (e->ops->embed(e, list, n, out, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

static void assert_near(const float *got, const float *want) {
    for (int d = 0; d < HIDDEN; d++) {
        if (!(fabsf(got[d] - want[d]) < 2e-6f)) {
            fail_msg("%g instead of %g in dimension %d", (double)got[d], (double)want[d], d);
        }
    }
}

/* ---- Answers ---------------------------------------------------------------------------------- */

static void vectors_are_those_of_numpy(void **state) {
    (void)state;
    for (int cls = 0; cls < 2; cls++) {
        const struct folder f = make_model(cls == 1);
        struct embedder *const e = open_model(&f);
        float out[3][HIDDEN];
        embed(e, texts, 3, out[0]);
        for (int i = 0; i < 3; i++) {
            assert_near(out[i], cls == 1 ? golden_cls[i] : golden_mean[i]);
        }
        e->ops->close(e);
        folder_remove(&f);
    }
}

/* In bytes: a small model with weights at random is the worst case; real ones do better (docs/embedding.md). */
static void vectors_in_bytes_are_nearly_those_of_numpy(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    struct embedder *const e = open_as(&f, &bytes);
    struct embedder *const exact = open_model(&f);
    float out[3][HIDDEN];
    assert_string_equal(e->name, exact->name);
    embed(e, texts, 3, out[0]);
    bool same = true;
    for (int i = 0; i < 3; i++) {
        double cosine = 0;
        for (int d = 0; d < HIDDEN; d++) {
            cosine += (double)out[i][d] * (double)golden_mean[i][d];
            same = same && fabsf(out[i][d] - golden_mean[i][d]) < 1e-5f;
        }
        assert_true(cosine > 0.995);
    }
    assert_false(same); /* or it was not bytes */
    e->ops->close(e);
    exact->ops->close(exact);
    folder_remove(&f);
}

/* Texts pass side by side; a vector does not depend on the company, nor on how many passes there are. */
static void company_changes_nothing(void **state) {
    (void)state;
    enum { N = 200 };
    const struct folder f = make_model(false);
    struct embedder *const e = open_model(&f);
    struct embed_text list[N];
    float *const out = alloc_array((size_t)N * HIDDEN, sizeof *out);
    assert_non_null(out);
    for (int i = 0; i < N; i++) {
        list[i] = texts[i * 7 % 3];
    }
    embed(e, list, N, out);
    for (int i = 0; i < N; i++) {
        assert_near(out + (size_t)i * HIDDEN, golden_mean[i * 7 % 3]);
    }
    mem_free(out);
    e->ops->close(e);
    folder_remove(&f);
}

static void a_text_without_words_has_no_vector(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    struct embedder *const e = open_model(&f);
    const struct embed_text list[] = {{.title = "  \t"}, texts[0], {0}, {.text = ""}};
    float out[4][HIDDEN];
    memset(out, 0x55, sizeof out);
    embed(e, list, 4, out[0]);
    for (int d = 0; d < HIDDEN; d++) {
        assert_true(out[0][d] == 0 && out[2][d] == 0 && out[3][d] == 0);
    }
    assert_near(out[1], golden_mean[0]);
    e->ops->close(e);
    folder_remove(&f);
}

/* The model takes 16 tokens: what comes after the fourteenth word does not count. */
static void long_texts_are_cut(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    struct embedder *const e = open_model(&f);
    const struct embed_text longer = {.text = "w39 unknown w39 w20 w21 w22 w23 w24 w25 w26 w27 w28 "
                                              "w29 w30 w31 w32"};
    float out[HIDDEN];
    embed(e, &longer, 1, out);
    assert_near(out, golden_mean[2]);
    e->ops->close(e);
    folder_remove(&f);
}

/* "[SEP]" in a title is text, not the end of it. */
static void special_tokens_in_texts_are_text(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    struct embedder *const e = open_model(&f);
    const struct embed_text list[] = {{.title = "w10 [SEP]"}, {.title = "w10 ( sep )"}};
    float out[2][HIDDEN];
    embed(e, list, 2, out[0]);
    assert_near(out[0], out[1]); /* words nobody knows, both */
    e->ops->close(e);
    folder_remove(&f);
}

static void broken_utf8_names_the_text(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    struct embedder *const e = open_model(&f);
    const struct embed_text list[] = {texts[0], {.title = "w5 \xff"}};
    float out[2][HIDDEN];
    u2i_error_t err = {0};
    assert_int_equal(e->ops->embed(e, list, 2, out[0], &err), U2I_EEMBED);
    assert_int_equal(err.offset, 1);
    e->ops->close(e);
    folder_remove(&f);
}

static void *embed_some(void *ctx) {
    const struct embedder *const e = ctx;
    for (int i = 0; i < 20; i++) {
        float out[3][HIDDEN];
        if (e->ops->embed(e, texts, 3, out[0], NULL) != U2I_OK ||
            fabsf(out[1][0] - golden_mean[1][0]) > 2e-6f) {
            return ctx;
        }
    }
    return NULL;
}

/* The first text packs the weights, whoever brings it. */
static void threads_share_a_model(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    struct embedder *const e = open_model(&f);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, embed_some, e), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    e->ops->close(e);
    folder_remove(&f);
}

/* ---- What it is called, and what is refused --------------------------------------------------- */

static void the_name_tells_models_apart(void **state) {
    (void)state;
    const struct folder a = make_model(false);
    const struct folder b = make_model(true);
    struct embedder *const first = open_model(&a);
    struct embedder *const again = open_model(&a);
    struct embedder *const other = open_model(&b);
    assert_string_equal(first->name, again->name);
    assert_non_null(strstr(first->name, strrchr(a.path, '/') + 1));
    assert_string_not_equal(strrchr(first->name, '-'), strrchr(other->name, '-'));
    first->ops->close(first);
    again->ops->close(again);
    other->ops->close(other);
    folder_remove(&a);
    folder_remove(&b);
}

static void refused(const struct folder *f, int code, const char *why) {
    struct embedder *e;
    u2i_error_t err = {0};
    const int rc = embed_bert_open(f->path, &floats, &e, &err);
    if (rc != code || strstr(err.msg, why) == NULL) {
        fail_msg("%d \"%s\" instead of %d \"%s\"", rc, err.msg, code, why);
    }
    assert_null(e);
}

static void folders_that_are_no_model_are_refused(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    folder_put(&f, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n");
    refused(&f, U2I_EEMBED, "[SEP]");
    struct buf vocab = {0};
    buf_puts(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 5; i < VOCAB + 1; i++) {
        buf_printf(&vocab, "w%d\n", i);
    }
    folder_write(&f, "vocab.txt", vocab.data, vocab.len);
    buf_free(&vocab);
    refused(&f, U2I_EEMBED, "41 tokens, the model has vectors for 40");
    folder_drop(&f, "vocab.txt");
    refused(&f, U2I_ENOTFOUND, "tokenizer.json");
    folder_put(&f, "model.safetensors", "nothing");
    refused(&f, U2I_EEMBED, "model.safetensors");
    folder_drop(&f, "config.json");
    refused(&f, U2I_ENOTFOUND, "config.json");
    folder_remove(&f);
}

/* ---- Memory ----------------------------------------------------------------------------------- */

static void without_memory_nothing_is_left(void **state) {
    (void)state;
    if (!oom_is_wrapped()) {
        skip();
    }
    const struct folder f = make_model(false);
    long failures = 0;
    for (bool through = false; !through && failures < 10000; failures++) {
        struct embedder *e = NULL;
        float out[3][HIDDEN];
        u2i_error_t err = {0};
        oom_countdown = failures;
        int rc = embed_bert_open(f.path, failures % 2 == 0 ? &floats : &bytes, &e, &err);
        if (rc == U2I_OK) {
            rc = e->ops->embed(e, texts, 3, out[0], &err);
        }
        through = oom_countdown >= 0;
        oom_countdown = -1;
        assert_int_equal(rc, through ? U2I_OK : U2I_ENOMEM);
        if (e != NULL) {
            embed(e, texts, 3, out[0]); /* with memory again */
            if (failures % 2 == 0) {
                assert_near(out[1], golden_mean[1]);
            }
            e->ops->close(e);
        }
    }
    assert_true(failures > 30);
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_those_of_numpy),
        cmocka_unit_test(vectors_in_bytes_are_nearly_those_of_numpy),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(a_text_without_words_has_no_vector),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(special_tokens_in_texts_are_text),
        cmocka_unit_test(broken_utf8_names_the_text),
        cmocka_unit_test(threads_share_a_model),
        cmocka_unit_test(the_name_tells_models_apart),
        cmocka_unit_test(folders_that_are_no_model_are_refused),
        cmocka_unit_test(without_memory_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
