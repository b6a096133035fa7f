/* Events into their index, table history, some time after they were recorded.
 *
 * An index by user costs a random page for each event, ten times what the event itself costs. So
 * recording writes the log (table events) only, and events stay in memory (struct tail) until there
 * are many. A round sorts them by user and moves them in small transactions, so that nobody waits for
 * long; when all are in, the mark `indexed` says up to which event the index goes. If a round is cut
 * short it starts again: rows that are there already are left alone. The index is derived: with the
 * table emptied and the mark at 0 it fills again. */
#include "writer_internal.h"

#include "base/alloc.h"

enum {
    WRITER_MOVE_SOFT = 8192,   /* events in memory from which on an idle writer moves them, */
    WRITER_MOVE_HARD = 262144, /* and a busy one does so too */
    WRITER_MOVE_CHUNK = 2048,  /* in transactions of so many */
    WRITER_MOVE_PAUSE = 1000   /* tries to let pass after a failure */
};

static int writer_compare_users(const void *a, const void *b) {
    const struct store_event_row *x = a;
    const struct store_event_row *y = b;
    if (x->user != y->user) {
        return x->user < y->user ? -1 : 1;
    }
    return x->time_ms < y->time_ms ? -1 : x->time_ms > y->time_ms;
}

static size_t writer_waiting_events(struct writer *w) {
    struct lite *l = w->store;
    (void)pthread_rwlock_rdlock(&l->lock);
    const size_t n = l->catalogue->tail.n;
    (void)pthread_rwlock_unlock(&l->lock);
    return n;
}

/* A copy of what is in memory now, sorted: what comes later waits for the next round, and a round
 * touches each page of the index once. */
static int writer_start_round(struct writer *w, u2i_error_t *err) {
    struct lite *l = w->store;
    w->moving_n = w->moving_next = 0;
    (void)pthread_rwlock_rdlock(&l->lock);
    const struct tail *tail = &l->catalogue->tail;
    const bool room =
        array_reserve(&w->moving, &w->moving_cap, tail->n, sizeof *tail->rows) == U2I_OK;
    if (room && tail->n > 0) {
        memcpy(w->moving, tail->rows, tail->n * sizeof *tail->rows);
        w->moving_n = tail->n;
        w->moving_to = tail->rows[tail->n - 1].seq;
    }
    (void)pthread_rwlock_unlock(&l->lock);
    if (room && w->moving_n > 0) {
        qsort(w->moving, w->moving_n, sizeof *w->moving, writer_compare_users);
    }
    return room ? U2I_OK : error_oom(err);
}

static int writer_index_event(struct writer *w, const struct store_event_row *row,
                              u2i_error_t *err) {
    const struct intern *users = w->store->catalogue->names[CATALOGUE_USERS];
    if (row->user == STORE_NONE || intern_name(users, row->user, NULL) == NULL) {
        return U2I_OK; /* deleted since */
    }
    struct bind b = bind_start(&w->conn, SQL_HISTORY_PUT, err);
    bind_int(&b, row->user);
    bind_int(&b, row->time_ms);
    bind_int(&b, (int64_t)row->seq);
    bind_int(&b, row->item);
    bind_int(&b, row->action);
    bind_real(&b, (double)row->value);
    return bind_run(&b, err);
}

/* In a transaction: the next chunk, and at the end of a round the mark up to where the index goes.
 * Another process may have gone further. */
static int writer_index_chunk(struct writer *w, u2i_error_t *err) {
    for (int i = 0; i < WRITER_MOVE_CHUNK && w->moving_next < w->moving_n; i++) {
        U2I_TRY(writer_index_event(w, &w->moving[w->moving_next++], err));
    }
    if (w->moving_next < w->moving_n) {
        return U2I_OK;
    }
    uint64_t indexed;
    U2I_TRY(conn_meta_int(&w->conn, "indexed", &indexed, err));
    w->moving_to = indexed > w->moving_to ? indexed : w->moving_to;
    return conn_set_meta_int(&w->conn, "indexed", w->moving_to, err);
}

/* A chunk of the index needs no fsync of its own: it can be derived again. */
static int writer_move_chunk(struct writer *w, u2i_error_t *err) {
    U2I_TRY(writer_synchronous(w, true, err));
    int rc = writer_begin(w, err);
    if (rc == U2I_OK) {
        rc = writer_index_chunk(w, err);
    }
    if (rc == U2I_OK) {
        rc = conn_run(&w->conn, SQL_COMMIT, err);
    }
    writer_end(w);
    const int back = writer_synchronous(w, w->relaxed, err);
    return rc == U2I_OK ? back : rc;
}

/* Moves some of the events that are only in memory and in the log into the index. Nobody waits for
 * it, so a failure is only logged, and tried again later. */
static void writer_move_events(struct writer *w) {
    struct lite *l = w->store;
    u2i_error_t err = {.code = U2I_OK};
    int rc = U2I_OK;
    if (w->moving_next == w->moving_n) {
        rc = writer_start_round(w, &err);
    }
    if (rc == U2I_OK && w->moving_n > 0) {
        rc = writer_move_chunk(w, &err);
    }
    if (rc != U2I_OK) {
        log_line(&l->log, U2I_LOG_WARN, "indexing events: %s", err.msg);
        w->moving_n = w->moving_next = 0;
        w->moving_pause = WRITER_MOVE_PAUSE;
    } else if (w->moving_next == w->moving_n) {
        (void)pthread_rwlock_wrlock(&l->lock);
        tail_trim(&l->catalogue->tail, w->moving_to);
        (void)pthread_rwlock_unlock(&l->lock);
    }
}

bool writer_index_some(struct writer *w, bool idle) {
    if (w->moving_pause > 0) {
        w->moving_pause--;
        return false;
    }
    const bool amid = idle && w->moving_next < w->moving_n;
    if (!amid && writer_waiting_events(w) < (idle ? WRITER_MOVE_SOFT : WRITER_MOVE_HARD)) {
        return false;
    }
    writer_move_events(w);
    writer_bound_log(w);
    return true;
}
