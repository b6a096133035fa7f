/* The same language, evaluated for one item by walking the tree as it was written, with the three
 * truth values of Kleene's logic at every node. No normal form, no codes, no bounds: what the
 * columns do in bulk is checked against this, and the memory store, where items are few, uses it as
 * it is. The item is either its parsed attributes or a row of the columns, where a few candidates
 * among many are asked about. */
#include "filter/filter_eval.h"

#include "base/alloc.h"
#include "base/error.h"

struct item {
    const char *id;            /* NULL: that of the row */
    const struct attrs *attrs; /* NULL: a row of the columns */
    const struct columns *columns;
    const struct intern *ids;
    const struct eval_field *fields; /* by slot */
    uint32_t row;
};

static enum truth filter_item_truth(const struct item *item, const struct node *n);

/* ---- Values --------------------------------------------------------------------------------- */

static struct value filter_item_text(const char *s, size_t n) {
    return (struct value){.tag = VALUE_STRING, .n = (uint32_t)n, .as.s = s};
}

const struct attrs_node *filter_item_path(const struct attrs *a, const struct field *f) {
    const struct attrs_node *node = NULL;
    for (uint32_t i = 0; i < f->steps_n; i++) {
        const struct column_step *const step = &f->steps[i];
        node = step->key != NULL ? attrs_member(a, node, step->key, step->key_n)
                                 : attrs_element(a, node, step->index);
        if (node == NULL) {
            return NULL;
        }
    }
    return node;
}

static struct value filter_item_cell(const struct item *item, const struct field *f) {
    uint64_t bits;
    const uint8_t tag = filter_cell(item->columns, &item->fields[f->slot], item->row, &bits);
    return filter_cell_value(columns_strings(item->columns), tag, bits);
}

static struct value filter_item_field(const struct item *item, const struct field *f) {
    const struct attrs *const a = item->attrs;
    if (f->kind == FIELD_ID) {
        const char *const id =
            item->id != NULL ? item->id : intern_name(item->ids, item->row, NULL);
        return id != NULL ? filter_item_text(id, strlen(id)) : (struct value){.tag = VALUE_MISSING};
    }
    if (a == NULL) {
        return filter_item_cell(item, f);
    }
    if (f->kind == FIELD_CATEGORY) {
        return a->category == ATTRS_NO_CATEGORY
                   ? (struct value){.tag = VALUE_MISSING}
                   : filter_item_text(attrs_text(a, a->category), a->category_n);
    }
    const struct attrs_node *const node = filter_item_path(a, f);
    return node != NULL ? attrs_value(a, node) : (struct value){.tag = VALUE_MISSING};
}

/* An array of either kind. */
struct item_array {
    const struct attrs_node *node;
    const struct column_array *cells; /* if node is NULL */
    uint32_t n;
};

/* False when there is no array. */
static bool filter_item_array(const struct item *item, const struct field *f,
                              struct item_array *out) {
    *out = (struct item_array){NULL, NULL, 0};
    if (f->kind == FIELD_ID) {
        return false;
    }
    if (item->attrs == NULL) {
        uint64_t bits;
        if (filter_cell(item->columns, &item->fields[f->slot], item->row, &bits) != VALUE_ARRAY) {
            return false;
        }
        out->cells = column_array(bits);
        out->n = (uint32_t)out->cells->n;
        return true;
    }
    out->node = f->kind == FIELD_PATH ? filter_item_path(item->attrs, f) : NULL;
    if (out->node == NULL || out->node->tag != VALUE_ARRAY) {
        return false;
    }
    out->n = out->node->n;
    return true;
}

static struct value filter_item_length(const struct item *item, const struct field *f) {
    struct item_array array;
    if (!filter_item_array(item, f, &array)) {
        return (struct value){.tag = VALUE_MISSING};
    }
    return (struct value){.tag = VALUE_INT, .as.i = array.n};
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

static bool filter_item_has_element(const struct item *item, const struct item_array *array,
                                    const struct value *wanted) {
    const struct attrs_node *child = array->node != NULL ? array->node + 1 : NULL;
    for (uint32_t i = 0; i < array->n; i++) {
        struct value v;
        if (child != NULL) {
            v = attrs_value(item->attrs, child);
            child = item->attrs->nodes + child->next;
        } else {
            v = filter_cell_value(columns_strings(item->columns),
                                  column_array_tags(array->cells)[i],
                                  column_array_values(array->cells)[i]);
        }
        if (value_relate(OP_EQ, &v, wanted) == TRUTH_TRUE) {
            return true;
        }
    }
    return false;
}

static enum truth filter_item_contains(const struct item *item, const struct node *n) {
    struct item_array array;
    if (!filter_item_array(item, n->a->field, &array)) {
        return TRUTH_UNKNOWN;
    }
    uint32_t found = 0;
    for (uint32_t i = 0; i < n->list_n; i++) {
        found += filter_item_has_element(item, &array, &n->list[i]);
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
    const struct item item = {.id = id, .attrs = a};
    return filter_item_truth(&item, f->root) == TRUTH_TRUE;
}

/* ---- Rows of the columns ---------------------------------------------------------------------- */

/* Where the fields of the tree are. The tree is as deep as the limit allows at most. */
static int filter_item_find_fields(const struct columns *c, const struct node *n,
                                   struct arena *scratch, struct eval_field *fields) {
    for (; n != NULL; n = n->next) {
        if (n->kind == NODE_FIELD) {
            U2I_TRY(filter_eval_find_field(c, n->field, scratch, &fields[n->field->slot]));
        }
        U2I_TRY(filter_item_find_fields(c, n->a, scratch, fields));
        U2I_TRY(filter_item_find_fields(c, n->b, scratch, fields));
    }
    return U2I_OK;
}

/* rows[0..n), at most FILTER_CELL_BLOCK of them. */
static void filter_item_block(const struct filter *f, const struct filter_rows *of,
                              const struct eval_field *fields, const uint32_t *rows, uint32_t n,
                              bool *passes) {
    for (uint32_t i = 0; i < f->fields_n; i++) {
        filter_cell_prefetch(of->columns, fields[i].column, rows, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct item item = {
            .columns = of->columns, .ids = of->ids, .fields = fields, .row = rows[i]};
        passes[i] = filter_item_truth(&item, f->root) == TRUTH_TRUE;
    }
}

int filter_match(const struct filter *f, const struct filter_rows *rows, const uint32_t *which,
                 uint32_t n, bool *passes, u2i_error_t *err) {
    struct arena scratch = {0};
    struct eval_field *const fields = arena_array(&scratch, f->fields_n, sizeof *fields);
    int rc = U2I_ENOMEM;
    if (fields != NULL) {
        for (uint32_t i = 0; i < f->fields_n; i++) { /* some are folded away */
            fields[i] = (struct eval_field){.column = COLUMNS_NONE};
        }
        rc = filter_item_find_fields(rows->columns, f->root, &scratch, fields);
    }
    for (uint32_t from = 0; from < n && rc == U2I_OK; from += FILTER_CELL_BLOCK) {
        const uint32_t block = n - from < FILTER_CELL_BLOCK ? n - from : FILTER_CELL_BLOCK;
        filter_item_block(f, rows, fields, which + from, block, passes + from);
    }
    arena_free(&scratch);
    return rc == U2I_OK ? U2I_OK : error_oom(err);
}
