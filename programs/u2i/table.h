/* A table for people: columns as wide as their widest cell, numbers to the right, and, on a
 * terminal, the wide text columns cut so that a row is a line. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "display.h"
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table_column {
    const char *name; /* "" in the first column: no header */
    bool right;       /* numbers */
    bool shrink;      /* may be cut, but never below TABLE_SHRINK_MIN columns */
};
#define TABLE_SHRINK_MIN 8

struct table {
    const struct table_column *columns;
    size_t columns_n;
    struct text cells; /* all cells in reading order, NUL after each */
    size_t cells_n;
};

void table_init(struct table *t, const struct table_column *columns, size_t n);
void table_free(struct table *t);
void table_cell(struct table *t, const char *s); /* the next cell, left to right; NULL = empty */
void table_cell_fmt(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t table_rows(const struct table *t);
/* The header and all rows. 0, or -1 when memory ran out. */
int table_print(const struct table *t, FILE *out, struct display display);

#endif
