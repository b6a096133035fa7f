/* No damage of the graph's file gets through, and none kills: whether it rotted, or was forged with
 * checksums that match. And whatever is unsound in a graph is found and named. */
#include "hnsw_files.h"

enum { SMALL = 60 /* nodes of the file that is damaged */, MUTANTS = 6000 /* of each kind */ };

/* ---- Damage --------------------------------------------------------------------------------- */

static void damaged_vector_is_never_an_answer(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, SMALL);
    save(h, f->path);
    struct bytes b = read_file(f->path);
    const struct hnsw_file_header head = header_of(&b);
    b.p[head.at.vectors + 5] ^= 1; /* node 0 */
    write_file(f->path, &b);
    struct hnsw *const bad = reopen(f->path, HNSW_COSINE);
    struct hnsw_stats stats;
    hnsw_stats(bad, &stats);
    assert_false(stats.damaged);
    assert_null(hnsw_vector(bad, hnsw_row(bad, 0)));
    hnsw_stats(bad, &stats);
    assert_true(stats.damaged);
    float query[DIM] = {1};
    struct hit hits[SMALL];
    const struct hnsw_query q = {.vector = query, .k = SMALL};
    uint32_t n;
    u2i_error_t err;
    assert_int_equal(hnsw_search(bad, &q, hits, &n, NULL, &err), U2I_ECORRUPT);
    assert_int_equal(hnsw_save(bad, f->path, &the_stamp, NULL, &err), U2I_ECORRUPT);
    assert_int_equal(each_file(f, NULL), 1);
    hnsw_free(bad);
    hnsw_free(h);
    mem_free(b.p);
}

/* Answers to one query, or an error. */
static int answers(const struct hnsw *h, const float *query, struct hit *hits, uint32_t *n) {
    const struct hnsw_query q = {.vector = query, .k = K, .ef = SMALL};
    return hnsw_search(h, &q, hits, n, NULL, NULL);
}

static void every_flipped_bit_is_an_error_or_harmless(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, SMALL);
    float query[DIM];
    struct hit want[K], got[K];
    uint32_t want_n, n, vectors = 0;
    random_vector(&f->rng, HNSW_COSINE, query);
    assert_int_equal(answers(h, query, want, &want_n), U2I_OK);
    save(h, f->path);
    struct bytes b = read_file(f->path);
    const struct hnsw_file_header head = header_of(&b);
    for (int i = 0; i < MUTANTS; i++) {
        const size_t at = rng_below(&f->rng, (uint32_t)b.n);
        const char bit = (char)(1 << rng_below(&f->rng, 8));
        struct hnsw *mutant;
        b.p[at] ^= bit;
        write_file(f->path, &b);
        const int rc = try_open(f->path, HNSW_COSINE, &mutant, NULL);
        if ((rc == U2I_OK) != (at >= head.at.vectors)) {
            fail_msg("byte %zu, bit %d: %d", at, bit, rc);
        }
        if (rc == U2I_OK) {
            vectors++;
            const int found_rc = answers(mutant, query, got, &n);
            assert_true(found_rc == U2I_OK || found_rc == U2I_ECORRUPT);
            if (found_rc == U2I_OK) {
                assert_int_equal(n, want_n);
                assert_memory_equal(got, want, n * sizeof *want);
            }
            hnsw_free(mutant);
        }
        b.p[at] ^= bit;
    }
    assert_true(vectors > 100);
    mem_free(b.p);
    hnsw_free(h);
}

/* Everything is done with it that an owner does: nothing but errors may come of it. */
static void use_mutant(struct hnsw *h, struct rng *rng) {
    float query[DIM];
    struct hit hits[K];
    uint32_t n;
    must_be_sound(h);
    random_vector(rng, HNSW_COSINE, query);
    const int rc = answers(h, query, hits, &n);
    assert_true(rc == U2I_OK || rc == U2I_ECORRUPT);
    struct hnsw_stats stats;
    hnsw_stats(h, &stats);
    assert_true(rc != U2I_OK || n == (stats.count < K ? stats.count : K));
    for (uint32_t row = 3; row < 3 + 2 * SMALL; row += 14) {
        hnsw_remove(h, row);
    }
    insert_random(h, rng, 1000, 1, 10);
    must_be_sound(h);
    assert_int_equal(hnsw_repair(h, NULL, NULL), U2I_OK);
    must_be_sound(h);
}

/* Damage with matching checksums: somebody made it. Fields of the header, links, layers, rows are hit
 * with values at the edges. */
static void forged_file_is_refused_or_sound(void **state) {
    static const uint32_t edges[] = {0,          1,          2,         SMALL - 1,
                                     SMALL,      SMALL + 1,  0xFFFF,    0x7F800000,
                                     0x7FC00000, 0x80000000, UINT32_MAX};
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, SMALL);
    for (uint32_t i = 0; i < SMALL; i += 9) {
        hnsw_remove(h, 3 + 2 * i);
    }
    save(h, f->path);
    const struct bytes good = read_file(f->path);
    const struct hnsw_file_header head = header_of(&good);
    struct bytes b = {mem_alloc(good.n), good.n};
    uint32_t opened = 0;
    assert_non_null(b.p);
    for (int i = 0; i < MUTANTS; i++) {
        memcpy(b.p, good.p, good.n);
        for (uint32_t hits = 1 + rng_below(&f->rng, 3); hits > 0; hits--) {
            const bool header = rng_below(&f->rng, 4) == 0;
            const uint64_t from = header ? 0 : head.at.graph;
            const uint64_t to = header ? sizeof head : head.at.blocks;
            const uint64_t at = from + rng_below(&f->rng, (uint32_t)((to - from) / 4)) * 4;
            uint32_t value = edges[rng_below(&f->rng, sizeof edges / sizeof *edges)];
            value = rng_below(&f->rng, 3) == 0 ? rng_below(&f->rng, SMALL) : value;
            memcpy(b.p + at, &value, sizeof value);
        }
        forge_blocks(&b);
        write_file(f->path, &b);
        struct hnsw *mutant;
        if (try_open(f->path, HNSW_COSINE, &mutant, NULL) == U2I_OK) {
            opened++;
            use_mutant(mutant, &f->rng);
            hnsw_free(mutant);
        }
    }
    print_message("%u of %d forged files opened\n", opened, MUTANTS);
    assert_true(opened > 100 && opened < MUTANTS - 100);
    mem_free(b.p);
    mem_free(good.p);
    hnsw_free(h);
}

/* ---- Soundness ------------------------------------------------------------------------------ */

static void must_be_unsound(const struct hnsw *h, const char *why) {
    u2i_error_t err = {0};
    const int rc = hnsw_validate(h, &err);
    if (rc != U2I_ECORRUPT || strstr(err.msg, why) == NULL) {
        fail_msg("%d \"%s\" instead of \"%s\"", rc, err.msg, why);
    }
}

static void change_link(struct hnsw *h, uint32_t node, uint32_t i, uint32_t to, const char *why) {
    uint32_t *const links = hnsw_links(h, node, 0);
    const uint32_t was = links[i];
    links[i] = to;
    must_be_unsound(h, why);
    links[i] = was;
    must_be_sound(h);
}

static void unsound_links_are_named(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 500);
    u2i_error_t err;
    hnsw_remove(h, 3);
    assert_int_equal(hnsw_repair(h, NULL, &err), U2I_OK); /* node 0 is an unused slot now */
    must_be_sound(h);
    change_link(h, 7, 0, 500, "node 7 is linked in layer 0 to node 500, to a node that does not");
    change_link(h, 7, 0, 0, "node 7 is linked in layer 0 to node 0, to an unused slot");
    change_link(h, 7, 0, 7, "node 7 is linked in layer 0 to node 7, to itself");
    change_link(h, 7, 1, hnsw_links(h, 7, 0)[0], "twice");
    change_link(h, 7, 0, HNSW_NONE, "after the end of the list");
    uint32_t high = 0, low = 0;
    for (uint32_t node = 1; node < 500; node++) {
        high = hnsw_node_layers(h, node) > 0 ? node : high;
        low = hnsw_node_layers(h, node) == 0 ? node : low;
    }
    uint32_t *const links = hnsw_links(h, high, 1);
    const uint32_t was = links[0];
    links[0] = low;
    must_be_unsound(h, "to a node that is not in this layer");
    links[0] = was;
    must_be_sound(h);
    hnsw_free(h);
}

static void unsound_rows_and_counts_are_named(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 300);
    uint32_t *const rows = h->chunks[0].rows;
    const uint32_t entry = h->entry;
    rows[5] = 15;
    must_be_unsound(h, "node 5 has row 15, which is in node 6");
    rows[5] = 100000;
    must_be_unsound(h, "which is in no node");
    rows[5] = HNSW_NONE;
    must_be_unsound(h, "node 5 is live, but has no row");
    rows[5] = 13;
    must_be_sound(h);
    hnsw_bit_set(h->chunks[0].live, 5, false);
    must_be_unsound(h, "node 5 is not live, but has row 13");
    hnsw_bit_set(h->chunks[0].live, 5, true);
    int8_t *const code = h->chunks[0].codes + (size_t)5 * h->code_bytes;
    const struct hnsw_head head = hnsw_head_of(code);
    const struct hnsw_head bad = {.scale = -1};
    memcpy(code, &bad, sizeof bad);
    must_be_unsound(h, "node 5 has the scale -1");
    memcpy(code, &head, sizeof head);
    atomic_fetch_add(&h->removed_n, 1);
    must_be_unsound(h, "300 are live and 1 removed");
    atomic_fetch_sub(&h->removed_n, 1);
    h->entry = 300;
    must_be_unsound(h, "the entry is node 300");
    h->entry = entry;
    h->layers++;
    must_be_unsound(h, "the entry, node");
    h->layers--;
    must_be_sound(h);
    hnsw_free(h);
}

static void unreachable_rows_are_counted(void **state) {
    struct fixture *const f = *state;
    struct hnsw *const h = graph_new(&f->rng, HNSW_COSINE, 300);
    assert_int_equal(hnsw_unreachable(h), 0);
    const uint32_t lost = h->entry == 9 ? 10 : 9;
    for (uint32_t node = 0; node < 300; node++) {
        uint32_t *const links = hnsw_links(h, node, 0);
        uint32_t n = 0;
        for (uint32_t i = 0; i < 8; i++) {
            const uint32_t link = links[i];
            links[i] = HNSW_NONE;
            if (link != HNSW_NONE && link != lost) {
                links[n++] = link;
            }
        }
    }
    must_be_sound(h);
    assert_int_equal(hnsw_unreachable(h), 1);
    hnsw_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damaged_vector_is_never_an_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_an_error_or_harmless, setup, teardown),
        cmocka_unit_test_setup_teardown(forged_file_is_refused_or_sound, setup, teardown),
        cmocka_unit_test_setup_teardown(unsound_links_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(unsound_rows_and_counts_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(unreachable_rows_are_counted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
