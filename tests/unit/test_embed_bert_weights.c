/* The packed weights of a BERT model: kept in a folder, used from there, made anew when they are of no use; and the
 * choice of precision, which is kept with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bert_world.h"
#include "oom.h"
#include "vec/gemm.h"
#include <dirent.h>

/* ---- Folders of packed weights ---------------------------------------------------------------- */

struct world {
    struct folder model, cache;
};

static struct world world_make(void) {
    return (struct world){make_model(false), folder_make()};
}

static void world_remove(const struct world *w) {
    folder_remove(&w->model);
    folder_remove(&w->cache);
}

/* How many files the cache has; *name gets one of them. */
static int cache_files(const struct world *w, char *name, size_t name_bytes) {
    DIR *const dir = opendir(w->cache.path);
    struct dirent *file;
    int n = 0;
    assert_non_null(dir);
    while ((file = readdir(dir)) != NULL) {
        if (file->d_name[0] != '.') {
            (void)snprintf(name, name_bytes, "%s", file->d_name);
            n++;
        }
    }
    (void)closedir(dir);
    return n;
}

/* Embeds a text with a new embedder. */
static struct embed_about embed_once(const struct world *w, enum embed_precision precision,
                                     bool cached, float *out) {
    const struct embed_bert_options opt = {.precision = precision,
                                           .cache = cached ? w->cache.path : NULL};
    struct embedder *const e = open_as(&w->model, &opt);
    struct embed_about about;
    embed(e, &texts[1], 1, out);
    e->ops->about(e, &about);
    e->ops->close(e);
    return about;
}

static struct buf file_read(const char *path) {
    struct buf b = {0};
    char piece[4096];
    FILE *const f = fopen(path, "rb");
    folder_require(f != NULL, path);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;) {
        buf_put(&b, piece, n);
    }
    folder_require(fclose(f) == 0 && !b.failed, path);
    return b;
}

/* The place of the tensor in the bytes of the model's file. */
static char *tensor_in(const struct world *w, const struct buf *bytes, const char *name) {
    struct safetensors *s;
    struct safetensors_tensor t;
    u2i_error_t err;
    assert_int_equal(safetensors_open(folder_path(&w->model, "model.safetensors"), &s, &err),
                     U2I_OK);
    assert_true(safetensors_find(s, name, &t));
    char *const at = memmem(bytes->data, bytes->len, t.bytes, (size_t)t.bytes_n);
    safetensors_close(s);
    assert_non_null(at);
    return at;
}

static void set_float(char *tensor, int at, float value) {
    memcpy(tensor + (size_t)at * sizeof value, &value, sizeof value); /* may lie unaligned */
}

/* The model with other weights where its name does not look: in the middle of a matrix. */
static void change_secretly(const struct world *w) {
    struct buf b = file_read(folder_path(&w->model, "model.safetensors"));
    char *const m = tensor_in(w, &b, "encoder.layer.1.output.dense.weight");
    for (int i = 300; i < 600; i++) {
        set_float(m, i, (float)(i % 7) - 3);
    }
    folder_write(&w->model, "model.safetensors", b.data, b.len);
    buf_free(&b);
}

static void packed_weights_are_kept_and_used(void **state) {
    (void)state;
    const struct world w = world_make();
    float out[HIDDEN];
    char name[256] = "";
    (void)embed_once(&w, EMBED_F32, true, out);
    assert_near(out, golden_mean[1]);
    assert_int_equal(cache_files(&w, name, sizeof name), 1);
    assert_non_null(strstr(name, gemm_get()->name)); /* they suit one instruction set only */
    assert_non_null(strstr(name, "-f32.weights"));
    change_secretly(&w);
    (void)embed_once(&w, EMBED_F32, false, out);
    assert_true(fabsf(out[0] - golden_mean[1][0]) > 1e-4f);
    (void)embed_once(&w, EMBED_F32, true, out); /* not read again */
    assert_near(out, golden_mean[1]);
    world_remove(&w);
}

static void damaged_weights_are_packed_again(void **state) {
    (void)state;
    const struct world w = world_make();
    float out[HIDDEN];
    char name[256];
    (void)embed_once(&w, EMBED_F32, true, out);
    assert_int_equal(cache_files(&w, name, sizeof name), 1);
    const struct buf good = file_read(folder_path(&w.cache, name));
    for (size_t at = 0; at < good.len; at += at < 128 ? 1 : 997) {
        struct buf bad = {0};
        buf_put(&bad, good.data, good.len);
        bad.data[at] = (char)(bad.data[at] ^ 0x10);
        folder_write(&w.cache, name, bad.data, bad.len);
        buf_free(&bad);
        (void)embed_once(&w, EMBED_F32, true, out);
        assert_near(out, golden_mean[1]);
        struct buf again = file_read(folder_path(&w.cache, name));
        assert_int_equal(again.len, good.len);
        assert_memory_equal(again.data, good.data, good.len);
        buf_free(&again);
    }
    for (size_t n = 0; n < good.len; n += 1 + good.len / 7) { /* cut short */
        folder_write(&w.cache, name, good.data, n);
        (void)embed_once(&w, EMBED_F32, true, out);
        assert_near(out, golden_mean[1]);
    }
    struct buf kept = good;
    buf_free(&kept);
    world_remove(&w);
}

/* Under the right name, but of a model with other weights. */
static void weights_of_another_model_are_not_taken(void **state) {
    (void)state;
    const struct world w = world_make();
    struct world other = {make_model(false), folder_make()};
    float out[HIDDEN];
    char name[256];
    char others[256];
    (void)embed_once(&w, EMBED_F32, true, out);
    struct buf b = file_read(folder_path(&other.model, "model.safetensors"));
    set_float(tensor_in(&other, &b, "encoder.layer.1.output.dense.weight"), 0, 2);
    folder_write(&other.model, "model.safetensors", b.data, b.len);
    buf_free(&b);
    (void)embed_once(&other, EMBED_F32, true, out);
    assert_true(fabsf(out[0] - golden_mean[1][0]) > 1e-5f);
    assert_int_equal(cache_files(&w, name, sizeof name), 1);
    assert_int_equal(cache_files(&other, others, sizeof others), 1);
    b = file_read(folder_path(&other.cache, others));
    folder_write(&w.cache, name, b.data, b.len);
    buf_free(&b);
    (void)embed_once(&w, EMBED_F32, true, out);
    assert_near(out, golden_mean[1]);
    world_remove(&w);
    world_remove(&other);
}

/* When a store changes its model, the old one's weights go. */
static void weights_of_the_model_before_are_removed(void **state) {
    (void)state;
    const struct world w = world_make();
    const struct world next = {make_model(true), w.cache};
    float out[HIDDEN];
    char name[256];
    char after[256];
    folder_put(&w.cache, "content.hnsw", "not ours");
    (void)embed_once(&w, EMBED_F32, true, out);
    (void)embed_once(&w, EMBED_INT8, true, out);
    assert_int_equal(cache_files(&w, name, sizeof name), 3);
    (void)embed_once(&next, EMBED_F32, true, out);
    assert_near(out, golden_cls[1]);
    assert_int_equal(cache_files(&w, after, sizeof after), 2);
    folder_drop(&w.cache, "content.hnsw");
    assert_int_equal(cache_files(&w, after, sizeof after), 1);
    assert_string_not_equal(after, name);
    folder_remove(&next.model);
    world_remove(&w);
}

static void without_a_place_for_them_weights_stay_in_memory(void **state) {
    (void)state;
    const struct world w = world_make();
    const char *const places[] = {"/proc/no-such-place", "/dev/null", "/dev/null/below"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const struct embed_bert_options opt = {.precision = EMBED_F32, .cache = places[i]};
        struct embedder *const e = open_as(&w.model, &opt);
        float out[HIDDEN];
        embed(e, &texts[1], 1, out);
        assert_near(out, golden_mean[1]);
        e->ops->close(e);
    }
    world_remove(&w);
}

/* ---- Precision -------------------------------------------------------------------------------- */

static void auto_takes_bytes_where_vectors_stay_the_same(void **state) {
    (void)state;
    const struct world w = world_make();
    const bool pays = gemm_get()->i8_pays;
    float bytes_out[HIDDEN];
    float out[HIDDEN];
    char name[256];
    (void)embed_once(&w, EMBED_INT8, false, bytes_out);
    const struct embed_about first = embed_once(&w, EMBED_AUTO, true, out);
    assert_string_equal(first.precision, pays ? "int8" : "f32");
    if (!pays) {
        assert_near(out, golden_mean[1]);
        world_remove(&w);
        return;
    }
    assert_memory_equal(out, bytes_out, sizeof out);
    assert_true(first.parity >= .99 && first.parity < .99999);
    assert_int_equal(cache_files(&w, name, sizeof name), 1);
    change_secretly(&w); /* measuring again would read the model */
    const struct embed_about again = embed_once(&w, EMBED_AUTO, true, out);
    assert_true(again.parity == first.parity);
    assert_memory_equal(out, bytes_out, sizeof out);
    /* Asked for, int8 is the same weights, and f32 others. */
    assert_true(embed_once(&w, EMBED_INT8, true, out).parity == first.parity);
    assert_string_equal(embed_once(&w, EMBED_F32, true, out).precision, "f32");
    world_remove(&w);
}

/* In each layer one input of the last product is a million, and counts nothing: bytes have no room for the others. */
static void auto_takes_floats_where_bytes_change_vectors(void **state) {
    (void)state;
    if (!gemm_get()->i8_pays) {
        skip();
    }
    const struct world w = world_make();
    struct buf b = file_read(folder_path(&w.model, "model.safetensors"));
    for (int layer = 0; layer < LAYERS; layer++) {
        char name[128];
        (void)snprintf(name, sizeof name, "encoder.layer.%d.intermediate.dense.bias", layer);
        set_float(tensor_in(&w, &b, name), 7, 1e6f);
        (void)snprintf(name, sizeof name, "encoder.layer.%d.output.dense.weight", layer);
        char *const down = tensor_in(&w, &b, name);
        for (int output = 0; output < HIDDEN; output++) {
            set_float(down, output * WIDE + 7, 0);
        }
    }
    folder_write(&w.model, "model.safetensors", b.data, b.len);
    buf_free(&b);
    float exact[HIDDEN];
    float out[HIDDEN];
    (void)embed_once(&w, EMBED_F32, false, exact);
    for (int i = 0; i < 2; i++) { /* measured, then remembered */
        const struct embed_about about = embed_once(&w, EMBED_AUTO, true, out);
        assert_string_equal(about.precision, "f32");
        assert_true(about.parity > 0 && about.parity < .99);
        assert_memory_equal(out, exact, sizeof out);
    }
    world_remove(&w);
}

/* Before the first text nothing is known but what was asked for. */
static void precision_is_told_as_soon_as_it_is_known(void **state) {
    (void)state;
    const struct world w = world_make();
    const struct embed_bert_options opts[] = {
        {.precision = EMBED_AUTO}, {.precision = EMBED_F32}, {.precision = EMBED_INT8}};
    const char *const want[] = {"", "f32", "int8"};
    for (int i = 0; i < 3; i++) {
        struct embedder *const e = open_as(&w.model, &opts[i]);
        struct embed_about about;
        e->ops->about(e, &about);
        assert_string_equal(about.precision, want[i]);
        assert_true(about.parity == 0);
        e->ops->close(e);
    }
    world_remove(&w);
}

/* ---- Memory ----------------------------------------------------------------------------------- */

static void without_memory_weights_are_whole_or_not_there(void **state) {
    (void)state;
    if (!oom_is_wrapped()) {
        skip();
    }
    const struct world w = world_make();
    char name[256];
    long failures = 0;
    for (bool through = false; !through && failures < 10000; failures++) {
        const struct embed_bert_options opt = {.precision = EMBED_AUTO, .cache = w.cache.path};
        struct embedder *e = NULL;
        float out[HIDDEN];
        u2i_error_t err = {0};
        if (cache_files(&w, name, sizeof name) > 0 && failures % 2 == 0) {
            folder_drop(&w.cache, name); /* with and without */
        }
        oom_countdown = failures;
        int rc = embed_bert_open(w.model.path, &opt, &e, &err);
        if (rc == U2I_OK) {
            rc = e->ops->embed(e, &texts[1], 1, out, &err);
        }
        through = oom_countdown >= 0 && failures % 2 == 0;
        oom_countdown = -1;
        assert_true(rc == U2I_OK ||
                    rc == U2I_ENOMEM); /* without memory to find them, they are packed */
        if (e != NULL) {
            embed(e, &texts[1], 1, out);
            e->ops->close(e);
        }
    }
    assert_true(failures > 30);
    world_remove(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_weights_are_kept_and_used),
        cmocka_unit_test(damaged_weights_are_packed_again),
        cmocka_unit_test(weights_of_another_model_are_not_taken),
        cmocka_unit_test(weights_of_the_model_before_are_removed),
        cmocka_unit_test(without_a_place_for_them_weights_stay_in_memory),
        cmocka_unit_test(auto_takes_bytes_where_vectors_stay_the_same),
        cmocka_unit_test(auto_takes_floats_where_bytes_change_vectors),
        cmocka_unit_test(precision_is_told_as_soon_as_it_is_known),
        cmocka_unit_test(without_memory_weights_are_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
