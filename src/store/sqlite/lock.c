/* Work that only one handle at a time may do, of any process: who does it holds a lock on an empty file beside the
 * index, FILE-index/WHAT.lock. The system takes the lock back when the process ends, however it ends; the file
 * stays, since who removes it could let two in. */
#include "sqlite_internal.h"

#include "base/error.h"
#include "snapshot.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int lite_lock(struct store *s, const char *what, int *lock, u2i_error_t *err) {
    struct lite *const l = lite_of(s);
    struct buf path = {0};
    buf_printf(&path, "%s-index/%s.lock", l->path, what);
    if (path.failed) {
        return error_oom(err);
    }
    snapshot_make_folder(l);
    int rc = U2I_OK;
    const int fd = open(path.data, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = error_set(err, U2I_EIO, "cannot open %s: %s", path.data, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rc = error_set(err, U2I_EBUSY, "%s is under way in another process or handle", what);
        (void)close(fd);
    } else {
        *lock = fd;
    }
    buf_free(&path);
    return rc;
}

void lite_unlock(struct store *s, int lock) {
    (void)s;
    (void)close(lock); /* gives the lock back, too */
}
