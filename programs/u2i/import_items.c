/* Items from rows: id, title, text, category, vector, attrs; further columns or keys are attributes. */
#include "import.h"
#include <stdlib.h>
#include <string.h>

static const struct field_spec import_item_fields[] = {
    {"id", ROLE_ID},         {"title", ROLE_TITLE},
    {"text", ROLE_TEXT},     {"category", ROLE_CATEGORY},
    {"vector", ROLE_VECTOR}, {"attrs", ROLE_ATTRS},
    {NULL, ROLE_NONE}};

static int import_items_start(struct import *im, const struct args *args) {
    u2i_stats_t stats = U2I_STATS_INIT;
    u2i_error_t err;
    (void)args;
    if (u2i_stats(im->store, &stats, &err) != U2I_OK) {
        return cli_fail(&err, "reading the store");
    }
    im->dim = stats.dim;
    im->own_vectors = strcmp(stats.model, "none") == 0;
    return CLI_OK;
}

static int import_items_check(struct import *im) {
    if (!rows_have(im->rows, ROLE_ID)) {
        return import_refuse_columns(im, ROLE_ID, "");
    }
    if (!rows_are_json(im->rows) && !im->own_vectors && rows_have(im->rows, ROLE_VECTOR)) {
        cli_error("%s: has vectors, but this store makes them from text; --ignore vector leaves "
                  "them out, or make a store for vectors: u2i init STORE --dim N",
                  im->file_name);
        return CLI_ERROR;
    }
    return CLI_OK;
}

static bool import_items_vector(struct import *im, const struct row *row, const float **out) {
    const struct cell *const cell = import_cell(row, ROLE_VECTOR);
    *out = NULL;
    if (cell == NULL || (cell->text != NULL && cell->n == 0)) {
        return true;
    }
    if (!im->own_vectors) {
        text_str(&im->why, "has a vector, but this store makes them from text; --ignore vector");
        return false;
    }
    float *const vector = pool_alloc(&im->pool, im->dim * sizeof *vector);
    if (vector == NULL) {
        text_str(&im->why, "out of memory");
        return false;
    }
    const long n = cell->text != NULL ? values_floats(cell->text, vector, im->dim)
                                      : values_floats_json(cell->json, vector, im->dim);
    if (n < 0) {
        text_fmt(&im->why, "%s: a list of finite numbers is expected", cell->name);
    } else if ((uint64_t)n != im->dim) {
        text_fmt(&im->why, "%s: %ld numbers, but the store's vectors have %u", cell->name, n,
                 im->dim);
    }
    *out = vector;
    return n >= 0 && (uint64_t)n == im->dim;
}

static bool import_items_fill(struct import *im, const struct row *row, void *element) {
    u2i_item_t *const item = element;
    if (!import_copy(im, row, ROLE_ID, &item->id) ||
        !import_copy(im, row, ROLE_TITLE, &item->title) ||
        !import_copy(im, row, ROLE_TEXT, &item->text) ||
        !import_copy(im, row, ROLE_CATEGORY, &item->category) ||
        !import_copy_attrs(im, row, &item->attrs_json) ||
        !import_items_vector(im, row, &item->vector)) {
        return false;
    }
    if (item->id == NULL) {
        text_str(&im->why, "no id");
        return false;
    }
    return true;
}

static int import_items_put(struct import *im, const void *elements, size_t n, size_t *fresh,
                            u2i_error_t *err) {
    *fresh = 0; /* counted by import_items_count() */
    return u2i_put_items(im->store, elements, n, sizeof(u2i_item_t), err);
}

static uint64_t import_items_count(const u2i_stats_t *stats) {
    return stats->items;
}

const struct import_kind import_items = {.name = "items",
                                         .fields = import_item_fields,
                                         .attrs = true,
                                         .unique = true,
                                         .element_size = sizeof(u2i_item_t),
                                         .start = import_items_start,
                                         .check = import_items_check,
                                         .fill = import_items_fill,
                                         .put = import_items_put,
                                         .count = import_items_count};
