/* Power cuts at a random moment of concurrent ingest: at durability `full` no acknowledged write is
 * lost, and no batch is half there.
 *
 * The store lies on an ext4 file system of its own, in a file behind a loop device. Each round forks
 * a process that ingests with several threads (ingest.h), and at a random moment shuts the file system
 * down (EXT4_IOC_SHUTDOWN): from then on nothing reaches the device, and with NOLOGFLUSH not even
 * what the journal holds in memory, as if the machine had lost its power. Then it is unmounted,
 * mounted again, which replays the journal, and the store is opened, verified and compared with what
 * was acknowledged before the cut. A write that returns after the cut promises nothing: with the power
 * really gone nobody would have heard of it, while here the process lives on for a moment, and a
 * sync that the shutdown overtakes can return success. What this cannot show is a disk that lies
 * about its own cache.
 *
 * Needs root, loop devices and mkfs.ext4; says so and is skipped where it may not have them. All mounts
 * are in a namespace of this process, and vanish with it.
 *
 * U2I_ROUNDS (30 cuts), U2I_ROUND_MS (250), U2I_SEED. */
#include "ingest.h"

#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#define POWERCUT_SHUTDOWN _IOR('X', 125, uint32_t) /* EXT4_IOC_SHUTDOWN, in no public header */
enum { POWERCUT_FLUSH_ALL = 0, POWERCUT_LOGFLUSH = 1, POWERCUT_NOLOGFLUSH = 2 };
enum { POWERCUT_IMAGE_BYTES = 96 << 20 };

struct powercut {
    struct fault_rng rng;
    char dir[256], image[300], mount_point[300], path[400], device[64];
    int loop; /* kept open while it is mounted */
    struct ingest_ledger *ledger;
    uint64_t cuts[3]; /* by kind */
};

static void powercut_make_image(const struct powercut *p) {
    char command[1000];
    const int fd = open(p->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, POWERCUT_IMAGE_BYTES) != 0) {
        fault_die("%s: %s", p->image, strerror(errno));
    }
    (void)close(fd);
    (void)snprintf(command, sizeof command,
                   "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F -J size=8"
                   " -E lazy_itable_init=0,lazy_journal_init=0 '%s' 2>&1",
                   p->image);
    if (system(command) != 0) {
        fault_remove_dir(p->dir);
        fault_skip("mkfs.ext4 does not work here");
    }
}

/* A free loop device on the image; it frees itself when the last user is gone. */
static int powercut_attach(struct powercut *p) {
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const int number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1;
    if (control >= 0) {
        (void)close(control);
    }
    if (number < 0) {
        return -1;
    }
    (void)snprintf(p->device, sizeof p->device, "/dev/loop%d", number);
    const int image = open(p->image, O_RDWR | O_CLOEXEC);
    p->loop = open(p->device, O_RDWR | O_CLOEXEC);
    const struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};
    const bool ok = image >= 0 && p->loop >= 0 && ioctl(p->loop, LOOP_SET_FD, image) == 0 &&
                    ioctl(p->loop, LOOP_SET_STATUS64, &info) == 0;
    if (image >= 0) {
        (void)close(image); /* the device has its own hold on it */
    }
    return ok ? 0 : -1;
}

static int powercut_mount_once(struct powercut *p) {
    if (powercut_attach(p) == 0 && mount(p->device, p->mount_point, "ext4", MS_NOATIME, "") == 0) {
        return 0;
    }
    const int cause = errno;
    if (p->loop >= 0) {
        (void)close(p->loop);
        p->loop = -1;
    }
    errno = cause;
    return -1;
}

/* Between asking for a free device and taking it another process may be faster, and the last one may
 * still be on its way out. */
static int powercut_mount(struct powercut *p) {
    int rc = powercut_mount_once(p);
    for (int tries = 0; rc != 0 && errno == EBUSY && tries < 300; tries++) {
        fault_sleep_us(10000);
        rc = powercut_mount_once(p);
    }
    return rc;
}

/* The dead process's files may take a moment to go. The device goes too: it has a cache of its own, in
 * which a machine without power would have kept nothing, and the next mount must not find in it what
 * never reached the image. */
static void powercut_unmount(struct powercut *p) {
    for (int tries = 0; umount(p->mount_point) != 0; tries++) {
        if (errno != EBUSY || tries > 500) {
            fault_die("umount: %s", strerror(errno));
        }
        fault_sleep_us(10000);
    }
    (void)close(p->loop);
    p->loop = -1;
}

static void powercut_prepare(struct powercut *p) {
    if (geteuid() != 0) {
        fault_skip("power cuts need root, to mount a file system");
    }
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        fault_skip("no mount namespace: %s", strerror(errno));
    }
    fault_make_dir(p->dir, sizeof p->dir);
    (void)snprintf(p->image, sizeof p->image, "%s/disk.img", p->dir);
    (void)snprintf(p->mount_point, sizeof p->mount_point, "%s/mnt", p->dir);
    (void)snprintf(p->path, sizeof p->path, "%s/store.db", p->mount_point);
    powercut_make_image(p);
    if (mkdir(p->mount_point, 0700) != 0 || powercut_mount(p) != 0) {
        const int cause = errno;
        fault_remove_dir(p->dir);
        fault_skip("cannot mount a loop device: %s", strerror(cause));
    }
}

/* Mostly the hardest kind. */
static uint32_t powercut_kind(struct powercut *p) {
    const uint32_t draw = fault_below(&p->rng, 10);
    return draw < 7 ? POWERCUT_NOLOGFLUSH : draw < 9 ? POWERCUT_LOGFLUSH : POWERCUT_FLUSH_ALL;
}

/* A new store for the next rounds. That the old one is gone has to last, as what follows will not. */
static void powercut_start_over(struct powercut *p) {
    fault_remove_store(p->path);
    const int top = open(p->mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0 || syncfs(top) != 0) {
        fault_die("syncfs: %s", strerror(errno));
    }
    (void)close(top);
    memset(p->ledger, 0, sizeof *p->ledger);
}

static void powercut_round(struct powercut *p, uint32_t round, uint32_t round_ms) {
    int ends[2];
    if (pipe(ends) != 0) {
        fault_die("pipe: %s", strerror(errno));
    }
    (void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20); /* only so that writers need not wait for us */
    const int top = open(p->mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0) {
        fault_die("%s: %s", p->mount_point, strerror(errno));
    }
    struct ingest_plan plan = {.path = p->path,
                               .round = round,
                               .workers = INGEST_WORKERS,
                               .tickets = ends[1],
                               .may_fail = true};
    const int64_t start = fault_now_us();
    const pid_t pid = ingest_start(&plan, ends[0]);
    (void)close(ends[1]);
    ingest_collect(p->ledger, ends[0], start + fault_below(&p->rng, round_ms * 1000));
    uint32_t kind = powercut_kind(p);
    p->ledger->cut_us = fault_now_us();
    if (ioctl(top, POWERCUT_SHUTDOWN, &kind) != 0) {
        const int cause = errno;
        ingest_kill(pid);
        fault_skip("this file system cannot be shut down: %s", strerror(cause));
    }
    p->cuts[kind]++;
    ingest_collect(p->ledger, ends[0], fault_now_us() + 10000); /* it may go on, in vain */
    ingest_kill(pid);
    ingest_collect(p->ledger, ends[0], -1);
    (void)close(ends[0]);
    (void)close(top);
    powercut_unmount(p);
    if (powercut_mount(p) != 0) {
        fault_die("mount after the cut: %s", strerror(errno));
    }
    ingest_check(p->ledger, p->path, round + 1);
    p->ledger->cut_us = 0;
}

int main(void) {
    struct powercut p = {.rng = fault_rng_open("powercut"), .loop = -1};
    const uint32_t rounds = (uint32_t)fault_env("U2I_ROUNDS", 30);
    const uint32_t round_ms = (uint32_t)fault_env("U2I_ROUND_MS", 250);
    uint64_t acked = 0, late = 0, beyond = 0;
    powercut_prepare(&p);
    p.ledger = malloc(sizeof *p.ledger);
    if (p.ledger == NULL) {
        fault_die("no memory");
    }
    for (uint32_t i = 0; i < rounds; i++) {
        const uint32_t round = i % INGEST_ROUNDS;
        if (round == 0) {
            powercut_start_over(&p);
        }
        powercut_round(&p, round, round_ms);
        if (round == INGEST_ROUNDS - 1 || i == rounds - 1) {
            acked += p.ledger->acked_all;
            late += p.ledger->late_tickets;
            beyond += p.ledger->beyond;
        }
    }
    (void)printf(
        "powercut: %u cuts (%" PRIu64 " without, %" PRIu64 " with a flush of the journal, "
        "%" PRIu64 " of everything), %" PRIu64 " acknowledged writes, 0 lost, 0 half there; "
        "of those in flight and the %" PRIu64 " that returned later, %" PRIu64 " are there\n",
        rounds, p.cuts[POWERCUT_NOLOGFLUSH], p.cuts[POWERCUT_LOGFLUSH], p.cuts[POWERCUT_FLUSH_ALL],
        acked, late, beyond);
    powercut_unmount(&p);
    free(p.ledger);
    fault_remove_dir(p.dir);
    return 0;
}
