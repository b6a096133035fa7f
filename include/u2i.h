/* u2i.h - user-to-item recommendations, embedded.
 *
 * Put items in, record what users do, ask what to show next. One handle is one store: a SQLite
 * file, or ":memory:" for one that lives as long as the handle.
 *
 *     u2i_t *u; u2i_error_t err; u2i_result_t *r;
 *     if (u2i_open("shop.db", NULL, &u, &err) != U2I_OK) die(err.msg);
 *     u2i_query_t q = U2I_QUERY_INIT;
 *     q.user = "u7"; q.limit = 5;
 *     if (u2i_recommend(u, &q, &r, &err) == U2I_OK) { ... u2i_result_hit(r, i) ... }
 *     u2i_result_free(r);
 *     u2i_close(u);
 *
 * Rules that hold for every function:
 *  - Strings are UTF-8 and NUL-terminated. Arguments are copied: nothing is kept after the return.
 *  - Fallible calls return U2I_OK (0) or a negative U2I_E* code, and fill `err` unless it is NULL.
 *    On failure out-parameters are set to NULL or 0 and the store is unchanged: a batch is one
 *    transaction. When a write returns U2I_OK it is durable (setting `durability`), and the next
 *    answer of any handle or process on the same file counts it.
 *  - A u2i_t may be used from any number of threads at once; reads run in parallel, writes queue
 *    and share commits. A u2i_result_t belongs to one thread at a time. u2i_close() needs every
 *    other call finished. A handle does not survive fork().
 *  - Units are in the names: _ms milliseconds, _s seconds, _bytes bytes; times are Unix time, UTC.
 *  - Structs that start with struct_size, and the elements of arrays passed with an element size,
 *    only ever grow at the end; 0 or NULL in a field always means "the default", so an older
 *    caller's shorter struct stays correct. */
#ifndef U2I_H
#define U2I_H

#include <stddef.h>
#include <stdint.h>

#ifndef U2I_API
#define U2I_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define U2I_VERSION_MAJOR 0
#define U2I_VERSION_MINOR 1
#define U2I_VERSION_PATCH 0

/* ---- Limits: every one is checked, and a breach is U2I_EINVAL naming the value ------------- */

#define U2I_ID_MAX_BYTES       128 /* item, user and event ids */
#define U2I_TITLE_MAX_BYTES    1024
#define U2I_TEXT_MAX_BYTES     65536 /* an item's text, interests, a search text */
#define U2I_CATEGORY_MAX_BYTES 256
#define U2I_ATTRS_MAX_BYTES    65536 /* attributes as JSON */
#define U2I_ATTRS_MAX_DEPTH    8     /* nesting of objects in attributes */
#define U2I_ACTION_MAX_BYTES   32
#define U2I_FILTER_MAX_BYTES   65536
#define U2I_RULES_MAX_BYTES    8192    /* ranking rules */
#define U2I_FILTER_MAX_DEPTH   64      /* nesting of parentheses and operators */
#define U2I_LIMIT_MAX          1000    /* hits of one query */
#define U2I_EXCLUDE_MAX        1000000 /* ids in one query's exclusion list */
#define U2I_BATCH_MAX          100000  /* items or events of one call */
#define U2I_DIM_MAX            4096
#define U2I_WINDOW_MAX         10000 /* events a profile may look at */
#define U2I_VALUE_MAX          1e6   /* an event's value */

/* ---- Errors ------------------------------------------------------------------------------- */

/* Values are permanent; new ones may be added, so treat an unknown negative code as U2I_EINTERNAL.
 * An enum for the debugger's sake; functions return int. */
enum u2i_rc {
    U2I_OK = 0,
    U2I_EINVAL = -1,     /* an argument breaks its documented contract */
    U2I_ENOMEM = -2,     /* allocation failed */
    U2I_ENOTFOUND = -3,  /* no such user, item, setting or file */
    U2I_EIO = -4,        /* the file system or SQLite failed (disk full, permission, ...) */
    U2I_ECORRUPT = -5,   /* the store does not pass its checks, or is not a u2i store */
    U2I_EVERSION = -6,   /* the store was written by a newer u2i, or struct_size is unknown */
    U2I_EBUSY = -7,      /* another process held the write lock for too long */
    U2I_ETIMEOUT = -8,   /* timeout_ms ran out; nothing was returned */
    U2I_EFILTER = -9,    /* the filter is wrong; err->offset is the byte where */
    U2I_EEMBED = -10,    /* no embedder for this text, or another embedder than the store's */
    U2I_EREMOTE = -11,   /* a remote service answered with an error */
    U2I_EINTERNAL = -12, /* a bug in u2i: please report err->msg */
    U2I_EREADONLY = -13  /* a write on a store that was opened for reading only */
};

/* Owned by the caller, usually on its stack; so no lifetime, no lock, no thread-local state. */
typedef struct u2i_error {
    int32_t code;   /* one of enum u2i_rc */
    int32_t offset; /* byte offset into a filter, index of the bad element of a batch, or -1 */
    char msg[248];  /* one English line without newline; "" on success */
} u2i_error_t;

U2I_API const char *u2i_rc_name(int rc); /* "U2I_EBUSY"; static storage, never NULL */
U2I_API const char *u2i_version(void);   /* of the library at run time, e.g. "0.1.0" */

/* ---- Opening ------------------------------------------------------------------------------ */

typedef struct u2i u2i_t; /* opaque */

enum { U2I_LOG_ERROR = 0, U2I_LOG_WARN = 1, U2I_LOG_INFO = 2, U2I_LOG_DEBUG = 3 };
/* `line` has no newline and is valid during the call. May be called from any thread. */
typedef void (*u2i_log_fn)(void *ctx, int level, const char *line);

enum {                              /* u2i_options_t.flags */
       U2I_OPEN_READONLY = 1u << 0, /* never writes to the file */
       U2I_OPEN_EXISTING = 1u << 1, /* fail with U2I_ENOTFOUND instead of creating */
       U2I_OPEN_NEW = 1u << 2,      /* fail with U2I_EINVAL if the file exists */
       U2I_OPEN_TRAINS = 1u << 3 /* for a process that stays: a thread trains anew whenever enough
                                       has happened (settings train_auto, train_after_events) */
};

typedef struct u2i_options {
    size_t struct_size;
    uint32_t flags;    /* U2I_OPEN_* */
    uint32_t dim;      /* vector length, as at creation; 0 = the store's, or the model's */
    const char *model; /* "hash" (text, no download); a BERT model by its folder's path (with a '/'
                          in it) or its name in the models' home; "https://HOST/v1#NAME", a
                          remote one; or "none" (the caller's vectors). Only u2i_reembed_to()
                          changes it. NULL = the store's; in a new store "none" if dim is
                          given, else "hash" */
    u2i_log_fn log;    /* NULL = silent */
    void *log_ctx;
} u2i_options_t;
#define U2I_OPTIONS_INIT                                                                           \
    { sizeof(u2i_options_t), 0, 0, NULL, NULL, NULL }

/* `location` is a file path or ":memory:". `opt` may be NULL. The file is created when missing.
 * U2I_EVERSION (newer format), U2I_ECORRUPT (damaged or foreign file), U2I_EEMBED (another model
 * or dim than the store's, both named), U2I_EREMOTE and U2I_ETIMEOUT (a new store's remote model does
 * not say how long its vectors are), U2I_EIO, U2I_EINVAL, U2I_ENOTFOUND, U2I_ENOMEM. */
U2I_API int u2i_open(const char *location, const u2i_options_t *opt, u2i_t **out, u2i_error_t *err);
/* Frees the handle in every case; a non-zero code says the last write may not be durable. */
U2I_API int u2i_close(u2i_t *u); /* NULL is a no-op */

/* ---- Items -------------------------------------------------------------------------------- */

typedef struct u2i_item {
    const char *id;         /* 1..U2I_ID_MAX_BYTES, unique */
    const char *title;      /* what people see; embedded together with category and text */
    const char *text;       /* description; may be NULL */
    const char *category;   /* may be NULL; field `category` in filters */
    const char *attrs_json; /* object to filter on, {"price": 9.5, "tags": ["a"]}; may be NULL */
    const float *vector;    /* model "none": `dim` finite floats, not all zero (kept at unit
                               length). Otherwise NULL: the model embeds the text */
} u2i_item_t;

/* Inserts or replaces n <= U2I_BATCH_MAX items in one transaction; a replaced item keeps its
 * events. `item_size` is sizeof(u2i_item_t), the stride of the array.
 * U2I_EINVAL (err->offset is the index of the first bad item; an id twice in one batch is bad),
 * U2I_EEMBED, U2I_EREMOTE and U2I_ETIMEOUT (of a remote model), U2I_EIO, U2I_EBUSY, U2I_EREADONLY, U2I_ENOMEM. */
U2I_API int u2i_put_items(u2i_t *u, const u2i_item_t *items, size_t n, size_t item_size,
                          u2i_error_t *err);
/* A copy of one item, one allocation; free with u2i_item_free(). vector is NULL if it has none.
 * U2I_ENOTFOUND, U2I_ECORRUPT, U2I_EIO, U2I_ENOMEM. */
U2I_API int u2i_get_item(u2i_t *u, const char *id, u2i_item_t **out, u2i_error_t *err);
U2I_API void u2i_item_free(u2i_item_t *item); /* NULL is a no-op */
/* Unknown ids are skipped; *deleted (may be NULL) gets the number that existed. The events of a
 * deleted item stay in the log and count again when an item is put under the same id. */
U2I_API int u2i_delete_items(u2i_t *u, const char *const *ids, size_t n, size_t *deleted,
                             u2i_error_t *err);
/* Return non-zero to stop; the scan then returns U2I_OK. The item is valid during the call. */
typedef int (*u2i_item_fn)(void *ctx, const u2i_item_t *item);
/* All items, in the order in which their ids were first seen, as of one moment. The callback must
 * not use the handle. */
U2I_API int u2i_scan_items(u2i_t *u, u2i_item_fn fn, void *ctx, u2i_error_t *err);

/* ---- Events: what users do ---------------------------------------------------------------- */

typedef struct u2i_event {
    const char *user;   /* 1..U2I_ID_MAX_BYTES; created on first sight */
    const char *item;   /* must exist, unless the setting `unknown_item` is "keep" */
    const char *action; /* purchase 5, buy 3, add_cart 3, favorite 2.5, like 2.5, click 1.5,
                           view 1, impression 0, dislike 0 and excludes the item; the setting
                           `action.NAME` changes a weight or adds an action */
    int64_t time_ms;    /* 0 = now; at most `max_future_s` ahead of now */
    float value;        /* multiplies the weight; 0 = 1; finite, 0..U2I_VALUE_MAX */
    const char *id;     /* optional: an event with an id that was recorded before is skipped, so
                           that a retry changes nothing */
} u2i_event_t;

/* Appends n <= U2I_BATCH_MAX events in one transaction. *recorded (may be NULL) gets how many
 * were new. U2I_EINVAL or U2I_ENOTFOUND (unknown item) for the whole batch, with err->offset the
 * index of the first bad event; U2I_EIO, U2I_EBUSY, U2I_EREADONLY, U2I_ENOMEM. */
U2I_API int u2i_record(u2i_t *u, const u2i_event_t *events, size_t n, size_t event_size,
                       size_t *recorded, u2i_error_t *err);
/* Return non-zero to stop; the scan then returns U2I_OK. The event is valid during the call. */
typedef int (*u2i_event_fn)(void *ctx, const u2i_event_t *event);
/* The newest `limit` events of one user (newest first), or with user NULL all events of all users
 * in the order in which they were recorded (limit 0 = all). Only the latter tell each event's `id`.
 * The callback must not use the handle. U2I_ENOTFOUND for an unknown user. */
U2I_API int u2i_scan_events(u2i_t *u, const char *user, size_t limit, u2i_event_fn fn, void *ctx,
                            u2i_error_t *err);

/* ---- Users -------------------------------------------------------------------------------- */

typedef struct u2i_user {
    const char *id;         /* 1..U2I_ID_MAX_BYTES */
    const char *interests;  /* free text, used while there is no history; may be NULL */
    const char *attrs_json; /* object, used after interests; may be NULL */
    double decay;           /* (0, 1): this user's events weigh decay^rank; 0 = the store's mode */
} u2i_user_t;

/* Inserts or replaces what is known of users besides their events. Errors as u2i_put_items(). */
U2I_API int u2i_put_users(u2i_t *u, const u2i_user_t *users, size_t n, size_t user_size,
                          u2i_error_t *err);
/* A copy of one user; free with u2i_user_free(). U2I_ENOTFOUND, U2I_EIO, U2I_ENOMEM. */
U2I_API int u2i_get_user(u2i_t *u, const char *id, u2i_user_t **out, u2i_error_t *err);
U2I_API void u2i_user_free(u2i_user_t *user); /* NULL is a no-op */
/* Erases the user and everything known of them: attributes, history, profile. U2I_ENOTFOUND. */
U2I_API int u2i_delete_user(u2i_t *u, const char *id, u2i_error_t *err);
typedef int (*u2i_user_fn)(void *ctx, const u2i_user_t *user);
U2I_API int u2i_scan_users(u2i_t *u, u2i_user_fn fn, void *ctx, u2i_error_t *err);

typedef struct u2i_interactions {
    size_t struct_size;
    const char *user;
    const u2i_event_t *events; /* n of them, newest first; their `user` is ignored */
    size_t n;
    size_t event_size; /* sizeof(u2i_event_t) */
    double decay;      /* (0, 1), e.g. 0.9: this user's events weigh decay^rank from now on;
                          0 leaves the mode as it is */
} u2i_interactions_t;
#define U2I_INTERACTIONS_INIT                                                                      \
    { sizeof(u2i_interactions_t), NULL, NULL, 0, sizeof(u2i_event_t), 0 }

/* Records a user's interactions given as a list, newest first. Entries without a time are taken as
 * happening now, one millisecond apart in list order. The profile is updated, not replaced. Unknown
 * items are skipped, each together with its own weight; *used (may be NULL) gets how many entries
 * were recorded. Other errors as u2i_record(). */
U2I_API int u2i_update_user_profile(u2i_t *u, const u2i_interactions_t *in, size_t *used,
                                    u2i_error_t *err);

/* ---- Asking ------------------------------------------------------------------------------- */

/* A value for a {name} in a filter, so that no caller ever pastes strings together. */
enum { U2I_STRING = 1, U2I_INT = 2, U2I_REAL = 3, U2I_BOOL = 4 };
typedef struct u2i_param {
    const char *name; /* without braces */
    int32_t type;     /* U2I_STRING .. U2I_BOOL, of the value or of each element */
    uint32_t n;       /* 0 = one value; otherwise `list` has n of them (for in, array_contains_*) */
    union {
        const char *s;
        int64_t i; /* also U2I_BOOL: 0 or 1 */
        double r;
        const void *list; /* const char *const *, const int64_t * or const double * */
    } value;
} u2i_param_t;

enum {                          /* u2i_query_t.flags */
       U2I_KEEP_SEEN = 1u << 0, /* default: leave out what the user already acted on */
       U2I_NO_REASONS = 1u << 1 /* leave `because` NULL */
};

typedef struct u2i_query {
    size_t struct_size;
    const char *user;          /* recommend, similar_users: whose profile; search, popular,
                                   similar_items: whose seen items are left out */
    const char *interests;     /* recommend: free text for a user without history */
    const char *item;          /* similar_items: to which */
    const char *text;          /* search: by text */
    const float *vector;       /* search: by vector, `dim` finite floats, not all zero */
    const char *filter;        /* category == "AI" and price < {max}; NULL = none; docs/filter.md */
    const u2i_param_t *params; /* params_n values for the filter's {names} */
    size_t params_n;
    const char *const *exclude; /* exclude_n item ids; unknown ids are ignored */
    size_t exclude_n;
    uint32_t limit;      /* 1..U2I_LIMIT_MAX; 0 = 10 */
    uint32_t timeout_ms; /* 0 = none */
    uint32_t flags;      /* U2I_KEEP_SEEN | ... */
    /* recommend: session_n events that count for this question only, beside the user's recorded ones: of
     * a visitor without a name, or of a caller who keeps histories. In any order; `user` and `id` are
     * ignored, time_ms 0 = the time of the question; unknown items are skipped. */
    const u2i_event_t *session;
    size_t session_n, session_size; /* session_size: sizeof(u2i_event_t) */
    int64_t time_ms;  /* the moment of the question, e.g. when replaying a log; 0 = now */
    double diversity; /* 0..1: how much alike hits push each other down; 0 = as the setting says */
    /* Further ranking rules, one a line, beside the setting's; docs/ranking.md. Not limit, mutual and
     * explore: they count everybody's events, which is done for the setting's only (U2I_EINVAL). */
    const char *rules;
} u2i_query_t;
#define U2I_QUERY_INIT                                                                             \
    {                                                                                              \
        sizeof(u2i_query_t), NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, 0, 0, 0, NULL,  \
            0, sizeof(u2i_event_t), 0, 0, NULL                                                     \
    }

enum u2i_source {
    U2I_FROM_PROFILE = 1,    /* nearest to the profile of the user's events */
    U2I_FROM_INTERESTS = 2,  /* nearest to the query's or the user's interests */
    U2I_FROM_ATTRIBUTES = 3, /* nearest to the user's attributes */
    U2I_FROM_POPULAR = 4,    /* what others act on */
    U2I_FROM_CATALOGUE = 5,  /* no event speaks for it: fills up a list of popular items */
    U2I_FROM_SEARCH = 6,     /* nearest to the given text or vector */
    U2I_FROM_SIMILAR = 7,    /* nearest to the given item or user */
    U2I_FROM_TASTE = 8,      /* learnt from what everybody did: the vectors of u2i_train() */
    U2I_FROM_NEIGHBOURS = 9, /* what others did next, after what this user did */
    U2I_FROM_RULE = 10       /* pinned, promoted or explored by a rule */
};

/* One summand of a hit's score: "ease", "sequence", "boost price < 20", ... */
typedef struct u2i_part {
    const char *name;
    float value;
} u2i_part_t;
/* What one item of the user's history adds to a hit's score. */
typedef struct u2i_pull {
    const char *item, *title; /* title "" where it has none */
    const char *action;       /* what the user did to it last */
    float value;
} u2i_pull_t;

typedef struct u2i_hit { /* read-only, owned by the result; grows at the end */
    const char *id;      /* of the item; of the user for similar_users */
    const char *title;   /* "" when there is none; likewise category */
    const char *category;
    const char *attrs_json; /* "{}" when there are none */
    const char *because;    /* id of the user's item that pulled most, or NULL */
    const char *because_title;
    const char *because_action; /* what the user did to it last */
    float because_share;        /* its part of the positive pull, 0..1 */
    float score;       /* what the order is by: see docs/ranking.md; cosine -1..1 of a search */
    int32_t source;    /* enum u2i_source: what put it forward */
    float probability; /* the score as an estimate of how likely the user acts on it, 0..1 */
    const u2i_part_t *parts; /* parts_n of them; they add up to `score` */
    size_t parts_n;
    const u2i_pull_t *pulls; /* the pulls_n items of the history that add most, best first */
    size_t pulls_n;
} u2i_hit_t;

typedef struct u2i_result u2i_result_t; /* opaque; free with u2i_result_free() */

/* All five: best first, ties by id, so equal stores give equal answers. Fewer than `limit` hits
 * only when fewer items pass the filter and the exclusions; but search by text gives only what has
 * something in common with it, and similar items and users only those that have a vector. Fields
 * that a call does not name above are ignored.
 * U2I_EINVAL, U2I_EFILTER, U2I_ETIMEOUT, U2I_ECORRUPT, U2I_EIO, U2I_ENOMEM. */

/* What should this user see next? An unknown user is not an error but a cold start: interests,
 * then the user's attributes, then popularity; filter, exclusions and limit hold there too. */
U2I_API int u2i_recommend(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err);
/* Long-term and recent decayed event counts, blended; see docs/profiles.md. */
U2I_API int u2i_popular(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err);
/* By content; the item itself is left out. U2I_ENOTFOUND. */
U2I_API int u2i_similar_items(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err);
/* Nearest profiles; the filter does not apply. U2I_ENOTFOUND; no hits for a user without profile. */
U2I_API int u2i_similar_users(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err);
/* By text (U2I_EEMBED with model "none") or by vector; exactly one of them must be given. */
U2I_API int u2i_search(u2i_t *u, const u2i_query_t *q, u2i_result_t **out, u2i_error_t *err);

U2I_API size_t u2i_result_count(const u2i_result_t *r);                   /* 0 for NULL */
U2I_API const u2i_hit_t *u2i_result_hit(const u2i_result_t *r, size_t i); /* NULL past the end */
U2I_API void u2i_result_free(u2i_result_t *r);                            /* NULL is a no-op */

/* How the vectors were searched (of several searches the last one); docs/index.md. */
typedef struct u2i_explain { /* read-only, owned by the result; grows at the end */
    size_t struct_size;      /* of the library's struct */
    const char *search; /* "exact" (all compared), "walk", "filtered walk", "scan" (all that pass
                                were compared), "none"; static */
    uint32_t ef;        /* candidates that a walk kept; 0 = it was none */
    uint32_t compared;  /* vectors compared with the query */
    uint32_t rounds;    /* of a walk; > 1: started again with a larger ef, as too few passed */
    uint64_t passing;   /* about how many vectors passed filter and exclusions */
} u2i_explain_t;
U2I_API const u2i_explain_t *u2i_result_explain(const u2i_result_t *r); /* NULL for NULL */

/* ---- Settings: they change results, so they live in the store ------------------------------ */

typedef struct u2i_setting {
    const char *name;    /* "half_life_s", "action.view", ... */
    const char *value;   /* as text */
    const char *initial; /* the default; "" for an action that was added */
    const char *help;    /* one line: meaning, unit, range */
} u2i_setting_t;
typedef int (*u2i_setting_fn)(void *ctx, const u2i_setting_t *setting);
/* Every setting in order of name. The callback must not use the handle. */
U2I_API int u2i_scan_settings(u2i_t *u, u2i_setting_fn fn, void *ctx, u2i_error_t *err);
/* Copies the value; U2I_ENOTFOUND for an unknown name, U2I_EINVAL if it does not fit. */
U2I_API int u2i_get_setting(u2i_t *u, const char *name, char *value, size_t value_bytes,
                            u2i_error_t *err);
/* value NULL = back to the default. U2I_EINVAL says what the setting accepts. */
U2I_API int u2i_set_setting(u2i_t *u, const char *name, const char *value, u2i_error_t *err);

/* A preset is a set of settings and ranking rules to start from: "ecommerce", "content", "recruitment",
 * "dating" (docs/verticals/). Using it sets them in one go; each can be changed afterwards.
 * U2I_ENOTFOUND names those that there are; U2I_EIO, U2I_EBUSY, U2I_EREADONLY, U2I_ENOMEM. */
U2I_API int u2i_use_preset(u2i_t *u, const char *name, u2i_error_t *err);
/* Return non-zero to stop. Strings are static. */
typedef int (*u2i_preset_fn)(void *ctx, const char *name, const char *help);
U2I_API void u2i_scan_presets(u2i_preset_fn fn, void *ctx);

/* ---- Care --------------------------------------------------------------------------------- */

typedef struct u2i_stats {
    size_t struct_size;       /* set by the caller */
    uint64_t items;           /* live items */
    uint64_t items_unknown;   /* ids that events name but no item has, or has any more */
    uint64_t items_no_vector; /* live items without a vector: found by popularity only */
    uint64_t users;
    uint64_t events;
    uint64_t sequence;     /* number of the last change */
    uint64_t file_bytes;   /* 0 for ":memory:" */
    uint64_t memory_bytes; /* of vectors, ids, attributes and caches */
    uint32_t dim;
    char model[64];              /* "hash-512", "none" */
    char simd[16];               /* "scalar", "avx2", "avx512", "neon" */
    uint64_t index_items;        /* vectors in the index's graph; docs/index.md */
    uint64_t index_pending;      /* vectors that every search compares: few, or not in it yet */
    uint64_t index_bytes;        /* of memory_bytes: the index, with vectors that are in memory */
    uint64_t index_mapped_bytes; /* its file, mapped: read as needed, and not in memory_bytes */
    uint32_t index_ef;           /* candidates kept by a search for 10; 0 = not known yet */
    char model_precision[8];     /* "f32", "int8": what the model computes with; "" = no choice, or
                                    none made before the first text */
    double model_parity; /* mean cosine of "int8" vectors with those in "f32"; 0 = not measured */
} u2i_stats_t;
#define U2I_STATS_INIT                                                                             \
    { sizeof(u2i_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, "", "", 0, 0, 0, 0, 0, "", 0 }
U2I_API int u2i_stats(u2i_t *u, u2i_stats_t *out, u2i_error_t *err);

/* One fault per call; `where` names the table and row, `what` the fault. Must not be NULL. */
typedef void (*u2i_fault_fn)(void *ctx, const char *where, const char *what);
/* Checks every page, vector, text and reference; *faults gets their number. Returns U2I_OK when the
 * check could be made, also if it found faults. */
U2I_API int u2i_verify(u2i_t *u, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err);

/* Return non-zero to stop. `total` may be 0 when it is not known. Must not use the handle. */
typedef int (*u2i_progress_fn)(void *ctx, uint64_t done, uint64_t total);
/* Learns word weights from the whole catalogue and embeds every item anew; happens by itself each
 * time a small catalogue doubles. Stopping keeps what is done, and it goes on at the next open. */
U2I_API int u2i_reembed(u2i_t *u, u2i_progress_fn progress, void *ctx, u2i_error_t *err);

typedef struct u2i_reembed_options {
    size_t struct_size;
    const char *model; /* as u2i_options_t.model, but not "none"; NULL = the store's */
    uint32_t dim; /* of "hash", or of a remote model that offers several; 0 = the model's own */
    /* The settings of the same names for the new vectors. NULL = the default; with the store's own model, as
     * they are. */
    const char *long_texts, *query_prefix, *passage_prefix;
    u2i_progress_fn progress; /* may be NULL */
    void *ctx;
} u2i_reembed_options_t;
#define U2I_REEMBED_OPTIONS_INIT                                                                   \
    { sizeof(u2i_reembed_options_t), NULL, 0, NULL, NULL, NULL, NULL, NULL }
/* Gives the store another model: embeds every item with it beside the vectors in use, which serve everybody until the
 * last one is made; then all of them, the model's name, the dim and the settings change in one transaction, for every
 * process. Items without text end up without a vector. Being stopped (U2I_ETIMEOUT), an error, and kill -9 keep what
 * is made: the same call goes on, one for another model discards it. Handles stay open. One whose dim is not that of the store
 * any more neither takes nor shows vectors (U2I_EEMBED, and NULL in items): close it and open the store again. What a training
 * learnt of content is of no use after it; the next one learns it anew. With model and settings as they are it is u2i_reembed().
 * U2I_EINVAL (also for ":memory:"), U2I_EEMBED, U2I_ENOTFOUND, U2I_EREMOTE, U2I_EBUSY (it is being done already), U2I_EREADONLY,
 * U2I_EIO, U2I_ENOMEM. */
U2I_API int u2i_reembed_to(u2i_t *u, const u2i_reembed_options_t *opt, u2i_error_t *err);
/* Waits until every vector is in the index and the index is on disk. Both happen by themselves too, a
 * little later, and searches find everything meanwhile, only slower. Stopping (U2I_ETIMEOUT) ends
 * the waiting, not the work. U2I_EIO, U2I_ENOMEM. */
U2I_API int u2i_build_index(u2i_t *u, u2i_progress_fn progress, void *ctx, u2i_error_t *err);

/* ---- Training ----------------------------------------------------------------------------- */

/* Return non-zero to cancel (U2I_ETIMEOUT, nothing has changed). `step` says in a word what is being
 * done; `total` may be 0. Must not use the handle. */
typedef int (*u2i_train_fn)(void *ctx, const char *step, uint64_t done, uint64_t total);
typedef struct u2i_train_options {
    size_t struct_size;
    u2i_train_fn progress; /* may be NULL */
    void *ctx;
    int64_t now_ms; /* the moment that it is for: later events are left out; 0 = now */
    /* How the settings are checked: "time": the newest part of the log is to be guessed from what was
     * before it; "users": the last events of users left out of the training. NULL: "time" if the log
     * is long enough for it. */
    const char *check;
} u2i_train_options_t;
#define U2I_TRAIN_OPTIONS_INIT                                                                     \
    { sizeof(u2i_train_options_t), NULL, NULL, 0, NULL }
/* Learns taste vectors, neighbours and their weights from all events, checks them on events that it
 * holds back, stores them, and exchanges them for the ones in use, in every process, in one moment;
 * nobody waits meanwhile. The figure check.better says whether the lists beat popularity's. Where
 * there is nothing to learn from it is U2I_ENOTFOUND, and answers stay as they were. One training at a
 * time, of all processes on the store: U2I_EBUSY. U2I_ENOMEM (also when the estimate says that memory
 * will not do), U2I_ETIMEOUT, U2I_EIO, U2I_EREADONLY. */
U2I_API int u2i_train(u2i_t *u, const u2i_train_options_t *opt, u2i_error_t *err);
/* Back to what was in use before the last training (and with `all`, before any). U2I_ENOTFOUND. */
U2I_API int u2i_untrain(u2i_t *u, int all, u2i_error_t *err);

typedef struct u2i_figure {
    const char *name; /* "version", "check.ndcg10", "weight.ease", ... */
    double value;
    const char *help; /* one line: meaning, unit */
} u2i_figure_t;
typedef int (*u2i_figure_fn)(void *ctx, const u2i_figure_t *figure);
/* What the training in use has learnt and what its check found; none without one. */
U2I_API int u2i_scan_training(u2i_t *u, u2i_figure_fn fn, void *ctx, u2i_error_t *err);

/* ---- Text to vector ------------------------------------------------------------------------- */

typedef struct u2i_text { /* any of the first three may be NULL */
    const char *title, *category, *text;
    int32_t query; /* not 0: what is searched with, which some models embed in another way */
} u2i_text_t;
typedef struct u2i_embedding {
    size_t struct_size;
    const u2i_text_t *texts; /* n <= U2I_BATCH_MAX of them */
    size_t n, text_size;     /* text_size: sizeof(u2i_text_t) */
    float *vectors;          /* gets n x dim floats */
    uint32_t dim;            /* the store's (u2i_stats_t.dim), as room was made for it */
} u2i_embedding_t;
#define U2I_EMBEDDING_INIT                                                                         \
    { sizeof(u2i_embedding_t), NULL, 0, sizeof(u2i_text_t), NULL, 0 }
/* The vectors that the store's model makes of texts, each of unit length; all zeros where a text has nothing in
 * it to embed. Nothing is stored. U2I_EINVAL (another dim than the store's, or err->offset is the index of the
 * first bad text), U2I_EEMBED (model "none", or one that cannot be opened), U2I_EREMOTE, U2I_ENOMEM. */
U2I_API int u2i_embed(u2i_t *u, const u2i_embedding_t *what, u2i_error_t *err);

/* ---- Models: folders that make vectors of text, and where they are kept ------------------------ */

/* The models' home is $U2I_MODELS, else $XDG_DATA_HOME/u2i/models, else ~/.local/share/u2i/models. A model in
 * there is called by its name, any other one by the path of its folder (with a '/' in it). These calls
 * need no store. */

#define U2I_PATH_MAX_BYTES 4096 /* of a model's path, the NUL included */

typedef struct u2i_model {
    size_t struct_size; /* set by the caller; in a callback it is the library's */
    char name[128];     /* of its folder */
    char path[U2I_PATH_MAX_BYTES];
    uint64_t bytes; /* of all files in it */
    /* Not filled in by u2i_scan_models(), which does not open them: */
    char model[64]; /* what u2i_stats_t calls it: the name with a checksum */
    uint32_t dim;   /* length of its vectors */
    uint32_t layers;
    uint32_t tokens_max; /* of a text; what is longer is cut */
    uint32_t vocabulary; /* tokens */
    char pooling[16];    /* "mean", "cls" */
    char weights[16];    /* type of the file's values: "F32", "F16", "BF16" */
    char precision[8];   /* "int8", "f32": what the setting model_precision "auto" takes here */
    double parity; /* mean cosine of its int8 vectors with those in f32, of built-in texts; 0 = not
                            measured, as int8 is not faster here */
} u2i_model_t;
#define U2I_MODEL_INIT                                                                             \
    { sizeof(u2i_model_t), "", "", 0, "", 0, 0, 0, 0, "", "", "", 0 }

/* Loads all of a model, a name or a path, and embeds some texts with it. U2I_EEMBED says which file, field or
 * tensor is wrong; U2I_ENOTFOUND, U2I_EINVAL, U2I_EIO, U2I_ENOMEM. */
U2I_API int u2i_model_check(const char *model, u2i_model_t *out, u2i_error_t *err);
/* Checks the model in a folder, and copies what matters of it into the models' home, under the name `as` (NULL: the
 * folder's). Where the same files are there by that name, nothing happens. `out` may be NULL. U2I_EINVAL if it is
 * the name of another model, U2I_EBUSY; otherwise as u2i_model_check(). */
U2I_API int u2i_model_add(const char *folder, const char *as, u2i_model_t *out, u2i_error_t *err);

typedef struct u2i_model_get_options {
    size_t struct_size;
    const char *endpoint; /* of the hub; NULL = $HF_ENDPOINT, else "https://huggingface.co" */
    const char *revision; /* branch, tag or commit; NULL = "main" */
    const char *as;       /* the name in the models' home; NULL = the last part of its name there */
    u2i_progress_fn progress; /* bytes; may be NULL. Stopping (U2I_ETIMEOUT) keeps what is there */
    void *ctx;
} u2i_model_get_options_t;
#define U2I_MODEL_GET_OPTIONS_INIT                                                                 \
    { sizeof(u2i_model_get_options_t), NULL, NULL, NULL, NULL, NULL }
/* Downloads the files of a model that matter from a hub ("sentence-transformers/all-MiniLM-L6-v2"), checks their
 * sizes and checksums, and the model, and only then puts it into the models' home. What an earlier call has
 * left off is gone on with. $HF_TOKEN is sent to the endpoint, if it is set. `opt` and `out` may be NULL.
 * U2I_ENOTFOUND (the hub has no such model), U2I_EREMOTE (it failed, or sent something else than it
 * promised), U2I_EEMBED (not a model that u2i can load), U2I_EBUSY (another process is at it); otherwise as
 * u2i_model_add(). */
U2I_API int u2i_model_get(const char *name, const u2i_model_get_options_t *opt, u2i_model_t *out,
                          u2i_error_t *err);

/* Return non-zero to stop. The model is valid during the call. */
typedef int (*u2i_model_fn)(void *ctx, const u2i_model_t *model);
/* Every model in the models' home, in order of name; none if there is no home. */
U2I_API int u2i_scan_models(u2i_model_fn fn, void *ctx, u2i_error_t *err);

#ifdef __cplusplus
}
#endif
#endif /* U2I_H */
