/* Each allocation of what hub/ does fails in turn: an error comes back, nothing leaks, and the home has a model whole
 * or not at all. malloc and its kin are replaced at link time (cmake/tests_oom.cmake). */
#include "base/alloc.h"
#include "hub/hub_internal.h"
#include "hub/hub_listing.h"
#include "model_folder.h"
#include "oom.h"

static struct folder oom_home, oom_model;

static int work_on_adding(void) {
    char *path = NULL;
    u2i_error_t err = {0};
    const int rc = hub_add(oom_model.path, "tiny", &path, &err);
    assert_int_equal(path != NULL, rc == U2I_OK);
    assert_int_equal(err.code == U2I_ENOTFOUND ? U2I_OK : err.code, rc); /* it was looked for */
    mem_free(path);
    if (rc == U2I_OK) {
        assert_int_equal(hub_remove(folder_path(&oom_home, "tiny"), &err), U2I_OK);
    } else if (hub_is_folder(folder_path(&oom_home, "tiny"))) { /* the last step failed */
        assert_int_equal(access(folder_path(&oom_home, "tiny/model.safetensors"), F_OK), 0);
        assert_int_equal(hub_remove(folder_path(&oom_home, "tiny"), &err), U2I_OK);
    }
    return rc;
}

static void adding_without_memory_leaves_no_half_model(void **state) {
    (void)state;
    oom_fail_each(work_on_adding, 20);
}

static int work_on_comparing(void) {
    char *path = NULL;
    u2i_error_t err = {0};
    const int rc = hub_add(oom_model.path, "there", &path, &err);
    assert_int_equal(path != NULL, rc == U2I_OK);
    mem_free(path);
    return rc;
}

static void comparing_without_memory_says_so(void **state) {
    (void)state;
    assert_int_equal(work_on_comparing(), U2I_OK);
    oom_fail_each(work_on_comparing, 10);
}

static int oom_on_model(void *ctx, const struct hub_model *model) {
    uint64_t bytes;
    int *const rc = ctx;
    *rc = hub_bytes(model->path, &bytes, NULL);
    return *rc != U2I_OK;
}

static int work_on_scanning(void) {
    int rc = U2I_OK;
    const int scanned = hub_scan(oom_on_model, &rc, NULL);
    return scanned != U2I_OK ? scanned : rc;
}

static void scanning_without_memory_says_so(void **state) {
    (void)state;
    oom_fail_each(work_on_scanning, 10);
}

static int work_on_list(void) {
    static const char text[] = "[{\"type\":\"file\",\"path\":\"config.json\",\"size\":12,"
                               "\"oid\":\"0123456789012345678901234567890123456789\"},"
                               "{\"type\":\"file\",\"path\":\"model.safetensors\",\"size\":12,"
                               "\"oid\":\"0123456789012345678901234567890123456789\"}]";
    struct hub_listing l;
    u2i_error_t err = {0};
    const int rc = hub_listing_parse(text, sizeof text - 1, "it", &l, &err);
    assert_int_equal(err.code, rc);
    hub_listing_free(&l);
    return rc;
}

static void a_list_without_memory_is_no_wrong_list(void **state) {
    (void)state;
    oom_fail_each(work_on_list, 3);
}

static int oom_setup(void **state) {
    (void)state;
    oom_home = folder_make();
    oom_model = tiny_make();
    (void)setenv("U2I_MODELS", oom_home.path, 1);
    return 0;
}

static int oom_teardown(void **state) {
    (void)state;
    folder_remove(&oom_home);
    folder_remove(&oom_model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adding_without_memory_leaves_no_half_model),
        cmocka_unit_test(comparing_without_memory_says_so),
        cmocka_unit_test(scanning_without_memory_says_so),
        cmocka_unit_test(a_list_without_memory_is_no_wrong_list),
    };
    return cmocka_run_group_tests(tests, oom_setup, oom_teardown);
}
