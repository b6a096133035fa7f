/* A hash that stored vectors depend on: its value for given bytes never changes. Eight bytes at a
 * time are multiplied in, read as little-endian numbers on every machine; the end is a full-avalanche
 * finaliser (the constants of SplitMix64; Steele, Lea & Flood 2014). Each step is a bijection of the
 * state, so inputs of one length that differ in one word only never collide before the finaliser,
 * nor after it. */
#include "base/hash.h"

#define HASH_MUL_WORD  UINT64_C(0x9E3779B97F4A7C15)
#define HASH_MUL_STATE UINT64_C(0xD6E8FEB86659FD93)

uint64_t hash_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* n <= 8 bytes as a little-endian number; compilers turn the loop for 8 into one load. */
static uint64_t hash_load(const unsigned char *p, size_t n) {
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) {
        word |= (uint64_t)p[i] << (8 * i);
    }
    return word;
}

static uint64_t hash_step(uint64_t state, uint64_t word) {
    state ^= word * HASH_MUL_WORD;
    return ((state << 29) | (state >> 35)) * HASH_MUL_STATE;
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed) {
    const unsigned char *bytes = p;
    uint64_t state = hash_mix(seed + HASH_MUL_WORD * (uint64_t)(n + 1));
    for (; n >= 8; n -= 8, bytes += 8) {
        state = hash_step(state, hash_load(bytes, 8));
    }
    if (n > 0) {
        state = hash_step(state, hash_load(bytes, n));
    }
    return hash_mix(state);
}
