/* The figures of the training in use, as `train`, `stats` and `eval` show them. */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "cli.h"

/* A table of figures for people. CLI_OK or an exit code; prints nothing where there is no training. */
int training_print(const struct cli *cli, u2i_t *store);
/* {"version":1,...} of all figures; "{}" where there is no training. CLI_OK or an exit code. */
int training_add_json(struct text *line, u2i_t *store);
/* "0.1234", and whole numbers without a fraction. */
void training_number(struct text *out, double value);

#endif
