/* A file that the program writes because it was asked to: under its name only when it is whole, and
 * never over the store or over what is being read. */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <stdbool.h>

struct target {
    const char *name; /* as it was given: what messages say */
    char *path;       /* where `name` leads to, links followed; NULL when it is written directly */
    char *part;       /* what is written until then */
    int fd;           /* the caller's to close, best through a stream */
};

/* Whether a name leads to the store or to one of the files beside it, now or once it is made. */
bool target_is_store(const char *name, const char *store);
/* Whether a name leads to a file that is read ("-" = stdin). */
bool target_is_input(const char *name, const char *input);

/* Opens for writing: a new file beside the target, or what is there if that is no regular file (a
 * device, a FIFO). 0, or -1 with errno. To be ended by target_close() in every case. */
int target_open(struct target *t, const char *name);
/* Gives a whole file its name (`keep`), or removes it. 0, or -1 with errno. */
int target_close(struct target *t, bool keep);

#endif
