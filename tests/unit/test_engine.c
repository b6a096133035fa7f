/* What the engine promises beside the answers themselves: histories that stay right, popularity that
 * can be told apart from order, neighbours, reasons, cold start, word weights. */
#include "shop.h"

#define DAY_MS ((int64_t)86400000)

static u2i_t *engine_shop(const char *location) {
    u2i_t *u = shop_open(location, "none", SHOP_DIM);
    shop_put(u, "x", "X", (const float[]){1, 0, 0, 0});
    shop_put(u, "y", "Y", (const float[]){0, 1, 0, 0});
    shop_put(u, "z", "Z", (const float[]){0, 0, 1, 0});
    shop_put(u, "w", "W", (const float[]){0, 0, 0, 1});
    return u;
}

static void a_late_event_takes_its_place_in_time(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    const int64_t t = shop_now_ms() - 30 * DAY_MS;
    shop_set(u, "profile_mode", "decay");
    shop_event(u, "u", "view", "x", t + 2000);
    (void)shop_score(u, "u", "x"); /* the history is cached from here on */
    shop_event(u, "u", "view", "z", t);
    shop_event(u, "u", "view", "y", t + 1000);

    const double n = sqrt(1 + 0.9 * 0.9 + 0.81 * 0.81);
    assert_float_equal(shop_score(u, "u", "x"), (float)(1 / n), 1e-5);
    assert_float_equal(shop_score(u, "u", "y"), (float)(0.9 / n), 1e-5);
    assert_float_equal(shop_score(u, "u", "z"), (float)(0.81 / n), 1e-5);
    u2i_close(u);
}

static void only_the_newest_window_counts_but_all_is_seen(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    const int64_t t = shop_now_ms() - 10000;
    shop_set(u, "window", "2");
    shop_event(u, "u", "view", "x", t);
    shop_event(u, "u", "view", "y", t + 1);
    shop_event(u, "u", "view", "z", t + 2);
    assert_float_equal(shop_score(u, "u", "x"), 0, 1e-6); /* read anew */
    shop_event(u, "u", "view", "z", t + 3);
    assert_float_equal(shop_score(u, "u", "y"), 0, 1e-6); /* kept up to date */
    u2i_result_t *r = shop_recommend(u, "u");
    assert_int_equal(u2i_result_count(r), 1);
    assert_string_equal(u2i_result_hit(r, 0)->id, "w");
    u2i_result_free(r);
    u2i_close(u);
}

/* The store numbers actions as they come; which of two at one time falls out of the window is up to their
 * names. */
static void the_windows_edge_does_not_depend_on_who_came_first(void **state) {
    (void)state;
    static const char *const orders[2][2] = {{"view", "buy"}, {"buy", "view"}};
    float scores[2][2];
    for (size_t i = 0; i < 2; i++) {
        u2i_t *u = engine_shop(":memory:");
        const int64_t t = shop_now_ms() - 10000;
        shop_set(u, "window", "2");
        shop_event(u, "u", "view", "y", t + 1);
        shop_event(u, "u", orders[i][0], "x", t);
        shop_event(u, "u", orders[i][1], "x", t);
        scores[i][0] = shop_score(u, "u", "x"); /* read anew */
        shop_event(u, "u", orders[i][0], "z", t + 2);
        shop_event(u, "u", orders[i][1], "z", t + 2);
        shop_event(u, "u", "view", "y", t + 2); /* of z only what comes first stays */
        scores[i][1] = shop_score(u, "u", "z"); /* kept up to date */
        u2i_close(u);
    }
    assert_true(scores[0][0] > 0.8f && scores[0][1] > 0.8f); /* "buy" is before "view" */
    assert_float_equal(scores[0][0], scores[1][0], 1e-6);
    assert_float_equal(scores[0][1], scores[1][1], 1e-6);
}

static void what_has_no_weight_takes_no_place(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    const int64_t t = shop_now_ms() - 10000;
    shop_set(u, "window", "2");
    for (int round = 0; round < 2; round++) { /* read anew, then kept up to date */
        shop_event(u, "u", "view", "x", t + round * 100);
        shop_event(u, "u", "view", "y", t + round * 100);
        for (int i = 1; i < 5; i++) {
            shop_event(u, "u", "impression", "z", t + round * 100 + i);
            shop_event(u, "u", "dislike", "w", t + round * 100 + i);
        }
        assert_float_equal(shop_score(u, "u", "x"), 0.70710678f, 1e-5);
    }
    u2i_close(u);
}

static void a_dislike_holds_until_something_newer_is_said(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    const int64_t t = shop_now_ms() - 10000;
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "u";
    q.flags = U2I_KEEP_SEEN;
    shop_event(u, "u", "like", "x", t + 1);
    shop_event(u, "u", "dislike", "x", t + 2);
    u2i_result_t *r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "x"), -1);
    u2i_result_free(r);
    shop_event(u, "u", "view", "x", t); /* late: older than the dislike */
    r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "x"), -1);
    u2i_result_free(r);
    shop_event(u, "u", "like", "x", t + 3);
    r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "x"), 0);
    u2i_result_free(r);
    u2i_close(u);
}

static void an_event_with_a_known_id_changes_nothing(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    const u2i_event_t ev = {
        .user = "u", .item = "x", .action = "view", .id = "e1", .time_ms = shop_now_ms() - 1000};
    u2i_error_t err;
    for (size_t i = 0; i < 3; i++) {
        size_t recorded;
        shop_ok(u2i_record(u, &ev, 1, sizeof(ev), &recorded, &err), &err);
        assert_int_equal(recorded, i == 0 ? 1 : 0);
    }
    u2i_stats_t s = U2I_STATS_INIT;
    shop_ok(u2i_stats(u, &s, &err), &err);
    assert_int_equal(s.events, 1);
    u2i_close(u);
}

static void the_reason_is_the_item_that_pulled_most(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    const int64_t t = shop_now_ms() - 10000;
    shop_put(u, "near-x", NULL, (const float[]){0.9f, 0.1f, 0, 0});
    shop_put(u, "near-y", NULL, (const float[]){0.1f, 0.9f, 0, 0});
    shop_event(u, "u", "purchase", "x", t);
    shop_event(u, "u", "click", "x", t + 1);
    shop_event(u, "u", "view", "y", t);
    u2i_result_t *r = shop_recommend(u, "u");
    assert_string_equal(u2i_result_hit(r, 0)->id, "near-x");
    assert_string_equal(u2i_result_hit(r, 0)->because, "x");
    assert_string_equal(u2i_result_hit(r, 0)->because_title, "x");
    assert_string_equal(u2i_result_hit(r, 0)->because_action, "click");
    assert_true(u2i_result_hit(r, 0)->because_share > 0.9f);
    assert_string_equal(u2i_result_hit(r, 1)->id, "near-y");
    assert_string_equal(u2i_result_hit(r, 1)->because, "y"); /* .71 x .99 beats 5.0 x .11 */
    u2i_result_free(r);
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "u";
    q.flags = U2I_NO_REASONS;
    r = shop_ask(u, &q);
    assert_null(u2i_result_hit(r, 0)->because);
    u2i_result_free(r);
    u2i_close(u);
}

static void popularity_blends_long_term_and_recent(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    const int64_t t = shop_now_ms() - 10000;
    for (int i = 0; i < 10; i++) {
        shop_event(u, "a", "view", "x", t - 300 * DAY_MS + i); /* much, long ago */
    }
    shop_event(u, "b", "view", "y", t);
    shop_event(u, "b", "view", "y", t + 1);
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_error_t err;
    static const struct { const char *blend, *first; } cases[] = {{"0", "x"}, {"1", "y"}};
    for (size_t i = 0; i < 2; i++) {
        u2i_result_t *r;
        shop_set(u, "popular_blend", cases[i].blend);
        shop_ok(u2i_popular(u, &q, &r, &err), &err);
        assert_string_equal(u2i_result_hit(r, 0)->id, cases[i].first);
        u2i_result_free(r);
    }
    u2i_close(u);
}

static void deleting_a_user_takes_their_events_out_of_popularity(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    u2i_t *u = engine_shop(path);
    u2i_error_t err;
    const int64_t t = shop_now_ms() - 10000;
    shop_event(u, "fan", "purchase", "x", t);
    shop_event(u, "b", "view", "y", t);
    assert_int_equal(u2i_close(u), U2I_OK); /* popularity is saved with the fan's purchase */
    u = shop_open(path, NULL, 0);
    shop_ok(u2i_delete_user(u, "fan", &err), &err);
    for (int round = 0; round < 2; round++) {
        u2i_query_t q = U2I_QUERY_INIT;
        u2i_result_t *r;
        u2i_user_t *user;
        shop_ok(u2i_popular(u, &q, &r, &err), &err);
        assert_string_equal(u2i_result_hit(r, 0)->id, "y");
        assert_int_equal(u2i_result_hit(r, 1)->source, U2I_FROM_CATALOGUE);
        u2i_result_free(r);
        assert_int_equal(u2i_get_user(u, "fan", &user, &err), U2I_ENOTFOUND);
        assert_int_equal(u2i_delete_user(u, "fan", &err), U2I_ENOTFOUND);
        assert_int_equal(u2i_close(u), U2I_OK);
        u = shop_open(path, NULL, 0); /* and once more from the file */
    }
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void similar_users_have_similar_profiles_and_follow_events(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_error_t err;
    u2i_result_t *r;
    const int64_t t = shop_now_ms() - 10000;
    shop_event(u, "a", "view", "x", t);
    shop_event(u, "b", "view", "x", t);
    shop_event(u, "c", "view", "y", t);
    shop_event(u, "d", "dislike", "x", t); /* no profile */
    q.user = "a";
    shop_ok(u2i_similar_users(u, &q, &r, &err), &err);
    assert_int_equal(u2i_result_count(r), 2);
    assert_string_equal(u2i_result_hit(r, 0)->id, "b");
    assert_float_equal(u2i_result_hit(r, 0)->score, 1, 1e-5);
    u2i_result_free(r);
    for (int i = 0; i < 5; i++) {
        shop_event(u, "b", "purchase", "y", t + 1 + i);
        shop_event(u, "c", "purchase", "x", t + 1 + i);
    }
    shop_ok(u2i_similar_users(u, &q, &r, &err), &err);
    assert_string_equal(u2i_result_hit(r, 0)->id, "c");
    u2i_result_free(r);
    u2i_close(u);
}

static void unknown_items_are_kept_for_later_if_asked(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    shop_set(u, "unknown_item", "keep");
    shop_event(u, "u", "view", "later", shop_now_ms() - 10000);
    u2i_result_t *r = shop_recommend(u, "u");
    assert_int_equal(u2i_result_hit(r, 0)->source, U2I_FROM_CATALOGUE);
    u2i_result_free(r);
    shop_put(u, "later", NULL, (const float[]){0, 0, 1, 0});
    r = shop_recommend(u, "u");
    assert_string_equal(u2i_result_hit(r, 0)->id, "z");
    assert_int_equal(u2i_result_hit(r, 0)->source, U2I_FROM_PROFILE);
    u2i_result_free(r);
    u2i_close(u);
}

static void a_deleted_item_is_never_returned_and_its_events_wait(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    u2i_error_t err;
    const char *id = "x";
    size_t deleted;
    shop_event(u, "u", "view", "x", shop_now_ms() - 10000);
    shop_ok(u2i_delete_items(u, &id, 1, &deleted, &err), &err);
    assert_int_equal(deleted, 1);
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    q.user = "u";
    q.flags = U2I_KEEP_SEEN;
    r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "x"), -1);
    assert_int_equal(u2i_result_count(r), 3);
    u2i_result_free(r);
    shop_put(u, "x", NULL, (const float[]){1, 0, 0, 0});
    assert_float_equal(shop_score(u, "u", "x"), 1, 1e-5);
    u2i_close(u);
}

static void cold_start_tries_interests_then_attributes_then_popularity(void **state) {
    (void)state;
    static const u2i_item_t items[] = {
        {.id = "1", .title = "The Hobbit", .category = "fantasy", .text = "a dragon and a ring"},
        {.id = "2", .title = "Dune", .category = "science fiction", .text = "desert planet"},
        {.id = "3", .title = "Gone Girl", .category = "thriller", .text = "a wife disappears"},
    };
    static const u2i_user_t users[] = {
        {.id = "reader", .interests = "fantasy with a dragon"},
        {.id = "form", .attrs_json = "{\"likes\": [\"thriller\"], \"age\": 30}"},
        {.id = "blank"},
    };
    u2i_t *u = shop_open(":memory:", "hash", 0);
    u2i_error_t err;
    u2i_query_t q = U2I_QUERY_INIT;
    shop_ok(u2i_put_items(u, items, 3, sizeof(items[0]), &err), &err);
    shop_ok(u2i_put_users(u, users, 3, sizeof(users[0]), &err), &err);
    static const struct {
        const char *user, *interests, *first;
        int source;
    } cases[] = {
        {"reader", NULL, "1", U2I_FROM_INTERESTS},
        {"form", NULL, "3", U2I_FROM_ATTRIBUTES},
        {"form", "desert planet", "2", U2I_FROM_INTERESTS},
        {"nobody", "dragon ring", "1", U2I_FROM_INTERESTS},
        {"blank", NULL, NULL, U2I_FROM_CATALOGUE},
        {NULL, "!?", NULL, U2I_FROM_CATALOGUE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        q.user = cases[i].user;
        q.interests = cases[i].interests;
        u2i_result_t *r = shop_ask(u, &q);
        assert_int_equal(u2i_result_count(r), 3); /* filled up */
        if (cases[i].first != NULL) {
            assert_string_equal(u2i_result_hit(r, 0)->id, cases[i].first);
        }
        assert_int_equal(u2i_result_hit(r, 0)->source, cases[i].source);
        u2i_result_free(r);
    }
    u2i_close(u);
}

/* Word weights are learnt as the catalogue grows, by two handles in turn, and survive a restart. */
static void every_item_is_found_by_its_title_while_the_catalogue_grows(void **state) {
    (void)state;
    char path[256], id[16], title[64];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *h[2] = {shop_open(path, "hash", 256), shop_open(path, NULL, 0)};
    for (int i = 0; i < 200; i++) {
        (void)snprintf(id, sizeof(id), "i%03d", i);
        (void)snprintf(title, sizeof(title), "the common words of number %c%c%c", 'a' + i % 26,
                       'a' + i / 26 % 26, 'a' + i * 7 % 26);
        const u2i_item_t item = {.id = id, .title = title};
        shop_ok(u2i_put_items(h[i % 2], &item, 1, sizeof(item), &err), &err);
    }
    shop_ok(u2i_reembed(h[0], NULL, NULL, &err), &err);
    assert_int_equal(u2i_close(h[0]), U2I_OK);
    h[0] = shop_open(path, NULL, 0);
    for (int i = 0; i < 200; i += 7) {
        for (size_t k = 0; k < 2; k++) {
            u2i_query_t q = U2I_QUERY_INIT;
            u2i_result_t *r;
            (void)snprintf(id, sizeof(id), "i%03d", i);
            (void)snprintf(title, sizeof(title), "the common words of number %c%c%c", 'a' + i % 26,
                           'a' + i / 26 % 26, 'a' + i * 7 % 26);
            q.text = title;
            shop_ok(u2i_search(h[k], &q, &r, &err), &err);
            assert_string_equal(u2i_result_hit(r, 0)->id, id);
            assert_true(u2i_result_hit(r, 0)->score > 0.99f);
            u2i_result_free(r);
        }
    }
    assert_int_equal(u2i_close(h[0]), U2I_OK);
    assert_int_equal(u2i_close(h[1]), U2I_OK);
    shop_remove(path);
}

/* B has the file open while A changes it: B's very next answer knows, whatever it is about. */
static void another_handles_changes_count_in_the_next_answer(void **state) {
    (void)state;
    char path[256], value[32];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *a = engine_shop(path), *b = shop_open(path, NULL, 0);
    const int64_t t = shop_now_ms() - 10000;
    for (int i = 0; i < 5; i++) {
        shop_event(a, "gone", "purchase", "x", t + i);
    }
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    shop_ok(u2i_popular(b, &q, &r, &err), &err);
    assert_string_equal(u2i_result_hit(r, 0)->id, "x");
    u2i_result_free(r);

    shop_set(a, "window", "77");
    shop_ok(u2i_get_setting(b, "window", value, sizeof(value), &err), &err);
    assert_string_equal(value, "77");
    shop_ok(u2i_delete_user(a, "gone", &err), &err);
    shop_event(a, "z", "buy", "z", t);
    shop_event(b, "other", "view", "y", t); /* b writes before it has looked */
    assert_int_equal(u2i_close(b), U2I_OK); /* and may save what it has counted */
    b = shop_open(path, NULL, 0);
    u2i_t *const handles[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        shop_ok(u2i_popular(handles[i], &q, &r, &err), &err);
        assert_string_equal(u2i_result_hit(r, 0)->id, "z");
        assert_int_equal(shop_find(r, "y"), 1);
        assert_int_equal(u2i_result_hit(r, 2)->source, U2I_FROM_CATALOGUE);
        u2i_result_free(r);
    }
    assert_int_equal(u2i_close(a), U2I_OK);
    assert_int_equal(u2i_close(b), U2I_OK);
    shop_remove(path);
}

static void an_item_without_words_stays_without_a_vector(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "hash", 64);
    const u2i_item_t items[] = {{.id = "none", .title = "!?"}, {.id = "a", .title = "red apple"}};
    u2i_error_t err;
    u2i_stats_t s = U2I_STATS_INIT;
    shop_ok(u2i_put_items(u, items, 2, sizeof(items[0]), &err), &err);
    shop_ok(u2i_reembed(u, NULL, NULL, &err), &err);
    shop_ok(u2i_stats(u, &s, &err), &err);
    assert_int_equal(s.items_no_vector, 1);
    u2i_result_t *r = shop_recommend(u, NULL); /* still in the catalogue */
    assert_true(shop_find(r, "none") >= 0);
    u2i_result_free(r);
    u2i_close(u);
}

static void an_item_of_a_handle_that_was_behind_gets_the_newest_words(void **state) {
    (void)state;
    char path[256], id[16], title[32];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *a = shop_open(path, "hash", 64), *b = shop_open(path, NULL, 0);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(id, sizeof(id), "i%d", i);
        (void)snprintf(title, sizeof(title), "word%d common", i);
        const u2i_item_t item = {.id = id, .title = title};
        shop_ok(u2i_put_items(a, &item, 1, sizeof(item), &err), &err);
    }
    const u2i_item_t twin = {.id = "twin", .title = "word3 common"};
    shop_ok(u2i_put_items(b, &twin, 1, sizeof(twin), &err), &err);
    u2i_item_t *one, *two;
    shop_ok(u2i_get_item(a, "i3", &one, &err), &err);
    shop_ok(u2i_get_item(a, "twin", &two, &err), &err);
    for (int i = 0; i < 64; i++) {
        assert_float_equal(one->vector[i], two->vector[i], 1e-6);
    }
    u2i_item_free(one);
    u2i_item_free(two);
    assert_int_equal(u2i_close(a), U2I_OK);
    assert_int_equal(u2i_close(b), U2I_OK);
    shop_remove(path);
}

static int engine_count_user(void *ctx, const u2i_user_t *user) {
    *(size_t *)ctx += user->id != NULL;
    return 0;
}

static int engine_first_event(void *ctx, const u2i_event_t *ev) {
    (void)snprintf(ctx, 64, "%s %s %s", ev->user, ev->action, ev->item);
    return 1;
}

static void what_was_put_comes_back(void **state) {
    (void)state;
    u2i_t *u = engine_shop(":memory:");
    u2i_error_t err;
    u2i_item_t *item;
    u2i_user_t *user;
    size_t users = 0;
    char first[64];
    const u2i_user_t ada = {
        .id = "ada", .interests = "maths", .attrs_json = "{\"a\":1}", .decay = 0.5};
    shop_ok(u2i_put_users(u, &ada, 1, sizeof(ada), &err), &err);
    shop_ok(u2i_get_user(u, "ada", &user, &err), &err);
    assert_string_equal(user->interests, "maths");
    assert_string_equal(user->attrs_json, "{\"a\":1}");
    assert_float_equal(user->decay, 0.5, 0);
    u2i_user_free(user);
    shop_ok(u2i_get_item(u, "z", &item, &err), &err);
    assert_string_equal(item->title, "z");
    assert_string_equal(item->category, "Z");
    assert_null(item->text);
    assert_float_equal(item->vector[2], 1, 0);
    u2i_item_free(item);
    shop_event(u, "bob", "view", "x", shop_now_ms() - 5000);
    shop_event(u, "bob", "like", "y", shop_now_ms() - 4000);
    shop_ok(u2i_scan_users(u, engine_count_user, &users, &err), &err);
    assert_int_equal(users, 2);
    shop_ok(u2i_scan_events(u, NULL, 0, engine_first_event, first, &err), &err);
    assert_string_equal(first, "bob view x");
    shop_ok(u2i_scan_events(u, "bob", 1, engine_first_event, first, &err), &err);
    assert_string_equal(first, "bob like y");
    assert_int_equal(u2i_scan_events(u, "eve", 1, engine_first_event, first, &err), U2I_ENOTFOUND);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_event_takes_its_place_in_time),
        cmocka_unit_test(only_the_newest_window_counts_but_all_is_seen),
        cmocka_unit_test(the_windows_edge_does_not_depend_on_who_came_first),
        cmocka_unit_test(what_has_no_weight_takes_no_place),
        cmocka_unit_test(a_dislike_holds_until_something_newer_is_said),
        cmocka_unit_test(an_event_with_a_known_id_changes_nothing),
        cmocka_unit_test(the_reason_is_the_item_that_pulled_most),
        cmocka_unit_test(popularity_blends_long_term_and_recent),
        cmocka_unit_test(deleting_a_user_takes_their_events_out_of_popularity),
        cmocka_unit_test(similar_users_have_similar_profiles_and_follow_events),
        cmocka_unit_test(unknown_items_are_kept_for_later_if_asked),
        cmocka_unit_test(a_deleted_item_is_never_returned_and_its_events_wait),
        cmocka_unit_test(cold_start_tries_interests_then_attributes_then_popularity),
        cmocka_unit_test(every_item_is_found_by_its_title_while_the_catalogue_grows),
        cmocka_unit_test(another_handles_changes_count_in_the_next_answer),
        cmocka_unit_test(an_item_without_words_stays_without_a_vector),
        cmocka_unit_test(an_item_of_a_handle_that_was_behind_gets_the_newest_words),
        cmocka_unit_test(what_was_put_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
