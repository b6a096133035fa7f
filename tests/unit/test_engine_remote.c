/* A store whose vectors a remote model makes, through the public API; the model is played by a server on loopback. The
 * URL is remembered, a model that is down keeps no store closed, and nobody waits for it who doesn't need it. */
#include "shop.h"

#include "fake_http.h"
#include <jansson.h>

enum { DIM = 8, CALLERS = 16 };

/* ---- The model ---------------------------------------------------------------------------------- */

struct endpoint {
    atomic_uint refusals; /* requests to be refused; the probe for the dim counts too */
    atomic_bool held;     /* answers wait */
    atomic_uint waiting;  /* requests that do */
    unsigned texts;
    unsigned dimensions; /* of the last request; 0 = it didn't say */
};
static struct endpoint endpoint;
static struct fake_http server;

/* How often each letter comes, folded into few numbers; 'q' alone says that it is a question. */
static void say_vector(struct fake_answer *a, const char *text, unsigned dim, size_t index) {
    float v[DIM] = {0};
    v[0] = 0.5f;
    for (const char *p = text; *p != '\0'; p++) {
        v[(unsigned char)*p % dim] += 1;
    }
    a->body_n += (size_t)sprintf(a->body + a->body_n,
                                 "%s{\"index\":%zu,\"embedding\":", index > 0 ? "," : "", index);
    for (unsigned d = 0; d < dim; d++) {
        a->body_n += (size_t)sprintf(a->body + a->body_n, "%c%g", d == 0 ? '[' : ',', (double)v[d]);
    }
    a->body_n += (size_t)sprintf(a->body + a->body_n, "]}");
}

static void act(void *ctx, const struct fake_request *q, struct fake_answer *a) {
    struct endpoint *const e = ctx;
    json_t *const root = json_loads(q->body, 0, NULL);
    fake_require(root != NULL, "a request that is JSON");
    const json_t *const input = json_object_get(root, "input");
    const json_t *const dimensions = json_object_get(root, "dimensions");
    const unsigned dim = dimensions == NULL ? DIM : (unsigned)json_integer_value(dimensions);
    (void)atomic_fetch_add(&e->waiting, 1);
    while (atomic_load(&e->held) && !atomic_load(&server.closing)) {
        (void)usleep(500);
    }
    (void)atomic_fetch_sub(&e->waiting, 1);
    e->dimensions = dimensions == NULL ? 0 : dim;
    e->texts += (unsigned)json_array_size(input);
    if (atomic_load(&e->refusals) > 0) {
        (void)atomic_fetch_sub(&e->refusals, 1);
        a->status = 400;
        fake_say(a, "{\"error\":{\"message\":\"not today\"}}");
    } else {
        a->body_n = (size_t)sprintf(a->body, "{\"data\":[");
        for (size_t i = 0; i < json_array_size(input); i++) {
            say_vector(a, json_string_value(json_array_get(input, i)), dim, i);
        }
        a->body_n += (size_t)sprintf(a->body + a->body_n, "]}");
    }
    json_decref(root);
}

static const char *model_url(void) {
    static char url[512];
    (void)snprintf(url, sizeof(url), "%s#tiny", fake_url(&server, "/v1"));
    return url;
}

static int begin(void **state) {
    (void)state;
    memset(&endpoint, 0, sizeof(endpoint));
    fake_http_start(&server, act, &endpoint);
    return 0;
}

static int end(void **state) {
    (void)state;
    fake_http_stop(&server);
    return 0;
}

/* ---- The store ---------------------------------------------------------------------------------- */

static int put_one(u2i_t *u, const char *title, u2i_error_t *err) {
    const u2i_item_t item = {.id = title, .title = title};
    return u2i_put_items(u, &item, 1, sizeof(item), err);
}

static void put_fruit(u2i_t *u) {
    static const char *const titles[] = {"aaaa", "bbbb", "cccc"};
    u2i_error_t err;
    for (size_t i = 0; i < 3; i++) {
        shop_ok(put_one(u, titles[i], &err), &err);
    }
}

static int search_for(u2i_t *u, const char *text, char *first, size_t bytes, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = NULL;
    q.text = text;
    q.limit = 1;
    const int rc = u2i_search(u, &q, &r, err);
    if (rc == U2I_OK && u2i_result_count(r) > 0) {
        (void)snprintf(first, bytes, "%s", u2i_result_hit(r, 0)->id);
    }
    u2i_result_free(r);
    return rc;
}

static void require_found(u2i_t *u, const char *text, const char *id) {
    char first[64] = "";
    u2i_error_t err;
    shop_ok(search_for(u, text, first, sizeof(first), &err), &err);
    assert_string_equal(first, id);
}

static u2i_t *open_again(const char *path) {
    u2i_t *u;
    u2i_error_t err;
    shop_ok(u2i_open(path, NULL, &u, &err), &err);
    return u;
}

static u2i_stats_t stats_of(u2i_t *u) {
    u2i_stats_t s = U2I_STATS_INIT;
    u2i_error_t err;
    shop_ok(u2i_stats(u, &s, &err), &err);
    return s;
}

/* ---- Promises ----------------------------------------------------------------------------------- */

static void a_store_remembers_where_its_model_is(void **state) {
    (void)state;
    char path[256], url[512];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, model_url(), 0);
    assert_string_equal(stats_of(u).model, "tiny@127.0.0.1-8");
    assert_int_equal(endpoint.texts, 1); /* how long its vectors are, asked once */
    put_fruit(u);
    assert_int_equal(endpoint.dimensions, 0);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_again(path);
    require_found(u, "bbb", "bbbb");
    shop_ok(u2i_get_setting(u, "model_url", url, sizeof(url), &err), &err);
    assert_string_equal(url, model_url());
    assert_int_equal(u2i_set_setting(u, "model_url", "tiny", &err), U2I_EINVAL);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void a_length_that_was_asked_for_is_asked_for_again(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, model_url(), 5);
    assert_int_equal(endpoint.texts, 0); /* nobody had to ask */
    assert_int_equal(stats_of(u).dim, 5);
    put_fruit(u);
    assert_int_equal(endpoint.dimensions, 5);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_again(path);
    require_found(u, "bbb", "bbbb");
    assert_int_equal(endpoint.dimensions, 5);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void a_model_that_refuses_is_asked_again_at_the_next_text(void **state) {
    (void)state;
    char path[256], first[64];
    u2i_error_t err;
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, model_url(), 0);
    put_fruit(u);
    const u2i_user_t user = {.id = "me", .interests = "cccccc"};
    shop_ok(u2i_put_users(u, &user, 1, sizeof(user), &err), &err);
    assert_int_equal(u2i_close(u), U2I_OK);
    atomic_store(&endpoint.refusals, 1000000);
    u = open_again(path);
    assert_int_equal(search_for(u, "bb", first, sizeof(first), &err), U2I_EREMOTE);
    assert_int_equal(put_one(u, "dddd", &err), U2I_EREMOTE);
    put_fruit(u);                              /* their vectors are known */
    u2i_result_t *r = shop_recommend(u, "me"); /* popularity knows something */
    assert_int_equal(u2i_result_count(r), 3);
    u2i_result_free(r);
    atomic_store(&endpoint.refusals, 0);
    require_found(u, "bb", "bbbb");
    r = shop_recommend(u, "me");
    assert_string_equal(u2i_result_hit(r, 0)->id, "cccc");
    u2i_result_free(r);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void a_model_may_move_to_another_host(void **state) {
    (void)state;
    char path[256], url[512];
    u2i_error_t err;
    u2i_options_t o = U2I_OPTIONS_INIT;
    u2i_t *u;
    shop_path(path, sizeof(path));
    u = shop_open(path, model_url(), 0);
    put_fruit(u);
    (void)snprintf(url, sizeof(url), "http://localhost:%u/v1#tiny", server.port);
    shop_ok(u2i_set_setting(u, "model_url", url, &err), &err);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_again(path);
    require_found(u, "bbb", "bbbb");
    assert_int_equal(u2i_close(u), U2I_OK);
    (void)snprintf(url, sizeof(url), "http://localhost:%u/v1#other", server.port);
    o.model = url; /* that is another one */
    assert_int_equal(u2i_open(path, &o, &u, &err), U2I_EEMBED);
    shop_remove(path);
}

static void an_interrupted_move_pays_for_the_rest_only(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    u2i_reembed_options_t to = U2I_REEMBED_OPTIONS_INIT;
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, "hash", 16);
    for (unsigned i = 0; i < 200; i++) {
        char title[16];
        (void)snprintf(title, sizeof(title), "text %u", i);
        shop_ok(put_one(u, title, &err), &err);
    }
    shop_ok(put_one(u, "zzzz", &err), &err);
    to.model = model_url();
    atomic_store(&endpoint.refusals, 1);
    assert_int_equal(u2i_reembed_to(u, &to, &err), U2I_EREMOTE); /* the question for its dim */
    to.dim = DIM;
    atomic_store(&endpoint.refusals, 1000000);
    endpoint.texts = 0;
    assert_int_equal(u2i_reembed_to(u, &to, &err), U2I_EREMOTE);
    assert_int_equal(stats_of(u).dim, 16);
    require_found(u, "text 17", "text 17");
    const unsigned refused = endpoint.texts;
    atomic_store(&endpoint.refusals, 0);
    shop_ok(u2i_reembed_to(u, &to, &err), &err);
    assert_true(endpoint.texts - refused <= 201);
    assert_int_equal(stats_of(u).dim, DIM);
    assert_int_equal(stats_of(u).items_no_vector, 0);
    assert_int_equal(u2i_close(u), U2I_OK);
    u = open_again(path);
    require_found(u, "zz", "zzzz");
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

static void *recommend_to_stranger(void *arg) {
    u2i_result_t *r = shop_recommend(arg, "stranger");
    assert_string_equal(u2i_result_hit(r, 0)->id, "cccc");
    u2i_result_free(r);
    return NULL;
}

/* The model is asked for a stranger's interests while it keeps everybody waiting: writes and other answers go on. */
static void nobody_else_waits_for_the_model(void **state) {
    (void)state;
    char path[256];
    u2i_error_t err;
    pthread_t asking;
    shop_path(path, sizeof(path));
    u2i_t *u = shop_open(path, model_url(), 0);
    put_fruit(u);
    const u2i_user_t user = {.id = "stranger", .interests = "cccccc"};
    shop_ok(u2i_put_users(u, &user, 1, sizeof(user), &err), &err);
    atomic_store(&endpoint.held, true);
    assert_int_equal(pthread_create(&asking, NULL, recommend_to_stranger, u), 0);
    while (atomic_load(&endpoint.waiting) == 0) {
        (void)usleep(500);
    }
    shop_event(u, "me", "like", "aaaa", 1600000000000);
    shop_set(u, "window", "400");
    u2i_result_t *r = shop_recommend(u, "me");
    assert_int_equal(u2i_result_count(r), 2);
    u2i_result_free(r);
    assert_int_equal(atomic_load(&endpoint.waiting), 1); /* all the time */
    atomic_store(&endpoint.held, false);
    assert_int_equal(pthread_join(asking, NULL), 0);
    assert_int_equal(u2i_close(u), U2I_OK);
    shop_remove(path);
}

struct caller {
    u2i_t *u;
    unsigned number;
};

static void *put_own(void *arg) {
    const struct caller *const c = arg;
    char title[16];
    u2i_error_t err;
    (void)snprintf(title, sizeof(title), "item %u", c->number);
    shop_ok(put_one(c->u, title, &err), &err);
    return NULL;
}

static void calls_that_wait_share_a_request(void **state) {
    (void)state;
    pthread_t threads[CALLERS];
    struct caller callers[CALLERS];
    u2i_t *u = shop_open(":memory:", model_url(), 0);
    const unsigned before = atomic_load(&server.requests);
    atomic_store(&endpoint.held, true);
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){u, i};
        assert_int_equal(pthread_create(&threads[i], NULL, put_own, &callers[i]), 0);
    }
    (void)usleep(300000); /* time for all to come */
    atomic_store(&endpoint.held, false);
    for (unsigned i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(atomic_load(&server.requests) - before < CALLERS);
    assert_int_equal(stats_of(u).items, CALLERS);
    require_found(u, "item 7", "item 7");
    assert_int_equal(u2i_close(u), U2I_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_store_remembers_where_its_model_is, begin, end),
        cmocka_unit_test_setup_teardown(a_length_that_was_asked_for_is_asked_for_again, begin, end),
        cmocka_unit_test_setup_teardown(a_model_that_refuses_is_asked_again_at_the_next_text, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_model_may_move_to_another_host, begin, end),
        cmocka_unit_test_setup_teardown(an_interrupted_move_pays_for_the_rest_only, begin, end),
        cmocka_unit_test_setup_teardown(nobody_else_waits_for_the_model, begin, end),
        cmocka_unit_test_setup_teardown(calls_that_wait_share_a_request, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
