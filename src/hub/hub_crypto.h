/* OpenSSL's libcrypto, loaded when the first checksum is asked for: private to hub/. A program that downloads nothing pays
 * neither the .7 ms nor the 1.5 MB that loading it costs (OpenSSL 3.0 of Debian 12), and runs without it. Thread-safe. */
#ifndef U2I_HUB_CRYPTO_H
#define U2I_HUB_CRYPTO_H

#include "u2i.h"
#include <openssl/evp.h>

struct hub_crypto { /* its functions, typed by its header */
    __typeof__(EVP_MD_CTX_new) *ctx_new;
    __typeof__(EVP_MD_CTX_free) *ctx_free;
    __typeof__(EVP_sha256) *sha256;
    __typeof__(EVP_sha1) *sha1;
    __typeof__(EVP_DigestInit_ex) *init;
    __typeof__(EVP_DigestUpdate) *update;
    __typeof__(EVP_DigestFinal_ex) *final;
};

/* Stays valid for ever. U2I_EREMOTE: it is not installed; asked for again, it is looked for again. */
int hub_crypto_get(const struct hub_crypto **out, u2i_error_t *err);

#endif
