/* Training in the background, for a process that stays: when enough has happened since the last training,
 * a thread of low priority trains anew. Never two at once, and at most a tenth of the time. */
#include "engine_internal.h"

#include "base/error.h"

#define LEARNER_EVENTS_MIN 1000u /* with fewer events there is little to learn */
#define LEARNER_PATIENCE                                                                           \
    10 /* as many times as long as the last training took, nothing is trained */
#define LEARNER_LOOK_MS 1000u /* between two looks at the log's size */

static int learner_stop_asked(void *ctx, const char *step, uint64_t done, uint64_t total) {
    const struct engine *e = ctx;
    (void)step;
    (void)done;
    (void)total;
    return atomic_load(&e->learner.stop);
}

/* Whether the share of events that the model hasn't seen is large enough. */
static bool learner_due(struct engine *e) {
    struct store_stats s;
    if (e->ops->stats(e->store, &s, NULL) != U2I_OK || engine_read_begin(e, NULL) != U2I_OK) {
        return false;
    }
    const bool wanted = e->settings.train_auto != 0;
    const double after = e->settings.train_after_events;
    /* Another process may have trained, too. Content vectors of another embedder are as good as a new log. */
    const uint64_t own = e->learner.trained_at;
    const uint64_t known = e->trained.content_gone ? 0 : e->trained.events;
    const uint64_t seen = own > known ? own : known;
    e->ops->read_end(e->store);
    return wanted && s.events >= LEARNER_EVENTS_MIN &&
           (double)(s.events - (seen < s.events ? seen : s.events)) >= after * (double)s.events;
}

static void learner_train(struct engine *e) {
    u2i_error_t err;
    struct store_stats s;
    const u2i_train_options_t opt = {sizeof(opt), learner_stop_asked, e, 0, NULL};
    const int64_t begin_ns = clock_ticks_ns(e->clock);
    if (e->ops->stats(e->store, &s, NULL) != U2I_OK) {
        return;
    }
    const int rc = engine_train(e, &opt, &err);
    const int64_t end_ns = clock_ticks_ns(e->clock);
    e->learner.rest_until_ns = end_ns + LEARNER_PATIENCE * (end_ns - begin_ns);
    if (rc == U2I_OK ||
        rc == U2I_ENOTFOUND) { /* that there is too little to learn holds for a while */
        e->learner.trained_at = s.events;
    } else if (rc != U2I_ETIMEOUT && rc != U2I_EBUSY) {
        log_line(&e->log, U2I_LOG_WARN, "training in the background: %s", err.msg);
    }
}

static void *learner_run(void *arg) {
    struct engine *e = arg;
    thread_background();
    while (!atomic_load(&e->learner.stop)) {
        const uint32_t seen = gate_read(&e->learner.gate);
        if (clock_ticks_ns(e->clock) >= e->learner.rest_until_ns && learner_due(e)) {
            learner_train(e);
        }
        if (!atomic_load(&e->learner.stop)) {
            gate_wait(&e->learner.gate, seen, LEARNER_LOOK_MS);
        }
    }
    return NULL;
}

int learner_start(struct engine *e, u2i_error_t *err) {
    if (thread_start(&e->learner.thread, "u2i-learner", learner_run, e) != U2I_OK) {
        return error_set(err, U2I_EIO, "the thread that trains cannot be started");
    }
    e->learner.running = true;
    return U2I_OK;
}

void learner_stop(struct engine *e) {
    if (e->learner.running) {
        atomic_store(&e->learner.stop, true);
        gate_open(&e->learner.gate);
        (void)pthread_join(e->learner.thread, NULL); /* it is ours and joinable */
        e->learner.running = false;
    }
}
