/* Text to rules: split into rules, then each by what its first words say. Everything is checked here, the
 * expressions included, so that a rule which was accepted can't fail later. */
#include "rules_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/utf8.h"

/* ---- One kind each ---------------------------------------------------------------------------- */

static int rules_parse_filter(struct rules_parser *p, struct rules_cursor c) {
    const struct rules_cursor otherwise = rules_split_at(&c, "else");
    U2I_TRY(rules_read_expr(p, c));
    return otherwise.p == NULL ? U2I_OK : rules_read_otherwise(p, otherwise);
}

static int rules_parse_require(struct rules_parser *p, struct rules_cursor c) {
    p->rule->strict = true;
    return rules_read_expr(p, c);
}

static int rules_parse_boost(struct rules_parser *p, struct rules_cursor c) {
    const struct rules_cursor factor = rules_last_word(&c);
    U2I_TRY(rules_take_last_word(p, &c, "by", "boost EXPR by FACTOR"));
    U2I_TRY(rules_read_factor(p, factor, &p->rule->factor));
    return rules_read_expr(p, c);
}

static int rules_parse_match(struct rules_parser *p, struct rules_cursor c) {
    static const char usage[] = "match ATTR with {user.ATTR} by FACTOR";
    const struct rules_cursor factor = rules_last_word(&c);
    U2I_TRY(rules_take_last_word(p, &c, "by", usage));
    U2I_TRY(rules_read_factor(p, factor, &p->rule->factor));
    const struct rules_cursor list = rules_last_word(&c);
    U2I_TRY(rules_take_last_word(p, &c, "with", usage));
    U2I_TRY(rules_read_user_list(p, list));
    return rules_read_attr(p, c);
}

static int rules_parse_pin(struct rules_parser *p, struct rules_cursor c) {
    U2I_TRY(rules_read_string(p, &c, &p->rule->name));
    U2I_TRY(rules_take_word(p, &c, "at"));
    const struct rules_cursor place = rules_first_word(&c);
    U2I_TRY(rules_read_count(p, place, &p->rule->count));
    if (p->rule->count > U2I_LIMIT_MAX) {
        return rules_fail(p, place.p, "place %u is over %d", p->rule->count, U2I_LIMIT_MAX);
    }
    return rules_take_end(p, &c);
}

static int rules_count_lane(struct rules_parser *p) {
    return ++p->lanes <= RULES_LANES_MAX
               ? U2I_OK
               : rules_fail(p, p->at, "more than %d rules promote or explore", RULES_LANES_MAX);
}

static int rules_parse_promote(struct rules_parser *p, struct rules_cursor c) {
    U2I_TRY(rules_count_lane(p));
    const struct rules_cursor share = rules_last_word(&c);
    U2I_TRY(rules_take_last_word(p, &c, "share", "promote EXPR share SHARE"));
    U2I_TRY(rules_read_share(p, share, &p->rule->share));
    return rules_read_expr(p, c);
}

static int rules_parse_cap(struct rules_parser *p, struct rules_cursor c) {
    if (++p->caps > RULES_CAPS_MAX) {
        return rules_fail(p, p->at, "more than %d rules are caps", RULES_CAPS_MAX);
    }
    struct rules_cursor number = rules_last_word(&c), rest = c;
    const struct rules_cursor in = rules_last_word(&rest);
    if (rules_word_is(&in, "in")) {
        U2I_TRY(rules_read_count(p, number, &p->rule->window));
        c = rest;
        number = rules_last_word(&c);
    }
    U2I_TRY(rules_read_count(p, number, &p->rule->count));
    return rules_read_attr(p, c);
}

static int rules_parse_again(struct rules_parser *p, struct rules_cursor c) {
    U2I_TRY(rules_read_action(p, rules_first_word(&c), &p->rule->name));
    U2I_TRY(rules_take_word(p, &c, "after"));
    U2I_TRY(rules_read_time(p, rules_first_word(&c), &p->rule->seconds));
    if (rules_is_empty(&c)) {
        return U2I_OK;
    }
    U2I_TRY(rules_take_word(p, &c, "where"));
    return rules_read_expr(p, c);
}

/* [within T] */
static int rules_parse_within(struct rules_parser *p, struct rules_cursor *c) {
    if (rules_is_empty(c)) {
        return U2I_OK;
    }
    U2I_TRY(rules_take_word(p, c, "within"));
    U2I_TRY(rules_read_time(p, rules_first_word(c), &p->rule->seconds));
    return rules_take_end(p, c);
}

static int rules_parse_shown(struct rules_parser *p, struct rules_cursor c) {
    const struct rules_cursor what = rules_first_word(&c);
    if (rules_word_is(&what, "discount")) {
        U2I_TRY(rules_read_factor(p, rules_first_word(&c), &p->rule->factor));
        return rules_parse_within(p, &c);
    }
    if (!rules_word_is(&what, "cap")) {
        return rules_fail(p, what.p, "expected \"discount\" or \"cap\" after \"shown\"");
    }
    p->rule->kind = RULE_SHOWN_CAP;
    U2I_TRY(rules_read_count(p, rules_first_word(&c), &p->rule->count));
    if (rules_is_empty(&c)) {
        return rules_fail(p, c.p, "expected \"shown cap N within TIME\"");
    }
    return rules_parse_within(p, &c);
}

static int rules_parse_fresh(struct rules_parser *p, struct rules_cursor c) {
    const struct rules_cursor time = rules_last_word(&c);
    U2I_TRY(rules_take_last_word(p, &c, "half-life", "fresh ATTR half-life TIME"));
    U2I_TRY(rules_read_time(p, time, &p->rule->seconds));
    return rules_read_attr(p, c);
}

static int rules_parse_explore(struct rules_parser *p, struct rules_cursor c) {
    U2I_TRY(rules_count_lane(p));
    U2I_TRY(rules_read_share(p, rules_first_word(&c), &p->rule->share));
    U2I_TRY(rules_take_word(p, &c, "below"));
    U2I_TRY(rules_read_count(p, rules_first_word(&c), &p->rule->count));
    return rules_take_end(p, &c);
}

static int rules_parse_limit(struct rules_parser *p, struct rules_cursor c) {
    U2I_TRY(rules_read_action(p, rules_first_word(&c), &p->rule->name));
    U2I_TRY(rules_read_count(p, rules_first_word(&c), &p->rule->count));
    return rules_parse_within(p, &c);
}

static int rules_parse_mutual(struct rules_parser *p, struct rules_cursor c) {
    U2I_TRY(rules_read_action(p, rules_first_word(&c), &p->rule->name));
    return rules_take_end(p, &c);
}

static int rules_parse_two_sided(struct rules_parser *p, struct rules_cursor c) {
    const struct rules_cursor mean = rules_first_word(&c);
    p->rule->product = rules_word_is(&mean, "product");
    if (!p->rule->product && !rules_word_is(&mean, "harmonic")) {
        return rules_fail(p, mean.p, "expected \"harmonic\" or \"product\" after \"two-sided\"");
    }
    for (uint32_t i = 0; i < p->rules->n; i++) {
        if (p->rules->list[i].kind == RULE_TWO_SIDED) {
            return rules_fail(p, p->at, "line %u is two-sided already", p->rules->list[i].line);
        }
    }
    return rules_is_empty(&c) ? U2I_OK : rules_read_attr(p, c);
}

/* ---- All of them ------------------------------------------------------------------------------ */

static const struct {
    const char *word;
    enum rule_kind kind;
    int (*parse)(struct rules_parser *p, struct rules_cursor c);
} rules_table[] = {
    {"filter", RULE_FILTER, rules_parse_filter},
    {"require", RULE_FILTER, rules_parse_require},
    {"boost", RULE_BOOST, rules_parse_boost},
    {"match", RULE_MATCH, rules_parse_match},
    {"pin", RULE_PIN, rules_parse_pin},
    {"promote", RULE_PROMOTE, rules_parse_promote},
    {"cap", RULE_CAP, rules_parse_cap},
    {"again", RULE_AGAIN, rules_parse_again},
    {"shown", RULE_DISCOUNT, rules_parse_shown},
    {"fresh", RULE_FRESH, rules_parse_fresh},
    {"explore", RULE_EXPLORE, rules_parse_explore},
    {"limit", RULE_LIMIT, rules_parse_limit},
    {"mutual", RULE_MUTUAL, rules_parse_mutual},
    {"two-sided", RULE_TWO_SIDED, rules_parse_two_sided},
};

static int rules_parse_one(struct rules_parser *p, struct rules_cursor c) {
    const struct rules_cursor word = rules_first_word(&c);
    for (size_t i = 0; i < sizeof(rules_table) / sizeof(rules_table[0]); i++) {
        if (rules_word_is(&word, rules_table[i].word)) {
            p->rule->kind = rules_table[i].kind;
            return rules_table[i].parse(p, c);
        }
    }
    return rules_fail(p, word.p,
                      "\"%.*s\" is no rule; rules are filter, require, boost, match, pin, promote, "
                      "cap, again, shown, fresh, explore, limit, mutual and two-sided",
                      (int)utf8_prefix(word.p, (size_t)(word.end - word.p), 40), word.p);
}

/* One byte on, or two where a backslash takes the next one with it; *quote is the quote that is open. */
static const char *rules_step(const char *at, const char *end, char *quote) {
    if (*quote != '\0') {
        if (*at == '\\' && at + 1 < end && at[1] != '\n') {
            return at + 2;
        }
        *quote = *at == *quote ? '\0' : *quote;
    } else if (*at == '"' || *at == '\'') {
        *quote = *at;
    }
    return at + 1;
}

/* The next rule: up to ';', a comment or the end of the line, but not inside quotes. Behind it the cursor
 * stands at ';' or at the end of the line. */
static struct rules_cursor rules_split(struct rules_cursor *all) {
    struct rules_cursor one = {all->p, all->p};
    char quote = '\0';
    while (one.end < all->end && *one.end != '\n' &&
           (quote != '\0' || (*one.end != ';' && *one.end != '#'))) {
        one.end = rules_step(one.end, all->end, &quote);
    }
    all->p = one.end;
    if (all->p < all->end && *all->p == '#') {
        const char *const newline = memchr(all->p, '\n', (size_t)(all->end - all->p));
        all->p = newline != NULL ? newline : all->end;
    }
    rules_skip_space(&one);
    return one;
}

static int rules_parse_all(struct rules_parser *p, size_t n) {
    struct rules_cursor all = {p->text, p->text + n};
    uint32_t line = 1;
    while (all.p < all.end) {
        const struct rules_cursor one = rules_split(&all);
        struct rule rule = {.line = line};
        p->rule = &rule;
        p->at = one.p;
        if (!rules_is_empty(&one)) {
            if (p->rules->n == RULES_MAX) {
                return rules_fail(p, one.p, "more than %d rules", RULES_MAX);
            }
            p->rule = &p->rules->list[p->rules->n]; /* in place, so that what it owns is freed */
            *p->rule = rule;
            p->rule->text = arena_dup(&p->rules->arena, one.p, (size_t)(one.end - one.p));
            if (p->rule->text == NULL) {
                return error_oom(p->err);
            }
            const int rc = rules_parse_one(p, one);
            p->rules->n++;
            U2I_TRY(rc);
        }
        if (all.p < all.end) {
            line += *all.p == '\n';
            all.p++;
        }
    }
    return U2I_OK;
}

int rules_parse(const char *text, struct rules **out, u2i_error_t *err) {
    *out = NULL;
    text = text == NULL ? "" : text;
    const size_t n = strnlen(text, RULES_MAX_BYTES + 1);
    if (n > RULES_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "rules of more than %d bytes", RULES_MAX_BYTES);
    }
    if (!utf8_valid(text, n)) {
        return error_set(err, U2I_EINVAL, "rules are not valid UTF-8");
    }
    struct rules *const rules = mem_zalloc(sizeof(*rules));
    if (rules == NULL) {
        return error_oom(err);
    }
    struct rules_parser p = {.text = arena_dup(&rules->arena, text, n), .rules = rules, .err = err};
    const int rc = p.text != NULL ? rules_parse_all(&p, n) : error_oom(err);
    if (rc != U2I_OK) {
        rules_free(rules);
        return rc;
    }
    *out = rules;
    return U2I_OK;
}

void rules_free(struct rules *rules) {
    if (rules == NULL) {
        return;
    }
    for (uint32_t i = 0; i < rules->n; i++) {
        struct rule *const rule = &rules->list[i];
        filter_free(rule->filter);
        filter_free(rule->otherwise);
        attr_path_free(rule->path);
        for (uint32_t j = 0; j < rule->params_n; j++) {
            attr_path_free(rule->params[j].path);
        }
    }
    arena_free(&rules->arena);
    mem_free(rules);
}
