/* How long the last step of an answer takes: order, caps, lanes and diversity for 10 of 200 candidates with
 * vectors of 64 floats. Two worlds: scores that fall off as real ones do, and all scores alike, where no
 * bound helps and everything is compared with everything. And what the rules of a preset cost before that:
 * binding them to a question, and asking them about 200 of 100,000 items.
 *
 * usage: bench_rank [--smoke]      prints `metric NAME VALUE` lines, microseconds, the median of rounds */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "engine/presets.h"
#include "engine/rules.h"
#include "rank/rank.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#define CANDIDATES 200u
#define PLACES     10u
#define DIM        64u
#define REPEATS    20u /* short enough to fit between two turns of a busy machine */

struct world {
    struct rank_candidate candidates[CANDIDATES];
    float vectors[CANDIDATES][DIM];
};

static void world_make(struct world *w, bool alike, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        struct rank_candidate *const c = &w->candidates[i];
        *c = (struct rank_candidate){.row = i, .vector = w->vectors[i]};
        c->part[0] = alike ? 1 : (float)(5 - log(1 + (double)rng_below(&rng, 1000)));
        c->part[1] = alike ? 0 : (float)rng_normal(&rng) / 4;
        c->key[0] = 1 + rng_below(&rng, 30); /* brand */
        c->key[1] = 1 + rng_below(&rng, 8);  /* category */
        c->lanes = rng_below(&rng, 10) == 0;
        for (uint32_t d = 0; d < DIM; d++) {
            w->vectors[i][d] = (float)rng_normal(&rng) + (float)(d % 8 == c->key[1]) * 2;
        }
        rank_sum(c);
    }
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Microseconds of one list. */
static double world_time(const struct world *w, double diversity, uint32_t rounds) {
    static const struct rank_cap caps[] = {{2, 0}, {2, 5}};
    static const struct rank_lane lanes[] = {{0.1, RANK_BY_SCORE}};
    const struct rank_query q = {.candidates = w->candidates,
                                 .n = CANDIDATES,
                                 .k = PLACES,
                                 .diversity = diversity,
                                 .dim = DIM,
                                 .caps = caps,
                                 .caps_n = 2,
                                 .lanes = lanes,
                                 .lanes_n = 1};
    double *const times = alloc_array(rounds, sizeof(*times));
    if (times == NULL) {
        return NAN;
    }
    uint32_t order[PLACES], n;
    for (uint32_t i = 0; i < rounds; i++) {
        const int64_t from = clock_ticks_ns(clock_system());
        for (uint32_t j = 0; j < REPEATS; j++) {
            struct arena scratch = {0};
            (void)rank_order(&q, &scratch, order, &n, NULL); /* n tells */
            arena_free(&scratch);
        }
        times[i] = (double)(clock_ticks_ns(clock_system()) - from) / 1e3 / REPEATS;
    }
    qsort(times, rounds, sizeof(*times), compare_doubles);
    const double median = n == PLACES ? times[rounds / 2] : NAN;
    mem_free(times);
    return median;
}

/* ---- Rules ------------------------------------------------------------------------------------ */

#define ITEMS   100000u
#define HISTORY 100u

struct shop {
    struct columns *columns;
    struct intern *ids;
    roaring_bitmap_t *live;
    struct rules_liked history[HISTORY];
};

static int shop_match(void *ctx, const struct filter *f, const uint32_t *rows, uint32_t n,
                      bool *passes, u2i_error_t *err) {
    const struct shop *const s = ctx;
    const struct filter_rows of = {s->columns, s->ids, s->live};
    return filter_match(f, &of, rows, n, passes, err);
}

static int shop_attr(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                     struct attr_value *out, u2i_error_t *err) {
    const struct shop *const s = ctx;
    struct attr_column column;
    const int rc = attr_column_find(s->columns, path, &column, err);
    if (rc == U2I_OK) {
        columns_get_many(&column, rows, n, out);
    }
    return rc;
}

static uint64_t shop_events(void *ctx, uint32_t row) {
    (void)ctx;
    return row % 100;
}

static const char *shop_id(void *ctx, uint32_t row) {
    return intern_name(((const struct shop *)ctx)->ids, row, NULL);
}

static bool shop_open(struct shop *s, struct rng *rng) {
    *s = (struct shop){.ids = intern_new(), .live = roaring_bitmap_create()};
    bool ok = s->ids != NULL && s->live != NULL && columns_new(&s->columns, NULL) == U2I_OK;
    for (uint32_t row = 0; row < ITEMS && ok; row++) {
        char json[160], id[16];
        const int n = snprintf(json, sizeof(json),
                               "{\"price\": %u, \"in_stock\": true, \"brand\": \"b%u\", "
                               "\"group\": %u, \"consumable\": false}",
                               rng_below(rng, 100), rng_below(rng, 500), row / 3);
        const int id_n = snprintf(id, sizeof(id), "item%u", row);
        struct attrs *a = NULL;
        ok = attrs_parse("things", json, (size_t)n, &a, NULL) == U2I_OK &&
             columns_put(s->columns, row, a, NULL) == U2I_OK &&
             intern_put(s->ids, row, id, (size_t)id_n) == U2I_OK;
        attrs_free(a);
    }
    for (uint32_t i = 0; i < HISTORY; i++) {
        s->history[i] = (struct rules_liked){rng_below(rng, ITEMS), 1};
    }
    return ok;
}

/* One question: the time of binding and of asking about the candidates, added to us[0] and us[1]. */
static bool shop_ask(struct shop *s, const struct rules *rules, struct rng *rng, double us[2]) {
    static const struct rank_scale scale = {RANK_LOGIT, -3, 1};
    const struct rules_view view = {.ctx = s,
                                    .now_ms = 1,
                                    .match = shop_match,
                                    .attr = shop_attr,
                                    .events = shop_events,
                                    .id = shop_id};
    const struct rules_asker asker = {
        .history = s->history, .history_n = HISTORY, .attr = shop_attr, .ctx = s};
    struct rank_candidate candidates[CANDIDATES];
    struct arena a = {0};
    struct rules_ranking r = {
        .candidates = candidates, .n = CANDIDATES, .scales = &scale, .arena = &a};
    struct rules_bound bound;
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        candidates[i] = (struct rank_candidate){.row = rng_below(rng, ITEMS)};
    }
    const int64_t t0 = clock_ticks_ns(clock_system());
    bool ok = rules_bind(&rules, 1, &asker, &a, &bound, NULL) == U2I_OK;
    const int64_t t1 = clock_ticks_ns(clock_system());
    ok = ok && rules_rank(&bound, &view, &r, NULL) == U2I_OK;
    const int64_t t2 = clock_ticks_ns(clock_system());
    rules_unbind(&bound);
    arena_free(&a);
    us[0] = (double)(t1 - t0) / 1e3;
    us[1] = (double)(t2 - t1) / 1e3;
    return ok;
}

static bool shop_bench(uint32_t rounds) {
    struct rng rng;
    struct shop s;
    struct rules *rules = NULL;
    const struct preset *const preset = preset_find("ecommerce");
    double *const times[2] = {alloc_array(rounds, sizeof(double)),
                              alloc_array(rounds, sizeof(double))};
    rng_seed(&rng, 3);
    bool ok = shop_open(&s, &rng) && times[0] != NULL && times[1] != NULL &&
              rules_parse(preset->settings[preset->settings_n - 1].value, &rules, NULL) == U2I_OK;
    for (uint32_t i = 0; i < rounds && ok; i++) {
        double us[2];
        ok = shop_ask(&s, rules, &rng, us);
        times[0][i] = us[0];
        times[1][i] = us[1];
    }
    for (int i = 0; i < 2 && ok; i++) {
        qsort(times[i], rounds, sizeof(double), compare_doubles);
        printf("metric %s_us %.2f\n", i == 0 ? "rules_bind" : "rules_rank", times[i][rounds / 2]);
    }
    mem_free(times[0]);
    mem_free(times[1]);
    rules_free(rules);
    columns_free(s.columns);
    intern_free(s.ids);
    roaring_bitmap_free(s.live);
    return ok;
}

int main(int argc, char **argv) {
    const bool smoke = argc > 1 && strcmp(argv[1], "--smoke") == 0;
    const uint32_t rounds = smoke ? 3 : 1001;
    static struct world real, alike;
    world_make(&real, false, 1);
    world_make(&alike, true, 2);
    printf("# %u of %u candidates, %u dimensions, two caps, one lane; microseconds\n", PLACES,
           CANDIDATES, DIM);
    printf("metric rank_us %.2f\n", world_time(&real, 0.5, rounds));
    printf("metric rank_plain_us %.2f\n", world_time(&real, 0, rounds));
    printf("metric rank_alike_us %.2f\n", world_time(&alike, 0.5, rounds));
    printf("# the rules of the preset ecommerce, a history of %u items\n", HISTORY);
    return shop_bench(rounds) ? 0 : 1;
}
