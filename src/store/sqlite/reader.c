/* Connections for reading, and reads of single rows on them.
 *
 * A read section sees memory as of one sequence, while the file may be further. Events after that
 * sequence are left out, so that whoever adds what the listener tells to what is read here counts
 * nothing twice; an event that is being moved into the index is found in both places and taken once.
 * Texts are read as they are now; a row that is gone by then is U2I_ENOTFOUND. */
#include "change.h"
#include "sqlite_internal.h"

#include "base/alloc.h"

/* ---- Connections ---------------------------------------------------------------------------- */

int reader_take(struct lite *l, struct conn **out, u2i_error_t *err) {
    *out = NULL;
    (void)pthread_mutex_lock(&l->pool.lock);
    if (l->pool.idle_n > 0) {
        *out = l->pool.idle[--l->pool.idle_n];
    }
    (void)pthread_mutex_unlock(&l->pool.lock);
    if (*out != NULL) {
        return U2I_OK;
    }
    struct conn *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        return error_oom(err);
    }
    const int rc = conn_open(c, l->path, l->immutable ? CONN_IMMUTABLE : CONN_READ, err);
    if (rc != U2I_OK) {
        mem_free(c);
        return rc;
    }
    *out = c;
    return U2I_OK;
}

void reader_give(struct lite *l, struct conn *c) {
    if (c == NULL) {
        return;
    }
    if (sqlite3_get_autocommit(c->db) == 0) {
        (void)conn_run(c, SQL_ROLLBACK, NULL); /* ends a read; there is nothing to lose */
    }
    (void)pthread_mutex_lock(&l->pool.lock);
    const bool keep = l->pool.idle_n < LITE_POOL_MAX && sqlite3_get_autocommit(c->db) != 0;
    if (keep) {
        l->pool.idle[l->pool.idle_n++] = c;
    }
    (void)pthread_mutex_unlock(&l->pool.lock);
    if (!keep) {
        conn_close(c);
        mem_free(c);
    }
}

void reader_close_all(struct lite *l) {
    while (l->pool.idle_n > 0) {
        struct conn *c = l->pool.idle[--l->pool.idle_n];
        conn_close(c);
        mem_free(c);
    }
}

/* ---- Rows ----------------------------------------------------------------------------------- */

struct seal_text reader_text(sqlite3_stmt *st, int column) {
    const char *s = (const char *)sqlite3_column_text(st, column);
    return (struct seal_text){s, s == NULL ? 0 : (size_t)sqlite3_column_bytes(st, column)};
}

/* Copies texts; false when out of memory. */
static bool reader_keep(struct arena *a, const struct seal_text *texts, const char **out[],
                        size_t n) {
    for (size_t i = 0; i < n; i++) {
        *out[i] = NULL;
        if (texts[i].s != NULL) {
            *out[i] = arena_dup(a, texts[i].s, texts[i].n);
            if (*out[i] == NULL) {
                return false;
            }
        }
    }
    return true;
}

static int reader_damaged(const struct lite *l, const char *table, uint32_t row, const char *id,
                          u2i_error_t *err) {
    return error_set(err, U2I_ECORRUPT, "%s: row %u of %s ('%.40s') does not match its checksum",
                     l->path, row, table, id == NULL ? "" : id);
}

int reader_copy_item(const struct lite *l, sqlite3_stmt *st, struct arena *a,
                     struct store_item *out, u2i_error_t *err) {
    *out = (struct store_item){.row = (uint32_t)sqlite3_column_int64(st, 0)};
    const struct seal_text texts[] = {reader_text(st, 1), reader_text(st, 5), reader_text(st, 6),
                                      reader_text(st, 7), reader_text(st, 8)};
    if (seal_item(out->row, sqlite3_column_int(st, 2) != 0, texts[0], texts[1], texts[2]) !=
            sqlite3_column_int64(st, 3) ||
        seal_item_text(out->row, texts[3], texts[4]) != sqlite3_column_int64(st, 4)) {
        return reader_damaged(l, "items", out->row, texts[0].s, err);
    }
    const char **fields[] = {&out->id, &out->category, &out->attrs_json, &out->title, &out->text};
    out->embedding = (uint32_t)sqlite3_column_int64(st, 9);
    return reader_keep(a, texts, fields, 5) ? U2I_OK : error_oom(err);
}

int reader_copy_user(const struct lite *l, sqlite3_stmt *st, struct arena *a,
                     struct store_user *out, u2i_error_t *err) {
    *out = (struct store_user){.row = (uint32_t)sqlite3_column_int64(st, 0),
                               .decay = sqlite3_column_double(st, 4)};
    const struct seal_text texts[3] = {reader_text(st, 1), reader_text(st, 5), reader_text(st, 6)};
    if (seal_user(out->row, texts[0]) != sqlite3_column_int64(st, 2) ||
        seal_user_text(out->row, texts[1], texts[2], out->decay) != sqlite3_column_int64(st, 3)) {
        return reader_damaged(l, "users", out->row, texts[0].s, err);
    }
    const char **fields[] = {&out->id, &out->interests, &out->attrs_json};
    return reader_keep(a, texts, fields, 3) ? U2I_OK : error_oom(err);
}

int reader_get_item(struct store *s, uint32_t row, struct arena *a, struct store_item *out,
                    u2i_error_t *err) {
    struct lite *l = lite_of(s);
    *out = (struct store_item){.row = row};
    struct conn *c;
    U2I_TRY(reader_take(l, &c, err));
    struct bind b = bind_start(c, SQL_ITEM_GET, err);
    bind_int(&b, row);
    bool found;
    int rc = bind_step(&b, &found, err);
    if (rc == U2I_OK && found && catalogue_live(l->catalogue, row) &&
        sqlite3_column_int(b.statement, 2) != 0) {
        rc = reader_copy_item(l, b.statement, a, out, err);
        out->vector = index_vector(l->catalogue->vectors, row);
    } else if (rc == U2I_OK) {
        rc = error_set(err, U2I_ENOTFOUND, "there is no item in row %u", row);
    }
    bind_end(&b);
    reader_give(l, c);
    return rc;
}

int reader_get_user(struct store *s, uint32_t row, struct arena *a, struct store_user *out,
                    u2i_error_t *err) {
    struct lite *l = lite_of(s);
    *out = (struct store_user){.row = row};
    struct conn *c;
    U2I_TRY(reader_take(l, &c, err));
    struct bind b = bind_start(c, SQL_USER_GET, err);
    bind_int(&b, row);
    bool found;
    int rc = bind_step(&b, &found, err);
    if (rc == U2I_OK) {
        rc = found ? reader_copy_user(l, b.statement, a, out, err)
                   : error_set(err, U2I_ENOTFOUND, "there is no user in row %u", row);
    }
    bind_end(&b);
    reader_give(l, c);
    return rc;
}

/* ---- A user's events ------------------------------------------------------------------------ */

struct reader_events {
    struct store_event_row *rows;
    size_t n, cap;
};

static int reader_add(struct reader_events *e, struct store_event_row row, u2i_error_t *err) {
    if (array_reserve(&e->rows, &e->cap, e->n + 1, sizeof row) != U2I_OK) {
        return error_oom(err);
    }
    e->rows[e->n++] = row;
    return U2I_OK;
}

/* Rows come newest first; the newest `window` and those of the last one's time are taken. */
static bool reader_enough(const struct reader_events *e, size_t window, int64_t time_ms) {
    return e->n >= window && (e->n == 0 || time_ms != e->rows[e->n - 1].time_ms);
}

static int reader_from_index(struct lite *l, struct conn *c, uint32_t user, size_t window,
                             struct reader_events *out, u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_HISTORY_GET, err);
    bind_int(&b, user);
    bind_int(&b, (int64_t)l->catalogue->sequence);
    for (;;) {
        bool more;
        U2I_TRY(bind_step(&b, &more, err));
        if (!more) {
            return U2I_OK;
        }
        const struct store_event_row row = change_event_of(b.statement);
        const bool enough = reader_enough(out, window, row.time_ms);
        const int rc = enough ? U2I_OK : reader_add(out, row, err);
        if (enough || rc != U2I_OK) {
            bind_end(&b);
            return rc;
        }
    }
}

/* Newest first; within a time by number, so that equal ones are neighbours. */
static int reader_compare_events(const void *a, const void *b) {
    const struct store_event_row *x = a;
    const struct store_event_row *y = b;
    if (x->time_ms != y->time_ms) {
        return x->time_ms > y->time_ms ? -1 : 1;
    }
    return x->seq > y->seq ? -1 : x->seq < y->seq;
}

/* Adds what is not in the index yet, and cuts to the window again. */
static int reader_from_tail(const struct lite *l, uint32_t user, size_t window,
                            struct reader_events *e, u2i_error_t *err) {
    const struct tail *tail = &l->catalogue->tail;
    uint32_t i = tail_newest(tail, user);
    if (i == TAIL_END) {
        return U2I_OK;
    }
    for (; i != TAIL_END; i = tail->before[i]) {
        U2I_TRY(reader_add(e, tail->rows[i], err));
    }
    qsort(e->rows, e->n, sizeof *e->rows, reader_compare_events);
    struct reader_events out = {.rows = e->rows};
    for (size_t r = 0; r < e->n && !reader_enough(&out, window, e->rows[r].time_ms); r++) {
        if (out.n == 0 || out.rows[out.n - 1].seq != e->rows[r].seq) {
            out.rows[out.n++] = e->rows[r];
        }
    }
    e->n = out.n;
    return U2I_OK;
}

int reader_user_events(struct store *s, uint32_t user, size_t window, struct store_event_row **out,
                       size_t *n, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct reader_events events = {0};
    struct conn *c;
    *out = NULL;
    *n = 0;
    U2I_TRY(reader_take(l, &c, err));
    int rc = reader_from_index(l, c, user, window, &events, err);
    reader_give(l, c);
    if (rc == U2I_OK) {
        rc = reader_from_tail(l, user, window, &events, err);
    }
    if (rc != U2I_OK) {
        mem_free(events.rows);
        return rc;
    }
    *out = events.rows;
    *n = events.n;
    return U2I_OK;
}

/* ---- Blobs ---------------------------------------------------------------------------------- */

static int reader_read_blob(const struct lite *l, struct conn *c, const char *name, struct buf *out,
                            u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_BLOB_GET, err);
    bind_string(&b, name);
    bool found;
    int rc = bind_step(&b, &found, err);
    if (rc == U2I_OK && !found) {
        rc = error_set(err, U2I_ENOTFOUND, "there is no blob '%s'", name);
    } else if (rc == U2I_OK) {
        const void *p = sqlite3_column_blob(b.statement, 1);
        const size_t n = (size_t)sqlite3_column_bytes(b.statement, 1);
        if (seal_bytes(0, p, n) != sqlite3_column_int64(b.statement, 0)) {
            rc = error_set(err, U2I_ECORRUPT, "%s: blob '%s' does not match its checksum", l->path,
                           name);
        } else {
            buf_reset(out);
            buf_put(out, p, n);
            rc = out->failed ? error_oom(err) : U2I_OK;
        }
    }
    bind_end(&b);
    return rc;
}

int reader_get_blob(struct store *s, const char *name, struct buf *out, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct conn *c;
    U2I_TRY(reader_take(l, &c, err));
    int rc = conn_run(c, SQL_BEGIN_READ, err);
    if (rc == U2I_OK) { /* what is in it is often of one model's vectors */
        rc = renewal_check_moved(l, c, err);
    }
    if (rc == U2I_OK) {
        rc = reader_read_blob(l, c, name, out, err);
    }
    reader_give(l, c); /* ends the transaction */
    return rc;
}
