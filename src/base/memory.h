/* How much memory is left on this machine, for those who want to ask before they take a lot. Thread-safe. */
#ifndef U2I_BASE_MEMORY_H
#define U2I_BASE_MEMORY_H

#include <stdint.h>

/* Bytes that can be had without swapping, as the kernel estimates it, or the container's limit if that is
 * less; UINT64_MAX if nobody says. */
uint64_t memory_free_bytes(void);

#endif
