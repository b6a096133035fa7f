/* The faults of the index's file: it is opened and checked as when a store is opened, and then each of its
 * vectors is compared with the store's. The file is opened before the check's transaction begins, so
 * it is not ahead of what the tables are seen to have; rows that changed since are left out.
 *
 * Damage here loses nothing: the file is made anew from the store when it is met. */
#include "snapshot.h"
#include "sqlite_internal.h"

#include "base/alloc.h"
#include <stdarg.h>
#include <stdio.h>

struct verify_index {
    struct lite *store;
    struct hnsw *graph; /* NULL: there is none, or it cannot be used, which err says */
    struct hnsw_stamp stamp;
    int rc; /* of opening it */
    u2i_error_t err;
    roaring_bitmap_t *changed; /* since the file was written */
    roaring_bitmap_t *rows;    /* of the graph; what is left has no vector in the store */
    const char *where;
    u2i_fault_fn fn;
    void *ctx;
    size_t faults;
};

__attribute__((format(printf, 2, 3))) static void verify_index_tell(struct verify_index *v,
                                                                    const char *fmt, ...) {
    char what[sizeof v->err.msg];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args); /* cut if it is long */
    va_end(args);
    v->faults++;
    if (v->fn != NULL) {
        v->fn(v->ctx, v->where, what);
    }
}

/* "shop.db-index/content.hnsw" */
static const char *verify_index_name(const char *path) {
    const char *file = strrchr(path, '/');
    for (const char *at = path; file != NULL && at < file; at++) {
        if (*at == '/' && memchr(at + 1, '/', (size_t)(file - at - 1)) == NULL) {
            return at + 1;
        }
    }
    return path;
}

static void verify_index_note(void *ctx, uint32_t row) {
    roaring_bitmap_add(ctx, row);
}

int verify_index_begin(struct lite *l, struct verify_index **out, u2i_error_t *err) {
    struct index_options opt;
    struct conn *c;
    *out = NULL;
    struct verify_index *v = mem_zalloc(sizeof *v);
    if (v == NULL) {
        return error_oom(err);
    }
    v->store = l;
    v->where = verify_index_name(l->index_path);
    v->changed = roaring_bitmap_create();
    v->rows = roaring_bitmap_create();
    int rc = v->changed == NULL || v->rows == NULL ? error_oom(err) : reader_take(l, &c, err);
    if (rc != U2I_OK) {
        verify_index_end(v);
        return rc;
    }
    snapshot_options(l, c, &opt);
    reader_give(l, c);
    const struct hnsw_options made = {
        .dim = opt.dim, .metric = opt.metric, .links = opt.config.links};
    v->rc = hnsw_open(opt.path, &made, &v->stamp, &v->graph, &v->err);
    *out = v;
    return U2I_OK;
}

void verify_index_end(struct verify_index *v) {
    if (v == NULL) {
        return;
    }
    hnsw_free(v->graph);
    roaring_bitmap_t *const maps[] = {v->changed, v->rows};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        if (maps[i] != NULL) {
            roaring_bitmap_free(maps[i]);
        }
    }
    mem_free(v);
}

/* One row of the table against the file; `p` is the store's vector, NULL if it is damaged. */
static void verify_index_row(struct verify_index *v, uint32_t row, const void *p) {
    roaring_bitmap_remove(v->rows, row);
    if (roaring_bitmap_contains(v->changed, row)) {
        return;
    }
    if (!hnsw_contains(v->graph, row)) {
        verify_index_tell(v, "the vector of row %u is missing", row);
        return;
    }
    const float *vector = hnsw_vector(v->graph, row);
    if (vector == NULL) {
        verify_index_tell(v, "the vector of row %u does not match its checksum", row);
    } else if (p != NULL && memcmp(vector, p, v->store->base.dim * sizeof *vector) != 0) {
        verify_index_tell(v, "the vector of row %u is not the store's", row);
    }
}

/* That the table cannot be read to its end was told by the checks of the table. */
static int verify_index_rows(struct verify_index *v, struct conn *c) {
    struct bind b = bind_start(c, SQL_VECTORS_LOAD, NULL);
    bool more = true;
    int rc = b.statement == NULL ? b.rc : U2I_OK;
    hnsw_each_row(v->graph, verify_index_note, v->rows);
    while (rc == U2I_OK && more) {
        rc = bind_step(&b, &more, NULL);
        if (rc == U2I_OK && more) {
            const uint32_t row = (uint32_t)sqlite3_column_int64(b.statement, 0);
            verify_index_row(v, row, load_vector(v->store, b.statement, 2, row));
        }
    }
    bind_end(&b);
    if (rc != U2I_OK) {
        return rc == U2I_ENOMEM ? rc : U2I_OK;
    }
    roaring_bitmap_andnot_inplace(v->rows, v->changed);
    roaring_uint32_iterator_t it;
    roaring_init_iterator(v->rows, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        verify_index_tell(v, "row %u has no vector in the store", it.current_value);
    }
    return U2I_OK;
}

/* A file that is older than the log of changes cannot be compared, and is not used. */
static int verify_index_compare(struct verify_index *v, struct conn *c, u2i_error_t *err) {
    uint64_t sequence;
    uint64_t pruned;
    bool known;
    U2I_TRY(conn_meta_int(c, "sequence", &sequence, err));
    U2I_TRY(conn_meta_int(c, "changes_pruned", &pruned, err));
    U2I_TRY(snapshot_known(v->store, c, &v->stamp, &known, err));
    if (!known || v->stamp.sequence > sequence) {
        verify_index_tell(v, "it is of another store, or of another state of this one");
        return U2I_OK;
    }
    if (v->stamp.sequence < pruned) {
        return U2I_OK;
    }
    U2I_TRY(snapshot_changed(c, v->stamp.sequence, v->changed, err));
    return verify_index_rows(v, c);
}

int verify_index_check(struct verify_index *v, struct conn *c, u2i_fault_fn fn, void *ctx,
                       size_t *faults, u2i_error_t *err) {
    v->fn = fn;
    v->ctx = ctx;
    int rc = v->rc;
    if (rc == U2I_OK) {
        rc = verify_index_compare(v, c, err);
    } else if (rc == U2I_ENOMEM) {
        return error_oom(err);
    } else if (rc != U2I_ENOTFOUND && rc != U2I_EINVAL) { /* none, or made with other settings */
        verify_index_tell(v, "%s", v->err.msg);
    }
    *faults += v->faults;
    return rc == U2I_ENOMEM ? error_oom(err) : U2I_OK; /* faults of the tables are told already */
}
