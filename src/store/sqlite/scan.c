/* All rows of a table to a callback, each scan in one read transaction and so as of one moment. */
#include "change.h"
#include "sqlite_internal.h"

#include "base/alloc.h"
#include "base/arena.h"

/* A connection in a read transaction, with what others committed taken in before. */
static int scan_begin(struct lite *l, struct conn **c, u2i_error_t *err) {
    *c = NULL;
    U2I_TRY(follow_refresh(l, err));
    U2I_TRY(reader_take(l, c, err));
    int rc = conn_run(*c, SQL_BEGIN_READ, err);
    if (rc == U2I_OK) {
        rc = renewal_check_moved(l, *c, err);
    }
    if (rc != U2I_OK) {
        reader_give(l, *c);
        *c = NULL;
    }
    return rc;
}

/* One row of a scan; *stop ends it. */
typedef int (*scan_row_fn)(void *ctx, sqlite3_stmt *st, bool *stop, u2i_error_t *err);

static int scan_rows(struct bind *b, scan_row_fn fn, void *ctx, u2i_error_t *err) {
    int rc = b->statement == NULL ? b->rc : U2I_OK;
    for (bool more = true, stop = false; rc == U2I_OK && !stop;) {
        rc = bind_step(b, &more, err);
        if (rc != U2I_OK || !more) {
            break;
        }
        rc = fn(ctx, b->statement, &stop, err);
    }
    bind_end(b);
    return rc;
}

/* ---- Items ---------------------------------------------------------------------------------- */

struct scan_items {
    struct lite *store;
    store_item_fn fn;
    void *ctx;
    float *vector;
};

static int scan_item(void *ctx, sqlite3_stmt *st, bool *stop, u2i_error_t *err) {
    struct scan_items *s = ctx;
    if (sqlite3_column_int(st, 2) == 0) {
        return U2I_OK;
    }
    struct arena a = {0};
    struct store_item item;
    const int rc = reader_copy_item(s->store, st, &a, &item, err);
    if (rc == U2I_OK) {
        const void *p = load_vector(s->store, st, 10, item.row);
        if (p != NULL) {
            memcpy(s->vector, p, s->store->base.dim * sizeof(float));
            item.vector = s->vector;
        }
        *stop = s->fn(s->ctx, &item) != 0;
    }
    arena_free(&a);
    return rc;
}

int scan_items(struct store *s, store_item_fn fn, void *ctx, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct scan_items scan = {.store = l, .fn = fn, .ctx = ctx};
    scan.vector = alloc_array(s->dim, sizeof(float));
    if (scan.vector == NULL) {
        return error_oom(err);
    }
    struct conn *c;
    int rc = scan_begin(l, &c, err);
    if (rc == U2I_OK) {
        struct bind b = bind_start(c, SQL_ITEMS_SCAN, err);
        rc = scan_rows(&b, scan_item, &scan, err);
    }
    reader_give(l, c);
    mem_free(scan.vector);
    return rc;
}

/* ---- Users and settings --------------------------------------------------------------------- */

struct scan_users {
    struct lite *store;
    store_user_fn fn;
    void *ctx;
};

static int scan_user(void *ctx, sqlite3_stmt *st, bool *stop, u2i_error_t *err) {
    const struct scan_users *s = ctx;
    struct arena a = {0};
    struct store_user user;
    const int rc = reader_copy_user(s->store, st, &a, &user, err);
    if (rc == U2I_OK) {
        *stop = s->fn(s->ctx, &user) != 0;
    }
    arena_free(&a);
    return rc;
}

int scan_users(struct store *s, store_user_fn fn, void *ctx, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct scan_users scan = {l, fn, ctx};
    struct conn *c;
    U2I_TRY(scan_begin(l, &c, err));
    struct bind b = bind_start(c, SQL_USERS_SCAN, err);
    const int rc = scan_rows(&b, scan_user, &scan, err);
    reader_give(l, c);
    return rc;
}

struct scan_settings {
    store_text_fn fn;
    void *ctx;
};

static int scan_setting(void *ctx, sqlite3_stmt *st, bool *stop, u2i_error_t *err) {
    const struct scan_settings *s = ctx;
    const char *name = (const char *)sqlite3_column_text(st, 0);
    const char *value = (const char *)sqlite3_column_text(st, 1);
    if (name == NULL || value == NULL) { /* the columns are NOT NULL: a page was overwritten */
        return error_set(err, U2I_ECORRUPT, "a row of the table settings is damaged");
    }
    *stop = s->fn(s->ctx, name, value) != 0;
    return U2I_OK;
}

int scan_settings(struct store *s, store_text_fn fn, void *ctx, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct scan_settings scan = {fn, ctx};
    struct conn *c;
    U2I_TRY(scan_begin(l, &c, err));
    struct bind b = bind_start(c, SQL_SETTINGS_SCAN, err);
    const int rc = scan_rows(&b, scan_setting, &scan, err);
    reader_give(l, c);
    return rc;
}

/* ---- Events --------------------------------------------------------------------------------- */

/* Names come from memory, where they are ten times faster than by two joins; the lock is held only
 * while one is copied, so that a long scan keeps nobody waiting. A name that memory does not have (a
 * user deleted since, a commit of this very moment) is in the scan's own moment of the file. */
struct scan_events {
    struct lite *store;
    struct conn *conn;
    store_event_fn fn;
    void *ctx;
    char names[CATALOGUE_NAMES_N][U2I_ID_MAX_BYTES + 1];
};

static bool scan_name_in_memory(struct scan_events *s, enum catalogue_names kind, uint32_t number) {
    struct lite *l = s->store;
    size_t n = 0;
    (void)pthread_rwlock_rdlock(&l->lock);
    const struct intern *names = l->catalogue->names[kind];
    const char *name = number < intern_end(names) ? intern_name(names, number, &n) : NULL;
    const bool found = name != NULL && n < sizeof s->names[kind];
    if (found) {
        memcpy(s->names[kind], name, n + 1);
    }
    (void)pthread_rwlock_unlock(&l->lock);
    return found;
}

static int scan_name_in_file(struct scan_events *s, enum catalogue_names kind, uint32_t number,
                             bool *found, u2i_error_t *err) {
    static const enum conn_sql which[CATALOGUE_NAMES_N] = {SQL_ITEM_NAME, SQL_USER_NAME,
                                                           SQL_ACTION_NAME};
    struct bind b = bind_start(s->conn, which[kind], err);
    bind_int(&b, number);
    U2I_TRY(bind_step(&b, found, err));
    const struct seal_text name = *found ? reader_text(b.statement, 0) : (struct seal_text){0};
    *found = name.s != NULL && name.n < sizeof s->names[kind];
    if (*found) {
        memcpy(s->names[kind], name.s, name.n + 1);
    }
    bind_end(&b);
    return U2I_OK;
}

static int scan_name(struct scan_events *s, enum catalogue_names kind, uint32_t number, bool *found,
                     u2i_error_t *err) {
    *found = scan_name_in_memory(s, kind, number);
    return *found ? U2I_OK : scan_name_in_file(s, kind, number, found, err);
}

static int scan_event(void *ctx, sqlite3_stmt *st, bool *stop, u2i_error_t *err) {
    struct scan_events *s = ctx;
    const struct store_event_row row = change_event_of(st);
    const uint32_t numbers[CATALOGUE_NAMES_N] = {row.item, row.user, row.action};
    for (int k = 0; k < CATALOGUE_NAMES_N; k++) {
        bool found;
        U2I_TRY(scan_name(s, (enum catalogue_names)k, numbers[k], &found, err));
        if (!found) {
            log_line(&s->store->log, U2I_LOG_WARN,
                     "%s: events row %llu names a number that nothing has", s->store->path,
                     (unsigned long long)row.seq);
            return U2I_OK;
        }
    }
    const struct store_event event = {
        .user = s->names[CATALOGUE_USERS],
        .item = s->names[CATALOGUE_ITEMS],
        .action = s->names[CATALOGUE_ACTIONS],
        .id = (const char *)sqlite3_column_text(st, 6),
        .time_ms = row.time_ms,
        .value = row.value,
    };
    *stop = s->fn(s->ctx, &event, &row) != 0;
    return U2I_OK;
}

int scan_events(struct store *s, uint64_t after_seq, store_event_fn fn, void *ctx,
                u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct scan_events *scan = mem_zalloc(sizeof *scan);
    if (scan == NULL) {
        return error_oom(err);
    }
    scan->store = l;
    scan->fn = fn;
    scan->ctx = ctx;
    int rc = scan_begin(l, &scan->conn, err);
    if (rc == U2I_OK) {
        struct bind b = bind_start(scan->conn, SQL_EVENTS_SCAN, err);
        bind_int(&b, after_seq > INT64_MAX ? INT64_MAX : (int64_t)after_seq);
        bind_int(&b, INT64_MAX);
        rc = scan_rows(&b, scan_event, scan, err);
    }
    reader_give(l, scan->conn);
    mem_free(scan);
    return rc;
}
