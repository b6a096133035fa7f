/* The preset for shops: each of its rules, through the public API, before and after a training where that
 * may matter. "ann" goes for kind 0. */
#include "vertical.h"

static u2i_t *open_shop(void) {
    u2i_t *u = vertical_open(":memory:", "ecommerce");
    vertical_fill(u);
    vertical_event(u, "ann", "like", "0-00", -1);
    vertical_event(u, "ann", "like", "0-03", -1);
    return u;
}

/* ---- What can be bought ------------------------------------------------------------------------ */

static void check_stock(u2i_t *u) {
    static const char *const sold_out[] = {"flag", "count", "both"};
    for (size_t i = 0; i < 3; i++) {
        assert_false(vertical_shows(u, "ann", sold_out[i], 0));
        assert_false(vertical_shows(u, "stranger", sold_out[i], 0));
    }
    assert_true(vertical_shows(u, "ann", "there", 0));
    assert_true(vertical_shows(u, "ann", "silent", 0));
}

static void out_of_stock_is_never_recommended(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    vertical_item(u, "flag", "0-00", NULL, "{\"in_stock\": false}");
    vertical_item(u, "count", "0-00", NULL, "{\"stock\": 0}");
    vertical_item(u, "both", "0-00", NULL, "{\"in_stock\": true, \"stock\": 0}");
    vertical_item(u, "there", "0-00", NULL, "{\"in_stock\": true, \"stock\": 1}");
    vertical_item(u, "silent", "0-00", NULL, "{}");
    vertical_twice(u, check_stock);
    u2i_close(u);
}

static void out_of_stock_stays_out_of_every_kind_of_answer(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    float v[VERTICAL_DIM];
    vertical_item(u, "gone", "0-00", NULL, "{\"stock\": 0}");
    vertical_event(u, "bob", "purchase", "gone", 0);
    vertical_look("0-00", v);
    q.limit = U2I_LIMIT_MAX;
    q.rules = "pin gone at 1; promote id == \"gone\" share 100%; boost id == \"gone\" by 1000";
    r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "gone"), -1);
    u2i_result_free(r);
    shop_ok(u2i_popular(u, &q, &r, &err), &err);
    assert_int_equal(shop_find(r, "gone"), -1);
    u2i_result_free(r);
    q.vector = v;
    shop_ok(u2i_search(u, &q, &r, &err), &err);
    assert_int_equal(shop_find(r, "gone"), -1);
    u2i_result_free(r);
    q.item = "0-00";
    shop_ok(u2i_similar_items(u, &q, &r, &err), &err);
    assert_int_equal(shop_find(r, "gone"), -1);
    u2i_result_free(r);
    u2i_close(u);
}

static void check_changes(u2i_t *u) {
    vertical_item(u, "lamp", "0-00", NULL, "{\"stock\": 0, \"price\": 20}");
    assert_false(vertical_shows(u, "eve", "lamp", 0));
    vertical_item(u, "lamp", "0-00", NULL, "{\"stock\": 1, \"price\": 20}");
    u2i_result_t *r = vertical_ask(u, "eve", 0, U2I_LIMIT_MAX);
    assert_null(vertical_part(vertical_hit(r, "lamp"), "boost price"));
    u2i_result_free(r);
    vertical_item(u, "lamp", "0-00", NULL, "{\"stock\": 1, \"price\": 90}");
    r = vertical_ask(u, "eve", 0, U2I_LIMIT_MAX);
    assert_non_null(vertical_part(vertical_hit(r, "lamp"), "boost price > "));
    u2i_result_free(r);
}

static void stock_and_price_changes_count_at_once(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    vertical_item(u, "had", "0-00", NULL, "{\"price\": 20}");
    vertical_event(u, "eve", "purchase", "had", -2);
    vertical_twice(u, check_changes);
    u2i_close(u);
}

/* ---- Prices ------------------------------------------------------------------------------------ */

static void check_band(u2i_t *u) {
    static const struct {
        const char *id;
        bool lowered;
    } items[] = {{"cheap", true}, {"low", false}, {"high", false}, {"dear", true}, {"free", false}};
    char rules[U2I_RULES_MAX_BYTES + 1];
    u2i_error_t err;
    u2i_result_t *with = vertical_ask(u, "eve", 0, U2I_LIMIT_MAX);
    shop_ok(u2i_get_setting(u, "rules", rules, sizeof(rules), &err), &err);
    shop_set(u, "rules", "");
    u2i_result_t *without = vertical_ask(u, "eve", 0, U2I_LIMIT_MAX);
    shop_set(u, "rules", rules);
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        const u2i_hit_t *ruled = vertical_hit(with, items[i].id);
        const u2i_hit_t *plain = vertical_hit(without, items[i].id);
        const double factor = items[i].lowered ? 0.5 : 1;
        if (ruled->source == U2I_FROM_TASTE || ruled->source == U2I_FROM_NEIGHBOURS) {
            vertical_near(vertical_odds(ruled) / vertical_odds(plain), factor, 1e-3);
        } else { /* no odds without a training: half the score */
            assert_true(plain->score > 0);
            vertical_near((double)ruled->score / (double)plain->score, factor, 1e-5);
        }
    }
    u2i_result_free(with);
    u2i_result_free(without);
}

static void prices_far_from_the_history_have_half_the_odds(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    vertical_item(u, "had20", "0-01", NULL, "{\"price\": 20}");
    vertical_item(u, "had40", "0-02", NULL, "{\"price\": 40}");
    vertical_event(u, "eve", "purchase", "had20", -2);
    vertical_event(u, "eve", "purchase", "had40", -1);
    vertical_event(u, "eve", "like", "0-01", -1); /* something that the training knows */
    vertical_item(u, "cheap", "0-03", NULL, "{\"price\": 9.99}");
    vertical_item(u, "low", "0-04", NULL, "{\"price\": 10}");
    vertical_item(u, "high", "0-05", NULL, "{\"price\": 60}");
    vertical_item(u, "dear", "0-06", NULL, "{\"price\": 60.01}");
    vertical_item(u, "free", "0-07", NULL, "{}");
    vertical_twice(u, check_band);
    u2i_close(u);
}

/* ---- A page that is mixed ------------------------------------------------------------------------ */

static void put_many(u2i_t *u, const char *prefix, int n, const char *category, const char *attrs) {
    for (int i = 0; i < n; i++) {
        char id[32], look[32];
        (void)snprintf(id, sizeof(id), "%s%02d", prefix, i);
        (void)snprintf(look, sizeof(look), "0 %s%02d", prefix, i);
        vertical_item(u, id, look, category, attrs);
    }
}

static void check_variants(u2i_t *u) {
    static const uint32_t limits[] = {1, 10, 100, U2I_LIMIT_MAX};
    for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
        u2i_result_t *r = vertical_ask(u, "ann", 0, limits[l]);
        vertical_capped(r, "group", "shirt", 1, U2I_LIMIT_MAX);
        vertical_capped(r, "group", "coat", 1, U2I_LIMIT_MAX);
        u2i_result_free(r);
    }
    u2i_result_t *r = vertical_ask(u, "ann", 0, U2I_LIMIT_MAX);
    size_t groups = 0;
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        groups += strstr(u2i_result_hit(r, i)->attrs_json, "group") != NULL;
    }
    assert_int_equal(groups, 2);
    u2i_result_free(r);
}

static void one_variant_of_a_group_only(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    put_many(u, "shirt", 8, NULL, "{\"group\": \"shirt\"}");
    put_many(u, "coat", 8, NULL, "{\"group\": \"coat\"}");
    vertical_twice(u, check_variants);
    u2i_close(u);
}

static void check_brands(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, 10);
    assert_int_equal(u2i_result_count(r), 10);
    vertical_capped(r, "brand", "acme", 3, 10);
    u2i_result_free(r);
    r = vertical_ask(u, "ann", 0, 40);
    vertical_capped(r, "brand", "acme", 3, 10);
    u2i_result_free(r);
}

static void a_brand_takes_at_most_three_of_ten_places(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    put_many(u, "acme", 20, NULL, "{\"brand\": \"acme\"}");
    vertical_twice(u, check_brands);
    u2i_close(u);
}

static void check_categories(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, 40);
    assert_int_equal(u2i_result_count(r), 40);
    for (size_t from = 0; from + 10 <= 40; from++) {
        size_t n = 0;
        for (size_t i = from; i < from + 10; i++) {
            n += strcmp(u2i_result_hit(r, i)->category, "lamps") == 0;
        }
        assert_true(n <= 5);
    }
    u2i_result_free(r);
}

static void a_category_takes_at_most_five_of_ten_places(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    put_many(u, "lamp", 40, "lamps", NULL);
    vertical_twice(u, check_categories);
    u2i_close(u);
}

/* ---- Buying again -------------------------------------------------------------------------------- */

static void check_bought(u2i_t *u) {
    for (double days = 0; days <= 3000; days = days * 3 + 1) {
        assert_false(vertical_shows(u, "eve", "sofa", days));
        assert_false(vertical_shows(u, "eve", "chair", days));
    }
    assert_true(vertical_shows(u, "ann", "sofa", 0));
}

static void what_was_bought_does_not_return(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    vertical_item(u, "sofa", "0-sofa", NULL, "{\"consumable\": false}");
    vertical_item(u, "chair", "0-chair", NULL, NULL);
    vertical_event(u, "eve", "purchase", "sofa", -1);
    vertical_event(u, "eve", "buy", "chair", -1);
    vertical_event(u, "eve", "view", "chair", 0);
    vertical_twice(u, check_bought);
    u2i_close(u);
}

static void check_consumed(u2i_t *u) {
    static const char *const items[] = {"coffee", "tea"};
    for (size_t i = 0; i < 2; i++) {
        assert_false(vertical_shows(u, "eve", items[i], 0));
        assert_false(vertical_shows(u, "eve", items[i], 29.99));
        assert_true(vertical_shows(u, "eve", items[i], 30.01));
    }
}

static void a_bought_consumable_returns_after_its_time(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    vertical_item(u, "coffee", "0-coffee", NULL, "{\"consumable\": true}");
    vertical_item(u, "tea", "0-tea", NULL, "{\"consumable\": true}");
    vertical_event(u, "eve", "purchase", "coffee", -200);
    vertical_event(u, "eve", "purchase", "coffee", 0);
    vertical_event(u, "eve", "like", "coffee", -100);
    vertical_event(u, "eve", "buy", "tea", 0);
    vertical_twice(u, check_consumed);
    u2i_close(u);
}

static void check_seen(u2i_t *u) {
    static const struct {
        const char *id;
        double days;
    } returns[] = {{"viewed", 2}, {"clicked", 2}, {"carted", 14}, {"liked", 14}, {"noted", 14}};
    for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
        assert_false(vertical_shows(u, "eve", returns[i].id, returns[i].days - 0.01));
        assert_true(vertical_shows(u, "eve", returns[i].id, returns[i].days + 0.01));
    }
}

static void what_was_only_looked_at_or_wished_for_returns(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    static const char *const done[][2] = {{"viewed", "view"},
                                          {"clicked", "click"},
                                          {"carted", "add_cart"},
                                          {"liked", "like"},
                                          {"noted", "favorite"}};
    for (size_t i = 0; i < sizeof(done) / sizeof(done[0]); i++) {
        vertical_item(u, done[i][0], "0-00", NULL, NULL);
        vertical_event(u, "eve", done[i][1], done[i][0], 0);
    }
    vertical_twice(u, check_seen);
    u2i_close(u);
}

static void check_disliked(u2i_t *u) {
    u2i_query_t q = U2I_QUERY_INIT;
    assert_false(vertical_shows(u, "eve", "ugly", 0));
    assert_false(vertical_shows(u, "eve", "ugly", 1000));
    q.user = "eve";
    q.limit = U2I_LIMIT_MAX;
    q.flags = U2I_KEEP_SEEN;
    u2i_result_t *r = shop_ask(u, &q);
    assert_int_equal(shop_find(r, "ugly"), -1);
    assert_true(shop_find(r, "forgiven") >= 0); /* the newest yes or no decides */
    u2i_result_free(r);
}

static void what_is_disliked_stays_away_until_it_is_liked(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    vertical_item(u, "ugly", "0-ugly", NULL, NULL);
    vertical_item(u, "forgiven", "0-forgiven", NULL, NULL);
    vertical_event(u, "eve", "like", "ugly", -2);
    vertical_event(u, "eve", "dislike", "ugly", -1);
    vertical_event(u, "eve", "dislike", "forgiven", -2);
    vertical_event(u, "eve", "view", "forgiven", -1);
    assert_true(vertical_shows(u, "eve", "forgiven", 2));
    vertical_twice(u, check_disliked);
    u2i_close(u);
}

/* ---- What goes on ------------------------------------------------------------------------------- */

static void what_sells_this_week_overtakes_what_sold_last_year(void **state) {
    (void)state;
    u2i_t *u = vertical_open(":memory:", "ecommerce");
    vertical_item(u, "classic", "0-00", NULL, NULL);
    vertical_item(u, "trend", "0-01", NULL, NULL);
    for (int i = 0; i < 30; i++) {
        char user[16];
        (void)snprintf(user, sizeof(user), "u%d", i);
        vertical_event(u, user, "purchase", "classic", -200);
        if (i < 10) {
            vertical_event(u, user, "purchase", "trend", -1);
        }
    }
    u2i_result_t *r = vertical_ask(u, "stranger", 0, 2);
    assert_string_equal(u2i_result_hit(r, 0)->id, "trend");
    u2i_result_free(r);
    u2i_close(u);
}

static void check_new(u2i_t *u) {
    int lists = 0;
    for (int i = 0; i < 60; i++) {
        u2i_result_t *r = vertical_ask(u, "ann", i * 0.01, 10);
        lists += shop_find(r, "new") >= 0;
        u2i_result_free(r);
    }
    assert_in_range(lists, 15, 45); /* 5 % of ten places: every second list */
}

static void new_items_get_a_chance(void **state) {
    (void)state;
    u2i_t *u = open_shop();
    vertical_item(u, "new", "2-new", NULL, NULL);
    vertical_twice(u, check_new);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_stock_is_never_recommended),
        cmocka_unit_test(out_of_stock_stays_out_of_every_kind_of_answer),
        cmocka_unit_test(stock_and_price_changes_count_at_once),
        cmocka_unit_test(prices_far_from_the_history_have_half_the_odds),
        cmocka_unit_test(one_variant_of_a_group_only),
        cmocka_unit_test(a_brand_takes_at_most_three_of_ten_places),
        cmocka_unit_test(a_category_takes_at_most_five_of_ten_places),
        cmocka_unit_test(what_was_bought_does_not_return),
        cmocka_unit_test(a_bought_consumable_returns_after_its_time),
        cmocka_unit_test(what_was_only_looked_at_or_wished_for_returns),
        cmocka_unit_test(what_is_disliked_stays_away_until_it_is_liked),
        cmocka_unit_test(what_sells_this_week_overtakes_what_sold_last_year),
        cmocka_unit_test(new_items_get_a_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
