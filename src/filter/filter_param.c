/* Parameters: values for the {names} of a filter, passed apart from its text, so that nothing in a
 * value can change what the filter means. A value becomes a constant of the tree; its bytes are
 * never looked at by the lexer. Every parameter must be bound and used, since a mistyped name would
 * otherwise go unnoticed. Values are copied into the filter. */
#include "filter/filter_internal.h"

#include "base/error.h"
#include "base/utf8.h"
#include <math.h>
#include <string.h>

#define PARAM_SHOWN_BYTES 64 /* of a name in a message */

static int filter_param_shown(const u2i_param_t *param) {
    return (int)utf8_prefix(param->name, strlen(param->name), PARAM_SHOWN_BYTES);
}

static int filter_param_fail(struct filter_parser *p, const u2i_param_t *param, const char *what) {
    return error_set(p->err, U2I_EFILTER, "parameter {%.*s} %s", filter_param_shown(param),
                     param->name, what);
}

/* ---- Checks --------------------------------------------------------------------------------- */

/* The i-th of its values, or the only one; bytes are not copied. */
static struct value filter_param_at(const u2i_param_t *param, uint32_t i) {
    struct value v = {.tag = VALUE_MISSING};
    const bool list = param->n > 0;
    const void *const values = param->value.list;
    switch (param->type) {
    case U2I_STRING:
        v.tag = VALUE_STRING;
        v.as.s = list ? ((const char *const *)values)[i] : param->value.s;
        v.n = v.as.s != NULL ? (uint32_t)strnlen(v.as.s, UINT32_MAX) : 0;
        break;
    case U2I_REAL:
        v.tag = VALUE_REAL;
        v.as.r = list ? ((const double *)values)[i] : param->value.r;
        break;
    default:
        v.tag = param->type == U2I_BOOL ? VALUE_BOOL : VALUE_INT;
        v.as.i = list ? ((const int64_t *)values)[i] : param->value.i;
        break;
    }
    return v;
}

static const char *filter_param_value_fault(const struct value *v) {
    if (v->tag == VALUE_STRING) {
        if (v->as.s == NULL) {
            return "is a string that is NULL";
        }
        return utf8_valid(v->as.s, v->n) ? NULL : "is not valid UTF-8";
    }
    if (v->tag == VALUE_REAL) {
        return isfinite(v->as.r) ? NULL : "is not a finite number";
    }
    return v->tag == VALUE_BOOL && v->as.i != 0 && v->as.i != 1 ? "is a boolean other than 0 and 1"
                                                                : NULL;
}

static const char *filter_param_fault(const u2i_param_t *param) {
    if (param->type < U2I_STRING || param->type > U2I_BOOL) {
        return "has an unknown type";
    }
    if (param->n > 0 && param->value.list == NULL) {
        return "is a list that is NULL";
    }
    const uint32_t n = param->n > 0 ? param->n : 1;
    const char *fault = NULL;
    for (uint32_t i = 0; i < n && fault == NULL; i++) {
        const struct value v = filter_param_at(param, i);
        fault = filter_param_value_fault(&v);
    }
    return fault;
}

static bool filter_param_is_repeated(const struct filter_parser *p, size_t i) {
    for (size_t j = 0; j < i; j++) {
        if (strcmp(p->params[i].name, p->params[j].name) == 0) {
            return true;
        }
    }
    return false;
}

int filter_param_check(struct filter_parser *p) {
    if (p->params_n > U2I_FILTER_MAX_BYTES / 3) {
        return error_set(p->err, U2I_EFILTER, "%zu parameters are more than a filter can name",
                         p->params_n);
    }
    for (size_t i = 0; i < p->params_n; i++) {
        const u2i_param_t *const param = &p->params[i];
        if (param->name == NULL || param->name[0] == '\0') {
            return error_set(p->err, U2I_EFILTER, "parameter number %zu has no name", i + 1);
        }
        if (!utf8_valid(param->name, strlen(param->name))) {
            return error_set(p->err, U2I_EFILTER, "name of parameter number %zu is not valid UTF-8",
                             i + 1);
        }
        const char *const fault = filter_param_fault(param);
        if (fault != NULL) {
            return filter_param_fail(p, param, fault);
        }
        if (filter_param_is_repeated(p, i)) {
            return filter_param_fail(p, param, "is given twice");
        }
    }
    return U2I_OK;
}

int filter_param_check_unused(struct filter_parser *p) {
    for (size_t i = 0; i < p->params_n; i++) {
        if (!p->params_used[i]) {
            return filter_param_fail(p, &p->params[i], "is not used by the filter");
        }
    }
    return U2I_OK;
}

/* ---- Use ------------------------------------------------------------------------------------ */

/* The parameter that the next token names; NULL and an error when there is none. */
static const u2i_param_t *filter_param_find(struct filter_parser *p) {
    const struct token *const t = &p->token;
    for (size_t i = 0; i < p->params_n; i++) {
        const char *const name = p->params[i].name;
        if (strlen(name) == t->s_n && memcmp(name, t->s, t->s_n) == 0) {
            p->params_used[i] = true;
            return &p->params[i];
        }
    }
    return filter_fail(p, t->offset, "parameter {%.*s} has no value",
                       (int)utf8_prefix(t->s, t->s_n, PARAM_SHOWN_BYTES), t->s);
}

static bool filter_param_copy(struct filter_parser *p, struct value *v) {
    if (v->tag == VALUE_STRING) {
        v->as.s = arena_dup(&p->filter->arena, v->as.s, v->n);
        if (v->as.s == NULL) {
            (void)filter_fail_oom(p); /* always NULL; the caller is told by `false` */
            return false;
        }
    }
    return true;
}

bool filter_param_value(struct filter_parser *p, struct value *out) {
    const u2i_param_t *const param = filter_param_find(p);
    if (param == NULL) {
        return false;
    }
    if (param->n > 0) {
        (void)filter_fail(p, p->token.offset, /* always NULL */
                          "parameter {%.*s} is a list, expected one value",
                          filter_param_shown(param), param->name);
        return false;
    }
    *out = filter_param_at(param, 0);
    return filter_param_copy(p, out);
}

const struct value *filter_param_list(struct filter_parser *p, uint32_t *n) {
    const u2i_param_t *const param = filter_param_find(p);
    if (param == NULL) {
        return NULL;
    }
    if (param->n == 0) {
        return filter_fail(p, p->token.offset, "parameter {%.*s} is one value, expected a list",
                           filter_param_shown(param), param->name);
    }
    struct value *const list = arena_array(&p->filter->arena, param->n, sizeof *list);
    if (list == NULL) {
        return filter_fail_oom(p);
    }
    for (uint32_t i = 0; i < param->n; i++) {
        list[i] = filter_param_at(param, i);
        if (!filter_param_copy(p, &list[i])) {
            return NULL;
        }
    }
    *n = param->n;
    return list;
}

/* ---- Names ---------------------------------------------------------------------------------- */

static int filter_param_each(struct lexer *lx, filter_name_fn fn, void *ctx) {
    struct token t;
    do {
        U2I_TRY(filter_lex(lx, &t));
        if (t.kind == TOKEN_PARAM) {
            U2I_TRY(fn(ctx, t.s, t.s_n));
        }
    } while (t.kind != TOKEN_END);
    return U2I_OK;
}

int filter_param_names(const char *text, size_t n, filter_name_fn fn, void *ctx, u2i_error_t *err) {
    struct arena arena = {0};
    if (n > U2I_FILTER_MAX_BYTES) {
        return error_at(err, U2I_EFILTER, U2I_FILTER_MAX_BYTES, "filter of %zu bytes is over %d", n,
                        U2I_FILTER_MAX_BYTES);
    }
    /* A pattern's string keeps \% and \_, which others must not have: reading all strings as patterns
     * accepts both; the parser will know. */
    struct lexer lx = {text, (uint32_t)n, 0, true, &arena, err};
    const int rc = filter_param_each(&lx, fn, ctx);
    arena_free(&arena);
    return rc;
}
