/* The inside of the memory store: what its files share, and nobody else sees.
 *
 * Five ideas, all of them the simplest that could be right, because this store is the oracle that
 * the others are compared with, and shares nothing with them but the seam:
 *  1. A row number is an index into a plain array; a name's number is its index in a table of names.
 *  2. Every question is answered by one pass over these arrays. Nothing derived is kept.
 *  3. One lock: writers hold it alone, readers share it. A read section is the shared lock.
 *  4. Beyond index_exact_max vectors, and only then, searches go to an index (memory_index.c), to
 *     which the vectors are copied.
 *  5. A write first makes all copies and adds all new names, which may fail, and then swaps them in,
 *     which cannot. Arrays only grow at their end, so what a failed write added is cut off again. */
#ifndef U2I_STORE_MEMORY_INTERNAL_H
#define U2I_STORE_MEMORY_INTERNAL_H

#include "store/store.h"

#include "base/alloc.h" /* after all system headers, those inside of store.h included */
#include "base/error.h"
#include "base/thread.h"

/* ---- Names <-> numbers (memory_names.c) ------------------------------------------------------- */

struct memory_name {
    char *text;    /* NULL for a hole */
    uint32_t next; /* in the chain of names with the same hash, or STORE_NONE */
};
struct memory_names {
    struct memory_name *names;
    uint32_t *heads; /* of the chains; heads_n is 0 or a power of two */
    size_t n, cap, heads_n;
};

uint32_t memory_names_find(const struct memory_names *t, const char *text); /* or STORE_NONE */
const char *memory_names_text(const struct memory_names *t, uint32_t number);
/* The next number, never used before; `text` must be absent. U2I_OK or U2I_ENOMEM. */
int memory_names_add(struct memory_names *t, const char *text, uint32_t *number);
void memory_names_remove(struct memory_names *t, uint32_t number); /* leaves a hole */
void memory_names_cut(struct memory_names *t, size_t n);           /* forgets numbers from n on */
void memory_names_free(struct memory_names *t);
size_t memory_names_bytes(const struct memory_names *t);

/* ---- What is kept ----------------------------------------------------------------------------- */

struct memory_item {
    char *title, *text, *category, *attrs_json; /* NULL where not given */
    float *vector;                              /* NULL for none */
    struct attrs *attrs;                        /* never NULL while live */
    uint32_t embedding;
    bool live;
};

struct memory_user {
    char *interests, *attrs_json;
    double decay;
};

struct memory_event {
    struct store_event_row row;
    uint32_t id; /* number in event_ids, or STORE_NONE */
};

/* A setting or a blob. */
struct memory_entry {
    char *name, *value;
    size_t n; /* bytes of value, to which a NUL is added */
};
struct memory_entries { /* in order of name */
    struct memory_entry *entries;
    size_t n, cap;
};

struct memory_store {
    struct store base;
    pthread_rwlock_t lock;
    struct store_listener listener;
    bool readonly;
    uint64_t sequence, removed_sequence; /* of the newest change, of the last that removed events */
    struct memory_names item_names, user_names, actions, event_ids;
    struct memory_item *items;   /* by row: item_names.n of them */
    struct memory_user *users;   /* by row: user_names.n of them */
    struct memory_event *events; /* in the order in which they were recorded */
    size_t items_cap, users_cap, events_n, events_cap;
    struct memory_entries settings, blobs;
    struct index_config config;
    size_t vectors_n;    /* of live items */
    struct index *index; /* of their vectors, if `indexed` */
    bool indexed;
    size_t index_from;   /* there was no memory for it: not before there are as many vectors */
    struct index *taste; /* taste vectors of live items; NULL = none */
    uint32_t taste_dim;
    struct log log;
};

static inline struct memory_store *memory_of(struct store *s) {
    return (struct memory_store *)s;
}
void memory_item_clear(struct memory_item *item); /* frees what it holds, and zeroes it */
void memory_user_clear(struct memory_user *user);

/* ---- The functions of the seam, by file ------------------------------------------------------- */

/* memory_index.c; under the lock */
/* Brings the index up to date after changes of the vectors of these rows. Exclusive. */
void memory_index_rows(struct memory_store *m, const uint32_t *rows, size_t n);
/* memory_search() by an index of m. */
int memory_index_search(const struct memory_store *m, const struct index *space,
                        const struct store_search *q, struct hit *out, uint32_t *n,
                        u2i_error_t *err);
/* These take the lock by themselves. */
int memory_exchange_taste(struct store *s, const struct store_vectors *v, void (*swap)(void *ctx),
                          void *ctx, u2i_error_t *err);
int memory_put_taste(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                     uint32_t dim, u2i_error_t *err);
void memory_configure_index(struct store *s, const struct index_config *config);
int memory_build_index(struct store *s, u2i_progress_fn progress, void *ctx, u2i_error_t *err);

/* memory_write.c */
int memory_put_items(struct store *s, const struct store_item *items, size_t n, u2i_error_t *err);
int memory_put_vectors(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                       uint32_t embedding, u2i_error_t *err);
int memory_delete_items(struct store *s, const char *const *ids, size_t n, size_t *deleted,
                        u2i_error_t *err);
int memory_put_events(struct store *s, const struct store_events *in, size_t *recorded,
                      u2i_error_t *err);
int memory_put_users(struct store *s, const struct store_user *users, size_t n, u2i_error_t *err);
int memory_delete_user(struct store *s, const char *id, u2i_error_t *err);
int memory_put_setting(struct store *s, const char *name, const char *value, u2i_error_t *err);
int memory_put_blob(struct store *s, const char *name, const void *p, size_t n, u2i_error_t *err);

/* memory_read.c */
int memory_scan_items(struct store *s, store_item_fn fn, void *ctx, u2i_error_t *err);
int memory_scan_events(struct store *s, uint64_t after_seq, store_event_fn fn, void *ctx,
                       u2i_error_t *err);
int memory_scan_users(struct store *s, store_user_fn fn, void *ctx, u2i_error_t *err);
int memory_scan_settings(struct store *s, store_text_fn fn, void *ctx, u2i_error_t *err);
int memory_get_blob(struct store *s, const char *name, struct buf *out, u2i_error_t *err);
bool memory_row_passes(const struct memory_store *m, uint32_t row, const struct filter *filter,
                       const roaring_bitmap_t *exclude);
int memory_stats(struct store *s, struct store_stats *out, u2i_error_t *err);
int memory_verify(struct store *s, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err);
int memory_search(struct store *s, const struct store_search *q, struct hit *out, uint32_t *n,
                  u2i_error_t *err);
int memory_rank(struct store *s, const struct store_rank *q, struct hit *out, uint32_t *n,
                u2i_error_t *err);
int memory_matches(struct store *s, const struct filter *filter, const roaring_bitmap_t *among,
                   roaring_bitmap_t **out, u2i_error_t *err);
int memory_match(struct store *s, const struct filter *filter, const uint32_t *rows, uint32_t n,
                 bool *passes, u2i_error_t *err);
int memory_attr(struct store *s, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                struct attr_value *out, u2i_error_t *err);
int memory_get_item(struct store *s, uint32_t row, struct arena *a, struct store_item *out,
                    u2i_error_t *err);
int memory_get_user(struct store *s, uint32_t row, struct arena *a, struct store_user *out,
                    u2i_error_t *err);
int memory_user_events(struct store *s, uint32_t user, size_t window, struct store_event_row **out,
                       size_t *n, u2i_error_t *err);

#endif
