/* The crew: the threads of one call to a learner. Threads live for one train_crew_run() each, so
 * that nothing waits, spinning or not, between steps or after the call. Tasks are handed out one
 * by one by a counter; the calling thread is worker 0, works like the others, and alone calls
 * progress(). */
#include "train/train_internal.h"

#include "base/error.h"
#include "base/thread.h"
#include "train/train_blas.h"

/* ---- OpenBLAS's one setting ------------------------------------------------------------------ */

static pthread_mutex_t train_blas_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int train_blas_users = 0;   /* both under the lock */
static _Atomic int train_blas_threads = 1; /* before the first came */

void train_blas_begin(void) {
    (void)pthread_mutex_lock(&train_blas_lock); /* a valid mutex: cannot fail */
    if (train_blas_users == 0) {
        train_blas_threads = openblas_get_num_threads();
        openblas_set_num_threads(1);
    }
    train_blas_users++;
    (void)pthread_mutex_unlock(&train_blas_lock);
}

void train_blas_end(void) {
    (void)pthread_mutex_lock(&train_blas_lock);
    train_blas_users--;
    if (train_blas_users == 0) {
        openblas_set_num_threads(train_blas_threads);
    }
    (void)pthread_mutex_unlock(&train_blas_lock);
}

/* ---- The crew -------------------------------------------------------------------------------- */

struct crew_run {
    struct train_crew *crew;
    train_task_fn fn;
    void *ctx;
    uint64_t tasks;
    _Atomic uint64_t next, finished;
    _Atomic int rc;
};
struct crew_member {
    struct crew_run *run;
    unsigned worker;
    pthread_t thread;
};

void train_crew_begin(struct train_crew *crew, const struct train_work *work) {
    unsigned threads = work == NULL || work->threads == 0 ? thread_cores() : work->threads;
    threads = threads < TRAIN_THREADS_MAX ? threads : TRAIN_THREADS_MAX;
    *crew = (struct train_crew){.work = work, .threads = threads};
    train_blas_begin();
}

void train_crew_end(struct train_crew *crew) {
    (void)crew;
    train_blas_end();
}

static int crew_ask(const struct train_crew *crew, uint64_t done) {
    const struct train_work *const work = crew->work;
    if (work == NULL || work->progress == NULL) {
        return U2I_OK;
    }
    const uint64_t total = crew->total;
    return work->progress(work->ctx, done < total ? done : total, total) == 0 ? U2I_OK
                                                                              : U2I_ETIMEOUT;
}

int train_crew_step(struct train_crew *crew, uint64_t total) {
    crew->done = 0;
    crew->total = total;
    return crew_ask(crew, 0);
}

static void crew_stop(struct crew_run *run, int rc) {
    int none = U2I_OK;
    (void)atomic_compare_exchange_strong(&run->rc, &none, rc); /* the first one stays */
}

static void *crew_work(void *arg) {
    const struct crew_member *const me = arg;
    struct crew_run *const run = me->run;
    while (run->rc == U2I_OK) {
        const uint64_t task = atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
        if (task >= run->tasks) {
            break;
        }
        int rc = run->fn(run->ctx, task, me->worker);
        const uint64_t finished =
            1 + atomic_fetch_add_explicit(&run->finished, 1, memory_order_relaxed);
        if (rc == U2I_OK && me->worker == 0) {
            rc = crew_ask(run->crew, run->crew->done + finished);
        }
        if (rc != U2I_OK) {
            crew_stop(run, rc);
        }
    }
    return NULL;
}

int train_crew_run(struct train_crew *crew, uint64_t tasks, train_task_fn fn, void *ctx) {
    struct crew_run run = {.crew = crew, .fn = fn, .ctx = ctx, .tasks = tasks};
    struct crew_member members[TRAIN_THREADS_MAX];
    const unsigned wanted = crew->threads < tasks ? crew->threads : (unsigned)tasks;
    unsigned n = 1;
    members[0] = (struct crew_member){.run = &run};
    for (; n < wanted; n++) {
        members[n] = (struct crew_member){.run = &run, .worker = n};
        if (thread_start(&members[n].thread, "u2i-train", crew_work, &members[n]) != U2I_OK) {
            break; /* fewer hands do it too */
        }
    }
    (void)crew_work(&members[0]);
    for (unsigned i = 1; i < n; i++) {
        (void)pthread_join(members[i].thread, NULL); /* ours, joined once: cannot fail */
    }
    crew->done += tasks;
    return run.rc;
}

int train_fail(u2i_error_t *err, int rc) {
    switch (rc) {
    case U2I_OK:
        return rc;
    case U2I_ENOMEM:
        return error_oom(err);
    case U2I_ETIMEOUT:
        return error_set(err, rc, "training was cancelled");
    default:
        return error_set(err, rc,
                         "the linear algebra library failed: is OpenBLAS too old for this CPU?");
    }
}
