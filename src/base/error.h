/* How every module reports failure: an int code, and a message written once, where the fault is
 * known, with the value that was wrong ("limit 5000 is over 1000"). Thread-safe: no state. */
#ifndef U2I_BASE_ERROR_H
#define U2I_BASE_ERROR_H

#include "u2i.h"

#define U2I_TRY(expr)                                                                              \
    do {                                                                                           \
        const int try_rc = (expr);                                                                 \
        if (try_rc != U2I_OK) {                                                                    \
            return try_rc;                                                                         \
        }                                                                                          \
    } while (0)

/* Fill `err` (may be NULL) and return `code`. A message that is too long is cut at a character. */
__attribute__((format(printf, 3, 4))) int error_set(u2i_error_t *err, int code, const char *fmt,
                                                    ...);
/* The same with err->offset. */
__attribute__((format(printf, 4, 5))) int error_at(u2i_error_t *err, int code, int32_t offset,
                                                   const char *fmt, ...);
int error_oom(u2i_error_t *err); /* U2I_ENOMEM, "out of memory" */
void error_clear(u2i_error_t *err);

#endif
