/* The weights of a BERT model in one image: a header, then every array at a multiple of 64 bytes, in the order in which
 * the model uses them. One walk over the model gives each array its place; with a model's file it also reads and packs
 * (vec/gemm.h), without one it only finds again what is there. So an image that was written to a file is used as
 * it lies there, and processes share its pages.
 *
 * An image suits one instruction set, one precision and one model, which its header says, with a checksum of all of
 * it. The pages of the model's file are given back as soon as they are packed: a model is never in memory twice. */
#include "embed/bert_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/filemap.h"
#include "vec/vec.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BERT_MAGIC      "u2ibert1"
#define BERT_PART       ".part"    /* what a file ends with while it is written */
#define BERT_WRITE_MOST (1u << 30) /* bytes of one write() */

struct bert_header {
    char magic[8];
    uint32_t crc; /* of all that follows */
    uint32_t precision;
    char isa[16]; /* whose layout it is */
    uint32_t sign, unused;
    double parity;
    uint64_t bytes; /* of the image, with this */
};

/* ---- The walk --------------------------------------------------------------------------------- */

struct bert_walk {
    struct bert *b;
    size_t at;                      /* in the image; where there is none yet it is only counted */
    const struct safetensors *file; /* NULL: the image is filled */
    float *matrix;                  /* room for the largest one */
    u2i_error_t *err;
};

/* The place of the next array; NULL while there is no image. */
static void *bert_place(struct bert_walk *w, size_t bytes) {
    char *const place = w->b->image == NULL ? NULL : w->b->image + w->at;
    w->at += bert_round(bytes);
    return place;
}

/* All of a tensor; the name is one of a layer if it is not below 0. */
static int bert_read(const struct bert_walk *w, int layer, const char *name, size_t n, float *out) {
    char whole[BERT_TENSOR_NAME_MAX];
    struct safetensors_tensor t;
    const int prefix =
        layer < 0 ? 0 : snprintf(whole, sizeof whole, BERT_TENSOR_LAYER, (unsigned)layer);
    (void)snprintf(whole + prefix, sizeof whole - (size_t)prefix, "%s", name); /* fits */
    if (!bert_config_tensor(w->file, whole, &t)) {
        return error_set(w->err, U2I_EEMBED, "%s has no tensor %s", safetensors_path(w->file),
                         whole);
    }
    U2I_TRY(safetensors_floats(&t, 0, n, out, w->err));
    safetensors_drop(&t);
    return U2I_OK;
}

static int bert_floats(struct bert_walk *w, int layer, const char *name, size_t n,
                       const float **out) {
    float *const at = bert_place(w, n * sizeof *at);
    *out = at;
    return w->file == NULL ? U2I_OK : bert_read(w, layer, name, n, at);
}

static int bert_walk_norm(struct bert_walk *w, int layer, const char *name, struct bert_norm *out) {
    char part[BERT_TENSOR_NAME_MAX];
    (void)snprintf(part, sizeof part, "%s.weight", name); /* fits */
    U2I_TRY(bert_floats(w, layer, part, w->b->config.hidden, &out->gamma));
    (void)snprintf(part, sizeof part, "%s.bias", name); /* fits */
    return bert_floats(w, layer, part, w->b->config.hidden, &out->beta);
}

/* The place of the packed weights of w->matrix [n][k], which are put there if there is a file. */
static void bert_pack(struct bert_walk *w, uint32_t n, uint32_t k, const float *bias,
                      struct gemm_weights *out) {
    const struct bert *const b = w->b;
    const bool int8 = b->precision == BERT_INT8;
    void *const at =
        bert_place(w, int8 ? gemm_i8_bytes(b->ops, n, k) : gemm_f32_bytes(b->ops, n, k));
    if (w->file != NULL) {
        (int8 ? gemm_i8_pack : gemm_f32_pack)(b->ops, w->matrix, k, n, k, at);
    }
    *out = (struct gemm_weights){b->ops, n, k, at, bias};
}

static int bert_walk_linear(struct bert_walk *w, int layer, const char *name,
                            struct gemm_weights *out) {
    char part[BERT_TENSOR_NAME_MAX];
    const uint32_t n = out->n;
    const uint32_t k = out->k;
    const float *bias;
    (void)snprintf(part, sizeof part, "%s.bias", name); /* fits */
    U2I_TRY(bert_floats(w, layer, part, n, &bias));
    (void)snprintf(part, sizeof part, "%s.weight", name); /* fits */
    if (w->file != NULL) {
        U2I_TRY(bert_read(w, layer, part, (size_t)n * k, w->matrix));
    }
    bert_pack(w, n, k, bias, out);
    return U2I_OK;
}

/* Queries, keys and values in one matrix; what scores are divided by is divided off the queries. */
static int bert_read_qkv(const struct bert_walk *w, int layer, float *bias) {
    static const char *const parts[] = {"query", "key", "value"};
    const uint32_t hidden = w->b->config.hidden;
    const float scale = 1 / sqrtf((float)(hidden / w->b->config.heads));
    for (size_t i = 0; i < 3; i++) {
        char name[BERT_TENSOR_NAME_MAX];
        float *const rows = w->matrix + i * hidden * hidden;
        (void)snprintf(name, sizeof name, "attention.self.%s.weight", parts[i]); /* fits */
        U2I_TRY(bert_read(w, layer, name, (size_t)hidden * hidden, rows));
        (void)snprintf(name, sizeof name, "attention.self.%s.bias", parts[i]); /* fits */
        U2I_TRY(bert_read(w, layer, name, hidden, bias + i * hidden));
    }
    vec_get()->scale(w->matrix, scale, (size_t)hidden * hidden);
    vec_get()->scale(bias, scale, hidden);
    return U2I_OK;
}

static int bert_walk_layer(struct bert_walk *w, int at) {
    const uint32_t hidden = w->b->config.hidden;
    const uint32_t wide = w->b->config.intermediate;
    struct bert_layer *const l = &w->b->layers[at];
    float *const bias = bert_place(w, 3 * hidden * sizeof *bias);
    if (w->file != NULL) {
        U2I_TRY(bert_read_qkv(w, at, bias));
    }
    bert_pack(w, 3 * hidden, hidden, bias, &l->qkv);
    l->mix = (struct gemm_weights){.n = hidden, .k = hidden};
    l->up = (struct gemm_weights){.n = wide, .k = hidden};
    l->down = (struct gemm_weights){.n = hidden, .k = wide};
    U2I_TRY(bert_walk_linear(w, at, "attention.output.dense", &l->mix));
    U2I_TRY(bert_walk_norm(w, at, "attention.output.LayerNorm", &l->after_attention));
    U2I_TRY(bert_walk_linear(w, at, "intermediate.dense", &l->up));
    U2I_TRY(bert_walk_linear(w, at, "output.dense", &l->down));
    return bert_walk_norm(w, at, "output.LayerNorm", &l->after_all);
}

static int bert_read_positions(const struct bert_walk *w, float *positions) {
    const struct bert_config *const c = &w->b->config;
    const size_t hidden = c->hidden;
    float *const type = w->matrix;
    U2I_TRY(bert_read(w, -1, "embeddings.position_embeddings.weight", c->positions * hidden,
                      positions));
    U2I_TRY(bert_read(w, -1, "embeddings.token_type_embeddings.weight", c->types * hidden, type));
    for (size_t p = 0; p < c->positions; p++) { /* a text alone is all of the first type */
        vec_get()->axpy(1, type, positions + p * hidden, hidden);
    }
    return U2I_OK;
}

static int bert_walk_all(struct bert_walk *w) {
    struct bert *const b = w->b;
    w->at = bert_round(sizeof(struct bert_header));
    float *const positions =
        bert_place(w, (size_t)b->config.positions * b->config.hidden * sizeof *positions);
    b->positions = positions;
    if (w->file != NULL) {
        U2I_TRY(bert_read_positions(w, positions));
    }
    U2I_TRY(bert_walk_norm(w, -1, "embeddings.LayerNorm", &b->first));
    for (uint32_t i = 0; i < b->config.layers; i++) {
        U2I_TRY(bert_walk_layer(w, (int)i));
    }
    return U2I_OK;
}

/* ---- Making ----------------------------------------------------------------------------------- */

bool bert_int8_pays(void) {
    return gemm_get()->i8_pays;
}

/* A model without an image, whose bytes are known. */
static int bert_begin_model(const struct bert_model *m, enum bert_precision precision,
                            struct bert **out, u2i_error_t *err) {
    struct bert *const b = mem_zalloc(sizeof *b);
    struct bert_walk counting = {.b = b, .err = err};
    *out = b;
    if (b == NULL) {
        return error_oom(err);
    }
    b->config = *m->config;
    b->precision = precision;
    b->ops = gemm_get();
    b->layers = alloc_array(b->config.layers, sizeof *b->layers);
    if (b->layers == NULL) {
        return error_oom(err);
    }
    if (!bert_config_tensor(m->file, "embeddings.word_embeddings.weight", &b->words)) {
        return error_set(err, U2I_EEMBED, "%s has no table of words", safetensors_path(m->file));
    }
    U2I_TRY(bert_walk_all(&counting));
    b->image_bytes = counting.at;
    return U2I_OK;
}

static size_t bert_largest(const struct bert_config *c) {
    const size_t square = 3 * (size_t)c->hidden * c->hidden;
    const size_t wide = (size_t)c->hidden * c->intermediate;
    const size_t types = (size_t)c->types * c->hidden;
    const size_t larger = square > wide ? square : wide;
    return larger > types ? larger : types;
}

static int bert_fill(struct bert *b, const struct bert_model *m, u2i_error_t *err) {
    struct bert_walk w = {.b = b, .file = m->file, .err = err};
    b->own = pages_alloc(b->image_bytes); /* zeros: what is between arrays is saved too */
    w.matrix = alloc_array(bert_largest(&b->config), sizeof *w.matrix);
    if (b->own == NULL || w.matrix == NULL) {
        mem_free(w.matrix);
        return error_oom(err);
    }
    b->image = b->own;
    struct bert_header h = {.precision = b->precision, .sign = m->sign, .bytes = b->image_bytes};
    memcpy(h.magic, BERT_MAGIC, sizeof h.magic);
    (void)snprintf(h.isa, sizeof h.isa, "%s", b->ops->name); /* fits */
    memcpy(b->image, &h, sizeof h);
    const int rc = bert_walk_all(&w);
    mem_free(w.matrix);
    return rc;
}

int bert_new(const struct bert_model *m, enum bert_precision precision, struct bert **out,
             u2i_error_t *err) {
    int rc = bert_begin_model(m, precision, out, err);
    if (rc == U2I_OK) {
        rc = bert_fill(*out, m, err);
    }
    if (rc != U2I_OK) {
        bert_free(*out);
        *out = NULL;
    }
    return rc;
}

void bert_free(struct bert *b) {
    if (b == NULL) {
        return;
    }
    if (b->own == NULL) {
        filemap_free(b->image, b->image_bytes);
    }
    pages_free(b->own, b->image_bytes);
    mem_free(b->layers);
    mem_free(b);
}

enum bert_precision bert_precision_of(const struct bert *b) {
    return b->precision;
}

size_t bert_bytes(const struct bert *b) {
    return sizeof *b + b->image_bytes + b->config.layers * sizeof *b->layers;
}

/* ---- Files ------------------------------------------------------------------------------------ */

/* Of the image, but with this header. */
static uint32_t bert_image_crc(const struct bert *b, const struct bert_header *h) {
    const size_t from = offsetof(struct bert_header, crc) + sizeof(uint32_t);
    const uint32_t crc = vec_get()->crc32c(0, (const char *)h + from, sizeof *h - from);
    return vec_get()->crc32c(crc, b->image + sizeof *h, b->image_bytes - sizeof *h);
}

/* Whether the mapped image is what the model wants, to the last byte. */
static bool bert_image_is(struct bert *b, uint32_t sign) {
    struct bert_header h;
    memcpy(&h, b->image, sizeof h);
    b->parity = h.parity;
    return memcmp(h.magic, BERT_MAGIC, sizeof h.magic) == 0 && h.precision == b->precision &&
           strncmp(h.isa, b->ops->name, sizeof h.isa) == 0 && h.sign == sign &&
           h.bytes == b->image_bytes && h.parity >= 0 && h.parity <= 1.001 &&
           h.crc == bert_image_crc(b, &h);
}

static int bert_map(struct bert *b, const char *path, uint32_t sign, u2i_error_t *err) {
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        (uint64_t)st.st_size == b->image_bytes) {
        b->image = filemap_new_read_only(fd, b->image_bytes);
    }
    if (fd >= 0) {
        (void)close(fd); /* only read from */
    }
    return b->image != NULL && bert_image_is(b, sign)
               ? U2I_OK
               : error_set(err, U2I_ENOTFOUND, "%s has no packed weights of this model", path);
}

int bert_open(const char *path, const struct bert_model *m, enum bert_precision precision,
              struct bert **out, u2i_error_t *err) {
    int rc = bert_begin_model(m, precision, out, err);
    if (rc == U2I_OK) {
        rc = bert_map(*out, path, m->sign, err);
    }
    if (rc == U2I_OK) {
        struct bert_walk finding = {.b = *out, .err = err};
        rc = bert_walk_all(&finding);
    }
    if (rc != U2I_OK) {
        bert_free(*out);
        *out = NULL;
    }
    return rc;
}

static bool bert_write(int fd, const char *p, size_t n) {
    while (n > 0) {
        const ssize_t wrote = write(fd, p, n < BERT_WRITE_MOST ? n : BERT_WRITE_MOST);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return false;
        }
        p += wrote;
        n -= (size_t)wrote;
    }
    return true;
}

/* Into a file beside it that is locked meanwhile, and left behind only by a crash: the next one writes over it. */
static int bert_save_part(const struct bert *b, const char *part, const char *path,
                          u2i_error_t *err) {
    struct bert_header h;
    memcpy(&h, b->image, sizeof h);
    h.parity = b->parity;
    h.crc = bert_image_crc(b, &h);
    const int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        return error_set(err, U2I_EIO, "cannot write %s: %s", part, strerror(errno));
    }
    int rc = U2I_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return error_set(err, U2I_EBUSY, "%s is being written", part);
    }
    if (ftruncate(fd, 0) != 0 || !bert_write(fd, (const char *)&h, sizeof h) ||
        !bert_write(fd, b->image + sizeof h, b->image_bytes - sizeof h) ||
        rename(part, path) != 0) {
        rc = error_set(err, U2I_EIO, "cannot write %s: %s", part, strerror(errno));
        (void)unlink(part);
    }
    (void)close(fd); /* what a late error damages is noticed */
    return rc;
}

int bert_save(const struct bert *b, const char *path, u2i_error_t *err) {
    const size_t bytes = strlen(path) + sizeof BERT_PART;
    char *const part = mem_alloc(bytes);
    if (part == NULL) {
        return error_oom(err);
    }
    (void)snprintf(part, bytes, "%s" BERT_PART, path); /* fits */
    const int rc = bert_save_part(b, part, path, err);
    mem_free(part);
    return rc;
}

double bert_parity(const struct bert *b) {
    return b->parity;
}

void bert_set_parity(struct bert *b, double parity) {
    b->parity = parity;
}
