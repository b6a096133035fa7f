/* Newest events of the users who are active now: the only state behind a profile, and only a cache
 * of the store. An entry is read from the store on first use, kept right as events arrive, and dropped
 * when memory is needed or when an event alone cannot tell what it changes (a taken-back dislike).
 *
 * history_get() and history_put_back() are called inside a read section, by many threads; add and
 * drop by the store's listener or with readers kept out, so never while an entry is in use. */
#ifndef U2I_ENGINE_HISTORY_H
#define U2I_ENGINE_HISTORY_H

#include "profile/profile.h"
#include "settings.h"
#include "store/store.h"
#include <roaring/roaring.h>

struct history {
    struct profile_event *events; /* those of any weight, newest first, at most `window` */
    size_t n, cap;
    roaring_bitmap_t *acted;    /* items with any event of a weight or an exclusion */
    roaring_bitmap_t *disliked; /* items whose newest such event excludes */
    double decay;               /* the user's own, 0 = none */
    uint32_t user;
    uint32_t used; /* readers inside; it is dropped only at 0 */
    bool recent;   /* second chance of the eviction clock */
};

/* What a history needs to know of its surroundings; all of it belongs to the engine. */
struct history_source {
    struct store *store;
    const struct settings *settings;
    const struct action *const *actions; /* by the store's action number; NULL = unknown */
    size_t actions_n;
};
/* A question may name an action that the store has no number for, as no event ever had it: this and its
 * index in the settings. */
#define HISTORY_SETTING_ACTION 0x8000u
static inline const struct action *history_action(const struct history_source *from,
                                                  uint16_t number) {
    const size_t i = (size_t)number - HISTORY_SETTING_ACTION;
    if (number >= HISTORY_SETTING_ACTION) {
        return i < from->settings->actions_n ? &from->settings->actions[i] : NULL;
    }
    return number < from->actions_n ? from->actions[number] : NULL;
}

struct histories;

int histories_new(size_t budget_bytes, struct histories **out, u2i_error_t *err);
void histories_free(struct histories *h);
/* A history of its own, outside of the cache: `base` (NULL = nothing) and n events more, in any order; of
 * an item that these name they decide whether it is disliked. history_free() by the caller. U2I_ENOMEM. */
int history_extend(const struct history *base, const struct history_source *from,
                   const struct profile_event *events, size_t n, struct history **out,
                   u2i_error_t *err);
void history_free(struct history *h); /* NULL is a no-op */
/* U2I_ENOTFOUND if the user is being deleted: a new read section will not know them. */
int history_get(struct histories *h, const struct history_source *from, uint32_t user,
                struct history **out, u2i_error_t *err);
void history_put_back(struct histories *h, struct history *entry); /* accepts NULL */
void history_add(struct histories *h, const struct history_source *from,
                 const struct store_event_row *event);
void history_drop(struct histories *h, uint32_t user);
void history_drop_all(struct histories *h);
size_t histories_bytes(struct histories *h);

#endif
