/* What tests of the public API share: a store with a few items whose vectors point where their name
 * says, and one-line ways to put, record and ask. Every call that should succeed is checked. */
#ifndef U2I_TESTS_SHOP_H
#define U2I_TESTS_SHOP_H

#include "u2i.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SHOP_DIM 4

static inline int64_t shop_now_ms(void) {
    return (int64_t)time(NULL) * 1000;
}

static inline void shop_ok(int rc, const u2i_error_t *err) {
    if (rc != U2I_OK) {
        fail_msg("%s: %s", u2i_rc_name(rc), err->msg);
    }
}

static inline u2i_t *shop_open(const char *location, const char *model, uint32_t dim) {
    u2i_options_t o = U2I_OPTIONS_INIT;
    u2i_t *u;
    u2i_error_t err;
    o.model = model;
    o.dim = dim;
    shop_ok(u2i_open(location, &o, &u, &err), &err);
    return u;
}

/* A path that does not exist yet; shop_remove() deletes what grew there. */
static inline void shop_path(char *path, size_t n) {
    const char *dir = getenv("TMPDIR");
    (void)snprintf(path, n, "%s/u2i-test-XXXXXX", dir == NULL ? "/tmp" : dir);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(unlink(path), 0);
}

static inline void shop_remove(const char *path) {
    static const char *const tails[] = {"", "-wal", "-shm", "-index"};
    char name[512], file[1024];
    (void)snprintf(name, sizeof(name), "%s-index", path);
    DIR *const folder = opendir(name); /* often there is none */
    for (struct dirent *e = folder == NULL ? NULL : readdir(folder); e != NULL;
         e = readdir(folder)) {
        (void)snprintf(file, sizeof(file), "%s/%.255s", name, e->d_name);
        (void)unlink(file); /* the folder itself is none */
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, tails[i]);
        (void)remove(name); /* most are not there */
    }
}

/* `vector` has SHOP_DIM floats. */
static inline void shop_put(u2i_t *u, const char *id, const char *category, const float *vector) {
    u2i_error_t err;
    const u2i_item_t item = {.id = id, .title = id, .category = category, .vector = vector};
    shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
}

static inline void shop_event(u2i_t *u, const char *user, const char *action, const char *item,
                              int64_t time_ms) {
    u2i_error_t err;
    const u2i_event_t ev = {.user = user, .item = item, .action = action, .time_ms = time_ms};
    shop_ok(u2i_record(u, &ev, 1, sizeof(ev), NULL, &err), &err);
}

static inline void shop_set(u2i_t *u, const char *name, const char *value) {
    u2i_error_t err;
    shop_ok(u2i_set_setting(u, name, value, &err), &err);
}

static inline u2i_result_t *shop_ask(u2i_t *u, const u2i_query_t *q) {
    u2i_result_t *r;
    u2i_error_t err;
    shop_ok(u2i_recommend(u, q, &r, &err), &err);
    return r;
}

static inline u2i_result_t *shop_recommend(u2i_t *u, const char *user) {
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = user;
    return shop_ask(u, &q);
}

/* The position of `id`, or -1. */
static inline int shop_find(const u2i_result_t *r, const char *id) {
    for (size_t i = 0; i < u2i_result_count(r); i++) {
        if (strcmp(u2i_result_hit(r, i)->id, id) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Score of `id` in the user's list of everything, seen items included. */
static inline float shop_score(u2i_t *u, const char *user, const char *id) {
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = user;
    q.flags = U2I_KEEP_SEEN;
    q.limit = 100;
    u2i_result_t *r = shop_ask(u, &q);
    const int i = shop_find(r, id);
    assert_true(i >= 0);
    const float score = u2i_result_hit(r, (size_t)i)->score;
    u2i_result_free(r);
    return score;
}

#endif
