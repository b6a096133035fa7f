/* The JSON files of a folder with a BERT model, one of them fuzzed.
 *
 * The first byte of an input says which; the rest is its text. The others are those of a good tiny BERT
 * (model_folder.h); for the index there is no whole file of tensors, but two shards.
 *
 * Promises checked: bert_config_read() and safetensors_open_folder() end with U2I_OK, or with U2I_EEMBED
 * and a message (U2I_ENOTFOUND and U2I_EIO where an index names what is no file); sizes are within their
 * limits; and a good model is found complete if its sizes are those of the tiny one. */
#include "../tests/model_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const FUZZ_FILES[] = {"config.json",           "modules.json",
                                         "1_Pooling/config.json", "sentence_bert_config.json",
                                         "tokenizer_config.json", "index"};

enum { FUZZ_FILES_N = sizeof FUZZ_FILES / sizeof FUZZ_FILES[0] };

/* Made at the first input, removed at the end. */
static struct folder fuzz_folder_good, fuzz_folder_shards;

static void fuzz_folder_remove(void) {
    folder_remove(&fuzz_folder_good);
    folder_remove(&fuzz_folder_shards);
}

static void fuzz_folder_make(void) {
    if (fuzz_folder_good.path[0] != '\0') {
        return;
    }
    fuzz_folder_good = tiny_make();
    fuzz_folder_shards = folder_make();
    struct forge one = {0}, two = {0};
    forge_add(&one, "a", "F32", NULL, 0);
    forge_save(&one, &fuzz_folder_shards, "1");
    forge_add(&two, "b", "F16", NULL, 0);
    forge_save(&two, &fuzz_folder_shards, "2");
    folder_require(atexit(fuzz_folder_remove) == 0, "atexit");
}

static void fuzz_folder_index(const uint8_t *text, size_t n) {
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err = {0};
    folder_write(&fuzz_folder_shards, "model.safetensors.index.json", text, n);
    const int rc = safetensors_open_folder(fuzz_folder_shards.path, &s, &err);
    folder_require(rc == U2I_OK || rc == U2I_EEMBED || rc == U2I_ENOTFOUND || rc == U2I_EIO, "rc");
    folder_require((rc == U2I_OK) == (s != NULL) && (rc == U2I_OK) == (err.msg[0] == '\0'),
                   "a model, or a message");
    folder_require(rc != U2I_OK || safetensors_find(s, "a", &t) || safetensors_find(s, "b", &t),
                   "a shard's tensor");
    safetensors_close(s);
}

static void fuzz_folder_sizes(const struct bert_config *c) {
    folder_require(c->heads > 0 && c->hidden > 0 && c->hidden <= U2I_DIM_MAX, "hidden");
    folder_require(c->hidden % c->heads == 0 && c->layers > 0 && c->intermediate > 0, "sizes");
    folder_require(c->vocab > 0 && c->types > 0 && c->norm_eps > 0, "tables");
    folder_require(c->tokens_max >= 3 && c->tokens_max <= c->positions, "tokens");
}

static bool fuzz_folder_is_tiny(const struct bert_config *c) {
    return c->hidden == TINY_HIDDEN && c->layers <= TINY_LAYERS &&
           c->intermediate == TINY_INTERMEDIATE && c->vocab == TINY_VOCAB &&
           c->positions == TINY_POSITIONS && c->types == TINY_TYPES;
}

static void fuzz_folder_check(const struct bert_config *c) {
    struct safetensors *s = NULL;
    u2i_error_t err = {0};
    folder_require(safetensors_open_folder(fuzz_folder_good.path, &s, &err) == U2I_OK, err.msg);
    const int rc = bert_config_check(c, s, &err);
    folder_require(rc == (fuzz_folder_is_tiny(c) ? U2I_OK : U2I_EEMBED), "tensors are checked");
    safetensors_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct bert_config c;
    u2i_error_t err = {0};
    char good[1024];
    if (n < 1 || data[0] >= FUZZ_FILES_N) {
        return 0;
    }
    fuzz_folder_make();
    if (data[0] == FUZZ_FILES_N - 1) {
        fuzz_folder_index(data + 1, n - 1);
        return 0;
    }
    const char *const name = FUZZ_FILES[data[0]];
    FILE *const file = fopen(folder_path(&fuzz_folder_good, name), "rb");
    folder_require(file != NULL, name);
    const size_t good_n = fread(good, 1, sizeof good, file);
    folder_require(fclose(file) == 0 && good_n > 0 && good_n < sizeof good, name);
    folder_write(&fuzz_folder_good, name, data + 1, n - 1);
    const int rc = bert_config_read(fuzz_folder_good.path, &c, &err);
    folder_require(rc == U2I_OK ? err.msg[0] == '\0' : rc == U2I_EEMBED && err.msg[0] != '\0',
                   "settings, or a message");
    if (rc == U2I_OK) {
        fuzz_folder_sizes(&c);
        fuzz_folder_check(&c);
    }
    folder_write(&fuzz_folder_good, name, good, good_n);
    return 0;
}
