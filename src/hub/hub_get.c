/* A model from a hub: its list of files, those of them that matter, a look at the whole, and the rename that makes
 * it appear. Everything on the way is kept where it is whatever happens, so that the next call goes on; but a model
 * that is whole and cannot be loaded is deleted, as it would not get better. */
#include "hub/hub.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/hub_fetch.h"
#include <stdio.h>
#include <sys/statvfs.h>

#define HUB_ENDPOINT "https://huggingface.co"
#define HUB_REVISION "main"
#define HUB_PAUSE_MS 1000u

struct hub_getting {
    const struct hub_get_options *opt;
    const char *name, *as;
    char *endpoint; /* without a slash at its end */
    struct hub_source source;
    struct hub_listing listing;
    struct hub_stage stage;
    bool unfit; /* whole, and of no use */
    u2i_error_t *err;
};

/* ---- Where from ------------------------------------------------------------------------------- */

static const char *hub_variable(const char *name) {
    const char *const value = getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static int hub_choose_endpoint(struct hub_getting *g) {
    const char *endpoint =
        g->opt->endpoint != NULL ? g->opt->endpoint : hub_variable("HF_ENDPOINT");
    endpoint = endpoint != NULL ? endpoint : HUB_ENDPOINT;
    U2I_TRY(http_place(endpoint, &g->source.place, g->err));
    if (strpbrk(endpoint, "?#") != NULL) {
        return error_set(g->err, U2I_EINVAL, "the endpoint %s has a '?' or '#' in it", endpoint);
    }
    size_t n = strlen(endpoint);
    while (n > 0 && endpoint[n - 1] == '/') {
        n--;
    }
    g->endpoint = str_dup(endpoint, n);
    return g->endpoint == NULL ? error_oom(g->err) : U2I_OK;
}

static int hub_start(struct hub_getting *g) {
    struct hub_source *const s = &g->source;
    const char *last;
    U2I_TRY(hub_name_check(g->name, "the model's name", &last, g->err));
    g->as = g->opt->as != NULL ? g->opt->as : last;
    U2I_TRY(hub_name_check(g->as, "the model's name", &last, g->err));
    U2I_TRY(hub_choose_endpoint(g));
    s->endpoint = g->endpoint;
    s->name = g->name;
    s->revision = g->opt->revision != NULL ? g->opt->revision : HUB_REVISION;
    s->key = hub_variable("HF_TOKEN");
    s->pause_ms = g->opt->pause_ms > 0 ? g->opt->pause_ms : HUB_PAUSE_MS;
    s->progress = g->opt->progress;
    s->ctx = g->opt->ctx;
    return http_new(&s->http, g->err);
}

static int hub_list(struct hub_getting *g) {
    struct buf text = {0};
    int rc = hub_fetch_listing(&g->source, &text, g->err);
    if (rc == U2I_OK) {
        rc = hub_listing_parse(text.data == NULL ? "" : text.data, text.len, g->name, &g->listing,
                               g->err);
    }
    buf_free(&text);
    return rc;
}

/* ---- What is there ---------------------------------------------------------------------------- */

/* Whether the home's folder is this very model. */
static int hub_compare(struct hub_getting *g, const char *path) {
    bool same = true;
    int rc = U2I_OK;
    for (size_t i = 0; rc == U2I_OK && same && i < g->listing.n; i++) {
        const struct hub_file *const file = &g->listing.files[i];
        if (!hub_is_prose(file->path)) {
            char *const own = hub_join(path, file->path);
            rc = own == NULL ? error_oom(g->err) : hub_fetched_same(own, file, &same, g->err);
            mem_free(own);
        }
    }
    return rc == U2I_OK && !same ? hub_refuse_taken(path, g->err) : rc;
}

/* Whether `entry` of the model's folder is a listed file, or the folder of one. */
static bool hub_is_of_list(const struct hub_listing *l, const char *entry) {
    const size_t n = strlen(entry);
    for (size_t i = 0; i < l->n; i++) {
        const char *const path = l->files[i].path;
        if (strncmp(path, entry, n) == 0 && (path[n] == '\0' || path[n] == '/')) {
            return true;
        }
    }
    return false;
}

/* An earlier run may have had another list: files of that one must not become part of the model. */
static int hub_prune(const struct hub_getting *g) {
    struct hub_entries entries = {0};
    int rc = hub_read_entries(g->stage.folder, &entries, g->err);
    for (size_t i = 0; rc == U2I_OK && i < entries.n; i++) {
        if (!hub_is_of_list(&g->listing, entries.names[i])) {
            char *const path = hub_join(g->stage.folder, entries.names[i]);
            rc = path == NULL ? error_oom(g->err) : hub_remove(path, g->err);
            mem_free(path);
        }
    }
    hub_free_entries(&entries);
    return rc;
}

/* Counts what is there, and tells of a full disk now rather than after an hour. */
static int hub_check_space(struct hub_getting *g) {
    struct statvfs disk;
    for (size_t i = 0; i < g->listing.n; i++) {
        g->source.done += hub_fetched_bytes(&g->stage, &g->listing.files[i]);
    }
    const uint64_t needed = g->source.total - g->source.done;
    if (statvfs(g->stage.place, &disk) != 0) {
        return hub_fail("cannot look at", g->stage.place, g->err);
    }
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    return needed <= free_bytes
               ? U2I_OK
               : error_set(g->err, U2I_EIO,
                           "%s needs %llu MB more, but only %llu MB are free in %s", g->name,
                           (unsigned long long)(needed / 1000000 + 1),
                           (unsigned long long)(free_bytes / 1000000), g->stage.home);
}

/* ---- Getting ---------------------------------------------------------------------------------- */

static int hub_fill_stage(struct hub_getting *g) {
    U2I_TRY(hub_stage_open(&g->stage, "get", g->as, g->err));
    U2I_TRY(hub_prune(g));
    g->source.total = g->listing.bytes;
    U2I_TRY(hub_check_space(g));
    for (size_t i = 0; i < g->listing.n; i++) {
        U2I_TRY(hub_fetch_file(&g->source, &g->stage, &g->listing.files[i], g->err));
    }
    const struct hub_get_options *const opt = g->opt;
    const int rc =
        opt->check == NULL ? U2I_OK : opt->check(opt->check_ctx, g->stage.folder, g->err);
    g->unfit = rc == U2I_EEMBED;
    return rc == U2I_OK ? hub_stage_finish(&g->stage, g->err) : rc;
}

static int hub_get_new(struct hub_getting *g, char **path) {
    const int rc = hub_fill_stage(g);
    hub_stage_close(&g->stage, rc != U2I_OK && !g->unfit);
    return rc == U2I_OK ? hub_find(g->as, path, g->err) : rc;
}

int hub_get(const char *name, const struct hub_get_options *opt, char **path, u2i_error_t *err) {
    struct hub_getting g = {.opt = opt, .name = name, .stage = {.lock = -1}, .err = err};
    *path = NULL;
    int rc = hub_start(&g);
    if (rc == U2I_OK) {
        rc = hub_list(&g);
    }
    if (rc == U2I_OK) {
        rc = hub_find(g.as, path, err);
        if (rc == U2I_OK) {
            rc = hub_compare(&g, *path);
        } else if (rc == U2I_ENOTFOUND) {
            rc = hub_get_new(&g, path);
        }
    }
    if (rc != U2I_OK) {
        mem_free(*path);
        *path = NULL;
    }
    hub_listing_free(&g.listing);
    http_free(g.source.http);
    mem_free(g.endpoint);
    return rc;
}
