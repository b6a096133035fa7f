/* No memory: every call of the public API in which an allocation fails either succeeds all the same or
 * returns a clean error, changes nothing, leaks nothing, and works when it is called again.
 *
 * The program is linked with malloc, calloc, realloc and mmap wrapped (cmake/fault.cmake), and gives
 * SQLite and jansson allocators of its own, so each allocation of a call can be made to fail in
 * turn: the first one, then the second, until a call comes through without reaching the one that
 * would fail. What a call changes is numbered by its attempt, so that after it one can see whether an
 * attempt that failed has left something behind. CRoaring is left out: it is a shared library that
 * has no way to be told, and does not check.
 *
 * A call that allocates more often than U2I_FAILURES (150) times is tried at evenly spread allocations
 * only, from a random one on. U2I_SEED. */
#include "fault.h"

#include <jansson.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* ---- Allocators that fail on demand ------------------------------------------------------------------- */

enum oom_source { OOM_OURS = 0, OOM_SQLITE = 1 };
static atomic_long oom_left[2]; /* successful allocations until one fails; < 0: unarmed */
static atomic_bool oom_sticky;  /* once failed, all fail until unarmed */
static atomic_bool oom_fired[2];

static bool oom_fails(enum oom_source source) {
    long left = atomic_load(&oom_left[source]);
    if (left < 0) {
        return false;
    }
    if (left == 0) {
        atomic_store(&oom_fired[source], true);
        if (!atomic_load(&oom_sticky)) {
            atomic_store(&oom_left[source], -1);
        }
        return true;
    }
    atomic_fetch_sub(&oom_left[source], 1);
    return false;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t bytes) {
    return oom_fails(OOM_OURS) ? NULL : __real_malloc(bytes);
}
void *__wrap_calloc(size_t n, size_t size) {
    return oom_fails(OOM_OURS) ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t bytes) {
    return oom_fails(OOM_OURS) ? NULL : __real_realloc(p, bytes);
}
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) {
    if (oom_fails(OOM_OURS)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, bytes, prot, flags, fd, offset);
}

static sqlite3_mem_methods oom_sqlite; /* SQLite's own */
static void *oom_sqlite_malloc(int bytes) {
    return oom_fails(OOM_SQLITE) ? NULL : oom_sqlite.xMalloc(bytes);
}
static void *oom_sqlite_realloc(void *p, int bytes) {
    return oom_fails(OOM_SQLITE) ? NULL : oom_sqlite.xRealloc(p, bytes);
}

static void oom_install(void) {
    atomic_store(&oom_left[OOM_OURS], -1);
    atomic_store(&oom_left[OOM_SQLITE], -1);
    json_set_alloc_funcs(__wrap_malloc, free);
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &oom_sqlite) != SQLITE_OK) {
        fault_die("SQLite does not tell its allocator");
    }
    sqlite3_mem_methods methods = oom_sqlite;
    methods.xMalloc = oom_sqlite_malloc;
    methods.xRealloc = oom_sqlite_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) {
        fault_die("SQLite does not take an allocator");
    }
}

static void oom_arm(enum oom_source source, long after, bool sticky) {
    atomic_store(&oom_sticky, sticky);
    atomic_store(&oom_fired[source], false);
    atomic_store(&oom_left[source], after);
}
/* Whether an allocation failed since. */
static bool oom_disarm(enum oom_source source) {
    atomic_store(&oom_left[source], -1);
    return atomic_load(&oom_fired[source]);
}

/* ---- The calls ------------------------------------------------------------------------------------------ */

struct oom {
    const char *path;
    u2i_t *u;
    uint64_t events, items, users; /* what the acknowledged attempts have made */
    unsigned long failures, calls;
};

/* One call; `attempt` numbers what it makes. */
typedef int (*oom_call_fn)(struct oom *o, unsigned attempt, u2i_error_t *err);

static int oom_put_items(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_item_t items[3];
    char ids[3][32], titles[3][64];
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "i%u-%u", attempt, i);
        (void)snprintf(titles[i], sizeof titles[i], "Title number %u of attempt %u", i, attempt);
        items[i] = (u2i_item_t){.id = ids[i],
                                .title = titles[i],
                                .text = "Once upon a time",
                                .category = "fiction",
                                .attrs_json = "{\"price\": 9.5, \"tags\": [\"a\", \"b\"]}"};
    }
    const int rc = u2i_put_items(o->u, items, 3, sizeof items[0], err);
    o->items += rc == U2I_OK ? 3 : 0;
    return rc;
}

static int oom_record(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_event_t events[4];
    char ids[4][32], user[32];
    size_t recorded = 99;
    (void)snprintf(user, sizeof user, "reader%u", attempt);
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "e%u-%u", attempt, i);
        events[i] = (u2i_event_t){.user = user,
                                  .item = i % 2 ? "a" : "b",
                                  .action = i % 3 ? "view" : "buy",
                                  .time_ms = 1700000000000 + i,
                                  .id = ids[i]};
    }
    const int rc = u2i_record(o->u, events, 4, sizeof events[0], &recorded, err);
    if (recorded != (rc == U2I_OK ? 4 : 0)) {
        fault_die("record: %zu events recorded with %s", recorded, u2i_rc_name(rc));
    }
    o->events += recorded;
    o->users += rc == U2I_OK;
    return rc;
}

static int oom_update_profile(struct oom *o, unsigned attempt, u2i_error_t *err) {
    char id[32];
    const u2i_event_t events[] = {{.item = "a", .action = "buy", .id = id},
                                  {.item = "nope", .action = "buy"}};
    u2i_interactions_t in = U2I_INTERACTIONS_INIT;
    size_t used = 99;
    (void)snprintf(id, sizeof id, "p%u", attempt);
    in.user = "profiled";
    in.events = events;
    in.n = 2;
    in.decay = 0.9;
    const int rc = u2i_update_user_profile(o->u, &in, &used, err);
    o->events += rc == U2I_OK ? 1 : 0;
    if (rc == U2I_OK && used != 1) {
        fault_die("update_user_profile used %zu entries", used);
    }
    return rc;
}

static int oom_put_users(struct oom *o, unsigned attempt, u2i_error_t *err) {
    char id[32];
    const u2i_user_t user = {id, "ships and sails", "{\"age\": 40}", 0};
    (void)snprintf(id, sizeof id, "put%u", attempt);
    const int rc = u2i_put_users(o->u, &user, 1, sizeof user, err);
    o->users += rc == U2I_OK;
    return rc;
}

/* A question of any kind that must give an answer with something in it. */
static int oom_ask(struct oom *o,
                   int (*ask)(u2i_t *, const u2i_query_t *, u2i_result_t **, u2i_error_t *),
                   const u2i_query_t *q, u2i_error_t *err) {
    u2i_result_t *r = (u2i_result_t *)o;
    const int rc = ask(o->u, q, &r, err);
    if (rc != U2I_OK && r != NULL) {
        fault_die("a failed question leaves a result");
    }
    if (rc == U2I_OK && u2i_result_count(r) == 0) {
        fault_die("an answer is empty");
    }
    u2i_result_free(rc == U2I_OK ? r : NULL);
    return rc;
}

static int oom_recommend(struct oom *o, unsigned attempt, u2i_error_t *err) {
    static const char *const exclude[] = {"a", "unknown"};
    const u2i_param_t params[] = {{.name = "p", .type = U2I_INT, .value.i = 100},
                                  {.name = "c", .type = U2I_STRING, .value.s = "fiction"}};
    u2i_query_t q = U2I_QUERY_INIT;
    (void)attempt;
    q.user = "profiled";
    q.filter = "category == {c} and (price < {p} or array_contains(tags, \"x\"))";
    q.params = params;
    q.params_n = 2;
    q.exclude = exclude;
    q.exclude_n = 2;
    return oom_ask(o, u2i_recommend, &q, err);
}

static int oom_recommend_cold(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    (void)attempt;
    q.user = "stranger";
    q.interests = "time";
    return oom_ask(o, u2i_recommend, &q, err);
}

/* From then on there is a model, and questions go by it. */
static int oom_train(struct oom *o, unsigned attempt, u2i_error_t *err) {
    (void)attempt;
    const int rc = u2i_train(o->u, NULL, err);
    return rc == U2I_ENOTFOUND ? U2I_OK : rc; /* too little to learn from is an answer too */
}

static int oom_recommend_rules(struct oom *o, unsigned attempt, u2i_error_t *err) {
    static const u2i_event_t session[] = {{.item = "b", .action = "like", .time_ms = 1700000000000},
                                          {.item = "unknown", .action = "like"}};
    u2i_query_t q = U2I_QUERY_INIT;
    (void)attempt;
    q.user = "profiled";
    q.session = session;
    q.session_n = 2;
    q.diversity = 0.5;
    q.rules = "filter price is null or price < 100\nboost price < {history.price.high} by 2\n"
              "cap category 5\nagain buy after 30d\nshown cap 3 within 1d\npin b at 2\n"
              "promote category == \"fiction\" share 50%\nmatch tags with {user.tags} by 2\n"
              "filter price > {user.nothing} else price is null or price < 1000";
    return oom_ask(o, u2i_recommend, &q, err);
}

static int oom_popular(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    (void)attempt;
    q.filter = "id like \"%a%\" or price in [9.5, 10]";
    return oom_ask(o, u2i_popular, &q, err);
}

static int oom_search(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    (void)attempt;
    q.text = "a title of time";
    return oom_ask(o, u2i_search, &q, err);
}

static int oom_similar_items(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    (void)attempt;
    q.item = "a";
    return oom_ask(o, u2i_similar_items, &q, err);
}

static int oom_similar_users(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    (void)attempt;
    q.user = "profiled";
    return oom_ask(o, u2i_similar_users, &q, err);
}

static int oom_wrong_filter(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = NULL;
    (void)attempt;
    q.filter = "category == \"a\" and (price <";
    const int rc = u2i_recommend(o->u, &q, &r, err);
    return rc == U2I_EFILTER && r == NULL ? U2I_OK : rc; /* what is expected of it */
}

static int oom_get(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_item_t *item = NULL;
    u2i_user_t *user = NULL;
    (void)attempt;
    int rc = u2i_get_item(o->u, "a", &item, err);
    if (rc == U2I_OK) {
        rc = u2i_get_user(o->u, "profiled", &user, err);
    }
    u2i_item_free(item);
    u2i_user_free(user);
    return rc;
}

static int oom_count_item(void *ctx, const u2i_item_t *item) {
    (void)item;
    ++*(uint64_t *)ctx;
    return 0;
}
static int oom_count_event(void *ctx, const u2i_event_t *event) {
    (void)event;
    ++*(uint64_t *)ctx;
    return 0;
}
static int oom_count_user(void *ctx, const u2i_user_t *user) {
    (void)user;
    ++*(uint64_t *)ctx;
    return 0;
}
static int oom_scan(struct oom *o, unsigned attempt, u2i_error_t *err) {
    uint64_t items = 0, events = 0, users = 0;
    (void)attempt;
    int rc = u2i_scan_items(o->u, oom_count_item, &items, err);
    rc = rc == U2I_OK ? u2i_scan_events(o->u, NULL, 0, oom_count_event, &events, err) : rc;
    rc = rc == U2I_OK ? u2i_scan_users(o->u, oom_count_user, &users, err) : rc;
    if (rc == U2I_OK && (items != o->items || events != o->events || users != o->users)) {
        fault_die("%" PRIu64 " items, %" PRIu64 " events, %" PRIu64 " users instead of %" PRIu64
                  ", %" PRIu64 ", %" PRIu64,
                  items, events, users, o->items, o->events, o->users);
    }
    return rc;
}

static int oom_settings(struct oom *o, unsigned attempt, u2i_error_t *err) {
    char value[64];
    int rc = u2i_set_setting(o->u, "half_life_s", attempt % 2 ? "100000" : "200000", err);
    rc = rc == U2I_OK ? u2i_set_setting(o->u, "action.share", "4", err) : rc;
    if (rc == U2I_OK) { /* rules that count everybody's events */
        rc = u2i_set_setting(o->u, "rules",
                             attempt % 2 ? "explore 20% below 5\nlimit share 1000 within 1d"
                                         : "explore 20% below 9\nmutual share",
                             err);
    }
    return rc == U2I_OK ? u2i_get_setting(o->u, "action.share", value, sizeof value, err) : rc;
}

static int oom_stats(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_stats_t stats = U2I_STATS_INIT;
    (void)attempt;
    return u2i_stats(o->u, &stats, err);
}

static int oom_verify(struct oom *o, unsigned attempt, u2i_error_t *err) {
    size_t faults = 0;
    (void)attempt;
    const int rc = u2i_verify(o->u, fault_print_fault, NULL, &faults, err);
    if (rc == U2I_OK && faults != 0) {
        fault_die("verify finds %zu faults", faults);
    }
    return rc;
}

static int oom_reembed(struct oom *o, unsigned attempt, u2i_error_t *err) {
    (void)attempt;
    return u2i_reembed(o->u, NULL, NULL, err);
}

/* To and fro between two lengths of vectors. */
static int oom_reembed_to(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_reembed_options_t to = U2I_REEMBED_OPTIONS_INIT;
    u2i_stats_t stats = U2I_STATS_INIT;
    int rc = u2i_stats(o->u, &stats, err);
    (void)attempt;
    to.model = "hash";
    to.dim = stats.dim == 64 ? 65 : 64;
    if (rc == U2I_OK) {
        rc = u2i_reembed_to(o->u, &to, err);
    }
    return rc == U2I_OK ? u2i_stats(o->u, &stats, err) : rc;
}

/* Puts three, deletes one of them. */
static int oom_delete(struct oom *o, unsigned attempt, u2i_error_t *err) {
    char id[32];
    const char *ids[] = {id, "never"};
    size_t deleted = 99;
    (void)snprintf(id, sizeof id, "i%u-0", attempt);
    int rc = oom_put_items(o, attempt, err);
    if (rc == U2I_OK) {
        rc = u2i_delete_items(o->u, ids, 2, &deleted, err);
        o->items -= rc == U2I_OK ? deleted : 0;
    }
    return rc;
}

/* Makes a user with four events, deletes it. */
static int oom_delete_user(struct oom *o, unsigned attempt, u2i_error_t *err) {
    char id[32];
    (void)snprintf(id, sizeof id, "reader%u", attempt);
    int rc = oom_record(o, attempt, err);
    if (rc == U2I_OK) {
        rc = u2i_delete_user(o->u, id, err);
        o->users -= rc == U2I_OK;
        o->events -= rc == U2I_OK ? 4 : 0;
    }
    return rc;
}

static int oom_open(const char *path, u2i_t **out, u2i_error_t *err) {
    return u2i_open(path, NULL, out, err);
}

/* The result of the calls before comes first. Closing has no message, so it gets one here. */
static int oom_close(u2i_t *u, int rc, u2i_error_t *err) {
    const int closed = u2i_close(u);
    if (rc == U2I_OK && closed != U2I_OK) {
        *err = (u2i_error_t){.code = closed, .msg = "close"};
    }
    return rc == U2I_OK ? closed : rc;
}

/* All that a fresh handle has to load, on a second one. */
static int oom_open_and_ask(struct oom *o, unsigned attempt, u2i_error_t *err) {
    u2i_t *first = o->u;
    int rc = oom_open(o->path, &o->u, err);
    if (rc == U2I_OK) {
        rc = oom_recommend(o, attempt, err);
        rc = oom_close(o->u, rc, err);
    }
    o->u = first;
    return rc;
}

/* A store that is made, written and closed. */
static int oom_create(struct oom *o, unsigned attempt, u2i_error_t *err) {
    struct oom fresh = {.path = o->path};
    char path[400];
    (void)snprintf(path, sizeof path, "%s.%u", o->path, attempt);
    int rc = oom_open(strcmp(o->path, ":memory:") == 0 ? o->path : path, &fresh.u, err);
    if (rc == U2I_OK) {
        rc = oom_put_items(&fresh, attempt, err);
        rc = oom_close(fresh.u, rc, err);
    }
    fault_remove_store(path);
    return rc;
}

/* ---- Failing each allocation in turn ------------------------------------------------------------------- */

static const struct oom_call {
    const char *name;
    oom_call_fn run;
    bool on_disk; /* needs a file */
} oom_calls[] = {{"create", oom_create, false},
                 {"put_items", oom_put_items, false},
                 {"record", oom_record, false},
                 {"update_user_profile", oom_update_profile, false},
                 {"put_users", oom_put_users, false},
                 {"recommend", oom_recommend, false},
                 {"recommend to a stranger", oom_recommend_cold, false},
                 {"a wrong filter", oom_wrong_filter, false},
                 {"popular", oom_popular, false},
                 {"search", oom_search, false},
                 {"similar_items", oom_similar_items, false},
                 {"similar_users", oom_similar_users, false},
                 {"train", oom_train, false},
                 {"recommend by rules", oom_recommend_rules, false},
                 {"recommend after a training", oom_recommend, false},
                 {"get_item, get_user", oom_get, false},
                 {"scans", oom_scan, false},
                 {"settings", oom_settings, false},
                 {"stats", oom_stats, false},
                 {"verify", oom_verify, false},
                 {"reembed", oom_reembed, false},
                 {"reembed_to", oom_reembed_to, true},
                 {"delete_items", oom_delete, false},
                 {"delete_user", oom_delete_user, false},
                 {"open and recommend", oom_open_and_ask, true}};

static void oom_check_error(const struct oom_call *call, long after, int rc,
                            const u2i_error_t *err) {
    const bool clean =
        (rc == U2I_ENOMEM || rc == U2I_EIO) && err->code == rc && err->msg[0] != '\0';
    if (!clean) {
        fault_die("%s with allocation %ld failing: %s (%s)", call->name, after, u2i_rc_name(rc),
                  err->msg);
    }
}

/* The call must work, and nothing be left of what failed. */
static void oom_check_intact(struct oom *o, const struct oom_call *call, unsigned attempt,
                             long after) {
    u2i_error_t err = {0};
    if (call->run(o, attempt, &err) != U2I_OK || oom_scan(o, attempt, &err) != U2I_OK ||
        oom_verify(o, attempt, &err) != U2I_OK) {
        fault_die("%s does not work after allocation %ld failed: %s", call->name, after, err.msg);
    }
}

struct oom_mode {
    enum oom_source source;
    bool sticky;
    long most; /* failures of one call */
    struct fault_rng *rng;
};

/* How many allocations the call makes when none fails. */
static long oom_count(struct oom *o, const struct oom_call *call, const struct oom_mode *mode,
                      unsigned attempt) {
    u2i_error_t err = {0};
    oom_arm(mode->source, LONG_MAX, false);
    const int rc = call->run(o, attempt, &err);
    const long left = atomic_load(&oom_left[mode->source]);
    (void)oom_disarm(mode->source); /* it has not fired */
    if (rc != U2I_OK) {
        fault_die("%s: %s", call->name, err.msg);
    }
    return LONG_MAX - left;
}

/* Attempts are numbered over all calls, so that no two make the same thing. */
static void oom_try_all(struct oom *o, const struct oom_call *call, const struct oom_mode *mode) {
    static unsigned attempt = 0;
    const long count = oom_count(o, call, mode, ++attempt);
    const long stride = 1 + count / mode->most;
    long after = fault_below(mode->rng, (uint32_t)stride);
    unsigned long failures = 0, calls = 0;
    for (bool fired = true; fired; after += stride) {
        u2i_error_t err = {0};
        attempt++;
        oom_arm(mode->source, after, mode->sticky);
        const int rc = call->run(o, attempt, &err);
        fired = oom_disarm(mode->source);
        if (rc != U2I_OK) {
            oom_check_error(call, after, rc, &err);
            failures++;
            if (failures % 16 == 1) {
                oom_check_intact(o, call, ++attempt, after);
            }
        }
        calls++;
    }
    o->failures += failures;
    o->calls += calls;
    oom_check_intact(o, call, ++attempt, after);
    (void)printf("  %-24s %5ld allocations, %5lu calls with one failing, %5lu clean errors\n",
                 call->name, count, calls, failures);
    (void)fflush(stdout);
}

static void oom_begin(struct oom *o) {
    u2i_error_t err;
    const u2i_item_t items[] = {{.id = "a", .title = "A title of time", .category = "fiction"},
                                {.id = "b", .title = "B", .category = "fiction"}};
    if (oom_open(o->path, &o->u, &err) != U2I_OK ||
        u2i_put_items(o->u, items, 2, sizeof items[0], &err) != U2I_OK) {
        fault_die("open: %s", err.msg);
    }
    o->items = 2;
    if (oom_put_items(o, 1000000, &err) != U2I_OK || oom_record(o, 1000000, &err) != U2I_OK ||
        oom_update_profile(o, 1000000, &err) != U2I_OK) {
        fault_die("begin: %s", err.msg);
    }
    o->users++; /* the profiled one */
}

static void oom_run(const char *path, const struct oom_mode *mode) {
    struct oom o = {.path = path};
    const bool on_disk = strcmp(path, ":memory:") != 0;
    u2i_error_t err;
    (void)printf("%s, %s fails, %s\n", on_disk ? "a file" : ":memory:",
                 mode->source == OOM_OURS ? "our allocator" : "SQLite's allocator",
                 mode->sticky ? "and all after it" : "once");
    oom_begin(&o);
    for (size_t i = 0; i < sizeof oom_calls / sizeof oom_calls[0]; i++) {
        if (on_disk || !oom_calls[i].on_disk) {
            oom_try_all(&o, &oom_calls[i], mode);
        }
    }
    if (u2i_close(o.u) != U2I_OK) {
        fault_die("close");
    }
    if (on_disk) { /* and the file is sound */
        if (oom_open(path, &o.u, &err) != U2I_OK || oom_scan(&o, 0, &err) != U2I_OK ||
            oom_verify(&o, 0, &err) != U2I_OK) {
            fault_die("opening again: %s", err.msg);
        }
        (void)u2i_close(o.u); /* nothing was written */
        fault_remove_store(path);
    }
    (void)printf("  %lu calls with a failing allocation, %lu clean errors, store intact\n", o.calls,
                 o.failures);
}

/* In memory where that is possible: this is not about the disk, and a commit need not wait for it. */
static void oom_make_dir(char *dir, size_t bytes) {
    (void)snprintf(dir, bytes, "/dev/shm/u2i-fault-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        fault_make_dir(dir, bytes);
    }
}

int main(void) {
    char dir[256], path[300];
    struct fault_rng rng = fault_rng_open("oom");
    const long most = (long)fault_env("U2I_FAILURES", 150);
    oom_install();
    oom_make_dir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/store.db", dir);
    for (int sticky = 0; sticky < 2; sticky++) {
        const struct oom_mode ours = {OOM_OURS, sticky, most, &rng};
        const struct oom_mode sqlite = {OOM_SQLITE, sticky, most, &rng};
        oom_run(":memory:", &ours);
        oom_run(path, &ours);
        oom_run(path, &sqlite);
    }
    fault_remove_dir(dir);
    return 0;
}
