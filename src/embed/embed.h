/* Text to vector. An embedder is a table of functions, so that a new one only adds files. Embedding
 * runs in the caller's thread, any number at once; learn and load need exclusive use. */
#ifndef U2I_EMBED_EMBED_H
#define U2I_EMBED_EMBED_H

#include "base/buf.h"
#include "u2i.h"
#include <stdbool.h>

/* The parts of a text; any may be NULL. A query has only `text`; some models embed it in another way than what is to
 * be found. */
struct embed_text {
    const char *title, *category, *text;
    bool query;
};

/* How an embedder embeds, for people. */
struct embed_about {
    char precision[8]; /* "f32", "int8"; "" where there is no choice, or none is made yet */
    double
        parity; /* mean cosine of int8 vectors with those in f32, of built-in texts; 0 = not measured */
};

struct embedder;
struct embedder_ops {
    /* One vector of unit length per text into out (n x dim); a text with nothing in it to embed gets
     * all zeros. U2I_EEMBED (not UTF-8; err->offset is the index of the text), U2I_ENOMEM. */
    int (*embed)(const struct embedder *e, const struct embed_text *texts, size_t n, float *out,
                 u2i_error_t *err);
    /* Learning from a catalogue, NULL where there is nothing to learn: learn_begin forgets what is
     * pending, learn_add counts one text, learn_end puts the result in use. */
    int (*learn_begin)(struct embedder *e, u2i_error_t *err);
    int (*learn_add)(struct embedder *e, const struct embed_text *text, u2i_error_t *err);
    void (*learn_end)(struct embedder *e);
    /* What was learnt, as bytes for the store, and back. U2I_ECORRUPT for bytes that it did not write. */
    int (*save)(const struct embedder *e, struct buf *out, u2i_error_t *err);
    int (*load)(struct embedder *e, const void *p, size_t n, u2i_error_t *err);
    void (*about)(const struct embedder *e, struct embed_about *out); /* NULL: nothing to say */
    void (*close)(struct embedder *e);
};
struct embedder { /* the first member of each embedder's own struct */
    const struct embedder_ops *ops;
    char name[64]; /* with the version of the method: vectors of different names don't mix */
    uint32_t dim;
};

/* Words and triples of letters, hashed with signs into `dim` dimensions (Weinberger et al. 2009),
 * weighted by inverse document frequency, less the catalogue's mean; any language, no download
 * (docs/embedding.md). U2I_EINVAL (dim not within 1..U2I_DIM_MAX), U2I_ENOMEM. */
#define EMBED_HASH_DIM 512
int embed_hash_open(uint32_t dim, struct embedder **out, u2i_error_t *err);

/* A BERT model in a folder of Hugging Face's layout (bge, MiniLM, e5, gte): config.json, vocab.txt or
 * tokenizer.json, model.safetensors or pytorch_model.bin (docs/embedding.md). The weights are
 * packed when they are first needed; until close the folder's files stay open, and must not be
 * cut short. U2I_EEMBED (not such a model; the message says what and where), U2I_ENOTFOUND, U2I_EIO, U2I_ENOMEM. */
enum embed_precision {
    EMBED_AUTO =
        0, /* int8 where this machine is faster with it, and vectors stay nearly the same: embed_bert.c */
    EMBED_F32 = 1,
    EMBED_INT8 = 2
};
struct embed_bert_options {
    enum embed_precision precision;
    const char *query_prefix, *passage_prefix; /* put before each text of its kind; NULL: nothing */
    bool
        windows; /* a text longer than the model takes is embedded in pieces, whose vectors are averaged; else it is
                     cut */
    const char
        *cache; /* folder that keeps the packed weights, made when it is needed; NULL: none. Must be
                          trusted like the store beside it */
};
int embed_bert_open(const char *folder, const struct embed_bert_options *opt, struct embedder **out,
                    u2i_error_t *err);

/* A model behind an OpenAI-compatible endpoint (POST BASE/embeddings), asked with several connections at once; texts that
 * were asked for lately are answered from memory (docs/embedding.md). Opening asks nothing, so it needs to know `dim`; its name
 * is "MODEL@HOST-DIM". Embedding can fail with U2I_EREMOTE (no connection, a refusal, an answer that makes no
 * sense; all say who and what), U2I_ETIMEOUT; what was embedded until then is kept in memory, so trying again
 * costs only the rest. U2I_EINVAL (what is wrong with the options), U2I_ENOMEM. */
#define EMBED_REMOTE_TEXTS      128u
#define EMBED_REMOTE_BYTES      (256u << 10)
#define EMBED_REMOTE_TIMEOUT_MS 60000u
struct embed_remote_options {
    const char *
        url; /* "https://api.example.com/v1#text-embedding-3-small": the base, and the model's name there */
    const char *key; /* NULL: none; it is copied, and wiped at the end */
    uint32_t dim;
    bool send_dimensions;                      /* `dim` is asked for, not only expected */
    const char *query_prefix, *passage_prefix; /* put before each text of its kind; NULL: nothing */
    uint32_t batch_texts,
        batch_bytes;     /* of one request; 0 = EMBED_REMOTE_TEXTS, EMBED_REMOTE_BYTES */
    uint32_t timeout_ms; /* of one call, tries and waits together; 0 = EMBED_REMOTE_TIMEOUT_MS */
};
int embed_remote_open(const struct embed_remote_options *opt, struct embedder **out,
                      u2i_error_t *err);
/* How many dimensions the model's vectors have, found out with one text. Errors of opening and embedding. */
int embed_remote_dim(const struct embed_remote_options *opt, uint32_t *dim, u2i_error_t *err);
/* The key for models, from the environment: U2I_MODEL_KEY, else the file that U2I_MODEL_KEY_FILE names, without white space around it.
 * NULL where neither is set; else for embed_remote_key_free(). U2I_EINVAL (not a key), U2I_ENOTFOUND, U2I_EIO, U2I_ENOMEM. */
int embed_remote_key(char **out, u2i_error_t *err);
void embed_remote_key_free(char *key); /* wipes it first; NULL is a no-op */

#endif
