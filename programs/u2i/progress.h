/* A progress line on stderr: how far, how fast, how long still. Only where stderr is a terminal, at
 * most ten times a second, and gone when the work is done. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on;
    double start_s, last_s; /* of a monotonic clock */
    const char *unit;       /* what is counted; "rows" unless it is set after the start */
};

void progress_start(struct progress *p);
double progress_seconds(const struct progress *p); /* since the start */
/* `done` of `total` bytes (total 0 = not known) made `rows` rows, or what else `unit` says. */
void progress_show(struct progress *p, const char *name, uint64_t rows, uint64_t done,
                   uint64_t total);
/* The same for work in steps: `step` in a word, `done` of `total` (0 = not known) of that step. */
void progress_step(struct progress *p, const char *step, uint64_t done, uint64_t total);
/* The same for bytes that arrive, `before` of which were there when it began. */
void progress_bytes(struct progress *p, const char *name, uint64_t before, uint64_t done,
                    uint64_t total);
void progress_clear(const struct progress *p); /* before anything else is written to stderr */

#endif
