/* Ranking rules: the little language in which a shop says what its lists should be like beside what its users
 * like (docs/ranking.md has every rule with an example). One rule a line; `#` starts a comment, `;` ends a
 * rule too.
 *
 *     filter EXPR [else EXPR]            only items that match; `else`: for a user without what the first names
 *     require EXPR                       the same, and nothing at all to a user without the attribute it names
 *     boost EXPR by F                    the odds of items that match times F
 *     match ATTR with {user.ATTR} by F   odds times F if the user's list has all of the item's, F^half for a half
 *     pin "ID" at N                      the item stands at place N
 *     promote EXPR share S               at least the share S of places goes to items that match
 *     cap ATTR N [in M]                  at most N items of one ATTR among M neighbours, or in the list
 *     again ACTION after T [where EXPR]  an event of ACTION hides the item for T only
 *     shown discount F [within T]        odds times F for each time that the user was shown the item
 *     shown cap N within T               not shown more than N times within T
 *     fresh ATTR half-life T             odds halve with every T since ATTR (Unix seconds)
 *     explore S below N                  at least the share S of places to items with fewer than N events
 *     limit ACTION N [within T]          items with N events of ACTION, of all users, are left out
 *     mutual ACTION                      who did ACTION to a person is hidden from that person too
 *     two-sided harmonic|product [ATTR]  the score counts both directions
 *
 * EXPR is a filter (filter/filter.h) that may name {now}, {user.ATTR}, {history.ATTR.low} and
 * {history.ATTR.high}. A rule that names what the user doesn't have (null and the empty list count as not
 * having) is skipped; one that names what the user has, but in a form that it can't use, is skipped too, but for
 * filters: those let nothing through then.
 *
 * Rules are parsed and wholly checked once, when they are set; binding them to a question parses anew only
 * the expressions with parameters. struct rules is immutable after rules_parse(). */
#ifndef U2I_ENGINE_RULES_H
#define U2I_ENGINE_RULES_H

#include "base/arena.h"
#include "filter/attr.h"
#include "filter/filter.h"
#include "rank/rank.h"
#include "u2i.h"
#include <stdbool.h>

#define RULES_MAX_BYTES    8192
#define RULES_MAX          64 /* rules of one text */
#define RULES_CAPS_MAX     6  /* of these */
#define RULES_LANES_MAX    8  /* promote and explore */
#define RULES_PARAMS_MAX   4  /* different parameters of one expression */
#define RULES_SETS_MAX     2  /* texts of one question: the setting's and its own */
#define RULES_FACTOR_MAX   1000.0
#define RULES_TIME_MAX_S   1e10 /* 317 years */
#define RULES_COUNT_MAX    1000000
#define RULES_QUANTILE_LOW 0.1 /* {history.ATTR.low}, weighted; .high is 1 minus it */

enum rule_kind {
    RULE_FILTER,    /* expr, strict */
    RULE_BOOST,     /* expr, factor */
    RULE_MATCH,     /* name (attribute), path, factor, params: the user's list */
    RULE_PIN,       /* name (item id), count (place, 1 = the first) */
    RULE_PROMOTE,   /* expr, share */
    RULE_CAP,       /* name (attribute), path, count, window (0 = the list) */
    RULE_AGAIN,     /* name (action), seconds, expr or none */
    RULE_DISCOUNT,  /* factor, seconds (0 = ever): `shown discount` */
    RULE_SHOWN_CAP, /* count, seconds */
    RULE_FRESH,     /* name (attribute), path, seconds (half-life) */
    RULE_EXPLORE,   /* share, count */
    RULE_LIMIT,     /* name (action), count, seconds (0 = ever) */
    RULE_MUTUAL,    /* name (action) */
    RULE_TWO_SIDED  /* product, name (attribute; NULL = the item's own id), path */
};

struct rule_param;

struct rule {
    enum rule_kind kind;
    uint32_t line;    /* in its text, from 1 */
    const char *text; /* as it was written, for reasons: `boost price < 20 by 1.2` */
    const char *expr; /* NULL = none */
    uint32_t expr_n;
    struct filter *filter; /* of expr, if that has no parameters */
    struct filter *
        otherwise; /* RULE_FILTER: for users without a value for a parameter; NULL = skipped then */
    struct rule_param *params;
    uint32_t params_n;
    const char *name;
    struct attr_path *path;
    double factor, share, seconds;
    uint32_t count, window;
    bool strict;  /* RULE_FILTER: `require` */
    bool product; /* RULE_TWO_SIDED: else harmonic */
};

struct rules {
    struct arena arena; /* owns all strings below */
    struct rule list[RULES_MAX];
    uint32_t n;
};

/* NULL and "" are no rules. U2I_EINVAL: the message names line and what is expected, err->offset is the byte
 * in the text. U2I_ENOMEM. */
int rules_parse(const char *text, struct rules **out, u2i_error_t *err);
void rules_free(struct rules *rules); /* NULL is a no-op */

/* ---- Rules of one question -------------------------------------------------------------------- */

/* Where parameters come from. */
struct rules_asker {
    int64_t now_ms;
    const struct attrs *user;  /* the user's attributes, from attrs_parse(); NULL = none */
    const struct rules_liked { /* what the history likes: weights > 0 */
        uint32_t row;
        float weight;
    } * history;
    uint32_t history_n;
    /* The attribute of n rows; out[i] of rows[i]. */
    int (*attr)(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                struct attr_value *out, u2i_error_t *err);
    void *ctx;
};

struct rule_bound {
    const struct rule *rule;
    const struct filter *filter; /* of its expression; NULL = it has none */
    struct filter *owned;        /* the same, if it was parsed for this question */
    const u2i_param_t *list;     /* RULE_MATCH: what the user has */
};
struct rules_bound {
    struct rule_bound
        *list; /* in order of kind, then as they were written; a number in it is the rule of
                                rank_add() */
    uint32_t n;
    bool
        nothing; /* a `require` names what the user doesn't have, or a filter what it can't use: no item
                     may be in the answer */
};
/* Binds the rules of several texts (NULL = none). Memory from the arena, but for the filters: call
 * rules_unbind() in every case. The rules must outlive it. U2I_ENOMEM, errors of the callback. */
int rules_bind(const struct rules *const *sets, size_t sets_n, const struct rules_asker *asker,
               struct arena *a, struct rules_bound *out, u2i_error_t *err);
void rules_unbind(struct rules_bound *b);
/* Rules of one kind: list[*from] .. list[*from + the returned number). */
uint32_t rules_of(const struct rules_bound *b, enum rule_kind kind, uint32_t *from);

/* ---- What rules look at ----------------------------------------------------------------------- */

/* How rules see the store, inside a read section. A callback that is NULL: nothing is known, and rules that
 * would ask it do nothing. */
struct rules_view {
    void *ctx;
    int64_t now_ms;
    uint64_t seed; /* of draws: another one, another exploration */
    /* passes[i]: does rows[i] match? As filter_match(). */
    int (*match)(void *ctx, const struct filter *f, const uint32_t *rows, uint32_t n, bool *passes,
                 u2i_error_t *err);
    /* As in struct rules_asker. */
    int (*attr)(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                struct attr_value *out, u2i_error_t *err);
    /* How often this user was shown the item in the last `within_s` seconds (INFINITY: ever). */
    uint32_t (*shown)(void *ctx, uint32_t row, double within_s);
    /* Of all users: events of the item, and how often it was shown (0 if impressions aren't recorded). */
    uint64_t (*events)(void *ctx, uint32_t row);
    uint64_t (*impressions)(void *ctx, uint32_t row);
    const char *(*id)(void *ctx, uint32_t row); /* of the item; NULL = none */
};

/* ---- Events that hide items ------------------------------------------------------------------- */

struct rules_event {
    uint32_t row;
    const char *action;
};
/* For how long each of n events hides its item, in seconds: the T of the first `again` rule for its action
 * that applies to the item, INFINITY without one. U2I_ENOMEM, errors of callbacks. */
int rules_again(const struct rules_bound *b, const struct rules_view *v,
                const struct rules_event *events, uint32_t n, double *hides_s, u2i_error_t *err);
/* Has a `shown cap` had enough of the item? */
bool rules_shown_enough(const struct rules_bound *b, const struct rules_view *v, uint32_t row);

/* ---- Candidates ------------------------------------------------------------------------------- */

/* Rules that belong to candidates: boost, match, pin, promote, cap, shown discount, fresh, explore. Adds their terms,
 * keys, lanes, draws and pins to candidates whose parts are set and summed up (rank_sum()), and tells the
 * caps and lanes for rank_order(). The others (filters, hiding, limits, two sides) come before. */
struct rules_ranking {
    struct rank_candidate *candidates;
    uint32_t n;
    const struct rank_scale *scales;     /* by tier */
    struct arena *arena;                 /* terms and scratch */
    struct rank_cap caps[RANK_CAPS_MAX]; /* out */
    struct rank_lane lanes[RANK_LANES_MAX];
    uint32_t caps_n, lanes_n;
};
int rules_rank(const struct rules_bound *b, const struct rules_view *v, struct rules_ranking *r,
               u2i_error_t *err);
/* What a `match` has found in the item's attribute `v`, after the rule's text: "match ...: has c, sql; lacks
 * go". *out is NULL where the item has nothing to match. Memory from the arena. U2I_ENOMEM. */
int rules_match_text(const struct rule_bound *bound, const struct attr_value *v, struct arena *a,
                     const char **out, u2i_error_t *err);
/* Does a rule in it count everybody's events? Those are counted for the setting's rules only. */
const struct rule *rules_counting(const struct rules *rules);
/* What a two-sided rule adds to a score, when the other side would act with this probability: the two
 * probabilities become their harmonic mean, or their product, and that a score again. */
float rules_two_sided(const struct rule *rule, const struct rank_scale *scale, float score,
                      double other);

#endif
