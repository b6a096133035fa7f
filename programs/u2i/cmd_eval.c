/* u2i eval: how good are the recommendations? The work is in eval_*.c (eval.h says which is where). */
#include "commands.h"
#include "eval.h"
#include <stdlib.h>

static const struct option_spec eval_options[] = {
    {.name = "items",
     .value = "FILE",
     .file = true,
     .help = "the catalogue: CSV of id, title, category, text"},
    {.name = "split",
     .value = "FOLDER",
     .many = true,
     .file = true,
     .help =
         "train, history, heldout (.csv or .csv.gz) and what else docs/eval.md names; several are "
         "also shown together"},
    {.name = "variant",
     .letter = 'v',
     .value = "'NAME: SETTING=VALUE ...'",
     .many = true,
     .help = "settings to compare; each is trained and asked. train=no leaves the training out, "
             "check=time|users chooses how it is checked"},
    {.name = "answers",
     .value = "NAME=FILE",
     .many = true,
     .help =
         "answers of another recommender (user,item,rank) to compare; {split} in FILE becomes the "
         "split's name"},
    {.name = "set",
     .letter = 's',
     .value = "NAME=VALUE",
     .many = true,
     .help = "a setting of all variants"},
    {.name = "metric",
     .value = "NAME",
     .initial = "ndcg10",
     .choices = "ndcg10|ndcg100|recall20|recall20raw|hr10|mrr",
     .help = "what the variants are compared by"},
    {.name = "with-text", .help = "the items' texts too, not only titles and categories"},
    {.name = "value", .help = "let the column value multiply the action's weight"},
    {.name = "map-action",
     .value = "THEIRS=OURS",
     .many = true,
     .help = "rename an action; return, refund, skip, remove and hide are dislikes unless you say "
             "else"},
    {.name = "out",
     .letter = 'o',
     .value = "FILE",
     .file = true,
     .help = "write the answers, as {variant}/{split}.csv for instance"},
    {.name = "per-user", .value = "FILE", .file = true, .help = "write each user's metrics as CSV"},
    {.name = "plot",
     .value = "FILE",
     .file = true,
     .help = "draw quality against time per answer, as SVG"},
    {.name = "model",
     .value = "NAME",
     .help = "what makes vectors of text: hash, or the path of a model's folder, see u2i init; "
             "default hash"},
    {.name = "store",
     .value = "FILE",
     .file = true,
     .help = "keep the split's store there; default in memory"},
    {.name = "csv", .help = "print the figures as CSV"},
    {.name = "limit", .letter = 'n', .value = "N", .initial = "100", .help = "length of the lists"},
    {.name = "threads", .value = "N", .initial = "0", .help = "that ask at once; 0 = all cores"},
    {.name = "samples", .value = "N", .initial = "10000", .help = "of the bootstrap"},
    {.name = "seed", .value = "N", .initial = "0", .help = "of the bootstrap, or of --make"},
    {0}};

static const struct option_spec eval_make_options[] = {
    {.name = "make",
     .value = "KIND",
     .choices = "unseen-users|leave-last|global-time|cold-items",
     .help = "make a split instead, in the folder --to"},
    {.name = "to", .value = "FOLDER", .file = true, .help = "made if it is not there"},
    {.name = "events",
     .value = "FILE",
     .file = true,
     .help = "the log: CSV of user, item, action, timestamp, value"},
    {.name = "from",
     .value = "STORE",
     .file = true,
     .help = "or a store, whose events are the log"},
    {.name = "fold",
     .value = "F",
     .initial = "0",
     .help = "which part of the users is tested, from 0"},
    {.name = "folds",
     .value = "N",
     .initial = "5",
     .help = "into how many parts users are divided"},
    {.name = "positive",
     .value = "ACTION",
     .many = true,
     .help =
         "what is to be guessed; default: whatever is neither negative nor a view, click, open or "
         "impression"},
    {.name = "baskets", .help = "what has the same time stays together"},
    {.name = "min-positives",
     .value = "N",
     .initial = "5",
     .help = "users with fewer are not tested"},
    {.name = "days",
     .value = "N",
     .initial = "42",
     .help = "global-time: how far ahead is guessed"},
    {.name = "at",
     .value = "TIME",
     .help = "global-time: from when on; default when 85 % of the log was there"},
    {0}};

static const struct example eval_examples[] = {
    {"u2i eval --make unseen-users --from shop.db --to split0 --seed 1",
     "a fifth of the users, and for each what to guess"},
    {"u2i eval --items items.csv --split split0", "how well the default settings guess it"},
    {"u2i eval --items items.csv --split split0 -v 'default:' -v 'content: train=no' --plot "
     "eval.svg",
     "two variants side by side, with the interval of their difference, and a picture"},
    {"u2i eval --items items.csv --split s0 --split s1 -v 'u2i:' --answers 'peer=peer-{split}.csv'",
     "against another recommender's answers, folds taken together"},
    {0}};

static int eval_run_variants(const struct eval_options *o, struct eval_world *w,
                             struct eval_results *r, size_t split) {
    struct eval_run *const runs = &r->runs[split * o->variants_n];
    const struct eval_split *const s = &r->splits[split];
    bool engine = false;
    int code = CLI_OK;
    for (size_t v = 0; code == CLI_OK && v < o->variants_n; v++) {
        code = eval_run_new(&runs[v], s, &o->variants[v]);
        engine = engine || o->variants[v].file == NULL;
    }
    if (code == CLI_OK && engine) {
        code = eval_run_split(o, w, s, runs);
    }
    for (size_t v = 0; code == CLI_OK && v < o->variants_n; v++) {
        if (o->variants[v].file != NULL) {
            code = eval_run_file(o, w, &runs[v]);
        } else if (o->out != NULL) {
            code = eval_run_write(o, w, &runs[v]);
        }
        eval_run_judge(w, &runs[v]);
    }
    return code;
}

static int eval_judge(const struct cli *cli, const struct eval_options *o, struct eval_world *w) {
    struct eval_split splits[EVAL_SPLITS_MAX] = {{0}};
    struct eval_results r = {.options = o, .world = w, .splits = splits};
    const char *const items = args_value(o->args, "items");
    bool engine = false;
    int code = items == NULL ? CLI_OK : eval_read_catalogue(w, items, o->with_text);
    r.runs = calloc(o->splits_n * o->variants_n, sizeof *r.runs);
    if (r.runs == NULL) {
        return cli_no_memory();
    }
    for (size_t v = 0; v < o->variants_n; v++) {
        engine = engine || o->variants[v].file == NULL;
    }
    for (size_t k = 0; code == CLI_OK && k < o->splits_n; k++) {
        code = eval_split_load(&splits[k], w, o->folders[k], engine);
        code = code == CLI_OK ? eval_run_variants(o, w, &r, k) : code;
    }
    code = code == CLI_OK ? eval_report(cli, &r) : code;
    code = code == CLI_OK && o->per_user != NULL ? eval_report_per_user(&r, o->per_user) : code;
    code = code == CLI_OK && o->plot != NULL ? eval_plot_write(&r, o->plot) : code;
    for (size_t i = 0; i < o->splits_n * o->variants_n; i++) {
        eval_run_free(&r.runs[i]);
    }
    for (size_t k = 0; k < o->splits_n; k++) {
        eval_split_free(&splits[k]);
    }
    free(r.runs);
    return code;
}

static int eval_command(struct cli *cli, const struct args *args) {
    struct eval_options o;
    struct eval_world w = {.catalogue_n = 0};
    if (args_value(args, "make") != NULL) {
        return eval_make(cli, args);
    }
    int code = eval_options_read(&o, args);
    code = code == CLI_OK ? eval_judge(cli, &o, &w) : code;
    eval_world_free(&w);
    eval_options_free(&o);
    return code;
}

const struct command cmd_eval = {
    .name = "eval",
    .summary = "how good the recommendations are, by what users did afterwards",
    .about =
        "A split says what may be known and what is to be guessed. Its training events go into a\n"
        "store of their own, its test users are asked with their history as a session, and what "
        "they\n"
        "really did judges the answers: NDCG, recall, hit rate, MRR; coverage, novelty, "
        "diversity;\n"
        "time per answer and of the training. Formulas and files: docs/eval.md. With --make it "
        "makes\n"
        "splits from a log or a store.\n",
    .options = {eval_options, eval_make_options, cli_json_options, cli_common_options},
    .examples = eval_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER, CLI_INTERRUPTED},
    .run = eval_command};
