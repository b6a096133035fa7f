/* From events to a model: which items were wanted, the matrix of who wanted what, the learners of train/ one after
 * another, and their results side by side in one vector per item.
 *
 * The order of blocks in an out-vector is ease, ials, trend, popular; the first two can be predicted from
 * content (model_cold.c), and stand together for that. */
#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>

#define FIT_MONTH         30.0 /* half-lives in days */
#define FIT_YEAR          365.0
#define FIT_CALENDAR_DAYS 60 /* a log shorter than this has no trend */
#define FIT_SEQUENCE_BETA 0.2
#define FIT_DECAY_FLOOR   0.1
#define FIT_LAMBDA_MIN    200.0 /* EASE's lambda is 10 x pairs / items within these */
#define FIT_LAMBDA_MAX    2000.0
/* With more items and users than this the truncated form takes half of the exact one's time, and less and less of it
 * beyond; on a shop of 4,000 items their lists were equally good (docs/training.md). */
#define FIT_EASE_EXACT 2000u
#define FIT_EASE_RANK  512u
#define FIT_EASE_FULL                                                                              \
    640u /* users or items up to this are the rank: exact, and no basis need be found */
#define FIT_IALS_ROUNDS   6u
#define FIT_SEQUENCE_KEEP 100u

struct model_fitting {
    struct model_run *run;
    const struct model_fit *how;
    struct model *m;
    struct train_event
        *wanted; /* events with weight > 0; users and items numbered from 0 without gaps */
    size_t wanted_n;
    uint32_t users;
    struct train_matrix *x; /* users x items */
    double lambda;
    struct train_factors *ease;
    struct train_ials *ials;
    float *trend; /* [count]; NULL: none */
};

/* ---- Who wanted what -------------------------------------------------------------------------- */

struct model_wanted { /* of one row */
    uint32_t last;    /* the last user seen, and 1 */
    uint32_t users;   /* who wanted it */
};

static struct model_wanted *model_fit_who_wants(const struct model_fitting *f) {
    const struct model_events *const ev = &f->how->ev;
    struct model_wanted *const rows = mem_zalloc(((size_t)f->run->in->items + 1) * sizeof *rows);
    for (size_t i = 0; i < ev->n && rows != NULL; i++) {
        struct model_wanted *const row = &rows[ev->list[i].item];
        if (ev->list[i].weight > 0 && row->last != ev->list[i].user + 1) { /* users are in order */
            row->last = ev->list[i].user + 1;
            row->users++;
        }
    }
    return rows;
}

/* How many users have to want an item for its vector to be learnt: two, as what one user wants says more of the
 * user than of the item; content tells of the others. Except where most of the log is of that kind. */
static uint32_t model_fit_least(const struct model_wanted *rows, uint32_t n) {
    uint64_t pairs = 0;
    uint64_t single = 0;
    for (uint32_t row = 0; row < n; row++) {
        pairs += rows[row].users;
        single += rows[row].users == 1;
    }
    return 2 * single < pairs ? 2 : 1;
}

static int model_fit_items(struct model_fitting *f) {
    struct model *const m = f->m;
    const uint32_t end = f->run->in->items;
    struct model_wanted *const rows = model_fit_who_wants(f);
    if (rows == NULL) {
        return U2I_ENOMEM;
    }
    const uint32_t least = model_fit_least(rows, end);
    for (uint32_t row = 0; row < end; row++) {
        m->count += rows[row].users >= least;
    }
    m->rows = alloc_array(m->count, sizeof *m->rows);
    m->item_users = alloc_array(m->count, sizeof *m->item_users);
    const bool ok = m->rows != NULL && m->item_users != NULL;
    for (uint32_t row = 0, k = 0; row < end && ok; row++) {
        if (rows[row].users >= least) {
            m->rows[k] = row;
            m->item_users[k++] = rows[row].users;
        }
    }
    mem_free(rows);
    return ok ? model_index(m) : U2I_ENOMEM;
}

static int model_fit_wanted(struct model_fitting *f) {
    const struct model_events *const ev = &f->how->ev;
    uint32_t last = MODEL_NONE;
    f->wanted = alloc_array(ev->n, sizeof *f->wanted);
    if (f->wanted == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < ev->n; i++) {
        const struct train_event e = ev->list[i];
        const uint32_t k = e.weight > 0 ? model_k(f->m, e.item) : MODEL_NONE;
        if (k != MODEL_NONE) {
            f->users += e.user != last;
            last = e.user;
            f->wanted[f->wanted_n++] = (struct train_event){f->users - 1, k, e.weight, e.time_ms};
        }
    }
    return U2I_OK;
}

/* Users x items. Weights fade with half-life decay_s (0: they don't), to a tenth at most: of the time since the
 * newest event, so that a log that ended long ago is learnt from like a new one. */
static int model_fit_matrix(const struct model_fitting *f, double decay_s,
                            struct train_matrix **out, u2i_error_t *err) {
    struct train_entry *const entries = alloc_array(f->wanted_n, sizeof *entries);
    if (entries == NULL) {
        return error_oom(err);
    }
    int64_t newest_ms = INT64_MIN;
    for (size_t i = 0; i < f->wanted_n; i++) {
        newest_ms = f->wanted[i].time_ms > newest_ms ? f->wanted[i].time_ms : newest_ms;
    }
    for (size_t i = 0; i < f->wanted_n; i++) {
        const struct train_event *const e = &f->wanted[i];
        const double age_s = (double)(newest_ms - e->time_ms) / 1000;
        const double left = decay_s > 0 ? fmax(exp2(-age_s / decay_s), FIT_DECAY_FLOOR) : 1;
        entries[i] = (struct train_entry){e->user, e->item, (float)left * e->weight};
    }
    const int rc = train_matrix_new(entries, f->wanted_n, f->users, f->m->count, out, err);
    mem_free(entries);
    return rc;
}

/* EASE's lambda. */
static void model_fit_lambda(struct model_fitting *f) {
    double pairs = 0;
    uint32_t kept = 0;
    for (uint64_t e = 0; e < f->x->starts[f->users]; e++) {
        pairs += (double)f->x->values[e] * (double)f->x->values[e];
    }
    for (uint32_t k = 0; k < f->m->count; k++) {
        kept += f->m->item_users[k] >= 2;
    }
    f->lambda = fmin(fmax(10 * pairs / (kept > 0 ? kept : 1), FIT_LAMBDA_MIN), FIT_LAMBDA_MAX);
}

/* ---- The learners ----------------------------------------------------------------------------- */

static bool model_fit_has(const struct model_fitting *f, enum model_part part) {
    return (f->how->parts & 1u << part) != 0;
}

/* Bytes at the peak: events, matrices, vectors of all parts side by side and apart, and what ease takes for
 * itself, which is more than any other learner does. */
static uint64_t model_fit_needs(const struct model_fitting *f,
                                const struct train_ease_options *opt) {
    const uint64_t events = 2 * (uint64_t)f->how->ev.n * sizeof(struct train_event);
    const uint64_t vectors =
        (uint64_t)f->m->count * (3 * FIT_EASE_RANK + FIT_SEQUENCE_KEEP) * sizeof(float);
    return events + 3 * (uint64_t)train_matrix_bytes(f->x) + vectors + train_ease_memory(f->x, opt);
}

/* The form that fits into memory: the best one if it does, else the one for catalogues of any size. */
static int model_fit_ease(struct model_fitting *f, u2i_error_t *err) {
    const uint32_t least = f->users < f->m->count ? f->users : f->m->count;
    struct train_ease_options opt = {.lambda = f->lambda,
                                     .rank = least <= FIT_EASE_FULL ? least : FIT_EASE_RANK,
                                     .seed = f->run->in->seed + 1};
    struct train_matrix *faded = NULL;
    if ((f->m->count > FIT_EASE_EXACT && f->users > FIT_EASE_EXACT) ||
        model_fit_needs(f, &opt) > f->run->memory_max) {
        opt.form = TRAIN_EASE_LOW_RANK;
    }
    const uint64_t needs = model_fit_needs(f, &opt);
    if (needs > f->run->memory_max) {
        return error_set(err, U2I_ENOMEM,
                         "training %" PRIu32 " items on %zu events needs %" PRIu64 " MB, %" PRIu64
                         " may be used",
                         f->m->count, f->how->ev.n, needs >> 20, f->run->memory_max >> 20);
    }
    U2I_TRY(model_step(f->run, "ease", err));
    if (f->how->decay_s > 0) {
        U2I_TRY(model_fit_matrix(f, f->how->decay_s, &faded, err));
    }
    const int rc = train_ease(faded != NULL ? faded : f->x, &opt, &f->run->work, &f->ease, err);
    train_matrix_free(faded);
    return rc;
}

static int model_fit_ials(struct model_fitting *f, u2i_error_t *err) {
    const struct train_ials_options opt = {.rounds = FIT_IALS_ROUNDS, .seed = f->run->in->seed + 2};
    U2I_TRY(model_step(f->run, "ials", err));
    return train_ials(f->x, &opt, &f->run->work, &f->ials, err);
}

static int model_fit_sequence(struct model_fitting *f, u2i_error_t *err) {
    const struct train_sequence_options opt = {.backward = -1,
                                               .beta = FIT_SEQUENCE_BETA,
                                               .keep = FIT_SEQUENCE_KEEP,
                                               .seed = f->run->in->seed + 3};
    struct train_matrix **const out = &f->m->sparse[MODEL_SEQUENCE];
    U2I_TRY(model_step(f->run, "sequence", err));
    U2I_TRY(train_sequence(f->wanted, f->wanted_n, f->m->count, &opt, &f->run->work, out, err));
    if ((*out)->starts[f->m->count] == 0) { /* everything at one time: no order */
        train_matrix_free(*out);
        *out = NULL;
    }
    return U2I_OK;
}

static int model_fit_neighbours(struct model_fitting *f, u2i_error_t *err) {
    const struct train_neighbours_options opt = {.shrink = -1};
    U2I_TRY(model_step(f->run, "neighbours", err));
    return train_neighbours(f->x, &opt, &f->run->work, &f->m->sparse[MODEL_NEIGHBOURS], err);
}

static bool model_fit_has_calendar(const struct model_fitting *f) {
    int64_t oldest = f->how->now_ms;
    for (size_t i = 0; i < f->wanted_n; i++) {
        oldest = f->wanted[i].time_ms < oldest ? f->wanted[i].time_ms : oldest;
    }
    return f->how->now_ms - oldest >= FIT_CALENDAR_DAYS * MODEL_DAY_MS;
}

/* What is asked for more than it used to be, this month against the year: log(1 + D30) - log(1 + D365 30 / 365) of
 * decayed counts D as of now, half-lives in days. */
static int model_fit_trend(struct model_fitting *f) {
    const size_t bytes = (size_t)f->m->count * sizeof(float);
    if (!model_fit_has(f, MODEL_TREND) || !model_fit_has_calendar(f)) {
        return U2I_OK;
    }
    float *const year = mem_zalloc(bytes);
    f->trend = mem_zalloc(bytes);
    if (year == NULL || f->trend == NULL) {
        mem_free(year);
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < f->wanted_n; i++) {
        const struct train_event *const e = &f->wanted[i];
        const double days = (double)(f->how->now_ms - e->time_ms) / (double)MODEL_DAY_MS;
        if (days >= 0) {
            year[e->item] += e->weight * (float)exp2(-days / FIT_YEAR);
            f->trend[e->item] += e->weight * (float)exp2(-days / FIT_MONTH);
        }
    }
    for (uint32_t k = 0; k < f->m->count; k++) {
        const double usual = (double)year[k] * FIT_MONTH / FIT_YEAR;
        f->trend[k] = (float)(log1p((double)f->trend[k]) - log1p(usual));
    }
    mem_free(year);
    return U2I_OK;
}

static int model_fit_learn(struct model_fitting *f, u2i_error_t *err) {
    if (model_fit_has(f, MODEL_EASE)) {
        U2I_TRY(model_fit_ease(f, err));
    }
    if (model_fit_has(f, MODEL_IALS)) {
        U2I_TRY(model_fit_ials(f, err));
    }
    if (model_fit_has(f, MODEL_SEQUENCE)) {
        U2I_TRY(model_fit_sequence(f, err));
    }
    if (model_fit_has(f, MODEL_NEIGHBOURS)) {
        U2I_TRY(model_fit_neighbours(f, err));
    }
    if (model_fit_trend(f) != U2I_OK) {
        return error_oom(err);
    }
    return U2I_OK;
}

/* ---- Side by side ----------------------------------------------------------------------------- */

static void model_fit_fill(struct model_fitting *f) {
    struct model *const m = f->m;
    const struct model_block *const b = m->block;
    for (uint32_t k = 0; k < m->count; k++) {
        float *const out = m->out + (size_t)k * m->dim;
        if (f->ease != NULL) {
            const size_t at = (size_t)k * f->ease->dim;
            memcpy(out + b[MODEL_EASE].at, f->ease->out + at, f->ease->dim * sizeof *out);
        }
        if (f->ials != NULL) {
            const size_t at = (size_t)k * f->ials->dim;
            memcpy(out + b[MODEL_IALS].at, f->ials->items + at, f->ials->dim * sizeof *out);
        }
        if (b[MODEL_TREND].dim > 0) {
            out[b[MODEL_TREND].at] = f->trend[k];
        }
        if (b[MODEL_POPULAR].dim > 0) {
            out[b[MODEL_POPULAR].at] = m->popular[k];
        }
    }
}

/* What the learners own becomes the model's. */
static void model_fit_take(struct model_fitting *f) {
    struct model *const m = f->m;
    if (f->ease != NULL) {
        m->in = f->ease->in;
        f->ease->in = NULL;
    }
    if (f->ials != NULL) {
        m->gram = f->ials->gram;
        f->ials->gram = NULL;
        m->a0 = f->ials->a0;
        m->lambda = f->ials->lambda;
        m->ials_items = m->count;
    }
}

/* Ease's vectors turned such that their covariance is a diagonal; before they are copied to their places. */
static int model_fit_turn(struct model_fitting *f, u2i_error_t *err) {
    if (f->ease == NULL || f->how->is_for_check) {
        return U2I_OK;
    }
    float **const spread = &f->m->spread[MODEL_EASE];
    *spread = alloc_array(f->ease->dim, sizeof **spread);
    return *spread == NULL ? error_oom(err)
                           : train_factors_turn(f->ease, *spread, &f->run->work, err);
}

/* Covariances of the other blocks. */
static int model_fit_spreads(struct model_fitting *f) {
    struct model *const m = f->m;
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        const struct model_block b = m->block[p];
        if (b.dim == 0 || p == MODEL_EASE || f->how->is_for_check) {
            continue;
        }
        m->spread[p] = alloc_array(model_spread_size(m, p), sizeof *m->spread[p]);
        if (m->spread[p] == NULL) {
            return U2I_ENOMEM;
        }
        U2I_TRY(model_covariance(f->run->work.threads, m->out + b.at, m->dim, m->count, b.dim,
                                 m->spread[p]));
    }
    return U2I_OK;
}

static int model_fit_assemble(struct model_fitting *f, u2i_error_t *err) {
    struct model *const m = f->m;
    m->block[MODEL_EASE].dim = f->ease == NULL ? 0 : f->ease->dim;
    m->block[MODEL_IALS].dim = f->ials == NULL ? 0 : f->ials->dim;
    m->block[MODEL_TREND].dim = f->trend != NULL;
    m->block[MODEL_POPULAR].dim = model_fit_has(f, MODEL_POPULAR);
    model_place(m);
    m->out = alloc_array((size_t)m->count * m->dim, sizeof *m->out);
    m->popular = alloc_array(m->count, sizeof *m->popular);
    if (m->out == NULL || m->popular == NULL) {
        return error_oom(err);
    }
    const int rc =
        model_popular_score(&f->how->popular, &f->how->ev, f->how->now_ms, m, m->popular);
    if (rc != U2I_OK) {
        return error_oom(err);
    }
    U2I_TRY(model_fit_turn(f, err));
    model_fit_fill(f);
    model_fit_take(f);
    if (model_fit_spreads(f) != U2I_OK) {
        return error_oom(err);
    }
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        m->weight[p] = 1;
    }
    model_measure_norms(m);
    return U2I_OK;
}

static int model_fit_events(struct model_fitting *f, u2i_error_t *err) {
    if (model_fit_items(f) != U2I_OK || model_fit_wanted(f) != U2I_OK) {
        return error_oom(err);
    }
    if (f->m->count == 0) {
        return error_set(err, U2I_ENOTFOUND,
                         "there is nothing to learn from: no event says that an item was wanted");
    }
    U2I_TRY(model_fit_matrix(f, 0, &f->x, err));
    model_fit_lambda(f);
    return U2I_OK;
}

int model_fit(struct model_run *r, const struct model_fit *how, struct model **out,
              u2i_error_t *err) {
    struct model_fitting f = {.run = r, .how = how, .m = model_alloc()};
    *out = NULL;
    if (f.m == NULL) {
        return error_oom(err);
    }
    f.m->taste = how->taste;
    f.m->order = how->order;
    f.m->weight_max = how->weight_max;
    int rc = model_fit_events(&f, err);
    if (rc == U2I_OK) {
        rc = model_fit_learn(&f, err);
    }
    if (rc == U2I_OK) {
        rc = model_fit_assemble(&f, err);
    }
    train_ials_free(f.ials);
    train_factors_free(f.ease);
    train_matrix_free(f.x);
    mem_free(f.trend);
    mem_free(f.wanted);
    if (rc == U2I_OK) {
        *out = f.m;
    } else {
        model_free(f.m);
    }
    return rc;
}
