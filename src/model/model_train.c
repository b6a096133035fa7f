/* The run of a training: events in order, popularity for strangers, the check on events held back, the choice of
 * weights, and the final fit on everything. */
#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include <math.h>

/* The parts' weights where there is too little to check them on. */
const float model_default_weights[MODEL_PARTS_N] = {[MODEL_EASE] = 1, [MODEL_IALS] = 1,
                                                    [MODEL_SEQUENCE] = 0.25f,
                                                    [MODEL_CONTENT] = 0.5f};

static const struct model_recency train_taste = {0.5, 365 * 86400.0, 0.02};
static const struct model_recency train_order = {1, 90 * 86400.0, 0.02};

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

static int model_train_final(struct model_run *r, struct model_fit *fit, const float *weights,
                             struct model **out, u2i_error_t *err) {
    U2I_TRY(model_fit(r, fit, out, err));
    int rc = model_set_weights(*out, weights) == U2I_OK ? U2I_OK : error_oom(err);
    if (rc == U2I_OK) {
        rc = model_cold_fit(r, *out, err);
    }
    return rc;
}

int model_train(const struct model_input *in, struct model **out, u2i_error_t *err) {
    struct model_run run;
    struct train_event *list = NULL;
    *out = NULL;
    U2I_TRY(model_train_checked(in, err));
    model_run_begin(&run, in);
    U2I_TRY(model_step(&run, "events", err));
    U2I_TRY(model_events_sort(in, &list, err));
    struct model_fit fit = {.ev = {list, in->n},
                            .now_ms = in->now_ms,
                            .parts = in->parts != 0 ? in->parts : (1u << MODEL_PARTS_N) - 1,
                            .taste = train_taste,
                            .order = train_order,
                            .weight_max = model_train_normalise(list, in->n)};
    int rc = model_popular_choose(&run, &fit.ev, &fit.popular, err);
    if (rc == U2I_OK) {
        rc = model_train_final(&run, &fit, model_default_weights, out, err);
    }
    if (rc != U2I_OK) {
        model_free(*out);
        *out = NULL;
    }
    mem_free(list);
    return rc;
}
