/* Safetensors files: any bytes, or any header before any data.
 *
 * The first byte of an input says what it is. 0: the rest is a file. Otherwise the rest is the text of a
 * header, a NUL byte, and data; the length before it is put right, so that a fuzzer need not guess it.
 *
 * Promises checked: safetensors_open() ends with U2I_OK or U2I_EEMBED and a message; tensors that are
 * found have as many bytes as their shape says, share none of them, and give their values, or say that
 * one of them is not finite. Tensors are called by one letter. */
#include "base/alloc.h"
#include "embed/safetensors.h"
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FUZZ_TENSORS = 8, FUZZ_PREFIX = 8 };

static void fuzz_tensors_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

/* The file that the input stands for, in memory. */
static int fuzz_tensors_file(const uint8_t *data, size_t n) {
    const int fd = memfd_create("model", 0);
    const uint8_t *const rest = data + 1;
    bool written = fd >= 0;
    if (data[0] == 0) {
        written = written && write(fd, rest, n - 1) == (ssize_t)(n - 1);
    } else {
        uint8_t prefix[FUZZ_PREFIX];
        const uint8_t *const end = memchr(rest, 0, n - 1);
        const size_t header_n = end != NULL ? (size_t)(end - rest) : n - 1;
        const size_t data_n = end != NULL ? n - 2 - header_n : 0;
        for (unsigned i = 0; i < FUZZ_PREFIX; i++) {
            prefix[i] = (uint8_t)((uint64_t)header_n >> (8 * i));
        }
        written = written && write(fd, prefix, sizeof prefix) == (ssize_t)sizeof prefix &&
                  write(fd, rest, header_n) == (ssize_t)header_n &&
                  write(fd, rest + (n - 1 - data_n), data_n) == (ssize_t)data_n;
    }
    fuzz_tensors_require(written, "the file is written");
    return fd;
}

static void fuzz_tensors_shape(const struct safetensors_tensor *t) {
    uint64_t bytes = t->type == SAFETENSORS_F32 ? 4 : 2;
    fuzz_tensors_require(t->dims_n <= SAFETENSORS_DIMS_MAX, "dims are within their array");
    for (uint32_t i = 0; i < t->dims_n; i++) {
        fuzz_tensors_require(!__builtin_mul_overflow(bytes, t->dims[i], &bytes), "no overflow");
    }
    fuzz_tensors_require(bytes == t->bytes_n, "as many bytes as the shape says");
}

static void fuzz_tensors_values(const struct safetensors_tensor *t) {
    const size_t n = (size_t)(t->bytes_n / (t->type == SAFETENSORS_F32 ? 4 : 2));
    float *const out = alloc_array(n, sizeof *out);
    u2i_error_t err = {0};
    float more;
    fuzz_tensors_require(out != NULL, "memory");
    const int rc = safetensors_floats(t, 0, n, out, &err);
    fuzz_tensors_require(rc == U2I_OK || (rc == U2I_EEMBED && err.msg[0] != '\0'), "values");
    for (size_t i = 0; rc == U2I_OK && i < n; i++) {
        fuzz_tensors_require(isfinite(out[i]), "values are finite");
    }
    fuzz_tensors_require(safetensors_floats(t, n, 1, &more, &err) == U2I_EINVAL, "an end");
    mem_free(out);
}

static void fuzz_tensors_use(const struct safetensors *s) {
    struct safetensors_tensor found[FUZZ_TENSORS];
    size_t n = 0;
    for (char name[2] = "a"; name[0] < 'a' + FUZZ_TENSORS; name[0]++) {
        struct safetensors_tensor *const t = &found[n];
        u2i_error_t err = {0};
        if (!safetensors_find(s, name, t)) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            fuzz_tensors_require(found[i].bytes + found[i].bytes_n <= t->bytes ||
                                     t->bytes + t->bytes_n <= found[i].bytes,
                                 "no overlap");
        }
        n++;
        if (safetensors_readable(t, &err) == U2I_OK) {
            fuzz_tensors_shape(t);
            fuzz_tensors_values(t);
        } else {
            fuzz_tensors_require(err.code == U2I_EEMBED && err.msg[0] != '\0', "a message");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct safetensors *s = NULL;
    u2i_error_t err = {0};
    char path[64];
    if (n < 1) {
        return 0;
    }
    const int fd = fuzz_tensors_file(data, n);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const int rc = safetensors_open(path, &s, &err);
    fuzz_tensors_require(close(fd) == 0, "closed");
    fuzz_tensors_require(rc == U2I_OK ? s != NULL
                                      : rc == U2I_EEMBED && s == NULL && err.msg[0] != '\0',
                         "a model, or a message");
    if (rc == U2I_OK) {
        fuzz_tensors_use(s);
    }
    safetensors_close(s);
    return 0;
}
