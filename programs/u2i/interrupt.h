/* ^C and SIGTERM for work that takes long and can be left off between two steps. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <signal.h>

/* From now on the first signal only sets the flag; the second one kills. */
const volatile sig_atomic_t *interrupt_watch(void);

#endif
