/* u2i config: the settings that live in a store. */
#include "commands.h"
#include "table.h"
#include <string.h>

static const struct arg_spec config_args[] = {
    CLI_STORE_ARG,
    {"WHAT", "list|get|set|reset", ARG_OPTIONAL, false, "list (when left out), get, set or reset"},
    {"NAME", NULL, ARG_OPTIONAL, false, "the setting"},
    {"VALUE", NULL, ARG_OPTIONAL, false, "set: its new value"},
    {0}};

static const struct example config_examples[] = {
    {"u2i config shop.db", "every setting with its value, default and meaning"},
    {"u2i config shop.db set action.purchase 10", "a purchase weighs 10 from now on"},
    {"u2i config shop.db set unknown_item keep", "events may name items that are not there yet"},
    {"u2i config shop.db reset half_life_s", "back to the default"},
    {0}};

struct config_output {
    const struct cli *cli;
    bool json;
    const char *only; /* one setting's name, or NULL */
    bool found;
    struct table table;
    struct suggestion near;
    char best[128]; /* the suggestion outlives the scan */
};

static void config_add_json(struct text *line, const u2i_setting_t *s) {
    text_char(line, '{');
    text_json_member(line, "name", s->name);
    text_json_member(line, "value", s->value);
    text_json_member(line, "default", s->initial);
    text_json_member(line, "help", s->help);
    text_char(line, '}');
}

static int config_on_setting(void *ctx, const u2i_setting_t *s) {
    struct config_output *const out = ctx;
    if (out->only != NULL) {
        suggest_add(&out->near, s->name);
        if (out->near.best == s->name) {
            (void)snprintf(out->best, sizeof out->best, "%s", s->name);
            out->near.best = out->best;
        }
        if (strcmp(out->only, s->name) != 0) {
            return 0;
        }
    }
    out->found = true;
    if (out->json) {
        struct text line = {0};
        config_add_json(&line, s);
        const int code = cli_print_line(out->cli, &line);
        text_free(&line);
        return code;
    }
    if (out->only != NULL) {
        (void)fprintf(out->cli->out, "%s\n", s->value);
        return 0;
    }
    table_cell(&out->table, s->name);
    table_cell(&out->table, s->value);
    table_cell(&out->table, strcmp(s->value, s->initial) == 0 ? "" : s->initial);
    table_cell(&out->table, s->help);
    return 0;
}

static int config_refuse_name(const struct config_output *out) {
    const char *const near = suggest_best(&out->near);
    if (near != NULL) {
        cli_error("there is no setting '%s'; did you mean '%s'?", out->only, near);
    } else {
        cli_error("there is no setting '%s'; u2i config STORE lists them", out->only);
    }
    return CLI_NOTFOUND;
}

/* Lists all settings, or prints one (`name`). */
static int config_list(const struct cli *cli, const struct args *args, u2i_t *store,
                       const char *name) {
    static const struct table_column columns[] = {{"setting", false, false},
                                                  {"value", false, false},
                                                  {"default", false, false},
                                                  {"meaning", false, true}};
    struct config_output out = {.cli = cli,
                                .json = args_has(args, "json"),
                                .only = name,
                                .near = {.word = name == NULL ? "" : name}};
    u2i_error_t err;
    table_init(&out.table, columns, sizeof columns / sizeof *columns);
    int code = CLI_OK;
    if (u2i_scan_settings(store, config_on_setting, &out, &err) != U2I_OK) {
        code = cli_fail(&err, "config");
    } else if (name != NULL && !out.found) {
        code = config_refuse_name(&out);
    } else if (name == NULL && !out.json && table_print(&out.table, cli->out, cli->display) != 0) {
        code = cli_no_memory();
    }
    table_free(&out.table);
    return code;
}

static int config_ignore(void *ctx, const u2i_setting_t *s) {
    struct config_output *const out = ctx;
    suggest_add(&out->near, s->name);
    out->found = out->found || strcmp(out->only, s->name) == 0;
    if (out->near.best == s->name) {
        (void)snprintf(out->best, sizeof out->best, "%s", s->name);
        out->near.best = out->best;
    }
    return 0;
}

/* Sets, or with value NULL resets. A name that is not there gets a suggestion. */
static int config_set(u2i_t *store, const char *name, const char *value) {
    u2i_error_t err;
    if (u2i_set_setting(store, name, value, &err) == U2I_OK) {
        return CLI_OK;
    }
    struct config_output out = {.only = name, .near = {.word = name}};
    if ((err.code == U2I_EINVAL || err.code == U2I_ENOTFOUND) &&
        u2i_scan_settings(store, config_ignore, &out, NULL) == U2I_OK && !out.found &&
        suggest_best(&out.near) != NULL) {
        return config_refuse_name(&out);
    }
    return cli_fail(&err, "config");
}

static int config_check(const struct args *args, const char *what) {
    const size_t words = args->words_n;
    const bool set = strcmp(what, "set") == 0, list = strcmp(what, "list") == 0;
    const size_t wanted = list ? (words < 2 ? words : 2) : set ? 4 : 3;
    if (words == wanted) {
        return CLI_OK;
    }
    cli_error("write u2i config STORE %s%s", what, list ? "" : set ? " NAME VALUE" : " NAME");
    return CLI_USAGE;
}

static int config_run(struct cli *cli, const struct args *args) {
    const char *const what = args_word(args, 1) == NULL ? "list" : args_word(args, 1);
    const char *const name = args_word(args, 2);
    const bool reads = strcmp(what, "list") == 0 || strcmp(what, "get") == 0;
    u2i_t *store = NULL;
    int code = config_check(args, what);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING | (reads ? U2I_OPEN_READONLY : 0), &store);
    }
    if (code == CLI_OK) {
        code = reads
                   ? config_list(cli, args, store, name)
                   : config_set(store, name, strcmp(what, "set") == 0 ? args_word(args, 3) : NULL);
    }
    return cli_close(store, code);
}

const struct command cmd_config = {
    .name = "config",
    .summary = "list, get, set or reset settings",
    .about =
        "Settings live in the store, so every process agrees on them. action.NAME is the weight\n"
        "of an action; setting a new NAME adds an action.\n",
    .args = config_args,
    .options = {cli_json_options, cli_common_options},
    .examples = config_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = config_run};
