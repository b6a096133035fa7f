/* Answers of an OpenAI-compatible embeddings endpoint, read: private to embed/. Thread-safe: no state. */
#ifndef U2I_EMBED_EMBED_REPLY_H
#define U2I_EMBED_EMBED_REPLY_H

#include "u2i.h"
#include <stddef.h>
#include <stdint.h>

/* {"data": [{"index": 0, "embedding": [0.1, ...] or base64 of little-endian floats}, ...]}, one for each of the `texts`
 * texts, in any order; without "index" it is the order of the texts. *dim is what is expected, or 0, and gets set. `out`
 * gets them in the texts' order, [texts][*dim], each brought to unit length (zeros stay zeros); NULL: they are only
 * checked. U2I_EREMOTE (what is wrong), U2I_ENOMEM. */
int embed_reply_read(const char *reply, size_t n, size_t texts, uint32_t *dim, float *out,
                     u2i_error_t *err);
/* What an answer says that is no success: {"error": {"message": ...}} and its usual variants; a copy for mem_free(),
 * NULL if it says nothing that way (or without memory). */
char *embed_reply_complaint(const char *reply, size_t n);

#endif
