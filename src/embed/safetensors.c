/* A model's tensors in safetensors files, the format of Hugging Face
 * (https://huggingface.co/docs/safetensors):
 *
 *     u64 little-endian   N, the header's length
 *     N bytes             a JSON object: name -> {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
 *                         with offsets from the end of the header on; and "__metadata__", which is skipped
 *     the rest            values, little-endian, rows first, not aligned
 *
 * Nothing in a file is trusted. What always holds for an open one:
 *  1. The tensors cover its data without overlap, from the first byte to the last, as the format
 *     demands: a file that was cut, or has something appended, is refused.
 *  2. A tensor of type F32, F16 or BF16 has as many bytes as its shape says. Those of other types are
 *     there too (BERT's position_ids are I64), but nobody gets their values.
 *  3. Names are unique over all files of a model.
 *
 * Values are looked at when they are read: a model may have more tensors than are used. */
#include "embed/safetensors_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/filemap.h"
#include "json/json.h"
#include <assert.h>
#include <math.h>

enum { SAFETENSORS_DEPTH_MAX = 4 };

/* ---- Types ---------------------------------------------------------------------------------- */

static const struct safetensors_dtype {
    const char *name;
    enum safetensors_type type;
    uint32_t bytes;
} SAFETENSORS_DTYPES[] = {
    {"F32", SAFETENSORS_F32, 4}, {"F16", SAFETENSORS_F16, 2}, {"BF16", SAFETENSORS_BF16, 2}};

/* NULL for those that cannot be read. */
static const struct safetensors_dtype *safetensors_dtype(const char *name) {
    for (size_t i = 0; i < sizeof SAFETENSORS_DTYPES / sizeof SAFETENSORS_DTYPES[0]; i++) {
        if (strcmp(SAFETENSORS_DTYPES[i].name, name) == 0) {
            return &SAFETENSORS_DTYPES[i];
        }
    }
    return NULL;
}

enum safetensors_type safetensors_type_of(const char *dtype, size_t dims_n) {
    const struct safetensors_dtype *const known = safetensors_dtype(dtype);
    return known != NULL && dims_n <= SAFETENSORS_DIMS_MAX ? known->type : SAFETENSORS_OTHER;
}

static uint64_t safetensors_u64(const unsigned char *p) {
    uint64_t x = 0;
    for (unsigned i = 0; i < 8; i++) {
        x |= (uint64_t)p[i] << (8 * i);
    }
    return x;
}

/* ---- One tensor of a header ----------------------------------------------------------------- */

static int safetensors_bad(const struct safetensors_opening *o, const char *name,
                           const char *what) {
    return error_set(o->err, U2I_EEMBED, "%s: tensor %s: %s", o->path, name, what);
}

static bool safetensors_whole(const json_t *value, uint64_t *out) {
    const json_int_t x = json_integer_value(value); /* 0 if it is none */
    *out = (uint64_t)x;
    return json_is_integer(value) && x >= 0;
}

/* The offsets, as bytes of the file. */
static int safetensors_take_offsets(const struct safetensors_opening *o, const char *name,
                                    const json_t *json, struct safetensors_tensor *t) {
    const json_t *const offsets = json_object_get(json, "data_offsets");
    const uint64_t data = SAFETENSORS_PREFIX + o->header_bytes;
    uint64_t begin, end;
    if (json_array_size(offsets) != 2 || !safetensors_whole(json_array_get(offsets, 0), &begin) ||
        !safetensors_whole(json_array_get(offsets, 1), &end)) {
        return safetensors_bad(o, name, "data_offsets is not a list of two numbers");
    }
    if (begin > end || end > o->file_bytes - data) {
        return error_set(o->err, U2I_EEMBED,
                         "%s: tensor %s: data_offsets %llu to %llu are not within %llu bytes",
                         o->path, name, (unsigned long long)begin, (unsigned long long)end,
                         (unsigned long long)(o->file_bytes - data));
    }
    t->bytes = o->map + data + begin;
    t->bytes_n = end - begin;
    return U2I_OK;
}

/* The shape, and how many values it has; false if that overflows or is no shape. */
static bool safetensors_take_shape(const json_t *shape, struct safetensors_tensor *t,
                                   uint64_t *values) {
    const size_t n = json_array_size(shape);
    *values = 1;
    for (size_t i = 0; i < n; i++) {
        uint64_t dim;
        if (!safetensors_whole(json_array_get(shape, i), &dim) ||
            __builtin_mul_overflow(*values, dim, values)) {
            return false;
        }
        if (i < SAFETENSORS_DIMS_MAX) {
            t->dims[i] = dim;
        }
    }
    t->dims_n = (uint32_t)(n <= SAFETENSORS_DIMS_MAX ? n : 0);
    return json_is_array(shape);
}

/* Type, shape, and whether they fit the bytes. */
static int safetensors_take_values(const struct safetensors_opening *o, const char *name,
                                   const json_t *json, struct safetensors_tensor *t) {
    const json_t *const dtype = json_object_get(json, "dtype");
    const json_t *const shape = json_object_get(json, "shape");
    uint64_t values, bytes;
    if (!json_is_string(dtype) || json_string_length(dtype) > SAFETENSORS_DTYPE_MAX) {
        return safetensors_bad(o, name, "dtype is not the name of a type");
    }
    memcpy(t->dtype, json_string_value(dtype), json_string_length(dtype) + 1);
    t->type = safetensors_type_of(t->dtype, json_array_size(shape));
    if (!safetensors_take_shape(shape, t, &values)) {
        return safetensors_bad(o, name, "shape is not a list of numbers, or is too large");
    }
    const struct safetensors_dtype *const known = safetensors_dtype(t->dtype);
    if (known == NULL) {
        return U2I_OK;
    }
    if (__builtin_mul_overflow(values, (uint64_t)known->bytes, &bytes) || bytes != t->bytes_n) {
        return error_set(
            o->err, U2I_EEMBED, "%s: tensor %s: %llu values of type %s are not in %llu bytes",
            o->path, name, (unsigned long long)values, t->dtype, (unsigned long long)t->bytes_n);
    }
    return U2I_OK;
}

int safetensors_enter(const struct safetensors_opening *o, const char *name, size_t name_n,
                      const struct safetensors_tensor *t) {
    struct safetensors *const s = o->s;
    uint32_t number = intern_find(s->names, name, name_n);
    if (number != INTERN_NONE) { /* not in this file, whose keys are unique */
        return error_set(o->err, U2I_EEMBED, "%s: tensor %s is in %s too", o->path, name,
                         s->tensors[number].path);
    }
    if (array_reserve(&s->tensors, &s->tensors_cap, s->tensors_n + 1, sizeof *s->tensors) !=
            U2I_OK ||
        intern_add(s->names, name, name_n, &number) != U2I_OK) {
        return error_oom(o->err);
    }
    assert(number == s->tensors_n);
    s->tensors[s->tensors_n++] = *t;
    return U2I_OK;
}

static int safetensors_take(const struct safetensors_opening *o, const char *name, size_t name_n,
                            const json_t *json) {
    struct safetensors_tensor t = {.path = o->path};
    if (name_n > SAFETENSORS_NAME_MAX) {
        return error_set(o->err, U2I_EEMBED, "%s: the name of a tensor has %zu bytes, over %d",
                         o->path, name_n, SAFETENSORS_NAME_MAX);
    }
    if (!json_is_object(json)) {
        return safetensors_bad(o, name, "it is not described by an object, {...}");
    }
    U2I_TRY(safetensors_take_offsets(o, name, json, &t));
    U2I_TRY(safetensors_take_values(o, name, json, &t));
    return safetensors_enter(o, name, name_n, &t);
}

/* ---- All tensors of a header ---------------------------------------------------------------- */

struct safetensors_span {
    const unsigned char *begin, *end;
    size_t tensor;
};

static int safetensors_span_order(const void *a, const void *b) {
    const struct safetensors_span *const x = a, *const y = b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1)
                                : (x->end > y->end) - (x->end < y->end);
}

/* What lies between where the tensors before have ended and where the next one begins: nothing. */
static int safetensors_check_joint(const struct safetensors_opening *o,
                                   const struct safetensors_span *before, const unsigned char *next,
                                   size_t next_tensor) {
    const unsigned char *const data = o->map + SAFETENSORS_PREFIX + o->header_bytes;
    if (next < before->end) {
        return error_set(o->err, U2I_EEMBED, "%s: tensors %s and %s overlap", o->path,
                         intern_name(o->s->names, (uint32_t)before->tensor, NULL),
                         intern_name(o->s->names, (uint32_t)next_tensor, NULL));
    }
    return next == before->end ? U2I_OK
                               : error_set(o->err, U2I_EEMBED,
                                           "%s: bytes %llu to %llu of the data are of no tensor",
                                           o->path, (unsigned long long)(before->end - data),
                                           (unsigned long long)(next - data));
}

/* The tensors, in order of their bytes, are the data. */
static int safetensors_check_spans(const struct safetensors_opening *o,
                                   struct safetensors_span *spans, size_t n) {
    const unsigned char *const data = o->map + SAFETENSORS_PREFIX + o->header_bytes;
    struct safetensors_span before = {.begin = data, .end = data};
    for (size_t i = 0; i < n; i++) {
        const struct safetensors_tensor *const t = &o->s->tensors[o->first + i];
        spans[i] = (struct safetensors_span){t->bytes, t->bytes + t->bytes_n, o->first + i};
    }
    if (n > 0) {
        qsort(spans, n, sizeof *spans, safetensors_span_order);
    }
    for (size_t i = 0; i < n; i++) {
        U2I_TRY(safetensors_check_joint(o, &before, spans[i].begin, spans[i].tensor));
        before = spans[i];
    }
    return safetensors_check_joint(o, &before, o->map + o->file_bytes, 0);
}

static int safetensors_check_cover(const struct safetensors_opening *o) {
    const size_t n = o->s->tensors_n - o->first;
    struct safetensors_span *const spans = alloc_array(n, sizeof *spans);
    const int rc = spans == NULL ? error_oom(o->err) : safetensors_check_spans(o, spans, n);
    mem_free(spans);
    return rc;
}

static int safetensors_take_all(const struct safetensors_opening *o, json_t *header) {
    const char *name;
    size_t name_n;
    json_t *value;
    json_object_keylen_foreach(header, name, name_n, value) {
        if (strcmp(name, "__metadata__") != 0) {
            U2I_TRY(safetensors_take(o, name, name_n, value));
        }
    }
    return safetensors_check_cover(o);
}

/* ---- The header ----------------------------------------------------------------------------- */

static int safetensors_take_header(struct safetensors_opening *o) {
    const char *const text = (const char *)o->map + SAFETENSORS_PREFIX;
    json_t *header = NULL;
    u2i_error_t fault;
    o->header_bytes = safetensors_u64(o->map);
    if (o->header_bytes > SAFETENSORS_HEADER_MAX) {
        return error_set(o->err, U2I_EEMBED,
                         "%s is not a safetensors file: its header would have %llu bytes, over %d",
                         o->path, (unsigned long long)o->header_bytes, SAFETENSORS_HEADER_MAX);
    }
    if (o->header_bytes > o->file_bytes - SAFETENSORS_PREFIX) {
        return error_set(o->err, U2I_EEMBED,
                         "%s is cut: it has %llu bytes, its header alone %llu and 8", o->path,
                         (unsigned long long)o->file_bytes, (unsigned long long)o->header_bytes);
    }
    int rc = json_parse_object(text, (size_t)o->header_bytes, SAFETENSORS_DEPTH_MAX, o->path,
                               &header, &fault);
    if (rc != U2I_OK) { /* not the caller's fault, but the file's */
        return error_set(o->err, rc == U2I_EINVAL ? U2I_EEMBED : rc, "%s", fault.msg);
    }
    rc = safetensors_take_all(o, header);
    json_decref(header);
    return rc;
}

const struct safetensors_format SAFETENSORS_OWN = {.what = "a safetensors file",
                                                   .whole = "model.safetensors",
                                                   .index = "model.safetensors.index.json",
                                                   .take = safetensors_take_header};

/* ---- Values --------------------------------------------------------------------------------- */

static float safetensors_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void safetensors_from_f32(const unsigned char *p, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, p += 4) {
        out[i] = safetensors_float((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                                   (uint32_t)p[3] << 24);
    }
}

/* The upper half of a float. */
static void safetensors_from_bf16(const unsigned char *p, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, p += 2) {
        out[i] = safetensors_float((uint32_t)p[0] << 16 | (uint32_t)p[1] << 24);
    }
}

/* IEEE 754 binary16: 1 bit of sign, 5 of exponent with bias 15, 10 of mantissa. The bias of a float is
 * 127, and its mantissa has 13 bits more. */
static float safetensors_half(uint32_t half) {
    const uint32_t sign = (half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 0x1f;
    const uint32_t mantissa = half & 0x3ff;
    if (exponent == 0) { /* mantissa * 2^-24, exactly */
        const float x = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -x : x;
    }
    const uint32_t wide = exponent == 0x1f ? 0xff : exponent + 127 - 15;
    return safetensors_float(sign | wide << 23 | mantissa << 13);
}

static void safetensors_from_f16(const unsigned char *p, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, p += 2) {
        out[i] = safetensors_half((uint32_t)p[0] | (uint32_t)p[1] << 8);
    }
}

int safetensors_readable(const struct safetensors_tensor *t, u2i_error_t *err) {
    if (t->type != SAFETENSORS_OTHER) {
        return U2I_OK;
    }
    return safetensors_dtype(t->dtype) == NULL
               ? error_set(err, U2I_EEMBED,
                           "%s: tensor %s has type %s; only F32, F16 and BF16 can be read", t->path,
                           t->name, t->dtype)
               : error_set(err, U2I_EEMBED, "%s: tensor %s has more than %d dimensions", t->path,
                           t->name, SAFETENSORS_DIMS_MAX);
}

int safetensors_floats(const struct safetensors_tensor *t, uint64_t first, size_t n, float *out,
                       u2i_error_t *err) {
    U2I_TRY(safetensors_readable(t, err));
    const uint64_t size = t->type == SAFETENSORS_F32 ? 4 : 2;
    const uint64_t all = t->bytes_n / size;
    if (first > all || n > all - first) {
        return error_set(err, U2I_EINVAL, "%s: tensor %s has %llu values, not %zu from %llu on",
                         t->path, t->name, (unsigned long long)all, n, (unsigned long long)first);
    }
    const unsigned char *const p = t->bytes + first * size;
    if (t->type == SAFETENSORS_F32) {
        safetensors_from_f32(p, n, out);
    } else if (t->type == SAFETENSORS_F16) {
        safetensors_from_f16(p, n, out);
    } else {
        safetensors_from_bf16(p, n, out);
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(out[i])) {
            return error_set(err, U2I_EEMBED, "%s: value %llu of tensor %s is not finite", t->path,
                             (unsigned long long)(first + i), t->name);
        }
    }
    return U2I_OK;
}

void safetensors_drop(const struct safetensors_tensor *t) {
    filemap_drop((void *)(uintptr_t)t->bytes, t->bytes_n);
}
