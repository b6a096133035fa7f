/* One row per setting: where it lives in struct settings, what it accepts, what it means. Actions are
 * settings too (action.NAME), kept as a sorted array since a store may add its own. */
#include "settings.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/number.h"
#include "base/utf8.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

enum setting_type {
    SETTING_REAL,
    SETTING_INTEGER,
    SETTING_CHOICE,
    SETTING_ACTION,
    SETTING_NAMES,
    SETTING_PATH,
    SETTING_PREFIX,
    SETTING_URL,
    SETTING_RULES,
    SETTING_PARTS
};

struct setting_def {
    const char *name, *initial, *help;
    enum setting_type type;
    size_t at;              /* offset in struct settings */
    double min, max;        /* inclusive */
    const char *choices[4]; /* their index is the value */
};

#define SETTING_SCRATCH_BYTES 64 /* of any value but rules */

#define AT(field) offsetof(struct settings, field)
/* Sorted by name; action.* sort before all of them. */
static const struct setting_def setting_defs[] = {
    {"decay",
     "0.9",
     "profile_mode decay: an event weighs decay^rank; over 0, under 1",
     SETTING_REAL,
     AT(recency.decay),
     1e-6,
     0.999999,
     {0}},
    {"diversity",
     "0",
     "how much alike items push each other down in an answer, 0 (by score alone) to 1",
     SETTING_REAL,
     AT(diversity),
     0,
     1,
     {0}},
    {"durability",
     "full",
     "full: an acknowledged write survives a power cut; normal: it survives a crash of the process",
     SETTING_CHOICE,
     AT(durability),
     0,
     0,
     {"full", "normal"}},
    {"half_life_s",
     "7776000",
     "an event counts half after this many seconds (90 days)",
     SETTING_REAL,
     AT(recency.half_life_s),
     1,
     1e11,
     {0}},
    {"index_ef_construction",
     "200",
     "index: candidates looked at for the links of a new vector, 8..4096; holds for the next build",
     SETTING_INTEGER,
     AT(index.ef_construction),
     8,
     HNSW_EF_CONSTRUCTION_MAX,
     {0}},
    {"index_ef_search",
     "0",
     "index: candidates kept by a search, up to 4096; 0: as many as index_recall needs",
     SETTING_INTEGER,
     AT(index.ef_search),
     0,
     HNSW_EF_CONSTRUCTION_MAX,
     {0}},
    {"index_exact_max",
     "10000",
     "up to so many vectors are all compared, more get an index; 4294967295: compare always",
     SETTING_INTEGER,
     AT(index.exact_max),
     0,
     UINT32_MAX,
     {0}},
    {"index_m",
     "16",
     "index: links of a vector, 4..64; holds for the next build",
     SETTING_INTEGER,
     AT(index.links),
     4,
     HNSW_LINKS_MAX,
     {0}},
    {"index_recall",
     "0.95",
     "index: share of the exact answers that a search is to find, 0.5..0.999",
     SETTING_REAL,
     AT(index.recall),
     0.5,
     0.999,
     {0}},
    {"long_texts",
     "cut",
     "of a text longer than the model takes: cut: its beginning counts; average: it is embedded in "
     "pieces, whose vectors are averaged; in a store with items only u2i reembed changes it",
     SETTING_CHOICE,
     AT(long_texts),
     0,
     0,
     {"cut", "average"}},
    {"max_future_s",
     "86400",
     "an event further ahead of now than this is refused",
     SETTING_INTEGER,
     AT(max_future_s),
     0,
     4e9,
     {0}},
    {"mode",
     "hybrid",
     "hybrid: what training learnt, moved by every event; realtime: without training; offline: "
     "events count from the next training on",
     SETTING_CHOICE,
     AT(mode),
     0,
     0,
     {"hybrid", "realtime", "offline"}},
    {"model_folder",
     "",
     "where the model lies that makes vectors of text; holds for the next opening of the store",
     SETTING_PATH,
     AT(model_folder),
     0,
     0,
     {0}},
    {"model_precision",
     "auto",
     "what a BERT model computes with: f32, int8 (faster, nearly the same vectors), or auto: int8 "
     "where a check finds the vectors near enough; holds for the next opening of the store",
     SETTING_CHOICE,
     AT(model_precision),
     0,
     0,
     {"auto", "f32", "int8"}},
    {"model_url",
     "",
     "where a remote model is asked (https://HOST/v1#NAME); holds for the next opening of the "
     "store",
     SETTING_URL,
     AT(model_url),
     0,
     0,
     {0}},
    {"passage_prefix",
     "",
     "put before an item's text for the model, as some want it (e5: \"passage: \"); in a store "
     "with items only u2i reembed changes it",
     SETTING_PREFIX,
     AT(passage_prefix),
     0,
     0,
     {0}},
    {"popular_blend",
     "0.5",
     "share of the recent count in popularity, 0..1",
     SETTING_REAL,
     AT(popular_blend),
     0,
     1,
     {0}},
    {"popular_half_life_s",
     "31536000",
     "half-life of the long-term popularity count (365 days)",
     SETTING_REAL,
     AT(popular_half_life_s),
     1,
     1e11,
     {0}},
    {"profile_mode",
     "rank",
     "recency of an event: rank (rank^-rank_power x half-life), decay (decay^rank) or half_life",
     SETTING_CHOICE,
     AT(recency.mode),
     0,
     0,
     {"rank", "decay", "half_life"}},
    {"protected",
     "",
     "names of users' attributes, separated by spaces, that are kept out of profiles and cold "
     "starts",
     SETTING_NAMES,
     AT(protected),
     0,
     0,
     {0}},
    {"query_prefix",
     "",
     "put before a question's text for the model, as some want it (e5: \"query: \")",
     SETTING_PREFIX,
     AT(query_prefix),
     0,
     0,
     {0}},
    {"rank_power",
     "0.5",
     "profile_mode rank: the power p of rank^-p, 0..4",
     SETTING_REAL,
     AT(recency.rank_power),
     0,
     4,
     {0}},
    {"recency_floor",
     "0.02",
     "least share of the newest event's recency that an old event keeps",
     SETTING_REAL,
     AT(recency.floor),
     0,
     1,
     {0}},
    {"recent_half_life_s",
     "604800",
     "half-life of the recent popularity count (7 days)",
     SETTING_REAL,
     AT(recent_half_life_s),
     1,
     1e11,
     {0}},
    {"rules",
     "",
     "ranking rules, one a line: boost, cap, pin, filter... (docs/ranking.md)",
     SETTING_RULES,
     AT(rules),
     0,
     0,
     {0}},
    {"train_after_events",
     "0.1",
     "train_auto: train again when this share of the log is new since the last training, 0.001..10",
     SETTING_REAL,
     AT(train_after_events),
     0.001,
     10,
     {0}},
    {"train_auto",
     "on",
     "on: a server trains by itself when enough is new; off: only when told to",
     SETTING_CHOICE,
     AT(train_auto),
     0,
     0,
     {"off", "on"}},
    {"train_parts",
     "all",
     "which parts a training may use: all, or some of "
     "ease,ials,sequence,neighbours,trend,popular,content",
     SETTING_PARTS,
     AT(train_parts),
     0,
     0,
     {0}},
    {"unknown_action",
     "refuse",
     "an event with an action that no setting names: refuse, or the action it is taken for",
     SETTING_ACTION,
     AT(unknown_action),
     0,
     0,
     {0}},
    {"unknown_item",
     "refuse",
     "an event with an item that does not exist: refuse, or keep for later",
     SETTING_CHOICE,
     AT(unknown_item),
     0,
     0,
     {"refuse", "keep"}},
    {"window",
     "500",
     "how many of a user's newest events make the profile",
     SETTING_INTEGER,
     AT(window),
     1,
     U2I_WINDOW_MAX,
     {0}},
};
#undef AT
#define SETTINGS_N (sizeof(setting_defs) / sizeof(setting_defs[0]))

/* The reference's weights, except that a dislike excludes instead of pulling the profile away: a
 * weight of -2 measurably hurts (docs/profiles.md). */
static const struct {
    const char *name, *value;
} setting_actions[] = {
    {"add_cart", "3"},      {"buy", "3"},        {"click", "1.5"},
    {"dislike", "exclude"}, {"favorite", "2.5"}, {"impression", "0"},
    {"like", "2.5"},        {"purchase", "5"},   {"view", "1"},
};
#define SETTING_ACTIONS_N (sizeof(setting_actions) / sizeof(setting_actions[0]))
#define ACTION_PREFIX     "action."
#define ACTION_HELP                                                                                \
    "weight of an event with this action; below 0 or \"exclude\": the item is left out"

/* ---- Actions ------------------------------------------------------------------------------ */

static const char *action_initial(const char *name) {
    for (size_t i = 0; i < SETTING_ACTIONS_N; i++) {
        if (strcmp(setting_actions[i].name, name) == 0) {
            return setting_actions[i].value;
        }
    }
    return NULL;
}

/* Where `name` is, or where it would go. */
static size_t action_position(const struct settings *s, const char *name, bool *found) {
    size_t i = 0;
    while (i < s->actions_n && strcmp(s->actions[i].name, name) < 0) {
        i++;
    }
    *found = i < s->actions_n && strcmp(s->actions[i].name, name) == 0;
    return i;
}

const struct action *settings_action(const struct settings *s, const char *name) {
    bool found;
    const size_t i = action_position(s, name, &found);
    return found ? &s->actions[i] : NULL;
}

static bool action_name_ok(const char *name) {
    const size_t n = strlen(name);
    const size_t plain = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_-.");
    return n >= 1 && n <= U2I_ACTION_MAX_BYTES && plain == n;
}

static int action_parse(const char *name, const char *value, struct action *out, u2i_error_t *err) {
    double weight = 0;
    const bool exclude = strcmp(value, "exclude") == 0;
    if (!exclude && (!number_parse(value, &weight) || fabs(weight) > 1000)) {
        return error_set(err, U2I_EINVAL,
                         "action.%s is \"%s\", but must be a weight -1000..1000 or \"exclude\"",
                         name, value);
    }
    *out = (struct action){.weight = (float)weight, .exclude = exclude || weight < 0};
    (void)snprintf(out->name, sizeof(out->name), "%s", name); /* fits: action_name_ok() */
    return U2I_OK;
}

static void action_remove(struct settings *s, const char *name) {
    bool found;
    const size_t i = action_position(s, name, &found);
    if (found) {
        s->actions_n--;
        memmove(&s->actions[i], &s->actions[i + 1], (s->actions_n - i) * sizeof(s->actions[0]));
    }
}

static int action_put(struct settings *s, const char *name, const char *value, u2i_error_t *err) {
    if (!action_name_ok(name)) {
        return error_set(err, U2I_EINVAL,
                         "an action's name has 1 to %d letters, digits, '_', '-' or '.'",
                         U2I_ACTION_MAX_BYTES);
    }
    if (value == NULL) {
        value = action_initial(name);
    }
    if (value == NULL) {
        action_remove(s, name);
        return U2I_OK;
    }
    struct action a;
    U2I_TRY(action_parse(name, value, &a, err));
    bool found;
    const size_t i = action_position(s, name, &found);
    if (!found) {
        if (array_reserve(&s->actions, &s->actions_cap, s->actions_n + 1, sizeof(a)) != U2I_OK) {
            return error_oom(err);
        }
        memmove(&s->actions[i + 1], &s->actions[i], (s->actions_n - i) * sizeof(a));
        s->actions_n++;
    }
    s->actions[i] = a;
    return U2I_OK;
}

static void action_print(const struct action *a, char *buf, size_t bytes) {
    if (a->exclude && a->weight >= 0) {
        (void)snprintf(buf, bytes, "exclude");
    } else {
        number_print(buf, bytes, 6, (double)a->weight);
    }
}

/* ---- One setting ---------------------------------------------------------------------------- */

static const struct setting_def *setting_find(const char *name) {
    for (size_t i = 0; i < SETTINGS_N; i++) {
        if (strcmp(setting_defs[i].name, name) == 0) {
            return &setting_defs[i];
        }
    }
    return NULL;
}

static void *setting_field(const struct settings *s, const struct setting_def *d) {
    return (char *)(uintptr_t)s + d->at; /* writers pass a settings of their own */
}

static int setting_put_number(struct settings *s, const struct setting_def *d, const char *value,
                              u2i_error_t *err) {
    double x;
    const bool whole = d->type == SETTING_INTEGER;
    if (!number_parse(value, &x) || x < d->min || x > d->max || (whole && x != floor(x))) {
        return error_set(err, U2I_EINVAL, "%s is \"%s\", but must be a %snumber from %g to %g",
                         d->name, value, whole ? "whole " : "", d->min, d->max);
    }
    if (whole) {
        *(uint32_t *)setting_field(s, d) = (uint32_t)x;
    } else {
        *(double *)setting_field(s, d) = x;
    }
    return U2I_OK;
}

static int setting_put_choice(struct settings *s, const struct setting_def *d, const char *value,
                              u2i_error_t *err) {
    struct buf accepted = {0};
    for (int i = 0; i < 4 && d->choices[i] != NULL; i++) {
        if (strcmp(d->choices[i], value) == 0) {
            *(int *)setting_field(s, d) = i;
            buf_free(&accepted);
            return U2I_OK;
        }
        buf_printf(&accepted, "%s\"%s\"", i == 0 ? "" : " or ", d->choices[i]);
    }
    const int rc = error_set(err, U2I_EINVAL, "%s is \"%s\", but must be %s", d->name, value,
                             accepted.failed ? "another word" : accepted.data);
    buf_free(&accepted);
    return rc;
}

static int setting_put_action(struct settings *s, const struct setting_def *d, const char *value,
                              u2i_error_t *err) {
    const bool refuse = strcmp(value, "refuse") == 0;
    if (!refuse && settings_action(s, value) == NULL) {
        return error_set(err, U2I_EINVAL, "%s is \"%s\", but must be \"refuse\" or an action",
                         d->name, value);
    }
    (void)snprintf(setting_field(s, d), U2I_ACTION_MAX_BYTES + 1, "%s", refuse ? "" : value);
    return U2I_OK;
}

static int setting_put_names(struct settings *s, const struct setting_def *d, const char *value,
                             u2i_error_t *err) {
    if (strlen(value) > SETTINGS_NAMES_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "%s of %zu bytes is over %d", d->name, strlen(value),
                         SETTINGS_NAMES_MAX_BYTES);
    }
    memcpy(setting_field(s, d), value, strlen(value) + 1);
    return U2I_OK;
}

static int setting_put_path(struct settings *s, const struct setting_def *d, const char *value,
                            u2i_error_t *err) {
    if (strlen(value) > SETTINGS_PATH_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "%s of %zu bytes is over %d", d->name, strlen(value),
                         SETTINGS_PATH_MAX_BYTES);
    }
    if (value[0] != '\0' && value[0] != '/') { /* every process has another folder to start from */
        return error_set(err, U2I_EINVAL, "%s is \"%s\", but must be a whole path, from / on",
                         d->name, value);
    }
    memcpy(setting_field(s, d), value, strlen(value) + 1);
    return U2I_OK;
}

static int setting_put_url(struct settings *s, const struct setting_def *d, const char *value,
                           u2i_error_t *err) {
    const size_t n = strlen(value);
    if (n > SETTINGS_PATH_MAX_BYTES || !utf8_valid(value, n)) {
        return error_set(err, U2I_EINVAL, "%s is over %d bytes, or no UTF-8", d->name,
                         SETTINGS_PATH_MAX_BYTES);
    }
    if (n > 0 && (strstr(value, "://") == NULL || strchr(value, '#') == NULL)) {
        return error_set(err, U2I_EINVAL, "%s is \"%.64s\", but must be as https://HOST/v1#NAME",
                         d->name, value);
    }
    memcpy(setting_field(s, d), value, n + 1);
    return U2I_OK;
}

static int setting_put_prefix(struct settings *s, const struct setting_def *d, const char *value,
                              u2i_error_t *err) {
    const size_t n = strlen(value);
    if (n > SETTINGS_PREFIX_MAX_BYTES) {
        return error_set(err, U2I_EINVAL, "%s of %zu bytes is over %d", d->name, n,
                         SETTINGS_PREFIX_MAX_BYTES);
    }
    if (!utf8_valid(value, n)) {
        return error_set(err, U2I_EINVAL, "%s is not UTF-8 text", d->name);
    }
    memcpy(setting_field(s, d), value, n + 1);
    return U2I_OK;
}

bool settings_protects(const struct settings *s, const char *attribute) {
    const size_t n = strlen(attribute);
    for (const char *p = s->protected; *p != '\0';) {
        const size_t word = strcspn(p, " \t\n,");
        if (word == n && n > 0 && memcmp(p, attribute, n) == 0) {
            return true;
        }
        p += word;
        p += strspn(p, " \t\n,");
    }
    return false;
}

#define SETTING_PART_SEPARATORS ", "

/* "ease,trend" -> bits; "all" -> 0. */
static int setting_put_parts(struct settings *s, const struct setting_def *d, const char *value,
                             u2i_error_t *err) {
    uint32_t bits = 0;
    const char *p = strcmp(value, "all") == 0 ? "" : value;
    for (p += strspn(p, SETTING_PART_SEPARATORS); *p != '\0';) {
        const size_t n = strcspn(p, SETTING_PART_SEPARATORS);
        int part = 0;
        while (part < MODEL_PARTS_N &&
               (strlen(model_part_name((enum model_part)part)) != n ||
                strncmp(model_part_name((enum model_part)part), p, n) != 0)) {
            part++;
        }
        if (part == MODEL_PARTS_N) {
            return error_set(err, U2I_EINVAL, "%s names \"%.*s\": %s", d->name,
                             (int)(n < 64 ? n : 64), p, d->help);
        }
        bits |= 1u << part;
        p += n + strspn(p + n, SETTING_PART_SEPARATORS);
    }
    *(uint32_t *)setting_field(s, d) = bits;
    return U2I_OK;
}

static void setting_print_parts(uint32_t bits, char *buf, size_t bytes) {
    size_t at = 0;
    (void)snprintf(buf, bytes, "all");
    for (int part = 0; part < MODEL_PARTS_N && bits != 0; part++) {
        if ((bits & 1u << part) != 0 && at < bytes) {
            at += (size_t)snprintf(buf + at, bytes - at, "%s%s", at == 0 ? "" : ",",
                                   model_part_name((enum model_part)part));
        }
    }
}

static int setting_put_rules(struct settings *s, const struct setting_def *d, const char *value,
                             u2i_error_t *err) {
    struct settings_rules fresh = {.text = str_dup(value, strlen(value))};
    if (fresh.text == NULL) {
        return error_oom(err);
    }
    const int rc = rules_parse(value, &fresh.parsed, err);
    if (rc != U2I_OK) {
        mem_free(fresh.text);
        return rc;
    }
    struct settings_rules *const field = setting_field(s, d);
    mem_free(field->text);
    rules_free(field->parsed);
    *field = fresh;
    return U2I_OK;
}

int settings_put(struct settings *s, const char *name, const char *value, u2i_error_t *err) {
    if (strncmp(name, ACTION_PREFIX, strlen(ACTION_PREFIX)) == 0) {
        return action_put(s, name + strlen(ACTION_PREFIX), value, err);
    }
    const struct setting_def *d = setting_find(name);
    if (d == NULL) {
        return error_set(err, U2I_ENOTFOUND, "there is no setting \"%s\"", name);
    }
    value = value == NULL ? d->initial : value;
    switch (d->type) {
    case SETTING_REAL:
    case SETTING_INTEGER:
        return setting_put_number(s, d, value, err);
    case SETTING_CHOICE:
        return setting_put_choice(s, d, value, err);
    case SETTING_ACTION:
        return setting_put_action(s, d, value, err);
    case SETTING_NAMES:
        return setting_put_names(s, d, value, err);
    case SETTING_PATH:
        return setting_put_path(s, d, value, err);
    case SETTING_PREFIX:
        return setting_put_prefix(s, d, value, err);
    case SETTING_URL:
        return setting_put_url(s, d, value, err);
    case SETTING_PARTS:
        return setting_put_parts(s, d, value, err);
    case SETTING_RULES:
        return setting_put_rules(s, d, value, err);
    }
    return error_set(err, U2I_EINTERNAL, "setting %s has no type", name);
}

/* The value as text: in `scratch`, or where the setting keeps it. */
static const char *setting_show(const struct settings *s, const struct setting_def *d,
                                char scratch[SETTING_SCRATCH_BYTES]) {
    const void *field = setting_field(s, d);
    switch (d->type) {
    case SETTING_REAL:
        number_print(scratch, SETTING_SCRATCH_BYTES, 12, *(const double *)field);
        break;
    case SETTING_INTEGER:
        (void)snprintf(scratch, SETTING_SCRATCH_BYTES, "%u", *(const uint32_t *)field);
        break;
    case SETTING_CHOICE:
        return d->choices[*(const int *)field];
    case SETTING_ACTION:
        return *(const char *)field == '\0' ? "refuse" : field;
    case SETTING_NAMES:
    case SETTING_PATH:
    case SETTING_PREFIX:
    case SETTING_URL:
        return field;
    case SETTING_PARTS:
        setting_print_parts(*(const uint32_t *)field, scratch, SETTING_SCRATCH_BYTES);
        break;
    case SETTING_RULES:
        return ((const struct settings_rules *)field)->text;
    }
    return scratch;
}

int settings_print(const struct settings *s, const char *name, char *buf, size_t bytes,
                   u2i_error_t *err) {
    char scratch[SETTING_SCRATCH_BYTES];
    const char *text = scratch;
    const struct setting_def *d = NULL;
    const struct action *a = NULL;
    if (strncmp(name, ACTION_PREFIX, strlen(ACTION_PREFIX)) == 0) {
        a = settings_action(s, name + strlen(ACTION_PREFIX));
    } else {
        d = setting_find(name);
    }
    if (a == NULL && d == NULL) {
        return error_set(err, U2I_ENOTFOUND, "there is no setting \"%s\"", name);
    }
    if (d != NULL) {
        text = setting_show(s, d, scratch);
    } else {
        action_print(a, scratch, sizeof(scratch));
    }
    if (strlen(text) >= bytes) {
        return error_set(err, U2I_EINVAL, "the value of \"%s\" needs %zu bytes, the buffer has %zu",
                         name, strlen(text) + 1, bytes);
    }
    memcpy(buf, text, strlen(text) + 1);
    return U2I_OK;
}

/* ---- All of them ---------------------------------------------------------------------------- */

void settings_each(const struct settings *s, u2i_setting_fn fn, void *ctx) {
    char name[sizeof(ACTION_PREFIX) + U2I_ACTION_MAX_BYTES], value[SETTING_SCRATCH_BYTES];
    for (size_t i = 0; i < s->actions_n; i++) {
        const struct action *a = &s->actions[i];
        const char *initial = action_initial(a->name);
        (void)snprintf(name, sizeof(name), ACTION_PREFIX "%s", a->name);
        action_print(a, value, sizeof(value));
        const u2i_setting_t shown = {name, value, initial == NULL ? "" : initial, ACTION_HELP};
        if (fn(ctx, &shown) != 0) {
            return;
        }
    }
    for (size_t i = 0; i < SETTINGS_N; i++) {
        const struct setting_def *d = &setting_defs[i];
        const u2i_setting_t shown = {d->name, setting_show(s, d, value), d->initial, d->help};
        if (fn(ctx, &shown) != 0) {
            return;
        }
    }
}

int settings_init(struct settings *s, u2i_error_t *err) {
    *s = (struct settings){0};
    int rc = U2I_OK;
    for (size_t i = 0; i < SETTING_ACTIONS_N && rc == U2I_OK; i++) {
        rc = action_put(s, setting_actions[i].name, NULL, err);
    }
    for (size_t i = 0; i < SETTINGS_N && rc == U2I_OK; i++) {
        rc = settings_put(s, setting_defs[i].name, NULL, err);
    }
    if (rc != U2I_OK) {
        settings_free(s);
    }
    return rc;
}

void settings_free(struct settings *s) {
    mem_free(s->actions);
    mem_free(s->rules.text);
    rules_free(s->rules.parsed);
    *s = (struct settings){0};
}
