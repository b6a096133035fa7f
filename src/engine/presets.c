/* What each kind of business starts from. The rules name attributes by the words below; a catalogue that calls
 * them otherwise changes the rules, which are a setting like any other. Conditions on an item's attribute
 * let items pass that don't have it (`x is null or ...`), unless they are what the whole preset is about.
 *
 * Times and counts are starting points of common sense, not measurements, and say so in the guides. */
#include "presets.h"

#include "base/buf.h"
#include "base/error.h"

#include <string.h>

/* ---- A shop ----------------------------------------------------------------------------------- */

static const char presets_ecommerce_rules[] =
    "# Only what can be bought: in_stock true/false, or stock as a count.\n"
    "filter in_stock is null or in_stock == true\n"
    "filter stock is null or stock > 0\n"
    "# Prices like those the user goes for; much dearer and much cheaper have half the odds.\n"
    "boost price > {history.price.high} * 1.5 by 0.5\n"
    "boost price < {history.price.low} * 0.5 by 0.5\n"
    "# One variant (colour, size) of a product; not a page of one brand or category.\n"
    "cap group 1\n"
    "cap brand 3 in 10\n"
    "cap category 5 in 10\n"
    "# Consumables come back when they may be used up; the rest is bought once. What was only "
    "looked at\n"
    "# or wished for comes back.\n"
    "again purchase after 30d where consumable == true\n"
    "again buy after 30d where consumable == true\n"
    "again add_cart after 14d\n"
    "again favorite after 14d\n"
    "again like after 14d\n"
    "again click after 2d\n"
    "again view after 2d\n"
    "# New items get a chance.\n"
    "explore 5% below 20\n";

static const struct preset_setting presets_ecommerce[] = {
    {"half_life_s", "5184000"},       /* 60 days */
    {"recent_half_life_s", "259200"}, /* 3 days: the trend */
    {"popular_blend", "0.6"},
    {"rules", presets_ecommerce_rules},
};

/* ---- News, videos, posts ----------------------------------------------------------------------- */

static const char presets_content_rules[] =
    "# Published and not expired; both Unix seconds.\n"
    "filter publish_at is null or publish_at <= {now}\n"
    "filter expire_at is null or expire_at > {now}\n"
    "# Authors and topics that the user has muted (lists in the user's attributes).\n"
    "filter author is null or author not in {user.muted_authors}\n"
    "filter topic is null or topic not in {user.muted_topics}\n"
    "# News gets old, and what was shown in vain is not what the user wants.\n"
    "fresh publish_at half-life 24h\n"
    "shown discount 0.7 within 7d\n"
    "# Scrolling on doesn't show the same again.\n"
    "shown cap 1 within 30m\n"
    "# A feed is mixed.\n"
    "cap author 2 in 10\n"
    "cap topic 4 in 10\n"
    "explore 10% below 50\n";

static const struct preset_setting presets_content[] = {
    {"action.dwell", "1"}, /* value: minutes read, so that a long read weighs more */
    {"action.read", "1.5"},
    {"action.share", "3"},
    {"action.comment", "3"},
    {"action.mute", "exclude"},
    {"half_life_s", "1209600"},         /* 14 days */
    {"popular_half_life_s", "2592000"}, /* 30 days */
    {"recent_half_life_s", "21600"},    /* 6 hours */
    {"popular_blend", "0.8"},
    {"diversity", "0.3"},
    {"protected", "muted_authors muted_topics"}, /* what is muted is no interest */
    {"rules", presets_content_rules},
};

/* ---- Jobs -------------------------------------------------------------------------------------- */

static const char presets_recruitment_rules[] =
    "# Hard constraints of the candidate, each by itself: one that the candidate hasn't stated is "
    "none.\n"
    "filter remote == true or place in {user.places}\n"
    "filter salary_max is null or salary_max >= {user.salary_min}\n"
    "filter language is null or language in {user.languages}\n"
    "filter visa_sponsored == true or country in {user.work_permits}\n"
    "# Expired and filled jobs are gone at once.\n"
    "filter expires is null or expires > {now}\n"
    "filter filled is null or filled == false\n"
    "# Candidates may be items too, for employers: who seeks them says so; everybody else is shown "
    "jobs.\n"
    "filter kind == {user.seeks} else kind is null or kind == \"job\"\n"
    "# Skills asked for and had; which are missing is told as a reason.\n"
    "match requirements with {user.skills} by 4\n"
    "# The employer's interest counts as much as the candidate's.\n"
    "two-sided harmonic employer\n"
    "# Enough applications are enough; nobody fills the page.\n"
    "limit apply 200\n"
    "cap employer 2 in 10\n"
    "# What was looked at without applying comes back.\n"
    "again click after 1d\n"
    "again view after 1d\n"
    "again save after 7d\n"
    "explore 10% below 10\n";

static const struct preset_setting presets_recruitment[] = {
    {"action.apply", "5"},
    {"action.save", "3"},
    {"action.invite", "5"}, /* what employers do */
    {"action.shortlist", "3"},
    {"action.not_interested", "exclude"},
    {"half_life_s", "2592000"},       /* 30 days */
    {"recent_half_life_s", "604800"}, /* 7 days */
    {"protected",
     "age birthday birth_date date_of_birth gender sex religion ethnicity race nationality "
     "disability "
     "marital_status pregnant orientation sexual_orientation political_views union photo"},
    {"rules", presets_recruitment_rules},
};

/* ---- People ------------------------------------------------------------------------------------ */

static const char presets_dating_rules[] =
    "# Items are people: an item's id is the id of the user that it shows.\n"
    "two-sided harmonic\n"
    "# What each seeks, checked both ways.\n"
    "filter gender in {user.seeks}\n"
    "filter array_contains(seeks, {user.gender})\n"
    "filter age >= {user.age_min}\n"
    "filter age <= {user.age_max}\n"
    "filter age_min is null or age_min <= {user.age}\n"
    "filter age_max is null or age_max >= {user.age}\n"
    "filter place is null or place in {user.places}\n"
    "filter active is null or active == true\n"
    "# Who blocks or reports is gone for both at once.\n"
    "mutual block\n"
    "mutual report\n"
    "# A pass is for now.\n"
    "again pass after 30d\n"
    "again view after 1d\n"
    "# Nobody is shown to everybody, nor to one again and again.\n"
    "limit impression 500 within 1d\n"
    "shown cap 3 within 7d\n"
    "explore 10% below 20\n";

static const struct preset_setting presets_dating[] = {
    {"action.message", "5"},
    {"action.match", "4"},
    {"action.pass", "exclude"},
    {"action.block", "exclude"},
    {"action.report", "exclude"},
    {"half_life_s", "2592000"},           /* 30 days */
    {"protected", "gender seeks places"}, /* constraints, no interests */
    {"rules", presets_dating_rules},
};

/* ---- All of them ------------------------------------------------------------------------------- */

#define PRESET_SETTINGS(list) list, sizeof(list) / sizeof((list)[0])
static const struct preset presets_table[] = {
    {"ecommerce", "a shop: stock, prices like before, one variant, brands mixed, re-buying",
     PRESET_SETTINGS(presets_ecommerce)},
    {"content", "news, videos, posts: fresh, unread, mixed authors and topics, publishing windows",
     PRESET_SETTINGS(presets_content)},
    {"recruitment", "jobs: the candidate's constraints, both sides' interest, enough applications",
     PRESET_SETTINGS(presets_recruitment)},
    {"dating", "people: filters and score both ways, blocks for both, fair exposure",
     PRESET_SETTINGS(presets_dating)},
};
#define PRESETS_N (sizeof(presets_table) / sizeof(presets_table[0]))

const struct preset *preset_at(size_t i) {
    return i < PRESETS_N ? &presets_table[i] : NULL;
}

const struct preset *preset_find(const char *name) {
    for (size_t i = 0; i < PRESETS_N; i++) {
        if (strcmp(presets_table[i].name, name) == 0) {
            return &presets_table[i];
        }
    }
    return NULL;
}

static int preset_unknown(const char *name, u2i_error_t *err) {
    struct buf known = {0};
    for (size_t i = 0; i < PRESETS_N; i++) {
        buf_printf(&known, "%s%s",
                   i == 0              ? ""
                   : i + 1 < PRESETS_N ? ", "
                                       : " and ",
                   presets_table[i].name);
    }
    const int rc = error_set(err, U2I_ENOTFOUND, "there is no preset \"%.40s\"; there are %s", name,
                             known.failed ? "others" : known.data);
    buf_free(&known);
    return rc;
}

int preset_use(struct engine *e, const char *name, u2i_error_t *err) {
    const struct preset *const preset = preset_find(name);
    if (preset == NULL) {
        return preset_unknown(name, err);
    }
    for (size_t i = 0; i < preset->settings_n; i++) {
        const struct preset_setting *const s = &preset->settings[i];
        U2I_TRY(engine_set_setting(e, s->name, s->value, err));
    }
    return U2I_OK;
}
