/* u2i recommend: what should this user see next? */
#include "commands.h"
#include "query.h"

static const struct arg_spec recommend_args[] = {
    CLI_STORE_ARG, {"USER", NULL, ARG_ONE, false, "whose; an unknown user is a cold start"}, {0}};

static const struct option_spec recommend_options[] = {
    {.name = "interests",
     .letter = 'i',
     .value = "TEXT",
     .help = "free text that stands in for a history, while there is none"},
    {.name = "keep-seen", .help = "also show what the user has already acted on"},
    {.name = "no-reasons", .help = "leave out which of the user's items speaks for each"},
    {0}};

static const struct example recommend_examples[] = {
    {"u2i recommend shop.db u7", "ten items that u7 has not acted on, and why each"},
    {"u2i recommend shop.db u7 -n 5 " QUERY_FILTER_EXAMPLE,
     "only books under 20; values are passed apart from the expression"},
    {"u2i recommend shop.db newcomer --interests 'space opera, robots' --json",
     "a user without history, as JSON lines"},
    {0}};

static int recommend_run(struct cli *cli, const struct args *args) {
    struct query q;
    u2i_t *store = NULL;
    u2i_result_t *r;
    u2i_error_t err;
    int code = query_init(&q, args);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    }
    if (code == CLI_OK) {
        q.q.user = args_word(args, 1);
        q.q.interests = args_value(args, "interests");
        q.q.flags |= args_has(args, "keep-seen") ? U2I_KEEP_SEEN : 0;
        q.q.flags |= args_has(args, "no-reasons") ? U2I_NO_REASONS : 0;
        code = u2i_recommend(store, &q.q, &r, &err) == U2I_OK ? query_print_items(cli, args, r)
                                                              : query_fail(&q, &err, "recommend");
    }
    query_free(&q);
    return cli_close(store, code);
}

const struct command cmd_recommend = {
    .name = "recommend",
    .summary = "what should this user see next",
    .about =
        "Items are ranked by the profile of the user's events. Without history the interests\n"
        "count, then the user's attributes, then what is popular. A score is a cosine, or, for\n"
        "popular items, a share of the most popular one. Fewer than --limit items come only\n"
        "when fewer pass the filter and the exclusions.\n",
    .args = recommend_args,
    .options = {recommend_options, query_options, cli_json_options, cli_common_options},
    .examples = recommend_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = recommend_run};
