/* Reads the settings of a BERT model from the JSON files of its folder, as Hugging Face transformers and
 * sentence-transformers write them.
 *
 * The rule: what would change the vectors and is not supported is refused, naming file, field and value;
 * better no model than one whose vectors are quietly wrong. Fields that don't change them (dropout,
 * versions, labels) are not looked at. A field that is null is taken as missing, as Python does.
 *
 * Each file has a function that reads it; a table says which file is needed. Sizes and tensors are
 * tables too: a line is a field of config.json with its limits, or a tensor with its shape. The limits
 * are far over the largest BERT there is (hidden 1,024, 24 layers), and low enough that no product of
 * two of them overflows 64 bits, or 32 bits but for the table of words. */
#include "embed/bert_config.h"

#include "base/error.h"
#include "base/utf8.h"
#include "embed/embed_folder.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define BERT_EPS_DEFAULT  1e-12 /* as in transformers' BertConfig */
#define BERT_EPS_MAX      0.1
#define BERT_TOKENS_MIN   3 /* [CLS], a token, [SEP] */
#define BERT_TYPES_PREFIX "sentence_transformers."
#define BERT_MODE_PREFIX  "pooling_mode_"

enum {
    BERT_LAYERS_MAX = 128,
    BERT_HEADS_MAX = 256,
    BERT_INTERMEDIATE_MAX = 32768,
    BERT_VOCAB_MAX = 1 << 20,
    BERT_POSITIONS_MAX = 1 << 16,
    BERT_TOKENS_MAX = 4096, /* of a text: attention takes memory by its square */
    BERT_TYPES_MAX = 16,
    BERT_VALUE_BYTES = 64 /* of a value in a message */
};

/* A file that is being read. */
struct bert_reading {
    const char *folder, *file;
    json_t *json;
    u2i_error_t *err;
};

/* ---- Fields --------------------------------------------------------------------------------- */

/* The value of a field; NULL if it is missing or null. */
static json_t *bert_field(const struct bert_reading *r, const char *field) {
    json_t *const value = json_object_get(r->json, field);
    return json_is_null(value) ? NULL : value;
}

/* A value as the file has it, but a long text cut, and what else is long only by its kind. */
static void bert_print_value(const json_t *value, char *text, size_t bytes) {
    const size_t flags = JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_COMPACT;
    if (value == NULL) {
        (void)snprintf(text, bytes, "missing"); /* fits */
    } else if (json_is_string(value)) {
        const char *const s = json_string_value(value);
        const size_t n = json_string_length(value);
        const size_t kept = utf8_prefix(s, n, bytes - sizeof "\"...\"");
        (void)snprintf(text, bytes, "\"%.*s%s\"", (int)kept, s, kept < n ? "..." : ""); /* fits */
    } else {
        const size_t n = json_dumpb(value, text, bytes - 1, flags);
        text[n < bytes ? n : 0] = '\0';
        if (n == 0 || n >= bytes) {
            (void)snprintf(text, bytes, json_is_array(value) ? "[...]" : "{...}"); /* fits */
        }
    }
}

/* "folder/file: field is VALUE; WANTED" */
static int bert_refuse_value(const struct bert_reading *r, const char *field, const json_t *value,
                             const char *wanted) {
    char text[BERT_VALUE_BYTES];
    bert_print_value(value, text, sizeof text);
    return error_set(r->err, U2I_EEMBED, "%s/%s: %s is %s; %s", r->folder, r->file, field, text,
                     wanted);
}

static int bert_refuse(const struct bert_reading *r, const char *field, const char *wanted) {
    return bert_refuse_value(r, field, bert_field(r, field), wanted);
}

/* A number of min..max; where the field is missing, *out stays. */
static int bert_read_number(const struct bert_reading *r, const char *field, uint32_t min,
                            uint32_t max, uint32_t *out) {
    const json_t *const value = bert_field(r, field);
    const json_int_t x = json_integer_value(value);
    if (value == NULL) {
        return U2I_OK;
    }
    if (!json_is_integer(value) || x < (json_int_t)min || x > (json_int_t)max) {
        char wanted[64];
        (void)snprintf(wanted, sizeof wanted, "it should be from %u to %u", min, max); /* fits */
        return bert_refuse(r, field, wanted);
    }
    *out = (uint32_t)x;
    return U2I_OK;
}

/* True or false; where the field is missing, *out stays. */
static int bert_read_bool(const struct bert_reading *r, const char *field, bool *out) {
    const json_t *const value = bert_field(r, field);
    if (value == NULL) {
        return U2I_OK;
    }
    if (!json_is_boolean(value)) {
        return bert_refuse(r, field, "it should be true or false");
    }
    *out = json_is_true(value);
    return U2I_OK;
}

/* The field is missing or false (or true, as `only` says). */
static int bert_require_bool(const struct bert_reading *r, const char *field, bool only) {
    bool value = only;
    U2I_TRY(bert_read_bool(r, field, &value));
    return value == only
               ? U2I_OK
               : bert_refuse(r, field, only ? "only true is supported" : "only false is supported");
}

static bool bert_is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* ---- config.json ---------------------------------------------------------------------------- */

static const struct bert_size {
    const char *field;
    uint32_t min, max;
    size_t at; /* in struct bert_config */
} BERT_SIZES[] = {
    {"hidden_size", 1, U2I_DIM_MAX, offsetof(struct bert_config, hidden)},
    {"num_hidden_layers", 1, BERT_LAYERS_MAX, offsetof(struct bert_config, layers)},
    {"num_attention_heads", 1, BERT_HEADS_MAX, offsetof(struct bert_config, heads)},
    {"intermediate_size", 1, BERT_INTERMEDIATE_MAX, offsetof(struct bert_config, intermediate)},
    {"vocab_size", 1, BERT_VOCAB_MAX, offsetof(struct bert_config, vocab)},
    {"max_position_embeddings", BERT_TOKENS_MIN, BERT_POSITIONS_MAX,
     offsetof(struct bert_config, positions)},
    {"type_vocab_size", 1, BERT_TYPES_MAX, offsetof(struct bert_config, types)},
};

static int bert_read_sizes(const struct bert_reading *r, struct bert_config *c) {
    for (size_t i = 0; i < sizeof BERT_SIZES / sizeof BERT_SIZES[0]; i++) {
        const struct bert_size *const size = &BERT_SIZES[i];
        uint32_t value = 0;
        U2I_TRY(bert_read_number(r, size->field, size->min, size->max, &value));
        if (value == 0) {
            return bert_refuse(r, size->field, "the model's size is not known without it");
        }
        memcpy((char *)c + size->at, &value, sizeof value);
    }
    return c->hidden % c->heads == 0
               ? U2I_OK
               : error_set(
                     r->err, U2I_EEMBED,
                     "%s/%s: hidden_size is %u; num_attention_heads is %u and should divide it",
                     r->folder, r->file, c->hidden, c->heads);
}

static int bert_read_eps(const struct bert_reading *r, struct bert_config *c) {
    const json_t *const value = bert_field(r, "layer_norm_eps");
    const double eps = value == NULL ? BERT_EPS_DEFAULT : json_number_value(value);
    c->norm_eps = (float)eps;
    return c->norm_eps > 0 && eps <= BERT_EPS_MAX
               ? U2I_OK
               : bert_refuse(r, "layer_norm_eps", "it should be over 0 and at most 0.1");
}

/* Also of config.json: Japanese models name a tokenizer there that looks words up in a dictionary. */
static int bert_check_tokenizer(const struct bert_reading *r) {
    const json_t *const value = bert_field(r, "tokenizer_class");
    return value == NULL || bert_is_text(value, "BertTokenizer") ||
                   bert_is_text(value, "BertTokenizerFast")
               ? U2I_OK
               : bert_refuse(r, "tokenizer_class", "only BertTokenizer is supported");
}

static int bert_read_model(const struct bert_reading *r, struct bert_config *c) {
    const json_t *const positions = bert_field(r, "position_embedding_type");
    if (!bert_is_text(bert_field(r, "model_type"), "bert")) {
        return bert_refuse(r, "model_type", "only \"bert\" is supported");
    }
    if (!bert_is_text(bert_field(r, "hidden_act"), "gelu")) {
        return bert_refuse(r, "hidden_act", "only \"gelu\" is supported");
    }
    if (positions != NULL && !bert_is_text(positions, "absolute")) {
        return bert_refuse(r, "position_embedding_type", "only \"absolute\" is supported");
    }
    U2I_TRY(bert_require_bool(r, "is_decoder", false));
    U2I_TRY(bert_check_tokenizer(r));
    U2I_TRY(bert_read_eps(r, c));
    U2I_TRY(bert_read_sizes(r, c));
    c->tokens_max = c->positions < BERT_TOKENS_MAX ? c->positions : BERT_TOKENS_MAX;
    return U2I_OK;
}

/* ---- modules.json --------------------------------------------------------------------------- */

/* What a model is made of, in order; the last one may be missing. Paths are where their files are. */
static const struct bert_module {
    const char *name, *path;
} BERT_MODULES[] = {{"Transformer", ""}, {"Pooling", "1_Pooling"}, {"Normalize", NULL}};

enum { BERT_MODULES_N = sizeof BERT_MODULES / sizeof BERT_MODULES[0] };

/* "sentence_transformers.models.Pooling" is "Pooling"; newer versions have longer paths. */
static bool bert_is_module(const json_t *type, const char *name) {
    const char *const text = json_string_value(type); /* NULL if it is none */
    if (text == NULL || strncmp(text, BERT_TYPES_PREFIX, strlen(BERT_TYPES_PREFIX)) != 0) {
        return false;
    }
    return strcmp(strrchr(text, '.') + 1, name) == 0;
}

static int bert_read_module(const struct bert_reading *r, size_t i) {
    struct bert_reading module = *r;
    char wanted[96];
    module.json = json_array_get(r->json, i);
    if (!json_is_object(module.json)) {
        return bert_refuse_value(r, "a module", module.json, "it should be an object, {...}");
    }
    if (i >= BERT_MODULES_N || !bert_is_module(bert_field(&module, "type"), BERT_MODULES[i].name)) {
        (void)snprintf(wanted, sizeof wanted, "module %zu should be %s", i, /* fits */
                       i < BERT_MODULES_N ? BERT_MODULES[i].name : "missing");
        return bert_refuse(&module, "type", wanted);
    }
    const char *const path = BERT_MODULES[i].path;
    if (path != NULL && !bert_is_text(bert_field(&module, "path"), path)) {
        (void)snprintf(wanted, sizeof wanted, "that of %s should be \"%s\"", /* fits */
                       BERT_MODULES[i].name, path);
        return bert_refuse(&module, "path", wanted);
    }
    return U2I_OK;
}

static int bert_read_modules(const struct bert_reading *r, struct bert_config *c) {
    const size_t n = json_array_size(r->json);
    for (size_t i = 0; i < n; i++) {
        U2I_TRY(bert_read_module(r, i));
    }
    if (n < BERT_MODULES_N - 1) {
        return error_set(r->err, U2I_EEMBED, "%s/%s: there is no module %s", r->folder, r->file,
                         BERT_MODULES[n].name);
    }
    c->normalise = n == BERT_MODULES_N;
    return U2I_OK;
}

/* ---- 1_Pooling/config.json ------------------------------------------------------------------ */

/* Newer versions write one text, which overrules the switches. */
static int bert_read_mode(const struct bert_reading *r, const json_t *mode, struct bert_config *c) {
    const bool cls = bert_is_text(mode, "cls");
    c->pooling = cls ? BERT_POOL_CLS : BERT_POOL_MEAN;
    return cls || bert_is_text(mode, "mean")
               ? U2I_OK
               : bert_refuse(r, "pooling_mode", "only \"mean\" and \"cls\" are supported");
}

/* One of the switches; counts it if it is on. */
static int bert_read_switch(const struct bert_reading *r, const char *field, unsigned *modes,
                            struct bert_config *c) {
    bool on = false;
    U2I_TRY(bert_read_bool(r, field, &on));
    if (!on) {
        return U2I_OK;
    }
    const bool cls = strcmp(field, "pooling_mode_cls_token") == 0;
    c->pooling = cls ? BERT_POOL_CLS : BERT_POOL_MEAN;
    ++*modes;
    return cls || strcmp(field, "pooling_mode_mean_tokens") == 0
               ? U2I_OK
               : bert_refuse(r, field, "only cls_token and mean_tokens are supported");
}

static int bert_read_pooling(const struct bert_reading *r, struct bert_config *c) {
    const json_t *const mode = bert_field(r, "pooling_mode");
    const char *field;
    json_t *value;
    unsigned modes = 0;
    uint32_t dim = c->hidden; /* only to be compared */
    U2I_TRY(bert_read_number(r, "word_embedding_dimension", dim, dim, &dim));
    U2I_TRY(bert_read_number(r, "embedding_dimension", dim, dim, &dim)); /* newer versions */
    if (mode != NULL) {
        return bert_read_mode(r, mode, c);
    }
    json_object_foreach(r->json, field, value) {
        if (strncmp(field, BERT_MODE_PREFIX, strlen(BERT_MODE_PREFIX)) == 0) {
            U2I_TRY(bert_read_switch(r, field, &modes, c));
        }
    }
    return modes == 1
               ? U2I_OK
               : error_set(r->err, U2I_EEMBED, "%s/%s: %u pooling modes are true; it should be one",
                           r->folder, r->file, modes);
}

/* ---- tokenizer_config.json, sentence_bert_config.json --------------------------------------- */

/* The longest text, as sentence-transformers decides: max_seq_length, else model_max_length, which may be
 * 10^30 to say nothing; never more than there are positions. */
static int bert_read_model_max(const struct bert_reading *r, struct bert_config *c) {
    const json_t *const value = bert_field(r, "model_max_length");
    const double tokens = json_number_value(value);
    if (value != NULL && !(tokens >= BERT_TOKENS_MIN)) {
        return bert_refuse(r, "model_max_length", "it should be a number, at least 3");
    }
    c->tokens_max = value != NULL && tokens < c->tokens_max ? (uint32_t)tokens : c->tokens_max;
    return U2I_OK;
}

static int bert_read_tokenizer(const struct bert_reading *r, struct bert_config *c) {
    U2I_TRY(bert_read_bool(r, "do_lower_case", &c->lower_case));
    U2I_TRY(bert_require_bool(r, "strip_accents", c->lower_case));
    U2I_TRY(bert_require_bool(r, "tokenize_chinese_chars", true));
    U2I_TRY(bert_require_bool(r, "do_basic_tokenize", true));
    U2I_TRY(bert_read_model_max(r, c));
    return bert_check_tokenizer(r);
}

/* do_lower_case, as bge has it, makes text lower case before the tokenizer sees it: the same where that one does so anyway
 * (but for a capital sigma at the end of a word); without it, accents would stay. */
static int bert_read_sentence(const struct bert_reading *r, struct bert_config *c) {
    uint32_t tokens = c->tokens_max;
    U2I_TRY(bert_read_number(r, "max_seq_length", BERT_TOKENS_MIN, INT32_MAX, &tokens));
    tokens = tokens < c->positions ? tokens : c->positions;
    c->tokens_max = tokens < BERT_TOKENS_MAX ? tokens : BERT_TOKENS_MAX;
    bool lower_case = false;
    return c->lower_case ? bert_read_bool(r, "do_lower_case", &lower_case)
                         : bert_require_bool(r, "do_lower_case", false);
}

/* ---- The folder ----------------------------------------------------------------------------- */

static const struct bert_file {
    const char *name;
    int (*open)(const char *folder, const char *name, json_t **out, u2i_error_t *err);
    int (*read)(const struct bert_reading *r, struct bert_config *c);
} BERT_FILES[] = {
    {"config.json", embed_folder_object, bert_read_model}, /* needed, and needed by the others */
    {"modules.json", embed_folder_array, bert_read_modules},
    {"1_Pooling/config.json", embed_folder_object, bert_read_pooling},
    {"tokenizer_config.json", embed_folder_object_reals, bert_read_tokenizer},
    {"sentence_bert_config.json", embed_folder_object, bert_read_sentence}, /* after the last one */
};

static int bert_read_file(const char *folder, size_t i, struct bert_config *c, u2i_error_t *err) {
    const struct bert_file *const file = &BERT_FILES[i];
    struct bert_reading r = {.folder = folder, .file = file->name, .err = err};
    int rc = file->open(folder, file->name, &r.json, err);
    if (rc == U2I_ENOTFOUND && i > 0) {
        error_clear(err);
        return U2I_OK;
    }
    U2I_TRY(rc);
    rc = file->read(&r, c);
    json_decref(r.json);
    return rc;
}

int bert_config_read(const char *folder, struct bert_config *out, u2i_error_t *err) {
    struct bert_config c = {.pooling = BERT_POOL_MEAN, .lower_case = true};
    U2I_TRY(embed_folder_check(folder, err));
    for (size_t i = 0; i < sizeof BERT_FILES / sizeof BERT_FILES[0]; i++) {
        U2I_TRY(bert_read_file(folder, i, &c, err));
    }
    *out = c;
    return U2I_OK;
}

/* ---- Tensors -------------------------------------------------------------------------------- */

/* What a dimension of a tensor is. */
enum bert_dim { BERT_NONE, BERT_HIDDEN, BERT_INTERMEDIATE, BERT_VOCAB, BERT_POSITIONS, BERT_TYPES };

struct bert_part {
    const char *name;
    enum bert_dim rows, columns; /* a vector has only rows */
};

static const struct bert_part BERT_EMBEDDINGS[] = {
    {"embeddings.word_embeddings.weight", BERT_VOCAB, BERT_HIDDEN},
    {"embeddings.position_embeddings.weight", BERT_POSITIONS, BERT_HIDDEN},
    {"embeddings.token_type_embeddings.weight", BERT_TYPES, BERT_HIDDEN},
    {"embeddings.LayerNorm.weight", BERT_HIDDEN, BERT_NONE},
    {"embeddings.LayerNorm.bias", BERT_HIDDEN, BERT_NONE},
};

static const struct bert_part BERT_LAYER[] = {
    {"attention.self.query.weight", BERT_HIDDEN, BERT_HIDDEN},
    {"attention.self.query.bias", BERT_HIDDEN, BERT_NONE},
    {"attention.self.key.weight", BERT_HIDDEN, BERT_HIDDEN},
    {"attention.self.key.bias", BERT_HIDDEN, BERT_NONE},
    {"attention.self.value.weight", BERT_HIDDEN, BERT_HIDDEN},
    {"attention.self.value.bias", BERT_HIDDEN, BERT_NONE},
    {"attention.output.dense.weight", BERT_HIDDEN, BERT_HIDDEN},
    {"attention.output.dense.bias", BERT_HIDDEN, BERT_NONE},
    {"attention.output.LayerNorm.weight", BERT_HIDDEN, BERT_NONE},
    {"attention.output.LayerNorm.bias", BERT_HIDDEN, BERT_NONE},
    {"intermediate.dense.weight", BERT_INTERMEDIATE, BERT_HIDDEN},
    {"intermediate.dense.bias", BERT_INTERMEDIATE, BERT_NONE},
    {"output.dense.weight", BERT_HIDDEN, BERT_INTERMEDIATE},
    {"output.dense.bias", BERT_HIDDEN, BERT_NONE},
    {"output.LayerNorm.weight", BERT_HIDDEN, BERT_NONE},
    {"output.LayerNorm.bias", BERT_HIDDEN, BERT_NONE},
};

static uint64_t bert_dim(const struct bert_config *c, enum bert_dim dim) {
    switch (dim) {
    case BERT_HIDDEN:
        return c->hidden;
    case BERT_INTERMEDIATE:
        return c->intermediate;
    case BERT_VOCAB:
        return c->vocab;
    case BERT_POSITIONS:
        return c->positions;
    case BERT_TYPES:
        return c->types;
    default:
        return 1;
    }
}

/* With the prefix of models for tasks ("bert.pooler" beside "cls.predictions"), or without. */
static bool bert_find_prefixed(const struct safetensors *s, const char *name,
                               struct safetensors_tensor *out) {
    char full[BERT_TENSOR_NAME_MAX];
    if (safetensors_find(s, name, out)) {
        return true;
    }
    const int n = snprintf(full, sizeof full, "bert.%s", name);
    return n > 0 && (size_t)n < sizeof full && safetensors_find(s, full, out);
}

bool bert_config_tensor(const struct safetensors *s, const char *name,
                        struct safetensors_tensor *out) {
    static const char *const renamed[][2] = {{"LayerNorm.weight", "LayerNorm.gamma"},
                                             {"LayerNorm.bias", "LayerNorm.beta"}};
    char older[BERT_TENSOR_NAME_MAX];
    if (bert_find_prefixed(s, name, out)) {
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        const char *const at = strstr(name, renamed[i][0]);
        if (at != NULL && strlen(name) < sizeof older) {
            (void)snprintf(older, sizeof older, "%.*s%s", (int)(at - name), name, /* fits */
                           renamed[i][1]);
            return bert_find_prefixed(s, older, out);
        }
    }
    return false;
}

/* "[2, 3]" */
static void bert_print_shape(const uint64_t *dims, uint32_t n, char *text, size_t bytes) {
    size_t at = (size_t)snprintf(text, bytes, "[");
    for (uint32_t i = 0; i < n && at < bytes; i++) {
        at += (size_t)snprintf(text + at, bytes - at, "%s%llu", i > 0 ? ", " : "",
                               (unsigned long long)dims[i]);
    }
    if (at < bytes) {
        (void)snprintf(text + at, bytes - at, "]");
    }
}

static int bert_check_part(const struct bert_config *c, const struct safetensors *s,
                           const char *prefix, const struct bert_part *part, u2i_error_t *err) {
    const uint64_t dims[2] = {bert_dim(c, part->rows), bert_dim(c, part->columns)};
    const uint32_t dims_n = part->columns == BERT_NONE ? 1 : 2;
    char name[BERT_TENSOR_NAME_MAX], has[96], wanted[64];
    struct safetensors_tensor t;
    (void)snprintf(name, sizeof name, "%s%s", prefix, part->name); /* fits */
    if (!bert_config_tensor(s, name, &t)) {
        return error_set(err, U2I_EEMBED, "%s: tensor %s is missing", safetensors_path(s), name);
    }
    U2I_TRY(safetensors_readable(&t, err));
    if (t.dims_n == dims_n && memcmp(t.dims, dims, dims_n * sizeof *dims) == 0) {
        return U2I_OK;
    }
    bert_print_shape(t.dims, t.dims_n, has, sizeof has);
    bert_print_shape(dims, dims_n, wanted, sizeof wanted);
    return error_set(err, U2I_EEMBED, "%s: tensor %s has shape %s instead of %s", t.path, t.name,
                     has, wanted);
}

static int bert_check_layer(const struct bert_config *c, const struct safetensors *s,
                            uint32_t layer, u2i_error_t *err) {
    char prefix[32];
    (void)snprintf(prefix, sizeof prefix, BERT_TENSOR_LAYER, layer); /* fits */
    for (size_t i = 0; i < sizeof BERT_LAYER / sizeof BERT_LAYER[0]; i++) {
        U2I_TRY(bert_check_part(c, s, prefix, &BERT_LAYER[i], err));
    }
    return U2I_OK;
}

int bert_config_check(const struct bert_config *c, const struct safetensors *s, u2i_error_t *err) {
    for (size_t i = 0; i < sizeof BERT_EMBEDDINGS / sizeof BERT_EMBEDDINGS[0]; i++) {
        U2I_TRY(bert_check_part(c, s, "", &BERT_EMBEDDINGS[i], err));
    }
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        U2I_TRY(bert_check_layer(c, s, layer, err));
    }
    return U2I_OK;
}
