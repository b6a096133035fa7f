/* u2i model: the models on this machine, and how they get here. */
#include "commands.h"
#include "indexing.h"
#include "interrupt.h"
#include "model.h"
#include "progress.h"
#include "table.h"
#include <string.h>

static const struct arg_spec model_args[] = {
    {"WHAT", "list|add|check|bench|get", ARG_ONE, false,
     "list those that have a name; add one from a folder; check one; bench: how fast it is here; "
     "get "
     "one from a hub"},
    {"MODEL", NULL, ARG_OPTIONAL, true,
     "add: a folder; check and bench: a name, or a folder with a '/' in its path; get: what the "
     "hub "
     "calls it, as sentence-transformers/all-MiniLM-L6-v2"},
    {0}};

static const struct option_spec model_options[] = {
    {.name = "as",
     .value = "NAME",
     .help = "add, get: the name that it gets here; default the last part of its own"},
    {.name = "endpoint",
     .value = "URL",
     .help = "get: the hub, or a mirror of it; default the one that HF_ENDPOINT names, else "
             "https://huggingface.co"},
    {.name = "revision", .value = "REV", .help = "get: a branch, tag or commit; default main"},
    {0}};

static const struct example model_examples[] = {
    {"u2i model get sentence-transformers/all-MiniLM-L6-v2",
     "downloads it; once more after an interruption goes on where it was"},
    {"u2i init shop.db --model all-MiniLM-L6-v2", "a store whose texts it embeds"},
    {"u2i model add ~/downloads/bge-small-en-v1.5 --as bge-small", "a folder gets a name"},
    {"u2i model check ./bge-small-en-v1.5", "can u2i load it, and what does it find there?"},
    {"u2i model list --json", "names, paths and sizes, for a script"},
    {0}};

/* ---- What a model is ---------------------------------------------------------------------------- */

static void model_add_json(struct text *line, const u2i_model_t *m, bool all) {
    text_char(line, '{');
    text_json_member(line, "name", m->name);
    text_json_member(line, "path", m->path);
    text_json_member_int(line, "bytes", (long long)m->bytes);
    if (all) {
        text_json_member(line, "model", m->model);
        text_json_member_int(line, "dim", m->dim);
        text_json_member_int(line, "layers", m->layers);
        text_json_member_int(line, "tokens_max", m->tokens_max);
        text_json_member_int(line, "vocabulary", m->vocabulary);
        text_json_member(line, "pooling", m->pooling);
        text_json_member(line, "weights", m->weights);
        text_json_member(line, "precision", m->precision);
        text_json_member_real(line, "parity", m->parity);
    }
    text_char(line, '}');
}

static int model_print_json(const struct cli *cli, const u2i_model_t *m, bool all) {
    struct text line = {0};
    model_add_json(&line, m, all);
    const int code = cli_print_line(cli, &line);
    text_free(&line);
    return code;
}

/* A model that is in order, line by line what was looked at. */
static int model_print(const struct cli *cli, const u2i_model_t *m) {
    struct text line = {0};
    display_clean(&line, m->path, strlen(m->path));
    text_str(&line, ": ");
    indexing_bytes(&line, m->bytes);
    text_fmt(&line, "\n  ok  BERT with %u layers, vectors of %u, in a store: %s\n", m->layers,
             m->dim, m->model);
    text_str(&line, "  ok  a vocabulary of ");
    text_count(&line, m->vocabulary);
    text_fmt(&line, " tokens; texts of more than %u are cut\n", m->tokens_max);
    text_fmt(&line, "  ok  pooling %s\n", m->pooling);
    text_fmt(&line, "  ok  weights in %s: all there, and all finite\n", m->weights);
    text_fmt(&line, "  ok  this machine embeds in %s", m->precision);
    if (m->parity > 0) {
        text_fmt(&line, ": the mean cosine of int8 vectors with those in f32 is %.4f", m->parity);
    }
    const int code = cli_print_line(cli, &line);
    text_free(&line);
    return code;
}

/* What was done to a model, and what to do with it. */
static int model_print_next(const struct cli *cli, const u2i_model_t *m, const struct text *done) {
    struct text line = {0};
    text_fmt(&line, "%s: %s in ", m->name, text_cstr(done));
    display_clean(&line, m->path, strlen(m->path));
    text_fmt(&line, "\nNext: u2i init STORE --model %s", m->name);
    const int code = text_ok(done) ? cli_print_line(cli, &line) : cli_no_memory();
    text_free(&line);
    return code;
}

/* ---- list --------------------------------------------------------------------------------------- */

struct model_output {
    const struct cli *cli;
    bool json;
    int code;
    struct table table;
};

static int model_on_model(void *ctx, const u2i_model_t *m) {
    struct model_output *const out = ctx;
    struct text bytes = {0};
    if (out->json) {
        out->code = model_print_json(out->cli, m, false);
        return out->code != CLI_OK;
    }
    indexing_bytes(&bytes, m->bytes);
    table_cell(&out->table, m->name);
    table_cell(&out->table, text_cstr(&bytes));
    table_cell(&out->table, m->path);
    text_free(&bytes);
    return 0;
}

static int model_list(const struct cli *cli, bool json) {
    static const struct table_column columns[] = {
        {"model", false, false}, {"size", true, false}, {"path", false, true}};
    struct model_output out = {.cli = cli, .json = json};
    u2i_error_t err;
    table_init(&out.table, columns, sizeof columns / sizeof *columns);
    if (u2i_scan_models(model_on_model, &out, &err) != U2I_OK) {
        out.code = cli_fail(&err, "model list");
    } else if (!json && table_rows(&out.table) == 0) {
        (void)fputs("no models yet; u2i model get sentence-transformers/all-MiniLM-L6-v2 fetches "
                    "one\n",
                    cli->out);
    } else if (!json && table_print(&out.table, cli->out, cli->display) != 0) {
        out.code = cli_no_memory();
    }
    table_free(&out.table);
    return out.code;
}

/* ---- add, check --------------------------------------------------------------------------------- */

static int model_add(const struct cli *cli, const struct args *args, const char *folder) {
    u2i_model_t m = U2I_MODEL_INIT;
    u2i_error_t err;
    struct text done = {0};
    if (u2i_model_add(folder, args_value(args, "as"), &m, &err) != U2I_OK) {
        return cli_fail(&err, "model add");
    }
    if (args_has(args, "json")) {
        return model_print_json(cli, &m, true);
    }
    indexing_bytes(&done, m.bytes);
    const int code = model_print_next(cli, &m, &done);
    text_free(&done);
    return code;
}

static int model_check(const struct cli *cli, const char *model, bool json) {
    u2i_model_t m = U2I_MODEL_INIT;
    u2i_error_t err;
    if (u2i_model_check(model, &m, &err) != U2I_OK) {
        return cli_fail(&err, "model check");
    }
    return json ? model_print_json(cli, &m, true) : model_print(cli, &m);
}

/* ---- get ---------------------------------------------------------------------------------------- */

struct model_bar {
    struct progress progress;
    const char *name;
    const volatile sig_atomic_t *stop;
    uint64_t before, done; /* bytes that were there when it began, and that are there */
    bool begun;
};

static int model_show(void *ctx, uint64_t done, uint64_t total) {
    struct model_bar *const bar = ctx;
    if (total > 0) {
        bar->before = bar->begun ? bar->before : done;
        bar->begun = true;
        bar->done = done;
        progress_bytes(&bar->progress, bar->name, bar->before, done, total);
    }
    return *bar->stop != 0;
}

static void model_say_fetched(struct text *out, const struct model_bar *bar, double seconds) {
    if (bar->done == bar->before) {
        text_str(out, "was there already,");
        return;
    }
    const uint64_t bytes = bar->done - bar->before;
    indexing_bytes(out, bytes);
    text_fmt(out, " fetched in %.1f s (%.1f MB/s), checked, and put", seconds,
             (double)bytes / 1e6 / seconds);
}

static int model_get(const struct cli *cli, const struct args *args, const char *name) {
    u2i_model_get_options_t opt = U2I_MODEL_GET_OPTIONS_INIT;
    u2i_model_t m = U2I_MODEL_INIT;
    u2i_error_t err;
    struct model_bar bar = {.name = name, .stop = interrupt_watch()};
    struct text done = {0};
    opt.endpoint = args_value(args, "endpoint");
    opt.revision = args_value(args, "revision");
    opt.as = args_value(args, "as");
    opt.progress = model_show;
    opt.ctx = &bar;
    progress_start(&bar.progress);
    const int rc = u2i_model_get(name, &opt, &m, &err);
    progress_clear(&bar.progress);
    const double seconds = progress_seconds(&bar.progress);
    if (rc == U2I_ETIMEOUT && *bar.stop != 0) {
        cli_error("interrupted; what has arrived is kept, and the same command goes on with it");
        return CLI_INTERRUPTED;
    }
    if (rc != U2I_OK) {
        return cli_fail(&err, "model get");
    }
    if (args_has(args, "json")) {
        return model_print_json(cli, &m, true);
    }
    model_say_fetched(&done, &bar, seconds);
    const int code = model_print_next(cli, &m, &done);
    text_free(&done);
    return code;
}

/* ---- The command -------------------------------------------------------------------------------- */

/* Options that belong to another word would be passed over in silence. */
static int model_check_words(const struct args *args, const char *what) {
    const bool get = strcmp(what, "get") == 0, add = strcmp(what, "add") == 0;
    const bool list = strcmp(what, "list") == 0;
    if (args->words_n != (list ? 1 : 2)) {
        cli_error("write u2i model %s%s", what,
                  list  ? ""
                  : add ? " FOLDER"
                  : get ? " ORG/NAME"
                        : " MODEL");
        return CLI_USAGE;
    }
    if (args_has(args, "as") && !get && !add) {
        cli_error("--as is for u2i model add and get");
        return CLI_USAGE;
    }
    if ((args_has(args, "endpoint") || args_has(args, "revision")) && !get) {
        cli_error("--endpoint and --revision are for u2i model get");
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int model_run(struct cli *cli, const struct args *args) {
    const char *const what = args_word(args, 0), *const model = args_word(args, 1);
    const bool json = args_has(args, "json");
    const int code = model_check_words(args, what);
    if (code != CLI_OK) {
        return code;
    }
    if (strcmp(what, "list") == 0) {
        return model_list(cli, json);
    }
    if (strcmp(what, "add") == 0) {
        return model_add(cli, args, model);
    }
    if (strcmp(what, "get") == 0) {
        return model_get(cli, args, model);
    }
    return strcmp(what, "check") == 0 ? model_check(cli, model, json)
                                      : model_bench(cli, model, json);
}

const struct command cmd_model = {
    .name = "model",
    .summary = "models that make vectors of text: fetch, check, measure",
    .about =
        "A model is a folder as Hugging Face has it (BERT: bge, MiniLM, e5, gte). Those in the\n"
        "models' home ($U2I_MODELS, else $XDG_DATA_HOME/u2i/models, else\n"
        "~/.local/share/u2i/models) have a name, which u2i init --model takes; any other one is\n"
        "called by its path. To delete one, delete its folder.\n"
        "get takes only the files that are needed, checks their sizes and checksums, loads the\n"
        "model, and only then puts it there; ^C keeps what has arrived. HF_TOKEN is sent to the\n"
        "hub, for private models.\n",
    .args = model_args,
    .options = {model_options, cli_json_options, cli_common_options},
    .examples = model_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER, CLI_INTERRUPTED},
    .run = model_run};
