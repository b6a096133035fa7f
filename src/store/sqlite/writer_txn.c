/* One transaction of the writing thread: begin, take in what others committed, write what is not
 * refused, commit, show it in memory. */
#include "writer_internal.h"

#include "base/alloc.h"

int writer_synchronous(struct writer *w, bool relaxed, u2i_error_t *err) {
    return conn_exec(&w->conn,
                     relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", err);
}

/* The setting `durability`: "full" waits for the disk at each commit, "normal" only at checkpoints. */
static int writer_set_durability(struct writer *w, u2i_error_t *err) {
    struct bind b = bind_start(&w->conn, SQL_SETTING_GET, err);
    bind_string(&b, "durability");
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    const char *value = row ? (const char *)sqlite3_column_text(b.statement, 0) : NULL;
    w->relaxed = value != NULL && strcmp(value, "normal") == 0;
    bind_end(&b);
    return writer_synchronous(w, w->relaxed, err);
}

static int writer_begin_once(struct writer *w, u2i_error_t *err) {
    struct lite *l = w->store;
    U2I_TRY(renewal_moved(l, err));
    if (sqlite3_get_autocommit(w->conn.db) == 0) { /* there was no memory even to roll back */
        U2I_TRY(conn_run(&w->conn, SQL_ROLLBACK, err));
    }
    if (atomic_exchange(&l->settings_moved, false)) {
        const int rc = writer_set_durability(w, err);
        if (rc != U2I_OK) {
            atomic_store(&l->settings_moved, true);
            return rc;
        }
    }
    U2I_TRY(conn_run(&w->conn, SQL_BEGIN_WRITE, err));
    /* From here on nobody else commits; what they did before is taken in first. */
    (void)pthread_mutex_lock(&l->turn);
    const int rc = follow_commits(l, &w->conn, err);
    l->writing = rc == U2I_OK;
    (void)pthread_mutex_unlock(&l->turn);
    return rc;
}

int writer_begin(struct writer *w, u2i_error_t *err) {
    struct lite *l = w->store;
    int rc = writer_begin_once(w, err);
    if (rc == U2I_OK && atomic_load(&l->settings_moved)) {
        /* Another process changed the durability: SQLite takes it only outside of a transaction. */
        writer_end(w);
        rc = writer_begin_once(w, err);
    }
    return rc == U2I_OK ? txn_reset(&w->txn, err) : rc;
}

void writer_end(struct writer *w) {
    struct lite *l = w->store;
    if (sqlite3_get_autocommit(w->conn.db) == 0) {
        (void)conn_run(&w->conn, SQL_ROLLBACK, NULL); /* after a failure that was told already */
    }
    (void)pthread_mutex_lock(&l->turn);
    l->writing = false;
    (void)pthread_cond_broadcast(&l->turn_ended);
    (void)pthread_mutex_unlock(&l->turn);
}

static int writer_show_events(struct lite *l, const struct store_event_row *rows, size_t n) {
    U2I_TRY(tail_add(&l->catalogue->tail, rows, n));
    lite_tell_events(l, rows, n);
    return U2I_OK;
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
            U2I_TRY(writer_show_events(l, t->rows + told, q->events_before - told));
            told = q->events_before;
        }
        U2I_TRY(q->ops->apply(l, q, err));
    }
    U2I_TRY(writer_show_events(l, t->rows + told, t->rows_n - told));
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

static int writer_check(struct writer *w, struct write *q) {
    if (w->txn.moved) {
        return error_set(&q->err, STORE_MOVED, "the store has got another model");
    }
    return q->ops->check == NULL ? U2I_OK : q->ops->check(&w->txn, q, &q->err);
}

/* Writes all requests of [first, end) that are not refused. A failure here is not one request's. */
static int writer_write_all(struct writer *w, struct write *first, const struct write *end,
                            bool *any, u2i_error_t *err) {
    *any = false;
    for (struct write *q = first; q != end; q = q->next) {
        q->events_before = w->txn.rows_n;
        q->events_n = 0;
        error_clear(&q->err);
        q->rc = writer_check(w, q);
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

void writer_transact(struct writer *w, struct write *first, const struct write *end, bool *alone) {
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
