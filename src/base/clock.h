/* Time comes in as an argument, so that tests own it. clock_system() is the only reader of the
 * system's clocks. Thread-safe. */
#ifndef U2I_BASE_CLOCK_H
#define U2I_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*now_ms)(void *ctx);   /* Unix time, UTC */
    int64_t (*ticks_ns)(void *ctx); /* monotonic, for deadlines and measuring */
    void *ctx;
};

const struct clock *clock_system(void);
static inline int64_t clock_now_ms(const struct clock *c) {
    return c->now_ms(c->ctx);
}
static inline int64_t clock_ticks_ns(const struct clock *c) {
    return c->ticks_ns(c->ctx);
}

/* A point on the monotonic clock after which work stops; at_ns 0 = never. */
struct deadline {
    const struct clock *clock;
    int64_t at_ns;
};
static inline int deadline_passed(const struct deadline *d) {
    return d != 0 && d->at_ns != 0 && clock_ticks_ns(d->clock) > d->at_ns;
}

#endif
