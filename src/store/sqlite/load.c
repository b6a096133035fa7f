/* The whole file into memory, when a store is opened.
 *
 * Two threads on two connections read two tables: vectors with their checksums, which is most of the
 * bytes, and names with attributes, which is most of the work. Where the vectors are in a snapshot of
 * their index (snapshot.h), only those that changed since are read. Both begin a read transaction and then
 * compare the sequence they see: equal means that they read the same moment.
 *
 * Rows are read in their order, so pages come in file order. The file is read by pread(), not mapped:
 * a mapped file that another program truncates, or a disk that fails, would kill the process with
 * SIGBUS instead of failing the call.
 *
 * Damage in a row doesn't keep the rest from being used: it is logged (and named by a verify), and
 * the row goes without what is damaged. */
#include "change.h"
#include "snapshot.h"
#include "sqlite_internal.h"

#include "base/alloc.h"
#include <assert.h>

enum {
    LOAD_TRIES = 100,
    LOAD_GAP_MAX = 1 << 24 /* numbers are given one after the other: a larger gap is damage */
};

/* One of the two readers. */
struct load {
    struct lite *store;
    struct conn *conn;
    struct catalogue *catalogue;
    /* Of the vectors' thread: */
    struct index_options options;
    bool snapshot; /* the catalogue's index is one, of: */
    struct hnsw_stamp stamp;
    float *vector; /* an aligned copy of one */
    int rc;
    u2i_error_t err;
};

/* ---- Names and attributes ------------------------------------------------------------------- */

bool load_item_sound(sqlite3_stmt *st, int crc_column) {
    return seal_item((uint32_t)sqlite3_column_int64(st, 0), sqlite3_column_int(st, 2) != 0,
                     reader_text(st, 1), reader_text(st, crc_column + 1),
                     reader_text(st, crc_column + 2)) == sqlite3_column_int64(st, crc_column);
}

int load_attrs(const struct lite *l, sqlite3_stmt *st, int first_column, bool sound,
               struct attrs **out, u2i_error_t *err) {
    const struct seal_text category = reader_text(st, first_column);
    const struct seal_text json = reader_text(st, first_column + 1);
    u2i_error_t why = {.code = U2I_OK};
    const int rc = sound ? attrs_parse(category.s, json.s, json.n, out, &why)
                         : error_set(&why, U2I_ECORRUPT, "they do not match their checksum");
    if (rc == U2I_OK || rc == U2I_ENOMEM) {
        return rc == U2I_OK ? rc : error_oom(err);
    }
    const struct seal_text id = reader_text(st, 1);
    log_line(&l->log, U2I_LOG_WARN, "%s: items row %lld ('%.128s') goes without attributes: %s",
             l->path, (long long)sqlite3_column_int64(st, 0), id.s == NULL ? "" : id.s, why.msg);
    return attrs_parse(NULL, NULL, 0, out, err);
}

/* A row that doesn't match its checksum may have lost its name: then it must not stand for another
 * item or user. The table's index has every id a second time. */
static int load_confirm(struct load *d, sqlite3_stmt *st, enum catalogue_names kind, bool *named) {
    const struct seal_text id = reader_text(st, 1);
    struct bind b =
        bind_start(d->conn, kind == CATALOGUE_ITEMS ? SQL_ITEM_ROW : SQL_USER_ROW, &d->err);
    bind_text(&b, id.s, id.n);
    U2I_TRY(bind_step(&b, named, &d->err));
    *named = *named && sqlite3_column_int64(b.statement, 0) == sqlite3_column_int64(st, 0);
    bind_end(&b);
    if (!*named) {
        log_line(&d->store->log, U2I_LOG_WARN, "%s: %s row %lld has lost its id and is left out",
                 d->store->path, kind == CATALOGUE_ITEMS ? "items" : "users",
                 (long long)sqlite3_column_int64(st, 0));
    }
    return U2I_OK;
}

/* The current row's number and name into the catalogue; *named is false if they are damaged. */
static int load_name(struct load *d, sqlite3_stmt *st, enum catalogue_names kind, bool sound,
                     bool *named) {
    struct catalogue *c = d->catalogue;
    const int64_t number = sqlite3_column_int64(st, 0);
    const struct seal_text name = reader_text(st, 1);
    *named = name.s != NULL && number >= 0 && number < (int64_t)c->end[kind] + LOAD_GAP_MAX;
    if (!*named) {
        log_line(&d->store->log, U2I_LOG_WARN, "%s: number %lld of '%.128s' makes no sense",
                 d->store->path, (long long)number, name.s == NULL ? "" : name.s);
        return U2I_OK;
    }
    if (!sound) {
        U2I_TRY(load_confirm(d, st, kind, named));
    }
    const int rc = *named ? catalogue_name(c, kind, (uint32_t)number, name.s, name.n) : U2I_OK;
    return rc == U2I_OK ? rc : error_oom(&d->err);
}

static int load_item(struct load *d, sqlite3_stmt *st) {
    struct catalogue *c = d->catalogue;
    const uint32_t row = (uint32_t)sqlite3_column_int64(st, 0);
    const bool sound = load_item_sound(st, 3);
    bool named;
    U2I_TRY(load_name(d, st, CATALOGUE_ITEMS, sound, &named));
    if (!named || sqlite3_column_int(st, 2) == 0) {
        return U2I_OK;
    }
    struct attrs *attrs = NULL;
    U2I_TRY(load_attrs(d->store, st, 4, sound, &attrs, &d->err));
    const int rc = columns_put(c->columns, row, attrs, &d->err);
    attrs_free(attrs);
    roaring_bitmap_add(c->live, row);
    return rc;
}

static int load_items(struct load *d) {
    struct bind b = bind_start(d->conn, SQL_ITEMS_LOAD, &d->err);
    int rc = b.statement == NULL ? b.rc : U2I_OK;
    for (bool more = true; rc == U2I_OK;) {
        rc = bind_step(&b, &more, &d->err);
        if (!more) {
            break;
        }
        rc = load_item(d, b.statement);
    }
    bind_end(&b);
    return rc;
}

/* Tables of (number, name). */
static int load_names(struct load *d, enum conn_sql which, enum catalogue_names kind) {
    struct bind b = bind_start(d->conn, which, &d->err);
    int rc = b.statement == NULL ? b.rc : U2I_OK;
    for (bool more = true; rc == U2I_OK;) {
        rc = bind_step(&b, &more, &d->err);
        if (!more) {
            break;
        }
        const bool sound =
            kind != CATALOGUE_USERS ||
            seal_user((uint32_t)sqlite3_column_int64(b.statement, 0),
                      reader_text(b.statement, 1)) == sqlite3_column_int64(b.statement, 2);
        bool named;
        rc = load_name(d, b.statement, kind, sound, &named);
    }
    bind_end(&b);
    return rc;
}

/* Events that are not in the index by user. */
static int load_tail(struct load *d) {
    uint64_t indexed;
    U2I_TRY(conn_meta_int(d->conn, "indexed", &indexed, &d->err));
    struct bind b = bind_start(d->conn, SQL_EVENTS_SCAN, &d->err);
    bind_int(&b, (int64_t)indexed);
    bind_int(&b, INT64_MAX);
    int rc = b.statement == NULL ? b.rc : U2I_OK;
    for (bool more = true; rc == U2I_OK;) {
        rc = bind_step(&b, &more, &d->err);
        if (!more) {
            break;
        }
        const struct store_event_row row = change_event_of(b.statement);
        if (row.user < d->catalogue->end[CATALOGUE_USERS] &&
            row.item < d->catalogue->end[CATALOGUE_ITEMS] &&
            tail_add(&d->catalogue->tail, &row, 1) != U2I_OK) {
            rc = error_oom(&d->err);
        }
    }
    bind_end(&b);
    return rc;
}

static int load_all_names(struct load *d) {
    struct catalogue *c = d->catalogue;
    U2I_TRY(load_names(d, SQL_ACTIONS_SCAN, CATALOGUE_ACTIONS));
    U2I_TRY(load_names(d, SQL_USERS_LOAD, CATALOGUE_USERS));
    U2I_TRY(load_items(d));
    uint64_t users_end;
    U2I_TRY(conn_meta_int(d->conn, "users_end", &users_end, &d->err));
    if (users_end > c->end[CATALOGUE_USERS] && users_end < STORE_NONE) {
        c->end[CATALOGUE_USERS] = (uint32_t)users_end;
    }
    U2I_TRY(conn_meta_int(d->conn, "sequence", &c->sequence, &d->err));
    U2I_TRY(conn_meta_int(d->conn, "removed_sequence", &c->removed_sequence, &d->err));
    U2I_TRY(conn_meta_int(d->conn, "events", &c->events, &d->err));
    return load_tail(d);
}

/* ---- Vectors -------------------------------------------------------------------------------- */

const void *load_vector(const struct lite *l, sqlite3_stmt *st, int first_column, uint32_t row) {
    const int type = sqlite3_column_type(st, first_column + 1);
    if (type == SQLITE_NULL) {
        return NULL;
    }
    const size_t bytes = l->base.dim * sizeof(float);
    const void *p = sqlite3_column_blob(st, first_column + 1);
    if (type == SQLITE_BLOB && (size_t)sqlite3_column_bytes(st, first_column + 1) == bytes &&
        p != NULL && seal_vector(row, p, bytes) == sqlite3_column_int64(st, first_column)) {
        return p;
    }
    log_line(&l->log, U2I_LOG_WARN,
             "%s: vectors row %u does not match its checksum; its item goes without a vector",
             l->path, row);
    return NULL;
}

static int load_all_vectors(struct load *d) {
    struct bind b = bind_start(d->conn, SQL_VECTORS_LOAD, &d->err);
    int rc = b.statement == NULL ? b.rc : U2I_OK;
    const size_t bytes = d->store->base.dim * sizeof(float);
    for (bool more = true; rc == U2I_OK;) {
        rc = bind_step(&b, &more, &d->err);
        if (!more) {
            break;
        }
        const uint32_t row = (uint32_t)sqlite3_column_int64(b.statement, 0);
        const void *p = load_vector(d->store, b.statement, 2, row);
        if (p != NULL) {
            memcpy(d->vector, p, bytes); /* in a page it lies unaligned */
            rc = index_set(d->catalogue->vectors, row, d->vector, &d->err);
        }
    }
    bind_end(&b);
    return rc;
}

static int load_vectors(struct load *d) {
    struct catalogue *c = d->catalogue;
    if (d->snapshot) {
        bool usable;
        const struct snapshot_work work = {d->store, d->conn, c->vectors, d->vector};
        U2I_TRY(snapshot_catch_up(&work, &d->stamp, &usable, &d->err));
        if (usable) {
            return U2I_OK;
        }
        U2I_TRY(catalogue_renew_vectors(c, &d->options, &d->err));
    }
    return load_all_vectors(d);
}

static void *load_run_vectors(void *arg) {
    struct load *d = arg;
    d->rc = load_vectors(d);
    return NULL;
}

static void load_note_row(void *ctx, uint32_t row) {
    roaring_bitmap_add(ctx, row);
}

/* A vector without a live item is damage; it must not be found. */
static int load_drop_strays(const struct lite *l, struct catalogue *c, u2i_error_t *err) {
    roaring_bitmap_t *strays = roaring_bitmap_create();
    if (strays == NULL) {
        return error_oom(err);
    }
    index_each_row(c->vectors, load_note_row, strays);
    roaring_bitmap_andnot_inplace(strays, c->live);
    roaring_uint32_iterator_t it;
    roaring_init_iterator(strays, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        index_remove(c->vectors, it.current_value);
        log_line(&l->log, U2I_LOG_WARN, "%s: vectors row %u has no item", l->path,
                 it.current_value);
    }
    roaring_bitmap_free(strays);
    return U2I_OK;
}

/* ---- Both ----------------------------------------------------------------------------------- */

/* Read transactions on both connections at one sequence. */
static int load_begin(struct conn *a, struct conn *b, u2i_error_t *err) {
    for (int i = 0; i < LOAD_TRIES; i++) {
        uint64_t sequence[2];
        U2I_TRY(conn_run(a, SQL_BEGIN_READ, err));
        U2I_TRY(conn_meta_int(a, "sequence", &sequence[0], err));
        U2I_TRY(conn_run(b, SQL_BEGIN_READ, err));
        U2I_TRY(conn_meta_int(b, "sequence", &sequence[1], err));
        if (sequence[0] == sequence[1]) {
            return U2I_OK;
        }
        U2I_TRY(conn_run(a, SQL_COMMIT, err));
        U2I_TRY(conn_run(b, SQL_COMMIT, err));
    }
    return error_set(err, U2I_EBUSY, "%s is written to without a pause", a->path);
}

static int load_both(struct load *names, struct load *vectors, u2i_error_t *err) {
    U2I_TRY(load_begin(names->conn, vectors->conn, err));
    U2I_TRY(renewal_check_moved(names->store, names->conn, err));
    pthread_t thread;
    const bool threaded = thread_start(&thread, "u2i-load", load_run_vectors, vectors) == U2I_OK;
    names->rc = load_all_names(names);
    if (threaded) {
        (void)pthread_join(thread, NULL);
    } else {
        vectors->rc = load_vectors(vectors);
    }
    const struct load *failed = names->rc != U2I_OK ? names : vectors;
    if (failed->rc != U2I_OK) {
        if (err != NULL) {
            *err = failed->err;
        }
        return failed->rc;
    }
    return load_drop_strays(names->store, names->catalogue, err);
}

int load_catalogue(struct lite *l, struct catalogue **out, u2i_error_t *err) {
    *out = NULL;
    struct load names = {.store = l};
    struct load vectors = {.store = l};
    vectors.vector = alloc_array(l->base.dim, sizeof(float));
    int rc = vectors.vector == NULL ? error_oom(err) : reader_take(l, &names.conn, err);
    if (rc == U2I_OK) {
        rc = reader_take(l, &vectors.conn, err);
    }
    if (rc == U2I_OK) {
        snapshot_options(l, vectors.conn, &vectors.options);
        rc = catalogue_new(&vectors.options, &names.catalogue, err);
    }
    if (rc == U2I_OK) {
        vectors.catalogue = names.catalogue;
        vectors.snapshot = snapshot_open(l, names.catalogue, &vectors.stamp);
        rc = load_both(&names, &vectors, err);
    }
    reader_give(l, vectors.conn);
    reader_give(l, names.conn);
    mem_free(vectors.vector);
    if (rc != U2I_OK) {
        catalogue_free(names.catalogue);
        return rc;
    }
    *out = names.catalogue;
    return U2I_OK;
}
