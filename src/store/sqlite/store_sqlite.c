/* The store on a SQLite file: durable tables, and everything that a search needs in memory. See
 * docs/file-format.md for the file and sqlite_internal.h for the parts and locks. */
#include "snapshot.h"
#include "sqlite_internal.h"
#include "writer.h"

#include "base/alloc.h"
#include <stdio.h>
#include <sys/stat.h>

enum { LITE_OPEN_TRIES = 10 };

/* ---- The listener --------------------------------------------------------------------------- */

void lite_tell_events(const struct lite *l, const struct store_event_row *rows, size_t n) {
    if (n > 0 && l->listener.events != NULL) {
        l->listener.events(l->listener.ctx, rows, n);
    }
}

void lite_tell_user_deleted(const struct lite *l, uint32_t user, const struct store_event_row *rows,
                            size_t n) {
    if (l->listener.user_deleted != NULL) {
        l->listener.user_deleted(l->listener.ctx, user, rows, n);
    }
}

void lite_tell_user(const struct lite *l, uint32_t user) {
    if (l->listener.user_changed != NULL) {
        l->listener.user_changed(l->listener.ctx, user);
    }
}

void lite_tell_item(const struct lite *l, uint32_t item) {
    if (l->listener.item_changed != NULL) {
        l->listener.item_changed(l->listener.ctx, item);
    }
}

void lite_tell_settings(const struct lite *l) {
    if (l->listener.settings_changed != NULL) {
        l->listener.settings_changed(l->listener.ctx);
    }
}

void lite_tell_reset(const struct lite *l) {
    if (l->listener.reset != NULL) {
        l->listener.reset(l->listener.ctx);
    }
}

/* ---- Read sections -------------------------------------------------------------------------- */

static int lite_read_begin(struct store *s, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    U2I_TRY(follow_refresh(l, err));
    (void)pthread_rwlock_rdlock(&l->lock);
    return U2I_OK;
}

static void lite_read_end(struct store *s) {
    (void)pthread_rwlock_unlock(&lite_of(s)->lock);
}

static void lite_alone(struct store *s, void (*fn)(void *ctx), void *ctx) {
    struct lite *l = lite_of(s);
    (void)pthread_rwlock_wrlock(&l->lock);
    fn(ctx);
    (void)pthread_rwlock_unlock(&l->lock);
}

static const struct catalogue *lite_catalogue(struct store *s) {
    return lite_of(s)->catalogue;
}

static uint64_t lite_sequence(struct store *s) {
    return lite_catalogue(s)->sequence;
}

static uint32_t lite_item_row(struct store *s, const char *id) {
    return intern_find(lite_catalogue(s)->names[CATALOGUE_ITEMS], id, strlen(id));
}

static uint32_t lite_user_row(struct store *s, const char *id) {
    return intern_find(lite_catalogue(s)->names[CATALOGUE_USERS], id, strlen(id));
}

static const char *lite_item_id(struct store *s, uint32_t row) {
    return intern_name(lite_catalogue(s)->names[CATALOGUE_ITEMS], row, NULL);
}

static const char *lite_user_id(struct store *s, uint32_t row) {
    return intern_name(lite_catalogue(s)->names[CATALOGUE_USERS], row, NULL);
}

static const char *lite_action_name(struct store *s, uint16_t number) {
    return intern_name(lite_catalogue(s)->names[CATALOGUE_ACTIONS], number, NULL);
}

static uint32_t lite_user_end(struct store *s) {
    return lite_catalogue(s)->end[CATALOGUE_USERS];
}

static uint32_t lite_item_end(struct store *s) {
    return lite_catalogue(s)->end[CATALOGUE_ITEMS];
}

static bool lite_item_live(struct store *s, uint32_t row) {
    return catalogue_live(lite_catalogue(s), row);
}

static const float *lite_vector(struct store *s, enum store_space space, uint32_t row) {
    const struct catalogue *c = lite_catalogue(s);
    const struct index *const vectors = space == STORE_TASTE ? c->taste : c->vectors;
    return vectors == NULL ? NULL : index_vector(vectors, row);
}

static int lite_search(struct store *s, const struct store_search *q, struct hit *out, uint32_t *n,
                       u2i_error_t *err) {
    return catalogue_search(lite_catalogue(s), q, out, n, err);
}

static int lite_rank(struct store *s, const struct store_rank *q, struct hit *out, uint32_t *n,
                     u2i_error_t *err) {
    return catalogue_rank(lite_catalogue(s), q, out, n, err);
}

static int lite_matches(struct store *s, const struct filter *filter, const roaring_bitmap_t *among,
                        roaring_bitmap_t **out, u2i_error_t *err) {
    return catalogue_matches(lite_catalogue(s), filter, among, out, err);
}

static int lite_match(struct store *s, const struct filter *filter, const uint32_t *rows,
                      uint32_t n, bool *passes, u2i_error_t *err) {
    return catalogue_match(lite_catalogue(s), filter, rows, n, passes, err);
}

static int lite_attr(struct store *s, const struct attr_path *path, const uint32_t *rows,
                     uint32_t n, struct attr_value *out, u2i_error_t *err) {
    return catalogue_attr(lite_catalogue(s), path, rows, n, out, err);
}

/* ---- The index ------------------------------------------------------------------------------ */

static void lite_configure_index(struct store *s, const struct index_config *config) {
    struct lite *l = lite_of(s);
    (void)pthread_rwlock_wrlock(&l->lock);
    l->index_config = *config;
    index_configure(l->catalogue->vectors, config);
    if (l->catalogue->taste != NULL) {
        index_configure(l->catalogue->taste, config);
    }
    (void)pthread_rwlock_unlock(&l->lock);
}

static int lite_build_index(struct store *s, u2i_progress_fn progress, void *ctx,
                            u2i_error_t *err) {
    struct lite *l = lite_of(s);
    U2I_TRY(follow_refresh(l, err));
    (void)pthread_rwlock_rdlock(&l->building); /* so that nobody frees it meanwhile */
    (void)pthread_rwlock_rdlock(&l->lock);
    struct index *vectors = l->catalogue->vectors;
    (void)pthread_rwlock_unlock(&l->lock);
    const int rc = index_build(vectors, progress, ctx, err);
    (void)pthread_rwlock_unlock(&l->building);
    return rc;
}

static int lite_exchange_taste(struct store *s, const struct store_vectors *v,
                               void (*swap)(void *ctx), void *ctx, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    struct index *fresh = NULL;
    if (v != NULL) {
        (void)pthread_rwlock_rdlock(&l->lock);
        const struct index_config config = l->index_config;
        (void)pthread_rwlock_unlock(&l->lock);
        const struct store_taste_options opt = {&config, &l->lock, l->log, l->taste_path,
                                                !l->readonly};
        if (!l->readonly && v->n > config.exact_max) {
            snapshot_make_folder(l);
        }
        U2I_TRY(store_taste_new(v, &opt, &fresh, err));
    }
    (void)pthread_rwlock_wrlock(&l->lock);
    struct index *const old = catalogue_exchange_taste(l->catalogue, fresh, v == NULL ? 0 : v->dim);
    swap(ctx);
    (void)pthread_rwlock_unlock(&l->lock);
    index_free(old);
    return U2I_OK;
}

static int lite_put_taste(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                          uint32_t dim, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    (void)pthread_rwlock_wrlock(&l->lock);
    const int rc = catalogue_put_taste(l->catalogue, rows, vectors, n, dim, err);
    (void)pthread_rwlock_unlock(&l->lock);
    return rc;
}

void lite_free_retired(struct lite *l) {
    if (!atomic_load(&l->any_retired) || pthread_rwlock_trywrlock(&l->building) != 0) {
        return;
    }
    (void)pthread_mutex_lock(&l->turn);
    struct catalogue *old = l->retired;
    l->retired = NULL;
    atomic_store(&l->any_retired, false);
    (void)pthread_mutex_unlock(&l->turn);
    while (old != NULL) {
        struct catalogue *next = old->next;
        catalogue_free(old);
        old = next;
    }
    (void)pthread_rwlock_unlock(&l->building);
}

/* ---- Statistics ----------------------------------------------------------------------------- */

static uint64_t lite_file_bytes(const struct lite *l) {
    static const char *const parts[] = {"", "-wal"};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[4096];
        struct stat st;
        const int n = snprintf(name, sizeof name, "%s%s", l->path, parts[i]);
        if (n > 0 && (size_t)n < sizeof name && stat(name, &st) == 0) {
            bytes += (uint64_t)st.st_size;
        }
    }
    return bytes;
}

/* How many ids events name though there is no such item (any more): a walk over all events, but only
 * where an item was deleted or never came. */
static int lite_count_unknown(struct lite *l, uint64_t *out, u2i_error_t *err) {
    struct conn *c;
    U2I_TRY(reader_take(l, &c, err));
    struct bind b = bind_start(c, SQL_EVENTS_UNKNOWN, err);
    bool row;
    const int rc = bind_step(&b, &row, err);
    *out = rc == U2I_OK && row ? (uint64_t)sqlite3_column_int64(b.statement, 0) : 0;
    bind_end(&b);
    reader_give(l, c);
    return rc;
}

static int lite_stats(struct store *s, struct store_stats *out, u2i_error_t *err) {
    struct lite *l = lite_of(s);
    *out = (struct store_stats){0};
    U2I_TRY(lite_read_begin(s, err));
    const struct catalogue *c = l->catalogue;
    struct index_stats index;
    index_stats(c->vectors, &index);
    const uint64_t live = roaring_bitmap_get_cardinality(c->live);
    *out = (struct store_stats){
        .items = live,
        .items_no_vector = live - index_count(c->vectors),
        .users = intern_count(c->names[CATALOGUE_USERS]),
        .events = c->events,
        .sequence = c->sequence,
        .removed_sequence = c->removed_sequence,
        .memory_bytes = sizeof *l + catalogue_bytes(c),
        .index_items = index.graph,
        .index_pending = index.flat,
        .index_bytes = index_bytes(c->vectors),
        .index_mapped_bytes = index.mapped_bytes,
        .index_ef = index.ef_10,
    };
    const bool all_live = intern_count(c->names[CATALOGUE_ITEMS]) == live;
    lite_read_end(s);
    out->file_bytes = lite_file_bytes(l);
    return all_live ? U2I_OK : lite_count_unknown(l, &out->items_unknown, err);
}

/* ---- Life ----------------------------------------------------------------------------------- */

static void lite_free(struct lite *l) {
    reader_close_all(l);
    conn_close(&l->watch);
    catalogue_free(l->catalogue);
    (void)pthread_mutex_destroy(&l->pool.lock);
    (void)pthread_rwlock_destroy(&l->lock);
    (void)pthread_rwlock_destroy(&l->building);
    (void)pthread_mutex_destroy(&l->watch_lock);
    (void)pthread_cond_destroy(&l->turn_ended);
    (void)pthread_mutex_destroy(&l->turn);
    mem_free(l->index_path);
    mem_free(l->taste_path);
    mem_free(l->path);
    mem_free(l);
}

static int lite_close(struct store *s) {
    struct lite *l = lite_of(s);
    if (l == NULL) {
        return U2I_OK;
    }
    /* The index first: its thread may be reading, or waiting for the writer. */
    do { /* and the writer may replace the catalogue while that thread waits for it */
        lite_free_retired(l);
        (void)pthread_rwlock_rdlock(&l->lock);
        struct catalogue *const c = l->catalogue;
        (void)pthread_rwlock_unlock(&l->lock);
        catalogue_stop(c);
    } while (atomic_load(&l->any_retired));
    /* Then readers: the last connection to close is the writer's, which then takes the log and
     * its index away, and one file is left. */
    reader_close_all(l);
    conn_close(&l->watch);
    const int rc = writer_stop(l->writer);
    lite_free(l);
    return rc;
}

static const struct store_ops lite_ops = {
    .name = "sqlite",
    .put_items = change_put_items,
    .put_vectors = change_put_vectors,
    .delete_items = change_delete_items,
    .put_events = change_put_events,
    .put_users = change_put_users,
    .delete_user = change_delete_user,
    .put_setting = change_put_setting,
    .put_blob = change_put_blob,
    .lock = lite_lock,
    .unlock = lite_unlock,
    .next_begin = renewal_begin,
    .next_items = renewal_items,
    .next_state = renewal_state,
    .next_put = renewal_put,
    .next_use = renewal_use,
    .next_drop = renewal_drop,
    .alone = lite_alone,
    .exchange_taste = lite_exchange_taste,
    .put_taste = lite_put_taste,
    .scan_items = scan_items,
    .scan_events = scan_events,
    .scan_users = scan_users,
    .scan_settings = scan_settings,
    .get_blob = reader_get_blob,
    .stats = lite_stats,
    .verify = verify_store,
    .configure_index = lite_configure_index,
    .build_index = lite_build_index,
    .read_begin = lite_read_begin,
    .read_end = lite_read_end,
    .sequence = lite_sequence,
    .item_row = lite_item_row,
    .user_row = lite_user_row,
    .item_id = lite_item_id,
    .user_id = lite_user_id,
    .action_name = lite_action_name,
    .user_end = lite_user_end,
    .item_end = lite_item_end,
    .item_live = lite_item_live,
    .vector = lite_vector,
    .search = lite_search,
    .rank = lite_rank,
    .matches = lite_matches,
    .match = lite_match,
    .attr = lite_attr,
    .get_item = reader_get_item,
    .get_user = reader_get_user,
    .user_events = reader_user_events,
    .close = lite_close,
};

static struct lite *lite_new(const char *path, const struct store_options *opt) {
    struct lite *l = mem_zalloc(sizeof *l);
    if (l == NULL) {
        return NULL;
    }
    l->base.ops = &lite_ops;
    l->log = opt->log;
    l->listener = opt->listener;
    l->watch_version = -1;
    l->index_config = (struct index_config)INDEX_CONFIG_INIT;
    atomic_store(&l->settings_moved, true);
    (void)pthread_mutex_init(&l->turn, NULL); /* default ones cannot fail on Linux */
    (void)pthread_cond_init(&l->turn_ended, NULL);
    (void)pthread_mutex_init(&l->watch_lock, NULL);
    (void)pthread_mutex_init(&l->pool.lock, NULL);
    l->path = str_dup(path, strlen(path));
    if (rwlock_init(&l->lock) != U2I_OK || rwlock_init(&l->building) != U2I_OK || l->path == NULL) {
        lite_free(l);
        return NULL;
    }
    return l;
}

static int lite_name_index(struct lite *l, u2i_error_t *err) {
    struct buf name = {0};
    buf_printf(&name, "%s-index/content.hnsw", l->path);
    l->index_path = name.failed ? NULL : str_dup(name.data, name.len);
    buf_reset(&name);
    buf_printf(&name, "%s-index/taste.hnsw", l->path);
    l->taste_path = name.failed ? NULL : str_dup(name.data, name.len);
    buf_free(&name);
    return l->index_path == NULL || l->taste_path == NULL ? error_oom(err) : U2I_OK;
}

static int lite_open(const char *path, const struct store_options *opt, struct store **out,
                     u2i_error_t *err) {
    struct conn writer = {0};
    struct lite *l = lite_new(path, opt);
    if (l == NULL) {
        return error_oom(err);
    }
    int rc = dbfile_open(l, opt, &writer, err);
    if (rc == U2I_OK) {
        rc = lite_name_index(l, err);
    }
    if (rc == U2I_OK) {
        rc = load_catalogue(l, &l->catalogue, err);
    }
    if (rc == U2I_OK) {
        atomic_store(&l->applied, l->catalogue->sequence);
        rc = l->readonly ? U2I_OK : writer_start(l, &writer, &l->writer, err);
    }
    if (rc != U2I_OK) {
        reader_close_all(l);
        conn_close(&l->watch);
        conn_close(&writer);
        lite_free(l);
        return rc;
    }
    index_start(l->catalogue->vectors, !l->readonly);
    *out = &l->base;
    return U2I_OK;
}

int store_sqlite_open(const char *path, const struct store_options *opt, struct store **out,
                      u2i_error_t *err) {
    *out = NULL;
    int rc = STORE_MOVED;
    for (int i = 0; i < LITE_OPEN_TRIES && rc == STORE_MOVED; i++) { /* it may move meanwhile */
        rc = lite_open(path, opt, out, err);
    }
    return rc == STORE_MOVED
               ? error_set(err, U2I_EBUSY, "%s gets one other model after the other", path)
               : rc;
}
