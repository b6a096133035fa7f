/* The same language, evaluated for one item by walking the tree as it was written, with the three
 * truth values of Kleene's logic at every node. No normal form, no codes, no bounds: what the
 * columns do in bulk is checked against this, and the memory store, where items are few, uses it as
 * it is. */
#include "filter/attrs.h"
#include "filter/filter_internal.h"

#include <string.h>

struct item {
    const char *id;
    const struct attrs *attrs;
};

static enum truth filter_item_truth(const struct item *item, const struct node *n);

/* ---- Values --------------------------------------------------------------------------------- */

static struct value filter_item_text(const char *s, size_t n) {
    return (struct value){.tag = VALUE_STRING, .n = (uint32_t)n, .as.s = s};
}

static const struct attrs_node *filter_item_path(const struct item *item, const struct field *f) {
    const struct attrs_node *node = NULL;
    for (uint32_t i = 0; i < f->steps_n; i++) {
        const struct column_step *const step = &f->steps[i];
        node = step->key != NULL ? attrs_member(item->attrs, node, step->key, step->key_n)
                                 : attrs_element(item->attrs, node, step->index);
        if (node == NULL) {
            return NULL;
        }
    }
    return node;
}

static struct value filter_item_field(const struct item *item, const struct field *f) {
    const struct attrs *const a = item->attrs;
    if (f->kind == FIELD_ID) {
        return filter_item_text(item->id, strlen(item->id));
    }
    if (f->kind == FIELD_CATEGORY) {
        return a->category == ATTRS_NO_CATEGORY
                   ? (struct value){.tag = VALUE_MISSING}
                   : filter_item_text(attrs_text(a, a->category), a->category_n);
    }
    const struct attrs_node *const node = filter_item_path(item, f);
    return node != NULL ? attrs_value(a, node) : (struct value){.tag = VALUE_MISSING};
}

static struct value filter_item_length(const struct item *item, const struct field *f) {
    const struct attrs_node *const node = filter_item_path(item, f);
    if (node == NULL || node->tag != VALUE_ARRAY) {
        return (struct value){.tag = VALUE_MISSING};
    }
    return (struct value){.tag = VALUE_INT, .as.i = node->n};
}

static struct value filter_item_value(const struct item *item, const struct node *n) {
    switch (n->kind) {
    case NODE_CONST:
        return n->value;
    case NODE_FIELD:
        return filter_item_field(item, n->field);
    case NODE_NEGATE:
        return value_negate(filter_item_value(item, n->a));
    case NODE_ARITH:
        return value_arith(n->op, filter_item_value(item, n->a), filter_item_value(item, n->b));
    default:
        return filter_item_length(item, n->a->field);
    }
}

/* ---- Conditions ----------------------------------------------------------------------------- */

static enum truth filter_item_bool(bool b) {
    return b ? TRUTH_TRUE : TRUTH_FALSE;
}

/* x in [a, b] is x == a or x == b; of an empty list a value that is there is not a member. */
static enum truth filter_item_in(const struct item *item, const struct node *n) {
    const struct value v = filter_item_value(item, n->a);
    enum truth any = v.tag > VALUE_NULL ? TRUTH_FALSE : TRUTH_UNKNOWN;
    for (uint32_t i = 0; i < n->list_n; i++) {
        const enum truth equal = value_relate(OP_EQ, &v, &n->list[i]);
        any = equal > any ? equal : any;
    }
    return any;
}

static enum truth filter_item_like(const struct item *item, const struct node *n) {
    const struct value v = filter_item_value(item, n->a);
    return v.tag != VALUE_STRING ? TRUTH_UNKNOWN
                                 : filter_item_bool(like_match(n->like, v.as.s, v.n));
}

static bool filter_item_has_element(const struct attrs *a, const struct attrs_node *array,
                                    const struct value *wanted) {
    const struct attrs_node *child = array + 1;
    for (uint32_t i = 0; i < array->n; i++, child = a->nodes + child->next) {
        const struct value v = attrs_value(a, child);
        if (value_relate(OP_EQ, &v, wanted) == TRUTH_TRUE) {
            return true;
        }
    }
    return false;
}

static enum truth filter_item_contains(const struct item *item, const struct node *n) {
    const struct attrs_node *const array = filter_item_path(item, n->a->field);
    if (array == NULL || array->tag != VALUE_ARRAY) {
        return TRUTH_UNKNOWN;
    }
    uint32_t found = 0;
    for (uint32_t i = 0; i < n->list_n; i++) {
        found += filter_item_has_element(item->attrs, array, &n->list[i]);
    }
    return filter_item_bool(n->kind == NODE_CONTAINS_ALL ? found == n->list_n : found > 0);
}

static enum truth filter_item_compare(const struct item *item, const struct node *n) {
    const struct value a = filter_item_value(item, n->a), b = filter_item_value(item, n->b);
    return value_relate(n->op, &a, &b);
}

/* The least of the list for `and`, the greatest for `or`. */
static enum truth filter_item_list(const struct item *item, const struct node *n) {
    const bool is_and = n->kind == NODE_AND;
    enum truth all = is_and ? TRUTH_TRUE : TRUTH_FALSE;
    for (const struct node *child = n->a; child != NULL; child = child->next) {
        const enum truth one = filter_item_truth(item, child);
        all = (one < all) == is_and ? one : all;
    }
    return all;
}

static enum truth filter_item_truth(const struct item *item, const struct node *n) {
    switch (n->kind) {
    case NODE_TRUTH:
        return filter_item_bool(n->value.as.i != 0);
    case NODE_AND:
    case NODE_OR:
        return filter_item_list(item, n);
    case NODE_NOT:
        return (enum truth)(TRUTH_TRUE - filter_item_truth(item, n->a));
    case NODE_COMPARE:
        return filter_item_compare(item, n);
    case NODE_IN:
        return filter_item_in(item, n);
    case NODE_LIKE:
        return filter_item_like(item, n);
    case NODE_EXISTS:
        return filter_item_bool(filter_item_value(item, n->a).tag > VALUE_NULL);
    default:
        return filter_item_contains(item, n);
    }
}

bool filter_item(const struct filter *f, const char *id, const struct attrs *a) {
    const struct item item = {id, a};
    return filter_item_truth(&item, f->root) == TRUTH_TRUE;
}
