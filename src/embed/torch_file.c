/* Reads a file of torch.save() with a dict of tensors, as Hugging Face has them under the name of pytorch_model.bin: a zip
 * archive of stored entries (torch_zip.c),
 *
 *     FOLDER/data.pkl      the dict: of each tensor its storage, type and shape (torch_pickle.c)
 *     FOLDER/byteorder     "little" or "big"; older ones have none, and are little-endian
 *     FOLDER/data/KEY      a storage: values one after the other
 *     FOLDER/version, .data/serialization_id, ...: of no use here
 *
 * A storage has as many bytes as the pickle says, and a tensor lies within it. Files of torch before 1.6
 * are pickles with the values behind them: these are refused, with what to do. */
#include "embed/torch_file.h"

#include "base/error.h"
#include "embed/torch_bytes.h"
#include "embed/torch_zip.h"
#include <stdio.h>

#define TORCH_FOLDER_STORAGES "data/"

/* A file that is being read. */
struct torch_file_reading {
    const struct torch_file *f;
    struct torch_zip *zip;
    torch_file_take *take;
    void *ctx;
};

/* The pickle of the number that such a file begins with. */
static bool torch_file_is_older(const struct torch_file *f) {
    static const unsigned char magic[] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                          0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
    return f->bytes >= sizeof magic && memcmp(f->map, magic, sizeof magic) == 0;
}

static int torch_file_give(void *ctx, const struct torch_tensor *t, u2i_error_t *err) {
    const struct torch_file_reading *const r = ctx;
    char entry[sizeof TORCH_FOLDER_STORAGES + TORCH_TEXT_MAX];
    const int n = snprintf(entry, sizeof entry, TORCH_FOLDER_STORAGES "%s", t->key); /* fits */
    const unsigned char *bytes;
    uint64_t bytes_n, wanted;
    if (!torch_zip_find(r->zip, entry, (size_t)n, &bytes, &bytes_n)) {
        return error_set(err, U2I_EEMBED, "%s: tensor %s: there is no %s", r->f->path, t->name,
                         entry);
    }
    if (__builtin_mul_overflow(t->storage_n, (uint64_t)t->value_bytes, &wanted) ||
        wanted != bytes_n) {
        return error_set(err, U2I_EEMBED,
                         "%s: tensor %s: %llu values of type %s are not in the %llu bytes of %s",
                         r->f->path, t->name, (unsigned long long)t->storage_n, t->dtype,
                         (unsigned long long)bytes_n, entry);
    }
    return r->take(r->ctx, t, bytes + t->first * t->value_bytes, t->n * t->value_bytes, err);
}

static int torch_file_read_zip(struct torch_file_reading *r, u2i_error_t *err) {
    const unsigned char *pickle, *order;
    uint64_t pickle_n, order_n;
    if (torch_zip_find(r->zip, "byteorder", strlen("byteorder"), &order, &order_n) &&
        (order_n != strlen("little") || memcmp(order, "little", strlen("little")) != 0)) {
        return error_set(err, U2I_EEMBED, "%s: its byteorder is not little", r->f->path);
    }
    if (!torch_zip_find(r->zip, "data.pkl", strlen("data.pkl"), &pickle, &pickle_n)) {
        return error_set(err, U2I_EEMBED, "%s has no data.pkl, so torch.save() has not written it",
                         r->f->path);
    }
    return torch_pickle_read(r->f->path, pickle, pickle_n, torch_file_give, r, err);
}

int torch_file_read(const struct torch_file *f, torch_file_take *take, void *ctx,
                    u2i_error_t *err) {
    struct torch_file_reading r = {.f = f, .take = take, .ctx = ctx};
    if (torch_file_is_older(f)) {
        return error_set(err, U2I_EEMBED,
                         "%s is in the format of torch before 1.6; python3 -c \"import torch; "
                         "f='FILE'; torch.save(torch.load(f, weights_only=True), f)\" renews it",
                         f->path);
    }
    U2I_TRY(torch_zip_new(f->path, f->map, f->bytes, &r.zip, err));
    const int rc = torch_file_read_zip(&r, err);
    torch_zip_free(r.zip);
    return rc;
}
