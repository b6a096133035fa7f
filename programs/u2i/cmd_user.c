/* u2i user: one user, shown, set or deleted. */
#include "attrs.h"
#include "commands.h"
#include <stdlib.h>
#include <string.h>

static const struct arg_spec user_args[] = {
    CLI_STORE_ARG,
    {"WHAT", "show|set|delete", ARG_ONE, false, "show, set (insert or change), or delete"},
    {"ID", NULL, ARG_ONE, false, "the user"},
    {0}};

static const struct option_spec user_options[] = {
    {.name = "interests",
     .letter = 'i',
     .value = "TEXT",
     .help = "set: free text, used while there is no history"},
    {.name = "decay",
     .value = "D",
     .help = "set: this user's i-th newest events weigh D^i, e.g. 0.9; 0 = as the store has it"},
    {0}};

static const struct example user_examples[] = {
    {"u2i user shop.db show u7", "what is known of u7 besides the events"},
    {"u2i user shop.db set u7 --interests 'hiking, maps' --attr city=Bern --attr age:=31",
     "interests and attributes; what is not named stays as it was"},
    {"u2i user shop.db delete u7", "erases u7 with all events and the profile"},
    {0}};

static int user_show(const struct cli *cli, const struct args *args, u2i_t *store) {
    u2i_user_t *user;
    u2i_error_t err;
    if (u2i_get_user(store, args_word(args, 2), &user, &err) != U2I_OK) {
        return cli_fail(&err, "user");
    }
    struct text line = {0};
    int code;
    if (args_has(args, "json")) {
        text_char(&line, '{');
        text_json_member(&line, "id", user->id);
        text_json_member(&line, "interests", user->interests);
        text_json_member_raw(&line, "attrs", user->attrs_json);
        if (user->decay > 0) {
            text_json_member_real(&line, "decay", user->decay);
        }
        text_char(&line, '}');
        code = cli_print_line(cli, &line);
    } else {
        if (user->decay > 0) {
            text_json_real(&line, user->decay);
        }
        const char *const pairs[] = {"id",    user->id,         "interests", user->interests,
                                     "attrs", user->attrs_json, "decay",     text_cstr(&line),
                                     NULL};
        code = attrs_print_pairs(cli, pairs);
    }
    text_free(&line);
    u2i_user_free(user);
    return code;
}

static int user_read_decay(const struct args *args, double *decay) {
    const char *const given = args_value(args, "decay");
    char *end;
    if (given == NULL) {
        return CLI_OK;
    }
    *decay = strtod(given, &end);
    if (end == given || *end != '\0' || !(*decay >= 0 && *decay < 1)) {
        cli_error("--decay %s is not a number from 0 to below 1", given);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int user_set(const struct args *args, u2i_t *store) {
    u2i_user_t *before = NULL, user = {.id = args_word(args, 2)};
    u2i_error_t err;
    char *attrs_json = NULL;
    const int rc = u2i_get_user(store, user.id, &before, &err);
    if (rc != U2I_OK && rc != U2I_ENOTFOUND) {
        return cli_fail(&err, "user");
    }
    if (rc == U2I_OK) {
        user.interests = before->interests;
        user.decay = before->decay;
    }
    if (args_has(args, "interests")) {
        user.interests = args_value(args, "interests");
    }
    int code = user_read_decay(args, &user.decay);
    if (code == CLI_OK) {
        code = attrs_read(args, rc == U2I_OK ? before->attrs_json : NULL, &attrs_json);
    }
    user.attrs_json = attrs_json;
    if (code == CLI_OK && u2i_put_users(store, &user, 1, sizeof user, &err) != U2I_OK) {
        code = cli_fail(&err, "user");
    }
    free(attrs_json);
    u2i_user_free(before);
    return code;
}

static int user_run(struct cli *cli, const struct args *args) {
    const char *const what = args_word(args, 1);
    const bool show = strcmp(what, "show") == 0;
    u2i_t *store;
    u2i_error_t err;
    int code = cli_open(args, U2I_OPEN_EXISTING | (show ? U2I_OPEN_READONLY : 0), &store);
    if (code != CLI_OK) {
        return code;
    }
    if (show) {
        code = user_show(cli, args, store);
    } else if (strcmp(what, "set") == 0) {
        code = user_set(args, store);
    } else if (u2i_delete_user(store, args_word(args, 2), &err) != U2I_OK) {
        code = cli_fail(&err, "user");
    }
    return cli_close(store, code);
}

const struct command cmd_user = {
    .name = "user",
    .summary = "show, set or delete a user",
    .about = "set changes what is named and keeps the rest; an empty text takes interests away.\n"
             "delete erases everything known of the user.\n",
    .args = user_args,
    .options = {user_options, attrs_options, cli_json_options, cli_common_options},
    .examples = user_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = user_run};
