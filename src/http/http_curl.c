/* Finds libcurl as the program's other libraries are found; Debian has it in two builds that are the same to us. It is
 * never unloaded: OpenSSL, below it, does not like to be. */
#include "http/http_curl.h"

#include "base/error.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define HTTP_CURL_OLDEST                                                                           \
    0x075500u /* 7.85: CURLOPT_PROTOCOLS_STR, and a start that is thread-safe */

static int http_curl_open(void **lib, u2i_error_t *err) {
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.4.dylib"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (*lib != NULL) {
            return U2I_OK;
        }
    }
    return error_set(err, U2I_EREMOTE,
                     "URLs need libcurl, which is not installed (Debian: apt install libcurl4)");
}

static int http_curl_load(struct http_curl *table, u2i_error_t *err) {
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
        {"curl_global_init", offsetof(struct http_curl, global_init)},
        {"curl_version_info", offsetof(struct http_curl, version_info)},
        {"curl_easy_init", offsetof(struct http_curl, easy_init)},
        {"curl_easy_cleanup", offsetof(struct http_curl, easy_cleanup)},
        {"curl_easy_reset", offsetof(struct http_curl, easy_reset)},
        {"curl_easy_setopt", offsetof(struct http_curl, easy_setopt)},
        {"curl_easy_getinfo", offsetof(struct http_curl, easy_getinfo)},
        {"curl_easy_perform", offsetof(struct http_curl, easy_perform)},
        {"curl_easy_strerror", offsetof(struct http_curl, easy_strerror)},
        {"curl_slist_append", offsetof(struct http_curl, slist_append)},
        {"curl_slist_free_all", offsetof(struct http_curl, slist_free_all)},
        {"curl_free", offsetof(struct http_curl, free_text)},
        {"curl_url", offsetof(struct http_curl, url)},
        {"curl_url_cleanup", offsetof(struct http_curl, url_cleanup)},
        {"curl_url_set", offsetof(struct http_curl, url_set)},
        {"curl_url_get", offsetof(struct http_curl, url_get)},
    };
    void *lib = NULL;
    U2I_TRY(http_curl_open(&lib, err));
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *const found = dlsym(lib, functions[i].name);
        if (found == NULL) {
            return error_set(err, U2I_EREMOTE, "this libcurl has no %s", functions[i].name);
        }
        /* ISO C knows no conversion from a pointer to a function's; POSIX says that the bytes are right. */
        memcpy((char *)table + functions[i].offset, &found, sizeof found);
    }
    const curl_version_info_data *const v = table->version_info(CURLVERSION_NOW);
    if (v->version_num < HTTP_CURL_OLDEST) {
        return error_set(err, U2I_EREMOTE, "URLs need libcurl 7.85 or later, this one is %s",
                         v->version);
    }
    return table->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
               ? U2I_OK
               : error_set(err, U2I_EREMOTE, "libcurl %s does not start", v->version);
}

int http_curl_get(const struct http_curl **out, u2i_error_t *err) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct http_curl table; /* written once, under the lock, before anyone gets it */
    static bool loaded;
    (void)pthread_mutex_lock(&lock);
    const int rc = loaded ? U2I_OK : http_curl_load(&table, err);
    loaded = rc == U2I_OK;
    (void)pthread_mutex_unlock(&lock);
    *out = rc == U2I_OK ? &table : NULL;
    return rc;
}
