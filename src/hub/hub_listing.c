/* See hub_listing.h. An entry is {"type": "file", "path": "config.json", "size": 612, "oid": SHA-1 of git's blob},
 * and where the file is kept apart from git, as all large ones are, {"lfs": {"oid": SHA-256, "size": ...}}.
 *
 * Every entry is checked, also those that are not needed: a list with "../x" in it comes from no hub. */
#include "hub/hub_listing.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/hub_internal.h"
#include "json/json.h"

#define HUB_LISTING_DEPTH 8 /* of JSON; what is read of it is 3 deep */

struct hub_reading {
    const char *what;
    struct hub_listing *out;
    bool config; /* what the list has */
    bool whole[HUB_FORMS], index[HUB_FORMS];
    unsigned shards[HUB_FORMS];
    const struct hub_form *form; /* that is taken */
    u2i_error_t *err;
};

static int hub_listing_bad(const struct hub_reading *r, size_t i, const char *why) {
    return error_set(r->err, U2I_EREMOTE, "%s: the list of files is wrong at entry %zu: %s",
                     r->what, i + 1, why);
}

/* Exactly `digits` hexadecimal ones, copied in small letters. */
static bool hub_read_sum(const json_t *value, size_t digits, char *sum) {
    const char *const s = json_string_value(value); /* NULL if it is none */
    if (s == NULL || strlen(s) != digits || strspn(s, "0123456789abcdefABCDEF") != digits) {
        return false;
    }
    for (size_t i = 0; i <= digits; i++) {
        sum[i] = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] - 'A' + 'a') : s[i];
    }
    return true;
}

static bool hub_read_bytes(const json_t *value, uint64_t *bytes) {
    const json_int_t n = json_integer_value(value);
    *bytes = (uint64_t)n;
    return json_is_integer(value) && n >= 0;
}

static int hub_read_file(const struct hub_reading *r, size_t i, const json_t *entry,
                         struct hub_file *file) {
    const json_t *const lfs = json_object_get(entry, "lfs");
    const json_t *const source = json_is_object(lfs) ? lfs : entry;
    const char *const path = json_string_value(json_object_get(entry, "path"));
    *file = (struct hub_file){.kind = source == lfs ? HUB_SHA256 : HUB_GIT_SHA1};
    if (path == NULL || !hub_is_safe(path)) {
        return hub_listing_bad(r, i, "a path that is none within a folder");
    }
    if (!hub_read_bytes(json_object_get(source, "size"), &file->bytes)) {
        return hub_listing_bad(r, i, "there is no size");
    }
    if (!hub_read_sum(json_object_get(source, "oid"), source == lfs ? 64 : 40, file->sum)) {
        return hub_listing_bad(r, i, "there is no checksum");
    }
    return U2I_OK;
}

static int hub_take_listed(const struct hub_reading *r, const char *path,
                           const struct hub_file *file) {
    struct hub_listing *const l = r->out;
    if (l->n >= HUB_FILES_MAX || file->bytes > HUB_BYTES_MAX - l->bytes) {
        return error_set(r->err, U2I_EREMOTE, "%s has more than %d files, or more than %llu GiB",
                         r->what, HUB_FILES_MAX, (unsigned long long)(HUB_BYTES_MAX >> 30));
    }
    if (hub_is_small_file(path) && file->bytes > HUB_SMALL_BYTES_MAX) {
        return error_set(r->err, U2I_EREMOTE, "%s: %s has %llu bytes, over %llu", r->what, path,
                         (unsigned long long)file->bytes, (unsigned long long)HUB_SMALL_BYTES_MAX);
    }
    if (array_reserve(&l->files, &l->cap, l->n + 1, sizeof *l->files) != U2I_OK) {
        return error_oom(r->err);
    }
    struct hub_file *const added = &l->files[l->n];
    *added = *file;
    added->path = str_dup(path, strlen(path));
    if (added->path == NULL) {
        return error_oom(r->err);
    }
    l->n++;
    l->bytes += file->bytes;
    return U2I_OK;
}

/* First look at every entry: what is there, and is it in order? */
static int hub_look_at(struct hub_reading *r, size_t i, const json_t *entry) {
    const char *const type = json_string_value(json_object_get(entry, "type"));
    struct hub_file file;
    if (type == NULL || strcmp(type, "file") != 0) {
        return json_is_object(entry) ? U2I_OK : hub_listing_bad(r, i, "it is not an object");
    }
    U2I_TRY(hub_read_file(r, i, entry, &file));
    const char *const path = json_string_value(json_object_get(entry, "path"));
    r->config = r->config || strcmp(path, HUB_CONFIG) == 0;
    for (size_t f = 0; f < HUB_FORMS; f++) {
        const struct hub_form *const form = hub_form(f);
        r->whole[f] = r->whole[f] || strcmp(path, form->whole) == 0;
        r->index[f] = r->index[f] || strcmp(path, form->index) == 0;
        r->shards[f] += hub_is_shard(form, path);
    }
    return U2I_OK;
}

/* The first form that is there whole. */
static int hub_listing_choose(struct hub_reading *r) {
    if (!r->config) {
        return error_set(r->err, U2I_EEMBED, "%s has no %s: u2i cannot load such a model", r->what,
                         HUB_CONFIG);
    }
    for (size_t f = 0; f < HUB_FORMS; f++) {
        if (r->whole[f] || (r->index[f] && r->shards[f] > 0)) {
            r->form = hub_form(f);
            return U2I_OK;
        }
    }
    return error_set(r->err, U2I_EEMBED, "%s has neither %s nor %s", r->what, hub_form(0)->whole,
                     hub_form(1)->whole);
}

static bool hub_is_needed(const struct hub_reading *r, const char *path) {
    const struct hub_form *const form = r->form;
    return hub_is_small_file(path) ||
           (r->whole[form - hub_form(0)]
                ? strcmp(path, form->whole) == 0
                : strcmp(path, form->index) == 0 || hub_is_shard(form, path));
}

/* One path twice would be one file written by two. */
static bool hub_is_listed(const struct hub_listing *l, const char *path) {
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->files[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

static int hub_take_entry(const struct hub_reading *r, size_t i, const json_t *entry) {
    const char *const type = json_string_value(json_object_get(entry, "type"));
    const char *const path = json_string_value(json_object_get(entry, "path"));
    struct hub_file file;
    if (type == NULL || strcmp(type, "file") != 0 || !hub_is_needed(r, path)) {
        return U2I_OK;
    }
    U2I_TRY(hub_read_file(r, i, entry, &file));
    return hub_is_listed(r->out, path) ? hub_listing_bad(r, i, "a path that was there already")
                                       : hub_take_listed(r, path, &file);
}

int hub_listing_parse(const char *text, size_t n, const char *what, struct hub_listing *out,
                      u2i_error_t *err) {
    struct hub_reading r = {.what = what, .out = out, .err = err};
    json_t *root = NULL;
    u2i_error_t fault;
    *out = (struct hub_listing){0};
    int rc = json_parse_array(text, n, HUB_LISTING_DEPTH, what, &root, &fault);
    if (rc != U2I_OK) { /* not the caller's fault, but the hub's */
        return error_set(err, rc == U2I_EINVAL ? U2I_EREMOTE : rc, "the list of files of %s",
                         fault.msg);
    }
    for (size_t i = 0; rc == U2I_OK && i < json_array_size(root); i++) {
        rc = hub_look_at(&r, i, json_array_get(root, i));
    }
    if (rc == U2I_OK) {
        rc = hub_listing_choose(&r);
    }
    for (size_t i = 0; rc == U2I_OK && i < json_array_size(root); i++) {
        rc = hub_take_entry(&r, i, json_array_get(root, i));
    }
    json_decref(root);
    return rc;
}

void hub_listing_free(struct hub_listing *l) {
    for (size_t i = 0; i < l->n; i++) {
        mem_free(l->files[i].path);
    }
    mem_free(l->files);
    *l = (struct hub_listing){0};
}
