/* Keeping the write-ahead log short, off the path of those who wait for a commit.
 *
 * A thread of its own copies the log into the database while commits go on. What came in meanwhile is
 * a small rest, which the writing thread copies between two groups, because only then the log can
 * start from its beginning again. A reader that stays in one transaction for long keeps it growing. */
#include "writer_internal.h"

enum {
    WRITER_LOG_SOFT_MIB = 16, /* a log of this size is checkpointed in the background */
    WRITER_LOG_HARD_MIB = 256 /* and at this size the writer waits for it */
};

static int writer_see_log(void *ctx, sqlite3 *db, const char *name, int pages) {
    (void)db;
    (void)name;
    struct writer *w = ctx;
    w->log_pages = pages;
    if (pages < w->log_base) {
        w->log_base = 0; /* it has started from its beginning */
    }
    return SQLITE_OK;
}

static bool writer_log_over(const struct writer *w, int64_t mib) {
    return (w->log_pages - w->log_base) * w->page_bytes >= mib << 20;
}

/* Copies what it can without making anybody wait. Fails when the disk is full, and then the log
 * simply goes on growing; what is in it is safe. */
static void writer_checkpoint(struct writer *w, struct conn *c) {
    (void)pthread_mutex_lock(&w->checkpoint_lock);
    const int rc = sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    (void)pthread_mutex_unlock(&w->checkpoint_lock);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) {
        log_line(&w->store->log, U2I_LOG_WARN, "checkpoint of %s failed: %s", w->store->path,
                 sqlite3_errstr(rc));
    }
}

static void *writer_run_checkpoints(void *arg) {
    struct writer *w = arg;
    while (!atomic_load(&w->checkpoint_stop)) {
        const uint32_t seen = gate_read(&w->checkpoint_bell);
        if (atomic_exchange(&w->checkpoint_wanted, false)) {
            writer_checkpoint(w, &w->checkpoint_conn);
            atomic_store(&w->checkpoint_rest, true);
        } else if (!atomic_load(&w->checkpoint_stop)) {
            gate_wait(&w->checkpoint_bell, seen, 0);
        }
    }
    return NULL;
}

void writer_bound_log(struct writer *w) {
    if (!writer_log_over(w, WRITER_LOG_SOFT_MIB)) {
        return;
    }
    if (atomic_exchange(&w->checkpoint_rest, false) || writer_log_over(w, WRITER_LOG_HARD_MIB)) {
        writer_checkpoint(w, &w->conn);
        w->log_base = w->log_pages;
    } else if (!atomic_exchange(&w->checkpoint_wanted, true)) {
        gate_open_one(&w->checkpoint_bell);
    }
}

void writer_scrub(struct writer *w) {
    (void)pthread_mutex_lock(&w->checkpoint_lock);
    (void)sqlite3_busy_handler(w->conn.db, NULL, NULL); /* don't wait for readers */
    const int rc =
        sqlite3_wal_checkpoint_v2(w->conn.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    conn_set_busy(&w->conn);
    (void)pthread_mutex_unlock(&w->checkpoint_lock);
    w->scrub = (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

int writer_start_log(struct writer *w, u2i_error_t *err) {
    (void)sqlite3_wal_hook(w->conn.db, writer_see_log, w);
    U2I_TRY(conn_page_bytes(&w->conn, &w->page_bytes, err));
    U2I_TRY(conn_open(&w->checkpoint_conn, w->store->path, CONN_WRITE, err));
    if (thread_start(&w->checkpointer, "u2i-checkpoint", writer_run_checkpoints, w) != U2I_OK) {
        return error_set(err, U2I_ENOMEM, "cannot start a thread");
    }
    w->log_started = true;
    return U2I_OK;
}

int writer_stop_log(struct writer *w) {
    int rc = SQLITE_OK;
    if (w->log_started) {
        atomic_store(&w->checkpoint_stop, true);
        gate_open(&w->checkpoint_bell);
        (void)pthread_join(w->checkpointer, NULL);
        /* Acknowledged writes are in the log, synced: this only tidies up, unless durability is
         * "normal". Other processes may be using the log, which is no failure. */
        const int how = w->scrub ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
        rc = sqlite3_wal_checkpoint_v2(w->conn.db, NULL, how, NULL, NULL);
    }
    conn_close(&w->checkpoint_conn);
    return rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY ? U2I_OK : U2I_EIO;
}
