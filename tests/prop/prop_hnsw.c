/* The graph against exact search, over its whole life: random insertions, updates, removals and
 * repairs, planned and committed in steps or given up half-way; files written, and crashes after
 * which the graph is opened from the last file and what came later is done again. After each group
 * of changes the graph has to be sound and hold exactly the rows and vectors that exact search
 * holds; answers have to be exact scores of rows that pass, never fewer than there are, and, over
 * the whole run, nearly always the best.
 *
 * U2I_SEED=n repeats a run; it is printed. */
#include "base/alloc.h"
#include "base/rng.h"
#include "flat/flat.h"
#include "hnsw/hnsw.h"
#include "vec/vec.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WORLDS = 4,
    GROUPS = 50,  /* of changes in a world */
    CHANGES = 60, /* rows in one change, at most */
    MANY = 200,   /* rows inserted at once, at most */
    ROWS = 1200,  /* row numbers in use */
    DIM_MAX = 70,
    CENTRES = 12,
    K_MAX = 40,
    SEARCHES = 6, /* after a group */
};

struct change { /* since the file was written */
    uint32_t row;
    bool removed;
    float vector[DIM_MAX];
};

struct world {
    struct rng rng;
    struct hnsw_options opt;
    struct hnsw *h;
    struct flat *f;
    float centres[CENTRES][DIM_MAX];
    char path[64];
    bool saved;
    uint64_t sequence; /* of the file */
    struct change *log;
    size_t log_n, log_cap;
    double found, asked; /* of the best rows, in searches that had to find nearly all */
};

static uint32_t below(struct world *w, uint32_t n) {
    return rng_below(&w->rng, n);
}

static void assert_sound(const struct world *w) {
    u2i_error_t err;
    if (hnsw_validate(w->h, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

/* Mostly near a centre; some anywhere, some equal to one that is there. */
static void random_vector(struct world *w, float *out) {
    const float *const other = flat_vector(w->f, below(w, ROWS));
    const uint32_t kind = below(w, 20);
    if (kind == 0 && other != NULL) {
        memcpy(out, other, w->opt.dim * sizeof *out);
        return;
    }
    const float *const centre = w->centres[below(w, CENTRES)];
    for (uint32_t i = 0; i < w->opt.dim; i++) {
        out[i] = (kind < 3 ? 0 : centre[i]) + 0.5f * (float)rng_normal(&w->rng);
    }
    (void)vec_normalise(out, w->opt.dim); /* zero is as good as any */
    if (w->opt.metric == HNSW_INNER_PRODUCT) {
        vec_get()->scale(out, (float)(0.7 + 0.6 * rng_unit(&w->rng)), w->opt.dim);
    }
}

/* ---- Changes -------------------------------------------------------------------------------- */

/* The oracle is changed at once; the log says what to do again after a crash. */
static void note(struct world *w, uint32_t row, const float *vector) {
    assert_int_equal(array_reserve(&w->log, &w->log_cap, w->log_n + 1, sizeof *w->log), U2I_OK);
    struct change *const c = &w->log[w->log_n++];
    c->row = row;
    c->removed = vector == NULL;
    if (vector == NULL) {
        flat_remove(w->f, row);
    } else {
        memcpy(c->vector, vector, w->opt.dim * sizeof *vector);
        assert_int_equal(flat_set(w->f, row, vector, NULL), U2I_OK);
    }
}

static void remove_one(struct world *w, uint32_t row) {
    hnsw_remove(w->h, row);
    note(w, row, NULL);
}

/* Commits in steps; sometimes not to the end (returns false), and then rows may be in or not. */
static bool commit(struct world *w, struct hnsw_batch *b, bool may_stop) {
    bool done = false;
    while (!done) {
        done = hnsw_commit(b, 1 + below(w, 80), NULL, NULL);
        if (!done && may_stop && below(w, 12) == 0) {
            break;
        }
        if (below(w, 4) == 0) {
            remove_one(w, below(w, ROWS));
        }
    }
    hnsw_batch_free(b);
    return done;
}

/* Inserts rows that are there or not: what is there is removed first. */
static void put_some(struct world *w) {
    uint32_t rows[CHANGES];
    float vectors[CHANGES * DIM_MAX];
    const uint32_t max = hnsw_plan_max(w->h) < CHANGES ? hnsw_plan_max(w->h) : CHANGES;
    const uint32_t n = 1 + below(w, max);
    const uint32_t first = below(w, ROWS);
    const struct hnsw_work how = {.threads = 1 + below(w, 2)};
    struct hnsw_batch *b = NULL;
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = (first + i * 7) % ROWS; /* no row twice */
        random_vector(w, vectors + (size_t)i * w->opt.dim);
    }
    assert_int_equal(hnsw_plan(w->h, &(struct hnsw_vectors){rows, vectors, n}, &how, &b, NULL),
                     U2I_OK);
    for (uint32_t i = 0; i < n; i++) {
        if (hnsw_contains(w->h, rows[i])) {
            remove_one(w, rows[i]);
        }
    }
    if (below(w, 10) == 0) {
        hnsw_batch_free(b);
        return;
    }
    (void)hnsw_commit(b, below(w, 2) * 10, NULL, NULL); /* the rest below */
    while (!hnsw_commit(b, 1 + below(w, 80), NULL, NULL)) {
        const uint32_t row = below(w, ROWS);
        bool planned = false;
        for (uint32_t i = 0; i < n; i++) {
            planned = planned || rows[i] == row;
        }
        if (!planned && below(w, 3) == 0) {
            remove_one(w, row);
        }
    }
    hnsw_batch_free(b);
    for (uint32_t i = 0; i < n; i++) {
        note(w, rows[i], vectors + (size_t)i * w->opt.dim);
    }
}

/* As an owner without readers: all at once, in as many plans as it takes. */
static void put_many(struct world *w) {
    uint32_t rows[MANY];
    float vectors[MANY * DIM_MAX];
    const uint32_t n = 1 + below(w, MANY);
    const uint32_t first = below(w, ROWS);
    const struct hnsw_work how = {.threads = 1 + below(w, 2)};
    for (uint32_t i = 0; i < n; i++) {
        float *const vector = vectors + (size_t)i * w->opt.dim;
        rows[i] = (first + i * 7) % ROWS; /* no row twice */
        random_vector(w, vector);
        hnsw_remove(w->h, rows[i]);
        note(w, rows[i], vector);
    }
    assert_int_equal(hnsw_insert(w->h, rows, vectors, n, &how, NULL), U2I_OK);
}

static void remove_some(struct world *w) {
    const uint32_t n = below(w, CHANGES);
    for (uint32_t i = 0; i < n; i++) {
        remove_one(w, below(w, ROWS));
    }
}

static void repair_some(struct world *w) {
    const struct hnsw_work how = {.threads = 1 + below(w, 2)};
    const uint32_t parts = below(w, 5);
    for (uint32_t i = 0; i < parts; i++) {
        struct hnsw_batch *b = NULL;
        const uint32_t nodes = 1 + below(w, 400);
        assert_int_equal(hnsw_plan_repair(w->h, nodes, &how, &b, NULL), U2I_OK);
        if (b == NULL) {
            return;
        }
        (void)commit(w, b, true);
    }
}

static void repair_all(struct world *w) {
    struct hnsw_stats s;
    assert_int_equal(hnsw_repair(w->h, NULL, NULL), U2I_OK);
    hnsw_stats(w->h, &s);
    assert_int_equal(s.removed, 0);
    assert_int_equal(hnsw_unreachable(w->h), 0);
}

/* ---- Files ---------------------------------------------------------------------------------- */

static void save(struct world *w) {
    u2i_error_t err;
    const struct hnsw_stamp stamp = {.sequence = ++w->sequence, .token = "prop"};
    if (hnsw_save(w->h, w->path, &stamp, NULL, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    w->saved = true;
    w->log_n = 0;
}

/* Forgets the graph, opens the file, and does again what is not in it. */
static void crash(struct world *w) {
    u2i_error_t err;
    struct hnsw_stamp stamp;
    if (!w->saved) {
        return;
    }
    hnsw_free(w->h);
    w->h = NULL;
    if (hnsw_open(w->path, &w->opt, &stamp, &w->h, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    assert_true(stamp.sequence == w->sequence);
    assert_sound(w);
    for (size_t i = 0; i < w->log_n; i++) {
        const struct change *const c = &w->log[i];
        hnsw_remove(w->h, c->row);
        if (!c->removed) {
            assert_int_equal(hnsw_insert(w->h, &c->row, c->vector, 1, NULL, NULL), U2I_OK);
        }
    }
}

static void settle_some(struct world *w) {
    for (uint32_t i = 0; i < 3 && hnsw_settle(w->h); i++) {
    }
}

/* ---- Comparing ------------------------------------------------------------------------------ */

static void compare_rows(const struct world *w) {
    struct hnsw_stats s;
    hnsw_stats(w->h, &s);
    assert_int_equal(s.count, flat_count(w->f));
    assert_false(s.damaged);
    for (uint32_t row = 0; row < ROWS; row++) {
        const float *const want = flat_vector(w->f, row);
        assert_int_equal(hnsw_contains(w->h, row), want != NULL);
        if (want != NULL) {
            assert_memory_equal(hnsw_vector(w->h, row), want, w->opt.dim * sizeof *want);
        }
    }
}

static roaring_bitmap_t *random_rows(struct world *w) {
    if (below(w, 3) == 0) {
        return NULL;
    }
    roaring_bitmap_t *const rows = roaring_bitmap_create();
    const double share = pow(rng_unit(&w->rng), 2);
    for (uint32_t row = 0; row < ROWS + 50; row++) {
        if (rng_unit(&w->rng) < share) {
            roaring_bitmap_add(rows, row);
        }
    }
    return rows;
}

static void compare_hits(struct world *w, const struct hnsw_query *q, const struct hit *got,
                         uint32_t got_n) {
    struct hit want[K_MAX];
    uint32_t want_n = 0;
    const struct flat_query exact = {
        .vector = q->vector, .k = q->k, .allow = q->allow, .deny = q->deny};
    assert_int_equal(flat_search(w->f, &exact, want, &want_n, NULL), U2I_OK);
    assert_int_equal(got_n, want_n);
    for (uint32_t i = 0; i < got_n; i++) {
        const float *const v = flat_vector(w->f, got[i].row);
        assert_non_null(v);
        assert_true(fabsf(vec_dot(q->vector, v, w->opt.dim) - got[i].score) < 1e-5f);
        assert_true(q->allow == NULL || roaring_bitmap_contains(q->allow, got[i].row));
        assert_true(q->deny == NULL || !roaring_bitmap_contains(q->deny, got[i].row));
        for (uint32_t j = 0; j < i; j++) {
            assert_true(got[j].row != got[i].row);
        }
        if (q->ef >= 100) {
            w->found += got[i].score >= want[want_n - 1].score - 1e-6f;
            w->asked += 1;
        }
    }
}

static void compare_searches(struct world *w) {
    for (uint32_t i = 0; i < SEARCHES; i++) {
        float vector[DIM_MAX];
        struct hit hits[K_MAX];
        uint32_t n = 0;
        random_vector(w, vector);
        roaring_bitmap_t *const allow = random_rows(w);
        roaring_bitmap_t *const deny = random_rows(w);
        const struct hnsw_query q = {.vector = vector,
                                     .k = below(w, K_MAX + 1),
                                     .ef = below(w, 3) == 0 ? 5 : 150,
                                     .allow = allow,
                                     .deny = deny};
        assert_int_equal(hnsw_search(w->h, &q, hits, &n, NULL, NULL), U2I_OK);
        compare_hits(w, &q, hits, n);
        if (allow != NULL) {
            roaring_bitmap_free(allow);
        }
        if (deny != NULL) {
            roaring_bitmap_free(deny);
        }
    }
}

/* ---- Runs ----------------------------------------------------------------------------------- */

static void calibrate(struct world *w) {
    assert_int_equal(hnsw_calibrate(w->h, 0.9, NULL, NULL), U2I_OK);
}

static void change_once(struct world *w) {
    static const struct {
        uint32_t weight;
        void (*run)(struct world *w);
    } changes[] = {{8, put_some},    {3, put_many},    {3, remove_some},
                   {3, repair_some}, {1, repair_all},  {2, save},
                   {2, crash},       {1, settle_some}, {1, calibrate}};
    uint32_t at = below(w, 24); /* the weights' sum */
    uint32_t i = 0;
    for (; at >= changes[i].weight; i++) {
        at -= changes[i].weight;
    }
    changes[i].run(w);
}

static void world_open(struct world *w, uint64_t seed, const char *dir) {
    static const uint32_t dims[] = {3, 16, 33, 64, DIM_MAX};
    *w = (struct world){.saved = false};
    rng_seed(&w->rng, seed);
    (void)snprintf(w->path, sizeof w->path, "%s/graph", dir); /* fits */
    w->opt = (struct hnsw_options){
        .dim = dims[below(w, 5)],
        .metric = below(w, 3) == 0 ? HNSW_INNER_PRODUCT : HNSW_COSINE,
        .links = 6 + below(w, 8),
        .ef_construction = 60,
        .seed = seed,
        .norm_max = 1.3,
    };
    for (uint32_t i = 0; i < CENTRES * DIM_MAX; i++) {
        w->centres[i / DIM_MAX][i % DIM_MAX] = (float)rng_normal(&w->rng);
    }
    assert_int_equal(hnsw_new(&w->opt, &w->h, NULL), U2I_OK);
    assert_int_equal(flat_new(w->opt.dim, &w->f, NULL), U2I_OK);
}

static void world_close(struct world *w) {
    hnsw_free(w->h);
    flat_free(w->f);
    mem_free(w->log);
    (void)unlink(w->path); /* there or not */
}

static void graph_agrees_with_exact_search_over_its_whole_life(void **state) {
    (void)state;
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text == NULL ? 1 : strtoull(text, NULL, 10);
    char dir[] = "/tmp/u2i-test-XXXXXX";
    double found = 0, asked = 0, rows = 0;
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    assert_non_null(mkdtemp(dir));
    for (uint32_t i = 0; i < WORLDS; i++) {
        struct world w;
        world_open(&w, seed * 1000 + i, dir);
        for (uint32_t group = 0; group < GROUPS; group++) {
            const uint32_t changes = 1 + below(&w, 8);
            for (uint32_t j = 0; j < changes; j++) {
                change_once(&w);
            }
            assert_sound(&w);
            compare_rows(&w);
            compare_searches(&w);
            rows += flat_count(w.f);
        }
        repair_all(&w);
        found += w.found;
        asked += w.asked;
        world_close(&w);
    }
    assert_int_equal(rmdir(dir), 0);
    print_message("%.0f rows in the mean, found %.4f of the best\n", rows / (WORLDS * GROUPS),
                  found / asked);
    assert_true(rows / (WORLDS * GROUPS) > 200);
    assert_true(found / asked >= 0.98);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph_agrees_with_exact_search_over_its_whole_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
