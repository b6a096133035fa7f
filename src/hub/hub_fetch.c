/* See hub_fetch.h. A file on its way is called by its checksum ("SUM.part", beside the folder that it will be in):
 * so what an earlier run left can only be gone on with if it is of the same bytes, whatever the hub has by that
 * name today, and no header of the server is needed to know it. All of a file is summed up while it is written;
 * what was there before is read once.
 *
 * Retries: as long as more arrives each time, for ever; else HUB_TRIES times, each pause twice as long as the one before,
 * and as long as the server asks for. What cannot get better (404, a wrong sum) is told at once. */
#include "hub/hub_fetch.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUB_TRIES       5u
#define HUB_PAUSE_MAX   60000u /* ms; whoever asks for more is told to come back later */
#define HUB_SLICE_MS    100u   /* between two looks at whether to stop */
#define HUB_LIST_MS     60000u /* for the list of files */
#define HUB_READ_BYTES  ((size_t)1 << 18)
#define HUB_STATUS_OK   200
#define HUB_STATUS_PART 206
#define HUB_STATUS_PAST 416 /* there are no bytes from there on */

/* ---- Waiting ---------------------------------------------------------------------------------- */

static int hub_on_tick(void *ctx) {
    struct hub_source *const s = ctx;
    s->stopped = s->stopped || (s->progress != NULL && s->progress(s->ctx, s->done, s->total) != 0);
    return s->stopped;
}

static int hub_say_stopped(u2i_error_t *err) {
    return error_set(err, U2I_ETIMEOUT,
                     "stopped; what has arrived is kept, and the next try goes on with it");
}

/* Before try number `tries` + 1, which comes if it is worth it: `rc` is what the last one ended with. */
static int hub_pause(struct hub_source *s, unsigned tries, const struct http_reply *r, int rc,
                     u2i_error_t *err) {
    struct gate gate = {0};
    if (s->stopped) {
        return hub_say_stopped(err);
    }
    const uint64_t pause_ms = (uint64_t)s->pause_ms << (tries > 0 ? tries - 1 : 0);
    const uint64_t asked_ms = (uint64_t)r->wait_s * 1000;
    if (!r->again || tries >= HUB_TRIES || asked_ms > HUB_PAUSE_MAX) {
        return rc;
    }
    for (uint64_t left_ms = asked_ms > pause_ms ? asked_ms : pause_ms; left_ms > 0;) {
        const uint32_t slice_ms = left_ms < HUB_SLICE_MS ? (uint32_t)left_ms : HUB_SLICE_MS;
        gate_wait(&gate, 0, slice_ms);
        left_ms -= slice_ms;
        if (hub_on_tick(s)) {
            return hub_say_stopped(err);
        }
    }
    return U2I_OK;
}

/* ---- URLs ------------------------------------------------------------------------------------- */

/* What means something in a URL is written as %XX, a slash too unless it is to stay one. */
static void hub_escape(struct buf *url, const char *s, bool slashes) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *s != '\0'; s++) {
        if (strchr(plain, *s) != NULL || (slashes && *s == '/')) {
            buf_putc(url, *s);
        } else {
            buf_printf(url, "%%%02X", (unsigned)(unsigned char)*s);
        }
    }
}

static void hub_url(struct buf *url, const struct hub_source *s, const char *before,
                    const char *verb) {
    buf_printf(url, "%s%s", s->endpoint, before);
    hub_escape(url, s->name, true);
    buf_puts(url, verb);
    hub_escape(url, s->revision, false);
}

/* ---- The list --------------------------------------------------------------------------------- */

static int hub_refuse_listing(const struct hub_source *s, const struct http_request *q,
                              const struct http_reply *r, u2i_error_t *err) {
    if (r->status == 404) {
        return error_set(err, U2I_ENOTFOUND, "%s has no model %s (revision %s)", s->place.host_port,
                         s->name, s->revision);
    }
    if (r->status == 401) {
        return error_set(err, U2I_ENOTFOUND,
                         "%s shows no model %s: there is none, or it is private and %s",
                         s->place.host_port, s->name,
                         s->key == NULL ? "needs a token, in HF_TOKEN"
                                        : "the token in HF_TOKEN is not good for it");
    }
    return http_refused(q, r, NULL, err);
}

int hub_fetch_listing(struct hub_source *s, struct buf *out, u2i_error_t *err) {
    struct buf url = {0};
    struct http_reply r = {0};
    hub_url(&url, s, "/api/models/", "/tree/");
    buf_puts(&url, "?recursive=true");
    int rc = url.failed ? error_oom(err) : U2I_OK;
    for (unsigned tries = 1; rc == U2I_OK; tries++) {
        const struct http_request q = {.url = url.data,
                                       .key = s->key,
                                       .follow = true,
                                       .timeout_ms = HUB_LIST_MS,
                                       .body_max = HUB_LISTING_BYTES_MAX,
                                       .on_tick = hub_on_tick,
                                       .ctx = s};
        http_reply_free(&r);
        rc = http_call(s->http, &q, &r, err);
        if (rc == U2I_OK && r.status == HUB_STATUS_OK) {
            break;
        }
        rc = rc == U2I_OK ? hub_refuse_listing(s, &q, &r, err) : rc;
        rc = hub_pause(s, tries, &r, rc, err);
    }
    const char *const link = rc == U2I_OK ? http_header(&r, "Link") : NULL;
    if (link != NULL && strstr(link, "rel=\"next\"") != NULL) {
        rc = error_set(err, U2I_EREMOTE, "%s has more files than one list of %s holds", s->name,
                       s->place.host_port);
    }
    if (rc == U2I_OK) {
        buf_put(out, r.body.data, r.body.len);
        rc = out->failed ? error_oom(err) : U2I_OK;
    }
    http_reply_free(&r);
    buf_free(&url);
    return rc;
}

/* ---- What is there ---------------------------------------------------------------------------- */

static char *hub_part_path(const struct hub_stage *stage, const struct hub_file *file) {
    char name[HUB_DIGEST_HEX + sizeof ".part"];
    (void)snprintf(name, sizeof name, "%s.part", file->sum); /* fits */
    return hub_join(stage->place, name);
}

uint64_t hub_fetched_bytes(const struct hub_stage *stage, const struct hub_file *file) {
    char *const part = hub_part_path(stage, file), *const whole =
                                                       hub_join(stage->folder, file->path);
    struct stat st;
    uint64_t bytes = 0;
    if (part != NULL && whole != NULL && (stat(whole, &st) == 0 || stat(part, &st) == 0)) {
        bytes = (uint64_t)st.st_size < file->bytes ? (uint64_t)st.st_size : file->bytes;
    }
    mem_free(whole);
    mem_free(part);
    return bytes;
}

/* Adds the bytes of an open file to a sum, up to its end. */
static int hub_sum_rest(int fd, const char *path, struct hub_digest *d, uint64_t *bytes,
                        u2i_error_t *err) {
    char *const chunk = mem_alloc(HUB_READ_BYTES);
    int rc = chunk == NULL ? error_oom(err) : U2I_OK;
    *bytes = 0;
    while (rc == U2I_OK) {
        const ssize_t got = read(fd, chunk, HUB_READ_BYTES);
        if (got < 0 && errno != EINTR) {
            rc = hub_fail("cannot read", path, err);
        }
        if (got == 0) {
            break;
        }
        if (got > 0) {
            *bytes += (uint64_t)got;
            rc = hub_digest_add(d, chunk, (size_t)got, err);
        }
    }
    mem_free(chunk);
    return rc;
}

int hub_fetched_same(const char *path, const struct hub_file *file, bool *same, u2i_error_t *err) {
    char sum[HUB_DIGEST_HEX + 1];
    struct hub_digest *d = NULL;
    struct stat st;
    uint64_t bytes = 0;
    *same = false;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? U2I_OK : hub_fail("cannot open", path, err);
    }
    int rc = U2I_OK;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == file->bytes) {
        rc = hub_digest_new(file->kind, file->bytes, &d, err);
        rc = rc == U2I_OK ? hub_sum_rest(fd, path, d, &bytes, err) : rc;
        rc = rc == U2I_OK ? hub_digest_end(d, sum, err) : rc;
        *same = rc == U2I_OK && bytes == file->bytes && strcmp(sum, file->sum) == 0;
    }
    hub_digest_free(d);
    (void)close(fd); /* only read from */
    return rc;
}

/* ---- One file --------------------------------------------------------------------------------- */

struct hub_fetching {
    struct hub_source *s;
    const struct hub_file *file;
    char *part, *whole;
    struct buf url;
    int fd;
    uint64_t n; /* bytes of it that are there, and in the sum */
    struct hub_digest *digest;
};

/* From the first byte on. */
static int hub_restart(struct hub_fetching *f, u2i_error_t *err) {
    f->s->done -= f->n;
    f->n = 0;
    hub_digest_free(f->digest);
    f->digest = NULL;
    if (ftruncate(f->fd, 0) != 0 || lseek(f->fd, 0, SEEK_SET) != 0) {
        return hub_fail("cannot write", f->part, err);
    }
    return hub_digest_new(f->file->kind, f->file->bytes, &f->digest, err);
}

/* Takes up what an earlier run has left. */
static int hub_take_up(struct hub_fetching *f, u2i_error_t *err) {
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        return hub_fail("cannot make", f->part, err);
    }
    U2I_TRY(hub_digest_new(f->file->kind, f->file->bytes, &f->digest, err));
    U2I_TRY(hub_sum_rest(f->fd, f->part, f->digest, &f->n, err));
    f->s->done += f->n;
    return f->n > f->file->bytes ? hub_restart(f, err) : U2I_OK;
}

static int hub_wrong_size(const struct hub_fetching *f, uint64_t bytes, u2i_error_t *err) {
    return error_set(err, U2I_EREMOTE, "%s sends %llu bytes of %s, its list says %llu",
                     f->s->place.host_port, (unsigned long long)bytes, f->file->path,
                     (unsigned long long)f->file->bytes);
}

static int hub_on_head(void *ctx, const struct http_reply *r, u2i_error_t *err) {
    struct hub_fetching *const f = ctx;
    if (r->status == HUB_STATUS_PART) {
        if (r->range_from != (int64_t)f->n) {
            return error_set(err, U2I_EREMOTE, "%s sends another part of %s than was asked for",
                             r->place.host_port, f->file->path);
        }
    } else if (r->status == HUB_STATUS_OK && f->n > 0) { /* it sends all, whatever was asked for */
        U2I_TRY(hub_restart(f, err));
    } else if (r->status != HUB_STATUS_OK) {
        return U2I_OK; /* looked at when its message is there, too */
    }
    return r->length < 0 || (uint64_t)r->length == f->file->bytes - f->n
               ? U2I_OK
               : hub_wrong_size(f, f->n + (uint64_t)r->length, err);
}

static int hub_on_body(void *ctx, const void *p, size_t n, u2i_error_t *err) {
    struct hub_fetching *const f = ctx;
    if (n > f->file->bytes - f->n) {
        return hub_wrong_size(f, f->n + n, err);
    }
    U2I_TRY(hub_write_all(f->fd, p, n, f->part, err));
    f->n += n;
    f->s->done += n;
    return hub_digest_add(f->digest, p, n, err);
}

static int hub_on_file_tick(void *ctx) {
    const struct hub_fetching *const f = ctx;
    return hub_on_tick(f->s);
}

/* One request. U2I_OK: all is there. *again: it is worth another one, from where this one ended. */
static int hub_request(struct hub_fetching *f, struct http_reply *r, u2i_error_t *err) {
    const struct http_request q = {.url = f->url.data,
                                   .key = f->s->key,
                                   .from = f->n,
                                   .follow = true,
                                   .body_max = HUB_BYTES_MAX, /* hub_on_body() is stricter */
                                   .on_head = hub_on_head,
                                   .on_body = hub_on_body,
                                   .on_tick = hub_on_file_tick,
                                   .ctx = f};
    U2I_TRY(http_call(f->s->http, &q, r, err));
    if (r->status == HUB_STATUS_PAST && f->n > 0) { /* another file by now? The sum will tell */
        U2I_TRY(hub_restart(f, err));
        r->again = true;
    }
    if (r->status != HUB_STATUS_OK && r->status != HUB_STATUS_PART) {
        u2i_error_t why = {0};
        const int rc = http_refused(&q, r, NULL, &why);
        return error_set(err, rc, "%s: %s", f->file->path, why.msg);
    }
    r->again = true; /* a server that ends a body early, and says nothing of its length */
    return f->n == f->file->bytes ? U2I_OK : hub_wrong_size(f, f->n, err);
}

/* Until all bytes are there. */
static int hub_fetch_bytes(struct hub_fetching *f, u2i_error_t *err) {
    struct http_reply r = {0};
    int rc = U2I_OK;
    uint64_t most = f->n;
    for (unsigned tries = 1; rc == U2I_OK && f->n < f->file->bytes; tries++) {
        rc = hub_request(f, &r, err);
        if (f->n > most) {
            most = f->n;
            tries = 1;
        }
        rc = rc == U2I_OK ? U2I_OK : hub_pause(f->s, tries, &r, rc, err);
        http_reply_free(&r);
    }
    return rc;
}

/* All bytes are there: are they the right ones? *same: no retry can make them. */
static int hub_check_sum(struct hub_fetching *f, bool *same, u2i_error_t *err) {
    char sum[HUB_DIGEST_HEX + 1];
    U2I_TRY(hub_digest_end(f->digest, sum, err));
    *same = strcmp(sum, f->file->sum) == 0;
    return *same ? U2I_OK : hub_restart(f, err);
}

/* What was there before may have been spoilt (a crash of the machine), so then there is a second go. */
static int hub_fetch_right(struct hub_fetching *f, u2i_error_t *err) {
    bool same = false, resumed = f->n > 0;
    U2I_TRY(hub_fetch_bytes(f, err));
    U2I_TRY(hub_check_sum(f, &same, err));
    if (!same && resumed) {
        U2I_TRY(hub_fetch_bytes(f, err));
        U2I_TRY(hub_check_sum(f, &same, err));
    }
    return same ? U2I_OK
                : error_set(err, U2I_EREMOTE,
                            "%s sends other bytes of %s than its list says: the %s is wrong",
                            f->s->place.host_port, f->file->path,
                            f->file->kind == HUB_SHA256 ? "SHA-256" : "SHA-1");
}

/* The part becomes the file. */
static int hub_put_in_place(struct hub_fetching *f, const struct hub_stage *stage,
                            u2i_error_t *err) {
    U2I_TRY(hub_stage_parents(stage, f->file->path, err));
    if (fsync(f->fd) != 0) {
        return hub_fail("cannot write", f->part, err);
    }
    return rename(f->part, f->whole) == 0 ? U2I_OK : hub_fail("cannot make", f->whole, err);
}

static int hub_fetch_anew(struct hub_fetching *f, const struct hub_stage *stage, u2i_error_t *err) {
    hub_url(&f->url, f->s, "/", "/resolve/");
    buf_putc(&f->url, '/');
    hub_escape(&f->url, f->file->path, true);
    int rc = f->url.failed ? error_oom(err) : hub_take_up(f, err);
    if (rc == U2I_OK) {
        rc = hub_fetch_right(f, err);
    }
    if (rc == U2I_OK) {
        rc = hub_put_in_place(f, stage, err);
    }
    if (f->fd >= 0 && close(f->fd) != 0 && rc == U2I_OK) {
        rc = hub_fail("cannot write", f->whole, err);
    }
    hub_digest_free(f->digest);
    buf_free(&f->url);
    return rc;
}

/* The source has counted as done what was there; what turns out not to be the file's is taken off again. */
int hub_fetch_file(struct hub_source *s, const struct hub_stage *stage, const struct hub_file *file,
                   u2i_error_t *err) {
    struct hub_fetching f = {.s = s, .file = file, .fd = -1};
    const uint64_t counted = hub_fetched_bytes(stage, file);
    bool same = false;
    f.part = hub_part_path(stage, file);
    f.whole = hub_join(stage->folder, file->path);
    int rc = f.part == NULL || f.whole == NULL ? error_oom(err)
                                               : hub_fetched_same(f.whole, file, &same, err);
    if (rc == U2I_OK && !same) {
        s->done -= counted;
        rc = hub_remove(f.whole, err);
        rc = rc == U2I_OK ? hub_fetch_anew(&f, stage, err) : rc;
    }
    mem_free(f.whole);
    mem_free(f.part);
    return rc;
}
