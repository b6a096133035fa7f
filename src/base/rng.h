/* Random numbers from a seed (xoshiro256**, Blackman & Vigna 2018): same seed, same sequence, on
 * every machine. Not for secrets. One thread at a time. */
#ifndef U2I_BASE_RNG_H
#define U2I_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n); /* uniform in [0, n), n > 0 */
double rng_unit(struct rng *r);                /* [0, 1) */
double rng_normal(struct rng *r);              /* mean 0, variance 1 */

#endif
