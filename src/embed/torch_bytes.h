/* Little-endian numbers and text in the bytes of a file of torch.save(): shared by the readers of its parts, torch_zip.c
 * and torch_pickle.c. Callers have checked that the bytes are there. */
#ifndef U2I_EMBED_TORCH_BYTES_H
#define U2I_EMBED_TORCH_BYTES_H

#include "base/utf8.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t torch_number(const unsigned char *p, unsigned bytes) {
    uint64_t x = 0;
    for (unsigned i = 0; i < bytes; i++) {
        x |= (uint64_t)p[i] << (8 * i);
    }
    return x;
}

static inline uint32_t torch_u16(const unsigned char *p) {
    return (uint32_t)torch_number(p, 2);
}

static inline uint32_t torch_u32(const unsigned char *p) {
    return (uint32_t)torch_number(p, 4);
}

static inline uint64_t torch_u64(const unsigned char *p) {
    return torch_number(p, 8);
}

/* Can it be shown, and be a string in C? */
static inline bool torch_is_text(const unsigned char *p, size_t n) {
    return memchr(p, 0, n) == NULL && utf8_valid((const char *)p, n);
}

#endif
