/* u2i init: a new store. The settings are tried on a store in memory first, so that a wrong one
 * leaves no file behind. */
#include "commands.h"
#include <stdlib.h>
#include <string.h>

static const struct arg_spec init_args[] = {
    {"STORE", NULL, ARG_ONE, true, "the file to make, or @ for the one that U2I_STORE names"}, {0}};

static const struct option_spec init_options[] = {
    {.name = "model",
     .value = "NAME",
     .help =
         "what makes vectors of text: hash (any language, no download), a BERT model by its "
         "folder (as ./all-MiniLM-L6-v2) or its name (u2i model list), a URL with the name of a "
         "remote one (https://HOST/v1#NAME), or none: items come with their own vectors; "
         "default hash, and none when --dim is given"},
    {.name = "dim", .value = "N", .help = "length of the vectors"},
    {.name = "preset",
     .letter = 'p',
     .value = "NAME",
     .help =
         "settings and ranking rules to start from, for one kind of business; --set comes after "
         "them"},
    {.name = "set",
     .letter = 's',
     .many = true,
     .value = "NAME=VALUE",
     .help = "a setting, see u2i config"},
    {0}};

static const struct example init_examples[] = {
    {"u2i init shop.db", "a store that compares items by their text"},
    {"u2i init shop.db --model ./all-MiniLM-L6-v2", "vectors by a model from Hugging Face"},
    {"u2i init vectors.db --dim 384", "a store for your own vectors of 384 numbers"},
    {"u2i init shop.db --preset ecommerce", "a shop: stock, prices, variants, buying again"},
    {"u2i init shop.db --set action.rent=4 --set half_life_s=2592000",
     "with an action of your own, and a half-life of 30 days"},
    {0}};

static int init_preset(u2i_t *store, const char *preset) {
    u2i_error_t err;
    if (preset == NULL || u2i_use_preset(store, preset, &err) == U2I_OK) {
        return CLI_OK;
    }
    if (err.code != U2I_ENOTFOUND) {
        return cli_fail(&err, "--preset");
    }
    cli_error("--preset: %s", err.msg);
    return CLI_USAGE;
}

static int init_settings(u2i_t *store, const struct args *args) {
    const char *pair;
    int code = init_preset(store, args_value(args, "preset"));
    for (size_t at = 0; code == CLI_OK && (pair = args_each(args, "set", &at)) != NULL;) {
        const char *const equals = strchr(pair, '=');
        u2i_error_t err;
        if (equals == NULL || equals == pair) {
            cli_error("--set %s: write NAME=VALUE; u2i help config says which there are", pair);
            return CLI_USAGE;
        }
        char *const name = strndup(pair, (size_t)(equals - pair));
        if (name == NULL) {
            return cli_no_memory();
        }
        if (u2i_set_setting(store, name, equals + 1, &err) != U2I_OK) {
            cli_error("--set %s: %s", pair, err.msg);
            code = CLI_USAGE;
        }
        free(name);
    }
    return code;
}

static int init_make(const char *location, const u2i_options_t *opt, const struct args *args) {
    u2i_t *store;
    u2i_error_t err;
    if (u2i_open(location, opt, &store, &err) != U2I_OK) {
        return cli_fail(&err, location);
    }
    return cli_close(store, init_settings(store, args));
}

static int init_report(const struct cli *cli, const char *path, bool json) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    u2i_stats_t stats = U2I_STATS_INIT;
    u2i_t *store;
    u2i_error_t err;
    opt.flags = U2I_OPEN_EXISTING | U2I_OPEN_READONLY;
    if (u2i_open(path, &opt, &store, &err) != U2I_OK) {
        return cli_fail(&err, path);
    }
    int code = u2i_stats(store, &stats, &err) == U2I_OK ? CLI_OK : cli_fail(&err, path);
    struct text line = {0};
    if (code == CLI_OK && json) {
        text_char(&line, '{');
        text_json_member(&line, "store", path);
        text_json_member(&line, "model", stats.model);
        text_json_member_int(&line, "dim", stats.dim);
        text_char(&line, '}');
        code = cli_print_line(cli, &line);
    } else if (code == CLI_OK) {
        display_clean(&line, path, strlen(path));
        text_fmt(&line, ": a new store, model %s, vectors of %u. Next: u2i import ", stats.model,
                 stats.dim);
        display_clean(&line, path, strlen(path));
        text_str(&line, " items FILE");
        code = cli_print_line(cli, &line);
    }
    text_free(&line);
    return cli_close(store, code);
}

static int init_run(struct cli *cli, const struct args *args) {
    const char *const path = cli_store_path(args);
    u2i_options_t opt = U2I_OPTIONS_INIT;
    uint64_t dim = 0;
    if (path == NULL) {
        return CLI_USAGE;
    }
    if (strcmp(path, ":memory:") == 0) {
        cli_error("a store in memory ends with the command: name a file");
        return CLI_USAGE;
    }
    if (args_has(args, "dim") && args_number(args, "dim", 1, U2I_DIM_MAX, &dim) != CLI_OK) {
        return CLI_USAGE;
    }
    opt.dim = (uint32_t)dim;
    opt.model = args_value(args, "model");
    if (opt.model != NULL && strcmp(opt.model, "none") == 0 && dim == 0) {
        cli_error("--model none needs the length of the vectors: --dim N");
        return CLI_USAGE;
    }
    int code = init_make(":memory:", &opt, args);
    if (code == CLI_OK) {
        opt.flags = U2I_OPEN_NEW;
        code = init_make(path, &opt, args);
    }
    return code == CLI_OK ? init_report(cli, path, args_has(args, "json")) : code;
}

const struct command cmd_init = {
    .name = "init",
    .summary = "make a new store",
    .about =
        "A store is one file. Model and vector length can be changed by u2i reembed, settings\n"
        "with u2i config. An existing file is never touched. A preset is a set "
        "of\n"
        "settings and ranking rules to start from; docs/verticals/ has a guide to each.\n",
    .args = init_args,
    .list = "Presets",
    .each = u2i_scan_presets,
    .options = {init_options, cli_json_options, cli_common_options},
    .examples = init_examples,
    .exits = {CLI_LATER},
    .run = init_run};
