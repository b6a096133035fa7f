/* The checksums by which a hub names the bytes of a file: SHA-256 for large ones, and for small ones the SHA-1
 * that git gives them. One thread at a time. Private to hub/. */
#ifndef U2I_HUB_DIGEST_H
#define U2I_HUB_DIGEST_H

#include "u2i.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HUB_DIGEST_HEX 64 /* digits of the longer one */

enum hub_digest_kind { HUB_SHA256, HUB_GIT_SHA1 };

struct hub_digest;
/* `bytes` is how long the file will be: git's sum begins with it. U2I_ENOMEM. */
int hub_digest_new(enum hub_digest_kind kind, uint64_t bytes, struct hub_digest **out,
                   u2i_error_t *err);
int hub_digest_add(struct hub_digest *d, const void *p, size_t n, u2i_error_t *err);
/* *hex gets the sum in small letters, HUB_DIGEST_HEX + 1 bytes; nothing is to be added after that. */
int hub_digest_end(struct hub_digest *d, char *hex, u2i_error_t *err);
void hub_digest_free(struct hub_digest *d); /* accepts NULL */

#endif
