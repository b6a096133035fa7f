/* Tasks for a few threads. Threads live for one call of model_crew(), milliseconds of work at least; the
 * tasks are cut without regard to their number and each writes what is its own, so a result is the same
 * bits whoever does what. */
#include "base/thread.h"
#include "model/model_internal.h"

#define CREW_MAX 256u

struct model_gang {
    model_task_fn fn;
    void *ctx;
    uint32_t tasks;
    _Atomic uint32_t next;
    _Atomic int rc;
};

static void *model_crew_work(void *arg) {
    struct model_gang *const g = arg;
    while (atomic_load(&g->rc) == U2I_OK) {
        const uint32_t task = atomic_fetch_add(&g->next, 1);
        if (task >= g->tasks) {
            break;
        }
        const int rc = g->fn(g->ctx, task);
        if (rc != U2I_OK) {
            int none = U2I_OK;
            (void)atomic_compare_exchange_strong(&g->rc, &none, rc); /* the first error stays */
        }
    }
    return NULL;
}

int model_crew(unsigned threads, uint32_t tasks, model_task_fn fn, void *ctx) {
    struct model_gang g = {.fn = fn, .ctx = ctx, .tasks = tasks};
    pthread_t others[CREW_MAX];
    unsigned wanted = threads == 0 ? thread_cores() : threads;
    wanted = wanted < CREW_MAX ? wanted : CREW_MAX;
    wanted = wanted < tasks ? wanted : tasks;
    unsigned n = 0;
    while (n + 1 < wanted && thread_start(&others[n], "u2i-model", model_crew_work, &g) == U2I_OK) {
        n++; /* fewer hands do it too */
    }
    (void)model_crew_work(&g); /* NULL always */
    for (unsigned i = 0; i < n; i++) {
        (void)pthread_join(others[i], NULL); /* ours, joined once: cannot fail */
    }
    return atomic_load(&g.rc);
}
