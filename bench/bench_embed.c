/* Embedders measured from inside: how long a model takes to its first vector, texts together and one
 * by one; and their vectors, for comparison with others (bench/compare/embed.py).
 *
 * usage: bench_embed --model FOLDER|hash [--precision auto|f32|int8] [--cache FOLDER] [--dim N] < COMMANDS
 *        bench_embed --smoke --model FOLDER       a few texts in all ways, to see that it works
 *
 * Says {"load_ms": ...} when it has its first vector. Then each line of stdin is a command, words with tabs
 * between them, answered by a line of JSON. FILE has a text a line (bench_texts.h).
 *     all FILE            embeds all texts in one call             {"texts": N, "seconds": S, "cpu": S}
 *     each FILE           each text by a call of its own           {"texts": N, "seconds": MEDIAN, "cpu": MEDIAN}
 *     vectors FILE OUT    writes the vectors as raw floats         {"texts": N, "dim": D}
 *     learn FILE          learns from the texts as a catalogue     {"texts": N, "seconds": S}
 * The number of threads is that of the cores this process may use (taskset), the kernels are U2I_SIMD's. */
#include "base/clock.h"
#include "bench_texts.h"
#include "embed/embed.h"
#include <getopt.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define LINE_BYTES 8192

struct options {
    const char *model;
    struct embed_bert_options bert;
    uint32_t dim;
    bool smoke;
};

/* What one command works on. */
struct job {
    struct embedder *e;
    struct texts texts;
    struct embed_text *list; /* the same */
    float *vectors;
    const char *out; /* file, where the command has one */
};

static double seconds(void) {
    return (double)clock_ticks_ns(clock_system()) * 1e-9;
}

/* Of all threads. */
static double cpu_seconds(void) {
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* cannot fail */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- Commands -------------------------------------------------------------------------------- */

static void embed(const struct job *j, size_t first, size_t n) {
    u2i_error_t err = {0};
    if (j->e->ops->embed(j->e, j->list + first, n, j->vectors + first * j->e->dim, &err) !=
        U2I_OK) {
        texts_die("embed", err.msg);
    }
}

static void run_all(struct job *j) {
    const double start = seconds(), cpu = cpu_seconds();
    embed(j, 0, j->texts.n);
    printf("{\"texts\": %zu, \"seconds\": %.9f, \"cpu\": %.9f}\n", j->texts.n, seconds() - start,
           cpu_seconds() - cpu);
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

static void run_each(struct job *j) {
    const size_t n = j->texts.n;
    double *const times = alloc_array(n, sizeof *times), *const cpus = alloc_array(n, sizeof *cpus);
    if (times == NULL || cpus == NULL) {
        texts_die("each", "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        const double start = seconds(), cpu = cpu_seconds();
        embed(j, i, 1);
        cpus[i] = cpu_seconds() - cpu;
        times[i] = seconds() - start;
    }
    printf("{\"texts\": %zu, \"seconds\": %.9f, \"cpu\": %.9f}\n", n, median(times, n),
           median(cpus, n));
    mem_free(cpus);
    mem_free(times);
}

static void run_vectors(struct job *j) {
    embed(j, 0, j->texts.n);
    FILE *const f = fopen(j->out, "wb");
    const size_t n = j->texts.n * j->e->dim;
    if (f == NULL || fwrite(j->vectors, sizeof(float), n, f) != n || fclose(f) != 0) {
        texts_die(j->out, "cannot be written");
    }
    printf("{\"texts\": %zu, \"dim\": %u}\n", j->texts.n, j->e->dim);
}

static void run_learn(struct job *j) {
    u2i_error_t err = {0};
    const struct embedder_ops *const ops = j->e->ops;
    if (ops->learn_begin == NULL) {
        texts_die("learn", "this embedder does not");
    }
    const double start = seconds();
    int rc = ops->learn_begin(j->e, &err);
    for (size_t i = 0; i < j->texts.n && rc == U2I_OK; i++) {
        rc = ops->learn_add(j->e, &j->list[i], &err);
    }
    if (rc != U2I_OK) {
        texts_die("learn", err.msg);
    }
    ops->learn_end(j->e);
    printf("{\"texts\": %zu, \"seconds\": %.9f}\n", j->texts.n, seconds() - start);
}

static const struct {
    const char *name;
    void (*run)(struct job *j);
    bool writes;
} commands[] = {{"all", run_all, false},
                {"each", run_each, false},
                {"vectors", run_vectors, true},
                {"learn", run_learn, false}};

static void job_open(struct job *j, FILE *f) {
    j->texts = texts_read(f);
    const size_t n = j->texts.n;
    j->list = mem_zalloc((n + 1) * sizeof *j->list);
    j->vectors = alloc_array(n * j->e->dim + 1, sizeof *j->vectors);
    if (n == 0 || j->list == NULL || j->vectors == NULL) {
        texts_die("texts", n == 0 ? "there are none" : "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *const t = j->texts.list[i];
        if (json_is_string(t)) {
            j->list[i].text = json_string_value(t);
        } else {
            j->list[i].title = json_string_value(json_object_get(t, "title"));
            j->list[i].category = json_string_value(json_object_get(t, "category"));
            j->list[i].text = json_string_value(json_object_get(t, "text"));
        }
    }
}

static void job_close(struct job *j) {
    mem_free(j->vectors);
    mem_free(j->list);
    texts_free(&j->texts);
}

static void run_command(struct embedder *e, char *line) {
    char *rest = line;
    const char *const verb = strsep(&rest, "\t\n"), *const file = strsep(&rest, "\t\n");
    struct job j = {.e = e, .out = strsep(&rest, "\t\n")};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(verb, commands[i].name) == 0 && file != NULL &&
            (!commands[i].writes || j.out != NULL)) {
            FILE *const f = fopen(file, "rb");
            if (f == NULL) {
                texts_die(file, "cannot be opened");
            }
            job_open(&j, f);
            (void)fclose(f); /* only read from */
            commands[i].run(&j);
            job_close(&j);
            return;
        }
    }
    texts_die(verb, "no such command, or something is missing");
}

static void run_smoke(struct embedder *e) {
    static char lines[] = "\"a robot learns to love\"\n"
                          "{\"title\": \"Heat (1995)\", \"category\": \"Crime\", \"text\": \"\"}\n"
                          "\"\"\n";
    struct job j = {.e = e, .out = "/dev/null"};
    FILE *const f = fmemopen(lines, sizeof lines - 1, "r");
    if (f == NULL) {
        texts_die("smoke", "out of memory");
    }
    job_open(&j, f);
    (void)fclose(f); /* only read from */
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (commands[i].run != run_learn || e->ops->learn_begin != NULL) {
            commands[i].run(&j);
        }
    }
    job_close(&j);
}

/* ---- Start ----------------------------------------------------------------------------------- */

static struct options read_options(int argc, char **argv) {
    static const struct option known[] = {
        {"model", required_argument, NULL, 'm'}, {"precision", required_argument, NULL, 'p'},
        {"cache", required_argument, NULL, 'c'}, {"dim", required_argument, NULL, 'd'},
        {"smoke", no_argument, NULL, 's'},       {NULL, 0, NULL, 0}};
    struct options o = {.dim = EMBED_HASH_DIM};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 'p':
            o.bert.precision = strcmp(optarg, "f32") == 0    ? EMBED_F32
                               : strcmp(optarg, "int8") == 0 ? EMBED_INT8
                                                             : EMBED_AUTO;
            break;
        case 'c':
            o.bert.cache = optarg;
            break;
        case 'd':
            o.dim = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 's':
            o.smoke = true;
            break;
        default:
            texts_die("usage", "bench_embed --model FOLDER|hash [options] (see bench_embed.c)");
        }
    }
    if (o.model == NULL) {
        texts_die("usage", "--model is missing");
    }
    return o;
}

/* Open, and with its first vector. */
static struct embedder *start(const struct options *o) {
    static const struct embed_text first = {.text = "a robot learns to love"};
    struct embedder *e = NULL;
    u2i_error_t err = {0};
    const double begin = seconds();
    const int rc = strcmp(o->model, "hash") == 0 ? embed_hash_open(o->dim, &e, &err)
                                                 : embed_bert_open(o->model, &o->bert, &e, &err);
    if (rc != U2I_OK) {
        texts_die(o->model, err.msg);
    }
    const struct job j = {.e = e,
                          .list = (struct embed_text *)(uintptr_t)&first, /* only read */
                          .vectors = alloc_array(e->dim, sizeof(float))};
    if (j.vectors == NULL) {
        texts_die(o->model, "out of memory");
    }
    embed(&j, 0, 1);
    mem_free(j.vectors);
    const double load_ms = (seconds() - begin) * 1e3;
    struct embed_about about = {0};
    if (e->ops->about != NULL) {
        e->ops->about(e, &about);
    }
    printf("{\"load_ms\": %.3f, \"name\": \"%s\", \"dim\": %u, \"precision\": \"%s\", \"parity\": "
           "%.6f}\n",
           load_ms, e->name, e->dim, about.precision, about.parity);
    return e;
}

int main(int argc, char **argv) {
    const struct options o = read_options(argc, argv);
    char line[LINE_BYTES];
    (void)setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* somebody waits for each line; cannot fail */
    struct embedder *const e = start(&o);
    if (o.smoke) {
        run_smoke(e);
    } else {
        while (fgets(line, sizeof line, stdin) != NULL) {
            run_command(e, line);
        }
    }
    e->ops->close(e);
    return 0;
}
