/* Tokens -> tree, by recursive descent, one function for each level of precedence, loosest first:
 *
 *     or       and { "or" and }
 *     and      not { "and" not }
 *     not      "not" not | relation
 *     relation sum [ compare sum { compare sum } | ["not"] "in" list | ["not"] "like" sum
 *                  | "is" ["not"] "null" ]
 *     sum      product { ("+" | "-") product }
 *     product  unary { ("*" | "/" | "%") unary }
 *     unary    "-" unary | power
 *     power    primary [ "**" unary ]
 *     primary  constant | parameter | field | function | "(" or ")"
 *
 * That is the precedence of Python, which `not` shows: it takes the whole comparison on its right.
 * Every value and condition is one kind of node, and filter_check.c decides whether it fits where
 * it stands; so "(price) > 3" and "(a or b)" need no look-ahead.
 *
 * Recursion happens only through "(", "not", "-", "**" and array_contains(), each of which counts
 * against U2I_FILTER_MAX_DEPTH, as does the height of the tree, which later walks go down. Lists of
 * `and` and `or` are flat, so their length counts nothing. */
#include "filter/filter_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/utf8.h"
#include <stdarg.h>
#include <stdio.h>

/* ---- Errors and tokens ---------------------------------------------------------------------- */

void *filter_fail(struct filter_parser *p, uint32_t offset, const char *fmt, ...) {
    char msg[2 * sizeof p->err->msg]; /* error_at() is the one that cuts, at a character */
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap); /* no message is longer */
    va_end(ap);
    p->rc = error_at(p->err, U2I_EFILTER, (int32_t)offset, "%s", msg);
    return NULL;
}

void *filter_fail_oom(struct filter_parser *p) {
    p->rc = error_oom(p->err);
    return NULL;
}

/* 'expected X after "==", found end of filter' */
void *filter_parse_expected(struct filter_parser *p, const char *expected) {
    char found[TOKEN_SHOWN_BYTES], before[TOKEN_SHOWN_BYTES];
    filter_lex_show(&p->lex, &p->token, found);
    if (p->before.n == 0) {
        return filter_fail(p, p->token.offset, "expected %s, found %s", expected, found);
    }
    filter_lex_show(&p->lex, &p->before, before);
    return filter_fail(p, p->token.offset, "expected %s after %s, found %s", expected, before,
                       found);
}

bool filter_parse_next(struct filter_parser *p) {
    p->before = p->token;
    p->rc = filter_lex(&p->lex, &p->token);
    return p->rc == U2I_OK;
}

bool filter_parse_expect(struct filter_parser *p, enum token_kind kind, const char *what) {
    if (p->token.kind != kind) {
        (void)filter_parse_expected(p, what); /* always NULL; the caller is told by `false` */
        return false;
    }
    return filter_parse_next(p);
}

bool filter_parse_enter(struct filter_parser *p) {
    if (++p->depth > U2I_FILTER_MAX_DEPTH) {
        (void)filter_fail(p, p->token.offset, "nested deeper than %d", /* always NULL */
                          U2I_FILTER_MAX_DEPTH);
        return false;
    }
    return true;
}

struct node *filter_node(struct filter_parser *p, enum node_kind kind, uint32_t offset) {
    struct node *const n = arena_alloc(&p->filter->arena, sizeof *n);
    if (n == NULL) {
        return filter_fail_oom(p);
    }
    *n = (struct node){.kind = (uint8_t)kind, .offset = offset, .depth = 1};
    return n;
}

static struct node *filter_parse_or(struct filter_parser *p);
static struct node *filter_parse_unary(struct filter_parser *p);

/* ---- Values --------------------------------------------------------------------------------- */

static struct node *filter_parse_group(struct filter_parser *p) {
    if (!filter_parse_enter(p) || !filter_parse_next(p)) {
        return NULL;
    }
    struct node *const inner = filter_parse_or(p);
    p->depth--;
    return inner != NULL && filter_parse_expect(p, TOKEN_CLOSE, "\")\"") ? inner : NULL;
}

static struct node *filter_parse_primary(struct filter_parser *p) {
    switch (p->token.kind) {
    case TOKEN_OPEN:
        return filter_parse_group(p);
    case TOKEN_NAME:
        return filter_operand_field(p);
    case TOKEN_INT:
    case TOKEN_REAL:
    case TOKEN_STRING:
    case TOKEN_PARAM:
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        return filter_operand_constant_node(p);
    case TOKEN_LENGTH:
        return filter_operand_length(p);
    case TOKEN_CONTAINS:
        return filter_operand_contains(p);
    case TOKEN_EXISTS:
        return filter_operand_exists(p);
    case TOKEN_NULL:
        return filter_fail(p, p->token.offset,
                           "null is no value: ask for it with \"is null\" or \"is not null\"");
    case TOKEN_OPEN_LIST:
        return filter_fail(p, p->token.offset,
                           "a list stands only after \"in\" and in "
                           "array_contains_any and array_contains_all");
    default:
        return filter_parse_expected(p, p->before.n == 0 ? "a condition" : "a value");
    }
}

static struct node *filter_parse_power(struct filter_parser *p) {
    struct node *const base = filter_parse_primary(p);
    if (base == NULL || p->token.kind != TOKEN_POWER) {
        return base;
    }
    const struct token op = p->token;
    if (!filter_parse_enter(p) || !filter_parse_next(p)) {
        return NULL;
    }
    struct node *const exponent = filter_parse_unary(p);
    p->depth--;
    return exponent != NULL ? filter_check_arith(p, &op, base, exponent) : NULL;
}

/* The smallest integer is a minus and a number that does not fit by itself. */
static struct node *filter_parse_smallest(struct filter_parser *p, uint32_t offset) {
    const struct value v = {.tag = VALUE_INT, .as.i = INT64_MIN};
    if (!filter_parse_next(p)) {
        return NULL;
    }
    if (p->token.kind == TOKEN_POWER) {
        return filter_fail(p, p->before.offset, "integer does not fit 64 bits");
    }
    return filter_check_const(p, v, offset);
}

static struct node *filter_parse_unary(struct filter_parser *p) {
    const uint32_t offset = p->token.offset;
    if (p->token.kind != TOKEN_SUM || p->token.op != OP_SUB) {
        return filter_parse_power(p);
    }
    if (!filter_parse_enter(p) || !filter_parse_next(p)) {
        return NULL;
    }
    const bool smallest =
        p->token.kind == TOKEN_INT && p->token.magnitude == (uint64_t)INT64_MAX + 1;
    struct node *const a = smallest ? filter_parse_smallest(p, offset) : filter_parse_unary(p);
    p->depth--;
    return a == NULL || smallest ? a : filter_check_negate(p, a, offset);
}

static struct node *filter_parse_product(struct filter_parser *p) {
    struct node *a = filter_parse_unary(p);
    while (a != NULL && p->token.kind == TOKEN_PRODUCT) {
        const struct token op = p->token;
        struct node *const b = filter_parse_next(p) ? filter_parse_unary(p) : NULL;
        a = b != NULL ? filter_check_arith(p, &op, a, b) : NULL;
    }
    return a;
}

struct node *filter_parse_sum(struct filter_parser *p) {
    struct node *a = filter_parse_product(p);
    while (a != NULL && p->token.kind == TOKEN_SUM) {
        const struct token op = p->token;
        struct node *const b = filter_parse_next(p) ? filter_parse_product(p) : NULL;
        a = b != NULL ? filter_check_arith(p, &op, a, b) : NULL;
    }
    return a;
}

/* ---- Conditions ----------------------------------------------------------------------------- */

static bool filter_parse_is_upward(enum filter_op op) {
    return op == OP_LT || op == OP_LE;
}

/* The token is a comparison; a is what stands left of it. 1 < x <= 9 is 1 < x and x <= 9. */
static struct node *filter_parse_compare(struct filter_parser *p, struct node *a) {
    const enum filter_op first_op = p->token.op;
    struct node *first = NULL, *last = NULL;
    while (a != NULL && p->token.kind == TOKEN_COMPARE) {
        const enum filter_op op = p->token.op;
        const bool chain = first != NULL;
        if (chain && (!value_op_orders(op) || !value_op_orders(first_op) ||
                      filter_parse_is_upward(op) != filter_parse_is_upward(first_op))) {
            return filter_fail(p, p->token.offset,
                               "only < with <= and > with >= form a range; join other comparisons "
                               "with \"and\"");
        }
        struct node *const b = filter_parse_next(p) ? filter_parse_sum(p) : NULL;
        struct node *const both = b != NULL ? filter_check_compare(p, op, a, b) : NULL;
        if (both == NULL) {
            return NULL;
        }
        if (chain) {
            last->next = both;
        } else {
            first = both;
        }
        last = both;
        a = b;
    }
    return filter_check_list(p, NODE_AND, first);
}

static struct node *filter_parse_in(struct filter_parser *p, struct node *a) {
    const uint32_t offset = p->token.offset;
    uint32_t n = 0;
    const struct value *const list = filter_parse_next(p) ? filter_operand_list(p, &n) : NULL;
    return list != NULL ? filter_check_in(p, a, list, n, offset) : NULL;
}

static struct node *filter_parse_like(struct filter_parser *p, struct node *a) {
    p->lex.pattern = true;
    const bool ok = filter_parse_next(p);
    p->lex.pattern = false;
    const struct node *const pattern = ok ? filter_parse_sum(p) : NULL;
    return pattern != NULL ? filter_check_like(p, a, pattern) : NULL;
}

static struct node *filter_parse_is(struct filter_parser *p, struct node *a) {
    const uint32_t offset = p->token.offset;
    if (a->kind != NODE_FIELD) {
        return filter_fail(p, a->offset, "expected a field before \"is\"");
    }
    if (!filter_parse_next(p)) {
        return NULL;
    }
    const bool negated = p->token.kind == TOKEN_NOT;
    if (negated && !filter_parse_next(p)) {
        return NULL;
    }
    if (!filter_parse_expect(p, TOKEN_NULL, negated ? "\"null\"" : "\"null\" or \"not null\"")) {
        return NULL;
    }
    struct node *const there = filter_check_exists(p, a, offset);
    return there == NULL || negated ? there : filter_check_not(p, there, offset);
}

static struct node *filter_parse_relation(struct filter_parser *p) {
    struct node *const a = filter_parse_sum(p);
    if (a == NULL) {
        return NULL;
    }
    const uint32_t offset = p->token.offset;
    switch (p->token.kind) {
    case TOKEN_COMPARE:
        return filter_parse_compare(p, a);
    case TOKEN_IS:
        return filter_parse_is(p, a);
    case TOKEN_IN:
        return filter_parse_in(p, a);
    case TOKEN_LIKE:
        return filter_parse_like(p, a);
    case TOKEN_NOT:
        break;
    default:
        return a;
    }
    if (!filter_parse_next(p)) {
        return NULL;
    }
    struct node *inner = NULL;
    if (p->token.kind == TOKEN_IN) {
        inner = filter_parse_in(p, a);
    } else if (p->token.kind == TOKEN_LIKE) {
        inner = filter_parse_like(p, a);
    } else {
        return filter_parse_expected(p, "\"in\" or \"like\"");
    }
    return inner != NULL ? filter_check_not(p, inner, offset) : NULL;
}

static struct node *filter_parse_not(struct filter_parser *p) {
    const uint32_t offset = p->token.offset;
    if (p->token.kind != TOKEN_NOT) {
        return filter_parse_relation(p);
    }
    if (!filter_parse_enter(p) || !filter_parse_next(p)) {
        return NULL;
    }
    struct node *const a = filter_parse_not(p);
    p->depth--;
    return a != NULL ? filter_check_not(p, a, offset) : NULL;
}

/* a, or the list of a and what follows it by `separator`. */
static struct node *filter_parse_joined(struct filter_parser *p, enum token_kind separator,
                                        enum node_kind kind,
                                        struct node *(*parse)(struct filter_parser *)) {
    struct node *const a = parse(p);
    if (a == NULL || p->token.kind != separator) {
        return a;
    }
    struct node *const first = filter_check_condition(p, a);
    struct node *last = first;
    while (last != NULL && p->token.kind == separator) {
        struct node *const b = filter_parse_next(p) ? parse(p) : NULL;
        last->next = b != NULL ? filter_check_condition(p, b) : NULL;
        last = last->next;
    }
    return last != NULL ? filter_check_list(p, kind, first) : NULL;
}

static struct node *filter_parse_and(struct filter_parser *p) {
    return filter_parse_joined(p, TOKEN_AND, NODE_AND, filter_parse_not);
}

static struct node *filter_parse_or(struct filter_parser *p) {
    return filter_parse_joined(p, TOKEN_OR, NODE_OR, filter_parse_and);
}

/* ---- The whole ------------------------------------------------------------------------------ */

static struct node *filter_parse_all(struct filter_parser *p) {
    if (!filter_parse_next(p)) {
        return NULL;
    }
    struct node *const a = filter_parse_or(p);
    struct node *const root = a != NULL ? filter_check_condition(p, a) : NULL;
    if (root != NULL && p->token.kind != TOKEN_END) {
        return filter_parse_expected(p, "\"and\", \"or\" or the end");
    }
    return root;
}

static int filter_parse_text(struct filter_parser *p) {
    const int rc = filter_param_check(p);
    if (rc != U2I_OK) {
        return rc;
    }
    p->filter->root = filter_parse_all(p);
    if (p->filter->root == NULL) {
        return p->rc;
    }
    U2I_TRY(filter_param_check_unused(p));
    return filter_normalise(p->filter) == U2I_OK ? U2I_OK : error_oom(p->err);
}

/* Where the text stops being UTF-8 without NUL; n when it does not. */
static size_t filter_parse_valid_bytes(const char *text, size_t n) {
    size_t i = 0;
    while (i < n && text[i] != '\0') {
        int32_t codepoint;
        const size_t bytes = utf8_next(text + i, n - i, &codepoint);
        if (bytes == 0) {
            break;
        }
        i += bytes;
    }
    return i;
}

int filter_parse(const char *text, size_t n, const u2i_param_t *params, size_t params_n,
                 struct filter **out, u2i_error_t *err) {
    *out = NULL;
    if (n > U2I_FILTER_MAX_BYTES) {
        return error_at(err, U2I_EFILTER, U2I_FILTER_MAX_BYTES, "filter of %zu bytes is over %d", n,
                        U2I_FILTER_MAX_BYTES);
    }
    const size_t valid = filter_parse_valid_bytes(text, n);
    if (valid < n) {
        return error_at(err, U2I_EFILTER, (int32_t)valid, "filter is not valid UTF-8 or has a NUL");
    }
    struct filter *const f = mem_zalloc(sizeof *f);
    bool *const used = mem_zalloc(params_n);
    int rc = U2I_ENOMEM;
    if (f == NULL || used == NULL) {
        rc = error_oom(err);
        goto out;
    }
    struct filter_parser p = {.lex = {text, (uint32_t)n, 0, false, &f->arena, err},
                              .params = params,
                              .params_n = params_n,
                              .params_used = used,
                              .filter = f,
                              .err = err};
    rc = filter_parse_text(&p);
out:
    mem_free(used);
    if (rc == U2I_OK) {
        *out = f;
    } else {
        filter_free(f);
    }
    return rc;
}

void filter_free(struct filter *f) {
    if (f != NULL) {
        arena_free(&f->arena);
        mem_free(f);
    }
}
