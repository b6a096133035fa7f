/* CRC-32C over what a row holds, so that a bit that flips on disk is found when the row is read: of
 * 500 flips SQLite's own check saw 7, and 385 changed a vector silently. The row number is part of
 * each sum: a vector that turns up in another row is damage too. Pure functions.
 *
 * Bytes of a sum, in order: integers little-endian; a text as its length (32 bits, all ones for NULL)
 * and its bytes. docs/file-format.md lists them. */
#ifndef U2I_STORE_SQLITE_SEAL_H
#define U2I_STORE_SQLITE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint32_t seal_bytes(uint32_t crc, const void *p, size_t n);
/* Of a vector that is to be kept in `row`. The bytes come first, so that this can be split: many
 * threads sum their vectors, and the writer adds the row when it has given one. */
uint32_t seal_row(uint32_t crc_of_bytes, uint32_t row);
static inline uint32_t seal_vector(uint32_t row, const void *vector, size_t bytes) {
    return seal_row(seal_bytes(0, vector, bytes), row);
}

struct seal_text {
    const char *s; /* NULL for NULL */
    size_t n;
};
struct seal_text seal_string(const char *s); /* of a NUL-terminated one or NULL */
uint32_t seal_item(uint32_t row, bool live, struct seal_text id, struct seal_text category,
                   struct seal_text attrs);
uint32_t seal_item_text(uint32_t row, struct seal_text title, struct seal_text text);
uint32_t seal_user(uint32_t row, struct seal_text id);
uint32_t seal_user_text(uint32_t row, struct seal_text interests, struct seal_text attrs,
                        double decay);

#endif
