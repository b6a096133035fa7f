/* Files of torch.save(): any bytes, or any pickle in a good archive, or a good archive with changes.
 *
 * The first byte of an input says what it is. 0: the rest is a file. 1: the rest is data.pkl of an archive with two storages
 * "0" and "1" of 24 bytes. Otherwise the rest is a list of changes, three bytes each (place, of 16 bits; value), to an
 * archive with two tensors, which gets a fuzzer deep into its structure with inputs of some bytes.
 *
 * Promises checked: safetensors_open_torch() ends with U2I_OK or U2I_EEMBED and a message; tensors that
 * are found lie within the file, have as many bytes as their shape says, and give their values, or say
 * that one of them is not finite. Tensors are called by one letter. */
#include "../tests/torch_forge.h"

#include "base/alloc.h"
#include "embed/safetensors.h"
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FUZZ_FILE = 0, FUZZ_PICKLE = 1, FUZZ_NAMES = 8 };

static void fuzz_torch_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static struct buf fuzz_torch_archive(const void *pickle, size_t n) {
    static const float values[6] = {0, 1, 2, 3, 4, 5};
    struct zip z = {.entries = 0};
    zip_add(&z, "m/data.pkl", pickle, n);
    zip_add(&z, "m/byteorder", "little", strlen("little"));
    zip_add(&z, "m/data/0", values, sizeof values);
    zip_add(&z, "m/data/1", values, sizeof values);
    return zip_finish(&z, true);
}

/* A good one with the input's changes. */
static struct buf fuzz_torch_changed(const uint8_t *data, size_t n) {
    static const char pickle[] = PICKLE_DICT PICKLE_TEXT("\001", "a") PICKLE_TENSOR PICKLE_STORAGE(
        "Float", "0", "\006") "K\000K\002K\003\206K\003K\001\206" PICKLE_REST PICKLE_TEXT("\001",
                                                                                          "b")
        PICKLE_TENSOR PICKLE_STORAGE("Half", "1",
                                     "\014") "K\001K\013\205K\001\205" PICKLE_REST PICKLE_END;
    struct buf b = fuzz_torch_archive(pickle, sizeof pickle - 1);
    for (size_t i = 0; i + 3 <= n; i += 3) {
        zip_set(&b, (size_t)data[i] | (size_t)data[i + 1] << 8, data[i + 2], 1);
    }
    return b;
}

/* The file that the input stands for. */
static struct buf fuzz_torch_file(const uint8_t *data, size_t n) {
    struct buf b = {0};
    if (data[0] == FUZZ_FILE) {
        buf_put(&b, data + 1, n - 1);
    } else if (data[0] == FUZZ_PICKLE) {
        b = fuzz_torch_archive(data + 1, n - 1);
    } else {
        b = fuzz_torch_changed(data + 1, n - 1);
    }
    return b;
}

static void fuzz_torch_values(const struct safetensors_tensor *t, size_t file_bytes) {
    const uint64_t size = t->type == SAFETENSORS_F32 ? 4 : 2;
    uint64_t bytes = size;
    u2i_error_t err = {0};
    float more;
    fuzz_torch_require(t->dims_n <= SAFETENSORS_DIMS_MAX, "dims are within their array");
    for (uint32_t i = 0; i < t->dims_n; i++) {
        fuzz_torch_require(!__builtin_mul_overflow(bytes, t->dims[i], &bytes), "no overflow");
    }
    fuzz_torch_require(bytes == t->bytes_n && bytes <= file_bytes, "as many as the shape says");
    const size_t n = (size_t)(bytes / size);
    float *const out = alloc_array(n, sizeof *out);
    fuzz_torch_require(out != NULL, "memory");
    const int rc = safetensors_floats(t, 0, n, out, &err);
    fuzz_torch_require(rc == U2I_OK || (rc == U2I_EEMBED && err.msg[0] != '\0'), "values");
    for (size_t i = 0; rc == U2I_OK && i < n; i++) {
        fuzz_torch_require(isfinite(out[i]), "values are finite");
    }
    fuzz_torch_require(safetensors_floats(t, n, 1, &more, &err) == U2I_EINVAL, "an end");
    mem_free(out);
}

static void fuzz_torch_use(const struct safetensors *s, size_t file_bytes) {
    for (char name[2] = "a"; name[0] < 'a' + FUZZ_NAMES; name[0]++) {
        struct safetensors_tensor t;
        u2i_error_t err = {0};
        if (!safetensors_find(s, name, &t)) {
            continue;
        }
        if (safetensors_readable(&t, &err) == U2I_OK) {
            fuzz_torch_values(&t, file_bytes);
        } else {
            fuzz_torch_require(err.code == U2I_EEMBED && err.msg[0] != '\0', "a message");
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
    struct buf b = fuzz_torch_file(data, n);
    const int fd = memfd_create("model", 0);
    fuzz_torch_require(fd >= 0 && write(fd, b.data, b.len) == (ssize_t)b.len, "written");
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const int rc = safetensors_open_torch(path, &s, &err);
    fuzz_torch_require(close(fd) == 0, "closed");
    fuzz_torch_require(rc == U2I_OK ? s != NULL
                                    : rc == U2I_EEMBED && s == NULL && err.msg[0] != '\0',
                       "a model, or a message");
    if (rc == U2I_OK) {
        fuzz_torch_use(s, b.len);
    }
    safetensors_close(s);
    buf_free(&b);
    return 0;
}
