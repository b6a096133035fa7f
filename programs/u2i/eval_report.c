/* See eval.h. What was found, side by side: a table for people, JSON lines, CSV; and every variant against the
 * first one, by a paired bootstrap over users. */
#include "eval.h"
#include "table.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool eval_in_group(const struct eval_group *g, const struct eval_user *user) {
    return user->stranger == g->strangers;
}

static const struct eval_run *eval_run_of(const struct eval_results *r, size_t split,
                                          size_t variant) {
    return &r->runs[split * r->options->variants_n + variant];
}

static size_t eval_group_room(const struct eval_results *r, const struct eval_group *g) {
    size_t room = 1;
    for (size_t k = g->from; k < g->to; k++) {
        room += r->splits[k].users_n;
    }
    return room;
}

/* ---- Figures ---------------------------------------------------------------------------------- */

static void eval_summary_latency(const struct eval_results *r, const struct eval_group *g,
                                 size_t variant, double *values, struct eval_summary *out) {
    size_t n = 0;
    for (size_t k = g->from; k < g->to; k++) {
        const struct eval_run *const run = eval_run_of(r, k, variant);
        for (size_t i = 0; run->latency_ms != NULL && i < run->split->users_n; i++) {
            if (eval_in_group(g, &run->split->users[i])) {
                values[n++] = (double)run->latency_ms[i];
            }
        }
    }
    out->latency_ms_p50 = eval_quantile(values, n, 0.5);
    out->latency_ms_p95 = eval_quantile(values, n, 0.95);
    out->latency_ms_p99 = eval_quantile(values, n, 0.99);
}

/* Marks what the group's users were shown and returns how many different items that is. */
static size_t eval_count_shown(const struct eval_results *r, const struct eval_group *g,
                               size_t variant, bool *shown) {
    size_t count = 0;
    for (size_t k = g->from; k < g->to; k++) {
        const struct eval_run *const run = eval_run_of(r, k, variant);
        for (size_t i = 0; i < run->split->users_n; i++) {
            for (size_t rank = 0; rank < EVAL_COVERAGE && rank < run->counts[i]; rank++) {
                const uint32_t item = run->items[i * EVAL_DEPTH + rank];
                if (eval_in_group(g, &run->split->users[i]) && !shown[item]) {
                    shown[item] = true;
                    count++;
                }
            }
        }
    }
    return count;
}

bool eval_results_summary(const struct eval_results *r, const struct eval_group *g, size_t variant,
                          struct eval_summary *out) {
    const size_t room = eval_group_room(r, g);
    const struct eval_scores **const scores = calloc(room, sizeof *scores);
    double *const values = calloc(room, sizeof *values);
    bool *const shown = calloc((size_t)r->world->items.n + 1, sizeof *shown);
    const bool ok = scores != NULL && values != NULL && shown != NULL;
    size_t n = 0;
    for (size_t k = g->from; ok && k < g->to; k++) {
        const struct eval_run *const run = eval_run_of(r, k, variant);
        for (size_t i = 0; i < run->split->users_n; i++) {
            if (eval_in_group(g, &run->split->users[i])) {
                scores[n++] = &run->scores[i];
            }
        }
    }
    if (ok) {
        eval_summarise(scores, n, out);
        eval_summary_latency(r, g, variant, values, out);
        if (r->world->catalogue_n > 0) {
            out->coverage =
                (double)eval_count_shown(r, g, variant, shown) / (double)r->world->catalogue_n;
        }
    }
    free(scores);
    free(values);
    free(shown);
    return ok;
}

/* A variant against the first one, on the metric of --metric. */
static bool eval_against(const struct eval_results *r, const struct eval_group *g, size_t variant,
                         struct eval_interval *out) {
    double *const differences = calloc(eval_group_room(r, g), sizeof *differences);
    size_t n = 0;
    if (differences == NULL) {
        return false;
    }
    for (size_t k = g->from; k < g->to; k++) {
        const struct eval_run *const a = eval_run_of(r, k, variant), *const b =
                                                                         eval_run_of(r, k, 0);
        for (size_t i = 0; i < a->split->users_n; i++) {
            if (eval_in_group(g, &a->split->users[i])) {
                differences[n++] = a->scores[i].metric[r->options->metric] -
                                   b->scores[i].metric[r->options->metric];
            }
        }
    }
    const bool ok = eval_bootstrap(differences, n, r->options->samples, r->options->seed, out);
    free(differences);
    return ok;
}

static const char *eval_verdict(const struct eval_interval *i) {
    return i->low > 0 ? "better" : i->high < 0 ? "worse" : "no difference shown";
}

static double eval_train_seconds(const struct eval_results *r, const struct eval_group *g,
                                 size_t variant) {
    double seconds = 0;
    for (size_t k = g->from; k < g->to; k++) {
        seconds += eval_run_of(r, k, variant)->train_s;
    }
    return seconds;
}

static void eval_group_name(struct text *out, const struct eval_group *g) {
    text_fmt(out, "%s%s", g->name, g->strangers ? " (strangers)" : "");
}

/* ---- For people ------------------------------------------------------------------------------- */

/* Empty where it is not known. */
static void eval_cell(struct table *t, int digits, double value) {
    if (isnan(value)) {
        table_cell(t, "");
    } else {
        table_cell_fmt(t, "%.*f", digits, value);
    }
}

static void eval_table_row(struct table *t, const struct eval_results *r,
                           const struct eval_group *g, size_t v, const struct eval_summary *s) {
    struct text name = {0};
    eval_group_name(&name, g);
    table_cell(t, text_cstr(&name));
    table_cell(t, r->options->variants[v].name);
    table_cell_fmt(t, "%zu", s->users);
    eval_cell(t, 4, s->mean[EVAL_NDCG10]);
    eval_cell(t, 4, s->se[EVAL_NDCG10]);
    eval_cell(t, 4, s->mean[EVAL_NDCG100]);
    eval_cell(t, 4, s->mean[EVAL_RECALL20]);
    eval_cell(t, 4, s->mean[EVAL_HR10]);
    eval_cell(t, 4, s->mean[EVAL_MRR]);
    eval_cell(t, 4, s->coverage);
    eval_cell(t, 2, s->novelty);
    eval_cell(t, 3, s->diversity);
    eval_cell(t, 2, s->latency_ms_p50);
    eval_cell(t, 1, eval_train_seconds(r, g, v));
    text_free(&name);
}

static int eval_print_figures(const struct cli *cli, const struct eval_results *r) {
    static const struct table_column columns[] = {
        {"split", false, true},   {"variant", false, true}, {"users", true, false},
        {"NDCG@10", true, false}, {"± se", true, false},    {"NDCG@100", true, false},
        {"R@20", true, false},    {"HR@10", true, false},   {"MRR", true, false},
        {"cover", true, false},   {"novel", true, false},   {"divers", true, false},
        {"p50 ms", true, false},  {"train s", true, false}};
    struct table table;
    struct eval_summary s;
    bool ok = true;
    table_init(&table, columns, sizeof columns / sizeof *columns);
    for (size_t g = 0; g < r->groups_n; g++) {
        for (size_t v = 0; ok && v < r->options->variants_n; v++) {
            ok = eval_results_summary(r, &r->groups[g], v, &s);
            if (ok) {
                eval_table_row(&table, r, &r->groups[g], v, &s);
            }
        }
    }
    ok = ok && table_print(&table, cli->out, cli->display) == 0;
    table_free(&table);
    return ok ? CLI_OK : cli_no_memory();
}

static int eval_print_differences(const struct cli *cli, const struct eval_results *r) {
    static const struct table_column columns[] = {
        {"split", false, true},      {"variant", false, true},   {"against", false, true},
        {"difference", true, false}, {"95 % from", true, false}, {"to", true, false},
        {"", false, false}};
    struct table table;
    struct text name = {0};
    bool ok = true;
    table_init(&table, columns, sizeof columns / sizeof *columns);
    for (size_t g = 0; g < r->groups_n; g++) {
        for (size_t v = 1; ok && v < r->options->variants_n; v++) {
            struct eval_interval i;
            ok = eval_against(r, &r->groups[g], v, &i);
            text_clear(&name);
            eval_group_name(&name, &r->groups[g]);
            table_cell(&table, text_cstr(&name));
            table_cell(&table, r->options->variants[v].name);
            table_cell(&table, r->options->variants[0].name);
            table_cell_fmt(&table, "%+.4f", i.difference);
            table_cell_fmt(&table, "%+.4f", i.low);
            table_cell_fmt(&table, "%+.4f", i.high);
            table_cell(&table, eval_verdict(&i));
        }
    }
    (void)fprintf(cli->out, "\n%s of each variant less the first one's, paired over users:\n",
                  eval_metric_names[r->options->metric]);
    ok = ok && table_print(&table, cli->out, cli->display) == 0;
    table_free(&table);
    text_free(&name);
    return ok ? CLI_OK : cli_no_memory();
}

/* ---- For programs ----------------------------------------------------------------------------- */

static void eval_add_real(struct text *line, const char *name, double value, double scale) {
    if (!isnan(value)) {
        text_json_member_real(line, name, round(value * scale) / scale);
    }
}

static void eval_add_fault(struct text *line, const char *name, size_t count) {
    if (count > 0) {
        text_json_member_int(line, name, (long long)count);
    }
}

static void eval_add_faults(struct text *line, const struct eval_results *r,
                            const struct eval_group *g, size_t variant) {
    struct eval_faults f = {0, 0, 0, 0, 0, 0};
    for (size_t k = g->from; k < g->to; k++) {
        const struct eval_run *const run = eval_run_of(r, k, variant);
        f.unanswered += run->faults.unanswered;
        f.duplicates += run->faults.duplicates;
        f.not_cold += run->faults.not_cold;
        f.too_long += run->faults.too_long;
        f.from_history += run->faults.from_history;
    }
    eval_add_fault(line, "unanswered_users", f.unanswered);
    eval_add_fault(line, "duplicates", f.duplicates);
    eval_add_fault(line, "not_cold", f.not_cold);
    eval_add_fault(line, "too_long", f.too_long);
    eval_add_fault(line, "from_history", f.from_history);
}

static bool eval_add_against(struct text *line, const struct eval_results *r,
                             const struct eval_group *g, size_t variant) {
    struct eval_interval i;
    if (!eval_against(r, g, variant, &i)) {
        return false;
    }
    text_json_key(line, "against");
    text_char(line, '{');
    text_json_member(line, "variant", r->options->variants[0].name);
    text_json_member(line, "metric", eval_metric_names[r->options->metric]);
    eval_add_real(line, "difference", i.difference, 1e5);
    eval_add_real(line, "low95", i.low, 1e5);
    eval_add_real(line, "high95", i.high, 1e5);
    text_json_member(line, "verdict", eval_verdict(&i));
    text_char(line, '}');
    return true;
}

static bool eval_add_object(struct text *line, const struct eval_results *r,
                            const struct eval_group *g, size_t variant) {
    struct eval_summary s;
    if (!eval_results_summary(r, g, variant, &s)) {
        return false;
    }
    text_char(line, '{');
    text_json_member(line, "split", g->name);
    text_json_member_raw(line, "strangers", g->strangers ? "true" : "false");
    text_json_member(line, "variant", r->options->variants[variant].name);
    text_json_member_int(line, "users", (long long)s.users);
    for (size_t m = 0; m < EVAL_METRICS; m++) {
        eval_add_real(line, eval_metric_names[m], s.mean[m], 1e5);
    }
    eval_add_real(line, "ndcg10_se", s.se[EVAL_NDCG10], 1e5);
    eval_add_real(line, "recall20_se", s.se[EVAL_RECALL20], 1e5);
    eval_add_real(line, "coverage20", s.coverage, 1e5);
    eval_add_real(line, "novelty", s.novelty, 1e4);
    eval_add_real(line, "diversity", s.diversity, 1e5);
    eval_add_real(line, "latency_ms_p50", s.latency_ms_p50, 1e4);
    eval_add_real(line, "latency_ms_p95", s.latency_ms_p95, 1e4);
    eval_add_real(line, "latency_ms_p99", s.latency_ms_p99, 1e4);
    eval_add_real(line, "train_s", eval_train_seconds(r, g, variant), 1e3);
    eval_add_faults(line, r, g, variant);
    const bool ok = variant == 0 || eval_add_against(line, r, g, variant);
    if (g->to == g->from + 1) {
        text_json_member_raw(line, "training", eval_run_of(r, g->from, variant)->figures);
    }
    text_char(line, '}');
    return ok;
}

static int eval_print_json(const struct cli *cli, const struct eval_results *r) {
    struct text line = {0};
    int code = CLI_OK;
    for (size_t g = 0; g < r->groups_n; g++) {
        for (size_t v = 0; code == CLI_OK && v < r->options->variants_n; v++) {
            text_clear(&line);
            code = eval_add_object(&line, r, &r->groups[g], v) ? cli_print_line(cli, &line)
                                                               : cli_no_memory();
        }
    }
    text_free(&line);
    return code;
}

static void eval_csv_number(struct text *line, double value) {
    text_char(line, ',');
    if (!isnan(value)) {
        text_fmt(line, "%.6g", value);
    }
}

static int eval_print_csv(const struct cli *cli, const struct eval_results *r) {
    struct text line = {0};
    struct eval_summary s;
    int code = CLI_OK;
    (void)fputs("split,strangers,variant,users",
                cli->out); /* main() checks the stream at the end */
    for (size_t m = 0; m < EVAL_METRICS; m++) {
        (void)fprintf(cli->out, ",%s", eval_metric_names[m]);
    }
    (void)fputs(",ndcg10_se,coverage20,novelty,diversity,latency_ms_p50,latency_ms_p99,train_s\n",
                cli->out);
    for (size_t g = 0; g < r->groups_n; g++) {
        for (size_t v = 0; code == CLI_OK && v < r->options->variants_n; v++) {
            if (!eval_results_summary(r, &r->groups[g], v, &s)) {
                code = cli_no_memory();
                break;
            }
            text_clear(&line);
            text_csv(&line, r->groups[g].name, ',');
            text_fmt(&line, ",%d,", r->groups[g].strangers);
            text_csv(&line, r->options->variants[v].name, ',');
            text_fmt(&line, ",%zu", s.users);
            for (size_t m = 0; m < EVAL_METRICS; m++) {
                eval_csv_number(&line, s.mean[m]);
            }
            eval_csv_number(&line, s.se[EVAL_NDCG10]);
            eval_csv_number(&line, s.coverage);
            eval_csv_number(&line, s.novelty);
            eval_csv_number(&line, s.diversity);
            eval_csv_number(&line, s.latency_ms_p50);
            eval_csv_number(&line, s.latency_ms_p99);
            eval_csv_number(&line, eval_train_seconds(r, &r->groups[g], v));
            code = cli_print_line(cli, &line);
        }
    }
    text_free(&line);
    return code;
}

int eval_report_per_user(const struct eval_results *r, const char *path) {
    FILE *const f = fopen(path, "w");
    struct text line = {0};
    if (f == NULL) {
        cli_error("%s: %s", path, strerror(errno));
        return CLI_ERROR;
    }
    (void)fputs("split,variant,user,stranger", f); /* the stream is checked when it is closed */
    for (size_t m = 0; m < EVAL_METRICS; m++) {
        (void)fprintf(f, ",%s", eval_metric_names[m]);
    }
    (void)fputc('\n', f);
    for (size_t k = 0; k < r->options->splits_n * r->options->variants_n; k++) {
        const struct eval_run *const run = &r->runs[k];
        for (size_t i = 0; i < run->split->users_n; i++) {
            text_clear(&line);
            text_csv(&line, run->split->name, ',');
            text_char(&line, ',');
            text_csv(&line, run->variant->name, ',');
            text_char(&line, ',');
            text_csv(&line, r->world->users.names[run->split->users[i].user], ',');
            text_fmt(&line, ",%d", run->split->users[i].stranger);
            for (size_t m = 0; m < EVAL_METRICS; m++) {
                text_fmt(&line, ",%.17g", run->scores[i].metric[m]);
            }
            (void)fprintf(f, "%s\n", text_cstr(&line));
        }
    }
    text_free(&line);
    const bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed) {
        cli_error("%s: %s", path, strerror(errno));
        return CLI_ERROR;
    }
    return CLI_OK;
}

/* ---- Groups ----------------------------------------------------------------------------------- */

static void eval_add_group(struct eval_results *r, const char *name, size_t from, size_t to,
                           bool strangers) {
    for (size_t k = from; k < to; k++) {
        for (size_t i = 0; i < r->splits[k].users_n; i++) {
            if (r->splits[k].users[i].stranger == strangers) {
                r->groups[r->groups_n++] = (struct eval_group){name, from, to, strangers};
                return;
            }
        }
    }
}

int eval_report(const struct cli *cli, struct eval_results *r) {
    const struct eval_options *const o = r->options;
    for (int strangers = 0; strangers < 2; strangers++) {
        for (size_t k = 0; k < o->splits_n; k++) {
            eval_add_group(r, r->splits[k].name, k, k + 1, strangers != 0);
        }
        if (o->splits_n > 1) {
            eval_add_group(r, "all", 0, o->splits_n, strangers != 0);
        }
    }
    if (o->json) {
        return eval_print_json(cli, r);
    }
    if (o->csv) {
        return eval_print_csv(cli, r);
    }
    const int code = eval_print_figures(cli, r);
    return code == CLI_OK && o->variants_n > 1 ? eval_print_differences(cli, r) : code;
}
