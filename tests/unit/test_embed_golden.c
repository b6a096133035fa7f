/* A BERT model against sentence-transformers: the folder that it saved, and what it made of texts with it
 * (tests/golden/make_embed_golden.py). With mean and with CLS pooling, in floats and in bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "embed/embed.h"
#include "model_folder.h"
#include <jansson.h>
#include <math.h>

enum { DIM = 32, CASES_MAX = 64, LINE_BYTES = 8192 };

struct cases {
    json_t *list[CASES_MAX]; /* {"text", "mean", "cls"} */
    size_t n;
};

static struct cases read_cases(void) {
    struct cases c = {0};
    char line[LINE_BYTES];
    FILE *const f = fopen(TEST_GOLDEN "/vectors.jsonl", "rb");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        assert_true(c.n < CASES_MAX);
        c.list[c.n] = json_loads(line, 0, NULL);
        assert_non_null(c.list[c.n++]);
    }
    (void)fclose(f); /* only read from */
    assert_true(c.n > 20);
    return c;
}

static void free_cases(struct cases *c) {
    for (size_t i = 0; i < c->n; i++) {
        json_decref(c->list[i]);
    }
}

static void copy_file(const struct folder *to, const char *name) {
    static char data[1 << 18];
    char path[512];
    (void)snprintf(path, sizeof path, "%s/model/%s", TEST_GOLDEN, name);
    FILE *const f = fopen(path, "rb");
    folder_require(f != NULL, name);
    const size_t n = fread(data, 1, sizeof data, f);
    folder_require(n > 0 && n < sizeof data, name);
    (void)fclose(f); /* only read from */
    folder_write(to, name, data, n);
}

/* The same model, pooled as bge has it. */
static struct folder make_cls(void) {
    static const char *const files[] = {"config.json",       "modules.json",
                                        "tokenizer.json",    "tokenizer_config.json",
                                        "model.safetensors", "sentence_bert_config.json"};
    const struct folder f = folder_make();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        copy_file(&f, files[i]);
    }
    folder_require(mkdir(folder_path(&f, "1_Pooling"), 0700) == 0, "mkdir");
    folder_put(&f, "1_Pooling/config.json",
               "{\"word_embedding_dimension\": 32, \"pooling_mode_cls_token\": true, "
               "\"pooling_mode_mean_tokens\": false, \"pooling_mode_max_tokens\": false, "
               "\"pooling_mode_mean_sqrt_len_tokens\": false}");
    return f;
}

static double cosine(const float *x, const json_t *want) {
    double xy = 0, xx = 0, yy = 0;
    assert_int_equal(json_array_size(want), DIM);
    for (size_t d = 0; d < DIM; d++) {
        const double y = json_number_value(json_array_get(want, d));
        xy += (double)x[d] * y;
        xx += (double)x[d] * (double)x[d];
        yy += y * y;
    }
    return xy / sqrt(xx * yy);
}

/* All texts together; each has at least that cosine to the reference. */
static void assert_near_all(const char *folder, const char *pooling, enum embed_precision precision,
                            double least) {
    const struct embed_bert_options opt = {.precision = precision};
    struct cases c = read_cases();
    struct embed_text texts[CASES_MAX] = {{0}};
    static float out[CASES_MAX][DIM];
    struct embedder *e = NULL;
    u2i_error_t err = {0};
    for (size_t i = 0; i < c.n; i++) {
        texts[i].text = json_string_value(json_object_get(c.list[i], "text"));
    }
    if (embed_bert_open(folder, &opt, &e, &err) != U2I_OK ||
        e->ops->embed(e, texts, c.n, out[0], &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(e->dim, DIM);
    for (size_t i = 0; i < c.n; i++) {
        const double near = cosine(out[i], json_object_get(c.list[i], pooling));
        if (!(near >= least)) {
            fail_msg("\"%s\": cosine %.8f", texts[i].text, near);
        }
    }
    e->ops->close(e);
    free_cases(&c);
}

static void mean_vectors_are_those_of_sentence_transformers(void **state) {
    (void)state;
    assert_near_all(TEST_GOLDEN "/model", "mean", EMBED_F32, 0.99999);
}

static void cls_vectors_are_those_of_sentence_transformers(void **state) {
    (void)state;
    const struct folder f = make_cls();
    assert_near_all(f.path, "cls", EMBED_F32, 0.99999);
    folder_remove(&f);
}

/* Weights at random are the worst case for bytes. */
static void vectors_in_bytes_are_near_those_of_sentence_transformers(void **state) {
    (void)state;
    const struct folder f = make_cls();
    assert_near_all(TEST_GOLDEN "/model", "mean", EMBED_INT8, 0.98);
    assert_near_all(f.path, "cls", EMBED_INT8, 0.98);
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_vectors_are_those_of_sentence_transformers),
        cmocka_unit_test(cls_vectors_are_those_of_sentence_transformers),
        cmocka_unit_test(vectors_in_bytes_are_near_those_of_sentence_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
