/* What the files rules*.c share: the parser's state, and the parameters of expressions. */
#ifndef U2I_ENGINE_RULES_INTERNAL_H
#define U2I_ENGINE_RULES_INTERNAL_H

#include "rules.h"

enum rule_param_kind { RULE_NOW, RULE_USER, RULE_HISTORY_LOW, RULE_HISTORY_HIGH };

struct rule_param {
    enum rule_param_kind kind;
    const char *name;       /* as between the braces */
    const char *attr;       /* the ATTR in it */
    struct attr_path *path; /* of ATTR; NULL for {now} */
    bool list;              /* stands where a list stands */
};

/* What is left of a rule while it is being read. */
struct rules_cursor {
    const char *p, *end;
};

struct rules_parser {
    const char *text; /* the whole of it, in the arena of `rules` */
    struct rules *rules;
    struct rule *rule; /* being read */
    const char *at;    /* where it begins in the text */
    uint32_t caps, lanes;
    u2i_error_t *err;
};

/* U2I_EINVAL, "line 3: ...", at the byte. */
__attribute__((format(printf, 3, 4))) int rules_fail(const struct rules_parser *p, const char *at,
                                                     const char *fmt, ...);

/* rules_words.c: words and numbers from either end. */
void rules_skip_space(struct rules_cursor *c);
struct rules_cursor rules_first_word(struct rules_cursor *c);
struct rules_cursor rules_last_word(struct rules_cursor *c);
bool rules_word_is(const struct rules_cursor *word, const char *text);
bool rules_is_empty(const struct rules_cursor *c);
/* What follows the first `word` that is not in quotes; *c ends before it. NULL at .p if there is none. */
struct rules_cursor rules_split_at(struct rules_cursor *c, const char *word);
int rules_take_word(struct rules_parser *p, struct rules_cursor *c, const char *word);
int rules_take_last_word(struct rules_parser *p, struct rules_cursor *c, const char *word,
                         const char *usage);
int rules_take_end(struct rules_parser *p, struct rules_cursor *c);
int rules_read_factor(struct rules_parser *p, struct rules_cursor word, double *out);
int rules_read_share(struct rules_parser *p, struct rules_cursor word, double *out);
int rules_read_count(struct rules_parser *p, struct rules_cursor word, uint32_t *out);
int rules_read_time(struct rules_parser *p, struct rules_cursor word, double *out);
int rules_read_action(struct rules_parser *p, struct rules_cursor word, const char **out);
int rules_read_string(struct rules_parser *p, struct rules_cursor *c, const char **out);
int rules_read_attr(struct rules_parser *p, struct rules_cursor name);

/* rules_param.c: the expression in the cursor becomes the rule's. */
int rules_read_expr(struct rules_parser *p, struct rules_cursor expr);
/* The same for what stands after `else`: without parameters. */
int rules_read_otherwise(struct rules_parser *p, struct rules_cursor expr);
/* {user.ATTR}, as a list. */
int rules_read_user_list(struct rules_parser *p, struct rules_cursor word);
/* Element i of a value that is a list, or the value itself. */
void rules_element(const struct attr_value *v, uint32_t i, struct attr_value *out);
/* Quantiles of the history, worked out once for each attribute of a question. */
struct rules_quantile {
    const char *attr;
    bool known;
    double low, high;
};
/* A question's rules being bound. */
struct rules_binding {
    const struct rules_asker *asker;
    struct arena *arena;
    struct rules_quantile quantiles[RULES_SETS_MAX * RULES_MAX];
    uint32_t quantiles_n;
    u2i_error_t *err;
};
enum rules_found {
    RULES_MISSING, /* the user doesn't have it */
    RULES_UNFIT,   /* has it, but not as the rule can use it */
    RULES_FOUND
};
/* The values of a rule's parameters; *found is that of the first that isn't found. */
int rules_param_values(struct rules_binding *b, const struct rule *rule, u2i_param_t *out,
                       enum rules_found *found);

#endif
