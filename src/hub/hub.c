/* The models' home: where it is, what is in it, and the few things about files that all of hub/ needs.
 * The home has a folder for each model, with files laid out as the hub has them; so a folder copied there by
 * hand is a model like any other. Names are kept to characters that mean nothing to a shell, a URL or a path;
 * a folder in the home with another name, or one that begins with a dot, is not a model. */
#include "hub/hub.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/hub_internal.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUB_DEPTH_MAX 8 /* of folders in a model's */

/* ---- Paths ------------------------------------------------------------------------------------ */

char *hub_join(const char *folder, const char *name) {
    const size_t bytes = strlen(folder) + strlen(name) + 2;
    char *const path = mem_alloc(bytes);
    if (path != NULL) {
        (void)snprintf(path, bytes, "%s/%s", folder, name); /* fits */
    }
    return path;
}

bool hub_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int hub_fail(const char *doing, const char *path, u2i_error_t *err) {
    const int why = errno;
    return why == ENOSPC || why == EDQUOT
               ? error_set(err, U2I_EIO, "%s %s: the disk is full", doing, path)
               : error_set(err, U2I_EIO, "%s %s: %s", doing, path, strerror(why));
}

int hub_write_all(int fd, const char *p, size_t n, const char *path, u2i_error_t *err) {
    while (n > 0) {
        const ssize_t put = write(fd, p, n);
        if (put < 0 && errno != EINTR) {
            return hub_fail("cannot write", path, err);
        }
        p += put > 0 ? put : 0;
        n -= put > 0 ? (size_t)put : 0;
    }
    return U2I_OK;
}

/* ---- Names ------------------------------------------------------------------------------------ */

/* The first n bytes are a name. */
static bool hub_is_name(const char *s, size_t n) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return n > 0 && n <= HUB_NAME_MAX && s[0] != '.' && s[0] != '-' && strspn(s, allowed) >= n;
}

int hub_name_check(const char *name, const char *what, const char **last, u2i_error_t *err) {
    const char *const slash = strchr(name, '/');
    *last = slash == NULL ? name : slash + 1;
    if (hub_is_name(*last, strlen(*last)) &&
        (slash == NULL || hub_is_name(name, (size_t)(slash - name)))) {
        return U2I_OK;
    }
    return error_set(
        err, U2I_EINVAL,
        "%s \"%.100s\" is not NAME or ORG/NAME (up to %d letters, digits, '.', '_' and "
        "'-' each, and neither '.' nor '-' in front)",
        what, name, HUB_NAME_MAX);
}

/* ---- The home --------------------------------------------------------------------------------- */

int hub_home(char **path, u2i_error_t *err) {
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"U2I_MODELS", ""}, {"XDG_DATA_HOME", "/u2i/models"}, {"HOME", "/.local/share/u2i/models"}};
    *path = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *const value = getenv(places[i].variable);
        /* The XDG specification: a relative path there is to be ignored. */
        if (value != NULL && value[0] != '\0' && (i == 0 || value[0] == '/')) {
            const size_t bytes = strlen(value) + strlen(places[i].below) + 1;
            *path = mem_alloc(bytes);
            if (*path == NULL) {
                return error_oom(err);
            }
            (void)snprintf(*path, bytes, "%s%s", value, places[i].below); /* fits */
            return U2I_OK;
        }
    }
    return error_set(
        err, U2I_ENOTFOUND,
        "where models are kept is not known: neither U2I_MODELS, XDG_DATA_HOME nor HOME "
        "is set");
}

int hub_find(const char *name, char **path, u2i_error_t *err) {
    const char *last;
    char *home = NULL;
    *path = NULL;
    U2I_TRY(hub_name_check(name, "the model's name", &last, err));
    U2I_TRY(hub_home(&home, err));
    int rc = U2I_OK;
    *path = hub_join(home, last);
    if (*path == NULL) {
        rc = error_oom(err);
    } else if (!hub_is_folder(*path)) {
        rc = error_set(err, U2I_ENOTFOUND, "there is no model \"%s\" in %s", last, home);
        mem_free(*path);
        *path = NULL;
    }
    mem_free(home);
    return rc;
}

/* ---- What is there ---------------------------------------------------------------------------- */

static int hub_by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int hub_add_entry(struct hub_entries *out, const char *name, u2i_error_t *err) {
    if (array_reserve(&out->names, &out->cap, out->n + 1, sizeof *out->names) != U2I_OK) {
        return error_oom(err);
    }
    out->names[out->n] = str_dup(name, strlen(name));
    return out->names[out->n] == NULL ? error_oom(err) : (out->n++, U2I_OK);
}

void hub_free_entries(struct hub_entries *e) {
    for (size_t i = 0; i < e->n; i++) {
        mem_free(e->names[i]);
    }
    mem_free(e->names);
}

int hub_read_entries(const char *path, struct hub_entries *out, u2i_error_t *err) {
    DIR *const folder = opendir(path);
    int rc = U2I_OK;
    if (folder == NULL) {
        return errno == ENOENT ? U2I_OK : hub_fail("cannot read", path, err);
    }
    const struct dirent *entry;
    while (rc == U2I_OK && (errno = 0, entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            rc = hub_add_entry(out, entry->d_name, err);
        }
    }
    if (rc == U2I_OK && errno != 0) {
        rc = hub_fail("cannot read", path, err);
    }
    (void)closedir(folder); /* only read from */
    if (out->n > 0) {
        qsort(out->names, out->n, sizeof *out->names, hub_by_name);
    }
    return rc;
}

/* Adds up the files below a folder; links to files count as what they name, as the embedder follows them. */
static int hub_add_bytes(const char *path, unsigned depth, uint64_t *bytes, u2i_error_t *err) {
    struct hub_entries entries = {0};
    int rc = depth < HUB_DEPTH_MAX ? hub_read_entries(path, &entries, err) : U2I_OK;
    for (size_t i = 0; rc == U2I_OK && i < entries.n; i++) {
        struct stat st;
        char *const below = hub_join(path, entries.names[i]);
        if (below == NULL) {
            rc = error_oom(err);
        } else if (stat(below, &st) == 0 && S_ISREG(st.st_mode)) {
            *bytes += (uint64_t)st.st_size;
        } else if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode)) {
            rc = hub_add_bytes(below, depth + 1, bytes, err);
        }
        mem_free(below);
    }
    hub_free_entries(&entries);
    return rc;
}

int hub_bytes(const char *folder, uint64_t *bytes, u2i_error_t *err) {
    *bytes = 0;
    return hub_add_bytes(folder, 0, bytes, err);
}

static int hub_tell(const char *home, const char *name, hub_model_fn fn, void *ctx, bool *stop,
                    u2i_error_t *err) {
    char *const path = hub_join(home, name);
    if (path == NULL) {
        return error_oom(err);
    }
    const struct hub_model model = {name, path};
    *stop = hub_is_folder(path) && fn(ctx, &model) != 0;
    mem_free(path);
    return U2I_OK;
}

int hub_scan(hub_model_fn fn, void *ctx, u2i_error_t *err) {
    struct hub_entries entries = {0};
    char *home = NULL;
    bool stop = false;
    int rc = hub_home(&home, err);
    if (rc == U2I_OK) {
        rc = hub_read_entries(home, &entries, err);
    }
    for (size_t i = 0; rc == U2I_OK && !stop && i < entries.n; i++) {
        if (hub_is_name(entries.names[i], strlen(entries.names[i]))) {
            rc = hub_tell(home, entries.names[i], fn, ctx, &stop, err);
        }
    }
    hub_free_entries(&entries);
    mem_free(home);
    return rc;
}
