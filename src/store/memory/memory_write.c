/* Writes to the memory store. Each has three parts: copy and check what came in, outside of the
 * lock; then, holding the lock alone, add the names and rows that are new, which may run out of
 * memory and is then undone by cutting the arrays back; then swap in the copies and tell the
 * listener, which cannot fail. */
#include "store/memory/memory_internal.h"

static int memory_write_begin(struct memory_store *m, u2i_error_t *err) {
    if (m->readonly) {
        return error_set(err, U2I_EREADONLY, "the store was opened for reading only");
    }
    const int rc = pthread_rwlock_wrlock(&m->lock);
    return rc == 0 ? U2I_OK : error_set(err, U2I_EINTERNAL, "write lock: error %d", rc);
}

static void memory_write_end(struct memory_store *m) {
    (void)pthread_rwlock_unlock(&m->lock); /* fails only if it is not held */
}

/* ---- Undoing ---------------------------------------------------------------------------------- */

struct memory_mark {
    size_t items, users, actions, event_ids, events;
};

static struct memory_mark memory_mark_now(const struct memory_store *m) {
    return (struct memory_mark){m->item_names.n, m->user_names.n, m->actions.n, m->event_ids.n,
                                m->events_n};
}

/* Rows added since the mark hold nothing yet but their name. */
static void memory_cut_back(struct memory_store *m, const struct memory_mark *mark) {
    memory_names_cut(&m->item_names, mark->items);
    memory_names_cut(&m->user_names, mark->users);
    memory_names_cut(&m->actions, mark->actions);
    memory_names_cut(&m->event_ids, mark->event_ids);
    m->events_n = mark->events;
}

/* ---- Rows by name, made when new ---------------------------------------------------------------- */

static int memory_intern_item(struct memory_store *m, const char *id, uint32_t *row) {
    *row = memory_names_find(&m->item_names, id);
    if (*row != STORE_NONE) {
        return U2I_OK;
    }
    U2I_TRY(array_reserve(&m->items, &m->items_cap, m->item_names.n + 1, sizeof *m->items));
    U2I_TRY(memory_names_add(&m->item_names, id, row));
    m->items[*row] = (struct memory_item){0};
    return U2I_OK;
}

static int memory_intern_user(struct memory_store *m, const char *id, uint32_t *row) {
    *row = memory_names_find(&m->user_names, id);
    if (*row != STORE_NONE) {
        return U2I_OK;
    }
    U2I_TRY(array_reserve(&m->users, &m->users_cap, m->user_names.n + 1, sizeof *m->users));
    U2I_TRY(memory_names_add(&m->user_names, id, row));
    m->users[*row] = (struct memory_user){0};
    return U2I_OK;
}

static int memory_intern_action(struct memory_store *m, const char *name, uint16_t *number,
                                u2i_error_t *err) {
    uint32_t found = memory_names_find(&m->actions, name);
    if (found == STORE_NONE) {
        if (m->actions.n >= UINT16_MAX) {
            return error_set(err, U2I_EINVAL, "more than %d different actions", UINT16_MAX);
        }
        if (memory_names_add(&m->actions, name, &found) != U2I_OK) {
            return error_oom(err);
        }
    }
    *number = (uint16_t)found;
    return U2I_OK;
}

/* NULL stays NULL. */
static int memory_copy_text(const char *text, char **out) {
    *out = text != NULL ? str_dup(text, strlen(text)) : NULL;
    return text == NULL || *out != NULL ? U2I_OK : U2I_ENOMEM;
}

/* ---- Items -------------------------------------------------------------------------------------- */

static int memory_copy_item(const struct memory_store *m, const struct store_item *in,
                            struct memory_item *out, u2i_error_t *err) {
    const size_t json_n = in->attrs_json != NULL ? strlen(in->attrs_json) : 0;
    U2I_TRY(attrs_parse(in->category, in->attrs_json, json_n, &out->attrs, err));
    if (in->vector != NULL) {
        out->vector = mem_dup(in->vector, m->base.dim * sizeof *in->vector);
    }
    if (memory_copy_text(in->title, &out->title) != U2I_OK ||
        memory_copy_text(in->text, &out->text) != U2I_OK ||
        memory_copy_text(in->category, &out->category) != U2I_OK ||
        memory_copy_text(in->attrs_json, &out->attrs_json) != U2I_OK ||
        (in->vector != NULL && out->vector == NULL)) {
        return error_oom(err);
    }
    out->embedding = in->vector != NULL ? in->embedding : 0; /* of what made the vector */
    out->live = true;
    return U2I_OK;
}

static int memory_copy_items(const struct memory_store *m, const struct store_item *in, size_t n,
                             struct memory_item *out, u2i_error_t *err) {
    for (size_t i = 0; i < n; i++) {
        const int rc = memory_copy_item(m, &in[i], &out[i], err);
        if (rc != U2I_OK) {
            if (err != NULL && rc == U2I_EINVAL) {
                err->offset = (int32_t)i;
            }
            return rc;
        }
    }
    return U2I_OK;
}

static int memory_intern_items(struct memory_store *m, const struct store_item *items, size_t n,
                               uint32_t *rows, u2i_error_t *err) {
    const struct memory_mark mark = memory_mark_now(m);
    for (size_t i = 0; i < n; i++) {
        if (memory_intern_item(m, items[i].id, &rows[i]) != U2I_OK) {
            memory_cut_back(m, &mark);
            return error_oom(err);
        }
    }
    return U2I_OK;
}

static void memory_tell_items(struct memory_store *m, const uint32_t *rows, size_t n) {
    m->sequence++;
    for (size_t i = 0; i < n && m->listener.item_changed != NULL; i++) {
        m->listener.item_changed(m->listener.ctx, rows[i]);
    }
}

int memory_put_items(struct store *s, const struct store_item *items, size_t n, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    uint32_t *rows = NULL;
    struct memory_item *fresh = alloc_array(n, sizeof *fresh);
    int rc = U2I_OK;
    if (fresh == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < n; i++) {
        fresh[i] = (struct memory_item){0};
    }
    rows = alloc_array(n, sizeof *rows);
    if (rows == NULL) {
        rc = error_oom(err);
        goto out;
    }
    rc = memory_copy_items(m, items, n, fresh, err);
    if (rc != U2I_OK) {
        goto out;
    }
    rc = memory_write_begin(m, err);
    if (rc != U2I_OK) {
        goto out;
    }
    rc = memory_intern_items(m, items, n, rows, err);
    if (rc == U2I_OK && n > 0) {
        for (size_t i = 0; i < n; i++) {
            const struct memory_item old = m->items[rows[i]];
            m->items[rows[i]] = fresh[i];
            m->vectors_n += (fresh[i].vector != NULL) - (old.vector != NULL);
            fresh[i] = old; /* freed below */
        }
        memory_index_rows(m, rows, n);
        memory_tell_items(m, rows, n);
    }
    memory_write_end(m);
out:
    for (size_t i = 0; i < n; i++) {
        memory_item_clear(&fresh[i]);
    }
    mem_free(fresh);
    mem_free(rows);
    return rc;
}

static void memory_free_vectors(float **copies, size_t n) {
    for (size_t i = 0; i < n && copies != NULL; i++) {
        mem_free(copies[i]);
    }
    mem_free(copies);
}

/* Each vector on its own, as the rows hold them; NULL = no memory. */
static float **memory_copy_vectors(const float *vectors, size_t n, size_t dim) {
    float **copies = alloc_array(n, sizeof *copies);
    for (size_t i = 0; i < n && copies != NULL; i++) {
        copies[i] = mem_dup(vectors + i * dim, dim * sizeof *vectors);
        if (copies[i] == NULL) {
            memory_free_vectors(copies, i);
            copies = NULL;
        }
    }
    return copies;
}

int memory_put_vectors(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                       uint32_t embedding, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    size_t changed_n = 0;
    int rc = U2I_OK;
    uint32_t *changed = alloc_array(n, sizeof *changed);
    float **copies = memory_copy_vectors(vectors, n, s->dim);
    if (changed == NULL || copies == NULL) {
        rc = error_oom(err);
        goto out;
    }
    rc = memory_write_begin(m, err);
    if (rc != U2I_OK) {
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        if (rows[i] < m->item_names.n && m->items[rows[i]].live) {
            float *old = m->items[rows[i]].vector;
            m->items[rows[i]].vector = copies[i];
            m->items[rows[i]].embedding = embedding;
            m->vectors_n += old == NULL;
            copies[i] = old; /* freed below */
            changed[changed_n++] = rows[i];
        }
    }
    if (changed_n > 0) {
        memory_index_rows(m, changed, changed_n);
        memory_tell_items(m, changed, changed_n);
    }
    memory_write_end(m);
out:
    memory_free_vectors(copies, n);
    mem_free(changed);
    return rc;
}

int memory_delete_items(struct store *s, const char *const *ids, size_t n, size_t *deleted,
                        u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    if (deleted != NULL) {
        *deleted = 0;
    }
    uint32_t *rows = alloc_array(n, sizeof *rows);
    if (rows == NULL) {
        return error_oom(err);
    }
    const int rc = memory_write_begin(m, err);
    if (rc != U2I_OK) {
        mem_free(rows);
        return rc;
    }
    size_t rows_n = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t row = memory_names_find(&m->item_names, ids[i]);
        if (row != STORE_NONE && m->items[row].live) {
            m->vectors_n -= m->items[row].vector != NULL;
            memory_item_clear(&m->items[row]); /* the row stays, with its name */
            rows[rows_n++] = row;
        }
    }
    if (rows_n > 0) {
        memory_index_rows(m, rows, rows_n);
        for (size_t i = 0; i < rows_n && m->taste != NULL; i++) {
            index_remove(m->taste, rows[i]);
        }
        memory_tell_items(m, rows, rows_n);
    }
    memory_write_end(m);
    mem_free(rows);
    if (deleted != NULL) {
        *deleted = rows_n;
    }
    return U2I_OK;
}

/* ---- Events ------------------------------------------------------------------------------------- */

static bool memory_item_is_live(const struct memory_store *m, const char *id) {
    const uint32_t row = memory_names_find(&m->item_names, id);
    return row != STORE_NONE && m->items[row].live;
}

static bool memory_event_known(const struct memory_store *m, const struct store_event *event) {
    return event->id != NULL && memory_names_find(&m->event_ids, event->id) != STORE_NONE;
}

/* An event that was recorded before is skipped whatever became of its item since: a retry changes
 * nothing, and does not fail either. */
static int memory_refuse_unknown(const struct memory_store *m, const struct store_events *in,
                                 u2i_error_t *err) {
    for (size_t i = 0; i < in->n; i++) {
        const struct store_event *event = &in->events[i];
        if (!memory_item_is_live(m, event->item) && !memory_event_known(m, event)) {
            return error_at(err, U2I_ENOTFOUND, (int32_t)i, "there is no item \"%s\"", event->item);
        }
    }
    return U2I_OK;
}

static int memory_add_event(struct memory_store *m, const struct store_event *event,
                            uint64_t next_seq, u2i_error_t *err) {
    struct memory_event fresh = {
        .row = {.seq = next_seq, .time_ms = event->time_ms, .value = event->value},
        .id = STORE_NONE};
    U2I_TRY(memory_intern_action(m, event->action, &fresh.row.action, err));
    if (memory_intern_item(m, event->item, &fresh.row.item) != U2I_OK ||
        memory_intern_user(m, event->user, &fresh.row.user) != U2I_OK ||
        (event->id != NULL && memory_names_add(&m->event_ids, event->id, &fresh.id) != U2I_OK) ||
        array_reserve(&m->events, &m->events_cap, m->events_n + 1, sizeof *m->events) != U2I_OK) {
        return error_oom(err);
    }
    m->events[m->events_n++] = fresh;
    return U2I_OK;
}

static int memory_add_events(struct memory_store *m, const struct store_events *in,
                             uint32_t *decay_user, u2i_error_t *err) {
    if (in->unknown == STORE_UNKNOWN_REFUSE) {
        U2I_TRY(memory_refuse_unknown(m, in, err));
    }
    const size_t before_n = m->events_n; /* each event has a number of its own */
    for (size_t i = 0; i < in->n; i++) {
        const struct store_event *event = &in->events[i];
        const bool wanted =
            in->unknown == STORE_UNKNOWN_KEEP || memory_item_is_live(m, event->item);
        if (wanted && !memory_event_known(m, event)) {
            U2I_TRY(memory_add_event(m, event, m->sequence + 1 + (m->events_n - before_n), err));
        }
    }
    if (in->user_decay > 0 && in->n > 0 &&
        memory_intern_user(m, in->events[0].user, decay_user) != U2I_OK) {
        return error_oom(err);
    }
    return U2I_OK;
}

/* The new events as the listener wants them: bare rows, one after the other. */
static struct store_event_row *memory_copy_rows(const struct memory_store *m, size_t from) {
    struct store_event_row *rows = alloc_array(m->events_n - from, sizeof *rows);
    for (size_t i = from; rows != NULL && i < m->events_n; i++) {
        rows[i - from] = m->events[i].row;
    }
    return rows;
}

int memory_put_events(struct store *s, const struct store_events *in, size_t *recorded,
                      u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    if (recorded != NULL) {
        *recorded = 0;
    }
    U2I_TRY(memory_write_begin(m, err));
    const struct memory_mark mark = memory_mark_now(m);
    uint32_t decay_user = STORE_NONE;
    struct store_event_row *rows = NULL;
    int rc = memory_add_events(m, in, &decay_user, err);
    if (rc == U2I_OK) {
        rows = memory_copy_rows(m, mark.events);
        rc = rows != NULL ? U2I_OK : error_oom(err);
    }
    const size_t rows_n = m->events_n - mark.events;
    if (rc != U2I_OK) {
        memory_cut_back(m, &mark);
    } else if (rows_n > 0 || decay_user != STORE_NONE) {
        m->sequence += rows_n + (decay_user != STORE_NONE);
        if (decay_user != STORE_NONE) {
            m->users[decay_user].decay = in->user_decay;
        }
        if (rows_n > 0 && m->listener.events != NULL) {
            m->listener.events(m->listener.ctx, rows, rows_n);
        }
        if (decay_user != STORE_NONE && m->listener.user_changed != NULL) {
            m->listener.user_changed(m->listener.ctx, decay_user);
        }
    }
    memory_write_end(m);
    mem_free(rows);
    if (rc == U2I_OK && recorded != NULL) {
        *recorded = rows_n;
    }
    return rc;
}

/* ---- Users -------------------------------------------------------------------------------------- */

static int memory_copy_users(const struct store_user *in, size_t n, struct memory_user *out) {
    for (size_t i = 0; i < n; i++) {
        out[i].decay = in[i].decay;
        U2I_TRY(memory_copy_text(in[i].interests, &out[i].interests));
        U2I_TRY(memory_copy_text(in[i].attrs_json, &out[i].attrs_json));
    }
    return U2I_OK;
}

static int memory_intern_users(struct memory_store *m, const struct store_user *users, size_t n,
                               uint32_t *rows, u2i_error_t *err) {
    const struct memory_mark mark = memory_mark_now(m);
    for (size_t i = 0; i < n; i++) {
        if (memory_intern_user(m, users[i].id, &rows[i]) != U2I_OK) {
            memory_cut_back(m, &mark);
            return error_oom(err);
        }
    }
    return U2I_OK;
}

/* Swaps in the copies, so that `fresh` holds what is to be freed, and tells the listener. */
static void memory_swap_users(struct memory_store *m, const uint32_t *rows,
                              struct memory_user *fresh, size_t n) {
    m->sequence++;
    for (size_t i = 0; i < n; i++) {
        const struct memory_user old = m->users[rows[i]];
        m->users[rows[i]] = fresh[i];
        fresh[i] = old;
    }
    for (size_t i = 0; i < n && m->listener.user_changed != NULL; i++) {
        m->listener.user_changed(m->listener.ctx, rows[i]);
    }
}

int memory_put_users(struct store *s, const struct store_user *users, size_t n, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    if (n == 0) {
        return U2I_OK;
    }
    uint32_t *rows = alloc_array(n, sizeof *rows);
    struct memory_user *fresh = alloc_array(n, sizeof *fresh);
    int rc = U2I_OK;
    if (rows == NULL || fresh == NULL) {
        rc = error_oom(err);
        goto out;
    }
    memset(fresh, 0, n * sizeof *fresh);
    if (memory_copy_users(users, n, fresh) != U2I_OK) {
        rc = error_oom(err);
        goto out;
    }
    rc = memory_write_begin(m, err);
    if (rc == U2I_OK) {
        rc = memory_intern_users(m, users, n, rows, err);
        if (rc == U2I_OK) {
            memory_swap_users(m, rows, fresh, n);
        }
        memory_write_end(m);
    }
out:
    for (size_t i = 0; i < n && rows != NULL && fresh != NULL; i++) {
        memory_user_clear(&fresh[i]);
    }
    mem_free(fresh);
    mem_free(rows);
    return rc;
}

/* Takes the user's events out of the log; the rows go to `removed`, which is long enough. */
static size_t memory_remove_events(struct memory_store *m, uint32_t user,
                                   struct store_event_row *removed) {
    size_t kept = 0, removed_n = 0;
    for (size_t i = 0; i < m->events_n; i++) {
        if (m->events[i].row.user != user) {
            m->events[kept++] = m->events[i];
            continue;
        }
        removed[removed_n++] = m->events[i].row;
        if (m->events[i].id != STORE_NONE) {
            memory_names_remove(&m->event_ids, m->events[i].id);
        }
    }
    m->events_n = kept;
    return removed_n;
}

int memory_delete_user(struct store *s, const char *id, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_write_begin(m, err));
    struct store_event_row *removed = NULL;
    int rc = U2I_OK;
    const uint32_t user = memory_names_find(&m->user_names, id);
    if (user == STORE_NONE) {
        rc = error_set(err, U2I_ENOTFOUND, "there is no user \"%s\"", id);
        goto out;
    }
    removed = alloc_array(m->events_n, sizeof *removed);
    if (removed == NULL) {
        rc = error_oom(err);
        goto out;
    }
    const size_t removed_n = memory_remove_events(m, user, removed);
    memory_user_clear(&m->users[user]);
    memory_names_remove(&m->user_names, user);
    m->sequence++;
    m->removed_sequence = removed_n > 0 ? m->sequence : m->removed_sequence;
    if (m->listener.user_deleted != NULL) {
        m->listener.user_deleted(m->listener.ctx, user, removed, removed_n);
    }
out:
    memory_write_end(m);
    mem_free(removed);
    return rc;
}

/* ---- Settings and blobs ------------------------------------------------------------------------- */

/* The place of `name`, or where it would be. */
static size_t memory_entries_place(const struct memory_entries *list, const char *name,
                                   bool *present) {
    size_t i = 0;
    while (i < list->n && strcmp(list->entries[i].name, name) < 0) {
        i++;
    }
    *present = i < list->n && strcmp(list->entries[i].name, name) == 0;
    return i;
}

static void memory_entries_remove(struct memory_entries *list, size_t i) {
    mem_free(list->entries[i].name);
    mem_free(list->entries[i].value);
    list->n--;
    memmove(&list->entries[i], &list->entries[i + 1], (list->n - i) * sizeof *list->entries);
}

/* p NULL removes. */
static int memory_entries_set(struct memory_entries *list, const char *name, const void *p,
                              size_t n) {
    bool present;
    const size_t i = memory_entries_place(list, name, &present);
    if (p == NULL) {
        if (present) {
            memory_entries_remove(list, i);
        }
        return U2I_OK;
    }
    char *value = str_dup(p, n);
    if (value == NULL) {
        return U2I_ENOMEM;
    }
    if (!present) {
        char *name_copy = str_dup(name, strlen(name));
        if (name_copy == NULL || array_reserve(&list->entries, &list->cap, list->n + 1,
                                               sizeof *list->entries) != U2I_OK) {
            mem_free(name_copy);
            mem_free(value);
            return U2I_ENOMEM;
        }
        memmove(&list->entries[i + 1], &list->entries[i], (list->n - i) * sizeof *list->entries);
        list->n++;
        list->entries[i] = (struct memory_entry){.name = name_copy};
    }
    mem_free(list->entries[i].value);
    list->entries[i].value = value;
    list->entries[i].n = n;
    return U2I_OK;
}

int memory_put_setting(struct store *s, const char *name, const char *value, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_write_begin(m, err));
    int rc = memory_entries_set(&m->settings, name, value, value != NULL ? strlen(value) : 0);
    if (rc != U2I_OK) {
        rc = error_oom(err);
    } else {
        m->sequence++;
        if (m->listener.settings_changed != NULL) {
            m->listener.settings_changed(m->listener.ctx);
        }
    }
    memory_write_end(m);
    return rc;
}

int memory_put_blob(struct store *s, const char *name, const void *p, size_t n, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_write_begin(m, err));
    const int rc = memory_entries_set(&m->blobs, name, p, n);
    memory_write_end(m);
    return rc == U2I_OK ? U2I_OK : error_oom(err);
}
