/* Text as people see it: how many columns it takes, and what of it a terminal may be sent.
 *
 * Data comes from anywhere, so nothing of it reaches a terminal raw: control characters (ESC first
 * of all) and the invisible marks that turn the writing direction are replaced by U+FFFD, line breaks
 * and tabs by a space. Widths are those of East Asian terminals: 2 columns for CJK, 0 for combining
 * marks. */
#ifndef CLI_DISPLAY_H
#define CLI_DISPLAY_H

#include "text.h"

/* Appends s[0..n) made harmless. */
void display_clean(struct text *t, const char *s, size_t n);
/* Columns of s[0..n), as display_clean() would write it. */
size_t display_width(const char *s, size_t n);
/* Appends a harmless `s`, cut to at most `width` columns, the cut shown by an ellipsis. Returns the
 * columns it took. */
size_t display_fit(struct text *t, const char *s, size_t width);

struct display {  /* what is known of where output goes */
    size_t width; /* columns, 0 = unlimited: a file or a pipe gets everything */
    bool colour;
};
/* COLUMNS in the environment wins over the terminal's own width; NO_COLOR and TERM=dumb are heard. */
struct display display_of(int fd);

#endif
