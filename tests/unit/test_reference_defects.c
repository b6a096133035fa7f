/* What the reference implementation gets wrong when it is run, one test each, named after the defect
 * and promising its absence. Vectors are the caller's, so that expected scores can be worked out by
 * hand: a profile of weights a (x axis) and b (y axis) scores a / sqrt(a^2 + b^2) on the x axis. */
#include "shop.h"

#include <signal.h>
#include <sys/wait.h>

#define DAY_MS ((int64_t)86400000)

static u2i_t *defects_open(void) {
    u2i_t *u = shop_open(":memory:", "none", SHOP_DIM);
    shop_put(u, "x", "X", (const float[]){1, 0, 0, 0});
    shop_put(u, "y", "Y", (const float[]){0, 1, 0, 0});
    shop_put(u, "z", "Z", (const float[]){0, 0, 1, 0});
    shop_put(u, "w", "W", (const float[]){0, 0, 0, 1});
    return u;
}

static float defects_share(double a, double b) {
    return (float)(a / sqrt(a * a + b * b));
}

static void weights_stay_with_their_item_when_one_is_missing(void **state) {
    (void)state;
    u2i_t *u = defects_open();
    shop_put(u, "gone", NULL, (const float[]){0, 0, 1, 0});
    const int64_t t = shop_now_ms() - 10000;
    shop_set(u, "profile_mode", "decay");
    shop_event(u, "u", "purchase", "x", t + 3000);
    shop_event(u, "u", "view", "gone", t + 2000);
    shop_event(u, "u", "view", "y", t + 1000);
    u2i_error_t err;
    const char *id = "gone";
    shop_ok(u2i_delete_items(u, &id, 1, NULL, &err), &err);

    const float x = shop_score(u, "u", "x");

    /* purchase 5 x 0.9^0 on x; view 1 x 0.9^2 on y: y keeps the weight of its own event and rank. */
    assert_float_equal(x, defects_share(5, 0.81), 1e-5);
    assert_float_equal(shop_score(u, "u", "y"), defects_share(0.81, 5), 1e-5);
    u2i_close(u);
}

static void dislike_purchase_and_view_weigh_differently(void **state) {
    (void)state;
    u2i_t *u = defects_open();
    const int64_t t = shop_now_ms() - 10000;
    shop_event(u, "u", "purchase", "x", t); /* one basket: equal times share a rank */
    shop_event(u, "u", "view", "y", t);
    shop_event(u, "u", "dislike", "z", t);

    assert_float_equal(shop_score(u, "u", "x"), defects_share(5, 1), 1e-5);
    assert_float_equal(shop_score(u, "u", "y"), defects_share(1, 5), 1e-5);
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "u";
    q.flags = U2I_KEEP_SEEN;
    u2i_result_t *r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "z"), -1); /* disliked: left out even when seen items are kept */
    u2i_result_free(r);
    u2i_close(u);
}

static void negative_weights_neither_flip_signs_nor_divide_by_zero(void **state) {
    (void)state;
    u2i_t *u = defects_open();
    shop_set(u, "action.dislike", "-2");
    const int64_t t = shop_now_ms() - 10000;
    /* 2 x 1 - 2 = 0: the reference divides by the sum of the weights. */
    shop_event(u, "zero", "view", "x", t);
    shop_event(u, "zero", "view", "y", t);
    shop_event(u, "zero", "dislike", "z", t);
    /* 1 - 2 < 0: dividing by a negative sum would turn the liking of x into its opposite. */
    shop_event(u, "minus", "view", "x", t);
    shop_event(u, "minus", "dislike", "z", t);
    /* Only dislikes: no direction to recommend in, so a cold start. */
    shop_event(u, "hater", "dislike", "z", t);

    assert_float_equal(shop_score(u, "zero", "x"), 0.40824829f, 1e-5);
    assert_float_equal(shop_score(u, "minus", "x"), 0.44721360f, 1e-5);
    u2i_result_t *r = shop_recommend(u, "hater");
    assert_true(u2i_result_count(r) == 3);
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        assert_true(u2i_result_hit(r, i)->source == U2I_FROM_POPULAR ||
                    u2i_result_hit(r, i)->source == U2I_FROM_CATALOGUE);
        assert_true(isfinite(u2i_result_hit(r, i)->score));
    }
    u2i_result_free(r);
    u2i_close(u);
}

static void timestamps_and_the_half_life_are_used(void **state) {
    (void)state;
    u2i_t *u = defects_open();
    const int64_t t = shop_now_ms() - 10000;
    shop_event(u, "u", "view", "x", t);
    shop_event(u, "u", "view", "y", t - 7 * DAY_MS);

    shop_set(u, "profile_mode", "half_life");
    shop_set(u, "half_life_s", "604800");
    assert_float_equal(shop_score(u, "u", "x"), defects_share(1, 0.5), 1e-5);

    shop_set(u, "half_life_s", "302400");
    assert_float_equal(shop_score(u, "u", "x"), defects_share(1, 0.25), 1e-5);

    shop_set(u, "profile_mode", "rank"); /* the default: 2^-0.5 for the rank, times the half-life */
    shop_set(u, "half_life_s", "604800");
    assert_float_equal(shop_score(u, "u", "x"), defects_share(1, 0.5 / sqrt(2)), 1e-5);
    u2i_close(u);
}

static void a_quote_in_a_category_neither_breaks_nor_injects_the_filter(void **state) {
    (void)state;
    static const char nasty[] = "O\"Neil' or category != \"\\";
    u2i_t *u = defects_open();
    shop_put(u, "n", nasty, (const float[]){1, 1, 0, 0});
    const u2i_param_t category = {.name = "c", .type = U2I_STRING, .value.s = nasty};
    u2i_query_t q = U2I_QUERY_INIT;
    q.filter = "category == {c}";
    q.params = &category;
    q.params_n = 1;

    u2i_result_t *r = shop_ask(u, &q);

    assert_int_equal(u2i_result_count(r), 1);
    assert_string_equal(u2i_result_hit(r, 0)->id, "n");
    assert_string_equal(u2i_result_hit(r, 0)->category, nasty);
    u2i_result_free(r);
    u2i_close(u);
}

static void seen_items_do_not_come_back(void **state) {
    (void)state;
    u2i_t *u = defects_open();
    const int64_t t = shop_now_ms() - 10000;
    shop_event(u, "u", "purchase", "x", t);
    shop_event(u, "u", "view", "y", t);
    shop_event(u, "u", "impression", "z", t); /* only shown, not acted on */

    u2i_result_t *r = shop_recommend(u, "u");
    assert_int_equal(shop_find(r, "x"), -1);
    assert_int_equal(shop_find(r, "y"), -1);
    assert_true(shop_find(r, "z") >= 0);
    u2i_result_free(r);

    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "u";
    q.flags = U2I_KEEP_SEEN;
    r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "x"), 0);
    u2i_result_free(r);
    u2i_close(u);
}

static void cold_start_keeps_filter_and_exclusions_and_counts_what_is_popular(void **state) {
    (void)state;
    u2i_t *u = defects_open();
    const int64_t t = shop_now_ms() - 10000;
    shop_event(u, "a", "view", "z", t);
    shop_event(u, "b", "view", "z", t);
    shop_event(u, "a", "view", "w", t);
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "stranger";

    u2i_result_t *r = shop_ask(u, &q); /* by events, not by who was put first */
    assert_int_equal(u2i_result_count(r), 4);
    assert_string_equal(u2i_result_hit(r, 0)->id, "z");
    assert_float_equal(u2i_result_hit(r, 0)->score, 1, 1e-6);
    assert_int_equal(u2i_result_hit(r, 0)->source, U2I_FROM_POPULAR);
    assert_string_equal(u2i_result_hit(r, 1)->id, "w");
    assert_float_equal(u2i_result_hit(r, 1)->score, 0.5, 1e-6);
    assert_int_equal(u2i_result_hit(r, 2)->source, U2I_FROM_CATALOGUE);
    u2i_result_free(r);

    const char *exclude[] = {"z"};
    q.filter = "category in [\"Z\", \"W\", \"X\"]";
    q.exclude = exclude;
    q.exclude_n = 1;
    q.limit = 1;
    r = shop_ask(u, &q);
    assert_int_equal(u2i_result_count(r), 1);
    assert_string_equal(u2i_result_hit(r, 0)->id, "w");
    u2i_result_free(r);
    u2i_close(u);
}

static void a_profile_is_updated_not_replaced(void **state) {
    (void)state;
    u2i_t *u = defects_open();
    const int64_t t = shop_now_ms() - 10000;
    const u2i_event_t first[] = {{.item = "x", .action = "view", .time_ms = t}};
    const u2i_event_t second[] = {{.item = "y", .action = "view", .time_ms = t + 1000}};
    u2i_interactions_t in = U2I_INTERACTIONS_INIT;
    u2i_error_t err;
    size_t used;
    in.user = "u";
    in.decay = 0.9;
    in.n = 1;

    in.events = first;
    shop_ok(u2i_update_user_profile(u, &in, &used, &err), &err);
    in.events = second;
    shop_ok(u2i_update_user_profile(u, &in, &used, &err), &err);

    assert_float_equal(shop_score(u, "u", "y"), defects_share(1, 0.9), 1e-5);
    assert_float_equal(shop_score(u, "u", "x"), defects_share(0.9, 1), 1e-5);
    u2i_close(u);
}

static void an_event_is_visible_to_the_next_read(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    u2i_t *writer = shop_open(path, "none", SHOP_DIM);
    shop_put(writer, "x", NULL, (const float[]){1, 0, 0, 0});
    shop_put(writer, "y", NULL, (const float[]){0, 1, 0, 0});
    u2i_t *reader = shop_open(path, NULL, 0);
    for (int i = 0; i < 300; i++) { /* the reference: 300 of 300 stale */
        char user[16];
        (void)snprintf(user, sizeof(user), "u%d", i);
        shop_event(writer, user, "view", i % 2 == 0 ? "x" : "y", 0);
        u2i_t *const handles[] = {writer, reader};
        for (size_t h = 0; h < 2; h++) {
            u2i_result_t *r = shop_recommend(handles[h], user);
            assert_int_equal(u2i_result_count(r), 1);
            assert_string_equal(u2i_result_hit(r, 0)->id, i % 2 == 0 ? "y" : "x");
            assert_int_equal(u2i_result_hit(r, 0)->source, U2I_FROM_PROFILE);
            u2i_result_free(r);
        }
    }
    assert_int_equal(u2i_close(reader), U2I_OK);
    assert_int_equal(u2i_close(writer), U2I_OK);
    shop_remove(path);
}

static void everything_is_there_after_a_restart(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, "none", SHOP_DIM);
    shop_put(u, "x", "X", (const float[]){1, 0, 0, 0});
    shop_put(u, "y", "Y", (const float[]){1, 1, 0, 0});
    shop_put(u, "z", "Z", (const float[]){0, 0, 1, 0});
    shop_event(u, "u", "view", "x", 0);
    u2i_result_t *before = shop_recommend(u, "u");
    assert_int_equal(u2i_close(u), U2I_OK);

    u = shop_open(path, NULL, 0);
    u2i_result_t *after = shop_recommend(u, "u"); /* no call to load anything */

    assert_int_equal(u2i_result_count(after), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(u2i_result_hit(after, i)->id, u2i_result_hit(before, i)->id);
        assert_float_equal(u2i_result_hit(after, i)->score, u2i_result_hit(before, i)->score, 0);
    }
    u2i_result_free(before);
    u2i_result_free(after);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

/* A process that is killed right after the acknowledgement; power cuts: tests/fault. */
static void an_acknowledged_event_survives_a_kill(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, "none", SHOP_DIM);
    shop_put(u, "x", NULL, (const float[]){1, 0, 0, 0});
    shop_put(u, "y", NULL, (const float[]){0, 1, 0, 0});
    assert_int_equal(u2i_close(u), U2I_OK);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        u2i_t *c;
        const u2i_event_t ev = {.user = "u", .item = "x", .action = "view"};
        if (u2i_open(path, NULL, &c, NULL) != U2I_OK ||
            u2i_record(c, &ev, 1, sizeof(ev), NULL, NULL) != U2I_OK) {
            _exit(1);
        }
        (void)kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    u = shop_open(path, NULL, 0);
    u2i_result_t *r = shop_recommend(u, "u");
    assert_int_equal(u2i_result_count(r), 1);
    assert_string_equal(u2i_result_hit(r, 0)->id, "y");
    u2i_result_free(r);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

/* The reference's own usage: a small bilingual catalogue, a user's interactions newest first. */
static void the_references_usage_example_gives_the_ai_items_first(void **state) {
    (void)state;
    static const u2i_item_t items[] = {
        {.id = "1", .title = "深度学习入门", .text = "神经网络与人工智能基础", .category = "AI"},
        {.id = "2", .title = "机器学习实战", .text = "用Python学习人工智能算法", .category = "AI"},
        {.id = "3",
         .title = "人工智能导论",
         .text = "人工智能、神经网络与机器学习概述",
         .category = "AI"},
        {.id = "4",
         .title = "自然语言处理",
         .text = "深度学习与人工智能语言模型",
         .category = "AI"},
        {.id = "5", .title = "川菜食谱", .text = "家常菜的做法与调味", .category = "美食"},
        {.id = "6", .title = "日本旅行指南", .text = "东京和京都的景点", .category = "旅行"},
        {.id = "7", .title = "瑜伽基础", .text = "呼吸与体式练习", .category = "健身"},
        {.id = "8", .title = "股票投资", .text = "价值投资与理财", .category = "财经"},
    };
    const u2i_event_t interactions[] = {{.item = "1", .action = "purchase"},
                                        {.item = "2", .action = "favorite"},
                                        {.item = "unknown", .action = "click"},
                                        {.item = "5", .action = "view"}};
    u2i_t *u = shop_open(":memory:", "hash", 0);
    u2i_interactions_t in = U2I_INTERACTIONS_INIT;
    u2i_error_t err;
    size_t used;
    shop_ok(u2i_put_items(u, items, 8, sizeof(items[0]), &err), &err);
    in.user = "user_1";
    in.events = interactions;
    in.n = 4;
    in.decay = 0.9;

    shop_ok(u2i_update_user_profile(u, &in, &used, &err), &err);

    assert_int_equal(used, 3); /* the unknown item is skipped, with its own weight */
    u2i_result_t *r = shop_recommend(u, "user_1");
    assert_string_equal(u2i_result_hit(r, 0)->category, "AI");
    assert_string_equal(u2i_result_hit(r, 1)->category, "AI");
    assert_non_null(u2i_result_hit(r, 0)->because);
    assert_int_equal(shop_find(r, "1"), -1); /* acted on: only if asked for */
    u2i_result_free(r);

    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "user_1";
    q.flags = U2I_KEEP_SEEN;
    r = shop_ask(u, &q);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(u2i_result_hit(r, i)->category, "AI");
    }
    u2i_result_free(r);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_stay_with_their_item_when_one_is_missing),
        cmocka_unit_test(dislike_purchase_and_view_weigh_differently),
        cmocka_unit_test(negative_weights_neither_flip_signs_nor_divide_by_zero),
        cmocka_unit_test(timestamps_and_the_half_life_are_used),
        cmocka_unit_test(a_quote_in_a_category_neither_breaks_nor_injects_the_filter),
        cmocka_unit_test(seen_items_do_not_come_back),
        cmocka_unit_test(cold_start_keeps_filter_and_exclusions_and_counts_what_is_popular),
        cmocka_unit_test(a_profile_is_updated_not_replaced),
        cmocka_unit_test(an_event_is_visible_to_the_next_read),
        cmocka_unit_test(everything_is_there_after_a_restart),
        cmocka_unit_test(an_acknowledged_event_survives_a_kill),
        cmocka_unit_test(the_references_usage_example_gives_the_ai_items_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
