/* What the files of hub/ share: names, paths, and folders on the disk. */
#ifndef U2I_HUB_INTERNAL_H
#define U2I_HUB_INTERNAL_H

#include "hub/hub.h"
#include <stdbool.h>
#include <stddef.h>

/* folder/name, for mem_free(); NULL without memory. */
char *hub_join(const char *folder, const char *name);
/* The last part of NAME or ORG/NAME. U2I_EINVAL if either is no name: letters, digits, '.', '_' and '-',
 * but no '.' in front; `what` names it in the message. */
int hub_name_check(const char *name, const char *what, const char **last, u2i_error_t *err);
bool hub_is_folder(const char *path);
/* "DOING PATH: REASON" of errno, U2I_EIO; says in plain words when the disk is full. */
int hub_fail(const char *doing, const char *path, u2i_error_t *err);

#endif
