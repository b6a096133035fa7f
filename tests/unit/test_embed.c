/* The hashed embedder: what its vectors promise to those who compare them, and that what it learns
 * survives saving and refuses damage. */
#include "base/alloc.h"
#include "base/rng.h"
#include "embed/embed.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DIM EMBED_HASH_DIM

static struct embedder *open_embedder(void) {
    struct embedder *e = NULL;
    u2i_error_t err;
    assert_int_equal(embed_hash_open(DIM, &e, &err), U2I_OK);
    return e;
}

static void embed_all(const struct embedder *e, const struct embed_text *texts, size_t n,
                      float *out) {
    u2i_error_t err = {0};
    if (e->ops->embed(e, texts, n, out, &err) != U2I_OK) {
        fail_msg("embed: %s", err.msg);
    }
}

static void embed_title(const struct embedder *e, const char *title, float *out) {
    const struct embed_text text = {.title = title};
    embed_all(e, &text, 1, out);
}

static double dot(const float *a, const float *b) {
    double sum = 0;
    for (size_t i = 0; i < DIM; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

static double title_cosine(const struct embedder *e, const char *a, const char *b) {
    float va[DIM], vb[DIM];
    embed_title(e, a, va);
    embed_title(e, b, vb);
    return dot(va, vb);
}

static void learn(struct embedder *e, const struct embed_text *texts, size_t n) {
    u2i_error_t err = {0};
    assert_int_equal(e->ops->learn_begin(e, &err), U2I_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(e->ops->learn_add(e, &texts[i], &err), U2I_OK);
    }
    e->ops->learn_end(e);
}

static const struct embed_text SHELF[] = {
    {.title = "The Lord of the Rings",
     .category = "Fantasy Adventure",
     .text = "a ring, a wizard and a long walk"},
    {.title = "Harry Potter and the Goblet of Fire", .category = "Fantasy Adventure"},
    {.title = "The Hobbit", .category = "Fantasy", .text = "a dragon sleeps on gold"},
    {.title = "The Terminator", .category = "Action Sci-Fi", .text = "a machine from the future"},
    {.title = "The Matrix", .category = "Action Sci-Fi"},
    {.title = "The Godfather", .category = "Crime Drama"},
    {.title = "The Notebook", .category = "Romance Drama"},
    {.title = "千と千尋の神隠し", .category = "Fantasy"},
};
#define SHELF_N (sizeof SHELF / sizeof SHELF[0])

/* ---- Vectors ---------------------------------------------------------------------------------- */

static void every_vector_has_unit_length(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    float v[SHELF_N * DIM];
    for (int learnt = 0; learnt < 2; learnt++) {
        embed_all(e, SHELF, SHELF_N, v);
        for (size_t i = 0; i < SHELF_N; i++) {
            assert_true(fabs(sqrt(dot(v + i * DIM, v + i * DIM)) - 1) < 1e-6);
        }
        learn(e, SHELF, SHELF_N);
    }
    e->ops->close(e);
}

static void empty_text_gives_a_zero_vector(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    const struct embed_text texts[] = {{.title = NULL},
                                       {.title = "", .category = "", .text = ""},
                                       {.title = "?!", .category = " ", .text = "\xe2\x80\xa6"}};
    float v[3 * DIM];
    for (int learnt = 0; learnt < 2; learnt++) {
        memset(v, 1, sizeof v);
        embed_all(e, texts, 3, v);
        for (size_t i = 0; i < 3 * DIM; i++) {
            assert_true(v[i] == 0);
        }
        learn(e, SHELF, SHELF_N);
    }
    e->ops->close(e);
}

/* Pins the method: if this fails, vectors in existing stores no longer match new ones, and the
 * embedder needs a new name. */
static void vectors_are_the_same_on_every_machine_and_in_every_version(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    assert_string_equal(e->name, "hash-512");
    uint64_t sums[2];
    for (int learnt = 0; learnt < 2; learnt++) {
        float v[SHELF_N * DIM];
        embed_all(e, SHELF, SHELF_N, v);
        uint64_t sum = 0;
        for (size_t i = 0; i < SHELF_N * DIM; i++) {
            uint32_t bits;
            memcpy(&bits, &v[i], sizeof bits);
            sum = (sum ^ bits) * UINT64_C(0x100000001b3);
        }
        sums[learnt] = sum;
        learn(e, SHELF, SHELF_N);
    }
    assert_int_equal(sums[0], UINT64_C(0x1d1a4593fc269947));
    assert_int_equal(sums[1], UINT64_C(0xf07662b67944bd8f));
    e->ops->close(e);
}

static void one_by_one_equals_all_at_once(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    learn(e, SHELF, SHELF_N);
    float together[SHELF_N * DIM], alone[DIM];
    embed_all(e, SHELF, SHELF_N, together);
    for (size_t i = 0; i < SHELF_N; i++) {
        embed_all(e, &SHELF[i], 1, alone);
        assert_memory_equal(alone, together + i * DIM, sizeof alone);
    }
    e->ops->close(e);
}

static void a_typo_stays_near(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    const double typo = title_cosine(e, "Terminator", "Termiantor");
    assert_true(typo > 0.3);
    assert_true(typo > title_cosine(e, "Terminator", "Notebook") + 0.25);
    assert_true(title_cosine(e, "candle holder", "candle holders") > 0.7);
    e->ops->close(e);
}

static void case_and_accents_do_not_matter(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    assert_true(title_cosine(e, "Amélie", "AMELIE") > 0.999999);
    e->ops->close(e);
}

static void titles_without_spaces_are_near_when_they_share_words(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    const double chinese = title_cosine(e, "深度学习入门", "机器学习与深度学习");
    assert_true(chinese > 0.3);
    assert_true(chinese > title_cosine(e, "深度学习入门", "红烧肉的做法") + 0.2);
    assert_true(title_cosine(e, "千と千尋の神隠し", "千尋と神隠し") > 0.4);
    assert_true(title_cosine(e, "대한민국역사", "역사와대한민국") > 0.4);
    e->ops->close(e);
}

static void a_query_finds_title_and_category_words(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    learn(e, SHELF, SHELF_N);
    float items[SHELF_N * DIM], q[DIM];
    embed_all(e, SHELF, SHELF_N, items);
    const struct embed_text queries[] = {{.text = "matrix"}, {.text = "goblet potter"}};
    const size_t expected[] = {4, 1};
    for (size_t k = 0; k < 2; k++) {
        embed_all(e, &queries[k], 1, q);
        size_t best = 0;
        for (size_t i = 1; i < SHELF_N; i++) {
            best = dot(q, items + i * DIM) > dot(q, items + best * DIM) ? i : best;
        }
        assert_int_equal(best, expected[k]);
    }
    const struct embed_text fantasy = {.text = "fantasy"};
    embed_all(e, &fantasy, 1, q);
    double worst_inside = 1, best_outside = -1;
    for (size_t i = 0; i < SHELF_N; i++) {
        const double near = dot(q, items + i * DIM);
        if (strstr(SHELF[i].category, "Fantasy") != NULL) {
            worst_inside = fmin(worst_inside, near);
        } else {
            best_outside = fmax(best_outside, near);
        }
    }
    assert_true(worst_inside > best_outside + 0.1);
    e->ops->close(e);
}

static void a_text_of_the_largest_size_is_embedded(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    struct rng r;
    rng_seed(&r, 7);
    char *text = mem_alloc(U2I_TEXT_MAX_BYTES + 1);
    for (size_t i = 0; i < U2I_TEXT_MAX_BYTES; i++) {
        text[i] = rng_below(&r, 6) == 0 ? ' ' : (char)('a' + rng_below(&r, 26));
    }
    text[U2I_TEXT_MAX_BYTES] = '\0';
    const struct embed_text t = {.title = "long", .text = text};
    float v[DIM];
    embed_all(e, &t, 1, v);
    assert_true(fabs(dot(v, v) - 1) < 1e-5);
    learn(e, &t, 1);
    mem_free(text);
    e->ops->close(e);
}

static void text_that_is_not_utf8_is_refused_by_name(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    const struct embed_text texts[] = {{.title = "good"}, {.title = "good", .category = "b\xff"}};
    float v[2 * DIM];
    u2i_error_t err = {0};
    assert_int_equal(e->ops->embed(e, texts, 2, v, &err), U2I_EEMBED);
    assert_int_equal(err.offset, 1);
    assert_string_equal(err.msg, "category is not UTF-8 at byte 1");
    e->ops->close(e);
}

static void dimensions_out_of_range_are_refused(void **state) {
    (void)state;
    struct embedder *e;
    u2i_error_t err;
    assert_int_equal(embed_hash_open(0, &e, &err), U2I_EINVAL);
    assert_null(e);
    assert_int_equal(embed_hash_open(U2I_DIM_MAX + 1, &e, &err), U2I_EINVAL);
    assert_int_equal(embed_hash_open(U2I_DIM_MAX, &e, &err), U2I_OK);
    e->ops->close(e);
}

/* ---- Learning --------------------------------------------------------------------------------- */

static void a_common_word_weighs_less_once_learnt(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    const double before = title_cosine(e, "The Godfather", "The Notebook");
    learn(e, SHELF, SHELF_N);
    assert_true(title_cosine(e, "The Godfather", "The Notebook") < before - 0.1);
    e->ops->close(e);
}

static void one_item_can_be_learnt(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    learn(e, SHELF, 1);
    float v[DIM];
    embed_all(e, SHELF, 1, v);
    assert_true(fabs(dot(v, v) - 1) < 1e-5);
    learn(e, SHELF, 0); /* an empty catalogue: back to the beginning */
    struct embedder *fresh = open_embedder();
    float w[DIM];
    embed_all(e, SHELF, 1, v);
    embed_all(fresh, SHELF, 1, w);
    assert_memory_equal(v, w, sizeof v);
    fresh->ops->close(fresh);
    e->ops->close(e);
}

/* A catalogue larger than the sample of texts, in two orders. */
static void learning_does_not_depend_on_the_order_of_the_catalogue(void **state) {
    (void)state;
    enum { N = 6000 };
    static char titles[N][24];
    static struct embed_text texts[N];
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(titles[i], sizeof titles[i], "item %zu of %zu", i % 977, i % 31);
        texts[i] = (struct embed_text){.title = titles[i], .category = i % 3 == 0 ? "even" : NULL};
    }
    struct embedder *e = open_embedder();
    struct buf forward = {0}, backward = {0};
    u2i_error_t err;
    learn(e, texts, N);
    assert_int_equal(e->ops->save(e, &forward, &err), U2I_OK);
    for (size_t i = 0; i < N / 2; i++) {
        const struct embed_text t = texts[i];
        texts[i] = texts[N - 1 - i];
        texts[N - 1 - i] = t;
    }
    learn(e, texts, N);
    assert_int_equal(e->ops->save(e, &backward, &err), U2I_OK);
    assert_int_equal(forward.len, backward.len);
    assert_memory_equal(forward.data, backward.data, forward.len);
    buf_free(&forward);
    buf_free(&backward);
    e->ops->close(e);
}

static void pending_learning_does_not_show(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    float before[DIM], after[DIM];
    u2i_error_t err;
    embed_all(e, SHELF, 1, before);
    assert_int_equal(e->ops->learn_begin(e, &err), U2I_OK);
    assert_int_equal(e->ops->learn_add(e, &SHELF[1], &err), U2I_OK);
    embed_all(e, SHELF, 1, after);
    assert_memory_equal(before, after, sizeof before);
    e->ops->close(e); /* frees what is pending */
}

/* ---- Saving ----------------------------------------------------------------------------------- */

static void saved_and_loaded_gives_identical_vectors(void **state) {
    (void)state;
    struct embedder *e = open_embedder(), *other = open_embedder();
    u2i_error_t err;
    float v[SHELF_N * DIM], w[SHELF_N * DIM];
    for (size_t learnt = 0; learnt <= SHELF_N; learnt += SHELF_N) {
        struct buf saved = {0};
        learn(e, SHELF, learnt);
        assert_int_equal(e->ops->save(e, &saved, &err), U2I_OK);
        assert_int_equal(other->ops->load(other, saved.data, saved.len, &err), U2I_OK);
        embed_all(e, SHELF, SHELF_N, v);
        embed_all(other, SHELF, SHELF_N, w);
        assert_memory_equal(v, w, sizeof v);
        buf_free(&saved);
    }
    other->ops->close(other);
    e->ops->close(e);
}

static void damaged_or_foreign_bytes_are_refused(void **state) {
    (void)state;
    struct embedder *e = open_embedder();
    struct buf saved = {0};
    u2i_error_t err;
    float before[DIM], after[DIM];
    learn(e, SHELF, SHELF_N);
    embed_all(e, SHELF, 1, before);
    assert_int_equal(e->ops->save(e, &saved, &err), U2I_OK);
    for (size_t n = 0; n < saved.len; n += n < 64 ? 1 : 97) { /* cut short */
        assert_int_equal(e->ops->load(e, saved.data, n, &err), U2I_ECORRUPT);
    }
    for (size_t bit = 0; bit < 8 * saved.len; bit += 61) { /* one bit flipped */
        saved.data[bit / 8] = (char)(saved.data[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(e->ops->load(e, saved.data, saved.len, &err), U2I_ECORRUPT);
        saved.data[bit / 8] = (char)(saved.data[bit / 8] ^ 1 << bit % 8);
    }
    assert_int_equal(e->ops->load(e, "", 0, &err), U2I_ECORRUPT);
    embed_all(e, SHELF, 1, after);
    assert_memory_equal(before, after, sizeof before); /* nothing has changed */
    assert_int_equal(e->ops->load(e, saved.data, saved.len, &err), U2I_OK);
    buf_free(&saved);
    e->ops->close(e);
}

static void weights_for_other_dimensions_are_refused(void **state) {
    (void)state;
    struct embedder *e = open_embedder(), *small = NULL;
    struct buf saved = {0};
    u2i_error_t err;
    assert_int_equal(embed_hash_open(64, &small, &err), U2I_OK);
    learn(small, SHELF, SHELF_N);
    assert_int_equal(small->ops->save(small, &saved, &err), U2I_OK);
    assert_int_equal(e->ops->load(e, saved.data, saved.len, &err), U2I_ECORRUPT);
    assert_string_equal(err.msg, "saved word weights are for 64 dimensions, not 512");
    buf_free(&saved);
    small->ops->close(small);
    e->ops->close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_has_unit_length),
        cmocka_unit_test(empty_text_gives_a_zero_vector),
        cmocka_unit_test(vectors_are_the_same_on_every_machine_and_in_every_version),
        cmocka_unit_test(one_by_one_equals_all_at_once),
        cmocka_unit_test(a_typo_stays_near),
        cmocka_unit_test(case_and_accents_do_not_matter),
        cmocka_unit_test(titles_without_spaces_are_near_when_they_share_words),
        cmocka_unit_test(a_query_finds_title_and_category_words),
        cmocka_unit_test(a_text_of_the_largest_size_is_embedded),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_by_name),
        cmocka_unit_test(dimensions_out_of_range_are_refused),
        cmocka_unit_test(a_common_word_weighs_less_once_learnt),
        cmocka_unit_test(one_item_can_be_learnt),
        cmocka_unit_test(learning_does_not_depend_on_the_order_of_the_catalogue),
        cmocka_unit_test(pending_learning_does_not_show),
        cmocka_unit_test(saved_and_loaded_gives_identical_vectors),
        cmocka_unit_test(damaged_or_foreign_bytes_are_refused),
        cmocka_unit_test(weights_for_other_dimensions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
