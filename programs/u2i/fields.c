/* See fields.h. Rules are few and looked up once per CSV column, once per key of a JSON line; a
 * linear search is enough. The last rule for a column wins. */
#include "fields.h"
#include <stdlib.h>
#include <string.h>

const struct option_spec fields_map_options[] = {
    {.name = "map",
     .letter = 'm',
     .many = true,
     .value = "FIELD=COLUMN",
     .help = "take a field from the column (or JSON key) of that name"},
    {.name = "ignore", .many = true, .value = "COLUMN", .help = "leave a column out"},
    {0}};

const struct option_spec fields_attr_options[] = {
    {.name = "attr",
     .letter = 'a',
     .many = true,
     .value = "[NAME=]COLUMN[:TYPE]",
     .help = "make a column an attribute; TYPE is text, number, bool, list or json, "
             "and inferred when left out"},
    {.name = "attrs-rest", .help = "make attributes of all further columns of a CSV file"},
    {.name = "list-separator",
     .value = "CHAR",
     .initial = "|",
     .help = "what separates the elements of a list in a CSV cell"},
    {0}};

static int fields_add(struct fields *f, const char *column, size_t n, struct binding binding) {
    if (f->rules_n == FIELDS_RULES_MAX) {
        cli_error("more than %d rules for columns", FIELDS_RULES_MAX);
        return CLI_USAGE;
    }
    char *const copy = strndup(column, n);
    if (copy == NULL) {
        return cli_no_memory();
    }
    f->rules[f->rules_n++] = (struct fields_rule){copy, binding};
    return CLI_OK;
}

static enum field_role fields_role(const struct field_spec *specs, const char *name, size_t n) {
    for (const struct field_spec *s = specs; s->name != NULL; s++) {
        if (strlen(s->name) == n && memcmp(s->name, name, n) == 0) {
            return s->role;
        }
    }
    return ROLE_NONE;
}

static int fields_add_map(struct fields *f, const char *rule) {
    const char *const equals = strchr(rule, '=');
    const size_t n = equals == NULL ? strlen(rule) : (size_t)(equals - rule);
    const enum field_role role = fields_role(f->specs, rule, n);
    if (equals == NULL || equals[1] == '\0') {
        cli_error("--map %s: write FIELD=COLUMN, e.g. --map %s=my_column", rule, f->specs[0].name);
        return CLI_USAGE;
    }
    if (role == ROLE_NONE) {
        struct text names = {0};
        for (const struct field_spec *s = f->specs; s->name != NULL; s++) {
            text_fmt(&names, "%s%s", names.n > 0 ? ", " : "", s->name);
        }
        cli_error("--map %s: there is no field %.*s; the fields are %s", rule, (int)n, rule,
                  text_cstr(&names));
        text_free(&names);
        return CLI_USAGE;
    }
    f->mapped[role] = true;
    if (role == ROLE_TIME_MS || role == ROLE_TIME) { /* one field, two units */
        f->mapped[ROLE_TIME] = f->mapped[ROLE_TIME_MS] = true;
    }
    return fields_add(f, equals + 1, strlen(equals + 1), (struct binding){.role = role});
}

/* [NAME=]COLUMN[:TYPE] */
static int fields_add_attr(struct fields *f, const char *rule) {
    struct binding binding = {.role = ROLE_ATTR};
    const char *const equals = strchr(rule, '=');
    const char *const column = equals == NULL ? rule : equals + 1;
    const char *const colon = strrchr(column, ':');
    size_t n = strlen(column);
    if (colon != NULL) {
        if (!values_type(colon + 1, &binding.type)) {
            cli_error("--attr %s: there is no type '%s'; it is text, number, bool, list, json or "
                      "auto",
                      rule, colon + 1);
            return CLI_USAGE;
        }
        n = (size_t)(colon - column);
    }
    if (n == 0 || equals == rule) {
        cli_error("--attr %s: write [NAME=]COLUMN[:TYPE], e.g. --attr price:number", rule);
        return CLI_USAGE;
    }
    if (equals != NULL) {
        binding.attr = strndup(rule, (size_t)(equals - rule));
        if (binding.attr == NULL) {
            return cli_no_memory();
        }
    }
    const int code = fields_add(f, column, n, binding);
    if (code != CLI_OK) {
        free(binding.attr);
    }
    return code;
}

int fields_init(struct fields *f, const struct field_spec *specs, const struct args *args,
                bool with_attrs) {
    *f = (struct fields){.specs = specs};
    const char *value;
    int code = CLI_OK;
    for (size_t at = 0; code == CLI_OK && (value = args_each(args, "map", &at)) != NULL;) {
        code = fields_add_map(f, value);
    }
    for (size_t at = 0; code == CLI_OK && (value = args_each(args, "ignore", &at)) != NULL;) {
        code = fields_add(f, value, strlen(value),
                          (struct binding){.role = ROLE_NONE, .ignored_quietly = true});
    }
    for (size_t at = 0;
         with_attrs && code == CLI_OK && (value = args_each(args, "attr", &at)) != NULL;) {
        code = fields_add_attr(f, value);
    }
    if (with_attrs) {
        f->rest_keys = ROLE_ATTR;
        f->rest = args_has(args, "attrs-rest") ? ROLE_ATTR : ROLE_NONE;
    }
    if (code != CLI_OK) {
        fields_free(f);
    }
    return code;
}

void fields_free(struct fields *f) {
    for (size_t i = 0; i < f->rules_n; i++) {
        free(f->rules[i].column);
        free(f->rules[i].binding.attr);
    }
    f->rules_n = 0;
}

struct binding fields_bind(const struct fields *f, const char *column) {
    for (size_t i = f->rules_n; i-- > 0;) {
        if (strcmp(f->rules[i].column, column) == 0) {
            return f->rules[i].binding;
        }
    }
    const enum field_role role = fields_role(f->specs, column, strlen(column));
    if (role != ROLE_NONE && !f->mapped[role]) {
        return (struct binding){.role = role};
    }
    return (struct binding){.role = f->rest};
}

struct binding fields_bind_key(const struct fields *f, const char *key) {
    struct binding binding = fields_bind(f, key);
    if (binding.role == ROLE_NONE && !binding.ignored_quietly) {
        binding.role = f->rest_keys;
    }
    return binding;
}

const char *fields_name(const struct fields *f, enum field_role role) {
    for (const struct field_spec *s = f->specs; s->name != NULL; s++) {
        if (s->role == role) {
            return s->name;
        }
    }
    return "?";
}
