/* The questions of a check, asked once: every part's score of every item is worked out for each question, through
 * model_user_new() as in service, and what could come into a list under some weights is kept: the best of each part
 * and the best of their sum with the default weights. Weighing anew is then a few thousand additions a question.
 *
 * A model for the check has no spreads, which are dear to work out: all scores are here to be measured.
 *
 * Items are taken in tiles that stay in the second-level cache while all questions of a block are asked, so that the
 * kernels run at the speed of the cache. A block is one task. */
#include "base/alloc.h"
#include "base/error.h"
#include "model/model_internal.h"
#include "vec/vec.h"
#include <assert.h>
#include <math.h>

#define EXAM_BLOCK     16u
#define EXAM_TILE      64u
#define EXAM_PART_BEST 150u /* about as many are kept of each part */
#define EXAM_SUM_BEST  300u /* and of the sum with default weights */
#define EXAM_KEPT_MAX  (2 * (EXAM_PART_BEST * MODEL_PARTS_N + EXAM_SUM_BEST))
#define EXAM_BINS      1024u
#define EXAM_FLOATS    (UINT32_C(1) << 24) /* scores of a block at once: 64 MiB a thread */

struct exam_asking {
    const struct model *m;
    const struct model_events *ev;
    const struct model_check_plan *plan;
    const struct model_round *round;
    struct model_exam *exam;
    struct model_scored *list; /* of the round's cases */
    uint32_t block, items;
    int parts[MODEL_PARTS_N]; /* those that the model has */
    uint32_t parts_n;
};

struct exam_block { /* scratch of a task */
    struct model_user *users[EXAM_BLOCK];
    struct arena arena;
    float *planes;    /* [block][parts_n][count] */
    uint32_t *marks;  /* [count]: who was marked last */
    uint32_t *truths; /* [items]: the same for rows to be guessed */
    struct model_event *events;
    uint32_t *best; /* [2 * EXAM_SUM_BEST] */
};

/* ---- Asking ----------------------------------------------------------------------------------- */

/* The newest events of [first, end) that want something, newest first; returns how many. */
static size_t exam_history(const struct model_events *ev, size_t first, size_t end,
                           struct model_event *out) {
    size_t n = 0;
    for (size_t e = end; e > first && n < MODEL_WINDOW; e--) {
        const struct train_event *const from = &ev->list[e - 1];
        if (from->weight > 0) {
            out[n++] = (struct model_event){from->time_ms, from->item, from->weight};
        }
    }
    return n;
}

static int exam_user_new(const struct exam_asking *a, struct exam_block *b, uint32_t i,
                         const struct model_case *c) {
    const struct model_question q = {.events = b->events,
                                     .n = exam_history(a->ev, c->first, c->cut, b->events)};
    return model_user_new(a->m, &q, &b->arena, &b->users[i], NULL);
}

static float *exam_plane(const struct exam_asking *a, const struct exam_block *b, uint32_t i,
                         uint32_t part) {
    return b->planes + ((size_t)i * a->parts_n + part) * a->m->count;
}

static void exam_tile(const struct exam_asking *a, const struct exam_block *b, uint32_t n,
                      uint32_t first) {
    const struct model *const m = a->m;
    const uint32_t rows = m->count - first < EXAM_TILE ? m->count - first : EXAM_TILE;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t p = 0; p < a->parts_n && b->users[i] != NULL; p++) {
            const struct model_block at = m->block[a->parts[p]];
            if (at.dim > 0) {
                vec_get()->dot_rows(b->users[i]->query + at.at, model_vector(m, first) + at.at,
                                    m->dim, rows, at.dim, exam_plane(a, b, i, p) + first);
            }
        }
    }
}

/* A dense part's scores over their spread, as model_user_new() divides queries where it knows the spread. */
static void exam_divide(float *plane, uint32_t count) {
    double sum = 0;
    double squares = 0;
    for (uint32_t k = 0; k < count; k++) {
        sum += (double)plane[k];
        squares += (double)plane[k] * (double)plane[k];
    }
    const double mean = sum / count;
    const double spread = sqrt(fmax(squares / count - mean * mean, 0));
    vec_get()->scale(plane, spread > MODEL_SPREAD_MIN ? (float)(1 / spread) : 0.0f, count);
}

static void exam_finish(const struct exam_asking *a, const struct exam_block *b, uint32_t i) {
    for (uint32_t p = 0; p < a->parts_n; p++) {
        const int part = a->parts[p];
        const struct model_sums *const s = &b->users[i]->sums[part];
        float *const plane = exam_plane(a, b, i, p);
        if (a->m->block[part].dim > 0) {
            exam_divide(plane, a->m->count);
            continue;
        }
        memset(plane, 0, a->m->count * sizeof *plane);
        for (uint32_t j = 0; s->values != NULL && j < s->n; j++) {
            plane[model_sums_key(s, j)] = b->users[i]->scale[part] * s->values[j];
        }
    }
}

/* ---- Keeping ---------------------------------------------------------------------------------- */

/* The about `max` best unmarked items of a plane, into b->kept; returns how many, at most twice as many. Scores are
 * counted in bins of equal width, and all that lie in the topmost bins are taken: which of two near the
 * edge comes in makes no difference, and a heap took ten times as long. */
static uint32_t exam_best(const struct exam_block *b, const float *plane, uint32_t count,
                          uint32_t stamp, uint32_t max) {
    uint32_t bins[EXAM_BINS + 1] = {0};
    float low = plane[0];
    float high = plane[0];
    for (uint32_t k = 1; k < count; k++) {
        low = plane[k] < low ? plane[k] : low;
        high = plane[k] > high ? plane[k] : high;
    }
    const float scale = high > low ? (float)EXAM_BINS / (high - low) : 0;
    for (uint32_t k = 0; k < count; k++) {
        bins[(uint32_t)((plane[k] - low) * scale)] += b->marks[k] < stamp;
    }
    uint32_t edge = EXAM_BINS + 1;
    for (uint32_t above = 0; edge > 0 && above < max;) {
        above += bins[--edge];
    }
    uint32_t n = 0;
    for (uint32_t k = 0; k < count && n < 2 * max; k++) {
        if ((uint32_t)((plane[k] - low) * scale) >= edge && b->marks[k] < stamp) {
            b->best[n++] = k;
        }
    }
    return n;
}

/* Marks: stamp + 1 = touched by the user, stamp = kept. */
static uint32_t exam_keep(const struct exam_block *b, uint32_t best, uint32_t stamp, uint32_t *kept,
                          uint32_t n) {
    for (uint32_t i = 0; i < best; i++) {
        b->marks[b->best[i]] = stamp;
        kept[n++] = b->best[i];
    }
    return n;
}

static int exam_compare(const void *pa, const void *pb) {
    const uint32_t a = *(const uint32_t *)pa;
    const uint32_t b = *(const uint32_t *)pb;
    return (a > b) - (a < b);
}

/* Candidates of question i, ascending. */
static uint32_t exam_candidates(const struct exam_asking *a, const struct exam_block *b, uint32_t i,
                                uint32_t stamp, uint32_t *kept) {
    const uint32_t count = a->m->count;
    float *const sum = b->planes + (size_t)a->block * a->parts_n * count;
    uint32_t n = 0;
    memset(sum, 0, count * sizeof *sum);
    for (uint32_t p = 0; p < a->parts_n; p++) {
        vec_get()->axpy(model_default_weights[a->parts[p]], exam_plane(a, b, i, p), sum, count);
    }
    n = exam_keep(b, exam_best(b, sum, count, stamp, EXAM_SUM_BEST), stamp, kept, n);
    for (uint32_t p = 0; p < a->parts_n; p++) {
        const float *const plane = exam_plane(a, b, i, p);
        n = exam_keep(b, exam_best(b, plane, count, stamp, EXAM_PART_BEST), stamp, kept, n);
    }
    qsort(kept, n, sizeof *kept, exam_compare);
    return n;
}

/* What is to be guessed, each item once: s->truths gets how many, b->truths[row] the stamp. */
static void exam_truths(const struct exam_asking *a, const struct exam_block *b,
                        const struct model_case *c, uint32_t stamp, struct model_scored *s) {
    for (size_t e = c->first; e < c->end; e++) {
        const struct train_event *const ev = &a->ev->list[e];
        if (e < c->cut) {
            b->truths[ev->item] = stamp + 1; /* touched before: nothing to guess */
        } else if (ev->weight >= a->plan->positive && b->truths[ev->item] < stamp) {
            b->truths[ev->item] = stamp;
            s->truths++;
        }
    }
}

static int exam_keep_scores(const struct exam_asking *a, const struct exam_block *b, uint32_t i,
                            uint32_t stamp, struct model_scored *s) {
    uint32_t kept[EXAM_KEPT_MAX];
    const uint32_t n = exam_candidates(a, b, i, stamp, kept);
    s->scores = alloc_array((size_t)n * MODEL_PARTS_N, sizeof *s->scores);
    s->hits = alloc_array(n, sizeof *s->hits);
    if (s->scores == NULL || s->hits == NULL) {
        return U2I_ENOMEM;
    }
    memset(s->scores, 0, (size_t)n * MODEL_PARTS_N * sizeof *s->scores);
    s->n = n;
    for (uint32_t c = 0; c < n; c++) {
        for (uint32_t p = 0; p < a->parts_n; p++) {
            s->scores[(size_t)a->parts[p] * n + c] = exam_plane(a, b, i, p)[kept[c]];
        }
        if (b->truths[a->m->rows[kept[c]]] == stamp) {
            s->hits[s->hits_n++] = c;
        }
    }
    return U2I_OK;
}

static int exam_question(const struct exam_asking *a, const struct exam_block *b, uint32_t i,
                         uint32_t number) {
    const struct model_case *const c = &a->round->cases[number];
    struct model_scored *const s = &a->list[number];
    const uint32_t stamp = 2 * i + 2; /* marks begin at 0 */
    for (size_t e = c->first; e < c->cut; e++) {
        const uint32_t k = model_k(a->m, a->ev->list[e].item);
        if (k != MODEL_NONE) {
            b->marks[k] = stamp + 1;
        }
    }
    exam_truths(a, b, c, stamp, s);
    s->ideal = model_ideal(s->truths);
    if (b->users[i] == NULL) {
        return U2I_OK; /* nothing to recommend from: no candidates */
    }
    exam_finish(a, b, i);
    return exam_keep_scores(a, b, i, stamp, s);
}

/* ---- A block ---------------------------------------------------------------------------------- */

static bool exam_block_new(const struct exam_asking *a, struct exam_block *b) {
    const uint32_t count = a->m->count;
    *b = (struct exam_block){0};
    b->planes = alloc_array(((size_t)a->block * a->parts_n + 1) * count, sizeof *b->planes);
    b->marks = mem_zalloc((size_t)count * sizeof *b->marks);
    b->truths = mem_zalloc((size_t)a->items * sizeof *b->truths);
    b->events = alloc_array(MODEL_WINDOW, sizeof *b->events);
    b->best = alloc_array(2 * EXAM_SUM_BEST, sizeof *b->best);
    return b->planes != NULL && b->marks != NULL && b->truths != NULL && b->events != NULL &&
           b->best != NULL;
}

static void exam_block_free(struct exam_block *b) {
    arena_free(&b->arena);
    mem_free(b->best);
    mem_free(b->events);
    mem_free(b->truths);
    mem_free(b->marks);
    mem_free(b->planes);
}

static int exam_task(void *ctx, uint32_t task) {
    const struct exam_asking *const a = ctx;
    const uint32_t first = task * a->block;
    const uint32_t left = a->round->cases_n - first;
    const uint32_t n = left < a->block ? left : a->block;
    struct exam_block b;
    int rc = exam_block_new(a, &b) ? U2I_OK : U2I_ENOMEM;
    for (uint32_t i = 0; i < n && rc == U2I_OK; i++) {
        rc = exam_user_new(a, &b, i, &a->round->cases[first + i]);
    }
    for (uint32_t k = 0; k < a->m->count && rc == U2I_OK; k += EXAM_TILE) {
        exam_tile(a, &b, n, k);
    }
    for (uint32_t i = 0; i < n && rc == U2I_OK; i++) {
        rc = exam_question(a, &b, i, first + i);
    }
    exam_block_free(&b);
    return rc;
}

int model_exam_ask(const struct model_run *r, const struct model_events *ev,
                   const struct model_check_plan *plan, uint32_t round, const struct model *m,
                   struct model_exam *exam) {
    struct exam_asking a = {.m = m,
                            .ev = ev,
                            .plan = plan,
                            .round = &plan->rounds[round],
                            .exam = exam,
                            .items = r->in->items};
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        if (m->block[p].dim > 0 || m->sparse[p] != NULL) {
            a.parts[a.parts_n++] = p;
            exam->parts |= 1u << p;
        }
    }
    if (a.round->cases_n == 0) {
        return U2I_OK; /* and there may be no list yet */
    }
    if (array_reserve(&exam->list, &exam->cap, exam->n + a.round->cases_n, sizeof *exam->list) !=
        U2I_OK) {
        return U2I_ENOMEM;
    }
    a.list = exam->list + exam->n;
    memset(a.list, 0, a.round->cases_n * sizeof *a.list);
    exam->n += a.round->cases_n;
    const uint32_t fit = EXAM_FLOATS / ((a.parts_n + 1) * m->count + 1);
    a.block = fit < 1 ? 1 : fit < EXAM_BLOCK ? fit : EXAM_BLOCK;
    return model_crew(r->work.threads, (a.round->cases_n + a.block - 1) / a.block, exam_task, &a);
}

void model_exam_free(struct model_exam *exam) {
    for (uint32_t i = 0; i < exam->n; i++) {
        mem_free(exam->list[i].scores);
        mem_free(exam->list[i].hits);
    }
    mem_free(exam->list);
    *exam = (struct model_exam){0};
}

/* ---- Judging ---------------------------------------------------------------------------------- */

/* The rank of candidate h, equals in their order. */
static uint32_t exam_rank(const float *sums, uint32_t n, uint32_t h) {
    const float own = sums[h];
    uint32_t before = 0;
    for (uint32_t c = 0; c < h; c++) {
        before += sums[c] >= own;
    }
    for (uint32_t c = h + 1; c < n; c++) {
        before += sums[c] > own;
    }
    return before + 1;
}

void model_scored_sum(const struct model_scored *s, const float *weights, float *sums) {
    memset(sums, 0, s->n * sizeof *sums);
    for (int p = 0; p < MODEL_PARTS_N; p++) {
        if (weights[p] != 0) {
            vec_get()->axpy(weights[p], s->scores + (size_t)p * s->n, sums, s->n);
        }
    }
}

struct model_gain model_scored_gain(const struct model_scored *s, const float *weights) {
    float sums[EXAM_KEPT_MAX];
    struct model_gain gain = {0};
    model_scored_sum(s, weights, sums);
    for (uint32_t h = 0; h < s->hits_n; h++) {
        model_gain_add(&gain, exam_rank(sums, s->n, s->hits[h]));
    }
    return gain;
}

struct exam_judging {
    const struct model_exam *exam;
    const float *weights;
    double *quality;
};
#define EXAM_JUDGED 64u /* questions of a task */

static int exam_judge_task(void *ctx, uint32_t task) {
    const struct exam_judging *const j = ctx;
    for (uint32_t i = task * EXAM_JUDGED; i < j->exam->n && i < (task + 1) * EXAM_JUDGED; i++) {
        const struct model_scored *const s = &j->exam->list[i];
        const struct model_gain gain = model_scored_gain(s, j->weights);
        j->quality[i] = model_gain_quality(&gain, &s->ideal);
    }
    return U2I_OK;
}

void model_exam_judge(const struct model_run *r, const struct model_exam *exam,
                      const float *weights, double *quality) {
    struct exam_judging j = {exam, weights, quality};
    const int rc =
        model_crew(r->work.threads, (exam->n + EXAM_JUDGED - 1) / EXAM_JUDGED, exam_judge_task, &j);
    assert(rc == U2I_OK); /* nothing in it fails */
    (void)rc;
}

/* ---- Questions to keep ------------------------------------------------------------------------ */

/* As the user of [first, end) would ask now; nothing is kept of who has nothing to ask by. */
static int exam_keep_question(struct model *m, const struct model_events *ev, size_t first,
                              size_t end) {
    struct model_event events[MODEL_WINDOW];
    struct arena arena = {0};
    struct model_user *user = NULL;
    const struct model_question q = {.events = events, .n = exam_history(ev, first, end, events)};
    const int rc = model_user_new(m, &q, &arena, &user, NULL);
    if (rc == U2I_OK && user != NULL) {
        memcpy(m->questions + (size_t)m->questions_n++ * m->search_dim, model_user_query(user),
               m->search_dim * sizeof *m->questions);
    }
    arena_free(&arena);
    return rc;
}

/* Evenly spread over the events, so users who do more are met more often: they ask more, too. */
int model_keep_questions(struct model *m, const struct model_events *ev) {
    const size_t step = ev->n / MODEL_QUESTIONS_MAX + 1;
    size_t end = 0;
    m->questions = alloc_array((size_t)MODEL_QUESTIONS_MAX * m->search_dim, sizeof *m->questions);
    if (m->questions == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t at = 0; at < ev->n && m->search_dim > 0; at = end > at + step ? end : at + step) {
        size_t first = at;
        for (end = at; end < ev->n && ev->list[end].user == ev->list[at].user;) {
            end++;
        }
        while (first > 0 && ev->list[first - 1].user == ev->list[at].user) {
            first--;
        }
        U2I_TRY(exam_keep_question(m, ev, first, end));
    }
    return U2I_OK;
}
