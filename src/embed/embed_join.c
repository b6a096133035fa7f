/* See embed_join.h. */
#include "embed/embed_join.h"

void embed_text_join(struct buf *out, const char *prefix, const struct embed_text *t) {
    const char *const parts[] = {t->title, t->category, t->text};
    bool begun = false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] == NULL || parts[i][0] == '\0') {
            continue;
        }
        if (begun) {
            buf_putc(out, '\n');
        } else if (prefix != NULL) {
            buf_puts(out, prefix);
        }
        buf_puts(out, parts[i]);
        begun = true;
    }
}
