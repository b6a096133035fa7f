/* A full disk: writes fail with a clear error and change nothing, reads go on, and writes work again
 * when there is space.
 *
 * Two ways to fill it: a limit on the size of files (RLIMIT_FSIZE), which needs no rights, and a
 * small tmpfs of our own with a ballast file, where the kernel allows to mount one. */
#include "fault.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

enum { DISKFULL_ITEMS = 50, DISKFULL_BATCH = 20, DISKFULL_TRIES = 3000 };

/* A way to take the space away and give it back. */
struct diskfull_way {
    const char *name;
    char dir[300], path[400], ballast[400];
    void (*fill)(struct diskfull_way *way);
    void (*relieve)(struct diskfull_way *way);
};

static void diskfull_put_items(u2i_t *u) {
    u2i_item_t items[DISKFULL_ITEMS];
    char ids[DISKFULL_ITEMS][16];
    float vectors[DISKFULL_ITEMS][FAULT_DIM];
    u2i_error_t err;
    for (size_t i = 0; i < DISKFULL_ITEMS; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "i%zu", i);
        for (size_t d = 0; d < FAULT_DIM; d++) {
            vectors[i][d] = (float)((i * 7 + d * 3) % 11) - 5.0f + 0.5f;
        }
        items[i] = (u2i_item_t){.id = ids[i], .title = ids[i], .vector = vectors[i]};
    }
    if (u2i_put_items(u, items, DISKFULL_ITEMS, sizeof items[0], &err) != U2I_OK) {
        fault_die("put: %s", err.msg);
    }
}

/* One batch of events, whose ids tell the batch. */
static int diskfull_record(u2i_t *u, unsigned batch, u2i_error_t *err) {
    u2i_event_t events[DISKFULL_BATCH];
    char ids[DISKFULL_BATCH][U2I_ID_MAX_BYTES], items[DISKFULL_BATCH][16];
    for (unsigned i = 0; i < DISKFULL_BATCH; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "%06u/%02u/%0100u", batch, i, 0);
        (void)snprintf(items[i], sizeof items[i], "i%u", (batch + i) % DISKFULL_ITEMS);
        events[i] = (u2i_event_t){.user = "u",
                                  .item = items[i],
                                  .action = "view",
                                  .time_ms = 1700000000000 + batch,
                                  .id = ids[i]};
    }
    return u2i_record(u, events, DISKFULL_BATCH, sizeof events[0], NULL, err);
}

struct diskfull_found {
    uint8_t *per_batch;
    uint64_t n;
};
static int diskfull_see(void *ctx, const u2i_event_t *e) {
    struct diskfull_found *f = ctx;
    f->per_batch[strtoul(e->id, NULL, 10)]++;
    f->n++;
    return 0;
}

/* Every batch below `acked` whole, nothing else. */
static void diskfull_check(u2i_t *u, unsigned acked) {
    u2i_error_t err;
    size_t faults = 0;
    struct diskfull_found f = {calloc(2 * DISKFULL_TRIES, 1), 0};
    if (f.per_batch == NULL) {
        fault_die("no memory");
    }
    if (u2i_scan_events(u, NULL, 0, diskfull_see, &f, &err) != U2I_OK) {
        fault_die("a scan on a full disk: %s", err.msg);
    }
    for (unsigned b = 0; b < acked; b++) {
        if (f.per_batch[b] != DISKFULL_BATCH) {
            fault_die("batch %u has %u events", b, f.per_batch[b]);
        }
    }
    if (f.n != (uint64_t)acked * DISKFULL_BATCH) {
        fault_die("%" PRIu64 " events instead of %u", f.n, acked * DISKFULL_BATCH);
    }
    if (u2i_verify(u, fault_print_fault, NULL, &faults, &err) != U2I_OK || faults != 0) {
        fault_die("verify: %zu faults, %s", faults, err.msg);
    }
    free(f.per_batch);
}

static void diskfull_check_answer(u2i_t *u) {
    u2i_error_t err;
    u2i_query_t q = U2I_QUERY_INIT;
    u2i_result_t *r = NULL;
    q.user = "u";
    q.limit = 5;
    q.flags = U2I_KEEP_SEEN;
    if (u2i_recommend(u, &q, &r, &err) != U2I_OK || u2i_result_count(r) != 5) {
        fault_die("recommend on a full disk: %s", err.msg);
    }
    u2i_result_free(r);
}

/* Records until it fails; returns the number of the batch that did. */
static unsigned diskfull_until_full(u2i_t *u, unsigned batch) {
    u2i_error_t err = {0};
    for (const unsigned end = batch + DISKFULL_TRIES / 2; batch < end; batch++) {
        if (diskfull_record(u, batch, &err) != U2I_OK) {
            if (err.code != U2I_EIO || err.msg[0] == '\0') {
                fault_die("a full disk is reported as %s: %s", u2i_rc_name(err.code), err.msg);
            }
            (void)printf("  full after %u batches: %s\n", batch, err.msg);
            return batch;
        }
    }
    fault_die("the disk never got full");
}

static void diskfull_run(struct diskfull_way *way) {
    u2i_t *u = NULL;
    u2i_error_t err;
    (void)printf("%s\n", way->name);
    if (fault_open(way->path, &u, &err) != U2I_OK) {
        fault_die("open: %s", err.msg);
    }
    diskfull_put_items(u);
    unsigned acked = 0;
    for (unsigned round = 0; round < 3; round++) {
        way->fill(way);
        acked = diskfull_until_full(u, acked);
        for (unsigned again = 0; again < 3; again++) { /* it stays a clear error */
            if (diskfull_record(u, acked, &err) == U2I_OK) {
                acked++; /* a little space was left after all */
            }
        }
        diskfull_check_answer(u);
        diskfull_check(u, acked);
        way->relieve(way);
        for (unsigned i = 0; i < 3; i++, acked++) {
            if (diskfull_record(u, acked, &err) != U2I_OK) {
                fault_die("a write with space again: %s", err.msg);
            }
        }
        diskfull_check(u, acked);
    }
    if (u2i_close(u) != U2I_OK || fault_open(way->path, &u, &err) != U2I_OK) {
        fault_die("closing and opening again: %s", err.msg);
    }
    diskfull_check(u, acked);
    (void)u2i_close(u); /* nothing was written since */
    (void)printf("  %u batches acknowledged, all there, none half\n", acked);
}

/* ---- By a limit on the size of files -------------------------------------------------------------- */

static void diskfull_limit(rlim_t bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0) {
        fault_die("getrlimit: %s", strerror(errno));
    }
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        fault_die("setrlimit: %s", strerror(errno));
    }
}

static void diskfull_limit_fill(struct diskfull_way *way) {
    char wal[500];
    struct stat file = {0}, log = {0};
    (void)snprintf(wal, sizeof wal, "%s-wal", way->path);
    (void)stat(way->path, &file); /* 0 bytes where it does not exist */
    (void)stat(wal, &log);
    const off_t largest = file.st_size > log.st_size ? file.st_size : log.st_size;
    diskfull_limit((rlim_t)largest + 200000);
}

static void diskfull_limit_relieve(struct diskfull_way *way) {
    (void)way;
    diskfull_limit(RLIM_INFINITY);
}

/* ---- By a small file system ----------------------------------------------------------------------- */

/* Leaves about 200 kB. */
static void diskfull_tmpfs_fill(struct diskfull_way *way) {
    static const char zeros[4096];
    const int fd = open(way->ballast, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t bytes = 0;
    if (fd < 0) {
        fault_die("%s: %s", way->ballast, strerror(errno));
    }
    while (write(fd, zeros, sizeof zeros) == sizeof zeros) {
        bytes += (off_t)sizeof zeros;
    }
    if (ftruncate(fd, bytes > 200 * 1024 ? bytes - 200 * 1024 : 0) != 0) {
        fault_die("ballast: %s", strerror(errno));
    }
    (void)close(fd);
}

static void diskfull_tmpfs_relieve(struct diskfull_way *way) {
    (void)unlink(way->ballast); /* if it is not there, there is space already */
}

/* A mount namespace as root, or as root of a user namespace of our own. */
static bool diskfull_mount(const char *dir) {
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        return false;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, "size=16m") == 0;
}

int main(void) {
    char dir[256];
    struct diskfull_way limit = {.name = "a limit on the size of files",
                                 .fill = diskfull_limit_fill,
                                 .relieve = diskfull_limit_relieve};
    struct diskfull_way tmpfs = {
        .name = "a full tmpfs", .fill = diskfull_tmpfs_fill, .relieve = diskfull_tmpfs_relieve};
    (void)signal(SIGXFSZ, SIG_IGN); /* so that a write over the limit fails with EFBIG */
    fault_make_dir(dir, sizeof dir);
    (void)snprintf(limit.path, sizeof limit.path, "%s/store.db", dir);
    diskfull_run(&limit);
    (void)snprintf(tmpfs.dir, sizeof tmpfs.dir, "%s/mnt", dir);
    (void)snprintf(tmpfs.path, sizeof tmpfs.path, "%s/store.db", tmpfs.dir);
    (void)snprintf(tmpfs.ballast, sizeof tmpfs.ballast, "%s/ballast", tmpfs.dir);
    if (mkdir(tmpfs.dir, 0700) == 0 && diskfull_mount(tmpfs.dir)) {
        diskfull_run(&tmpfs);
        (void)umount(tmpfs.dir); /* else it goes with the process */
    } else {
        (void)printf("%s: left out, mounting is not allowed here\n", tmpfs.name);
    }
    fault_remove_dir(dir);
    return 0;
}
