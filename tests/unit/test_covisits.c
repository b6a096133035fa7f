/* What goes together lately: counts of pairs that follow the log as it comes in. */
#include "profile/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HOUR_MS ((int64_t)3600000)

static struct covisits *make(void) {
    struct covisits *c;
    assert_int_equal(covisits_new(&c, NULL), U2I_OK);
    return c;
}

static void add(struct covisits *c, uint32_t user, uint32_t item, int64_t time_ms) {
    const struct covisits_event ev = {time_ms, user, item};
    covisits_add(c, &ev);
}

static double share(const struct covisits *c, uint32_t from, uint32_t to) {
    struct covisit out[64];
    const size_t n = covisits_of(c, from, out, 64);
    for (size_t i = 0; i < n; i++) {
        if (out[i].item == to) {
            return (double)out[i].share;
        }
    }
    return 0;
}

static void what_many_do_next_has_a_large_share(void **state) {
    (void)state;
    struct covisits *c = make();
    for (uint32_t u = 0; u < 20; u++) {
        add(c, u, 1, (int64_t)u * 1000);
        add(c, u, u % 4 == 0 ? 3 : 2, (int64_t)u * 1000 + 500);
    }
    assert_float_equal(share(c, 1, 2), 15.0 / 23, 0.01);
    assert_float_equal(share(c, 1, 3), 5.0 / 23, 0.01);
    assert_float_equal(share(c, 2, 1), 7.5 / 18, 0.01); /* backwards counts half */
    assert_float_equal(share(c, 2, 3), 0, 0);
    covisits_free(c);
}

static void nearer_items_count_more_and_one_basket_not_at_all(void **state) {
    (void)state;
    struct covisits *c = make();
    add(c, 9, 1, 1000);
    add(c, 9, 2, 2000);
    add(c, 9, 3, 3000);
    add(c, 9, 4, 3000); /* with 3, not after it */
    assert_true(share(c, 2, 3) > 1.9 * share(c, 1, 3));
    assert_float_equal(share(c, 3, 4), 0, 0);
    add(c, 9, 5, 3000 + 25 * HOUR_MS); /* another day */
    assert_float_equal(share(c, 4, 5), 0, 0);
    covisits_free(c);
}

static void a_day_old_pair_is_worth_little(void **state) {
    (void)state;
    struct covisits *c = make();
    for (uint32_t u = 0; u < 8; u++) {
        add(c, u, 1, 0);
        add(c, u, 2, 10);
    }
    const double before = share(c, 1, 2);
    add(c, 100, 7, 24 * HOUR_MS);
    assert_true(share(c, 1, 2) < before / 4);
    for (int day = 2; day < 40; day++) { /* far past any power of two that a double has */
        add(c, 100, 7, day * 24 * HOUR_MS);
        add(c, 101, 1, day * 24 * HOUR_MS);
        add(c, 101, 3, day * 24 * HOUR_MS + 10);
    }
    assert_true(share(c, 1, 3) > 0.2 && share(c, 1, 3) < 1);
    covisits_free(c);
}

static void memory_is_bounded_and_it_goes_on(void **state) {
    (void)state;
    struct covisits *c = make();
    uint32_t x = 1;
    for (uint32_t i = 0; i < 200000; i++) {
        x = x * 1664525u + 1013904223u;
        add(c, x >> 12 & 1023, x >> 8 & 8191, (int64_t)i * 10);
    }
    add(c, 5000, 1, 2000001);
    add(c, 5000, 2, 2000002);
    assert_true(share(c, 1, 2) > 0);
    covisits_clear(c);
    assert_float_equal(share(c, 1, 2), 0, 0);
    covisits_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_many_do_next_has_a_large_share),
        cmocka_unit_test(nearer_items_count_more_and_one_basket_not_at_all),
        cmocka_unit_test(a_day_old_pair_is_worth_little),
        cmocka_unit_test(memory_is_bounded_and_it_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
