/* A BERT model in a folder, against numpy's answers (tests/golden/bert_golden.py) and against itself: alone, in company,
 * cut, from two threads, without memory, with prefixes, in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bert_world.h"
#include "oom.h"
#include <pthread.h>

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
    struct embedder *const e = open_as(&f, &in_bytes);
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

/* ---- Prefixes and pieces ---------------------------------------------------------------------- */

static void prefixes_are_put_before_texts_of_their_kind(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    const struct embed_bert_options opt = {
        .precision = EMBED_F32, .query_prefix = "w5 w6\n", .passage_prefix = "w5 "};
    struct embedder *const e = open_as(&f, &opt);
    struct embedder *const plain = open_model(&f);
    const struct embed_text list[] = {{.text = "w7 w8", .query = true},
                                      {.title = "w6", .category = "w7", .text = "w8"},
                                      {.text = "", .query = true},
                                      {.title = " "}};
    float out[4][HIDDEN];
    float same[HIDDEN];
    embed(e, list, 4, out[0]);
    assert_near(out[0], golden_mean[1]);
    assert_near(out[1], golden_mean[1]);
    for (int d = 0; d < HIDDEN; d++) { /* a prefix alone is no text */
        assert_true(out[2][d] == 0 && out[3][d] == 0);
    }
    embed(plain, &list[1], 1, same);
    assert_true(fabsf(same[0] - out[1][0]) > 1e-4f);
    e->ops->close(e);
    plain->ops->close(plain);
    folder_remove(&f);
}

static void to_unit_length(float *v) {
    float sum = 0;
    for (int d = 0; d < HIDDEN; d++) {
        sum += v[d] * v[d];
    }
    for (int d = 0; d < HIDDEN; d++) {
        v[d] /= sqrtf(sum);
    }
}

/* Sixteen tokens are fourteen words: twenty words are two pieces of ten, twenty-nine are three of nine and ten. */
static void windows_average_the_pieces_of_long_texts(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    const struct embed_bert_options opt = {.precision = EMBED_F32, .windows = true};
    struct embedder *const e = open_as(&f, &opt);
    const struct embed_text parts[] = {
        {.text = "w5 w6 w7 w8 w9 w10 w11 w12 w13"},
        {.text = "w14 w15 w16 w17 w18 w19 w20 w21 w22 w23"},
        {.text = "w24 w25 w26 w27 w28 w29 w30 w31 w32 w33"},
    };
    const struct embed_text whole = {
        .title = "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15 w16 w17 w18 w19 w20 w21 w22 w23",
        .text = "w24 w25 w26 w27 w28 w29 w30 w31 w32 w33"};
    float pieces[3][HIDDEN];
    float want[HIDDEN];
    float got[HIDDEN];
    embed(e, parts, 3, pieces[0]);
    embed(e, &whole, 1, got);
    for (int d = 0; d < HIDDEN; d++) {
        want[d] = 11 * pieces[0][d] + 12 * pieces[1][d] + 12 * pieces[2][d];
    }
    to_unit_length(want);
    assert_near(got, want);
    embed(e, texts, 2, pieces[0]); /* short ones are as ever */
    assert_near(pieces[1], golden_mean[1]);
    e->ops->close(e);
    folder_remove(&f);
}

/* More pieces than pass at once, among short texts, on all threads. */
static void windows_of_a_very_long_text_are_those_of_its_parts(void **state) {
    (void)state;
    const struct folder f = make_model(false);
    const struct embed_bert_options opt = {.precision = EMBED_F32, .windows = true};
    struct embedder *const e = open_as(&f, &opt);
    struct buf text = {0};
    for (int i = 0; i < 14 * 200; i++) {
        buf_printf(&text, "w%d ", 5 + i % 14);
    }
    buf_putc(&text, '\0');
    struct embed_text list[64];
    static float out[64][HIDDEN];
    for (int i = 0; i < 64; i++) {
        list[i] = i % 8 == 3 ? (struct embed_text){.text = text.data} : texts[1];
    }
    const struct embed_text piece = {.text = "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15 w16 w17 w18"};
    float want[HIDDEN];
    embed(e, &piece, 1, want);
    embed(e, list, 64, out[0]);
    for (int i = 0; i < 64; i++) {
        assert_near(out[i], i % 8 == 3 ? want : golden_mean[1]);
    }
    buf_free(&text);
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
    const int rc = embed_bert_open(f->path, &in_floats, &e, &err);
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
        int rc = embed_bert_open(f.path, failures % 2 == 0 ? &in_floats : &in_bytes, &e, &err);
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
        cmocka_unit_test(prefixes_are_put_before_texts_of_their_kind),
        cmocka_unit_test(windows_average_the_pieces_of_long_texts),
        cmocka_unit_test(windows_of_a_very_long_text_are_those_of_its_parts),
        cmocka_unit_test(the_name_tells_models_apart),
        cmocka_unit_test(folders_that_are_no_model_are_refused),
        cmocka_unit_test(without_memory_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
