/* Escapes of string literals, which filters and JSON share. Pure functions. */
#ifndef U2I_FILTER_ESCAPE_H
#define U2I_FILTER_ESCAPE_H

#include <stddef.h>

#define ESCAPE_MAX_BYTES 4 /* that one escape stands for */

/* p is the byte after a backslash. Writes the UTF-8 of what the escape stands for, sets *out_n, and
 * returns how many bytes it spans after the backslash; 0 when it is malformed or unknown. Known are
 * \b \f \n \r \t \" \\ \/ and \uXXXX with surrogate pairs; a lone surrogate and NUL are
 * malformed. */
size_t escape_decode(const char *p, const char *end, char out[ESCAPE_MAX_BYTES], size_t *out_n);

#endif
