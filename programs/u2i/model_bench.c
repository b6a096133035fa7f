/* u2i model bench: how fast a model is on this machine, in each precision. Everything goes through u2i.h, as a program
 * would do it: a scratch store is made with the model, told its precision, opened again, and asked for vectors.
 *
 * Times are those of this process: the first text with opening and packing, one query (the median), and short
 * titles, many at once, on one core and on all. */
#include "model.h"
#include "progress.h"
#include "table.h"
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_TITLES  512 /* that are embedded with one call */
#define BENCH_QUERIES 4096
#define BENCH_S       1.5 /* of each figure */
#define BENCH_TITLE   96  /* bytes */

struct bench_figures {
    const char *precision;
    double first_ms, query_ms, one_core, all_cores; /* the latter: titles a second */
};

struct bench {
    char folder[64];
    char store[96];
    const char *model; /* its path */
    uint32_t dim;
    unsigned cores;
    u2i_text_t titles[BENCH_TITLES];
    char words[BENCH_TITLES][BENCH_TITLE];
    float *vectors;
    double *times_s; /* of queries */
};

/* ---- Texts -------------------------------------------------------------------------------------- */

/* Titles of three to seven words, none like another; a tokenizer knows these words. */
static void bench_write_titles(struct bench *b) {
    static const char *const words[] = {
        "the",    "garden", "of",     "winter", "river", "secret", "and",     "light",
        "coffee", "table",  "blue",   "summer", "road",  "black",  "running", "shoes",
        "little", "house",  "music",  "for",    "a",     "long",   "night",   "children",
        "silver", "camera", "wooden", "chair",  "city",  "dream",  "island",  "history"};
    uint32_t state = 1;
    for (size_t i = 0; i < BENCH_TITLES; i++) {
        size_t at = 0;
        for (size_t k = 0; k < 3 + i % 5; k++) {
            state = state * 1664525U + 1013904223U;
            at += (size_t)snprintf(b->words[i] + at, BENCH_TITLE - at, "%s%s", k > 0 ? " " : "",
                                   words[state >> 27]); /* fits: at most 7 words of 8 letters */
        }
        b->titles[i] = (u2i_text_t){.title = b->words[i]};
    }
}

/* ---- The scratch store -------------------------------------------------------------------------- */

static int bench_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int bench_make_folder(struct bench *b) {
    const char *const tmp = getenv("TMPDIR");
    const int n = snprintf(b->folder, sizeof b->folder, "%s/u2i-bench-XXXXXX",
                           tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    if (n < 0 || (size_t)n >= sizeof b->folder || mkdtemp(b->folder) == NULL) {
        cli_error("model bench: cannot make a folder in %s", tmp != NULL ? tmp : "/tmp");
        b->folder[0] = '\0';
        return CLI_ERROR;
    }
    return CLI_OK;
}

static void bench_remove_folder(const struct bench *b) {
    if (b->folder[0] != '\0' && nftw(b->folder, bench_remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0) {
        cli_warn("cannot delete %s: %s", b->folder, strerror(errno));
    }
}

/* A store that is told its precision: it counts from the next opening on. */
static int bench_make_store(struct bench *b, const char *precision) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    u2i_t *store = NULL;
    u2i_error_t err;
    (void)snprintf(b->store, sizeof b->store, "%s/%s.db", b->folder, precision); /* fits */
    opt.model = b->model;
    opt.flags = U2I_OPEN_NEW;
    int code = CLI_OK;
    if (u2i_open(b->store, &opt, &store, &err) != U2I_OK ||
        u2i_set_setting(store, "model_precision", precision, &err) != U2I_OK) {
        code = cli_fail(&err, "model bench");
    }
    return cli_close(store, code);
}

/* ---- Measuring ---------------------------------------------------------------------------------- */

static int bench_embed(const struct bench *b, u2i_t *store, const u2i_text_t *texts, size_t n) {
    u2i_embedding_t what = U2I_EMBEDDING_INIT;
    u2i_error_t err;
    what.texts = texts;
    what.n = n;
    what.vectors = b->vectors;
    what.dim = b->dim;
    return u2i_embed(store, &what, &err) == U2I_OK ? CLI_OK : cli_fail(&err, "model bench");
}

static int bench_order(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int bench_query(const struct bench *b, u2i_t *store, double *median_ms) {
    struct progress all, one;
    size_t n = 0;
    progress_start(&all);
    do {
        const u2i_text_t query = {.text = b->words[n % BENCH_TITLES], .query = 1};
        progress_start(&one);
        if (bench_embed(b, store, &query, 1) != CLI_OK) {
            return CLI_ERROR;
        }
        b->times_s[n++] = progress_seconds(&one);
    } while (n < BENCH_QUERIES && progress_seconds(&all) < BENCH_S);
    qsort(b->times_s, n, sizeof *b->times_s, bench_order);
    *median_ms = b->times_s[n / 2] * 1000;
    return CLI_OK;
}

static int bench_titles(const struct bench *b, u2i_t *store, double *titles_per_s) {
    struct progress all;
    size_t n = 0;
    progress_start(&all);
    do {
        if (bench_embed(b, store, b->titles, BENCH_TITLES) != CLI_OK) {
            return CLI_ERROR;
        }
        n += BENCH_TITLES;
    } while (progress_seconds(&all) < BENCH_S);
    *titles_per_s = (double)n / progress_seconds(&all);
    return CLI_OK;
}

/* The threads that embed are started by this one, and stay where it is. */
static int bench_titles_one_core(const struct bench *b, u2i_t *store, double *titles_per_s) {
    cpu_set_t all, one;
    int cpu = 0;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) != 0) {
        cli_error("model bench: cannot ask for the cores: %s", strerror(errno));
        return CLI_ERROR;
    }
    while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &all)) {
        cpu++;
    }
    CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof one, &one); /* a core that it may use: cannot fail */
    const int code = bench_titles(b, store, titles_per_s);
    (void)sched_setaffinity(0, sizeof all, &all);
    return code;
}

static int bench_precision(struct bench *b, struct bench_figures *f) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    struct progress start;
    u2i_t *store = NULL;
    u2i_error_t err;
    int code = bench_make_store(b, f->precision);
    progress_start(&start);
    if (code == CLI_OK && u2i_open(b->store, &opt, &store, &err) != U2I_OK) {
        return cli_fail(&err, "model bench");
    }
    code = code == CLI_OK ? bench_embed(b, store, b->titles, 1) : code;
    f->first_ms = progress_seconds(&start) * 1000;
    code = code == CLI_OK ? bench_query(b, store, &f->query_ms) : code;
    code = code == CLI_OK ? bench_titles_one_core(b, store, &f->one_core) : code;
    code = code == CLI_OK ? bench_titles(b, store, &f->all_cores) : code;
    return cli_close(store, code);
}

/* ---- Telling ------------------------------------------------------------------------------------ */

static int bench_print_json(const struct cli *cli, const struct bench *b,
                            const struct bench_figures *f) {
    struct text line = {0};
    text_char(&line, '{');
    text_json_member(&line, "model", b->model);
    text_json_member(&line, "precision", f->precision);
    text_json_member_real(&line, "first_ms", f->first_ms);
    text_json_member_real(&line, "query_ms", f->query_ms);
    text_json_member_real(&line, "titles_per_s_one_core", f->one_core);
    text_json_member_real(&line, "titles_per_s", f->all_cores);
    text_json_member_int(&line, "cores", b->cores);
    text_char(&line, '}');
    const int code = cli_print_line(cli, &line);
    text_free(&line);
    return code;
}

static void bench_add_row(struct table *table, const struct bench_figures *f) {
    struct text one = {0}, all = {0};
    text_count(&one, (unsigned long long)(f->one_core + 0.5));
    text_count(&all, (unsigned long long)(f->all_cores + 0.5));
    table_cell(table, f->precision);
    table_cell_fmt(table, "%.0f ms", f->first_ms);
    table_cell_fmt(table, "%.2f ms", f->query_ms);
    table_cell(table, text_cstr(&one));
    table_cell(table, text_cstr(&all));
    text_free(&all);
    text_free(&one);
}

static int bench_print(const struct cli *cli, const struct bench *b,
                       const struct bench_figures *figures, size_t n) {
    char all[32];
    const struct table_column columns[] = {{"precision", false, false},
                                           {"first text", true, false},
                                           {"one query", true, false},
                                           {"titles/s, one core", true, false},
                                           {all, true, false}};
    struct table table;
    (void)snprintf(all, sizeof all, "titles/s, all %u cores", b->cores); /* fits */
    table_init(&table, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < n; i++) {
        bench_add_row(&table, &figures[i]);
    }
    const int code = table_print(&table, cli->out, cli->display) == 0 ? CLI_OK : cli_no_memory();
    table_free(&table);
    return code;
}

/* ---- The command -------------------------------------------------------------------------------- */

static int bench_run(const struct cli *cli, struct bench *b, bool json) {
    struct bench_figures figures[] = {{.precision = "f32"}, {.precision = "int8"}};
    const size_t n = sizeof figures / sizeof *figures;
    int code = bench_make_folder(b);
    for (size_t i = 0; code == CLI_OK && i < n; i++) {
        code = bench_precision(b, &figures[i]);
        if (code == CLI_OK && json) {
            code = bench_print_json(cli, b, &figures[i]);
        }
    }
    bench_remove_folder(b);
    return code == CLI_OK && !json ? bench_print(cli, b, figures, n) : code;
}

int model_bench(const struct cli *cli, const char *model, bool json) {
    u2i_model_t m = U2I_MODEL_INIT;
    u2i_error_t err;
    cpu_set_t cores;
    if (u2i_model_check(model, &m, &err) != U2I_OK) {
        return cli_fail(&err, "model bench");
    }
    struct bench *const b = calloc(1, sizeof *b);
    if (b == NULL) {
        return cli_no_memory();
    }
    b->model = m.path;
    b->dim = m.dim;
    b->cores = sched_getaffinity(0, sizeof cores, &cores) == 0 ? (unsigned)CPU_COUNT(&cores) : 1;
    b->vectors = calloc((size_t)BENCH_TITLES * m.dim, sizeof *b->vectors);
    b->times_s = calloc(BENCH_QUERIES, sizeof *b->times_s);
    bench_write_titles(b);
    const int code =
        b->vectors == NULL || b->times_s == NULL ? cli_no_memory() : bench_run(cli, b, json);
    free(b->times_s);
    free(b->vectors);
    free(b);
    return code;
}
