/* Each allocation of the embedder, of opening a model's folder, of profiles and of popularity fails in
 * turn: an error comes back, nothing leaks, and what was there before still answers as before. malloc
 * and its kin are replaced at link time (cmake/tests_oom.cmake); without those linker options the tests
 * are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "embed/bert_config.h"
#include "embed/embed.h"
#include "model_folder.h"
#include "oom.h"
#include "profile/profile.h"
#include "torch_forge.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct embed_text OOM_TEXT = {
    .title = "The Lord of the Rings", .category = "Fantasy", .text = "a ring"};

static int work_on_embedder(void) {
    struct embedder *e = NULL;
    struct buf saved = {0};
    u2i_error_t err = {0};
    float v[64];
    int rc = embed_hash_open(64, &e, &err);
    if (rc != U2I_OK) {
        assert_null(e);
        return rc;
    }
    rc = e->ops->learn_begin(e, &err);
    for (int i = 0; rc == U2I_OK && i < 20; i++) {
        rc = e->ops->learn_add(e, &OOM_TEXT, &err);
    }
    e->ops->learn_end(e); /* after a failure, too: with what was counted, or nothing at all */
    if (rc == U2I_OK) {
        rc = e->ops->embed(e, &OOM_TEXT, 1, v, &err);
    }
    if (rc == U2I_OK) {
        rc = e->ops->save(e, &saved, &err);
    }
    if (rc == U2I_OK) {
        rc = e->ops->load(e, saved.data, saved.len, &err);
    }
    assert_int_equal(err.code, rc);
    buf_free(&saved);
    e->ops->close(e);
    return rc;
}

/* The folder of the next two; made by their test. */
static struct folder oom_folder;

static int work_on_settings(void) {
    struct bert_config c = {.hidden = 77};
    u2i_error_t err = {0};
    const int rc = bert_config_read(oom_folder.path, &c, &err);
    assert_int_equal(err.code, rc);
    assert_int_equal(c.hidden, rc == U2I_OK ? TINY_HIDDEN : 77);
    return rc;
}

static int work_on_tensors(void) {
    struct safetensors *s = NULL;
    u2i_error_t err = {0};
    const int rc = safetensors_open_folder(oom_folder.path, &s, &err);
    assert_int_equal(err.code, rc);
    assert_true((s != NULL) == (rc == U2I_OK));
    safetensors_close(s);
    return rc;
}

static int work_on_popularity(void) {
    struct popularity *p = NULL;
    struct buf saved = {0};
    u2i_error_t err = {0};
    int rc = popularity_new(1000, 100, &p, &err);
    for (uint32_t i = 0; rc == U2I_OK && i < 40; i++) {
        rc = popularity_add(p, i * i, 1000, 1, &err);
    }
    if (rc == U2I_OK) {
        rc = popularity_save(p, &saved, &err);
    }
    if (rc == U2I_OK) {
        rc = popularity_load(p, saved.data, saved.len, &err);
        const struct popularity_scale s = popularity_scale(p);
        assert_true(popularity_score(p, &s, 0.5, 4) == 1); /* as before, or as loaded */
    }
    assert_int_equal(err.code, rc);
    buf_free(&saved);
    popularity_free(p);
    return rc;
}

static int work_on_entries(void) {
    static struct profile_event events[2000];
    static struct profile_entry entries[2000];
    static float recency[2000];
    const float weight = 1;
    size_t n = 7;
    for (uint32_t i = 0; i < 2000; i++) {
        events[i] = (struct profile_event){.time_ms = -(int64_t)i, .item = i % 9, .value = 1};
        recency[i] = 1;
    }
    const int rc = profile_entries(events, 2000, recency, &weight, entries, &n);
    assert_int_equal(n, rc == U2I_OK ? 9 : 0);
    return rc;
}

static void embedder_without_memory_says_so(void **state) {
    (void)state;
    oom_fail_each(work_on_embedder, 1);
}

/* Ours only: jansson 2.14 itself writes where it may not when its buffer for a token cannot grow. */
static void model_folder_without_memory_says_so(void **state) {
    (void)state;
    if (__real_malloc == NULL) {
        skip();
    }
    oom_folder = tiny_make();
    oom_fail_each(work_on_settings, 1);
    oom_fail_each(work_on_tensors, 1);

    struct forge one = {0};
    forge_add(&one, "a", "F32", NULL, 0);
    forge_save(&one, &oom_folder, "one.safetensors");
    folder_drop(&oom_folder, "model.safetensors");
    folder_put(&oom_folder, "model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"one.safetensors\"}}");
    oom_fail_each(work_on_tensors, 1);
    folder_remove(&oom_folder);
}

static void model_of_torch_without_memory_says_so(void **state) {
    (void)state;
    static const char pickle[] = PICKLE_DICT PICKLE_TEXT("\001", "a")
        PICKLE_TENSOR PICKLE_STORAGE("Float", "0", "\001") "K\000))" PICKLE_REST PICKLE_END;
    static const float value = 1;
    struct zip z = {.entries = 0};
    zip_add(&z, "m/data.pkl", pickle, sizeof pickle - 1);
    zip_add(&z, "m/data/0", &value, sizeof value);
    struct buf b = zip_finish(&z, true);
    oom_folder = folder_make();
    folder_write(&oom_folder, "pytorch_model.bin", b.data, b.len);
    oom_fail_each(work_on_tensors, 8);
    folder_remove(&oom_folder);
    buf_free(&b);
}

static void popularity_without_memory_says_so(void **state) {
    (void)state;
    oom_fail_each(work_on_popularity, 1);
}

static void long_profile_without_memory_says_so(void **state) {
    (void)state;
    oom_fail_each(work_on_entries, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedder_without_memory_says_so),
        cmocka_unit_test(model_folder_without_memory_says_so),
        cmocka_unit_test(model_of_torch_without_memory_says_so),
        cmocka_unit_test(popularity_without_memory_says_so),
        cmocka_unit_test(long_profile_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
