/* Help for people, written from the tables: `u2i help`, `u2i COMMAND --help`. */
#include "commands.h"
#include <string.h>

#define HELP_INDENT 28 /* where the explanations begin */
#define HELP_WIDTH  96

void help_usage(struct text *out, const struct command *command) {
    text_fmt(out, "u2i %s", command->name);
    for (const struct arg_spec *a = command->args; a != NULL && a->name != NULL; a++) {
        const char *const name = a->choices != NULL ? a->choices : a->name;
        text_fmt(out, a->count == ARG_OPTIONAL ? " [%s]" : " %s", name);
        text_str(out, a->count == ARG_SOME ? "..." : "");
    }
    text_str(out, " [options]");
}

/* `label`, then `text` wrapped at HELP_WIDTH from column HELP_INDENT on. */
static void help_entry(FILE *out, const char *label, const char *text) {
    const size_t label_n = strlen(label);
    (void)fprintf(out, "  %-*s", HELP_INDENT - 2, label);
    if (label_n > HELP_INDENT - 4) {
        (void)fprintf(out, "\n%*s", HELP_INDENT, "");
    }
    size_t column = HELP_INDENT;
    while (*text != '\0') {
        const size_t n = strcspn(text, " ");
        if (column > HELP_INDENT && column + 1 + n > HELP_WIDTH) {
            (void)fprintf(out, "\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        } else if (column > HELP_INDENT) {
            (void)fputc(' ', out);
            column++;
        }
        (void)fwrite(text, 1, n, out);
        column += n;
        text += n + (text[n] == ' ');
    }
    (void)fputc('\n', out);
}

static void help_option(FILE *out, const struct option_spec *o) {
    struct text label = {0}, text = {0};
    if (o->letter != 0) {
        text_fmt(&label, "-%c, ", o->letter);
    }
    text_fmt(&label, "--%s", o->name);
    if (o->value != NULL) {
        text_fmt(&label, " %s", o->value);
    }
    text_str(&text, o->help);
    if (o->choices != NULL) {
        text_fmt(&text, ": one of %s", o->choices);
    }
    if (o->many) {
        text_str(&text, "; may be repeated");
    }
    if (o->initial != NULL) {
        text_fmt(&text, " (default %s)", o->initial);
    }
    help_entry(out, text_cstr(&label), text_cstr(&text));
    text_free(&label);
    text_free(&text);
}

static void help_exit_codes(FILE *out, const struct command *command) {
    (void)fputs("\nExit codes\n", out);
    for (const struct exit_spec *e = options_exits; e->meaning != NULL; e++) {
        bool listed = e->code <= CLI_USAGE;
        for (size_t i = 0; command->exits[i] != 0; i++) {
            listed = listed || command->exits[i] == e->code;
        }
        if (listed) {
            char code[16];
            (void)snprintf(code, sizeof code, "%d", e->code);
            help_entry(out, code, e->meaning);
        }
    }
}

static int help_listed(void *ctx, const char *name, const char *help) {
    help_entry(ctx, name, help);
    return 0;
}

void help_command(FILE *out, const struct command *command) {
    struct text usage = {0};
    help_usage(&usage, command);
    (void)fprintf(out, "u2i %s: %s\n\n  %s\n\n%s", command->name, command->summary,
                  text_cstr(&usage), command->about);
    text_free(&usage);
    if (command->args != NULL) {
        (void)fputs("\nArguments\n", out);
        for (const struct arg_spec *a = command->args; a->name != NULL; a++) {
            help_entry(out, a->name, a->help);
        }
    }
    (void)fputs("\nOptions\n", out);
    const struct option_spec *o;
    for (size_t i = 0; (o = command_option(command, i)) != NULL; i++) {
        help_option(out, o);
    }
    if (command->list != NULL) {
        (void)fprintf(out, "\n%s\n", command->list);
        command->each(help_listed, out);
    }
    if (command->examples != NULL) {
        (void)fputs("\nExamples\n", out);
        for (const struct example *e = command->examples; e->line != NULL; e++) {
            (void)fprintf(out, "  %s\n      %s\n", e->line, e->meaning);
        }
    }
    help_exit_codes(out, command);
}

void help_overview(FILE *out) {
    (void)fputs("u2i: what should this user see next?\n\n"
                "  u2i COMMAND STORE [arguments] [options]\n\nCommands\n",
                out);
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        if (!commands_all[i]->hidden) {
            help_entry(out, commands_all[i]->name, commands_all[i]->summary);
        }
    }
    (void)fputs("\nSTORE is the store's file; @ stands for the one named by U2I_STORE.\n"
                "u2i COMMAND --help explains a command with examples.\n\nFirst steps\n"
                "  u2i init shop.db\n"
                "  u2i import shop.db items items.csv\n"
                "  u2i import shop.db events events.csv.gz\n"
                "  u2i recommend shop.db u7\n",
                out);
}
