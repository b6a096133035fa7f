/* The life of a question: parse, embed, then inside one read section look up, exclude, search, rank, explain
 * and copy. What is left out (the caller's ids, what the user has seen or disliked) is a bitmap, what
 * must hold is a filter, and both are given to every search, so that cold start, popularity and search
 * keep them as recommendations do. */
#include "ask.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"

/* How often a question is asked anew because an item of its answer, or its user, was deleted between
 * the search and the reading of texts. Each time the store is seen as it is by then. */
#define ASK_ATTEMPTS 20

/* ---- Before the read section -------------------------------------------------------------------- */

int ask_embed(struct ask *a, const char *text, float **out, u2i_error_t *err) {
    const uint32_t dim = a->e->store->dim;
    const struct embed_text in = {.text = text, .query = true};
    float *v = arena_array(&a->arena, dim, sizeof(*v));
    *out = NULL;
    if (v == NULL) {
        return error_oom(err);
    }
    U2I_TRY(embedding_run(a->e, &in, 1, v, NULL, err));
    *out = vec_normalise(v, dim) ? v : NULL; /* "!?" has no words: not an error, finds nothing */
    return U2I_OK;
}

/* What can't be embedded says nothing: others may know what a stranger likes. */
static bool ask_goes_on_without(int rc) {
    return rc == U2I_EEMBED || rc == U2I_EREMOTE || rc == U2I_ETIMEOUT;
}

int ask_embed_user(struct ask *a, const char *text, float **out, u2i_error_t *err) {
    *out = NULL;
    if (embedding_is_quick(a->e)) {
        return ask_embed(a, text, out, err);
    }
    struct ask_text *room = NULL;
    for (size_t i = 0; i < sizeof(a->wanted) / sizeof(a->wanted[0]); i++) {
        struct ask_text *const t = &a->wanted[i];
        if (t->text != NULL && strcmp(t->text, text) == 0 && t->done) {
            *out = t->vector;
            return U2I_OK;
        }
        room = room == NULL && t->text == NULL ? t : room;
    }
    room = room == NULL ? &a->wanted[0]
                        : room; /* the user was changed meanwhile, and more than once */
    *room = (struct ask_text){.text = arena_dup(&a->arena, text, strlen(text))};
    if (room->text == NULL) {
        return error_oom(err);
    }
    a->unready = true;
    return error_set(err, U2I_EBUSY, "a text of the user's has to be embedded first");
}

/* Outside of the read section. */
static int ask_embed_wanted(struct ask *a, u2i_error_t *err) {
    for (size_t i = 0; i < sizeof(a->wanted) / sizeof(a->wanted[0]); i++) {
        struct ask_text *const t = &a->wanted[i];
        if (t->text != NULL && !t->done) {
            const int rc = ask_embed(a, t->text, &t->vector, err);
            if (rc != U2I_OK && !ask_goes_on_without(rc)) {
                return rc;
            }
            t->done = true;
        }
    }
    return U2I_OK;
}

/* Parts of a score that a search doesn't know, rules and diversity change the order: more candidates than
 * places. */
#define ASK_SPARE       20u
#define ASK_SPARE_RULES 200u

double ask_diversity(const struct ask *a) {
    return a->q->diversity > 0 ? a->q->diversity : a->e->settings.diversity;
}

/* Called inside the read section, where the settings stand still. */
static uint32_t ask_wanted(const struct ask *a) {
    const bool reordered = ask_diversity(a) > 0 || asked_any(a);
    return 2 * a->k + (reordered ? ASK_SPARE_RULES : ASK_SPARE);
}

static int ask_room(struct ask *a, bool recommend, u2i_error_t *err) {
    a->want = recommend ? ask_wanted(a) : a->k;
    a->hits = arena_array(&a->arena, a->want, sizeof(*a->hits));
    return a->hits == NULL ? error_oom(err) : U2I_OK;
}

/* What is asked for in words. */
static int ask_prepare_text(struct ask *a, enum engine_question what, u2i_error_t *err) {
    const u2i_query_t *const q = a->q;
    const char *text = what == ENGINE_SEARCH                             ? q->text
                       : what == ENGINE_RECOMMEND && embedding_can(a->e) ? q->interests
                                                                         : NULL;
    if (text == NULL) {
        return U2I_OK;
    }
    U2I_TRY(engine_follow(a->e, err)); /* the embedder as the store's newest state has it */
    const int rc = ask_embed(a, text, &a->text, err);
    if (what == ENGINE_RECOMMEND && ask_goes_on_without(rc)) {
        error_clear(err);
        return U2I_OK;
    }
    return rc;
}

static int ask_prepare(struct ask *a, enum engine_question what, u2i_error_t *err) {
    const u2i_query_t *q = a->q;
    a->k = q->limit;
    a->exclude = roaring_bitmap_create();
    a->order = arena_array(&a->arena, a->k, sizeof(*a->order));
    if (a->exclude == NULL || a->order == NULL) {
        return error_oom(err);
    }
    a->now_ms = q->time_ms != 0 ? q->time_ms : clock_now_ms(a->e->clock);
    if (q->rules != NULL && what != ENGINE_SIMILAR_USERS) {
        U2I_TRY(rules_parse(q->rules, &a->own_rules, err));
        const struct rule *counting = rules_counting(a->own_rules);
        if (counting != NULL) {
            return error_set(
                err, U2I_EINVAL,
                "line %u of the query's rules counts everybody's events: limit, mutual "
                "and explore belong into the setting \"rules\"",
                counting->line);
        }
    }
    if (q->timeout_ms > 0) {
        a->deadline.clock = a->e->clock;
        a->deadline.at_ns = clock_ticks_ns(a->e->clock) + (int64_t)q->timeout_ms * 1000000;
    }
    if (q->filter != NULL && what != ENGINE_SIMILAR_USERS) {
        U2I_TRY(
            filter_parse(q->filter, strlen(q->filter), q->params, q->params_n, &a->filter, err));
    }
    return ask_prepare_text(a, what, err);
}

/* ---- What must not be named ------------------------------------------------------------------- */

static int ask_exclude(struct ask *a, u2i_error_t *err) {
    const u2i_query_t *q = a->q;
    for (size_t i = 0; i < q->exclude_n; i++) {
        const uint32_t row = a->e->ops->item_row(a->e->store, q->exclude[i]);
        if (row != STORE_NONE) {
            roaring_bitmap_add(a->exclude, row);
        }
    }
    if (asked_returns(a)) {
        return asked_hide(a, err);
    }
    if (a->history != NULL) {
        const bool keep_seen = (q->flags & U2I_KEEP_SEEN) != 0;
        roaring_bitmap_or_inplace(a->exclude, keep_seen ? a->history->disliked : a->history->acted);
    }
    return U2I_OK;
}

/* ---- Retrieving ----------------------------------------------------------------------------- */

int ask_candidate(struct ask *a, uint32_t row, struct rank_candidate **out, u2i_error_t *err) {
    *out = NULL;
    if (a->n == a->cap) { /* the arena keeps the smaller array too: twice as much in all */
        const uint32_t cap = a->cap == 0 ? a->want : 2 * a->cap;
        struct rank_candidate *all = arena_array(&a->arena, cap, sizeof(*all));
        if (all == NULL) {
            return error_oom(err);
        }
        if (a->n > 0) {
            memcpy(all, a->candidates, a->n * sizeof(*all));
        }
        a->candidates = all;
        a->cap = cap;
    }
    *out = &a->candidates[a->n++];
    **out = (struct rank_candidate){.row = row, .tier = a->tier};
    roaring_bitmap_add(a->exclude, row);
    return U2I_OK;
}

int ask_take(struct ask *a, uint32_t n, int32_t source, enum ask_part part, u2i_error_t *err) {
    for (uint32_t i = 0; i < n; i++) {
        struct rank_candidate *c = NULL;
        U2I_TRY(ask_candidate(a, a->hits[i].row, &c, err));
        c->source = source;
        c->part[part] = a->hits[i].score;
        rank_sum(c);
    }
    a->scales[a->tier] =
        (struct rank_scale){part == ASK_POPULARITY ? RANK_SHARE : RANK_COSINE, 0, 1};
    a->tier += n > 0;
    return U2I_OK;
}

int ask_vectors(struct ask *a, enum store_space space, const float *vector, uint32_t *n,
                u2i_error_t *err) {
    const struct store_search q = {.space = space,
                                   .vector = vector,
                                   .k = a->want - a->n,
                                   .filter = a->filter,
                                   .among = a->among,
                                   .exclude = a->exclude,
                                   .deadline = &a->deadline,
                                   .explain = &a->explain};
    *n = 0;
    return a->e->ops->search(a->e->store, &q, a->hits, n, err);
}

int ask_nearest(struct ask *a, const float *vector, int32_t source, float least, u2i_error_t *err) {
    uint32_t n;
    U2I_TRY(ask_vectors(a, STORE_CONTENT, vector, &n, err));
    while (n > 0 && a->hits[n - 1].score <= least) {
        n--;
    }
    return ask_take(a, n, source, ASK_COSINE, err);
}

struct popular_order {
    const struct engine *e;
    struct popularity_scale scale;
    bool trained; /* as newcomers of the past would have been met best */
};

/* What came up only since the training ranks by its live counts, among the lower half of what was known. */
static float ask_popular_score(const void *ctx, uint32_t row) {
    const struct popular_order *o = ctx;
    const struct trained *t = &o->e->trained;
    const float known = o->trained ? model_popular(t->model, row) / t->popular_max : 0;
    const float live =
        popularity_score(o->e->popularity, &o->scale, o->e->settings.popular_blend, row);
    return !o->trained ? live : known > 0 ? known : live / 2;
}

static struct popular_order ask_popular_order(const struct ask *a, bool recommend) {
    const struct engine *e = a->e;
    const bool trained = recommend && e->trained.model != NULL && e->trained.popular_max > 0 &&
                         e->settings.mode != SETTINGS_REALTIME;
    return (struct popular_order){e, popularity_scale(e->popularity), trained};
}

/* Popularity is the last tier, and there is one of it. */
static void ask_popular_tier(struct ask *a) {
    a->tier -= a->tier > 0 && a->scales[a->tier - 1].unit == RANK_SHARE;
}

int ask_take_popular(struct ask *a, const uint32_t *rows, uint32_t n, int32_t source,
                     u2i_error_t *err) {
    const struct popular_order order = ask_popular_order(a, true);
    if (n == 0) {
        return U2I_OK;
    }
    ask_popular_tier(a);
    for (uint32_t i = 0; i < n; i++) {
        struct rank_candidate *c = NULL;
        U2I_TRY(ask_candidate(a, rows[i], &c, err));
        c->source = source;
        c->part[ASK_POPULARITY] = ask_popular_score(&order, rows[i]);
        rank_sum(c);
    }
    a->scales[a->tier++] = (struct rank_scale){RANK_SHARE, 0, 1};
    return U2I_OK;
}

int ask_popular(struct ask *a, bool recommend, u2i_error_t *err) {
    if (a->n >= a->want) {
        return U2I_OK;
    }
    const struct popular_order order = ask_popular_order(a, recommend);
    const struct store_rank q = {.score = ask_popular_score,
                                 .ctx = &order,
                                 .k = a->want - a->n,
                                 .filter = a->filter,
                                 .among = a->among,
                                 .exclude = a->exclude,
                                 .deadline = &a->deadline};
    uint32_t n = 0;
    U2I_TRY(a->e->ops->rank(a->e->store, &q, a->hits, &n, err));
    const uint32_t first = a->n;
    if (n == 0) {
        return U2I_OK;
    }
    ask_popular_tier(a);
    U2I_TRY(ask_take(a, n, U2I_FROM_POPULAR, ASK_POPULARITY, err));
    for (uint32_t i = first; i < a->n; i++) {
        if (a->candidates[i].score <= 0) {
            a->candidates[i].source = U2I_FROM_CATALOGUE;
        }
    }
    return U2I_OK;
}

/* ---- The five questions ----------------------------------------------------------------------- */

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
    return ask_take(a, n, U2I_FROM_SIMILAR, ASK_COSINE, err);
}

static int ask_search(struct ask *a, u2i_error_t *err) {
    if (a->q->vector == NULL) {
        return a->text == NULL ? U2I_OK : ask_nearest(a, a->text, U2I_FROM_SEARCH, 0, err);
    }
    const uint32_t dim = a->e->store->dim;
    U2I_TRY(engine_check_dim(a->e, err));
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

/* The candidates are the answer as they come. */
static void ask_keep_order(struct ask *a) {
    a->order_n = a->n < a->k ? a->n : a->k;
    for (uint32_t i = 0; i < a->order_n; i++) {
        a->order[i] = i;
    }
}

static int ask_retrieve(struct ask *a, enum engine_question what, u2i_error_t *err) {
    U2I_TRY(ask_find_history(a, err));
    U2I_TRY(ask_room(a, what == ENGINE_RECOMMEND, err));
    if (what != ENGINE_SIMILAR_USERS) {
        U2I_TRY(asked_begin(a, err));
        U2I_TRY(ask_exclude(a, err));
        if (a->rules.nothing) {
            return U2I_OK; /* a rule that must hold asks for what the user doesn't have */
        }
    }
    switch (what) {
    case ENGINE_RECOMMEND:
        return ask_recommend(a, err);
    case ENGINE_POPULAR:
        return ask_popular(a, false, err);
    case ENGINE_SIMILAR_ITEMS:
        return ask_similar_items(a, err);
    case ENGINE_SIMILAR_USERS:
        return ask_similar_users(a, err);
    case ENGINE_SEARCH:
        return ask_search(a, err);
    }
    return error_set(err, U2I_EINTERNAL, "question %d is unknown", (int)what);
}

/* ---- The whole of it -------------------------------------------------------------------------- */

/* One attempt, inside one read section. */
static int ask_once(struct ask *a, enum engine_question what, u2i_result_t **out,
                    u2i_error_t *err) {
    struct engine *e = a->e;
    roaring_bitmap_clear(a->exclude);
    a->user = STORE_NONE;
    a->taste = (struct taste){0};
    a->learnt = NULL;
    a->n = a->order_n = a->tier = 0;
    a->lately_n = a->named_n = 0;
    a->cap = 0;
    a->moved = a->unready = false;
    a->explain = (struct store_explain){0};
    U2I_TRY(engine_read_begin(a->e, err));
    int rc = ask_retrieve(a, what, err);
    if (rc == U2I_OK && what != ENGINE_RECOMMEND) {
        ask_keep_order(a);
    }
    if (rc == U2I_OK) {
        rc = ask_answer(a, what == ENGINE_SIMILAR_USERS, out, err);
    }
    asked_end(a);
    ask_drop_history(a);
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
    for (int i = 1; i < ASK_ATTEMPTS && rc != U2I_OK && (a.moved || a.unready); i++) {
        if (a.unready) {
            rc = ask_embed_wanted(&a, err);
            if (rc != U2I_OK) {
                break;
            }
        }
        rc = ask_once(&a, what, out, err);
        if (rc == U2I_OK) {
            error_clear(err);
        }
    }
    filter_free(a.filter);
    rules_free(a.own_rules);
    if (a.exclude != NULL) {
        roaring_bitmap_free(a.exclude);
    }
    arena_free(&a.arena);
    return rc;
}
