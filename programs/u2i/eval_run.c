/* See eval.h. A split's store: made once, then for each variant its settings, a training and the questions.
 * The store is asked by several threads at once; which of them asks whom changes nothing in the answers. */
#include "eval.h"
#include "progress.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVAL_BATCH     10000 /* events of one transaction */
#define EVAL_COLD_ATTR "u2i_eval_cold"

static double eval_now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int eval_run_new(struct eval_run *r, const struct eval_split *s, const struct eval_variant *v) {
    *r = (struct eval_run){.split = s, .variant = v};
    r->items = calloc(s->users_n * EVAL_DEPTH + 1, sizeof *r->items);
    r->counts = calloc(s->users_n + 1, sizeof *r->counts);
    r->scores = calloc(s->users_n + 1, sizeof *r->scores);
    return r->items == NULL || r->counts == NULL || r->scores == NULL ? cli_no_memory() : CLI_OK;
}

void eval_run_free(struct eval_run *r) {
    free(r->items);
    free(r->counts);
    free(r->scores);
    free(r->latency_ms);
    free(r->figures);
}

/* ---- The store -------------------------------------------------------------------------------- */

static int eval_put_catalogue(const struct eval_world *w, const struct eval_split *s,
                              u2i_t *store) {
    u2i_item_t *const items = calloc((size_t)w->catalogue_n + 1, sizeof *items);
    u2i_error_t err;
    int rc = U2I_OK;
    if (items == NULL) {
        return cli_no_memory();
    }
    for (uint32_t i = 0; i < w->catalogue_n; i++) {
        const bool cold = s->cold != NULL && i < s->cold_n && s->cold[i];
        items[i] = (u2i_item_t){.id = w->items.names[i],
                                .title = w->catalogue[i].title,
                                .category = w->catalogue[i].category,
                                .text = w->catalogue[i].text,
                                .attrs_json = cold ? "{\"" EVAL_COLD_ATTR "\":true}" : NULL};
    }
    for (uint32_t at = 0; rc == U2I_OK && at < w->catalogue_n; at += EVAL_BATCH) {
        const uint32_t left = w->catalogue_n - at, n = left < EVAL_BATCH ? left : EVAL_BATCH;
        rc = u2i_put_items(store, items + at, n, sizeof *items, &err);
    }
    free(items);
    return rc == U2I_OK ? CLI_OK : cli_fail(&err, "putting the items");
}

/* What the store calls an action: as --map-action says, else negative ones are dislikes. */
static const char *eval_action(const struct eval_options *o, const char *action) {
    const char *const mapped = json_string_value(json_object_get(o->action_map, action));
    return mapped != NULL ? mapped : eval_is_negative(action) ? "dislike" : action;
}

static u2i_event_t eval_event_of(const struct eval_options *o, const struct eval_world *w,
                                 const struct eval_event *e) {
    return (u2i_event_t){.user = w->users.names[e->user],
                         .item = w->items.names[e->item],
                         .action = eval_action(o, w->actions.names[e->action]),
                         .time_ms = e->time_ms,
                         .value = o->with_value && e->value > 0 ? e->value : 0};
}

static int eval_record_failed(const u2i_error_t *err) {
    cli_error(
        "recording the training events: %s; --map-action THEIRS=OURS renames an action, --set "
        "action.NAME=WEIGHT makes one",
        cli_skip_entry(err->msg));
    return CLI_ERROR;
}

/* Events of items that the catalogue does not have are left out: nothing could be done with them. */
static int eval_record(const struct eval_options *o, const struct eval_world *w,
                       const struct eval_split *s, u2i_t *store) {
    u2i_event_t *const batch = calloc(EVAL_BATCH, sizeof *batch);
    u2i_error_t err;
    size_t n = 0;
    int rc = U2I_OK;
    if (batch == NULL) {
        return cli_no_memory();
    }
    for (size_t i = 0; rc == U2I_OK && i <= s->train.n; i++) {
        if (n == EVAL_BATCH || (i == s->train.n && n > 0)) {
            rc = u2i_record(store, batch, n, sizeof *batch, NULL, &err);
            n = 0;
        }
        if (i < s->train.n && s->train.e[i].item < w->catalogue_n) {
            batch[n++] = eval_event_of(o, w, &s->train.e[i]);
        }
    }
    free(batch);
    return rc == U2I_OK ? CLI_OK : eval_record_failed(&err);
}

/* Settings of a variant; `on` false: back to the default. */
static int eval_set(u2i_t *store, const struct eval_variant *v, bool on) {
    u2i_error_t err;
    for (size_t i = 0; i < v->n; i++) {
        if (u2i_set_setting(store, v->names[i], on ? v->values[i] : NULL, &err) != U2I_OK) {
            cli_error("%s=%s: %s", v->names[i], v->values[i], err.msg);
            return CLI_USAGE;
        }
    }
    return CLI_OK;
}

static int eval_open(const struct eval_options *o, u2i_t **store) {
    u2i_options_t opt = U2I_OPTIONS_INIT;
    u2i_error_t err;
    opt.flags = U2I_OPEN_NEW;
    opt.model = o->model;
    const char *const location = o->store == NULL ? ":memory:" : o->store;
    const int rc = u2i_open(location, &opt, store, &err);
    return rc == U2I_OK ? CLI_OK : cli_fail(&err, location);
}

/* ---- Training --------------------------------------------------------------------------------- */

struct eval_bar {
    struct progress progress;
    const volatile sig_atomic_t *stop;
    const struct eval_run *run;
};

static int eval_train_show(void *ctx, const char *step, uint64_t done, uint64_t total) {
    struct eval_bar *const bar = ctx;
    progress_step(&bar->progress, step, done, total);
    return *bar->stop != 0;
}

static int eval_keep_figure(void *ctx, const u2i_figure_t *figure) {
    text_json_member_real(ctx, figure->name, figure->value);
    return 0;
}

/* The moment of the question: T, else the end of the training log. */
static int64_t eval_split_now(const struct eval_split *s) {
    return s->time_ms != 0 ? s->time_ms : s->end_ms + 1;
}

static int eval_train(const struct eval_options *o, u2i_t *store, struct eval_run *r) {
    u2i_train_options_t opt = U2I_TRAIN_OPTIONS_INIT;
    struct eval_bar bar = {.stop = o->stop};
    struct text figures = {0};
    u2i_error_t err;
    opt.progress = eval_train_show;
    opt.ctx = &bar;
    opt.now_ms = eval_split_now(r->split);
    opt.check = r->variant->check; /* NULL: as a training does by default */
    progress_start(&bar.progress);
    int rc = u2i_train(store, &opt, &err);
    progress_clear(&bar.progress);
    r->train_s = progress_seconds(&bar.progress);
    if (rc == U2I_ETIMEOUT && *o->stop != 0) {
        cli_error("interrupted");
        return CLI_INTERRUPTED;
    }
    if (rc == U2I_OK) {
        text_char(&figures, '{');
        rc = u2i_scan_training(store, eval_keep_figure, &figures, &err);
        text_char(&figures, '}');
    }
    r->figures = figures.p;
    return rc == U2I_OK ? CLI_OK : cli_fail(&err, "train");
}

/* ---- Asking ----------------------------------------------------------------------------------- */

struct eval_ask { /* what the asking threads share */
    const struct eval_options *o;
    const struct eval_world *w;
    u2i_t *store;
    struct eval_run *run;
    atomic_size_t next; /* user to be asked next */
    atomic_int code;
    pthread_mutex_t lock; /* of err */
    u2i_error_t err;      /* of the first that failed */
};

struct eval_question { /* of one thread: history as the library takes it */
    u2i_event_t *events;
    const char **ids;
    size_t cap;
};

static bool eval_question_fill(const struct eval_ask *a, const struct eval_user *user,
                               struct eval_question *q) {
    if (user->n > q->cap) {
        u2i_event_t *const events = realloc(q->events, user->n * sizeof *events);
        q->events = events != NULL ? events : q->events;
        const char **const ids = realloc(q->ids, user->n * sizeof *ids);
        q->ids = ids != NULL ? ids : q->ids;
        if (events == NULL || ids == NULL) {
            return false;
        }
        q->cap = user->n;
    }
    for (size_t i = 0; i < user->n; i++) {
        q->events[i] = eval_event_of(a->o, a->w, &a->run->split->history.e[user->from + i]);
        q->ids[i] = q->events[i].item;
    }
    return true;
}

/* T of the split; without one, the moment after the user's last event (of the log, for a stranger). */
static int64_t eval_question_time(const struct eval_split *s, const struct eval_user *user) {
    int64_t newest = 0;
    for (size_t i = 0; i < user->n; i++) {
        const int64_t t = s->history.e[user->from + i].time_ms;
        newest = t > newest ? t : newest;
    }
    return s->time_ms != 0 || newest == 0 ? eval_split_now(s) : newest + 1;
}

static void eval_keep_answer(struct eval_ask *a, size_t i, const u2i_result_t *answer) {
    const size_t found = u2i_result_count(answer);
    uint32_t *const list = a->run->items + i * EVAL_DEPTH;
    uint32_t n = 0;
    for (size_t k = 0; k < found && n < EVAL_DEPTH; k++) {
        const uint32_t item = eval_ids_find(&a->w->items, u2i_result_hit(answer, k)->id);
        if (item != EVAL_NO_ID) {
            list[n++] = item;
        }
    }
    a->run->counts[i] = n;
}

static int eval_ask_user(struct eval_ask *a, size_t i, struct eval_question *question,
                         u2i_error_t *err) {
    const struct eval_split *const s = a->run->split;
    const struct eval_user *const user = &s->users[i];
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *answer;
    if (!eval_question_fill(a, user, question)) {
        *err = (u2i_error_t){.code = U2I_ENOMEM, .offset = -1, .msg = "out of memory"};
        return U2I_ENOMEM;
    }
    q.session = question->events;
    q.session_n = user->n;
    q.exclude = question->ids;
    q.exclude_n = user->n;
    q.time_ms = eval_question_time(s, user);
    q.limit = (uint32_t)a->o->limit;
    q.flags = U2I_NO_REASONS;
    q.filter = s->cold != NULL ? EVAL_COLD_ATTR " == true" : NULL;
    const double start_s = eval_now_s();
    const int rc = u2i_recommend(a->store, &q, &answer, err);
    a->run->latency_ms[i] = (float)((eval_now_s() - start_s) * 1000);
    if (rc == U2I_OK) {
        eval_keep_answer(a, i, answer);
        u2i_result_free(answer);
    }
    return rc;
}

static void *eval_ask_thread(void *ctx) {
    struct eval_ask *const a = ctx;
    struct eval_question question = {NULL, NULL, 0};
    u2i_error_t err;
    size_t i;
    while (atomic_load(&a->code) == U2I_OK && *a->o->stop == 0 &&
           (i = atomic_fetch_add(&a->next, 1)) < a->run->split->users_n) {
        const int rc = eval_ask_user(a, i, &question, &err);
        int expected = U2I_OK;
        if (rc != U2I_OK && atomic_compare_exchange_strong(&a->code, &expected, rc)) {
            (void)pthread_mutex_lock(&a->lock); /* a plain mutex of our own: cannot fail */
            a->err = err;
            (void)pthread_mutex_unlock(&a->lock);
        }
    }
    free(question.events);
    free(question.ids);
    return NULL;
}

#define EVAL_THREADS_MAX 64

static int eval_ask_all(const struct eval_options *o, const struct eval_world *w, u2i_t *store,
                        struct eval_run *r) {
    struct eval_ask a = {.o = o, .w = w, .store = store, .run = r};
    pthread_t threads[EVAL_THREADS_MAX];
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = o->threads > 0 ? o->threads : cores > 0 ? (size_t)cores : 1, started = 0;
    wanted = wanted < EVAL_THREADS_MAX ? wanted : EVAL_THREADS_MAX;
    r->latency_ms = calloc(r->split->users_n + 1, sizeof *r->latency_ms);
    if (r->latency_ms == NULL || pthread_mutex_init(&a.lock, NULL) != 0) {
        return cli_no_memory();
    }
    while (started + 1 < wanted &&
           pthread_create(&threads[started], NULL, eval_ask_thread, &a) == 0) {
        started++; /* fewer threads than wanted are only slower */
    }
    (void)eval_ask_thread(&a);
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL); /* it was started, and by us */
    }
    (void)pthread_mutex_destroy(&a.lock); /* nobody holds it */
    if (*o->stop != 0) {
        cli_error("interrupted");
        return CLI_INTERRUPTED;
    }
    return atomic_load(&a.code) == U2I_OK ? CLI_OK : cli_fail(&a.err, "recommend");
}

/* ---- A split ---------------------------------------------------------------------------------- */

static int eval_run_variant(const struct eval_options *o, struct eval_world *w, u2i_t *store,
                            struct eval_run *r) {
    u2i_error_t err;
    int code = eval_set(store, &o->common, true);
    code = code == CLI_OK ? eval_set(store, r->variant, true) : code;
    if (code == CLI_OK && r->variant->untrained) {
        const int rc = u2i_untrain(store, 1, &err);
        code = rc == U2I_OK || rc == U2I_ENOTFOUND ? CLI_OK : cli_fail(&err, "untrain");
    } else if (code == CLI_OK) {
        code = eval_train(o, store, r);
    }
    if (code == CLI_OK && u2i_build_index(store, NULL, NULL, &err) != U2I_OK) {
        code = cli_fail(&err, "index");
    }
    code = code == CLI_OK ? eval_ask_all(o, w, store, r) : code;
    return code == CLI_OK ? eval_set(store, r->variant, false) : code;
}

int eval_run_split(const struct eval_options *o, struct eval_world *w, const struct eval_split *s,
                   struct eval_run *runs) {
    u2i_t *store = NULL;
    int code = eval_open(o, &store);
    code = code == CLI_OK ? eval_set(store, &o->common, true) : code;
    code = code == CLI_OK ? eval_put_catalogue(w, s, store) : code;
    code = code == CLI_OK ? eval_record(o, w, s, store) : code;
    for (size_t v = 0; code == CLI_OK && v < o->variants_n; v++) {
        if (o->variants[v].file == NULL) {
            code = eval_run_variant(o, w, store, &runs[v]);
        }
    }
    return cli_close(store, code);
}
