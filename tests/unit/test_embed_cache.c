/* The memory of texts that were embedded lately: its bound, its order, its sharing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "embed/embed_cache.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { DIM = 8, BYTES = 4000 };

static void the_cache_is_bounded_and_forgets_the_least_recently_used(void **state) {
    (void)state;
    u2i_error_t err;
    struct embed_cache *c = NULL;
    float v[DIM] = {0}, got[DIM];
    char name[16];
    assert_int_equal(embed_cache_new(DIM, BYTES, &c, &err), U2I_OK);
    for (int i = 0; i < 1000; i++) {
        const int n = snprintf(name, sizeof name, "text %d", i);
        v[0] = (float)i;
        embed_cache_put(c, name, (size_t)n, v);
        embed_cache_put(c, name, (size_t)n, v); /* once more is no more */
        assert_true(embed_cache_bytes(c) <= BYTES);
        assert_true(embed_cache_get(c, name, (size_t)n, got) && got[0] == v[0]);
        assert_true(embed_cache_get(c, "text 0", 6, got) && got[0] == 0); /* always in use */
    }
    assert_true(embed_cache_bytes(c) > 3000);
    assert_false(embed_cache_get(c, "text 1", 6, got));
    assert_true(embed_cache_get(c, "text 998", 8, got));
    static char huge[5000];
    embed_cache_put(c, huge, sizeof huge, v); /* too large to be kept, and nothing went for it */
    assert_false(embed_cache_get(c, huge, sizeof huge, got));
    assert_true(embed_cache_get(c, "text 998", 8, got));
    embed_cache_free(c);
}

static void texts_are_compared_as_a_whole(void **state) {
    (void)state;
    u2i_error_t err;
    struct embed_cache *c = NULL;
    const float v[DIM] = {1}, w[DIM] = {2};
    float got[DIM];
    assert_int_equal(embed_cache_new(DIM, BYTES, &c, &err), U2I_OK);
    embed_cache_put(c, "ab", 2, v);
    embed_cache_put(c, "a\0b", 3, w);
    assert_false(embed_cache_get(c, "a", 1, got));
    assert_false(embed_cache_get(c, "abc", 3, got));
    assert_false(embed_cache_get(c, "", 0, got));
    assert_true(embed_cache_get(c, "ab", 2, got) && got[0] == 1);
    assert_true(embed_cache_get(c, "a\0b", 3, got) && got[0] == 2);
    embed_cache_free(c);
    embed_cache_free(NULL);
}

static void *use_often(void *arg) {
    struct embed_cache *const c = arg;
    for (int i = 0; i < 5000; i++) {
        float v[DIM] = {(float)(i % 100)}, got[DIM];
        char name[16];
        const int n = snprintf(name, sizeof name, "text %d", i % 100);
        if (embed_cache_get(c, name, (size_t)n, got) && got[0] != v[0]) {
            return c; /* any address: it has failed */
        }
        embed_cache_put(c, name, (size_t)n, v);
    }
    return NULL;
}

static void threads_share_a_cache(void **state) {
    (void)state;
    u2i_error_t err;
    struct embed_cache *c = NULL;
    pthread_t threads[4];
    assert_int_equal(embed_cache_new(DIM, BYTES, &c, &err), U2I_OK);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_often, c), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_true(embed_cache_bytes(c) <= BYTES);
    embed_cache_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_is_bounded_and_forgets_the_least_recently_used),
        cmocka_unit_test(texts_are_compared_as_a_whole),
        cmocka_unit_test(threads_share_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
