/* A growable byte string whose errors stick. Room for the NUL is always reserved, so `data` is a C
 * string after every append that worked. */
#include "base/buf.h"

#include "base/alloc.h"
#include "u2i.h"
#include <stdarg.h>
#include <stdio.h>

/* Room for n more bytes and the NUL. */
static bool buf_reserve(struct buf *b, size_t n) {
    if (b->failed) {
        return false;
    }
    if (n > SIZE_MAX - b->len - 1 ||
        array_reserve(&b->data, &b->cap, b->len + n + 1, 1) != U2I_OK) {
        b->failed = true;
        return false;
    }
    return true;
}

void buf_put(struct buf *b, const void *p, size_t n) {
    if (!buf_reserve(b, n)) {
        return;
    }
    if (n > 0) {
        memcpy(b->data + b->len, p, n);
    }
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s) {
    buf_put(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c) {
    buf_put(b, &c, 1);
}

/* Formats into the room there is, and once more if that was too little. */
void buf_printf(struct buf *b, const char *fmt, ...) {
    for (size_t room = 64; buf_reserve(b, room);) {
        va_list ap;
        va_start(ap, fmt);
        const int n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, ap);
        va_end(ap);
        if (n < 0) {
            b->data[b->len] = '\0';
            b->failed = true;
            return;
        }
        if ((size_t)n < b->cap - b->len) {
            b->len += (size_t)n;
            return;
        }
        b->data[b->len] = '\0';
        room = (size_t)n;
    }
}

void buf_reset(struct buf *b) {
    b->len = 0;
    b->failed = false;
    if (b->data != NULL) {
        b->data[0] = '\0';
    }
}

void buf_free(struct buf *b) {
    mem_free(b->data);
    *b = (struct buf){0};
}
