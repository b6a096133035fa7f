/* The index of the items' vectors on disk: FILE-index/content.hnsw. See docs/file-format.md. */
#ifndef U2I_STORE_SQLITE_SNAPSHOT_H
#define U2I_STORE_SQLITE_SNAPSHOT_H

#include "sqlite_internal.h"

#define SNAPSHOT_BLOB "index.content" /* the tokens of the newest files */

/* What the index of a catalogue is made with, as the settings say. */
/* FILE-index/, for those who may read the store. */
void snapshot_make_folder(const struct lite *l);
void snapshot_options(struct lite *l, struct conn *c, struct index_options *out);
/* Takes the file as the index of an empty catalogue; false if there is none, or it cannot be used. Before
 * a transaction begins: what is in the file must not be ahead of what the tables are seen to have. */
bool snapshot_open(struct lite *l, struct catalogue *c, struct hnsw_stamp *stamp);
/* Where what has changed is read, and where it goes. */
struct snapshot_work {
    struct lite *store;
    struct conn *conn; /* in a transaction */
    struct index *vectors;
    float *room; /* for one vector */
};
/* Brings such an index up to what the tables have. *usable = false: the file was not of this store, or
 * too old; the index must be replaced. */
int snapshot_catch_up(const struct snapshot_work *w, const struct hnsw_stamp *stamp, bool *usable,
                      u2i_error_t *err);

/* Whether the store knows the token. */
int snapshot_known(struct lite *l, struct conn *c, const struct hnsw_stamp *stamp, bool *known,
                   u2i_error_t *err);
/* Adds the rows of items that changed after that sequence. */
int snapshot_changed(struct conn *c, uint64_t after, roaring_bitmap_t *rows, u2i_error_t *err);

#endif
