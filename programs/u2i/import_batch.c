/* Rows become elements of one batch, and a batch is one transaction of the library.
 *
 * The library checks what a row says (ids, vectors, known items) and names the first bad element of a
 * batch; that one is reported with its line and taken out, and the rest is tried again. So every rule
 * is written once, in the library. An id that comes twice starts a new batch: the later row wins, as
 * in any upsert. */
#include "import.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define IMPORT_SHOWN 10 /* bad rows on stderr; --errors has them all */

int import_batch_start(struct import *im) {
    im->slots_n = 16;
    while (im->slots_n < 2 * im->batch) {
        im->slots_n *= 2;
    }
    im->elements = calloc(im->batch, im->kind->element_size);
    im->lines = calloc(im->batch, sizeof *im->lines);
    im->slots = calloc(im->slots_n, sizeof *im->slots);
    return im->elements == NULL || im->lines == NULL || im->slots == NULL ? cli_no_memory()
                                                                          : CLI_OK;
}

void import_batch_free(struct import *im) {
    pool_free(&im->pool);
    free(im->elements);
    free(im->lines);
    free(im->slots);
    text_free(&im->why);
    text_free(&im->scratch);
    text_free(&im->attrs);
}

int import_bad(struct import *im, uint64_t line, const char *why) {
    const char *const name = im->file_name;
    im->file.bad++;
    im->total.bad++;
    if (im->errors != NULL) {
        struct text clean = {0};
        display_clean(&clean, why, strlen(why));
        (void)fprintf(im->errors, "%s:%llu: %s\n", name, (unsigned long long)line,
                      text_cstr(&clean)); /* checked when it is closed */
        text_free(&clean);
    }
    if (im->total.bad <= IMPORT_SHOWN) {
        progress_clear(&im->progress);
        cli_error("%s:%llu: %s", name, (unsigned long long)line, why);
    }
    if (im->total.bad <= im->max_errors) {
        return CLI_OK;
    }
    if (im->stopped) {
        return CLI_BADROWS;
    }
    im->stopped = true;
    progress_clear(&im->progress);
    cli_error("stopped at %s:%llu: %llu bad %s, and --max-errors allows %llu; "
              "good rows before it are imported",
              name, (unsigned long long)line, (unsigned long long)im->total.bad,
              im->total.bad == 1 ? "row" : "rows", (unsigned long long)im->max_errors);
    return CLI_BADROWS;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void import_batch_remove(struct import *im, size_t i) {
    const size_t size = im->kind->element_size, after = im->n - i - 1;
    memmove(im->elements + i * size, im->elements + (i + 1) * size, after * size);
    memmove(im->lines + i, im->lines + i + 1, after * sizeof *im->lines);
    im->n--;
}

/* Whether a code blames one element, so that the others may go on without it. */
static bool import_batch_blames(const struct import *im, int rc, const u2i_error_t *err) {
    return (rc == U2I_EINVAL || rc == U2I_ENOTFOUND || rc == U2I_EEMBED) && err->offset >= 0 &&
           (size_t)err->offset < im->n;
}

int import_batch_flush(struct import *im) {
    int code = CLI_OK;
    while (im->n > 0) {
        u2i_error_t err;
        size_t fresh = 0;
        const int rc = im->kind->put(im, im->elements, im->n, &fresh, &err);
        if (rc == U2I_OK) {
            im->file.fresh += fresh;
            im->file.put += im->n;
            break;
        }
        if (!import_batch_blames(im, rc, &err)) {
            progress_clear(&im->progress);
            code = cli_fail(&err, "writing a batch");
            break;
        }
        const size_t bad = (size_t)err.offset;
        const int too_many = import_bad(im, im->lines[bad], cli_skip_entry(err.msg));
        import_batch_remove(im, bad);
        if (too_many != CLI_OK) {
            code = too_many;
            im->n = bad; /* what came before the row at which we stop is still written */
        }
    }
    im->n = 0;
    pool_reset(&im->pool);
    memset(im->slots, 0, im->slots_n * sizeof *im->slots);
    return code;
}

int import_bad_row(struct import *im, uint64_t line, const char *why) {
    const int code = im->total.bad >= im->max_errors ? import_batch_flush(im) : CLI_OK;
    return code == CLI_OK ? import_bad(im, line, why) : code;
}

/* ---- Ids of a batch --------------------------------------------------------------------------- */

static const char *import_batch_id(const struct import *im, size_t i) {
    const char *id;
    memcpy(&id, im->elements + i * im->kind->element_size, sizeof id); /* the first member */
    return id;
}

/* The slot of an id: taken by it, or free. */
static uint32_t *import_batch_slot(const struct import *im, const char *id) {
    size_t at = rows_hash(ROWS_HASH_START, id, strlen(id)) & (im->slots_n - 1);
    while (im->slots[at] != 0 && strcmp(import_batch_id(im, im->slots[at] - 1), id) != 0) {
        at = (at + 1) & (im->slots_n - 1);
    }
    return &im->slots[at];
}

/* ---- Adding ---------------------------------------------------------------------------------- */

static bool import_utf8(struct import *im, const struct row *row) {
    for (size_t i = 0; i < row->cells_n; i++) {
        const struct cell *const c = &row->cells[i];
        if (c->json != NULL || c->binding.role == ROLE_NONE) {
            continue; /* JSON text is checked by its parser */
        }
        for (size_t at = 0; at < c->n;) {
            utf8proc_int32_t code;
            const utf8proc_ssize_t len =
                (unsigned char)c->text[at] < 0x80
                    ? 1
                    : utf8proc_iterate((const utf8proc_uint8_t *)c->text + at,
                                       (utf8proc_ssize_t)(c->n - at), &code);
            if (len <= 0) {
                text_fmt(&im->why,
                         "column %s: not valid UTF-8 at byte %zu; convert the file first "
                         "(iconv -t UTF-8)",
                         c->name, at);
                return false;
            }
            at += (size_t)len;
        }
    }
    return true;
}

int import_batch_add(struct import *im, const struct row *row) {
    text_clear(&im->why);
    const struct cell *const id = im->kind->unique ? import_cell(row, ROLE_ID) : NULL;
    const char *const id_text = id == NULL ? NULL : import_cell_text(im, id);
    int code = CLI_OK;
    if (im->n == im->batch || im->pool.bytes >= IMPORT_BATCH_BYTES ||
        (id_text != NULL && *import_batch_slot(im, id_text) != 0)) {
        code = import_batch_flush(im);
    }
    if (code != CLI_OK) {
        return code;
    }
    char *const element = im->elements + im->n * im->kind->element_size;
    memset(element, 0, im->kind->element_size);
    text_clear(&im->why);
    if (!import_utf8(im, row) || !im->kind->fill(im, row, element)) {
        return import_bad_row(im, row->line, text_cstr(&im->why));
    }
    im->lines[im->n] = row->line;
    im->n++;
    if (im->kind->unique) {
        *import_batch_slot(im, import_batch_id(im, im->n - 1)) = (uint32_t)im->n;
    }
    return CLI_OK;
}

/* ---- Cells ----------------------------------------------------------------------------------- */

const struct cell *import_cell(const struct row *row, enum field_role role) {
    for (size_t i = 0; i < row->cells_n; i++) {
        if (row->cells[i].binding.role == role) {
            return &row->cells[i];
        }
    }
    return NULL;
}

const char *import_cell_text(struct import *im, const struct cell *cell) {
    if (cell->text != NULL) {
        return cell->text;
    }
    if (json_is_integer(cell->json)) {
        (void)snprintf(im->number, sizeof im->number, "%" JSON_INTEGER_FORMAT,
                       json_integer_value(cell->json));
        return im->number;
    }
    if (json_is_real(cell->json)) {
        text_clear(&im->scratch);
        text_json_real(&im->scratch, json_real_value(cell->json));
        (void)snprintf(im->number, sizeof im->number, "%s", text_cstr(&im->scratch));
        return im->number;
    }
    text_fmt(&im->why, "%s: text is expected", cell->name);
    return NULL;
}

bool import_copy(struct import *im, const struct row *row, enum field_role role, const char **out) {
    const struct cell *const cell = import_cell(row, role);
    *out = NULL;
    if (cell == NULL) {
        return true;
    }
    const char *const text = import_cell_text(im, cell);
    if (text == NULL) {
        return false;
    }
    if (*text == '\0') {
        return true;
    }
    *out = pool_copy(&im->pool, text, strlen(text));
    if (*out == NULL) {
        text_str(&im->why, "out of memory");
    }
    return *out != NULL;
}

/* ---- Attributes ------------------------------------------------------------------------------ */

static const char *import_attr_name(const struct cell *cell) {
    return cell->binding.attr != NULL ? cell->binding.attr : cell->name;
}

static bool import_add_attr(struct import *im, const struct cell *cell) {
    if (cell->json == NULL && cell->n == 0) {
        return true; /* an empty CSV cell: no such attribute */
    }
    text_json_key(&im->attrs, import_attr_name(cell));
    if (cell->json != NULL) {
        text_json_value(&im->attrs, cell->json);
        return true;
    }
    if (values_json(&im->attrs, cell->text, cell->n, cell->binding.type, im->list_separator)) {
        return true;
    }
    text_fmt(&im->why, "column %s: '%.60s' is not a %s; --attr %s:text takes it as it is",
             cell->name, cell->text, values_type_name(cell->binding.type), cell->name);
    return false;
}

/* The members of an object that no cell of their own overrides. */
static void import_add_members(struct import *im, const struct row *row, json_t *object) {
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        bool overridden = false;
        for (size_t i = 0; i < row->cells_n; i++) {
            const struct cell *const c = &row->cells[i];
            overridden =
                overridden || (c->binding.role == ROLE_ATTR && (c->json != NULL || c->n > 0) &&
                               strcmp(import_attr_name(c), name) == 0);
        }
        if (!overridden) {
            text_json_key(&im->attrs, name);
            text_json_value(&im->attrs, value);
        }
    }
}

/* The object in a cell named "attrs": JSON as it is, or JSON as text. */
static bool import_add_object(struct import *im, const struct row *row) {
    const struct cell *const cell = import_cell(row, ROLE_ATTRS);
    if (cell == NULL || (cell->text != NULL && cell->n == 0)) {
        return true;
    }
    json_error_t why = {.text = "an object is expected"};
    json_t *const object = cell->text != NULL
                               ? json_loadb(cell->text, cell->n, JSON_REJECT_DUPLICATES, &why)
                               : json_incref(cell->json);
    const bool right = json_is_object(object);
    if (right) {
        import_add_members(im, row, object);
    } else {
        text_fmt(&im->why, "%s: %s", cell->name,
                 object == NULL ? why.text : "an object {...} is expected");
    }
    json_decref(object);
    return right;
}

bool import_copy_attrs(struct import *im, const struct row *row, const char **out) {
    *out = NULL;
    text_clear(&im->attrs);
    text_char(&im->attrs, '{');
    if (!import_add_object(im, row)) {
        return false;
    }
    for (size_t i = 0; i < row->cells_n; i++) {
        if (row->cells[i].binding.role == ROLE_ATTR && !import_add_attr(im, &row->cells[i])) {
            return false;
        }
    }
    text_char(&im->attrs, '}');
    if (!text_ok(&im->attrs)) {
        text_str(&im->why, "the attributes are nested too deep or too large");
        return false;
    }
    if (im->attrs.n == 2) {
        return true; /* {} */
    }
    *out = pool_copy(&im->pool, im->attrs.p, im->attrs.n);
    if (*out == NULL) {
        text_str(&im->why, "out of memory");
    }
    return *out != NULL;
}

int import_refuse_columns(const struct import *im, enum field_role role, const char *else_say) {
    struct text columns = {0};
    rows_list_columns(im->rows, false, &columns);
    const char *const field = fields_name(&im->fields, role);
    cli_error("%s: no column for %s; it has %s. Say --map %s=COLUMN%s", im->file_name, field,
              text_cstr(&columns), field, else_say);
    text_free(&columns);
    return CLI_ERROR;
}
