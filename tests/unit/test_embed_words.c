/* Text to words: spellings that should be one word are one, and scripts without spaces come apart. The
 * expected words are written by hand, as the reader would fold them. */
#include "embed/embed_words.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Words one after the other: ASCII as it is, other code points as <hex>, dense runs in brackets. */
struct printed {
    char text[4096];
    size_t n;
};

static void print_word(void *ctx, enum embed_word_kind kind, const uint32_t *word, size_t n) {
    struct printed *p = ctx;
    assert_true(n >= 1 && n <= EMBED_WORD_MAX);
    p->n += (size_t)snprintf(p->text + p->n, sizeof p->text - p->n, "%s%s", p->n > 0 ? " " : "",
                             kind == EMBED_DENSE ? "[" : "");
    for (size_t i = 0; i < n; i++) {
        p->n += (size_t)snprintf(p->text + p->n, sizeof p->text - p->n,
                                 word[i] < 0x80 ? "%c" : "<%x>", word[i]);
    }
    p->n += (size_t)snprintf(p->text + p->n, sizeof p->text - p->n, "%s",
                             kind == EMBED_DENSE ? "]" : "");
}

static void assert_words(const char *text, const char *expected) {
    struct printed p = {.n = 0};
    assert_int_equal(embed_words(text, strlen(text), print_word, &p), strlen(text));
    assert_string_equal(p.text, expected);
}

static void case_accents_and_width_do_not_matter(void **state) {
    (void)state;
    assert_words("Amélie AMÉLIE Ame\xcc\x81lie", "amelie amelie amelie");
    assert_words("ＡＭＥＬＩＥ", "amelie"); /* full-width */
    assert_words("Straße STRASSE", "strasse strasse");
    assert_words("Ёлка елка", "<435><43b><43a><430> <435><43b><43a><430>");
    assert_words("ﬁnal", "final"); /* ligature */
}

static void letters_and_numbers_make_words(void **state) {
    (void)state;
    assert_words("Toy Story 2 (1999)", "toy story 2 1999");
    assert_words("R2-D2's x_y", "r2 d2 s x y");
    assert_words("co\xc2\xadoperate", "cooperate"); /* soft hyphen */
}

static void punctuation_alone_has_no_words(void **state) {
    (void)state;
    assert_words("", "");
    assert_words(" \t!?,.-—…\n", "");
    assert_words("😀🎬", "");
}

static void scripts_without_spaces_are_runs_of_their_own(void **state) {
    (void)state;
    assert_words("iPhone手机壳", "iphone [<624b><673a><58f3>]");
    assert_words("千と千尋の神隠し", "[<5343><3068><5343><5c0b><306e><795e><96a0><3057>]");
    assert_words("기생충 2019", "[<ae30><c0dd><cda9>] 2019");
}

static void hangul_is_one_however_it_is_encoded(void **state) {
    (void)state;
    /* 각 as a syllable and as three conjoining jamo, 가 as two. */
    assert_words("\xea\xb0\x81", "[<ac01>]");
    assert_words("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "[<ac01>]");
    assert_words("\xe1\x84\x80\xe1\x85\xa1", "[<ac00>]");
}

static void voiced_kana_differ_from_plain_ones(void **state) {
    (void)state;
    assert_words("か", "[<304b>]");
    assert_words("が", "[<4000304b>]");
    assert_words("か\xe3\x82\x99", "[<4000304b>]"); /* with a combining mark */
    assert_words("ぱ", "[<8000306f>]");
    assert_words("ﾊﾟ", "[<800030cf>]"); /* half-width katakana */
}

static void vowel_signs_of_india_stay(void **state) {
    (void)state;
    assert_words("की", "<915><940>");
}

static void a_long_run_comes_in_pieces(void **state) {
    (void)state;
    char text[201];
    memset(text, 'a', 200);
    text[200] = '\0';
    struct printed p = {.n = 0};
    assert_int_equal(embed_words(text, 200, print_word, &p), 200);
    assert_int_equal(p.n, 200 + 3); /* 64 + 64 + 64 + 8 */
}

static void broken_utf8_is_found_where_it_is(void **state) {
    (void)state;
    struct printed p = {.n = 0};
    assert_int_equal(embed_words("abc \xff def", 9, print_word, &p), 4);
    assert_string_equal(p.text, "abc");
    p = (struct printed){.n = 0};
    assert_int_equal(embed_words("x\xe4\xb8", 3, print_word, &p), 1); /* cut short */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_accents_and_width_do_not_matter),
        cmocka_unit_test(letters_and_numbers_make_words),
        cmocka_unit_test(punctuation_alone_has_no_words),
        cmocka_unit_test(scripts_without_spaces_are_runs_of_their_own),
        cmocka_unit_test(hangul_is_one_however_it_is_encoded),
        cmocka_unit_test(voiced_kana_differ_from_plain_ones),
        cmocka_unit_test(vowel_signs_of_india_stay),
        cmocka_unit_test(a_long_run_comes_in_pieces),
        cmocka_unit_test(broken_utf8_is_found_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
