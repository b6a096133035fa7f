/* Pure numbers: what a user's events say about taste, and what all users' events say about items.
 * No ids, no store, no clock: the same events give the same numbers in any order, batch or process.
 *
 * The weight of an event: w = action weight x value x recency (docs/profiles.md). Everything here is
 * thread-safe on separate objects; a struct popularity needs its owner's lock. */
#ifndef U2I_PROFILE_PROFILE_H
#define U2I_PROFILE_PROFILE_H

#include "base/buf.h"
#include "u2i.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Events of one user ----------------------------------------------------------------------- */

struct profile_event {
    int64_t time_ms;
    uint32_t item;   /* row */
    uint16_t action; /* number; index into the table of weights */
    uint16_t flags;  /* for the owner */
    float value;     /* > 0; 1 if the event had none */
};

/* Newest first; equal times in an order that depends on content only: `by_names` compares the items' ids,
 * then the actions' names, since the numbers of both depend on who came first; last comes the value. */
typedef int (*profile_name_cmp)(const void *ctx, const struct profile_event *a,
                                const struct profile_event *b);
void profile_sort(struct profile_event *events, size_t n, profile_name_cmp by_names,
                  const void *ctx);

/* ---- Weights ---------------------------------------------------------------------------------- */

enum profile_mode {
    PROFILE_RANK = 0,     /* rank^-p x 2^(-age / half-life), the default */
    PROFILE_DECAY = 1,    /* decay^(rank - 1) */
    PROFILE_HALF_LIFE = 2 /* 2^(-age / half-life) */
};
struct profile_recency {
    enum profile_mode mode;
    double rank_power;  /* p */
    double decay;       /* (0, 1) */
    double half_life_s; /* > 0 */
    double floor;       /* least share of the newest event's recency, e.g. 0.02; decay has none */
};
/* recency[i] of events sorted by profile_sort(). Age is counted from the user's newest event, so
 * that a profile moves only when events come: 2^(-age / half-life) from any other moment is the same
 * up to a factor, which a direction does not see. Events of one time share a rank. */
void profile_recency(const struct profile_recency *how, const struct profile_event *events,
                     size_t n, float *recency);

/* One item's part in a profile: Σ w over its events. `latest` is the index of the newest of these, of
 * several at that time the one that weighs most. */
struct profile_entry {
    uint32_t item;
    uint32_t latest;
    float weight;
};
/* Folds n sorted events into one entry per item, in order of the items' newest events, and leaves out
 * items whose weights add up to 0. action_weights[events[i].action] must exist for every event.
 * `entries` has room for n; *entries_n gets how many there are. U2I_ENOMEM (never for n <= 1024). */
int profile_entries(const struct profile_event *events, size_t n, const float *recency,
                    const float *action_weights, struct profile_entry *entries, size_t *entries_n);
/* The same, but an item counts once, with the largest weight among its events instead of their sum: what
 * learnt vectors are asked with, where adding up repeats measurably hurts (docs/training.md). */
int profile_largest(const struct profile_event *events, size_t n, const float *recency,
                    const float *action_weights, struct profile_entry *entries, size_t *entries_n);

/* What the weights add up to. A profile with positive == 0 has no direction to recommend in, only
 * things to keep away from: its user is a cold start. */
struct profile_sum {
    double positive; /* Σ of the weights above 0 */
    double absolute; /* Σ |weight| */
};
struct profile_sum profile_sum(const struct profile_entry *entries, size_t n);
/* Divides by Σ |weight|, which a negative weight cannot bring to 0 or below, as it can Σ weight. Items
 * without a vector must have been taken out before, so that they don't count. */
void profile_normalise(struct profile_entry *entries, size_t n);

/* ---- Popularity ------------------------------------------------------------------------------- */

/* Two counts per item with different half-lives, each Σ weight x 2^(-age / half-life). Kept as
 * forward-decayed sums (Cormode et al. 2009, "Forward Decay"), so that adding an event, also a late
 * one, is one addition, and removing it again is one subtraction. */
struct popularity;
int popularity_new(double long_half_life_s, double recent_half_life_s, struct popularity **out,
                   u2i_error_t *err);
void popularity_free(struct popularity *p);
int popularity_add(struct popularity *p, uint32_t item, int64_t time_ms, float weight,
                   u2i_error_t *err); /* weight < 0 takes back; <= 0 totals count as none */
/* 0..1: (1 - blend) x long / largest long + blend x recent / largest recent; 0 without events. */
struct popularity_scale { /* the largest counts among the rows of a query */
    double long_max, recent_max;
};
struct popularity_scale popularity_scale(const struct popularity *p);
float popularity_score(const struct popularity *p, const struct popularity_scale *s, double blend,
                       uint32_t item);
/* Appends the counts to `out`; load replaces them. U2I_ECORRUPT for bytes that save did not write, or
 * wrote for other half-lives, and then nothing has changed. U2I_ENOMEM. */
int popularity_save(const struct popularity *p, struct buf *out, u2i_error_t *err);
int popularity_load(struct popularity *p, const void *bytes, size_t n, u2i_error_t *err);
size_t popularity_bytes(const struct popularity *p);

/* ---- What goes together, lately ----------------------------------------------------------------- */

/* Pairs of items that a user acted on within hours, from the events as they come in; bounded memory. Needs
 * its owner's lock. */
struct covisits;
struct covisits_event {
    int64_t time_ms;
    uint32_t user, item;
};
int covisits_new(struct covisits **out, u2i_error_t *err);
void covisits_free(struct covisits *c); /* NULL is a no-op */
void covisits_clear(struct covisits *c);
void covisits_add(struct covisits *c, const struct covisits_event *ev);
/* What was acted on shortly after (or, counting half, before) this item, and with which share of those who
 * acted on it, shrunk towards 0 where there are few: at most `max`, the newest pairs first. */
struct covisit {
    uint32_t item;
    float share;
};
size_t covisits_of(const struct covisits *c, uint32_t item, struct covisit *out, size_t max);

#endif
