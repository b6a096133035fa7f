/* The JSON Lines reader: any bytes, in pieces of any size.
 *
 * Promises checked: it ends; a row is an object, not deeper than the limit; line numbers only grow;
 * the pieces in which the input comes change nothing; and an object, written down again, reads back
 * as the same object. */
#include "jsonl.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_jsonl_require(int condition) {
    if (!condition) {
        abort();
    }
}

struct fuzz_jsonl_source {
    const uint8_t *p;
    size_t n, piece;
};

static ptrdiff_t fuzz_jsonl_read(void *ctx, void *buf, size_t n) {
    struct fuzz_jsonl_source *const s = ctx;
    size_t take = s->n < s->piece ? s->n : s->piece;
    take = take < n ? take : n;
    memcpy(buf, s->p, take);
    s->p += take;
    s->n -= take;
    return (ptrdiff_t)take;
}

static void fuzz_jsonl_check_depth(json_t *value, int depth) {
    fuzz_jsonl_require(depth <= JSONL_DEPTH_MAX);
    const size_t n = json_array_size(value);
    for (size_t i = 0; i < n; i++) {
        fuzz_jsonl_check_depth(json_array_get(value, i), depth + 1);
    }
    const char *name;
    json_t *member;
    json_object_foreach(value, name, member) {
        fuzz_jsonl_check_depth(member, depth + 1);
    }
}

/* Written by jansson and read by the reader, an object is the same. A line that grows over the limit
 * when it is escaped is no fault. */
static void fuzz_jsonl_round_trip(const json_t *object) {
    char *const line = json_dumps(object, JSON_COMPACT);
    fuzz_jsonl_require(line != NULL);
    if (strlen(line) < JSONL_LINE_MAX_BYTES) {
        struct fuzz_jsonl_source source = {(const uint8_t *)line, strlen(line), strlen(line)};
        struct jsonl *const again = jsonl_new(fuzz_jsonl_read, &source);
        fuzz_jsonl_require(again != NULL);
        json_t *read;
        fuzz_jsonl_require(jsonl_next(again, &read) == JSONL_ROW);
        char *const twice = json_dumps(read, JSON_COMPACT);
        fuzz_jsonl_require(twice != NULL && strcmp(line, twice) == 0);
        free(twice);
        fuzz_jsonl_require(jsonl_next(again, &read) == JSONL_END);
        jsonl_free(again);
    }
    free(line);
}

static uint64_t fuzz_jsonl_run(const uint8_t *data, size_t size, size_t piece, int check) {
    struct fuzz_jsonl_source source = {data, size, piece};
    struct jsonl *const j = jsonl_new(fuzz_jsonl_read, &source);
    fuzz_jsonl_require(j != NULL);
    json_t *object;
    uint64_t hash = 1, line = 0;
    int rc;
    for (size_t rows = 0; (rc = jsonl_next(j, &object)) != JSONL_END; rows++) {
        fuzz_jsonl_require(rc != JSONL_FAILED && rows <= size);
        fuzz_jsonl_require(jsonl_line(j) > line);
        line = jsonl_line(j);
        hash = (hash ^ line ^ ((uint64_t)rc << 32)) * 0x100000001b3u;
        fuzz_jsonl_require((rc == JSONL_ROW) == (object != NULL));
        if (rc == JSONL_BAD) {
            fuzz_jsonl_require(jsonl_error(j)[0] != '\0');
        } else if (check) {
            fuzz_jsonl_require(json_is_object(object));
            fuzz_jsonl_check_depth(object, 1);
            fuzz_jsonl_round_trip(object);
        }
    }
    jsonl_free(j);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) {
        return 0;
    }
    const uint64_t whole = fuzz_jsonl_run(data + 1, size - 1, size, 1);
    fuzz_jsonl_require(whole == fuzz_jsonl_run(data + 1, size - 1, 1 + (size_t)data[0], 0));
    return 0;
}
