/* u2i similar: the nearest items to an item, or the nearest users to a user. */
#include "commands.h"
#include "query.h"

static const struct arg_spec similar_args[] = {CLI_STORE_ARG, {0}};

static const struct option_spec similar_options[] = {
    {.name = "item", .value = "ID", .help = "items similar to this one"},
    {.name = "user", .value = "ID", .help = "users with a taste like this one's"},
    {.name = "for", .value = "USER", .help = "leave out what this user has already acted on"},
    {0}};

static const struct example similar_examples[] = {
    {"u2i similar shop.db --item b12", "items whose content is nearest to b12"},
    {"u2i similar shop.db --item b12 --for u7 --filter 'price < 20'", "of these, new to u7, cheap"},
    {"u2i similar shop.db --user u7", "users whose profile is nearest"},
    {0}};

static int similar_ask(const struct cli *cli, const struct args *args, u2i_t *store,
                       struct query *q) {
    u2i_result_t *r;
    u2i_error_t err;
    if (args_has(args, "user")) {
        q->q.user = args_value(args, "user");
        return u2i_similar_users(store, &q->q, &r, &err) == U2I_OK
                   ? query_print_users(cli, args, r)
                   : query_fail(q, &err, "similar users");
    }
    q->q.item = args_value(args, "item");
    q->q.user = args_value(args, "for");
    return u2i_similar_items(store, &q->q, &r, &err) == U2I_OK
               ? query_print_items(cli, args, r)
               : query_fail(q, &err, "similar items");
}

static int similar_run(struct cli *cli, const struct args *args) {
    struct query q;
    u2i_t *store = NULL;
    if (args_has(args, "item") == args_has(args, "user")) {
        cli_error("similar needs --item ID or --user ID, one of them");
        return CLI_USAGE;
    }
    int code = query_init(&q, args);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    }
    if (code == CLI_OK) {
        code = similar_ask(cli, args, store, &q);
    }
    query_free(&q);
    return cli_close(store, code);
}

const struct command cmd_similar = {
    .name = "similar",
    .summary = "items like an item, or users like a user",
    .about = "Items are compared by their content, users by their profiles; the filter applies to\n"
             "items only. A user without profile has no similar users.\n",
    .args = similar_args,
    .options = {similar_options, query_options, cli_json_options, cli_common_options},
    .examples = similar_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = similar_run};
