/* See handle.h. An engine is counted: one for the handle as long as it is the newest, one for each call inside. A
 * read-write lock would be simpler, but a training inside would keep it, and all other calls would wait for its end. */
#include "handle.h"

#include "base/alloc.h"
#include "base/error.h"
#include "store/store.h"

#include <pthread.h>

enum { HANDLE_TRIES = 8 }; /* a store whose model changes that often during one call */

struct handle_engine {
    struct engine *engine;
    unsigned users; /* under `lock` */
};

struct u2i {
    pthread_mutex_t lock;    /* `newest` and the counts, for moments */
    pthread_mutex_t opening; /* held while another engine is opened: by one call for all */
    struct handle_engine *newest;
    uint32_t dim;
    char *location; /* NULL: in memory, and never opened again */
    struct engine_options again;
};

/* ---- Engines ---------------------------------------------------------------------------------- */

static int handle_engine_open(const struct engine_options *opt, struct handle_engine **out,
                              u2i_error_t *err) {
    *out = mem_zalloc(sizeof(**out));
    if (*out == NULL) {
        return error_oom(err);
    }
    (*out)->users = 1;
    const int rc = engine_open(opt, &(*out)->engine, err);
    if (rc != U2I_OK) {
        mem_free(*out);
        *out = NULL;
    }
    return rc;
}

static int handle_engine_close(struct handle_engine *e) {
    const int rc = engine_close(e->engine);
    mem_free(e);
    return rc;
}

static struct handle_engine *handle_take(u2i_t *u) {
    (void)pthread_mutex_lock(&u->lock);
    struct handle_engine *const e = u->newest;
    e->users++;
    (void)pthread_mutex_unlock(&u->lock);
    return e;
}

static void handle_leave(u2i_t *u, struct handle_engine *e) {
    (void)pthread_mutex_lock(&u->lock);
    const bool last = --e->users == 0;
    (void)pthread_mutex_unlock(&u->lock);
    if (last) {
        (void)handle_engine_close(e); /* it has written nothing since it moved */
    }
}

/* Puts an engine for what the file is now in the place of `old`, unless another call has done so. */
static int handle_renew(u2i_t *u, struct handle_engine *old, u2i_error_t *err) {
    struct handle_engine *fresh = NULL;
    int rc = U2I_OK;
    (void)pthread_mutex_lock(&u->opening);
    (void)pthread_mutex_lock(&u->lock);
    const bool done = u->newest != old;
    (void)pthread_mutex_unlock(&u->lock);
    if (!done) {
        rc = handle_engine_open(&u->again, &fresh, err);
    }
    if (fresh != NULL) {
        (void)pthread_mutex_lock(&u->lock);
        u->newest = fresh;
        (void)pthread_mutex_unlock(&u->lock);
        handle_leave(u, old); /* the handle's own; the caller holds another one */
    }
    (void)pthread_mutex_unlock(&u->opening);
    return rc;
}

/* ---- Calls ------------------------------------------------------------------------------------ */

struct handle_call handle_start(u2i_t *u, u2i_error_t *err) {
    return (struct handle_call){.u = u, .err = err, .rc = STORE_MOVED};
}

bool handle_next(struct handle_call *c) {
    if (c->held != NULL) {
        if (c->rc == STORE_MOVED) {
            const int rc = handle_renew(c->u, c->held, c->err);
            c->rc = rc == U2I_OK ? STORE_MOVED : rc;
        }
        handle_leave(c->u, c->held);
        c->held = NULL;
    }
    if (c->rc != STORE_MOVED) {
        return false;
    }
    if (c->tries++ == HANDLE_TRIES) {
        c->rc = error_set(c->err, U2I_EBUSY, "the store gets one other model after the other");
        return false;
    }
    c->held = handle_take(c->u);
    c->engine = c->held->engine;
    error_clear(c->err);
    return true;
}

/* ---- Life ------------------------------------------------------------------------------------- */

static void handle_free(u2i_t *u) {
    (void)pthread_mutex_destroy(&u->opening);
    (void)pthread_mutex_destroy(&u->lock);
    mem_free(u->location);
    mem_free(u);
}

static int handle_keep_location(u2i_t *u, const char *location, u2i_error_t *err) {
    u->location = str_dup(location, strlen(location));
    if (u->location == NULL) {
        (void)handle_engine_close(u->newest); /* it has written nothing */
        return error_oom(err);
    }
    return U2I_OK;
}

int handle_open(const struct engine_options *opt, u2i_t **out, u2i_error_t *err) {
    u2i_t *u = mem_zalloc(sizeof(*u));
    if (u == NULL) {
        return error_oom(err);
    }
    (void)pthread_mutex_init(&u->lock, NULL); /* default ones cannot fail on Linux */
    (void)pthread_mutex_init(&u->opening, NULL);
    int rc = handle_engine_open(opt, &u->newest, err);
    if (rc == U2I_OK && engine_location(u->newest->engine) != NULL) {
        rc = handle_keep_location(u, engine_location(u->newest->engine), err);
    }
    if (rc != U2I_OK) {
        handle_free(u);
        return rc;
    }
    u->dim = engine_dim(u->newest->engine);
    u->again = *opt;
    u->again.location = u->location;
    u->again.flags = (opt->flags & ~(uint32_t)U2I_OPEN_NEW) | U2I_OPEN_EXISTING;
    u->again.model = NULL;
    u->again.dim = 0;
    u->again.caller_dim = u->dim;
    *out = u;
    return U2I_OK;
}

int handle_close(u2i_t *u) {
    const int rc = handle_engine_close(u->newest);
    handle_free(u);
    return rc;
}

uint32_t handle_dim(const u2i_t *u) {
    return u->dim;
}
