/* Free memory: MemAvailable of /proc/meminfo (free pages and what the page cache would give up), and the limit
 * and use of the process's own control group (v2, seen from inside of a container; its cached file pages
 * that nobody has used lately can be had too), whichever is less. */
#include "base/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The number after `name` at the start of a line, or the file's first if name is "". */
static bool memory_number(const char *path, const char *name, uint64_t *out) {
    FILE *const f = fopen(path, "re");
    char line[256];
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        found = strncmp(line, name, strlen(name)) == 0 &&
                sscanf(line + strlen(name), "%" SCNu64, out) == 1;
    }
    if (f != NULL) {
        (void)fclose(f); /* was only read */
    }
    return found;
}

uint64_t memory_free_bytes(void) {
    uint64_t kib = 0;
    uint64_t limit = 0;
    uint64_t used = 0;
    uint64_t cached = 0;
    const uint64_t machine =
        memory_number("/proc/meminfo", "MemAvailable:", &kib) ? kib << 10 : UINT64_MAX;
    if (!memory_number("/sys/fs/cgroup/memory.max", "", &limit) ||
        !memory_number("/sys/fs/cgroup/memory.current", "", &used)) {
        return machine; /* "max" is no number */
    }
    (void)memory_number("/sys/fs/cgroup/memory.stat", "inactive_file ", &cached); /* else 0 */
    used -= cached < used ? cached : used;
    const uint64_t left = limit > used ? limit - used : 0;
    return left < machine ? left : machine;
}
