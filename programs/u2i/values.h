/* Cells of text as typed values: what --attr NAME:TYPE means, and what a column is taken for when
 * nothing is said. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include "text.h"
#include <stdint.h>

enum attr_type { /* as bits, so that what a column can be is a set */
                 ATTR_AUTO = 0,
                 ATTR_TEXT = 1,
                 ATTR_NUMBER = 2,
                 ATTR_BOOL = 4, /* true, false */
                 ATTR_LIST = 8, /* ["a", "b"], or a|b */
                 ATTR_JSON = 16 /* anything */
};
bool values_type(const char *name, enum attr_type *out); /* "text", "number", ...; false: no type */
const char *values_type_name(enum attr_type type);

/* The types other than text that a cell could be, as a set: numbers as JSON writes them (so 007 is
 * text), of at most 15 digits; true and false; a JSON list. 0 = only text. */
unsigned values_guess(const char *s, size_t n);

/* Appends s[0..n) as JSON of that type. false: it is not of that type, and nothing is appended. */
bool values_json(struct text *out, const char *s, size_t n, enum attr_type type, char separator);

/* Floats of "[1, 2.5]", "1,2.5", "1 2.5" or "1;2.5": at most max of them into out. Returns how many
 * there are (also beyond max), or -1 with what is not a finite number. */
long values_floats(const char *s, float *out, size_t max);
/* The same of a JSON array. */
long values_floats_json(const json_t *array, float *out, size_t max);

#endif
