/* u2i, the command line: a thin door over u2i.h. It finds the command, parses its arguments by the
 * command's own table, runs it, and makes sure that what was printed has been written.
 *
 * One file per command (cmd_*.c), each with its table; import has its parts in import_*.c over
 * rows.c (what a row is), csv.c and jsonl.c (how it is read) and input.c (where from). */
#include "commands.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static int main_run(struct cli *cli, const struct command *command, int argc, char **argv) {
    struct args args;
    int code = args_parse(command, argc, argv, &args);
    if (code != CLI_OK) {
        return code;
    }
    if (args.help) {
        help_command(cli->out, command);
    } else {
        code = command->run(cli, &args);
    }
    args_free(&args);
    return code;
}

static const struct command *main_command(const char *word) {
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        return &cmd_help;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        return &cmd_version;
    }
    return commands_find(word);
}

int main(int argc, char **argv) {
    struct cli cli = {argv[0], stdout, display_of(STDOUT_FILENO)};
    if (argc < 2) {
        help_overview(stderr);
        return CLI_USAGE;
    }
    const struct command *const command = main_command(argv[1]);
    if (command == NULL && argv[1][0] == '-') {
        cli_error("the command comes first: u2i COMMAND %s ...; u2i help lists the commands",
                  argv[1]);
        return CLI_USAGE;
    }
    const int code =
        command == NULL ? commands_refuse(argv[1]) : main_run(&cli, command, argc - 2, argv + 2);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("cannot write the output: %s", strerror(errno));
        return code == CLI_OK ? CLI_ERROR : code;
    }
    return code;
}
