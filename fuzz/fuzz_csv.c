/* The CSV reader: any bytes, three delimiters, in pieces of any size.
 *
 * Promises checked: it ends; fields are NUL-terminated and have no NUL inside; limits hold; line
 * numbers only grow; the pieces in which the input comes change nothing; and a row, written down
 * again with every field quoted, reads back as the same row. */
#include "csv.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_csv_require(int condition) {
    if (!condition) {
        abort();
    }
}

struct fuzz_csv_source {
    const uint8_t *p;
    size_t n, piece;
};

static ptrdiff_t fuzz_csv_read(void *ctx, void *buf, size_t n) {
    struct fuzz_csv_source *const s = ctx;
    size_t take = s->n < s->piece ? s->n : s->piece;
    take = take < n ? take : n;
    memcpy(buf, s->p, take);
    s->p += take;
    s->n -= take;
    return (ptrdiff_t)take;
}

/* Writes the row with every field quoted, and reads it back. */
static void fuzz_csv_round_trip(const struct csv_field *fields, size_t n, char delimiter) {
    size_t bytes = 1;
    for (size_t i = 0; i < n; i++) {
        bytes += 2 * fields[i].n + 3;
    }
    char *const line = malloc(bytes);
    fuzz_csv_require(line != NULL);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        line[at++] = '"';
        for (size_t j = 0; j < fields[i].n; j++) {
            if (fields[i].s[j] == '"') {
                line[at++] = '"';
            }
            line[at++] = fields[i].s[j];
        }
        line[at++] = '"';
        line[at++] = i + 1 < n ? delimiter : '\n';
    }
    struct fuzz_csv_source source = {(const uint8_t *)line, at, at};
    struct csv *const again = csv_new(fuzz_csv_read, &source, delimiter);
    fuzz_csv_require(again != NULL);
    const struct csv_field *read;
    size_t read_n;
    fuzz_csv_require(csv_next(again, &read, &read_n) == CSV_ROW && read_n == n);
    for (size_t i = 0; i < n; i++) {
        fuzz_csv_require(read[i].n == fields[i].n &&
                         memcmp(read[i].s, fields[i].s, read[i].n) == 0);
    }
    fuzz_csv_require(csv_next(again, &read, &read_n) == CSV_END);
    csv_free(again);
    free(line);
}

/* Reads everything; returns a hash of results, lines and fields. */
static uint64_t fuzz_csv_run(const uint8_t *data, size_t size, size_t piece, char delimiter,
                             int check) {
    struct fuzz_csv_source source = {data, size, piece};
    struct csv *const c = csv_new(fuzz_csv_read, &source, delimiter);
    fuzz_csv_require(c != NULL);
    const struct csv_field *fields;
    size_t n;
    uint64_t hash = 1, line = 0;
    int rc;
    for (size_t rows = 0; (rc = csv_next(c, &fields, &n)) != CSV_END; rows++) {
        fuzz_csv_require(rc != CSV_FAILED && rows <= size && n <= CSV_FIELDS_MAX);
        fuzz_csv_require(csv_line(c) > line);
        line = csv_line(c);
        hash = (hash ^ line ^ ((uint64_t)rc << 32)) * 0x100000001b3u;
        size_t bytes = 0;
        for (size_t i = 0; i < n; i++) {
            fuzz_csv_require(strlen(fields[i].s) == fields[i].n);
            bytes += fields[i].n;
            for (size_t j = 0; j <= fields[i].n; j++) {
                hash = (hash ^ (uint8_t)fields[i].s[j]) * 0x100000001b3u;
            }
        }
        fuzz_csv_require(bytes <= CSV_ROW_MAX_BYTES);
        if (check && rc == CSV_ROW) {
            fuzz_csv_round_trip(fields, n, delimiter);
        }
        fuzz_csv_require(rc == CSV_ROW || csv_error(c)[0] != '\0');
    }
    csv_free(c);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char delimiters[] = {',', '\t', ';'};
    if (size < 1) {
        return 0;
    }
    const char delimiter = delimiters[data[0] % sizeof delimiters];
    const size_t piece = 1 + data[0] / sizeof delimiters;
    const uint64_t whole = fuzz_csv_run(data + 1, size - 1, size, delimiter, 1);
    fuzz_csv_require(whole == fuzz_csv_run(data + 1, size - 1, piece, delimiter, 0));
    return 0;
}
