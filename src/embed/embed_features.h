/* Text to features: private to embed/. One thread at a time on one set. */
#ifndef U2I_EMBED_EMBED_FEATURES_H
#define U2I_EMBED_EMBED_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A word, three letters of one, or a character or pair of a dense script. `sum` is the sum of the squared
 * weights of its occurrences, so that its root is the weight of one and grows with sqrt(tf). */
struct embed_feature {
    uint64_t hash;
    float sum;
    uint32_t slot; /* where the set's table points at it */
};

/* The features of one text, each once, in order of first appearance. A zero-filled struct is an empty
 * set; its memory is kept from text to text. */
struct embed_features {
    struct embed_feature *list;
    size_t n, cap;
    uint32_t *slots; /* open addressing, index into list + 1; 0 = free */
    size_t slots_n;  /* a power of two, or 0 */
    bool failed;     /* out of memory; the set is incomplete */
};

/* Adds what is in s[0..n). Returns the offset of the first byte that is not UTF-8, or n. */
size_t embed_features_add(struct embed_features *f, const char *s, size_t n);
void embed_features_clear(struct embed_features *f);
void embed_features_free(struct embed_features *f);

#endif
