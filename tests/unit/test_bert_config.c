/* What a folder with a BERT model says of itself: a good one is read as it is meant, and a model that
 * would give other vectors than we compute is refused, naming file, field and value. */
#include "base/rng.h"
#include "embed/bert_config.h"
#include "model_folder.h"
#include "json/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static int make_tiny(void **state) {
    static struct folder folder;
    folder = tiny_make();
    *state = &folder;
    return 0;
}

static int remove_tiny(void **state) {
    folder_remove(*state);
    return 0;
}

static void read_good(const struct folder *f, struct bert_config *c) {
    u2i_error_t err = {0};
    if (bert_config_read(f->path, c, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
}

static void assert_refused(int rc, const u2i_error_t *err, const char *message) {
    if (rc != U2I_EEMBED || err->code != rc || strstr(err->msg, message) == NULL) {
        fail_msg("expected \"%s\": %d %s", message, rc, err->msg);
    }
}

static void a_good_folder_is_read_as_it_is_meant(void **state) {
    struct bert_config c;
    read_good(*state, &c);
    assert_int_equal(c.hidden, TINY_HIDDEN);
    assert_int_equal(c.layers, TINY_LAYERS);
    assert_int_equal(c.heads, TINY_HEADS);
    assert_int_equal(c.intermediate, TINY_INTERMEDIATE);
    assert_int_equal(c.vocab, TINY_VOCAB);
    assert_int_equal(c.positions, TINY_POSITIONS);
    assert_int_equal(c.types, TINY_TYPES);
    assert_true(c.norm_eps == 1e-12f);
    assert_int_equal(c.pooling, BERT_POOL_MEAN);
    assert_true(c.normalise);
    assert_int_equal(c.tokens_max, 10);
    assert_true(c.lower_case);
}

static void without_the_other_files_a_folder_is_plain_bert(void **state) {
    const struct folder *const f = *state;
    struct bert_config c;
    folder_drop(f, "modules.json");
    folder_drop(f, "1_Pooling/config.json");
    folder_drop(f, "sentence_bert_config.json");
    folder_drop(f, "tokenizer_config.json");
    read_good(f, &c);
    assert_int_equal(c.pooling, BERT_POOL_MEAN);
    assert_false(c.normalise);
    assert_int_equal(c.tokens_max, TINY_POSITIONS);
    assert_true(c.lower_case);
    assert_int_equal(rmdir(folder_path(f, "1_Pooling")), 0);
    read_good(f, &c);
}

/* Each file has one thing that differs from the good one. */
static void other_good_folders_are_read(void **state) {
    const struct folder *const f = *state;
    struct bert_config c;
    folder_put(f, "1_Pooling/config.json",
               "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}");
    read_good(f, &c);
    assert_int_equal(c.pooling, BERT_POOL_CLS);
    folder_put(f, "1_Pooling/config.json", "{\"pooling_mode\": \"cls\"}");
    read_good(f, &c);
    assert_int_equal(c.pooling, BERT_POOL_CLS);
    folder_put(f, "1_Pooling/config.json", "{\"pooling_mode\": \"mean\"}");
    read_good(f, &c);
    assert_int_equal(c.pooling, BERT_POOL_MEAN);

    folder_put(f, "modules.json",
               "[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},"
               " {\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.a.b.Pooling\"}]");
    read_good(f, &c);
    assert_false(c.normalise);

    folder_put(f, "sentence_bert_config.json", "{\"max_seq_length\": 512}");
    read_good(f, &c);
    assert_int_equal(c.tokens_max, TINY_POSITIONS); /* there are no more */
    folder_put(f, "sentence_bert_config.json", "{\"max_seq_length\": null}");
    read_good(f, &c);
    assert_int_equal(c.tokens_max, TINY_POSITIONS);
    folder_put(f, "sentence_bert_config.json", "{\"do_lower_case\": true}"); /* bge's */
    read_good(f, &c);
    assert_true(c.lower_case);

    folder_put(f, "sentence_bert_config.json", "{}");
    folder_put(f, "tokenizer_config.json", "{\"do_lower_case\": false, \"strip_accents\": false}");
    read_good(f, &c);
    assert_false(c.lower_case);
}

/* sentence-transformers: max_seq_length, or where there is none model_max_length. */
static void the_longest_text_is_what_sentence_transformers_says(void **state) {
    const struct folder *const f = *state;
    struct bert_config c;
    folder_put(f, "tokenizer_config.json", "{\"model_max_length\": 7}");
    read_good(f, &c);
    assert_int_equal(c.tokens_max, 10); /* sentence_bert_config.json's */
    folder_put(f, "sentence_bert_config.json", "{\"transformer_task\": \"feature-extraction\"}");
    read_good(f, &c);
    assert_int_equal(c.tokens_max, 7);
    folder_drop(f, "sentence_bert_config.json");
    read_good(f, &c);
    assert_int_equal(c.tokens_max, 7);
    folder_put(f, "tokenizer_config.json",
               "{\"model_max_length\": 1000000000000000019884624838656}");
    read_good(f, &c);
    assert_int_equal(c.tokens_max, TINY_POSITIONS);
    folder_put(f, "tokenizer_config.json", "{\"model_max_length\": null}");
    read_good(f, &c);
    assert_int_equal(c.tokens_max, TINY_POSITIONS);
}

/* ---- Refusals ------------------------------------------------------------------------------- */

/* The good config.json with one field of another value, or left out where `value` is NULL. */
static void put_config(const struct folder *f, const char *field, const char *value) {
    json_t *const root = json_loads(TINY_CONFIG, 0, NULL);
    assert_non_null(root);
    if (value == NULL) {
        assert_int_equal(json_object_del(root, field), 0);
    } else {
        assert_int_equal(json_object_set_new(root, field, json_loads(value, JSON_DECODE_ANY, NULL)),
                         0);
    }
    assert_int_equal(json_dump_file(root, folder_path(f, "config.json"), 0), 0);
    json_decref(root);
}

static void models_that_are_not_bert_are_refused(void **state) {
    static const struct {
        const char *field, *value, *message;
    } faults[] = {
        {"model_type", "\"roberta\"", "/config.json: model_type is \"roberta\"; only \"bert\""},
        {"model_type", NULL, "model_type is missing"},
        {"model_type", "[\"bert\"]", "model_type is [\"bert\"]"},
        {"model_type",
         "\"a very long name of a model type that does not fit into a message of ours\"",
         "model_type is \"a very long name of a model type that does not fit into a ...\"; only"},
        {"model_type", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]",
         "model_type is [...]; only"},
        {"model_type", "{\"a long name of a field\":\"and a long value of it, over the limit\"}",
         "model_type is {...}; only"},
        {"hidden_act", "\"gelu_new\"", "hidden_act is \"gelu_new\"; only \"gelu\""},
        {"hidden_act", "\"gelu_pytorch_tanh\"", "hidden_act is \"gelu_pytorch_tanh\""},
        {"hidden_act", "\"relu\"", "hidden_act is \"relu\""},
        {"hidden_act", NULL, "hidden_act is missing"},
        {"position_embedding_type", "\"relative_key\"",
         "position_embedding_type is \"relative_key\"; only \"absolute\""},
        {"is_decoder", "true", "is_decoder is true; only false is supported"},
        {"is_decoder", "0", "is_decoder is 0; it should be true or false"},
        {"tokenizer_class", "\"BertJapaneseTokenizer\"",
         "tokenizer_class is \"BertJapaneseTokenizer\"; only BertTokenizer"},
        {"hidden_size", NULL, "hidden_size is missing; the model's size is not known without it"},
        {"hidden_size", "null", "hidden_size is missing"},
        {"hidden_size", "0", "hidden_size is 0; it should be from 1 to 4096"},
        {"hidden_size", "-8", "hidden_size is -8; it should be from 1 to 4096"},
        {"hidden_size", "4098", "hidden_size is 4098; it should be from 1 to 4096"},
        {"hidden_size", "8.0", "hidden_size is 8.0; it should be from 1 to 4096"},
        {"hidden_size", "\"8\"", "hidden_size is \"8\"; it should be from 1 to 4096"},
        {"hidden_size", "9", "hidden_size is 9; num_attention_heads is 2 and should divide it"},
        {"num_hidden_layers", "129", "num_hidden_layers is 129; it should be from 1 to 128"},
        {"num_hidden_layers", "4294967298", "num_hidden_layers is 4294967298; it should be from"},
        {"num_attention_heads", "257", "num_attention_heads is 257; it should be from 1 to 256"},
        {"num_attention_heads", "0", "num_attention_heads is 0; it should be from 1 to 256"},
        {"intermediate_size", "32769", "intermediate_size is 32769; it should be from 1 to 32768"},
        {"vocab_size", "1048577", "vocab_size is 1048577; it should be from 1 to 1048576"},
        {"max_position_embeddings", "2",
         "max_position_embeddings is 2; it should be from 3 to 65536"},
        {"max_position_embeddings", "65537", "max_position_embeddings is 65537; it should be"},
        {"type_vocab_size", "17", "type_vocab_size is 17; it should be from 1 to 16"},
        {"layer_norm_eps", "0", "layer_norm_eps is 0; it should be over 0 and at most 0.1"},
        {"layer_norm_eps", "-1", "layer_norm_eps is -1; it should be over 0"},
        {"layer_norm_eps", "1", "layer_norm_eps is 1; it should be over 0"},
        {"layer_norm_eps", "1e-99", "layer_norm_eps is 1e-99; it should be over 0"},
        {"layer_norm_eps", "\"1e-12\"", "layer_norm_eps is \"1e-12\"; it should be over 0"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct bert_config c = {.hidden = 77};
        const struct folder *const f = *state;
        u2i_error_t err;
        put_config(f, faults[i].field, faults[i].value);
        assert_refused(bert_config_read(f->path, &c, &err), &err, faults[i].message);
        assert_int_equal(c.hidden, 77); /* nothing was written */
    }
}

static void fields_that_change_nothing_may_be_missing_or_null(void **state) {
    static const char *const fields[] = {"position_embedding_type", "is_decoder", "tokenizer_class",
                                         "layer_norm_eps", "something_new"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        struct bert_config c;
        put_config(*state, fields[i], "null");
        read_good(*state, &c);
        assert_true(c.norm_eps == 1e-12f);
    }
    struct bert_config c;
    put_config(*state, "position_embedding_type", "\"absolute\"");
    read_good(*state, &c);
    put_config(*state, "layer_norm_eps", "1e-5");
    read_good(*state, &c);
    assert_true(c.norm_eps == 1e-5f);
}

#define TRANSFORMER "{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"}"
#define POOLING     "{\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"}"
#define NORMALIZE   "{\"path\": \"2\", \"type\": \"sentence_transformers.models.Normalize\"}"

/* A file of the good folder with another text. */
static const struct other_fault {
    const char *file, *text, *message;
} OTHER_FAULTS[] = {
    {"modules.json", "{}", "/modules.json: expected an array, [...], found an object"},
    {"modules.json", "[]", "/modules.json: there is no module Transformer"},
    {"modules.json", "[" TRANSFORMER "]", "there is no module Pooling"},
    {"modules.json", "[7]", "/modules.json: a module is 7; it should be an object"},
    {"modules.json", "[{}]", "type is missing; module 0 should be Transformer"},
    {"modules.json", "[" POOLING "]", ".Pooling\"; module 0 should be Transformer"},
    {"modules.json", "[{\"path\": \"\", \"type\": \"my.Transformer\"}]",
     "type is \"my.Transformer\"; module 0 should be Transformer"},
    {"modules.json",
     "[" TRANSFORMER "," POOLING ",{\"type\":\"sentence_transformers.models.Dense\"}]",
     "type is \"sentence_transformers.models.Dense\"; module 2 should be Normalize"},
    {"modules.json", "[" TRANSFORMER "," POOLING "," NORMALIZE "," NORMALIZE "]",
     "module 3 should be missing"},
    {"modules.json",
     "[{\"path\": \"0_Transformer\", \"type\": \"sentence_transformers.models.Transformer\"}]",
     "path is \"0_Transformer\"; that of Transformer should be \"\""},
    {"modules.json",
     "[" TRANSFORMER ",{\"path\": \"2\", \"type\": \"sentence_transformers.models.Pooling\"}]",
     "path is \"2\"; that of Pooling should be \"1_Pooling\""},
    {"1_Pooling/config.json", "[]", "/1_Pooling/config.json: expected an object"},
    {"1_Pooling/config.json", "{}", "0 pooling modes are true; it should be one"},
    {"1_Pooling/config.json", "{\"pooling_mode_max_tokens\": true}",
     "pooling_mode_max_tokens is true; only cls_token and mean_tokens"},
    {"1_Pooling/config.json",
     "{\"pooling_mode_mean_tokens\": true, \"pooling_mode_mean_sqrt_len_tokens\": true}",
     "pooling_mode_mean_sqrt_len_tokens is true; only"},
    {"1_Pooling/config.json",
     "{\"pooling_mode_mean_tokens\": true, \"pooling_mode_cls_token\": true}",
     "2 pooling modes are true; it should be one"},
    {"1_Pooling/config.json", "{\"pooling_mode_mean_tokens\": 1}",
     "pooling_mode_mean_tokens is 1; it should be true or false"},
    {"1_Pooling/config.json", "{\"pooling_mode\": \"max\"}",
     "pooling_mode is \"max\"; only \"mean\" and \"cls\""},
    {"1_Pooling/config.json",
     "{\"word_embedding_dimension\": 9, \"pooling_mode_mean_tokens\": true}",
     "word_embedding_dimension is 9; it should be from 8 to 8"},
    {"sentence_bert_config.json", "{\"max_seq_length\": 2}",
     "/sentence_bert_config.json: max_seq_length is 2; it should be from 3 to 2147483647"},
    {"sentence_bert_config.json", "{\"max_seq_length\": \"256\"}",
     "max_seq_length is \"256\"; it should be from"},
    {"sentence_bert_config.json", "{\"do_lower_case\": 1}",
     "do_lower_case is 1; it should be true or false"},
    {"tokenizer_config.json", "{\"model_max_length\": 2}",
     "/tokenizer_config.json: model_max_length is 2.0; it should be a number, at least 3"},
    {"tokenizer_config.json", "{\"model_max_length\": \"512\"}", "model_max_length is \"512\""},
    {"1_Pooling/config.json", "{\"embedding_dimension\": 9, \"pooling_mode\": \"mean\"}",
     "embedding_dimension is 9; it should be from 8 to 8"},
    {"tokenizer_config.json", "{\"do_lower_case\": \"yes\"}",
     "/tokenizer_config.json: do_lower_case is \"yes\"; it should be true or false"},
    {"tokenizer_config.json", "{\"strip_accents\": false}", "strip_accents is false; only true"},
    {"tokenizer_config.json", "{\"do_lower_case\": false, \"strip_accents\": true}",
     "strip_accents is true; only false"},
    {"tokenizer_config.json", "{\"tokenize_chinese_chars\": false}",
     "tokenize_chinese_chars is false; only true"},
    {"tokenizer_config.json", "{\"do_basic_tokenize\": false}",
     "do_basic_tokenize is false; only true"},
    {"tokenizer_config.json", "{\"tokenizer_class\": \"T5Tokenizer\"}",
     "tokenizer_class is \"T5Tokenizer\""},
    {"config.json", "", "/config.json: line 1 column 0"},
    {"config.json", "[[[[[[[[[[[[[[[[[", "nested deeper than 16"},
    {"tokenizer_config.json", "{\"a\": 1,}", "/tokenizer_config.json: line 1"},
};

/* It would keep accents and change capitals. */
static void lower_case_before_a_tokenizer_with_capitals_is_refused(void **state) {
    const struct folder *const f = *state;
    struct bert_config c;
    u2i_error_t err = {0};
    folder_put(f, "tokenizer_config.json", "{\"do_lower_case\": false}");
    folder_put(f, "sentence_bert_config.json", "{\"do_lower_case\": true}");
    assert_int_equal(bert_config_read(f->path, &c, &err), U2I_EEMBED);
    assert_non_null(
        strstr(err.msg, "/sentence_bert_config.json: do_lower_case is true; only false"));
}

static void other_files_with_what_is_not_known_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof OTHER_FAULTS / sizeof OTHER_FAULTS[0]; i++) {
        const struct folder f = tiny_make();
        struct bert_config c;
        u2i_error_t err;
        folder_put(&f, OTHER_FAULTS[i].file, OTHER_FAULTS[i].text);
        assert_refused(bert_config_read(f.path, &c, &err), &err, OTHER_FAULTS[i].message);
        folder_remove(&f);
    }
}

static void missing_and_unreadable_files_are_named(void **state) {
    const struct folder *const f = *state;
    struct bert_config c;
    u2i_error_t err;
    assert_int_equal(bert_config_read("/tmp/no/such/folder", &c, &err), U2I_ENOTFOUND);
    assert_string_equal(err.msg, "/tmp/no/such/folder does not exist");
    assert_int_equal(bert_config_read(folder_path(f, "config.json"), &c, &err), U2I_ENOTFOUND);
    assert_non_null(strstr(err.msg, "/config.json is not a folder"));

    assert_int_equal(truncate(folder_path(f, "tokenizer_config.json"), (64 << 20) + 1), 0);
    assert_refused(bert_config_read(f->path, &c, &err), &err,
                   "/tokenizer_config.json has 67108865 bytes, over 67108864");
    folder_drop(f, "tokenizer_config.json");
    assert_int_equal(mkdir(folder_path(f, "tokenizer_config.json"), 0700), 0);
    assert_int_equal(bert_config_read(f->path, &c, &err), U2I_EIO);
    assert_non_null(strstr(err.msg, "/tokenizer_config.json is not a file"));

    folder_drop(f, "config.json");
    assert_int_equal(bert_config_read(f->path, &c, &err), U2I_ENOTFOUND);
    assert_non_null(strstr(err.msg, "/config.json does not exist"));
    assert_int_equal(bert_config_read(f->path, &c, NULL), U2I_ENOTFOUND);
}

/* ---- Tensors -------------------------------------------------------------------------------- */

/* Writes the tiny BERT that differs by `how`, and checks it. */
static int check_tiny(const struct folder *f, const struct tiny *how, u2i_error_t *err) {
    struct safetensors *s = NULL;
    struct bert_config c;
    read_good(f, &c);
    tiny_save(f, how);
    assert_int_equal(safetensors_open_folder(f->path, &s, err), U2I_OK);
    const int rc = bert_config_check(&c, s, err);
    safetensors_close(s);
    return rc;
}

static void all_ways_to_name_and_store_tensors_are_found(void **state) {
    static const struct tiny good[] = {
        {.prefix = NULL},  {.prefix = "bert."}, {.older = true}, {.prefix = "bert.", .older = true},
        {.dtype = "BF16"}, {.dtype = "F16"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        u2i_error_t err = {0};
        if (check_tiny(*state, &good[i], &err) != U2I_OK) {
            fail_msg("%zu: %s", i, err.msg);
        }
    }
}

static void tensors_are_found_by_their_newer_names(void **state) {
    static const struct tiny older = {.prefix = "bert.", .older = true};
    const struct folder *const f = *state;
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    tiny_save(f, &older);
    assert_int_equal(safetensors_open_folder(f->path, &s, &err), U2I_OK);
    assert_true(bert_config_tensor(s, "encoder.layer.1.output.LayerNorm.bias", &t));
    assert_string_equal(t.name, "bert.encoder.layer.1.output.LayerNorm.beta");
    assert_true(bert_config_tensor(s, "embeddings.LayerNorm.weight", &t));
    assert_string_equal(t.name, "bert.embeddings.LayerNorm.gamma");
    assert_false(bert_config_tensor(s, "encoder.layer.2.output.LayerNorm.bias", &t));
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_false(bert_config_tensor(s, name, &t));
    memcpy(name + 200, "LayerNorm.bias", 15);
    assert_false(bert_config_tensor(s, name, &t));
    safetensors_close(s);
}

/* The names as the file has them, in one text, each after a blank. */
static void list_tensors(struct buf *names) {
    static const struct tiny good;
    struct forge f = {0};
    const char *name;
    json_t *value;
    tiny_add_all(&f, &good);
    buf_puts(&f.header, "}");
    json_t *const header = json_loads(f.header.data, 0, NULL);
    json_object_foreach(header, name, value) {
        if (strstr(name, "position_ids") == NULL) {
            buf_puts(names, name);
            buf_putc(names, '\0');
        }
    }
    json_decref(header);
    buf_free(&f.header);
    buf_free(&f.data);
}

static void each_tensor_that_is_missing_or_has_another_shape_is_named(void **state) {
    struct buf names = {0};
    unsigned n = 0;
    list_tensors(&names);
    for (const char *name = names.data; name < names.data + names.len; name += strlen(name) + 1) {
        const struct tiny skip = {.skip = name};
        const struct tiny wide = {.odd = name, .odd_dims = {7, 3}, .odd_dims_n = 2};
        const struct tiny deep = {.odd = name, .odd_dims = {8, 1, 1}, .odd_dims_n = 3};
        char message[160];
        u2i_error_t err;
        (void)snprintf(message, sizeof message, "tensor %s is missing", name);
        assert_refused(check_tiny(*state, &skip, &err), &err, message);
        (void)snprintf(message, sizeof message, "tensor %s has shape [7, 3] instead of [", name);
        assert_refused(check_tiny(*state, &wide, &err), &err, message);
        (void)snprintf(message, sizeof message, "tensor %s has shape [8, 1, 1] instead of", name);
        assert_refused(check_tiny(*state, &deep, &err), &err, message);
        n++;
    }
    assert_int_equal(n, 5 + 16 * TINY_LAYERS);
    buf_free(&names);
}

static void shapes_are_said_both_ways(void **state) {
    static const struct {
        struct tiny how;
        const char *message;
    } faults[] = {
        {{.odd = "encoder.layer.1.output.dense.weight", .odd_dims = {16, 8}, .odd_dims_n = 2},
         "encoder.layer.1.output.dense.weight has shape [16, 8] instead of [8, 16]"},
        {{.odd = "encoder.layer.0.output.dense.bias", .odd_dims_n = 0},
         "encoder.layer.0.output.dense.bias has shape [] instead of [8]"},
        {{.odd = "embeddings.word_embeddings.weight",
          .odd_dtype = "I64",
          .odd_dims = {11, 8},
          .odd_dims_n = 2},
         "embeddings.word_embeddings.weight has type I64; only F32, F16 and BF16 can be read"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        u2i_error_t err;
        assert_refused(check_tiny(*state, &faults[i].how, &err), &err, faults[i].message);
    }
}

static void a_model_with_fewer_layers_than_it_says_is_refused(void **state) {
    static const struct tiny good;
    u2i_error_t err;
    put_config(*state, "num_hidden_layers", "3");
    assert_refused(check_tiny(*state, &good, &err), &err,
                   "tensor encoder.layer.2.attention.self.query.weight is missing");
}

/* ---- Damage --------------------------------------------------------------------------------- */

static void damage_is_refused_or_harmless(void **state) {
    static const char *const files[] = {"config.json", "modules.json", "1_Pooling/config.json",
                                        "sentence_bert_config.json", "tokenizer_config.json"};
    const char *const given = getenv("U2I_SEED");
    const uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 21;
    struct rng rng;
    print_message("U2I_SEED=%" PRIu64 "\n", seed);
    rng_seed(&rng, seed);
    for (int round = 0; round < 2000; round++) {
        const struct folder *const f = *state;
        const char *const name = files[rng_below(&rng, 5)];
        char text[1024], copy[1024];
        struct bert_config c;
        u2i_error_t err = {0};
        FILE *const file = fopen(folder_path(f, name), "rb");
        assert_non_null(file);
        const size_t n = fread(text, 1, sizeof text, file);
        assert_true(n > 0 && n < sizeof text && fclose(file) == 0);
        memcpy(copy, text, n);
        copy[rng_below(&rng, (uint32_t)n)] ^= (char)(1u << rng_below(&rng, 8));
        folder_write(f, name, copy, rng_below(&rng, 4) == 0 ? rng_below(&rng, (uint32_t)n) : n);
        const int rc = bert_config_read(f->path, &c, &err);
        assert_true(rc == U2I_OK || (rc == U2I_EEMBED && err.msg[0] != '\0'));
        if (rc == U2I_OK) {
            assert_true(c.hidden % c.heads == 0 && c.hidden <= U2I_DIM_MAX);
            assert_in_range(c.tokens_max, 3, c.positions);
        }
        folder_write(f, name, text, n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_folder_is_read_as_it_is_meant, make_tiny,
                                        remove_tiny),
        cmocka_unit_test_setup_teardown(without_the_other_files_a_folder_is_plain_bert, make_tiny,
                                        remove_tiny),
        cmocka_unit_test_setup_teardown(other_good_folders_are_read, make_tiny, remove_tiny),
        cmocka_unit_test_setup_teardown(models_that_are_not_bert_are_refused, make_tiny,
                                        remove_tiny),
        cmocka_unit_test_setup_teardown(fields_that_change_nothing_may_be_missing_or_null,
                                        make_tiny, remove_tiny),
        cmocka_unit_test(other_files_with_what_is_not_known_are_refused),
        cmocka_unit_test_setup_teardown(the_longest_text_is_what_sentence_transformers_says,
                                        make_tiny, remove_tiny),
        cmocka_unit_test_setup_teardown(lower_case_before_a_tokenizer_with_capitals_is_refused,
                                        make_tiny, remove_tiny),
        cmocka_unit_test_setup_teardown(missing_and_unreadable_files_are_named, make_tiny,
                                        remove_tiny),
        cmocka_unit_test_setup_teardown(all_ways_to_name_and_store_tensors_are_found, make_tiny,
                                        remove_tiny),
        cmocka_unit_test_setup_teardown(tensors_are_found_by_their_newer_names, make_tiny,
                                        remove_tiny),
        cmocka_unit_test_setup_teardown(each_tensor_that_is_missing_or_has_another_shape_is_named,
                                        make_tiny, remove_tiny),
        cmocka_unit_test_setup_teardown(shapes_are_said_both_ways, make_tiny, remove_tiny),
        cmocka_unit_test_setup_teardown(a_model_with_fewer_layers_than_it_says_is_refused,
                                        make_tiny, remove_tiny),
        cmocka_unit_test_setup_teardown(damage_is_refused_or_harmless, make_tiny, remove_tiny),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
