/* What is worth telling of a training: names, values, and a line of help for each. Kept with the model. */
#include "model/model_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The help of a name; `*` stands for the name of a part. */
static const struct figure_help {
    const char *before, *after, *help;
} figure_helps[] = {
    {"items", "", "items that anybody wanted: they have learnt vectors"},
    {"users", "", "users who wanted anything"},
    {"events", "", "events that the training saw"},
    {"dim", "", "numbers in an item's vector"},
    {"bytes", "", "memory of the model, in bytes"},
    {"seconds", "", "what the training took, in seconds"},
    {"weight.", "*", "weight of this part in the score; 0: left out"},
    {"decay.days", "", "half-life of events in the training, in days; 0: old ones count in full"},
    {"check.kind", "",
     "1: the newest events were to be guessed; 2: the last ones of users left out"},
    {"check.questions", "", "users asked in the check"},
    {"check.rounds", "", "trainings that the check made"},
    {"check.ndcg10", "", "NDCG@10 of the lists in the check, 0..1"},
    {"check.ndcg100", "", "NDCG@100 of the lists in the check, 0..1"},
    {"check.recall20", "", "share of what was wanted later within the first 20, 0..1"},
    {"check.better", "", "1: the lists beat popularity's; 0: they don't, or it is chance"},
    {"check.", "*.ndcg10", "NDCG@10 in the check of this part alone"},
    {"popular.all_days", "",
     "strangers: mean half-life of the counts of all events, in days; 0: none"},
    {"popular.first_days", "",
     "strangers: the same of first baskets; 0: they have no counts of their own"},
    {"popular.settings", "", "strangers: ways of counting that are averaged"},
    {"popular.quality", "", "strangers: (NDCG@10 + NDCG@100) / 2 on the newcomers of the past"},
    {"popular.newcomers", "", "newcomers of the past that popularity was chosen by"},
    {"content.items", "", "items that the way from content to taste was learnt from"},
    {"content.ridge", "", "how much that way is smoothed"},
    {"calibration.intercept", "", "score 0 as a probability: 1 / (1 + exp(-this))"},
    {"calibration.slope", "", "growth of the log-odds with the score"},
};

static bool figure_helps_with(const struct figure_help *h, const char *name) {
    const size_t before = strlen(h->before);
    if (h->after[0] != '*') {
        return strcmp(name, h->before) == 0;
    }
    for (int p = 0; p < MODEL_PARTS_N && strncmp(name, h->before, before) == 0; p++) {
        const char *const part = model_part_name((enum model_part)p);
        if (strncmp(name + before, part, strlen(part)) == 0 &&
            strcmp(name + before + strlen(part), h->after + 1) == 0) {
            return true;
        }
    }
    return false;
}

static const char *figure_help(const char *name) {
    for (size_t i = 0; i < sizeof figure_helps / sizeof figure_helps[0]; i++) {
        if (figure_helps_with(&figure_helps[i], name)) {
            return figure_helps[i].help;
        }
    }
    return "a figure of another version";
}

void model_tell(struct model *m, double value, const char *name, ...) {
    if (m->figures_n == MODEL_FIGURES_MAX) {
        return;
    }
    struct model_figure *const f = &m->figures[m->figures_n++];
    va_list args;
    va_start(args, name);
    (void)vsnprintf(f->name, sizeof f->name, name, args); /* cut if too long */
    va_end(args);
    f->value = value;
}

void model_figures(const struct model *m, u2i_figure_fn fn, void *ctx) {
    for (uint32_t i = 0; i < m->figures_n; i++) {
        const u2i_figure_t figure = {m->figures[i].name, m->figures[i].value,
                                     figure_help(m->figures[i].name)};
        if (fn(ctx, &figure) != 0) {
            return;
        }
    }
}
