/* u2i search: items by text, or by a vector. */
#include "commands.h"
#include "query.h"
#include "values.h"
#include <stdlib.h>
#include <string.h>

#define SEARCH_VECTOR_BYTES (1u << 20)

static const struct arg_spec search_args[] = {
    CLI_STORE_ARG,
    {"TEXT", NULL, ARG_OPTIONAL, false, "what to look for; - reads it from stdin"},
    {0}};

static const struct option_spec search_options[] = {
    {.name = "vector",
     .value = "LIST",
     .help = "search by vector: [0.1, -2, ...], or @FILE with such a list"},
    {0}};

static const struct example search_examples[] = {
    {"u2i search shop.db 'warm winter jacket'", "the ten items whose text is nearest"},
    {"u2i search vectors.db --vector @query.json -n 3", "the three nearest to a vector"},
    {0}};

static int search_read_vector(const char *given, u2i_t *store, struct query *q) {
    u2i_stats_t stats = U2I_STATS_INIT;
    u2i_error_t err;
    struct text file = {0};
    int code = CLI_OK;
    if (u2i_stats(store, &stats, &err) != U2I_OK) {
        return cli_fail(&err, "reading the store");
    }
    if (given[0] == '@' || strcmp(given, "-") == 0) {
        code = cli_read_file(given + (given[0] == '@'), SEARCH_VECTOR_BYTES, &file);
    }
    q->vector = calloc((size_t)stats.dim + 1, sizeof *q->vector);
    if (code == CLI_OK && q->vector == NULL) {
        code = cli_no_memory();
    }
    if (code == CLI_OK) {
        const long n = values_floats(file.p != NULL ? file.p : given, q->vector, stats.dim);
        if (n < 0) {
            cli_error("--vector: a list of finite numbers is expected, like [0.1, -2]");
            code = CLI_USAGE;
        } else if ((uint64_t)n != stats.dim) {
            cli_error("--vector: %ld numbers, but the store's vectors have %u", n, stats.dim);
            code = CLI_USAGE;
        }
    }
    text_free(&file);
    q->q.vector = q->vector;
    return code;
}

static int search_ask(const struct cli *cli, const struct args *args, u2i_t *store,
                      struct query *q) {
    const char *const text = args_word(args, 1);
    struct text typed = {0};
    u2i_result_t *r;
    u2i_error_t err;
    int code = CLI_OK;
    if (text == NULL) {
        code = search_read_vector(args_value(args, "vector"), store, q);
    } else if (strcmp(text, "-") == 0) {
        code = cli_read_file("-", U2I_TEXT_MAX_BYTES, &typed);
    }
    if (code == CLI_OK) {
        q->q.text = typed.p != NULL ? typed.p : text;
        q->q.user = args_value(args, "for");
        code = u2i_search(store, &q->q, &r, &err) == U2I_OK ? query_print_items(cli, args, r)
                                                            : query_fail(q, &err, "search");
    }
    text_free(&typed);
    return code;
}

static int search_run(struct cli *cli, const struct args *args) {
    struct query q;
    u2i_t *store = NULL;
    if ((args_word(args, 1) != NULL) == args_has(args, "vector")) {
        cli_error("search needs a TEXT or --vector LIST, one of them");
        return CLI_USAGE;
    }
    int code = query_init(&q, args);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    }
    if (code == CLI_OK) {
        code = search_ask(cli, args, store, &q);
    }
    query_free(&q);
    return cli_close(store, code);
}

const struct command cmd_search = {
    .name = "search",
    .summary = "find items by text or by vector",
    .about =
        "The score is a cosine. A store that was made for vectors (init --dim) is searched by\n"
        "vector only.\n",
    .args = search_args,
    .options = {search_options, query_for_options, query_options, cli_json_options,
                cli_common_options},
    .examples = search_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = search_run};
