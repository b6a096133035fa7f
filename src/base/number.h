/* Decimal text <-> numbers, the same in every locale. The syntax is the caller's business, but for
 * number_parse(). */
#ifndef U2I_BASE_NUMBER_H
#define U2I_BASE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_MAX_BYTES 1200 /* longer ones are refused: no double needs as many digits */

/* n > 0 digits; false when the value is over UINT64_MAX. */
bool number_digits(const char *s, size_t n, uint64_t *out);
/* s[0..n) is digits with an optional fraction and exponent, n <= NUMBER_MAX_BYTES; correctly
 * rounded. False when it is too large for a double. */
bool number_real(const char *s, size_t n, double *out);
/* All of s is a decimal number: [+-] digits [. digits] [e [+-] digits]. */
bool number_parse(const char *s, double *out);
/* As printf's %.*g prints it under the "C" locale; cut if it doesn't fit. */
void number_print(char *buf, size_t bytes, int digits, double x);

#endif
