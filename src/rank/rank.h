/* From candidates to the final list. Pure: rows, numbers and keys come in, an order comes out; no ids, no
 * store, no clock, no randomness but the seed. Same input, same list. Everything may be called by any number
 * of threads on separate objects.
 *
 * A candidate's score is a sum: of its parts (what each model or count says) and of the terms that rules
 * add. Rules multiply odds, and on the scale of log-odds a factor is a summand, so what is shown to people
 * always adds up to the score:
 *
 *     score = part[0] + ... + part[RANK_PARTS_MAX - 1] + the terms in their order
 *
 * added up in double in that order, then rounded to float once.
 *
 * The list is filled from its first place to its last. Each place gets the best candidate left that may
 * stand there, where "best" weighs the score against likeness to what is in the list already (diversity), and
 * "may" is decided by caps. Pins and shares say that a place belongs to somebody. What always holds: caps;
 * no candidate twice; excluded items never, since they are no candidates. */
#ifndef U2I_RANK_RANK_H
#define U2I_RANK_RANK_H

#include "base/arena.h"
#include "u2i.h"
#include <stdint.h>

#define RANK_PARTS_MAX      12u   /* what they mean is the caller's business */
#define RANK_CAPS_MAX       12u   /* rank_cap i looks at key[i] */
#define RANK_LANES_MAX      16u   /* lane i is bit i of a candidate's lanes */
#define RANK_CANDIDATES_MAX 65536 /* of one list */
#define RANK_FACTOR_MAX     1e6   /* a boost is kept within 1 / this .. this */

/* ---- Scores ----------------------------------------------------------------------------------- */

enum rank_unit {
    RANK_LOGIT = 0,  /* log-odds up to intercept and slope, as a calibration found them */
    RANK_COSINE = 1, /* -1..1, not calibrated */
    RANK_SHARE = 2   /* 0..1 (popularity), not calibrated */
};
struct rank_scale {
    enum rank_unit unit;
    double intercept, slope; /* RANK_LOGIT; slope > 0 */
};
/* Of a logit: 1 / (1 + exp(-(intercept + slope x score))). Of a cosine (1 + score) / 2, of a share the
 * score itself: not estimates, but in the same order and between 0 and 1. */
float rank_probability(const struct rank_scale *scale, float score);
/* The score that has this probability, which is kept within 1e-9 .. 1 - 1e-9. */
float rank_score_of(const struct rank_scale *scale, double probability);
/* What multiplying the odds by `factor` (> 0) adds to `score`: ln(factor) / slope. Without a calibration
 * there are no odds; there the distance from 0 is multiplied, downwards for factors under 1:
 * score x (factor - 1) for score >= 0, and score x (1 / factor - 1) below 0. */
float rank_boost_term(const struct rank_scale *scale, float score, double factor);

struct rank_term { /* what one rule has added */
    struct rank_term *next;
    uint32_t rule; /* the caller's number of it */
    float value;
};

struct rank_candidate {
    uint32_t row;
    uint32_t tier;  /* 0 comes before 1, whatever the scores: for scales that cannot be compared */
    int32_t source; /* the caller's; not looked at */
    float part[RANK_PARTS_MAX];
    struct rank_term *first, *last; /* terms in the order in which they were added */
    double sum;                     /* rank_sum() and rank_add() keep these two */
    float score;
    const float *vector;         /* `dim` floats, any length; NULL = like nothing */
    uint64_t key[RANK_CAPS_MAX]; /* by cap; 0 = not counted by it */
    uint32_t lanes;              /* bit i: belongs to lane i */
    uint32_t pin;                /* its place, 1 = the first; 0 = none */
    float draw;                  /* its order within lanes that go by draws: rank_draw() */
};
/* Adds up parts and terms. Call it once the parts are set, before rules. */
void rank_sum(struct rank_candidate *c);
/* A term more; memory from the arena. 0 adds nothing. U2I_ENOMEM. */
int rank_add(struct rank_candidate *c, uint32_t rule, float value, struct arena *a);
/* rank_add() of rank_boost_term() of the score as it is now: several boosts multiply. U2I_ENOMEM. */
int rank_boost(struct rank_candidate *c, const struct rank_scale *scale, uint32_t rule,
               double factor, struct arena *a);

/* ---- Lists ------------------------------------------------------------------------------------ */

/* At most `most` candidates of one key in any `window` places that follow each other; window 0: in the
 * whole list. */
struct rank_cap {
    uint32_t most; /* >= 1 */
    uint32_t window;
};

/* At least this share of every stretch of the list belongs to the lane's candidates, as far as there are
 * any: after p places the lane is owed floor(p x share + phase) of them, phase in [0, 1) from the seed, so
 * that 5 % of lists of 10 are one item in every second list. Items that got their place by themselves count. */
enum rank_lane_order {
    RANK_BY_SCORE = 0, /* the best of the lane (diversity counts) */
    RANK_BY_DRAW = 1   /* the highest draw: exploration */
};
struct rank_lane {
    double share; /* 0..1 */
    enum rank_lane_order by;
};

/* Negative: a stands before b where all else is equal. A total order (e.g. by id). */
typedef int (*rank_tie_fn)(const void *ctx, uint32_t row_a, uint32_t row_b);

struct rank_query {
    const struct rank_candidate *candidates; /* one for each row */
    uint32_t n;
    uint32_t k;       /* places of the list */
    double diversity; /* lambda, 0..1; 0: by score alone */
    uint32_t dim;     /* of the vectors */
    const struct rank_cap *caps;
    uint32_t caps_n;
    const struct rank_lane *lanes;
    uint32_t lanes_n;
    uint64_t seed;   /* of the lanes' phases */
    rank_tie_fn tie; /* NULL: by row */
    const void *tie_ctx;
};

/* The list: order[0..*order_n) are indexes into candidates, `order` has room for k.
 *
 * Order: tier, score downwards, tie. With diversity L > 0 each next place goes to the highest
 * (1 - L) x relevance - L x likeness (maximal marginal relevance, Carbonell & Goldstein 1998), where
 * relevance is the score scaled to 0..1 over the tier's candidates, and likeness the largest cosine to
 * anything in the list or pinned further down, at least 0. It changes the order and what is in the list, not the
 * scores.
 *
 * A pinned candidate has its place (of two for one place the better one has it, of several that break a
 * cap together the first ones are pinned); one that lost its pin is an ordinary candidate. Where the list
 * ends before a pinned place, the pinned one moves up. The list is shorter than k only if no candidate
 * left may stand at the next place.
 *
 * Scratch comes from the arena. U2I_ENOMEM, U2I_EINVAL (over RANK_CANDIDATES_MAX). */
int rank_order(const struct rank_query *q, struct arena *scratch, uint32_t *order,
               uint32_t *order_n, u2i_error_t *err);

/* Exploration by Thompson sampling (Thompson 1933): a draw from Beta(1 + liked, 1 + shown - liked), the belief
 * about how often the item is liked when it is shown. What was shown little draws widely, so it gets its
 * chance; what was shown in vain draws low. `name` is a hash of the item's id: the draw depends on nothing
 * but the arguments. In (0, 1). */
float rank_draw(uint64_t seed, uint64_t name, uint64_t liked, uint64_t shown);

#endif
