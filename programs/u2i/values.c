/* See values.h. */
#include "values.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum attr_type type;
} values_types[] = {{"text", ATTR_TEXT}, {"number", ATTR_NUMBER}, {"bool", ATTR_BOOL},
                    {"list", ATTR_LIST}, {"json", ATTR_JSON},     {"auto", ATTR_AUTO}};

bool values_type(const char *name, enum attr_type *out) {
    for (size_t i = 0; i < sizeof values_types / sizeof *values_types; i++) {
        if (strcmp(values_types[i].name, name) == 0) {
            *out = values_types[i].type;
            return true;
        }
    }
    return false;
}

const char *values_type_name(enum attr_type type) {
    for (size_t i = 0; i < sizeof values_types / sizeof *values_types; i++) {
        if (values_types[i].type == type) {
            return values_types[i].name;
        }
    }
    return "auto";
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static size_t values_digits(const char *s) {
    return strspn(s, "0123456789");
}

/* A number as JSON writes it: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool values_is_json_number(const char *s) {
    s += *s == '-';
    const size_t whole = values_digits(s);
    if (whole == 0 || (s[0] == '0' && whole > 1)) {
        return false;
    }
    s += whole;
    if (*s == '.') {
        const size_t fraction = values_digits(s + 1);
        if (fraction == 0) {
            return false;
        }
        s += 1 + fraction;
    }
    if (*s == 'e' || *s == 'E') {
        s += 1 + (s[1] == '+' || s[1] == '-');
        const size_t exponent = values_digits(s);
        if (exponent == 0) {
            return false;
        }
        s += exponent;
    }
    return *s == '\0';
}

static bool values_number(struct text *out, const char *s) {
    if (values_is_json_number(s) && isfinite(strtod(s, NULL))) {
        text_str(out, s); /* as written: 9.50 stays 9.50 */
        return true;
    }
    char *end;
    if (strspn(s, "+-.0123456789eE") != strlen(s) || *s == '\0') {
        return false;
    }
    const double value = strtod(s, &end);
    if (*end != '\0' || !isfinite(value)) {
        return false;
    }
    text_json_real(out, value);
    return true;
}

/* ---- Types ----------------------------------------------------------------------------------- */

static bool values_is_bool(const char *s) {
    return strcmp(s, "true") == 0 || strcmp(s, "false") == 0;
}

static json_t *values_load(const char *s, size_t n) {
    json_error_t why;
    /* Depth is bounded by the length: text_json_value() refuses what is deeper than it writes. */
    return json_loadb(s, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
}

unsigned values_guess(const char *s, size_t n) {
    if (values_is_json_number(s)) {
        return n <= 15 && isfinite(strtod(s, NULL)) ? ATTR_NUMBER : 0;
    }
    if (values_is_bool(s)) {
        return ATTR_BOOL;
    }
    if (s[0] == '[') {
        json_t *const list = values_load(s, n);
        const bool is_list = json_is_array(list);
        json_decref(list);
        return is_list ? ATTR_LIST : 0;
    }
    return 0;
}

static bool values_load_into(struct text *out, const char *s, size_t n, bool list) {
    json_t *const value = values_load(s, n);
    const size_t before = out->n;
    const bool right = value != NULL && (!list || json_is_array(value));
    if (right) {
        text_json_value(out, value);
    }
    json_decref(value);
    if (right && !text_ok(out)) { /* too deep */
        out->failed = false;
        out->n = before;
        return false;
    }
    return right;
}

static void values_split(struct text *out, const char *s, char separator) {
    text_char(out, '[');
    for (bool first = true; *s != '\0'; first = false) {
        const char *const end = strchr(s, separator);
        const size_t n = end != NULL ? (size_t)(end - s) : strlen(s);
        text_str(out, first ? "" : ",");
        text_json_str(out, s, n);
        s += n + (end != NULL);
    }
    text_char(out, ']');
}

bool values_json(struct text *out, const char *s, size_t n, enum attr_type type, char separator) {
    switch (type) {
    case ATTR_NUMBER:
        return values_number(out, s);
    case ATTR_BOOL:
        if (values_is_bool(s)) {
            text_add(out, s, n);
            return true;
        }
        return false;
    case ATTR_LIST:
        if (s[0] == '[') {
            return values_load_into(out, s, n, true);
        }
        values_split(out, s, separator);
        return true;
    case ATTR_JSON:
        return values_load_into(out, s, n, false);
    default:
        text_json_str(out, s, n);
        return true;
    }
}

/* ---- Vectors --------------------------------------------------------------------------------- */

long values_floats(const char *s, float *out, size_t max) {
    static const char between[] = " \t\r\n,;";
    long count = 0;
    s += strspn(s, between);
    const bool brackets = *s == '[';
    s += brackets;
    for (s += strspn(s, between); *s != '\0' && *s != ']'; s += strspn(s, between)) {
        char *end;
        const float value = strtof(s, &end);
        if (end == s || !isfinite(value) || strchr(" \t\r\n,;]", *end) == NULL) {
            return -1;
        }
        if ((size_t)count < max) {
            out[count] = value;
        }
        count++;
        s = end;
    }
    if (brackets != (*s == ']')) {
        return -1;
    }
    s += brackets;
    return s[strspn(s, between)] == '\0' ? count : -1;
}

long values_floats_json(const json_t *array, float *out, size_t max) {
    const size_t n = json_array_size(array);
    if (!json_is_array(array)) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *const element = json_array_get(array, i);
        const float value = (float)json_number_value(element);
        if (!json_is_number(element) || !isfinite(value)) {
            return -1;
        }
        if (i < max) {
            out[i] = value;
        }
    }
    return (long)n;
}
