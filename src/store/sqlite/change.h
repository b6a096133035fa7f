/* What the kinds of writes share. */
#ifndef U2I_STORE_SQLITE_CHANGE_H
#define U2I_STORE_SQLITE_CHANGE_H

#include "txn.h"

/* An item's row in the file; `new` = the row isn't there yet. */
int change_write_item(struct txn *t, uint32_t row, bool new, bool live,
                      const struct store_item *item, u2i_error_t *err);
/* A user's row in the file; `new` = the row isn't there yet. */
int change_write_user(struct txn *t, uint32_t row, bool new, const struct store_user *user,
                      u2i_error_t *err);
/* Changes nothing else of the user. */
int change_update_decay(struct txn *t, uint32_t row, double decay, u2i_error_t *err);
/* The current row of a statement that begins with seq, user, item, action, time_ms, value. */
struct store_event_row change_event_of(sqlite3_stmt *st);

#endif
