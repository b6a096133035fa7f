/* Interning against a naive model: an array of (number, name) searched from front to back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/intern.h"
#include "base/rng.h"
#include "u2i.h"
#include <stdio.h>

enum { NUMBERS = 700, NAME_MAX = 300 };

struct model {
    char *name[NUMBERS]; /* NULL = hole */
    size_t n[NUMBERS];
    uint32_t count, end;
};

static uint64_t test_seed(void) {
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text == NULL ? 20240601 : strtoull(text, NULL, 10);
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint32_t model_find(const struct model *m, const char *name, size_t n) {
    for (uint32_t i = 0; i < m->end; i++) {
        if (m->name[i] != NULL && m->n[i] == n && memcmp(m->name[i], name, n) == 0) {
            return i;
        }
    }
    return INTERN_NONE;
}

/* Short names from few letters, so that absent and present ones alternate; some long ones, some
 * with NUL bytes in them. */
static size_t random_name(struct rng *rng, char *name) {
    const size_t n = rng_below(rng, 20) == 0 ? rng_below(rng, NAME_MAX) : rng_below(rng, 5);
    for (size_t i = 0; i < n; i++) {
        name[i] = "abcd\0"[rng_below(rng, n < 5 ? 5 : 2)];
    }
    return n;
}

static void model_check(const struct model *m, const struct intern *t) {
    assert_int_equal(intern_count(t), m->count);
    assert_int_equal(intern_end(t), m->end);
    for (uint32_t i = 0; i < m->end + 3; i++) {
        size_t n = 0;
        const char *const name = intern_name(t, i, &n);
        if (i >= m->end || m->name[i] == NULL) {
            assert_null(name);
            continue;
        }
        assert_int_equal(n, m->n[i]);
        assert_memory_equal(name, m->name[i], n);
        assert_int_equal(name[n], '\0');
        assert_int_equal(intern_find(t, name, n), i);
    }
}

static void model_put(struct model *m, struct intern *t, struct rng *rng) {
    char name[NAME_MAX];
    const size_t n = random_name(rng, name);
    const uint32_t found = model_find(m, name, n);
    assert_int_equal(intern_find(t, name, n), found);
    if (found != INTERN_NONE) {
        return;
    }
    uint32_t number = rng_below(rng, m->end + 2);
    if (number >= NUMBERS) {
        return;
    }
    if (number >= m->end && rng_below(rng, 2) == 0) {
        assert_int_equal(intern_add(t, name, n, &number), U2I_OK);
        assert_int_equal(number, m->end);
    } else if (number < m->end && m->name[number] != NULL) {
        return;
    } else {
        assert_int_equal(intern_put(t, number, name, n), U2I_OK);
    }
    m->name[number] = str_dup(name, n);
    m->n[number] = n;
    m->count++;
    m->end = number >= m->end ? number + 1 : m->end;
}

static void model_remove(struct model *m, struct intern *t, uint32_t number) {
    intern_remove(t, number);
    if (number < m->end && m->name[number] != NULL) {
        mem_free(m->name[number]);
        m->name[number] = NULL;
        m->count--;
    }
}

static void agrees_with_a_list_under_random_changes(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct intern *const t = intern_new();
    struct model *const m = mem_zalloc(sizeof *m);
    for (int step = 0; step < 40000; step++) {
        /* Waves of growth and of shrinking, so that compaction and long runs both happen. */
        const uint32_t puts = step / 5000 % 2 == 0 ? 8 : 3;
        if (rng_below(&rng, 10) < puts) {
            model_put(m, t, &rng);
        } else {
            model_remove(m, t, rng_below(&rng, m->end + 2));
        }
        if (step % 500 == 0) {
            model_check(m, t);
        }
    }
    model_check(m, t);
    for (uint32_t i = 0; i < NUMBERS; i++) {
        model_remove(m, t, i);
    }
    model_check(m, t);
    mem_free(m);
    intern_free(t);
}

static void empty_table_answers(void **state) {
    (void)state;
    struct intern *const t = intern_new();
    assert_int_equal(intern_find(t, "x", 1), INTERN_NONE);
    assert_null(intern_name(t, 0, NULL));
    intern_remove(t, 0);
    assert_int_equal(intern_count(t), 0);
    assert_int_equal(intern_end(t), 0);
    intern_free(t);
    intern_free(NULL);
}

/* Numbers may start high and far apart: the slot's number bits then grow at once. */
static void numbers_may_be_far_apart(void **state) {
    (void)state;
    struct intern *const t = intern_new();
    const uint32_t numbers[] = {254, 255, 256, 0, 65534, 65535, 1000000};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char name[16];
        const int n = snprintf(name, sizeof name, "n%u", numbers[i]);
        assert_int_equal(intern_put(t, numbers[i], name, (size_t)n), U2I_OK);
        for (size_t j = 0; j <= i; j++) {
            const int length = snprintf(name, sizeof name, "n%u", numbers[j]);
            assert_int_equal(intern_find(t, name, (size_t)length), numbers[j]);
        }
    }
    assert_int_equal(intern_end(t), 1000001);
    intern_free(t);
}

static void what_cannot_fit_is_refused(void **state) {
    (void)state;
    struct intern *const t = intern_new();
    assert_int_equal(intern_put(t, INTERN_NONE, "x", 1), U2I_ENOMEM);
    assert_int_equal(intern_count(t), 0);
    assert_int_equal(intern_put(t, 0, "x", 1), U2I_OK);
    intern_free(t);
}

/* The budget of the header, with some room: 300,000 names cost at most 16 bytes beside their text,
 * and replacing them all several times costs no more. */
static void memory_stays_within_the_budget(void **state) {
    (void)state;
    enum { COUNT = 300000 };
    struct intern *const t = intern_new();
    char name[32];
    size_t text = 0;
    for (uint32_t round = 0; round < 3; round++) {
        text = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            const int n = snprintf(name, sizeof name, "item-%u-%u", round, i);
            intern_remove(t, i);
            assert_int_equal(intern_put(t, i, name, (size_t)n), U2I_OK);
            text += (size_t)n;
        }
        if (round == 0) {
            assert_true(intern_bytes(t) < text + text / 4 + 16 * (size_t)COUNT);
            print_message("%.1f bytes a name beside its text\n",
                          (double)(intern_bytes(t) - text) / COUNT);
        }
    }
    assert_true(intern_bytes(t) < 3 * text + 16 * (size_t)COUNT);
    intern_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_list_under_random_changes),
        cmocka_unit_test(empty_table_answers),
        cmocka_unit_test(numbers_may_be_far_apart),
        cmocka_unit_test(what_cannot_fit_is_refused),
        cmocka_unit_test(memory_stays_within_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
