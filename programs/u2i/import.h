/* Importing, common to items, events and users: import.c reads files and reports, import_batch.c
 * collects rows and writes them; what a row means is in import_items.c, import_events.c and
 * import_users.c, each a struct import_kind. */
#ifndef CLI_IMPORT_H
#define CLI_IMPORT_H

#include "cli.h"
#include "pool.h"
#include "progress.h"
#include "rows.h"
#include "times.h"
#include "u2i.h"

#define IMPORT_BATCH_BYTES (16u << 20) /* a batch is written when its strings are this long */

struct import;
struct import_kind {
    const char *name; /* "items" */
    const struct field_spec *fields;
    bool attrs;  /* has attributes */
    bool unique; /* elements begin with an id that may not be twice in one batch */
    size_t element_size;
    /* Reads the kind's own options and the store; prints what is wrong. */
    int (*start)(struct import *im, const struct args *args);
    /* Whether the columns of a CSV file will do; prints what is missing. */
    int (*check)(struct import *im);
    /* Fills the element from the row, strings into im->pool. false: a bad row, im->why says why. */
    bool (*fill)(struct import *im, const struct row *row, void *element);
    /* Writes elements; *fresh gets how many were new, if the call can tell. */
    int (*put)(struct import *im, const void *elements, size_t n, size_t *fresh, u2i_error_t *err);
    /* How many are in the store: tells what is new where put() cannot. */
    uint64_t (*count)(const u2i_stats_t *stats); /* or NULL */
};
extern const struct import_kind import_items, import_events, import_users;

struct import_counts {
    uint64_t read, put, fresh, bad; /* put: the library took them, new or not */
};

struct import {
    const struct cli *cli;
    u2i_t *store;
    const struct import_kind *kind;
    struct fields fields;
    struct rows_options format;
    uint64_t max_errors, batch, from_line;
    FILE *errors; /* NULL = stderr, the first ones */
    const char
        *errors_name; /* of --errors, or NULL; it is opened when there is something to read */
    bool stopped;     /* it has been said that --max-errors is exceeded */
    char list_separator;

    uint32_t dim;     /* of the store's vectors */
    bool own_vectors; /* the store's model is "none" */

    const char *action; /* events: for rows without one */
    json_t *action_map;
    enum time_unit time_unit;
    bool no_value, no_ids;
    uint64_t fingerprint;  /* of the file that is being read */
    const char *file_name; /* for messages */

    struct input *in; /* owned by rows */
    struct rows *rows;
    struct import_counts file, total;
    uint64_t done_line; /* the last row that was read */
    struct progress progress;

    struct pool pool; /* of the batch */
    char *elements;   /* n of `batch` */
    uint64_t *lines;
    uint32_t *slots; /* ids in the batch: open addressing, 0 = free, else index + 1 */
    size_t slots_n, n;

    struct text why, scratch, attrs;
    char number[40]; /* a JSON number as text */
};

/* import_batch.c */
int import_batch_start(struct import *im);
void import_batch_free(struct import *im);
int import_batch_add(struct import *im, const struct row *row);
int import_batch_flush(struct import *im);
/* Reports a bad row; CLI_BADROWS when that was one too many. The batch before it is written first if
 * so, because the library may find a row in it at which to stop already. */
int import_bad_row(struct import *im, uint64_t line, const char *why);
/* The same for a row of the batch itself. */
int import_bad(struct import *im, uint64_t line, const char *why);

/* For the kinds. The first cell with a role; NULL if there is none. */
const struct cell *import_cell(const struct row *row, enum field_role role);
/* A cell as text, JSON numbers included; NULL (and im->why) when it is neither. */
const char *import_cell_text(struct import *im, const struct cell *cell);
/* Copies a text cell into the pool; *out is NULL when there is none or it is empty. false: bad. */
bool import_copy(struct import *im, const struct row *row, enum field_role role, const char **out);
bool import_copy_attrs(struct import *im, const struct row *row, const char **out);
/* Says which column is missing, which there are, and how to map one; CLI_ERROR. */
int import_refuse_columns(const struct import *im, enum field_role role, const char *else_say);

#endif
