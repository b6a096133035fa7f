/* Vectors of texts that belong to nothing in the store, for callers who want to see or use what its model makes. */
#include "engine_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "vec/vec.h"

int engine_embed(struct engine *e, const u2i_embedding_t *what, u2i_error_t *err) {
    const uint32_t dim = e->store->dim;
    if (what->dim != dim) {
        return error_set(err, U2I_EINVAL, "dim is %u, the store's vectors have %u", what->dim, dim);
    }
    if (what->n == 0) {
        return U2I_OK;
    }
    U2I_TRY(engine_follow(e, err));
    struct embed_text *const texts = alloc_array(what->n, sizeof *texts);
    if (texts == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < what->n; i++) {
        const u2i_text_t *const t = &what->texts[i];
        texts[i] = (struct embed_text){t->title, t->category, t->text, t->query != 0};
    }
    const int rc = embedding_run(e, texts, what->n, what->vectors, NULL, err);
    mem_free(texts);
    return rc;
}
