/* Events from rows: user, item, action, a time, value, and an id.
 *
 * An event without an id of its own gets "FILE:LINE:ROW", made of a fingerprint of the file (its name
 * and its first two lines), the line number, and a hash of what the line says. So importing a file
 * again, after an interruption or when lines were added at its end, records nothing twice, while
 * another file of the same name, or a line that was corrected, is new. */
#include "import.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct field_spec import_event_fields[] = {
    {"user", ROLE_USER},      {"item", ROLE_ITEM}, {"action", ROLE_ACTION},
    {"timestamp", ROLE_TIME}, {"time", ROLE_TIME}, {"time_ms", ROLE_TIME_MS},
    {"value", ROLE_VALUE},    {"id", ROLE_ID},     {"event_id", ROLE_ID},
    {NULL, ROLE_NONE}};

static int import_events_map(struct import *im, const char *rule) {
    const char *const equals = strchr(rule, '=');
    if (equals == NULL || equals == rule || equals[1] == '\0') {
        cli_error("--map-action %s: write THEIRS=OURS, e.g. --map-action return=dislike", rule);
        return CLI_USAGE;
    }
    char *const theirs = strndup(rule, (size_t)(equals - rule));
    const int rc =
        theirs == NULL ? -1 : json_object_set_new(im->action_map, theirs, json_string(equals + 1));
    free(theirs);
    if (rc != 0) {
        cli_error("--map-action %s: not valid UTF-8", rule);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int import_events_start(struct import *im, const struct args *args) {
    im->action = args_value(args, "action");
    im->time_unit = times_unit(args_value(args, "time-unit"));
    im->no_value = args_has(args, "no-value");
    im->no_ids = args_has(args, "no-ids");
    im->action_map = json_object();
    if (im->action_map == NULL) {
        return cli_no_memory();
    }
    const char *rule;
    int code = CLI_OK;
    for (size_t at = 0; code == CLI_OK && (rule = args_each(args, "map-action", &at)) != NULL;) {
        code = import_events_map(im, rule);
    }
    return code;
}

static int import_events_check(struct import *im) {
    if (!rows_have(im->rows, ROLE_USER)) {
        return import_refuse_columns(im, ROLE_USER, "");
    }
    if (!rows_have(im->rows, ROLE_ITEM)) {
        return import_refuse_columns(im, ROLE_ITEM, "");
    }
    if (!rows_have(im->rows, ROLE_ACTION) && im->action == NULL) {
        return import_refuse_columns(im, ROLE_ACTION, ", or --action view for all rows");
    }
    return CLI_OK;
}

static bool import_events_action(struct import *im, const struct row *row, const char **out) {
    if (!import_copy(im, row, ROLE_ACTION, out)) {
        return false;
    }
    if (*out == NULL) {
        *out = im->action;
        if (*out == NULL) {
            text_str(&im->why, "no action; --action view gives one to such rows");
        }
        return *out != NULL;
    }
    const char *const mapped = json_string_value(json_object_get(im->action_map, *out));
    *out = mapped != NULL ? mapped : *out;
    return true;
}

static bool import_events_time(struct import *im, const struct row *row, int64_t *out) {
    const struct cell *const in_ms = import_cell(row, ROLE_TIME_MS);
    const struct cell *const cell = in_ms != NULL ? in_ms : import_cell(row, ROLE_TIME);
    *out = 0; /* now */
    if (cell == NULL) {
        return true;
    }
    const char *const text = import_cell_text(im, cell);
    if (text == NULL) {
        return false;
    }
    if (!times_parse(text, in_ms != NULL ? TIME_MS : im->time_unit, out) || *out == 0) {
        text_fmt(&im->why,
                 "%s: '%.40s' is not a time (Unix seconds or milliseconds, or "
                 "2024-05-17T08:30:00Z)",
                 cell->name, text);
        return false;
    }
    return true;
}

static bool import_events_value(struct import *im, const struct row *row, float *out) {
    const struct cell *const cell = im->no_value ? NULL : import_cell(row, ROLE_VALUE);
    const char *const text = cell == NULL ? "" : import_cell_text(im, cell);
    *out = 0; /* none: counts as 1 */
    if (text == NULL) {
        return false;
    }
    if (*text == '\0') {
        return true;
    }
    char *end;
    *out = strtof(text, &end);
    if (*end != '\0' || !isfinite(*out) || *out <= 0 || (double)*out > U2I_VALUE_MAX) {
        text_fmt(&im->why,
                 "%s: '%.40s' is not a number over 0 and up to %g; --no-value ignores the "
                 "column",
                 cell->name, text, U2I_VALUE_MAX);
        return false;
    }
    return true;
}

static bool import_events_id(struct import *im, const struct row *row, const char **out) {
    if (!import_copy(im, row, ROLE_ID, out)) {
        return false;
    }
    if (*out != NULL || im->no_ids) {
        return true;
    }
    char id[64];
    const int n =
        snprintf(id, sizeof id, "%012llx:%llu:%08llx", (unsigned long long)(im->fingerprint >> 16),
                 (unsigned long long)row->line, (unsigned long long)(row->hash >> 32));
    *out = pool_copy(&im->pool, id, (size_t)n);
    if (*out == NULL) {
        text_str(&im->why, "out of memory");
    }
    return *out != NULL;
}

static bool import_events_fill(struct import *im, const struct row *row, void *element) {
    u2i_event_t *const event = element;
    if (!import_copy(im, row, ROLE_USER, &event->user) ||
        !import_copy(im, row, ROLE_ITEM, &event->item) ||
        !import_events_action(im, row, &event->action) ||
        !import_events_time(im, row, &event->time_ms) ||
        !import_events_value(im, row, &event->value) || !import_events_id(im, row, &event->id)) {
        return false;
    }
    if (event->user == NULL || event->item == NULL) {
        text_str(&im->why, event->user == NULL ? "no user" : "no item");
        return false;
    }
    return true;
}

static int import_events_put(struct import *im, const void *elements, size_t n, size_t *fresh,
                             u2i_error_t *err) {
    return u2i_record(im->store, elements, n, sizeof(u2i_event_t), fresh, err);
}

const struct import_kind import_events = {.name = "events",
                                          .fields = import_event_fields,
                                          .element_size = sizeof(u2i_event_t),
                                          .start = import_events_start,
                                          .check = import_events_check,
                                          .fill = import_events_fill,
                                          .put = import_events_put};
