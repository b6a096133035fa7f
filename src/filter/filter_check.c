/* The rules of types. A constant, `id`, `category` and arithmetic have a type that the text alone
 * tells; an attribute can be anything in each item. Where the types cannot fit, whatever the item,
 * the filter is refused with the place; where they may, the item decides, and a misfit there is
 * unknown.
 *
 * What has only constants in it is computed here, so that evaluation finds a constant only on the
 * right of an operator. Where a constant has no answer (1 / 0), the filter is wrong. */
#include "filter/filter_internal.h"

#include "base/alloc.h"
#include <stdio.h>

static const char *filter_check_type_name(uint8_t types) {
    switch (types) {
    case TYPE_NUMBER:
        return "a number";
    case TYPE_STRING:
        return "a string";
    case TYPE_BOOL:
        return "a boolean";
    default:
        return "an attribute";
    }
}

static uint8_t filter_check_types_of(const struct value *v) {
    return v->tag == VALUE_STRING ? TYPE_STRING : v->tag == VALUE_BOOL ? TYPE_BOOL : TYPE_NUMBER;
}

static struct node *filter_check_value(struct filter_parser *p, struct node *a) {
    return node_is_condition(a) ? filter_fail(p, a->offset, "expected a value, found a condition")
                                : a;
}

/* Is `a` a value that may be of these types? */
static bool filter_check_may_be(struct filter_parser *p, struct node *a, uint8_t types,
                                const char *operator_name) {
    if (filter_check_value(p, a) == NULL) {
        return false;
    }
    if ((a->types & types) == 0) {
        (void)filter_fail(p, a->offset, "%s needs %s, found %s", operator_name, /* always NULL */
                          filter_check_type_name(types), filter_check_type_name(a->types));
        return false;
    }
    return true;
}

/* Sets the height of a node over its operands. */
static struct node *filter_check_depth(struct filter_parser *p, struct node *n) {
    uint32_t depth = n->a != NULL ? n->a->depth : 0;
    depth = n->b != NULL && n->b->depth > depth ? n->b->depth : depth;
    n->depth = depth + 1;
    return n->depth > U2I_FILTER_MAX_DEPTH
               ? filter_fail(p, n->offset, "nested deeper than %d", U2I_FILTER_MAX_DEPTH)
               : n;
}

/* ---- Values --------------------------------------------------------------------------------- */

struct node *filter_check_const(struct filter_parser *p, struct value v, uint32_t offset) {
    struct node *const n = filter_node(p, NODE_CONST, offset);
    if (n != NULL) {
        n->value = v;
        n->types = filter_check_types_of(&v);
    }
    return n;
}

struct node *filter_check_field(struct filter_parser *p, struct field *f, uint32_t offset) {
    struct node *const n = filter_node(p, NODE_FIELD, offset);
    if (n != NULL) {
        f->slot = p->filter->fields_n++;
        n->field = f;
        n->types = f->kind == FIELD_PATH ? TYPE_ANY : TYPE_STRING;
    }
    return n;
}

/* A node of one or two operands, whose value is a number. */
static struct node *filter_check_number_node(struct filter_parser *p, enum node_kind kind,
                                             uint32_t offset, struct node *a, struct node *b) {
    struct node *const n = filter_node(p, kind, offset);
    if (n == NULL) {
        return NULL;
    }
    n->a = a;
    n->b = b;
    n->types = TYPE_NUMBER;
    return filter_check_depth(p, n);
}

static struct node *filter_check_computed(struct filter_parser *p, struct value v,
                                          uint32_t offset) {
    if (v.tag == VALUE_MISSING) {
        return filter_fail(p, offset,
                           "this has no value: division by zero, %% of a real, or out of range");
    }
    return filter_check_const(p, v, offset);
}

struct node *filter_check_negate(struct filter_parser *p, struct node *a, uint32_t offset) {
    if (!filter_check_may_be(p, a, TYPE_NUMBER, "\"-\"")) {
        return NULL;
    }
    return a->kind == NODE_CONST ? filter_check_computed(p, value_negate(a->value), offset)
                                 : filter_check_number_node(p, NODE_NEGATE, offset, a, NULL);
}

struct node *filter_check_arith(struct filter_parser *p, const struct token *op, struct node *a,
                                struct node *b) {
    static const char *const names[] = {"\"+\"", "\"-\"", "\"*\"", "\"/\"", "\"%\"", "\"**\""};
    const char *const name = names[op->op - OP_ADD];
    if (!filter_check_may_be(p, a, TYPE_NUMBER, name) ||
        !filter_check_may_be(p, b, TYPE_NUMBER, name)) {
        return NULL;
    }
    if (a->kind == NODE_CONST && b->kind == NODE_CONST) {
        return filter_check_computed(p, value_arith(op->op, a->value, b->value), op->offset);
    }
    const bool real = (a->kind == NODE_CONST && a->value.tag == VALUE_REAL) ||
                      (b->kind == NODE_CONST && b->value.tag == VALUE_REAL);
    if (op->op == OP_MOD && real) {
        return filter_fail(p, op->offset, "\"%%\" needs integers, found a real number");
    }
    struct node *const n = filter_check_number_node(p, NODE_ARITH, a->offset, a, b);
    if (n != NULL) {
        n->op = (uint8_t)op->op;
    }
    return n;
}

/* Only attributes are arrays. */
static bool filter_check_array(struct filter_parser *p, const struct node *field) {
    if (field->field->kind != FIELD_PATH) {
        (void)filter_fail(p, field->offset,
                          "expected an attribute that is an array, " /* NULL */
                          "found a string");
        return false;
    }
    return true;
}

struct node *filter_check_length(struct filter_parser *p, struct node *field, uint32_t offset) {
    return filter_check_array(p, field)
               ? filter_check_number_node(p, NODE_LENGTH, offset, field, NULL)
               : NULL;
}

/* ---- Conditions ----------------------------------------------------------------------------- */

static struct node *filter_check_truth(struct filter_parser *p, bool truth, uint32_t offset) {
    struct node *const n = filter_node(p, NODE_TRUTH, offset);
    if (n != NULL) {
        n->value = (struct value){.tag = VALUE_BOOL, .as.i = truth};
    }
    return n;
}

/* A condition over one or two operands. */
static struct node *filter_check_node(struct filter_parser *p, enum node_kind kind, struct node *a,
                                      struct node *b) {
    struct node *const n = filter_node(p, kind, a->offset);
    if (n == NULL) {
        return NULL;
    }
    n->a = a;
    n->b = b;
    return filter_check_depth(p, n);
}

struct node *filter_check_condition(struct filter_parser *p, struct node *a) {
    if (node_is_condition(a)) {
        return a;
    }
    if ((a->types & TYPE_BOOL) == 0) {
        return filter_fail(p, a->offset, "expected a condition, found %s",
                           filter_check_type_name(a->types));
    }
    if (a->kind == NODE_CONST) {
        return filter_check_truth(p, a->value.as.i != 0, a->offset);
    }
    /* An attribute by itself is a condition that is true where it is true. */
    const struct value yes = {.tag = VALUE_BOOL, .as.i = 1};
    struct node *const constant = filter_check_const(p, yes, a->offset);
    return constant != NULL ? filter_check_compare(p, OP_EQ, a, constant) : NULL;
}

struct node *filter_check_list(struct filter_parser *p, enum node_kind kind, struct node *first) {
    if (first == NULL || first->next == NULL) {
        return first;
    }
    struct node *const n = filter_node(p, kind, first->offset);
    if (n == NULL) {
        return NULL;
    }
    n->a = first;
    for (const struct node *child = first; child != NULL; child = child->next) {
        n->depth = child->depth >= n->depth ? child->depth + 1 : n->depth;
    }
    return n->depth > U2I_FILTER_MAX_DEPTH
               ? filter_fail(p, n->offset, "nested deeper than %d", U2I_FILTER_MAX_DEPTH)
               : n;
}

struct node *filter_check_not(struct filter_parser *p, struct node *a, uint32_t offset) {
    struct node *const condition = filter_check_condition(p, a);
    struct node *const n =
        condition != NULL ? filter_check_node(p, NODE_NOT, condition, NULL) : NULL;
    if (n != NULL) {
        n->offset = offset;
    }
    return n;
}

struct node *filter_check_compare(struct filter_parser *p, enum filter_op op, struct node *a,
                                  struct node *b) {
    if (filter_check_value(p, a) == NULL || filter_check_value(p, b) == NULL) {
        return NULL;
    }
    const uint8_t both = a->types & b->types;
    if (both == 0) {
        return filter_fail(p, b->offset, "cannot compare %s with %s",
                           filter_check_type_name(a->types), filter_check_type_name(b->types));
    }
    if (both == TYPE_BOOL && value_op_orders(op)) {
        return filter_fail(p, b->offset, "booleans have no order, only \"==\" and \"!=\" fit them");
    }
    if (a->kind == NODE_CONST && b->kind == NODE_CONST) {
        return filter_check_truth(p, value_relate(op, &a->value, &b->value) == TRUTH_TRUE,
                                  a->offset);
    }
    const bool flip = a->kind == NODE_CONST;
    struct node *const n = filter_check_node(p, NODE_COMPARE, flip ? b : a, flip ? a : b);
    if (n != NULL) {
        n->op = (uint8_t)(flip ? value_op_flip(op) : op);
        n->offset = a->offset;
    }
    return n;
}

/* Numbers before strings before booleans, then by value. */
static int filter_check_list_order(const void *a, const void *b) {
    const struct value *const x = a, *const y = b;
    int order = 0;
    if (value_compare(x, y, &order)) {
        return order;
    }
    const uint8_t x_types = filter_check_types_of(x), y_types = filter_check_types_of(y);
    return x_types < y_types ? -1 : x_types > y_types;
}

/* Sets the node's list to a sorted copy without duplicates. */
static struct node *filter_check_set(struct filter_parser *p, struct node *n,
                                     const struct value *list, uint32_t count) {
    struct value *const sorted = arena_array(&p->filter->arena, count, sizeof *sorted);
    if (sorted == NULL) {
        return filter_fail_oom(p);
    }
    uint32_t kept = 0;
    if (count > 0) {
        memcpy(sorted, list, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, filter_check_list_order);
        for (uint32_t i = 0; i < count; i++) {
            if (kept == 0 || filter_check_list_order(&sorted[kept - 1], &sorted[i]) != 0) {
                sorted[kept++] = sorted[i];
            }
        }
    }
    n->list = sorted;
    n->list_n = kept;
    return n;
}

static bool filter_check_in_constant(const struct value *v, const struct value *list, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (value_relate(OP_EQ, v, &list[i]) == TRUTH_TRUE) {
            return true;
        }
    }
    return false;
}

struct node *filter_check_in(struct filter_parser *p, struct node *a, const struct value *list,
                             uint32_t n, uint32_t offset) {
    if (filter_check_value(p, a) == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t types = filter_check_types_of(&list[i]);
        if (types != filter_check_types_of(&list[0])) {
            return filter_fail(p, offset, "the list mixes %s with %s, expected one type",
                               filter_check_type_name(filter_check_types_of(&list[0])),
                               filter_check_type_name(types));
        }
        if ((a->types & types) == 0) {
            return filter_fail(p, offset, "cannot compare %s with %s",
                               filter_check_type_name(a->types), filter_check_type_name(types));
        }
    }
    if (a->kind == NODE_CONST) {
        return filter_check_truth(p, filter_check_in_constant(&a->value, list, n), a->offset);
    }
    struct node *const node = filter_check_node(p, NODE_IN, a, NULL);
    return node != NULL ? filter_check_set(p, node, list, n) : NULL;
}

struct node *filter_check_like(struct filter_parser *p, struct node *a,
                               const struct node *pattern) {
    if (!filter_check_may_be(p, a, TYPE_STRING, "\"like\"")) {
        return NULL;
    }
    if (pattern->kind != NODE_CONST || pattern->types != TYPE_STRING) {
        return filter_fail(p, pattern->offset, "\"like\" needs a pattern in quotes or a parameter");
    }
    const struct like *like = NULL;
    const int rc = like_compile(&p->filter->arena, pattern->value.as.s, pattern->value.n, &like);
    if (rc == U2I_ENOMEM) {
        return filter_fail_oom(p);
    }
    if (rc != U2I_OK) {
        return filter_fail(p, pattern->offset, "pattern ends in a backslash that escapes nothing");
    }
    if (a->kind == NODE_CONST) {
        return filter_check_truth(p, like_match(like, a->value.as.s, a->value.n), a->offset);
    }
    struct node *const n = filter_check_node(p, NODE_LIKE, a, NULL);
    if (n != NULL) {
        n->like = like;
    }
    return n;
}

struct node *filter_check_exists(struct filter_parser *p, struct node *field, uint32_t offset) {
    struct node *const n = filter_check_node(p, NODE_EXISTS, field, NULL);
    if (n != NULL) {
        n->offset = offset;
    }
    return n;
}

struct node *filter_check_contains(struct filter_parser *p, enum contains_kind kind,
                                   struct node *field, const struct value *list, uint32_t n) {
    if (!filter_check_array(p, field)) {
        return NULL;
    }
    struct node *const node = filter_check_node(
        p, kind == CONTAINS_ALL ? NODE_CONTAINS_ALL : NODE_CONTAINS_ANY, field, NULL);
    return node != NULL ? filter_check_set(p, node, list, n) : NULL;
}
