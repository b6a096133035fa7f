/* Attributes and vectors given on the command line of `item put` and `user set`. */
#ifndef CLI_ATTRS_H
#define CLI_ATTRS_H

#include "cli.h"

extern const struct option_spec attrs_options[]; /* --attr, --attrs */

/* --attrs JSON (an object; without it, `before`, which may be NULL) with each --attr on top of it;
 * an attribute of null is taken away. *out is NULL when nothing is left. Prints what is wrong. */
int attrs_read(const struct args *args, const char *before, char **out);

/* Prints members as a table of two columns: pass name, value, name, value, ..., NULL. Values that are
 * NULL or empty are left out. */
int attrs_print_pairs(const struct cli *cli, const char *const *pairs);

#endif
