/* What the files of this module share.
 *
 * A model has two kinds of parts. The dense ones (ease, ials, trend, popular) are blocks of one vector per item;
 * a block's score of item j is q . out_j. The sparse ones (sequence, neighbours) are matrices from item to
 * item; their score is the sum of what the user's items say of j. A part's score of every item is divided by
 * its standard deviation over the catalogue for this user, so that weights mean the same for each part, user
 * and data set: score = sum of weight x part / spread.
 *
 * Inside, items are numbered 0..count-1 in order of their rows (k); rows are what the store calls them. */
#ifndef U2I_MODEL_MODEL_INTERNAL_H
#define U2I_MODEL_MODEL_INTERNAL_H

#include "base/arena.h"
#include "model/model.h"
#include "profile/profile.h"

#define MODEL_NONE       UINT32_MAX
#define MODEL_WINDOW     500u   /* newest events of a user that count when the check asks */
#define MODEL_WINDOW_MAX 65536u /* events of one question; more are not looked at */
#define MODEL_POSITIVE   0.5f   /* an event of this weight is what the check wants to guess */
#define MODEL_DAY_MS     INT64_C(86400000)
#define MODEL_SPREAD_MIN 1e-9 /* a part that is flatter than this says nothing */
/* Of ease's vectors, turned so that items differ most in the first directions, so many are searched by. */
#define MODEL_LEAD 192u

/* ---- The model -------------------------------------------------------------------------------- */

struct model_block { /* where a dense part is in an item's vector; dim 0: not there */
    uint32_t at, dim;
};

struct model_recency { /* max(rank^-power x 2^(-age / half-life), floor) */
    double rank_power, half_life_s, floor;
};

struct model_figure { /* one number worth telling; the help text is by name (model_figures.c) */
    char name[40];
    double value;
};
#define MODEL_FIGURES_MAX   96u
#define MODEL_QUESTIONS_MAX 256u

struct model_lessons { /* learnt items that taste is predicted from */
    uint32_t n;
    uint32_t *ks;
    int8_t *codes;         /* [n][content_dim]: centred content in bytes, times scales[i] */
    float *scales, *gains; /* [n]; gains: what out-vectors are multiplied by to be targets */
};

struct model {
    uint32_t count;              /* learnt items */
    uint32_t *rows;              /* [count], ascending */
    uint32_t *index, index_mask; /* row -> k: model_k() */

    uint32_t dim, search_dim;
    struct model_block block[MODEL_PARTS_N]; /* model_place() */
    float *out;                              /* [count][dim] */
    float *in;                               /* [count][dim of ease] */
    /* Of a block: the covariance of its out-vectors [dim][dim]; of ease its diagonal [dim], the rest is 0.
     * NULL in a model for the check, which has the scores themselves. */
    float *spread[MODEL_PARTS_N];
    float *gram; /* [dim][dim] of ials: what users are solved from */
    double a0, lambda;
    uint64_t ials_items; /* n of the formula in train.h */

    struct train_matrix *sparse[MODEL_PARTS_N]; /* sequence, neighbours: [count][count] */

    float weight[MODEL_PARTS_N];
    struct model_recency taste, order; /* of profiles; `order` is the sequence's */
    double weight_max;                 /* event weights are divided by it */
    float *popular;                    /* [count] */
    uint32_t *item_users;              /* [count] who wanted it; only while training */

    /* Items without events: their vectors from content (model_cold.c). content_dim 0: none of it. */
    uint32_t content_dim;
    struct model_lessons lessons;
    struct train_map *map;    /* content -> what is searched by of the blocks ials and ease */
    struct train_map *map_in; /* content -> in-vector of ease, as far as it is searched by */
    float *content_mean;      /* [content_dim] */
    float *content_spread;    /* [content_dim][content_dim]: covariance */

    float *questions; /* [questions_n][search_dim] */
    uint32_t questions_n;
    double norm_max;
    struct model_scale scale;
    struct model_figure figures[MODEL_FIGURES_MAX];
    uint32_t figures_n;
};

/* One number per item, the same for all users. */
static inline bool model_is_column(int part) {
    return part == MODEL_TREND || part == MODEL_POPULAR;
}
static inline bool model_is_dense(int part) {
    return part == MODEL_EASE || part == MODEL_IALS || model_is_column(part);
}
static inline bool model_is_sparse(int part) {
    return part == MODEL_SEQUENCE || part == MODEL_NEIGHBOURS;
}
static inline uint32_t model_hash(uint32_t x) { /* Knuth's multiplicative hash */
    return (uint32_t)(x * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}
uint32_t model_k(const struct model *m, uint32_t row); /* MODEL_NONE: not learnt */
static inline const float *model_vector(const struct model *m, uint32_t k) {
    return m->out + (size_t)k * m->dim;
}

/* How much of ease is searched by. */
static inline uint32_t model_lead(const struct model *m) {
    const uint32_t dim = m->block[MODEL_EASE].dim;
    return dim < MODEL_LEAD ? dim : MODEL_LEAD;
}
/* Where the predicted part of an out-vector begins; it ends at search_dim. */
static inline uint32_t model_predicted_at(const struct model *m) {
    return m->block[MODEL_IALS].at;
}

struct model *model_alloc(void); /* empty; NULL = no memory */
/* Sets the blocks' places, by their dims: the large one, ease, last. And dim and search_dim. */
void model_place(struct model *m);
/* Builds index[] from rows[count]. U2I_ENOMEM. */
int model_index(struct model *m);
void model_measure_norms(struct model *m); /* sets norm_max, of what is searched by */
/* Appends a figure; the printf-style name is cut at 39 bytes. Too many are dropped. */
__attribute__((format(printf, 3, 4))) void model_tell(struct model *m, double value,
                                                      const char *name, ...);

/* ---- Work shared by threads (model_crew.c) ------------------------------------------------------ */

/* Runs fn(ctx, task) for task = 0..tasks-1 on up to `threads` threads (0 = all cores), each task once, in any
 * order. The first error stops the rest and is returned. Results must not depend on who runs what. */
typedef int (*model_task_fn)(void *ctx, uint32_t task);
int model_crew(unsigned threads, uint32_t tasks, model_task_fn fn, void *ctx);

/* ---- A run of training -------------------------------------------------------------------------- */

struct model_run { /* what is asked for, and how to report it */
    const struct model_input *in;
    struct train_work work; /* progress() of the step under way */
    const char *step;       /* its name */
    bool step_fixed;        /* a round of the check: model_step() leaves the name */
    uint64_t memory_max;
};
void model_run_begin(struct model_run *r, const struct model_input *in);
/* Starts a step. U2I_ETIMEOUT if the caller cancels. */
int model_step(struct model_run *r, const char *step, u2i_error_t *err);
/* Within a step of ours: done of total. U2I_ETIMEOUT. */
int model_progress(const struct model_run *r, uint64_t done, uint64_t total, u2i_error_t *err);

/* Events sorted by user, time, item, weight: the canonical order, so that the order of the input means nothing. */
struct model_events {
    const struct train_event *list; /* weights divided by the largest: 0..1 */
    size_t n;
};
/* of in->events, whose rows have been checked */
int model_events_sort(const struct model_input *in, struct train_event **out, u2i_error_t *err);

/* How good a list is (model_gain.c). Ranks count from 1; 0: not listed. */
#define MODEL_LISTED 100u
struct model_gain {
    double dcg10, dcg100;
    uint32_t hits20;
};
struct model_ideal { /* what the best list would have */
    double dcg10, dcg100;
    uint32_t hits20;
};
void model_gain_add(struct model_gain *g, uint32_t rank);
struct model_ideal model_ideal(uint32_t truths); /* > 0 */
double model_gain_quality(const struct model_gain *g, const struct model_ideal *ideal);
struct model_compared { /* of a - b, paired */
    double mean, error; /* standard error of the mean */
};
struct model_compared model_compare(const double *a, const double *b, size_t n);

/* How popularity is counted for strangers (model_popular.c): the mean of some settings. */
struct model_popular_how {
    uint32_t settings; /* bits */
    double quality;    /* on the newcomers asked */
    size_t asked;
};
/* Chosen by replaying how newcomers would have been met. U2I_ENOMEM, U2I_ETIMEOUT. */
int model_popular_choose(struct model_run *r, const struct model_events *ev,
                         struct model_popular_how *out, u2i_error_t *err);
void model_popular_tell(const struct model_popular_how *how, struct model *m);
/* scores[k] of all items of m as of now_ms. U2I_ENOMEM. */
int model_popular_score(const struct model_popular_how *how, const struct model_events *ev,
                        int64_t now_ms, const struct model *m, float *scores);

/* What a check holds back (model_check.c). */
#define MODEL_ASKED_MAX  1500u
#define MODEL_ROUNDS_MAX 3u
#define MODEL_WEAKEST    1e-6f /* weights from here on are above 0 */
struct model_case { /* one user's events: history is [first, cut), to be guessed [cut, end) */
    size_t first, cut, end; /* in the list of all events */
};
struct model_round {
    struct train_event *train;
    size_t train_n;
    int64_t now_ms;
    struct model_case *cases;
    uint32_t cases_n;
};
struct model_check_plan {
    enum model_check kind;
    float positive; /* what is to be guessed weighs at least this */
    bool is_long;   /* the log is long enough for a calendar */
    uint32_t asked; /* cases of all rounds */
    struct model_round rounds[MODEL_ROUNDS_MAX];
    uint32_t n;
};
/* No rounds or no cases: there is too little to check on. U2I_ENOMEM. */
int model_check_plan_new(const struct model_run *run, const struct model_events *ev,
                         struct model_check_plan *plan);
void model_check_free(struct model_check_plan *plan);

/* Trains the parts on `ev` and puts them together, weights all 1 (model_fit.c). U2I_ENOTFOUND. */
struct model_fit {
    struct model_events ev;
    int64_t now_ms;
    uint32_t parts;
    struct model_popular_how popular;
    struct model_recency taste, order;
    double weight_max;
    double decay_s;    /* half-life of events in the matrix; 0: old ones count in full */
    bool is_for_check; /* without spreads: dense parts aren't divided by them */
};
int model_fit(struct model_run *r, const struct model_fit *how, struct model **out,
              u2i_error_t *err);
/* Sets the weights: blocks without any are dropped, the others scaled so that the distance of two out-vectors
 * is what it means for scores. U2I_ENOMEM. */
int model_set_weights(struct model *m, const float *weights);

/* Asks as some of the users would, and keeps what is searched by (model_exam.c). U2I_ENOMEM. */
int model_keep_questions(struct model *m, const struct model_events *ev);

/* The questions of the check with what could be recommended (model_exam.c). */
struct model_scored {       /* one question */
    uint32_t n;             /* candidates */
    float *scores;          /* [MODEL_PARTS_N][n]: parts over their spread */
    uint32_t *hits, hits_n; /* candidates that were wanted */
    uint32_t truths;        /* all that were wanted, > 0 */
    struct model_ideal ideal;
};
struct model_exam {
    struct model_scored *list;
    uint32_t n;
    size_t cap;
    uint32_t parts; /* bits of those that any round has */
};
/* Asks a round's questions of the model trained for it, all of whose weights are 1. U2I_ENOMEM. */
int model_exam_ask(const struct model_run *r, const struct model_events *ev,
                   const struct model_check_plan *plan, uint32_t round, const struct model *m,
                   struct model_exam *exam);
void model_exam_free(struct model_exam *exam);
void model_scored_sum(const struct model_scored *s, const float *weights, float *sums); /* [n] */
struct model_gain model_scored_gain(const struct model_scored *s, const float *weights);
void model_exam_judge(const struct model_run *r, const struct model_exam *exam,
                      const float *weights, double *quality); /* [n] */

extern const float model_default_weights[MODEL_PARTS_N];
/* The weights that a choice starts from, and that stay where nothing can be checked. */
void model_start_weights(uint32_t parts, float *weights);
int model_choose(const struct model_run *r, const struct model_exam *exam,
                 float *weights); /* in and out. U2I_ENOMEM */
int model_calibrate(const struct model_exam *exam, const float *weights,
                    struct model_scale *out); /* U2I_ENOMEM */

/* Exchanges the ease of two models for the check that are of the same items; false, and nothing done, if they
 * aren't (model_weights.c). */
bool model_swap_ease(struct model *a, struct model *b);

/* The covariance of n rows of dim floats (stride apart), [dim][dim] (model_spread.c). U2I_ENOMEM. */
int model_covariance(unsigned threads, const float *rows, size_t stride, uint32_t n, uint32_t dim,
                     float *out);
double model_covariance_of(const float *covariance, const float *q, uint32_t dim); /* q' C q */
/* Of q . out_j over the items, in the block of a part. */
double model_variance(const struct model *m, int part, const float *q);
/* Floats in spread[part]. */
static inline size_t model_spread_size(const struct model *m, int part) {
    const size_t dim = m->block[part].dim;
    return part == MODEL_EASE ? dim : dim * dim;
}

/* Content -> taste (model_cold.c), learnt from m as it is: after the weights. U2I_ENOMEM, U2I_ETIMEOUT. */
int model_cold_fit(struct model_run *r, struct model *m, u2i_error_t *err);
/* out = content - mean, at unit length. */
void model_content_centre(const struct model *m, const float *content, float *out);

/* ---- A user, from inside (model_user.c) --------------------------------------------------------- */

/* Sums of a sparse part over its targets (model_sums.c). */
struct model_sums {
    float *values;  /* [n]; NULL: the part says nothing */
    uint32_t *keys; /* [n] whose they are; NULL: value k is that of item k */
    uint32_t n;
    uint32_t *places, mask; /* hash table: places in keys */
};
/* Where k's sum is; MODEL_NONE: there is none. */
uint32_t model_sums_place(const struct model_sums *s, uint32_t k);
static inline uint32_t model_sums_key(const struct model_sums *s, uint32_t i) {
    return s->keys == NULL ? i : s->keys[i];
}
struct model_sums_input { /* the user's items and what counts for them */
    const uint32_t *ks;
    const float *weights;
    size_t n;
};
int model_sums_new(struct model_sums *s, const struct train_matrix *x,
                   const struct model_sums_input *in, struct arena *a); /* U2I_ENOMEM */
float model_sums_get(const struct model_sums *s, uint32_t k);
/* The standard deviation over `count` items, those without a sum being 0. */
double model_sums_spread(const struct model_sums *s, uint32_t count);

struct model_user_content {
    bool is_ready;
    const float **entries; /* [n] centred content; NULL: none */
    const float *sum;      /* weighted */
    float scale;           /* weight / spread */
};

struct model_user {
    const struct model *m;
    struct model_question q;
    size_t n; /* entries */
    struct model_entry *entries;
    uint32_t *ks;         /* [n]; MODEL_NONE: not learnt */
    float *weights;       /* [n] those of the entries */
    float *order_weights; /* [n] of the sequence */
    float *flat_weights;  /* [n] without recency, for content */
    struct arena *arena;
    const float **ins;          /* [n] in-vectors of ease, learnt or predicted; NULL: none */
    const float **factors;      /* [n] ials vectors, likewise */
    float *query;               /* [dim] */
    float *ials_factor;         /* Cholesky factor; NULL: ials is not there */
    float *ials_solved;         /* [dim of ials], scratch */
    float *dots;                /* [n], scratch */
    float scale[MODEL_PARTS_N]; /* weight / spread; 0: the part says nothing */
    struct model_sums sums[MODEL_PARTS_N]; /* values NULL: the part says nothing */
    bool is_known;                         /* an entry is learnt or predicted */
    struct model_user_content *content;    /* NULL: no content in the model or the question */
};

float model_user_scale(const struct model *m, int part, double spread);
/* model_content.c: vectors of the entries that aren't learnt, and room for content. U2I_ENOMEM. */
int model_user_predict(struct model_user *u);
float model_user_content_score(const struct model_user *u, uint32_t row);
void model_user_content_pulls(const struct model_user *u, uint32_t row, float *pulls); /* adds */

#endif
