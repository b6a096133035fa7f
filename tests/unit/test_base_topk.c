/* The bounded heap against sorting everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/topk.h"
#include <math.h>

enum { HITS = 400 };

/* Ties by name: here, the row's last digit reversed, then by row. */
static int by_last_digit(const void *ctx, uint32_t a, uint32_t b) {
    (void)ctx;
    const int left = (int)(a % 10);
    const int right = (int)(b % 10);
    return right - left;
}

static int by_score_then_row(const void *a, const void *b) {
    const struct hit *const x = a;
    const struct hit *const y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->row < y->row ? -1 : x->row > y->row;
}

static int by_score_then_digit(const void *a, const void *b) {
    const struct hit *const x = a;
    const struct hit *const y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    const int tie = by_last_digit(NULL, x->row, y->row);
    return tie != 0 ? tie : by_score_then_row(a, b);
}

static void check_against_sort(struct rng *rng, uint32_t n, uint32_t k, uint32_t scores, bool tie) {
    struct hit all[HITS];
    struct hit best[HITS];
    struct topk top;
    topk_init(&top, best, k, tie ? by_last_digit : NULL, NULL);
    for (uint32_t i = 0; i < n; i++) {
        all[i] = (struct hit){(float)rng_below(rng, scores) - 2.0f, i};
    }
    for (uint32_t i = n; i > 1; i--) { /* shuffle: the order of arrival must not matter */
        const uint32_t j = rng_below(rng, i);
        const struct hit swap = all[j];
        all[j] = all[i - 1];
        all[i - 1] = swap;
    }
    for (uint32_t i = 0; i < n; i++) {
        topk_push(&top, all[i].score, all[i].row);
    }
    qsort(all, n, sizeof *all, tie ? by_score_then_digit : by_score_then_row);
    const uint32_t found = topk_sort(&top);
    assert_int_equal(found, n < k ? n : k);
    for (uint32_t i = 0; i < found; i++) {
        assert_true(best[i].score == all[i].score);
        assert_int_equal(best[i].row, all[i].row);
    }
}

static void keeps_the_same_as_a_full_sort(void **state) {
    (void)state;
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text == NULL ? 5 : strtoull(text, NULL, 10);
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    struct rng rng;
    rng_seed(&rng, seed);
    for (int round = 0; round < 3000; round++) {
        const uint32_t n = rng_below(&rng, HITS);
        const uint32_t k = rng_below(&rng, 4) == 0 ? rng_below(&rng, HITS) : rng_below(&rng, 12);
        check_against_sort(&rng, n, k, 1 + rng_below(&rng, 60), round % 2 == 0);
    }
}

static void not_a_number_is_never_kept(void **state) {
    (void)state;
    struct hit best[3];
    struct topk top;
    topk_init(&top, best, 3, NULL, NULL);
    topk_push(&top, NAN, 1);
    topk_push(&top, 1, 2);
    topk_push(&top, -INFINITY, 3);
    topk_push(&top, INFINITY, 4);
    topk_push(&top, NAN, 5);
    assert_int_equal(topk_sort(&top), 3);
    assert_int_equal(best[0].row, 4);
    assert_int_equal(best[1].row, 2);
    assert_int_equal(best[2].row, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_same_as_a_full_sort),
        cmocka_unit_test(not_a_number_is_never_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
