/* The man page u2i(1) in roff (man macros), written from the same tables as the help. */
#include "commands.h"
#include <ctype.h>
#include <string.h>

/* Text in which nothing is taken for a request, an escape or a typographic dash. An indented line
 * stays a line of its own. */
static void man_text(FILE *out, const char *s) {
    bool indented = false;
    for (bool line_start = true; *s != '\0'; s++) {
        if (line_start && indented && *s != ' ') {
            (void)fputs(".br\n", out);
        }
        indented = line_start ? *s == ' ' : indented;
        if (line_start && (*s == '.' || *s == '\'')) {
            (void)fputs("\\&", out);
        }
        if (*s == '\\') {
            (void)fputs("\\e", out);
        } else if (*s == '-') {
            (void)fputs("\\-", out);
        } else {
            (void)fputc(*s, out);
        }
        line_start = *s == '\n';
    }
}

static void man_section(FILE *out, const char *name) {
    (void)fputs(".SH ", out);
    for (; *name != '\0'; name++) {
        (void)fputc(toupper((unsigned char)*name), out);
    }
    (void)fputc('\n', out);
}

static void man_tagged(FILE *out, const char *tag, const char *text) {
    (void)fputs(".TP\n\\fB", out);
    man_text(out, tag);
    (void)fputs("\\fR\n", out);
    man_text(out, text);
    (void)fputc('\n', out);
}

static void man_option(FILE *out, const struct option_spec *o) {
    (void)fputs(".TP\n", out);
    if (o->letter != 0) {
        (void)fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    }
    (void)fputs("\\fB\\-\\-", out);
    man_text(out, o->name);
    (void)fputs("\\fR", out);
    if (o->value != NULL) {
        (void)fputs(" \\fI", out);
        man_text(out, o->value);
        (void)fputs("\\fR", out);
    }
    (void)fputc('\n', out);
    man_text(out, o->help);
    if (o->choices != NULL) {
        (void)fputs(": one of ", out);
        man_text(out, o->choices);
    }
    (void)fputs(o->many ? "; may be repeated" : "", out);
    if (o->initial != NULL) {
        (void)fputs(" (default ", out);
        man_text(out, o->initial);
        (void)fputc(')', out);
    }
    (void)fputs(".\n", out);
}

static void man_usage(FILE *out, const struct command *command) {
    struct text usage = {0};
    help_usage(&usage, command);
    man_text(out, text_cstr(&usage));
    text_free(&usage);
}

static int man_listed(void *ctx, const char *name, const char *help) {
    man_tagged(ctx, name, help);
    return 0;
}

static void man_command(FILE *out, const struct command *command) {
    (void)fprintf(out, ".SS u2i %s\n", command->name);
    man_text(out, command->summary);
    (void)fputs("\n.PP\n\\fB", out);
    man_usage(out, command);
    (void)fputs("\\fR\n.PP\n", out);
    man_text(out, command->about);
    for (const struct arg_spec *a = command->args; a != NULL && a->name != NULL; a++) {
        man_tagged(out, a->name, a->help);
    }
    const struct option_spec *o;
    for (size_t i = 0; (o = command_option(command, i)) != NULL; i++) {
        man_option(out, o);
    }
    if (command->list != NULL) {
        (void)fputs(".PP\n", out);
        man_text(out, command->list);
        (void)fputs(":\n", out);
        command->each(man_listed, out);
    }
    for (const struct example *e = command->examples; e != NULL && e->line != NULL; e++) {
        (void)fputs(".PP\n", out);
        man_text(out, e->meaning);
        (void)fputs(":\n.PP\n.nf\n    ", out);
        man_text(out, e->line);
        (void)fputs("\n.fi\n", out);
    }
}

int man_print(FILE *out) {
    (void)fprintf(out, ".TH U2I 1 \"\" \"u2i %s\" \"User Commands\"\n", u2i_version());
    (void)fputs(".nh\n", out);
    man_section(out, "name");
    (void)fputs("u2i \\- what should this user see next?\n", out);
    man_section(out, "synopsis");
    (void)fputs(".B u2i\n.I COMMAND STORE\n[arguments] [options]\n", out);
    man_section(out, "description");
    (void)fputs(
        "A store is one file with items, users and what the users did. u2i fills it, asks it\n"
        "for recommendations, and looks after it.\n",
        out);
    man_section(out, "commands");
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        if (!commands_all[i]->hidden) {
            man_command(out, commands_all[i]);
        }
    }
    man_section(out, "exit status");
    for (const struct exit_spec *e = options_exits; e->meaning != NULL; e++) {
        char code[16];
        (void)snprintf(code, sizeof code, "%d", e->code);
        man_tagged(out, code, e->meaning);
    }
    man_section(out, "environment");
    man_tagged(out, "U2I_STORE", "The store that @ stands for.");
    man_tagged(out, "COLUMNS", "Width that tables are cut to; otherwise the terminal's.");
    man_tagged(out, "NO_COLOR", "When set, nothing is printed in bold.");
    man_tagged(out, "U2I_MODEL_KEY",
               "The key for a model behind a URL; or U2I_MODEL_KEY_FILE, a file that it is in.");
    man_tagged(out, "U2I_SIMD", "The instruction set to use, e.g. scalar; otherwise the best one.");
    return CLI_OK;
}
