/* Vector kernels: every table against scalar and against double (vec_checks.h), the choice of the
 * table, and the functions without kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/vec_checks.h"
#include <float.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_holds_for_every_table(void **state) {
    assert_int_equal(vec_check_tables(*state), 0);
}

/* The choice is made once a process, so each case has its own. */
static int choice_is_not(const char *wanted, const char *expected) {
    const pid_t child = fork();
    if (child == 0) {
        (void)setenv("U2I_SIMD", wanted, 1);
        const struct vec_ops *const ops = vec_get();
        _exit(strcmp(ops->name, expected) == 0 && ops == vec_get() ? 0 : 1);
    }
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void environment_overrides_the_choice(void **state) {
    (void)state;
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    const char *best = "scalar";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const bool runs = vec_named(names[i]) != NULL;
        best = runs ? names[i] : best;
        assert_int_equal(choice_is_not(names[i], runs ? names[i] : "scalar"), 0);
    }
    assert_int_equal(choice_is_not("mmx", "scalar"), 0);
    assert_int_equal(choice_is_not("", best), 0);
    assert_null(vec_named("mmx"));
}

static void normalised_vector_has_length_one(void **state) {
    (void)state;
    const float sizes[] = {1, 1e-30f, 1e30f, FLT_MAX, FLT_TRUE_MIN};
    struct rng rng;
    rng_seed(&rng, 6);
    for (size_t n = 1; n <= VEC_LENGTH_MAX; n++) {
        void *memory = NULL;
        float *const x = vec_random(&rng, n, n % 4, &memory);
        x[n / 2] = 1; /* so that it is not all zero after scaling down */
        for (size_t i = 0; i < n; i++) {
            x[i] *= sizes[n % 5];
        }
        assert_true(vec_normalise(x, n));
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            sum += (double)x[i] * x[i];
        }
        assert_true(fabs(sum - 1) < 1e-6);
        mem_free(memory);
    }
}

static void vector_without_a_length_is_left_alone(void **state) {
    (void)state;
    float zeros[5] = {0, -0.0f, 0, 0, 0};
    float bad[3] = {1, NAN, 2};
    float infinite[3] = {1, INFINITY, 2};
    assert_false(vec_normalise(zeros, 5));
    assert_false(vec_normalise(zeros, 0));
    assert_false(vec_normalise(bad, 3));
    assert_false(vec_normalise(infinite, 3));
    assert_true(bad[0] == 1 && bad[2] == 2 && infinite[0] == 1 && infinite[2] == 2);
}

static void finite_sees_one_bad_value_anywhere(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    float x[VEC_LENGTH_MAX] = {0};
    for (size_t n = 0; n <= VEC_LENGTH_MAX; n++) {
        for (size_t i = 0; i < n; i++) {
            x[i] = i % 3 == 0 ? FLT_MAX : i % 3 == 1 ? -FLT_TRUE_MIN : 0;
        }
        assert_true(vec_finite(x, n));
        for (size_t i = 0; i < n; i++) {
            const float kept = x[i];
            x[i] = bad[i % 3];
            assert_false(vec_finite(x, n));
            x[i] = kept;
        }
    }
}

int main(void) {
    enum { CHECKS = sizeof vec_checks / sizeof *vec_checks };
    struct CMUnitTest tests[CHECKS + 4] = {
        cmocka_unit_test(environment_overrides_the_choice),
        cmocka_unit_test(normalised_vector_has_length_one),
        cmocka_unit_test(vector_without_a_length_is_left_alone),
        cmocka_unit_test(finite_sees_one_bad_value_anywhere),
    };
    struct vec_check checks[CHECKS];
    memcpy(checks, vec_checks, sizeof checks); /* cmocka hands on a pointer that is not const */
    for (size_t i = 0; i < CHECKS; i++) {
        tests[4 + i] = (struct CMUnitTest){checks[i].promise, check_holds_for_every_table, NULL,
                                           NULL, &checks[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
