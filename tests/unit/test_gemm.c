/* The kernels of a transformer: every table against double (gemm_checks.h), and the choice of the
 * table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/gemm_checks.h"
#include "vec/vec.h"

static void gemm_check_holds_for_every_table(void **state) {
    assert_int_equal(gemm_check_tables(*state), 0);
}

static void table_is_the_one_of_the_vectors(void **state) {
    (void)state;
    const char *const chosen = gemm_get()->name;
    assert_true(strcmp(chosen, vec_get()->name) == 0 || strcmp(chosen, "amx") == 0);
    assert_true(gemm_named("amx") == NULL || vec_named("avx512") != NULL);
    assert_null(gemm_named("mmx"));
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct gemm_ops *const ops = gemm_named(names[i]);
        assert_int_equal(ops != NULL, vec_named(names[i]) != NULL);
        assert_true(ops == NULL || strcmp(ops->name, names[i]) == 0);
        assert_true(ops == NULL || ops->levels == (strcmp(names[i], "avx2") == 0 ? 63 : 127));
    }
    assert_int_equal(gemm_named("scalar7")->levels, 63);
}

int main(void) {
    enum { CHECKS = sizeof gemm_checks / sizeof *gemm_checks };
    struct CMUnitTest tests[CHECKS + 1] = {cmocka_unit_test(table_is_the_one_of_the_vectors)};
    struct gemm_check checks[CHECKS];
    memcpy(checks, gemm_checks, sizeof checks); /* cmocka hands on a pointer that is not const */
    for (size_t i = 0; i < CHECKS; i++) {
        tests[1 + i] = (struct CMUnitTest){checks[i].promise, gemm_check_holds_for_every_table,
                                           NULL, NULL, &checks[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
