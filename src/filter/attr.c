/* Two ways to the same value: down an item's attributes, or into the columns. An array remembers what it
 * was read from, so that its elements can be told; `in` is the attributes' block or NULL, and then `array`
 * is a node of it or a column's array with `in` its strings. */
#include "filter/attr.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "filter/attrs.h"
#include "filter/filter_eval.h"

#include <assert.h>

struct attr_path {
    struct filter filter; /* owns the memory: what the filter's parser builds with */
    struct field field;
};

/* ---- Paths ------------------------------------------------------------------------------------ */

static int attr_path_field(struct filter_parser *p, struct attr_path *path) {
    if (!filter_parse_next(p)) {
        return p->rc;
    }
    if (p->token.kind != TOKEN_NAME) {
        (void)filter_parse_expected(p, "an attribute"); /* always NULL */
        return p->rc;
    }
    const struct node *const node = filter_operand_field(p);
    if (node == NULL) {
        return p->rc;
    }
    if (p->token.kind != TOKEN_END) {
        (void)filter_parse_expected(p, "the end of the attribute's name"); /* always NULL */
        return p->rc;
    }
    if (node->field->kind == FIELD_ID) {
        return error_at(p->err, U2I_EFILTER, 0, "expected an attribute or category, found \"id\"");
    }
    path->field = *node->field;
    return U2I_OK;
}

int attr_path_parse(const char *text, size_t n, struct attr_path **out, u2i_error_t *err) {
    *out = NULL;
    if (n > U2I_FILTER_MAX_BYTES) {
        return error_at(err, U2I_EFILTER, 0, "an attribute's name of %zu bytes is over %d", n,
                        U2I_FILTER_MAX_BYTES);
    }
    struct attr_path *const path = mem_zalloc(sizeof *path);
    char *const copy = path != NULL ? arena_dup(&path->filter.arena, text, n) : NULL;
    if (copy == NULL) {
        attr_path_free(path);
        return error_oom(err);
    }
    struct filter_parser p = {.lex = {copy, (uint32_t)n, 0, false, &path->filter.arena, err},
                              .filter = &path->filter,
                              .rc = U2I_OK,
                              .err = err};
    const int rc = attr_path_field(&p, path);
    if (rc != U2I_OK) {
        attr_path_free(path);
        return rc;
    }
    *out = path;
    return U2I_OK;
}

static int attr_path_keys(const char *text, size_t n, struct field *f, u2i_error_t *err) {
    f->kind = FIELD_PATH;
    for (size_t from = 0; from <= n;) {
        const char *const dot = n > from ? memchr(text + from, '.', n - from) : NULL;
        const size_t end = dot != NULL ? (size_t)(dot - text) : n;
        if (end == from) {
            return error_at(err, U2I_EFILTER, (int32_t)from, "expected the name of an attribute");
        }
        if (f->steps_n == U2I_ATTRS_MAX_DEPTH) {
            return error_at(err, U2I_EFILTER, (int32_t)from, "attributes are at most %d deep",
                            U2I_ATTRS_MAX_DEPTH);
        }
        f->steps[f->steps_n++] = (struct column_step){text + from, (uint32_t)(end - from), 0};
        from = end + 1;
    }
    return U2I_OK;
}

int attr_path_dotted(const char *text, size_t n, struct attr_path **out, u2i_error_t *err) {
    *out = NULL;
    struct attr_path *const path = mem_zalloc(sizeof *path);
    const char *const copy = path != NULL ? arena_dup(&path->filter.arena, text, n) : NULL;
    const int rc = copy != NULL ? attr_path_keys(copy, n, &path->field, err) : error_oom(err);
    if (rc != U2I_OK) {
        attr_path_free(path);
        return rc;
    }
    *out = path;
    return U2I_OK;
}

void attr_path_free(struct attr_path *path) {
    if (path != NULL) {
        arena_free(&path->filter.arena);
        mem_free(path);
    }
}

/* ---- Values ----------------------------------------------------------------------------------- */

static uint64_t attr_key(enum attr_type type, uint64_t bits) {
    const uint64_t key = hash_mix(bits ^ hash_mix((uint64_t)type));
    return key != 0 ? key : 1;
}

static void attr_set_number(struct attr_value *out) {
    const bool fits = out->number >= -9223372036854775808.0 && out->number < 9223372036854775808.0;
    if (out->type == ATTR_INT) {
        out->key = attr_key(ATTR_INT, (uint64_t)out->i);
    } else if (fits && out->number == (double)(int64_t)out->number) {
        out->key = attr_key(ATTR_INT, (uint64_t)(int64_t)out->number);
    } else {
        out->key = attr_key(ATTR_REAL, column_bits(out->number));
    }
}

/* An array is equal to one with the same elements in the same order. */
static void attr_set_array(struct attr_value *out) {
    uint64_t bits = out->n;
    for (uint32_t i = 0; i < out->n; i++) {
        struct attr_value element; /* nested at most U2I_ATTRS_MAX_DEPTH deep */
        attr_element(out, i, &element);
        bits = hash_mix(bits) + element.key;
    }
    out->key = attr_key(ATTR_ARRAY, bits);
}

/* From the scalars of the filter language. */
static void attr_set(struct attr_value *out, const struct value *v) {
    *out = (struct attr_value){.type = ATTR_MISSING};
    switch (v->tag) {
    case VALUE_BOOL:
        out->type = ATTR_BOOL;
        out->i = v->as.i;
        out->key = attr_key(ATTR_BOOL, (uint64_t)v->as.i);
        break;
    case VALUE_INT:
        out->type = ATTR_INT;
        out->i = v->as.i;
        out->number = (double)v->as.i;
        attr_set_number(out);
        break;
    case VALUE_REAL:
        out->type = ATTR_REAL;
        out->number = v->as.r;
        attr_set_number(out);
        break;
    case VALUE_STRING:
        out->type = ATTR_STRING;
        out->s = v->as.s;
        out->n = v->n;
        out->key = attr_key(ATTR_STRING, hash_bytes(v->as.s, v->n, 0));
        break;
    default:
        break;
    }
}

static void attr_set_node(struct attr_value *out, const struct attrs *a,
                          const struct attrs_node *node) {
    if (node->tag == VALUE_ARRAY) {
        *out = (struct attr_value){.type = ATTR_ARRAY, .n = node->n, .in = a, .array = node};
        attr_set_array(out);
        return;
    }
    const struct value v = attrs_value(a, node);
    attr_set(out, &v);
}

static void attr_set_cell(struct attr_value *out, const struct intern *strings, uint8_t tag,
                          uint64_t bits) {
    if (tag == VALUE_ARRAY) {
        const struct column_array *const array = column_array(bits);
        *out = (struct attr_value){.type = ATTR_ARRAY,
                                   .n = (uint32_t)array->n,
                                   .i = 1, /* it is a column's */
                                   .in = strings,
                                   .array = array};
        attr_set_array(out);
        return;
    }
    const struct value v = filter_cell_value(strings, tag, bits);
    attr_set(out, &v);
}

void attr_element(const struct attr_value *array, uint32_t i, struct attr_value *out) {
    assert(array->type == ATTR_ARRAY && i < array->n);
    if (array->i == 1) {
        const struct column_array *const a = array->array;
        attr_set_cell(out, array->in, column_array_tags(a)[i], column_array_values(a)[i]);
    } else {
        const struct attrs *const a = array->in;
        attr_set_node(out, a, attrs_element(a, array->array, i));
    }
}

/* ---- Reading ---------------------------------------------------------------------------------- */

void attrs_get(const struct attrs *a, const struct attr_path *path, struct attr_value *out) {
    const struct field *const f = &path->field;
    *out = (struct attr_value){.type = ATTR_MISSING};
    if (f->kind == FIELD_CATEGORY) {
        if (a->category != ATTRS_NO_CATEGORY) {
            const struct value v = {
                .tag = VALUE_STRING, .n = a->category_n, .as.s = attrs_text(a, a->category)};
            attr_set(out, &v);
        }
        return;
    }
    const struct attrs_node *const node = filter_item_path(a, f);
    if (node != NULL) {
        attr_set_node(out, a, node);
    }
}

int attr_column_find(const struct columns *c, const struct attr_path *path, struct attr_column *out,
                     u2i_error_t *err) {
    struct arena scratch = {0};
    struct eval_field found;
    const int rc = filter_eval_find_field(c, &path->field, &scratch, &found);
    arena_free(&scratch);
    if (rc != U2I_OK) {
        return error_oom(err);
    }
    *out = (struct attr_column){c, found.column, found.indexes_n, {0}};
    memcpy(out->indexes, found.indexes, sizeof out->indexes);
    return U2I_OK;
}

static void attr_column_read(const struct attr_column *column, const struct eval_field *field,
                             uint32_t row, struct attr_value *out) {
    uint64_t bits;
    const uint8_t tag = filter_cell(column->columns, field, row, &bits);
    attr_set_cell(out, columns_strings(column->columns), tag, bits);
}

void columns_get_many(const struct attr_column *column, const uint32_t *rows, uint32_t n,
                      struct attr_value *out) {
    struct eval_field field = {.column = column->column, .indexes_n = column->indexes_n};
    memcpy(field.indexes, column->indexes, sizeof field.indexes);
    for (uint32_t from = 0; from < n; from += FILTER_CELL_BLOCK) {
        const uint32_t end = n - from < FILTER_CELL_BLOCK ? n : from + FILTER_CELL_BLOCK;
        filter_cell_prefetch(column->columns, column->column, rows + from, end - from);
        for (uint32_t i = from; i < end; i++) {
            attr_column_read(column, &field, rows[i], &out[i]);
        }
    }
}

void columns_get(const struct attr_column *column, uint32_t row, struct attr_value *out) {
    columns_get_many(column, &row, 1, out);
}
