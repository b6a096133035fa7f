/* See text.h. Numbers are written by trying 15, 16 and 17 digits until one reads back the same:
 * 0.1 stays 0.1, and nothing is lost. */
#include "text.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void text_free(struct text *t) {
    free(t->p);
    *t = (struct text){0};
}

void text_clear(struct text *t) {
    t->n = 0;
    t->failed = false;
    if (t->p != NULL) {
        t->p[0] = '\0';
    }
}

bool text_ok(const struct text *t) {
    return !t->failed;
}

const char *text_cstr(const struct text *t) {
    return t->p == NULL ? "" : t->p;
}

/* Makes room for n more bytes and the NUL. */
static bool text_reserve(struct text *t, size_t n) {
    if (t->failed) {
        return false;
    }
    if (n >= SIZE_MAX / 4 - t->n) {
        t->failed = true;
        return false;
    }
    if (t->n + n + 1 <= t->cap) {
        return true;
    }
    size_t cap = t->cap < 64 ? 64 : t->cap;
    while (cap < t->n + n + 1) {
        cap *= 2;
    }
    char *const p = realloc(t->p, cap);
    if (p == NULL) {
        t->failed = true;
        return false;
    }
    t->p = p;
    t->cap = cap;
    return true;
}

void text_add(struct text *t, const char *p, size_t n) {
    if (text_reserve(t, n)) {
        if (n > 0) {
            memcpy(t->p + t->n, p, n);
        }
        t->n += n;
        t->p[t->n] = '\0';
    }
}

void text_str(struct text *t, const char *s) {
    text_add(t, s, strlen(s));
}

void text_char(struct text *t, char c) {
    text_add(t, &c, 1);
}

void text_fill(struct text *t, char c, size_t n) {
    if (text_reserve(t, n)) {
        memset(t->p + t->n, c, n);
        t->n += n;
        t->p[t->n] = '\0';
    }
}

void text_fmt(struct text *t, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    const int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0 || !text_reserve(t, (size_t)n)) {
        t->failed = true;
        return;
    }
    va_start(ap, format);
    (void)vsnprintf(t->p + t->n, (size_t)n + 1, format, ap); /* measured just before */
    va_end(ap);
    t->n += (size_t)n;
}

void text_count(struct text *t, unsigned long long n) {
    char digits[32];
    const int len = snprintf(digits, sizeof digits, "%llu", n);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            text_char(t, ',');
        }
        text_char(t, digits[i]);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void text_json_escape(struct text *t, int32_t c) {
    switch (c) {
    case '"':
        text_str(t, "\\\"");
        break;
    case '\\':
        text_str(t, "\\\\");
        break;
    case '\n':
        text_str(t, "\\n");
        break;
    case '\t':
        text_str(t, "\\t");
        break;
    case '\r':
        text_str(t, "\\r");
        break;
    default:
        text_fmt(t, "\\u%04x", (unsigned)c);
        break;
    }
}

static bool text_json_plain(int32_t c) {
    return c >= 0x20 && c != '"' && c != '\\' && !(c >= 0x7f && c < 0xa0);
}

void text_json_str(struct text *t, const char *s, size_t n) {
    const utf8proc_uint8_t *const p = (const utf8proc_uint8_t *)s;
    text_char(t, '"');
    size_t from = 0, at = 0; /* [from, at) is plain and not yet written */
    while (at < n) {
        utf8proc_int32_t c = -1;
        const utf8proc_ssize_t len = utf8proc_iterate(p + at, (utf8proc_ssize_t)(n - at), &c);
        if (len > 0 && text_json_plain(c)) {
            at += (size_t)len;
            continue;
        }
        text_add(t, s + from, at - from);
        if (len > 0) {
            text_json_escape(t, c);
            at += (size_t)len;
        } else {
            text_str(t, "\xef\xbf\xbd");
            at++;
        }
        from = at;
    }
    text_add(t, s + from, at - from);
    text_char(t, '"');
}

void text_json_real(struct text *t, double value) {
    if (!isfinite(value)) {
        text_str(t, "null"); /* JSON has no other way to say it */
        return;
    }
    char digits[40];
    for (int precision = 15; precision <= 17; precision++) {
        (void)snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) {
            break;
        }
    }
    text_str(t, digits);
}

static void text_json_nested(struct text *t, json_t *value, int depth);

static void text_json_object(struct text *t, json_t *object, int depth) {
    const char *name;
    json_t *member;
    text_char(t, '{');
    json_object_foreach(object, name, member) {
        text_json_key(t, name);
        text_json_nested(t, member, depth + 1);
    }
    text_char(t, '}');
}

static void text_json_array(struct text *t, json_t *array, int depth) {
    text_char(t, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0) {
            text_char(t, ',');
        }
        text_json_nested(t, json_array_get(array, i), depth + 1);
    }
    text_char(t, ']');
}

static void text_json_nested(struct text *t, json_t *value, int depth) {
    if (depth > TEXT_JSON_DEPTH) {
        t->failed = true;
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        text_json_object(t, value, depth);
        break;
    case JSON_ARRAY:
        text_json_array(t, value, depth);
        break;
    case JSON_STRING:
        text_json_str(t, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        text_fmt(t, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        text_json_real(t, json_real_value(value));
        break;
    case JSON_TRUE:
        text_str(t, "true");
        break;
    case JSON_FALSE:
        text_str(t, "false");
        break;
    case JSON_NULL:
        text_str(t, "null");
        break;
    }
}

void text_json_value(struct text *t, json_t *value) {
    text_json_nested(t, value, 0);
}

void text_json_key(struct text *t, const char *name) {
    if (t->n > 0 && t->p[t->n - 1] != '{') {
        text_char(t, ',');
    }
    text_json_str(t, name, strlen(name));
    text_char(t, ':');
}

void text_json_member(struct text *t, const char *name, const char *value) {
    if (value != NULL) {
        text_json_key(t, name);
        text_json_str(t, value, strlen(value));
    }
}

void text_json_member_real(struct text *t, const char *name, double value) {
    text_json_key(t, name);
    text_json_real(t, value);
}

void text_json_member_int(struct text *t, const char *name, long long value) {
    text_json_key(t, name);
    text_fmt(t, "%lld", value);
}

void text_json_member_raw(struct text *t, const char *name, const char *json) {
    if (json != NULL) {
        text_json_key(t, name);
        text_str(t, json);
    }
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static bool text_csv_needs_quotes(const char *s, size_t n, char delimiter) {
    if (n == 0) {
        return false;
    }
    return s[0] == ' ' || s[n - 1] == ' ' || memchr(s, delimiter, n) != NULL ||
           strpbrk(s, "\"\r\n") != NULL;
}

void text_csv(struct text *t, const char *s, char delimiter) {
    const size_t n = strlen(s);
    if (!text_csv_needs_quotes(s, n, delimiter)) {
        text_add(t, s, n);
        return;
    }
    text_char(t, '"');
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') {
            text_char(t, '"');
        }
        text_char(t, s[i]);
    }
    text_char(t, '"');
}
