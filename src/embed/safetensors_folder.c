/* Finds, maps and lists the files of a model: model.safetensors, or where there is none the files that
 * model.safetensors.index.json names; and where that is missing, too, pytorch_model.bin or the files of its index.
 *
 * Files are mapped, so that opening costs the headers only, and processes share the pages. An index is
 * not trusted: it names files of its own folder only, and each tensor has to be where it says. */
#include "embed/safetensors_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/filemap.h"
#include "embed/embed_folder.h"
#include <assert.h>
#include <errno.h>
#include <unistd.h>

/* ---- One file ------------------------------------------------------------------------------- */

/* Maps a file; it belongs to s then, failed or not. */
static int safetensors_map(struct safetensors *s, const char *path, int fd, uint64_t bytes,
                           u2i_error_t *err) {
    if (bytes < SAFETENSORS_PREFIX || bytes > SIZE_MAX) {
        return error_set(err, U2I_EEMBED, "%s is not %s: it has %llu bytes", path, s->format->what,
                         (unsigned long long)bytes);
    }
    if (array_reserve(&s->files, &s->files_cap, s->files_n + 1, sizeof *s->files) != U2I_OK) {
        return error_oom(err);
    }
    struct safetensors_file *const f = &s->files[s->files_n++];
    *f = (struct safetensors_file){.path = str_dup(path, strlen(path)), .bytes = (size_t)bytes};
    if (f->path == NULL) {
        return error_oom(err);
    }
    f->map = filemap_new_read_only(fd, f->bytes);
    return f->map != NULL ? U2I_OK
                          : error_set(err, errno == ENOMEM ? U2I_ENOMEM : U2I_EIO,
                                      "cannot map %s: %s", path, strerror(errno));
}

static int safetensors_add(struct safetensors *s, const char *path, u2i_error_t *err) {
    int fd = -1;
    uint64_t bytes = 0;
    U2I_TRY(embed_folder_open(path, &fd, &bytes, err));
    const int rc = safetensors_map(s, path, fd, bytes, err);
    (void)close(fd); /* only read from; the mapping stays */
    U2I_TRY(rc);
    const struct safetensors_file *const f = &s->files[s->files_n - 1];
    struct safetensors_opening o = {.s = s,
                                    .path = f->path,
                                    .map = f->map,
                                    .file_bytes = bytes,
                                    .first = s->tensors_n,
                                    .err = err};
    return s->format->take(&o);
}

/* ---- Several files -------------------------------------------------------------------------- */

/* A file's name, and nothing that leads out of the folder. */
static bool safetensors_plain(const json_t *file) {
    const char *const name = json_string_value(file); /* NULL if it is none */
    return name != NULL && name[0] != '\0' && strchr(name, '/') == NULL &&
           strstr(name, "..") == NULL && strcmp(name, ".") != 0;
}

/* The names of files, each once, in order of first appearance: the numbers are those of s->files. */
static int safetensors_list_shards(const char *index, json_t *map, struct intern *shards,
                                   u2i_error_t *err) {
    const char *name;
    json_t *file;
    uint32_t number;
    json_object_foreach(map, name, file) {
        if (!safetensors_plain(file)) {
            return error_set(err, U2I_EEMBED, "%s: %s is in a file that is no plain name: %s",
                             index, name,
                             json_is_string(file) ? json_string_value(file) : "not a string");
        }
        const char *const shard = json_string_value(file);
        if (intern_find(shards, shard, strlen(shard)) == INTERN_NONE &&
            intern_add(shards, shard, strlen(shard), &number) != U2I_OK) {
            return error_oom(err);
        }
    }
    const uint32_t n = intern_count(shards);
    return n > 0 && n <= SAFETENSORS_FILES_MAX
               ? U2I_OK
               : error_set(err, U2I_EEMBED, "%s: weight_map names %u files, not 1 to %d", index, n,
                           SAFETENSORS_FILES_MAX);
}

/* Each tensor is in the file that the index says. */
static int safetensors_check_index(const struct safetensors *s, const char *index, json_t *map,
                                   const struct intern *shards, u2i_error_t *err) {
    const char *name;
    json_t *file;
    json_object_foreach(map, name, file) {
        const char *const shard = json_string_value(file);
        const uint32_t number = intern_find(shards, shard, strlen(shard));
        struct safetensors_tensor t;
        assert(number < s->files_n);
        if (!safetensors_find(s, name, &t) || t.path != s->files[number].path) {
            return error_set(err, U2I_EEMBED, "%s: tensor %s is not in %s", index, name, shard);
        }
    }
    return U2I_OK;
}

static int safetensors_add_shards(struct safetensors *s, const char *index, json_t *map,
                                  struct intern *shards, u2i_error_t *err) {
    U2I_TRY(safetensors_list_shards(index, map, shards, err));
    for (uint32_t i = 0; i < intern_end(shards); i++) {
        char *const path = embed_folder_path(s->path, intern_name(shards, i, NULL));
        const int rc = path == NULL ? error_oom(err) : safetensors_add(s, path, err);
        mem_free(path);
        U2I_TRY(rc);
    }
    return safetensors_check_index(s, index, map, shards, err);
}

static int safetensors_add_map(struct safetensors *s, json_t *root, u2i_error_t *err) {
    json_t *const map = json_object_get(root, "weight_map");
    char *const index = embed_folder_path(s->path, s->format->index);
    struct intern *const shards = intern_new();
    const int rc =
        index == NULL || shards == NULL ? error_oom(err)
        : json_is_object(map)
            ? safetensors_add_shards(s, index, map, shards, err)
            : error_set(err, U2I_EEMBED, "%s: weight_map is not an object, {...}", index);
    intern_free(shards);
    mem_free(index);
    return rc;
}

/* The files of one format in the folder; *there is false if it has none, which is no failure. */
static int safetensors_add_format(struct safetensors *s, bool *there, u2i_error_t *err) {
    json_t *root = NULL;
    char *const path = embed_folder_path(s->path, s->format->whole);
    int rc = path == NULL ? error_oom(err) : safetensors_add(s, path, err);
    mem_free(path);
    *there = true;
    if (rc != U2I_ENOTFOUND) {
        return rc;
    }
    error_clear(err);
    rc = embed_folder_object(s->path, s->format->index, &root, err);
    if (rc == U2I_ENOTFOUND) {
        error_clear(err);
        *there = false;
        return U2I_OK;
    }
    U2I_TRY(rc);
    rc = safetensors_add_map(s, root, err);
    json_decref(root);
    return rc;
}

static int safetensors_add_folder(struct safetensors *s, const char *folder, u2i_error_t *err) {
    static const struct safetensors_format *const formats[] = {&SAFETENSORS_OWN,
                                                               &SAFETENSORS_TORCH};
    U2I_TRY(embed_folder_check(folder, err));
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        bool there;
        s->format = formats[i];
        U2I_TRY(safetensors_add_format(s, &there, err));
        if (there) {
            return U2I_OK;
        }
    }
    return error_set(err, U2I_ENOTFOUND, "%s has neither %s nor %s, nor an index of either", folder,
                     SAFETENSORS_OWN.whole, SAFETENSORS_TORCH.whole);
}

/* ---- Open and close ------------------------------------------------------------------------- */

static struct safetensors *safetensors_new(const char *path) {
    struct safetensors *const s = mem_zalloc(sizeof *s);
    if (s != NULL) {
        s->path = str_dup(path, strlen(path));
        s->names = intern_new();
        if (s->path == NULL || s->names == NULL) {
            safetensors_close(s);
            return NULL;
        }
    }
    return s;
}

static int safetensors_open_with(const char *path, const struct safetensors_format *format,
                                 int (*add)(struct safetensors *, const char *, u2i_error_t *),
                                 struct safetensors **out, u2i_error_t *err) {
    struct safetensors *const s = safetensors_new(path);
    *out = NULL;
    if (s == NULL) {
        return error_oom(err);
    }
    s->format = format;
    const int rc = add(s, path, err);
    if (rc != U2I_OK) {
        safetensors_close(s);
        return rc;
    }
    *out = s;
    return U2I_OK;
}

int safetensors_open(const char *path, struct safetensors **out, u2i_error_t *err) {
    return safetensors_open_with(path, &SAFETENSORS_OWN, safetensors_add, out, err);
}

int safetensors_open_torch(const char *path, struct safetensors **out, u2i_error_t *err) {
    return safetensors_open_with(path, &SAFETENSORS_TORCH, safetensors_add, out, err);
}

int safetensors_open_folder(const char *folder, struct safetensors **out, u2i_error_t *err) {
    return safetensors_open_with(folder, NULL, safetensors_add_folder, out, err);
}

void safetensors_close(struct safetensors *s) {
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->files_n; i++) {
        filemap_free(s->files[i].map, s->files[i].bytes);
        mem_free(s->files[i].path);
    }
    mem_free(s->files);
    mem_free(s->tensors);
    intern_free(s->names);
    mem_free(s->path);
    mem_free(s);
}

const char *safetensors_path(const struct safetensors *s) {
    return s->path;
}

bool safetensors_find(const struct safetensors *s, const char *name,
                      struct safetensors_tensor *out) {
    const uint32_t number = intern_find(s->names, name, strlen(name));
    if (number == INTERN_NONE) {
        return false;
    }
    *out = s->tensors[number];
    out->name = intern_name(s->names, number, NULL); /* only now they stay where they are */
    return true;
}
