/* Files of torch.save(): what torch has written comes out exactly, and everything else is refused with a message that
 * says what and where. Golden files are by tests/golden/torch_golden.py, others are made by the test (torch_forge.h). */
#include "torch_forge.h"

#include "base/rng.h"
#include "embed/embed.h"
#include "embed/safetensors.h"
#include "embed/torch_pickle.h"
#include "embed/torch_zip.h"
#include "model_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define BYTES(s) s, sizeof(s) - 1 /* of a literal, with its NULs */

/* A matrix of two rows and three columns, which is all of storage 0. */
#define MATRIX                                                                                     \
    PICKLE_TENSOR PICKLE_STORAGE("Float", "0",                                                     \
                                 "\006") "K\000K\002K\003\206K\003K\001\206" PICKLE_REST
#define NAME_A PICKLE_TEXT("\001", "a")

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
    folder_write(&folder, "x.bin", p, n);
    return safetensors_open_torch(folder_path(&folder, "x.bin"), s, err);
}

/* An archive with that pickle and a storage of six floats. */
static struct buf archive_of(const void *pickle, size_t n, bool wide) {
    static const float values[6] = {0, 1, 2, 3, 4, 5};
    struct zip z = {.entries = 0};
    zip_add(&z, "m/data.pkl", pickle, n);
    zip_add(&z, "m/byteorder", "little", 6);
    zip_add(&z, "m/data/0", values, sizeof values);
    zip_add(&z, "m/version", "3\n", 2);
    return zip_finish(&z, wide);
}

static int open_pickle(const void *pickle, size_t n, struct safetensors **s, u2i_error_t *err) {
    struct buf b = archive_of(pickle, n, true);
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

static void refuse_pickle(const void *pickle, size_t n, const char *message) {
    struct safetensors *s = NULL;
    u2i_error_t err;
    assert_refused(open_pickle(pickle, n, &s, &err), s, &err, message);
}

/* ---- What torch has written ------------------------------------------------------------------- */

static void copy_golden(const char *golden, const struct folder *to, const char *name) {
    static char data[1 << 16];
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", TEST_GOLDEN, golden);
    FILE *const file = fopen(path, "rb");
    folder_require(file != NULL, path);
    const size_t n = fread(data, 1, sizeof data, file);
    folder_require(fclose(file) == 0 && n > 0 && n < sizeof data, path);
    folder_write(to, name, data, n);
}

static void check_tensor(const struct safetensors *s, const char *name, enum safetensors_type type,
                         const char *dtype, uint32_t dims_n) {
    struct safetensors_tensor t;
    assert_true(safetensors_find(s, name, &t));
    assert_string_equal(t.name, name);
    assert_string_equal(t.dtype, dtype);
    assert_int_equal(t.type, type);
    assert_int_equal(t.dims_n, dims_n);
}

static void every_kind_of_tensor_comes_out_as_torch_has_it(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    struct safetensors_tensor t, other;
    u2i_error_t err;
    copy_golden("torch_kinds.bin", &folder, "kinds.bin");
    assert_int_equal(safetensors_open_torch(folder_path(&folder, "kinds.bin"), &s, &err), U2I_OK);
    check_tensor(s, "f32", SAFETENSORS_F32, "F32", 2);
    check_tensor(s, "row", SAFETENSORS_F32, "F32", 1);
    check_tensor(s, "f16", SAFETENSORS_F16, "F16", 1);
    check_tensor(s, "parameter", SAFETENSORS_BF16, "BF16", 1);
    check_tensor(s, "scalar", SAFETENSORS_F32, "F32", 0);
    check_tensor(s, "empty", SAFETENSORS_F32, "F32", 2);
    check_tensor(s, "deep", SAFETENSORS_OTHER, "F32", 0);
    check_tensor(s, "ids", SAFETENSORS_OTHER, "I64", 1);
    check_tensor(s, "flags", SAFETENSORS_OTHER, "BOOL", 1);
    check_tensor(s, "f64", SAFETENSORS_OTHER, "F64", 1);
    assert_false(safetensors_find(s, "epoch", &t));
    assert_false(safetensors_find(s, "nested", &t));

    assert_true(safetensors_find(s, "f32", &t) && t.dims[0] == 2 && t.dims[1] == 3);
    assert_int_equal(t.bytes_n, 24);
    for (unsigned i = 0; i < 24; i++) {
        assert_int_equal(t.bytes[i], i % 4 == 3 ? 0x3c : i);
    }
    assert_true(safetensors_find(s, "tied", &other) && other.bytes == t.bytes);
    assert_true(safetensors_find(s, "row", &other) && other.bytes == t.bytes + 12);
    assert_int_equal(other.bytes_n, 12);
    assert_true(safetensors_find(s, "empty", &t) && t.bytes_n == 0);
    assert_true(safetensors_find(s, "deep", &t));
    assert_refused(safetensors_readable(&t, &err), NULL, &err,
                   "tensor deep has more than 4 dimensions");
    safetensors_close(s);
}

/* Opens a tiny BERT's folder and embeds a text. */
static void embed_tiny(const struct folder *f, char *sign, float *vector) {
    static const struct embed_bert_options opt = {.precision = EMBED_F32};
    static const struct embed_text text = {.title = "red green", .category = "", .text = ""};
    struct embedder *e = NULL;
    u2i_error_t err = {0};
    folder_put(f, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\ngreen\nblue\n");
    if (embed_bert_open(f->path, &opt, &e, &err) != U2I_OK ||
        e->ops->embed(e, &text, 1, vector, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }
    (void)strcpy(sign, strrchr(e->name, '-')); /* the checksum, without the folder's name */
    e->ops->close(e);
}

static void a_model_of_torch_is_the_same_model(void **state) {
    (void)state;
    const struct folder f = tiny_make();
    char sign[64], torch_sign[64];
    float vector[TINY_HIDDEN], torch_vector[TINY_HIDDEN];
    embed_tiny(&f, sign, vector);
    folder_drop(&f, "model.safetensors");
    copy_golden("torch_tiny.bin", &f, "pytorch_model.bin");

    embed_tiny(&f, torch_sign, torch_vector);

    assert_string_equal(torch_sign, sign);
    assert_memory_equal(torch_vector, vector, sizeof vector);
    folder_remove(&f);
}

static void the_format_before_1_6_is_refused_with_what_to_do(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    u2i_error_t err;
    copy_golden("torch_old.bin", &folder, "old.bin");
    assert_refused(safetensors_open_torch(folder_path(&folder, "old.bin"), &s, &err), s, &err,
                   "old.bin is in the format of torch before 1.6; python3 -c ");
}

/* ---- Archives --------------------------------------------------------------------------------- */

static void archives_with_and_without_zip64_are_read(void **state) {
    (void)state;
    for (int wide = 0; wide <= 1; wide++) {
        struct buf b = archive_of(BYTES(PICKLE_DICT NAME_A MATRIX PICKLE_END), wide != 0);
        struct safetensors *s = NULL;
        struct safetensors_tensor t;
        u2i_error_t err = {0};
        float out[6];
        assert_int_equal(open_bytes(b.data, b.len, &s, &err), U2I_OK);
        assert_true(safetensors_find(s, "a", &t));
        assert_int_equal(safetensors_floats(&t, 0, 6, out, &err), U2I_OK);
        assert_true(out[0] == 0 && out[5] == 5);
        safetensors_close(s);
        buf_free(&b);
    }
}

/* A field that is all ones is in the zip64 records and fields; whoever writes small files in this way is believed, too. */
static void sizes_are_taken_from_zip64_fields(void **state) {
    (void)state;
    static const char extra[] = "ab\002\000xx\001\000\030\000"; /* 24 bytes after another field */
    struct zip z = {.entries = 0};
    struct torch_zip *read = NULL;
    u2i_error_t err = {0};
    const unsigned char *p;
    uint64_t n;
    zip_add(&z, "m/version", "3\n", 2);
    zip_set(&z.directory, 20, UINT32_MAX, 4);
    zip_set(&z.directory, 24, UINT32_MAX, 4);
    zip_set(&z.directory, 42, UINT32_MAX, 4);
    zip_set(&z.directory, 30, sizeof extra - 1 + 24, 2);
    buf_put(&z.directory, extra, sizeof extra - 1);
    zip_number(&z.directory, 2, 8);
    zip_number(&z.directory, 2, 8);
    zip_number(&z.directory, 0, 8);
    struct buf b = zip_finish(&z, true);
    zip_set(&b, zip_end(&b) + 10, UINT16_MAX, 2);
    zip_set(&b, zip_end(&b) + 12, UINT32_MAX, 4);
    zip_set(&b, zip_end(&b) + 16, UINT32_MAX, 4);

    if (torch_zip_new("m", (const unsigned char *)b.data, b.len, &read, &err) != U2I_OK) {
        fail_msg("%s", err.msg);
    }

    assert_true(torch_zip_find(read, "version", 7, &p, &n));
    assert_int_equal(n, 2);
    assert_memory_equal(p, "3\n", 2);
    assert_false(torch_zip_find(read, "m/version", 9, &p, &n));
    torch_zip_free(read);
    torch_zip_free(NULL);
    buf_free(&b);
}

/* Of two entries m/a and m/b: where each part of the archive is. */
enum zip_part { LOCAL_A, LOCAL_B, HEADER_A, HEADER_B, END64, LOCATOR, END };

static size_t part_at(const struct buf *b, enum zip_part part) {
    const size_t header_n = ZIP_HEADER + 3;
    const size_t tail = ZIP_END + ZIP_LOCATOR + ZIP_END64;
    switch (part) {
    case LOCAL_A:
        return 0;
    case LOCAL_B:
        return 64 + 4 + 16; /* the data of the first one, and what is behind them */
    case HEADER_A:
        return b->len - tail - 2 * header_n;
    case HEADER_B:
        return b->len - tail - header_n;
    case END64:
        return b->len - tail;
    case LOCATOR:
        return b->len - ZIP_END - ZIP_LOCATOR;
    case END:
        break;
    }
    return b->len - ZIP_END;
}

static struct buf two_entries(void) {
    struct zip z = {.entries = 0};
    zip_add(&z, "m/a", "aaaa", 4);
    zip_add(&z, "m/b", "bbbb", 4);
    return zip_finish(&z, true);
}

static int read_zip(const struct buf *b, u2i_error_t *err) {
    struct torch_zip *z = NULL;
    char *const copy = malloc(b->len); /* of its very size, for the sanitizer */
    folder_require(copy != NULL, "memory");
    memcpy(copy, b->data, b->len);
    const int rc = torch_zip_new("x.bin", (const unsigned char *)copy, b->len, &z, err);
    assert_true((z != NULL) == (rc == U2I_OK));
    torch_zip_free(z);
    free(copy);
    return rc;
}

static void archives_that_torch_does_not_write_are_refused(void **state) {
    (void)state;
    static const struct {
        enum zip_part part;
        size_t at;
        uint64_t x;
        unsigned bytes;
        const char *message;
    } faults[] = {
        {END, 0, 0, 4,
         "x.bin is not as torch.save() writes it, or is cut: it does not end as a zip"},
        {END, 20, 1, 2, "it does not end as a zip"},
        {END, 4, 1, 2, "it is a part of several"},
        {END, 10, 3, 2, "its two end records differ"},
        {END, 12, 3, 4, "its two end records differ"},
        {END, 16, 3, 4, "its two end records differ"},
        {LOCATOR, 8, 3, 8, "its zip64 end record is not where it should be"},
        {LOCATOR, 8, UINT64_MAX, 8, "its zip64 end record is not where it should be"},
        {LOCATOR, 0, 0, 4, "its directory is not right before its end"},
        {END64, 0, 0, 4, "its zip64 end record is not where it should be"},
        {END64, 4, 45, 8, "its zip64 end record is not where it should be"},
        {END64, 32, 3, 8, "its two end records differ"},
        {END64, 40, UINT64_MAX, 8, "its two end records differ"},
        {END64, 48, UINT64_MAX - 3, 8, "its two end records differ"},
        {HEADER_A, 0, 0, 4, "its directory has fewer entries than it should"},
        {HEADER_A, 8, 0x0809, 2, "entry m/a is encrypted"},
        {HEADER_A, 10, 8, 2, "entry m/a is compressed"},
        {HEADER_A, 24, 5, 4, "entry m/a is compressed"},
        {HEADER_A, 20, 0x00ffffff, 4, "entry m/a is compressed"},
        {HEADER_A, 28, 0, 2, "an entry's name is no text, or too long"},
        {HEADER_A, 28, UINT16_MAX, 2, "its directory is cut"},
        {HEADER_A, 30, UINT16_MAX, 2, "its directory is cut"},
        {HEADER_A, 30, 3, 2, "an extra field of its directory is cut"},
        {HEADER_A, 32, 7, 2, "its directory has fewer entries"},
        {HEADER_A, 34, 1, 2, "entry m/a is in another part"},
        {HEADER_A, 42, UINT32_MAX, 4, "an extra field of its directory is cut"},
        {HEADER_A, 42, UINT32_MAX - 1, 4, "entry m/a is not within the file"},
        {HEADER_A, 42, 1, 4, "entry m/a is described otherwise where it lies"},
        {HEADER_A, 46, 0, 1, "an entry's name is no text"},
        {HEADER_A, 46, 0xff, 1, "an entry's name is no text"},
        {HEADER_A, 46, 'n', 1, "entry n/a is described otherwise"},
        {HEADER_B, 42, 0, 4, "entry m/b overlaps the one before, or is not in its order"},
        {HEADER_B, 42, 65, 4, "entry m/b overlaps the one before"},
        {LOCAL_A, 0, 0, 4, "entry m/a is described otherwise"},
        {LOCAL_A, 6, 0, 2, "entry m/a is described otherwise"},
        {LOCAL_A, 8, 8, 2, "entry m/a is described otherwise"},
        {LOCAL_A, 26, 4, 2, "entry m/a is described otherwise"},
        {LOCAL_A, 28, UINT16_MAX, 2, "entry m/a is not within the file"},
        {LOCAL_A, 28, 84, 2, "entry m/b overlaps the one before"},
        {LOCAL_A, 30, 'n', 1, "entry m/a is described otherwise"},
        {LOCAL_B, 0, 0, 1, "entry m/b is described otherwise"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct buf b = two_entries();
        u2i_error_t err = {0};
        assert_int_equal(read_zip(&b, &err), U2I_OK);
        zip_set(&b, part_at(&b, faults[i].part) + faults[i].at, faults[i].x, faults[i].bytes);
        assert_refused(read_zip(&b, &err), NULL, &err, faults[i].message);
        buf_free(&b);
    }
}

/* Fields that belong together, changed together. */
static void sizes_that_are_forged_alike_are_refused(void **state) {
    (void)state;
    static const uint64_t sizes[] = {UINT32_MAX - 1, 400, 60};
    for (size_t i = 0; i < 3; i++) {
        struct buf b = two_entries();
        u2i_error_t err = {0};
        zip_set(&b, part_at(&b, HEADER_A) + 20, sizes[i], 4);
        zip_set(&b, part_at(&b, HEADER_A) + 24, sizes[i], 4);
        assert_refused(read_zip(&b, &err), NULL, &err,
                       i < 2 ? "entry m/a is not within the file" : "entry m/b ");
        buf_free(&b);
    }
    for (uint64_t n = 0; n < 4; n += n == 1 ? 2 : 1) { /* two are right */
        struct buf b = two_entries();
        u2i_error_t err = {0};
        zip_set(&b, part_at(&b, END) + 10, n, 2);
        zip_set(&b, part_at(&b, END64) + 32, n, 8);
        assert_refused(read_zip(&b, &err), NULL, &err, n < 2 ? "more entries" : "fewer entries");
        buf_free(&b);
    }
    struct buf b = two_entries();
    u2i_error_t err = {0};
    zip_set(&b, part_at(&b, END) + 10, UINT16_MAX, 2);
    zip_set(&b, part_at(&b, END64) + 32, UINT64_MAX, 8);
    assert_refused(read_zip(&b, &err), NULL, &err, "has 18446744073709551615 entries, over 65536");
    zip_set(&b, part_at(&b, END) + 12, UINT32_MAX, 4);
    zip_set(&b, part_at(&b, END) + 16, UINT32_MAX, 4);
    zip_set(&b, part_at(&b, END64) + 40, UINT64_MAX - 3, 8);
    zip_set(&b, part_at(&b, END64) + 48, part_at(&b, HEADER_A), 8);
    assert_refused(read_zip(&b, &err), NULL, &err, "its directory is not right before its end");
    buf_free(&b);
}

static void refuse_entries(const char *one, const char *two, const char *message) {
    struct zip z = {.entries = 0};
    u2i_error_t err = {0};
    zip_add(&z, one, "1", 1);
    zip_add(&z, two, "2", 1);
    struct buf b = zip_finish(&z, false);
    assert_refused(read_zip(&b, &err), NULL, &err, message);
    buf_free(&b);
}

static void names_in_an_archive_are_unique_and_of_one_folder(void **state) {
    (void)state;
    char wide[TORCH_ZIP_NAME_MAX + 2] = "m/";
    memset(wide + 2, 'n', sizeof wide - 3);
    refuse_entries("m/a", "m/a", "entry m/a is there twice");
    refuse_entries("m/a", "n/a", "entry n/a is not in the archive's one folder");
    refuse_entries("m/a", "m/", "entry m/ is not in the archive's one folder");
    refuse_entries("a", "m/a", "entry a is not in the archive's one folder");
    refuse_entries("m/a", wide, "an entry's name is no text, or too long");
}

static void cut_archives_are_refused(void **state) {
    (void)state;
    struct buf b = two_entries();
    for (size_t n = 0; n < b.len; n++) {
        struct torch_zip *z = NULL;
        u2i_error_t err = {0};
        assert_int_equal(torch_zip_new("x.bin", (unsigned char *)b.data, n, &z, &err), U2I_EEMBED);
        assert_non_null(strstr(err.msg, "is cut"));
        assert_null(z);
    }
    buf_free(&b);
}

static void archives_without_what_is_needed_are_refused(void **state) {
    (void)state;
    struct safetensors *s = NULL;
    u2i_error_t err;
    struct zip z = {.entries = 0};
    zip_add(&z, "m/version", "3\n", 2);
    struct buf b = zip_finish(&z, true);
    assert_refused(open_bytes(b.data, b.len, &s, &err), s, &err, "x.bin has no data.pkl");
    buf_free(&b);

    zip_add(&z, "m/byteorder", "big", 3);
    zip_add(&z, "m/data.pkl", BYTES("\200\002}."));
    b = zip_finish(&z, true);
    assert_refused(open_bytes(b.data, b.len, &s, &err), s, &err, "its byteorder is not little");
    buf_free(&b);

    assert_refused(open_bytes("", 0, &s, &err), s, &err,
                   "x.bin is not a file of torch.save(): it has 0 bytes");
    assert_refused(open_bytes(BYTES("version https://git-lfs.github.com/spec/v1"), &s, &err), s,
                   &err, "it does not end as a zip archive");
    assert_refused(open_bytes(BYTES("no zip at all"), &s, &err), s, &err, "it is too short");
}

/* ---- Pickles ---------------------------------------------------------------------------------- */

static void pickles_that_are_dicts_of_tensors_are_read(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t n;
        bool has; /* a tensor "a" */
    } good[] = {
        {BYTES("\200\002}."), false},
        {BYTES("}."), false},
        {BYTES("\200\002ccollections\nOrderedDict\n)R."), false},
        {BYTES(PICKLE_DICT NAME_A MATRIX PICKLE_END), true},
        {BYTES("\200\002}" NAME_A MATRIX "s."), true},
        {BYTES("\200\002}r\000\000\000\000" NAME_A MATRIX
               "s" PICKLE_TEXT("\001", "b") "j\000\000\000\000s."),
         true},
        {BYTES("\200\002}" NAME_A MATRIX "s}X\001\000\000\000bNsb."), true},
        {BYTES(PICKLE_DICT NAME_A "ctorch._utils\n_rebuild_parameter\n" MATRIX
                                  "\210}\207R" PICKLE_END),
         true},
        {BYTES(PICKLE_DICT "K\001" NAME_A NAME_A "N" PICKLE_END), false},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct safetensors *s = NULL;
        struct safetensors_tensor t;
        u2i_error_t err = {0};
        const int rc = open_pickle(good[i].pickle, good[i].n, &s, &err);
        if (rc != U2I_OK || safetensors_find(s, "a", &t) != good[i].has) {
            fail_msg("%zu: %d %s", i, rc, err.msg);
        }
        safetensors_close(s);
    }
}

static void nothing_is_ever_called(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t n;
        const char *message;
    } evil[] = {
        {BYTES("\200\002cos\nsystem\nX\002\000\000\000id\205R."),
         "x.bin: data.pkl, byte 2: it uses os.system, which no dict of tensors needs"},
        {BYTES("cposix\nsystem\nX\002\000\000\000id\205R."), "it uses posix.system"},
        {BYTES("cbuiltins\neval\n."), "it uses builtins.eval"},
        {BYTES("ccollections\nOrderedDict.fromkeys\n."),
         "it uses collections.OrderedDict.fromkeys"},
        {BYTES("ctorch\nload\n."), "it uses torch.load"},
        {BYTES("ctorch\nFloatStorag\n."), "it uses torch.FloatStorag,"},
        {BYTES("ctorch.storage\nUntypedStorage\n."), "it uses torch.storage.UntypedStorage"},
        {BYTES("cos\nsys\ttem\n."), "it uses os.sys?tem"},
        {BYTES("cos\n\377\n."), "byte 0: a name is no text"},
        {BYTES("cos\nsystem"), "byte 0: a name is no text"},
        {BYTES("(S'id'\nios\nsystem\n."), "byte 1: no dict of tensors needs operation 0x53"},
        {BYTES("cos\n"), "a name is no text"},
        {BYTES("\200\002X\002\000\000\000osX\006\000\000\000system\223."), "operation 0x93"},
        {BYTES("ctorch\nFloatStorage\n)R."), "torch.FloatStorage is not called as torch does"},
        {BYTES("ccollections\nOrderedDict\n}\205R."), "collections.OrderedDict is not called as"},
        {BYTES("ctorch._utils\n_rebuild_tensor_v2\n)R."), "_rebuild_tensor_v2 is not called as"},
        {BYTES("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR."), "tensor_v2 is not called as"},
        {BYTES("ctorch._utils\n_rebuild_parameter\n}}}\207R."), "parameter is not called as"},
        {BYTES("ctorch._utils\n_rebuild_parameter\n)R."), "parameter is not called as"},
        {BYTES("}}R."), "byte 2: it calls what is no function"},
        {BYTES("})R."), "it calls what is no function"},
        {BYTES("R."), "it calls what is no function"},
        {BYTES("))\201."), "operation 0x81"},
    };
    for (size_t i = 0; i < sizeof evil / sizeof evil[0]; i++) {
        refuse_pickle(evil[i].pickle, evil[i].n, evil[i].message);
    }
}

static void pickles_that_are_wrong_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t n;
        const char *message;
    } faults[] = {
        {BYTES(""), "byte 0: the pickle is cut here"},
        {BYTES("\200\002}"), "byte 3: the pickle is cut here"},
        {BYTES("\200"), "cut here"},
        {BYTES("\200\004}."), "byte 0: its protocol is not 2"},
        {BYTES("}.}"), "byte 1: the pickle goes on after its end"},
        {BYTES("."), "what was saved is no dict of tensors"},
        {BYTES(")."), "what was saved is no dict of tensors"},
        {BYTES("}}."), "what was saved is no dict of tensors"},
        {BYTES("(."), "what was saved is no dict of tensors"},
        {BYTES(MATRIX "."), "what was saved is no dict of tensors"},
        {BYTES("}q\001."), "byte 1: the memo is not filled in order"},
        {BYTES("}r\377\377\377\377."), "the memo is not filled in order"},
        {BYTES("q\000."), "the memo is not filled in order"},
        {BYTES("(q\000."), "the memo is not filled in order"},
        {BYTES("}q"), "cut here"},
        {BYTES("}r\000\000\000"), "cut here"},
        {BYTES("h\000."), "byte 0: it asks for what the memo does not have"},
        {BYTES("j\000\000\000\001."), "it asks for what the memo does not have"},
        {BYTES("h"), "cut here"},
        {BYTES("j\000"), "cut here"},
        {BYTES("K"), "cut here"},
        {BYTES("M\000"), "cut here"},
        {BYTES("J\000\000\000"), "cut here"},
        {BYTES("\212\011123456789."), "byte 0: a number has over 64 bits"},
        {BYTES("\212\0041"), "cut here"},
        {BYTES("X\377\377\377\377a."), "cut here"},
        {BYTES("X\000\000\000"), "cut here"},
        {BYTES("t."), "there is no mark on the stack"},
        {BYTES("}}t."), "there is no mark on the stack"},
        {BYTES("}u."), "there is no mark on the stack"},
        {BYTES("\205."), "too few values are on the stack"},
        {BYTES("}(}\206."), "too few values are on the stack"},
        {BYTES("}\207."), "too few values are on the stack"},
        {BYTES(")NNs."), "byte 3: it sets an item of what is no dict"},
        {BYTES("}Ns."), "it sets an item of what is no dict"},
        {BYTES("}(Ns."), "it sets an item of what is no dict"},
        {BYTES(")(NNu."), "it sets items of what is no dict"},
        {BYTES("(NNu."), "it sets items of what is no dict"},
        {BYTES("((NNu."), "it sets items of what is no dict"},
        {BYTES("}(Nu."), "it sets items of what is no dict"},
        {BYTES(")}b."), "it gives attributes to what is no dict"},
        {BYTES("}b."), "it gives attributes to what is no dict"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        refuse_pickle(faults[i].pickle, faults[i].n, faults[i].message);
    }
}

static void persistent_ids_that_are_no_storages_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t n;
    } faults[] = {
        {BYTES("Q.")},
        {BYTES("(Q.")},
        {BYTES("}Q.")},
        {BYTES("(NNNNtQ.")},
        {BYTES("(NNNNNtQ.")},
        {BYTES("(" PICKLE_TEXT("\007", "stOrage") "ctorch\nFloatStorage\n" NAME_A NAME_A
                                                  "K\001tQ.")},
        {BYTES("(" PICKLE_TEXT("\007", "storage") "ccollections\nOrderedDict\n" NAME_A NAME_A
                                                  "K\001tQ.")},
        {BYTES("(" PICKLE_TEXT("\007", "storage") "ctorch\nFloatStorage\nN" NAME_A "K\001tQ.")},
        {BYTES("(" PICKLE_TEXT("\007", "storage") "ctorch\nFloatStorage\n" NAME_A NAME_A
                                                  "J\377\377\377\377tQ.")},
        {BYTES("(" PICKLE_TEXT("\007", "storage") "ctorch\nFloatStorage\n" PICKLE_TEXT(
            "\001", "\000") NAME_A "K\001tQ.")}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        refuse_pickle(faults[i].pickle, faults[i].n, "a persistent id is that of no storage");
    }
}

/* A tensor named "a" of that storage, place and shape. */
#define TENSOR(storage, rest) PICKLE_DICT NAME_A PICKLE_TENSOR storage rest PICKLE_REST PICKLE_END
#define SIX                   PICKLE_STORAGE("Float", "0", "\006")

static void tensors_that_are_wrong_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t n;
        const char *message;
    } faults[] = {
        {BYTES(TENSOR(SIX, "K\000K\007\205K\001\205")), "tensor a: it is not within its storage"},
        {BYTES(TENSOR(SIX, "K\001K\006\205K\001\205")), "tensor a: it is not within its storage"},
        {BYTES(TENSOR(SIX, "K\007K\000\205K\001\205")), "tensor a: it is not within its storage"},
        {BYTES(TENSOR(SIX, "J\377\377\377\377K\001\205K\001\205")), "it is not within its storage"},
        {BYTES(TENSOR(SIX, "\212\010\377\377\377\377\377\377\377\177K\006\205K\001\205")),
         "it is not within its storage"},
        {BYTES(TENSOR(SIX, "K\000K\002K\003\206K\001K\002\206")), "tensor a: it is not contiguous"},
        {BYTES(TENSOR(SIX, "K\000K\002\205K\002\205")), "tensor a: it is not contiguous"},
        {BYTES(TENSOR(SIX, "K\000K\006\205K\000\205")), "tensor a: it is not contiguous"},
        {BYTES(TENSOR(SIX, "K\000K\006\205J\377\377\377\377\205")),
         "tensor a: its sizes and strides are no numbers, too large, or too many"},
        {BYTES(TENSOR(SIX, "K\000J\377\377\377\377\205K\001\205")),
         "no numbers, too large, or too many"},
        {BYTES(TENSOR(SIX, "K\000K\006\205K\001K\001\206")), "no numbers, too large, or too many"},
        {BYTES(TENSOR(SIX, "K\000K\006\205)")), "no numbers, too large, or too many"},
        {BYTES(TENSOR(SIX, "K\000N\205K\001\205")), "no numbers, too large, or too many"},
        {BYTES(TENSOR(SIX, "K\000K\006\205N\205")), "no numbers, too large, or too many"},
        {BYTES(TENSOR(SIX, "K\000J\377\377\377\177J\377\377\377\177J\377\377\377\177\207"
                           "K\001K\001K\001\207")),
         "no numbers, too large, or too many"},
        {BYTES(TENSOR(PICKLE_STORAGE("Float", "1", "\006"), "K\000K\006\205K\001\205")),
         "x.bin: tensor a: there is no data/1"},
        {BYTES(TENSOR(PICKLE_STORAGE("Float", "0", "\005"), "K\000K\005\205K\001\205")),
         "tensor a: 5 values of type F32 are not in the 24 bytes of data/0"},
        {BYTES(TENSOR(PICKLE_STORAGE("Half", "0", "\006"), "K\000K\006\205K\001\205")),
         "6 values of type F16 are not in the 24 bytes of data/0"},
        {BYTES(TENSOR(PICKLE_STORAGE("Long", "0", "\006"), "K\000K\006\205K\001\205")),
         "6 values of type I64 are not in the 24 bytes of data/0"},
        {BYTES(PICKLE_DICT NAME_A MATRIX NAME_A MATRIX PICKLE_END), "tensor a is in /tmp/"},
        {BYTES(PICKLE_DICT "K\001" MATRIX PICKLE_END), "the name of a tensor is no text"},
        {BYTES(PICKLE_DICT PICKLE_TEXT("\001", "\000") MATRIX PICKLE_END),
         "of a tensor is no text"},
        {BYTES(PICKLE_DICT PICKLE_TEXT("\001", "\377") MATRIX PICKLE_END),
         "of a tensor is no text"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        refuse_pickle(faults[i].pickle, faults[i].n, faults[i].message);
    }
}

static void refuse_and_free(struct buf *b, const char *message) {
    folder_require(!b->failed, "memory");
    refuse_pickle(b->data, b->len, message);
    buf_free(b);
}

static void repeat(struct buf *b, const char *text, size_t n, size_t times) {
    for (size_t i = 0; i < times; i++) {
        buf_put(b, text, n);
    }
}

static void bombs_do_not_go_off(void **state) {
    (void)state;
    struct buf b = {0};
    repeat(&b, "(", 1, TORCH_STACK_MAX + 1);
    refuse_and_free(&b, "byte 4096: over 4096 values on the stack");
    repeat(&b, "N", 1, TORCH_STACK_MAX);
    buf_puts(&b, ")");
    refuse_and_free(&b, "byte 4096: over 4096 values on the stack");

    buf_puts(&b, ")"); /* a tuple in a tuple in a ... */
    repeat(&b, "\205", 1, 1 << 20);
    buf_puts(&b, ".");
    refuse_and_free(&b, "what was saved is no dict of tensors");

    buf_put(&b, BYTES(")q\000")); /* each twice as large as the one before */
    repeat(&b, BYTES("h\000h\000\206q\000"), 1 << 10);
    buf_puts(&b, ".");
    refuse_and_free(&b, "what was saved is no dict of tensors");

    buf_put(&b, BYTES("}q\000")); /* a dict in itself */
    repeat(&b, BYTES("h\000h\000s"), 1 << 16);
    refuse_and_free(&b, "cut here");

    repeat(&b, "N", 1, TORCH_PICKLE_MAX + 1);
    refuse_and_free(&b, "data.pkl has 4194305 bytes, over 4194304");
}

static void shapes_that_are_too_long_are_refused(void **state) {
    (void)state;
    for (size_t n = 64; n <= 65; n++) {
        struct buf b = {0};
        struct safetensors *s = NULL;
        u2i_error_t err = {0};
        buf_put(&b, BYTES(PICKLE_DICT NAME_A PICKLE_TENSOR SIX "K\000"));
        for (int i = 0; i < 2; i++) { /* sizes and strides */
            buf_puts(&b, "(");
            repeat(&b, BYTES("K\001"), n);
            buf_puts(&b, "t");
        }
        buf_put(&b, BYTES(PICKLE_REST PICKLE_END));
        const int rc = open_pickle(b.data, b.len, &s, &err);
        if (n > 64) {
            assert_refused(rc, s, &err,
                           "its sizes and strides are no numbers, too large, or too many");
        } else {
            assert_int_equal(rc, U2I_OK);
        }
        safetensors_close(s);
        buf_free(&b);
    }
}

static void long_names_are_refused(void **state) {
    (void)state;
    for (size_t n = TORCH_TEXT_MAX; n <= TORCH_TEXT_MAX + 1; n++) {
        struct buf b = {0};
        struct safetensors *s = NULL;
        u2i_error_t err = {0};
        buf_put(&b, BYTES(PICKLE_DICT "X"));
        zip_number(&b, n, 4);
        repeat(&b, "n", 1, n);
        buf_put(&b, BYTES(MATRIX PICKLE_END));
        const int rc = open_pickle(b.data, b.len, &s, &err);
        if (n > TORCH_TEXT_MAX) {
            assert_refused(rc, s, &err, "the name of a tensor is no text, or has over 256 bytes");
        } else {
            assert_int_equal(rc, U2I_OK);
        }
        safetensors_close(s);
        buf_free(&b);
    }
}

/* ---- Folders ---------------------------------------------------------------------------------- */

static void write_torch(const struct folder *f, const char *name, const void *pickle, size_t n) {
    struct buf b = archive_of(pickle, n, true);
    folder_write(f, name, b.data, b.len);
    buf_free(&b);
}

static void safetensors_are_taken_first(void **state) {
    (void)state;
    const struct folder f = folder_make();
    struct forge own = {0};
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    write_torch(&f, "pytorch_model.bin", BYTES(PICKLE_DICT NAME_A MATRIX PICKLE_END));
    assert_int_equal(safetensors_open_folder(f.path, &s, &err), U2I_OK);
    assert_true(safetensors_find(s, "a", &t));
    assert_string_equal(t.path, folder_path(&f, "pytorch_model.bin"));
    safetensors_close(s);
    s = NULL;

    folder_put(&f, "model.safetensors.index.json", "{}");
    assert_refused(safetensors_open_folder(f.path, &s, &err), s, &err,
                   "model.safetensors.index.json: weight_map is not an object");

    forge_add(&own, "b", "F32", NULL, 0);
    forge_save(&own, &f, "model.safetensors");
    assert_int_equal(safetensors_open_folder(f.path, &s, &err), U2I_OK);
    assert_false(safetensors_find(s, "a", &t));
    assert_true(safetensors_find(s, "b", &t));
    safetensors_close(s);
    folder_remove(&f);
}

static void shards_of_torch_are_one_model(void **state) {
    (void)state;
    const struct folder f = folder_make();
    struct safetensors *s = NULL;
    struct safetensors_tensor t;
    u2i_error_t err;
    write_torch(&f, "one.bin", BYTES(PICKLE_DICT NAME_A MATRIX PICKLE_END));
    write_torch(&f, "two.bin", BYTES(PICKLE_DICT PICKLE_TEXT("\001", "b") MATRIX PICKLE_END));
    folder_put(&f, "pytorch_model.bin.index.json",
               "{\"weight_map\":{\"a\":\"one.bin\",\"b\":\"two.bin\"}}");
    assert_int_equal(safetensors_open_folder(f.path, &s, &err), U2I_OK);
    assert_true(safetensors_find(s, "a", &t) && safetensors_find(s, "b", &t));
    assert_string_equal(t.path, folder_path(&f, "two.bin"));
    safetensors_close(s);
    s = NULL;

    folder_put(&f, "pytorch_model.bin.index.json", "{\"weight_map\":{\"a\":\"two.bin\"}}");
    assert_refused(safetensors_open_folder(f.path, &s, &err), s, &err,
                   "pytorch_model.bin.index.json: tensor a is not in two.bin");
    folder_put(&f, "pytorch_model.bin.index.json", "{\"weight_map\":{\"a\":\"../one.bin\"}}");
    assert_refused(safetensors_open_folder(f.path, &s, &err), s, &err, "no plain name: ../one.bin");
    folder_remove(&f);
}

/* ---- Damage ----------------------------------------------------------------------------------- */

static void read_whole(const struct safetensors *s) {
    struct safetensors_tensor t;
    u2i_error_t err;
    float out[6];
    if (safetensors_find(s, "a", &t) && safetensors_readable(&t, &err) == U2I_OK) {
        const uint64_t n = t.bytes_n / (t.type == SAFETENSORS_F32 ? 4 : 2);
        assert_true(n <= 6);
        const int rc = safetensors_floats(&t, 0, (size_t)n, out, &err);
        assert_true(rc == U2I_OK || rc == U2I_EEMBED);
    }
}

static void damage_is_refused_or_harmless(void **state) {
    (void)state;
    const char *const given = getenv("U2I_SEED");
    const uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 21;
    struct buf b = archive_of(BYTES(PICKLE_DICT NAME_A MATRIX PICKLE_END), true);
    struct rng rng;
    unsigned refused = 0;
    print_message("U2I_SEED=%" PRIu64 "\n", seed);
    rng_seed(&rng, seed);
    for (int round = 0; round < 3000; round++) {
        struct buf copy = {0};
        struct safetensors *s = NULL;
        u2i_error_t err = {0};
        buf_put(&copy, b.data, b.len);
        for (uint32_t changes = 1 + rng_below(&rng, 3); changes > 0; changes--) {
            copy.data[rng_below(&rng, (uint32_t)b.len)] ^= (char)(1u << rng_below(&rng, 8));
        }
        const size_t n = rng_below(&rng, 8) == 0 ? rng_below(&rng, (uint32_t)b.len) : b.len;
        const int rc = open_bytes(copy.data, n, &s, &err);
        assert_true(rc == U2I_OK || (rc == U2I_EEMBED && s == NULL && err.msg[0] != '\0'));
        if (rc == U2I_OK) {
            read_whole(s);
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
        cmocka_unit_test(every_kind_of_tensor_comes_out_as_torch_has_it),
        cmocka_unit_test(a_model_of_torch_is_the_same_model),
        cmocka_unit_test(the_format_before_1_6_is_refused_with_what_to_do),
        cmocka_unit_test(archives_with_and_without_zip64_are_read),
        cmocka_unit_test(sizes_are_taken_from_zip64_fields),
        cmocka_unit_test(archives_that_torch_does_not_write_are_refused),
        cmocka_unit_test(sizes_that_are_forged_alike_are_refused),
        cmocka_unit_test(names_in_an_archive_are_unique_and_of_one_folder),
        cmocka_unit_test(cut_archives_are_refused),
        cmocka_unit_test(archives_without_what_is_needed_are_refused),
        cmocka_unit_test(pickles_that_are_dicts_of_tensors_are_read),
        cmocka_unit_test(nothing_is_ever_called),
        cmocka_unit_test(pickles_that_are_wrong_are_refused),
        cmocka_unit_test(persistent_ids_that_are_no_storages_are_refused),
        cmocka_unit_test(tensors_that_are_wrong_are_refused_by_name),
        cmocka_unit_test(bombs_do_not_go_off),
        cmocka_unit_test(shapes_that_are_too_long_are_refused),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(safetensors_are_taken_first),
        cmocka_unit_test(shards_of_torch_are_one_model),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
