/* All commands, in the order in which help lists them. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli.h"

extern const struct command cmd_init, cmd_import, cmd_record, cmd_events, cmd_recommend,
    cmd_similar, cmd_popular, cmd_search, cmd_user, cmd_item, cmd_delete, cmd_stats, cmd_config,
    cmd_verify, cmd_index, cmd_reembed, cmd_train, cmd_eval, cmd_model, cmd_export, cmd_completion,
    cmd_help, cmd_version, cmd_man;

extern const struct command *const commands_all[]; /* ends with NULL */
const struct command *commands_find(const char *name);
/* Says that there is no such command, with a suggestion; CLI_USAGE. */
int commands_refuse(const char *name);

/* What the tables say, in four notations. */
void help_overview(FILE *out);
void help_command(FILE *out, const struct command *command);
void help_usage(struct text *out, const struct command *command); /* the synopsis */
int man_print(FILE *out);
int complete_print(FILE *out, const char *shell); /* "bash", "zsh", "fish" */

#endif
