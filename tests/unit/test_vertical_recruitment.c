/* The preset for jobs: each of its rules, through the public API, before and after a training where that may
 * matter. "ann" goes for kind 0. */
#include "vertical.h"

#define NOW_S 1700000000 /* VERTICAL_NOW in seconds */

static u2i_t *open_jobs(void) {
    u2i_t *u = vertical_open(":memory:", "recruitment");
    vertical_fill(u);
    vertical_event(u, "ann", "like", "0-00", -1);
    vertical_event(u, "ann", "like", "0-03", -1);
    return u;
}

static void put_job(u2i_t *u, const char *id, const char *attrs) {
    vertical_item(u, id, "0-00", NULL, attrs);
}

/* The list of everything, also when rules push what may not be in it, is exactly these ids and no other. */
static void assert_only(u2i_t *u, const char *user, const char *const *ids, size_t n) {
    static const char *const rules[] = {NULL, "promote id like \"bad%\" share 100%; pin bad1 at 1; "
                                              "boost id like \"bad%\" by 1000"};
    for (size_t i = 0; i < 2; i++) {
        u2i_query_t q = U2I_QUERY_INIT;
        q.user = user;
        q.time_ms = VERTICAL_NOW;
        q.limit = U2I_LIMIT_MAX;
        q.rules = rules[i];
        u2i_result_t *r = shop_ask(u, &q);
        assert_int_equal(u2i_result_count(r), n);
        for (size_t k = 0; k < n; k++) {
            (void)vertical_hit(r, ids[k]);
        }
        u2i_result_free(r);
    }
}

/* ---- What is never relaxed ----------------------------------------------------------------------- */

static void check_places(u2i_t *u) {
    static const char *const ids[] = {"bonn", "ulm", "remote"};
    vertical_user(u, "ann", "{\"places\": [\"Bonn\", \"Ulm\"]}");
    assert_only(u, "ann", ids, 3);
    vertical_user(u, "ann", "{\"places\": \"Ulm\"}");
    assert_only(u, "ann", ids + 1, 2);
}

static void the_place_is_never_relaxed_but_for_remote_work(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    put_job(u, "bonn", "{\"place\": \"Bonn\"}");
    put_job(u, "ulm", "{\"place\": \"Ulm\", \"remote\": false}");
    put_job(u, "remote", "{\"place\": \"Rome\", \"remote\": true}");
    put_job(u, "bad1", "{\"place\": \"Rome\"}");
    put_job(u, "bad2", "{\"place\": \"bonn\", \"remote\": false}");
    vertical_twice(u, check_places);
    u2i_close(u);
}

static void a_constraint_in_a_wrong_form_is_not_relaxed(void **state) {
    (void)state;
    static const char *const wrong[] = {"{\"places\": [\"Bonn\", 5]}", "{\"salary_min\": [50000]}",
                                        "{\"languages\": [null]}"};
    u2i_t *u = open_jobs();
    put_job(u, "bonn", "{\"place\": \"Bonn\", \"salary_max\": 60000, \"language\": \"de\"}");
    assert_true(vertical_shows(u, "ann", "bonn", 0));
    for (size_t i = 0; i < 3; i++) {
        vertical_user(u, "ann", wrong[i]);
        assert_only(u, "ann", NULL, 0);
    }
    u2i_close(u);
}

static void check_salary(u2i_t *u) {
    vertical_user(u, "ann", "{\"salary_min\": 50000}");
    assert_true(vertical_shows(u, "ann", "exact", 0));
    assert_true(vertical_shows(u, "ann", "silent", 0));
    assert_false(vertical_shows(u, "ann", "bad1", 0));
    assert_true(vertical_shows(u, "stranger", "bad1", 0));
}

static void the_salary_is_never_relaxed(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    put_job(u, "exact", "{\"salary_min\": 30000, \"salary_max\": 50000}");
    put_job(u, "silent", "{}");
    put_job(u, "bad1", "{\"salary_max\": 49999.99}");
    vertical_twice(u, check_salary);
    u2i_close(u);
}

static void check_language(u2i_t *u) {
    vertical_user(u, "ann", "{\"languages\": [\"de\", \"en\"]}");
    assert_true(vertical_shows(u, "ann", "german", 0));
    assert_true(vertical_shows(u, "ann", "silent", 0));
    assert_false(vertical_shows(u, "ann", "bad1", 0));
}

static void the_language_is_never_relaxed(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    put_job(u, "german", "{\"language\": \"de\"}");
    put_job(u, "silent", "{}");
    put_job(u, "bad1", "{\"language\": \"fr\"}");
    vertical_twice(u, check_language);
    u2i_close(u);
}

static void check_visa(u2i_t *u) {
    static const char *const ids[] = {"home", "sponsored"};
    vertical_user(u, "ann", "{\"work_permits\": [\"DE\"]}");
    assert_only(u, "ann", ids, 2);
}

static void the_work_permit_is_never_relaxed_but_for_sponsored_visas(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    put_job(u, "home", "{\"country\": \"DE\"}");
    put_job(u, "sponsored", "{\"country\": \"US\", \"visa_sponsored\": true}");
    put_job(u, "bad1", "{\"country\": \"US\"}");
    put_job(u, "bad2", "{\"country\": \"US\", \"visa_sponsored\": false}");
    vertical_twice(u, check_visa);
    u2i_close(u);
}

static void check_gone(u2i_t *u) {
    put_job(u, "job", "{\"filled\": false}");
    assert_true(vertical_shows(u, "ann", "job", 0));
    put_job(u, "job", "{\"filled\": true}");
    assert_false(vertical_shows(u, "ann", "job", 0));
    assert_false(vertical_shows(u, "stranger", "job", 0));
    assert_true(vertical_shows(u, "ann", "ends", -0.01));
    assert_false(vertical_shows(u, "ann", "ends", 0));
}

static void expired_and_filled_jobs_are_gone_at_once(void **state) {
    (void)state;
    char attrs[64];
    u2i_t *u = open_jobs();
    (void)snprintf(attrs, sizeof(attrs), "{\"expires\": %d}", NOW_S);
    put_job(u, "ends", attrs);
    vertical_twice(u, check_gone);
    u2i_close(u);
}

static void candidates_are_shown_to_who_seeks_them_only(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    vertical_item(u, "bob", "0-00", NULL, "{\"kind\": \"candidate\"}");
    vertical_item(u, "job", "0-00", NULL, "{\"kind\": \"job\"}");
    vertical_user(u, "acme", "{\"seeks\": \"candidate\"}");
    vertical_user(u, "cleo", "{\"seeks\": \"job\"}");
    assert_true(vertical_shows(u, "acme", "bob", 0));
    assert_false(vertical_shows(u, "acme", "job", 0));
    static const char *const others[] = {"ann", "stranger", "cleo"};
    for (size_t i = 0; i < 3; i++) {
        assert_false(vertical_shows(u, others[i], "bob", 0));
        assert_true(vertical_shows(u, others[i], "job", 0));
    }
    u2i_close(u);
}

/* ---- Two sides ----------------------------------------------------------------------------------- */

static u2i_t *open_two_sides(void) {
    u2i_t *u = open_jobs();
    vertical_item(u, "ann", "1-00", NULL, "{\"kind\": \"candidate\"}");
    put_job(u, "wants", "{\"employer\": \"acme\"}");
    put_job(u, "doesnt", "{\"employer\": \"umbrella\"}");
    put_job(u, "silent", "{\"employer\": \"nobody\"}");
    vertical_user(u, "acme", "{\"seeks\": \"candidate\"}");
    vertical_user(u, "umbrella", "{\"seeks\": \"candidate\"}");
    static const char *const candidates[2][3] = {{"1-01", "1-04", "1-07"},
                                                 {"2-01", "2-04", "2-07"}};
    for (size_t i = 0; i < 3; i++) {
        vertical_event(u, "acme", "invite", candidates[0][i], -3);
        vertical_event(u, "umbrella", "invite", candidates[1][i], -3);
    }
    return u;
}

static void check_two_sides(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, U2I_LIMIT_MAX);
    const u2i_hit_t *wants = vertical_hit(r, "wants"), *doesnt = vertical_hit(r, "doesnt");
    assert_true(wants->score > doesnt->score);
    assert_non_null(vertical_part(wants, "two-sided harmonic employer"));
    assert_non_null(vertical_part(doesnt, "two-sided harmonic employer"));
    assert_null(
        vertical_part(vertical_hit(r, "silent"), "two-sided")); /* nothing is known of them */
    u2i_result_free(r);
}

static void what_the_employer_wants_counts_as_much(void **state) {
    (void)state;
    u2i_t *u = open_two_sides();
    vertical_twice(u, check_two_sides);
    u2i_close(u);
}

static void the_score_is_the_harmonic_mean_of_both_sides(void **state) {
    (void)state;
    static const char *const jobs[][2] = {{"wants", "acme"}, {"doesnt", "umbrella"}};
    u2i_t *u = open_two_sides();
    for (size_t i = 0; i < 2; i++) {
        u2i_result_t *r = vertical_ask(u, "ann", 0, U2I_LIMIT_MAX);
        const u2i_hit_t *hit = vertical_hit(r, jobs[i][0]);
        const double one = (1 + vertical_score_without(hit, vertical_part(hit, "two-sided"))) / 2;
        u2i_query_t q = U2I_QUERY_INIT;
        q.user = jobs[i][1];
        q.filter = "kind == \"candidate\"";
        u2i_result_t *back = shop_ask(u, &q);
        const double other = (double)vertical_hit(back, "ann")->probability;
        vertical_near((double)hit->probability, 2 * one * other / (one + other), 1e-4);
        u2i_result_free(back);
        u2i_result_free(r);
    }
    u2i_close(u);
}

/* ---- Requirements -------------------------------------------------------------------------------- */

static void check_requirements(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, U2I_LIMIT_MAX);
    const u2i_part_t *all = vertical_part(vertical_hit(r, "all"), "match");
    const u2i_part_t *half = vertical_part(vertical_hit(r, "half"), "match");
    const u2i_part_t *none = vertical_part(vertical_hit(r, "none"), "match");
    static const char rule[] = "match requirements with {user.skills} by 4: ";
    assert_null(vertical_part(vertical_hit(r, "open"), "match"));
    assert_non_null(strstr(all->name, rule));
    assert_string_equal(all->name + strlen(rule), "has c, sql");
    assert_string_equal(half->name + strlen(rule), "has c; lacks go");
    assert_string_equal(none->name + strlen(rule), "lacks go");
    assert_true(all->value > half->value && half->value > 0 && none->value == 0);
    const u2i_hit_t *best = vertical_hit(r, "all"), *open = vertical_hit(r, "open");
    if (best->source == U2I_FROM_TASTE) {
        vertical_near(vertical_odds(best) / vertical_odds(open), 4, 1e-3);
        vertical_near(vertical_odds(vertical_hit(r, "half")) / vertical_odds(open), 2, 1e-3);
    }
    u2i_result_free(r);
    r = vertical_ask(u, "stranger", 0, U2I_LIMIT_MAX);
    assert_null(vertical_part(vertical_hit(r, "all"), "match"));
    u2i_result_free(r);
}

static void matched_and_missing_requirements_are_told(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    vertical_user(u, "ann", "{\"skills\": [\"sql\", \"c\", \"python\"]}");
    put_job(u, "all", "{\"requirements\": [\"c\", \"sql\"]}");
    put_job(u, "half", "{\"requirements\": [\"c\", \"go\"]}");
    put_job(u, "none", "{\"requirements\": [\"go\"]}");
    put_job(u, "open", "{\"requirements\": []}");
    vertical_twice(u, check_requirements);
    u2i_close(u);
}

/* ---- The first list ------------------------------------------------------------------------------ */

static void put_text(u2i_t *u, const char *id, const char *title, const char *text) {
    u2i_error_t err;
    const u2i_item_t item = {.id = id, .title = title, .text = text};
    shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
}

static u2i_t *open_texts(void) {
    u2i_t *u = shop_open(":memory:", "hash", 0);
    u2i_error_t err;
    shop_ok(u2i_use_preset(u, "recruitment", &err), &err);
    put_text(u, "nurse", "Nurse in intensive care", "caring for patients in a hospital");
    put_text(u, "welder", "Welder", "welding steel ships in a shipyard");
    put_text(u, "baker", "Baker", "bread and cake in a small bakery");
    put_text(u, "driver", "Driver of a bus", "public transport in the city");
    return u;
}

static void a_cv_is_enough_for_a_first_list(void **state) {
    (void)state;
    u2i_t *u = open_texts();
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_error_t err;
    const u2i_user_t user = {.id = "ann",
                             .interests = "Ten years of welding steel in a shipyard, licence for "
                                          "ships",
                             .attrs_json = "{\"gender\": \"nurse\"}"};
    shop_ok(u2i_put_users(u, &user, 1, sizeof(user), &err), &err);
    q.time_ms = VERTICAL_NOW; /* where the share of new items stands depends on the hour */
    q.user = "ann";
    u2i_result_t *r = shop_ask(u, &q);
    assert_string_equal(u2i_result_hit(r, 0)->id, "welder");
    assert_int_equal(u2i_result_hit(r, 0)->source, U2I_FROM_INTERESTS);
    u2i_result_free(r);
    q.user = NULL;
    q.interests = "nurse, ten years with patients in a hospital";
    r = shop_ask(u, &q);
    assert_string_equal(u2i_result_hit(r, 0)->id, "nurse");
    u2i_result_free(r);
    u2i_close(u);
}

static void assert_same_lists(u2i_t *u, const char *one, const char *other, int32_t source) {
    u2i_query_t q = U2I_QUERY_INIT;
    q.time_ms = VERTICAL_NOW;
    q.user = one;
    q.rules = NULL;
    u2i_result_t *a = shop_ask(u, &q);
    q.user = other;
    u2i_result_t *b = shop_ask(u, &q);
    assert_int_equal(u2i_result_count(a), u2i_result_count(b));
    assert_int_equal(u2i_result_hit(a, 0)->source, source);
    for (size_t i = 0; i < u2i_result_count(a); i++) {
        const u2i_hit_t *hit = vertical_hit(b, u2i_result_hit(a, i)->id);
        assert_true(hit->score == u2i_result_hit(a, i)->score);
        assert_int_equal(hit->source, u2i_result_hit(a, i)->source);
    }
    u2i_result_free(a);
    u2i_result_free(b);
}

static void protected_attributes_are_in_no_profile(void **state) {
    (void)state;
    static const char *const names[] = {"age",
                                        "birthday",
                                        "birth_date",
                                        "gender",
                                        "sex",
                                        "religion",
                                        "ethnicity",
                                        "race",
                                        "nationality",
                                        "disability",
                                        "photo",
                                        "marital_status",
                                        "pregnant",
                                        "sexual_orientation",
                                        "orientation",
                                        "union",
                                        "political_views"};
    u2i_t *u = open_texts();
    vertical_user(u, "plain", "{\"skills\": [\"welding steel\"]}");
    vertical_user(u, "empty", "{\"nothing\": \"!\"}");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char attrs[256];
        (void)snprintf(attrs, sizeof(attrs),
                       "{\"skills\": [\"welding steel\"], \"%s\": \"nurse\", \"deep\": [{\"%s\": "
                       "{\"all\": [\"nurse in a hospital\"]}}]}",
                       names[i], names[i]);
        vertical_user(u, "ann", attrs);
        assert_same_lists(u, "ann", "plain", U2I_FROM_ATTRIBUTES);
        (void)snprintf(attrs, sizeof(attrs), "{\"%s\": \"nurse in a hospital\"}", names[i]);
        vertical_user(u, "ann", attrs);
        assert_same_lists(u, "ann", "empty", U2I_FROM_CATALOGUE);
    }
    vertical_event(u, "ann", "apply", "welder", -1);
    vertical_event(u, "plain", "apply", "welder", -1);
    assert_same_lists(u, "ann", "plain", U2I_FROM_PROFILE);
    u2i_close(u);
}

/* ---- Enough -------------------------------------------------------------------------------------- */

static void apply_many(u2i_t *u, const char *job, int from, int to) {
    for (int i = from; i < to; i++) {
        char user[16];
        (void)snprintf(user, sizeof(user), "c%d", i);
        vertical_event(u, user, "apply", job, -2);
    }
}

static void check_full(u2i_t *u) {
    assert_false(vertical_shows(u, "ann", "full", 0));
    assert_false(vertical_shows(u, "stranger", "full", 300));
    assert_true(vertical_shows(u, "ann", "nearly", 0));
}

static void a_job_takes_two_hundred_applications(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    put_job(u, "full", NULL);
    put_job(u, "nearly", NULL);
    apply_many(u, "nearly", 0, 199);
    apply_many(u, "full", 0, 199);
    assert_true(vertical_shows(u, "ann", "full", 0));
    apply_many(u, "full", 199, 200);
    vertical_twice(u, check_full);
    apply_many(u, "nearly", 199, 200);
    assert_false(vertical_shows(u, "ann", "nearly", 0));
    u2i_close(u);
}

static void check_employers(u2i_t *u) {
    u2i_result_t *r = vertical_ask(u, "ann", 0, 40);
    assert_int_equal(u2i_result_count(r), 40);
    vertical_capped(r, "employer", "acme", 2, 10);
    u2i_result_free(r);
}

static void an_employer_takes_at_most_two_of_ten_places(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    for (int i = 0; i < 20; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "acme%d", i);
        put_job(u, id, "{\"employer\": \"acme\"}");
    }
    vertical_twice(u, check_employers);
    u2i_close(u);
}

static void check_returns(u2i_t *u) {
    static const struct {
        const char *id;
        double days; /* 0: never */
    } returns[] = {{"view", 1}, {"click", 1}, {"save", 7}, {"apply", 0}, {"not_interested", 0}};
    for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
        const double days = returns[i].days;
        assert_false(vertical_shows(u, "eve", returns[i].id, days > 0 ? days - 0.01 : 1000));
        assert_true(days == 0 || vertical_shows(u, "eve", returns[i].id, days + 0.01));
    }
}

static void what_was_only_looked_at_returns(void **state) {
    (void)state;
    static const char *const actions[] = {"view", "click", "save", "apply", "not_interested"};
    u2i_t *u = open_jobs();
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        put_job(u, actions[i], NULL);
        vertical_event(u, "eve", actions[i], actions[i], 0);
    }
    vertical_event(u, "eve", "like", "0-05", 0);
    vertical_twice(u, check_returns);
    u2i_close(u);
}

static void check_chance(u2i_t *u) {
    for (int i = 0; i < 40; i++) {
        u2i_result_t *r = vertical_ask(u, "ann", i * 0.001, 10);
        assert_true(shop_find(r, "new") >= 0);
        u2i_result_free(r);
    }
}

static void new_jobs_get_a_chance(void **state) {
    (void)state;
    u2i_t *u = open_jobs();
    vertical_item(u, "new", "2-new", NULL, NULL);
    vertical_twice(u, check_chance);
    u2i_close(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_place_is_never_relaxed_but_for_remote_work),
        cmocka_unit_test(a_constraint_in_a_wrong_form_is_not_relaxed),
        cmocka_unit_test(the_salary_is_never_relaxed),
        cmocka_unit_test(the_language_is_never_relaxed),
        cmocka_unit_test(the_work_permit_is_never_relaxed_but_for_sponsored_visas),
        cmocka_unit_test(expired_and_filled_jobs_are_gone_at_once),
        cmocka_unit_test(candidates_are_shown_to_who_seeks_them_only),
        cmocka_unit_test(what_the_employer_wants_counts_as_much),
        cmocka_unit_test(the_score_is_the_harmonic_mean_of_both_sides),
        cmocka_unit_test(matched_and_missing_requirements_are_told),
        cmocka_unit_test(a_cv_is_enough_for_a_first_list),
        cmocka_unit_test(protected_attributes_are_in_no_profile),
        cmocka_unit_test(a_job_takes_two_hundred_applications),
        cmocka_unit_test(an_employer_takes_at_most_two_of_ten_places),
        cmocka_unit_test(what_was_only_looked_at_returns),
        cmocka_unit_test(new_jobs_get_a_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
