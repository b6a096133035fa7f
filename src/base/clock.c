/* The system's clocks behind struct clock. Reading them cannot fail with these two clock ids. */
#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static int64_t clock_read_wall_ms(void *ctx) {
    (void)ctx; /* the system has one wall clock */
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t clock_read_ticks_ns(void *ctx) {
    (void)ctx;
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

const struct clock *clock_system(void) {
    static const struct clock system_clock = {clock_read_wall_ms, clock_read_ticks_ns, NULL};
    return &system_clock;
}
