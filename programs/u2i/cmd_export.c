/* u2i export: everything of one kind, in a form that u2i import reads back to the same.
 *
 * A file is written beside its name first and renamed when it is whole (target.c), so that a name
 * never stands for half an export. SIGINT and SIGTERM remove what there is of it. */
#include "commands.h"
#include "target.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define EXPORT_FLUSH_BYTES 65536

static const struct arg_spec export_args[] = {
    CLI_STORE_ARG,
    {"KIND", "items|events|users", ARG_ONE, false, "what to write: items, events or users"},
    {0}};

static const struct option_spec export_options[] = {
    {.name = "output",
     .letter = 'o',
     .value = "FILE",
     .file = true,
     .initial = "-",
     .help = "where to; a name that ends in .gz is compressed, - is stdout"},
    {.name = "format",
     .letter = 'f',
     .value = "FORMAT",
     .initial = "auto",
     .choices = "auto|jsonl|csv",
     .help = "auto goes by the name, and is jsonl on stdout"},
    {0}};

static const struct example export_examples[] = {
    {"u2i export shop.db events -o events.csv.gz", "all events, compressed"},
    {"u2i export shop.db items | jq -r .title", "titles, through a pipe"},
    {"u2i export shop.db items | u2i import copy.db items -", "into another store"},
    {0}};

struct export_output {
    bool csv, vectors;
    uint32_t dim;
    FILE *file;
    gzFile gz;
    struct text text;    /* not yet written */
    struct text scratch; /* one cell */
    bool failed;         /* errno says why */
};

/* Set by a signal handler, which can reach nothing else. */
static volatile sig_atomic_t export_stop;

static void export_on_signal(int number) {
    (void)number;
    export_stop = 1;
}

static void export_watch_signals(void) {
    struct sigaction action = {.sa_handler = export_on_signal};
    action.sa_flags = (int)SA_RESETHAND; /* the second one kills */
    (void)sigemptyset(&action.sa_mask);
    /* Cannot fail with these numbers; without them, ^C would only leave a file behind. */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void export_flush(struct export_output *out) {
    const size_t n = out->text.n;
    if (!text_ok(&out->text)) {
        errno = ENOMEM;
        out->failed = true;
    } else if (n > 0 && out->gz != NULL) {
        out->failed = out->failed || gzwrite(out->gz, out->text.p, (unsigned)n) != (int)n;
    } else if (n > 0) {
        out->failed = out->failed || fwrite(out->text.p, 1, n, out->file) != n;
    }
    text_clear(&out->text);
}

/* Non-zero stops the scan. */
static int export_row(struct export_output *out) {
    text_char(&out->text, '\n');
    if (out->text.n >= EXPORT_FLUSH_BYTES) {
        export_flush(out);
    }
    return out->failed || export_stop;
}

static void export_cell(struct export_output *out, bool first, const char *s) {
    if (!first) {
        text_char(&out->text, ',');
    }
    if (s != NULL) {
        text_csv(&out->text, s, ',');
    }
}

static void export_vector(struct text *out, const float *vector, uint32_t dim) {
    text_char(out, '[');
    for (uint32_t i = 0; i < dim; i++) {
        text_fmt(out, "%s%.9g", i > 0 ? "," : "", (double)vector[i]);
    }
    text_char(out, ']');
}

/* ---- Kinds ----------------------------------------------------------------------------------- */

static int export_item(void *ctx, const u2i_item_t *item) {
    struct export_output *const out = ctx;
    const bool vector = out->vectors && item->vector != NULL;
    text_clear(&out->scratch);
    if (vector) {
        export_vector(&out->scratch, item->vector, out->dim);
    }
    if (out->csv) {
        export_cell(out, true, item->id);
        export_cell(out, false, item->title);
        export_cell(out, false, item->text);
        export_cell(out, false, item->category);
        export_cell(out, false, item->attrs_json);
        if (out->vectors) {
            export_cell(out, false, text_cstr(&out->scratch));
        }
    } else {
        text_char(&out->text, '{');
        text_json_member(&out->text, "id", item->id);
        text_json_member(&out->text, "title", item->title);
        text_json_member(&out->text, "text", item->text);
        text_json_member(&out->text, "category", item->category);
        text_json_member_raw(&out->text, "attrs", item->attrs_json);
        text_json_member_raw(&out->text, "vector", vector ? text_cstr(&out->scratch) : NULL);
        text_char(&out->text, '}');
    }
    return export_row(out);
}

static int export_event(void *ctx, const u2i_event_t *event) {
    struct export_output *const out = ctx;
    char value[32];
    (void)snprintf(value, sizeof value, "%.9g", event->value == 0 ? 1 : (double)event->value);
    if (out->csv) {
        char time_ms[32];
        (void)snprintf(time_ms, sizeof time_ms, "%lld", (long long)event->time_ms);
        export_cell(out, true, event->user);
        export_cell(out, false, event->item);
        export_cell(out, false, event->action);
        export_cell(out, false, time_ms);
        export_cell(out, false, value);
        export_cell(out, false, event->id);
    } else {
        text_char(&out->text, '{');
        text_json_member(&out->text, "user", event->user);
        text_json_member(&out->text, "item", event->item);
        text_json_member(&out->text, "action", event->action);
        text_json_member_int(&out->text, "time_ms", event->time_ms);
        text_json_member_raw(&out->text, "value", value);
        text_json_member(&out->text, "id", event->id);
        text_char(&out->text, '}');
    }
    return export_row(out);
}

static int export_user(void *ctx, const u2i_user_t *user) {
    struct export_output *const out = ctx;
    text_clear(&out->scratch);
    if (user->decay > 0) {
        text_json_real(&out->scratch, user->decay);
    }
    const char *const decay = user->decay > 0 ? text_cstr(&out->scratch) : NULL;
    if (out->csv) {
        export_cell(out, true, user->id);
        export_cell(out, false, user->interests);
        export_cell(out, false, user->attrs_json);
        export_cell(out, false, decay);
    } else {
        text_char(&out->text, '{');
        text_json_member(&out->text, "id", user->id);
        text_json_member(&out->text, "interests", user->interests);
        text_json_member_raw(&out->text, "attrs", user->attrs_json);
        text_json_member_raw(&out->text, "decay", decay);
        text_char(&out->text, '}');
    }
    return export_row(out);
}

static int export_scan(u2i_t *store, const char *kind, struct export_output *out,
                       u2i_error_t *err) {
    if (strcmp(kind, "items") == 0) {
        text_str(&out->text, !out->csv      ? ""
                             : out->vectors ? "id,title,text,category,attrs,vector\n"
                                            : "id,title,text,category,attrs\n");
        return u2i_scan_items(store, export_item, out, err);
    }
    if (strcmp(kind, "events") == 0) {
        text_str(&out->text, out->csv ? "user,item,action,time_ms,value,id\n" : "");
        return u2i_scan_events(store, NULL, 0, export_event, out, err);
    }
    text_str(&out->text, out->csv ? "id,interests,attrs,decay\n" : "");
    return u2i_scan_users(store, export_user, out, err);
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bool export_name_ends(const char *name, const char *end) {
    const size_t n = strlen(name), end_n = strlen(end);
    return n >= end_n && strcmp(name + n - end_n, end) == 0;
}

static bool export_is_csv(const char *name, const char *format) {
    return strcmp(format, "auto") == 0
               ? export_name_ends(name, ".csv") || export_name_ends(name, ".csv.gz")
               : strcmp(format, "csv") == 0;
}

/* To the target (NULL = the standard output). */
static bool export_begin(struct export_output *out, const struct target *target, FILE *standard) {
    if (target == NULL) {
        out->file = standard;
    } else if (export_name_ends(target->name, ".gz")) {
        out->gz = gzdopen(target->fd, "wb6");
    } else {
        out->file = fdopen(target->fd, "wb");
    }
    if (out->file == NULL && out->gz == NULL) {
        (void)close(target->fd); /* nothing was written */
        return false;
    }
    return true;
}

/* Closes, syncs nothing: an export can be made again. */
static void export_end(struct export_output *out, FILE *standard) {
    const int why = errno;
    bool closed = true;
    if (out->gz != NULL) {
        closed = gzclose(out->gz) == Z_OK;
    } else if (out->file != NULL && out->file != standard) {
        closed = fclose(out->file) == 0;
    }
    if (out->failed) {
        errno = why; /* the first failure is the cause */
    }
    out->failed = out->failed || !closed;
}

/* Scans and writes; the file is closed, and says nothing of its name yet. */
static int export_write(const struct cli *cli, const struct args *args, u2i_t *store,
                        struct export_output *out) {
    u2i_error_t err = {0};
    const int rc = export_scan(store, args_word(args, 1), out, &err);
    export_flush(out);
    export_end(out, cli->out);
    if (export_stop) {
        cli_error("interrupted; nothing is exported");
        return CLI_INTERRUPTED;
    }
    if (out->failed) {
        const char *const name = args_value(args, "output");
        cli_error("%s: %s", strcmp(name, "-") == 0 ? "stdout" : name, strerror(errno));
        return CLI_ERROR;
    }
    return rc == U2I_OK ? CLI_OK : cli_fail(&err, "export");
}

static int export_to_file(const struct cli *cli, const struct args *args, u2i_t *store,
                          struct export_output *out) {
    const char *const name = args_value(args, "output");
    struct target target;
    if (target_is_store(name, cli_store_path(args))) {
        cli_error("-o %s is the store itself; name another file", name);
        return CLI_USAGE;
    }
    export_watch_signals();
    int code = CLI_ERROR;
    if (target_open(&target, name) != 0 || !export_begin(out, &target, cli->out)) {
        cli_error("%s: %s", name, strerror(errno));
        code = export_stop ? CLI_INTERRUPTED : CLI_ERROR; /* a FIFO that nobody has read */
    } else {
        code = export_write(cli, args, store, out);
    }
    if (target_close(&target, code == CLI_OK) != 0) {
        cli_error("%s: %s", name, strerror(errno));
        code = CLI_ERROR;
    }
    return code;
}

static int export_to(const struct cli *cli, const struct args *args, u2i_t *store,
                     struct export_output *out) {
    const char *const name = args_value(args, "output");
    if (strcmp(name, "-") != 0 && strcmp(name, "/dev/stdout") != 0) {
        return export_to_file(cli, args, store, out);
    }
    (void)export_begin(out, NULL, cli->out); /* it is open */
    return export_write(cli, args, store, out);
}

static int export_run(struct cli *cli, const struct args *args) {
    struct export_output out = {
        .csv = export_is_csv(args_value(args, "output"), args_value(args, "format"))};
    u2i_stats_t stats = U2I_STATS_INIT;
    u2i_t *store;
    u2i_error_t err;
    int code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    if (code == CLI_OK && u2i_stats(store, &stats, &err) != U2I_OK) {
        code = cli_fail(&err, "export");
    }
    if (code == CLI_OK) {
        out.dim = stats.dim;
        out.vectors = strcmp(stats.model, "none") == 0;
        code = export_to(cli, args, store, &out);
    }
    text_free(&out.text);
    text_free(&out.scratch);
    return cli_close(store, code);
}

const struct command cmd_export = {
    .name = "export",
    .summary = "write all items, events or users to a file",
    .about =
        "What is written is read back by u2i import. Vectors are written where they were given\n"
        "(model none); a store that makes them from text makes them again.\n",
    .args = export_args,
    .options = {export_options, cli_common_options},
    .examples = export_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER, CLI_INTERRUPTED},
    .run = export_run};
