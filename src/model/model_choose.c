/* The weights: a search along one coordinate after the other, twice over, from the defaults, on the questions of
 * the check. A step is taken only if it is better by more than half a standard error of the paired difference,
 * so that chance alone seldom moves a weight. The first part (ease, or what there is) keeps weight 1. */
#include "base/alloc.h"
#include "model/model_internal.h"
#include <math.h>

const float model_default_weights[MODEL_PARTS_N] = {
    [MODEL_EASE] = 1, [MODEL_SEQUENCE] = 0.2f, [MODEL_CONTENT] = 0.75f};

#define CHOOSE_GRID_MAX 6
#define CHOOSE_SWEEPS   2

static const struct choose_grid {
    enum model_part part;
    uint32_t n;
    float weights[CHOOSE_GRID_MAX];
} choose_grids[] = {
    {MODEL_TREND, 6, {0, 0.3f, 0.6f, 1, 1.5f, 2}},    {MODEL_IALS, 5, {0, 0.25f, 0.5f, 1, 2}},
    {MODEL_SEQUENCE, 5, {0, 0.1f, 0.2f, 0.4f, 0.8f}}, {MODEL_NEIGHBOURS, 5, {0, 0.25f, 0.5f, 1, 2}},
    {MODEL_POPULAR, 4, {0, 0.1f, 0.25f, 0.5f}},
};
#define CHOOSE_GRIDS (sizeof choose_grids / sizeof choose_grids[0])

/* The part that keeps weight 1. */
static int choose_main(uint32_t parts) {
    static const int order[] = {MODEL_EASE,     MODEL_NEIGHBOURS, MODEL_IALS,
                                MODEL_SEQUENCE, MODEL_POPULAR,    MODEL_TREND};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        if ((parts & 1u << order[i]) != 0) {
            return order[i];
        }
    }
    return MODEL_EASE;
}

void model_start_weights(uint32_t parts, float *weights) {
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        weights[p] = (parts & 1u << p) != 0 ? model_default_weights[p] : 0;
    }
    weights[choose_main(parts)] = 1;
}

struct choosing {
    const struct model_run *run;
    const struct model_exam *exam;
    float *weights;
    double *now, *trial, *best; /* quality of each question */
};

static double choose_mean(const double *quality, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += quality[i];
    }
    return n > 0 ? sum / n : 0;
}

/* The best other weight of the part, if it is clearly better. */
static void choose_step(struct choosing *c, const struct choose_grid *grid) {
    const float was = c->weights[grid->part];
    float weight = was;
    double most = -1;
    for (uint32_t g = 0; g < grid->n; g++) {
        if (grid->weights[g] != was) {
            c->weights[grid->part] = grid->weights[g];
            model_exam_judge(c->run, c->exam, c->weights, c->trial);
            const double mean = choose_mean(c->trial, c->exam->n);
            if (mean > most) {
                double *const swap = c->best;
                c->best = c->trial;
                c->trial = swap;
                most = mean;
                weight = grid->weights[g];
            }
        }
    }
    c->weights[grid->part] = was;
    const struct model_compared gain = model_compare(c->best, c->now, c->exam->n);
    if (gain.mean > 0.5 * gain.error) {
        double *const swap = c->now;
        c->now = c->best;
        c->best = swap;
        c->weights[grid->part] = weight;
    }
}

int model_choose(const struct model_run *r, const struct model_exam *exam, float *weights) {
    double *const quality = alloc_array((size_t)exam->n * 3, sizeof *quality);
    struct choosing c = {.run = r, .exam = exam, .weights = weights};
    const int first = choose_main(exam->parts);
    if (quality == NULL) {
        return U2I_ENOMEM;
    }
    c.now = quality;
    c.trial = quality + exam->n;
    c.best = quality + (size_t)exam->n * 2;
    model_exam_judge(r, exam, weights, c.now);
    for (int sweep = 0; sweep < CHOOSE_SWEEPS; sweep++) {
        for (size_t g = 0; g < CHOOSE_GRIDS; g++) {
            const int part = (int)choose_grids[g].part;
            if (part != first && (exam->parts & 1u << part) != 0) {
                choose_step(&c, &choose_grids[g]);
            }
        }
    }
    mem_free(quality);
    return U2I_OK;
}
