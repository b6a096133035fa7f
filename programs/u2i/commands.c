/* The list of commands, and finding one by name. */
#include "commands.h"
#include <string.h>

const struct command *const commands_all[] = {
    &cmd_init,    &cmd_import,  &cmd_record, &cmd_events,     &cmd_recommend,
    &cmd_similar, &cmd_popular, &cmd_search, &cmd_user,       &cmd_item,
    &cmd_delete,  &cmd_stats,   &cmd_config, &cmd_verify,     &cmd_index,
    &cmd_reembed, &cmd_train,   &cmd_eval,   &cmd_model,      &cmd_export,
    &cmd_help,    &cmd_version, &cmd_man,    &cmd_completion, NULL};

const struct command *commands_find(const char *name) {
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        if (strcmp(commands_all[i]->name, name) == 0) {
            return commands_all[i];
        }
    }
    return NULL;
}

int commands_refuse(const char *name) {
    struct suggestion s = {name, NULL, 0};
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        if (!commands_all[i]->hidden) {
            suggest_add(&s, commands_all[i]->name);
        }
    }
    const char *const near = suggest_best(&s);
    if (near != NULL) {
        cli_error("there is no command '%s'; did you mean '%s'?", name, near);
    } else {
        cli_error("there is no command '%s'; u2i help lists them", name);
    }
    return CLI_USAGE;
}
