/* Threads and what they sleep on. A gate is a futex on Linux; elsewhere one process-wide mutex and
 * condition stand in for the kernel's wait queues (correct, only slower with many gates).
 *
 * Why no wake-up is lost: the waker changes the word before it wakes, and the sleeper goes to sleep
 * only if the word still is what it saw when it checked its condition. */
#include "base/thread.h"

#include "u2i.h"
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && !defined(U2I_GATE_PORTABLE)
#define THREAD_FUTEX 1
#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#else
#define THREAD_FUTEX 0
#endif

int rwlock_init(pthread_rwlock_t *l) {
    pthread_rwlockattr_t attr;
    if (pthread_rwlockattr_init(&attr) != 0) {
        return U2I_ENOMEM;
    }
#ifdef __GLIBC__
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    const int rc = pthread_rwlock_init(l, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
    return rc == 0 ? U2I_OK : U2I_ENOMEM;
}

uint32_t gate_read(const struct gate *g) {
    return atomic_load_explicit(&g->word, memory_order_acquire);
}

#if THREAD_FUTEX

_Static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t), "a futex is a plain 32-bit word");

/* Every outcome (woken, the word changed, a signal, the time ran out) means: look again. */
void gate_wait(struct gate *g, uint32_t seen, uint32_t timeout_ms) {
    const struct timespec limit = {.tv_sec = timeout_ms / 1000,
                                   .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    (void)syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, seen, timeout_ms == 0 ? NULL : &limit,
                  NULL, 0);
}

static void gate_wake(struct gate *g, int waiters) {
    (void)atomic_fetch_add_explicit(&g->word, 1, memory_order_acq_rel);
    (void)syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, waiters, NULL, NULL, 0);
}

#else

static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;

void gate_wait(struct gate *g, uint32_t seen, uint32_t timeout_ms) {
    struct timespec until = {0};
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&gate_mutex);
    int rc = 0;
    while (rc == 0 && gate_read(g) == seen) {
        rc = timeout_ms == 0 ? pthread_cond_wait(&gate_changed, &gate_mutex)
                             : pthread_cond_timedwait(&gate_changed, &gate_mutex, &until);
    }
    (void)pthread_mutex_unlock(&gate_mutex);
}

/* All gates share the condition, so all sleepers are woken and those of other gates sleep on. */
static void gate_wake(struct gate *g, int waiters) {
    (void)waiters;
    (void)pthread_mutex_lock(&gate_mutex);
    (void)atomic_fetch_add_explicit(&g->word, 1, memory_order_acq_rel);
    (void)pthread_cond_broadcast(&gate_changed);
    (void)pthread_mutex_unlock(&gate_mutex);
}

#endif

void gate_open(struct gate *g) {
    gate_wake(g, INT_MAX);
}

void gate_open_one(struct gate *g) {
    gate_wake(g, 1);
}

unsigned thread_cores(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return (unsigned)CPU_COUNT(&set);
    }
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

/* The new thread inherits the mask, so signals stay with the application's own threads. */
int thread_start(pthread_t *t, const char *name, void *(*run)(void *), void *arg) {
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(t, NULL, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return U2I_ENOMEM;
    }
#ifdef __GLIBC__
    (void)pthread_setname_np(*t, name); /* for people's tools only; fails for a long name */
#else
    (void)name;
#endif
    return U2I_OK;
}

void thread_background(void) {
#if THREAD_FUTEX
    /* Linux keeps a nice value for each thread. It may be refused: then it works at full priority. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
#endif
}
