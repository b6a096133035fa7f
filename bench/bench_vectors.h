/* Files of vectors for the benchmarks: .npy (floats or int32, mapped) and .fvecs (copied), written as
 * .npy again; and vectors made up, for a trial without data. Everything here is static: each
 * benchmark is a program of one file. Messages go into a buffer of MATRIX_ERROR_BYTES. */
#ifndef U2I_BENCH_BENCH_VECTORS_H
#define U2I_BENCH_BENCH_VECTORS_H

#include "base/alloc.h"
#include "base/rng.h"
#include "u2i.h"
#include "vec/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MATRIX_ERROR_BYTES 512

/* n x dim elements of 4 bytes: floats, or numbers of rows. */
struct matrix {
    const void *data;
    size_t n, dim;
    void *map; /* what to give back: a mapped file, or pages of our own */
    size_t bytes;
    bool mapped;
};

static inline const float *matrix_row(const struct matrix *m, size_t row) {
    return (const float *)m->data + row * m->dim;
}

static inline bool matrix_fail(char *error, const char *what, const char *why) {
    (void)snprintf(error, MATRIX_ERROR_BYTES, "%s: %s", what, why); /* may be cut */
    return false;
}

static inline void matrix_close(struct matrix *m) {
    if (m->map != NULL && m->mapped) {
        (void)munmap(m->map, m->bytes); /* was mapped by us */
    } else if (m->map != NULL) {
        pages_free(m->map, m->bytes);
    }
    *m = (struct matrix){0};
}

/* The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (n, dim), }. */
static inline bool matrix_read_npy(struct matrix *m, const char *type) {
    const uint8_t *p = m->map;
    char header[1024];
    if (m->bytes < 12 || memcmp(p, "\x93NUMPY", 6) != 0) {
        return false;
    }
    const size_t at = p[6] == 1 ? 10 : 12;
    const size_t length = (size_t)p[8] | (size_t)p[9] << 8 | (p[6] == 1 ? 0 : (size_t)p[10] << 16);
    if (length >= sizeof(header) || at + length > m->bytes) {
        return false;
    }
    memcpy(header, p + at, length);
    header[length] = '\0';
    const char *shape = strstr(header, "'shape': (");
    if (strstr(header, type) == NULL || strstr(header, "False") == NULL || shape == NULL) {
        return false;
    }
    char *end;
    m->n = strtoul(shape + strlen("'shape': ("), &end, 10);
    m->dim = *end == ',' ? strtoul(end + 1, NULL, 10) : 0;
    m->dim = m->dim == 0 ? 1 : m->dim; /* one dimension only: (n,) */
    m->data = p + at + length;
    return m->n <= (m->bytes - at - length) / 4 / m->dim;
}

/* Each vector is preceded by its dimension as an int32: copied, to be without it. */
static inline bool matrix_read_fvecs(struct matrix *m) {
    int32_t dim;
    if (m->bytes < 4) {
        return false;
    }
    memcpy(&dim, m->map, 4);
    const size_t row = (size_t)dim * 4;
    if (dim < 1 || dim > U2I_DIM_MAX || m->bytes % (row + 4) != 0) {
        return false;
    }
    const struct matrix file = *m;
    const size_t n = file.bytes / (row + 4);
    uint8_t *copy = pages_alloc(n * row);
    for (size_t i = 0; copy != NULL && i < n; i++) {
        memcpy(copy + i * row, (const uint8_t *)file.map + i * (row + 4) + 4, row);
    }
    (void)munmap(file.map, file.bytes); /* was mapped by us */
    *m = (struct matrix){copy, n, (size_t)dim, copy, n * row, false};
    return copy != NULL;
}

/* `type` is '<f4' or '<i4'. */
static inline bool matrix_open(char *error, const char *path, const char *type,
                               struct matrix *out) {
    struct stat st;
    *out = (struct matrix){0};
    if (path == NULL) {
        return matrix_fail(error, "?", "a file is missing");
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        out->bytes = (size_t)st.st_size;
        out->map = mmap(NULL, out->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        out->map = out->map == MAP_FAILED ? NULL : out->map;
        out->mapped = true;
    }
    if (fd >= 0) {
        (void)close(fd); /* was only read */
    }
    const size_t length = strlen(path);
    const bool fvecs = length > 6 && strcmp(path + length - 6, ".fvecs") == 0;
    if (out->map == NULL) {
        return matrix_fail(error, path, "cannot be read");
    }
    if (!(fvecs ? matrix_read_fvecs(out) : matrix_read_npy(out, type))) {
        matrix_close(out);
        return matrix_fail(error, path, "not a file of such vectors");
    }
    return true;
}

/* Vectors of unit length, for a trial without data: clusters in 16 latent dimensions. */
static inline bool matrix_make(char *error, size_t n, size_t dim, uint64_t seed,
                               struct matrix *out) {
    enum { LATENT = 16, CLUSTERS = 64 };
    struct rng rng;
    float centres[CLUSTERS * LATENT], point[LATENT];
    float *into = alloc_array(LATENT * dim, sizeof(*into));
    float *values = pages_alloc(n * dim * sizeof(*values));
    if (into == NULL || values == NULL) {
        mem_free(into);
        return matrix_fail(error, "vectors", "out of memory");
    }
    rng_seed(&rng, 1);
    for (size_t i = 0; i < CLUSTERS * LATENT + LATENT * dim; i++) {
        *(i < CLUSTERS * LATENT ? &centres[i] : &into[i - CLUSTERS * LATENT]) =
            (float)rng_normal(&rng);
    }
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        const float *centre = &centres[(size_t)rng_below(&rng, CLUSTERS) * LATENT];
        for (size_t j = 0; j < LATENT; j++) {
            point[j] = centre[j] + 0.6f * (float)rng_normal(&rng);
        }
        for (size_t j = 0; j < LATENT; j++) {
            vec_get()->axpy(point[j], into + j * dim, values + i * dim, dim);
        }
        (void)vec_normalise(values + i * dim, dim); /* of length 0 once in a lifetime */
    }
    mem_free(into);
    *out = (struct matrix){values, n, dim, values, n * dim * sizeof(*values), false};
    return true;
}

/* Writes n x k row numbers as .npy. */
static inline bool matrix_write_ids(char *error, const char *path, const int32_t *ids, size_t n,
                                    uint32_t k) {
    char header[128] = "\x93NUMPY\x01";
    FILE *f = fopen(path, "wb");
    if (f == NULL) {
        return matrix_fail(error, path, strerror(errno));
    }
    const int used =
        snprintf(header + 10, sizeof(header) - 10,
                 "{'descr': '<i4', 'fortran_order': False, 'shape': (%zu, %u), }", n, k);
    memset(header + 10 + used, ' ', sizeof(header) - 11 - (size_t)used);
    header[sizeof(header) - 1] = '\n';
    header[8] = (char)(sizeof(header) - 10); /* 118: the length, little-endian */
    const bool ok = fwrite(header, sizeof(header), 1, f) == 1 && fwrite(ids, 4, n * k, f) == n * k;
    return (fclose(f) == 0 && ok) || matrix_fail(error, path, "cannot be written");
}

#endif
