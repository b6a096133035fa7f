/* See csv.h. Bytes go through one buffer into the row's text, fields are kept as offsets (the text
 * moves while it grows) and become pointers when the row is whole. Quotes in the middle of an
 * unquoted field are taken as they are, since real files have them (5" disk); text after a closing
 * quote is an error, since guessing there loses data silently. */
#include "csv.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CSV_BUFFER_BYTES 65536
#define CSV_EOF          (-1)
#define CSV_ERROR        (-2) /* read or memory failure */

struct csv {
    csv_read_fn read;
    void *ctx;
    char delimiter;
    bool started, ended;
    uint64_t line;     /* line that is being read */
    uint64_t row_line; /* line on which the last row began */
    size_t at, filled; /* of buffer */
    char *row;         /* text of the row's fields, a NUL after each */
    size_t row_n, row_cap;
    size_t starts[CSV_FIELDS_MAX];
    struct csv_field fields[CSV_FIELDS_MAX];
    size_t fields_n;
    char error[160];
    unsigned char buffer[CSV_BUFFER_BYTES];
};

struct csv *csv_new(csv_read_fn read, void *ctx, char delimiter) {
    struct csv *const c = calloc(1, sizeof *c);
    if (c != NULL) {
        c->read = read;
        c->ctx = ctx;
        c->delimiter = delimiter;
        c->line = 1;
    }
    return c;
}

void csv_free(struct csv *c) {
    if (c != NULL) {
        free(c->row);
        free(c);
    }
}

uint64_t csv_line(const struct csv *c) {
    return c->row_line;
}

const char *csv_error(const struct csv *c) {
    return c->error;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* The next byte without taking it; CSV_EOF, CSV_ERROR. */
static int csv_peek(struct csv *c) {
    if (c->at == c->filled && !c->ended) {
        const ptrdiff_t got = c->read(c->ctx, c->buffer, sizeof c->buffer);
        if (got < 0) {
            (void)snprintf(c->error, sizeof c->error, "reading failed");
            return CSV_ERROR;
        }
        c->at = 0;
        c->filled = (size_t)got;
        c->ended = got == 0;
    }
    return c->at < c->filled ? c->buffer[c->at] : CSV_EOF;
}

static int csv_take(struct csv *c) {
    const int b = csv_peek(c);
    if (b >= 0) {
        c->at++;
    }
    return b;
}

/* Counts a line after the break `b`, and takes the LF of a CRLF. */
static void csv_end_line(struct csv *c, int b) {
    if (b == '\r' && csv_peek(c) == '\n') {
        c->at++;
    }
    c->line++;
}

static int csv_skip_line(struct csv *c) {
    int b;
    while ((b = csv_take(c)) >= 0) {
        if (b == '\n' || b == '\r') {
            csv_end_line(c, b);
            break;
        }
    }
    return b == CSV_ERROR ? CSV_FAILED : CSV_BAD;
}

/* ---- Fields ---------------------------------------------------------------------------------- */

static int csv_put(struct csv *c, char b) {
    if (c->row_n == c->row_cap) {
        const size_t cap = c->row_cap == 0 ? 1024 : c->row_cap * 2;
        char *const row = realloc(c->row, cap);
        if (row == NULL) {
            (void)snprintf(c->error, sizeof c->error, "out of memory");
            return CSV_FAILED;
        }
        c->row = row;
        c->row_cap = cap;
    }
    c->row[c->row_n++] = b;
    return CSV_ROW;
}

/* A byte of a field's text: limits and NUL are checked here, for quoted and plain fields alike. */
static int csv_put_text(struct csv *c, int b) {
    if (b == '\0') {
        (void)snprintf(c->error, sizeof c->error, "a NUL byte in field %zu", c->fields_n);
        return CSV_BAD;
    }
    if (c->row_n >= CSV_ROW_MAX_BYTES) {
        (void)snprintf(c->error, sizeof c->error, "the row is longer than %u bytes%s",
                       CSV_ROW_MAX_BYTES, c->line > c->row_line ? "; is a quote not closed?" : "");
        return CSV_BAD;
    }
    return csv_put(c, (char)b);
}

/* What ended a field: the delimiter, the line, or the file. The break is taken. */
enum csv_stop { CSV_STOP_FIELD = 2, CSV_STOP_LINE = 3, CSV_STOP_FILE = 4 };

static bool csv_is_end(const struct csv *c, int b) {
    return b == (unsigned char)c->delimiter || b == '\n' || b == '\r' || b == CSV_EOF;
}

static int csv_stop_at(struct csv *c, int b) {
    if (b == CSV_EOF) {
        return CSV_STOP_FILE;
    }
    c->at++;
    if (b == '\n' || b == '\r') {
        csv_end_line(c, b);
        return CSV_STOP_LINE;
    }
    return CSV_STOP_FIELD;
}

static int csv_read_plain(struct csv *c) {
    for (;;) {
        const int b = csv_peek(c);
        if (b == CSV_ERROR) {
            return CSV_FAILED;
        }
        if (csv_is_end(c, b)) {
            return csv_stop_at(c, b);
        }
        const int rc = csv_put_text(c, b);
        if (rc != CSV_ROW) {
            return rc;
        }
        c->at++;
    }
}

/* After the closing quote. */
static int csv_read_quoted_end(struct csv *c) {
    const int b = csv_peek(c);
    if (b == CSV_ERROR) {
        return CSV_FAILED;
    }
    if (csv_is_end(c, b)) {
        return csv_stop_at(c, b);
    }
    (void)snprintf(c->error, sizeof c->error,
                   "text after the closing quote of field %zu; a quote inside is written twice",
                   c->fields_n);
    return CSV_BAD;
}

/* After the opening quote. */
static int csv_read_quoted(struct csv *c) {
    const uint64_t opened = c->line;
    for (;;) {
        const int b = csv_peek(c);
        if (b == CSV_ERROR) {
            return CSV_FAILED;
        }
        if (b == CSV_EOF) {
            (void)snprintf(c->error, sizeof c->error, "the quote opened in line %llu is not closed",
                           (unsigned long long)opened);
            return CSV_BAD;
        }
        if (b == '"') {
            c->at++;
            if (csv_peek(c) != '"') {
                return csv_read_quoted_end(c);
            }
        }
        const int rc = csv_put_text(c, b);
        if (rc != CSV_ROW) {
            return rc;
        }
        c->at++;
        c->line += b == '\n' || (b == '\r' && csv_peek(c) != '\n');
    }
}

static int csv_read_field(struct csv *c) {
    if (c->fields_n == CSV_FIELDS_MAX) {
        (void)snprintf(c->error, sizeof c->error, "more than %d fields", CSV_FIELDS_MAX);
        return CSV_BAD;
    }
    c->starts[c->fields_n++] = c->row_n;
    int stop;
    if (csv_peek(c) == '"') {
        c->at++;
        stop = csv_read_quoted(c);
    } else {
        stop = csv_read_plain(c);
    }
    return stop > 0 && csv_put(c, '\0') != CSV_ROW ? CSV_FAILED : stop;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static int csv_read_row(struct csv *c) {
    c->row_n = 0;
    c->fields_n = 0;
    c->row_line = c->line;
    const int first = csv_peek(c);
    if (first < 0) {
        return first == CSV_EOF ? CSV_END : CSV_FAILED;
    }
    int stop;
    do {
        stop = csv_read_field(c);
    } while (stop == CSV_STOP_FIELD);
    if (stop == CSV_BAD) {
        return csv_skip_line(c);
    }
    if (stop == CSV_FAILED) {
        return CSV_FAILED;
    }
    for (size_t i = 0; i < c->fields_n; i++) {
        const size_t end = i + 1 < c->fields_n ? c->starts[i + 1] : c->row_n;
        c->fields[i] = (struct csv_field){c->row + c->starts[i], end - c->starts[i] - 1};
    }
    return CSV_ROW;
}

/* Skips a byte order mark, however small the pieces are that reading gives. */
static int csv_skip_mark(struct csv *c) {
    c->started = true;
    while (c->filled < 3 && !c->ended) {
        const ptrdiff_t got = c->read(c->ctx, c->buffer + c->filled, sizeof c->buffer - c->filled);
        if (got < 0) {
            (void)snprintf(c->error, sizeof c->error, "reading failed");
            return CSV_FAILED;
        }
        c->filled += (size_t)got;
        c->ended = got == 0;
    }
    if (c->filled >= 3 && memcmp(c->buffer, "\xef\xbb\xbf", 3) == 0) {
        c->at = 3;
    }
    return CSV_ROW;
}

int csv_next(struct csv *c, const struct csv_field **fields, size_t *n) {
    int rc = c->started ? CSV_ROW : csv_skip_mark(c);
    while (rc == CSV_ROW) {
        rc = csv_read_row(c);
        if (rc != CSV_ROW || c->fields_n > 1 || c->fields[0].n > 0) {
            break; /* not a blank line */
        }
    }
    *fields = c->fields;
    *n = rc == CSV_ROW ? c->fields_n : 0;
    return rc;
}
