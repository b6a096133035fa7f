/* Rules of one question: parameters get values, expressions become filters, and all of it is put in order of
 * kind, so that each step of an answer finds its rules in one place. A rule without parameters keeps the
 * filter that was parsed when it was set. */
#include "rules_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <assert.h>

/* *filter is NULL where it isn't found how the rule applies to this user. */
static int rules_bind_expr(struct rules_binding *b, const struct rule *rule, struct filter **filter,
                           enum rules_found *found) {
    u2i_param_t values[RULES_PARAMS_MAX];
    *filter = NULL;
    U2I_TRY(rules_param_values(b, rule, values, found));
    if (*found != RULES_FOUND) {
        return U2I_OK;
    }
    u2i_error_t wrong;
    const int rc = filter_parse(rule->expr, rule->expr_n, values, rule->params_n, filter, &wrong);
    *found =
        rc == U2I_OK ? RULES_FOUND : RULES_UNFIT; /* of another type than the expression is about */
    return rc == U2I_ENOMEM ? error_oom(b->err) : U2I_OK;
}

/* The user's list of a `match`; *list is NULL where the user has none. */
static int rules_bind_list(struct rules_binding *b, const struct rule *rule,
                           const u2i_param_t **list) {
    u2i_param_t *const value = arena_alloc(b->arena, sizeof(*value));
    enum rules_found found;
    if (value == NULL) {
        return error_oom(b->err);
    }
    U2I_TRY(rules_param_values(b, rule, value, &found));
    *list = found == RULES_FOUND ? value : NULL;
    return U2I_OK;
}

/* A filter about what the user has stated in a way that nobody can use isn't relaxed: nothing passes it. */
static int rules_bind_one(struct rules_binding *b, const struct rule *rule,
                          struct rules_bound *out) {
    struct rule_bound bound = {.rule = rule, .filter = rule->filter};
    enum rules_found found = RULES_FOUND;
    if (rule->kind == RULE_MATCH) {
        U2I_TRY(rules_bind_list(b, rule, &bound.list));
        found = bound.list != NULL ? RULES_FOUND : RULES_MISSING;
    } else if (rule->params_n > 0) {
        U2I_TRY(rules_bind_expr(b, rule, &bound.owned, &found));
        bound.filter = bound.owned != NULL ? bound.owned : rule->otherwise;
    }
    const bool unfit = found == RULES_UNFIT && rule->kind == RULE_FILTER;
    out->nothing = out->nothing || unfit || (found != RULES_FOUND && rule->strict);
    if (found == RULES_FOUND || (found == RULES_MISSING && rule->otherwise != NULL)) {
        out->list[out->n++] = bound;
    }
    return U2I_OK;
}

int rules_bind(const struct rules *const *sets, size_t sets_n, const struct rules_asker *asker,
               struct arena *a, struct rules_bound *out, u2i_error_t *err) {
    struct rules_binding b = {.asker = asker, .arena = a, .err = err};
    size_t all = 0;
    assert(sets_n <= RULES_SETS_MAX);
    *out = (struct rules_bound){.n = 0};
    for (size_t i = 0; i < sets_n; i++) {
        all += sets[i] != NULL ? sets[i]->n : 0;
    }
    out->list = arena_array(a, all, sizeof(*out->list));
    if (out->list == NULL) {
        return error_oom(err);
    }
    for (int kind = RULE_FILTER; kind <= RULE_TWO_SIDED; kind++) {
        for (size_t i = 0; i < sets_n; i++) {
            for (uint32_t j = 0; sets[i] != NULL && j < sets[i]->n; j++) {
                if ((int)sets[i]->list[j].kind == kind) {
                    U2I_TRY(rules_bind_one(&b, &sets[i]->list[j], out));
                }
            }
        }
    }
    return U2I_OK;
}

void rules_unbind(struct rules_bound *b) {
    for (uint32_t i = 0; i < b->n; i++) {
        filter_free(b->list[i].owned);
    }
    *b = (struct rules_bound){.n = 0};
}

uint32_t rules_of(const struct rules_bound *b, enum rule_kind kind, uint32_t *from) {
    uint32_t i = 0;
    while (i < b->n && b->list[i].rule->kind < kind) {
        i++;
    }
    *from = i;
    while (i < b->n && b->list[i].rule->kind == kind) {
        i++;
    }
    return i - *from;
}

const struct rule *rules_counting(const struct rules *rules) {
    for (uint32_t i = 0; i < rules->n; i++) {
        const enum rule_kind kind = rules->list[i].kind;
        if (kind == RULE_LIMIT || kind == RULE_MUTUAL || kind == RULE_EXPLORE) {
            return &rules->list[i];
        }
    }
    return NULL;
}
