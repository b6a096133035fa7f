/* A model's folder on its way into the home:
 *
 *     HOME/.get-NAME/lock      held (flock) as long as somebody is at it
 *     HOME/.get-NAME/NAME/     the folder that becomes HOME/NAME, by one rename
 *     HOME/.get-NAME/...       what is not whole yet
 *
 * After a crash the lock is free, and the next one goes on, or starts anew; so there is never a model that
 * is not whole, and nothing to be cleaned up by hand. */
#include "hub/hub_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUB_LOCK        "lock"
#define HUB_STAGE_TRIES 8  /* at a lock whose holder is just deleting it */
#define HUB_FTW_FILES   16 /* open ones, while folders are walked */

/* mkdir -p: `path` itself too if `all`, else only what is above it. */
static int hub_make_folders(const char *path, bool all, u2i_error_t *err) {
    char *const copy = str_dup(path, strlen(path));
    int rc = copy == NULL ? error_oom(err) : U2I_OK;
    for (char *s = copy; rc == U2I_OK && s != NULL;) {
        s = strchr(s + 1, '/');
        if (s == NULL && !all) {
            break;
        }
        if (s != NULL) {
            *s = '\0';
        }
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            rc = hub_fail("cannot make the folder", copy, err);
        }
        if (s != NULL) {
            *s = '/';
        }
    }
    mem_free(copy);
    return rc;
}

/* ---- Deleting --------------------------------------------------------------------------------- */

static int hub_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

int hub_remove(const char *path, u2i_error_t *err) {
    return nftw(path, hub_remove_one, HUB_FTW_FILES, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT
               ? U2I_OK
               : hub_fail("cannot delete", path, err);
}

/* ---- On the disk ------------------------------------------------------------------------------ */

static int hub_sync_folder(const char *path, u2i_error_t *err) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return hub_fail("cannot open", path, err);
    }
    const int rc = fsync(fd) == 0 ? U2I_OK : hub_fail("cannot write", path, err);
    (void)close(fd); /* only synced */
    return rc;
}

static int hub_sync_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)at;
    return kind == FTW_DP ? hub_sync_folder(path, NULL) : 0;
}

/* ---- The stage -------------------------------------------------------------------------------- */

static int hub_stage_paths(struct hub_stage *s, const char *kind, const char *name,
                           u2i_error_t *err) {
    char place[HUB_NAME_MAX + 16];
    const char *last;
    U2I_TRY(hub_name_check(name, "the model's name", &last, err));
    U2I_TRY(hub_home(&s->home, err));
    (void)snprintf(place, sizeof place, ".%s-%s", kind, last); /* fits: kinds are short */
    s->place = hub_join(s->home, place);
    s->target = hub_join(s->home, last);
    if (s->place == NULL || s->target == NULL) {
        return error_oom(err);
    }
    s->folder = hub_join(s->place, last);
    s->lock_path = hub_join(s->place, HUB_LOCK);
    return s->folder == NULL || s->lock_path == NULL ? error_oom(err) : U2I_OK;
}

/* Whether the lock that is held is still the one that others would find. */
static bool hub_stage_holds(const struct hub_stage *s) {
    struct stat held, found;
    return fstat(s->lock, &held) == 0 && stat(s->lock_path, &found) == 0 &&
           held.st_ino == found.st_ino && held.st_dev == found.st_dev;
}

/* One go at the lock; neither held nor a failure: its holder is just deleting the place. */
static int hub_stage_try(struct hub_stage *s, bool *held, u2i_error_t *err) {
    *held = false;
    if (mkdir(s->place, 0777) != 0 && errno != EEXIST) {
        return hub_fail("cannot make the folder", s->place, err);
    }
    s->lock = open(s->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock < 0) {
        return errno == ENOENT ? U2I_OK : hub_fail("cannot open", s->lock_path, err);
    }
    const bool locked = flock(s->lock, LOCK_EX | LOCK_NB) == 0, found = hub_stage_holds(s);
    *held = locked && found;
    if (!*held) {
        (void)close(s->lock); /* nothing was written to it */
        s->lock = -1;
    }
    return locked || !found ? U2I_OK
                            : error_set(err, U2I_EBUSY, "another process is making %s", s->target);
}

static int hub_stage_lock(struct hub_stage *s, u2i_error_t *err) {
    bool held = false;
    for (unsigned i = 0; i < HUB_STAGE_TRIES && !held; i++) {
        U2I_TRY(hub_stage_try(s, &held, err));
    }
    return held ? U2I_OK : error_set(err, U2I_EBUSY, "%s changes all the time", s->place);
}

int hub_stage_open(struct hub_stage *s, const char *kind, const char *name, u2i_error_t *err) {
    *s = (struct hub_stage){.lock = -1};
    U2I_TRY(hub_stage_paths(s, kind, name, err));
    U2I_TRY(hub_make_folders(s->home, true, err));
    U2I_TRY(hub_stage_lock(s, err));
    return hub_make_folders(s->folder, true, err);
}

/* Deletes all but the lock, and but `kept` (NULL: nothing else). */
static int hub_stage_empty(const struct hub_stage *s, const char *kept, u2i_error_t *err) {
    struct hub_entries entries = {0};
    int rc = hub_read_entries(s->place, &entries, err);
    for (size_t i = 0; rc == U2I_OK && i < entries.n; i++) {
        if (strcmp(entries.names[i], HUB_LOCK) != 0 &&
            (kept == NULL || strcmp(entries.names[i], kept) != 0)) {
            char *const path = hub_join(s->place, entries.names[i]);
            rc = path == NULL ? error_oom(err) : hub_remove(path, err);
            mem_free(path);
        }
    }
    hub_free_entries(&entries);
    return rc;
}

int hub_stage_clear(const struct hub_stage *s, u2i_error_t *err) {
    U2I_TRY(hub_stage_empty(s, NULL, err));
    return hub_make_folders(s->folder, true, err);
}

int hub_stage_parents(const struct hub_stage *s, const char *path, u2i_error_t *err) {
    char *const full = hub_join(s->folder, path);
    const int rc = full == NULL ? error_oom(err) : hub_make_folders(full, false, err);
    mem_free(full);
    return rc;
}

int hub_refuse_taken(const char *target, u2i_error_t *err) {
    return error_set(err, U2I_EINVAL,
                     "%s is there already, and is another model: choose another name, or delete it",
                     target);
}

int hub_stage_finish(struct hub_stage *s, u2i_error_t *err) {
    U2I_TRY(hub_stage_empty(s, strrchr(s->folder, '/') + 1, err));
    if (nftw(s->folder, hub_sync_one, HUB_FTW_FILES, FTW_DEPTH | FTW_PHYS) != 0) {
        return hub_fail("cannot write", s->folder, err);
    }
    if (rename(s->folder, s->target) != 0) {
        return errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR
                   ? hub_refuse_taken(s->target, err)
                   : hub_fail("cannot make", s->target, err);
    }
    s->finished = true;
    return hub_sync_folder(s->home, err);
}

/* The lock goes last: whoever makes a new one after that finds nothing that is still being deleted. What stays
 * behind because something fails here is taken up, or cleared, by the next one. */
static void hub_stage_remove(const struct hub_stage *s) {
    if (s->finished || hub_stage_empty(s, NULL, NULL) == U2I_OK) {
        (void)unlink(s->lock_path);
        (void)rmdir(s->place);
    }
}

void hub_stage_close(struct hub_stage *s, bool keep) {
    if (s->lock >= 0) {
        if (!keep) {
            hub_stage_remove(s);
        }
        (void)close(s->lock); /* nothing was written to it */
    }
    mem_free(s->target);
    mem_free(s->lock_path);
    mem_free(s->folder);
    mem_free(s->place);
    mem_free(s->home);
    *s = (struct hub_stage){.lock = -1};
}
