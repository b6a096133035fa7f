/* See embedding_batch.h. A waiting call that finds a lane free leads: it takes what is queued, in order, its own
 * request among it or not, and does so until its own is done. */
#include "embedding_batch.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdbool.h>

struct embedding_request { /* on its caller's stack */
    const struct embed_text *texts;
    size_t n;
    float *out;
    int rc;
    u2i_error_t err;
    bool done;
    struct embedding_request *next;
};

void embedding_batch_init(struct embedding_batch *b, unsigned lanes) {
    *b = (struct embedding_batch){.lanes = lanes};
    b->tail = &b->head;
    (void)pthread_mutex_init(&b->lock, NULL); /* default ones cannot fail on Linux */
    (void)pthread_cond_init(&b->moved, NULL);
}

void embedding_batch_destroy(struct embedding_batch *b) {
    (void)pthread_cond_destroy(&b->moved);
    (void)pthread_mutex_destroy(&b->lock);
}

static void embedding_batch_do_one(const struct embedder *e, struct embedding_request *r) {
    error_clear(&r->err);
    r->rc = e->ops->embed(e, r->texts, r->n, r->out, &r->err);
}

/* Whether it may be one text's fault that all of them failed. */
static bool embedding_batch_is_local(int rc) {
    return rc != U2I_ENOMEM && rc != U2I_ETIMEOUT;
}

/* After all together have failed: each by itself; but where two in a row fail for a reason that is not their text's, the
 * rest is spared the wait. */
static void embedding_batch_do_each(const struct embedder *e, struct embedding_request *first,
                                    const struct embedding_request *failed) {
    int in_a_row = embedding_batch_is_local(failed->rc) ? 0 : 2;
    const struct embedding_request *last = failed;
    for (struct embedding_request *r = first; r != NULL; r = r->next) {
        if (in_a_row < 2) {
            embedding_batch_do_one(e, r);
            in_a_row = r->rc == U2I_OK || r->rc == U2I_EEMBED ? 0 : in_a_row + 1;
            last = r;
        } else {
            r->rc = last->rc;
            r->err = last->err;
        }
    }
}

/* The requests' texts in one call; each gets its part of the vectors. */
static int embedding_batch_do_together(const struct embedder *e, struct embedding_request *first,
                                       size_t n, u2i_error_t *err) {
    struct embed_text *texts = alloc_array(n, sizeof(*texts));
    float *vectors = alloc_array(n * e->dim, sizeof(*vectors));
    int rc = U2I_ENOMEM;
    size_t at = 0;
    if (texts != NULL && vectors != NULL) {
        for (struct embedding_request *r = first; r != NULL; r = r->next) {
            memcpy(texts + at, r->texts, r->n * sizeof(*texts));
            at += r->n;
        }
        rc = e->ops->embed(e, texts, n, vectors, err);
    } else {
        rc = error_oom(err);
    }
    at = 0;
    for (struct embedding_request *r = first; r != NULL && rc == U2I_OK; r = r->next) {
        memcpy(r->out, vectors + at * e->dim, r->n * e->dim * sizeof(*vectors));
        at += r->n;
        r->rc = U2I_OK;
    }
    mem_free(vectors);
    mem_free(texts);
    return rc;
}

static void embedding_batch_do(const struct embedder *e, struct embedding_request *first,
                               size_t n) {
    struct embedding_request failed = {.rc = U2I_OK};
    if (first->next == NULL) {
        embedding_batch_do_one(e, first);
        return;
    }
    failed.rc = embedding_batch_do_together(e, first, n, &failed.err);
    if (failed.rc != U2I_OK) {
        embedding_batch_do_each(e, first, &failed);
    }
}

/* As many requests from the queue's head as go into one call. Under the lock. */
static struct embedding_request *embedding_batch_take(struct embedding_batch *b, size_t *n) {
    struct embedding_request *const first = b->head;
    struct embedding_request *last = first;
    *n = first->n;
    while (last->next != NULL && *n + last->next->n <= EMBEDDING_BATCH_TEXTS) {
        last = last->next;
        *n += last->n;
    }
    b->head = last->next;
    b->tail = b->head == NULL ? &b->head : b->tail;
    last->next = NULL;
    return first;
}

/* Under the lock, but for the call itself. */
static void embedding_batch_lead(struct embedding_batch *b, const struct embedder *e) {
    size_t n;
    struct embedding_request *r = embedding_batch_take(b, &n);
    b->busy++;
    (void)pthread_mutex_unlock(&b->lock);
    embedding_batch_do(e, r, n);
    (void)pthread_mutex_lock(&b->lock);
    b->busy--;
    while (r != NULL) {
        struct embedding_request *const next = r->next; /* a request that is done may vanish */
        r->done = true;
        r = next;
    }
    (void)pthread_cond_broadcast(&b->moved);
}

int embedding_batch_run(struct embedding_batch *b, const struct embedder *e,
                        const struct embed_text *texts, size_t n, float *out, u2i_error_t *err) {
    struct embedding_request own = {.texts = texts, .n = n, .out = out};
    if (b->lanes == 0 || n == 0 || n > EMBEDDING_BATCH_TEXTS / 2) {
        return e->ops->embed(e, texts, n, out, err);
    }
    (void)pthread_mutex_lock(&b->lock);
    *b->tail = &own;
    b->tail = &own.next;
    while (!own.done) {
        if (b->busy < b->lanes && b->head != NULL) {
            embedding_batch_lead(b, e);
        } else {
            (void)pthread_cond_wait(&b->moved, &b->lock);
        }
    }
    (void)pthread_mutex_unlock(&b->lock);
    if (own.rc != U2I_OK && err != NULL) {
        *err = own.err;
    }
    return own.rc;
}
