/* The SQLite store and its file: which files it takes, what damage does to it, and what happens when
 * the disk is full. What every store promises is in the conformance suite. */
#include "test_store_sqlite.h"

#include "base/rng.h"
#include <errno.h>
#include <signal.h>

/* ---- Which file is it ----------------------------------------------------------------------------- */

static void closing_leaves_one_file(void **state) {
    struct box *b = *state;
    box_open(b);
    box_put(b->s, 0, 10);
    assert_true(box_exists(b->path, "-wal"));
    box_close(b);
    assert_true(box_exists(b->path, ""));
    assert_false(box_exists(b->path, "-wal"));
    assert_false(box_exists(b->path, "-shm"));
}

static void a_text_file_is_refused_and_left_alone(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    char text[3000];
    memset(text, 'x', sizeof text);
    box_write_file(b->path, text, sizeof text);

    assert_int_equal(box_try_open(b, 0, &b->s, &err), U2I_ECORRUPT);

    assert_null(b->s);
    assert_non_null(strstr(err.msg, b->path));
    assert_non_null(strstr(err.msg, "not a u2i store"));
    size_t n;
    char *after = box_read_file(b->path, &n);
    assert_int_equal(n, sizeof text);
    assert_memory_equal(after, text, n);
    free(after);
}

/* Another program's database, with each kind of log. */
static void another_programs_database_is_left_alone(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    const char *const modes[] = {"DELETE", "WAL"};
    for (int i = 0; i < 2; i++) {
        char sql[200];
        (void)unlink(b->path);
        (void)snprintf(sql, sizeof sql,
                       "PRAGMA journal_mode = %s; PRAGMA application_id = %d;"
                       "CREATE TABLE notes (text); INSERT INTO notes VALUES ('mine')",
                       modes[i], i * 77);
        box_sql(b->path, sql);
        size_t n[2];
        char *before = box_read_file(b->path, &n[0]);

        assert_int_equal(box_try_open(b, 0, &b->s, &err), U2I_ECORRUPT);

        assert_non_null(strstr(err.msg, "another program"));
        char *after = box_read_file(b->path, &n[1]);
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(before, after, n[0]);
        assert_false(box_exists(b->path, "-wal"));
        assert_false(box_exists(b->path, "-shm"));
        free(before);
        free(after);
    }
}

static void a_newer_format_is_refused_naming_both(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    box_open(b);
    box_close(b);
    box_sql(b->path, "PRAGMA user_version = 9");

    assert_int_equal(box_try_open(b, 0, &b->s, &err), U2I_EVERSION);

    assert_non_null(strstr(err.msg, "format 9"));
    assert_non_null(strstr(err.msg, "up to 1"));
    assert_non_null(strstr(err.msg, b->path));
}

static void an_empty_file_becomes_a_store(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    box_write_file(b->path, "", 0);
    assert_int_equal(box_try_open(b, U2I_OPEN_READONLY, &b->s, &err), U2I_ECORRUPT);
    box_open(b);
    box_put(b->s, 0, 3);
    assert_int_equal(box_stats(b->s).items, 3);
}

static void a_directory_is_refused(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    (void)snprintf(b->path, sizeof b->path, "%s", b->dir);
    assert_int_equal(box_try_open(b, 0, &b->s, &err), U2I_EIO);
    (void)snprintf(b->path, sizeof b->path, "%s/no/such/dir.db", b->dir);
    assert_int_equal(box_try_open(b, 0, &b->s, &err), U2I_EIO);
    assert_non_null(strstr(err.msg, b->path));
}

static void the_directory_of_the_program_may_change(void **state) {
    struct box *b = *state;
    char full[96];
    char *before = getcwd(NULL, 0);
    memcpy(full, b->path, sizeof full);
    assert_int_equal(chdir(b->dir), 0);
    (void)snprintf(b->path, sizeof b->path, "shop.db");
    box_open(b);
    assert_int_equal(chdir("/"), 0);
    box_put(b->s, 0, 3);
    assert_int_equal(box_verify(b->s, NULL), 0);
    box_close(b);
    memcpy(b->path, full, sizeof full);
    assert_true(box_exists(b->path, ""));
    assert_int_equal(chdir(before), 0);
    free(before);
}

/* ---- Reading only --------------------------------------------------------------------------------- */

/* Opens as a user who may not write: in a child, because it cannot be taken back. Returns what the
 * child found: 0 = reads work and writes are refused. */
static int readonly_child(struct box *b) {
    u2i_error_t err;
    struct store *s;
    struct store_stats st;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
        return 1;
    }
    if (box_try_open(b, 0, &s, &err) != U2I_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 2;
    }
    if (s->ops->stats(s, &st, &err) != U2I_OK || st.items != 5 || st.events != 1) {
        return 3;
    }
    if (box_try_view(s, box_event("u", "item1", 1, NULL), NULL, &err) != U2I_EREADONLY) {
        return 4;
    }
    return s->ops->close(s) == U2I_OK ? 0 : 5;
}

static int readonly_run(struct box *b) {
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(readonly_child(b));
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_file_that_may_not_be_written_is_read(void **state) {
    struct box *b = *state;
    box_open(b);
    box_put(b->s, 0, 5);
    box_view(b->s, "u", "item1", 1, NULL);
    box_close(b);
    assert_int_equal(chmod(b->path, 0444), 0);
    assert_int_equal(chmod(b->dir, 0777), 0);
    assert_int_equal(readonly_run(b), 0);
    assert_int_equal(chmod(b->dir, 0555), 0);
    assert_int_equal(readonly_run(b), 0);
}

static void reading_only_sees_what_a_writer_commits(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    struct store *r;
    box_open(b);
    box_put(b->s, 0, 5);
    OK(box_try_open(b, U2I_OPEN_READONLY, &r, &err));
    assert_int_equal(box_stats(r).items, 5);
    box_put(b->s, 5, 5);
    assert_int_equal(box_stats(r).items, 10);
    assert_int_equal(box_put_range(r, 20, 1, &err), U2I_EREADONLY);
    assert_int_equal(r->ops->close(r), U2I_OK);
}

/* ---- Damage --------------------------------------------------------------------------------------- */

static void damage_fill(struct box *b) {
    box_open(b);
    box_put(b->s, 0, 200);
    for (int i = 0; i < 50; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "user%d", i % 7);
        box_view(b->s, user, i % 2 ? "item3" : "item4", 1000 + i, NULL);
    }
    box_close(b);
}

static char *damage_find(char *bytes, size_t n, const void *what, size_t what_n) {
    char *at = memmem(bytes, n, what, what_n);
    assert_non_null(at);
    return at;
}

static void a_truncated_file_is_damaged(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    damage_fill(b);
    size_t n;
    char *bytes = box_read_file(b->path, &n);
    const size_t lengths[] = {n - 8192, n / 2, n / 2 + 100, 8192, 700, 50};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        box_write_file(b->path, bytes, lengths[i]);
        assert_int_equal(box_try_open(b, 0, &b->s, &err), U2I_ECORRUPT);
        assert_null(b->s);
        assert_non_null(strstr(err.msg, b->path));
    }
    free(bytes);
}

static void a_flipped_bit_in_a_vector_costs_only_that_vector(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    float v[DIM];
    damage_fill(b);
    size_t n;
    char *bytes = box_read_file(b->path, &n);
    box_vector(42, v);
    damage_find(bytes, n, v, sizeof v)[5] ^= 4;
    box_write_file(b->path, bytes, n);
    free(bytes);

    box_open(b);

    assert_non_null(strstr(b->log, "vectors row 42"));
    assert_int_equal(box_stats(b->s).items, 200);
    assert_int_equal(box_stats(b->s).items_no_vector, 1);
    OK(b->s->ops->read_begin(b->s, &err));
    assert_null(b->s->ops->vector(b->s, STORE_CONTENT, b->s->ops->item_row(b->s, "item42")));
    box_vector(41, v);
    assert_memory_equal(b->s->ops->vector(b->s, STORE_CONTENT, b->s->ops->item_row(b->s, "item41")),
                        v, sizeof v);
    b->s->ops->read_end(b->s);
    char faults[4096];
    assert_int_equal(box_verify(b->s, faults), 1);
    assert_non_null(strstr(faults, "vectors row 42: the vector of 'item42'"));
    box_put(b->s, 42, 1); /* putting the item again mends it */
    assert_int_equal(box_stats(b->s).items_no_vector, 0);
    assert_int_equal(box_verify(b->s, NULL), 0);
}

static void a_flipped_bit_in_a_text_is_an_error_that_names_the_item(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    struct arena a = {0};
    struct store_item item;
    damage_fill(b);
    size_t n;
    char *bytes = box_read_file(b->path, &n);
    damage_find(bytes, n, "Title of item 17", 16)[0] ^= 1;
    box_write_file(b->path, bytes, n);
    free(bytes);
    box_open(b);

    OK(b->s->ops->read_begin(b->s, &err));
    const uint32_t row = b->s->ops->item_row(b->s, "item17");
    assert_int_equal(b->s->ops->get_item(b->s, row, &a, &item, &err), U2I_ECORRUPT);
    assert_non_null(strstr(err.msg, "item17"));
    OK(b->s->ops->get_item(b->s, row + 1, &a, &item, &err));
    b->s->ops->read_end(b->s);
    arena_free(&a);
    char faults[4096];
    assert_int_equal(box_verify(b->s, faults), 1);
    assert_non_null(strstr(faults, "items row 17: title and text"));
}

/* Whether all vectors that the store gives are those that were put. */
static void damage_check_vectors(struct store *s) {
    u2i_error_t err;
    OK(s->ops->read_begin(s, &err));
    for (int i = 0; i < 200; i++) {
        char id[16];
        float v[DIM];
        (void)snprintf(id, sizeof id, "item%d", i);
        const uint32_t row = s->ops->item_row(s, id);
        const float *got = row == STORE_NONE ? NULL : s->ops->vector(s, STORE_CONTENT, row);
        box_vector(i, v);
        assert_true(got == NULL || memcmp(got, v, sizeof v) == 0);
    }
    s->ops->read_end(s);
}

/* What can be asked may fail, but not crash, and no vector is ever wrong. */
static void damage_try(struct box *b) {
    u2i_error_t err;
    struct store *s;
    size_t faults;
    b->log[0] = 0;
    if (box_try_open(b, 0, &s, &err) != U2I_OK) {
        if (err.code == U2I_OK || err.code == U2I_EINTERNAL || err.msg[0] == 0) {
            fail_msg("opening: %d '%s'", err.code, err.msg);
        }
        return;
    }
    damage_check_vectors(s);
    (void)s->ops->verify(s, NULL, NULL, &faults, &err); /* may find or fail */
    (void)box_try_view(s, box_event("user1", "item3", 5, NULL), NULL, &err);
    (void)box_put_range(s, 190, 20, &err);
    (void)s->ops->delete_user(s, "user2", &err);
    (void)s->ops->close(s);
}

static void no_flipped_bit_crashes_or_changes_a_vector(void **state) {
    struct box *b = *state;
    const char *given = getenv("U2I_SEED");
    const uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20240607;
    struct rng rng;
    rng_seed(&rng, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    damage_fill(b);
    size_t n;
    char *bytes = box_read_file(b->path, &n);
    for (int i = 0; i < 150; i++) {
        const size_t at = (size_t)(rng_u64(&rng) % n);
        const char bit = (char)(1 << rng_below(&rng, 8));
        bytes[at] ^= bit;
        box_write_file(b->path, bytes, n);
        damage_try(b);
        bytes[at] ^= bit;
        char name[128];
        (void)snprintf(name, sizeof name, "%s-wal", b->path);
        (void)unlink(name); /* of a damaged file; none after a clean close */
    }
    free(bytes);
}

static void verify_names_rows_that_nothing_stands_for(void **state) {
    struct box *b = *state;
    char faults[4096];
    damage_fill(b);
    box_sql(b->path, "INSERT INTO events VALUES (900000, 99, 9999, 7, 5, 1.0, NULL);"
                     "DELETE FROM history WHERE seq % 2 = 0;"
                     "INSERT INTO blobs VALUES ('b', 1, x'00');"
                     "UPDATE meta SET value = 90 WHERE key = 'indexed'");
    box_open(b);
    assert_true(box_verify(b->s, faults) >= 6);
    assert_non_null(strstr(faults, "events row 900000: there is no user row 99"));
    assert_non_null(strstr(faults, "events row 900000: there is no item row 9999"));
    assert_non_null(strstr(faults, "events row 900000: there is no action 7"));
    assert_non_null(strstr(faults, "events row 900000: the number is past the sequence"));
    assert_non_null(strstr(faults, "the event is missing"));
    assert_non_null(strstr(faults, "blobs: 'b' does not match its checksum"));
    assert_non_null(strstr(faults, "meta: events is 50, there are 51"));
}

/* ---- A full disk ---------------------------------------------------------------------------------- */

/* No file may grow past `bytes`: the same errors as a full disk, without one. */
static void disk_limit(rlim_t bytes) {
    struct rlimit limit;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_fails_the_write_and_nothing_else(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    box_open(b);
    box_put(b->s, 0, 100);
    box_view(b->s, "u", "item1", 1, NULL);
    const struct store_stats before = box_stats(b->s);
    disk_limit(before.file_bytes);

    const int rc = box_put_range(b->s, 50, 20000, &err);
    const struct store_stats after = box_stats(b->s);
    const size_t history = box_history(b->s, "u", 10, NULL);

    disk_limit(RLIM_INFINITY);
    assert_int_equal(rc, U2I_EIO);
    assert_non_null(strstr(err.msg, b->path));
    assert_int_equal(after.items, before.items);
    assert_int_equal(after.sequence, before.sequence);
    assert_int_equal(history, 1);
    assert_int_equal(b->heard.items, 100);
    box_put(b->s, 100, 1); /* the row numbers of the failed write were taken back */
    OK(b->s->ops->read_begin(b->s, &err));
    assert_int_equal(b->s->ops->item_row(b->s, "item100"), 100);
    b->s->ops->read_end(b->s);
    assert_int_equal(box_verify(b->s, NULL), 0);
    box_close(b);
    box_open(b);
    assert_int_equal(box_stats(b->s).items, 101);
}

struct neighbour {
    struct store *s;
    int from, n, rc;
    pthread_t thread;
};

static void *neighbour_put(void *arg) {
    struct neighbour *w = arg;
    u2i_error_t err;
    w->rc = box_put_range(w->s, w->from, w->n, &err);
    return NULL;
}

/* One request is too large for the disk; those that share its transaction are not. */
static void one_failing_request_does_not_fail_its_neighbours(void **state) {
    struct box *b = *state;
    enum { N = 24 };
    struct neighbour all[N];
    box_open(b);
    box_put(b->s, 0, 10);
    disk_limit((rlim_t)box_stats(b->s).file_bytes + (2 << 20));
    for (int i = 0; i < N; i++) {
        all[i] = (struct neighbour){b->s, 1000 + i, 1, -1, 0};
        if (i % 8 == 0) {
            all[i].from = 100000 * (i + 1);
            all[i].n = 30000;
        }
        assert_int_equal(pthread_create(&all[i].thread, NULL, neighbour_put, &all[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        (void)pthread_join(all[i].thread, NULL);
    }
    disk_limit(RLIM_INFINITY);
    for (int i = 0; i < N; i++) {
        assert_int_equal(all[i].rc, i % 8 == 0 ? U2I_EIO : U2I_OK);
    }
    assert_int_equal(box_stats(b->s).items, 10 + N - N / 8);
    box_close(b);
    box_open(b);
    assert_int_equal(box_stats(b->s).items, 10 + N - N / 8);
    assert_int_equal(box_verify(b->s, NULL), 0);
}

/* ---- Events and their index ----------------------------------------------------------------------- */

static void index_record(struct store *s, int n) {
    u2i_error_t err;
    struct store_event *e = calloc((size_t)n, sizeof *e);
    char(*users)[16] = calloc((size_t)n, sizeof *users);
    for (int i = 0; i < n; i++) {
        (void)snprintf(users[i], sizeof users[i], "user%d", i % 101);
        e[i] = (struct store_event){users[i], "item1", "view", NULL, (i * 7919) % 10007, 1.0f};
    }
    const struct store_events in = {.events = e, .n = (size_t)n};
    OK(s->ops->put_events(s, &in, NULL, &err));
    free(users);
    free(e);
}

static int64_t history_count(const char *path, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    const int64_t n = sqlite3_column_int64(st, 0);
    (void)sqlite3_finalize(st);
    (void)sqlite3_close(db);
    return n;
}

static void index_wait(const char *path, int64_t rows) {
    for (int i = 0; i < 6000 && history_count(path, "SELECT count(*) FROM history") < rows; i++) {
        (void)usleep(10000);
    }
    assert_int_equal(history_count(path, "SELECT count(*) FROM history"), rows);
}

/* Wherever an event is, in memory, in the index, or in both, it is found once. */
static void moving_events_into_the_index_changes_no_answer(void **state) {
    struct box *b = *state;
    box_open(b);
    box_put(b->s, 0, 3);
    index_record(b->s, 20000);
    int64_t sums[101] = {0};
    int64_t windows[101] = {0};
    for (int u = 0; u < 101; u++) {
        char user[16];
        (void)snprintf(user, sizeof user, "user%d", u);
        const size_t n = box_history(b->s, user, SIZE_MAX, &sums[u]);
        assert_int_equal(n, 20000 / 101 + (u < 20000 % 101));
        (void)box_history(b->s, user, 20, &windows[u]);
    }

    index_wait(b->path, 20000);

    for (int round = 0; round < 2; round++) {
        for (int u = 0; u < 101; u++) {
            char user[16];
            int64_t sum = 0;
            int64_t window = 0;
            (void)snprintf(user, sizeof user, "user%d", u);
            (void)box_history(b->s, user, SIZE_MAX, &sum);
            (void)box_history(b->s, user, 20, &window);
            assert_int_equal(sum, sums[u]);
            assert_int_equal(window, windows[u]);
        }
        assert_int_equal(box_verify(b->s, NULL), 0);
        box_close(b);
        box_open(b);
    }
}

static void an_emptied_index_fills_again(void **state) {
    struct box *b = *state;
    box_open(b);
    box_put(b->s, 0, 3);
    index_record(b->s, 10000);
    index_wait(b->path, 10000);
    const size_t n = box_history(b->s, "user5", SIZE_MAX, NULL);
    box_close(b);
    box_sql(b->path, "DELETE FROM history; UPDATE meta SET value = 0 WHERE key = 'indexed'");
    box_open(b);
    assert_int_equal(box_history(b->s, "user5", SIZE_MAX, NULL), n);
    index_wait(b->path, 10000);
    assert_int_equal(box_history(b->s, "user5", SIZE_MAX, NULL), n);
    assert_int_equal(box_verify(b->s, NULL), 0);
}

static void a_deleted_user_leaves_no_byte_in_the_file(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    const struct store_user user = {
        .id = "someone-in-particular", .interests = "secret-interests", .decay = 0.5};
    box_open(b);
    box_put(b->s, 0, 3);
    OK(b->s->ops->put_users(b->s, &user, 1, &err));
    index_record(b->s, 9000);
    box_view(b->s, "someone-in-particular", "item1", 1, "secret-event-id");
    index_wait(b->path, 9001);
    box_view(b->s, "someone-in-particular", "item2", 2, NULL);
    OK(b->s->ops->delete_user(b->s, "someone-in-particular", &err));
    assert_int_equal(b->s->ops->delete_user(b->s, "someone-in-particular", &err), U2I_ENOTFOUND);
    assert_int_equal(box_verify(b->s, NULL), 0);
    assert_int_equal(box_stats(b->s).events, 9000);
    box_close(b);

    size_t n;
    char *bytes = box_read_file(b->path, &n);
    assert_null(memmem(bytes, n, "someone-in-particular", 21));
    assert_null(memmem(bytes, n, "secret-", 7));
    free(bytes);
    assert_int_equal(history_count(b->path, "SELECT count(*) FROM history"), 9000);
}

static void a_deleted_users_number_is_never_given_again(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    box_open(b);
    box_put(b->s, 0, 1);
    box_view(b->s, "first", "item0", 1, NULL);
    box_view(b->s, "second", "item0", 1, NULL);
    OK(b->s->ops->delete_user(b->s, "second", &err));
    box_close(b);
    box_open(b);
    box_view(b->s, "third", "item0", 1, NULL);
    OK(b->s->ops->read_begin(b->s, &err));
    assert_int_equal(b->s->ops->user_row(b->s, "first"), 0);
    assert_int_equal(b->s->ops->user_row(b->s, "third"), 2);
    assert_int_equal(b->s->ops->user_end(b->s), 3);
    b->s->ops->read_end(b->s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BOX_TEST(closing_leaves_one_file),
        BOX_TEST(a_text_file_is_refused_and_left_alone),
        BOX_TEST(another_programs_database_is_left_alone),
        BOX_TEST(a_newer_format_is_refused_naming_both),
        BOX_TEST(an_empty_file_becomes_a_store),
        BOX_TEST(a_directory_is_refused),
        BOX_TEST(the_directory_of_the_program_may_change),
        BOX_TEST(a_file_that_may_not_be_written_is_read),
        BOX_TEST(reading_only_sees_what_a_writer_commits),
        BOX_TEST(a_truncated_file_is_damaged),
        BOX_TEST(a_flipped_bit_in_a_vector_costs_only_that_vector),
        BOX_TEST(a_flipped_bit_in_a_text_is_an_error_that_names_the_item),
        BOX_TEST(no_flipped_bit_crashes_or_changes_a_vector),
        BOX_TEST(verify_names_rows_that_nothing_stands_for),
        BOX_TEST(a_full_disk_fails_the_write_and_nothing_else),
        BOX_TEST(one_failing_request_does_not_fail_its_neighbours),
        BOX_TEST(moving_events_into_the_index_changes_no_answer),
        BOX_TEST(an_emptied_index_fills_again),
        BOX_TEST(a_deleted_user_leaves_no_byte_in_the_file),
        BOX_TEST(a_deleted_users_number_is_never_given_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
