/* u2i train: learns from all events, or takes the last training back. ^C ends it with nothing changed. */
#include "commands.h"
#include "interrupt.h"
#include "progress.h"
#include "table.h"
#include "times.h"
#include "training.h"
#include <math.h>
#include <string.h>
#include <time.h>

static const struct arg_spec train_args[] = {CLI_STORE_ARG, {0}};

static const struct option_spec train_options[] = {
    {.name = "check",
     .value = "HOW",
     .choices = "time|users",
     .help = "how it is checked: time guesses the newest part of the log from what was before it, "
             "users the last events of users left out; default time where the log is long enough"},
    {.name = "at",
     .value = "TIME",
     .help = "as if it were TIME: later events are left out; default now"},
    {.name = "follow",
     .help = "stay until ^C, and train whenever enough is new (settings train_auto and "
             "train_after_events), at low priority"},
    {.name = "rollback", .help = "no training: back to what was in use before the last one"},
    {.name = "forget", .help = "no training: forget all of them"},
    {0}};

static const struct example train_examples[] = {
    {"u2i train shop.db", "learns from all events; the next answer of any process counts it"},
    {"u2i train shop.db --check users --json", "another check, figures for a script"},
    {"u2i train shop.db --follow", "a service beside those that record and recommend"},
    {"u2i train shop.db --rollback", "the training before this one is in use again"},
    {0}};

/* ---- Figures ---------------------------------------------------------------------------------- */

void training_number(struct text *out, double value) {
    if (value == floor(value) && fabs(value) < 1e15) {
        if (value < 0) {
            text_char(out, '-');
        }
        text_count(out, (unsigned long long)fabs(value));
    } else {
        text_fmt(out, fabs(value) < 0.001 ? "%.3g" : "%.4f", value);
    }
}

static int training_add_row(void *ctx, const u2i_figure_t *figure) {
    struct table *const table = ctx;
    struct text number = {0};
    training_number(&number, figure->value);
    table_cell(table, figure->name);
    table_cell(table, text_cstr(&number));
    table_cell(table, figure->help);
    text_free(&number);
    return 0;
}

int training_print(const struct cli *cli, u2i_t *store) {
    static const struct table_column columns[] = {
        {"training", false, false}, {"", true, false}, {"meaning", false, true}};
    struct table table;
    u2i_error_t err;
    int code = CLI_OK;
    table_init(&table, columns, sizeof columns / sizeof *columns);
    if (u2i_scan_training(store, training_add_row, &table, &err) != U2I_OK) {
        code = cli_fail(&err, "training");
    } else if (table_rows(&table) > 0 && table_print(&table, cli->out, cli->display) != 0) {
        code = cli_no_memory();
    }
    table_free(&table);
    return code;
}

static int training_add_member(void *ctx, const u2i_figure_t *figure) {
    text_json_member_real(ctx, figure->name, figure->value);
    return 0;
}

int training_add_json(struct text *line, u2i_t *store) {
    u2i_error_t err;
    text_char(line, '{');
    const int rc = u2i_scan_training(store, training_add_member, line, &err);
    text_char(line, '}');
    return rc == U2I_OK ? CLI_OK : cli_fail(&err, "training");
}

/* ---- Training --------------------------------------------------------------------------------- */

struct train_bar {
    struct progress progress;
    const volatile sig_atomic_t *stop;
};

static int train_show(void *ctx, const char *step, uint64_t done, uint64_t total) {
    struct train_bar *const bar = ctx;
    progress_step(&bar->progress, step, done, total);
    return *bar->stop != 0;
}

static int train_learn(const struct args *args, u2i_t *store, double *seconds) {
    u2i_train_options_t opt = U2I_TRAIN_OPTIONS_INIT;
    struct train_bar bar = {.stop = interrupt_watch()};
    u2i_error_t err;
    const char *const at = args_value(args, "at");
    if (at != NULL && !times_parse(at, TIME_AUTO, &opt.now_ms)) {
        cli_error("--at %s is not a time (Unix seconds or milliseconds, or 2024-05-17T08:30:00Z)",
                  at);
        return CLI_USAGE;
    }
    opt.progress = train_show;
    opt.ctx = &bar;
    opt.check = args_value(args, "check");
    progress_start(&bar.progress);
    const int rc = u2i_train(store, &opt, &err);
    progress_clear(&bar.progress);
    *seconds = progress_seconds(&bar.progress);
    if (rc == U2I_ETIMEOUT && *bar.stop != 0) {
        cli_error("interrupted: nothing has changed");
        return CLI_INTERRUPTED;
    }
    return rc == U2I_OK ? CLI_OK : cli_fail(&err, "train");
}

/* ---- In the background ------------------------------------------------------------------------ */

static int train_see_version(void *ctx, const u2i_figure_t *figure) {
    const bool is_it = strcmp(figure->name, "version") == 0;
    if (is_it) {
        *(double *)ctx = figure->value;
    }
    return is_it;
}

/* A line for each training that is in use from now on, whichever process made it. */
static int train_tell(const struct cli *cli, const struct args *args, u2i_t *store,
                      double *version) {
    double newest = 0;
    struct text line = {0};
    u2i_error_t err;
    if (u2i_scan_training(store, train_see_version, &newest, &err) != U2I_OK) {
        return cli_fail(&err, "training");
    }
    if (newest == *version) {
        return CLI_OK;
    }
    *version = newest;
    int code = CLI_OK;
    if (args_has(args, "json")) {
        code = training_add_json(&line, store);
    } else {
        text_fmt(&line, "training %.0f is in use", newest);
    }
    code = code == CLI_OK ? cli_print_line(cli, &line) : code;
    text_free(&line);
    return code;
}

static int train_follow(const struct cli *cli, const struct args *args, u2i_t *store) {
    const volatile sig_atomic_t *const stop = interrupt_watch();
    char automatic[16];
    u2i_error_t err;
    double version = 0;
    int code = CLI_OK;
    if (u2i_get_setting(store, "train_auto", automatic, sizeof automatic, &err) != U2I_OK) {
        return cli_fail(&err, "train_auto");
    }
    if (strcmp(automatic, "on") != 0) {
        cli_error("the setting train_auto is off: nothing would ever be trained");
        return CLI_USAGE;
    }
    while (code == CLI_OK && *stop == 0) {
        code = train_tell(cli, args, store, &version);
        (void)fflush(cli->out);
        const struct timespec wait = {0, 200000000};
        (void)nanosleep(&wait, NULL); /* a signal ends it early */
    }
    return code;
}

static int train_back(u2i_t *store, bool all) {
    u2i_error_t err;
    const int rc = u2i_untrain(store, all, &err);
    if (rc == U2I_ENOTFOUND) {
        cli_error("there is no training to take back");
        return CLI_NOTFOUND;
    }
    return rc == U2I_OK ? CLI_OK : cli_fail(&err, "train");
}

static int train_report(const struct cli *cli, const struct args *args, u2i_t *store,
                        double seconds) {
    struct text line = {0};
    int code;
    if (args_has(args, "json")) {
        text_char(&line, '{');
        text_json_member_real(&line, "seconds", (double)(long long)(seconds * 1000) / 1000);
        text_json_key(&line, "training");
        code = training_add_json(&line, store);
        text_char(&line, '}');
        code = code == CLI_OK ? cli_print_line(cli, &line) : code;
    } else {
        if (args_has(args, "rollback") || args_has(args, "forget")) {
            text_str(&line, args_has(args, "forget")
                                ? "forgotten: answers are as before any training"
                                : "taken back; in use is now:");
        } else {
            text_fmt(&line, "trained in %.1f s", seconds);
        }
        code = cli_print_line(cli, &line);
        code = code == CLI_OK ? training_print(cli, store) : code;
    }
    text_free(&line);
    return code;
}

/* What cannot be asked for together is said. */
static int train_check_args(const struct args *args) {
    const bool back = args_has(args, "rollback"), forget = args_has(args, "forget");
    const bool how = args_has(args, "check") || args_has(args, "at");
    if ((back || forget) && (how || back == forget)) {
        cli_error("--rollback and --forget stand alone: they take a training back");
        return CLI_USAGE;
    }
    if (args_has(args, "follow") && (back || forget || how)) {
        cli_error("--follow stands alone: what it trains and when, settings say");
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int train_once(const struct cli *cli, const struct args *args, u2i_t *store) {
    const bool forget = args_has(args, "forget");
    double seconds = 0;
    const int code = forget || args_has(args, "rollback") ? train_back(store, forget)
                                                          : train_learn(args, store, &seconds);
    return code == CLI_OK ? train_report(cli, args, store, seconds) : code;
}

static int train_run(struct cli *cli, const struct args *args) {
    const bool follow = args_has(args, "follow");
    u2i_t *store = NULL;
    int code = train_check_args(args);
    if (code != CLI_OK) {
        return code;
    }
    code = cli_open(args, U2I_OPEN_EXISTING | (follow ? U2I_OPEN_TRAINS : 0u), &store);
    if (code == CLI_OK) {
        code = (follow ? train_follow : train_once)(cli, args, store);
    }
    return cli_close(store, code);
}

const struct command cmd_train = {
    .name = "train",
    .summary = "learn from what everybody did",
    .about =
        "Learns vectors of taste, what follows what, and how much each of these parts is worth, "
        "from\n"
        "all events. The weights are chosen on events that it holds back, and the figures of that\n"
        "check are shown beside popularity's. It takes nothing from the answers meanwhile; they\n"
        "change in one moment, in every process. Where popularity is not beaten, they stay as "
        "they\n"
        "were. Run it again when much has happened; between two runs new events count at once.\n",
    .args = train_args,
    .options = {train_options, cli_json_options, cli_common_options},
    .examples = train_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER, CLI_INTERRUPTED},
    .run = train_run};
