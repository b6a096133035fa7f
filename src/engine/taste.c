/* A user's profile: the events' weights (profile/), each paired with its own item's vector, so that an
 * item that is gone takes only its own weight with it. */
#include "engine_internal.h"

#include "base/error.h"
#include "vec/vec.h"

/* Action weights by number, as profile_entries() wants them: the store's, then the settings' own. */
static float *taste_action_weights(const struct engine *e, struct arena *a) {
    const size_t own_n = e->settings.actions_n;
    float *weights = arena_array(a, e->actions_n + own_n + 1, sizeof(*weights));
    for (size_t i = 0; weights != NULL && i < e->actions_n; i++) {
        weights[i] = e->actions[i] == NULL ? 0 : e->actions[i]->weight;
    }
    for (size_t i = 0; weights != NULL && i < own_n; i++) {
        weights[e->actions_n + i] = e->settings.actions[i].weight;
    }
    return weights;
}

/* The events with numbers as that table has them: the history's own where they are that already. */
static const struct profile_event *taste_events(const struct engine *e, const struct history *h,
                                                struct arena *a) {
    size_t i = 0;
    while (i < h->n && h->events[i].action < HISTORY_SETTING_ACTION) {
        i++;
    }
    if (i == h->n) {
        return h->events;
    }
    struct profile_event *copy = arena_array(a, h->n, sizeof(*copy));
    for (i = 0; copy != NULL && i < h->n; i++) {
        copy[i] = h->events[i];
        if (copy[i].action >= HISTORY_SETTING_ACTION) {
            copy[i].action = (uint16_t)(e->actions_n + copy[i].action - HISTORY_SETTING_ACTION);
        }
    }
    return copy;
}

static struct profile_recency taste_recency(const struct engine *e, const struct history *h) {
    struct profile_recency how = e->settings.recency;
    if (h->decay > 0) {
        how.mode = PROFILE_DECAY;
        how.decay = h->decay;
    }
    return how;
}

/* Pairs each entry with its item's vector and leaves out the items that have none. */
static void taste_find_vectors(struct engine *e, struct taste *t, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float *v = e->ops->vector(e->store, STORE_CONTENT, t->entries[i].item);
        if (v != NULL) {
            t->entries[t->entries_n] = t->entries[i];
            t->vectors[t->entries_n++] = v;
        }
    }
}

/* vector = Σ w v / |Σ w v|. False if it points nowhere near what the user liked: a profile of dislikes
 * says only what to keep away from, not where to go. `weights` and `liked` are scratch for as many
 * floats as there are entries, respectively dimensions. */
static bool taste_sum(const struct taste *t, uint32_t dim, float *weights, float *liked) {
    const struct vec_ops *vec = vec_get();
    bool negative = false;
    for (size_t i = 0; i < t->entries_n; i++) {
        weights[i] = t->entries[i].weight;
        negative = negative || weights[i] < 0;
    }
    memset(t->vector, 0, dim * sizeof(*t->vector));
    vec->axpy_rows(weights, t->vectors, t->entries_n, t->vector, dim);
    if (negative) {
        for (size_t i = 0; i < t->entries_n; i++) {
            weights[i] = weights[i] > 0 ? weights[i] : 0;
        }
        memset(liked, 0, dim * sizeof(*liked));
        vec->axpy_rows(weights, t->vectors, t->entries_n, liked, dim);
    }
    return (!negative || vec->dot(t->vector, liked, dim) > 0) && vec_normalise(t->vector, dim);
}

int taste_build(struct engine *e, const struct history *h, struct arena *a, struct taste *out,
                u2i_error_t *err) {
    *out = (struct taste){0};
    if (h->n == 0) {
        return U2I_OK;
    }
    float *recency = arena_array(a, h->n, sizeof(*recency));
    float *weights = taste_action_weights(e, a);
    const struct profile_event *events = taste_events(e, h, a);
    float *liked = arena_array(a, e->store->dim, sizeof(*liked));
    out->entries = arena_array(a, h->n, sizeof(*out->entries));
    out->vectors = arena_array(a, h->n, sizeof(*out->vectors));
    out->vector = arena_array(a, e->store->dim, sizeof(*out->vector));
    if (recency == NULL || weights == NULL || events == NULL || liked == NULL ||
        out->entries == NULL || out->vectors == NULL || out->vector == NULL) {
        return error_oom(err);
    }
    const struct profile_recency how = taste_recency(e, h);
    size_t n;
    profile_recency(&how, events, h->n, recency);
    if (profile_entries(events, h->n, recency, weights, out->entries, &n) != U2I_OK) {
        return error_oom(err);
    }
    taste_find_vectors(e, out, n);
    profile_normalise(out->entries, out->entries_n);
    if (!taste_sum(out, e->store->dim, recency, liked)) { /* recency has been used up */
        out->vector = NULL;
    }
    return U2I_OK;
}

int taste_dots(struct engine *e, const struct taste *t, uint32_t row, struct arena *a, float **out,
               u2i_error_t *err) {
    const float *hit = e->ops->vector(e->store, STORE_CONTENT, row);
    float *dots = arena_array(a, t->entries_n + 1, sizeof(*dots));
    *out = dots;
    if (dots == NULL) {
        return error_oom(err);
    }
    memset(dots, 0, (t->entries_n + 1) * sizeof(*dots));
    if (hit != NULL) {
        vec_get()->dot_many(hit, t->vectors, t->entries_n, e->store->dim, dots);
    }
    return U2I_OK;
}

int engine_profile(struct engine *e, const char *user, float *out, u2i_error_t *err) {
    struct arena scratch = {0};
    struct taste taste = {0};
    struct history *h = NULL;
    U2I_TRY(engine_read_begin(e, err));
    const struct history_source from = engine_history_source(e);
    const uint32_t row = e->ops->user_row(e->store, user);
    int rc = row == STORE_NONE ? error_set(err, U2I_ENOTFOUND, "there is no user \"%s\"", user)
                               : history_get(e->histories, &from, row, &h, err);
    if (rc == U2I_OK) {
        rc = taste_build(e, h, &scratch, &taste, err);
    }
    if (rc == U2I_OK && taste.vector == NULL) {
        rc = error_set(err, U2I_ENOTFOUND, "user \"%s\" has no profile", user);
    } else if (rc == U2I_OK) {
        memcpy(out, taste.vector, e->store->dim * sizeof(*out));
    }
    history_put_back(e->histories, h);
    e->ops->read_end(e->store);
    arena_free(&scratch);
    return rc;
}
