/* What the hashed embedder learns from a catalogue: private to embed/. Reads in parallel; changes need
 * exclusive use. */
#ifndef U2I_EMBED_EMBED_LEARNT_H
#define U2I_EMBED_EMBED_LEARNT_H

#include "base/buf.h"
#include "embed/embed_features.h"
#include "u2i.h"

#define LEARNT_BITS    17 /* a feature's frequency is counted with that of others in 2^17 buckets */
#define LEARNT_BUCKETS ((size_t)1 << LEARNT_BITS)

/* A zero-filled struct has learnt nothing: every feature weighs the same. */
struct embed_learnt {
    uint64_t texts; /* learnt from */
    uint8_t *codes; /* LEARNT_BUCKETS frequencies, coded; NULL = nothing learnt */
    float *mean;    /* dim floats, to be subtracted from unit vectors; NULL = nothing learnt */
    float idf[256]; /* weight by code */
};

static inline size_t learnt_bucket(uint64_t hash) {
    return hash >> (64 - LEARNT_BITS);
}
static inline float learnt_idf(const struct embed_learnt *l, uint64_t hash) {
    return l->codes == NULL ? 1.0f : l->idf[l->codes[learnt_bucket(hash)]];
}

/* Room for something to learn; U2I_ENOMEM. */
int learnt_new(struct embed_learnt *l, uint32_t dim, u2i_error_t *err);
void learnt_free(struct embed_learnt *l); /* back to nothing learnt */
/* Takes in how many of `texts` texts have a feature of each bucket. */
void learnt_fill(struct embed_learnt *l, const uint32_t *counts, uint64_t texts);
int learnt_save(const struct embed_learnt *l, uint32_t dim, struct buf *out, u2i_error_t *err);
/* U2I_ECORRUPT, U2I_ENOMEM; then nothing has changed. */
int learnt_load(struct embed_learnt *l, uint32_t dim, const void *p, size_t n, u2i_error_t *err);

#endif
