/* Calls that embed a few texts each, put together where an embedder gains from it: as many calls as it has lanes go
 * their own way; who comes then waits until one ends, and goes with all that wait by then. Nobody waits for others to
 * come. Any number of threads. */
#ifndef U2I_ENGINE_EMBEDDING_BATCH_H
#define U2I_ENGINE_EMBEDDING_BATCH_H

#include "embed/embed.h"

#include <pthread.h>

#define EMBEDDING_BATCH_TEXTS 256u /* in one call of several; one with more goes its own way */

struct embedding_request;
struct embedding_batch {
    pthread_mutex_t lock;
    pthread_cond_t moved; /* a lane is free, or requests are done */
    struct embedding_request *head, **tail;
    unsigned lanes; /* calls at once; 0 = any number */
    unsigned busy;
};

void embedding_batch_init(struct embedding_batch *b, unsigned lanes);
void embedding_batch_destroy(struct embedding_batch *b);
/* As e->ops->embed(), and with the same errors: a text that is refused fails its own call only. All calls of one time
 * must be of the same embedder. */
int embedding_batch_run(struct embedding_batch *b, const struct embedder *e,
                        const struct embed_text *texts, size_t n, float *out, u2i_error_t *err);

#endif
