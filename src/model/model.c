/* The model as an object: made empty, filled by model_fit() or model_load(), asked about its items, freed. */
#include "model/model.h"

#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

const char *model_part_name(enum model_part part) {
    static const char *const names[MODEL_PARTS_N] = {"ease",  "ials",    "sequence", "neighbours",
                                                     "trend", "popular", "content"};
    return (unsigned)part < MODEL_PARTS_N ? names[part] : "";
}

struct model *model_alloc(void) {
    struct model *const m = mem_zalloc(sizeof *m);
    if (m != NULL) {
        m->scale = (struct model_scale){0, 1};
        m->weight_max = 1;
    }
    return m;
}

void model_forget_content(struct model *m) {
    train_map_free(m->map);
    train_map_free(m->map_in);
    mem_free(m->lessons.ks);
    mem_free(m->lessons.codes);
    mem_free(m->lessons.scales);
    mem_free(m->lessons.gains);
    mem_free(m->content_mean);
    mem_free(m->content_spread);
    m->map = m->map_in = NULL;
    m->lessons = (struct model_lessons){0};
    m->content_mean = m->content_spread = NULL;
    m->content_dim = 0;
}

void model_free(struct model *m) {
    if (m == NULL) {
        return;
    }
    model_forget_content(m);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        mem_free(m->spread[p]);
        train_matrix_free(m->sparse[p]);
    }
    mem_free(m->questions);
    mem_free(m->item_users);
    mem_free(m->popular);
    mem_free(m->gram);
    mem_free(m->in);
    mem_free(m->out);
    mem_free(m->index);
    mem_free(m->rows);
    mem_free(m);
}

/* Open addressing by row; a slot holds k. Rows can be sparse, so they don't index a table. */
int model_index(struct model *m) {
    uint64_t slots = 16;
    while (slots < 2 * (uint64_t)m->count) {
        slots *= 2;
    }
    mem_free(m->index);
    m->index = alloc_array(slots, sizeof *m->index);
    if (m->index == NULL) {
        return U2I_ENOMEM;
    }
    m->index_mask = (uint32_t)(slots - 1);
    memset(m->index, 0xff, slots * sizeof *m->index); /* MODEL_NONE */
    for (uint32_t k = 0; k < m->count; k++) {
        uint32_t at = model_hash(m->rows[k]) & m->index_mask;
        while (m->index[at] != MODEL_NONE) {
            at = (at + 1) & m->index_mask;
        }
        m->index[at] = k;
    }
    return U2I_OK;
}

uint32_t model_k(const struct model *m, uint32_t row) {
    uint32_t at = model_hash(row) & m->index_mask;
    while (m->index[at] != MODEL_NONE && m->rows[m->index[at]] != row) {
        at = (at + 1) & m->index_mask;
    }
    return m->index[at];
}

void model_place(struct model *m) {
    static const enum model_part order[] = {MODEL_TREND, MODEL_POPULAR, MODEL_IALS, MODEL_EASE};
    m->dim = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        m->block[order[i]].at = m->dim;
        m->dim += m->block[order[i]].dim;
    }
    m->search_dim = m->block[MODEL_EASE].at + model_lead(m);
}

void model_measure_norms(struct model *m) {
    double most = 0;
    for (uint32_t k = 0; k < m->count; k++) {
        const float *const v = model_vector(m, k);
        double square = 0;
        for (uint32_t d = 0; d < m->search_dim; d++) {
            square += (double)v[d] * (double)v[d];
        }
        most = square > most ? square : most;
    }
    m->norm_max = sqrt(most);
}

static size_t model_map_bytes(const struct train_map *map) {
    return map == NULL ? 0 : ((size_t)map->from + 1) * map->to * sizeof(float);
}

size_t model_bytes(const struct model *m) {
    size_t floats = (size_t)m->count * (m->dim + m->block[MODEL_EASE].dim + 1);
    size_t bytes = sizeof *m + ((size_t)m->count + m->index_mask + 1) * sizeof(uint32_t);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        floats += m->spread[p] == NULL ? 0 : model_spread_size(m, p);
        bytes += m->sparse[p] == NULL ? 0 : train_matrix_bytes(m->sparse[p]);
    }
    floats += m->gram == NULL ? 0 : (size_t)m->block[MODEL_IALS].dim * m->block[MODEL_IALS].dim;
    floats += (size_t)m->content_dim * (m->content_dim + 1);
    floats += (size_t)m->questions_n * m->search_dim;
    bytes += (size_t)m->lessons.n * (m->content_dim + 3 * sizeof(float));
    return bytes + floats * sizeof(float) + model_map_bytes(m->map) + model_map_bytes(m->map_in);
}

/* ---- Items ------------------------------------------------------------------------------------ */

uint32_t model_dim(const struct model *m) {
    return m->dim;
}

uint32_t model_search_dim(const struct model *m) {
    return m->search_dim;
}

/* More directions than these change nothing about who is alike. */
#define MODEL_LIKENESS_DIM 64u

uint32_t model_likeness(const struct model *m, uint32_t *dim) {
    const struct model_block ease = m->block[MODEL_EASE];
    const uint32_t left = m->search_dim - ease.at;
    if (ease.dim == 0) {
        *dim = m->search_dim;
        return 0;
    }
    *dim = left < MODEL_LIKENESS_DIM ? left : MODEL_LIKENESS_DIM;
    return ease.at;
}

uint32_t model_count(const struct model *m) {
    return m->count;
}

uint32_t model_row(const struct model *m, uint32_t k) {
    return m->rows[k];
}

const float *model_out(const struct model *m, uint32_t row) {
    const uint32_t k = model_k(m, row);
    return k == MODEL_NONE ? NULL : model_vector(m, k);
}

const float *model_questions(const struct model *m, uint32_t *n) {
    *n = m->questions_n;
    return m->questions;
}

uint32_t model_content_dim(const struct model *m) {
    return m->content_dim;
}

double model_norm_max(const struct model *m) {
    return m->norm_max;
}

float model_popular(const struct model *m, uint32_t row) {
    const uint32_t k = model_k(m, row);
    return k == MODEL_NONE || m->popular == NULL ? 0 : m->popular[k];
}

struct model_scale model_calibration(const struct model *m) {
    return m->scale;
}
