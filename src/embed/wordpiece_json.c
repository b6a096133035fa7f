/* tokenizer.json: the same vocabulary with all that is done to a text written down beside it.
 *
 * The file can describe many tokenizers, this is one of them. So each field that decides about ids is
 * looked at, and another value than BERT's is refused by name: a model whose ids we would get wrong
 * must not open. Truncation, padding and decoder do not decide: callers say how long texts may be, and
 * nothing is decoded. jansson parses, json/json.h limits it.
 *
 * Added tokens are special tokens that the reference finds in a text before anything else; those five
 * that BERT has are known here, others are refused. */
#include "embed/wordpiece_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>

#define WORDPIECE_SHOWN_BYTES 60 /* of a value in a message */

struct wordpiece_json {
    const json_t *root;
    u2i_error_t *err;
    struct wordpiece_options opt;
};

/* A value that must be what it is not; `where` is its path. */
static int wordpiece_json_refuse(const struct wordpiece_json *j, const char *where,
                                 const json_t *value, const char *want) {
    char shown[WORDPIECE_SHOWN_BYTES];
    if (value == NULL) {
        return error_set(j->err, U2I_EEMBED, "tokenizer: %s is not there, it should be %s", where,
                         want);
    }
    const size_t all = json_dumpb(value, shown, sizeof shown, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *const more = all > sizeof shown ? "..." : "";
    const size_t n = all > sizeof shown ? 0 : all; /* jansson may have cut a character */
    return error_set(j->err, U2I_EEMBED, "tokenizer: %s is %.*s%s, it should be %s", where, (int)n,
                     shown, more, want);
}

/* The value at a path such as "model.type" of `from`, NULL if there is none. */
static const json_t *wordpiece_json_at(const json_t *from, const char *path) {
    for (const char *p = path;;) {
        char name[64];
        const size_t n = strcspn(p, ".");
        memcpy(name, p, n);
        name[n] = '\0';
        from = json_object_get(from, name);
        if (p[n] == '\0') {
            return from;
        }
        p += n + 1;
    }
}

static int wordpiece_json_want_string(const struct wordpiece_json *j, const char *path,
                                      const char *want) {
    const json_t *const value = wordpiece_json_at(j->root, path);
    const char *const s = json_string_value(value);
    return s != NULL && strcmp(s, want) == 0 ? U2I_OK : wordpiece_json_refuse(j, path, value, want);
}

static int wordpiece_json_want_true(const struct wordpiece_json *j, const char *path) {
    const json_t *const value = wordpiece_json_at(j->root, path);
    return json_is_true(value) ? U2I_OK : wordpiece_json_refuse(j, path, value, "true");
}

/* ---- What is done to a text ----------------------------------------------------------------- */

static int wordpiece_json_normalizer(struct wordpiece_json *j) {
    U2I_TRY(wordpiece_json_want_string(j, "normalizer.type", "BertNormalizer"));
    U2I_TRY(wordpiece_json_want_true(j, "normalizer.clean_text"));
    U2I_TRY(wordpiece_json_want_true(j, "normalizer.handle_chinese_chars"));
    const json_t *const lower = wordpiece_json_at(j->root, "normalizer.lowercase");
    if (!json_is_boolean(lower)) {
        return wordpiece_json_refuse(j, "normalizer.lowercase", lower, "true or false");
    }
    j->opt.lower_case = json_is_true(lower);
    const json_t *const strip = wordpiece_json_at(j->root, "normalizer.strip_accents");
    if (strip != NULL && !json_is_null(strip) && json_is_true(strip) != j->opt.lower_case) {
        return wordpiece_json_refuse(j, "normalizer.strip_accents", strip,
                                     j->opt.lower_case ? "true or null" : "false or null");
    }
    return U2I_OK;
}

static int wordpiece_json_model(const struct wordpiece_json *j) {
    static const char *const path = "model.max_input_chars_per_word";
    U2I_TRY(wordpiece_json_want_string(j, "pre_tokenizer.type", "BertPreTokenizer"));
    U2I_TRY(wordpiece_json_want_string(j, "model.type", "WordPiece"));
    U2I_TRY(wordpiece_json_want_string(j, "model.unk_token", "[UNK]"));
    U2I_TRY(wordpiece_json_want_string(j, "model.continuing_subword_prefix", "##"));
    const json_t *const chars = wordpiece_json_at(j->root, path);
    return json_is_integer(chars) && json_integer_value(chars) == WORDPIECE_CHARS_MAX
               ? U2I_OK
               : wordpiece_json_refuse(j, path, chars, "100");
}

/* ---- What stands around the ids -------------------------------------------------------------- */

/* ["[SEP]", 102] */
static int wordpiece_json_pair(const struct wordpiece_json *j, const struct wordpiece *w,
                               const char *path, const char *name) {
    const json_t *const pair = wordpiece_json_at(j->root, path);
    const json_t *const id = json_array_get(pair, 1);
    const char *const s = json_string_value(json_array_get(pair, 0));
    return s != NULL && strcmp(s, name) == 0 && json_is_integer(id) &&
                   json_integer_value(id) == (json_int_t)wordpiece_special(w, name)
               ? U2I_OK
               : wordpiece_json_refuse(j, path, pair, name);
}

/* One piece of a template: {"SpecialToken": {"id": "[CLS]", ...}}, {"Sequence": {"id": "A", ...}}. */
static bool wordpiece_json_is_piece(const json_t *piece, const char *kind, const char *id) {
    const char *const s = json_string_value(json_object_get(json_object_get(piece, kind), "id"));
    return s != NULL && strcmp(s, id) == 0;
}

/* {"id": "[CLS]", "ids": [101], "tokens": [...]}, under the name of the token. */
static int wordpiece_json_template_id(const struct wordpiece_json *j, const struct wordpiece *w,
                                      const char *name) {
    const json_t *const all = wordpiece_json_at(j->root, "post_processor.special_tokens");
    const json_t *const ids = json_object_get(json_object_get(all, name), "ids");
    const json_t *const id = json_array_get(ids, 0);
    return json_array_size(ids) == 1 && json_is_integer(id) &&
                   json_integer_value(id) == (json_int_t)wordpiece_special(w, name)
               ? U2I_OK
               : wordpiece_json_refuse(j, "post_processor.special_tokens", ids,
                                       "the ids of [CLS] and [SEP] in the vocabulary");
}

static int wordpiece_json_template(const struct wordpiece_json *j, const struct wordpiece *w) {
    static const char *const path = "post_processor.single";
    const json_t *const list = wordpiece_json_at(j->root, path);
    if (json_array_size(list) != 3 ||
        !wordpiece_json_is_piece(json_array_get(list, 0), "SpecialToken", "[CLS]") ||
        !wordpiece_json_is_piece(json_array_get(list, 1), "Sequence", "A") ||
        !wordpiece_json_is_piece(json_array_get(list, 2), "SpecialToken", "[SEP]")) {
        return wordpiece_json_refuse(j, path, list, "[CLS] A [SEP]");
    }
    U2I_TRY(wordpiece_json_template_id(j, w, "[CLS]"));
    return wordpiece_json_template_id(j, w, "[SEP]");
}

static int wordpiece_json_around(const struct wordpiece_json *j, const struct wordpiece *w) {
    static const char *const path = "post_processor.type";
    const json_t *const type = wordpiece_json_at(j->root, path);
    const char *const s = json_string_value(type);
    if (s != NULL && strcmp(s, "TemplateProcessing") == 0) {
        return wordpiece_json_template(j, w);
    }
    if (s != NULL && strcmp(s, "BertProcessing") == 0) {
        U2I_TRY(wordpiece_json_pair(j, w, "post_processor.cls", "[CLS]"));
        return wordpiece_json_pair(j, w, "post_processor.sep", "[SEP]");
    }
    return wordpiece_json_refuse(j, path, type, "TemplateProcessing or BertProcessing");
}

/* ---- Added tokens --------------------------------------------------------------------------- */

static int wordpiece_json_added_token(const struct wordpiece_json *j, const struct wordpiece *w,
                                      const json_t *token, uint32_t *bits) {
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
    const char *const s = json_string_value(json_object_get(token, "content"));
    const json_t *const id = json_object_get(token, "id");
    const uint32_t bit = s != NULL ? wordpiece_special_bit(s) : 0;
    if (bit == 0) {
        return wordpiece_json_refuse(j, "added_tokens.content", json_object_get(token, "content"),
                                     "[PAD], [UNK], [CLS], [SEP] or [MASK]");
    }
    if (!json_is_integer(id) || json_integer_value(id) != (json_int_t)wordpiece_special(w, s)) {
        return wordpiece_json_refuse(j, "added_tokens.id", id, "the id in the vocabulary");
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const json_t *const flag = json_object_get(token, flags[i]);
        if (!json_is_false(flag)) {
            char path[64];
            (void)snprintf(path, sizeof path, "added_tokens.%s", flags[i]); /* fits */
            return wordpiece_json_refuse(j, path, flag, "false");
        }
    }
    *bits |= bit;
    return U2I_OK;
}

static int wordpiece_json_added(const struct wordpiece_json *j, struct wordpiece *w) {
    const json_t *const list = wordpiece_json_at(j->root, "added_tokens");
    uint32_t bits = 0;
    if (list != NULL && !json_is_array(list)) {
        return wordpiece_json_refuse(j, "added_tokens", list, "a list");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        U2I_TRY(wordpiece_json_added_token(j, w, json_array_get(list, i), &bits));
    }
    wordpiece_keep_special(w, bits);
    return U2I_OK;
}

/* ---- The vocabulary -------------------------------------------------------------------------- */

/* Puts each token at its id: 0 .. n - 1, each once. Keys live as long as the parsed object. */
static int wordpiece_json_place(const struct wordpiece_json *j, json_t *vocab,
                                struct wordpiece_token *tokens) {
    const size_t n = json_object_size(vocab);
    const char *name;
    json_t *value;
    json_object_foreach(vocab, name, value) {
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || (uint64_t)id >= n) {
            return wordpiece_json_refuse(j, "an id in model.vocab", value,
                                         "less than the number of tokens");
        }
        if (tokens[id].s != NULL) {
            return wordpiece_json_refuse(j, "an id in model.vocab", value,
                                         "that of one token only");
        }
        tokens[id] = (struct wordpiece_token){name, strlen(name)};
    }
    return U2I_OK;
}

static int wordpiece_json_vocab(const struct wordpiece_json *j, struct wordpiece **out) {
    json_t *const vocab = json_object_get(json_object_get(j->root, "model"), "vocab");
    const size_t n = json_object_size(vocab);
    if (!json_is_object(vocab)) {
        return wordpiece_json_refuse(j, "model.vocab", vocab, "an object");
    }
    if (n > WORDPIECE_TOKENS_MAX) {
        return error_set(j->err, U2I_EEMBED,
                         "tokenizer: model.vocab has %zu tokens, %u are allowed", n,
                         WORDPIECE_TOKENS_MAX);
    }
    struct wordpiece_token *const tokens = mem_zalloc((n + 1) * sizeof *tokens);
    if (tokens == NULL) {
        return error_oom(j->err);
    }
    const struct wordpiece_list list = {.tokens = tokens, .n = (uint32_t)n, .place = "id"};
    int rc = wordpiece_json_place(j, vocab, tokens);
    if (rc == U2I_OK) {
        rc = wordpiece_build(&list, &j->opt, out, j->err);
    }
    mem_free(tokens);
    return rc;
}

/* ---- All of it ------------------------------------------------------------------------------ */

static int wordpiece_json_read(struct wordpiece_json *j, struct wordpiece **out) {
    U2I_TRY(wordpiece_json_normalizer(j));
    U2I_TRY(wordpiece_json_model(j));
    U2I_TRY(wordpiece_json_vocab(j, out));
    U2I_TRY(wordpiece_json_around(j, *out));
    return wordpiece_json_added(j, *out);
}

int wordpiece_from_json(const void *json, size_t n, struct wordpiece **out, u2i_error_t *err) {
    json_t *root;
    u2i_error_t fault;
    *out = NULL;
    int rc = json_parse_object(json, n, WORDPIECE_JSON_MAX_DEPTH, "tokenizer", &root, &fault);
    if (rc != U2I_OK) {
        return rc == U2I_ENOMEM ? error_oom(err) : error_set(err, U2I_EEMBED, "%s", fault.msg);
    }
    struct wordpiece_json j = {.root = root, .err = err, .opt = {.special_in_text = true}};
    rc = wordpiece_json_read(&j, out);
    if (rc != U2I_OK) {
        wordpiece_free(*out);
        *out = NULL;
    }
    json_decref(root);
    return rc;
}
