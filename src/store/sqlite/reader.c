/* Connections for reading, and reads of single rows on them.
 *
 * A read section sees memory as of one sequence, while the file may be further. Events after that
 * sequence are left out, so that whoever adds what the listener tells to what is read here counts
 * nothing twice. Texts are read as they are now; a row that is gone by then is U2I_ENOTFOUND. */
#include "change.h"
#include "sqlite_internal.h"

/* */
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
    const bool keep = l->pool.idle_n < LITE_POOL_MAX;
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
    if (seal_item(out->row, texts[0], texts[1], texts[2]) != sqlite3_column_int64(st, 3) ||
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
                               .decay = sqlite3_column_double(st, 3)};
    const struct seal_text texts[3] = {reader_text(st, 1), reader_text(st, 4), reader_text(st, 5)};
    if (seal_user(out->row, texts, out->decay) != sqlite3_column_int64(st, 2)) {
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
        out->vector = flat_vector(l->catalogue->vectors, row);
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

static int reader_start_user(struct lite *l, struct conn *c, uint32_t user, struct bind *b,
                             u2i_error_t *err) {
    *b = bind_start(c, SQL_EVENTS_OF_USER, err);
    bind_int(b, user);
    bind_int(b, (int64_t)l->catalogue->sequence);
    return b->statement == NULL ? b->rc : U2I_OK;
}

static int reader_collect(struct bind *b, size_t window, struct store_event_row **rows, size_t *n,
                          u2i_error_t *err) {
    size_t cap = 0;
    for (;;) {
        bool more;
        U2I_TRY(bind_step(b, &more, err));
        if (!more) {
            return U2I_OK;
        }
        const struct store_event_row row = change_event_of(b->statement);
        if (*n >= window && (*n == 0 || row.time_ms != (*rows)[*n - 1].time_ms)) {
            bind_end(b);
            return U2I_OK;
        }
        if (array_reserve(rows, &cap, *n + 1, sizeof row) != U2I_OK) {
            bind_end(b);
            return error_oom(err);
        }
        (*rows)[(*n)++] = row;
    }
}

int reader_user_events(struct store *s, uint32_t user, size_t window, struct store_event_row **out,
                       size_t *n, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    *out = NULL;
    *n = 0;
    struct conn *c;
    U2I_TRY(reader_take(l, &c, err));
    struct bind b;
    int rc = reader_start_user(l, c, user, &b, err);
    if (rc == U2I_OK) {
        rc = reader_collect(&b, window, out, n, err);
    }
    reader_give(l, c);
    if (rc != U2I_OK) {
        mem_free(*out);
        *out = NULL;
        *n = 0;
    }
    return rc;
}

/* ---- Blobs ---------------------------------------------------------------------------------- */

int reader_get_blob(struct store *s, const char *name, struct buf *out, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct conn *c;
    U2I_TRY(reader_take(l, &c, err));
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
    reader_give(l, c);
    return rc;
}
