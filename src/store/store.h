/* The seam between what u2i knows and where it is kept. The engine above sees only struct store_ops;
 * behind it is a SQLite file with its index in memory (store/sqlite), plain arrays (store/memory,
 * the tests' oracle and ":memory:"), and later a cluster. One conformance suite runs on all.
 *
 * Items, users and actions have row numbers: small integers given by the store, stable for the life
 * of the file. An item id that an event names before the item exists, or after it was deleted, has a
 * row too, without being live; so events always hold on to their item.
 *
 * Writes are durable and visible when they return. They may be called from many threads at once and
 * share commits. All or nothing: a write that fails has changed nothing.
 *
 * Reads of rows, vectors and searches happen between read_begin() and read_end(): the store does not
 * change under them, and pointers stay valid. A thread holds at most one read section and calls no
 * write inside it; sections are short. read_begin() first takes in what other processes committed. */
#ifndef U2I_STORE_STORE_H
#define U2I_STORE_STORE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/topk.h"
#include "filter/attr.h"
#include "filter/filter.h"
#include "index/index.h"
#include "u2i.h"
#include <roaring/roaring.h>

#define STORE_NONE UINT32_MAX /* "no row" */

/* Beside the public codes (which are not positive) stores have two of their own, which stay below the api.
 * STORE_MOVED: some process has put vectors of another model in use. From then on every call that reads the
 * file or writes it says so, having done nothing; who goes on opens the store again.
 * STORE_STALE: next_use() alone; some item has no next vector of the text that it has by now. */
enum { STORE_MOVED = 1, STORE_STALE = 2 };

struct store;

/* ---- Records -------------------------------------------------------------------------------- */

struct store_item {
    const char *id, *title, *text, *category, *attrs_json; /* all but id may be NULL */
    const float *vector;                                   /* unit length, or NULL for none */
    uint32_t embedding; /* number of the embedder state that made the vector; 0 = the caller's */
    uint32_t row;       /* out, when read */
};

struct store_event {
    const char *user, *item, *action, *id; /* id may be NULL */
    int64_t time_ms;
    float value; /* > 0 */
};

/* An event as rows. `seq` is the store sequence that wrote it: one of its own for each event. */
struct store_event_row {
    uint64_t seq;
    int64_t time_ms;
    uint32_t user, item;
    uint16_t action;
    float value;
};

struct store_user {
    const char *id, *interests, *attrs_json; /* all but id may be NULL */
    double decay;                            /* 0 = none */
    uint32_t row;                            /* out, when read */
};

struct store_stats {
    uint64_t items, items_unknown, items_no_vector, users, events, sequence;
    uint64_t removed_sequence; /* of the last change that removed events; 0 = never */
    uint64_t file_bytes, memory_bytes;
    /* Vectors in the graph; vectors that every search compares, because they are not in it (yet). */
    uint64_t index_items, index_pending;
    uint64_t index_bytes, index_mapped_bytes; /* memory of the index; its mapped file */
    uint32_t index_ef;                        /* calibrated for 10 results; 0 = not yet */
};

/* What a write of events accepts. */
enum store_unknown_item {
    STORE_UNKNOWN_REFUSE = 0, /* U2I_ENOTFOUND for the whole batch, err->offset the event's index */
    STORE_UNKNOWN_KEEP = 1,   /* the id gets a row, the event waits for its item */
    STORE_UNKNOWN_SKIP = 2    /* that event is left out */
};

/* A write of events. An action without a number gets one: the engine has checked its name. The number
 * of events that were new (not known by their id, not skipped) is reported. */
struct store_events {
    const struct store_event *events;
    size_t n;
    enum store_unknown_item unknown;
    double
        user_decay; /* > 0: all events are of one user, whose decay is set in the same transaction */
};

/* ---- Listening ------------------------------------------------------------------------------ */

/* Called after a commit, this process's or another's, in commit order, before the write returns,
 * respectively before read_begin() returns, and while no read section is open anywhere. May ask the
 * store for names (item_id, user_id, action_name), and nothing else of it. */
struct store_listener {
    void *ctx;
    void (*events)(void *ctx, const struct store_event_row *events, size_t n);
    /* With the user's events that are being removed; without them (NULL, 0) if another process did it
     * and they are gone: then a reset follows. */
    void (*user_deleted)(void *ctx, uint32_t user, const struct store_event_row *events, size_t n);
    /* A user's attributes, decay, or an item's vector or life changed: derived state of it is stale. */
    void (*user_changed)(void *ctx, uint32_t user);
    void (*item_changed)(void *ctx, uint32_t item);
    void (*settings_changed)(void *ctx);
    void (*reset)(
        void *ctx); /* too much has changed to be told one by one: derive everything anew */
};

/* ---- Searching ------------------------------------------------------------------------------ */

/* Vectors of items: of their content, unit length, durable with the item; and of taste, learnt from
 * events, of any length, given by store_ops.exchange_taste(). */
enum store_space { STORE_CONTENT = 0, STORE_TASTE = 1 };

/* All vectors of a derived space. */
struct store_vectors {
    uint32_t dim;
    double norm_max; /* none is longer, now or later */
    const uint32_t *rows;
    const float *vectors; /* [n][dim] */
    size_t n;
    const float *questions; /* [questions_n][dim]: searches ask with vectors like these */
    uint32_t questions_n;
    const char *
        token; /* 16 characters that no other vectors have ever had: an index of them may be kept */
};

/* ---- Vectors of another model ---------------------------------------------------------------- */

/* In the making, beside the ones in use, until they take their place in one transaction. Durable: who is cut
 * short goes on with the same target. */
struct store_next {
    const char *target; /* names all that makes the vectors what they are */
    uint32_t dim;
    uint32_t embedding; /* as in struct store_item */
};
struct store_next_counts {
    uint64_t items,
        waiting; /* live items; those whose next vector is missing, or of another text */
};
struct store_next_item {
    uint32_t row;
    uint32_t crc, text_crc; /* of the item as it was read: tell whether it has changed since */
    uint64_t source;        /* of its title, category and text */
    bool same;              /* its next vector is of these texts already: only the sums are new */
    const float *vector;    /* of unit length; NULL: none. Not looked at where `same` */
};
/* Texts are those of `item`, valid during the call. Positive: enough; negative: an error, of the whole call. */
typedef int (*store_next_fn)(void *ctx, const struct store_item *item,
                             const struct store_next_item *next);
/* What becomes of the store when they take their place. */
struct store_move {
    const char *model;
    const struct store_setting { const char *name, *value; /* NULL: its default */ } * settings;
    size_t settings_n;
    const void *state; /* of the embedder, for blob STORE_STATE_BLOB; NULL: none */
    size_t state_n;
};
/* Blobs about the embedder. Those of the model in use go when another one comes. */
#define STORE_STATE_BLOB         "embedder"
#define STORE_STATE_PENDING_BLOB "embedder.pending"
#define STORE_NEXT_STATE_BLOB    "embedder.next" /* goes when the target does */

/* How a search went. */
struct store_explain {
    const char *search; /* "exact", "walk", "filtered walk", "scan"; static. NULL: there was none */
    uint32_t ef;        /* candidates kept by a walk; 0 = it was none */
    uint32_t compared;  /* vectors compared with the query */
    uint32_t rounds;    /* of a walk; > 1: it was started again with a larger ef */
    uint64_t passing;   /* vectors that pass filter and exclusions, about */
};
/* What an index says of a search, told so; `passing` is the caller's to set. */
struct store_explain store_explain_index(const struct index_explain *why);

/* What the stores share of taste spaces: an index of the vectors, built and ready for searches under
 * `lock`, but in nobody's use yet; the caller holds no lock. U2I_ENOMEM. */
struct store_taste_options {
    const struct index_config *config;
    pthread_rwlock_t *lock;
    struct log log;
    const char
        *path; /* a snapshot with the vectors' token is opened, another one replaced; NULL: none */
    bool may_save;
};
int store_taste_new(const struct store_vectors *v, const struct store_taste_options *opt,
                    struct index **out, u2i_error_t *err);

struct store_search {
    enum store_space space;
    const float
        *vector; /* content: dim floats, unit length; taste: as many as were given, any length */
    uint32_t k;
    const struct filter *filter;     /* NULL = all live items */
    const roaring_bitmap_t *among;   /* only these rows; NULL = all live items */
    const roaring_bitmap_t *exclude; /* rows; NULL = none */
    const struct deadline *deadline; /* may be NULL */
    struct store_explain *explain;   /* out; may be NULL */
};

/* Row -> score, for an order that is not a vector's. */
typedef float (*store_score_fn)(const void *ctx, uint32_t row);
struct store_rank {
    store_score_fn score;
    const void *ctx;
    uint32_t k;
    const roaring_bitmap_t *among; /* only these rows are looked at; NULL = all live items */
    const struct filter *filter;
    const roaring_bitmap_t *exclude;
    const struct deadline *deadline;
};

/* Return non-zero to stop the scan. */
typedef int (*store_item_fn)(void *ctx, const struct store_item *item);
typedef int (*store_event_fn)(void *ctx, const struct store_event *event,
                              const struct store_event_row *row);
typedef int (*store_user_fn)(void *ctx, const struct store_user *user);
typedef int (*store_text_fn)(void *ctx, const char *name, const char *value);

/* ---- The seam ------------------------------------------------------------------------------- */

struct store_ops {
    const char *name; /* "sqlite", "memory" */

    /* Writes. */
    int (*put_items)(struct store *s, const struct store_item *items, size_t n, u2i_error_t *err);
    /* Replaces vectors of live rows (others are skipped), for a new state of the embedder. */
    int (*put_vectors)(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                       uint32_t embedding, u2i_error_t *err);
    int (*delete_items)(struct store *s, const char *const *ids, size_t n, size_t *deleted,
                        u2i_error_t *err);
    int (*put_events)(struct store *s, const struct store_events *in, size_t *recorded,
                      u2i_error_t *err);
    int (*put_users)(struct store *s, const struct store_user *users, size_t n, u2i_error_t *err);
    int (*delete_user)(struct store *s, const char *id, u2i_error_t *err); /* U2I_ENOTFOUND */
    int (*put_setting)(struct store *s, const char *name, const char *value, u2i_error_t *err);
    /* Named bytes that can be derived again (NULL, 0 deletes); no listener is told. */
    int (*put_blob)(struct store *s, const char *name, const void *p, size_t n, u2i_error_t *err);

    /* Long work that nobody else, handle or process, may do at the same time: `what` names it ("training"). Until
     * unlock(), or the end of the process. Does not wait: U2I_EBUSY. U2I_EIO, U2I_ENOMEM. */
    int (*lock)(struct store *s, const char *what, int *lock, u2i_error_t *err);
    void (*unlock)(struct store *s, int lock);
    /* Vectors of another model; all of these NULL where a store can't. U2I_EBUSY: there is another target by now,
     * another process's.
     * Makes room for the target, or finds what is there of it; what is there of another one is discarded. */
    int (*next_begin)(struct store *s, const struct store_next *n, struct store_next_counts *out,
                      u2i_error_t *err);
    /* The first `limit` items from row `from` on that wait for a vector. A text that is damaged is told as none. */
    int (*next_items)(struct store *s, const struct store_next *n, const uint32_t range[2],
                      store_next_fn fn, void *ctx, u2i_error_t *err);
    /* Keeps what the embedder has learnt for it, as blob STORE_NEXT_STATE_BLOB. */
    int (*next_state)(struct store *s, const struct store_next *n, const void *p, size_t bytes,
                      u2i_error_t *err);
    int (*next_put)(struct store *s, const struct store_next *n,
                    const struct store_next_item *items, size_t count, u2i_error_t *err);
    int (*next_use)(struct store *s, const struct store_next *n, const struct store_move *move,
                    u2i_error_t *err);
    /* Without a target any more: what is there is discarded. */
    int (*next_drop)(struct store *s, u2i_error_t *err);

    /* Runs fn while no read section is open and no listener runs: for exchanging what both look at. fn
     * may do what a listener may do. */
    void (*alone)(struct store *s, void (*fn)(void *ctx), void *ctx);

    /* Taste vectors, all of them at once: an index of them is made beside the one in use, then takes its
     * place in one moment, in which `swap` runs too, as with alone(). Rows that are not live are left
     * out. v NULL: no item has one any more. Not durable. One call at a time; outside of a read section. U2I_ENOMEM. */
    int (*exchange_taste)(struct store *s, const struct store_vectors *v, void (*swap)(void *ctx),
                          void *ctx, u2i_error_t *err);
    /* Sets single ones, of live rows (others are skipped), or with vectors NULL removes them; nothing
     * happens where there is no taste space, or one of another dim. U2I_ENOMEM. */
    int (*put_taste)(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                     uint32_t dim, u2i_error_t *err);

    /* Reads that stand alone, outside of a read section. Strings passed to callbacks are valid during
     * the call; the callback must not write. Each sees one moment of the store. */
    int (*scan_items)(struct store *s, store_item_fn fn, void *ctx, u2i_error_t *err); /* by row */
    int (*scan_events)(struct store *s, uint64_t after_seq, store_event_fn fn, void *ctx,
                       u2i_error_t *err);                                              /* by seq */
    int (*scan_users)(struct store *s, store_user_fn fn, void *ctx, u2i_error_t *err); /* by row */
    int (*scan_settings)(struct store *s, store_text_fn fn, void *ctx, u2i_error_t *err);
    int (*get_blob)(struct store *s, const char *name, struct buf *out,
                    u2i_error_t *err); /* U2I_ENOTFOUND */
    int (*stats)(struct store *s, struct store_stats *out, u2i_error_t *err);
    int (*verify)(struct store *s, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err);

    /* How vectors are indexed from now on: not durable, the engine's settings are. */
    void (*configure_index)(struct store *s, const struct index_config *config);
    /* Waits until all vectors are indexed, and the index is on disk if there is one. Outside of a read
     * section. As index_build(). */
    int (*build_index)(struct store *s, u2i_progress_fn progress, void *ctx, u2i_error_t *err);

    /* Read sections. */
    int (*read_begin)(struct store *s, u2i_error_t *err);
    void (*read_end)(struct store *s);
    uint64_t (*sequence)(struct store *s); /* of the newest change that this section sees */
    uint32_t (*item_row)(struct store *s, const char *id); /* live or not; STORE_NONE */
    uint32_t (*user_row)(struct store *s, const char *id);
    const char *(*item_id)(struct store *s, uint32_t row); /* NULL if there is none */
    const char *(*user_id)(struct store *s, uint32_t row);
    const char *(*action_name)(struct store *s, uint16_t number);
    uint32_t (*user_end)(struct store *s); /* one past the highest user row */
    uint32_t (*item_end)(struct store *s); /* the same for items */
    bool (*item_live)(struct store *s, uint32_t row);
    const float *(*vector)(struct store *s, enum store_space space, uint32_t row); /* NULL = none */
    /* Best first, equal scores by id, into out[k]. */
    int (*search)(struct store *s, const struct store_search *q, struct hit *out, uint32_t *n,
                  u2i_error_t *err);
    int (*rank)(struct store *s, const struct store_rank *q, struct hit *out, uint32_t *n,
                u2i_error_t *err);
    /* Which of the rows `among` (NULL: of all) are live and pass the filter (NULL: all that are live); the
     * caller's to free. U2I_ENOMEM, U2I_ETIMEOUT. */
    int (*matches)(struct store *s, const struct filter *filter, const roaring_bitmap_t *among,
                   roaring_bitmap_t **out, u2i_error_t *err);
    /* The same, and one attribute, for some rows: passes[i], out[i] of rows[i]. U2I_ENOMEM. */
    int (*match)(struct store *s, const struct filter *filter, const uint32_t *rows, uint32_t n,
                 bool *passes, u2i_error_t *err);
    int (*attr)(struct store *s, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                struct attr_value *out, u2i_error_t *err);
    /* A copy of the texts, valid until the arena is freed; vector is that of vector(). U2I_ENOTFOUND. */
    int (*get_item)(struct store *s, uint32_t row, struct arena *a, struct store_item *out,
                    u2i_error_t *err);
    int (*get_user)(struct store *s, uint32_t row, struct arena *a, struct store_user *out,
                    u2i_error_t *err);
    /* The user's newest `window` events and all that share the oldest one's time, newest first, in no
     * particular order within a time (window SIZE_MAX: all); array on the heap, mem_free() by the caller. */
    int (*user_events)(struct store *s, uint32_t user, size_t window, struct store_event_row **out,
                       size_t *n, u2i_error_t *err);
    /* Frees the store in every case; non-zero: the last write may not be durable. */
    int (*close)(struct store *s);
};

struct store { /* the first member of each store's own struct */
    const struct store_ops *ops;
    uint32_t dim;
    char model[64];  /* "hash-512" */
    uint32_t models; /* how many it has had before this one */
};

/* What a store is opened with. */
struct store_options {
    uint32_t flags;    /* U2I_OPEN_* */
    uint32_t dim;      /* for a new store; for an old one 0, or it must be equal */
    const char *model; /* for a new store; for an old one NULL, or it must be equal */
    const struct clock *clock;
    struct log log;
    struct store_listener listener; /* not called before the open has returned */
};
int store_sqlite_open(const char *path, const struct store_options *opt, struct store **out,
                      u2i_error_t *err);
int store_memory_open(const struct store_options *opt, struct store **out, u2i_error_t *err);

#endif
