/* See rows.h. The format is told by the name (x.jsonl, x.tsv.gz), else by the first byte: `{` is
 * JSON Lines. The delimiter of a CSV file is a comma unless its header has none of them, but tabs or
 * semicolons. */
#include "rows.h"
#include "csv.h"
#include "jsonl.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROWS_SAMPLE 1000 /* rows that types are inferred from */

struct rows_column {
    char *name;
    struct binding binding;
};

struct rows {
    struct input *in;
    const struct fields *fields;
    struct csv *csv;
    struct jsonl *jsonl;
    char delimiter;
    struct rows_column *columns; /* CSV */
    size_t columns_n;
    struct cell *cells;
    size_t cells_cap;
    uint64_t line;
    char error[512];
};

uint64_t rows_hash(uint64_t hash, const void *p, size_t n) {
    const unsigned char *const bytes = p;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* ---- Formats --------------------------------------------------------------------------------- */

enum rows_format rows_format_of(const char *name) {
    return strcmp(name, "csv") == 0     ? ROWS_CSV
           : strcmp(name, "tsv") == 0   ? ROWS_TSV
           : strcmp(name, "jsonl") == 0 ? ROWS_JSONL
                                        : ROWS_AUTO;
}

static bool rows_name_ends(const char *name, size_t n, const char *end) {
    const size_t end_n = strlen(end);
    return n >= end_n && strncasecmp(name + n - end_n, end, end_n) == 0;
}

static enum rows_format rows_detect(const struct input *in) {
    const char *const name = input_name(in);
    size_t n = strlen(name);
    if (rows_name_ends(name, n, ".gz")) {
        n -= 3;
    }
    if (rows_name_ends(name, n, ".jsonl") || rows_name_ends(name, n, ".ndjson")) {
        return ROWS_JSONL;
    }
    if (rows_name_ends(name, n, ".tsv")) {
        return ROWS_TSV;
    }
    if (rows_name_ends(name, n, ".csv")) {
        return ROWS_CSV;
    }
    const char *peek;
    size_t peek_n = input_peek(in, &peek), i = 0;
    if (peek_n >= 3 && memcmp(peek, "\xef\xbb\xbf", 3) == 0) {
        i = 3;
    }
    while (i < peek_n && strchr(" \t\r\n", peek[i]) != NULL && peek[i] != '\0') {
        i++;
    }
    return i < peek_n && (peek[i] == '{' || peek[i] == '[') ? ROWS_JSONL : ROWS_CSV;
}

static char rows_detect_delimiter(const struct input *in) {
    const char *peek;
    const size_t n = input_peek(in, &peek);
    const char *const end = memchr(peek, '\n', n);
    const size_t header = end != NULL ? (size_t)(end - peek) : n;
    static const char candidates[] = {',', '\t', ';'};
    for (size_t i = 0; i < sizeof candidates; i++) {
        if (memchr(peek, candidates[i], header) != NULL) {
            return candidates[i];
        }
    }
    return ',';
}

/* ---- Columns of CSV -------------------------------------------------------------------------- */

static int rows_add_column(struct rows *r, const char *name, size_t n) {
    for (size_t i = 0; i < r->columns_n; i++) {
        if (n > 0 && strlen(r->columns[i].name) == n && memcmp(r->columns[i].name, name, n) == 0) {
            cli_error("%s: the column '%.*s' is there twice", input_name(r->in), (int)n, name);
            return CLI_ERROR;
        }
    }
    char *const copy = strndup(name, n);
    if (copy == NULL) {
        return cli_no_memory();
    }
    struct binding binding = {.role = ROLE_NONE, .ignored_quietly = n == 0};
    if (n > 0) {
        binding = fields_bind(r->fields, copy);
    }
    r->columns[r->columns_n++] = (struct rows_column){copy, binding};
    return CLI_OK;
}

static int rows_alloc_columns(struct rows *r, size_t n) {
    r->columns = calloc(n, sizeof *r->columns);
    r->cells = calloc(n, sizeof *r->cells);
    r->cells_cap = n;
    return r->columns == NULL || r->cells == NULL ? cli_no_memory() : CLI_OK;
}

static int rows_header_given(struct rows *r, const char *columns) {
    size_t count = 1;
    for (const char *p = columns; *p != '\0'; p++) {
        count += *p == ',';
    }
    int code = rows_alloc_columns(r, count);
    for (size_t i = 0; i < count && code == CLI_OK; i++) {
        const size_t n = strcspn(columns, ",");
        code = rows_add_column(r, columns, n);
        columns += n + (columns[n] == ',');
    }
    return code;
}

static int rows_header_read(struct rows *r) {
    const struct csv_field *names;
    size_t n;
    const int rc = csv_next(r->csv, &names, &n);
    if (rc == CSV_END) {
        cli_error("%s: is empty; a header line with the names of the columns is expected",
                  input_name(r->in));
        return CLI_ERROR;
    }
    if (rc != CSV_ROW) {
        const char *const why = input_error(r->in);
        cli_error("%s:%llu: the header: %s", input_name(r->in),
                  (unsigned long long)csv_line(r->csv), *why != '\0' ? why : csv_error(r->csv));
        return CLI_ERROR;
    }
    int code = rows_alloc_columns(r, n);
    for (size_t i = 0; i < n && code == CLI_OK; i++) {
        code = rows_add_column(r, names[i].s, names[i].n);
    }
    return code;
}

/* ---- Types of attributes --------------------------------------------------------------------- */

struct rows_memory {
    const char *p;
    size_t n;
};

static ptrdiff_t rows_read_memory(void *ctx, void *buf, size_t n) {
    struct rows_memory *const m = ctx;
    const size_t take = n < m->n ? n : m->n;
    memcpy(buf, m->p, take);
    m->p += take;
    m->n -= take;
    return (ptrdiff_t)take;
}

/* Reads the sample with a second reader; possible[i] becomes the set of types that every non-empty
 * cell of column i can have, any[i] says that there was one. */
static void rows_sample(struct csv *csv, bool header, size_t columns_n, unsigned *possible,
                        bool *any) {
    const struct csv_field *f;
    size_t n;
    int rc = header ? csv_next(csv, &f, &n) : CSV_ROW;
    for (int i = 0; i < ROWS_SAMPLE && rc != CSV_END && rc != CSV_FAILED; i++) {
        rc = csv_next(csv, &f, &n);
        for (size_t c = 0; rc == CSV_ROW && n == columns_n && c < n; c++) {
            if (f[c].n > 0 && possible[c] != 0) {
                possible[c] &= values_guess(f[c].s, f[c].n);
                any[c] = true;
            }
        }
    }
}

static enum attr_type rows_choose_type(unsigned possible, bool any) {
    if (!any) {
        return ATTR_TEXT;
    }
    return (possible & ATTR_NUMBER) != 0 ? ATTR_NUMBER
           : (possible & ATTR_BOOL) != 0 ? ATTR_BOOL
           : (possible & ATTR_LIST) != 0 ? ATTR_LIST
                                         : ATTR_TEXT;
}

static int rows_infer_types(struct rows *r, bool header) {
    struct rows_memory sample;
    sample.n = input_peek(r->in, &sample.p);
    struct csv *const csv = csv_new(rows_read_memory, &sample, r->delimiter);
    unsigned *const possible = calloc(r->columns_n, sizeof *possible);
    bool *const any = calloc(r->columns_n, sizeof *any);
    int code = CLI_OK;
    if (csv == NULL || possible == NULL || any == NULL) {
        code = cli_no_memory();
        goto out;
    }
    for (size_t i = 0; i < r->columns_n; i++) {
        const struct binding *const b = &r->columns[i].binding;
        possible[i] = b->role == ROLE_ATTR && b->type == ATTR_AUTO ? ~0u : 0;
    }
    rows_sample(csv, header, r->columns_n, possible, any);
    for (size_t i = 0; i < r->columns_n; i++) {
        struct binding *const b = &r->columns[i].binding;
        if (b->role == ROLE_ATTR && b->type == ATTR_AUTO) {
            b->type = rows_choose_type(possible[i], any[i]);
        }
    }
out:
    free(any);
    free(possible);
    csv_free(csv);
    return code;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static int rows_refuse_utf16(const struct input *in) {
    const char *peek;
    const size_t n = input_peek(in, &peek);
    if (n >= 2 && (memcmp(peek, "\xff\xfe", 2) == 0 || memcmp(peek, "\xfe\xff", 2) == 0)) {
        cli_error("%s: is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8", input_name(in));
        return CLI_ERROR;
    }
    return CLI_OK;
}

static int rows_open_csv(struct rows *r, const struct rows_options *opt, enum rows_format format) {
    r->delimiter = opt->delimiter != 0    ? opt->delimiter
                   : format == ROWS_TSV   ? '\t'
                   : opt->columns != NULL ? ','
                                          : rows_detect_delimiter(r->in);
    r->csv = csv_new(input_read, r->in, r->delimiter);
    if (r->csv == NULL) {
        return cli_no_memory();
    }
    const int code =
        opt->columns != NULL ? rows_header_given(r, opt->columns) : rows_header_read(r);
    return code == CLI_OK ? rows_infer_types(r, opt->columns == NULL) : code;
}

int rows_open(struct input *in, const struct rows_options *opt, const struct fields *fields,
              struct rows **out) {
    struct rows *const r = calloc(1, sizeof *r);
    *out = NULL;
    if (r == NULL) {
        input_close(in);
        return cli_no_memory();
    }
    r->in = in;
    r->fields = fields;
    const enum rows_format format = opt->format == ROWS_AUTO ? rows_detect(in) : opt->format;
    int code = rows_refuse_utf16(in);
    if (code == CLI_OK && format == ROWS_JSONL) {
        r->jsonl = jsonl_new(input_read, in);
        code = r->jsonl == NULL ? cli_no_memory() : CLI_OK;
    } else if (code == CLI_OK) {
        code = rows_open_csv(r, opt, format);
    }
    if (code != CLI_OK) {
        rows_close(r);
        return code;
    }
    *out = r;
    return CLI_OK;
}

void rows_close(struct rows *r) {
    if (r != NULL) {
        for (size_t i = 0; i < r->columns_n; i++) {
            free(r->columns[i].name);
        }
        free(r->columns);
        free(r->cells);
        csv_free(r->csv);
        jsonl_free(r->jsonl);
        input_close(r->in);
        free(r);
    }
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int rows_next_csv(struct rows *r, struct row *out) {
    const struct csv_field *f;
    size_t n;
    const int rc = csv_next(r->csv, &f, &n);
    r->line = csv_line(r->csv);
    if (rc == CSV_END) {
        return ROWS_END;
    }
    if (rc != CSV_ROW) {
        const char *const why = rc == CSV_FAILED && *input_error(r->in) != '\0' ? input_error(r->in)
                                                                                : csv_error(r->csv);
        (void)snprintf(r->error, sizeof r->error, "%s", why);
        return rc == CSV_BAD ? ROWS_BAD : ROWS_FAILED;
    }
    if (n != r->columns_n) {
        (void)snprintf(r->error, sizeof r->error, "%zu fields, but the header has %zu", n,
                       r->columns_n);
        return ROWS_BAD;
    }
    uint64_t hash = ROWS_HASH_START;
    for (size_t i = 0; i < n; i++) {
        hash = rows_hash(hash, f[i].s, f[i].n + 1);
        r->cells[i] = (struct cell){.name = r->columns[i].name,
                                    .text = f[i].s,
                                    .n = f[i].n,
                                    .binding = r->columns[i].binding};
    }
    *out = (struct row){r->line, hash, r->cells, n};
    return ROWS_ROW;
}

static int rows_reserve_cells(struct rows *r, size_t n) {
    if (n > r->cells_cap) {
        struct cell *const cells = realloc(r->cells, n * sizeof *cells);
        if (cells == NULL) {
            (void)snprintf(r->error, sizeof r->error, "out of memory");
            return ROWS_FAILED;
        }
        r->cells = cells;
        r->cells_cap = n;
    }
    return ROWS_ROW;
}

static int rows_next_json(struct rows *r, struct row *out) {
    json_t *object, *value;
    const int rc = jsonl_next(r->jsonl, &object);
    r->line = jsonl_line(r->jsonl);
    if (rc == JSONL_END) {
        return ROWS_END;
    }
    if (rc != JSONL_ROW) {
        const char *const why = rc == JSONL_FAILED && *input_error(r->in) != '\0'
                                    ? input_error(r->in)
                                    : jsonl_error(r->jsonl);
        (void)snprintf(r->error, sizeof r->error, "%s", why);
        return rc == JSONL_BAD ? ROWS_BAD : ROWS_FAILED;
    }
    if (rows_reserve_cells(r, json_object_size(object)) != ROWS_ROW) {
        return ROWS_FAILED;
    }
    const char *name;
    size_t n = 0;
    json_object_foreach(object, name, value) {
        if (json_is_null(value)) {
            continue; /* as if the key were not there */
        }
        r->cells[n++] = (struct cell){.name = name,
                                      .text = json_string_value(value),
                                      .n = json_string_length(value),
                                      .json = value,
                                      .binding = fields_bind_key(r->fields, name)};
    }
    size_t text_n;
    const char *const text = jsonl_text(r->jsonl, &text_n);
    *out = (struct row){r->line, rows_hash(ROWS_HASH_START, text, text_n), r->cells, n};
    return ROWS_ROW;
}

int rows_next(struct rows *r, struct row *out) {
    return r->csv != NULL ? rows_next_csv(r, out) : rows_next_json(r, out);
}

uint64_t rows_line(const struct rows *r) {
    return r->line;
}

const char *rows_error(const struct rows *r) {
    return r->error;
}

bool rows_are_json(const struct rows *r) {
    return r->jsonl != NULL;
}

bool rows_have(const struct rows *r, enum field_role role) {
    bool have = r->jsonl != NULL;
    for (size_t i = 0; i < r->columns_n; i++) {
        have = have || r->columns[i].binding.role == role;
    }
    return have;
}

void rows_list_columns(const struct rows *r, bool unused, struct text *out) {
    for (size_t i = 0; i < r->columns_n; i++) {
        const struct binding *const b = &r->columns[i].binding;
        if (!unused || (b->role == ROLE_NONE && !b->ignored_quietly)) {
            text_fmt(out, "%s%s", out->n > 0 ? ", " : "", r->columns[i].name);
        }
    }
}
