/* Masks become a roaring bitmap by way of its portable serialised form (the Roaring Bitmap Format
 * Specification, without run containers), since adding a million rows one by one takes longer than
 * finding them: a container with more than 4,096 rows is its 1,024 words as they are, any other the
 * sorted list of its rows as u16. Numbers are little-endian, as on every machine that this version
 * of CRoaring runs on. */
#include "filter/rowset.h"

#include "base/alloc.h"
#include <assert.h>

#define ROWSET_COOKIE     12346u /* "no run containers" */
#define ROWSET_ARRAY_MAX  4096u
#define ROWSET_CHUNKS     (65536u / CHUNK_ROWS)
#define ROWSET_HEAD_BYTES 8u /* cookie and number of containers */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "masks and bitmaps are little-endian");

static void rowset_put_list(struct rowset *s) {
    uint16_t rows[ROWSET_ARRAY_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < 1024; i++) {
        for (uint64_t word = s->words[i]; word != 0; word &= word - 1) {
            rows[n++] = (uint16_t)(i * 64 + (uint32_t)__builtin_ctzll(word));
        }
    }
    buf_put(&s->bodies, rows, n * sizeof rows[0]);
}

/* Writes the container that is being filled, unless it is empty, and empties it. */
static void rowset_flush(struct rowset *s) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < 1024; i++) {
        n += (uint32_t)__builtin_popcountll(s->words[i]);
    }
    if (n == 0) {
        return;
    }
    const uint16_t head[2] = {(uint16_t)s->key, (uint16_t)(n - 1)};
    const uint32_t offset = (uint32_t)s->bodies.len;
    buf_put(&s->heads, head, sizeof head);
    buf_put(&s->offsets, &offset, sizeof offset);
    if (n <= ROWSET_ARRAY_MAX) {
        rowset_put_list(s);
    } else {
        buf_put(&s->bodies, s->words, sizeof s->words);
    }
    memset(s->words, 0, sizeof s->words);
}

void rowset_add(struct rowset *s, uint32_t chunk, const uint64_t mask[ROWSET_WORDS]) {
    const uint32_t key = chunk / ROWSET_CHUNKS;
    assert(key >= s->key);
    if (key != s->key) {
        rowset_flush(s);
        s->key = key;
    }
    memcpy(s->words + (chunk % ROWSET_CHUNKS) * ROWSET_WORDS, mask, ROWSET_WORDS * sizeof *mask);
}

roaring_bitmap_t *rowset_finish(struct rowset *s) {
    rowset_flush(s);
    const uint32_t n = (uint32_t)(s->heads.len / (2 * sizeof(uint16_t)));
    const uint32_t head[2] = {ROWSET_COOKIE, n};
    const uint32_t bodies_at = ROWSET_HEAD_BYTES + (uint32_t)(s->heads.len + s->offsets.len);
    struct buf all = {0};
    buf_put(&all, head, sizeof head);
    buf_put(&all, s->heads.data, s->heads.len);
    for (uint32_t i = 0; i < n && !s->offsets.failed; i++) {
        uint32_t offset;
        memcpy(&offset, s->offsets.data + i * sizeof offset, sizeof offset);
        offset += bodies_at;
        buf_put(&all, &offset, sizeof offset);
    }
    buf_put(&all, s->bodies.data, s->bodies.len);
    roaring_bitmap_t *out = NULL;
    if (!all.failed && !s->heads.failed && !s->offsets.failed && !s->bodies.failed) {
        out = roaring_bitmap_portable_deserialize_safe(all.data, all.len);
    }
    buf_free(&all);
    return out;
}

void rowset_free(struct rowset *s) {
    buf_free(&s->heads);
    buf_free(&s->bodies);
    buf_free(&s->offsets);
}
