/* Counts over everybody's events that ranking rules ask for: how often an action was done to an item within a
 * time, and who did it. Derived: counted from the log when rules are set, kept in step by the store's
 * listener. Changes under the store's exclusive lock, or before others see it; reads in parallel. */
#ifndef U2I_ENGINE_TALLY_H
#define U2I_ENGINE_TALLY_H

#include "rules.h"
#include <roaring/roaring.h>

struct tallies;

/* What the rules need: *out is NULL where they need nothing. U2I_ENOMEM. */
int tallies_new(const struct rules *rules, struct tallies **out, u2i_error_t *err);
void tallies_free(struct tallies *t); /* NULL is a no-op */

struct tally_event {
    const char *action;
    bool wanted; /* the action has a weight */
    uint32_t user, item;
    int64_t time_ms;
};
int tallies_add(struct tallies *t, const struct tally_event *ev, u2i_error_t *err);

/* Adds the rows of items that had enough of the rule's action (RULE_LIMIT) by now. */
void tallies_full(const struct tallies *t, const struct rule *rule, int64_t now_ms,
                  roaring_bitmap_t *out);
/* The users who did the rule's action (RULE_MUTUAL) to the item; NULL = none. */
const roaring_bitmap_t *tallies_users(const struct tallies *t, const struct rule *rule,
                                      uint32_t item);
/* Events that say that somebody wants the item, and impressions: counted if there is an `explore` rule. */
uint64_t tallies_events(const struct tallies *t, uint32_t item);
uint64_t tallies_impressions(const struct tallies *t, uint32_t item);
/* Items with as many of the former as the largest N of the `explore` rules; NULL = none. */
const roaring_bitmap_t *tallies_known(const struct tallies *t);
size_t tallies_bytes(const struct tallies *t);

#endif
