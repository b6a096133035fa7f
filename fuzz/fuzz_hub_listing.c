/* A hub's list of a model's files: any bytes.
 *
 * Promises checked: it ends with U2I_OK, or U2I_EREMOTE or U2I_EEMBED and a message; files that come out have paths
 * that stay in their folder, each once, sums of their kind's length, and not more bytes than allowed. */
#include "hub/hub_internal.h"
#include "hub/hub_listing.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_listing_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static void fuzz_listing_check(const struct hub_listing *l) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct hub_file *const file = &l->files[i];
        bytes += file->bytes;
        fuzz_listing_require(hub_is_safe(file->path), "a path stays in its folder");
        fuzz_listing_require(strlen(file->sum) == (file->kind == HUB_SHA256 ? 64 : 40) &&
                                 strspn(file->sum, "0123456789abcdef") == strlen(file->sum),
                             "a sum has its digits");
        for (size_t k = 0; k < i; k++) {
            fuzz_listing_require(strcmp(l->files[k].path, file->path) != 0, "a path comes once");
        }
    }
    fuzz_listing_require(l->n <= HUB_FILES_MAX && bytes == l->bytes && bytes <= HUB_BYTES_MAX,
                         "limits are kept");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct hub_listing l;
    u2i_error_t err = {0};
    const int rc = hub_listing_parse((const char *)data, n, "org/model", &l, &err);
    fuzz_listing_require(rc == U2I_OK || rc == U2I_EREMOTE || rc == U2I_EEMBED, "no other code");
    fuzz_listing_require((rc == U2I_OK) == (err.msg[0] == '\0'), "a message, if it failed");
    if (rc == U2I_OK) {
        fuzz_listing_check(&l);
    }
    hub_listing_free(&l);
    return 0;
}
