/* A 64-bit hash of bytes, the same on every machine and in every version: it decides which
 * dimension a word falls into, so stored vectors depend on it. Not for hostile keys. */
#ifndef U2I_BASE_HASH_H
#define U2I_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
uint64_t hash_mix(uint64_t x); /* a bijection with full avalanche */

#endif
