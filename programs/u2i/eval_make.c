/* See eval.h. u2i eval --make: a split from a log of events, in the files that u2i eval --split reads. */
#include "eval_cut.h"
#include "times.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* ---- The log ---------------------------------------------------------------------------------- */

struct eval_scan {
    struct eval_world *w;
    struct eval_events *log;
    bool failed;
};

static int eval_scan_event(void *ctx, const u2i_event_t *event) {
    struct eval_scan *const scan = ctx;
    const struct eval_event e = {.user = eval_ids_put(&scan->w->users, event->user),
                                 .item = eval_ids_put(&scan->w->items, event->item),
                                 .action = eval_ids_put(&scan->w->actions, event->action),
                                 .value = event->value,
                                 .time_ms = event->time_ms};
    scan->failed = e.user == EVAL_NO_ID || e.item == EVAL_NO_ID || e.action == EVAL_NO_ID ||
                   !eval_events_add(scan->log, e);
    return scan->failed;
}

static int eval_read_store(struct eval_world *w, const char *path, struct eval_events *log) {
    struct eval_scan scan = {w, log, false};
    u2i_options_t opt = U2I_OPTIONS_INIT;
    u2i_t *store;
    u2i_error_t err;
    opt.flags = U2I_OPEN_EXISTING | U2I_OPEN_READONLY;
    int rc = u2i_open(path, &opt, &store, &err);
    if (rc == U2I_OK) {
        rc = u2i_scan_events(store, NULL, 0, eval_scan_event, &scan, &err);
        (void)u2i_close(store); /* only read from */
    }
    if (rc != U2I_OK) {
        return cli_fail(&err, path);
    }
    return scan.failed ? cli_no_memory() : CLI_OK;
}

/* What is to be guessed, by action: as --positive says, else what is neither negative nor weak; if there is
 * none of that, the weak ones. To be freed. */
static bool *eval_find_positive(const struct eval_world *w, const struct args *args) {
    bool *const positive = calloc((size_t)w->actions.n + 1, sizeof *positive), any = false;
    if (positive == NULL) {
        return NULL;
    }
    const char *name;
    for (size_t at = 0; (name = args_each(args, "positive", &at)) != NULL;) {
        const uint32_t action = eval_ids_find(&w->actions, name);
        if (action == EVAL_NO_ID) {
            cli_warn("--positive %s: no event has this action", name);
        } else {
            positive[action] = any = true;
        }
    }
    for (int weak = 0; weak < 2 && !any; weak++) {
        for (uint32_t i = 0; i < w->actions.n; i++) {
            const char *const action = w->actions.names[i];
            positive[i] = !eval_is_negative(action) && (weak != 0) == eval_is_weak(action);
            any = any || positive[i];
        }
    }
    return positive;
}

/* ---- Files ------------------------------------------------------------------------------------ */

static gzFile eval_create(const char *folder, const char *name, const char *header) {
    struct text path = {0};
    text_fmt(&path, "%s/%s.csv.gz", folder, name);
    gzFile f = text_ok(&path) ? gzopen(text_cstr(&path), "wbx") : NULL;
    if (f == NULL) {
        cli_error("%s: %s", text_cstr(&path), strerror(errno));
    } else {
        (void)gzputs(f, header); /* checked when it is closed */
    }
    text_free(&path);
    return f;
}

static void eval_add_time(struct text *line, int64_t time_ms) {
    text_fmt(line, "%lld", (long long)(time_ms / 1000));
    if (time_ms % 1000 != 0) {
        text_fmt(line, ".%03d", (int)(time_ms % 1000));
    }
}

static void eval_add_event_row(struct text *line, const struct eval_world *w,
                               const struct eval_event *e) {
    text_csv(line, w->users.names[e->user], ',');
    text_char(line, ',');
    text_csv(line, w->items.names[e->item], ',');
    text_char(line, ',');
    text_csv(line, w->actions.names[e->action], ',');
    text_char(line, ',');
    eval_add_time(line, e->time_ms);
    text_char(line, ',');
    if (e->value > 0) {
        text_fmt(line, "%.9g", (double)e->value);
    }
    text_char(line, '\n');
}

/* All events with a label, in a file of their own; whole rows, or only user and item. */
static int eval_write_label(const struct eval_cut *c, const struct eval_world *w,
                            const char *folder, uint8_t label, size_t *n) {
    const bool whole = label == EVAL_TRAIN || label == EVAL_HISTORY;
    const char *const name = label == EVAL_TRAIN     ? "train"
                             : label == EVAL_HISTORY ? "history"
                             : label == EVAL_HELDOUT ? "heldout"
                                                     : "heldout_cold";
    gzFile f =
        eval_create(folder, name, whole ? "user,item,action,timestamp,value\n" : "user,item\n");
    struct text line = {0};
    bool ok = f != NULL;
    *n = 0;
    for (size_t i = 0; ok && i < c->log.n; i++) {
        if ((c->labels[i] & label) == 0) {
            continue;
        }
        text_clear(&line);
        if (whole) {
            eval_add_event_row(&line, w, &c->log.e[i]);
        } else {
            text_csv(&line, w->users.names[c->log.e[i].user], ',');
            text_char(&line, ',');
            text_csv(&line, w->items.names[c->log.e[i].item], ',');
            text_char(&line, '\n');
        }
        ok = text_ok(&line) && gzwrite(f, line.p, (unsigned)line.n) == (int)line.n;
        ++*n;
    }
    text_free(&line);
    if (f != NULL && (gzclose(f) != Z_OK || !ok)) {
        cli_error("%s/%s.csv.gz cannot be written", folder, name);
        ok = false;
    }
    return ok ? CLI_OK : CLI_ERROR;
}

static int eval_write_cold(const struct eval_cut *c, const struct eval_world *w,
                           const char *folder) {
    gzFile f = eval_create(folder, "cold_items", "item\n");
    struct text line = {0};
    if (f == NULL) {
        return CLI_ERROR;
    }
    for (uint32_t i = 0; i < c->items_n; i++) {
        if (c->cold_items[i]) {
            text_csv(&line, w->items.names[i], ',');
            text_char(&line, '\n');
        }
    }
    const bool ok =
        text_ok(&line) && (line.n == 0 || gzwrite(f, line.p, (unsigned)line.n) == (int)line.n);
    text_free(&line);
    if (gzclose(f) != Z_OK || !ok) {
        cli_error("%s/cold_items.csv.gz cannot be written", folder);
        return CLI_ERROR;
    }
    return CLI_OK;
}

static int eval_write_time(const char *folder, int64_t time_ms) {
    struct text path = {0}, line = {0};
    text_fmt(&path, "%s/T.txt", folder);
    eval_add_time(&line, time_ms);
    FILE *const f = text_ok(&path) && text_ok(&line) ? fopen(text_cstr(&path), "w") : NULL;
    bool ok = f != NULL && fprintf(f, "%s\n", text_cstr(&line)) > 0;
    if (f != NULL) {
        ok = fclose(f) == 0 && ok;
    }
    if (!ok) {
        cli_error("%s: %s", text_cstr(&path), strerror(errno));
    }
    text_free(&path);
    text_free(&line);
    return ok ? CLI_OK : CLI_ERROR;
}

static int eval_write_split(const struct cli *cli, const struct eval_cut *c,
                            const struct eval_world *w, const char *folder) {
    size_t train = 0, history = 0, heldout = 0, strangers = 0;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        cli_error("%s: %s", folder, strerror(errno));
        return CLI_ERROR;
    }
    int code = eval_write_label(c, w, folder, EVAL_TRAIN, &train);
    code = code == CLI_OK ? eval_write_label(c, w, folder, EVAL_HISTORY, &history) : code;
    code = code == CLI_OK ? eval_write_label(c, w, folder, EVAL_HELDOUT, &heldout) : code;
    if (code == CLI_OK && c->time_ms != 0) {
        code = eval_write_label(c, w, folder, EVAL_HELDOUT_COLD, &strangers);
        code = code == CLI_OK ? eval_write_time(folder, c->time_ms) : code;
    }
    if (code == CLI_OK && c->cold_items != NULL) {
        code = eval_write_cold(c, w, folder);
    }
    if (code == CLI_OK) {
        struct text line = {0};
        display_clean(&line, folder, strlen(folder));
        text_fmt(&line, ": %zu events to train on, %zu of history, %zu to guess", train, history,
                 heldout + strangers);
        code = cli_print_line(cli, &line);
        text_free(&line);
    }
    return code;
}

/* ---- Making ----------------------------------------------------------------------------------- */

static int eval_make_options(struct eval_cut *c, const struct args *args) {
    const char *const at = args_value(args, "at");
    int code = args_number(args, "folds", 1, 1000, &c->folds);
    code = code == CLI_OK ? args_number(args, "fold", 0, c->folds - 1, &c->fold) : code;
    code = code == CLI_OK ? args_number(args, "seed", 0, UINT64_MAX, &c->seed) : code;
    code = code == CLI_OK ? args_number(args, "days", 1, 36500, &c->days) : code;
    code =
        code == CLI_OK ? args_number(args, "min-positives", 1, 1000000, &c->min_positives) : code;
    c->baskets = args_has(args, "baskets");
    if (code == CLI_OK && at != NULL && !times_parse(at, TIME_AUTO, &c->time_ms)) {
        cli_error("--at %s is not a time", at);
        code = CLI_USAGE;
    }
    if (code == CLI_OK && args_value(args, "to") == NULL) {
        cli_error("--make needs --to FOLDER: where the split goes");
        code = CLI_USAGE;
    }
    if (code == CLI_OK &&
        (args_value(args, "events") == NULL) == (args_value(args, "from") == NULL)) {
        cli_error("--make needs a log: --events FILE or --from STORE, one of them");
        code = CLI_USAGE;
    }
    return code;
}

static int eval_make_cut(struct eval_cut *c, const char *kind) {
    const int code = eval_cut_sort(c);
    if (code != CLI_OK) {
        return code;
    }
    switch (kind[0]) {
    case 'u':
        return eval_cut_unseen_users(c);
    case 'l':
        return eval_cut_leave_last(c);
    case 'g':
        return eval_cut_global_time(c);
    default:
        return eval_cut_cold_items(c);
    }
}

int eval_make(const struct cli *cli, const struct args *args) {
    const char *const kind = args_value(args, "make"), *const store = args_value(args, "from");
    struct eval_world w = {.catalogue_n = 0};
    struct eval_cut c = {.users_n = 0};
    bool *positive = NULL;
    int code = eval_make_options(&c, args);
    if (code == CLI_OK) {
        code = store != NULL ? eval_read_store(&w, store, &c.log)
                             : eval_read_events(&w, args_value(args, "events"), false, &c.log);
    }
    if (code == CLI_OK) {
        c.time_ms = kind[0] == 'g' ? c.time_ms : 0;
        c.users_n = w.users.n;
        c.items_n = w.items.n;
        positive = eval_find_positive(&w, args);
        c.positive = positive;
        code = positive == NULL ? cli_no_memory() : eval_make_cut(&c, kind);
    }
    code = code == CLI_OK ? eval_write_split(cli, &c, &w, args_value(args, "to")) : code;
    free(positive);
    eval_cut_free(&c);
    eval_world_free(&w);
    return code;
}
