/* See table.h. Cells are kept as they came; they are cleaned and measured when printed, so a table
 * costs the memory of its text. */
#include "table.h"
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_GAP 2 /* spaces between columns */

void table_init(struct table *t, const struct table_column *columns, size_t n) {
    assert(n > 0 && n <= TABLE_COLUMNS_MAX);
    *t = (struct table){.columns = columns, .columns_n = n};
}

void table_free(struct table *t) {
    text_free(&t->cells);
    t->cells_n = 0;
}

void table_cell(struct table *t, const char *s) {
    text_str(&t->cells, s == NULL ? "" : s);
    text_char(&t->cells, '\0');
    t->cells_n++;
}

void table_cell_fmt(struct table *t, const char *format, ...) {
    char cell[128];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(cell, sizeof cell, format, ap); /* numbers: always short enough */
    va_end(ap);
    table_cell(t, cell);
}

size_t table_rows(const struct table *t) {
    return t->cells_n / t->columns_n;
}

static void table_measure(const struct table *t, size_t *widths) {
    for (size_t i = 0; i < t->columns_n; i++) {
        widths[i] = display_width(t->columns[i].name, strlen(t->columns[i].name));
    }
    const char *cell = text_cstr(&t->cells);
    for (size_t i = 0; i < t->cells_n; i++) {
        const size_t n = strlen(cell), width = display_width(cell, n);
        size_t *const widest = &widths[i % t->columns_n];
        *widest = width > *widest ? width : *widest;
        cell += n + 1;
    }
}

/* Takes columns from the widest shrinkable cell, one by one, until the row fits or nothing is left
 * to take. */
static void table_shrink(const struct table *t, size_t *widths, size_t line) {
    size_t total = TABLE_GAP * (t->columns_n - 1);
    for (size_t i = 0; i < t->columns_n; i++) {
        total += widths[i];
    }
    while (total > line) {
        size_t widest = t->columns_n;
        for (size_t i = 0; i < t->columns_n; i++) {
            if (t->columns[i].shrink && widths[i] > TABLE_SHRINK_MIN &&
                (widest == t->columns_n || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (widest == t->columns_n) {
            return;
        }
        widths[widest]--;
        total--;
    }
}

static void table_put(struct text *line, const struct table_column *column, const char *cell,
                      size_t width) {
    const size_t own = display_width(cell, strlen(cell));
    const size_t pad = own < width ? width - own : 0;
    if (column->right) {
        text_fill(line, ' ', pad);
    }
    const size_t taken = display_fit(line, cell, width);
    if (!column->right) {
        text_fill(line, ' ', width - taken);
    }
}

static void table_trim(struct text *line) {
    while (line->n > 0 && line->p[line->n - 1] == ' ') {
        line->p[--line->n] = '\0';
    }
}

static void table_put_header(const struct table *t, struct text *line, const size_t *widths) {
    for (size_t i = 0; i < t->columns_n; i++) {
        text_fill(line, ' ', i > 0 ? TABLE_GAP : 0);
        table_put(line, &t->columns[i], t->columns[i].name, widths[i]);
    }
    table_trim(line);
}

static void table_put_line(const struct table *t, struct text *line, const char **cell,
                           const size_t *widths) {
    for (size_t i = 0; i < t->columns_n; i++) {
        text_fill(line, ' ', i > 0 ? TABLE_GAP : 0);
        table_put(line, &t->columns[i], *cell, widths[i]);
        *cell += strlen(*cell) + 1;
    }
    table_trim(line);
}

int table_print(const struct table *t, FILE *out, struct display display) {
    size_t widths[TABLE_COLUMNS_MAX];
    struct text line = {0};
    int rc = -1;
    if (!text_ok(&t->cells)) {
        goto out;
    }
    table_measure(t, widths);
    if (display.width > 0) {
        table_shrink(t, widths, display.width);
    }
    if (t->columns[0].name[0] != '\0') {
        table_put_header(t, &line, widths);
        (void)fprintf(out, display.colour ? "\033[1m%s\033[0m\n" : "%s\n", text_cstr(&line));
    }
    const char *cell = text_cstr(&t->cells);
    for (size_t row = 0; row < table_rows(t); row++) {
        text_clear(&line);
        table_put_line(t, &line, &cell, widths);
        (void)fprintf(out, "%s\n", text_cstr(&line)); /* main() checks the stream at the end */
    }
    rc = text_ok(&line) ? 0 : -1;
out:
    text_free(&line);
    return rc;
}
