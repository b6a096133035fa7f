/* Which file is it? Before anything is read through SQLite's pager the first 100 bytes are looked at,
 * because merely reading another program's database can create files beside it. A file of ours is
 * known by its application id; its format number decides whether we can read it, have to migrate it,
 * or must leave it to a newer u2i.
 *
 * The header is read through SQLite's own file handle: opening and closing the file ourselves would
 * drop the locks that other handles of this process hold on it (POSIX). */
#include "sqlite_internal.h"

#include "base/alloc.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DBFILE_APPLICATION_ID = 0x75326931, /* "u2i1" */
    DBFILE_FORMAT = 1,                  /* user_version of what this code writes */
    DBFILE_HEADER_BYTES = 100,
    DBFILE_OPEN_RETRIES = 20,
    DBFILE_LOCK_RETRIES = 200,
    DBFILE_PAUSE_MS = 10,
    DBFILE_LOG_BYTES = 64 << 20 /* a longer log is cut when it starts again */
};

/* What a file looks like from outside. */
enum dbfile_kind {
    DBFILE_EMPTY,   /* nothing in it: ours to fill */
    DBFILE_OURS,    /* application id and a format that we know */
    DBFILE_UNCLEAR, /* the header may be older than the log beside it: ask SQLite */
};

/* ---- Looking -------------------------------------------------------------------------------- */

static uint32_t dbfile_u32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool dbfile_beside(const char *path, const char *suffix) {
    char name[4096];
    struct stat st;
    const int n = snprintf(name, sizeof name, "%s%s", path, suffix);
    return n > 0 && (size_t)n < sizeof name && stat(name, &st) == 0 && st.st_size > 0;
}

static bool dbfile_directory_writable(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        return access(slash == NULL ? "." : "/", W_OK) == 0;
    }
    char *dir = str_dup(path, (size_t)(slash - path));
    const bool writable = dir != NULL && access(dir, W_OK) == 0;
    mem_free(dir);
    return writable;
}

static int dbfile_version_error(const char *path, uint32_t format, u2i_error_t *err) {
    return error_set(err, U2I_EVERSION,
                     "%s was written by a newer u2i: it has format %u, this one reads up to %d",
                     path, format, DBFILE_FORMAT);
}

/* Decides by application id and format. Another program's file, or none at all, is U2I_ECORRUPT. */
static int dbfile_judge(const char *path, uint32_t id, uint32_t format, u2i_error_t *err) {
    if (id != DBFILE_APPLICATION_ID) {
        return error_set(err, U2I_ECORRUPT,
                         "%s is not a u2i store but another program's SQLite database"
                         " (application id 0x%08x)",
                         path, id);
    }
    if (format > DBFILE_FORMAT) {
        return dbfile_version_error(path, format, err);
    }
    if (format == 0) {
        return error_set(err, U2I_ECORRUPT, "%s has no format number", path);
    }
    return U2I_OK;
}

static int dbfile_look(struct conn *c, enum dbfile_kind *kind, u2i_error_t *err) {
    unsigned char h[DBFILE_HEADER_BYTES] = {0};
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc == SQLITE_OK && file != NULL && file->pMethods != NULL) {
        rc = file->pMethods->xRead(file, h, sizeof h, 0);
    }
    if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ) {
        return conn_fail(c, rc, "read the header", err);
    }
    if (rc == SQLITE_IOERR_SHORT_READ || memcmp(h, "SQLite format 3", 16) != 0) {
        return error_set(err, U2I_ECORRUPT, "%s is not a u2i store (nor a SQLite database)",
                         c->path);
    }
    const uint32_t id = dbfile_u32(h + 68);
    const uint32_t format = dbfile_u32(h + 60);
    const bool small = dbfile_u32(h + 28) <= 1; /* pages: no room for a table */
    const bool log = dbfile_beside(c->path, "-wal");
    if (id == 0 && format == 0 && (small || log)) {
        /* One page without a log holds no table: whoever began to create the store was cut short. To
         * ask SQLite would take files beside it that only a writer can make. */
        *kind = log ? DBFILE_UNCLEAR : DBFILE_EMPTY;
        return U2I_OK;
    }
    *kind = DBFILE_OURS;
    return dbfile_judge(c->path, id, format, err);
}

static int dbfile_number(struct conn *c, const char *sql, uint32_t *out, u2i_error_t *err) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
    }
    *out = rc == SQLITE_ROW ? (uint32_t)sqlite3_column_int64(st, 0) : 0;
    rc = rc == SQLITE_ROW ? U2I_OK : conn_fail(c, rc, "read the header", err);
    (void)sqlite3_finalize(st); /* repeats the step's result */
    return rc;
}

/* The same question through SQLite, with what is in the log. In a transaction: all three numbers are of
 * one moment, also while another process creates the store. */
static int dbfile_ask(struct conn *c, enum dbfile_kind *kind, u2i_error_t *err) {
    uint32_t id;
    uint32_t format;
    uint32_t tables;
    U2I_TRY(dbfile_number(c, "SELECT count(*) FROM sqlite_schema", &tables, err));
    U2I_TRY(dbfile_number(c, "PRAGMA application_id", &id, err));
    U2I_TRY(dbfile_number(c, "PRAGMA user_version", &format, err));
    if (id == 0 && format == 0 && tables == 0) {
        *kind = DBFILE_EMPTY;
        return U2I_OK;
    }
    *kind = DBFILE_OURS;
    return dbfile_judge(c->path, id, format, err);
}

static int dbfile_ask_at_once(struct conn *c, enum dbfile_kind *kind, u2i_error_t *err) {
    U2I_TRY(conn_run(c, SQL_BEGIN_READ, err));
    const int rc = dbfile_ask(c, kind, err);
    (void)conn_run(c, SQL_ROLLBACK, NULL); /* ends a read */
    return rc;
}

static int dbfile_identify_once(struct lite *l, bool writing, enum dbfile_kind *kind,
                                u2i_error_t *err) {
    struct conn c;
    /* A journal beside the file: its creation was cut off by a power cut. What is in the file means
     * nothing until it is rolled back, which only a connection that writes may do. */
    const bool unfinished = writing || (!l->readonly && dbfile_beside(l->path, "-journal"));
    const enum conn_mode mode = l->immutable ? CONN_IMMUTABLE : unfinished ? CONN_WRITE : CONN_READ;
    U2I_TRY(conn_open(&c, l->path, mode, err));
    *kind = DBFILE_UNCLEAR;
    int rc = unfinished ? U2I_OK : dbfile_look(&c, kind, err);
    if (rc == U2I_OK && *kind == DBFILE_UNCLEAR) {
        rc = dbfile_ask_at_once(&c, kind, err);
    }
    conn_close(&c);
    return rc;
}

/* Another process that creates or closes the store makes the log come and go beside it; what cannot be
 * opened at such a moment can be a little later. */
static int dbfile_identify(struct lite *l, enum dbfile_kind *kind, u2i_error_t *err) {
    struct gate pause = {0};
    int rc = dbfile_identify_once(l, false, kind, err);
    for (int i = 0; i < DBFILE_OPEN_RETRIES && rc == U2I_EIO; i++) {
        gate_wait(&pause, 0, DBFILE_PAUSE_MS);
        rc = dbfile_identify_once(l, false, kind, err);
    }
    if (rc == U2I_EIO &&
        !l->readonly) { /* a log whose index is lost: only a writer can make it anew */
        rc = dbfile_identify_once(l, true, kind, err);
    }
    return rc;
}

/* ---- Creating and migrating ----------------------------------------------------------------- */

/* Step i leads from format i to format i + 1. A step is never changed once released. */
static const char *const dbfile_steps[DBFILE_FORMAT] = {store_schema_sql};

/* 8 KiB pages hold 3 or 5 of the usual vectors (512, 384 floats) where 4 KiB hold 1 or 2; measured for
 * a million of 384: 19 % less file, 28 % less CPU to open. The small writes don't mind: events are
 * appended. Where even that wastes a third, the next size; longer vectors overflow, which packs well. */
static int dbfile_page_bytes(uint32_t dim) {
    const size_t vector = dim * sizeof(float);
    const size_t row = vector + 14; /* cell header and pointer */
    const size_t room = 8192 - 8;
    return row <= room && room / row * vector * 3 < 2 * room ? 16384 : 8192;
}

static int dbfile_put_meta(struct conn *c, const struct store_options *opt, u2i_error_t *err) {
    static const char *const zero[] = {"sequence",       "events",           "users_end",
                                       "changes_pruned", "removed_sequence", "indexed"};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++) {
        U2I_TRY(conn_set_meta_int(c, zero[i], 0, err));
    }
    U2I_TRY(conn_set_meta_int(c, "dim", opt->dim, err));
    struct bind b = bind_start(c, SQL_META_PUT, err);
    bind_string(&b, "model");
    bind_string(&b, opt->model);
    return bind_run(&b, err);
}

/* Another process was faster; with U2I_OPEN_NEW only one of them may succeed. */
static int dbfile_was_made(const char *path, const struct store_options *opt, u2i_error_t *err) {
    return (opt->flags & U2I_OPEN_NEW) == 0 ? U2I_OK
                                            : error_set(err, U2I_EINVAL, "%s exists already", path);
}

/* Brings the file to DBFILE_FORMAT in one transaction, from whatever it has (nothing = 0). Another
 * process may have done so a moment ago. */
static int dbfile_migrate_in(struct conn *c, const struct store_options *opt, u2i_error_t *err) {
    enum dbfile_kind kind;
    uint32_t format;
    U2I_TRY(dbfile_ask(c, &kind, err));
    U2I_TRY(dbfile_number(c, "PRAGMA user_version", &format, err));
    if (format == DBFILE_FORMAT) {
        return dbfile_was_made(c->path, opt, err);
    }
    const bool create = format == 0;
    if (create && opt->model == NULL) { /* left by a process that died creating it */
        return error_set(err, U2I_ENOTFOUND, "the file is empty: there is no store in it");
    }
    if (create && (opt->dim == 0 || opt->dim > U2I_DIM_MAX || opt->model == NULL ||
                   strlen(opt->model) >= sizeof((struct store *)0)->model)) {
        return error_set(err, U2I_EINVAL, "a new store needs a model and a dim of 1..%d",
                         U2I_DIM_MAX);
    }
    for (; format < DBFILE_FORMAT; format++) {
        U2I_TRY(conn_exec(c, dbfile_steps[format], err));
    }
    char sql[96];
    (void)snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                   DBFILE_APPLICATION_ID, DBFILE_FORMAT); /* fits */
    U2I_TRY(conn_exec(c, sql, err));
    return create ? dbfile_put_meta(c, opt, err) : U2I_OK;
}

static int dbfile_set_wal_once(struct conn *c, u2i_error_t *err) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
    }
    const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (rc != SQLITE_ROW) {
        rc = conn_fail(c, rc, "switch to a write-ahead log", err);
    } else if (mode == NULL || strcmp(mode, "wal") != 0) {
        rc = error_set(err, U2I_EIO, "%s is on a file system that cannot keep a write-ahead log",
                       c->path);
    } else {
        rc = U2I_OK;
    }
    (void)sqlite3_finalize(st); /* repeats the step's result */
    return rc;
}

/* SQLite does not wait for a lock here: of several processes that create one store, one goes first. */
static int dbfile_set_wal(struct conn *c, u2i_error_t *err) {
    struct gate pause = {0};
    int rc = dbfile_set_wal_once(c, err);
    for (int i = 0; i < DBFILE_LOCK_RETRIES && rc == U2I_EBUSY; i++) {
        gate_wait(&pause, 0, DBFILE_PAUSE_MS);
        rc = dbfile_set_wal_once(c, err);
    }
    return rc;
}

static int dbfile_migrate(struct conn *c, const struct store_options *opt, u2i_error_t *err) {
    U2I_TRY(conn_run(c, SQL_BEGIN_WRITE, err));
    int rc = dbfile_migrate_in(c, opt, err);
    if (rc == U2I_OK) {
        rc = conn_run(c, SQL_COMMIT, err);
    }
    if (rc != U2I_OK && sqlite3_get_autocommit(c->db) == 0) {
        (void)conn_run(c, SQL_ROLLBACK, NULL); /* the error is told already */
    }
    if (rc == U2I_OK) {
        /* The header tells from now on whose file it is; if it is not copied now it will be later. */
        (void)sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    return rc;
}

/* Opens the writer's connection, and brings the file to the present format if it isn't. */
static int dbfile_open_writer(struct lite *l, const struct store_options *opt, struct conn *writer,
                              u2i_error_t *err) {
    char sql[96];
    uint32_t format;
    U2I_TRY(conn_open(writer, l->path, CONN_WRITE, err));
    (void)snprintf(sql, sizeof sql, "PRAGMA page_size = %d; PRAGMA journal_size_limit = %d",
                   dbfile_page_bytes(opt->dim),
                   DBFILE_LOG_BYTES); /* the first in a new file only */
    U2I_TRY(conn_exec(writer, sql, err));
    U2I_TRY(dbfile_set_wal(writer, err));
    U2I_TRY(dbfile_number(writer, "PRAGMA user_version", &format, err));
    return format == DBFILE_FORMAT ? dbfile_was_made(l->path, opt, err)
                                   : dbfile_migrate(writer, opt, err);
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Flags against what is there. *exists = there is something in the file. */
static int dbfile_check_flags(struct lite *l, const struct store_options *opt, bool *exists,
                              u2i_error_t *err) {
    struct stat st;
    const bool there = stat(l->path, &st) == 0;
    const int why = errno;
    *exists = there && st.st_size > 0;
    if (there && !S_ISREG(st.st_mode)) {
        return error_set(err, U2I_EIO, "%s is not a file", l->path);
    }
    if (there && (opt->flags & U2I_OPEN_NEW) != 0) {
        return error_set(err, U2I_EINVAL, "%s exists already", l->path);
    }
    if (there) {
        if (!*exists && (opt->flags & U2I_OPEN_READONLY) != 0) {
            return error_set(err, U2I_ECORRUPT, "%s is empty", l->path);
        }
        l->readonly = (opt->flags & U2I_OPEN_READONLY) != 0 || access(l->path, W_OK) != 0;
        l->immutable = !dbfile_directory_writable(l->path) && !dbfile_beside(l->path, "-wal");
        l->readonly |= l->immutable;
        return U2I_OK;
    }
    if (why != ENOENT && why != ENOTDIR) {
        return error_set(err, U2I_EIO, "cannot open %s: %s", l->path, strerror(why));
    }
    if ((opt->flags & (U2I_OPEN_EXISTING | U2I_OPEN_READONLY)) != 0) {
        return error_set(err, U2I_ENOTFOUND, "%s does not exist", l->path);
    }
    return U2I_OK;
}

static int dbfile_read_model(struct lite *l, struct conn *c, u2i_error_t *err) {
    uint64_t dim;
    uint64_t models;
    U2I_TRY(conn_meta_int(c, "dim", &dim, err));
    U2I_TRY(conn_meta_int_or_0(c, "models", &models, err));
    struct bind b = bind_start(c, SQL_META_GET, err);
    bind_string(&b, "model");
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    const char *model = row ? (const char *)sqlite3_column_text(b.statement, 0) : NULL;
    const bool sane =
        model != NULL && strlen(model) < sizeof l->base.model && dim > 0 && dim <= U2I_DIM_MAX;
    if (sane) {
        memcpy(l->base.model, model, strlen(model) + 1);
        l->base.dim = (uint32_t)dim;
        l->base.models = (uint32_t)models;
    }
    bind_end(&b);
    return sane ? U2I_OK : error_set(err, U2I_ECORRUPT, "%s: meta names no model and dim", l->path);
}

/* The model that the store has, against the one asked for. */
static int dbfile_check_model(struct lite *l, struct conn *c, const struct store_options *opt,
                              u2i_error_t *err) {
    U2I_TRY(conn_run(c, SQL_BEGIN_READ, err)); /* name and dim of one moment */
    const int rc = dbfile_read_model(l, c, err);
    (void)conn_run(c, SQL_ROLLBACK, NULL); /* ends a read */
    U2I_TRY(rc);
    const bool same = (opt->model == NULL || strcmp(opt->model, l->base.model) == 0) &&
                      (opt->dim == 0 || opt->dim == l->base.dim);
    return same ? U2I_OK
                : error_set(err, U2I_EEMBED,
                            "%s was made with model '%s' and dim %u, not '%s' and dim %u", l->path,
                            l->base.model, l->base.dim,
                            opt->model == NULL ? l->base.model : opt->model,
                            opt->dim == 0 ? l->base.dim : opt->dim);
}

int dbfile_open(struct lite *l, const struct store_options *opt, struct conn *writer,
                u2i_error_t *err) {
    bool exists;
    enum dbfile_kind kind = DBFILE_EMPTY;
    U2I_TRY(dbfile_check_flags(l, opt, &exists, err));
    if (exists) {
        U2I_TRY(dbfile_identify(l, &kind, err));
    }
    if (l->readonly && kind == DBFILE_EMPTY) {
        return error_set(err, U2I_ECORRUPT, "%s is empty and cannot be written to", l->path);
    }
    if (kind == DBFILE_EMPTY && (opt->flags & U2I_OPEN_EXISTING) != 0) {
        /* Whoever began to create it was cut short: as good as no file. */
        return error_set(err, U2I_ENOTFOUND, "%s is %s", l->path,
                         exists ? "empty, not yet a store" : "missing");
    }
    if (!l->readonly) {
        U2I_TRY(dbfile_open_writer(l, opt, writer, err));
    }
    /* An absolute path: the program may change its directory before the next connection. */
    U2I_TRY(conn_open(&l->watch, l->path, l->immutable ? CONN_IMMUTABLE : CONN_READ, err));
    const char *full = sqlite3_db_filename(l->watch.db, "main");
    char *path = full == NULL ? NULL : str_dup(full, strlen(full));
    if (path == NULL) {
        return error_oom(err);
    }
    mem_free(l->path);
    l->path = path;
    writer->path = l->watch.path = path;
    return dbfile_check_model(l, &l->watch, opt, err);
}
