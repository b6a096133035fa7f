/* What a u2i_t is: an engine, and the way to another one. When a store gets the vectors of another model, in this
 * process or another (u2i_reembed_to()), its engine stands for the old ones and does nothing more: each of its
 * calls says STORE_MOVED. Then the file is opened once more, by whichever call came first, the call is made
 * again with the new engine, and the old one is closed when the last call that is still inside has left it.
 *
 * Any number of threads may be between handle_start() and the last handle_next(). */
#ifndef U2I_API_HANDLE_H
#define U2I_API_HANDLE_H

#include "engine/engine.h"
#include <stdbool.h>

/* `location` and the strings in *opt need live no longer than this call. */
int handle_open(const struct engine_options *opt, u2i_t **out, u2i_error_t *err);
int handle_close(u2i_t *u); /* while no call is under way */
/* Length of the vectors that the caller gives and gets: what it was when the handle was opened. */
uint32_t handle_dim(const u2i_t *u);

/* One call:
 *     struct handle_call c = handle_start(u, err);
 *     while (handle_next(&c)) {
 *         c.rc = engine_...(c.engine, ..., err);
 *     }
 *     return c.rc; */
struct handle_call {
    u2i_t *u;
    u2i_error_t *err;
    struct handle_engine *held;
    struct engine *engine;
    int rc;
    unsigned tries;
};
struct handle_call handle_start(u2i_t *u, u2i_error_t *err);
bool handle_next(struct handle_call *c);

#endif
