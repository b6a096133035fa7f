/* The SQLite store under many writers: threads of one handle that share commits, two handles and two
 * processes on one file that see each other's writes. */
#include "test_store_sqlite.h"

/* ---- Many threads, one handle --------------------------------------------------------------------- */

enum { THREADS = 32, EACH = 40 };

struct worker {
    struct store *s;
    int number, recorded, failed;
    pthread_t thread;
};

static void workers_run(struct worker *w, int n, struct store *const *stores, int stores_n,
                        void *(*run)(void *)) {
    for (int i = 0; i < n; i++) {
        w[i] = (struct worker){stores[i % stores_n], i, 0, 0, 0};
        assert_int_equal(pthread_create(&w[i].thread, NULL, run, &w[i]), 0);
    }
    for (int i = 0; i < n; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    }
}

/* Every fourth event names an item that isn't there. */
static void *worker_record(void *arg) {
    struct worker *w = arg;
    for (int i = 0; i < EACH; i++) {
        char user[16];
        u2i_error_t err;
        size_t recorded = 0;
        (void)snprintf(user, sizeof user, "user%d", w->number);
        const bool bad = i % 4 == 3;
        const int rc = box_try_view(w->s, box_event(user, bad ? "nothing" : "item1", i, NULL),
                                    &recorded, &err);
        w->recorded += (int)recorded;
        w->failed += rc == U2I_ENOTFOUND;
        if (rc != (bad ? U2I_ENOTFOUND : U2I_OK)) {
            w->failed = -1000000;
        }
    }
    return NULL;
}

static void each_of_many_writers_gets_its_own_result(void **state) {
    struct box *b = *state;
    struct worker w[THREADS];
    box_open(b);
    box_put(b->s, 0, 2);
    workers_run(w, THREADS, &b->s, 1, worker_record);
    for (int i = 0; i < THREADS; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "user%d", i);
        assert_int_equal(w[i].recorded, EACH * 3 / 4);
        assert_int_equal(w[i].failed, EACH / 4);
        assert_int_equal(box_history(b->s, user, SIZE_MAX, NULL), EACH * 3 / 4);
    }
    assert_int_equal(box_stats(b->s).events, THREADS * EACH * 3 / 4);
    assert_int_equal(b->heard.events, THREADS * EACH * 3 / 4);
    assert_int_equal(box_verify(b->s, NULL), 0);
}

/* All record the same events. */
static void *worker_retry(void *arg) {
    struct worker *w = arg;
    for (int i = 0; i < EACH; i++) {
        char id[16];
        u2i_error_t err;
        size_t recorded = 0;
        (void)snprintf(id, sizeof id, "event%d", i);
        w->failed += box_try_view(w->s, box_event("u", "item1", i, id), &recorded, &err) != U2I_OK;
        w->recorded += (int)recorded;
    }
    return NULL;
}

static void an_event_id_is_recorded_once_by_any_number_of_writers(void **state) {
    struct box *b = *state;
    struct worker w[8];
    struct store *stores[2];
    u2i_error_t err;
    int recorded = 0;
    box_open(b);
    box_put(b->s, 0, 2);
    stores[0] = b->s;
    OK(box_try_open(b, 0, &stores[1], &err));
    workers_run(w, 8, stores, 2, worker_retry);
    for (int i = 0; i < 8; i++) {
        recorded += w[i].recorded;
        assert_int_equal(w[i].failed, 0);
    }
    assert_int_equal(recorded, EACH);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(box_stats(stores[i]).events, EACH);
        assert_int_equal(box_history(stores[i], "u", SIZE_MAX, NULL), EACH);
    }
    assert_int_equal(stores[1]->ops->close(stores[1]), U2I_OK);
}

/* A bit of everything, on rows that others work on too. */
static void *worker_mix(void *arg) {
    struct worker *w = arg;
    for (int i = 0; i < EACH; i++) {
        char name[16];
        u2i_error_t err;
        int rc = U2I_OK;
        (void)snprintf(name, sizeof name, "user%d", (w->number + i) % 5);
        const char *ids[] = {"item7", "item8"};
        const struct store_user user = {.id = name, .interests = "x"};
        switch ((w->number + i) % 6) {
        case 0:
            rc = box_put_range(w->s, (i * 3) % 20, 5, &err);
            break;
        case 1:
            rc = w->s->ops->delete_items(w->s, ids, 2, NULL, &err);
            break;
        case 2:
            rc = w->s->ops->put_users(w->s, &user, 1, &err);
            break;
        case 3:
            rc = w->s->ops->delete_user(w->s, name, &err);
            rc = rc == U2I_ENOTFOUND ? U2I_OK : rc;
            break;
        default:
            rc = box_try_view(w->s, box_event(name, "item1", i, NULL), NULL, &err);
            w->recorded += rc == U2I_OK;
            break;
        }
        w->failed += rc != U2I_OK;
        (void)box_history(w->s, name, 10, NULL);
    }
    return NULL;
}

static void compare_stores(struct store *a, struct store *c) {
    const struct store_stats x = box_stats(a);
    const struct store_stats y = box_stats(c);
    assert_int_equal(x.items, y.items);
    assert_int_equal(x.users, y.users);
    assert_int_equal(x.events, y.events);
    assert_int_equal(x.sequence, y.sequence);
    assert_int_equal(x.items_no_vector, y.items_no_vector);
    for (int i = 0; i < 5; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "user%d", i);
        assert_int_equal(box_history(a, user, SIZE_MAX, NULL),
                         box_history(c, user, SIZE_MAX, NULL));
    }
}

static void two_handles_that_both_write_agree(void **state) {
    struct box *b = *state;
    struct worker w[8];
    struct store *stores[2];
    u2i_error_t err;
    box_open(b);
    box_put(b->s, 0, 20);
    stores[0] = b->s;
    OK(box_try_open(b, 0, &stores[1], &err));
    workers_run(w, 8, stores, 2, worker_mix);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(w[i].failed, 0);
    }
    compare_stores(stores[0], stores[1]);
    assert_int_equal(box_verify(stores[0], NULL), 0);
    assert_int_equal(stores[1]->ops->close(stores[1]), U2I_OK);
    OK(box_try_open(b, 0, &stores[1], &err));
    compare_stores(stores[0], stores[1]);
    assert_int_equal(stores[1]->ops->close(stores[1]), U2I_OK);
}

/* ---- Two handles ---------------------------------------------------------------------------------- */

struct pair {
    struct store *other;
    struct heard heard;
};

static void pair_open(struct box *b, struct pair *p) {
    u2i_error_t err;
    const struct store_options o = box_options(b, &p->heard);
    box_open(b);
    OK(store_sqlite_open(b->path, &o, &p->other, &err));
}

static void another_handle_sees_items_come_change_and_go(void **state) {
    struct box *b = *state;
    struct pair p = {0};
    u2i_error_t err;
    float v[DIM] = {1};
    pair_open(b, &p);
    box_put(b->s, 0, 50);
    assert_int_equal(box_stats(p.other).items, 50);
    assert_int_equal(p.heard.items, 50);

    const struct store_item changed = {.id = "item3", .title = "New title", .vector = v};
    OK(b->s->ops->put_items(b->s, &changed, 1, &err));
    struct arena a = {0};
    struct store_item item;
    OK(p.other->ops->read_begin(p.other, &err));
    const uint32_t row = p.other->ops->item_row(p.other, "item3");
    OK(p.other->ops->get_item(p.other, row, &a, &item, &err));
    assert_string_equal(item.title, "New title");
    assert_memory_equal(item.vector, v, sizeof v);
    p.other->ops->read_end(p.other);
    arena_free(&a);

    const uint32_t rows[] = {row};
    v[1] = 2;
    OK(p.other->ops->put_vectors(p.other, rows, v, 1, 3, &err)); /* the other way round */
    OK(b->s->ops->read_begin(b->s, &err));
    assert_memory_equal(b->s->ops->vector(b->s, STORE_CONTENT, row), v, sizeof v);
    b->s->ops->read_end(b->s);

    const char *const ids[] = {"item3", "item4", "nothing"};
    size_t deleted = 0;
    OK(b->s->ops->delete_items(b->s, ids, 3, &deleted, &err));
    assert_int_equal(deleted, 2);
    assert_int_equal(box_stats(p.other).items, 48);
    assert_int_equal(p.heard.items, 50 + 1 + 1 + 2);
    assert_int_equal(p.heard.resets, 0);
    assert_int_equal(p.other->ops->close(p.other), U2I_OK);
}

static void another_handle_sees_events_users_and_settings(void **state) {
    struct box *b = *state;
    struct pair p = {0};
    u2i_error_t err;
    pair_open(b, &p);
    box_put(b->s, 0, 2);
    box_view(b->s, "u", "item0", 1, "e1");
    assert_int_equal(box_history(p.other, "u", 10, NULL), 1);
    assert_int_equal(p.heard.events, 1);
    assert_int_equal(box_view(p.other, "u", "item0", 1, "e1"), 0);
    box_view(p.other, "u", "item1", 2, NULL);
    assert_int_equal(box_history(b->s, "u", 10, NULL), 2);
    assert_int_equal(b->heard.events, 2);

    const struct store_user user = {.id = "u", .interests = "chess"};
    OK(b->s->ops->put_users(b->s, &user, 1, &err));
    OK(b->s->ops->put_setting(b->s, "durability", "normal", &err));
    assert_int_equal(box_history(p.other, "u", 10, NULL), 2);
    assert_true(p.heard.users >= 1);
    assert_int_equal(p.heard.settings, 1);
    box_view(p.other, "u", "item1", 3, NULL); /* now relaxed */

    OK(b->s->ops->delete_user(b->s, "u", &err));
    assert_int_equal(box_history(p.other, "u", 10, NULL), 0);
    assert_int_equal(box_stats(p.other).users, 0);
    assert_int_equal(p.heard.users_deleted, 1);
    assert_int_equal(p.heard.resets, 1); /* the events are gone: what was derived starts over */
    assert_int_equal(p.other->ops->close(p.other), U2I_OK);
    assert_int_equal(box_verify(b->s, NULL), 0);
}

/* More changes than the log keeps: everything is loaded anew. */
static void a_handle_that_missed_too_much_loads_anew(void **state) {
    struct box *b = *state;
    struct pair p = {0};
    u2i_error_t err;
    enum { N = 2000 };
    struct store_user *users = calloc(N, sizeof *users);
    char(*ids)[16] = calloc(N, sizeof *ids);
    pair_open(b, &p);
    box_put(b->s, 0, 2);
    assert_int_equal(box_stats(p.other).items, 2);
    for (int i = 0; i < N; i++) { /* neighbours in the list are none in the table */
        (void)snprintf(ids[i], sizeof ids[i], "user%d", i % 2 ? i : N - 2 - i);
        users[i].id = ids[i];
    }
    for (int i = 0; i < 105000 / N + 2; i++) {
        for (int k = 0; i == 0 && k < N; k++) {
            users[k].id = ids[k];
        }
        OK(b->s->ops->put_users(b->s, users, N, &err));
        for (int k = 0; k < N; k++) {
            users[k].id = ids[(k * 7 + i) % N];
        }
    }
    box_view(b->s, "user5", "item1", 1, NULL);

    assert_int_equal(box_history(p.other, "user5", 10, NULL), 1);

    assert_int_equal(p.heard.resets, 1);
    assert_int_equal(box_stats(p.other).users, N);
    compare_stores(b->s, p.other);
    assert_int_equal(p.other->ops->close(p.other), U2I_OK);
    free(ids);
    free(users);
}

static int64_t moved(const char *path) {
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t n = -1;
    if (sqlite3_open(path, &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT count(*) FROM history", -1, &st, NULL) == SQLITE_OK) {
        n = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
        (void)sqlite3_finalize(st);
    }
    (void)sqlite3_close(db);
    return n;
}

/* One handle forgets users while both move events into the index. */
static void a_user_forgotten_by_one_handle_is_not_brought_back_by_the_other(void **state) {
    struct box *b = *state;
    struct pair p = {0};
    u2i_error_t err;
    enum { N = 12000 };
    struct store_event *e = calloc(N, sizeof *e);
    char(*users)[16] = calloc(N, sizeof *users);
    pair_open(b, &p);
    box_put(b->s, 0, 2);
    for (int i = 0; i < N; i++) {
        (void)snprintf(users[i], sizeof users[i], "user%d", i % 60);
        e[i] = (struct store_event){users[i], "item1", "view", NULL, i, 1.0f};
    }
    const struct store_events in = {.events = e, .n = N};
    OK(b->s->ops->put_events(b->s, &in, NULL, &err));
    assert_int_equal(box_history(p.other, "user1", SIZE_MAX, NULL), N / 60);
    for (int i = 0; i < 30; i++) {
        struct store *s = i % 2 ? b->s : p.other;
        OK(s->ops->delete_user(s, users[i], &err));
        (void)usleep(3000);
    }
    box_view(p.other, "user59", "item1", 1, NULL);
    for (int i = 0; i < 500 && moved(b->path) < N / 2; i++) {
        (void)usleep(10000);
    }
    assert_int_equal(box_stats(b->s).events, N / 2 + 1);
    assert_int_equal(box_stats(p.other).events, N / 2 + 1);
    assert_int_equal(box_history(b->s, "user3", 10, NULL), 0);
    assert_int_equal(box_history(b->s, "user40", SIZE_MAX, NULL), N / 60);
    assert_int_equal(box_history(p.other, "user40", SIZE_MAX, NULL), N / 60);
    assert_int_equal(box_verify(b->s, NULL), 0);
    assert_int_equal(p.other->ops->close(p.other), U2I_OK);
    free(users);
    free(e);
}

/* ---- Two processes -------------------------------------------------------------------------------- */

enum { PROCESS_EVENTS = 300 };

static int process_write(struct box *b, const char *user) {
    struct store *s;
    u2i_error_t err;
    if (box_try_open(b, 0, &s, &err) != U2I_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    for (int i = 0; i < PROCESS_EVENTS; i++) {
        size_t recorded;
        if (box_try_view(s, box_event(user, "item1", i, NULL), &recorded, &err) != U2I_OK) {
            (void)fprintf(stderr, "%s\n", err.msg);
            return 2;
        }
    }
    return s->ops->close(s) == U2I_OK ? 0 : 3;
}

static void two_processes_write_and_see_each_other(void **state) {
    struct box *b = *state;
    box_open(b);
    box_put(b->s, 0, 2);
    box_close(b);
    const pid_t pid = fork(); /* before this process opens: a handle does not survive a fork */
    if (pid == 0) {
        _exit(process_write(b, "child"));
    }
    box_open(b);
    for (int i = 0; i < PROCESS_EVENTS; i++) {
        box_view(b->s, "parent", "item1", i, NULL);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(box_history(b->s, "child", SIZE_MAX, NULL), PROCESS_EVENTS);
    assert_int_equal(box_history(b->s, "parent", SIZE_MAX, NULL), PROCESS_EVENTS);
    assert_true(b->heard.events >= PROCESS_EVENTS);
    assert_int_equal(box_verify(b->s, NULL), 0);
}

/* Both create the file at the same moment. */
static void two_processes_may_create_one_store(void **state) {
    struct box *b = *state;
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct store *s;
            u2i_error_t err;
            const int rc = box_try_open(b, 0, &s, &err);
            if (rc != U2I_OK) {
                (void)fprintf(stderr, "%s\n", err.msg);
                _exit(1);
            }
            _exit(box_put_range(s, i, 1, &err) == U2I_OK && s->ops->close(s) == U2I_OK ? 0 : 2);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    box_open(b);
    assert_int_equal(box_stats(b->s).items, 4);
    assert_int_equal(box_verify(b->s, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BOX_TEST(each_of_many_writers_gets_its_own_result),
        BOX_TEST(an_event_id_is_recorded_once_by_any_number_of_writers),
        BOX_TEST(two_handles_that_both_write_agree),
        BOX_TEST(another_handle_sees_items_come_change_and_go),
        BOX_TEST(another_handle_sees_events_users_and_settings),
        BOX_TEST(a_handle_that_missed_too_much_loads_anew),
        BOX_TEST(a_user_forgotten_by_one_handle_is_not_brought_back_by_the_other),
        BOX_TEST(two_processes_write_and_see_each_other),
        BOX_TEST(two_processes_may_create_one_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
