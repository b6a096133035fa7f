/* What was learnt from everybody's events, as one object: taste vectors of items, what follows what, how much
 * each part counts, and what the check on held-back events found. Made by model_train(), kept as bytes by
 * model_save(), immutable once made: any number of threads may read it. Items are the store's row numbers.
 *
 * A score is a sum of parts, each a part's own score divided by its spread over the catalogue, times its weight.
 * The dense parts (EASE, iALS, what is known per item) stand side by side in one vector per item, so that one
 * inner-product search with the user's vector finds the best; the sparse ones (sequence, neighbours) put forward
 * candidates of their own. The search does with the beginning of the vectors, where the directions stand in which
 * items differ most; what it finds is scored with the whole ones. Every part's score of any item can be told
 * exactly, and split over the user's items. */
#ifndef U2I_MODEL_MODEL_H
#define U2I_MODEL_MODEL_H

#include "base/arena.h"
#include "base/buf.h"
#include "profile/profile.h"
#include "train/train.h"
#include "u2i.h"

struct model;

enum model_part { /* on disk: values are permanent */
                  MODEL_EASE = 0,
                  MODEL_IALS = 1,
                  MODEL_SEQUENCE = 2,
                  MODEL_NEIGHBOURS = 3,
                  MODEL_TREND = 4,
                  MODEL_POPULAR = 5,
                  MODEL_CONTENT = 6,
                  MODEL_PARTS_N = 7
};
const char *model_part_name(enum model_part part); /* "ease", ... */

/* ---- Training --------------------------------------------------------------------------------- */

enum model_check { MODEL_CHECK_AUTO = 0, MODEL_CHECK_TIME = 1, MODEL_CHECK_USERS = 2 };
struct model_input {
    /* All events, in any order. weight 0..1: how much the user wanted the item (1: a like, a purchase; .4: a
     * view); 0: dislikes and the like, which only keep the item from being recommended to that user. */
    const struct train_event *events;
    size_t n;
    uint32_t users, items; /* one past the highest rows */
    int64_t now_ms;        /* the moment of the training: trend and popularity are as of then */
    /* The unit content vector of an item, NULL = none; content_dim 0 = there are none at all. */
    const float *(*content)(void *ctx, uint32_t item);
    void *content_ctx;
    uint32_t content_dim;
    enum model_check check;
    uint32_t parts;      /* bits 1u << enum model_part: which may be used; 0 = all */
    uint64_t memory_max; /* bytes that the training may use; 0 = three quarters of what is free */
    unsigned threads;    /* 0 = all cores */
    uint64_t seed;
    u2i_train_fn progress; /* may be NULL */
    void *progress_ctx;
};
/* U2I_ENOTFOUND: too little to learn from (says why). U2I_ENOMEM, U2I_ETIMEOUT (cancelled), U2I_EINTERNAL. */
int model_train(const struct model_input *in, struct model **out, u2i_error_t *err);
void model_free(struct model *m); /* NULL is a no-op */
/* Appends the bytes. U2I_ENOMEM. */
int model_save(const struct model *m, struct buf *out, u2i_error_t *err);
/* U2I_EVERSION for what another format's model_save() wrote, U2I_ECORRUPT for anything else that it did not
 * write; every index and size in it is checked, no float is not finite. U2I_ENOMEM. */
int model_load(const void *bytes, size_t n, struct model **out, u2i_error_t *err);
size_t model_bytes(const struct model *m);
/* Name, value and meaning of everything worth telling: weights, sizes, seconds, the check's figures. */
void model_figures(const struct model *m, u2i_figure_fn fn, void *ctx);

/* ---- Items ------------------------------------------------------------------------------------ */

uint32_t model_dim(const struct model *m);        /* of an item's out-vector and of a query */
uint32_t model_search_dim(const struct model *m); /* how much of its beginning is searched by */
uint32_t model_count(const struct model *m);      /* items with learnt vectors */
uint32_t model_row(const struct model *m,
                   uint32_t k); /* k < model_count(): its row, ascending in k */
const float *model_out(const struct model *m, uint32_t row); /* NULL: not learnt */
/* What of an out-vector's beginning says who is like whom, *dim floats from the place returned on. */
uint32_t model_likeness(const struct model *m, uint32_t *dim);
/* What users like those of the log ask with: *n vectors of model_search_dim() floats. */
const float *model_questions(const struct model *m, uint32_t *n);
uint32_t model_content_dim(const struct model *m); /* of content vectors; 0: it knows none */
/* For content vectors of another kind than it has learnt from: it knows none any more. Before others see the model. */
void model_forget_content(struct model *m);
double model_norm_max(const struct model *m); /* no beginning, learnt or predicted, is longer */
/* The beginning of the out-vector (model_search_dim() floats) of an item that has no events, from its content
 * (unit vector): what goes into the index for it. False if the model can't (no map was learnt). */
bool model_predict(const struct model *m, const float *content, float *out);

/* ---- A question ------------------------------------------------------------------------------- */

struct model_event { /* of the user, any order */
    int64_t time_ms;
    uint32_t item;
    float weight; /* as in training, > 0 */
};
struct model_question {
    const struct model_event *events; /* the newest `window` ones, n of them, newest first */
    size_t n;
    /* Content vectors of any live item: for items that the model doesn't know. NULL if there are none. */
    const float *(*content)(void *ctx, uint32_t item);
    void *content_ctx;
};
struct model_user; /* lives in the arena that it was made in */
/* *out is NULL if the model knows nothing of any of the items. U2I_ENOMEM. */
int model_user_new(const struct model *m, const struct model_question *q, struct arena *a,
                   struct model_user **out, u2i_error_t *err);
const float *model_user_query(
    const struct model_user *u); /* model_dim() floats: search for the largest inner product */
/* The items that the sparse parts put forward: rows with their weighted sparse score, best first, at most
 * `max`, written to rows[]; returns how many. */
uint32_t model_user_next(const struct model_user *u, uint32_t *rows, uint32_t max);
/* The profile's entries: the user's items with what counts for them, in order of pulls. */
struct model_entry {
    uint32_t item;
    float weight;
    size_t event; /* index into question.events of the newest event of the item */
};
size_t model_user_entries(const struct model_user *u, const struct model_entry **out);
/* Asks the memory for what model_user_score() will need of `row`: to be called for the next but one. */
void model_user_ask(const struct model_user *u, uint32_t row);
/* The weighted summands of `row`'s score by part; `predicted` is what the index has for a row that isn't learnt
 * (NULL: the content part only). Their sum is the score. parts has MODEL_PARTS_N floats. */
void model_user_score(const struct model_user *u, uint32_t row, const float *predicted,
                      float *parts);
/* What each entry adds to the score of `row`, model_user_entries() floats; what no entry is responsible for (trend,
 * popular) is left out: the pulls and those parts add up to the score. */
void model_user_pulls(const struct model_user *u, uint32_t row, const float *predicted,
                      float *pulls);

/* Score -> probability that the user acts on it: 1 / (1 + exp(-(intercept + slope * score))). slope > 0. */
struct model_scale {
    double intercept, slope;
};
struct model_scale model_calibration(const struct model *m);

/* ---- Strangers -------------------------------------------------------------------------------- */

/* Popularity for users without history, counted as newcomers of the past would have been served best: decayed
 * counts of all events, and of first baskets, each over its spread; half-lives chosen by replay, as of now_ms.
 * 0 for rows without events. */
float model_popular(const struct model *m, uint32_t row);

#endif
