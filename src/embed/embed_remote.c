/* A model behind an endpoint as an embedder. The parts of each text are joined; what the cache knows is copied; the
 * rest goes into batches, bounded in texts and bytes, which up to four threads ask for (embed_remote_ask.c). The first batch
 * that fails keeps the others from beginning, but what is under way ends, and every vector that came is in
 * the cache: so a call that is repeated pays only for the rest. */
#include "embed/embed_remote_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "embed/embed_cache.h"
#include "embed/embed_join.h"

#define EMBED_REMOTE_CONNECTIONS 4u
#define EMBED_REMOTE_CACHE_BYTES ((size_t)64 << 20)

struct remote_embedder {
    struct embedder base;
    struct embed_remote_target target;
    struct embed_cache *cache;
    char *query_prefix, *passage_prefix;
    uint32_t batch_texts, batch_bytes;
};

/* ---- A call's texts --------------------------------------------------------------------------- */

struct embed_remote_job {
    struct remote_embedder *e;
    float *out;
    /* Texts to ask for. */
    const char **texts; /* into `joined` */
    size_t *lengths;
    size_t *which; /* its index in the call */
    size_t n;
    struct buf joined;
    /* Batch b is texts[batches[b]..batches[b + 1]). */
    size_t *batches, batches_n;
    atomic_size_t next; /* batch that nobody has taken */
    int64_t until_ns;
    struct gate stop;
    atomic_bool stopped;
    pthread_mutex_t failing;
    size_t failed; /* the first batch that failed */
    int rc;
    u2i_error_t err;
};

static int embed_remote_check_text(const struct embed_text *t, size_t i, u2i_error_t *err) {
    const char *const parts[] = {t->title, t->category, t->text};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        if (parts[p] != NULL && !utf8_valid(parts[p], strlen(parts[p]))) {
            return error_at(err, U2I_EEMBED, (int32_t)i, "text %zu is not UTF-8", i);
        }
    }
    return U2I_OK;
}

/* Joins the texts one after the other, takes what the cache has, and keeps the others. */
static int embed_remote_gather(struct embed_remote_job *job, const struct embed_text *texts,
                               size_t n, u2i_error_t *err) {
    const struct remote_embedder *const e = job->e;
    const uint32_t dim = e->base.dim;
    memset(job->out, 0, n * dim * sizeof *job->out);
    for (size_t i = 0; i < n; i++) {
        const size_t start = job->joined.len;
        U2I_TRY(embed_remote_check_text(&texts[i], i, err));
        embed_text_join(&job->joined, texts[i].query ? e->query_prefix : e->passage_prefix,
                        &texts[i]);
        if (job->joined.failed) {
            return error_oom(err);
        }
        const size_t length = job->joined.len - start;
        if (length == 0) {
            continue;
        }
        if (embed_cache_get(e->cache, job->joined.data + start, length, job->out + i * dim)) {
            job->joined.len = start;
            continue;
        }
        job->lengths[job->n] = length;
        job->which[job->n++] = i;
    }
    size_t at = 0;
    for (size_t i = 0; i < job->n; i++) { /* they move no more */
        job->texts[i] = job->joined.data + at;
        at += job->lengths[i];
    }
    return U2I_OK;
}

static void embed_remote_divide(struct embed_remote_job *job) {
    const struct remote_embedder *const e = job->e;
    size_t texts = 0, bytes = 0;
    for (size_t i = 0; i < job->n; i++) {
        if (i == 0 || texts == e->batch_texts || bytes + job->lengths[i] > e->batch_bytes) {
            job->batches[job->batches_n++] = i;
            texts = bytes = 0;
        }
        texts++;
        bytes += job->lengths[i];
    }
    job->batches[job->batches_n] = job->n;
}

/* ---- Batches ---------------------------------------------------------------------------------- */

static void embed_remote_fail(struct embed_remote_job *job, size_t batch, int rc,
                              const u2i_error_t *err) {
    const size_t first = job->batches[batch];
    (void)pthread_mutex_lock(&job->failing);
    if (job->rc == U2I_OK || batch < job->failed) {
        job->failed = batch;
        job->rc = rc;
        job->err = *err;
        /* Of several nobody knows which is at fault. */
        job->err.offset = job->batches[batch + 1] - first == 1 ? (int32_t)job->which[first] : -1;
    }
    (void)pthread_mutex_unlock(&job->failing);
    atomic_store(&job->stopped, true);
    gate_open(&job->stop);
}

static int embed_remote_batch(struct embed_remote_job *job, size_t batch, u2i_error_t *err) {
    struct remote_embedder *const e = job->e;
    const size_t first = job->batches[batch], n = job->batches[batch + 1] - first;
    const struct embed_remote_ask ask = {.texts = job->texts + first,
                                         .lengths = job->lengths + first,
                                         .n = n,
                                         .until_ns = job->until_ns,
                                         .stop = &job->stop,
                                         .stopped = &job->stopped};
    uint32_t dim = e->base.dim;
    float *const vectors = alloc_array(n, dim * sizeof *vectors);
    int rc = vectors == NULL ? error_oom(err) : U2I_OK;
    rc = rc != U2I_OK ? rc : embed_remote_ask(&e->target, &ask, &dim, vectors, err);
    for (size_t i = 0; i < n && rc == U2I_OK; i++) {
        const float *const v = vectors + i * dim;
        memcpy(job->out + job->which[first + i] * dim, v, dim * sizeof *v);
        embed_cache_put(e->cache, ask.texts[i], ask.lengths[i], v);
    }
    mem_free(vectors);
    return rc;
}

static void *embed_remote_thread(void *arg) {
    struct embed_remote_job *const job = arg;
    while (!atomic_load(&job->stopped)) {
        u2i_error_t err = {0};
        const size_t batch = atomic_fetch_add(&job->next, 1);
        if (batch >= job->batches_n) {
            break;
        }
        const int rc = embed_remote_batch(job, batch, &err);
        if (rc != U2I_OK) {
            embed_remote_fail(job, batch, rc, &err);
        }
    }
    return NULL;
}

static void embed_remote_run(struct embed_remote_job *job) {
    pthread_t threads[EMBED_REMOTE_CONNECTIONS];
    size_t started = 0;
    while (started + 1 < EMBED_REMOTE_CONNECTIONS && started + 1 < job->batches_n &&
           thread_start(&threads[started], "u2i-embed", embed_remote_thread, job) == U2I_OK) {
        started++;
    }
    (void)embed_remote_thread(job);
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL); /* can only fail when misused */
    }
}

static int embed_remote_embed(const struct embedder *base, const struct embed_text *texts, size_t n,
                              float *out, u2i_error_t *err) {
    /* The cache and what is known of the endpoint change; both cope with threads. */
    struct remote_embedder *const e = (struct remote_embedder *)(uintptr_t)base;
    struct embed_remote_job job = {.e = e, .out = out};
    if (n == 0) {
        return U2I_OK;
    }
    job.until_ns = clock_ticks_ns(clock_system()) + (int64_t)e->target.timeout_ms * 1000000;
    (void)pthread_mutex_init(&job.failing, NULL); /* the default kind: nothing can fail */
    job.texts = alloc_array(n, sizeof *job.texts);
    job.lengths = alloc_array(n, sizeof *job.lengths);
    job.which = alloc_array(n, sizeof *job.which);
    job.batches = alloc_array(n + 1, sizeof *job.batches);
    int rc = U2I_OK;
    if (job.texts == NULL || job.lengths == NULL || job.which == NULL || job.batches == NULL) {
        rc = error_oom(err);
        goto out;
    }
    rc = embed_remote_gather(&job, texts, n, err);
    if (rc != U2I_OK) {
        goto out;
    }
    embed_remote_divide(&job);
    embed_remote_run(&job);
    rc = job.rc;
    if (rc != U2I_OK && err != NULL) {
        *err = job.err;
    }
out:
    mem_free(job.batches);
    mem_free(job.which);
    mem_free(job.lengths);
    mem_free(job.texts);
    buf_free(&job.joined);
    (void)pthread_mutex_destroy(&job.failing);
    return rc;
}

/* ---- Opening ---------------------------------------------------------------------------------- */

static void embed_remote_close(struct embedder *base) {
    struct remote_embedder *const e = (struct remote_embedder *)base;
    if (e != NULL) {
        embed_remote_target_free(&e->target);
        embed_cache_free(e->cache);
        mem_free(e->query_prefix);
        mem_free(e->passage_prefix);
        mem_free(e);
    }
}

static int embed_remote_copy(const char *s, char **out, u2i_error_t *err) {
    *out = s == NULL ? NULL : str_dup(s, strlen(s));
    return s != NULL && *out == NULL ? error_oom(err) : U2I_OK;
}

static int embed_remote_fill(struct remote_embedder *e, const struct embed_remote_options *opt,
                             u2i_error_t *err) {
    if (opt->dim == 0 || opt->dim > U2I_DIM_MAX) {
        return error_set(err, U2I_EINVAL, "dim %u is not within 1..%d", opt->dim, U2I_DIM_MAX);
    }
    U2I_TRY(embed_remote_target_new(opt, &e->target, err));
    U2I_TRY(embed_remote_copy(opt->query_prefix, &e->query_prefix, err));
    U2I_TRY(embed_remote_copy(opt->passage_prefix, &e->passage_prefix, err));
    U2I_TRY(embed_cache_new(opt->dim, EMBED_REMOTE_CACHE_BYTES, &e->cache, err));
    e->base.dim = opt->dim;
    e->batch_texts = opt->batch_texts > 0 ? opt->batch_texts : EMBED_REMOTE_TEXTS;
    e->batch_bytes = opt->batch_bytes > 0 ? opt->batch_bytes : EMBED_REMOTE_BYTES;
    embed_remote_name(&e->target, opt->dim, e->base.name);
    return U2I_OK;
}

int embed_remote_open(const struct embed_remote_options *opt, struct embedder **out,
                      u2i_error_t *err) {
    static const struct embedder_ops ops = {.embed = embed_remote_embed,
                                            .close = embed_remote_close};
    struct remote_embedder *const e = mem_zalloc(sizeof *e);
    *out = NULL;
    if (e == NULL) {
        return error_oom(err);
    }
    e->base.ops = &ops;
    const int rc = embed_remote_fill(e, opt, err);
    if (rc != U2I_OK) {
        embed_remote_close(&e->base);
        return rc;
    }
    *out = &e->base;
    return U2I_OK;
}
