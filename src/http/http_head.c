/* Headers: lines "Name: value", one after the other with a NUL each, as they came. */
#include "http/http_internal.h"

#include "base/error.h"
#include <string.h>
#include <strings.h>

static const char *http_head_find(const struct buf *lines, const char *name) {
    const size_t n = strlen(name);
    for (size_t at = 0; at < lines->len; at += strlen(lines->data + at) + 1) {
        const char *const line = lines->data + at;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *const value = line + n + 1;
            return value + strspn(value, " \t");
        }
    }
    return NULL;
}

const char *http_header(const struct http_reply *r, const char *name) {
    return http_head_find(&r->last, name);
}

const char *http_header_first(const struct http_reply *r, const char *name) {
    return http_head_find(&r->first, name);
}

int http_check_headers(const struct http_request *q, u2i_error_t *err) {
    static const char *const secret[] = {"Authorization:", "Cookie:", "Proxy-Authorization:"};
    for (size_t i = 0; i < q->headers_n; i++) {
        const char *const line = q->headers[i];
        for (const char *c = line; *c != '\0'; c++) {
            if ((unsigned char)*c < ' ' || *c == 0x7F) {
                return error_set(err, U2I_EINVAL, "a header has a control character in it");
            }
        }
        for (size_t s = 0; s < sizeof secret / sizeof *secret; s++) {
            if (strncasecmp(line, secret[s], strlen(secret[s])) == 0) {
                return error_set(err, U2I_EINVAL, "header %s goes to every host: use the key",
                                 secret[s]);
            }
        }
    }
    return U2I_OK;
}

int64_t http_number(const char *s, const char **end) {
    int64_t value = 0;
    const char *c = s;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *c - '0', &value)) {
            return -1;
        }
    }
    if (end != NULL) {
        *end = c;
    }
    return c == s || (end == NULL && *c != '\0') ? -1 : value;
}

/* "bytes 100-199/200", or with * for what is not known (RFC 9110, 14.4). */
void http_range(struct http_reply *r) {
    const char *s = http_header(r, "Content-Range");
    if (s == NULL || strncasecmp(s, "bytes ", 6) != 0) {
        return;
    }
    s += 6;
    const int64_t from = http_number(s, &s);
    const int64_t to = from >= 0 && *s == '-' ? http_number(s + 1, &s) : -1;
    if (to < from || *s != '/') {
        return;
    }
    r->range_from = from;
    r->range_total = http_number(s + 1, NULL);
}
