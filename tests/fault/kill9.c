/* kill -9 at a random moment of concurrent ingest, again and again: no acknowledged write is lost, no
 * batch is half there.
 *
 * Each round forks one process (every third round two, on the same file) that ingests with several
 * threads (ingest.h), kills it after a random time, which is often in the middle of creating, opening
 * or recovering the store, then opens the store, verifies it, and compares everything in it with what
 * was acknowledged. Every fourth round is not checked, so that the next writing process is the one
 * that finds the dead one's log. A store lives for INGEST_ROUNDS rounds; in every second store the items
 * are indexed and their index is saved all the time: verifying looks at its file too.
 *
 * U2I_ROUNDS (200), U2I_ROUND_MS (100, the longest life of a writer), U2I_SEED. */
#include "ingest.h"

struct kill9 {
    struct fault_rng rng;
    char dir[256], path[300];
    uint32_t round_ms;
    uint32_t snapshots; /* rounds that ended with one */
    struct ingest_ledger *ledger;
};

static void kill9_round(struct kill9 *k, uint32_t round, bool two, bool index) {
    int ends[2];
    if (pipe(ends) != 0) {
        fault_die("pipe: %s", strerror(errno));
    }
    (void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20); /* only so that writers need not wait for us */
    struct ingest_plan plan = {.path = k->path,
                               .round = round,
                               .workers = two ? INGEST_WORKERS / 2 : INGEST_WORKERS,
                               .tickets = ends[1],
                               .index = index};
    const int64_t start = fault_now_us();
    const pid_t first = ingest_start(&plan, ends[0]);
    pid_t second = 0;
    if (two) {
        plan.first_worker = INGEST_WORKERS / 2;
        second = ingest_start(&plan, ends[0]);
    }
    (void)close(ends[1]);
    ingest_collect(k->ledger, ends[0], start + fault_below(&k->rng, k->round_ms * 1000));
    ingest_kill(first);
    if (two) { /* the other one goes on for a while beside a corpse */
        ingest_collect(k->ledger, ends[0],
                       fault_now_us() + fault_below(&k->rng, k->round_ms * 500));
        ingest_kill(second);
    }
    ingest_collect(k->ledger, ends[0], -1);
    (void)close(ends[0]);
    char name[400];
    (void)snprintf(name, sizeof name, "%s-index/content.hnsw", k->path);
    k->snapshots += access(name, F_OK) == 0;
}

int main(void) {
    struct kill9 k = {.rng = fault_rng_open("kill9")};
    const uint32_t rounds = (uint32_t)fault_env("U2I_ROUNDS", 200);
    uint64_t acked = 0, in_flight_kept = 0;
    k.round_ms = (uint32_t)fault_env("U2I_ROUND_MS", 100);
    k.ledger = malloc(sizeof *k.ledger);
    fault_make_dir(k.dir, sizeof k.dir);
    (void)snprintf(k.path, sizeof k.path, "%s/store.db", k.dir);
    if (k.ledger == NULL) {
        fault_die("no memory");
    }
    for (uint32_t i = 0; i < rounds; i++) {
        const uint32_t round = i % INGEST_ROUNDS;
        if (round == 0) {
            fault_remove_store(k.path);
            memset(k.ledger, 0, sizeof *k.ledger);
        }
        kill9_round(&k, round, i % 3 == 2, i / INGEST_ROUNDS % 2 == 1);
        const bool last = round == INGEST_ROUNDS - 1 || i == rounds - 1;
        if (last || i % 4 != 3) {
            ingest_check(k.ledger, k.path, round + 1);
        }
        if (last) {
            acked += k.ledger->acked_all;
            in_flight_kept += k.ledger->beyond;
        }
    }
    (void)printf("kill9: %u kills, %" PRIu64 " acknowledged writes, 0 lost, 0 half there; %" PRIu64
                 " writes in flight were kept whole; an index was there %u times\n",
                 rounds, acked, in_flight_kept, k.snapshots);
    free(k.ledger);
    fault_remove_dir(k.dir);
    return 0;
}
