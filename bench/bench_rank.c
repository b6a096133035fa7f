/* How long the last step of an answer takes: order, caps, lanes and diversity for 10 of 200 candidates with
 * vectors of 64 floats. Two worlds: scores that fall off as real ones do, and all scores alike, where no
 * bound helps and everything is compared with everything.
 *
 * usage: bench_rank [--smoke]      prints `metric NAME VALUE` lines, microseconds, the median of rounds */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "rank/rank.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#define CANDIDATES 200u
#define PLACES     10u
#define DIM        64u
#define REPEATS    200u

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

int main(int argc, char **argv) {
    const bool smoke = argc > 1 && strcmp(argv[1], "--smoke") == 0;
    const uint32_t rounds = smoke ? 3 : 101;
    static struct world real, alike;
    world_make(&real, false, 1);
    world_make(&alike, true, 2);
    printf("# %u of %u candidates, %u dimensions, two caps, one lane; microseconds\n", PLACES,
           CANDIDATES, DIM);
    printf("metric rank_us %.2f\n", world_time(&real, 0.5, rounds));
    printf("metric rank_plain_us %.2f\n", world_time(&real, 0, rounds));
    printf("metric rank_alike_us %.2f\n", world_time(&alike, 0.5, rounds));
    return 0;
}
