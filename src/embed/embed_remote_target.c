/* The endpoint of a remote embedder: its URL taken apart, its name, its key, and the question how long its vectors
 * are. */
#include "embed/embed_remote_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "embed/embed_folder.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define EMBED_REMOTE_MODEL_MAX 255u /* bytes of a model's name */
#define EMBED_REMOTE_PATH      "/embeddings"

/* ---- The URL ---------------------------------------------------------------------------------- */

/* "https://host/v1/?version=2" -> "https://host/v1/embeddings?version=2". */
static int embed_remote_url(const char *base, size_t n, char **out, u2i_error_t *err) {
    struct buf url = {0};
    const char *const query = memchr(base, '?', n);
    size_t path_n = query != NULL ? (size_t)(query - base) : n;
    const size_t rest_n = n - path_n, tail_n = strlen(EMBED_REMOTE_PATH);
    const char *const rest = base + path_n;
    while (path_n > 0 && base[path_n - 1] == '/') {
        path_n--;
    }
    buf_put(&url, base, path_n);
    if (path_n < tail_n || memcmp(base + path_n - tail_n, EMBED_REMOTE_PATH, tail_n) != 0) {
        buf_puts(&url, EMBED_REMOTE_PATH);
    }
    buf_put(&url, rest, rest_n);
    *out = url.data;
    return url.failed ? error_oom(err) : U2I_OK;
}

static int embed_remote_model(const char *name, char **out, u2i_error_t *err) {
    const size_t n = strlen(name);
    if (n == 0 || n > EMBED_REMOTE_MODEL_MAX || !utf8_valid(name, n)) {
        return error_set(err, U2I_EINVAL, "a model's name has 1 to %u bytes of UTF-8",
                         EMBED_REMOTE_MODEL_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7F) {
            return error_set(err, U2I_EINVAL, "model \"%s\" has a space or control character in it",
                             name);
        }
    }
    *out = str_dup(name, n);
    return *out == NULL ? error_oom(err) : U2I_OK;
}

int embed_remote_target_new(const struct embed_remote_options *opt, struct embed_remote_target *t,
                            u2i_error_t *err) {
    const char *const hash = strchr(opt->url, '#');
    *t = (struct embed_remote_target){.dim = opt->dim};
    t->dim_asked = opt->send_dimensions ? opt->dim : 0;
    t->timeout_ms = opt->timeout_ms > 0 ? opt->timeout_ms : EMBED_REMOTE_TIMEOUT_MS;
    if (hash == NULL || hash[1] == '\0') {
        return error_set(err, U2I_EINVAL,
                         "a remote model is URL#NAME, as in https://api.example.com/v1#my-model");
    }
    U2I_TRY(embed_remote_model(hash + 1, &t->model, err));
    U2I_TRY(embed_remote_url(opt->url, (size_t)(hash - opt->url), &t->url, err));
    U2I_TRY(http_place(t->url, &t->place, err));
    if (opt->key != NULL) {
        U2I_TRY(http_key_check(&t->place, opt->key, err));
        t->key = str_dup(opt->key, strlen(opt->key));
        if (t->key == NULL) {
            return error_oom(err);
        }
    }
    return http_new(&t->http, err);
}

void embed_remote_target_free(struct embed_remote_target *t) {
    http_free(t->http);
    embed_remote_key_free(t->key);
    mem_free(t->model);
    mem_free(t->url);
}

/* The port is left out, so that a server that moves to another one is the same. What is too long ends in a hash of all. */
void embed_remote_name(const struct embed_remote_target *t, uint32_t dim, char name[64]) {
    char whole[EMBED_REMOTE_MODEL_MAX + HTTP_HOST_MAX + 2], end[24];
    const int n = snprintf(whole, sizeof whole, "%s@%s", t->model, t->place.host); /* fits */
    size_t end_n = (size_t)snprintf(end, sizeof end, "-%u", dim);
    size_t kept = (size_t)n;
    if (kept + end_n > 63) {
        end_n = (size_t)snprintf(end, sizeof end, "~%08x-%u", (unsigned)hash_bytes(whole, kept, 0),
                                 dim);
        kept = utf8_prefix(whole, kept, 63 - end_n);
    }
    memcpy(name, whole, kept);
    memcpy(name + kept, end, end_n + 1);
}

int embed_remote_dim(const struct embed_remote_options *opt, uint32_t *dim, u2i_error_t *err) {
    static const char *const text = "How long are this model's vectors?";
    const size_t n = strlen(text);
    struct embed_remote_target t;
    struct gate stop = {0};
    atomic_bool stopped = false;
    uint32_t found = opt->dim;
    int rc = embed_remote_target_new(opt, &t, err);
    if (rc == U2I_OK) {
        const struct embed_remote_ask ask = {.texts = &text,
                                             .lengths = &n,
                                             .n = 1,
                                             .until_ns = clock_ticks_ns(clock_system()) +
                                                         (int64_t)t.timeout_ms * 1000000,
                                             .stop = &stop,
                                             .stopped = &stopped};
        rc = embed_remote_ask(&t, &ask, &found, NULL, err);
    }
    embed_remote_target_free(&t);
    *dim = rc == U2I_OK ? found : 0;
    return rc;
}

/* ---- The key ---------------------------------------------------------------------------------- */

void embed_remote_key_free(char *key) {
    if (key != NULL) {
        explicit_bzero(key, strlen(key));
        mem_free(key);
    }
}

/* A copy without the white space around it; what is within is http_key_check()'s business. */
static int embed_remote_key_trim(const char *s, size_t n, const char *from, char **out,
                                 u2i_error_t *err) {
    while (n > 0 && strchr(" \t\r\n", s[n - 1]) != NULL && s[n - 1] != '\0') {
        n--;
    }
    while (n > 0 && strchr(" \t\r\n", *s) != NULL && *s != '\0') {
        s++, n--;
    }
    for (size_t i = 0; i < n; i++) {
        if (s[i] <= ' ' || s[i] > '~') {
            return error_set(err, U2I_EINVAL,
                             "%s: byte %zu of the key is no visible ASCII character", from, i);
        }
    }
    if (n == 0 || n > HTTP_KEY_MAX) {
        return error_set(err, U2I_EINVAL, "%s: a key has 1 to %d bytes, this one %zu", from,
                         HTTP_KEY_MAX, n);
    }
    *out = str_dup(s, n);
    return *out == NULL ? error_oom(err) : U2I_OK;
}

int embed_remote_key(char **out, u2i_error_t *err) {
    const char *const key = getenv("U2I_MODEL_KEY");
    const char *const path = getenv("U2I_MODEL_KEY_FILE");
    *out = NULL;
    if (key != NULL && key[0] != '\0') {
        return embed_remote_key_trim(key, strlen(key), "U2I_MODEL_KEY", out, err);
    }
    if (path == NULL || path[0] == '\0') {
        return U2I_OK;
    }
    char text[HTTP_KEY_MAX + 64]; /* the key and white space around it */
    uint64_t bytes = 0;
    int fd = -1;
    U2I_TRY(embed_folder_open(path, &fd, &bytes, err));
    const ssize_t n = read(fd, text, sizeof text);
    int rc = U2I_OK;
    if (n < 0) {
        rc = error_set(err, U2I_EIO, "cannot read %s: %s", path, strerror(errno));
    } else if (bytes > sizeof text) {
        rc = error_set(err, U2I_EINVAL, "%s is too long for a key", path);
    } else {
        rc = embed_remote_key_trim(text, (size_t)n, path, out, err);
    }
    explicit_bzero(text, sizeof text);
    (void)close(fd); /* only read from */
    return rc;
}
