/* See eval.h. The options of u2i eval: which splits, which variants. */
#include "eval.h"
#include "interrupt.h"
#include <stdlib.h>
#include <string.h>

/* ---- Variants --------------------------------------------------------------------------------- */

static int eval_refuse_pair(const char *where, const char *pair) {
    cli_error("%s: '%s': write SETTING=VALUE; u2i help config says which there are", where, pair);
    return CLI_USAGE;
}

/* "train=no", "check=time", or a setting. */
static int eval_variant_pair(struct eval_variant *v, const char *where, const char *pair) {
    const char *const equals = strchr(pair, '=');
    if (equals == NULL || equals == pair) {
        return eval_refuse_pair(where, pair);
    }
    if (strcmp(pair, "train=no") == 0) {
        v->untrained = true;
        return CLI_OK;
    }
    if (strcmp(pair, "check=time") == 0 || strcmp(pair, "check=users") == 0) {
        v->check = pair[6] == 't' ? "time" : "users";
        return CLI_OK;
    }
    if (v->n == EVAL_PAIRS_MAX) {
        cli_error("%s: more than %d settings", where, EVAL_PAIRS_MAX);
        return CLI_USAGE;
    }
    v->names[v->n] = strndup(pair, (size_t)(equals - pair));
    v->values[v->n] = strdup(equals + 1);
    const bool ok = v->names[v->n] != NULL && v->values[v->n] != NULL;
    v->n++;
    return ok ? CLI_OK : cli_no_memory();
}

static void eval_variant_free(struct eval_variant *v) {
    for (size_t i = 0; i < v->n; i++) {
        free(v->names[i]);
        free(v->values[i]);
    }
    free(v->name);
    free(v->file);
}

/* The next free variant, named by the text before `mark`; what follows is left in *rest. */
static int eval_variant_new(struct eval_options *o, const char *option, const char *text, char mark,
                            const char **rest) {
    const char *const end = strchr(text, mark);
    if (end == NULL || end == text) {
        cli_error("--%s '%s': it begins with the variant's name and a '%c'", option, text, mark);
        return CLI_USAGE;
    }
    if (o->variants_n == EVAL_VARIANTS_MAX) {
        cli_error("more than %d variants", EVAL_VARIANTS_MAX);
        return CLI_USAGE;
    }
    struct eval_variant *const v = &o->variants[o->variants_n++];
    v->name = strndup(text, (size_t)(end - text));
    *rest = end + 1;
    return v->name != NULL ? CLI_OK : cli_no_memory();
}

static int eval_read_variant(struct eval_options *o, const char *text) {
    const char *rest = NULL;
    int code = eval_variant_new(o, "variant", text, ':', &rest);
    char *const words = code == CLI_OK ? strdup(rest) : NULL;
    char *at = NULL;
    if (code == CLI_OK && words == NULL) {
        return cli_no_memory();
    }
    for (char *word = words == NULL ? NULL : strtok_r(words, " \t", &at);
         code == CLI_OK && word != NULL; word = strtok_r(NULL, " \t", &at)) {
        code = eval_variant_pair(&o->variants[o->variants_n - 1], "--variant", word);
    }
    free(words);
    return code;
}

static int eval_read_answers(struct eval_options *o, const char *text) {
    const char *rest = NULL;
    const int code = eval_variant_new(o, "answers", text, '=', &rest);
    if (code != CLI_OK) {
        return code;
    }
    struct eval_variant *const v = &o->variants[o->variants_n - 1];
    v->file = strdup(rest);
    return v->file != NULL ? CLI_OK : cli_no_memory();
}

/* In the order in which they were given; without any, one with the settings as they are. */
static int eval_read_variants(struct eval_options *o, const struct args *args) {
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < args->options_n; i++) {
        const char *const name = args->options[i].spec->name, *const value = args->options[i].value;
        if (strcmp(name, "variant") == 0) {
            code = eval_read_variant(o, value);
        } else if (strcmp(name, "answers") == 0) {
            code = eval_read_answers(o, value);
        } else if (strcmp(name, "set") == 0) {
            code = eval_variant_pair(&o->common, "--set", value);
        }
    }
    if (code == CLI_OK && o->variants_n == 0) {
        o->variants[0].name = strdup("u2i");
        o->variants_n = 1;
        code = o->variants[0].name != NULL ? CLI_OK : cli_no_memory();
    }
    for (size_t i = 0; i < o->variants_n; i++) {
        struct eval_variant *const v = &o->variants[i];
        v->untrained = v->untrained || o->common.untrained;
        v->check = v->check != NULL ? v->check : o->common.check;
        for (size_t k = 0; code == CLI_OK && k < i; k++) {
            if (strcmp(v->name, o->variants[k].name) == 0) {
                cli_error("two variants are called '%s'", v->name);
                code = CLI_USAGE;
            }
        }
    }
    return code;
}

/* ---- The rest --------------------------------------------------------------------------------- */

static int eval_read_splits(struct eval_options *o, const struct args *args) {
    const char *folder;
    for (size_t at = 0; (folder = args_each(args, "split", &at)) != NULL;) {
        if (o->splits_n == EVAL_SPLITS_MAX) {
            cli_error("more than %d splits", EVAL_SPLITS_MAX);
            return CLI_USAGE;
        }
        o->folders[o->splits_n++] = folder;
    }
    if (o->splits_n == 0) {
        cli_error("eval needs --split FOLDER (or --make to make one); see u2i eval --help");
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int eval_read_map(struct eval_options *o, const struct args *args) {
    const char *rule;
    o->action_map = json_object();
    if (o->action_map == NULL) {
        return cli_no_memory();
    }
    for (size_t at = 0; (rule = args_each(args, "map-action", &at)) != NULL;) {
        const char *const equals = strchr(rule, '=');
        char *const theirs = equals == NULL ? NULL : strndup(rule, (size_t)(equals - rule));
        const bool ok = theirs != NULL && equals[1] != '\0' &&
                        json_object_set_new(o->action_map, theirs, json_string(equals + 1)) == 0;
        free(theirs);
        if (!ok) {
            cli_error("--map-action %s: write THEIRS=OURS, e.g. --map-action return=dislike", rule);
            return CLI_USAGE;
        }
    }
    return CLI_OK;
}

/* One name for several files would leave only the last. */
static int eval_check_files(const struct eval_options *o, const struct args *args) {
    bool engine = false;
    for (size_t i = 0; i < o->variants_n; i++) {
        engine = engine || o->variants[i].file == NULL;
    }
    if (o->out != NULL && ((o->splits_n > 1 && strstr(o->out, "{split}") == NULL) ||
                           (o->variants_n > 1 && strstr(o->out, "{variant}") == NULL))) {
        cli_error(
            "--out %s is one file, and there are several answers: put {split} and {variant} into "
            "its name",
            o->out);
        return CLI_USAGE;
    }
    if (o->store != NULL && o->splits_n > 1) {
        cli_error("--store keeps the store of one split, and there are %zu", o->splits_n);
        return CLI_USAGE;
    }
    if (engine && args_value(args, "items") == NULL) {
        cli_error("eval needs --items FILE: the catalogue, with columns id, title, category");
        return CLI_USAGE;
    }
    return CLI_OK;
}

int eval_options_read(struct eval_options *o, const struct args *args) {
    *o = (struct eval_options){.args = args, .stop = interrupt_watch()};
    const char *const metric = args_value(args, "metric");
    while (o->metric + 1 < EVAL_METRICS && strcmp(eval_metric_names[o->metric], metric) != 0) {
        o->metric++;
    }
    o->store = args_value(args, "store");
    o->model = args_value(args, "model");
    o->out = args_value(args, "out");
    o->per_user = args_value(args, "per-user");
    o->plot = args_value(args, "plot");
    o->with_value = args_has(args, "value");
    o->with_text = args_has(args, "with-text");
    o->json = args_has(args, "json");
    o->csv = args_has(args, "csv");
    int code = args_number(args, "threads", 0, 64, &o->threads);
    code = code == CLI_OK ? args_number(args, "samples", 1, 1000000, &o->samples) : code;
    code = code == CLI_OK ? args_number(args, "seed", 0, UINT64_MAX, &o->seed) : code;
    code = code == CLI_OK ? args_number(args, "limit", 1, EVAL_DEPTH, &o->limit) : code;
    code = code == CLI_OK ? eval_read_splits(o, args) : code;
    code = code == CLI_OK ? eval_read_variants(o, args) : code;
    code = code == CLI_OK ? eval_read_map(o, args) : code;
    return code == CLI_OK ? eval_check_files(o, args) : code;
}

void eval_options_free(struct eval_options *o) {
    for (size_t i = 0; i < o->variants_n; i++) {
        eval_variant_free(&o->variants[i]);
    }
    eval_variant_free(&o->common);
    json_decref(o->action_map);
}
