/* Answers of an embeddings endpoint: any bytes.
 *
 * The first byte of an input says how many texts were asked for (1..8, its low three bits), and whether it is known that
 * vectors have two dimensions (the next bit); the rest is the answer.
 *
 * Promises checked: embed_reply_read() ends with U2I_OK or U2I_EREMOTE and a message; vectors are finite, of length one or
 * zeros, and the same whether they were wanted or only checked. What the answer complains of is a string or nothing. */
#include "base/alloc.h"
#include "embed/embed_reply.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_reply_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static void fuzz_reply_vector(const float *v, uint32_t dim) {
    double squares = 0;
    for (uint32_t d = 0; d < dim; d++) {
        fuzz_reply_require(isfinite(v[d]), "values are finite");
        squares += (double)v[d] * (double)v[d];
    }
    fuzz_reply_require(squares == 0 || fabs(squares - 1) < 1e-3, "unit length");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 1) {
        return 0;
    }
    const size_t texts = (data[0] & 7u) + 1;
    const uint32_t expected = (data[0] & 8u) != 0 ? 2 : 0;
    const char *const reply = (const char *)data + 1;
    u2i_error_t err = {0};
    uint32_t dim = expected;
    const int rc = embed_reply_read(reply, n - 1, texts, &dim, NULL, &err);
    fuzz_reply_require(rc == U2I_OK || (rc == U2I_EREMOTE && err.msg[0] != '\0'), "a message");
    if (rc == U2I_OK) {
        fuzz_reply_require(dim >= 1 && dim <= U2I_DIM_MAX && (expected == 0 || dim == expected),
                           "dimensions");
        float *const out = alloc_array(texts, dim * sizeof *out);
        fuzz_reply_require(out != NULL, "memory");
        fuzz_reply_require(embed_reply_read(reply, n - 1, texts, &dim, out, &err) == U2I_OK,
                           "the same again");
        for (size_t i = 0; i < texts; i++) {
            fuzz_reply_vector(out + i * dim, dim);
        }
        mem_free(out);
    }
    char *const said = embed_reply_complaint(reply, n - 1);
    fuzz_reply_require(said == NULL || strlen(said) <= n, "a string of it");
    mem_free(said);
    return 0;
}
