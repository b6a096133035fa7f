/* Bad input through the public API: a clear error that names the thing, and nothing changed. */
#include "shop.h"

#include <locale.h>
#include <stdbool.h>

/* Expects `code` and a message that contains every one of the words. */
static void api_refused(int rc, int code, const u2i_error_t *err, const char *word) {
    if (rc != code || strstr(err->msg, word) == NULL) {
        fail_msg("got %s \"%s\", expected %s with \"%s\"", u2i_rc_name(rc), err->msg,
                 u2i_rc_name(code), word);
    }
    assert_int_equal(err->code, code);
}

static uint64_t api_items(u2i_t *u) {
    u2i_stats_t s = U2I_STATS_INIT;
    u2i_error_t err;
    shop_ok(u2i_stats(u, &s, &err), &err);
    return s.items;
}

static int api_put(u2i_t *u, const u2i_item_t *items, size_t n, u2i_error_t *err) {
    return u2i_put_items(u, items, n, sizeof(*items), err);
}

static void bad_items_are_refused_by_name_and_nothing_is_put(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", SHOP_DIM);
    const float good[SHOP_DIM] = {1, 0, 0, 0}, zero[SHOP_DIM] = {0}, nan[SHOP_DIM] = {NAN, 0, 0, 0},
                inf[SHOP_DIM] = {INFINITY, 0, 0, 0};
    char longest[U2I_ID_MAX_BYTES + 2], title[U2I_TITLE_MAX_BYTES + 2];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    memset(title, 't', sizeof(title) - 1);
    title[sizeof(title) - 1] = '\0';
    const struct {
        u2i_item_t item;
        int code;
        const char *word;
    } cases[] = {
        {{.id = NULL, .vector = good}, U2I_EINVAL, "id is missing"},
        {{.id = "", .vector = good}, U2I_EINVAL, "id is empty"},
        {{.id = longest, .vector = good}, U2I_EINVAL, "129 bytes"},
        {{.id = "\xff\xfe", .vector = good}, U2I_EINVAL, "UTF-8"},
        {{.id = "\xc0\x80", .vector = good}, U2I_EINVAL, "UTF-8"},
        {{.id = "a", .title = title, .vector = good}, U2I_EINVAL, "title"},
        {{.id = "a", .category = "\xed\xa0\x80", .vector = good}, U2I_EINVAL, "category"},
        {{.id = "a", .vector = nan}, U2I_EINVAL, "NaN"},
        {{.id = "a", .vector = inf}, U2I_EINVAL, "infinity"},
        {{.id = "a", .vector = zero}, U2I_EINVAL, "length 0"},
        {{.id = "a"}, U2I_EEMBED, "no vector"},
        {{.id = "first", .vector = good}, U2I_EINVAL, "twice"},
        {{.id = "a", .attrs_json = "[1]", .vector = good}, U2I_EINVAL, "object"},
        {{.id = "a", .attrs_json = "{\"a\":1", .vector = good}, U2I_EINVAL, "attr"},
        {{.id = "a", .attrs_json = "{\"a\":1,\"a\":2}", .vector = good}, U2I_EINVAL, "attr"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const u2i_item_t batch[] = {{.id = "first", .vector = good}, cases[i].item};
        u2i_error_t err;
        const int rc = api_put(u, batch, 2, &err);
        api_refused(rc, cases[i].code, &err, cases[i].word);
        assert_int_equal(err.offset, 1); /* the second of the batch */
        assert_int_equal(api_items(u), 0);
    }
    u2i_close(u);
}

static void bad_events_are_refused_by_name_and_nothing_is_recorded(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", SHOP_DIM);
    shop_put(u, "x", NULL, (const float[]){1, 0, 0, 0});
    const struct {
        u2i_event_t event;
        int code;
        const char *word;
    } cases[] = {
        {{.user = "", .item = "x", .action = "view"}, U2I_EINVAL, "user"},
        {{.user = "u", .item = NULL, .action = "view"}, U2I_EINVAL, "item"},
        {{.user = "u", .item = "x", .action = "ogle"}, U2I_EINVAL, "ogle"},
        {{.user = "u", .item = "x", .action = ""}, U2I_EINVAL, "action"},
        {{.user = "u", .item = "nowhere", .action = "view"}, U2I_ENOTFOUND, "nowhere"},
        {{.user = "u", .item = "x", .action = "view", .value = -1}, U2I_EINVAL, "value"},
        {{.user = "u", .item = "x", .action = "view", .value = NAN}, U2I_EINVAL, "value"},
        {{.user = "u", .item = "x", .action = "view", .time_ms = -5}, U2I_EINVAL, "time_ms"},
        {{.user = "u", .item = "x", .action = "view", .time_ms = INT64_MAX}, U2I_EINVAL, "ahead"},
        {{.user = "u", .item = "x", .action = "view", .id = ""}, U2I_EINVAL, "id"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const u2i_event_t batch[] = {{.user = "u", .item = "x", .action = "view"}, cases[i].event};
        u2i_error_t err;
        size_t recorded = 77;
        const int rc = u2i_record(u, batch, 2, sizeof(batch[0]), &recorded, &err);
        api_refused(rc, cases[i].code, &err, cases[i].word);
        assert_int_equal(err.offset, 1);
        assert_int_equal(recorded, 0);
        u2i_stats_t s = U2I_STATS_INIT;
        shop_ok(u2i_stats(u, &s, &err), &err);
        assert_int_equal(s.events, 0);
        assert_int_equal(s.users, 0);
    }
    u2i_close(u);
}

static void bad_queries_are_refused(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", SHOP_DIM);
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = (u2i_result_t *)1;
    u2i_error_t err;
    q.limit = U2I_LIMIT_MAX + 1;
    api_refused(u2i_recommend(u, &q, &r, &err), U2I_EINVAL, &err, "limit 1001");
    assert_null(r);
    q.limit = 0;
    q.filter = "category == ";
    api_refused(u2i_recommend(u, &q, &r, &err), U2I_EFILTER, &err, "expected");
    assert_int_equal(err.offset, 12);
    q.filter = NULL;
    api_refused(u2i_search(u, &q, &r, &err), U2I_EINVAL, &err, "text or vector");
    q.text = "anything";
    api_refused(u2i_search(u, &q, &r, &err), U2I_EEMBED, &err, "none");
    q.item = "nowhere";
    api_refused(u2i_similar_items(u, &q, &r, &err), U2I_ENOTFOUND, &err, "nowhere");
    q.user = "nobody";
    api_refused(u2i_similar_users(u, &q, &r, &err), U2I_ENOTFOUND, &err, "nobody");
    q.struct_size = sizeof(q) + 8;
    api_refused(u2i_recommend(u, &q, &r, &err), U2I_EVERSION, &err, "struct_size");
    q.struct_size = 0;
    api_refused(u2i_recommend(u, &q, &r, &err), U2I_EVERSION, &err, "struct_size");
    api_refused(u2i_recommend(NULL, &q, &r, &err), U2I_EINVAL, &err, "handle");
    u2i_close(u);
}

static void an_older_callers_shorter_structs_work(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "hash", 0);
    const struct { /* u2i_item_t as it might once have been */
        const char *id, *title;
    } items[] = {{"a", "red apple"}, {"b", "green pear"}};
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    shop_ok(u2i_put_items(u, (const void *)items, 2, sizeof(items[0]), &err), &err);
    q.struct_size = offsetof(u2i_query_t, filter);
    q.text = "apple";
    q.filter = "not a filter that anybody reads";
    shop_ok(u2i_search(u, &q, &r, &err), &err);
    assert_string_equal(u2i_result_hit(r, 0)->id, "a");
    u2i_result_free(r);
    u2i_close(u);
}

static void settings_are_checked_kept_and_reset(void **state) {
    (void)state;
    char path[256], value[64];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, "none", SHOP_DIM);
    api_refused(u2i_set_setting(u, "half_life_s", "soon", &err), U2I_EINVAL, &err, "half_life_s");
    api_refused(u2i_set_setting(u, "window", "1.5", &err), U2I_EINVAL, &err, "whole");
    api_refused(u2i_set_setting(u, "profile_mode", "best", &err), U2I_EINVAL, &err, "\"rank\"");
    api_refused(u2i_set_setting(u, "no_such", "1", &err), U2I_ENOTFOUND, &err, "no_such");
    api_refused(u2i_set_setting(u, "action.", "1", &err), U2I_EINVAL, &err, "name");
    api_refused(u2i_set_setting(u, "action.rate", "much", &err), U2I_EINVAL, &err, "weight");
    shop_set(u, "half_life_s", "3600");
    shop_set(u, "action.rate", "4");
    shop_set(u, "unknown_action", "rate");
    assert_int_equal(u2i_close(u), U2I_OK);

    u = shop_open(path, NULL, 0);
    shop_ok(u2i_get_setting(u, "half_life_s", value, sizeof(value), &err), &err);
    assert_string_equal(value, "3600");
    shop_ok(u2i_get_setting(u, "action.rate", value, sizeof(value), &err), &err);
    assert_string_equal(value, "4");
    shop_ok(u2i_get_setting(u, "unknown_action", value, sizeof(value), &err), &err);
    assert_string_equal(value, "rate");
    shop_set(u, "half_life_s", NULL);
    shop_ok(u2i_get_setting(u, "half_life_s", value, sizeof(value), &err), &err);
    assert_string_equal(value, "7776000");
    api_refused(u2i_get_setting(u, "half_life_s", value, 3, &err), U2I_EINVAL, &err, "bytes");
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void opening_with_another_model_or_dim_is_refused_with_both_named(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    assert_int_equal(u2i_close(shop_open(path, "none", SHOP_DIM)), U2I_OK);
    u2i_options_t o = U2I_OPTIONS_INIT;
    u2i_t *u;
    u2i_error_t err;
    o.model = "hash";
    api_refused(u2i_open(path, &o, &u, &err), U2I_EEMBED, &err, "hash");
    assert_non_null(strstr(err.msg, "none"));
    assert_null(u);
    o.model = NULL;
    o.dim = 7;
    api_refused(u2i_open(path, &o, &u, &err), U2I_EEMBED, &err, "7");
    o.dim = 0;
    o.flags = U2I_OPEN_NEW;
    o.model = "hash";
    api_refused(u2i_open(path, &o, &u, &err), U2I_EINVAL, &err, "exist");
    o.flags = U2I_OPEN_EXISTING;
    o.model = NULL;
    shop_remove(path);
    api_refused(u2i_open(path, &o, &u, &err), U2I_ENOTFOUND, &err, "");
    o.flags = 0;
    o.model = "gpt";
    api_refused(u2i_open(path, &o, &u, &err), U2I_ENOTFOUND, &err, "gpt");
    assert_int_not_equal(access(path, F_OK), 0); /* nothing was created */
}

static void success_leaves_no_error_behind(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    for (int i = 0; i < 2; i++) { /* a new store, then an old one */
        u2i_error_t err = {.code = 7, .offset = 7, .msg = "old"};
        u2i_t *u;
        assert_int_equal(u2i_open(path, NULL, &u, &err), U2I_OK);
        assert_int_equal(err.code, U2I_OK);
        assert_string_equal(err.msg, "");
        assert_int_equal(u2i_close(u), U2I_OK);
    }
    shop_remove(path);
}

static void sizes_flags_and_lists_that_make_no_sense_are_refused(void **state) {
    (void)state;
    u2i_t *u = shop_open(":memory:", "none", SHOP_DIM);
    const float v[SHOP_DIM] = {1, 0, 0, 0};
    const u2i_item_t item = {.id = "a", .vector = v};
    const u2i_param_t param = {.name = "p", .type = U2I_INT};
    u2i_interactions_t in = U2I_INTERACTIONS_INIT;
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    api_refused(u2i_put_items(u, &item, 1, 3, &err), U2I_EVERSION, &err, "3 bytes");
    q.flags = 64;
    api_refused(u2i_recommend(u, &q, &r, &err), U2I_EINVAL, &err, "0x40");
    q.flags = 0;
    q.params = &param;
    q.params_n = 1;
    api_refused(u2i_recommend(u, &q, &r, &err), U2I_EINVAL, &err, "filter");
    in.user = "u";
    in.decay = 0.9;
    api_refused(u2i_update_user_profile(u, &in, NULL, &err), U2I_EINVAL, &err, "decay");
    u2i_close(u);
}

static void numbers_do_not_depend_on_the_locale(void **state) {
    (void)state;
    char value[32];
    u2i_error_t err;
    const char *names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "ru_RU.UTF-8"};
    bool found = false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !found; i++) {
        found = setlocale(LC_ALL, names[i]) != NULL;
    }
    if (!found) {
        print_message("no locale with a decimal comma is installed\n");
    }
    u2i_t *u = shop_open(":memory:", "none", SHOP_DIM);
    shop_set(u, "rank_power", "0.75");
    shop_ok(u2i_get_setting(u, "rank_power", value, sizeof(value), &err), &err);
    assert_string_equal(value, "0.75");
    shop_ok(u2i_get_setting(u, "action.click", value, sizeof(value), &err), &err);
    assert_string_equal(value, "1.5");
    for (size_t i = 0; i < 6; i++) {
        static const char *const wrong[] = {"0,75", "nan", "0x1", "1e", ".", " 1"};
        assert_int_equal(u2i_set_setting(u, "rank_power", wrong[i], &err), U2I_EINVAL);
    }
    u2i_close(u);
    (void)setlocale(LC_ALL, "C");
}

static void null_and_unknown_things_are_harmless(void **state) {
    (void)state;
    assert_int_equal(u2i_close(NULL), U2I_OK);
    u2i_result_free(NULL);
    u2i_item_free(NULL);
    u2i_user_free(NULL);
    assert_int_equal(u2i_result_count(NULL), 0);
    assert_null(u2i_result_hit(NULL, 0));
    assert_string_equal(u2i_rc_name(U2I_EREADONLY), "U2I_EREADONLY");
    assert_string_equal(u2i_rc_name(-1000), "U2I_EUNKNOWN");
    assert_string_equal(u2i_rc_name(5), "U2I_EUNKNOWN");
    assert_string_equal(u2i_version(), "0.1.0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_items_are_refused_by_name_and_nothing_is_put),
        cmocka_unit_test(bad_events_are_refused_by_name_and_nothing_is_recorded),
        cmocka_unit_test(bad_queries_are_refused),
        cmocka_unit_test(an_older_callers_shorter_structs_work),
        cmocka_unit_test(settings_are_checked_kept_and_reset),
        cmocka_unit_test(opening_with_another_model_or_dim_is_refused_with_both_named),
        cmocka_unit_test(success_leaves_no_error_behind),
        cmocka_unit_test(sizes_flags_and_lists_that_make_no_sense_are_refused),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(null_and_unknown_things_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
