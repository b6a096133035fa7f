/* The attributes of all items, one column for each path.
 *
 *  1. A path is a chain of keys: {"size": {"w": 3}} puts an OBJECT into column `size` and 3 into
 *     column `size` -> `w`. Columns form a tree, and a column is found by its parent's number and
 *     its own key, so that a long key costs its length once and not once for everything under it.
 *  2. An array is one value, kept beside the column. Objects inside of it are reachable by their
 *     index: {"parts": [{"n": 1}]} fills `parts` -> 0 and `parts` -> 0 -> `n`.
 *  3. JSON null is kept nowhere: nothing in the language tells it from a missing value.
 *  4. Strings are codes of one dictionary, so comparing two for equality compares two numbers, and
 *     `like` is asked once for each distinct string.
 *  5. A row knows its columns: the sorted list of them is interned as its shape, which items of one
 *     kind share. Hence replacing a row touches what it holds, however many columns there are.
 *  6. Everything is counted: a string goes with its last use, a column with its last value and
 *     child.
 *
 * A put first gathers all that can fail (columns, codes, arrays, room in chunks), then swaps
 * without a failure; so a row never holds half of an item. */
#include "filter/columns.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "filter/attrs.h"
#include "filter/dict.h"
#include <assert.h>

struct column {
    uint32_t parent;
    uint32_t chunks_n;
    size_t chunks_cap;
    struct chunk **chunks; /* in order of their numbers; no empty ones between calls */
};

/* A value on its way into a row. */
struct columns_entry {
    uint32_t column;
    uint8_t tag;
    uint64_t value;
};

struct columns {
    struct dict strings;
    struct dict paths; /* column numbers; see columns_path_key() */
    struct column *columns;
    size_t columns_cap;
    struct dict shapes;   /* lists of column numbers */
    uint32_t *row_shapes; /* row -> code of its shape + 1, or 0 */
    size_t rows_cap;
    size_t array_bytes;
    /* Scratch of columns_put(). */
    struct columns_entry *entries;
    size_t entries_n, entries_cap;
    struct buf key;
};

int columns_new(struct columns **out, u2i_error_t *err) {
    *out = NULL;
    struct columns *const c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        return error_oom(err);
    }
    if (dict_init(&c->strings) != U2I_OK || dict_init(&c->paths) != U2I_OK ||
        dict_init(&c->shapes) != U2I_OK) {
        columns_free(c);
        return error_oom(err);
    }
    *out = c;
    return U2I_OK;
}

/* ---- Paths ---------------------------------------------------------------------------------- */

enum columns_step_kind { COLUMNS_KEY = 'k', COLUMNS_INDEX = 'i', COLUMNS_CATEGORY = 'c' };

#define COLUMNS_PATH_HEAD (sizeof(uint32_t) + 1)

/* The name of a column among the paths: its parent's number, the kind of step, key or index. */
static size_t columns_path_key(char *out, uint32_t parent, const struct column_step *step) {
    memcpy(out, &parent, sizeof parent);
    out[sizeof parent] = step->key != NULL ? COLUMNS_KEY : COLUMNS_INDEX;
    if (step->key == NULL) {
        memcpy(out + COLUMNS_PATH_HEAD, &step->index, sizeof step->index);
        return COLUMNS_PATH_HEAD + sizeof step->index;
    }
    if (step->key_n > 0) {
        memcpy(out + COLUMNS_PATH_HEAD, step->key, step->key_n);
    }
    return COLUMNS_PATH_HEAD + step->key_n;
}

static size_t columns_path_bytes(const struct column_step *step) {
    return COLUMNS_PATH_HEAD + (step->key != NULL ? step->key_n : sizeof step->index);
}

static const char columns_category_key[] = {COLUMNS_CATEGORY};

int columns_find(const struct columns *c, uint32_t parent, const struct column_step *step,
                 struct arena *scratch, uint32_t *column) {
    char *const name = arena_alloc(scratch, columns_path_bytes(step));
    if (name == NULL) {
        return U2I_ENOMEM;
    }
    *column = intern_find(c->paths.names, name, columns_path_key(name, parent, step));
    return U2I_OK;
}

uint32_t columns_category(const struct columns *c) {
    return intern_find(c->paths.names, columns_category_key, sizeof columns_category_key);
}

const struct intern *columns_strings(const struct columns *c) {
    return c->strings.names;
}

/* One use less; a column without any goes, and its parent has one use less. */
static void columns_release_path(struct columns *c, uint32_t column) {
    while (column != COLUMNS_NONE && dict_release(&c->paths, column)) {
        struct column *const col = &c->columns[column];
        assert(col->chunks_n == 0);
        mem_free(col->chunks);
        column = col->parent;
        *col = (struct column){0};
    }
}

/* The column of that name, created if need be, with one use more. */
static int columns_take_name(struct columns *c, uint32_t parent, const char *name, size_t n,
                             uint32_t *column) {
    /* Every number that the dictionary may give out has a place before it does. */
    U2I_TRY(array_reserve(&c->columns, &c->columns_cap, (size_t)intern_end(c->paths.names) + 1,
                          sizeof *c->columns));
    U2I_TRY(dict_take(&c->paths, name, n, column));
    if (c->paths.refs[*column] > 1) {
        return U2I_OK;
    }
    c->columns[*column] = (struct column){.parent = parent};
    if (parent != COLUMNS_NONE) {
        dict_hold(&c->paths, parent);
    }
    return U2I_OK;
}

static int columns_take_path(struct columns *c, uint32_t parent, const struct column_step *step,
                             uint32_t *column) {
    const size_t bytes = columns_path_bytes(step);
    if (array_reserve(&c->key.data, &c->key.cap, bytes, 1) != U2I_OK) {
        return U2I_ENOMEM;
    }
    return columns_take_name(c, parent, c->key.data, columns_path_key(c->key.data, parent, step),
                             column);
}

/* ---- Values --------------------------------------------------------------------------------- */

static size_t columns_array_size(uint64_t n) {
    return sizeof(struct column_array) + n * (sizeof(uint64_t) + sizeof(uint8_t));
}

/* Gives back what a value holds on to. Arrays are nested at most U2I_ATTRS_MAX_DEPTH deep. */
static void columns_release_value(struct columns *c, uint8_t tag, uint64_t value) {
    if (tag == VALUE_STRING) {
        (void)dict_release(&c->strings, (uint32_t)value); /* gone or not, both are fine */
    } else if (tag == VALUE_ARRAY) {
        struct column_array *const array = (struct column_array *)(uintptr_t)value;
        for (uint64_t i = 0; i < array->n; i++) {
            columns_release_value(c, column_array_tags(array)[i], column_array_values(array)[i]);
        }
        c->array_bytes -= columns_array_size(array->n);
        mem_free(array);
    }
}

static int columns_build_array(struct columns *c, const struct attrs *a,
                               const struct attrs_node *node, uint64_t *value);

static int columns_build_value(struct columns *c, const struct attrs *a,
                               const struct attrs_node *node, uint64_t *value) {
    uint32_t code;
    switch (node->tag) {
    case VALUE_STRING:
        U2I_TRY(dict_take(&c->strings, attrs_text(a, node->as.text), node->n, &code));
        *value = code;
        return U2I_OK;
    case VALUE_ARRAY:
        return columns_build_array(c, a, node, value);
    case VALUE_REAL:
        *value = column_bits(node->as.r);
        return U2I_OK;
    case VALUE_OBJECT:
        *value = 0;
        return U2I_OK;
    default:
        *value = (uint64_t)node->as.i;
        return U2I_OK;
    }
}

static int columns_build_array(struct columns *c, const struct attrs *a,
                               const struct attrs_node *node, uint64_t *value) {
    struct column_array *const array = mem_zalloc(columns_array_size(node->n));
    if (array == NULL) {
        return U2I_ENOMEM;
    }
    array->n = node->n;
    c->array_bytes += columns_array_size(array->n);
    uint64_t *const values = (uint64_t *)(void *)(array + 1);
    uint8_t *const tags = (uint8_t *)(values + array->n);
    const struct attrs_node *child = node + 1;
    for (uint32_t i = 0; i < node->n; i++, child = a->nodes + child->next) {
        if (columns_build_value(c, a, child, &values[i]) != U2I_OK) {
            columns_release_value(c, VALUE_ARRAY, (uintptr_t)array); /* the rest is VALUE_MISSING */
            return U2I_ENOMEM;
        }
        tags[i] = child->tag;
    }
    *value = (uintptr_t)array;
    return U2I_OK;
}

/* ---- Gathering what a row will hold ---------------------------------------------------------- */

static int columns_gather_node(struct columns *c, const struct attrs *a,
                               const struct attrs_node *node, uint32_t column);

/* Appends an entry, which takes over one use of the column, also on failure. */
static int columns_add_entry(struct columns *c, const struct attrs *a,
                             const struct attrs_node *node, uint32_t column) {
    uint64_t value;
    if (array_reserve(&c->entries, &c->entries_cap, c->entries_n + 1, sizeof *c->entries) !=
            U2I_OK ||
        columns_build_value(c, a, node, &value) != U2I_OK) {
        columns_release_path(c, column);
        return U2I_ENOMEM;
    }
    c->entries[c->entries_n++] = (struct columns_entry){column, node->tag, value};
    return U2I_OK;
}

static int columns_gather_members(struct columns *c, const struct attrs *a,
                                  const struct attrs_node *first, uint32_t n, uint32_t parent) {
    const struct attrs_node *child = first;
    for (uint32_t i = 0; i < n; i++, child = a->nodes + child->next) {
        if (child->tag == VALUE_NULL) {
            continue;
        }
        const struct column_step step = {attrs_text(a, child->key), child->key_n, 0};
        uint32_t column;
        U2I_TRY(columns_take_path(c, parent, &step, &column));
        U2I_TRY(columns_gather_node(c, a, child, column));
    }
    return U2I_OK;
}

/* The objects inside an array, also inside arrays in it. A nested array has no value in the column
 * of its index, which is there only if something hangs under it. */
static int columns_gather_elements(struct columns *c, const struct attrs *a,
                                   const struct attrs_node *array, uint32_t parent) {
    const struct attrs_node *child = array + 1;
    for (uint32_t i = 0; i < array->n; i++, child = a->nodes + child->next) {
        if (child->tag != VALUE_OBJECT && child->tag != VALUE_ARRAY) {
            continue;
        }
        const struct column_step step = {NULL, 0, i};
        uint32_t column;
        U2I_TRY(columns_take_path(c, parent, &step, &column));
        if (child->tag == VALUE_OBJECT) {
            U2I_TRY(columns_gather_node(c, a, child, column));
        } else {
            const int rc = columns_gather_elements(c, a, child, column);
            columns_release_path(c, column);
            U2I_TRY(rc);
        }
    }
    return U2I_OK;
}

/* The node and all inside it. Takes over one use of the column. */
static int columns_gather_node(struct columns *c, const struct attrs *a,
                               const struct attrs_node *node, uint32_t column) {
    U2I_TRY(columns_add_entry(c, a, node, column));
    if (node->tag == VALUE_OBJECT) {
        return columns_gather_members(c, a, node + 1, node->n, column);
    }
    return node->tag == VALUE_ARRAY ? columns_gather_elements(c, a, node, column) : U2I_OK;
}

static int columns_gather(struct columns *c, const struct attrs *a) {
    if (a->category != ATTRS_NO_CATEGORY) {
        const struct attrs_node node = {
            .tag = VALUE_STRING, .as.text = a->category, .n = a->category_n};
        uint32_t column;
        U2I_TRY(columns_take_name(c, COLUMNS_NONE, columns_category_key,
                                  sizeof columns_category_key, &column));
        U2I_TRY(columns_add_entry(c, a, &node, column));
    }
    return columns_gather_members(c, a, a->nodes, a->root_n, COLUMNS_NONE);
}

/* ---- Chunks --------------------------------------------------------------------------------- */

/* Where the chunk of that number is, or belongs. */
static uint32_t columns_chunk_slot(const struct column *col, uint32_t number) {
    if (col->chunks_n == 0 || col->chunks[col->chunks_n - 1]->number < number) {
        return col->chunks_n;
    }
    if (number < col->chunks_n && col->chunks[number]->number == number) {
        return number; /* none is left out before it, which is the rule */
    }
    uint32_t low = 0, high = col->chunks_n;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (col->chunks[middle]->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct chunk **columns_chunk_place(const struct column *col, uint32_t number) {
    const uint32_t slot = columns_chunk_slot(col, number);
    const bool found = slot < col->chunks_n && col->chunks[slot]->number == number;
    return found ? &col->chunks[slot] : NULL;
}

const struct chunk *columns_chunk(const struct columns *c, uint32_t column, uint32_t number) {
    if (column == COLUMNS_NONE) {
        return NULL;
    }
    struct chunk **const place = columns_chunk_place(&c->columns[column], number);
    return place != NULL ? *place : NULL;
}

/* Room for one value of the row. */
static int columns_reserve(struct column *col, uint32_t row) {
    const uint32_t number = row / CHUNK_ROWS;
    struct chunk **place = columns_chunk_place(col, number);
    if (place == NULL) {
        if (array_reserve(&col->chunks, &col->chunks_cap, (size_t)col->chunks_n + 1,
                          sizeof *col->chunks) != U2I_OK) {
            return U2I_ENOMEM;
        }
        struct chunk *const fresh = chunk_new(number);
        if (fresh == NULL) {
            return U2I_ENOMEM;
        }
        const uint32_t slot = columns_chunk_slot(col, number);
        place = &col->chunks[slot];
        memmove(place + 1, place, (col->chunks_n - slot) * sizeof(struct chunk *));
        *place = fresh;
        col->chunks_n++;
    }
    return chunk_reserve(place, (uint16_t)(row % CHUNK_ROWS));
}

/* After values went: an empty chunk goes, a much too large one shrinks. */
static void columns_tidy(struct column *col, uint32_t row) {
    struct chunk **const place = columns_chunk_place(col, row / CHUNK_ROWS);
    if (place == NULL) {
        return;
    }
    if ((*place)->n > 0) {
        chunk_tidy(place);
        return;
    }
    chunk_free(*place);
    col->chunks_n--;
    memmove(place, place + 1,
            (size_t)(col->chunks + col->chunks_n - place) * sizeof(struct chunk *));
}

/* ---- Rows ----------------------------------------------------------------------------------- */

/* The i-th column of a shape; its bytes are not aligned. */
static uint32_t columns_shape_at(const char *shape, size_t i) {
    uint32_t column;
    memcpy(&column, shape + i * sizeof column, sizeof column);
    return column;
}

/* The columns of a row: *n of them, at the returned address until the next put. */
static const char *columns_row_shape(const struct columns *c, uint32_t row, size_t *n) {
    *n = 0;
    if (row >= c->rows_cap || c->row_shapes[row] == 0) {
        return NULL;
    }
    const char *const shape = intern_name(c->shapes.names, c->row_shapes[row] - 1, n);
    *n /= sizeof(uint32_t);
    return shape;
}

static int columns_entry_compare(const void *a, const void *b) {
    const struct columns_entry *const x = a, *const y = b;
    return x->column < y->column ? -1 : x->column > y->column;
}

/* Short lists are the rule, and nearly sorted: insertion sort. */
static void columns_sort_entries(struct columns_entry *entries, size_t n) {
    if (n > 32) {
        qsort(entries, n, sizeof *entries, columns_entry_compare);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        const struct columns_entry entry = entries[i];
        size_t j = i;
        for (; j > 0 && entries[j - 1].column > entry.column; j--) {
            entries[j] = entries[j - 1];
        }
        entries[j] = entry;
    }
}

/* *shape gets the code + 1 of the entries' columns, with one use more; 0 for no entries. */
static int columns_take_shape(struct columns *c, uint32_t *shape) {
    const size_t bytes = c->entries_n * sizeof(uint32_t);
    uint32_t code;
    *shape = 0;
    if (bytes == 0) {
        return U2I_OK;
    }
    if (array_reserve(&c->key.data, &c->key.cap, bytes, 1) != U2I_OK) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < c->entries_n; i++) {
        memcpy(c->key.data + i * sizeof(uint32_t), &c->entries[i].column, sizeof(uint32_t));
    }
    U2I_TRY(dict_take(&c->shapes, c->key.data, bytes, &code));
    *shape = code + 1;
    return U2I_OK;
}

static int columns_reserve_row(struct columns *c, uint32_t row) {
    const size_t before = c->rows_cap;
    U2I_TRY(array_reserve(&c->row_shapes, &c->rows_cap, (size_t)row + 1, sizeof *c->row_shapes));
    memset(c->row_shapes + before, 0, (c->rows_cap - before) * sizeof *c->row_shapes);
    return U2I_OK;
}

/* All that can fail. */
static int columns_prepare(struct columns *c, uint32_t row, const struct attrs *a,
                           uint32_t *shape) {
    U2I_TRY(columns_gather(c, a));
    columns_sort_entries(c->entries, c->entries_n);
    for (size_t i = 0; i < c->entries_n; i++) {
        U2I_TRY(columns_reserve(&c->columns[c->entries[i].column], row));
    }
    U2I_TRY(columns_reserve_row(c, row));
    return columns_take_shape(c, shape);
}

static void columns_undo(struct columns *c, uint32_t row) {
    for (size_t i = 0; i < c->entries_n; i++) {
        const struct columns_entry *const entry = &c->entries[i];
        columns_release_value(c, entry->tag, entry->value);
        columns_tidy(&c->columns[entry->column], row);
        columns_release_path(c, entry->column);
    }
}

/* Empties the row but keeps its shape, chunks and columns until columns_finish(). */
static void columns_unset_row(struct columns *c, uint32_t row) {
    size_t n;
    const char *const shape = columns_row_shape(c, row, &n);
    for (size_t i = 0; i < n; i++) {
        struct column *const col = &c->columns[columns_shape_at(shape, i)];
        uint8_t tag;
        uint64_t value;
        struct chunk **const place = columns_chunk_place(col, row / CHUNK_ROWS);
        assert(place != NULL);
        if (chunk_unset(*place, (uint16_t)(row % CHUNK_ROWS), &tag, &value)) {
            columns_release_value(c, tag, value);
        }
    }
}

static void columns_set_row(struct columns *c, uint32_t row) {
    for (size_t i = 0; i < c->entries_n; i++) {
        const struct columns_entry *const entry = &c->entries[i];
        struct chunk **const place =
            columns_chunk_place(&c->columns[entry->column], row / CHUNK_ROWS);
        assert(place != NULL);
        chunk_set(*place, (uint16_t)(row % CHUNK_ROWS), entry->tag, entry->value);
    }
}

/* The row has another shape now; what only the old one needed goes. */
static void columns_finish(struct columns *c, uint32_t row, uint32_t shape) {
    size_t n;
    const char *const old = columns_row_shape(c, row, &n);
    for (size_t i = 0; i < n; i++) {
        const uint32_t column = columns_shape_at(old, i);
        columns_tidy(&c->columns[column], row);
        columns_release_path(c, column);
    }
    if (old != NULL) {
        (void)dict_release(&c->shapes, c->row_shapes[row] - 1); /* others may share it */
    }
    if (row < c->rows_cap) {
        c->row_shapes[row] = shape;
    }
}

int columns_put(struct columns *c, uint32_t row, const struct attrs *a, u2i_error_t *err) {
    uint32_t shape;
    c->entries_n = 0;
    if (columns_prepare(c, row, a, &shape) != U2I_OK) {
        columns_undo(c, row);
        return error_oom(err);
    }
    columns_unset_row(c, row);
    columns_set_row(c, row);
    columns_finish(c, row, shape);
    return U2I_OK;
}

void columns_remove(struct columns *c, uint32_t row) {
    columns_unset_row(c, row);
    columns_finish(c, row, 0);
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void columns_free_array(struct column_array *array) {
    for (uint64_t i = 0; i < array->n; i++) {
        if (column_array_tags(array)[i] == VALUE_ARRAY) {
            columns_free_array((struct column_array *)(uintptr_t)column_array_values(array)[i]);
        }
    }
    mem_free(array);
}

static void columns_free_column(struct column *col) {
    for (uint32_t i = 0; i < col->chunks_n; i++) {
        const struct chunk *const chunk = col->chunks[i];
        const uint32_t slots = chunk->rows != NULL ? chunk->n : CHUNK_ROWS;
        for (uint32_t slot = 0; slot < slots; slot++) {
            if (chunk->tags[slot] == VALUE_ARRAY) {
                columns_free_array((struct column_array *)(uintptr_t)chunk->values[slot]);
            }
        }
        chunk_free(col->chunks[i]);
    }
    mem_free(col->chunks);
}

/* Everything goes at once, so nothing is counted down. */
void columns_free(struct columns *c) {
    if (c == NULL) {
        return;
    }
    const uint32_t columns_n = c->columns != NULL ? intern_end(c->paths.names) : 0;
    for (uint32_t i = 0; i < columns_n; i++) {
        columns_free_column(&c->columns[i]);
    }
    mem_free(c->columns);
    dict_clear(&c->strings);
    dict_clear(&c->paths);
    dict_clear(&c->shapes);
    mem_free(c->row_shapes);
    mem_free(c->entries);
    buf_free(&c->key);
    mem_free(c);
}

size_t columns_bytes(const struct columns *c) {
    size_t bytes = sizeof *c + dict_bytes(&c->strings) + dict_bytes(&c->paths) +
                   dict_bytes(&c->shapes) + c->columns_cap * sizeof *c->columns +
                   c->rows_cap * sizeof *c->row_shapes + c->array_bytes +
                   c->entries_cap * sizeof *c->entries + c->key.cap;
    for (uint32_t i = 0; i < intern_end(c->paths.names); i++) {
        const struct column *const col = &c->columns[i];
        bytes += col->chunks_cap * sizeof *col->chunks;
        for (uint32_t j = 0; j < col->chunks_n; j++) {
            bytes += chunk_bytes(col->chunks[j]);
        }
    }
    return bytes;
}
