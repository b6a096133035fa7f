/* Which weights a BERT embedder runs on, and where they come from: the cache, else the model's files, and then they go to
 * the cache. That happens when the first text comes.
 *
 * EMBED_AUTO measures: a few texts pass in floats and in bytes, and where the vectors have a mean cosine of
 * EMBED_BERT_PARITY or more, bytes it is. The figure is kept with the weights, so this is done once for each model and kind of
 * machine. Floats are let go before bytes are packed: both are never in memory together. */
#include "embed/embed_bert_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/gemm.h"
#include "vec/vec.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EMBED_BERT_PARITY  .99
#define EMBED_BERT_WEIGHTS ".weights" /* what files of packed weights end with */

/* Titles and sentences as people sell, show and search for things; also in languages that a model may not know. */
static const char *const embed_bert_texts[] = {
    "Toy Story (1995) Adventure Animation Children Comedy Fantasy",
    "wireless noise cancelling headphones, black",
    "SET OF 3 CAKE TINS PANTRY DESIGN",
    "Senior C engineer (remote, full time), databases and storage engines, Berlin",
    "how do i get to the airport by train",
    "A quiet story of two sisters who inherit a lighthouse and find out why nobody wanted it.",
    ("Waterproof hiking boots for women, size 39, leather, with replaceable laces and soles that "
     "hold on wet stone as well as on snow. Please choose one size larger for thick socks."),
    "2 x 4 GB DDR4-3200 SO-DIMM",
    "Election results: turnout rises to 71.3 % as polls close in the north",
    "What is the best way to learn to swim at the age of forty?",
    "likes climbing, jazz, cooking for friends; no smokers",
    "vegetarian lasagne with spinach and ricotta, 45 minutes, serves 4",
    "Le fabuleux destin d'Amélie Poulain",
    "Ein Fahrrad für die Stadt: leicht, leise und ohne Rost",
    "Се́рия детских книг о животных",
    "千と千尋の神隠し 2001 アニメ",
    "苹果手机 128GB 黑色 全新未拆封 顺丰包邮",
    "رواية تاريخية عن الأندلس",
};
#define EMBED_BERT_TEXTS_N (sizeof embed_bert_texts / sizeof *embed_bert_texts)

/* ---- The cache -------------------------------------------------------------------------------- */

/* The path of a file for mem_free(); NULL without memory, and without a cache. */
static char *embed_bert_path(const struct bert_embedder *e, enum bert_precision precision) {
    if (e->cache == NULL) {
        return NULL;
    }
    const size_t bytes = strlen(e->cache) + strlen(e->base.name) + 64;
    char *const path = mem_alloc(bytes);
    if (path != NULL) {
        (void)snprintf(path, bytes, "%s/%s-%s-%s" EMBED_BERT_WEIGHTS, e->cache, e->base.name,
                       gemm_get()->name, precision == BERT_INT8 ? "int8" : "f32"); /* fits */
    }
    return path;
}

static struct bert *embed_bert_cached(const struct bert_embedder *e,
                                      enum bert_precision precision) {
    const struct bert_model m = {&e->config, e->file, e->sign};
    char *const path = embed_bert_path(e, precision);
    struct bert *b = NULL;
    u2i_error_t why;
    if (path != NULL) {
        (void)bert_open(path, &m, precision, &b, &why); /* else it is packed */
    }
    mem_free(path);
    return b;
}

/* Packed weights of the model that was here before are of no use any more. */
static void embed_bert_tidy(const struct bert_embedder *e) {
    DIR *const dir = opendir(e->cache);
    const size_t own = strlen(e->base.name);
    struct dirent *file;
    while (dir != NULL && (file = readdir(dir)) != NULL) {
        if (strstr(file->d_name, EMBED_BERT_WEIGHTS) != NULL &&
            strncmp(file->d_name, e->base.name, own) != 0) {
            (void)unlinkat(dirfd(dir), file->d_name, 0);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

/* Saves *b, and goes on with what was saved: mapped, other processes share it. Without a cache, or room in it, *b
 * does as well. */
static void embed_bert_keep(const struct bert_embedder *e, struct bert **b) {
    const struct bert_model m = {&e->config, e->file, e->sign};
    char *const path = embed_bert_path(e, bert_precision_of(*b));
    struct bert *mapped;
    u2i_error_t why;
    if (path != NULL) {
        (void)mkdir(e->cache, 0777); /* it may be there; if not, saving fails */
        embed_bert_tidy(e);
        if (bert_save(*b, path, &why) == U2I_OK &&
            bert_open(path, &m, bert_precision_of(*b), &mapped, &why) == U2I_OK) {
            bert_free(*b);
            *b = mapped;
        }
    }
    mem_free(path);
}

/* ---- Which precision -------------------------------------------------------------------------- */

/* From the cache, or packed. */
static int embed_bert_get(const struct bert_embedder *e, enum bert_precision precision,
                          struct bert **out, u2i_error_t *err) {
    const struct bert_model m = {&e->config, e->file, e->sign};
    *out = embed_bert_cached(e, precision);
    return *out != NULL ? U2I_OK : bert_new(&m, precision, out, err);
}

static int embed_bert_pass_texts(const struct bert_embedder *e, const struct bert *b, float *out,
                                 u2i_error_t *err) {
    size_t starts[EMBED_BERT_TEXTS_N + 1] = {0};
    struct wordpiece_ids ids = {0};
    int rc = U2I_OK;
    for (size_t i = 0; i < EMBED_BERT_TEXTS_N && rc == U2I_OK; i++) {
        rc = wordpiece_encode(e->words, embed_bert_texts[i], strlen(embed_bert_texts[i]),
                              e->config.tokens_max, &ids, err);
        starts[i + 1] = ids.n;
    }
    if (rc == U2I_OK) {
        const struct bert_batch batch = {ids.list, starts, EMBED_BERT_TEXTS_N};
        rc = bert_run(b, &batch, out, err);
    }
    mem_free(ids.list);
    return rc;
}

static double embed_bert_mean_cosine(float *a, float *b, uint32_t dim) {
    double sum = 0;
    for (size_t i = 0; i < EMBED_BERT_TEXTS_N; i++, a += dim, b += dim) {
        sum += vec_normalise(a, dim) && vec_normalise(b, dim) ? vec_get()->dot(a, b, dim) : 0;
    }
    return sum / EMBED_BERT_TEXTS_N;
}

/* The weights in bytes, which know their parity from now on. */
static int embed_bert_measure(const struct bert_embedder *e, struct bert **out, u2i_error_t *err) {
    const size_t n = EMBED_BERT_TEXTS_N * (size_t)e->base.dim;
    float *const vectors = alloc_array(2 * n, sizeof *vectors);
    struct bert *b = NULL;
    int rc = vectors == NULL ? error_oom(err) : embed_bert_get(e, BERT_F32, &b, err);
    if (rc == U2I_OK) {
        rc = embed_bert_pass_texts(e, b, vectors, err);
    }
    bert_free(b);
    b = NULL;
    if (rc == U2I_OK) {
        rc = embed_bert_get(e, BERT_INT8, &b, err);
    }
    if (rc == U2I_OK) {
        rc = embed_bert_pass_texts(e, b, vectors + n, err);
    }
    if (rc == U2I_OK) {
        bert_set_parity(b, embed_bert_mean_cosine(vectors, vectors + n, e->base.dim));
    } else {
        bert_free(b);
        b = NULL;
    }
    mem_free(vectors);
    *out = b;
    return rc;
}

/* As measured now. Floats remember why they were taken. */
static int embed_bert_decide(const struct bert_embedder *e, struct bert **out, u2i_error_t *err) {
    U2I_TRY(embed_bert_measure(e, out, err));
    const double parity = bert_parity(*out);
    if (parity < EMBED_BERT_PARITY) {
        bert_free(*out);
        U2I_TRY(embed_bert_get(e, BERT_F32, out, err));
        bert_set_parity(*out, parity > 0 ? parity : 1e-9);
    }
    embed_bert_keep(e, out);
    return U2I_OK;
}

/* As it was measured before; NULL if it was not. */
static struct bert *embed_bert_decided(const struct bert_embedder *e) {
    struct bert *b = embed_bert_cached(e, BERT_INT8);
    if (b != NULL && bert_parity(b) >= EMBED_BERT_PARITY) {
        return b;
    }
    bert_free(b);
    b = embed_bert_cached(e, BERT_F32);
    if (b != NULL && bert_parity(b) > 0) {
        return b;
    }
    bert_free(b);
    return NULL;
}

static int embed_bert_make(const struct bert_embedder *e, struct bert **out, u2i_error_t *err) {
    const bool measures = e->wish == EMBED_AUTO && bert_int8_pays();
    const enum bert_precision precision = e->wish == EMBED_INT8 ? BERT_INT8 : BERT_F32;
    const struct bert_model m = {&e->config, e->file, e->sign};
    *out = measures ? embed_bert_decided(e) : embed_bert_cached(e, precision);
    if (*out != NULL) {
        return U2I_OK;
    }
    if (measures) {
        return embed_bert_decide(e, out, err);
    }
    U2I_TRY(bert_new(&m, precision, out, err));
    embed_bert_keep(e, out);
    return U2I_OK;
}

/* ---- The first text --------------------------------------------------------------------------- */

int embed_bert_weights(struct bert_embedder *e, const struct bert **out, u2i_error_t *err) {
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
        rc = embed_bert_make(e, &b, &e->why);
        atomic_store(&e->bert, rc == U2I_OK ? b : NULL);
        atomic_store(&e->spoilt, rc != U2I_OK && rc != U2I_ENOMEM); /* memory may come back */
        rc = rc == U2I_OK ? U2I_OK : error_set(err, rc, "%s", e->why.msg);
    }
    *out = atomic_load(&e->bert);
    (void)pthread_mutex_unlock(&e->packing);
    return rc;
}

void embed_bert_about(const struct embedder *base, struct embed_about *out) {
    const struct bert_embedder *const e = (const struct bert_embedder *)base;
    const struct bert *const b = atomic_load(&e->bert);
    *out = (struct embed_about){.parity = b == NULL ? 0 : bert_parity(b)};
    if (b != NULL || e->wish != EMBED_AUTO) {
        const bool int8 = b != NULL ? bert_precision_of(b) == BERT_INT8 : e->wish == EMBED_INT8;
        (void)snprintf(out->precision, sizeof out->precision, "%s", int8 ? "int8" : "f32");
    }
}
