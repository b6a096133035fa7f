/* JSON attributes -> struct attrs. Every item passes here when a store is opened, a million of them
 * in a second, so this is a parser of its own and not jansson's: it writes straight into the one
 * block that the item keeps instead of building a tree of allocations and walking it. It accepts
 * exactly what json_parse_object() accepts, as a fuzz target checks: RFC 8259, no duplicate keys,
 * no NUL, integers within 64 bits, reals within a double.
 *
 * The block's size is known before the first byte is parsed: each value but the object itself comes
 * after a comma or after the bracket that opens its container, and decoding never makes a text
 * longer. At the end it is cut to what was used. */
#include "filter/attrs.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/number.h"
#include "base/utf8.h"
#include "filter/escape.h"
#include <assert.h>
#include <stdio.h>

#define ATTRS_FEW_KEYS 16 /* up to here comparing all pairs beats sorting */

struct attrs_parser {
    const char *start, *p, *end;
    struct attrs *a;
    char *text; /* behind the nodes; a->text_n bytes are used */
    uint32_t depth;
    u2i_error_t *err;
};

/* ---- Errors --------------------------------------------------------------------------------- */

static int attrs_fail_at(const struct attrs_parser *ps, const char *at, const char *what) {
    uint32_t line = 1, column = 1;
    for (const char *p = ps->start; p < at; p++) {
        const bool newline = *p == '\n';
        line += newline;
        column = newline ? 1 : column + (((unsigned char)*p & 0xC0) != 0x80);
    }
    return error_set(ps->err, U2I_EINVAL, "attributes: line %u column %u: %s", line, column, what);
}

/* "expected X, found Y" at the place where the parser is. */
static int attrs_fail_expected(const struct attrs_parser *ps, const char *expected) {
    char what[128];
    if (ps->p == ps->end) {
        (void)snprintf(what, sizeof what, "expected %s, found the end", expected); /* fits */
    } else {
        int32_t codepoint;
        const size_t n = utf8_next(ps->p, (size_t)(ps->end - ps->p), &codepoint);
        (void)snprintf(what, sizeof what, "expected %s, found \"%.*s\"", expected, (int)n, ps->p);
    }
    return attrs_fail_at(ps, ps->p, what);
}

/* ---- Text and numbers ----------------------------------------------------------------------- */

static void attrs_skip_space(struct attrs_parser *ps) {
    while (ps->p < ps->end &&
           (*ps->p == ' ' || *ps->p == '\n' || *ps->p == '\t' || *ps->p == '\r')) {
        ps->p++;
    }
}

static bool attrs_take(struct attrs_parser *ps, char c) {
    attrs_skip_space(ps);
    if (ps->p == ps->end || *ps->p != c) {
        return false;
    }
    ps->p++;
    return true;
}

static int attrs_parse_escape(struct attrs_parser *ps) {
    size_t n = 0;
    const size_t used =
        escape_decode(ps->p + 1, ps->end, ps->text + ps->a->text_n, &n); /* n <= used + 1 */
    if (used == 0) {
        return attrs_fail_at(ps, ps->p, "malformed escape in a string");
    }
    ps->p += used + 1;
    ps->a->text_n += (uint32_t)n;
    return U2I_OK;
}

/* After the opening quote. The text was checked to be UTF-8 as a whole. */
static int attrs_parse_string(struct attrs_parser *ps, uint32_t *text, uint32_t *n) {
    const char *const open = ps->p - 1;
    *text = ps->a->text_n;
    for (;;) {
        const char *const from = ps->p;
        while (ps->p < ps->end && *ps->p != '"' && *ps->p != '\\' &&
               (unsigned char)*ps->p >= 0x20) {
            ps->p++;
        }
        const size_t plain = (size_t)(ps->p - from);
        memcpy(ps->text + ps->a->text_n, from, plain);
        ps->a->text_n += (uint32_t)plain;
        if (ps->p == ps->end) {
            return attrs_fail_at(ps, open, "string is not closed");
        }
        if (*ps->p == '"') {
            ps->p++;
            *n = ps->a->text_n - *text;
            return U2I_OK;
        }
        if (*ps->p != '\\') {
            return attrs_fail_at(ps, ps->p, "control character in a string; write it as an escape");
        }
        U2I_TRY(attrs_parse_escape(ps));
    }
}

static size_t attrs_skip_digits(struct attrs_parser *ps) {
    const char *const from = ps->p;
    while (ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9') {
        ps->p++;
    }
    return (size_t)(ps->p - from);
}

static int attrs_store_int(struct attrs_parser *ps, const char *from, struct attrs_node *node) {
    const bool negative = *from == '-';
    const char *const digits = from + negative;
    uint64_t magnitude;
    if (!number_digits(digits, (size_t)(ps->p - digits), &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + negative) {
        return attrs_fail_at(ps, from, "integer does not fit 64 bits");
    }
    node->tag = VALUE_INT;
    node->as.i = (int64_t)(negative ? 0 - magnitude : magnitude);
    return U2I_OK;
}

static int attrs_store_real(struct attrs_parser *ps, const char *from, struct attrs_node *node) {
    const size_t n = (size_t)(ps->p - from);
    const bool negative = *from == '-';
    double r = 0;
    if (n > NUMBER_MAX_BYTES) {
        return attrs_fail_at(ps, from, "number has too many digits");
    }
    if (!number_real(from + negative, n - negative, &r)) {
        return attrs_fail_at(ps, from, "number is too large");
    }
    node->tag = VALUE_REAL;
    node->as.r = negative ? -r : r;
    return U2I_OK;
}

static int attrs_parse_number(struct attrs_parser *ps, struct attrs_node *node) {
    const char *const from = ps->p;
    bool real = false;
    ps->p += *ps->p == '-';
    const char *const digits = ps->p;
    if (attrs_skip_digits(ps) == 0) {
        return attrs_fail_expected(ps, "a digit");
    }
    if (*digits == '0' && ps->p - digits > 1) {
        return attrs_fail_at(ps, digits, "a number does not start with 0");
    }
    if (ps->p < ps->end && *ps->p == '.') {
        real = true;
        ps->p++;
        if (attrs_skip_digits(ps) == 0) {
            return attrs_fail_expected(ps, "a digit");
        }
    }
    if (ps->p < ps->end && (*ps->p == 'e' || *ps->p == 'E')) {
        real = true;
        ps->p++;
        ps->p += ps->p < ps->end && (*ps->p == '+' || *ps->p == '-');
        if (attrs_skip_digits(ps) == 0) {
            return attrs_fail_expected(ps, "a digit");
        }
    }
    return real ? attrs_store_real(ps, from, node) : attrs_store_int(ps, from, node);
}

static int attrs_parse_word(struct attrs_parser *ps, struct attrs_node *node) {
    static const struct {
        const char *word;
        uint8_t n, tag, value;
    } words[] = {
        {"true", 4, VALUE_BOOL, 1}, {"false", 5, VALUE_BOOL, 0}, {"null", 4, VALUE_NULL, 0}};
    const size_t left = (size_t)(ps->end - ps->p);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (left >= words[i].n && memcmp(ps->p, words[i].word, words[i].n) == 0) {
            ps->p += words[i].n;
            node->tag = words[i].tag;
            node->as.i = words[i].value;
            return U2I_OK;
        }
    }
    return attrs_fail_expected(ps, "a value");
}

/* ---- Containers ----------------------------------------------------------------------------- */

struct attrs_key {
    const char *s;
    uint32_t n;
};

static int attrs_key_compare(const void *a, const void *b) {
    const struct attrs_key *const x = a, *const y = b;
    return value_compare_text(x->s, x->n, y->s, y->n);
}

static bool attrs_keys_equal(const struct attrs_parser *ps, uint32_t a, uint32_t b) {
    const struct attrs_node *const x = &ps->a->nodes[a], *const y = &ps->a->nodes[b];
    return x->key_n == y->key_n && memcmp(ps->text + x->key, ps->text + y->key, x->key_n) == 0;
}

static int attrs_fail_duplicate(const struct attrs_parser *ps, const char *key, uint32_t n) {
    char what[96];
    (void)snprintf(what, sizeof what, "key \"%.*s\" is there twice", (int)utf8_prefix(key, n, 48),
                   key);
    return attrs_fail_at(ps, ps->p, what);
}

static int attrs_check_many_keys(const struct attrs_parser *ps, uint32_t first, uint32_t n) {
    struct attrs_key *const keys = alloc_array(n, sizeof *keys);
    if (keys == NULL) {
        return error_oom(ps->err);
    }
    for (uint32_t i = 0, node = first; i < n; i++, node = ps->a->nodes[node].next) {
        keys[i] = (struct attrs_key){ps->text + ps->a->nodes[node].key, ps->a->nodes[node].key_n};
    }
    qsort(keys, n, sizeof *keys, attrs_key_compare);
    int rc = U2I_OK;
    for (uint32_t i = 1; i < n && rc == U2I_OK; i++) {
        if (attrs_key_compare(&keys[i - 1], &keys[i]) == 0) {
            rc = attrs_fail_duplicate(ps, keys[i].s, keys[i].n);
        }
    }
    mem_free(keys);
    return rc;
}

/* The n members of an object, of which `first` is the first node. */
static int attrs_check_keys(const struct attrs_parser *ps, uint32_t first, uint32_t n) {
    if (n > ATTRS_FEW_KEYS) {
        return attrs_check_many_keys(ps, first, n);
    }
    for (uint32_t i = 1, a = first; i < n; i++, a = ps->a->nodes[a].next) {
        for (uint32_t j = i, b = ps->a->nodes[a].next; j < n; j++, b = ps->a->nodes[b].next) {
            if (attrs_keys_equal(ps, a, b)) {
                return attrs_fail_duplicate(ps, ps->text + ps->a->nodes[a].key,
                                            ps->a->nodes[a].key_n);
            }
        }
    }
    return U2I_OK;
}

static int attrs_parse_value(struct attrs_parser *ps, struct attrs_node *node);

static struct attrs_node *attrs_new_node(struct attrs_parser *ps) {
    struct attrs_node *const node = &ps->a->nodes[ps->a->nodes_n++];
    assert((const char *)(node + 1) <= ps->text);
    *node = (struct attrs_node){.tag = VALUE_MISSING};
    return node;
}

/* After the opening brace. *n gets the number of members. */
static int attrs_parse_members(struct attrs_parser *ps, uint32_t *n) {
    const uint32_t first = ps->a->nodes_n;
    uint32_t count = 0;
    if (!attrs_take(ps, '}')) {
        do {
            if (!attrs_take(ps, '"')) {
                return attrs_fail_expected(ps, "a key in double quotes");
            }
            struct attrs_node *const node = attrs_new_node(ps);
            U2I_TRY(attrs_parse_string(ps, &node->key, &node->key_n));
            if (!attrs_take(ps, ':')) {
                return attrs_fail_expected(ps, "\":\" after a key");
            }
            U2I_TRY(attrs_parse_value(ps, node));
            count++;
        } while (attrs_take(ps, ','));
        if (!attrs_take(ps, '}')) {
            return attrs_fail_expected(ps, "\",\" or \"}\"");
        }
    }
    *n = count;
    return attrs_check_keys(ps, first, count);
}

/* After the opening bracket. */
static int attrs_parse_elements(struct attrs_parser *ps, uint32_t *n) {
    uint32_t count = 0;
    if (!attrs_take(ps, ']')) {
        do {
            U2I_TRY(attrs_parse_value(ps, attrs_new_node(ps)));
            count++;
        } while (attrs_take(ps, ','));
        if (!attrs_take(ps, ']')) {
            return attrs_fail_expected(ps, "\",\" or \"]\"");
        }
    }
    *n = count;
    return U2I_OK;
}

static int attrs_parse_container(struct attrs_parser *ps, struct attrs_node *node) {
    if (++ps->depth > U2I_ATTRS_MAX_DEPTH) {
        char what[64];
        (void)snprintf(what, sizeof what, "nested deeper than %d", U2I_ATTRS_MAX_DEPTH);
        return attrs_fail_at(ps, ps->p, what);
    }
    const bool object = *ps->p++ == '{';
    node->tag = object ? VALUE_OBJECT : VALUE_ARRAY;
    U2I_TRY(object ? attrs_parse_members(ps, &node->n) : attrs_parse_elements(ps, &node->n));
    ps->depth--;
    return U2I_OK;
}

static int attrs_parse_value(struct attrs_parser *ps, struct attrs_node *node) {
    int rc;
    attrs_skip_space(ps);
    const char c = ps->p < ps->end ? *ps->p : '\0';
    if (c == '"') {
        ps->p++;
        node->tag = VALUE_STRING;
        rc = attrs_parse_string(ps, &node->as.text, &node->n);
    } else if (c == '{' || c == '[') {
        rc = attrs_parse_container(ps, node);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        rc = attrs_parse_number(ps, node);
    } else {
        rc = attrs_parse_word(ps, node);
    }
    node->next = ps->a->nodes_n;
    return rc;
}

static int attrs_parse_document(struct attrs_parser *ps) {
    attrs_skip_space(ps);
    if (ps->p == ps->end || *ps->p != '{') {
        return attrs_fail_expected(ps, "an object, \"{\"");
    }
    struct attrs_node root = {.tag = VALUE_MISSING};
    U2I_TRY(attrs_parse_container(ps, &root));
    ps->a->root_n = root.n;
    attrs_skip_space(ps);
    return ps->p == ps->end ? U2I_OK : attrs_fail_expected(ps, "the end");
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int attrs_check_input(const char *category, size_t category_n, const char *json, size_t n,
                             u2i_error_t *err) {
    if (category_n > U2I_CATEGORY_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "category of %zu bytes is over %d", category_n,
                         U2I_CATEGORY_MAX_BYTES);
    }
    if (category != NULL && !utf8_valid(category, category_n)) {
        return error_set(err, U2I_EINVAL, "category is not valid UTF-8");
    }
    if (n > U2I_ATTRS_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "attributes of %zu bytes are over %d", n,
                         U2I_ATTRS_MAX_BYTES);
    }
    if (!utf8_valid(json, n)) {
        return error_set(err, U2I_EINVAL, "attributes are not valid UTF-8");
    }
    return U2I_OK;
}

/* No fewer than there are values in the text. */
static size_t attrs_count_values(const char *json, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += (json[i] == ',') + (json[i] == '{') + (json[i] == '[');
    }
    return count;
}

/* Moves the text behind the nodes that were used and gives the rest back. */
static struct attrs *attrs_fit(struct attrs *a, char *text) {
    char *const place = (char *)(a->nodes + a->nodes_n);
    memmove(place, text, a->text_n);
    struct attrs *const fitted = realloc_array(a, (size_t)(place - (char *)a) + a->text_n, 1);
    return fitted != NULL ? fitted : a; /* a smaller block that is refused: the larger one stays */
}

int attrs_parse(const char *category, const char *json, size_t json_n, struct attrs **out,
                u2i_error_t *err) {
    *out = NULL;
    const size_t category_n = category != NULL ? strlen(category) : 0;
    const bool none = json == NULL;
    json = none ? "" : json;
    json_n = none ? 0 : json_n;
    U2I_TRY(attrs_check_input(category, category_n, json, json_n, err));
    const size_t nodes = attrs_count_values(json, json_n);
    struct attrs *const a = mem_alloc(sizeof *a + nodes * sizeof a->nodes[0] + category_n + json_n);
    if (a == NULL) {
        return error_oom(err);
    }
    *a = (struct attrs){.category = ATTRS_NO_CATEGORY};
    struct attrs_parser ps = {json, json, json + json_n, a, (char *)(a->nodes + nodes), 0, err};
    if (category != NULL) {
        memcpy(ps.text, category, category_n);
        a->category = 0;
        a->category_n = (uint32_t)category_n;
        a->text_n = (uint32_t)category_n;
    }
    const int rc = none ? U2I_OK : attrs_parse_document(&ps);
    if (rc != U2I_OK) {
        mem_free(a);
        return rc;
    }
    *out = attrs_fit(a, ps.text);
    return U2I_OK;
}

void attrs_free(struct attrs *a) {
    mem_free(a);
}

/* ---- Reading -------------------------------------------------------------------------------- */

struct value attrs_value(const struct attrs *a, const struct attrs_node *node) {
    struct value v = {.tag = node->tag};
    switch (node->tag) {
    case VALUE_STRING:
        v.n = node->n;
        v.as.s = attrs_text(a, node->as.text);
        break;
    case VALUE_REAL:
        v.as.r = node->as.r;
        break;
    default:
        v.as.i = node->as.i;
        break;
    }
    return v;
}

const struct attrs_node *attrs_member(const struct attrs *a, const struct attrs_node *node,
                                      const char *key, size_t key_n) {
    if (node != NULL && node->tag != VALUE_OBJECT) {
        return NULL;
    }
    const uint32_t n = node != NULL ? node->n : a->root_n;
    const struct attrs_node *child = node != NULL ? node + 1 : a->nodes;
    for (uint32_t i = 0; i < n; i++, child = a->nodes + child->next) {
        if (child->key_n == key_n && memcmp(attrs_text(a, child->key), key, key_n) == 0) {
            return child;
        }
    }
    return NULL;
}

const struct attrs_node *attrs_element(const struct attrs *a, const struct attrs_node *node,
                                       uint32_t index) {
    if (node == NULL || node->tag != VALUE_ARRAY || index >= node->n) {
        return NULL;
    }
    const struct attrs_node *child = node + 1;
    for (uint32_t i = 0; i < index; i++) {
        child = a->nodes + child->next;
    }
    return child;
}
