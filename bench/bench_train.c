/* bench_train - the learners on made-up data: how long EASE takes beside LAPACK's own
 * factorisation and inverse of a matrix of that size, what its factoring takes and loses, a
 * round of iALS on a million events, and with --large the memory of 10,000 items. Prints `metric
 * NAME VALUE` lines.
 *
 * Times are the least of three runs, LAPACK's with as many threads as ours; run it on an idle
 * machine.
 *
 * usage: bench_train [--smoke] [--large] [--threads N] */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "train/train.h"
#include "train/train_blas.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define RUNS 3

struct bench {
    struct train_work work;
    bool smoke, large;
};

static double seconds(void) {
    return (double)clock_ticks_ns(clock_system()) * 1e-9;
}

static void require(bool ok, const char *what) {
    if (!ok) {
        (void)fprintf(stderr, "bench_train: %s failed\n", what); /* nothing more can be done */
        exit(1);
    }
}

/* Users of a few tastes, items of falling popularity, users of very different diligence. */
static struct train_matrix *make_matrix(uint32_t users, uint32_t items, size_t n) {
    enum { TASTES = 40 };
    struct rng rng;
    rng_seed(&rng, 1);
    struct train_entry *const e = alloc_array(n, sizeof *e);
    require(e != NULL, "memory");
    for (size_t i = 0; i < n; i++) {
        const uint32_t user = (uint32_t)(pow(rng_unit(&rng), 1.5) * users);
        const uint32_t rank = (uint32_t)(pow(rng_unit(&rng), 2) * items);
        uint32_t item = rank;
        if (rng_unit(&rng) < .6) {
            item = (rank / TASTES * TASTES + user % TASTES) % items;
        }
        e[i] = (struct train_entry){user, (uint32_t)((uint64_t)item * 7919 % items), 1};
    }
    struct train_matrix *m = NULL;
    require(train_matrix_new(e, n, users, items, &m, NULL) == U2I_OK, "train_matrix_new");
    mem_free(e);
    return m;
}

/* ---- EASE ------------------------------------------------------------------------------------ */

/* LAPACK by itself: spotrf and spotri of a matrix that is as large. */
static double lapack_seconds(uint32_t n, unsigned threads) {
    float *const a = alloc_array((size_t)n * n, sizeof *a);
    require(a != NULL, "memory");
    double best = INFINITY;
    for (int run = 0; run < RUNS; run++) {
        for (size_t i = 0; i < (size_t)n * n; i++) {
            a[i] = i % (n + 1) == 0 ? 100 : 1.0f / (float)(1 + i % 97);
        }
        const int side = (int)n;
        int info = 0;
        openblas_set_num_threads((int)threads);
        const double start = seconds();
        spotrf_("U", &side, a, &side, &info, 1);
        require(info == 0, "spotrf");
        spotri_("U", &side, a, &side, &info, 1);
        best = fmin(best, seconds() - start);
        openblas_set_num_threads(1);
    }
    mem_free(a);
    return best;
}

/* One progress call tells where the factoring begins: its step is the second one. */
struct steps {
    unsigned begun;
    double at[8];
};
static int note_step(void *ctx, uint64_t done, uint64_t total) {
    struct steps *const s = ctx;
    (void)total;
    if (done == 0 && s->begun < 8) {
        s->at[s->begun++] = seconds();
    }
    return 0;
}

static void bench_ease(const struct bench *b) {
    const uint32_t items = b->smoke ? 300 : 3900;
    struct train_matrix *const x =
        make_matrix(b->smoke ? 500 : 6000, items, b->smoke ? 9000 : 900000);
    const double lapack = lapack_seconds(items, b->work.threads);
    double solve = INFINITY;
    double factor = INFINITY;
    for (int run = 0; run < RUNS; run++) {
        const struct train_ease_options opt = {.form = TRAIN_EASE_ITEMS};
        struct steps steps = {0};
        const struct train_work work = {b->work.threads, note_step, &steps};
        struct train_factors *f = NULL;
        const double start = seconds();
        require(train_ease(x, &opt, &work, &f, NULL) == U2I_OK && steps.begun == 2, "train_ease");
        const double end = seconds();
        solve = fmin(solve, steps.at[1] - start);
        factor = fmin(factor, end - steps.at[1]);
        train_factors_free(f);
    }
    printf("EASE, %u items, %llu entries: LAPACK's spotrf + spotri %.3f s; all of EASE but "
           "factoring %.3f s; "
           "factoring %.3f s\n",
           items, (unsigned long long)x->starts[x->rows], lapack, solve, factor);
    printf("metric ease_over_lapack %.2f\n", solve / lapack);
    printf("metric ease_factor_s %.3f\n", factor);
    train_matrix_free(x);
}

/* What the rank and the rounds cost of the matrix, off the diagonal. */
static void bench_loss(const struct bench *b) {
    const uint32_t n = b->smoke ? 200 : 2000;
    struct train_matrix *const x = make_matrix(b->smoke ? 300 : 3000, n, b->smoke ? 6000 : 300000);
    const struct train_ease_options exact = {.form = TRAIN_EASE_ITEMS};
    float *full = NULL;
    require(train_ease_full(x, &exact, &b->work, &full, NULL) == U2I_OK, "train_ease_full");
    for (uint32_t rounds = 1; rounds <= 8; rounds = rounds < 4 ? rounds + 1 : rounds * 2) {
        const struct train_ease_options opt = {.form = TRAIN_EASE_ITEMS, .rounds = rounds};
        struct train_factors *f = NULL;
        require(train_ease(x, &opt, &b->work, &f, NULL) == U2I_OK, "train_ease");
        double off = 0;
        double size = 0;
        for (size_t i = 0; i < (size_t)n * n; i++) {
            if (i / n != i % n) {
                const float own =
                    cblas_sdot((int)f->dim, f->in + i / n * f->dim, 1, f->out + i % n * f->dim, 1);
                off += ((double)own - (double)full[i]) * ((double)own - (double)full[i]);
                size += (double)full[i] * (double)full[i];
            }
        }
        printf("EASE, %u items, rank %u, %u rounds: %.4f of the matrix lost\n", n, f->dim, rounds,
               sqrt(off / size));
        train_factors_free(f);
    }
    mem_free(full);
    train_matrix_free(x);
}

/* The most memory that this process has had resident, in MB. */
static double peak_mb(void) {
    char line[256];
    double kib = 0;
    FILE *const f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kib = strtod(line + 6, NULL);
        }
    }
    if (f != NULL) {
        (void)fclose(f); /* was only read */
    }
    return kib / 1024;
}

static void bench_large(const struct bench *b) {
    struct train_matrix *const x = make_matrix(20000, 10000, 1000000);
    const struct train_ease_options opt = {.form = TRAIN_EASE_ITEMS};
    struct train_factors *f = NULL;
    const double start = seconds();
    require(train_ease(x, &opt, &b->work, &f, NULL) == U2I_OK, "train_ease");
    printf("EASE, 10,000 items: %.1f s, %.0f MB foretold\n", seconds() - start,
           (double)train_ease_memory(x, &opt) / 1e6);
    printf("metric ease_10k_mb %.0f\n", peak_mb());
    train_factors_free(f);
    train_matrix_free(x);
}

/* ---- The others ------------------------------------------------------------------------------ */

static void bench_ials(const struct bench *b) {
    struct train_matrix *const x =
        b->smoke ? make_matrix(500, 300, 9000) : make_matrix(50000, 20000, 1200000);
    const uint32_t rounds = 4;
    double best = INFINITY;
    for (int run = 0; run < RUNS; run++) {
        const struct train_ials_options opt = {.rounds = rounds};
        struct train_ials *f = NULL;
        const double start = seconds();
        require(train_ials(x, &opt, &b->work, &f, NULL) == U2I_OK, "train_ials");
        best = fmin(best, seconds() - start);
        train_ials_free(f);
    }
    printf("iALS, dim 64, %u users, %u items, %llu entries\n", x->rows, x->cols,
           (unsigned long long)x->starts[x->rows]);
    printf("metric ials_ms_per_round %.1f\n", best / rounds * 1e3);
    struct train_matrix *m = NULL;
    const struct train_neighbours_options near = {0, -1};
    const double start = seconds();
    require(train_neighbours(x, &near, &b->work, &m, NULL) == U2I_OK, "train_neighbours");
    printf("metric neighbours_s %.2f\n", seconds() - start);
    train_matrix_free(m);
    train_matrix_free(x);
}

/* As many users, items and entries as ml-latest-small has. */
static void bench_small(const struct bench *b) {
    struct train_matrix *const x = make_matrix(610, 9700, b->smoke ? 5000 : 90000);
    const struct train_ease_options ease = {0};
    const struct train_ials_options ials = {0};
    double best_ease = INFINITY;
    double best_ials = INFINITY;
    for (int run = 0; run < RUNS; run++) {
        struct train_factors *f = NULL;
        struct train_ials *g = NULL;
        const double start = seconds();
        require(train_ease(x, &ease, &b->work, &f, NULL) == U2I_OK, "train_ease");
        const double middle = seconds();
        require(train_ials(x, &ials, &b->work, &g, NULL) == U2I_OK, "train_ials");
        best_ease = fmin(best_ease, middle - start);
        best_ials = fmin(best_ials, seconds() - middle);
        train_factors_free(f);
        train_ials_free(g);
    }
    printf("610 users, 9,700 items, %llu entries\n", (unsigned long long)x->starts[x->rows]);
    printf("metric ease_small_s %.3f\n", best_ease);
    printf("metric ials_small_s %.3f\n", best_ials);
    train_matrix_free(x);
}

int main(int argc, char **argv) {
    struct bench b = {.work = {.threads = 2}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--smoke") == 0) {
            b.smoke = true;
        } else if (strcmp(argv[i], "--large") == 0) {
            b.large = true;
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            b.work.threads = (unsigned)strtoul(argv[++i], NULL, 10);
        } else {
            (void)fprintf(stderr, "usage: bench_train [--smoke] [--large] [--threads N]\n");
            return 2;
        }
    }
    if (b.large) {
        bench_large(&b); /* first, as memory is measured at its peak */
    }
    bench_ease(&b);
    bench_loss(&b);
    bench_ials(&b);
    bench_small(&b);
    return 0;
}
