/* u2i popular: what others act on. */
#include "commands.h"
#include "query.h"

static const struct arg_spec popular_args[] = {CLI_STORE_ARG, {0}};

static const struct example popular_examples[] = {
    {"u2i popular shop.db", "the ten most popular items"},
    {"u2i popular shop.db --for u7 --filter 'category == \"book\"'", "books that u7 has not seen"},
    {0}};

static int popular_run(struct cli *cli, const struct args *args) {
    struct query q;
    u2i_t *store = NULL;
    u2i_result_t *r;
    u2i_error_t err;
    int code = query_init(&q, args);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    }
    if (code == CLI_OK) {
        q.q.user = args_value(args, "for");
        code = u2i_popular(store, &q.q, &r, &err) == U2I_OK ? query_print_items(cli, args, r)
                                                            : query_fail(&q, &err, "popular");
    }
    query_free(&q);
    return cli_close(store, code);
}

const struct command cmd_popular = {
    .name = "popular",
    .summary = "what others act on",
    .about = "Long-term and recent counts of events, blended; older events count less. The score\n"
             "is 1 for the most popular item of all.\n",
    .args = popular_args,
    .options = {query_for_options, query_options, cli_json_options, cli_common_options},
    .examples = popular_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = popular_run};
