/* What the tests of the learners share: matrices from numpy's case, at random, and of odd
 * shapes. */
#ifndef U2I_TESTS_TRAIN_WORLD_H
#define U2I_TESTS_TRAIN_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "golden/train_golden.h"
#include "train/train.h"
#include <math.h>
#include <stdbool.h>

static inline struct train_matrix *world_matrix(const struct train_entry *entries, size_t n,
                                                uint32_t rows, uint32_t cols) {
    struct train_matrix *m = NULL;
    u2i_error_t err = {0};
    assert_int_equal(train_matrix_new(entries, n, rows, cols, &m, &err), U2I_OK);
    return m;
}

/* The matrix of tests/golden/train_golden.py. */
static inline struct train_matrix *world_golden(void) {
    struct train_entry entries[GOLDEN_USERS * GOLDEN_ITEMS];
    for (uint32_t i = 0; i < GOLDEN_USERS * GOLDEN_ITEMS; i++) {
        entries[i] = (struct train_entry){i / GOLDEN_ITEMS, i % GOLDEN_ITEMS, golden_x[i]};
    }
    return world_matrix(entries, GOLDEN_USERS * GOLDEN_ITEMS, GOLDEN_USERS, GOLDEN_ITEMS);
}

/* n entries: users and items in a few groups, low numbers more often. */
static inline struct train_matrix *world_random(uint32_t users, uint32_t items, size_t n,
                                                uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    struct train_entry *const entries = alloc_array(n, sizeof *entries);
    assert_non_null(entries);
    for (size_t i = 0; i < n; i++) {
        const uint32_t user = rng_below(&rng, users);
        uint32_t item = (uint32_t)(rng_unit(&rng) * rng_unit(&rng) * items);
        if (rng_below(&rng, 4) > 0 && items > 8) {
            item = (item / 8 * 8 + user % 8) % items;
        }
        entries[i] = (struct train_entry){user, item, 1.0f / (float)(1 + rng_below(&rng, 3))};
    }
    struct train_matrix *const m = world_matrix(entries, n, users, items);
    mem_free(entries);
    return m;
}

static inline float world_at(const struct train_matrix *m, uint32_t row, uint32_t col) {
    for (uint64_t i = m->starts[row]; i < m->starts[row + 1]; i++) {
        if (m->ids[i] == col) {
            return m->values[i];
        }
    }
    return 0;
}

/* Ids ascend, values are positive and finite. */
static inline void world_assert_sound(const struct train_matrix *m) {
    assert_int_equal(m->starts[0], 0);
    for (uint32_t r = 0; r < m->rows; r++) {
        for (uint64_t i = m->starts[r]; i < m->starts[r + 1]; i++) {
            assert_true(m->ids[i] < m->cols);
            assert_true(i == m->starts[r] || m->ids[i - 1] < m->ids[i]);
            assert_true(m->values[i] > 0 && isfinite(m->values[i]));
        }
    }
}

static inline void world_assert_equal(const struct train_matrix *a, const struct train_matrix *b) {
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->cols, b->cols);
    assert_memory_equal(a->starts, b->starts, ((size_t)a->rows + 1) * sizeof *a->starts);
    assert_memory_equal(a->ids, b->ids, (size_t)a->starts[a->rows] * sizeof *a->ids);
    assert_memory_equal(a->values, b->values, (size_t)a->starts[a->rows] * sizeof *a->values);
}

/* |a - b| / |b| */
static inline double world_distance(const float *a, const float *b, size_t n) {
    double off = 0;
    double size = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return size > 0 ? sqrt(off / size) : sqrt(off);
}

static inline bool world_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return false;
        }
    }
    return true;
}

/* Cancels at the call numbered `left`, counted down. */
struct world_cancel {
    long left, calls;
    bool wrong; /* done beyond total */
};
static inline int world_progress(void *ctx, uint64_t done, uint64_t total) {
    struct world_cancel *const c = ctx;
    c->calls++;
    c->wrong = c->wrong || done > total;
    return c->left-- <= 0;
}

/* Matrices on the edge of what there is. */
enum { WORLD_ODD = 8 };
static inline struct train_matrix *world_odd(int which) {
    struct train_entry e[600];
    size_t n = 0;
    switch (which) {
    case 0: /* nothing at all */
        return world_matrix(NULL, 0, 0, 0);
    case 1: /* no events */
        return world_matrix(NULL, 0, 5, 7);
    case 2: /* one user, one item */
        e[0] = (struct train_entry){0, 0, 1};
        return world_matrix(e, 1, 1, 1);
    case 3: /* one user of many items */
        for (; n < 300; n++) {
            e[n] = (struct train_entry){0, (uint32_t)n, 1};
        }
        return world_matrix(e, n, 1, 300);
    case 4: /* one item of many users */
        for (; n < 300; n++) {
            e[n] = (struct train_entry){(uint32_t)n, 0, 1};
        }
        return world_matrix(e, n, 300, 1);
    case 5: /* all alike: rank one */
        for (; n < 600; n++) {
            e[n] = (struct train_entry){(uint32_t)n / 20, (uint32_t)n % 20, 1};
        }
        return world_matrix(e, n, 30, 20);
    case 6: /* all zero */
        for (; n < 100; n++) {
            e[n] = (struct train_entry){(uint32_t)n / 10, (uint32_t)n % 10, 0};
        }
        return world_matrix(e, n, 10, 10);
    default: /* nobody shares an item; huge and tiny values */
        for (; n < 40; n++) {
            e[n] = (struct train_entry){(uint32_t)n, (uint32_t)n, n % 2 ? 1e6f : 1e-6f};
        }
        return world_matrix(e, n, 40, 40);
    }
}

#endif
