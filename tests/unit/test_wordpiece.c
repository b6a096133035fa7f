/* The WordPiece tokenizer: 4,808 texts whose ids Hugging Face's tokenizers gave, what vocabularies are
 * refused, and that no text takes long. */
#include "base/alloc.h"
#include "base/buf.h"
#include "embed/wordpiece.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <zlib.h>

#include <cmocka.h>

/* ---- Helpers ---------------------------------------------------------------------------------- */

static const struct wordpiece_options UNCASED = {.lower_case = true, .special_in_text = true};
static const struct wordpiece_options CASED = {.lower_case = false, .special_in_text = true};

/* All of a file of tests/golden/tokenizer, unpacked. */
static struct buf read_golden(const char *name) {
    char path[512];
    static char piece[1 << 16];
    struct buf b = {0};
    (void)snprintf(path, sizeof path, "%s/%s.gz", TEST_GOLDEN, name);
    gzFile f = gzopen(path, "rb");
    if (f == NULL) {
        fail_msg("cannot open %s", path);
    }
    int n;
    while ((n = gzread(f, piece, sizeof piece)) > 0) {
        buf_put(&b, piece, (size_t)n);
    }
    assert_int_equal(n, 0);
    assert_int_equal(gzclose(f), Z_OK);
    assert_false(b.failed);
    return b;
}

static struct wordpiece *new_wordpiece(const void *vocab, size_t n,
                                       const struct wordpiece_options *opt) {
    struct wordpiece *w = NULL;
    u2i_error_t err;
    if (wordpiece_new(vocab, n, opt, &w, &err) != U2I_OK) {
        fail_msg("wordpiece_new: %s", err.msg);
    }
    return w;
}

static struct wordpiece *golden_wordpiece(const char *vocab) {
    struct buf b = read_golden(vocab);
    struct wordpiece *const w = new_wordpiece(b.data, b.len, &UNCASED);
    buf_free(&b);
    return w;
}

/* A vocabulary for words of a few letters; ids from 5 on in the order of `more`. */
#define SMALL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
enum { PAD, UNK, CLS, SEP, MASK, FIRST };

static struct wordpiece *small_wordpiece(const char *more, const struct wordpiece_options *opt) {
    char vocab[1024];
    const int n = snprintf(vocab, sizeof vocab, "%s%s", SMALL, more);
    return new_wordpiece(vocab, (size_t)n, opt);
}

static struct wordpiece_ids encode_bytes(const struct wordpiece *w, const char *text, size_t n,
                                         size_t max) {
    struct wordpiece_ids ids = {0};
    u2i_error_t err;
    if (wordpiece_encode(w, text, n, max, &ids, &err) != U2I_OK) {
        fail_msg("wordpiece_encode: %s", err.msg);
    }
    return ids;
}

/* The ids between [CLS] and [SEP] of the small vocabulary are these. */
static void expect_ids(const struct wordpiece *w, const char *text, const uint32_t *want,
                       size_t n) {
    struct wordpiece_ids ids = encode_bytes(w, text, strlen(text), 512);
    if (ids.n != n + 2) {
        fail_msg("\"%s\": %zu ids instead of %zu", text, ids.n, n + 2);
    }
    assert_int_equal(ids.list[0], CLS);
    assert_int_equal(ids.list[n + 1], SEP);
    for (size_t i = 0; i < n; i++) {
        if (ids.list[i + 1] != want[i]) {
            fail_msg("\"%s\": id %zu is %u instead of %u", text, i, ids.list[i + 1], want[i]);
        }
    }
    mem_free(ids.list);
}

#define EXPECT(w, text, ...)                                                                       \
    expect_ids(w, text, (const uint32_t[]){__VA_ARGS__},                                           \
               sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* ---- Golden cases ----------------------------------------------------------------------------- */

static bool same_ids(const struct wordpiece_ids *ids, const json_t *want) {
    bool same = ids->n == json_array_size(want);
    for (size_t i = 0; same && i < ids->n; i++) {
        same = json_integer_value(json_array_get(want, i)) == (json_int_t)ids->list[i];
    }
    return same;
}

/* Each line of the file; returns how many there are. */
static int expect_cases(const struct wordpiece *w, const char *name) {
    struct buf b = read_golden(name);
    int cases = 0;
    for (size_t at = 0; at < b.len; cases++) {
        const char *const line = b.data + at;
        const char *const end = memchr(line, '\n', b.len - at);
        const size_t n = end != NULL ? (size_t)(end - line) : b.len - at;
        json_t *const one = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
        const json_t *const text = json_object_get(one, "text");
        assert_non_null(text);
        struct wordpiece_ids ids =
            encode_bytes(w, json_string_value(text), json_string_length(text), SIZE_MAX);
        if (!same_ids(&ids, json_object_get(one, "ids"))) {
            fail_msg("%s line %d: %.*s", name, cases + 1, (int)n, line);
        }
        mem_free(ids.list);
        json_decref(one);
        at += n + 1;
    }
    buf_free(&b);
    return cases;
}

static void english_ids_are_the_reference_s(void **state) {
    (void)state;
    struct wordpiece *const w = golden_wordpiece("vocab_en_uncased.txt");
    assert_int_equal(wordpiece_size(w), 30522);
    assert_int_equal(expect_cases(w, "cases_en_uncased.jsonl"), 2404);
    wordpiece_free(w);
}

static void chinese_ids_are_the_reference_s(void **state) {
    (void)state;
    struct wordpiece *const w = golden_wordpiece("vocab_zh.txt");
    assert_int_equal(wordpiece_size(w), 21128);
    assert_int_equal(expect_cases(w, "cases_zh.jsonl"), 2404);
    wordpiece_free(w);
}

/* ---- tokenizer.json --------------------------------------------------------------------------- */

/* What a model of today has, with ids of the vocabulary put in. */
static json_t *new_tokenizer_json(json_t *vocab) {
    json_t *const root = json_pack(
        "{s:n, s:[], s:{s:s, s:b, s:b, s:n, s:b}, s:{s:s},"
        " s:{s:s, s:[{s:{s:s}}, {s:{s:s}}, {s:{s:s}}], s:{s:{s:[O]}, s:{s:[O]}}},"
        " s:{s:s, s:s, s:s, s:i}}",
        "truncation", "added_tokens", "normalizer", "type", "BertNormalizer", "clean_text", 1,
        "handle_chinese_chars", 1, "strip_accents", "lowercase", 1, "pre_tokenizer", "type",
        "BertPreTokenizer", "post_processor", "type", "TemplateProcessing", "single",
        "SpecialToken", "id", "[CLS]", "Sequence", "id", "A", "SpecialToken", "id", "[SEP]",
        "special_tokens", "[CLS]", "ids", json_object_get(vocab, "[CLS]"), "[SEP]", "ids",
        json_object_get(vocab, "[SEP]"), "model", "type", "WordPiece", "unk_token", "[UNK]",
        "continuing_subword_prefix", "##", "max_input_chars_per_word", 100);
    assert_non_null(root);
    json_t *const added = json_object_get(root, "added_tokens");
    static const char *const names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (size_t i = 0; i < 5; i++) {
        json_t *const token =
            json_pack("{s:O, s:b, s:s, s:b, s:b, s:b, s:b}", "id", json_object_get(vocab, names[i]),
                      "special", 1, "content", names[i], "single_word", 0, "lstrip", 0, "rstrip", 0,
                      "normalized", 0);
        assert_int_equal(json_array_append_new(added, token), 0);
    }
    assert_int_equal(json_object_set_new(json_object_get(root, "model"), "vocab", vocab), 0);
    return root;
}

/* The lines of a vocab.txt as an object, token to id. */
static json_t *new_vocab_json(const char *s, size_t n) {
    json_t *const vocab = json_object();
    json_int_t id = 0;
    for (size_t at = 0; at < n; id++) {
        const char *const end = memchr(s + at, '\n', n - at);
        const size_t length = end != NULL ? (size_t)(end - s) - at : n - at;
        char *const token = str_dup(s + at, length);
        assert_int_equal(json_object_set_new(vocab, token, json_integer(id)), 0);
        mem_free(token);
        at += length + 1;
    }
    return vocab;
}

static int from_json(const json_t *root, struct wordpiece **w, u2i_error_t *err) {
    char *const text = json_dumps(root, 0);
    assert_non_null(text);
    const int rc = wordpiece_from_json(text, strlen(text), w, err);
    (free)(text);
    return rc;
}

static void tokenizer_json_gives_the_same_ids(void **state) {
    (void)state;
    struct buf b = read_golden("vocab_en_uncased.txt");
    json_t *const root = new_tokenizer_json(new_vocab_json(b.data, b.len));
    struct wordpiece *w = NULL;
    u2i_error_t err;
    if (from_json(root, &w, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(wordpiece_size(w), 30522);
    assert_int_equal(expect_cases(w, "cases_en_uncased.jsonl"), 2404);
    wordpiece_free(w);
    json_decref(root);
    buf_free(&b);
}

/* The value at a path of names is replaced (taken out with NULL), and the message says `want`. */
struct json_fault {
    const char *const path[4];
    const char *value;
    const char *want;
};

static const struct json_fault JSON_FAULTS[] = {
    {{"normalizer", "type"}, "\"NFC\"", "normalizer.type is \"NFC\""},
    {{"normalizer"}, NULL, "normalizer.type is not there"},
    {{"normalizer", "clean_text"}, "false", "normalizer.clean_text is false"},
    {{"normalizer", "handle_chinese_chars"}, "null", "handle_chinese_chars is null"},
    {{"normalizer", "strip_accents"}, "false", "strip_accents is false, it should be true or null"},
    {{"normalizer", "lowercase"}, "1", "normalizer.lowercase is 1"},
    {{"pre_tokenizer", "type"}, "\"Whitespace\"", "pre_tokenizer.type is \"Whitespace\""},
    {{"model", "type"}, "\"BPE\"", "model.type is \"BPE\", it should be WordPiece"},
    {{"model", "unk_token"}, "\"<unk>\"", "model.unk_token is \"<unk>\""},
    {{"model", "continuing_subword_prefix"}, "\"\"", "continuing_subword_prefix is \"\""},
    {{"model", "max_input_chars_per_word"}, "200", "max_input_chars_per_word is 200"},
    {{"model", "vocab"}, "[]", "model.vocab is []"},
    {{"model", "vocab"}, "{}", "none of its 0 tokens is [UNK]"},
    {{"model", "vocab", "a"}, "77", "an id in model.vocab is 77"},
    {{"model", "vocab", "a"}, "-1", "an id in model.vocab is -1"},
    {{"model", "vocab", "a"}, "4", "an id in model.vocab is 4, it should be that of one token"},
    {{"model", "vocab", "a"}, "5.0", "an id in model.vocab is 5.0"},
    {{"post_processor"}, "null", "post_processor.type is not there"},
    {{"post_processor", "type"}, "\"RobertaProcessing\"", "post_processor.type is \"Roberta"},
    {{"post_processor", "single"}, "[]", "post_processor.single is []"},
    {{"post_processor", "special_tokens", "[SEP]", "ids"}, "[4]", "special_tokens is [4]"},
    {{"added_tokens"}, "{}", "added_tokens is {}"},
    {{"added_tokens"}, "[{\"content\":\"<x>\"}]", "added_tokens.content is \"<x>\""},
    {{"added_tokens"}, "[{\"content\":\"[UNK]\",\"id\":2}]", "added_tokens.id is 2"},
    {{"added_tokens"},
     "[{\"content\":\"[UNK]\",\"id\":1,\"single_word\":false,\"lstrip\":true}]",
     "added_tokens.lstrip is true"},
};

static void apply_json_fault(json_t *root, const struct json_fault *fault) {
    json_t *at = root;
    size_t i = 0;
    for (; i < 3 && fault->path[i + 1] != NULL; i++) {
        at = json_object_get(at, fault->path[i]);
    }
    if (fault->value == NULL) {
        assert_int_equal(json_object_del(at, fault->path[i]), 0);
        return;
    }
    json_t *const value = json_loads(fault->value, JSON_DECODE_ANY, NULL);
    assert_int_equal(json_object_set_new(at, fault->path[i], value), 0);
}

static void other_tokenizers_are_refused_by_field(void **state) {
    (void)state;
    static const char vocab[] = SMALL "a\n";
    for (size_t i = 0; i < sizeof JSON_FAULTS / sizeof JSON_FAULTS[0]; i++) {
        json_t *const root = new_tokenizer_json(new_vocab_json(vocab, sizeof vocab - 1));
        struct wordpiece *w = NULL;
        u2i_error_t err;
        apply_json_fault(root, &JSON_FAULTS[i]);
        assert_int_equal(from_json(root, &w, &err), U2I_EEMBED);
        assert_null(w);
        if (strstr(err.msg, JSON_FAULTS[i].want) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", err.msg, JSON_FAULTS[i].want);
        }
        json_decref(root);
    }
}

static void tokenizer_json_of_a_cased_model_keeps_case(void **state) {
    (void)state;
    static const char vocab[] = SMALL "É\na\n";
    json_t *const root = new_tokenizer_json(new_vocab_json(vocab, sizeof vocab - 1));
    json_t *const normalizer = json_object_get(root, "normalizer");
    json_t *const bert = json_pack("{s:s, s:[s, i], s:[s, i]}", "type", "BertProcessing", "sep",
                                   "[SEP]", SEP, "cls", "[CLS]", CLS);
    struct wordpiece *w = NULL;
    u2i_error_t err;
    assert_int_equal(json_object_set_new(normalizer, "lowercase", json_false()), 0);
    assert_int_equal(json_object_set_new(root, "post_processor", bert), 0);
    assert_int_equal(json_object_set_new(root, "added_tokens", json_array()), 0);
    assert_int_equal(from_json(root, &w, &err), U2I_OK);
    EXPECT(w, "É a A", FIRST, FIRST + 1, UNK);
    EXPECT(w, "[SEP]", UNK, UNK, UNK); /* not listed, so text */
    wordpiece_free(w);
    json_decref(root);
}

static void broken_json_is_refused_with_its_place(void **state) {
    (void)state;
    struct wordpiece *w = NULL;
    u2i_error_t err;
    assert_int_equal(wordpiece_from_json("{\n \"a\":}", 8, &w, &err), U2I_EEMBED);
    assert_non_null(strstr(err.msg, "tokenizer: line 2"));
    assert_int_equal(wordpiece_from_json("", 0, &w, &err), U2I_EEMBED);
    assert_null(w);
}

/* ---- Vocabularies ----------------------------------------------------------------------------- */

static void expect_refused(const char *vocab, size_t n, const char *want) {
    struct wordpiece *w = NULL;
    u2i_error_t err;
    assert_int_equal(wordpiece_new(vocab, n, &UNCASED, &w, &err), U2I_EEMBED);
    assert_null(w);
    if (strstr(err.msg, want) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, want);
    }
}

static void wrong_vocabularies_are_refused_by_line(void **state) {
    (void)state;
    expect_refused("", 0, "none of its 0 tokens is [UNK]");
    expect_refused("[UNK]\n[CLS]", 11, "none of its 2 tokens is [SEP]");
    expect_refused("[UNK]\n[SEP]\n", 12, "none of its 2 tokens is [CLS]");
    expect_refused(SMALL "a\nb\na\n", strlen(SMALL) + 6, "line 8: the token of line 6 again, a");
    expect_refused(SMALL "##a\r\n##a", strlen(SMALL) + 8, "line 7: the token of line 6 again, ##a");
    expect_refused(SMALL "a\n\xff\n", strlen(SMALL) + 4, "line 7: not UTF-8");
    char big[600] = SMALL;
    memset(big + strlen(SMALL), 'x', 403);
    expect_refused(big, strlen(SMALL) + 403, "line 6: a token of 403 bytes, 402 are allowed");
}

static void vocabulary_has_a_largest_size(void **state) {
    (void)state;
    struct buf b = {0};
    char line[16];
    for (uint32_t i = 0; i <= WORDPIECE_TOKENS_MAX; i++) {
        const int n = snprintf(line, sizeof line, "%x\n", i);
        buf_put(&b, line, (size_t)n);
    }
    expect_refused(b.data, b.len, "line 1048577: more than 1048576 tokens");
    buf_free(&b);
}

static void line_ends_of_windows_are_no_part_of_tokens(void **state) {
    (void)state;
    static const char vocab[] = "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\na\r\n##b";
    struct wordpiece *const w = new_wordpiece(vocab, sizeof vocab - 1, &UNCASED);
    assert_int_equal(wordpiece_size(w), 7);
    EXPECT(w, "ab a", FIRST, FIRST + 1, FIRST);
    wordpiece_free(w);
}

/* ---- Words ------------------------------------------------------------------------------------ */

static void longest_pieces_come_first(void **state) {
    (void)state;
    struct wordpiece *const w = small_wordpiece("un\n##aff\n##able\nu\n##a\n##ble\nable", &UNCASED);
    EXPECT(w, "unaffable", FIRST, FIRST + 1, FIRST + 2);
    EXPECT(w, "able unable", FIRST + 6, FIRST, FIRST + 2);
    EXPECT(w, "unaffx", UNK); /* all of the word, not its end */
    EXPECT(w, "##able", UNK, UNK, FIRST + 6);
    wordpiece_free(w);
}

static void special_tokens_in_a_text_are_text_if_so_wanted(void **state) {
    (void)state;
    struct wordpiece *const w = small_wordpiece("[\n]\nsep\nmask", &UNCASED);
    EXPECT(w, "[SEP]x[MASK]", SEP, UNK, MASK);
    EXPECT(w, "[[SEP]", FIRST, SEP);
    EXPECT(w, "[sep]", FIRST, FIRST + 2, FIRST + 1);
    wordpiece_special_in_text(w, false);
    EXPECT(w, "[SEP][MASK]", FIRST, FIRST + 2, FIRST + 1, FIRST, FIRST + 3, FIRST + 1);
    wordpiece_free(w);
}

static void cased_models_keep_case_and_accents(void **state) {
    (void)state;
    struct wordpiece *const w = small_wordpiece("É\né\ne\n,\nE\xcc\x81\n中", &CASED);
    EXPECT(w, "É é,e中É", FIRST, FIRST + 1, FIRST + 3, FIRST + 2, FIRST + 5, FIRST);
    EXPECT(w, "E\xcc\x81 ,", FIRST + 4, FIRST + 3); /* decomposed stays so */
    wordpiece_free(w);
}

/* U+302E has class 224, U+1DFB has 230; U+034F is a dropped mark of class 0, U+0300 one of 230. */
static void kept_marks_come_in_canonical_order(void **state) {
    (void)state;
    struct wordpiece *const w = small_wordpiece("a\u302e\u1dfb\na\u1dfb\u302e\n\u302e", &UNCASED);
    EXPECT(w, "a\u302e\u1dfb", FIRST);
    EXPECT(w, "a\u1dfb\u302e", FIRST);
    EXPECT(w, "a\u1dfb\u0300\u302e", FIRST);
    EXPECT(w, "a\u1dfb\u200b\u302e", FIRST); /* a format character was dropped before */
    EXPECT(w, "a\u1dfb\u034f\u302e", FIRST + 1);
    EXPECT(w, "a\u1dfb\u302e \u302e", FIRST, FIRST + 2);
    EXPECT(w, "a\u1dfb\u302e;\u302e", FIRST, UNK, FIRST + 2);
    wordpiece_free(w);
}

static void unicode_is_as_old_as_the_reference_s(void **state) {
    (void)state;
    /* U+1ABF is a mark since Unicode 13: kept, and not put into order. U+11938 came with it: not
     * decomposed. U+2B820 is a CJK character that gets no spaces. */
    struct wordpiece *const w =
        small_wordpiece("\u1dfb\u1abf\n\U00011938\na\U0002b820\n\U00010d70", &UNCASED);
    EXPECT(w, "\u1dfb\u1abf", FIRST);
    EXPECT(w, "\U00011938", FIRST + 1);
    EXPECT(w, "A\U0002b820", FIRST + 2);
    EXPECT(w, "\U00010d50", FIRST + 3); /* but lower case is of Unicode 16 */
    wordpiece_free(w);
}

/* ---- Texts ------------------------------------------------------------------------------------ */

static void empty_texts_have_the_two_ends(void **state) {
    (void)state;
    struct wordpiece *const w = small_wordpiece("a", &UNCASED);
    static const char *const empty[] = {"", " ", "\t\r\n\u3000", "\u200b\x01\ufffd", "\u0300"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        expect_ids(w, empty[i], NULL, 0);
    }
    struct wordpiece_ids ids = encode_bytes(w, "a\0a", 3, 512); /* U+0000 is not there */
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.list[1], UNK);
    mem_free(ids.list);
    wordpiece_free(w);
}

static void ids_are_appended(void **state) {
    (void)state;
    struct wordpiece *const w = small_wordpiece("a\nb", &UNCASED);
    struct wordpiece_ids ids = encode_bytes(w, "a", 1, 8);
    assert_int_equal(wordpiece_encode(w, "b b", 3, 8, &ids, NULL), U2I_OK);
    static const uint32_t want[] = {CLS, FIRST, SEP, CLS, FIRST + 1, FIRST + 1, SEP};
    assert_int_equal(ids.n, 7);
    assert_memory_equal(ids.list, want, sizeof want);
    assert_int_equal(wordpiece_encode(w, "b\xff", 2, 8, &ids, NULL), U2I_EEMBED);
    assert_int_equal(ids.n, 7);
    mem_free(ids.list);
    wordpiece_free(w);
}

static void long_texts_are_cut_before_the_end(void **state) {
    (void)state;
    static const char text[] = "a aaa [SEP] \u4e2d aab a!a";
    struct wordpiece *const w = small_wordpiece("a\n##a\n!\n\u4e2d", &UNCASED);
    struct wordpiece_ids all = encode_bytes(w, text, sizeof text - 1, 512);
    assert_int_equal(all.n, 2 + 10);
    for (size_t max = 2; max <= all.n + 2; max++) {
        struct wordpiece_ids ids = encode_bytes(w, text, sizeof text - 1, max);
        const size_t n = max < all.n ? max : all.n;
        assert_int_equal(ids.n, n);
        assert_memory_equal(ids.list, all.list, (n - 1) * sizeof *ids.list);
        assert_int_equal(ids.list[n - 1], SEP);
        mem_free(ids.list);
    }
    mem_free(all.list);
    wordpiece_free(w);
}

static void text_that_is_not_utf8_is_refused_with_its_byte(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t at;
    } bad[] = {{"\xff", 0},       {"ab\xc3", 2},           {"\u4e2d\xed\xa0\x80", 3},
               {"a\xc0\x80z", 1}, {"abcdefghijk\x80", 11}, {"\xf4\x90\x80\x80", 0}};
    struct wordpiece *const w = small_wordpiece("a", &UNCASED);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct wordpiece_ids ids = {0};
        u2i_error_t err;
        /* even where it would have been cut off */
        const int rc = wordpiece_encode(w, bad[i].text, strlen(bad[i].text), 2, &ids, &err);
        assert_int_equal(rc, U2I_EEMBED);
        assert_int_equal(err.offset, bad[i].at);
        assert_int_equal(ids.n, 0);
        mem_free(ids.list);
    }
    wordpiece_free(w);
}

/* 10 MB of what makes a tokenizer slow, if anything does. Quadratic work would take days; the test has
 * ten minutes. */
static void no_text_takes_long(void **state) {
    (void)state;
    static char hundred[102]; /* a word as long as can be, and a space */
    memset(hundred, 'a', 100);
    hundred[100] = ' ';
    const char *const pieces[] = {"a",          hundred, "\u302e", "\u1dfb\u302e", "\u0300",
                                  "[",          "[SEP",  "#",      "\ud55c",       "\u0344",
                                  "\U0001d15e", " ",     "\u3000", "\u2260"};
    const size_t n = 10u << 20;
    struct wordpiece *const w = golden_wordpiece("vocab_en_uncased.txt");
    char *const text = mem_alloc(n);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        const size_t piece = strlen(pieces[i]);
        for (size_t at = 0; at < n; at += piece) {
            memcpy(text + at, pieces[i], piece <= n - at ? piece : n - at);
        }
        struct wordpiece_ids ids = encode_bytes(w, text, n - n % piece, SIZE_MAX);
        assert_in_range(ids.n, 2, n + 2);
        mem_free(ids.list);
    }
    mem_free(text);
    wordpiece_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(english_ids_are_the_reference_s),
        cmocka_unit_test(chinese_ids_are_the_reference_s),
        cmocka_unit_test(tokenizer_json_gives_the_same_ids),
        cmocka_unit_test(other_tokenizers_are_refused_by_field),
        cmocka_unit_test(tokenizer_json_of_a_cased_model_keeps_case),
        cmocka_unit_test(broken_json_is_refused_with_its_place),
        cmocka_unit_test(wrong_vocabularies_are_refused_by_line),
        cmocka_unit_test(vocabulary_has_a_largest_size),
        cmocka_unit_test(line_ends_of_windows_are_no_part_of_tokens),
        cmocka_unit_test(longest_pieces_come_first),
        cmocka_unit_test(special_tokens_in_a_text_are_text_if_so_wanted),
        cmocka_unit_test(cased_models_keep_case_and_accents),
        cmocka_unit_test(kept_marks_come_in_canonical_order),
        cmocka_unit_test(unicode_is_as_old_as_the_reference_s),
        cmocka_unit_test(empty_texts_have_the_two_ends),
        cmocka_unit_test(ids_are_appended),
        cmocka_unit_test(long_texts_are_cut_before_the_end),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_its_byte),
        cmocka_unit_test(no_text_takes_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
