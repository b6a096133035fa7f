/* A model as bytes. All numbers little-endian, floats and doubles by their IEEE 754 bits; no padding:
 *
 *   magic "u2imodl2", the last byte being the format
 *   u32   count, dim of each block (MODEL_PARTS_N), content_dim, dims of the two maps, figures
 *   f64   weight of each part, taste and order (power, half-life, floor), weight_max, a0, lambda, ials_items,
 *         intercept and slope of the calibration
 *   u32   rows[count], ascending
 *   f32   out, in, spread of each block, gram, popular
 *   per sparse part: u32 there is one; if so u64 entries, u32 length of each row, u32 ids, f32 values
 *   u32 questions, f32 what they are searched by
 *   content, if content_dim > 0: f32 mean, spread, then the maps: f64 ridge, f32 w, b; then u32 lessons, u32 ks,
 *         f32 scales, gains, i8 codes
 *   figures: 40 bytes of name, f64
 *
 * Reading checks everything: sizes against what is left before anything is allocated, order and range of every
 * index, that every float is finite. Bytes that pass can't make a question crash, whoever wrote them.
 * The store beneath has a checksum of its own. */
#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <math.h>

static const char file_magic[8] = {'u', '2', 'i', 'm', 'o', 'd', 'l', '2'};
#define FILE_DIM_MAX 65536u

/* ---- Writing ---------------------------------------------------------------------------------- */

static void file_put(struct buf *out, uint64_t x, size_t bytes) {
    unsigned char le[8];
    for (size_t i = 0; i < bytes; i++) {
        le[i] = (unsigned char)(x >> (8 * i));
    }
    buf_put(out, le, bytes);
}

static void file_put_f64(struct buf *out, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    file_put(out, bits, sizeof bits);
}

#define FILE_PIECE 1024u

/* Values of 4 bytes, floats by their bits; p may be NULL if n is 0. */
static void file_put_words(struct buf *out, const void *p, size_t n) {
    unsigned char le[FILE_PIECE * 4];
    const unsigned char *const from = p;
    for (size_t done = 0; done < n; done += FILE_PIECE) {
        const size_t piece = n - done < FILE_PIECE ? n - done : FILE_PIECE;
        for (size_t i = 0; i < piece; i++) {
            uint32_t x;
            memcpy(&x, from + (done + i) * 4, sizeof x);
            le[4 * i] = (unsigned char)x;
            le[4 * i + 1] = (unsigned char)(x >> 8);
            le[4 * i + 2] = (unsigned char)(x >> 16);
            le[4 * i + 3] = (unsigned char)(x >> 24);
        }
        buf_put(out, le, piece * 4);
    }
}

static void file_put_sparse(struct buf *out, const struct train_matrix *x) {
    file_put(out, x != NULL, 4);
    if (x == NULL) {
        return;
    }
    file_put(out, x->starts[x->rows], 8);
    for (uint32_t r = 0; r < x->rows; r++) {
        file_put(out, x->starts[r + 1] - x->starts[r], 4);
    }
    file_put_words(out, x->ids, x->starts[x->rows]);
    file_put_words(out, x->values, x->starts[x->rows]);
}

static void file_put_map(struct buf *out, const struct train_map *map) {
    if (map != NULL) {
        file_put_f64(out, map->ridge);
        file_put_words(out, map->w, (size_t)map->from * map->to);
        file_put_words(out, map->b, map->to);
    }
}

static void file_put_recency(struct buf *out, const struct model_recency *r) {
    file_put_f64(out, r->rank_power);
    file_put_f64(out, r->half_life_s);
    file_put_f64(out, r->floor);
}

static void file_put_head(struct buf *out, const struct model *m) {
    buf_put(out, file_magic, sizeof file_magic);
    file_put(out, m->count, 4);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        file_put(out, m->block[p].dim, 4);
    }
    file_put(out, m->content_dim, 4);
    file_put(out, m->map == NULL ? 0 : m->map->to, 4);
    file_put(out, m->map_in == NULL ? 0 : m->map_in->to, 4);
    file_put(out, m->figures_n, 4);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        file_put_f64(out, (double)m->weight[p]);
    }
    file_put_recency(out, &m->taste);
    file_put_recency(out, &m->order);
    file_put_f64(out, m->weight_max);
    file_put_f64(out, m->a0);
    file_put_f64(out, m->lambda);
    file_put_f64(out, (double)m->ials_items);
    file_put_f64(out, m->scale.intercept);
    file_put_f64(out, m->scale.slope);
}

int model_save(const struct model *m, struct buf *out, u2i_error_t *err) {
    const size_t ials = m->block[MODEL_IALS].dim;
    file_put_head(out, m);
    file_put_words(out, m->rows, m->count);
    file_put_words(out, m->out, (size_t)m->count * m->dim);
    file_put_words(out, m->in, (size_t)m->count * m->block[MODEL_EASE].dim);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        file_put_words(out, m->spread[p], model_spread_size(m, p));
    }
    file_put_words(out, m->gram, ials * ials);
    file_put_words(out, m->popular, m->count);
    file_put_sparse(out, m->sparse[MODEL_SEQUENCE]);
    file_put_sparse(out, m->sparse[MODEL_NEIGHBOURS]);
    file_put(out, m->questions_n, 4);
    file_put_words(out, m->questions, (size_t)m->questions_n * m->search_dim);
    if (m->content_dim > 0) {
        file_put_words(out, m->content_mean, m->content_dim);
        file_put_words(out, m->content_spread, (size_t)m->content_dim * m->content_dim);
        file_put_map(out, m->map);
        file_put_map(out, m->map_in);
        file_put(out, m->lessons.n, 4);
        file_put_words(out, m->lessons.ks, m->lessons.n);
        file_put_words(out, m->lessons.scales, m->lessons.n);
        file_put_words(out, m->lessons.gains, m->lessons.n);
        buf_put(out, m->lessons.codes, (size_t)m->lessons.n * m->content_dim);
    }
    for (uint32_t i = 0; i < m->figures_n; i++) {
        char name[sizeof m->figures[i].name] = {0};
        memcpy(name, m->figures[i].name, strlen(m->figures[i].name));
        buf_put(out, name, sizeof name);
        file_put_f64(out, m->figures[i].value);
    }
    return out->failed ? error_oom(err) : U2I_OK;
}

/* ---- Reading ---------------------------------------------------------------------------------- */

struct file_in {
    const unsigned char *at, *end;
    int rc; /* the first failure sticks */
    struct {
        uint32_t map, map_in;
    } to;
};

static size_t file_left(const struct file_in *in) {
    return (size_t)(in->end - in->at);
}

static void file_fail(struct file_in *in, int rc) {
    in->rc = in->rc == U2I_OK ? rc : in->rc;
    in->at = in->end;
}

static uint64_t file_get(struct file_in *in, size_t bytes) {
    uint64_t x = 0;
    if (file_left(in) < bytes) {
        file_fail(in, U2I_ECORRUPT);
        return 0;
    }
    for (size_t i = bytes; i > 0; i--) {
        x = x << 8 | in->at[i - 1];
    }
    in->at += bytes;
    return x;
}

/* A number within [least, most]. */
static uint32_t file_get_u32(struct file_in *in, uint32_t least, uint32_t most) {
    const uint32_t x = (uint32_t)file_get(in, 4);
    if (x < least || x > most) {
        file_fail(in, U2I_ECORRUPT);
        return least;
    }
    return x;
}

static double file_get_f64(struct file_in *in, double least, double most) {
    const uint64_t bits = file_get(in, 8);
    double x;
    memcpy(&x, &bits, sizeof x);
    if (!(x >= least && x <= most)) { /* NaN is neither */
        file_fail(in, U2I_ECORRUPT);
        return least;
    }
    return x;
}

/* n values of 4 bytes in memory of their own; NULL and in->rc if there are fewer, or no memory. */
static void *file_get_words(struct file_in *in, size_t n) {
    if (n > file_left(in) / 4) {
        file_fail(in, U2I_ECORRUPT);
        return NULL;
    }
    uint32_t *const words = alloc_array(n, sizeof *words);
    if (words == NULL) {
        file_fail(in, U2I_ENOMEM);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char *const p = in->at + 4 * i;
        words[i] =
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    in->at += 4 * n;
    return words;
}

static float *file_get_floats(struct file_in *in, size_t n) {
    float *const floats = file_get_words(in, n);
    if (floats != NULL && !vec_finite(floats, n)) {
        file_fail(in, U2I_ECORRUPT);
    }
    return floats;
}

/* Row lengths -> starts; false if they don't add up. */
static bool file_get_starts(struct file_in *in, struct train_matrix *x, uint64_t n) {
    x->starts[0] = 0;
    for (uint32_t r = 0; r < x->rows; r++) {
        x->starts[r + 1] = x->starts[r] + file_get(in, 4);
    }
    return in->rc == U2I_OK && x->starts[x->rows] == n;
}

static bool file_sparse_holds(const struct train_matrix *x) {
    for (uint32_t r = 0; r < x->rows; r++) {
        for (uint64_t e = x->starts[r]; e < x->starts[r + 1]; e++) {
            if (x->ids[e] >= x->cols || !(x->values[e] > 0) ||
                (e > x->starts[r] && x->ids[e] <= x->ids[e - 1])) {
                return false;
            }
        }
    }
    return true;
}

static struct train_matrix *file_get_sparse(struct file_in *in, uint32_t count) {
    if (file_get_u32(in, 0, 1) == 0) {
        return NULL;
    }
    const uint64_t n = file_get(in, 8);
    struct train_matrix *const x = mem_zalloc(sizeof *x);
    if (in->rc != U2I_OK || n > file_left(in) / 8 || count > file_left(in) / 4 || x == NULL) {
        file_fail(in, x == NULL ? U2I_ENOMEM : U2I_ECORRUPT);
        mem_free(x);
        return NULL;
    }
    x->rows = x->cols = count;
    x->starts = alloc_array((size_t)count + 1, sizeof *x->starts);
    if (x->starts == NULL) {
        file_fail(in, U2I_ENOMEM);
    } else if (!file_get_starts(in, x, n)) {
        file_fail(in, U2I_ECORRUPT);
    }
    x->ids = file_get_words(in, in->rc == U2I_OK ? n : 0);
    x->values = file_get_floats(in, in->rc == U2I_OK ? n : 0);
    if (in->rc == U2I_OK && !file_sparse_holds(x)) {
        file_fail(in, U2I_ECORRUPT);
    }
    return x;
}

static struct train_map *file_get_map(struct file_in *in, uint32_t from, uint32_t to) {
    struct train_map *const map = to == 0 ? NULL : mem_zalloc(sizeof *map);
    if (map == NULL) {
        if (to != 0) {
            file_fail(in, U2I_ENOMEM);
        }
        return NULL;
    }
    map->from = from;
    map->to = to;
    map->ridge = file_get_f64(in, 0, 1e300);
    map->w = file_get_floats(in, (size_t)from * to);
    map->b = file_get_floats(in, to);
    return map;
}

static struct model_recency file_get_recency(struct file_in *in) {
    const double power = file_get_f64(in, 0, 8);
    const double half_life_s = file_get_f64(in, 1, 1e15);
    const double least = file_get_f64(in, 1e-6, 1);
    return (struct model_recency){power, half_life_s, least};
}

static void file_get_head(struct file_in *in, struct model *m) {
    const size_t name = sizeof file_magic - 1; /* the last byte is the format */
    if (file_left(in) < sizeof file_magic || memcmp(in->at, file_magic, name) != 0) {
        file_fail(in, U2I_ECORRUPT);
        return;
    }
    if (in->at[name] != (unsigned char)file_magic[name]) {
        file_fail(in, U2I_EVERSION);
        return;
    }
    in->at += sizeof file_magic;
    m->count = file_get_u32(in, 1, UINT32_MAX - 1);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        const uint32_t most = p == MODEL_EASE || p == MODEL_IALS ? FILE_DIM_MAX : 1;
        m->block[p].dim = file_get_u32(in, 0, model_is_dense(p) ? most : 0);
    }
    model_place(m);
    m->content_dim = file_get_u32(in, 0, FILE_DIM_MAX);
    const uint32_t predicted = m->search_dim - model_predicted_at(m);
    in->to.map = file_get_u32(in, 0, predicted);
    in->to.map_in = file_get_u32(in, 0, model_lead(m));
    if (in->to.map != (m->content_dim > 0 ? predicted : 0) ||
        in->to.map_in != (m->content_dim > 0 ? model_lead(m) : 0)) {
        file_fail(in, U2I_ECORRUPT);
    }
    m->figures_n = file_get_u32(in, 0, MODEL_FIGURES_MAX);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        m->weight[p] = (float)file_get_f64(in, 0, 1e6);
    }
    m->taste = file_get_recency(in);
    m->order = file_get_recency(in);
    m->weight_max = file_get_f64(in, 1e-9, 1);
    m->a0 = file_get_f64(in, 0, 1e9);
    m->lambda = file_get_f64(in, 0, 1e30);
    m->ials_items = (uint64_t)file_get_f64(in, 0, UINT32_MAX);
    m->scale.intercept = file_get_f64(in, -1e6, 1e6);
    m->scale.slope = file_get_f64(in, 1e-9, 1e6);
}

static void file_get_rows(struct file_in *in, struct model *m) {
    m->rows = file_get_words(in, m->count);
    for (uint32_t k = 0; k < m->count && m->rows != NULL; k++) {
        if (m->rows[k] >= MODEL_NONE || (k > 0 && m->rows[k] <= m->rows[k - 1])) {
            file_fail(in, U2I_ECORRUPT);
            return;
        }
    }
    if (in->rc == U2I_OK && model_index(m) != U2I_OK) {
        file_fail(in, U2I_ENOMEM);
    }
}

/* Codes are anything but -128, which the kernels can't take. */
static void file_get_codes(struct file_in *in, struct model_lessons *l, size_t n) {
    if (file_left(in) < n) {
        file_fail(in, U2I_ECORRUPT);
        return;
    }
    l->codes = mem_dup(in->at, n);
    for (size_t i = 0; i < n && l->codes != NULL; i++) {
        l->codes[i] = l->codes[i] == INT8_MIN ? -INT8_MAX : l->codes[i];
    }
    in->at += n;
    if (l->codes == NULL) {
        file_fail(in, U2I_ENOMEM);
    }
}

static void file_get_lessons(struct file_in *in, struct model *m) {
    struct model_lessons *const l = &m->lessons;
    l->n = file_get_u32(in, 0, m->count);
    l->ks = file_get_words(in, l->n);
    l->scales = file_get_floats(in, l->n);
    l->gains = file_get_floats(in, l->n);
    file_get_codes(in, l, (size_t)l->n * m->content_dim);
    for (uint32_t i = 0; i < l->n && in->rc == U2I_OK; i++) {
        if (l->ks[i] >= m->count) {
            file_fail(in, U2I_ECORRUPT);
        }
    }
}

static void file_get_figures(struct file_in *in, struct model *m) {
    for (uint32_t i = 0; i < m->figures_n && in->rc == U2I_OK; i++) {
        struct model_figure *const f = &m->figures[i];
        if (file_left(in) < sizeof f->name || in->at[sizeof f->name - 1] != 0) {
            file_fail(in, U2I_ECORRUPT);
            return;
        }
        memcpy(f->name, in->at, sizeof f->name);
        in->at += sizeof f->name;
        f->value = file_get_f64(in, -1e300, 1e300);
    }
}

static void file_get_model(struct file_in *in, struct model *m) {
    file_get_head(in, m);
    const size_t ease = m->block[MODEL_EASE].dim;
    const size_t ials = m->block[MODEL_IALS].dim;
    file_get_rows(in, m);
    m->out = file_get_floats(in, (size_t)m->count * m->dim);
    m->in = file_get_floats(in, (size_t)m->count * ease);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        const size_t size = model_spread_size(m, p);
        m->spread[p] = size == 0 ? NULL : file_get_floats(in, size);
    }
    m->gram = ials == 0 ? NULL : file_get_floats(in, ials * ials);
    m->popular = file_get_floats(in, m->count);
    m->sparse[MODEL_SEQUENCE] = file_get_sparse(in, m->count);
    m->sparse[MODEL_NEIGHBOURS] = file_get_sparse(in, m->count);
    m->questions_n = file_get_u32(in, 0, MODEL_QUESTIONS_MAX);
    m->questions = file_get_floats(in, (size_t)m->questions_n * m->search_dim);
    if (m->content_dim > 0) {
        m->content_mean = file_get_floats(in, m->content_dim);
        m->content_spread = file_get_floats(in, (size_t)m->content_dim * m->content_dim);
        m->map = file_get_map(in, m->content_dim, in->to.map);
        m->map_in = file_get_map(in, m->content_dim, in->to.map_in);
        file_get_lessons(in, m);
    }
    file_get_figures(in, m);
    if (in->at != in->end) {
        file_fail(in, U2I_ECORRUPT);
    }
}

int model_load(const void *bytes, size_t n, struct model **out, u2i_error_t *err) {
    struct file_in in = {.at = bytes, .end = (const unsigned char *)bytes + n};
    struct model *const m = model_alloc();
    *out = NULL;
    if (m == NULL) {
        return error_oom(err);
    }
    file_get_model(&in, m);
    if (in.rc == U2I_OK) {
        model_measure_norms(m);
        *out = m;
        return U2I_OK;
    }
    model_free(m);
    switch (in.rc) {
    case U2I_ENOMEM:
        return error_oom(err);
    case U2I_EVERSION:
        return error_set(err, U2I_EVERSION,
                         "the model was made by another version of u2i: train anew");
    default:
        return error_set(err, U2I_ECORRUPT, "the %zu bytes of the model are damaged", n);
    }
}
