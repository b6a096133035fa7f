/* u2i item: one item, shown, put or deleted. */
#include "attrs.h"
#include "commands.h"
#include "values.h"
#include <stdlib.h>
#include <string.h>

static const struct arg_spec item_args[] = {CLI_STORE_ARG,
                                            {"WHAT", "show|put|delete", ARG_ONE, false,
                                             "show it, put it (insert or replace), or delete it"},
                                            {"ID", NULL, ARG_ONE, false, "the item"},
                                            {0}};

static const struct option_spec item_options[] = {
    {.name = "title", .letter = 't', .value = "TEXT", .help = "put: what people see"},
    {.name = "text", .value = "TEXT", .help = "put: the description"},
    {.name = "category", .letter = 'c', .value = "TEXT", .help = "put: its category"},
    {.name = "vector", .value = "LIST", .help = "put: its vector, [0.1, -2, ...]"},
    {.name = "with-vector", .help = "show: the vector too (JSON only)"},
    {0}};

static const struct example item_examples[] = {
    {"u2i item shop.db show b12", "everything that is known of b12"},
    {"u2i item shop.db put b13 --title 'Dune' --category book --attr price:=9.5 --attr lang=en",
     "a new item, or all of an old one anew"},
    {"u2i item shop.db delete b13", "its events stay, and count again if it comes back"},
    {0}};

static void item_add_vector(struct text *line, const float *vector, uint32_t dim) {
    text_json_key(line, "vector");
    text_char(line, '[');
    for (uint32_t i = 0; i < dim; i++) {
        text_fmt(line, "%s%.9g", i > 0 ? "," : "", (double)vector[i]);
    }
    text_char(line, ']');
}

static int item_print(const struct cli *cli, const struct args *args, const u2i_item_t *item,
                      uint32_t dim) {
    if (!args_has(args, "json")) {
        const char *const pairs[] = {"id",       item->id,         "title", item->title,
                                     "category", item->category,   "text",  item->text,
                                     "attrs",    item->attrs_json, NULL};
        return attrs_print_pairs(cli, pairs);
    }
    struct text line = {0};
    text_char(&line, '{');
    text_json_member(&line, "id", item->id);
    text_json_member(&line, "title", item->title);
    text_json_member(&line, "text", item->text);
    text_json_member(&line, "category", item->category);
    text_json_member_raw(&line, "attrs", item->attrs_json);
    if (args_has(args, "with-vector") && item->vector != NULL) {
        item_add_vector(&line, item->vector, dim);
    }
    text_char(&line, '}');
    const int code = cli_print_line(cli, &line);
    text_free(&line);
    return code;
}

static int item_show(const struct cli *cli, const struct args *args, u2i_t *store, uint32_t dim) {
    u2i_item_t *item;
    u2i_error_t err;
    if (u2i_get_item(store, args_word(args, 2), &item, &err) != U2I_OK) {
        return cli_fail(&err, "item");
    }
    const int code = item_print(cli, args, item, dim);
    u2i_item_free(item);
    return code;
}

static int item_read_vector(const struct args *args, uint32_t dim, float **out) {
    const char *const given = args_value(args, "vector");
    *out = NULL;
    if (given == NULL) {
        return CLI_OK;
    }
    *out = calloc((size_t)dim + 1, sizeof **out);
    if (*out == NULL) {
        return cli_no_memory();
    }
    const long n = values_floats(given, *out, dim);
    if (n < 0) {
        cli_error("--vector: a list of finite numbers is expected, like [0.1, -2]");
        return CLI_USAGE;
    }
    if ((uint64_t)n != dim) {
        cli_error("--vector: %ld numbers, but the store's vectors have %u", n, dim);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int item_put(const struct args *args, u2i_t *store, uint32_t dim) {
    u2i_item_t item = {.id = args_word(args, 2),
                       .title = args_value(args, "title"),
                       .text = args_value(args, "text"),
                       .category = args_value(args, "category")};
    char *attrs_json = NULL;
    float *vector = NULL;
    u2i_error_t err;
    int code = attrs_read(args, NULL, &attrs_json);
    if (code == CLI_OK) {
        code = item_read_vector(args, dim, &vector);
    }
    item.attrs_json = attrs_json;
    item.vector = vector;
    if (code == CLI_OK && u2i_put_items(store, &item, 1, sizeof item, &err) != U2I_OK) {
        code = cli_fail(&err, "item");
    }
    free(vector);
    free(attrs_json);
    return code;
}

static int item_delete(const struct args *args, u2i_t *store) {
    const char *const id = args_word(args, 2);
    size_t deleted = 0;
    u2i_error_t err;
    if (u2i_delete_items(store, &id, 1, &deleted, &err) != U2I_OK) {
        return cli_fail(&err, "item");
    }
    if (deleted == 0) {
        cli_error("item: there is no item '%s'", id);
        return CLI_NOTFOUND;
    }
    return CLI_OK;
}

static int item_run(struct cli *cli, const struct args *args) {
    const char *const what = args_word(args, 1);
    const bool show = strcmp(what, "show") == 0;
    u2i_stats_t stats = U2I_STATS_INIT;
    u2i_error_t err;
    u2i_t *store;
    int code = cli_open(args, U2I_OPEN_EXISTING | (show ? U2I_OPEN_READONLY : 0), &store);
    if (code == CLI_OK && u2i_stats(store, &stats, &err) != U2I_OK) {
        code = cli_fail(&err, "item");
    }
    if (code == CLI_OK) {
        code = show                       ? item_show(cli, args, store, stats.dim)
               : strcmp(what, "put") == 0 ? item_put(args, store, stats.dim)
                                          : item_delete(args, store);
    }
    return cli_close(store, code);
}

const struct command cmd_item = {
    .name = "item",
    .summary = "show, put or delete an item",
    .about =
        "put replaces the whole item: what is not given is gone. For many items use u2i import.\n",
    .args = item_args,
    .options = {item_options, attrs_options, cli_json_options, cli_common_options},
    .examples = item_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = item_run};
