/* Popularity: counted from the event log, saved now and then with the sequence it reflects, and caught
 * up from there at the next open. The saved form is only a shortcut: it is used if no event was removed
 * since and the settings that went into it still hold, otherwise the log is counted anew. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#define POPULAR_BLOB  "popularity"
#define POPULAR_MAGIC 0x31706f70u /* "pop1" */

struct popular_header {
    uint32_t magic, items_bytes;
    uint64_t seq, settings; /* sequence reflected; what the counts depend on, hashed */
};

float popular_weight(const struct action *a) {
    return a == NULL || a->exclude || a->weight < 0 ? 0 : a->weight;
}

static uint64_t popular_settings_hash(const struct settings *s) {
    uint64_t h = hash_bytes(&s->popular_half_life_s, sizeof(double), 1);
    h = hash_bytes(&s->recent_half_life_s, sizeof(double), h);
    for (size_t i = 0; i < s->actions_n; i++) {
        const float weight = popular_weight(&s->actions[i]);
        h = hash_bytes(s->actions[i].name, strlen(s->actions[i].name), h);
        h = hash_bytes(&weight, sizeof(weight), h);
    }
    return h;
}

void popular_discard(struct counted *c) {
    popularity_free(c->popularity);
    if (c->items != NULL) {
        roaring_bitmap_free(c->items);
    }
    *c = (struct counted){0};
}

/* ---- Counting ------------------------------------------------------------------------------- */

struct popular_scan {
    struct counted *counted;
    const struct settings *settings;
    u2i_error_t *err;
    int rc;
};

static int popular_count_event(void *ctx, const struct store_event *ev,
                               const struct store_event_row *row) {
    struct popular_scan *scan = ctx;
    const float weight = popular_weight(settings_action(scan->settings, ev->action));
    if (weight > 0) {
        scan->rc =
            popularity_add(scan->counted->popularity, row->item, row->time_ms, weight, scan->err);
    }
    roaring_bitmap_add(scan->counted->items, row->item);
    scan->counted->seq = row->seq;
    return scan->rc;
}

int popular_catch_up(struct engine *e, const struct settings *s, struct counted *c,
                     u2i_error_t *err) {
    struct popular_scan scan = {.counted = c, .settings = s, .err = err};
    U2I_TRY(e->ops->read_begin(e->store, err));
    const uint64_t seen = e->counted_seq; /* the log below has these, or they were removed since */
    e->ops->read_end(e->store);
    U2I_TRY(e->ops->scan_events(e->store, c->seq, popular_count_event, &scan, err));
    c->seq = c->seq < seen ? seen : c->seq;
    return scan.rc;
}

/* ---- The saved form ------------------------------------------------------------------------- */

/* Fills `c` from the blob if it can be used; false if not. */
static bool popular_load(const struct buf *blob, const struct settings *s,
                         uint64_t removed_sequence, struct counted *c) {
    struct popular_header h;
    if (blob->len < sizeof(h)) {
        return false;
    }
    memcpy(&h, blob->data, sizeof(h));
    const char *rest = blob->data + sizeof(h);
    const size_t left = blob->len - sizeof(h);
    if (h.magic != POPULAR_MAGIC || h.items_bytes > left || h.seq < removed_sequence ||
        h.settings != popular_settings_hash(s)) {
        return false;
    }
    roaring_bitmap_t *items = roaring_bitmap_portable_deserialize_safe(rest, h.items_bytes);
    if (items == NULL) {
        return false;
    }
    if (popularity_load(c->popularity, rest + h.items_bytes, left - h.items_bytes, NULL) !=
        U2I_OK) {
        roaring_bitmap_free(items);
        return false;
    }
    roaring_bitmap_free(c->items);
    c->items = items;
    c->seq = h.seq;
    return true;
}

static int popular_new(const struct settings *s, struct counted *out, u2i_error_t *err) {
    *out = (struct counted){.items = roaring_bitmap_create()};
    if (out->items == NULL) {
        return error_oom(err);
    }
    return popularity_new(s->popular_half_life_s, s->recent_half_life_s, &out->popularity, err);
}

int popular_derive(struct engine *e, const struct settings *s, struct counted *out,
                   u2i_error_t *err) {
    struct buf blob = {0};
    struct store_stats stats;
    U2I_TRY(popular_new(s, out, err));
    int rc = e->ops->stats(e->store, &stats, err);
    if (rc == U2I_OK) {
        rc = e->ops->get_blob(e->store, POPULAR_BLOB, &blob, err);
        const bool saved = rc == U2I_OK && popular_load(&blob, s, stats.removed_sequence, out);
        if (rc != U2I_OK && rc != U2I_ENOTFOUND) {
            log_line(&e->log, U2I_LOG_WARN, "saved popularity cannot be read, counting anew");
        }
        if (rc == U2I_OK && !saved) {
            popular_discard(out);
            rc = popular_new(s, out, err);
        } else {
            rc = U2I_OK;
        }
    }
    buf_free(&blob);
    return rc == U2I_OK ? popular_catch_up(e, s, out, err) : rc;
}

int popular_save(struct engine *e, u2i_error_t *err) {
    struct buf blob = {0};
    struct buf counts = {0};
    U2I_TRY(e->ops->read_begin(e->store, err));
    if (atomic_load(&e->popularity_stale) || atomic_load(&e->settings_stale)) {
        e->ops->read_end(e->store); /* not what the log says: it will be counted anew */
        return U2I_OK;
    }
    const uint32_t items_bytes = (uint32_t)roaring_bitmap_portable_size_in_bytes(e->acted_items);
    const struct popular_header h = {POPULAR_MAGIC, items_bytes, e->counted_seq,
                                     popular_settings_hash(&e->settings)};
    int rc = popularity_save(e->popularity, &counts, err);
    char *items = mem_alloc(items_bytes);
    if (items != NULL) {
        (void)roaring_bitmap_portable_serialize(e->acted_items, items); /* writes items_bytes */
    }
    e->ops->read_end(e->store);
    if (rc == U2I_OK && items == NULL) {
        rc = error_oom(err);
    }
    if (rc == U2I_OK) {
        buf_put(&blob, &h, sizeof(h));
        buf_put(&blob, items, items_bytes);
        buf_put(&blob, counts.data, counts.len);
        rc = blob.failed ? error_oom(err)
                         : e->ops->put_blob(e->store, POPULAR_BLOB, blob.data, blob.len, err);
    }
    if (rc == U2I_OK) {
        atomic_store(&e->unsaved_events, 0);
    }
    mem_free(items);
    buf_free(&counts);
    buf_free(&blob);
    return rc;
}
