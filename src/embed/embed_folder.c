/* Opens and reads the files of a model's folder. Files come from a download, so nothing of them is
 * believed: only regular files are opened (a pipe would block), a file is measured before memory is
 * taken for it, and nesting of JSON is bounded. Links are followed, since that is how the Hugging Face
 * cache lays out a folder. */
#include "embed/embed_folder.h"

#include "base/alloc.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_DEPTH_MAX 16 /* of JSON; what is read of it is at most 2 deep */

/* Says why a path could not be opened. */
static int folder_fail(const char *path, int why, u2i_error_t *err) {
    return why == ENOENT || why == ENOTDIR
               ? error_set(err, U2I_ENOTFOUND, "%s does not exist", path)
               : error_set(err, U2I_EIO, "cannot open %s: %s", path, strerror(why));
}

int embed_folder_check(const char *folder, u2i_error_t *err) {
    struct stat st;
    if (stat(folder, &st) != 0) {
        return folder_fail(folder, errno, err);
    }
    return S_ISDIR(st.st_mode) ? U2I_OK
                               : error_set(err, U2I_ENOTFOUND, "%s is not a folder", folder);
}

char *embed_folder_path(const char *folder, const char *name) {
    const size_t bytes = strlen(folder) + strlen(name) + 2;
    char *const path = mem_alloc(bytes);
    if (path != NULL) {
        (void)snprintf(path, bytes, "%s/%s", folder, name); /* fits */
    }
    return path;
}

int embed_folder_open(const char *path, int *fd, uint64_t *bytes, u2i_error_t *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return folder_fail(path, errno, err);
    }
    int rc = U2I_OK;
    if (fstat(*fd, &st) != 0) {
        rc = error_set(err, U2I_EIO, "cannot read %s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        rc = error_set(err, U2I_EIO, "%s is not a file", path);
    }
    if (rc != U2I_OK) {
        (void)close(*fd); /* only read from */
        *fd = -1;
        return rc;
    }
    *bytes = (uint64_t)st.st_size;
    return U2I_OK;
}

/* The first n bytes; a file that ends before them has changed under our hands. */
static int folder_read(int fd, const char *path, char *text, size_t n, u2i_error_t *err) {
    size_t at = 0;
    while (at < n) {
        const ssize_t got = read(fd, text + at, n - at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return error_set(err, U2I_EIO, "cannot read %s: %s", path,
                             got < 0 ? strerror(errno) : "it became shorter meanwhile");
        }
        at += (size_t)got;
    }
    return U2I_OK;
}

/* All of a file, for mem_free(). */
static int folder_read_all(const char *path, char **text, size_t *n, u2i_error_t *err) {
    int fd = -1;
    uint64_t bytes = 0;
    int rc = U2I_OK;
    *text = NULL;
    U2I_TRY(embed_folder_open(path, &fd, &bytes, err));
    if (bytes > EMBED_FOLDER_READ_MAX) {
        rc = error_set(err, U2I_EEMBED, "%s has %llu bytes, over %llu", path,
                       (unsigned long long)bytes, (unsigned long long)EMBED_FOLDER_READ_MAX);
        goto out;
    }
    *n = (size_t)bytes;
    *text = mem_alloc(*n);
    rc = *text == NULL ? error_oom(err) : folder_read(fd, path, *text, *n, err);
out:
    (void)close(fd); /* only read from */
    return rc;
}

/* One of json.h's. */
typedef int (*folder_parser)(const char *text, size_t n, unsigned depth_max, const char *what,
                             json_t **out, u2i_error_t *err);

static int folder_parse(const char *path, folder_parser parse, json_t **out, u2i_error_t *err) {
    char *text = NULL;
    size_t n = 0;
    u2i_error_t fault;
    int rc = folder_read_all(path, &text, &n, err);
    if (rc == U2I_OK) {
        rc = parse(text, n, FOLDER_DEPTH_MAX, path, out, &fault);
        if (rc != U2I_OK) { /* not the caller's fault, but the model's */
            rc = error_set(err, rc == U2I_EINVAL ? U2I_EEMBED : rc, "%s", fault.msg);
        }
    }
    mem_free(text);
    return rc;
}

int embed_folder_read(const char *folder, const char *name, char **text, size_t *n,
                      u2i_error_t *err) {
    char *const path = embed_folder_path(folder, name);
    *text = NULL;
    const int rc = path == NULL ? error_oom(err) : folder_read_all(path, text, n, err);
    mem_free(path);
    return rc;
}

static int folder_json(const char *folder, const char *name, folder_parser parse, json_t **out,
                       u2i_error_t *err) {
    char *const path = embed_folder_path(folder, name);
    *out = NULL;
    const int rc = path == NULL ? error_oom(err) : folder_parse(path, parse, out, err);
    mem_free(path);
    return rc;
}

int embed_folder_object(const char *folder, const char *name, json_t **out, u2i_error_t *err) {
    return folder_json(folder, name, json_parse_object, out, err);
}

int embed_folder_object_reals(const char *folder, const char *name, json_t **out,
                              u2i_error_t *err) {
    return folder_json(folder, name, json_parse_object_reals, out, err);
}

int embed_folder_array(const char *folder, const char *name, json_t **out, u2i_error_t *err) {
    return folder_json(folder, name, json_parse_array, out, err);
}
