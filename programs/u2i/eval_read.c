/* See eval.h. CSV files of a split by the names of their columns. Rows are taken as they are: a file of a
 * benchmark that does not parse is refused as a whole, with its line, instead of judged without it. */
#include "csv.h"
#include "eval.h"
#include "input.h"
#include "times.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Tables ----------------------------------------------------------------------------------- */

char *eval_find_file(const char *folder, const char *name) {
    static const char *const ends[] = {".csv", ".csv.gz", ""};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct text path = {0};
        text_fmt(&path, "%s/%s%s", folder, name, ends[i]);
        if (text_ok(&path) && access(text_cstr(&path), R_OK) == 0) {
            return path.p; /* the caller's */
        }
        text_free(&path);
    }
    return NULL;
}

static int eval_table_fail(const struct eval_table *t, const char *why) {
    const char *const reading = input_error(t->in);
    cli_error("%s:%llu: %s", t->path, (unsigned long long)csv_line(t->csv),
              *reading != '\0' ? reading : why);
    return CLI_ERROR;
}

/* Whether `word` (of n bytes) is one of "a|b|c". */
static bool eval_is_among(const char *choices, const char *word, size_t n) {
    while (*choices != '\0') {
        const size_t length = strcspn(choices, "|");
        if (length == n && memcmp(choices, word, n) == 0) {
            return true;
        }
        choices += length + (choices[length] == '|');
    }
    return false;
}

/* Finds the columns in the header; the first `required` ones must be there. */
static int eval_table_header(struct eval_table *t, const char *const *names, size_t required) {
    const struct csv_field *fields;
    if (csv_next(t->csv, &fields, &t->width) != CSV_ROW) {
        return eval_table_fail(t, "a header line with the names of the columns is expected");
    }
    for (size_t i = 0; i < t->n; i++) {
        t->columns[i] = SIZE_MAX;
        for (size_t c = t->width; c-- > 0;) {
            if (eval_is_among(names[i], fields[c].s, fields[c].n)) {
                t->columns[i] = c;
            }
        }
        if (i < required && t->columns[i] == SIZE_MAX) {
            cli_error("%s: there is no column %.*s", t->path, (int)strcspn(names[i], "|"),
                      names[i]);
            return CLI_ERROR;
        }
    }
    return CLI_OK;
}

int eval_table_open(struct eval_table *t, const char *path, const char *const *names, size_t n,
                    size_t required) {
    char why[256];
    *t = (struct eval_table){.path = path, .n = n};
    if (input_open(path, &t->in, why, sizeof why) != 0) {
        cli_error("%s: %s", path, why);
        return CLI_ERROR;
    }
    t->csv = csv_new(input_read, t->in, ',');
    const int code = t->csv == NULL ? cli_no_memory() : eval_table_header(t, names, required);
    if (code != CLI_OK) {
        eval_table_close(t);
    }
    return code;
}

int eval_table_next(struct eval_table *t, bool *more) {
    const struct csv_field *fields;
    size_t n;
    const int rc = csv_next(t->csv, &fields, &n);
    *more = rc == CSV_ROW;
    if (rc == CSV_END) {
        return CLI_OK;
    }
    if (rc != CSV_ROW) {
        return eval_table_fail(t, csv_error(t->csv));
    }
    if (n != t->width) {
        return eval_table_fail(t, "this row has more or fewer fields than the header");
    }
    for (size_t i = 0; i < t->n; i++) {
        t->cells[i] = t->columns[i] == SIZE_MAX ? NULL : fields[t->columns[i]].s;
    }
    return CLI_OK;
}

void eval_table_close(struct eval_table *t) {
    csv_free(t->csv);
    input_close(t->in);
    t->csv = NULL;
    t->in = NULL;
}

/* ---- Catalogue -------------------------------------------------------------------------------- */

/* A copy for good; NULL for an empty cell, or (and *failed) when memory ran out. */
static const char *eval_keep(struct eval_world *w, const char *cell, bool *failed) {
    if (cell == NULL || *cell == '\0') {
        return NULL;
    }
    const char *const copy = pool_copy(&w->pool, cell, strlen(cell));
    *failed = *failed || copy == NULL;
    return copy;
}

static int eval_add_item(struct eval_world *w, const struct eval_table *t, bool with_text) {
    const uint32_t before = w->items.n, item = eval_ids_put(&w->items, t->cells[0]);
    bool failed = item == EVAL_NO_ID;
    if (!failed && item < before) {
        return eval_table_fail(t, "this item is there twice");
    }
    if (!failed && w->catalogue_n == w->catalogue_cap) {
        const uint32_t cap = w->catalogue_cap == 0 ? 1024 : w->catalogue_cap * 2;
        struct eval_item *const grown = realloc(w->catalogue, cap * sizeof *grown);
        failed = grown == NULL;
        w->catalogue = failed ? w->catalogue : grown;
        w->catalogue_cap = failed ? w->catalogue_cap : cap;
    }
    if (!failed) {
        w->catalogue[w->catalogue_n++] = (struct eval_item){
            eval_keep(w, t->cells[1], &failed), eval_keep(w, t->cells[2], &failed),
            with_text ? eval_keep(w, t->cells[3], &failed) : NULL};
    }
    return failed ? cli_no_memory() : CLI_OK;
}

static int eval_compare_words(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The different words of `s`, as numbers, ascending, appended to the item's. False: out of memory. */
static bool eval_add_words(struct eval_kinds *k, struct eval_ids *words, const char *s,
                           size_t *cap) {
    static const char gaps[] = " \t|,;/()";
    const uint32_t first = k->starts[k->n];
    uint32_t n = first;
    char word[128];
    for (s += strspn(s, gaps); *s != '\0'; s += strspn(s, gaps)) {
        const size_t whole = strcspn(s, gaps),
                     length = whole < sizeof word ? whole : sizeof word - 1;
        for (size_t i = 0; i < length; i++) {
            word[i] = (char)tolower((unsigned char)s[i]);
        }
        word[length] = '\0';
        s += whole;
        if (n == *cap) {
            uint32_t *const grown = realloc(k->words, *cap * 2 * sizeof *grown);
            if (grown == NULL) {
                return false;
            }
            k->words = grown;
            *cap *= 2;
        }
        k->words[n] = eval_ids_put(words, word);
        if (k->words[n++] == EVAL_NO_ID) {
            return false;
        }
    }
    qsort(k->words + first, n - first, sizeof *k->words, eval_compare_words);
    uint32_t kept = first;
    for (uint32_t i = first; i < n; i++) {
        if (i == first || k->words[i] != k->words[i - 1]) {
            k->words[kept++] = k->words[i];
        }
    }
    k->starts[++k->n] = kept;
    return true;
}

/* What items are alike by: the words of their categories, or of their titles if none has a category. */
static int eval_find_kinds(struct eval_world *w) {
    struct eval_ids words = {.n = 0};
    size_t cap = 4096;
    bool categories = false, ok;
    for (uint32_t i = 0; i < w->catalogue_n; i++) {
        categories = categories || w->catalogue[i].category != NULL;
    }
    w->kinds.starts = calloc((size_t)w->catalogue_n + 1, sizeof *w->kinds.starts);
    w->kinds.words = malloc(cap * sizeof *w->kinds.words);
    ok = w->kinds.starts != NULL && w->kinds.words != NULL;
    for (uint32_t i = 0; ok && i < w->catalogue_n; i++) {
        const char *const s = categories ? w->catalogue[i].category : w->catalogue[i].title;
        ok = eval_add_words(&w->kinds, &words, s == NULL ? "" : s, &cap);
    }
    eval_ids_free(&words);
    return ok ? CLI_OK : cli_no_memory();
}

int eval_read_catalogue(struct eval_world *w, const char *path, bool with_text) {
    static const char *const names[] = {"id|item", "title", "category", "text"};
    struct eval_table t;
    bool more = true;
    int code = eval_table_open(&t, path, names, 4, 1);
    if (code != CLI_OK) {
        return code;
    }
    while (code == CLI_OK && (code = eval_table_next(&t, &more)) == CLI_OK && more) {
        code = eval_add_item(w, &t, with_text);
    }
    eval_table_close(&t);
    return code == CLI_OK ? eval_find_kinds(w) : code;
}

void eval_world_free(struct eval_world *w) {
    eval_ids_free(&w->users);
    eval_ids_free(&w->items);
    eval_ids_free(&w->actions);
    pool_free(&w->pool);
    free(w->catalogue);
    free(w->kinds.starts);
    free(w->kinds.words);
}

/* ---- Events ----------------------------------------------------------------------------------- */

bool eval_events_add(struct eval_events *events, struct eval_event e) {
    if (events->n == events->cap) {
        const size_t cap = events->cap == 0 ? 4096 : events->cap * 2;
        struct eval_event *const grown = realloc(events->e, cap * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        events->e = grown;
        events->cap = cap;
    }
    events->e[events->n++] = e;
    return true;
}

static int eval_add_event(struct eval_world *w, const struct eval_table *t,
                          struct eval_events *out) {
    const char *const time = t->cells[3] != NULL ? t->cells[3] : t->cells[4], *const value =
                                                                                  t->cells[5];
    struct eval_event e = {.user = eval_ids_put(&w->users, t->cells[0]),
                           .item = eval_ids_put(&w->items, t->cells[1]),
                           .action = eval_ids_put(&w->actions, t->cells[2])};
    const enum time_unit unit = t->cells[3] != NULL ? TIME_AUTO : TIME_MS;
    if (time == NULL || !times_parse(time, unit, &e.time_ms)) {
        return eval_table_fail(t,
                               time == NULL ? "there is no column timestamp" : "the time is none");
    }
    if (value != NULL && *value != '\0') {
        char *end;
        e.value = strtof(value, &end);
        if (*end != '\0' || !isfinite(e.value)) {
            return eval_table_fail(t, "the value is not a number");
        }
    }
    const bool ok = e.user != EVAL_NO_ID && e.item != EVAL_NO_ID && e.action != EVAL_NO_ID;
    return ok && eval_events_add(out, e) ? CLI_OK : cli_no_memory();
}

int eval_read_events(struct eval_world *w, const char *path, bool optional,
                     struct eval_events *out) {
    static const char *const names[] = {"user",           "item",    "action",
                                        "timestamp|time", "time_ms", "value"};
    struct eval_table t;
    bool more = true;
    if (optional && (path == NULL || access(path, F_OK) != 0)) {
        return CLI_OK;
    }
    int code = eval_table_open(&t, path, names, 6, 3);
    if (code != CLI_OK) {
        return code;
    }
    while (code == CLI_OK && (code = eval_table_next(&t, &more)) == CLI_OK && more) {
        code = eval_add_event(w, &t, out);
    }
    eval_table_close(&t);
    return code;
}
