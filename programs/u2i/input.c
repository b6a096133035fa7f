/* See input.h. zlib's gzread() reads both kinds and knows how far it is in the compressed file. A
 * file that ends in the middle of its gzip stream is an error, not an end. */
#include "input.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define INPUT_BUFFER_BYTES (1u << 18)

struct input {
    gzFile gz;
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

static ptrdiff_t input_read_gz(struct input *in, void *buf, size_t n) {
    const int got = gzread(in->gz, buf, (unsigned)(n < (1u << 30) ? n : (1u << 30)));
    int code = Z_OK;
    const char *const what = gzerror(in->gz, &code);
    if (got > 0) {
        return got; /* an error after these bytes comes back with the next call */
    }
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
        const char *const text = code == Z_BUF_ERROR ? "the gzip data ends in the middle"
                                 : code == Z_ERRNO   ? strerror(errno)
                                                     : what;
        (void)snprintf(in->error, sizeof in->error, "%s", text);
        return -1;
    }
    return got;
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

int input_open(const char *path, struct input **out, char *why, size_t why_n) {
    *out = NULL;
    struct input *const in = calloc(1, sizeof *in);
    const int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    const char *problem = NULL;
    struct stat st;
    if (fd < 0) {
        problem = strerror(errno);
    } else if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        problem = "is a folder";
    } else if (in == NULL || (in->peek = malloc(INPUT_PEEK_BYTES)) == NULL ||
               (in->gz = gzdopen(fd, "rb")) == NULL) {
        problem = "out of memory";
    }
    if (problem == NULL) {
        in->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        input_set_name(in, path);
        (void)gzbuffer(in->gz, INPUT_BUFFER_BYTES); /* only fails after the first read */
        problem = input_fill_peek(in) != 0 ? in->error : NULL;
    }
    if (problem != NULL) {
        (void)snprintf(why, why_n, "%s", problem);
        if (fd >= 0 && (in == NULL || in->gz == NULL)) {
            (void)close(fd); /* only read from */
        }
        input_close(in);
        return -1;
    }
    *out = in;
    return 0;
}

void input_close(struct input *in) {
    if (in != NULL) {
        if (in->gz != NULL) {
            (void)gzclose(in->gz); /* only read from */
        }
        free(in->peek);
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
    const z_off_t at = gzoffset(in->gz);
    return at > 0 ? (uint64_t)at : 0;
}

uint64_t input_size(const struct input *in) {
    return in->size;
}
