/* Gates, locks and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/thread.h"
#include "u2i.h"
#include <signal.h>

enum { SLEEPERS = 8, ROUNDS = 2000 };

struct relay {
    struct gate turn;
    struct gate done;
    _Atomic uint32_t woken;
};

static void *relay_sleep(void *arg) {
    struct relay *const r = arg;
    for (uint32_t seen = 0; (seen = gate_read(&r->turn)) == 0;) {
        gate_wait(&r->turn, seen, 0);
    }
    if (atomic_fetch_add(&r->woken, 1) + 1 == SLEEPERS) {
        gate_open_one(&r->done);
    }
    return NULL;
}

static void one_opening_wakes_everybody(void **state) {
    (void)state;
    struct relay r = {0};
    pthread_t threads[SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++) {
        assert_int_equal(thread_start(&threads[i], "sleeper", relay_sleep, &r), U2I_OK);
    }
    gate_open(&r.turn);
    while (gate_read(&r.done) == 0) {
        gate_wait(&r.done, 0, 0);
    }
    for (int i = 0; i < SLEEPERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(r.woken, SLEEPERS);
}

/* Two threads take turns: a lost wake-up would hang here. */
static void *ball_return(void *arg) {
    struct gate *const g = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        while (gate_read(&g[0]) == i) {
            gate_wait(&g[0], i, 0);
        }
        gate_open_one(&g[1]);
    }
    return NULL;
}

static void no_wake_up_is_lost(void **state) {
    (void)state;
    struct gate g[2] = {0};
    pthread_t thread;
    assert_int_equal(thread_start(&thread, "ball", ball_return, g), U2I_OK);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        gate_open_one(&g[0]);
        while (gate_read(&g[1]) == i) {
            gate_wait(&g[1], i, 0);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void waiting_ends_when_the_time_is_up(void **state) {
    (void)state;
    struct gate g = {0};
    const int64_t before = clock_ticks_ns(clock_system());
    for (int i = 0; i < 100; i++) { /* a wait may return early, so wait until the time is up */
        gate_wait(&g, 0, 30);
        if (clock_ticks_ns(clock_system()) - before >= 29000000) {
            break;
        }
    }
    assert_true(clock_ticks_ns(clock_system()) - before >= 29000000);
    gate_wait(&g, 1, 0); /* the word is not 1: returns at once */
}

static void *mask_read(void *arg) {
    (void)pthread_sigmask(SIG_BLOCK, NULL, arg);
    return NULL;
}

static void threads_start_with_signals_blocked(void **state) {
    (void)state;
    sigset_t inside;
    sigset_t outside;
    pthread_t thread;
    (void)sigemptyset(&inside);
    assert_int_equal(thread_start(&thread, "mask", mask_read, &inside), U2I_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sigismember(&inside, SIGINT), 1);
    assert_int_equal(sigismember(&inside, SIGTERM), 1);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &outside);
    assert_int_equal(sigismember(&outside, SIGTERM), 0);
    assert_true(thread_cores() >= 1);
}

static void readers_share_the_lock(void **state) {
    (void)state;
    pthread_rwlock_t lock;
    assert_int_equal(rwlock_init(&lock), U2I_OK);
    assert_int_equal(pthread_rwlock_rdlock(&lock), 0);
    assert_int_equal(pthread_rwlock_tryrdlock(&lock), 0);
    assert_true(pthread_rwlock_trywrlock(&lock) != 0);
    assert_int_equal(pthread_rwlock_unlock(&lock), 0);
    assert_int_equal(pthread_rwlock_unlock(&lock), 0);
    assert_int_equal(pthread_rwlock_trywrlock(&lock), 0);
    assert_int_equal(pthread_rwlock_unlock(&lock), 0);
    assert_int_equal(pthread_rwlock_destroy(&lock), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_opening_wakes_everybody),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(waiting_ends_when_the_time_is_up),
        cmocka_unit_test(threads_start_with_signals_blocked),
        cmocka_unit_test(readers_share_the_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
