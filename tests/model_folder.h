/* Makes model folders in the layout of Hugging Face, good ones and others, in a temporary place. Tensors
 * are gathered in a struct forge, which writes them as a safetensors file; the header's text may be
 * anything, too. The tiny BERT has every tensor of a real one, filled with small numbers. */
#ifndef U2I_TESTS_MODEL_FOLDER_H
#define U2I_TESTS_MODEL_FOLDER_H

#include "base/buf.h"
#include "embed/bert_config.h"
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_PAGE 4096

struct folder {
    char path[64];
};

struct forge {
    struct buf header, data;
};

static inline void folder_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "the test itself has failed: %s\n", what);
        abort();
    }
}

static inline struct folder folder_make(void) {
    struct folder f = {"/tmp/u2i-model-XXXXXX"};
    folder_require(mkdtemp(f.path) != NULL, "mkdtemp");
    return f;
}

static inline int folder_remove_one(const char *path, const struct stat *st, int kind,
                                    struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void folder_remove(const struct folder *f) {
    folder_require(nftw(f->path, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0, "remove");
}

/* folder/name; valid until the next call. */
static inline const char *folder_path(const struct folder *f, const char *name) {
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}

static inline void folder_write(const struct folder *f, const char *name, const void *p, size_t n) {
    FILE *const file = fopen(folder_path(f, name), "wb");
    folder_require(file != NULL && fwrite(p, 1, n, file) == n && fclose(file) == 0, name);
}

static inline void folder_put(const struct folder *f, const char *name, const char *text) {
    folder_write(f, name, text, strlen(text));
}

static inline void folder_drop(const struct folder *f, const char *name) {
    folder_require(unlink(folder_path(f, name)) == 0, name);
}

/* The bytes of a safetensors file with that header, whatever it says; for buf_free(). */
static inline struct buf forge_bytes(const char *header, size_t header_n, const void *data,
                                     size_t n) {
    struct buf b = {0};
    for (unsigned i = 0; i < 8; i++) {
        buf_putc(&b, (char)(unsigned char)((uint64_t)header_n >> (8 * i)));
    }
    buf_put(&b, header, header_n);
    buf_put(&b, data, n);
    folder_require(!b.failed, "memory");
    return b;
}

/* Adds a tensor; dims_n = 0 is a single value. */
static inline void forge_add(struct forge *f, const char *name, const char *dtype,
                             const uint64_t *dims, size_t dims_n) {
    const size_t size = strcmp(dtype, "F32") == 0 ? 4 : strcmp(dtype, "I64") == 0 ? 8 : 2;
    uint64_t values = 1;
    buf_printf(&f->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", f->header.len > 0 ? "," : "{",
               name, dtype);
    for (size_t i = 0; i < dims_n; i++) {
        buf_printf(&f->header, "%s%" PRIu64, i > 0 ? "," : "", dims[i]);
        values *= dims[i];
    }
    const size_t begin = f->data.len;
    for (uint64_t i = 0; i < values * size; i++) { /* finite in every type */
        buf_putc(&f->data, (char)(i % size == size - 1 ? 0x3c : (int)(i % 97)));
    }
    buf_printf(&f->header, "],\"data_offsets\":[%zu,%zu]}", begin, f->data.len);
}

/* Closes the header, and pads it so that the file ends where a page ends: whoever reads on crashes. */
static inline struct buf forge_finish(struct forge *f) {
    buf_puts(&f->header, f->header.len > 0 ? "}" : "{}");
    while ((8 + f->header.len + f->data.len) % FOLDER_PAGE != 0) {
        buf_putc(&f->header, ' ');
    }
    const struct buf b = forge_bytes(f->header.data, f->header.len, f->data.data, f->data.len);
    buf_free(&f->header);
    buf_free(&f->data);
    return b;
}

static inline void forge_save(struct forge *f, const struct folder *folder, const char *name) {
    struct buf b = forge_finish(f);
    folder_write(folder, name, b.data, b.len);
    buf_free(&b);
}

/* How the tiny BERT differs from a good one. */
struct tiny {
    const char *prefix; /* of all names; NULL = none */
    const char *dtype;  /* NULL = F32 */
    bool older;         /* gamma and beta */
    const char *skip;   /* the name of a tensor that is not there */
    const char *odd;    /* of one with a shape or type of its own: */
    const char *odd_dtype;
    uint64_t odd_dims[3];
    size_t odd_dims_n;
};

enum {
    TINY_HIDDEN = 8,
    TINY_LAYERS = 2,
    TINY_HEADS = 2,
    TINY_INTERMEDIATE = 16,
    TINY_VOCAB = 11,
    TINY_POSITIONS = 12,
    TINY_TYPES = 2
};

static inline void tiny_add(struct forge *f, const struct tiny *how, const char *name,
                            uint64_t rows, uint64_t columns) {
    char full[128];
    const uint64_t dims[2] = {rows, columns};
    const bool odd = how->odd != NULL && strcmp(how->odd, name) == 0;
    const char *const dtype = how->dtype != NULL ? how->dtype : "F32";
    if (how->skip != NULL && strcmp(how->skip, name) == 0) {
        return;
    }
    (void)snprintf(full, sizeof full, "%s%s", how->prefix != NULL ? how->prefix : "", name);
    char *const norm = strstr(full, "LayerNorm.");
    if (how->older && norm != NULL) {
        const bool weight = strcmp(norm, "LayerNorm.weight") == 0;
        (void)strcpy(norm, weight ? "LayerNorm.gamma" : "LayerNorm.beta"); /* both are shorter */
    }
    if (odd) {
        forge_add(f, full, how->odd_dtype != NULL ? how->odd_dtype : dtype, how->odd_dims,
                  how->odd_dims_n);
    } else {
        forge_add(f, full, dtype, dims, columns == 0 ? 1 : 2);
    }
}

/* A matrix and its bias, as torch's Linear has them. */
static inline void tiny_add_linear(struct forge *f, const struct tiny *how, const char *name,
                                   uint64_t out, uint64_t in) {
    char full[128];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    tiny_add(f, how, full, out, in);
    (void)snprintf(full, sizeof full, "%s.bias", name);
    tiny_add(f, how, full, out, 0);
}

static inline void tiny_add_layer(struct forge *f, const struct tiny *how, unsigned layer) {
    static const struct {
        const char *name;
        uint64_t out, in;
    } parts[] = {
        {"attention.self.query", TINY_HIDDEN, TINY_HIDDEN},
        {"attention.self.key", TINY_HIDDEN, TINY_HIDDEN},
        {"attention.self.value", TINY_HIDDEN, TINY_HIDDEN},
        {"attention.output.dense", TINY_HIDDEN, TINY_HIDDEN},
        {"attention.output.LayerNorm", TINY_HIDDEN, 0},
        {"intermediate.dense", TINY_INTERMEDIATE, TINY_HIDDEN},
        {"output.dense", TINY_HIDDEN, TINY_INTERMEDIATE},
        {"output.LayerNorm", TINY_HIDDEN, 0},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "encoder.layer.%u.%s", layer, parts[i].name);
        tiny_add_linear(f, how, name, parts[i].out, parts[i].in);
    }
}

static inline void tiny_add_all(struct forge *f, const struct tiny *how) {
    static const uint64_t positions[2] = {1, TINY_POSITIONS};
    forge_add(f, "embeddings.position_ids", "I64", positions, 2); /* nobody asks for it */
    tiny_add(f, how, "embeddings.word_embeddings.weight", TINY_VOCAB, TINY_HIDDEN);
    tiny_add(f, how, "embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_HIDDEN);
    tiny_add(f, how, "embeddings.token_type_embeddings.weight", TINY_TYPES, TINY_HIDDEN);
    tiny_add_linear(f, how, "embeddings.LayerNorm", TINY_HIDDEN, 0);
    for (unsigned layer = 0; layer < TINY_LAYERS; layer++) {
        tiny_add_layer(f, how, layer);
    }
}

#define TINY_CONFIG                                                                                \
    "{\"model_type\": \"bert\", \"hidden_act\": \"gelu\", \"hidden_size\": 8, "                    \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 16, "            \
    "\"vocab_size\": 11, \"max_position_embeddings\": 12, \"type_vocab_size\": 2, "                \
    "\"layer_norm_eps\": 1e-12, \"hidden_dropout_prob\": 0.1}"

/* model.safetensors of the folder. */
static inline void tiny_save(const struct folder *folder, const struct tiny *how) {
    struct forge f = {0};
    tiny_add_all(&f, how);
    forge_save(&f, folder, "model.safetensors");
}

/* A folder with a good tiny BERT: mean pooling, unit length, 10 tokens. */
static inline struct folder tiny_make(void) {
    static const struct tiny good;
    const struct folder f = folder_make();
    folder_require(mkdir(folder_path(&f, "1_Pooling"), 0700) == 0, "mkdir");
    folder_put(&f, "config.json", TINY_CONFIG);
    folder_put(
        &f, "modules.json",
        "[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},"
        " {\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"},"
        " {\"path\": \"2_Normalize\", \"type\": \"sentence_transformers.models.Normalize\"}]");
    folder_put(&f, "1_Pooling/config.json",
               "{\"word_embedding_dimension\": 8, \"pooling_mode_cls_token\": false,"
               " \"pooling_mode_mean_tokens\": true, \"pooling_mode_max_tokens\": false}");
    folder_put(&f, "sentence_bert_config.json",
               "{\"max_seq_length\": 10, \"do_lower_case\": false}");
    folder_put(&f, "tokenizer_config.json",
               "{\"do_lower_case\": true, \"strip_accents\": null, \"tokenizer_class\": "
               "\"BertTokenizer\", \"tokenize_chinese_chars\": true}");
    tiny_save(&f, &good);
    return f;
}

#endif
