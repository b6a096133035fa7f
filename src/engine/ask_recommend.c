/* What should this user see next? Candidates come from the model's taste vectors and from what others did
 * next; without a model, or where it knows nothing of the user's items, from the profile of content
 * vectors; without a profile from interests and attributes; and at last from popularity. What comes
 * from a later source stands behind what comes from an earlier one (a tier), as their scores can't be
 * compared. */
#include "ask.h"

#include "base/error.h"
#include "json/json.h"

#include <math.h>

/* Two texts without a word in common score about +-1/sqrt(dim): twice that says that they share
 * something. Below it, popularity knows better what a stranger may like. */
static float ask_noise(const struct ask *a) {
    return 2 / sqrtf((float)a->e->store->dim);
}

/* ---- Cold start ------------------------------------------------------------------------------- */

/* Every string in the attributes, whatever its depth, as one text; but what is protected is passed over, at
 * any depth and with all that is in it. */
static void ask_attribute_text(const struct settings *s, const json_t *value, struct buf *out) {
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_string(value)) {
        buf_puts(out, json_string_value(value));
        buf_putc(out, '\n');
    }
    json_array_foreach(value, i, member) {
        ask_attribute_text(s, member, out);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member) { /* only reads */
        if (!settings_protects(s, key)) {
            ask_attribute_text(s, member, out);
        }
    }
}

static int ask_from_attributes(struct ask *a, const char *attrs_json, u2i_error_t *err) {
    struct buf text = {0};
    json_t *attrs = NULL;
    float *vector = NULL;
    int rc = json_parse_object(attrs_json, strlen(attrs_json), U2I_ATTRS_MAX_DEPTH,
                               "the user's attributes", &attrs, err);
    if (rc == U2I_OK) {
        ask_attribute_text(&a->e->settings, attrs, &text);
        rc = text.failed ? error_oom(err) : U2I_OK;
    }
    if (rc == U2I_OK && text.len > 0) {
        rc = ask_embed_user(a, text.data, &vector, err);
    }
    if (rc == U2I_OK && vector != NULL) {
        rc = ask_nearest(a, vector, U2I_FROM_ATTRIBUTES, ask_noise(a), err);
    }
    json_decref(attrs);
    buf_free(&text);
    return rc;
}

/* Interests of the question, then of the user, then the user's attributes: the first that says
 * anything about any item. */
static int ask_cold_texts(struct ask *a, u2i_error_t *err) {
    struct engine *e = a->e;
    if (a->text != NULL) {
        U2I_TRY(ask_nearest(a, a->text, U2I_FROM_INTERESTS, ask_noise(a), err));
    }
    if (a->n > 0 || a->user == STORE_NONE || !embedding_can(e)) {
        return U2I_OK;
    }
    struct store_user user;
    U2I_TRY(ask_found(a, e->ops->get_user(e->store, a->user, &a->arena, &user, err)));
    if (user.interests != NULL) {
        float *vector;
        U2I_TRY(ask_embed_user(a, user.interests, &vector, err));
        if (vector != NULL) {
            U2I_TRY(ask_nearest(a, vector, U2I_FROM_INTERESTS, ask_noise(a), err));
        }
    }
    return a->n > 0 || user.attrs_json == NULL ? U2I_OK
                                               : ask_from_attributes(a, user.attrs_json, err);
}

/* What can't be embedded says nothing; popularity follows. */
static int ask_cold(struct ask *a, u2i_error_t *err) {
    const int rc = ask_cold_texts(a, err);
    if (rc != U2I_EEMBED) {
        return rc;
    }
    error_clear(err);
    return U2I_OK;
}

/* ---- Taste ------------------------------------------------------------------------------------ */

static const float *ask_content_of(void *ctx, uint32_t item) {
    const struct engine *e = ctx;
    return e->ops->vector(e->store, STORE_CONTENT, item);
}

/* The history as the model wants it, and for each event its index there. */
static int ask_model_events(const struct engine *e, const struct history *h, struct arena *arena,
                            struct model_event **out, uint32_t **index, size_t *out_n) {
    const struct history_source from = engine_history_source(e);
    const bool offline = e->settings.mode == SETTINGS_OFFLINE;
    size_t n = 0;
    *index = arena_array(arena, h->n + 1, sizeof(**index));
    *out = arena_array(arena, h->n + 1, sizeof(**out));
    if (*index == NULL || *out == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < h->n; i++) {
        const struct profile_event *ev = &h->events[i];
        const float w = trained_weight(history_action(&from, ev->action), ev->value);
        if (w > 0 && (!offline || ev->time_ms <= e->trained.now_ms)) {
            (*index)[n] = (uint32_t)i;
            (*out)[n++] =
                (struct model_event){ev->time_ms, ev->item, fminf(w / e->trained.weight_max, 1)};
        }
    }
    *out_n = n;
    return U2I_OK;
}

static int ask_model_user_of(struct engine *e, const struct history *h, struct arena *arena,
                             uint32_t **index, struct model_user **out, u2i_error_t *err) {
    struct model_question q = {.content = ask_content_of, .content_ctx = e};
    struct model_event *events = NULL;
    *out = NULL;
    *index = NULL;
    if (e->trained.model == NULL || e->settings.mode == SETTINGS_REALTIME) {
        return U2I_OK;
    }
    if (ask_model_events(e, h, arena, &events, index, &q.n) != U2I_OK) {
        return error_oom(err);
    }
    q.events = events;
    return q.n == 0 ? U2I_OK : model_user_new(e->trained.model, &q, arena, out, err);
}

int ask_model_user(struct engine *e, const struct history *h, struct arena *arena,
                   struct model_user **out, u2i_error_t *err) {
    uint32_t *index;
    return ask_model_user_of(e, h, arena, &index, out, err);
}

/* Candidates that are on their way from memory while one is scored: their vectors lie anywhere. */
#define ASK_AHEAD 3u

static int ask_learnt_candidate(struct ask *a, uint32_t row, int32_t source, u2i_error_t *err) {
    struct rank_candidate *c = NULL;
    U2I_TRY(ask_candidate(a, row, &c, err));
    c->source = source;
    model_user_score(a->learnt, row, a->e->ops->vector(a->e->store, STORE_TASTE, row), c->part);
    c->part[ASK_LATELY] = lately_score(a, row);
    rank_sum(c);
    return U2I_OK;
}

/* Items that the sparse parts put forward, as far as they may be shown. */
static int ask_learnt_next(struct ask *a, u2i_error_t *err) {
    struct engine *e = a->e;
    roaring_bitmap_t *passing = NULL;
    uint32_t *rows = arena_array(&a->arena, (size_t)a->want + a->lately_n, sizeof(*rows));
    if (rows == NULL) {
        return error_oom(err);
    }
    uint32_t n = model_user_next(a->learnt, rows, a->want);
    for (uint32_t i = 0; i < a->lately_n; i++) {
        rows[n++] = a->lately[i].row;
    }
    roaring_bitmap_t *among = n == 0 ? NULL : roaring_bitmap_of_ptr(n, rows);
    if (n == 0) {
        return U2I_OK;
    }
    int rc =
        among == NULL ? error_oom(err) : e->ops->matches(e->store, a->filter, among, &passing, err);
    if (rc == U2I_OK) {
        roaring_bitmap_andnot_inplace(passing, a->exclude);
        if (a->among != NULL) {
            roaring_bitmap_and_inplace(passing, a->among);
        }
    }
    for (uint32_t i = 0; i < n && rc == U2I_OK; i++) {
        if (i + ASK_AHEAD < n) {
            model_user_ask(a->learnt, rows[i + ASK_AHEAD]);
        }
        if (roaring_bitmap_remove_checked(passing, rows[i])) { /* one is there once */
            rc = ask_learnt_candidate(a, rows[i], U2I_FROM_NEIGHBOURS, err);
        }
    }
    if (passing != NULL) {
        roaring_bitmap_free(passing);
    }
    if (among != NULL) {
        roaring_bitmap_free(among);
    }
    return rc;
}

int ask_learnt_search(struct ask *a, u2i_error_t *err) {
    uint32_t n;
    U2I_TRY(ask_vectors(a, STORE_TASTE, model_user_query(a->learnt), &n, err));
    for (uint32_t i = 0; i < n; i++) {
        if (i + ASK_AHEAD < n) {
            model_user_ask(a->learnt, a->hits[i + ASK_AHEAD].row);
        }
        U2I_TRY(ask_learnt_candidate(a, a->hits[i].row, U2I_FROM_TASTE, err));
    }
    return U2I_OK;
}

static int ask_learnt(struct ask *a, u2i_error_t *err) {
    const struct model_scale m = model_calibration(a->e->trained.model);
    a->scales[a->tier] = (struct rank_scale){RANK_LOGIT, m.intercept, m.slope};
    if (a->e->settings.mode == SETTINGS_HYBRID) {
        U2I_TRY(lately_build(a, err));
    }
    U2I_TRY(ask_learnt_search(a, err));
    U2I_TRY(ask_learnt_next(a, err));
    a->tier++;
    return U2I_OK;
}

/* ---- All of it -------------------------------------------------------------------------------- */

static int ask_gather(struct ask *a, u2i_error_t *err) {
    if (a->history != NULL) {
        U2I_TRY(ask_model_user_of(a->e, a->history, &a->arena, &a->learnt_index, &a->learnt, err));
    }
    if (a->learnt != NULL) {
        U2I_TRY(ask_learnt(a, err));
    } else if (a->history != NULL) {
        U2I_TRY(taste_build(a->e, a->history, &a->arena, &a->taste, err));
    }
    if (a->taste.vector != NULL) {
        U2I_TRY(ask_nearest(a, a->taste.vector, U2I_FROM_PROFILE, ASK_ALL, err));
    } else if (a->learnt == NULL) {
        U2I_TRY(ask_cold(a, err));
    }
    return ask_popular(a, true, err);
}

static int ask_tie(const void *ctx, uint32_t row_a, uint32_t row_b) {
    const struct engine *e = ctx;
    return strcmp(e->ops->item_id(e->store, row_a), e->ops->item_id(e->store, row_b));
}

/* What makes two candidates alike: taste where there is any, else content. */
static uint32_t ask_likeness(struct ask *a) {
    struct engine *e = a->e;
    const enum store_space space = a->learnt != NULL ? STORE_TASTE : STORE_CONTENT;
    uint32_t dim = e->store->dim;
    const uint32_t at = a->learnt != NULL ? model_likeness(e->trained.model, &dim) : 0;
    for (uint32_t i = 0; i < a->n; i++) {
        const float *const v = e->ops->vector(e->store, space, a->candidates[i].row);
        a->candidates[i].vector = v == NULL ? NULL : v + at;
    }
    return dim;
}

int ask_recommend(struct ask *a, u2i_error_t *err) {
    U2I_TRY(ask_gather(a, err));
    U2I_TRY(forward_gather(a, err));
    struct rank_query q = {.candidates = a->candidates,
                           .n = a->n,
                           .k = a->k,
                           .diversity = ask_diversity(a),
                           .tie = ask_tie,
                           .tie_ctx = a->e};
    if (q.diversity > 0) {
        q.dim = ask_likeness(a);
    }
    U2I_TRY(asked_rank(a, &q, err));
    return rank_order(&q, &a->arena, a->order, &a->order_n, err);
}
