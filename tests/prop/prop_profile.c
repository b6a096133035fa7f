/* Property: what u2i answers depends on which events there are, not on how they came in.
 *
 * Random catalogues, users and events, with many equal times, late events, dislikes, settings of all
 * modes. The same events go into stores in different ways: at once, one by one in any order, in
 * batches of which some are sent twice, with the store closed and opened in between, through two
 * processes at once, with questions asked all the time (so that caches are warm and have to be kept
 * right), before their items exist, with detours that are taken back, and as lists of interactions. Then
 * all answers must be those of the first way: the same ids, and scores within 1e-5, since sums of
 * floats depend a little on their order.
 *
 * U2I_SEED repeats a run, U2I_STEPS (8) is how many random data sets are tried. */
#include "store_suite.h"

#include <inttypes.h>
#include <sys/wait.h>

#include "base/rng.h"

enum { DIM = 8, ITEMS = 30, USERS = 6, EVENTS = 150, STEP_MS = 3600000 };
#define EPOCH_MS  1700000000000
#define TOLERANCE 1e-5

struct item {
    char id[16];
    float vector[DIM];
};
struct event {
    char user[16], item[16], id[16];
    const char *action;
    int64_t time_ms;
    float value;
};
struct data {
    struct item items[ITEMS];
    struct event events[EVENTS]; /* oldest first */
    const char *settings[4][2];
};

struct world {
    uint64_t seed;
    struct rng
        rng; /* of the ways; the data has its own, so that another process can make it again */
    struct data data;
    char dir[256], path[300];
    const char *way;
};

/* ---- Data --------------------------------------------------------------------------------------- */

static void make_items(struct rng *r, struct data *d) {
    for (uint32_t i = 0; i < ITEMS; i++) {
        (void)snprintf(d->items[i].id, sizeof d->items[i].id, "i%u", i);
        for (size_t k = 0; k < DIM; k++) {
            d->items[i].vector[k] = (float)rng_normal(r);
        }
    }
}

static void make_events(struct rng *r, struct data *d) {
    static const char *const actions[] = {"view", "view", "click", "buy", "dislike", "impression"};
    int64_t time_ms = EPOCH_MS;
    for (uint32_t i = 0; i < EVENTS; i++) {
        struct event *e = &d->events[i];
        time_ms += (int64_t)rng_below(r, 3) * STEP_MS; /* every third one shares its time */
        (void)snprintf(e->user, sizeof e->user, "u%u", rng_below(r, USERS));
        (void)snprintf(e->item, sizeof e->item, "i%u", rng_below(r, ITEMS));
        (void)snprintf(e->id, sizeof e->id, "e%u", i);
        e->action = actions[rng_below(r, 6)];
        e->time_ms = time_ms;
        e->value = (float)rng_below(r, 4) / 2; /* 0 stands for 1 */
    }
}

static void make_settings(struct rng *r, struct data *d) {
    static const char *const modes[] = {"rank", "decay", "half_life"};
    static const char *const windows[] = {"3", "10", "500"};
    static const char *const dislikes[] = {"exclude", "-2", "0"};
    static const char *const half_lives[] = {"7776000", "86400"};
    const char *const chosen[4][2] = {{"profile_mode", modes[rng_below(r, 3)]},
                                      {"window", windows[rng_below(r, 3)]},
                                      {"action.dislike", dislikes[rng_below(r, 3)]},
                                      {"half_life_s", half_lives[rng_below(r, 2)]}};
    memcpy(d->settings, chosen, sizeof chosen);
}

static void make_data(uint64_t seed, struct data *d) {
    struct rng r;
    rng_seed(&r, seed);
    make_items(&r, d);
    make_events(&r, d);
    make_settings(&r, d);
}

/* ---- Putting it in -------------------------------------------------------------------------------- */

static u2i_t *open_store(const char *path) {
    u2i_t *u = NULL;
    u2i_error_t err;
    u2i_options_t opt = U2I_OPTIONS_INIT;
    opt.dim = DIM;
    opt.model = "none";
    SUITE_OK(u2i_open(path, &opt, &u, &err));
    return u;
}

static u2i_t *reopen_store(u2i_t *u, const char *path) {
    assert_int_equal(u2i_close(u), U2I_OK);
    return open_store(path);
}

static void put_settings(u2i_t *u, const struct data *d) {
    u2i_error_t err;
    SUITE_OK(u2i_set_setting(u, "durability", "normal", &err)); /* not about power cuts */
    for (size_t i = 0; i < 4; i++) {
        SUITE_OK(u2i_set_setting(u, d->settings[i][0], d->settings[i][1], &err));
    }
}

static void put_items(u2i_t *u, const struct data *d, const uint32_t *order) {
    u2i_error_t err;
    u2i_item_t items[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        const struct item *item = &d->items[order != NULL ? order[i] : i];
        items[i] = (u2i_item_t){.id = item->id, .title = item->id, .vector = item->vector};
    }
    SUITE_OK(u2i_put_items(u, items, ITEMS, sizeof items[0], &err));
}

static u2i_event_t event_of(const struct event *e) {
    return (u2i_event_t){e->user, e->item, e->action, e->time_ms, e->value, e->id};
}

/* Records the events with these numbers, in this order, in one batch. */
static void record(u2i_t *u, const struct data *d, const uint32_t *numbers, size_t n) {
    u2i_error_t err;
    u2i_event_t events[EVENTS];
    for (size_t i = 0; i < n; i++) {
        events[i] = event_of(&d->events[numbers[i]]);
    }
    SUITE_OK(u2i_record(u, events, n, sizeof events[0], NULL, &err));
}

/* 0 .. n-1 in random order. */
static void shuffle(struct rng *r, uint32_t *order, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t other = rng_below(r, i + 1);
        order[i] = order[other];
        order[other] = i;
    }
}

/* ---- Answers -------------------------------------------------------------------------------------- */

enum { QUESTIONS = 3 * USERS + 2 };

struct answer {
    size_t n;
    struct {
        char id[16];
        float score, share;
    } hits[ITEMS + USERS];
};
struct answers {
    struct answer of[QUESTIONS];
};

static int compare_hits(const void *a, const void *b) {
    return strcmp(a, b); /* the id comes first */
}

/* Keeps the hits in order of id: equal scores may come in any order when they are equal only nearly. */
static void keep_answer(u2i_result_t *r, struct answer *out) {
    out->n = u2i_result_count(r);
    assert_true(out->n <= ITEMS + USERS);
    for (size_t i = 0; i < out->n; i++) {
        const u2i_hit_t *hit = u2i_result_hit(r, i);
        assert_true(i == 0 || hit->score <= u2i_result_hit(r, i - 1)->score);
        (void)snprintf(out->hits[i].id, sizeof out->hits[i].id, "%s", hit->id);
        out->hits[i].score = hit->score;
        out->hits[i].share = hit->because_share;
    }
    qsort(out->hits, out->n, sizeof out->hits[0], compare_hits);
    u2i_result_free(r);
}

static void ask_user(u2i_t *u, const char *user, struct answer out[3]) {
    u2i_error_t err;
    u2i_result_t *r = NULL;
    u2i_query_t q = U2I_QUERY_INIT;
    q.user = user;
    q.limit = U2I_LIMIT_MAX;
    SUITE_OK(u2i_recommend(u, &q, &r, &err));
    keep_answer(r, &out[0]);
    q.flags = U2I_KEEP_SEEN;
    SUITE_OK(u2i_recommend(u, &q, &r, &err));
    keep_answer(r, &out[1]);
    out[2].n = 0;
    const int rc = u2i_similar_users(u, &q, &r, &err);
    if (rc != U2I_ENOTFOUND) { /* it may have no event at all */
        SUITE_OK(rc);
        keep_answer(r, &out[2]);
    }
}

static void ask_all(u2i_t *u, struct answers *out) {
    u2i_error_t err;
    u2i_result_t *r = NULL;
    u2i_query_t q = U2I_QUERY_INIT;
    q.limit = U2I_LIMIT_MAX;
    for (uint32_t i = 0; i < USERS; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "u%u", i);
        ask_user(u, user, &out->of[3 * (size_t)i]);
    }
    SUITE_OK(u2i_popular(u, &q, &r, &err));
    keep_answer(r, &out->of[QUESTIONS - 2]);
    q.user = "stranger";
    SUITE_OK(u2i_recommend(u, &q, &r, &err));
    keep_answer(r, &out->of[QUESTIONS - 1]);
}

static void compare_answer(const struct world *w, size_t question, const struct answer *want,
                           const struct answer *got) {
    bool same = want->n == got->n;
    for (size_t i = 0; same && i < want->n; i++) {
        same = strcmp(want->hits[i].id, got->hits[i].id) == 0 &&
               fabs((double)want->hits[i].score - (double)got->hits[i].score) <= TOLERANCE &&
               fabs((double)want->hits[i].share - (double)got->hits[i].share) <= 10 * TOLERANCE;
        if (!same) {
            print_error("%s %.7f (share %.7f) instead of %s %.7f (share %.7f)\n", got->hits[i].id,
                        (double)got->hits[i].score, (double)got->hits[i].share, want->hits[i].id,
                        (double)want->hits[i].score, (double)want->hits[i].share);
        }
    }
    if (!same) {
        print_error("U2I_SEED=%" PRIu64 ", %s, question %zu: %zu hits differ from the %zu of the "
                    "first way (%s %s, %s %s, %s %s)\n",
                    w->seed, w->way, question, got->n, want->n, w->data.settings[0][0],
                    w->data.settings[0][1], w->data.settings[1][0], w->data.settings[1][1],
                    w->data.settings[2][0], w->data.settings[2][1]);
        fail();
    }
}

/* ---- Ways ----------------------------------------------------------------------------------------- */

static u2i_t *begin(const char *path, const struct data *d) {
    u2i_t *u = open_store(path);
    put_settings(u, d);
    put_items(u, d, NULL);
    return u;
}

static u2i_t *at_once(struct world *w) {
    uint32_t order[EVENTS];
    u2i_t *u = begin(":memory:", &w->data);
    for (uint32_t i = 0; i < EVENTS; i++) {
        order[i] = i;
    }
    record(u, &w->data, order, EVENTS);
    return u;
}

static u2i_t *one_by_one_in_any_order(struct world *w) {
    uint32_t order[EVENTS], items[ITEMS];
    u2i_t *u = open_store(":memory:");
    shuffle(&w->rng, items, ITEMS); /* so that row numbers are other ones */
    put_items(u, &w->data, items);
    shuffle(&w->rng, order, EVENTS);
    for (uint32_t i = 0; i < EVENTS; i++) {
        record(u, &w->data, &order[i], 1);
    }
    put_settings(u, &w->data); /* settings hold for old events as well */
    return u;
}

static u2i_t *in_batches_some_of_them_twice(struct world *w) {
    uint32_t order[EVENTS];
    u2i_t *u = begin(w->path, &w->data);
    shuffle(&w->rng, order, EVENTS);
    for (uint32_t at = 0; at < EVENTS;) {
        const uint32_t left = EVENTS - at;
        const uint32_t n = 1 + rng_below(&w->rng, left < 40 ? left : 40);
        record(u, &w->data, order + at, n);
        if (rng_below(&w->rng, 2) == 0) {
            record(u, &w->data, order + at, n);
        }
        at += n;
    }
    return u;
}

static u2i_t *opened_again_in_between(struct world *w) {
    uint32_t order[EVENTS];
    u2i_t *u = begin(w->path, &w->data);
    shuffle(&w->rng, order, EVENTS);
    for (uint32_t at = 0; at < EVENTS; at += EVENTS / 5) {
        record(u, &w->data, order + at, EVENTS / 5);
        u = reopen_store(u, w->path);
    }
    return u;
}

static u2i_t *asked_all_the_time(struct world *w) {
    uint32_t order[EVENTS];
    struct answers ignored;
    u2i_t *u = begin(rng_below(&w->rng, 2) ? ":memory:" : w->path, &w->data);
    shuffle(&w->rng, order, EVENTS);
    for (uint32_t at = 0; at < EVENTS; at += 2) {
        record(u, &w->data, order + at, 2);
        if (rng_below(&w->rng, 4) == 0) {
            ask_all(u, &ignored);
        }
    }
    return u;
}

static u2i_t *before_their_items_exist(struct world *w) {
    u2i_error_t err;
    uint32_t order[EVENTS], items[ITEMS];
    u2i_t *u = open_store(":memory:");
    put_settings(u, &w->data);
    SUITE_OK(u2i_set_setting(u, "unknown_item", "keep", &err));
    shuffle(&w->rng, order, EVENTS);
    record(u, &w->data, order, EVENTS);
    shuffle(&w->rng, items, ITEMS);
    put_items(u, &w->data, items);
    return u;
}

/* Things that are taken back: another history of a user, other vectors, deleted items. */
static u2i_t *with_detours(struct world *w) {
    u2i_error_t err;
    uint32_t order[EVENTS], items[ITEMS];
    struct answers ignored;
    const char *gone[] = {"i1", "i2", "i3"};
    struct data wrong = w->data;
    u2i_t *u = begin(w->path, &w->data);
    shuffle(&w->rng, items, ITEMS);
    for (size_t i = 0; i < ITEMS; i++) {
        memcpy(wrong.items[i].vector, w->data.items[items[i]].vector, sizeof wrong.items[i].vector);
    }
    put_items(u, &wrong, NULL);
    shuffle(&w->rng, order, EVENTS);
    record(u, &w->data, order, EVENTS / 2);
    ask_all(u, &ignored);
    for (uint32_t i = 0; i < USERS; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "u%u", i);
        const int rc = u2i_delete_user(u, user, &err);
        assert_true(rc == U2I_OK || rc == U2I_ENOTFOUND);
    }
    SUITE_OK(u2i_delete_items(u, gone, 3, NULL, &err));
    SUITE_OK(u2i_set_setting(u, "action.view", "2", &err)); /* counts are derived anew */
    ask_all(u, &ignored);
    SUITE_OK(u2i_set_setting(u, "action.view", NULL, &err));
    put_items(u, &w->data, items);
    record(u, &w->data, order, EVENTS);
    return u;
}

static u2i_t *as_lists_of_interactions(struct world *w) {
    u2i_error_t err;
    u2i_t *u = begin(":memory:", &w->data);
    for (uint32_t half = 0; half < 2; half++) {
        for (uint32_t i = 0; i < USERS; i++) {
            char user[16];
            u2i_event_t events[EVENTS];
            u2i_interactions_t in = U2I_INTERACTIONS_INIT;
            (void)snprintf(user, sizeof user, "u%u", i);
            in.user = user;
            in.events = events;
            for (uint32_t e = EVENTS; e-- > 0;) { /* newest first */
                if (strcmp(w->data.events[e].user, user) == 0 && e % 2 == half) {
                    events[in.n++] = event_of(&w->data.events[e]);
                }
            }
            SUITE_OK(u2i_update_user_profile(u, &in, NULL, &err));
        }
    }
    return u;
}

/* ---- Two processes ---------------------------------------------------------------------------------- */

/* The other process: makes the same data and records every second event of the same random order. */
static int record_half(const char *path, uint64_t seed, uint64_t order_seed) {
    static struct data d;
    struct rng r;
    uint32_t order[EVENTS];
    make_data(seed, &d);
    rng_seed(&r, order_seed);
    shuffle(&r, order, EVENTS);
    u2i_t *u = NULL;
    u2i_error_t err;
    int rc = u2i_open(path, NULL, &u, &err);
    for (uint32_t i = 1; rc == U2I_OK && i < EVENTS; i += 2) {
        const u2i_event_t event = event_of(&d.events[order[i]]);
        rc = u2i_record(u, &event, 1, sizeof event, NULL, &err);
    }
    if (rc != U2I_OK) {
        (void)fprintf(stderr, "the other process: %s\n", err.msg);
    }
    const int closed = u2i_close(u);
    return rc == U2I_OK && closed == U2I_OK ? 0 : 1;
}

static pid_t start_other_process(const char *path, uint64_t seed, uint64_t order_seed) {
    char seed_text[32], order_text[32];
    (void)snprintf(seed_text, sizeof seed_text, "%" PRIu64, seed);
    (void)snprintf(order_text, sizeof order_text, "%" PRIu64, order_seed);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "prop_profile", "--record-half", path, seed_text, order_text,
              (char *)NULL);
        _exit(127);
    }
    return pid;
}

static u2i_t *by_two_processes_at_once(struct world *w) {
    struct answers ignored;
    struct rng r;
    uint32_t order[EVENTS];
    int status = 0;
    const uint64_t order_seed = rng_u64(&w->rng);
    u2i_t *u = begin(w->path, &w->data);
    rng_seed(&r, order_seed);
    shuffle(&r, order, EVENTS);
    ask_all(u, &ignored);
    const pid_t pid = start_other_process(w->path, w->seed, order_seed);
    for (uint32_t i = 0; i < EVENTS; i += 2) {
        record(u, &w->data, &order[i], 1);
        if (i % 30 == 0) {
            ask_all(u, &ignored);
        }
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return u; /* whose next answer must count what the other process wrote */
}

/* ---- Running -------------------------------------------------------------------------------------- */

static const struct way {
    const char *name;
    u2i_t *(*build)(struct world *w);
} ways[] = {{"one by one in any order", one_by_one_in_any_order},
            {"in batches, some of them twice", in_batches_some_of_them_twice},
            {"opened again in between", opened_again_in_between},
            {"asked all the time", asked_all_the_time},
            {"before their items exist", before_their_items_exist},
            {"with detours", with_detours},
            {"as lists of interactions", as_lists_of_interactions},
            {"by two processes at once", by_two_processes_at_once}};

static void run_ways(struct world *w) {
    static struct answers want, got;
    make_data(w->seed, &w->data);
    rng_seed(&w->rng, w->seed ^ 0x5bd1e995);
    w->way = "at once";
    u2i_t *u = at_once(w);
    ask_all(u, &want);
    assert_int_equal(u2i_close(u), U2I_OK);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        w->way = ways[i].name;
        suite_make_dir(w->dir, sizeof w->dir);
        (void)snprintf(w->path, sizeof w->path, "%s/store.db", w->dir);
        u = ways[i].build(w);
        ask_all(u, &got);
        assert_int_equal(u2i_close(u), U2I_OK);
        suite_remove_dir(w->dir);
        for (size_t q = 0; q < QUESTIONS; q++) {
            compare_answer(w, q, &want.of[q], &got.of[q]);
        }
    }
}

static uint64_t number_from_env(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static void answers_depend_on_the_events_and_not_on_how_they_came(void **state) {
    (void)state;
    static struct world w;
    const uint64_t first =
        number_from_env("U2I_SEED", (uint64_t)clock_now_ms(clock_system()) % 1000000000);
    const uint64_t steps = number_from_env("U2I_STEPS", 8);
    print_message("U2I_SEED=%" PRIu64 " U2I_STEPS=%" PRIu64 "\n", first, steps);
    for (uint64_t step = 0; step < steps; step++) {
        w.seed = first + step; /* of one data set, so that U2I_STEPS=1 repeats it alone */
        run_ways(&w);
    }
    print_message("%" PRIu64 " data sets in %zu ways: no difference\n", steps,
                  sizeof ways / sizeof ways[0] + 1);
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "--record-half") == 0) {
        return record_half(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_depend_on_the_events_and_not_on_how_they_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
