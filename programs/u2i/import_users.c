/* Users from rows: id, interests, attrs, decay; further columns or keys are attributes. */
#include "import.h"
#include <stdlib.h>

static const struct field_spec import_user_fields[] = {
    {"id", ROLE_ID},       {"user", ROLE_ID},     {"interests", ROLE_INTERESTS},
    {"attrs", ROLE_ATTRS}, {"decay", ROLE_DECAY}, {NULL, ROLE_NONE}};

static int import_users_start(struct import *im, const struct args *args) {
    (void)im;
    (void)args;
    return CLI_OK;
}

static int import_users_check(struct import *im) {
    return rows_have(im->rows, ROLE_ID) ? CLI_OK : import_refuse_columns(im, ROLE_ID, "");
}

static bool import_users_fill(struct import *im, const struct row *row, void *element) {
    u2i_user_t *const user = element;
    const struct cell *const decay = import_cell(row, ROLE_DECAY);
    if (!import_copy(im, row, ROLE_ID, &user->id) ||
        !import_copy(im, row, ROLE_INTERESTS, &user->interests) ||
        !import_copy_attrs(im, row, &user->attrs_json)) {
        return false;
    }
    if (user->id == NULL) {
        text_str(&im->why, "no id");
        return false;
    }
    const char *const text = decay == NULL ? "" : import_cell_text(im, decay);
    char *end = NULL;
    if (text == NULL) {
        return false;
    }
    user->decay = *text == '\0' ? 0 : strtod(text, &end);
    if (end != NULL && (end == text || *end != '\0' || user->decay <= 0 || user->decay >= 1)) {
        text_fmt(&im->why, "decay: '%.40s' is not a number between 0 and 1", text);
        return false;
    }
    return true;
}

static int import_users_put(struct import *im, const void *elements, size_t n, size_t *fresh,
                            u2i_error_t *err) {
    *fresh = 0; /* counted by import_users_count() */
    return u2i_put_users(im->store, elements, n, sizeof(u2i_user_t), err);
}

static uint64_t import_users_count(const u2i_stats_t *stats) {
    return stats->users;
}

const struct import_kind import_users = {.name = "users",
                                         .fields = import_user_fields,
                                         .attrs = true,
                                         .unique = true,
                                         .element_size = sizeof(u2i_user_t),
                                         .start = import_users_start,
                                         .check = import_users_check,
                                         .fill = import_users_fill,
                                         .put = import_users_put,
                                         .count = import_users_count};
