/* The index and its file: what is opened again, who writes, what becomes of damage, and everything at
 * once (thread_start below: this program runs under TSan too). */
#include "index_owner.h"

/* ---- Tests: snapshots ----------------------------------------------------------------------- */

static void a_snapshot_answers_as_the_index_did(void **state) {
    (void)state;
    struct rng rng;
    struct hnsw_stamp stamp = {0};
    u2i_error_t err = {0};
    float vector[DIM];
    struct hit before[K];
    struct hit after[K];
    uint32_t before_n = 0;
    uint32_t after_n = 0;
    rng_seed(&rng, test_seed());
    struct owner *const o = owner_new(100);
    assert_int_equal(index_open(o->ix, &stamp, &err), U2I_ENOTFOUND);
    assert_string_equal(err.msg, "");
    owner_fill(o, 1000);
    index_start(o->ix, true);
    owner_build(o);
    near_centre(&rng, 3, vector);
    const struct index_query q = {.vector = vector, .k = K};
    assert_int_equal(index_search(o->ix, &q, before, &before_n, NULL, NULL), U2I_OK);
    const struct index_stats built = owner_stats(o);
    owner_restart(o, 100);
    assert_int_equal(index_open(o->ix, &stamp, &err), U2I_OK);
    assert_int_equal(stamp.sequence, 1000);
    assert_string_equal((const char *)stamp.token, "a token");
    assert_int_equal(index_search(o->ix, &q, after, &after_n, NULL, NULL), U2I_OK);
    assert_int_equal(after_n, before_n);
    assert_memory_equal(after, before, sizeof after);
    assert_int_equal(owner_stats(o).ef_10, built.ef_10);
    assert_int_equal(owner_stats(o).vector_bytes, flat_bytes(o->ix->flat));
    check_content(o);
    for (int i = 0; i < 700; i++) { /* it goes on as if nothing had been */
        owner_change(o, rng_below(&rng, ROWS), rng_below(&rng, 3) > 0);
    }
    index_start(o->ix, true);
    owner_build(o);
    check_content(o);
    check_graph(o);
    assert_true(recall_of(o, &rng, NULL, NULL) >= 0.95);
    assert_int_equal(owner_stats(o).saved_sequence, 1700);
    owner_free(o);
}

static void a_snapshot_refused_by_the_owner_is_not_written(void **state) {
    (void)state;
    struct owner *const o = owner_new(100);
    o->refuse = true;
    owner_fill(o, 500);
    index_start(o->ix, true);
    owner_build(o);
    assert_int_equal(owner_stats(o).graph, 500);
    assert_int_equal(access(o->path, F_OK), -1);
    owner_free(o);
}

static void only_one_index_writes_snapshots(void **state) {
    (void)state;
    struct hnsw_stamp stamp;
    struct owner *const o = owner_new(100);
    struct owner *const other = owner_new(100);
    owner_fill(o, 500);
    index_start(o->ix, true);
    owner_build(o);
    index_free(other->ix);
    (void)snprintf(other->path, sizeof other->path, "%s", o->path);
    owner_new_index(other, 100);
    owner_fill(other, 600);
    index_start(other->ix, true);
    owner_build(other);
    assert_int_equal(owner_stats(other).graph, 600);
    assert_int_equal(owner_stats(other).saved_sequence, 0);
    assert_int_equal(atomic_load(&other->saves), 0);
    owner_restart(o, 100); /* lets the right to write go */
    assert_int_equal(index_open(o->ix, &stamp, NULL), U2I_OK);
    assert_int_equal(stamp.sequence, 500);
    owner_build(other);
    assert_int_equal(owner_stats(other).saved_sequence, 600);
    owner_free(other);
    (void)snprintf(o->path, sizeof o->path, "%s/content", o->folder);
    owner_free(o);
}

static void without_leave_to_save_nothing_is_written(void **state) {
    (void)state;
    struct owner *const o = owner_new(100);
    owner_fill(o, 500);
    index_start(o->ix, false);
    owner_build(o);
    assert_int_equal(owner_stats(o).graph, 500);
    assert_int_equal(atomic_load(&o->saves), 0);
    owner_free(o); /* finds its folder empty */
}

static void a_folder_that_is_missing_is_reported(void **state) {
    (void)state;
    u2i_error_t err = {0};
    struct owner *const o = owner_new(100);
    index_free(o->ix);
    (void)snprintf(o->path, sizeof o->path, "%s/missing/content", o->folder);
    owner_new_index(o, 100);
    owner_fill(o, 500);
    index_start(o->ix, true);
    assert_int_equal(index_build(o->ix, NULL, NULL, &err), U2I_EIO);
    assert_non_null(strstr(err.msg, "missing"));
    assert_true(owner_logged(o, "missing"));
    assert_int_equal(owner_stats(o).graph, 500);
    owner_free(o);
}

/* ---- Tests: damage -------------------------------------------------------------------------- */

struct file {
    uint8_t *bytes;
    size_t n;
};

static struct file file_read(const char *path) {
    struct file f = {0};
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    f.n = (size_t)s.st_size;
    f.bytes = mem_alloc(f.n);
    FILE *const in = fopen(path, "rb");
    assert_non_null(in);
    assert_int_equal(fread(f.bytes, 1, f.n, in), f.n);
    (void)fclose(in); /* read only */
    return f;
}

static void file_write(const char *path, const struct file *f) {
    FILE *const out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(f->bytes, 1, f->n, out), f->n);
    assert_int_equal(fclose(out), 0);
}

static void a_damaged_snapshot_is_refused_or_harmless(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, test_seed());
    struct owner *const o = owner_new(100);
    owner_fill(o, 300);
    index_start(o->ix, true);
    owner_build(o);
    index_free(o->ix);
    o->ix = NULL;
    const struct file f = file_read(o->path);
    uint32_t refused = 0;
    for (int i = 0; i < 60; i++) {
        struct hnsw_stamp stamp;
        u2i_error_t err = {0};
        const size_t at = i < 20 ? (size_t)i * 8 : rng_u64(&rng) % f.n;
        const uint8_t kept = f.bytes[at];
        f.bytes[at] ^= (uint8_t)(1 + rng_below(&rng, 255));
        file_write(o->path, &f);
        f.bytes[at] = kept;
        owner_new_index(o, 100);
        const int rc = index_open(o->ix, &stamp, &err);
        if (rc != U2I_OK) {
            assert_true(err.msg[0] != '\0');
            assert_int_equal(index_count(o->ix), 0);
            refused++;
        } else { /* in a vector, or between the parts */
            assert_in_range(index_count(o->ix), 299, 300);
        }
        index_free(o->ix);
        o->ix = NULL;
    }
    assert_true(refused >= 10);
    mem_free(f.bytes);
    owner_free(o);
}

/* Builds, damages the vectors of rows 11 and 222 in the file, and opens it. */
static struct owner *owner_with_damage(void) {
    struct hnsw_stamp stamp;
    u2i_error_t err;
    struct owner *const o = owner_new(100);
    owner_fill(o, 600);
    index_start(o->ix, true);
    owner_build(o);
    const struct file f = file_read(o->path);
    const uint32_t rows[] = {11, 222};
    for (int i = 0; i < 2; i++) {
        float vector[DIM];
        vector_of(rows[i], o->version[rows[i]], vector);
        uint8_t *const at = memmem(f.bytes, f.n, vector, sizeof vector);
        assert_non_null(at);
        at[17] ^= 0x40;
    }
    index_free(o->ix);
    assert_int_equal(unlink(o->path), 0); /* the old file may still be mapped */
    file_write(o->path, &f);
    mem_free(f.bytes);
    owner_new_index(o, 100);
    assert_int_equal(index_open(o->ix, &stamp, &err), U2I_OK);
    return o;
}

static void damaged_vectors_are_left_out_and_reported(void **state) {
    (void)state;
    struct rng rng;
    float vector[DIM];
    float score = 0;
    rng_seed(&rng, test_seed());
    struct owner *const o = owner_with_damage();
    vector_of(11, o->version[11], vector);
    assert_false(finds(o, vector, 11, &score)); /* and it answers */
    assert_null(index_vector(o->ix, 11));
    o->version[11] = 0;
    o->version[222] = 0;
    assert_true(recall_of(o, &rng, NULL, NULL) >= 0.95);
    index_start(o->ix, true);
    owner_build(o);
    assert_int_equal(atomic_load(&o->lost_n), 2);
    assert_true(owner_logged(o, "2 vectors"));
    check_content(o);
    assert_int_equal(owner_stats(o).graph, 598);
    assert_true(recall_of(o, &rng, NULL, NULL) >= 0.95);
    assert_int_equal(access(o->path, F_OK), -1); /* it would be trusted to be complete */
    assert_int_equal(owner_stats(o).saved_sequence, 0);
    owner_free(o);
}

static void damaged_vectors_that_are_set_again_are_whole(void **state) {
    (void)state;
    struct hnsw_stamp stamp;
    float vector[DIM];
    float score = 0;
    struct owner *const o = owner_with_damage();
    o->keep_lost = true;
    vector_of(222, o->version[222], vector);
    index_start(o->ix, true);
    (void)pthread_rwlock_rdlock(&o->lock);
    (void)finds(o, vector, 222, &score); /* meets the damage */
    (void)pthread_rwlock_unlock(&o->lock);
    owner_build(o);
    owner_build(o);
    assert_int_equal(atomic_load(&o->lost_n), 2);
    check_content(o);
    assert_int_equal(owner_stats(o).graph, 600);
    owner_restart(o, 100);
    assert_int_equal(index_open(o->ix, &stamp, NULL), U2I_OK);
    check_content(o);
    owner_free(o);
}

/* ---- Tests: all at once --------------------------------------------------------------------- */

struct crowd {
    struct owner *o;
    uint64_t seed;
    atomic_bool stop;
    atomic_uint answers;
    atomic_bool wrong;
};

/* Whatever is answered is there, once, with its score. */
static bool answer_is_sound(const struct owner *o, const float *vector, const struct hit *hits,
                            uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const float *const v = index_vector(o->ix, hits[i].row);
        if (o->version[hits[i].row] == 0 || v == NULL ||
            !same_score(hits[i].score, vec_dot(vector, v, DIM))) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (hits[j].row == hits[i].row) {
                return false;
            }
        }
    }
    return n == K;
}

static void *crowd_read(void *arg) {
    struct crowd *const c = arg;
    struct rng rng;
    rng_seed(&rng, c->seed ^ (uintptr_t)&rng);
    while (!atomic_load(&c->stop)) {
        float vector[DIM];
        struct hit hits[K];
        uint32_t n = 0;
        near_centre(&rng, rng_below(&rng, CLUSTERS), vector);
        const struct index_query q = {.vector = vector, .k = K};
        (void)pthread_rwlock_rdlock(&c->o->lock);
        const int rc = index_search(c->o->ix, &q, hits, &n, NULL, NULL);
        if (rc != U2I_OK || !answer_is_sound(c->o, vector, hits, n)) {
            atomic_store(&c->wrong, true);
        }
        struct index_stats stats;
        index_stats(c->o->ix, &stats);
        (void)index_bytes(c->o->ix);
        (void)pthread_rwlock_unlock(&c->o->lock);
        atomic_fetch_add(&c->answers, 1);
        (void)usleep(200);
    }
    return NULL;
}

/* Also the promise that snapshots stand on: opened, with the changes after its stamp replayed, it has
 * what the store has. */
static void readers_a_writer_and_snapshots_at_once(void **state) {
    (void)state;
    enum { READERS = 2, ROUNDS = 8, CHANGES = 400 };
    pthread_t readers[READERS];
    struct rng rng;
    u2i_error_t err = {0};
    struct hnsw_stamp stamp;
    struct crowd c = {.o = owner_new(300), .seed = test_seed()};
    rng_seed(&rng, c.seed);
    owner_fill(c.o, 1000);
    index_start(c.o->ix, true);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(thread_start(&readers[i], "reader", crowd_read, &c), U2I_OK);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CHANGES; i++) {
            owner_change(c.o, rng_below(&rng, 2000), rng_below(&rng, 10) > 2);
        }
        if (round % 4 == 1) {
            owner_build(c.o);
        } else {
            (void)usleep(30000);
        }
    }
    const unsigned saves = atomic_load(&c.o->saves);
    atomic_store(&c.stop, true);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    }
    assert_false(atomic_load(&c.wrong));
    assert_true(atomic_load(&c.answers) > 0);
    assert_true(saves >= 2);
    check_content(c.o);
    owner_restart(c.o, 300); /* in the middle of whatever it was doing */
    assert_int_equal(index_open(c.o->ix, &stamp, &err), U2I_OK);
    owner_replay(c.o, stamp.sequence);
    check_content(c.o);
    index_start(c.o->ix, true);
    owner_build(c.o);
    check_content(c.o);
    check_graph(c.o);
    assert_true(recall_of(c.o, &rng, NULL, NULL) >= 0.95);
    owner_free(c.o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_answers_as_the_index_did),
        cmocka_unit_test(a_snapshot_refused_by_the_owner_is_not_written),
        cmocka_unit_test(only_one_index_writes_snapshots),
        cmocka_unit_test(without_leave_to_save_nothing_is_written),
        cmocka_unit_test(a_folder_that_is_missing_is_reported),
        cmocka_unit_test(a_damaged_snapshot_is_refused_or_harmless),
        cmocka_unit_test(damaged_vectors_are_left_out_and_reported),
        cmocka_unit_test(damaged_vectors_that_are_set_again_are_whole),
        cmocka_unit_test(readers_a_writer_and_snapshots_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
