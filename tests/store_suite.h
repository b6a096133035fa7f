/* What the tests of stores share: ways to open each kind of store, a listener that writes down what
 * it hears, and short forms of the calls that nearly every test makes. Only static functions, since
 * each test is one program of one file. */
#ifndef U2I_TESTS_STORE_SUITE_H
#define U2I_TESTS_STORE_SUITE_H

#include "store/store.h"

#include <assert.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SUITE_DIM 4

/* ---- Checks ------------------------------------------------------------------------------------- */

static inline void suite_check(int rc, int want, const u2i_error_t *err, const char *file,
                               int line) {
    if (rc != want) {
        print_error("%s:%d: %s instead of %s: %s\n", file, line, u2i_rc_name(rc), u2i_rc_name(want),
                    rc != U2I_OK ? err->msg : "");
        fail();
    }
}
/* expr is a call that fills `err`, which must be in scope. */
#define SUITE_RC(want, expr) suite_check((expr), (want), &err, __FILE__, __LINE__)
#define SUITE_OK(expr)       SUITE_RC(U2I_OK, expr)

/* ---- A listener that writes down what it hears ---------------------------------------------------- */

struct suite_heard {
    char text[4096]; /* "item 0, events 2, user 1 gone with 3, ..." */
    size_t len;
};

__attribute__((format(printf, 2, 3))) static inline void suite_heard_add(struct suite_heard *h,
                                                                         const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(h->text + h->len, sizeof h->text - h->len, fmt, args);
    va_end(args);
    const size_t room = sizeof h->text - h->len - 1;
    h->len += (size_t)n < room ? (size_t)n : room;
}
static inline void suite_on_events(void *ctx, const struct store_event_row *events, size_t n) {
    (void)events;
    suite_heard_add(ctx, "events %zu, ", n);
}
static inline void suite_on_user_deleted(void *ctx, uint32_t user,
                                         const struct store_event_row *events, size_t n) {
    (void)events;
    suite_heard_add(ctx, "user %u gone with %zu, ", user, n);
}
static inline void suite_on_user(void *ctx, uint32_t user) {
    suite_heard_add(ctx, "user %u, ", user);
}
static inline void suite_on_item(void *ctx, uint32_t item) {
    suite_heard_add(ctx, "item %u, ", item);
}
static inline void suite_on_settings(void *ctx) {
    suite_heard_add(ctx, "settings, ");
}
static inline void suite_on_reset(void *ctx) {
    suite_heard_add(ctx, "reset, ");
}

/* ---- Opening -------------------------------------------------------------------------------------- */

/* How a kind of store is opened; `path` is ignored by those that have no file. */
struct suite_kind {
    const char *name;
    bool on_disk;
    int (*open)(const char *path, const struct store_options *opt, struct store **out,
                u2i_error_t *err);
};
static inline int suite_open_memory(const char *path, const struct store_options *opt,
                                    struct store **out, u2i_error_t *err) {
    (void)path;
    return store_memory_open(opt, out, err);
}
static const struct suite_kind suite_memory = {"memory", false, suite_open_memory};
static const struct suite_kind suite_sqlite = {"sqlite", true, store_sqlite_open};

static inline struct store_options suite_options(struct suite_heard *heard) {
    struct store_options opt = {.dim = SUITE_DIM, .model = "none", .clock = clock_system()};
    if (heard != NULL) {
        opt.listener = (struct store_listener){.ctx = heard,
                                               .events = suite_on_events,
                                               .user_deleted = suite_on_user_deleted,
                                               .user_changed = suite_on_user,
                                               .item_changed = suite_on_item,
                                               .settings_changed = suite_on_settings,
                                               .reset = suite_on_reset};
    }
    return opt;
}

/* An empty folder of our own, to be removed by suite_remove_dir(). */
static inline void suite_make_dir(char *dir, size_t bytes) {
    const char *base = getenv("TMPDIR");
    (void)snprintf(dir, bytes, "%s/u2i-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(dir));
}
static inline void suite_remove_dir(const char *dir) {
    char command[600];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

/* ---- Short forms ------------------------------------------------------------------------------------ */

/* A unit vector of four numbers. */
struct suite_vector {
    float v[SUITE_DIM];
};
static inline struct suite_vector suite_unit(double a, double b, double c, double d) {
    const double length = sqrt(a * a + b * b + c * c + d * d);
    return (struct suite_vector){
        {(float)(a / length), (float)(b / length), (float)(c / length), (float)(d / length)}};
}

/* Puts an item that has an id, attributes (may be NULL) and a vector. */
static inline void suite_put(struct store *s, const char *id, const char *attrs,
                             struct suite_vector vector) {
    u2i_error_t err;
    const struct store_item item = {.id = id, .attrs_json = attrs, .vector = vector.v};
    SUITE_OK(s->ops->put_items(s, &item, 1, &err));
}
static inline uint32_t suite_item_row(struct store *s, const char *id) {
    u2i_error_t err;
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->item_row(s, id);
    s->ops->read_end(s);
    return row;
}
static inline uint32_t suite_user_row(struct store *s, const char *id) {
    u2i_error_t err;
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->user_row(s, id);
    s->ops->read_end(s);
    return row;
}

/* Records one "view" event; returns how many were new. */
static inline size_t suite_view(struct store *s, const char *user, const char *item,
                                int64_t time_ms, const char *id) {
    u2i_error_t err;
    const struct store_event event = {user, item, "view", id, time_ms, 1.0f};
    const struct store_events in = {.events = &event, .n = 1};
    size_t recorded = 99;
    SUITE_OK(s->ops->put_events(s, &in, &recorded, &err));
    return recorded;
}

/* The answer of a search as text: ids in order, "a b c". */
static inline void suite_hits_text(struct store *s, const struct hit *hits, uint32_t n, char *out,
                                   size_t bytes) {
    size_t len = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < n && len < bytes; i++) {
        len += (size_t)snprintf(out + len, bytes - len, "%s%s", i > 0 ? " " : "",
                                s->ops->item_id(s, hits[i].row));
    }
}
static inline void suite_expect_search(struct store *s, const struct store_search *q,
                                       const char *want) {
    u2i_error_t err;
    struct hit hits[64];
    uint32_t n = 0;
    char got[1024];
    assert_true(q->k <= 64);
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->search(s, q, hits, &n, &err));
    suite_hits_text(s, hits, n, got, sizeof got);
    s->ops->read_end(s);
    assert_string_equal(got, want);
}

/* ---- An empty store for each test --------------------------------------------------------------------- */

struct suite {
    const struct suite_kind *kind;
    char dir[256], path[300];
    struct store *s;
    struct suite_heard heard;
};

static inline int suite_open_empty(void **state) {
    const struct suite_kind *kind = **(const struct suite_kind ***)state;
    struct suite *f = calloc(1, sizeof *f);
    u2i_error_t err;
    assert_non_null(f);
    f->kind = kind;
    suite_make_dir(f->dir, sizeof f->dir);
    (void)snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
    const struct store_options opt = suite_options(&f->heard);
    SUITE_OK(kind->open(f->path, &opt, &f->s, &err));
    *state = f;
    return 0;
}

static inline int suite_close(void **state) {
    struct suite *f = *state;
    if (f->s != NULL) {
        assert_int_equal(f->s->ops->close(f->s), U2I_OK);
    }
    suite_remove_dir(f->dir);
    free(f);
    return 0;
}

static inline void suite_reopen(struct suite *f) {
    u2i_error_t err;
    assert_int_equal(f->s->ops->close(f->s), U2I_OK);
    f->s = NULL;
    f->heard = (struct suite_heard){0};
    const struct store_options opt = suite_options(&f->heard);
    SUITE_OK(f->kind->open(f->path, &opt, &f->s, &err));
}

/* What was heard since the last call. */
static inline const char *suite_heard_since(struct suite *f) {
    static char text[sizeof f->heard.text];
    memcpy(text, f->heard.text, sizeof text);
    f->heard = (struct suite_heard){0};
    return text;
}

static inline struct store_stats suite_stats(struct store *s) {
    u2i_error_t err;
    struct store_stats stats;
    SUITE_OK(s->ops->stats(s, &stats, &err));
    return stats;
}

static inline struct store_search suite_near_x(uint32_t k) {
    static const float x[SUITE_DIM] = {1, 0, 0, 0};
    return (struct store_search){.space = STORE_CONTENT, .vector = x, .k = k};
}

static inline void suite_put_six(struct store *s) {
    suite_put(s, "far", "{\"price\": 1}", suite_unit(0, 0, 0, 1));
    suite_put(s, "tie-b", "{\"price\": 2}", suite_unit(1, 1, 0, 0));
    suite_put(s, "tie-a", "{\"price\": 3}", suite_unit(1, 0, 1, 0));
    suite_put(s, "best", "{\"price\": 4}", suite_unit(1, 0, 0, 0));
    suite_put(s, "back", "{\"price\": 5}", suite_unit(-1, 0, 0, 0));
    suite_put(s, "near", "{\"price\": 6}", suite_unit(5, 1, 0, 0));
}

struct suite_event_log {
    char text[512];
    uint64_t last_seq;
};
static inline int suite_write_event(void *ctx, const struct store_event *e,
                                    const struct store_event_row *row) {
    struct suite_event_log *log = ctx;
    const size_t len = strlen(log->text);
    (void)snprintf(log->text + len, sizeof log->text - len, "%s-%s-%s@%lld*%g%s%s ", e->user,
                   e->action, e->item, (long long)e->time_ms, (double)e->value,
                   e->id != NULL ? "#" : "", e->id != NULL ? e->id : "");
    assert_true(row->seq > log->last_seq); /* each event has a number of its own */
    log->last_seq = row->seq;
    return 0;
}
static inline void suite_expect_events(struct store *s, uint64_t after_seq, const char *want) {
    u2i_error_t err;
    struct suite_event_log log = {.text = ""};
    SUITE_OK(s->ops->scan_events(s, after_seq, suite_write_event, &log, &err));
    assert_string_equal(log.text, want);
}

/* The times of a user's newest events, "9 8 8". */
static inline void suite_expect_times(struct store *s, const char *user, size_t window,
                                      const char *want) {
    u2i_error_t err;
    struct store_event_row *events = NULL;
    size_t n = 99, len = 0;
    char got[256] = "";
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->user_events(s, s->ops->user_row(s, user), window, &events, &n, &err));
    s->ops->read_end(s);
    for (size_t i = 0; i < n; i++) {
        len += (size_t)snprintf(got + len, sizeof got - len, "%s%lld", i > 0 ? " " : "",
                                (long long)events[i].time_ms);
    }
    free(events);
    assert_string_equal(got, want);
}

static inline int suite_write_setting(void *ctx, const char *name, const char *value) {
    char *text = ctx;
    const size_t len = strlen(text);
    (void)snprintf(text + len, 256 - len, "%s=%s;", name, value);
    return 0;
}
static inline void suite_expect_settings(struct store *s, const char *want) {
    u2i_error_t err;
    char text[256] = "";
    SUITE_OK(s->ops->scan_settings(s, suite_write_setting, text, &err));
    assert_string_equal(text, want);
}

/* ---- Running ---------------------------------------------------------------------------------------- */

/* What every kind of store must keep. */
struct suite_promise {
    const char *name;
    CMUnitTestFunction check;
    bool on_disk; /* makes sense only where there is a file */
};
#define SUITE_PROMISE(name)                                                                        \
    { #name, name, false }
#define SUITE_PROMISE_ON_DISK(name)                                                                \
    { #name, name, true }

static inline int suite_run(const struct suite_promise *promises, size_t n) {
    static const struct suite_kind *kinds[] = {&suite_memory, &suite_sqlite};
    static char names[200][100];
    static struct CMUnitTest tests[200];
    size_t tests_n = 0;
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < n; i++) {
            if (promises[i].on_disk && !kinds[k]->on_disk) {
                continue;
            }
            assert(tests_n < 200);
            (void)snprintf(names[tests_n], sizeof names[0], "%s: %s", kinds[k]->name,
                           promises[i].name);
            tests[tests_n] = (struct CMUnitTest){names[tests_n], promises[i].check,
                                                 suite_open_empty, suite_close, &kinds[k]};
            tests_n++;
        }
    }
    return _cmocka_run_group_tests("store", tests, tests_n, NULL, NULL);
}

#endif
