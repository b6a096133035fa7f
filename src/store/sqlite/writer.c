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
 */
#include "writer_internal.h"

#include "base/alloc.h"
#include <assert.h>
#include <time.h>

enum {
    WRITER_GROUP_ROWS = 16384, /* a transaction is closed when it has this many rows */
    WRITER_LINGER_MIN = 8,     /* callers in a group from which on lingering pays */
    WRITER_LINGER_ROUNDS = 40, /* looks at the queue, WRITER_LINGER_US apart */
    WRITER_LINGER_US = 5,
    WRITER_IDLE_MS = 20,    /* without a request */
    WRITER_RETRY_MS = 1000, /* until what could not be done is tried again */
};

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
    if (!atomic_load(&w->store->moved)) {
        (void)writer_index_some(w, false); /* the next group comes first */
    }
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

/* What can wait until nobody waits. True if there is more. */
static bool writer_idle(struct writer *w) {
    if (w->scrub) {
        writer_scrub(w);
    }
    return !atomic_load(&w->store->moved) && (writer_index_some(w, true) || writer_sweep(w));
}

/* All that is queued; NULL when closing and empty. */
static struct write *writer_take(struct writer *w, struct gate **gate) {
    bool more = false;
    uint32_t wait_ms = WRITER_IDLE_MS;
    (void)pthread_mutex_lock(&w->lock);
    while (w->head == NULL && !w->closing) {
        const uint32_t seen = gate_read(&w->bell);
        (void)pthread_mutex_unlock(&w->lock);
        if (!more) {
            gate_wait(&w->bell, seen, wait_ms);
        }
        if (gate_read(&w->bell) == seen) {
            more = writer_idle(w);
            wait_ms = w->scrub ? WRITER_RETRY_MS : 0;
        }
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
            writer_sweep_last(w);
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
    conn_close(&w->conn);
    (void)pthread_mutex_destroy(&w->checkpoint_lock);
    (void)pthread_mutex_destroy(&w->lock);
    mem_free(w->moving);
    mem_free(w);
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
    int rc = txn_init(&w->txn, l, &w->conn, err);
    if (rc == U2I_OK && conn_statement(&w->conn, SQL_ROLLBACK, err) == NULL) {
        rc = U2I_ENOMEM; /* prepared now, as it is wanted when there is no memory */
    }
    if (rc == U2I_OK) {
        rc = writer_find_old(w, err);
    }
    if (rc == U2I_OK) {
        rc = writer_start_log(w, err);
    }
    if (rc == U2I_OK && thread_start(&w->thread, "u2i-writer", writer_run, w) != U2I_OK) {
        rc = error_set(err, U2I_ENOMEM, "cannot start a thread");
    }
    if (rc != U2I_OK) {
        (void)writer_stop_log(w); /* the error is told already */
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
    const int rc = writer_stop_log(w);
    writer_free(w);
    return rc;
}
