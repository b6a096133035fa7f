/* Vectors as codes: short rows of bytes that the walk compares instead of the vectors.
 *
 * 1. The vector, at unit length, is turned into the directions in which the vectors of the graph vary
 *    most (hnsw_turn.c), and only the first of them are kept: for text some half of the dimensions.
 *    Every byte that is not read is time won, as the walk waits for memory.
 * 2. The part that is left out is assumed to agree as well as the part that is kept: for two vectors with
 *    kept parts a, b and rests a', b', a.b + a'.b' ~ a.b (1 + |a'||b'| / (|a||b|)). For neighbours this
 *    is nearly as good as the whole vectors; simply leaving the rest out would not be.
 * 3. The kept coordinates are bytes, the largest one 127: so a vector with a few large coordinates keeps
 *    as much of its shape as an even one.
 * 4. What the formula needs of a vector, its scale and its scale times |a'| / |a|, stands at the beginning
 *    of the row: so a comparison touches nothing but the row. A query has zeros there, so the sums go
 *    over whole cache lines.
 *
 * Inner product becomes cosine with one more dimension (Bachrach et al., "Speeding up the Xbox
 * recommender system using a Euclidean transformation for inner-product spaces", RecSys 2014): x goes to
 * (x, sqrt(R^2 - |x|^2)) / R, R the greatest length, so all have unit length; a query goes to (q, 0), and
 * its cosine with x is q.x / R times what depends on q alone. A vector longer than R is coded by its
 * direction. That last coordinate, the height, is a float beside the bytes: where most vectors are much
 * shorter than the longest one, it is nearly 1, and no byte would be left for the others.
 *
 * Codes only lead the way: scores are computed from the vectors. */
#include "hnsw_internal.h"

#include <math.h>

#define HNSW_NORM_ROOM                                                                             \
    1.25 /* over the longest of the first vectors, where the owner doesn't know better */

enum { HNSW_TURN_STEP = 64 }; /* directions compared at once */

/* Coordinates of x in the directions that are kept into s->out; returns the rest's length over theirs. */
static float hnsw_turn(const struct hnsw *h, struct hnsw_coder *s) {
    const struct vec_ops *const vec = vec_get();
    const float scale = vec->quantise_i8(s->in, h->dim, s->bytes);
    for (uint32_t first = 0; first < h->code_dims; first += HNSW_TURN_STEP) {
        const int8_t *rows[HNSW_TURN_STEP];
        int32_t dots[HNSW_TURN_STEP];
        uint32_t n = 0;
        for (; n < HNSW_TURN_STEP && first + n < h->code_dims; n++) {
            rows[n] = h->turn.rows + (size_t)(first + n) * h->dim;
        }
        vec->dot_i8_rows(s->bytes, rows, n, h->dim, dots);
        for (uint32_t i = 0; i < n; i++) {
            s->out[first + i] = (float)dots[i] * scale * h->turn.scales[first + i];
        }
    }
    const float kept = vec->dot(s->out, s->out, h->code_dims);
    const float whole = vec->dot(s->in, s->in, h->dim);
    return kept > 0 && whole > kept ? sqrtf((whole - kept) / kept) : 0;
}

/* x, dim floats in s, into the row; returns its head, without height. */
static struct hnsw_head hnsw_code_write(const struct hnsw *h, struct hnsw_coder *s, int8_t *row) {
    float rest = 0;
    const float *kept = s->in;
    if (h->turn.rows != NULL) {
        rest = hnsw_turn(h, s);
        kept = s->out;
    }
    memset(row, 0, h->code_bytes);
    const float scale = vec_get()->quantise_i8(kept, h->code_dims, row + sizeof(struct hnsw_head));
    return (struct hnsw_head){.scale = scale, .reach = scale * rest};
}

float hnsw_code_input(const struct hnsw *h, const float *vector, struct hnsw_coder *s) {
    memcpy(s->in, vector, h->dim * sizeof *vector);
    if (h->metric != HNSW_INNER_PRODUCT) {
        return 0;
    }
    const double length = sqrt((double)vec_dot(vector, vector, h->dim));
    if (!(length < h->norm_max)) {
        (void)vec_normalise(s->in, h->dim); /* a zero vector keeps a zero code */
        return 0;
    }
    vec_get()->scale(s->in, (float)(1 / h->norm_max), h->dim);
    const double share = length / h->norm_max;
    return (float)sqrt(1 - share * share);
}

void hnsw_encode(const struct hnsw *h, const float *vector, struct hnsw_coder *s, int8_t *row) {
    const float height = hnsw_code_input(h, vector, s);
    struct hnsw_head head = hnsw_code_write(h, s, row);
    head.height = height;
    memcpy(row, &head, sizeof head);
}

struct hnsw_head hnsw_encode_query(const struct hnsw *h, const float *vector, struct hnsw_coder *s,
                                   int8_t *row) {
    memcpy(s->in, vector, h->dim * sizeof *vector);
    return hnsw_code_write(h, s, row);
}

void hnsw_code_size(struct hnsw *h, uint32_t dims) {
    const uint32_t bytes = dims + (uint32_t)sizeof(struct hnsw_head);
    h->code_dims = dims;
    h->code_bytes = (bytes + HNSW_CODE_ALIGN - 1) / HNSW_CODE_ALIGN * HNSW_CODE_ALIGN;
}

void hnsw_learn_norm(struct hnsw *h, const float *vectors, size_t n) {
    double longest = 0;
    for (size_t i = 0; h->norm_max == 0 && i < n; i++) {
        const float *const v = vectors + i * h->dim;
        const double length = sqrt((double)vec_dot(v, v, h->dim));
        longest = length > longest ? length : longest;
    }
    h->norm_max = h->norm_max == 0 ? longest * HNSW_NORM_ROOM : h->norm_max;
}

int hnsw_coder_init(const struct hnsw *h, struct hnsw_coder *s) {
    s->in = alloc_array(h->dim, sizeof *s->in);
    s->out = alloc_array(h->dim, sizeof *s->out);
    s->bytes = alloc_array(h->dim, sizeof *s->bytes);
    if (s->in == NULL || s->out == NULL || s->bytes == NULL) {
        hnsw_coder_free(s);
        return U2I_ENOMEM;
    }
    return U2I_OK;
}

void hnsw_coder_free(struct hnsw_coder *s) {
    mem_free(s->in);
    mem_free(s->out);
    mem_free(s->bytes);
    *s = (struct hnsw_coder){0};
}
