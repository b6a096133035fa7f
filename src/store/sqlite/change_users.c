/* Writes of users: what is known of them, and forgetting them. */
#include "change.h"
#include "seal.h"
#include "writer.h"

#include "base/alloc.h"

int change_write_user(struct txn *t, uint32_t row, bool new, const struct store_user *user,
                      u2i_error_t *err) {
    const struct seal_text id = seal_string(user->id);
    const struct seal_text interests = seal_string(user->interests);
    const struct seal_text attrs = seal_string(user->attrs_json);
    struct bind b = bind_start(t->conn, new ? SQL_USER_INSERT : SQL_USER_UPDATE, err);
    bind_int(&b, row);
    bind_text(&b, id.s, id.n);
    bind_int(&b, seal_user(row, id));
    bind_int(&b, seal_user_text(row, interests, attrs, user->decay));
    bind_real(&b, user->decay);
    bind_text(&b, interests.s, interests.n);
    bind_text(&b, attrs.s, attrs.n);
    return bind_run(&b, err);
}

int change_update_decay(struct txn *t, uint32_t row, double decay, u2i_error_t *err) {
    struct bind b = bind_start(t->conn, SQL_USER_GET, err);
    bind_int(&b, row);
    bool found;
    U2I_TRY(bind_step(&b, &found, err));
    if (!found) {
        return error_set(err, U2I_ECORRUPT, "%s: users has no row %u", t->store->path, row);
    }
    /* Copies: the update may move the page that the columns point into. */
    struct arena a = {0};
    struct store_user user;
    int rc = reader_copy_user(t->store, b.statement, &a, &user, err);
    bind_end(&b);
    if (rc == U2I_OK) {
        user.decay = decay;
        rc = change_write_user(t, row, false, &user, err);
    }
    arena_free(&a);
    return rc;
}

/* ---- Putting users -------------------------------------------------------------------------- */

static int change_write_users(struct txn *t, struct write *w, u2i_error_t *err) {
    for (size_t i = 0; i < w->rows_n; i++) {
        const struct store_user *user = &w->in.users[i];
        const size_t id_n = strlen(user->id);
        uint32_t row = txn_find(t, CATALOGUE_USERS, user->id, id_n);
        const bool new = row == STORE_NONE;
        if (new) {
            U2I_TRY(txn_add(t, CATALOGUE_USERS, user->id, id_n, &row, err));
        } else {
            U2I_TRY(txn_note(t, CHANGE_USERS, row, err));
        }
        w->rows[i] = row;
        U2I_TRY(change_write_user(t, row, new, user, err));
    }
    return U2I_OK;
}

static int change_apply_users(struct lite *l, struct write *w, u2i_error_t *err) {
    (void)err; /* names are in already */
    for (size_t i = 0; i < w->rows_n; i++) {
        lite_tell_user(l, w->rows[i]);
    }
    return U2I_OK;
}

int change_put_users(struct store *s, const struct store_user *users, size_t n, u2i_error_t *err) {
    static const struct write_ops ops = {NULL, change_write_users, change_apply_users};
    struct write w = {.ops = &ops, .rows_n = n, .in.users = users};
    w.rows = alloc_array(n, sizeof *w.rows);
    if (w.rows == NULL) {
        return error_oom(err);
    }
    const int rc = writer_submit(lite_of(s), &w, err);
    mem_free(w.rows);
    return rc;
}

/* ---- Forgetting a user ---------------------------------------------------------------------- */

static int change_check_user(struct txn *t, struct write *w, u2i_error_t *err) {
    w->user = txn_find(t, CATALOGUE_USERS, w->in.id, strlen(w->in.id));
    if (w->user == STORE_NONE) {
        return error_set(err, U2I_ENOTFOUND, "there is no user '%s'", w->in.id);
    }
    return U2I_OK;
}

static int change_compare_seq(const void *a, const void *b) {
    const uint64_t x = ((const struct store_event_row *)a)->seq;
    const uint64_t y = ((const struct store_event_row *)b)->seq;
    return x < y ? -1 : x > y;
}

/* All events of the user, which are in the index, in memory, or in this transaction, and while events
 * are being moved into the index in two of them. */
static int change_collect_events(struct txn *t, struct write *w, u2i_error_t *err) {
    const struct tail *tail = &t->store->catalogue->tail;
    buf_reset(&w->removed);
    for (uint32_t i = tail_newest(tail, w->user); i != TAIL_END; i = tail->before[i]) {
        buf_put(&w->removed, &tail->rows[i], sizeof *tail->rows);
    }
    for (size_t i = 0; i < t->rows_n; i++) {
        if (t->rows[i].user == w->user) {
            buf_put(&w->removed, &t->rows[i], sizeof *t->rows);
        }
    }
    struct bind b = bind_start(t->conn, SQL_HISTORY_GET, err);
    bind_int(&b, w->user);
    bind_int(&b, INT64_MAX);
    for (bool more = true; more;) {
        U2I_TRY(bind_step(&b, &more, err));
        if (more) {
            const struct store_event_row event = change_event_of(b.statement);
            buf_put(&w->removed, &event, sizeof event);
        }
    }
    return w->removed.failed ? error_oom(err) : U2I_OK;
}

static int change_delete_events(struct txn *t, struct write *w, u2i_error_t *err) {
    struct store_event_row *rows = (void *)w->removed.data;
    const size_t n = w->removed.len / sizeof *rows;
    size_t kept = 0;
    if (n > 0) {
        qsort(rows, n, sizeof *rows, change_compare_seq);
    }
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && rows[kept - 1].seq == rows[i].seq) {
            continue;
        }
        rows[kept++] = rows[i];
        struct bind b = bind_start(t->conn, SQL_EVENT_DELETE, err);
        bind_int(&b, (int64_t)rows[i].seq);
        U2I_TRY(bind_run(&b, err));
    }
    w->count = kept;
    t->events -= kept;
    t->removed |= kept > 0;
    return U2I_OK;
}

static int change_run_on_user(struct txn *t, enum conn_sql which, uint32_t user, u2i_error_t *err) {
    struct bind b = bind_start(t->conn, which, err);
    bind_int(&b, user);
    return bind_run(&b, err);
}

static int change_write_user_delete(struct txn *t, struct write *w, u2i_error_t *err) {
    U2I_TRY(change_collect_events(t, w, err));
    U2I_TRY(change_delete_events(t, w, err));
    U2I_TRY(change_run_on_user(t, SQL_HISTORY_DELETE, w->user, err));
    U2I_TRY(change_run_on_user(t, SQL_USER_DELETE, w->user, err));
    /* A row number is never given again, not even the highest after a restart. */
    U2I_TRY(conn_set_meta_int(t->conn, "users_end", t->end[CATALOGUE_USERS], err));
    txn_drop_user(t, w->user);
    return txn_note(t, CHANGE_USER_DELETED, w->user, err);
}

static int change_apply_user_delete(struct lite *l, struct write *w, u2i_error_t *err) {
    (void)err; /* the name is gone already, and removing needs no memory */
    tail_drop_user(&l->catalogue->tail, w->user);
    lite_tell_user_deleted(l, w->user, (const void *)w->removed.data, w->count);
    return U2I_OK;
}

int change_delete_user(struct store *s, const char *id, u2i_error_t *err) {
    static const struct write_ops ops = {change_check_user, change_write_user_delete,
                                         change_apply_user_delete};
    struct write w = {.ops = &ops, .rows_n = 1, .in.id = id, .scrub = true};
    const int rc = writer_submit(lite_of(s), &w, err);
    buf_free(&w.removed);
    return rc;
}
