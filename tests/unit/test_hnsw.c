/* The graph's answers against exact search: floors for the recall in every situation it promises
 * one for, and what has to hold without any tolerance. The data are drawn from a fixed seed, so the
 * figures are the same in every run with one instruction set; U2I_SIMD chooses another. */
#include "hnsw_world.h"

static void graph_is_sound_and_all_of_it_is_reached(void **state) {
    const struct fixture *const x = *state;
    assert_valid(x->w.h);
    assert_int_equal(hnsw_unreachable(x->w.h), 0);
}

static void calibrated_searches_keep_the_recall_on_queries_not_seen_before(void **state) {
    const struct fixture *const x = *state;
    static const uint32_t ks[] = {1, 5, 10, 30, 100, K_MAX};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        const struct hnsw_query q = {.k = ks[i]};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, q), 0.94);
    }
    const struct hnsw_query ten = {.k = 10};
    assert_recall(world_recall(&x->w, x->queries, QUERIES, ten), 0.95);
}

static void large_ef_finds_nearly_all(void **state) {
    const struct fixture *const x = *state;
    const struct hnsw_query q = {.k = 10, .ef = 200};
    assert_recall(world_recall(&x->w, x->queries, QUERIES, q), 0.995);
}

static void means_of_near_vectors_are_found(void **state) {
    const struct fixture *const x = *state;
    float *const means = alloc_array((size_t)QUERIES * DIM, sizeof *means);
    assert_non_null(means);
    memset(means, 0, (size_t)QUERIES * DIM * sizeof *means);
    for (uint32_t i = 0; i < QUERIES; i++) {
        struct hit near[40];
        uint32_t n = 0;
        const struct flat_query q = {.vector = x->queries + (size_t)i * DIM, .k = 40};
        assert_int_equal(flat_search(x->w.f, &q, near, &n, NULL), U2I_OK);
        for (uint32_t j = i % 3; j < n; j += 3) {
            vec_get()->axpy(1.0f / (float)(j + 1), flat_vector(x->w.f, near[j].row),
                            means + (size_t)i * DIM, DIM);
        }
        assert_true(vec_normalise(means + (size_t)i * DIM, DIM));
    }
    const struct hnsw_query q = {.k = 10};
    assert_recall(world_recall(&x->w, means, QUERIES, q), 0.95);
    mem_free(means);
}

static void ef_grows_with_what_is_asked_for(void **state) {
    const struct fixture *const x = *state;
    struct hnsw *const fresh = graph_new(4, HNSW_COSINE);
    const struct hnsw *const graphs[] = {x->w.h, fresh};
    for (int i = 0; i < 2; i++) {
        for (uint32_t k = 1; k < 5000; k++) {
            assert_true(hnsw_ef_for(graphs[i], k) >= k);
            assert_true(hnsw_ef_for(graphs[i], k + 1) >= hnsw_ef_for(graphs[i], k));
        }
    }
    assert_true(hnsw_ef_for(fresh, 10) == 64);
    hnsw_free(fresh);
}

/* ---- Filters -------------------------------------------------------------------------------- */

static roaring_bitmap_t *random_share(uint64_t seed, double share) {
    struct rng rng;
    roaring_bitmap_t *const rows = roaring_bitmap_create();
    rng_seed(&rng, seed);
    for (uint32_t row = 0; row < ROWS; row++) {
        if (rng_unit(&rng) < share) {
            roaring_bitmap_add(rows, row);
        }
    }
    return rows;
}

/* The rows most in the fixture's direction. */
static roaring_bitmap_t *correlated_share(const struct fixture *x, double share) {
    const uint32_t n = (uint32_t)(share * ROWS);
    struct hit *const hits = alloc_array(n, sizeof *hits);
    uint32_t found = 0;
    assert_non_null(hits);
    const struct flat_query q = {.vector = x->direction, .k = n};
    assert_int_equal(flat_search(x->w.f, &q, hits, &found, NULL), U2I_OK);
    roaring_bitmap_t *const rows = roaring_bitmap_create();
    for (uint32_t i = 0; i < found; i++) {
        roaring_bitmap_add(rows, hits[i].row);
    }
    mem_free(hits);
    return rows;
}

static const double shares[] = {0.9, 0.5, 0.2, 0.1, 0.01, 0.001};

static void filters_at_random_keep_the_recall(void **state) {
    const struct fixture *const x = *state;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        roaring_bitmap_t *const allow = random_share(i, shares[i]);
        const struct hnsw_query q = {.k = 10, .allow = allow};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, q), 0.95);
        roaring_bitmap_free(allow);
    }
}

static void filters_that_go_with_the_vectors_keep_the_recall(void **state) {
    const struct fixture *const x = *state;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        roaring_bitmap_t *const rows = correlated_share(x, shares[i]);
        const struct hnsw_query inside = {.k = 10, .allow = rows};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, inside), 0.95);
        const struct hnsw_query outside = {.k = 10, .deny = rows};
        assert_recall(world_recall(&x->w, x->queries, QUERIES, outside), 0.95);
        roaring_bitmap_free(rows);
    }
}

static void denying_the_nearest_thousand_keeps_the_recall(void **state) {
    const struct fixture *const x = *state;
    struct hit *const near = alloc_array(1000, sizeof *near);
    double sum = 0;
    assert_non_null(near);
    for (uint32_t i = 0; i < QUERIES; i++) {
        const float *const vector = x->queries + (size_t)i * DIM;
        const struct flat_query exact = {.vector = vector, .k = 1000};
        uint32_t n = 0;
        assert_int_equal(flat_search(x->w.f, &exact, near, &n, NULL), U2I_OK);
        roaring_bitmap_t *const deny = roaring_bitmap_create();
        for (uint32_t j = 0; j < n; j++) {
            roaring_bitmap_add(deny, near[j].row);
        }
        const struct hnsw_query q = {.vector = vector, .k = 10, .deny = deny};
        sum += world_ask(&x->w, &q);
        roaring_bitmap_free(deny);
    }
    assert_recall(sum / QUERIES, 0.95);
    mem_free(near);
}

/* The counts are checked by world_ask(); here with what makes it hard to find enough. */
static void never_fewer_results_than_match(void **state) {
    const struct fixture *const x = *state;
    struct rng rng;
    rng_seed(&rng, 9);
    for (uint32_t i = 0; i < 200; i++) {
        roaring_bitmap_t *const allow = rng_below(&rng, 2) == 0
                                            ? random_share(i, pow(rng_unit(&rng), 4))
                                            : correlated_share(x, pow(rng_unit(&rng), 4));
        roaring_bitmap_t *const deny = random_share(i + 1, rng_unit(&rng));
        roaring_bitmap_add(allow, ROWS + 7); /* a row that is not there */
        const struct hnsw_query q = {.vector = x->queries + (size_t)(i % QUERIES) * DIM,
                                     .k = 1 + rng_below(&rng, K_MAX),
                                     .ef = rng_below(&rng, 2) * 10,
                                     .allow = rng_below(&rng, 4) == 0 ? NULL : allow,
                                     .deny = rng_below(&rng, 2) == 0 ? NULL : deny};
        (void)world_ask(&x->w, &q);
        roaring_bitmap_free(allow);
        roaring_bitmap_free(deny);
    }
}

static int64_t ticks_ns(void *ctx) {
    return *(int64_t *)ctx;
}

static void search_stops_when_its_time_is_up(void **state) {
    const struct fixture *const x = *state;
    int64_t now_ns = 201;
    const struct clock clock = {NULL, ticks_ns, &now_ns};
    const struct deadline deadline = {&clock, 200};
    roaring_bitmap_t *const allow = random_share(1, 0.5);
    struct hnsw_query q = {.vector = x->queries, .k = 5, .deadline = &deadline};
    struct hit hits[5];
    uint32_t n = 3;
    u2i_error_t err;
    for (int filtered = 0; filtered < 2; filtered++) {
        q.allow = filtered ? allow : NULL;
        now_ns = 201;
        assert_int_equal(hnsw_search(x->w.h, &q, hits, &n, NULL, &err), U2I_ETIMEOUT);
        assert_int_equal(n, 0);
        now_ns = 199;
        assert_int_equal(hnsw_search(x->w.h, &q, hits, &n, NULL, &err), U2I_OK);
        assert_int_equal(n, 5);
    }
    roaring_bitmap_free(allow);
}

/* ---- Metrics, dimensions, odd vectors ------------------------------------------------------- */

static void inner_product_with_unlike_lengths_keeps_the_recall(void **state) {
    (void)state;
    enum { N = 4000, D = 40 };
    struct source source;
    struct world w;
    source_open(&source, D, 17);
    float *const vectors = source_draw_all(&source, N);
    float *const queries = source_draw_all(&source, QUERIES);
    for (uint32_t i = 0; i < N; i++) {
        vec_get()->scale(vectors + (size_t)i * D, (float)exp(0.2 * rng_normal(&source.rng)), D);
    }
    for (uint32_t i = 0; i < QUERIES; i++) { /* the length of a query changes no order */
        vec_get()->scale(queries + (size_t)i * D, 0.01f * (float)(i + 1), D);
    }
    world_open(&w, D, HNSW_INNER_PRODUCT);
    world_insert(&w, 0, vectors, N);
    assert_valid(w.h);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, &two_threads, NULL), U2I_OK);
    const struct hnsw_query q = {.k = 10};
    assert_recall(world_recall(&w, queries, QUERIES, q), 0.95);
    const struct hnsw_query more = {.k = 10, .ef = 300};
    assert_recall(world_recall(&w, queries, QUERIES, more), 0.98);
    world_close(&w);
    mem_free(vectors);
    mem_free(queries);
    mem_free(source.map);
}

static void every_dimension_works(void **state) {
    (void)state;
    static const uint32_t dims[] = {1, 2, 3, 63, 64, 65, 100, 384};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        enum { N = 700 };
        struct source source;
        struct world w;
        source_open(&source, dims[i], 40 + i);
        float *const vectors = source_draw_all(&source, N);
        float *const queries = source_draw_all(&source, QUERIES);
        for (int metric = HNSW_COSINE; metric <= HNSW_INNER_PRODUCT; metric++) {
            world_open(&w, dims[i], (enum hnsw_metric)metric);
            world_insert(&w, 0, vectors, N);
            assert_valid(w.h);
            const struct hnsw_query q = {.k = 10, .ef = 150};
            const double floor = dims[i] < 3 ? 0.8 : 0.99; /* a code of few bytes is coarse */
            assert_recall(world_recall(&w, queries, QUERIES, q), floor);
            world_close(&w);
        }
        mem_free(vectors);
        mem_free(queries);
        mem_free(source.map);
    }
}

/* Users' questions need not look like items: here they point anywhere, the items lie in clusters. */
static void calibration_asks_with_what_is_asked(void **state) {
    const struct fixture *const x = *state;
    enum { N = 3000, ASKED = 200 };
    struct rng rng;
    rng_seed(&rng, 77);
    float *const questions = alloc_array((size_t)ASKED * DIM, sizeof *questions);
    assert_non_null(questions);
    for (uint32_t i = 0; i < ASKED * DIM; i++) {
        questions[i] = (float)rng_normal(&rng);
    }
    struct hnsw_options opt = {
        .dim = DIM, .metric = HNSW_INNER_PRODUCT, .links = 12, .ef_construction = 100, .seed = 5};
    uint32_t ef[2];
    for (int told = 0; told < 2; told++) {
        struct world w = {.dim = DIM};
        opt.questions = told == 1 ? questions : NULL;
        opt.questions_n = told == 1 ? ASKED / 2 : 0;
        assert_int_equal(hnsw_new(&opt, &w.h, NULL), U2I_OK);
        assert_int_equal(flat_new(DIM, &w.f, NULL), U2I_OK);
        world_insert(&w, 0, x->vectors, N);
        assert_int_equal(hnsw_calibrate(w.h, 0.95, &two_threads, NULL), U2I_OK);
        ef[told] = hnsw_ef_for(w.h, 10);
        if (told == 1) {
            const struct hnsw_query ten = {.k = 10};
            const float *const others = questions + (size_t)ASKED / 2 * DIM;
            assert_recall(world_recall(&w, others, ASKED / 2, ten), 0.93);
        }
        world_close(&w);
    }
    print_message("ef for 10: %u by vectors, %u by questions\n", ef[0], ef[1]);
    assert_true(ef[1] != ef[0]);
    mem_free(questions);
}

static void empty_graph_answers_nothing(void **state) {
    (void)state;
    struct world w;
    const float v[2] = {1, 0};
    const struct hnsw_query q = {.vector = v, .k = 10};
    world_open(&w, 2, HNSW_COSINE);
    assert_true(world_ask(&w, &q) == 1);
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    hnsw_remove(w.h, 7);
    world_insert(&w, 7, v, 1);
    assert_true(world_ask(&w, &q) == 1);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    const struct hnsw_query none = {.vector = v, .k = 0};
    assert_true(world_ask(&w, &none) == 1);
    world_remove(&w, 7);
    assert_true(world_ask(&w, &q) == 1);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    world_insert(&w, 9, v, 1);
    assert_true(world_ask(&w, &q) == 1);
    world_close(&w);
    hnsw_free(NULL);
}

static void asking_for_more_than_there_is_gives_all(void **state) {
    const struct fixture *const x = *state;
    for (uint32_t n = 1; n <= K_MAX; n += 9) {
        struct world w;
        world_open(&w, DIM, HNSW_COSINE);
        world_insert(&w, 100, x->vectors, n);
        const struct hnsw_query q = {.vector = x->queries, .k = K_MAX};
        assert_true(world_ask(&w, &q) == 1);
        world_close(&w);
    }
}

/* Most rows have one and the same vector; all of them are as good, and the others are found beside
 * them. */
static void ten_thousand_equal_vectors_hide_nobody(void **state) {
    const struct fixture *const x = *state;
    enum { SAME = 10000, OTHERS = 300 };
    struct world w;
    float *const same = alloc_array((size_t)SAME * DIM, sizeof *same);
    assert_non_null(same);
    for (uint32_t i = 0; i < SAME; i++) {
        memcpy(same + (size_t)i * DIM, x->direction, DIM * sizeof *same);
    }
    world_open(&w, DIM, HNSW_COSINE);
    world_insert(&w, 0, x->vectors, OTHERS / 2);
    world_insert(&w, OTHERS, same, SAME);
    world_insert(&w, OTHERS / 2, x->vectors + (size_t)OTHERS / 2 * DIM, OTHERS / 2);
    assert_valid(w.h);
    const struct hnsw_query q = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.95);
    assert_recall(world_recall(&w, same, 1, q), 1);
    struct hnsw_query as_good = q;
    struct hnsw_explain why;
    struct hit hits[10];
    uint32_t n = 0;
    as_good.vector = same;
    assert_int_equal(hnsw_search(w.h, &as_good, hits, &n, &why, NULL), U2I_OK);
    assert_true(why.distances < SAME / 4); /* the walk ends among them, it doesn't visit all */
    roaring_bitmap_t *const deny = roaring_bitmap_of_ptr(1, (const uint32_t[]){OTHERS + 7});
    as_good.deny = deny;
    assert_int_equal(hnsw_search(w.h, &as_good, hits, &n, &why, NULL), U2I_OK);
    assert_int_equal(n, 10);
    assert_true(why.distances < SAME / 4); /* nor does a walk around something */
    roaring_bitmap_free(deny);
    for (uint32_t i = 0; i < SAME; i += 2) {
        world_remove(&w, OTHERS + i);
    }
    assert_int_equal(hnsw_repair(w.h, &two_threads, NULL), U2I_OK);
    assert_valid(w.h);
    assert_int_equal(hnsw_unreachable(w.h), 0);
    assert_recall(world_recall(&w, x->queries, QUERIES, q), 0.95);
    assert_recall(world_recall(&w, same, 1, q), 1);
    world_close(&w);
    mem_free(same);
}

static void vectors_without_a_direction_are_kept_and_found(void **state) {
    const struct fixture *const x = *state;
    enum { N = 200, ODD = 12 };
    struct world w;
    float odd[ODD][DIM] = {{0}};
    for (uint32_t i = 4; i < ODD; i++) {
        odd[i][i] = i % 2 == 0 ? 1e-30f : 1e-12f;
    }
    world_open(&w, DIM, HNSW_INNER_PRODUCT);
    world_insert(&w, N, odd[0], ODD / 2);
    world_insert(&w, 0, x->vectors, N);
    world_insert(&w, N + ODD / 2, odd[ODD / 2], ODD / 2);
    assert_valid(w.h);
    const struct hnsw_query all = {.k = K_MAX};
    (void)world_recall(&w, x->queries, QUERIES, all);
    const struct hnsw_query ten = {.k = 10, .ef = 100};
    assert_recall(world_recall(&w, x->queries, QUERIES, ten), 0.95);
    const struct hnsw_query nothing = {.vector = odd[0], .k = 10};
    (void)world_ask(&w, &nothing);
    assert_int_equal(hnsw_calibrate(w.h, 0.95, NULL, NULL), U2I_OK);
    for (uint32_t row = 0; row < N; row++) {
        world_remove(&w, row);
    }
    assert_int_equal(hnsw_repair(w.h, NULL, NULL), U2I_OK);
    assert_valid(w.h);
    (void)world_recall(&w, x->queries, 5, all);
    world_close(&w);
}

/* The last digit first, then the higher row: nothing like the order of rows. */
static int tie_by_digit(const void *ctx, uint32_t a, uint32_t b) {
    (void)ctx;
    const int digits = (int)(a % 10) - (int)(b % 10);
    return digits != 0 ? digits : (a > b ? -1 : a < b);
}

static void equal_scores_come_in_the_order_of_the_tie_function(void **state) {
    (void)state;
    enum { N = 60 };
    struct world w;
    struct hit hits[N];
    uint32_t n = 0;
    const float v[3] = {0, 1, 0};
    world_open(&w, 3, HNSW_COSINE);
    for (uint32_t row = 0; row < N; row++) {
        world_insert(&w, row, v, 1);
    }
    struct hnsw_query q = {.vector = v, .k = N};
    assert_int_equal(hnsw_search(w.h, &q, hits, &n, NULL, NULL), U2I_OK);
    assert_int_equal(n, N);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(hits[i].row, i);
    }
    q.tie = tie_by_digit;
    assert_int_equal(hnsw_search(w.h, &q, hits, &n, NULL, NULL), U2I_OK);
    assert_int_equal(n, N);
    for (uint32_t i = 0; i + 1 < N; i++) {
        assert_true(tie_by_digit(NULL, hits[i].row, hits[i + 1].row) < 0);
    }
    world_close(&w);
}

static void count_row(void *ctx, uint32_t row) {
    uint32_t *const next = ctx;
    assert_int_equal(row, *next);
    *next += 3;
}

static void rows_are_listed_in_order_with_their_vectors(void **state) {
    const struct fixture *const x = *state;
    enum { N = 500 };
    struct hnsw *const h = graph_new(DIM, HNSW_COSINE);
    uint32_t next = 0;
    for (uint32_t i = N; i-- > 0;) {
        graph_insert(h, 3 * i, x->vectors + (size_t)i * DIM, 1, NULL);
    }
    hnsw_each_row(h, count_row, &next);
    assert_int_equal(next, 3 * N);
    for (uint32_t i = 0; i < N; i++) {
        assert_memory_equal(hnsw_vector(h, 3 * i), x->vectors + (size_t)i * DIM,
                            DIM * sizeof(float));
        assert_null(hnsw_vector(h, 3 * i + 1));
    }
    assert_null(hnsw_vector(h, 4000000000u));
    hnsw_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph_is_sound_and_all_of_it_is_reached),
        cmocka_unit_test(calibrated_searches_keep_the_recall_on_queries_not_seen_before),
        cmocka_unit_test(large_ef_finds_nearly_all),
        cmocka_unit_test(means_of_near_vectors_are_found),
        cmocka_unit_test(ef_grows_with_what_is_asked_for),
        cmocka_unit_test(filters_at_random_keep_the_recall),
        cmocka_unit_test(filters_that_go_with_the_vectors_keep_the_recall),
        cmocka_unit_test(denying_the_nearest_thousand_keeps_the_recall),
        cmocka_unit_test(never_fewer_results_than_match),
        cmocka_unit_test(search_stops_when_its_time_is_up),
        cmocka_unit_test(inner_product_with_unlike_lengths_keeps_the_recall),
        cmocka_unit_test(every_dimension_works),
        cmocka_unit_test(calibration_asks_with_what_is_asked),
        cmocka_unit_test(empty_graph_answers_nothing),
        cmocka_unit_test(asking_for_more_than_there_is_gives_all),
        cmocka_unit_test(ten_thousand_equal_vectors_hide_nobody),
        cmocka_unit_test(vectors_without_a_direction_are_kept_and_found),
        cmocka_unit_test(equal_scores_come_in_the_order_of_the_tie_function),
        cmocka_unit_test(rows_are_listed_in_order_with_their_vectors),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
