/* Nothing of an answer is believed: counts, indexes, sizes and values are checked before a vector is used. */
#include "embed/embed_reply.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"
#include "json/json.h"

#define EMBED_REPLY_DEPTH 8u

/* ---- Vectors ---------------------------------------------------------------------------------- */

/* One character of base64 (RFC 4648, 4); 64 = none of them. */
static uint32_t embed_reply_digit(char c) {
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)(c - 'a') + 26;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)(c - '0') + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Bytes that n characters of base64 without padding stand for; SIZE_MAX = no such number of them. */
static size_t embed_reply_bytes(size_t n) {
    return n % 4 == 1 ? SIZE_MAX : n / 4 * 3 + (n % 4 > 0 ? n % 4 - 1 : 0);
}

static bool embed_reply_decode(const char *s, size_t n, unsigned char *out) {
    uint32_t bits = 0, bits_n = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t digit = embed_reply_digit(s[i]);
        if (digit > 63) {
            return false;
        }
        bits = (bits << 6 | digit) & 0xFFFFFF;
        bits_n += 6;
        if (bits_n >= 8) {
            bits_n -= 8;
            *out++ = (unsigned char)(bits >> bits_n);
        }
    }
    return true;
}

static int embed_reply_dim(size_t got, uint32_t *dim, u2i_error_t *err) {
    if (*dim != 0 && got != *dim) {
        return error_set(err, U2I_EREMOTE, "a vector of %zu dimensions instead of %u", got, *dim);
    }
    if (got == 0 || got > U2I_DIM_MAX) {
        return error_set(err, U2I_EREMOTE, "a vector of %zu dimensions, where a store has 1 to %d",
                         got, U2I_DIM_MAX);
    }
    *dim = (uint32_t)got;
    return U2I_OK;
}

static int embed_reply_base64(const json_t *v, uint32_t *dim, float *out, u2i_error_t *err) {
    const char *const s = json_string_value(v);
    size_t n = json_string_length(v);
    unsigned char bytes[U2I_DIM_MAX * sizeof(float)];
    while (n > 0 && s[n - 1] == '=' && json_string_length(v) - n < 2) {
        n--;
    }
    const size_t bytes_n = embed_reply_bytes(n);
    if (bytes_n == SIZE_MAX || bytes_n % sizeof(float) != 0) {
        return error_set(err, U2I_EREMOTE, "base64 of %zu characters, which are no floats", n);
    }
    U2I_TRY(embed_reply_dim(bytes_n / sizeof(float), dim, err));
    if (!embed_reply_decode(s, n, bytes)) {
        return error_set(err, U2I_EREMOTE, "a vector that is no base64");
    }
    for (uint32_t d = 0; d < *dim; d++) {
        const unsigned char *const b = bytes + d * sizeof(float);
        const uint32_t word =
            b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(out + d, &word, sizeof word);
    }
    return U2I_OK;
}

static int embed_reply_floats(const json_t *v, uint32_t *dim, float *out, u2i_error_t *err) {
    U2I_TRY(embed_reply_dim(json_array_size(v), dim, err));
    for (uint32_t d = 0; d < *dim; d++) {
        const json_t *const x = json_array_get(v, d);
        if (!json_is_number(x)) {
            return error_set(err, U2I_EREMOTE, "a vector with something in it that is no number");
        }
        out[d] = (float)json_number_value(x);
    }
    return U2I_OK;
}

/* Into out[U2I_DIM_MAX], of unit length. */
static int embed_reply_vector(const json_t *v, uint32_t *dim, float *out, u2i_error_t *err) {
    if (json_is_string(v)) {
        U2I_TRY(embed_reply_base64(v, dim, out, err));
    } else if (json_is_array(v)) {
        U2I_TRY(embed_reply_floats(v, dim, out, err));
    } else {
        return error_set(err, U2I_EREMOTE, "no \"embedding\" that is an array or base64");
    }
    if (!vec_finite(out, *dim)) {
        return error_set(err, U2I_EREMOTE, "a vector with a value that is not finite");
    }
    (void)vec_normalise(out, *dim); /* of finite values only zeros have no length: they stay */
    return U2I_OK;
}

/* ---- Answers ---------------------------------------------------------------------------------- */

static int embed_reply_index(const json_t *item, size_t position, size_t texts, bool *seen,
                             size_t *index, u2i_error_t *err) {
    const json_t *const v = json_object_get(item, "index");
    const json_int_t i = v == NULL ? (json_int_t)position : json_integer_value(v);
    if ((v != NULL && !json_is_integer(v)) || i < 0 || (uint64_t)i >= texts) {
        return error_set(err, U2I_EREMOTE, "an \"index\" that is not within 0..%zu", texts - 1);
    }
    *index = (size_t)i;
    if (seen[*index]) {
        return error_set(err, U2I_EREMOTE, "two vectors for text %zu", *index);
    }
    seen[*index] = true;
    return U2I_OK;
}

static int embed_reply_list(const json_t *list, size_t texts, uint32_t *dim, float *out,
                            u2i_error_t *err) {
    float vector[U2I_DIM_MAX];
    bool *const seen = mem_zalloc(texts * sizeof *seen);
    int rc = seen == NULL ? error_oom(err) : U2I_OK;
    for (size_t i = 0; i < texts && rc == U2I_OK; i++) {
        const json_t *const item = json_array_get(list, i);
        size_t index = 0;
        rc = embed_reply_index(item, i, texts, seen, &index, err);
        if (rc == U2I_OK) {
            rc = embed_reply_vector(json_object_get(item, "embedding"), dim, vector, err);
        }
        if (rc == U2I_OK && out != NULL) {
            memcpy(out + index * *dim, vector, *dim * sizeof *out);
        }
    }
    mem_free(seen);
    return rc;
}

int embed_reply_read(const char *reply, size_t n, size_t texts, uint32_t *dim, float *out,
                     u2i_error_t *err) {
    json_t *root = NULL;
    u2i_error_t why = {0};
    int rc = json_parse_object(reply, n, EMBED_REPLY_DEPTH, "answer", &root, &why);
    if (rc != U2I_OK) {
        return rc == U2I_ENOMEM ? error_oom(err) : error_set(err, U2I_EREMOTE, "%s", why.msg);
    }
    const json_t *const list = json_object_get(root, "data");
    if (!json_is_array(list)) {
        rc = error_set(err, U2I_EREMOTE, "no array \"data\" in it");
    } else if (json_array_size(list) != texts) {
        rc = error_set(err, U2I_EREMOTE, "%zu vectors for %zu texts", json_array_size(list), texts);
    } else {
        rc = embed_reply_list(list, texts, dim, out, err);
    }
    json_decref(root);
    return rc;
}

char *embed_reply_complaint(const char *reply, size_t n) {
    static const char *const names[] = {"error", "message", "detail", "error_message"};
    json_t *root = NULL;
    const char *said = NULL;
    if (json_parse_object(reply, n, EMBED_REPLY_DEPTH, "answer", &root, NULL) != U2I_OK) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names && said == NULL; i++) {
        const json_t *const v = json_object_get(root, names[i]);
        said = json_string_value(json_is_object(v) ? json_object_get(v, "message") : v);
    }
    char *const copy = said != NULL ? str_dup(said, strlen(said)) : NULL;
    json_decref(root);
    return copy;
}
