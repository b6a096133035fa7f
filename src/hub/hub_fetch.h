/* Files from a hub: its list of a model's files, and one file at a time, with resuming, retries and checks. Private to
 * hub/. One thread at a time. */
#ifndef U2I_HUB_FETCH_H
#define U2I_HUB_FETCH_H

#include "base/buf.h"
#include "http/http.h"
#include "hub/hub_internal.h"
#include "hub/hub_listing.h"

struct hub_source { /* of one model */
    struct http *http;
    const char *endpoint, *name, *revision;
    const char *key; /* NULL: none */
    struct http_place place;
    uint32_t pause_ms; /* before the second try of something; doubles with each further one */
    u2i_progress_fn progress;
    void *ctx;
    uint64_t done, total; /* bytes; done begins with hub_fetched_bytes() of every file */
    bool stopped;         /* by the progress function */
};

/* The text of the list. U2I_ENOTFOUND, U2I_EREMOTE, U2I_ETIMEOUT, U2I_EINVAL, U2I_ENOMEM. */
int hub_fetch_listing(struct hub_source *s, struct buf *out, u2i_error_t *err);
/* The file into the stage's folder, under its path; what is not whole yet stays beside it. U2I_EREMOTE (also for a
 * wrong size or sum), U2I_ETIMEOUT (stopped), U2I_EIO, U2I_ENOMEM. */
int hub_fetch_file(struct hub_source *s, const struct hub_stage *stage, const struct hub_file *file,
                   u2i_error_t *err);
/* How many bytes of it are there already. */
uint64_t hub_fetched_bytes(const struct hub_stage *stage, const struct hub_file *file);
/* Whether `path` has the file's bytes. */
int hub_fetched_same(const char *path, const struct hub_file *file, bool *same, u2i_error_t *err);

#endif
