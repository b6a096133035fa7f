/* See query.h. */
#include "query.h"
#include <stdlib.h>
#include <string.h>

#define QUERY_IDS_MAX_BYTES (256u << 20) /* of a file of ids to exclude */

const struct option_spec query_options[] = {
    {.name = "limit", .letter = 'n', .value = "N", .initial = "10", .help = "how many, up to 1000"},
    {.name = "filter",
     .letter = 'f',
     .value = "EXPR",
     .help = "only items that pass, e.g. 'category == \"book\" and price < 20'"},
    {.name = "param",
     .letter = 'p',
     .many = true,
     .value = "NAME=TEXT",
     .help = "value of a {name} in the filter; NAME:=JSON for numbers, true, false and lists"},
    {.name = "exclude", .letter = 'x', .many = true, .value = "ID", .help = "leave an item out"},
    {.name = "exclude-from",
     .value = "FILE",
     .file = true,
     .help = "leave out the items whose ids FILE lists, one per line; - is stdin"},
    {.name = "timeout",
     .value = "MS",
     .initial = "0",
     .help = "give up after so many milliseconds; 0 = never"},
    {.name = "explain",
     .help = "also say what each score is made of, which items of the history add how much to it, "
             "and how the vectors were searched"},
    {0}};

const struct option_spec query_for_options[] = {
    {.name = "for", .value = "USER", .help = "leave out what this user has already acted on"}, {0}};

/* ---- Parameters ------------------------------------------------------------------------------ */

static int query_type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        return U2I_STRING;
    case JSON_INTEGER:
        return U2I_INT;
    case JSON_REAL:
        return U2I_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return U2I_BOOL;
    default:
        return 0;
    }
}

static void query_set_element(const json_t *value, int type, void *list, size_t i) {
    if (type == U2I_STRING) {
        ((const char **)list)[i] = json_string_value(value);
    } else if (type == U2I_REAL) {
        ((double *)list)[i] = json_number_value(value);
    } else {
        ((int64_t *)list)[i] =
            json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
    }
}

/* One type for all elements; whole numbers among others are taken as reals. 0: mixed or nested. */
static int query_list_type(const json_t *list) {
    int type = json_array_size(list) == 0 ? 0 : query_type_of(json_array_get(list, 0));
    for (size_t i = 1; i < json_array_size(list); i++) {
        const int other = query_type_of(json_array_get(list, i));
        const bool numbers =
            (type == U2I_INT || type == U2I_REAL) && (other == U2I_INT || other == U2I_REAL);
        if (other != type) {
            type = numbers ? U2I_REAL : 0;
        }
    }
    return type;
}

static int query_set_list(u2i_param_t *param, const json_t *list) {
    const size_t n = json_array_size(list);
    param->type = query_list_type(list);
    if (param->type == 0) {
        cli_error(
            "--param %s: a list needs at least one element, and all of one type (text, numbers "
            "or booleans)",
            param->name);
        return CLI_USAGE;
    }
    void *const elements = calloc(n, sizeof(double)); /* the largest of the three */
    if (elements == NULL) {
        return cli_no_memory();
    }
    for (size_t i = 0; i < n; i++) {
        query_set_element(json_array_get(list, i), param->type, elements, i);
    }
    param->n = (uint32_t)n;
    param->value.list = elements;
    return CLI_OK;
}

static int query_set_param(u2i_param_t *param, const json_t *value) {
    if (json_is_array(value)) {
        return query_set_list(param, value);
    }
    param->type = query_type_of(value);
    if (param->type == U2I_STRING) {
        param->value.s = json_string_value(value);
    } else if (param->type == U2I_REAL) {
        param->value.r = json_real_value(value);
    } else if (param->type != 0) {
        param->value.i = json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
    } else {
        cli_error("--param %s: the value must be text, a number, true, false or a list of these",
                  param->name);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int query_init_params(struct query *q, const struct args *args) {
    const char *pair, *name;
    json_t *value;
    int code = CLI_OK;
    q->values = json_object();
    if (q->values == NULL) {
        return cli_no_memory();
    }
    for (size_t at = 0; code == CLI_OK && (pair = args_each(args, "param", &at)) != NULL;) {
        code = cli_add_typed(q->values, pair, "--param");
    }
    q->params = calloc(json_object_size(q->values) + 1, sizeof *q->params);
    if (q->params == NULL) {
        return cli_no_memory();
    }
    json_object_foreach(q->values, name, value) {
        if (code == CLI_OK) {
            u2i_param_t *const param = &q->params[q->q.params_n++];
            param->name = name;
            code = query_set_param(param, value);
        }
    }
    q->q.params = q->params;
    return code;
}

/* ---- Exclusions ------------------------------------------------------------------------------ */

/* Ids from --exclude and the lines of --exclude-from, which are cut apart in place. */
static int query_init_exclude(struct query *q, const struct args *args) {
    const char *const file = args_value(args, "exclude-from");
    if (file != NULL) {
        const int code = cli_read_file(file, QUERY_IDS_MAX_BYTES, &q->exclude_file);
        if (code != CLI_OK) {
            return code;
        }
    }
    size_t room = args->options_n + 1;
    for (size_t i = 0; i < q->exclude_file.n; i++) {
        room += q->exclude_file.p[i] == '\n';
    }
    q->exclude = calloc(room, sizeof *q->exclude);
    if (q->exclude == NULL) {
        return cli_no_memory();
    }
    const char *id;
    for (size_t at = 0; (id = args_each(args, "exclude", &at)) != NULL;) {
        q->exclude[q->q.exclude_n++] = id;
    }
    char *rest = NULL;
    char *line = file == NULL || q->exclude_file.p == NULL
                     ? NULL
                     : strtok_r(q->exclude_file.p, "\r\n", &rest);
    for (; line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
        q->exclude[q->q.exclude_n++] = line;
    }
    q->q.exclude = q->exclude;
    return CLI_OK;
}

int query_init(struct query *q, const struct args *args) {
    uint64_t limit = 0, timeout_ms = 0;
    *q = (struct query){.q = U2I_QUERY_INIT};
    int code = args_number(args, "limit", 1, U2I_LIMIT_MAX, &limit);
    if (code == CLI_OK) {
        code = args_number(args, "timeout", 0, UINT32_MAX, &timeout_ms);
    }
    if (code == CLI_OK && args_has(args, "param") && args_value(args, "filter") == NULL) {
        cli_error("--param gives a value to a {name} in --filter, and there is no --filter");
        code = CLI_USAGE;
    }
    if (code == CLI_OK) {
        code = query_init_params(q, args);
    }
    if (code == CLI_OK) {
        code = query_init_exclude(q, args);
    }
    q->q.limit = (uint32_t)limit;
    q->q.timeout_ms = (uint32_t)timeout_ms;
    q->q.filter = args_value(args, "filter");
    return code;
}

void query_free(struct query *q) {
    for (size_t i = 0; q->params != NULL && i < q->q.params_n; i++) {
        if (q->params[i].n > 0) {
            union { /* the library takes the list as const; it was made by query_set_list() */
                const void *given;
                void *made;
            } list = {q->params[i].value.list};
            free(list.made);
        }
    }
    free(q->params);
    free(q->exclude);
    free(q->vector);
    text_free(&q->exclude_file);
    json_decref(q->values);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

#define QUERY_WINDOW_BYTES 60 /* of a filter, around the mark */

static bool query_is_inside_char(const char *s, size_t at) {
    return ((unsigned char)s[at] & 0xc0) == 0x80;
}

/* The filter, or its part around the mark, with the mark in the line below. */
static void query_show_mark(const char *filter, size_t at) {
    const size_t n = strlen(filter), half = QUERY_WINDOW_BYTES / 2;
    size_t from = n <= QUERY_WINDOW_BYTES || at <= half ? 0 : at - half;
    size_t to =
        n <= QUERY_WINDOW_BYTES || n - from <= QUERY_WINDOW_BYTES ? n : from + QUERY_WINDOW_BYTES;
    while (from < at && query_is_inside_char(filter, from)) {
        from++;
    }
    while (to < n && query_is_inside_char(filter, to)) {
        to++;
    }
    struct text lines = {0};
    text_str(&lines, from > 0 ? "  ..." : "  ");
    display_clean(&lines, filter + from, to - from);
    text_str(&lines, to < n ? "...\n  " : "\n  ");
    text_fill(&lines, ' ', display_width(filter + from, at - from) + (from > 0 ? 3 : 0));
    (void)fprintf(stderr, "%s^\n", text_cstr(&lines));
    text_free(&lines);
}

int query_fail(const struct query *q, const u2i_error_t *err, const char *doing) {
    const int code = cli_fail(err, doing);
    const char *const filter = q->q.filter;
    if (err->code != U2I_EFILTER || filter == NULL || err->offset < 0 ||
        (size_t)err->offset > strlen(filter)) {
        return code;
    }
    query_show_mark(filter, (size_t)err->offset);
    return code;
}
