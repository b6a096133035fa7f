/* The index as the public interface shows it: when it is used, what is said of a search, and that other
 * handles and other questions (similar users) follow the same settings. */
#include "shop.h"

enum { ITEMS = 600, WIDE = 16, BATCH = 200 };

static float random_part(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 24) - 0.5f;
}

static void put_items(u2i_t *u) {
    static float vectors[ITEMS][WIDE];
    static char ids[ITEMS][16];
    u2i_item_t items[BATCH];
    u2i_error_t err;
    uint32_t state = 7;
    for (int i = 0; i < ITEMS; i++) {
        for (int d = 0; d < WIDE; d++) {
            vectors[i][d] = random_part(&state);
        }
        (void)snprintf(ids[i], sizeof ids[i], "i%d", i);
    }
    for (int at = 0; at < ITEMS; at += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            items[i] = (u2i_item_t){.id = ids[at + i],
                                    .category = (at + i) % 50 == 0 ? "rare" : "common",
                                    .vector = vectors[at + i]};
        }
        shop_ok(u2i_put_items(u, items, BATCH, sizeof items[0], &err), &err);
    }
}

static void build(u2i_t *u) {
    u2i_error_t err;
    shop_ok(u2i_build_index(u, NULL, NULL, &err), &err);
}

static u2i_stats_t stats_of(u2i_t *u) {
    u2i_stats_t s = U2I_STATS_INIT;
    u2i_error_t err;
    shop_ok(u2i_stats(u, &s, &err), &err);
    return s;
}

/* The nearest to item i, and how they were found. */
static u2i_explain_t similar_to(u2i_t *u, const char *item, const char *filter) {
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    q.item = item;
    q.filter = filter;
    shop_ok(u2i_similar_items(u, &q, &r, &err), &err);
    assert_int_equal(u2i_result_count(r), 10);
    assert_int_equal(shop_find(r, item), -1);
    const u2i_explain_t e = *u2i_result_explain(r);
    u2i_result_free(r);
    return e;
}

static void the_index_is_used_from_the_size_that_the_setting_says(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", WIDE);
    put_items(u);
    u2i_explain_t e = similar_to(u, "i5", NULL);
    assert_string_equal(e.search, "exact");
    assert_true(e.struct_size == sizeof e && e.ef == 0 && e.rounds == 0);
    assert_int_equal(e.compared, ITEMS - 1);
    assert_int_equal(e.passing, ITEMS - 1);
    assert_int_equal(stats_of(u).index_items, 0);

    shop_set(u, "index_exact_max", "100");
    build(u);
    e = similar_to(u, "i5", NULL);
    assert_non_null(strstr(e.search, "walk")); /* the item itself is excluded */
    assert_true(e.ef >= 10 && e.compared > 0 && e.rounds >= 1);
    assert_int_equal(stats_of(u).index_items, ITEMS);
    assert_int_equal(stats_of(u).index_pending, 0);
    assert_int_equal(stats_of(u).index_ef, e.ef);
    assert_true(stats_of(u).index_bytes > 0);

    shop_set(u, "index_ef_search", "77");
    assert_int_equal(similar_to(u, "i5", NULL).ef, 77);
    shop_set(u, "index_exact_max", "4294967295");
    build(u);
    assert_string_equal(similar_to(u, "i5", NULL).search, "exact");
    assert_int_equal(stats_of(u).index_items, 0);
    u2i_close(u);
}

static void a_filter_that_few_items_pass_is_answered_by_a_scan_of_these(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", WIDE);
    shop_set(u, "index_exact_max", "100");
    put_items(u);
    build(u);
    const u2i_explain_t e = similar_to(u, "i5", "category == \"rare\"");
    assert_string_equal(e.search, "scan");
    assert_int_equal(e.compared, ITEMS / 50);
    assert_int_equal(e.passing, ITEMS / 50);
    u2i_close(u);
}

static void a_question_without_a_search_says_so(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", WIDE);
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    put_items(u);
    shop_ok(u2i_popular(u, &q, &r, &err), &err);
    assert_string_equal(u2i_result_explain(r)->search, "none");
    u2i_result_free(r);
    assert_null(u2i_result_explain(NULL));
    u2i_close(u);
}

static void similar_users_are_indexed_too(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", WIDE);
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    put_items(u);
    for (int i = 0; i < ITEMS; i++) {
        char user[16];
        char item[16];
        (void)snprintf(user, sizeof user, "u%d", i);
        (void)snprintf(item, sizeof item, "i%d", i);
        shop_event(u, user, "view", item, shop_now_ms());
        (void)snprintf(user, sizeof user, "twin%d", i);
        shop_event(u, user, "view", item, shop_now_ms());
    }
    q.user = "u9";
    shop_ok(u2i_similar_users(u, &q, &r, &err), &err);
    assert_string_equal(u2i_result_explain(r)->search, "exact");
    u2i_result_free(r);
    shop_set(u, "index_exact_max", "100");
    build(u);
    for (int i = 0; i < ITEMS; i += 50) {
        char user[16];
        char twin[16];
        (void)snprintf(user, sizeof user, "u%d", i);
        (void)snprintf(twin, sizeof twin, "twin%d", i);
        q.user = user;
        shop_ok(u2i_similar_users(u, &q, &r, &err), &err);
        assert_int_equal(u2i_result_count(r), 10);
        assert_int_equal(shop_find(r, twin), 0);
        assert_int_equal(shop_find(r, user), -1);
        build(u); /* the first question after a change of settings makes the profiles anew */
        u2i_result_free(r);
    }
    q.user = "u9";
    shop_ok(u2i_similar_users(u, &q, &r, &err), &err);
    assert_non_null(strstr(u2i_result_explain(r)->search, "walk"));
    u2i_result_free(r);
    u2i_close(u);
}

static void another_handle_takes_the_settings_over(void **state) {
    (void)state;
    char path[200];
    shop_path(path, sizeof path);
    u2i_t *a = shop_open(path, "none", WIDE);
    u2i_t *b = shop_open(path, "none", WIDE);
    put_items(a);
    assert_string_equal(similar_to(b, "i5", NULL).search, "exact");
    shop_set(a, "index_exact_max", "100");
    build(b);
    assert_non_null(strstr(similar_to(b, "i5", NULL).search, "walk"));
    assert_int_equal(stats_of(b).index_items, ITEMS);
    u2i_close(b);
    u2i_close(a);
    a = shop_open(path, "none", WIDE);
    assert_non_null(strstr(similar_to(a, "i5", NULL).search, "walk"));
    assert_true(stats_of(a).index_mapped_bytes > 0);
    u2i_close(a);
    shop_remove(path);
}

static int note_progress(void *ctx, uint64_t done, uint64_t total) {
    uint64_t *seen = ctx;
    assert_true(done <= total);
    seen[0]++;
    seen[1] = total;
    return 0;
}

static void building_tells_its_progress_and_refuses_nothing_but_a_null_handle(void **state) {
    (void)state;
    u2i_error_t err;
    uint64_t seen[2] = {0};
    u2i_t *u = shop_open(":memory:", "none", WIDE);
    shop_ok(u2i_build_index(u, note_progress, seen, &err), &err); /* there is nothing to do */
    assert_int_equal(seen[1], 0);
    shop_set(u, "index_exact_max", "100");
    put_items(u);
    shop_ok(u2i_build_index(u, note_progress, seen, &err), &err);
    assert_true(seen[0] > 0);
    assert_int_equal(u2i_build_index(NULL, NULL, NULL, &err), U2I_EINVAL);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_index_is_used_from_the_size_that_the_setting_says),
        cmocka_unit_test(a_filter_that_few_items_pass_is_answered_by_a_scan_of_these),
        cmocka_unit_test(a_question_without_a_search_says_so),
        cmocka_unit_test(similar_users_are_indexed_too),
        cmocka_unit_test(another_handle_takes_the_settings_over),
        cmocka_unit_test(building_tells_its_progress_and_refuses_nothing_but_a_null_handle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
