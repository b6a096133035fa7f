/* The cache is cut into stripes by user, each with a lock that is held for a look-up only. An entry
 * in use is counted, and eviction (a clock hand over the stripe, one second chance) passes it by.
 *
 * An entry is the `window` newest of all events in the total order of profile_sort(). Adding one event
 * to the best `window` of a set gives the best `window` of the larger set, whatever the order of
 * arrival, so an entry that was kept up to date equals one that was read anew. */
#include "history.h"
#include "base/alloc.h"
#include "base/error.h"

#include <pthread.h>

#define HISTORY_STRIPES 64

struct history_stripe {
    pthread_mutex_t lock;
    struct history **entries; /* by user / HISTORY_STRIPES; NULL = not cached */
    size_t n, hand, bytes;
};

struct histories {
    size_t stripe_budget;
    struct history_stripe stripes[HISTORY_STRIPES];
};

int histories_new(size_t budget_bytes, struct histories **out, u2i_error_t *err) {
    struct histories *h = mem_zalloc(sizeof(*h));
    *out = h;
    if (h == NULL) {
        return error_oom(err);
    }
    h->stripe_budget = budget_bytes / HISTORY_STRIPES;
    for (size_t i = 0; i < HISTORY_STRIPES; i++) {
        (void)pthread_mutex_init(&h->stripes[i].lock, NULL); /* cannot fail on Linux */
    }
    return U2I_OK;
}

/* ---- One entry ------------------------------------------------------------------------------ */

void history_free(struct history *e) {
    if (e == NULL) {
        return;
    }
    mem_free(e->events);
    roaring_bitmap_free(e->acted);
    roaring_bitmap_free(e->disliked);
    mem_free(e);
}

static size_t history_bytes(const struct history *e) {
    return sizeof(*e) + e->cap * sizeof(*e->events) + roaring_bitmap_size_in_bytes(e->acted) +
           roaring_bitmap_size_in_bytes(e->disliked);
}

static struct history *history_new(uint32_t user) {
    struct history *e = mem_zalloc(sizeof(*e));
    if (e == NULL) {
        return NULL;
    }
    e->user = user;
    e->acted = roaring_bitmap_create();
    e->disliked = roaring_bitmap_create();
    if (e->acted == NULL || e->disliked == NULL) {
        if (e->acted != NULL) {
            roaring_bitmap_free(e->acted);
        }
        if (e->disliked != NULL) {
            roaring_bitmap_free(e->disliked);
        }
        mem_free(e);
        return NULL;
    }
    return e;
}

static struct profile_event history_event(const struct store_event_row *r) {
    return (struct profile_event){
        .time_ms = r->time_ms, .item = r->item, .action = r->action, .value = r->value};
}

static int history_item_cmp(struct store *s, uint32_t a, uint32_t b) {
    const char *id_a = s->ops->item_id(s, a), *id_b = s->ops->item_id(s, b);
    return strcmp(id_a == NULL ? "" : id_a, id_b == NULL ? "" : id_b);
}

static const char *history_action_name(const struct history_source *from, uint16_t number) {
    const struct action *a = history_action(from, number);
    return a == NULL ? "" : a->name;
}

/* By item, then by action. */
static int history_name_cmp(const void *ctx, const struct profile_event *a,
                            const struct profile_event *b) {
    const struct history_source *from = ctx;
    const int by_item = a->item == b->item ? 0 : history_item_cmp(from->store, a->item, b->item);
    if (by_item != 0 || a->action == b->action) {
        return by_item;
    }
    return strcmp(history_action_name(from, a->action), history_action_name(from, b->action));
}

/* What each item's newest telling event says: liked or disliked; of equal times a dislike wins, so
 * that the order of arrival does not matter. `events` are sorted, and all of the user's. */
static void history_judge(struct history *e, const struct history_source *from,
                          const struct profile_event *events, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && events[end].time_ms == events[i].time_ms) {
            end++;
        }
        for (int dislikes = 1; dislikes >= 0; dislikes--) {
            for (size_t j = i; j < end; j++) {
                const struct action *a = history_action(from, events[j].action);
                const bool tells = a != NULL && (a->exclude || a->weight > 0);
                if (tells && a->exclude == (dislikes == 1) &&
                    roaring_bitmap_add_checked(e->acted, events[j].item) && a->exclude) {
                    roaring_bitmap_add(e->disliked, events[j].item);
                }
            }
        }
        i = end;
    }
}

static float history_weight(const struct history_source *from, const struct profile_event *ev) {
    const struct action *a = history_action(from, ev->action);
    return a == NULL ? 0 : a->weight;
}

/* Leaves out what has no weight (impressions, dislikes that only exclude), so that it takes neither
 * ranks nor places in the window. */
static void history_keep_weighty(struct history *e, const struct history_source *from) {
    size_t kept = 0;
    for (size_t i = 0; i < e->n; i++) {
        if (history_weight(from, &e->events[i]) != 0) {
            e->events[kept++] = e->events[i];
        }
    }
    e->n = kept;
}

static void history_cut(struct history *e, size_t window) {
    e->n = e->n < window ? e->n : window;
}

static int history_read_user(struct history *e, struct store *s, u2i_error_t *err) {
    struct arena scratch = {0};
    struct store_user user;
    const int rc = s->ops->get_user(s, e->user, &scratch, &user, err);
    if (rc == U2I_OK) {
        e->decay = user.decay;
    }
    arena_free(&scratch);
    return rc;
}

static int history_read(const struct history_source *from, uint32_t user, struct history **out,
                        u2i_error_t *err) {
    struct store *s = from->store;
    struct store_event_row *rows = NULL;
    size_t n = 0;
    struct history *e = history_new(user);
    int rc = e == NULL ? error_oom(err) : history_read_user(e, s, err);
    if (rc == U2I_OK) {
        rc = s->ops->user_events(s, user, SIZE_MAX, &rows, &n, err);
    }
    if (rc == U2I_OK && n > 0) {
        e->events = alloc_array(n, sizeof(*e->events));
        rc = e->events == NULL ? error_oom(err) : U2I_OK;
    }
    if (rc != U2I_OK) {
        goto out;
    }
    /* The file may be ahead of this read section: what was committed since comes by the listener. */
    const uint64_t seen = s->ops->sequence(s);
    e->cap = n;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].seq <= seen) {
            e->events[e->n++] = history_event(&rows[i]);
        }
    }
    profile_sort(e->events, e->n, history_name_cmp, from);
    history_judge(e, from, e->events, e->n);
    history_keep_weighty(e, from);
    history_cut(e, from->settings->window);
    if (e->cap > 2 * e->n + 16) { /* a long history: keep only what the window needs */
        struct profile_event *smaller = realloc_array(e->events, e->n + 16, sizeof(*e->events));
        if (smaller != NULL) {
            e->events = smaller;
            e->cap = e->n + 16;
        }
    }
out:
    mem_free(rows);
    if (rc != U2I_OK) {
        history_free(e);
        e = NULL;
    }
    *out = e;
    return rc;
}

/* ---- Outside of the cache --------------------------------------------------------------------- */

int history_extend(const struct history *base, const struct history_source *from,
                   const struct profile_event *events, size_t n, struct history **out,
                   u2i_error_t *err) {
    const size_t base_n = base == NULL ? 0 : base->n;
    struct history *e = history_new(base == NULL ? STORE_NONE : base->user);
    *out = e;
    if (e != NULL) {
        e->cap = base_n + n;
        e->events = alloc_array(e->cap, sizeof(*e->events));
    }
    if (e == NULL || e->events == NULL) {
        history_free(e);
        *out = NULL;
        return error_oom(err);
    }
    memcpy(e->events, events, n * sizeof(*events));
    e->n = n;
    profile_sort(e->events, e->n, history_name_cmp, from);
    history_judge(e, from, e->events, e->n);
    history_keep_weighty(e, from);
    if (base != NULL) { /* what the new events say of an item goes before what was known */
        roaring_bitmap_t *const known = roaring_bitmap_andnot(base->disliked, e->acted);
        if (known != NULL) {
            roaring_bitmap_or_inplace(e->disliked, known);
            roaring_bitmap_free(known);
        }
        roaring_bitmap_or_inplace(e->acted, base->acted);
        e->decay = base->decay;
        if (base_n > 0) { /* a user may have no events yet, and then there is no array */
            memcpy(e->events + e->n, base->events, base_n * sizeof(*base->events));
        }
        e->n += base_n;
        profile_sort(e->events, e->n, history_name_cmp, from);
    }
    history_cut(e, from->settings->window);
    return U2I_OK;
}

/* ---- The cache ------------------------------------------------------------------------------ */

static struct history_stripe *history_stripe(struct histories *h, uint32_t user) {
    return &h->stripes[user % HISTORY_STRIPES];
}

static struct history **history_slot(struct history_stripe *s, uint32_t user) {
    const size_t at = user / HISTORY_STRIPES;
    return at < s->n ? &s->entries[at] : NULL;
}

/* Frees entries until the stripe is within its budget or the hand has gone round twice. */
static void history_evict(struct history_stripe *s, size_t budget) {
    for (size_t steps = 0; s->bytes > budget && steps < 2 * s->n; steps++) {
        s->hand = (s->hand + 1) % s->n;
        struct history *e = s->entries[s->hand];
        if (e == NULL || e->used > 0) {
            continue;
        }
        if (e->recent) {
            e->recent = false;
            continue;
        }
        s->bytes -= history_bytes(e);
        s->entries[s->hand] = NULL;
        history_free(e);
    }
}

/* Keeps `fresh` unless another thread was faster; returns the entry to use. */
static struct history *history_keep(struct histories *h, struct history *fresh, u2i_error_t *err) {
    struct history_stripe *s = history_stripe(h, fresh->user);
    const size_t need = fresh->user / HISTORY_STRIPES + 1;
    struct history *kept = fresh;
    (void)pthread_mutex_lock(&s->lock);
    size_t cap = s->n;
    if (need > s->n && array_reserve(&s->entries, &cap, need, sizeof(*s->entries)) != U2I_OK) {
        history_free(fresh);
        kept = NULL;
        (void)error_oom(err);
    } else {
        for (; s->n < cap; s->n++) {
            s->entries[s->n] = NULL;
        }
        struct history **slot = history_slot(s, fresh->user);
        if (*slot != NULL) {
            kept = *slot;
            history_free(fresh);
        } else {
            history_evict(s, h->stripe_budget);
            *slot = fresh;
            s->bytes += history_bytes(fresh);
        }
        kept->used++;
        kept->recent = true;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return kept;
}

int history_get(struct histories *h, const struct history_source *from, uint32_t user,
                struct history **out, u2i_error_t *err) {
    struct history_stripe *s = history_stripe(h, user);
    (void)pthread_mutex_lock(&s->lock);
    struct history **slot = history_slot(s, user);
    *out = slot == NULL ? NULL : *slot;
    if (*out != NULL) {
        (*out)->used++;
        (*out)->recent = true;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (*out != NULL) {
        return U2I_OK;
    }
    struct history *fresh;
    U2I_TRY(history_read(from, user, &fresh, err));
    *out = history_keep(h, fresh, err);
    return *out == NULL ? U2I_ENOMEM : U2I_OK;
}

void history_put_back(struct histories *h, struct history *entry) {
    if (entry == NULL) {
        return;
    }
    struct history_stripe *s = history_stripe(h, entry->user);
    (void)pthread_mutex_lock(&s->lock);
    entry->used--;
    (void)pthread_mutex_unlock(&s->lock);
}

static void history_drop_slot(struct history_stripe *s, struct history **slot) {
    if (slot != NULL && *slot != NULL) {
        s->bytes -= history_bytes(*slot);
        history_free(*slot);
        *slot = NULL;
    }
}

/* True if the entry now says of the event's item what one read anew would say. */
static bool history_judge_one(struct history *e, const struct history_source *from,
                              const struct profile_event *ev) {
    const struct action *a = history_action(from, ev->action);
    if (a == NULL || (!a->exclude && a->weight <= 0)) {
        return true;
    }
    const bool acted = !roaring_bitmap_add_checked(e->acted, ev->item);
    const bool disliked = roaring_bitmap_contains(e->disliked, ev->item);
    if (acted && disliked != a->exclude) {
        return false;
    }
    if (a->exclude) {
        roaring_bitmap_add(e->disliked, ev->item);
    }
    return true;
}

/* Inserts into the sorted events; false if there is no memory. */
static bool history_insert(struct history *e, const struct history_source *from,
                           const struct profile_event *ev) {
    const size_t window = from->settings->window;
    if (history_weight(from, ev) == 0) {
        return true;
    }
    if (e->n >= window && ev->time_ms < e->events[e->n - 1].time_ms) {
        return true;
    }
    if (array_reserve(&e->events, &e->cap, e->n + 1, sizeof(*e->events)) != U2I_OK) {
        return false;
    }
    size_t at = e->n; /* most events are the newest: walk from the oldest only past what is older */
    if (e->n > 0 && ev->time_ms > e->events[0].time_ms) {
        at = 0;
    }
    while (at > 0 && e->events[at - 1].time_ms < ev->time_ms) {
        at--;
    }
    memmove(&e->events[at + 1], &e->events[at], (e->n - at) * sizeof(*ev));
    e->events[at] = *ev;
    e->n++;
    size_t first = at; /* equal times are ordered by content */
    while (first > 0 && e->events[first - 1].time_ms == ev->time_ms) {
        first--;
    }
    profile_sort(&e->events[first], at + 1 - first, history_name_cmp, from);
    history_cut(e, window);
    return true;
}

void history_add(struct histories *h, const struct history_source *from,
                 const struct store_event_row *event) {
    struct history_stripe *s = history_stripe(h, event->user);
    (void)pthread_mutex_lock(&s->lock);
    struct history **slot = history_slot(s, event->user);
    if (slot != NULL && *slot != NULL) {
        struct history *e = *slot;
        const struct profile_event ev = history_event(event);
        s->bytes -= history_bytes(e);
        const bool right = history_judge_one(e, from, &ev) && history_insert(e, from, &ev);
        s->bytes += history_bytes(e);
        if (!right) {
            history_drop_slot(s, slot);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void history_drop(struct histories *h, uint32_t user) {
    struct history_stripe *s = history_stripe(h, user);
    (void)pthread_mutex_lock(&s->lock);
    history_drop_slot(s, history_slot(s, user));
    (void)pthread_mutex_unlock(&s->lock);
}

void history_drop_all(struct histories *h) {
    for (size_t i = 0; i < HISTORY_STRIPES; i++) {
        struct history_stripe *s = &h->stripes[i];
        (void)pthread_mutex_lock(&s->lock);
        for (size_t j = 0; j < s->n; j++) {
            history_drop_slot(s, &s->entries[j]);
        }
        (void)pthread_mutex_unlock(&s->lock);
    }
}

size_t histories_bytes(struct histories *h) {
    size_t bytes = sizeof(*h);
    for (size_t i = 0; i < HISTORY_STRIPES; i++) {
        struct history_stripe *s = &h->stripes[i];
        (void)pthread_mutex_lock(&s->lock);
        bytes += s->bytes + s->n * sizeof(*s->entries);
        (void)pthread_mutex_unlock(&s->lock);
    }
    return bytes;
}

void histories_free(struct histories *h) {
    if (h == NULL) {
        return;
    }
    history_drop_all(h);
    for (size_t i = 0; i < HISTORY_STRIPES; i++) {
        (void)pthread_mutex_destroy(&h->stripes[i].lock);
        mem_free(h->stripes[i].entries);
    }
    mem_free(h);
}
