/* What the fault tests share: giving up with a message, numbers from the environment, random numbers,
 * a folder of their own. They see only the public header, as any user of the library does; so this
 * is plain C with malloc, and only static functions, since each test is one program of one file. */
#ifndef U2I_TESTS_FAULT_FAULT_H
#define U2I_TESTS_FAULT_FAULT_H

#include "u2i.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FAULT_SKIPPED = 77, /* the exit code that ctest takes for "not possible here" */
    FAULT_DIM = 8
};

/* Ends the program: a promise is broken, or the test itself cannot go on. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void fault_die(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "FAILED: ");
    (void)vfprintf(stderr, fmt, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void fault_skip(const char *fmt,
                                                                              ...) {
    va_list args;
    va_start(args, fmt);
    (void)printf("skipped: ");
    (void)vprintf(fmt, args);
    (void)printf("\n");
    va_end(args);
    exit(FAULT_SKIPPED);
}

static inline uint64_t fault_env(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

/* ---- Random numbers (xorshift64*, Vigna 2016) --------------------------------------------------- */

struct fault_rng {
    uint64_t state;
};
/* From U2I_SEED, or the time; printed, so that a run can be repeated as far as threads allow. */
static inline struct fault_rng fault_rng_open(const char *test) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* any number will do */
    const uint64_t drawn = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid();
    const uint64_t seed = fault_env("U2I_SEED", drawn);
    (void)printf("%s: U2I_SEED=%" PRIu64 "\n", test, seed);
    (void)fflush(stdout);
    return (struct fault_rng){seed * 0x9e3779b97f4a7c15u + 1};
}
static inline uint64_t fault_random(struct fault_rng *r) {
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1du >> 16;
}
static inline uint32_t fault_below(struct fault_rng *r, uint32_t n) {
    return (uint32_t)(fault_random(r) % n);
}

/* ---- Files -------------------------------------------------------------------------------------- */

/* An empty folder of our own below TMPDIR. */
static inline void fault_make_dir(char *dir, size_t bytes) {
    const char *base = getenv("TMPDIR");
    (void)snprintf(dir, bytes, "%s/u2i-fault-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(dir) == NULL) {
        fault_die("cannot make a folder %s: %s", dir, strerror(errno));
    }
}
static inline void fault_remove_dir(const char *dir) {
    char command[600];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) {
        (void)fprintf(stderr, "cannot remove %s\n", dir);
    }
}
/* The store and whatever SQLite keeps beside it. */
static inline void fault_remove_store(const char *path) {
    static const char *const tails[] = {"", "-wal", "-shm", "-journal"};
    char name[600];
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        (void)snprintf(name, sizeof name, "%s%s", path, tails[i]);
        if (unlink(name) != 0 && errno != ENOENT) {
            fault_die("cannot remove %s: %s", name, strerror(errno));
        }
    }
    (void)snprintf(name, sizeof name, "%s-index", path);
    fault_remove_dir(name);
}

static inline int64_t fault_now_us(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
static inline void fault_sleep_us(int64_t us) {
    const struct timespec t = {us / 1000000, us % 1000000 * 1000};
    (void)nanosleep(&t, NULL); /* waking early does no harm */
}

/* ---- Opening ------------------------------------------------------------------------------------ */

/* A store of the caller's vectors, FAULT_DIM floats. */
static inline int fault_open(const char *path, u2i_t **out, u2i_error_t *err) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    opt.dim = FAULT_DIM;
    opt.model = "none";
    return u2i_open(path, &opt, out, err);
}

static inline void fault_print_fault(void *ctx, const char *where, const char *what) {
    (void)ctx;
    (void)fprintf(stderr, "  verify: %s: %s\n", where, what);
}

#endif
