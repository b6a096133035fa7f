/* See options.h. Options may stand anywhere, `--` ends them, `-` alone is a word. Long options take
 * their value as --name=value or --name value, short ones as -n5 or -n 5. Names are not abbreviated:
 * a script that relied on it would break with the next option; a mistyped name gets a suggestion. */
#include "options.h"
#include "cli.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct exit_spec options_exits[] = {
    {CLI_OK, "done"},
    {CLI_ERROR, "it failed: a file, the store or the system; the message says what"},
    {CLI_USAGE, "the command line, a value or the filter is wrong"},
    {CLI_NOTFOUND, "no such store, user, item, setting or model"},
    {CLI_BADROWS,
     "more bad rows than --max-errors allows (the good ones before are imported), or no good one"},
    {CLI_FAULTS, "the store has faults"},
    {CLI_LATER, "the store was locked or the time was up; try again"},
    {CLI_INTERRUPTED, "interrupted; what is imported stays and the same command goes on, a "
                      "training changes nothing"},
    {0, NULL}};

/* ---- Suggestions ------------------------------------------------------------------------------ */

#define SUGGEST_MAX 64 /* longer words are not compared */

static size_t suggest_min(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Edits from a to b, an exchange of neighbours counting as one (optimal string alignment). */
static size_t suggest_distance(const char *a, size_t a_n, const char *b, size_t b_n) {
    size_t rows[3][SUGGEST_MAX + 1]; /* the two rows before, and this one, in turn */
    for (size_t j = 0; j <= b_n; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_n; i++) {
        size_t *const now = rows[i % 3], *const up = rows[(i + 2) % 3],
                      *const up2 = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_n; j++) {
            const size_t change = up[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = suggest_min(change, suggest_min(up[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                now[j] = suggest_min(now[j], up2[j - 2] + 1);
            }
        }
    }
    return rows[a_n % 3][b_n];
}

void suggest_add(struct suggestion *s, const char *candidate) {
    const size_t word_n = strlen(s->word), n = strlen(candidate);
    if (word_n == 0 || word_n > SUGGEST_MAX || n > SUGGEST_MAX) {
        return;
    }
    /* The beginning of a word is the best guess there is: "rec" means "recommend". */
    const size_t distance = word_n >= 3 && strncmp(s->word, candidate, word_n) == 0
                                ? 1
                                : suggest_distance(s->word, word_n, candidate, n);
    if (s->best == NULL || distance < s->distance) {
        s->best = candidate;
        s->distance = distance;
    }
}

const char *suggest_best(const struct suggestion *s) {
    const size_t allowed = strlen(s->word) < 5 ? 1 : strlen(s->word) < 9 ? 2 : 3;
    return s->best != NULL && s->distance <= allowed ? s->best : NULL;
}

/* ---- Choices ---------------------------------------------------------------------------------- */

bool choices_have(const char *choices, const char *word) {
    const size_t n = strlen(word);
    for (const char *p = choices; *p != '\0';) {
        const size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, word, n) == 0) {
            return true;
        }
        p += len + (p[len] == '|');
    }
    return false;
}

static int choices_refuse(const char *what, const char *choices, const char *word) {
    char copy[256];
    struct suggestion s = {word, NULL, 0};
    assert(strlen(choices) < sizeof copy);
    (void)strcpy(copy, choices); /* the table's own text, checked above */
    char *rest = NULL;
    for (char *p = strtok_r(copy, "|", &rest); p != NULL; p = strtok_r(NULL, "|", &rest)) {
        suggest_add(&s, p);
    }
    const char *const near = suggest_best(&s);
    if (near != NULL) {
        cli_error("%s cannot be '%s'; did you mean '%s'? It is one of %s", what, word, near,
                  choices);
    } else {
        cli_error("%s cannot be '%s'; it is one of %s", what, word, choices);
    }
    return CLI_USAGE;
}

/* ---- Parsing ---------------------------------------------------------------------------------- */

const struct option_spec *command_option(const struct command *command, size_t i) {
    for (size_t g = 0; g < COMMAND_GROUPS && command->options[g] != NULL; g++) {
        for (const struct option_spec *o = command->options[g]; o->name != NULL; o++) {
            if (i-- == 0) {
                return o;
            }
        }
    }
    return NULL;
}

static const struct option_spec *args_find_long(const struct command *command, const char *name,
                                                size_t n) {
    const struct option_spec *o;
    for (size_t i = 0; (o = command_option(command, i)) != NULL; i++) {
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0) {
            return o;
        }
    }
    return NULL;
}

static const struct option_spec *args_find_letter(const struct command *command, char letter) {
    const struct option_spec *o;
    for (size_t i = 0; (o = command_option(command, i)) != NULL; i++) {
        if (o->letter == letter) {
            return o;
        }
    }
    return NULL;
}

static int args_refuse_option(const struct command *command, const char *word, size_t n) {
    char name[SUGGEST_MAX + 1] = "";
    if (n <= SUGGEST_MAX) {
        memcpy(name, word, n);
        name[n] = '\0';
    }
    struct suggestion s = {name, NULL, 0};
    const struct option_spec *o;
    for (size_t i = 0; (o = command_option(command, i)) != NULL; i++) {
        suggest_add(&s, o->name);
    }
    const char *const near = suggest_best(&s);
    if (near != NULL) {
        cli_error("%s has no option --%.*s; did you mean --%s?", command->name, (int)n, word, near);
    } else {
        cli_error("%s has no option --%.*s; see u2i %s --help", command->name, (int)n, word,
                  command->name);
    }
    return CLI_USAGE;
}

static int args_add_option(struct args *args, const struct option_spec *spec, const char *value) {
    if (spec->choices != NULL && !choices_have(spec->choices, value)) {
        char what[SUGGEST_MAX + 3] = "--";
        (void)strncat(what, spec->name, SUGGEST_MAX); /* the table's own name */
        return choices_refuse(what, spec->choices, value);
    }
    args->options[args->options_n++] = (struct args_option){spec, value};
    args->help = args->help || strcmp(spec->name, "help") == 0;
    return CLI_OK;
}

/* What is left of argv while it is parsed. */
struct args_cursor {
    int argc, at;
    char **argv;
};

static int args_parse_long(struct args *args, struct args_cursor *c) {
    const char *const word = c->argv[c->at] + 2;
    const size_t n = strcspn(word, "=");
    const struct option_spec *const spec = args_find_long(args->command, word, n);
    if (spec == NULL) {
        return args_refuse_option(args->command, word, n);
    }
    if (spec->value == NULL) {
        if (word[n] == '=') {
            cli_error("--%s takes no value", spec->name);
            return CLI_USAGE;
        }
        return args_add_option(args, spec, "");
    }
    if (word[n] == '=') {
        return args_add_option(args, spec, word + n + 1);
    }
    if (c->at + 1 >= c->argc) {
        cli_error("--%s needs a value: --%s %s", spec->name, spec->name, spec->value);
        return CLI_USAGE;
    }
    return args_add_option(args, spec, c->argv[++c->at]);
}

static int args_parse_short(struct args *args, struct args_cursor *c) {
    const char *const word = c->argv[c->at];
    const struct option_spec *const spec = args_find_letter(args->command, word[1]);
    if (spec == NULL) {
        cli_error("%s has no option %s; see u2i %s --help", args->command->name, word,
                  args->command->name);
        return CLI_USAGE;
    }
    if (spec->value == NULL && word[2] != '\0') {
        cli_error("-%c takes no value, and short options are not combined: %s", word[1], word);
        return CLI_USAGE;
    }
    if (spec->value == NULL) {
        return args_add_option(args, spec, "");
    }
    if (word[2] != '\0') {
        return args_add_option(args, spec, word + 2 + (word[2] == '='));
    }
    if (c->at + 1 >= c->argc) {
        cli_error("-%c needs a value: -%c %s", word[1], word[1], spec->value);
        return CLI_USAGE;
    }
    return args_add_option(args, spec, c->argv[++c->at]);
}

/* A word that is none of the argument's choices; the words before it may only be in another order. */
static int args_refuse_word(const struct args *args, const struct arg_spec *spec, size_t i) {
    if (i > 0 && choices_have(spec->choices, args->words[i - 1])) {
        cli_error("the store comes first: u2i %s %s %s ...", args->command->name, args->words[i],
                  args->words[i - 1]);
        return CLI_USAGE;
    }
    return choices_refuse(spec->name, spec->choices, args->words[i]);
}

/* Every argument of the table is there, and nothing beyond it. */
static int args_check_words(const struct args *args) {
    size_t i = 0;
    const struct arg_spec *spec = args->command->args;
    for (; spec != NULL && spec->name != NULL; spec++) {
        if (i >= args->words_n) {
            if (spec->count == ARG_OPTIONAL) {
                continue;
            }
            cli_error("%s needs %s (%s); see u2i %s --help", args->command->name, spec->name,
                      spec->help, args->command->name);
            return CLI_USAGE;
        }
        if (spec->choices != NULL && !choices_have(spec->choices, args->words[i])) {
            return args_refuse_word(args, spec, i);
        }
        i = spec->count == ARG_SOME ? args->words_n : i + 1;
    }
    if (i < args->words_n) {
        cli_error("%s does not know what to do with '%s'; see u2i %s --help", args->command->name,
                  args->words[i], args->command->name);
        return CLI_USAGE;
    }
    return CLI_OK;
}

/* A number below zero is a word: no option's letter is a digit. */
static bool args_is_number(const char *word) {
    char *end;
    if (strspn(word + 1, ".0123456789") == 0) {
        return false;
    }
    (void)strtod(word, &end);
    return *end == '\0';
}

static bool args_is_short(const char *word) {
    return word[0] == '-' && word[1] != '\0' && !args_is_number(word);
}

int args_parse(const struct command *command, int argc, char **argv, struct args *out) {
    *out = (struct args){.command = command};
    const size_t room = (size_t)argc + 1;
    out->words = calloc(room, sizeof *out->words);
    out->options = calloc(room, sizeof *out->options);
    if (out->words == NULL || out->options == NULL) {
        args_free(out);
        return cli_no_memory();
    }
    struct args_cursor c = {argc, 0, argv};
    bool options = true;
    for (; c.at < argc; c.at++) {
        const char *const word = argv[c.at];
        int rc = CLI_OK;
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && word[0] == '-' && word[1] == '-') {
            rc = args_parse_long(out, &c);
        } else if (options && args_is_short(word)) {
            rc = args_parse_short(out, &c);
        } else {
            out->words[out->words_n++] = word;
        }
        if (rc != CLI_OK) {
            args_free(out);
            return rc;
        }
    }
    const int rc = out->help ? CLI_OK : args_check_words(out);
    if (rc != CLI_OK) {
        args_free(out);
    }
    return rc;
}

void args_free(struct args *args) {
    free(args->options);
    free(args->words);
    *args = (struct args){0};
}

/* ---- Asking ----------------------------------------------------------------------------------- */

const char *args_word(const struct args *args, size_t i) {
    return i < args->words_n ? args->words[i] : NULL;
}

static const struct args_option *args_last(const struct args *args, const char *name) {
    for (size_t i = args->options_n; i-- > 0;) {
        if (strcmp(args->options[i].spec->name, name) == 0) {
            return &args->options[i];
        }
    }
    return NULL;
}

bool args_has(const struct args *args, const char *name) {
    assert(args_find_long(args->command, name, strlen(name)) != NULL);
    return args_last(args, name) != NULL;
}

const char *args_value(const struct args *args, const char *name) {
    const struct option_spec *const spec = args_find_long(args->command, name, strlen(name));
    const struct args_option *const given = args_last(args, name);
    assert(spec != NULL);
    if (given != NULL) {
        return given->value;
    }
    return spec == NULL ? NULL : spec->initial;
}

const char *args_each(const struct args *args, const char *name, size_t *at) {
    while (*at < args->options_n) {
        const struct args_option *const o = &args->options[(*at)++];
        if (strcmp(o->spec->name, name) == 0) {
            return o->value;
        }
    }
    return NULL;
}

int args_number(const struct args *args, const char *name, uint64_t min, uint64_t max,
                uint64_t *out) {
    const char *const value = args_value(args, name);
    char *end = NULL;
    errno = 0;
    const unsigned long long n =
        value != NULL && value[0] >= '0' && value[0] <= '9' ? strtoull(value, &end, 10) : 0;
    if (end == NULL || *end != '\0' || errno != 0 || n < min || n > max) {
        cli_error("--%s %s is not a whole number from %llu to %llu", name,
                  value == NULL ? "" : value, (unsigned long long)min, (unsigned long long)max);
        return CLI_USAGE;
    }
    *out = n;
    return CLI_OK;
}

int args_real(const struct args *args, const char *name, double min, double max, double *out) {
    const char *const value = args_value(args, name);
    char *end = NULL;
    const double x = value != NULL && value[0] != '\0' ? strtod(value, &end) : 0;
    if (end == NULL || *end != '\0' || !(x >= min && x <= max)) {
        cli_error("--%s %s is not a number from %g to %g", name, value == NULL ? "" : value, min,
                  max);
        return CLI_USAGE;
    }
    *out = x;
    return CLI_OK;
}
