/* Ridge regression with an intercept, from one kind of vector to another: W, b of B ~ A W + 1
 * b'. With both sides centred and A'A = Q E Q', C = Q'A'B,
 *
 *     W = Q (E + ridge)^-1 C,
 *     |B - A W|^2 = |B|^2 - sum_k |c_k|^2 (e_k + 2 ridge) / (e_k + ridge)^2,
 *
 * so after one decomposition each ridge costs `from` operations, and generalised
 * cross-validation (Golub, Heath & Wahba 1979) tries many: the least of n |B - A W|^2 / (n - 1 -
 * sum e / (e + ridge))^2. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "train/train_blas.h"
#include "vec/vec.h"
#include <math.h>

#define MAP_PIECES  8u   /* partial sums */
#define MAP_ROWS    256u /* in single precision at most */
#define MAP_TRIES   81   /* ridges, from MAP_LEAST times the largest eigenvalue on, 10 a decade */
#define MAP_LEAST   1e-7
#define MAP_DIM_MAX 4096u

struct map_data {
    const float *const *a, *const *b;
    size_t n;
    uint32_t from, to;
    double *mean;               /* [from + to] */
    double *partial;            /* [pieces][from][from + to]: A'A, A'B side by side */
    double squares[MAP_PIECES]; /* |B|^2 */
};

void train_map_free(struct train_map *m) {
    if (m != NULL) {
        mem_free(m->w);
        mem_free(m->b);
        mem_free(m);
    }
}

void train_map_apply(const struct train_map *m, const float *x, float *y) {
    const struct vec_ops *const ops = vec_get();
    memcpy(y, m->b, m->to * sizeof *y);
    for (uint32_t i = 0; i < m->from; i++) {
        ops->axpy(x[i], m->w + (size_t)i * m->to, y, m->to);
    }
}

/* ---- Sums over the rows ---------------------------------------------------------------------- */

static int map_means(struct map_data *d, u2i_error_t *err) {
    for (size_t i = 0; i < d->n; i++) {
        if (!vec_finite(d->a[i], d->from) || !vec_finite(d->b[i], d->to)) {
            return error_set(err, U2I_EINVAL, "row %zu has a value that is not a finite number", i);
        }
        for (uint32_t k = 0; k < d->from; k++) {
            d->mean[k] += (double)d->a[i][k];
        }
        for (uint32_t k = 0; k < d->to; k++) {
            d->mean[d->from + k] += (double)d->b[i][k];
        }
    }
    for (uint32_t k = 0; k < d->from + d->to && d->n > 0; k++) {
        d->mean[k] /= (double)d->n;
    }
    return U2I_OK;
}

/* Rows begin .. begin + n, centred, a's values then b's. The sum of b's squares. */
static double map_centre(const struct map_data *d, size_t begin, size_t n, float *block) {
    const size_t both = (size_t)d->from + d->to;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        float *const row = block + i * both;
        for (size_t k = 0; k < d->from; k++) {
            row[k] = (float)((double)d->a[begin + i][k] - d->mean[k]);
        }
        for (size_t k = d->from; k < both; k++) {
            const double value = (double)d->b[begin + i][k - d->from] - d->mean[k];
            row[k] = (float)value;
            squares += value * value;
        }
    }
    return squares;
}

static int map_sum_piece(void *ctx, uint64_t task, unsigned worker) {
    (void)worker;
    struct map_data *const d = ctx;
    const size_t both = (size_t)d->from + d->to;
    const size_t begin = (size_t)task * d->n / MAP_PIECES;
    const size_t end = ((size_t)task + 1) * d->n / MAP_PIECES;
    double *const sum = d->partial + (size_t)task * d->from * both;
    float *const block = alloc_array(MAP_ROWS * both, sizeof *block);
    float *const product = alloc_array(d->from * both, sizeof *product);
    const int rc = block == NULL || product == NULL ? U2I_ENOMEM : U2I_OK;
    for (size_t at = begin; rc == U2I_OK && at < end; at += MAP_ROWS) {
        const size_t n = end - at < MAP_ROWS ? end - at : MAP_ROWS;
        d->squares[task] += map_centre(d, at, n, block);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)d->from, (int)both, (int)n, 1,
                    block, (int)both, block, (int)both, 0, product, (int)both);
        for (size_t i = 0; i < d->from * both; i++) {
            sum[i] += (double)product[i];
        }
    }
    mem_free(product);
    mem_free(block);
    return rc;
}

/* ---- Solving --------------------------------------------------------------------------------- */

/* A'A = Q E Q' and C = Q'A'B. */
struct map_solution {
    double *q;    /* [from][from]: row k is vector k */
    double *e;    /* [from] */
    double *c;    /* [from][to] */
    double *size; /* [from]: |c_k|^2 */
    double squares;
};

static double map_cross_validation(const struct map_data *d, const struct map_solution *s,
                                   double ridge) {
    double left = (double)d->n - 1;
    double error = s->squares;
    for (uint32_t k = 0; k < d->from; k++) {
        const double e = fmax(s->e[k], 0);
        left -= e / (e + ridge);
        error -= s->size[k] * (e + 2 * ridge) / ((e + ridge) * (e + ridge));
    }
    /* Where next to nothing is left over, the quotient is that of two roundings. */
    return left < 1 + .01 * (double)d->n ? INFINITY : fmax(error, 0) / (left * left);
}

static double map_choose_ridge(const struct map_data *d, const struct map_solution *s) {
    const double largest = d->from == 0 ? 0 : s->e[d->from - 1];
    if (!(largest > 0)) {
        return 1; /* nothing varies: W is 0 at any ridge */
    }
    double best = INFINITY;
    double ridge = largest; /* where too few rows leave nothing to choose by */
    for (int i = 0; i < MAP_TRIES; i++) {
        const double tried = largest * MAP_LEAST * pow(10, i * .1);
        const double score = map_cross_validation(d, s, tried);
        if (score < best) {
            best = score;
            ridge = tried;
        }
    }
    return ridge;
}

static int map_decompose(struct map_data *d, struct map_solution *s) {
    const size_t both = (size_t)d->from + d->to;
    double *const sum = d->partial;
    for (size_t p = 1; p < MAP_PIECES; p++) {
        for (size_t i = 0; i < d->from * both; i++) {
            sum[i] += sum[p * d->from * both + i];
        }
    }
    for (size_t p = 0; p < MAP_PIECES; p++) {
        s->squares += d->squares[p];
    }
    for (size_t i = 0; i < d->from; i++) {
        memcpy(s->q + i * d->from, sum + i * both, d->from * sizeof *s->q);
    }
    const int rc = train_eigen(s->q, d->from, s->e);
    if (rc != U2I_OK) {
        return rc;
    }
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)d->from, (int)d->to, (int)d->from,
                1, s->q, (int)d->from, sum + d->from, (int)both, 0, s->c, (int)d->to);
    for (size_t k = 0; k < d->from; k++) {
        s->size[k] = 0;
        for (size_t t = 0; t < d->to; t++) {
            s->size[k] += s->c[k * d->to + t] * s->c[k * d->to + t];
        }
    }
    return U2I_OK;
}

/* W and b at m's ridge. Overwrites c and the sums. */
static void map_finish(struct map_data *d, struct map_solution *s, struct train_map *m) {
    const size_t to = d->to;
    for (size_t k = 0; k < d->from; k++) {
        const double scale = 1 / (fmax(s->e[k], 0) + m->ridge);
        for (size_t t = 0; t < to; t++) {
            s->c[k * to + t] *= scale;
        }
    }
    double *const w = d->partial;
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)d->from, (int)to, (int)d->from, 1,
                s->q, (int)d->from, s->c, (int)to, 0, w, (int)to);
    for (size_t t = 0; t < to; t++) {
        double b = d->mean[d->from + t];
        for (size_t k = 0; k < d->from; k++) {
            b -= d->mean[k] * w[k * to + t];
            m->w[k * to + t] = (float)w[k * to + t];
        }
        m->b[t] = (float)b;
    }
}

static int map_solve(struct train_crew *crew, struct map_data *d, struct train_map *m) {
    const size_t from = d->from;
    struct map_solution s = {0};
    s.q = alloc_array(from * from, sizeof *s.q);
    s.e = mem_zalloc(from * sizeof *s.e);
    s.c = alloc_array(from * d->to, sizeof *s.c);
    s.size = alloc_array(from, sizeof *s.size);
    int rc = s.q == NULL || s.e == NULL || s.c == NULL || s.size == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        rc = train_crew_step(crew, MAP_PIECES);
    }
    if (rc == U2I_OK) {
        rc = train_crew_run(crew, MAP_PIECES, map_sum_piece, d);
    }
    if (rc == U2I_OK) {
        rc = map_decompose(d, &s);
    }
    if (rc == U2I_OK) {
        m->ridge = m->ridge > 0 ? m->ridge : map_choose_ridge(d, &s);
        map_finish(d, &s, m);
    }
    mem_free(s.size);
    mem_free(s.c);
    mem_free(s.e);
    mem_free(s.q);
    return rc;
}

static struct train_map *map_alloc(uint32_t from, uint32_t to, double ridge) {
    struct train_map *const m = mem_zalloc(sizeof *m);
    if (m != NULL) {
        *m = (struct train_map){.from = from, .to = to, .ridge = ridge};
        m->w = mem_zalloc((size_t)from * to * sizeof *m->w);
        m->b = mem_zalloc(to * sizeof *m->b);
        if (m->w == NULL || m->b == NULL) {
            train_map_free(m);
            return NULL;
        }
    }
    return m;
}

int train_map_new(const float *const *a, uint32_t from, const float *const *b, uint32_t to,
                  size_t n, double ridge, const struct train_work *work, struct train_map **out,
                  u2i_error_t *err) {
    *out = NULL;
    if (from == 0 || to == 0 || from > MAP_DIM_MAX || to > MAP_DIM_MAX) {
        return error_set(err, U2I_EINVAL, "a map from %u to %u dimensions: 1 to %u are allowed",
                         from, to, MAP_DIM_MAX);
    }
    struct map_data d = {.a = a, .b = b, .n = n, .from = from, .to = to};
    const size_t both = (size_t)from + to;
    struct train_map *m = map_alloc(from, to, ridge);
    d.mean = mem_zalloc(both * sizeof *d.mean);
    d.partial = mem_zalloc(MAP_PIECES * from * both * sizeof *d.partial);
    int rc = m == NULL || d.mean == NULL || d.partial == NULL ? error_oom(err) : map_means(&d, err);
    if (rc == U2I_OK) {
        struct train_crew crew;
        train_crew_begin(&crew, work);
        rc = train_fail(err, map_solve(&crew, &d, m));
        train_crew_end(&crew);
    }
    if (rc == U2I_OK) {
        *out = m;
    } else {
        train_map_free(m);
    }
    mem_free(d.partial);
    mem_free(d.mean);
    return rc;
}
