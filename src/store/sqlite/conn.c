/* SQLite connections and all the SQL that runs on them, apart from the schema.
 *
 * Statements are prepared when first used and kept, so that a hot one costs a reset and its bindings.
 * Texts and blobs are bound without a copy: whoever asks blocks until the statement has run.
 *
 * Nothing here ever opens the database file other than through SQLite: closing a descriptor of ours
 * would drop every POSIX lock that SQLite holds on the file in this process. */
#include "conn.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/rng.h"
#include <stdio.h>
#include <time.h>

enum {
    CONN_BUSY_MS = 5000,      /* how long another process may hold the write lock */
    CONN_BUSY_SLEEP_US = 700, /* between two tries, at most */
    CONN_WRITER_CACHE_KIB = 16384,
};

/* An item's next vector is missing, or of another text. */
#define CONN_WAITS "n.row IS NULL OR n.crc <> i.crc OR n.text_crc <> i.text_crc"

static const char *const conn_sql_text[SQL_N] = {
    [SQL_BEGIN_READ] = "BEGIN",
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_DATA_VERSION] = "PRAGMA data_version",
    [SQL_PAGE_BYTES] = "PRAGMA page_size",
    [SQL_INTEGRITY] = "PRAGMA integrity_check(1000)",
    [SQL_META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [SQL_META_PUT] = "INSERT INTO meta (key, value) VALUES (?1, ?2)"
                     " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    [SQL_SETTING_GET] = "SELECT value FROM settings WHERE name = ?1",
    [SQL_SETTING_PUT] = "INSERT INTO settings (name, value) VALUES (?1, ?2)"
                        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    [SQL_SETTING_DELETE] = "DELETE FROM settings WHERE name = ?1",
    [SQL_SETTINGS_SCAN] = "SELECT name, value FROM settings ORDER BY name",
    [SQL_ACTION_INSERT] = "INSERT INTO actions (number, name) VALUES (?1, ?2)",
    [SQL_ACTIONS_SCAN] = "SELECT number, name FROM actions ORDER BY number",
    [SQL_ACTION_NAME] = "SELECT name FROM actions WHERE number = ?1",
    [SQL_ITEM_INSERT] = "INSERT INTO items (row, id, live, crc, text_crc, category, attrs, title,"
                        " text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_ITEM_UPDATE] = "UPDATE items SET live = ?3, crc = ?4, text_crc = ?5, category = ?6,"
                        " attrs = ?7, title = ?8, text = ?9 WHERE row = ?1 AND id = ?2",
    [SQL_ITEM_ROW] = "SELECT row FROM items WHERE id = ?1",
    [SQL_ITEM_NAME] = "SELECT id FROM items WHERE row = ?1",
    [SQL_ITEM_DELETE] = "UPDATE items SET live = 0, crc = ?2, text_crc = ?3, category = NULL,"
                        " attrs = NULL, title = NULL, text = NULL WHERE row = ?1",
    [SQL_ITEM_GET] = "SELECT i.row, i.id, i.live, i.crc, i.text_crc, i.category, i.attrs, i.title,"
                     " i.text, v.embedding FROM items i LEFT JOIN vectors v ON v.row = i.row"
                     " WHERE i.row = ?1",
    [SQL_ITEMS_LOAD] = "SELECT row, id, live, crc, category, attrs FROM items ORDER BY row",
    [SQL_ITEMS_SCAN] =
        "SELECT i.row, i.id, i.live, i.crc, i.text_crc, i.category, i.attrs, i.title,"
        " i.text, v.embedding, v.crc, v.vector FROM items i"
        " LEFT JOIN vectors v ON v.row = i.row ORDER BY i.row",
    [SQL_ITEMS_RANGE] = "SELECT i.row, i.id, i.live, i.crc, i.category, i.attrs, v.crc, v.vector"
                        " FROM items i LEFT JOIN vectors v ON v.row = i.row"
                        " WHERE i.row >= ?1 AND i.row < ?2 ORDER BY i.row",
    [SQL_ITEMS_LAST] = "SELECT max(row) FROM items",
    [SQL_VECTOR_PUT] = "INSERT OR REPLACE INTO vectors (row, embedding, crc, vector)"
                       " VALUES (?1, ?2, ?3, ?4)",
    [SQL_VECTOR_DELETE] = "DELETE FROM vectors WHERE row = ?1",
    [SQL_VECTORS_LOAD] = "SELECT row, embedding, crc, vector FROM vectors ORDER BY row",
    [SQL_VECTORS_RANGE] = "SELECT row, embedding, crc, vector FROM vectors"
                          " WHERE row >= ?1 AND row < ?2 ORDER BY row",
    [SQL_USER_INSERT] = "INSERT INTO users (row, id, crc, text_crc, decay, interests, attrs)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_USER_UPDATE] =
        "UPDATE users SET crc = ?3, text_crc = ?4, decay = ?5, interests = ?6, attrs = ?7"
        " WHERE row = ?1 AND id = ?2",
    [SQL_USER_DELETE] = "DELETE FROM users WHERE row = ?1",
    [SQL_USER_GET] =
        "SELECT row, id, crc, text_crc, decay, interests, attrs FROM users WHERE row = ?1",
    [SQL_USER_ROW] = "SELECT row FROM users WHERE id = ?1",
    [SQL_USER_NAME] = "SELECT id FROM users WHERE row = ?1",
    [SQL_USERS_LOAD] = "SELECT row, id, crc FROM users ORDER BY row",
    [SQL_USERS_SCAN] = "SELECT row, id, crc, text_crc, decay, interests, attrs FROM users"
                       " ORDER BY row",
    [SQL_USERS_RANGE] = "SELECT row, id FROM users WHERE row >= ?1 AND row < ?2 ORDER BY row",
    [SQL_EVENT_INSERT] = "INSERT INTO events (seq, user, item, action, time_ms, value, id)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_EVENT_BY_ID] = "SELECT 1 FROM events WHERE id = ?1",
    [SQL_EVENTS_SCAN] = "SELECT seq, user, item, action, time_ms, value, id FROM events"
                        " WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
    [SQL_EVENT_DELETE] = "DELETE FROM events WHERE seq = ?1",
    [SQL_HISTORY_GET] = "SELECT seq, user, item, action, time_ms, value FROM history"
                        " WHERE user = ?1 AND seq <= ?2 ORDER BY time_ms DESC",
    [SQL_HISTORY_PUT] = "INSERT OR IGNORE INTO history (user, time_ms, seq, item, action, value)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_HISTORY_DELETE] = "DELETE FROM history WHERE user = ?1",
    [SQL_EVENTS_UNKNOWN] = "SELECT count(DISTINCT item) FROM events"
                           " WHERE item IN (SELECT row FROM items WHERE live = 0)",
    [SQL_CHANGE_INSERT] = "INSERT INTO changes (seq, kind, row, n) VALUES (?1, ?2, ?3, ?4)",
    [SQL_CHANGES_SCAN] = "SELECT seq, kind, row, n FROM changes WHERE seq > ?1 ORDER BY seq",
    [SQL_CHANGES_COUNT] = "SELECT count(*) FROM changes",
    [SQL_CHANGES_FLOOR] = "SELECT seq FROM changes ORDER BY seq DESC LIMIT 1 OFFSET ?1",
    [SQL_CHANGES_PRUNE] = "DELETE FROM changes WHERE seq <= ?1",
    [SQL_BLOB_PUT] = "INSERT INTO blobs (name, crc, data) VALUES (?1, ?2, ?3)"
                     " ON CONFLICT (name) DO UPDATE SET crc = excluded.crc, data = excluded.data",
    [SQL_BLOB_DELETE] = "DELETE FROM blobs WHERE name = ?1",
    [SQL_BLOB_GET] = "SELECT crc, data FROM blobs WHERE name = ?1",
    [SQL_BLOBS_SCAN] = "SELECT name, crc, data FROM blobs ORDER BY name",
    [SQL_TABLE_FIND] = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1",
    [SQL_NEXT_COUNT] = "SELECT count(*), coalesce(sum(" CONN_WAITS "), 0) FROM items i"
                       " LEFT JOIN next_texts n ON n.row = i.row WHERE i.live = 1",
    [SQL_NEXT_ITEMS] = "SELECT i.row, i.id, i.live, i.crc, i.text_crc, i.category, i.attrs,"
                       " i.title, i.text, 0, n.source FROM items i"
                       " LEFT JOIN next_texts n ON n.row = i.row WHERE i.row >= ?1 AND i.live = 1"
                       " AND (" CONN_WAITS ") ORDER BY i.row LIMIT ?2",
    [SQL_NEXT_TEXT_PUT] = "INSERT OR REPLACE INTO next_texts (row, crc, text_crc, source)"
                          " VALUES (?1, ?2, ?3, ?4)",
    [SQL_NEXT_VECTOR_PUT] = "INSERT OR REPLACE INTO next_vectors (row, embedding, crc, vector)"
                            " VALUES (?1, ?2, ?3, ?4)",
    [SQL_NEXT_VECTOR_DELETE] = "DELETE FROM next_vectors WHERE row = ?1",
    [SQL_NEXT_TRIM] = "DELETE FROM next_vectors WHERE row IN"
                      " (SELECT row FROM items WHERE live = 0)",
    [SQL_OLD_SWEEP] = "DELETE FROM old_vectors WHERE row IN"
                      " (SELECT row FROM old_vectors ORDER BY row LIMIT ?1)",
};

/* ---- Errors --------------------------------------------------------------------------------- */

/* SQLite's codes to ours; what isn't here is a bug. A broken constraint is one of our own keys: the
 * tables and memory disagree. */
static const struct {
    int sqlite, ours;
} conn_codes[] = {
    {SQLITE_OK, U2I_OK},
    {SQLITE_ROW, U2I_OK},
    {SQLITE_DONE, U2I_OK},
    {SQLITE_NOMEM, U2I_ENOMEM},
    {SQLITE_BUSY, U2I_EBUSY},
    {SQLITE_LOCKED, U2I_EBUSY},
    {SQLITE_CORRUPT, U2I_ECORRUPT},
    {SQLITE_NOTADB, U2I_ECORRUPT},
    {SQLITE_FORMAT, U2I_ECORRUPT},
    {SQLITE_MISMATCH, U2I_ECORRUPT},
    {SQLITE_SCHEMA, U2I_ECORRUPT},
    {SQLITE_CONSTRAINT, U2I_ECORRUPT},
    {SQLITE_READONLY, U2I_EREADONLY},
    {SQLITE_TOOBIG, U2I_EINVAL},
    {SQLITE_IOERR, U2I_EIO},
    {SQLITE_FULL, U2I_EIO},
    {SQLITE_CANTOPEN, U2I_EIO},
    {SQLITE_PERM, U2I_EIO},
    {SQLITE_NOLFS, U2I_EIO},
    {SQLITE_PROTOCOL, U2I_EIO},
};

static int conn_code(int rc) {
    for (size_t i = 0; i < sizeof conn_codes / sizeof *conn_codes; i++) {
        if (conn_codes[i].sqlite == (rc & 0xff)) {
            return conn_codes[i].ours;
        }
    }
    return U2I_EINTERNAL;
}

/* What the person at the keyboard can do about it. */
static const char *conn_hint(int rc) {
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return "; free some space and try again";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "; another process held the write lock for too long";
    case SQLITE_CORRUPT:
    case SQLITE_CONSTRAINT:
        return "; the file is damaged: run a verify, and restore it from a copy";
    case SQLITE_NOTADB:
        return "; it is not a u2i store";
    default:
        return "";
    }
}

int conn_fail(const struct conn *c, int rc, const char *doing, u2i_error_t *err) {
    const int code = conn_code(rc);
    if (code == U2I_ENOMEM) {
        return error_oom(err);
    }
    /* The connection's message is more exact than the code's, if it is about this failure. */
    const bool same = c->db != NULL && (sqlite3_errcode(c->db) & 0xff) == (rc & 0xff);
    return error_set(err, code, "cannot %s in %s: %s (SQLite %d)%s", doing, c->path,
                     same ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc), rc, conn_hint(rc));
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Short sleeps of random length instead of SQLite's growing ones: the lock is free for moments only
 * while another process commits group after group, and a long sleeper would miss all of them. */
static int conn_wait_busy(void *ctx, int tries) {
    (void)ctx;
    struct rng rng;
    rng_seed(&rng, (uint64_t)tries);
    const long us = 50 + (long)rng_below(&rng, 2 * CONN_BUSY_SLEEP_US - 100);
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = us * 1000};
    (void)nanosleep(&pause, NULL); /* woken early is as good */
    return (long)tries * CONN_BUSY_SLEEP_US / 1000 < CONN_BUSY_MS;
}

void conn_set_busy(struct conn *c) {
    (void)sqlite3_busy_handler(c->db, conn_wait_busy, NULL); /* cannot fail */
}

/* Percent-encodes a path for a file: URI, which is how `immutable` is asked for. */
static void conn_uri(const char *path, struct buf *out) {
    buf_puts(out, path[0] == '/' ? "file://" : "file:");
    for (const unsigned char *p = (const unsigned char *)path; *p != 0; p++) {
        if (*p == '%' || *p == '?' || *p == '#') {
            buf_printf(out, "%%%02x", *p);
        } else {
            buf_putc(out, (char)*p);
        }
    }
    buf_puts(out, "?immutable=1");
}

static int conn_open_db(struct conn *c, enum conn_mode mode, u2i_error_t *err) {
    const int write_flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const int flags = (mode == CONN_WRITE ? write_flags : SQLITE_OPEN_READONLY) |
                      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    struct buf uri = {0};
    int rc;
    if (mode == CONN_IMMUTABLE) {
        conn_uri(c->path, &uri);
        rc = uri.failed ? SQLITE_NOMEM
                        : sqlite3_open_v2(uri.data, &c->db, flags | SQLITE_OPEN_URI, NULL);
    } else {
        rc = sqlite3_open_v2(c->path, &c->db, flags, NULL);
    }
    buf_free(&uri);
    return rc == SQLITE_OK ? U2I_OK : conn_fail(c, rc, "open the database", err);
}

int conn_open(struct conn *c, const char *path, enum conn_mode mode, u2i_error_t *err) {
    *c = (struct conn){.path = path};
    int rc = conn_open_db(c, mode, err);
    if (rc != U2I_OK) {
        goto out;
    }
    conn_set_busy(c);
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL); /* options that it knows */
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* A reader leaves no trace, not even a checkpoint of what others wrote. */
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, mode != CONN_WRITE, NULL);
    (void)sqlite3_wal_autocheckpoint(c->db, 0);
    if (mode == CONN_WRITE) {
        char sql[160];
        (void)snprintf(sql, sizeof sql,
                       "PRAGMA cache_size = -%d; PRAGMA secure_delete = ON;"
                       "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF",
                       CONN_WRITER_CACHE_KIB); /* fits */
        rc = conn_exec(c, sql, err);
    }
out:
    if (rc != U2I_OK) {
        conn_close(c);
    }
    return rc;
}

void conn_close(struct conn *c) {
    for (int i = 0; i < SQL_N; i++) {
        (void)sqlite3_finalize(c->statements[i]); /* repeats an error that was already told */
        c->statements[i] = NULL;
    }
    (void)sqlite3_close_v2(c->db); /* all statements are gone, so it closes now */
    c->db = NULL;
}

/* ---- Statements ----------------------------------------------------------------------------- */

sqlite3_stmt *conn_statement(struct conn *c, enum conn_sql which, u2i_error_t *err) {
    if (c->statements[which] == NULL) {
        const int rc = sqlite3_prepare_v3(c->db, conn_sql_text[which], -1,
                                          SQLITE_PREPARE_PERSISTENT, &c->statements[which], NULL);
        if (rc != SQLITE_OK) {
            /* The caller returns err's code. Our statements are right, so the tables are not. */
            if ((rc & 0xff) == SQLITE_ERROR) {
                (void)error_set(err, U2I_ECORRUPT, "%s: the tables are damaged: %s", c->path,
                                sqlite3_errmsg(c->db));
            } else {
                (void)conn_fail(c, rc, "prepare a statement", err);
            }
            return NULL;
        }
    }
    return c->statements[which];
}

int conn_exec(struct conn *c, const char *sql, u2i_error_t *err) {
    const int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? U2I_OK : conn_fail(c, rc, "run a statement", err);
}

int conn_run(struct conn *c, enum conn_sql which, u2i_error_t *err) {
    struct bind b = bind_start(c, which, err);
    return bind_run(&b, err);
}

struct bind bind_start(struct conn *c, enum conn_sql which, u2i_error_t *err) {
    u2i_error_t local = {.code = U2I_OK};
    struct bind b = {.conn = c, .which = which};
    b.statement = conn_statement(c, which, &local);
    if (b.statement == NULL) {
        b.rc = local.code;
        if (err != NULL) {
            *err = local;
        }
    }
    return b;
}

/* "write items" and the like, from the statement's own words. */
static const char *conn_doing(enum conn_sql which) {
    switch (which) {
    case SQL_BEGIN_READ:
    case SQL_DATA_VERSION:
    case SQL_PAGE_BYTES:
    case SQL_INTEGRITY:
        return "read";
    case SQL_BEGIN_WRITE:
        return "begin a write";
    case SQL_COMMIT:
        return "commit a write";
    default:
        return strncmp(conn_sql_text[which], "SELECT", 6) == 0 ? "read" : "write";
    }
}

int bind_run(struct bind *b, u2i_error_t *err) {
    if (b->statement == NULL) {
        return b->rc;
    }
    if (b->rc != SQLITE_OK) {
        return conn_fail(b->conn, b->rc, conn_doing(b->which), err);
    }
    int rc = sqlite3_step(b->statement);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        rc = conn_fail(b->conn, rc, conn_doing(b->which), err);
    } else {
        rc = U2I_OK;
    }
    (void)sqlite3_reset(b->statement); /* repeats the step's result */
    return rc;
}

int bind_step(struct bind *b, bool *row, u2i_error_t *err) {
    *row = false;
    if (b->statement == NULL) {
        return b->rc;
    }
    const int rc = b->rc != SQLITE_OK ? b->rc : sqlite3_step(b->statement);
    if (rc == SQLITE_ROW) {
        *row = true;
        return U2I_OK;
    }
    const int code = rc == SQLITE_DONE ? U2I_OK : conn_fail(b->conn, rc, conn_doing(b->which), err);
    bind_end(b);
    return code;
}

void bind_end(struct bind *b) {
    if (b->statement != NULL) {
        (void)sqlite3_reset(b->statement); /* repeats the step's result */
    }
}

int conn_page_bytes(struct conn *c, int64_t *out, u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_PAGE_BYTES, err);
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    *out = row ? sqlite3_column_int64(b.statement, 0) : 0;
    bind_end(&b);
    return U2I_OK;
}

/* ---- meta ----------------------------------------------------------------------------------- */

static int conn_find_meta(struct conn *c, const char *key, uint64_t *out, bool *found,
                          u2i_error_t *err) {
    *out = 0;
    struct bind b = bind_start(c, SQL_META_GET, err);
    bind_string(&b, key);
    U2I_TRY(bind_step(&b, found, err));
    *found = *found && sqlite3_column_type(b.statement, 0) == SQLITE_INTEGER;
    *out = *found ? (uint64_t)sqlite3_column_int64(b.statement, 0) : 0;
    bind_end(&b);
    return U2I_OK;
}

int conn_meta_int(struct conn *c, const char *key, uint64_t *out, u2i_error_t *err) {
    bool found;
    U2I_TRY(conn_find_meta(c, key, out, &found, err));
    return found ? U2I_OK
                 : error_set(err, U2I_ECORRUPT, "%s: meta has no number '%s'", c->path, key);
}

int conn_meta_int_or_0(struct conn *c, const char *key, uint64_t *out, u2i_error_t *err) {
    bool found;
    return conn_find_meta(c, key, out, &found, err);
}

int conn_set_meta_int(struct conn *c, const char *key, uint64_t value, u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_META_PUT, err);
    bind_string(&b, key);
    bind_int(&b, (int64_t)value);
    return bind_run(&b, err);
}
