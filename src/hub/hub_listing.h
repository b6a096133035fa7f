/* What a hub says a model's files are: the answer of its /api/models/NAME/tree/REVISION, a JSON list. Nothing of it
 * is believed before it is checked. Private to hub/; thread-safe: no state. */
#ifndef U2I_HUB_LISTING_H
#define U2I_HUB_LISTING_H

#include "hub/hub_digest.h"
#include "u2i.h"
#include <stddef.h>
#include <stdint.h>

#define HUB_LISTING_BYTES_MAX ((size_t)16 << 20)   /* of the answer */
#define HUB_SMALL_BYTES_MAX   ((uint64_t)64 << 20) /* of a file beside the weights */
#define HUB_BYTES_MAX         ((uint64_t)64 << 30) /* of a model */
#define HUB_FILES_MAX         300                  /* of a model */

struct hub_file { /* one that is to be fetched */
    char *path;
    uint64_t bytes;
    enum hub_digest_kind kind;
    char sum[HUB_DIGEST_HEX + 1]; /* of its bytes, in small letters */
};
struct hub_listing {
    struct hub_file *files;
    size_t n, cap;
    uint64_t bytes; /* of all of them */
};

/* The files that are needed of the list text[0..n); `what` names the model in messages. U2I_EREMOTE (not such
 * a list, or one with something in it that no hub has; the message says what), U2I_EEMBED (a list of a model
 * that u2i cannot load), U2I_ENOMEM. To be freed after a failure, too. */
int hub_listing_parse(const char *text, size_t n, const char *what, struct hub_listing *out,
                      u2i_error_t *err);
void hub_listing_free(struct hub_listing *l);

#endif
