/* See hub_crypto.h. It is never unloaded: it does not like to be. */
#include "hub/hub_crypto.h"

#include "base/error.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static int hub_crypto_load(struct hub_crypto *table, u2i_error_t *err) {
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
        {"EVP_MD_CTX_new", offsetof(struct hub_crypto, ctx_new)},
        {"EVP_MD_CTX_free", offsetof(struct hub_crypto, ctx_free)},
        {"EVP_sha256", offsetof(struct hub_crypto, sha256)},
        {"EVP_sha1", offsetof(struct hub_crypto, sha1)},
        {"EVP_DigestInit_ex", offsetof(struct hub_crypto, init)},
        {"EVP_DigestUpdate", offsetof(struct hub_crypto, update)},
        {"EVP_DigestFinal_ex", offsetof(struct hub_crypto, final)},
    };
    void *const lib = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        return error_set(err, U2I_EREMOTE,
                         "downloads need OpenSSL 3, which is not installed (Debian: apt install "
                         "libssl3)");
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *const found = dlsym(lib, functions[i].name);
        if (found == NULL) {
            return error_set(err, U2I_EREMOTE, "this libcrypto has no %s", functions[i].name);
        }
        /* ISO C knows no conversion from a pointer to a function's; POSIX says that the bytes are right. */
        memcpy((char *)table + functions[i].offset, &found, sizeof found);
    }
    return U2I_OK;
}

int hub_crypto_get(const struct hub_crypto **out, u2i_error_t *err) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct hub_crypto table; /* written once, under the lock, before anyone gets it */
    static bool loaded;
    (void)pthread_mutex_lock(&lock);
    const int rc = loaded ? U2I_OK : hub_crypto_load(&table, err);
    loaded = rc == U2I_OK;
    (void)pthread_mutex_unlock(&lock);
    *out = rc == U2I_OK ? &table : NULL;
    return rc;
}
