/* What the tests of the SQLite store share: a directory of its own for each test, a store in it, and
 * a log and a listener that remember. */
#ifndef TEST_STORE_SQLITE_H
#define TEST_STORE_SQLITE_H

#include "base/thread.h"
#include "store/store.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* */
#include <cmocka.h>

enum { DIM = 8 };

#define OK(call)                                                                                   \
    do {                                                                                           \
        const int ok_rc = (call);                                                                  \
        if (ok_rc != U2I_OK) {                                                                     \
            fail_msg("%s: %d %s", #call, ok_rc, err.msg);                                          \
        }                                                                                          \
    } while (0)

struct heard { /* what a listener was told, counted */
    _Atomic int events, users_deleted, users, items, settings, resets;
};

struct box {
    char dir[64], path[96];
    pthread_mutex_t log_lock;
    char log[4096]; /* the first lines logged */
    struct heard heard;
    struct store *s;
};

static void heard_events(void *ctx, const struct store_event_row *rows, size_t n) {
    (void)rows;
    ((struct heard *)ctx)->events += (int)n;
}
static void heard_user_deleted(void *ctx, uint32_t user, const struct store_event_row *rows,
                               size_t n) {
    (void)user;
    (void)rows;
    (void)n;
    ((struct heard *)ctx)->users_deleted++;
}
static void heard_user(void *ctx, uint32_t user) {
    (void)user;
    ((struct heard *)ctx)->users++;
}
static void heard_item(void *ctx, uint32_t item) {
    (void)item;
    ((struct heard *)ctx)->items++;
}
static void heard_settings(void *ctx) {
    ((struct heard *)ctx)->settings++;
}
static void heard_reset(void *ctx) {
    ((struct heard *)ctx)->resets++;
}

static void box_log(void *ctx, int level, const char *line) {
    struct box *b = ctx;
    (void)level;
    (void)pthread_mutex_lock(&b->log_lock);
    const size_t n = strlen(b->log);
    (void)snprintf(b->log + n, sizeof b->log - n, "%s\n", line);
    (void)pthread_mutex_unlock(&b->log_lock);
}

/* For logs that threads write to. */
static inline bool box_logged(struct box *b, const char *words) {
    (void)pthread_mutex_lock(&b->log_lock);
    const bool found = strstr(b->log, words) != NULL;
    (void)pthread_mutex_unlock(&b->log_lock);
    return found;
}

static struct store_options box_options(struct box *b, struct heard *heard) {
    struct store_options o = {.dim = DIM, .model = "none", .clock = clock_system()};
    o.log = (struct log){box_log, b};
    if (heard != NULL) {
        o.listener = (struct store_listener){.ctx = heard,
                                             .events = heard_events,
                                             .user_deleted = heard_user_deleted,
                                             .user_changed = heard_user,
                                             .item_changed = heard_item,
                                             .settings_changed = heard_settings,
                                             .reset = heard_reset};
    }
    return o;
}

static inline int box_try_open(struct box *b, uint32_t flags, struct store **s, u2i_error_t *err) {
    struct store_options o = box_options(b, &b->heard);
    o.flags = flags;
    *err = (u2i_error_t){.msg = ""};
    return store_sqlite_open(b->path, &o, s, err);
}

static inline void box_open(struct box *b) {
    u2i_error_t err;
    OK(box_try_open(b, 0, &b->s, &err));
}

static inline void box_close(struct box *b) {
    assert_int_equal(b->s->ops->close(b->s), U2I_OK);
    b->s = NULL;
}

static int box_setup(void **state) {
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    (void)pthread_mutex_init(&b->log_lock, NULL); /* cannot fail on Linux */
    (void)snprintf(b->dir, sizeof b->dir, "%s", "/tmp/u2i-test-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    (void)snprintf(b->path, sizeof b->path, "%s/shop.db", b->dir);
    *state = b;
    return 0;
}

/* A folder with files, and with folders of files (the indexes of stores). */
static inline void box_remove_folder(const char *path) {
    (void)chmod(path, 0700);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char name[600];
        const bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        (void)snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (!dots && unlink(name) != 0) {
            box_remove_folder(name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    (void)rmdir(path);
}

static int box_teardown(void **state) {
    struct box *b = *state;
    if (b->s != NULL) {
        (void)b->s->ops->close(b->s); /* a test that failed left it open */
    }
    box_remove_folder(b->dir);
    free(b);
    return 0;
}

/* ---- Writing and reading -------------------------------------------------------------------------- */

/* A vector that is different for each item and easy to find in a file. */
static inline void box_vector(int i, float *v) {
    for (int d = 0; d < DIM; d++) {
        v[d] = (float)((i * 31 + d * 17) % 97) / 97.0f + (float)(d + 1);
    }
    v[0] = (float)i;
}

static inline int box_put_range(struct store *s, int from, int n, u2i_error_t *err) {
    struct store_item *items = calloc((size_t)n, sizeof *items);
    float *v = calloc((size_t)n * DIM, sizeof *v);
    char(*ids)[16] = calloc((size_t)n, sizeof *ids);
    char(*titles)[32] = calloc((size_t)n, sizeof *titles);
    for (int i = 0; i < n; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "item%d", from + i);
        (void)snprintf(titles[i], sizeof titles[i], "Title of item %d", from + i);
        box_vector(from + i, v + i * DIM);
        items[i] = (struct store_item){.id = ids[i],
                                       .title = titles[i],
                                       .category = "books",
                                       .attrs_json = "{\"price\": 9.5}",
                                       .vector = v + i * DIM};
    }
    const int rc = s->ops->put_items(s, items, (size_t)n, err);
    free(titles);
    free(ids);
    free(v);
    free(items);
    return rc;
}

static inline void box_put(struct store *s, int from, int n) {
    u2i_error_t err;
    OK(box_put_range(s, from, n, &err));
}

static inline struct store_event box_event(const char *user, const char *item, int64_t at,
                                           const char *id) {
    return (struct store_event){user, item, "view", id, at, 1.0f};
}

static inline int box_try_view(struct store *s, struct store_event e, size_t *recorded,
                               u2i_error_t *err) {
    const struct store_events in = {.events = &e, .n = 1};
    return s->ops->put_events(s, &in, recorded, err);
}

static inline size_t box_view(struct store *s, const char *user, const char *item, int64_t at,
                              const char *id) {
    u2i_error_t err;
    size_t recorded = 0;
    OK(box_try_view(s, box_event(user, item, at, id), &recorded, &err));
    return recorded;
}

static inline struct store_stats box_stats(struct store *s) {
    u2i_error_t err;
    struct store_stats st;
    OK(s->ops->stats(s, &st, &err));
    return st;
}

static inline void box_print_fault(void *ctx, const char *where, const char *what) {
    char *text = ctx;
    const size_t n = strlen(text);
    (void)snprintf(text + n, 4096 - n, "%s: %s\n", where, what);
}

/* The number of faults; their text in faults[4096], which may be NULL. */
static inline size_t box_verify(struct store *s, char *faults) {
    u2i_error_t err;
    size_t n = 0;
    char text[4096] = "";
    OK(s->ops->verify(s, box_print_fault, text, &n, &err));
    if (faults != NULL) {
        memcpy(faults, text, sizeof text);
    } else if (n > 0) {
        fail_msg("faults:\n%s", text);
    }
    return n;
}

/* How many events of the user a read finds, and a sum over them. */
static inline size_t box_history(struct store *s, const char *user, size_t window, int64_t *sum) {
    u2i_error_t err;
    struct store_event_row *rows = NULL;
    size_t n = 0;
    OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->user_row(s, user);
    if (row != STORE_NONE) {
        OK(s->ops->user_events(s, row, window, &rows, &n, &err));
    }
    s->ops->read_end(s);
    for (size_t i = 0; sum != NULL && i < n; i++) {
        *sum += rows[i].time_ms;
        assert_true(i == 0 || rows[i - 1].time_ms >= rows[i].time_ms);
    }
    free(rows);
    return n;
}

/* Runs SQL on the file behind the store's back. */
static inline void box_sql(const char *path, const char *sql) {
    sqlite3 *db;
    char *msg = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &msg) != SQLITE_OK) {
        fail_msg("%s: %s", sql, msg);
    }
    (void)sqlite3_close(db);
}

static inline char *box_read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    (void)fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    char *bytes = malloc(*n + 1);
    rewind(f);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    (void)fclose(f);
    return bytes;
}

static inline void box_write_file(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline bool box_exists(const char *path, const char *suffix) {
    char name[200];
    (void)snprintf(name, sizeof name, "%s%s", path, suffix);
    return access(name, F_OK) == 0;
}

#define BOX_TEST(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

#endif
