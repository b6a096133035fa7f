/* The list as the caller gets it: the texts of the winners, what their scores are made of, and which of the
 * user's items speak for them. */
#include "ask.h"

#include "base/error.h"

#define ASK_PULLS_MAX 5 /* items of the history named for a hit */

/* ---- Scores ----------------------------------------------------------------------------------- */

static const char *ask_part_name(uint32_t part) {
    return part < MODEL_PARTS_N     ? model_part_name((enum model_part)part)
           : part == ASK_COSINE     ? "cosine"
           : part == ASK_POPULARITY ? "popularity"
                                    : "lately";
}

/* What each `match` found: also where it adds nothing, as what is missing is a reason too. */
static int ask_match_parts(struct ask *a, const struct rank_candidate *c, u2i_part_t *parts,
                           size_t *n, u2i_error_t *err) {
    uint32_t from;
    const uint32_t rules_n = a->ruled ? rules_of(&a->rules, RULE_MATCH, &from) : 0;
    for (uint32_t i = 0; i < rules_n; i++) {
        const struct rule_bound *bound = &a->rules.list[from + i];
        struct attr_value v;
        u2i_part_t part = {0};
        U2I_TRY(a->e->ops->attr(a->e->store, bound->rule->path, &c->row, 1, &v, err));
        U2I_TRY(rules_match_text(bound, &v, &a->arena, &part.name, err));
        for (const struct rank_term *t = c->first; t != NULL; t = t->next) {
            part.value += t->rule == from + i ? t->value : 0;
        }
        if (part.name != NULL) {
            parts[(*n)++] = part;
        }
    }
    return U2I_OK;
}

static int ask_parts(struct ask *a, const struct rank_candidate *c, u2i_hit_t *hit,
                     u2i_error_t *err) {
    size_t n = 0, terms = 0;
    for (const struct rank_term *t = c->first; t != NULL; t = t->next) {
        terms++;
    }
    u2i_part_t *parts = arena_array(&a->arena, ASK_PARTS_N + terms + a->rules.n, sizeof(*parts));
    if (parts == NULL) {
        return error_oom(err);
    }
    for (uint32_t i = 0; i < ASK_PARTS_N; i++) {
        if (c->part[i] != 0) {
            parts[n++] = (u2i_part_t){ask_part_name(i), c->part[i]};
        }
    }
    for (const struct rank_term *t = c->first; t != NULL; t = t->next) {
        const struct rule *rule = a->rules.list[t->rule].rule;
        if (rule->kind != RULE_MATCH) {
            parts[n++] = (u2i_part_t){rule->text, t->value};
        }
    }
    U2I_TRY(ask_match_parts(a, c, parts, &n, err));
    hit->parts = parts;
    hit->parts_n = n;
    return U2I_OK;
}

/* ---- Reasons ---------------------------------------------------------------------------------- */

/* What an item of the history adds to a hit's score. */
struct ask_pull {
    uint32_t item, event; /* event: index into history->events, the item's latest */
    float value;
};

static bool ask_pulls_more(const struct ask_pull *a, const struct ask_pull *b) {
    return a->value != b->value ? a->value > b->value : a->event < b->event;
}

/* The strongest of live items first, ASK_PULLS_MAX at most; returns how many. */
static size_t ask_strongest(const struct ask *a, const struct ask_pull *pulls, size_t n,
                            struct ask_pull *best) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(pulls[i].value > 0) ||
            (kept == ASK_PULLS_MAX && !ask_pulls_more(&pulls[i], &best[kept - 1])) ||
            !a->e->ops->item_live(a->e->store, pulls[i].item)) {
            continue;
        }
        size_t at = kept < ASK_PULLS_MAX ? kept++ : kept - 1;
        for (; at > 0 && ask_pulls_more(&pulls[i], &best[at - 1]); at--) {
            best[at] = best[at - 1];
        }
        best[at] = pulls[i];
    }
    return kept;
}

/* Adds what came lately, to the entry of the same item or as one of its own. */
static int ask_pulls_lately(struct ask *a, const struct rank_candidate *c, struct ask_pull **pulls,
                            size_t *n, u2i_error_t *err) {
    uint32_t more;
    const struct lately_pull *lately = lately_of(a, c->row, &more);
    if (more == 0) {
        return U2I_OK;
    }
    struct ask_pull *all = arena_array(&a->arena, *n + more, sizeof(*all));
    if (all == NULL) {
        return error_oom(err);
    }
    memcpy(all, *pulls, *n * sizeof(*all));
    for (uint32_t i = 0; i < more; i++) {
        const uint32_t item = a->history->events[lately[i].event].item;
        size_t at = 0;
        while (at < *n && all[at].item != item) {
            at++;
        }
        if (at == *n) {
            all[(*n)++] = (struct ask_pull){item, lately[i].event, 0};
        }
        all[at].value += lately[i].value;
    }
    *pulls = all;
    return U2I_OK;
}

static int ask_pulls_learnt(struct ask *a, const struct rank_candidate *c, struct ask_pull **out,
                            size_t *out_n, u2i_error_t *err) {
    const struct model_entry *entries;
    const size_t n = model_user_entries(a->learnt, &entries);
    float *values = arena_array(&a->arena, n + 1, sizeof(*values));
    *out = arena_array(&a->arena, n + 1, sizeof(**out));
    if (values == NULL || *out == NULL) {
        return error_oom(err);
    }
    model_user_pulls(a->learnt, c->row, a->e->ops->vector(a->e->store, STORE_TASTE, c->row),
                     values);
    for (size_t i = 0; i < n; i++) {
        (*out)[i] =
            (struct ask_pull){entries[i].item, a->learnt_index[entries[i].event], values[i]};
    }
    *out_n = n;
    return ask_pulls_lately(a, c, out, out_n, err);
}

/* A cosine is the sum of weight x dot over the profile's entries, up to the profile's length. */
static int ask_pulls_profile(struct ask *a, const struct rank_candidate *c, struct ask_pull **out,
                             size_t *out_n, u2i_error_t *err) {
    const struct taste *t = &a->taste;
    float *dots;
    double sum = 0;
    U2I_TRY(taste_dots(a->e, t, c->row, &a->arena, &dots, err));
    *out = arena_array(&a->arena, t->entries_n + 1, sizeof(**out));
    if (*out == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < t->entries_n; i++) {
        sum += (double)t->entries[i].weight * (double)dots[i];
    }
    const double scale = sum == 0 ? 0 : (double)c->part[ASK_COSINE] / sum;
    for (size_t i = 0; i < t->entries_n; i++) {
        const double value = (double)t->entries[i].weight * (double)dots[i] * scale;
        (*out)[i] = (struct ask_pull){t->entries[i].item, t->entries[i].latest, (float)value};
    }
    *out_n = t->entries_n;
    return U2I_OK;
}

#define ASK_NAMED_MAX 256 /* items of the history whose texts are kept while the answer is made */

/* The same few items speak for most of the hits: each is read once. */
static bool ask_named(const struct ask *a, const struct ask_pull *p, u2i_pull_t *out) {
    for (uint32_t i = 0; i < a->named_n; i++) {
        if (a->named_rows[i] == p->item) {
            *out = a->named[i];
            out->value = p->value;
            return true;
        }
    }
    return false;
}

static int ask_keep_named(struct ask *a, uint32_t row, const u2i_pull_t *pull, u2i_error_t *err) {
    if (a->named_n == 0) {
        a->named = arena_array(&a->arena, ASK_NAMED_MAX, sizeof(*a->named));
        a->named_rows = arena_array(&a->arena, ASK_NAMED_MAX, sizeof(*a->named_rows));
    }
    if (a->named == NULL || a->named_rows == NULL) {
        return error_oom(err);
    }
    if (a->named_n < ASK_NAMED_MAX) {
        a->named[a->named_n] = *pull;
        a->named_rows[a->named_n++] = row;
    }
    return U2I_OK;
}

static int ask_name_pull(struct ask *a, const struct ask_pull *p, u2i_pull_t *out,
                         u2i_error_t *err) {
    struct engine *e = a->e;
    if (ask_named(a, p, out)) {
        return U2I_OK;
    }
    struct store_item item;
    const struct history_source from = engine_history_source(e);
    const struct action *action = history_action(&from, a->history->events[p->event].action);
    U2I_TRY(ask_found(a, e->ops->get_item(e->store, p->item, &a->arena, &item, err)));
    *out = (u2i_pull_t){.item = item.id,
                        .title = item.title,
                        .action = action == NULL ? "" : action->name,
                        .value = p->value};
    return ask_keep_named(a, p->item, out, err);
}

/* The items of the history that pull most, first of all the one that is named as the reason. */
static int ask_because(struct ask *a, const struct rank_candidate *c, u2i_hit_t *hit,
                       u2i_error_t *err) {
    struct ask_pull *pulls = NULL, best[ASK_PULLS_MAX];
    size_t n = 0;
    double all = 0;
    U2I_TRY(a->learnt != NULL ? ask_pulls_learnt(a, c, &pulls, &n, err)
                              : ask_pulls_profile(a, c, &pulls, &n, err));
    u2i_pull_t *out = arena_array(&a->arena, ASK_PULLS_MAX, sizeof(*out));
    if (out == NULL) {
        return error_oom(err);
    }
    for (size_t i = 0; i < n; i++) {
        all += pulls[i].value > 0 ? (double)pulls[i].value : 0;
    }
    const size_t named = ask_strongest(a, pulls, n, best);
    for (size_t i = 0; i < named; i++) {
        U2I_TRY(ask_name_pull(a, &best[i], &out[i], err));
    }
    hit->pulls = out;
    hit->pulls_n = named;
    if (named > 0) {
        hit->because = out[0].item;
        hit->because_title = out[0].title;
        hit->because_action = out[0].action;
        hit->because_share = (float)((double)out[0].value / all);
    }
    return U2I_OK;
}

/* ---- Hits ------------------------------------------------------------------------------------- */

static int ask_answer_item(struct ask *a, const struct rank_candidate *c, u2i_result_t *r,
                           u2i_error_t *err) {
    struct store_item item;
    U2I_TRY(ask_found(a, a->e->ops->get_item(a->e->store, c->row, &a->arena, &item, err)));
    u2i_hit_t hit = {.id = item.id,
                     .title = item.title,
                     .category = item.category,
                     .attrs_json = item.attrs_json,
                     .score = c->score,
                     .source = c->source,
                     .probability = rank_probability(&a->scales[c->tier], c->score)};
    const bool reasons = (a->q->flags & U2I_NO_REASONS) == 0;
    if (reasons) {
        U2I_TRY(ask_parts(a, c, &hit, err));
    }
    if (reasons && (c->source == U2I_FROM_PROFILE || c->source == U2I_FROM_TASTE ||
                    c->source == U2I_FROM_NEIGHBOURS)) {
        U2I_TRY(ask_because(a, c, &hit, err));
    }
    return result_add(r, &hit, err);
}

static int ask_answer_user(struct ask *a, const struct rank_candidate *c, u2i_result_t *r,
                           u2i_error_t *err) {
    struct store_user user;
    U2I_TRY(ask_found(a, a->e->ops->get_user(a->e->store, c->row, &a->arena, &user, err)));
    const u2i_hit_t hit = {
        .id = user.id, .attrs_json = user.attrs_json, .score = c->score, .source = c->source};
    return result_add(r, &hit, err);
}

int ask_answer(struct ask *a, bool users, u2i_result_t **out, u2i_error_t *err) {
    u2i_result_t *r;
    const u2i_explain_t why = {.struct_size = sizeof(why),
                               .search = a->explain.search == NULL ? "none" : a->explain.search,
                               .ef = a->explain.ef,
                               .compared = a->explain.compared,
                               .rounds = a->explain.rounds,
                               .passing = a->explain.passing};
    int rc = result_new(a->order_n, &why, &r, err);
    for (uint32_t i = 0; i < a->order_n && rc == U2I_OK; i++) {
        const struct rank_candidate *c = &a->candidates[a->order[i]];
        rc = users ? ask_answer_user(a, c, r, err) : ask_answer_item(a, c, r, err);
    }
    if (rc != U2I_OK) {
        engine_result_free(r);
        r = NULL;
    }
    *out = r;
    return rc;
}
