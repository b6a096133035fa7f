/* Opens a BERT model in a folder as an embedder: its config, its tokenizer, its tensors' places and its name.
 *
 * The name is that of the folder with a checksum of what its vectors depend on: sizes, vocabulary, and the
 * beginnings and ends of all weights. So the same model is the same wherever it lies, and another one in its place
 * is noticed. */
#include "embed/embed_bert_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "embed/embed_folder.h"
#include "vec/vec.h"
#include <stdio.h>
#include <string.h>

#define EMBED_BERT_EDGE 256u /* bytes at either end of a tensor that its checksum is of */

static void embed_bert_close(struct embedder *base) {
    struct bert_embedder *const e = (struct bert_embedder *)base;
    if (e != NULL) {
        bert_free(atomic_load(&e->bert));
        wordpiece_free(e->words);
        safetensors_close(e->file);
        (void)pthread_mutex_destroy(&e->packing);
        mem_free(e->query_prefix);
        mem_free(e->passage_prefix);
        mem_free(e->cache);
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
static void embed_bert_name(struct bert_embedder *e, const char *folder) {
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
                   (unsigned)e->sign); /* fits */
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
    e->sign = embed_bert_sign(e, crc);
    embed_bert_name(e, folder);
    return U2I_OK;
}

static const struct embedder_ops BERT_OPS = {
    .embed = embed_bert_embed, .about = embed_bert_about, .close = embed_bert_close};

/* "" is as good as NULL. */
static int embed_bert_copy(char **out, const char *text, u2i_error_t *err) {
    if (text == NULL || text[0] == '\0') {
        return U2I_OK;
    }
    *out = str_dup(text, strlen(text));
    return *out == NULL ? error_oom(err) : U2I_OK;
}

int embed_bert_open(const char *folder, const struct embed_bert_options *opt, struct embedder **out,
                    u2i_error_t *err) {
    *out = NULL;
    struct bert_embedder *const e = mem_zalloc(sizeof *e);
    if (e == NULL) {
        return error_oom(err);
    }
    e->base.ops = &BERT_OPS;
    e->wish = opt->precision;
    e->windows = opt->windows;
    (void)pthread_mutex_init(&e->packing, NULL); /* the default kind: nothing can fail */
    int rc = embed_bert_copy(&e->query_prefix, opt->query_prefix, err);
    if (rc == U2I_OK) {
        rc = embed_bert_copy(&e->passage_prefix, opt->passage_prefix, err);
    }
    if (rc == U2I_OK) {
        rc = embed_bert_copy(&e->cache, opt->cache, err);
    }
    if (rc == U2I_OK) {
        rc = embed_bert_load(e, folder, err);
    }
    if (rc != U2I_OK) {
        embed_bert_close(&e->base);
        return rc;
    }
    *out = &e->base;
    return U2I_OK;
}
