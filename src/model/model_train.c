/* The run of a training: events in order, popularity for strangers, the check on events held back, the choice of
 * weights, and the final fit on everything. */
#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include <math.h>
#include <stdio.h>

static const struct model_recency train_taste = {0.5, 1e12, 0.02};
static const struct model_recency train_order = {1, 1e12, 0.02};

#define TRAIN_DECAY_S (90 * 86400.0)

static int model_train_checked(const struct model_input *in, u2i_error_t *err) {
    for (size_t i = 0; i < in->n; i++) {
        const struct train_event *const e = &in->events[i];
        if (e->user >= in->users || e->item >= in->items || !(e->weight >= 0 && e->weight <= 1)) {
            return error_set(err, U2I_EINVAL,
                             "event %zu (user %u, item %u, weight %g) is out of range", i, e->user,
                             e->item, (double)e->weight);
        }
    }
    return U2I_OK;
}

/* Only weak actions in the data: then they are what is wanted. Returns what the weights are divided by. */
static double model_train_normalise(struct train_event *list, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = list[i].weight > most ? list[i].weight : most;
    }
    for (size_t i = 0; i < n && most > 0; i++) {
        list[i].weight /= most;
    }
    return most > 0 ? (double)most : 1;
}

/* Neighbours are for catalogues that are too large for ease to be exact: elsewhere they add nothing. */
static uint32_t model_train_parts(const struct model_input *in) {
    const uint32_t all = (1u << MODEL_PARTS_N) - 1;
    if (in->parts != 0) {
        return in->parts & all;
    }
    return in->items > TRAIN_EASE_ITEMS_MAX ? all : all & ~(1u << MODEL_NEIGHBOURS);
}

/* ---- The check -------------------------------------------------------------------------------- */

/* A round's training, and its end: what is asked is asked then. *out NULL: nothing was wanted in it. */
static int model_train_fit(struct model_run *r, const struct model_fit *all,
                           const struct model_round *round, struct model **out, u2i_error_t *err) {
    struct model_fit fit = *all;
    fit.ev = (struct model_events){round->train, round->train_n};
    fit.now_ms = round->now_ms;
    fit.is_for_check = true;
    fit.weight_max = 1; /* the events' weights have been divided already */
    const int rc = model_fit(r, &fit, out, err);
    return rc == U2I_ENOTFOUND ? U2I_OK : rc;
}

struct model_checking {
    struct model_run *run;
    struct model_fit *all;
    const struct model_check_plan *plan;
    struct model_exam exam;
};

static int model_train_ask(struct model_checking *c, uint32_t round, const struct model *m,
                           struct model_exam *exam, u2i_error_t *err) {
    const int rc = model_exam_ask(c->run, &c->all->ev, c->plan, round, m, exam);
    return rc == U2I_OK ? U2I_OK : error_oom(err);
}

/* Whether the lists of ease alone in `faded` are better than in the check's own exam, and not by chance. */
static int model_train_fades(const struct model_checking *c, const struct model_exam *faded,
                             bool *out) {
    const float ease[MODEL_PARTS_N] = {[MODEL_EASE] = 1};
    double *const quality = alloc_array((size_t)faded->n * 2, sizeof *quality);
    if (quality == NULL) {
        return U2I_ENOMEM;
    }
    model_exam_judge(c->run, faded, ease, quality);
    model_exam_judge(c->run, &c->exam, ease, quality + faded->n);
    const struct model_compared gain = model_compare(quality, quality + faded->n, faded->n);
    *out = gain.mean > gain.error; /* stricter than weights: it throws something away */
    mem_free(quality);
    return U2I_OK;
}

/* Whether old events should fade in ease's training: tastes in films last, a shop's range doesn't. So a replay trains
 * ease both ways; where fading won, it takes the other's place in *m, and the questions are asked anew. */
static int model_train_decay(struct model_checking *c, struct model *m, u2i_error_t *err) {
    struct model_fit fit = *c->all;
    struct model_exam exam = {0};
    struct model *faded = NULL;
    bool fades = false;
    fit.parts = 1u << MODEL_EASE;
    fit.decay_s = TRAIN_DECAY_S;
    int rc = model_train_fit(c->run, &fit, &c->plan->rounds[0], &faded, err);
    if (rc == U2I_OK) {
        rc = model_train_ask(c, 0, faded, &exam, err);
    }
    if (rc == U2I_OK && model_train_fades(c, &exam, &fades) != U2I_OK) {
        rc = error_oom(err);
    }
    if (rc == U2I_OK && fades && model_swap_ease(m, faded)) {
        c->all->decay_s = TRAIN_DECAY_S;
        model_exam_free(&c->exam);
        rc = model_train_ask(c, 0, m, &c->exam, err);
    }
    model_exam_free(&exam);
    model_free(faded);
    return rc;
}

static int model_train_round(struct model_checking *c, uint32_t round, u2i_error_t *err) {
    struct model *m = NULL;
    U2I_TRY(model_train_fit(c->run, c->all, &c->plan->rounds[round], &m, err));
    int rc = m == NULL ? U2I_OK : model_train_ask(c, round, m, &c->exam, err);
    if (rc == U2I_OK && m != NULL && c->plan->kind == MODEL_CHECK_TIME && c->plan->is_long &&
        m->block[MODEL_EASE].dim > 0) {
        rc = model_train_decay(c, m, err);
    }
    model_free(m);
    return rc;
}

/* ---- What is told of it ----------------------------------------------------------------------- */

struct model_marks_told { /* means over the questions */
    double ndcg10, ndcg100, recall20;
};

static struct model_marks_told model_train_mean(const struct model_exam *exam,
                                                const float *weights) {
    struct model_marks_told mean = {0, 0, 0};
    for (uint32_t i = 0; i < exam->n; i++) {
        const struct model_scored *const s = &exam->list[i];
        const struct model_gain g = model_scored_gain(s, weights);
        mean.ndcg10 += g.dcg10 / s->ideal.dcg10 / exam->n;
        mean.ndcg100 += g.dcg100 / s->ideal.dcg100 / exam->n;
        mean.recall20 += (double)g.hits20 / s->ideal.hits20 / exam->n;
    }
    return mean;
}

/* The lists of the chosen weights, and those of each part alone. */
static void model_train_tell(struct model *told, const struct model_check_plan *plan,
                             const struct model_exam *exam, const float *weights) {
    const struct model_marks_told mean = model_train_mean(exam, weights);
    model_tell(told, plan->kind, "check.kind");
    model_tell(told, plan->n, "check.rounds");
    model_tell(told, exam->n, "check.questions");
    model_tell(told, mean.ndcg10, "check.ndcg10");
    model_tell(told, mean.ndcg100, "check.ndcg100");
    model_tell(told, mean.recall20, "check.recall20");
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        float one[MODEL_PARTS_N] = {0};
        one[p] = 1;
        if ((exam->parts & 1u << p) != 0) {
            model_tell(told, model_train_mean(exam, one).ndcg10, "check.%s.ndcg10",
                       model_part_name((enum model_part)p));
        }
    }
}

/* Paired with popularity's lists: better, and not just by chance. */
static int model_train_compare(const struct model_run *r, const struct model_exam *exam,
                               const float *weights, struct model *told) {
    const float popular[MODEL_PARTS_N] = {[MODEL_POPULAR] = 1};
    double *const quality = alloc_array((size_t)exam->n * 2, sizeof *quality);
    if (quality == NULL) {
        return U2I_ENOMEM;
    }
    model_exam_judge(r, exam, weights, quality);
    model_exam_judge(r, exam, popular, quality + exam->n);
    const struct model_compared gain = model_compare(quality, quality + exam->n, exam->n);
    model_tell(told, gain.mean > 0.5 * gain.error, "check.better");
    mem_free(quality);
    return U2I_OK;
}

/* Trains and asks each round of the plan. */
static int model_train_rounds(struct model_checking *c, u2i_error_t *err) {
    char step[32];
    int rc = U2I_OK;
    c->run->step = step;
    c->run->step_fixed = true;
    for (uint32_t i = 0; i < c->plan->n && c->plan->asked > 0 && rc == U2I_OK; i++) {
        (void)snprintf(step, sizeof step, "check %u of %u", i + 1, c->plan->n); /* fits */
        rc = model_train_round(c, i, err);
    }
    c->run->step = "";
    c->run->step_fixed = false;
    return rc;
}

/* Chooses weights[] and the calibration by what the questions found, and tells of it in `told`. */
static int model_train_choose(struct model_run *r, const struct model_check_plan *plan,
                              const struct model_exam *exam, float *weights, struct model *told,
                              u2i_error_t *err) {
    if (exam->n == 0) {
        return U2I_OK;
    }
    U2I_TRY(model_step(r, "choose", err));
    model_start_weights(exam->parts, weights);
    if (model_choose(r, exam, weights) != U2I_OK ||
        model_calibrate(exam, weights, &told->scale) != U2I_OK ||
        model_train_compare(r, exam, weights, told) != U2I_OK) {
        return error_oom(err);
    }
    model_train_tell(told, plan, exam, weights);
    return U2I_OK;
}

static int model_train_check(struct model_run *r, struct model_fit *all, float *weights,
                             struct model *told, u2i_error_t *err) {
    struct model_check_plan plan;
    struct model_checking c = {.run = r, .all = all, .plan = &plan};
    if (model_check_plan_new(r, &all->ev, &plan) != U2I_OK) {
        return error_oom(err);
    }
    int rc = model_train_rounds(&c, err);
    if (rc == U2I_OK) {
        rc = model_train_choose(r, &plan, &c.exam, weights, told, err);
    }
    model_exam_free(&c.exam);
    model_check_free(&plan);
    return rc;
}

/* ---- All of it -------------------------------------------------------------------------------- */

/* The parts that have a weight, on all events. */
static int model_train_final(struct model_run *r, struct model_fit *fit, const float *weights,
                             struct model **out, u2i_error_t *err) {
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        fit->parts &= weights[p] > 0 ? ~0u : ~(1u << p);
    }
    U2I_TRY(model_fit(r, fit, out, err));
    if (model_set_weights(*out, weights) != U2I_OK ||
        model_keep_questions(*out, &fit->ev) != U2I_OK) {
        return error_oom(err);
    }
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        model_tell(*out, (double)(*out)->weight[p], "weight.%s",
                   model_part_name((enum model_part)p));
    }
    return (fit->parts & 1u << MODEL_CONTENT) != 0 ? model_cold_fit(r, *out, err) : U2I_OK;
}

static int model_train_run(struct model_run *r, struct model_fit *fit, struct model *told,
                           struct model **out, u2i_error_t *err) {
    float weights[MODEL_PARTS_N];
    model_start_weights(fit->parts, weights);
    U2I_TRY(model_popular_choose(r, &fit->ev, &fit->popular, err));
    U2I_TRY(model_train_check(r, fit, weights, told, err));
    if ((fit->parts & 1u << MODEL_CONTENT) != 0) {
        weights[MODEL_CONTENT] = model_default_weights[MODEL_CONTENT];
    }
    U2I_TRY(model_train_final(r, fit, weights, out, err));
    model_tell(*out, fit->decay_s / 86400, "decay.days");
    model_popular_tell(&fit->popular, *out);
    model_tell(*out, told->scale.intercept, "calibration.intercept");
    model_tell(*out, told->scale.slope, "calibration.slope");
    (*out)->scale = told->scale;
    for (uint32_t i = 0; i < told->figures_n; i++) {
        model_tell(*out, told->figures[i].value, "%s", told->figures[i].name);
    }
    return U2I_OK;
}

int model_train(const struct model_input *in, struct model **out, u2i_error_t *err) {
    struct model_run run;
    struct train_event *list = NULL;
    *out = NULL;
    U2I_TRY(model_train_checked(in, err));
    model_run_begin(&run, in);
    U2I_TRY(model_step(&run, "events", err));
    struct model *const told = model_alloc();
    int rc = told == NULL ? error_oom(err) : model_events_sort(in, &list, err);
    if (rc == U2I_OK) {
        struct model_fit fit = {.ev = {list, in->n},
                                .now_ms = in->now_ms,
                                .parts = model_train_parts(in),
                                .taste = train_taste,
                                .order = train_order,
                                .weight_max = model_train_normalise(list, in->n)};
        rc = model_train_run(&run, &fit, told, out, err);
    }
    if (rc != U2I_OK) {
        model_free(*out);
        *out = NULL;
    }
    model_free(told);
    mem_free(list);
    return rc;
}
