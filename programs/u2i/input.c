/* See input.h. Bytes are read here and only unpacked by zlib, not by its gzread(): that one waits until
 * its buffer is full and drops what it has when a signal ends the wait, but what a slow pipe has sent
 * until then is to be imported. A file that ends in the middle of its gzip stream is an error, not an
 * end; what follows the last stream and is no gzip is left alone, as gzip does. */
#include "input.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define INPUT_BUFFER_BYTES (1u << 18)

struct input {
    int fd;
    bool gzip, between; /* between: a gzip stream has ended, and none has begun after it */
    z_stream z;
    unsigned char *raw; /* as read: raw_at..raw_n is not unpacked yet */
    size_t raw_at, raw_n;
    uint64_t got;
    char *peek; /* the first peek_n bytes, served from peek_at on */
    size_t peek_n, peek_at;
    uint64_t size;
    char name[256];
    char error[160];
};

static void input_set_name(struct input *in, const char *path) {
    const char *const slash = strrchr(path, '/');
    const char *const name = strcmp(path, "-") == 0 ? "stdin" : slash != NULL ? slash + 1 : path;
    (void)snprintf(in->name, sizeof in->name, "%s", name);
}

/* ---- Unpacking ------------------------------------------------------------------------------- */

static int input_fail(struct input *in, const char *why) {
    (void)snprintf(in->error, sizeof in->error, "%s", why);
    return -1;
}

/* Has at least `wanted` raw bytes, or what is left of the file. -1 on an error. */
static int input_fill_raw(struct input *in, size_t wanted) {
    if (in->raw_n - in->raw_at >= wanted) {
        return 0;
    }
    memmove(in->raw, in->raw + in->raw_at, in->raw_n - in->raw_at);
    in->raw_n -= in->raw_at;
    in->raw_at = 0;
    while (in->raw_n < wanted) {
        const ssize_t got = read(in->fd, in->raw + in->raw_n, INPUT_BUFFER_BYTES - in->raw_n);
        if (got < 0) {
            return input_fail(in, strerror(errno));
        }
        if (got == 0) {
            break;
        }
        in->raw_n += (size_t)got;
        in->got += (uint64_t)got;
    }
    return 0;
}

/* Whether a gzip stream begins here; -1 on an error. */
static int input_at_gzip(struct input *in) {
    if (input_fill_raw(in, 2) != 0) {
        return -1;
    }
    return in->raw_n - in->raw_at >= 2 && in->raw[in->raw_at] == 0x1f &&
           in->raw[in->raw_at + 1] == 0x8b;
}

static ptrdiff_t input_read_plain(struct input *in, void *buf, size_t n) {
    if (input_fill_raw(in, 1) != 0) {
        return -1;
    }
    const size_t left = in->raw_n - in->raw_at, take = n < left ? n : left;
    memcpy(buf, in->raw + in->raw_at, take);
    in->raw_at += take;
    return (ptrdiff_t)take;
}

/* Unpacks what is there. 0 when there is nothing to unpack any more, -1 on an error. */
static int input_inflate(struct input *in) {
    if (in->between) {
        const int more = input_at_gzip(in);
        if (more <= 0) {
            return more;
        }
        (void)inflateReset(&in->z); /* cannot fail after inflateInit2() */
        in->between = false;
    }
    if (input_fill_raw(in, 1) != 0) {
        return -1;
    }
    if (in->raw_at == in->raw_n) {
        return input_fail(in, "the gzip data ends in the middle");
    }
    in->z.next_in = in->raw + in->raw_at;
    in->z.avail_in = (uInt)(in->raw_n - in->raw_at);
    const int rc = inflate(&in->z, Z_NO_FLUSH);
    in->raw_at = in->raw_n - in->z.avail_in;
    in->between = rc == Z_STREAM_END;
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        return input_fail(in, in->z.msg != NULL ? in->z.msg : "wrong gzip data");
    }
    return 1;
}

static ptrdiff_t input_read_gz(struct input *in, void *buf, size_t n) {
    if (!in->gzip) {
        return input_read_plain(in, buf, n);
    }
    const uInt room = (uInt)(n < (1u << 30) ? n : (1u << 30));
    int rc = 1;
    in->z.next_out = buf;
    in->z.avail_out = room;
    while (rc > 0 && in->z.avail_out == room) {
        rc = input_inflate(in);
    }
    const ptrdiff_t made = (ptrdiff_t)(room - in->z.avail_out);
    return made > 0 ? made : rc; /* an error after these bytes comes back with the next call */
}

static int input_fill_peek(struct input *in) {
    while (in->peek_n < INPUT_PEEK_BYTES) {
        const ptrdiff_t got =
            input_read_gz(in, in->peek + in->peek_n, INPUT_PEEK_BYTES - in->peek_n);
        if (got < 0) {
            /* What was read before the error is still good; the error comes back when read. */
            return in->peek_n > 0 ? 0 : -1;
        }
        if (got == 0) {
            return 0;
        }
        in->peek_n += (size_t)got;
    }
    return 0;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* NULL, or what is wrong. */
static const char *input_begin(struct input *in, const char *path) {
    struct stat st;
    in->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0 || fstat(in->fd, &st) != 0) {
        return strerror(errno);
    }
    if (S_ISDIR(st.st_mode)) {
        return "is a folder";
    }
    in->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    input_set_name(in, path);
    in->peek = malloc(INPUT_PEEK_BYTES);
    in->raw = malloc(INPUT_BUFFER_BYTES);
    if (in->peek == NULL || in->raw == NULL) {
        return "out of memory";
    }
    const int gzip = input_at_gzip(in);
    if (gzip > 0 && inflateInit2(&in->z, 15 + 16) != Z_OK) {
        return "out of memory";
    }
    in->gzip = gzip > 0;
    return gzip < 0 || input_fill_peek(in) != 0 ? in->error : NULL;
}

int input_open(const char *path, struct input **out, char *why, size_t why_n) {
    struct input *const in = calloc(1, sizeof *in);
    *out = NULL;
    if (in != NULL) {
        in->fd = -1;
    }
    const char *const problem = in == NULL ? "out of memory" : input_begin(in, path);
    if (problem != NULL) {
        (void)snprintf(why, why_n, "%s", problem);
        input_close(in);
        return -1;
    }
    *out = in;
    return 0;
}

void input_close(struct input *in) {
    if (in != NULL) {
        if (in->gzip) {
            (void)inflateEnd(&in->z); /* only read from */
        }
        if (in->fd >= 0) {
            (void)close(in->fd); /* only read from */
        }
        free(in->peek);
        free(in->raw);
        free(in);
    }
}

ptrdiff_t input_read(void *ctx, void *buf, size_t n) {
    struct input *const in = ctx;
    const size_t left = in->peek_n - in->peek_at;
    if (left > 0) {
        const size_t take = n < left ? n : left;
        memcpy(buf, in->peek + in->peek_at, take);
        in->peek_at += take;
        return (ptrdiff_t)take;
    }
    if (in->error[0] != '\0') {
        return -1;
    }
    return input_read_gz(in, buf, n);
}

const char *input_error(const struct input *in) {
    return in->error;
}

size_t input_peek(const struct input *in, const char **out) {
    *out = in->peek;
    return in->peek_n;
}

const char *input_name(const struct input *in) {
    return in->name;
}

uint64_t input_position(const struct input *in) {
    return in->got - (in->raw_n - in->raw_at);
}

uint64_t input_size(const struct input *in) {
    return in->size;
}
