/* What pthreads lacks for us. Mutexes and conditions are used from <pthread.h> as they are. */
#ifndef U2I_BASE_THREAD_H
#define U2I_BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* A read-write lock where waiting writers go first, so that a stream of reads cannot starve them.
 * Not recursive. */
int rwlock_init(pthread_rwlock_t *l); /* U2I_OK or U2I_ENOMEM */

/* A word that threads can sleep on: one system call wakes any number of them, and none has to take
 * a lock on waking (a condition variable would make a thousand waiters queue for its mutex). */
struct gate {
    _Atomic uint32_t word;
};
uint32_t gate_read(const struct gate *g);
/* Sleeps while the word is `seen`; may return early: check the condition again. timeout_ms 0 =
 * no limit. */
void gate_wait(struct gate *g, uint32_t seen, uint32_t timeout_ms);
void gate_open(struct gate *g);     /* word + 1, wake all */
void gate_open_one(struct gate *g); /* word + 1, wake one */

unsigned thread_cores(void); /* usable ones, >= 1 */
/* The calling thread, and those it starts, give way to all others from now on. */
void thread_background(void);
/* Starts a joinable thread named `name` (<= 15 bytes) with all signals blocked. */
int thread_start(pthread_t *t, const char *name, void *(*run)(void *), void *arg);

#endif
