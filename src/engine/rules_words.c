/* The words of a rule. A rule is read from both ends, since what stands in its middle is an expression in
 * another language: `boost price < 20 by 1.2` begins with a word and ends with two. */
#include "rules_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/number.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define RULES_SHOWN_BYTES 40 /* of a word in a message */

int rules_fail(const struct rules_parser *p, const char *at, const char *fmt, ...) {
    char what[200];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args); /* a message that is too long is cut */
    va_end(args);
    return error_at(p->err, U2I_EINVAL, (int32_t)(at - p->text), "line %u: %s", p->rule->line,
                    what);
}

/* ---- Words ------------------------------------------------------------------------------------ */

static bool rules_is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

void rules_skip_space(struct rules_cursor *c) {
    while (c->p < c->end && rules_is_space(*c->p)) {
        c->p++;
    }
    while (c->end > c->p && rules_is_space(c->end[-1])) {
        c->end--;
    }
}

bool rules_is_empty(const struct rules_cursor *c) {
    return c->p == c->end;
}

struct rules_cursor rules_first_word(struct rules_cursor *c) {
    rules_skip_space(c);
    struct rules_cursor word = {c->p, c->p};
    while (word.end < c->end && !rules_is_space(*word.end)) {
        word.end++;
    }
    c->p = word.end;
    rules_skip_space(c);
    return word;
}

struct rules_cursor rules_last_word(struct rules_cursor *c) {
    rules_skip_space(c);
    struct rules_cursor word = {c->end, c->end};
    while (word.p > c->p && !rules_is_space(word.p[-1])) {
        word.p--;
    }
    c->end = word.p;
    rules_skip_space(c);
    return word;
}

bool rules_word_is(const struct rules_cursor *word, const char *text) {
    const size_t n = (size_t)(word->end - word->p);
    return n == strlen(text) && memcmp(word->p, text, n) == 0;
}

struct rules_cursor rules_split_at(struct rules_cursor *c, const char *word) {
    const size_t n = strlen(word);
    char quote = '\0';
    for (const char *p = c->p; p < c->end; p++) {
        const bool begins = p == c->p || rules_is_space(p[-1]);
        if (quote != '\0' && *p == '\\' && p + 1 < c->end) {
            p++;
        } else if (quote != '\0') {
            quote = *p == quote ? '\0' : quote;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (begins && (size_t)(c->end - p) >= n && memcmp(p, word, n) == 0 &&
                   (p + n == c->end || rules_is_space(p[n]))) {
            const struct rules_cursor rest = {p + n, c->end};
            c->end = p;
            return rest;
        }
    }
    return (struct rules_cursor){NULL, NULL};
}

static int rules_fail_expected(struct rules_parser *p, const struct rules_cursor *found,
                               const char *expected) {
    const size_t n = (size_t)(found->end - found->p);
    if (n == 0) {
        return rules_fail(p, found->p, "expected %s, found the end of the rule", expected);
    }
    return rules_fail(p, found->p, "expected %s, found \"%.*s\"", expected,
                      (int)utf8_prefix(found->p, n, RULES_SHOWN_BYTES), found->p);
}

int rules_take_word(struct rules_parser *p, struct rules_cursor *c, const char *word) {
    const struct rules_cursor found = rules_first_word(c);
    char expected[48];
    (void)snprintf(expected, sizeof(expected), "\"%s\"", word); /* words are short */
    return rules_word_is(&found, word) ? U2I_OK : rules_fail_expected(p, &found, expected);
}

int rules_take_last_word(struct rules_parser *p, struct rules_cursor *c, const char *word,
                         const char *usage) {
    const struct rules_cursor found = rules_last_word(c);
    return rules_word_is(&found, word) ? U2I_OK : rules_fail(p, found.p, "expected \"%s\"", usage);
}

int rules_take_end(struct rules_parser *p, struct rules_cursor *c) {
    rules_skip_space(c);
    return rules_is_empty(c) ? U2I_OK : rules_fail_expected(p, c, "the end of the rule");
}

/* ---- Numbers ---------------------------------------------------------------------------------- */

/* The word without the bytes of `suffix` at its end, as a number >= 0. */
static bool rules_number(struct rules_cursor word, size_t suffix, double *out) {
    char text[40];
    const size_t n = (size_t)(word.end - word.p);
    if (n <= suffix || n - suffix >= sizeof(text)) {
        return false;
    }
    memcpy(text, word.p, n - suffix);
    text[n - suffix] = '\0';
    return number_parse(text, out) && *out >= 0;
}

int rules_read_factor(struct rules_parser *p, struct rules_cursor word, double *out) {
    if (rules_number(word, 0, out) && *out >= 1 / RULES_FACTOR_MAX && *out <= RULES_FACTOR_MAX) {
        return U2I_OK;
    }
    return rules_fail_expected(p, &word, "a factor from 0.001 to 1000");
}

int rules_read_share(struct rules_parser *p, struct rules_cursor word, double *out) {
    const bool percent = word.end > word.p && word.end[-1] == '%';
    if (rules_number(word, percent, out)) {
        *out = percent ? *out / 100 : *out;
        if (*out > 0 && *out <= 1) {
            return U2I_OK;
        }
    }
    return rules_fail_expected(p, &word, "a share over 0 and up to 1, as 0.2 or 20%");
}

int rules_read_count(struct rules_parser *p, struct rules_cursor word, uint32_t *out) {
    double x;
    if (rules_number(word, 0, &x) && x >= 1 && x <= RULES_COUNT_MAX && x == floor(x)) {
        *out = (uint32_t)x;
        return U2I_OK;
    }
    return rules_fail_expected(p, &word, "a whole number from 1 to 1000000");
}

int rules_read_time(struct rules_parser *p, struct rules_cursor word, double *out) {
    static const struct {
        char suffix;
        double seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    double unit = 0;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && word.end > word.p; i++) {
        if (word.end[-1] == units[i].suffix) {
            unit = units[i].seconds;
        }
    }
    if (rules_number(word, unit > 0, out)) {
        *out *= unit > 0 ? unit : 1;
        if (*out > 0 && *out <= RULES_TIME_MAX_S) {
            return U2I_OK;
        }
    }
    return rules_fail_expected(p, &word, "a time as 90s, 30m, 12h, 7d or 2w");
}

/* ---- Names ------------------------------------------------------------------------------------ */

int rules_read_action(struct rules_parser *p, struct rules_cursor word, const char **out) {
    const size_t n = (size_t)(word.end - word.p);
    *out = arena_dup(&p->rules->arena, word.p, n);
    if (*out == NULL) {
        return error_oom(p->err);
    }
    const size_t plain = strspn(*out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_-.");
    return n >= 1 && n <= U2I_ACTION_MAX_BYTES && plain == n
               ? U2I_OK
               : rules_fail_expected(p, &word, "an action, such as view or purchase");
}

/* After the opening quote: what is inside goes to `out`; returns the place of the closing one, or the end. */
static const char *rules_unquote(const struct rules_cursor *c, char quote, char *out) {
    const char *at = c->p;
    for (; at < c->end && *at != quote; at++) {
        at += *at == '\\' && at + 1 < c->end;
        *out++ = *at;
    }
    *out = '\0';
    return at;
}

/* An id: a bare word, or in quotes with a backslash before quotes and backslashes. */
int rules_read_string(struct rules_parser *p, struct rules_cursor *c, const char **out) {
    rules_skip_space(c);
    const struct rules_cursor whole = *c;
    struct rules_cursor word = rules_first_word(c);
    const bool quoted = !rules_is_empty(&word) && (*word.p == '"' || *word.p == '\'');
    char *const s = arena_dup(&p->rules->arena, word.p, (size_t)(whole.end - word.p));
    if (s == NULL) {
        return error_oom(p->err);
    }
    if (quoted) {
        const struct rules_cursor inside = {whole.p + 1, whole.end};
        const char *const close = rules_unquote(&inside, *whole.p, s);
        if (close == whole.end) {
            return rules_fail(p, whole.p, "string is not closed: expected %c", *whole.p);
        }
        c->p = close + 1;
    } else {
        s[word.end - word.p] = '\0';
    }
    *out = s;
    return s[0] != '\0' && strlen(s) <= U2I_ID_MAX_BYTES
               ? U2I_OK
               : rules_fail_expected(p, &word, "an item's id");
}

int rules_read_attr(struct rules_parser *p, struct rules_cursor name) {
    rules_skip_space(&name);
    const size_t n = (size_t)(name.end - name.p);
    u2i_error_t wrong = {0};
    if (n == 0) {
        return rules_fail(p, name.p, "expected the name of an attribute");
    }
    p->rule->name = arena_dup(&p->rules->arena, name.p, n);
    if (p->rule->name == NULL) {
        return error_oom(p->err);
    }
    const int rc = attr_path_parse(name.p, n, &p->rule->path, &wrong);
    if (rc == U2I_EFILTER) {
        return rules_fail(p, name.p + (wrong.offset > 0 ? wrong.offset : 0), "%s", wrong.msg);
    }
    return rc == U2I_OK ? U2I_OK : error_oom(p->err);
}
