/* What the files of store/sqlite share: the store's struct and the calls between them.
 *
 *   store_sqlite.c  open, close, read sections, the table of functions
 *   dbfile.c        which file is it: create, migrate, refuse
 *   load.c          file -> memory, all of it        follow.c  the same for what others committed
 *   snapshot.c      the index of the vectors on disk verify_index.c  its faults
 *   writer.c        the writing thread: group commit, checkpoints
 *   txn.c           a transaction's numbers, names and changes that memory does not have yet
 *   change_*.c      each kind of write
 *   reader.c        single rows                      scan.c    all rows        verify.c  all faults
 *   lock.c          long work that one handle does at a time
 *   renewal.c       vectors of another model in the making, and their coming into use
 *   conn.c          SQLite's interface, all SQL      seal.c    checksums
 *
 * Locks, in the order in which they are taken:
 *   building    shared by who waits for the index of a catalogue, exclusive to free old ones
 *   turn        whoever changes the catalogue: the writer from just before COMMIT until memory
 *               shows it, or a reader that takes in other processes' commits. So nothing is
 *               taken in twice, and a commit of ours that memory does not show yet is waited for.
 *   watch_lock  the connection that looks for other processes' commits
 *   lock        the catalogue: shared in a read section, exclusive while changes are applied
 *   pool.lock   idle connections for reading
 *
 * The thread of a catalogue's index takes `lock`, alone; and, without any lock, hands the writer a
 * request and waits for it. So an index is freed by who holds neither `turn` nor `lock`, and never by
 * the writing thread: a catalogue that was replaced is put aside (`retired`) for the next reader. */
#ifndef U2I_STORE_SQLITE_INTERNAL_H
#define U2I_STORE_SQLITE_INTERNAL_H

#include "base/thread.h"
#include "conn.h"
#include "seal.h"
#include "store/catalogue.h"
#include "store/store.h"

enum { LITE_POOL_MAX = 16 };

/* Kinds of rows in table changes; on disk, so the values are permanent. */
enum change_kind {
    CHANGE_ITEMS = 1,
    CHANGE_USERS = 2,
    CHANGE_USER_DELETED = 3,
    CHANGE_ACTIONS = 4,
    CHANGE_SETTINGS = 5
};

/* Connections for reading, handed out one thread at a time. */
struct reader_pool {
    pthread_mutex_t lock;
    struct conn *idle[LITE_POOL_MAX];
    size_t idle_n;
};

struct writer;

struct lite {
    struct store base; /* first: a struct store * is a struct lite * */
    char *path;
    char *index_path; /* of the index's file */
    char *taste_path; /* of that of taste */
    bool readonly;
    bool immutable; /* nobody can write to the file while we have it */
    struct log log;
    struct store_listener listener;

    pthread_rwlock_t lock;
    struct catalogue *catalogue;
    struct index_config index_config; /* as the engine has set it */
    struct catalogue *retired;        /* under turn: replaced ones, to be freed */
    atomic_bool any_retired;
    pthread_rwlock_t building;
    _Atomic uint64_t applied; /* the catalogue's sequence, readable without the lock */
    atomic_bool stale; /* memory missed a commit (no memory): load anew before the next read */
    atomic_bool moved; /* the file has vectors of another model by now: STORE_MOVED for ever */

    pthread_mutex_t turn;
    pthread_cond_t turn_ended; /* the writer's transaction is over */
    bool writing;              /* under turn: a transaction of the writer is open */

    pthread_mutex_t watch_lock;
    struct conn watch;
    int64_t watch_version; /* PRAGMA data_version when nothing was behind; -1 = look */

    struct reader_pool pool;
    struct writer *writer;      /* NULL if readonly */
    atomic_bool settings_moved; /* for the writer: look at `durability` again */
};

static inline struct lite *lite_of(struct store *s) {
    return (struct lite *)s;
}

/* dbfile.c: makes sure that the file is a store of ours and of this version, and creates or migrates
 * it. Fills base.dim, base.model, readonly and immutable. `writer` is opened unless readonly. */
int dbfile_open(struct lite *l, const struct store_options *opt, struct conn *writer,
                u2i_error_t *err);
extern const char store_schema_sql[];

/* load.c: the whole file as a new catalogue, read through two connections at one sequence. */
int load_catalogue(struct lite *l, struct catalogue **out, u2i_error_t *err);
/* Attributes as the file has them in two columns (category, attrs) of the current row. Damaged ones
 * (`sound`: the row matches its checksum) are logged and left out. */
int load_attrs(const struct lite *l, sqlite3_stmt *st, int first_column, bool sound,
               struct attrs **out, u2i_error_t *err);
/* Whether the current row of a table of items matches the checksum in `crc_column`, which the two
 * columns of load_attrs() follow. */
bool load_item_sound(sqlite3_stmt *st, int crc_column);
/* The vector in two columns (crc, bytes) of the current row; NULL if there is none, or it is damaged
 * (logged). Not aligned. */
const void *load_vector(const struct lite *l, sqlite3_stmt *st, int first_column, uint32_t row);

/* lock.c */
int lite_lock(struct store *s, const char *what, int *lock, u2i_error_t *err);
void lite_unlock(struct store *s, int lock);

/* verify_index.c: what verify_store() says of the index's file. */
struct verify_index;
int verify_index_begin(struct lite *l, struct verify_index **out, u2i_error_t *err);
/* In the transaction of the check. U2I_ENOMEM: it could not be made. */
int verify_index_check(struct verify_index *v, struct conn *c, u2i_fault_fn fn, void *ctx,
                       size_t *faults, u2i_error_t *err);
void verify_index_end(struct verify_index *v);

/* store_sqlite.c: frees catalogues that were replaced, unless somebody waits for one of their indexes. The
 * caller holds nothing, and is not the writing thread. */
void lite_free_retired(struct lite *l);

/* follow.c: takes in what others committed. The caller holds turn. `c` is in no transaction, or in
 * the writer's. */
int follow_commits(struct lite *l, struct conn *c, u2i_error_t *err);
/* Takes other processes' commits in if there are any, as read_begin() does. */
int follow_refresh(struct lite *l, u2i_error_t *err);

/* renewal.c: STORE_MOVED if the file has another model by now; `c` is in a transaction. */
int renewal_check_moved(struct lite *l, struct conn *c, u2i_error_t *err);
int renewal_moved(const struct lite *l, u2i_error_t *err); /* what is known of it already */
int renewal_begin(struct store *s, const struct store_next *n, struct store_next_counts *out,
                  u2i_error_t *err);
int renewal_items(struct store *s, const struct store_next *n, const uint32_t range[2],
                  store_next_fn fn, void *ctx, u2i_error_t *err);
int renewal_state(struct store *s, const struct store_next *n, const void *p, size_t bytes,
                  u2i_error_t *err);
int renewal_put(struct store *s, const struct store_next *n, const struct store_next_item *items,
                size_t count, u2i_error_t *err);
int renewal_use(struct store *s, const struct store_next *n, const struct store_move *move,
                u2i_error_t *err);
int renewal_drop(struct store *s, u2i_error_t *err);

/* reader.c: connections for reading. */
int reader_take(struct lite *l, struct conn **out, u2i_error_t *err);
void reader_give(struct lite *l, struct conn *c);
void reader_close_all(struct lite *l);
int reader_get_item(struct store *s, uint32_t row, struct arena *a, struct store_item *out,
                    u2i_error_t *err);
int reader_get_user(struct store *s, uint32_t row, struct arena *a, struct store_user *out,
                    u2i_error_t *err);
int reader_user_events(struct store *s, uint32_t user, size_t window, struct store_event_row **out,
                       size_t *n, u2i_error_t *err);
int reader_get_blob(struct store *s, const char *name, struct buf *out, u2i_error_t *err);
/* The current row of a statement that begins as SQL_USER_GET, checked. */
int reader_copy_user(const struct lite *l, sqlite3_stmt *st, struct arena *a,
                     struct store_user *out, u2i_error_t *err);
/* The current row of a statement that begins as SQL_ITEM_GET, checked; all but the vector. */
int reader_copy_item(const struct lite *l, sqlite3_stmt *st, struct arena *a,
                     struct store_item *out, u2i_error_t *err);
/* The text in a column, NULL for NULL; valid until the statement moves. */
struct seal_text reader_text(sqlite3_stmt *st, int column);

/* scan.c */
int scan_items(struct store *s, store_item_fn fn, void *ctx, u2i_error_t *err);
int scan_events(struct store *s, uint64_t after_seq, store_event_fn fn, void *ctx,
                u2i_error_t *err);
int scan_users(struct store *s, store_user_fn fn, void *ctx, u2i_error_t *err);
int scan_settings(struct store *s, store_text_fn fn, void *ctx, u2i_error_t *err);

/* verify.c */
int verify_store(struct store *s, u2i_fault_fn fn, void *ctx, size_t *faults, u2i_error_t *err);

/* change_items.c, change_users.c, change_events.c: the writes of struct store_ops. */
int change_put_items(struct store *s, const struct store_item *items, size_t n, u2i_error_t *err);
int change_put_vectors(struct store *s, const uint32_t *rows, const float *vectors, size_t n,
                       uint32_t embedding, u2i_error_t *err);
int change_delete_items(struct store *s, const char *const *ids, size_t n, size_t *deleted,
                        u2i_error_t *err);
int change_put_events(struct store *s, const struct store_events *in, size_t *recorded,
                      u2i_error_t *err);
int change_put_users(struct store *s, const struct store_user *users, size_t n, u2i_error_t *err);
int change_delete_user(struct store *s, const char *id, u2i_error_t *err);
int change_put_setting(struct store *s, const char *name, const char *value, u2i_error_t *err);
int change_put_blob(struct store *s, const char *name, const void *p, size_t n, u2i_error_t *err);

/* Telling the listener, whose functions may be NULL. Under the exclusive lock. */
void lite_tell_events(const struct lite *l, const struct store_event_row *rows, size_t n);
void lite_tell_user_deleted(const struct lite *l, uint32_t user, const struct store_event_row *rows,
                            size_t n);
void lite_tell_user(const struct lite *l, uint32_t user);
void lite_tell_item(const struct lite *l, uint32_t item);
void lite_tell_settings(const struct lite *l);
void lite_tell_reset(const struct lite *l);

#endif
