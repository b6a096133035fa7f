/* iALS against numpy's exact solution, its objective, and folding a user in. */
#include "train_world.h"

static const struct train_work TWO = {.threads = 2};

static struct train_ials *learn(const struct train_matrix *x,
                                const struct train_ials_options *opt) {
    struct train_ials *f = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_ials(x, opt, &TWO, &f, &err), U2I_OK);
    return f;
}

/* The vector of one row of x. */
static bool fold(const struct train_ials *f, const struct train_matrix *x, uint32_t user, float *u,
                 float *factor) {
    const struct train_fold how = {f->gram, f->dim, f->a0, f->lambda, f->n};
    const float *rows[4096];
    const size_t n = (size_t)(x->starts[user + 1] - x->starts[user]);
    assert_in_range(n, 0, 4096);
    for (size_t i = 0; i < n; i++) {
        rows[i] = f->items + (size_t)x->ids[x->starts[user] + i] * f->dim;
    }
    return train_ials_fold_in(&how, rows, x->values + x->starts[user], n, u, factor);
}

static double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

/* What iALS minimises, at these items and the users that fit them best. */
static double objective(const struct train_ials *f, const struct train_matrix *x) {
    float u[128];
    double sum = 0;
    double *const weights = mem_zalloc((size_t)x->cols * sizeof *weights);
    for (uint32_t user = 0; user < x->rows; user++) {
        double weight = 0;
        (void)fold(f, x, user, u, NULL); /* false: zeros, where there are no events */
        if (x->starts[user] == x->starts[user + 1]) {
            continue;
        }
        for (uint64_t i = x->starts[user]; i < x->starts[user + 1]; i++) {
            const double w = (double)x->values[i];
            const double miss = 1 - dot(u, f->items + (size_t)x->ids[i] * f->dim, f->dim);
            sum += w * miss * miss;
            weight += w;
            weights[x->ids[i]] += w;
        }
        for (uint32_t i = 0; i < x->cols; i++) {
            const double score = dot(u, f->items + (size_t)i * f->dim, f->dim);
            sum += f->a0 * score * score;
        }
        sum += f->lambda * (weight + f->a0 * x->cols) * dot(u, u, f->dim);
    }
    for (uint32_t i = 0; i < x->cols; i++) {
        const float *const v = f->items + (size_t)i * f->dim;
        sum += f->lambda * (weights[i] + f->a0 * x->rows) * dot(v, v, f->dim);
    }
    mem_free(weights);
    return sum;
}

static double golden_distance(double a0, double lambda, const float *golden) {
    struct train_matrix *const x = world_golden();
    const struct train_ials_options opt = {GOLDEN_DIM, a0, lambda, GOLDEN_ROUNDS, GOLDEN_SEED};
    struct train_ials *const f = learn(x, &opt);
    float scores[GOLDEN_USERS * GOLDEN_ITEMS];
    for (uint32_t user = 0; user < GOLDEN_USERS; user++) {
        float u[GOLDEN_DIM];
        assert_true(fold(f, x, user, u, NULL));
        for (uint32_t i = 0; i < GOLDEN_ITEMS; i++) {
            scores[user * GOLDEN_ITEMS + i] = (float)dot(u, f->items + i * GOLDEN_DIM, GOLDEN_DIM);
        }
    }
    if (a0 <= 0) {
        assert_true(fabs(f->a0 - golden_a0) < 1e-9 && fabs(f->lambda - .01) < 1e-12);
    }
    train_ials_free(f);
    train_matrix_free(x);
    return world_distance(scores, golden, GOLDEN_USERS * GOLDEN_ITEMS);
}

static void scores_are_those_of_numpy(void **state) {
    (void)state;
    assert_true(golden_distance(0, 0, golden_ials_scores) < .03);
    assert_true(golden_distance(.05, .02, golden_ials_scores_weak) < .03);
}

static void objective_falls_with_each_round(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(300, 200, 6000, 2);
    double last = INFINITY;
    for (uint32_t rounds = 1; rounds <= 8; rounds++) {
        const struct train_ials_options opt = {.dim = 16, .rounds = rounds, .seed = 4};
        struct train_ials *const f = learn(x, &opt);
        const double now = objective(f, x);
        assert_true(isfinite(now) && now < last * (1 + 1e-6));
        last = now;
        train_ials_free(f);
    }
    train_matrix_free(x);
}

static void gram_is_that_of_the_items(void **state) {
    (void)state;
    struct train_matrix *const x = world_golden();
    const struct train_ials_options opt = {.dim = 7};
    struct train_ials *const f = learn(x, &opt);
    for (uint32_t r = 0; r < 7; r++) {
        for (uint32_t c = 0; c < 7; c++) {
            double sum = 0;
            for (uint32_t i = 0; i < f->n; i++) {
                sum += (double)f->items[i * 7 + r] * (double)f->items[i * 7 + c];
            }
            assert_true(fabs(sum - (double)f->gram[r * 7 + c]) < 1e-4);
        }
    }
    for (uint32_t k = 0; k < 7; k++) {
        assert_true(f->items[24 * 7 + k] == 0); /* no events */
    }
    train_ials_free(f);
    train_matrix_free(x);
}

/* The gradient at the folded-in vector: half of it is A u - b. */
static void a_folded_in_user_is_at_the_minimum(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(60, 200, 2000, 3);
    const struct train_ials_options opt = {.dim = 33};
    struct train_ials *const f = learn(x, &opt);
    for (uint32_t user = 0; user < x->rows; user++) {
        float u[33];
        double gradient[33] = {0};
        double weight = 0;
        assert_true(fold(f, x, user, u, NULL));
        for (uint64_t i = x->starts[user]; i < x->starts[user + 1]; i++) {
            const float *const v = f->items + (size_t)x->ids[i] * 33;
            const double miss = (double)x->values[i] * (dot(u, v, 33) - 1);
            weight += (double)x->values[i];
            for (size_t k = 0; k < 33; k++) {
                gradient[k] += miss * (double)v[k];
            }
        }
        for (size_t k = 0; k < 33; k++) {
            gradient[k] += f->a0 * dot(f->gram + k * 33, u, 33);
            gradient[k] += f->lambda * (weight + f->a0 * f->n) * (double)u[k];
            assert_true(fabs(gradient[k]) < 2e-4);
        }
    }
    train_ials_free(f);
    train_matrix_free(x);
}

static void summands_add_up_to_the_score(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(30, 100, 900, 4);
    const struct train_ials_options opt = {.dim = 20};
    struct train_ials *const f = learn(x, &opt);
    float factor[20 * 20];
    float u[20];
    assert_true(fold(f, x, 5, u, factor));
    for (uint32_t j = 0; j < x->cols; j++) {
        float solved[20];
        memcpy(solved, f->items + (size_t)j * 20, sizeof solved);
        const double score = dot(u, solved, 20);
        train_ials_solve(factor, 20, solved);
        double sum = 0;
        for (uint64_t i = x->starts[5]; i < x->starts[6]; i++) {
            sum += (double)x->values[i] * dot(f->items + (size_t)x->ids[i] * 20, solved, 20);
        }
        assert_true(fabs(sum - score) < 1e-4);
    }
    train_ials_free(f);
    train_matrix_free(x);
}

static void nothing_folds_in_to_nothing(void **state) {
    (void)state;
    struct train_matrix *const x = world_golden();
    const struct train_ials_options opt = {.dim = 8};
    struct train_ials *const f = learn(x, &opt);
    float u[8] = {1};
    const struct train_fold how = {f->gram, 8, f->a0, f->lambda, f->n};
    const struct train_fold none = {f->gram, 8, 0, 0, 0};
    const float zeros[8] = {0};
    const float *const row = zeros;
    const float nan = NAN;
    const float one = 1;
    assert_true(train_ials_fold_in(&how, NULL, NULL, 0, u, NULL));
    assert_true(world_distance(u, zeros, 8) == 0);
    u[0] = 1;
    assert_false(train_ials_fold_in(&none, &row, &one, 1, u, NULL)); /* singular */
    assert_true(world_distance(u, zeros, 8) == 0);
    assert_false(train_ials_fold_in(&how, &row, &nan, 1, u, NULL));
    assert_true(world_distance(u, zeros, 8) == 0);
    train_ials_free(f);
    train_matrix_free(x);
}

static void number_of_threads_does_not_change_a_bit(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(700, 300, 9000, 5);
    const struct train_ials_options opt = {.dim = 24, .rounds = 4};
    const struct train_work one = {.threads = 1};
    const struct train_work many = {.threads = 7};
    struct train_ials *const a = learn(x, &opt);
    struct train_ials *b = NULL;
    struct train_ials *c = NULL;
    assert_int_equal(train_ials(x, &opt, &one, &b, NULL), U2I_OK);
    assert_int_equal(train_ials(x, &opt, &many, &c, NULL), U2I_OK);
    assert_memory_equal(a->items, b->items, (size_t)a->n * a->dim * sizeof *a->items);
    assert_memory_equal(a->items, c->items, (size_t)a->n * a->dim * sizeof *a->items);
    assert_memory_equal(a->gram, c->gram, (size_t)a->dim * a->dim * sizeof *a->gram);
    train_ials_free(c);
    train_ials_free(b);
    train_ials_free(a);
    train_matrix_free(x);
}

static void odd_matrices_give_numbers(void **state) {
    (void)state;
    for (int i = 0; i < WORLD_ODD; i++) {
        struct train_matrix *const x = world_odd(i);
        const struct train_ials_options opt = {0};
        struct train_ials *const f = learn(x, &opt);
        assert_int_equal(f->dim, 64);
        assert_true(world_finite(f->items, (size_t)f->n * f->dim));
        assert_true(world_finite(f->gram, (size_t)f->dim * f->dim));
        for (uint32_t user = 0; user < x->rows; user++) {
            float u[64];
            (void)fold(f, x, user, u, NULL); /* false gives zeros */
            assert_true(world_finite(u, 64));
        }
        train_ials_free(f);
        train_matrix_free(x);
    }
}

static void cancelled_at_any_point_it_returns_nothing(void **state) {
    (void)state;
    struct train_matrix *const x = world_random(300, 280, 5000, 9);
    const struct train_ials_options opt = {.dim = 8, .rounds = 3};
    for (long at = 0;; at += 3) {
        struct world_cancel cancel = {.left = at};
        const struct train_work work = {1, world_progress, &cancel};
        struct train_ials *f = NULL;
        u2i_error_t err = {0};
        const int rc = train_ials(x, &opt, &work, &f, &err);
        assert_false(cancel.wrong);
        if (rc == U2I_OK) {
            assert_true(cancel.calls > 20);
            train_ials_free(f);
            break;
        }
        assert_int_equal(rc, U2I_ETIMEOUT);
        assert_null(f);
    }
    train_matrix_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_of_numpy),
        cmocka_unit_test(objective_falls_with_each_round),
        cmocka_unit_test(gram_is_that_of_the_items),
        cmocka_unit_test(a_folded_in_user_is_at_the_minimum),
        cmocka_unit_test(summands_add_up_to_the_score),
        cmocka_unit_test(nothing_folds_in_to_nothing),
        cmocka_unit_test(number_of_threads_does_not_change_a_bit),
        cmocka_unit_test(odd_matrices_give_numbers),
        cmocka_unit_test(cancelled_at_any_point_it_returns_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
