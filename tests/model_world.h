/* Worlds for the tests of model/: users and items in groups, users want what is of their group, now and then
 * something else. What is planted can be looked for. */
#ifndef U2I_TESTS_MODEL_WORLD_H
#define U2I_TESTS_MODEL_WORLD_H

#include "base/alloc.h"
#include "base/rng.h"
#include "model/model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WORLD_START_MS INT64_C(1600000000000)
#define WORLD_DAY_MS   INT64_C(86400000)
#define WORLD_DIM      32u

struct world {
    uint32_t users, items, groups;
    struct train_event *events;
    size_t n, cap;
    float *content; /* [items][WORLD_DIM], unit; NULL: none */
    struct rng rng;
};

static inline uint32_t world_group(const struct world *w, uint32_t x) {
    return x % w->groups;
}

static inline void world_add(struct world *w, struct train_event e) {
    assert_int_equal(array_reserve(&w->events, &w->cap, w->n + 1, sizeof *w->events), U2I_OK);
    w->events[w->n++] = e;
}

/* `each` events a user, over `days` days; one in ten is anything at all, the rest of the user's group. */
static inline struct world world_new(uint32_t users, uint32_t items, uint32_t groups, uint32_t each,
                                     int64_t days) {
    struct world w = {.users = users, .items = items, .groups = groups};
    rng_seed(&w.rng, 4711);
    for (uint32_t u = 0; u < users; u++) {
        for (uint32_t e = 0; e < each; e++) {
            uint32_t item = rng_below(&w.rng, items);
            if (rng_below(&w.rng, 10) > 0) {
                item = item - item % groups + world_group(&w, u);
                item = item < items ? item : world_group(&w, u);
            }
            world_add(&w, (struct train_event){u, item, rng_below(&w.rng, 4) == 0 ? 0.4f : 1.0f,
                                               WORLD_START_MS +
                                                   (int64_t)(rng_unit(&w.rng) * (double)days *
                                                             (double)WORLD_DAY_MS)});
        }
    }
    return w;
}

static inline void world_free(struct world *w) {
    mem_free(w->events);
    mem_free(w->content);
}

/* Content that tells the group, with noise. */
static inline void world_content(struct world *w) {
    w->content = alloc_array((size_t)w->items * WORLD_DIM, sizeof *w->content);
    assert_non_null(w->content);
    for (uint32_t i = 0; i < w->items; i++) {
        float *const c = w->content + (size_t)i * WORLD_DIM;
        double square = 0;
        for (uint32_t d = 0; d < WORLD_DIM; d++) {
            c[d] = (float)(0.15 * rng_normal(&w->rng)) + (d == world_group(w, i) ? 1.0f : 0.0f);
            square += (double)c[d] * (double)c[d];
        }
        for (uint32_t d = 0; d < WORLD_DIM; d++) {
            c[d] /= (float)sqrt(square);
        }
    }
}

static inline const float *world_content_of(void *ctx, uint32_t item) {
    const struct world *w = ctx;
    return item < w->items ? w->content + (size_t)item * WORLD_DIM : NULL;
}

static inline struct model_input world_input(struct world *w) {
    struct model_input in = {.events = w->events,
                             .n = w->n,
                             .users = w->users,
                             .items = w->items,
                             .now_ms = WORLD_START_MS,
                             .seed = 1};
    for (size_t i = 0; i < w->n; i++) {
        in.now_ms = w->events[i].time_ms > in.now_ms ? w->events[i].time_ms : in.now_ms;
    }
    if (w->content != NULL) {
        in.content = world_content_of;
        in.content_ctx = w;
        in.content_dim = WORLD_DIM;
    }
    return in;
}

static inline struct model *world_train(const struct model_input *in) {
    struct model *m = NULL;
    u2i_error_t err = {0};
    if (model_train(in, &m, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    return m;
}

struct world_figure {
    const char *name;
    double value;
    bool found;
};

static inline int world_figure_fn(void *ctx, const u2i_figure_t *f) {
    struct world_figure *want = ctx;
    assert_true(f->help[0] != 0);
    if (strcmp(f->name, want->name) == 0) {
        want->value = f->value;
        want->found = true;
    }
    return 0;
}

static inline double world_figure(const struct model *m, const char *name) {
    struct world_figure want = {name, NAN, false};
    model_figures(m, world_figure_fn, &want);
    if (!want.found) {
        fail_msg("there is no figure %s", name);
    }
    return want.value;
}

static inline float world_total(const struct model_user *u, const struct model *m, uint32_t row) {
    float parts[MODEL_PARTS_N];
    float total = 0;
    model_user_score(u, row, model_out(m, row), parts);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        total += parts[p];
    }
    return total;
}

#endif
