/* What the tests of the presets share: a store that uses one, a made world behind it, and one-line ways to
 * put, record, travel in time and look at an answer. An item's vector follows from its `look`: the digit that it
 * begins with is its kind, the rest gives it a face; equal looks, equal vectors. */
#ifndef U2I_TESTS_VERTICAL_H
#define U2I_TESTS_VERTICAL_H

#include "shop.h"

#include <stdbool.h>

#define VERTICAL_DIM   8
#define VERTICAL_KINDS 3
#define VERTICAL_ITEMS 20  /* of a kind */
#define VERTICAL_FANS  100 /* of a kind */
#define VERTICAL_NOW                                                                               \
    1700000000000 /* when tests ask, unless they travel; this is second 1700000000 */

/* The moment so many days after VERTICAL_NOW. */
static inline int64_t vertical_at(double days) {
    return VERTICAL_NOW + (int64_t)(days * 86400000);
}

static inline u2i_t *vertical_open(const char *location, const char *preset) {
    u2i_t *u = shop_open(location, "none", VERTICAL_DIM);
    u2i_error_t err;
    shop_ok(u2i_use_preset(u, preset, &err), &err);
    return u;
}

static inline void vertical_look(const char *look, float v[VERTICAL_DIM]) {
    uint32_t state = 2166136261u;
    for (const char *p = look; *p != '\0'; p++) {
        state = (state ^ (unsigned char)*p) * 16777619u;
    }
    for (int d = 0; d < VERTICAL_DIM; d++) {
        state = state * 1664525u + 1013904223u;
        v[d] = (float)((state >> 8) % 1000) / 2000 - 0.25f + (d == look[0] - '0' ? 2.0f : 0.0f);
    }
}

/* category and attrs may be NULL. */
static inline void vertical_item(u2i_t *u, const char *id, const char *look, const char *category,
                                 const char *attrs) {
    float v[VERTICAL_DIM];
    u2i_error_t err;
    vertical_look(look, v);
    const u2i_item_t item = {
        .id = id, .title = id, .category = category, .attrs_json = attrs, .vector = v};
    shop_ok(u2i_put_items(u, &item, 1, sizeof(item), &err), &err);
}

static inline void vertical_user(u2i_t *u, const char *id, const char *attrs) {
    u2i_error_t err;
    const u2i_user_t user = {.id = id, .attrs_json = attrs};
    shop_ok(u2i_put_users(u, &user, 1, sizeof(user), &err), &err);
}

/* An event so many days after VERTICAL_NOW (before it: negative). */
static inline void vertical_event(u2i_t *u, const char *user, const char *action, const char *item,
                                  double days) {
    shop_event(u, user, action, item, vertical_at(days));
}

/* "0-00".."2-19", twenty of each kind, and a hundred people for each kind who like five of it and one of
 * another: enough to learn from, also what new items are like. Everything happened in the month before VERTICAL_NOW. */
static inline void vertical_fill(u2i_t *u) {
    static u2i_event_t likes[VERTICAL_KINDS * VERTICAL_FANS * 6];
    static char users[VERTICAL_KINDS * VERTICAL_FANS][16];
    static char items[VERTICAL_KINDS][VERTICAL_ITEMS][24];
    uint32_t n = 0;
    u2i_error_t err;
    for (int k = 0; k < VERTICAL_KINDS; k++) {
        for (int i = 0; i < VERTICAL_ITEMS; i++) {
            (void)snprintf(items[k][i], sizeof(items[k][i]), "%d-%02d", k, i);
            vertical_item(u, items[k][i], items[k][i], NULL, NULL);
        }
    }
    for (int f = 0; f < VERTICAL_KINDS * VERTICAL_FANS; f++) {
        const int kind = f % VERTICAL_KINDS, first = f / VERTICAL_KINDS * 7;
        (void)snprintf(users[f], sizeof(users[f]), "fan%d", f);
        for (int e = 0; e < 6; e++) {
            const int other = (kind + 1 + f % 2) % VERTICAL_KINDS;
            likes[n++] = (u2i_event_t){
                .user = users[f],
                .item = items[e == 5 ? other : kind][(first + 2 * e) % VERTICAL_ITEMS],
                .action = "like",
                .time_ms = vertical_at(-30 + (double)f / VERTICAL_FANS * 9 + e * 0.01)};
        }
    }
    shop_ok(u2i_record(u, likes, n, sizeof(likes[0]), NULL, &err), &err);
}

static inline void vertical_train(u2i_t *u) {
    u2i_train_options_t options = U2I_TRAIN_OPTIONS_INIT;
    u2i_error_t err;
    options.now_ms = VERTICAL_NOW;
    shop_ok(u2i_train(u, &options, &err), &err);
}

/* ---- Answers ----------------------------------------------------------------------------------- */

static inline u2i_result_t *vertical_ask(u2i_t *u, const char *user, double days, uint32_t limit) {
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = user;
    q.time_ms = vertical_at(days);
    q.limit = limit;
    return shop_ask(u, &q);
}

/* Is it anywhere in the user's list of everything? */
static inline bool vertical_shows(u2i_t *u, const char *user, const char *id, double days) {
    u2i_result_t *r = vertical_ask(u, user, days, U2I_LIMIT_MAX);
    const bool found = shop_find(r, id) >= 0;
    u2i_result_free(r);
    return found;
}

/* The hit of that item, which has to be there. */
static inline const u2i_hit_t *vertical_hit(const u2i_result_t *r, const char *id) {
    const int i = shop_find(r, id);
    if (i < 0) {
        fail_msg("%s is not in the list", id);
    }
    return u2i_result_hit(r, (size_t)i);
}

/* The part of the hit whose name begins like this, or NULL. */
static inline const u2i_part_t *vertical_part(const u2i_hit_t *hit, const char *name) {
    for (size_t i = 0; i < hit->parts_n; i++) {
        if (strncmp(hit->parts[i].name, name, strlen(name)) == 0) {
            return &hit->parts[i];
        }
    }
    return NULL;
}

/* What the parts without this one add up to. */
static inline double vertical_score_without(const u2i_hit_t *hit, const u2i_part_t *part) {
    return (double)hit->score - (part == NULL ? 0 : (double)part->value);
}

static inline double vertical_odds(const u2i_hit_t *hit) {
    return (double)hit->probability / (1 - (double)hit->probability);
}

/* Does the text hold `"name": "value"`, as the attributes of a hit do? */
static inline bool vertical_has(const u2i_hit_t *hit, const char *name, const char *value) {
    char pair[96];
    const char *at = strstr(hit->attrs_json, name);
    (void)snprintf(pair, sizeof(pair), "\"%s\"", value);
    return at != NULL && strncmp(at + strlen(name) + 1 + strspn(at + strlen(name) + 1, ": "), pair,
                                 strlen(pair)) == 0;
}

/* At most `most` items with the attribute in any `window` places that follow each other. */
static inline void vertical_capped(const u2i_result_t *r, const char *name, const char *value,
                                   size_t most, size_t window) {
    for (size_t from = 0; from < u2i_result_count(r); from++) {
        size_t n = 0;
        for (size_t i = from; i < from + window && i < u2i_result_count(r); i++) {
            n += vertical_has(u2i_result_hit(r, i), name, value);
        }
        if (n > most) {
            fail_msg("%zu of %s %s in the %zu places from %zu on", n, name, value, window, from);
        }
    }
}

static inline void vertical_near(double got, double expected, double relative) {
    if (!(fabs(got - expected) <= relative * fabs(expected))) {
        fail_msg("%.9g instead of %.9g", got, expected);
    }
}

/* Runs a check on a world as it is, and again after a training. */
static inline void vertical_twice(u2i_t *u, void (*check)(u2i_t *u)) {
    check(u);
    vertical_train(u);
    check(u);
}

#endif
