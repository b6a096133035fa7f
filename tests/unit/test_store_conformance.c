/* One suite of promises, run on every kind of store: what store/store.h says must hold on plain
 * arrays as on a SQLite file, so that the engine need not know which one it has. Each test is named
 * by its promise and gets an empty store. Here: items, searches, events, users, settings; the store as a
 * whole, its threads and its opening are in test_store_whole.c. */
#include "store_suite.h"

#include "base/alloc.h"

/* ---- Items ---------------------------------------------------------------------------------------- */

static void an_item_is_read_back_as_it_was_put(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const struct suite_vector v = suite_unit(1, 2, 3, 4);
    const struct store_item in = {.id = "b1",
                                  .title = "A \"title\"; drop table items--",
                                  .text = "",
                                  .category = "kids' books \xe5\x9b\xbe\xe4\xb9\xa6",
                                  .attrs_json = "{\"price\": 9.5, \"tags\": [\"a\", \"b\"]}",
                                  .vector = v.v,
                                  .embedding = 7};
    SUITE_OK(s->ops->put_items(s, &in, 1, &err));

    struct arena a = {0};
    struct store_item out;
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->item_row(s, "b1");
    SUITE_OK(s->ops->get_item(s, row, &a, &out, &err));
    assert_string_equal(out.id, in.id);
    assert_string_equal(out.title, in.title);
    assert_string_equal(out.text, in.text);
    assert_string_equal(out.category, in.category);
    assert_string_equal(out.attrs_json, in.attrs_json);
    assert_int_equal(out.row, row);
    assert_memory_equal(s->ops->vector(s, STORE_CONTENT, row), v.v, sizeof v.v);
    assert_true(s->ops->item_live(s, row));
    assert_string_equal(s->ops->item_id(s, row), "b1");
    s->ops->read_end(s);
    arena_free(&a);
}

static void what_was_not_given_comes_back_as_null(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const struct store_item in = {.id = "bare"};
    SUITE_OK(s->ops->put_items(s, &in, 1, &err));

    struct arena a = {0};
    struct store_item out;
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->get_item(s, s->ops->item_row(s, "bare"), &a, &out, &err));
    assert_null(out.title);
    assert_null(out.text);
    assert_null(out.category);
    assert_null(out.attrs_json);
    assert_null(out.vector);
    s->ops->read_end(s);
    arena_free(&a);
}

static void an_item_keeps_its_row_when_replaced_or_deleted(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    const char *id = "a";
    suite_put(f->s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_put(f->s, "b", NULL, suite_unit(1, 0, 0, 0));
    const uint32_t row = suite_item_row(f->s, "a");

    suite_put(f->s, "a", NULL, suite_unit(0, 1, 0, 0));
    assert_int_equal(suite_item_row(f->s, "a"), row);
    SUITE_OK(f->s->ops->delete_items(f->s, &id, 1, NULL, &err));
    assert_int_equal(suite_item_row(f->s, "a"), row);
    suite_put(f->s, "a", NULL, suite_unit(0, 1, 0, 0));
    assert_int_equal(suite_item_row(f->s, "a"), row);
}

static int count_item(void *ctx, const struct store_item *item) {
    (void)item;
    ++*(size_t *)ctx;
    return 0;
}

static void a_deleted_item_is_never_returned(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const char *id = "gone";
    suite_put(s, "gone", NULL, suite_unit(1, 0, 0, 0));
    suite_put(s, "kept", NULL, suite_unit(1, 1, 0, 0));
    size_t deleted = 0, scanned = 0;
    SUITE_OK(s->ops->delete_items(s, &id, 1, &deleted, &err));
    assert_int_equal(deleted, 1);

    struct arena a = {0};
    struct store_item out;
    const struct store_search q = suite_near_x(10);
    suite_expect_search(s, &q, "kept");
    SUITE_OK(s->ops->scan_items(s, count_item, &scanned, &err));
    assert_int_equal(scanned, 1);
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->item_row(s, "gone");
    assert_false(s->ops->item_live(s, row));
    assert_null(s->ops->vector(s, STORE_CONTENT, row));
    SUITE_RC(U2I_ENOTFOUND, s->ops->get_item(s, row, &a, &out, &err));
    s->ops->read_end(s);
    arena_free(&a);
}

static void deleting_counts_only_what_existed(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    const char *ids[] = {"a", "never", "a", "b"};
    suite_put(f->s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_put(f->s, "b", NULL, suite_unit(1, 0, 0, 0));
    size_t deleted = 99;
    SUITE_OK(f->s->ops->delete_items(f->s, ids, 4, &deleted, &err));
    assert_int_equal(deleted, 2);
    SUITE_OK(f->s->ops->delete_items(f->s, ids, 4, &deleted, &err));
    assert_int_equal(deleted, 0);
}

static void a_batch_with_one_bad_item_changes_nothing(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    const struct suite_vector v = suite_unit(1, 0, 0, 0);
    const struct store_item items[] = {{.id = "a", .vector = v.v},
                                       {.id = "b", .attrs_json = "{\"price\": ", .vector = v.v}};
    const uint64_t before = suite_stats(f->s).sequence;
    SUITE_RC(U2I_EINVAL, f->s->ops->put_items(f->s, items, 2, &err));
    assert_int_equal(err.offset, 1);

    const struct store_stats after = suite_stats(f->s);
    assert_int_equal(after.items, 0);
    assert_int_equal(after.sequence, before);
    assert_int_equal(suite_item_row(f->s, "a"), STORE_NONE);
    assert_string_equal(suite_heard_since(f), "");
}

static int join_ids(void *ctx, const struct store_item *item) {
    strcat(ctx, item->id);
    return 0;
}

static int stop_at_once(void *ctx, const struct store_item *item) {
    join_ids(ctx, item);
    return 1;
}

static void items_are_scanned_in_the_order_of_first_sight(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    char ids[16] = "", first[16] = "";
    suite_put(f->s, "z", NULL, suite_unit(1, 0, 0, 0));
    suite_put(f->s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_put(f->s, "m", NULL, suite_unit(1, 0, 0, 0));
    suite_put(f->s, "z", NULL, suite_unit(0, 1, 0, 0));
    SUITE_OK(f->s->ops->scan_items(f->s, join_ids, ids, &err));
    assert_string_equal(ids, "zam");
    SUITE_OK(f->s->ops->scan_items(f->s, stop_at_once, first, &err));
    assert_string_equal(first, "z");
}

static void new_vectors_go_to_live_rows_only(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const char *gone = "gone";
    suite_put(s, "gone", NULL, suite_unit(1, 0, 0, 0));
    suite_put(s, "kept", NULL, suite_unit(1, 0, 0, 0));
    SUITE_OK(s->ops->delete_items(s, &gone, 1, NULL, &err));
    const uint32_t rows[] = {suite_item_row(s, "gone"), suite_item_row(s, "kept"), 1000};
    const struct suite_vector y = suite_unit(0, 1, 0, 0);
    float vectors[3 * SUITE_DIM];
    for (size_t i = 0; i < 3; i++) {
        memcpy(vectors + i * SUITE_DIM, y.v, sizeof y.v);
    }
    (void)suite_heard_since(f);
    SUITE_OK(s->ops->put_vectors(s, rows, vectors, 3, 5, &err));

    SUITE_OK(s->ops->read_begin(s, &err));
    assert_null(s->ops->vector(s, STORE_CONTENT, rows[0]));
    assert_memory_equal(s->ops->vector(s, STORE_CONTENT, rows[1]), y.v, sizeof y.v);
    s->ops->read_end(s);
    assert_string_equal(suite_heard_since(f), "item 1, ");
}

/* ---- Search --------------------------------------------------------------------------------------- */

static void hits_come_best_first_and_ties_by_id(void **state) {
    struct suite *f = *state;
    suite_put_six(f->s);
    struct store_search q = suite_near_x(10);
    suite_expect_search(f->s, &q, "best near tie-a tie-b far back");
    q.k = 3;
    suite_expect_search(f->s, &q, "best near tie-a");
    q.k = 0;
    suite_expect_search(f->s, &q, "");
}

static void a_filter_and_exclusions_hold(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    struct filter *filter = NULL;
    const char *text = "price >= 3 and price != 5";
    suite_put_six(f->s);
    SUITE_OK(filter_parse(text, strlen(text), NULL, 0, &filter, &err));
    roaring_bitmap_t *exclude = roaring_bitmap_create();
    roaring_bitmap_add(exclude, suite_item_row(f->s, "best"));
    roaring_bitmap_add(exclude, 100000);
    struct store_search q = suite_near_x(10);
    q.filter = filter;
    suite_expect_search(f->s, &q, "best near tie-a");
    q.exclude = exclude;
    suite_expect_search(f->s, &q, "near tie-a");
    q.filter = NULL;
    suite_expect_search(f->s, &q, "near tie-a tie-b far back");
    roaring_bitmap_free(exclude);
    filter_free(filter);
}

static void a_replaced_item_is_found_as_it_is_now(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    struct filter *filter = NULL;
    const char *text = "price == 4";
    suite_put_six(f->s);
    SUITE_OK(filter_parse(text, strlen(text), NULL, 0, &filter, &err));
    struct store_search q = suite_near_x(2);
    q.filter = filter;
    suite_expect_search(f->s, &q, "best");
    suite_put(f->s, "best", "{\"price\": 40}", suite_unit(-1, 0, 0, 0));
    suite_expect_search(f->s, &q, "");
    q.filter = NULL;
    suite_expect_search(f->s, &q, "near tie-a");
    filter_free(filter);
}

static float score_by_row(const void *ctx, uint32_t row) {
    (void)ctx;
    return row == 2 ? 9.0f : 1.0f;
}

static void ranking_covers_items_without_a_vector(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const struct store_item bare[] = {{.id = "q"}, {.id = "p"}, {.id = "r"}};
    SUITE_OK(s->ops->put_items(s, bare, 3, &err));
    struct hit hits[8];
    uint32_t n = 0;
    char got[64];
    const struct store_rank q = {.score = score_by_row, .k = 8};
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->rank(s, &q, hits, &n, &err));
    suite_hits_text(s, hits, n, got, sizeof got);
    s->ops->read_end(s);
    assert_string_equal(got, "r p q");

    const struct store_search by_vector = suite_near_x(8);
    suite_expect_search(s, &by_vector, "");
}

static int64_t late_ticks(void *ctx) {
    (void)ctx;
    return 2000;
}

static void a_search_past_its_deadline_says_so(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    const struct clock late = {.ticks_ns = late_ticks};
    const struct deadline deadline = {&late, 1000};
    struct hit hits[8];
    uint32_t n = 99;
    suite_put_six(f->s);
    struct store_search q = suite_near_x(8);
    q.deadline = &deadline;
    SUITE_OK(f->s->ops->read_begin(f->s, &err));
    SUITE_RC(U2I_ETIMEOUT, f->s->ops->search(f->s, &q, hits, &n, &err));
    f->s->ops->read_end(f->s);
}

/* ---- Taste ---------------------------------------------------------------------------------------- */

static void suite_count_swap(void *ctx) {
    (*(int *)ctx)++;
}

/* Three items, and taste vectors of two dimensions for them and for one that doesn't exist. */
static void suite_put_taste(struct store *s, int *swaps) {
    u2i_error_t err;
    const struct store_item items[] = {{.id = "a", .attrs_json = "{\"price\": 1}"},
                                       {.id = "b", .attrs_json = "{\"price\": 2}"},
                                       {.id = "c", .attrs_json = "{\"price\": 3}"}};
    const uint32_t rows[] = {0, 1, 2, 3};
    const float vectors[] = {1, 0, 0, 2, -1, 0, 9, 9};
    const struct store_vectors v = {
        .dim = 2, .norm_max = 13, .rows = rows, .vectors = vectors, .n = 4};
    SUITE_OK(s->ops->put_items(s, items, 3, &err));
    SUITE_OK(s->ops->exchange_taste(s, &v, suite_count_swap, swaps, &err));
}

static uint32_t suite_search_taste(struct store *s, const char *filter, struct hit *out) {
    u2i_error_t err;
    struct filter *f = NULL;
    const float vector[] = {1, 1};
    uint32_t n;
    if (filter != NULL) {
        SUITE_OK(filter_parse(filter, strlen(filter), NULL, 0, &f, &err));
    }
    const struct store_search q = {.space = STORE_TASTE, .vector = vector, .k = 8, .filter = f};
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->search(s, &q, out, &n, &err));
    s->ops->read_end(s);
    filter_free(f);
    return n;
}

static void taste_is_searched_by_inner_product_among_live_items(void **state) {
    struct suite *f = *state;
    struct hit hits[8];
    int swaps = 0;
    assert_int_equal(suite_search_taste(f->s, NULL, hits), 0);
    suite_put_taste(f->s, &swaps);
    assert_int_equal(swaps, 1);
    assert_int_equal(suite_search_taste(f->s, NULL, hits), 3);
    assert_int_equal(hits[0].row, 1);
    assert_float_equal((double)hits[0].score, 2, 1e-6);
    assert_float_equal((double)hits[2].score, -1, 1e-6);
    assert_int_equal(suite_search_taste(f->s, "price != 2", hits), 2);
    assert_int_equal(hits[0].row, 0);
}

static void taste_of_a_deleted_item_is_gone_and_of_a_new_one_is_found(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    struct hit hits[8];
    int swaps = 0;
    const char *const gone[] = {"b"};
    const struct store_item fresh = {.id = "d"};
    const uint32_t rows[] = {3, 4};
    const float vectors[] = {5, 5, 7, 7};
    suite_put_taste(s, &swaps);
    SUITE_OK(s->ops->delete_items(s, gone, 1, NULL, &err));
    SUITE_OK(s->ops->put_items(s, &fresh, 1, &err));
    SUITE_OK(s->ops->put_taste(s, rows, vectors, 2, 2, &err));
    assert_int_equal(suite_search_taste(s, NULL, hits), 3);
    assert_int_equal(hits[0].row, 3);
    assert_int_equal(hits[1].row, 0);
    SUITE_OK(s->ops->put_taste(s, rows, NULL, 1, 2, &err));
    SUITE_OK(s->ops->put_taste(s, rows, vectors, 1, 1, &err)); /* another dim: too late */
    assert_int_equal(suite_search_taste(s, NULL, hits), 2);
    SUITE_OK(s->ops->exchange_taste(s, NULL, suite_count_swap, &swaps, &err));
    assert_int_equal(swaps, 2);
    assert_int_equal(suite_search_taste(s, NULL, hits), 0);
}

static void matches_are_the_live_rows_that_pass(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    int swaps = 0;
    struct filter *cheap;
    roaring_bitmap_t *all = roaring_bitmap_of(3, 0, 1, 77), *out;
    suite_put_taste(s, &swaps);
    SUITE_OK(filter_parse("price < 2", 9, NULL, 0, &cheap, &err));
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->matches(s, NULL, all, &out, &err));
    assert_int_equal(roaring_bitmap_get_cardinality(out), 2);
    roaring_bitmap_free(out);
    SUITE_OK(s->ops->matches(s, cheap, all, &out, &err));
    assert_int_equal(roaring_bitmap_get_cardinality(out), 1);
    assert_true(roaring_bitmap_contains(out, 0));
    s->ops->read_end(s);
    roaring_bitmap_free(out);
    roaring_bitmap_free(all);
    filter_free(cheap);
}

/* ---- Events --------------------------------------------------------------------------------------- */

static void events_are_read_back_in_the_order_recorded(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_put(s, "b", NULL, suite_unit(1, 0, 0, 0));
    const struct store_event events[] = {{"u2", "b", "buy", "e'1", 5000, 2.5f},
                                         {"u1", "a", "view", NULL, -5, 1.0f}};
    const struct store_events in = {.events = events, .n = 2};
    size_t recorded = 0;
    SUITE_OK(s->ops->put_events(s, &in, &recorded, &err));
    assert_int_equal(recorded, 2);
    const uint64_t seq = suite_stats(s).sequence;
    assert_int_equal(suite_view(s, "u1", "b", 1, NULL), 1);

    suite_expect_events(s, 0, "u2-buy-b@5000*2.5#e'1 u1-view-a@-5*1 u1-view-b@1*1 ");
    suite_expect_events(s, seq, "u1-view-b@1*1 ");
}

static void a_repeated_event_id_is_skipped(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const char *a = "a";
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    const struct store_event events[] = {{"u", "a", "view", "e1", 1, 1.0f},
                                         {"v", "a", "buy", "e1", 2, 1.0f},
                                         {"u", "a", "view", "e2", 3, 1.0f}};
    const struct store_events in = {.events = events, .n = 3};
    size_t recorded = 0;
    SUITE_OK(s->ops->put_events(s, &in, &recorded, &err));
    assert_int_equal(recorded, 2);
    SUITE_OK(s->ops->put_events(s, &in, &recorded, &err));
    assert_int_equal(recorded, 0);
    assert_int_equal(suite_user_row(s, "v"), STORE_NONE);
    suite_expect_events(s, 0, "u-view-a@1*1#e1 u-view-a@3*1#e2 ");

    /* A retry changes nothing also when the item has been deleted since. */
    SUITE_OK(s->ops->delete_items(s, &a, 1, NULL, &err));
    SUITE_OK(s->ops->put_events(s, &in, &recorded, &err));
    assert_int_equal(recorded, 0);
}

static void an_unknown_item_refuses_the_whole_batch(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    (void)suite_heard_since(f);
    const struct store_event events[] = {{"u", "a", "view", "e1", 1, 1.0f},
                                         {"u", "nope", "view", "e2", 2, 1.0f}};
    const struct store_events in = {.events = events, .n = 2, .unknown = STORE_UNKNOWN_REFUSE};
    size_t recorded = 99;
    SUITE_RC(U2I_ENOTFOUND, s->ops->put_events(s, &in, &recorded, &err));
    assert_int_equal(err.offset, 1);
    assert_non_null(strstr(err.msg, "nope"));
    suite_expect_events(s, 0, "");
    assert_int_equal(suite_user_row(s, "u"), STORE_NONE);
    assert_int_equal(suite_item_row(s, "nope"), STORE_NONE);
    assert_string_equal(suite_heard_since(f), "");
    assert_int_equal(suite_view(s, "u", "a", 1, "e1"), 1); /* its id was not used up */
}

static void an_unknown_item_can_be_skipped(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    suite_put(f->s, "a", NULL, suite_unit(1, 0, 0, 0));
    const struct store_event events[] = {{"v", "nope", "view", NULL, 2, 1.0f},
                                         {"u", "a", "view", NULL, 1, 1.0f}};
    const struct store_events in = {.events = events, .n = 2, .unknown = STORE_UNKNOWN_SKIP};
    size_t recorded = 99;
    SUITE_OK(f->s->ops->put_events(f->s, &in, &recorded, &err));
    assert_int_equal(recorded, 1);
    suite_expect_events(f->s, 0, "u-view-a@1*1 ");
    assert_int_equal(suite_item_row(f->s, "nope"), STORE_NONE);
}

static void a_kept_event_waits_for_its_item(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const struct store_event event = {"u", "later", "view", NULL, 1, 1.0f};
    const struct store_events in = {.events = &event, .n = 1, .unknown = STORE_UNKNOWN_KEEP};
    size_t recorded = 0;
    SUITE_OK(s->ops->put_events(s, &in, &recorded, &err));
    assert_int_equal(recorded, 1);
    assert_int_equal(suite_stats(s).items_unknown, 1);
    const uint32_t row = suite_item_row(s, "later");
    assert_int_not_equal(row, STORE_NONE);

    suite_put(s, "later", NULL, suite_unit(1, 0, 0, 0));
    assert_int_equal(suite_item_row(s, "later"), row);
    assert_int_equal(suite_stats(s).items_unknown, 0);
    assert_int_equal(suite_stats(s).items, 1);
}

static void newest_events_come_first_and_ties_stay_together(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    const int64_t times[] = {50, 10, 30, 30, 20, 30, 40};
    for (size_t i = 0; i < 7; i++) {
        suite_view(s, "u", "a", times[i], NULL);
        suite_view(s, "other", "a", 1000 + times[i], NULL);
    }
    suite_expect_times(s, "u", 1, "50");
    suite_expect_times(s, "u", 3, "50 40 30 30 30");
    suite_expect_times(s, "u", 5, "50 40 30 30 30");
    suite_expect_times(s, "u", 6, "50 40 30 30 30 20");
    suite_expect_times(s, "u", SIZE_MAX, "50 40 30 30 30 20 10");
    suite_view(s, "u", "a", 35, NULL); /* comes late, takes its place */
    suite_expect_times(s, "u", 3, "50 40 35");
    suite_expect_times(s, "nobody", 3, "");
}

/* ---- Users ---------------------------------------------------------------------------------------- */

static void a_user_is_read_back_and_replaced(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    struct arena a = {0};
    struct store_user out;
    const struct store_user in[] = {{.id = "u", .interests = "AI", .attrs_json = "{\"age\": 3}"},
                                    {.id = "v", .decay = 0.9}};
    const struct store_user again = {.id = "u", .decay = 0.5};
    SUITE_OK(s->ops->put_users(s, in, 2, &err));
    SUITE_OK(s->ops->read_begin(s, &err));
    const uint32_t row = s->ops->user_row(s, "u");
    SUITE_OK(s->ops->get_user(s, row, &a, &out, &err));
    assert_string_equal(out.id, "u");
    assert_string_equal(out.interests, "AI");
    assert_string_equal(out.attrs_json, "{\"age\": 3}");
    assert_true(out.decay == 0);
    assert_int_equal(out.row, row);
    assert_true(row < s->ops->user_end(s));
    s->ops->read_end(s);

    SUITE_OK(s->ops->put_users(s, &again, 1, &err));
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->get_user(s, row, &a, &out, &err));
    assert_null(out.interests);
    assert_null(out.attrs_json);
    assert_true(out.decay == 0.5);
    SUITE_RC(U2I_ENOTFOUND, s->ops->get_user(s, 1000, &a, &out, &err));
    s->ops->read_end(s);
    arena_free(&a);
}

static void a_decay_is_set_together_with_events(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    struct arena a = {0};
    struct store_user out;
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    const struct store_event event = {"u", "a", "view", NULL, 1, 1.0f};
    const struct store_events in = {.events = &event, .n = 1, .user_decay = 0.8};
    SUITE_OK(s->ops->put_events(s, &in, NULL, &err));
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->get_user(s, s->ops->user_row(s, "u"), &a, &out, &err));
    assert_true(out.decay == 0.8);
    s->ops->read_end(s);
    arena_free(&a);
}

static int count_user(void *ctx, const struct store_user *user) {
    (void)user;
    ++*(size_t *)ctx;
    return 0;
}

static void a_deleted_user_is_forgotten_entirely(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_view(s, "u", "a", 1, "e1");
    suite_view(s, "v", "a", 2, "e2");
    suite_view(s, "u", "a", 3, NULL);
    const uint32_t row = suite_user_row(s, "u");
    char want[64];
    (void)snprintf(want, sizeof want, "user %u gone with 2, ", row);
    (void)suite_heard_since(f);
    SUITE_OK(s->ops->delete_user(s, "u", &err));

    size_t users = 0;
    assert_string_equal(suite_heard_since(f), want);
    assert_int_equal(suite_user_row(s, "u"), STORE_NONE);
    suite_expect_events(s, 0, "v-view-a@2*1#e2 ");
    SUITE_OK(s->ops->scan_users(s, count_user, &users, &err));
    assert_int_equal(users, 1);
    SUITE_RC(U2I_ENOTFOUND, s->ops->delete_user(s, "u", &err));
    assert_int_equal(suite_view(s, "u", "a", 4, "e1"), 1); /* nobody remembers that id */
    suite_expect_times(s, "u", 10, "4");
}

/* ---- Settings and blobs --------------------------------------------------------------------------- */

static void settings_are_kept_in_order_of_name(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    SUITE_OK(s->ops->put_setting(s, "window", "500", &err));
    SUITE_OK(s->ops->put_setting(s, "action.view", "1", &err));
    SUITE_OK(s->ops->put_setting(s, "window", "600", &err));
    assert_string_equal(suite_heard_since(f), "settings, settings, settings, ");
    suite_expect_settings(s, "action.view=1;window=600;");
    SUITE_OK(s->ops->put_setting(s, "window", NULL, &err));
    SUITE_OK(s->ops->put_setting(s, "never.was", NULL, &err));
    suite_expect_settings(s, "action.view=1;");
}

static void a_blob_is_read_back_byte_for_byte(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const size_t n = 3u << 20;
    unsigned char *bytes = mem_alloc(n);
    struct buf out = {0};
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (unsigned char)(i * 31 ^ i >> 8);
    }
    SUITE_RC(U2I_ENOTFOUND, s->ops->get_blob(s, "idf", &out, &err));
    SUITE_OK(s->ops->put_blob(s, "idf", "first", 5, &err));
    SUITE_OK(s->ops->put_blob(s, "idf", bytes, n, &err));
    SUITE_OK(s->ops->get_blob(s, "idf", &out, &err));
    assert_int_equal(out.len, n);
    assert_memory_equal(out.data, bytes, n);
    SUITE_OK(s->ops->put_blob(s, "idf", NULL, 0, &err));
    SUITE_RC(U2I_ENOTFOUND, s->ops->get_blob(s, "idf", &out, &err));
    assert_string_equal(suite_heard_since(f), "");
    buf_free(&out);
    mem_free(bytes);
}

/* ---- The table ------------------------------------------------------------------------------------ */

static const struct suite_promise promises[] = {
    SUITE_PROMISE(an_item_is_read_back_as_it_was_put),
    SUITE_PROMISE(what_was_not_given_comes_back_as_null),
    SUITE_PROMISE(an_item_keeps_its_row_when_replaced_or_deleted),
    SUITE_PROMISE(a_deleted_item_is_never_returned),
    SUITE_PROMISE(deleting_counts_only_what_existed),
    SUITE_PROMISE(a_batch_with_one_bad_item_changes_nothing),
    SUITE_PROMISE(items_are_scanned_in_the_order_of_first_sight),
    SUITE_PROMISE(new_vectors_go_to_live_rows_only),
    SUITE_PROMISE(hits_come_best_first_and_ties_by_id),
    SUITE_PROMISE(a_filter_and_exclusions_hold),
    SUITE_PROMISE(a_replaced_item_is_found_as_it_is_now),
    SUITE_PROMISE(ranking_covers_items_without_a_vector),
    SUITE_PROMISE(a_search_past_its_deadline_says_so),
    SUITE_PROMISE(taste_is_searched_by_inner_product_among_live_items),
    SUITE_PROMISE(taste_of_a_deleted_item_is_gone_and_of_a_new_one_is_found),
    SUITE_PROMISE(matches_are_the_live_rows_that_pass),
    SUITE_PROMISE(events_are_read_back_in_the_order_recorded),
    SUITE_PROMISE(a_repeated_event_id_is_skipped),
    SUITE_PROMISE(an_unknown_item_refuses_the_whole_batch),
    SUITE_PROMISE(an_unknown_item_can_be_skipped),
    SUITE_PROMISE(a_kept_event_waits_for_its_item),
    SUITE_PROMISE(newest_events_come_first_and_ties_stay_together),
    SUITE_PROMISE(a_user_is_read_back_and_replaced),
    SUITE_PROMISE(a_decay_is_set_together_with_events),
    SUITE_PROMISE(a_deleted_user_is_forgotten_entirely),
    SUITE_PROMISE(settings_are_kept_in_order_of_name),
    SUITE_PROMISE(a_blob_is_read_back_byte_for_byte),
};

int main(void) {
    return suite_run(promises, sizeof promises / sizeof promises[0]);
}
