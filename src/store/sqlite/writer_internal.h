/* What the files of the writing thread share. Everything here but the queue belongs to that thread. */
#ifndef U2I_STORE_SQLITE_WRITER_INTERNAL_H
#define U2I_STORE_SQLITE_WRITER_INTERNAL_H

#include "writer.h"

struct writer {
    struct lite *store;
    struct conn conn;
    struct txn txn;
    pthread_t thread;

    pthread_mutex_t lock; /* the queue */
    struct write *head, **tail;
    size_t queued;
    bool closing;
    uint32_t generation;
    struct gate done[2];
    struct gate bell; /* the queue is no longer empty */

    /* Checkpoints. */
    pthread_t checkpointer;
    bool log_started;
    struct conn checkpoint_conn;
    pthread_mutex_t checkpoint_lock; /* held during a checkpoint */
    struct gate checkpoint_bell;
    atomic_bool checkpoint_wanted, checkpoint_rest, checkpoint_stop;
    int64_t page_bytes;
    int log_pages; /* of the log after the last commit; the writing thread's */
    int log_base;  /* pages that were checkpointed though a reader keeps the log from restarting */
    bool scrub;    /* a user was deleted: their bytes shall leave the log soon */
    bool relaxed;  /* setting durability = normal */

    /* Events on their way into the index (table history), in its order. */
    struct store_event_row *moving;
    size_t moving_n, moving_next, moving_cap;
    uint64_t moving_to;    /* seq of the newest of them */
    unsigned moving_pause; /* groups to let pass after a failure */

    bool sweeping; /* there may be vectors of a former model to be deleted */
};

/* writer_txn.c: one transaction for the requests [first, end). Each has its result afterwards, unless
 * *alone is set: then all of it was rolled back and each is to be tried by itself. */
void writer_transact(struct writer *w, struct write *first, const struct write *end, bool *alone);
/* BEGIN, with what other processes committed taken in; writer_end() in every case. */
int writer_begin(struct writer *w, u2i_error_t *err);
void writer_end(struct writer *w);
/* Whether a commit waits for the disk (false) or only a checkpoint does (true). */
int writer_synchronous(struct writer *w, bool relaxed, u2i_error_t *err);

/* writer_log.c: checkpoints. */
int writer_start_log(struct writer *w, u2i_error_t *err); /* starts the thread for them */
int writer_stop_log(struct writer *w);                    /* stops it and makes the last one */
void writer_bound_log(struct writer *w);                  /* between two groups */
/* Deleted means gone, so the log that still has the bytes is emptied once nobody is using it. */
void writer_scrub(struct writer *w);

/* writer_index.c: moves some events into the index by user, if there are many (idle) or too many.
 * True if there is more to do. */
bool writer_index_some(struct writer *w, bool idle);

/* writer_sweep.c: vectors of a former model are deleted bit by bit. */
int writer_find_old(struct writer *w, u2i_error_t *err); /* before the thread runs */
bool writer_sweep(struct writer *w);                     /* true if there is more to do */
void writer_sweep_last(struct writer *w); /* when closing: a part that nobody minds to wait for */

#endif
