/* A busy writer that can be killed at any moment, and the check of what it left behind.
 *
 * Workers (threads, of one process or two) make writes whose content follows from three numbers:
 * round, worker, and the number of the write, `op`. Each worker makes its writes one after the other and
 * sends a ticket through a pipe after a write has returned U2I_OK. So when the parent has read the
 * tickets of a dead process, it knows for each worker how many writes were acknowledged, n: the
 * writes 0 .. n-1 must be there whole, write n may be there whole or not at all, and later ones
 * can't be there. Where the disk goes before the process, a ticket counts if its write had returned
 * before the disk went; of those after it, any number may be there, each one only if all before it are.
 *
 *     op % 16 = 7        deletes the items of write op - 4
 *     op % 4 = 3         puts 3 items  "i/ROUND/WORKER/OP/0" ...
 *     else               records 10 events  "e/ROUND/WORKER/OP/0" ... */
#ifndef U2I_TESTS_FAULT_INGEST_H
#define U2I_TESTS_FAULT_INGEST_H

#include "fault.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum {
    INGEST_ROUNDS = 10, /* of one store */
    INGEST_WORKERS = 6,
    INGEST_OPS = 1500, /* of one worker in one round */
    INGEST_EVENTS = 10,
    INGEST_ITEMS = 3,
    INGEST_BASE_ITEMS = 10
};
#define INGEST_EPOCH_MS 1700000000000

static inline bool ingest_op_deletes(uint32_t op) {
    return op % 16 == 7;
}
static inline bool ingest_op_puts_items(uint32_t op) {
    return op % 4 == 3 && !ingest_op_deletes(op);
}
static inline bool ingest_op_records(uint32_t op) {
    return op % 4 != 3;
}

/* ---- The writer, in a process of its own ---------------------------------------------------------- */

struct ingest_ticket {
    int64_t time_us; /* when the write had returned */
    uint32_t round, worker, op;
};

struct ingest_plan {
    const char *path;
    uint32_t round;
    uint32_t first_worker, workers;
    int tickets;   /* the pipe's end */
    bool may_fail; /* the disk is going to be taken away: an error ends the worker quietly */
    pthread_mutex_t lock;
    uint32_t next_worker;
    u2i_t *u;
    bool index; /* items are indexed however few they are, and the index is saved all the time */
};

/* A failure of the child is an exit code for the parent. */
enum { INGEST_CHILD_FAILED = 9 };
__attribute__((noreturn)) static inline void ingest_child_die(const char *what,
                                                              const u2i_error_t *err) {
    (void)fprintf(stderr, "the writing process: %s: %s\n", what, err->msg);
    _exit(INGEST_CHILD_FAILED);
}

static inline void ingest_vector(uint32_t op, float v[FAULT_DIM]) {
    for (uint32_t i = 0; i < FAULT_DIM; i++) {
        v[i] = i == op % FAULT_DIM ? 1.0f : 0.0f;
    }
}

static inline int ingest_record(struct ingest_plan *p, uint32_t worker, uint32_t op,
                                u2i_error_t *err) {
    u2i_event_t events[INGEST_EVENTS];
    char ids[INGEST_EVENTS][64], items[INGEST_EVENTS][32], user[32];
    (void)snprintf(user, sizeof user, "u%u", worker);
    for (uint32_t i = 0; i < INGEST_EVENTS; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "e/%u/%u/%u/%u", p->round, worker, op, i);
        (void)snprintf(items[i], sizeof items[i], "base%u", (op + i) % INGEST_BASE_ITEMS);
        events[i] = (u2i_event_t){.user = user,
                                  .item = items[i],
                                  .action = "view",
                                  .time_ms = INGEST_EPOCH_MS + op * 100 + i,
                                  .id = ids[i]};
    }
    return u2i_record(p->u, events, INGEST_EVENTS, sizeof events[0], NULL, err);
}

static inline int ingest_put_items(struct ingest_plan *p, uint32_t worker, uint32_t op,
                                   u2i_error_t *err) {
    u2i_item_t items[INGEST_ITEMS];
    char ids[INGEST_ITEMS][64];
    float vector[FAULT_DIM];
    ingest_vector(op, vector);
    for (uint32_t i = 0; i < INGEST_ITEMS; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "i/%u/%u/%u/%u", p->round, worker, op, i);
        items[i] = (u2i_item_t){.id = ids[i], .title = ids[i], .vector = vector};
    }
    return u2i_put_items(p->u, items, INGEST_ITEMS, sizeof items[0], err);
}

static inline int ingest_delete_items(struct ingest_plan *p, uint32_t worker, uint32_t op,
                                      u2i_error_t *err) {
    const char *names[INGEST_ITEMS];
    char ids[INGEST_ITEMS][64];
    for (uint32_t i = 0; i < INGEST_ITEMS; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "i/%u/%u/%u/%u", p->round, worker, op - 4, i);
        names[i] = ids[i];
    }
    return u2i_delete_items(p->u, names, INGEST_ITEMS, NULL, err);
}

static inline void *ingest_work(void *arg) {
    struct ingest_plan *p = arg;
    (void)pthread_mutex_lock(&p->lock); /* cannot fail: a plain mutex */
    const uint32_t worker = p->next_worker++;
    (void)pthread_mutex_unlock(&p->lock);
    for (uint32_t op = 0; op < INGEST_OPS; op++) {
        u2i_error_t err;
        int rc;
        if (ingest_op_deletes(op)) {
            rc = ingest_delete_items(p, worker, op, &err);
        } else if (ingest_op_puts_items(op)) {
            rc = ingest_put_items(p, worker, op, &err);
        } else {
            rc = ingest_record(p, worker, op, &err);
        }
        if (rc != U2I_OK && p->may_fail) {
            break;
        }
        if (rc != U2I_OK) {
            ingest_child_die("a write failed", &err);
        }
        const struct ingest_ticket ticket = {fault_now_us(), p->round, worker, op};
        if (write(p->tickets, &ticket, sizeof ticket) != sizeof ticket) {
            _exit(INGEST_CHILD_FAILED);
        }
    }
    return NULL;
}

static inline int ingest_put_base(u2i_t *u, u2i_error_t *err) {
    u2i_item_t items[INGEST_BASE_ITEMS];
    char ids[INGEST_BASE_ITEMS][32];
    float vectors[INGEST_BASE_ITEMS][FAULT_DIM];
    for (uint32_t i = 0; i < INGEST_BASE_ITEMS; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "base%u", i);
        ingest_vector(i, vectors[i]);
        items[i] = (u2i_item_t){.id = ids[i], .title = ids[i], .vector = vectors[i]};
    }
    return u2i_put_items(u, items, INGEST_BASE_ITEMS, sizeof items[0], err);
}

static inline void *ingest_index(void *arg) {
    struct ingest_plan *p = arg;
    u2i_error_t err;
    for (;;) {
        if (u2i_build_index(p->u, NULL, NULL, &err) != U2I_OK) {
            ingest_child_die("cannot index", &err);
        }
        (void)usleep(1000);
    }
    return NULL;
}

/* The body of the writing process; it ends by being killed, or at the end of its writes. */
__attribute__((noreturn)) static inline void ingest_run(struct ingest_plan *p) {
    pthread_t threads[INGEST_WORKERS];
    u2i_error_t err;
    int rc = fault_open(p->path, &p->u, &err);
    rc = rc == U2I_OK ? ingest_put_base(p->u, &err) : rc;
    if (rc != U2I_OK) {
        if (p->may_fail) {
            _exit(0);
        }
        ingest_child_die("cannot begin", &err);
    }
    pthread_t indexer;
    if (p->index && (u2i_set_setting(p->u, "index_exact_max", "5", &err) != U2I_OK ||
                     pthread_create(&indexer, NULL, ingest_index, p) != 0)) {
        ingest_child_die("cannot begin to index", &err);
    }
    p->next_worker = p->first_worker;
    (void)pthread_mutex_init(&p->lock, NULL); /* cannot fail with default attributes */
    for (uint32_t i = 0; i < p->workers; i++) {
        if (pthread_create(&threads[i], NULL, ingest_work, p) != 0) {
            _exit(INGEST_CHILD_FAILED);
        }
    }
    for (uint32_t i = 0; i < p->workers; i++) {
        (void)pthread_join(threads[i], NULL); /* they end or the process does */
    }
    /* Not closed: whoever waits for us wants to see what a killed process leaves. */
    for (;;) {
        (void)pause();
    }
}

/* ---- The parent's side ---------------------------------------------------------------------------- */

struct ingest_ledger {
    int64_t cut_us; /* when the disk went, 0 = it did not: later tickets promise nothing */
    uint32_t acked[INGEST_ROUNDS][INGEST_WORKERS];     /* writes that must be there */
    uint32_t tickets_n[INGEST_ROUNDS][INGEST_WORKERS]; /* and one more than these at most */
    uint8_t events[INGEST_ROUNDS][INGEST_WORKERS][INGEST_OPS + 1]; /* found, per write */
    uint8_t items[INGEST_ROUNDS][INGEST_WORKERS][INGEST_OPS + 1];
    bool checked[INGEST_ROUNDS];                     /* then `acked` is exactly what is there */
    uint64_t acked_all, late_tickets, beyond, wrong; /* totals */
};

/* Starts a writing process with some of the workers. */
static inline pid_t ingest_start(struct ingest_plan *plan, int pipe_read) {
    (void)fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) {
        fault_die("fork: %s", strerror(errno));
    }
    if (pid == 0) {
        (void)close(pipe_read);
        ingest_run(plan);
    }
    return pid;
}

static inline void ingest_note(struct ingest_ledger *l, const struct ingest_ticket *t) {
    if (t->round >= INGEST_ROUNDS || t->worker >= INGEST_WORKERS ||
        t->op != l->tickets_n[t->round][t->worker]) {
        fault_die("a ticket out of order: round %u worker %u op %u", t->round, t->worker, t->op);
    }
    l->tickets_n[t->round][t->worker]++;
    if (l->cut_us == 0 || t->time_us < l->cut_us) {
        l->acked[t->round][t->worker]++;
        l->acked_all++;
    } else {
        l->late_tickets++;
    }
}

/* Reads tickets until the given moment, or (-1) until all writers are dead and the pipe is empty. */
static inline void ingest_collect(struct ingest_ledger *l, int pipe_read, int64_t until_us) {
    for (;;) {
        const int64_t left = until_us - fault_now_us();
        if (until_us >= 0 && left <= 0) {
            return;
        }
        struct pollfd p = {.fd = pipe_read, .events = POLLIN};
        const int ready = poll(&p, 1, until_us < 0 ? -1 : (int)(left / 1000) + 1);
        if (ready < 0 && errno != EINTR) {
            fault_die("poll: %s", strerror(errno));
        }
        if (ready <= 0) {
            continue;
        }
        struct ingest_ticket tickets[256]; /* a pipe passes writes this short on whole */
        const ssize_t n = read(pipe_read, tickets, sizeof tickets);
        if (n <= 0) {
            return;
        }
        for (size_t i = 0; i < (size_t)n / sizeof tickets[0]; i++) {
            ingest_note(l, &tickets[i]);
        }
    }
}

static inline void ingest_kill(pid_t pid) {
    int status = 0;
    (void)kill(pid, SIGKILL); /* it may have ended by itself, which the status tells */
    if (waitpid(pid, &status, 0) != pid) {
        fault_die("waitpid: %s", strerror(errno));
    }
    const bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!ended_well && !killed) {
        fault_die("the writing process ended by itself, status 0x%x", (unsigned)status);
    }
}

/* ---- The check ------------------------------------------------------------------------------------ */

static inline void ingest_wrong(struct ingest_ledger *l, const char *what, uint32_t round,
                                uint32_t worker, uint32_t op) {
    (void)fprintf(stderr, "round %u worker %u op %u (of %u acknowledged): %s\n", round, worker, op,
                  l->acked[round][worker], what);
    l->wrong++;
}

/* "e/ROUND/WORKER/OP/I"; false for an id that no worker has made. */
static inline bool ingest_parse(const char *id, char kind, uint32_t limit, uint32_t out[4]) {
    int end = 0;
    if (id[0] != kind || id[1] != '/' ||
        sscanf(id + 2, "%u/%u/%u/%u%n", &out[0], &out[1], &out[2], &out[3], &end) != 4) {
        return false;
    }
    return id[2 + end] == '\0' && out[0] < INGEST_ROUNDS && out[1] < INGEST_WORKERS &&
           out[2] <= INGEST_OPS && out[3] < limit;
}

static inline int ingest_see_event(void *ctx, const u2i_event_t *e) {
    struct ingest_ledger *l = ctx;
    uint32_t at[4];
    char user[32], item[32];
    if (e->id == NULL || !ingest_parse(e->id, 'e', INGEST_EVENTS, at)) {
        (void)fprintf(stderr, "an event that nobody recorded: %s\n", e->id != NULL ? e->id : "");
        l->wrong++;
        return 0;
    }
    (void)snprintf(user, sizeof user, "u%u", at[1]);
    (void)snprintf(item, sizeof item, "base%u", (at[2] + at[3]) % INGEST_BASE_ITEMS);
    if (strcmp(e->user, user) != 0 || strcmp(e->item, item) != 0 ||
        strcmp(e->action, "view") != 0 || e->time_ms != INGEST_EPOCH_MS + at[2] * 100 + at[3]) {
        ingest_wrong(l, "an event is not what was recorded", at[0], at[1], at[2]);
    }
    l->events[at[0]][at[1]][at[2]]++;
    return 0;
}

static inline int ingest_see_item(void *ctx, const u2i_item_t *item) {
    struct ingest_ledger *l = ctx;
    uint32_t at[4];
    if (strncmp(item->id, "base", 4) == 0) {
        return 0;
    }
    if (!ingest_parse(item->id, 'i', INGEST_ITEMS, at)) {
        (void)fprintf(stderr, "an item that nobody put: %s\n", item->id);
        l->wrong++;
        return 0;
    }
    float vector[FAULT_DIM];
    ingest_vector(at[2], vector);
    if (item->title == NULL || strcmp(item->title, item->id) != 0 || item->vector == NULL ||
        memcmp(item->vector, vector, sizeof vector) != 0) {
        ingest_wrong(l, "an item is not what was put", at[0], at[1], at[2]);
    }
    l->items[at[0]][at[1]][at[2]]++;
    return 0;
}

/* Whether what was found of write `op` is what the worker's first n writes leave of it. */
static inline bool ingest_op_fits(const struct ingest_ledger *l, uint32_t round, uint32_t worker,
                                  uint32_t op, uint32_t n) {
    const bool done = op < n, deleted = op % 16 == 3 && op + 4 < n;
    const uint32_t events = done && ingest_op_records(op) ? INGEST_EVENTS : 0;
    const uint32_t items = done && ingest_op_puts_items(op) && !deleted ? INGEST_ITEMS : 0;
    return l->events[round][worker][op] == events && l->items[round][worker][op] == items;
}

/* The first write that does not fit; INGEST_OPS if all do. */
static inline uint32_t ingest_first_misfit(const struct ingest_ledger *l, uint32_t round,
                                           uint32_t worker, uint32_t n) {
    uint32_t op = 0;
    while (op < INGEST_OPS && ingest_op_fits(l, round, worker, op, n)) {
        op++;
    }
    return op;
}

/* Finds how many of its writes the worker has left behind: no fewer than were acknowledged, no more
 * than it had begun. Once found, later checks must find the same. */
static inline void ingest_check_worker(struct ingest_ledger *l, uint32_t round, uint32_t worker) {
    const uint32_t least = l->acked[round][worker];
    const uint32_t most = l->checked[round] ? least : l->tickets_n[round][worker] + 1;
    for (uint32_t n = least; n <= most && n <= INGEST_OPS; n++) {
        if (ingest_first_misfit(l, round, worker, n) == INGEST_OPS) {
            l->beyond += n - least;
            l->acked[round][worker] = n;
            return;
        }
    }
    const uint32_t op = ingest_first_misfit(l, round, worker, least);
    char what[120];
    (void)snprintf(what, sizeof what, "lost or half there: %u events and %u items are left of it",
                   l->events[round][worker][op], l->items[round][worker][op]);
    ingest_wrong(l, what, round, worker, op);
}

/* Opens the store, verifies it, and compares all that is in it with the ledger of `rounds` rounds. */
static inline void ingest_check(struct ingest_ledger *l, const char *path, uint32_t rounds) {
    u2i_t *u = NULL;
    u2i_error_t err;
    size_t faults = 0;
    if (fault_open(path, &u, &err) != U2I_OK) {
        fault_die("the store does not open any more: %s", err.msg);
    }
    if (u2i_verify(u, fault_print_fault, NULL, &faults, &err) != U2I_OK || faults != 0) {
        fault_die("verify: %zu faults, %s", faults, err.msg);
    }
    memset(l->events, 0, sizeof l->events);
    memset(l->items, 0, sizeof l->items);
    if (u2i_scan_events(u, NULL, 0, ingest_see_event, l, &err) != U2I_OK ||
        u2i_scan_items(u, ingest_see_item, l, &err) != U2I_OK) {
        fault_die("scan: %s", err.msg);
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t worker = 0; worker < INGEST_WORKERS; worker++) {
            ingest_check_worker(l, round, worker);
        }
        l->checked[round] = true;
    }
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = NULL;
    q.user = "u0";
    if (u2i_recommend(u, &q, &r, &err) != U2I_OK) {
        fault_die("recommend: %s", err.msg);
    }
    u2i_result_free(r);
    if (u2i_close(u) != U2I_OK) {
        fault_die("close failed");
    }
    if (l->wrong > 0) {
        fault_die("%" PRIu64 " writes lost, half there or altered", l->wrong);
    }
}

#endif
