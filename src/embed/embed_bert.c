/* A BERT model in a folder as an embedder: the parts of a text are joined, cut into tokens (wordpiece.h), and pass through the
 * model (bert.h) some hundred tokens at a time, whatever texts they are of; what comes out is brought to unit
 * length. Many texts are shared out to all cores, each thread with a pass of its own: a vector is the same in any
 * company, to the bit but for floats with AMX, whose sums round otherwise where many rows come together.
 *
 * A text longer than the model takes is cut, or (windows) parted into pieces of nearly equal length. Each piece is a text
 * to the model; the pieces' vectors are averaged, weighted by their tokens.
 *
 * Opening reads everything but the weights: they are packed, or mapped from the cache, when the first text comes, so that a
 * program that only asks for recommendations never pays for them. */
#include "embed/embed_bert_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"
#include "embed/embed_join.h"
#include "vec/vec.h"
#include <string.h>

#define EMBED_BERT_BATCH       512u /* tokens that pass together; a longer text passes alone */
#define EMBED_BERT_BLOCK       32u  /* texts that a thread takes at once */
#define EMBED_BERT_THREADS_MAX 64u
#define EMBED_BERT_PIECES      (EMBED_BERT_BATCH / 3 + 1) /* of a batch, three tokens each at least */

struct embed_bert_job { /* one call */
    const struct bert_embedder *e;
    const struct bert *bert;
    const struct embed_text *texts;
    size_t n;
    float *out;         /* sums of pieces' vectors, until all have passed */
    atomic_size_t next; /* text that nobody has taken */
    pthread_mutex_t failing;
    size_t failed; /* the first text that failed; n = none */
    int rc;
    u2i_error_t err;
};

struct embed_bert_work { /* one thread's */
    const struct embed_bert_job *job;
    struct wordpiece_ids ids;    /* of the pieces of the batch */
    size_t *starts;              /* [pieces + 1] in ids */
    size_t *texts, pieces;       /* of the batch: which text each is of */
    float *vectors;              /* [pieces][dim] */
    struct wordpiece_ids tokens; /* of the text at hand */
    struct buf joined;
};

/* ---- Passing ---------------------------------------------------------------------------------- */

static int embed_bert_pass(struct embed_bert_work *w, u2i_error_t *err) {
    const uint32_t dim = w->job->e->base.dim;
    const struct bert_batch batch = {w->ids.list, w->starts, w->pieces};
    if (w->pieces == 0) {
        return U2I_OK;
    }
    U2I_TRY(bert_run(w->job->bert, &batch, w->vectors, err));
    for (size_t i = 0; i < w->pieces; i++) {
        float *const v = w->vectors + i * dim;
        if (vec_normalise(v, dim)) { /* else it is not a number, or nothing */
            vec_get()->axpy((float)(w->starts[i + 1] - w->starts[i]), v,
                            w->job->out + w->texts[i] * dim, dim);
        }
    }
    w->pieces = 0;
    w->ids.n = 0;
    return U2I_OK;
}

/* [CLS], n tokens of text i, [SEP]: a piece of the batch, which passes first if it would be too large. */
static int embed_bert_add_piece(struct embed_bert_work *w, size_t i, const uint32_t *tokens,
                                size_t n, u2i_error_t *err) {
    const struct wordpiece_ids *const all = &w->tokens;
    struct wordpiece_ids *const ids = &w->ids;
    if (w->pieces > 0 && ids->n + n + 2 > EMBED_BERT_BATCH) {
        U2I_TRY(embed_bert_pass(w, err));
    }
    if (array_reserve(&ids->list, &ids->cap, ids->n + n + 2, sizeof *ids->list) != U2I_OK) {
        return error_oom(err);
    }
    ids->list[ids->n++] = all->list[0];
    memcpy(ids->list + ids->n, tokens, n * sizeof *tokens);
    ids->n += n;
    ids->list[ids->n++] = all->list[all->n - 1];
    w->texts[w->pieces++] = i;
    w->starts[w->pieces] = ids->n;
    return U2I_OK;
}

/* ---- Texts ------------------------------------------------------------------------------------ */

/* w->tokens gets those of text i, [CLS] and [SEP] among them. */
static int embed_bert_tokens(struct embed_bert_work *w, size_t i, const char *prefix, size_t max,
                             u2i_error_t *err) {
    buf_reset(&w->joined);
    embed_text_join(&w->joined, prefix, &w->job->texts[i]);
    if (w->joined.failed) {
        return error_oom(err);
    }
    w->tokens.n = 0;
    const int rc = wordpiece_encode(w->job->e->words, w->joined.len == 0 ? "" : w->joined.data,
                                    w->joined.len, max, &w->tokens, err);
    if (rc != U2I_OK) {
        err->offset = (int32_t)i;
    }
    return rc;
}

/* A text without tokens, whatever its prefix, keeps the zeros that are in its place. */
static int embed_bert_add(struct embed_bert_work *w, size_t i, u2i_error_t *err) {
    const struct bert_embedder *const e = w->job->e;
    const char *const prefix = w->job->texts[i].query ? e->query_prefix : e->passage_prefix;
    const size_t most = e->config.tokens_max - 2;
    const size_t max = e->windows ? WORDPIECE_TOKENS_MAX : e->config.tokens_max;
    U2I_TRY(embed_bert_tokens(w, i, NULL, max, err));
    if (w->tokens.n > 2 && prefix != NULL) {
        U2I_TRY(embed_bert_tokens(w, i, prefix, max, err));
    }
    const size_t n = w->tokens.n - 2;
    const size_t pieces = (n + most - 1) / most;
    for (size_t p = 0; p < pieces; p++) {
        const size_t first = n * p / pieces;
        const size_t end = n * (p + 1) / pieces;
        U2I_TRY(embed_bert_add_piece(w, i, w->tokens.list + 1 + first, end - first, err));
    }
    return U2I_OK;
}

/* ---- Threads ---------------------------------------------------------------------------------- */

static int embed_bert_work_new(struct embed_bert_work *w, u2i_error_t *err) {
    w->starts = alloc_array(EMBED_BERT_PIECES + 1, sizeof *w->starts);
    w->texts = alloc_array(EMBED_BERT_PIECES, sizeof *w->texts);
    w->vectors = alloc_array((size_t)EMBED_BERT_PIECES * w->job->e->base.dim, sizeof *w->vectors);
    if (w->starts == NULL || w->texts == NULL || w->vectors == NULL) {
        return error_oom(err);
    }
    w->starts[0] = 0;
    return U2I_OK;
}

static void embed_bert_work_free(struct embed_bert_work *w) {
    buf_free(&w->joined);
    mem_free(w->ids.list);
    mem_free(w->tokens.list);
    mem_free(w->vectors);
    mem_free(w->texts);
    mem_free(w->starts);
}

/* The failure that the caller hears of is that of the first text, whoever was faster. */
static void embed_bert_fail(struct embed_bert_job *job, size_t text, int rc,
                            const u2i_error_t *err) {
    (void)pthread_mutex_lock(&job->failing);
    if (job->rc == U2I_OK || text < job->failed) {
        job->rc = rc;
        job->failed = text;
        job->err = *err;
    }
    (void)pthread_mutex_unlock(&job->failing);
    atomic_store(&job->next, job->n); /* the others may stop */
}

static void *embed_bert_thread(void *arg) {
    struct embed_bert_job *const job = arg;
    struct embed_bert_work w = {.job = job};
    u2i_error_t err = {0};
    size_t at = job->n;
    int rc = embed_bert_work_new(&w, &err);
    while (rc == U2I_OK) {
        at = atomic_fetch_add(&job->next, EMBED_BERT_BLOCK);
        const size_t end =
            at < job->n && job->n - at > EMBED_BERT_BLOCK ? at + EMBED_BERT_BLOCK : job->n;
        if (at >= job->n) {
            rc = embed_bert_pass(&w, &err);
            break;
        }
        for (; at < end && rc == U2I_OK; at += rc == U2I_OK) {
            rc = embed_bert_add(&w, at, &err);
        }
    }
    if (rc != U2I_OK) {
        embed_bert_fail(job, at, rc, &err);
    }
    embed_bert_work_free(&w);
    return NULL;
}

static void embed_bert_run(struct embed_bert_job *job) {
    pthread_t threads[EMBED_BERT_THREADS_MAX];
    const size_t blocks = (job->n + EMBED_BERT_BLOCK - 1) / EMBED_BERT_BLOCK;
    const size_t cores = thread_cores();
    size_t wanted = blocks < cores ? blocks : cores;
    wanted = wanted < EMBED_BERT_THREADS_MAX ? wanted : EMBED_BERT_THREADS_MAX;
    size_t started = 0;
    while (started + 1 < wanted &&
           thread_start(&threads[started], "u2i-embed", embed_bert_thread, job) == U2I_OK) {
        started++;
    }
    (void)embed_bert_thread(job);
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL); /* can only fail when misused */
    }
}

int embed_bert_embed(const struct embedder *base, const struct embed_text *texts, size_t n,
                     float *out, u2i_error_t *err) {
    struct bert_embedder *const e = (struct bert_embedder *)(uintptr_t)base; /* packs once */
    struct embed_bert_job job = {.e = e, .texts = texts, .n = n, .out = out};
    U2I_TRY(embed_bert_weights(e, &job.bert, err));
    (void)pthread_mutex_init(&job.failing, NULL); /* the default kind: nothing can fail */
    memset(out, 0, n * base->dim * sizeof *out);
    embed_bert_run(&job);
    (void)pthread_mutex_destroy(&job.failing);
    for (size_t i = 0; i < n; i++) {
        if (!vec_normalise(out + i * base->dim,
                           base->dim)) { /* no vector is better than a wrong one */
            memset(out + i * base->dim, 0, base->dim * sizeof *out);
        }
    }
    if (job.rc != U2I_OK && err != NULL) {
        *err = job.err;
    }
    return job.rc;
}
