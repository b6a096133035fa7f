/* Each allocation of the tokenizer fails in turn: an error comes back, nothing leaks, and ids that
 * were there before still are. malloc and its kin are replaced at link time (cmake/tests_oom.cmake);
 * without those linker options the tests are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "embed/wordpiece.h"
#include "oom.h"
#include <stdlib.h>
#include <string.h>

/* Both texts with their growing lists; a failed one leaves the list as it was. */
static int encode_twice(const struct wordpiece *w, u2i_error_t *err) {
    static const char text[] = "a ab, abb! e\xcc\x81 \xe4\xb8\xad [SEP] a a a a a a a a a";
    struct wordpiece_ids ids = {0};
    int rc = U2I_OK;
    for (size_t i = 0; rc == U2I_OK && i < 2; i++) {
        const size_t before = ids.n;
        rc = wordpiece_encode(w, text, sizeof text - 1, 512, &ids, err);
        assert_int_equal(ids.n, before + (rc == U2I_OK ? 22 : 0));
    }
    free(ids.list);
    return rc;
}

static int work_on_vocabulary(void) {
    static const char vocab[] = "[UNK]\n[CLS]\n[SEP]\na\n##b\n,\n!\ne\n\xe4\xb8\xad\nx\ny\nz";
    const struct wordpiece_options opt = {true, true};
    struct wordpiece *w = NULL;
    u2i_error_t err = {0};
    int rc = wordpiece_new(vocab, sizeof vocab - 1, &opt, &w, &err);
    assert_int_equal(w != NULL, rc == U2I_OK);
    if (rc == U2I_OK) {
        rc = encode_twice(w, &err);
    }
    assert_int_equal(err.code, rc);
    wordpiece_free(w);
    return rc;
}

static int work_on_json(void) {
    static const char json[] =
        "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
        "\"handle_chinese_chars\":true,\"lowercase\":true},"
        "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
        "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1],\"sep\":[\"[SEP]\","
        "2]},"
        "\"added_tokens\":[{\"id\":2,\"content\":\"[SEP]\",\"single_word\":false,\"lstrip\":false,"
        "\"rstrip\":false,\"normalized\":false}],"
        "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
        "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"
        "\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"##b\":4}}}";
    struct wordpiece *w = NULL;
    u2i_error_t err = {0};
    int rc = wordpiece_from_json(json, sizeof json - 1, &w, &err);
    assert_int_equal(w != NULL, rc == U2I_OK);
    if (rc == U2I_OK) {
        rc = encode_twice(w, &err);
    }
    assert_int_equal(err.code, rc);
    wordpiece_free(w);
    return rc;
}

static void vocabulary_without_memory_says_so(void **state) {
    (void)state;
    oom_fail_each(work_on_vocabulary, 4);
}

static void tokenizer_json_without_memory_says_so(void **state) {
    (void)state;
    oom_fail_each(work_on_json, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vocabulary_without_memory_says_so),
        cmocka_unit_test(tokenizer_json_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
