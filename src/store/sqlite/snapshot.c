/* The index of the items' vectors on disk, in a folder of its own beside the store: FILE-index/. What is
 * in there is derived, and lost without harm; what matters is never to believe a file that is not of
 * this store. So each file has a random token of its own, and the store keeps the newest ones
 * (blob index.content): written before the file takes its place, so a file that is there has a token
 * that is known. A copy of a store that goes its own way has other tokens from then on.
 *
 * When vectors of another model come into use all tokens are forgotten, and a store that stands for the old ones
 * can't add one any more: it writes nothing.
 *
 * A file says of which sequence it is. What changed since is in the log of changes, and only these
 * rows are read from the tables when a store is opened. A file that is older than the log is of no use,
 * nor is one that is damaged: then all vectors are read, and the index makes a new graph and a new file.
 *
 * The functions that the index's thread calls take no lock while they wait for the writing thread. */
#include "snapshot.h"

#include "base/alloc.h"
#include "base/number.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    SNAPSHOT_TOKENS = 8, /* kept: as many saves in a row may be cut short without harm */
    SNAPSHOT_RETRIES = 100
};

/* ---- Settings ------------------------------------------------------------------------------- */

/* The settings as the engine has them: a store needs them before the engine can read any. What is out
 * of range is the engine's to complain about. */
static const struct {
    const char *name;
    size_t at;
    double min, max;
} snapshot_settings[] = {
    {"index_exact_max", offsetof(struct index_config, exact_max), 0, UINT32_MAX},
    {"index_m", offsetof(struct index_config, links), 4, HNSW_LINKS_MAX},
    {"index_ef_construction", offsetof(struct index_config, ef_construction), 8,
     HNSW_EF_CONSTRUCTION_MAX},
    {"index_ef_search", offsetof(struct index_config, ef_search), 0, HNSW_EF_CONSTRUCTION_MAX},
};

/* The text of a setting as a number; false where there is none or it isn't one. */
static bool snapshot_read_setting(struct conn *c, const char *name, double *out) {
    struct bind b = bind_start(c, SQL_SETTING_GET, NULL);
    bool row;
    bind_string(&b, name);
    if (bind_step(&b, &row, NULL) != U2I_OK || !row) {
        return false;
    }
    const char *value = (const char *)sqlite3_column_text(b.statement, 0);
    const bool good = value != NULL && number_parse(value, out);
    bind_end(&b);
    return good;
}

static struct index_config snapshot_config(struct conn *c) {
    struct index_config config = INDEX_CONFIG_INIT;
    double x;
    for (size_t i = 0; i < sizeof snapshot_settings / sizeof *snapshot_settings; i++) {
        if (snapshot_read_setting(c, snapshot_settings[i].name, &x) &&
            x >= snapshot_settings[i].min && x <= snapshot_settings[i].max) {
            *(uint32_t *)(void *)((char *)&config + snapshot_settings[i].at) = (uint32_t)x;
        }
    }
    if (snapshot_read_setting(c, "index_recall", &x) && x >= 0.5 && x <= 0.999) {
        config.recall = x;
    }
    return config;
}

/* ---- Called by the index's thread ----------------------------------------------------------- */

/* Only those who may read the store may read the folder. */
void snapshot_make_folder(const struct lite *l) {
    struct stat st;
    char folder[4096];
    const char *slash = strrchr(l->index_path, '/');
    const int n = slash == NULL ? -1 : (int)(slash - l->index_path);
    if (n < 0 || (size_t)n >= sizeof folder || stat(l->path, &st) != 0) {
        return; /* opening the file in it will fail, and tell */
    }
    memcpy(folder, l->index_path, (size_t)n);
    folder[n] = '\0';
    const mode_t read = st.st_mode & 0444;
    const mode_t mode = (st.st_mode & 0666) | read >> 2;
    if (mkdir(folder, mode) == 0) {
        (void)chmod(folder, mode); /* what the umask took; as the store itself has it */
    }
}

static void snapshot_stamp(void *ctx, struct hnsw_stamp *out) {
    const struct catalogue *c = ctx;
    const struct lite *l = c->owner;
    out->sequence = c->sequence;
    sqlite3_randomness((int)sizeof out->token, out->token);
    if (!l->readonly) {
        snapshot_make_folder(l);
    }
}

/* Notes the token of a file that is about to be written. */
static int snapshot_saved(void *ctx, const struct hnsw_stamp *stamp) {
    struct catalogue *c = ctx;
    struct lite *l = c->owner;
    struct buf tokens = {0};
    struct buf old = {0};
    (void)pthread_rwlock_rdlock(&l->lock);
    const bool current = l->catalogue == c;
    (void)pthread_rwlock_unlock(&l->lock);
    if (!current) {
        return U2I_EBUSY; /* another one has taken its place: its own file will come */
    }
    u2i_error_t err;
    int rc = reader_get_blob(&l->base, SNAPSHOT_BLOB, &old, &err);
    if (rc != U2I_OK && rc != U2I_ENOTFOUND && rc != U2I_ECORRUPT) {
        goto out;
    }
    const size_t most = (SNAPSHOT_TOKENS - 1) * sizeof stamp->token;
    buf_put(&tokens, stamp->token, sizeof stamp->token);
    if (rc == U2I_OK) {
        buf_put(&tokens, old.data, old.len < most ? old.len : most);
    }
    rc = tokens.failed ? error_oom(&err)
                       : change_put_blob(&l->base, SNAPSHOT_BLOB, tokens.data, tokens.len, &err);
out:
    if (rc != U2I_OK && rc != STORE_MOVED) { /* then it is of no use any more */
        log_line(&l->log, U2I_LOG_WARN, "%s: the index is not saved: %s", l->index_path, err.msg);
    }
    buf_free(&old);
    buf_free(&tokens);
    return rc;
}

/* One row from the table into the index, if the index lacks it. The file may be ahead of memory, which
 * then takes the same row in once more; it must not be behind. */
static int snapshot_restore_row(struct conn *c, struct catalogue *cat, uint32_t row, float *vector,
                                u2i_error_t *err) {
    struct lite *l = cat->owner;
    const size_t bytes = l->base.dim * sizeof(float);
    uint64_t sequence;
    bool found;
    U2I_TRY(conn_meta_int(c, "sequence", &sequence, err));
    U2I_TRY(renewal_check_moved(l, c, err));
    struct bind b = bind_start(c, SQL_VECTORS_RANGE, err);
    bind_int(&b, row);
    bind_int(&b, (int64_t)row + 1);
    U2I_TRY(bind_step(&b, &found, err));
    const void *p = found ? load_vector(l, b.statement, 2, row) : NULL;
    if (p != NULL) {
        memcpy(vector, p, bytes);
    }
    bind_end(&b);
    (void)pthread_rwlock_wrlock(&l->lock);
    int rc = sequence < cat->sequence ? U2I_EBUSY : U2I_OK;
    if (rc == U2I_OK && p != NULL && catalogue_live(cat, row) &&
        !index_contains(cat->vectors, row)) {
        rc = index_set(cat->vectors, row, vector, err);
    }
    (void)pthread_rwlock_unlock(&l->lock);
    return rc;
}

static int snapshot_lost(void *ctx, const uint32_t *rows, uint32_t n) {
    struct catalogue *cat = ctx;
    struct lite *l = cat->owner;
    struct conn *c = NULL;
    u2i_error_t err;
    float *vector = alloc_array(l->base.dim, sizeof *vector);
    int rc = vector == NULL ? error_oom(&err) : reader_take(l, &c, &err);
    for (uint32_t i = 0; i < n && rc == U2I_OK; i++) {
        rc = U2I_EBUSY;
        for (int try = 0; try < SNAPSHOT_RETRIES && rc == U2I_EBUSY; try++) {
            (void)error_set(&err, U2I_EBUSY, "the store is written to without a pause");
            rc = conn_run(c, SQL_BEGIN_READ, &err);
            if (rc == U2I_OK) {
                rc = snapshot_restore_row(c, cat, rows[i], vector, &err);
                (void)conn_run(c, SQL_COMMIT, NULL); /* ends a read; there is nothing to lose */
            }
        }
    }
    reader_give(l, c);
    mem_free(vector);
    log_line(&l->log, rc == U2I_OK ? U2I_LOG_INFO : U2I_LOG_WARN,
             "%s: %u vectors were damaged: %s%s", l->index_path, n,
             rc == U2I_OK ? "they are read from the store again" : "they cannot be read again: ",
             rc == U2I_OK ? "" : err.msg);
    return rc;
}

/* ---- Opening -------------------------------------------------------------------------------- */

void snapshot_options(struct lite *l, struct conn *c, struct index_options *out) {
    *out = (struct index_options){.dim = l->base.dim,
                                  .metric = HNSW_COSINE,
                                  .config = snapshot_config(c),
                                  .lock = &l->lock,
                                  .log = l->log,
                                  .name = "content",
                                  .path = l->index_path,
                                  .ctx = l,
                                  .stamp = snapshot_stamp,
                                  .saved = snapshot_saved,
                                  .lost = snapshot_lost};
}

bool snapshot_open(struct lite *l, struct catalogue *c, struct hnsw_stamp *stamp) {
    u2i_error_t err;
    error_clear(&err);
    const int rc = index_open(c->vectors, stamp, &err);
    if (rc != U2I_OK && rc != U2I_ENOTFOUND) {
        /* After a change of settings it has another shape: that is no fault. */
        log_line(&l->log, rc == U2I_EINVAL ? U2I_LOG_INFO : U2I_LOG_WARN,
                 "the index is made anew: %s", err.msg);
    }
    return rc == U2I_OK;
}

int snapshot_known(struct lite *l, struct conn *c, const struct hnsw_stamp *stamp, bool *known,
                   u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_BLOB_GET, err);
    bool found;
    *known = false;
    bind_string(&b, SNAPSHOT_BLOB);
    U2I_TRY(bind_step(&b, &found, err));
    if (!found) {
        return U2I_OK;
    }
    const char *p = sqlite3_column_blob(b.statement, 1);
    const size_t n = (size_t)sqlite3_column_bytes(b.statement, 1);
    if (seal_bytes(0, p, n) != sqlite3_column_int64(b.statement, 0)) {
        log_line(&l->log, U2I_LOG_WARN, "%s: blob '%s' does not match its checksum", l->path,
                 SNAPSHOT_BLOB);
    } else {
        const size_t each = sizeof stamp->token;
        for (size_t i = 0; i + each <= n && !*known; i += each) {
            *known = memcmp(p + i, stamp->token, each) == 0;
        }
    }
    bind_end(&b);
    return U2I_OK;
}

/* Whether the file is of this store, and the log goes back to it. */
static int snapshot_judge(struct lite *l, struct conn *c, const struct hnsw_stamp *stamp,
                          bool *usable, u2i_error_t *err) {
    uint64_t sequence;
    uint64_t pruned;
    U2I_TRY(conn_meta_int(c, "sequence", &sequence, err));
    U2I_TRY(conn_meta_int(c, "changes_pruned", &pruned, err));
    U2I_TRY(snapshot_known(l, c, stamp, usable, err));
    if (!*usable || stamp->sequence > sequence) {
        *usable = false;
        log_line(&l->log, U2I_LOG_WARN,
                 "the index is made anew: %s is of another store, or of another state of this one",
                 l->index_path);
    } else if (stamp->sequence < pruned) {
        *usable = false;
        log_line(&l->log, U2I_LOG_INFO,
                 "the index is made anew: too much has changed since %s was written",
                 l->index_path);
    }
    return U2I_OK;
}

/* One past the highest row of the items. */
static int snapshot_items_end(struct conn *c, int64_t *out, u2i_error_t *err) {
    struct bind b = bind_start(c, SQL_ITEMS_LAST, err);
    bool found;
    U2I_TRY(bind_step(&b, &found, err));
    const bool any = found && sqlite3_column_type(b.statement, 0) != SQLITE_NULL;
    *out = any ? sqlite3_column_int64(b.statement, 0) + 1 : 0;
    bind_end(&b);
    return U2I_OK;
}

int snapshot_changed(struct conn *c, uint64_t after, roaring_bitmap_t *rows, u2i_error_t *err) {
    int64_t end;
    U2I_TRY(snapshot_items_end(c, &end, err));
    struct bind b = bind_start(c, SQL_CHANGES_SCAN, err);
    bind_int(&b, after > INT64_MAX ? INT64_MAX : (int64_t)after);
    for (;;) {
        bool more;
        U2I_TRY(bind_step(&b, &more, err));
        if (!more) {
            return U2I_OK;
        }
        const int64_t first = sqlite3_column_int64(b.statement, 2);
        const int64_t n = sqlite3_column_int64(b.statement, 3);
        const bool items = sqlite3_column_int(b.statement, 1) == CHANGE_ITEMS;
        if (items && first >= 0 && first < end && n > 0) { /* a damaged log may name any number */
            roaring_bitmap_add_range(rows, (uint64_t)first,
                                     (uint64_t)(n < end - first ? first + n : end));
        }
    }
}

/* Rows [from, to) as the table has them now. */
static int snapshot_read_range(const struct snapshot_work *w, const uint32_t range[2],
                               u2i_error_t *err) {
    struct bind b = bind_start(w->conn, SQL_VECTORS_RANGE, err);
    bool more;
    bind_int(&b, range[0]);
    bind_int(&b, range[1]);
    int rc = bind_step(&b, &more, err);
    for (uint32_t row = range[0]; row < range[1] && rc == U2I_OK; row++) {
        const bool present = more && sqlite3_column_int64(b.statement, 0) == row;
        const void *p = present ? load_vector(w->store, b.statement, 2, row) : NULL;
        if (p == NULL) {
            index_remove(w->vectors, row);
        } else {
            memcpy(w->room, p,
                   w->store->base.dim * sizeof *w->room); /* in a page it lies unaligned */
            rc = index_set(w->vectors, row, w->room, err);
        }
        if (present && rc == U2I_OK) {
            rc = bind_step(&b, &more, err);
        }
    }
    bind_end(&b);
    return rc;
}

static int snapshot_replay(const struct snapshot_work *w, const roaring_bitmap_t *rows,
                           u2i_error_t *err) {
    roaring_uint32_iterator_t it;
    roaring_init_iterator(rows, &it);
    while (it.has_value) {
        uint32_t range[2] = {it.current_value, it.current_value};
        while (it.has_value && it.current_value == range[1]) {
            range[1]++;
            roaring_advance_uint32_iterator(&it);
        }
        U2I_TRY(snapshot_read_range(w, range, err));
    }
    return U2I_OK;
}

int snapshot_catch_up(const struct snapshot_work *w, const struct hnsw_stamp *stamp, bool *usable,
                      u2i_error_t *err) {
    U2I_TRY(snapshot_judge(w->store, w->conn, stamp, usable, err));
    if (!*usable) {
        return U2I_OK;
    }
    roaring_bitmap_t *rows = roaring_bitmap_create();
    if (rows == NULL) {
        return error_oom(err);
    }
    int rc = snapshot_changed(w->conn, stamp->sequence, rows, err);
    if (rc == U2I_OK) {
        rc = snapshot_replay(w, rows, err);
    }
    if (rc == U2I_OK) {
        log_line(&w->store->log, U2I_LOG_DEBUG, "%s: %u vectors, %llu rows read again",
                 w->store->index_path, index_count(w->vectors),
                 (unsigned long long)roaring_bitmap_get_cardinality(rows));
    }
    roaring_bitmap_free(rows);
    return rc;
}
