/* Any number of threads on one handle: recording, putting, deleting, changing settings, learning word
 * weights and asking at once, on both stores. Under TSan this finds races; without it, it still checks
 * that every acknowledged event counts in the very next answer of its own thread. */
#include "shop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define WORKERS 4
#define ROUNDS  60

struct crowd {
    u2i_t *u;
    atomic_int failures;
    atomic_bool stop;
};

struct worker {
    struct crowd *crowd;
    int number;
};

static void crowd_check(struct crowd *c, bool ok, const char *what, const u2i_error_t *err) {
    if (!ok) {
        (void)fprintf(stderr, "%s: %s\n", what, err->msg);
        (void)atomic_fetch_add(&c->failures, 1);
    }
}

/* Each worker has users and items of its own, so that it knows what must be true of them. */
static void worker_round(struct worker *w, int round) {
    struct crowd *c = w->crowd;
    char user[32], item[32], title[64];
    u2i_error_t err = {0};
    (void)snprintf(user, sizeof(user), "u%d-%d", w->number, round % 7);
    (void)snprintf(item, sizeof(item), "i%d-%d", w->number, round % 20);
    (void)snprintf(title, sizeof(title), "story number %d of author %d", round % 20, w->number);
    const u2i_item_t put = {
        .id = item, .title = title, .category = "c", .attrs_json = "{\"n\": 1}"};
    crowd_check(c, u2i_put_items(c->u, &put, 1, sizeof(put), &err) == U2I_OK, "put", &err);
    const u2i_event_t ev = {.user = user, .item = item, .action = "like"};
    crowd_check(c, u2i_record(c->u, &ev, 1, sizeof(ev), NULL, &err) == U2I_OK, "record", &err);
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = NULL;
    q.user = user;
    q.limit = 100;
    q.filter = "category == \"c\" and n < 2";
    if (u2i_recommend(c->u, &q, &r, &err) != U2I_OK) {
        crowd_check(c, false, "recommend", &err);
        return;
    }
    crowd_check(c, shop_find(r, item) < 0, "an item just liked is recommended", &err);
    u2i_result_free(r);
    if (round % 10 == 9) {
        const char *id = item;
        crowd_check(c, u2i_delete_items(c->u, &id, 1, NULL, &err) == U2I_OK, "delete", &err);
        crowd_check(c, u2i_delete_user(c->u, user, &err) == U2I_OK, "delete user", &err);
    }
}

static void *worker_run(void *arg) {
    struct worker *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        worker_round(w, i);
    }
    return NULL;
}

/* Asks everything there is to ask until the workers are done. */
static void *asker_run(void *arg) {
    struct crowd *c = arg;
    u2i_error_t err = {0};
    while (!atomic_load(&c->stop)) {
        u2i_query_t q = U2I_QUERY_INIT;
        u2i_result_t *r = NULL;
        q.user = "u0-1";
        q.text = "author story";
        const int similar = u2i_similar_users(c->u, &q, &r, &err);
        crowd_check(c, similar == U2I_OK || similar == U2I_ENOTFOUND, "similar users", &err);
        u2i_result_free(r);
        crowd_check(c, u2i_search(c->u, &q, &r, &err) == U2I_OK, "search", &err);
        u2i_result_free(r);
        crowd_check(c, u2i_popular(c->u, &q, &r, &err) == U2I_OK, "popular", &err);
        u2i_result_free(r);
        u2i_stats_t s = U2I_STATS_INIT;
        crowd_check(c, u2i_stats(c->u, &s, &err) == U2I_OK, "stats", &err);
    }
    return NULL;
}

/* Changes what everybody looks at. */
static void *changer_run(void *arg) {
    struct crowd *c = arg;
    u2i_error_t err = {0};
    for (int i = 0; !atomic_load(&c->stop); i++) {
        crowd_check(c, u2i_set_setting(c->u, "action.view", i % 2 == 0 ? "2" : "1", &err) == U2I_OK,
                    "set", &err);
        crowd_check(c, u2i_reembed(c->u, NULL, NULL, &err) == U2I_OK, "reembed", &err);
        (void)usleep(2000);
    }
    return NULL;
}

static void crowd_run(const char *location) {
    struct crowd c = {.u = shop_open(location, "hash", 64)};
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS], asker, changer;
    const u2i_item_t first = {.id = "first", .title = "the first story"};
    u2i_error_t err;
    shop_ok(u2i_put_items(c.u, &first, 1, sizeof(first), &err), &err);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){&c, i};
        assert_int_equal(pthread_create(&threads[i], NULL, worker_run, &workers[i]), 0);
    }
    assert_int_equal(pthread_create(&asker, NULL, asker_run, &c), 0);
    assert_int_equal(pthread_create(&changer, NULL, changer_run, &c), 0);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    atomic_store(&c.stop, true);
    assert_int_equal(pthread_join(asker, NULL), 0);
    assert_int_equal(pthread_join(changer, NULL), 0);
    assert_int_equal(atomic_load(&c.failures), 0);
    assert_int_equal(u2i_close(c.u), U2I_OK);
}

static void threads_share_a_handle_in_memory(void **state) {
    (void)state;
    crowd_run(":memory:");
}

static void threads_share_a_handle_on_a_file(void **state) {
    (void)state;
    char path[256];
    shop_path(path, sizeof(path));
    crowd_run(path);
    shop_remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_handle_in_memory),
        cmocka_unit_test(threads_share_a_handle_on_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
