/* u2i record: one event. Its arguments come in the order of the struct and of the CSV columns: user,
 * item, action. */
#include "commands.h"
#include "times.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct arg_spec record_args[] = {
    CLI_STORE_ARG,
    {"USER", NULL, ARG_ONE, false, "who; a new user is made"},
    {"ITEM", NULL, ARG_ONE, false, "to which item"},
    {"ACTION", NULL, ARG_ONE, false, "what they did: view, click, like, purchase, dislike, ..."},
    {0}};

static const struct option_spec record_options[] = {
    {.name = "time",
     .letter = 't',
     .value = "TIME",
     .help = "when: Unix seconds or milliseconds, or 2024-05-17T08:30:00Z; now when left out"},
    {.name = "value", .value = "X", .help = "multiplies the action's weight, e.g. a rating"},
    {.name = "id", .value = "ID", .help = "an event id: recording it again changes nothing"},
    {0}};

static const struct example record_examples[] = {
    {"u2i record shop.db u7 b12 purchase", "u7 has just bought b12"},
    {"u2i record shop.db u7 b3 view --time 2024-05-17T08:30:00Z", "something from before"},
    {0}};

static int record_read(const struct args *args, u2i_event_t *event) {
    const char *const time = args_value(args, "time"), *const value = args_value(args, "value");
    event->user = args_word(args, 1);
    event->item = args_word(args, 2);
    event->action = args_word(args, 3);
    event->id = args_value(args, "id");
    if (time != NULL && (!times_parse(time, TIME_AUTO, &event->time_ms) || event->time_ms == 0)) {
        cli_error("--time %s is not a time; write Unix seconds or milliseconds, or "
                  "2024-05-17T08:30:00Z",
                  time);
        return CLI_USAGE;
    }
    if (value != NULL) {
        char *end;
        event->value = strtof(value, &end);
        if (end == value || *end != '\0' || !isfinite(event->value) || event->value <= 0) {
            cli_error("--value %s is not a number over 0", value);
            return CLI_USAGE;
        }
    }
    return CLI_OK;
}

static int record_run(struct cli *cli, const struct args *args) {
    u2i_event_t event = {0};
    u2i_t *store = NULL;
    u2i_error_t err;
    size_t recorded = 0;
    int code = record_read(args, &event);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING, &store);
    }
    if (code == CLI_OK && u2i_record(store, &event, 1, sizeof event, &recorded, &err) != U2I_OK) {
        code = cli_fail(&err, "record");
    }
    if (code == CLI_OK && args_has(args, "json")) {
        (void)fprintf(cli->out, "{\"recorded\":%zu}\n", recorded);
    } else if (code == CLI_OK && recorded == 0) {
        cli_warn("an event with this id was there already; nothing has changed");
    }
    return cli_close(store, code);
}

const struct command cmd_record = {
    .name = "record",
    .summary = "record that a user did something to an item",
    .about = "When it returns, the event is on disk and counts in the next recommendation.\n"
             "For many events use u2i import.\n",
    .args = record_args,
    .options = {record_options, cli_json_options, cli_common_options},
    .examples = record_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = record_run};
