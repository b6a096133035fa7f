/* u2i recommend: what should this user see next? With --session also for a visitor without a name. */
#include "commands.h"
#include "query.h"
#include "times.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RECOMMEND_RULES_MAX_BYTES (1u << 20)

static const struct arg_spec recommend_args[] = {
    CLI_STORE_ARG,
    {"USER", NULL, ARG_OPTIONAL, false,
     "whose; an unknown user is a cold start; not needed with --session"},
    {0}};

static const struct option_spec recommend_options[] = {
    {.name = "interests",
     .letter = 'i',
     .value = "TEXT",
     .help = "free text that stands in for a history, while there is none"},
    {.name = "session",
     .value = "ITEM[:ACTION],...",
     .many = true,
     .help = "what a visitor has just done, oldest first, beside USER's events; it counts for this "
             "answer only. Without ACTION it is a view"},
    {.name = "at", .value = "TIME", .help = "as if it were TIME; default now"},
    {.name = "diversity",
     .value = "X",
     .help = "0 to 1: how much alike items push each other down; default as the setting says"},
    {.name = "rules", .value = "TEXT", .help = "further ranking rules, one a line"},
    {.name = "rules-file",
     .value = "FILE",
     .file = true,
     .help = "the same from a file; - is stdin"},
    {.name = "keep-seen", .help = "also show what the user has already acted on"},
    {.name = "no-reasons", .help = "leave out which of the user's items speaks for each"},
    {0}};

static const struct example recommend_examples[] = {
    {"u2i recommend shop.db u7", "ten items that u7 has not acted on, and why each"},
    {"u2i recommend shop.db u7 -n 5 " QUERY_FILTER_EXAMPLE,
     "only books under 20; values are passed apart from the expression"},
    {"u2i recommend shop.db newcomer --interests 'space opera, robots' --json",
     "a user without history, as JSON lines"},
    {"u2i recommend shop.db --session b1:view,b2:add_cart --explain",
     "a visitor without a name, and what every score is made of"},
    {"u2i recommend shop.db u7 --diversity 0.5 --rules 'boost price < 20 by 1.2'",
     "a list less of one kind, cheap items first"},
    {0}};

/* ---- The question ----------------------------------------------------------------------------- */

struct recommend {
    struct query query;
    struct text session_text, rules; /* what q points into */
    u2i_event_t *session;
};

/* Adds the events of one "ITEM:ACTION,ITEM,..."; the text is cut apart in place. An id may have colons:
 * the last one counts. */
static int recommend_add_session(struct recommend *r, char *list) {
    char *rest = NULL;
    for (char *piece = strtok_r(list, ",", &rest); piece != NULL;
         piece = strtok_r(NULL, ",", &rest)) {
        char *const colon = strrchr(piece, ':');
        u2i_event_t *const event = &r->session[r->query.q.session_n++];
        if (colon == piece || (colon != NULL && colon[1] == '\0')) {
            cli_error("--session %s: write ITEM or ITEM:ACTION, with commas between them", piece);
            return CLI_USAGE;
        }
        *event = (u2i_event_t){.item = piece, .action = colon == NULL ? "view" : colon + 1};
        if (colon != NULL) {
            *colon = '\0';
        }
    }
    return CLI_OK;
}

/* The lists one after another, NUL-terminated, in one text, so that they can be cut apart. */
static int recommend_init_session(struct recommend *r, const struct args *args) {
    const char *list;
    size_t room = 1;
    for (size_t at = 0; (list = args_each(args, "session", &at)) != NULL;) {
        text_add(&r->session_text, list, strlen(list) + 1);
    }
    for (size_t i = 0; i < r->session_text.n; i++) {
        room += r->session_text.p[i] == ',' || r->session_text.p[i] == '\0';
    }
    r->session = calloc(room, sizeof *r->session);
    if (r->session == NULL || !text_ok(&r->session_text)) {
        return cli_no_memory();
    }
    int code = CLI_OK;
    for (size_t at = 0; code == CLI_OK && at < r->session_text.n;) {
        char *const start = r->session_text.p + at;
        at += strlen(start) + 1;
        code = recommend_add_session(r, start);
    }
    /* The order in which they are given is the order of time: a millisecond apart, the last one now. */
    const size_t n = r->query.q.session_n;
    const int64_t now_ms = r->query.q.time_ms > 0 ? r->query.q.time_ms : (int64_t)time(NULL) * 1000;
    for (size_t i = 0; i < n; i++) {
        r->session[i].time_ms = now_ms - (int64_t)(n - 1 - i);
    }
    r->query.q.session = n > 0 ? r->session : NULL;
    return code;
}

static int recommend_init_rules(struct recommend *r, const struct args *args) {
    const char *const file = args_value(args, "rules-file"), *const text =
                                                                 args_value(args, "rules");
    if (file != NULL) {
        const int code = cli_read_file(file, RECOMMEND_RULES_MAX_BYTES, &r->rules);
        if (code != CLI_OK) {
            return code;
        }
        text_char(&r->rules, '\n');
    }
    text_str(&r->rules, text != NULL ? text : "");
    r->query.q.rules = file != NULL || text != NULL ? text_cstr(&r->rules) : NULL;
    return text_ok(&r->rules) ? CLI_OK : cli_no_memory();
}

static int recommend_init(struct recommend *r, const struct args *args) {
    u2i_query_t *const q = &r->query.q;
    const char *const at = args_value(args, "at");
    int code = query_init(&r->query, args);
    if (code == CLI_OK && args_word(args, 1) == NULL && !args_has(args, "session")) {
        cli_error("recommend needs USER, or --session for a visitor without a name; see u2i "
                  "recommend --help");
        code = CLI_USAGE;
    }
    if (code == CLI_OK && at != NULL && !times_parse(at, TIME_AUTO, &q->time_ms)) {
        cli_error("--at %s is not a time (Unix seconds or milliseconds, or 2024-05-17T08:30:00Z)",
                  at);
        code = CLI_USAGE;
    }
    if (code == CLI_OK && args_has(args, "diversity")) {
        code = args_real(args, "diversity", 0, 1, &q->diversity);
    }
    code = code == CLI_OK ? recommend_init_session(r, args) : code;
    code = code == CLI_OK ? recommend_init_rules(r, args) : code;
    q->user = args_word(args, 1);
    q->interests = args_value(args, "interests");
    q->flags |= args_has(args, "keep-seen") ? U2I_KEEP_SEEN : 0;
    q->flags |= args_has(args, "no-reasons") ? U2I_NO_REASONS : 0;
    return code;
}

static void recommend_free(struct recommend *r) {
    query_free(&r->query);
    text_free(&r->session_text);
    text_free(&r->rules);
    free(r->session);
}

static int recommend_run(struct cli *cli, const struct args *args) {
    struct recommend r = {.session = NULL};
    u2i_t *store = NULL;
    u2i_result_t *result;
    u2i_error_t err;
    int code = recommend_init(&r, args);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    }
    if (code == CLI_OK) {
        code = u2i_recommend(store, &r.query.q, &result, &err) == U2I_OK
                   ? query_print_items(cli, args, result)
                   : query_fail(&r.query, &err, "recommend");
    }
    recommend_free(&r);
    return cli_close(store, code);
}

const struct command cmd_recommend = {
    .name = "recommend",
    .summary = "what should this user see next",
    .about = "After a training (u2i train) items are ranked by what everybody did: the parts of a "
             "score\n"
             "are shown by --explain, and add up to it. Before it, the profile of the user's "
             "events ranks\n"
             "by content. Without history the interests count, then the user's attributes, then "
             "what is\n"
             "popular. Fewer than --limit items come only when fewer pass the filter, the "
             "exclusions and\n"
             "the rules.\n",
    .args = recommend_args,
    .options = {recommend_options, query_options, cli_json_options, cli_common_options},
    .examples = recommend_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = recommend_run};
