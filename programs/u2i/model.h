/* The parts of `u2i model`. */
#ifndef CLI_MODEL_H
#define CLI_MODEL_H

#include "cli.h"

/* Measures how fast a model (a name or a path) is here, in each precision. CLI_OK or an exit code. */
int model_bench(const struct cli *cli, const char *model, bool json);

#endif
