/* Each allocation of a training, of a question, of saving and loading fails in turn: U2I_ENOMEM comes back, nothing
 * leaks and nothing is returned. malloc and its kin are replaced at link time (cmake/tests_oom.cmake);
 * without those linker options the tests are skipped. One thread, so that the count is the same in each run. */
#include "model_world.h"

#include "base/buf.h"
#include "oom.h"

/* Runs `work` with the first, second, ... allocation failing until it gets through without; a step of 1 tries each. */
static void fail_each_allocation(int (*work)(u2i_error_t *err), long step) {
    if (!oom_is_wrapped()) {
        skip();
    }
    long failures = 0;
    long made_up_for = 0;
    for (; failures < 100000; failures += step) {
        u2i_error_t err = {0};
        oom_countdown = failures;
        const int rc = work(&err);
        const bool failed = oom_countdown < 0;
        oom_countdown = -1;
        if (!failed) {
            assert_int_equal(rc, U2I_OK);
            break;
        }
        made_up_for += rc == U2I_OK; /* an estimate does without its count */
        assert_true(rc == U2I_OK || rc == U2I_ENOMEM);
    }
    assert_true(made_up_for * 20 <= failures / step);
    print_message("%ld allocations failed in turn\n", failures / step);
    assert_in_range(failures, 1, 99999);
}

static struct world oom_world;
static struct model *oom_model;
static struct buf oom_bytes;

static int work_on_training(u2i_error_t *err) {
    struct model_input in = world_input(&oom_world);
    struct model *m = NULL;
    in.threads = 1;
    const int rc = model_train(&in, &m, err);
    if (rc != U2I_OK) {
        assert_null(m);
    }
    model_free(m);
    return rc;
}

static int work_on_question(u2i_error_t *err) {
    struct arena a = {0};
    const struct model_event events[] = {{WORLD_START_MS, 3, 1}, {WORLD_START_MS, 59, 1}};
    const struct model_question q = {
        .events = events, .n = 2, .content = world_content_of, .content_ctx = &oom_world};
    struct model_user *u = NULL;
    const int rc = model_user_new(oom_model, &q, &a, &u, err);
    if (rc != U2I_OK) {
        assert_null(u);
    } else if (u != NULL) { /* these do without: fewer candidates, no content */
        uint32_t rows[10];
        float parts[MODEL_PARTS_N], pulls[2];
        (void)model_user_next(u, rows, 10);
        model_user_score(u, 59, NULL, parts);
        model_user_pulls(u, 59, NULL, pulls);
    }
    arena_free(&a);
    return rc;
}

static int work_on_saving(u2i_error_t *err) {
    struct buf out = {0};
    const int rc = model_save(oom_model, &out, err);
    buf_free(&out);
    return rc;
}

static int work_on_loading(u2i_error_t *err) {
    struct model *m = NULL;
    const int rc = model_load(oom_bytes.data, oom_bytes.len, &m, err);
    model_free(m);
    return rc;
}

static void training_survives(void **state) {
    (void)state;
    fail_each_allocation(work_on_training, 7); /* a prime: in time, each place comes up */
}

static void questions_survive(void **state) {
    (void)state;
    /* The arena takes memory in blocks: once a question has what it needs, the rest may fail unnoticed. */
    if (!oom_is_wrapped()) {
        skip();
    }
    for (long failures = 0; failures < 50; failures++) {
        u2i_error_t err = {0};
        oom_countdown = failures;
        const int rc = work_on_question(&err);
        oom_countdown = -1;
        assert_true(rc == U2I_OK || rc == U2I_ENOMEM);
    }
    u2i_error_t err = {0};
    assert_int_equal(work_on_question(&err), U2I_OK);
}

static void saving_and_loading_survive(void **state) {
    (void)state;
    fail_each_allocation(work_on_saving, 1);
    fail_each_allocation(work_on_loading, 1);
}

static int set_up(void **state) {
    (void)state;
    oom_world = world_new(40, 60, 3, 8, 100);
    for (size_t i = 0; i < oom_world.n; i++) {
        oom_world.events[i].item %= 59; /* 59 has content only */
    }
    world_content(&oom_world);
    struct model_input in = world_input(&oom_world);
    in.threads = 1;
    oom_model = world_train(&in);
    return model_save(oom_model, &oom_bytes, NULL);
}

static int tear_down(void **state) {
    (void)state;
    buf_free(&oom_bytes);
    model_free(oom_model);
    world_free(&oom_world);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_survives),
        cmocka_unit_test(questions_survive),
        cmocka_unit_test(saving_and_loading_survive),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
