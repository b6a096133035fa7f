/* u2i events: what a user did, newest first. Events are collected first and their items' titles read
 * after, since a scan is one moment of the store. */
#include "commands.h"
#include "pool.h"
#include "table.h"
#include "times.h"
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 1000000

static const struct arg_spec events_args[] = {
    CLI_STORE_ARG, {"USER", NULL, ARG_ONE, false, "whose events"}, {0}};

static const struct option_spec events_options[] = {{.name = "limit",
                                                     .letter = 'n',
                                                     .value = "N",
                                                     .initial = "20",
                                                     .help = "how many of the newest events"},
                                                    {0}};

static const struct example events_examples[] = {
    {"u2i events shop.db u7", "the 20 newest events of u7, with the items' titles"},
    {"u2i events shop.db u7 -n 1000 --json | jq -r .item", "items as one id per line"},
    {0}};

struct events_list {
    struct pool pool;
    u2i_event_t *events;
    size_t n, cap;
    bool failed; /* out of memory */
};

static const char *events_copy(struct events_list *list, const char *s) {
    char *const copy = s == NULL ? NULL : pool_copy(&list->pool, s, strlen(s));
    list->failed = list->failed || (s != NULL && copy == NULL);
    return copy;
}

static int events_collect(void *ctx, const u2i_event_t *event) {
    struct events_list *const list = ctx;
    if (list->n == list->cap) {
        const size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        u2i_event_t *const events = realloc(list->events, cap * sizeof *events);
        if (events == NULL) {
            list->failed = true;
            return 1;
        }
        list->events = events;
        list->cap = cap;
    }
    u2i_event_t *const copy = &list->events[list->n++];
    *copy = *event;
    copy->user = events_copy(list, event->user);
    copy->item = events_copy(list, event->item);
    copy->action = events_copy(list, event->action);
    copy->id = events_copy(list, event->id);
    return list->failed;
}

static int events_print_json(const struct cli *cli, const struct events_list *list) {
    struct text line = {0};
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < list->n; i++) {
        const u2i_event_t *const e = &list->events[i];
        text_clear(&line);
        text_char(&line, '{');
        text_json_member(&line, "user", e->user);
        text_json_member(&line, "action", e->action);
        text_json_member(&line, "item", e->item);
        text_json_member_int(&line, "time_ms", e->time_ms);
        text_json_member_real(&line, "value", (double)e->value);
        text_json_member(&line, "id", e->id);
        text_char(&line, '}');
        code = cli_print_line(cli, &line);
    }
    text_free(&line);
    return code;
}

static int events_print_table(const struct cli *cli, u2i_t *store, const struct events_list *list) {
    static const struct table_column columns[] = {{"time (UTC)", false, false},
                                                  {"action", false, false},
                                                  {"value", true, false},
                                                  {"item", false, true},
                                                  {"title", false, true}};
    struct table table;
    int code = CLI_OK;
    table_init(&table, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; code == CLI_OK && i < list->n; i++) {
        const u2i_event_t *const e = &list->events[i];
        char time[TIMES_TEXT_BYTES];
        u2i_item_t *item;
        u2i_error_t err;
        const int rc = u2i_get_item(store, e->item, &item, &err);
        if (rc != U2I_OK && rc != U2I_ENOTFOUND) {
            code = cli_fail(&err, e->item);
        }
        times_format(e->time_ms, time);
        table_cell(&table, time);
        table_cell(&table, e->action);
        table_cell_fmt(&table, "%g", (double)e->value);
        table_cell(&table, e->item);
        table_cell(&table, rc == U2I_OK ? item->title : "(no such item)");
        u2i_item_free(item);
    }
    if (code == CLI_OK && list->n > 0) {
        code = table_print(&table, cli->out, cli->display) == 0 ? CLI_OK : cli_no_memory();
    }
    table_free(&table);
    return code;
}

static int events_run(struct cli *cli, const struct args *args) {
    struct events_list list = {0};
    u2i_t *store = NULL;
    u2i_error_t err;
    uint64_t limit;
    int code = args_number(args, "limit", 1, EVENTS_MAX, &limit);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    }
    if (code == CLI_OK &&
        u2i_scan_events(store, args_word(args, 1), limit, events_collect, &list, &err) != U2I_OK) {
        code = cli_fail(&err, "events");
    }
    if (code == CLI_OK && list.failed) {
        code = cli_no_memory();
    }
    if (code == CLI_OK) {
        code = args_has(args, "json") ? events_print_json(cli, &list)
                                      : events_print_table(cli, store, &list);
    }
    free(list.events);
    pool_free(&list.pool);
    return cli_close(store, code);
}

const struct command cmd_events = {
    .name = "events",
    .summary = "show what a user did",
    .about = "Newest first. All events of all users are written by u2i export STORE events.\n",
    .args = events_args,
    .options = {events_options, cli_json_options, cli_common_options},
    .examples = events_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = events_run};
