/* Rows of a data file, whatever its format: a line number and cells, each with its column's name and
 * what that column means (fields.h). CSV cells are text; JSON values are text or stay JSON. */
#ifndef CLI_ROWS_H
#define CLI_ROWS_H

#include "fields.h"
#include "input.h"

enum rows_format { ROWS_AUTO, ROWS_CSV, ROWS_TSV, ROWS_JSONL };
enum rows_format rows_format_of(const char *name); /* "csv", "tsv", "jsonl", "auto" */

struct rows_options {
    enum rows_format format;
    char delimiter;      /* 0 = by format */
    const char *columns; /* "id,title": the file has no header line; NULL = it has */
};

struct cell {
    const char *name;
    const char *text; /* NULL when it is JSON other than text */
    size_t n;
    json_t *json; /* NULL in CSV */
    struct binding binding;
};
struct row {
    uint64_t line;
    uint64_t hash; /* of what the line says: equal lines have equal hashes, on every machine */
    const struct cell *cells;
    size_t cells_n;
};

enum rows_result { ROWS_ROW = 1, ROWS_END = 0, ROWS_BAD = -1, ROWS_FAILED = -2 };

struct rows;
/* Takes over `in`, also when it fails. Reads the header and infers the types of columns from the
 * first 1,000 rows within the first INPUT_PEEK_BYTES. Prints what is wrong; an exit code. */
int rows_open(struct input *in, const struct rows_options *opt, const struct fields *fields,
              struct rows **out);
void rows_close(struct rows *r);
int rows_next(struct rows *r, struct row *out); /* valid until the next call */
uint64_t rows_line(const struct rows *r);       /* of the last row, good or bad */
const char *rows_error(const struct rows *r);
/* CSV: whether a column has that role; JSONL: true, since each line may have other keys. */
bool rows_have(const struct rows *r, enum field_role role);
bool rows_are_json(const struct rows *r);
/* The columns of a CSV file as a list for messages: all, or only those without a meaning. */
void rows_list_columns(const struct rows *r, bool unused, struct text *out);

/* FNV-1a, 64 bit, byte by byte: the same on every machine. */
uint64_t rows_hash(uint64_t hash, const void *p, size_t n);
#define ROWS_HASH_START UINT64_C(0xcbf29ce484222325)

#endif
