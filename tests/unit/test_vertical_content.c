/* The preset for news, videos and posts: each of its rules, through the public API, before and after a training
 * where that may matter. "ann" goes for kind 0. */
#include "vertical.h"

#define NOW_S 1700000000 /* VERTICAL_NOW in seconds */

static u2i_t *open_feed(void) {
    u2i_t *u = vertical_open(":memory:", "content");
    vertical_fill(u);
    vertical_event(u, "ann", "like", "0-00", -1);
    vertical_event(u, "ann", "like", "0-03", -1);
    return u;
}

static void put_post(u2i_t *u, const char *id, const char *attrs) {
    vertical_item(u, id, "0-00", NULL, attrs);
}

/* With one attribute, in seconds from now. */
static void put_timed(u2i_t *u, const char *id, const char *name, int seconds) {
    char attrs[64];
    (void)snprintf(attrs, sizeof(attrs), "{\"%s\": %d}", name, NOW_S + seconds);
    put_post(u, id, attrs);
}

/* ---- When ---------------------------------------------------------------------------------------- */

static void check_windows(u2i_t *u) {
    assert_true(vertical_shows(u, "ann", "now", 0));
    assert_false(vertical_shows(u, "ann", "soon", 0));
    assert_true(vertical_shows(u, "ann", "soon", 0.1));
    assert_true(vertical_shows(u, "ann", "ends", -0.01));
    assert_false(vertical_shows(u, "ann", "ends", 0));
    assert_false(vertical_shows(u, "stranger", "soon", 0));
    assert_false(vertical_shows(u, "stranger", "ends", 0));
    assert_true(vertical_shows(u, "ann", "always", 0));
}

static void what_is_not_published_yet_or_expired_is_left_out(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    put_timed(u, "now", "publish_at", 0);
    put_timed(u, "soon", "publish_at", 3600);
    put_timed(u, "ends", "expire_at", 0);
    put_post(u, "always", "{}");
    vertical_twice(u, check_windows);
    u2i_close(u);
}

static void check_age(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, U2I_LIMIT_MAX);
    const u2i_hit_t *fresh = vertical_hit(r, "now"), *old = vertical_hit(r, "yesterday");
    const u2i_hit_t *older = vertical_hit(r, "before");
    assert_null(vertical_part(fresh, "fresh"));
    assert_true(fresh->score > old->score && old->score > older->score);
    if (fresh->source == U2I_FROM_TASTE) {
        vertical_near(vertical_odds(old) / vertical_odds(fresh), 0.5, 1e-3);
        vertical_near(vertical_odds(older) / vertical_odds(fresh), 0.25, 1e-3);
    } else {
        vertical_near((double)(old->score / fresh->score), 0.5, 1e-3);
        vertical_near((double)(older->score / fresh->score), 0.25, 1e-3);
    }
    u2i_result_free(r);
}

static void odds_halve_with_every_day_since_publishing(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    put_timed(u, "now", "publish_at", 0);
    put_timed(u, "yesterday", "publish_at", -86400);
    put_timed(u, "before", "publish_at", -2 * 86400);
    vertical_twice(u, check_age);
    u2i_close(u);
}

/* ---- What the user doesn't want ----------------------------------------------------------------- */

static void check_muted(u2i_t *u) {
    vertical_user(u, "ann", "{}");
    assert_true(vertical_shows(u, "ann", "by-bob", 0));
    assert_true(vertical_shows(u, "ann", "on-golf", 0));
    vertical_user(u, "ann",
                  "{\"muted_authors\": [\"bob\"], \"muted_topics\": [\"golf\", \"tax\"]}");
    assert_false(vertical_shows(u, "ann", "by-bob", 0));
    assert_false(vertical_shows(u, "ann", "on-golf", 0));
    assert_true(vertical_shows(u, "ann", "by-eve", 0));
    assert_true(vertical_shows(u, "ann", "0-07", 0));
    assert_true(vertical_shows(u, "other", "by-bob", 0));
    vertical_user(u, "ann", "{\"muted_authors\": \"bob\", \"muted_topics\": []}");
    assert_false(vertical_shows(u, "ann", "by-bob", 0));
    assert_true(vertical_shows(u, "ann", "on-golf", 0));
}

static void a_muted_author_is_gone_at_once(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    put_post(u, "by-bob", "{\"author\": \"bob\"}");
    put_post(u, "by-eve", "{\"author\": \"eve\", \"topic\": \"chess\"}");
    put_post(u, "on-golf", "{\"author\": \"eve\", \"topic\": \"golf\"}");
    vertical_twice(u, check_muted);
    u2i_close(u);
}

static void what_is_muted_is_no_interest(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "hash", 0);
    u2i_error_t err;
    const u2i_item_t post = {.id = "golf", .title = "Golf with Bob Miller"};
    shop_ok(u2i_use_preset(u, "content", &err), &err);
    shop_ok(u2i_put_items(u, &post, 1, sizeof(post), &err), &err);
    vertical_user(u, "ann", "{\"muted_authors\": [\"Bob Miller\"], \"muted_topics\": [\"Golf\"]}");
    u2i_result_t *r =
        shop_recommend(u, "ann"); /* nothing says who wrote it: it is in the catalogue */
    assert_int_equal(u2i_result_hit(r, 0)->source, U2I_FROM_CATALOGUE);
    u2i_result_free(r);
    u2i_close(u);
}

static void a_muted_post_is_gone_at_once(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    put_post(u, "post", "{}");
    assert_true(vertical_shows(u, "ann", "post", 0));
    vertical_event(u, "ann", "mute", "post", 0);
    assert_false(vertical_shows(u, "ann", "post", 0));
    assert_false(vertical_shows(u, "ann", "post", 500));
    u2i_close(u);
}

static void check_read(u2i_t *u) {
    static const char *const done[] = {"read", "dwell", "view", "click", "share", "comment"};
    for (size_t i = 0; i < sizeof(done) / sizeof(done[0]); i++) {
        assert_false(vertical_shows(u, "ann", done[i], 1));
        assert_false(vertical_shows(u, "ann", done[i], 100));
        assert_true(vertical_shows(u, "other", done[i], 1));
    }
}

static void what_was_read_does_not_return(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    static const char *const done[] = {"read", "dwell", "view", "click", "share", "comment"};
    for (size_t i = 0; i < sizeof(done) / sizeof(done[0]); i++) {
        put_post(u, done[i], "{}");
        vertical_event(u, "ann", done[i], done[i], 0);
    }
    vertical_twice(u, check_read);
    u2i_close(u);
}

/* ---- What was shown ------------------------------------------------------------------------------ */

static void check_shown(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, U2I_LIMIT_MAX);
    const u2i_hit_t *never = vertical_hit(r, "never"), *once = vertical_hit(r, "once");
    const u2i_hit_t *twice = vertical_hit(r, "twice");
    assert_null(vertical_part(never, "shown discount"));
    assert_non_null(vertical_part(twice, "shown discount 0.7 within 7d"));
    if (never->source == U2I_FROM_TASTE) {
        vertical_near(vertical_odds(once) / vertical_odds(never), 0.7, 1e-3);
        vertical_near(vertical_odds(twice) / vertical_odds(never), 0.49, 1e-3);
    } else {
        vertical_near((double)(once->score / never->score), 0.7, 1e-3);
        vertical_near((double)(twice->score / never->score), 0.49, 1e-3);
    }
    u2i_result_free(r);
    r = vertical_ask(u, "ann", 7.5, U2I_LIMIT_MAX); /* a week later it is forgotten */
    assert_null(vertical_part(vertical_hit(r, "twice"), "shown discount"));
    u2i_result_free(r);
}

static void what_was_shown_in_vain_sinks(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    put_post(u, "never", "{}");
    put_post(u, "once", "{}");
    put_post(u, "twice", "{}");
    vertical_event(u, "ann", "impression", "once", -0.5);
    vertical_event(u, "ann", "impression", "twice", -0.5);
    vertical_event(u, "ann", "impression", "twice", -0.6);
    vertical_event(u, "other", "impression", "never", -0.5);
    vertical_twice(u, check_shown);
    u2i_close(u);
}

/* Shows page after page to a user, a minute for each; no item may come twice. */
static void scroll(u2i_t *u, const char *user, double from_days, bool recorded) {
    u2i_event_t shown[60];
    char ids[60][8];
    size_t n = 0;
    for (int page = 0; page < 6; page++) {
        const double days = from_days + page / 1440.0;
        u2i_query_t q = U2I_QUERY_INIT;
        q.user = user;
        q.time_ms = vertical_at(days);
        q.session = recorded ? NULL : shown;
        q.session_n = recorded ? 0 : n;
        u2i_result_t *r = shop_ask(u, &q);
        assert_int_equal(u2i_result_count(r), 10);
        for (size_t i = 0; i < 10; i++, n++) {
            const char *id = u2i_result_hit(r, i)->id;
            for (size_t k = 0; k < n; k++) {
                assert_string_not_equal(ids[k], id);
            }
            (void)snprintf(ids[n], sizeof(ids[n]), "%s", id);
            shown[n] = (u2i_event_t){
                .user = user, .item = ids[n], .action = "impression", .time_ms = vertical_at(days)};
        }
        u2i_result_free(r);
        if (recorded) {
            u2i_error_t err;
            shop_ok(u2i_record(u, shown + n - 10, 10, sizeof(shown[0]), NULL, &err), &err);
        }
    }
}

static void scrolling_on_never_repeats(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    put_post(u, "more", "{}");
    put_post(u, "more2", "{}"); /* 62 posts, of which ann has liked two */
    scroll(u, "ann", 0, false);
    scroll(u, "ann", 0, true);
    scroll(u, "visitor", 0, false);
    scroll(u, "visitor", 0, true);
    vertical_train(u);
    scroll(u, "ann", 1, false);
    scroll(u, "ann", 1, true);
    u2i_close(u);
}

/* ---- What weighs more ---------------------------------------------------------------------------- */

static void record_dwell(u2i_t *u, const char *user, const char *item, float minutes) {
    const u2i_event_t ev = {.user = user,
                            .item = item,
                            .action = "dwell",
                            .time_ms = vertical_at(-1),
                            .value = minutes};
    u2i_error_t err;
    shop_ok(u2i_record(u, &ev, 1, sizeof(ev), NULL, &err), &err);
}

static void check_dwell(u2i_t *u) {
    static const char *const users[] = {"reads1", "reads2"};
    for (int k = 0; k < 2; k++) {
        u2i_result_t *r = vertical_ask(u, users[k], 0, 5);
        int own = 0;
        for (size_t i = 0; i < 5; i++) {
            own += u2i_result_hit(r, i)->id[0] == '1' + k;
        }
        assert_true(own >= 3);
        u2i_result_free(r);
    }
}

static void a_long_read_weighs_more_than_a_glance(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    record_dwell(u, "reads1", "1-00", 8);
    record_dwell(u, "reads1", "2-00", 0.1f);
    record_dwell(u, "reads2", "1-00", 0.1f);
    record_dwell(u, "reads2", "2-00", 8);
    vertical_twice(u, check_dwell);
    u2i_close(u);
}

/* ---- A feed that is mixed ------------------------------------------------------------------------- */

static void check_mixed(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, 40);
    vertical_capped(r, "author", "bob", 2, 10);
    vertical_capped(r, "topic", "chess", 4, 10);
    u2i_result_free(r);
}

static void an_author_takes_two_and_a_topic_four_of_any_ten_places(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    for (int i = 0; i < 24; i++) {
        char id[16], attrs[64];
        (void)snprintf(id, sizeof(id), "post%02d", i);
        (void)snprintf(attrs, sizeof(attrs), "{\"author\": \"%s\", \"topic\": \"chess\"}",
                       i % 2 == 0 ? "bob" : id);
        put_post(u, id, attrs);
    }
    vertical_twice(u, check_mixed);
    u2i_close(u);
}

static void diversity_is_on(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    char value[32];
    u2i_error_t err;
    shop_ok(u2i_get_setting(u, "diversity", value, sizeof(value), &err), &err);
    assert_string_equal(value, "0.3");
    u2i_close(u);
}

static void what_is_read_today_overtakes_what_was_read_last_month(void **state) {
    (void)state;
    u2i_t *u = vertical_open(":memory:", "content");
    vertical_item(u, "classic", "0-00", NULL, NULL);
    vertical_item(u, "today", "1-01", NULL, NULL);
    for (int i = 0; i < 60; i++) {
        char user[16];
        (void)snprintf(user, sizeof(user), "u%d", i);
        vertical_event(u, user, "read", "classic", -30);
        if (i < 10) {
            vertical_event(u, user, "read", "today", -0.1);
        }
    }
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    q.time_ms = VERTICAL_NOW;
    shop_ok(u2i_popular(u, &q, &r, &err), &err);
    assert_string_equal(u2i_result_hit(r, 0)->id, "today");
    u2i_result_free(r);
    u2i_close(u);
}

static void check_chance(u2i_t *u) {
    int lists = 0;
    for (int i = 0; i < 40; i++) {
        u2i_result_t *r = vertical_ask(u, "ann", i * 0.001, 10);
        lists += shop_find(r, "new") >= 0;
        u2i_result_free(r);
    }
    assert_int_equal(lists, 40); /* 10 % of ten places, and nothing else has fewer than 50 events */
}

static void new_posts_get_a_chance(void **state) {
    (void)state;
    u2i_t *u = open_feed();
    for (int i = 0; i < 60; i++) { /* everything else is known well */
        u2i_event_t seen[VERTICAL_KINDS * VERTICAL_ITEMS];
        char user[24], ids[VERTICAL_KINDS * VERTICAL_ITEMS][24];
        u2i_error_t err;
        (void)snprintf(user, sizeof(user), "reader%d", i);
        for (int k = 0; k < VERTICAL_KINDS * VERTICAL_ITEMS; k++) {
            (void)snprintf(ids[k], sizeof(ids[k]), "%d-%02d", k / VERTICAL_ITEMS,
                           k % VERTICAL_ITEMS);
            seen[k] = (u2i_event_t){
                .user = user, .item = ids[k], .action = "view", .time_ms = vertical_at(-40)};
        }
        shop_ok(u2i_record(u, seen, VERTICAL_KINDS * VERTICAL_ITEMS, sizeof(seen[0]), NULL, &err),
                &err);
    }
    vertical_item(u, "new", "2-new", NULL, NULL);
    vertical_twice(u, check_chance);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_published_yet_or_expired_is_left_out),
        cmocka_unit_test(odds_halve_with_every_day_since_publishing),
        cmocka_unit_test(a_muted_author_is_gone_at_once),
        cmocka_unit_test(what_is_muted_is_no_interest),
        cmocka_unit_test(a_muted_post_is_gone_at_once),
        cmocka_unit_test(what_was_read_does_not_return),
        cmocka_unit_test(what_was_shown_in_vain_sinks),
        cmocka_unit_test(scrolling_on_never_repeats),
        cmocka_unit_test(a_long_read_weighs_more_than_a_glance),
        cmocka_unit_test(an_author_takes_two_and_a_topic_four_of_any_ten_places),
        cmocka_unit_test(diversity_is_on),
        cmocka_unit_test(what_is_read_today_overtakes_what_was_read_last_month),
        cmocka_unit_test(new_posts_get_a_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
