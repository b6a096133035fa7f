/* What tests of ranking rules share: a rule looked up by its kind and action. */
#ifndef U2I_TESTS_RULE_FOR_H
#define U2I_TESTS_RULE_FOR_H

#include "engine/rules.h"
#include <string.h>

/* The first rule of the kind for the action; NULL if there is none. */
static inline const struct rule *rule_for(const struct rules_bound *b, enum rule_kind kind,
                                          const char *action) {
    uint32_t from;
    const uint32_t n = rules_of(b, kind, &from);
    for (uint32_t i = from; i < from + n; i++) {
        if (strcmp(b->list[i].rule->name, action) == 0) {
            return b->list[i].rule;
        }
    }
    return NULL;
}

#endif
