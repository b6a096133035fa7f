/* Sparse matrices: built from entries in any order, merged, transposed. */
#include "train_world.h"

static void entries_in_any_order_make_the_same_matrix(void **state) {
    (void)state;
    struct train_entry e[] = {{2, 1, 1}, {0, 3, 2}, {2, 0, 4}, {0, 1, 3}, {1, 2, 5}};
    struct train_entry back[5];
    for (size_t i = 0; i < 5; i++) {
        back[i] = e[4 - i];
    }
    struct train_matrix *const a = world_matrix(e, 5, 3, 4);
    struct train_matrix *const b = world_matrix(back, 5, 3, 4);
    world_assert_sound(a);
    world_assert_equal(a, b);
    assert_int_equal(a->starts[3], 5);
    assert_true(world_at(a, 2, 0) == 4 && world_at(a, 0, 3) == 2 && world_at(a, 1, 1) == 0);
    train_matrix_free(a);
    train_matrix_free(b);
}

static void several_of_one_place_become_their_largest(void **state) {
    (void)state;
    const struct train_entry e[] = {{1, 1, 2}, {1, 1, 5}, {1, 1, 3},
                                    {1, 0, 1}, {0, 1, 7}, {0, 1, 7}};
    struct train_matrix *const m = world_matrix(e, 6, 2, 2);
    world_assert_sound(m);
    assert_int_equal(m->starts[2], 3);
    assert_true(world_at(m, 1, 1) == 5 && world_at(m, 1, 0) == 1 && world_at(m, 0, 1) == 7);
    assert_int_equal(train_matrix_bytes(m), 3 * 8 + 3 * 8);
    train_matrix_free(m);
}

static void what_is_not_positive_is_left_out(void **state) {
    (void)state;
    const struct train_entry e[] = {{0, 0, -1}, {0, 1, 0}, {1, 0, 1}, {1, 0, -3}};
    struct train_matrix *const m = world_matrix(e, 4, 2, 2);
    assert_int_equal(m->starts[2], 1);
    assert_true(world_at(m, 1, 0) == 1);
    train_matrix_free(m);
}

static void what_is_out_of_range_is_refused(void **state) {
    (void)state;
    struct train_matrix *m = NULL;
    u2i_error_t err = {0};
    struct train_entry e = {2, 0, 1};
    assert_int_equal(train_matrix_new(&e, 1, 2, 2, &m, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "entry (2, 0) is outside of a matrix of 2 x 2");
    e = (struct train_entry){0, 2, 1};
    assert_int_equal(train_matrix_new(&e, 1, 2, 2, &m, &err), U2I_EINVAL);
    e = (struct train_entry){0, 0, NAN};
    assert_int_equal(train_matrix_new(&e, 1, 2, 2, &m, &err), U2I_EINVAL);
    e.value = INFINITY;
    assert_int_equal(train_matrix_new(&e, 1, 2, 2, &m, NULL), U2I_EINVAL);
    assert_null(m);
}

static void transposed_twice_is_the_matrix_itself(void **state) {
    (void)state;
    struct train_matrix *const m = world_random(90, 70, 900, 3);
    struct train_matrix *t = NULL;
    struct train_matrix *back = NULL;
    assert_int_equal(train_matrix_transpose(m, &t, NULL), U2I_OK);
    assert_int_equal(train_matrix_transpose(t, &back, NULL), U2I_OK);
    world_assert_sound(t);
    world_assert_equal(m, back);
    for (uint32_t r = 0; r < m->rows; r++) {
        for (uint64_t i = m->starts[r]; i < m->starts[r + 1]; i++) {
            assert_true(world_at(t, m->ids[i], r) == m->values[i]);
        }
    }
    train_matrix_free(back);
    train_matrix_free(t);
    train_matrix_free(m);
}

static void odd_shapes_are_matrices_too(void **state) {
    (void)state;
    for (int i = 0; i < WORLD_ODD; i++) {
        struct train_matrix *const m = world_odd(i);
        struct train_matrix *t = NULL;
        assert_int_equal(train_matrix_transpose(m, &t, NULL), U2I_OK);
        world_assert_sound(m);
        world_assert_sound(t);
        train_matrix_free(t);
        train_matrix_free(m);
    }
    train_matrix_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_in_any_order_make_the_same_matrix),
        cmocka_unit_test(several_of_one_place_become_their_largest),
        cmocka_unit_test(what_is_not_positive_is_left_out),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(transposed_twice_is_the_matrix_itself),
        cmocka_unit_test(odd_shapes_are_matrices_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
