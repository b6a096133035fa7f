/* The inside of a filter, shared by the files filter_*.c: tokens, the tree, and the parser's
 * state. */
#ifndef U2I_FILTER_INTERNAL_H
#define U2I_FILTER_INTERNAL_H

#include "base/arena.h"
#include "filter/columns.h"
#include "filter/filter.h"
#include "filter/like.h"
#include "filter/value.h"

/* ---- The tree ------------------------------------------------------------------------------- */

enum node_kind {
    /* Values. */
    NODE_CONST,
    NODE_FIELD,
    NODE_NEGATE, /* -a */
    NODE_ARITH,  /* a op b */
    NODE_LENGTH, /* array_length(a) */
    /* Conditions. */
    NODE_TRUTH,        /* `value` is true or false */
    NODE_AND,          /* of the list that starts at a */
    NODE_OR,           /* likewise */
    NODE_NOT,          /* of a; not in the normal form */
    NODE_COMPARE,      /* a op b; a constant is on the right, never on both sides */
    NODE_IN,           /* a in list; list sorted, without duplicates, of one type */
    NODE_LIKE,         /* a like pattern */
    NODE_EXISTS,       /* of the field a */
    NODE_CONTAINS_ANY, /* the field a has an element of list; list sorted, without duplicates */
    NODE_CONTAINS_ALL
};

/* What a value can turn out to be, as far as the text alone tells. */
enum node_types { TYPE_NUMBER = 1, TYPE_STRING = 2, TYPE_BOOL = 4, TYPE_ANY = 7 };

enum field_kind { FIELD_ID, FIELD_CATEGORY, FIELD_PATH };

struct field {
    enum field_kind kind;
    uint32_t slot; /* its number in the filter */
    uint32_t steps_n;
    struct column_step steps[U2I_ATTRS_MAX_DEPTH]; /* the first one is a key */
};

struct node {
    uint8_t kind;  /* enum node_kind */
    uint8_t op;    /* enum filter_op */
    uint8_t types; /* enum node_types, of a value */
    bool negated;  /* normal form: the leaf is true where the condition is false */
    uint32_t offset, depth;
    uint32_t slot; /* normal form: number of the leaf */
    uint32_t cost; /* normal form: rough work for a row, to put cheap conditions first */
    uint32_t list_n;
    struct node *a, *b, *next;
    struct value value;
    const struct field *field;
    const struct value *list;
    const struct like *like;
};

struct filter {
    struct arena arena;       /* holds everything below */
    const struct node *root;  /* as written */
    const struct node *plain; /* the same without NODE_NOT, see filter_normal.c */
    uint32_t fields_n, leaves_n;
};

static inline bool node_is_condition(const struct node *n) {
    return n->kind >= NODE_TRUTH;
}

/* ---- Tokens --------------------------------------------------------------------------------- */

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INT,
    TOKEN_REAL,
    TOKEN_PARAM,
    TOKEN_COMPARE, /* op */
    TOKEN_SUM,     /* + - */
    TOKEN_PRODUCT, /* * / % */
    TOKEN_POWER,   /* ** */
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_OPEN_LIST,
    TOKEN_CLOSE_LIST,
    TOKEN_COMMA,
    TOKEN_AND,
    TOKEN_OR,
    TOKEN_NOT,
    TOKEN_IN,
    TOKEN_LIKE,
    TOKEN_IS,
    TOKEN_NULL,
    TOKEN_EXISTS,
    TOKEN_TRUE,
    TOKEN_FALSE,
    TOKEN_CONTAINS, /* contains: which of the three */
    TOKEN_LENGTH
};

enum contains_kind { CONTAINS_ONE, CONTAINS_ANY, CONTAINS_ALL };

struct token {
    enum token_kind kind;
    uint32_t offset, n; /* its bytes in the text */
    enum filter_op op;
    enum contains_kind contains;
    uint64_t magnitude; /* TOKEN_INT: up to 2^63, which only fits behind a minus */
    double real;
    const char *s; /* TOKEN_STRING: decoded; TOKEN_NAME and TOKEN_PARAM: the name */
    uint32_t s_n;
};

struct lexer {
    const char *text;
    uint32_t n, pos;
    bool pattern; /* the next string is for `like`: \% and \_ keep their backslash */
    struct arena *arena;
    u2i_error_t *err;
};

int filter_lex(struct lexer *lx, struct token *out); /* U2I_OK, U2I_EFILTER, U2I_ENOMEM */
/* "end of filter", "number 12", "\"and\"": for messages, cut to a readable length. */
#define TOKEN_SHOWN_BYTES 80
void filter_lex_show(const struct lexer *lx, const struct token *t, char out[TOKEN_SHOWN_BYTES]);

/* ---- Parsing -------------------------------------------------------------------------------- */

/* Functions that make nodes return NULL after they have set `rc` and the message. */
struct filter_parser {
    struct lexer lex;
    struct token token;  /* the next one */
    struct token before; /* the one before it; n = 0 at the start */
    uint32_t depth;      /* of the recursion */
    const u2i_param_t *params;
    size_t params_n;
    bool *params_used;
    struct filter *filter;
    int rc;
    u2i_error_t *err;
};

__attribute__((format(printf, 3, 4))) void *filter_fail(struct filter_parser *p, uint32_t offset,
                                                        const char *fmt, ...);
void *filter_fail_oom(struct filter_parser *p);
struct node *filter_node(struct filter_parser *p, enum node_kind kind, uint32_t offset);

/* filter_parse.c: the next token; a token that must be there; "expected X after Y, found Z". */
bool filter_parse_next(struct filter_parser *p);
bool filter_parse_expect(struct filter_parser *p, enum token_kind kind, const char *what);
void *filter_parse_expected(struct filter_parser *p, const char *expected);
bool filter_parse_enter(struct filter_parser *p); /* one level deeper: depth-- when it is left */
struct node *filter_parse_sum(struct filter_parser *p); /* a value, or a condition in parentheses */

/* filter_operand.c: what the next token starts. */
struct node *filter_operand_constant_node(struct filter_parser *p);
const struct value *filter_operand_list(struct filter_parser *p, uint32_t *n);
struct node *filter_operand_field(struct filter_parser *p);
struct node *filter_operand_length(struct filter_parser *p);
struct node *filter_operand_contains(struct filter_parser *p);
struct node *filter_operand_exists(struct filter_parser *p);

/* filter_param.c: values for {names}. */
int filter_param_check(struct filter_parser *p);        /* all of them, before parsing */
int filter_param_check_unused(struct filter_parser *p); /* after it */
/* The one value of the parameter that is the next token. */
bool filter_param_value(struct filter_parser *p, struct value *out);
/* Its list; *n > 0. */
const struct value *filter_param_list(struct filter_parser *p, uint32_t *n);

/* filter_check.c: nodes under the rules of types; constants are folded. `offset` is the
 * operator's. */
struct node *filter_check_const(struct filter_parser *p, struct value v, uint32_t offset);
struct node *filter_check_field(struct filter_parser *p, struct field *f, uint32_t offset);
struct node *filter_check_negate(struct filter_parser *p, struct node *a, uint32_t offset);
struct node *filter_check_arith(struct filter_parser *p, const struct token *op, struct node *a,
                                struct node *b);
struct node *filter_check_length(struct filter_parser *p, struct node *field, uint32_t offset);
struct node *filter_check_condition(struct filter_parser *p, struct node *a);
/* Lists: `first` and what follows it by `next`, each a condition; one alone stands for itself. */
struct node *filter_check_list(struct filter_parser *p, enum node_kind kind, struct node *first);
struct node *filter_check_not(struct filter_parser *p, struct node *a, uint32_t offset);
struct node *filter_check_compare(struct filter_parser *p, enum filter_op op, struct node *a,
                                  struct node *b);
struct node *filter_check_in(struct filter_parser *p, struct node *a, const struct value *list,
                             uint32_t n, uint32_t offset);
struct node *filter_check_like(struct filter_parser *p, struct node *a, const struct node *pattern);
struct node *filter_check_exists(struct filter_parser *p, struct node *field, uint32_t offset);
struct node *filter_check_contains(struct filter_parser *p, enum contains_kind kind,
                                   struct node *field, const struct value *list, uint32_t n);

/* filter_normal.c: sets filter->plain. U2I_OK or U2I_ENOMEM. */
int filter_normalise(struct filter *f);

#endif
