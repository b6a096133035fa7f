/* What a stranger is shown: popularity, counted the way that would have served the newcomers of the past best.
 *
 *   score = D_h / spread + f D'_h / spread
 *
 * D_h are decayed counts of all events, sum of weight x 2^(-age / h), D'_h those of first baskets, what users came
 * for, f is 0 or 1, and a spread the standard deviation over the items. Films are best counted over all time, a
 * shop's goods over the last weeks, with first baskets; so h and f are chosen by replay: the users, in the order of
 * their first events, are met in groups at the moment before the first of a group came, with what was popular by
 * then, and judged by what each of them wanted within six weeks. If the best setting beats the default (all
 * time, f = 0) by more than half a standard error, all settings that it doesn't beat clearly are averaged. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/topk.h"
#include "model/model_internal.h"
#include <math.h>

#define POPULAR_GROUPS     24u /* moments of the replay */
#define POPULAR_GROUP_MAX  64u /* newcomers asked in each */
#define POPULAR_ASKED_MAX  (POPULAR_GROUPS * POPULAR_GROUP_MAX)
#define POPULAR_ASKED_MIN  50u
#define POPULAR_HORIZON_MS (42 * MODEL_DAY_MS)

enum { POPULAR_LIVES = 6, POPULAR_SETTINGS = 2 * POPULAR_LIVES };
static const double popular_days[POPULAR_LIVES] = {7,  14,  30,
                                                   90, 365, 0}; /* half-lives; 0: all time */
#define POPULAR_DEFAULT (POPULAR_LIVES - 1)

/* Setting s counts with half-life s % POPULAR_LIVES; from POPULAR_LIVES on with first baskets too. */
static bool popular_has_first(uint32_t s) {
    return s >= POPULAR_LIVES;
}

/* What is left of a count after `ms`. */
static double popular_decay(uint32_t life, int64_t ms) {
    const double days = popular_days[life];
    return days > 0 ? exp2(-(double)ms / (double)MODEL_DAY_MS / days) : 1;
}

/* 1 / standard deviation; 0 if they are all the same. */
static double popular_unit(const float *counts, uint32_t n) {
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)counts[i];
        squares += (double)counts[i] * (double)counts[i];
    }
    const double mean = n > 0 ? sum / n : 0;
    const double variance = n > 0 ? squares / n - mean * mean : 0;
    return variance > MODEL_SPREAD_MIN * MODEL_SPREAD_MIN ? 1 / sqrt(variance) : 0;
}

/* Decayed counts of all events and of first baskets. */
struct popular_counts {
    float *all, *first; /* [n] */
    uint32_t n;
};

/* out += scale x the setting's scores */
static void popular_add(const struct popular_counts *c, uint32_t setting, double scale,
                        float *out) {
    const double all = scale * popular_unit(c->all, c->n);
    const double first = popular_has_first(setting) ? scale * popular_unit(c->first, c->n) : 0;
    for (uint32_t i = 0; i < c->n; i++) {
        out[i] += (float)(all * (double)c->all[i] + first * (double)c->first[i]);
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

struct popular_event {
    int64_t time_ms;
    uint32_t item;
    float weight;
    bool is_first; /* of the user's first basket */
};

struct popular_replay {
    const struct model_events *ev;
    struct popular_event *by_time; /* those with weight > 0 */
    size_t by_time_n, counted;     /* the first `counted` of them are in the counts */
    int64_t now_ms;                /* the counts are as of then */
    uint32_t items;
    struct popular_counts counts[POPULAR_LIVES];
    float *memory;   /* of the counts */
    float *scores;   /* [items] */
    uint16_t *ranks; /* [items]: 1 = best; 0: not listed */
    struct popular_newcomer *newcomers;
    size_t newcomers_n, asked;
    uint32_t *truths; /* of one group */
    size_t truths_n;
    double *quality; /* [POPULAR_SETTINGS][POPULAR_ASKED_MAX] */
};

static int popular_compare_times(const void *pa, const void *pb) {
    const struct popular_event *a = pa;
    const struct popular_event *b = pb;
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    if (a->item != b->item) {
        return a->item < b->item ? -1 : 1;
    }
    if (a->weight != b->weight) {
        return a->weight < b->weight ? -1 : 1;
    }
    return (int)a->is_first - (int)b->is_first;
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
    size_t end = p->counted;
    while (end < p->by_time_n && p->by_time[end].time_ms < to_ms) {
        end++;
    }
    for (uint32_t life = 0; life < POPULAR_LIVES; life++) {
        const struct popular_counts *const c = &p->counts[life];
        const float left = (float)popular_decay(life, to_ms - p->now_ms);
        for (uint32_t i = 0; i < 2 * p->items && left < 1; i++) {
            c->all[i] *= left; /* `first` follows */
        }
        for (size_t e = p->counted; e < end; e++) {
            const struct popular_event *const ev = &p->by_time[e];
            const float counts = ev->weight * (float)popular_decay(life, to_ms - ev->time_ms);
            c->all[ev->item] += counts;
            c->first[ev->item] += ev->is_first ? counts : 0;
        }
    }
    p->counted = end;
    p->now_ms = to_ms;
}

/* Ranks of the setting's list; everybody of the group is shown the same. */
static void popular_rank(struct popular_replay *p, uint32_t setting) {
    struct hit hits[MODEL_LISTED];
    struct topk best;
    memset(p->scores, 0, p->items * sizeof *p->scores);
    popular_add(&p->counts[setting % POPULAR_LIVES], setting, 1, p->scores);
    topk_init(&best, hits, MODEL_LISTED, NULL, NULL);
    for (uint32_t i = 0; i < p->items; i++) {
        if (p->scores[i] > 0) {
            topk_push(&best, p->scores[i], i);
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
    struct popular_asked who[POPULAR_GROUP_MAX];
    const uint32_t n = popular_gather(p, from, to, who);
    popular_advance(p, p->newcomers[from].time_ms);
    for (uint32_t s = 0; s < POPULAR_SETTINGS; s++) {
        popular_rank(p, s);
        for (uint32_t c = 0; c < n; c++) {
            struct model_gain gain = {0};
            for (uint32_t i = 0; i < who[c].truths; i++) {
                model_gain_add(&gain, p->ranks[p->truths[who[c].at + i]]);
            }
            p->quality[(size_t)s * POPULAR_ASKED_MAX + p->asked + c] =
                model_gain_quality(&gain, &who[c].ideal);
        }
    }
    p->asked += n;
}

static void popular_replay_events(struct popular_replay *p) {
    const struct model_events *const ev = p->ev;
    for (size_t i = 0; i < ev->n; i++) {
        const struct train_event *const e = &ev->list[i];
        if (i == 0 || e->user != ev->list[i - 1].user) {
            p->newcomers[p->newcomers_n++] = (struct popular_newcomer){i, i, e->time_ms};
        }
        struct popular_newcomer *const who = &p->newcomers[p->newcomers_n - 1];
        who->end = i + 1;
        if (e->weight > 0) {
            p->by_time[p->by_time_n++] =
                (struct popular_event){e->time_ms, e->item, e->weight, e->time_ms == who->time_ms};
        }
    }
    qsort(p->by_time, p->by_time_n, sizeof *p->by_time, popular_compare_times);
    qsort(p->newcomers, p->newcomers_n, sizeof *p->newcomers, popular_compare_newcomers);
}

static int popular_replay_new(struct popular_replay *p) {
    const size_t items = p->items;
    p->by_time = alloc_array(p->ev->n, sizeof *p->by_time);
    p->newcomers = alloc_array(p->ev->n, sizeof *p->newcomers);
    p->memory = mem_zalloc(2 * POPULAR_LIVES * items * sizeof *p->memory);
    p->scores = alloc_array(items, sizeof *p->scores);
    p->ranks = alloc_array(items, sizeof *p->ranks);
    p->truths = alloc_array((size_t)POPULAR_GROUP_MAX * MODEL_WINDOW, sizeof *p->truths);
    p->quality = alloc_array((size_t)POPULAR_SETTINGS * POPULAR_ASKED_MAX, sizeof *p->quality);
    if (p->by_time == NULL || p->newcomers == NULL || p->memory == NULL || p->scores == NULL ||
        p->ranks == NULL || p->truths == NULL || p->quality == NULL) {
        return U2I_ENOMEM;
    }
    for (size_t life = 0; life < POPULAR_LIVES; life++) {
        float *const all = p->memory + 2 * life * items;
        p->counts[life] = (struct popular_counts){all, all + items, p->items};
    }
    popular_replay_events(p);
    return U2I_OK;
}

static void popular_replay_free(struct popular_replay *p) {
    mem_free(p->quality);
    mem_free(p->truths);
    mem_free(p->ranks);
    mem_free(p->scores);
    mem_free(p->memory);
    mem_free(p->newcomers);
    mem_free(p->by_time);
}

/* ---- The choice ------------------------------------------------------------------------------- */

static const double *popular_quality(const struct popular_replay *p, uint32_t setting) {
    return p->quality + (size_t)setting * POPULAR_ASKED_MAX;
}

static double popular_mean(const struct popular_replay *p, uint32_t setting) {
    double sum = 0;
    for (size_t i = 0; i < p->asked; i++) {
        sum += popular_quality(p, setting)[i];
    }
    return p->asked > 0 ? sum / (double)p->asked : 0;
}

static struct model_popular_how popular_choose(const struct popular_replay *p) {
    struct model_popular_how how = {1u << POPULAR_DEFAULT, popular_mean(p, POPULAR_DEFAULT),
                                    p->asked};
    uint32_t best = POPULAR_DEFAULT;
    for (uint32_t s = 0; s < POPULAR_SETTINGS; s++) {
        best = popular_mean(p, s) > popular_mean(p, best) ? s : best;
    }
    const struct model_compared gain =
        model_compare(popular_quality(p, best), popular_quality(p, POPULAR_DEFAULT), p->asked);
    if (p->asked < POPULAR_ASKED_MIN || !(gain.mean > 0.5 * gain.error)) {
        return how;
    }
    how.settings = 0;
    how.quality = popular_mean(p, best);
    for (uint32_t s = 0; s < POPULAR_SETTINGS; s++) {
        const struct model_compared loss =
            model_compare(popular_quality(p, best), popular_quality(p, s), p->asked);
        how.settings |= loss.mean <= 0.5 * loss.error ? 1u << s : 0;
    }
    return how;
}

int model_popular_choose(struct model_run *r, const struct model_events *ev,
                         struct model_popular_how *out, u2i_error_t *err) {
    struct popular_replay p = {.ev = ev, .items = r->in->items};
    U2I_TRY(model_step(r, "popularity", err));
    int rc = popular_replay_new(&p) == U2I_OK ? U2I_OK : error_oom(err);
    const size_t from = p.newcomers_n / 3; /* the first ones came before anything was known */
    const size_t n = p.newcomers_n - from;
    const uint32_t groups = n < POPULAR_GROUPS ? (uint32_t)n : POPULAR_GROUPS;
    for (uint32_t g = 0; g < groups && rc == U2I_OK; g++) {
        popular_meet(&p, from + n * g / groups, from + n * (g + 1) / groups);
        rc = model_progress(r, g + 1, groups, err);
    }
    if (rc == U2I_OK) {
        *out = popular_choose(&p);
    }
    popular_replay_free(&p);
    return rc;
}

void model_popular_tell(const struct model_popular_how *how, struct model *m) {
    double days[2] = {0, 0};
    double n[2] = {0, 0};
    for (uint32_t s = 0; s < POPULAR_SETTINGS; s++) {
        if ((how->settings & 1u << s) != 0) {
            days[popular_has_first(s)] += popular_days[s % POPULAR_LIVES];
            n[popular_has_first(s)]++;
        }
    }
    model_tell(m, n[0] + n[1], "popular.settings");
    model_tell(m, (days[0] + days[1]) / fmax(n[0] + n[1], 1), "popular.all_days");
    model_tell(m, days[1] / fmax(n[1], 1), "popular.first_days");
    model_tell(m, how->quality, "popular.quality");
    model_tell(m, (double)how->asked, "popular.newcomers");
}

/* ---- As of the training ----------------------------------------------------------------------- */

static void popular_tally(const struct popular_counts *c, uint32_t life,
                          const struct model_events *ev, int64_t now_ms, const struct model *m) {
    int64_t first_ms = 0;
    memset(c->all, 0, 2 * (size_t)c->n * sizeof *c->all); /* `first` follows */
    for (size_t i = 0; i < ev->n; i++) {
        const struct train_event *const e = &ev->list[i];
        first_ms = i == 0 || e->user != ev->list[i - 1].user ? e->time_ms : first_ms;
        if (e->weight > 0 && e->time_ms <= now_ms) {
            const uint32_t k = model_k(m, e->item);
            const float counts = e->weight * (float)popular_decay(life, now_ms - e->time_ms);
            if (k != MODEL_NONE) {
                c->all[k] += counts;
                c->first[k] += e->time_ms == first_ms ? counts : 0;
            }
        }
    }
}

int model_popular_score(const struct model_popular_how *how, const struct model_events *ev,
                        int64_t now_ms, const struct model *m, float *scores) {
    float *const all = alloc_array(2 * (size_t)m->count, sizeof *all);
    const struct popular_counts c = {all, all + m->count, m->count};
    if (all == NULL) {
        return U2I_ENOMEM;
    }
    memset(scores, 0, m->count * sizeof *scores);
    for (uint32_t s = 0; s < POPULAR_SETTINGS; s++) {
        if ((how->settings & 1u << s) != 0) {
            popular_tally(&c, s % POPULAR_LIVES, ev, now_ms, m);
            popular_add(&c, s, 1, scores);
        }
    }
    const double unit = popular_unit(scores, m->count);
    for (uint32_t k = 0; k < m->count && unit > 0; k++) {
        scores[k] = (float)((double)scores[k] * unit);
    }
    mem_free(all);
    return U2I_OK;
}
