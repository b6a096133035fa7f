/* The store that lives as long as its handle: ":memory:", and the oracle of the other stores. The
 * ideas are in memory_internal.h. This file opens and closes it, and holds its table of functions
 * with those that are one line long. */
#include "store/memory/memory_internal.h"
#include <stdio.h>

void memory_item_clear(struct memory_item *item) {
    mem_free(item->title);
    mem_free(item->text);
    mem_free(item->category);
    mem_free(item->attrs_json);
    mem_free(item->vector);
    attrs_free(item->attrs);
    *item = (struct memory_item){0};
}

void memory_user_clear(struct memory_user *user) {
    mem_free(user->interests);
    mem_free(user->attrs_json);
    *user = (struct memory_user){0};
}

static void memory_entries_free(struct memory_entries *list) {
    for (size_t i = 0; i < list->n; i++) {
        mem_free(list->entries[i].name);
        mem_free(list->entries[i].value);
    }
    mem_free(list->entries);
}

static int memory_close(struct store *s) {
    struct memory_store *m = memory_of(s);
    index_free(m->index); /* first: its thread uses the lock */
    index_free(m->taste);
    for (size_t i = 0; i < m->item_names.n; i++) {
        memory_item_clear(&m->items[i]);
    }
    for (size_t i = 0; i < m->user_names.n; i++) {
        memory_user_clear(&m->users[i]);
    }
    mem_free(m->items);
    mem_free(m->users);
    mem_free(m->events);
    memory_names_free(&m->item_names);
    memory_names_free(&m->user_names);
    memory_names_free(&m->actions);
    memory_names_free(&m->event_ids);
    memory_entries_free(&m->settings);
    memory_entries_free(&m->blobs);
    (void)pthread_rwlock_destroy(&m->lock); /* fails only while held, which the contract forbids */
    mem_free(m);
    return U2I_OK;
}

/* ---- Read sections ---------------------------------------------------------------------------- */

static void memory_alone(struct store *s, void (*fn)(void *ctx), void *ctx) {
    struct memory_store *m = (struct memory_store *)s;
    (void)pthread_rwlock_wrlock(&m->lock);
    fn(ctx);
    (void)pthread_rwlock_unlock(&m->lock);
}

static int memory_read_begin(struct store *s, u2i_error_t *err) {
    const int rc = pthread_rwlock_rdlock(&memory_of(s)->lock);
    return rc == 0 ? U2I_OK : error_set(err, U2I_EINTERNAL, "read lock: error %d", rc);
}

static void memory_read_end(struct store *s) {
    (void)pthread_rwlock_unlock(&memory_of(s)->lock); /* fails only if it is not held */
}

static uint64_t memory_sequence(struct store *s) {
    return memory_of(s)->sequence;
}

static uint32_t memory_item_row(struct store *s, const char *id) {
    return memory_names_find(&memory_of(s)->item_names, id);
}

static uint32_t memory_user_row(struct store *s, const char *id) {
    return memory_names_find(&memory_of(s)->user_names, id);
}

static const char *memory_item_id(struct store *s, uint32_t row) {
    return memory_names_text(&memory_of(s)->item_names, row);
}

static const char *memory_user_id(struct store *s, uint32_t row) {
    return memory_names_text(&memory_of(s)->user_names, row);
}

static const char *memory_action_name(struct store *s, uint16_t number) {
    return memory_names_text(&memory_of(s)->actions, number);
}

static uint32_t memory_user_end(struct store *s) {
    return (uint32_t)memory_of(s)->user_names.n;
}

static uint32_t memory_item_end(struct store *s) {
    return (uint32_t)memory_of(s)->item_names.n;
}

static bool memory_item_live(struct store *s, uint32_t row) {
    const struct memory_store *m = memory_of(s);
    return row < m->item_names.n && m->items[row].live;
}

static const float *memory_vector(struct store *s, enum store_space space, uint32_t row) {
    const struct memory_store *m = memory_of(s);
    if (space == STORE_TASTE) {
        return m->taste == NULL ? NULL : index_vector(m->taste, row);
    }
    return row < m->item_names.n ? m->items[row].vector : NULL;
}

/* There is no other handle, and its engine does not begin twice. */
static int memory_lock(struct store *s, const char *what, int *lock, u2i_error_t *err) {
    (void)s;
    (void)what;
    (void)err;
    *lock = 0;
    return U2I_OK;
}

static void memory_unlock(struct store *s, int lock) {
    (void)s;
    (void)lock;
}

/* ---- Opening ---------------------------------------------------------------------------------- */

static const struct store_ops memory_ops = {
    .name = "memory",
    .put_items = memory_put_items,
    .put_vectors = memory_put_vectors,
    .delete_items = memory_delete_items,
    .put_events = memory_put_events,
    .put_users = memory_put_users,
    .delete_user = memory_delete_user,
    .put_setting = memory_put_setting,
    .put_blob = memory_put_blob,
    .lock = memory_lock,
    .unlock = memory_unlock,
    .alone = memory_alone,
    .exchange_taste = memory_exchange_taste,
    .put_taste = memory_put_taste,
    .scan_items = memory_scan_items,
    .scan_events = memory_scan_events,
    .scan_users = memory_scan_users,
    .scan_settings = memory_scan_settings,
    .get_blob = memory_get_blob,
    .stats = memory_stats,
    .verify = memory_verify,
    .configure_index = memory_configure_index,
    .build_index = memory_build_index,
    .read_begin = memory_read_begin,
    .read_end = memory_read_end,
    .sequence = memory_sequence,
    .item_row = memory_item_row,
    .user_row = memory_user_row,
    .item_id = memory_item_id,
    .user_id = memory_user_id,
    .action_name = memory_action_name,
    .user_end = memory_user_end,
    .item_end = memory_item_end,
    .item_live = memory_item_live,
    .vector = memory_vector,
    .search = memory_search,
    .rank = memory_rank,
    .matches = memory_matches,
    .match = memory_match,
    .attr = memory_attr,
    .get_item = memory_get_item,
    .get_user = memory_get_user,
    .user_events = memory_user_events,
    .close = memory_close,
};

int store_memory_open(const struct store_options *opt, struct store **out, u2i_error_t *err) {
    *out = NULL;
    if (opt->dim == 0 || opt->dim > U2I_DIM_MAX) {
        return error_set(err, U2I_EINVAL, "dim %u is not in 1..%d", opt->dim, U2I_DIM_MAX);
    }
    if ((opt->flags & U2I_OPEN_EXISTING) != 0) {
        return error_set(err, U2I_ENOTFOUND, "a store in memory is always a new one");
    }
    struct memory_store *m = mem_zalloc(sizeof *m);
    if (m == NULL) {
        return error_oom(err);
    }
    if (rwlock_init(&m->lock) != U2I_OK) {
        mem_free(m);
        return error_oom(err);
    }
    const struct index_options vectors = {.dim = opt->dim,
                                          .metric = HNSW_COSINE,
                                          .config = INDEX_CONFIG_INIT,
                                          .lock = &m->lock,
                                          .log = opt->log,
                                          .name = "content"};
    const int rc = index_new(&vectors, &m->index, err);
    if (rc != U2I_OK) {
        (void)pthread_rwlock_destroy(&m->lock);
        mem_free(m);
        return rc;
    }
    m->config = vectors.config;
    m->log = opt->log;
    index_start(m->index, false);
    m->base.ops = &memory_ops;
    m->base.dim = opt->dim;
    (void)snprintf(m->base.model, sizeof m->base.model, "%s", /* a longer name is cut */
                   opt->model != NULL ? opt->model : "none");
    m->listener = opt->listener;
    m->readonly = (opt->flags & U2I_OPEN_READONLY) != 0;
    *out = &m->base;
    return U2I_OK;
}
