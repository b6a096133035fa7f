/* The writing thread. Callers hand it requests and sleep; it puts as many as are waiting into one
 * transaction, commits, shows them in memory, and wakes their callers: one fsync for all of them.
 *
 * Each request is all or nothing inside the shared transaction: what can be refused is refused by its
 * check before anything is written. If SQLite itself fails, everything is rolled back and each
 * request is tried alone, so that it fails or succeeds on its own account. */
#ifndef U2I_STORE_SQLITE_WRITER_H
#define U2I_STORE_SQLITE_WRITER_H

#include "txn.h"

struct write;

/* What a kind of write does, in this order; NULL = nothing. */
struct write_ops {
    /* May refuse (any error but U2I_ENOMEM); writes nothing. */
    int (*check)(struct txn *t, struct write *w, u2i_error_t *err);
    /* Writes rows and notes changes in the transaction. */
    int (*write)(struct txn *t, struct write *w, u2i_error_t *err);
    /* After COMMIT, under the exclusive lock: changes the catalogue, tells the listener. */
    int (*apply)(struct lite *l, struct write *w, u2i_error_t *err);
};

/* A request; lives on its caller's stack until done. What it points to is the caller's. */
struct write {
    const struct write_ops *ops;
    size_t rows_n; /* how many rows it is about: bounds a transaction */
    union {
        const struct store_item *items;
        const struct store_events *events;
        const struct store_user *users;
        const char *const *ids;
        const char *id;
        struct {
            const uint32_t *rows;
            const float *vectors;
            uint32_t embedding;
        } vectors;
        struct {
            const char *name, *value;
        } setting;
        struct {
            const char *name;
            const void *p;
            size_t n;
        } blob;
        struct {
            const struct store_next *target;
            const struct store_next_item *items;
            const struct store_move *move;
            const void *state;
            size_t state_n;
        } next;
    } in;
    uint32_t *rows;       /* room for rows_n row numbers, where the kind needs it */
    struct attrs **attrs; /* parsed by the caller */
    uint32_t *crcs;       /* of the vectors' bytes, by the caller */
    struct buf removed;   /* struct store_event_row of a deleted user */
    uint32_t user;        /* the one whose row, decay or life it changes; STORE_NONE */
    size_t count;         /* out: recorded, deleted, ... */
    bool scrub;           /* its old bytes shall leave the log soon */

    /* The writer's. */
    size_t events_before, events_n; /* which rows of the transaction are its events */
    int rc;
    u2i_error_t err;
    struct write *next;
    _Atomic uint32_t done;
};

int writer_start(struct lite *l, struct conn *conn, struct writer **out, u2i_error_t *err);
/* Drains, stops, checkpoints, frees. NULL is a no-op. The connection goes with it. */
int writer_stop(struct writer *w);
/* Hands in a request and waits; its result. U2I_EREADONLY without a writer. */
int writer_submit(struct lite *l, struct write *q, u2i_error_t *err);

#endif
