/* The hashed embedder: text to a dense unit vector without a model.
 *
 * A text's fields become sparse features (embed_features.c). A feature weighs sqrt(tf) x idf; a field's
 * features are scaled to one length, so that a long description does not drown the title, times the
 * field's share. Each feature is added with pseudo-random signs into SPREAD dimensions that its hash
 * names ("feature hashing"; Weinberger, Dasgupta, Langford, Smola & Attenberg 2009): inner products of
 * such vectors are unbiased estimates of those of the sparse ones. Then the catalogue's mean vector is
 * subtracted, for queries too: what all items share says nothing of taste. All parts share one
 * hash space, so that a query finds words of the title and of the category alike.
 *
 * Learning counts in how many texts each feature occurs and keeps a sample of the texts themselves:
 * those SAMPLE whose hashes are smallest, which is a random choice that doesn't depend on their order.
 * At the end their mean is taken with the new weights. What was learnt is thus a function of the set of
 * texts alone, and one pass over the catalogue is enough. In a small catalogue a mean is mostly the
 * item itself, so it is shrunk towards 0 by N / (N + MEAN_PRIOR).
 *
 * Sums run in double and in the order of the text, so a text's vector is the same on every machine.
 * docs/embedding.md has the measurements behind the constants; a change of any needs a new name. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "embed/embed.h"
#include "embed/embed_features.h"
#include "embed/embed_learnt.h"
#include <math.h>
#include <stdio.h>

enum { FIELDS = 3, SPREAD = 3 };
static const char *const HASH_FIELD_NAMES[FIELDS] = {"title", "category", "text"};
static const double HASH_FIELD_SHARES[FIELDS] = {1.0, 0.5, 0.7};

#define SAMPLE       4096
#define SAMPLE_BYTES 2048 /* of one field of a sampled text; the rest is cut off */
#define MEAN_PRIOR   20.0

/* A sampled text: its fields one after the other, each with its NUL; "" for a missing one. */
struct hashed_sample {
    uint64_t key;
    char *fields;
};

/* What is being learnt, not yet in use. All memory for the end is there from the beginning, since
 * learn_end() cannot fail. */
struct hashed_learning {
    uint32_t *counts; /* texts by bucket; NULL = learn_begin() has not been called */
    uint64_t texts;
    struct hashed_sample *heap; /* the SAMPLE smallest keys, the largest of them first */
    size_t heap_n;
    struct embed_learnt learnt; /* will take the place of the one in use */
    double *mean;               /* dim */
    float *vector;              /* dim */
};

struct hashed_scratch {
    struct embed_features features;
    double *sums; /* dim */
};

struct hashed_embedder {
    struct embedder base;
    struct embed_learnt learnt;
    struct hashed_learning learning;
    struct hashed_scratch scratch; /* of learning */
};

static int hashed_scratch_init(struct hashed_scratch *s, uint32_t dim, u2i_error_t *err) {
    *s = (struct hashed_scratch){.sums = alloc_array(dim, sizeof *s->sums)};
    return s->sums == NULL ? error_oom(err) : U2I_OK;
}

static void hashed_scratch_free(struct hashed_scratch *s) {
    embed_features_free(&s->features);
    mem_free(s->sums);
    s->sums = NULL;
}

/* ---- One text --------------------------------------------------------------------------------- */

static int hashed_add_field(struct embed_features *f, const char *s, int field, u2i_error_t *err) {
    const size_t n = strlen(s);
    const size_t read = embed_features_add(f, s, n);
    if (f->failed) {
        return error_oom(err);
    }
    return read == n ? U2I_OK
                     : error_set(err, U2I_EEMBED, "%s is not UTF-8 at byte %zu",
                                 HASH_FIELD_NAMES[field], read);
}

/* Adds a field's features to the sums, all together with the length `share`. */
static void hashed_spread(struct hashed_scratch *s, const struct embed_learnt *l, uint32_t dim,
                          double share) {
    struct embed_features *f = &s->features;
    double squares = 0;
    for (size_t i = 0; i < f->n; i++) {
        const double idf = (double)learnt_idf(l, f->list[i].hash);
        squares += (double)f->list[i].sum * idf * idf;
    }
    const double scale = squares > 0 ? share / sqrt(squares) : 0;
    for (size_t i = 0; i < f->n; i++) {
        const double idf = (double)learnt_idf(l, f->list[i].hash);
        const double w = sqrt((double)f->list[i].sum) * idf * scale;
        /* Each turn takes 20 bits for the dimension and one for the sign. */
        uint64_t bits = hash_mix(f->list[i].hash);
        for (int k = 0; k < SPREAD; k++, bits >>= 21) {
            const size_t at = ((bits & 0xfffff) * dim) >> 20;
            s->sums[at] += (bits >> 20 & 1) != 0 ? w : -w;
        }
    }
}

/* Writes the sums at unit length, less the mean if there is one; zeros if they are all 0. */
static void hashed_finish(double *sums, const float *mean, uint32_t dim, float *out) {
    for (int pass = mean == NULL ? 1 : 0; pass < 2; pass++) {
        double squares = 0;
        for (uint32_t i = 0; i < dim; i++) {
            squares += sums[i] * sums[i];
        }
        const double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (uint32_t i = 0; i < dim; i++) {
            const double x = sums[i] * scale;
            sums[i] = pass == 0 && squares > 0 ? x - (double)mean[i] : x;
        }
    }
    for (uint32_t i = 0; i < dim; i++) {
        out[i] = (float)sums[i];
    }
}

static int hashed_embed_one(const struct hashed_embedder *e, struct hashed_scratch *s,
                            const char *const fields[FIELDS], const float *mean, float *out,
                            u2i_error_t *err) {
    const uint32_t dim = e->base.dim;
    memset(s->sums, 0, dim * sizeof *s->sums);
    for (int i = 0; i < FIELDS; i++) {
        if (fields[i] != NULL) {
            embed_features_clear(&s->features);
            U2I_TRY(hashed_add_field(&s->features, fields[i], i, err));
            hashed_spread(s, &e->learnt, dim, HASH_FIELD_SHARES[i]);
        }
    }
    hashed_finish(s->sums, mean, dim, out);
    return U2I_OK;
}

static int hashed_embed(const struct embedder *base, const struct embed_text *texts, size_t n,
                        float *out, u2i_error_t *err) {
    const struct hashed_embedder *e = (const struct hashed_embedder *)base;
    struct hashed_scratch s;
    int rc = hashed_scratch_init(&s, base->dim, err);
    for (size_t i = 0; rc == U2I_OK && i < n; i++) {
        const char *const fields[FIELDS] = {texts[i].title, texts[i].category, texts[i].text};
        rc = hashed_embed_one(e, &s, fields, e->learnt.mean, out + i * base->dim, err);
        if (rc != U2I_OK && err != NULL) {
            err->offset = (int32_t)i;
        }
    }
    hashed_scratch_free(&s);
    return rc;
}

/* ---- Learning --------------------------------------------------------------------------------- */

static void hashed_forget(struct hashed_embedder *e) {
    struct hashed_learning *l = &e->learning;
    for (size_t i = 0; i < l->heap_n; i++) {
        mem_free(l->heap[i].fields);
    }
    learnt_free(&l->learnt);
    mem_free(l->vector);
    mem_free(l->mean);
    mem_free(l->heap);
    mem_free(l->counts);
    *l = (struct hashed_learning){0};
    hashed_scratch_free(&e->scratch);
}

static int hashed_learn_begin(struct embedder *base, u2i_error_t *err) {
    struct hashed_embedder *e = (struct hashed_embedder *)base;
    struct hashed_learning *l = &e->learning;
    hashed_forget(e);
    int rc = hashed_scratch_init(&e->scratch, base->dim, err);
    if (rc == U2I_OK) {
        rc = learnt_new(&l->learnt, base->dim, err);
    }
    if (rc == U2I_OK) {
        l->counts = mem_zalloc(LEARNT_BUCKETS * sizeof *l->counts);
        l->heap = alloc_array(SAMPLE, sizeof *l->heap);
        l->mean = mem_zalloc(base->dim * sizeof *l->mean);
        l->vector = alloc_array(base->dim, sizeof *l->vector);
        if (l->counts == NULL || l->heap == NULL || l->mean == NULL || l->vector == NULL) {
            rc = error_oom(err);
        }
    }
    if (rc != U2I_OK) {
        hashed_forget(e);
    }
    return rc;
}

/* Restores the heap after its element `at` got smaller. */
static void hashed_sift_down(struct hashed_sample *heap, size_t n, size_t at) {
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        child += child + 1 < n && heap[child + 1].key > heap[child].key;
        if (heap[at].key >= heap[child].key) {
            return;
        }
        const struct hashed_sample larger = heap[child];
        heap[child] = heap[at];
        heap[at] = larger;
        at = child;
    }
}

/* Restores the heap after an element was put at its end, at `at`. */
static void hashed_sift_up(struct hashed_sample *heap, size_t at) {
    while (at > 0 && heap[(at - 1) / 2].key < heap[at].key) {
        const struct hashed_sample smaller = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = heap[at];
        heap[at] = smaller;
        at = (at - 1) / 2;
    }
}

/* Bytes of a field that a sample keeps: at most SAMPLE_BYTES, to a character's end. */
static size_t hashed_cut(const char *s) {
    const size_t n = strnlen(s, SAMPLE_BYTES + 1);
    return utf8_prefix(s, n, SAMPLE_BYTES);
}

static char *hashed_copy_fields(const char *const fields[FIELDS]) {
    size_t bytes = 0;
    for (int i = 0; i < FIELDS; i++) {
        bytes += (fields[i] == NULL ? 0 : hashed_cut(fields[i])) + 1;
    }
    char *const copy = mem_zalloc(bytes);
    char *at = copy;
    for (int i = 0; copy != NULL && i < FIELDS; i++) {
        const size_t n = fields[i] == NULL ? 0 : hashed_cut(fields[i]);
        if (n > 0) {
            memcpy(at, fields[i], n);
        }
        at += n + 1;
    }
    return copy;
}

static int hashed_sample_add(struct hashed_learning *l, const char *const fields[FIELDS],
                             u2i_error_t *err) {
    uint64_t key = 0;
    for (int i = 0; i < FIELDS; i++) {
        const char *s = fields[i] == NULL ? "" : fields[i];
        key = hash_bytes(s, strlen(s), key);
    }
    if (l->heap_n == SAMPLE && key >= l->heap[0].key) {
        return U2I_OK;
    }
    const struct hashed_sample sample = {key, hashed_copy_fields(fields)};
    if (sample.fields == NULL) {
        return error_oom(err);
    }
    if (l->heap_n < SAMPLE) {
        l->heap[l->heap_n] = sample;
        hashed_sift_up(l->heap, l->heap_n++);
    } else {
        mem_free(l->heap[0].fields);
        l->heap[0] = sample;
        hashed_sift_down(l->heap, l->heap_n, 0);
    }
    return U2I_OK;
}

static int hashed_learn_add(struct embedder *base, const struct embed_text *text,
                            u2i_error_t *err) {
    struct hashed_embedder *e = (struct hashed_embedder *)base;
    struct embed_features *f = &e->scratch.features;
    const char *const fields[FIELDS] = {text->title, text->category, text->text};
    if (e->learning.counts == NULL) {
        return error_set(err, U2I_EINTERNAL, "learning was not begun");
    }
    embed_features_clear(f);
    for (int i = 0; i < FIELDS; i++) {
        if (fields[i] != NULL) {
            U2I_TRY(hashed_add_field(f, fields[i], i, err));
        }
    }
    if (f->n == 0) {
        return U2I_OK; /* nothing to embed: neither frequency nor mean should know of it */
    }
    U2I_TRY(hashed_sample_add(&e->learning, fields, err));
    for (size_t i = 0; i < f->n; i++) {
        e->learning.counts[learnt_bucket(f->list[i].hash)]++;
    }
    e->learning.texts++;
    return U2I_OK;
}

static int hashed_compare_samples(const void *pa, const void *pb) {
    const struct hashed_sample *a = pa;
    const struct hashed_sample *b = pb;
    return (a->key > b->key) - (a->key < b->key);
}

/* The mean of the sampled texts' unit vectors under the weights now in use, shrunk. */
static void hashed_learn_mean(struct hashed_embedder *e) {
    const struct hashed_learning *l = &e->learning;
    const uint32_t dim = e->base.dim;
    qsort(l->heap, l->heap_n, sizeof *l->heap, hashed_compare_samples); /* one order of summing */
    for (size_t k = 0; k < l->heap_n; k++) {
        const char *title = l->heap[k].fields;
        const char *category = title + strlen(title) + 1;
        const char *const fields[FIELDS] = {title, category, category + strlen(category) + 1};
        /* Cannot fail: learn_add() had the same texts, whole, in the same scratch. */
        (void)hashed_embed_one(e, &e->scratch, fields, NULL, l->vector, NULL);
        for (uint32_t i = 0; i < dim; i++) {
            l->mean[i] += (double)l->vector[i];
        }
    }
    const double texts = (double)l->texts;
    const double scale = texts / (texts + MEAN_PRIOR) / (double)l->heap_n;
    for (uint32_t i = 0; i < dim; i++) {
        e->learnt.mean[i] = (float)(l->mean[i] * scale);
    }
}

static void hashed_learn_end(struct embedder *base) {
    struct hashed_embedder *e = (struct hashed_embedder *)base;
    struct hashed_learning *l = &e->learning;
    if (l->counts == NULL) {
        return;
    }
    learnt_free(&e->learnt);
    if (l->texts > 0) {
        learnt_fill(&l->learnt, l->counts, l->texts);
        e->learnt = l->learnt;
        l->learnt = (struct embed_learnt){0};
        hashed_learn_mean(e);
    }
    hashed_forget(e);
}

/* ---- The embedder ----------------------------------------------------------------------------- */

static int hashed_save(const struct embedder *base, struct buf *out, u2i_error_t *err) {
    const struct hashed_embedder *e = (const struct hashed_embedder *)base;
    return learnt_save(&e->learnt, base->dim, out, err);
}

static int hashed_load(struct embedder *base, const void *p, size_t n, u2i_error_t *err) {
    struct hashed_embedder *e = (struct hashed_embedder *)base;
    return learnt_load(&e->learnt, base->dim, p, n, err);
}

static void hashed_close(struct embedder *base) {
    struct hashed_embedder *e = (struct hashed_embedder *)base;
    if (e != NULL) {
        hashed_forget(e);
        learnt_free(&e->learnt);
        mem_free(e);
    }
}

static const struct embedder_ops HASH_OPS = {
    .embed = hashed_embed,
    .learn_begin = hashed_learn_begin,
    .learn_add = hashed_learn_add,
    .learn_end = hashed_learn_end,
    .save = hashed_save,
    .load = hashed_load,
    .close = hashed_close,
};

int embed_hash_open(uint32_t dim, struct embedder **out, u2i_error_t *err) {
    *out = NULL;
    if (dim == 0 || dim > U2I_DIM_MAX) {
        return error_set(err, U2I_EINVAL, "%u dimensions are not within 1..%d", (unsigned)dim,
                         U2I_DIM_MAX);
    }
    struct hashed_embedder *e = mem_zalloc(sizeof *e);
    if (e == NULL) {
        return error_oom(err);
    }
    e->base.ops = &HASH_OPS;
    e->base.dim = dim;
    (void)snprintf(e->base.name, sizeof e->base.name, "hash-%u", (unsigned)dim); /* fits */
    *out = &e->base;
    return U2I_OK;
}
