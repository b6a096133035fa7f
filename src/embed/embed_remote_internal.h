/* What the files of the remote embedder share: the endpoint and one request to it. */
#ifndef U2I_EMBED_EMBED_REMOTE_INTERNAL_H
#define U2I_EMBED_EMBED_REMOTE_INTERNAL_H

#include "base/thread.h"
#include "embed/embed.h"
#include "http/http.h"
#include <stdatomic.h>

struct embed_remote_target {
    struct http *http;
    struct http_place place;
    char *url;          /* of the embeddings */
    char *model;        /* its name there */
    char *key;          /* NULL = none */
    uint32_t dim;       /* expected; 0 = any */
    uint32_t dim_asked; /* 0 = the model's own */
    uint32_t timeout_ms;
    atomic_bool floats; /* the endpoint does not know base64 */
    atomic_bool down;   /* the last request failed after all tries: the next one tries once */
};
int embed_remote_target_new(const struct embed_remote_options *opt, struct embed_remote_target *t,
                            u2i_error_t *err);
void embed_remote_target_free(struct embed_remote_target *t); /* after a failure too */
void embed_remote_name(const struct embed_remote_target *t, uint32_t dim, char name[64]);

struct embed_remote_ask {
    const char *const *texts;
    const size_t *lengths;
    size_t n;
    int64_t until_ns;  /* on the monotonic clock */
    struct gate *stop; /* opens when nobody wants the answer any more, with *stopped set */
    atomic_bool *stopped;
};
/* One request with its tries. *dim is the target's, or gets set; out as in embed_reply_read(). */
int embed_remote_ask(struct embed_remote_target *t, const struct embed_remote_ask *a, uint32_t *dim,
                     float *out, u2i_error_t *err);

#endif
