/* Models' names, paths and checksums; what is in the home, and how folders get there. Downloads are tested from the
 * outside, beside a hub that misbehaves (tests/cli/test_model.py). */
#include "base/alloc.h"
#include "hub/hub_digest.h"
#include "hub/hub_internal.h"
#include "hub/hub_listing.h"
#include "model_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct world {
    struct folder home, model;
};

static int make_world(void **state) {
    static struct world w;
    w.home = folder_make();
    w.model = tiny_make();
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

static void require_ok(int rc, const u2i_error_t *err) {
    if (rc != U2I_OK) {
        fail_msg("%d: %s", rc, err->msg);
    }
}

/* ---- Names, paths, sums ------------------------------------------------------------------------- */

static void names_are_kept_to_plain_characters(void **state) {
    static const char *const good[] = {"all-MiniLM-L6-v2", "BAAI/bge-large-zh-v1.5", "a", "a_b.c"};
    static const char *const bad[] = {"",     "/",    "a/",   "/a",       "a/b/c", "..",
                                      "../a", "a/..", ".a",   "-a",       "a b",   "a\n",
                                      "a/.b", "a%b",  "a\\b", "\xc3\xa4", "a/-b"};
    const char *last;
    u2i_error_t err;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        require_ok(hub_name_check(good[i], "it", &last, &err), &err);
        assert_null(strchr(last, '/'));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(hub_name_check(bad[i], "it", &last, &err), U2I_EINVAL);
    }
    assert_int_equal(hub_name_check("BAAI/bge-m3", "it", &last, &err), U2I_OK);
    assert_string_equal(last, "bge-m3");
}

static void paths_stay_in_their_folder(void **state) {
    static const char *const good[] = {
        "config.json", "1_Pooling/config.json", "a/b/c", "..a", "a..", "...", "\xc3\xa4"};
    static const char *const bad[] = {"",     "/a",    "a/",     "a//b", ".",     "..",  "a/..",
                                      "../a", "a/./b", "a/../b", "a\\b", "a\x7f", "a\nb"};
    char long_path[HUB_PATH_MAX + 2];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(hub_is_safe(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(hub_is_safe(bad[i]));
    }
    memset(long_path, 'a', sizeof long_path);
    long_path[HUB_PATH_MAX + 1] = '\0';
    assert_false(hub_is_safe(long_path));
    long_path[HUB_PATH_MAX] = '\0';
    assert_true(hub_is_safe(long_path));
}

static void shards_are_known_by_their_names(void **state) {
    (void)state;
    const struct hub_form *const safe = hub_form(0);
    assert_true(hub_is_shard(safe, "model-00001-of-00002.safetensors"));
    assert_false(hub_is_shard(safe, "model.safetensors"));
    assert_false(hub_is_shard(safe, "model-.safetensors.bin"));
    assert_false(hub_is_shard(safe, "onnx/model-00001-of-00002.safetensors"));
    assert_false(hub_is_shard(safe, "pytorch_model-00001-of-00002.bin"));
    assert_true(hub_is_shard(hub_form(1), "pytorch_model-00001-of-00002.bin"));
}

static void assert_sum(enum hub_digest_kind kind, const char *bytes, const char *expected) {
    char sum[HUB_DIGEST_HEX + 1];
    struct hub_digest *d = NULL;
    u2i_error_t err = {0};
    const size_t n = strlen(bytes);
    require_ok(hub_digest_new(kind, n, &d, &err), &err);
    require_ok(hub_digest_add(d, bytes, n / 2, &err), &err);
    require_ok(hub_digest_add(d, bytes + n / 2, n - n / 2, &err), &err);
    require_ok(hub_digest_end(d, sum, &err), &err);
    assert_string_equal(sum, expected);
    hub_digest_free(d);
}

/* FIPS 180-4's examples; and what `git hash-object` says. */
static void sums_are_those_of_the_standard_and_of_git(void **state) {
    (void)state;
    assert_sum(HUB_SHA256, "abc",
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sum(HUB_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sum(HUB_GIT_SHA1, "hello\n", "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_sum(HUB_GIT_SHA1, "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    hub_digest_free(NULL);
}

/* ---- The home ----------------------------------------------------------------------------------- */

static int count_models(void *ctx, const struct hub_model *model) {
    unsigned *const n = ctx;
    assert_non_null(model->path);
    return ++*n == 3;
}

static void only_folders_with_a_name_are_models(void **state) {
    const struct world *const w = *state;
    static const char *const folders[] = {"b", "a", ".get-x", "with space"};
    unsigned n = 0;
    u2i_error_t err;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        assert_int_equal(mkdir(folder_path(&w->home, folders[i]), 0700), 0);
    }
    folder_put(&w->home, "file", "no folder");
    require_ok(hub_scan(count_models, &n, &err), &err);
    assert_int_equal(n, 2);
    n = 2;
    require_ok(hub_scan(count_models, &n, &err), &err); /* stops after the first one */
    assert_int_equal(n, 3);
}

static void a_model_is_found_by_its_last_name(void **state) {
    const struct world *const w = *state;
    char *path = NULL;
    u2i_error_t err;
    assert_int_equal(hub_find("small", &path, &err), U2I_ENOTFOUND);
    assert_non_null(strstr(err.msg, "small"));
    assert_null(path);
    assert_int_equal(mkdir(folder_path(&w->home, "small"), 0700), 0);
    require_ok(hub_find("org/small", &path, &err), &err);
    assert_string_equal(path, folder_path(&w->home, "small"));
    mem_free(path);
    assert_int_equal(hub_find("../small", &path, &err), U2I_EINVAL);
}

static void a_home_that_is_not_there_has_no_models(void **state) {
    unsigned n = 0;
    char *path = NULL;
    u2i_error_t err;
    (void)state;
    (void)setenv("U2I_MODELS", "/nonexistent/models", 1);
    require_ok(hub_scan(count_models, &n, &err), &err);
    assert_int_equal(n, 0);
    assert_int_equal(hub_find("small", &path, &err), U2I_ENOTFOUND);
    (void)unsetenv("U2I_MODELS");
    (void)unsetenv("XDG_DATA_HOME");
    (void)unsetenv("HOME");
    assert_int_equal(hub_scan(count_models, &n, &err), U2I_ENOTFOUND);
}

static void a_folder_is_added_once_and_whole(void **state) {
    const struct world *const w = *state;
    char *path = NULL;
    uint64_t before, bytes;
    u2i_error_t err;
    folder_put(&w->model, "pytorch_model.bin", "not taken");
    require_ok(hub_add(w->model.path, "tiny", &path, &err), &err);
    assert_string_equal(path, folder_path(&w->home, "tiny"));
    require_ok(hub_bytes(w->model.path, &before, &err), &err);
    require_ok(hub_bytes(path, &bytes, &err), &err);
    assert_int_equal(bytes, before - strlen("not taken"));
    mem_free(path);
    require_ok(hub_add(w->model.path, "tiny", &path, &err), &err);
    mem_free(path);
    folder_put(&w->model, "vocab.txt", "[PAD]\n");
    assert_int_equal(hub_add(w->model.path, "tiny", &path, &err), U2I_EINVAL);
    assert_null(path);
}

static void what_a_crash_has_left_is_cleared(void **state) {
    const struct world *const w = *state;
    char *path = NULL;
    u2i_error_t err;
    assert_int_equal(mkdir(folder_path(&w->home, ".add-tiny"), 0700), 0);
    assert_int_equal(mkdir(folder_path(&w->home, ".add-tiny/tiny"), 0700), 0);
    folder_put(&w->home, ".add-tiny/lock", "");
    folder_put(&w->home, ".add-tiny/tiny/model-00001-of-00009.safetensors", "old");
    require_ok(hub_add(w->model.path, "tiny", &path, &err), &err);
    mem_free(path);
    assert_int_not_equal(
        access(folder_path(&w->home, "tiny/model-00001-of-00009.safetensors"), F_OK), 0);
    assert_int_not_equal(access(folder_path(&w->home, ".add-tiny"), F_OK), 0);
}

static void one_at_a_time_makes_a_model(void **state) {
    struct hub_stage first, second;
    u2i_error_t err;
    (void)state;
    require_ok(hub_stage_open(&first, "add", "tiny", &err), &err);
    assert_int_equal(hub_stage_open(&second, "add", "tiny", &err), U2I_EBUSY);
    hub_stage_close(&second, false);
    assert_true(hub_is_folder(first.folder));
    hub_stage_close(&first, true);
    require_ok(hub_stage_open(&first, "add", "tiny", &err), &err);
    hub_stage_close(&first, false);
}

/* ---- Lists -------------------------------------------------------------------------------------- */

#define SUM40 "\"0123456789abcdef0123456789ABCDEF01234567\""
#define SUM64 "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF\""
#define SMALL "{\"type\":\"file\",\"path\":\"config.json\",\"size\":12,\"oid\":" SUM40 "}"
#define LARGE                                                                                      \
    "{\"type\":\"file\",\"path\":\"model.safetensors\",\"size\":9,\"oid\":" SUM40                  \
    ",\"lfs\":{\"oid\":" SUM64 ",\"size\":900,\"pointerSize\":130}}"

static void a_list_gives_the_files_that_matter(void **state) {
    static const char text[] =
        "[{\"type\":\"directory\",\"path\":\"onnx\",\"oid\":" SUM40 ",\"size\":0}," SMALL "," LARGE
        ",{\"type\":\"file\",\"path\":\"x.bin\",\"size\":1,\"oid\":" SUM40 "}]";
    struct hub_listing l;
    u2i_error_t err;
    (void)state;
    require_ok(hub_listing_parse(text, sizeof text - 1, "it", &l, &err), &err);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.bytes, 912);
    assert_string_equal(l.files[0].path, "config.json");
    assert_int_equal(l.files[0].kind, HUB_GIT_SHA1);
    assert_string_equal(l.files[0].sum, "0123456789abcdef0123456789abcdef01234567");
    assert_int_equal(l.files[1].kind, HUB_SHA256);
    assert_int_equal(l.files[1].bytes, 900);
    hub_listing_free(&l);
    assert_int_equal(hub_listing_parse("[" SMALL "]", strlen("[" SMALL "]"), "it", &l, &err),
                     U2I_EEMBED);
    hub_listing_free(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_kept_to_plain_characters),
        cmocka_unit_test(paths_stay_in_their_folder),
        cmocka_unit_test(shards_are_known_by_their_names),
        cmocka_unit_test(sums_are_those_of_the_standard_and_of_git),
        cmocka_unit_test_setup_teardown(only_folders_with_a_name_are_models, make_world,
                                        remove_world),
        cmocka_unit_test_setup_teardown(a_model_is_found_by_its_last_name, make_world,
                                        remove_world),
        cmocka_unit_test_setup_teardown(a_folder_is_added_once_and_whole, make_world, remove_world),
        cmocka_unit_test_setup_teardown(what_a_crash_has_left_is_cleared, make_world, remove_world),
        cmocka_unit_test_setup_teardown(one_at_a_time_makes_a_model, make_world, remove_world),
        cmocka_unit_test(a_list_gives_the_files_that_matter),
        cmocka_unit_test(a_home_that_is_not_there_has_no_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
