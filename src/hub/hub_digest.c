/* See hub_digest.h: a shim over OpenSSL's libcrypto. Its functions fail without memory, or where an
 * administrator has forbidden an algorithm. */
#include "hub/hub_digest.h"

#include "base/alloc.h"
#include "base/error.h"
#include <openssl/evp.h>
#include <stdio.h>

struct hub_digest {
    EVP_MD_CTX *evp;
};

static int hub_digest_fail(u2i_error_t *err) {
    return error_set(err, U2I_ENOMEM,
                     "checksums cannot be computed: out of memory, or libcrypto "
                     "does not allow SHA-1 and SHA-256 here");
}

int hub_digest_new(enum hub_digest_kind kind, uint64_t bytes, struct hub_digest **out,
                   u2i_error_t *err) {
    char begin[32];
    int rc = U2I_OK;
    struct hub_digest *const d = mem_zalloc(sizeof *d);
    *out = d;
    if (d == NULL) {
        return error_oom(err);
    }
    d->evp = EVP_MD_CTX_new();
    if (d->evp == NULL ||
        EVP_DigestInit_ex(d->evp, kind == HUB_SHA256 ? EVP_sha256() : EVP_sha1(), NULL) != 1) {
        rc = hub_digest_fail(err);
    } else if (kind == HUB_GIT_SHA1) { /* "blob 12", a NUL, then the file */
        const int n = snprintf(begin, sizeof begin, "blob %llu", (unsigned long long)bytes);
        rc = hub_digest_add(d, begin, (size_t)n + 1, err);
    }
    if (rc != U2I_OK) {
        hub_digest_free(d);
        *out = NULL;
    }
    return rc;
}

int hub_digest_add(struct hub_digest *d, const void *p, size_t n, u2i_error_t *err) {
    return EVP_DigestUpdate(d->evp, p, n) == 1 ? U2I_OK : hub_digest_fail(err);
}

int hub_digest_end(struct hub_digest *d, char *hex, u2i_error_t *err) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(d->evp, sum, &n) != 1 || n > HUB_DIGEST_HEX / 2) {
        return hub_digest_fail(err);
    }
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(hex + (size_t)i * 2, 3, "%02x", sum[i]); /* fits */
    }
    return U2I_OK;
}

void hub_digest_free(struct hub_digest *d) {
    if (d != NULL) {
        EVP_MD_CTX_free(d->evp);
        mem_free(d);
    }
}
