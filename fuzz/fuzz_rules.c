/* Rules from anybody. Whatever the bytes: no crash, an error has a place within the text and a message that
 * begins with its line, and rules that are accepted can be bound to any user. */
#include "base/alloc.h"
#include "engine/rules.h"
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static int fuzz_attr(void *ctx, const struct attr_path *path, const uint32_t *rows, uint32_t n,
                     struct attr_value *out, u2i_error_t *err) {
    (void)ctx;
    (void)path;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (struct attr_value){.type = ATTR_REAL, .number = rows[i], .key = 1};
    }
    return U2I_OK;
}

/* Under every name that the corpus uses, something of another type for each user. */
static const char *const fuzz_users[] = {
    "{}", "{\"a\":1,\"b\":\"x\",\"city\":\"Bonn\",\"list\":[\"x\",\"y\"],\"max\":3.5}",
    "{\"a\":[1,2.5],\"b\":[true],\"city\":null,\"list\":\"x\",\"max\":{\"a\":[1]}}",
    "{\"a\":true,\"b\":[],\"city\":[[1]],\"list\":[1,\"x\"],\"max\":\"\\\\\"}"};

static void fuzz_bind(const struct rules *rules, const char *json) {
    static const struct rules_liked history[] = {{1, 1}, {7, 2}};
    struct attrs *user;
    struct arena a = {0};
    struct rules_bound bound;
    u2i_error_t err;
    fuzz_require(attrs_parse(NULL, json, strlen(json), &user, &err) == U2I_OK, "a user");
    const struct rules_asker asker = {
        .now_ms = -1, .user = user, .history = history, .history_n = 2, .attr = fuzz_attr};
    fuzz_require(rules_bind(&rules, 1, &asker, &a, &bound, &err) == U2I_OK, "they can be bound");
    fuzz_require(bound.n <= rules->n, "no more rules than there are");
    for (uint32_t i = 0; i < bound.n; i++) {
        fuzz_require((bound.list[i].filter != NULL) == (bound.list[i].rule->expr != NULL),
                     "an expression has a filter");
        if (bound.list[i].filter != NULL) {
            (void)filter_item(bound.list[i].filter, "it", user); /* either answer is fine */
        }
    }
    rules_unbind(&bound);
    arena_free(&a);
    attrs_free(user);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char *const text = str_dup((const char *)data, n);
    struct rules *rules = NULL;
    u2i_error_t err;
    fuzz_require(text != NULL, "memory");
    const int rc = rules_parse(text, &rules, &err);
    if (rc == U2I_OK) {
        for (size_t i = 0; i < sizeof fuzz_users / sizeof fuzz_users[0]; i++) {
            fuzz_bind(rules, fuzz_users[i]);
        }
    } else {
        fuzz_require(rc == U2I_EINVAL && rules == NULL, "the code is U2I_EINVAL");
        fuzz_require(err.offset >= -1 && err.offset <= (int32_t)strlen(text),
                     "the offset is in the text");
        fuzz_require(err.msg[0] != '\0' && strchr(err.msg, '\n') == NULL, "one line of message");
    }
    rules_free(rules);
    mem_free(text);
    return 0;
}
