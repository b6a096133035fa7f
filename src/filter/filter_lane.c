/* Expressions over the rows of one chunk at a time: each operator is a loop over 4,096 values that
 * stay in the second-level cache, so a tree is interpreted once for a chunk and not once for a row.
 * A plain attribute is not even copied: its lane is the column's chunk. What is computed goes to a
 * slot for each level of nesting, so that memory is bounded by the depth of the tree and not by its
 * size. */
#include "filter/filter_eval.h"

#include "base/error.h"

static struct lane_slot *filter_lane_slot(struct eval *ev, uint32_t level) {
    if (ev->slots[level] == NULL) {
        ev->slots[level] = arena_alloc(&ev->arena, sizeof *ev->slots[level]);
    }
    return ev->slots[level];
}

struct value filter_lane_at(const struct lane *lane, uint32_t i) {
    return filter_cell_value(lane->names, lane->tags[i], lane->values[i]);
}

/* Writes the i-th value of a slot; v is a number or nothing. */
static void filter_lane_set(struct lane_slot *slot, uint32_t i, struct value v) {
    slot->tags[i] = v.tag;
    slot->values[i] = v.tag == VALUE_REAL ? column_bits(v.as.r) : (uint64_t)v.as.i;
}

int filter_lane_spread(struct eval *ev, struct lane *lane, uint32_t level) {
    if (lane->rows == NULL && lane->n == CHUNK_ROWS) {
        return U2I_OK;
    }
    struct lane_slot *const slot = filter_lane_slot(ev, level);
    if (slot == NULL) {
        return U2I_ENOMEM;
    }
    /* From the end, because the lane may lie in this very slot; a value only moves up. */
    uint32_t i = lane->n;
    for (uint32_t row = CHUNK_ROWS; row-- > 0;) {
        const bool there = i > 0 && lane->rows[i - 1] == row;
        i -= there;
        slot->tags[row] = there ? lane->tags[i] : VALUE_MISSING;
        slot->values[row] = there ? lane->values[i] : 0;
    }
    *lane = (struct lane){slot->tags, slot->values, NULL, CHUNK_ROWS, lane->names};
    return U2I_OK;
}

/* ---- Fields --------------------------------------------------------------------------------- */

/* Ids as strings whose codes are their rows. */
static int filter_lane_ids(struct eval *ev, uint32_t level, struct lane *out) {
    struct lane_slot *const slot = filter_lane_slot(ev, level);
    if (slot == NULL) {
        return U2I_ENOMEM;
    }
    const uint32_t first = ev->chunk * CHUNK_ROWS;
    for (uint32_t i = 0; i < CHUNK_ROWS; i++) {
        const bool there = intern_name(ev->rows->ids, first + i, NULL) != NULL;
        slot->tags[i] = there ? VALUE_STRING : VALUE_MISSING;
        slot->values[i] = first + i;
    }
    *out = (struct lane){slot->tags, slot->values, NULL, CHUNK_ROWS, ev->rows->ids};
    return U2I_OK;
}

/* The element that the indexes lead to. */
static void filter_lane_index(const struct eval_field *field, uint8_t *tag, uint64_t *value) {
    for (uint32_t i = 0; i < field->indexes_n; i++) {
        const uint32_t index = field->indexes[i];
        if (*tag != VALUE_ARRAY || index >= column_array(*value)->n) {
            *tag = VALUE_MISSING;
            return;
        }
        const struct column_array *const array = column_array(*value);
        *tag = column_array_tags(array)[index];
        *value = column_array_values(array)[index];
    }
}

static int filter_lane_field(struct eval *ev, const struct field *f, uint32_t level,
                             struct lane *out) {
    if (f->kind == FIELD_ID) {
        return filter_lane_ids(ev, level, out);
    }
    const struct eval_field *const field = &ev->fields[f->slot];
    const struct chunk *const chunk = columns_chunk(ev->rows->columns, field->column, ev->chunk);
    const struct intern *const names = columns_strings(ev->rows->columns);
    if (chunk == NULL) {
        *out = (struct lane){.names = names};
        return U2I_OK;
    }
    const uint32_t n = chunk->rows != NULL ? chunk->n : CHUNK_ROWS;
    *out = (struct lane){chunk->tags, chunk->values, chunk->rows, n, names};
    if (field->indexes_n == 0) {
        return U2I_OK;
    }
    struct lane_slot *const slot = filter_lane_slot(ev, level);
    if (slot == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        slot->tags[i] = chunk->tags[i];
        slot->values[i] = chunk->values[i];
        filter_lane_index(field, &slot->tags[i], &slot->values[i]);
    }
    out->tags = slot->tags;
    out->values = slot->values;
    return U2I_OK;
}

/* ---- Operators ------------------------------------------------------------------------------ */

/* -a or array_length(a), in the slot of `level`. */
static int filter_lane_unary(struct eval *ev, const struct node *n, uint32_t level,
                             struct lane *out) {
    struct lane a;
    U2I_TRY(filter_lane(ev, n->a, level, &a));
    struct lane_slot *const slot = filter_lane_slot(ev, level);
    if (slot == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < a.n; i++) {
        struct value v = {.tag = VALUE_MISSING};
        if (n->kind == NODE_NEGATE) {
            v = value_negate(filter_lane_at(&a, i));
        } else if (a.tags[i] == VALUE_ARRAY) {
            v.tag = VALUE_INT;
            v.as.i = (int64_t)column_array(a.values[i])->n;
        }
        filter_lane_set(slot, i, v);
    }
    *out = (struct lane){slot->tags, slot->values, a.rows, a.n, a.names};
    return U2I_OK;
}

/* a op constant, or constant op a. */
static int filter_lane_arith_const(struct eval *ev, const struct node *n, uint32_t level,
                                   struct lane *out) {
    const bool left = n->a->kind == NODE_CONST;
    const struct value constant = (left ? n->a : n->b)->value;
    struct lane a;
    U2I_TRY(filter_lane(ev, left ? n->b : n->a, level, &a));
    struct lane_slot *const slot = filter_lane_slot(ev, level);
    if (slot == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < a.n; i++) {
        const struct value v = filter_lane_at(&a, i);
        filter_lane_set(slot, i,
                        left ? value_arith(n->op, constant, v) : value_arith(n->op, v, constant));
    }
    *out = (struct lane){slot->tags, slot->values, a.rows, a.n, a.names};
    return U2I_OK;
}

static int filter_lane_arith(struct eval *ev, const struct node *n, uint32_t level,
                             struct lane *out) {
    if (n->a->kind == NODE_CONST || n->b->kind == NODE_CONST) {
        return filter_lane_arith_const(ev, n, level, out);
    }
    struct lane a, b;
    U2I_TRY(filter_lane(ev, n->a, level, &a));
    U2I_TRY(filter_lane_spread(ev, &a, level));
    U2I_TRY(filter_lane(ev, n->b, level + 1, &b));
    U2I_TRY(filter_lane_spread(ev, &b, level + 1));
    struct lane_slot *const slot = filter_lane_slot(ev, level);
    if (slot == NULL) {
        return U2I_ENOMEM;
    }
    for (uint32_t i = 0; i < CHUNK_ROWS; i++) {
        filter_lane_set(slot, i, value_arith(n->op, filter_lane_at(&a, i), filter_lane_at(&b, i)));
    }
    *out = (struct lane){slot->tags, slot->values, NULL, CHUNK_ROWS, a.names};
    return U2I_OK;
}

int filter_lane(struct eval *ev, const struct node *n, uint32_t level, struct lane *out) {
    switch (n->kind) {
    case NODE_FIELD:
        return filter_lane_field(ev, n->field, level, out);
    case NODE_ARITH:
        return filter_lane_arith(ev, n, level, out);
    default:
        return filter_lane_unary(ev, n, level, out);
    }
}
