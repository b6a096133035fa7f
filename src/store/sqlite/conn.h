/* One connection to the file with its prepared statements: the only place that talks to SQLite's C
 * interface for statements, and the one that turns its error codes into ours.
 *
 * A connection belongs to one thread at a time (SQLite's own mutex is off). */
#ifndef U2I_STORE_SQLITE_CONN_H
#define U2I_STORE_SQLITE_CONN_H

#include "base/error.h"
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

/* Statement names; their text is in conn.c, in the same order. */
enum conn_sql {
    SQL_BEGIN_READ = 0,
    SQL_BEGIN_WRITE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_DATA_VERSION,
    SQL_PAGE_BYTES,
    SQL_INTEGRITY,
    SQL_META_GET,
    SQL_META_PUT,
    SQL_SETTING_GET,
    SQL_SETTING_PUT,
    SQL_SETTING_DELETE,
    SQL_SETTINGS_SCAN,
    SQL_ACTION_INSERT,
    SQL_ACTIONS_SCAN,
    SQL_ACTION_NAME,
    SQL_ITEM_INSERT,
    SQL_ITEM_UPDATE,
    SQL_ITEM_ROW,
    SQL_ITEM_NAME,
    SQL_ITEM_DELETE,
    SQL_ITEM_GET,
    SQL_ITEMS_LOAD,
    SQL_ITEMS_SCAN,
    SQL_ITEMS_RANGE,
    SQL_ITEMS_LAST,
    SQL_VECTOR_PUT,
    SQL_VECTOR_DELETE,
    SQL_VECTORS_LOAD,
    SQL_VECTORS_RANGE,
    SQL_USER_INSERT,
    SQL_USER_UPDATE,
    SQL_USER_DELETE,
    SQL_USER_GET,
    SQL_USER_ROW,
    SQL_USER_NAME,
    SQL_USERS_LOAD,
    SQL_USERS_SCAN,
    SQL_USERS_RANGE,
    SQL_EVENT_INSERT,
    SQL_EVENT_BY_ID,
    SQL_EVENTS_SCAN,
    SQL_EVENT_DELETE,
    SQL_HISTORY_GET,
    SQL_HISTORY_PUT,
    SQL_HISTORY_DELETE,
    SQL_EVENTS_UNKNOWN,
    SQL_CHANGE_INSERT,
    SQL_CHANGES_SCAN,
    SQL_CHANGES_COUNT,
    SQL_CHANGES_FLOOR,
    SQL_CHANGES_PRUNE,
    SQL_BLOB_PUT,
    SQL_BLOB_DELETE,
    SQL_BLOB_GET,
    SQL_BLOBS_SCAN,
    SQL_TABLE_FIND,
    SQL_NEXT_COUNT,
    SQL_NEXT_ITEMS,
    SQL_NEXT_TEXT_PUT,
    SQL_NEXT_VECTOR_PUT,
    SQL_NEXT_VECTOR_DELETE,
    SQL_NEXT_TRIM,
    SQL_OLD_SWEEP,
    SQL_N
};

struct conn {
    sqlite3 *db;
    const char *path; /* for messages; owned by the store */
    sqlite3_stmt *statements[SQL_N];
};

/* How a connection is opened. */
enum conn_mode {
    CONN_WRITE,     /* may create the file */
    CONN_READ,      /* through the same log as the writers */
    CONN_IMMUTABLE, /* nobody can write: no locks, no side files */
};

/* `path` must outlive the connection. */
int conn_open(struct conn *c, const char *path, enum conn_mode mode, u2i_error_t *err);
void conn_set_busy(struct conn *c); /* waits for other processes' locks, as after opening */
int conn_page_bytes(struct conn *c, int64_t *out, u2i_error_t *err);
void conn_close(struct conn *c); /* a zero-filled or closed one is a no-op */

/* Fills `err` with what SQLite says of result code `rc`; `doing` is "write items", ... */
int conn_fail(const struct conn *c, int rc, const char *doing, u2i_error_t *err);

/* The statement, reset, for binding; NULL with `err` filled. */
sqlite3_stmt *conn_statement(struct conn *c, enum conn_sql which, u2i_error_t *err);
/* Runs SQL without parameters that returns no rows worth reading. */
int conn_exec(struct conn *c, const char *sql, u2i_error_t *err);
int conn_run(struct conn *c, enum conn_sql which, u2i_error_t *err);

/* Values for a statement's ?1, ?2, ... in order; the first failure sticks until it is run. Texts and
 * blobs are not copied: they must live until then. */
struct bind {
    struct conn *conn;
    sqlite3_stmt *statement; /* NULL: it could not be prepared, the error is set */
    int column;
    int rc;
    enum conn_sql which;
};
struct bind bind_start(struct conn *c, enum conn_sql which, u2i_error_t *err);
static inline void bind_note(struct bind *b, int rc) {
    if (b->rc == SQLITE_OK) {
        b->rc = rc;
    }
}
static inline void bind_int(struct bind *b, int64_t v) {
    if (b->statement != NULL) {
        bind_note(b, sqlite3_bind_int64(b->statement, ++b->column, v));
    }
}
static inline void bind_real(struct bind *b, double v) {
    if (b->statement != NULL) {
        bind_note(b, sqlite3_bind_double(b->statement, ++b->column, v));
    }
}
static inline void bind_text(struct bind *b, const char *s, size_t n) {
    if (b->statement != NULL) {
        bind_note(b,
                  sqlite3_bind_text64(b->statement, ++b->column, s, n, SQLITE_STATIC, SQLITE_UTF8));
    }
}
static inline void bind_string(struct bind *b, const char *s) { /* NULL binds NULL */
    bind_text(b, s, s == NULL ? 0 : strlen(s));
}
static inline void bind_blob(struct bind *b, const void *p, size_t n) {
    if (b->statement != NULL) {
        bind_note(b, sqlite3_bind_blob64(b->statement, ++b->column, p, n, SQLITE_STATIC));
    }
}
/* Runs a statement that returns no rows. */
int bind_run(struct bind *b, u2i_error_t *err);
/* The next row: *row is false at the end, and the statement is then reset. */
int bind_step(struct bind *b, bool *row, u2i_error_t *err);
void bind_end(struct bind *b); /* for leaving before the end; may be repeated */

/* A whole number of `meta`; U2I_ECORRUPT if it is missing. */
int conn_meta_int(struct conn *c, const char *key, uint64_t *out, u2i_error_t *err);
/* The same, 0 where it is missing: what only some files have. */
int conn_meta_int_or_0(struct conn *c, const char *key, uint64_t *out, u2i_error_t *err);
int conn_set_meta_int(struct conn *c, const char *key, uint64_t value, u2i_error_t *err);

#endif
