/* u2i delete: items or users by id. */
#include "commands.h"
#include <stdlib.h>
#include <string.h>

#define DELETE_IDS_MAX_BYTES (256u << 20)

static const struct arg_spec delete_args[] = {
    CLI_STORE_ARG,
    {"KIND", "item|user", ARG_ONE, false, "item or user"},
    {"ID", NULL, ARG_SOME, false, "which; - reads ids from stdin, one per line"},
    {0}};

static const struct example delete_examples[] = {
    {"u2i delete shop.db item b12 b13", "two items; their events stay in the log"},
    {"u2i delete shop.db user u7", "a user, with all events and the profile"},
    {"u2i delete shop.db item - < sold-out.txt", "many, from a file"},
    {0}};

struct delete_job {
    u2i_t *store;
    bool users;
    size_t deleted, missing;
};

static int delete_one(struct delete_job *job, const char *id) {
    u2i_error_t err;
    size_t deleted = 0;
    const int rc = job->users ? u2i_delete_user(job->store, id, &err)
                              : u2i_delete_items(job->store, &id, 1, &deleted, &err);
    if (rc != U2I_OK && rc != U2I_ENOTFOUND) {
        return cli_fail(&err, id);
    }
    if (rc == U2I_ENOTFOUND || (!job->users && deleted == 0)) {
        cli_error("there is no %s '%s'", job->users ? "user" : "item", id);
        job->missing++;
    } else {
        job->deleted++;
    }
    return CLI_OK;
}

static int delete_from_stdin(struct delete_job *job) {
    struct text ids = {0};
    char *rest = NULL;
    int code = cli_read_file("-", DELETE_IDS_MAX_BYTES, &ids);
    if (code == CLI_OK && ids.p != NULL) {
        for (char *id = strtok_r(ids.p, "\r\n", &rest); code == CLI_OK && id != NULL;
             id = strtok_r(NULL, "\r\n", &rest)) {
            code = delete_one(job, id);
        }
    }
    text_free(&ids);
    return code;
}

static int delete_run(struct cli *cli, const struct args *args) {
    struct delete_job job = {.users = strcmp(args_word(args, 1), "user") == 0};
    int code = cli_open(args, U2I_OPEN_EXISTING, &job.store);
    for (size_t i = 2; code == CLI_OK && i < args->words_n; i++) {
        code = strcmp(args->words[i], "-") == 0 ? delete_from_stdin(&job)
                                                : delete_one(&job, args->words[i]);
    }
    if (job.store != NULL && args_has(args, "json")) {
        (void)fprintf(cli->out, "{\"deleted\":%zu,\"not_found\":%zu}\n", job.deleted, job.missing);
    } else if (job.store != NULL) {
        (void)fprintf(cli->out, "%zu deleted\n", job.deleted);
    }
    if (code == CLI_OK && job.missing > 0) {
        code = CLI_NOTFOUND;
    }
    return cli_close(job.store, code);
}

const struct command cmd_delete = {
    .name = "delete",
    .summary = "delete items or users",
    .about =
        "Ids that do not exist are named, and the rest is deleted all the same; then the exit\n"
        "code is 3.\n",
    .args = delete_args,
    .options = {cli_json_options, cli_common_options},
    .examples = delete_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = delete_run};
