/* An owner for tests of the index: a model of what was set, the changes in order, callbacks that note
 * what was asked of them. The vector of a row is a function of the row and its version, so the model is
 * small and knows every score. Answers are held against the exact ones of flat/: scores, and rows by
 * recall. */
#ifndef U2I_TESTS_INDEX_OWNER_H
#define U2I_TESTS_INDEX_OWNER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "flat/flat.h"
#include "index/index_internal.h"
#include "vec/vec.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIM = 24, ROWS = 4096, CLUSTERS = 40, K = 10, OPS_MAX = 200000 };

/* ---- Vectors -------------------------------------------------------------------------------- */

static inline uint64_t test_seed(void) {
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text == NULL ? 17 : strtoull(text, NULL, 10);
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static inline void near_centre(struct rng *rng, uint32_t cluster, float *out) {
    struct rng centre;
    rng_seed(&centre, 1000 + cluster);
    for (uint32_t i = 0; i < DIM; i++) {
        out[i] = (float)(rng_normal(&centre) + 0.7 * rng_normal(rng));
    }
    assert_true(vec_normalise(out, DIM));
}

static inline void vector_of(uint32_t row, uint32_t version, float *out) {
    struct rng rng;
    rng_seed(&rng, (uint64_t)version << 32 | row);
    near_centre(&rng, rng_below(&rng, CLUSTERS), out);
}

/* ---- An owner and its index ----------------------------------------------------------------- */

struct op {
    uint32_t row, version; /* version 0: removed */
};

struct owner {
    pthread_rwlock_t lock;
    struct index *ix;
    char folder[64], path[128];
    uint32_t version[ROWS]; /* the model: 0 = absent */
    struct op *ops;         /* ops[i] made the store's sequence i + 1 */
    uint64_t sequence;
    atomic_uint saves, lost_n;
    bool refuse, keep_lost;
    pthread_mutex_t log_lock;
    char log[4000]; /* lines so far */
};

static inline void owner_log(void *ctx, int level, const char *line) {
    struct owner *const o = ctx;
    (void)pthread_mutex_lock(&o->log_lock);
    const size_t n = strlen(o->log);
    (void)snprintf(o->log + n, sizeof o->log - n, "%d %s\n", level, line);
    (void)pthread_mutex_unlock(&o->log_lock);
}

static inline bool owner_logged(struct owner *o, const char *words) {
    (void)pthread_mutex_lock(&o->log_lock);
    const bool found = strstr(o->log, words) != NULL;
    (void)pthread_mutex_unlock(&o->log_lock);
    return found;
}

static inline void owner_stamp(void *ctx, struct hnsw_stamp *out) {
    const struct owner *const o = ctx;
    *out = (struct hnsw_stamp){.sequence = o->sequence, .token = "a token"};
}

static inline int owner_saved(void *ctx, const struct hnsw_stamp *stamp) {
    struct owner *const o = ctx;
    assert_string_equal((const char *)stamp->token, "a token");
    if (o->refuse) {
        return U2I_EBUSY;
    }
    atomic_fetch_add(&o->saves, 1);
    return 0;
}

static inline int owner_lost(void *ctx, const uint32_t *rows, uint32_t n) {
    struct owner *const o = ctx;
    atomic_fetch_add(&o->lost_n, n);
    if (!o->keep_lost) {
        return U2I_EIO;
    }
    for (uint32_t i = 0; i < n; i++) {
        float vector[DIM];
        (void)pthread_rwlock_wrlock(&o->lock);
        vector_of(rows[i], o->version[rows[i]], vector);
        const int rc = index_set(o->ix, rows[i], vector, NULL);
        (void)pthread_rwlock_unlock(&o->lock);
        assert_int_equal(rc, U2I_OK);
    }
    return 0;
}

static inline void owner_new_index(struct owner *o, uint32_t exact_max) {
    struct index_options opt = {.dim = DIM,
                                .metric = HNSW_COSINE,
                                .config = INDEX_CONFIG_INIT,
                                .lock = &o->lock,
                                .log = {owner_log, o},
                                .name = "content",
                                .path = o->path,
                                .ctx = o,
                                .stamp = owner_stamp,
                                .saved = owner_saved,
                                .lost = owner_lost};
    u2i_error_t err;
    opt.config.exact_max = exact_max;
    opt.config.ef_construction = 40;
    assert_int_equal(index_new(&opt, &o->ix, &err), U2I_OK);
}

static inline struct owner *owner_new(uint32_t exact_max) {
    struct owner *const o = mem_zalloc(sizeof *o);
    assert_non_null(o);
    o->ops = alloc_array(OPS_MAX, sizeof *o->ops);
    assert_non_null(o->ops);
    assert_int_equal(rwlock_init(&o->lock), U2I_OK);
    assert_int_equal(pthread_mutex_init(&o->log_lock, NULL), 0);
    (void)snprintf(o->folder, sizeof o->folder, "/tmp/u2i-index-XXXXXX");
    assert_non_null(mkdtemp(o->folder));
    (void)snprintf(o->path, sizeof o->path, "%s/content", o->folder);
    owner_new_index(o, exact_max);
    return o;
}

static inline void owner_free(struct owner *o) {
    char lock[160];
    index_free(o->ix);
    (void)snprintf(lock, sizeof lock, "%s.lock", o->path);
    (void)unlink(o->path); /* need not be there */
    (void)unlink(lock);
    assert_int_equal(rmdir(o->folder), 0);
    (void)pthread_mutex_destroy(&o->log_lock);
    (void)pthread_rwlock_destroy(&o->lock);
    mem_free(o->ops);
    mem_free(o);
}

/* Ends the process, so to say, and starts another: only the file is left. */
static inline void owner_restart(struct owner *o, uint32_t exact_max) {
    index_free(o->ix);
    owner_new_index(o, exact_max);
}

/* What the store does with a change: to its tables, then to the index. */
static inline void owner_apply(struct owner *o, struct op op) {
    float vector[DIM];
    if (op.version == 0) {
        index_remove(o->ix, op.row);
    } else {
        vector_of(op.row, op.version, vector);
        assert_int_equal(index_set(o->ix, op.row, vector, NULL), U2I_OK);
    }
}

static inline void owner_change_locked(struct owner *o, uint32_t row, bool present) {
    const uint32_t version = present ? (uint32_t)o->sequence + 1 : 0;
    assert_true(o->sequence < OPS_MAX);
    o->ops[o->sequence++] = (struct op){row, version};
    o->version[row] = version;
    owner_apply(o, (struct op){row, version});
}

static inline void owner_change(struct owner *o, uint32_t row, bool present) {
    (void)pthread_rwlock_wrlock(&o->lock);
    owner_change_locked(o, row, present);
    (void)pthread_rwlock_unlock(&o->lock);
}

static inline void owner_fill(struct owner *o, uint32_t n) {
    for (uint32_t row = 0; row < n; row++) {
        owner_change(o, row, true);
    }
}

static inline void owner_replay(struct owner *o, uint64_t sequence) {
    for (; sequence < o->sequence; sequence++) {
        owner_apply(o, o->ops[sequence]);
    }
}

static inline struct index_stats owner_stats(struct owner *o) {
    struct index_stats stats;
    (void)pthread_rwlock_rdlock(&o->lock);
    index_stats(o->ix, &stats);
    (void)pthread_rwlock_unlock(&o->lock);
    return stats;
}

static inline struct index_stats owner_wait(struct owner *o) {
    struct index_stats stats = owner_stats(o);
    for (int i = 0; i < 30000 && stats.busy; i++) {
        (void)usleep(1000);
        stats = owner_stats(o);
    }
    assert_false(stats.busy);
    return stats;
}

static inline void owner_build(struct owner *o) {
    u2i_error_t err = {0};
    if (index_build(o->ix, NULL, NULL, &err) != U2I_OK) {
        fail_msg("index_build: %s", err.msg);
    }
}

static inline uint32_t owner_count(const struct owner *o) {
    uint32_t n = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        n += o->version[row] != 0;
    }
    return n;
}

/* ---- Checks --------------------------------------------------------------------------------- */

static inline void count_row(void *ctx, uint32_t row) {
    uint8_t *const seen = ctx;
    assert_true(row < ROWS);
    seen[row]++;
}

/* Exactly the model's rows are there, once, with its vectors. Nobody else changes anything. */
static inline void check_content(struct owner *o) {
    uint8_t seen[ROWS] = {0};
    float vector[DIM];
    (void)pthread_rwlock_rdlock(&o->lock);
    index_each_row(o->ix, count_row, seen);
    assert_int_equal(index_count(o->ix), owner_count(o));
    for (uint32_t row = 0; row < ROWS; row++) {
        assert_int_equal(seen[row], o->version[row] != 0);
        assert_int_equal(index_contains(o->ix, row), o->version[row] != 0);
        const float *const got = index_vector(o->ix, row);
        assert_int_equal(got != NULL, o->version[row] != 0);
        if (got != NULL) {
            vector_of(row, o->version[row], vector);
            assert_memory_equal(got, vector, sizeof vector);
        }
    }
    (void)pthread_rwlock_unlock(&o->lock);
}

static inline struct flat *oracle_new(const struct owner *o) {
    struct flat *oracle = NULL;
    float vector[DIM];
    assert_int_equal(flat_new(DIM, &oracle, NULL), U2I_OK);
    for (uint32_t row = 0; row < ROWS; row++) {
        if (o->version[row] != 0) {
            vector_of(row, o->version[row], vector);
            assert_int_equal(flat_set(oracle, row, vector, NULL), U2I_OK);
        }
    }
    return oracle;
}

/* The kernels add in different orders. */
#define SLACK 1e-5f
static inline bool same_score(float a, float b) {
    return a - b < SLACK && b - a < SLACK;
}

/* Every score is what the oracle's vector gives; returns how many of `want` were found. */
static inline uint32_t check_hits(const struct flat *oracle, const float *vector,
                                  const struct hit *got, const struct hit *want, uint32_t n) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        const float *const v = flat_vector(oracle, got[i].row);
        assert_non_null(v);
        assert_true(same_score(got[i].score, vec_dot(vector, v, DIM)));
        assert_true(i == 0 || got[i - 1].score > got[i].score ||
                    (got[i - 1].score == got[i].score && got[i - 1].row < got[i].row));
        found += got[i].score >= want[n - 1].score - SLACK;
    }
    return found;
}

static inline double recall_of(struct owner *o, struct rng *rng, const roaring_bitmap_t *allow,
                               const roaring_bitmap_t *deny) {
    enum { QUERIES = 60 };
    struct flat *const oracle = oracle_new(o);
    uint32_t found = 0;
    uint32_t of = 0;
    for (int i = 0; i < QUERIES; i++) {
        float vector[DIM];
        struct hit got[K];
        struct hit want[K];
        uint32_t got_n = 0;
        uint32_t want_n = 0;
        near_centre(rng, rng_below(rng, CLUSTERS), vector);
        const struct index_query q = {.vector = vector, .k = K, .allow = allow, .deny = deny};
        const struct flat_query f = {.vector = vector, .k = K, .allow = allow, .deny = deny};
        (void)pthread_rwlock_rdlock(&o->lock);
        const int rc = index_search(o->ix, &q, got, &got_n, NULL, NULL);
        (void)pthread_rwlock_unlock(&o->lock);
        assert_int_equal(rc, U2I_OK);
        assert_int_equal(flat_search(oracle, &f, want, &want_n, NULL), U2I_OK);
        assert_int_equal(got_n, want_n);
        found += got_n == 0 ? 0 : check_hits(oracle, vector, got, want, got_n);
        of += want_n;
    }
    flat_free(oracle);
    return of == 0 ? 1 : (double)found / of;
}

static inline void check_graph(struct owner *o) {
    u2i_error_t err = {0};
    if (o->ix->graph != NULL && hnsw_validate(o->ix->graph, &err) != U2I_OK) {
        fail_msg("the graph is not sound: %s", err.msg);
    }
}

static inline roaring_bitmap_t *some_rows(struct rng *rng, double share) {
    roaring_bitmap_t *const rows = roaring_bitmap_create();
    assert_non_null(rows);
    for (uint32_t row = 0; row < ROWS; row++) {
        if (rng_unit(rng) < share) {
            roaring_bitmap_add(rows, row);
        }
    }
    return rows;
}

static inline bool finds(struct owner *o, const float *vector, uint32_t row, float *score) {
    struct hit hits[K];
    uint32_t n = 0;
    const struct index_query q = {.vector = vector, .k = K};
    assert_int_equal(index_search(o->ix, &q, hits, &n, NULL, NULL), U2I_OK);
    for (uint32_t i = 0; i < n; i++) {
        if (hits[i].row == row) {
            *score = hits[i].score;
            return true;
        }
    }
    return false;
}

#endif
