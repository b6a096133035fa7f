/* Finds every fault of a file and names it: the pages (SQLite's own check), the checksums of rows, the
 * texts, what rows say of each other, the counts in meta, and the index's file. One read transaction, so that writes
 * going on meanwhile don't look like faults.
 *
 * Most checks are a query that returns the faulty rows; the rest need each row looked at. */
#include "sqlite_internal.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include <stdarg.h>
#include <stdio.h>

struct verify {
    struct lite *store;
    struct conn *conn;
    u2i_fault_fn fn;
    void *ctx;
    size_t faults;
    bool oom; /* a check could not be made: no answer is better than a wrong one */
};

__attribute__((format(printf, 4, 5))) static void verify_tell(struct verify *v, const char *table,
                                                              int64_t row, const char *fmt, ...) {
    char where[96];
    char what[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args); /* cut if it is long */
    va_end(args);
    (void)snprintf(where, sizeof where, row < 0 ? "%s" : "%s row %lld", table, (long long)row);
    v->faults++;
    if (v->fn != NULL) {
        v->fn(v->ctx, where, what);
    }
}

/* ---- Row by row ----------------------------------------------------------------------------- */

static void verify_text(struct verify *v, const char *table, int64_t row, const char *name,
                        struct seal_text t) {
    if (t.s != NULL && (!utf8_valid(t.s, t.n) || memchr(t.s, 0, t.n) != NULL)) {
        verify_tell(v, table, row, "%s is not UTF-8 text", name);
    }
}

static void verify_id(struct verify *v, const char *table, int64_t row, struct seal_text id) {
    verify_text(v, table, row, "id", id);
    if (id.n == 0 || id.n > U2I_ID_MAX_BYTES) {
        verify_tell(v, table, row, "the id has %zu bytes", id.n);
    }
}

static void verify_attrs(struct verify *v, const char *table, int64_t row, struct seal_text json) {
    struct attrs *attrs = NULL;
    u2i_error_t err;
    const int rc = attrs_parse(NULL, json.s, json.n, &attrs, &err);
    if (rc == U2I_ENOMEM) {
        v->oom = true;
    } else if (rc != U2I_OK) {
        verify_tell(v, table, row, "attributes: %s", err.msg);
    }
    attrs_free(attrs);
}

static void verify_vector(struct verify *v, sqlite3_stmt *st, int64_t row, bool live) {
    const int type = sqlite3_column_type(st, 11);
    const size_t n = (size_t)sqlite3_column_bytes(st, 11);
    const size_t expected = v->store->base.dim * sizeof(float);
    if (type == SQLITE_NULL) {
        return;
    }
    if (!live) {
        verify_tell(v, "vectors", row, "there is no item for it");
    }
    if (n != expected) {
        verify_tell(v, "vectors", row, "the vector has %zu bytes, not %zu", n, expected);
    } else if (seal_vector((uint32_t)row, sqlite3_column_blob(st, 11), n) !=
               sqlite3_column_int64(st, 10)) {
        verify_tell(v, "vectors", row, "the vector of '%.128s' does not match its checksum",
                    (const char *)sqlite3_column_text(st, 1));
    }
}

static void verify_item(struct verify *v, sqlite3_stmt *st) {
    const int64_t row = sqlite3_column_int64(st, 0);
    const int64_t live = sqlite3_column_int64(st, 2);
    const struct seal_text id = reader_text(st, 1);
    const struct seal_text category = reader_text(st, 5);
    const struct seal_text attrs = reader_text(st, 6);
    const struct seal_text title = reader_text(st, 7);
    const struct seal_text text = reader_text(st, 8);
    if (row < 0 || row >= STORE_NONE) {
        verify_tell(v, "items", row, "the row number is out of range");
        return;
    }
    verify_id(v, "items", row, id);
    if (seal_item((uint32_t)row, live != 0, id, category, attrs) != sqlite3_column_int64(st, 3)) {
        verify_tell(v, "items", row, "id, category and attributes do not match their checksum");
    }
    if (seal_item_text((uint32_t)row, title, text) != sqlite3_column_int64(st, 4)) {
        verify_tell(v, "items", row, "title and text do not match their checksum");
    }
    if (live != 0 && live != 1) {
        verify_tell(v, "items", row, "live is %lld", (long long)live);
    }
    verify_text(v, "items", row, "category", category);
    verify_text(v, "items", row, "title", title);
    verify_text(v, "items", row, "text", text);
    verify_attrs(v, "items", row, attrs);
    verify_vector(v, st, row, live != 0);
}

static void verify_user(struct verify *v, sqlite3_stmt *st) {
    const int64_t row = sqlite3_column_int64(st, 0);
    const struct seal_text id = reader_text(st, 1);
    const struct seal_text interests = reader_text(st, 5);
    const struct seal_text attrs = reader_text(st, 6);
    if (row < 0 || row >= STORE_NONE) {
        verify_tell(v, "users", row, "the row number is out of range");
        return;
    }
    verify_id(v, "users", row, id);
    if (seal_user((uint32_t)row, id) != sqlite3_column_int64(st, 2)) {
        verify_tell(v, "users", row, "the id does not match its checksum");
    }
    if (seal_user_text((uint32_t)row, interests, attrs, sqlite3_column_double(st, 4)) !=
        sqlite3_column_int64(st, 3)) {
        verify_tell(v, "users", row, "what is known of the user does not match its checksum");
    }
    verify_text(v, "users", row, "interests", interests);
    verify_attrs(v, "users", row, attrs);
}

static void verify_blob(struct verify *v, sqlite3_stmt *st) {
    const uint32_t crc =
        seal_bytes(0, sqlite3_column_blob(st, 2), (size_t)sqlite3_column_bytes(st, 2));
    if (crc != sqlite3_column_int64(st, 1)) {
        verify_tell(v, "blobs", -1, "'%.128s' does not match its checksum",
                    (const char *)sqlite3_column_text(st, 0));
    }
}

static void verify_page(struct verify *v, sqlite3_stmt *st) {
    const char *what = (const char *)sqlite3_column_text(st, 0);
    if (what != NULL && strcmp(what, "ok") != 0) {
        verify_tell(v, "file", -1, "%s", what);
    }
}

/* Runs a statement. That it cannot be run to its end is a fault of the file, not of the check. */
static void verify_rows(struct verify *v, enum conn_sql which, const char *table,
                        void (*check)(struct verify *v, sqlite3_stmt *st)) {
    u2i_error_t err = {.code = U2I_OK};
    struct bind b = bind_start(v->conn, which, &err);
    bool more = b.statement != NULL;
    int rc = b.rc;
    while (rc == U2I_OK && more) {
        rc = bind_step(&b, &more, &err);
        if (rc == U2I_OK && more) {
            check(v, b.statement);
        }
    }
    bind_end(&b);
    if (rc == U2I_ENOMEM) {
        v->oom = true;
    } else if (rc != U2I_OK) {
        verify_tell(v, table, -1, "%s", err.msg);
    }
}

/* ---- Row against row ------------------------------------------------------------------------ */

/* Each query returns the faulty rows: the number (-1 = none) and what is wrong. */
static const struct {
    const char *table, *sql;
} verify_queries[] = {
    {"vectors", "SELECT v.row, 'there is no item for it' FROM vectors v"
                " LEFT JOIN items i ON i.row = v.row WHERE i.row IS NULL"},
    {"events", "SELECT e.seq, 'there is no user row ' || e.user FROM events e"
               " LEFT JOIN users u ON u.row = e.user WHERE u.row IS NULL"},
    {"events", "SELECT e.seq, 'there is no item row ' || e.item FROM events e"
               " LEFT JOIN items i ON i.row = e.item WHERE i.row IS NULL"},
    {"events", "SELECT e.seq, 'there is no action ' || e.action FROM events e"
               " LEFT JOIN actions a ON a.number = e.action WHERE a.number IS NULL"},
    {"events", "SELECT seq, 'value ' || value FROM events"
               " WHERE typeof(value) <> 'real' OR NOT (value > 0 AND value < 9e999)"},
    {"events", "SELECT seq, 'the number is past the sequence' FROM events"
               " WHERE seq > (SELECT value FROM meta WHERE key = 'sequence')"},
    {"history",
     "SELECT h.seq, 'no event says so' FROM history h LEFT JOIN events e ON e.seq = h.seq"
     " WHERE e.user IS NOT h.user OR e.time_ms IS NOT h.time_ms OR e.item IS NOT h.item"
     " OR e.action IS NOT h.action OR e.value IS NOT h.value"},
    {"history", "SELECT e.seq, 'the event is missing' FROM events e LEFT JOIN history h"
                " ON h.user = e.user AND h.time_ms = e.time_ms AND h.seq = e.seq"
                " WHERE h.seq IS NULL AND"
                " e.seq <= (SELECT value FROM meta WHERE key = 'indexed')"},
    {"changes", "SELECT seq, 'the number is past the sequence' FROM changes"
                " WHERE seq > (SELECT value FROM meta WHERE key = 'sequence')"},
    {"changes", "SELECT seq, 'kind ' || kind || ', rows ' || n FROM changes"
                " WHERE kind NOT BETWEEN 1 AND 5 OR n < 1"},
    {"changes", "SELECT c.seq, 'an event has the same number' FROM changes c"
                " JOIN events e ON e.seq = c.seq"},
    {"meta", "SELECT -1, 'events is ' || value || ', there are ' || n FROM meta,"
             " (SELECT count(*) AS n FROM events) WHERE key = 'events' AND value <> n"},
};

static void verify_query(struct verify *v, const char *table, const char *sql) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(v->conn->db, sql, -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW) {
            const char *what = (const char *)sqlite3_column_text(st, 1);
            verify_tell(v, table, sqlite3_column_int64(st, 0), "%s", what == NULL ? "?" : what);
        }
    }
    if ((rc & 0xff) == SQLITE_NOMEM) {
        v->oom = true;
    } else if (rc != SQLITE_DONE) {
        verify_tell(v, table, -1, "%s", sqlite3_errstr(rc));
    }
    (void)sqlite3_finalize(st); /* repeats the step's result */
}

int verify_store(struct store *s, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err) {
    struct verify v = {.store = lite_of(s), .fn = fn, .ctx = ctx};
    if (faults != NULL) {
        *faults = 0;
    }
    struct verify_index *index;
    U2I_TRY(verify_index_begin(v.store, &index, err));
    int rc = reader_take(v.store, &v.conn, err);
    if (rc == U2I_OK) {
        rc = conn_run(v.conn, SQL_BEGIN_READ, err);
    }
    if (rc == U2I_OK) {
        rc = renewal_check_moved(v.store, v.conn, err);
    }
    if (rc == U2I_OK) {
        verify_rows(&v, SQL_INTEGRITY, "file", verify_page);
        verify_rows(&v, SQL_ITEMS_SCAN, "items", verify_item);
        verify_rows(&v, SQL_USERS_SCAN, "users", verify_user);
        verify_rows(&v, SQL_BLOBS_SCAN, "blobs", verify_blob);
        for (size_t i = 0; i < sizeof verify_queries / sizeof *verify_queries; i++) {
            verify_query(&v, verify_queries[i].table, verify_queries[i].sql);
        }
        rc = verify_index_check(index, v.conn, fn, ctx, &v.faults, err);
    }
    reader_give(v.store, v.conn);
    verify_index_end(index);
    if (rc != U2I_OK || v.oom) {
        return rc != U2I_OK ? rc : error_oom(err);
    }
    if (faults != NULL) {
        *faults = v.faults;
    }
    return U2I_OK;
}
