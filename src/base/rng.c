/* xoshiro256** 1.0 (Blackman & Vigna, "Scrambled linear pseudorandom number generators", 2018),
 * its state filled from the seed by SplitMix64 as its authors advise. rng_normal() goes through the
 * C library's logarithm, so its last bit may differ between C libraries; the integers never do. */
#include "base/rng.h"

#include "base/hash.h"
#include <assert.h>
#include <math.h>

static uint64_t rng_rotate(uint64_t x, int by) {
    return (x << by) | (x >> (64 - by));
}

void rng_seed(struct rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9E3779B97F4A7C15);
        r->s[i] = hash_mix(seed);
    }
}

uint64_t rng_u64(struct rng *r) {
    uint64_t *const s = r->s;
    const uint64_t out = rng_rotate(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rng_rotate(s[3], 45);
    return out;
}

/* Multiply and shift, refusing the few values that would make some results likelier (Lemire, "Fast
 * random integer generation in an interval", 2019). */
uint32_t rng_below(struct rng *r, uint32_t n) {
    assert(n > 0);
    const uint32_t reject = (0U - n) % n;
    for (;;) {
        const uint64_t wide = (rng_u64(r) >> 32) * n;
        if ((uint32_t)wide >= reject) {
            return (uint32_t)(wide >> 32);
        }
    }
}

double rng_unit(struct rng *r) {
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

/* The polar method (Marsaglia & Bray 1964); its second value is thrown away to keep the state
 * four words. */
double rng_normal(struct rng *r) {
    for (;;) {
        const double x = 2 * rng_unit(r) - 1;
        const double y = 2 * rng_unit(r) - 1;
        const double s = x * x + y * y;
        if (s > 0 && s < 1) {
            return x * sqrt(-2 * log(s) / s);
        }
    }
}
