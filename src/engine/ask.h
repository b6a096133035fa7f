/* What the files of a question share.
 *
 *   ask.c            the life of a question; popular, similar and search
 *   ask_session.c    the user's history, with what the question itself says was done
 *   ask_recommend.c  candidates for a user: taste, profile, cold start, popularity
 *   ask_rules.c      ranking rules: what must hold, what is better or worse
 *   ask_forward.c    candidates that rules put forward: pinned, promoted, new
 *   ask_two_sided.c  scores that count what the other side wants
 *   ask_lately.c     what others did lately
 *   ask_answer.c     the list as the caller gets it, with reasons
 *
 * Everything lives in the question's arena. One thread at a time. */
#ifndef U2I_ENGINE_ASK_H
#define U2I_ENGINE_ASK_H

#include "engine_internal.h"
#include "rank/rank.h"
#include "result.h"
#include "rules.h"

/* The parts of a candidate's score: those of the model, then what is not learnt. */
enum ask_part {
    ASK_COSINE = MODEL_PARTS_N, /* with the profile, a text or an item */
    ASK_POPULARITY,
    ASK_LATELY,
    ASK_PARTS_N
};
_Static_assert(ASK_PARTS_N <= RANK_PARTS_MAX, "a candidate has room for every part");

/* What the item of one event of the history adds to another item's score. */
struct lately_pull {
    uint32_t row, event;
    float value;
};

#define ASK_TIERS_MAX 8

/* A text of the store's, met inside a read section, where embedding would keep everybody waiting. */
struct ask_text {
    const char *text; /* NULL = none yet */
    float *vector;    /* NULL = it says nothing, or could not be embedded */
    bool done;
};

struct ask {
    struct engine *e;
    const u2i_query_t *q;
    struct arena arena;
    struct deadline deadline;
    struct filter *filter;         /* NULL = none */
    float *text;                   /* of q->text or q->interests, embedded; NULL = nothing in it */
    roaring_bitmap_t *exclude;     /* rows that must not appear (again) */
    uint32_t user;                 /* STORE_NONE = unknown */
    struct history *cached;        /* the recorded history, to be given back; NULL without a user */
    struct history *own;           /* with the question's session, to be freed; NULL without one */
    const struct history *history; /* either of them, or NULL */

    struct taste taste;        /* content profile; empty where the model answers */
    struct model_user *learnt; /* NULL = the model has no say */
    uint32_t *learnt_index;    /* of the events that it was given: their index in history->events */

    u2i_pull_t *named; /* items of the history whose texts have been read, and their rows */
    uint32_t *named_rows;
    uint32_t named_n;

    struct lately_pull *lately; /* in order of row */
    uint32_t lately_n;

    int64_t now_ms;
    struct rules *own_rules; /* of the question; NULL = none */
    bool ruled;              /* there are rules, and `rules` and `view` are set: */
    struct rules_bound rules;
    struct rules_view view;
    struct attrs *user_attrs; /* of the asking user, if there are rules; NULL = none */
    roaring_bitmap_t *among;  /* rows that pass the rules' filters; NULL = all */
    struct asked_event *log;  /* the user's whole log, if a rule asks for it */
    size_t log_n, log_shown;  /* events; the first impression: these are last, in order of row */

    struct rank_scale scales[ASK_TIERS_MAX]; /* of the candidates' scores, by tier */
    struct rank_candidate *candidates;
    uint32_t n, cap; /* candidates, and room for them */
    uint32_t want;   /* how many to find; k if they are the answer as they come */
    uint32_t tier;   /* of the next ones */
    uint32_t *order; /* the answer: indexes into candidates */
    uint32_t order_n, k;
    struct hit *hits; /* scratch of one search, `want` of them */

    bool moved;                   /* the store has gone on: ask again */
    struct ask_text wanted[2];    /* of the user's: interests, attributes */
    bool unready;                 /* one of them has to be embedded first: ask again */
    struct store_explain explain; /* of the last search of vectors */
};

/* Texts are read from the store as it is now, the search saw it as it was when the section began: what
 * is not found any more was deleted in between. */
static inline int ask_found(struct ask *a, int rc) {
    a->moved = a->moved || rc == U2I_ENOTFOUND;
    return rc;
}

/* ask.c */
double ask_diversity(const struct ask *a); /* the question's, else the setting's */
int ask_embed(struct ask *a, const char *text, float **out, u2i_error_t *err);
/* The same for a text of the user's, inside the read section; U2I_EBUSY with a->unready: ask again. */
int ask_embed_user(struct ask *a, const char *text, float **out, u2i_error_t *err);
/* Takes a->hits[0..n) in as candidates of the next tier, with one part as their score; a row is taken
 * once. */
int ask_take(struct ask *a, uint32_t n, int32_t source, enum ask_part part, u2i_error_t *err);
/* A new candidate, all zero but the row; U2I_ENOMEM. */
int ask_candidate(struct ask *a, uint32_t row, struct rank_candidate **out, u2i_error_t *err);
/* As many of the best for `vector` as are still wanted, of what passes, into a->hits; *n gets how many. */
int ask_vectors(struct ask *a, enum store_space space, const float *vector, uint32_t *n,
                u2i_error_t *err);
/* The nearest to `vector` by content that score more than `least`. */
int ask_nearest(struct ask *a, const float *vector, int32_t source, float least, u2i_error_t *err);
#define ASK_ALL (-2.0f) /* below every cosine */
/* The most popular: for a recommendation as the training found best, else by live counts alone. */
int ask_popular(struct ask *a, bool recommend, u2i_error_t *err);

/* Rows as candidates of the last tier, with their popularity as the score. */
int ask_take_popular(struct ask *a, const uint32_t *rows, uint32_t n, int32_t source,
                     u2i_error_t *err);

/* ask_session.c: fills history, cached, own. Inside the read section. */
int ask_find_history(struct ask *a, u2i_error_t *err);
void ask_drop_history(struct ask *a);

/* ask_recommend.c */
int ask_recommend(struct ask *a, u2i_error_t *err);
/* The best by the model, where there is one for this user, as candidates of the current tier. */
int ask_learnt_search(struct ask *a, u2i_error_t *err);
/* What the model makes of a history; *out is NULL where it has nothing to say. */
int ask_model_user(struct engine *e, const struct history *h, struct arena *arena,
                   struct model_user **out, u2i_error_t *err);

/* ask_rules.c: binds the rules and applies those that must hold, to among and exclude; end in every case. */
int asked_begin(struct ask *a, u2i_error_t *err);
void asked_end(struct ask *a);
/* Whether any rule is about this question: the store's or its own. */
bool asked_any(const struct ask *a);
/* Whether rules let items return that the user acted on; then asked_hide() excludes those that don't. */
bool asked_returns(const struct ask *a);
int asked_hide(struct ask *a, u2i_error_t *err);
/* The other rules: terms of the candidates; caps and shares to `q`. */
int asked_rank(struct ask *a, struct rank_query *q, u2i_error_t *err);

/* ask_forward.c */
int forward_gather(struct ask *a, u2i_error_t *err);

/* ask_two_sided.c */
int two_sided_apply(struct ask *a, u2i_error_t *err);

/* ask_lately.c: fills a->lately from the history. */
int lately_build(struct ask *a, u2i_error_t *err);
float lately_score(const struct ask *a, uint32_t row);
/* The pulls on one row. */
const struct lately_pull *lately_of(const struct ask *a, uint32_t row, uint32_t *n);

/* ask_answer.c */
int ask_answer(struct ask *a, bool users, u2i_result_t **out, u2i_error_t *err);

#endif
