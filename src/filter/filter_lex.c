/* Filter text -> tokens. The text was checked to be UTF-8 without NUL. Names may use the letters of
 * any script, as Unicode's general categories have them; they are compared byte for byte, without
 * normalisation, as JSON keys are. Keywords are those of Milvus, in any case. */
#include "filter/filter_internal.h"

#include "base/error.h"
#include "base/number.h"
#include "base/utf8.h"
#include "filter/escape.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#define LEX_QUOTE_BYTES 40 /* of the text that a message quotes */

struct lex_word {
    const char *word;
    enum token_kind kind;
    enum contains_kind contains;
};

static const struct lex_word lex_words[] = {
    {"and", TOKEN_AND, CONTAINS_ONE},
    {"or", TOKEN_OR, CONTAINS_ONE},
    {"not", TOKEN_NOT, CONTAINS_ONE},
    {"in", TOKEN_IN, CONTAINS_ONE},
    {"like", TOKEN_LIKE, CONTAINS_ONE},
    {"is", TOKEN_IS, CONTAINS_ONE},
    {"null", TOKEN_NULL, CONTAINS_ONE},
    {"exists", TOKEN_EXISTS, CONTAINS_ONE},
    {"true", TOKEN_TRUE, CONTAINS_ONE},
    {"false", TOKEN_FALSE, CONTAINS_ONE},
    {"array_contains", TOKEN_CONTAINS, CONTAINS_ONE},
    {"array_contains_any", TOKEN_CONTAINS, CONTAINS_ANY},
    {"array_contains_all", TOKEN_CONTAINS, CONTAINS_ALL},
    {"json_contains", TOKEN_CONTAINS, CONTAINS_ONE},
    {"json_contains_any", TOKEN_CONTAINS, CONTAINS_ANY},
    {"json_contains_all", TOKEN_CONTAINS, CONTAINS_ALL},
    {"array_length", TOKEN_LENGTH, CONTAINS_ONE},
};

struct lex_sign {
    char text[3];
    enum token_kind kind;
    enum filter_op op;
};

/* Longer ones first. */
static const struct lex_sign lex_signs[] = {
    {"==", TOKEN_COMPARE, OP_EQ},   {"!=", TOKEN_COMPARE, OP_NE}, {"<=", TOKEN_COMPARE, OP_LE},
    {">=", TOKEN_COMPARE, OP_GE},   {"**", TOKEN_POWER, OP_POW},  {"&&", TOKEN_AND, OP_EQ},
    {"||", TOKEN_OR, OP_EQ},        {"<", TOKEN_COMPARE, OP_LT},  {">", TOKEN_COMPARE, OP_GT},
    {"+", TOKEN_SUM, OP_ADD},       {"-", TOKEN_SUM, OP_SUB},     {"*", TOKEN_PRODUCT, OP_MUL},
    {"/", TOKEN_PRODUCT, OP_DIV},   {"%", TOKEN_PRODUCT, OP_MOD}, {"!", TOKEN_NOT, OP_EQ},
    {"(", TOKEN_OPEN, OP_EQ},       {")", TOKEN_CLOSE, OP_EQ},    {"[", TOKEN_OPEN_LIST, OP_EQ},
    {"]", TOKEN_CLOSE_LIST, OP_EQ}, {",", TOKEN_COMMA, OP_EQ},
};

/* ---- Characters ----------------------------------------------------------------------------- */

static bool filter_lex_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool filter_lex_hex(char c) {
    const char lower = (char)(c | 0x20);
    return filter_lex_digit(c) || (lower >= 'a' && lower <= 'f');
}

static bool filter_lex_ascii_letter(char c) {
    const char lower = (char)(c | 0x20);
    return c == '_' || (lower >= 'a' && lower <= 'z');
}

/* The length of the character at pos if a name may go on with it (letters, marks, digits, _), else
 * 0. The first character of a name is no mark and no digit. */
static uint32_t filter_lex_name_char(const struct lexer *lx, uint32_t pos, bool first) {
    if (pos == lx->n) {
        return 0;
    }
    const char c = lx->text[pos];
    if ((unsigned char)c < 0x80) {
        return filter_lex_ascii_letter(c) || (!first && filter_lex_digit(c)) ? 1 : 0;
    }
    int32_t codepoint;
    const size_t n = utf8_next(lx->text + pos, lx->n - pos, &codepoint);
    const utf8proc_category_t category = utf8proc_category(codepoint);
    const bool letter = (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
                        category == UTF8PROC_CATEGORY_NL;
    const bool inner = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                       category == UTF8PROC_CATEGORY_ND;
    return letter || (inner && !first) ? (uint32_t)n : 0;
}

static void filter_lex_skip_space(struct lexer *lx) {
    while (lx->pos < lx->n && strchr(" \t\r\n", lx->text[lx->pos]) != NULL) {
        lx->pos++;
    }
}

/* ---- Names, parameters ---------------------------------------------------------------------- */

static uint32_t filter_lex_name_end(const struct lexer *lx, uint32_t pos, bool first) {
    for (;;) {
        const uint32_t n = filter_lex_name_char(lx, pos, first);
        if (n == 0) {
            return pos;
        }
        pos += n;
        first = false;
    }
}

static int filter_lex_name(struct lexer *lx, struct token *out) {
    lx->pos = filter_lex_name_end(lx, lx->pos, true);
    out->kind = TOKEN_NAME;
    out->s = lx->text + out->offset;
    out->s_n = lx->pos - out->offset;
    for (size_t i = 0; i < sizeof lex_words / sizeof lex_words[0]; i++) {
        const struct lex_word *const w = &lex_words[i];
        if (strlen(w->word) == out->s_n && strncasecmp(w->word, out->s, out->s_n) == 0) {
            out->kind = w->kind;
            out->contains = w->contains;
        }
    }
    return U2I_OK;
}

/* Names joined by dots: {max}, {user.city}. */
static int filter_lex_param(struct lexer *lx, struct token *out) {
    const uint32_t from = lx->pos + 1;
    uint32_t end = filter_lex_name_end(lx, from, false);
    while (end > from && end < lx->n && lx->text[end] == '.' &&
           filter_lex_name_char(lx, end + 1, false) > 0) {
        end = filter_lex_name_end(lx, end + 1, false);
    }
    if (end == lx->n || lx->text[end] != '}' || end == from) {
        return error_at(lx->err, U2I_EFILTER, (int32_t)out->offset,
                        "\"{\" starts a parameter: expected a name and \"}\"");
    }
    lx->pos = end + 1;
    out->kind = TOKEN_PARAM;
    out->s = lx->text + from;
    out->s_n = end - from;
    return U2I_OK;
}

/* ---- Numbers -------------------------------------------------------------------------------- */

static int filter_lex_fail_number(const struct lexer *lx, uint32_t offset, const char *what) {
    return error_at(lx->err, U2I_EFILTER, (int32_t)offset, "%s", what);
}

static uint32_t filter_lex_digits_end(const struct lexer *lx, uint32_t pos) {
    while (pos < lx->n && filter_lex_digit(lx->text[pos])) {
        pos++;
    }
    return pos;
}

static int filter_lex_hex_number(struct lexer *lx, struct token *out) {
    uint64_t value = 0;
    uint32_t pos = lx->pos + 2;
    for (; pos < lx->n && filter_lex_hex(lx->text[pos]); pos++) {
        const char c = lx->text[pos];
        const uint64_t digit = (uint64_t)(filter_lex_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
        if (value > (UINT64_MAX >> 4)) {
            return filter_lex_fail_number(lx, out->offset, "integer does not fit 64 bits");
        }
        value = value << 4 | digit;
    }
    if (pos == lx->pos + 2) {
        return filter_lex_fail_number(lx, out->offset, "expected hexadecimal digits after \"0x\"");
    }
    lx->pos = pos;
    out->magnitude = value;
    return U2I_OK;
}

/* Digits with an optional fraction and exponent; which of them there are decides the kind. */
static int filter_lex_decimal(struct lexer *lx, struct token *out) {
    const uint32_t from = lx->pos;
    uint32_t pos = filter_lex_digits_end(lx, from);
    if (pos - from > 1 && lx->text[from] == '0') {
        return filter_lex_fail_number(lx, from, "a number does not start with 0");
    }
    if (pos < lx->n && lx->text[pos] == '.') {
        out->kind = TOKEN_REAL;
        pos = filter_lex_digits_end(lx, pos + 1);
    }
    if (pos < lx->n && (lx->text[pos] == 'e' || lx->text[pos] == 'E')) {
        out->kind = TOKEN_REAL;
        pos++;
        pos += pos < lx->n && (lx->text[pos] == '+' || lx->text[pos] == '-');
        if (filter_lex_digits_end(lx, pos) == pos) {
            return filter_lex_fail_number(lx, pos, "expected digits of an exponent");
        }
        pos = filter_lex_digits_end(lx, pos);
    }
    lx->pos = pos;
    const size_t n = pos - from;
    if (out->kind == TOKEN_INT) {
        return number_digits(lx->text + from, n, &out->magnitude)
                   ? U2I_OK
                   : filter_lex_fail_number(lx, from, "integer does not fit 64 bits");
    }
    if (n > NUMBER_MAX_BYTES || !number_real(lx->text + from, n, &out->real)) {
        return filter_lex_fail_number(lx, from, "number is too large");
    }
    return U2I_OK;
}

static int filter_lex_number(struct lexer *lx, struct token *out) {
    const char *const s = lx->text + lx->pos;
    const bool hex = lx->n - lx->pos >= 2 && s[0] == '0' && (s[1] | 0x20) == 'x';
    out->kind = TOKEN_INT;
    U2I_TRY(hex ? filter_lex_hex_number(lx, out) : filter_lex_decimal(lx, out));
    if (out->kind == TOKEN_INT && out->magnitude > (uint64_t)INT64_MAX + 1) {
        return filter_lex_fail_number(lx, out->offset, "integer does not fit 64 bits");
    }
    if (filter_lex_name_char(lx, lx->pos, false) > 0) {
        return filter_lex_fail_number(lx, lx->pos, "a letter follows a number without a blank");
    }
    return U2I_OK;
}

/* ---- Strings -------------------------------------------------------------------------------- */

static int filter_lex_fail_escape(const struct lexer *lx) {
    const uint32_t left = lx->n - lx->pos;
    const size_t shown = utf8_prefix(lx->text + lx->pos, left, 6);
    return error_at(lx->err, U2I_EFILTER, (int32_t)lx->pos,
                    "unknown or malformed escape at \"%.*s\"; known are \\\\ \\\" \\' \\/ \\b \\f "
                    "\\n \\r \\t and \\uXXXX",
                    (int)shown, lx->text + lx->pos);
}

/* The escape at pos, decoded to `to`; *n gets its length there. */
static int filter_lex_escape(struct lexer *lx, char *to, size_t *n) {
    const char *const p = lx->text + lx->pos + 1;
    const char *const end = lx->text + lx->n;
    if (p < end && *p == '\'') {
        *to = '\'';
        *n = 1;
        lx->pos += 2;
        return U2I_OK;
    }
    if (p < end && lx->pattern && (*p == '%' || *p == '_')) {
        memcpy(to, p - 1, 2);
        *n = 2;
        lx->pos += 2;
        return U2I_OK;
    }
    const size_t used = escape_decode(p, end, to, n);
    if (used == 0) {
        return filter_lex_fail_escape(lx);
    }
    lx->pos += 1 + (uint32_t)used;
    return U2I_OK;
}

/* The closing quote, or the end of the text. */
static uint32_t filter_lex_string_end(const struct lexer *lx, uint32_t pos, char quote) {
    while (pos < lx->n && lx->text[pos] != quote) {
        pos += lx->text[pos] == '\\' ? 2 : 1;
    }
    return pos < lx->n ? pos : lx->n;
}

static int filter_lex_string(struct lexer *lx, struct token *out) {
    const char quote = lx->text[lx->pos++];
    const uint32_t end = filter_lex_string_end(lx, lx->pos, quote);
    char *to = arena_alloc(lx->arena, end - lx->pos + ESCAPE_MAX_BYTES); /* no text gets longer */
    if (to == NULL) {
        return error_oom(lx->err);
    }
    out->kind = TOKEN_STRING;
    out->s = to;
    while (lx->pos < lx->n && lx->text[lx->pos] != quote) {
        const char c = lx->text[lx->pos];
        size_t n = 1;
        if (c == '\\') {
            U2I_TRY(filter_lex_escape(lx, to, &n));
        } else if ((unsigned char)c < 0x20) {
            return error_at(lx->err, U2I_EFILTER, (int32_t)lx->pos,
                            "control character in a string; write it as an escape");
        } else {
            *to = c;
            lx->pos++;
        }
        to += n;
    }
    if (lx->pos == lx->n) {
        return error_at(lx->err, U2I_EFILTER, (int32_t)out->offset,
                        "string is not closed: expected %c", quote);
    }
    lx->pos++;
    out->s_n = (uint32_t)(to - out->s);
    return U2I_OK;
}

/* ---- All of them ---------------------------------------------------------------------------- */

/* Things that people write by habit get told what to write instead. */
static int filter_lex_fail_sign(const struct lexer *lx) {
    static const struct {
        const char *sign, *help;
    } habits[] = {
        {"=", "equality is \"==\""},
        {"&", "\"and\" is \"and\" or \"&&\""},
        {"|", "\"or\" is \"or\" or \"||\""},
        {"\xE2\x80\x9C", "strings stand in \"...\" or '...'"},
        {"\xE2\x80\x9D", "strings stand in \"...\" or '...'"},
        {"\xEF\xBC\x88", "brackets are ( and )"},
        {"\xEF\xBC\x89", "brackets are ( and )"},
        {".", "a nested attribute is attrs[\"a\"][\"b\"]"},
        {"}", "a parameter is {name}"},
    };
    const char *const s = lx->text + lx->pos;
    int32_t codepoint;
    const size_t n = utf8_next(s, lx->n - lx->pos, &codepoint);
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; i++) {
        if (strlen(habits[i].sign) == n && memcmp(s, habits[i].sign, n) == 0) {
            return error_at(lx->err, U2I_EFILTER, (int32_t)lx->pos, "unexpected \"%.*s\": %s",
                            (int)n, s, habits[i].help);
        }
    }
    return error_at(lx->err, U2I_EFILTER, (int32_t)lx->pos, "unexpected character \"%.*s\"", (int)n,
                    s);
}

static int filter_lex_sign(struct lexer *lx, struct token *out) {
    const char *const s = lx->text + lx->pos;
    const size_t left = lx->n - lx->pos;
    if (left >= 2 && memcmp(s, "<>", 2) == 0) {
        return error_at(lx->err, U2I_EFILTER, (int32_t)lx->pos,
                        "unexpected \"<>\": inequality is \"!=\"");
    }
    for (size_t i = 0; i < sizeof lex_signs / sizeof lex_signs[0]; i++) {
        const size_t n = strlen(lex_signs[i].text);
        if (left >= n && memcmp(s, lex_signs[i].text, n) == 0) {
            out->kind = lex_signs[i].kind;
            out->op = lex_signs[i].op;
            lx->pos += (uint32_t)n;
            return U2I_OK;
        }
    }
    return filter_lex_fail_sign(lx);
}

static int filter_lex_any(struct lexer *lx, struct token *out) {
    if (lx->pos == lx->n) {
        out->kind = TOKEN_END;
        return U2I_OK;
    }
    const char c = lx->text[lx->pos];
    if (c == '"' || c == '\'') {
        return filter_lex_string(lx, out);
    }
    const bool point = c == '.' && lx->n - lx->pos >= 2 && filter_lex_digit(lx->text[lx->pos + 1]);
    if (filter_lex_digit(c) || point) {
        return filter_lex_number(lx, out);
    }
    if (c == '{') {
        return filter_lex_param(lx, out);
    }
    return filter_lex_name_char(lx, lx->pos, true) > 0 ? filter_lex_name(lx, out)
                                                       : filter_lex_sign(lx, out);
}

int filter_lex(struct lexer *lx, struct token *out) {
    filter_lex_skip_space(lx);
    *out = (struct token){.offset = lx->pos};
    U2I_TRY(filter_lex_any(lx, out));
    out->n = lx->pos - out->offset;
    return U2I_OK;
}

void filter_lex_show(const struct lexer *lx, const struct token *t, char out[TOKEN_SHOWN_BYTES]) {
    if (t->kind == TOKEN_END) {
        (void)snprintf(out, TOKEN_SHOWN_BYTES, "end of filter"); /* fits */
        return;
    }
    const char *const s = lx->text + t->offset;
    const int n = (int)utf8_prefix(s, t->n, LEX_QUOTE_BYTES);
    const char *const rest = (uint32_t)n < t->n ? "..." : "";
    const bool number = t->kind == TOKEN_INT || t->kind == TOKEN_REAL;
    if (t->kind == TOKEN_STRING || t->kind == TOKEN_PARAM || number) {
        const char *const what = number                    ? "number"
                                 : t->kind == TOKEN_STRING ? "string"
                                                           : "parameter";
        (void)snprintf(out, TOKEN_SHOWN_BYTES, "%s %.*s%s", what, n, s, rest);
    } else {
        (void)snprintf(out, TOKEN_SHOWN_BYTES, "\"%.*s%s\"", n, s, rest);
    }
}
