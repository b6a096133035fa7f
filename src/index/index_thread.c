/* The thread of an index: asleep until there is work, then one turn after the other until there is none.
 * A turn does a piece of everything that is due, so that nothing waits for ever under a stream of
 * changes: a round of moves, a slice of a repair, a calibration, a snapshot.
 *
 * Going to sleep: whether there is work is decided under the owner's lock, shared, and `asleep` is set
 * before it is let go. Who makes work has it exclusive: either the thread has seen the work, or they see
 * that it sleeps. So a change costs no system call while the thread is up. */
#include "index_internal.h"

/* A program that asks one question and ends should not pay for a thread that wakes with it. */
enum { INDEX_LINGER_MS = 100, INDEX_SETTLE_AFTER_MS = 1000, INDEX_PROGRESS_MS = 100 };

/* ---- Is there work? ------------------------------------------------------------------------- */

static bool index_asked(const struct index *ix) {
    return atomic_load(&ix->bell->asked) != atomic_load(&ix->bell->served);
}

static bool index_due(const struct index *ix) {
    if (index_asked(ix)) {
        return true;
    }
    if (ix->changes < ix->work.resume) {
        return false;
    }
    if (ix->graph == NULL) {
        return index_wants_graph(ix);
    }
    return !index_wants_graph(ix) || atomic_load(&ix->bell->damaged) || index_flat_n(ix) > 0 ||
           index_repair_due(ix) || index_calibrate_due(ix) || index_save_due(ix, false);
}

/* Sleeps until there is work; true when a second went by without any. */
static bool index_sleep(struct index *ix) {
    struct index_bell *const bell = ix->bell;
    const uint32_t seen = gate_read(&bell->work);
    index_read_lock(ix);
    const bool due = index_due(ix);
    atomic_store(&bell->asleep, !due);
    index_unlock(ix);
    if (!due && !index_cancelled(ix)) {
        gate_wait(&bell->work, seen, ix->work.settling ? INDEX_SETTLE_AFTER_MS : 0);
    }
    atomic_store(&bell->asleep, false);
    return !due && gate_read(&bell->work) == seen;
}

/* Sleeps, or uses the rest to bring a mapped graph into memory. */
static void index_rest(struct index *ix) {
    const uint32_t seen = gate_read(&ix->bell->work);
    if (index_sleep(ix)) {
        while (ix->work.settling && !index_cancelled(ix) && gate_read(&ix->bell->work) == seen) {
            index_settle(ix);
        }
    }
}

static void index_linger(struct index *ix) {
    const uint32_t seen = gate_read(&ix->bell->work);
    if (!index_asked(ix) && !index_cancelled(ix)) {
        gate_wait(&ix->bell->work, seen, INDEX_LINGER_MS);
    }
}

/* ---- A turn --------------------------------------------------------------------------------- */

static int index_turn(struct index *ix, bool whole, u2i_error_t *err) {
    struct index_round round;
    U2I_TRY(index_shape(ix, err));
    if (ix->graph == NULL) {
        return U2I_OK;
    }
    U2I_TRY(index_move(ix, &round, err));
    U2I_TRY(index_repair(ix, whole, err));
    U2I_TRY(index_calibrate(ix, err));
    return index_save(ix, whole, err);
}

/* Those who wait in index_build() learn how it went. */
static void index_serve(struct index *ix, unsigned asked, int rc, const u2i_error_t *err) {
    struct index_bell *const bell = ix->bell;
    (void)pthread_mutex_lock(&bell->lock);
    bell->rc = rc;
    bell->err = *err;
    (void)pthread_mutex_unlock(&bell->lock);
    atomic_store(&bell->served, asked);
    gate_open(&bell->done);
}

static void index_out_of_memory(struct index *ix) {
    index_read_lock(ix);
    const uint32_t n = index_count(ix);
    ix->work.resume = ix->changes + n / 10 + 1;
    const uint32_t flat = index_flat_n(ix);
    index_unlock(ix);
    log_line(&ix->opt.log, U2I_LOG_WARN,
             "index %s: out of memory; %u of %u vectors stay outside of the graph for now",
             ix->opt.name, flat, n);
}

static void index_after_turn(struct index *ix, int rc, const u2i_error_t *err) {
    if (rc == U2I_ENOMEM) {
        index_out_of_memory(ix);
    } else if (rc == U2I_ECORRUPT) {
        atomic_store(&ix->bell->damaged, true);
    } else if (rc != U2I_OK) {
        log_line(&ix->opt.log, U2I_LOG_WARN, "index %s: %s", ix->opt.name, err->msg);
    }
}

static void *index_run(void *arg) {
    struct index *const ix = arg;
    struct index_bell *const bell = ix->bell;
    index_linger(ix);
    while (!index_cancelled(ix)) {
        const unsigned asked = atomic_load(&bell->asked);
        const bool whole = asked != atomic_load(&bell->served);
        u2i_error_t err;
        error_clear(&err);
        const int rc = index_turn(ix, whole, &err);
        if (index_cancelled(ix)) {
            break;
        }
        index_after_turn(ix, rc, &err);
        if (whole && rc != U2I_ECORRUPT) { /* damage: in the next turn the graph is made anew */
            index_serve(ix, asked, rc, &err);
        }
        index_rest(ix);
    }
    return NULL;
}

/* ---- From outside --------------------------------------------------------------------------- */

void index_ring(const struct index *ix) {
    atomic_store(&ix->bell->asleep, false);
    gate_open_one(&ix->bell->work);
}

static int index_start_thread(struct index *ix) {
    if (!ix->work.running) {
        U2I_TRY(thread_start(&ix->work.thread, "u2i-index", index_run, ix));
        ix->work.running = true;
    }
    index_ring(ix);
    return U2I_OK;
}

void index_rouse(struct index *ix) {
    const struct index_bell *const bell = ix->bell;
    if (!atomic_load(&bell->started) || (ix->work.running && !atomic_load(&bell->asleep))) {
        return;
    }
    if ((index_due(ix) || ix->work.settling) && index_start_thread(ix) != U2I_OK) {
        log_line(&ix->opt.log, U2I_LOG_WARN, "index %s: its thread cannot be started",
                 ix->opt.name);
    }
}

void index_start(struct index *ix, bool may_save) {
    ix->work.may_save = may_save;
    if (!may_save) {
        index_release(ix); /* nobody saves now: see index.h */
    }
    atomic_store(&ix->bell->started, true);
    index_rouse(ix);
}

void index_stop(struct index *ix) {
    if (ix->work.running) {
        atomic_store(&ix->bell->cancel, true);
        gate_open(&ix->bell->work);
        (void)pthread_join(ix->work.thread, NULL); /* can only fail when misused */
        ix->work.running = false;
    }
    index_release(ix);
}

/* ---- Waiting for it ------------------------------------------------------------------------- */

struct index_wait {
    unsigned ticket;
    uint64_t before; /* vectors moved then */
    uint64_t total;  /* to be moved */
};

static int index_ask(struct index *ix, struct index_wait *w, u2i_error_t *err) {
    struct index_bell *const bell = ix->bell;
    if (!atomic_load(&bell->started)) {
        return error_set(err, U2I_EINVAL, "the index %s was not started", ix->opt.name);
    }
    index_write_lock(ix);
    ix->work.resume = 0;
    w->total = index_wants_graph(ix) ? index_flat_n(ix) : 0;
    w->before = atomic_load(&bell->moved);
    w->ticket = atomic_fetch_add(&bell->asked, 1) + 1;
    const int rc = index_start_thread(ix);
    if (rc != U2I_OK) { /* nobody is there to serve it */
        atomic_store(&bell->served, w->ticket);
    }
    index_unlock(ix);
    return rc == U2I_OK ? rc : error_oom(err);
}

static bool index_served(const struct index *ix, const struct index_wait *w) {
    return (int)(atomic_load(&ix->bell->served) - w->ticket) >= 0;
}

static bool index_report(const struct index *ix, const struct index_wait *w,
                         u2i_progress_fn progress, void *ctx) {
    const uint64_t done = atomic_load(&ix->bell->moved) - w->before;
    return progress == NULL || progress(ctx, done < w->total ? done : w->total, w->total) == 0;
}

int index_build(struct index *ix, u2i_progress_fn progress, void *ctx, u2i_error_t *err) {
    struct index_bell *const bell = ix->bell;
    struct index_wait w = {0};
    U2I_TRY(index_ask(ix, &w, err));
    for (uint32_t seen = gate_read(&bell->done); !index_served(ix, &w);
         seen = gate_read(&bell->done)) {
        if (!index_report(ix, &w, progress, ctx)) {
            return error_set(err, U2I_ETIMEOUT, "stopped waiting for the index %s", ix->opt.name);
        }
        gate_wait(&bell->done, seen, INDEX_PROGRESS_MS);
    }
    if (progress != NULL) {
        (void)progress(ctx, w.total, w.total); /* too late to stop */
    }
    (void)pthread_mutex_lock(&bell->lock);
    const int rc = bell->rc;
    if (rc != U2I_OK && err != NULL) {
        *err = bell->err;
    }
    (void)pthread_mutex_unlock(&bell->lock);
    return rc;
}
