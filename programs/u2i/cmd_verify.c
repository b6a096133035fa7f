/* u2i verify: is the store sound? */
#include "commands.h"
#include <string.h>

static const struct arg_spec verify_args[] = {CLI_STORE_ARG, {0}};

static const struct example verify_examples[] = {
    {"u2i verify shop.db && cp shop.db backup/", "copies it only if it is sound"}, {0}};

struct verify_output {
    const struct cli *cli;
    bool json;
    size_t index_faults;
};

static void verify_on_fault(void *ctx, const char *where, const char *what) {
    struct verify_output *const out = ctx;
    struct text line = {0};
    out->index_faults += strstr(where, "-index/") != NULL;
    if (out->json) {
        text_char(&line, '{');
        text_json_member(&line, "where", where);
        text_json_member(&line, "fault", what);
        text_char(&line, '}');
    } else {
        text_fmt(&line, "%s: %s", where, what);
        struct text clean = {0};
        display_clean(&clean, text_cstr(&line), line.n);
        text_free(&line);
        line = clean;
    }
    (void)cli_print_line(out->cli, &line); /* out of memory is told; the count is right anyway */
    text_free(&line);
}

/* A store that is too damaged to be opened has one fault: that one. The library's advice is to run
 * what is being run. */
static int verify_refuse_open(struct verify_output *out, const char *path, u2i_error_t *err) {
    char *const advice = strstr(err->msg, "; the file is damaged");
    if (err->code == U2I_ENOTFOUND) {
        cli_error("%s: there is no such store; u2i init %s makes one", path, path);
        return CLI_NOTFOUND;
    }
    if (err->code != U2I_ECORRUPT) {
        const int code = cli_fail(err, path);
        return code == CLI_LATER ? CLI_LATER : CLI_ERROR;
    }
    if (advice != NULL) {
        *advice = '\0';
    }
    verify_on_fault(out, "file", err->msg);
    cli_error("1 fault, and the store cannot be opened with it; restore a backup");
    return CLI_FAULTS;
}

static int verify_run(struct cli *cli, const struct args *args) {
    struct verify_output out = {cli, args_has(args, "json"), 0};
    const char *const path = cli_store_path(args);
    u2i_options_t opt = U2I_OPTIONS_INIT; /* without a log: what it would say are the faults */
    u2i_t *store = NULL;
    u2i_error_t err;
    size_t faults = 0;
    int code = CLI_OK;
    if (path == NULL) {
        return CLI_USAGE;
    }
    opt.flags = U2I_OPEN_EXISTING | U2I_OPEN_READONLY;
    if (u2i_open(path, &opt, &store, &err) != U2I_OK) {
        return verify_refuse_open(&out, path, &err);
    }
    if (u2i_verify(store, verify_on_fault, &out, &faults, &err) != U2I_OK) {
        code = cli_fail(&err, "verify");
    } else if (faults > 0 && faults == out.index_faults) {
        cli_error("%zu %s, in the index only: delete the folder %s-index, and it is made anew",
                  faults, faults == 1 ? "fault" : "faults", path);
        code = CLI_FAULTS;
    } else if (faults > 0) {
        cli_error("%zu %s; restore a backup, or export what can be read (u2i export)", faults,
                  faults == 1 ? "fault" : "faults");
        code = CLI_FAULTS;
    } else if (!out.json) {
        (void)fputs("no faults\n", cli->out);
    }
    return cli_close(store, code);
}

const struct command cmd_verify = {
    .name = "verify",
    .summary = "check every page, vector, text and reference of a store",
    .about =
        "Prints each fault with its place. Nothing is changed. A file that is too damaged to be\n"
        "opened, or no store, is a fault too.\n",
    .args = verify_args,
    .options = {cli_json_options, cli_common_options},
    .examples = verify_examples,
    .exits = {CLI_NOTFOUND, CLI_FAULTS, CLI_LATER},
    .run = verify_run};
