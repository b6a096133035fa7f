/* Vectors of another model: made while those in use go on, then put in their place in one transaction.
 *
 * They grow in two tables that exist only meanwhile: next_vectors, which is to become `vectors`, and next_texts,
 * with the checksums that each item had when its vector was made. An item whose checksums differ waits for a new
 * vector; as they cover attributes too, next_texts also has a hash of the texts alone, and where that is the same
 * nothing is embedded. Blob next.target says what all of it is made by.
 *
 * renewal_use() looks once more whether every item has its vector, then gives the tables their new names (in no time,
 * whatever they hold), and counts `models` up in meta. Whoever has the store open compares that number with the one
 * that it was opened with, in the same transaction as whatever it reads or writes of vectors, and then says
 * STORE_MOVED; so nothing made for vectors of one model ever meets those of another. */
#include "seal.h"
#include "snapshot.h"
#include "writer.h"

#include "base/alloc.h"
#include "base/hash.h"

#define RENEWAL_TARGET_BLOB "next.target"

/* The tables are made when they are needed: a file without them is as old files are. */
static const char renewal_tables[] =
    "CREATE TABLE next_vectors (row INTEGER PRIMARY KEY, embedding INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, vector BLOB NOT NULL) STRICT;"
    "CREATE TABLE next_texts (row INTEGER PRIMARY KEY, crc INTEGER NOT NULL,"
    " text_crc INTEGER NOT NULL, source INTEGER NOT NULL) STRICT";
static const char renewal_no_tables[] = "DROP TABLE IF EXISTS next_vectors;"
                                        "DROP TABLE IF EXISTS next_texts";

/* ---- Has it moved? ---------------------------------------------------------------------------- */

int renewal_moved(const struct lite *l, u2i_error_t *err) {
    return atomic_load(&l->moved) ? error_set(err, STORE_MOVED, "%s has got another model", l->path)
                                  : U2I_OK;
}

int renewal_check_moved(struct lite *l, struct conn *c, u2i_error_t *err) {
    uint64_t models;
    U2I_TRY(conn_meta_int_or_0(c, "models", &models, err));
    if (models != l->base.models) {
        atomic_store(&l->moved, true);
    }
    return renewal_moved(l, err);
}

/* ---- The target ------------------------------------------------------------------------------- */

static int renewal_delete_blob(struct conn *c, const char *name, u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_BLOB_DELETE, err);
    bind_string(&b, name);
    return bind_run(&b, err);
}

static int renewal_write_blob(struct conn *c, const char *name, const void *p, size_t n,
                              u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_BLOB_PUT, err);
    bind_string(&b, name);
    bind_int(&b, seal_bytes(0, p, n));
    bind_blob(&b, p, n);
    return bind_run(&b, err);
}

/* In a transaction. */
static int renewal_is_ours(struct conn *c, const struct store_next *n, bool *ours,
                           u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_BLOB_GET, err);
    bind_string(&b, RENEWAL_TARGET_BLOB);
    U2I_TRY(bind_step(&b, ours, err));
    if (*ours) {
        const void *p = sqlite3_column_blob(b.statement, 1);
        const size_t bytes = (size_t)sqlite3_column_bytes(b.statement, 1);
        *ours = bytes == strlen(n->target) && memcmp(p, n->target, bytes) == 0;
    }
    bind_end(&b);
    return U2I_OK;
}

static int renewal_require_ours(struct conn *c, const struct store_next *n, u2i_error_t *err) {
    bool ours;
    U2I_TRY(renewal_is_ours(c, n, &ours, err));
    return ours ? U2I_OK
                : error_set(err, U2I_EBUSY,
                            "the items are being embedded for another model by another process");
}

static int renewal_discard(struct conn *c, u2i_error_t *err) {
    U2I_TRY(conn_exec(c, renewal_no_tables, err));
    U2I_TRY(renewal_delete_blob(c, STORE_NEXT_STATE_BLOB, err));
    return renewal_delete_blob(c, RENEWAL_TARGET_BLOB, err);
}

static int renewal_write_begin(struct txn *t, struct write *w, u2i_error_t *err) {
    const struct store_next *const n = w->in.next.target;
    bool ours = false;
    if (n != NULL) {
        U2I_TRY(renewal_is_ours(t->conn, n, &ours, err));
    }
    if (ours) {
        return U2I_OK;
    }
    U2I_TRY(renewal_discard(t->conn, err));
    if (n == NULL) {
        return U2I_OK;
    }
    U2I_TRY(conn_exec(t->conn, renewal_tables, err));
    return renewal_write_blob(t->conn, RENEWAL_TARGET_BLOB, n->target, strlen(n->target), err);
}

static int renewal_count(struct conn *c, struct store_next_counts *out, u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_NEXT_COUNT, err);
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    out->items = row ? (uint64_t)sqlite3_column_int64(b.statement, 0) : 0;
    out->waiting = row ? (uint64_t)sqlite3_column_int64(b.statement, 1) : 0;
    bind_end(&b);
    return U2I_OK;
}

/* A connection in a transaction in which the target is ours. */
static int renewal_take(struct lite *l, const struct store_next *n, struct conn **c,
                        u2i_error_t *err) {
    U2I_TRY(reader_take(l, c, err));
    int rc = conn_run(*c, SQL_BEGIN_READ, err);
    if (rc == U2I_OK) {
        rc = renewal_check_moved(l, *c, err);
    }
    if (rc == U2I_OK) {
        rc = renewal_require_ours(*c, n, err);
    }
    if (rc != U2I_OK) {
        reader_give(l, *c);
        *c = NULL;
    }
    return rc;
}

int renewal_begin(struct store *s, const struct store_next *n, struct store_next_counts *out,
                  u2i_error_t *err) {
    static const struct write_ops ops = {NULL, renewal_write_begin, NULL};
    struct lite *l = lite_of(s);
    struct write w = {.ops = &ops, .rows_n = 1, .in.next = {.target = n}};
    struct conn *c;
    U2I_TRY(writer_submit(l, &w, err));
    U2I_TRY(renewal_take(l, n, &c, err));
    const int rc = renewal_count(c, out, err);
    reader_give(l, c);
    return rc;
}

int renewal_drop(struct store *s, u2i_error_t *err) {
    static const struct write_ops ops = {NULL, renewal_write_begin, NULL};
    struct write w = {.ops = &ops, .rows_n = 1};
    return writer_submit(lite_of(s), &w, err);
}

/* ---- What waits ------------------------------------------------------------------------------- */

/* Of the texts that are embedded, and nothing else. */
static uint64_t renewal_source(const struct store_item *item) {
    const char *const texts[] = {item->title, item->category, item->text};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        h = texts[i] == NULL ? hash_mix(h + 1) : hash_bytes(texts[i], strlen(texts[i]), h);
    }
    return h;
}

static int renewal_tell(const struct lite *l, sqlite3_stmt *st, store_next_fn fn, void *ctx,
                        u2i_error_t *err) {
    struct arena scratch = {0};
    struct store_item item;
    u2i_error_t why = {.code = U2I_OK};
    int rc = reader_copy_item(l, st, &scratch, &item, &why);
    if (rc == U2I_ECORRUPT) { /* one lost text doesn't keep the others from being embedded */
        log_line(&l->log, U2I_LOG_WARN, "%s; the item goes without a vector", why.msg);
        item.title = item.category = item.text = NULL;
        rc = U2I_OK;
    }
    if (rc == U2I_OK) {
        struct store_next_item next = {.row = item.row,
                                       .crc = (uint32_t)sqlite3_column_int64(st, 3),
                                       .text_crc = (uint32_t)sqlite3_column_int64(st, 4),
                                       .source = renewal_source(&item)};
        next.same = sqlite3_column_type(st, 10) == SQLITE_INTEGER &&
                    (uint64_t)sqlite3_column_int64(st, 10) == next.source;
        rc = fn(ctx, &item, &next);
    } else if (err != NULL) {
        *err = why;
    }
    arena_free(&scratch);
    return rc;
}

int renewal_items(struct store *s, const struct store_next *n, const uint32_t range[2],
                  store_next_fn fn, void *ctx, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct conn *c;
    U2I_TRY(renewal_take(l, n, &c, err));
    struct bind b = bind_start(c, SQL_NEXT_ITEMS, err);
    bind_int(&b, range[0]);
    bind_int(&b, range[1]);
    int rc = U2I_OK;
    for (bool more = true; rc == U2I_OK;) {
        rc = bind_step(&b, &more, err);
        if (rc != U2I_OK || !more) {
            break;
        }
        rc = renewal_tell(l, b.statement, fn, ctx, err);
    }
    bind_end(&b);
    reader_give(l, c);
    return rc > 0 ? U2I_OK : rc;
}

/* ---- Putting ---------------------------------------------------------------------------------- */

static int renewal_check_ours(struct txn *t, struct write *w, u2i_error_t *err) {
    return renewal_require_ours(t->conn, w->in.next.target, err);
}

static int renewal_write_item(struct txn *t, const struct write *w, size_t i, u2i_error_t *err) {
    const struct store_next *const n = w->in.next.target;
    const struct store_next_item *const item = &w->in.next.items[i];
    struct bind b = bind_start(t->conn, SQL_NEXT_TEXT_PUT, err);
    bind_int(&b, item->row);
    bind_int(&b, item->crc);
    bind_int(&b, item->text_crc);
    bind_int(&b, (int64_t)item->source);
    U2I_TRY(bind_run(&b, err));
    if (item->same) {
        return U2I_OK;
    }
    b = bind_start(t->conn, item->vector == NULL ? SQL_NEXT_VECTOR_DELETE : SQL_NEXT_VECTOR_PUT,
                   err);
    bind_int(&b, item->row);
    if (item->vector != NULL) {
        bind_int(&b, n->embedding);
        bind_int(&b, w->crcs[i]);
        bind_blob(&b, item->vector, n->dim * sizeof(float));
    }
    return bind_run(&b, err);
}

static int renewal_write_items(struct txn *t, struct write *w, u2i_error_t *err) {
    for (size_t i = 0; i < w->rows_n; i++) {
        U2I_TRY(renewal_write_item(t, w, i, err));
    }
    return U2I_OK;
}

static int renewal_write_state(struct txn *t, struct write *w, u2i_error_t *err) {
    return renewal_write_blob(t->conn, STORE_NEXT_STATE_BLOB, w->in.next.state, w->in.next.state_n,
                              err);
}

int renewal_state(struct store *s, const struct store_next *n, const void *p, size_t bytes,
                  u2i_error_t *err) {
    static const struct write_ops ops = {renewal_check_ours, renewal_write_state, NULL};
    struct write w = {
        .ops = &ops, .rows_n = 1, .in.next = {.target = n, .state = p, .state_n = bytes}};
    return writer_submit(lite_of(s), &w, err);
}

int renewal_put(struct store *s, const struct store_next *n, const struct store_next_item *items,
                size_t count, u2i_error_t *err) {
    static const struct write_ops ops = {renewal_check_ours, renewal_write_items, NULL};
    struct write w = {.ops = &ops, .rows_n = count, .in.next = {.target = n, .items = items}};
    w.crcs = alloc_array(count, sizeof *w.crcs);
    if (w.crcs == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < count; i++) {
        w.crcs[i] = items[i].vector == NULL
                        ? 0
                        : seal_vector(items[i].row, items[i].vector, n->dim * sizeof(float));
    }
    const int rc = writer_submit(lite_of(s), &w, err);
    mem_free(w.crcs);
    return rc;
}

/* ---- Coming into use -------------------------------------------------------------------------- */

/* No item waits: looked at in the very transaction, so also for what was written a moment ago. */
static int renewal_check_use(struct txn *t, struct write *w, u2i_error_t *err) {
    struct bind b;
    bool waits;
    U2I_TRY(renewal_require_ours(t->conn, w->in.next.target, err));
    b = bind_start(t->conn, SQL_NEXT_ITEMS, err);
    bind_int(&b, 0);
    bind_int(&b, 1);
    U2I_TRY(bind_step(&b, &waits, err));
    bind_end(&b);
    return waits ? error_set(err, STORE_STALE, "items have changed since they were embedded")
                 : U2I_OK;
}

static int renewal_write_settings(struct txn *t, const struct store_move *move, u2i_error_t *err) {
    for (size_t i = 0; i < move->settings_n; i++) {
        const struct store_setting *const s = &move->settings[i];
        struct bind b =
            bind_start(t->conn, s->value != NULL ? SQL_SETTING_PUT : SQL_SETTING_DELETE, err);
        bind_string(&b, s->name);
        if (s->value != NULL) {
            bind_string(&b, s->value);
        }
        U2I_TRY(bind_run(&b, err));
    }
    return txn_note(t, CHANGE_SETTINGS, 0, err);
}

static int renewal_write_meta(struct txn *t, const struct write *w, u2i_error_t *err) {
    struct bind b = bind_start(t->conn, SQL_META_PUT, err);
    bind_string(&b, "model");
    bind_string(&b, w->in.next.move->model);
    U2I_TRY(bind_run(&b, err));
    U2I_TRY(conn_set_meta_int(t->conn, "dim", w->in.next.target->dim, err));
    return conn_set_meta_int(t->conn, "models", t->store->base.models + 1, err);
}

/* The embedder's state goes along; what is known of the old vectors' index is forgotten. */
static int renewal_write_blobs(struct txn *t, const struct store_move *move, u2i_error_t *err) {
    static const char *const gone[] = {RENEWAL_TARGET_BLOB, STORE_NEXT_STATE_BLOB, STORE_STATE_BLOB,
                                       STORE_STATE_PENDING_BLOB, SNAPSHOT_BLOB};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        U2I_TRY(renewal_delete_blob(t->conn, gone[i], err));
    }
    return move->state == NULL
               ? U2I_OK
               : renewal_write_blob(t->conn, STORE_STATE_BLOB, move->state, move->state_n, err);
}

static int renewal_write_use(struct txn *t, struct write *w, u2i_error_t *err) {
    U2I_TRY(conn_run(t->conn, SQL_NEXT_TRIM, err));
    U2I_TRY(conn_exec(t->conn,
                      "DROP TABLE IF EXISTS old_vectors;" /* of the time before the last one */
                      "ALTER TABLE vectors RENAME TO old_vectors;"
                      "ALTER TABLE next_vectors RENAME TO vectors;"
                      "DROP TABLE next_texts",
                      err));
    U2I_TRY(renewal_write_meta(t, w, err));
    U2I_TRY(renewal_write_settings(t, w->in.next.move, err));
    U2I_TRY(renewal_write_blobs(t, w->in.next.move, err));
    t->moved = true;
    return U2I_OK;
}

static int renewal_apply_use(struct lite *l, struct write *w, u2i_error_t *err) {
    (void)w;
    (void)err;
    atomic_store(&l->moved, true);
    return U2I_OK;
}

int renewal_use(struct store *s, const struct store_next *n, const struct store_move *move,
                u2i_error_t *err) {
    static const struct write_ops ops = {renewal_check_use, renewal_write_use, renewal_apply_use};
    struct write w = {.ops = &ops, .rows_n = 1, .in.next = {.target = n, .move = move}};
    return writer_submit(lite_of(s), &w, err);
}
