/* UTF-8 as the standard has it: no overlong forms, no surrogates, nothing over U+10FFFF. A shim
 * over utf8proc. Thread-safe. */
#ifndef U2I_BASE_UTF8_H
#define U2I_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool utf8_valid(const char *s, size_t n);
/* Decodes one character of s[0..n), n > 0; returns its length, 0 if it is malformed. */
size_t utf8_next(const char *s, size_t n, int32_t *codepoint);
/* The longest prefix of at most `max` bytes that does not cut a character. s is valid UTF-8. */
size_t utf8_prefix(const char *s, size_t n, size_t max);

#endif
