/* A streaming reader of JSON Lines: one JSON object per line, UTF-8, LF or CRLF, blank lines and a
 * byte order mark allowed. A line is at most JSONL_LINE_MAX_BYTES; a longer or wrong one is reported
 * and skipped, and the next is read as usual. Used by one thread. */
#ifndef CLI_JSONL_H
#define CLI_JSONL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define JSONL_LINE_MAX_BYTES (1u << 20)
#define JSONL_DEPTH_MAX      32 /* nesting of arrays and objects */

/* Up to n bytes into buf; 0 at the end, negative on an error. */
typedef ptrdiff_t (*jsonl_read_fn)(void *ctx, void *buf, size_t n);

enum jsonl_result {
    JSONL_ROW = 1,
    JSONL_END = 0,
    JSONL_BAD = -1,   /* this line is no object: jsonl_error() says why; go on */
    JSONL_FAILED = -2 /* reading failed or memory ran out */
};

struct jsonl;
struct jsonl *jsonl_new(jsonl_read_fn read, void *ctx); /* NULL when out of memory */
void jsonl_free(struct jsonl *j);
/* *object belongs to the reader and is valid until the next call. */
int jsonl_next(struct jsonl *j, json_t **object);
const char *jsonl_text(const struct jsonl *j, size_t *n); /* the last line as it was read */
uint64_t jsonl_line(const struct jsonl *j);               /* its number, from 1 */
const char *jsonl_error(const struct jsonl *j);

#endif
