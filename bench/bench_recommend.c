/* bench_recommend - what a recommendation costs beside the bare search of the index in it. Makes a catalogue
 * and a log in which users have tastes, trains, and asks. Prints `metric NAME VALUE` lines:
 *
 *   recommend_over_search   median time of a recommendation (profile, search, other candidates, ranking,
 *                           reasons, titles) over the median time of the same search of the taste index alone
 *   reasons_us              what reasons add, microseconds: ten hits of 200 candidates
 *   rules_us                what reasons and diversity add outside of the search, with what 200 candidates cost
 *                           more than 40: finding, scoring and comparing them
 *
 * The searches are caught on their way to the store, counted, and done again by themselves: the same
 * vectors, as many candidates, no filter, nothing excluded. One thread. Run it on an idle machine.
 *
 * usage: bench_recommend [--smoke|--quick] */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "engine/engine_internal.h"
#include "model/model.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUESTIONS 500
#define PASSES    5
#define BATCH     10000
#define GROUP     50 /* items that are liked together */
#define DIM       32 /* of content, which plays no part here */

struct world {
    uint32_t items, users, each; /* each: events of a user */
    struct engine *engine;
};

static double bench_us(void) {
    return (double)clock_ticks_ns(clock_system()) / 1e3;
}

static void require(int rc, const char *what, const u2i_error_t *err) {
    if (rc != U2I_OK) {
        (void)fprintf(stderr, "bench_recommend: %s: %s\n", what, err->msg);
        exit(1);
    }
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts them. */
static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

/* ---- The store -------------------------------------------------------------------------------- */

static void put_items(const struct world *w, struct rng *rng) {
    u2i_item_t *const items = alloc_array(BATCH, sizeof *items);
    float *const vectors = alloc_array((size_t)BATCH * DIM, sizeof *vectors);
    char(*const ids)[16] = alloc_array(BATCH, sizeof *ids);
    u2i_error_t err = {.msg = "out of memory"};
    require(items == NULL || vectors == NULL || ids == NULL ? U2I_ENOMEM : U2I_OK, "items", &err);
    for (uint32_t from = 0; from < w->items; from += BATCH) {
        const uint32_t n = w->items - from < BATCH ? w->items - from : BATCH;
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t d = 0; d < DIM; d++) { /* of one group: alike */
                const uint32_t centre = (from + i) / GROUP * 2654435761u >> (d % 16);
                vectors[i * DIM + d] =
                    (float)(centre & 255) / 128 - 1 + .5f * (float)(rng_unit(rng) - .5);
            }
            (void)snprintf(ids[i], sizeof ids[i], "i%u", from + i);
            items[i] = (u2i_item_t){.id = ids[i], .title = ids[i], .vector = vectors + i * DIM};
        }
        require(engine_put_items(w->engine, items, n, &err), "put items", &err);
    }
    mem_free(items);
    mem_free(vectors);
    mem_free(ids);
}

/* Two thirds of what a user does is in three groups of theirs, the rest is what is popular. */
static uint32_t draw_item(const struct world *w, struct rng *rng, uint32_t user) {
    const uint32_t groups = w->items / GROUP;
    if (rng_unit(rng) < .67) {
        const uint32_t mine = user * 3 + (uint32_t)(rng_unit(rng) * 3);
        return mine * 2654435761u % groups * GROUP + (uint32_t)(pow(rng_unit(rng), 1.5) * GROUP);
    }
    return (uint32_t)(pow(rng_unit(rng), 3) * w->items) * 7919 % w->items;
}

static void record_events(const struct world *w, struct rng *rng) {
    u2i_event_t *const events = alloc_array(BATCH, sizeof *events);
    char(*const names)[2][16] = alloc_array(BATCH, sizeof *names);
    u2i_error_t err = {.msg = "out of memory"};
    size_t n = 0;
    require(events == NULL || names == NULL ? U2I_ENOMEM : U2I_OK, "events", &err);
    for (uint64_t i = 0; i < (uint64_t)w->users * w->each; i++) {
        const uint32_t user = (uint32_t)(i % w->users);
        (void)snprintf(names[n][0], sizeof names[n][0], "u%u", user);
        (void)snprintf(names[n][1], sizeof names[n][1], "i%u", draw_item(w, rng, user));
        events[n] = (u2i_event_t){.user = names[n][0],
                                  .item = names[n][1],
                                  .action = "like",
                                  .time_ms = 1700000000000 + (int64_t)(i * 1000)};
        if (++n == BATCH || i + 1 == (uint64_t)w->users * w->each) {
            require(engine_record(w->engine, events, n, NULL, &err), "record", &err);
            n = 0;
        }
    }
    mem_free(events);
    mem_free(names);
}

static void make_world(struct world *w) {
    const struct engine_options opt = {
        .location = ":memory:", .dim = DIM, .model = "none", .clock = clock_system()};
    u2i_train_options_t how = U2I_TRAIN_OPTIONS_INIT;
    u2i_error_t err;
    struct rng rng;
    rng_seed(&rng, 1);
    require(engine_open(&opt, &w->engine, &err), "open", &err);
    put_items(w, &rng);
    record_events(w, &rng);
    how.check = "users";
    how.now_ms = 1700000000000 + (int64_t)w->users * w->each * 1000;
    const double start = bench_us();
    require(engine_train(w->engine, &how, &err), "train", &err);
    require(engine_build_index(w->engine, NULL, NULL, &err), "index", &err);
    printf("%u items, %u events: trained and indexed in %.1f s, taste vectors of %u\n", w->items,
           w->users * w->each, (bench_us() - start) / 1e6,
           model_search_dim(w->engine->trained.model));
}

/* ---- Searches on their way --------------------------------------------------------------------- */

static struct { /* store_ops has no place for a context */
    struct store_ops ops;
    const struct store_ops *real;
    float *vectors; /* of the first QUESTIONS searches, dim each */
    uint32_t dim, k, n;
    double us;
} caught;

static int catch_search(struct store *s, const struct store_search *q, struct hit *out, uint32_t *n,
                        u2i_error_t *err) {
    const double start = bench_us();
    const int rc = caught.real->search(s, q, out, n, err);
    caught.us += bench_us() - start;
    if (q->space == STORE_TASTE && caught.n < QUESTIONS) {
        memcpy(caught.vectors + (size_t)caught.n * caught.dim, q->vector,
               caught.dim * sizeof *q->vector);
        caught.k = q->k;
        caught.n++;
    }
    return rc;
}

static void catch_begin(struct engine *e) {
    u2i_error_t err = {.msg = "there is no model: popularity was not beaten"};
    require(e->trained.model == NULL ? U2I_ENOTFOUND : U2I_OK, "train", &err);
    caught.real = e->ops;
    caught.ops = *e->ops;
    caught.ops.search = catch_search;
    caught.dim = model_search_dim(e->trained.model);
    caught.vectors = alloc_array((size_t)QUESTIONS * caught.dim, sizeof *caught.vectors);
    require(caught.vectors == NULL ? U2I_ENOMEM : U2I_OK, "memory", &err);
    e->ops = &caught.ops;
}

/* ---- Asking ----------------------------------------------------------------------------------- */

struct asked {
    uint32_t flags;
    double diversity;
};

/* What each question took in the fastest of all passes, us: others use the machine. */
struct times {
    double of[QUESTIONS];
};

static void times_begin(struct times *t) {
    for (size_t i = 0; i < QUESTIONS; i++) {
        t->of[i] = INFINITY;
    }
}

static double times_median(const struct times *t, size_t n) {
    struct times sorted = *t;
    return median(sorted.of, n);
}

/* The median of what each question took longer: not the difference of medians, which is of two questions. */
static double times_more(const struct times *t, const struct times *than) {
    struct times more;
    for (size_t i = 0; i < QUESTIONS; i++) {
        more.of[i] = t->of[i] - than->of[i];
    }
    return median(more.of, QUESTIONS);
}

/* All questions once; `outside`: the time without their searches. */
static void ask_all(const struct world *w, const struct asked *how, bool outside,
                    struct times *times) {
    for (uint32_t i = 0; i < QUESTIONS; i++) {
        u2i_query_t q = U2I_QUERY_INIT;
        u2i_result_t *answer;
        u2i_error_t err;
        char user[16];
        (void)snprintf(user, sizeof user, "u%u", (uint32_t)((uint64_t)i * 7919 % w->users));
        q.user = user;
        q.limit = 10;
        q.flags = how->flags;
        q.diversity = how->diversity;
        caught.us = 0;
        const double start = bench_us();
        require(engine_ask(w->engine, ENGINE_RECOMMEND, &q, &answer, &err), "recommend", &err);
        times->of[i] = fmin(times->of[i], bench_us() - start - (outside ? caught.us : 0));
        engine_result_free(answer);
    }
}

static void search_all(const struct world *w, struct times *times) {
    struct hit *const hits = alloc_array(caught.k, sizeof *hits);
    u2i_error_t err = {.msg = "out of memory"};
    require(hits == NULL ? U2I_ENOMEM : U2I_OK, "memory", &err);
    require(engine_read_begin(w->engine, &err), "read", &err);
    for (uint32_t i = 0; i < caught.n; i++) {
        const struct store_search q = {
            .space = STORE_TASTE, .vector = caught.vectors + (size_t)i * caught.dim, .k = caught.k};
        uint32_t n = 0;
        const double start = bench_us();
        require(caught.real->search(w->engine->store, &q, hits, &n, &err), "search", &err);
        times->of[i] = fmin(times->of[i], bench_us() - start);
    }
    caught.real->read_end(w->engine->store);
    mem_free(hits);
}

static void measure(const struct world *w) {
    static const struct asked plain = {U2I_NO_REASONS, 0}, whole = {0, 0}, full = {0, 0.5},
                              diverse = {U2I_NO_REASONS, 0.5};
    struct times recommend, bare, without, mute, rules;
    struct times *const all[] = {&recommend, &bare, &without, &mute, &rules};
    times_begin(&recommend);
    ask_all(w, &whole, false, &recommend); /* histories come into the cache */
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        times_begin(all[i]);
    }
    for (int pass = 0; pass < PASSES; pass++) {
        ask_all(w, &whole, false, &recommend);
        search_all(w, &bare);
        ask_all(w, &plain, true, &without);
        ask_all(w, &diverse, true, &mute);
        ask_all(w, &full, true, &rules);
    }
    const double asked = times_median(&recommend, QUESTIONS);
    const double searched = times_median(&bare, caught.n);
    printf(
        "medians: recommend %.0f us, the bare search for %u %.0f us; outside of searches %.0f us "
        "without reasons, %.0f us with diversity, %.0f us with both; %u of %u answers searched "
        "taste\n",
        asked, caught.k, searched, times_median(&without, QUESTIONS),
        times_median(&mute, QUESTIONS), times_median(&rules, QUESTIONS), caught.n, QUESTIONS);
    printf("metric recommend_over_search %.3f\n", asked / searched);
    printf("metric reasons_us %.1f\n", times_more(&rules, &mute));
    printf("metric rules_us %.1f\n", times_more(&rules, &without));
}

int main(int argc, char **argv) {
    struct world w = {.items = 100000, .users = 60000, .each = 17};
    if (argc > 1 && strcmp(argv[1], "--quick") == 0) {
        w = (struct world){.items = 24000, .users = 12000, .each = 17};
    } else if (argc > 1 && strcmp(argv[1], "--smoke") == 0) {
        w = (struct world){.items = 1000, .users = 400, .each = 12};
    } else if (argc > 1) {
        (void)fprintf(stderr, "usage: bench_recommend [--smoke|--quick]\n");
        return 2;
    }
    make_world(&w);
    catch_begin(w.engine);
    measure(&w);
    w.engine->ops = caught.real;
    mem_free(caught.vectors);
    return engine_close(w.engine) == U2I_OK ? 0 : 1;
}
