/* What the tests of the graph's file share: a folder for each test, small graphs of random vectors, and
 * exact answers to compare with. */
#ifndef U2I_TESTS_HNSW_FILES_H
#define U2I_TESTS_HNSW_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "hnsw_forge.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIM = 8, QUERIES = 40, K = 10 };

/* A folder of its own for each test. */
struct fixture {
    char folder[64];
    char path[96];
    struct rng rng;
};

static inline uint64_t test_seed(void) {
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text == NULL ? 21 : strtoull(text, NULL, 10);
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static inline int setup(void **state) {
    struct fixture *const f = mem_zalloc(sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/u2i-hnsw-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof f->path, "%s/graph", f->folder);
    rng_seed(&f->rng, test_seed());
    *state = f;
    return 0;
}

/* Calls fn for each name in the folder; returns how many there are. */
static inline size_t each_file(const struct fixture *f, void (*fn)(const char *path)) {
    DIR *const d = opendir(f->folder);
    const struct dirent *e;
    size_t n = 0;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", f->folder, e->d_name);
        if (e->d_name[0] != '.') {
            n++;
            if (fn != NULL) {
                fn(path);
            }
        }
    }
    assert_int_equal(closedir(d), 0);
    return n;
}

static inline void remove_any(const char *path) {
    assert_int_equal(remove(path), 0);
}

static inline int teardown(void **state) {
    struct fixture *const f = *state;
    (void)each_file(f, remove_any);
    assert_int_equal(rmdir(f->folder), 0);
    mem_free(f);
    return 0;
}

/* ---- Graphs --------------------------------------------------------------------------------- */

static inline struct hnsw_options options(enum hnsw_metric metric) {
    return (struct hnsw_options){.dim = DIM,
                                 .metric = metric,
                                 .links = 4,
                                 .ef_construction = 20,
                                 .seed = 5,
                                 .norm_max = metric == HNSW_INNER_PRODUCT ? 8 : 0};
}

static inline void random_vector(struct rng *rng, enum hnsw_metric metric, float *v) {
    for (uint32_t i = 0; i < DIM; i++) {
        v[i] = (float)rng_normal(rng);
    }
    if (metric == HNSW_COSINE) {
        assert_true(vec_normalise(v, DIM));
    }
}

/* n vectors of rows first, first + step, ... */
static inline void insert_random(struct hnsw *h, struct rng *rng, uint32_t first, uint32_t step,
                                 uint32_t n) {
    float *const vectors = alloc_array((size_t)n * DIM, sizeof *vectors);
    uint32_t *const rows = alloc_array(n, sizeof *rows);
    u2i_error_t err;
    assert_true(vectors != NULL && rows != NULL);
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = first + i * step;
        random_vector(rng, h->metric, vectors + (size_t)i * DIM);
    }
    assert_int_equal(hnsw_insert(h, rows, vectors, n, NULL, &err), U2I_OK);
    mem_free(rows);
    mem_free(vectors);
}

static inline struct hnsw *graph_new(struct rng *rng, enum hnsw_metric metric, uint32_t n) {
    const struct hnsw_options opt = options(metric);
    struct hnsw *h;
    u2i_error_t err;
    assert_int_equal(hnsw_new(&opt, &h, &err), U2I_OK);
    insert_random(h, rng, 3, 2, n);
    return h;
}

static inline void must_be_sound(const struct hnsw *h) {
    u2i_error_t err = {0};
    if (hnsw_validate(h, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

static const struct hnsw_stamp the_stamp = {.sequence = 77, .token = "0123456789abcde"};

static inline void save(const struct hnsw *h, const char *path) {
    u2i_error_t err;
    if (hnsw_save(h, path, &the_stamp, NULL, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

static inline int try_open(const char *path, enum hnsw_metric metric, struct hnsw **out,
                           u2i_error_t *err) {
    const struct hnsw_options opt = options(metric);
    struct hnsw_stamp stamp;
    return hnsw_open(path, &opt, &stamp, out, err);
}

static inline struct hnsw *reopen(const char *path, enum hnsw_metric metric) {
    struct hnsw *h;
    u2i_error_t err;
    if (try_open(path, metric, &h, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    must_be_sound(h);
    return h;
}

static inline uint32_t search(const struct hnsw *h, const float *query, uint32_t ef,
                              struct hit *hits) {
    const struct hnsw_query q = {.vector = query, .k = K, .ef = ef};
    uint32_t n;
    u2i_error_t err;
    assert_int_equal(hnsw_search(h, &q, hits, &n, NULL, &err), U2I_OK);
    return n;
}

/* Every row is looked at. */
struct exact {
    const struct hnsw *h;
    const float *query;
    struct topk best;
};

static inline void exact_row(void *ctx, uint32_t row) {
    struct exact *const e = ctx;
    topk_push(&e->best, vec_dot(e->query, hnsw_vector(e->h, row), DIM), row);
}

static inline uint32_t exact_search(const struct hnsw *h, const float *query, struct hit *hits) {
    struct exact e = {.h = h, .query = query};
    topk_init(&e.best, hits, K, NULL, NULL);
    hnsw_each_row(h, exact_row, &e);
    return topk_sort(&e.best);
}

/* How many of the exact answers to the same queries are found; scores must be exact. */
static inline uint32_t found(const struct hnsw *h, uint64_t seed, uint32_t ef) {
    struct rng rng;
    uint32_t same = 0;
    rng_seed(&rng, seed);
    for (int i = 0; i < QUERIES; i++) {
        float query[DIM];
        struct hit want[K], got[K];
        random_vector(&rng, h->metric, query);
        const uint32_t n = exact_search(h, query, want);
        assert_int_equal(search(h, query, ef, got), n);
        for (uint32_t a = 0; a < n; a++) {
            for (uint32_t b = 0; b < n; b++) {
                if (want[a].row == got[b].row) {
                    assert_true(want[a].score == got[b].score);
                    same++;
                }
            }
        }
    }
    return same;
}

/* The same rows with the same vectors. */
struct compare {
    const struct hnsw *other;
    uint32_t n;
};

static inline void compare_row(void *ctx, uint32_t row) {
    struct compare *const c = ctx;
    const float *const there = hnsw_vector(c->other, row);
    assert_non_null(there);
    c->n++;
}

static inline void must_have_same_rows(const struct hnsw *a, const struct hnsw *b) {
    struct compare c = {.other = b};
    struct hnsw_stats stats;
    hnsw_each_row(a, compare_row, &c);
    hnsw_stats(b, &stats);
    assert_int_equal(c.n, stats.count);
    for (uint32_t node = 0; node < a->slots; node++) {
        if (hnsw_live(a, node)) {
            const uint32_t row = hnsw_row(a, node);
            assert_memory_equal(hnsw_vector(a, row), hnsw_vector(b, row), DIM * sizeof(float));
        }
    }
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

static inline struct bytes read_file(const char *path) {
    struct stat st;
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    struct bytes b = {mem_alloc((size_t)st.st_size), (size_t)st.st_size};
    assert_non_null(b.p);
    assert_int_equal(read(fd, b.p, b.n), b.n);
    assert_int_equal(close(fd), 0);
    return b;
}

/* Over what is there: cutting a file to nothing first makes some file systems wait for the disk. */
static inline void write_file(const char *path, const struct bytes *b) {
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->p, b->n), b->n);
    assert_int_equal(ftruncate(fd, (off_t)b->n), 0);
    assert_int_equal(close(fd), 0);
}

#endif
