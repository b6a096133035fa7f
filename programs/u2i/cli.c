/* See cli.h. */
#include "cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const struct option_spec cli_common_options[] = {
    {.name = "help", .letter = 'h', .help = "show this help"}, {0}};

const struct option_spec cli_json_options[] = {
    {.name = "json",
     .letter = 'j',
     .help = "print JSON: a list as one object per line, anything else as one object"},
    {0}};

/* ---- Errors ----------------------------------------------------------------------------------- */

static void cli_say(const char *kind, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void cli_say(const char *kind, const char *format, va_list ap) {
    char line[2048];
    struct text clean = {0};
    (void)vsnprintf(line, sizeof line, format, ap); /* cut when longer: it is one line for people */
    display_clean(&clean, line, strlen(line));
    (void)fprintf(stderr, "u2i: %s%s\n", kind, text_cstr(&clean));
    text_free(&clean);
}

void cli_error(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    cli_say("", format, ap);
    va_end(ap);
}

void cli_warn(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    cli_say("note: ", format, ap);
    va_end(ap);
}

int cli_no_memory(void) {
    (void)fputs("u2i: out of memory\n", stderr);
    return CLI_ERROR;
}

int cli_exit_of(int rc) {
    switch (rc) {
    case U2I_OK:
        return CLI_OK;
    case U2I_EINVAL:
    case U2I_EFILTER:
        return CLI_USAGE;
    case U2I_ENOTFOUND:
        return CLI_NOTFOUND;
    case U2I_EBUSY:
    case U2I_ETIMEOUT:
        return CLI_LATER;
    default:
        return CLI_ERROR;
    }
}

const char *cli_skip_entry(const char *msg) {
    static const char prefix[] = "entry ";
    if (strncmp(msg, prefix, sizeof prefix - 1) != 0) {
        return msg;
    }
    const char *const number = msg + sizeof prefix - 1;
    const size_t digits = strspn(number, "0123456789");
    return digits > 0 && strncmp(number + digits, ": ", 2) == 0 ? number + digits + 2 : msg;
}

int cli_fail(const u2i_error_t *err, const char *doing) {
    const char *const msg = err->msg[0] != '\0' ? cli_skip_entry(err->msg) : u2i_rc_name(err->code);
    const char *const advice =
        err->code == U2I_EBUSY ? "; another process is writing, try again" : "";
    if (strncmp(msg, doing, strlen(doing)) == 0) {
        cli_error("%s%s", msg, advice); /* the message names the file itself */
    } else {
        cli_error("%s: %s%s", doing, msg, advice);
    }
    return cli_exit_of(err->code);
}

/* ---- The store -------------------------------------------------------------------------------- */

#define CLI_NOTES_SHOWN 3 /* a damaged store has as many to say as it has rows */

/* Of the one store that a run opens. It outlives the store, whose threads may still log. */
static atomic_uint cli_notes;

static void cli_log(void *ctx, int level, const char *line) {
    (void)ctx;
    if (level <= U2I_LOG_WARN && atomic_fetch_add(&cli_notes, 1) < CLI_NOTES_SHOWN) {
        cli_warn("%s", line);
    }
}

const char *cli_store_path(const struct args *args) {
    const char *const word = args_word(args, 0);
    if (word == NULL || strcmp(word, "@") != 0) {
        return word;
    }
    const char *const path = getenv("U2I_STORE");
    if (path == NULL || path[0] == '\0') {
        cli_error("@ stands for the store named by U2I_STORE, which is not set; "
                  "say export U2I_STORE=shop.db, or name the file");
        return NULL;
    }
    return path;
}

int cli_open(const struct args *args, uint32_t flags, u2i_t **out) {
    const char *const path = cli_store_path(args);
    u2i_options_t opt = U2I_OPTIONS_INIT;
    u2i_error_t err;
    *out = NULL;
    if (path == NULL) {
        return CLI_USAGE;
    }
    opt.flags = flags;
    opt.log = cli_log;
    const int rc = u2i_open(path, &opt, out, &err);
    if (rc == U2I_ENOTFOUND) {
        cli_error("%s: there is no such store; u2i init %s makes one", path, path);
        return CLI_NOTFOUND;
    }
    if (rc != U2I_OK) {
        /* A wrong file is a failure, not a wrong command line. */
        const int code = cli_fail(&err, path);
        return code == CLI_LATER ? CLI_LATER : CLI_ERROR;
    }
    return CLI_OK;
}

int cli_close(u2i_t *store, int code) {
    const int rc = u2i_close(store);
    const unsigned notes = atomic_exchange(&cli_notes, 0);
    if (notes > CLI_NOTES_SHOWN) {
        cli_warn("... and %u more: u2i verify", notes - CLI_NOTES_SHOWN);
    }
    if (rc != U2I_OK && code == CLI_OK) {
        cli_error("closing the store: %s; the last write may not be on disk", u2i_rc_name(rc));
        return CLI_ERROR;
    }
    return code;
}

/* ---- Input and output ------------------------------------------------------------------------- */

int cli_print_line(const struct cli *cli, const struct text *line) {
    if (!text_ok(line)) {
        return cli_no_memory();
    }
    (void)fputs(text_cstr(line), cli->out); /* main() checks the stream at the end */
    (void)fputc('\n', cli->out);
    return CLI_OK;
}

int cli_read_file(const char *path, size_t max_bytes, struct text *out) {
    FILE *const f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char chunk[65536];
    int code = CLI_ERROR;
    if (f == NULL) {
        cli_error("%s: %s", path, strerror(errno));
        return CLI_ERROR;
    }
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && out->n <= max_bytes) {
        text_add(out, chunk, n);
    }
    if (ferror(f)) {
        cli_error("%s: %s", path, strerror(errno));
    } else if (out->n > max_bytes) {
        cli_error("%s: longer than %zu bytes", path, max_bytes);
    } else if (!text_ok(out)) {
        code = cli_no_memory();
    } else {
        code = CLI_OK;
    }
    if (f != stdin) {
        (void)fclose(f); /* only read from */
    }
    return code;
}

int cli_add_typed(json_t *object, const char *pair, const char *option) {
    const char *const equals = strchr(pair, '=');
    if (equals == NULL || equals == pair) {
        cli_error("%s %s: write name=text, or name:=JSON for numbers, true, false and lists",
                  option, pair);
        return CLI_USAGE;
    }
    const bool typed = equals[-1] == ':';
    const size_t name_n = (size_t)(equals - pair) - typed;
    json_error_t why;
    json_t *const value =
        typed ? json_loads(equals + 1, JSON_DECODE_ANY, &why) : json_string(equals + 1);
    if (value == NULL || name_n == 0) {
        cli_error("%s %s: %s", option, pair,
                  !typed        ? "not valid UTF-8"
                  : name_n == 0 ? "there is no name before :="
                                : why.text);
        json_decref(value);
        return CLI_USAGE;
    }
    char *const name = strndup(pair, name_n);
    const int rc = name == NULL ? -1 : json_object_set(object, name, value);
    free(name);
    json_decref(value);
    if (rc != 0) {
        cli_error("%s %s: the name is not valid UTF-8", option, pair);
        return CLI_USAGE;
    }
    return CLI_OK;
}
