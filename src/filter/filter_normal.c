/* Negation normal form. Only true rows pass a filter, yet `not` cannot simply complement them:
 * where x is missing, x == 1 is unknown, and so is not (x == 1). A walk that computes true sets
 * would need the false sets beside them, two of everything. Instead `not` is pushed down to the
 * leaves once:
 *
 *     not (A and B) = not A or not B      not (A or B) = not A and not B      not not A = A
 *
 * which Kleene's logic obeys like the two-valued one. Each leaf then answers one of two questions,
 * "where are you true?" or, negated, "where are you false?", from the values alone: x != 1 is true
 * where x is a number other than 1, and nowhere else. `and` is the intersection of true sets, `or`
 * their union, and nothing above a leaf ever sees an unknown.
 *
 * Constants disappear from lists on the way, and the conditions of a list are put in order of their
 * cost, so that the dear ones look at what the cheap ones left. filter_item() walks the tree as it
 * was written, so that the two can be tested against each other. */
#include "filter/filter_internal.h"

/* Rough work for one row: an equality is 1. */
static uint32_t filter_normal_value_cost(const struct node *n) {
    switch (n->kind) {
    case NODE_CONST:
        return 0;
    case NODE_FIELD:
        return n->field->kind == FIELD_ID         ? 8
               : n->field->kind == FIELD_CATEGORY ? 1
                                                  : n->field->steps_n;
    case NODE_ARITH:
        return 4 + filter_normal_value_cost(n->a) + filter_normal_value_cost(n->b);
    default:
        return 2 + filter_normal_value_cost(n->a);
    }
}

static uint32_t filter_normal_leaf_cost(const struct node *n) {
    uint32_t cost = filter_normal_value_cost(n->a);
    switch (n->kind) {
    case NODE_COMPARE:
        return cost + (n->b->kind == NODE_CONST ? 0 : 4 + filter_normal_value_cost(n->b));
    case NODE_EXISTS:
        return cost;
    case NODE_IN:
        return cost + 2;
    case NODE_LIKE:
        return cost + 4;
    default:
        return cost + 8;
    }
}

#define NORMAL_COSTS 32u /* dearer ones are not told apart */

/* Conditions on their way into a list, in the order in which they came for each cost. */
struct normal_bucket {
    struct node *first, **end;
};

static void filter_normal_append(struct normal_bucket *b, struct node *n) {
    if (b->first == NULL) {
        b->end = &b->first;
    }
    *b->end = n;
    b->end = &n->next;
}

static struct node *filter_normal_join(const struct normal_bucket buckets[NORMAL_COSTS]) {
    struct node *first = NULL;
    struct node **end = &first;
    for (uint32_t cost = 0; cost < NORMAL_COSTS; cost++) {
        if (buckets[cost].first != NULL) {
            *end = buckets[cost].first;
            end = buckets[cost].end;
        }
    }
    return first;
}

static struct node *filter_normal_copy(struct filter *f, const struct node *n) {
    struct node *const copy = arena_alloc(&f->arena, sizeof *copy);
    if (copy != NULL) {
        *copy = *n;
        copy->next = NULL;
    }
    return copy;
}

static struct node *filter_normal_leaf(struct filter *f, const struct node *n, bool negate) {
    struct node *const leaf = filter_normal_copy(f, n);
    if (leaf == NULL) {
        return NULL;
    }
    if (n->kind == NODE_TRUTH) {
        leaf->value.as.i = (n->value.as.i != 0) != negate;
        return leaf;
    }
    leaf->negated = negate;
    leaf->slot = f->leaves_n++;
    leaf->cost = filter_normal_leaf_cost(n);
    return leaf;
}

static struct node *filter_normal_node(struct filter *f, const struct node *n, bool negate);

/* `true` in an `and` and `false` in an `or` change nothing; the opposite decides it. */
static struct node *filter_normal_list(struct filter *f, const struct node *n, bool negate) {
    struct node *const list = filter_normal_copy(f, n);
    if (list == NULL) {
        return NULL;
    }
    const bool is_and = (n->kind == NODE_AND) != negate;
    list->kind = is_and ? NODE_AND : NODE_OR;
    list->cost = 0;
    struct normal_bucket buckets[NORMAL_COSTS] = {{NULL, NULL}};
    for (const struct node *child = n->a; child != NULL; child = child->next) {
        struct node *const part = filter_normal_node(f, child, negate);
        if (part == NULL) {
            return NULL;
        }
        if (part->kind != NODE_TRUTH) {
            const uint32_t cost = part->cost < NORMAL_COSTS ? part->cost : NORMAL_COSTS - 1;
            filter_normal_append(&buckets[cost], part);
            list->cost += part->cost;
        } else if ((part->value.as.i != 0) != is_and) {
            return part;
        }
    }
    list->a = filter_normal_join(buckets);
    if (list->a == NULL) {
        list->kind = NODE_TRUTH;
        list->value = (struct value){.tag = VALUE_BOOL, .as.i = is_and};
    }
    return list;
}

static struct node *filter_normal_node(struct filter *f, const struct node *n, bool negate) {
    switch (n->kind) {
    case NODE_NOT:
        return filter_normal_node(f, n->a, !negate);
    case NODE_AND:
    case NODE_OR:
        return filter_normal_list(f, n, negate);
    default:
        return filter_normal_leaf(f, n, negate);
    }
}

int filter_normalise(struct filter *f) {
    f->plain = filter_normal_node(f, f->root, false);
    return f->plain != NULL ? U2I_OK : U2I_ENOMEM;
}
