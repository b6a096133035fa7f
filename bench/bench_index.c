/* bench_index - the graph of src/hnsw/ measured from inside: building, searching at a given recall,
 * filters, exclusion lists, change, opening a snapshot.
 *
 * Two ways to use it. By itself, on a file of vectors (.npy of floats, .fvecs) or on vectors of its
 * own making, it prints JSON: build, bytes, QPS/p50/p99 at recall .90/.95/.99, filtered, churn. With
 * --commands it is one engine among others for bench/compare/: a line of tab-separated words on
 * stdin, a verb and then key=value, is answered with a line of JSON; bench_verbs[] lists them.
 *
 * How it measures: see bench_pass.h. Rows are the numbers of the vectors in their file. Recall counts a
 * row as right if its inner product is at least that of the k-th exact answer, as equal vectors are
 * equally right. */
#include "base/alloc.h"
#include "base/rng.h"
#include "base/thread.h"
#include "bench_pass.h"
#include "bench_vectors.h"
#include "flat/flat.h"
#include "hnsw/hnsw.h"
#include "vec/vec.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define WORDS_MAX   16
#define LINE_BYTES  8192
#define THREADS_MAX 64
#define EF_MAX      2048
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

struct bench {
    struct matrix base;
    struct hnsw *graph;
    struct flat *flat; /* the same vectors, once somebody has asked for it */
    pthread_rwlock_t lock;
    double anonymous; /* resident memory before there was a graph */
    char error[MATRIX_ERROR_BYTES];
};

/* ---- Small tools ----------------------------------------------------------------------------- */

/* Keeps the reason of a failure; false, so that callers can return it. */
__attribute__((format(printf, 2, 3))) static bool bench_fail(struct bench *b, const char *format,
                                                             ...) {
    va_list list;
    va_start(list, format);
    (void)vsnprintf(b->error, sizeof(b->error), format, list); /* may be cut */
    va_end(list);
    return false;
}

/* Resident memory that no file stands behind. */
static double bench_anonymous(void) {
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            kib = strtod(line + 8, NULL);
        }
    }
    if (f != NULL) {
        (void)fclose(f); /* was only read */
    }
    return kib * 1024;
}

/* ---- Helpers of the verbs -------------------------------------------------------------------- */

/* The rows whose bit is set in a file of bits, the lowest first. */
static roaring_bitmap_t *bench_read_bits(struct bench *b, const char *path) {
    roaring_bitmap_t *out = roaring_bitmap_create();
    FILE *f = fopen(path, "rb");
    if (f == NULL || out == NULL) {
        (void)bench_fail(b, "%s: %s", path, strerror(errno));
        if (out != NULL) {
            roaring_bitmap_free(out);
        }
        if (f != NULL) {
            (void)fclose(f); /* was only read */
        }
        return NULL;
    }
    uint32_t row = 0;
    for (int c; (c = getc(f)) != EOF; row += 8) {
        for (unsigned bit = 0; bit < 8; bit++) {
            if ((c >> bit & 1) != 0) {
                roaring_bitmap_add(out, row + bit);
            }
        }
    }
    (void)fclose(f); /* was only read */
    return out;
}

static bool bench_make_flat(struct bench *b) {
    u2i_error_t err;
    if (b->flat != NULL) {
        return true;
    }
    int rc = flat_new((uint32_t)b->base.dim, &b->flat, &err);
    for (size_t i = 0; rc == U2I_OK && i < b->base.n; i++) {
        rc = flat_set(b->flat, (uint32_t)i, matrix_row(&b->base, i), &err);
    }
    return rc == U2I_OK || bench_fail(b, "exact search: %s", err.msg);
}

/* ---- Building -------------------------------------------------------------------------------- */

static struct hnsw_options bench_options(const struct bench *b, uint32_t links, uint32_t ef) {
    return (struct hnsw_options){.dim = (uint32_t)b->base.dim,
                                 .metric = HNSW_COSINE,
                                 .links = links,
                                 .ef_construction = ef,
                                 .seed = 42};
}

/* A graph of the first n rows in the place of the present one. */
static bool bench_build(struct bench *b, size_t n, unsigned threads, const struct hnsw_options *o) {
    const struct hnsw_work how = {.threads = threads};
    u2i_error_t err;
    hnsw_free(b->graph);
    b->graph = NULL;
    uint32_t *rows = alloc_array(n, sizeof(*rows));
    if (rows == NULL) {
        return bench_fail(b, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        rows[i] = (uint32_t)i;
    }
    int rc = hnsw_new(o, &b->graph, &err);
    if (rc == U2I_OK) {
        rc = hnsw_insert(b->graph, rows, b->base.data, n, &how, &err);
    }
    mem_free(rows);
    return rc == U2I_OK || bench_fail(b, "build: %s", err.msg);
}

/* The larger of what the graph says and of what the process has taken for it, float vectors aside. */
static double bench_bytes(const struct bench *b, const struct hnsw_stats *stats) {
    const double grown = bench_anonymous() - b->anonymous - (double)stats->vector_bytes;
    const double said = (double)stats->code_bytes;
    const double most = grown > said ? grown : said;
    return stats->count > 0 ? most / stats->count : 0;
}

/* ---- Changing -------------------------------------------------------------------------------- */

/* Inserts rows [from, to) of the file one at a time; returns seconds, or negative. */
static double bench_insert(struct bench *b, size_t from, size_t to) {
    const struct hnsw_work how = {.threads = 1};
    u2i_error_t err;
    const double start = bench_seconds();
    for (size_t i = from; i < to; i++) {
        const uint32_t row = (uint32_t)i;
        if (hnsw_insert(b->graph, &row, matrix_row(&b->base, i), 1, &how, &err) != U2I_OK) {
            (void)bench_fail(b, "insert: %s", err.msg);
            return -1;
        }
    }
    return bench_seconds() - start;
}

struct churn {
    double seconds, repairing;
    unsigned repairs;
};

/* Replaces the vector of rows[i] by vectors[i], one at a time. The graph is repaired whenever the
 * removed nodes have become `share` of it, and at the end. */
static bool bench_replace(struct bench *b, const struct matrix *vectors, const uint32_t *rows,
                          double share, struct churn *out) {
    const struct hnsw_work how = {.threads = 1};
    u2i_error_t err;
    int rc = U2I_OK;
    *out = (struct churn){0};
    const double start = bench_seconds();
    for (size_t i = 0; i < vectors->n && rc == U2I_OK; i++) {
        struct hnsw_stats stats;
        hnsw_remove(b->graph, rows[i]);
        rc = hnsw_insert(b->graph, &rows[i], matrix_row(vectors, i), 1, &how, &err);
        hnsw_stats(b->graph, &stats);
        if (rc == U2I_OK && (stats.removed > share * stats.count || i + 1 == vectors->n)) {
            const double before = bench_seconds();
            rc = hnsw_repair(b->graph, &how, &err);
            out->repairing += bench_seconds() - before;
            out->repairs++;
        }
    }
    out->seconds = bench_seconds() - start;
    return rc == U2I_OK || bench_fail(b, "replace: %s", err.msg);
}

/* Inserts beside the queries, as an index does: the plan without a lock, its parts under it. */
struct writer {
    struct bench *bench;
    struct matrix vectors;
    atomic_bool stop;
    size_t done;
    int rc;
    u2i_error_t err;
};

static void *writer_thread(void *arg) {
    struct writer *w = arg;
    struct bench *b = w->bench;
    const struct hnsw_work how = {.threads = 1};
    while (w->done < w->vectors.n && w->rc == U2I_OK && !atomic_load(&w->stop)) {
        struct hnsw_batch *batch = NULL;
        uint32_t rows[16], n = 0;
        for (; n < COUNT(rows) && n < hnsw_plan_max(b->graph) && w->done + n < w->vectors.n; n++) {
            rows[n] = (uint32_t)(b->base.n + w->done + n);
        }
        w->rc =
            hnsw_plan(b->graph, &(struct hnsw_vectors){rows, matrix_row(&w->vectors, w->done), n},
                      &how, &batch, &w->err);
        for (bool all = w->rc != U2I_OK; !all;) {
            (void)pthread_rwlock_wrlock(&b->lock); /* fails only when misused */
            all = hnsw_commit(batch, 64, NULL, NULL);
            (void)pthread_rwlock_unlock(&b->lock); /* held */
        }
        hnsw_batch_free(batch);
        w->done += n;
    }
    return NULL;
}

/* Queries over and over for some seconds, or until the writer has nothing left; sorted times. */
static bool mixed_read(struct bench *b, struct pass *p, double seconds, double *times, size_t max,
                       size_t *n) {
    const double end = bench_seconds() + seconds;
    struct searcher me = {.pass = p};
    *n = 0;
    for (size_t i = 0; *n < max && bench_seconds() < end; i = (i + 1) % p->n) {
        if (pass_ask(p, i, NULL, &me) != U2I_OK) {
            return bench_fail(b, "search: %s", me.err.msg);
        }
        times[(*n)++] = p->times[i];
    }
    return true;
}

struct mixed {
    double idle_p50, idle_p99, busy_p50, busy_p99, inserts_per_s;
};

static bool bench_mixed(struct bench *b, struct pass *p, struct writer *w, double seconds,
                        struct mixed *out) {
    const size_t max = 4000000;
    pthread_t thread;
    size_t n;
    double *times = alloc_array(max, sizeof(*times));
    p->lock = &b->lock;
    bool ok = times != NULL || bench_fail(b, "out of memory");
    ok = ok && pass_prepare(p, b->error) && mixed_read(b, p, seconds / 3, times, max, &n);
    if (ok) {
        out->idle_p99 = bench_percentile(times, n, 0.99);
        out->idle_p50 = bench_percentile(times, n, 0.5);
        ok = thread_start(&thread, "insert", writer_thread, w) == U2I_OK;
    }
    if (ok) {
        const double start = bench_seconds();
        ok = mixed_read(b, p, seconds, times, max, &n);
        atomic_store(&w->stop, true);
        (void)pthread_join(thread, NULL); /* valid by construction */
        out->inserts_per_s = (double)w->done / (bench_seconds() - start);
        out->busy_p99 = bench_percentile(times, n, 0.99);
        out->busy_p50 = bench_percentile(times, n, 0.5);
        ok = ok && (w->rc == U2I_OK || bench_fail(b, "insert: %s", w->err.msg));
    }
    mem_free(times);
    return ok;
}

/* ---- Commands -------------------------------------------------------------------------------- */

struct command {
    const char *verb;
    struct {
        const char *key, *value;
    } words[WORDS_MAX];
    size_t n;
};

static bool command_parse(char *line, struct command *out) {
    char *rest = line;
    line[strcspn(line, "\r\n")] = '\0';
    *out = (struct command){.verb = strsep(&rest, "\t")};
    for (char *word; (word = strsep(&rest, "\t")) != NULL;) {
        char *value = strchr(word, '=');
        if (value == NULL || out->n == WORDS_MAX) {
            return false;
        }
        *value++ = '\0';
        out->words[out->n].key = word;
        out->words[out->n++].value = value;
    }
    return true;
}

static const char *command_text(const struct command *c, const char *key) {
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->words[i].key, key) == 0) {
            return c->words[i].value;
        }
    }
    return NULL;
}

static double command_number(const struct command *c, const char *key, double otherwise) {
    const char *text = command_text(c, key);
    return text != NULL ? strtod(text, NULL) : otherwise;
}

static bool answer_load(struct bench *b, const struct command *c) {
    matrix_close(&b->base);
    if (!matrix_open(b->error, command_text(c, "base"), "<f4", &b->base)) {
        return false;
    }
    const double rows = command_number(c, "rows", 0);
    b->base.n = rows > 0 && rows < (double)b->base.n ? (size_t)rows : b->base.n;
    b->anonymous = bench_anonymous();
    printf("{\"rows\": %zu, \"dim\": %zu}\n", b->base.n, b->base.dim);
    return true;
}

static bool answer_build(struct bench *b, const struct command *c) {
    const size_t n = (size_t)command_number(c, "rows", (double)b->base.n);
    const unsigned threads = (unsigned)command_number(c, "threads", 1);
    const struct hnsw_options options = bench_options(b, (uint32_t)command_number(c, "links", 16),
                                                      (uint32_t)command_number(c, "efc", 200));
    if (n > b->base.n) {
        return bench_fail(b, "%zu rows of %zu", n, b->base.n);
    }
    const double wall = bench_seconds(), cpu = bench_cpu_seconds();
    if (!bench_build(b, n, threads, &options)) {
        return false;
    }
    printf("{\"wall_s\": %.3f, \"cpu_s\": %.3f, \"threads\": %u}\n", bench_seconds() - wall,
           bench_cpu_seconds() - cpu, threads);
    return true;
}

/* What a search command asks for. */
static bool search_prepare(struct bench *b, const struct command *c, struct pass *p) {
    const char *deny = command_text(c, "deny");
    const double limit = command_number(c, "limit", 1e9);
    *p = (struct pass){.graph = b->graph,
                       .k = (uint32_t)command_number(c, "k", 10),
                       .ef = (uint32_t)command_number(c, "ef", 0),
                       .threads = (unsigned)command_number(c, "threads", 1)};
    if (p->k < 1 || p->k > PASS_K_MAX || p->threads < 1 || p->threads > THREADS_MAX) {
        return bench_fail(b, "search: a number is out of range");
    }
    if (!matrix_open(b->error, command_text(c, "queries"), "<f4", &p->queries)) {
        return false;
    }
    p->n = limit < (double)p->queries.n ? (size_t)limit : p->queries.n;
    if (deny != NULL) {
        const double most = command_number(c, "deny_count", 1e9);
        if (!matrix_open(b->error, deny, "<i4", &p->deny) || p->deny.n < p->n) {
            return bench_fail(b, "%s: not a list for each query", deny);
        }
        p->deny_n = most < (double)p->deny.dim ? (size_t)most : p->deny.dim;
    }
    return p->queries.dim == b->base.dim || bench_fail(b, "search: queries of another dimension");
}

static void search_print(struct pass *p) {
    const struct searcher *s = p->searchers;
    const double n = (double)p->n;
    if (p->deny_n == 0 && p->cpu_seconds > 0) { /* else it holds what is not the search's */
        printf("{\"cpu_qps\": %.1f, ", n / p->cpu_seconds);
    } else {
        printf("{");
    }
    printf("\"seconds\": %.6f, \"qps\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"distances\": %.1f, \"rounds\": %.3f, \"ef_used\": %u, \"strategies\": \"",
           p->seconds, n / p->seconds, bench_percentile(p->times, p->n, 0.5) * 1e6,
           bench_percentile(p->times, p->n, 0.99) * 1e6, (double)s->distances / n,
           (double)s->rounds / n, s->ef);
    const char *comma = "";
    for (unsigned i = 0; i < PASS_STRATEGIES; i++) {
        if (s->strategies[i] > 0) {
            printf("%s%s %.0f %%", comma, hnsw_strategy_name((enum hnsw_strategy)i),
                   100 * (double)s->strategies[i] / n);
            comma = ", ";
        }
    }
    printf("\"}\n");
}

static bool answer_search(struct bench *b, const struct command *c) {
    struct pass p;
    const char *allow = command_text(c, "allow"), *ids = command_text(c, "ids");
    bool ok = search_prepare(b, c, &p);
    if (ok && allow != NULL) {
        ok = (p.allow = bench_read_bits(b, allow)) != NULL;
    }
    if (ok && command_number(c, "flat", 0) != 0) {
        ok = bench_make_flat(b);
        p.flat = b->flat;
    }
    ok = ok && pass_run(&p, b->error);
    ok = ok && (ids == NULL || matrix_write_ids(b->error, ids, p.ids, p.n, p.k));
    if (ok) {
        search_print(&p);
    }
    pass_free(&p);
    return ok;
}

static bool answer_calibrate(struct bench *b, const struct command *c) {
    const struct hnsw_work how = {.threads = (unsigned)command_number(c, "threads", 1)};
    struct hnsw_stats stats;
    u2i_error_t err;
    const double start = bench_seconds();
    if (hnsw_calibrate(b->graph, command_number(c, "recall", 0.95), &how, &err) != U2I_OK) {
        return bench_fail(b, "calibrate: %s", err.msg);
    }
    const double spent = bench_seconds() - start;
    hnsw_stats(b->graph, &stats);
    printf("{\"seconds\": %.3f, \"ef_10\": %u}\n", spent, stats.ef_10);
    return true;
}

static bool answer_stats(struct bench *b, const struct command *c) {
    struct hnsw_stats s;
    (void)c;
    hnsw_stats(b->graph, &s);
    printf("{\"count\": %u, \"removed\": %u, \"layers\": %u, \"ef_10\": %u, \"code_bytes\": %zu, "
           "\"vector_bytes\": %zu, \"mapped_bytes\": %zu, \"total_bytes\": %zu, \"bytes\": %.1f, "
           "\"bytes_said\": %.1f, \"unreachable\": %u, \"kernels\": \"%s\"}\n",
           s.count, s.removed, s.layers, s.ef_10, s.code_bytes, s.vector_bytes, s.mapped_bytes,
           s.code_bytes + s.vector_bytes, bench_bytes(b, &s),
           s.count > 0 ? (double)s.code_bytes / s.count : 0, hnsw_unreachable(b->graph),
           vec_get()->name);
    return true;
}

static bool answer_save(struct bench *b, const struct command *c) {
    const struct hnsw_work how = {.threads = 1};
    const struct hnsw_stamp stamp = {.sequence = 1};
    const char *path = command_text(c, "path");
    u2i_error_t err;
    const double start = bench_seconds();
    if (path == NULL || hnsw_save(b->graph, path, &stamp, &how, &err) != U2I_OK) {
        return bench_fail(b, "save: %s", path == NULL ? "no path" : err.msg);
    }
    printf("{\"seconds\": %.3f}\n", bench_seconds() - start);
    return true;
}

/* Opens a snapshot until the first answer (if there are queries), then copies it (settle=1). */
static bool answer_open(struct bench *b, const struct command *c) {
    const struct hnsw_options options = bench_options(b, (uint32_t)command_number(c, "links", 16),
                                                      (uint32_t)command_number(c, "efc", 200));
    const char *path = command_text(c, "path"), *queries = command_text(c, "queries");
    struct matrix some = {0};
    struct hnsw_stamp stamp;
    struct hit hits[10];
    uint32_t n;
    u2i_error_t err;
    if (path == NULL || (queries != NULL && !matrix_open(b->error, queries, "<f4", &some))) {
        return path != NULL ? false : bench_fail(b, "open: no path");
    }
    hnsw_free(b->graph);
    b->graph = NULL;
    const double start = bench_seconds();
    int rc = hnsw_open(path, &options, &stamp, &b->graph, &err);
    const double opened = bench_seconds();
    if (rc == U2I_OK && some.n > 0) {
        const struct hnsw_query q = {.vector = some.data, .k = 10};
        rc = hnsw_search(b->graph, &q, hits, &n, NULL, &err);
    }
    const double answered = bench_seconds();
    matrix_close(&some);
    if (rc != U2I_OK) {
        return bench_fail(b, "open: %s", err.msg);
    }
    if (command_number(c, "settle", 0) != 0) {
        while (hnsw_settle(b->graph)) {
        }
    }
    printf("{\"seconds\": %.6f, \"open_s\": %.6f, \"settle_s\": %.6f}\n", answered - start,
           opened - start, bench_seconds() - answered);
    return true;
}

/* Inserts, one at a time, the rows that a build with rows=N has left out, then replaces others. */
static bool answer_churn(struct bench *b, const struct command *c) {
    struct matrix vectors = {0}, order = {0};
    struct hnsw_stats before;
    struct churn found = {0};
    hnsw_stats(b->graph, &before);
    const size_t inserts = b->base.n - before.count;
    bool ok = matrix_open(b->error, command_text(c, "with"), "<f4", &vectors) &&
              matrix_open(b->error, command_text(c, "order"), "<i4", &order);
    if (ok && (vectors.n != order.n || vectors.dim != b->base.dim || before.count > b->base.n)) {
        ok = bench_fail(b, "churn: files that do not go together");
    }
    const double inserting = ok ? bench_insert(b, before.count, b->base.n) : -1;
    ok = ok && inserting >= 0 &&
         bench_replace(b, &vectors, order.data, command_number(c, "repair_share", 0.02), &found);
    if (ok) {
        printf("{\"replace_us\": %.2f, \"insert_us\": %.2f, \"repair_share\": %.4f, "
               "\"repairs\": %u}\n",
               found.seconds / (double)vectors.n * 1e6,
               inserts > 0 ? inserting / (double)inserts * 1e6 : 0, found.repairing / found.seconds,
               found.repairs);
    }
    matrix_close(&vectors);
    matrix_close(&order);
    return ok;
}

static bool answer_mixed(struct bench *b, const struct command *c) {
    struct pass p = {.graph = b->graph,
                     .k = (uint32_t)command_number(c, "k", 10),
                     .threads = 1,
                     .ef = (uint32_t)command_number(c, "ef", 0)};
    struct writer w = {.bench = b};
    struct mixed found = {0};
    bool ok = matrix_open(b->error, command_text(c, "queries"), "<f4", &p.queries) &&
              matrix_open(b->error, command_text(c, "with"), "<f4", &w.vectors);
    p.n = p.queries.n;
    ok = ok && bench_mixed(b, &p, &w, command_number(c, "seconds", 3), &found);
    if (ok) {
        printf("{\"idle_p50_us\": %.2f, \"idle_p99_us\": %.2f, \"busy_p50_us\": %.2f, "
               "\"busy_p99_us\": %.2f, \"inserts_per_s\": %.1f}\n",
               found.idle_p50 * 1e6, found.idle_p99 * 1e6, found.busy_p50 * 1e6,
               found.busy_p99 * 1e6, found.inserts_per_s);
    }
    matrix_close(&w.vectors);
    pass_free(&p);
    return ok;
}

static const struct {
    const char *verb;
    bool (*answer)(struct bench *b, const struct command *c);
    bool graph; /* there has to be one */
} bench_verbs[] = {
    {"load", answer_load, false},          /* base= [rows=] */
    {"build", answer_build, false},        /* threads= [rows=] [links=] [efc=] */
    {"search", answer_search, true},       /* queries= ef= k= ids= [threads=] [limit=] [allow=]
                                             [deny= deny_count=] [flat=1] */
    {"calibrate", answer_calibrate, true}, /* recall= threads= */
    {"stats", answer_stats, true},         {"save", answer_save, true}, /* path= */
    {"open", answer_open, false},  /* path= [queries=] [settle=1] */
    {"churn", answer_churn, true}, /* with= order= [repair_share=] */
    {"mixed", answer_mixed, true}, /* queries= with= seconds= ef= k= */
};

static bool bench_answer(struct bench *b, char *line) {
    struct command c;
    b->error[0] = '\0';
    if (!command_parse(line, &c)) {
        return bench_fail(b, "a word without '='");
    }
    for (size_t i = 0; i < COUNT(bench_verbs); i++) {
        if (strcmp(bench_verbs[i].verb, c.verb) == 0) {
            return bench_verbs[i].graph && b->graph == NULL
                       ? bench_fail(b, "%s: there is no graph", c.verb)
                       : bench_verbs[i].answer(b, &c);
        }
    }
    return bench_fail(b, "no verb '%s'", c.verb);
}

static void bench_serve(struct bench *b) {
    char line[LINE_BYTES];
    while (fgets(line, sizeof(line), stdin) != NULL && strncmp(line, "quit", 4) != 0) {
        if (!bench_answer(b, line)) {
            for (char *c = b->error; *c != '\0'; c++) {
                *c = *c == '"' || *c == '\\' ? '\'' : *c;
            }
            printf("{\"error\": \"%s\"}\n", b->error);
        }
        (void)fflush(stdout); /* the other side has gone if this fails, and so have we soon */
    }
}

/* ---- By itself ------------------------------------------------------------------------------- */

struct trial {
    const char *data, *queries_path;
    struct matrix queries;
    float *floors; /* of each query: the inner product that a right answer has at least */
    size_t rows, dim, limit;
    unsigned threads;
};

/* The exact k-th score of each query among the allowed rows. */
static bool trial_exact(struct bench *b, struct trial *t, const roaring_bitmap_t *allow) {
    struct hit hits[10];
    u2i_error_t err;
    uint32_t n;
    for (size_t i = 0; i < t->limit; i++) {
        const struct flat_query q = {
            .vector = matrix_row(&t->queries, i), .k = COUNT(hits), .allow = allow};
        if (flat_search(b->flat, &q, hits, &n, &err) != U2I_OK || n == 0) {
            return bench_fail(b, "exact search: %s", n == 0 ? "no rows" : err.msg);
        }
        t->floors[i] = hits[n - 1].score - 1e-5f;
    }
    return true;
}

struct point {
    uint32_t ef;
    double recall, qps, p50_us, p99_us;
    char strategy[32];
};

static bool trial_ask(struct bench *b, const struct trial *t, roaring_bitmap_t *allow, uint32_t ef,
                      struct point *out) {
    struct pass p = {.graph = b->graph, .k = 10, .ef = ef, .threads = 1, .n = t->limit};
    const size_t possible = allow != NULL ? roaring_bitmap_get_cardinality(allow) : b->base.n;
    size_t right = 0;
    p.queries = t->queries;
    p.allow = allow;
    const bool ok = pass_run(&p, b->error);
    for (size_t i = 0; ok && i < p.n * p.k; i++) {
        const float *query = matrix_row(&p.queries, i / p.k);
        right += p.ids[i] >= 0 && vec_dot(query, matrix_row(&b->base, (size_t)p.ids[i]),
                                          b->base.dim) >= t->floors[i / p.k];
    }
    if (ok) {
        const uint64_t *s = p.searchers[0].strategies;
        const unsigned most = s[1] > s[0] && s[1] >= s[2] ? 1 : s[2] > s[0] ? 2 : 0;
        *out = (struct point){.ef = p.searchers[0].ef,
                              .recall = (double)right / (double)p.n /
                                        (double)(possible < p.k ? possible : p.k),
                              .qps = (double)p.n / p.seconds,
                              .p50_us = bench_percentile(p.times, p.n, 0.5) * 1e6,
                              .p99_us = bench_percentile(p.times, p.n, 0.99) * 1e6};
        (void)snprintf(out->strategy, sizeof(out->strategy), "%s",
                       hnsw_strategy_name((enum hnsw_strategy)most)); /* fits */
    }
    p.queries = (struct matrix){0}; /* the caller's, like the bitmap */
    p.allow = NULL;
    pass_free(&p);
    return ok;
}

static void trial_print(const char *name, double value, const struct point *p, bool last) {
    printf("    {\"%s\": %g, \"ef\": %u, \"recall\": %.4f, \"qps\": %.1f, \"p50_us\": %.2f, "
           "\"p99_us\": %.2f, \"strategy\": \"%s\"}%s\n",
           name, value, p->ef, p->recall, p->qps, p->p50_us, p->p99_us, p->strategy,
           last ? "" : ",");
}

/* The smallest ef for each recall, by bisection. */
static bool trial_recall(struct bench *b, const struct trial *t) {
    static const double targets[] = {0.9, 0.95, 0.99};
    printf("  \"search\": [\n");
    for (size_t i = 0; i < COUNT(targets); i++) {
        uint32_t low = 9, high = EF_MAX;
        struct point best = {0}, tried;
        while (high - low > 1 + low / 32) {
            const uint32_t middle = low < 64 && high == EF_MAX ? low * 2 : (low + high) / 2;
            if (!trial_ask(b, t, NULL, middle, &tried)) {
                return false;
            }
            *(tried.recall >= targets[i] ? &high : &low) = middle;
            best = tried.recall >= targets[i] || best.ef == 0 ? tried : best;
        }
        trial_print("target", targets[i], &best, i + 1 == COUNT(targets));
    }
    printf("  ],\n");
    return true;
}

/* Random rows pass; the graph chooses ef and strategy. */
static bool trial_filters(struct bench *b, struct trial *t) {
    static const double shares[] = {0.5, 0.1, 0.01, 0.001};
    struct rng rng;
    rng_seed(&rng, 9);
    printf("  \"filtered\": [\n");
    for (size_t i = 0; i < COUNT(shares); i++) {
        roaring_bitmap_t *allow = roaring_bitmap_create();
        struct point found;
        for (size_t row = 0; allow != NULL && row < b->base.n; row++) {
            if (rng_unit(&rng) < shares[i] || row == 0) {
                roaring_bitmap_add(allow, (uint32_t)row);
            }
        }
        const bool ok =
            allow != NULL && trial_exact(b, t, allow) && trial_ask(b, t, allow, 0, &found);
        if (allow != NULL) {
            roaring_bitmap_free(allow);
        }
        if (!ok) {
            return allow != NULL ? false : bench_fail(b, "out of memory");
        }
        trial_print("passing", shares[i], &found, i + 1 == COUNT(shares));
    }
    printf("  ],\n");
    return true;
}

/* Half of the rows get the vector of another row, in random order: each vector moves on by one. */
static bool trial_churn(struct bench *b) {
    const size_t n = b->base.n / 2, bytes = b->base.dim * sizeof(float);
    float *moved = pages_alloc(n * bytes);
    uint32_t *rows = alloc_array(b->base.n, sizeof(*rows));
    struct churn found;
    struct rng rng;
    bool ok = (moved != NULL && rows != NULL) || bench_fail(b, "out of memory");
    rng_seed(&rng, 11);
    for (size_t i = 0; ok && i < b->base.n; i++) { /* Fisher and Yates, from the inside out */
        const uint32_t j = rng_below(&rng, (uint32_t)i + 1);
        rows[i] = rows[j];
        rows[j] = (uint32_t)i;
    }
    for (size_t i = 0; ok && i < n; i++) {
        memcpy(moved + i * b->base.dim, matrix_row(&b->base, rows[(i + 1) % n]), bytes);
    }
    const struct matrix vectors = {.data = moved, .n = n, .dim = b->base.dim};
    ok = ok && bench_replace(b, &vectors, rows, 0.1, &found);
    if (ok) {
        printf("  \"churn\": {\"replaced\": %zu, \"replace_us\": %.1f, \"repair_share\": %.3f, "
               "\"unreachable\": %u}\n",
               n, found.seconds / (double)n * 1e6, found.repairing / found.seconds,
               hnsw_unreachable(b->graph));
    }
    mem_free(rows);
    pages_free(moved, n * bytes);
    return ok;
}

static bool trial_run(struct bench *b, struct trial *t) {
    const struct hnsw_work how = {.threads = t->threads};
    const struct hnsw_options options = bench_options(b, 16, 200);
    struct hnsw_stats stats;
    u2i_error_t err;
    b->anonymous = bench_anonymous();
    const double wall = bench_seconds(), cpu = bench_cpu_seconds();
    if (!bench_build(b, b->base.n, t->threads, &options)) {
        return false;
    }
    const double built = bench_seconds() - wall, used = bench_cpu_seconds() - cpu;
    hnsw_stats(b->graph, &stats);
    const double bytes = bench_bytes(b, &stats);
    if (hnsw_calibrate(b->graph, 0.95, &how, &err) != U2I_OK) {
        return bench_fail(b, "calibrate: %s", err.msg);
    }
    printf("{\n  \"rows\": %zu, \"dim\": %zu, \"kernels\": \"%s\",\n"
           "  \"build\": {\"wall_s\": %.3f, \"cpu_s\": %.3f, \"threads\": %u},\n"
           "  \"bytes_per_vector\": %.1f,\n",
           b->base.n, b->base.dim, vec_get()->name, built, used, t->threads, bytes);
    if (!bench_make_flat(b) || !trial_exact(b, t, NULL) || !trial_recall(b, t) ||
        !trial_filters(b, t) || !trial_churn(b)) {
        return false;
    }
    printf("}\n");
    return true;
}

/* From the files named, from one file whose last rows become the queries, or made up. */
static bool trial_vectors(struct bench *b, struct trial *t) {
    if (t->data == NULL) {
        return matrix_make(b->error, t->rows, t->dim, 2, &b->base) &&
               matrix_make(b->error, t->limit, t->dim, 3, &t->queries);
    }
    if (!matrix_open(b->error, t->data, "<f4", &b->base)) {
        return false;
    }
    b->base.n = t->rows > 0 && t->rows < b->base.n ? t->rows : b->base.n;
    if (t->queries_path != NULL) {
        return matrix_open(b->error, t->queries_path, "<f4", &t->queries);
    }
    t->limit = t->limit < b->base.n / 2 ? t->limit : b->base.n / 2;
    b->base.n -= t->limit;
    t->queries =
        (struct matrix){.data = matrix_row(&b->base, b->base.n), .n = t->limit, .dim = b->base.dim};
    return true;
}

static bool trial_prepare(struct bench *b, struct trial *t) {
    if (!trial_vectors(b, t)) {
        return false;
    }
    t->limit = t->limit < t->queries.n ? t->limit : t->queries.n;
    if (t->queries.dim != b->base.dim || t->limit == 0 || b->base.n < 100) {
        return bench_fail(b, "too few vectors, or queries of another dimension");
    }
    t->floors = alloc_array(t->limit, sizeof(*t->floors));
    return t->floors != NULL || bench_fail(b, "out of memory");
}

static bool bench_arguments(int argc, char **argv, struct trial *t) {
    static const struct option options[] = {{"commands", no_argument, NULL, 'c'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"queries", required_argument, NULL, 'q'},
                                            {"rows", required_argument, NULL, 'r'},
                                            {"limit", required_argument, NULL, 'l'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"smoke", no_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    bool serve = false;
    *t = (struct trial){.dim = 128, .limit = 1000, .threads = thread_cores()};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        const size_t number = optarg != NULL ? strtoul(optarg, NULL, 10) : 0;
        switch (c) {
        case 'c':
            serve = true;
            break;
        case 'd':
            t->data = optarg;
            break;
        case 'q':
            t->queries_path = optarg;
            break;
        case 'r':
            t->rows = number;
            break;
        case 'l':
            t->limit = number;
            break;
        case 't':
            t->threads = (unsigned)number;
            break;
        case 's':
            *t = (struct trial){.rows = 2000, .dim = 32, .limit = 100, .threads = 2};
            break;
        default:
            printf("usage: bench_index [--data FILE [--queries FILE]] [--rows N] [--limit N]\n"
                   "                   [--threads N] | --smoke | --commands\n"
                   "Measures the graph on a file of unit vectors (.npy, .fvecs) or on vectors of "
                   "its own\nmaking; prints JSON. --rows takes the first N, --limit asks N "
                   "queries (1000), --threads\nbuilds with N. --commands takes commands from "
                   "standard input: see the source's head.\n");
            exit(c == 'h' ? 0 : 2);
        }
    }
    t->rows = t->rows == 0 && t->data == NULL ? 100000 : t->rows;
    return serve;
}

int main(int argc, char **argv) {
    static struct bench b; /* holds a lock, whose address must not change */
    struct trial t;
    const bool serve = bench_arguments(argc, argv, &t);
    bool ok = rwlock_init(&b.lock) == U2I_OK;
    if (ok && serve) {
        bench_serve(&b);
    } else if (ok) {
        ok = trial_prepare(&b, &t) && trial_run(&b, &t);
        if (t.queries.map != NULL) {
            matrix_close(&t.queries);
        }
        mem_free(t.floors);
    }
    if (!ok) {
        fprintf(stderr, "bench_index: %s\n", b.error);
    }
    hnsw_free(b.graph);
    flat_free(b.flat);
    matrix_close(&b.base);
    (void)pthread_rwlock_destroy(&b.lock); /* nobody has it */
    return ok ? 0 : 1;
}
