/* Memory that runs out: what the tests share that let each allocation fail in turn. malloc and its kin are replaced
 * at link time (cmake/tests_oom.cmake); without those linker options oom_is_wrapped() is false, and
 * such tests are skipped. Included by one file of a program. */
#ifndef U2I_TESTS_OOM_H
#define U2I_TESTS_OOM_H

#include "u2i.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#include <cmocka.h>

void *__real_malloc(size_t bytes) __attribute__((weak));
void *__real_calloc(size_t n, size_t size) __attribute__((weak));
void *__real_realloc(void *p, size_t bytes) __attribute__((weak));
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
    __attribute__((weak));
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);

static long oom_countdown = -1; /* the allocation that fails; negative = none */

static bool oom_now(void) {
    return oom_countdown >= 0 && oom_countdown-- == 0;
}

void *__wrap_malloc(size_t bytes) {
    return oom_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t size) {
    return oom_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t bytes) {
    return oom_now() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) {
    if (oom_now()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, bytes, prot, flags, fd, offset);
}

static inline bool oom_is_wrapped(void) {
    return __real_malloc != NULL;
}

/* Runs `work` with the first, second, ... allocation failing until it gets through without; at least `least` have
 * to fail. `work` returns U2I_OK or U2I_ENOMEM, and checks that what it made stayed sound. */
static inline void oom_fail_each(int (*work)(void), long least) {
    if (!oom_is_wrapped()) {
        skip();
    }
    long failures = 0;
    for (; failures < 10000; failures++) {
        oom_countdown = failures;
        const int rc = work();
        const bool failed = oom_countdown < 0;
        oom_countdown = -1;
        if (!failed) {
            assert_int_equal(rc, U2I_OK);
            break;
        }
        if (rc != U2I_ENOMEM) {
            fail_msg("allocation %ld: %d", failures, rc);
        }
    }
    print_message("%ld allocations failed in turn\n", failures);
    assert_in_range(failures, least, 9999);
}

#endif
