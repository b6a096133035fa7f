/* Exact search against an oracle that compares everything and sorts. Vectors hold small whole
 * numbers, so that scores are exact in any order of summation and ties are frequent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "flat/flat.h"
#include <stdio.h>

enum { ROWS = 1500, DIM_MAX = 70 };

struct model {
    uint32_t dim, count;
    bool present[ROWS];
    float vector[ROWS][DIM_MAX];
};

static uint64_t test_seed(void) {
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text == NULL ? 11 : strtoull(text, NULL, 10);
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static void random_vector(struct rng *rng, float *v, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i++) {
        v[i] = (float)rng_below(rng, 5) - 2.0f;
    }
}

/* The last digit first, then the higher row first: nothing like the order of rows. */
static int tie_by_digit(const void *ctx, uint32_t a, uint32_t b) {
    (void)ctx;
    const int digits = (int)(a % 10) - (int)(b % 10);
    return digits != 0 ? digits : (a > b ? -1 : a < b);
}

static int order_by_row(const void *a, const void *b) {
    const struct hit *const x = a;
    const struct hit *const y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->row < y->row ? -1 : x->row > y->row;
}

static int order_by_digit(const void *a, const void *b) {
    const struct hit *const x = a;
    const struct hit *const y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return tie_by_digit(NULL, x->row, y->row);
}

static uint32_t model_search(const struct model *m, const struct flat_query *q, struct hit *out) {
    struct hit all[ROWS];
    uint32_t n = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        if (m->present[row] && (q->allow == NULL || roaring_bitmap_contains(q->allow, row)) &&
            (q->deny == NULL || !roaring_bitmap_contains(q->deny, row))) {
            float score = 0;
            for (uint32_t i = 0; i < m->dim; i++) {
                score += q->vector[i] * m->vector[row][i];
            }
            all[n++] = (struct hit){score, row};
        }
    }
    qsort(all, n, sizeof *all, q->tie == NULL ? order_by_row : order_by_digit);
    n = n < q->k ? n : q->k;
    memcpy(out, all, n * sizeof *all);
    return n;
}

/* NULL, or rows (absent and never used ones among them) with a random density. */
static roaring_bitmap_t *random_rows(struct rng *rng) {
    if (rng_below(rng, 4) == 0) {
        return NULL;
    }
    roaring_bitmap_t *const rows = roaring_bitmap_create();
    const double density[] = {0, 0.002, 0.05, 0.5, 0.95, 1};
    const double share = density[rng_below(rng, 6)];
    for (uint32_t row = 0; row < ROWS + 100; row++) {
        if (rng_unit(rng) < share) {
            roaring_bitmap_add(rows, row);
        }
    }
    if (rng_below(rng, 2) == 0) {
        roaring_bitmap_add(rows, 3000000000u);
        (void)roaring_bitmap_run_optimize(rows);
    }
    return rows;
}

static void compare_search(const struct model *m, const struct flat *f, struct rng *rng) {
    float vector[DIM_MAX];
    struct hit got[ROWS];
    struct hit want[ROWS];
    uint32_t n = 0;
    u2i_error_t err;
    random_vector(rng, vector, m->dim);
    roaring_bitmap_t *const allow = random_rows(rng);
    roaring_bitmap_t *const deny = random_rows(rng);
    const struct flat_query q = {.vector = vector,
                                 .k = rng_below(rng, 5) == 0 ? rng_below(rng, ROWS)
                                                             : rng_below(rng, 20),
                                 .allow = allow,
                                 .deny = deny,
                                 .tie = rng_below(rng, 2) == 0 ? NULL : tie_by_digit};
    assert_int_equal(flat_search(f, &q, got, &n, &err), U2I_OK);
    assert_int_equal(n, model_search(m, &q, want));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(got[i].row, want[i].row);
        assert_true(got[i].score == want[i].score);
    }
    if (allow != NULL) {
        roaring_bitmap_free(allow);
    }
    if (deny != NULL) {
        roaring_bitmap_free(deny);
    }
}

static void change_once(struct model *m, struct flat *f, struct rng *rng, bool grow) {
    const uint32_t row = rng_below(rng, ROWS);
    if (rng_below(rng, 10) < (grow ? 8u : 2u)) {
        random_vector(rng, m->vector[row], m->dim);
        assert_int_equal(flat_set(f, row, m->vector[row], NULL), U2I_OK);
        m->count += !m->present[row];
        m->present[row] = true;
    } else {
        flat_remove(f, row);
        m->count -= m->present[row];
        m->present[row] = false;
    }
    assert_int_equal(flat_count(f), m->count);
}

static void compare_vectors(const struct model *m, const struct flat *f) {
    for (uint32_t row = 0; row < ROWS; row++) {
        const float *const v = flat_vector(f, row);
        assert_int_equal(v != NULL, m->present[row]);
        if (v != NULL) {
            assert_memory_equal(v, m->vector[row], m->dim * sizeof *v);
        }
    }
    assert_null(flat_vector(f, ROWS));
    assert_null(flat_vector(f, UINT32_MAX));
}

static void search_matches_comparing_everything(void **state) {
    (void)state;
    const uint32_t dims[] = {1, 3, 8, 17, 70};
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct model *const m = mem_alloc(sizeof *m);
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        struct flat *f = NULL;
        memset(m, 0, sizeof *m);
        m->dim = dims[d];
        assert_int_equal(flat_new(m->dim, &f, NULL), U2I_OK);
        compare_search(m, f, &rng);
        for (int step = 0; step < 12000; step++) {
            change_once(m, f, &rng, step / 3000 % 2 == 0);
            if (step % 25 == 0) {
                compare_search(m, f, &rng);
            }
        }
        compare_vectors(m, f);
        flat_free(f);
    }
    mem_free(m);
}

/* A catalogue of several slabs; the value of a row's only non-zero element says which row it is. */
static void many_slabs_are_searched_and_given_back(void **state) {
    (void)state;
    enum { DIM = 4096, COUNT = 1300 };
    struct flat *f = NULL;
    float *const v = mem_zalloc(DIM * sizeof *v);
    struct hit best[COUNT];
    uint32_t n = 0;
    assert_int_equal(flat_new(DIM, &f, NULL), U2I_OK);
    for (uint32_t row = 0; row < COUNT; row++) {
        v[DIM - 1] = (float)(row * 7 % COUNT);
        assert_int_equal(flat_set(f, row, v, NULL), U2I_OK);
    }
    const size_t full = flat_bytes(f);
    assert_true(full < COUNT * (DIM * sizeof *v + 12) + 1024);

    v[DIM - 1] = 1;
    const struct flat_query q = {.vector = v, .k = COUNT};
    assert_int_equal(flat_search(f, &q, best, &n, NULL), U2I_OK);
    assert_int_equal(n, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(best[i].score == (float)(COUNT - 1 - i));
        assert_int_equal(best[i].row * 7 % COUNT, COUNT - 1 - i);
    }

    for (uint32_t row = 0; row < COUNT; row++) {
        flat_remove(f, row);
    }
    assert_int_equal(flat_count(f), 0);
    assert_true(flat_bytes(f) < full / 3);
    assert_int_equal(flat_search(f, &q, best, &n, NULL), U2I_OK);
    assert_int_equal(n, 0);
    flat_free(f);
    flat_free(NULL);
    mem_free(v);
}

static void memory_beside_the_vectors_is_twelve_bytes_a_row(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    struct flat *f = NULL;
    const float v[2] = {1, 2};
    assert_int_equal(flat_new(2, &f, NULL), U2I_OK);
    for (uint32_t row = 0; row < COUNT; row++) {
        assert_int_equal(flat_set(f, row, v, NULL), U2I_OK);
    }
    assert_true(flat_bytes(f) <= COUNT * (sizeof v + 12));
    flat_free(f);
}

static int64_t ticks_ns(void *ctx) {
    return *(int64_t *)ctx;
}

static void search_stops_when_its_time_is_up(void **state) {
    (void)state;
    int64_t now_ns = 100;
    const struct clock clock = {NULL, ticks_ns, &now_ns};
    const struct deadline deadline = {&clock, 200};
    struct flat *f = NULL;
    const float v[1] = {1};
    struct hit best[2];
    uint32_t n = 9;
    u2i_error_t err;
    assert_int_equal(flat_new(1, &f, NULL), U2I_OK);
    for (uint32_t row = 0; row < 100; row++) {
        assert_int_equal(flat_set(f, row, v, NULL), U2I_OK);
    }
    roaring_bitmap_t *const few = roaring_bitmap_of(2, 5, 6);
    struct flat_query q = {.vector = v, .k = 2, .deadline = &deadline};
    assert_int_equal(flat_search(f, &q, best, &n, &err), U2I_OK);
    assert_int_equal(n, 2);

    now_ns = 201;
    assert_int_equal(flat_search(f, &q, best, &n, &err), U2I_ETIMEOUT);
    assert_int_equal(n, 0);
    assert_int_equal(err.code, U2I_ETIMEOUT);
    q.allow = few;
    assert_int_equal(flat_search(f, &q, best, &n, &err), U2I_ETIMEOUT);
    roaring_bitmap_free(few);
    flat_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_matches_comparing_everything),
        cmocka_unit_test(many_slabs_are_searched_and_given_back),
        cmocka_unit_test(memory_beside_the_vectors_is_twelve_bytes_a_row),
        cmocka_unit_test(search_stops_when_its_time_is_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
