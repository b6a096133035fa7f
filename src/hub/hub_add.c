/* A folder of this machine goes into the home: its files are copied, links as what they name (the Hugging Face
 * cache has links only), and the copy appears when it is whole. Adding the same folder again finds the
 * same bytes there, and changes nothing. */
#include "hub/hub_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUB_CHUNK ((size_t)1 << 20) /* bytes that are copied, or compared, at once */

struct hub_adding {
    const char *from;
    char *chunk, *other; /* HUB_CHUNK bytes each */
    const char *to;      /* where the home has this model; NULL: it is being copied */
    struct hub_stage stage;
    bool differs; /* from what is at `to` */
    u2i_error_t *err;
};

/* ---- Bytes ------------------------------------------------------------------------------------ */

/* A regular file (a pipe would block); *fd is -1 if there is none. */
static int hub_open_file(const char *path, int *fd, u2i_error_t *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? U2I_OK : hub_fail("cannot open", path, err);
    }
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode)) {
        return U2I_OK;
    }
    (void)close(*fd); /* only opened */
    *fd = -1;
    return error_set(err, U2I_EIO, "%s is not a file", path);
}

/* Up to HUB_CHUNK bytes, fewer only at the end. */
static int hub_read_chunk(int fd, char *chunk, size_t *n, const char *path, u2i_error_t *err) {
    *n = 0;
    while (*n < HUB_CHUNK) {
        const ssize_t got = read(fd, chunk + *n, HUB_CHUNK - *n);
        if (got < 0 && errno != EINTR) {
            return hub_fail("cannot read", path, err);
        }
        if (got == 0) {
            break;
        }
        *n += got > 0 ? (size_t)got : 0;
    }
    return U2I_OK;
}

/* ---- One file --------------------------------------------------------------------------------- */

static int hub_copy_bytes(struct hub_adding *a, int from, const char *source, const char *copy) {
    const int to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (to < 0) {
        return hub_fail("cannot make", copy, a->err);
    }
    int rc;
    size_t n = 0;
    do {
        rc = hub_read_chunk(from, a->chunk, &n, source, a->err);
        rc = rc == U2I_OK ? hub_write_all(to, a->chunk, n, copy, a->err) : rc;
    } while (rc == U2I_OK && n == HUB_CHUNK);
    if (rc == U2I_OK && fsync(to) != 0) {
        rc = hub_fail("cannot write", copy, a->err);
    }
    if (close(to) != 0 && rc == U2I_OK) {
        rc = hub_fail("cannot write", copy, a->err);
    }
    return rc;
}

static int hub_compare_bytes(struct hub_adding *a, int from, const char *source, const char *copy) {
    int to = -1;
    int rc = hub_open_file(copy, &to, a->err);
    size_t n = 0, n_there = 0;
    a->differs = a->differs || to < 0;
    while (rc == U2I_OK && !a->differs) {
        rc = hub_read_chunk(from, a->chunk, &n, source, a->err);
        rc = rc == U2I_OK ? hub_read_chunk(to, a->other, &n_there, copy, a->err) : rc;
        if (rc == U2I_OK) {
            a->differs = n != n_there || memcmp(a->chunk, a->other, n) != 0;
        }
        if (n < HUB_CHUNK) {
            break;
        }
    }
    if (to >= 0) {
        (void)close(to); /* only read from */
    }
    return rc;
}

/* A file that the source lacks must be missing in the home, too; otherwise there is nothing to copy. */
static int hub_take_none(struct hub_adding *a, const char *copy) {
    struct stat st;
    a->differs = a->differs || (a->to != NULL && stat(copy, &st) == 0);
    return U2I_OK;
}

static int hub_take_file(struct hub_adding *a, const char *name) {
    char *const source = hub_join(a->from, name);
    char *const copy = hub_join(a->to != NULL ? a->to : a->stage.folder, name);
    int from = -1;
    int rc =
        source == NULL || copy == NULL ? error_oom(a->err) : hub_open_file(source, &from, a->err);
    if (rc == U2I_OK && from < 0) {
        rc = hub_take_none(a, copy);
    } else if (rc == U2I_OK && a->to != NULL) {
        rc = hub_compare_bytes(a, from, source, copy);
    } else if (rc == U2I_OK) {
        rc = hub_stage_parents(&a->stage, name, a->err);
        rc = rc == U2I_OK ? hub_copy_bytes(a, from, source, copy) : rc;
    }
    if (from >= 0) {
        (void)close(from); /* only read from */
    }
    mem_free(copy);
    mem_free(source);
    return rc;
}

/* ---- All files -------------------------------------------------------------------------------- */

static int hub_take_shards(struct hub_adding *a, const struct hub_form *form) {
    struct hub_entries entries = {0};
    int rc = hub_take_file(a, form->index);
    if (rc == U2I_OK) {
        rc = hub_read_entries(a->from, &entries, a->err);
    }
    for (size_t i = 0; rc == U2I_OK && i < entries.n; i++) {
        if (hub_is_shard(form, entries.names[i])) {
            rc = hub_take_file(a, entries.names[i]);
        }
    }
    hub_free_entries(&entries);
    return rc;
}

static int hub_is_there(const struct hub_adding *a, const char *name, bool *there) {
    struct stat st;
    char *const path = hub_join(a->from, name);
    *there = path != NULL && stat(path, &st) == 0;
    const int rc = path == NULL ? error_oom(a->err) : U2I_OK;
    mem_free(path);
    return rc;
}

/* In the first form that is there. */
static int hub_take_weights(struct hub_adding *a) {
    const struct hub_form *form;
    for (size_t i = 0; (form = hub_form(i)) != NULL; i++) {
        bool whole = false;
        bool index = false;
        U2I_TRY(hub_is_there(a, form->whole, &whole));
        U2I_TRY(hub_is_there(a, form->index, &index));
        if (whole || index) {
            return whole ? hub_take_file(a, form->whole) : hub_take_shards(a, form);
        }
    }
    return hub_take_file(a, HUB_WEIGHTS);
}

static int hub_take_all(struct hub_adding *a) {
    const char *name;
    for (size_t i = 0; (name = hub_small_file(i)) != NULL; i++) {
        if (a->to == NULL || !hub_is_prose(name)) {
            U2I_TRY(hub_take_file(a, name));
        }
    }
    return hub_take_weights(a);
}

static int hub_copy_folder(struct hub_adding *a, const char *name) {
    int rc = hub_stage_open(&a->stage, "add", name, a->err);
    if (rc == U2I_OK) {
        rc = hub_stage_clear(&a->stage, a->err);
    }
    if (rc == U2I_OK) {
        rc = hub_take_all(a);
    }
    if (rc == U2I_OK) {
        rc = hub_stage_finish(&a->stage, a->err);
    }
    hub_stage_close(&a->stage, false);
    return rc;
}

static int hub_compare_folder(struct hub_adding *a, const char *path) {
    a->to = path;
    U2I_TRY(hub_take_all(a));
    return a->differs ? hub_refuse_taken(path, a->err) : U2I_OK;
}

/* ---- Adding ----------------------------------------------------------------------------------- */

static int hub_add_as(const char *from, const char *name, char **path, u2i_error_t *err) {
    struct hub_adding a = {.from = from, .err = err, .stage = {.lock = -1}};
    a.chunk = mem_alloc(HUB_CHUNK);
    a.other = mem_alloc(HUB_CHUNK);
    int rc = a.chunk == NULL || a.other == NULL ? error_oom(err) : hub_find(name, path, err);
    if (rc == U2I_OK) {
        rc = hub_compare_folder(&a, *path);
    } else if (rc == U2I_ENOTFOUND) {
        rc = hub_copy_folder(&a, name);
        rc = rc == U2I_OK ? hub_find(name, path, err) : rc;
    }
    if (rc != U2I_OK) {
        mem_free(*path);
        *path = NULL;
    }
    mem_free(a.other);
    mem_free(a.chunk);
    return rc;
}

int hub_add(const char *folder, const char *as, char **path, u2i_error_t *err) {
    char from[PATH_MAX];
    *path = NULL;
    if (realpath(folder, from) == NULL || !hub_is_folder(from)) {
        return error_set(err, U2I_ENOTFOUND, "there is no folder %s", folder);
    }
    return hub_add_as(from, as != NULL ? as : strrchr(from, '/') + 1, path, err);
}
