/* Rules in whole answers of a catalogue that is larger than what is looked at for a list: 600 items of three kinds;
 * "ann" likes kind 0. What rules put forward has to be looked for. */
#include "vertical.h"

#define CROWD 600

static u2i_t *open_crowd(void) {
    static char ids[CROWD][24];
    static float vectors[CROWD][VERTICAL_DIM];
    static u2i_item_t items[CROWD];
    u2i_t *u = shop_open(":memory:", "none", VERTICAL_DIM);
    u2i_error_t err;
    vertical_fill(u);
    for (int i = 0; i < CROWD; i++) {
        (void)snprintf(ids[i], sizeof(ids[i]), "%d+%03d", i % VERTICAL_KINDS, i);
        vertical_look(ids[i], vectors[i]);
        items[i] = (u2i_item_t){.id = ids[i],
                                .attrs_json = i % 100 == 2 ? "{\"campaign\": \"spring\"}" : "{}",
                                .vector = vectors[i]};
    }
    shop_ok(u2i_put_items(u, items, CROWD, sizeof(items[0]), &err), &err);
    vertical_event(u, "ann", "like", "0-00", -1);
    vertical_event(u, "ann", "like", "0-03", -1);
    return u;
}

static u2i_result_t *ask_with(u2i_t *u, const char *rules, const char *filter) {
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = "ann";
    q.time_ms = VERTICAL_NOW;
    q.rules = rules;
    q.filter = filter;
    return shop_ask(u, &q);
}

static void check_pin(u2i_t *u) {
    u2i_result_t *r = ask_with(u, "pin \"2+002\" at 3", NULL);
    assert_int_equal(shop_find(r, "2+002"), 2);
    assert_int_equal(u2i_result_count(r), 10);
    u2i_result_free(r);
    r = ask_with(u, "pin \"2+002\" at 3", "id != \"2+002\"");
    assert_int_equal(shop_find(r, "2+002"), -1);
    u2i_result_free(r);
    r = ask_with(u, "pin \"2+002\" at 3; filter campaign is null", NULL);
    assert_int_equal(shop_find(r, "2+002"), -1);
    u2i_result_free(r);
    r = ask_with(u, "pin nosuch at 1", NULL);
    assert_int_equal(u2i_result_count(r), 10);
    u2i_result_free(r);
}

static void a_pinned_item_is_found_wherever_it_is(void **state) {
    (void)state;
    u2i_t *u = open_crowd();
    vertical_twice(u, check_pin);
    u2i_close(u);
}

static size_t count_campaign(const u2i_result_t *r) {
    size_t n = 0;
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        n += strstr(u2i_result_hit(r, i)->attrs_json, "spring") != NULL;
    }
    return n;
}

static void check_promoted(u2i_t *u) {
    static const char rule[] = "promote campaign == \"spring\" share 30%";
    u2i_result_t *r = ask_with(u, rule, NULL);
    assert_true(count_campaign(r) >= 3);
    u2i_result_free(r);
    r = ask_with(u, rule, "campaign is null");
    assert_int_equal(count_campaign(r), 0);
    assert_int_equal(u2i_result_count(r), 10);
    u2i_result_free(r);
}

static void promoted_items_get_their_share_wherever_they_are(void **state) {
    (void)state;
    u2i_t *u = open_crowd();
    vertical_twice(u, check_promoted);
    u2i_close(u);
}

static void check_explored(u2i_t *u) {
    bool drawn[CROWD] = {false};
    size_t different = 0;
    for (int i = 0; i < 30; i++) {
        u2i_result_t *r = vertical_ask(u, "nobody", i * 0.05, 10); /* an hour on: other draws */
        for (size_t k = 0; k < u2i_result_count(r); k++) {
            const u2i_hit_t *hit = u2i_result_hit(r, k);
            const int number = hit->id[1] == '+' ? atoi(hit->id + 2) : -1;
            if (number >= 0 && !drawn[number]) {
                drawn[number] = true;
                different++;
            }
        }
        u2i_result_free(r);
    }
    assert_true(different >= 20); /* one or more in each of 30 lists, hardly ever the same */
}

static void new_items_are_drawn_from_the_whole_catalogue(void **state) {
    (void)state;
    u2i_t *u = open_crowd();
    shop_set(u, "rules", "explore 10% below 5");
    vertical_twice(u, check_explored);
    u2i_close(u);
}

static void a_questions_rules_that_count_everybodys_events_are_refused(void **state) {
    (void)state;
    static const char *const rules[] = {"limit view 3", "filter price > 3\nmutual block",
                                        "explore 10% below 5"};
    u2i_t *u = open_crowd();
    for (size_t i = 0; i < 3; i++) {
        u2i_query_t q = U2I_QUERY_INIT;
        u2i_result_t *r;
        u2i_error_t err;
        q.rules = rules[i];
        assert_int_equal(u2i_recommend(u, &q, &r, &err), U2I_EINVAL);
        assert_null(r);
        assert_non_null(strstr(err.msg, i == 1 ? "line 2" : "line 1"));
        assert_non_null(strstr(err.msg, "setting \"rules\""));
    }
    u2i_close(u);
}

static void limits_within_different_times_count_apart(void **state) {
    (void)state;
    static const char *const orders[] = {"limit view 3 within 1d; limit view 3 within 10d",
                                         "limit view 3 within 10d; limit view 3 within 1d"};
    for (size_t i = 0; i < 2; i++) {
        u2i_t *u = open_crowd();
        shop_set(u, "rules", orders[i]);
        for (int k = 0; k < 3; k++) {
            vertical_event(u, k == 0 ? "a" : k == 1 ? "b" : "c", "view", "0-05", -5);
        }
        assert_false(vertical_shows(u, "ann", "0-05", 0));
        assert_true(vertical_shows(u, "ann", "0-05", 8));
        u2i_close(u);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pinned_item_is_found_wherever_it_is),
        cmocka_unit_test(promoted_items_get_their_share_wherever_they_are),
        cmocka_unit_test(new_items_are_drawn_from_the_whole_catalogue),
        cmocka_unit_test(a_questions_rules_that_count_everybodys_events_are_refused),
        cmocka_unit_test(limits_within_different_times_count_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
