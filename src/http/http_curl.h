/* libcurl, loaded when the first URL is asked: private to http/. A program that stays on this machine then pays neither
 * the 6 ms of CPU nor the 6 MB that it and the thirty libraries below it cost to load (libcurl 7.88 of Debian 12), and
 * runs without them being installed. Thread-safe. */
#ifndef U2I_HTTP_HTTP_CURL_H
#define U2I_HTTP_HTTP_CURL_H

#include "u2i.h"
#include <curl/curl.h>

struct http_curl { /* its functions, typed by its header */
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_version_info) *version_info;
    __typeof__(curl_easy_init) *easy_init;
    __typeof__(curl_easy_cleanup) *easy_cleanup;
    __typeof__(curl_easy_reset) *easy_reset;
    __typeof__(curl_easy_setopt) *easy_setopt;
    __typeof__(curl_easy_getinfo) *easy_getinfo;
    __typeof__(curl_easy_perform) *easy_perform;
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
    __typeof__(curl_free) *free_text;
    __typeof__(curl_url) *url;
    __typeof__(curl_url_cleanup) *url_cleanup;
    __typeof__(curl_url_set) *url_set;
    __typeof__(curl_url_get) *url_get;
};

/* Stays valid for ever. U2I_EREMOTE: it is not installed, or too old; asked for again, it is looked for again. */
int http_curl_get(const struct http_curl **out, u2i_error_t *err);

#endif
