/* The parts of a text as the one text that a model reads: private to embed/. Thread-safe: no state. */
#ifndef U2I_EMBED_EMBED_JOIN_H
#define U2I_EMBED_EMBED_JOIN_H

#include "base/buf.h"
#include "embed/embed.h"

/* "title\ncategory\ntext", of what is there, after the prefix (NULL: none), appended to `out`; nothing, and no prefix, where
 * nothing is there. A failure is kept by the buffer. */
void embed_text_join(struct buf *out, const char *prefix, const struct embed_text *t);

#endif
