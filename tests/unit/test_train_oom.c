/* Each allocation of the learners fails in turn: U2I_ENOMEM comes back, nothing leaks and
 * nothing is returned. malloc and its kin are replaced at link time (cmake/tests_oom.cmake);
 * without those linker options the tests are skipped. One thread, so that the count is the same
 * in each run. */
#include "oom.h"
#include "train_world.h"

static const struct train_work ONE = {.threads = 1};
static struct train_matrix *oom_x; /* what all are trained on */
static enum train_ease_form oom_form;

/* Runs `work` with the first, second, ... allocation failing until it gets through without. */
static void fail_each_allocation(int (*work)(u2i_error_t *err)) {
    if (!oom_is_wrapped()) {
        skip();
    }
    long failures = 0;
    for (; failures < 10000; failures++) {
        u2i_error_t err = {0};
        oom_countdown = failures;
        const int rc = work(&err);
        const bool failed = oom_countdown < 0;
        oom_countdown = -1;
        assert_int_equal(err.code, rc);
        if (!failed) {
            assert_int_equal(rc, U2I_OK);
            break;
        }
        assert_int_equal(rc, U2I_ENOMEM);
    }
    print_message("%ld allocations failed in turn\n", failures);
    assert_in_range(failures, 1, 9999);
}

static int work_on_matrix(u2i_error_t *err) {
    const struct train_entry e[] = {{0, 1, 1}, {1, 0, 1}};
    struct train_matrix *m = NULL;
    struct train_matrix *t = NULL;
    int rc = train_matrix_new(e, 2, 2, 2, &m, err);
    if (rc == U2I_OK) {
        rc = train_matrix_transpose(m, &t, err);
    }
    assert_int_equal(t != NULL, rc == U2I_OK);
    train_matrix_free(t);
    train_matrix_free(m);
    return rc;
}

static int work_on_ease(u2i_error_t *err) {
    const struct train_ease_options opt = {.form = oom_form, .rank = 10, .rounds = 1};
    struct train_factors *f = NULL;
    const int rc = train_ease(oom_x, &opt, &ONE, &f, err);
    assert_int_equal(f != NULL, rc == U2I_OK);
    train_factors_free(f);
    return rc;
}

static int work_on_full_ease(u2i_error_t *err) {
    const struct train_ease_options opt = {.form = oom_form, .rounds = 1};
    float *b = NULL;
    const int rc = train_ease_full(oom_x, &opt, &ONE, &b, err);
    assert_int_equal(b != NULL, rc == U2I_OK);
    mem_free(b);
    return rc;
}

static int work_on_ials(u2i_error_t *err) {
    const struct train_ials_options opt = {.dim = 4, .rounds = 1};
    struct train_ials *f = NULL;
    const int rc = train_ials(oom_x, &opt, &ONE, &f, err);
    assert_int_equal(f != NULL, rc == U2I_OK);
    train_ials_free(f);
    return rc;
}

static int work_on_neighbours(u2i_error_t *err) {
    const struct train_neighbours_options opt = {3, -1};
    struct train_matrix *m = NULL;
    const int rc = train_neighbours(oom_x, &opt, &ONE, &m, err);
    assert_int_equal(m != NULL, rc == U2I_OK);
    train_matrix_free(m);
    return rc;
}

static int work_on_sequence(u2i_error_t *err) {
    const struct train_sequence_options opt = {.backward = -1, .beta = -1};
    struct train_event events[200];
    for (uint32_t i = 0; i < 200; i++) {
        events[i] = (struct train_event){i % 20, i * i % 90, 1, i};
    }
    struct train_matrix *m = NULL;
    const int rc = train_sequence(events, 200, 90, &opt, &ONE, &m, err);
    assert_int_equal(m != NULL, rc == U2I_OK);
    train_matrix_free(m);
    return rc;
}

static int work_on_map(u2i_error_t *err) {
    const float *rows[20];
    for (size_t i = 0; i < 20; i++) {
        rows[i] = golden_map_a + i * 6;
    }
    struct train_map *m = NULL;
    const int rc = train_map_new(rows, 6, rows, 3, 20, 0, &ONE, &m, err);
    assert_int_equal(m != NULL, rc == U2I_OK);
    train_map_free(m);
    return rc;
}

static int open_matrix(void **state) {
    (void)state;
    oom_x = world_random(70, 90, 1500, 1);
    return 0;
}

static int close_matrix(void **state) {
    (void)state;
    train_matrix_free(oom_x);
    return 0;
}

static void matrix_without_memory_says_so(void **state) {
    (void)state;
    fail_each_allocation(work_on_matrix);
}

static void ease_without_memory_says_so(void **state) {
    (void)state;
    for (int form = TRAIN_EASE_ITEMS; form <= TRAIN_EASE_LOW_RANK; form++) {
        oom_form = (enum train_ease_form)form;
        fail_each_allocation(work_on_ease);
        fail_each_allocation(work_on_full_ease);
    }
}

static void ials_without_memory_says_so(void **state) {
    (void)state;
    fail_each_allocation(work_on_ials);
}

static void neighbours_without_memory_say_so(void **state) {
    (void)state;
    fail_each_allocation(work_on_neighbours);
}

static void sequence_without_memory_says_so(void **state) {
    (void)state;
    fail_each_allocation(work_on_sequence);
}

static void map_without_memory_says_so(void **state) {
    (void)state;
    fail_each_allocation(work_on_map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix_without_memory_says_so),
        cmocka_unit_test(ease_without_memory_says_so),
        cmocka_unit_test(ials_without_memory_says_so),
        cmocka_unit_test(neighbours_without_memory_say_so),
        cmocka_unit_test(sequence_without_memory_says_so),
        cmocka_unit_test(map_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, open_matrix, close_matrix);
}
