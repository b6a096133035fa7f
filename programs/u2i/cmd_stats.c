/* u2i stats: what a store holds. */
#include "attrs.h"
#include "commands.h"
#include "indexing.h"
#include "training.h"
#include <string.h>

static const struct arg_spec stats_args[] = {CLI_STORE_ARG, {0}};

static const struct example stats_examples[] = {
    {"u2i stats shop.db", "how many items, users and events, and how large it is"},
    {"u2i stats shop.db --json | jq .events", "one number, for a script"},
    {0}};

static int stats_print_json(const struct cli *cli, u2i_t *store, const u2i_stats_t *s) {
    struct text line = {0};
    text_char(&line, '{');
    text_json_member_int(&line, "items", (long long)s->items);
    text_json_member_int(&line, "items_unknown", (long long)s->items_unknown);
    text_json_member_int(&line, "items_no_vector", (long long)s->items_no_vector);
    text_json_member_int(&line, "users", (long long)s->users);
    text_json_member_int(&line, "events", (long long)s->events);
    text_json_member_int(&line, "sequence", (long long)s->sequence);
    text_json_member_int(&line, "file_bytes", (long long)s->file_bytes);
    text_json_member_int(&line, "memory_bytes", (long long)s->memory_bytes);
    text_json_member_int(&line, "dim", s->dim);
    text_json_member(&line, "model", s->model);
    text_json_member(&line, "model_precision", s->model_precision);
    text_json_member_real(&line, "model_parity", s->model_parity);
    text_json_member(&line, "simd", s->simd);
    text_json_member_int(&line, "index_items", (long long)s->index_items);
    text_json_member_int(&line, "index_pending", (long long)s->index_pending);
    text_json_member_int(&line, "index_ef", s->index_ef);
    text_json_member_int(&line, "index_bytes", (long long)s->index_bytes);
    text_json_member_int(&line, "index_mapped_bytes", (long long)s->index_mapped_bytes);
    text_json_key(&line, "training");
    int code = training_add_json(&line, store);
    text_char(&line, '}');
    code = code == CLI_OK ? cli_print_line(cli, &line) : code;
    text_free(&line);
    return code;
}

static void stats_add_index(struct text *out, const u2i_stats_t *s) {
    if (s->index_items == 0) {
        return; /* all are compared: nothing to tell */
    }
    text_count(out, s->index_items);
    text_str(out, " vectors, ef ");
    text_count(out, s->index_ef);
    text_str(out, "; ");
    indexing_bytes(out, s->index_bytes);
    text_str(out, " in memory, mapped ");
    indexing_bytes(out, s->index_mapped_bytes);
    if (s->index_pending > 0) {
        text_str(out, "; ");
        text_count(out, s->index_pending);
        text_str(out, " vectors are not in it yet");
    }
}

/* ", int8 (auto, parity .9966)": what it computes with, who chose it, and how near it comes to f32. */
static void stats_add_precision(struct text *out, u2i_t *store, const u2i_stats_t *s) {
    char setting[16];
    u2i_error_t err;
    if (s->model_precision[0] == '\0') {
        return;
    }
    const bool known =
        u2i_get_setting(store, "model_precision", setting, sizeof setting, &err) == U2I_OK;
    const bool chosen = known && strcmp(setting, "auto") == 0;
    text_fmt(out, ", %s", s->model_precision);
    if (chosen || s->model_parity > 0) {
        text_fmt(out, " (%s%s", chosen ? "auto" : "", chosen && s->model_parity > 0 ? ", " : "");
        if (s->model_parity > 0) {
            text_fmt(out, "parity %.4f", s->model_parity);
        }
        text_char(out, ')');
    }
}

static int stats_print_table(const struct cli *cli, u2i_t *store, const u2i_stats_t *s) {
    struct text t[9] = {{0}};
    text_count(&t[0], s->items);
    if (s->items_no_vector > 0) {
        text_fmt(&t[0], " (%llu without vector: found by popularity only)",
                 (unsigned long long)s->items_no_vector);
    }
    text_count(&t[1], s->users);
    text_count(&t[2], s->events);
    if (s->items_unknown > 0) {
        text_count(&t[3], s->items_unknown);
        text_str(&t[3], " ids that events name, but no item has");
    }
    indexing_bytes(&t[4], s->file_bytes);
    indexing_bytes(&t[5], s->memory_bytes);
    text_fmt(&t[6], "%s, vectors of %u", s->model, s->dim);
    stats_add_precision(&t[6], store, s);
    text_count(&t[7], s->sequence);
    stats_add_index(&t[8], s);
    const char *const pairs[] = {
        "items",         text_cstr(&t[0]), "users", text_cstr(&t[1]), "events",   text_cstr(&t[2]),
        "unknown items", text_cstr(&t[3]), "file",  text_cstr(&t[4]), "memory",   text_cstr(&t[5]),
        "index",         text_cstr(&t[8]), "model", text_cstr(&t[6]), "sequence", text_cstr(&t[7]),
        "kernels",       s->simd,          NULL};
    const int code = attrs_print_pairs(cli, pairs);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        text_free(&t[i]);
    }
    return code;
}

static int stats_run(struct cli *cli, const struct args *args) {
    u2i_stats_t stats = U2I_STATS_INIT;
    u2i_t *store;
    u2i_error_t err;
    int code = cli_open(args, U2I_OPEN_EXISTING | U2I_OPEN_READONLY, &store);
    if (code == CLI_OK && u2i_stats(store, &stats, &err) != U2I_OK) {
        code = cli_fail(&err, "stats");
    }
    if (code == CLI_OK) {
        code = args_has(args, "json") ? stats_print_json(cli, store, &stats)
                                      : stats_print_table(cli, store, &stats);
    }
    if (code == CLI_OK && !args_has(args, "json")) {
        code = training_print(cli, store);
    }
    return cli_close(store, code);
}

const struct command cmd_stats = {
    .name = "stats",
    .summary = "what a store holds",
    .about = "The sequence is the number of the last change. After a training, what\n"
             "it learnt and how its check went stand below.\n",
    .args = stats_args,
    .options = {cli_json_options, cli_common_options},
    .examples = stats_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = stats_run};
