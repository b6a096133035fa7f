/* What the check of a training chooses, on worlds where the right choice is planted: order, popularity that
 * moves, taste that content tells; and that its figures are those of a plain replay. */
#include "model_world.h"

#include "model/model_internal.h"

/* ---- Weights ---------------------------------------------------------------------------------- */

/* Everybody walks through a group's items: one after the other, or at random and, every second time, to anything at
 * all: then what came last says less than all that came. */
static struct world walks(bool in_order) {
    struct world w = {.users = 400, .items = 120, .groups = 4};
    rng_seed(&w.rng, 99);
    for (uint32_t u = 0; u < w.users; u++) {
        const uint32_t from = rng_below(&w.rng, 30);
        for (uint32_t i = 0; i < 12; i++) {
            uint32_t item = (from + i) % 30 * 4 + u % 4;
            if (!in_order) {
                item = rng_below(&w.rng, 30) * 4 + (i % 2 == 0 ? u % 4 : rng_below(&w.rng, 4));
            }
            world_add(&w, (struct train_event){u, item, 1, WORLD_START_MS + i * WORLD_DAY_MS});
        }
    }
    return w;
}

static void sequence_is_chosen_where_order_is_planted(void **state) {
    (void)state;
    struct world ordered = walks(true);
    struct world random = walks(false);
    const struct model_input in_order = world_input(&ordered);
    const struct model_input at_random = world_input(&random);
    struct model *with = world_train(&in_order);
    struct model *without = world_train(&at_random);
    assert_true(world_figure(with, "weight.sequence") > world_figure(without, "weight.sequence"));
    assert_true(world_figure(with, "weight.sequence") >= 0.4);
    assert_true(world_figure(with, "check.sequence.ndcg10") >
                2 * world_figure(without, "check.sequence.ndcg10"));
    model_free(with);
    model_free(without);
    world_free(&ordered);
    world_free(&random);
}

/* Each month has goods of its own, which everybody buys; tastes are weak. */
static struct world seasons(void) {
    struct world w = {.users = 2000, .items = 240, .groups = 2};
    rng_seed(&w.rng, 5);
    for (uint32_t u = 0; u < w.users; u++) {
        const int64_t day = (int64_t)u * 360 / 2000; /* newcomers all year round */
        for (uint32_t e = 0; e < 14; e++) {
            const int64_t at = day + (int64_t)rng_below(&w.rng, 60);
            const uint32_t month = (uint32_t)(at / 30);
            const uint32_t of_month = month * 12 + rng_below(&w.rng, 12);
            const uint32_t item =
                rng_below(&w.rng, 4) == 0 ? rng_below(&w.rng, 240) : of_month % 240;
            world_add(&w, (struct train_event){u, item, 1,
                                               WORLD_START_MS + at * WORLD_DAY_MS +
                                                   rng_below(&w.rng, 86400000)});
        }
    }
    return w;
}

static void trend_and_recent_popularity_are_chosen_in_a_shop_of_seasons(void **state) {
    (void)state;
    struct world w = seasons();
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_int_equal((int)world_figure(m, "check.kind"), MODEL_CHECK_TIME);
    assert_true(world_figure(m, "weight.trend") > 0);
    const double days = world_figure(m, "popular.all_days");
    assert_true(days > 0 && days <= 60);
    /* What strangers see first is of the last months. */
    uint32_t best = 0;
    for (uint32_t k = 0; k < model_count(m); k++) {
        best = model_popular(m, model_row(m, k)) > model_popular(m, best) ? model_row(m, k) : best;
    }
    assert_true(best >= 11 * 12 && best < 14 * 12);
    model_free(m);
    world_free(&w);
}

static void popularity_that_stays_is_counted_over_a_long_time(void **state) {
    (void)state;
    struct world w = {.users = 600, .items = 200, .groups = 1};
    rng_seed(&w.rng, 6);
    for (uint32_t u = 0; u < w.users; u++) {
        for (uint32_t e = 0; e < 8; e++) { /* item i is wanted in proportion to 1 / (i + 1) */
            const double x = rng_unit(&w.rng);
            const uint32_t item = (uint32_t)(pow(200, x)) - 1;
            world_add(&w, (struct train_event){u, item, 1,
                                               WORLD_START_MS + (int64_t)u * WORLD_DAY_MS +
                                                   rng_below(&w.rng, 86400000)});
        }
    }
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    const double days = world_figure(m, "popular.all_days");
    assert_true(days == 0 || days >= 60);
    assert_true(model_popular(m, 0) > model_popular(m, 20));
    model_free(m);
    world_free(&w);
}

static void lists_that_are_no_better_than_popularity_say_so(void **state) {
    (void)state;
    struct world taste = world_new(300, 100, 5, 20, 10);
    struct world noise = world_new(300, 100, 100, 20, 10);
    for (size_t i = 0; i < noise.n; i++) {
        noise.events[i].item = (uint32_t)(pow(100, rng_unit(&noise.rng))) - 1; /* no taste at all */
    }
    const struct model_input in_taste = world_input(&taste);
    const struct model_input in_noise = world_input(&noise);
    struct model *with = world_train(&in_taste);
    struct model *without = world_train(&in_noise);
    assert_true(world_figure(with, "check.better") == 1);
    assert_true(world_figure(with, "check.ndcg10") >
                2 * world_figure(with, "check.popular.ndcg10"));
    assert_true(world_figure(without, "check.better") == 0 ||
                world_figure(without, "weight.popular") > 0);
    model_free(with);
    model_free(without);
    world_free(&taste);
    world_free(&noise);
}

static void what_is_to_be_guessed_may_be_weak_where_strong_events_are_rare(void **state) {
    (void)state;
    struct world w = world_new(300, 100, 5, 20, 10);
    for (size_t i = 0; i < w.n; i++) {
        w.events[i].weight = i % 500 == 0 ? 1.0f : 0.4f;
    }
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_true(world_figure(m, "check.questions") >= 200);
    model_free(m);
    world_free(&w);
}

static void too_few_users_are_not_checked_and_keep_the_defaults(void **state) {
    (void)state;
    struct world w = world_new(4, 40, 2, 10, 10);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_true(world_figure(m, "weight.ease") == 1);
    assert_true(world_figure(m, "weight.ials") == 0);
    assert_float_equal(world_figure(m, "weight.sequence"), 0.2, 1e-6);
    assert_true(model_calibration(m).slope > 0);
    model_free(m);
    world_free(&w);
}

static void only_the_parts_that_are_allowed_are_used(void **state) {
    (void)state;
    struct world w = world_new(200, 100, 5, 20, 200);
    struct model_input in = world_input(&w);
    in.parts = 1u << MODEL_IALS | 1u << MODEL_NEIGHBOURS;
    struct model *m = world_train(&in);
    assert_true(m->block[MODEL_EASE].dim == 0 && m->sparse[MODEL_SEQUENCE] == NULL);
    assert_non_null(m->sparse[MODEL_NEIGHBOURS]); /* the first there is keeps weight 1 */
    assert_true(world_figure(m, "weight.neighbours") == 1);
    model_free(m);
    in.parts = 1u << MODEL_SEQUENCE; /* nothing to search with */
    m = world_train(&in);
    assert_int_equal(model_dim(m), 0);
    model_free(m);
    world_free(&w);
}

/* ---- The figures, against a plain replay ------------------------------------------------------ */

/* NDCG@10 of a list of rows. */
static double ndcg10(const uint32_t *list, uint32_t n, const uint8_t *truth, uint32_t truths) {
    double dcg = 0, ideal = 0;
    for (uint32_t r = 0; r < 10; r++) {
        dcg += r < n && truth[list[r]] ? 1 / log2(r + 2.0) : 0;
        ideal += r < truths ? 1 / log2(r + 2.0) : 0;
    }
    return dcg / ideal;
}

static int compare_times(const void *pa, const void *pb) {
    const int64_t a = *(const int64_t *)pa;
    const int64_t b = *(const int64_t *)pb;
    return (a > b) - (a < b);
}

/* The moment before which .85 of the events were. */
static int64_t replay_moment(const struct world *w) {
    int64_t *times = alloc_array(w->n, sizeof *times);
    for (size_t i = 0; i < w->n; i++) {
        times[i] = w->events[i].time_ms;
    }
    qsort(times, w->n, sizeof *times, compare_times);
    const int64_t at = times[(size_t)((double)(w->n - 1) * .85)];
    mem_free(times);
    return at;
}

static struct model *replay_model(const struct world *w, int64_t at) {
    struct world before = *w;
    before.events = alloc_array(w->n, sizeof *before.events);
    before.n = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (w->events[i].time_ms < at) {
            before.events[before.n++] = w->events[i];
        }
    }
    struct model_input in = world_input(&before);
    in.parts = 1u << MODEL_EASE;
    in.now_ms = at;
    struct model *m = world_train(&in);
    mem_free(before.events);
    return m;
}

struct replay_user {
    struct model_event events[100];
    size_t n;
    uint8_t touched[200], truth[200];
    uint32_t truths;
};

/* False if a check would not ask the user. */
static bool replay_user(const struct world *w, uint32_t user, int64_t at, struct replay_user *out) {
    uint8_t ever[200] = {0};
    uint32_t wanted = 0;
    *out = (struct replay_user){.n = 0};
    for (size_t i = 0; i < w->n; i++) {
        const struct train_event *e = &w->events[i];
        if (e->user == user) {
            wanted += ever[e->item] == 0;
            ever[e->item] = 1;
            if (e->time_ms < at) {
                out->touched[e->item] = 1;
                out->events[out->n++] = (struct model_event){e->time_ms, e->item, e->weight};
            }
        }
    }
    for (size_t i = 0; i < w->n; i++) {
        const struct train_event *e = &w->events[i];
        if (e->user == user && e->time_ms >= at && !out->touched[e->item] && !out->truth[e->item]) {
            out->truth[e->item] = 1;
            out->truths++;
        }
    }
    return wanted >= 3 && out->n >= 2 && out->truths > 0;
}

/* NDCG@10 of what the model lists for the user. */
static double replay_ask(const struct model *m, struct replay_user *r) {
    struct arena a = {0};
    const struct model_question q = {.events = r->events, .n = r->n};
    struct model_user *user = NULL;
    uint32_t list[10] = {0};
    assert_int_equal(model_user_new(m, &q, &a, &user, NULL), U2I_OK);
    for (uint32_t n = 0; n < 10; n++) {
        double most = -1e30;
        for (uint32_t k = 0; k < model_count(m); k++) {
            const uint32_t row = model_row(m, k);
            const double score = (double)world_total(user, m, row);
            if (!r->touched[row] && score > most) {
                most = score;
                list[n] = row;
            }
        }
        r->touched[list[n]] = 1;
    }
    arena_free(&a);
    return ndcg10(list, 10, r->truth, r->truths);
}

/* Trains on what was before the .85 quantile of time and asks as a service would: the check's figure, anew. */
static double replay(const struct world *w, uint32_t *asked) {
    const int64_t at = replay_moment(w);
    struct model *m = replay_model(w, at);
    double sum = 0;
    *asked = 0;
    for (uint32_t u = 0; u < w->users; u++) {
        struct replay_user r;
        if (replay_user(w, u, at, &r)) {
            sum += replay_ask(m, &r);
            (*asked)++;
        }
    }
    model_free(m);
    return sum / *asked;
}

static void figures_are_those_of_a_replay(void **state) {
    (void)state;
    struct world w = world_new(300, 200, 5, 24, 50); /* too short for old events to fade */
    for (size_t i = 0; i < w.n; i++) {
        w.events[i].weight = 1;
    }
    struct model_input in = world_input(&w);
    in.check = MODEL_CHECK_TIME;
    in.parts = 1u << MODEL_EASE;
    struct model *m = world_train(&in);
    uint32_t asked = 0;
    const double ours = world_figure(m, "check.ndcg10");
    const double theirs = replay(&w, &asked);
    assert_int_equal(asked, (int)world_figure(m, "check.questions"));
    assert_true(fabs(ours - theirs) < 0.002); /* rounding may change places of equals */
    model_free(m);
    world_free(&w);
}

/* ---- Probabilities ---------------------------------------------------------------------------- */

static void probabilities_are_those_of_what_was_wanted(void **state) {
    (void)state;
    struct world w = world_new(300, 200, 5, 30, 10);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    const struct model_scale scale = model_calibration(m);
    assert_true(scale.slope > 0.05);
    struct arena a = {0};
    struct model_event events[6];
    for (size_t i = 0; i < 6; i++) {
        events[i] = (struct model_event){WORLD_START_MS - (int64_t)i, 2 + (uint32_t)i * 5, 1};
    }
    const struct model_question q = {.events = events, .n = 6};
    struct model_user *u = NULL;
    assert_int_equal(model_user_new(m, &q, &a, &u, NULL), U2I_OK);
    double own = 0, other = 0;
    for (uint32_t row = 32; row < 200; row++) {
        const double p =
            1 / (1 + exp(-(scale.intercept + scale.slope * (double)world_total(u, m, row))));
        assert_true(p > 0 && p < 1);
        own += row % 5 == 2 ? p : 0;
        other += row % 5 == 3 ? p : 0;
    }
    assert_true(own > 2 * other);
    assert_true(own / 34 > 0.02 && own / 34 < 0.6);
    arena_free(&a);
    model_free(m);
    world_free(&w);
}

/* ---- Content ---------------------------------------------------------------------------------- */

static void content_tells_the_taste_of_items_without_events(void **state) {
    (void)state;
    struct world w = world_new(300, 150, 5, 20, 10);
    w.items = 200; /* 50 of them without events */
    world_content(&w);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_true(world_figure(m, "content.items") > 100);
    float *out = alloc_array(model_dim(m), sizeof *out);
    uint32_t right = 0, pairs = 0;
    for (uint32_t group = 0; group < 5; group++) {
        struct arena a = {0};
        struct model_event events[4];
        for (uint32_t i = 0; i < 4; i++) {
            events[i] =
                (struct model_event){WORLD_START_MS - (int64_t)i, group + (7 * i + 1) * 5, 1};
        }
        const struct model_question q = {
            .events = events, .n = 4, .content = world_content_of, .content_ctx = &w};
        struct model_user *u = NULL;
        assert_int_equal(model_user_new(m, &q, &a, &u, NULL), U2I_OK);
        double scores[50];
        for (uint32_t i = 0; i < 50; i++) {
            float parts[MODEL_PARTS_N], pulls[4];
            double total = 0, pulled = 0;
            assert_true(model_predict(m, world_content_of(&w, 150 + i), out));
            model_user_score(u, 150 + i, out, parts);
            model_user_pulls(u, 150 + i, out, pulls);
            for (int p = 0; p < MODEL_PARTS_N; p++) {
                total += (double)parts[p];
                pulled += p < 4 ? (double)pulls[p] : 0;
            }
            assert_true(parts[MODEL_CONTENT] != 0);
            assert_true(fabs(total - (double)parts[MODEL_POPULAR] - (double)parts[MODEL_TREND] -
                             pulled) < 1e-3);
            scores[i] = total;
        }
        for (uint32_t i = group; i < 50; i += 5) {
            for (uint32_t j = 0; j < 50; j++) {
                pairs += j % 5 != group;
                right += j % 5 != group && scores[i] > scores[j];
            }
        }
        arena_free(&a);
    }
    assert_true(right > pairs * 97 / 100);
    mem_free(out);
    model_free(m);
    world_free(&w);
}

static void history_of_unknown_items_is_understood_by_content(void **state) {
    (void)state;
    struct world w = world_new(300, 150, 5, 20, 10);
    w.items = 160;
    world_content(&w);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    struct arena a = {0};
    const struct model_event events[] = {{WORLD_START_MS, 153, 1}, {WORLD_START_MS, 158, 1}};
    struct model_question q = {.events = events, .n = 2};
    struct model_user *u = NULL;
    assert_int_equal(model_user_new(m, &q, &a, &u, NULL), U2I_OK);
    assert_null(u); /* without content they are unknown */
    q.content = world_content_of;
    q.content_ctx = &w;
    assert_int_equal(model_user_new(m, &q, &a, &u, NULL), U2I_OK);
    assert_non_null(u);
    double own = 0, others = 0;
    for (uint32_t row = 0; row < 150; row++) {
        *(row % 5 == 3 ? &own : &others) += (double)world_total(u, m, row);
    }
    assert_true(own / 30 > others / 120 + 0.5);
    arena_free(&a);
    model_free(m);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequence_is_chosen_where_order_is_planted),
        cmocka_unit_test(trend_and_recent_popularity_are_chosen_in_a_shop_of_seasons),
        cmocka_unit_test(popularity_that_stays_is_counted_over_a_long_time),
        cmocka_unit_test(lists_that_are_no_better_than_popularity_say_so),
        cmocka_unit_test(what_is_to_be_guessed_may_be_weak_where_strong_events_are_rare),
        cmocka_unit_test(too_few_users_are_not_checked_and_keep_the_defaults),
        cmocka_unit_test(only_the_parts_that_are_allowed_are_used),
        cmocka_unit_test(figures_are_those_of_a_replay),
        cmocka_unit_test(probabilities_are_those_of_what_was_wanted),
        cmocka_unit_test(content_tells_the_taste_of_items_without_events),
        cmocka_unit_test(history_of_unknown_items_is_understood_by_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
