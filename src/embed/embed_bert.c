/* A BERT model in a folder as an embedder: the parts of a text are joined, cut into tokens (wordpiece.h), and pass through the
 * model (bert.h) some hundred tokens at a time, whatever texts they are of; what comes out is brought to unit
 * length. Many texts are shared out to all cores, each thread with a pass of its own: a vector is the same bits
 * in any company.
 *
 * Opening reads everything but the weights: they are packed when the first text comes, so that a program that only asks for
 * recommendations never pays for them.
 *
 * The name is that of the folder with a checksum of what its vectors depend on: sizes, vocabulary, and the
 * beginnings and ends of all weights. So the same model is the same wherever it lies, and another one in its place
 * is noticed. */
#include "embed/embed.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"
#include "embed/bert.h"
#include "embed/embed_folder.h"
#include "embed/wordpiece.h"
#include "vec/vec.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define EMBED_BERT_BATCH       512u /* tokens that pass together; a longer text passes alone */
#define EMBED_BERT_BLOCK       32u  /* texts that a thread takes at once */
#define EMBED_BERT_THREADS_MAX 64u
#define EMBED_BERT_EDGE        256u /* bytes at either end of a tensor that its checksum is of */

struct bert_embedder {
    struct embedder base;
    struct bert_config config;
    enum bert_precision precision;
    struct safetensors *file;
    struct wordpiece *words;
    pthread_mutex_t packing;
    _Atomic(struct bert *) bert; /* NULL until the first text */
    atomic_bool spoilt;          /* the weights can't be packed: why */
    u2i_error_t why;
};

/* ---- The model -------------------------------------------------------------------------------- */

static int embed_bert_weights(struct bert_embedder *e, const struct bert **out, u2i_error_t *err) {
    *out = atomic_load(&e->bert);
    if (*out != NULL) {
        return U2I_OK;
    }
    int rc = U2I_OK;
    (void)pthread_mutex_lock(&e->packing);
    struct bert *b = atomic_load(&e->bert);
    if (b == NULL && atomic_load(&e->spoilt)) {
        rc = error_set(err, e->why.code, "%s", e->why.msg);
    } else if (b == NULL) {
        rc = bert_new(&e->config, e->file, e->precision, &b, &e->why);
        atomic_store(&e->bert, b);
        atomic_store(&e->spoilt, rc != U2I_OK && rc != U2I_ENOMEM); /* memory may come back */
        rc = rc == U2I_OK ? U2I_OK : error_set(err, rc, "%s", e->why.msg);
    }
    (void)pthread_mutex_unlock(&e->packing);
    *out = b;
    return rc;
}

/* ---- Texts ------------------------------------------------------------------------------------ */

struct embed_bert_job { /* one call */
    struct bert_embedder *e;
    const struct bert *bert;
    const struct embed_text *texts;
    size_t n;
    float *out;
    atomic_size_t next; /* text that nobody has taken */
    pthread_mutex_t failing;
    size_t failed; /* the first text that failed; n = none */
    int rc;
    u2i_error_t err;
};

struct embed_bert_work { /* one thread's */
    const struct embed_bert_job *job;
    struct wordpiece_ids ids; /* of the texts of the batch */
    size_t *starts;           /* [texts + 1] in ids */
    size_t *texts, texts_n;   /* of the batch: which text it is */
    float *vectors;           /* [texts][dim] */
    struct buf joined;
};

#define EMBED_BERT_TEXTS (EMBED_BERT_BATCH / 3 + 1) /* of a batch, three tokens each at least */

/* "title\ncategory\ntext", of what is there: to the tokenizer a line's end is a space. */
static void embed_bert_join(struct buf *out, const struct embed_text *t) {
    const char *const parts[] = {t->title, t->category, t->text};
    buf_reset(out);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] != NULL && parts[i][0] != '\0') {
            if (out->len > 0) {
                buf_putc(out, '\n');
            }
            buf_puts(out, parts[i]);
        }
    }
}

static int embed_bert_pass(struct embed_bert_work *w, u2i_error_t *err) {
    const uint32_t dim = w->job->e->base.dim;
    const struct bert_batch batch = {w->ids.list, w->starts, w->texts_n};
    if (w->texts_n == 0) {
        return U2I_OK;
    }
    U2I_TRY(bert_run(w->job->bert, &batch, w->vectors, err));
    for (size_t i = 0; i < w->texts_n; i++) {
        float *const v = w->vectors + i * dim;
        if (!vec_normalise(v, dim)) { /* not a number, or nothing: no vector is better than that */
            memset(v, 0, dim * sizeof *v);
        }
        memcpy(w->job->out + w->texts[i] * dim, v, dim * sizeof *v);
    }
    w->texts_n = 0;
    w->ids.n = 0;
    return U2I_OK;
}

/* The text's tokens go to the batch; first the batch passes, if they would be too many. A text without tokens keeps the
 * zeros that are in its place. */
static int embed_bert_add(struct embed_bert_work *w, size_t i, u2i_error_t *err) {
    const struct bert_embedder *const e = w->job->e;
    embed_bert_join(&w->joined, &w->job->texts[i]);
    if (w->joined.failed) {
        return error_oom(err);
    }
    const size_t before = w->ids.n;
    const int rc = wordpiece_encode(e->words, w->joined.len == 0 ? "" : w->joined.data,
                                    w->joined.len, e->config.tokens_max, &w->ids, err);
    if (rc != U2I_OK) {
        err->offset = (int32_t)i;
        return rc;
    }
    const size_t n = w->ids.n - before;
    if (n <= 2) { /* only [CLS] and [SEP] */
        w->ids.n = before;
        return U2I_OK;
    }
    if (before > 0 && w->ids.n > EMBED_BERT_BATCH) {
        w->ids.n = before;
        U2I_TRY(embed_bert_pass(w, err));
        memmove(w->ids.list, w->ids.list + before, n * sizeof *w->ids.list);
        w->ids.n = n;
    }
    w->texts[w->texts_n++] = i;
    w->starts[w->texts_n] = w->ids.n;
    return U2I_OK;
}

/* ---- Threads ---------------------------------------------------------------------------------- */

static int embed_bert_work_new(struct embed_bert_work *w, u2i_error_t *err) {
    w->starts = alloc_array(EMBED_BERT_TEXTS + 1, sizeof *w->starts);
    w->texts = alloc_array(EMBED_BERT_TEXTS, sizeof *w->texts);
    w->vectors = alloc_array((size_t)EMBED_BERT_TEXTS * w->job->e->base.dim, sizeof *w->vectors);
    if (w->starts == NULL || w->texts == NULL || w->vectors == NULL) {
        return error_oom(err);
    }
    w->starts[0] = 0;
    return U2I_OK;
}

static void embed_bert_work_free(struct embed_bert_work *w) {
    buf_free(&w->joined);
    mem_free(w->ids.list);
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

static int embed_bert_embed(const struct embedder *base, const struct embed_text *texts, size_t n,
                            float *out, u2i_error_t *err) {
    struct embed_bert_job job = {.e = (struct bert_embedder *)(uintptr_t)base, /* packs once */
                                 .texts = texts,
                                 .n = n,
                                 .out = out};
    U2I_TRY(embed_bert_weights(job.e, &job.bert, err));
    (void)pthread_mutex_init(&job.failing, NULL); /* the default kind: nothing can fail */
    memset(out, 0, n * base->dim * sizeof *out);
    embed_bert_run(&job);
    (void)pthread_mutex_destroy(&job.failing);
    if (job.rc != U2I_OK && err != NULL) {
        *err = job.err;
    }
    return job.rc;
}

/* ---- Opening ---------------------------------------------------------------------------------- */

static void embed_bert_close(struct embedder *base) {
    struct bert_embedder *const e = (struct bert_embedder *)base;
    if (e != NULL) {
        bert_free(atomic_load(&e->bert));
        wordpiece_free(e->words);
        safetensors_close(e->file);
        (void)pthread_mutex_destroy(&e->packing);
        mem_free(e);
    }
}

/* vocab.txt, or where there is none tokenizer.json. */
static int embed_bert_words(struct bert_embedder *e, const char *folder, uint32_t *crc,
                            u2i_error_t *err) {
    const struct wordpiece_options opt = {.lower_case = e->config.lower_case};
    char *file = NULL;
    size_t n = 0;
    int rc = embed_folder_read(folder, "vocab.txt", &file, &n, err);
    if (rc == U2I_OK) {
        rc = wordpiece_new(file, n, &opt, &e->words, err);
    } else if (rc == U2I_ENOTFOUND) {
        error_clear(err);
        rc = embed_folder_read(folder, "tokenizer.json", &file, &n, err);
        if (rc == U2I_OK) {
            rc = wordpiece_from_json(file, n, &e->words, err);
        }
    }
    if (rc == U2I_OK) {
        wordpiece_special_in_text(e->words, false); /* titles come from anywhere */
        *crc = vec_get()->crc32c(*crc, file, n);
        if (wordpiece_size(e->words) > e->config.vocab) {
            rc = error_set(err, U2I_EEMBED, "%s has %u tokens, the model has vectors for %u",
                           folder, wordpiece_size(e->words), e->config.vocab);
        }
    }
    mem_free(file);
    return rc;
}

static uint32_t embed_bert_sign_tensor(const struct bert_embedder *e, const char *name,
                                       uint32_t crc) {
    struct safetensors_tensor t;
    if (!bert_config_tensor(e->file, name, &t)) {
        return crc;
    }
    const size_t edge = t.bytes_n < EMBED_BERT_EDGE ? (size_t)t.bytes_n : EMBED_BERT_EDGE;
    crc = vec_get()->crc32c(crc, t.bytes, edge);
    return vec_get()->crc32c(crc, t.bytes + t.bytes_n - edge, edge);
}

static uint32_t embed_bert_sign(const struct bert_embedder *e, uint32_t crc) {
    static const char *const outer[] = {"embeddings.word_embeddings.weight",
                                        "embeddings.position_embeddings.weight",
                                        "embeddings.token_type_embeddings.weight",
                                        "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"};
    static const char *const inner[] = {
        "attention.self.query.weight",       "attention.self.key.weight",
        "attention.self.value.weight",       "attention.output.dense.weight",
        "intermediate.dense.weight",         "output.dense.weight",
        "attention.self.query.bias",         "attention.self.key.bias",
        "attention.self.value.bias",         "attention.output.dense.bias",
        "intermediate.dense.bias",           "output.dense.bias",
        "attention.output.LayerNorm.weight", "attention.output.LayerNorm.bias",
        "output.LayerNorm.weight",           "output.LayerNorm.bias"};
    const uint32_t sizes[] = {e->config.hidden,      e->config.layers,     e->config.heads,
                              e->config.pooling,     e->config.tokens_max, e->config.lower_case,
                              e->config.intermediate};
    crc = vec_get()->crc32c(crc, sizes, sizeof sizes);
    crc = vec_get()->crc32c(crc, &e->config.norm_eps, sizeof e->config.norm_eps);
    for (size_t i = 0; i < sizeof outer / sizeof *outer; i++) {
        crc = embed_bert_sign_tensor(e, outer[i], crc);
    }
    for (uint32_t layer = 0; layer < e->config.layers; layer++) {
        for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
            char name[BERT_TENSOR_NAME_MAX];
            const int n = snprintf(name, sizeof name, BERT_TENSOR_LAYER, (unsigned)layer);
            (void)snprintf(name + n, sizeof name - (size_t)n, "%s", inner[i]); /* fits */
            crc = embed_bert_sign_tensor(e, name, crc);
        }
    }
    return crc;
}

/* "all-MiniLM-L6-v2-1a2b3c4d": the folder's last part, cut to what fits. */
static void embed_bert_name(struct bert_embedder *e, const char *folder, uint32_t crc) {
    size_t end = strlen(folder);
    while (end > 1 && folder[end - 1] == '/') {
        end--;
    }
    size_t first = end;
    while (first > 0 && folder[first - 1] != '/') {
        first--;
    }
    const size_t room = sizeof e->base.name - sizeof "-01234567";
    const size_t n = end - first < room ? end - first : room;
    (void)snprintf(e->base.name, sizeof e->base.name, "%.*s-%08x", (int)n, folder + first,
                   (unsigned)crc); /* fits */
}

static int embed_bert_load(struct bert_embedder *e, const char *folder, u2i_error_t *err) {
    uint32_t crc = 0;
    U2I_TRY(bert_config_read(folder, &e->config, err));
    if (e->config.hidden > U2I_DIM_MAX) {
        return error_set(err, U2I_EEMBED,
                         "%s makes vectors of %u dimensions, a store has %d at most", folder,
                         e->config.hidden, U2I_DIM_MAX);
    }
    U2I_TRY(safetensors_open_folder(folder, &e->file, err));
    U2I_TRY(bert_config_check(&e->config, e->file, err));
    U2I_TRY(embed_bert_words(e, folder, &crc, err));
    e->base.dim = e->config.hidden;
    embed_bert_name(e, folder, embed_bert_sign(e, crc));
    return U2I_OK;
}

static bool embed_bert_ready(const struct embedder *base) {
    const struct bert_embedder *const e = (const struct bert_embedder *)base;
    return atomic_load(&e->bert) != NULL || atomic_load(&e->spoilt);
}

static const struct embedder_ops BERT_OPS = {
    .embed = embed_bert_embed, .ready = embed_bert_ready, .close = embed_bert_close};

int embed_bert_open(const char *folder, const struct embed_bert_options *opt, struct embedder **out,
                    u2i_error_t *err) {
    *out = NULL;
    struct bert_embedder *const e = mem_zalloc(sizeof *e);
    if (e == NULL) {
        return error_oom(err);
    }
    e->base.ops = &BERT_OPS;
    e->precision = opt->precision == EMBED_INT8 ? BERT_INT8 : BERT_F32;
    (void)pthread_mutex_init(&e->packing, NULL); /* the default kind: nothing can fail */
    const int rc = embed_bert_load(e, folder, err);
    if (rc != U2I_OK) {
        embed_bert_close(&e->base);
        return rc;
    }
    *out = &e->base;
    return U2I_OK;
}
