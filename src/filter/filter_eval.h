/* What the files of the evaluation share: lanes (the values that an expression has in one chunk)
 * and leaves (conditions made ready for the columns they will look at). */
#ifndef U2I_FILTER_EVAL_H
#define U2I_FILTER_EVAL_H

#include "filter/attrs.h"
#include "filter/filter_internal.h"
#include "filter/filter_set.h"
#include "filter/rowset.h"

/* Values of a chunk's rows. Dense: `rows` is NULL, n is CHUNK_ROWS, VALUE_MISSING where there is
 * none. Sparse: n values, of the rows that `rows` names in ascending order; others have none. */
struct lane {
    const uint8_t *tags;
    const uint64_t *values;
    const uint16_t *rows;
    uint32_t n;
    const struct intern *names; /* where strings have their codes */
};

/* Where a lane is computed to, when it is not simply a column's chunk. */
struct lane_slot {
    uint64_t values[CHUNK_ROWS];
    uint8_t tags[CHUNK_ROWS];
};

/* A field found among the columns: a column, then indexes into arrays. */
struct eval_field {
    uint32_t column;
    uint32_t indexes_n;
    uint32_t indexes[U2I_ATTRS_MAX_DEPTH];
};

enum leaf_kind {
    LEAF_EQUAL,    /* tag and bits are these; with `not_equal`, the tag is and the bits aren't */
    LEAF_RANGE,    /* a number within the bounds; with `not_equal`, outside of them */
    LEAF_TEXT,     /* a string of which filter_leaf_text() says yes */
    LEAF_IN,       /* a value of the set */
    LEAF_ROWS,     /* rows that are known: an id is equal to or in */
    LEAF_EXISTS,   /* any value but null */
    LEAF_CONTAINS, /* an array with any, or all, of the set */
    LEAF_PAIR      /* two expressions compared */
};

struct leaf {
    enum leaf_kind kind;
    enum filter_op op; /* of a comparison, turned around already where the leaf is negated */
    bool not_equal;
    uint8_t tag;
    bool absent; /* LEAF_EQUAL: a string that no value has */
    uint64_t bits;
    int64_t int_low, int_high; /* LEAF_RANGE: x is within; empty when low > high */
    double real_low, real_high;
    struct filter_set set;
    uint32_t *found; /* contains_all: by key of the set, the last array that had it */
    uint32_t arrays; /* counts the arrays looked at */
    uint8_t *memo;   /* LEAF_TEXT: by code: 0 not asked yet, 1 no, 2 yes; NULL: always ask */
};

struct eval {
    const struct filter_rows *rows;
    const struct deadline *deadline;
    struct arena arena;
    struct eval_field *fields; /* by field slot */
    struct leaf *leaves;       /* by leaf slot */
    uint32_t chunk;            /* being evaluated */
    struct lane_slot *slots[U2I_FILTER_MAX_DEPTH + 2];
    uint8_t match[CHUNK_ROWS]; /* of the leaf being evaluated, by position in its lane */
    struct rowset out;
};

/* filter_eval.c: U2I_OK or U2I_ENOMEM; a field that no item has is in COLUMNS_NONE. */
int filter_eval_find_field(const struct columns *c, const struct field *f, struct arena *scratch,
                           struct eval_field *found);

/* filter_cell.c: single rows of the columns. The tag, and the bits that go with it. */
uint8_t filter_cell(const struct columns *c, const struct eval_field *field, uint32_t row,
                    uint64_t *bits);
#define FILTER_CELL_BLOCK 64u /* rows that are asked for ahead of being read */
void filter_cell_prefetch(const struct columns *c, uint32_t column, const uint32_t *rows,
                          uint32_t n);
struct value filter_cell_value(const struct intern *strings, uint8_t tag, uint64_t bits);

/* filter_item.c: where the path leads; NULL. */
const struct attrs_node *filter_item_path(const struct attrs *a, const struct field *f);

/* filter_lane.c: the values of an expression in the chunk. Uses slots from `level` on. */
int filter_lane(struct eval *ev, const struct node *n, uint32_t level, struct lane *out);
/* Makes a lane dense, in the slot `level`. */
int filter_lane_spread(struct eval *ev, struct lane *lane, uint32_t level);
struct value filter_lane_at(const struct lane *lane, uint32_t i);

/* filter_leaf.c. */
int filter_leaf_prepare(struct eval *ev, const struct node *n);
void filter_leaf_release(struct leaf *leaf);
/* Sets mask to the rows of the chunk where the leaf is true; rows outside of `wanted` may be left
 * out. */
int filter_leaf_mask(struct eval *ev, const struct node *n, const uint64_t wanted[ROWSET_WORDS],
                     uint64_t mask[ROWSET_WORDS]);

#endif
