/* The command line, described once. Each command is a table (struct command) of its arguments,
 * options and examples; parsing, --help, the man page and the shell completions all read that table,
 * so that they cannot disagree. This file is the table's shape and the parser. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_exit { /* what the program returns; help and man page list them from options_exits */
                CLI_OK = 0,
                CLI_ERROR = 1,
                CLI_USAGE = 2,
                CLI_NOTFOUND = 3,
                CLI_BADROWS = 4,
                CLI_FAULTS = 5,
                CLI_LATER = 6,
                CLI_INTERRUPTED = 130
};
struct exit_spec {
    int code;
    const char *meaning;
};
extern const struct exit_spec options_exits[]; /* ends with meaning NULL */

enum arg_count { ARG_ONE, ARG_OPTIONAL, ARG_SOME /* one or more */ };
struct arg_spec {
    const char *name;    /* "USER"; NULL ends the table */
    const char *choices; /* "items|events", or NULL */
    enum arg_count count;
    bool file; /* a path: completed as such */
    const char *help;
};

struct option_spec {
    const char *name;    /* long name without dashes; NULL ends the table */
    char letter;         /* short form, or 0 */
    bool many;           /* may be repeated */
    bool file;           /* its value is a path */
    const char *value;   /* what its value is called, "N"; NULL = a flag without value */
    const char *initial; /* the default, or NULL */
    const char *choices; /* "csv|jsonl", or NULL */
    const char *help;    /* one sentence without its full stop */
};

struct example {
    const char *line;    /* "u2i recommend shop.db u7"; NULL ends the table */
    const char *meaning; /* what it does */
};

struct cli;
struct args;
#define COMMAND_GROUPS 5 /* tables of options: the command's own and shared ones */
struct command {
    const char *name;
    const char *summary; /* one line, for the list of commands */
    const char *about;   /* paragraphs, each a line ending in \n */
    const struct arg_spec *args;
    const struct option_spec *options[COMMAND_GROUPS]; /* NULL ends the list */
    const struct example *examples;
    int exits[8]; /* codes it may return besides 0, 1 and 2; 0 ends */
    /* A list of its own in help and man page, which the library knows: `each` calls entry() for each line. */
    const char *list; /* its title, or NULL */
    void (*each)(int (*entry)(void *ctx, const char *name, const char *help), void *ctx);
    bool hidden; /* not listed */
    int (*run)(struct cli *cli, const struct args *args);
};

/* One parsed command line; pointers go into argv and the tables. */
struct args_option {
    const struct option_spec *spec;
    const char *value;
};
struct args {
    const struct command *command;
    const char **words; /* the arguments without options */
    size_t words_n;
    struct args_option *options; /* in the order in which they were given */
    size_t options_n;
    bool help; /* --help was among them: nothing else was checked */
};

/* Parses argv[0..argc) (without program and command). Prints what is wrong and returns CLI_USAGE. */
int args_parse(const struct command *command, int argc, char **argv, struct args *out);
void args_free(struct args *args);

const char *args_word(const struct args *args, size_t i); /* NULL past the end */
bool args_has(const struct args *args, const char *name); /* was it given? */
/* The last value given, else the default, else NULL. */
const char *args_value(const struct args *args, const char *name);
/* Values of a repeated option: start with *at = 0; NULL after the last one. */
const char *args_each(const struct args *args, const char *name, size_t *at);
/* A whole number in [min, max]; prints what is wrong and returns CLI_USAGE. */
int args_number(const struct args *args, const char *name, uint64_t min, uint64_t max,
                uint64_t *out);
/* A number in [min, max]; likewise. */
int args_real(const struct args *args, const char *name, double min, double max, double *out);

/* The i-th option of a command over all its groups; NULL past the end. */
const struct option_spec *command_option(const struct command *command, size_t i);
/* Whether `word` is one of "a|b|c". */
bool choices_have(const char *choices, const char *word);
/* The candidate nearest to a mistyped word, or NULL when none is near enough to be meant. Feed the
 * candidates one by one. */
struct suggestion {
    const char *word;
    const char *best;
    size_t distance;
};
void suggest_add(struct suggestion *s, const char *candidate);
const char *suggest_best(const struct suggestion *s);

#endif
