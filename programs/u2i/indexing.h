/* Waiting until the vectors of a store are indexed: the command index, and the end of an import. */
#ifndef CLI_INDEXING_H
#define CLI_INDEXING_H

#include "cli.h"
#include <signal.h>

struct indexing {
    bool json;
    bool silent;        /* print nothing but errors and the progress line */
    bool quiet_if_none; /* say nothing when there are too few vectors for an index */
    const volatile sig_atomic_t *stopped; /* NULL: nothing stops it */
};

/* Shows progress, and at the end what there is. CLI_OK or an exit code. */
int indexing_wait(const struct cli *cli, u2i_t *store, const struct indexing *how);
/* Appends "12.3 MB". */
void indexing_bytes(struct text *out, uint64_t bytes);

#endif
