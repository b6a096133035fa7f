/* A growable byte string. Errors stick: after a failed append `failed` is set, further appends do
 * nothing, and the owner checks once at the end. A zero-filled struct is an empty buffer. */
#ifndef U2I_BASE_BUF_H
#define U2I_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* NUL-terminated once anything was appended */
    size_t len, cap;
    bool failed; /* out of memory */
};

void buf_put(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *fmt, ...);
void buf_reset(struct buf *b); /* empty, memory and `failed` cleared or kept for reuse */
void buf_free(struct buf *b);

#endif
