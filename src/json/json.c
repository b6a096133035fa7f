/* The jansson shim. jansson checks almost all that we want. What it does not is looked at first, so
 * that the message can say where: our limit of nesting, which also bounds the recursion of its
 * parser, and NUL bytes, which jansson 2.14 overlooks behind a number. Its own messages may quote a
 * piece of the text; error_set() makes control characters of it harmless. */
#include "json/json.h"

#include "base/error.h"
#include <stdio.h>
#include <string.h>

/* "what: line 3 column 7: fault", where a column is a character. */
static int json_fail_at(const char *text, const char *at, const char *what, const char *fault,
                        u2i_error_t *err) {
    unsigned line = 1, column = 1;
    for (const char *p = text; p < at; p++) {
        const bool newline = *p == '\n';
        line += newline;
        column = newline ? 1 : column + (((unsigned char)*p & 0xC0) != 0x80);
    }
    return error_set(err, U2I_EINVAL, "%s: line %u column %u: %s", what, line, column, fault);
}

/* The bracket that is nested deeper than depth_max, or NULL. Brackets in strings do not count. */
static const char *json_find_too_deep(const char *text, size_t n, unsigned depth_max) {
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (in_string) {
            i += c == '\\'; /* the next byte is escaped */
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > depth_max) {
                return text + i;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return NULL;
}

static int json_check_text(const char *text, size_t n, unsigned depth_max, const char *what,
                           u2i_error_t *err) {
    const char *const nul = n > 0 ? memchr(text, '\0', n) : NULL;
    if (nul != NULL) {
        return json_fail_at(text, nul, what, "a NUL byte", err);
    }
    const char *const deep = json_find_too_deep(text, n, depth_max);
    if (deep != NULL) {
        char fault[64];
        (void)snprintf(fault, sizeof fault, "nested deeper than %u", depth_max); /* fits */
        return json_fail_at(text, deep, what, fault, err);
    }
    return U2I_OK;
}

/* An object or an array: jansson knows no other texts. Flags are jansson's. */
static int json_parse_text(const char *text, size_t n, size_t flags, const char *what, json_t **out,
                           u2i_error_t *err) {
    json_error_t fault;
    *out = json_loadb(text, n, flags | JSON_REJECT_DUPLICATES, &fault);
    if (*out != NULL) {
        return U2I_OK;
    }
    /* Mostly it only says so by saying nothing. */
    if (json_error_code(&fault) == json_error_out_of_memory || fault.text[0] == '\0') {
        return error_oom(err);
    }
    return error_set(err, U2I_EINVAL, "%s: line %d column %d: %s", what, fault.line, fault.column,
                     fault.text);
}

static int json_require_object(const char *what, json_t **out, u2i_error_t *err) {
    if (json_is_object(*out)) {
        return U2I_OK;
    }
    json_decref(*out);
    *out = NULL;
    return error_set(err, U2I_EINVAL, "%s: expected an object, {...}, found an array", what);
}

int json_parse_object(const char *text, size_t n, unsigned depth_max, const char *what,
                      json_t **out, u2i_error_t *err) {
    *out = NULL;
    U2I_TRY(json_check_text(text, n, depth_max, what, err));
    U2I_TRY(json_parse_text(text, n, 0, what, out, err));
    return json_require_object(what, out, err);
}

int json_parse_object_reals(const char *text, size_t n, unsigned depth_max, const char *what,
                            json_t **out, u2i_error_t *err) {
    *out = NULL;
    U2I_TRY(json_check_text(text, n, depth_max, what, err));
    U2I_TRY(json_parse_text(text, n, JSON_DECODE_INT_AS_REAL, what, out, err));
    return json_require_object(what, out, err);
}

int json_parse_array(const char *text, size_t n, unsigned depth_max, const char *what, json_t **out,
                     u2i_error_t *err) {
    *out = NULL;
    U2I_TRY(json_check_text(text, n, depth_max, what, err));
    U2I_TRY(json_parse_text(text, n, 0, what, out, err));
    if (!json_is_array(*out)) {
        json_decref(*out);
        *out = NULL;
        return error_set(err, U2I_EINVAL, "%s: expected an array, [...], found an object", what);
    }
    return U2I_OK;
}
