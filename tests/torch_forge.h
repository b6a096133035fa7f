/* Makes files as torch.save() writes them, and others: a zip archive of whatever entries, and pickles of tensors. */
#ifndef U2I_TESTS_TORCH_FORGE_H
#define U2I_TESTS_TORCH_FORGE_H

#include "base/buf.h"
#include <stdio.h>
#include <string.h>

enum { ZIP_END = 22, ZIP_LOCATOR = 20, ZIP_END64 = 56, ZIP_HEADER = 46, ZIP_LOCAL = 30 };

/* What a dict begins and ends with, and parts of a tensor "NAME": its storage KEY with values of a TYPE, N of them; the
 * first value, sizes and strides come after it. Lengths are given, as a character. */
#define PICKLE_DICT       "\200\002}q\000("
#define PICKLE_END        "u."
#define PICKLE_TEXT(n, s) "X" n "\000\000\000" s
#define PICKLE_TENSOR     "ctorch._utils\n_rebuild_tensor_v2\n("
#define PICKLE_STORAGE(type, key, n)                                                               \
    "(" PICKLE_TEXT("\007", "storage") "ctorch\n" type "Storage\n" PICKLE_TEXT("\001", key)        \
        PICKLE_TEXT("\003", "cpu") "K" n "tQ"
#define PICKLE_REST "\211}tR" /* requires no gradient, has no hooks */

struct zip {
    struct buf data, directory;
    uint32_t entries;
};

/* Little-endian; what is over eight bytes is zero. */
static inline void zip_number(struct buf *b, uint64_t x, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        buf_putc(b, (char)(unsigned char)(i < 8 ? x >> (8 * i) : 0));
    }
}

static inline void zip_set(struct buf *b, size_t at, uint64_t x, unsigned bytes) {
    for (unsigned i = 0; i < bytes && at + i < b->len; i++) {
        b->data[at + i] = (char)(unsigned char)(x >> (8 * i));
    }
}

/* As miniz does it within torch: sizes in the directory only, data on a multiple of 64. */
static inline void zip_add(struct zip *z, const char *name, const void *p, size_t n) {
    const size_t at = z->data.len, name_n = strlen(name);
    const size_t pad = 63 - (at + ZIP_LOCAL + name_n + 4 + 63) % 64;
    zip_number(&z->data, 0x04034b50, 4);
    zip_number(&z->data, 0, 2);
    zip_number(&z->data, 0x0808, 2);
    zip_number(&z->data, 0, 18); /* method, time, checksum, sizes */
    zip_number(&z->data, name_n, 2);
    zip_number(&z->data, pad + 4, 2);
    buf_puts(&z->data, name);
    buf_puts(&z->data, "FB");
    zip_number(&z->data, pad, 2);
    for (size_t i = 0; i < pad; i++) {
        buf_putc(&z->data, 'Z');
    }
    buf_put(&z->data, p, n);
    zip_number(&z->data, 0x08074b50, 4);
    zip_number(&z->data, 0, 4); /* the checksum, which nobody looks at */
    zip_number(&z->data, n, 4);
    zip_number(&z->data, n, 4);

    zip_number(&z->directory, 0x02014b50, 4);
    zip_number(&z->directory, 0, 4);
    zip_number(&z->directory, 0x0808, 2);
    zip_number(&z->directory, 0, 10);
    zip_number(&z->directory, n, 4);
    zip_number(&z->directory, n, 4);
    zip_number(&z->directory, name_n, 2);
    zip_number(&z->directory, 0, 12);
    zip_number(&z->directory, at, 4);
    buf_puts(&z->directory, name);
    z->entries++;
}

/* Where things are in what zip_finish() makes of it. */
static inline size_t zip_end(const struct buf *b) {
    return b->len - ZIP_END;
}

/* The bytes of the archive, for buf_free(). */
static inline struct buf zip_finish(struct zip *z, bool wide) {
    struct buf b = z->data;
    const size_t at = b.len, n = z->directory.len;
    buf_put(&b, z->directory.data, n);
    if (wide) {
        const size_t end = b.len;
        zip_number(&b, 0x06064b50, 4);
        zip_number(&b, ZIP_END64 - 12, 8);
        zip_number(&b, 0x002d031e, 4); /* versions */
        zip_number(&b, 0, 8);
        zip_number(&b, z->entries, 8);
        zip_number(&b, z->entries, 8);
        zip_number(&b, n, 8);
        zip_number(&b, at, 8);
        zip_number(&b, 0x07064b50, 4);
        zip_number(&b, 0, 4);
        zip_number(&b, end, 8);
        zip_number(&b, 1, 4);
    }
    zip_number(&b, 0x06054b50, 4);
    zip_number(&b, 0, 4);
    zip_number(&b, z->entries, 2);
    zip_number(&b, z->entries, 2);
    zip_number(&b, n, 4);
    zip_number(&b, at, 4);
    zip_number(&b, 0, 2);
    buf_free(&z->directory);
    *z = (struct zip){.entries = 0};
    return b;
}

#endif
