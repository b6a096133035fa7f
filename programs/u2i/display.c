/* See display.h. One decoder, display_next(), decides what a character becomes and how wide it is;
 * the three public functions only differ in what they do with it. */
#include "display.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

static const char display_replacement[] = "\xef\xbf\xbd";

struct display_char {
    const char *s; /* what to write */
    size_t n;      /* its bytes */
    size_t width;
    size_t used; /* bytes of the input it stands for */
};

/* Marks that reorder what follows them, so that text shows what it is not. */
static bool display_reorders(int32_t c) {
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
           c == 0x200f || c == 0x061c;
}

static struct display_char display_next(const char *s, size_t n) {
    utf8proc_int32_t c = -1;
    const utf8proc_ssize_t len =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &c);
    if (len <= 0) {
        return (struct display_char){display_replacement, 3, 1, 1};
    }
    const size_t used = (size_t)len;
    if (c == '\n' || c == '\t' || c == '\r' || c == 0x2028 || c == 0x2029) {
        return (struct display_char){" ", 1, 1, used};
    }
    if (utf8proc_category(c) == UTF8PROC_CATEGORY_CC || display_reorders(c)) {
        return (struct display_char){display_replacement, 3, 1, used};
    }
    return (struct display_char){s, used, (size_t)utf8proc_charwidth(c), used};
}

void display_clean(struct text *t, const char *s, size_t n) {
    while (n > 0) {
        const struct display_char c = display_next(s, n);
        text_add(t, c.s, c.n);
        s += c.used;
        n -= c.used;
    }
}

size_t display_width(const char *s, size_t n) {
    size_t width = 0;
    while (n > 0) {
        const struct display_char c = display_next(s, n);
        width += c.width;
        s += c.used;
        n -= c.used;
    }
    return width;
}

size_t display_fit(struct text *t, const char *s, size_t width) {
    size_t n = strlen(s), taken = 0;
    const bool cut = display_width(s, n) > width;
    const size_t room = cut && width > 0 ? width - 1 : width;
    while (n > 0) {
        const struct display_char c = display_next(s, n);
        if (taken + c.width > room) {
            break;
        }
        text_add(t, c.s, c.n);
        taken += c.width;
        s += c.used;
        n -= c.used;
    }
    if (cut && width > 0) {
        text_str(t, "\xe2\x80\xa6");
        taken++;
    }
    return taken;
}

struct display display_of(int fd) {
    struct display d = {0, false};
    if (isatty(fd)) {
        struct winsize size;
        const char *const term = getenv("TERM");
        d.width = ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
        d.colour = getenv("NO_COLOR") == NULL && term != NULL && strcmp(term, "dumb") != 0;
    }
    const char *const columns = getenv("COLUMNS");
    if (columns != NULL) {
        const long wanted = strtol(columns, NULL, 10);
        if (wanted >= 20 && wanted <= 10000) {
            d.width = (size_t)wanted;
        }
    }
    return d;
}
