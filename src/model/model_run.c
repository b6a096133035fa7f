/* What a training reports while it runs, and the events in their canonical order: by user, then time, events of
 * one moment in an order that is random but the same each time (baskets and imports have none of their own,
 * and that of row numbers would mean something). So the order in which events come in means nothing. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "model/model_internal.h"

/* ---- Steps ------------------------------------------------------------------------------------ */

static int model_run_progress(void *ctx, uint64_t done, uint64_t total) {
    const struct model_run *const r = ctx;
    return r->in->progress(r->in->progress_ctx, r->step, done, total);
}

void model_run_begin(struct model_run *r, const struct model_input *in) {
    *r = (struct model_run){.in = in, .step = "", .work = {.threads = in->threads}};
    if (in->progress != NULL) {
        r->work.progress = model_run_progress;
        r->work.ctx = r;
    }
    const uint64_t left = memory_free_bytes();
    r->memory_max = in->memory_max > 0 ? in->memory_max : left - left / 4;
}

int model_progress(const struct model_run *r, uint64_t done, uint64_t total, u2i_error_t *err) {
    if (r->work.progress != NULL && r->work.progress(r->work.ctx, done, total) != 0) {
        return error_set(err, U2I_ETIMEOUT, "the training was cancelled");
    }
    return U2I_OK;
}

int model_step(struct model_run *r, const char *step, u2i_error_t *err) {
    if (!r->step_fixed) {
        r->step = step;
    }
    return model_progress(r, 0, 0, err);
}

/* ---- Events ----------------------------------------------------------------------------------- */

static int model_events_compare(const void *pa, const void *pb) {
    const struct train_event *a = pa;
    const struct train_event *b = pb;
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    if (a->item != b->item) {
        const uint64_t user = (uint64_t)a->user << 32;
        return hash_mix(user | a->item) < hash_mix(user | b->item) ? -1 : 1; /* a bijection */
    }
    return (a->weight > b->weight) - (a->weight < b->weight);
}

int model_events_sort(const struct model_input *in, struct train_event **out, u2i_error_t *err) {
    struct train_event *const list = alloc_array(in->n, sizeof *list);
    size_t *const starts = alloc_array((size_t)in->users + 1, sizeof *starts);
    *out = NULL;
    if (list == NULL || starts == NULL) {
        mem_free(starts);
        mem_free(list);
        return error_oom(err);
    }
    memset(starts, 0, ((size_t)in->users + 1) * sizeof *starts);
    for (size_t i = 0; i < in->n; i++) {
        starts[in->events[i].user + 1]++;
    }
    for (uint32_t u = 0; u < in->users; u++) {
        starts[u + 1] += starts[u];
    }
    for (size_t i = 0; i < in->n; i++) {
        list[starts[in->events[i].user]++] = in->events[i];
    }
    for (uint32_t u = 0; u < in->users; u++) { /* starts[u] is the end of u by now */
        const size_t first = u == 0 ? 0 : starts[u - 1];
        qsort(list + first, starts[u] - first, sizeof *list, model_events_compare);
    }
    mem_free(starts);
    *out = list;
    return U2I_OK;
}
