/* Presets: for each kind of business the settings, actions and ranking rules to start from. A preset is
 * nothing but values of settings: using it sets them, and each can be changed afterwards
 * (docs/ranking.md, docs/verticals/). */
#ifndef U2I_ENGINE_PRESETS_H
#define U2I_ENGINE_PRESETS_H

#include "engine.h"
#include <stddef.h>

struct preset_setting {
    const char *name, *value;
};
struct preset {
    const char *name; /* "ecommerce" */
    const char *help; /* one line */
    const struct preset_setting *settings;
    size_t settings_n;
};

const struct preset *preset_at(size_t i); /* NULL past the last one */
const struct preset *preset_find(const char *name);
/* Sets all of its settings. U2I_ENOTFOUND names the presets there are; errors of engine_set_setting(). */
int preset_use(struct engine *e, const char *name, u2i_error_t *err);

#endif
