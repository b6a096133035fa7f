/* URLs, taken apart by libcurl itself, so that what is checked here is what is asked later. */
#include "http/http_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

#define HTTP_PLACE_USUAL_HTTP  "80"
#define HTTP_PLACE_USUAL_HTTPS "443"

/* 127.0.0.0/8, ::1, and the name that libcurl resolves to them by itself. */
static bool http_place_local(const char *host) {
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == 127;
    }
    return strcmp(host, "[::1]") == 0 || strcasecmp(host, "localhost") == 0;
}

static int http_place_refuse(const char *url, const char *why, u2i_error_t *err) {
    char shown[128];
    /* A password may be in it, before an @. */
    const char *const at = strrchr(url, '@');
    http_clean(at != NULL ? at + 1 : url, strlen(at != NULL ? at + 1 : url), NULL, shown,
               sizeof shown);
    return error_set(err, U2I_EINVAL, "URL \"%s\" %s", shown, why);
}

struct http_place_parts {
    char *scheme, *host, *port, *user, *password;
};

static CURLUcode http_place_split(CURLU *u, const char *url, struct http_place_parts *parts) {
    CURLUcode rc = curl_url_set(u, CURLUPART_URL, url, 0);
    rc = rc != CURLUE_OK ? rc : curl_url_get(u, CURLUPART_SCHEME, &parts->scheme, 0);
    rc = rc != CURLUE_OK ? rc : curl_url_get(u, CURLUPART_HOST, &parts->host, 0);
    rc = rc != CURLUE_OK ? rc : curl_url_get(u, CURLUPART_PORT, &parts->port, CURLU_DEFAULT_PORT);
    /* Either may be missing; not both have to be. */
    const CURLUcode user = curl_url_get(u, CURLUPART_USER, &parts->user, 0);
    const CURLUcode password = curl_url_get(u, CURLUPART_PASSWORD, &parts->password, 0);
    return user == CURLUE_OUT_OF_MEMORY || password == CURLUE_OUT_OF_MEMORY ? CURLUE_OUT_OF_MEMORY
                                                                            : rc;
}

static int http_place_fill(const char *url, const struct http_place_parts *parts,
                           struct http_place *out, u2i_error_t *err) {
    out->https = strcasecmp(parts->scheme, "https") == 0;
    if (!out->https && strcasecmp(parts->scheme, "http") != 0) {
        return http_place_refuse(url, "is neither http:// nor https://", err);
    }
    if (parts->user != NULL || parts->password != NULL) {
        return http_place_refuse(url, "carries a user or a password", err);
    }
    const size_t n = strlen(parts->host);
    if (n == 0 || n + sizeof ":65535" > sizeof out->host) {
        return http_place_refuse(url, "has no host, or a very long one", err);
    }
    for (size_t i = 0; i <= n; i++) {
        const char c = parts->host[i];
        out->host[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    out->local = http_place_local(out->host);
    const char *const usual = out->https ? HTTP_PLACE_USUAL_HTTPS : HTTP_PLACE_USUAL_HTTP;
    memcpy(out->host_port, out->host, n + 1);
    if (strcmp(parts->port, usual) != 0) {
        (void)snprintf(out->host_port + n, sizeof ":65535", ":%.5s", parts->port); /* fits */
    }
    return U2I_OK;
}

int http_place(const char *url, struct http_place *out, u2i_error_t *err) {
    struct http_place_parts parts = {0};
    *out = (struct http_place){0};
    if (strlen(url) > HTTP_URL_MAX) {
        return error_set(err, U2I_EINVAL, "a URL of %zu bytes is over %d", strlen(url),
                         HTTP_URL_MAX);
    }
    CURLU *const u = curl_url();
    const CURLUcode rc = u == NULL ? CURLUE_OUT_OF_MEMORY : http_place_split(u, url, &parts);
    int result = U2I_OK;
    if (rc == CURLUE_OUT_OF_MEMORY) {
        result = error_oom(err);
    } else if (rc != CURLUE_OK) {
        result = http_place_refuse(url, "is not an http:// or https:// one", err);
    } else {
        result = http_place_fill(url, &parts, out, err);
    }
    curl_free(parts.scheme);
    curl_free(parts.host);
    curl_free(parts.port);
    curl_free(parts.user);
    curl_free(parts.password);
    curl_url_cleanup(u);
    return result;
}

bool http_same_place(const struct http_place *a, const struct http_place *b) {
    return a->https == b->https && strcmp(a->host_port, b->host_port) == 0;
}

int http_key_check(const struct http_place *p, const char *key, u2i_error_t *err) {
    const size_t n = strlen(key);
    if (n == 0 || n > HTTP_KEY_MAX) {
        return error_set(err, U2I_EINVAL, "a key has 1 to %d bytes, this one %zu", HTTP_KEY_MAX, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (key[i] <= ' ' || key[i] > '~') {
            return error_set(err, U2I_EINVAL, "byte %zu of the key is no visible ASCII character",
                             i);
        }
    }
    if (!p->https && !p->local) {
        return error_set(
            err, U2I_EINVAL,
            "a key is sent to %s over https only, since anyone could read it on the way",
            p->host_port);
    }
    return U2I_OK;
}
