/* Models without a store, and vectors without items, through the public API. */
#include "shop.h"

#include "model_folder.h"

enum { TEST_DIM = 64 };

struct world {
    struct folder home, model;
};

static int make_world(void **state) {
    static struct world w;
    w.home = folder_make();
    w.model = tiny_make();
    folder_put(&w.model, "vocab.txt",
               "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\ngreen\nblue\nround\nsquare\nthing\n");
    (void)setenv("U2I_MODELS", w.home.path, 1);
    *state = &w;
    return 0;
}

static int remove_world(void **state) {
    const struct world *const w = *state;
    folder_remove(&w->home);
    folder_remove(&w->model);
    return 0;
}

/* ---- Models ------------------------------------------------------------------------------------- */

static void a_checked_model_is_described(void **state) {
    const struct world *const w = *state;
    u2i_model_t m = U2I_MODEL_INIT;
    u2i_error_t err;
    shop_ok(u2i_model_check(w->model.path, &m, &err), &err);
    assert_string_equal(m.path, w->model.path);
    assert_string_equal(m.name, strrchr(w->model.path, '/') + 1);
    assert_int_equal(m.dim, TINY_HIDDEN);
    assert_int_equal(m.layers, TINY_LAYERS);
    assert_int_equal(m.tokens_max, 10);
    assert_int_equal(m.vocabulary, TINY_VOCAB);
    assert_string_equal(m.pooling, "mean");
    assert_string_equal(m.weights, "F32");
    assert_true(m.parity >= 0 && m.parity < 1.0001);
    assert_true(strcmp(m.precision, "f32") == 0 || strcmp(m.precision, "int8") == 0);
    shop_ok(u2i_model_check(w->model.path, NULL, &err), &err);
}

static void an_added_model_is_called_by_its_name(void **state) {
    const struct world *const w = *state;
    u2i_model_t m = U2I_MODEL_INIT, by_name = U2I_MODEL_INIT;
    u2i_error_t err;
    shop_ok(u2i_model_add(w->model.path, "things", &m, &err), &err);
    assert_string_equal(m.name, "things");
    assert_string_equal(m.path, folder_path(&w->home, "things"));
    assert_int_equal(strncmp(m.model, "things-", 7), 0);
    shop_ok(u2i_model_check("things", &by_name, &err), &err);
    assert_memory_equal(&m, &by_name, sizeof m);
    assert_int_equal(u2i_model_check("thing", &by_name, &err), U2I_ENOTFOUND);
}

static int count_models(void *ctx, const u2i_model_t *m) {
    unsigned *const n = ctx;
    assert_int_equal(m->struct_size, sizeof *m);
    assert_true(m->bytes > 0);
    return ++*n == 2;
}

static void models_are_scanned_until_the_caller_has_enough(void **state) {
    const struct world *const w = *state;
    static const char *const names[] = {"c", "a", "b"};
    unsigned n = 0;
    u2i_error_t err;
    shop_ok(u2i_scan_models(count_models, &n, &err), &err);
    assert_int_equal(n, 0);
    for (size_t i = 0; i < 3; i++) {
        shop_ok(u2i_model_add(w->model.path, names[i], NULL, &err), &err);
    }
    shop_ok(u2i_scan_models(count_models, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(u2i_scan_models(NULL, NULL, &err), U2I_EINVAL);
}

static void an_older_caller_gets_what_fits(void **state) {
    const struct world *const w = *state;
    u2i_model_t m;
    u2i_error_t err;
    memset(&m, 0x55, sizeof m);
    m.struct_size = offsetof(u2i_model_t, bytes);
    shop_ok(u2i_model_check(w->model.path, &m, &err), &err);
    assert_string_equal(m.path, w->model.path);
    assert_int_equal(m.bytes, 0x5555555555555555U);
    m.struct_size = sizeof m + 1;
    assert_int_equal(u2i_model_check(w->model.path, &m, &err), U2I_EVERSION);
}

static void wrong_arguments_are_named(void **state) {
    u2i_model_get_options_t opt = U2I_MODEL_GET_OPTIONS_INIT;
    u2i_error_t err;
    (void)state;
    assert_int_equal(u2i_model_check(NULL, NULL, &err), U2I_EINVAL);
    assert_int_equal(u2i_model_check("", NULL, &err), U2I_EINVAL);
    assert_int_equal(u2i_model_add(NULL, NULL, NULL, &err), U2I_EINVAL);
    assert_int_equal(u2i_model_add("/nonexistent/x", NULL, NULL, &err), U2I_ENOTFOUND);
    assert_int_equal(u2i_model_get("a/b/c", NULL, NULL, &err), U2I_EINVAL);
    opt.endpoint = "gopher://x";
    assert_int_equal(u2i_model_get("a/b", &opt, NULL, &err), U2I_EINVAL);
}

/* ---- Vectors ------------------------------------------------------------------------------------ */

static int embed(u2i_t *u, const u2i_text_t *texts, size_t n, float *vectors, uint32_t dim,
                 u2i_error_t *err) {
    u2i_embedding_t what = U2I_EMBEDDING_INIT;
    what.texts = texts;
    what.n = n;
    what.vectors = vectors;
    what.dim = dim;
    return u2i_embed(u, &what, err);
}

static float length(const float *v, size_t n) {
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += v[i] * v[i];
    }
    return sum;
}

/* A search for the vector finds what the text finds, in the same order and with the same scores. */
static void a_query_s_vector_is_what_search_by_text_uses(void **state) {
    static const char *const titles[] = {"red round thing", "green round thing", "blue square"};
    const u2i_text_t text = {.text = "round green", .query = 1};
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_error_t err;
    float v[TEST_DIM];
    u2i_t *const u = shop_open(":memory:", "hash", TEST_DIM);
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const u2i_item_t item = {.id = titles[i], .title = titles[i]};
        shop_ok(u2i_put_items(u, &item, 1, sizeof item, &err), &err);
    }
    shop_ok(embed(u, &text, 1, v, TEST_DIM, &err), &err);
    q.text = text.text;
    u2i_result_t *by_text = NULL, *by_vector = NULL;
    shop_ok(u2i_search(u, &q, &by_text, &err), &err);
    q.text = NULL;
    q.vector = v;
    shop_ok(u2i_search(u, &q, &by_vector, &err), &err);
    assert_int_equal(u2i_result_count(by_text), 2);
    for (size_t i = 0; i < 2; i++) {
        const u2i_hit_t *const a = u2i_result_hit(by_text, i), *const b =
                                                                   u2i_result_hit(by_vector, i);
        assert_string_equal(a->id, b->id);
        assert_true(a->score - b->score < 1e-6F && b->score - a->score < 1e-6F);
    }
    u2i_result_free(by_vector);
    u2i_result_free(by_text);
    u2i_close(u);
}

static void vectors_of_a_model_have_unit_length_or_are_zero(void **state) {
    const struct world *const w = *state;
    const u2i_text_t texts[] = {{.title = "red", .category = "thing"},
                                {.title = ""},
                                {.text = "red\nthing"},
                                {.title = "red", .text = "thing"}};
    float v[4][TINY_HIDDEN];
    u2i_error_t err;
    u2i_t *const u = shop_open(":memory:", w->model.path, 0);
    shop_ok(embed(u, texts, 4, v[0], TINY_HIDDEN, &err), &err);
    assert_true(length(v[0], TINY_HIDDEN) > 0.999F && length(v[0], TINY_HIDDEN) < 1.001F);
    assert_true(length(v[1], TINY_HIDDEN) == 0);
    assert_memory_equal(v[0], v[2], sizeof v[0]);
    assert_memory_equal(v[0], v[3], sizeof v[0]);
    shop_ok(embed(u, NULL, 0, NULL, TINY_HIDDEN, &err), &err);
    u2i_close(u);
}

static void what_cannot_be_embedded_is_named(void **state) {
    const u2i_text_t texts[] = {{.title = "fine"}, {.title = "\xff"}};
    float v[2][TEST_DIM];
    u2i_error_t err;
    u2i_t *u = shop_open(":memory:", "hash", TEST_DIM);
    (void)state;
    assert_int_equal(embed(u, texts, 2, v[0], TEST_DIM, &err), U2I_EINVAL);
    assert_int_equal(err.offset, 1);
    assert_int_equal(embed(u, texts, 1, v[0], TEST_DIM - 1, &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "dim"));
    assert_int_equal(embed(u, texts, 1, NULL, TEST_DIM, &err), U2I_EINVAL);
    assert_int_equal(embed(u, NULL, 1, v[0], TEST_DIM, &err), U2I_EINVAL);
    assert_int_equal(embed(NULL, texts, 1, v[0], TEST_DIM, &err), U2I_EINVAL);
    u2i_close(u);
    u = shop_open(":memory:", "none", TEST_DIM);
    assert_int_equal(embed(u, texts, 1, v[0], TEST_DIM, &err), U2I_EEMBED);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_checked_model_is_described, make_world, remove_world),
        cmocka_unit_test_setup_teardown(an_added_model_is_called_by_its_name, make_world,
                                        remove_world),
        cmocka_unit_test_setup_teardown(models_are_scanned_until_the_caller_has_enough, make_world,
                                        remove_world),
        cmocka_unit_test_setup_teardown(an_older_caller_gets_what_fits, make_world, remove_world),
        cmocka_unit_test_setup_teardown(wrong_arguments_are_named, make_world, remove_world),
        cmocka_unit_test(a_query_s_vector_is_what_search_by_text_uses),
        cmocka_unit_test_setup_teardown(vectors_of_a_model_have_unit_length_or_are_zero, make_world,
                                        remove_world),
        cmocka_unit_test(what_cannot_be_embedded_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
