/* Writes of events: the hot path. What is checked is checked in memory, so that an accepted event
 * costs one INSERT (two index entries), and a refused batch costs nothing. */
#include "change.h"
#include "writer.h"

#include "base/alloc.h"

enum { CHANGE_FEW = 16 }; /* events of a request that needs no heap */

struct store_event_row change_event_of(sqlite3_stmt *st) {
    return (struct store_event_row){
        .seq = (uint64_t)sqlite3_column_int64(st, 0),
        .user = (uint32_t)sqlite3_column_int64(st, 1),
        .item = (uint32_t)sqlite3_column_int64(st, 2),
        .action = (uint16_t)sqlite3_column_int(st, 3),
        .time_ms = sqlite3_column_int64(st, 4),
        .value = (float)sqlite3_column_double(st, 5),
    };
}

/* Whether an event of that id is in the file. Ids of this transaction are: their rows are written. */
static int change_event_known(struct txn *t, const char *id, bool *known, u2i_error_t *err) {
    *known = false;
    if (id == NULL) {
        return U2I_OK;
    }
    struct bind b = bind_start(t->conn, SQL_EVENT_BY_ID, err);
    bind_string(&b, id);
    U2I_TRY(bind_step(&b, known, err));
    bind_end(&b);
    return U2I_OK;
}

static uint32_t change_live_item(const struct txn *t, const char *id) {
    const uint32_t row = txn_find(t, CATALOGUE_ITEMS, id, strlen(id));
    return row != STORE_NONE && txn_live(t, row) ? row : STORE_NONE;
}

/* Finds each event's item. An event that was recorded before is skipped whatever became of its item
 * since: a retry changes nothing, and it doesn't fail either. */
static int change_check_events(struct txn *t, struct write *w, u2i_error_t *err) {
    const struct store_events *in = w->in.events;
    for (size_t i = 0; i < in->n; i++) {
        const struct store_event *e = &in->events[i];
        w->rows[i] = change_live_item(t, e->item);
        if (w->rows[i] == STORE_NONE && in->unknown == STORE_UNKNOWN_REFUSE) {
            bool known;
            U2I_TRY(change_event_known(t, e->id, &known, err));
            if (!known) {
                return error_at(err, U2I_ENOTFOUND, (int32_t)i, "there is no item '%s'", e->item);
            }
        }
    }
    return U2I_OK;
}

/* The item's row for an event that waits for its item. */
static int change_keep_item(struct txn *t, const char *id, uint32_t *row, u2i_error_t *err) {
    const size_t n = strlen(id);
    *row = txn_find(t, CATALOGUE_ITEMS, id, n);
    if (*row != STORE_NONE) {
        return U2I_OK;
    }
    U2I_TRY(txn_add(t, CATALOGUE_ITEMS, id, n, row, err));
    const struct store_item item = {.id = id};
    return change_write_item(t, *row, true, false, &item, err);
}

static int change_event_user(struct txn *t, const char *id, uint32_t *row, u2i_error_t *err) {
    const size_t n = strlen(id);
    *row = txn_find(t, CATALOGUE_USERS, id, n);
    if (*row != STORE_NONE) {
        return U2I_OK;
    }
    U2I_TRY(txn_add(t, CATALOGUE_USERS, id, n, row, err));
    const struct store_user user = {.id = id};
    return change_write_user(t, *row, true, &user, err);
}

static int change_event_action(struct txn *t, const char *name, uint32_t *number,
                               u2i_error_t *err) {
    const size_t n = strlen(name);
    *number = txn_find(t, CATALOGUE_ACTIONS, name, n);
    if (*number != STORE_NONE) {
        return U2I_OK;
    }
    U2I_TRY(txn_add(t, CATALOGUE_ACTIONS, name, n, number, err));
    struct bind b = bind_start(t->conn, SQL_ACTION_INSERT, err);
    bind_int(&b, *number);
    bind_text(&b, name, n);
    return bind_run(&b, err);
}

/* The row goes into the file and into the transaction's list for memory and listener. */
static int change_insert_event(struct txn *t, const struct store_event *e,
                               struct store_event_row *row, u2i_error_t *err) {
    if (array_reserve(&t->rows, &t->rows_cap, t->rows_n + 1, sizeof *t->rows) != U2I_OK) {
        return error_oom(err);
    }
    row->seq = ++t->sequence;
    struct bind b = bind_start(t->conn, SQL_EVENT_INSERT, err);
    bind_int(&b, (int64_t)row->seq);
    bind_int(&b, row->user);
    bind_int(&b, row->item);
    bind_int(&b, row->action);
    bind_int(&b, row->time_ms);
    bind_real(&b, (double)row->value);
    bind_string(&b, e->id);
    U2I_TRY(bind_run(&b, err));
    t->rows[t->rows_n++] = *row;
    t->events++;
    return U2I_OK;
}

static int change_write_event(struct txn *t, struct write *w, size_t i, u2i_error_t *err) {
    const struct store_event *e = &w->in.events->events[i];
    bool known;
    U2I_TRY(change_event_known(t, e->id, &known, err));
    uint32_t item = w->rows[i];
    const bool wanted = item != STORE_NONE || w->in.events->unknown == STORE_UNKNOWN_KEEP;
    if (known || !wanted) {
        return U2I_OK;
    }
    if (item == STORE_NONE) {
        U2I_TRY(change_keep_item(t, e->item, &item, err));
    }
    uint32_t user;
    uint32_t action;
    U2I_TRY(change_event_user(t, e->user, &user, err));
    U2I_TRY(change_event_action(t, e->action, &action, err));
    struct store_event_row row = {
        .user = user,
        .item = item,
        .action = (uint16_t)action,
        .time_ms = e->time_ms,
        .value = e->value,
    };
    return change_insert_event(t, e, &row, err);
}

/* The decay that comes with a user's interactions; all events are of that user. */
static int change_write_decay(struct txn *t, struct write *w, u2i_error_t *err) {
    const struct store_events *in = w->in.events;
    w->user = STORE_NONE;
    if (!(in->user_decay > 0) || in->n == 0) {
        return U2I_OK;
    }
    U2I_TRY(change_event_user(t, in->events[0].user, &w->user, err));
    U2I_TRY(txn_note(t, CHANGE_USERS, w->user, err));
    return change_update_decay(t, w->user, in->user_decay, err);
}

static int change_write_events(struct txn *t, struct write *w, u2i_error_t *err) {
    const size_t before = t->rows_n;
    for (size_t i = 0; i < w->rows_n; i++) {
        U2I_TRY(change_write_event(t, w, i, err));
    }
    w->count = t->rows_n - before;
    return change_write_decay(t, w, err);
}

/* The events themselves are told by the writer, which joins those of neighbouring requests. */
static int change_apply_events(struct lite *l, struct write *w, u2i_error_t *err) {
    (void)err; /* nothing to allocate */
    if (w->user != STORE_NONE) {
        lite_tell_user(l, w->user);
    }
    return U2I_OK;
}

int change_put_events(struct store *s, const struct store_events *in, size_t *recorded,
                      u2i_error_t *err) {
    static const struct write_ops ops = {change_check_events, change_write_events,
                                         change_apply_events};
    struct write w = {.ops = &ops, .rows_n = in->n, .in.events = in, .user = STORE_NONE};
    uint32_t few[CHANGE_FEW];
    if (recorded != NULL) {
        *recorded = 0;
    }
    w.rows = in->n <= CHANGE_FEW ? few : alloc_array(in->n, sizeof *w.rows);
    if (w.rows == NULL) {
        return error_oom(err);
    }
    const int rc = writer_submit(lite_of(s), &w, err);
    if (rc == U2I_OK && recorded != NULL) {
        *recorded = w.count;
    }
    if (w.rows != few) {
        mem_free(w.rows);
    }
    return rc;
}
