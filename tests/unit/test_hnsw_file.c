/* The graph's file: what is written is what is read, and whatever goes wrong while it is written, the old
 * file stays. Damage is in test_hnsw_damage.c. */
#include "base/thread.h"
#include "hnsw_files.h"
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

enum { LARGE = HNSW_CHUNK_NODES + 1500 }; /* more than a chunk */

static struct hnsw *large; /* built once: whole and partial chunks, several layers */

/* ---- What is written is what is read -------------------------------------------------------- */

static void reopened_graph_answers_as_before(void **state) {
    struct fixture *const f = *state;
    for (int metric = HNSW_COSINE; metric <= HNSW_INNER_PRODUCT; metric++) {
        struct hnsw *const h = graph_new(&f->rng, (enum hnsw_metric)metric, 2000);
        save(h, f->path);
        struct hnsw *const again = reopen(f->path, (enum hnsw_metric)metric);
        must_have_same_rows(h, again);
        assert_true(h->norm_max == again->norm_max);
        const uint32_t before = found(h, 4, 100);
        const uint32_t after = found(again, 4, 100);
        print_message("metric %d: %u of %d found before, %u after\n", metric, before, QUERIES * K,
                      after);
        assert_true(after + 2 >= before); /* ties are settled by node, and nodes have new numbers */
        assert_int_equal(found(again, 5, 2000), found(h, 5, 2000)); /* all are looked at */
        hnsw_free(again);
        hnsw_free(h);
    }
}

/* Vectors that vary in few directions only, so that their codes are turned and shorter. */
enum { WIDE = 128, WIDE_N = 700, WIDE_FACTORS = 10 };

static struct hnsw *wide_new(struct rng *rng, const struct hnsw_options *opt, float *vectors) {
    float factors[WIDE_FACTORS][WIDE];
    uint32_t rows[WIDE_N];
    struct hnsw *h;
    u2i_error_t err;
    for (uint32_t i = 0; i < WIDE_FACTORS * WIDE; i++) {
        factors[i / WIDE][i % WIDE] = (float)rng_normal(rng);
    }
    memset(vectors, 0, (size_t)WIDE_N * WIDE * sizeof *vectors);
    for (uint32_t i = 0; i < WIDE_N; i++) {
        rows[i] = 5 * i;
        for (uint32_t j = 0; j < WIDE_FACTORS; j++) {
            vec_get()->axpy((float)rng_normal(rng), factors[j], vectors + (size_t)i * WIDE, WIDE);
        }
        assert_true(vec_normalise(vectors + (size_t)i * WIDE, WIDE));
    }
    assert_int_equal(hnsw_new(opt, &h, &err), U2I_OK);
    assert_int_equal(hnsw_insert(h, rows, vectors, WIDE_N, NULL, &err), U2I_OK);
    return h;
}

static void turned_codes_come_back(void **state) {
    struct fixture *const f = *state;
    const struct hnsw_options opt = {.dim = WIDE, .links = 4, .ef_construction = 20};
    float *const vectors = alloc_array((size_t)WIDE_N * WIDE, sizeof *vectors);
    struct hnsw_stamp stamp;
    struct hnsw *again;
    u2i_error_t err;
    assert_non_null(vectors);
    struct hnsw *const h = wide_new(&f->rng, &opt, vectors);
    assert_non_null(h->turn.rows);
    save(h, f->path);
    assert_int_equal(hnsw_open(f->path, &opt, &stamp, &again, &err), U2I_OK);
    must_be_sound(again);
    assert_int_equal(again->code_dims, h->code_dims);
    assert_memory_equal(again->turn.rows, h->turn.rows, (size_t)h->code_dims * WIDE);
    assert_memory_equal(again->turn.scales, h->turn.scales, h->code_dims * sizeof(float));
    for (uint32_t i = 0; i < WIDE_N; i++) {
        const uint32_t there = hnsw_node(again, 5 * i);
        assert_memory_equal(hnsw_code(again, there), hnsw_code(h, hnsw_node(h, 5 * i)),
                            h->code_bytes);
        assert_memory_equal(hnsw_vector(again, 5 * i), vectors + (size_t)i * WIDE,
                            WIDE * sizeof *vectors);
        const struct hnsw_query q = {.vector = vectors + (size_t)i * WIDE, .k = 1, .ef = 60};
        struct hit hit;
        uint32_t n;
        assert_int_equal(hnsw_search(again, &q, &hit, &n, NULL, &err), U2I_OK);
        assert_int_equal(hit.row, 5 * i);
    }
    hnsw_free(again);
    struct bytes b = read_file(f->path); /* directions that nobody learnt */
    const uint32_t nan = 0x7FC00000;
    const struct hnsw_file_header head = header_of(&b);
    memcpy(b.p + head.at.turn + hnsw_file_turn_scales(h) + 8, &nan, sizeof nan);
    forge_blocks(&b);
    write_file(f->path, &b);
    assert_int_equal(hnsw_open(f->path, &opt, &stamp, &again, &err), U2I_ECORRUPT);
    assert_non_null(strstr(err.msg, "no sound scale"));
    mem_free(b.p);
    mem_free(vectors);
    hnsw_free(h);
}

static void stamp_and_calibration_come_back(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 100);
    h->ef = (struct hnsw_ef){.recall = 0.95, .k = {10, 100}, .ef = {40, 200}, .count = 99};
    save(h, f->path);
    const struct hnsw_options opt = options(HNSW_COSINE);
    struct hnsw_stamp stamp = {0};
    struct hnsw_stats stats;
    struct hnsw *again;
    u2i_error_t err;
    assert_int_equal(hnsw_open(f->path, &opt, &stamp, &again, &err), U2I_OK);
    assert_int_equal(stamp.sequence, the_stamp.sequence);
    assert_memory_equal(stamp.token, the_stamp.token, sizeof stamp.token);
    hnsw_stats(again, &stats);
    assert_int_equal(stats.ef_10, 40);
    assert_int_equal(again->ef.ef[1], 200);
    assert_int_equal(again->ef.k[1], 100);
    assert_int_equal(again->ef.count, 99);
    assert_true(again->ef.recall == 0.95);
    hnsw_free(again);
    hnsw_free(h);
}

static void empty_graph_comes_back_empty_and_grows(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 0);
    save(h, f->path);
    struct hnsw *const again = reopen(f->path, HNSW_COSINE);
    float query[DIM] = {1};
    struct hit hits[K];
    assert_int_equal(search(again, query, 10, hits), 0);
    insert_random(again, &f->rng, 0, 1, 300);
    must_be_sound(again);
    assert_int_equal(found(again, 6, 300), QUERIES * K);
    hnsw_free(again);
    hnsw_free(h);
}

static void removed_nodes_stay_ways_and_are_repaired_after_opening(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 1000);
    struct hnsw_stats stats;
    u2i_error_t err;
    for (uint32_t i = 0; i < 1000; i += 3) {
        hnsw_remove(h, 3 + 2 * i);
    }
    save(h, f->path);
    struct hnsw *const again = reopen(f->path, HNSW_COSINE);
    must_have_same_rows(h, again);
    hnsw_stats(again, &stats);
    assert_int_equal(stats.removed, 334);
    const uint32_t before = found(h, 7, 80);
    assert_true(found(again, 7, 80) + 2 >= before);
    assert_int_equal(hnsw_repair(again, NULL, &err), U2I_OK);
    must_be_sound(again);
    hnsw_stats(again, &stats);
    assert_int_equal(stats.removed, 0);
    assert_int_equal(hnsw_unreachable(again), 0);
    insert_random(again, &f->rng, 100000, 1, 334);
    assert_int_equal(again->slots, 1000); /* their slots are used again */
    must_be_sound(again);
    assert_true(found(again, 8, 80) + 20 >= QUERIES * K);
    save(again, f->path); /* with damage looked for in all vectors of the file behind it */
    hnsw_free(again);
    hnsw_free(reopen(f->path, HNSW_COSINE));
    hnsw_free(h);
}

static void unused_slots_are_left_out(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 500);
    u2i_error_t err;
    for (uint32_t i = 0; i < 500; i += 2) {
        hnsw_remove(h, 3 + 2 * i);
    }
    assert_int_equal(hnsw_repair(h, NULL, &err), U2I_OK);
    must_be_sound(h);
    save(h, f->path);
    struct hnsw *const again = reopen(f->path, HNSW_COSINE);
    assert_int_equal(again->slots, 250);
    must_have_same_rows(h, again);
    hnsw_free(again);
    hnsw_free(h);
}

static void equal_graphs_give_equal_bytes(void **state) {
    struct fixture *const f = *state;
    struct bytes b[2];
    for (int i = 0; i < 2; i++) {
        struct rng rng;
        rng_seed(&rng, 9);
        struct hnsw *const h = graph_new(&rng, HNSW_INNER_PRODUCT, 700);
        save(h, f->path);
        b[i] = read_file(f->path);
        hnsw_free(h);
    }
    assert_int_equal(b[0].n, b[1].n);
    assert_memory_equal(b[0].p, b[1].p, b[0].n);
    mem_free(b[0].p);
    mem_free(b[1].p);
}

/* ---- More than one chunk -------------------------------------------------------------------- */

static int setup_large(void **state) {
    struct rng rng;
    (void)state;
    rng_seed(&rng, 17);
    large = graph_new(&rng, HNSW_COSINE, LARGE);
    return 0;
}

static int teardown_large(void **state) {
    (void)state;
    hnsw_free(large);
    return 0;
}

static void mapped_chunks_answer_before_and_after_they_are_settled(void **state) {
    struct fixture *const f = *state;
    save(large, f->path);
    struct hnsw *const h = reopen(f->path, HNSW_COSINE);
    struct hnsw_stats stats;
    must_have_same_rows(large, h);
    assert_null(h->holds[0].graph);
    const uint32_t before = found(large, 3, 60);
    const uint32_t mapped = found(h, 3, 60);
    assert_true(mapped + 4 >= before);
    hnsw_remove(h, 3); /* on a private page, which has to be kept */
    const uint32_t changed = found(h, 3, 60);
    assert_true(hnsw_settle(h));
    assert_false(hnsw_settle(h));
    assert_non_null(h->holds[0].graph);
    must_be_sound(h);
    assert_int_equal(found(h, 3, 60), changed);
    hnsw_stats(h, &stats);
    assert_int_equal(stats.count, LARGE - 1);
    assert_true(stats.mapped_bytes > 0);
    assert_int_equal(stats.vector_bytes, 0);
    hnsw_free(h);
}

static void changes_after_opening_never_reach_the_file(void **state) {
    struct fixture *const f = *state;
    u2i_error_t err;
    save(large, f->path);
    const struct bytes before = read_file(f->path);
    struct hnsw *const h = reopen(f->path, HNSW_COSINE);
    for (uint32_t i = 0; i < LARGE; i += 40) {
        hnsw_remove(h, 3 + 2 * i);
    }
    must_be_sound(h);
    assert_int_equal(hnsw_repair(h, NULL, &err), U2I_OK);
    must_be_sound(h);
    insert_random(h, &f->rng, 0, 2, 1000); /* unused slots in the file, then behind its end */
    must_be_sound(h);
    assert_int_equal(h->slots - h->free_n, LARGE - (LARGE + 39) / 40 + 1000);
    assert_true(found(h, 12, 100) * 10 >= QUERIES * K * 8);
    const struct bytes after = read_file(f->path);
    assert_int_equal(before.n, after.n);
    assert_memory_equal(before.p, after.p, before.n);
    save(h, f->path); /* over the file that is mapped */
    struct hnsw *const again = reopen(f->path, HNSW_COSINE);
    must_have_same_rows(h, again);
    hnsw_free(again);
    hnsw_free(h);
    mem_free(before.p);
    mem_free(after.p);
}

/* Rows are removed by one thread while another one writes. */
struct removing {
    struct hnsw *h;
    pthread_mutex_t lock; /* the owner's; the writer of the file does not take it */
    atomic_bool stop;
    uint32_t removed;
};

static void *remove_rows(void *arg) {
    struct removing *const r = arg;
    for (uint32_t i = 0; i < LARGE && !atomic_load(&r->stop); i++) {
        (void)pthread_mutex_lock(&r->lock);
        hnsw_remove(r->h, 3 + 2 * i);
        r->removed = i + 1;
        (void)pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

static void rows_removed_meanwhile_are_in_the_file_or_not(void **state) {
    struct fixture *const f = *state;
    save(large, f->path);
    struct removing r = {.h = reopen(f->path, HNSW_COSINE)};
    pthread_t thread;
    assert_int_equal(pthread_mutex_init(&r.lock, NULL), 0);
    assert_int_equal(thread_start(&thread, "remove", remove_rows, &r), U2I_OK);
    save(r.h, f->path);
    atomic_store(&r.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    struct hnsw *const again = reopen(f->path, HNSW_COSINE);
    struct hnsw_stats stats;
    hnsw_stats(again, &stats);
    print_message("%u removed meanwhile, %u of them in the file\n", r.removed,
                  stats.count - (LARGE - r.removed));
    assert_true(stats.count >= LARGE - r.removed);
    for (uint32_t i = r.removed; i < LARGE; i++) {
        assert_true(hnsw_contains(again, 3 + 2 * i));
    }
    must_be_sound(r.h);
    hnsw_free(again);
    hnsw_free(r.h);
    assert_int_equal(pthread_mutex_destroy(&r.lock), 0);
}

/* ---- Refused -------------------------------------------------------------------------------- */

static void must_refuse(const char *path, const struct hnsw_options *opt, int code,
                        const char *why) {
    struct hnsw_stamp stamp;
    struct hnsw *h;
    u2i_error_t err = {0};
    const int rc = hnsw_open(path, opt, &stamp, &h, &err);
    if (rc != code || strstr(err.msg, why) == NULL) {
        fail_msg("%d \"%s\" instead of %d \"%s\"", rc, err.msg, code, why);
    }
    assert_null(h);
}

static void other_options_are_refused(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 50);
    save(h, f->path);
    struct hnsw_options opt = options(HNSW_COSINE);
    opt.ef_construction = 33; /* may differ */
    opt.seed = 99;
    struct hnsw_stamp stamp;
    struct hnsw *again;
    assert_int_equal(hnsw_open(f->path, &opt, &stamp, &again, NULL), U2I_OK);
    assert_int_equal(again->ef_construction, 33);
    hnsw_free(again);
    opt = options(HNSW_INNER_PRODUCT);
    must_refuse(f->path, &opt, U2I_EINVAL, "metric 0, not 1");
    opt = options(HNSW_COSINE);
    opt.dim = 9;
    must_refuse(f->path, &opt, U2I_EINVAL, "vectors of 8 dimensions, not 9");
    opt = options(HNSW_COSINE);
    opt.links = 0;
    must_refuse(f->path, &opt, U2I_EINVAL, "4 links a node, not 16");
    hnsw_free(h);
}

static void other_versions_are_refused_as_such(void **state) {
    static const struct {
        uint32_t version;
        const char *why;
    } others[] = {
        {HNSW_FILE_VERSION + 1, "a newer u2i: it has format 3, this one reads format 2"},
        {HNSW_FILE_VERSION - 1, "an older u2i: it has format 1, this one reads format 2"}};
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 50);
    const struct hnsw_options opt = options(HNSW_COSINE);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        save(h, f->path);
        struct bytes b = read_file(f->path);
        struct hnsw_file_header head = header_of(&b);
        head.version = others[i].version;
        memcpy(b.p, &head, sizeof head);
        forge_blocks(&b);
        write_file(f->path, &b);
        must_refuse(f->path, &opt, U2I_EVERSION, others[i].why);
        mem_free(b.p);
    }
    hnsw_free(h);
}

static void what_is_no_graph_is_refused(void **state) {
    struct fixture *const f = *state;
    const struct hnsw_options opt = options(HNSW_COSINE);
    char noise[9000];
    must_refuse(f->path, &opt, U2I_ENOTFOUND, "does not exist");
    must_refuse(f->folder, &opt, U2I_EIO, "is not a file");
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)rng_u64(&f->rng);
    }
    write_file(f->path, &(struct bytes){noise, 0});
    must_refuse(f->path, &opt, U2I_ECORRUPT, "too short");
    write_file(f->path, &(struct bytes){noise, 4095});
    must_refuse(f->path, &opt, U2I_ECORRUPT, "too short");
    write_file(f->path, &(struct bytes){noise, sizeof noise});
    must_refuse(f->path, &opt, U2I_ECORRUPT, "is not a graph");
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 50);
    save(h, f->path);
    struct bytes b = read_file(f->path);
    for (size_t cut = 1; cut < b.n; cut += 37) {
        write_file(f->path, &(struct bytes){b.p, b.n - cut});
        must_refuse(f->path, &opt, U2I_ECORRUPT, f->path);
    }
    mem_free(b.p);
    hnsw_free(h);
}

/* ---- Writing that fails --------------------------------------------------------------------- */

/* A good file, which must still be there afterwards, and nothing else. */
static struct bytes old_file(struct fixture *f) {
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 20);
    save(h, f->path);
    hnsw_free(h);
    return read_file(f->path);
}

static void must_be_untouched(const struct fixture *f, struct bytes *old) {
    struct bytes now = read_file(f->path);
    assert_int_equal(now.n, old->n);
    assert_memory_equal(now.p, old->p, now.n);
    assert_int_equal(each_file(f, NULL), 1);
    mem_free(now.p);
    mem_free(old->p);
}

static void full_disk_leaves_the_old_file(void **state) {
    struct fixture *const f = *state;
    struct bytes old = old_file(f);
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 2000);
    struct rlimit limit;
    u2i_error_t err;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes = 1; bytes < 300000; bytes = bytes * 3 + 1000) {
        const struct rlimit small = {.rlim_cur = bytes, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        const int rc = hnsw_save(h, f->path, &the_stamp, NULL, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_int_equal(rc, U2I_EIO);
        assert_non_null(strstr(err.msg, "cannot write"));
    }
    (void)signal(SIGXFSZ, handler);
    must_be_untouched(f, &old);
    hnsw_free(h);
}

static void stopped_writing_leaves_the_old_file(void **state) {
    struct fixture *const f = *state;
    struct bytes old = old_file(f);
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 2000);
    const atomic_bool cancel = true;
    const struct hnsw_work how = {.cancel = &cancel};
    assert_int_equal(hnsw_save(h, f->path, &the_stamp, &how, NULL), U2I_ETIMEOUT);
    must_be_untouched(f, &old);
    hnsw_free(h);
}

static void folder_that_cannot_be_written_is_an_error(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 20);
    char path[128];
    u2i_error_t err;
    (void)snprintf(path, sizeof path, "%s/missing/graph", f->folder);
    assert_int_equal(hnsw_save(h, path, &the_stamp, NULL, &err), U2I_EIO);
    assert_non_null(strstr(err.msg, "cannot create"));
    assert_int_equal(each_file(f, NULL), 0);
    (void)snprintf(path, sizeof path, "%s/folder", f->folder); /* cannot be replaced */
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(hnsw_save(h, path, &the_stamp, NULL, &err), U2I_EIO);
    assert_non_null(strstr(err.msg, "cannot rename"));
    assert_int_equal(each_file(f, NULL), 1);
    hnsw_free(h);
}

static void what_dead_writers_left_is_swept_away(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 20);
    char dead[128], alive[128];
    (void)snprintf(dead, sizeof dead, "%s.tmp-1-0", f->path);
    (void)snprintf(alive, sizeof alive, "%s.tmp-2-0", f->path);
    write_file(dead, &(struct bytes){dead, 5});
    write_file(alive, &(struct bytes){alive, 5});
    const int fd = open(alive, O_RDWR);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    save(h, f->path);
    assert_int_not_equal(access(dead, F_OK), 0);
    assert_int_equal(access(alive, F_OK), 0);
    assert_int_equal(close(fd), 0);
    save(h, f->path);
    assert_int_equal(each_file(f, NULL), 1);
    hnsw_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reopened_graph_answers_as_before, setup, teardown),
        cmocka_unit_test_setup_teardown(turned_codes_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(stamp_and_calibration_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_graph_comes_back_empty_and_grows, setup, teardown),
        cmocka_unit_test_setup_teardown(removed_nodes_stay_ways_and_are_repaired_after_opening,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(unused_slots_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_graphs_give_equal_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(mapped_chunks_answer_before_and_after_they_are_settled,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(changes_after_opening_never_reach_the_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(rows_removed_meanwhile_are_in_the_file_or_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(other_options_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(other_versions_are_refused_as_such, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_graph_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(full_disk_leaves_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_writing_leaves_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(folder_that_cannot_be_written_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(what_dead_writers_left_is_swept_away, setup, teardown),
    };
    return cmocka_run_group_tests(tests, setup_large, teardown_large);
}
