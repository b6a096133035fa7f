/* What the files of http/ share: one call under way, and what can be said of it. */
#ifndef U2I_HTTP_HTTP_INTERNAL_H
#define U2I_HTTP_HTTP_INTERNAL_H

#include "http/http.h"
#include <curl/curl.h>

#define HTTP_WAIT_MAX ((curl_off_t)86400) /* seconds of a Retry-After that are believed */

struct http_turn {
    const struct http_request *q;
    struct http_reply *reply;
    u2i_error_t *err;
    int rc;           /* what a callback ended the transfer with */
    CURLcode options; /* the first option that could not be set */
    CURL *curl;
    struct curl_slist *headers;
    struct http_place origin; /* of the request's URL: the only one that gets the key */
    uint32_t hop;
    uint32_t left_ms; /* of the whole call; 0 = no limit */
    uint64_t body_max, got;
    bool begun;    /* the headers of the answer are complete */
    bool good;     /* its status is 2xx */
    bool enough;   /* the rest of its body was not wanted */
    bool redirect; /* the call goes on elsewhere */
    char detail[CURL_ERROR_SIZE];
};

bool http_same_place(const struct http_place *a, const struct http_place *b);

/* U2I_EINVAL where a header could end its line, or is one that carries secrets. */
int http_check_headers(const struct http_request *q, u2i_error_t *err);
/* Digits; *end gets where they end (NULL: they have to be all). -1 = no number, or over INT64_MAX. */
int64_t http_number(const char *s, const char **end);
void http_range(struct http_reply *r); /* Content-Range, taken apart */

/* The message for what libcurl ended with, in the words of this module; sets reply->again. */
int http_fault(struct http_turn *t, CURLcode code);
int http_too_large(struct http_turn *t);

#endif
