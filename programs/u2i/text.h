/* A growing string, and the few notations it is written in: JSON and CSV.
 *
 * Out of memory is sticky: once an append fails, `failed` stays set and further appends do nothing,
 * so that a long output is written without a check per line and tested once, at its end, by
 * text_ok(). A struct text of zeros is empty and ready. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct text {
    char *p; /* NUL-terminated when not NULL */
    size_t n, cap;
    bool failed;
};

void text_free(struct text *t);  /* and makes it empty again */
void text_clear(struct text *t); /* keeps the memory */
bool text_ok(const struct text *t);
const char *text_cstr(const struct text *t); /* never NULL */

void text_add(struct text *t, const char *p, size_t n);
void text_str(struct text *t, const char *s);
void text_char(struct text *t, char c);
void text_fill(struct text *t, char c, size_t n);
void text_fmt(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_count(struct text *t, unsigned long long n); /* 1234567 as 1,234,567 */

/* JSON. Control characters, also those above 0x7f, are escaped, so that JSON on a terminal is
 * harmless; bytes that are not UTF-8 become U+FFFD. */
void text_json_str(struct text *t, const char *s, size_t n);
void text_json_real(struct text *t, double value); /* shortest form that reads back the same */
/* Deeper than TEXT_JSON_DEPTH counts as failure. */
#define TEXT_JSON_DEPTH 64
void text_json_value(struct text *t, json_t *value);
/* Members of an object; a comma is put before all but the first one. A NULL string writes nothing. */
void text_json_key(struct text *t, const char *name);
void text_json_member(struct text *t, const char *name, const char *value);
void text_json_member_real(struct text *t, const char *name, double value);
void text_json_member_int(struct text *t, const char *name, long long value);
void text_json_member_raw(struct text *t, const char *name, const char *json);

/* One CSV field, quoted where it must be. */
void text_csv(struct text *t, const char *s, char delimiter);

#endif
