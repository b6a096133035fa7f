/* One line at a time to the caller's function, or nowhere. Thread-safe as far as the caller's is. */
#ifndef U2I_BASE_LOG_H
#define U2I_BASE_LOG_H

#include "u2i.h"

struct log {
    u2i_log_fn fn; /* NULL = silent */
    void *ctx;
};

__attribute__((format(printf, 3, 4))) void log_line(const struct log *l, int level, const char *fmt,
                                                    ...);

#endif
