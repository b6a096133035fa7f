/* A streaming reader of CSV (RFC 4180) and its kin: any one-byte delimiter, quoted fields with ""
 * for a quote, line breaks inside quotes, LF, CRLF or CR between rows, a UTF-8 byte order mark.
 *
 * Memory is bounded: a row is at most CSV_ROW_MAX_BYTES and CSV_FIELDS_MAX fields. A row that breaks
 * a rule is reported and skipped up to the next line break; the rows after it are read as usual.
 * Blank lines are not rows. It knows nothing of headers or columns. Used by one thread. */
#ifndef CLI_CSV_H
#define CLI_CSV_H

#include <stddef.h>
#include <stdint.h>

#define CSV_ROW_MAX_BYTES (1u << 20)
#define CSV_FIELDS_MAX    1024

/* Up to n bytes into buf; 0 at the end, negative on an error. */
typedef ptrdiff_t (*csv_read_fn)(void *ctx, void *buf, size_t n);

enum csv_result {
    CSV_ROW = 1,    /* fields are set */
    CSV_END = 0,    /* no more rows */
    CSV_BAD = -1,   /* this row is not CSV: csv_error() says why; go on with csv_next() */
    CSV_FAILED = -2 /* reading failed (the reader's own message holds) or memory ran out */
};

struct csv_field {
    const char *s; /* NUL-terminated, without NUL inside; valid until the next csv_next() */
    size_t n;
};

struct csv;
/* NULL when out of memory. */
struct csv *csv_new(csv_read_fn read, void *ctx, char delimiter);
void csv_free(struct csv *c);
int csv_next(struct csv *c, const struct csv_field **fields, size_t *n);
uint64_t csv_line(const struct csv *c); /* where the last row began, from 1 */
const char *csv_error(const struct csv *c);

#endif
