/* The graph's file: any bytes, or a good file with changes, with checksums as they come or matching.
 *
 * The first byte of an input says what it is. Either the rest is a file; or it is a list of changes, four
 * bytes each (place, of 16 bits; value; kind), to a file that this program has written itself, which
 * gets a fuzzer deep into the structure with inputs of some bytes.
 *
 * Promises checked: hnsw_open() ends, and what it lets through is sound (hnsw_validate), answers plain
 * and filtered questions with as many rows as pass, and stays sound over removals, insertions, a
 * repair, and after chunks were settled. */
#include "../tests/hnsw_forge.h"

#include "base/rng.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    FUZZ_CHANGES = 1,   /* flags: the rest is changes */
    FUZZ_BLOCKS = 2,    /* blocks and header get matching checksums */
    FUZZ_VECTORS = 4,   /* vectors too */
    FUZZ_PRODUCT = 8,   /* the good file has metric inner product */
    FUZZ_TURNED = 16,   /* or turned codes */
    FUZZ_DIM_MAX = 128, /* of files that are taken as they are */
    FUZZ_NODES = 40,
    FUZZ_DIM = 4,
    FUZZ_WIDE = 70, /* dimensions of vectors with turned codes */
    FUZZ_KEPT = 56, /* of their codes */
    FUZZ_K = 5
};

enum fuzz_hnsw_kind { FUZZ_PLAIN, FUZZ_INNER, FUZZ_SHORT, FUZZ_KINDS };

static void fuzz_hnsw_require(int condition) {
    if (!condition) {
        abort();
    }
}

static struct hnsw_options fuzz_hnsw_options(uint32_t dim, uint32_t metric, uint32_t links) {
    return (struct hnsw_options){.dim = dim,
                                 .metric = (enum hnsw_metric)metric,
                                 .links = links,
                                 .ef_construction = 12,
                                 .seed = 3};
}

static void fuzz_hnsw_insert(struct hnsw *h, struct rng *rng, uint32_t first, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        float v[FUZZ_DIM_MAX];
        const uint32_t row = first + 7 * i;
        for (uint32_t d = 0; d < h->dim; d++) {
            v[d] = (float)rng_normal(rng);
        }
        fuzz_hnsw_require(h->metric != HNSW_COSINE || vec_normalise(v, h->dim));
        hnsw_remove(h, row);
        fuzz_hnsw_require(hnsw_insert(h, &row, v, 1, NULL, NULL) == U2I_OK);
    }
}

/* Some directions, so that few nodes do. */
static void fuzz_hnsw_turn(struct hnsw *h, struct rng *rng) {
    h->turn.rows = alloc_array((size_t)FUZZ_KEPT * h->dim, 1);
    h->turn.scales = alloc_array(FUZZ_KEPT, sizeof *h->turn.scales);
    fuzz_hnsw_require(h->turn.rows != NULL && h->turn.scales != NULL);
    for (uint32_t i = 0; i < FUZZ_KEPT * h->dim; i++) {
        h->turn.rows[i] = (int8_t)((int)rng_below(rng, 255) - 127);
    }
    for (uint32_t i = 0; i < FUZZ_KEPT; i++) {
        h->turn.scales[i] = 0.001f;
    }
    hnsw_code_size(h, FUZZ_KEPT);
}

static struct bytes fuzz_hnsw_read(const char *path) {
    FILE *const f = fopen(path, "rb");
    struct bytes b = {mem_alloc(1 << 16), 0};
    fuzz_hnsw_require(f != NULL && b.p != NULL);
    b.n = fread(b.p, 1, 1 << 16, f);
    fuzz_hnsw_require(fclose(f) == 0 && b.n < 1 << 16);
    return b;
}

/* A file of this program's own. */
static struct bytes fuzz_hnsw_make(enum fuzz_hnsw_kind kind) {
    char folder[] = "/tmp/u2i-fuzz-XXXXXX";
    char path[64];
    const enum hnsw_metric metric = kind == FUZZ_INNER ? HNSW_INNER_PRODUCT : HNSW_COSINE;
    const struct hnsw_options opt =
        fuzz_hnsw_options(kind == FUZZ_SHORT ? FUZZ_WIDE : FUZZ_DIM, metric, 3);
    const struct hnsw_stamp stamp = {.sequence = 5};
    struct rng rng;
    struct hnsw *h;
    rng_seed(&rng, 8);
    fuzz_hnsw_require(hnsw_new(&opt, &h, NULL) == U2I_OK);
    if (kind == FUZZ_SHORT) {
        fuzz_hnsw_turn(h, &rng);
    }
    fuzz_hnsw_insert(h, &rng, 1, FUZZ_NODES);
    hnsw_remove(h, 8);
    hnsw_remove(h, 71);
    fuzz_hnsw_require(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/graph", folder);
    fuzz_hnsw_require(hnsw_save(h, path, &stamp, NULL, NULL) == U2I_OK);
    hnsw_free(h);
    const struct bytes b = fuzz_hnsw_read(path);
    fuzz_hnsw_require(unlink(path) == 0 && rmdir(folder) == 0);
    return b;
}

/* A copy of the good file of a kind, to be freed. */
static struct bytes fuzz_hnsw_good(enum fuzz_hnsw_kind kind) {
    static struct bytes good[FUZZ_KINDS];
    if (good[kind].p == NULL) {
        good[kind] = fuzz_hnsw_make(kind);
    }
    const struct bytes b = {mem_dup(good[kind].p, good[kind].n), good[kind].n};
    fuzz_hnsw_require(b.p != NULL);
    return b;
}

/* Kinds: a byte is set, or flipped; a word becomes the value, or all ones less it, or is added to. */
static void fuzz_hnsw_change(struct bytes *b, const uint8_t *change) {
    const size_t at = ((size_t)change[0] | (size_t)change[1] << 8) % (b->n - 3);
    uint32_t word;
    memcpy(&word, b->p + at / 4 * 4, sizeof word);
    switch (change[3] % 5) {
    case 0:
        b->p[at] = (char)change[2];
        return;
    case 1:
        b->p[at] = (char)(b->p[at] ^ change[2]);
        return;
    case 2:
        word = change[2];
        break;
    case 3:
        word = UINT32_MAX - change[2];
        break;
    default:
        word += change[2];
    }
    memcpy(b->p + at / 4 * 4, &word, sizeof word);
}

/* The file that the input stands for, to be freed. */
static struct bytes fuzz_hnsw_file(const uint8_t *data, size_t size) {
    const uint8_t flags = data[0];
    struct bytes b;
    if ((flags & FUZZ_CHANGES) != 0) {
        b = fuzz_hnsw_good((flags & FUZZ_PRODUCT) != 0  ? FUZZ_INNER
                           : (flags & FUZZ_TURNED) != 0 ? FUZZ_SHORT
                                                        : FUZZ_PLAIN);
        for (size_t i = 1; i + 4 <= size; i += 4) {
            fuzz_hnsw_change(&b, data + i);
        }
    } else {
        b = (struct bytes){mem_dup(data + 1, size - 1), size - 1};
        fuzz_hnsw_require(b.p != NULL);
    }
    if (b.n >= HNSW_FILE_PAGE && (flags & FUZZ_VECTORS) != 0) {
        forge_vectors(&b);
    }
    if (b.n >= HNSW_FILE_PAGE && (flags & (FUZZ_BLOCKS | FUZZ_VECTORS)) != 0) {
        forge_blocks(&b);
    }
    return b;
}

static int fuzz_hnsw_open(const struct bytes *b, struct hnsw **h) {
    char path[64];
    struct hnsw_options opt = fuzz_hnsw_options(FUZZ_DIM, HNSW_COSINE, 3);
    struct hnsw_stamp stamp;
    u2i_error_t err = {0};
    if (b->n >= HNSW_FILE_PAGE) { /* whatever it says, as far as an owner could say it too */
        const struct hnsw_file_header head = header_of(b);
        const bool sane = head.dim > 0 && head.dim <= FUZZ_DIM_MAX && head.metric <= 1 &&
                          head.links_max <= HNSW_LINKS_MAX;
        opt = sane ? fuzz_hnsw_options(head.dim, head.metric, head.links_max) : opt;
    }
    const int fd = memfd_create("graph", 0);
    fuzz_hnsw_require(fd >= 0 && write(fd, b->p, b->n) == (ssize_t)b->n);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const int rc = hnsw_open(path, &opt, &stamp, h, &err);
    fuzz_hnsw_require(close(fd) == 0 && (rc == U2I_OK || err.msg[0] != '\0'));
    return rc;
}

static uint32_t fuzz_hnsw_passing(const struct hnsw *h, const roaring_bitmap_t *allow,
                                  const roaring_bitmap_t *deny) {
    uint32_t n = 0;
    for (uint32_t node = 0; node < h->slots; node++) {
        const uint32_t row = hnsw_row(h, node);
        n += row != HNSW_NONE && (allow == NULL || roaring_bitmap_contains(allow, row)) &&
             (deny == NULL || !roaring_bitmap_contains(deny, row));
    }
    return n;
}

static void fuzz_hnsw_search(const struct hnsw *h, const roaring_bitmap_t *allow,
                             const roaring_bitmap_t *deny) {
    float v[FUZZ_DIM_MAX] = {0.6f, 0.8f};
    struct hit hits[FUZZ_K];
    const struct hnsw_query q = {.vector = v, .k = FUZZ_K, .ef = 8, .allow = allow, .deny = deny};
    uint32_t n;
    const int rc = hnsw_search(h, &q, hits, &n, NULL, NULL);
    fuzz_hnsw_require(rc == U2I_OK || rc == U2I_ECORRUPT);
    if (rc != U2I_OK) {
        return;
    }
    const uint32_t passing = fuzz_hnsw_passing(h, allow, deny);
    fuzz_hnsw_require(n == (passing < FUZZ_K ? passing : FUZZ_K));
    for (uint32_t i = 0; i < n; i++) {
        fuzz_hnsw_require(hnsw_contains(h, hits[i].row));
        fuzz_hnsw_require(allow == NULL || roaring_bitmap_contains(allow, hits[i].row));
        fuzz_hnsw_require(deny == NULL || !roaring_bitmap_contains(deny, hits[i].row));
        for (uint32_t j = 0; j < i; j++) {
            fuzz_hnsw_require(hits[i].row != hits[j].row);
        }
    }
}

static void fuzz_hnsw_use(struct hnsw *h) {
    struct rng rng;
    roaring_bitmap_t *const some = roaring_bitmap_from_range(0, 200, 3);
    rng_seed(&rng, 1);
    fuzz_hnsw_require(some != NULL && hnsw_validate(h, NULL) == U2I_OK);
    fuzz_hnsw_require(hnsw_unreachable(h) <= h->slots);
    fuzz_hnsw_search(h, NULL, NULL);
    fuzz_hnsw_search(h, some, NULL);
    fuzz_hnsw_search(h, NULL, some);
    for (uint32_t row = 1; row < 7 * FUZZ_NODES; row += 28) {
        hnsw_remove(h, row);
    }
    fuzz_hnsw_insert(h, &rng, 15, 6);
    fuzz_hnsw_require(hnsw_validate(h, NULL) == U2I_OK);
    fuzz_hnsw_require(hnsw_repair(h, NULL, NULL) == U2I_OK);
    while (hnsw_settle(h)) {
    }
    fuzz_hnsw_require(hnsw_validate(h, NULL) == U2I_OK);
    fuzz_hnsw_search(h, NULL, NULL);
    fuzz_hnsw_search(h, some, NULL);
    roaring_bitmap_free(some);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hnsw *h = NULL;
    if (size < 1) {
        return 0;
    }
    struct bytes b = fuzz_hnsw_file(data, size);
    if (fuzz_hnsw_open(&b, &h) == U2I_OK) {
        fuzz_hnsw_use(h);
    }
    hnsw_free(h);
    mem_free(b.p);
    return 0;
}
