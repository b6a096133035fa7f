/* The directions in which vectors vary most: the first eigenvectors of their second moments (principal
 * components without centring, since inner products are what is to be kept), found by subspace
 * iteration (Golub & Van Loan, "Matrix computations", section 8.2): a random basis is multiplied by the
 * matrix and made orthonormal again, some times. Nothing depends on how exact they are: any
 * orthonormal directions are right, good ones keep more.
 *
 * As many are kept as hold HNSW_TURN_SHARE of the sample's squared length, if that is clearly fewer than
 * there are dimensions; else vectors are coded as they are. */
#include "hnsw_internal.h"

#include "base/error.h"
#include "base/rng.h"
#include <math.h>

enum {
    HNSW_TURN_SAMPLE = 4096,
    HNSW_TURN_SAMPLE_MIN = 512,
    HNSW_TURN_ROUNDS = 8,
    HNSW_TURN_MAX = 504 /* directions kept at most */
};
#define HNSW_TURN_SHARE 0.85

struct hnsw_learn {
    uint32_t dim, n; /* of the vectors; directions looked for */
    float *moments;  /* [dim][dim] */
    float *basis;    /* [n][dim], orthonormal */
    float *next;     /* [n][dim] */
    double total;    /* squared length of the sample */
};

static void hnsw_learn_free(struct hnsw_learn *l) {
    mem_free(l->moments);
    mem_free(l->basis);
    mem_free(l->next);
}

static int hnsw_learn_moments(const struct hnsw *h, struct hnsw_learn *l, const float *vectors,
                              size_t n) {
    const struct vec_ops *const vec = vec_get();
    struct hnsw_coder s = {0};
    U2I_TRY(hnsw_coder_init(h, &s));
    const size_t take = n < HNSW_TURN_SAMPLE ? n : HNSW_TURN_SAMPLE;
    for (size_t i = 0; i < take; i++) {
        (void)hnsw_code_input(h, vectors + i * n / take * h->dim, &s);
        for (uint32_t a = 0; a < l->dim; a++) {
            vec->axpy(s.in[a], s.in, l->moments + (size_t)a * l->dim, l->dim);
        }
        l->total += (double)vec->dot(s.in, s.in, l->dim);
    }
    hnsw_coder_free(&s);
    return U2I_OK;
}

/* Rows of `basis` made orthonormal, in order (Gram and Schmidt, twice for the rounding). A row that
 * vanishes becomes zero: it keeps nothing. */
static void hnsw_learn_orthonormal(struct hnsw_learn *l) {
    const struct vec_ops *const vec = vec_get();
    for (uint32_t i = 0; i < l->n; i++) {
        float *const row = l->basis + (size_t)i * l->dim;
        bool whole = vec_normalise(row, l->dim);
        for (int again = 0; again < 2 && whole; again++) {
            vec->dot_rows(row, l->basis, l->dim, i, l->dim, l->next);
            for (uint32_t k = 0; k < i; k++) {
                vec->axpy(-l->next[k], l->basis + (size_t)k * l->dim, row, l->dim);
            }
            whole = vec_normalise(row, l->dim);
        }
        if (!whole) {
            memset(row, 0, l->dim * sizeof *row);
        }
    }
}

static void hnsw_learn_basis(struct hnsw_learn *l, uint64_t seed) {
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < (size_t)l->n * l->dim; i++) {
        l->basis[i] = (float)rng_normal(&r);
    }
    hnsw_learn_orthonormal(l);
    for (int round = 0; round < HNSW_TURN_ROUNDS; round++) {
        for (uint32_t i = 0; i < l->n; i++) {
            vec_get()->dot_rows(l->basis + (size_t)i * l->dim, l->moments, l->dim, l->dim, l->dim,
                                l->next + (size_t)i * l->dim);
        }
        memcpy(l->basis, l->next, (size_t)l->n * l->dim * sizeof *l->basis);
        hnsw_learn_orthonormal(l);
    }
}

/* How many directions to keep: whole cache lines of a code; 0 = the vectors as they are. */
static uint32_t hnsw_learn_kept(struct hnsw_learn *l) {
    double held = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        const float *const row = l->basis + (size_t)i * l->dim;
        vec_get()->dot_rows(row, l->moments, l->dim, l->dim, l->dim, l->next);
        held += (double)vec_dot(row, l->next, l->dim);
        const uint32_t bytes = i + 1 + (uint32_t)sizeof(struct hnsw_head);
        if (bytes % HNSW_CODE_ALIGN == 0 && held >= HNSW_TURN_SHARE * l->total) {
            return i + 1;
        }
    }
    return 0;
}

/* The directions as bytes. */
static int hnsw_turn_set(struct hnsw *h, const struct hnsw_learn *l, uint32_t kept) {
    struct hnsw_turn t = {.rows = alloc_array(kept, h->dim)};
    t.scales = alloc_array(kept, sizeof *t.scales);
    if (t.rows == NULL || t.scales == NULL) {
        mem_free(t.rows);
        mem_free(t.scales);
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < kept; i++) {
        t.scales[i] = vec_get()->quantise_i8(l->basis + (size_t)i * l->dim, l->dim,
                                             t.rows + (size_t)i * h->dim);
    }
    h->turn = t;
    hnsw_code_size(h, kept);
    return U2I_OK;
}

int hnsw_learn(struct hnsw *h, const float *vectors, size_t n, u2i_error_t *err) {
    hnsw_learn_norm(h, vectors, n);
    const uint32_t most = h->dim * 3 / 4;
    const uint32_t lines = (most + (uint32_t)sizeof(struct hnsw_head)) / HNSW_CODE_ALIGN;
    if (h->slots > 0 || n < HNSW_TURN_SAMPLE_MIN || lines == 0 || h->turn.rows != NULL) {
        return U2I_OK;
    }
    struct hnsw_learn l = {.dim = h->dim};
    l.n = lines * HNSW_CODE_ALIGN - (uint32_t)sizeof(struct hnsw_head);
    l.n = l.n < HNSW_TURN_MAX ? l.n : HNSW_TURN_MAX;
    l.moments = mem_zalloc((size_t)l.dim * l.dim * sizeof *l.moments);
    l.basis = alloc_array((size_t)l.n * l.dim, sizeof *l.basis);
    l.next = alloc_array((size_t)l.n * l.dim + l.dim, sizeof *l.next);
    int rc = l.moments == NULL || l.basis == NULL || l.next == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        rc = hnsw_learn_moments(h, &l, vectors, n);
    }
    if (rc == U2I_OK) {
        hnsw_learn_basis(&l, h->seed);
        const uint32_t kept = hnsw_learn_kept(&l);
        rc = kept > 0 ? hnsw_turn_set(h, &l, kept) : U2I_OK;
    }
    hnsw_learn_free(&l);
    return rc == U2I_OK ? U2I_OK : error_oom(err);
}
