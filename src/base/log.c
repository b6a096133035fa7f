/* One formatted line to the caller's function. Formatting uses the stack, so that logging works when
 * memory has run out; longer lines are cut. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define LOG_LINE_BYTES 1024

void log_line(const struct log *l, int level, const char *fmt, ...) {
    if (l == NULL || l->fn == NULL) {
        return;
    }
    char line[LOG_LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0) {
        return;
    }
    for (char *p = line; *p != '\0'; p++) {
        if (*p == '\n' || *p == '\r') {
            *p = ' ';
        }
    }
    l->fn(l->ctx, level, line);
}
