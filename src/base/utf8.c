/* UTF-8 over utf8proc, with a fast path for ASCII, which most ids and titles are. */
#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

size_t utf8_next(const char *s, size_t n, int32_t *codepoint) {
    /* Only the first character is looked at; the bound keeps the count in utf8proc's type. */
    const utf8proc_ssize_t bytes = n > 4 ? 4 : (utf8proc_ssize_t)n;
    const utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)s, bytes, codepoint);
    return len > 0 ? (size_t)len : 0;
}

static bool utf8_ascii8(const char *s) {
    uint64_t word = 0;
    memcpy(&word, s, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

bool utf8_valid(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        if (n - i >= 8 && utf8_ascii8(s + i)) {
            i += 8;
            continue;
        }
        int32_t codepoint = 0;
        const size_t len = utf8_next(s + i, n - i, &codepoint);
        if (len == 0) {
            return false;
        }
        i += len;
    }
    return true;
}

size_t utf8_prefix(const char *s, size_t n, size_t max) {
    if (n <= max) {
        return n;
    }
    while (max > 0 && ((unsigned char)s[max] & 0xC0) == 0x80) {
        max--;
    }
    return max;
}
