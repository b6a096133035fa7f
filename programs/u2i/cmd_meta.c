/* u2i about itself: help, version, completion, and man (hidden: the build writes the page with it). */
#include "commands.h"
#include <string.h>

static const struct arg_spec meta_help_args[] = {
    {"COMMAND", NULL, ARG_OPTIONAL, false, "the command to explain; without it, all are listed"},
    {0}};
static const struct example meta_help_examples[] = {
    {"u2i help import", "what `u2i import --help` prints"}, {0}};

static int meta_help(struct cli *cli, const struct args *args) {
    const char *const name = args_word(args, 0);
    if (name == NULL) {
        help_overview(cli->out);
        return CLI_OK;
    }
    const struct command *const command = commands_find(name);
    if (command == NULL) {
        return commands_refuse(name);
    }
    help_command(cli->out, command);
    return CLI_OK;
}

const struct command cmd_help = {.name = "help",
                                 .summary = "list the commands, or explain one",
                                 .about = "Every command also takes --help.\n",
                                 .args = meta_help_args,
                                 .options = {cli_common_options},
                                 .examples = meta_help_examples,
                                 .run = meta_help};

static const struct example meta_version_examples[] = {
    {"u2i version", "prints the program's and the library's version"}, {0}};

static int meta_version(struct cli *cli, const struct args *args) {
    char own[32];
    (void)snprintf(own, sizeof own, "%d.%d.%d", U2I_VERSION_MAJOR, U2I_VERSION_MINOR,
                   U2I_VERSION_PATCH);
    if (args_has(args, "json")) {
        struct text line = {0};
        text_char(&line, '{');
        text_json_member(&line, "program", own);
        text_json_member(&line, "library", u2i_version());
        text_char(&line, '}');
        const int code = cli_print_line(cli, &line);
        text_free(&line);
        return code;
    }
    (void)fprintf(cli->out, "u2i %s", own);
    if (strcmp(own, u2i_version()) != 0) {
        (void)fprintf(cli->out, " (library %s)", u2i_version());
    }
    (void)fputc('\n', cli->out);
    return CLI_OK;
}

const struct command cmd_version = {.name = "version",
                                    .summary = "print the version",
                                    .about = "The library's version is shown when it differs.\n",
                                    .options = {cli_json_options, cli_common_options},
                                    .examples = meta_version_examples,
                                    .run = meta_version};

static const struct arg_spec meta_completion_args[] = {
    {"SHELL", "bash|zsh|fish", ARG_ONE, false, "the shell to write for"}, {0}};
static const struct example meta_completion_examples[] = {
    {"u2i completion bash > /etc/bash_completion.d/u2i", "for everyone on this machine"},
    {"source <(u2i completion bash)", "for this shell only"},
    {"u2i completion fish > ~/.config/fish/completions/u2i.fish", "for yourself, in fish"},
    {0}};

static int meta_completion(struct cli *cli, const struct args *args) {
    return complete_print(cli->out, args_word(args, 0));
}

const struct command cmd_completion = {
    .name = "completion",
    .summary = "print a shell completion script",
    .about = "The script is generated from the same tables as this help.\n",
    .args = meta_completion_args,
    .options = {cli_common_options},
    .examples = meta_completion_examples,
    .run = meta_completion};

static int meta_man(struct cli *cli, const struct args *args) {
    (void)args;
    return man_print(cli->out);
}

static const struct example meta_man_examples[] = {
    {"u2i man | man -l -", "reads the manual without installing it"}, {0}};

const struct command cmd_man = {.name = "man",
                                .summary = "print the man page in roff",
                                .about = "For packagers; the build installs it as u2i(1).\n",
                                .options = {cli_common_options},
                                .examples = meta_man_examples,
                                .hidden = true,
                                .run = meta_man};
