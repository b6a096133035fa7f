/* The newest events of all users, in memory: those that a store has written to its log but not yet
 * into its index by user. Appending to a log costs a page for a hundred events; an index by user costs
 * a page for each. So events go into the index later, many at a time and in its order, and until then
 * they are found here.
 *
 * Reads in parallel; changes need the owner's exclusive lock. */
#ifndef U2I_STORE_TAIL_H
#define U2I_STORE_TAIL_H

#include "store/store.h"

#define TAIL_END UINT32_MAX

struct tail {
    struct store_event_row *rows; /* by seq; user is STORE_NONE where it was dropped */
    uint32_t *before;             /* the same user's event before it, or TAIL_END */
    uint32_t *newest;             /* user row -> their newest event, or TAIL_END */
    size_t n, rows_cap, before_cap, users_n, users_cap;
};

int tail_add(struct tail *t, const struct store_event_row *rows, size_t n); /* U2I_ENOMEM */
void tail_drop_user(struct tail *t, uint32_t user);
/* Forgets events up to and including `seq`. */
void tail_trim(struct tail *t, uint64_t seq);
void tail_free(struct tail *t); /* empty again */

/* Walks a user's events, newest first: for (i = tail_newest(); i != TAIL_END; i = t->before[i]). */
static inline uint32_t tail_newest(const struct tail *t, uint32_t user) {
    return user < t->users_n ? t->newest[user] : TAIL_END;
}

#endif
