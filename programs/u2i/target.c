/* See target.h. The new file lies in the target's folder, so that rename() is one step; its name is
 * short (a long target's name must not grow beyond what a file system takes) and made with O_EXCL, so
 * that nothing that lies there already is ever written to. */
#include "target.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TARGET_LINKS_MAX 16  /* links that lead to links */
#define TARGET_TRIES     100 /* names of new files */

/* ---- Names ----------------------------------------------------------------------------------- */

/* The folder that a name is in, with its last slash; "./" where there is none. */
static void target_folder(struct text *out, const char *name) {
    const char *const slash = strrchr(name, '/');
    if (slash == NULL) {
        text_str(out, "./");
    } else {
        text_add(out, name, (size_t)(slash - name) + 1);
    }
}

/* The path of a file that need not be there yet, in a folder that is. */
static char *target_new_path(const char *name) {
    const char *const slash = strrchr(name, '/');
    struct text folder = {0}, path = {0};
    target_folder(&folder, name);
    char *const real = text_ok(&folder) ? realpath(text_cstr(&folder), NULL) : NULL;
    char *result = NULL;
    if (real != NULL) {
        text_fmt(&path, "%s/%s", real, slash == NULL ? name : slash + 1);
        result = text_ok(&path) ? strdup(text_cstr(&path)) : NULL;
    }
    free(real);
    text_free(&path);
    text_free(&folder);
    return result;
}

/* Where a name leads to, through links, also when the last one leads to nothing yet. NULL: errno. */
static char *target_resolve(const char *name, int links) {
    char *const real = realpath(name, NULL);
    char to[PATH_MAX];
    if (real != NULL || errno != ENOENT || links == 0) {
        return real;
    }
    const ssize_t n = readlink(name, to, sizeof to - 1);
    if (n < 0) {
        return target_new_path(name);
    }
    to[n] = '\0';
    struct text next = {0};
    if (to[0] != '/') {
        target_folder(&next, name);
    }
    text_str(&next, to);
    char *const result = text_ok(&next) ? target_resolve(text_cstr(&next), links - 1) : NULL;
    text_free(&next);
    return result;
}

static bool target_same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool target_is_input(const char *name, const char *input) {
    struct stat a, b;
    const int rc = strcmp(input, "-") == 0 ? fstat(STDIN_FILENO, &b) : stat(input, &b);
    return rc == 0 && stat(name, &a) == 0 && S_ISREG(a.st_mode) && target_same(&a, &b);
}

bool target_is_store(const char *name, const char *store) {
    static const char *const beside[] = {"", "-wal", "-shm", "-journal", "-index/content.hnsw"};
    char *const path = target_resolve(name, TARGET_LINKS_MAX);
    char *const store_path = target_resolve(store, TARGET_LINKS_MAX);
    bool same = false;
    for (size_t i = 0; store_path != NULL && i < sizeof beside / sizeof *beside; i++) {
        struct text file = {0};
        text_fmt(&file, "%s%s", store_path, beside[i]);
        same = same || (path != NULL && strcmp(path, text_cstr(&file)) == 0) ||
               target_is_input(name, text_cstr(&file));
        text_free(&file);
    }
    free(store_path);
    free(path);
    return same;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static int target_open_part(struct target *t) {
    struct text folder = {0};
    target_folder(&folder, t->path);
    for (int i = 0; i < TARGET_TRIES && t->fd < 0; i++) {
        struct text part = {0};
        text_fmt(&part, "%s.u2i-%ld-%d.part", text_cstr(&folder), (long)getpid(), i);
        t->fd = open(text_cstr(&part), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (t->fd >= 0) {
            t->part = strdup(text_cstr(&part));
            if (t->part == NULL) {
                (void)unlink(text_cstr(&part)); /* out of memory: nobody would know its name */
            }
        }
        text_free(&part);
        if (t->fd < 0 && errno != EEXIST) {
            break;
        }
    }
    text_free(&folder);
    return t->fd >= 0 && t->part != NULL ? 0 : -1;
}

int target_open(struct target *t, const char *name) {
    struct stat st;
    const bool there = stat(name, &st) == 0;
    *t = (struct target){.name = name, .fd = -1};
    /* These stand for an open file even where it is a regular one: it is not ours to replace. */
    const bool open_already = strncmp(name, "/dev/fd/", 8) == 0 ||
                              strncmp(name, "/dev/std", 8) == 0 || strncmp(name, "/proc/", 6) == 0;
    if ((there && !S_ISREG(st.st_mode)) || open_already) {
        t->fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC);
        return t->fd >= 0 ? 0 : -1;
    }
    t->path = target_resolve(name, TARGET_LINKS_MAX);
    if (t->path == NULL) {
        return -1;
    }
    if (target_open_part(t) != 0) {
        const int why = errno;
        if (t->fd >= 0) {
            (void)close(t->fd); /* nothing was written */
        }
        errno = why;
        return -1;
    }
    if (there) {
        (void)fchmod(t->fd,
                     st.st_mode & 0777); /* as it was, where the file system knows of modes */
    }
    return 0;
}

int target_close(struct target *t, bool keep) {
    int rc = 0;
    if (t->part != NULL && keep) {
        rc = rename(t->part, t->path);
    }
    if (t->part != NULL && (!keep || rc != 0)) {
        const int why = errno;
        (void)unlink(t->part); /* half a file helps nobody; what was wrong is being said */
        errno = why;
    }
    free(t->part);
    free(t->path);
    t->part = t->path = NULL;
    return rc;
}
