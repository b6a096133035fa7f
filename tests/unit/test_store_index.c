/* The index of a store on disk: what searches find through it, and which file a store believes when it is
 * opened. Beside each store the test keeps a model, its vectors in an array, and compares. */
#include "test_store_sqlite.h"

#include "base/rng.h"
#include "vec/vec.h"

enum { ROWS = 3000, EXACT = 200, TOP = 10 };

/* What is in the store: item i has vector v[i], if live[i]. */
struct model {
    float v[ROWS][DIM];
    bool live[ROWS];
    struct rng rng;
};

static struct model *model_new(void) {
    const char *const text = getenv("U2I_SEED");
    const uint64_t seed = text == NULL ? 4 : strtoull(text, NULL, 10);
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    print_message("U2I_SEED=%llu\n", (unsigned long long)seed);
    rng_seed(&m->rng, seed);
    return m;
}

static void model_vector(struct model *m, float *v) {
    do {
        for (int d = 0; d < DIM; d++) {
            v[d] = (float)rng_normal(&m->rng);
        }
    } while (!vec_normalise(v, DIM));
}

static void model_put(struct model *m, struct store *s, int from, int n) {
    u2i_error_t err;
    for (int at = from; at < from + n; at += 500) {
        struct store_item items[500];
        char ids[500][16];
        const int some = from + n - at < 500 ? from + n - at : 500;
        for (int i = 0; i < some; i++) {
            (void)snprintf(ids[i], sizeof ids[i], "item%d", at + i);
            model_vector(m, m->v[at + i]);
            m->live[at + i] = true;
            items[i] = (struct store_item){.id = ids[i],
                                           .category = (at + i) % 10 == 0 ? "rare" : "common",
                                           .vector = m->v[at + i]};
        }
        OK(s->ops->put_items(s, items, (size_t)some, &err));
    }
}

static void model_delete(struct model *m, struct store *s, int i) {
    u2i_error_t err;
    char id[16];
    const char *ids[] = {id};
    size_t deleted;
    (void)snprintf(id, sizeof id, "item%d", i);
    OK(s->ops->delete_items(s, ids, 1, &deleted, &err));
    assert_int_equal(deleted, m->live[i]);
    m->live[i] = false;
}

static uint32_t model_row(struct store *s, int i) {
    char id[16];
    (void)snprintf(id, sizeof id, "item%d", i);
    return s->ops->item_row(s, id);
}

static int model_item(struct store *s, uint32_t row) {
    return atoi(s->ops->item_id(s, row) + strlen("item"));
}

/* The score of the k-th best, and how many there are up to k. */
static uint32_t model_best(const struct model *m, const float *q, bool rare, float *least) {
    float best[TOP];
    uint32_t n = 0;
    for (int i = 0; i < ROWS; i++) {
        float score = !m->live[i] || (rare && i % 10 != 0) ? -2 : vec_dot(q, m->v[i], DIM);
        for (uint32_t k = 0; k < TOP && score > -2; k++) {
            if (k == n) {
                best[n++] = score;
                break;
            }
            if (score > best[k]) {
                const float other = best[k];
                best[k] = score;
                score = other;
            }
        }
    }
    *least = n == 0 ? 0 : best[n - 1];
    return n;
}

static uint32_t model_check_hits(const struct model *m, struct store *s, const float *q,
                                 const struct hit *hits, uint32_t n, float least) {
    uint32_t found = 0;
    for (uint32_t h = 0; h < n; h++) {
        const int i = model_item(s, hits[h].row);
        const float *v = s->ops->vector(s, STORE_CONTENT, hits[h].row);
        assert_true(m->live[i]);
        assert_non_null(v);
        assert_memory_equal(v, m->v[i], sizeof m->v[i]);
        assert_true(hits[h].score - vec_dot(q, m->v[i], DIM) < 1e-5f);
        assert_true(h == 0 || hits[h - 1].score >= hits[h].score);
        found += hits[h].score >= least - 1e-6f;
    }
    return found;
}

/* Everything that the store says of its vectors is as in the model, and searches find most of the best. */
static void model_check(struct model *m, struct store *s, bool rare) {
    u2i_error_t err;
    struct filter *filter = NULL;
    uint32_t found = 0;
    uint32_t of = 0;
    if (rare) {
        OK(filter_parse("category == \"rare\"", 18, NULL, 0, &filter, &err));
    }
    for (int i = 0; i < 50; i++) {
        float q[DIM];
        float least;
        struct hit hits[TOP];
        uint32_t n;
        model_vector(m, q);
        const uint32_t want = model_best(m, q, rare, &least);
        const struct store_search search = {.vector = q, .k = TOP, .filter = filter};
        OK(s->ops->read_begin(s, &err));
        OK(s->ops->search(s, &search, hits, &n, &err));
        assert_int_equal(n, want);
        found += model_check_hits(m, s, q, hits, n, least);
        s->ops->read_end(s);
        of += want;
    }
    filter_free(filter);
    if (found < of * 9 / 10) {
        fail_msg("%u of %u found", found, of);
    }
    OK(s->ops->read_begin(s, &err));
    for (int i = 0; i < ROWS; i++) {
        const uint32_t row = model_row(s, i);
        const float *v = row == STORE_NONE ? NULL : s->ops->vector(s, STORE_CONTENT, row);
        assert_int_equal(v != NULL, m->live[i]);
        assert_true(v == NULL || memcmp(v, m->v[i], sizeof m->v[i]) == 0);
    }
    s->ops->read_end(s);
}

/* ---- Stores with few vectors that use an index all the same ------------------------------------ */

static void box_use_index(struct store *s) {
    u2i_error_t err;
    struct index_config config = INDEX_CONFIG_INIT;
    config.exact_max = EXACT;
    OK(s->ops->put_setting(s, "index_exact_max", "200", &err));
    s->ops->configure_index(s, &config);
}

static void box_build(struct store *s) {
    u2i_error_t err;
    OK(s->ops->build_index(s, NULL, NULL, &err));
}

/* A store of n items, built, saved, and closed. */
static void box_make(struct box *b, struct model *m, int n) {
    box_open(b);
    box_use_index(b->s);
    model_put(m, b->s, 0, n);
    box_build(b->s);
    assert_int_equal(box_stats(b->s).index_items, n);
    box_close(b);
    assert_true(box_exists(b->path, "-index/content.hnsw"));
    b->log[0] = '\0';
}

static void box_expect_log(struct box *b, const char *words) {
    if (!box_logged(b, words)) {
        fail_msg("'%s' was not logged, but:\n%s", words, b->log);
    }
}

static void box_name(struct box *b, const char *suffix, char *name) {
    (void)snprintf(name, 200, "%s%s", b->path, suffix);
}

static void box_flip(struct box *b, const char *suffix, double where) {
    char name[200];
    size_t n;
    box_name(b, suffix, name);
    char *bytes = box_read_file(name, &n);
    bytes[(size_t)((double)(n - 1) * where)] ^= 0x10;
    box_write_file(name, bytes, n);
    free(bytes);
}

static void box_copy(struct box *b, const char *from, const char *to) {
    char name[200];
    size_t n;
    box_name(b, from, name);
    char *bytes = box_read_file(name, &n);
    box_name(b, to, name);
    box_write_file(name, bytes, n);
    free(bytes);
}

/* ---- Searching ---------------------------------------------------------------------------------- */

static void searches_find_through_the_index_what_comparing_all_finds(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    u2i_error_t err;
    struct store_explain why = {0};
    struct hit hits[TOP];
    uint32_t n;
    box_open(b);
    box_use_index(b->s);
    model_put(m, b->s, 0, ROWS);
    model_check(m, b->s, false); /* in whatever state the index is by now */
    box_build(b->s);
    const struct store_stats st = box_stats(b->s);
    assert_int_equal(st.index_items, ROWS);
    assert_int_equal(st.index_pending, 0);
    assert_true(st.index_ef >= TOP && st.index_mapped_bytes > 0 && st.index_bytes > 0);
    model_check(m, b->s, false);
    model_check(m, b->s, true);
    const struct store_search q = {.vector = m->v[7], .k = TOP, .explain = &why};
    OK(b->s->ops->read_begin(b->s, &err));
    OK(b->s->ops->search(b->s, &q, hits, &n, &err));
    assert_int_equal(model_item(b->s, hits[0].row), 7);
    b->s->ops->read_end(b->s);
    assert_string_equal(why.search, "walk");
    assert_true(why.ef > 0 && why.compared > 0 && why.compared < ROWS && why.passing == ROWS);
    free(m);
}

static void a_store_in_memory_uses_an_index_too(void **state) {
    (void)state;
    u2i_error_t err;
    struct model *m = model_new();
    struct store *s;
    struct index_config config = INDEX_CONFIG_INIT;
    const struct store_options opt = {.dim = DIM, .model = "none", .clock = clock_system()};
    config.exact_max = EXACT;
    OK(store_memory_open(&opt, &s, &err));
    model_put(m, s, 0, 100);
    s->ops->configure_index(s, &config);
    model_put(m, s, 100, ROWS - 100);
    OK(s->ops->build_index(s, NULL, NULL, &err));
    assert_int_equal(box_stats(s).index_items, ROWS);
    for (int i = 0; i < 300; i++) {
        model_delete(m, s, i * 7);
    }
    model_put(m, s, 700, 200);
    model_check(m, s, false);
    model_check(m, s, true);
    OK(s->ops->build_index(s, NULL, NULL, &err));
    model_check(m, s, false);
    assert_int_equal(s->ops->close(s), U2I_OK);
    free(m);
}

/* ---- Opening ------------------------------------------------------------------------------------ */

static void a_reopened_store_reads_no_vectors_but_the_snapshot(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    box_make(b, m, ROWS);
    box_open(b);
    box_expect_log(b, "3000 vectors, 0 rows read again");
    assert_int_equal(box_stats(b->s).index_items, ROWS);
    model_check(m, b->s, false);
    assert_int_equal(box_verify(b->s, NULL), 0);
    free(m);
}

static void changes_after_the_snapshot_are_seen(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    u2i_error_t err;
    box_make(b, m, ROWS - 100);
    box_open(b);
    model_put(m, b->s, ROWS - 100, 50); /* new */
    model_put(m, b->s, 20, 5);          /* replaced */
    model_delete(m, b->s, 30);
    model_delete(m, b->s, 40);
    model_put(m, b->s, 40, 1); /* back again */
    const struct store_item bare = {.id = "item50"};
    OK(b->s->ops->put_items(b->s, &bare, 1, &err)); /* without its vector */
    m->live[50] = false;
    model_vector(m, m->v[60]);
    OK(b->s->ops->read_begin(b->s, &err));
    const uint32_t row = model_row(b->s, 60);
    b->s->ops->read_end(b->s);
    OK(b->s->ops->put_vectors(b->s, &row, m->v[60], 1, 2, &err)); /* embedded anew */
    box_close(b);
    b->log[0] = '\0';
    box_open(b);
    box_expect_log(b, "vectors, 59 rows read again");
    model_check(m, b->s, false);
    assert_int_equal(box_verify(b->s, NULL), 0);
    box_build(b->s);
    model_check(m, b->s, false);
    box_close(b);
    b->log[0] = '\0';
    box_open(b);
    box_expect_log(b, " 0 rows read again");
    model_check(m, b->s, false);
    free(m);
}

static void a_snapshot_older_than_the_log_is_not_used(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    box_make(b, m, ROWS - 100);
    box_open(b);
    model_put(m, b->s, ROWS - 100, 50);
    box_close(b);
    box_sql(b->path, "UPDATE meta SET value = (SELECT max(seq) FROM changes)"
                     " WHERE key = 'changes_pruned'; DELETE FROM changes");
    b->log[0] = '\0';
    box_open(b);
    box_expect_log(b, "too much has changed");
    model_check(m, b->s, false);
    free(m);
}

/* ---- Files that are not to be believed ---------------------------------------------------------- */

static void a_snapshot_of_another_store_is_refused_and_replaced(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    struct model *other = model_new();
    (void)rng_u64(&other->rng);
    box_make(b, other, ROWS);
    box_copy(b, "-index/content.hnsw", ".kept");
    assert_int_equal(unlink(b->path), 0);
    box_make(b, m, ROWS);
    box_copy(b, ".kept", "-index/content.hnsw");
    box_open(b);
    box_expect_log(b, "is of another store");
    model_check(m, b->s, false);
    box_build(b->s);
    model_check(m, b->s, false);
    box_close(b);
    b->log[0] = '\0';
    box_open(b);
    box_expect_log(b, " 0 rows read again");
    model_check(m, b->s, false);
    free(other);
    free(m);
}

static void a_snapshot_from_after_a_backup_is_refused_with_the_backup(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    struct model *later = model_new();
    box_make(b, m, ROWS);
    box_copy(b, "", ".backup");
    box_open(b);
    model_put(later, b->s, 0, ROWS);
    box_build(b->s);
    box_close(b);
    box_copy(b, ".backup", "");
    b->log[0] = '\0';
    box_open(b);
    box_expect_log(b, "is of another store, or of another state");
    model_check(m, b->s, false);
    free(later);
    free(m);
}

static void a_damaged_snapshot_is_named_and_made_anew(void **state) {
    struct box *b = *state;
    static const double places[] = {0.0001, 0.01, 0.2, 0.4};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct model *m = model_new();
        char faults[4096];
        box_make(b, m, ROWS);
        box_flip(b, "-index/content.hnsw", places[i]);
        box_open(b);
        box_expect_log(b, "the index is made anew");
        box_expect_log(b, "shop.db-index/content.hnsw");
        model_check(m, b->s, false);
        assert_int_equal(box_verify(b->s, faults), 1);
        assert_memory_equal(faults, "shop.db-index/content.hnsw: ", 28);
        box_build(b->s);
        assert_int_equal(box_verify(b->s, NULL), 0);
        model_check(m, b->s, false);
        box_close(b);
        assert_int_equal(unlink(b->path), 0);
        free(m);
    }
}

static void a_damaged_vector_is_read_from_the_store_again(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    char faults[4096];
    box_make(b, m, ROWS);
    box_flip(b, "-index/content.hnsw", 0.99);
    box_open(b);
    assert_int_equal(box_verify(b->s, faults), 1);
    assert_non_null(strstr(faults, "does not match its checksum"));
    for (int i = 0; i < 300 && !box_logged(b, "are read from the store again"); i++) {
        u2i_error_t err;
        OK(b->s->ops->read_begin(b->s, &err));
        for (int at = 0; at < ROWS; at++) {
            (void)b->s->ops->vector(b->s, STORE_CONTENT, model_row(b->s, at));
        }
        b->s->ops->read_end(b->s);
        (void)usleep(10000);
    }
    box_expect_log(b, "are read from the store again");
    model_check(m, b->s, false);
    box_build(b->s);
    assert_int_equal(box_verify(b->s, NULL), 0);
    model_check(m, b->s, false);
    free(m);
}

static void a_deleted_folder_is_made_again(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    char folder[200];
    box_make(b, m, ROWS);
    box_name(b, "-index", folder);
    box_remove_folder(folder);
    box_open(b);
    model_check(m, b->s, false);
    box_build(b->s);
    assert_true(box_exists(b->path, "-index/content.hnsw"));
    model_check(m, b->s, false);
    free(m);
}

/* ---- Others ------------------------------------------------------------------------------------- */

static void reading_only_uses_a_snapshot_and_writes_none(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    u2i_error_t err;
    char folder[200];
    box_make(b, m, ROWS);
    OK(box_try_open(b, U2I_OPEN_READONLY, &b->s, &err));
    box_expect_log(b, " 0 rows read again");
    model_check(m, b->s, false);
    box_close(b);
    box_name(b, "-index", folder);
    box_remove_folder(folder);
    OK(box_try_open(b, U2I_OPEN_READONLY, &b->s, &err));
    box_build(b->s);
    assert_int_equal(box_stats(b->s).index_items, ROWS);
    model_check(m, b->s, false);
    assert_false(box_exists(b->path, "-index"));
    free(m);
}

static void the_folder_is_as_private_as_the_store(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    struct stat st;
    char folder[200];
    box_open(b);
    box_use_index(b->s);
    assert_int_equal(chmod(b->path, 0600), 0);
    model_put(m, b->s, 0, ROWS);
    box_build(b->s);
    box_name(b, "-index", folder);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    free(m);
}

static void two_handles_share_a_store_and_one_writes_its_snapshots(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    struct store *other;
    u2i_error_t err;
    box_open(b);
    box_use_index(b->s);
    OK(box_try_open(b, 0, &other, &err));
    model_put(m, b->s, 0, ROWS / 2);
    model_put(m, other, ROWS / 2, ROWS / 2);
    box_build(b->s);
    box_build(other);
    model_check(m, b->s, false);
    model_check(m, other, false);
    for (int i = 0; i < 100; i++) {
        model_delete(m, i % 2 == 0 ? b->s : other, i * 3);
    }
    model_check(m, b->s, false);
    model_check(m, other, false);
    assert_int_equal(other->ops->close(other), U2I_OK);
    box_build(b->s);
    box_close(b);
    b->log[0] = '\0';
    box_open(b);
    box_expect_log(b, " rows read again");
    model_check(m, b->s, false);
    assert_int_equal(box_verify(b->s, NULL), 0);
    free(m);
}

/* What has changed too much to be followed is loaded anew; the index that is replaced may be at work, and
 * waiting for the writer. */
static void a_store_that_is_loaded_anew_changes_its_index_too(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    struct store *other;
    u2i_error_t err;
    box_open(b);
    box_use_index(b->s);
    OK(box_try_open(b, 0, &other, &err));
    const int resets = b->heard.resets;
    for (int i = 0; i < 5; i++) {
        model_put(m, other, i * ROWS / 5, ROWS / 5);
        box_sql(b->path, "UPDATE meta SET value = (SELECT max(seq) FROM changes)"
                         " WHERE key = 'changes_pruned'");
        model_put(m, b->s, i * ROWS / 5 + 1, 10); /* by the writing thread, */
        model_check(m, b->s, false);              /* or by a reader */
        model_check(m, other, false);
    }
    assert_true(b->heard.resets > resets);
    box_build(b->s);
    model_check(m, b->s, true);
    assert_int_equal(other->ops->close(other), U2I_OK);
    box_close(b);
    box_open(b);
    model_check(m, b->s, false);
    assert_int_equal(box_verify(b->s, NULL), 0);
    free(m);
}

/* ---- All of it, in any order -------------------------------------------------------------------- */

static void some_change(struct model *m, struct store *s) {
    const int at = (int)rng_below(&m->rng, ROWS - 50);
    const int n = 1 + (int)rng_below(&m->rng, 50);
    u2i_error_t err;
    switch (rng_below(&m->rng, 4)) {
    case 0:
        for (int i = at; i < at + n; i++) {
            model_delete(m, s, i);
        }
        break;
    case 1:
        OK(s->ops->read_begin(s, &err));
        const uint32_t row = model_row(s, at);
        s->ops->read_end(s);
        if (row != STORE_NONE && m->live[at]) {
            model_vector(m, m->v[at]);
            OK(s->ops->put_vectors(s, &row, m->v[at], 1, 1, &err));
        }
        break;
    default:
        model_put(m, s, at, n);
        break;
    }
}

static void random_changes_saves_and_reopenings_leave_the_right_vectors(void **state) {
    struct box *b = *state;
    struct model *m = model_new();
    struct store *other = NULL;
    u2i_error_t err;
    box_open(b);
    box_use_index(b->s);
    model_put(m, b->s, 0, ROWS / 2);
    for (int step = 0; step < 120; step++) {
        const uint32_t what = rng_below(&m->rng, 20);
        if (what == 0) {
            box_close(b);
            box_open(b);
        } else if (what == 1) {
            box_build(b->s);
        } else if (what == 2 && other == NULL) {
            OK(box_try_open(b, 0, &other, &err));
        } else if (what == 3 && other != NULL) {
            assert_int_equal(other->ops->close(other), U2I_OK);
            other = NULL;
        } else {
            some_change(m, other != NULL && what % 2 == 0 ? other : b->s);
        }
        if (step % 8 == 0) {
            model_check(m, b->s, step % 16 == 0);
        }
    }
    if (other != NULL) {
        model_check(m, other, false);
        assert_int_equal(other->ops->close(other), U2I_OK);
    }
    box_build(b->s);
    assert_int_equal(box_verify(b->s, NULL), 0);
    box_close(b);
    box_open(b);
    model_check(m, b->s, false);
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BOX_TEST(searches_find_through_the_index_what_comparing_all_finds),
        BOX_TEST(a_store_in_memory_uses_an_index_too),
        BOX_TEST(a_reopened_store_reads_no_vectors_but_the_snapshot),
        BOX_TEST(changes_after_the_snapshot_are_seen),
        BOX_TEST(a_snapshot_older_than_the_log_is_not_used),
        BOX_TEST(a_snapshot_of_another_store_is_refused_and_replaced),
        BOX_TEST(a_snapshot_from_after_a_backup_is_refused_with_the_backup),
        BOX_TEST(a_damaged_snapshot_is_named_and_made_anew),
        BOX_TEST(a_damaged_vector_is_read_from_the_store_again),
        BOX_TEST(a_deleted_folder_is_made_again),
        BOX_TEST(reading_only_uses_a_snapshot_and_writes_none),
        BOX_TEST(the_folder_is_as_private_as_the_store),
        BOX_TEST(two_handles_share_a_store_and_one_writes_its_snapshots),
        BOX_TEST(a_store_that_is_loaded_anew_changes_its_index_too),
        BOX_TEST(random_changes_saves_and_reopenings_leave_the_right_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
