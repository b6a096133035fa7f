/* Expressions of rules and the parameters in them.
 *
 * An expression is checked when the rule is set, without a user at hand: what type an attribute of a user
 * will have isn't known then, so types are tried until the expression parses. Whether a parameter stands for
 * one value or for a list follows from where it stands, and is remembered: a user who speaks one language
 * (`"de"`) fits `language in {user.languages}` as well as one with a list. */
#include "rules_internal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <math.h>

/* ---- Which parameters ------------------------------------------------------------------------- */

struct rules_names {
    struct rules_parser *p;
    int rc; /* of the first name that is wrong */
};

static bool rules_ends_with(const char *s, size_t n, const char *suffix) {
    const size_t m = strlen(suffix);
    return n > m && memcmp(s + n - m, suffix, m) == 0;
}

/* Sets kind and the ATTR of the name; false for one that is none. */
static bool rules_param_kind(const char *name, size_t n, struct rule_param *out,
                             struct rules_cursor *attr) {
    static const char user[] = "user.", history[] = "history.", low[] = ".low", high[] = ".high";
    *attr = (struct rules_cursor){name, name};
    if (n == 3 && memcmp(name, "now", 3) == 0) {
        out->kind = RULE_NOW;
        return true;
    }
    if (n >= sizeof(user) && memcmp(name, user, sizeof(user) - 1) == 0) {
        out->kind = RULE_USER;
        *attr = (struct rules_cursor){name + sizeof(user) - 1, name + n};
        return true;
    }
    const bool is_low = rules_ends_with(name, n, low);
    if ((!is_low && !rules_ends_with(name, n, high)) || n <= sizeof(history) ||
        memcmp(name, history, sizeof(history) - 1) != 0) {
        return false;
    }
    out->kind = is_low ? RULE_HISTORY_LOW : RULE_HISTORY_HIGH;
    *attr = (struct rules_cursor){name + sizeof(history) - 1,
                                  name + n - (is_low ? sizeof(low) : sizeof(high)) + 1};
    return attr->p < attr->end;
}

static int rules_param_add(struct rules_parser *p, const char *name, size_t n) {
    struct rule *const rule = p->rule;
    for (uint32_t i = 0; i < rule->params_n; i++) {
        if (strlen(rule->params[i].name) == n && memcmp(rule->params[i].name, name, n) == 0) {
            return U2I_OK;
        }
    }
    struct rule_param param = {.path = NULL};
    struct rules_cursor attr;
    if (!rules_param_kind(name, n, &param, &attr)) {
        return rules_fail(p, name - 1, /* the brace */
                          "a rule's parameters are {now}, {user.ATTR}, {history.ATTR.low} and "
                          "{history.ATTR.high}, found {%.*s}",
                          n < 40 ? (int)n : 40, name);
    }
    if (rule->params_n == RULES_PARAMS_MAX) {
        return rules_fail(p, name - 1, "more than %d parameters in one rule", RULES_PARAMS_MAX);
    }
    param.name = arena_dup(&p->rules->arena, name, n);
    param.attr = arena_dup(&p->rules->arena, attr.p, (size_t)(attr.end - attr.p));
    if (param.name == NULL || param.attr == NULL) {
        return error_oom(p->err);
    }
    if (param.kind != RULE_NOW) {
        u2i_error_t wrong = {0};
        const int rc = attr_path_dotted(attr.p, (size_t)(attr.end - attr.p), &param.path, &wrong);
        if (rc != U2I_OK) {
            return rc == U2I_EFILTER ? rules_fail(p, attr.p, "%s", wrong.msg) : error_oom(p->err);
        }
    }
    rule->params[rule->params_n++] = param;
    return U2I_OK;
}

static int rules_param_visit(void *ctx, const char *name, size_t n) {
    struct rules_names *const names = ctx;
    names->rc = rules_param_add(names->p, name, n);
    return names->rc;
}

/* ---- Checking --------------------------------------------------------------------------------- */

enum { RULES_TRIALS = 5 }; /* types that are tried for an attribute of a user */

static u2i_param_t rules_trial_value(const struct rule_param *param, uint32_t trial) {
    static const int64_t whole[] = {1};
    static const char *const text[] = {"a"};
    u2i_param_t out = {.name = param->name, .type = U2I_INT, .value.i = 1};
    if (param->kind == RULE_NOW) {
        out.value.i = 1600000000;
    } else if (param->kind != RULE_USER) {
        out.type = U2I_REAL;
        out.value.r = 1.5;
    } else if (trial == 1) {
        out.type = U2I_STRING;
        out.value.s = text[0];
    } else if (trial == 2) {
        out.type = U2I_BOOL;
    } else if (trial == 3) {
        out.n = 1;
        out.value.list = whole;
    } else if (trial == 4) {
        out.type = U2I_STRING;
        out.n = 1;
        out.value.list = text;
    }
    return out;
}

/* The n-th way to give types to the parameters, as digits to the base of RULES_TRIALS. */
static int rules_trial(const struct rule *rule, uint32_t way, bool lists[RULES_PARAMS_MAX],
                       struct filter **out, u2i_error_t *err) {
    u2i_param_t values[RULES_PARAMS_MAX];
    for (uint32_t i = 0; i < rule->params_n; i++) {
        const bool user = rule->params[i].kind == RULE_USER;
        values[i] = rules_trial_value(&rule->params[i], user ? way % RULES_TRIALS : 0);
        lists[i] = values[i].n > 0;
        way = user ? way / RULES_TRIALS : way;
    }
    return filter_parse(rule->expr, rule->expr_n, values, rule->params_n, out, err);
}

/* Finds types with which the expression parses; the error is that of the try that came furthest. */
static int rules_check_expr(struct rules_parser *p, struct rule *rule, u2i_error_t *furthest) {
    uint32_t ways = 1;
    for (uint32_t i = 0; i < rule->params_n; i++) {
        ways *= rule->params[i].kind == RULE_USER ? RULES_TRIALS : 1;
    }
    int rc = U2I_EFILTER;
    for (uint32_t way = 0; way < ways && rc == U2I_EFILTER; way++) {
        bool lists[RULES_PARAMS_MAX];
        u2i_error_t err = {0};
        struct filter *f = NULL;
        rc = rules_trial(rule, way, lists, &f, &err);
        if (rc == U2I_OK && rule->params_n == 0) {
            rule->filter = f;
        } else if (rc == U2I_OK) {
            filter_free(f);
            for (uint32_t i = 0; i < rule->params_n; i++) {
                rule->params[i].list = lists[i];
            }
        } else if (way == 0 || err.offset > furthest->offset) {
            *furthest = err;
        }
    }
    return rc == U2I_ENOMEM ? error_oom(p->err) : rc;
}

int rules_read_expr(struct rules_parser *p, struct rules_cursor expr) {
    struct rule *const rule = p->rule;
    rules_skip_space(&expr);
    const char *const at = expr.p;
    if (rules_is_empty(&expr)) {
        return rules_fail(p, at, "expected a condition on items, as price < 20");
    }
    rule->expr = at; /* in the text, which the rules own: filters keep names in it */
    rule->expr_n = (uint32_t)(expr.end - expr.p);
    rule->params = arena_array(&p->rules->arena, RULES_PARAMS_MAX, sizeof(*rule->params));
    if (rule->params == NULL) {
        return error_oom(p->err);
    }
    struct rules_names names = {p, U2I_OK};
    u2i_error_t wrong = {0};
    int rc = filter_param_names(rule->expr, rule->expr_n, rules_param_visit, &names, &wrong);
    if (names.rc != U2I_OK) {
        return names.rc;
    }
    if (rc == U2I_OK) {
        rc = rules_check_expr(p, rule, &wrong);
    }
    if (rc == U2I_EFILTER) {
        return rules_fail(p, at + (wrong.offset > 0 ? wrong.offset : 0), "%s", wrong.msg);
    }
    return rc == U2I_OK ? U2I_OK : error_oom(p->err);
}

int rules_read_otherwise(struct rules_parser *p, struct rules_cursor expr) {
    u2i_error_t wrong = {0};
    rules_skip_space(&expr);
    if (p->rule->params_n == 0) {
        return rules_fail(p, expr.p,
                          "\"else\" is for users without what the condition names: "
                          "name an attribute of the user, as {user.places}");
    }
    const int rc =
        filter_parse(expr.p, (size_t)(expr.end - expr.p), NULL, 0, &p->rule->otherwise, &wrong);
    if (rc == U2I_EFILTER) {
        return rules_fail(p, expr.p + (wrong.offset > 0 ? wrong.offset : 0), "%s", wrong.msg);
    }
    return rc == U2I_OK ? U2I_OK : error_oom(p->err);
}

int rules_read_user_list(struct rules_parser *p, struct rules_cursor word) {
    const size_t n = (size_t)(word.end - word.p);
    p->rule->params = arena_array(&p->rules->arena, 1, sizeof(*p->rule->params));
    if (p->rule->params == NULL) {
        return error_oom(p->err);
    }
    if (n < 3 || word.p[0] != '{' || word.end[-1] != '}') {
        return rules_fail(p, word.p, "expected a list of the user's, as {user.skills}");
    }
    U2I_TRY(rules_param_add(p, word.p + 1, n - 2));
    p->rule->params[0].list = true;
    return p->rule->params[0].kind == RULE_USER
               ? U2I_OK
               : rules_fail(p, word.p, "expected a list of the user's, as {user.skills}");
}

/* ---- Values of a user's attributes ------------------------------------------------------------- */

/* One value as a parameter; false if it is none. */
static bool rules_scalar(const struct attr_value *v, struct arena *a, u2i_param_t *out, int *rc) {
    switch (v->type) {
    case ATTR_BOOL:
        out->type = U2I_BOOL;
        out->value.i = v->i;
        return true;
    case ATTR_INT:
        out->type = U2I_INT;
        out->value.i = v->i;
        return true;
    case ATTR_REAL:
        out->type = U2I_REAL;
        out->value.r = v->number;
        return true;
    case ATTR_STRING:
        out->type = U2I_STRING;
        out->value.s = arena_dup(a, v->s, v->n);
        *rc = out->value.s != NULL ? U2I_OK : U2I_ENOMEM;
        return *rc == U2I_OK;
    default:
        return false;
    }
}

/* The i-th of a value's elements; of a single value, itself. */
void rules_element(const struct attr_value *v, uint32_t i, struct attr_value *out) {
    if (v->type == ATTR_ARRAY) {
        attr_element(v, i, out);
    } else {
        *out = *v;
    }
}

/* The type that all elements have: integers among reals are reals. 0 if there is none, or null. */
static int32_t rules_list_type(const struct attr_value *v, uint32_t n) {
    static const int32_t types[] = {[ATTR_BOOL] = U2I_BOOL,
                                    [ATTR_INT] = U2I_INT,
                                    [ATTR_REAL] = U2I_REAL,
                                    [ATTR_STRING] = U2I_STRING,
                                    [ATTR_ARRAY] = 0};
    int32_t type = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct attr_value e;
        rules_element(v, i, &e);
        const int32_t one = types[e.type];
        const bool numbers =
            (type == U2I_INT && one == U2I_REAL) || (type == U2I_REAL && one == U2I_INT);
        if (one == 0 || (i > 0 && one != type && !numbers)) {
            return 0;
        }
        type = i == 0 || one == type ? one : U2I_REAL;
    }
    return type;
}

/* The elements, which are of that type, as u2i_param_t wants them. */
static const void *rules_list_values(const struct attr_value *v, uint32_t n, int32_t type,
                                     struct arena *a) {
    const char **const strings = arena_array(a, type == U2I_STRING ? n : 0, sizeof(*strings));
    double *const reals = arena_array(a, type == U2I_REAL ? n : 0, sizeof(*reals));
    int64_t *const whole = arena_array(a, n, sizeof(*whole));
    if (strings == NULL || reals == NULL || whole == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct attr_value e;
        rules_element(v, i, &e);
        if (type == U2I_STRING) {
            strings[i] = arena_dup(a, e.s, e.n);
            if (strings[i] == NULL) {
                return NULL;
            }
        } else if (type == U2I_REAL) {
            reals[i] = e.number;
        } else {
            whole[i] = e.i;
        }
    }
    return type == U2I_STRING ? (const void *)strings
           : type == U2I_REAL ? (const void *)reals
                              : whole;
}

static bool rules_list(const struct attr_value *v, struct arena *a, u2i_param_t *out, int *rc) {
    const uint32_t n = v->type == ATTR_ARRAY ? v->n : 1;
    out->type = rules_list_type(v, n);
    if (out->type == 0) {
        return false;
    }
    out->n = n;
    out->value.list = rules_list_values(v, n, out->type, a);
    *rc = out->value.list != NULL ? U2I_OK : U2I_ENOMEM;
    return *rc == U2I_OK;
}

/* ---- Quantiles of the history ------------------------------------------------------------------ */

struct rules_weighted {
    double value, weight;
};

static int rules_weighted_compare(const void *a, const void *b) {
    const struct rules_weighted *const x = a, *const y = b;
    return (x->value > y->value) - (x->value < y->value);
}

/* The least value up to which there is `share` of the weight; sorted, n > 0. */
static double rules_quantile(const struct rules_weighted *w, uint32_t n, double share) {
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += w[i].weight;
    }
    for (uint32_t i = 0; i < n; i++) {
        sum += w[i].weight;
        if (sum >= share * total) {
            return w[i].value;
        }
    }
    return w[n - 1].value; /* rounding */
}

static int rules_quantile_derive(struct rules_binding *b, const struct attr_path *path,
                                 struct rules_quantile *out) {
    const struct rules_asker *const asker = b->asker;
    const uint32_t n = asker->attr != NULL ? asker->history_n : 0;
    uint32_t *const rows = arena_array(b->arena, n, sizeof(*rows));
    struct attr_value *const values = arena_array(b->arena, n, sizeof(*values));
    struct rules_weighted *const weighted = arena_array(b->arena, n, sizeof(*weighted));
    if (rows == NULL || values == NULL || weighted == NULL) {
        return error_oom(b->err);
    }
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = asker->history[i].row;
    }
    if (n > 0) {
        U2I_TRY(asker->attr(asker->ctx, path, rows, n, values, b->err));
    }
    uint32_t known = 0;
    for (uint32_t i = 0; i < n; i++) {
        const float weight = asker->history[i].weight;
        if ((values[i].type == ATTR_INT || values[i].type == ATTR_REAL) && weight > 0) {
            weighted[known++] = (struct rules_weighted){values[i].number, (double)weight};
        }
    }
    out->known = known > 0;
    if (out->known) {
        qsort(weighted, known, sizeof(*weighted), rules_weighted_compare);
        out->low = rules_quantile(weighted, known, RULES_QUANTILE_LOW);
        out->high = rules_quantile(weighted, known, 1 - RULES_QUANTILE_LOW);
    }
    return U2I_OK;
}

static int rules_quantile_of(struct rules_binding *b, const struct rule_param *param,
                             struct rules_quantile *out) {
    for (uint32_t i = 0; i < b->quantiles_n; i++) {
        if (strcmp(b->quantiles[i].attr, param->attr) == 0) {
            *out = b->quantiles[i];
            return U2I_OK;
        }
    }
    *out = (struct rules_quantile){.attr = param->attr};
    U2I_TRY(rules_quantile_derive(b, param->path, out));
    if (b->quantiles_n < sizeof(b->quantiles) / sizeof(b->quantiles[0])) {
        b->quantiles[b->quantiles_n++] = *out; /* one too many is worked out anew each time */
    }
    return U2I_OK;
}

/* ---- The values of a question ------------------------------------------------------------------ */

/* One value, or a list where one stands. An empty list is none. */
static int rules_user_value(struct rules_binding *b, const struct rule_param *param,
                            u2i_param_t *out, enum rules_found *found) {
    struct attr_value v = {.type = ATTR_MISSING};
    int rc = U2I_OK;
    if (b->asker->user != NULL) {
        attrs_get(b->asker->user, param->path, &v);
    }
    if (v.type == ATTR_MISSING || (v.type == ATTR_ARRAY && v.n == 0)) {
        *found = RULES_MISSING;
        return U2I_OK;
    }
    const bool fits =
        param->list ? rules_list(&v, b->arena, out, &rc) : rules_scalar(&v, b->arena, out, &rc);
    *found = fits ? RULES_FOUND : RULES_UNFIT;
    return rc == U2I_OK ? U2I_OK : error_oom(b->err);
}

static int rules_param_value(struct rules_binding *b, const struct rule_param *param,
                             u2i_param_t *out, enum rules_found *found) {
    *out = (u2i_param_t){.name = param->name};
    if (param->kind == RULE_USER) {
        return rules_user_value(b, param, out, found);
    }
    if (param->kind == RULE_NOW) {
        const int64_t now_ms = b->asker->now_ms;
        out->type = U2I_INT;
        out->value.i = now_ms / 1000 - (now_ms % 1000 < 0); /* rounded down */
        *found = RULES_FOUND;
        return U2I_OK;
    }
    struct rules_quantile q;
    U2I_TRY(rules_quantile_of(b, param, &q));
    out->type = U2I_REAL;
    out->value.r = param->kind == RULE_HISTORY_LOW ? q.low : q.high;
    *found = q.known ? RULES_FOUND : RULES_MISSING;
    return U2I_OK;
}

int rules_param_values(struct rules_binding *b, const struct rule *rule, u2i_param_t *out,
                       enum rules_found *found) {
    *found = RULES_FOUND;
    for (uint32_t i = 0; i < rule->params_n && *found == RULES_FOUND; i++) {
        U2I_TRY(rules_param_value(b, &rule->params[i], &out[i], found));
    }
    return U2I_OK;
}
