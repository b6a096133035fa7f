/* The writing thread; see writer.h.
 *
 * The queue is a list under a mutex that is held for a few instructions. Whoever is queued while
 * generation g is being filled is in group g and sleeps on gate g mod 2: opening it is one system
 * call for all of them, and none wakes for a group that isn't theirs. (A condition variable would
 * make a thousand waiters queue for its mutex.)
 *
 * With many callers, those who were just woken come back within microseconds; a group that starts
 * with the first of them would pay an fsync for a handful and let the rest wait for the next. So after
 * a large group the writer waits a moment for the queue to fill again (writer_linger).
 *
 * The log is copied into the database (a checkpoint) by a thread of its own while commits go on;
 * what came in meanwhile is a small rest, which the writer copies between two groups, because only
 * then the log can start from its beginning again and stays bounded. */
#include "writer.h"

#include <assert.h>
#include <sched.h>
#include <time.h>
/* */
#include "base/alloc.h"

enum {
    WRITER_GROUP_ROWS = 16384, /* a transaction is closed when it has this many rows */
    WRITER_LINGER_MIN = 8,     /* callers in a group from which on lingering pays */
    WRITER_LINGER_ROUNDS = 40, /* looks at the queue, WRITER_LINGER_US apart */
    WRITER_LINGER_US = 5,
    WRITER_LOG_SOFT_MIB = 16, /* a log of this size is checkpointed in the background */
    WRITER_LOG_HARD_MIB = 256 /* and at this size the writer waits for it */
};

struct writer {
    struct lite *store;
    struct conn conn;
    struct txn txn;
    pthread_t thread;

    pthread_mutex_t lock; /* the queue */
    struct write *head, **tail;
    size_t queued;
    bool closing;
    uint32_t generation;
    struct gate done[2];
    struct gate bell; /* the queue is no longer empty */

    /* Checkpoints. */
    pthread_t checkpointer;
    struct conn checkpoint_conn;
    pthread_mutex_t checkpoint_lock; /* held during a checkpoint */
    struct gate checkpoint_bell;
    atomic_bool checkpoint_wanted, checkpoint_rest, checkpoint_stop;
    int64_t page_bytes;
    int log_pages; /* of the log after the last commit; the writing thread's */
    int log_base;  /* pages that were checkpointed though a reader keeps the log from restarting */
    bool scrub;    /* a user was deleted: their bytes shall leave the log soon */
};

/* ---- Checkpoints ---------------------------------------------------------------------------- */

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

/* Between two groups. */
static void writer_bound_log(struct writer *w) {
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

/* Deleted means gone, so the log that still has the bytes is emptied once nobody is using it. */
static void writer_scrub(struct writer *w) {
    (void)pthread_mutex_lock(&w->checkpoint_lock);
    (void)sqlite3_busy_handler(w->conn.db, NULL, NULL); /* don't wait for readers */
    const int rc =
        sqlite3_wal_checkpoint_v2(w->conn.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    conn_set_busy(&w->conn);
    (void)pthread_mutex_unlock(&w->checkpoint_lock);
    w->scrub = (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

/* ---- One transaction ------------------------------------------------------------------------ */

/* The setting `durability`: "full" waits for the disk at each commit, "normal" only at checkpoints. */
static int writer_set_durability(struct writer *w, u2i_error_t *err) {
    struct bind b = bind_start(&w->conn, SQL_SETTING_GET, err);
    bind_string(&b, "durability");
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    const char *value = row ? (const char *)sqlite3_column_text(b.statement, 0) : NULL;
    const bool normal = value != NULL && strcmp(value, "normal") == 0;
    bind_end(&b);
    return conn_exec(&w->conn, normal ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL",
                     err);
}

static int writer_begin(struct writer *w, u2i_error_t *err) {
    struct lite *l = w->store;
    if (atomic_exchange(&l->settings_moved, false)) {
        U2I_TRY(writer_set_durability(w, err));
    }
    U2I_TRY(conn_run(&w->conn, SQL_BEGIN_WRITE, err));
    /* From here on nobody else commits; what they did before is taken in first. */
    (void)pthread_mutex_lock(&l->turn);
    const int rc = follow_commits(l, &w->conn, err);
    l->writing = rc == U2I_OK;
    (void)pthread_mutex_unlock(&l->turn);
    return rc == U2I_OK ? txn_reset(&w->txn, err) : rc;
}

static void writer_end(struct writer *w) {
    struct lite *l = w->store;
    if (sqlite3_get_autocommit(w->conn.db) == 0) {
        (void)conn_run(&w->conn, SQL_ROLLBACK, NULL); /* after a failure that was told already */
    }
    (void)pthread_mutex_lock(&l->turn);
    l->writing = false;
    (void)pthread_cond_broadcast(&l->turn_ended);
    (void)pthread_mutex_unlock(&l->turn);
}

/* Memory and listener take in a committed group. Events of neighbouring requests are told at once. */
static int writer_apply_all(struct writer *w, struct write *first, const struct write *end,
                            u2i_error_t *err) {
    struct lite *l = w->store;
    const struct txn *t = &w->txn;
    if (txn_apply_names(t, l->catalogue) != U2I_OK) {
        return error_oom(err);
    }
    size_t told = 0;
    for (struct write *q = first; q != end; q = q->next) {
        if (q->rc != U2I_OK || q->ops->apply == NULL) {
            continue;
        }
        if (q->events_n == 0) {
            lite_tell_events(l, t->rows + told, q->events_before - told);
            told = q->events_before;
        }
        U2I_TRY(q->ops->apply(l, q, err));
    }
    lite_tell_events(l, t->rows + told, t->rows_n - told);
    l->catalogue->sequence = t->sequence;
    l->catalogue->events = t->events;
    if (t->removed) {
        l->catalogue->removed_sequence = t->sequence;
    }
    atomic_store(&l->applied, t->sequence);
    return U2I_OK;
}

/* COMMIT and memory are one step for whoever looks for other processes' commits. */
static int writer_commit(struct writer *w, struct write *first, const struct write *end,
                         u2i_error_t *err) {
    struct lite *l = w->store;
    U2I_TRY(txn_finish(&w->txn, err));
    (void)pthread_mutex_lock(&l->turn);
    int rc = conn_run(&w->conn, SQL_COMMIT, err);
    if (rc == U2I_OK) {
        (void)pthread_rwlock_wrlock(&l->lock);
        if (writer_apply_all(w, first, end, NULL) != U2I_OK) {
            /* Durable but not shown: not an error of the write. The next read loads anew, or says
             * that there is no memory for it. */
            atomic_store(&l->stale, true);
        }
        (void)pthread_rwlock_unlock(&l->lock);
    }
    (void)pthread_mutex_unlock(&l->turn);
    return rc;
}

/* Writes all requests of [first, end) that are not refused. A failure here is not one request's. */
static int writer_write_all(struct writer *w, struct write *first, const struct write *end,
                            bool *any, u2i_error_t *err) {
    *any = false;
    for (struct write *q = first; q != end; q = q->next) {
        q->events_before = w->txn.rows_n;
        q->events_n = 0;
        error_clear(&q->err);
        q->rc = q->ops->check == NULL ? U2I_OK : q->ops->check(&w->txn, q, &q->err);
        if (q->rc == U2I_OK) {
            U2I_TRY(q->ops->write(&w->txn, q, err));
            w->scrub |= q->scrub;
            q->events_n = w->txn.rows_n - q->events_before;
            *any = true;
        } else if (q->rc == U2I_ENOMEM || q->rc == U2I_EIO || q->rc == U2I_ECORRUPT) {
            *err = q->err;
            return q->rc;
        }
    }
    return U2I_OK;
}

static void writer_fail_all(struct write *first, const struct write *end, int rc,
                            const u2i_error_t *err) {
    for (struct write *q = first; q != end; q = q->next) {
        q->rc = rc;
        q->err = *err;
    }
}

/* One transaction for [first, end). Every request has its result afterwards, unless *alone is set:
 * then all of it was rolled back and each is to be tried by itself. */
static void writer_transact(struct writer *w, struct write *first, const struct write *end,
                            bool *alone) {
    u2i_error_t err = {.code = U2I_OK, .offset = -1};
    *alone = false;
    int rc = writer_begin(w, &err);
    if (rc != U2I_OK) {
        writer_fail_all(first, end, rc, &err); /* nobody's fault in particular */
        writer_end(w);
        return;
    }
    bool any;
    rc = writer_write_all(w, first, end, &any, &err);
    if (rc == U2I_OK && any) {
        rc = writer_commit(w, first, end, &err);
    }
    writer_end(w);
    if (rc != U2I_OK) {
        *alone = first->next != end;
        writer_fail_all(first, end, rc, &err);
    }
}

/* ---- The queue ------------------------------------------------------------------------------ */

/* Once `done` is set the request may vanish with its caller's stack. */
static void writer_acknowledge(struct write *first, const struct write *end, struct gate *gate) {
    for (struct write *q = first; q != end;) {
        struct write *next = q->next;
        atomic_store_explicit(&q->done, 1, memory_order_release);
        q = next;
    }
    gate_open(gate);
}

static void writer_do_group(struct writer *w, struct write *first, struct write *end,
                            struct gate *gate) {
    bool alone;
    writer_transact(w, first, end, &alone);
    if (alone) {
        for (struct write *q = first; q != end; q = q->next) {
            writer_transact(w, q, q->next, &alone);
        }
    }
    writer_acknowledge(first, end, gate);
    writer_bound_log(w);
}

/* Splits what was queued into transactions of bounded size. */
static size_t writer_do_list(struct writer *w, struct write *list, struct gate *gate) {
    size_t callers = 0;
    while (list != NULL) {
        struct write *end = list;
        for (size_t rows = 0; end != NULL && rows < WRITER_GROUP_ROWS; end = end->next) {
            rows += end->rows_n;
            callers++;
        }
        writer_do_group(w, list, end, gate);
        list = end;
    }
    return callers;
}

/* Waits until most of the last group's callers are back, but not for long: some will never be. */
static void writer_linger(struct writer *w, size_t last) {
    if (last < WRITER_LINGER_MIN) {
        return;
    }
    size_t before = 0;
    for (int i = 0, idle = 0; i < WRITER_LINGER_ROUNDS && idle < 4; i++) {
        (void)pthread_mutex_lock(&w->lock);
        const size_t queued = w->queued;
        const bool closing = w->closing;
        (void)pthread_mutex_unlock(&w->lock);
        if (closing || queued >= last) {
            return;
        }
        idle = queued == before ? idle + 1 : 0;
        before = queued;
        const struct timespec pause = {.tv_sec = 0, .tv_nsec = WRITER_LINGER_US * 1000};
        (void)nanosleep(&pause, NULL); /* woken early is as good */
    }
}

/* All that is queued; NULL when closing and empty. */
static struct write *writer_take(struct writer *w, struct gate **gate) {
    (void)pthread_mutex_lock(&w->lock);
    while (w->head == NULL && !w->closing) {
        const uint32_t seen = gate_read(&w->bell);
        (void)pthread_mutex_unlock(&w->lock);
        if (w->scrub) {
            writer_scrub(w);
        }
        gate_wait(&w->bell, seen, 0);
        (void)pthread_mutex_lock(&w->lock);
    }
    struct write *list = w->head;
    w->head = NULL;
    w->tail = &w->head;
    w->queued = 0;
    *gate = &w->done[w->generation++ & 1];
    (void)pthread_mutex_unlock(&w->lock);
    return list;
}

static void *writer_run(void *arg) {
    struct writer *w = arg;
    size_t last = 0;
    for (;;) {
        writer_linger(w, last);
        struct gate *gate;
        struct write *list = writer_take(w, &gate);
        if (list == NULL) {
            return NULL;
        }
        last = writer_do_list(w, list, gate);
    }
}

int writer_submit(struct lite *l, struct write *q, u2i_error_t *err) {
    struct writer *w = l->writer;
    if (w == NULL) {
        return error_set(err, U2I_EREADONLY, "%s is open for reading only", l->path);
    }
    if (q->rows_n == 0) {
        return U2I_OK;
    }
    (void)pthread_mutex_lock(&w->lock);
    assert(!w->closing);
    struct gate *gate = &w->done[w->generation & 1];
    uint32_t seen = gate_read(gate);
    const bool first = w->head == NULL;
    *w->tail = q;
    w->tail = &q->next;
    w->queued++;
    (void)pthread_mutex_unlock(&w->lock);
    if (first) {
        gate_open_one(&w->bell);
    }
    while (atomic_load_explicit(&q->done, memory_order_acquire) == 0) {
        gate_wait(gate, seen, 0);
        seen = gate_read(gate);
    }
    if (q->rc != U2I_OK && err != NULL) {
        *err = q->err;
    }
    return q->rc;
}

/* ---- Life ----------------------------------------------------------------------------------- */

static void writer_free(struct writer *w) {
    txn_free(&w->txn);
    conn_close(&w->checkpoint_conn);
    conn_close(&w->conn);
    (void)pthread_mutex_destroy(&w->checkpoint_lock);
    (void)pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

static int writer_start_threads(struct writer *w) {
    U2I_TRY(thread_start(&w->checkpointer, "u2i-checkpoint", writer_run_checkpoints, w));
    const int rc = thread_start(&w->thread, "u2i-writer", writer_run, w);
    if (rc != U2I_OK) {
        atomic_store(&w->checkpoint_stop, true);
        gate_open(&w->checkpoint_bell);
        (void)pthread_join(w->checkpointer, NULL);
    }
    return rc;
}

int writer_start(struct lite *l, struct conn *conn, struct writer **out, u2i_error_t *err) {
    *out = NULL;
    struct writer *w = mem_zalloc(sizeof *w);
    if (w == NULL) {
        conn_close(conn);
        return error_oom(err);
    }
    w->store = l;
    w->conn = *conn;
    *conn = (struct conn){0};
    w->tail = &w->head;
    (void)pthread_mutex_init(&w->lock, NULL); /* default ones cannot fail on Linux */
    (void)pthread_mutex_init(&w->checkpoint_lock, NULL);
    (void)sqlite3_wal_hook(w->conn.db, writer_see_log, w);
    int rc = conn_open(&w->checkpoint_conn, l->path, CONN_WRITE, err);
    if (rc == U2I_OK) {
        rc = conn_page_bytes(&w->conn, &w->page_bytes, err);
    }
    if (rc == U2I_OK) {
        rc = txn_init(&w->txn, l, &w->conn, err);
    }
    if (rc == U2I_OK && writer_start_threads(w) != U2I_OK) {
        rc = error_set(err, U2I_ENOMEM, "cannot start a thread");
    }
    if (rc != U2I_OK) {
        writer_free(w);
        return rc;
    }
    *out = w;
    return U2I_OK;
}

int writer_stop(struct writer *w) {
    if (w == NULL) {
        return U2I_OK;
    }
    (void)pthread_mutex_lock(&w->lock);
    w->closing = true;
    (void)pthread_mutex_unlock(&w->lock);
    gate_open(&w->bell);
    (void)pthread_join(w->thread, NULL);
    atomic_store(&w->checkpoint_stop, true);
    gate_open(&w->checkpoint_bell);
    (void)pthread_join(w->checkpointer, NULL);
    /* Acknowledged writes are in the log, synced: this only tidies up, unless durability is
     * "normal". Other processes may be using the log, which is no failure. */
    const int how = w->scrub ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    const int rc = sqlite3_wal_checkpoint_v2(w->conn.db, NULL, how, NULL, NULL);
    writer_free(w);
    return rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY ? U2I_OK : U2I_EIO;
}
