/* The linear map against numpy. */
#include "train_world.h"

enum { N = 30, FROM = 6, TO = 3 };

static struct train_map *learn(size_t n, double ridge) {
    const float *a[N];
    const float *b[N];
    for (size_t i = 0; i < N; i++) {
        a[i] = golden_map_a + i * FROM;
        b[i] = golden_map_b + i * TO;
    }
    const struct train_work work = {.threads = 2};
    struct train_map *m = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_map_new(a, FROM, b, TO, n, ridge, &work, &m, &err), U2I_OK);
    return m;
}

static void ridge_and_weights_are_those_of_numpy(void **state) {
    (void)state;
    struct train_map *const m = learn(N, 0);
    assert_true(fabs(m->ridge - golden_ridge) < 1e-4 * golden_ridge);
    assert_true(world_distance(m->w, golden_map_w, FROM * TO) < 1e-4);
    assert_true(world_distance(m->b, golden_map_intercept, TO) < 1e-4);
    struct train_map *const said = learn(N, golden_ridge);
    assert_true(world_distance(said->w, golden_map_w, FROM * TO) < 1e-4);
    train_map_free(said);
    train_map_free(m);
}

static void a_mapped_vector_is_xw_plus_b(void **state) {
    (void)state;
    struct train_map *const m = learn(N, 0);
    float y[TO];
    train_map_apply(m, golden_map_a, y);
    for (size_t t = 0; t < TO; t++) {
        double sum = (double)m->b[t];
        for (size_t k = 0; k < FROM; k++) {
            sum += (double)golden_map_a[k] * (double)m->w[k * TO + t];
        }
        assert_true(fabs(sum - (double)y[t]) < 1e-5);
    }
    train_map_free(m);
}

static void few_rows_or_none_give_numbers(void **state) {
    (void)state;
    for (size_t n = 0; n <= FROM + 2; n++) {
        struct train_map *const m = learn(n, 0);
        assert_true(m->ridge > 0 && isfinite(m->ridge));
        assert_true(world_finite(m->w, FROM * TO) && world_finite(m->b, TO));
        if (n == 1) { /* nothing varies: the answer is the one seen */
            float y[TO];
            train_map_apply(m, golden_map_a + FROM, y);
            assert_true(world_distance(y, golden_map_b, TO) < 1e-6);
        }
        train_map_free(m);
    }
}

static void what_is_no_number_is_refused(void **state) {
    (void)state;
    const float a[2] = {1, NAN};
    const float b[2] = {INFINITY, 1};
    const float *const rows_a[2] = {a, a + 1};
    const float *const rows_b[2] = {b + 1, b};
    struct train_map *m = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_map_new(rows_a, 1, rows_b, 1, 2, 0, NULL, &m, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "row 1 has a value that is not a finite number");
    assert_int_equal(train_map_new(rows_b, 1, rows_b, 1, 2, 0, NULL, &m, NULL), U2I_EINVAL);
    assert_int_equal(train_map_new(rows_a, 0, rows_b, 1, 2, 0, NULL, &m, NULL), U2I_EINVAL);
    assert_null(m);
    train_map_free(NULL);
}

static void cancelled_it_returns_nothing(void **state) {
    (void)state;
    const float *a[N];
    for (size_t i = 0; i < N; i++) {
        a[i] = golden_map_a + i * FROM;
    }
    for (long at = 0; at < 3; at++) {
        struct world_cancel cancel = {.left = at};
        const struct train_work work = {1, world_progress, &cancel};
        struct train_map *m = NULL;
        assert_int_equal(train_map_new(a, FROM, a, 2, N, 0, &work, &m, NULL), U2I_ETIMEOUT);
        assert_null(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ridge_and_weights_are_those_of_numpy),
        cmocka_unit_test(a_mapped_vector_is_xw_plus_b),
        cmocka_unit_test(few_rows_or_none_give_numbers),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(cancelled_it_returns_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
