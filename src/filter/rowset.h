/* A bitmap of rows put together from masks of neighbouring rows, in ascending order. */
#ifndef U2I_FILTER_ROWSET_H
#define U2I_FILTER_ROWSET_H

#include "base/buf.h"
#include "filter/chunk.h"
#include <roaring/roaring.h>

#define ROWSET_WORDS (CHUNK_ROWS / 64u) /* of the mask of one chunk; bit i % 64 of word i / 64 */

struct rowset {
    uint64_t words[1024]; /* of the 65,536 rows that one container of the bitmap covers */
    uint32_t key;         /* which container */
    struct buf heads;     /* (key, cardinality - 1) of each finished container, as u16 */
    struct buf bodies;
    struct buf offsets; /* of each body, as u32, from the first body */
};

/* A zero-filled struct is an empty set. Chunks come in ascending order; left out ones are empty. */
void rowset_add(struct rowset *s, uint32_t chunk, const uint64_t mask[ROWSET_WORDS]);
roaring_bitmap_t *rowset_finish(struct rowset *s); /* NULL = no memory */
void rowset_free(struct rowset *s);

#endif
