/* What is worth telling of a training: names, values, and a line of help for each. */
#include "model/model_internal.h"
#include <stdarg.h>
#include <stdio.h>

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
        const u2i_figure_t figure = {m->figures[i].name, m->figures[i].value, ""};
        if (fn(ctx, &figure) != 0) {
            return;
        }
    }
}
