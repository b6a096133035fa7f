/* What the hashed embedder learns from a catalogue: how frequent each feature is, and the mean vector.
 *
 * Frequencies are kept for buckets of features, one byte each: a number with three bits of mantissa
 * (exact up to 15, then within 6 %), which is more than a logarithm of it needs. The weight of a
 * frequency is
 *
 *     idf = ln(1 + (N + 1) / (max(df, N / 400) + 1))
 *
 * with N texts. It is above 0 for a feature that every text has, so that the first items of a store
 * have vectors too; and features rarer than one in 400 weigh alike: a feature that only one item has
 * cannot bring it near to another, it only takes length away from those that can. The logarithm is
 * our own, from operations that IEEE 754 rounds exactly, so that stores are equal on all machines.
 *
 * Bytes on disk, numbers little-endian: magic; dim (u32); texts (u64); the mean (dim f32); number of
 * buckets that are not 0 (u32); for each of these, in order, the distance from the one before as a
 * varint of 7-bit groups, least first, and its code (u8); CRC-32C of all that (u32). */
#include "embed/embed_learnt.h"
#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"
#include <math.h>

#define LEARNT_MAGIC "u2iidf01"
#define LEARNT_HEAD  20 /* magic, dim, texts */
#define LEARNT_RARE  400.0

/* ---- Frequencies ------------------------------------------------------------------------------ */

/* 0, then 1 + 8 e + m for (8 + m) 2^(e - 3): a floating-point number without its first bit. */
static uint8_t learnt_code(uint32_t count) {
    if (count == 0) {
        return 0;
    }
    const uint32_t most = UINT32_C(0x7fffffff); /* keeps the code within a byte */
    const uint32_t x = count < most ? count : most;
    const int e = 31 - __builtin_clz(x);
    const uint32_t m = e >= 3 ? x >> (e - 3) : x << (3 - e);
    return (uint8_t)(1 + 8 * e + (int)(m & 7));
}

/* The middle of the numbers that have this code. */
static double learnt_count(int code) {
    if (code == 0) {
        return 0;
    }
    const int e = (code - 1) / 8;
    const double middle = e > 3 ? 0.5 : 0;
    return ldexp(8 + (code - 1) % 8 + middle, e - 3);
}

/* ln x for x > 0, to 1e-15 or so: x = m 2^e with m within 0.7..1.42, and ln m = 2 artanh s with
 * s = (m - 1) / (m + 1). */
static double learnt_log(double x) {
    int e;
    double m = frexp(x, &e);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    const double s = (m - 1) / (m + 1);
    double sum = 0;
    for (int k = 21; k > 0; k -= 2) {
        sum = sum * s * s + 1.0 / k;
    }
    return 2 * s * sum + e * 0.69314718055994531;
}

static void learnt_weigh(struct embed_learnt *l) {
    const double texts = (double)l->texts;
    for (int code = 0; code < 256; code++) {
        const double df = fmax(learnt_count(code), texts / LEARNT_RARE);
        /* A bucket can count more than there are texts, where two features of one text meet in it; the
         * weight stays above 0 in any case. */
        l->idf[code] = (float)learnt_log(1 + (texts + 1) / (df + 1));
    }
}

void learnt_free(struct embed_learnt *l) {
    mem_free(l->codes);
    mem_free(l->mean);
    *l = (struct embed_learnt){0};
}

int learnt_new(struct embed_learnt *l, uint32_t dim, u2i_error_t *err) {
    *l = (struct embed_learnt){.codes = mem_zalloc(LEARNT_BUCKETS),
                               .mean = mem_zalloc(dim * sizeof *l->mean)};
    if (l->codes == NULL || l->mean == NULL) {
        learnt_free(l);
        return error_oom(err);
    }
    return U2I_OK;
}

void learnt_fill(struct embed_learnt *l, const uint32_t *counts, uint64_t texts) {
    for (size_t i = 0; i < LEARNT_BUCKETS; i++) {
        l->codes[i] = learnt_code(counts[i]);
    }
    l->texts = texts;
    learnt_weigh(l);
}

/* ---- Bytes ------------------------------------------------------------------------------------ */

static void learnt_put(struct buf *out, uint64_t x, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        buf_putc(out, (char)(unsigned char)(x >> (8 * i)));
    }
}

static void learnt_put_varint(struct buf *out, uint32_t x) {
    for (; x >= 0x80; x >>= 7) {
        buf_putc(out, (char)(unsigned char)(x | 0x80));
    }
    buf_putc(out, (char)(unsigned char)x);
}

static void learnt_put_codes(const struct embed_learnt *l, struct buf *out) {
    uint32_t used = 0;
    for (size_t i = 0; l->codes != NULL && i < LEARNT_BUCKETS; i++) {
        used += l->codes[i] != 0;
    }
    learnt_put(out, used, 4);
    size_t last = 0;
    for (size_t i = 0; used > 0 && i < LEARNT_BUCKETS; i++) {
        if (l->codes[i] != 0) {
            learnt_put_varint(out, (uint32_t)(i - last));
            buf_putc(out, (char)l->codes[i]);
            last = i;
        }
    }
}

int learnt_save(const struct embed_learnt *l, uint32_t dim, struct buf *out, u2i_error_t *err) {
    const size_t start = out->len;
    buf_put(out, LEARNT_MAGIC, 8);
    learnt_put(out, dim, 4);
    learnt_put(out, l->texts, 8);
    for (uint32_t i = 0; i < dim; i++) {
        uint32_t bits = 0;
        if (l->mean != NULL) {
            memcpy(&bits, &l->mean[i], sizeof bits);
        }
        learnt_put(out, bits, 4);
    }
    learnt_put_codes(l, out);
    if (!out->failed) {
        learnt_put(out, vec_get()->crc32c(0, out->data + start, out->len - start), 4);
    }
    return out->failed ? error_oom(err) : U2I_OK;
}

/* Bytes that are still to be read; `bad` once too few or wrong ones came. */
struct learnt_reader {
    const unsigned char *p;
    size_t n;
    bool bad;
};

static uint64_t learnt_get(struct learnt_reader *r, size_t bytes) {
    if (r->n < bytes) {
        r->bad = true;
        r->n = 0;
        return 0;
    }
    uint64_t x = 0;
    for (size_t i = bytes; i > 0; i--) {
        x = x << 8 | r->p[i - 1];
    }
    r->p += bytes;
    r->n -= bytes;
    return x;
}

static uint32_t learnt_get_varint(struct learnt_reader *r) {
    uint32_t x = 0;
    for (int shift = 0; shift < 28; shift += 7) {
        const uint32_t byte = (uint32_t)learnt_get(r, 1);
        x |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            return x;
        }
    }
    r->bad = true;
    return 0;
}

static void learnt_get_codes(struct embed_learnt *l, struct learnt_reader *r) {
    const uint32_t used = (uint32_t)learnt_get(r, 4);
    size_t at = 0;
    for (uint32_t i = 0; i < used && !r->bad; i++) {
        const uint32_t step = learnt_get_varint(r);
        const uint8_t code = (uint8_t)learnt_get(r, 1);
        at += step;
        if (r->bad || at >= LEARNT_BUCKETS || code == 0 || (step == 0 && i > 0)) {
            r->bad = true;
            return;
        }
        l->codes[at] = code;
    }
    r->bad = r->bad || r->n != 0 || (l->texts == 0 && used > 0);
}

static bool learnt_sealed(const unsigned char *p, size_t n) {
    if (n < LEARNT_HEAD + 4 || memcmp(p, LEARNT_MAGIC, 8) != 0) {
        return false;
    }
    struct learnt_reader seal = {p + n - 4, 4, false};
    return learnt_get(&seal, 4) == vec_get()->crc32c(0, p, n - 4);
}

int learnt_load(struct embed_learnt *l, uint32_t dim, const void *p, size_t n, u2i_error_t *err) {
    if (!learnt_sealed(p, n)) {
        return error_set(err, U2I_ECORRUPT, "saved word weights are damaged or foreign");
    }
    struct learnt_reader r = {(const unsigned char *)p + 8, n - 8 - 4, false};
    const uint64_t saved_dim = learnt_get(&r, 4);
    if (saved_dim != dim) {
        return error_set(err, U2I_ECORRUPT, "saved word weights are for %u dimensions, not %u",
                         (unsigned)saved_dim, (unsigned)dim);
    }
    struct embed_learnt fresh;
    U2I_TRY(learnt_new(&fresh, dim, err));
    fresh.texts = learnt_get(&r, 8);
    for (uint32_t i = 0; i < dim; i++) {
        const uint32_t bits = (uint32_t)learnt_get(&r, 4);
        memcpy(&fresh.mean[i], &bits, sizeof bits);
    }
    learnt_get_codes(&fresh, &r);
    if (r.bad || !vec_finite(fresh.mean, dim)) {
        learnt_free(&fresh);
        return error_set(err, U2I_ECORRUPT, "saved word weights are damaged");
    }
    learnt_free(l);
    if (fresh.texts == 0) {
        learnt_free(&fresh); /* nothing learnt was saved, nothing learnt is what it means */
    } else {
        learnt_weigh(&fresh);
        *l = fresh;
    }
    return U2I_OK;
}
