/* The transaction in the making; see txn.h.
 *
 * The change log (table changes) names what other processes have to read again. Neighbouring rows of
 * a kind become one entry, so that an import of a million items is a few entries; it is pruned to its
 * newest CHANGE_LOG_KEEP, and a process that missed more than that loads everything anew. */
#include "txn.h"

#include "base/alloc.h"
#include <assert.h>

enum {
    CHANGE_LOG_KEEP = 50000, /* entries left by pruning */
    CHANGE_LOG_MAX = 100000, /* pruned when it has more */
};

int txn_init(struct txn *t, struct lite *store, struct conn *conn, u2i_error_t *err) {
    *t = (struct txn){.store = store, .conn = conn};
    struct bind b = bind_start(conn, SQL_CHANGES_COUNT, err);
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    t->changes_n = row ? (uint64_t)sqlite3_column_int64(b.statement, 0) : 0;
    bind_end(&b);
    t->born = roaring_bitmap_create();
    t->died = roaring_bitmap_create();
    t->gone = roaring_bitmap_create();
    if (t->born == NULL || t->died == NULL || t->gone == NULL) {
        return error_oom(err);
    }
    return U2I_OK;
}

void txn_free(struct txn *t) {
    for (int i = 0; i < CATALOGUE_NAMES_N; i++) {
        intern_free(t->names[i]);
    }
    roaring_bitmap_t *const maps[] = {t->born, t->died, t->gone};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        if (maps[i] != NULL) {
            roaring_bitmap_free(maps[i]);
        }
    }
    mem_free(t->rows);
    *t = (struct txn){0};
}

int txn_reset(struct txn *t, u2i_error_t *err) {
    const struct catalogue *c = t->store->catalogue;
    for (int i = 0; i < CATALOGUE_NAMES_N; i++) {
        if (t->names[i] == NULL || intern_end(t->names[i]) > 0) {
            intern_free(t->names[i]);
            t->names[i] = intern_new();
            if (t->names[i] == NULL) {
                return error_oom(err);
            }
        }
        t->first[i] = t->end[i] = c->end[i];
    }
    roaring_bitmap_clear(t->born);
    roaring_bitmap_clear(t->died);
    roaring_bitmap_clear(t->gone);
    t->sequence = c->sequence;
    t->events = c->events;
    t->removed = false;
    t->moved = false;
    t->rows_n = 0;
    t->run.n = 0;
    return U2I_OK;
}

/* ---- Names ---------------------------------------------------------------------------------- */

uint32_t txn_find(const struct txn *t, enum catalogue_names kind, const char *name, size_t n) {
    const uint32_t old = intern_find(t->store->catalogue->names[kind], name, n);
    if (old != INTERN_NONE && !(kind == CATALOGUE_USERS && roaring_bitmap_contains(t->gone, old))) {
        return old;
    }
    if (t->end[kind] == t->first[kind]) {
        return STORE_NONE;
    }
    const uint32_t new = intern_find(t->names[kind], name, n);
    return new == INTERN_NONE ? STORE_NONE : t->first[kind] + new;
}

int txn_add(struct txn *t, enum catalogue_names kind, const char *name, size_t n, uint32_t *number,
            u2i_error_t *err) {
    static const enum change_kind change[CATALOGUE_NAMES_N] = {CHANGE_ITEMS, CHANGE_USERS,
                                                               CHANGE_ACTIONS};
    const uint32_t limit = kind == CATALOGUE_ACTIONS ? UINT16_MAX : STORE_NONE - 1;
    *number = t->end[kind];
    if (*number >= limit) {
        return error_set(err, U2I_EINVAL, "no number is left for '%s': %u are given", name, limit);
    }
    if (intern_put(t->names[kind], *number - t->first[kind], name, n) != U2I_OK) {
        return error_oom(err);
    }
    t->end[kind]++;
    return txn_note(t, change[kind], *number, err);
}

void txn_drop_user(struct txn *t, uint32_t row) {
    if (row < t->first[CATALOGUE_USERS]) {
        roaring_bitmap_add(t->gone, row);
    } else {
        intern_remove(t->names[CATALOGUE_USERS], row - t->first[CATALOGUE_USERS]);
    }
}

bool txn_live(const struct txn *t, uint32_t row) {
    if (roaring_bitmap_contains(t->born, row)) {
        return true;
    }
    return catalogue_live(t->store->catalogue, row) && !roaring_bitmap_contains(t->died, row);
}

void txn_set_live(struct txn *t, uint32_t row, bool live) {
    roaring_bitmap_add(live ? t->born : t->died, row);
    roaring_bitmap_remove(live ? t->died : t->born, row);
}

int txn_apply_names(const struct txn *t, struct catalogue *c) {
    roaring_uint32_iterator_t it;
    roaring_init_iterator(t->gone, &it);
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        catalogue_unname(c, CATALOGUE_USERS, it.current_value);
    }
    for (int k = 0; k < CATALOGUE_NAMES_N; k++) {
        for (uint32_t i = 0; i < t->end[k] - t->first[k]; i++) {
            size_t n;
            const char *name = intern_name(t->names[k], i, &n);
            if (name != NULL) {
                U2I_TRY(catalogue_name(c, (enum catalogue_names)k, t->first[k] + i, name, n));
            }
        }
        c->end[k] = t->end[k];
    }
    return U2I_OK;
}

/* ---- The change log ------------------------------------------------------------------------- */

static int txn_flush_run(struct txn *t, u2i_error_t *err) {
    if (t->run.n == 0) {
        return U2I_OK;
    }
    struct bind b = bind_start(t->conn, SQL_CHANGE_INSERT, err);
    bind_int(&b, (int64_t)++t->sequence);
    bind_int(&b, t->run.kind);
    bind_int(&b, t->run.row);
    bind_int(&b, t->run.n);
    t->run.n = 0;
    t->changes_n++;
    return bind_run(&b, err);
}

int txn_note(struct txn *t, enum change_kind kind, uint32_t row, u2i_error_t *err) {
    if (t->run.n > 0 && t->run.kind == kind && t->run.row + t->run.n == row) {
        t->run.n++;
        return U2I_OK;
    }
    U2I_TRY(txn_flush_run(t, err));
    t->run.kind = kind;
    t->run.row = row;
    t->run.n = 1;
    return U2I_OK;
}

static int txn_prune(struct txn *t, u2i_error_t *err) {
    struct bind b = bind_start(t->conn, SQL_CHANGES_FLOOR, err);
    bind_int(&b, CHANGE_LOG_KEEP);
    bool row;
    U2I_TRY(bind_step(&b, &row, err));
    if (!row) { /* others have pruned: fewer than this process counted */
        t->changes_n = CHANGE_LOG_KEEP;
        return U2I_OK;
    }
    const int64_t floor = sqlite3_column_int64(b.statement, 0);
    bind_end(&b);
    struct bind prune = bind_start(t->conn, SQL_CHANGES_PRUNE, err);
    bind_int(&prune, floor);
    U2I_TRY(bind_run(&prune, err));
    t->changes_n = CHANGE_LOG_KEEP;
    return conn_set_meta_int(t->conn, "changes_pruned", (uint64_t)floor, err);
}

int txn_finish(struct txn *t, u2i_error_t *err) {
    U2I_TRY(txn_flush_run(t, err));
    assert(t->sequence >= t->store->catalogue->sequence);
    if (t->changes_n > CHANGE_LOG_MAX) {
        U2I_TRY(txn_prune(t, err));
    }
    if (t->removed) {
        U2I_TRY(conn_set_meta_int(t->conn, "removed_sequence", t->sequence, err));
    }
    U2I_TRY(conn_set_meta_int(t->conn, "sequence", t->sequence, err));
    return conn_set_meta_int(t->conn, "events", t->events, err);
}
