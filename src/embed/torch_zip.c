/* Reads the directory of a zip archive as torch.save() writes it since 1.6 (PKWARE's APPNOTE 6.3.10, of which that uses
 * little):
 *
 *     entries      each a local header, a name, an extra field that aligns the data, the data as they
 *                  are, and maybe a data descriptor
 *     directory    a header for each entry, in the order of the entries
 *     end          with zip64: its end record (56 bytes) and a locator of it (20); then the end record
 *                  (22 bytes, no comment)
 *
 * Readers of zip files are known to differ in what they see in a forged one. So this one wants each byte
 * of the directory and the end where torch puts it, and refuses what other programs may write. What
 * always holds for an archive that was read:
 *  1. Entries are stored, not compressed, and lie one after the other before the directory, without overlap.
 *  2. The header before an entry's data names it as the directory does.
 *  3. All are in one folder, and names are unique.
 *
 * Checksums of entries are not looked at: that would read all of a model when it is opened. They are no
 * protection from somebody who wants to do harm, and values that are not finite are refused when they
 * are read. */
#include "embed/torch_zip.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/intern.h"
#include "embed/torch_bytes.h"
#include <assert.h>

enum {
    TORCH_END = 22, /* bytes of the parts */
    TORCH_LOCATOR = 20,
    TORCH_END64 = 56,
    TORCH_HEADER = 46,
    TORCH_LOCAL = 30,
    TORCH_END_SIGN = 0x06054b50, /* what they begin with */
    TORCH_LOCATOR_SIGN = 0x07064b50,
    TORCH_END64_SIGN = 0x06064b50,
    TORCH_HEADER_SIGN = 0x02014b50,
    TORCH_LOCAL_SIGN = 0x04034b50,
    TORCH_FLAG_AFTER = 0x0008, /* sizes are behind the data, not in the local header */
    TORCH_FLAG_UTF8 = 0x0800,  /* the name is UTF-8 */
    TORCH_EXTRA64 = 0x0001     /* the extra field of what does not fit 32 bits */
};

struct torch_entry {
    uint64_t at, bytes; /* of its data */
};

struct torch_zip {
    const char *path;
    const unsigned char *map;
    struct intern *names; /* without their folder -> index into entries */
    struct torch_entry *entries;
    size_t entries_n, entries_cap;
};

/* An archive on its way in. */
struct torch_zip_reading {
    struct torch_zip *z;
    uint64_t bytes;       /* of the file */
    uint64_t directory;   /* where it is */
    uint64_t directory_n; /* its bytes */
    uint64_t entries_n;
    uint64_t free;               /* where the entry before has ended */
    const unsigned char *folder; /* the first entry's, with its '/' */
    size_t folder_n;
    u2i_error_t *err;
};

/* An entry as the directory has it. */
struct torch_zip_header {
    const unsigned char *name;
    size_t name_n;
    uint32_t flags;
    uint64_t bytes, stored, local; /* local: where its local header is */
};

static int torch_zip_bad(const struct torch_zip_reading *r, const char *what) {
    return error_set(r->err, U2I_EEMBED, "%s is not as torch.save() writes it, or is cut: %s",
                     r->z->path, what);
}

static int torch_zip_bad_entry(const struct torch_zip_reading *r, const struct torch_zip_header *h,
                               const char *what) {
    return error_set(r->err, U2I_EEMBED, "%s: entry %.*s %s", r->z->path, (int)h->name_n,
                     (const char *)h->name, what);
}

/* ---- The end ---------------------------------------------------------------------------------- */

/* The zip64 end record, which lies right before its locator; *end becomes where it begins. */
static int torch_zip_take_end64(struct torch_zip_reading *r, uint64_t *end) {
    const unsigned char *const locator = r->z->map + *end - TORCH_LOCATOR;
    if (*end < TORCH_LOCATOR + TORCH_END64) {
        return torch_zip_bad(r, "it has no zip64 end record");
    }
    *end -= TORCH_LOCATOR + TORCH_END64;
    const unsigned char *const p = r->z->map + *end;
    if (torch_u64(locator + 8) != *end || torch_u32(p) != TORCH_END64_SIGN ||
        torch_u64(p + 4) != TORCH_END64 - 12) {
        return torch_zip_bad(r, "its zip64 end record is not where it should be");
    }
    const bool small = r->entries_n != UINT16_MAX; /* then both records have it */
    const uint64_t before[] = {r->entries_n, r->directory_n, r->directory};
    r->entries_n = torch_u64(p + 32);
    r->directory_n = torch_u64(p + 40);
    r->directory = torch_u64(p + 48);
    return (!small || before[0] == r->entries_n) &&
                   (before[1] == UINT32_MAX || before[1] == r->directory_n) &&
                   (before[2] == UINT32_MAX || before[2] == r->directory)
               ? U2I_OK
               : torch_zip_bad(r, "its two end records differ");
}

/* Where the directory is, and that it ends where the end begins. */
static int torch_zip_take_end(struct torch_zip_reading *r) {
    if (r->bytes < TORCH_END) {
        return torch_zip_bad(r, "it is too short for a zip archive");
    }
    uint64_t end = r->bytes - TORCH_END;
    const unsigned char *const p = r->z->map + end;
    if (torch_u32(p) != TORCH_END_SIGN || torch_u16(p + 20) != 0) {
        return torch_zip_bad(r, "it does not end as a zip archive");
    }
    if (torch_u32(p + 4) != 0) { /* numbers of this disk and the directory's */
        return torch_zip_bad(r, "it is a part of several");
    }
    r->entries_n = torch_u16(p + 10);
    r->directory_n = torch_u32(p + 12);
    r->directory = torch_u32(p + 16);
    if (end >= TORCH_LOCATOR && torch_u32(p - TORCH_LOCATOR) == TORCH_LOCATOR_SIGN) {
        U2I_TRY(torch_zip_take_end64(r, &end));
    }
    if (r->directory > end || r->directory_n != end - r->directory) {
        return torch_zip_bad(r, "its directory is not right before its end");
    }
    return r->entries_n <= TORCH_ZIP_ENTRIES_MAX
               ? U2I_OK
               : error_set(r->err, U2I_EEMBED, "%s has %llu entries, over %d", r->z->path,
                           (unsigned long long)r->entries_n, TORCH_ZIP_ENTRIES_MAX);
}

/* ---- An entry --------------------------------------------------------------------------------- */

/* Fields of a header that do not fit are in its extra field of that kind, in order. */
static bool torch_zip_wide(const unsigned char **extra, size_t *n, uint64_t *field) {
    if (*field != UINT32_MAX) {
        return true;
    }
    if (*n < 8) {
        return false;
    }
    *field = torch_u64(*extra);
    *extra += 8;
    *n -= 8;
    return true;
}

static bool torch_zip_take_extra(const unsigned char *p, size_t n, struct torch_zip_header *h) {
    size_t wide_n = 0;
    const unsigned char *wide = p;
    while (n >= 4) {
        const size_t part = torch_u16(p + 2);
        if (part > n - 4) {
            return false;
        }
        if (torch_u16(p) == TORCH_EXTRA64 && wide_n == 0) {
            wide = p + 4;
            wide_n = part;
        }
        p += 4 + part;
        n -= 4 + part;
    }
    return n == 0 && torch_zip_wide(&wide, &wide_n, &h->bytes) &&
           torch_zip_wide(&wide, &wide_n, &h->stored) && torch_zip_wide(&wide, &wide_n, &h->local);
}

/* Kind and place, as the directory has them. */
static int torch_zip_check_header(const struct torch_zip_reading *r, const unsigned char *p,
                                  const struct torch_zip_header *h) {
    if (h->name_n == 0 || h->name_n > TORCH_ZIP_NAME_MAX || !torch_is_text(h->name, h->name_n)) {
        return torch_zip_bad(r, "an entry's name is no text, or too long");
    }
    if ((h->flags & ~(uint32_t)(TORCH_FLAG_AFTER | TORCH_FLAG_UTF8)) != 0) {
        return torch_zip_bad_entry(r, h, "is encrypted, or of a kind that torch does not write");
    }
    if (torch_u16(p + 10) != 0 || h->stored != h->bytes) {
        return torch_zip_bad_entry(r, h, "is compressed, which torch does not do");
    }
    if (torch_u16(p + 34) != 0) {
        return torch_zip_bad_entry(r, h, "is in another part of the archive");
    }
    return U2I_OK;
}

/* The header before the data says the same, and the data are before the directory. */
static int torch_zip_take_local(const struct torch_zip_reading *r, const struct torch_zip_header *h,
                                struct torch_entry *out) {
    if (h->local < r->free) {
        return torch_zip_bad_entry(r, h, "overlaps the one before, or is not in its order");
    }
    if (h->local > r->directory || r->directory - h->local < TORCH_LOCAL + h->name_n) {
        return torch_zip_bad_entry(r, h, "is not within the file");
    }
    const unsigned char *const p = r->z->map + h->local;
    const uint64_t room = r->directory - h->local - TORCH_LOCAL - h->name_n;
    const uint64_t extra_n = torch_u16(p + 28);
    const uint64_t bytes = torch_u32(p + 22);
    if (torch_u32(p) != TORCH_LOCAL_SIGN || torch_u16(p + 6) != h->flags || torch_u16(p + 8) != 0 ||
        torch_u16(p + 26) != h->name_n || memcmp(p + TORCH_LOCAL, h->name, h->name_n) != 0 ||
        ((h->flags & TORCH_FLAG_AFTER) == 0 && bytes != UINT32_MAX && bytes != h->bytes)) {
        return torch_zip_bad_entry(r, h, "is described otherwise where it lies");
    }
    if (extra_n > room || h->bytes > room - extra_n) {
        return torch_zip_bad_entry(r, h, "is not within the file");
    }
    *out = (struct torch_entry){h->local + TORCH_LOCAL + h->name_n + extra_n, h->bytes};
    return U2I_OK;
}

/* Enters it under its name without the folder, which is that of the first entry. */
static int torch_zip_enter(struct torch_zip_reading *r, const struct torch_zip_header *h,
                           const struct torch_entry *entry) {
    struct torch_zip *const z = r->z;
    uint32_t number;
    if (r->folder == NULL) {
        const unsigned char *const slash = memchr(h->name, '/', h->name_n);
        r->folder = h->name;
        r->folder_n = slash == NULL ? 0 : (size_t)(slash - h->name) + 1;
    }
    if (r->folder_n == 0 || h->name_n <= r->folder_n ||
        memcmp(h->name, r->folder, r->folder_n) != 0) {
        return torch_zip_bad_entry(r, h, "is not in the archive's one folder");
    }
    const char *const name = (const char *)h->name + r->folder_n;
    const size_t name_n = h->name_n - r->folder_n;
    if (intern_find(z->names, name, name_n) != INTERN_NONE) {
        return torch_zip_bad_entry(r, h, "is there twice");
    }
    if (array_reserve(&z->entries, &z->entries_cap, z->entries_n + 1, sizeof *z->entries) !=
            U2I_OK ||
        intern_add(z->names, name, name_n, &number) != U2I_OK) {
        return error_oom(r->err);
    }
    assert(number == z->entries_n);
    z->entries[z->entries_n++] = *entry;
    r->free = entry->at + entry->bytes;
    return U2I_OK;
}

/* One header of the directory, which is at *at. */
static int torch_zip_take(struct torch_zip_reading *r, uint64_t *at) {
    const unsigned char *const p = r->z->map + *at;
    const uint64_t left = r->directory + r->directory_n - *at;
    if (left < TORCH_HEADER || torch_u32(p) != TORCH_HEADER_SIGN) {
        return torch_zip_bad(r, "its directory has fewer entries than it should");
    }
    struct torch_zip_header h = {.name = p + TORCH_HEADER,
                                 .name_n = torch_u16(p + 28),
                                 .flags = torch_u16(p + 8),
                                 .bytes = torch_u32(p + 24),
                                 .stored = torch_u32(p + 20),
                                 .local = torch_u32(p + 42)};
    const size_t extra_n = torch_u16(p + 30);
    const size_t all = TORCH_HEADER + h.name_n + extra_n + torch_u16(p + 32);
    struct torch_entry entry;
    if (all > left) {
        return torch_zip_bad(r, "its directory is cut");
    }
    if (!torch_zip_take_extra(h.name + h.name_n, extra_n, &h)) {
        return torch_zip_bad(r, "an extra field of its directory is cut");
    }
    U2I_TRY(torch_zip_check_header(r, p, &h));
    U2I_TRY(torch_zip_take_local(r, &h, &entry));
    *at += all;
    return torch_zip_enter(r, &h, &entry);
}

static int torch_zip_take_all(struct torch_zip_reading *r) {
    U2I_TRY(torch_zip_take_end(r));
    uint64_t at = r->directory;
    for (uint64_t i = 0; i < r->entries_n; i++) {
        U2I_TRY(torch_zip_take(r, &at));
    }
    return at == r->directory + r->directory_n
               ? U2I_OK
               : torch_zip_bad(r, "its directory has more entries than it should");
}

/* ---- Making and asking ------------------------------------------------------------------------ */

int torch_zip_new(const char *path, const unsigned char *map, uint64_t bytes,
                  struct torch_zip **out, u2i_error_t *err) {
    *out = NULL;
    struct torch_zip *const z = mem_zalloc(sizeof *z);
    if (z == NULL) {
        return error_oom(err);
    }
    z->path = path;
    z->map = map;
    z->names = intern_new();
    struct torch_zip_reading r = {.z = z, .bytes = bytes, .err = err};
    const int rc = z->names == NULL ? error_oom(err) : torch_zip_take_all(&r);
    if (rc != U2I_OK) {
        torch_zip_free(z);
        return rc;
    }
    *out = z;
    return U2I_OK;
}

void torch_zip_free(struct torch_zip *z) {
    if (z != NULL) {
        intern_free(z->names);
        mem_free(z->entries);
        mem_free(z);
    }
}

bool torch_zip_find(const struct torch_zip *z, const char *name, size_t name_n,
                    const unsigned char **bytes, uint64_t *bytes_n) {
    const uint32_t number = intern_find(z->names, name, name_n);
    if (number == INTERN_NONE) {
        return false;
    }
    *bytes = z->map + z->entries[number].at;
    *bytes_n = z->entries[number].bytes;
    return true;
}
