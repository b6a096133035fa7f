/* Reads of the memory store: each is one pass over the arrays, row by row, with nothing prepared.
 * Stand-alone reads take the shared lock themselves; the others run inside the caller's section. */
#include "store/memory/memory_internal.h"

#include "vec/vec.h"
#include <math.h>
#include <stdio.h>

static int memory_lock_shared(struct memory_store *m, u2i_error_t *err) {
    const int rc = pthread_rwlock_rdlock(&m->lock);
    return rc == 0 ? U2I_OK : error_set(err, U2I_EINTERNAL, "read lock: error %d", rc);
}

static void memory_unlock_shared(struct memory_store *m) {
    (void)pthread_rwlock_unlock(&m->lock); /* fails only if it is not held */
}

/* ---- Rows as records ---------------------------------------------------------------------------- */

static struct store_item memory_item_record(const struct memory_store *m, uint32_t row) {
    const struct memory_item *item = &m->items[row];
    return (struct store_item){.id = memory_names_text(&m->item_names, row),
                               .title = item->title,
                               .text = item->text,
                               .category = item->category,
                               .attrs_json = item->attrs_json,
                               .vector = item->vector,
                               .embedding = item->embedding,
                               .row = row};
}

static struct store_user memory_user_record(const struct memory_store *m, uint32_t row) {
    const struct memory_user *user = &m->users[row];
    return (struct store_user){.id = memory_names_text(&m->user_names, row),
                               .interests = user->interests,
                               .attrs_json = user->attrs_json,
                               .decay = user->decay,
                               .row = row};
}

static struct store_event memory_event_record(const struct memory_store *m,
                                              const struct memory_event *event) {
    return (struct store_event){.user = memory_names_text(&m->user_names, event->row.user),
                                .item = memory_names_text(&m->item_names, event->row.item),
                                .action = memory_names_text(&m->actions, event->row.action),
                                .id = memory_names_text(&m->event_ids, event->id),
                                .time_ms = event->row.time_ms,
                                .value = event->row.value};
}

/* ---- Scans -------------------------------------------------------------------------------------- */

int memory_scan_items(struct store *s, store_item_fn fn, void *ctx, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_lock_shared(m, err));
    int stop = 0;
    for (uint32_t row = 0; row < m->item_names.n && stop == 0; row++) {
        if (m->items[row].live) {
            const struct store_item item = memory_item_record(m, row);
            stop = fn(ctx, &item);
        }
    }
    memory_unlock_shared(m);
    return U2I_OK;
}

int memory_scan_events(struct store *s, uint64_t after_seq, store_event_fn fn, void *ctx,
                       u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_lock_shared(m, err));
    int stop = 0;
    for (size_t i = 0; i < m->events_n && stop == 0; i++) {
        if (m->events[i].row.seq > after_seq) {
            const struct store_event event = memory_event_record(m, &m->events[i]);
            stop = fn(ctx, &event, &m->events[i].row);
        }
    }
    memory_unlock_shared(m);
    return U2I_OK;
}

int memory_scan_users(struct store *s, store_user_fn fn, void *ctx, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_lock_shared(m, err));
    int stop = 0;
    for (uint32_t row = 0; row < m->user_names.n && stop == 0; row++) {
        if (memory_names_text(&m->user_names, row) != NULL) {
            const struct store_user user = memory_user_record(m, row);
            stop = fn(ctx, &user);
        }
    }
    memory_unlock_shared(m);
    return U2I_OK;
}

int memory_scan_settings(struct store *s, store_text_fn fn, void *ctx, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_lock_shared(m, err));
    int stop = 0;
    for (size_t i = 0; i < m->settings.n && stop == 0; i++) {
        stop = fn(ctx, m->settings.entries[i].name, m->settings.entries[i].value);
    }
    memory_unlock_shared(m);
    return U2I_OK;
}

int memory_get_blob(struct store *s, const char *name, struct buf *out, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    U2I_TRY(memory_lock_shared(m, err));
    int rc = U2I_ENOTFOUND;
    for (size_t i = 0; i < m->blobs.n && rc == U2I_ENOTFOUND; i++) {
        if (strcmp(m->blobs.entries[i].name, name) == 0) {
            buf_put(out, m->blobs.entries[i].value, m->blobs.entries[i].n);
            rc = U2I_OK;
        }
    }
    memory_unlock_shared(m);
    if (rc != U2I_OK) {
        return error_set(err, rc, "there is no blob \"%s\"", name);
    }
    return out->failed ? error_oom(err) : U2I_OK;
}

/* ---- Search ------------------------------------------------------------------------------------- */

/* Better: a higher score; equal scores by id. */
static bool memory_hit_before(const struct memory_store *m, struct hit a, struct hit b) {
    if (a.score != b.score) {
        return a.score > b.score;
    }
    return strcmp(m->item_names.names[a.row].text, m->item_names.names[b.row].text) < 0;
}

/* Keeps the k best in order, by insertion. */
static void memory_hit_insert(const struct memory_store *m, struct hit *hits, uint32_t *n,
                              uint32_t k, struct hit fresh) {
    if (k == 0 || (*n == k && !memory_hit_before(m, fresh, hits[k - 1]))) {
        return;
    }
    uint32_t i = *n < k ? (*n)++ : k - 1;
    for (; i > 0 && memory_hit_before(m, fresh, hits[i - 1]); i--) {
        hits[i] = hits[i - 1];
    }
    hits[i] = fresh;
}

bool memory_row_passes(const struct memory_store *m, uint32_t row, const struct filter *filter,
                       const roaring_bitmap_t *exclude) {
    const struct memory_item *item = &m->items[row];
    return item->live && (exclude == NULL || !roaring_bitmap_contains(exclude, row)) &&
           (filter == NULL || filter_item(filter, m->item_names.names[row].text, item->attrs));
}

static bool memory_out_of_time(const struct deadline *deadline, uint32_t row) {
    return row % 256 == 0 && deadline_passed(deadline);
}

int memory_search(struct store *s, const struct store_search *q, struct hit *out, uint32_t *n,
                  u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    const struct index *const space = q->space == STORE_TASTE ? m->taste : m->index;
    *n = 0;
    if (space == NULL) {
        return U2I_OK;
    }
    if (q->space == STORE_TASTE || m->indexed) {
        return memory_index_search(m, space, q, out, n, err);
    }
    struct store_explain why = {.search = "exact"};
    for (uint32_t row = 0; row < m->item_names.n; row++) {
        if (memory_out_of_time(q->deadline, row)) {
            *n = 0;
            return error_set(err, U2I_ETIMEOUT, "the search ran out of time");
        }
        const bool asked = q->among == NULL || roaring_bitmap_contains(q->among, row);
        if (asked && m->items[row].vector != NULL &&
            memory_row_passes(m, row, q->filter, q->exclude)) {
            why.passing++;
            const float score = vec_dot(q->vector, m->items[row].vector, s->dim);
            memory_hit_insert(m, out, n, q->k, (struct hit){score, row});
        }
    }
    if (q->explain != NULL) {
        why.compared = (uint32_t)why.passing;
        *q->explain = why;
    }
    return U2I_OK;
}

int memory_rank(struct store *s, const struct store_rank *q, struct hit *out, uint32_t *n,
                u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    *n = 0;
    for (uint32_t row = 0; row < m->item_names.n; row++) {
        if (memory_out_of_time(q->deadline, row)) {
            *n = 0;
            return error_set(err, U2I_ETIMEOUT, "the ranking ran out of time");
        }
        const bool asked = q->among == NULL || roaring_bitmap_contains(q->among, row);
        if (asked && memory_row_passes(m, row, q->filter, q->exclude)) {
            memory_hit_insert(m, out, n, q->k, (struct hit){q->score(q->ctx, row), row});
        }
    }
    return U2I_OK;
}

int memory_matches(struct store *s, const struct filter *filter, const roaring_bitmap_t *among,
                   roaring_bitmap_t **out, u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    *out = roaring_bitmap_create();
    if (*out == NULL) {
        return error_oom(err);
    }
    for (uint32_t row = 0; among == NULL && row < m->item_names.n; row++) {
        if (memory_row_passes(m, row, filter, NULL)) {
            roaring_bitmap_add(*out, row);
        }
    }
    roaring_uint32_iterator_t it = {.has_value = false};
    if (among != NULL) {
        roaring_init_iterator(among, &it);
    }
    for (; it.has_value; roaring_advance_uint32_iterator(&it)) {
        const uint32_t row = it.current_value;
        if (row < m->item_names.n && memory_row_passes(m, row, filter, NULL)) {
            roaring_bitmap_add(*out, row);
        }
    }
    return U2I_OK;
}

int memory_match(struct store *s, const struct filter *filter, const uint32_t *rows, uint32_t n,
                 bool *passes, u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    (void)err; /* needs no memory */
    for (uint32_t i = 0; i < n; i++) {
        passes[i] = rows[i] < m->item_names.n && memory_row_passes(m, rows[i], filter, NULL);
    }
    return U2I_OK;
}

int memory_attr(struct store *s, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                struct attr_value *out, u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    (void)err; /* needs no memory */
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (struct attr_value){0};
        if (rows[i] < m->item_names.n && m->items[rows[i]].live) {
            attrs_get(m->items[rows[i]].attrs, path, &out[i]);
        }
    }
    return U2I_OK;
}

/* ---- Single rows -------------------------------------------------------------------------------- */

/* NULL stays NULL. */
static int memory_arena_text(struct arena *a, const char **text) {
    if (*text != NULL) {
        *text = arena_dup(a, *text, strlen(*text));
        return *text != NULL ? U2I_OK : U2I_ENOMEM;
    }
    return U2I_OK;
}

int memory_get_item(struct store *s, uint32_t row, struct arena *a, struct store_item *out,
                    u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    if (row >= m->item_names.n || !m->items[row].live) {
        return error_set(err, U2I_ENOTFOUND, "there is no item in row %u", row);
    }
    *out = memory_item_record(m, row);
    if (memory_arena_text(a, &out->id) != U2I_OK || memory_arena_text(a, &out->title) != U2I_OK ||
        memory_arena_text(a, &out->text) != U2I_OK ||
        memory_arena_text(a, &out->category) != U2I_OK ||
        memory_arena_text(a, &out->attrs_json) != U2I_OK) {
        return error_oom(err);
    }
    return U2I_OK;
}

int memory_get_user(struct store *s, uint32_t row, struct arena *a, struct store_user *out,
                    u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    if (memory_names_text(&m->user_names, row) == NULL) {
        return error_set(err, U2I_ENOTFOUND, "there is no user in row %u", row);
    }
    *out = memory_user_record(m, row);
    if (memory_arena_text(a, &out->id) != U2I_OK ||
        memory_arena_text(a, &out->interests) != U2I_OK ||
        memory_arena_text(a, &out->attrs_json) != U2I_OK) {
        return error_oom(err);
    }
    return U2I_OK;
}

static int memory_newest_first(const void *a, const void *b) {
    const struct store_event_row *x = a, *y = b;
    return (x->time_ms < y->time_ms) - (x->time_ms > y->time_ms);
}

int memory_user_events(struct store *s, uint32_t user, size_t window, struct store_event_row **out,
                       size_t *n, u2i_error_t *err) {
    const struct memory_store *m = memory_of(s);
    *out = NULL;
    *n = 0;
    size_t all_n = 0, i = 0;
    for (size_t e = 0; e < m->events_n; e++) {
        all_n += m->events[e].row.user == user;
    }
    struct store_event_row *all = alloc_array(all_n, sizeof *all);
    if (all == NULL) {
        return error_oom(err);
    }
    for (size_t e = 0; e < m->events_n; e++) {
        if (m->events[e].row.user == user) {
            all[i++] = m->events[e].row;
        }
    }
    qsort(all, all_n, sizeof *all, memory_newest_first);
    size_t taken = window < all_n ? window : all_n;
    while (taken > 0 && taken < all_n && all[taken].time_ms == all[taken - 1].time_ms) {
        taken++; /* events of one time stay together */
    }
    *out = all;
    *n = taken;
    return U2I_OK;
}

/* ---- Stats -------------------------------------------------------------------------------------- */

static size_t memory_text_bytes(const char *text) {
    return text != NULL ? strlen(text) + 1 : 0;
}

static void memory_count_items(const struct memory_store *m, const bool *named,
                               struct store_stats *out) {
    for (size_t row = 0; row < m->item_names.n; row++) {
        const struct memory_item *item = &m->items[row];
        out->items += item->live;
        out->items_no_vector += item->live && item->vector == NULL;
        out->items_unknown += !item->live && named[row];
        out->memory_bytes += memory_text_bytes(item->title) + memory_text_bytes(item->text) +
                             memory_text_bytes(item->category) +
                             memory_text_bytes(item->attrs_json) +
                             (item->vector != NULL ? m->base.dim * sizeof *item->vector : 0);
    }
}

static void memory_count_users(const struct memory_store *m, struct store_stats *out) {
    for (size_t row = 0; row < m->user_names.n; row++) {
        out->users += m->user_names.names[row].text != NULL;
        out->memory_bytes += memory_text_bytes(m->users[row].interests) +
                             memory_text_bytes(m->users[row].attrs_json);
    }
}

static void memory_count_index(const struct memory_store *m, struct store_stats *out) {
    struct index_stats index;
    index_stats(m->index, &index);
    out->index_items = index.graph;
    out->index_pending = m->vectors_n - index.graph;
    out->index_ef = index.ef_10;
    out->index_bytes = index_bytes(m->index);
    out->memory_bytes += out->index_bytes;
}

int memory_stats(struct store *s, struct store_stats *out, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    *out = (struct store_stats){0};
    U2I_TRY(memory_lock_shared(m, err));
    bool *named = mem_zalloc(m->item_names.n * sizeof *named); /* by an event */
    if (named != NULL) {
        for (size_t i = 0; i < m->events_n; i++) {
            named[m->events[i].row.item] = true;
        }
        memory_count_items(m, named, out);
        memory_count_users(m, out);
        out->events = m->events_n;
        out->sequence = m->sequence;
        out->removed_sequence = m->removed_sequence;
        out->memory_bytes += m->items_cap * sizeof *m->items + m->users_cap * sizeof *m->users +
                             m->events_cap * sizeof *m->events +
                             memory_names_bytes(&m->item_names) +
                             memory_names_bytes(&m->user_names) + memory_names_bytes(&m->actions) +
                             memory_names_bytes(&m->event_ids);
        memory_count_index(m, out);
    }
    memory_unlock_shared(m);
    const int rc = named != NULL ? U2I_OK : error_oom(err);
    mem_free(named);
    return rc;
}

/* ---- Verify ------------------------------------------------------------------------------------- */

struct memory_faults {
    u2i_fault_fn fn;
    void *ctx;
    size_t n;
};

static void memory_fault(struct memory_faults *f, const char *table, size_t row, const char *what) {
    char where[64];
    (void)snprintf(where, sizeof where, "%s row %zu", table, row); /* always fits */
    f->n++;
    if (f->fn != NULL) {
        f->fn(f->ctx, where, what);
    }
}

static void memory_verify_item(const struct memory_store *m, size_t row, struct memory_faults *f) {
    const struct memory_item *item = &m->items[row];
    if (m->item_names.names[row].text == NULL) {
        memory_fault(f, "items", row, "has no id");
    }
    if (!item->live) {
        return;
    }
    if (item->attrs == NULL) {
        memory_fault(f, "items", row, "has no parsed attributes");
    }
    if (item->vector == NULL) {
        return;
    }
    const float square = vec_dot(item->vector, item->vector, m->base.dim);
    if (!vec_finite(item->vector, m->base.dim) || fabsf(square - 1.0f) > 1e-3f) {
        memory_fault(f, "items", row, "its vector is not of unit length");
    }
}

static void memory_verify_event(const struct memory_store *m, size_t i, struct memory_faults *f) {
    const struct store_event_row *row = &m->events[i].row;
    if (memory_names_text(&m->user_names, row->user) == NULL) {
        memory_fault(f, "events", i, "its user does not exist");
    }
    if (memory_names_text(&m->item_names, row->item) == NULL) {
        memory_fault(f, "events", i, "its item has no row");
    }
    if (memory_names_text(&m->actions, row->action) == NULL) {
        memory_fault(f, "events", i, "its action has no name");
    }
    if (i > 0 && row->seq < m->events[i - 1].row.seq) {
        memory_fault(f, "events", i, "its sequence is lower than that of the event before");
    }
}

int memory_verify(struct store *s, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err) {
    struct memory_store *m = memory_of(s);
    struct memory_faults found = {fn, ctx, 0};
    U2I_TRY(memory_lock_shared(m, err));
    for (size_t row = 0; row < m->item_names.n; row++) {
        memory_verify_item(m, row, &found);
    }
    for (size_t i = 0; i < m->events_n; i++) {
        memory_verify_event(m, i, &found);
    }
    memory_unlock_shared(m);
    if (faults != NULL) {
        *faults = found.n;
    }
    return U2I_OK;
}
