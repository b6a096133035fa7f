/* u2i verify: is the store sound? */
#include "commands.h"

static const struct arg_spec verify_args[] = {CLI_STORE_ARG, {0}};

static const struct example verify_examples[] = {
    {"u2i verify shop.db && cp shop.db backup/", "copies it only if it is sound"}, {0}};

struct verify_output {
    const struct cli *cli;
    bool json;
};

static void verify_on_fault(void *ctx, const char *where, const char *what) {
    const struct verify_output *const out = ctx;
    struct text line = {0};
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

static int verify_run(struct cli *cli, const struct args *args) {
    struct verify_output out = {cli, args_has(args, "json")};
    u2i_t *store;
    u2i_error_t err;
    size_t faults = 0;
    int code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    if (code != CLI_OK) {
        return code;
    }
    if (u2i_verify(store, verify_on_fault, &out, &faults, &err) != U2I_OK) {
        code = cli_fail(&err, "verify");
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
        "Prints each fault with its place. Nothing is changed. A file that cannot be opened at\n"
        "all is exit code 1.\n",
    .args = verify_args,
    .options = {cli_json_options, cli_common_options},
    .examples = verify_examples,
    .exits = {CLI_NOTFOUND, CLI_FAULTS, CLI_LATER},
    .run = verify_run};
