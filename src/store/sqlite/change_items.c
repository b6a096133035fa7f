/* Writes of items, vectors, settings and blobs. What costs time and needs no order is done by the
 * calling threads before they queue: parsing attributes, summing vectors. */
#include "change.h"
#include "seal.h"
#include "writer.h"

#include "base/alloc.h"

/* ---- Putting items -------------------------------------------------------------------------- */

static size_t change_vector_bytes(const struct lite *l) {
    return l->base.dim * sizeof(float);
}

static int change_write_vector(struct txn *t, uint32_t row, uint32_t embedding, uint32_t crc,
                               const float *vector, u2i_error_t *err) {
    struct bind b = bind_start(t->conn, SQL_VECTOR_PUT, err);
    bind_int(&b, row);
    bind_int(&b, embedding);
    bind_int(&b, seal_row(crc, row));
    bind_blob(&b, vector, change_vector_bytes(t->store));
    return bind_run(&b, err);
}

static int change_drop_vector(struct txn *t, uint32_t row, u2i_error_t *err) {
    struct bind b = bind_start(t->conn, SQL_VECTOR_DELETE, err);
    bind_int(&b, row);
    return bind_run(&b, err);
}

int change_write_item(struct txn *t, uint32_t row, bool new, bool live,
                      const struct store_item *item, u2i_error_t *err) {
    const struct seal_text id = seal_string(item->id);
    const struct seal_text category = seal_string(item->category);
    const struct seal_text attrs = seal_string(item->attrs_json);
    const struct seal_text title = seal_string(item->title);
    const struct seal_text text = seal_string(item->text);
    struct bind b = bind_start(t->conn, new ? SQL_ITEM_INSERT : SQL_ITEM_UPDATE, err);
    bind_int(&b, row);
    bind_text(&b, id.s, id.n);
    bind_int(&b, live);
    bind_int(&b, seal_item(row, live, id, category, attrs));
    bind_int(&b, seal_item_text(row, title, text));
    bind_text(&b, category.s, category.n);
    bind_text(&b, attrs.s, attrs.n);
    bind_text(&b, title.s, title.n);
    bind_text(&b, text.s, text.n);
    return bind_run(&b, err);
}

static int change_put_item(struct txn *t, const struct write *w, size_t i, u2i_error_t *err) {
    const struct store_item *item = &w->in.items[i];
    uint32_t row = txn_find(t, CATALOGUE_ITEMS, item->id, strlen(item->id));
    const bool new = row == STORE_NONE;
    if (new) {
        U2I_TRY(txn_add(t, CATALOGUE_ITEMS, item->id, strlen(item->id), &row, err));
    } else {
        U2I_TRY(txn_note(t, CHANGE_ITEMS, row, err));
    }
    w->rows[i] = row;
    U2I_TRY(change_write_item(t, row, new, true, item, err));
    if (item->vector != NULL) {
        U2I_TRY(change_write_vector(t, row, item->embedding, w->crcs[i], item->vector, err));
    } else if (!new &&txn_live(t, row)) {
        U2I_TRY(change_drop_vector(t, row, err));
    }
    txn_set_live(t, row, true);
    return U2I_OK;
}

static int change_write_items(struct txn *t, struct write *w, u2i_error_t *err) {
    for (size_t i = 0; i < w->rows_n; i++) {
        U2I_TRY(change_put_item(t, w, i, err));
    }
    return U2I_OK;
}

static int change_apply_items(struct lite *l, struct write *w, u2i_error_t *err) {
    for (size_t i = 0; i < w->rows_n; i++) {
        U2I_TRY(
            catalogue_put_item(l->catalogue, w->rows[i], w->attrs[i], w->in.items[i].vector, err));
        lite_tell_item(l, w->rows[i]);
    }
    return U2I_OK;
}

/* Everything about the items that can be found out before their turn comes. */
static int change_prepare_items(const struct lite *l, struct write *w, u2i_error_t *err) {
    w->rows = alloc_array(w->rows_n, sizeof *w->rows);
    w->crcs = alloc_array(w->rows_n, sizeof *w->crcs);
    w->attrs = alloc_array(w->rows_n, sizeof(struct attrs *));
    if (w->attrs != NULL) {
        memset(w->attrs, 0, w->rows_n * sizeof(struct attrs *));
    }
    if (w->rows == NULL || w->crcs == NULL || w->attrs == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < w->rows_n; i++) {
        const struct store_item *item = &w->in.items[i];
        const size_t json_n = item->attrs_json == NULL ? 0 : strlen(item->attrs_json);
        const int rc = attrs_parse(item->category, item->attrs_json, json_n, &w->attrs[i], err);
        if (rc != U2I_OK) {
            if (err != NULL) {
                err->offset = (int32_t)i;
            }
            return rc;
        }
        if (item->vector != NULL) {
            w->crcs[i] = seal_bytes(0, item->vector, change_vector_bytes(l));
        }
    }
    return U2I_OK;
}

int change_put_items(struct store *s, const struct store_item *items, size_t n, u2i_error_t *err) {
    static const struct write_ops ops = {NULL, change_write_items, change_apply_items};
    struct lite *l = lite_of(s);
    struct write w = {.ops = &ops, .rows_n = n, .in.items = items};
    int rc = change_prepare_items(l, &w, err);
    if (rc == U2I_OK) {
        rc = writer_submit(l, &w, err);
    }
    for (size_t i = 0; w.attrs != NULL && i < n; i++) {
        attrs_free(w.attrs[i]);
    }
    mem_free(w.attrs);
    mem_free(w.crcs);
    mem_free(w.rows);
    return rc;
}

/* ---- Replacing vectors ---------------------------------------------------------------------- */

static int change_write_vectors(struct txn *t, struct write *w, u2i_error_t *err) {
    const size_t dim = t->store->base.dim;
    for (size_t i = 0; i < w->rows_n; i++) {
        const uint32_t row = w->in.vectors.rows[i];
        w->rows[i] = txn_live(t, row) ? row : STORE_NONE;
        if (w->rows[i] != STORE_NONE) {
            U2I_TRY(txn_note(t, CHANGE_ITEMS, row, err));
            U2I_TRY(change_write_vector(t, row, w->in.vectors.embedding, w->crcs[i],
                                        w->in.vectors.vectors + i * dim, err));
        }
    }
    return U2I_OK;
}

static int change_apply_vectors(struct lite *l, struct write *w, u2i_error_t *err) {
    const size_t dim = l->base.dim;
    for (size_t i = 0; i < w->rows_n; i++) {
        if (w->rows[i] != STORE_NONE) {
            U2I_TRY(
                index_set(l->catalogue->vectors, w->rows[i], w->in.vectors.vectors + i * dim, err));
            lite_tell_item(l, w->rows[i]);
        }
    }
    return U2I_OK;
}

int change_put_vectors(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                       uint32_t embedding, u2i_error_t *err) {
    static const struct write_ops ops = {NULL, change_write_vectors, change_apply_vectors};
    struct lite *l = lite_of(s);
    struct write w = {.ops = &ops, .rows_n = n, .in.vectors = {rows, vectors, embedding}};
    w.rows = alloc_array(n, sizeof *w.rows);
    w.crcs = alloc_array(n, sizeof *w.crcs);
    int rc;
    if (w.rows == NULL || w.crcs == NULL) {
        rc = error_oom(err);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        w.crcs[i] = seal_bytes(0, vectors + i * s->dim, change_vector_bytes(l));
    }
    rc = writer_submit(l, &w, err);
out:
    mem_free(w.crcs);
    mem_free(w.rows);
    return rc;
}

/* ---- Deleting items ------------------------------------------------------------------------- */

static int change_delete_item(struct txn *t, const char *id, uint32_t row, u2i_error_t *err) {
    const struct seal_text none = {NULL, 0};
    struct bind b = bind_start(t->conn, SQL_ITEM_DELETE, err);
    bind_int(&b, row);
    bind_int(&b, seal_item(row, false, seal_string(id), none, none));
    bind_int(&b, seal_item_text(row, none, none));
    U2I_TRY(bind_run(&b, err));
    U2I_TRY(change_drop_vector(t, row, err));
    txn_set_live(t, row, false);
    return txn_note(t, CHANGE_ITEMS, row, err);
}

static int change_write_deletes(struct txn *t, struct write *w, u2i_error_t *err) {
    w->count = 0;
    for (size_t i = 0; i < w->rows_n; i++) {
        const char *id = w->in.ids[i];
        const uint32_t row = txn_find(t, CATALOGUE_ITEMS, id, strlen(id));
        if (row != STORE_NONE && txn_live(t, row)) {
            w->rows[w->count++] = row;
            U2I_TRY(change_delete_item(t, id, row, err));
        }
    }
    return U2I_OK;
}

static int change_apply_deletes(struct lite *l, struct write *w, u2i_error_t *err) {
    (void)err; /* removing needs no memory */
    for (size_t i = 0; i < w->count; i++) {
        catalogue_drop_item(l->catalogue, w->rows[i]);
        lite_tell_item(l, w->rows[i]);
    }
    return U2I_OK;
}

int change_delete_items(struct store *s, const char *const *ids, size_t n, size_t *deleted,
                        u2i_error_t *err) {
    static const struct write_ops ops = {NULL, change_write_deletes, change_apply_deletes};
    struct write w = {.ops = &ops, .rows_n = n, .in.ids = ids};
    if (deleted != NULL) {
        *deleted = 0;
    }
    w.rows = alloc_array(n, sizeof *w.rows);
    if (w.rows == NULL) {
        return error_oom(err);
    }
    const int rc = writer_submit(lite_of(s), &w, err);
    if (rc == U2I_OK && deleted != NULL) {
        *deleted = w.count;
    }
    mem_free(w.rows);
    return rc;
}

/* ---- Settings and blobs --------------------------------------------------------------------- */

static int change_write_setting(struct txn *t, struct write *w, u2i_error_t *err) {
    const bool put = w->in.setting.value != NULL;
    struct bind b = bind_start(t->conn, put ? SQL_SETTING_PUT : SQL_SETTING_DELETE, err);
    bind_string(&b, w->in.setting.name);
    if (put) {
        bind_string(&b, w->in.setting.value);
    }
    U2I_TRY(bind_run(&b, err));
    return txn_note(t, CHANGE_SETTINGS, 0, err);
}

static int change_apply_setting(struct lite *l, struct write *w, u2i_error_t *err) {
    (void)w; /* the listener reads all of them again */
    (void)err;
    atomic_store(&l->settings_moved, true);
    lite_tell_settings(l);
    return U2I_OK;
}

int change_put_setting(struct store *s, const char *name, const char *value, u2i_error_t *err) {
    static const struct write_ops ops = {NULL, change_write_setting, change_apply_setting};
    struct write w = {.ops = &ops, .rows_n = 1, .in.setting = {name, value}};
    return writer_submit(lite_of(s), &w, err);
}

static int change_write_blob(struct txn *t, struct write *w, u2i_error_t *err) {
    const bool put = w->in.blob.p != NULL;
    struct bind b = bind_start(t->conn, put ? SQL_BLOB_PUT : SQL_BLOB_DELETE, err);
    bind_string(&b, w->in.blob.name);
    if (put) {
        bind_int(&b, seal_bytes(0, w->in.blob.p, w->in.blob.n));
        bind_blob(&b, w->in.blob.p, w->in.blob.n);
    }
    return bind_run(&b, err);
}

int change_put_blob(struct store *s, const char *name, const void *p, size_t n, u2i_error_t *err) {
    static const struct write_ops ops = {NULL, change_write_blob, NULL};
    struct write w = {.ops = &ops, .rows_n = 1, .in.blob = {name, p, n}};
    return writer_submit(lite_of(s), &w, err);
}
