/* A transaction in the making: what the writer has written but not committed, and memory therefore
 * does not show yet. Later requests of the same transaction see it through here: names that were
 * given numbers, items that came to life or went, users that went.
 *
 * Only the writing thread uses it. Dropping it (txn_reset) takes everything back. */
#ifndef U2I_STORE_SQLITE_TXN_H
#define U2I_STORE_SQLITE_TXN_H

#include "sqlite_internal.h"

struct txn {
    struct lite *store;
    struct conn *conn;
    struct intern *names[CATALOGUE_NAMES_N]; /* new ones; number - first is the number in here */
    uint32_t first[CATALOGUE_NAMES_N];       /* what the catalogue gives next */
    uint32_t end[CATALOGUE_NAMES_N];         /* what this transaction gives next */
    roaring_bitmap_t *born, *died;           /* items, against the catalogue's live ones */
    roaring_bitmap_t *gone;                  /* users, of the catalogue's */
    uint64_t sequence;                       /* of the newest change in here */
    uint64_t events;                         /* in the store, with these */
    bool removed;                            /* events went */
    bool moved; /* vectors of another model are in use after it: nothing else may follow in it */
    struct store_event_row *rows; /* events of this transaction, in order */
    size_t rows_n, rows_cap;
    struct { /* a run of changed rows that is not yet in table changes */
        enum change_kind kind;
        uint32_t row, n;
    } run;
    uint64_t changes_n; /* rows of table changes, with these */
};

int txn_init(struct txn *t, struct lite *store, struct conn *conn, u2i_error_t *err);
void txn_free(struct txn *t);
/* Empty again, on top of what the catalogue holds now. */
int txn_reset(struct txn *t, u2i_error_t *err);

/* The number behind a name, as this transaction sees it; STORE_NONE. */
uint32_t txn_find(const struct txn *t, enum catalogue_names kind, const char *name, size_t n);
/* Gives an absent name a number and notes the change. The caller writes the row. */
int txn_add(struct txn *t, enum catalogue_names kind, const char *name, size_t n, uint32_t *number,
            u2i_error_t *err);
bool txn_live(const struct txn *t, uint32_t row);
void txn_set_live(struct txn *t, uint32_t row, bool live);
/* The user's name and number are free again (the number is never given anew). */
void txn_drop_user(struct txn *t, uint32_t row);

/* For other processes: `row` of that kind has changed. */
int txn_note(struct txn *t, enum change_kind kind, uint32_t row, u2i_error_t *err);
/* Writes what txn_note() holds back, the sequence and the counts: the last thing before COMMIT. */
int txn_finish(struct txn *t, u2i_error_t *err);

/* After COMMIT, under the exclusive lock: names into the catalogue. U2I_ENOMEM. */
int txn_apply_names(const struct txn *t, struct catalogue *c);

#endif
