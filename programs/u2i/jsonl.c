/* See jsonl.h. jansson parses a line; its own depth limit is 2048, ours is checked before it on the
 * bytes, since what is built must also be walked and freed without deep recursion. */
#include "jsonl.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSONL_BUFFER_BYTES 65536

struct jsonl {
    jsonl_read_fn read;
    void *ctx;
    bool ended;
    uint64_t line;
    size_t at, filled; /* of buffer */
    char *text;
    size_t text_n, text_cap;
    json_t *object;
    char error[256];
    char buffer[JSONL_BUFFER_BYTES];
};

struct jsonl *jsonl_new(jsonl_read_fn read, void *ctx) {
    struct jsonl *const j = calloc(1, sizeof *j);
    if (j != NULL) {
        j->read = read;
        j->ctx = ctx;
    }
    return j;
}

void jsonl_free(struct jsonl *j) {
    if (j != NULL) {
        json_decref(j->object);
        free(j->text);
        free(j);
    }
}

const char *jsonl_text(const struct jsonl *j, size_t *n) {
    *n = j->text_n;
    return j->text;
}

uint64_t jsonl_line(const struct jsonl *j) {
    return j->line;
}

const char *jsonl_error(const struct jsonl *j) {
    return j->error;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static int jsonl_fill(struct jsonl *j) {
    const ptrdiff_t got = j->ended ? 0 : j->read(j->ctx, j->buffer, sizeof j->buffer);
    if (got < 0) {
        (void)snprintf(j->error, sizeof j->error, "reading failed");
        return JSONL_FAILED;
    }
    j->at = 0;
    j->filled = (size_t)got;
    j->ended = got == 0;
    return got > 0 ? JSONL_ROW : JSONL_END;
}

static int jsonl_append(struct jsonl *j, const char *p, size_t n) {
    if (j->text_n + n + 1 > j->text_cap) {
        size_t cap = j->text_cap == 0 ? 4096 : j->text_cap;
        while (cap < j->text_n + n + 1) {
            cap *= 2;
        }
        char *const text = realloc(j->text, cap);
        if (text == NULL) {
            (void)snprintf(j->error, sizeof j->error, "out of memory");
            return JSONL_FAILED;
        }
        j->text = text;
        j->text_cap = cap;
    }
    memcpy(j->text + j->text_n, p, n);
    j->text_n += n;
    j->text[j->text_n] = '\0';
    return JSONL_ROW;
}

/* The next line into text, without its break. A line that is too long is read to its end, but not
 * kept. */
static int jsonl_read_line(struct jsonl *j) {
    bool any = false, long_line = false;
    j->text_n = 0;
    for (;;) {
        if (j->at == j->filled) {
            const int rc = jsonl_fill(j);
            if (rc == JSONL_FAILED || (rc == JSONL_END && !any)) {
                return rc;
            }
            if (rc == JSONL_END) {
                break;
            }
        }
        j->line += !any;
        any = true;
        const char *const p = j->buffer + j->at;
        const char *const end = memchr(p, '\n', j->filled - j->at);
        const size_t n = end != NULL ? (size_t)(end - p) : j->filled - j->at;
        long_line = long_line || j->text_n + n > JSONL_LINE_MAX_BYTES;
        if (!long_line && jsonl_append(j, p, n) != JSONL_ROW) {
            return JSONL_FAILED;
        }
        j->at += n + (end != NULL);
        if (end != NULL) {
            break;
        }
    }
    if (long_line) {
        (void)snprintf(j->error, sizeof j->error, "the line is longer than %u bytes",
                       JSONL_LINE_MAX_BYTES);
        return JSONL_BAD;
    }
    return JSONL_ROW;
}

/* ---- Objects --------------------------------------------------------------------------------- */

/* Opening brackets outside of strings, less the closing ones, never exceed the limit. */
static bool jsonl_depth_ok(const char *p, size_t n) {
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            in_string = p[i] != '"';
            i += p[i] == '\\';
        } else if (p[i] == '"') {
            in_string = true;
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > JSONL_DEPTH_MAX) {
                return false;
            }
        } else if ((p[i] == '}' || p[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

static int jsonl_parse(struct jsonl *j, const char *p, size_t n) {
    json_error_t why;
    if (!jsonl_depth_ok(p, n)) {
        (void)snprintf(j->error, sizeof j->error, "nested deeper than %d", JSONL_DEPTH_MAX);
        return JSONL_BAD;
    }
    j->object = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (j->object == NULL) {
        (void)snprintf(j->error, sizeof j->error, "not JSON at column %d: %s%s", why.column,
                       why.text,
                       j->line == 1 && p[0] == '[' ? "; a JSON array? One object per line is "
                                                     "expected (jq -c '.[]')"
                                                   : "");
        return JSONL_BAD;
    }
    if (!json_is_object(j->object)) {
        (void)snprintf(j->error, sizeof j->error, "not a JSON object%s",
                       json_is_array(j->object) ? " but an array; one object per line is expected "
                                                  "(jq -c '.[]')"
                                                : "");
        return JSONL_BAD;
    }
    return JSONL_ROW;
}

int jsonl_next(struct jsonl *j, json_t **object) {
    for (;;) {
        json_decref(j->object);
        j->object = NULL;
        *object = NULL;
        const int rc = jsonl_read_line(j);
        if (rc != JSONL_ROW) {
            return rc;
        }
        const char *p = j->text;
        size_t n = j->text_n;
        if (j->line == 1 && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
            p += 3;
            n -= 3;
        }
        if (strspn(p, " \t\r") == n) {
            continue;
        }
        const int parsed = jsonl_parse(j, p, n);
        *object = parsed == JSONL_ROW ? j->object : NULL;
        return parsed;
    }
}
