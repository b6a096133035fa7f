/* See attrs.h. */
#include "attrs.h"
#include "table.h"
#include <stdlib.h>
#include <string.h>

const struct option_spec attrs_options[] = {
    {.name = "attr",
     .letter = 'a',
     .many = true,
     .value = "NAME=TEXT",
     .help = "an attribute; NAME:=JSON for numbers, true, false and lists, NAME:=null for none"},
    {.name = "attrs", .value = "JSON", .help = "all attributes as one object"},
    {0}};

static void attrs_drop_nulls(json_t *object) {
    const char *name;
    json_t *value;
    void *next;
    json_object_foreach_safe(object, next, name, value) {
        if (json_is_null(value)) {
            (void)json_object_del(object, name); /* it is there */
        }
    }
}

static int attrs_start(const struct args *args, const char *before, json_t **out) {
    const char *const given = args_value(args, "attrs");
    const char *const text = given != NULL ? given : before != NULL ? before : "{}";
    json_error_t why;
    *out = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (*out != NULL && json_is_object(*out)) {
        return CLI_OK;
    }
    cli_error("--attrs: %s",
              *out == NULL ? why.text : "an object is expected, like {\"price\": 9.5}");
    json_decref(*out);
    *out = NULL;
    return CLI_USAGE;
}

int attrs_read(const struct args *args, const char *before, char **out) {
    json_t *object;
    const char *pair;
    struct text text = {0};
    *out = NULL;
    int code = attrs_start(args, before, &object);
    for (size_t at = 0; code == CLI_OK && (pair = args_each(args, "attr", &at)) != NULL;) {
        code = cli_add_typed(object, pair, "--attr");
    }
    if (code == CLI_OK) {
        attrs_drop_nulls(object);
        text_json_value(&text, object);
        code = text_ok(&text) ? CLI_OK : cli_no_memory();
    }
    if (code == CLI_OK && json_object_size(object) > 0) {
        *out = text.p; /* handed over */
    } else {
        text_free(&text);
    }
    json_decref(object);
    return code;
}

int attrs_print_pairs(const struct cli *cli, const char *const *pairs) {
    static const struct table_column columns[] = {{"", false, false}, {"", false, false}};
    struct table table;
    table_init(&table, columns, 2);
    for (; pairs[0] != NULL; pairs += 2) {
        if (pairs[1] != NULL && pairs[1][0] != '\0') {
            table_cell(&table, pairs[0]);
            table_cell(&table, pairs[1]);
        }
    }
    const int rc = table_print(&table, cli->out, cli->display);
    table_free(&table);
    return rc == 0 ? CLI_OK : cli_no_memory();
}
