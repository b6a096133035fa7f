/* Patterns of `like`: % is any text, _ is any one character, a backslash takes the next character
 * as it is. Immutable after like_compile(). */
#ifndef U2I_FILTER_LIKE_H
#define U2I_FILTER_LIKE_H

#include "base/arena.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct like;

/* The pattern is valid UTF-8. U2I_OK, U2I_ENOMEM, or U2I_EINVAL when it ends in a lone
 * backslash. */
int like_compile(struct arena *arena, const char *pattern, size_t n, const struct like **out);
bool like_match(const struct like *like, const char *s, size_t n);

#endif
