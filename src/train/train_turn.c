/* Turning two vectors of each item. in . out stays what it is if both are turned by one rotation R; R is that of
 * the eigenvectors of out's covariance C = R diag(v) R'. Then the variance over the items of q . out_j is
 * q'Cq = sum_d v_d q_d^2: as many products as there are dimensions, instead of their square. */
#include "train/train_internal.h"

#include "base/alloc.h"
#include "base/error.h"

/* C, of out's rows about their mean. */
static int turn_covariance(struct train_crew *crew, const struct train_factors *f, double *c) {
    const size_t dim = f->dim;
    double *const mean = mem_zalloc(dim * sizeof *mean);
    int rc = mean == NULL ? U2I_ENOMEM : train_panel_gram(crew, f->out, f->n, f->dim, c);
    for (size_t j = 0; j < f->n && rc == U2I_OK; j++) {
        for (size_t d = 0; d < dim; d++) {
            mean[d] += (double)f->out[j * dim + d] / f->n;
        }
    }
    for (size_t r = 0; r < dim && rc == U2I_OK; r++) {
        for (size_t k = 0; k < dim; k++) {
            c[r * dim + k] = c[r * dim + k] / f->n - mean[r] * mean[k];
        }
    }
    mem_free(mean);
    return rc;
}

static int turn_factors(struct train_crew *crew, struct train_factors *f, float *variances) {
    const size_t dim = f->dim;
    double *const c = alloc_array(dim * dim, sizeof *c);
    double *const values = alloc_array(dim, sizeof *values);
    float *const turn = alloc_array(dim * dim, sizeof *turn);
    int rc = c == NULL || values == NULL || turn == NULL ? U2I_ENOMEM : U2I_OK;
    if (rc == U2I_OK) {
        rc = turn_covariance(crew, f, c);
    }
    if (rc == U2I_OK) {
        rc = train_eigen(c, f->dim, values);
    }
    if (rc == U2I_OK) {
        for (size_t k = 0; k < dim; k++) { /* the largest first; rows of c are vectors */
            const double value = values[dim - 1 - k];
            variances[k] = value > 0 ? (float)value : 0;
            for (size_t i = 0; i < dim; i++) {
                turn[i * dim + k] = (float)c[(dim - 1 - k) * dim + i];
            }
        }
        rc = train_panel_turn(crew, f->in, f->n, f->dim, turn);
    }
    if (rc == U2I_OK) {
        rc = train_panel_turn(crew, f->out, f->n, f->dim, turn);
    }
    mem_free(turn);
    mem_free(values);
    mem_free(c);
    return rc;
}

int train_factors_turn(struct train_factors *f, float *variances, const struct train_work *work,
                       u2i_error_t *err) {
    struct train_crew crew;
    train_crew_begin(&crew, work);
    int rc = train_crew_step(&crew, 3);
    if (rc == U2I_OK) {
        rc = turn_factors(&crew, f, variances);
    }
    train_crew_end(&crew);
    return train_fail(err, rc);
}
