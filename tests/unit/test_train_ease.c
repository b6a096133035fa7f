/* EASE against numpy, its forms against each other, and the two vectors against the matrix. */
#include "train_world.h"

static const struct train_work TWO = {.threads = 2};

static float *full(const struct train_matrix *x, const struct train_ease_options *opt) {
    float *b = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_ease_full(x, opt, &TWO, &b, &err), U2I_OK);
    return b;
}

static struct train_factors *factors(const struct train_matrix *x,
                                     const struct train_ease_options *opt) {
    struct train_factors *f = NULL;
    u2i_error_t err = {0};
    const int rc = train_ease(x, opt, &TWO, &f, &err);
    if (rc != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    return f;
}

/* in . out' with a diagonal of zeros; mem_free(). */
static float *product(const struct train_factors *f) {
    float *const b = mem_zalloc((size_t)f->n * f->n * sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i < f->n; i++) {
        for (size_t j = 0; j < f->n; j++) {
            double sum = 0;
            for (size_t k = 0; i != j && k < f->dim; k++) {
                sum += (double)f->in[i * f->dim + k] * (double)f->out[j * f->dim + k];
            }
            b[i * f->n + j] = (float)sum;
        }
    }
    return b;
}

static double product_distance(const struct train_factors *f, const float *b) {
    float *const own = product(f);
    const double distance = world_distance(own, b, (size_t)f->n * f->n);
    mem_free(own);
    return distance;
}

static void each_form_gives_the_matrix_of_numpy(void **state) {
    (void)state;
    struct train_matrix *const x = world_golden();
    for (int form = TRAIN_EASE_AUTO; form <= TRAIN_EASE_LOW_RANK; form++) {
        const struct train_ease_options three = {
            .form = (enum train_ease_form)form, .lambda = 3, .rounds = 30};
        const struct train_ease_options own = {.form = (enum train_ease_form)form, .rounds = 30};
        float *b = full(x, &three);
        assert_true(world_distance(b, golden_ease, GOLDEN_ITEMS * GOLDEN_ITEMS) < 2e-5);
        mem_free(b);
        b = full(x, &own);
        assert_true(world_distance(b, golden_ease_default, GOLDEN_ITEMS * GOLDEN_ITEMS) < 2e-5);
        for (size_t i = 0; i < GOLDEN_ITEMS; i++) {
            assert_true(b[i * GOLDEN_ITEMS + i] == 0);
        }
        mem_free(b);
    }
    train_matrix_free(x);
}

static void users_form_equals_items_form(void **state) {
    (void)state;
    const struct {
        uint32_t users, items;
        size_t n;
    } shapes[] = {{300, 700, 9000}, {700, 300, 9000}, {520, 514, 20000}, {40, 900, 3000}};
    for (size_t i = 0; i < 4; i++) {
        struct train_matrix *const x =
            world_random(shapes[i].users, shapes[i].items, shapes[i].n, i);
        const struct train_ease_options items = {.form = TRAIN_EASE_ITEMS};
        const struct train_ease_options users = {.form = TRAIN_EASE_USERS};
        float *const a = full(x, &items);
        float *const b = full(x, &users);
        assert_true(world_distance(b, a, (size_t)x->cols * x->cols) < 1e-4);
        mem_free(b);
        mem_free(a);
        train_matrix_free(x);
    }
}

static void two_vectors_of_full_rank_equal_the_matrix(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(400, 150, 8000, 5);
    const struct train_ease_options exact = {.form = TRAIN_EASE_ITEMS};
    float *const b = full(x, &exact);
    for (int form = TRAIN_EASE_ITEMS; form <= TRAIN_EASE_LOW_RANK; form++) {
        const struct train_ease_options opt = {
            .form = (enum train_ease_form)form, .seed = 9, .rounds = 12};
        struct train_factors *const f = factors(x, &opt);
        assert_in_range(f->dim, 100, 150);
        assert_int_equal(f->n, 150);
        const double lost = product_distance(f, b);
        print_message("form %d loses %.2g\n", form, lost);
        assert_true(lost < 5e-3);
        train_factors_free(f);
    }
    mem_free(b);
    train_matrix_free(x);
}

static void a_higher_rank_and_more_rounds_lose_less(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(500, 400, 20000, 6);
    const struct train_ease_options exact = {.form = TRAIN_EASE_ITEMS};
    float *const b = full(x, &exact);
    for (int form = TRAIN_EASE_ITEMS; form <= TRAIN_EASE_LOW_RANK; form++) {
        double last = 1;
        for (uint32_t rank = 16; rank <= 256; rank *= 4) {
            const struct train_ease_options opt = {.form = (enum train_ease_form)form,
                                                   .rank = rank};
            struct train_factors *const f = factors(x, &opt);
            assert_int_equal(f->dim, rank);
            const double lost = product_distance(f, b);
            assert_true(lost < last);
            last = lost;
            train_factors_free(f);
        }
        assert_true(last < .25);
    }
    mem_free(b);
    train_matrix_free(x);
}

static void free_diagonal_loses_less_than_truncation(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(500, 400, 20000, 7);
    const struct train_ease_options exact = {.form = TRAIN_EASE_ITEMS};
    const struct train_ease_options free_one = {.form = TRAIN_EASE_ITEMS, .rank = 64, .rounds = 6};
    const struct train_ease_options cut = {.form = TRAIN_EASE_LOW_RANK, .rank = 64, .rounds = 12};
    float *const b = full(x, &exact);
    struct train_factors *const f = factors(x, &free_one);
    struct train_factors *const g = factors(x, &cut);
    assert_true(product_distance(f, b) < product_distance(g, b));
    train_factors_free(g);
    train_factors_free(f);
    mem_free(b);
    train_matrix_free(x);
}

static void turned_vectors_keep_the_scores_and_do_not_covary(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(80, 60, 900, 12);
    const struct train_ease_options opt = {.rank = 16};
    struct train_factors *const f = factors(x, &opt);
    struct train_factors *const turned = factors(x, &opt);
    u2i_error_t err = {0};
    float variances[16];
    assert_int_equal(f->dim, 16);
    assert_int_equal(train_factors_turn(turned, variances, &TWO, &err), U2I_OK);
    double mean[16] = {0};
    for (uint32_t i = 0; i < f->n; i++) {
        for (uint32_t j = 0; j < f->n; j++) {
            double before = 0;
            double after = 0;
            for (uint32_t d = 0; d < 16; d++) {
                before += (double)f->in[i * 16 + d] * (double)f->out[j * 16 + d];
                after += (double)turned->in[i * 16 + d] * (double)turned->out[j * 16 + d];
            }
            assert_true(fabs(before - after) < 1e-5);
        }
        for (uint32_t d = 0; d < 16; d++) {
            mean[d] += (double)turned->out[i * 16 + d] / f->n;
        }
    }
    for (uint32_t a = 0; a < 16; a++) {
        for (uint32_t b = 0; b < 16; b++) {
            double sum = 0;
            for (uint32_t j = 0; j < f->n; j++) {
                sum += ((double)turned->out[j * 16 + a] - mean[a]) *
                       ((double)turned->out[j * 16 + b] - mean[b]);
            }
            const double expected = a == b ? (double)variances[a] : 0;
            assert_true(fabs(sum / f->n - expected) < 1e-5 * (double)variances[0]);
        }
        assert_true(a == 0 || variances[a] <= variances[a - 1]);
    }
    train_factors_free(turned);
    train_factors_free(f);
    train_matrix_free(x);
}

static void items_of_few_users_are_zeros(void **state) {
    (void)state;
    struct train_matrix *const x = world_golden(); /* item 23 has one user, item 24 none */
    for (int form = TRAIN_EASE_ITEMS; form <= TRAIN_EASE_LOW_RANK; form++) {
        const struct train_ease_options opt = {.form = (enum train_ease_form)form};
        struct train_factors *const f = factors(x, &opt);
        for (size_t k = 0; k < 2 * (size_t)f->dim; k++) {
            assert_true(f->in[23 * (size_t)f->dim + k] == 0 &&
                        f->out[23 * (size_t)f->dim + k] == 0);
        }
        assert_true(f->in[0] != 0);
        train_factors_free(f);
    }
    const struct train_ease_options one = {.min_users = 1};
    struct train_factors *const f = factors(x, &one);
    assert_int_equal(f->dim, 24);
    train_factors_free(f);
    train_matrix_free(x);
}

static void number_of_threads_does_not_change_a_bit(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(600, 530, 20000, 8);
    for (int form = TRAIN_EASE_ITEMS; form <= TRAIN_EASE_LOW_RANK; form++) {
        const struct train_ease_options opt = {.form = (enum train_ease_form)form, .rank = 40};
        const struct train_work one = {.threads = 1};
        struct train_factors *const a = factors(x, &opt);
        struct train_factors *b = NULL;
        assert_int_equal(train_ease(x, &opt, &one, &b, NULL), U2I_OK);
        assert_memory_equal(a->in, b->in, (size_t)a->n * a->dim * sizeof *a->in);
        assert_memory_equal(a->out, b->out, (size_t)a->n * a->dim * sizeof *a->out);
        train_factors_free(b);
        train_factors_free(a);
    }
    train_matrix_free(x);
}

static void odd_matrices_give_numbers(void **state) {
    (void)state;
    for (int i = 0; i < WORLD_ODD; i++) {
        struct train_matrix *const x = world_odd(i);
        for (int form = TRAIN_EASE_AUTO; form <= TRAIN_EASE_LOW_RANK; form++) {
            const struct train_ease_options opt = {.form = (enum train_ease_form)form,
                                                   .min_users = 1};
            struct train_factors *const f = factors(x, &opt);
            float *const b = full(x, &opt);
            assert_int_equal(f->n, x->cols);
            assert_true(f->dim >= 1);
            assert_true(world_finite(f->in, (size_t)f->n * f->dim));
            assert_true(world_finite(f->out, (size_t)f->n * f->dim));
            assert_true(world_finite(b, (size_t)x->cols * x->cols));
            assert_true(train_ease_memory(x, &opt) < 30000000);
            mem_free(b);
            train_factors_free(f);
        }
        train_matrix_free(x);
    }
}

static void cancelled_at_any_point_it_returns_nothing(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(300, 280, 5000, 9);
    for (int form = TRAIN_EASE_ITEMS; form <= TRAIN_EASE_LOW_RANK; form++) {
        const struct train_ease_options opt = {
            .form = (enum train_ease_form)form, .rank = 20, .rounds = 2};
        long calls = 0;
        for (long at = 0;; at += 5) {
            struct world_cancel cancel = {.left = at};
            const struct train_work work = {1, world_progress, &cancel};
            struct train_factors *f = NULL;
            u2i_error_t err = {0};
            const int rc = train_ease(x, &opt, &work, &f, &err);
            assert_false(cancel.wrong);
            calls = cancel.calls;
            if (rc == U2I_OK) {
                train_factors_free(f);
                break;
            }
            assert_int_equal(rc, U2I_ETIMEOUT);
            assert_string_equal(err.msg, "training was cancelled");
            assert_null(f);
        }
        assert_true(calls > 20);
    }
    train_matrix_free(x);
}

static void memory_is_told_before(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(1000, 3000, 9000, 10);
    const struct train_ease_options items = {.form = TRAIN_EASE_ITEMS, .min_users = 1};
    const struct train_ease_options users = {.form = TRAIN_EASE_USERS, .min_users = 1};
    const struct train_ease_options any = {.form = TRAIN_EASE_AUTO, .min_users = 1};
    assert_in_range(train_ease_memory(x, &items), 20000000, 100000000);
    assert_true(train_ease_memory(x, &users) < train_ease_memory(x, &items));
    assert_true(train_ease_memory(x, &any) == train_ease_memory(x, &users));
    train_matrix_free(x);
}

static void too_many_items_for_a_form_are_refused(void **state) {
    (void)state;
    const struct train_entry e = {0, TRAIN_EASE_ITEMS_MAX, 1};
    struct train_entry *const all = alloc_array(TRAIN_EASE_ITEMS_MAX + 1, sizeof *all);
    for (uint32_t i = 0; i <= TRAIN_EASE_ITEMS_MAX; i++) {
        all[i] = (struct train_entry){0, i, e.value};
    }
    struct train_matrix *const x =
        world_matrix(all, TRAIN_EASE_ITEMS_MAX + 1, 1, TRAIN_EASE_ITEMS_MAX + 1);
    const struct train_ease_options opt = {.form = TRAIN_EASE_ITEMS, .min_users = 1};
    struct train_factors *f = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_ease(x, &opt, &TWO, &f, &err), U2I_EINVAL);
    assert_string_equal(err.msg, "20001 items are over 20000: too many for this form of EASE");
    assert_null(f);
    train_matrix_free(x);
    mem_free(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_gives_the_matrix_of_numpy),
        cmocka_unit_test(users_form_equals_items_form),
        cmocka_unit_test(two_vectors_of_full_rank_equal_the_matrix),
        cmocka_unit_test(a_higher_rank_and_more_rounds_lose_less),
        cmocka_unit_test(free_diagonal_loses_less_than_truncation),
        cmocka_unit_test(turned_vectors_keep_the_scores_and_do_not_covary),
        cmocka_unit_test(items_of_few_users_are_zeros),
        cmocka_unit_test(number_of_threads_does_not_change_a_bit),
        cmocka_unit_test(odd_matrices_give_numbers),
        cmocka_unit_test(cancelled_at_any_point_it_returns_nothing),
        cmocka_unit_test(memory_is_told_before),
        cmocka_unit_test(too_many_items_for_a_form_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
