/* The second half of the conformance suite (see test_store_conformance.c): what holds for a store as a
 * whole: listening, counting, many threads, opening and opening again. */
#include "store_suite.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"

/* ---- The whole store ------------------------------------------------------------------------------ */

static void the_listener_hears_every_commit_in_order(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const char *a = "a";
    const struct store_user user = {.id = "u", .interests = "x"};
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_view(s, "u", "a", 1, NULL);
    SUITE_OK(s->ops->put_users(s, &user, 1, &err));
    SUITE_OK(s->ops->delete_items(s, &a, 1, NULL, &err));
    SUITE_OK(s->ops->delete_user(s, "u", &err));
    assert_string_equal(suite_heard_since(f),
                        "item 0, events 1, user 0, item 0, user 0 gone with 1, ");
}

static void every_change_moves_the_sequence_and_a_failure_does_not(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    uint64_t before = suite_stats(s).sequence;
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    assert_true(suite_stats(s).sequence > before);
    before = suite_stats(s).sequence;
    suite_view(s, "u", "a", 1, NULL);
    assert_true(suite_stats(s).sequence > before);
    before = suite_stats(s).sequence;
    SUITE_RC(U2I_ENOTFOUND, s->ops->delete_user(s, "nobody", &err));
    assert_int_equal(suite_stats(s).sequence, before);
    SUITE_OK(s->ops->read_begin(s, &err));
    assert_int_equal(s->ops->sequence(s), before);
    s->ops->read_end(s);
}

static void count_call(void *ctx) {
    ++*(int *)ctx;
}

static void what_is_to_run_alone_runs_once_before_the_call_returns(void **state) {
    struct suite *f = *state;
    int calls = 0;
    f->s->ops->alone(f->s, count_call, &calls);
    assert_int_equal(calls, 1);
    suite_put(f->s, "a", NULL, suite_unit(1, 0, 0, 0)); /* the lock is free again */
}

static void stats_tell_when_events_were_last_removed(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_view(s, "u", "a", 1, NULL);
    suite_view(s, "v", "a", 2, NULL);
    assert_int_equal(suite_stats(s).removed_sequence, 0);
    SUITE_OK(s->ops->delete_user(s, "v", &err));
    const uint64_t removed = suite_stats(s).sequence;
    assert_int_equal(suite_stats(s).removed_sequence, removed);
    suite_view(s, "u", "a", 3, NULL);
    assert_int_equal(suite_stats(s).removed_sequence, removed);
}

static void stats_count_what_is_there(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    const char *gone[] = {"b", "c"};
    const struct store_item bare = {.id = "bare"};
    suite_put(s, "a", NULL, suite_unit(1, 0, 0, 0));
    suite_put(s, "b", NULL, suite_unit(1, 0, 0, 0));
    suite_put(s, "c", NULL, suite_unit(1, 0, 0, 0));
    SUITE_OK(s->ops->put_items(s, &bare, 1, &err));
    suite_view(s, "u", "a", 1, NULL);
    suite_view(s, "v", "b", 1, NULL);
    SUITE_OK(s->ops->delete_items(s, gone, 2, NULL, &err));

    const struct store_stats stats = suite_stats(s);
    assert_int_equal(stats.items, 2);
    assert_int_equal(stats.items_no_vector, 1);
    assert_int_equal(stats.items_unknown, 1); /* b: no event names c */
    assert_int_equal(stats.users, 2);
    assert_int_equal(stats.events, 2);
    assert_true(stats.memory_bytes > 0);
    assert_int_equal(stats.file_bytes > 0, f->kind->on_disk);
}

static void a_sound_store_verifies_without_a_fault(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    size_t faults = 99;
    suite_put_six(s);
    suite_view(s, "u", "far", 1, "e");
    SUITE_OK(s->ops->put_setting(s, "window", "5", &err));
    SUITE_OK(s->ops->put_blob(s, "blob", "xyz", 3, &err));
    SUITE_OK(s->ops->verify(s, NULL, NULL, &faults, &err));
    assert_int_equal(faults, 0);
}

static void the_longest_strings_fit(void **state) {
    struct suite *f = *state;
    struct store *s = f->s;
    u2i_error_t err;
    char id[U2I_ID_MAX_BYTES + 1];
    char *text = mem_alloc(U2I_TEXT_MAX_BYTES + 1);
    struct arena a = {0};
    struct store_item out;
    assert_non_null(text);
    memset(id, '%', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    memset(text, '\'', U2I_TEXT_MAX_BYTES);
    text[U2I_TEXT_MAX_BYTES] = '\0';
    const struct store_item in = {.id = id, .text = text};
    SUITE_OK(s->ops->put_items(s, &in, 1, &err));
    SUITE_OK(s->ops->read_begin(s, &err));
    SUITE_OK(s->ops->get_item(s, s->ops->item_row(s, id), &a, &out, &err));
    assert_string_equal(out.text, text);
    s->ops->read_end(s);
    arena_free(&a);
    mem_free(text);
}

/* ---- Many threads --------------------------------------------------------------------------------- */

enum { WRITERS = 3, READERS = 3, BATCHES = 40, BATCH = 10 };

struct crowd {
    struct store *s;
    atomic_int next_writer, writing;
    atomic_int half_seen; /* batches of which a reader saw only a part */
};

static void *write_batches(void *arg) {
    struct crowd *c = arg;
    const int me = atomic_fetch_add(&c->next_writer, 1);
    const struct suite_vector v = suite_unit(1, 1, 0, 0);
    for (int b = 0; b < BATCHES; b++) {
        char ids[BATCH][24];
        struct store_item items[BATCH];
        for (int i = 0; i < BATCH; i++) {
            (void)snprintf(ids[i], sizeof ids[i], "%d/%d/%d", me, b, i);
            items[i] = (struct store_item){.id = ids[i], .vector = v.v};
        }
        u2i_error_t err;
        if (c->s->ops->put_items(c->s, items, BATCH, &err) != U2I_OK) {
            atomic_fetch_add(&c->half_seen, 1000);
        }
    }
    atomic_fetch_sub(&c->writing, 1);
    return NULL;
}

static void *read_batches(void *arg) {
    struct crowd *c = arg;
    struct store *s = c->s;
    for (int b = 0; atomic_load(&c->writing) > 0; b = (b + 1) % (WRITERS * BATCHES)) {
        u2i_error_t err;
        int live = 0;
        if (s->ops->read_begin(s, &err) != U2I_OK) {
            atomic_fetch_add(&c->half_seen, 1000);
            continue;
        }
        for (int i = 0; i < BATCH; i++) {
            char id[24];
            (void)snprintf(id, sizeof id, "%d/%d/%d", b % WRITERS, b / WRITERS, i);
            const uint32_t row = s->ops->item_row(s, id);
            live += row != STORE_NONE && s->ops->item_live(s, row);
        }
        s->ops->read_end(s);
        if (live != 0 && live != BATCH) {
            atomic_fetch_add(&c->half_seen, 1);
        }
    }
    return NULL;
}

static void readers_never_see_half_a_batch(void **state) {
    struct suite *f = *state;
    struct crowd c = {.s = f->s, .writing = WRITERS};
    pthread_t threads[WRITERS + READERS];
    for (int i = 0; i < WRITERS + READERS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < WRITERS ? write_batches : read_batches, &c), 0);
    }
    for (int i = 0; i < WRITERS + READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&c.half_seen), 0);
    assert_int_equal(suite_stats(f->s).items, WRITERS * BATCHES * BATCH);
}

/* ---- Opening -------------------------------------------------------------------------------------- */

static void a_new_store_needs_a_dim(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    char path[400];
    struct store *other = (struct store *)f;
    struct store_options opt = suite_options(NULL);
    (void)snprintf(path, sizeof path, "%s/other.db", f->dir);
    opt.dim = 0;
    SUITE_RC(U2I_EINVAL, f->kind->open(path, &opt, &other, &err));
    assert_null(other);
    opt.dim = U2I_DIM_MAX + 1;
    SUITE_RC(U2I_EINVAL, f->kind->open(path, &opt, &other, &err));
}

static void existing_only_does_not_create(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    char path[400];
    struct store *other = (struct store *)f;
    struct store_options opt = suite_options(NULL);
    (void)snprintf(path, sizeof path, "%s/other.db", f->dir);
    opt.flags = U2I_OPEN_EXISTING;
    SUITE_RC(U2I_ENOTFOUND, f->kind->open(path, &opt, &other, &err));
    assert_null(other);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_reopened_store_answers_the_same(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    const char *far = "far";
    suite_put_six(f->s);
    suite_view(f->s, "u", "near", 7, "e1");
    SUITE_OK(f->s->ops->delete_items(f->s, &far, 1, NULL, &err));
    SUITE_OK(f->s->ops->put_setting(f->s, "window", "5", &err));
    const struct store_stats before = suite_stats(f->s);
    const uint32_t row = suite_item_row(f->s, "back");
    suite_reopen(f);

    const struct store_search q = suite_near_x(10);
    suite_expect_search(f->s, &q, "best near tie-a tie-b back");
    assert_int_equal(suite_item_row(f->s, "back"), row);
    suite_expect_events(f->s, 0, "u-view-near@7*1#e1 ");
    suite_expect_times(f->s, "u", 5, "7");
    suite_expect_settings(f->s, "window=5;");
    const struct store_stats after = suite_stats(f->s);
    assert_int_equal(after.sequence, before.sequence);
    assert_int_equal(after.items, before.items);
    assert_int_equal(suite_view(f->s, "u", "near", 7, "e1"), 0);
}

static void another_handle_sees_a_write_in_its_next_answer(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    struct store *other = NULL;
    struct suite_heard other_heard = {0};
    const struct store_options opt = suite_options(&other_heard);
    suite_put(f->s, "near", NULL, suite_unit(3, 1, 0, 0));
    SUITE_OK(f->kind->open(f->path, &opt, &other, &err));
    const struct store_search q = suite_near_x(10);
    suite_expect_search(other, &q, "near");

    suite_put(f->s, "best", NULL, suite_unit(1, 0, 0, 0));
    suite_expect_search(other, &q, "best near");
    suite_view(other, "u", "best", 5, "e1"); /* and the other way round */
    suite_expect_times(f->s, "u", 5, "5");
    assert_int_equal(suite_view(f->s, "u", "near", 6, "e1"), 0);
    SUITE_OK(f->s->ops->delete_user(f->s, "u", &err));
    assert_int_equal(suite_user_row(other, "u"), STORE_NONE);
    const char *told = strstr(other_heard.text, "events 1, ");
    assert_non_null(told);
    assert_true(strstr(told, "gone with 1, ") != NULL || strstr(told, "reset, ") != NULL);
    assert_int_equal(other->ops->close(other), U2I_OK);
}

static void another_dim_or_model_is_refused_by_name(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    struct store *other = (struct store *)f;
    struct store_options opt = suite_options(NULL);
    opt.dim = 5;
    SUITE_RC(U2I_EEMBED, f->kind->open(f->path, &opt, &other, &err));
    assert_null(other);
    assert_non_null(strstr(err.msg, "5"));
    assert_non_null(strstr(err.msg, "4"));
    opt.dim = 0;
    opt.model = "hash-512";
    SUITE_RC(U2I_EEMBED, f->kind->open(f->path, &opt, &other, &err));
    assert_non_null(strstr(err.msg, "hash-512"));
    assert_non_null(strstr(err.msg, "none"));
    opt.model = NULL;
    SUITE_OK(f->kind->open(f->path, &opt, &other, &err));
    assert_int_equal(other->dim, SUITE_DIM);
    assert_string_equal(other->model, "none");
    assert_int_equal(other->ops->close(other), U2I_OK);
}

static void a_store_opened_for_reading_refuses_writes(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    struct store *s = NULL;
    const char *id = "best";
    struct store_options opt = suite_options(NULL);
    suite_put_six(f->s);
    opt.flags = U2I_OPEN_READONLY;
    SUITE_OK(f->kind->open(f->path, &opt, &s, &err));
    const struct store_item item = {.id = "x"};
    const struct store_user user = {.id = "u"};
    const struct store_event event = {"u", "best", "view", NULL, 1, 1.0f};
    const struct store_events events = {.events = &event, .n = 1};
    SUITE_RC(U2I_EREADONLY, s->ops->put_items(s, &item, 1, &err));
    SUITE_RC(U2I_EREADONLY, s->ops->delete_items(s, &id, 1, NULL, &err));
    SUITE_RC(U2I_EREADONLY, s->ops->put_events(s, &events, NULL, &err));
    SUITE_RC(U2I_EREADONLY, s->ops->put_users(s, &user, 1, &err));
    SUITE_RC(U2I_EREADONLY, s->ops->delete_user(s, "u", &err));
    SUITE_RC(U2I_EREADONLY, s->ops->put_setting(s, "window", "1", &err));
    SUITE_RC(U2I_EREADONLY, s->ops->put_blob(s, "b", "1", 1, &err));
    if (f->kind->on_disk) {
        const struct store_search q = suite_near_x(1);
        suite_expect_search(s, &q, "best");
    }
    assert_int_equal(s->ops->close(s), U2I_OK);
}

static void a_new_store_is_not_made_over_an_old_one(void **state) {
    struct suite *f = *state;
    u2i_error_t err;
    struct store *other = (struct store *)f;
    struct store_options opt = suite_options(NULL);
    opt.flags = U2I_OPEN_NEW;
    SUITE_RC(U2I_EINVAL, f->kind->open(f->path, &opt, &other, &err));
    assert_null(other);
}

/* ---- The table ------------------------------------------------------------------------------------ */

static const struct suite_promise promises[] = {
    SUITE_PROMISE(the_listener_hears_every_commit_in_order),
    SUITE_PROMISE(every_change_moves_the_sequence_and_a_failure_does_not),
    SUITE_PROMISE(what_is_to_run_alone_runs_once_before_the_call_returns),
    SUITE_PROMISE(stats_tell_when_events_were_last_removed),
    SUITE_PROMISE(stats_count_what_is_there),
    SUITE_PROMISE(a_sound_store_verifies_without_a_fault),
    SUITE_PROMISE(the_longest_strings_fit),
    SUITE_PROMISE(readers_never_see_half_a_batch),
    SUITE_PROMISE(a_new_store_needs_a_dim),
    SUITE_PROMISE(existing_only_does_not_create),
    SUITE_PROMISE(a_store_opened_for_reading_refuses_writes),
    SUITE_PROMISE_ON_DISK(a_reopened_store_answers_the_same),
    SUITE_PROMISE_ON_DISK(another_handle_sees_a_write_in_its_next_answer),
    SUITE_PROMISE_ON_DISK(another_dim_or_model_is_refused_by_name),
    SUITE_PROMISE_ON_DISK(a_new_store_is_not_made_over_an_old_one),
};

int main(void) {
    return suite_run(promises, sizeof promises / sizeof promises[0]);
}
