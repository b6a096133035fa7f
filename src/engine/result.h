/* Building an answer; reading and freeing it is in engine.h. One thread at a time. */
#ifndef U2I_ENGINE_RESULT_H
#define U2I_ENGINE_RESULT_H

#include "engine.h"

/* Room for n hits. U2I_ENOMEM. */
int result_new(size_t n, const u2i_explain_t *why, u2i_result_t **out, u2i_error_t *err);
/* Copies the hit's strings; NULL ones become "" (attrs_json "{}"). U2I_ENOMEM. */
int result_add(u2i_result_t *r, const u2i_hit_t *hit, u2i_error_t *err);

#endif
