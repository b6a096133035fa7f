/* The model as its owner sees it: planted groups are found, every score is the sum of its parts and of its pulls, the
 * same events give the same bytes, and bytes come back as the model that they were. Data that teach
 * nothing, or little, are answered with sense. */
#include "model_world.h"

#include "base/buf.h"
#include "model/model_internal.h"
#include "vec/vec.h"

static struct model_user *ask(const struct model *m, const struct model_event *events, size_t n,
                              struct arena *a) {
    const struct model_question q = {.events = events, .n = n};
    struct model_user *u = NULL;
    u2i_error_t err = {0};
    assert_int_equal(model_user_new(m, &q, a, &u, &err), U2I_OK);
    return u;
}

/* A history of `n` items of a group, a day apart. */
static void history(const struct world *w, uint32_t group, struct model_event *events, size_t n) {
    for (size_t i = 0; i < n; i++) {
        events[i] = (struct model_event){WORLD_START_MS - (int64_t)i * WORLD_DAY_MS,
                                         group + (uint32_t)(3 * i + 1) * w->groups,
                                         i % 3 == 2 ? 0.4f : 1.0f};
    }
}

/* ---- What it learns --------------------------------------------------------------------------- */

static void planted_groups_are_found(void **state) {
    (void)state;
    struct world w = world_new(300, 200, 5, 20, 10);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    for (uint32_t group = 0; group < 5; group++) {
        struct arena a = {0};
        struct model_event events[4];
        history(&w, group, events, 4);
        const struct model_user *u = ask(m, events, 4, &a);
        assert_non_null(u);
        uint32_t above = 0; /* pairs of one of the group and one of others, in the right order */
        uint32_t pairs = 0;
        for (uint32_t i = 0; i < 200; i++) {
            for (uint32_t j = 0; j < 200 && i % 5 == group; j++) {
                if (j % 5 != group) {
                    pairs++;
                    above += world_total(u, m, i) > world_total(u, m, j);
                }
            }
        }
        assert_true(above > pairs * 95 / 100);
        arena_free(&a);
    }
    model_free(m);
    world_free(&w);
}

static void scores_are_sums_of_parts_and_pulls(void **state) {
    (void)state;
    struct world w = world_new(200, 150, 5, 30, 400);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    float weights[MODEL_PARTS_N] = {1, 0.5f, 0.25f, 0, 0, 0, 0};
    assert_int_equal(model_set_weights(m, weights), U2I_OK);
    struct arena a = {0};
    struct model_event events[12];
    history(&w, 2, events, 10);
    events[10] = events[3]; /* one item twice, and one that isn't known */
    events[10].time_ms -= 5 * WORLD_DAY_MS;
    events[11] = (struct model_event){WORLD_START_MS, 100000, 1};
    const struct model_user *u = ask(m, events, 12, &a);
    const struct model_entry *entries;
    const size_t n = model_user_entries(u, &entries);
    assert_int_equal(n, 11);
    for (uint32_t k = 0; k < model_count(m); k++) {
        const uint32_t row = model_row(m, k);
        const float *const out = model_out(m, row);
        float parts[MODEL_PARTS_N];
        float pulls[12];
        double dot = 0, dense = 0, all = 0, pulled = 0;
        model_user_score(u, row, out, parts);
        model_user_pulls(u, row, out, pulls);
        for (uint32_t d = 0; d < model_dim(m); d++) {
            dot += (double)model_user_query(u)[d] * (double)out[d];
        }
        for (int p = 0; p < MODEL_PARTS_N; p++) {
            all += (double)parts[p];
            dense += model_is_dense(p) ? (double)parts[p] : 0;
        }
        for (size_t i = 0; i < n; i++) {
            pulled += (double)pulls[i];
        }
        assert_true(fabs(dot - dense) < 1e-3);
        assert_true(fabs(pulled + (double)parts[MODEL_TREND] + (double)parts[MODEL_POPULAR] - all) <
                    1e-3);
    }
    arena_free(&a);
    model_free(m);
    world_free(&w);
}

/* Each part over its spread, worked out in double from the model's own vectors by going over the catalogue. */
static void spreads_are_those_of_the_catalogue(void **state) {
    (void)state;
    struct world w = world_new(200, 150, 5, 30, 400);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    struct arena a = {0};
    struct model_event events[6];
    history(&w, 1, events, 6);
    const struct model_user *u = ask(m, events, 6, &a);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        double sum = 0, squares = 0;
        for (uint32_t k = 0; k < model_count(m); k++) {
            float parts[MODEL_PARTS_N];
            model_user_score(u, model_row(m, k), model_out(m, model_row(m, k)), parts);
            sum += (double)parts[p];
            squares += (double)parts[p] * (double)parts[p];
        }
        const double mean = sum / model_count(m);
        const double spread = sqrt(squares / model_count(m) - mean * mean);
        const double weight =
            m->block[p].dim > 0 || m->sparse[p] != NULL ? (double)m->weight[p] : 0;
        assert_true(fabs(spread - weight) < 2e-3 * (weight + 1e-3));
    }
    arena_free(&a);
    model_free(m);
    world_free(&w);
}

static void what_comes_next_is_put_forward(void **state) {
    (void)state;
    struct world w = {.users = 200, .items = 100, .groups = 5};
    for (uint32_t u = 0; u < w.users;
         u++) { /* everybody walks through the items, from somewhere on */
        for (uint32_t i = 0; i < 12; i++) {
            world_add(&w, (struct train_event){u, (u * 7 + i) % 100, 1,
                                               WORLD_START_MS + i * WORLD_DAY_MS});
        }
    }
    struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_true(world_figure(m, "weight.sequence") > 0);
    struct arena a = {0};
    const struct model_event last = {WORLD_START_MS, 41, 1};
    uint32_t next[5];
    assert_int_equal(model_user_next(ask(m, &last, 1, &a), next, 5), 5);
    assert_int_equal(next[0], 42);
    arena_free(&a);
    model_free(m);
    world_free(&w);
}

static void dislikes_teach_nothing(void **state) {
    (void)state;
    struct world w = world_new(100, 60, 3, 15, 10);
    const struct model_input plain = world_input(&w);
    struct model *before = world_train(&plain);
    for (uint32_t u = 0; u < 50; u++) {
        world_add(&w, (struct train_event){u, 60, 0, WORLD_START_MS});
    }
    w.items = 61;
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_int_equal(model_count(m), model_count(before));
    assert_null(model_out(m, 60));
    assert_true(model_popular(m, 60) == 0);
    model_free(before);
    model_free(m);
    world_free(&w);
}

static void what_one_user_wants_is_not_learnt(void **state) {
    (void)state;
    struct world w = world_new(100, 60, 3, 15, 10);
    const struct model_input plain = world_input(&w);
    struct model *before = world_train(&plain);
    for (uint32_t i = 0; i < 500;
         i++) { /* one user wants what nobody else does, some of it twice */
        world_add(&w, (struct train_event){7, 60 + i, 1, WORLD_START_MS});
        world_add(&w, (struct train_event){7, 60 + i / 2, 1, WORLD_START_MS + 1});
    }
    w.items = 560;
    world_add(&w, (struct train_event){8, 100, 1, WORLD_START_MS}); /* and another, one of these */
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_int_equal(model_count(m), model_count(before) + 1);
    assert_non_null(model_out(m, 100));
    assert_null(model_out(m, 101));
    assert_true(model_popular(m, 101) == 0);
    model_free(before);
    model_free(m);
    world_free(&w);
}

/* A young log: hardly anything was wanted twice, so that is learnt from too. */
static void what_one_user_wants_is_learnt_where_there_is_little_else(void **state) {
    (void)state;
    struct world w = {.users = 20, .items = 100, .groups = 1};
    for (uint32_t u = 0; u < w.users; u++) {
        world_add(&w, (struct train_event){u, 0, 1, WORLD_START_MS + u});
        for (uint32_t i = 0; i < 3; i++) {
            world_add(&w, (struct train_event){u, 1 + u * 3 + i, 1, WORLD_START_MS + u + 1});
        }
    }
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    assert_int_equal(model_count(m), 61);
    model_free(m);
    world_free(&w);
}

/* With more directions than are searched by: scores are those of whole vectors, what is searched by is their
 * beginning, and no beginning is longer than is said. */
static void a_search_does_with_the_beginning_of_vectors(void **state) {
    (void)state;
    struct world w = world_new(400, 300, 40, 40, 10);
    world_content(&w);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    const uint32_t n = model_search_dim(m);
    assert_true(n > MODEL_LEAD - 1 && n < model_dim(m));
    struct arena a = {0};
    struct model_event events[8];
    history(&w, 2, events, 8);
    const struct model_user *u = ask(m, events, 8, &a);
    double rest = 0, whole = 0;
    for (uint32_t k = 0; k < model_count(m); k++) {
        const float *const out = model_out(m, model_row(m, k));
        assert_true(sqrt((double)vec_dot(out, out, n)) <= model_norm_max(m) * (1 + 1e-6));
        const double lead = (double)vec_dot(model_user_query(u), out, n);
        const double all = (double)vec_dot(model_user_query(u), out, model_dim(m));
        rest += (all - lead) * (all - lead);
        whole += all * all;
    }
    assert_true(rest > 0 && rest < whole / 4);
    float *const predicted = alloc_array(n, sizeof *predicted);
    assert_true(model_predict(m, world_content_of(&w, 3), predicted));
    assert_true(sqrt((double)vec_dot(predicted, predicted, n)) <= model_norm_max(m));
    uint32_t likeness;
    assert_true(model_likeness(m, &likeness) + likeness <= n);
    mem_free(predicted);
    arena_free(&a);
    model_free(m);
    world_free(&w);
}

static void only_weak_events_count_as_strong_ones(void **state) {
    (void)state;
    struct world w = world_new(100, 60, 3, 15, 10);
    for (size_t i = 0; i < w.n; i++) {
        w.events[i].weight = 1;
    }
    const struct model_input in = world_input(&w);
    struct model *strong = world_train(&in);
    for (size_t i = 0; i < w.n; i++) {
        w.events[i].weight = 0.4f;
    }
    struct model *weak = world_train(&in);
    assert_int_equal(model_dim(strong), model_dim(weak));
    assert_memory_equal(model_out(strong, 7), model_out(weak, 7), model_dim(weak) * sizeof(float));
    model_free(weak);
    model_free(strong);
    world_free(&w);
}

static void a_stranger_to_the_model_has_no_question(void **state) {
    (void)state;
    struct world w = world_new(60, 40, 2, 10, 10);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    struct arena a = {0};
    const struct model_event unknown = {WORLD_START_MS, 4000000000u, 1};
    assert_null(ask(m, &unknown, 1, &a));
    assert_null(ask(m, NULL, 0, &a));
    arena_free(&a);
    model_free(m);
    world_free(&w);
}

/* ---- The same again --------------------------------------------------------------------------- */

static void saved(const struct model *m, struct buf *out) {
    u2i_error_t err = {0};
    assert_int_equal(model_save(m, out, &err), U2I_OK);
}

static void order_of_events_and_threads_mean_nothing(void **state) {
    (void)state;
    struct world w = world_new(120, 80, 4, 15, 3); /* three days: many share a moment */
    for (size_t i = 0; i < w.n; i++) {
        w.events[i].time_ms -= w.events[i].time_ms % (WORLD_DAY_MS / 4);
    }
    struct model_input in = world_input(&w);
    in.threads = 1;
    struct model *first = world_train(&in);
    for (size_t i = w.n; i > 1; i--) {
        const size_t j = rng_below(&w.rng, (uint32_t)i);
        const struct train_event e = w.events[i - 1];
        w.events[i - 1] = w.events[j];
        w.events[j] = e;
    }
    in.threads = 3;
    struct model *second = world_train(&in);
    struct buf a = {0};
    struct buf b = {0};
    saved(first, &a);
    saved(second, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    buf_free(&a);
    buf_free(&b);
    model_free(first);
    model_free(second);
    world_free(&w);
}

static void bytes_come_back_as_the_model(void **state) {
    (void)state;
    struct world w = world_new(150, 120, 4, 20, 300);
    world_content(&w);
    const struct model_input in = world_input(&w);
    struct model *m = world_train(&in);
    struct buf bytes = {0};
    struct buf again = {0};
    struct model *loaded = NULL;
    saved(m, &bytes);
    assert_int_equal(model_load(bytes.data, bytes.len, &loaded, NULL), U2I_OK);
    saved(loaded, &again);
    assert_int_equal(bytes.len, again.len);
    assert_memory_equal(bytes.data, again.data, bytes.len);
    struct arena a = {0};
    struct model_event events[5];
    history(&w, 3, events, 5);
    for (uint32_t row = 0; row < 120; row++) {
        if (model_out(m, row) != NULL) {
            assert_true(world_total(ask(m, events, 5, &a), m, row) ==
                        world_total(ask(loaded, events, 5, &a), loaded, row));
        }
        assert_true(model_popular(m, row) == model_popular(loaded, row));
    }
    assert_true(model_norm_max(m) == model_norm_max(loaded));
    assert_true(model_calibration(m).slope == model_calibration(loaded).slope);
    arena_free(&a);
    buf_free(&bytes);
    buf_free(&again);
    model_free(loaded);
    model_free(m);
    world_free(&w);
}

/* Uses everything that a model has. */
static void use(const struct model *m, struct world *w) {
    struct arena a = {0};
    struct model_event events[5];
    float *out = alloc_array(model_dim(m) + 1, sizeof *out);
    uint32_t rows[20];
    history(w, 1, events, 5);
    events[4].item = w->items - 1; /* not learnt: predicted from content */
    const struct model_question q = {
        .events = events, .n = 5, .content = world_content_of, .content_ctx = w};
    struct model_user *u = NULL;
    if (m->content_dim == 0 || m->content_dim == WORLD_DIM) {
        assert_int_equal(model_user_new(m, &q, &a, &u, NULL), U2I_OK);
    }
    for (uint32_t row = 0; u != NULL && row < w->items; row++) {
        float parts[MODEL_PARTS_N];
        float pulls[5];
        const float *vector = model_out(m, row);
        if (vector == NULL && model_predict(m, world_content_of(w, row), out)) {
            vector = out;
        }
        model_user_score(u, row, vector, parts);
        model_user_pulls(u, row, vector, pulls);
    }
    if (u != NULL) {
        (void)model_user_next(u, rows, 20);
    }
    mem_free(out);
    arena_free(&a);
}

static void damaged_bytes_are_refused_or_harmless(void **state) {
    (void)state;
    struct world w = world_new(80, 70, 3, 12, 200);
    world_content(&w);
    w.items--; /* content for one more than there are events for */
    struct model_input in = world_input(&w);
    for (size_t i = 0; i < w.n; i++) {
        w.events[i].item %= w.items;
    }
    struct model *m = world_train(&in);
    struct buf good = {0};
    saved(m, &good);
    w.items++;
    use(m, &w);
    const size_t head = good.len < 400 ? good.len : 400;
    size_t refused = 0;
    for (int round = 0; round < 3000; round++) {
        char *bad = mem_dup(good.data, good.len);
        size_t n = good.len;
        if (round % 3 == 0) {
            n = rng_below(&w.rng, (uint32_t)good.len);
        } else {
            const size_t at = rng_below(&w.rng, (uint32_t)(round % 3 == 1 ? head : good.len));
            bad[at] = (char)(bad[at] ^ 1 << rng_below(&w.rng, 8));
        }
        struct model *loaded = NULL;
        u2i_error_t err = {0};
        const int rc = model_load(bad, n, &loaded, &err);
        if (rc == U2I_OK) {
            use(loaded, &w);
        } else {
            assert_true(rc == U2I_ECORRUPT || rc == U2I_ENOMEM || rc == U2I_EVERSION);
            assert_null(loaded);
            refused++;
        }
        model_free(loaded);
        mem_free(bad);
    }
    assert_true(refused > 1000); /* every cut, and most of what hits the head */
    buf_free(&good);
    model_free(m);
    world_free(&w);
}

/* ---- Stopping --------------------------------------------------------------------------------- */

struct stopping {
    long countdown;
    long calls;
};

static int stop(void *ctx, const char *step, uint64_t done, uint64_t total) {
    struct stopping *s = ctx;
    assert_true(step[0] != 0);
    assert_true(total == 0 || done <= total);
    s->calls++;
    return s->countdown-- == 0;
}

static void a_cancelled_training_gives_nothing(void **state) {
    (void)state;
    struct world w = world_new(80, 60, 3, 12, 200);
    struct model_input in = world_input(&w);
    struct stopping s = {-1, 0};
    in.progress = stop;
    in.progress_ctx = &s;
    in.threads = 1;
    model_free(world_train(&in));
    const long calls = s.calls;
    assert_true(calls > 10);
    for (long at = 0; at < calls; at += 1 + at / 8) {
        struct model *m = (struct model *)&w;
        u2i_error_t err = {0};
        s = (struct stopping){at, 0};
        assert_int_equal(model_train(&in, &m, &err), U2I_ETIMEOUT);
        assert_null(m);
        assert_true(err.msg[0] != 0);
    }
    world_free(&w);
}

static void too_little_memory_is_said_before_it_is_taken(void **state) {
    (void)state;
    struct world w = world_new(300, 200, 3, 20, 200);
    struct model_input in = world_input(&w);
    struct model *m = NULL;
    u2i_error_t err = {0};
    in.memory_max = 100000;
    assert_int_equal(model_train(&in, &m, &err), U2I_ENOMEM);
    assert_null(m);
    assert_non_null(strstr(err.msg, "MB"));
    world_free(&w);
}

static void rows_out_of_range_are_refused(void **state) {
    (void)state;
    struct world w = world_new(20, 20, 2, 5, 10);
    struct model_input in = world_input(&w);
    struct model *m = NULL;
    u2i_error_t err = {0};
    in.items = 3;
    assert_int_equal(model_train(&in, &m, &err), U2I_EINVAL);
    in.items = 20;
    w.events[3].weight = NAN;
    assert_int_equal(model_train(&in, &m, &err), U2I_EINVAL);
    world_free(&w);
}

/* ---- Little to learn from --------------------------------------------------------------------- */

static void train_and_use(struct world *w) {
    const struct model_input in = world_input(w);
    struct model *m = NULL;
    u2i_error_t err = {0};
    const int rc = model_train(&in, &m, &err);
    if (rc == U2I_OK) {
        struct arena a = {0};
        for (uint32_t k = 0; k < model_count(m) && k < 50; k++) {
            const struct model_event e = {WORLD_START_MS, model_row(m, k), 1};
            const struct model_user *u = ask(m, &e, 1, &a);
            assert_non_null(u);
            for (uint32_t j = 0; j < model_count(m) && j < 50; j++) {
                assert_true(isfinite(world_total(u, m, model_row(m, j))));
            }
        }
        assert_true(model_calibration(m).slope > 0);
        arena_free(&a);
    } else {
        assert_int_equal(rc, U2I_ENOTFOUND);
        assert_true(err.msg[0] != 0);
    }
    model_free(m);
    world_free(w);
}

static void nothing_to_learn_from_is_said(void **state) {
    (void)state;
    struct world none = {.users = 5, .items = 5, .groups = 1};
    const struct model_input in = world_input(&none);
    struct model *m = NULL;
    u2i_error_t err = {0};
    assert_int_equal(model_train(&in, &m, &err), U2I_ENOTFOUND);
    struct world dislikes = world_new(20, 20, 2, 5, 10);
    for (size_t i = 0; i < dislikes.n; i++) {
        dislikes.events[i].weight = 0;
    }
    const struct model_input sad = world_input(&dislikes);
    assert_int_equal(model_train(&sad, &m, &err), U2I_ENOTFOUND);
    assert_null(m);
    world_free(&dislikes);
}

static void odd_data_are_learnt_from_as_far_as_they_go(void **state) {
    (void)state;
    struct world w = world_new(1, 30, 2, 20, 10); /* one user */
    train_and_use(&w);
    w = world_new(50, 1, 1, 5, 100); /* one item */
    train_and_use(&w);
    w = world_new(1, 1, 1, 1, 0); /* one event */
    train_and_use(&w);
    w = world_new(40, 30, 3, 10, 0); /* all at one time */
    train_and_use(&w);
    w = world_new(40, 400, 400, 10, 900); /* everybody something else */
    train_and_use(&w);
    w = world_new(6, 5000, 2, 4, 10); /* rows far apart */
    train_and_use(&w);
}

static void one_users_hundred_thousand_events_are_learnt_in_time(void **state) {
    (void)state;
    struct world w = world_new(100, 300, 3, 10, 300);
    for (uint32_t i = 0; i < 100000; i++) {
        world_add(&w, (struct train_event){7, rng_below(&w.rng, 300), 1,
                                           WORLD_START_MS + (int64_t)i * 60000});
    }
    train_and_use(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_groups_are_found),
        cmocka_unit_test(scores_are_sums_of_parts_and_pulls),
        cmocka_unit_test(spreads_are_those_of_the_catalogue),
        cmocka_unit_test(what_comes_next_is_put_forward),
        cmocka_unit_test(dislikes_teach_nothing),
        cmocka_unit_test(what_one_user_wants_is_not_learnt),
        cmocka_unit_test(what_one_user_wants_is_learnt_where_there_is_little_else),
        cmocka_unit_test(a_search_does_with_the_beginning_of_vectors),
        cmocka_unit_test(only_weak_events_count_as_strong_ones),
        cmocka_unit_test(a_stranger_to_the_model_has_no_question),
        cmocka_unit_test(order_of_events_and_threads_mean_nothing),
        cmocka_unit_test(bytes_come_back_as_the_model),
        cmocka_unit_test(damaged_bytes_are_refused_or_harmless),
        cmocka_unit_test(a_cancelled_training_gives_nothing),
        cmocka_unit_test(too_little_memory_is_said_before_it_is_taken),
        cmocka_unit_test(rows_out_of_range_are_refused),
        cmocka_unit_test(nothing_to_learn_from_is_said),
        cmocka_unit_test(odd_data_are_learnt_from_as_far_as_they_go),
        cmocka_unit_test(one_users_hundred_thousand_events_are_learnt_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
