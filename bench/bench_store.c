/* bench_store - what the store costs: durable writes, import, opening, exact search, profiles, memory.
 *
 * Everything is measured through the public API, a profile alone through engine_profile(). Each part
 * runs in a process of its own, several times, and the median counts. Beside the figures stand the two
 * limits that the machine sets, measured in the same run: how often its disk can be made to sync, and
 * how fast one thread reads memory.
 *
 * How each metric is made:
 *   events_durable_per_s_1000   1,000 threads, each recording one event at a time, durability full
 *   events_durable_per_s_64x10  64 threads, each recording ten events a call
 *   import_items_per_s          u2i_put_items() in batches of 5,000, with vectors of 384 floats
 *   open_1m_s                   u2i_open() of a store of 1,000,000 x 384, in the page cache
 *   flat_over_bandwidth         one u2i_recommend() over 100,000 x 384, one thread, divided by the
 *                               time that reading the same number of bytes takes
 *   profile_us_200x384          a profile from 200 cached events x 384
 *   bytes_per_item_over_vector  (larger of: growth of resident private memory, stats.memory_bytes)
 *                               / items - 384 x 4, after opening the 1,000,000 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "u2i.h"
#include "vec/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIM        384
#define PATH_BYTES 512
#define RUNS_MAX   16
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))

struct sizes {
    const char *name, *open_name;
    size_t flat_items, open_items, import_items, batch;
    unsigned many_threads, few_threads, few_events;
    unsigned runs, queries;
    double record_s, sync_s;
};

static const struct sizes full_sizes = {.name = "full",
                                        .open_name = "1m",
                                        .flat_items = 100000,
                                        .open_items = 1000000,
                                        .import_items = 100000,
                                        .batch = 5000,
                                        .many_threads = 1000,
                                        .few_threads = 64,
                                        .few_events = 10,
                                        .runs = 5,
                                        .queries = 200,
                                        .record_s = 4,
                                        .sync_s = 1};
static const struct sizes quick_sizes = {.name = "quick",
                                         .open_name = "100k",
                                         .flat_items = 100000,
                                         .open_items = 100000,
                                         .import_items = 30000,
                                         .batch = 5000,
                                         .many_threads = 1000,
                                         .few_threads = 64,
                                         .few_events = 10,
                                         .runs = 3,
                                         .queries = 50,
                                         .record_s = 1,
                                         .sync_s = 0.5};
static const struct sizes smoke_sizes = {.name = "smoke",
                                         .open_name = "2k",
                                         .flat_items = 2000,
                                         .open_items = 2000,
                                         .import_items = 1000,
                                         .batch = 500,
                                         .many_threads = 16,
                                         .few_threads = 4,
                                         .few_events = 10,
                                         .runs = 1,
                                         .queries = 5,
                                         .record_s = 0.2,
                                         .sync_s = 0.1};

/* What the parts find out; shared between the processes. */
struct results {
    double syncs[64]; /* the disk, sampled before each run that depends on it */
    unsigned syncs_n;
    double single_per_s, batched_per_s, import_per_s, open_s, recommend_s;
    double read_s, profile_us, rss_per_item, stats_per_item;
};

struct bench {
    const struct sizes *size;
    char dir[PATH_BYTES - 32];
    struct results *found;
};

typedef void (*bench_part)(struct bench *b);

/* ---- Small tools ----------------------------------------------------------------------------- */

static _Noreturn void bench_die(const char *what, const char *why) {
    fprintf(stderr, "bench_store: %s: %s\n", what, why);
    exit(1);
}

static void bench_check(int rc, const char *what, const u2i_error_t *err) {
    if (rc != U2I_OK) {
        bench_die(what, err->msg);
    }
}

static double bench_seconds(void) {
    return (double)clock_ticks_ns(clock_system()) / 1e9;
}

static int bench_compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double bench_median(double *values, size_t n) {
    qsort(values, n, sizeof(*values), bench_compare);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void bench_path(const struct bench *b, const char *name, char out[PATH_BYTES]) {
    (void)snprintf(out, PATH_BYTES, "%s/%s", b->dir, name); /* fits: name is one of ours */
}

static u2i_t *bench_open(const char *path, uint32_t flags) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    u2i_error_t err;
    u2i_t *u;
    opt.flags = flags;
    if ((flags & U2I_OPEN_EXISTING) == 0) {
        opt.model = "none";
        opt.dim = DIM;
    }
    bench_check(u2i_open(path, &opt, &u, &err), path, &err);
    return u;
}

static void bench_close(u2i_t *u) {
    if (u2i_close(u) != U2I_OK) {
        bench_die("closing", "the last write may not be durable");
    }
}

/* Removes one store with its side files. */
static void bench_unlink(const char *path) {
    const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < COUNT(ends); i++) {
        char file[PATH_BYTES + 16];
        (void)snprintf(file, sizeof(file), "%s%s", path, ends[i]); /* fits */
        (void)unlink(file);                                        /* may not be there */
    }
}

/* ---- Items ----------------------------------------------------------------------------------- */

/* A batch of items whose vectors are random and made before the clock starts. */
struct batch {
    u2i_item_t *items;
    float *vectors;
    char (*ids)[32], (*titles)[48];
    size_t n;
};

static void batch_make(struct batch *x, size_t n) {
    struct rng rng;
    rng_seed(&rng, 42);
    x->n = n;
    x->items = alloc_array(n, sizeof(*x->items));
    x->vectors = alloc_array(n * DIM, sizeof(float));
    x->ids = alloc_array(n, sizeof(*x->ids));
    x->titles = alloc_array(n, sizeof(*x->titles));
    if (x->items == NULL || x->vectors == NULL || x->ids == NULL || x->titles == NULL) {
        bench_die("making items", "out of memory");
    }
    for (size_t i = 0; i < n * DIM; i++) {
        x->vectors[i] = (float)rng_unit(&rng) - 0.5f;
    }
}

static void batch_free(struct batch *x) {
    mem_free(x->items);
    mem_free(x->vectors);
    mem_free(x->ids);
    mem_free(x->titles);
}

/* Names the batch's items as number `first` and on; moves one float of each vector, so that no two
 * items of a store are equal. */
static void batch_number(struct batch *x, size_t first) {
    static const char *const categories[] = {"books", "films", "music", "games", "garden"};
    for (size_t i = 0; i < x->n; i++) {
        const size_t number = first + i;
        (void)snprintf(x->ids[i], sizeof(x->ids[i]), "item-%zu", number);
        (void)snprintf(x->titles[i], sizeof(x->titles[i]), "Item number %zu", number);
        x->vectors[i * DIM + number % DIM] += 0.25f;
        x->items[i] = (u2i_item_t){.id = x->ids[i],
                                   .title = x->titles[i],
                                   .category = categories[number % 5],
                                   .vector = x->vectors + i * DIM};
    }
}

/* Puts n items in batches; returns the seconds spent inside u2i_put_items(). */
static double bench_put(u2i_t *u, size_t n, size_t batch) {
    struct batch x;
    u2i_error_t err;
    double spent = 0;
    batch_make(&x, batch < n ? batch : n);
    for (size_t done = 0; done < n; done += x.n) {
        x.n = x.n < n - done ? x.n : n - done;
        batch_number(&x, done);
        const double start = bench_seconds();
        bench_check(u2i_put_items(u, x.items, x.n, sizeof(u2i_item_t), &err), "put_items", &err);
        spent += bench_seconds() - start;
    }
    batch_free(&x);
    return spent;
}

/* ---- The machine ----------------------------------------------------------------------------- */

/* Appends 4 KiB and syncs, over and over: what one writer that syncs each commit could do. Taken
 * before each run that waits for the disk, since shared disks change from minute to minute. */
static void bench_sample_disk(struct bench *b) {
    static const char block[4096] = {1};
    char path[PATH_BYTES];
    bench_path(b, "sync", path);
    const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        bench_die(path, strerror(errno));
    }
    const double start = bench_seconds();
    double now = start;
    size_t n = 0;
    for (; now - start < b->size->sync_s; n++) {
        if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) || fdatasync(fd) != 0) {
            bench_die(path, strerror(errno));
        }
        now = bench_seconds();
    }
    (void)close(fd); /* only a measurement was in it */
    (void)unlink(path);
    if (b->found->syncs_n < COUNT(b->found->syncs)) {
        b->found->syncs[b->found->syncs_n++] = (double)n / (now - start);
    }
}

/* Seconds that one thread takes to read n words, n a multiple of 32. Four sums of 64 bytes keep enough
 * loads under way. */
static double bench_read(const uint64_t *p, size_t n) {
    static volatile uint64_t sink; /* keeps the sums from being left out */
    uint64_t sums[32] = {0};
    const double start = bench_seconds();
    for (size_t i = 0; i < n; i += 32) {
        for (size_t j = 0; j < 32; j++) {
            sums[j] += p[i + j];
        }
    }
    const double spent = bench_seconds() - start;
    for (size_t j = 0; j < 32; j++) {
        sink += sums[j];
    }
    return spent;
}

/* A field of /proc/self/status in bytes, e.g. "RssAnon". */
static double bench_memory(const char *field) {
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL) {
        bench_die("/proc/self/status", strerror(errno));
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            kib = strtod(line + strlen(field) + 1, NULL);
        }
    }
    (void)fclose(f); /* was only read */
    return kib * 1024;
}

/* ---- Recording ------------------------------------------------------------------------------- */

struct recording {
    u2i_t *u;
    unsigned threads, events;
    double seconds;
    pthread_barrier_t start;
    atomic_bool stop;
    atomic_size_t done;
};

struct recorder {
    struct recording *all;
    unsigned number;
};

static void *record_thread(void *arg) {
    const struct recorder *me = arg;
    struct recording *all = me->all;
    char users[16][24], items[16][32];
    u2i_event_t events[16];
    u2i_error_t err;
    struct rng rng;
    size_t done = 0;
    rng_seed(&rng, me->number + 1);
    (void)pthread_barrier_wait(&all->start); /* its code only tells one thread from the others */
    while (!atomic_load(&all->stop)) {
        for (unsigned i = 0; i < all->events; i++) {
            (void)snprintf(users[i], sizeof(users[i]), "user-%u", rng_below(&rng, 10000));
            (void)snprintf(items[i], sizeof(items[i]), "item-%u", rng_below(&rng, 1000));
            events[i] = (u2i_event_t){.user = users[i], .item = items[i], .action = "view"};
        }
        bench_check(u2i_record(all->u, events, all->events, sizeof(*events), NULL, &err), "record",
                    &err);
        done += all->events;
    }
    atomic_fetch_add(&all->done, done);
    return NULL;
}

static double record_run(struct recording *all) {
    pthread_t *threads = alloc_array(all->threads, sizeof(*threads));
    struct recorder *recorders = alloc_array(all->threads, sizeof(*recorders));
    pthread_attr_t attr;
    if (threads == NULL || recorders == NULL || pthread_attr_init(&attr) != 0 ||
        pthread_attr_setstacksize(&attr, 256 * 1024) != 0 ||
        pthread_barrier_init(&all->start, NULL, all->threads + 1) != 0) {
        bench_die("starting threads", "out of memory");
    }
    for (unsigned i = 0; i < all->threads; i++) {
        recorders[i] = (struct recorder){.all = all, .number = i};
        if (pthread_create(&threads[i], &attr, record_thread, &recorders[i]) != 0) {
            bench_die("starting threads", strerror(errno));
        }
    }
    (void)pthread_barrier_wait(&all->start); /* see above */
    const double start = bench_seconds();
    (void)usleep((useconds_t)(all->seconds * 1e6)); /* a short sleep only shortens the run */
    atomic_store(&all->stop, true);
    for (unsigned i = 0; i < all->threads; i++) {
        (void)pthread_join(threads[i], NULL); /* valid by construction */
    }
    const double spent = bench_seconds() - start;
    (void)pthread_barrier_destroy(&all->start);
    (void)pthread_attr_destroy(&attr);
    mem_free(recorders);
    mem_free(threads);
    return (double)atomic_load(&all->done) / spent;
}

static double bench_record(struct bench *b, unsigned threads, unsigned events) {
    double runs[RUNS_MAX];
    char path[PATH_BYTES];
    bench_path(b, "record.db", path);
    for (unsigned i = 0; i < b->size->runs; i++) {
        struct recording all = {.threads = threads, .events = events, .seconds = b->size->record_s};
        bench_sample_disk(b);
        all.u = bench_open(path, U2I_OPEN_NEW);
        (void)bench_put(all.u, 1000, 1000); /* not what is timed here */
        runs[i] = record_run(&all);
        bench_close(all.u);
        bench_unlink(path);
    }
    return bench_median(runs, b->size->runs);
}

static void part_record_single(struct bench *b) {
    b->found->single_per_s = bench_record(b, b->size->many_threads, 1);
}

static void part_record_batched(struct bench *b) {
    b->found->batched_per_s = bench_record(b, b->size->few_threads, b->size->few_events);
}

/* ---- Import and opening ---------------------------------------------------------------------- */

static void part_import(struct bench *b) {
    double runs[RUNS_MAX];
    char path[PATH_BYTES];
    bench_path(b, "import.db", path);
    for (unsigned i = 0; i < b->size->runs; i++) {
        bench_sample_disk(b);
        u2i_t *u = bench_open(path, U2I_OPEN_NEW);
        runs[i] =
            (double)b->size->import_items / bench_put(u, b->size->import_items, b->size->batch);
        bench_close(u);
        bench_unlink(path);
    }
    b->found->import_per_s = bench_median(runs, b->size->runs);
}

static void part_open_prepare(struct bench *b) {
    char path[PATH_BYTES];
    bench_path(b, "open.db", path);
    u2i_t *u = bench_open(path, U2I_OPEN_NEW);
    (void)bench_put(u, b->size->open_items, b->size->batch); /* not what is timed here */
    bench_close(u);
}

static void part_open(struct bench *b) {
    double runs[RUNS_MAX];
    char path[PATH_BYTES];
    bench_path(b, "open.db", path);
    for (unsigned i = 0; i < b->size->runs; i++) {
        const double start = bench_seconds();
        u2i_t *u = bench_open(path, U2I_OPEN_EXISTING);
        runs[i] = bench_seconds() - start;
        bench_close(u);
    }
    b->found->open_s = bench_median(runs, b->size->runs);
}

/* In a process of its own, so that nothing freed before is counted. */
static void part_memory(struct bench *b) {
    char path[PATH_BYTES];
    u2i_error_t err;
    u2i_stats_t stats = U2I_STATS_INIT;
    bench_path(b, "open.db", path);
    const double before = bench_memory("RssAnon");
    u2i_t *u = bench_open(path, U2I_OPEN_EXISTING);
    const double after = bench_memory("RssAnon");
    bench_check(u2i_stats(u, &stats, &err), "stats", &err);
    b->found->rss_per_item = (after - before) / (double)b->size->open_items;
    b->found->stats_per_item = (double)stats.memory_bytes / (double)b->size->open_items;
    bench_close(u);
    bench_unlink(path);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void bench_history(u2i_t *u, const char *user, unsigned n, uint32_t items) {
    char ids[200][32];
    u2i_event_t events[200];
    u2i_error_t err;
    struct rng rng;
    rng_seed(&rng, 7);
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(ids[i], sizeof(ids[i]), "item-%u", rng_below(&rng, items));
        events[i] = (u2i_event_t){.user = user,
                                  .item = ids[i],
                                  .action = "view",
                                  .time_ms = INT64_C(1700000000000) + i * INT64_C(60000)};
    }
    bench_check(u2i_record(u, events, n, sizeof(*events), NULL, &err), "record", &err);
}

static double bench_recommend(u2i_t *u) {
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r;
    u2i_error_t err;
    q.user = "someone";
    const double start = bench_seconds();
    bench_check(u2i_recommend(u, &q, &r, &err), "recommend", &err);
    const double spent = bench_seconds() - start;
    if (u2i_result_count(r) != 10) {
        bench_die("recommend", "not ten hits");
    }
    u2i_result_free(r);
    return spent;
}

/* Questions and plain reading take turns, so that both meet the same machine. The memory that is read
 * is as large as the vectors that are searched, in pages of the kind the index uses. */
static void part_recommend(struct bench *b) {
    char path[PATH_BYTES];
    double asked[256], read[256];
    const size_t words = b->size->flat_items * DIM * sizeof(float) / sizeof(uint64_t);
    uint64_t *const p = pages_alloc(words * sizeof(*p));
    if (p == NULL) {
        bench_die("measuring bandwidth", "out of memory");
    }
    for (size_t i = 0; i < words; i++) {
        p[i] = i;
    }
    bench_path(b, "recommend.db", path);
    u2i_t *u = bench_open(path, U2I_OPEN_NEW);
    (void)bench_put(u, b->size->flat_items, b->size->batch); /* not what is timed here */
    bench_history(u, "someone", 50, (uint32_t)b->size->flat_items);
    (void)bench_recommend(u); /* warm */
    for (unsigned i = 0; i < b->size->queries; i++) {
        asked[i] = bench_recommend(u);
        read[i] = bench_read(p, words);
    }
    b->found->recommend_s = bench_median(asked, b->size->queries);
    b->found->read_s = bench_median(read, b->size->queries);
    pages_free(p, words * sizeof(*p));
    bench_close(u);
    bench_unlink(path);
}

static void part_profile(struct bench *b) {
    char path[PATH_BYTES];
    bench_path(b, "profile.db", path);
    u2i_t *u = bench_open(path, U2I_OPEN_NEW);
    (void)bench_put(u, 2000, 1000); /* not what is timed here */
    bench_history(u, "someone", 200, 2000);
    bench_close(u);

    const struct engine_options opt = {.location = path, .clock = clock_system()};
    struct engine *e;
    u2i_error_t err;
    float profile[DIM];
    double runs[11];
    bench_check(engine_open(&opt, &e, &err), path, &err);
    bench_check(engine_profile(e, "someone", profile, &err), "profile",
                &err); /* cached from here */
    const unsigned n = b->size->queries * 50;
    for (size_t r = 0; r < 11; r++) {
        const double start = bench_seconds();
        for (unsigned i = 0; i < n; i++) {
            bench_check(engine_profile(e, "someone", profile, &err), "profile", &err);
        }
        runs[r] = (bench_seconds() - start) / n * 1e6;
    }
    b->found->profile_us = bench_median(runs, 11);
    if (engine_close(e) != U2I_OK) {
        bench_die("closing", path);
    }
    bench_unlink(path);
}

/* ---- Running --------------------------------------------------------------------------------- */

/* Runs one part in a process of its own; false if it failed or was interrupted. */
static bool bench_run(struct bench *b, const char *what, bench_part part) {
    printf("%s ...\n", what);
    (void)fflush(stdout); /* so that the child does not print it again */
    const pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
        part(b);
        exit(0);
    }
    int status = 1;
    if (pid < 0) {
        return false;
    }
    if (waitpid(pid, &status, 0) != pid) {
        (void)kill(pid, SIGTERM);
        (void)waitpid(pid, &status, 0); /* was interrupted: it only has to be gone */
        return false;
    }
    return status == 0;
}

static void bench_interrupt(int number) {
    (void)number; /* that waitpid() returns is all that is wanted */
}

static int bench_remove(const char *path, const struct stat *st, int kind, struct FTW *walk) {
    (void)st;
    (void)kind;
    (void)walk;
    (void)remove(path); /* the next one may still work */
    return 0;
}

static void bench_report(const struct bench *b) {
    struct results *x = b->found;
    const double syncs = bench_median(x->syncs, x->syncs_n); /* sorts them */
    const double bytes = (double)b->size->flat_items * DIM * sizeof(float);
    const double per_item =
        x->rss_per_item > x->stats_per_item ? x->rss_per_item : x->stats_per_item;
    printf("\nsizes: %s; kernels: %s; files in %s\n", b->size->name, vec_get()->name, b->dir);
    printf("disk                   %10.0f fdatasync/s (4 KiB appended each), from %.0f to %.0f\n",
           syncs, x->syncs[0], x->syncs[x->syncs_n - 1]);
    printf("record, %4u x 1       %10.0f events/s acknowledged, durability full: %.0f a sync\n",
           b->size->many_threads, x->single_per_s, x->single_per_s / syncs);
    printf("record, %4u x %-2u      %10.0f events/s acknowledged, durability full: %.0f a sync\n",
           b->size->few_threads, b->size->few_events, x->batched_per_s, x->batched_per_s / syncs);
    printf("import                 %10.0f items/s x %d floats, batches of %zu\n", x->import_per_s,
           DIM, b->size->batch);
    printf("open                   %10.3f s for %zu x %d\n", x->open_s, b->size->open_items, DIM);
    printf("recommend, exact       %10.3f ms over %zu x %d, one thread\n", x->recommend_s * 1e3,
           b->size->flat_items, DIM);
    printf("reading these bytes    %10.3f ms at %.1f GB/s, one thread\n", x->read_s * 1e3,
           bytes / x->read_s / 1e9);
    printf("profile                %10.2f us from 200 events x %d\n", x->profile_us, DIM);
    printf("memory                 %10.0f bytes an item resident, %.0f by stats; the vector is "
           "%zu\n\n",
           x->rss_per_item, x->stats_per_item, DIM * sizeof(float));

    printf("metric disk_syncs_per_s %.0f\n", syncs);
    printf("metric events_durable_per_s_1000 %.0f\n", x->single_per_s);
    printf("metric events_durable_per_s_64x10 %.0f\n", x->batched_per_s);
    printf("metric import_items_per_s %.0f\n", x->import_per_s);
    printf("metric open_%s_s %.3f\n", b->size->open_name, x->open_s);
    printf("metric flat_over_bandwidth %.3f\n", x->recommend_s / x->read_s);
    printf("metric profile_us_200x384 %.2f\n", x->profile_us);
    printf("metric bytes_per_item_over_vector %.1f\n", per_item - DIM * sizeof(float));
}

static bool bench_all(struct bench *b) {
    static const struct {
        const char *what;
        bench_part part;
    } parts[] = {{"recording single events", part_record_single},
                 {"recording batches of events", part_record_batched},
                 {"importing items", part_import},
                 {"making the store to open", part_open_prepare},
                 {"opening", part_open},
                 {"memory", part_memory},
                 {"recommending", part_recommend},
                 {"profiles", part_profile}};
    for (size_t i = 0; i < COUNT(parts); i++) {
        if (!bench_run(b, parts[i].what, parts[i].part)) {
            return false;
        }
    }
    return true;
}

static const struct sizes *bench_arguments(int argc, char **argv) {
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"smoke", no_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *quick = getenv("QUICK");
    const struct sizes *sizes =
        quick != NULL && quick[0] != '\0' && quick[0] != '0' ? &quick_sizes : &full_sizes;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'q') {
            sizes = &quick_sizes;
        } else if (c == 's') {
            sizes = &smoke_sizes;
        } else {
            printf("usage: bench_store [--quick | --smoke]\n"
                   "Measures durable writes, import, opening, exact search, profiles and memory;\n"
                   "takes about five minutes and 6 GB in a folder under TMPDIR (default /tmp).\n"
                   "  --quick  100,000 items to open and shorter runs, as does QUICK=1\n"
                   "  --smoke  tiny sizes: only that it works\n");
            exit(c == 'h' ? 0 : 2);
        }
    }
    return sizes;
}

int main(int argc, char **argv) {
    struct bench b = {.size = bench_arguments(argc, argv)};
    const char *tmp = getenv("TMPDIR");
    const struct sigaction act = {.sa_handler = bench_interrupt};
    (void)snprintf(b.dir, sizeof(b.dir), "%s/u2i-bench-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(b.dir) == NULL) {
        bench_die(b.dir, strerror(errno));
    }
    struct statfs fs;
    if (statfs(b.dir, &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
        printf("%s is in memory: durability costs nothing there, set TMPDIR\n", b.dir);
    }
    b.found =
        mmap(NULL, sizeof(*b.found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool ok = b.found != MAP_FAILED && sigaction(SIGINT, &act, NULL) == 0 &&
              sigaction(SIGTERM, &act, NULL) == 0;
    ok = ok && bench_all(&b);
    if (ok) {
        bench_report(&b);
    } else {
        fprintf(stderr, "bench_store: stopped\n");
    }
    (void)nftw(b.dir, bench_remove, 8, FTW_DEPTH | FTW_PHYS); /* at worst it leaves files behind */
    return ok ? 0 : 1;
}
