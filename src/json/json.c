/* The jansson shim. jansson checks almost all that we want; what it does not know is our limit of
 * nesting, which is looked at first, so that the message can say where, and so that the recursion of
 * its parser is bounded by us. Its messages may quote a piece of the text; error_set() makes control
 * characters of it harmless. */
#include "json/json.h"

#include "base/error.h"

struct json_position {
    unsigned line, column; /* from 1; a column is a character */
};

/* Finds where the brackets are nested deeper than depth_max. Brackets in strings do not count. */
static bool json_find_too_deep(const char *text, size_t n, unsigned depth_max,
                               struct json_position *at) {
    unsigned depth = 0;
    bool in_string = false;
    struct json_position here = {1, 0};
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        here.column += ((unsigned char)c & 0xC0) != 0x80;
        if (c == '\n') {
            here = (struct json_position){here.line + 1, 0};
        } else if (in_string) {
            i += c == '\\'; /* the next byte is escaped; a column too few in a broken text */
            here.column += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > depth_max) {
                *at = here;
                return true;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

int json_parse_object(const char *text, size_t n, unsigned depth_max, const char *what,
                      json_t **out, u2i_error_t *err) {
    struct json_position at;
    *out = NULL;
    if (json_find_too_deep(text, n, depth_max, &at)) {
        return error_set(err, U2I_EINVAL, "%s: line %u column %u: nested deeper than %u", what,
                         at.line, at.column, depth_max);
    }
    json_error_t fault;
    json_t *const root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &fault);
    if (root == NULL) {
        if (json_error_code(&fault) == json_error_out_of_memory) {
            return error_oom(err);
        }
        return error_set(err, U2I_EINVAL, "%s: line %d column %d: %s", what, fault.line,
                         fault.column, fault.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return error_set(err, U2I_EINVAL, "%s: expected an object, {...}, found an array", what);
    }
    *out = root;
    return U2I_OK;
}
