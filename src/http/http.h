/* An HTTP client over libcurl, for two uses: JSON posted to a model's endpoint, and files that are fetched piece by
 * piece. What holds for every call: certificates are checked; a key goes only to the host of the URL, over https (or
 * to this machine), and into no message; redirects are followed only when asked for, never from https to
 * http; time and size have limits; SIGPIPE stays inside. Proxies are those of the usual environment variables, but never
 * for this machine; SSL_CERT_FILE names other certificates to trust. Bodies are not compressed.
 *
 * An answer with any status is a success of http_call(): the caller looks at `status`, and lets
 * http_refused() tell of one that it can't use. Calls from any number of threads at once; connections are kept for the
 * next ones. */
#ifndef U2I_HTTP_HTTP_H
#define U2I_HTTP_HTTP_H

#include "base/buf.h"
#include "u2i.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HOST_MAX      256
#define HTTP_URL_MAX       8192
#define HTTP_KEY_MAX       4096
#define HTTP_REDIRECTS_MAX 5u
#define HTTP_BODY_MAX      ((uint64_t)16 << 20) /* bytes, unless the request says otherwise */
#define HTTP_SAID_MAX      16384u /* bytes that are kept of an answer which is not 2xx */
#define HTTP_HEAD_MAX      65536u /* bytes of one answer's headers */

/* ---- Places ----------------------------------------------------------------------------------- */

struct http_place {
    bool https, local;        /* local: this machine, by its address or as "localhost" */
    char host[HTTP_HOST_MAX]; /* "api.example.com", lower case */
    char host_port
        [HTTP_HOST_MAX]; /* the same with the port where it is an unusual one: for messages */
};
/* Where an absolute http:// or https:// URL leads. U2I_EINVAL: it is none, or carries a user or password. */
int http_place(const char *url, struct http_place *out, u2i_error_t *err);
/* Whether `key` may be sent to that place, and as a header at all (visible ASCII). U2I_EINVAL: no,
 * and why; the key is not in the message. */
int http_key_check(const struct http_place *p, const char *key, u2i_error_t *err);

/* ---- Calls ------------------------------------------------------------------------------------ */

struct http_reply {
    int status; /* of the last answer; 0 = there was none */
    bool
        again; /* after a failure or a status: another try may help (no connection, cut off, 408, 429, 5xx) */
    uint32_t wait_s; /* the server asks to wait that long (Retry-After); 0 = it does not */
    int64_t length;  /* of the body, as announced; -1 = it was not */
    int64_t range_from, range_total; /* of a 206's Content-Range; -1 = not said */
    struct http_place place;         /* who answered last */
    struct buf
        body; /* all of it; where on_body takes a 2xx's, the first HTTP_SAID_MAX bytes of others */
    struct buf first, last; /* headers: for http_header() */
};

struct http_request {
    const char *url;
    const char *const
        *headers; /* "Name: value"; every host of a chain of redirects gets them: nothing secret */
    size_t headers_n;
    const char *key;  /* Authorization: Bearer KEY; NULL = none */
    const char *body; /* JSON: makes it a POST; NULL = GET */
    size_t body_n;
    uint64_t
        from; /* asks for the bytes from here on; a server may send all (status 200) all the same */
    bool follow;         /* redirects of a GET */
    uint32_t connect_ms; /* 0 = 10 s */
    uint32_t timeout_ms; /* for all of it; 0 = no limit */
    uint32_t stall_ms;   /* as long may nothing arrive, rounded up to seconds; 0 = 30 s */
    uint64_t body_max;   /* bytes of this body; 0 = HTTP_BODY_MAX */
    /* Each may be NULL, and what fails it ends the call with that code (and its message): on_head when the
     * headers of the last answer are there, before its body; on_body for each piece of a 2xx's
     * body. on_tick about once a second, and whenever something arrives: non-zero cancels (U2I_ETIMEOUT). */
    int (*on_head)(void *ctx, const struct http_reply *r, u2i_error_t *err);
    int (*on_body)(void *ctx, const void *p, size_t n, u2i_error_t *err);
    int (*on_tick)(void *ctx);
    void *ctx;
};

struct http;
int http_new(struct http **out,
             u2i_error_t *err); /* U2I_ENOMEM, U2I_EINTERNAL (libcurl does not start) */
void http_free(struct http *h); /* NULL is a no-op; no call may be running */

/* `r` need not be set up before; http_reply_free() it after failures too. U2I_EINVAL (the request, named), U2I_EREMOTE (no
 * connection, no trust, cut off, too large, stalled, too many redirects), U2I_ETIMEOUT (timeout_ms ran out, or
 * on_tick), U2I_ENOMEM, or what a callback said. A name that takes long to resolve can exceed timeout_ms. */
int http_call(struct http *h, const struct http_request *q, struct http_reply *r, u2i_error_t *err);
void http_reply_free(struct http_reply *r);
/* The value of a header of the last answer, or of the first one of a chain of redirects; NULL if it
 * has none. Names in any case. */
const char *http_header(const struct http_reply *r, const char *name);
const char *http_header_first(const struct http_reply *r, const char *name);

/* ---- Messages --------------------------------------------------------------------------------- */

/* U2I_EREMOTE "HOST answered 401: SAID", SAID being a short part of `said` (NULL: of the body), as one line
 * without control characters and without anything of the request's key. */
int http_refused(const struct http_request *q, const struct http_reply *r, const char *said,
                 u2i_error_t *err);
/* One line for a message out of n bytes that came from outside: at most `room` - 1 bytes of valid UTF-8, no control
 * or formatting characters, white space as single spaces, stars for all that it shares with `key` (8
 * characters on; NULL = no key). */
void http_clean(const char *s, size_t n, const char *key, char *out, size_t room);

#endif
