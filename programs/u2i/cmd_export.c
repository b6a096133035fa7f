/* u2i export: everything of one kind, in a form that u2i import reads back to the same.
 *
 * A file is written beside its name first (NAME.part) and renamed when it is whole, so that a name
 * never stands for half an export. */
#include "commands.h"
#include <errno.h>
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
    return out->failed;
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

static bool export_begin(struct export_output *out, const char *part, bool gz, FILE *standard) {
    if (part == NULL) {
        out->file = standard;
    } else if (gz) {
        out->gz = gzopen(part, "wb6");
    } else {
        out->file = fopen(part, "wb");
    }
    return out->file != NULL || out->gz != NULL;
}

/* Closes, syncs nothing: an export can be made again. */
static void export_end(struct export_output *out, FILE *standard) {
    if (out->gz != NULL) {
        out->failed = gzclose(out->gz) != Z_OK || out->failed;
    } else if (out->file != NULL && out->file != standard) {
        out->failed = fclose(out->file) != 0 || out->failed;
    }
}

static int export_to(const struct cli *cli, const struct args *args, u2i_t *store,
                     struct export_output *out) {
    const char *const name = args_value(args, "output"), *const kind = args_word(args, 1);
    const bool standard = strcmp(name, "-") == 0;
    struct text part = {0};
    u2i_error_t err = {0};
    int code = CLI_ERROR;
    text_fmt(&part, "%s.part", name);
    if (!text_ok(&part)) {
        return cli_no_memory();
    }
    if (!export_begin(out, standard ? NULL : part.p, export_name_ends(name, ".gz"), cli->out)) {
        cli_error("%s: %s", part.p, strerror(errno));
        goto out;
    }
    const int rc = export_scan(store, kind, out, &err);
    export_flush(out);
    export_end(out, cli->out);
    if (rc != U2I_OK) {
        code = cli_fail(&err, "export");
    } else if (out->failed) {
        cli_error("%s: %s", standard ? "stdout" : part.p, strerror(errno));
    } else if (!standard && rename(part.p, name) != 0) {
        cli_error("%s: %s", name, strerror(errno));
    } else {
        code = CLI_OK;
    }
    if (code != CLI_OK && !standard) {
        (void)unlink(part.p); /* half an export helps nobody; what was wrong has been said */
    }
out:
    text_free(&part);
    return code;
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
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = export_run};
