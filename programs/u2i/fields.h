/* Which column means what. Each kind of row (items, events, users) has fields with their usual column
 * names; --map says otherwise, --attr and --attrs-rest make attributes of further columns, --ignore
 * leaves one out. The same rules hold for the columns of a CSV file and the keys of JSON objects. */
#ifndef CLI_FIELDS_H
#define CLI_FIELDS_H

#include "cli.h"
#include "values.h"

enum field_role {
    ROLE_NONE = 0, /* not used */
    ROLE_ATTR,     /* an attribute under its own name */
    ROLE_ATTRS,    /* an object of attributes */
    ROLE_ID,
    ROLE_TITLE,
    ROLE_TEXT,
    ROLE_CATEGORY,
    ROLE_VECTOR,
    ROLE_USER,
    ROLE_ITEM,
    ROLE_ACTION,
    ROLE_TIME,
    ROLE_TIME_MS, /* a time whose column name says that it is milliseconds */
    ROLE_VALUE,
    ROLE_INTERESTS,
    ROLE_DECAY,
    ROLE_COUNT
};

struct field_spec { /* ends with name NULL; a role may have several names, the first is its own */
    const char *name;
    enum field_role role;
};

struct binding { /* what a column is */
    enum field_role role;
    enum attr_type type;  /* of an attribute */
    char *attr;           /* its name, when not the column's; owned by the rule */
    bool ignored_quietly; /* by --ignore, not for want of a meaning */
};

#define FIELDS_RULES_MAX 256
struct fields_rule {
    char *column;
    struct binding binding;
};
struct fields {
    const struct field_spec *specs;
    struct fields_rule rules[FIELDS_RULES_MAX];
    size_t rules_n;
    bool mapped[ROLE_COUNT];   /* roles that --map gave away: their usual names mean nothing */
    enum field_role rest;      /* of further columns: ROLE_ATTR with --attrs-rest */
    enum field_role rest_keys; /* of further JSON keys */
};

extern const struct option_spec fields_map_options[];  /* --map, --ignore */
extern const struct option_spec fields_attr_options[]; /* --attr, --attrs-rest, --list-separator */

/* Reads the options above (`with_attrs`: also the second group). CLI_OK or an exit code. */
int fields_init(struct fields *f, const struct field_spec *specs, const struct args *args,
                bool with_attrs);
void fields_free(struct fields *f);
struct binding fields_bind(const struct fields *f, const char *column);
struct binding fields_bind_key(const struct fields *f, const char *key); /* the same for JSON */
/* The name that the first of the specs has for a role. */
const char *fields_name(const struct fields *f, enum field_role role);

#endif
