/* u2i import: data files into a store.
 *
 * It reads rows, hands them to the batch (import_batch.c) and reports. It can be stopped at any
 * moment and run again: items and users are replaced by the same, events have ids that are known
 * (import_events.c). SIGINT and SIGTERM end it after the batch in flight. */
#include "commands.h"
#include "import.h"
#include "indexing.h"
#include "target.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT_FINGERPRINT_BYTES 4096

static const struct arg_spec import_args[] = {
    CLI_STORE_ARG,
    {"KIND", "items|events|users", ARG_ONE, false, "what the rows are: items, events or users"},
    {"DATA", NULL, ARG_SOME, true, "files: CSV, TSV or JSON Lines, plain or gzip; - is stdin"},
    {0}};

static const struct option_spec import_options[] = {
    {.name = "format",
     .letter = 'f',
     .value = "FORMAT",
     .initial = "auto",
     .choices = "auto|csv|tsv|jsonl",
     .help = "format of the files; auto goes by name, else by content"},
    {.name = "delimiter", .value = "CHAR", .help = "what separates fields, e.g. ';' or tab"},
    {.name = "columns",
     .value = "A,B,C",
     .help = "names of the columns of a CSV file that has no header line"},
    {.name = "action",
     .value = "NAME",
     .help = "events: the action of rows that have none, e.g. view"},
    {.name = "map-action",
     .many = true,
     .value = "THEIRS=OURS",
     .help = "events: rename an action, e.g. return=dislike"},
    {.name = "time-unit",
     .value = "UNIT",
     .initial = "auto",
     .choices = "auto|s|ms|us|ns|iso",
     .help = "events: unit of times; auto takes numbers below 1e11 for seconds, below 1e14 for "
             "milliseconds, and text with dashes for ISO 8601"},
    {.name = "no-value", .help = "events: ignore the value column"},
    {.name = "no-ids",
     .help = "events: give no ids to rows without one; importing twice then counts twice"},
    {.name = "batch",
     .value = "N",
     .initial = "5000",
     .help = "rows per transaction, at most 100000"},
    {.name = "max-errors",
     .value = "N",
     .initial = "100",
     .help = "bad rows to skip before giving up; 0 stops at the first"},
    {.name = "errors",
     .value = "FILE",
     .file = true,
     .help = "write all bad rows' lines and reasons to FILE; stderr shows the first 10"},
    {.name = "from-line",
     .value = "N",
     .initial = "1",
     .help = "skip rows that begin before line N"},
    {.name = "no-index", .help = "items: don't wait for the index; u2i index makes it later"},
    {0}};

static const struct example import_examples[] = {
    {"u2i import shop.db items items.csv", "columns id, title, category, text; others are named"},
    {"u2i import shop.db items films.csv --map id=movieId --attr year:number --attr genres:list",
     "other column names, and two attributes to filter on"},
    {"u2i import shop.db events events.csv.gz --map-action return=dislike --no-value",
     "a history; run it again after new lines came, and only these are added"},
    {"jq -c '.products[]' dump.json | u2i import shop.db items -", "JSON Lines from a pipe"},
    {0}};

/* Set by a signal handler, which can reach nothing else. */
static volatile sig_atomic_t import_stop;

static void import_on_signal(int number) {
    (void)number;
    import_stop = 1;
}

static void import_watch_signals(void) {
    struct sigaction action = {.sa_handler = import_on_signal};
    action.sa_flags = (int)SA_RESETHAND; /* the second one kills */
    (void)sigemptyset(&action.sa_mask);
    /* Cannot fail with these numbers; without them, ^C would only be less polite. */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* ---- One file -------------------------------------------------------------------------------- */

static uint64_t import_fingerprint(const struct input *in) {
    const char *peek, *end;
    size_t n = input_peek(in, &peek), at = 0;
    n = n < IMPORT_FINGERPRINT_BYTES ? n : IMPORT_FINGERPRINT_BYTES;
    for (int lines = 0; lines < 2 && at < n; lines++) {
        end = memchr(peek + at, '\n', n - at);
        at = end != NULL ? (size_t)(end - peek) + 1 : n;
    }
    const uint64_t name = rows_hash(ROWS_HASH_START, input_name(in), strlen(input_name(in)) + 1);
    return rows_hash(name, peek, at);
}

/* Only now: a file is not emptied for an import that cannot begin. */
static int import_open_errors(struct import *im) {
    if (im->errors_name == NULL || im->errors != NULL) {
        return CLI_OK;
    }
    im->errors = fopen(im->errors_name, "w");
    if (im->errors == NULL) {
        cli_error("%s: %s", im->errors_name, strerror(errno));
        return CLI_ERROR;
    }
    return CLI_OK;
}

/* --errors may name neither the store nor what is read. */
static int import_check_errors(const struct import *im, const struct args *args) {
    if (im->errors_name == NULL) {
        return CLI_OK;
    }
    bool taken = target_is_store(im->errors_name, cli_store_path(args));
    for (size_t i = 2; i < args->words_n; i++) {
        taken = taken || target_is_input(im->errors_name, args->words[i]);
    }
    if (taken) {
        cli_error("--errors %s is the store or one of the files to import; name another file",
                  im->errors_name);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int import_open(struct import *im, const char *path) {
    struct input *in;
    char why[160];
    if (input_open(path, &in, why, sizeof why) != 0) {
        if (import_stop) {
            return CLI_INTERRUPTED; /* a signal also ends a wait for a writer */
        }
        cli_error("%s: %s", path, why);
        return CLI_ERROR;
    }
    im->fingerprint = import_fingerprint(in);
    im->in = in;
    im->file_name = strcmp(path, "-") == 0 ? "stdin" : path;
    int code = rows_open(in, &im->format, &im->fields, &im->rows);
    if (code == CLI_OK) {
        code = im->kind->check(im);
    }
    code = code == CLI_OK ? import_open_errors(im) : code;
    struct text unused = {0};
    if (code == CLI_OK) {
        rows_list_columns(im->rows, true, &unused);
    }
    if (unused.n > 0) {
        cli_warn("%s: these columns are not used: %s%s", im->file_name, text_cstr(&unused),
                 im->kind->attrs ? "; --attrs-rest makes attributes of them" : "");
    }
    text_free(&unused);
    return code;
}

static int import_rows(struct import *im) {
    struct row row;
    int rc, code = CLI_OK;
    /* What came before a signal that ended a wait for data is in memory: it still counts. */
    const bool drains = import_stop && *input_error(im->in) != '\0';
    while (code == CLI_OK && (drains || !import_stop) &&
           (rc = rows_next(im->rows, &row)) != ROWS_END) {
        const uint64_t line = rows_line(im->rows);
        if (rc == ROWS_FAILED) {
            progress_clear(&im->progress);
            if (!import_stop) { /* a signal also ends a read from a pipe */
                cli_error("%s: after line %llu: %s", im->file_name, (unsigned long long)line,
                          rows_error(im->rows));
                code = CLI_ERROR;
            }
            break;
        }
        if (line < im->from_line) {
            continue;
        }
        im->file.read++;
        im->done_line = line;
        code = rc == ROWS_BAD ? import_bad_row(im, line, rows_error(im->rows))
                              : import_batch_add(im, &row);
        progress_show(&im->progress, input_name(im->in), im->file.read, input_position(im->in),
                      input_size(im->in));
    }
    /* What was read before an end of any kind is written. */
    const int flushed = import_batch_flush(im);
    progress_clear(&im->progress);
    return code != CLI_OK ? code : flushed;
}

/* ---- Reports --------------------------------------------------------------------------------- */

static uint64_t import_count(const struct import *im) {
    u2i_stats_t stats = U2I_STATS_INIT;
    if (im->kind->count == NULL || u2i_stats(im->store, &stats, NULL) != U2I_OK) {
        return 0;
    }
    return im->kind->count(&stats);
}

static int import_report(const struct import *im, bool json) {
    const struct import_counts *const c = &im->file;
    const uint64_t there = c->put > c->fresh ? c->put - c->fresh : 0;
    const double seconds = progress_seconds(&im->progress);
    const double rate = seconds > 0 ? (double)c->read / seconds : 0;
    struct text line = {0};
    if (json) {
        text_char(&line, '{');
        text_json_member(&line, "file", im->file_name);
        text_json_member(&line, "kind", im->kind->name);
        text_json_member_int(&line, "read", (long long)c->read);
        text_json_member_int(&line, "new", (long long)c->fresh);
        text_json_member_int(&line, im->kind->unique ? "replaced" : "already_there",
                             (long long)there);
        text_json_member_int(&line, "bad", (long long)c->bad);
        text_json_member_real(&line, "seconds", (double)(long long)(seconds * 1000) / 1000);
        text_char(&line, '}');
    } else {
        display_clean(&line, im->file_name, strlen(im->file_name));
        text_str(&line, ": ");
        text_count(&line, c->read);
        text_fmt(&line, " rows read, ");
        text_count(&line, c->fresh);
        text_str(&line, " new, ");
        text_count(&line, there);
        text_str(&line, im->kind->unique ? " replaced, " : " already there, ");
        text_count(&line, c->bad);
        text_fmt(&line, " bad; %.1f s, ", seconds);
        text_count(&line, (unsigned long long)rate);
        text_str(&line, " rows/s");
    }
    const int code = cli_print_line(im->cli, &line);
    text_free(&line);
    return code;
}

static void import_say_how_to_go_on(const struct import *im) {
    cli_error(
        "interrupted in %s after line %llu; everything up to it is imported. Run the same "
        "command again to go on: nothing is added twice. (--from-line %llu skips what is done "
        "unread.)",
        im->file_name, (unsigned long long)im->done_line, (unsigned long long)im->done_line + 1);
}

static void import_say_interrupted(const struct import *im) {
    if (im->done_line == 0) {
        cli_error("interrupted before the first row; nothing of it is imported");
    } else {
        import_say_how_to_go_on(im);
    }
}

static int import_file(struct import *im, const char *path, bool json) {
    im->file = (struct import_counts){0};
    im->done_line = 0;
    progress_start(&im->progress);
    const uint64_t before = import_count(im);
    int code = import_open(im, path);
    if (code == CLI_OK) {
        code = import_rows(im);
        const uint64_t after = import_count(im);
        im->file.fresh += after > before ? after - before : 0;
        if (im->file.fresh > im->file.put) {
            im->file.fresh = im->file.put; /* the others are another importer's */
        }
        im->total.put += im->file.put;
        const int reported = import_report(im, json);
        code = code == CLI_OK ? reported : code;
    }
    if (import_stop && (code == CLI_OK || im->done_line == 0)) {
        import_say_interrupted(im);
        code = CLI_INTERRUPTED;
    }
    rows_close(im->rows);
    im->rows = NULL;
    return code;
}

/* ---- The command ----------------------------------------------------------------------------- */

static int import_read_char(const struct args *args, const char *name, char *out) {
    const char *const value = args_value(args, name);
    if (value == NULL) {
        return CLI_OK;
    }
    const char c = strcmp(value, "tab") == 0 || strcmp(value, "\\t") == 0 ? '\t' : value[0];
    if ((value[0] == '\0' || value[1] != '\0') && c != '\t') {
        cli_error("--%s '%s' is not one character (or tab)", name, value);
        return CLI_USAGE;
    }
    if (c == '"' || c == '\n' || c == '\r' || (unsigned char)c >= 0x80) {
        cli_error("--%s cannot be a quote, a line break or a character beyond ASCII", name);
        return CLI_USAGE;
    }
    *out = c;
    return CLI_OK;
}

static int import_read_options(struct import *im, const struct args *args) {
    im->errors_name = args_value(args, "errors");
    im->format.format = rows_format_of(args_value(args, "format"));
    im->format.columns = args_value(args, "columns");
    int code = import_read_char(args, "delimiter", &im->format.delimiter);
    code = code == CLI_OK ? import_read_char(args, "list-separator", &im->list_separator) : code;
    code = code == CLI_OK ? args_number(args, "batch", 1, U2I_BATCH_MAX, &im->batch) : code;
    code = code == CLI_OK ? args_number(args, "max-errors", 0, UINT64_MAX, &im->max_errors) : code;
    code = code == CLI_OK ? args_number(args, "from-line", 1, UINT64_MAX, &im->from_line) : code;
    code =
        code == CLI_OK ? fields_init(&im->fields, im->kind->fields, args, im->kind->attrs) : code;
    return code;
}

static void import_say_bad(const struct import *im) {
    const char *const errors = im->errors_name;
    if (im->total.bad > 10) {
        cli_error("%llu bad rows; %s%s", (unsigned long long)im->total.bad,
                  errors != NULL ? "all are in " : "--errors FILE writes them all",
                  errors != NULL ? errors : "");
    }
}

static int import_files(struct import *im, const struct args *args) {
    int code = CLI_OK;
    import_watch_signals();
    for (size_t i = 2; code == CLI_OK && i < args->words_n; i++) {
        code = import_file(im, args->words[i], args_has(args, "json"));
    }
    import_say_bad(im);
    return code == CLI_OK && im->total.bad > 0 && im->total.put == 0 ? CLI_BADROWS : code;
}

/* So that the next program that opens the store finds an index and need not make one. */
static int import_finish(const struct import *im, const struct args *args) {
    const struct indexing how = {
        .silent = args_has(args, "json"), .quiet_if_none = true, .stopped = &import_stop};
    const bool wanted =
        im->kind == &import_items && im->total.put > 0 && !args_has(args, "no-index");
    return wanted ? indexing_wait(im->cli, im->store, &how) : CLI_OK;
}

static int import_run(struct cli *cli, const struct args *args) {
    const char *const kind = args_word(args, 1);
    struct import im = {.cli = cli};
    im.kind = strcmp(kind, "items") == 0    ? &import_items
              : strcmp(kind, "events") == 0 ? &import_events
                                            : &import_users;
    int code = import_read_options(&im, args);
    if (code == CLI_OK) {
        code = cli_open(args, U2I_OPEN_EXISTING, &im.store);
    }
    code = code == CLI_OK ? import_check_errors(&im, args) : code;
    code = code == CLI_OK ? im.kind->start(&im, args) : code;
    code = code == CLI_OK ? import_batch_start(&im) : code;
    code = code == CLI_OK ? import_files(&im, args) : code;
    code = code == CLI_OK ? import_finish(&im, args) : code;
    import_batch_free(&im);
    json_decref(im.action_map);
    fields_free(&im.fields);
    if (im.errors != NULL && fclose(im.errors) != 0) {
        cli_error("%s: %s", im.errors_name, strerror(errno));
        code = code == CLI_OK ? CLI_ERROR : code;
    }
    return cli_close(im.store, code);
}

const struct command cmd_import = {
    .name = "import",
    .summary = "put items, events or users from files into a store",
    .about =
        "Fields are found by column name (JSON: key):\n"
        "  items   id, title, text, category, vector, attrs\n"
        "  events  user, item, action, timestamp or time or time_ms, value, id or event_id\n"
        "  users   id or user, interests, attrs, decay\n"
        "--map names other columns. Further JSON keys of items and users become attributes; "
        "further\n"
        "CSV columns do with --attr or --attrs-rest. A CSV column's type is number, bool or list "
        "if\n"
        "all of its cells in the first 1,000 rows are, else text; empty cells are no attribute.\n"
        "\n"
        "Importing the same file again is safe: items and users are replaced, and events without "
        "an\n"
        "id get one made of the file's name and beginning, the line, and what it says, so that "
        "none\n"
        "counts twice. A bad row is reported with its line and left out.\n",
    .args = import_args,
    .options = {import_options, fields_map_options, fields_attr_options, cli_json_options,
                cli_common_options},
    .examples = import_examples,
    .exits = {CLI_NOTFOUND, CLI_BADROWS, CLI_LATER, CLI_INTERRUPTED},
    .run = import_run};
