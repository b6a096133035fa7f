/* u2i eval: how good are the recommendations? A split says what may be known and what is to be guessed
 * (docs/eval.md has the files); its training events go into a store, its test users are asked one by one
 * with their history, and what they really did afterwards judges the answers. Everything goes through
 * u2i.h, as any program's questions do.
 *
 *     eval_read.c      catalogue, events, answers from CSV files
 *     eval_split.c     one split from its folder
 *     eval_make.c      makes splits from a log of events (eval_cut.c: what is history, what is truth)
 *     eval_run.c       a store, settings, training, the questions on all cores
 *     eval_metrics.c   answers and truth into numbers: pure
 *     eval_report.c    what is printed; eval_plot.c a picture of it
 *
 * Functions that return int print what is wrong and return an exit code. */
#ifndef CLI_EVAL_H
#define CLI_EVAL_H

#include "cli.h"
#include "eval_ids.h"
#include "eval_metrics.h"
#include <signal.h>

/* ---- Data ------------------------------------------------------------------------------------- */

struct eval_event {
    uint32_t user, item, action; /* numbers of eval_world */
    float value;                 /* 0 = none */
    int64_t time_ms;
};
struct eval_events {
    struct eval_event *e;
    size_t n, cap;
};

struct eval_item { /* of the catalogue; strings live in the world's pool, NULL = none */
    const char *title, *category, *text;
};

struct eval_world { /* what all splits share */
    struct eval_ids users, items, actions;
    struct pool pool;
    struct eval_item *catalogue; /* of the items 0..catalogue_n; later numbers are not in it */
    uint32_t catalogue_n, catalogue_cap;
    struct eval_kinds kinds; /* of the catalogue: for diversity */
};

struct eval_user { /* one to be asked */
    uint32_t user;
    bool stranger;         /* of heldout_cold: nothing is known of them */
    size_t from, n;        /* their events in history */
    size_t truth, truth_n; /* in truths; ascending, each once */
};

struct eval_split {
    const char *folder, *name;         /* name: the last part of folder */
    struct eval_events train, history; /* history: by user, in the order of the file */
    struct eval_user *users;
    size_t users_n, users_cap;
    uint32_t *truths;
    size_t truths_n, truths_cap;
    bool *cold; /* by item number, cold_n of them; NULL: all are ranked */
    uint32_t cold_n;
    int64_t time_ms; /* of T.txt; 0 = none */
    int64_t end_ms;  /* the newest training event */
    uint32_t *acted; /* by item number, items_n: how many training users acted on it */
    uint32_t items_n, train_users;
};

int eval_read_catalogue(struct eval_world *w, const char *path, bool with_text);
/* Appends; a file that is not there is no error if `optional`. */
int eval_read_events(struct eval_world *w, const char *path, bool optional,
                     struct eval_events *out);
void eval_world_free(struct eval_world *w);
/* FOLDER/NAME.csv or .csv.gz, whichever is there; NULL: neither. To be freed. */
char *eval_find_file(const char *folder, const char *name);
bool eval_events_add(struct eval_events *events, struct eval_event e);

/* One file, column by column: names[i] is "timestamp|time", the first that is there counts. */
#define EVAL_COLUMNS_MAX 6
struct eval_table {
    const char *path;
    struct input *in;
    struct csv *csv;
    size_t columns[EVAL_COLUMNS_MAX], n, width; /* SIZE_MAX: the file has no such column */
    const char *cells[EVAL_COLUMNS_MAX];        /* of the row; NULL: no such column */
};
int eval_table_open(struct eval_table *t, const char *path, const char *const *names, size_t n,
                    size_t required);
int eval_table_next(struct eval_table *t, bool *more);
void eval_table_close(struct eval_table *t);

int eval_split_load(struct eval_split *s, struct eval_world *w, const char *folder,
                    bool with_train);
void eval_split_free(struct eval_split *s);
bool eval_is_negative(const char *action); /* return, refund, dislike, skip, remove, hide */
bool eval_is_weak(const char *action);     /* view, click, impression, open */

/* ---- Runs ------------------------------------------------------------------------------------- */

#define EVAL_VARIANTS_MAX 32
#define EVAL_SPLITS_MAX   64
#define EVAL_PAIRS_MAX    32
struct eval_variant { /* one column of the comparison */
    char *name;
    char *file; /* answers of somebody else, or NULL; {split} stands for the split's name */
    char *names[EVAL_PAIRS_MAX], *values[EVAL_PAIRS_MAX]; /* settings */
    size_t n;
    bool untrained;    /* train=no */
    const char *check; /* check=time|users; NULL: as the split needs */
};

struct eval_options {
    const struct args *args;
    struct eval_variant common; /* --set: settings of all variants */
    struct eval_variant variants[EVAL_VARIANTS_MAX];
    size_t variants_n;
    const char *folders[EVAL_SPLITS_MAX];
    size_t splits_n;
    const char *store, *model, *out, *per_user, *plot;
    json_t *action_map;
    uint64_t threads, samples, seed, limit;
    size_t metric; /* enum eval_metric that is compared */
    bool with_value, with_text, json, csv;
    const volatile sig_atomic_t *stop;
};
int eval_options_read(struct eval_options *o, const struct args *args);
void eval_options_free(struct eval_options *o);
/* The pattern with {split} and {variant} replaced. */
void eval_expand(struct text *out, const char *pattern, const char *split, const char *variant);

struct eval_run { /* one variant on one split */
    const struct eval_split *split;
    const struct eval_variant *variant;
    uint32_t *items; /* users_n lists of EVAL_DEPTH, best first */
    uint32_t *counts;
    float *latency_ms;          /* NULL: answers of a file */
    struct eval_scores *scores; /* users_n */
    struct eval_faults faults;
    double train_s; /* 0: no training */
    char *figures;  /* JSON of u2i_scan_training(), or NULL */
};
int eval_run_new(struct eval_run *r, const struct eval_split *s, const struct eval_variant *v);
void eval_run_free(struct eval_run *r);
/* All variants that are not files, on one store of the split; runs[i] is of variants[i]. */
int eval_run_split(const struct eval_options *o, struct eval_world *w, const struct eval_split *s,
                   struct eval_run *runs);
int eval_run_file(const struct eval_options *o, struct eval_world *w, struct eval_run *r);
int eval_run_write(const struct eval_options *o, const struct eval_world *w,
                   const struct eval_run *r);
void eval_run_judge(const struct eval_world *w, struct eval_run *r);

/* ---- Results ---------------------------------------------------------------------------------- */

struct eval_group { /* users that are averaged: of one split or of all, strangers apart */
    const char *name;
    size_t from, to; /* splits */
    bool strangers;
};
struct eval_results {
    const struct eval_options *options;
    const struct eval_world *world;
    struct eval_split *splits;
    struct eval_run *runs; /* splits_n x variants_n, variants inside */
    struct eval_group groups[2 * (EVAL_SPLITS_MAX + 1)];
    size_t groups_n;
};
int eval_report(const struct cli *cli, struct eval_results *r);
int eval_report_per_user(const struct eval_results *r, const char *path);
int eval_plot_write(const struct eval_results *r, const char *path);
/* The mean figures of one group and variant; false: out of memory. */
bool eval_results_summary(const struct eval_results *r, const struct eval_group *g, size_t variant,
                          struct eval_summary *out);

int eval_make(const struct cli *cli, const struct args *args); /* --make */

#endif
