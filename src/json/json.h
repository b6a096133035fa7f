/* JSON in: jansson, wrapped so that every caller refuses the same things with the same message:
 * invalid UTF-8, NUL bytes, duplicate keys, too deep nesting, trailing bytes. Thread-safe: no state. */
#ifndef U2I_JSON_JSON_H
#define U2I_JSON_JSON_H

#include "base/buf.h"
#include "u2i.h"
#include <jansson.h>
#include <stdbool.h>

/* Parses an object. *out is owned by the caller (json_decref). U2I_EINVAL with position and what
 * was expected; `what` names the text in the message ("attributes"). U2I_ENOMEM. */
int json_parse_object(const char *text, size_t n, unsigned depth_max, const char *what,
                      json_t **out, u2i_error_t *err);
/* The same, with all numbers as reals: whole ones may then be of any size. */
int json_parse_object_reals(const char *text, size_t n, unsigned depth_max, const char *what,
                            json_t **out, u2i_error_t *err);
/* The same as the first for an array. */
int json_parse_array(const char *text, size_t n, unsigned depth_max, const char *what, json_t **out,
                     u2i_error_t *err);

#endif
