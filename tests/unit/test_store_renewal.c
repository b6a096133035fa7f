/* Vectors of another model at the store's own level: which items wait, whose target counts, and that a handle of the
 * old vectors does nothing any more once the new ones are in use. */
#include "test_store_sqlite.h"

#define NEXT_DIM 3

static const struct store_next target = {.target = "another", .dim = NEXT_DIM, .embedding = 1};
static const struct store_move move = {.model = "another-3"};

struct waiting {
    size_t n, same;
    struct store_next_item items[64];
};

static int note_waiting(void *ctx, const struct store_item *item,
                        const struct store_next_item *next) {
    struct waiting *const w = ctx;
    assert_int_equal(item->row, next->row);
    w->same += next->same;
    w->items[w->n++] = *next;
    return 0;
}

static struct waiting look_for_waiting(struct store *s) {
    struct waiting w = {.n = 0};
    const uint32_t range[2] = {0, 64};
    u2i_error_t err;
    OK(s->ops->next_items(s, &target, range, note_waiting, &w, &err));
    return w;
}

/* All that wait get a vector. */
static void put_waiting(struct store *s) {
    static const float vector[NEXT_DIM] = {0, 0, 1};
    struct waiting w = look_for_waiting(s);
    u2i_error_t err;
    for (size_t i = 0; i < w.n; i++) {
        w.items[i].vector = vector;
    }
    OK(s->ops->next_put(s, &target, w.items, w.n, &err));
}

static void begin(struct store *s, uint64_t items, uint64_t waiting) {
    struct store_next_counts counts;
    u2i_error_t err;
    OK(s->ops->next_begin(s, &target, &counts, &err));
    assert_int_equal(counts.items, items);
    assert_int_equal(counts.waiting, waiting);
}

static int put_one(struct store *s, const char *title, const char *attrs, u2i_error_t *err) {
    static const float vector[DIM] = {1};
    const struct store_item item = {
        .id = "item1", .title = title, .category = "books", .attrs_json = attrs, .vector = vector};
    return s->ops->put_items(s, &item, 1, err);
}

static void attributes_alone_make_no_text_anew(void **state) {
    struct box *b = *state;
    u2i_error_t err;
    box_open(b);
    box_put(b->s, 0, 5);
    begin(b->s, 5, 5);
    put_waiting(b->s);
    begin(b->s, 5, 0);
    OK(put_one(b->s, "Title of item 1", "{\"price\": 8}", &err));
    struct waiting w = look_for_waiting(b->s);
    assert_int_equal(w.n, 1);
    assert_int_equal(w.same, 1);
    put_waiting(b->s);
    begin(b->s, 5, 0);
    OK(put_one(b->s, "Another title", "{\"price\": 8}", &err));
    w = look_for_waiting(b->s);
    assert_int_equal(w.n, 1);
    assert_int_equal(w.same, 0);
    box_close(b);
}

static void an_item_without_its_vector_keeps_the_old_ones_in_use(void **state) {
    struct box *b = *state;
    const char *const ids[] = {"item1"};
    u2i_error_t err;
    box_open(b);
    box_put(b->s, 0, 5);
    begin(b->s, 5, 5);
    assert_int_equal(b->s->ops->next_use(b->s, &target, &move, &err), STORE_STALE);
    put_waiting(b->s);
    OK(put_one(b->s, "Another title", NULL, &err));
    assert_int_equal(b->s->ops->next_use(b->s, &target, &move, &err), STORE_STALE);
    OK(b->s->ops->delete_items(b->s, ids, 1, NULL, &err)); /* nobody misses that one's */
    OK(b->s->ops->next_use(b->s, &target, &move, &err));
    box_close(b);
    struct store_options o = box_options(b, NULL);
    o.dim = NEXT_DIM;
    o.model = "another-3";
    OK(store_sqlite_open(b->path, &o, &b->s, &err));
    assert_int_equal(b->s->models, 1);
    OK(b->s->ops->read_begin(b->s, &err));
    assert_non_null(b->s->ops->vector(b->s, STORE_CONTENT, 0));
    assert_null(b->s->ops->vector(b->s, STORE_CONTENT, 1));
    b->s->ops->read_end(b->s);
    size_t faults;
    OK(b->s->ops->verify(b->s, NULL, NULL, &faults, &err));
    assert_int_equal(faults, 0);
    box_close(b);
}

static void the_last_target_counts(void **state) {
    struct box *b = *state;
    static const struct store_next other = {.target = "yet another", .dim = NEXT_DIM};
    struct store_next_counts counts;
    u2i_error_t err;
    const struct store_next_item none = {.row = 0};
    box_open(b);
    box_put(b->s, 0, 5);
    begin(b->s, 5, 5);
    put_waiting(b->s);
    OK(b->s->ops->next_begin(b->s, &other, &counts, &err));
    assert_int_equal(counts.waiting, 5);
    assert_int_equal(b->s->ops->next_put(b->s, &target, &none, 1, &err), U2I_EBUSY);
    assert_int_equal(b->s->ops->next_state(b->s, &target, "x", 1, &err), U2I_EBUSY);
    assert_int_equal(b->s->ops->next_use(b->s, &target, &move, &err), U2I_EBUSY);
    OK(b->s->ops->next_drop(b->s, &err));
    assert_int_equal(b->s->ops->next_put(b->s, &other, &none, 1, &err), U2I_EBUSY);
    box_close(b);
}

static void a_damaged_text_does_not_stop_the_others(void **state) {
    struct box *b = *state;
    box_open(b);
    box_put(b->s, 0, 5);
    box_sql(b->path, "UPDATE items SET title = 'something else' WHERE id = 'item3'");
    begin(b->s, 5, 5);
    assert_int_equal(look_for_waiting(b->s).n, 5);
    assert_true(box_logged(b, "goes without a vector"));
    box_close(b);
}

static int never_item(void *ctx, const struct store_item *item) {
    (void)ctx;
    (void)item;
    return 1;
}

static void require_moved(struct store *s) {
    struct store_stats stats;
    struct buf blob = {0};
    u2i_error_t err;
    size_t faults;
    assert_int_equal(s->ops->read_begin(s, &err), STORE_MOVED);
    assert_int_equal(s->ops->scan_items(s, never_item, NULL, &err), STORE_MOVED);
    assert_int_equal(s->ops->stats(s, &stats, &err), STORE_MOVED);
    assert_int_equal(s->ops->get_blob(s, "b", &blob, &err), STORE_MOVED);
    assert_int_equal(s->ops->verify(s, NULL, NULL, &faults, &err), STORE_MOVED);
    assert_int_equal(put_one(s, "Title", NULL, &err), STORE_MOVED);
    assert_int_equal(s->ops->put_setting(s, "n", "v", &err), STORE_MOVED);
    buf_free(&blob);
}

static void old_handles_do_nothing_any_more(void **state) {
    struct box *b = *state;
    struct store *other, *writer;
    u2i_error_t err;
    box_open(b);
    box_put(b->s, 0, 5);
    OK(box_try_open(b, 0, &other, &err));
    OK(box_try_open(b, 0, &writer, &err));
    begin(b->s, 5, 5);
    put_waiting(b->s);
    OK(b->s->ops->next_use(b->s, &target, &move, &err));
    require_moved(b->s);
    require_moved(other);
    assert_int_equal(put_one(writer, "Title", NULL, &err), STORE_MOVED); /* its first look */
    require_moved(writer);
    (void)writer->ops->close(writer);
    (void)other->ops->close(other);
    box_close(b);
}

static void *put_many(void *arg) {
    struct store *const s = arg;
    u2i_error_t err;
    int rc = U2I_OK;
    for (int i = 0; i < 200 && rc == U2I_OK; i++) {
        rc = put_one(s, i % 2 == 0 ? "Title" : "Other title", NULL, &err);
    }
    assert_true(rc == U2I_OK || rc == STORE_MOVED);
    return NULL;
}

/* Many writes go into one transaction with it: those before it make it wait, those after it are refused. */
static void writes_beside_the_switch_are_before_or_after_it(void **state) {
    struct box *b = *state;
    pthread_t threads[4];
    u2i_error_t err;
    box_open(b);
    box_put(b->s, 0, 5);
    begin(b->s, 5, 5);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, b->s), 0);
    }
    int rc = STORE_STALE;
    while (rc == STORE_STALE) {
        put_waiting(b->s);
        rc = b->s->ops->next_use(b->s, &target, &move, &err);
    }
    assert_int_equal(rc, U2I_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    require_moved(b->s);
    box_close(b);
    struct store_options o = box_options(b, NULL);
    size_t faults;
    o.dim = NEXT_DIM;
    o.model = "another-3";
    OK(store_sqlite_open(b->path, &o, &b->s, &err));
    OK(b->s->ops->verify(b->s, NULL, NULL, &faults, &err));
    assert_int_equal(faults, 0);
    box_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BOX_TEST(attributes_alone_make_no_text_anew),
        BOX_TEST(an_item_without_its_vector_keeps_the_old_ones_in_use),
        BOX_TEST(the_last_target_counts),
        BOX_TEST(a_damaged_text_does_not_stop_the_others),
        BOX_TEST(old_handles_do_nothing_any_more),
        BOX_TEST(writes_beside_the_switch_are_before_or_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
