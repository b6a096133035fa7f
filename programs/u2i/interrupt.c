/* See interrupt.h. */
#include "interrupt.h"

/* Set by the handler, which can reach nothing else. */
static volatile sig_atomic_t interrupt_flag;

static void interrupt_on_signal(int number) {
    (void)number;
    interrupt_flag = 1;
}

const volatile sig_atomic_t *interrupt_watch(void) {
    struct sigaction action = {.sa_handler = interrupt_on_signal};
    action.sa_flags = (int)SA_RESETHAND;
    (void)sigemptyset(&action.sa_mask);
    /* Cannot fail with these numbers; without them, ^C would only be less polite. */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    return &interrupt_flag;
}
