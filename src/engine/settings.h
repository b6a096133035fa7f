/* Settings: their names, defaults, ranges and help in one table; their values, parsed and checked,
 * in one struct that the rest of the engine reads. Stored as text, so that a newer version's setting
 * survives an older one. No locks: the engine replaces the struct while nobody reads. */
#ifndef U2I_ENGINE_SETTINGS_H
#define U2I_ENGINE_SETTINGS_H

#include "model/model.h"
#include "profile/profile.h"
#include "rules.h"
#include "store/store.h"
#include "u2i.h"

/* What an action means for a profile. */
struct action {
    char name[U2I_ACTION_MAX_BYTES + 1];
    float weight; /* < 0: a dislike that also pulls away; 0: neither likes nor counts as seen */
    bool exclude; /* the item is never recommended to this user again */
};

#define SETTINGS_NAMES_MAX_BYTES  1000
#define SETTINGS_PATH_MAX_BYTES   1023
#define SETTINGS_PREFIX_MAX_BYTES 256

/* Ranking rules, as text and parsed; both owned, NULL = none. */
struct settings_rules {
    char *text;
    struct rules *parsed;
};

enum settings_mode {
    SETTINGS_HYBRID = 0,   /* learnt vectors, moved by every event */
    SETTINGS_REALTIME = 1, /* nothing learnt: content, neighbours and popularity of this moment */
    SETTINGS_OFFLINE = 2   /* learnt vectors of the last training, users' events up to it */
};

enum settings_long_texts { SETTINGS_CUT = 0, SETTINGS_AVERAGE = 1 };

struct settings {
    struct profile_recency recency;
    uint32_t window;
    char unknown_action[U2I_ACTION_MAX_BYTES + 1]; /* "" = refuse */
    enum store_unknown_item unknown_item;
    int durability; /* 0 full, 1 normal: the store reads it from its table by itself */
    double popular_half_life_s, recent_half_life_s, popular_blend;
    uint32_t max_future_s;
    struct index_config index; /* of items' and users' vectors */
    struct action *actions;    /* sorted by name */
    size_t actions_n, actions_cap;
    int mode;         /* enum settings_mode */
    double diversity; /* 0..1 */
    struct settings_rules rules;
    int model_precision; /* enum embed_precision */
    int long_texts;      /* enum settings_long_texts */
    char query_prefix[SETTINGS_PREFIX_MAX_BYTES + 1];
    char passage_prefix[SETTINGS_PREFIX_MAX_BYTES + 1];
    char model_folder[SETTINGS_PATH_MAX_BYTES + 1]; /* of the embedder; "" = it needs none */
    char model_url[SETTINGS_PATH_MAX_BYTES + 1];    /* the same; "" = it is no remote one */
    char protected[SETTINGS_NAMES_MAX_BYTES + 1];   /* names of attributes, separated by spaces */
    int train_auto;                                 /* 0 off, 1 on */
    uint32_t train_parts;                           /* bits 1u << enum model_part; 0 = all */
    double train_after_events;                      /* share of the log that has to be new */
};

int settings_init(struct settings *s, u2i_error_t *err); /* the defaults */
void settings_free(struct settings *s);
/* Parses and stores one value; NULL = the default (an added action is removed). U2I_ENOTFOUND for an
 * unknown name, U2I_EINVAL with what is accepted; s is unchanged then. */
int settings_put(struct settings *s, const char *name, const char *value, u2i_error_t *err);
/* Value as text into buf. U2I_ENOTFOUND, U2I_EINVAL (does not fit; the message says how much it needs). */
int settings_print(const struct settings *s, const char *name, char *buf, size_t bytes,
                   u2i_error_t *err);
/* Every setting in order of name, as the public scan shows it; non-zero from fn stops. */
void settings_each(const struct settings *s, u2i_setting_fn fn, void *ctx);
const struct action *settings_action(const struct settings *s, const char *name); /* NULL */
/* Is the attribute kept out of what is learnt of users (setting `protected`)? */
bool settings_protects(const struct settings *s, const char *attribute);

#endif
