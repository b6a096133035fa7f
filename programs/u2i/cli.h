/* What every command shares: how errors are told, how a store is opened, where output goes.
 *
 * An error is one line on stderr: `u2i: what was wrong, where, what to do`. Functions that print it
 * return the exit code, so that a command says `return cli_fail(&err, ...)`. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "display.h"
#include "options.h"
#include "text.h"
#include "u2i.h"
#include <stdio.h>

struct cli {
    const char *program; /* as called */
    FILE *out;
    struct display display; /* of `out` */
};

extern const struct option_spec cli_common_options[]; /* --help */
extern const struct option_spec cli_json_options[];   /* --json */
#define CLI_STORE_ARG                                                                              \
    { "STORE", NULL, ARG_ONE, true, "the store's file, or @ for the one that U2I_STORE names" }

/* Prints one harmless line. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_no_memory(void); /* says so; CLI_ERROR */
/* A message without the "entry 3: " that counts in a batch which the user has never seen. */
const char *cli_skip_entry(const char *msg);
int cli_exit_of(int rc);                                 /* exit code for an enum u2i_rc */
int cli_fail(const u2i_error_t *err, const char *doing); /* "u2i: DOING: MESSAGE" */

/* Opens the store that the first argument names; anything wrong is printed. CLI_OK or an exit
 * code. */
int cli_open(const struct args *args, uint32_t flags, u2i_t **out);
/* The path that the first argument names; NULL after saying that U2I_STORE is not set. */
const char *cli_store_path(const struct args *args);
/* Closes, and turns a failed close into an error if all was well until then. */
int cli_close(u2i_t *store, int code);

/* Writes one line of JSON, or says that memory ran out. */
int cli_print_line(const struct cli *cli, const struct text *line);

/* Reads the rest of a small file (`-` = stdin) of at most `max_bytes`; prints what is wrong. */
int cli_read_file(const char *path, size_t max_bytes, struct text *out);

/* "NAME=VALUE" (text) and "NAME:=JSON" (typed) as one object, in the order given. Prints what is
 * wrong and returns CLI_USAGE. `object` is a JSON object that is added to. */
int cli_add_typed(json_t *object, const char *pair, const char *option);

#endif
