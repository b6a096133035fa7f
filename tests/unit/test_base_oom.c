/* Each allocation fails in turn: nothing leaks, nothing half-made stays, and the same call works
 * once there is memory again. malloc and its kin are replaced at link time (cmake/tests_oom.cmake);
 * without those linker options the tests are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/intern.h"
#include "flat/flat.h"
#include "oom.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int work_on_buffer(void) {
    struct buf b = {0};
    for (int i = 0; i < 50; i++) {
        buf_printf(&b, "%d, ", i);
        buf_puts(&b, "and a few more words to make it grow; ");
    }
    const int rc = b.failed ? U2I_ENOMEM : U2I_OK;
    assert_true(b.data == NULL || b.data[b.len] == '\0');
    buf_free(&b);
    return rc;
}

static int work_on_arena(void) {
    struct arena a = {0};
    int rc = U2I_OK;
    for (size_t i = 0; i < 200 && rc == U2I_OK; i++) {
        char *const p = arena_alloc(&a, i * 97);
        rc = p == NULL ? U2I_ENOMEM : U2I_OK;
        if (p != NULL) {
            memset(p, 1, i * 97);
        }
    }
    arena_free(&a);
    return rc;
}

static int work_on_intern(void) {
    struct intern *const t = intern_new();
    if (t == NULL) {
        return U2I_ENOMEM;
    }
    int rc = U2I_OK;
    uint32_t added = 0;
    char name[32];
    for (uint32_t i = 0; i < 2000 && rc == U2I_OK; i++) {
        uint32_t number = 0;
        const int n = snprintf(name, sizeof name, "name-%u", i);
        rc = intern_add(t, name, (size_t)n, &number);
        added += rc == U2I_OK;
        if (rc == U2I_OK && i % 3 == 0) {
            intern_remove(t, number);
        }
    }
    const long countdown = oom_countdown;
    oom_countdown = -1;
    for (uint32_t i = 0; i < added; i++) {
        const int n = snprintf(name, sizeof name, "name-%u", i);
        assert_int_equal(intern_find(t, name, (size_t)n), i % 3 == 0 ? INTERN_NONE : i);
    }
    oom_countdown = countdown;
    intern_free(t);
    return rc;
}

static int work_on_flat(void) {
    enum { DIM = 2048, COUNT = 1300 };
    static float v[DIM];
    struct flat *f = NULL;
    int rc = flat_new(DIM, &f, NULL);
    uint32_t set = 0;
    while (rc == U2I_OK && set < COUNT) {
        v[0] = (float)set;
        rc = flat_set(f, set, v, NULL);
        set += rc == U2I_OK;
    }
    if (f != NULL) {
        assert_int_equal(flat_count(f), set);
        assert_true(set == 0 || flat_vector(f, set - 1)[0] == (float)(set - 1));
        assert_null(flat_vector(f, set));
    }
    flat_free(f);
    return rc;
}

static void buffer_survives_every_failure(void **state) {
    (void)state;
    oom_fail_each(work_on_buffer, 1);
}

static void arena_survives_every_failure(void **state) {
    (void)state;
    oom_fail_each(work_on_arena, 1);
}

static void intern_survives_every_failure(void **state) {
    (void)state;
    oom_fail_each(work_on_intern, 1);
}

static void flat_survives_every_failure(void **state) {
    (void)state;
    oom_fail_each(work_on_flat, 1);
}

/* Bits that speed up a search are optional: without memory for them it goes on by the bitmaps. */
static void search_needs_no_memory(void **state) {
    (void)state;
    if (!oom_is_wrapped()) {
        skip();
    }
    enum { COUNT = 5000 };
    struct flat *f = NULL;
    struct hit best[10];
    uint32_t n = 0;
    assert_int_equal(flat_new(1, &f, NULL), U2I_OK);
    for (uint32_t row = 0; row < COUNT; row++) {
        const float v = (float)row;
        assert_int_equal(flat_set(f, row, &v, NULL), U2I_OK);
    }
    roaring_bitmap_t *const deny = roaring_bitmap_from_range(2000, COUNT, 1);
    const float one = 1;
    const struct flat_query q = {.vector = &one, .k = 10, .deny = deny};
    oom_countdown = 0;
    assert_int_equal(flat_search(f, &q, best, &n, NULL), U2I_OK);
    assert_int_equal(oom_countdown, -1); /* the bits were asked for, and refused */
    assert_int_equal(n, 10);
    assert_int_equal(best[0].row, 1999);
    roaring_bitmap_free(deny);
    flat_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_survives_every_failure),
        cmocka_unit_test(arena_survives_every_failure),
        cmocka_unit_test(intern_survives_every_failure),
        cmocka_unit_test(flat_survives_every_failure),
        cmocka_unit_test(search_needs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
