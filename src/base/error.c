/* Messages of failures. A message is formatted once, into the caller's fixed struct: so reporting a
 * failure never allocates and cannot fail itself. What is quoted in it may come from outside, so
 * control characters become '?' (the message stays one line) and a cut never splits a character. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drops the last character of s[0..len) if its bytes are incomplete; returns the new length. */
static size_t error_trim_partial(const char *s, size_t len) {
    size_t start = len;
    while (start > 0 && len - start < 3 && ((unsigned char)s[start - 1] & 0xC0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return len;
    }
    const unsigned char lead = (unsigned char)s[start - 1];
    const size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return len - (start - 1) < want ? start - 1 : len;
}

__attribute__((format(printf, 4, 0))) static void
error_write(u2i_error_t *err, int code, int32_t offset, const char *fmt, va_list ap) {
    err->code = code;
    err->offset = offset;
    const int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    if (n < 0) {
        err->msg[0] = '\0';
        return;
    }
    size_t len = (size_t)n;
    if (len >= sizeof err->msg) {
        len = error_trim_partial(err->msg, sizeof err->msg - 1);
        err->msg[len] = '\0';
    }
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)err->msg[i];
        if (c < 0x20 || c == 0x7F) {
            err->msg[i] = '?';
        }
    }
}

int error_set(u2i_error_t *err, int code, const char *fmt, ...) {
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        error_write(err, code, -1, fmt, ap);
        va_end(ap);
    }
    return code;
}

int error_at(u2i_error_t *err, int code, int32_t offset, const char *fmt, ...) {
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        error_write(err, code, offset, fmt, ap);
        va_end(ap);
    }
    return code;
}

int error_oom(u2i_error_t *err) {
    return error_set(err, U2I_ENOMEM, "out of memory");
}

void error_clear(u2i_error_t *err) {
    if (err != NULL) {
        err->code = U2I_OK;
        err->offset = -1;
        err->msg[0] = '\0';
    }
}
