/* What the files of engine/ share.
 *
 * Everything derived (settings, actions, popularity, histories, stale users) is guarded by the store's
 * read section: answers look at it inside one, and it is changed only by the store's listener or by
 * store->alone(), when none is open. Beside that there are, in the order in which they are taken:
 *   settings_lock  for recording, which needs no read section: also held where settings are exchanged
 *   reembedding  held for the whole of learning and re-embedding
 *   training     held for the whole of a training: one at a time
 *   exchanging   while the model in use or single taste vectors are exchanged
 *   puts         shared by writes of items; exclusive by one step of a re-embedding
 *   neighbours_lock  inside a read section: bringing the index of profiles up to date, by whoever asks
 *   neighbours_use   the index itself: shared by searches, exclusive by changes; its thread takes only this
 *   embedding    shared while a text is embedded, exclusive while the embedder is exchanged; whoever
 *                holds it takes nothing else */
#ifndef U2I_ENGINE_INTERNAL_H
#define U2I_ENGINE_INTERNAL_H

#include "base/arena.h"
#include "base/thread.h"
#include "embed/embed.h"
#include "embedding_batch.h"
#include "engine.h"
#include "history.h"
#include "index/index.h"
#include "model/model.h"
#include "profile/profile.h"
#include "settings.h"
#include "store/store.h"
#include "tally.h"
#include <stdatomic.h>

/* A training's result; trained.c. */
#define TRAINED_TOKEN_BYTES 24
struct trained {
    struct model *model; /* NULL = none, or it can't be read */
    uint32_t version;    /* counts trainings */
    bool content_gone;   /* the store has got other content vectors since */
    float weight_max; /* of an event, what it was trained with: trained_weight() is divided by it */
    int64_t now_ms;   /* the moment of the training */
    uint64_t events;  /* in the log at that time */
    float popular_max;               /* the largest model_popular() */
    char token[TRAINED_TOKEN_BYTES]; /* names its bytes in the store; "" = none */
};
struct trained_header { /* what its bytes begin with */
    uint32_t magic, version;
    float weight_max;
    uint32_t embedders; /* store->models: which content vectors it has learnt from */
    int64_t now_ms;
    uint64_t events;
};
struct trained_tokens { /* as the setting has them; "" = none */
    char newest[TRAINED_TOKEN_BYTES], before[TRAINED_TOKEN_BYTES];
};

struct learner { /* trains in the background; learner.c */
    pthread_t thread;
    bool running;
    atomic_bool stop;
    struct gate gate;
    int64_t rest_until_ns; /* its own: not before */
    uint64_t trained_at;   /* its own: events in the store at the last training */
};

/* What an embedder is opened from. */
enum embedding_kind { EMBEDDING_NONE, EMBEDDING_HASH, EMBEDDING_FOLDER, EMBEDDING_REMOTE };
struct embedding_source {
    enum embedding_kind kind;
    char name[64]; /* as the store has it: "hash-512" */
    uint32_t dim;
    char
        place[SETTINGS_PATH_MAX_BYTES + 1]; /* the folder's whole path, or URL; "": it needs none */
    bool asks_dim; /* a remote model is told how long its vectors shall be */
};
/* How it embeds, as the settings say. */
struct embedding_manner {
    enum embed_precision
        precision; /* alone changes vectors hardly: it holds for the next opening */
    bool windows;
    char query_prefix[SETTINGS_PREFIX_MAX_BYTES + 1];
    char passage_prefix[SETTINGS_PREFIX_MAX_BYTES + 1];
};
struct embedding_header { /* what its saved state begins with */
    uint32_t magic, number, items;
};

struct engine {
    struct store *store;
    const struct store_ops *ops;
    const struct clock *clock;
    struct log log;
    bool readonly;
    bool is_new; /* the store was made with: */
    struct embedding_source created;
    uint32_t caller_dim; /* the vectors' length as the caller knows it */
    char *location;      /* the file's whole path; NULL: in memory */
    char *cache;         /* folder for what can be made again; NULL: none */

    struct settings settings;
    atomic_bool settings_stale;
    pthread_mutex_t settings_lock;
    const struct action **actions; /* by the store's number; NULL where no setting names it */
    size_t actions_n, actions_cap;

    struct popularity *popularity;
    atomic_bool popularity_stale;
    atomic_bool deriving;          /* popularity is being counted anew, beside the one in use */
    roaring_bitmap_t *acted_items; /* rows that events name: a change of one moves profiles */
    uint64_t counted_seq;          /* events up to here are in popularity */
    atomic_size_t unsaved_events;  /* recorded since popularity was last saved */
    pthread_mutex_t refreshing;    /* one thread at a time derives settings and popularity anew */

    struct tallies *tallies; /* what the rules count; NULL = nothing */
    atomic_bool tallies_stale;
    uint64_t told_seq; /* of the newest event that the listener was told of */

    struct histories *histories;
    struct covisits *covisits; /* of the events that came in since the open */

    pthread_mutex_t reembedding;
    pthread_rwlock_t puts;
    pthread_rwlock_t embedding;
    bool embeds; /* fixed at open; false: the vectors are the caller's */
    struct embedder *embedder;
    struct embedding_batch batch; /* calls of it that go together; inside `embedding` */
    char *model_place;            /* that the caller named; NULL = as the settings say */
    bool asks_dim;                /* of a remote model, as the settings say; under settings_lock */
    struct embedding_manner manner; /* of the embedder in use; under `refreshing` */
    bool can_embed;                 /* else its model could not be opened, for this reason: */
    u2i_error_t embedding_error;
    uint32_t embedding_number;         /* of the embedder's state; 0 = nothing learnt */
    _Atomic uint32_t embedding_newest; /* the number that the store's setting names */
    _Atomic uint32_t learnt_items;     /* how many items the state was learnt from */
    atomic_size_t put_since_learnt;

    pthread_mutex_t training, exchanging;
    int training_lock;            /* the store's, while `training` is held */
    struct trained trained;       /* in use; exchanged while no read section is open */
    struct trained_tokens tokens; /* as the newest settings have them; under `refreshing` */
    atomic_bool training_ends;    /* it exchanges the model itself, and then tells */
    struct learner learner;
    roaring_bitmap_t *stale_taste; /* items whose taste vector is to be looked at again */
    bool all_taste_stale;
    atomic_bool taste_stale; /* any of both */

    pthread_mutex_t neighbours_lock;
    pthread_rwlock_t neighbours_use;
    struct index *neighbours;      /* profiles by user row; NULL before the first question */
    roaring_bitmap_t *stale_users; /* whose profile in `neighbours` is out of date */
    bool all_users_stale;
};

/* engine.c */
/* Before a vector of the caller's is looked at: U2I_EEMBED if its length isn't the store's any more. */
int engine_check_dim(const struct engine *e, u2i_error_t *err);
/* Of what follows a write: that the store has moved since is for the next call to notice; or the write, which is
 * done, would be made again. */
int engine_done(int rc);

/* refresh.c: settings and what follows from them. Call outside of a read section, before any work
 * that depends on settings; cheap when nothing has changed. */
int engine_refresh(struct engine *e, u2i_error_t *err);
/* A read section in which settings and popularity are as the store has them now: beginning one may
 * bring news of another process's commits. End it with ops->read_end(). */
int engine_read_begin(struct engine *e, u2i_error_t *err);
int engine_follow(struct engine *e, u2i_error_t *err); /* the same, only to hear the news */
struct history_source engine_history_source(const struct engine *e);
struct store_listener engine_listener(struct engine *e);

/* popular.c */
struct counted { /* popularity in the making */
    struct popularity *popularity;
    roaring_bitmap_t *items;
    uint64_t seq;
};
int popular_derive(struct engine *e, const struct settings *s, struct counted *out,
                   u2i_error_t *err);
int popular_catch_up(struct engine *e, const struct settings *s, struct counted *c,
                     u2i_error_t *err);
void popular_discard(struct counted *c);
int popular_save(struct engine *e, u2i_error_t *err);
float popular_weight(const struct action *a); /* 0 = does not count */

/* embedding_model.c: which embedder. */
/* `model` as the public options have it. U2I_EEMBED, U2I_ENOTFOUND (no such model), U2I_EINVAL. */
int embedding_resolve(const char *model, uint32_t dim, struct embedding_source *out,
                      u2i_error_t *err);
/* Of a store that has just been made: the settings tell from now on where its model is. */
int embedding_keep_new(struct engine *e, const struct embedding_source *from, u2i_error_t *err);
/* The caller's wish for a model (NULL = any) against what the store has. */
int embedding_check(struct engine *e, const char *model, u2i_error_t *err);
void embedding_source_of(struct engine *e, struct embedding_source *out); /* the store's */
void embedding_manner_of(struct engine *e, struct embedding_manner *out); /* the settings' */
bool embedding_same_manner(const struct embedding_manner *a, const struct embedding_manner *b);
bool embedding_is_same(const char *a, const char *b); /* names of one model */
unsigned embedding_lanes(enum embedding_kind kind);   /* for embedding_batch_init() */
int embedding_create(const struct engine *e, const struct embedding_source *from,
                     const struct embedding_manner *manner, struct embedder **out,
                     u2i_error_t *err);
/* Whether the embedder learns from the catalogue; else a vector depends on its text alone. */
bool embedding_learns(const struct engine *e);

/* embedding.c: the embedder in use. */
#define EMBEDDING_SETTING                                                                          \
    "internal.embedding"                     /* number of the newest state: tells other processes */
#define EMBEDDING_DIM_SETTING "internal.dim" /* "asked": of a remote model, by its request */
int embedding_open(struct engine *e, u2i_error_t *err);
/* Whether text can be embedded: there may be a model that could not be opened. */
static inline bool embedding_can(const struct engine *e) {
    return e->can_embed;
}
void embedding_close(struct engine *e);
/* Takes in a state that another process has learnt, and other prefixes; part of engine_refresh(). */
int embedding_refresh(struct engine *e, u2i_error_t *err);
/* Unit vectors, or zeros where a text has nothing to embed. *number gets that of the state. */
int embedding_run(struct engine *e, const struct embed_text *texts, size_t n, float *out,
                  uint32_t *number, u2i_error_t *err);
/* Whether a text is embedded in a moment, so that it can be done inside a read section. */
bool embedding_is_quick(const struct engine *e);
void embedding_about(struct engine *e, struct embed_about *out);
bool embedding_is_zero(const float *v, uint32_t dim);
/* After a write of vectors of state `number`: embeds them anew if another process has gone on. */
int embedding_settle(struct engine *e, uint32_t number, u2i_error_t *err);
/* Learns and re-embeds if the catalogue has doubled since it was last learnt. */
int embedding_grow(struct engine *e, size_t put, u2i_error_t *err);
/* Teaches an embedder all items' texts; what it has learnt as bytes, and back. */
int embedding_teach(struct engine *e, struct embedder *embedder, uint32_t *items, u2i_error_t *err);
int embedding_pack(const struct embedder *e, uint32_t number, uint32_t items, struct buf *out,
                   u2i_error_t *err);
int embedding_unpack(struct embedder *e, const struct buf *blob, struct embedding_header *h,
                     u2i_error_t *err);

/* taste.c: a user's profile with what it is made of; lives in an arena. */
struct taste {
    float *vector; /* unit; NULL = no positive direction */
    struct profile_entry *entries;
    const float **vectors; /* of the entries; items that are gone have no entry */
    size_t entries_n;
};
int taste_build(struct engine *e, const struct history *h, struct arena *a, struct taste *out,
                u2i_error_t *err);
/* The inner products of the item of `row` with the entries' items: times their weights, the summands of the
 * profile's inner product with it. */
int taste_dots(struct engine *e, const struct taste *t, uint32_t row, struct arena *a, float **out,
               u2i_error_t *err);

/* trained.c: the model in use. */
#define TRAINED_SETTING "internal.model" /* which one is in use, and which one was before */
void trained_parse(const char *value, struct trained_tokens *out); /* NULL = none */
int trained_announce(struct engine *e, const struct trained_tokens *t, u2i_error_t *err);
int trained_save(struct engine *e, const struct trained *l, u2i_error_t *err);
void trained_forget(struct engine *e, const char *token); /* deletes its bytes */
/* Puts `fresh` in use (taken over; a model NULL: none). */
int trained_use(struct engine *e, struct trained *fresh, u2i_error_t *err);
/* Puts in use what e->tokens names, unless it is. Part of engine_refresh(). */
int trained_refresh(struct engine *e, u2i_error_t *err);
/* Gives new and changed items their taste vectors, some thousand at a time. Outside of a read section. */
int trained_catch_up(struct engine *e, uint32_t steps, u2i_error_t *err);
void trained_close(struct engine *e);
/* How much an event says that its user wants the item, 0..1 as long as it is not divided by weight_max. */
float trained_weight(const struct action *a, float value);

/* learner.c */
int learner_start(struct engine *e, u2i_error_t *err);
void learner_stop(struct engine *e); /* waits until a training has ended */

/* neighbours.c */
struct neighbours_query {
    uint32_t user, k;
    const struct deadline *deadline;
    struct store_explain *explain; /* out; untouched if nothing is searched */
};
/* Inside a read section. */
int neighbours_search(struct engine *e, const struct neighbours_query *q, struct hit *out,
                      uint32_t *n, u2i_error_t *err);
/* Takes the settings over; while no read section is open. */
void neighbours_configure(struct engine *e);
/* Waits for the index, if anybody has asked for similar users yet. Without any lock. */
int neighbours_build(struct engine *e, u2i_error_t *err);
size_t neighbours_bytes(struct engine *e); /* inside a read section */

#endif
