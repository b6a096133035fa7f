/* The bitmap of a filter. The tree in its normal form (filter_normal.c) is walked once for each
 * chunk of 4,096 rows, which yields a mask of the rows where it is true: `and` hands the rows that
 * are left to the next condition and stops when none is, `or` the rows that are not yet in. Masks
 * of 512 bytes live on the stack; only what has passed everything becomes a bitmap (rowset.c),
 * which is cut to the living rows at the end. The deadline is looked at before each leaf, that is,
 * every few microseconds.
 *
 * One thread evaluates a filter; any number may evaluate the same filter over the same columns. */
#include "filter/filter_eval.h"

#include "base/alloc.h"
#include "base/error.h"

static const uint64_t eval_nothing[ROWSET_WORDS];

static bool filter_eval_is_empty(const uint64_t mask[ROWSET_WORDS]) {
    uint64_t any = 0;
    for (uint32_t i = 0; i < ROWSET_WORDS; i++) {
        any |= mask[i];
    }
    return any == 0;
}

/* ---- Preparing ------------------------------------------------------------------------------ */

/* The steps up to the last key name a column; the indexes after it lead into its arrays. */
int filter_eval_find_field(const struct columns *c, const struct field *f, struct arena *scratch,
                           struct eval_field *found) {
    *found = (struct eval_field){.column = COLUMNS_NONE};
    if (f->kind == FIELD_CATEGORY) {
        found->column = columns_category(c);
    }
    if (f->kind != FIELD_PATH) {
        return U2I_OK;
    }
    uint32_t keys = f->steps_n;
    while (f->steps[keys - 1].key == NULL) {
        keys--;
    }
    for (uint32_t i = keys; i < f->steps_n; i++) {
        found->indexes[found->indexes_n++] = f->steps[i].index;
    }
    for (uint32_t i = 0; i < keys; i++) {
        U2I_TRY(columns_find(c, found->column, &f->steps[i], scratch, &found->column));
        if (found->column == COLUMNS_NONE) {
            break;
        }
    }
    return U2I_OK;
}

static int filter_eval_find_fields(struct eval *ev, const struct node *n) {
    if (n == NULL) {
        return U2I_OK;
    }
    if (n->kind == NODE_FIELD) {
        return filter_eval_find_field(ev->rows->columns, n->field, &ev->arena,
                                      &ev->fields[n->field->slot]);
    }
    U2I_TRY(filter_eval_find_fields(ev, n->a));
    return filter_eval_find_fields(ev, n->b);
}

static int filter_eval_prepare(struct eval *ev, const struct node *n) {
    if (n->kind == NODE_TRUTH) {
        return U2I_OK;
    }
    if (n->kind != NODE_AND && n->kind != NODE_OR) {
        U2I_TRY(filter_eval_find_fields(ev, n->a));
        U2I_TRY(filter_eval_find_fields(ev, n->b));
        return filter_leaf_prepare(ev, n);
    }
    for (const struct node *child = n->a; child != NULL; child = child->next) {
        U2I_TRY(filter_eval_prepare(ev, child));
    }
    return U2I_OK;
}

/* ---- Walking -------------------------------------------------------------------------------- */

static int filter_eval_node(struct eval *ev, const struct node *n, const uint64_t *wanted,
                            uint64_t *mask);

static int filter_eval_and(struct eval *ev, const struct node *n, const uint64_t *wanted,
                           uint64_t *mask) {
    uint64_t left[ROWSET_WORDS];
    memcpy(left, wanted, sizeof left);
    for (const struct node *child = n->a; child != NULL && !filter_eval_is_empty(left);
         child = child->next) {
        U2I_TRY(filter_eval_node(ev, child, left, mask));
        memcpy(left, mask, sizeof left);
    }
    memcpy(mask, left, sizeof left);
    return U2I_OK;
}

static int filter_eval_or(struct eval *ev, const struct node *n, const uint64_t *wanted,
                          uint64_t *mask) {
    uint64_t left[ROWSET_WORDS], part[ROWSET_WORDS];
    memcpy(left, wanted, sizeof left);
    memset(mask, 0, sizeof left);
    for (const struct node *child = n->a; child != NULL && !filter_eval_is_empty(left);
         child = child->next) {
        U2I_TRY(filter_eval_node(ev, child, left, part));
        for (uint32_t i = 0; i < ROWSET_WORDS; i++) {
            mask[i] |= part[i];
            left[i] &= ~part[i];
        }
    }
    return U2I_OK;
}

static int filter_eval_leaf(struct eval *ev, const struct node *n, const uint64_t *wanted,
                            uint64_t *mask) {
    if (deadline_passed(ev->deadline)) {
        return U2I_ETIMEOUT;
    }
    U2I_TRY(filter_leaf_mask(ev, n, wanted, mask));
    for (uint32_t i = 0; i < ROWSET_WORDS; i++) {
        mask[i] &= wanted[i];
    }
    return U2I_OK;
}

/* mask: those of the wanted rows where the node is true. */
static int filter_eval_node(struct eval *ev, const struct node *n, const uint64_t *wanted,
                            uint64_t *mask) {
    switch (n->kind) {
    case NODE_TRUTH:
        memcpy(mask, n->value.as.i != 0 ? wanted : eval_nothing, sizeof eval_nothing);
        return U2I_OK;
    case NODE_AND:
        return filter_eval_and(ev, n, wanted, mask);
    case NODE_OR:
        return filter_eval_or(ev, n, wanted, mask);
    default:
        return filter_eval_leaf(ev, n, wanted, mask);
    }
}

static int filter_eval_chunks(struct eval *ev, const struct node *root) {
    if (roaring_bitmap_is_empty(ev->rows->live)) {
        return U2I_OK;
    }
    uint64_t all[ROWSET_WORDS], mask[ROWSET_WORDS];
    memset(all, 0xFF, sizeof all);
    const uint32_t last = roaring_bitmap_maximum(ev->rows->live) / CHUNK_ROWS;
    for (ev->chunk = 0; ev->chunk <= last; ev->chunk++) {
        U2I_TRY(filter_eval_node(ev, root, all, mask));
        if (!filter_eval_is_empty(mask)) {
            rowset_add(&ev->out, ev->chunk, mask);
        }
    }
    return U2I_OK;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int filter_eval_run(struct eval *ev, const struct filter *f, roaring_bitmap_t **out) {
    ev->fields = arena_array(&ev->arena, f->fields_n, sizeof *ev->fields);
    if (ev->fields == NULL || ev->leaves == NULL) {
        return U2I_ENOMEM;
    }
    U2I_TRY(filter_eval_prepare(ev, f->plain));
    U2I_TRY(filter_eval_chunks(ev, f->plain));
    *out = rowset_finish(&ev->out);
    if (*out == NULL) {
        return U2I_ENOMEM;
    }
    roaring_bitmap_and_inplace(*out, ev->rows->live);
    return U2I_OK;
}

int filter_eval(const struct filter *f, const struct filter_rows *rows,
                const struct deadline *deadline, roaring_bitmap_t **out, u2i_error_t *err) {
    *out = NULL;
    struct eval *const ev = mem_zalloc(sizeof *ev);
    if (ev == NULL) {
        return error_oom(err);
    }
    ev->rows = rows;
    ev->deadline = deadline;
    ev->leaves = mem_zalloc((f->leaves_n + (size_t)1) * sizeof *ev->leaves);
    const int rc = filter_eval_run(ev, f, out);
    for (uint32_t i = 0; ev->leaves != NULL && i < f->leaves_n; i++) {
        filter_leaf_release(&ev->leaves[i]);
    }
    mem_free(ev->leaves);
    rowset_free(&ev->out);
    arena_free(&ev->arena);
    mem_free(ev);
    if (rc == U2I_ETIMEOUT) {
        return error_set(err, rc, "time ran out while the filter was evaluated");
    }
    return rc == U2I_OK ? U2I_OK : error_oom(err);
}
