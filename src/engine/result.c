/* An answer as the caller gets it: everything lies in one arena that the result owns. */
#include "result.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>

struct u2i_result {
    struct arena arena;
    u2i_explain_t why;
    u2i_hit_t *hits;
    size_t n;
};

int result_new(size_t n, const u2i_explain_t *why, u2i_result_t **out, u2i_error_t *err) {
    u2i_result_t *r = mem_zalloc(sizeof(*r));
    *out = NULL;
    if (r == NULL) {
        return error_oom(err);
    }
    r->why = *why;
    r->hits = arena_array(&r->arena, n, sizeof(*r->hits));
    if (r->hits == NULL) {
        engine_result_free(r);
        return error_oom(err);
    }
    *out = r;
    return U2I_OK;
}

/* Copies s (`other` if it is NULL) into *at; false if there is no memory. */
static bool result_copy(u2i_result_t *r, const char **at, const char *s, const char *other) {
    s = s == NULL ? other : s;
    *at = arena_dup(&r->arena, s, strlen(s));
    return *at != NULL;
}

static bool result_copy_reason(u2i_result_t *r, u2i_hit_t *h, const u2i_hit_t *hit) {
    return hit->because == NULL || (result_copy(r, &h->because, hit->because, "") &&
                                    result_copy(r, &h->because_title, hit->because_title, "") &&
                                    result_copy(r, &h->because_action, hit->because_action, ""));
}

static bool result_copy_parts(u2i_result_t *r, u2i_hit_t *h, const u2i_hit_t *hit) {
    u2i_part_t *parts = arena_array(&r->arena, hit->parts_n, sizeof(*parts));
    u2i_pull_t *pulls = arena_array(&r->arena, hit->pulls_n, sizeof(*pulls));
    bool ok = parts != NULL && pulls != NULL;
    for (size_t i = 0; i < hit->parts_n && ok; i++) {
        parts[i].value = hit->parts[i].value;
        ok = result_copy(r, &parts[i].name, hit->parts[i].name, "");
    }
    for (size_t i = 0; i < hit->pulls_n && ok; i++) {
        pulls[i].value = hit->pulls[i].value;
        ok = result_copy(r, &pulls[i].item, hit->pulls[i].item, "") &&
             result_copy(r, &pulls[i].title, hit->pulls[i].title, "") &&
             result_copy(r, &pulls[i].action, hit->pulls[i].action, "");
    }
    h->parts = parts;
    h->pulls = pulls;
    return ok;
}

int result_add(u2i_result_t *r, const u2i_hit_t *hit, u2i_error_t *err) {
    u2i_hit_t *h = &r->hits[r->n];
    *h = *hit;
    if (!result_copy(r, &h->id, hit->id, "") || !result_copy(r, &h->title, hit->title, "") ||
        !result_copy(r, &h->category, hit->category, "") ||
        !result_copy(r, &h->attrs_json, hit->attrs_json, "{}") || !result_copy_reason(r, h, hit) ||
        !result_copy_parts(r, h, hit)) {
        return error_oom(err);
    }
    r->n++;
    return U2I_OK;
}

size_t engine_result_count(const u2i_result_t *r) {
    return r == NULL ? 0 : r->n;
}

const u2i_hit_t *engine_result_hit(const u2i_result_t *r, size_t i) {
    return r == NULL || i >= r->n ? NULL : &r->hits[i];
}

const u2i_explain_t *engine_result_explain(const u2i_result_t *r) {
    return r == NULL ? NULL : &r->why;
}

void engine_result_free(u2i_result_t *r) {
    if (r != NULL) {
        arena_free(&r->arena);
        mem_free(r);
    }
}
