/* A pattern is cut at its % into parts. The first part must start the text (it is empty when the
 * pattern starts with %), the last must end it, and the ones between are looked for from left to
 * right: taking the leftmost place for each leaves the most room for the rest, so nothing is ever
 * tried twice. A part without _ is found by memmem(), so the whole is linear; one with _ is tried
 * at each character.
 *
 * Within a part, _ is the byte 0xFF, which no UTF-8 text contains. */
#include "filter/like.h"

#include "u2i.h"
#include <string.h>

#define LIKE_ANY_ONE '\xFF'

struct like_part {
    const char *s;
    uint32_t n;
    bool plain; /* no _ in it */
};

struct like {
    uint32_t parts_n; /* at least 1; one part must match the whole text */
    struct like_part *parts;
};

/* Appends the next piece of the pattern to the part; returns how many bytes of the pattern it
 * took. */
static size_t like_take(struct like_part *part, char *to, const char *p) {
    if (*p == '\\') {
        to[part->n++] = p[1];
        return 2;
    }
    part->plain = part->plain && *p != '_';
    to[part->n++] = *p == '_' ? LIKE_ANY_ONE : *p;
    return 1;
}

static uint32_t like_count_parts(const char *pattern, size_t n) {
    uint32_t parts = 1;
    for (size_t i = 0; i < n; i++) {
        parts += pattern[i] == '%';
        i += pattern[i] == '\\';
    }
    return parts;
}

static bool like_ends_open(const char *pattern, size_t n) {
    size_t i = 0;
    while (i < n) {
        i += pattern[i] == '\\' ? 2 : 1;
    }
    return i > n;
}

int like_compile(struct arena *arena, const char *pattern, size_t n, const struct like **out) {
    if (like_ends_open(pattern, n)) {
        return U2I_EINVAL;
    }
    const uint32_t parts_n = like_count_parts(pattern, n);
    struct like *const like = arena_alloc(arena, sizeof *like);
    struct like_part *part = arena_array(arena, parts_n, sizeof *part);
    char *bytes = arena_alloc(arena, n);
    if (like == NULL || part == NULL || bytes == NULL) {
        return U2I_ENOMEM;
    }
    *like = (struct like){parts_n, part};
    *part = (struct like_part){bytes, 0, true};
    for (size_t i = 0; i < n;) {
        if (pattern[i] == '%') {
            bytes += part->n;
            *++part = (struct like_part){bytes, 0, true};
            i++;
        } else {
            i += like_take(part, bytes, pattern + i);
        }
    }
    *out = like;
    return U2I_OK;
}

static size_t like_skip_char(const char *s, size_t n, size_t at) {
    do {
        at++;
    } while (at < n && ((unsigned char)s[at] & 0xC0) == 0x80);
    return at;
}

/* Does the part match s from `at` on? Then *end is where it ends. */
static bool like_part_starts(const struct like_part *part, const char *s, size_t n, size_t at,
                             size_t *end) {
    for (uint32_t i = 0; i < part->n; i++) {
        if (at == n) {
            return false;
        }
        if (part->s[i] == LIKE_ANY_ONE) {
            at = like_skip_char(s, n, at);
        } else if (part->s[i] != s[at++]) {
            return false;
        }
    }
    *end = at;
    return true;
}

/* Does the part match the end of s, without reaching before `from`? */
static bool like_part_ends(const struct like_part *part, const char *s, size_t n, size_t from) {
    size_t at = n;
    for (uint32_t i = part->n; i > 0; i--) {
        if (at == from) {
            return false;
        }
        at--;
        if (part->s[i - 1] == LIKE_ANY_ONE) {
            while (at > from && ((unsigned char)s[at] & 0xC0) == 0x80) {
                at--;
            }
        } else if (part->s[i - 1] != s[at]) {
            return false;
        }
    }
    return true;
}

/* The leftmost place from `at` on; *end is where the part ends there. */
static bool like_part_find(const struct like_part *part, const char *s, size_t n, size_t at,
                           size_t *end) {
    if (part->plain) {
        const char *const found = part->n == 0 ? s + at : memmem(s + at, n - at, part->s, part->n);
        *end = found != NULL ? (size_t)(found - s) + part->n : 0;
        return found != NULL;
    }
    for (; at < n; at = like_skip_char(s, n, at)) {
        if (like_part_starts(part, s, n, at, end)) {
            return true;
        }
    }
    return false;
}

bool like_match(const struct like *like, const char *s, size_t n) {
    const uint32_t last = like->parts_n - 1;
    size_t at = 0;
    if (!like_part_starts(&like->parts[0], s, n, 0, &at)) {
        return false;
    }
    if (last == 0) {
        return at == n;
    }
    for (uint32_t i = 1; i < last; i++) {
        if (!like_part_find(&like->parts[i], s, n, at, &at)) {
            return false;
        }
    }
    return like_part_ends(&like->parts[last], s, n, at);
}
