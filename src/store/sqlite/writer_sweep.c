/* Vectors of a former model. When those of another one take their place (renewal.c) the old table is only given
 * another name, so that nobody waits while gigabytes are overwritten. An idle writer then deletes its rows, some at
 * a time, whichever process it is in; who is cut short leaves the rest to the next one. */
#include "writer_internal.h"

enum {
    WRITER_SWEEP_ROWS = 1024,
    WRITER_SWEEP_LAST =
        16 /* times so many when closing: programs that are never idle get it done, too */
};

static int writer_old_exists(struct writer *w, bool *exists, u2i_error_t *err) {
    struct bind b = bind_start(&w->conn, SQL_TABLE_FIND, err);
    bind_string(&b, "old_vectors");
    U2I_TRY(bind_step(&b, exists, err));
    bind_end(&b);
    return U2I_OK;
}

int writer_find_old(struct writer *w, u2i_error_t *err) {
    return writer_old_exists(w, &w->sweeping, err);
}

/* In a transaction: another process may have come first. */
static int writer_sweep_some(struct writer *w, u2i_error_t *err) {
    U2I_TRY(writer_old_exists(w, &w->sweeping, err));
    if (!w->sweeping) {
        return U2I_OK;
    }
    struct bind b = bind_start(&w->conn, SQL_OLD_SWEEP, err);
    bind_int(&b, WRITER_SWEEP_ROWS);
    U2I_TRY(bind_run(&b, err));
    if (sqlite3_changes(w->conn.db) == 0) {
        w->sweeping = false;
        return conn_exec(&w->conn, "DROP TABLE old_vectors", err);
    }
    return U2I_OK;
}

bool writer_sweep(struct writer *w) {
    u2i_error_t err = {.code = U2I_OK};
    if (!w->sweeping) {
        return false;
    }
    int rc = writer_begin(w, &err);
    if (rc == U2I_OK) {
        rc = writer_sweep_some(w, &err);
    }
    if (rc == U2I_OK) {
        rc = conn_run(&w->conn, SQL_COMMIT, &err);
    }
    writer_end(w);
    if (rc != U2I_OK) {
        w->sweeping = false; /* the next open tries again */
        log_line(&w->store->log, U2I_LOG_INFO, "vectors of a former model stay for now: %s",
                 err.msg);
    }
    writer_bound_log(w);
    return w->sweeping;
}

void writer_sweep_last(struct writer *w) {
    for (int i = 0; i < WRITER_SWEEP_LAST && !atomic_load(&w->store->moved); i++) {
        if (!writer_sweep(w)) {
            return;
        }
    }
}
