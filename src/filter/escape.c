/* Escapes of string literals, as in RFC 8259, section 7. NUL is refused because strings travel as C
 * strings through u2i.h, and a string that would be cut there silently is worse than an error. */
#include "filter/escape.h"
#include <stdint.h>
#include <string.h>

/* The number that four hex digits at p stand for, or -1. */
static int32_t escape_hex4(const char *p, const char *end) {
    if (end - p < 4) {
        return -1;
    }
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const char lower = (char)(p[i] | 0x20);
        if (p[i] >= '0' && p[i] <= '9') {
            value = value * 16 + (p[i] - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value * 16 + (lower - 'a' + 10);
        } else {
            return -1;
        }
    }
    return value;
}

static size_t escape_put(uint32_t c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | (c >> 6));
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | (c >> 12));
        out[1] = (char)(0x80 | ((c >> 6) & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | (c >> 18));
    out[1] = (char)(0x80 | ((c >> 12) & 0x3F));
    out[2] = (char)(0x80 | ((c >> 6) & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* p is the byte after "\u". */
static size_t escape_unicode(const char *p, const char *end, char *out, size_t *out_n) {
    const int32_t first = escape_hex4(p, end);
    if (first <= 0 || (first >= 0xDC00 && first <= 0xDFFF)) {
        return 0;
    }
    if (first < 0xD800 || first > 0xDBFF) {
        *out_n = escape_put((uint32_t)first, out);
        return 5;
    }
    if (end - p < 10 || p[4] != '\\' || p[5] != 'u') {
        return 0;
    }
    const int32_t second = escape_hex4(p + 6, end);
    if (second < 0xDC00 || second > 0xDFFF) {
        return 0;
    }
    *out_n = escape_put((uint32_t)(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)), out);
    return 11;
}

size_t escape_decode(const char *p, const char *end, char out[ESCAPE_MAX_BYTES], size_t *out_n) {
    static const char names[] = "bfnrt\"\\/";
    static const char bytes[] = "\b\f\n\r\t\"\\/";
    if (p == end || *p == '\0') {
        return 0;
    }
    if (*p == 'u') {
        return escape_unicode(p + 1, end, out, out_n);
    }
    const char *const found = strchr(names, *p);
    if (found == NULL) {
        return 0;
    }
    out[0] = bytes[found - names];
    *out_n = 1;
    return 1;
}
