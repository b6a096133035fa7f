/* The leaves of the grammar: constants, lists of them, fields with their paths, and the functions
 * that look at a field. Lists grow in the filter's arena, so that one of n values costs a few times
 * n. */
#include "filter/filter_internal.h"

#include <string.h>

/* ---- Constants and lists -------------------------------------------------------------------- */

/* The token is a number, string, boolean or parameter. */
static bool filter_operand_constant(struct filter_parser *p, struct value *out) {
    const struct token *const t = &p->token;
    *out = (struct value){.tag = VALUE_BOOL};
    switch (t->kind) {
    case TOKEN_INT:
        out->tag = VALUE_INT;
        out->as.i = (int64_t)t->magnitude;
        if (t->magnitude > (uint64_t)INT64_MAX) {
            (void)filter_fail(p, t->offset, "integer does not fit 64 bits"); /* always NULL */
            return false;
        }
        break;
    case TOKEN_REAL:
        out->tag = VALUE_REAL;
        out->as.r = t->real;
        break;
    case TOKEN_STRING:
        out->tag = VALUE_STRING;
        out->as.s = t->s;
        out->n = t->s_n;
        break;
    case TOKEN_PARAM:
        if (!filter_param_value(p, out)) {
            return false;
        }
        break;
    default:
        out->as.i = t->kind == TOKEN_TRUE;
        break;
    }
    return filter_parse_next(p);
}

struct node *filter_operand_constant_node(struct filter_parser *p) {
    const uint32_t offset = p->token.offset;
    struct value v;
    return filter_operand_constant(p, &v) ? filter_check_const(p, v, offset) : NULL;
}

struct operand_list {
    struct value *values;
    uint32_t n, cap;
};

static bool filter_operand_append(struct filter_parser *p, struct operand_list *list,
                                  struct value v) {
    if (list->n == list->cap) { /* what is outgrown stays in the arena: as much again in all */
        const uint32_t cap = list->cap * 2 + 8;
        struct value *const grown = arena_array(&p->filter->arena, cap, sizeof *grown);
        if (grown == NULL) {
            (void)filter_fail_oom(p); /* always NULL; the caller is told by `false` */
            return false;
        }
        if (list->n > 0) {
            memcpy(grown, list->values, list->n * sizeof *grown);
        }
        list->values = grown;
        list->cap = cap;
    }
    list->values[list->n++] = v;
    return true;
}

/* The next value of a list and the comma after it, which the last one may lack. */
static bool filter_operand_element(struct filter_parser *p, struct operand_list *list) {
    const uint32_t offset = p->token.offset;
    const struct node *const node = filter_parse_sum(p);
    if (node == NULL) {
        return false;
    }
    if (node->kind != NODE_CONST) {
        (void)filter_fail(p, offset, "a list holds constants and parameters only"); /* NULL */
        return false;
    }
    return filter_operand_append(p, list, node->value) &&
           (p->token.kind == TOKEN_CLOSE_LIST ||
            filter_parse_expect(p, TOKEN_COMMA, "\",\" or \"]\""));
}

/* Values between brackets, or a parameter. Not NULL for an empty list. */
const struct value *filter_operand_list(struct filter_parser *p, uint32_t *n) {
    static const struct value nothing = {.tag = VALUE_MISSING};
    if (p->token.kind == TOKEN_PARAM) {
        const struct value *const values = filter_param_list(p, n);
        return values != NULL && filter_parse_next(p) ? values : NULL;
    }
    struct operand_list list = {NULL, 0, 0};
    bool ok = filter_parse_expect(p, TOKEN_OPEN_LIST, "a list, [...]");
    while (ok && p->token.kind != TOKEN_CLOSE_LIST) {
        ok = filter_operand_element(p, &list);
    }
    if (!ok || !filter_parse_next(p)) {
        return NULL;
    }
    *n = list.n;
    return list.n > 0 ? list.values : &nothing;
}

/* ---- Fields --------------------------------------------------------------------------------- */

static bool filter_operand_token_is(const struct token *t, const char *word) {
    return t->kind == TOKEN_NAME && t->s_n == strlen(word) && memcmp(t->s, word, t->s_n) == 0;
}

/* The key or index between brackets. */
static bool filter_operand_step(struct filter_parser *p, struct field *f) {
    if (!filter_parse_next(p)) {
        return false;
    }
    const struct token *const t = &p->token;
    if (f->steps_n == U2I_ATTRS_MAX_DEPTH) {
        (void)filter_fail(p, t->offset, /* always NULL */
                          "attributes are at most %d deep, so nothing can be there",
                          U2I_ATTRS_MAX_DEPTH);
        return false;
    }
    struct column_step *const step = &f->steps[f->steps_n];
    if (t->kind == TOKEN_STRING) {
        *step = (struct column_step){t->s, t->s_n, 0};
    } else if (t->kind == TOKEN_INT && t->magnitude <= UINT32_MAX && f->steps_n > 0) {
        *step = (struct column_step){NULL, 0, (uint32_t)t->magnitude};
    } else {
        (void)filter_parse_expected(p, /* always NULL */
                                    f->steps_n > 0 ? "a key in quotes or an index"
                                                   : "a key in quotes");
        return false;
    }
    f->steps_n++;
    return filter_parse_next(p) && filter_parse_expect(p, TOKEN_CLOSE_LIST, "\"]\"");
}

struct node *filter_operand_field(struct filter_parser *p) {
    const struct token name = p->token;
    struct field *const f = arena_alloc(&p->filter->arena, sizeof *f);
    if (f == NULL) {
        return filter_fail_oom(p);
    }
    *f = (struct field){.kind = FIELD_PATH};
    if (filter_operand_token_is(&name, "title") || filter_operand_token_is(&name, "text")) {
        return filter_fail(p, name.offset,
                           "\"%.*s\" is not kept for filters, search finds items by it; an "
                           "attribute of that name is attrs[\"%.*s\"]",
                           (int)name.s_n, name.s, (int)name.s_n, name.s);
    }
    if (filter_operand_token_is(&name, "id")) {
        f->kind = FIELD_ID;
    } else if (filter_operand_token_is(&name, "category")) {
        f->kind = FIELD_CATEGORY;
    } else if (!filter_operand_token_is(&name, "attrs")) {
        f->steps[f->steps_n++] = (struct column_step){name.s, name.s_n, 0};
    }
    if (!filter_parse_next(p)) {
        return NULL;
    }
    while (p->token.kind == TOKEN_OPEN_LIST) {
        if (f->kind != FIELD_PATH) {
            return filter_fail(p, p->token.offset, "\"%.*s\" is a string, it has nothing inside",
                               (int)name.s_n, name.s);
        }
        if (!filter_operand_step(p, f)) {
            return NULL;
        }
    }
    if (f->kind == FIELD_PATH && f->steps_n == 0) {
        return filter_parse_expected(p, "[\"key\"]");
    }
    return filter_check_field(p, f, name.offset);
}

/* A field, in any number of parentheses. */
static struct node *filter_operand_field_in_parens(struct filter_parser *p) {
    uint32_t open = 0;
    while (p->token.kind == TOKEN_OPEN) {
        if (++open > U2I_FILTER_MAX_DEPTH) {
            return filter_fail(p, p->token.offset, "nested deeper than %d", U2I_FILTER_MAX_DEPTH);
        }
        if (!filter_parse_next(p)) {
            return NULL;
        }
    }
    if (p->token.kind != TOKEN_NAME) {
        return filter_parse_expected(p, "a field");
    }
    struct node *const field = filter_operand_field(p);
    for (; field != NULL && open > 0; open--) {
        if (!filter_parse_expect(p, TOKEN_CLOSE, "\")\"")) {
            return NULL;
        }
    }
    return field;
}

/* ---- Functions ------------------------------------------------------------------------------ */

struct node *filter_operand_length(struct filter_parser *p) {
    const uint32_t offset = p->token.offset;
    if (!filter_parse_next(p) || !filter_parse_expect(p, TOKEN_OPEN, "\"(\"")) {
        return NULL;
    }
    struct node *const field = filter_operand_field_in_parens(p);
    if (field == NULL || !filter_parse_expect(p, TOKEN_CLOSE, "\")\"")) {
        return NULL;
    }
    return filter_check_length(p, field, offset);
}

/* The second argument of array_contains(), as a list of one. */
static const struct value *filter_operand_one(struct filter_parser *p, uint32_t *n) {
    if (p->token.kind == TOKEN_OPEN_LIST) {
        return filter_fail(p, p->token.offset,
                           "expected one value, found a list; array_contains_any and "
                           "array_contains_all take lists");
    }
    const struct node *const node = filter_parse_sum(p);
    if (node == NULL) {
        return NULL;
    }
    if (node->kind != NODE_CONST) {
        return filter_fail(p, node->offset, "expected a constant or a parameter");
    }
    *n = 1;
    return &node->value;
}

struct node *filter_operand_contains(struct filter_parser *p) {
    const enum contains_kind kind = p->token.contains;
    if (!filter_parse_next(p) || !filter_parse_expect(p, TOKEN_OPEN, "\"(\"")) {
        return NULL;
    }
    struct node *const field = filter_operand_field_in_parens(p);
    if (field == NULL || !filter_parse_expect(p, TOKEN_COMMA, "\",\"")) {
        return NULL;
    }
    if (!filter_parse_enter(p)) { /* a value may hold a function again, if only to be refused */
        return NULL;
    }
    uint32_t n = 0;
    const struct value *const list =
        kind == CONTAINS_ONE ? filter_operand_one(p, &n) : filter_operand_list(p, &n);
    p->depth--;
    if (list == NULL || !filter_parse_expect(p, TOKEN_CLOSE, "\")\"")) {
        return NULL;
    }
    return filter_check_contains(p, kind, field, list, n);
}

struct node *filter_operand_exists(struct filter_parser *p) {
    const uint32_t offset = p->token.offset;
    if (!filter_parse_next(p)) {
        return NULL;
    }
    struct node *const field = filter_operand_field_in_parens(p);
    return field != NULL ? filter_check_exists(p, field, offset) : NULL;
}
