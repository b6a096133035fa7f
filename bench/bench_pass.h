/* Asks a graph all queries of a file, each by itself, and times them. QPS of one thread is queries by
 * the sum of their times; QPS of several threads queries by the time from the first start to the last
 * end. Making a bitmap of denied rows is not timed: the caller of a search has it anyway. */
#ifndef U2I_BENCH_BENCH_PASS_H
#define U2I_BENCH_BENCH_PASS_H

#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"
#include "bench_vectors.h"
#include "flat/flat.h"
#include "hnsw/hnsw.h"

#include <sys/resource.h>

#define PASS_K_MAX      1024
#define PASS_STRATEGIES 3

static inline double bench_seconds(void) {
    return (double)clock_ticks_ns(clock_system()) / 1e9;
}

static inline double bench_cpu_seconds(void) {
    struct rusage use;
    (void)getrusage(RUSAGE_SELF, &use); /* cannot fail with these arguments */
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static inline int bench_compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static inline double bench_percentile(double *values, size_t n, double share) {
    if (n == 0) {
        return 0;
    }
    qsort(values, n, sizeof(*values), bench_compare);
    const size_t at = (size_t)(share * (double)n);
    return values[at < n ? at : n - 1];
}

/* One pass over the queries. */
struct pass {
    const struct hnsw *graph;
    const struct flat *flat; /* instead of the graph if not NULL */
    pthread_rwlock_t *lock;  /* held around each query if not NULL */
    struct matrix queries;   /* the first n of them */
    struct matrix deny;      /* rows for each query; dim 0: none */
    size_t n, deny_n;
    roaring_bitmap_t *allow;
    uint32_t k, ef;
    unsigned threads;
    int32_t *ids;  /* n x k, -1 where there are fewer */
    double *times; /* n, seconds */
    /* found out */
    double seconds, cpu_seconds; /* cpu_seconds: of all threads, making bitmaps included */
    struct searcher *searchers;
};

/* The share of one thread: every threads-th query from `first` on. */
struct searcher {
    struct pass *pass;
    unsigned first;
    pthread_t thread;
    int rc;
    u2i_error_t err;
    uint64_t strategies[PASS_STRATEGIES], distances, rounds;
    uint32_t ef;
};

static inline int pass_ask(const struct pass *p, size_t i, const roaring_bitmap_t *deny,
                           struct searcher *s) {
    struct hit hits[PASS_K_MAX];
    struct hnsw_explain why = {0};
    uint32_t n = 0;
    const struct hnsw_query q = {.vector = matrix_row(&p->queries, i),
                                 .k = p->k,
                                 .ef = p->ef,
                                 .allow = p->allow,
                                 .deny = deny};
    const struct flat_query exact = {
        .vector = q.vector, .k = q.k, .allow = q.allow, .deny = q.deny};
    const double start = bench_seconds();
    if (p->lock != NULL) {
        (void)pthread_rwlock_rdlock(p->lock); /* fails only when misused */
    }
    const int rc = p->flat != NULL ? flat_search(p->flat, &exact, hits, &n, &s->err)
                                   : hnsw_search(p->graph, &q, hits, &n, &why, &s->err);
    if (p->lock != NULL) {
        (void)pthread_rwlock_unlock(p->lock); /* held */
    }
    p->times[i] = bench_seconds() - start;
    for (uint32_t j = 0; j < p->k; j++) {
        p->ids[i * p->k + j] = j < n ? (int32_t)hits[j].row : -1;
    }
    s->strategies[(unsigned)why.strategy % PASS_STRATEGIES]++;
    s->distances += why.distances;
    s->rounds += why.rounds;
    s->ef = why.ef > s->ef ? why.ef : s->ef;
    return rc;
}

static inline void *pass_thread(void *arg) {
    struct searcher *s = arg;
    const struct pass *p = s->pass;
    for (size_t i = s->first; i < p->n && s->rc == U2I_OK; i += p->threads) {
        roaring_bitmap_t *deny = NULL;
        if (p->deny_n > 0) {
            deny = roaring_bitmap_of_ptr(p->deny_n, (const uint32_t *)matrix_row(&p->deny, i));
        }
        s->rc = pass_ask(p, i, deny, s);
        if (deny != NULL) {
            roaring_bitmap_free(deny);
        }
    }
    return NULL;
}

/* Adds up what the threads found in the first of them. */
static inline bool pass_sum(struct pass *p, unsigned started, char *error) {
    struct searcher *all = &p->searchers[0];
    for (unsigned i = 0; i < p->threads; i++) {
        const struct searcher *s = &p->searchers[i];
        if (i >= started || s->rc != U2I_OK) {
            return matrix_fail(error, "search", i < started ? s->err.msg : "cannot start threads");
        }
        if (i == 0) {
            continue;
        }
        for (size_t j = 0; j < PASS_STRATEGIES; j++) {
            all->strategies[j] += s->strategies[j];
        }
        all->distances += s->distances;
        all->rounds += s->rounds;
        all->ef = s->ef > all->ef ? s->ef : all->ef;
    }
    return true;
}

/* Room for the answers to p->n queries. */
static inline bool pass_prepare(struct pass *p, char *error) {
    p->searchers = mem_zalloc(p->threads * sizeof(*p->searchers));
    p->ids = alloc_array(p->n * p->k, sizeof(*p->ids));
    p->times = alloc_array(p->n, sizeof(*p->times));
    return (p->searchers != NULL && p->ids != NULL && p->times != NULL) ||
           matrix_fail(error, "search", "out of memory");
}

/* Asks all queries once. */
static inline bool pass_run(struct pass *p, char *error) {
    unsigned started = 1;
    if (!pass_prepare(p, error)) {
        return false;
    }
    for (unsigned i = 0; i < p->threads; i++) {
        p->searchers[i] = (struct searcher){.pass = p, .first = i};
    }
    const double start = bench_seconds(), cpu = bench_cpu_seconds();
    while (started < p->threads && thread_start(&p->searchers[started].thread, "search",
                                                pass_thread, &p->searchers[started]) == U2I_OK) {
        started++;
    }
    (void)pass_thread(&p->searchers[0]); /* returns NULL */
    for (unsigned i = 1; i < started; i++) {
        (void)pthread_join(p->searchers[i].thread, NULL); /* valid by construction */
    }
    p->seconds = bench_seconds() - start;
    p->cpu_seconds = bench_cpu_seconds() - cpu;
    for (size_t i = 0; p->threads == 1 && i < p->n; i++) {
        p->seconds = (i == 0 ? 0 : p->seconds) + p->times[i];
    }
    return pass_sum(p, started, error);
}

static inline void pass_free(struct pass *p) {
    matrix_close(&p->queries);
    matrix_close(&p->deny);
    if (p->allow != NULL) {
        roaring_bitmap_free(p->allow);
    }
    mem_free(p->searchers);
    mem_free(p->ids);
    mem_free(p->times);
}

#endif
