/* u2i reembed: every item's text becomes a vector again, by the store's model or by another one. ^C keeps what is
 * done. */
#include "commands.h"
#include "indexing.h"
#include "interrupt.h"
#include "progress.h"
#include <string.h>

static const struct arg_spec reembed_args[] = {CLI_STORE_ARG, {0}};

static const struct option_spec reembed_options[] = {
    {.name = "model",
     .letter = 'm',
     .value = "NAME",
     .help = "the store's model from now on, as of u2i init; default the one that it has"},
    {.name = "dim",
     .value = "N",
     .help = "length of the vectors, where the model lets one choose (hash)"},
    {.name = "long-texts",
     .value = "HOW",
     .choices = "cut|average",
     .help = "of texts longer than the model takes: cut: the beginning counts; average: pieces "
             "whose vectors are averaged"},
    {.name = "query-prefix",
     .value = "TEXT",
     .help = "put before questions, as some models want it (e5: 'query: ')"},
    {.name = "passage-prefix",
     .value = "TEXT",
     .help = "put before items' texts, as some models want it (e5: 'passage: ')"},
    {0}};

static const struct example reembed_examples[] = {
    {"u2i reembed shop.db", "word weights and vectors from the catalogue as it is now"},
    {"u2i reembed shop.db --model ./all-MiniLM-L6-v2",
     "another model; answers come from the old vectors until all new ones are there"},
    {"u2i reembed shop.db -m ./e5-small --query-prefix 'query: ' "
     "--passage-prefix 'passage: '",
     "a model that wants to be told what it reads"},
    {"u2i reembed shop.db --model hash --dim 1024", "back to no model at all, with longer vectors"},
    {0}};

struct reembed_bar {
    struct progress progress;
    const volatile sig_atomic_t *stop;
    uint64_t before, done, total; /* before: what an earlier run has done */
    bool moves, begun;
};

static int reembed_show(void *ctx, uint64_t done, uint64_t total) {
    struct reembed_bar *const bar = ctx;
    bar->before = bar->moves && !bar->begun ? done : bar->before; /* told before the first step */
    bar->begun = true;
    bar->done = done;
    bar->total = total;
    progress_show(&bar->progress, "reembed", done - bar->before, done, total);
    return *bar->stop != 0;
}

static int reembed_interrupted(const struct reembed_bar *bar) {
    struct text line = {0};
    text_str(&line, "interrupted: ");
    text_count(&line, bar->done);
    text_str(&line, " of ");
    text_count(&line, bar->total);
    cli_error("%s items are embedded; the same command goes on with the others", text_cstr(&line));
    text_free(&line);
    return CLI_INTERRUPTED;
}

static int reembed_fail(const u2i_error_t *err, const struct reembed_bar *bar) {
    const int code = cli_fail(err, "reembed");
    if (bar->moves && bar->done > 0) {
        cli_warn("what is embedded is kept: the same command goes on");
    }
    return code;
}

static int reembed_work(const struct args *args, u2i_t *store, struct reembed_bar *bar) {
    u2i_reembed_options_t opt = U2I_REEMBED_OPTIONS_INIT;
    uint64_t dim = 0;
    u2i_error_t err;
    if (args_has(args, "dim") && args_number(args, "dim", 1, U2I_DIM_MAX, &dim) != CLI_OK) {
        return CLI_USAGE;
    }
    opt.model = args_value(args, "model");
    opt.dim = (uint32_t)dim;
    opt.long_texts = args_value(args, "long-texts");
    opt.query_prefix = args_value(args, "query-prefix");
    opt.passage_prefix = args_value(args, "passage-prefix");
    opt.progress = reembed_show;
    opt.ctx = bar;
    bar->stop = interrupt_watch();
    progress_start(&bar->progress);
    bar->progress.unit = "texts";
    const int rc = bar->moves ? u2i_reembed_to(store, &opt, &err)
                              : u2i_reembed(store, reembed_show, bar, &err);
    progress_clear(&bar->progress);
    const bool left_off = rc == U2I_ETIMEOUT || (rc == U2I_OK && bar->done < bar->total);
    if (left_off && *bar->stop != 0) {
        return reembed_interrupted(bar);
    }
    return rc == U2I_OK ? CLI_OK : reembed_fail(&err, bar);
}

static int reembed_count_figure(void *ctx, const u2i_figure_t *figure) {
    (void)figure;
    *(bool *)ctx = true;
    return 1; /* one is enough */
}

static void reembed_add_text(struct text *line, const u2i_stats_t *s, uint64_t n, double seconds) {
    text_fmt(line, "model %s, vectors of %u; ", s->model, s->dim);
    text_count(line, n);
    text_fmt(line, " items embedded in %.1f s", seconds);
    if (n > 0 && seconds > 0) {
        text_str(line, ", ");
        text_count(line, (unsigned long long)((double)n / seconds));
        text_str(line, " texts/s");
    }
}

static void reembed_add_json(struct text *line, const u2i_stats_t *s, uint64_t n, double seconds) {
    text_char(line, '{');
    text_json_member(line, "model", s->model);
    text_json_member_int(line, "dim", s->dim);
    text_json_member_int(line, "embedded", (long long)n);
    text_json_member_int(line, "items_no_vector", (long long)s->items_no_vector);
    text_json_member_real(line, "seconds", (double)(long long)(seconds * 1000) / 1000);
    text_char(line, '}');
}

static int reembed_report(const struct cli *cli, const struct args *args, u2i_t *store,
                          const struct reembed_bar *bar) {
    u2i_stats_t s = U2I_STATS_INIT;
    u2i_error_t err;
    struct text line = {0};
    const double seconds = progress_seconds(&bar->progress);
    const uint64_t n = bar->done - bar->before;
    bool trained = false;
    if (u2i_stats(store, &s, &err) != U2I_OK ||
        u2i_scan_training(store, reembed_count_figure, &trained, &err) != U2I_OK) {
        return cli_fail(&err, "reembed");
    }
    if (args_has(args, "json")) {
        reembed_add_json(&line, &s, n, seconds);
    } else {
        reembed_add_text(&line, &s, n, seconds);
        if (trained && n > 0) {
            text_str(&line, "\nnext: u2i train, which learns what the new vectors say of taste");
        }
    }
    const int code = cli_print_line(cli, &line);
    text_free(&line);
    return code;
}

static int reembed_run(struct cli *cli, const struct args *args) {
    static const char *const targets[] = {"model", "dim", "long-texts", "query-prefix",
                                          "passage-prefix"};
    struct reembed_bar bar = {.moves = false};
    u2i_t *store = NULL;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        bar.moves = bar.moves || args_has(args, targets[i]);
    }
    int code = cli_open(args, U2I_OPEN_EXISTING, &store);
    if (code == CLI_OK) {
        code = reembed_work(args, store, &bar);
    }
    if (code == CLI_OK) {
        code = reembed_report(cli, args, store, &bar);
    }
    if (code == CLI_OK) { /* so that the next program finds an index of the new vectors */
        const struct indexing how = {
            .silent = args_has(args, "json"), .quiet_if_none = true, .stopped = bar.stop};
        code = indexing_wait(cli, store, &how);
    }
    return cli_close(store, code);
}

const struct command cmd_reembed = {
    .name = "reembed",
    .summary = "make the items' vectors anew, also with another model",
    .about =
        "With another model (or other prefixes) the new vectors are made beside the old ones, "
        "which\n"
        "serve everybody until the last one is there; then all change in one moment, in every\n"
        "process, also the length of the vectors. Interrupted or killed, the same command goes on\n"
        "where it was; one with another model begins anew. Without options the items are embedded\n"
        "once more with the store's model, after it has learnt its word weights (hash).\n",
    .args = reembed_args,
    .options = {reembed_options, cli_json_options, cli_common_options},
    .examples = reembed_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER, CLI_INTERRUPTED},
    .run = reembed_run};
