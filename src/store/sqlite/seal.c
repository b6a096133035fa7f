/* Checksums of rows; see seal.h. */
#include "seal.h"

#include "vec/vec.h"
#include <string.h>

/* Floats and integers are summed and stored as they lie in memory. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the file format is little-endian"
#endif

uint32_t seal_bytes(uint32_t crc, const void *p, size_t n) {
    return vec_get()->crc32c(crc, p, n);
}

uint32_t seal_row(uint32_t crc_of_bytes, uint32_t row) {
    return seal_bytes(crc_of_bytes, &row, sizeof row);
}

struct seal_text seal_string(const char *s) {
    return (struct seal_text){s, s == NULL ? 0 : strlen(s)};
}

static uint32_t seal_add(uint32_t crc, struct seal_text t) {
    const uint32_t length = t.s == NULL ? UINT32_MAX : (uint32_t)t.n;
    return seal_bytes(seal_bytes(crc, &length, sizeof length), t.s, t.s == NULL ? 0 : t.n);
}

uint32_t seal_item(uint32_t row, bool live, struct seal_text id, struct seal_text category,
                   struct seal_text attrs) {
    const uint8_t life = live ? 1 : 0;
    const uint32_t crc = seal_bytes(seal_row(0, row), &life, 1);
    return seal_add(seal_add(seal_add(crc, id), category), attrs);
}

uint32_t seal_item_text(uint32_t row, struct seal_text title, struct seal_text text) {
    return seal_add(seal_add(seal_row(0, row), title), text);
}

uint32_t seal_user(uint32_t row, struct seal_text id) {
    return seal_add(seal_row(0, row), id);
}

uint32_t seal_user_text(uint32_t row, struct seal_text interests, struct seal_text attrs,
                        double decay) {
    const uint32_t crc = seal_add(seal_add(seal_row(0, row), interests), attrs);
    return seal_bytes(crc, &decay, sizeof decay);
}
