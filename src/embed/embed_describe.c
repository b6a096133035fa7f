/* See embed_describe.h. Weights are checked by being used: packing them reads each one but those of the tables
 * that are looked up token by token, which are read here. */
#include "embed/embed_describe.h"

#include "base/alloc.h"
#include "base/error.h"
#include "embed/bert_config.h"
#include "embed/embed.h"
#include "embed/safetensors.h"
#include "vec/vec.h"
#include <stdio.h>

#define DESCRIBE_CHUNK 16384 /* values that are looked at, at once */

/* A model of one language has little use for texts in another one, but each gets a vector. */
static const struct embed_text DESCRIBE_TEXTS[] = {
    {.title = "Bread at home",
     .category = "Cooking",
     .text = "Sourdough, yeast and flour: forty recipes that need no machine, and why each step of "
             "them "
             "is there."},
    {.text = "red running shoes, size 42", .query = true},
    {.title = "机器人总动员", .category = "动画, 科幻"}};

enum { DESCRIBE_TEXTS_N = sizeof DESCRIBE_TEXTS / sizeof *DESCRIBE_TEXTS };

/* ---- What the files say ------------------------------------------------------------------------- */

static int describe_check_table(const struct safetensors *s, const char *name, float *chunk,
                                u2i_error_t *err) {
    struct safetensors_tensor t;
    uint64_t values = 1;
    if (!bert_config_tensor(s, name, &t)) {
        return error_set(err, U2I_EEMBED, "%s: tensor %s is missing", safetensors_path(s), name);
    }
    for (uint32_t i = 0; i < t.dims_n; i++) {
        values *= t.dims[i]; /* the file has as many, so it doesn't overflow */
    }
    for (uint64_t at = 0; at < values; at += DESCRIBE_CHUNK) {
        const uint64_t left = values - at;
        U2I_TRY(safetensors_floats(&t, at, left < DESCRIBE_CHUNK ? (size_t)left : DESCRIBE_CHUNK,
                                   chunk, err));
    }
    return U2I_OK;
}

static int describe_check_tables(const struct safetensors *s, u2i_error_t *err) {
    static const char *const tables[] = {"embeddings.word_embeddings.weight",
                                         "embeddings.position_embeddings.weight",
                                         "embeddings.token_type_embeddings.weight"};
    float *const chunk = alloc_array(DESCRIBE_CHUNK, sizeof *chunk);
    int rc = chunk == NULL ? error_oom(err) : U2I_OK;
    for (size_t i = 0; rc == U2I_OK && i < sizeof tables / sizeof *tables; i++) {
        rc = describe_check_table(s, tables[i], chunk, err);
    }
    mem_free(chunk);
    return rc;
}

static int describe_files(const char *folder, struct embed_description *out, u2i_error_t *err) {
    struct bert_config c;
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    U2I_TRY(bert_config_read(folder, &c, err));
    U2I_TRY(safetensors_open_folder(folder, &s, err));
    int rc = bert_config_check(&c, s, err);
    if (rc == U2I_OK) {
        rc = describe_check_tables(s, err);
    }
    if (rc == U2I_OK && bert_config_tensor(s, "embeddings.word_embeddings.weight", &t)) {
        (void)snprintf(out->weights, sizeof out->weights, "%s", t.dtype); /* fits */
    }
    out->layers = c.layers;
    out->tokens_max = c.tokens_max;
    out->vocab = c.vocab;
    out->pooling = c.pooling == BERT_POOL_CLS ? "cls" : "mean";
    safetensors_close(s);
    return rc;
}

/* ---- What it does ------------------------------------------------------------------------------- */

/* A vector of zeros is one that could not be computed. */
static int describe_check_vectors(const char *folder, const float *vectors, uint32_t dim,
                                  u2i_error_t *err) {
    for (size_t i = 0; i < DESCRIBE_TEXTS_N; i++) {
        if (vec_dot(vectors + i * dim, vectors + i * dim, dim) < 0.5F) {
            return error_set(err, U2I_EEMBED,
                             "%s makes no vector of \"%s\": its numbers run out of range", folder,
                             DESCRIBE_TEXTS[i].title != NULL ? DESCRIBE_TEXTS[i].title
                                                             : DESCRIBE_TEXTS[i].text);
        }
    }
    return U2I_OK;
}

/* As a store would have it that leaves the precision to the machine. */
static int describe_run(const char *folder, struct embed_description *out, u2i_error_t *err) {
    const struct embed_bert_options opt = {.precision = EMBED_AUTO};
    struct embed_about about = {0};
    struct embedder *e = NULL;
    U2I_TRY(embed_bert_open(folder, &opt, &e, err));
    (void)snprintf(out->name, sizeof out->name, "%s", e->name); /* both are as long */
    out->dim = e->dim;
    float *const vectors = alloc_array((size_t)DESCRIBE_TEXTS_N * e->dim, sizeof *vectors);
    int rc = vectors == NULL ? error_oom(err)
                             : e->ops->embed(e, DESCRIBE_TEXTS, DESCRIBE_TEXTS_N, vectors, err);
    if (rc == U2I_OK) {
        rc = describe_check_vectors(folder, vectors, e->dim, err);
    }
    if (rc == U2I_OK && e->ops->about != NULL) {
        e->ops->about(e, &about);
        (void)snprintf(out->precision, sizeof out->precision, "%s", about.precision);
        out->parity = about.parity;
    }
    mem_free(vectors);
    e->ops->close(e);
    return rc;
}

int embed_describe(const char *folder, struct embed_description *out, u2i_error_t *err) {
    *out = (struct embed_description){0};
    U2I_TRY(describe_files(folder, out, err));
    return describe_run(folder, out, err);
}
