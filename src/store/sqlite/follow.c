/* Taking in what other processes committed.
 *
 * Whether anything happened is one number: `sequence` in meta, against the catalogue's. It is read
 * only when PRAGMA data_version says that somebody has committed (our own writer counts as
 * somebody). Then the change log names the rows to read again, and the events are those after our
 * sequence. Each row is set to what the file says now, which is right in any order and more than
 * once; all of it is shown at once under the exclusive lock.
 *
 * What cannot be followed is loaded anew, and the listener is told to start over: a log that was
 * pruned past our sequence, a commit of our own that memory had no room for. A user deleted by
 * somebody else too makes the listener start over, because the events are gone by now. */
#include "change.h"
#include "sqlite_internal.h"

#include "base/alloc.h"

enum { FOLLOW_MAX = 1000000 }; /* changes or rows; more than that are not taken in one by one */

/* One row as the file has it now. */
struct follow_row {
    uint32_t row;
    bool present;        /* else: the name is free */
    bool live;           /* items */
    size_t name, name_n; /* into `bytes` */
    size_t vector;       /* likewise; SIZE_MAX = none */
    struct attrs *attrs; /* live items */
};

struct follow {
    struct lite *store;
    struct conn *conn;
    uint64_t sequence, events, removed_sequence, indexed;
    struct buf runs;       /* struct follow_run */
    struct buf items;      /* struct follow_row */
    struct buf users;      /* struct follow_row */
    struct buf actions;    /* struct follow_row */
    struct buf new_events; /* struct store_event_row */
    struct buf bytes;      /* names, vectors */
    bool settings, reset, too_many;
};

struct follow_run {
    enum change_kind kind;
    uint32_t row, n;
};

/* ---- Reading -------------------------------------------------------------------------------- */

static size_t follow_keep(struct follow *f, const void *p, size_t n) {
    while (f->bytes.len % sizeof(float) != 0) {
        buf_putc(&f->bytes, 0); /* vectors are read in place */
    }
    const size_t at = f->bytes.len;
    buf_put(&f->bytes, p, n);
    return at;
}

static void follow_keep_name(struct follow *f, sqlite3_stmt *st, struct follow_row *out) {
    const struct seal_text name = reader_text(st, 1);
    out->present = name.s != NULL;
    out->name_n = name.n;
    out->name = follow_keep(f, name.s == NULL ? "" : name.s, name.n);
}

static int follow_read_item(struct follow *f, sqlite3_stmt *st, struct follow_row *out,
                            u2i_error_t *err) {
    follow_keep_name(f, st, out);
    out->live = sqlite3_column_int(st, 2) != 0;
    out->vector = SIZE_MAX;
    if (!out->live) {
        return U2I_OK;
    }
    const void *vector = load_vector(f->store, st, 6, out->row);
    if (vector != NULL) {
        out->vector = follow_keep(f, vector, f->store->base.dim * sizeof(float));
    }
    return load_attrs(f->store, st, 4, load_item_sound(st, 3), &out->attrs, err);
}

/* Rows of a run that the file no longer has are in the list too, as absent. */
static int follow_read_run(struct follow *f, const struct follow_run *run, u2i_error_t *err) {
    const bool items = run->kind == CHANGE_ITEMS;
    struct buf *out = items ? &f->items : &f->users;
    struct bind b = bind_start(f->conn, items ? SQL_ITEMS_RANGE : SQL_USERS_RANGE, err);
    bind_int(&b, run->row);
    bind_int(&b, (int64_t)run->row + run->n);
    bool more;
    int rc = bind_step(&b, &more, err);
    for (uint32_t i = 0; rc == U2I_OK && i < run->n; i++) {
        struct follow_row r = {.row = run->row + i, .vector = SIZE_MAX};
        if (more && sqlite3_column_int64(b.statement, 0) == r.row) {
            if (items) {
                rc = follow_read_item(f, b.statement, &r, err);
            } else {
                follow_keep_name(f, b.statement, &r);
            }
            buf_put(out, &r, sizeof r);
            rc = rc == U2I_OK ? bind_step(&b, &more, err) : rc;
        } else {
            buf_put(out, &r, sizeof r);
        }
    }
    bind_end(&b);
    return rc;
}

static int follow_read_actions(struct follow *f, u2i_error_t *err) {
    struct bind b = bind_start(f->conn, SQL_ACTIONS_SCAN, err);
    for (;;) {
        bool more;
        U2I_TRY(bind_step(&b, &more, err));
        if (!more) {
            return U2I_OK;
        }
        struct follow_row r = {.row = (uint32_t)sqlite3_column_int64(b.statement, 0)};
        follow_keep_name(f, b.statement, &r);
        buf_put(&f->actions, &r, sizeof r);
    }
}

static int follow_read_runs(struct follow *f, uint64_t after, u2i_error_t *err) {
    struct bind b = bind_start(f->conn, SQL_CHANGES_SCAN, err);
    bind_int(&b, (int64_t)after);
    for (;;) {
        bool more;
        U2I_TRY(bind_step(&b, &more, err));
        if (!more) {
            return U2I_OK;
        }
        const struct follow_run run = {
            .kind = (enum change_kind)sqlite3_column_int(b.statement, 1),
            .row = (uint32_t)sqlite3_column_int64(b.statement, 2),
            .n = (uint32_t)sqlite3_column_int64(b.statement, 3),
        };
        buf_put(&f->runs, &run, sizeof run);
    }
}

static int follow_read_changes(struct follow *f, uint64_t after, u2i_error_t *err) {
    U2I_TRY(follow_read_runs(f, after, err));
    const struct follow_run *runs = (const void *)f->runs.data;
    uint64_t rows = 0;
    for (size_t i = 0; i < f->runs.len / sizeof *runs; i++) {
        rows += runs[i].n;
    }
    if (rows > FOLLOW_MAX) {
        f->too_many = true;
        return U2I_OK;
    }
    bool actions = false;
    for (size_t i = 0; i < f->runs.len / sizeof *runs; i++) {
        switch (runs[i].kind) {
        case CHANGE_ITEMS:
        case CHANGE_USERS:
        case CHANGE_USER_DELETED:
            f->reset |= runs[i].kind == CHANGE_USER_DELETED;
            U2I_TRY(follow_read_run(f, &runs[i], err));
            break;
        case CHANGE_ACTIONS:
            actions = true;
            break;
        case CHANGE_SETTINGS:
            f->settings = true;
            break;
        default: /* a later format's, which has another version number */
            break;
        }
    }
    return actions ? follow_read_actions(f, err) : U2I_OK;
}

static int follow_read_events(struct follow *f, uint64_t after, u2i_error_t *err) {
    struct bind b = bind_start(f->conn, SQL_EVENTS_SCAN, err);
    bind_int(&b, (int64_t)after);
    bind_int(&b, (int64_t)f->sequence);
    for (;;) {
        bool more;
        U2I_TRY(bind_step(&b, &more, err));
        if (!more) {
            return U2I_OK;
        }
        const struct store_event_row row = change_event_of(b.statement);
        buf_put(&f->new_events, &row, sizeof row);
    }
}

static int follow_read(struct follow *f, uint64_t after, u2i_error_t *err) {
    U2I_TRY(conn_meta_int(f->conn, "events", &f->events, err));
    U2I_TRY(conn_meta_int(f->conn, "removed_sequence", &f->removed_sequence, err));
    U2I_TRY(conn_meta_int(f->conn, "indexed", &f->indexed, err));
    U2I_TRY(follow_read_changes(f, after, err));
    if (f->too_many) {
        return U2I_OK;
    }
    U2I_TRY(follow_read_events(f, after, err));
    const bool failed = f->runs.failed || f->items.failed || f->users.failed || f->actions.failed ||
                        f->new_events.failed || f->bytes.failed;
    return failed ? error_oom(err) : U2I_OK;
}

/* ---- Showing -------------------------------------------------------------------------------- */

static int follow_apply_name(struct follow *f, enum catalogue_names kind,
                             const struct follow_row *r) {
    struct catalogue *c = f->store->catalogue;
    if (!r->present) {
        catalogue_unname(c, kind, r->row);
    } else {
        U2I_TRY(catalogue_name(c, kind, r->row, f->bytes.data + r->name, r->name_n));
    }
    if (r->row >= c->end[kind]) {
        c->end[kind] = r->row + 1;
    }
    return U2I_OK;
}

static int follow_apply_names(struct follow *f, enum catalogue_names kind, const struct buf *rows) {
    const struct follow_row *r = (const void *)rows->data;
    for (size_t i = 0; i < rows->len / sizeof *r; i++) {
        U2I_TRY(follow_apply_name(f, kind, &r[i]));
    }
    return U2I_OK;
}

static int follow_apply_items(struct follow *f, u2i_error_t *err) {
    struct catalogue *c = f->store->catalogue;
    const struct follow_row *r = (const void *)f->items.data;
    for (size_t i = 0; i < f->items.len / sizeof *r; i++) {
        const char *at = r[i].vector == SIZE_MAX ? NULL : f->bytes.data + r[i].vector;
        if (r[i].live) {
            U2I_TRY(
                catalogue_put_item(c, r[i].row, r[i].attrs, (const float *)(const void *)at, err));
        } else {
            catalogue_drop_item(c, r[i].row);
        }
    }
    return U2I_OK;
}

static size_t follow_events_n(const struct follow *f) {
    return f->new_events.len / sizeof(struct store_event_row);
}

/* Leaves out events of rows that nothing has: a page of the file was overwritten. */
static void follow_drop_damaged(struct follow *f) {
    const struct catalogue *c = f->store->catalogue;
    struct store_event_row *events = (void *)f->new_events.data;
    size_t kept = 0;
    for (size_t i = 0; i < follow_events_n(f); i++) {
        if (events[i].user < c->end[CATALOGUE_USERS] && events[i].item < c->end[CATALOGUE_ITEMS]) {
            events[kept++] = events[i];
        }
    }
    f->new_events.len = kept * sizeof *events;
}

static int follow_apply_events(struct follow *f) {
    follow_drop_damaged(f);
    struct tail *tail = &f->store->catalogue->tail;
    const struct follow_row *users = (const void *)f->users.data;
    for (size_t i = 0; i < f->users.len / sizeof *users; i++) {
        if (!users[i].present) {
            tail_drop_user(tail, users[i].row);
        }
    }
    U2I_TRY(tail_add(tail, (const void *)f->new_events.data, follow_events_n(f)));
    tail_trim(tail, f->indexed);
    return U2I_OK;
}

static void follow_tell(const struct follow *f) {
    const struct lite *l = f->store;
    const struct follow_row *users = (const void *)f->users.data;
    for (size_t i = 0; i < f->users.len / sizeof *users; i++) {
        if (users[i].present) {
            lite_tell_user(l, users[i].row);
        } else {
            lite_tell_user_deleted(l, users[i].row, NULL, 0);
        }
    }
    const struct follow_row *items = (const void *)f->items.data;
    for (size_t i = 0; i < f->items.len / sizeof *items; i++) {
        lite_tell_item(l, items[i].row);
    }
    if (!f->reset) {
        lite_tell_events(l, (const void *)f->new_events.data, follow_events_n(f));
    }
}

static int follow_apply(struct follow *f, u2i_error_t *err) {
    struct catalogue *c = f->store->catalogue;
    if (follow_apply_names(f, CATALOGUE_ACTIONS, &f->actions) != U2I_OK ||
        follow_apply_names(f, CATALOGUE_USERS, &f->users) != U2I_OK ||
        follow_apply_names(f, CATALOGUE_ITEMS, &f->items) != U2I_OK ||
        follow_apply_events(f) != U2I_OK) {
        return error_oom(err);
    }
    U2I_TRY(follow_apply_items(f, err));
    c->sequence = f->sequence;
    c->events = f->events;
    c->removed_sequence = f->removed_sequence;
    atomic_store(&f->store->applied, f->sequence);
    follow_tell(f);
    if (f->settings) {
        atomic_store(&f->store->settings_moved, true);
        lite_tell_settings(f->store);
    }
    if (f->reset) {
        lite_tell_reset(f->store);
    }
    return U2I_OK;
}

static void follow_free(struct follow *f) {
    const struct follow_row *r = (const void *)f->items.data;
    for (size_t i = 0; i < f->items.len / sizeof *r; i++) {
        attrs_free(r[i].attrs);
    }
    struct buf *const all[] = {&f->runs,    &f->items,      &f->users,
                               &f->actions, &f->new_events, &f->bytes};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buf_free(all[i]);
    }
}

/* ---- Together ------------------------------------------------------------------------------- */

static int follow_load_anew(struct lite *l, u2i_error_t *err) {
    struct catalogue *fresh;
    U2I_TRY(load_catalogue(l, &fresh, err));
    (void)pthread_rwlock_wrlock(&l->lock);
    struct index *const taste = l->catalogue->taste; /* the file doesn't have it */
    const uint32_t taste_dim = l->catalogue->taste_dim;
    l->catalogue->taste = NULL;
    (void)catalogue_exchange_taste(fresh, taste, taste_dim); /* a new one has none to give out */
    l->catalogue->next = l->retired;
    l->retired = l->catalogue;
    atomic_store(&l->any_retired, true);
    l->catalogue = fresh;
    index_start(fresh->vectors, !l->readonly);
    atomic_store(&l->applied, fresh->sequence);
    atomic_store(&l->stale, false);
    atomic_store(&l->settings_moved, true);
    lite_tell_settings(l);
    lite_tell_reset(l);
    (void)pthread_rwlock_unlock(&l->lock);
    return U2I_OK;
}

/* In a transaction of `c`: reads what is new. *anew = it cannot be followed. */
static int follow_look(struct follow *f, bool *anew, u2i_error_t *err) {
    const uint64_t applied = atomic_load(&f->store->applied);
    uint64_t pruned;
    U2I_TRY(conn_meta_int(f->conn, "sequence", &f->sequence, err));
    if (f->sequence <= applied && !atomic_load(&f->store->stale)) {
        return U2I_OK;
    }
    U2I_TRY(renewal_check_moved(f->store, f->conn, err));
    U2I_TRY(conn_meta_int(f->conn, "changes_pruned", &pruned, err));
    *anew = applied < pruned || f->sequence - applied > FOLLOW_MAX || atomic_load(&f->store->stale);
    if (!*anew) {
        U2I_TRY(follow_read(f, applied, err));
        *anew = f->too_many;
    }
    return U2I_OK;
}

int follow_commits(struct lite *l, struct conn *c, u2i_error_t *err) {
    struct follow f = {.store = l, .conn = c};
    const bool own = sqlite3_get_autocommit(c->db) != 0;
    bool anew = false;
    if (own) {
        U2I_TRY(conn_run(c, SQL_BEGIN_READ, err));
    }
    int rc = follow_look(&f, &anew, err);
    if (own) {
        (void)conn_run(c, SQL_COMMIT, NULL); /* ends a read; there is nothing to lose */
    }
    if (rc == U2I_OK && anew) {
        rc = follow_load_anew(l, err);
    } else if (rc == U2I_OK && f.sequence > atomic_load(&l->applied)) {
        (void)pthread_rwlock_wrlock(&l->lock);
        rc = follow_apply(&f, err);
        if (rc != U2I_OK) {
            atomic_store(&l->stale,
                         true); /* half of it is shown: start over when there is memory */
        }
        (void)pthread_rwlock_unlock(&l->lock);
    }
    follow_free(&f);
    return rc;
}

/* Whether the file is ahead of memory. Under watch_lock. */
static int follow_behind(struct lite *l, bool *behind, u2i_error_t *err) {
    *behind = atomic_load(&l->stale);
    struct bind b = bind_start(&l->watch, SQL_DATA_VERSION, err);
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    const int64_t version = row ? sqlite3_column_int64(b.statement, 0) : -1;
    bind_end(&b);
    if (version == l->watch_version || *behind) {
        return U2I_OK;
    }
    uint64_t sequence;
    U2I_TRY(conn_meta_int(&l->watch, "sequence", &sequence, err));
    *behind = sequence > atomic_load(&l->applied);
    if (!*behind) {
        l->watch_version = version;
    }
    return U2I_OK;
}

static int follow_take_in(struct lite *l, u2i_error_t *err) {
    (void)pthread_mutex_lock(&l->turn);
    /* Memory must not be loaded anew under a transaction that counts on it. */
    while (l->writing && atomic_load(&l->stale)) {
        (void)pthread_cond_wait(&l->turn_ended, &l->turn);
    }
    (void)pthread_mutex_lock(&l->watch_lock);
    const int rc = follow_commits(l, &l->watch, err);
    (void)pthread_mutex_unlock(&l->watch_lock);
    (void)pthread_mutex_unlock(&l->turn);
    return rc;
}

int follow_refresh(struct lite *l, u2i_error_t *err) {
    if (l->immutable) {
        return U2I_OK;
    }
    U2I_TRY(renewal_moved(l, err));
    bool behind;
    (void)pthread_mutex_lock(&l->watch_lock);
    int rc = follow_behind(l, &behind, err);
    (void)pthread_mutex_unlock(&l->watch_lock);
    if (rc == U2I_OK && behind) {
        rc = follow_take_in(l, err);
    }
    lite_free_retired(l);
    return rc;
}
