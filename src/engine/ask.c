/* The life of a question: parse, embed, then inside one read section look up, exclude, search, explain
 * and copy. What is left out (the caller's ids, what the user has seen or disliked) is a bitmap, what
 * must hold is a filter, and both are given to every search, so that cold start, popularity and search
 * keep them as recommendations do. */
#include "engine_internal.h"
#include "result.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"
#include "json/json.h"

#include <math.h>

#define ASK_ALL (-2.0f) /* below every cosine */

struct pick {
    uint32_t row;
    float score;
    int32_t source;
};

struct ask {
    struct engine *e;
    const u2i_query_t *q;
    struct arena arena;
    struct deadline deadline;
    struct filter *filter;     /* NULL = none */
    float *text;               /* of q->text or q->interests, embedded; NULL = nothing in it */
    roaring_bitmap_t *exclude; /* rows that must not appear (again) */
    uint32_t user;             /* STORE_NONE = unknown */
    struct history *history;   /* NULL without a user */
    struct taste taste;
    struct pick *picks; /* best first */
    struct hit *hits;   /* scratch of one search */
    uint32_t n, k;
    bool moved;                   /* the store has gone on: ask again */
    struct store_explain explain; /* of the last search of vectors */
};

/* How often a question is asked anew because an item of its answer, or its user, was deleted between
 * the search and the reading of texts. Each time the store is seen as it is by then. */
#define ASK_ATTEMPTS 20

/* Texts are read from the store as it is now, the search saw it as it was when the section began: what
 * is not found any more was deleted in between. */
static int ask_found(struct ask *a, int rc) {
    a->moved = a->moved || rc == U2I_ENOTFOUND;
    return rc;
}

/* ---- Before the read section -------------------------------------------------------------------- */

static int ask_embed(struct ask *a, const char *text, float **out, u2i_error_t *err) {
    const uint32_t dim = a->e->store->dim;
    const struct embed_text in = {.text = text};
    float *v = arena_array(&a->arena, dim, sizeof(*v));
    *out = NULL;
    if (v == NULL) {
        return error_oom(err);
    }
    U2I_TRY(embedding_run(a->e, &in, 1, v, NULL, err));
    *out = vec_normalise(v, dim) ? v : NULL; /* "!?" has no words: not an error, finds nothing */
    return U2I_OK;
}

static int ask_prepare(struct ask *a, enum engine_question what, u2i_error_t *err) {
    const u2i_query_t *q = a->q;
    a->k = q->limit;
    a->exclude = roaring_bitmap_create();
    a->picks = arena_array(&a->arena, a->k, sizeof(*a->picks));
    a->hits = arena_array(&a->arena, a->k, sizeof(*a->hits));
    if (a->exclude == NULL || a->picks == NULL || a->hits == NULL) {
        return error_oom(err);
    }
    if (q->timeout_ms > 0) {
        a->deadline.clock = a->e->clock;
        a->deadline.at_ns = clock_ticks_ns(a->e->clock) + (int64_t)q->timeout_ms * 1000000;
    }
    if (q->filter != NULL && what != ENGINE_SIMILAR_USERS) {
        U2I_TRY(
            filter_parse(q->filter, strlen(q->filter), q->params, q->params_n, &a->filter, err));
    }
    const char *text = what == ENGINE_SEARCH                      ? q->text
                       : what == ENGINE_RECOMMEND && a->e->embeds ? q->interests
                                                                  : NULL;
    if (text == NULL) {
        return U2I_OK;
    }
    U2I_TRY(engine_follow(a->e, err)); /* the embedder as the store's newest state has it */
    return ask_embed(a, text, &a->text, err);
}

/* ---- Whose question, and what it must not name ---------------------------------------------------- */

static int ask_find_user(struct ask *a, u2i_error_t *err) {
    struct engine *e = a->e;
    if (a->q->user == NULL) {
        return U2I_OK;
    }
    a->user = e->ops->user_row(e->store, a->q->user);
    if (a->user == STORE_NONE) {
        return U2I_OK;
    }
    const struct history_source from = engine_history_source(e);
    return ask_found(a, history_get(e->histories, &from, a->user, &a->history, err));
}

static void ask_exclude(struct ask *a) {
    const u2i_query_t *q = a->q;
    for (size_t i = 0; i < q->exclude_n; i++) {
        const uint32_t row = a->e->ops->item_row(a->e->store, q->exclude[i]);
        if (row != STORE_NONE) {
            roaring_bitmap_add(a->exclude, row);
        }
    }
    if (a->history != NULL) {
        const bool keep_seen = (q->flags & U2I_KEEP_SEEN) != 0;
        roaring_bitmap_or_inplace(a->exclude, keep_seen ? a->history->disliked : a->history->acted);
    }
}

/* ---- Retrieving ----------------------------------------------------------------------------- */

/* Takes the hits in; one row is picked once only. */
static void ask_pick(struct ask *a, uint32_t n, int32_t source) {
    for (uint32_t i = 0; i < n && a->n < a->k; i++) {
        a->picks[a->n++] = (struct pick){a->hits[i].row, a->hits[i].score, source};
        roaring_bitmap_add(a->exclude, a->hits[i].row);
    }
}

/* Two texts without a word in common score about +-1/sqrt(dim): twice that says that they share
 * something. Below it, popularity knows better what a stranger may like. */
static float ask_noise(const struct ask *a) {
    return 2 / sqrtf((float)a->e->store->dim);
}

/* The nearest to `vector` that score more than `least`. */
static int ask_nearest(struct ask *a, const float *vector, int32_t source, float least,
                       u2i_error_t *err) {
    const struct store_search q = {.space = STORE_CONTENT,
                                   .vector = vector,
                                   .k = a->k - a->n,
                                   .filter = a->filter,
                                   .exclude = a->exclude,
                                   .deadline = &a->deadline,
                                   .explain = &a->explain};
    uint32_t n = 0;
    U2I_TRY(a->e->ops->search(a->e->store, &q, a->hits, &n, err));
    while (n > 0 && a->hits[n - 1].score <= least) {
        n--;
    }
    ask_pick(a, n, source);
    return U2I_OK;
}

struct popular_order {
    const struct engine *e;
    struct popularity_scale scale;
};

static float ask_popular_score(const void *ctx, uint32_t row) {
    const struct popular_order *o = ctx;
    return popularity_score(o->e->popularity, &o->scale, o->e->settings.popular_blend, row);
}

static int ask_popular(struct ask *a, u2i_error_t *err) {
    if (a->n == a->k) {
        return U2I_OK;
    }
    const struct popular_order order = {a->e, popularity_scale(a->e->popularity)};
    const struct store_rank q = {.score = ask_popular_score,
                                 .ctx = &order,
                                 .k = a->k - a->n,
                                 .filter = a->filter,
                                 .exclude = a->exclude,
                                 .deadline = &a->deadline};
    uint32_t n = 0;
    U2I_TRY(a->e->ops->rank(a->e->store, &q, a->hits, &n, err));
    const uint32_t first = a->n;
    ask_pick(a, n, U2I_FROM_POPULAR);
    for (uint32_t i = first; i < a->n; i++) {
        if (a->picks[i].score <= 0) {
            a->picks[i].source = U2I_FROM_CATALOGUE;
        }
    }
    return U2I_OK;
}

/* ---- Cold start ------------------------------------------------------------------------------- */

/* Every string in the attributes, whatever its depth, as one text. */
static void ask_attribute_text(const json_t *value, struct buf *out) {
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_string(value)) {
        buf_puts(out, json_string_value(value));
        buf_putc(out, '\n');
    }
    json_array_foreach(value, i, member) {
        ask_attribute_text(member, out);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member) { /* only reads */
        ask_attribute_text(member, out);
    }
}

static int ask_from_attributes(struct ask *a, const char *attrs_json, u2i_error_t *err) {
    struct buf text = {0};
    json_t *attrs = NULL;
    float *vector = NULL;
    int rc = json_parse_object(attrs_json, strlen(attrs_json), U2I_ATTRS_MAX_DEPTH,
                               "the user's attributes", &attrs, err);
    if (rc == U2I_OK) {
        ask_attribute_text(attrs, &text);
        rc = text.failed ? error_oom(err) : U2I_OK;
    }
    if (rc == U2I_OK && text.len > 0) {
        rc = ask_embed(a, text.data, &vector, err);
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
static int ask_cold(struct ask *a, u2i_error_t *err) {
    struct engine *e = a->e;
    if (a->text != NULL) {
        U2I_TRY(ask_nearest(a, a->text, U2I_FROM_INTERESTS, ask_noise(a), err));
    }
    if (a->n > 0 || a->user == STORE_NONE || !e->embeds) {
        return U2I_OK;
    }
    struct store_user user;
    U2I_TRY(ask_found(a, e->ops->get_user(e->store, a->user, &a->arena, &user, err)));
    if (user.interests != NULL) {
        float *vector;
        U2I_TRY(ask_embed(a, user.interests, &vector, err));
        if (vector != NULL) {
            U2I_TRY(ask_nearest(a, vector, U2I_FROM_INTERESTS, ask_noise(a), err));
        }
    }
    return a->n > 0 || user.attrs_json == NULL ? U2I_OK
                                               : ask_from_attributes(a, user.attrs_json, err);
}

/* ---- The five questions ----------------------------------------------------------------------- */

static int ask_recommend(struct ask *a, u2i_error_t *err) {
    if (a->history != NULL) {
        U2I_TRY(taste_build(a->e, a->history, &a->arena, &a->taste, err));
    }
    if (a->taste.vector != NULL) {
        U2I_TRY(ask_nearest(a, a->taste.vector, U2I_FROM_PROFILE, ASK_ALL, err));
    } else {
        U2I_TRY(ask_cold(a, err));
    }
    return ask_popular(a, err);
}

static int ask_similar_items(struct ask *a, u2i_error_t *err) {
    struct engine *e = a->e;
    const uint32_t row = e->ops->item_row(e->store, a->q->item);
    if (row == STORE_NONE || !e->ops->item_live(e->store, row)) {
        return error_set(err, U2I_ENOTFOUND, "there is no item \"%s\"", a->q->item);
    }
    const float *vector = e->ops->vector(e->store, STORE_CONTENT, row);
    roaring_bitmap_add(a->exclude, row);
    return vector == NULL ? U2I_OK : ask_nearest(a, vector, U2I_FROM_SIMILAR, ASK_ALL, err);
}

static int ask_similar_users(struct ask *a, u2i_error_t *err) {
    if (a->user == STORE_NONE) {
        return error_set(err, U2I_ENOTFOUND, "there is no user \"%s\"", a->q->user);
    }
    uint32_t n;
    const struct neighbours_query q = {
        .user = a->user, .k = a->k, .deadline = &a->deadline, .explain = &a->explain};
    U2I_TRY(neighbours_search(a->e, &q, a->hits, &n, err));
    ask_pick(a, n, U2I_FROM_SIMILAR);
    return U2I_OK;
}

static int ask_search(struct ask *a, u2i_error_t *err) {
    if (a->q->vector == NULL) {
        return a->text == NULL ? U2I_OK : ask_nearest(a, a->text, U2I_FROM_SEARCH, 0, err);
    }
    const uint32_t dim = a->e->store->dim;
    float *v = arena_array(&a->arena, dim, sizeof(*v));
    if (v == NULL) {
        return error_oom(err);
    }
    memcpy(v, a->q->vector, dim * sizeof(*v));
    if (!vec_normalise(v, dim)) {
        return error_set(err, U2I_EINVAL, "the query's vector has length 0 or is not finite");
    }
    return ask_nearest(a, v, U2I_FROM_SEARCH, ASK_ALL, err);
}

static int ask_retrieve(struct ask *a, enum engine_question what, u2i_error_t *err) {
    U2I_TRY(ask_find_user(a, err));
    if (what != ENGINE_SIMILAR_USERS) {
        ask_exclude(a);
    }
    switch (what) {
    case ENGINE_RECOMMEND:
        return ask_recommend(a, err);
    case ENGINE_POPULAR:
        return ask_popular(a, err);
    case ENGINE_SIMILAR_ITEMS:
        return ask_similar_items(a, err);
    case ENGINE_SIMILAR_USERS:
        return ask_similar_users(a, err);
    case ENGINE_SEARCH:
        return ask_search(a, err);
    }
    return error_set(err, U2I_EINTERNAL, "question %d is unknown", (int)what);
}

/* ---- Answering ------------------------------------------------------------------------------ */

/* Which of the user's items pulled this hit most: the summands of the inner product. */
static int ask_because(struct ask *a, const struct pick *p, u2i_hit_t *hit, u2i_error_t *err) {
    struct engine *e = a->e;
    struct profile_pull pull;
    U2I_TRY(taste_because(e, &a->taste, p->row, &a->arena, &pull, err));
    if (pull.entry == PROFILE_NONE) {
        return U2I_OK;
    }
    const struct profile_entry *entry = &a->taste.entries[pull.entry];
    struct store_item item;
    U2I_TRY(ask_found(a, e->ops->get_item(e->store, entry->item, &a->arena, &item, err)));
    hit->because = item.id;
    hit->because_title = item.title;
    hit->because_action = e->ops->action_name(e->store, a->history->events[entry->latest].action);
    hit->because_share = pull.share;
    return U2I_OK;
}

static int ask_answer_item(struct ask *a, const struct pick *p, u2i_result_t *r, u2i_error_t *err) {
    struct store_item item;
    U2I_TRY(ask_found(a, a->e->ops->get_item(a->e->store, p->row, &a->arena, &item, err)));
    u2i_hit_t hit = {.id = item.id,
                     .title = item.title,
                     .category = item.category,
                     .attrs_json = item.attrs_json,
                     .score = p->score,
                     .source = p->source};
    if (p->source == U2I_FROM_PROFILE && (a->q->flags & U2I_NO_REASONS) == 0) {
        U2I_TRY(ask_because(a, p, &hit, err));
    }
    return result_add(r, &hit, err);
}

static int ask_answer_user(struct ask *a, const struct pick *p, u2i_result_t *r, u2i_error_t *err) {
    struct store_user user;
    U2I_TRY(ask_found(a, a->e->ops->get_user(a->e->store, p->row, &a->arena, &user, err)));
    const u2i_hit_t hit = {
        .id = user.id, .attrs_json = user.attrs_json, .score = p->score, .source = p->source};
    return result_add(r, &hit, err);
}

static int ask_answer(struct ask *a, enum engine_question what, u2i_result_t **out,
                      u2i_error_t *err) {
    u2i_result_t *r;
    const u2i_explain_t why = {.struct_size = sizeof(why),
                               .search = a->explain.search == NULL ? "none" : a->explain.search,
                               .ef = a->explain.ef,
                               .compared = a->explain.compared,
                               .rounds = a->explain.rounds,
                               .passing = a->explain.passing};
    int rc = result_new(a->n, &why, &r, err);
    for (uint32_t i = 0; i < a->n && rc == U2I_OK; i++) {
        rc = what == ENGINE_SIMILAR_USERS ? ask_answer_user(a, &a->picks[i], r, err)
                                          : ask_answer_item(a, &a->picks[i], r, err);
    }
    if (rc != U2I_OK) {
        engine_result_free(r);
        r = NULL;
    }
    *out = r;
    return rc;
}

/* One attempt, inside one read section. */
static int ask_once(struct ask *a, enum engine_question what, u2i_result_t **out,
                    u2i_error_t *err) {
    struct engine *e = a->e;
    roaring_bitmap_clear(a->exclude);
    a->user = STORE_NONE;
    a->history = NULL;
    a->taste = (struct taste){0};
    a->n = 0;
    a->moved = false;
    a->explain = (struct store_explain){0};
    U2I_TRY(engine_read_begin(a->e, err));
    int rc = ask_retrieve(a, what, err);
    if (rc == U2I_OK) {
        rc = ask_answer(a, what, out, err);
    }
    history_put_back(e->histories, a->history);
    e->ops->read_end(e->store);
    return rc;
}

int engine_ask(struct engine *e, enum engine_question what, const u2i_query_t *q,
               u2i_result_t **out, u2i_error_t *err) {
    struct ask a = {.e = e, .q = q};
    *out = NULL;
    int rc = ask_prepare(&a, what, err);
    if (rc == U2I_OK) {
        rc = ask_once(&a, what, out, err);
    }
    for (int i = 1; i < ASK_ATTEMPTS && rc != U2I_OK && a.moved; i++) {
        rc = ask_once(&a, what, out, err);
        if (rc == U2I_OK) {
            error_clear(err);
        }
    }
    filter_free(a.filter);
    if (a.exclude != NULL) {
        roaring_bitmap_free(a.exclude);
    }
    arena_free(&a.arena);
    return rc;
}
