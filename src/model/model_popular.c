/* What a stranger is shown: popularity, counted the way that would have served the newcomers of the past best.
 *
 *   score = (1 - blend) x log1p(long) / spread + blend x log1p(recent) / spread
 *
 * long and recent are decayed counts, sum of weight x 2^(-age / half-life), a spread is the standard deviation over
 * the items. Films are best counted over all time, a shop's goods over the last weeks; so half-lives and blend
 * are chosen by replay: the users, in the order of their first events, are met in groups at the moment
 * before the first of a group came, with what was popular by then, and judged by what each of them wanted within
 * six weeks. A setting takes the default's place only if it is better by half a standard error (paired). */
#include "base/alloc.h"
#include "base/error.h"
#include "base/topk.h"
#include "model/model_internal.h"
#include <math.h>

#define POPULAR_GROUPS     24u /* moments of the replay */
#define POPULAR_GROUP_MAX  64u /* newcomers asked in each */
#define POPULAR_ASKED_MIN  20u
#define POPULAR_HORIZON_MS (42 * MODEL_DAY_MS)
#define POPULAR_LISTED     100u
#define POPULAR_DAY_S      86400.0

static const double popular_long_s[] = {0, 365 * POPULAR_DAY_S, 120 * POPULAR_DAY_S};
static const double popular_recent_s[] = {60 * POPULAR_DAY_S, 30 * POPULAR_DAY_S,
                                          14 * POPULAR_DAY_S, 7 * POPULAR_DAY_S};
static const double popular_blend[] = {0, 0.25, 0.5, 0.75, 1};
enum {
    POPULAR_LONGS = 3,
    POPULAR_RECENTS = 4,
    POPULAR_LIVES = POPULAR_LONGS + POPULAR_RECENTS,
    POPULAR_BLENDS = 5,
    POPULAR_SETTINGS = POPULAR_LONGS * POPULAR_RECENTS * POPULAR_BLENDS
};
#define POPULAR_DEFAULT                                                                            \
    ((0 * POPULAR_RECENTS + 2) * POPULAR_BLENDS + 2) /* all time, 14 days, half each */

struct popular_setting {
    int in_long, in_recent; /* index of the half-life: 0..POPULAR_LIVES-1 */
    double blend;
    bool repeats; /* the same as an earlier one: blend 0 has no recent half-life, 1 no long one */
};

static struct popular_setting popular_setting(int s) {
    const int blend = s % POPULAR_BLENDS;
    const int recent = s / POPULAR_BLENDS % POPULAR_RECENTS;
    const int in_long = s / POPULAR_BLENDS / POPULAR_RECENTS;
    return (struct popular_setting){in_long, POPULAR_LONGS + recent, popular_blend[blend],
                                    (blend == 0 && recent > 0) ||
                                        (blend == POPULAR_BLENDS - 1 && in_long > 0)};
}

static double popular_life(int life) {
    return life < POPULAR_LONGS ? popular_long_s[life] : popular_recent_s[life - POPULAR_LONGS];
}

/* What is left of a count after `ms`. */
static double popular_decay(double half_life_s, int64_t ms) {
    return half_life_s > 0 ? exp2(-(double)ms / 1000 / half_life_s) : 1;
}

/* x = log1p(x) / its standard deviation. */
static void popular_normalise(const float *counts, uint32_t n, float *out) {
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        const double x = counts[i] > 0 ? log1p((double)counts[i]) : 0;
        sum += x;
        squares += x * x;
        out[i] = (float)x;
    }
    const double mean = n > 0 ? sum / n : 0;
    const double spread = n > 0 ? sqrt(fmax(squares / n - mean * mean, 0)) : 0;
    for (uint32_t i = 0; i < n; i++) {
        out[i] = spread > MODEL_SPREAD_MIN ? (float)((double)out[i] / spread) : out[i];
    }
}

/* ---- The replay ------------------------------------------------------------------------------- */

struct popular_newcomer {
    size_t first, end; /* the user's events in ev.list */
    int64_t time_ms;   /* of the first */
};

struct popular_asked { /* one of a group */
    size_t at;         /* in truths */
    uint32_t truths;
    struct model_ideal ideal;
};

struct popular_replay {
    const struct model_events *ev;
    uint32_t items;
    struct train_event *by_time; /* those with weight > 0 */
    size_t by_time_n, counted;   /* the first `counted` of them are in the counts */
    int64_t now_ms;              /* the counts are as of then */
    float *counts, *logs;        /* [POPULAR_LIVES][items] */
    uint16_t *ranks;             /* [items]: 1 = best; 0: not listed */
    struct popular_newcomer *newcomers;
    size_t newcomers_n, asked;
    uint32_t *truths; /* of one group */
    size_t truths_n;
    double *quality; /* [POPULAR_SETTINGS][POPULAR_GROUPS * POPULAR_GROUP_MAX] */
};
#define POPULAR_ASKED_MAX ((size_t)POPULAR_GROUPS * POPULAR_GROUP_MAX)

static int popular_compare_times(const void *pa, const void *pb) {
    const struct train_event *a = pa;
    const struct train_event *b = pb;
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    if (a->item != b->item) {
        return a->item < b->item ? -1 : 1;
    }
    return (a->weight > b->weight) - (a->weight < b->weight);
}

static int popular_compare_newcomers(const void *pa, const void *pb) {
    const struct popular_newcomer *a = pa;
    const struct popular_newcomer *b = pb;
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    return (a->first > b->first) - (a->first < b->first);
}

static void popular_advance(struct popular_replay *p, int64_t to_ms) {
    for (int life = 0; life < POPULAR_LIVES; life++) {
        float *const counts = p->counts + (size_t)life * p->items;
        const float left = (float)popular_decay(popular_life(life), to_ms - p->now_ms);
        for (uint32_t i = 0; i < p->items && left < 1; i++) {
            counts[i] *= left;
        }
        for (size_t e = p->counted; e < p->by_time_n && p->by_time[e].time_ms < to_ms; e++) {
            counts[p->by_time[e].item] +=
                p->by_time[e].weight *
                (float)popular_decay(popular_life(life), to_ms - p->by_time[e].time_ms);
        }
        popular_normalise(counts, p->items, p->logs + (size_t)life * p->items);
    }
    while (p->counted < p->by_time_n && p->by_time[p->counted].time_ms < to_ms) {
        p->counted++;
    }
    p->now_ms = to_ms;
}

/* Ranks of the setting's list; everybody of the group is shown the same. */
static void popular_rank(struct popular_replay *p, const struct popular_setting *s,
                         struct hit *hits) {
    struct topk best;
    const float *const in_long = p->logs + (size_t)s->in_long * p->items;
    const float *const recent = p->logs + (size_t)s->in_recent * p->items;
    const float blend = (float)s->blend;
    topk_init(&best, hits, POPULAR_LISTED, NULL, NULL);
    for (uint32_t i = 0; i < p->items; i++) {
        const float score = (1 - blend) * in_long[i] + blend * recent[i];
        if (score > 0) {
            topk_push(&best, score, i);
        }
    }
    const uint32_t n = topk_sort(&best);
    memset(p->ranks, 0, p->items * sizeof *p->ranks);
    for (uint32_t r = 0; r < n; r++) {
        p->ranks[hits[r].row] = (uint16_t)(r + 1);
    }
}

/* What the newcomer wanted within the horizon, each item once: appended to p->truths. */
static uint32_t popular_truth(struct popular_replay *p, const struct popular_newcomer *c) {
    uint32_t *const truth = p->truths + p->truths_n;
    uint32_t n = 0;
    for (size_t e = c->first; e < c->end && n < MODEL_WINDOW; e++) {
        const struct train_event *const ev = &p->ev->list[e];
        if (ev->weight >= MODEL_POSITIVE && ev->time_ms - c->time_ms <= POPULAR_HORIZON_MS &&
            p->ranks[ev->item] == 0) {
            p->ranks[ev->item] = 1; /* as a mark */
            truth[n++] = ev->item;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        p->ranks[truth[i]] = 0;
    }
    p->truths_n += n;
    return n;
}

/* The group's newcomers that wanted anything: who[] and their truths. */
static uint32_t popular_gather(struct popular_replay *p, size_t from, size_t to,
                               struct popular_asked *who) {
    const size_t step = (to - from + POPULAR_GROUP_MAX - 1) / POPULAR_GROUP_MAX;
    uint32_t n = 0;
    p->truths_n = 0;
    memset(p->ranks, 0, p->items * sizeof *p->ranks);
    for (size_t c = from; c < to; c += step) {
        const size_t at = p->truths_n;
        const uint32_t truths = popular_truth(p, &p->newcomers[c]);
        if (truths > 0) {
            who[n++] = (struct popular_asked){at, truths, model_ideal(truths)};
        }
    }
    return n;
}

static void popular_meet(struct popular_replay *p, size_t from, size_t to) {
    struct hit hits[POPULAR_LISTED];
    struct popular_asked who[POPULAR_GROUP_MAX];
    const uint32_t n = popular_gather(p, from, to, who);
    popular_advance(p, p->newcomers[from].time_ms);
    for (int s = 0; s < POPULAR_SETTINGS; s++) {
        const struct popular_setting setting = popular_setting(s);
        if (setting.repeats) {
            continue;
        }
        popular_rank(p, &setting, hits);
        for (uint32_t c = 0; c < n; c++) {
            struct model_gain gain = {0};
            for (uint32_t i = 0; i < who[c].truths; i++) {
                model_gain_add(&gain, p->ranks[p->truths[who[c].at + i]]);
            }
            p->quality[s * POPULAR_ASKED_MAX + p->asked + c] =
                model_gain_quality(&gain, &who[c].ideal);
        }
    }
    p->asked += n;
}

static int popular_replay_new(struct popular_replay *p) {
    const struct model_events *const ev = p->ev;
    p->by_time = alloc_array(ev->n, sizeof *p->by_time);
    p->newcomers = alloc_array(ev->n, sizeof *p->newcomers);
    p->counts = mem_zalloc((size_t)POPULAR_LIVES * p->items * sizeof *p->counts);
    p->logs = alloc_array((size_t)POPULAR_LIVES * p->items, sizeof *p->logs);
    p->ranks = alloc_array(p->items, sizeof *p->ranks);
    p->truths = alloc_array((size_t)POPULAR_GROUP_MAX * MODEL_WINDOW, sizeof *p->truths);
    p->quality = alloc_array(POPULAR_SETTINGS * POPULAR_ASKED_MAX, sizeof *p->quality);
    if (p->by_time == NULL || p->newcomers == NULL || p->counts == NULL || p->logs == NULL ||
        p->ranks == NULL || p->truths == NULL || p->quality == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < ev->n; i++) {
        if (ev->list[i].weight > 0) {
            p->by_time[p->by_time_n++] = ev->list[i];
        }
        if (i == 0 || ev->list[i].user != ev->list[i - 1].user) {
            p->newcomers[p->newcomers_n++] = (struct popular_newcomer){i, i, ev->list[i].time_ms};
        }
        p->newcomers[p->newcomers_n - 1].end = i + 1;
    }
    qsort(p->by_time, p->by_time_n, sizeof *p->by_time, popular_compare_times);
    qsort(p->newcomers, p->newcomers_n, sizeof *p->newcomers, popular_compare_newcomers);
    return U2I_OK;
}

static void popular_replay_free(struct popular_replay *p) {
    mem_free(p->quality);
    mem_free(p->truths);
    mem_free(p->ranks);
    mem_free(p->logs);
    mem_free(p->counts);
    mem_free(p->newcomers);
    mem_free(p->by_time);
}

/* The setting that beats the default most, if clearly. */
static int popular_best(const struct popular_replay *p, double *gain) {
    const double *const base = p->quality + POPULAR_DEFAULT * POPULAR_ASKED_MAX;
    int best = POPULAR_DEFAULT;
    *gain = 0;
    for (int s = 0; s < POPULAR_SETTINGS; s++) {
        const double *const quality = p->quality + s * POPULAR_ASKED_MAX;
        const struct popular_setting setting = popular_setting(s);
        if (!setting.repeats) {
            const struct model_compared c = model_compare(quality, base, p->asked);
            if (c.mean > *gain && c.mean > 0.5 * c.error) {
                best = s;
                *gain = c.mean;
            }
        }
    }
    return best;
}

static double popular_mean(const struct popular_replay *p, int setting) {
    double sum = 0;
    for (size_t i = 0; i < p->asked; i++) {
        sum += p->quality[setting * POPULAR_ASKED_MAX + i];
    }
    return p->asked > 0 ? sum / (double)p->asked : 0;
}

int model_popular_choose(struct model_run *r, const struct model_events *ev,
                         struct model_popular_how *out, u2i_error_t *err) {
    struct popular_replay p = {.ev = ev, .items = r->in->items};
    int chosen = POPULAR_DEFAULT;
    double gain = 0;
    U2I_TRY(model_step(r, "popularity", err));
    int rc = popular_replay_new(&p) == U2I_OK ? U2I_OK : error_oom(err);
    const size_t from = p.newcomers_n / 3; /* the first ones came before anything was known */
    const size_t n = p.newcomers_n - from;
    const uint32_t groups = n < POPULAR_GROUPS ? (uint32_t)n : POPULAR_GROUPS;
    for (uint32_t g = 0; g < groups && rc == U2I_OK; g++) {
        popular_meet(&p, from + n * g / groups, from + n * (g + 1) / groups);
        rc = model_progress(r, g + 1, groups, err);
    }
    if (rc == U2I_OK && p.asked >= POPULAR_ASKED_MIN) {
        chosen = popular_best(&p, &gain);
    }
    const struct popular_setting s = popular_setting(chosen);
    *out = (struct model_popular_how){popular_life(s.in_long), popular_life(s.in_recent), s.blend,
                                      rc == U2I_OK ? popular_mean(&p, chosen) : 0, p.asked};
    popular_replay_free(&p);
    return rc;
}

/* ---- As of the training ----------------------------------------------------------------------- */

int model_popular_score(const struct model_popular_how *how, const struct model_events *ev,
                        int64_t now_ms, const struct model *m, float *scores) {
    float *const counts = mem_zalloc(2 * (size_t)m->count * sizeof *counts);
    float *const recent = counts == NULL ? NULL : counts + m->count;
    if (counts == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t i = 0; i < ev->n; i++) {
        const struct train_event *const e = &ev->list[i];
        if (e->weight > 0 && e->time_ms <= now_ms) {
            const uint32_t k = model_k(m, e->item);
            const int64_t age = now_ms - e->time_ms;
            counts[k] += e->weight * (float)popular_decay(how->long_s, age);
            recent[k] += e->weight * (float)popular_decay(how->recent_s, age);
        }
    }
    popular_normalise(counts, m->count, counts);
    popular_normalise(recent, m->count, recent);
    for (uint32_t k = 0; k < m->count; k++) {
        scores[k] = (float)((1 - how->blend) * (double)counts[k] + how->blend * (double)recent[k]);
    }
    mem_free(counts);
    return U2I_OK;
}
