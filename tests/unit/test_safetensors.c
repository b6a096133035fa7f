/* Safetensors files: what is in a good one comes out exactly, and everything else is refused with a
 * message that says what and where. Files are made by the test (model_folder.h). */
#include "base/rng.h"
#include "embed/safetensors.h"
#include "model_folder.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define A_TENSOR "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"

/* One folder for all tests; each writes its own files. */
static struct folder folder;

static int make_folder(void **state) {
    (void)state;
    folder = folder_make();
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    folder_remove(&folder);
    return 0;
}

static int open_bytes(const void *p, size_t n, struct safetensors **s, u2i_error_t *err) {
    folder_write(&folder, "x.safetensors", p, n);
    return safetensors_open(folder_path(&folder, "x.safetensors"), s, err);
}

/* A file with that header, and n bytes of data. */
static int open_header(const char *header, size_t n, struct safetensors **s, u2i_error_t *err) {
    static const char data[256];
    struct buf b = forge_bytes(header, strlen(header), data, n);
    const int rc = open_bytes(b.data, b.len, s, err);
    buf_free(&b);
    return rc;
}

static void assert_refused(int rc, const struct safetensors *s, const u2i_error_t *err,
                           const char *message) {
    if (rc != U2I_EEMBED || err->code != rc || s != NULL || strstr(err->msg, message) == NULL) {
        fail_msg("expected \"%s\": %d %s", message, rc, err->msg);
    }
}

static void tensors_come_out_as_they_went_in(void **state) {
    (void)state;
    static const uint64_t dims[] = {3, 2};
    struct forge f = {0};
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    forge_add(&f, "matrix", "F32", dims, 2);
    forge_add(&f, "vector", "BF16", dims, 1);
    forge_add(&f, "value", "F16", NULL, 0);
    forge_add(&f, "ids", "I64", dims, 2);
    buf_puts(&f.header, ",\"__metadata__\":{\"format\":\"pt\"}");
    forge_save(&f, &folder, "model.safetensors");

    assert_int_equal(safetensors_open_folder(folder.path, &s, &err), U2I_OK);

    assert_string_equal(safetensors_path(s), folder.path);
    assert_true(safetensors_find(s, "matrix", &t));
    assert_string_equal(t.name, "matrix");
    assert_string_equal(t.path, folder_path(&folder, "model.safetensors"));
    assert_string_equal(t.dtype, "F32");
    assert_int_equal(t.type, SAFETENSORS_F32);
    assert_int_equal(t.dims_n, 2);
    assert_int_equal(t.dims[0], 3);
    assert_int_equal(t.dims[1], 2);
    assert_int_equal(t.bytes_n, 24);
    assert_true(safetensors_find(s, "vector", &t) && t.type == SAFETENSORS_BF16 && t.dims_n == 1);
    assert_true(safetensors_find(s, "value", &t) && t.type == SAFETENSORS_F16 && t.dims_n == 0);
    assert_true(safetensors_find(s, "ids", &t) && t.type == SAFETENSORS_OTHER);
    assert_false(safetensors_find(s, "__metadata__", &t));
    assert_false(safetensors_find(s, "matri", &t));
    assert_false(safetensors_find(s, "", &t));
    safetensors_close(s);
    safetensors_close(NULL);
    folder_drop(&folder, "model.safetensors");
}

static void empty_files_and_tensors_are_fine(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    float x = 7;

    assert_int_equal(open_header("{}", 0, &s, &err), U2I_OK);
    assert_false(safetensors_find(s, "a", &t));
    safetensors_close(s);

    assert_int_equal(
        open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[8,8]},"
                    "\"b\":{" A_TENSOR "}}",
                    8, &s, &err),
        U2I_OK);
    assert_true(safetensors_find(s, "a", &t));
    assert_int_equal(t.bytes_n, 0);
    assert_int_equal(safetensors_floats(&t, 0, 0, &x, &err), U2I_OK);
    assert_true(x == 7);
    safetensors_close(s);
}

/* ---- Values --------------------------------------------------------------------------------- */

/* By the definition of the formats: sign, mantissa times a power of two. */
static double half_by_formula(uint32_t bits, unsigned mantissa_bits, int exponent_max, int bias) {
    const int mantissa = (int)(bits & ((1u << mantissa_bits) - 1));
    const int exponent = (int)(bits >> mantissa_bits) & exponent_max;
    const double sign = bits >> 15 != 0 ? -1 : 1;
    const int scale = -bias - (int)mantissa_bits;
    if (exponent == exponent_max) {
        return mantissa != 0 ? NAN : sign * INFINITY;
    }
    return exponent == 0 ? sign * ldexp(mantissa, 1 + scale)
                         : sign * ldexp(mantissa + (1 << mantissa_bits), exponent + scale);
}

static void check_half(const struct safetensors_tensor *t, uint32_t bits, double expected) {
    u2i_error_t err;
    float x = 0;
    const int rc = safetensors_floats(t, bits, 1, &x, &err);
    if (!isfinite(expected)) {
        char place[32];
        (void)snprintf(place, sizeof place, ": value %u of tensor a ", bits);
        assert_int_equal(rc, U2I_EEMBED);
        assert_non_null(strstr(err.msg, place));
    } else if (rc != U2I_OK || (double)x != expected ||
               (signbit(x) == 0) != (signbit(expected) == 0)) {
        fail_msg("%04x is %a, not %a: %d", bits, (double)x, expected, rc);
    }
}

static void check_all_halves(const char *dtype, unsigned mantissa_bits, int exponent_max,
                             int bias) {
    static unsigned char data[65536 * 2];
    char header[128];
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    for (uint32_t i = 0; i < 65536; i++) {
        data[2 * i] = (unsigned char)i;
        data[2 * i + 1] = (unsigned char)(i >> 8);
    }
    (void)snprintf(header, sizeof header,
                   "{\"a\":{\"dtype\":\"%s\",\"shape\":[65536],\"data_offsets\":[0,131072]}}",
                   dtype);
    struct buf b = forge_bytes(header, strlen(header), data, sizeof data);
    assert_int_equal(open_bytes(b.data, b.len, &s, &err), U2I_OK);
    assert_true(safetensors_find(s, "a", &t));
    for (uint32_t i = 0; i < 65536; i++) {
        check_half(&t, i, half_by_formula(i, mantissa_bits, exponent_max, bias));
    }
    safetensors_close(s);
    buf_free(&b);
}

static void every_f16_is_converted_exactly(void **state) {
    (void)state;
    check_all_halves("F16", 10, 31, 15);
}

static void every_bf16_is_converted_exactly(void **state) {
    (void)state;
    check_all_halves("BF16", 7, 255, 127);
}

/* The header's length decides where values lie: here at every offset from a multiple of four. */
static void f32_is_read_at_any_alignment(void **state) {
    (void)state;
    const float values[] = {1.5f, -0.0f, 1e-45f, 3.4e38f, -7};
    static const char *const pads[] = {"", " ", "  ", "   "};
    for (size_t i = 0; i < 4; i++) {
        char header[128];
        float out[5] = {0};
        struct safetensors *s = NULL;
        struct safetensors_tensor t;
        u2i_error_t err;
        (void)snprintf(header, sizeof header,
                       "{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}%s",
                       pads[i]);
        struct buf b = forge_bytes(header, strlen(header), values, sizeof values);
        assert_int_equal(open_bytes(b.data, b.len, &s, &err), U2I_OK);
        assert_true(safetensors_find(s, "a", &t));
        assert_int_equal(safetensors_floats(&t, 0, 5, out, &err), U2I_OK);
        assert_memory_equal(out, values, sizeof values);
        assert_int_equal(safetensors_floats(&t, 3, 2, out, &err), U2I_OK);
        assert_memory_equal(out, values + 3, 2 * sizeof *values);
        safetensors_close(s);
        buf_free(&b);
    }
}

static void values_that_are_not_finite_are_refused_with_their_place(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        static const char header[] =
            "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}";
        const float values[4] = {1, 2, bad[i], 4};
        float out[4];
        struct safetensors *s = NULL;
        struct safetensors_tensor t;
        u2i_error_t err;
        struct buf b = forge_bytes(header, strlen(header), values, sizeof values);
        assert_int_equal(open_bytes(b.data, b.len, &s, &err), U2I_OK);
        assert_true(safetensors_find(s, "w", &t));
        assert_int_equal(safetensors_floats(&t, 1, 3, out, &err), U2I_EEMBED);
        assert_non_null(strstr(err.msg, "x.safetensors: value 2 of tensor w is not finite"));
        assert_int_equal(safetensors_floats(&t, 3, 1, out, &err), U2I_OK); /* not asked for */
        safetensors_close(s);
        buf_free(&b);
    }
}

static void values_past_the_end_are_refused(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    float out[4];
    assert_int_equal(open_header("{\"a\":{" A_TENSOR "}}", 8, &s, &err), U2I_OK);
    assert_true(safetensors_find(s, "a", &t));
    assert_int_equal(safetensors_floats(&t, 0, 3, out, &err), U2I_EINVAL);
    assert_non_null(strstr(err.msg, "tensor a has 2 values, not 3 from 0 on"));
    assert_int_equal(safetensors_floats(&t, 2, 1, out, &err), U2I_EINVAL);
    assert_int_equal(safetensors_floats(&t, UINT64_MAX, 2, out, &err), U2I_EINVAL);
    assert_int_equal(safetensors_floats(&t, 1, SIZE_MAX, out, &err), U2I_EINVAL);
    assert_int_equal(safetensors_floats(&t, 2, 0, out, &err), U2I_OK);
    safetensors_close(s);
}

static void tensors_that_cannot_be_read_are_refused_when_asked_for(void **state) {
    (void)state;
    static const struct {
        const char *header, *message;
        size_t n;
    } others[] = {
        {"{\"a\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}",
         "tensor a has type I64; only F32, F16 and BF16 can be read", 16},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}", "type F64", 8},
        {"{\"a\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "type f32", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,2,1,1,1],\"data_offsets\":[0,8]}}",
         "tensor a has more than 4 dimensions", 8},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct safetensors *s = NULL;
        struct safetensors_tensor t;
        u2i_error_t err;
        float x;
        assert_int_equal(open_header(others[i].header, others[i].n, &s, &err), U2I_OK);
        assert_true(safetensors_find(s, "a", &t));
        assert_int_equal(t.type, SAFETENSORS_OTHER);
        assert_true(t.dims_n <= SAFETENSORS_DIMS_MAX);
        assert_refused(safetensors_floats(&t, 0, 1, &x, &err), NULL, &err, others[i].message);
        safetensors_close(s);
    }
}

/* ---- Refusals ------------------------------------------------------------------------------- */

static void headers_that_are_wrong_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n;
        const char *message;
    } faults[] = {
        {"", 0, "line 1 column 0"},
        {"no JSON", 0, "line 1 column 2"},
        {"[]", 0, "expected an object, {...}, found an array"},
        {"{\"a\":{" A_TENSOR "}", 8, "expected"},
        {"{\"a\":{" A_TENSOR "}, \"a\":{" A_TENSOR "}}", 8, "duplicate object key"},
        {"{\"a\":[[[[[1]]]]]}", 8, "nested deeper than 4"},
        {"{\"a\":7}", 0, "tensor a: it is not described by an object"},
        {"{\"a\":{}}", 0, "tensor a: data_offsets is not a list of two numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "two numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8, "two numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", 8, "two numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "two numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{}}}", 8, "two numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
         "data_offsets 8 to 0 are not within 8 bytes"},
        {"{\"a\":{" A_TENSOR "}}", 7, "data_offsets 0 to 8 are not within 7 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[9223372036854775800,"
         "9223372036854775807]}}",
         8, "are not within 8 bytes"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype is not the name of a type"},
        {"{\"a\":{\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype is not"},
        {"{\"a\":{\"dtype\":\"1234567890123456\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "dtype is not"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "shape is not a list of numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "shape is not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, "shape is not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape is not"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape is not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
         "shape is not a list of numbers, or is too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]}}", 8,
         "4611686018427387906 values of type F32 are not in 8 bytes"}, /* 8 bytes, modulo 2^64 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8,
         "tensor a: 3 values of type F32 are not in 8 bytes"},
        {"{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "2 values of type F16 are not in 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]}}", 8,
         "1 values of type F32 are not in 8 bytes"},
        {"{\"a\":{" A_TENSOR "},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, "tensors a and b overlap"},
        {"{\"a\":{" A_TENSOR "},\"b\":{" A_TENSOR "}}", 8, " overlap"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[8],\"data_offsets\":[0,12]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         12, "tensors a and b overlap"}, /* one within the other */
        {"{\"a\":{" A_TENSOR "},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}",
         20, "bytes 8 to 12 of the data are of no tensor"},
        {"{\"a\":{" A_TENSOR "}}", 9, "bytes 8 to 9 of the data are of no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
         "bytes 0 to 4 of the data are of no tensor"},
        {"{}", 1, "bytes 0 to 1 of the data are of no tensor"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct safetensors *s = NULL;
        u2i_error_t err;
        assert_refused(open_header(faults[i].header, faults[i].n, &s, &err), s, &err,
                       faults[i].message);
    }
}

static void lengths_that_are_wrong_are_refused(void **state) {
    (void)state;
    static const struct {
        unsigned char bytes[12];
        size_t n;
        const char *message;
    } faults[] = {
        {{0}, 0, "is not a safetensors file: it has 0 bytes"},
        {{2}, 7, "is not a safetensors file: it has 7 bytes"},
        {{0}, 8, "line 1 column 0"},
        {{2}, 8, "is cut: it has 8 bytes, its header alone 2 and 8"},
        {{3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "is cut: it has 10 bytes"},
        {{0x00, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}'}, 10, "its header alone 100000000 and 8"},
        {{0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}'},
         10,
         "its header would have 100000001 bytes, over 100000000"},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'},
         10,
         "its header would have 18446744073709551615 bytes"},
        {{4, 0, 0, 0, 0, 0, 0, 0, '{', '}', 0, 0}, 12, "a NUL byte"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct safetensors *s = NULL;
        u2i_error_t err;
        assert_refused(open_bytes(faults[i].bytes, faults[i].n, &s, &err), s, &err,
                       faults[i].message);
    }
}

static void names_that_are_too_long_are_refused(void **state) {
    (void)state;
    for (size_t n = SAFETENSORS_NAME_MAX; n <= SAFETENSORS_NAME_MAX + 1; n++) {
        struct forge f = {0};
        char name[SAFETENSORS_NAME_MAX + 2] = {0};
        struct safetensors *s = NULL;
        struct safetensors_tensor t;
        u2i_error_t err;
        memset(name, 'n', n);
        forge_add(&f, name, "F32", NULL, 0);
        forge_save(&f, &folder, "x.safetensors");
        const int rc = safetensors_open(folder_path(&folder, "x.safetensors"), &s, &err);
        if (n > SAFETENSORS_NAME_MAX) {
            assert_refused(rc, s, &err, "the name of a tensor has 257 bytes, over 256");
        } else {
            assert_int_equal(rc, U2I_OK);
            assert_true(safetensors_find(s, name, &t));
        }
        safetensors_close(s);
    }
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    u2i_error_t err;
    assert_int_equal(safetensors_open(folder_path(&folder, "absent"), &s, &err), U2I_ENOTFOUND);
    assert_non_null(strstr(err.msg, "absent does not exist"));
    assert_int_equal(safetensors_open(folder.path, &s, &err), U2I_EIO);
    assert_non_null(strstr(err.msg, "is not a file"));
    assert_int_equal(mkfifo(folder_path(&folder, "pipe"), 0600), 0);
    assert_int_equal(safetensors_open(folder_path(&folder, "pipe"), &s, &err), U2I_EIO);
    assert_non_null(strstr(err.msg, "pipe is not a file"));
    assert_null(s);
    assert_int_equal(safetensors_open(folder_path(&folder, "absent"), &s, NULL), U2I_ENOTFOUND);
}

/* ---- Folders with several files ------------------------------------------------------------- */

/* Shards one.safetensors with "a" and two.safetensors with `second`, and an index; no whole file. */
static void write_shards(const char *second, const char *index) {
    struct forge one = {0}, two = {0};
    forge_add(&one, "a", "F32", NULL, 0);
    forge_save(&one, &folder, "one.safetensors");
    forge_add(&two, second, "F32", NULL, 0);
    forge_save(&two, &folder, "two.safetensors");
    folder_put(&folder, "model.safetensors.index.json", index);
}

static void shards_are_one_model(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    write_shards("b", "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"one.safetensors\","
                      "\"b\":\"two.safetensors\"}}");
    assert_int_equal(safetensors_open_folder(folder.path, &s, &err), U2I_OK);
    assert_true(safetensors_find(s, "a", &t));
    assert_string_equal(t.path, folder_path(&folder, "one.safetensors"));
    assert_true(safetensors_find(s, "b", &t));
    assert_string_equal(t.path, folder_path(&folder, "two.safetensors"));
    safetensors_close(s);
}

static void indexes_that_are_wrong_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *second, *index, *message;
    } faults[] = {
        {"b", "not JSON", "model.safetensors.index.json: line 1 column 3"},
        {"b", "[]", "model.safetensors.index.json: expected an object"},
        {"b", "{}", "weight_map is not an object"},
        {"b", "{\"weight_map\":[]}", "weight_map is not an object"},
        {"b", "{\"weight_map\":{}}", "weight_map names 0 files, not 1 to 256"},
        {"b", "{\"weight_map\":{\"a\":1}}", "a is in a file that is no plain name: not a string"},
        {"b", "{\"weight_map\":{\"a\":\"\"}}", "a is in a file that is no plain name"},
        {"b", "{\"weight_map\":{\"a\":\".\"}}", "no plain name: ."},
        {"b", "{\"weight_map\":{\"a\":\"..\"}}", "no plain name: .."},
        {"b", "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "no plain name: /etc/passwd"},
        {"b", "{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "no plain name: ../one"},
        {"b", "{\"weight_map\":{\"a\":\"x/one.safetensors\"}}", "no plain name: x/one"},
        {"b", "{\"weight_map\":{\"b\":\"one.safetensors\"}}", "tensor b is not in one.safetensors"},
        {"b", "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}",
         "tensor a is not in two.safetensors"},
        {"b", "{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}",
         "index.json is not a safetensors file"},
        {"a", "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}",
         "tensor a is in /tmp/"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct safetensors *s = NULL;
        u2i_error_t err;
        write_shards(faults[i].second, faults[i].index);
        assert_refused(safetensors_open_folder(folder.path, &s, &err), s, &err, faults[i].message);
    }
}

static void too_many_shards_are_refused(void **state) {
    (void)state;
    struct buf b = {0};
    struct safetensors *s = NULL;
    u2i_error_t err;
    for (int i = 0; i <= SAFETENSORS_FILES_MAX; i++) {
        buf_printf(&b, "%s\"%d\":\"%d.safetensors\"", i > 0 ? "," : "{\"weight_map\":{", i, i);
    }
    buf_puts(&b, "}}");
    write_shards("b", b.data);
    assert_refused(safetensors_open_folder(folder.path, &s, &err), s, &err,
                   "weight_map names 257 files, not 1 to 256");
    buf_free(&b);
}

static void missing_files_are_named(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    u2i_error_t err;
    write_shards("b", "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"three.safetensors\"}}");
    assert_int_equal(safetensors_open_folder(folder.path, &s, &err), U2I_ENOTFOUND);
    assert_non_null(strstr(err.msg, "/three.safetensors does not exist"));

    folder_drop(&folder, "model.safetensors.index.json");
    assert_int_equal(safetensors_open_folder(folder.path, &s, &err), U2I_ENOTFOUND);
    assert_non_null(strstr(
        err.msg, " has neither model.safetensors nor pytorch_model.bin, nor an index of either"));

    assert_int_equal(safetensors_open_folder("/tmp/no/such/folder", &s, &err), U2I_ENOTFOUND);
    assert_string_equal(err.msg, "/tmp/no/such/folder does not exist");
    assert_int_equal(safetensors_open_folder(folder_path(&folder, "one.safetensors"), &s, &err),
                     U2I_ENOTFOUND);
    assert_non_null(strstr(err.msg, "one.safetensors is not a folder"));
    assert_null(s);
}

static void an_index_over_the_limit_is_not_read(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    u2i_error_t err;
    folder_put(&folder, "model.safetensors.index.json", "{}");
    assert_int_equal(truncate(folder_path(&folder, "model.safetensors.index.json"), (64 << 20) + 1),
                     0);
    assert_refused(safetensors_open_folder(folder.path, &s, &err), s, &err,
                   "has 67108865 bytes, over 67108864");
    folder_drop(&folder, "model.safetensors.index.json");
}

/* ---- Damage --------------------------------------------------------------------------------- */

/* Reads all that there is to read of a file that was let through. */
static void read_all(const struct safetensors *s, size_t file_bytes) {
    static const char *const names[] = {
        "embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight",
        "encoder.layer.1.output.LayerNorm.bias", "embeddings.position_ids"};
    static float out[1 << 16];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct safetensors_tensor t;
        u2i_error_t err;
        if (safetensors_find(s, names[i], &t) && safetensors_readable(&t, &err) == U2I_OK) {
            const uint64_t n = t.bytes_n / (t.type == SAFETENSORS_F32 ? 4 : 2);
            assert_true(t.bytes_n <= file_bytes && n <= sizeof out / sizeof out[0]);
            const int rc = safetensors_floats(&t, 0, (size_t)n, out, &err);
            assert_true(rc == U2I_OK || rc == U2I_EEMBED);
        }
    }
}

static void damage_is_refused_or_harmless(void **state) {
    (void)state;
    const char *const given = getenv("U2I_SEED");
    const uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20;
    static const struct tiny good;
    struct forge f = {0};
    struct rng rng;
    unsigned refused = 0;
    print_message("U2I_SEED=%" PRIu64 "\n", seed);
    rng_seed(&rng, seed);
    tiny_add_all(&f, &good);
    struct buf b = forge_finish(&f);
    const uint32_t header_n = (uint32_t)(unsigned char)b.data[0] |
                              (uint32_t)(unsigned char)b.data[1] << 8; /* under 64 KiB */
    for (int round = 0; round < 3000; round++) {
        struct buf copy = {0};
        struct safetensors *s = NULL;
        u2i_error_t err = {0};
        buf_put(&copy, b.data, b.len);
        for (uint32_t changes = 1 + rng_below(&rng, 3); changes > 0; changes--) {
            copy.data[rng_below(&rng, 8 + header_n)] ^= (char)(1u << rng_below(&rng, 8));
        }
        const size_t n = rng_below(&rng, 4) == 0 ? rng_below(&rng, (uint32_t)b.len) : b.len;
        const int rc = open_bytes(copy.data, n, &s, &err);
        assert_true(rc == U2I_OK || (rc == U2I_EEMBED && s == NULL && err.msg[0] != '\0'));
        if (rc == U2I_OK) {
            read_all(s, n);
        }
        refused += rc != U2I_OK;
        safetensors_close(s);
        buf_free(&copy);
    }
    buf_free(&b);
    print_message("%u of 3000 refused\n", refused);
    assert_in_range(refused, 1000, 3000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_out_as_they_went_in),
        cmocka_unit_test(empty_files_and_tensors_are_fine),
        cmocka_unit_test(every_f16_is_converted_exactly),
        cmocka_unit_test(every_bf16_is_converted_exactly),
        cmocka_unit_test(f32_is_read_at_any_alignment),
        cmocka_unit_test(values_that_are_not_finite_are_refused_with_their_place),
        cmocka_unit_test(values_past_the_end_are_refused),
        cmocka_unit_test(tensors_that_cannot_be_read_are_refused_when_asked_for),
        cmocka_unit_test(headers_that_are_wrong_are_refused),
        cmocka_unit_test(lengths_that_are_wrong_are_refused),
        cmocka_unit_test(names_that_are_too_long_are_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(indexes_that_are_wrong_are_refused),
        cmocka_unit_test(too_many_shards_are_refused),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(an_index_over_the_limit_is_not_read),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
